//! Scenario S7: three switches on three machines, a tenant with a station on each.

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::town::{Station, with_stations};

use super::exchange::{exchange, reach, serve};
use super::fed::stations_are_fed_and_move;
use super::underlay::{LIMIT, Underlay, address, mac, quiet_station, start, uplink};
use super::wire::Wire;

const GROUP: &str = "239.1.1.101";
pub(super) const NUMBERS: [u8; 3] = [1, 2, 3];

/// A machine, its switch and its station.
pub(super) struct Node {
    _host: Namespace,
    pub(super) station: Station,
    pub(super) daemon: Daemon,
}

impl Node {
    /// The machine's station is station `number` from now on.
    pub(super) fn become_station(&self, number: u8) {
        let place = &self.station.namespace;
        place.ip("address flush dev eth0");
        place.ip(&format!("link set eth0 address {}", mac(number)));
        place.ip(&format!("address add {}/24 dev eth0", address(number)));
    }
}

/// How the machines' networks are tied together.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// Frames for many go to a group.
    Group,
    /// They go to each machine by itself.
    Replication,
    /// Where stations are is written, and so none is asked for: the documentation's example.
    Static,
    /// Nothing is written: where stations are is told by the API.
    Fed,
    /// GRE in the place of VXLAN, as with [`Mode::Replication`].
    Gre,
}

impl Mode {
    /// The file of machine `number`. Each mode has a network of its own, so that nothing is left of the one before.
    pub(super) fn config(self, number: u8) -> String {
        if matches!(self, Self::Static) {
            return example(number);
        }
        let others = NUMBERS.into_iter().filter(|other| *other != number);
        let peers: Vec<String> = others.map(|other| format!("\"192.168.99.{other}\"")).collect();
        let peers = format!("peers = [{}]", peers.join(", "));
        let group = format!("group = \"{GROUP}\"");
        let (name, overlay) = match self {
            Self::Group => ("tenant101", format!("kind = \"vxlan\", vni = 101, {group}")),
            Self::Replication => ("tenant102", format!("kind = \"vxlan\", vni = 102, {peers}")),
            Self::Static => unreachable!("it is the example"),
            Self::Fed => ("tenant105", "kind = \"vxlan\", vni = 105, known_vteps_only = true".to_owned()),
            Self::Gre => ("tenant104", format!("kind = \"gre\", key = 104, {peers}")),
        };
        let mut text = uplink(number);
        text += &format!("[network.{name}]\noverlay = {{ {overlay}, uplink = \"isp\" }}\n");
        if matches!(self, Self::Fed) {
            text += "arp_suppression = true\n";
        }
        text + &format!("[port.s{number}]\nnetwork = \"{name}\"\n")
    }
}

/// `examples/overlay.toml`, which is machine 1's: another one's has the other one's addresses where that has its own, and the other way round.
fn example(number: u8) -> String {
    let text = include_str!("../../../examples/overlay.toml").replace("\"eth1\"", "\"under0\"");
    let pairs = [
        ["192.168.99.1", "192.168.99."],
        ["52:54:00:00:01:01", "52:54:00:00:01:0"],
        ["10.101.0.1", "10.101.0."],
    ];
    let text = pairs.into_iter().fold(text, |text, [first, stem]| {
        let own = format!("{stem}{number}");
        text.replace(first, "?").replace(&own, first).replace('?', &own)
    });
    // Who is at the port is a container here.
    text.replace("[port.vm1]", &format!("[port.s{number}]"))
        .replace(&format!("mac = \"{}\"\n", mac(number)), "")
}

/// Whom the first question of a station goes to, and whence the answer comes, as the outer headers say.
fn questions(wire: &Wire, kind: &str) -> Vec<[String; 3]> {
    let rows = wire.rows(&format!("{kind} && arp"), &["ip.src", "ip.dst", "arp.opcode"]);
    rows.into_iter().map(|row| row.try_into().unwrap()).collect()
}

fn arp(from: u8, to: &str, operation: &str) -> [String; 3] {
    [format!("192.168.99.{from}"), to.to_owned(), operation.to_owned()]
}

