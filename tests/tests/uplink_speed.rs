//! A guest and a Linux host over an uplink, and the same over TAP and a Linux bridge: a table of both, for people.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use viaduct_tests::daemon::Daemon;
use viaduct_tests::machine::{Guest, Machine};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;

/// What counts as working: a fraction of what an emulated guest can do.
const WORKING_BITS_PER_SECOND: f64 = 5e6;
const HOST: &str = "192.168.79.1";
const CONFIG: &str = "[uplink.wan]\ninterface = \"eth1\"\n[network.office]\nmode = \"bridged\"\nuplink = \"wan\"\n\
                      [port.vm1]\nnetwork = \"office\"\n";
/// What is measured: its name and iperf3's options.
const MEASURED: [(&str, &str); 4] = [
    ("TCP to the host", ""),
    ("TCP from the host", "-R"),
    ("UDP to the host", "-u -b 0"),
    ("UDP from the host", "-u -b 0 -R"),
];

/// A host at the other end of the cable `eth1` of `inside`, with an iperf3 server.
fn host(inside: &Namespace) -> (Namespace, Process, tempfile::TempDir) {
    let outside = Namespace::new("outside");
    cable((inside, "eth1"), (&outside, "eth1"));
    outside.ip(&format!("address add {HOST}/24 dev eth1"));
    let folder = tempfile::tempdir().unwrap();
    let mut server = outside.command("iperf3");
    server.arg("--server");
    let server = Process::spawn("iperf3", &server, folder.path());
    (outside, server, folder)
}

/// Bits a second that arrived, of each that is measured.
fn measure(guest: &mut Guest) -> [f64; 4] {
    guest.ping(HOST, 56);
    MEASURED.map(|(_, options)| guest.iperf(HOST, 2, options))
}

fn over_uplink() -> [f64; 4] {
    let inside = Namespace::new("inside");
    let host = host(&inside);
    let daemon = Daemon::start_in(&inside, CONFIG);
    daemon.wait_for_state("wan", "attached");
    let mut guest = Machine::new("vm1", "192.168.79.2/24").on_port_of(&daemon).boot();
    let rates = measure(&mut guest);
    assert_eq!(guest.checksum_errors() + host.0.checksum_errors(), 0, "packets with wrong checksums arrived");
    rates
}

fn over_tap_and_bridge() -> [f64; 4] {
    let inside = Namespace::new("inside");
    let _host = host(&inside);
    for words in [
        "link add br0 type bridge forward_delay 0",
        "tuntap add dev tap0 mode tap",
        "link set tap0 master br0",
        "link set eth1 master br0",
        "link set tap0 up",
        "link set br0 up",
    ] {
        inside.ip(words);
    }
    let mut guest = Machine::new("vm1", "192.168.79.2/24").on_tap(&inside, "tap0").boot();
    measure(&mut guest)
}

/// How fast this machine is at that moment is no matter of right and wrong: only that all works is.
#[test]
fn a_guest_talks_to_a_host_over_an_uplink_and_the_table_compares_tap_and_bridge() {
    let (uplink, tap) = (over_uplink(), over_tap_and_bridge());
    eprintln!("{:18}  {:>12}  {:>12}  ratio", "Mbit/s", "uplink", "TAP + bridge");
    for (index, (name, _)) in MEASURED.iter().enumerate() {
        let (ours, theirs) = (uplink[index] / 1e6, tap[index] / 1e6);
        eprintln!("{name:18}  {ours:12.0}  {theirs:12.0}  {:5.2}", ours / theirs);
        assert!(uplink[index] > WORKING_BITS_PER_SECOND, "{name} over the uplink came to {ours} Mbit/s only");
    }
}
