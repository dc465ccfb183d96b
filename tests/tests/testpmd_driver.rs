//! dpdk-testpmd's virtio-user as the driver at both ends: a ring implementation that shares nothing with
//! ours. Frames pass both ways at once; testpmd writes down what arrives, and every frame is checked: all its
//! bytes, and that it comes after its predecessors of the same flow. None may go missing unnoticed: what did
//! not arrive has to be in the switch's counters of drops.

use std::time::{Duration, Instant};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::snapshot::Port;
use viaduct_tests::testpmd::{Driver, Passed, Talkers};

/// Frames into each port: both together a million for each test.
const FRAMES: u32 = 500_000;

/// What the switch may drop frames for: a receiver that is slower than the sender,
const FULL: &str = "no-buffer";
/// and, for as long as testpmd sends already while its last messages about the rings are on their way, one
/// that is not ready, or nobody in the whole network who is.
const NOT_READY: [&str; 2] = ["receiver-down", "no-receiver"];
/// The number of the last frame that may meet a receiver that is not ready: of half a million, a start.
const READY_AT: u32 = 10_000;

/// Lets the frames of `driver` pass; nearly all have to arrive.
fn pass(queues: u16, change: impl FnOnce(&mut Driver)) {
    let passed = account_for_all(queues, change);
    assert!(passed.received > passed.sent * 9 / 10, "more than a tenth of the frames was lost: {passed:?}");
    // Before its answers are known, or when another flow has its place in the port's table, a flow goes by its hash.
    assert!(passed.steered > passed.received * 9 / 10, "frames came on other pairs than sent: {passed:?}");
}

/// Lets the frames of `driver` pass through a fresh switch and accounts for each of them.
fn account_for_all(queues: u16, change: impl FnOnce(&mut Driver)) -> Passed {
    let port = |name: &str| format!("[port.{name}]\nnetwork = \"lab\"\nqueues = {queues}\nmtu = 9000\n");
    let daemon = Daemon::start(&format!("[network.lab]\n{}{}", port("a"), port("b")));
    let mut driver = Driver::new([daemon.socket("a"), daemon.socket("b")], FRAMES);
    driver.queues = queues;
    change(&mut driver);
    let passed = driver.run();
    account(&daemon, passed);
    passed
}

/// Every frame that testpmd sent entered the switch, and left it or was dropped for a named reason.
fn account(daemon: &Daemon, passed: Passed) {
    let state = daemon.show();
    let ports = ["a", "b"].map(|name| state.port(name));
    let entered: u64 = ports.iter().map(|port| port.received.frames).sum();
    let left: u64 = ports.iter().map(|port| port.sent.frames).sum();
    let dropped: u64 = ports.iter().map(|port| port.dropped_in_all()).sum();
    eprintln!("{passed:?}; the switch: {entered} in, {left} out, {dropped} dropped");
    assert_eq!(entered, passed.sent, "frames that testpmd sent and the switch did not see: {state:?}");
    assert_eq!(entered, left + dropped, "frames that vanished in the switch: {state:?}");
    assert_eq!(left, passed.received, "frames that the switch sent and testpmd did not get: {state:?}");
    let for_reason = |reason| ports.iter().map(|port| port.dropped(reason)).sum::<u64>();
    let (full, not_ready) = (for_reason(FULL), NOT_READY.map(for_reason).iter().sum::<u64>());
    assert_eq!(dropped, full + not_ready, "frames were dropped for another reason: {state:?}");
    let late = full == 0 && passed.last_gap > READY_AT;
    assert!(!late, "frames met a receiver that was not ready, long after the start ({passed:?}): {state:?}");
}

#[test]
fn frames_pass_a_driver_that_uses_buffers_in_order_and_merges_them() {
    pass(1, |driver| driver.options = "in_order=1,mrg_rxbuf=1".to_owned());
}

#[test]
fn frames_pass_a_driver_that_uses_buffers_in_order_and_does_not_merge_them() {
    pass(1, |driver| driver.options = "in_order=1,mrg_rxbuf=0".to_owned());
}

#[test]
fn frames_pass_a_driver_that_uses_buffers_in_any_order_and_merges_them() {
    pass(1, |driver| driver.options = "in_order=0,mrg_rxbuf=1".to_owned());
}

#[test]
fn frames_pass_a_driver_that_uses_buffers_in_any_order_and_does_not_merge_them() {
    pass(1, |driver| driver.options = "in_order=0,mrg_rxbuf=0".to_owned());
}

