//! Bursts of random packets, many of which repeat the one before, beside changes of rules: what a switch remembers from packet to packet and
//! from burst to burst, of connections, of openings and of the burst's last frame, makes no difference to what becomes of any
//! of them, to what is counted or to what connections there are. One switch remembers and is not verified, one is,
//! one remembers nothing, and one neither remembers anything nor has read any head of a burst before its turn comes, so that each packet goes
//! the whole way by itself.

use proptest::prelude::*;
use viaduct_switch::conntrack::{Connection, CountersSnapshot, Filter};
use viaduct_switch::counters::PortSnapshot;
use viaduct_switch::security::{Direction, Protocol, RuleSpec};
use viaduct_switch::{
    Claims, DropReason, Egress, Frame, FrameRate, Head, JudgeLimits, Metadata, NetworkIndex, PartialChecksum,
    PortIndex,
};

use crate::lab::*;

const STATIONS: usize = 3;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// The rules of a group, and whether it is stateful.
    Group(usize, bool, Vec<RuleSpec>),
    /// A station's groups; `None`: it is not filtered.
    Join(usize, Option<Vec<usize>>),
    /// What a station sends at once: each packet as often as is said.
    Burst(usize, Vec<(Drawn, usize)>),
    /// Seconds go by.
    Wait(u32),
    /// Where a station is is forgotten.
    Forget(usize),
}

/// A packet that is still to be made.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    /// Whose addresses it has, mostly its sender's: so much is added to that one's number.
    pretended: usize,
    to: usize,
    is_v6: bool,
    ports: (u16, u16),
    kind: Kind,
    /// Whether another packet of the row has another source port.
    counts_up: bool,
    oddity: Oddity,
}

/// In what a packet is no plain one, if it is of IPv4, or is one although its sender has more to say.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Oddity {
    None,
    /// An option that does nothing, in front of the transport header.
    Option,
    /// The first part of a packet, or another one.
    Fragment(u8),
    /// A tag that names no other network, or another one.
    Tag(u8),
    /// The checksum is to be finished; where it is, and not.
    Checksum(bool),
    /// So many bytes less than it says.
    Short(usize),
    /// Padding that no header speaks of.
    Long(usize),
    /// Another Ethernet address than its sender's.
    Mac,
    /// Another IPv4 address than its sender's.
    Address,
    /// A byte of the head is another one.
    Byte(usize, u8),
}

