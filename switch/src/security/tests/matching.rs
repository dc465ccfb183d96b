//! What groups allow, point by point.

use super::*;

const HTTP: Service = Service::port(Protocol::TCP, 80);

/// Point 1: a new group.
#[test]
fn a_new_group_lets_its_members_send_everything_and_nothing_reach_them() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&Group::default()));
    security.set_port(port(0), Some(member(&["10.0.0.1", "fd00::1"], &[0])));
    for remote in ["10.0.0.2", "198.51.100.1", "fd00::2", "fe80::2"] {
        for service in [HTTP, Service::icmp(Protocol::ICMPV6, 128, 0), Service::protocol(Protocol(47))] {
            assert!(allows(&security, 0, Direction::Egress, remote, service));
            assert!(!allows(&security, 0, Direction::Ingress, remote, service));
        }
    }
}

/// Point 1: the default group.
#[test]
fn members_of_the_default_group_reach_one_another_and_nobody_else_reaches_them() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&Group::default_group(group(0))));
    security.set_port(port(0), Some(member(&["10.0.0.1", "fd00::1"], &[0])));
    security.set_port(port(1), Some(member(&["10.0.0.2", "fd00::2"], &[0])));
    assert!(reaches(&security, 0, "10.0.0.2", 80) && reaches(&security, 1, "fd00::1", 80));
    assert!(!reaches(&security, 0, "10.0.0.3", 80) && !reaches(&security, 1, "fd00::3", 80));
}

/// Point 2: any rule of any group.
#[test]
fn a_packet_passes_by_any_rule_of_any_group_of_the_port() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&rules(&[tcp(80), tcp(443)])));
    security.set_group(group(1), Some(&rules(&[tcp(22)])));
    security.set_port(port(0), Some(member(&[], &[0, 1, 7])));
    security.set_port(port(1), Some(member(&[], &[1])));
    security.set_port(port(2), Some(member(&[], &[])));
    let allowed = |of| [80, 443, 22, 23].map(|service| reaches(&security, of, "192.0.2.1", service));
    assert_eq!(allowed(0), [true, true, true, false]);
    assert_eq!(allowed(1), [false, false, true, false]);
    assert_eq!(allowed(2), [false; 4]);
}

#[test]
fn who_is_in_no_group_is_not_filtered() {
    let mut security = SecurityControl::new(1);
    security.set_port(port(1), Some(PortSecurity::new(Zone(0), MacAddress([2; 6]))));
    for of in [0, 1, 2] {
        let verdict = security.policy().judge(
            port(of),
            Direction::Ingress,
            "10.0.0.1".parse().unwrap(),
            HTTP,
            Tracking::Stateful,
        );
        assert_eq!(verdict, Verdict::Unfiltered);
    }
    assert!(security.policy().port(port(1)).is_some() && security.policy().port(port(0)).is_none());
}

/// Point 3: a group is stateful or stateless, and a port may be in both kinds.
#[test]
fn stateless_groups_are_asked_by_themselves() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&rules(&[tcp(80)])));
    security.set_group(group(1), Some(&Group { stateful: false, ..rules(&[tcp(81)]) }));
    security.set_port(port(0), Some(member(&[], &[0, 1])));
    security.set_port(port(1), Some(member(&[], &[0])));
    let judge = |service, tracking| {
        let remote = "10.0.0.1".parse().unwrap();
        let service = Service::port(Protocol::TCP, service);
        security.policy().judge(port(0), Direction::Ingress, remote, service, tracking)
    };
    let allowed = |index| Verdict::Allowed(Match { group: group(index), remote: Remote::Any });
    assert_eq!([80, 81].map(|service| judge(service, Tracking::Stateful)), [allowed(0), Verdict::Denied]);
    assert_eq!([80, 81].map(|service| judge(service, Tracking::Stateless)), [Verdict::Denied, allowed(1)]);
    let has = |of, tracking| security.policy().has(port(of), tracking);
    assert!(has(0, Tracking::Stateful) && has(0, Tracking::Stateless));
    assert!(has(1, Tracking::Stateful) && !has(1, Tracking::Stateless) && !has(2, Tracking::Stateful));
}

