//! A capture has whole frames in both directions, costs no more than its budget, and counts what it loses.

use viaduct_switch::frame::Head;
use viaduct_switch::{Metadata, Policy};

use super::super::Taps;
use super::*;
use crate::capture::compile;
use crate::dataplane::delivery::Outbox;
use crate::ring::Segments;

const SLOT: Nanos = Nanos(SLOT_NS);

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// Who captures all of these ports.
fn wanted(ports: &[usize]) -> CaptureWanted {
    let ports = ports.iter().map(|index| port(*index)).collect();
    CaptureWanted { ports, entering: true, leaving: true, snaplen: 1 << 18, program: None }
}

fn started(wanted: CaptureWanted) -> (Taps, CaptureReader) {
    let mut taps = Taps::default();
    let (reader, _, mut ends) = captures(1, wanted, Instant::now());
    taps.add_capture(ends.remove(0));
    (taps, reader)
}

/// Carries a burst of frames from one port to another one; `lost` of them find no room there.
fn carry(taps: &mut Taps, (from, to): (usize, usize), frames: &[Vec<u8>], lost: usize, now: Nanos) {
    let mut payloads: Vec<Vec<u8>> =
        frames.iter().map(|frame| frame[frame.len().min(128)..].to_vec()).collect();
    let segments: Vec<Segment> = payloads
        .iter_mut()
        .map(|part| Segment { host: part.as_mut_ptr(), len: u32::try_from(part.len()).unwrap() })
        .collect();
    let burst: Vec<_> = (0..)
        .zip(frames)
        .map(|(first, frame)| {
            let length = u32::try_from(frame.len()).unwrap();
            let head = Head::from_bytes(&frame[..frame.len().min(128)]);
            let meta = Metadata::new(port(from), length, Claims::default());
            Frame { head, meta, payload: Span { first, count: 1 } }
        })
        .collect();
    let _ = taps.begin(&burst, true, now);
    let mut outbox = Outbox::default();
    (0..frames.len()).for_each(|slot| outbox.push(port(to), slot, false));
    taps.note_sends(&outbox);
    for slot in 0..lost {
        taps.notes().into_iter().for_each(|notes| notes.note_lost(slot, port(to), DropReason::NoBuffer));
    }
    taps.end((&burst, &Segments::of(&segments)), &Policy::default(), now);
}

fn frame(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn tally(reader: &CaptureReader) -> (u64, u64, u64) {
    let CaptureTally { seen, captured, lost } = reader.tallies().next().unwrap();
    (seen, captured, lost)
}

#[test]
fn frames_are_whole_where_they_enter_and_where_they_leave_and_nowhere_else() {
    let (mut taps, mut reader) = started(wanted(&[1, 2]));
    let frames = [frame(60), frame(128), frame(1514)];
    carry(&mut taps, (1, 2), &frames, 0, SLOT);
    carry(&mut taps, (3, 4), &frames, 0, SLOT);
    let taken = reader.take(usize::MAX);
    let told: Vec<_> =
        taken.iter().map(|(record, _)| (record.port.get(), record.left, record.length)).collect();
    assert_eq!(
        told,
        [(1, false, 60), (2, true, 60), (1, false, 128), (2, true, 128), (1, false, 1514), (2, true, 1514)]
    );
    for ((_, bytes), whole) in taken.iter().zip(frames.iter().flat_map(|frame| [frame, frame])) {
        assert_eq!(bytes, whole);
    }
    assert_eq!(tally(&reader), (3, 3, 0));
    assert!(reader.take(usize::MAX).is_empty());
    drop(reader);
    carry(&mut taps, (1, 2), &frames, 0, SLOT);
    assert!(taps.is_empty(), "nobody captures any more");
}

#[test]
fn what_a_receiver_lost_is_said_at_both_ends() {
    let (mut taps, mut reader) = started(wanted(&[1, 2]));
    carry(&mut taps, (1, 2), &[frame(60), frame(60)], 1, SLOT);
    let lost: Vec<_> = reader.take(usize::MAX).iter().map(|(record, _)| record.lost.is_some()).collect();
    assert_eq!(lost, [true, true, false, false]);
}

#[test]
fn one_direction_and_fewer_bytes_are_had_for_the_asking() {
    let (mut taps, mut reader) = started(CaptureWanted { entering: false, snaplen: 200, ..wanted(&[1]) });
    carry(&mut taps, (1, 2), &[frame(300)], 0, SLOT);
    carry(&mut taps, (2, 1), &[frame(300), frame(100)], 0, SLOT);
    let taken = reader.take(usize::MAX);
    let told: Vec<_> =
        taken.iter().map(|(record, bytes)| (record.left, record.length, bytes.len())).collect();
    assert_eq!(told, [(true, 300, 200), (true, 100, 100)]);
}

#[test]
fn a_filter_sees_the_whole_frame_and_what_it_leaves_out_takes_no_room() {
    let program = Program::new(&compile("ether[700] = 0xaa and len > 1000").unwrap()).unwrap();
    let (mut taps, mut reader) =
        started(CaptureWanted { program: Some(program), snaplen: 64, ..wanted(&[1]) });
    let mut meant = frame(1514);
    meant[700] = 0xaa;
    let short = meant[..900].to_vec();
    carry(&mut taps, (1, 2), &[frame(1514), meant.clone(), short, frame(60)], 0, SLOT);
    let taken = reader.take(usize::MAX);
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].0.length, taken[0].1.as_slice()), (1514, &meant[..64]));
    assert_eq!(tally(&reader), (4, 1, 0));
}

