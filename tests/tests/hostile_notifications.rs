//! Hostile notifications, and receivers that do not take: they cost nobody else anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::MODERN;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::NicOptions;
use viaduct_tests::hostile::{LIMIT, Stage};
use viaduct_tests::raw::{RECEIVE, SEND};
use viaduct_tests::stream::{frame, mac, number_of};

/// Sets the file status flags of `file`, which belong to the open file and thus to all who share it.
fn set_status_flags(file: &impl AsRawFd, flags: libc::c_int) {
    // SAFETY: F_SETFL on an open descriptor of ours touches no memory.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) }, 0);
}

#[test]
fn a_call_descriptor_that_is_full_and_blocking_holds_nobody_up() {
    let mut stage = Stage::new();
    let [x, mut y] = stage.cards(&NicOptions { features: MODERN, ..NicOptions::default() });
    let call = &x.receive[0].ring.call;
    let _ = call.read();
    call.write(u64::MAX - 1).unwrap();
    for _ in 0..3 {
        set_status_flags(call, 0);
        for number in 0..50 {
            y.send(&frame(mac(1), mac(2), number, 60));
        }
        stage.assert_unharmed("a full call descriptor");
    }
    set_status_flags(call, libc::O_NONBLOCK);
    drop((x, y));
    stage.finish("a full call descriptor");
}

#[test]
fn a_call_descriptor_that_is_filled_and_made_blocking_again_and_again_holds_nobody_up() {
    let mut stage = Stage::new();
    let [x, mut y] = stage.cards(&NicOptions { features: MODERN, ..NicOptions::default() });
    let call = x.receive[0].ring.call.try_clone().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let filler = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                set_status_flags(&call, libc::O_NONBLOCK);
                let _ = call.write(0xffff_ffff).is_ok() || call.write(1).is_ok();
                let _ = call.write(u64::MAX - 1);
                set_status_flags(&call, 0);
                std::thread::sleep(Duration::from_micros(200));
            }
            set_status_flags(&call, libc::O_NONBLOCK);
        })
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        if y.transmit[0].try_put(NetHeader::default(), &frame(mac(1), mac(2), 1, 60)) {
            y.transmit[0].ring.publish();
        }
        std::thread::sleep(Duration::from_millis(1));
        assert!(stage.daemon.is_alive());
    }
    stage.assert_unharmed("a call descriptor that is filled again and again");
    stop.store(true, Ordering::Relaxed);
    filler.join().unwrap();
    drop((x, y));
    stage.finish("a call descriptor that is filled again and again");
}

#[test]
fn a_storm_of_kicks_without_work_costs_the_neighbours_nothing() {
    let mut stage = Stage::new();
    let [x, y] = stage.cards(&NicOptions::default());
    let start = Instant::now();
    let mut kicks = 0_u64;
    while start.elapsed() < Duration::from_secs(2) {
        for index in [SEND, RECEIVE] {
            x.ring(index).kick.write(1).unwrap();
            y.ring(index).kick.write(1).unwrap();
            kicks += 2;
        }
    }
    println!("{kicks} kicks in two seconds");
    stage.assert_unharmed("a storm of kicks");
    drop((x, y));
    stage.finish("a storm of kicks");
}

#[test]
fn a_guest_that_never_kicks_harms_nobody_and_is_served_at_the_next_kick() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    std::thread::sleep(Duration::from_millis(300));
    let bytes = frame(mac(2), mac(1), 9, 60);
    assert!(x.transmit[0].try_put(NetHeader::default(), &bytes));
    let ring = &x.transmit[0].ring;
    ring.memory.store_u16(ring.available + 2, ring.available_index);
    stage.assert_unharmed("a guest that never kicks");
    std::thread::sleep(Duration::from_millis(100));
    x.transmit[0].ring.kick.write(1).unwrap();
    assert!(y.receive_within(LIMIT).is_some());
    drop((x, y));
    stage.finish("a guest that never kicks");
}

#[test]
fn a_receive_ring_that_is_never_refilled_fills_its_own_bounded_queue_and_loses_the_rest_counted() {
    const SENT: u64 = 5_000;
    /// What waits for a receiver without buffers, as in a TAP device.
    const WAITING: u64 = 1_000;
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    for number in 0..SENT {
        x.send(&frame(mac(2), mac(1), number, 60));
    }
    x.transmit[0].drain();
    let lost = SENT - 256 - WAITING;
    wait_until("the drops to be counted", LIMIT, || stage.port("y").dropped("no-buffer") == lost);
    stage.assert_unharmed("a ring that is never refilled");
    // What waited comes in order once there are buffers again.
    for number in 0..256 + WAITING {
        let received = y.expect_frame("a frame that waited");
        assert_eq!(number_of(&received.bytes), Some(number));
    }
    assert!(y.receive_within(Duration::from_millis(20)).is_none());
    // And a receiver that never comes back takes nothing with it.
    for number in 0..SENT {
        x.send(&frame(mac(2), mac(1), number, 1500));
    }
    drop((x, y));
    stage.finish("a ring that is never refilled");
}

#[test]
fn a_flood_of_broadcasts_leaves_another_network_in_peace() {
    let mut stage = Stage::apart();
    let [mut x, y] =
        stage.cards(&NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() });
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(2) {
        x.transmit[0].put(NetHeader::default(), &frame([0xff; 6], mac(1), sent, 60));
        sent += 1;
        if sent % 64 == 0 {
            x.transmit[0].ring.publish();
        }
    }
    println!("{sent} broadcasts in two seconds");
    stage.assert_unharmed("a flood of broadcasts");
    drop((x, y));
    stage.finish("a flood of broadcasts");
}
