//! Questions for stations on other hosts: what is answered, what is passed on, and who is believed.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Membership;
use crate::explain::Fate;
use crate::fdb::Limits;
use crate::frame::{Claims, Head, Metadata, TakenTag};
use crate::gateway::compose::{self, Header, group_mac};
use crate::packet::number;
use crate::policy::{NetworkSettings, Policy, PortPolicy, VtepMembership};
use crate::switch::{Egress, Switch, WorkerState};
use crate::time::Nanos;
use crate::tunnel::vtep_port;

mod table;

const TENANT: usize = 3;
const GUEST: usize = 1;
const OTHER: usize = 2;

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

fn vtep() -> PortIndex {
    vtep_port(0).unwrap()
}

/// Where frames went: the port, and what they are by then.
#[derive(Default)]
struct Sent(Vec<(PortIndex, Vec<u8>)>);

impl Egress<()> for Sent {
    fn send(&mut self, to: PortIndex, _: usize, frame: &Frame<()>) {
        self.0.push((to, frame.head.bytes().to_vec()));
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], _: usize, frame: &Frame<()>) {
        let others = receivers.iter().filter(|port| **port != frame.meta.source);
        self.0.extend(others.map(|to| (*to, frame.head.bytes().to_vec())));
    }
}

/// Two guests of a network that has one VTEP.
struct Host {
    switch: Switch,
    worker: WorkerState,
}

impl Host {
    fn new(suppresses: bool) -> Self {
        let networks = Arc::new([network(TENANT)].into_iter().collect());
        let membership = VtepMembership { networks, floods: vec![network(TENANT)] };
        let ports = [
            (port(GUEST), PortPolicy::new(network(TENANT), 1500)),
            (port(OTHER), PortPolicy::new(network(TENANT), 1500)),
            (vtep(), PortPolicy::of(Membership::Vtep(membership), u16::MAX)),
        ];
        let settings = NetworkSettings { suppresses, multicast: None, ..NetworkSettings::default() };
        let policy = Policy::compile(ports, [(network(TENANT), settings)]).unwrap();
        let switch = Switch::new(7, Limits::default());
        switch.prepare(&policy);
        switch.set_verification(true);
        Self { switch, worker: WorkerState::new(Arc::new(policy)) }
    }

    fn take_at(&mut self, now_s: u32, from: PortIndex, bytes: &[u8]) -> Vec<(PortIndex, Vec<u8>)> {
        let mut meta = Metadata::new(from, u32::try_from(bytes.len()).unwrap(), Claims::default());
        if from == vtep() {
            meta.tag = Some(TakenTag { network: network(TENANT), priority: None });
        }
        let now = Nanos(u64::from(now_s) * 1_000_000_000);
        let explained = (from != vtep()).then(|| {
            let frame = Frame { head: Head::from_bytes(bytes), meta, payload: &[][..] };
            self.switch.explain(self.worker.policy(), now, &frame).fate
        });
        let frame = Frame { head: Head::from_bytes(bytes), meta, payload: () };
        let mut sent = Sent::default();
        self.switch.process(&mut self.worker, now, &mut [frame], &mut sent);
        if let Some(Fate::Leaves(departures)) = explained {
            let told: Vec<PortIndex> = departures.iter().map(|departure| departure.port).collect();
            assert_eq!(sent.0.iter().map(|(to, _)| *to).collect::<Vec<_>>(), told, "as it was explained");
        }
        sent.0
    }

    fn take(&mut self, from: PortIndex, bytes: &[u8]) -> Vec<(PortIndex, Vec<u8>)> {
        self.take_at(0, from, bytes)
    }

    fn is_passed_on(&mut self, bytes: &[u8]) -> bool {
        let sent = self.take(port(GUEST), bytes);
        sent.iter().map(|(to, _)| *to).eq([port(OTHER), vtep()]) && sent.iter().all(|(_, sent)| sent == bytes)
    }

