//! Bursts of random packets, many of which repeat the one before, beside changes of rules: what a switch remembers from packet to packet and
//! from burst to burst, of connections, of openings and of the burst's last frame, makes no difference to what becomes of any
//! of them, to what is counted or to what connections there are. One switch remembers and is not verified, one is, and
//! one remembers nothing.

use proptest::prelude::*;
use viaduct_switch::conntrack::{Connection, CountersSnapshot, Filter};
use viaduct_switch::security::{Direction, Protocol, RuleSpec};
use viaduct_switch::{
    Claims, DropReason, Egress, Frame, FrameRate, Head, JudgeLimits, Metadata, NetworkIndex, PortIndex,
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
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Datagram,
    Segment(&'static str),
    Echo,
    Announcement,
}

impl Drawn {
    /// The packet of this number in its row.
    fn frame(self, sender: usize, number: u16) -> Vec<u8> {
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
    let ports = (1..4u16, prop_oneof![6 => 1..4u16, 1 => 67..69u16]);
    (pretended, 0..STATIONS - 1, any::<bool>(), ports, kind, any::<bool>()).prop_map(
        |(pretended, to, is_v6, ports, kind, counts_up)| Drawn {
            pretended,
            to,
            is_v6,
            ports,
            kind,
            counts_up,
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
type State = (Seen, Vec<(DropReason, u64)>, Option<(CountersSnapshot, Vec<Connection>)>);

/// What becomes of an event in a switch.
fn happens(lab: &mut Lab, event: &Event) -> State {
    let mut seen = Seen::default();
    match event {
        Event::Group(index, stateful, rules) => lab.group_of(*index, *stateful, rules),
        Event::Join(station, groups) => lab.join(*station, groups.as_deref()),
        Event::Burst(station, packets) => {
            let rows = packets.iter().flat_map(|(drawn, count)| (0..*count).map(|number| (*drawn, number)));
            let mut burst: Vec<_> = rows
                .map(|(drawn, number)| {
                    let bytes = drawn.frame(*station, u16::try_from(number).unwrap());
                    let length = u32::try_from(bytes.len()).unwrap();
                    let meta = Metadata::new(port(*station), length, Claims::default());
                    Frame { head: Head::from_bytes(&bytes), meta, payload: () }
                })
                .collect();
            lab.switch.process(&mut lab.worker, lab.now, &mut burst, &mut seen);
        }
        Event::Wait(seconds) => {
            lab.now.0 += u64::from(*seconds) * 1_000_000_000;
            lab.switch.expire_connections(lab.now, usize::MAX, |_| ());
        }
        Event::Forget(station) => lab.switch.forget_port(port(*station)),
    }
    assert_eq!(lab.worker.flow_counters().snapshot().mismatched, 0, "{event:?}");
    let drops = (0..STATIONS).flat_map(|station| {
        lab.switch.counters().port(port(station)).snapshot().dropped().collect::<Vec<_>>()
    });
    let connections = lab
        .switch
        .conntrack()
        .map(|table| (table.counters(), table.list(&Filter::default(), 0, usize::MAX, lab.now).connections));
    (seen, drops.collect(), connections)
}

/// Has the same happen in all three.
fn compare(events: &[Event], is_guarded: bool) -> Result<(), TestCaseError> {
    // Few enough connections that some give way, and rates that bursts exceed.
    let judging = JudgeLimits { new_connections: FrameRate::new(300), judged_packets: FrameRate::new(1000) };
    let [mut plain, mut verified, mut forgetful] =
        [512, 512, 0].map(|entries| Lab::of(&[0; STATIONS], judging, entries, 64, is_guarded));
    plain.switch.set_verification(false);
    verified.switch.set_verification(true);
    for event in events {
        let expected = happens(&mut forgetful, event);
        prop_assert_eq!(&happens(&mut plain, event), &expected, "{:?}", event);
        prop_assert_eq!(&happens(&mut verified, event), &expected, "verified: {:?}", event);
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
