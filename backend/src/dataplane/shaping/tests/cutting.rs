//! Super-frames: whole where their class may send so much at once, and cut where it may not.

use viaduct_switch::qos::{ClassIndex, ClassPlan, HtbPlan, Shares};

use super::*;

/// Payload bytes of a segment; with its headers it has 1454.
const SIZE: u16 = 1400;

/// A rate and a burst for all, in a tree of one class that may send much more at once.
fn shared(rate: u64, burst: u32) -> TreePlan {
    let (root, ample) = (Shares::new(bits(rate), bits(rate)), bytes(1 << 20));
    let class = ClassPlan {
        name: "only".into(),
        parent: None,
        shares: Shares { burst: ample, cburst: ample, ..root },
        quantum: None,
        priority: 0,
        queue: QueuePlan::Fifo(FifoPlan::default()),
    };
    let root = Shares { burst: bytes(burst), cburst: bytes(burst), ..root };
    let htb = HtbPlan { root, classes: vec![class], default: ClassIndex::default() };
    TreePlan { root: RootPlan::Htb(htb), ..bucket(rate, burst, 1) }
}

#[test]
fn a_super_frame_is_cut_where_its_burst_is_shorter_though_there_are_tokens() {
    for plan in [bucket(8_000_000, 10_000, 1000), shared(8_000_000, 10_000)] {
        let mut lab = Lab::new(2);
        lab.shape(&plan, &[1]);
        lab.send(1, &tcp(28_000, 0, 0), tso(SIZE));
        lab.run(Nanos::from_seconds(1));
        let got = lab.take();
        assert_eq!(got.len(), 20);
        for (place, got) in (0..).zip(&got) {
            assert_eq!((got.bytes.len(), number(got)), (1454, place * u32::from(SIZE)));
            assert_eq!(got.header[0] & 1, 1, "its checksum is the receiver's");
        }
        assert_eq!(lab.switch.counters().port(port(1)).snapshot().sent.frames, 20);
    }
}

#[test]
fn the_pieces_of_a_super_frame_leave_at_the_rate() {
    let mut lab = Lab::new(2);
    lab.shape(&bucket(8_000_000, 10_000, 1000), &[1]);
    lab.send(1, &tcp(28_000, 0, 0), tso(SIZE));
    lab.run(Nanos::from_seconds(1));
    let mut sum = 0;
    let got = lab.take();
    for got in &got {
        sum += got.bytes.len() as u64;
        // A byte takes a microsecond.
        assert!(sum <= 10_000 + got.at.0 / 1000, "{sum} bytes have left at {:?}", got.at);
    }
    // All but the burst takes its time, and the last is put off no longer than it may be (5 ms).
    let last = got.last().unwrap().at;
    assert!(last >= Nanos(19_080_000) && last <= Nanos(23_080_000), "{last:?}");
}

#[test]
fn a_super_frame_that_may_leave_at_once_is_neither_cut_nor_copied() {
    for plan in [bucket(8_000_000, 30_000, 1000), shared(8_000_000, 30_000)] {
        let mut lab = Lab::new(2);
        let tree = lab.shape(&plan, &[1]);
        lab.send(1, &tcp(28_000, 0, 0), tso(SIZE));
        assert_eq!((lab.take().len(), lab.memory.taken()), (1, 0));
        // As what it is on the wire.
        assert_eq!(tree.report(lab.now).root.sent.bytes, 20 * 1454);
    }
    // One that waits is whole, too.
    let mut lab = Lab::new(2);
    lab.shape(&bucket(8_000_000, 30_000, 1000), &[1]);
    (0..2).for_each(|number| lab.send(1, &tcp(28_000, 0, number), tso(SIZE)));
    assert_eq!(lab.take().len(), 1);
    assert!(lab.memory.taken() > 0);
    lab.run(Nanos::from_seconds(1));
    let got = lab.take();
    assert_eq!(got.iter().map(|got| got.bytes.len()).collect::<Vec<_>>(), [28_054]);
    assert_eq!(got[0].header[1], 1, "TCP over IPv4");
}

#[test]
fn each_piece_that_finds_no_room_is_counted_and_others_may_find_some() {
    // A queue of five frames: when five pieces are in it, one leaves at once, and one stands before the bucket.
    let mut lab = Lab::new(2);
    let tree = lab.shape(&bucket(8_000, 1600, 5), &[1]);
    let mut send = |lost| {
        lab.send(1, &tcp(28_000, 0, 0), tso(SIZE));
        let root = tree.report(lab.now).root;
        assert_eq!((root.dropped, lab.drops(1, DropReason::QueueFull)), (lost, lost));
        assert_eq!(lab.drops(1, DropReason::QueueMemory), 0);
        (root.backlog.frames, lab.memory.taken())
    };
    assert_eq!(send(15).0, 4);
    // The next one fills the queue; then all is lost, before anything of it is copied.
    let full = send(15 + 18);
    assert_eq!(full.0, 6);
    assert_eq!(send(15 + 18 + 20), full);
    assert_eq!(lab.take().len(), 1);
    assert_eq!(lab.switch.counters().port(port(0)).snapshot().dropped().count(), 0);
}

#[test]
fn a_visit_cuts_no_more_than_a_bounded_number_of_pieces() {
    let mut lab = Lab::new(2);
    let tree = lab.shape(&bucket(8_000_000, 1600, 100_000), &[1]);
    // Segments of one byte: a thousand each, of which two find their place and the third would be too many.
    let tiny = tcp(1000, 0, 0);
    lab.send_copies(1, &tiny, tso(1), 3);
    assert_eq!((lab.drops(1, DropReason::QueueFull), tree.report(lab.now).root.dropped), (1000, 1000));
    lab.run(Nanos::from_seconds(1));
    assert_eq!(lab.take().len(), 2000);
    // The next visit may cut as many.
    lab.send_copies(1, &tiny, tso(1), 2);
    lab.run(Nanos::from_seconds(2));
    assert_eq!((lab.take().len(), lab.drops(1, DropReason::QueueFull)), (2000, 1000));
}
