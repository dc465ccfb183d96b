//! A Linux guest as the other end of Geneve and GRE, over both versions of IP: its kernel has what that of the machine may lack.

use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::iperf_above;
use viaduct_tests::machine::{Guest, Machine};
use viaduct_tests::town::Station;

use super::exchange::reach;
use super::underlay::{LIMIT, Underlay, start, uplink};
use super::wire::Wire;

const CONFIG: &str = r#"
[network.geneve]
overlay = { kind = "geneve", vni = 101, uplink = "isp", peers = ["192.168.99.2"] }
[network.gre]
overlay = { kind = "gre", key = 102, uplink = "isp", peers = ["192.168.99.2"] }
[network.geneve6]
overlay = { kind = "geneve", vni = 103, uplink = "isp", peers = ["fd99::2"] }
[network.gre6]
overlay = { kind = "gre", key = 104, uplink = "isp", peers = ["fd99::2"] }
[port.geneve]
network = "geneve"
[port.gre]
network = "gre"
[port.geneve6]
network = "geneve6"
[port.gre6]
network = "gre6"
"#;

/// What the guest's devices are told, each with the name of our network. Linux puts a destination option before what GRE carries over
/// IPv6 unless it is told not to.
const DEVICES: [(&str, &str); 4] = [
    ("geneve", "type geneve id 101 remote 192.168.99.1"),
    ("gre", "type gretap local 192.168.99.2 remote 192.168.99.1 key 102"),
    ("geneve6", "type geneve id 103 remote fd99::1"),
    ("gre6", "type ip6gretap local fd99::2 remote fd99::1 key 104 encaplimit none"),
];

/// A guest on the wire, with a device for each tunnel. All are in its one namespace, so each has a subnet of its own.
fn boot(underlay: &Underlay) -> Guest {
    let wire = underlay.segment.namespace();
    wire.ip("tuntap add dev tap0 mode tap");
    wire.ip("link set tap0 master segment up");
    let mut guest = Machine::new("linux", "192.168.99.2/24").on_tap(wire, "tap0").boot();
    // What is left to the card would be left unfinished on the wire.
    guest.run("ethtool -K eth0 tx off >/dev/null");
    guest.run("ip address add fd99::2/64 dev eth0 nodad");
    guest.run("for module in geneve ip_gre ip6_gre; do modprobe $module || exit; done");
    for (number, (name, words)) in (1..).zip(DEVICES) {
        guest.run(&format!("ip link add t-{name} {words} && ip link set t-{name} mtu 1400 up"));
        guest.run(&format!("ip address add 10.{number}.0.2/24 dev t-{name}"));
        guest.run(&format!("ip address add fd10:{number}::2/64 dev t-{name} nodad"));
    }
    guest
}

#[test]
fn the_kernel_of_a_guest_is_the_other_end_of_geneve_and_gre() {
    let underlay = Underlay::new();
    let host = underlay.machine("one");
    let stations = DEVICES.map(|(name, _)| Station::new(&host, name));
    for (number, station) in (1..).zip(&stations) {
        station.namespace.ip("link set eth0 mtu 1400");
        station.namespace.ip(&format!("address add 10.{number}.0.1/24 dev eth0"));
        station.namespace.ip(&format!("address add fd10:{number}::1/64 dev eth0 nodad"));
    }
    let daemon = start(&host, &(uplink(1) + CONFIG), &stations.each_ref());
    let mut guest = boot(&underlay);
    let wire = Wire::listen(&underlay, "guest-kernel");
    guest.serve_iperf();
    for (number, station) in (1..).zip(&stations) {
        let (ours, theirs) = (format!("10.{number}.0.1"), format!("10.{number}.0.2"));
        reach(&station.namespace, &theirs);
        guest.ping(&ours, 1372);
        guest.ping(&format!("fd10:{number}::1"), 1352);
        // Of each kind once, and over each version of IP: the guest is slow.
        let options = if ["geneve", "gre6"].contains(&station.name) {
            &["-b 20M", "-u -b 5M -l 1200"][..]
        } else {
            &[]
        };
        for options in options {
            let rate = iperf_above(1e6, &format!("fd10:{number}::2"), 1, options, |line| {
                station.namespace.run(line)
            });
            assert!(rate > 1e6, "{} {options}: {rate} bit/s", station.name);
        }
        assert_eq!(station.namespace.checksum_errors(), 0, "{}", station.name);
    }
    assert_eq!(guest.checksum_errors(), 0);
    for source in ["ip.src == 192.168.99.", "ipv6.src == fd99::"] {
        for (host, kind) in [(1, "geneve"), (1, "gre"), (2, "geneve"), (2, "gre")] {
            let filter = format!("{kind} && {source}{host}");
            wait_until(&filter, LIMIT, || wire.count(&filter) >= 6);
        }
    }
    assert_eq!(wire.wrong_checksums(), Vec::<Vec<String>>::new());
    drop(daemon);
}
