//! What changes cost, whom they disturb, and whom not.

use super::*;

/// Point 4: what a removed rule allowed is judged again, by its members' ports alone.
#[test]
fn removing_a_rule_has_its_members_connections_judged_again() {
    let mut security = SecurityControl::new(1);
    let rule = Rule::try_from(tcp(80)).unwrap();
    security.set_group(group(0), Some(&rules(&[tcp(80), tcp(22)])));
    security.set_group(group(1), Some(&rules(&[tcp(80)])));
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[0])));
    security.set_port(port(1), Some(member(&["10.0.0.2"], &[1])));
    let judged = security.policy().generation();
    let before = security.policy().clone();
    security.remove_rule(group(0), &rule);
    assert!(!security.policy().is_current(port(0), judged));
    assert!(security.policy().is_current(port(1), judged) && security.policy().is_current(port(9), judged));
    assert!(!reaches(&security, 0, "10.0.0.9", 80) && reaches(&security, 0, "10.0.0.9", 22));
    assert!(
        security.policy().is_current(port(0), security.policy().generation()),
        "judged by the tables of now"
    );
    assert!(before.is_current(port(0), judged), "a copy stays as it was");
}

/// Point 4: adding never disturbs.
#[test]
fn adding_disturbs_nobody() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&rules(&[RuleSpec { group: Some(group(0)), ..ingress() }])));
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[0])));
    let generation = security.policy().generation();
    security.add_rule(group(0), Rule::try_from(tcp(80)).unwrap());
    security.add_rule(group(0), Rule::try_from(tcp(80)).unwrap());
    security.set_group(group(1), Some(&Group::new()));
    security.set_address_group(address_group(0), &[from("10.0.0.0/8").unwrap()]);
    security.set_port(port(0), Some(member(&["10.0.0.1", "fd00::1"], &[0, 1])));
    assert_eq!(security.policy().generation(), generation);
    assert!(reaches(&security, 0, "192.0.2.1", 80));
    security.set_port(port(0), Some(member(&["10.0.0.1", "fd00::1"], &[0, 1])));
    assert_eq!(security.policy().generation(), generation, "nothing changed");
    security.set_port(port(0), Some(PortSecurity { groups: None, ..member(&["10.0.0.1"], &[]) }));
    // Group 0 has lost its member, and no other port has rules that name it.
    assert!(security.policy().is_current(port(0), generation), "not filtered any more");
}

/// Points 4 and 6: a member that leaves is noticed by the ports whose rules name its group.
#[test]
fn a_member_that_leaves_has_those_judged_again_whose_rules_depend_on_it() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&Group::new()));
    security.set_group(group(1), Some(&rules(&[RuleSpec { group: Some(group(0)), ..tcp(3306) }])));
    for (index, address) in ["10.0.0.1", "10.0.0.2"].into_iter().enumerate() {
        security.set_port(port(index), Some(member(&[address], &[0])));
    }
    security.set_port(port(2), Some(member(&["10.0.0.3"], &[1])));
    security.set_port(port(3), Some(member(&["10.0.0.4"], &[0])));
    let judged = security.policy().generation();
    security.set_port(port(1), Some(member(&["10.0.0.2"], &[])));
    assert!(!reaches(&security, 2, "10.0.0.2", 3306) && reaches(&security, 2, "10.0.0.1", 3306));
    let current = |of| security.policy().is_current(port(of), judged);
    assert_eq!([0, 1, 2, 3].map(current), [true, false, false, true]);
}

#[test]
fn an_address_that_two_members_have_stays_until_both_have_left() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(1), Some(&rules(&[RuleSpec { group: Some(group(0)), ..tcp(3306) }])));
    security.set_port(port(2), Some(member(&[], &[1])));
    let shared = vec![AddressPair { prefix: from("10.0.0.100").unwrap(), mac: None }];
    for (index, address) in ["10.0.0.1", "10.0.0.2"].into_iter().enumerate() {
        security
            .set_port(port(index), Some(PortSecurity { pairs: shared.clone(), ..member(&[address], &[0]) }));
    }
    let judged = security.policy().generation();
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[0])));
    assert!(reaches(&security, 2, "10.0.0.100", 3306));
    assert!(security.policy().is_current(port(2), judged));
    security.set_port(port(1), None);
    assert!(!reaches(&security, 2, "10.0.0.100", 3306) && reaches(&security, 2, "10.0.0.1", 3306));
    assert!(!security.policy().is_current(port(2), judged));
}

