//! At an uplink the gateway is a station like others: RFC 5227, 2, RFC 4862, 5.4, and what its DHCP client hears.

use super::*;

const ALL: MacAddress = MacAddress::BROADCAST;
const NOBODY: MacAddress = MacAddress([0; 6]);

/// A lab whose network 2 is an uplink's with these addresses, of which nothing was said yet.
fn uplink(addresses: &[&str]) -> Lab {
    let mut lab = Lab::new();
    lab.set_routing(at_uplink(addresses));
    lab
}

fn at_uplink(addresses: &[&str]) -> Routing {
    let settings = InterfaceSettings { is_outside: true, ..settings(2, 1500, addresses) };
    Routing::compile([settings], []).unwrap()
}

fn probed(outputs: &[Output]) -> Vec<(String, Option<MacAddress>)> {
    let probed = outputs.iter().filter_map(|output| match output {
        Output::Probed { address, taken_by, .. } => Some((address.to_string(), *taken_by)),
        _ => None,
    });
    probed.collect()
}

/// ARP messages that the gateway sends: whose address it says it has, and which one it asks for.
fn arps(outputs: &[Output]) -> Vec<(String, String)> {
    let arp = |(_, frame): (usize, Vec<u8>)| match read(&frame) {
        Contents::Arp(arp) => Some((arp.sender.to_string(), arp.target.to_string())),
        _ => None,
    };
    sent(outputs).into_iter().filter_map(arp).collect()
}

#[test]
fn an_address_that_is_not_its_own_yet_is_probed_for_and_not_announced() {
    let mut lab = uplink(&[]);
    lab.wait(10_000);
    lab.gateway.probe(network(2), address("192.0.2.50"), lab.now);
    let first = lab.wait(2000);
    // Another policy changes nothing about it.
    lab.set_routing(at_uplink(&["198.51.100.1/24"]));
    let rest = lab.wait(20_000);
    let all: Vec<_> = arps(&first).into_iter().chain(arps(&rest)).collect();
    let probes = all.iter().filter(|(_, target)| target == "192.0.2.50");
    assert!(probes.clone().all(|(sender, _)| sender == "0.0.0.0") && probes.count() == 3, "{all:?}");
    assert_eq!(probed(&rest), [("192.0.2.50".to_owned(), None)]);
    assert_eq!(lab.gateway.due(), None);
    // It is announced when it is the gateway's.
    lab.set_routing(at_uplink(&["192.0.2.50/24"]));
    let told = arps(&lab.wait(1));
    assert!(told.contains(&("192.0.2.50".to_owned(), "192.0.2.50".to_owned())), "{told:?}");
}

#[test]
fn who_has_the_address_that_is_probed_for_is_told_once() {
    for answer in [
        arp(2, GATEWAY, (mac(5), "192.0.2.50"), (GATEWAY, "0.0.0.0")),
        arp(1, ALL, (mac(5), "0.0.0.0"), (NOBODY, "192.0.2.50")),
    ] {
        let mut lab = uplink(&[]);
        lab.wait(10_000);
        lab.gateway.probe(network(2), address("192.0.2.50"), lab.now);
        lab.wait(1000);
        assert_eq!(probed(&lab.receive(5, 2, &answer)), [("192.0.2.50".to_owned(), Some(mac(5)))]);
        assert_eq!(probed(&lab.receive(5, 2, &answer)), [], "nothing is going on any more");
        assert_eq!((lab.wait(60_000), lab.gateway.due()), (vec![], None));
    }
}

#[test]
fn an_address_of_ipv4_is_used_and_asked_for_at_once_and_defended() {
    let mut lab = uplink(&["192.0.2.1/24"]);
    let own = || "192.0.2.1".to_owned();
    let told = arps(&lab.wait(1));
    assert_eq!(told, [("0.0.0.0".to_owned(), own()), (own(), own())]);
    let question = arp(1, ALL, (mac(6), "192.0.2.6"), (NOBODY, "192.0.2.1"));
    assert_eq!(sent(&lab.receive(6, 2, &question)).len(), 1, "it answers meanwhile");
    let out = lab.receive(5, 2, &arp(2, GATEWAY, (mac(5), "192.0.2.1"), (GATEWAY, "0.0.0.0")));
    let conflict =
        Output::Conflict { port: port(5), network: network(2), address: address("192.0.2.1"), mac: mac(5) };
    assert_eq!(out[0], conflict);
    // Behind a link that comes may be others.
    lab.wait(60_000);
    lab.gateway.link_up(network(2), lab.now);
    assert_eq!(arps(&lab.wait(1)).len(), 2);
}

#[test]
fn an_address_of_ipv6_is_used_once_nobody_has_it() {
    let own = "2001:db8::1";
    let group = discovery::solicited_node(address(own));
    let question = nd(
        135,
        0,
        (mac(5), compose::group_mac(group)),
        ("fe80::5", &group.to_string()),
        (own, Some((1, mac(5)))),
    );
    let mut lab = uplink(&["2001:db8::1/64"]);
    assert_eq!(lab.receive(5, 2, &question), [], "not answered for yet");
    let free = probed(&lab.wait(2100));
    assert!(free.contains(&(own.to_owned(), None)) && free.len() == 2, "its link-local one too: {free:?}");
    assert_eq!(sent(&lab.receive(5, 2, &question)).len(), 1);
    let mut lab = uplink(&["2001:db8::1/64"]);
    lab.wait(1000);
    let all = MacAddress([0x33, 0x33, 0, 0, 0, 1]);
    let claim = nd(136, 0x20, (mac(5), all), (own, "ff02::1"), (own, Some((2, mac(5)))));
    assert_eq!(probed(&lab.receive(5, 2, &claim)), [(own.to_owned(), Some(mac(5)))]);
    lab.wait(10_000);
    assert_eq!(lab.receive(6, 2, &question), [], "nor used");
}

#[test]
fn what_dhcp_servers_say_is_handed_on_whatever_address_it_is_for() {
    let datagram = |to: MacAddress, destination: [u8; 4], ports: (u16, u16)| {
        let mut frame = Vec::new();
        let packet = PacketBuilder::ethernet2(mac(5).0, to.0).ipv4([192, 0, 2, 1], destination, 64);
        packet.udp(ports.0, ports.1).write(&mut frame, &[7; 300]).unwrap();
        frame
    };
    let is_handed_on = |lab: &mut Lab, of, frame: &[u8]| {
        let out = lab.receive(5, of, frame);
        matches!(&out[..], [Output::Local { frame: same, .. }] if same == frame)
    };
    let mut lab = uplink(&[]);
    lab.wait(10_000);
    for (to, destination) in [(ALL, [255; 4]), (GATEWAY, [192, 0, 2, 50]), (GATEWAY, [255; 4])] {
        assert!(is_handed_on(&mut lab, 2, &datagram(to, destination, (67, 68))), "{destination:?}");
        assert!(!is_handed_on(&mut lab, 2, &datagram(to, destination, (68, 68))));
    }
    // Inside, where there is no client.
    let mut lab = Lab::new();
    assert!(!is_handed_on(&mut lab, 0, &datagram(ALL, [255; 4], (67, 68))));
    assert!(!is_handed_on(&mut lab, 0, &datagram(GATEWAY, [192, 0, 2, 50], (67, 68))));
}