/// A frame in several buffers is sent by an indirect descriptor, and received into merged buffers. testpmd
/// takes at most as many buffers at a time as it sends frames, and so receives only a part of these.
#[test]
fn jumbo_frames_pass_in_many_small_buffers_and_indirect_descriptors() {
    let passed = account_for_all(1, |driver| {
        driver.options = "in_order=0,mrg_rxbuf=1".to_owned();
        driver.buffer_bytes = 512;
        driver.largest = 9014;
        driver.queue_size = 1024;
    });
    assert!(passed.received > passed.sent / 3, "more than two thirds of the frames were lost: {passed:?}");
}

/// The driver sends as fast as it can, and above its rate: what is too much stays in its rings, so that all of it arrives once, in
/// order and at the rate. (It serves both ports in turn, and waits at either: so both have the same rate.)
#[test]
fn what_a_driver_sends_above_its_rate_waits_in_its_ring_and_comes_whole_and_at_the_rate() {
    let port = |name: &str| format!("[port.{name}]\nnetwork = \"lab\"\nqos = \"held\"\n");
    let daemon = Daemon::start(&format!(
        "[qos.held]\ningress = {{ packets = \"20kpps\", packet_burst = 4000, exceed = \"wait\" }}\n\
         [network.lab]\n{}{}",
        port("a"),
        port("b")
    ));
    let driver = Driver::new([daemon.socket("a"), daemon.socket("b")], 60_000);
    let passed = std::thread::scope(|scope| {
        let running = scope.spawn(|| driver.run());
        assert_rates(&daemon, 20e3);
        running.join().unwrap()
    });
    account(&daemon, passed);
    let state = daemon.show();
    for port in ["a", "b"].map(|name| state.port(name)) {
        assert_eq!(port.dropped(FULL) + port.dropped("policed"), 0, "frames were lost: {state:?}");
        assert!(port.pauses > 100, "{} pauses", port.pauses);
    }
}

/// Asserts that so many frames a second enter at both ports once their bursts are over. What was there is told by two looks, each of
/// which takes some time: there may be as much as comes in the longest time between them, and has to be what comes in the shortest.
fn assert_rates(daemon: &Daemon, rate: f64) {
    let look = || {
        let (began, state) = (Instant::now(), daemon.show());
        (["a", "b"].map(|name| state.port(name).received.frames), began, Instant::now())
    };
    wait_until("both ports to have sent more than a burst", Duration::from_secs(30), || {
        look().0.iter().all(|frames| *frames > 8000)
    });
    // Fewer come while testpmd or the switch is not run, and never more: in one of some windows all come.
    let mut seen = Vec::new();
    let come_all = (0..4).any(|_| {
        let (before, earliest, begun) = look();
        std::thread::sleep(Duration::from_millis(600));
        let (after, ended, latest) = look();
        let frames = [0, 1].map(|port| (after[port] - before[port]) as f64);
        let [least, most] = [ended - begun, latest - earliest].map(|time| rate * time.as_secs_f64());
        seen.push(format!("{frames:?} frames of {least:.0} to {most:.0}"));
        // Either look may be in the middle of a burst.
        assert!(frames.iter().all(|frames| *frames <= most * 1.01 + 64.0), "{seen:#?}");
        frames.iter().all(|frames| *frames >= least * 0.98 - 64.0)
    });
    assert!(come_all, "{seen:#?}");
}

#[test]
fn frames_pass_through_rings_of_64_entries() {
    pass(1, |driver| driver.queue_size = 64);
}

#[test]
fn frames_pass_through_rings_of_128_entries() {
    pass(1, |driver| driver.queue_size = 128);
}

#[test]
fn frames_pass_through_rings_of_512_entries() {
    pass(1, |driver| driver.queue_size = 512);
}

#[test]
fn frames_pass_through_rings_of_1024_entries() {
    pass(1, |driver| driver.queue_size = 1024);
}

#[test]
fn frames_pass_through_two_queue_pairs_in_the_order_of_their_flows() {
    pass(2, |_| {});
}

#[test]
fn frames_pass_through_four_queue_pairs_in_the_order_of_their_flows() {
    pass(4, |driver| driver.options = "in_order=1".to_owned());
}

#[test]
fn frames_pass_a_driver_with_vector_instructions() {
    pass(1, |driver| driver.options = "vectorized=1,mrg_rxbuf=0,in_order=1".to_owned());
}

// The same over packed rings

