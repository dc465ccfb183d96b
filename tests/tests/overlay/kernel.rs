//! The Linux kernel's own VXLAN device as the other VTEP: by a group, by an address, and over IPv6.

use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;

use super::exchange::{exchange, measure, reach, serve};
use super::underlay::{LIMIT, Underlay, dual_station, start, uplink};
use super::wire::Wire;

const CONFIG: &str = r#"
[network.group]
overlay = { kind = "vxlan", vni = 101, uplink = "isp", group = "239.1.1.101" }
[network.pair]
overlay = { kind = "vxlan", vni = 102, uplink = "isp", peers = ["192.168.99.2"] }
[network.six]
overlay = { kind = "vxlan", vni = 103, uplink = "isp", group = "ff0e::1:103" }
[network.pair6]
overlay = { kind = "vxlan", vni = 104, uplink = "isp", peers = ["fd99::2"] }
[port.group]
network = "group"
[port.pair]
network = "pair"
[port.six]
network = "six"
[port.pair6]
network = "pair6"
"#;

/// What the kernel's devices are told, each with the name of our network.
const DEVICES: [(&str, &str); 4] = [
    ("group", "id 101 local 192.168.99.2 group 239.1.1.101 dev under0"),
    ("pair", "id 102 local 192.168.99.2 remote 192.168.99.1"),
    ("six", "id 103 local fd99::2 group ff0e::1:103 dev under0"),
    ("pair6", "id 104 local fd99::2 remote fd99::1"),
];

/// The kernel's device with station 2's addresses, in a namespace of its own: all tenants have the same addresses.
pub(super) fn device(machine: &Namespace, (name, words): (&'static str, &str)) -> Namespace {
    let place = Namespace::new(name);
    let device = format!("vx-{name}");
    machine.ip(&format!("link add {device} type vxlan {words} dstport 4789"));
    machine.ip(&format!("link set {device} netns {}", place.name()));
    // Headers of IPv6 are longer than those that the device reckons with.
    place.ip(&format!("link set {device} mtu 1430 up"));
    place.ip(&format!("address add 10.101.0.2/24 dev {device}"));
    place.ip(&format!("address add fd10::2/64 dev {device} nodad"));
    place
}

/// Who of the switch's own addresses told of a change to its groups: RFC 3376, 4.2.12 and RFC 3810, 5.2.12, to `EXCLUDE` (4) or
/// `INCLUDE` (3).
fn has_told(wire: &Wire, change: &str) -> bool {
    let igmp = format!("igmp.record_type == {change} && igmp.maddr == 239.1.1.101 && ip.src == 192.168.99.1");
    let mld = "icmpv6.mldr.mar.record_type";
    let mld = format!("{mld} == {change} && icmpv6.mldr.mar.multicast_address == ff0e::1:103");
    wire.count(&igmp) > 0 && wire.count(&mld) > 0
}

#[test]
fn the_kernels_vxlan_device_is_a_vtep_beside_ours() {
    let underlay = Underlay::new();
    let [host, peer] = ["one", "linux"].map(|name| underlay.machine(name));
    peer.ip("address add 192.168.99.2/24 dev under0");
    peer.ip("address add fd99::2/64 dev under0 nodad");
    let wire = Wire::listen(&underlay, "kernel");
    let stations = DEVICES.map(|(name, _)| dual_station(&host, name, 1));
    stations.iter().for_each(|station| _ = station.namespace.ip("link set eth0 mtu 1430"));
    let mut daemon = start(&host, &(uplink(1) + CONFIG), &stations.each_ref());
    wait_until("the groups to be joined", LIMIT, || has_told(&wire, "4"));
    for (station, words) in stations.iter().zip(DEVICES) {
        let place = device(&peer, words);
        reach(&station.namespace, "10.101.0.2");
        reach(&place, "10.101.0.1");
        let _servers = [serve(&underlay, &place), serve(&underlay, &station.namespace)];
        for (from, to) in [(&station.namespace, 2), (&place, 1)] {
            exchange(from, &format!("10.101.0.{to}"), 1 << 20);
            exchange(from, &format!("fd10::{to}"), 1 << 20);
        }
        if ["group", "pair6"].contains(&station.name) {
            measure(&underlay, &station.namespace, (&place, "fd10::2"));
        }
        assert_eq!(place.checksum_errors() + station.namespace.checksum_errors(), 0, "{}", station.name);
    }
    assert_eq!(peer.checksum_errors(), 0, "of outer packets");
    assert_eq!(wire.wrong_checksums(), Vec::<Vec<String>>::new());
    // RFC 7348, 5: the flows of a tenant are spread over source ports.
    let ports =
        wire.rows("vxlan.vni == 101 && ip.src == 192.168.99.1 && ip.src == 10.101.0.1", &["udp.srcport"]);
    let outer: std::collections::BTreeSet<_> =
        ports.iter().filter_map(|row| row[0].split(',').next().map(str::to_owned)).collect();
    assert!(outer.len() > 3, "{outer:?}");
    // Who ends needs no group's frames any more.
    assert!(!has_told(&wire, "3"));
    assert!(daemon.terminate().success());
    wait_until("the groups to be left", LIMIT, || has_told(&wire, "3"));
}
