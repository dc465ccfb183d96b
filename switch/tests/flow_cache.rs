//! A switch with a flow cache and one without are the same switch: whatever comes, in whatever order, both
//! send the same frames to the same ports, know the same addresses and count the same.
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

use std::sync::Arc;

use proptest::prelude::*;
use viaduct_switch::storm::{FrameRate, StormLimits};
use viaduct_switch::{
    Claims, Egress, Frame, GroupLimits, Gso, GsoKind, Head, Limits, Membership, Metadata, Nanos,
    NetworkIndex, NetworkSettings, PartialChecksum, Policy, PortIndex, PortPolicy, Switch, TagTypes, Trunk,
    VlanId, WorkerState,
};

const PORTS: usize = 6;

/// The fdb has room for few, so that addresses are evicted; one port may have fewer still.
const LIMITS: Limits = Limits {
    fdb_entries: 8,
    fdb_entries_per_port_max: 6,
    groups: GroupLimits { groups: 8, memberships: 16, memberships_per_port_max: 16 },
    connections: viaduct_switch::conntrack::Limits::DEFAULT,
    fragments: viaduct_switch::fragments::Limits::DEFAULT,
};

/// What happens to a switch.
#[derive(Clone, Debug)]
enum Event {
    /// Frames enter at a port.
    Burst { port: usize, frames: Vec<Drawn> },
    /// Time goes by.
    Wait { milliseconds: u64 },
    /// Another policy holds.
    Policy { number: usize },
    /// A port's addresses are forgotten.
    Forget { port: usize },
    /// Old addresses are taken out.
    Expire,
}

/// A frame that is still to be made.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    to: usize,
    from: usize,
    /// What stands where the type field does and behind it.
    types: [u16; 5],
    /// Bytes of the head.
    head: usize,
    length: u32,
    gso: Option<(GsoKind, u16)>,
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// Stations, a broadcast, groups, and addresses that nobody may use.
fn address(index: usize) -> [u8; 6] {
    match index {
        0..12 => [2, 0, 0, 0, 0, u8::try_from(index).unwrap()],
        12 => [0xff; 6],
        13 => [1, 0, 0x5e, 0, 0, 1],
        14 => [1, 0x80, 0xc2, 0, 0, 0],
        _ => [0; 6],
    }
}

/// Policies that differ in what frames may be sent, and in who belongs to whom. Port 5 has no network in the first;
/// ports 3 and 4 are trunks of some kind or other in the others.
fn policy(number: usize) -> Policy {
    let network = |index| NetworkIndex::new(index).unwrap();
    let storm = StormLimits { broadcast: FrameRate::new(400), ..StormLimits::default() };
    let ports = (0..PORTS - usize::from(number == 0)).map(|index| {
        let of = network(usize::from(number == 2 && index % 2 == 1));
        let mtu = if number == 1 { 1400 } else { 1500 };
        let storm = if index == 0 { storm } else { StormLimits::UNLIMITED };
        let membership = match (number, index) {
            (1, 3) => trunk(None, &[0, 1], None),
            (1, 4) => trunk(Some(0), &[1], None),
            (2, 3) => trunk(Some(0), &[1], VlanId::new(0x800)),
            (2, 4) => trunk(Some(1), &[], None),
            _ => Membership::Access(of),
        };
        (port(index), PortPolicy { storm, membership, ..PortPolicy::new(of, mtu) })
    });
    let ageing_s = if number == 1 { 3 } else { 8 };
    let networks = (0..2).map(|index| {
        let vlan = VlanId::new(if index == 0 { 0x800 } else { 0x7d });
        let inner_tags = number == 2 && index == 1;
        (
            network(index),
            NetworkSettings { ageing_s, multicast: None, vlan, inner_tags, gateway: None, suppresses: false },
        )
    });
    Policy::compile(ports, networks).unwrap()
}

fn trunk(native: Option<usize>, networks: &[usize], service_vlan: Option<VlanId>) -> Membership {
    let network = |index| NetworkIndex::new(index).unwrap();
    let tag_types = TagTypes { service: native.is_some(), legacy: true };
    let networks = networks.iter().copied().map(network).collect();
    Membership::Trunk(Trunk { native: native.map(network), networks, service_vlan, tag_types })
}

impl Drawn {
    fn frame(self, source: usize) -> Frame<()> {
        let types: Vec<u8> = self.types.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut bytes = [address(self.to).as_slice(), &address(self.from), &types, &[0x80; 104]].concat();
        bytes.truncate(self.head);
        let claims = self.gso.map_or(Claims::default(), |(kind, size)| Claims {
            checksum: Some(PartialChecksum { start: 34, offset: 16 }),
            gso: Some(Gso { kind, size, ecn: false }),
        });
        let meta = Metadata::new(port(source), self.length, claims);
        Frame { head: Head::from_bytes(&bytes), meta, payload: () }
    }
}

