//! Random packets of both versions of IP between networks, one by one and in bursts, beside changes of rules, routes and places: who comes
//! with them and what is remembered of earlier ones changes nothing of what becomes of any of them, of what is counted and of
//! what is known afterwards.

use etherparse::{IpHeaders, Ipv4Header, Ipv6FlowLabel, Ipv6Header};
use proptest::prelude::*;

use super::gateway::neighbour_discovery;
use super::*;
use crate::happenings::{Happening, Pace, State, Witness, all_agree, assert_no_mismatch, enter};

/// The most frames of a burst.
const BURST_MAX: usize = 32;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A port's stations send these at once, each as often as is said.
    Burst(Port, Vec<(Drawn, usize)>),
    /// Milliseconds pass.
    Wait(u32),
    /// A station has another Ethernet address, or none that is known.
    Moves(usize, Option<u8>),
    /// A station is seen at another one's port.
    Roams(usize, usize),
    /// Rules let this port in to station 1.
    Filter(u16),
    /// Both networks have one router, or each has its own.
    Joined(bool),
}

/// The stations at a port.
#[derive(Clone, Copy, Debug)]
enum Port {
    Access(usize),
    Trunk,
}

impl Port {
    fn station(self, number: usize) -> usize {
        match self {
            Self::Access(station) => station,
            Self::Trunk => 3 + number % 2,
        }
    }
}

/// A frame that is still to be made.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    /// Which of the port's stations sends it, and to whom.
    from: usize,
    to: To,
    is_v6: bool,
    kind: Kind,
    form: Form,
    hops: u8,
    /// Words of options of IPv4.
    options: usize,
    length: usize,
    /// Whether it says that it is the gateway's.
    is_forged: bool,
}

#[derive(Clone, Copy, Debug)]
enum To {
    Station(usize),
    /// Nobody, in one of both networks.
    Nobody(usize),
    /// A gateway.
    Gateway(usize),
    Elsewhere,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp(bool),
    Udp(u16),
    Echo,
    /// Who is asked for by ARP or neighbour discovery.
    Question,
    Announcement,
}

