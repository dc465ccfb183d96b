//! Random packets through the switch, each beside what a plain implementation makes of it: the very bytes, with every checksum
//! computed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use viaduct_switch::nat::{Floating, NatSettings, Published};
use viaduct_switch::offload::{Checksums, Segmenter};
use viaduct_switch::{Claims, Nanos};

use crate::lab::*;
use crate::plain::{Kind, Plain, Point, error};
use crate::prefixes;

const FLOATING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 120);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const FAR_ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const PUBLISHED: u16 = 10_080;
/// Rules of groups let services up to this one pass, and the published port.
const SERVICE_MAX: u16 = 2000;

/// Who talks to whom: the station that begins, its own address; the other station, its own address, and the address that it is
/// asked by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Way {
    MasqueradedNear,
    MasqueradedOther,
    MasqueradedFar,
    FloatingOut,
    FloatingIn,
    PublishedIn,
    HairpinToFloating,
    HairpinToPublished,
    HairpinFromFloating,
    /// By IPv6, whose prefix is translated (RFC 6296).
    PrefixedOut,
    PrefixedIn,
    PrefixedHairpin,
}

const WAYS: [Way; 12] = [
    Way::MasqueradedNear,
    Way::MasqueradedOther,
    Way::MasqueradedFar,
    Way::FloatingOut,
    Way::FloatingIn,
    Way::PublishedIn,
    Way::HairpinToFloating,
    Way::HairpinToPublished,
    Way::HairpinFromFloating,
    Way::PrefixedOut,
    Way::PrefixedIn,
    Way::PrefixedHairpin,
];

impl Way {
    /// The stations, their own addresses, and the address by which the second is asked.
    fn ends(self) -> ([usize; 2], [IpAddr; 2], IpAddr) {
        let (stations, asked) = match self {
            Self::MasqueradedNear => ([B, PEER], v4(PEER)),
            Self::MasqueradedOther => ([C, OTHER], v4(OTHER)),
            Self::MasqueradedFar => return ([C, ROUTER], [v4(C), FAR].map(IpAddr::from), FAR.into()),
            Self::FloatingOut => ([A, PEER], v4(PEER)),
            Self::FloatingIn => ([PEER, A], FLOATING),
            Self::PublishedIn => ([PEER, B], OUTSIDE),
            Self::HairpinToFloating => ([C, A], FLOATING),
            Self::HairpinToPublished => ([C, B], OUTSIDE),
            Self::HairpinFromFloating => ([A, B], OUTSIDE),
            Self::PrefixedOut => return Self::ends_v6([A, PEER]),
            Self::PrefixedIn => return Self::ends_v6([PEER, A]),
            Self::PrefixedHairpin => return Self::ends_v6([A, B]),
        };
        (stations, stations.map(|station| v4(station).into()), asked.into())
    }

    fn ends_v6(stations: [usize; 2]) -> ([usize; 2], [IpAddr; 2], IpAddr) {
        let own = stations.map(|station| prefixes::address(station).into());
        (stations, own, standing(own[1]))
    }

    fn is_v6(self) -> bool {
        self.ends().2.is_ipv6()
    }

    fn is_published(self) -> bool {
        self.ends().2 == IpAddr::from(OUTSIDE)
    }

    fn is_masqueraded(self) -> bool {
        !self.is_v6() && matches!(self.ends().0[0], B | C)
    }
}

/// The address that always stands for this one: a floating address, or one whose prefix is another and whose words have the same
/// sum (RFC 6296, 3.1); else itself.
fn standing(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(own) if own == v4(A) => FLOATING.into(),
        IpAddr::V6(own) if own.segments()[..3] == [0xfd00, 0, 0] => {
            let total = |words: [u16; 8]| words.iter().map(|word| u32::from(*word)).sum::<u32>() % 0xffff;
            let [.., a, b, c, d] = own.segments();
            let rest = total([0x2001, 0xdb8, 1, 0, a, b, c, d]);
            let word = (total(own.segments()) + 0xffff - rest) % 0xffff;
            Ipv6Addr::new(0x2001, 0xdb8, 1, word as u16, a, b, c, d).into()
        }
        other => other,
    }
}