/// Mostly plain frames between stations, sometimes anything.
fn drawn() -> impl Strategy<Value = Drawn> {
    let to = prop_oneof![8 => 0..12usize, 2 => 12..16usize];
    let from = prop_oneof![20 => 0..12usize, 1 => 12..16usize];
    // The word behind a tag's type is tag control information: 0x0800 is a VLAN id as well.
    let word = prop_oneof![
        8 => Just(0x0800), 2 => Just(0x8100), 1 => Just(0x88a8), 1 => Just(0x86dd), 1 => Just(0x9100),
        2 => Just(0x607d), 1 => Just(0xe000), 1 => Just(0x0fff),
    ];
    let head = prop_oneof![20 => Just(126usize), 1 => 0..30usize];
    let length = prop_oneof![
        10 => Just(60),
        3 => prop::sample::select(vec![1413, 1414, 1415, 1418, 1419, 1514, 1515, 1518, 1519, 1522, 1523]),
        1 => prop::sample::select(vec![0, 13, 14, 9000, 65_550, 65_551]),
    ];
    let kind = prop::sample::select(vec![GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp, GsoKind::UdpFragment]);
    let size = prop::sample::select(vec![100, 1346, 1347, 1446, 1447, 1448, 1449, 1480, 1481]);
    let gso = prop_oneof![6 => Just(None), 1 => (kind, size).prop_map(Some)];
    let tagged = prop::sample::select(vec![
        [0x8100, 0x0800, 0x0800, 0, 0],
        [0x8100, 0x607d, 0x0800, 0, 0],
        [0x8100, 0x607d, 0x8100, 5, 0x0800],
        [0x88a8, 0x0800, 0x8100, 0x607d, 0x0800],
        [0x8100, 0xa000, 0x0800, 0, 0],
    ]);
    let types = prop_oneof![3 => Just([0x0800; 5]), 2 => prop::array::uniform5(word), 2 => tagged];
    (to, from, types, head, length, gso).prop_map(|(to, from, types, head, length, gso)| {
        let length = if gso.is_some() { 20_000 } else { length };
        Drawn { to, from, types, head, length, gso }
    })
}

/// A burst of few kinds of frames, some of which come several times.
fn burst() -> impl Strategy<Value = Event> {
    let kinds = prop::collection::vec((drawn(), 1..4usize), 1..6);
    (0..PORTS, kinds).prop_map(|(port, kinds)| {
        let frames = kinds.into_iter().flat_map(|(frame, times)| std::iter::repeat_n(frame, times));
        Event::Burst { port, frames: frames.collect() }
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        24 => burst(),
        4 => (0..5_000u64).prop_map(|milliseconds| Event::Wait { milliseconds }),
        1 => (0..3usize).prop_map(|number| Event::Policy { number }),
        1 => (0..PORTS).prop_map(|port| Event::Forget { port }),
        1 => Just(Event::Expire),
    ]
}

/// The frame's place, its network if it is flooded, where it goes, its head, and what else is known of it.
type Said = (usize, Option<NetworkIndex>, Vec<PortIndex>, Vec<u8>, Metadata);

/// Everything that an egress was told, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Told(Vec<Said>);

impl Egress<()> for Told {
    fn send(&mut self, to: PortIndex, slot: usize, frame: &Frame<()>) {
        self.0.push((slot, None, vec![to], frame.head.bytes().to_vec(), frame.meta));
    }

    fn flood(&mut self, network: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<()>) {
        self.0.push((slot, Some(network), receivers.to_vec(), frame.head.bytes().to_vec(), frame.meta));
    }
}

struct Bench {
    switch: Switch,
    worker: WorkerState,
}

impl Bench {
    fn new(entries: usize) -> Self {
        let worker = WorkerState::with_flow_entries(Arc::new(policy(0)), entries);
        Self { switch: Switch::new(0x5eed, LIMITS), worker }
    }

    /// What the switch tells its egress.
    fn happen(&mut self, event: &Event, now: Nanos) -> Told {
        let mut told = Told::default();
        match event {
            Event::Burst { port, frames } => {
                let mut frames: Vec<_> = frames.iter().map(|frame| frame.frame(*port)).collect();
                self.switch.process(&mut self.worker, now, &mut frames, &mut told);
            }
            Event::Wait { .. } => {}
            Event::Policy { number } => self.worker.set_policy(Arc::new(policy(*number))),
            Event::Forget { port: index } => self.switch.forget_port(port(*index)),
            Event::Expire => self.switch.expire(now, self.worker.policy(), 1000),
        }
        told
    }

    /// Everything that can be seen from outside.
    fn state(&self, now: Nanos) -> impl PartialEq + std::fmt::Debug + use<> {
        let ports = (0..PORTS).map(|index| self.switch.counters().port(port(index)).snapshot());
        let known = self.switch.fdb(now, self.worker.policy());
        (ports.collect::<Vec<_>>(), self.switch.fdb_counters(), known)
    }
}

/// Lets the events happen to a switch without a cache, to one with few records and to one with many.
fn run(events: &[Event]) -> Result<(), TestCaseError> {
    let mut plain = Bench::new(0);
    let mut cached = [16, 1024].map(Bench::new);
    let mut verified = Bench::new(1024);
    verified.switch.set_verification(true);
    let mut now = Nanos(0);
    for event in events {
        if let Event::Wait { milliseconds } = event {
            now = Nanos(now.0 + milliseconds * 1_000_000);
        }
        let told = plain.happen(event, now);
        for bench in cached.iter_mut().chain([&mut verified]) {
            prop_assert_eq!(&bench.happen(event, now), &told);
            prop_assert_eq!(bench.state(now), plain.state(now));
        }
    }
    let counted = verified.worker.flow_counters().snapshot();
    prop_assert_eq!(counted.mismatched, 0, "{}", verified.switch.flow_mismatch().unwrap());
    prop_assert_eq!(plain.worker.flow_counters().snapshot().hits, 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_switch_with_a_flow_cache_is_the_same_switch(events in prop::collection::vec(event(), 1..120)) {
        run(&events)?;
    }
}
