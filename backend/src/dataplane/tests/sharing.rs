//! Several workers: rings that move between them, and queues that they share.

use super::super::assignment::Move;
use super::*;

/// Bytes before the number that a frame of these tests carries: both headers.
const NUMBER_AT: u64 = 12 + 14;

/// Frames of one sender that may be under way: as many of both fit into the receiver's backlog.
pub(super) const WINDOW: u32 = 400;

impl Guest {
    fn offer_numbered(&mut self, to: u8, number: u32) {
        let mut bytes = vec![0; 12];
        let from = u8::try_from(self.port.get()).unwrap();
        bytes.extend([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0]);
        bytes.extend(number.to_le_bytes());
        bytes.push(from);
        bytes.resize(12 + 60, 0);
        self.offer(1, &bytes);
    }

    /// Offers numbered frames while the ring has room and there are some left.
    pub(super) fn send_up_to(&mut self, to: u8, next: &mut u32, count: u32) {
        let mut some = false;
        while *next < count && self.offered[1].wrapping_sub(self.used(1)) < SIZE {
            self.offer_numbered(to, *next);
            *next += 1;
            some = true;
        }
        if some {
            self.kick(1);
        }
    }

    /// The sender and number of each frame that came since `taken`, whose buffers are offered again.
    pub(super) fn take_numbered(&mut self, taken: &mut u16) -> Vec<(u8, u32)> {
        let mut frames = Vec::new();
        while *taken != self.used(0) {
            let mut bytes = [0; 5];
            let slot = u64::from(*taken % SIZE);
            self.file.read_exact_at(&mut bytes, BUFFERS + slot * BUFFER_LEN + NUMBER_AT).unwrap();
            frames.push((bytes[4], u32::from_le_bytes(bytes[..4].try_into().unwrap())));
            *taken = taken.wrapping_add(1);
            self.offer(0, &[]);
        }
        if !frames.is_empty() {
            self.kick(0);
        }
        frames
    }
}

/// Three guests, and the switch knows where the last one is.
pub(super) fn three(dataplane: &mut Dataplane) -> [Guest; 3] {
    let mut guests = [0, 1, 2].map(Guest::new);
    for guest in &mut guests {
        dataplane.attach(guest.setup([0, 0]));
    }
    let last = &mut guests[2];
    last.send(0, 0);
    last.wait_used(1, 1);
    (0..SIZE).for_each(|_| last.offer(0, &[]));
    guests
}

/// Carries `count` numbered frames of each sender to the last guest, and sees that each comes once and in order.
fn carry(guests: &mut [Guest; 3], senders: usize, count: u32, mut between: impl FnMut(u32)) {
    let [first, second, receiver] = guests;
    let (mut sent, mut expected, mut taken) = ([0; 2], [0; 2], 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while expected[..senders].iter().any(|expected| *expected < count) {
        first.send_up_to(2, &mut sent[0], count.min(expected[0] + WINDOW));
        if senders > 1 {
            second.send_up_to(2, &mut sent[1], count.min(expected[1] + WINDOW));
        }
        for (from, number) in receiver.take_numbered(&mut taken) {
            let expected = &mut expected[usize::from(from)];
            assert_eq!(number, *expected, "from guest {from}");
            *expected += 1;
        }
        between(expected.iter().sum());
        assert!(Instant::now() < deadline, "sent {sent:?}, arrived {expected:?}");
    }
    assert_eq!(receiver.used(0), taken, "a frame came twice");
}

#[test]
fn frames_of_two_workers_come_to_one_queue_each_once_and_in_their_order() {
    let mut dataplane = dataplane(&[0, 1]);
    let mut guests = three(&mut dataplane);
    assert!(dataplane.workers().iter().all(|worker| worker.rings >= 1));
    carry(&mut guests, 2, 20_000, |_| {});
    let workers = dataplane.workers();
    assert!(workers.iter().all(|worker| worker.frames >= 20_000), "{workers:?}");
    for reason in [DropReason::NoBuffer, DropReason::ReceiverDown] {
        assert_eq!(drops(&dataplane, 2, reason), 0);
    }
}

#[test]
fn a_ring_moves_between_workers_under_load_and_no_frame_is_lost_doubled_or_overtaken() {
    let mut dataplane = dataplane(&[0, 1]);
    let mut guests = three(&mut dataplane);
    let (mut at, mut moves) = (0, 0);
    carry(&mut guests, 1, 20_000, |_| {
        let (from, to) = (at, 1 - at);
        dataplane.hand_over(Move { port: port(0), ring: 1, from, to });
        at = to;
        moves += 1;
    });
    assert!(moves > 100, "only {moves} moves");
    assert_eq!(dataplane.workers().iter().map(|worker| worker.rings).sum::<u64>(), 3);
    assert_eq!(dataplane.detach(port(0))[1].base, 20_000);
}

#[test]
fn rings_move_to_a_worker_that_has_none_left() {
    let mut dataplane = dataplane(&[0, 1]);
    let guests: Vec<Guest> = (0..6).map(Guest::new).collect();
    for guest in &guests {
        dataplane.attach(guest.setup([0, 0]));
    }
    let rings = |dataplane: &Dataplane| dataplane.workers().iter().map(|w| w.rings).collect::<Vec<_>>();
    assert_eq!(rings(&dataplane), [3, 3]);
    for index in [0, 2, 4] {
        assert_eq!(dataplane.detach(port(index)).len(), 2);
    }
    assert_eq!(rings(&dataplane), [0, 3]);
    dataplane.tick();
    assert_eq!(rings(&dataplane), [1, 2]);
    for index in [1, 3, 5] {
        assert_eq!(dataplane.detach(port(index)).len(), 2, "the ring that moved is found again");
    }
}