/// How a packet travels.
#[derive(Clone, Debug)]
enum Form {
    Whole,
    /// Its checksum is left to be finished.
    Partial,
    /// A super-frame, of segments of so many bytes.
    Super(u16),
    /// In fragments of eight times so many bytes, in an order.
    Parts(usize, u64),
    /// Whole, and answered by an error that quotes so much, of a router or of the station itself.
    Refused {
        kind: (u8, u8),
        quoted: usize,
        is_router: bool,
    },
}

/// A packet each way between two stations.
#[derive(Clone, Debug)]
struct Talk {
    way: Way,
    ports: [u16; 2],
    kind: usize,
    form: Form,
    numbers: (u8, u8, bool, usize),
    payload: Vec<u8>,
}

fn talks(count: usize) -> impl Strategy<Value = Vec<Talk>> {
    let kinds = prop::sample::select(vec![(3, 0), (3, 1), (3, 3), (3, 4), (11, 0), (12, 0)]);
    let form = prop_oneof![
        Just(Form::Whole),
        Just(Form::Partial),
        (64..1400_u16).prop_map(Form::Super),
        (3..10_usize, any::<u64>()).prop_map(|(size, order)| Form::Parts(size, order)),
        (kinds, 10..150_usize, any::<bool>()).prop_map(|(kind, quoted, is_router)| Form::Refused {
            kind,
            // Nobody quotes half of a checksum.
            quoted: 4 * quoted,
            is_router
        }),
    ];
    let payload = prop_oneof![1 => prop::collection::vec(any::<u8>(), 1..20), 2 => prop::collection::vec(any::<u8>(), 1..400)];
    let numbers = (2..=255_u8, any::<u8>(), any::<bool>(), 0..4_usize);
    let ends = (prop::sample::select(WAYS.to_vec()), 0..3_u16, 0..3_u16, 0..4_usize);
    let talk =
        (ends, form, numbers, payload).prop_map(|((way, own, other, kind), form, numbers, payload)| Talk {
            way,
            ports: [5000 + own, 1999 + other],
            kind,
            form,
            numbers,
            payload,
        });
    prop::collection::vec(talk, 1..count)
}

/// What two stations agree on: each one's own end, and what the other sees of it.
#[derive(Clone, Copy, Debug)]
struct Flow {
    stations: [usize; 2],
    own: [Point; 2],
    seen: [Point; 2],
}

/// Which connection: the way, the kind of packets, the ports.
type Key = (Way, usize, [u16; 2]);

struct Oracle {
    lab: Lab,
    is_filtered: bool,
    flows: BTreeMap<Key, Flow>,
    /// What stands for a masqueraded station's end, by protocol.
    mapped: BTreeMap<(usize, Point), Point>,
    taken: BTreeSet<(usize, Point)>,
    id: u16,
}

impl Oracle {
    fn new(is_filtered: bool) -> Self {
        let floating =
            vec![Floating { outside: network(2), address: FLOATING, inside: network(0), station: v4(A) }];
        let published = [6, 17].map(|protocol| Published {
            outside: network(2),
            address: None,
            protocol,
            ports: PUBLISHED..=PUBLISHED,
            inside: network(0),
            station: v4(B),
            station_port: 80,
        });
        let prefixes = vec![prefixes::translation()];
        let settings = NatSettings { floating, published: published.into(), prefixes, ..Lab::new().settings };
        let mut lab = Lab::with(settings);
        lab.add_addresses(&[FLOATING]);
        prefixes::introduce(&lab);
        if is_filtered {
            lab.filter(&[(1, SERVICE_MAX), (PUBLISHED, PUBLISHED)]);
        }
        let (flows, mapped, taken) = Default::default();
        Self { lab, is_filtered, flows, mapped, taken, id: 0 }
    }

