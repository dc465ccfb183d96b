//! Open vSwitch's userspace switch as the other end of VXLAN, GRE and Geneve, over both versions of IP.

use viaduct_tests::namespace::Namespace;
use viaduct_tests::open_vswitch::OpenVswitch;

use super::exchange::{exchange, reach, serve};
use super::underlay::{Underlay, dual_station, start, uplink};
use super::wire::Wire;

const CONFIG: &str = r#"
[network.vxlan]
overlay = { kind = "vxlan", vni = 101, uplink = "isp", peers = ["192.168.99.2"] }
[network.gre]
overlay = { kind = "gre", key = 101, uplink = "isp", peers = ["192.168.99.2"] }
[network.geneve]
overlay = { kind = "geneve", vni = 101, uplink = "isp", peers = ["192.168.99.2"] }
[network.vxlan6]
overlay = { kind = "vxlan", vni = 106, uplink = "isp", peers = ["fd99::2"] }
[network.gre6]
overlay = { kind = "gre", key = 106, uplink = "isp", peers = ["fd99::2"] }
[network.geneve6]
overlay = { kind = "geneve", vni = 106, uplink = "isp", peers = ["fd99::2"] }
[port.vxlan6]
network = "vxlan6"
[port.gre6]
network = "gre6"
[port.geneve6]
network = "geneve6"
[port.vxlan]
network = "vxlan"
[port.gre]
network = "gre"
[port.geneve]
network = "geneve"
"#;

/// Open vSwitch on a machine: a bridge `physical` with its interface and its address, and one for each kind of tunnel, with the
/// station of that name on it.
fn peer(machine: Namespace, kinds: &[&'static str]) -> (OpenVswitch, Vec<Namespace>) {
    let switch = OpenVswitch::new(machine);
    switch.vsctl(
        "add-br physical -- set bridge physical datapath_type=netdev fail-mode=standalone -- add-port physical under0",
    );
    switch.namespace.ip("address add 192.168.99.2/24 dev physical");
    switch.namespace.ip("address add fd99::2/64 dev physical nodad");
    switch.namespace.ip("link set physical up");
    let stations = kinds.iter().map(|kind| {
        let station = dual_station(&switch.namespace, kind, 2);
        station.namespace.ip("link set eth0 mtu 1430");
        let (tunnel, remote, key) = match kind.strip_suffix('6') {
            Some(tunnel) => (tunnel, "fd99::1", 106),
            None => (*kind, "192.168.99.1", 101),
        };
        // What leaves by a socket of Open vSwitch's must be whole.
        station.namespace.run("ethtool -K eth0 tx off >/dev/null");
        switch.vsctl(&format!(
            "add-br {kind} -- set bridge {kind} datapath_type=netdev fail-mode=standalone \
             -- add-port {kind} t-{kind} -- set interface t-{kind} type={tunnel} options:remote_ip={remote} options:key={key} \
             -- add-port {kind} v-{kind}"
        ));
        station.namespace
    });
    let stations = stations.collect();
    (switch, stations)
}

#[test]
fn open_vswitch_is_the_other_end_of_all_kinds_of_tunnels() {
    let underlay = Underlay::new();
    let [host, machine] = ["one", "ovs"].map(|name| underlay.machine(name));
    let kinds = ["vxlan", "gre", "geneve", "vxlan6", "gre6", "geneve6"];
    let (_switch, places) = peer(machine, &kinds);
    let wire = Wire::listen(&underlay, "ovs");
    let stations = kinds.map(|kind| dual_station(&host, kind, 1));
    stations.iter().for_each(|station| _ = station.namespace.ip("link set eth0 mtu 1430"));
    let daemon = start(&host, &(uplink(1) + CONFIG), &stations.each_ref());
    for (station, place) in stations.iter().zip(&places) {
        reach(&station.namespace, "10.101.0.2");
        reach(place, "10.101.0.1");
        let _servers = [serve(&underlay, place), serve(&underlay, &station.namespace)];
        for (from, to) in [(&station.namespace, 2), (place, 1)] {
            exchange(from, &format!("10.101.0.{to}"), 1 << 20);
            exchange(from, &format!("fd10::{to}"), 1 << 20);
        }
        assert_eq!(place.checksum_errors() + station.namespace.checksum_errors(), 0, "{}", station.name);
    }
    for kind in ["vxlan", "gre", "geneve"] {
        assert!(wire.count(&format!("{kind} && ip.src == 192.168.99.1")) > 20, "{kind}");
        assert!(wire.count(&format!("{kind} && ipv6.src == fd99::1")) > 20, "{kind}");
    }
    assert_eq!(wire.wrong_checksums(), Vec::<Vec<String>>::new());
    drop(daemon);
}
