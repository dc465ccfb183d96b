//! Security groups and address groups: every field wrong once, and every rule between fields broken once.

use super::*;
use viaduct_switch::security::{AddressGroupIndex, GroupIndex, Remote, Rule, RuleSpec};
use viaduct_switch::{FrameRate, JudgeLimits};

/// As `Case` without the column and with a rule's fields alone: the field, part of what was found, part of what would be right.
const RULES: &[(&str, &str, &str, &str)] = &[
    ("protocol = 'tcp'", "direction", "nothing", "\"ingress\""),
    ("direction = 'in'", "direction", "\"in\"", "\"ingress\""),
    ("direction = 'ingress', ethertype = 'ipv5'", "ethertype", "\"ipv5\"", "\"ipv4\""),
    ("direction = 'ingress', protocol = 'tpc'", "protocol", "\"tpc\"", "\"tcp\", the nearest"),
    ("direction = 'ingress', protocol = 256", "protocol", "256", "from 0 to 255"),
    ("direction = 'ingress', protocol = 44", "protocol", "`protocol`", "extension header"),
    ("direction = 'ingress', ports = 80", "ports", "`ports`", "protocol = \"tcp\""),
    ("direction = 'ingress', protocol = 'tcp', ports = 'http'", "ports", "\"http\"", "a range in quotes"),
    ("direction = 'ingress', protocol = 'tcp', ports = 65536", "ports", "65536", "from 1 to 65535"),
    ("direction = 'ingress', protocol = 'tcp', ports = '+1'", "ports", "\"+1\"", "a range"),
    ("direction = 'ingress', protocol = 'tcp', ports = 0", "ports", "`ports`", "port 0 does not exist"),
    ("direction = 'ingress', protocol = 'tcp', ports = '9-8'", "ports", "`ports`", "\"8-9\" would be right"),
    ("direction = 'ingress', protocol = 'gre', ports = 1", "ports", "`ports`", "protocol gre has no ports"),
    ("direction = 'ingress', protocol = 'icmp', ports = 1", "ports", "`ports`", "icmp has no ports"),
    ("direction = 'ingress', protocol = 'tcp', ports = 1, code = 1", "ports", "`ports`", "either ports"),
    ("direction = 'ingress', type = 8", "type", "`type`", "protocol = \"icmp\""),
    ("direction = 'ingress', code = 8", "code", "`code`", "protocol = \"icmp\""),
    ("direction = 'ingress', protocol = 'icmp', type = 256", "type", "256", "from 0 to 255"),
    ("direction = 'ingress', protocol = 'icmp', type = 1, code = -1", "code", "-1", "from 0 to 255"),
    ("direction = 'ingress', protocol = 'icmp', code = 1", "code", "`code`", "a code needs a type"),
    ("direction = 'ingress', protocol = 'udp', type = 1", "type", "`type`", "protocol udp has no type"),
    (
        "direction = 'ingress', protocol = 'icmp', ethertype = 'ipv6'",
        "protocol",
        "`protocol`",
        "icmp is IPv4's",
    ),
    (
        "direction = 'ingress', ethertype = 'ipv4', remote = 'fd00::/8'",
        "remote",
        "`remote`",
        "a prefix of IPv6",
    ),
    ("direction = 'ingress', remote = 'web'", "remote", "\"web\"", "a prefix or an IP address"),
    ("direction = 'ingress', remote = '10.0.0.1/8'", "remote", "\"10.0.0.1/8\"", "10.0.0.0/8 would be right"),
    ("direction = 'ingress', remote_group = 'wep'", "remote_group", "\"wep\"", "\"web\", the nearest"),
    ("direction = 'ingress', remote_group = 1", "remote_group", "1", "a group's name"),
    (
        "direction = 'ingress', remote_address_group = 'office'",
        "remote_address_group",
        "\"office\"",
        "\"offices\", the nearest",
    ),
    (
        "direction = 'ingress', remote = '10.0.0.0/8', remote_group = 'web'",
        "remote_group",
        "`remote_group`",
        "at most one",
    ),
    ("direction = 'ingress', protokoll = 1", "protokoll", "`protokoll`", "`protocol`, the nearest"),
];