    /// Carries a packet each way, and what its form wants.
    fn carry(&mut self, talk: &Talk) {
        // Time for what meters let pass.
        self.lab.now = self.lab.now + Nanos::from_millis(20);
        let kind = match talk.kind {
            3 if talk.way.is_published() => 1,
            // Over IPv6 each datagram has a checksum (RFC 8200, 8.1).
            2 if talk.way.is_v6() => 1,
            kind => kind,
        };
        let key = (talk.way, kind, talk.ports);
        let Some(flow) = self.flow(key, talk) else { return };
        for side in [0, 1] {
            let mut packet = self.packet(&flow, side, kind, talk);
            if kind < 2 && matches!(talk.form, Form::Super(_)) {
                packet.payload = packet.payload.repeat(20);
            }
            match talk.form {
                Form::Partial if kind < 2 => self.unfinished(&flow, side, &packet, None),
                Form::Super(size) if kind < 2 => self.unfinished(&flow, side, &packet, Some(size)),
                Form::Parts(size, order) => self.in_parts(&flow, side, &packet, 8 * size, order),
                Form::Refused { .. } => self.refused(&flow, side, &packet, &talk.form),
                _ => self.whole(&flow, side, &packet),
            }
        }
    }

    /// A packet of a side, as it sends it.
    fn packet(&mut self, flow: &Flow, side: usize, kind: usize, talk: &Talk) -> Plain {
        self.id = self.id.wrapping_add(1);
        let (ttl, tos, is_whole, options) = talk.numbers;
        let kind = match (kind, side) {
            (0, 0) => Kind::Tcp(1000, 5000, 0x18),
            (0, _) => Kind::Tcp(5000, 1000, 0x18),
            (1, _) => Kind::Udp,
            (2, _) => Kind::Unsummed,
            _ => Kind::Echo { is_reply: side == 1 },
        };
        Plain {
            kind,
            from: flow.own[side],
            to: flow.seen[1 - side],
            ttl,
            tos,
            id: self.id,
            is_whole,
            options: if talk.way.is_v6() { 0 } else { options },
            payload: talk.payload.clone(),
        }
    }

    /// The flow, after its first packets if it is new; `None`: rules forbid it.
    fn flow(&mut self, key: Key, talk: &Talk) -> Option<Flow> {
        if let Some(flow) = self.flows.get(&key) {
            return Some(*flow);
        }
        let (way, kind, ports) = key;
        let (stations, addresses, asked) = way.ends();
        let (service, real) = if way.is_published() { (PUBLISHED, 80) } else { (ports[1], ports[1]) };
        let mut own = [(addresses[0], ports[0]), (addresses[1], real)];
        let mut seen = [(standing(addresses[0]), ports[0]), (asked, service)];
        if kind == 3 {
            // An echo has one identifier.
            (own[1].1, seen[1].1) = (own[0].1, own[0].1);
        }
        let mut first = self.packet(&Flow { stations, own, seen }, 0, kind, talk);
        if kind == 0 {
            first.kind = Kind::Tcp(999, 0, 2);
        }
        let outside = self.lab.send(stations[0], &framed(stations[0], &first.bytes()));
        if self.is_forbidden(way, [seen[1].1, own[1].1], kind) {
            assert!(outside.sent.is_empty() && !outside.dropped.is_empty(), "{way:?} {ports:?}");
            return None;
        }
        let [(_, arrived)] = &outside.sent[..] else { panic!("{:?} {:?}", outside.dropped, outside.offered) };
        if way.is_masqueraded() {
            seen[0] = self.mapping(kind, own[0], arrived);
            if kind == 3 {
                own[1].1 = seen[0].1;
            }
        }
        let flow = Flow { stations, own, seen };
        assert_eq!(
            outside.sent,
            [arriving(&flow, 0, &first).bytes()].map(|bytes| received(&flow, 0, &bytes))
        );
        if kind == 0 {
            let answer = self.packet(&flow, 1, kind, talk);
            self.whole(&flow, 1, &Plain { kind: Kind::Tcp(4999, 1000, 0x12), ..answer });
            let last = self.packet(&flow, 0, kind, talk);
            self.whole(&flow, 0, &Plain { kind: Kind::Tcp(1000, 5000, 0x10), payload: Vec::new(), ..last });
        }
        self.flows.insert(key, flow);
        Some(flow)
    }