impl Oddity {
    fn apply(self, mut frame: Vec<u8>) -> (Vec<u8>, Claims) {
        let is_v4 = frame.get(12..14) == Some(&[8, 0]);
        let mut claims = Claims::default();
        match self {
            Self::Option if is_v4 => {
                frame.splice(34..34, [1, 1, 1, 0]);
                frame[14] += 1;
                let length = u16::from_be_bytes([frame[16], frame[17]]) + 4;
                frame[16..18].copy_from_slice(&length.to_be_bytes());
            }
            Self::Fragment(place) if is_v4 => frame[20..22].copy_from_slice(&[0x20, place]),
            Self::Tag(network) => {
                frame.splice(12..12, [0x81, 0, 0, network]);
            }
            Self::Checksum(is_right) if is_v4 => {
                let at = if frame[23] == 6 { 16 } else { 6 };
                let offset = if is_right { at } else { 4 };
                claims.checksum = Some(PartialChecksum { start: 34, offset });
            }
            Self::Short(bytes) => frame.truncate(frame.len() - bytes),
            Self::Long(bytes) => frame.resize(frame.len() + bytes, 0),
            Self::Mac => frame[6..12].copy_from_slice(&mac(7)),
            Self::Address if is_v4 => frame[29] ^= 1,
            Self::Byte(at, byte) => {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            _ => {}
        }
        (frame, claims)
    }
}

fn oddity() -> impl Strategy<Value = Oddity> {
    prop_oneof![
        16 => Just(Oddity::None),
        1 => Just(Oddity::Option),
        1 => (0..3u8).prop_map(Oddity::Fragment),
        1 => (0..2u8).prop_map(Oddity::Tag),
        2 => any::<bool>().prop_map(Oddity::Checksum),
        1 => (1..30usize).prop_map(Oddity::Short),
        1 => (1..30usize).prop_map(Oddity::Long),
        1 => Just(Oddity::Mac),
        2 => Just(Oddity::Address),
        1 => (0..54usize, any::<u8>()).prop_map(|(at, byte)| Oddity::Byte(at, byte)),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Datagram,
    Segment(&'static str),
    Echo,
    Announcement,
}

impl Drawn {
    /// The packet of this number in its row, and what is claimed of it.
    fn frame(self, sender: usize, number: u16) -> (Vec<u8>, Claims) {
        self.oddity.apply(self.even_frame(sender, number))
    }

    fn even_frame(self, sender: usize, number: u16) -> Vec<u8> {
        let from = (sender + self.pretended) % STATIONS;
        let to = (from + 1 + self.to) % STATIONS;
        let (source, destination) = self.ports;
        let ports = (source + if self.counts_up { 100 * number } else { 0 }, destination);
        match self.kind {
            Kind::Datagram => udp(from, to, self.is_v6, ports),
            Kind::Segment(flags) => {
                let segment = Segment { flags, sequence: 100, acknowledgement: 101, payload: 0 };
                tcp(from, to, self.is_v6, ports, segment)
            }
            Kind::Echo => echo(from, to, self.is_v6, source),
            Kind::Announcement => arp(from),
        }
    }
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let pretended = prop_oneof![12 => Just(0usize), 1 => 1..STATIONS];
    let kind = prop_oneof![
        8 => Just(Kind::Datagram),
        4 => Just(Kind::Segment("S")),
        2 => prop::sample::select(vec!["SA", "A", "R", "AF", "SR"]).prop_map(Kind::Segment),
        1 => Just(Kind::Echo),
        1 => Just(Kind::Announcement),
    ];
    // Of DHCP are questions and answers.
    let number = || prop_oneof![6 => 1..4u16, 1 => 67..69u16];
    let ports = (number(), number());
    let version = prop::bool::weighted(0.3);
    (pretended, 0..STATIONS - 1, version, ports, kind, any::<bool>(), oddity()).prop_map(
        |(pretended, to, is_v6, ports, kind, counts_up, oddity)| Drawn {
            pretended,
            to,
            is_v6,
            ports,
            kind,
            counts_up,
            oddity,
        },
    )
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    let remote = prop::option::of((0..STATIONS, any::<bool>()));
    (any::<bool>(), 0..3u8, 1..4u16, remote).prop_map(|(is_egress, kind, port, remote)| {
        let mut rule = RuleSpec::new(if is_egress { Direction::Egress } else { Direction::Ingress });
        if kind > 0 {
            rule.protocol = Some(if kind == 1 { Protocol::TCP } else { Protocol::UDP });
            rule.ports = Some((port, 3));
        }
        rule.prefix = remote.and_then(|(station, is_v6)| {
            let text = if is_v6 { format!("{}/128", v6(station)) } else { format!("{}/32", v4(station)) };
            text.parse().ok()
        });
        rule
    })
}

fn event() -> impl Strategy<Value = Event> {
    let rules = prop::collection::vec(rule(), 0..4);
    let groups = prop::option::weighted(0.9, prop::collection::vec(0..2usize, 0..3));
    let burst = prop::collection::vec((drawn(), 1..8usize), 1..8);
    prop_oneof![
        2 => (0..2usize, prop::bool::weighted(0.8), rules).prop_map(|(group, kind, rules)| Event::Group(group, kind, rules)),
        2 => (0..STATIONS, groups).prop_map(|(station, groups)| Event::Join(station, groups)),
        20 => (0..STATIONS, burst).prop_map(|(station, packets)| Event::Burst(station, packets)),
        1 => prop::sample::select(vec![1u32, 61, 121, 301]).prop_map(Event::Wait),
        1 => (0..STATIONS).prop_map(Event::Forget),
    ]
}

/// What became of the frames of a burst.
#[derive(Default, PartialEq, Eq, Debug)]
struct Seen {
    /// Where each frame left, by its position.
    left: Vec<(usize, usize)>,
    dropped: Vec<(usize, DropReason)>,
}

impl Seen {
    /// What became of the burst behind as many frames as `before`, whose own fate is left out.
    fn behind(self, before: usize) -> Self {
        let left = self.left.into_iter().filter_map(|(slot, to)| Some((slot.checked_sub(before)?, to)));
        let dropped =
            self.dropped.into_iter().filter_map(|(slot, why)| Some((slot.checked_sub(before)?, why)));
        Self { left: left.collect(), dropped: dropped.collect() }
    }
}

impl Egress<()> for Seen {
    fn send(&mut self, to: PortIndex, slot: usize, _: &Frame<()>) {
        self.left.push((slot, to.get()));
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<()>) {
        let others = receivers.iter().filter(|port| **port != frame.meta.source);
        self.left.extend(others.map(|port| (slot, port.get())));
    }

    fn dropped(&mut self, slot: usize, _: &Frame<()>, reason: DropReason) {
        self.dropped.push((slot, reason));
    }
}

/// All that shows what a switch did and knows.
type State = (Seen, Vec<PortSnapshot>, Option<(CountersSnapshot, Vec<Connection>)>);

/// The most frames of a burst that are read before their turn comes.
const AHEAD_MAX: usize = 64;

/// Frames that are too short to be any, as many as are read ahead.
fn fillers(station: usize) -> impl Iterator<Item = Frame<()>> {
    let meta = Metadata::new(port(station), 10, Claims::default());
    std::iter::repeat_with(move || Frame { head: Head::from_bytes(&[0; 10]), meta, payload: () })
        .take(AHEAD_MAX)
}

/// What becomes of an event in a switch. Each burst stands behind one that nobody can read if `is_unread`, and else before it.
fn happens(lab: &mut Lab, event: &Event, is_unread: bool) -> State {
    let mut seen = Seen::default();
    match event {
        Event::Group(index, stateful, rules) => lab.group_of(*index, *stateful, rules),
        Event::Join(station, groups) => lab.join(*station, groups.as_deref()),
        Event::Burst(station, packets) => {
            let rows = packets.iter().flat_map(|(drawn, count)| (0..*count).map(|number| (*drawn, number)));
            let drawn = rows.map(|(drawn, number)| {
                let (bytes, claims) = drawn.frame(*station, u16::try_from(number).unwrap());
                let length = u32::try_from(bytes.len()).unwrap();
                let meta = Metadata::new(port(*station), length, claims);
                Frame { head: Head::from_bytes(&bytes), meta, payload: () }
            });
            let mut burst: Vec<_> = if is_unread {
                fillers(*station).chain(drawn).collect()
            } else {
                drawn.chain(fillers(*station)).collect()
            };
            let count = burst.len() - AHEAD_MAX;
            lab.switch.process(&mut lab.worker, lab.now, &mut burst, &mut seen);
            if is_unread {
                seen = seen.behind(AHEAD_MAX);
            } else {
                seen.dropped.retain(|(slot, _)| *slot < count);
            }
        }
        Event::Wait(seconds) => {
            lab.now.0 += u64::from(*seconds) * 1_000_000_000;
            lab.switch.expire_connections(lab.now, usize::MAX, |_| ());
        }
        Event::Forget(station) => lab.switch.forget_port(port(*station)),
    }
    assert_eq!(lab.worker.flow_counters().snapshot().mismatched, 0, "{event:?}");
    let counted = (0..STATIONS).map(|station| lab.switch.counters().port(port(station)).snapshot());
    let connections = lab
        .switch
        .conntrack()
        .map(|table| (table.counters(), table.list(&Filter::default(), 0, usize::MAX, lab.now).connections));
    (seen, counted.collect(), connections)
}

/// Has the same happen in all four.
fn compare(events: &[Event], is_guarded: bool) -> Result<(), TestCaseError> {
    // Few enough connections that some give way, and rates that bursts exceed.
    let judging = JudgeLimits { new_connections: FrameRate::new(300), judged_packets: FrameRate::new(1000) };
    let [mut plain, mut verified, mut forgetful, mut unread] =
        [512, 512, 0, 0].map(|entries| Lab::of(&[0; STATIONS], judging, entries, 64, is_guarded));
    plain.switch.set_verification(false);
    verified.switch.set_verification(true);
    for event in events {
        let expected = happens(&mut unread, event, true);
        prop_assert_eq!(&happens(&mut forgetful, event, false), &expected, "forgetful: {:?}", event);
        prop_assert_eq!(&happens(&mut plain, event, false), &expected, "{:?}", event);
        prop_assert_eq!(&happens(&mut verified, event, false), &expected, "verified: {:?}", event);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_remembered_makes_no_difference(
        events in prop::collection::vec(event(), 1..60),
        is_guarded in any::<bool>(),
    ) {
        compare(&events, is_guarded)?;
    }
}