/// Point 5: tenants whose addresses overlap never meet.
#[test]
fn a_remote_group_means_the_members_of_ones_own_tenant() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&rules(&[RuleSpec { group: Some(group(1)), ..ingress() }])));
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[0])));
    security.set_port(port(1), Some(PortSecurity { zone: Zone(1), ..member(&["10.0.0.1"], &[0]) }));
    security.set_port(port(2), Some(PortSecurity { zone: Zone(1), ..member(&["10.0.0.2"], &[1]) }));
    assert!(reaches(&security, 1, "10.0.0.2", 80), "a member");
    assert!(!reaches(&security, 0, "10.0.0.2", 80), "somebody else's 10.0.0.2");
}

/// Point 6: a remote group stands for fixed addresses and address pairs, IPv4 and IPv6.
#[test]
fn a_remote_group_stands_for_all_addresses_of_its_members() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&rules(&[RuleSpec { group: Some(group(1)), ..tcp(3306) }])));
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[0])));
    let pairs = ["10.0.1.100", "10.9.0.0/16", "fd00:9::/32"];
    let pairs = pairs.map(|prefix| AddressPair { prefix: prefix.parse().unwrap(), mac: None });
    security.set_port(
        port(1),
        Some(PortSecurity { pairs: pairs.into(), ..member(&["10.0.1.1", "fd00::1"], &[1]) }),
    );
    for remote in ["10.0.1.1", "fd00::1", "10.0.1.100", "10.9.8.7", "fd00:9:1::1"] {
        assert!(reaches(&security, 0, remote, 3306), "{remote}");
        assert!(!reaches(&security, 0, remote, 3307), "{remote}");
    }
    for remote in ["10.0.1.2", "fd00::2", "10.8.0.1", "fd01::", "::ffff:10.0.1.1", "10.0.0.1"] {
        assert!(!reaches(&security, 0, remote, 3306), "{remote}");
    }
}

#[test]
fn an_address_group_stands_for_its_prefixes_in_every_zone() {
    let mut security = SecurityControl::new(1);
    security
        .set_address_group(address_group(1), &[from("203.0.113.0/24").unwrap(), from("fd00::/16").unwrap()]);
    let rule = RuleSpec { address_group: Some(address_group(1)), ..tcp(22) };
    security.set_group(group(1), Some(&rules(&[rule])));
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[1])));
    security.set_port(port(1), Some(PortSecurity { zone: Zone(9), ..member(&["10.0.0.1"], &[1]) }));
    for of in [0, 1] {
        assert!(reaches(&security, of, "203.0.113.9", 22) && reaches(&security, of, "fd00:1::9", 22));
        // Group 1 has the same number, and a member 10.0.0.1.
        assert!(!reaches(&security, of, "10.0.0.1", 22) && !reaches(&security, of, "fd01::", 22));
    }
}

/// Point 14: the sender's egress and the receiver's ingress rules are two questions.
#[test]
fn egress_is_judged_by_the_receivers_address_and_ingress_by_the_senders() {
    let mut security = SecurityControl::new(1);
    let egress = RuleSpec { direction: Direction::Egress, prefix: from("10.0.2.0/24"), ..tcp(80) };
    security.set_group(group(0), Some(&rules(&[egress])));
    security.set_group(group(1), Some(&rules(&[RuleSpec { prefix: from("10.0.1.0/24"), ..tcp(80) }])));
    security.set_port(port(0), Some(member(&["10.0.1.1"], &[0])));
    security.set_port(port(1), Some(member(&["10.0.2.1"], &[1])));
    assert!(allows(&security, 0, Direction::Egress, "10.0.2.1", HTTP));
    assert!(allows(&security, 1, Direction::Ingress, "10.0.1.1", HTTP));
    assert!(!allows(&security, 0, Direction::Ingress, "10.0.2.1", HTTP));
    assert!(!allows(&security, 1, Direction::Egress, "10.0.1.1", HTTP));
}