/// Other tables: text, line, field, part of what was found, part of what would be right.
const WRONG: &[Told] = &[
    ("group = 1", 1, "group", "1", "a table, as under [group]"),
    ("address_group = []", 1, "address_group", "an empty list", "a table"),
    ("[group.'a b']", 1, "group.a b", "a b", "a name"),
    ("[group.web]\nstateful = 1", 2, "group.web.stateful", "1", "true or false"),
    ("[group.web]\negress = 'some'", 2, "group.web.egress", "\"some\"", "\"all\", \"rules\""),
    ("[group.web]\nrules = 1", 2, "group.web.rules", "1", "a list of tables"),
    ("[group.web]\nrules = ['tcp']", 2, "group.web.rules[0]", "\"tcp\"", "a list of tables"),
    ("[group.web]\nrule = []", 2, "group.web.rule", "`rule`", "`rules`, the nearest"),
    (
        "[group.web]\nrules = [{direction = 'egress'}, {direction = 'egress'}]",
        2,
        "group.web.rules[1]",
        "egress",
        "each rule once: rule 0",
    ),
    ("[address_group.a]", 1, "address_group.a.addresses", "nothing", "a prefix"),
    ("[address_group.a]\naddresses = '10.0.0.1'", 2, "address_group.a.addresses", "\"10.0.0.1\"", "a list"),
    ("[address_group.a]\naddresses = [1]", 2, "address_group.a.addresses[0]", "1", "a prefix"),
    (
        "[address_group.a]\naddresses = ['::1/64']",
        2,
        "address_group.a.addresses[0]",
        "::1/64",
        "::/64 would be",
    ),
    ("[network.lab]\ntenant = 'a b'", 2, "network.lab.tenant", "\"a b\"", "a name"),
    (
        "[network.lab]\n[group.web]\n[port.vm1]\nnetwork = 'lab'\ngroups = 'web'",
        5,
        "port.vm1.groups",
        "\"web\"",
        "a list of groups' names",
    ),
    (
        "[network.lab]\n[group.web]\n[port.vm1]\nnetwork = 'lab'\ngroups = ['wep']",
        5,
        "port.vm1.groups[0]",
        "\"wep\"",
        "\"web\", the nearest",
    ),
    (
        "[network.lab]\n[port.vm1]\nnetwork = 'lab'\ngroups = ['web']",
        4,
        "port.vm1.groups[0]",
        "\"web\"",
        "add [group.NAME]",
    ),
    (
        "[network.lab]\n[group.web]\n[port.vm1]\nnetwork = 'lab'\nport_security = false\ngroups = ['web']",
        6,
        "port.vm1.groups",
        "the field",
        "no `port_security = false`",
    ),
    (
        "[network.lab]\n[group.web]\n[port.vm1]\nnative = 'lab'\ngroups = ['web']",
        5,
        "port.vm1.groups",
        "the field",
        "not for trunks",
    ),
    ("[network.lab]\n[port.vm1]\nnetwork = 'lab'\ngroups = []", 4, "port.vm1.groups", "no group", "left out"),
];

/// Whether a case is about the field, which is called as in tables of the name `vm1`.
pub(super) fn has_case(path: &str) -> bool {
    let named = ["web", "a", "lab"].map(|name| path.replacen("vm1", name, 1));
    RULES.iter().any(|(_, field, _, _)| path == format!("group.vm1.rules.{field}"))
        || WRONG.iter().any(|case| case.2.starts_with(path) || named.contains(&case.2.replace("[0]", "")))
}

#[test]
fn what_is_wrong_in_a_rule_is_told_with_its_place_and_its_remedy() {
    for (rule, field, found, expected) in RULES {
        let text = format!(
            "[group.web]\n[address_group.offices]\naddresses = []\n[group.db]\nrules = [\n{{direction = 'egress'}},\n{{{rule}}}]"
        );
        let problems = wrong(&text);
        let [problem] = problems.as_slice() else { panic!("{rule}: {problems:?}") };
        assert_eq!(
            (problem.line, problem.field.as_str()),
            (7, format!("group.db.rules[1].{field}").as_str()),
            "{rule}"
        );
        assert!(problem.found.contains(found), "{rule}: {problem}");
        assert!(problem.expected.contains(expected), "{rule}: {problem}");
    }
}

#[test]
fn what_is_wrong_elsewhere_is_told_as_well() {
    assert_told(whole(WRONG));
}

