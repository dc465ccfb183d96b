//! What security groups cost a frame of an established connection, in bursts of 64 between two ports that are filtered and
//! guarded: beside the same frames without rules, with 200 rules and with 10,000 rules and 1,000 members, of 10,000
//! connections and of a million at random; and what a packet costs that opens one.

#![expect(clippy::expect_used, reason = "a benchmark may stop at its own mistakes")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use viaduct_switch::security::{
    Direction, Group, GroupIndex, PortSecurity, Protocol, Rule, RuleSpec, SecurityControl, SourceGuard, Zone,
};
use viaduct_switch::{
    Claims, Egress, Frame, Head, JudgeLimits, Limits, MacAddress, Metadata, Nanos, NetworkIndex,
    NetworkSettings, Policy, PortIndex, PortPolicy, Switch, WorkerState, conntrack,
};

const BURST: usize = 64;

/// An egress that costs next to nothing.
struct Sink(usize);

impl Egress<()> for Sink {
    fn send(&mut self, to: PortIndex, slot: usize, _: &Frame<()>) {
        self.0 = self.0.wrapping_add(to.get() ^ slot);
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], slot: usize, _: &Frame<()>) {
        self.0 = self.0.wrapping_add(receivers.len() ^ slot);
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).expect("a small index")
}

fn mac(station: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, station])
}

fn station(index: u8, groups: Option<Vec<GroupIndex>>) -> PortSecurity {
    let addresses = vec![[10, 0, 0, index + 1].into()];
    PortSecurity { groups, addresses, guarded: true, ..PortSecurity::new(Zone(0), mac(index)) }
}

/// A group whose rules let `rules` ports in from some prefixes, and all of UDP from anywhere.
fn group(rules: u16) -> Group {
    let rule = |to: u16| {
        let prefix = Some(format!("10.{}.0.0/16", to % 200).parse().expect("a prefix"));
        let ports = Some((to + 1, to + 1));
        RuleSpec { protocol: Some(Protocol::TCP), ports, prefix, ..RuleSpec::new(Direction::Ingress) }
    };
    let own = RuleSpec { protocol: Some(Protocol::UDP), ..RuleSpec::new(Direction::Ingress) };
    let all = [own, RuleSpec::new(Direction::Egress)].into_iter().chain((0..rules).map(rule));
    Group { stateful: true, rules: all.map(|rule| Rule::try_from(rule).expect("a rule")).collect() }
}

struct Bench {
    switch: Switch,
    worker: WorkerState,
    sink: Sink,
}

impl Bench {
    /// Two stations in four groups with so many rules each, and so many members more in the first; `None`: in none.
    fn new(groups: Option<(u16, usize)>) -> Self {
        Self::with_room(groups, 1 << 21)
    }

    /// The same, with room for so many connections.
    fn with_room(groups: Option<(u16, usize)>, room: usize) -> Self {
        let network = NetworkIndex::new(0).expect("a small index");
        let ports = (0..2u8).map(|index| {
            let guard = Some(Arc::new(SourceGuard::new(&station(index, None))));
            let judging = JudgeLimits::UNLIMITED;
            (port(index.into()), PortPolicy { guard, judging, ..PortPolicy::new(network, 1500) })
        });
        let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).expect("a policy");
        let mut security = SecurityControl::new(5);
        if let Some((rules, members)) = groups {
            let own: Vec<_> = (0..4).filter_map(GroupIndex::new).collect();
            own.iter().for_each(|index| security.set_group(*index, Some(&group(rules))));
            for member in 0..members {
                let [high, low] = u16::try_from(member).expect("few members").to_be_bytes();
                let addresses = vec![[10, 9, high, low].into()];
                let groups = Some(own[..1].to_vec());
                let other = PortSecurity { addresses, ..station(9, groups) };
                security.set_port(port(100 + member), Some(other));
            }
            (0..2u8).for_each(|index| {
                security.set_port(port(index.into()), Some(station(index, Some(own.clone()))));
            });
        }
        let policy = Arc::new(policy.with_security(Arc::new(security.policy().clone())));
        let all =
            conntrack::Limits { per_port: room, embryonic_per_port: room, ..conntrack::Limits::of(room) };
        let switch = Switch::new(42, Limits { connections: all, ..Limits::default() });
        switch.prepare(&policy);
        let mut bench = Self { switch, worker: WorkerState::new(policy), sink: Sink(0) };
        // Both stations are known.
        for (from, to) in [(0, 1), (1, 0), (0, 1)] {
            bench.process(&mut [datagram(from, to, 0)]);
        }
        bench
    }

    fn process(&mut self, burst: &mut [Frame<()>]) {
        self.switch.process(&mut self.worker, Nanos(0), black_box(burst), &mut self.sink);
    }
}

