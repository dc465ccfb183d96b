//! Packets that follow others of their flow within a second, one by one and in bursts: what is remembered of earlier ones changes nothing
//! of what becomes of any of them, of what is counted and of what is known afterwards; neither does who comes with them. They are of both
//! versions of IP, with options, unfinished, super-frames, and wrong.

use std::net::IpAddr;

use proptest::prelude::*;
use viaduct_switch::nat::NatSettings;
use viaduct_switch::packet::Address;
use viaduct_switch::{Claims, Frame, Head, MacAddress, Metadata, Nanos, PartialChecksum};

use crate::happenings::{Happening, Pace, State, Witness, all_agree, assert_no_mismatch, enter};
use crate::lab::*;
use crate::oracle::framed;
use crate::plain::{Kind, Plain, Point};
use crate::prefixes;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A guest sends these at once.
    Out(usize, Vec<Drawn>),
    /// Whoever got the last packet that left answers it with these at once, as to protocol and ends.
    Back(Vec<Drawn>),
    /// Milliseconds pass.
    Wait(u32),
    /// The next station has another Ethernet address, or none that is known.
    Moves(usize, Option<u8>),
    /// A station is seen at another station's port.
    Roams(usize, usize),
    /// The gateway outside has this last byte in its address.
    Renumbered(u8),
}

/// Packets that are still to be made.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    to: usize,
    ports: (u16, u16),
    is_v6: bool,
    kind: Drawing,
    form: Form,
    hops: u8,
    /// Words of options of IPv4.
    options: usize,
    /// Bytes of payload.
    length: usize,
    /// How often it is sent.
    times: usize,
}

/// Of a packet's kind what is drawn by lot.
#[derive(Clone, Copy, Debug)]
enum Drawing {
    Tcp(u8),
    Udp,
    Unsummed,
    Echo,
}

const SYN: u8 = 2;
const ACK: u8 = 0x10;

