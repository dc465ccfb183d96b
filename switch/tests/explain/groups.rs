//! Security groups of random worlds, and what an explanation says about rules and connections.

use std::net::IpAddr;
use std::sync::Arc;

use viaduct_switch::conntrack::{State, Verdict};
use viaduct_switch::explain::{ExplainedStep, Explanation, Fate, Looked, Outcome, Place};
use viaduct_switch::security::{
    Direction, Group, GroupIndex, Match, PortSecurity, Protocol, Remote, Rule, RuleSpec, SecurityControl,
    Zone,
};
use viaduct_switch::{DropReason, Nanos, Policy};

use crate::chance::Chance;
use crate::packets::{self, station};
use crate::world::{World, port};

const GROUPS: usize = 3;

pub(crate) fn group(index: usize) -> GroupIndex {
    GroupIndex::new(index).unwrap()
}

/// The policy with random groups, and some of `ports` in them.
pub(crate) fn with_random_groups(chance: &mut Chance, policy: &Policy, ports: usize) -> Policy {
    let mut security = SecurityControl::new(5);
    for index in 0..GROUPS {
        let rules = (0..4).map(|_| random_rule(chance)).collect();
        security.set_group(group(index), Some(&Group { stateful: !chance.once_in(4), rules }));
    }
    for index in 0..ports {
        let groups = chance.once_in(2).then(|| vec![group(chance.below(GROUPS))]);
        security.set_port(port(index), Some(member(index, groups)));
    }
    policy.with_security(Arc::new(security.policy().clone()))
}

fn member(index: usize, groups: Option<Vec<GroupIndex>>) -> PortSecurity {
    let last = u8::try_from(index).unwrap();
    let addresses = vec![IpAddr::from([10, 0, 0, last])];
    PortSecurity { groups, addresses, guarded: true, ..PortSecurity::new(Zone(0), station(last)) }
}

fn random_rule(chance: &mut Chance) -> Rule {
    let mut rule = RuleSpec::new(chance.pick(&[Direction::Ingress, Direction::Egress]));
    match chance.below(4) {
        0 => rule.protocol = Some(Protocol::UDP),
        1 => (rule.protocol, rule.ports) = (Some(Protocol::UDP), Some((80, 90))),
        2 => rule.protocol = Some(Protocol::TCP),
        _ => {}
    }
    match chance.below(3) {
        0 => rule.group = Some(group(chance.below(GROUPS))),
        1 => rule.prefix = "10.0.0.0/30".parse().ok(),
        _ => {}
    }
    Rule::try_from(rule).unwrap()
}

/// Stations 1 and 2 of a plain world: 1 lets out everything, 2 lets in port 80.
fn tiers() -> World {
    let mut world = World::plain();
    let mut security = SecurityControl::new(5);
    let web = RuleSpec {
        protocol: Some(Protocol::UDP),
        ports: Some((80, 80)),
        ..RuleSpec::new(Direction::Ingress)
    };
    security.set_group(group(0), Some(&Group::new()));
    let rules = vec![Rule::try_from(web).unwrap()];
    security.set_group(group(1), Some(&Group { stateful: true, rules }));
    security.set_port(port(1), Some(member(1, Some(vec![group(0)]))));
    security.set_port(port(2), Some(member(2, Some(vec![group(1)]))));
    world.go_by(Arc::new(world.policy.with_security(Arc::new(security.policy().clone()))));
    for index in [1, 2] {
        let address = [10, 0, 0, index];
        world.process(Nanos(0), port(index.into()), &packets::arp(index, 9, address));
    }
    world
}

fn rules(explained: &Explanation) -> &ExplainedStep {
    explained.steps.iter().find(|step| step.place == Place::SecurityGroups).unwrap()
}

#[test]
fn the_rules_that_decide_are_named_and_so_is_the_connection() {
    let mut world = tiers();
    let request = packets::datagram((1, 2), (1000, 80));
    let opening = world.explain(Nanos(0), port(1), &request);
    let new = Looked::Connection { verdict: Verdict::New, state: None };
    assert!(rules(&opening).looked_at.contains(&new), "{opening:?}");
    let allowed = |index, direction, of| Outcome::Allowed {
        port: port(index),
        direction,
        rule: Match { group: group(of), remote: Remote::Any },
    };
    let both = [allowed(1, Direction::Egress, 0), allowed(2, Direction::Ingress, 1)];
    assert_eq!(rules(&opening).outcomes, both);
    assert_eq!(opening.fate, world.process(Nanos(0), port(1), &request));

    let reply = world.explain(Nanos(0), port(2), &packets::datagram((2, 1), (80, 1000)));
    let state = |looked: &Looked| matches!(looked, Looked::Connection { state: Some(State::Unreplied), .. });
    assert!(rules(&reply).looked_at.iter().any(state), "{reply:?}");
    assert_eq!(rules(&reply).outcomes, [Outcome::Vouched(port(2)), Outcome::Vouched(port(1))]);
    assert!(matches!(reply.fate, Fate::Leaves(_)));

    let other = world.explain(Nanos(0), port(1), &packets::datagram((1, 2), (1000, 81)));
    let refused = Outcome::Dropped(DropReason::GroupIngress);
    assert_eq!(rules(&other).outcomes, [allowed(1, Direction::Egress, 0), refused]);
    assert_eq!(other.fate, Fate::Dropped(DropReason::GroupIngress));
}