#[test]
fn a_rule_whose_services_others_allow_too_may_go_unnoticed() {
    let mut security = SecurityControl::new(1);
    let all = RuleSpec { protocol: Some(Protocol::TCP), ..ingress() };
    security.set_group(group(0), Some(&rules(&[tcp(80), all])));
    security.set_port(port(0), Some(member(&[], &[0])));
    let judged = security.policy().generation();
    security.remove_rule(group(0), &Rule::try_from(tcp(80)).unwrap());
    assert!(security.policy().is_current(port(0), judged) && reaches(&security, 0, "10.0.0.1", 80));
    security.remove_rule(group(0), &Rule::try_from(all).unwrap());
    assert!(!security.policy().is_current(port(0), judged) && !reaches(&security, 0, "10.0.0.1", 80));
}

#[test]
fn a_port_that_becomes_filtered_or_another_ones_is_judged_again() {
    let unfiltered = PortSecurity { groups: None, ..member(&[], &[]) };
    let steps: [(Option<PortSecurity>, Option<PortSecurity>); 5] = [
        (Some(unfiltered.clone()), Some(member(&[], &[0]))),
        (Some(member(&[], &[0, 1])), Some(member(&[], &[1]))),
        (Some(member(&[], &[0])), None),
        (None, Some(member(&[], &[0]))),
        (Some(member(&[], &[0])), Some(PortSecurity { zone: Zone(1), ..member(&[], &[0]) })),
    ];
    for (before, after) in steps {
        let mut security = SecurityControl::new(1);
        security.set_port(port(3), before.clone());
        let judged = security.policy().generation();
        security.set_port(port(3), after.clone());
        assert!(!security.policy().is_current(port(3), judged), "{before:?} {after:?}");
    }
}

#[test]
fn a_group_that_stops_to_track_has_its_connections_judged_again() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&Group::new()));
    security.set_port(port(0), Some(member(&[], &[0])));
    let judged = security.policy().generation();
    security.set_group(group(0), Some(&Group::new()));
    assert!(security.policy().is_current(port(0), judged));
    security.set_group(group(0), Some(&Group { stateful: false, ..Group::new() }));
    assert!(!security.policy().is_current(port(0), judged));
}

#[test]
fn generations_may_wrap() {
    let mut security = SecurityControl::new(1);
    security.policy.generation = u32::MAX;
    security.set_port(port(0), Some(member(&[], &[0])));
    assert_eq!(security.policy().generation(), 0);
    assert!(!security.policy().is_current(port(0), u32::MAX) && security.policy().is_current(port(0), 0));
    assert!(security.policy().is_current(port(0), u32::MAX / 2));
}

/// A length of prefixes is looked up as long as there is one of it, and no longer.
#[test]
fn lengths_are_known_until_the_last_prefix_of_theirs_is_gone() {
    let mut security = SecurityControl::new(1);
    let specs = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]
        .map(|prefix| RuleSpec { prefix: from(prefix), ..tcp(80) });
    security.set_group(group(0), Some(&rules(&specs)));
    security.set_port(port(0), Some(member(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], &[0])));
    for left in (0..3).rev() {
        security.set_group(group(0), Some(&rules(&specs[..left])));
        security.set_port(port(0), Some(member(&["10.0.0.1", "10.0.0.2", "10.0.0.3"][..left], &[0])));
        let reached = ["10.0.0.9", "10.0.1.9", "10.0.2.9"].map(|remote| reaches(&security, 0, remote, 80));
        assert_eq!(reached, [left > 0, left > 1, left > 2]);
        assert_eq!(
            (security.rule_lengths.0.is_empty(), security.member_lengths.0.is_empty()),
            (left == 0, left == 0)
        );
    }
}

/// Nothing is left of what was taken away.
#[test]
fn tables_are_empty_when_all_is_gone() {
    let mut security = SecurityControl::new(1);
    let prefix = from("10.0.0.0/8");
    let specs = [tcp(80), RuleSpec { prefix, ..tcp(81) }, RuleSpec { group: Some(group(1)), ..ingress() }];
    for _ in 0..2 {
        security.set_group(group(0), Some(&rules(&specs)));
        security.set_port(port(0), Some(member(&["10.0.0.1", "fd00::1"], &[0, 1])));
        security.set_address_group(address_group(0), &[prefix.unwrap()]);
        assert_eq!((security.policy().remotes(), security.policy().addresses()), (5, 3));
        security.set_port(port(0), None);
        security.set_group(group(0), None);
        security.set_address_group(address_group(0), &[]);
        assert_eq!((security.policy().remotes(), security.policy().addresses()), (0, 0));
        assert_eq!((security.policy.groups.len(), security.policy.member_lengths.len()), (0, 0));
        assert!(security.rule_lengths.0.is_empty() && security.member_lengths.0.is_empty());
        assert!(security.named_by.is_empty() && security.ports_of.is_empty() && security.ports.is_empty());
    }
}
