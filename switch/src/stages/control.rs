//! Control frames: what is for the bridge itself goes to the control side, and never to another port
//! (IEEE 802.1Q-2018, 8.6.3).

use crate::control::{CONTROL_FRAME_MAX, ControlProtocol};
use crate::decision::{Action, Recording, Step};
use crate::drops::DropReason;
use crate::explain::Observer;

/// The limit as lengths are counted.
const LENGTH_MAX: u32 = 1522;
const _: () = assert!(LENGTH_MAX as usize == CONTROL_FRAME_MAX);

/// Hands frames of protocols that run on the port to the control side, and drops all others to reserved addresses.
/// None of them teaches an address: it is a bridge's own.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    let destination = recording.destination();
    if !destination.is_group() {
        return Step::Continue;
    }
    let Some(port) = recording.port() else { return Step::Continue };
    if !destination.is_link_local() {
        let refused = port.control.guards_against(destination);
        return if refused { recording.drop(DropReason::BpduGuard) } else { Step::Continue };
    }
    // Bridges say these things without tags; with one, they are a network's station's.
    let protocol = ControlProtocol::of(destination, recording.ether_type()).filter(|_| recording.is_bare());
    match protocol {
        Some(protocol) if port.control.runs(protocol) && !recording.is_longer_than(LENGTH_MAX) => {
            recording.act(Action::Punt);
            Step::Done
        }
        Some(ControlProtocol::SpanningTree) if port.control.bpdu_guard => {
            recording.drop(DropReason::BpduGuard)
        }
        _ => recording.drop(DropReason::LinkLocal),
    }
}