    /// Each side is judged by what it sees: who asks by the service asked for, who is asked by its own. No rule allows IPv6.
    fn is_forbidden(&self, way: Way, services: [u16; 2], kind: usize) -> bool {
        let is_allowed = |service| service <= SERVICE_MAX || service == PUBLISHED;
        let mut sides = way.ends().0.into_iter().zip(services);
        let has_other = sides.any(|(station, service)| station <= C && !is_allowed(service));
        self.is_filtered && (way.is_v6() || kind != 3 && has_other)
    }

    /// What stands for a masqueraded end: what stood for it before, or what nobody else has.
    fn mapping(&mut self, kind: usize, own: Point, arrived: &[u8]) -> Point {
        // A datagram has the same mapping with a checksum and without.
        let protocol = [6, 17, 17, 1][kind];
        let at = 14 + usize::from(arrived[14] & 0xf) * 4 + if kind == 3 { 4 } else { 0 };
        let found = (IpAddr::from(address_at(arrived, 26)), u16_at(arrived, at));
        if let Some(mapped) = self.mapped.get(&(protocol, own)) {
            assert_eq!(found, *mapped, "endpoint-independent");
            return found;
        }
        assert_eq!(found.0, IpAddr::from(OUTSIDE));
        assert!((1024..=65_023).contains(&found.1) && found.1 != PUBLISHED, "{found:?}");
        assert!(kind == 3 || found.1 % 2 == own.1 % 2, "parity");
        assert!(self.taken.insert((protocol, found)), "{found:?} stands for two");
        self.mapped.insert((protocol, own), found);
        found
    }

    fn whole(&mut self, flow: &Flow, side: usize, packet: &Plain) {
        let outside = self.lab.send(flow.stations[side], &framed(flow.stations[side], &packet.bytes()));
        expect(flow, side, &outside, &arriving(flow, side, packet).bytes());
    }

    /// What is left to be finished stays so, with the sum of the new addresses; and cut, each segment is right.
    fn unfinished(&mut self, flow: &Flow, side: usize, packet: &Plain, size: Option<u16>) {
        let claims = packet.claims(size);
        let outside =
            self.lab.send_as(flow.stations[side], &framed(flow.stations[side], &packet.partial()), claims);
        let expected = arriving(flow, side, packet);
        expect(flow, side, &outside, &expected.partial());
        if let Some(size) = size {
            let cut = cut(&outside.sent[0].1, &claims);
            let segments: Vec<Vec<u8>> =
                expected.segments(size).iter().map(|one| received(flow, side, &one.bytes()).1).collect();
            assert_eq!(cut, segments);
        }
    }

    /// Fragments arrive as if what arrives whole were cut: the first one has the checksum of all.
    fn in_parts(&mut self, flow: &Flow, side: usize, packet: &Plain, size: usize, order: u64) {
        let mut arrived = BTreeSet::new();
        for fragment in shuffled(packet.fragments(size), order) {
            let outside = self.lab.send(flow.stations[side], &framed(flow.stations[side], &fragment));
            assert!(outside.dropped.is_empty() && outside.offered.is_empty(), "{:?}", outside.dropped);
            arrived.extend(outside.sent);
            for kept in outside.released {
                arrived.extend(self.lab.go_on(kept).sent);
            }
        }
        let expected = arriving(flow, side, packet).fragments(size);
        assert_eq!(arrived, expected.iter().map(|bytes| received(flow, side, bytes)).collect());
    }

