//! Rules of security groups between networks, and what is told of routed packets.

use super::gateway::neighbour_discovery;
use super::*;
use crate::fragment::part;

/// Puts station 1, behind the router, into a group that lets UDP to this port in from network 0, and everything out.
pub(super) fn filter(lab: &mut Lab, allowed: u16) {
    let security = &mut lab.security;
    let group = GroupIndex::new(0).unwrap();
    let ingress = RuleSpec {
        protocol: Some(Protocol(17)),
        ports: Some((allowed, allowed)),
        prefix: Some("10.0.0.0/24".parse().unwrap()),
        ..RuleSpec::new(Direction::Ingress)
    };
    let rules = [ingress, RuleSpec::new(Direction::Egress)].map(|rule| Rule::try_from(rule).unwrap());
    security.set_group(group, Some(&Group { stateful: true, rules: rules.into() }));
    let own = PortSecurity::new(Zone(0), mac(1));
    let (groups, addresses) = (Some(vec![group]), vec![station_v4(1).into()]);
    security.set_port(port(1), Some(PortSecurity { groups, addresses, guarded: true, ..own }));
    let policy = lab.policy.with_security(Arc::new(security.policy().clone()));
    lab.switch.prepare(&policy);
    lab.worker.set_policy(Arc::new(policy));
}

/// The answer of a station to a packet as it got it, by its gateway.
fn answer(from: usize, got: &[u8]) -> Vec<u8> {
    let mut frame = got.to_vec();
    frame[..6].copy_from_slice(&gateway(NETWORK_OF[from]).0);
    frame[6..12].copy_from_slice(&mac(from).0);
    // Addresses and ports; no sum changes by that.
    frame[26..30].copy_from_slice(&got[30..34]);
    frame[30..34].copy_from_slice(&got[26..30]);
    frame[34..36].copy_from_slice(&got[36..38]);
    frame[36..38].copy_from_slice(&got[34..36]);
    frame
}

/// That a packet did not arrive, as it is told to who sent it.
fn unreachable(from: usize, to: Ipv4Addr, packet: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(mac(from).0, gateway(NETWORK_OF[from]).0);
    let ip = builder.ipv4(station_v4(from).octets(), to.octets(), 64);
    let mut frame = Vec::new();
    ip.icmpv4_raw(3, 3, [0; 4]).write(&mut frame, &packet[14..42]).unwrap();
    frame
}

#[test]
fn rules_hold_between_networks_and_answers_find_their_connection() {
    let mut lab = Lab::new();
    filter(&mut lab, 54);
    assert!(lab.send(0, &udp(0, station_v4(1), 9)).sent.is_empty(), "port 53 is not allowed");
    assert_eq!(lab.drops(1, DropReason::GroupIngress), 1);
    filter(&mut lab, 53);
    let request = lab.send(0, &udp(0, station_v4(1), 9)).sent;
    assert_eq!(request.len(), 1);
    let connections = lab.switch.conntrack().unwrap().counters().opened;
    // The answer belongs to the same connection though it comes in another network.
    let reply = lab.send(1, &answer(1, &request[0].1)).sent;
    assert_eq!(reply.len(), 1);
    assert_eq!((reply[0].0, &reply[0].1[..6]), (0, &mac(0).0[..]));
    assert_eq!(lab.switch.conntrack().unwrap().counters().opened, connections);
    // With the rule gone, what was said before is judged anew.
    filter(&mut lab, 54);
    assert!(lab.send(0, &udp(0, station_v4(1), 9)).sent.is_empty());
}

/// A datagram of network 1's gateway to station 1, from this port to that one.
fn gateways_datagram([from, to]: [u16; 2]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(gateway(1).0, mac(1).0);
    let mut frame = Vec::new();
    let ip = ethernet.ipv4(v4(1, 1).octets(), station_v4(1).octets(), 64);
    ip.udp(from, to).write(&mut frame, &[9; 20]).unwrap();
    frame
}

#[test]
fn what_a_gateway_answers_to_a_filtered_station_is_a_reply_and_nothing_else_is() {
    let mut lab = Lab::new();
    filter(&mut lab, 54);
    let question = udp(1, v4(1, 1), 64);
    let meta = Metadata::new(port(1), question.len() as u32, Claims::default());
    let frame = Frame { head: Head::from_bytes(&question), meta, payload: &[][..] };
    let explained = lab.switch.explain(lab.worker.policy(), lab.now, &frame);
    assert_eq!(explained.fate, Fate::ToGateway);
    assert!(lab.send(GATEWAY, &gateways_datagram([53, 1000])).sent.is_empty(), "nothing was asked");
    assert_eq!(lab.drops(1, DropReason::GroupIngress), 1);
    assert_eq!(lab.send(1, &question).offered.len(), 1);
    let replies = lab.send(GATEWAY, &gateways_datagram([53, 1000])).sent;
    assert_eq!(replies.iter().map(|(to, ..)| *to).collect::<Vec<_>>(), [1]);
    assert!(lab.send(GATEWAY, &gateways_datagram([53, 1001])).sent.is_empty(), "that was not asked");
    // That a packet came to nothing is told by the gateway itself, and by nobody else.
    let error = |from: usize, mac: MacAddress| {
        let mut frame = unreachable(from, station_v4(1), &udp(1, v4(0, 78), 1));
        frame[6..12].copy_from_slice(&mac.0);
        frame[..6].copy_from_slice(&self::mac(1).0);
        frame
    };
    assert_eq!(lab.send(GATEWAY, &error(GATEWAY, gateway(1))).sent.len(), 1);
    assert!(lab.send(2, &error(2, mac(2))).sent.is_empty());
}