/// How a packet travels.
#[derive(Clone, Copy, Debug)]
enum Form {
    Whole,
    /// The checksum of its IPv4 header is wrong.
    Broken,
    /// Its checksum is left to be finished.
    Partial,
    /// A super-frame, of segments of so many bytes.
    Super(u16),
    /// What is left to be finished is said to stand somewhere else.
    Lying,
    /// In fragments of so many bytes.
    Parts(usize),
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let kind = prop_oneof![
        4 => Just(Drawing::Udp),
        1 => Just(Drawing::Unsummed),
        1 => Just(Drawing::Echo),
        5 => prop::sample::select(vec![SYN, SYN, SYN | ACK, ACK, ACK, ACK, 0x11, 4]).prop_map(Drawing::Tcp),
    ];
    let form = prop_oneof![
        6 => Just(Form::Whole),
        1 => Just(Form::Broken),
        3 => Just(Form::Partial),
        // The longest ones are longer than the way out takes.
        3 => prop::sample::select(vec![64, 64, 500, 1480]).prop_map(Form::Super),
        1 => Just(Form::Lying),
        1 => prop::sample::select(vec![24, 64]).prop_map(Form::Parts),
    ];
    let hops = prop_oneof![8 => Just(9_u8), 1 => 1..3_u8];
    let options = prop_oneof![5 => Just(0_usize), 2 => 1..11_usize];
    let length = prop::sample::select(vec![0, 20, 200, 200, 1600]);
    let ends = (
        3..5_usize,
        (0..3_u16, 0..2_u16),
        prop::bool::weighted(0.2),
        prop_oneof![6 => Just(1_usize), 3 => 2..5_usize],
    );
    (ends, kind, form, hops, options, length).prop_map(
        |((to, (own, other), is_v6, times), kind, form, hops, options, length)| Drawn {
            to,
            ports: (5000 + own, 53 + other),
            is_v6,
            kind,
            form,
            hops,
            options,
            length,
            times,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let packets =
        || prop_oneof![2 => prop::collection::vec(drawn(), 1..3), 3 => prop::collection::vec(drawn(), 3..20)];
    prop_oneof![
        8 => (0..3_usize, packets()).prop_map(|(from, packets)| Event::Out(from, packets)),
        8 => packets().prop_map(Event::Back),
        2 => (0..1500_u32).prop_map(Event::Wait),
        1 => (0..5_usize, prop::option::of(100..102_u8)).prop_map(|(of, mac)| Event::Moves(of, mac)),
        1 => (0..5_usize, 0..5_usize).prop_map(|(who, at)| Event::Roams(who, at)),
        1 => (1..3_u8).prop_map(Event::Renumbered),
    ]
}

/// The protocol of a packet that left, who sent it and to whom; `None`: it is a later fragment or a packet of another kind.
fn ends_of_head(head: &[u8]) -> Option<(u8, Point, Point)> {
    let is_v6 = head[12..14] == [0x86, 0xdd];
    let address = |at: usize| -> IpAddr {
        if is_v6 {
            <[u8; 16]>::try_from(&head[at..at + 16]).unwrap().into()
        } else {
            address_at(head, at).into()
        }
    };
    let (protocol, from, to, at) = if is_v6 {
        (head[20], address(22), address(38), 54)
    } else {
        (head[23], address(26), address(30), 14 + usize::from(head[14] & 0xf) * 4)
    };
    let is_later = !is_v6 && u16_at(head, 20) & 0x1fff != 0;
    let (own, other) = match protocol {
        6 | 17 => (u16_at(head, at), u16_at(head, at + 2)),
        1 | 58 if matches!(head[at], 8 | 128) => (u16_at(head, at + 4), u16_at(head, at + 4)),
        _ => return None,
    };
    (!is_later).then_some((protocol, (from, own), (to, other)))
}

impl Drawn {
    /// The packet of a guest.
    fn sent_by(self, from: usize) -> Plain {
        // Of IPv6 one guest's network has no prefix.
        let is_v6 = self.is_v6 && from != C;
        let [own, other] = if is_v6 {
            [from, PEER].map(|station| prefixes::address(station).into())
        } else {
            [from, self.to].map(|station| v4(station).into())
        };
        let kind = match self.kind {
            Drawing::Tcp(SYN) => Kind::Tcp(999, 0, SYN),
            Drawing::Tcp(flags) => Kind::Tcp(1000, 5000, flags),
            Drawing::Echo => Kind::Echo { is_reply: false },
            Drawing::Unsummed if !is_v6 => Kind::Unsummed,
            Drawing::Udp | Drawing::Unsummed => Kind::Udp,
        };
        self.packet(kind, (own, self.ports.0), (other, self.ports.1))
    }

    /// The packet that answers one with this protocol from the first to the second of these ends.
    fn answering(self, (protocol, from, to): (u8, Point, Point)) -> Plain {
        let kind = match (protocol, self.kind) {
            (6, Drawing::Tcp(flags)) if flags & SYN != 0 => Kind::Tcp(4999, 1000, flags),
            (6, Drawing::Tcp(flags)) => Kind::Tcp(5000, 1000, flags),
            (6, _) => Kind::Tcp(5000, 1000, ACK),
            (17, Drawing::Unsummed) if from.0.is_ipv4() => Kind::Unsummed,
            (17, _) => Kind::Udp,
            _ => Kind::Echo { is_reply: true },
        };
        self.packet(kind, to, from)
    }

    fn packet(self, kind: Kind, from: Point, to: Point) -> Plain {
        let payload = (0..self.length).map(|at| at as u8).collect();
        let options = if from.0.is_ipv4() { self.options } else { 0 };
        let id = (self.length + self.times) as u16;
        Plain { kind, from, to, ttl: self.hops, tos: 0, id, is_whole: false, options, payload }
    }

    /// The frames in which a station sends a packet to its gateway.
    fn frames(self, station: usize, packet: &Plain) -> Vec<Frame<()>> {
        let size = match self.form {
            Form::Super(size) if usize::from(size) < self.length => Some(size),
            _ => None,
        };
        let mut claims = packet.claims(size);
        let one = |bytes: &[u8], claims| vec![entering(station, &framed(station, bytes), claims)];
        let frames = match self.form {
            Form::Whole => one(&packet.bytes(), Claims::default()),
            Form::Broken => {
                let mut bytes = packet.bytes();
                bytes[11] ^= 1;
                one(&bytes, Claims::default())
            }
            Form::Partial | Form::Super(_) => one(&packet.partial(), claims),
            Form::Lying => {
                claims.checksum = claims.checksum.map(|at| PartialChecksum { start: at.start + 2, ..at });
                one(&packet.partial(), claims)
            }
            Form::Parts(size) => {
                let parts = packet.fragments(size).into_iter();
                parts.flat_map(|part| one(&part, Claims::default())).collect()
            }
        };
        std::iter::repeat_n(frames, self.times).flatten().collect()
    }
}

/// A station's frame that is about to enter.
fn entering(station: usize, bytes: &[u8], claims: Claims) -> Frame<()> {
    let meta = Metadata::new(port(station), bytes.len() as u32, claims);
    Frame { head: Head::from_bytes(bytes), meta, payload: () }
}

/// The most frames of a burst, as workers take them.
const BURST_MAX: usize = 32;

struct Run {
    lab: Lab,
    pace: Pace,
    witness: Witness,
    last: Option<(usize, Vec<u8>)>,
}

impl Run {
    fn new(lab: Lab, pace: Pace) -> Self {
        prefixes::introduce(&lab);
        Self { lab, pace, witness: Witness::default(), last: None }
    }

    fn send(&mut self, mut frames: Vec<Frame<()>>) -> Vec<(usize, Happening)> {
        frames.truncate(BURST_MAX);
        let Lab { switch, worker, now, .. } = &mut self.lab;
        let seen = enter((switch, worker, *now), &mut self.witness, self.pace, frames);
        assert_no_mismatch(switch, worker);
        let last = seen.iter().rev().find_map(|(_, happening)| match happening {
            Happening::Sent { to, head, .. } => Some((*to, head.clone())),
            _ => None,
        });
        self.last = last.or(self.last.take());
        seen
    }

    /// What becomes of what stations send.
    fn happens(&mut self, event: &Event) -> Vec<(usize, Happening)> {
        match event {
            Event::Out(from, packets) => {
                let frames = packets.iter().flat_map(|drawn| drawn.frames(*from, &drawn.sent_by(*from)));
                return self.send(frames.collect());
            }
            Event::Back(packets) => {
                let Some((at, left)) = self.last.clone().filter(|(at, _)| *at < NETWORK_OF.len()) else {
                    return Vec::new();
                };
                let Some(ends) = ends_of_head(&left) else { return Vec::new() };
                let frames = packets.iter().flat_map(|drawn| drawn.frames(at, &drawn.answering(ends)));
                return self.send(frames.collect());
            }
            Event::Wait(ms) => {
                self.lab.now = Nanos(self.lab.now.0 + u64::from(*ms) * 1_000_000);
                self.lab.switch.expire_connections(self.lab.now, 1 << 20, |_| {});
            }
            Event::Moves(of, mac) => {
                let (network, address) = (network(NETWORK_OF[*of]), Address::from(v4(*of)));
                let neighbours = self.lab.switch.neighbours();
                match mac {
                    Some(last) => {
                        neighbours.set(network, address, MacAddress([2, 0, 0, 0, 0, *last]), 1);
                    }
                    None => neighbours.clear(network, address),
                }
            }
            Event::Roams(who, at) => {
                let mut frame = vec![0; 60];
                frame[..6].copy_from_slice(&gateway(NETWORK_OF[*at]).0);
                frame[6..12].copy_from_slice(&mac(*who).0);
                return self.send(vec![entering(*at, &frame, Claims::default())]);
            }
            Event::Renumbered(last) => {
                self.lab.apply([192, 0, 2, *last].into());
            }
        }
        Vec::new()
    }

    fn state(&self) -> State {
        State::of(&self.lab.switch, 0..13, self.lab.now)
    }
}

/// A lab of two networks that are masqueraded, one of them with a prefix of IPv6 that is another one out there or not; its stations are
/// judged by rules or not.
fn lab(is_prefixed: bool, is_filtered: bool) -> Lab {
    let prefixes = if is_prefixed { vec![prefixes::translation()] } else { Vec::new() };
    let mut lab = Lab::with(NatSettings { prefixes, ..Lab::new().settings });
    if is_filtered {
        lab.filter(&[(1, 53)]);
    }
    lab
}

/// Has the same happen where nothing is remembered and one packet comes after the other, and in all other ways.
fn compare(events: &[Event], is_prefixed: bool, is_filtered: bool) -> Result<(), TestCaseError> {
    let memories: [fn(Lab) -> Lab; 3] =
        [|lab| lab.relying().without_memory(), |lab| lab, |lab| lab.relying()];
    let ways = [Pace::OneByOne, Pace::InBursts].into_iter().flat_map(|pace| memories.map(|of| (pace, of)));
    let mut runs: Vec<Run> =
        ways.map(|(pace, memory)| Run::new(memory(lab(is_prefixed, is_filtered)), pace)).collect();
    all_agree(&mut runs, events, Run::happens, Run::state)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_remembered_of_earlier_packets_changes_nothing_nor_does_who_comes_with_them(
        events in prop::collection::vec(event(), 1..40),
        is_prefixed in any::<bool>(),
        is_filtered in prop::bool::weighted(0.25),
    ) {
        compare(&events, is_prefixed, is_filtered)?;
    }
}

/// The next station's place is looked up once a second, but that it changed is noticed at once.
#[test]
fn a_path_ends_at_once_when_the_station_moves() {
    let mut lab = Lab::new().relying();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let there = lab.pass(A, &udp(A, sent));
    lab.pass(PEER, &udp(PEER, ends_of(&there.1).turned()));
    assert_eq!(lab.pass(A, &udp(A, sent)).0, PEER);
    assert_eq!(lab.pass(A, &udp(A, sent)).0, PEER);
    // The peer's address is seen at the other one's port.
    let mut roams = vec![0; 60];
    roams[..6].copy_from_slice(&[0xff; 6]);
    roams[6..12].copy_from_slice(&mac(PEER).0);
    lab.send(OTHER, &roams);
    assert_eq!(lab.pass(A, &udp(A, sent)).0, OTHER);
    // It has another Ethernet address.
    lab.switch.neighbours().set(network(2), Address::from(v4(PEER)), mac(ROUTER), 1);
    let (to, left) = lab.pass(A, &udp(A, sent));
    assert_eq!((to, &left[..6]), (ROUTER, &mac(ROUTER).0[..]));
    // Nobody knows it any more.
    lab.switch.neighbours().clear(network(2), Address::from(v4(PEER)));
    lab.offer(A, &udp(A, sent));
}
