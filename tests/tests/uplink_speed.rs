//! A guest and a Linux host over an uplink, bridged and by NAT, and the same over TAP and a Linux bridge, without and with the kernel's
//! masquerade: tables of both, for people.
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
const NAT: &str = "[uplink.wan]\ninterface = \"eth1\"\naddress = \"192.168.79.2/24\"\ngateway = \"192.168.79.1\"\n\
                   [network.home]\nmode = \"nat\"\nuplink = \"wan\"\nsubnets = [\"10.0.0.0/24\"]\n\
                   [port.vm1]\nnetwork = \"home\"\n";
/// What is measured: its name, iperf3's options, and whether it has to work. A host that sends datagrams as fast as it can may keep the
/// only processor of an emulated guest busy with taking packets in, so that its iperf3 is never run: that is told, and no fault of
/// what brings them.
const MEASURED: [(&str, &str, bool); 5] = [
    ("TCP to the host", "", true),
    ("TCP from the host", "-R", true),
    ("UDP to the host", "-u -b 0", true),
    ("UDP, 20 Mbit/s from it", "-u -b 20M -R", true),
    ("UDP flood from it", "-u -b 0 -R", false),
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
fn measure(guest: &mut Guest) -> [f64; MEASURED.len()] {
    guest.ping(HOST, 56);
    MEASURED.map(|(_, options, has_to_work)| {
        let least = if has_to_work { WORKING_BITS_PER_SECOND } else { 0.0 };
        guest.iperf_above(least, HOST, 2, options)
    })
}

fn over_uplink() -> [f64; MEASURED.len()] {
    let inside = Namespace::new("inside");
    let host = host(&inside);
    let daemon = Daemon::start_in(&inside, CONFIG);
    daemon.wait_for_state("wan", "attached");
    let mut guest = Machine::new("vm1", "192.168.79.2/24").on_port_of(&daemon).boot();
    let rates = measure(&mut guest);
    assert_eq!(guest.checksum_errors() + host.0.checksum_errors(), 0, "packets with wrong checksums arrived");
    rates
}

/// A bridge with the cable's end and a TAP device, or with the latter alone.
fn bridge(inside: &Namespace, ends: &[&str]) {
    for words in ["link add br0 type bridge forward_delay 0", "tuntap add dev tap0 mode tap"] {
        inside.ip(words);
    }
    for end in ends {
        inside.ip(&format!("link set {end} master br0"));
    }
    for words in ["link set tap0 up", "link set br0 up"] {
        inside.ip(words);
    }
}

fn over_tap_and_bridge() -> [f64; MEASURED.len()] {
    let inside = Namespace::new("inside");
    let _host = host(&inside);
    bridge(&inside, &["tap0", "eth1"]);
    let mut guest = Machine::new("vm1", "192.168.79.2/24").on_tap(&inside, "tap0").boot();
    measure(&mut guest)
}

fn by_nat() -> [f64; MEASURED.len()] {
    let inside = Namespace::new("inside");
    let host = host(&inside);
    let daemon = Daemon::start_in(&inside, NAT);
    daemon.wait_for_state("wan", "attached");
    let mut guest = Machine::new("vm1", "10.0.0.10/24").on_port_of(&daemon).boot();
    guest.run("ip route add default via 10.0.0.1");
    let rates = measure(&mut guest);
    assert_eq!(guest.checksum_errors() + host.0.checksum_errors(), 0, "packets with wrong checksums arrived");
    rates
}

fn by_the_kernels_masquerade() -> [f64; MEASURED.len()] {
    let inside = Namespace::new("inside");
    let _host = host(&inside);
    bridge(&inside, &["tap0"]);
    inside.ip("address add 10.0.0.1/24 dev br0");
    inside.ip("address add 192.168.79.2/24 dev eth1");
    inside.run("sysctl -q -w net.ipv4.ip_forward=1");
    inside.run(
        "nft 'table ip t { chain p { type nat hook postrouting priority 100; oifname \"eth1\" masquerade; }; }'",
    );
    let mut guest = Machine::new("vm1", "10.0.0.10/24").on_tap(&inside, "tap0").boot();
    guest.run("ip route add default via 10.0.0.1");
    measure(&mut guest)
}

/// Tells both. How fast this machine is at that moment is no matter of right and wrong: only that all works is.
fn compare([ours, theirs]: [(&str, [f64; MEASURED.len()]); 2]) {
    eprintln!("{:22}  {:>12}  {:>20}  ratio", "Mbit/s", ours.0, theirs.0);
    for (index, (name, _, has_to_work)) in MEASURED.iter().enumerate() {
        let [ours, theirs] = [ours.1[index] / 1e6, theirs.1[index] / 1e6];
        eprintln!("{name:22}  {ours:12.0}  {theirs:20.0}  {:5.2}", ours / theirs);
        assert!(!has_to_work || ours * 1e6 > WORKING_BITS_PER_SECOND, "{name} came to {ours} Mbit/s only");
    }
}

#[test]
fn a_guest_talks_to_a_host_over_an_uplink_and_the_table_compares_tap_and_bridge() {
    compare([("uplink", over_uplink()), ("TAP + bridge", over_tap_and_bridge())]);
}

#[test]
fn a_guest_talks_to_a_host_by_nat_and_the_table_compares_the_kernels_masquerade() {
    compare([("nat", by_nat()), ("TAP + masquerade", by_the_kernels_masquerade())]);
}
