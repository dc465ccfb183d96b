//! First in, first out: bounds in frames and in bytes.

use super::support::*;
use crate::drops::DropReason;
use crate::qos::*;

/// One behind a rate at which nothing leaves meanwhile, whose burst has let a frame pass.
fn full_lab(frames: u32, bytes: u64) -> Lab {
    let mut lab = Lab::new(&shaped(8_000, QueuePlan::Fifo(FifoPlan { frames, bytes })));
    lab.send(0, of_flow(9, 1600));
    assert_eq!((lab.dropped.0.len(), lab.departed.len()), (0, 1));
    lab
}

#[test]
fn a_queue_has_room_for_as_many_bytes_as_it_says() {
    let mut lab = full_lab(1000, 3000);
    (0..3).for_each(|_| _ = lab.send(0, of_flow(1, 1000)));
    assert!(lab.dropped.0.is_empty(), "the third frame fills it exactly");
    lab.send(0, of_flow(1, 60));
    lab.send(0, of_flow(1, 1));
    let reasons: Vec<_> = lab.dropped.0.iter().map(|(item, reason)| (item.length, *reason)).collect();
    assert_eq!(reasons, [(60, DropReason::QueueFull), (1, DropReason::QueueFull)]);
}

#[test]
fn an_empty_queue_takes_one_frame_however_long() {
    let mut lab = full_lab(1000, 3000);
    lab.send(0, of_flow(1, 9000));
    assert!(lab.dropped.0.is_empty());
    lab.send(0, of_flow(1, 60));
    assert_eq!(lab.dropped.0.len(), 1);
}

#[test]
fn a_queue_has_room_for_as_many_frames_as_it_says() {
    let mut lab = full_lab(3, 1 << 20);
    (0..5).for_each(|_| _ = lab.send(0, of_flow(1, 60)));
    assert_eq!(lab.dropped.0.len(), 2);
}