/// Each station has forgotten who the others are.
pub(super) fn forget(nodes: &[Node]) {
    nodes.iter().for_each(|node| _ = node.station.namespace.ip("neigh flush all"));
}

pub(super) fn apply(nodes: &[Node], mode: Mode) {
    for (node, number) in nodes.iter().zip(NUMBERS) {
        node.daemon.apply(&with_stations(mode.config(number), &[&node.station]));
        node.daemon.wait_for_state(node.station.name, "attached");
    }
    forget(nodes);
}

/// A ping, a stream and datagrams from station 1 to station 2.
pub(super) fn talk(nodes: &[Node]) {
    let first = &nodes[0].station.namespace;
    reach(first, &address(2));
    first.run(&format!("busybox ping -q -c 5 -i 0.1 -W 1 {}", address(2)));
    exchange(first, &address(2), 1 << 20);
}

/// Who joined or left the group so far, by the machines' addresses: RFC 3376, 4.2.12, a change to `EXCLUDE` (4) or `INCLUDE` (3).
fn members(wire: &Wire, change: &str) -> Vec<String> {
    let filter = format!("igmp.type == 0x22 && igmp.maddr == {GROUP} && igmp.record_type == {change}");
    let mut all: Vec<String> = wire.rows(&filter, &["ip.src"]).concat();
    all.sort();
    all.dedup();
    all
}

#[test]
fn three_machines_are_one_network_by_a_group_by_replication_by_writing_and_by_gre() {
    let underlay = Underlay::new();
    let wire = Wire::listen(&underlay, "group");
    let nodes = [("one", "s1"), ("two", "s2"), ("three", "s3")];
    let nodes: Vec<Node> = nodes
        .into_iter()
        .zip(NUMBERS)
        .map(|((host, name), number)| {
            let host = underlay.machine(host);
            let station = quiet_station(&host, name, number);
            let daemon = start(&host, &Mode::Group.config(number), &[&station]);
            Node { _host: host, station, daemon }
        })
        .collect();
    let _server = serve(&underlay, &nodes[1].station.namespace);
    let machines = NUMBERS.map(|number| format!("192.168.99.{number}"));
    wait_until("all to join the group", LIMIT, || members(&wire, "4") == machines);

    talk(&nodes);
    assert_eq!(questions(&wire, "vxlan")[..2], [arp(1, GROUP, "1"), arp(2, "192.168.99.1", "2")]);
    assert_eq!(wire.count(&format!("vxlan && ip.dst == {GROUP}")), 1, "it is known who is where");
    assert!(wire.count("vxlan && vxlan.vni == 101") > 100);
    // By replication: the question goes to each of the others, and to no group.
    apply(&nodes, Mode::Replication);
    wait_until("all to leave the group", LIMIT, || members(&wire, "3") == machines);
    drop(wire);
    let wire = Wire::listen(&underlay, "replication");
    talk(&nodes);
    let mut asked = questions(&wire, "vxlan");
    asked.truncate(3);
    asked.sort();
    let mut expected =
        [arp(1, "192.168.99.2", "1"), arp(1, "192.168.99.3", "1"), arp(2, "192.168.99.1", "2")];
    expected.sort();
    assert_eq!(asked, expected);
    assert_eq!(wire.count(&format!("vxlan && (ip.dst == {GROUP} || ip.dst == 192.168.99.3)")), 1);
    drop(wire);

    // Where stations are that are written, nothing is flooded for.
    let wire = Wire::listen(&underlay, "static");
    apply(&nodes, Mode::Static);
    talk(&nodes);
    reach(&nodes[2].station.namespace, &address(1));
    assert_eq!(wire.count("vxlan.vni == 101 && (arp || eth.dst.ig == 1)"), 0, "nobody is asked for");
    drop(wire);

    let wire = Wire::listen(&underlay, "gre");
    apply(&nodes, Mode::Gre);
    talk(&nodes);
    let mut asked = questions(&wire, "gre");
    asked.truncate(3);
    asked.sort();
    assert_eq!(asked, expected);
    assert!(wire.count("gre.key == 104") > 100);
    drop(wire);
    stations_are_fed_and_move(&underlay, &nodes);
    for node in &nodes {
        assert_eq!(node.station.namespace.checksum_errors(), 0);
    }
}