#[test]
fn an_error_about_a_routed_packet_finds_its_connection_in_either_network() {
    let mut lab = Lab::new();
    filter(&mut lab, 53);
    let request = lab.send(0, &udp(0, station_v4(1), 9)).sent;
    // Station 1 says that nobody listens, in its own network.
    let error = unreachable(1, station_v4(0), &request[0].1);
    assert_eq!(lab.send(1, &error).sent.len(), 1);
    // Station 0 says so of the answer, and is believed; of something that was never said, it is not.
    let reply = lab.send(1, &answer(1, &request[0].1)).sent;
    let error = unreachable(0, station_v4(1), &reply[0].1);
    assert_eq!(lab.send(0, &error).sent.len(), 1);
    let mut forged = reply[0].1.clone();
    forged[35] ^= 1;
    let error = unreachable(0, station_v4(1), &forged);
    assert!(lab.send(0, &error).sent.is_empty());
}

#[test]
fn what_is_told_of_a_packet_is_what_becomes_of_it() {
    let mut lab = Lab::new();
    filter(&mut lab, 53);
    let mut other_port = udp(0, station_v4(1), 9);
    other_port[37] = 54;
    let frames = [
        udp(0, station_v4(1), 9),
        other_port,
        udp(0, station_v4(2), 9),
        udp(0, station_v4(2), 1),
        udp(0, v4(0, 1), 9),
        udp(0, v4(1, 78), 9),
        udp(0, Ipv4Addr::new(192, 0, 2, 1), 9),
        udp(0, Ipv4Addr::LOCALHOST, 9),
        arp(0, 1, station_v4(0), v4(0, 1)),
        arp(0, 1, v4(0, 99), station_v4(3)),
        arp(0, 1, v4(0, 1), station_v4(3)),
        neighbour_discovery(0, 133, station_v6(0), station_v6(0)),
    ];
    for bytes in frames {
        let meta = Metadata::new(port(0), bytes.len() as u32, Claims::default());
        let frame =
            Frame { head: Head::from_bytes(&bytes), meta, payload: bytes.get(128..).unwrap_or_default() };
        let explained = lab.switch.explain(lab.worker.policy(), lab.now, &frame);
        let drops = |lab: &Lab| {
            let of = |index| lab.switch.counters().port(port(index)).snapshot().dropped().collect::<Vec<_>>();
            [of(0), of(1)]
        };
        let before = drops(&lab);
        let outside = lab.send(0, &bytes);
        let sent: Vec<usize> = outside.sent.iter().map(|(to, ..)| *to).collect();
        match explained.fate {
            Fate::Leaves(departures) => {
                let told: Vec<usize> = departures.iter().map(|departure| departure.port.get()).collect();
                assert_eq!(told, sent, "{bytes:?}");
            }
            Fate::ToGateway => assert_eq!((outside.offered.len(), sent.len()), (1, 0)),
            Fate::Dropped(reason) => {
                // The gateway may have to defend its address.
                let is_claim = reason == DropReason::GatewaySpoofed;
                assert!(sent.is_empty() && (outside.offered.is_empty() || is_claim));
                let after = drops(&lab).concat();
                let new = after.into_iter().find(|drop| !before.concat().contains(drop));
                assert_eq!(new.map(|(new, _)| new), Some(reason));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A datagram in fragments: ends of the later ones come first, to stations whose rules are asked, and go through the router.
#[test]
fn fragments_that_come_early_wait_before_they_are_changed() {
    for (allowed, passes) in [(53, true), (54, false)] {
        let mut lab = Lab::new();
        filter(&mut lab, allowed);
        let mut whole = Vec::new();
        let ethernet = PacketBuilder::ethernet2(mac(0).0, gateway(0).0);
        let ip = ethernet.ipv4(station_v4(0).octets(), station_v4(1).octets(), 9);
        ip.udp(1000, 53).write(&mut whole, &[7; 56]).unwrap();
        let early = part(&whole, 32, 32);
        let mut outside = Outside { holds: true, ..Outside::default() };
        lab.enter(&mut outside, 0, &early, early.len(), Claims::default());
        assert!(outside.sent.is_empty() && outside.held.len() == 1);
        assert_eq!(outside.held[0].1.head.bytes(), early, "as it came in");
        let first = part(&whole, 0, 32);
        lab.enter(&mut outside, 0, &first, first.len(), Claims::default());
        assert_eq!(outside.sent.len(), usize::from(passes));
        let [(frame, decided)] = &outside.released[..] else { panic!("it is taken in once more") };
        let mut later = Outside::default();
        let mut burst = [frame.clone()];
        lab.switch.process_decided(&mut lab.worker, lab.now, &mut burst, &mut later, *decided);
        assert_eq!(later.sent.len(), usize::from(passes), "its fate is that of the first");
        if let [(to, bytes, _)] = &later.sent[..] {
            assert_eq!((*to, &bytes[..6], bytes[22]), (1, &mac(1).0[..], 8));
            assert_eq!(bytes[34..], early[34..]);
        }
        assert_eq!(lab.drops(0, DropReason::GatewaySpoofed), 0);
    }
}