/// What is left to be done to it, or wrong with it.
#[derive(Clone, Copy, Debug)]
enum Form {
    Whole,
    Broken,
    Partial,
    Super(u16),
    Lying,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let to = prop_oneof![
        10 => (0..5_usize).prop_map(To::Station),
        1 => (0..2_usize).prop_map(To::Nobody),
        1 => (0..2_usize).prop_map(To::Gateway),
        1 => Just(To::Elsewhere),
    ];
    let kind = prop_oneof![
        3 => any::<bool>().prop_map(Kind::Tcp),
        6 => (53..55_u16).prop_map(Kind::Udp),
        1 => Just(Kind::Echo),
        1 => Just(Kind::Question),
        1 => Just(Kind::Announcement),
    ];
    // Where the shorter of both networks' packets end, and that of the longer one.
    let size = prop::sample::select(vec![64_u16, 500, 1340, 1440]);
    let form = prop_oneof![
        6 => Just(Form::Whole),
        1 => Just(Form::Broken),
        3 => Just(Form::Partial),
        3 => size.prop_map(Form::Super),
        1 => Just(Form::Lying),
    ];
    let hops = prop_oneof![8 => Just(9_u8), 1 => 0..3_u8];
    let options = prop_oneof![5 => Just(0_usize), 2 => 1..11_usize];
    let length = prop::sample::select(vec![0_usize, 20, 200, 1350, 3000]);
    let is_forged = prop::bool::weighted(0.03);
    (0..2_usize, to, any::<bool>(), kind, form, (hops, options, length, is_forged)).prop_map(
        |(from, to, is_v6, kind, form, (hops, options, length, is_forged))| Drawn {
            from,
            to,
            is_v6,
            kind,
            form,
            hops,
            options,
            length,
            is_forged,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let port = prop_oneof![3 => (0..3_usize).prop_map(Port::Access), 1 => Just(Port::Trunk)];
    let packet = || (drawn(), prop_oneof![3 => Just(1_usize), 1 => 2..6_usize]);
    let packets =
        prop_oneof![1 => prop::collection::vec(packet(), 1..3), 2 => prop::collection::vec(packet(), 3..20)];
    prop_oneof![
        16 => (port, packets).prop_map(|(port, packets)| Event::Burst(port, packets)),
        2 => (0..1500_u32).prop_map(Event::Wait),
        1 => (0..5_usize, prop::option::of(100..102_u8)).prop_map(|(of, mac)| Event::Moves(of, mac)),
        1 => (0..5_usize, 0..5_usize).prop_map(|(who, at)| Event::Roams(who, at)),
        1 => (53..55_u16).prop_map(Event::Filter),
        1 => any::<bool>().prop_map(Event::Joined),
    ]
}

impl Drawn {
    fn address(self) -> IpAddr {
        match (self.to, self.is_v6) {
            (To::Station(station), false) => station_v4(station).into(),
            (To::Station(station), true) => station_v6(station).into(),
            (To::Nobody(of), false) => v4(of, 77).into(),
            (To::Nobody(of), true) => v6(of, 77).into(),
            (To::Gateway(of), false) => v4(of, 1).into(),
            (To::Gateway(of), true) => v6(of, 1).into(),
            (To::Elsewhere, false) => Ipv4Addr::new(192, 0, 2, 1).into(),
            (To::Elsewhere, true) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    /// What a station sends.
    fn frame(self, port: Port) -> Frame<()> {
        let station = port.station(self.from);
        let (mut bytes, claims) = match (self.kind, self.address()) {
            (Kind::Question, IpAddr::V4(to)) => (arp(station, 1, station_v4(station), to), Claims::default()),
            (Kind::Announcement, IpAddr::V4(to)) => (arp(station, 2, to, to), Claims::default()),
            (Kind::Question, IpAddr::V6(to)) => {
                (neighbour_discovery(station, 135, station_v6(station), to), Claims::default())
            }
            (Kind::Announcement, IpAddr::V6(to)) => {
                (neighbour_discovery(station, 136, to, to), Claims::default())
            }
            (_, to) => self.packet(station, to),
        };
        if self.is_forged {
            bytes[6..12].copy_from_slice(&gateway(NETWORK_OF[station]).0);
        }
        entering(station, &bytes, bytes.len(), claims)
    }

    /// A packet to its gateway, and what of it is left to be done.
    fn packet(self, station: usize, to: IpAddr) -> (Vec<u8>, Claims) {
        let ip = match to {
            IpAddr::V4(to) => {
                let mut header = Ipv4Header {
                    time_to_live: self.hops,
                    source: station_v4(station).octets(),
                    destination: to.octets(),
                    ..Ipv4Header::default()
                };
                header.options = (&vec![1; 4 * self.options][..]).try_into().unwrap();
                IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
            }
            IpAddr::V6(to) => {
                let header = Ipv6Header {
                    hop_limit: self.hops,
                    source: station_v6(station).octets(),
                    destination: to.octets(),
                    flow_label: Ipv6FlowLabel::ZERO,
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
            }
        };
        let builder = PacketBuilder::ethernet2(mac(station).0, gateway(NETWORK_OF[station]).0).ip(ip);
        let (payload, mut bytes) = (vec![7; self.length], Vec::new());
        match self.kind {
            Kind::Tcp(true) => builder.tcp(1000, 53, 1, 1000).syn().write(&mut bytes, &payload).unwrap(),
            Kind::Tcp(false) => builder.tcp(1000, 53, 2, 1000).ack(5).write(&mut bytes, &payload).unwrap(),
            Kind::Echo if self.is_v6 => {
                builder.icmpv6_echo_request(5, 1).write(&mut bytes, &payload).unwrap();
            }
            Kind::Echo => builder.icmpv4_echo_request(5, 1).write(&mut bytes, &payload).unwrap(),
            Kind::Udp(to) => builder.udp(1000, to).write(&mut bytes, &payload).unwrap(),
            Kind::Question | Kind::Announcement => panic!("these are no packets"),
        }
        if matches!(self.form, Form::Broken) {
            bytes[if self.is_v6 { 15 } else { 25 }] ^= 1;
        }
        (bytes, self.claims())
    }

    fn claims(self) -> Claims {
        let start = if self.is_v6 { 54 } else { 34 + 4 * self.options as u16 };
        let (offset, kind) = match (self.kind, self.is_v6) {
            (Kind::Tcp(_), false) => (16, GsoKind::Tcp4),
            (Kind::Tcp(_), true) => (16, GsoKind::Tcp6),
            (Kind::Echo, _) => (2, GsoKind::Udp),
            _ => (6, GsoKind::Udp),
        };
        let checksum = Some(PartialChecksum { start, offset });
        match self.form {
            Form::Whole | Form::Broken => Claims::default(),
            Form::Super(size) if usize::from(size) < self.length => {
                Claims { checksum, gso: Some(Gso { kind, size, ecn: false }) }
            }
            Form::Partial | Form::Super(_) => Claims { checksum, gso: None },
            Form::Lying => Claims { checksum: Some(PartialChecksum { start: start + 2, offset }), gso: None },
        }
    }
}

struct Run {
    lab: Lab,
    pace: Pace,
    witness: Witness,
}

impl Run {
    fn send(&mut self, mut frames: Vec<Frame<()>>) -> Vec<(usize, Happening)> {
        frames.truncate(BURST_MAX);
        let Lab { switch, worker, now, .. } = &mut self.lab;
        let seen = enter((switch, worker, *now), &mut self.witness, self.pace, frames);
        assert_no_mismatch(switch, worker);
        seen
    }

    /// What becomes of what stations send.
    fn happens(&mut self, event: &Event) -> Vec<(usize, Happening)> {
        match event {
            Event::Burst(port, packets) => {
                let rows =
                    packets.iter().flat_map(|(drawn, times)| std::iter::repeat_n(drawn.frame(*port), *times));
                return self.send(rows.collect());
            }
            Event::Wait(ms) => {
                self.lab.now = Nanos(self.lab.now.0 + u64::from(*ms) * 1_000_000);
                self.lab.switch.expire_connections(self.lab.now, 1 << 20, |_| {});
            }
            Event::Moves(of, mac) => {
                let neighbours = self.lab.switch.neighbours();
                for address in [Address::from(station_v4(*of)), station_v6(*of).into()] {
                    let network = network(NETWORK_OF[*of]);
                    match mac {
                        Some(last) => {
                            neighbours.set(network, address, MacAddress([2, 0, 0, 0, 0, *last]), 1);
                        }
                        None => neighbours.clear(network, address),
                    }
                }
            }
            Event::Roams(who, at) => {
                let mut frame = vec![0; 60];
                frame[..6].copy_from_slice(&[0xff; 6]);
                frame[6..12].copy_from_slice(&mac(*who).0);
                return self.send(vec![entering(*at, &frame, frame.len(), Claims::default())]);
            }
            Event::Filter(port) => rules::filter(&mut self.lab, *port),
            Event::Joined(is_joined) => {
                self.lab.policy = self.lab.policy.with_routing(Arc::new(routing(*is_joined)));
                self.lab.worker.set_policy(Arc::new(self.lab.policy.clone()));
            }
        }
        Vec::new()
    }

    fn state(&self) -> State {
        State::of(&self.lab.switch, 0..12, self.lab.now)
    }
}

/// A worker that remembers, whose memory is verified; one that relies on it; and one that remembers nothing.
fn labs() -> [Lab; 3] {
    let [forgetful, verified, relying] = [0; 3].map(|_| Lab::new());
    let worker = WorkerState::with_flow_entries(Arc::new(forgetful.policy.clone()), 0);
    let forgetful = Lab { worker, ..forgetful };
    forgetful.switch.set_verification(false);
    relying.switch.set_verification(false);
    [forgetful, verified, relying]
}

/// Has the same happen where nothing is remembered and one packet comes after the other, and in all other ways.
fn compare(events: &[Event]) -> Result<(), TestCaseError> {
    let paces = [Pace::OneByOne, Pace::InBursts];
    let runs = paces
        .map(|pace| labs().map(|lab| Run { lab, pace, witness: Witness::default() }))
        .into_iter()
        .flatten();
    let mut runs: Vec<Run> = runs.collect();
    all_agree(&mut runs, events, Run::happens, Run::state)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_becomes_of_a_packet_depends_on_none_that_comes_with_it(events in prop::collection::vec(event(), 1..40)) {
        compare(&events)?;
    }
}