#[test]
fn frames_pass_packed_rings_in_order_with_merged_buffers() {
    pass(1, |driver| driver.options = "packed_vq=1,in_order=1,mrg_rxbuf=1".to_owned());
}

#[test]
fn frames_pass_packed_rings_in_order_without_merged_buffers() {
    pass(1, |driver| driver.options = "packed_vq=1,in_order=1,mrg_rxbuf=0".to_owned());
}

#[test]
fn frames_pass_packed_rings_in_any_order_with_merged_buffers() {
    pass(1, |driver| driver.options = "packed_vq=1,in_order=0,mrg_rxbuf=1".to_owned());
}

#[test]
fn frames_pass_packed_rings_in_any_order_without_merged_buffers() {
    pass(1, |driver| driver.options = "packed_vq=1,in_order=0,mrg_rxbuf=0".to_owned());
}

/// Lets frames of up to `largest` bytes pass in buffers of 512 bytes.
fn pass_jumbo_frames_over_packed_rings(in_order: u8, largest: u16) {
    let passed = account_for_all(1, |driver| {
        driver.options = format!("packed_vq=1,in_order={in_order},mrg_rxbuf=1");
        driver.buffer_bytes = 512;
        driver.largest = largest;
        driver.queue_size = 1024;
        driver.frames = FRAMES / 2;
    });
    assert!(passed.received > passed.sent / 3, "more than two thirds of the frames were lost: {passed:?}");
}

/// A frame in up to seven buffers is sent by an indirect descriptor, one in more takes a descriptor of the ring for each.
#[test]
fn jumbo_frames_pass_packed_rings_in_tables_and_long_chains() {
    pass_jumbo_frames_over_packed_rings(1, 9014);
}

/// Only indirect descriptors: testpmd 22.11 to 26.07 leaves the buffer id of an indirect descriptor as it finds it, unless
/// buffers are used in order. Once a chain took several slots, those ids are no longer what it counts by, and it never
/// finds its buffers again, whatever the device.
#[test]
fn jumbo_frames_pass_packed_rings_in_tables_in_any_order() {
    pass_jumbo_frames_over_packed_rings(0, 3500);
}

#[test]
fn frames_pass_through_packed_rings_of_64_to_1024_entries() {
    for size in [64, 128, 512, 1024] {
        pass(1, |driver| {
            driver.options = "packed_vq=1".to_owned();
            driver.queue_size = size;
            driver.frames = FRAMES / 2;
        });
    }
}

#[test]
fn frames_pass_through_two_packed_queue_pairs_in_the_order_of_their_flows() {
    pass(2, |driver| driver.options = "packed_vq=1".to_owned());
}

#[test]
fn frames_pass_through_four_packed_queue_pairs_in_the_order_of_their_flows() {
    pass(4, |driver| driver.options = "packed_vq=1,in_order=0".to_owned());
}

#[test]
fn frames_pass_a_packed_driver_with_vector_instructions() {
    pass(1, |driver| driver.options = "packed_vq=1,vectorized=1,mrg_rxbuf=0,in_order=1".to_owned());
}

// A switch that is killed

/// DPDK's driver begins packed rings anew at each connection, in the same memory: what the switch noted of the old ones
/// must not mislead its successor.
#[test]
fn a_switch_that_is_killed_twenty_times_serves_drivers_on() {
    for options in ["packed_vq=1,in_order=1", "packed_vq=1,in_order=0,mrg_rxbuf=0", "in_order=1"] {
        let port = |name: &str| format!("[port.{name}]\nnetwork = \"lab\"\nrole = \"client\"\n");
        let mut daemon = Daemon::start(&format!("[network.lab]\n{}{}", port("a"), port("b")));
        let mut talkers = Talkers::listen(&["a", "b"].map(|port| daemon.socket(port)), options);
        for kill in 0..=20 {
            await_ports(&daemon, "rings that run", |port| port.state == "running");
            talkers.start();
            let what = format!("traffic both ways after {kill} kills, {options}");
            await_ports(&daemon, &what, |port| port.sent.frames > 5_000);
            if kill < 20 {
                talkers.stop();
                daemon.kill();
                daemon.restart();
            }
        }
        talkers.finish();
    }
}

fn await_ports(daemon: &Daemon, what: &str, is_there: impl Fn(&Port) -> bool) {
    wait_until(what, Duration::from_secs(20), || {
        let state = daemon.show();
        ["a", "b"].iter().all(|port| is_there(state.port(port)))
    });
}
