//! How workers wait for frames: `polling` and its change while they run.

use super::*;

fn pair_of(dataplane: &mut Dataplane) -> [Guest; 2] {
    let mut guests = [0, 1].map(Guest::new);
    for guest in &mut guests {
        dataplane.attach(guest.setup([0, 0]));
    }
    (0..SIZE).for_each(|_| guests[1].offer(0, &[]));
    guests
}

/// Sends frames with pauses between them, and sees them arrive.
fn send_some(guests: &mut [Guest; 2], numbers: std::ops::Range<u8>) {
    let [a, b] = guests;
    for number in numbers {
        a.send(1, number);
        b.wait_used(0, u16::from(number) + 1);
        assert_eq!(b.received(u16::from(number)), number);
        thread::sleep(Duration::from_millis(3));
    }
}

fn status(dataplane: &Dataplane) -> crate::model::WorkerStatus {
    dataplane.workers()[0]
}

#[test]
fn a_busy_worker_never_sleeps_and_one_that_goes_by_interrupts_never_polls_for_nothing() {
    let mut dataplane = dataplane(&[0]);
    dataplane.set_polling(Polling::Busy);
    let before = status(&dataplane);
    let mut guests = pair_of(&mut dataplane);
    send_some(&mut guests, 0..10);
    let busy = status(&dataplane);
    assert_eq!(busy.sleeps, before.sleeps);
    assert_eq!(busy.wakes, before.wakes);
    assert!(busy.spins > 0);
    dataplane.set_polling(Polling::Interrupt);
    let before = status(&dataplane);
    send_some(&mut guests, 10..20);
    let after = status(&dataplane);
    assert_eq!(after.spins, before.spins);
    assert!(after.sleeps >= before.sleeps + 5, "{before:?}, then {after:?}");
    dataplane.set_polling(Polling::Adaptive);
    send_some(&mut guests, 20..30);
}

#[test]
fn armed_rings_and_frames_that_wait_are_not_forgotten_when_the_way_of_waiting_changes() {
    let ways = [Polling::Busy, Polling::Interrupt, Polling::Adaptive];
    for (from, to) in ways.iter().flat_map(|from| ways.map(|to| (*from, to))) {
        let mut dataplane = dataplane(&[0]);
        dataplane.set_polling(from);
        let (mut a, mut b) = (Guest::new(0), Guest::new(1));
        dataplane.attach(a.setup([0, 0]));
        dataplane.attach(b.setup([0, 0]));
        (0..5u8).for_each(|number| a.send(1, number));
        a.wait_used(1, 5);
        // Long enough for the sender's ring and the full receiver's to be armed.
        thread::sleep(Duration::from_millis(5));
        dataplane.set_polling(to);
        (0..5).for_each(|_| b.offer(0, &[]));
        b.kick(0);
        b.wait_used(0, 5);
        a.send(1, 5);
        a.wait_used(1, 6);
    }
}

#[test]
fn a_regular_row_of_frames_is_met_awake_and_an_idle_worker_stays_asleep() {
    let mut dataplane = dataplane(&[0]);
    let [a, b] = &mut pair_of(&mut dataplane);
    for number in 0..40u8 {
        a.send(1, number);
        b.wait_used(0, u16::from(number) + 1);
        thread::sleep(Duration::from_millis(2));
    }
    // What was foreseen did not come: nothing is foreseen any more.
    thread::sleep(Duration::from_millis(100));
    let before = status(&dataplane);
    thread::sleep(Duration::from_millis(500));
    let after = status(&dataplane);
    assert_eq!((after.sleeps, after.spins), (before.sleeps, before.spins));
}

/// How often an eventfd was written to since it was last asked; waits for the first time if it has to.
fn notifications(call: &Signal) -> u64 {
    let mut poll = libc::pollfd { fd: call.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one `pollfd` of our own.
    let found = unsafe { libc::poll(&raw mut poll, 1, 5000) };
    assert_eq!(found, 1, "the guest was not told within 5 s");
    let mut counter = 0u64;
    // SAFETY: eight bytes of our own.
    assert_eq!(unsafe { libc::read(call.as_raw_fd(), (&raw mut counter).cast(), 8) }, 8);
    counter
}

#[test]
fn a_guest_is_told_that_its_frame_was_sent_however_the_worker_waits_and_when_it_is_detached() {
    for polling in [Polling::Busy, Polling::Interrupt, Polling::Adaptive] {
        let mut dataplane = dataplane(&[0]);
        dataplane.set_polling(polling);
        let (mut a, call) = (Guest::new(0), eventfd());
        for number in 0..20u16 {
            let mut setup = a.setup([0, number]);
            setup.rings[1].call = Some(Arc::clone(&call));
            dataplane.attach(setup);
            a.send(1, 0);
            a.wait_used(1, number + 1);
            if number % 2 == 0 {
                assert_eq!(notifications(&call), 1);
            }
            dataplane.detach(port(0));
            if number % 2 == 1 {
                assert_eq!(notifications(&call), 1);
            }
        }
    }
}

#[test]
fn frames_that_come_one_by_one_are_told_together() {
    let mut dataplane = dataplane(&[0]);
    dataplane.set_polling(Polling::Busy);
    let [a, b] = &mut pair_of(&mut dataplane);
    dataplane.detach(a.port);
    let (mut setup, call) = (a.setup([0, 0]), eventfd());
    setup.rings[1].call = Some(Arc::clone(&call));
    dataplane.attach(setup);
    // A machine whose processors are busy may take longer for each frame than the word is put off.
    let end = Instant::now() + Duration::from_secs(20);
    let mut sent = 0u16;
    while sent < 32 || notifications(&call) >= 32 {
        assert!(Instant::now() < end, "each frame by itself");
        for _ in 0..32 {
            a.send(1, 0);
            b.offer(0, &[]);
            sent += 1;
            while a.used(1) != sent {
                std::hint::spin_loop();
            }
        }
        // The last of them is told within the time, whatever else comes.
        thread::sleep(Duration::from_millis(1));
    }
}
