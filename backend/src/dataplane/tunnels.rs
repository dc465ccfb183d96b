//! Bursts in which frames came by tunnels: outer headers are taken off before anything else looks at them.

use viaduct_switch::tunnel::Admission;
use viaduct_switch::{Frame, Nanos, Switch, WorkerState};

use crate::memory::{Segment, copy_out};
use crate::ring::{Burst, Segments, Span};

/// Takes outer headers off those frames of the burst that came by tunnels; gives those that are refused, a bit each.
pub(super) fn admit(switch: &Switch, state: &mut WorkerState, burst: &mut Burst, now: Nanos) -> u64 {
    let (mut refused, mut inner) = (0, 0);
    let (frames, segments) = burst.parts_mut();
    for (slot, frame) in frames.iter_mut().enumerate() {
        match switch.admit_tunnelled(state, now, frame) {
            Admission::Plain => {}
            Admission::Inner(_) => {
                inner |= 1 << (slot % 64);
                refill(frame, segments);
            }
            Admission::Refused(_) => refused |= 1 << (slot % 64),
        }
    }
    burst.distrust(inner);
    refused
}

/// Makes the head of a frame that lost its beginning as long as any other: as much of what follows is read once, and taken off there;
/// and so is what stands behind the frame's end.
fn refill(frame: &mut Frame<Span>, segments: &mut Segments) {
    let head_len = frame.head.bytes().len();
    let mut left = (frame.meta.length as usize).saturating_sub(head_len);
    let Span { first, count } = frame.payload;
    let pieces = segments.from(first as usize);
    let mut filled = 0;
    let room = frame.head.settle();
    for piece in pieces.iter_mut().take(count as usize) {
        let taken = room.len().saturating_sub(filled).min(piece.len as usize).min(left);
        let len = u32::try_from(taken).unwrap_or(0);
        if let Some(to) = room.get_mut(filled..filled + taken) {
            copy_out(&[], &[Segment { host: piece.host, len }], to);
        }
        filled += taken;
        left -= taken;
        // What was read may change where it lies, and is looked at no more.
        piece.host = piece.host.wrapping_add(taken);
        piece.len = u32::try_from((piece.len as usize - taken).min(left)).unwrap_or(0);
        left -= piece.len as usize;
    }
    frame.head.grow(filled);
}