/// Two tiers: web servers for all, a database for web servers, and ssh for administrators.
#[test]
fn two_tiers_behind_groups() {
    let mut security = SecurityControl::new(1);
    let ssh = RuleSpec { prefix: from("203.0.113.0/24"), ..tcp(22) };
    security.set_group(group(0), Some(&rules(&[RuleSpec { prefix: from("0.0.0.0/0"), ..tcp(8080) }, ssh])));
    let ping = RuleSpec {
        protocol: Some(Protocol::ICMP),
        icmp_type: Some(8),
        prefix: from("10.0.0.0/8"),
        ..ingress()
    };
    let database = [RuleSpec { group: Some(group(0)), ..tcp(3306) }, ssh, ping];
    security.set_group(group(1), Some(&rules(&database)));
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[0])));
    security.set_port(port(1), Some(member(&["10.0.0.2"], &[1])));
    assert!(reaches(&security, 0, "198.51.100.1", 8080) && !reaches(&security, 0, "fd00::1", 8080));
    assert!(reaches(&security, 0, "203.0.113.9", 22) && !reaches(&security, 0, "203.0.114.9", 22));
    assert!(reaches(&security, 1, "10.0.0.1", 3306) && !reaches(&security, 1, "10.0.0.3", 3306));
    let pings =
        |kind| allows(&security, 1, Direction::Ingress, "10.0.0.3", Service::icmp(Protocol::ICMP, kind, 0));
    assert!(pings(8) && !pings(13));
    security.set_port(port(2), Some(member(&["10.0.0.3"], &[0])));
    assert!(reaches(&security, 1, "10.0.0.3", 3306), "at once");
}

/// Direction, version, protocol and remote in all combinations: a rule allows what it names, and nothing next to it.
#[test]
fn a_rule_allows_what_it_names_and_nothing_next_to_it() {
    let services = |family: Family| {
        let icmp = if family == Family::Ipv4 { Protocol::ICMP } else { Protocol::ICMPV6 };
        let of = |protocol| RuleSpec { protocol: Some(protocol), ..ingress() };
        let ports = |protocol, first, last| RuleSpec { ports: Some((first, last)), ..of(protocol) };
        let at = Service::port;
        let gre = Protocol::named("gre").unwrap();
        [
            (ingress(), vec![at(Protocol::TCP, 1), at(gre, 0), Service::icmp(icmp, 8, 0)], vec![]),
            (
                of(Protocol::TCP),
                vec![at(Protocol::TCP, 0), at(Protocol::TCP, 65_535)],
                vec![at(Protocol::UDP, 1), Service::protocol(Protocol(5)), Service::protocol(Protocol(7))],
            ),
            (
                ports(Protocol::UDP, 10, 12),
                vec![at(Protocol::UDP, 10), at(Protocol::UDP, 12)],
                vec![at(Protocol::UDP, 9), at(Protocol::UDP, 13), at(Protocol::TCP, 11)],
            ),
            (
                ports(Protocol::SCTP, 65_535, 65_535),
                vec![at(Protocol::SCTP, 65_535)],
                vec![at(Protocol::SCTP, 65_534), Service::protocol(Protocol(133))],
            ),
            (of(gre), vec![Service::protocol(gre)], vec![at(Protocol::TCP, 0)]),
            (
                of(icmp),
                vec![Service::icmp(icmp, 0, 0), Service::icmp(icmp, 255, 255)],
                vec![at(Protocol::TCP, 0)],
            ),
            (
                RuleSpec { icmp_type: Some(3), ..of(icmp) },
                vec![Service::icmp(icmp, 3, 0), Service::icmp(icmp, 3, 255)],
                vec![Service::icmp(icmp, 2, 255), Service::icmp(icmp, 4, 0)],
            ),
            (
                RuleSpec { icmp_type: Some(3), icmp_code: Some(4), ..of(icmp) },
                vec![Service::icmp(icmp, 3, 4)],
                vec![Service::icmp(icmp, 3, 3), Service::icmp(icmp, 3, 5)],
            ),
        ]
    };
    for family in Family::ALL {
        for (spec, inside, outside) in services(family) {
            check_remotes(RuleSpec { ethertype: Some(family), ..spec }, family, &inside, &outside);
        }
    }
}