/// A datagram of a flow.
fn datagram(from: u8, to: u8, flow: u32) -> Frame<()> {
    let mut bytes = [0; 60];
    bytes[..6].copy_from_slice(&mac(to).0);
    bytes[6..12].copy_from_slice(&mac(from).0);
    bytes[12..26].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    bytes[26..30].copy_from_slice(&[10, 0, 0, from + 1]);
    bytes[30..34].copy_from_slice(&[10, 0, 0, to + 1]);
    bytes[38..40].copy_from_slice(&[0, 26]);
    renumber(&mut bytes, from, flow);
    let meta = Metadata::new(port(from.into()), 60, Claims::default());
    Frame { head: Head::from_bytes(&bytes), meta, payload: () }
}

/// Makes it one of another flow: 24 bits of its number are ports.
fn renumber(bytes: &mut [u8], from: u8, flow: u32) {
    let [_, high, middle, low] = flow.to_be_bytes();
    let [one, other] = if from == 0 { [34, 36] } else { [36, 34] };
    bytes[one..one + 2].copy_from_slice(&[middle, low]);
    bytes[other..other + 2].copy_from_slice(&[1, high]);
}

/// The next of a row of numbers below `flows` that looks random.
fn next(state: &mut u64, flows: u32) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    u32::try_from(((*state >> 32) * u64::from(flows)) >> 32).unwrap_or(0)
}

fn established(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter");
    group.throughput(Throughput::Elements(BURST as u64));
    let cases = [
        ("no_rules/10000", None, 10_000),
        ("200_rules/10000", Some((50, 0)), 10_000),
        ("10000_rules_1000_members/10000", Some((2_500, 1_000)), 10_000),
        ("200_rules/1000000", Some((50, 0)), 1_000_000),
    ];
    for (name, groups, flows) in cases {
        let mut bench = Bench::new(groups);
        for flow in 0..flows {
            bench.process(&mut [datagram(0, 1, flow)]);
            bench.process(&mut [datagram(1, 0, flow)]);
        }
        let (mut burst, mut state) = (vec![datagram(0, 1, 0); BURST], 1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for frame in &mut burst {
                    renumber(frame.head.bytes_mut(), 0, next(&mut state, flows));
                }
                bench.process(&mut burst);
            });
        });
    }
    group.finish();
}

/// The table is full of connections that nobody answered; each new one displaces one of them.
fn opened(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter");
    group.throughput(Throughput::Elements(BURST as u64));
    for room in [1 << 14, 1 << 18, 1 << 21] {
        let mut bench = Bench::with_room(Some((50, 0)), room);
        let (mut burst, mut flow) = (vec![datagram(0, 1, 0); BURST], 0u32);
        let mut open = move || {
            for frame in &mut burst {
                flow = flow.wrapping_add(1) & 0xff_ffff;
                renumber(frame.head.bytes_mut(), 0, flow);
            }
            bench.process(&mut burst);
        };
        (0..room / BURST).for_each(|_| open());
        group.bench_function(format!("open/{room}"), |bencher| bencher.iter(&mut open));
    }
    group.finish();
}

/// A port leaves a group of a thousand, which rules of that group name, and comes back: each time with the tables that workers
/// then read, as the control side makes them.
fn membership(criterion: &mut Criterion) {
    let [other, all] = [0, 1].map(|index| GroupIndex::new(index).expect("a small index"));
    let mut security = SecurityControl::new(5);
    let named = RuleSpec { group: Some(all), ..RuleSpec::new(Direction::Ingress) };
    let mut rules = group(50);
    rules.rules.push(Rule::try_from(named).expect("a rule"));
    security.set_group(other, Some(&group(50)));
    security.set_group(all, Some(&rules));
    let member = |number: usize, group: GroupIndex| {
        let [high, low] = u16::try_from(number).expect("few members").to_be_bytes();
        let addresses = vec![[10, 9, high, low].into()];
        PortSecurity { addresses, ..station(9, Some(vec![group])) }
    };
    (0..1000).for_each(|number| security.set_port(port(number), Some(member(number, all))));
    let network = NetworkIndex::new(0).expect("a small index");
    let ports = (0..1000).map(|index| (port(index), PortPolicy::new(network, 1500)));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).expect("a policy");
    let mut is_member = true;
    criterion.bench_function("filter/membership/1000", |bencher| {
        bencher.iter(|| {
            is_member = !is_member;
            security.set_port(port(500), Some(member(500, if is_member { all } else { other })));
            Arc::new(policy.with_security(Arc::new(security.policy().clone())))
        });
    });
}

criterion_group!(benches, established, opened, membership);
criterion_main!(benches);