    fn counts(&self) -> (u64, u64) {
        let SuppressionSnapshot { answered, passed, .. } = self.switch.suppression().snapshot();
        (answered, passed)
    }
}

fn octets(address: Address) -> Vec<u8> {
    let mut bytes = Vec::new();
    compose::put_address(&mut bytes, address);
    bytes
}

fn arp(
    operation: u8,
    to: MacAddress,
    (from, sender): (MacAddress, &str),
    (asked, target): (MacAddress, &str),
) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    for (mac, address_of) in [(from, sender), (asked, target)] {
        frame.extend(mac.0);
        frame.extend(octets(address(address_of)));
    }
    frame.resize(60, 0);
    frame
}

const NOBODY: MacAddress = MacAddress([0; 6]);

fn who_has(from: u8, sender: &str, target: &str) -> Vec<u8> {
    arp(1, MacAddress::BROADCAST, (mac(from), sender), (NOBODY, target))
}

fn discovery(
    (from, to): (MacAddress, MacAddress),
    ends: (&str, &str),
    (kind, flags): (u8, u8),
    target: &str,
    option: Option<(u8, MacAddress)>,
) -> Vec<u8> {
    let ends = (address(ends.0), address(ends.1));
    let mut body = octets(address(target));
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac.0);
    }
    let message = compose::icmp(ends, [kind, 0], [flags, 0, 0, 0], &body);
    let header = Header {
        source: ends.0,
        destination: ends.1,
        protocol: number::ICMPV6,
        hop_limit: 255,
        traffic_class: 0,
        id: None,
    };
    compose::frame(from, to, &compose::packet(&header, &message))
}

/// A solicitation for fd00::22 or the like.
fn solicits(from: u8, source: &str, target: &str) -> Vec<u8> {
    let [.., x, y, z] = address(target).to_bits().to_be_bytes();
    let group = format!("ff02::1:ff{x:02x}:{y:02x}{z:02x}");
    let to = group_mac(address(&group));
    let option = (source != "::").then_some((1, mac(from)));
    discovery((mac(from), to), (source, &group), (135, 0), target, option)
}

fn advertises(from: u8, target: &str, flags: u8) -> Vec<u8> {
    discovery((mac(from), mac(0x11)), (target, "fd00::11"), (136, flags), target, Some((2, mac(from))))
}

#[test]
fn what_a_tunnel_taught_is_answered_to_who_asks_and_to_nobody_else() {
    let mut host = Host::new(true);
    let question = who_has(0x11, "10.1.0.11", "10.1.0.22");
    assert!(host.is_passed_on(&question), "nobody has said who it is");
    let reply = arp(2, mac(0x11), (mac(0x22), "10.1.0.22"), (mac(0x11), "10.1.0.11"));
    assert_eq!(host.take(vtep(), &reply), [(port(GUEST), reply.clone())]);
    assert_eq!(host.take(port(GUEST), &question), [(port(GUEST), reply)]);
    assert_eq!(host.counts(), (1, 1));
    let question = solicits(0x11, "fd00::11", "fd00::22");
    assert!(host.is_passed_on(&question));
    // A router, solicited, that overrides what was known.
    let advertisement = advertises(0x22, "fd00::22", 0xe0);
    assert_eq!(host.take(vtep(), &advertisement), [(port(GUEST), advertisement.clone())]);
    assert_eq!(host.take(port(GUEST), &question), [(port(GUEST), advertisement)]);
    assert_eq!(host.counts(), (2, 2));
    let snapshot = host.switch.suppression().snapshot();
    assert_eq!((snapshot.learned, snapshot.fixed, snapshot.refused), (2, 0, 0));
}

#[test]
fn a_network_that_does_not_want_it_passes_all_on() {
    let mut host = Host::new(false);
    host.take(vtep(), &arp(2, mac(0x11), (mac(0x22), "10.1.0.22"), (mac(0x11), "10.1.0.11")));
    assert!(host.is_passed_on(&who_has(0x11, "10.1.0.11", "10.1.0.22")));
    assert_eq!(host.counts(), (0, 0));
}

