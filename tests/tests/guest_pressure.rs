//! A guest above its rate: what exceeds it is dropped, or waits in the guest's ring. TCP and a ping beside it show the difference.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::{Daemon, Usage};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::Shell;
use viaduct_tests::machine::Machine;

/// A rate that emulated guests reach several times over.
const RATE: f64 = 20e6;
const SECONDS: u64 = 5;

fn config(exceed: &str) -> String {
    format!(
        "[qos.held]\ningress = {{ police = \"20mbit\", exceed = \"{exceed}\" }}\n\
         [network.lab]\n[port.vm1]\nnetwork = \"lab\"\nqos = \"held\"\n[port.vm2]\nnetwork = \"lab\"\n"
    )
}

/// What became of a TCP stream above the rate, and of a ping beside it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    bits_per_second: f64,
    retransmits: u64,
    ping_ms: f64,
    dropped: u64,
    daemon_cpu_percent: f64,
}

fn see(daemon: &Daemon, vm1: &mut Shell) -> Seen {
    let dropped = |daemon: &Daemon| daemon.show().port("vm1").dropped("policed");
    let (before, usage) = (dropped(daemon), Usage::of(daemon.pid()));
    vm1.start("ping", &format!("sleep 1; ping -q -i 0.1 -c {} -W 5 10.0.1.2", (SECONDS - 2) * 10));
    let output = vm1.run_within(Duration::from_secs(60), &format!("iperf3 -J -c 10.0.1.2 -t {SECONDS}"));
    let report: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"));
    let used = Usage::of(daemon.pid());
    let ping = vm1.finish("ping", Duration::from_secs(30));
    let end = &report["end"];
    Seen {
        bits_per_second: end["sum_received"]["bits_per_second"].as_f64().expect("a rate"),
        retransmits: end["sum_sent"]["retransmits"].as_u64().expect("what was sent again"),
        ping_ms: average_ms(&ping),
        dropped: dropped(daemon) - before,
        daemon_cpu_percent: (used.cpu - usage.cpu).as_secs_f64() * 100.0 / SECONDS as f64,
    }
}

/// For people: what it costs, and what a ping takes.
fn tell(exceed: &str, seen: &Seen) {
    let Seen { bits_per_second, retransmits, ping_ms, dropped, daemon_cpu_percent } = seen;
    eprintln!(
        "{exceed}: {:.2} Mbit/s, {retransmits} segments again, {dropped} packets dropped, ping {ping_ms:.2} ms, \
         {daemon_cpu_percent:.1} % of a processor",
        bits_per_second / 1e6
    );
}

/// The middle number of `min/avg/max`.
fn average_ms(ping: &str) -> f64 {
    let numbers = ping.rsplit_once("min/avg/max").and_then(|(_, rest)| rest.split_once("= "));
    let average = numbers.and_then(|(_, numbers)| numbers.split('/').nth(1)?.parse().ok());
    average.unwrap_or_else(|| panic!("ping printed no times:\n{ping}"))
}

#[test]
fn a_guest_whose_frames_wait_loses_none_and_has_its_whole_rate() {
    let daemon = Daemon::start(&config("drop"));
    let [vm1, vm2] = [1, 2].map(|number| {
        Machine::new(&format!("vm{number}"), &format!("10.0.1.{number}/24")).on_port_of(&daemon)
    });
    let [mut vm1, mut vm2] = [vm1.power_on(), vm2.power_on()];
    vm1.await_shell();
    vm2.await_shell();
    vm2.serve_iperf();
    vm1.ping("10.0.1.2", 100);
    let dropping = see(&daemon, &mut vm1);
    tell("drop", &dropping);
    assert!(dropping.dropped > 0 && dropping.retransmits > 0, "{dropping:?}");
    daemon.apply(&config("wait"));
    // A guest that is not run for a while is late, and has its peer send again what it has got; nothing makes it faster.
    let mut seen = Vec::new();
    let has_all = (0..3).any(|_| {
        let waiting = see(&daemon, &mut vm1);
        tell("wait", &waiting);
        assert_eq!(waiting.dropped, 0, "{waiting:?}");
        // 1448 of 1514 bytes are TCP's.
        let share = waiting.bits_per_second / (RATE * 1448.0 / 1514.0);
        assert!(share <= 1.05, "{share} of what the rate lets through: {waiting:?}");
        seen.push((share, waiting));
        waiting.retransmits == 0 && share >= 0.95
    });
    assert!(has_all, "{seen:?}");
    assert!(daemon.show().port("vm1").pauses > 0);

    // Life goes on with a ring that pauses: a reset of the driver, and the end of the switch.
    vm1.start("flood", "iperf3 -c 10.0.1.2 -t 30");
    let pauses = daemon.show().port("vm1").pauses;
    wait_until("the guest's ring to pause", Duration::from_secs(10), || {
        daemon.show().port("vm1").pauses > pauses + 100
    });
    vm1.run("ip link set eth0 down; ip link set eth0 up");
    vm1.run("for d in /sys/bus/virtio/drivers/virtio_net/virtio*; do d=${d##*/}; \
             echo $d >/sys/bus/virtio/drivers/virtio_net/unbind; echo $d >/sys/bus/virtio/drivers/virtio_net/bind; done; \
             ip address replace 10.0.1.1/24 dev eth0; ip link set eth0 up");
    wait_until("the guest to be reached again", Duration::from_secs(20), || vm1.reaches("10.0.1.2"));
}
