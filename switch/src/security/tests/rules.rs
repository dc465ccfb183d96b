//! What is a rule, and what is not.

use super::super::*;

fn spec() -> RuleSpec {
    RuleSpec::new(Direction::Ingress)
}

fn prefix(text: &str) -> Option<Prefix> {
    Some(text.parse().unwrap())
}

const TCP: Option<Protocol> = Some(Protocol::TCP);
const ICMP: Option<Protocol> = Some(Protocol::ICMP);
const ICMPV6: Option<Protocol> = Some(Protocol::ICMPV6);
const V4: Option<Family> = Some(Family::Ipv4);
const V6: Option<Family> = Some(Family::Ipv6);

/// Point 6: at most one remote.
#[test]
fn a_rule_has_at_most_one_remote() {
    let (group, address_group) = (GroupIndex::new(1), AddressGroupIndex::new(1));
    let anywhere = prefix("10.0.0.0/8");
    for (prefix, group, address_group, is_right) in [
        (None, None, None, true),
        (anywhere, None, None, true),
        (None, group, None, true),
        (None, None, address_group, true),
        (anywhere, group, None, false),
        (anywhere, None, address_group, false),
        (None, group, address_group, false),
        (anywhere, group, address_group, false),
    ] {
        let rule = Rule::try_from(RuleSpec { prefix, group, address_group, ..spec() });
        assert_eq!(rule.is_ok(), is_right);
        assert!(is_right || rule == Err(RuleError::ManyRemotes));
    }
    assert!(GroupIndex::new(GROUPS_MAX - 1).is_some() && GroupIndex::new(GROUPS_MAX).is_none());
}

/// Point 7: what contradicts itself is refused, and the sentence says what would be right.
#[test]
fn nonsense_is_no_rule() {
    let gre = Protocol::named("gre");
    let cases = [
        (RuleSpec { ports: Some((1, 2)), ..spec() }, RuleError::PortsWithoutProtocol),
        (RuleSpec { icmp_type: Some(8), ..spec() }, RuleError::TypeWithoutProtocol),
        (RuleSpec { icmp_code: Some(8), ..spec() }, RuleError::TypeWithoutProtocol),
        (RuleSpec { ports: Some((1, 2)), icmp_type: Some(8), ..spec() }, RuleError::PortsWithoutProtocol),
        (RuleSpec { protocol: TCP, ports: Some((0, 2)), ..spec() }, RuleError::PortZero),
        (RuleSpec { protocol: TCP, ports: Some((0, 0)), ..spec() }, RuleError::PortZero),
        (RuleSpec { protocol: TCP, ports: Some((3, 2)), ..spec() }, RuleError::PortsReversed(3, 2)),
        (RuleSpec { protocol: gre, ports: Some((1, 2)), ..spec() }, RuleError::NoPorts(Protocol(47))),
        (RuleSpec { protocol: ICMP, ports: Some((1, 2)), ..spec() }, RuleError::PortsOfIcmp(Protocol::ICMP)),
        (
            RuleSpec { protocol: ICMP, ports: Some((1, 2)), icmp_type: Some(8), ..spec() },
            RuleError::PortsAndType,
        ),
        (
            RuleSpec { protocol: TCP, ports: Some((1, 2)), icmp_code: Some(8), ..spec() },
            RuleError::PortsAndType,
        ),
        (RuleSpec { protocol: TCP, icmp_type: Some(8), ..spec() }, RuleError::NoTypes(Protocol::TCP)),
        (RuleSpec { protocol: ICMP, icmp_code: Some(8), ..spec() }, RuleError::CodeWithoutType),
        (RuleSpec { protocol: Some(Protocol(44)), ..spec() }, RuleError::Extension(Protocol(44))),
        (
            RuleSpec { protocol: ICMP, ethertype: V6, ..spec() },
            RuleError::ProtocolOfOtherVersion(Protocol::ICMP, Family::Ipv4),
        ),
        (
            RuleSpec { protocol: ICMPV6, ethertype: V4, ..spec() },
            RuleError::ProtocolOfOtherVersion(Protocol::ICMPV6, Family::Ipv6),
        ),
        (
            RuleSpec { prefix: prefix("10.0.0.0/8"), ethertype: V6, ..spec() },
            RuleError::PrefixOfOtherVersion("10.0.0.0/8".parse().unwrap(), Family::Ipv4),
        ),
        (
            RuleSpec { prefix: prefix("::/0"), protocol: ICMP, ..spec() },
            RuleError::PrefixOfOtherVersion("::/0".parse().unwrap(), Family::Ipv6),
        ),
    ];
    for (spec, error) in cases {
        assert_eq!(Rule::try_from(spec), Err(error), "{spec:?}");
        assert!(error.to_string().len() > 20 && !error.to_string().ends_with('.'));
    }
    assert!(RuleError::PortsReversed(3, 2).to_string().contains("\"2-3\""));
}

#[test]
fn the_version_follows_from_what_was_written() {
    let of = |spec: RuleSpec| Rule::try_from(spec).unwrap().families().collect::<Vec<_>>();
    assert_eq!(of(spec()), Family::ALL);
    assert_eq!(of(RuleSpec { ethertype: V6, ..spec() }), [Family::Ipv6]);
    assert_eq!(of(RuleSpec { protocol: TCP, ports: Some((1, 65_535)), ..spec() }), Family::ALL);
    assert_eq!(
        of(RuleSpec { protocol: ICMP, icmp_type: Some(0), icmp_code: Some(0), ..spec() }),
        [Family::Ipv4]
    );
    assert_eq!(of(RuleSpec { protocol: ICMPV6, ethertype: V6, ..spec() }), [Family::Ipv6]);
    assert_eq!(of(RuleSpec { prefix: prefix("::/0"), ..spec() }), [Family::Ipv6]);
    assert_eq!(of(RuleSpec { prefix: prefix("0.0.0.0/0"), protocol: TCP, ..spec() }), [Family::Ipv4]);
}

#[test]
fn everything_is_everything() {
    for direction in [Direction::Ingress, Direction::Egress] {
        let rule = Rule::try_from(RuleSpec::new(direction)).unwrap();
        assert_eq!(rule, Rule::everything(direction, Remote::Any));
        assert_eq!((rule.direction(), rule.remote()), (direction, Remote::Any));
        assert!(Direction::ALL.contains(&(direction.to_string().as_str(), direction)));
    }
    let remote = Remote::Prefix("fd00::/8".parse().unwrap());
    assert_eq!(Rule::everything(Direction::Egress, remote).families().collect::<Vec<_>>(), [Family::Ipv6]);
}
