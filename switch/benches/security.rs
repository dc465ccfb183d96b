//! What it costs to ask security groups about a new connection: with 10, 50 and 10,000 rules of each kind of remote, beside
//! groups of 1,000 members; and what it costs to change one membership and one rule there.

#![expect(clippy::expect_used, reason = "a benchmark may stop at its own mistakes")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use viaduct_switch::security::{
    Direction, Group, GroupIndex, PortSecurity, Prefix, Protocol, Rule, RuleSpec, SecurityControl, Service,
    Tracking, Verdict, Zone,
};
use viaduct_switch::{MacAddress, PortIndex};

const MEMBERS: u32 = 1000;

/// The remotes of a group's rules.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Anybody, each rule for another port.
    Any,
    /// A prefix of its own for each rule, of 24 to 32 bits.
    Prefix,
    /// Members of another group, each rule for another port.
    Group,
}

fn group(index: u32) -> GroupIndex {
    GroupIndex::new(usize::try_from(index).expect("small")).expect("a small index")
}

fn port(index: u32) -> PortIndex {
    PortIndex::new(usize::try_from(index).expect("small")).expect("a small index")
}

fn rule(number: u32, kind: Kind) -> Rule {
    let first = u16::try_from(number % 30_000 * 2 + 1).expect("a port");
    let spec = RuleSpec {
        protocol: Some(Protocol::TCP),
        ports: Some((first, first)),
        ..RuleSpec::new(Direction::Ingress)
    };
    let length = 24 + u8::try_from(number % 9).expect("small");
    let prefix = Prefix::covering(Ipv4Addr::from(0x0b00_0000 + (number << 8)).into(), length);
    let spec = match kind {
        Kind::Any => spec,
        Kind::Prefix => RuleSpec { prefix, ..spec },
        Kind::Group => RuleSpec { group: Some(group(1)), ..spec },
    };
    Rule::try_from(spec).expect("a rule")
}

fn member(number: u32, groups: &[u32]) -> PortSecurity {
    PortSecurity {
        groups: Some(groups.iter().map(|index| group(*index)).collect()),
        addresses: vec![Ipv4Addr::from(0x0a00_0000 + number).into()],
        ..PortSecurity::new(Zone(0), MacAddress([2, 0, 0, 0, 0, 1]))
    }
}

/// Port 0 is in group 0, which has the rules; ports 1 to 1,000 are in group 1, and their rules name it, too.
fn security(rules: u32, kind: Kind) -> SecurityControl {
    let mut security = SecurityControl::new(42);
    let rules = (0..rules).map(|number| rule(number, kind)).collect();
    security.set_group(group(0), Some(&Group { stateful: true, rules }));
    security.set_group(group(1), Some(&Group::default_group(group(1))));
    security.set_port(port(0), Some(member(0, &[0])));
    (1..=MEMBERS).for_each(|number| security.set_port(port(number), Some(member(number, &[1]))));
    security
}

fn ask(security: &SecurityControl, remote: IpAddr, to: u16) -> Verdict {
    let service = Service::port(Protocol::TCP, black_box(to));
    security.policy().judge(port(0), Direction::Ingress, black_box(remote), service, Tracking::Stateful)
}

fn matching(c: &mut Criterion) {
    for kind in [Kind::Any, Kind::Prefix, Kind::Group] {
        for rules in [10, 50, 10_000] {
            let security = security(rules, kind);
            let last = rules - 1;
            let remote = match kind {
                Kind::Prefix => Ipv4Addr::from(0x0b00_0000 + (last << 8)),
                _ => Ipv4Addr::from(0x0a00_0000 + MEMBERS / 2),
            };
            let to = u16::try_from(last % 30_000 * 2 + 1).expect("a port");
            for (what, to) in [("allowed", to), ("denied", 2)] {
                assert_eq!(ask(&security, remote.into(), to) == Verdict::Denied, what == "denied");
                c.bench_function(&format!("match/{kind:?}/{rules}/{what}"), |b| {
                    b.iter(|| ask(&security, remote.into(), to));
                });
            }
        }
    }
}

fn changing(c: &mut Criterion) {
    let mut security = security(10_000, Kind::Group);
    let mut is_in = true;
    c.bench_function("change/membership of 1,000", |b| {
        b.iter(|| {
            is_in = !is_in;
            security.set_port(port(1), Some(member(1, if is_in { &[1] } else { &[] })));
            // What a worker is given.
            security.policy().clone()
        });
    });
    for (what, kind) in [("own prefix", Kind::Prefix), ("remote of 10,000", Kind::Group)] {
        let rule = rule(20_000, kind);
        c.bench_function(&format!("change/rule with {what}"), |b| {
            b.iter(|| {
                security.add_rule(group(0), rule);
                security.remove_rule(group(0), &rule);
                security.policy().clone()
            });
        });
    }
}

criterion_group!(benches, matching, changing);
criterion_main!(benches);