fn check_remotes(spec: RuleSpec, family: Family, inside: &[Service], outside: &[Service]) {
    let [near, far, other] = match family {
        Family::Ipv4 => ["10.0.0.7", "10.0.0.8", "fd00::7"],
        Family::Ipv6 => ["fd00::7", "fd00::8", "10.0.0.7"],
    };
    let prefix = from(if family == Family::Ipv4 { "10.0.0.4/30" } else { "fd00::4/126" });
    let (of_group, of_addresses) = (Some(group(1)), Some(address_group(1)));
    let remotes = [
        spec,
        RuleSpec { prefix, ..spec },
        RuleSpec { group: of_group, ..spec },
        RuleSpec { address_group: of_addresses, ..spec },
    ];
    for direction in [Direction::Ingress, Direction::Egress] {
        let opposite = if direction == Direction::Ingress { Direction::Egress } else { Direction::Ingress };
        for spec in remotes.map(|spec| RuleSpec { direction, ..spec }) {
            let mut security = SecurityControl::new(1);
            security.set_group(group(0), Some(&rules(&[spec])));
            security.set_port(port(0), Some(member(&[], &[0])));
            security.set_port(port(1), Some(member(&["10.0.0.7", "fd00::7"], &[1])));
            security
                .set_address_group(address_group(1), &[from("10.0.0.7").unwrap(), from("fd00::7").unwrap()]);
            let is_any = spec == RuleSpec { direction, ..remotes[0] };
            for service in inside {
                assert!(allows(&security, 0, direction, near, *service), "{spec:?} {service:?}");
                assert_eq!(allows(&security, 0, direction, far, *service), is_any, "{spec:?}");
                assert!(!allows(&security, 0, opposite, near, *service), "{spec:?}");
                assert!(!allows(&security, 0, direction, other, *service), "{spec:?}");
            }
            for service in outside {
                assert!(!allows(&security, 0, direction, near, *service), "{spec:?} {service:?}");
            }
        }
    }
}

#[test]
fn the_verdict_names_the_rules_group_and_remote() {
    let mut security = SecurityControl::new(1);
    let prefix = from("10.0.0.0/24");
    security.set_group(group(3), Some(&rules(&[RuleSpec { prefix, ..tcp(80) }])));
    security.set_group(group(4), Some(&rules(&[RuleSpec { group: Some(group(3)), ..tcp(81) }])));
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[4, 3, 3])));
    assert_eq!(security.policy().port(port(0)).unwrap().groups().unwrap(), [group(3), group(4)]);
    let judge = |service| {
        let service = Service::port(Protocol::TCP, service);
        let remote = "10.0.0.1".parse().unwrap();
        security.policy().judge(port(0), Direction::Ingress, remote, service, Tracking::Stateful)
    };
    let by_prefix = Match { group: group(3), remote: Remote::Prefix(prefix.unwrap()) };
    let by_group = Match { group: group(4), remote: Remote::Group(group(3)) };
    assert_eq!(judge(80), Verdict::Allowed(by_prefix));
    assert_eq!(judge(81), Verdict::Allowed(by_group));
}

/// However many groups an address is in: only those that a rule names count.
#[test]
fn who_is_in_many_groups_is_no_member_of_another_one() {
    let mut security = SecurityControl::new(1);
    security.set_group(group(0), Some(&rules(&[RuleSpec { group: Some(group(1)), ..ingress() }])));
    security.set_port(port(0), Some(member(&["10.0.0.1"], &[0])));
    for groups in [&[2][..], &[2, 3, 4]] {
        security.set_port(port(1), Some(member(&["10.0.0.2"], groups)));
        assert!(!reaches(&security, 0, "10.0.0.2", 80), "{groups:?}");
    }
    security.set_port(port(1), Some(member(&["10.0.0.2"], &[1, 2, 3, 4])));
    assert!(reaches(&security, 0, "10.0.0.2", 80));
    // And a rule that names many groups means no others.
    let named = [5, 6, 7, 8].map(|index| RuleSpec { group: Some(group(index)), ..ingress() });
    security.set_group(group(0), Some(&rules(&named)));
    assert!(!reaches(&security, 0, "10.0.0.2", 80));
    security.set_port(port(1), Some(member(&["10.0.0.2"], &[7])));
    assert!(reaches(&security, 0, "10.0.0.2", 80));
}
