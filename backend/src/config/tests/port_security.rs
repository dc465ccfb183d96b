//! Port security: what a port says about its guest's addresses.

use super::*;

/// Every field wrong, and every rule between them broken: lines of a port in place of a text, and its fields alone.
const WRONG: &[Told] = &[
    ("port_security = 1", 4, "port_security", "1", "true or false"),
    ("addresses = '10.0.0.1'", 4, "addresses", "\"10.0.0.1\"", "a list"),
    ("addresses = [1]", 4, "addresses[0]", "1", "an address of one station"),
    ("addresses = ['10.0.0.1', '10.0.0.0/24']", 4, "addresses[1]", "10.0.0.0/24", "without a length"),
    ("addresses = ['0.0.0.0']", 4, "addresses[0]", "0.0.0.0", "one station"),
    ("addresses = ['224.0.0.1']", 4, "addresses[0]", "224.0.0.1", "one station"),
    ("addresses = ['255.255.255.255']", 4, "addresses[0]", "255.255.255.255", "one station"),
    ("addresses = ['::']", 4, "addresses[0]", "::", "one station"),
    ("addresses = ['::1']", 4, "addresses[0]", "::1", "one station"),
    ("addresses = ['ff02::1']", 4, "addresses[0]", "ff02::1", "one station"),
    ("addresses = ['::ffff:10.0.0.1']", 4, "addresses[0]", "::ffff:10.0.0.1", "one station"),
    ("allowed_address_pairs = {}", 4, "allowed_address_pairs", "a table", "a list of tables"),
    (
        "allowed_address_pairs = ['10.0.0.1']",
        4,
        "allowed_address_pairs[0]",
        "\"10.0.0.1\"",
        "a list of tables",
    ),
    ("allowed_address_pairs = [{}]", 4, "allowed_address_pairs[0].address", "nothing", "a prefix"),
    ("allowed_address_pairs = [{address = 1}]", 4, "allowed_address_pairs[0].address", "1", "a prefix"),
    (
        "allowed_address_pairs = [{address = 'a'}]",
        4,
        "allowed_address_pairs[0].address",
        "\"a\"",
        "10.0.0.0/8",
    ),
    (
        "allowed_address_pairs = [{address = '10.0.0.1/24'}]",
        4,
        "allowed_address_pairs[0].address",
        "\"10.0.0.1/24\"",
        "10.0.0.0/24 would be right",
    ),
    (
        "allowed_address_pairs = [{address = '::/0'}]",
        4,
        "allowed_address_pairs[0].address",
        "\"::/0\"",
        "port_security = false",
    ),
    (
        "allowed_address_pairs = [{address = '10.0.0.1', mca = '02:00:00:00:00:01'}]",
        4,
        "allowed_address_pairs[0].mca",
        "`mca`",
        "`mac`, the nearest",
    ),
    (
        "allowed_address_pairs = [{address = '10.0.0.1', mac = '01:00:00:00:00:01'}]",
        4,
        "allowed_address_pairs[0].mac",
        "\"01:00:00:00:00:01\"",
        "or here \"02:00:00:00:00:01\"",
    ),
    ("port_security = true\ntrusted = 'yes'", 5, "trusted", "\"yes\"", "true or false"),
    ("trusted = true", 4, "trusted", "the field", "port_security = true"),
    ("port_security = false\naddresses = ['10.0.0.1']", 5, "addresses", "the field", "port_security = true"),
    (
        "port_security = false\nallowed_address_pairs = []",
        5,
        "allowed_address_pairs",
        "the field",
        "port_security = true",
    ),
    ("type = 'veth'\ninterface = 'v'\nport_security = true", 3, "mac", "nothing", "behind the interface"),
    (
        "type = 'veth'\ninterface = 'v'\nmac = '02:00:00:00:00:01'",
        6,
        "mac",
        "the field",
        "port_security = true",
    ),
];

/// Whether a case is about the field, which is called as in tables of the name `vm1`.
pub(super) fn has_case(path: &str) -> bool {
    WRONG.iter().any(|case| path == format!("port.vm1.{}", case.2.replace("[0]", "")))
}