    /// Somebody on the way, or the receiver, reports an error about what arrived, or about its first fragment.
    fn refused(&mut self, flow: &Flow, side: usize, packet: &Plain, form: &Form) {
        let Form::Refused { kind, quoted, is_router } = *form else { return };
        // Over IPv6 at least the ports are quoted (RFC 4443, 2.4: as much as fits).
        let quoted = if packet.from.0.is_ipv6() { quoted.max(48) } else { quoted };
        self.whole(flow, side, packet);
        let other = 1 - side;
        let station = flow.stations[other];
        let is_inside = station <= C;
        let is_v6 = packet.from.0.is_ipv6();
        let (station, reporter) = match (is_router, is_inside, is_v6) {
            (false, ..) => (station, flow.own[other].0),
            (true, true, false) => (station, Ipv4Addr::new(10, 0, NETWORK_OF[station] as u8, 200).into()),
            (true, true, true) => (station, prefixes::ROUTER_INSIDE.into()),
            (true, false, false) => (ROUTER, FAR_ROUTER.into()),
            (true, false, true) => (ROUTER, prefixes::ROUTER_OUTSIDE.into()),
        };
        // Of stations inside others see what stands for the station that the packet went to, or always for the one that reports.
        let reported = match (is_inside, is_v6) {
            (true, false) => flow.seen[other].0,
            (_, true) => standing(reporter),
            (false, false) => reporter,
        };
        let kind = if is_v6 { kind_v6(kind) } else { kind };
        let arrived = arriving(flow, side, packet);
        let quote = |plain: &Plain| {
            let bytes = plain.bytes();
            bytes[..bytes.len().min(quoted)].to_vec()
        };
        let report = error(reporter, flow.seen[side].0, 64, kind, &quote(&arrived));
        let outside = self.lab.send(station, &framed(station, &report));
        let sent = quote(&Plain { ttl: arrived.ttl, ..packet.clone() });
        let expected = error(reported, flow.own[side].0, 63, kind, &sent);
        expect(flow, other, &outside, &expected);
    }
}

/// The kind of error of ICMPv6 that says the same (RFC 4443, 3).
fn kind_v6(kind: (u8, u8)) -> (u8, u8) {
    match kind {
        (3, 4) => (2, 0),
        (3, 3) => (1, 4),
        (3, _) => (1, 0),
        (11, _) => (3, 0),
        _ => (4, 0),
    }
}

/// A packet of a side as the other one gets it.
fn arriving(flow: &Flow, side: usize, packet: &Plain) -> Plain {
    packet.routed(flow.seen[side], flow.own[1 - side])
}

/// A station's packet to its gateway.
pub(crate) fn framed(station: usize, packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
    [&gateway(NETWORK_OF[station]).0[..], &mac(station).0, &kind, packet].concat()
}

/// What the other side gets from its gateway.
fn received(flow: &Flow, side: usize, packet: &[u8]) -> (usize, Vec<u8>) {
    let station = flow.stations[1 - side];
    let kind = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
    (station, [&mac(station).0[..], &gateway(NETWORK_OF[station]).0, &kind, packet].concat())
}

#[track_caller]
fn expect(flow: &Flow, side: usize, outside: &Outside, packet: &[u8]) {
    assert!(outside.dropped.is_empty() && outside.offered.is_empty(), "{:?} {flow:?}", outside.dropped);
    let (sent, expected) = (&outside.sent, [received(flow, side, packet)]);
    assert!(sent[..] == expected, "{side} of {flow:?}: {sent:02x?}\n{expected:02x?}");
}

fn cut(frame: &[u8], claims: &Claims) -> Vec<Vec<u8>> {
    let mut segmenter = Segmenter::new(frame, claims, Checksums::Finished, 1).unwrap();
    let mut buffer = vec![0; segmenter.segment_length_max()];
    std::iter::from_fn(|| {
        let segment = segmenter.next_into(&mut buffer).unwrap()?;
        Some(buffer[..segment.length].to_vec())
    })
    .collect()
}

/// The same in an order that a number chooses.
fn shuffled<T>(mut all: Vec<T>, mut order: u64) -> Vec<T> {
    for index in (1..all.len()).rev() {
        let count = index as u64 + 1;
        all.swap(index, (order % count) as usize);
        order = (order / count) ^ order.rotate_left(17);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn packets_are_what_a_plain_implementation_makes_of_them(talks in talks(60)) {
        let mut oracle = Oracle::new(false);
        talks.iter().for_each(|talk| oracle.carry(talk));
    }

    #[test]
    fn and_so_they_are_beside_the_rules_of_groups(talks in talks(60)) {
        let mut oracle = Oracle::new(true);
        talks.iter().for_each(|talk| oracle.carry(talk));
    }
}