#[test]
fn what_is_set_is_answered_and_no_tunnel_says_otherwise() {
    let mut host = Host::new(true);
    let suppression = host.switch.suppression();
    assert!(suppression.set(network(TENANT), address("10.1.0.22"), mac(0x22)));
    assert!(suppression.set(network(TENANT), address("fd00::22"), mac(0x22)));
    host.take(vtep(), &arp(2, mac(0x11), (mac(0x66), "10.1.0.22"), (mac(0x11), "10.1.0.11")));
    host.take(vtep(), &advertises(0x66, "fd00::22", 0x60));
    for (now_s, question, who) in [
        (0, who_has(0x11, "10.1.0.11", "10.1.0.22"), 22..28),
        (100_000, who_has(0x11, "10.1.0.11", "10.1.0.22"), 22..28),
        (100_000, solicits(0x11, "fd00::11", "fd00::22"), 80..86),
    ] {
        let sent = host.take_at(now_s, port(GUEST), &question);
        assert_eq!((sent.len(), sent[0].0), (1, port(GUEST)));
        assert_eq!((&sent[0].1[who], &sent[0].1[6..12]), (&mac(0x22).0[..], &mac(0x22).0[..]));
    }
    host.switch.suppression().clear(network(TENANT), address("10.1.0.22"));
    assert!(host.is_passed_on(&who_has(0x11, "10.1.0.11", "10.1.0.22")));
}

#[test]
fn the_answer_has_the_right_checksum_and_the_routers_flag() {
    let mut host = Host::new(true);
    for (flags, answered) in [(0xe0, 0xe0), (0x60, 0x60)] {
        host.take(vtep(), &advertises(0x22, "fd00::22", flags));
        let sent = host.take(port(GUEST), &solicits(0x11, "fd00::11", "fd00::22"));
        let expected = discovery(
            (mac(0x22), mac(0x11)),
            ("fd00::22", "fd00::11"),
            (136, answered),
            "fd00::22",
            Some((2, mac(0x22))),
        );
        assert_eq!(sent, [(port(GUEST), expected)]);
    }
}

#[test]
fn who_asks_whether_an_address_is_free_has_all_asked() {
    let mut host = Host::new(true);
    let suppression = host.switch.suppression();
    assert!(suppression.set(network(TENANT), address("10.1.0.22"), mac(0x22)));
    assert!(suppression.set(network(TENANT), address("fd00::22"), mac(0x22)));
    for question in [
        who_has(0x11, "0.0.0.0", "10.1.0.22"),
        who_has(0x11, "10.1.0.22", "10.1.0.22"),
        solicits(0x11, "::", "fd00::22"),
        // The station itself, which is here now.
        who_has(0x22, "10.1.0.9", "10.1.0.22"),
    ] {
        assert!(host.is_passed_on(&question), "{question:02x?}");
    }
}

#[test]
fn what_is_not_believed_teaches_nothing() {
    let mut host = Host::new(true);
    let to = mac(0x11);
    let mut sender = arp(2, to, (mac(0x22), "10.1.0.22"), (to, "10.1.0.11"));
    sender[11] = 0x23;
    let mut group = arp(2, to, (MacAddress([1, 0, 0, 0, 0, 1]), "10.1.0.22"), (to, "10.1.0.11"));
    group[6] = 2;
    let mut checksum = advertises(0x22, "fd00::22", 0x60);
    checksum[56] ^= 1;
    let mut hop_limit = advertises(0x22, "fd00::22", 0x60);
    hop_limit[21] = 64;
    let ends = ("fd00::22", "fd00::11");
    for frame in [
        sender,
        group,
        checksum,
        hop_limit,
        arp(2, to, (mac(0x22), "224.0.0.1"), (to, "10.1.0.11")),
        arp(2, to, (mac(0x22), "255.255.255.255"), (to, "10.1.0.11")),
        discovery((mac(0x22), to), ends, (136, 0x60), "ff02::1", Some((2, mac(0x22)))),
        discovery((mac(0x22), to), ends, (136, 0x60), "fd00::22", Some((2, mac(0x33)))),
        discovery((mac(0x22), to), ends, (136, 0x60), "fd00::22", None),
    ] {
        host.take(vtep(), &frame);
        assert_eq!(host.switch.suppression().snapshot().learned, 0, "{frame:02x?}");
    }
}