fn port(lines: &str) -> String {
    format!("{LAB}[port.vm1]\nnetwork = 'lab'\n{lines}\n")
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_its_remedy() {
    for (lines, line, field, found, expected) in WRONG {
        let problems = wrong(&port(lines));
        let [problem] = problems.as_slice() else { panic!("{lines}: {problems:?}") };
        assert_eq!(problem.field, format!("port.vm1.{field}"), "{lines}");
        assert!(problem.found.contains(found), "{lines}: {problem}");
        assert!(problem.expected.contains(expected), "{lines}: {problem}");
        let own = if *found == "nothing" && !field.contains('[') { 2 } else { *line };
        assert_eq!(problem.line, own, "{lines}");
    }
}

fn security(lines: &str) -> Option<PortSecurity> {
    right(&port(lines)).ports["vm1"].security.clone()
}

#[test]
fn addresses_turn_port_security_on_unless_it_is_written_otherwise() {
    assert_eq!(security(""), None);
    assert_eq!(security("port_security = false"), None);
    let mac = default_mac("vm1");
    let bare = PortSecurity { mac, addresses: Vec::new(), pairs: Vec::new(), trusted: false };
    assert_eq!(security("port_security = true"), Some(bare.clone()));
    assert_eq!(security("addresses = []"), Some(bare.clone()));
    let addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    assert_eq!(
        security("addresses = ['10.0.0.1', 'fd00::1']"),
        Some(PortSecurity { addresses, ..bare.clone() })
    );
    let pairs = vec![
        AddressPair { prefix: "10.0.0.100/32".parse().unwrap(), mac: None },
        AddressPair { prefix: "fd00:9::/32".parse().unwrap(), mac: "02:00:00:00:00:09".parse().ok() },
    ];
    let written = "allowed_address_pairs = [{ address = '10.0.0.100' }, { address = 'fd00:9::/32', mac = '02:00:00:00:00:09' }]\n\
                   trusted = true";
    assert_eq!(pairs[1].to_string(), "fd00:9::/32 at 02:00:00:00:00:09");
    assert_eq!(security(written), Some(PortSecurity { pairs, trusted: true, ..bare }));
}

#[test]
fn an_interface_is_guarded_by_the_address_of_what_is_behind_it() {
    let lines = "type = 'veth'\ninterface = 'v'\nport_security = true\nmac = '02:00:00:00:00:09'";
    assert_eq!(security(lines).unwrap().mac, MacAddress([2, 0, 0, 0, 0, 9]));
}

#[test]
fn an_address_has_one_port_in_a_network() {
    let port = |name: &str, network: &str, address: &str| {
        format!("[port.{name}]\nnetwork = '{network}'\naddresses = ['{address}', '{address}']\n")
    };
    let networks = "[network.a]\n[network.b]\n";
    let other = format!("{networks}{}{}", port("x", "a", "10.0.0.1"), port("y", "b", "10.0.0.1"));
    assert_eq!(right(&other).ports.len(), 2, "in different networks they never meet");
    let same = format!("{networks}{}{}", port("x", "a", "fd00::1"), port("y", "a", "fd00:0::1"));
    let problems = wrong(&same);
    assert_eq!((problems[0].line, problems[0].field.as_str()), (8, "port.y.addresses"));
    assert!(problems[0].expected.contains("port.x (line 5)"), "{}", problems[0]);
}

#[test]
fn addresses_are_bounded() {
    let many = |count: usize, item: fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let address: fn(usize) -> String = |number| format!("'10.0.0.{number}'");
    let pair: fn(usize) -> String = |number| format!("{{ address = '10.0.0.{number}' }}");
    for (field, item) in [("addresses", address), ("allowed_address_pairs", pair)] {
        let problems = wrong(&port(&format!("{field} = [{}]", many(65, item))));
        assert!(
            problems[0].found == "65 items" && problems[0].expected.contains("at most 64"),
            "{problems:?}"
        );
        right(&port(&format!("{field} = [{}]", many(64, item))));
    }
}