#[test]
fn what_is_captured_in_ten_milliseconds_is_bounded_and_the_rest_is_counted() {
    let (mut taps, mut reader) = started(CaptureWanted { leaving: false, ..wanted(&[1]) });
    let burst = vec![frame(60); 64];
    (0..100).for_each(|_| carry(&mut taps, (1, 2), &burst, 0, SLOT));
    assert_eq!(tally(&reader), (6400, u64::from(BUDGET.records), 6400 - u64::from(BUDGET.records)));
    assert_eq!(reader.take(usize::MAX).len(), BUDGET.records as usize);
    carry(&mut taps, (1, 2), &burst, 0, Nanos(2 * SLOT_NS));
    assert_eq!(reader.take(usize::MAX).len(), 64, "there is a new budget");
}

#[test]
fn a_reader_that_stalls_loses_what_finds_no_room_and_gets_the_rest_whole() {
    let (mut taps, mut reader) = started(CaptureWanted { leaving: false, ..wanted(&[1]) });
    for slot in 0..40 {
        let burst: Vec<_> = (0..32).map(|at| frame(1400 + at)).collect();
        (0..4).for_each(|_| carry(&mut taps, (1, 2), &burst, 0, Nanos(slot * SLOT_NS)));
    }
    let (seen, captured, lost) = tally(&reader);
    assert_eq!((seen, captured + lost), (40 * 128, 40 * 128));
    assert!(lost > 0 && captured * 1415 > 4_000_000, "{captured} of {seen}");
    // Little by little, so that what is taken wraps around.
    let mut taken = 0;
    loop {
        let some = reader.take(100_000);
        if some.is_empty() {
            break;
        }
        for (record, bytes) in some {
            assert_eq!(bytes, frame(record.length as usize));
            taken += 1;
        }
    }
    assert_eq!(taken, captured);
    carry(&mut taps, (1, 2), &[frame(1514)], 0, Nanos(50 * SLOT_NS));
    assert_eq!(reader.take(usize::MAX)[0].1, frame(1514), "there is room again");
}

#[test]
fn a_filter_that_takes_long_ends_with_its_budget() {
    // As many steps as a program may have.
    let mut instructions = vec![(0x00, 0, 0, 1); 4095];
    instructions.push((0x06, 0, 0, 0));
    let program = Some(Program::new(&instructions).unwrap());
    let (mut taps, reader) = started(CaptureWanted { program, leaving: false, ..wanted(&[1]) });
    (0..10).for_each(|_| carry(&mut taps, (1, 2), &vec![frame(60); 64], 0, SLOT));
    let (seen, captured, lost) = tally(&reader);
    assert_eq!((seen, captured, lost), (640, 0, 640 - u64::from(BUDGET.steps.div_ceil(4096 + LOOK_STEPS))));
}

#[test]
fn what_a_filter_looks_at_and_does_not_want_is_charged_as_well() {
    let program = Some(Program::new(&compile("ether[1400] = 0x77").unwrap()).unwrap());
    let (mut taps, reader) = started(CaptureWanted { program, leaving: false, ..wanted(&[1]) });
    (0..64).for_each(|_| carry(&mut taps, (1, 2), &vec![frame(1514); 64], 0, SLOT));
    let (seen, captured, lost) = tally(&reader);
    let looked = seen - lost;
    assert_eq!((seen, captured), (4096, 0));
    assert!((looked - 1) * 1514 < BUDGET.bytes as u64, "{looked} frames were copied to be looked at");
}

#[test]
fn nothing_is_copied_for_a_reader_that_has_no_room() {
    let (mut taps, reader) = started(CaptureWanted { leaving: false, ..wanted(&[1]) });
    let burst = vec![frame(1514); 64];
    for slot in 0..100 {
        (0..2).for_each(|_| carry(&mut taps, (1, 2), &burst, 0, Nanos(slot * SLOT_NS)));
    }
    let left = taps.captures[0].ring.left;
    assert_eq!((left.bytes, left.steps, left.records), (BUDGET.bytes, BUDGET.steps, BUDGET.records));
    let (seen, captured, lost) = tally(&reader);
    assert_eq!(captured + lost, seen);
}

#[test]
fn captures_share_one_budget() {
    let (mut taps, reader) = started(CaptureWanted { leaving: false, ..wanted(&[1]) });
    let (second, _, mut captures) =
        captures(1, CaptureWanted { leaving: false, ..wanted(&[1]) }, Instant::now());
    taps.add_capture(captures.remove(0));
    (0..100).for_each(|_| carry(&mut taps, (1, 2), &vec![frame(60); 64], 0, SLOT));
    assert_eq!(tally(&reader).1, u64::from(BUDGET.records / 2));
    assert_eq!(tally(&second).1, u64::from(BUDGET.records / 2));
}

#[test]
fn a_budget_is_shared_evenly() {
    let Budget { records, bytes, steps } = BUDGET.shared_by(4);
    assert_eq!((records, bytes, steps), (BUDGET.records / 4, BUDGET.bytes / 4, BUDGET.steps / 4));
    assert_eq!(BUDGET.shared_by(0).records, BUDGET.records);
}