#[test]
fn stations_here_teach_nothing_and_end_what_they_contradict() {
    let mut host = Host::new(true);
    let gratuitous = |from: u8| who_has(from, "10.1.0.22", "10.1.0.22");
    host.take(port(OTHER), &gratuitous(0x33));
    assert_eq!(host.switch.suppression().snapshot().learned, 0);
    host.take(vtep(), &gratuitous(0x22));
    let question = who_has(0x11, "10.1.0.11", "10.1.0.22");
    assert_eq!(host.take(port(GUEST), &question).len(), 1);
    host.take(port(OTHER), &gratuitous(0x33));
    assert!(host.is_passed_on(&question), "the address is here now");
}

#[test]
fn what_was_learned_gets_old_and_goes_with_its_tunnel() {
    let mut host = Host::new(true);
    let question = who_has(0x11, "10.1.0.11", "10.1.0.22");
    let gratuitous = who_has(0x22, "10.1.0.22", "10.1.0.22");
    host.take_at(10, vtep(), &gratuitous);
    assert_eq!(host.take_at(310, port(GUEST), &question).len(), 1);
    assert_eq!(host.take_at(311, port(GUEST), &question).len(), 2, "too old");
    host.take_at(320, vtep(), &gratuitous);
    assert_eq!(host.take_at(620, port(GUEST), &question).len(), 1, "heard again");
    host.switch.forget_port(vtep());
    assert_eq!(host.take_at(620, port(GUEST), &question).len(), 2);
    assert_eq!(host.switch.suppression().snapshot().learned, 0);
}

#[test]
fn who_asks_from_another_host_is_answered_by_stations_here_alone() {
    let mut host = Host::new(true);
    assert!(host.switch.suppression().set(network(TENANT), address("10.1.0.22"), mac(0x22)));
    let question = who_has(0x55, "10.1.0.55", "10.1.0.22");
    let expected = [port(GUEST), port(OTHER)].map(|to| (to, question.clone()));
    assert_eq!(host.take(vtep(), &question), expected);
}

proptest! {
    /// Whatever comes from anywhere, an answer is only ever sent to who asks, is as long as the question, and says what is known.
    #[test]
    fn any_bytes_are_passed_on_or_answered_right(
        kind in 0..4_usize,
        changes in prop::collection::vec((12..86_usize, any::<u8>()), 0..4),
        from_tunnel: bool,
    ) {
        let mut host = Host::new(true);
        let suppression = host.switch.suppression();
        assert!(suppression.set(network(TENANT), address("10.1.0.22"), mac(0x22)));
        assert!(suppression.set(network(TENANT), address("fd00::22"), mac(0x22)));
        let mut frame = match kind {
            0 => who_has(0x11, "10.1.0.11", "10.1.0.22"),
            1 => solicits(0x11, "fd00::11", "fd00::22"),
            2 => advertises(0x11, "fd00::33", 0x60),
            _ => arp(2, mac(0x12), (mac(0x11), "10.1.0.11"), (mac(0x12), "10.1.0.12")),
        };
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        let from = if from_tunnel { vtep() } else { port(GUEST) };
        for (to, sent) in host.take(from, &frame) {
            prop_assert_eq!(sent.len(), frame.len());
            prop_assert!(to != vtep() || !from_tunnel);
            if to == from {
                prop_assert!(!from_tunnel);
                prop_assert_eq!((&sent[..6], &sent[6..12]), (&mac(0x11).0[..], &mac(0x22).0[..]));
            } else {
                prop_assert_eq!(&sent, &frame);
            }
        }
    }
}
