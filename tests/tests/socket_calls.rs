//! What a switch asks of the kernel: nothing for a frame while it is busy, and for frames that are due later no more than to be woken.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::{Duration, Instant};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::NicOptions;
use viaduct_tests::lab::{network, pair};
use viaduct_tests::stream::{Flow, frame, mac};
use viaduct_tests::system_calls::system_calls_during;

/// How often at most a worker that is busy looks for the kicks of rings that sleep, as ARCHITECTURE.md has it.
const LOOK: Duration = Duration::from_micros(30);

/// Carries frames between two guests that poll, as DPDK does: then no notifications are due. What is left to be
/// counted is work for frames, and looks and sleeps, which are due by time.
fn assert_no_calls_for_frames(polling: &str) {
    const FRAMES: usize = 500_000;
    let daemon = Daemon::start_with(&format!("polling = \"{polling}\""), &network("lab", &["a", "b"], ""));
    let options = NicOptions { queue_size: 1024, send_buffers: 1024, polled: true, ..NicOptions::default() };
    let [a, b] = &mut pair(&daemon, &options);
    let mut flow = Flow::new(mac(1), mac(2));
    flow.window = 1000;
    flow.carry(a, b, [60; 100]);
    Flow::new(mac(2), mac(1)).carry(b, a, [60; 100]);
    // A worker counts its frames when it has brought them to their receivers.
    let frames = || daemon.show().workers[0].frames;
    wait_until("what went before to be counted", Duration::from_secs(5), || frames() >= 200);
    let before = frames();
    let start = Instant::now();
    let mut calls = system_calls_during(&daemon, || {
        let log = daemon.log();
        flow.carry(a, b, std::iter::repeat_n(60, FRAMES));
        assert_eq!(daemon.log(), log, "a line was logged");
    });
    let looks = start.elapsed().as_micros() / LOOK.as_micros();
    wait_until("all frames to be counted", Duration::from_secs(5), || frames() - before >= FRAMES as u64);
    assert_eq!(frames() - before, FRAMES as u64);
    let waits = ["epoll_wait", "epoll_pwait", "epoll_pwait2"].iter().filter_map(|name| calls.remove(*name));
    let waits: u64 = waits.sum();
    assert!(u128::from(waits) <= 2 * looks, "{waits} waits where {looks} looks were due");
    if polling == "busy" {
        assert!(waits < FRAMES as u64 / 100, "{waits} waits of workers that never wait");
    }
    for name in ["futex", "write", "sendto", "sendmsg", "mmap", "munmap", "brk", "madvise", "clock_gettime"] {
        let count = calls.get(name).copied().unwrap_or(0);
        assert!(count < FRAMES as u64 / 1000, "{count} times {name} for {FRAMES} frames");
    }
    let others: u64 = calls.values().sum();
    assert!(
        others < FRAMES as u64 / 100,
        "{others} system calls, beside waits, for {FRAMES} frames: {calls:?}"
    );
}

#[test]
fn a_busy_switch_makes_no_system_call_for_a_frame() {
    assert_no_calls_for_frames("adaptive");
}

#[test]
fn a_switch_that_always_polls_makes_no_system_call_for_a_frame() {
    assert_no_calls_for_frames("busy");
}

/// Lets frames wait in a bucket for a guest that wants no notifications: eight of the usual length leave together at such a rate, for
/// which a worker wakes once. That is all that is to be counted: it neither looks again in between nor sets a timer, and takes no memory
/// once it has as much as waits at most.
#[test]
fn frames_that_leave_a_bucket_together_take_one_system_call() {
    const FRAMES: u64 = 500;
    const LENGTH: usize = 1514;
    /// Beside departures: a kick of the sender's and what follows it, and a call that strace interrupted.
    const OTHERS: u64 = 20;
    let bucket = "[qos.held]\negress = { kind = \"tbf\", rate = \"10mbit\", queue = { kind = \"fifo\", packets = 1000 } }\n";
    let daemon = Daemon::start(&format!("{bucket}{}qos = \"held\"\n", network("lab", &["a", "b"], "")));
    let options = NicOptions { queue_size: 1024, send_buffers: 1024, polled: true, ..NicOptions::default() };
    let [a, b] = &mut pair(&daemon, &options);
    b.send(&frame(mac(2), mac(1), 0, 60));
    a.expect_frame("where the receiver is");
    let bytes = frame(mac(1), mac(2), 1, LENGTH);
    let mut carry = || {
        let (start, mut came) = (Instant::now(), 0);
        for _ in 0..FRAMES {
            assert!(a.transmit[0].try_put(NetHeader::default(), &bytes), "a ring of 1024 entries is full");
        }
        a.transmit[0].ring.publish();
        wait_until("all frames", Duration::from_secs(10), || {
            came += std::iter::from_fn(|| b.take()).count() as u64;
            came == FRAMES
        });
        start.elapsed()
    };
    // Then there is memory for all that wait.
    carry();
    let (mut took, counted) = (Duration::ZERO, Instant::now());
    let mut calls = system_calls_during(&daemon, || took = carry());
    // What may leave at once is a small part of it.
    let at_rate = Duration::from_secs_f64(FRAMES as f64 * LENGTH as f64 * 8.0 / 10e6);
    assert!(took > at_rate * 3 / 4, "{FRAMES} frames came within {took:?}");
    // The control thread's tick is ten times a second; strace takes a while to begin and to end.
    let ticks = 2 + u64::try_from(counted.elapsed().as_millis()).unwrap() / 100;
    let waits = calls.remove("epoll_pwait2").unwrap_or(0);
    assert!(
        waits >= FRAMES / 16,
        "workers waited {waits} times only: {FRAMES} frames did not wait in the bucket"
    );
    assert!(waits <= FRAMES / 8 + OTHERS, "workers waited {waits} times for {FRAMES} frames");
    for own in ["epoll_wait", "timerfd_settime"] {
        let count = calls.remove(own).unwrap_or(0);
        assert!(count <= 2 * ticks, "{count} times {own} in {ticks} ticks");
    }
    let others: u64 = calls.values().sum();
    assert!(others <= OTHERS, "{others} system calls beside waits for {FRAMES} frames: {calls:?}");
}