#[test]
fn two_tiers_are_read_as_written() {
    let config = right(include_str!("../../../../examples/s5.toml"));
    let [web, db] = ["web", "db"].map(|name| &config.groups[name]);
    assert!(web.stateful && web.egress == Egress::All);
    let told: Vec<_> = web.rules.iter().chain(&db.rules).map(ToString::to_string).collect();
    let expected = [
        "ingress tcp 8080 from 0.0.0.0/0",
        "ingress tcp 22 from 203.0.113.0/24",
        "ingress tcp 3306 from group web",
        "ingress tcp 22 from 203.0.113.0/24",
        "ingress icmp type 8 from 10.0.0.0/8",
    ];
    assert_eq!(told, expected);
    assert_eq!(config.ports["web1"].groups, Some(vec!["web".to_owned()]));
    assert!(config.ports["web1"].security.is_some(), "whose addresses count must not make them up");
    let number = |name: &str| (name == "web").then(|| GroupIndex::new(7)).flatten();
    let rule = db.rules[0].resolve(number, |_| None).unwrap();
    assert_eq!(rule.remote(), Remote::Group(GroupIndex::new(7).unwrap()));
    assert_eq!(db.rules[0].resolve(|_| None, |_| None), None);
}

#[test]
fn what_may_be_tracked_and_judged_is_bounded_as_it_is_written() {
    let text = "[switch]\nconnections = 4096\n[network.lab]\n[port.a]\nnetwork = 'lab'\nnew_connections = '2kcps'\n\
                judged_packets = 'unlimited'\n[port.b]\nnetwork = 'lab'\n[uplink.wan]\ninterface = 'eth1'\nnew_connections = '7cps'\n";
    let config = right(text);
    let rates = |limits: JudgeLimits| {
        [limits.new_connections, limits.judged_packets].map(|rate| rate.map(FrameRate::per_second))
    };
    assert_eq!(config.switch.connections, 4096);
    assert_eq!(rates(config.ports["a"].judging), [Some(2000), None]);
    assert_eq!(config.ports["b"].judging, JudgeLimits::default());
    assert_eq!(rates(config.uplinks["wan"].judging), [Some(7), None], "the outside is many");
    assert_eq!(rates(JudgeLimits::default()), [Some(50_000), Some(100_000)], "as docs/configuration.md says");
    assert_eq!(SwitchSettings::default().connections, 262_144, "as docs/configuration.md says");
}

#[test]
fn every_field_of_a_rule_counts() {
    let text = "[address_group.a]\naddresses = ['10.0.0.1', 'fd00::/8']\n[group.g]\negress = 'rules'\nstateful = false\n\
                rules = [{direction = 'egress', ethertype = 'ipv6', protocol = 17, ports = '5-9', remote_address_group = 'a'},\n\
                {direction = 'ingress', protocol = 'icmp', type = 3, code = 4}]";
    let config = right(text);
    assert_eq!(config.address_groups["a"], ["10.0.0.1/32", "fd00::/8"].map(|text| text.parse().unwrap()));
    let group = &config.groups["g"];
    assert_eq!((group.stateful, group.egress), (false, Egress::Rules));
    let told: Vec<_> = group.rules.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["egress IPv6 udp 5-9 to address group a", "ingress icmp type 3 code 4"]);
    let spec = RuleSpec {
        ethertype: Some(viaduct_switch::security::Family::Ipv6),
        protocol: Some(viaduct_switch::security::Protocol::UDP),
        ports: Some((5, 9)),
        address_group: AddressGroupIndex::new(3),
        ..RuleSpec::new(viaduct_switch::security::Direction::Egress)
    };
    let resolved = group.rules[0].resolve(|_| None, |_| AddressGroupIndex::new(3));
    assert_eq!(resolved, Rule::try_from(spec).ok());
}

#[test]
fn who_names_no_group_is_in_the_default_group_if_there_is_one() {
    let ports = "[port.a]\nnetwork = 'lab'\n[port.b]\nnetwork = 'lab'\ngroups = ['web']\n[port.c]\nnetwork = 'lab'\nport_security = false\n\
                 [port.d]\nnative = 'lab'\n";
    let groups = |text: &str| {
        let config = right(&format!("[network.lab]\ntenant = 'x'\n[group.web]\n{text}{ports}"));
        assert_eq!(config.networks["lab"].tenant.as_deref(), Some("x"));
        config
            .ports
            .values()
            .map(|port| port.groups.clone().map(|groups| groups.join(" ")))
            .collect::<Vec<_>>()
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(groups(""), [None, some("web"), None, None]);
    assert_eq!(groups("[group.default]\n"), [some("default"), some("web"), None, None]);
}
