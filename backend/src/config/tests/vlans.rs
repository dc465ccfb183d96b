//! VLANs: what a network, a trunk and an uplink say about tags, and what they could not tell apart.

use super::*;

/// Every field wrong, and every rule between networks and trunks broken.
const WRONG: &[Told] = &[
    ("[network.lab]\nvlan = 0", 2, "network.lab.vlan", "0", "from 1 to 4094"),
    ("[network.lab]\nvlan = 4095", 2, "network.lab.vlan", "4095", "from 1 to 4094"),
    ("[network.lab]\nvlan = '10'", 2, "network.lab.vlan", "\"10\"", "from 1 to 4094"),
    ("[network.lab]\ninner_tags = 1", 2, "network.lab.inner_tags", "1", "true or false"),
    (
        "[network.lab]\n[port.vm1]\nnetwork = 'lab'\nnative = 'lab'",
        3,
        "port.vm1.network",
        "the field",
        "either `network`",
    ),
    (
        "[network.lab]\n[port.vm1]\nnetwork = 'lab'\ntag_types = []",
        4,
        "port.vm1.tag_types",
        "the field",
        "`trunk`",
    ),
    ("[network.lab]\n[port.vm1]\nnative = 'lob'", 3, "port.vm1.native", "\"lob\"", "\"lab\", the nearest"),
    ("[network.lab]\n[port.vm1]\nnative = 1", 3, "port.vm1.native", "1", "a network's name in quotes"),
    ("[network.lab]\n[port.vm1]\ntrunk = 'lab'", 3, "port.vm1.trunk", "\"lab\"", "a list of networks' names"),
    ("[network.lab]\n[port.vm1]\ntrunk = [1]", 3, "port.vm1.trunk[0]", "1", "a list of networks' names"),
    (
        "[network.lab]\nvlan = 1\n[port.vm1]\ntrunk = ['lob']",
        4,
        "port.vm1.trunk[0]",
        "\"lob\"",
        "\"lab\", the nearest",
    ),
    (
        "[network.lab]\nvlan = 1\n[port.vm1]\ntrunk = ['lab', 'x*']",
        4,
        "port.vm1.trunk[1]",
        "\"x*\"",
        "a pattern that",
    ),
    (
        "[network.lab]\n[port.vm1]\ntrunk = ['*']",
        3,
        "port.vm1.trunk",
        "\"lab\"",
        "give network.lab (line 1) one",
    ),
    (
        "[network.a]\nvlan = 1\n[network.b]\nvlan = 1\n[port.vm1]\ntrunk = ['*']",
        6,
        "port.vm1.trunk",
        "\"b\"",
        "a has 1 as well",
    ),
    (
        "[network.a]\nvlan = 1\n[network.b]\nvlan = 1\n[port.vm1]\nnative = 'a'\ntrunk = ['b']",
        7,
        "port.vm1.trunk",
        "\"b\"",
        "a has 1 as well",
    ),
    (
        "[network.a]\ninner_tags = true\n[network.b]\nvlan = 1\n[port.vm1]\nnative = 'a'\ntrunk = ['b']",
        6,
        "port.vm1.native",
        "\"a\"",
        "without `inner_tags`",
    ),
    (
        "[network.lab]\n[port.vm1]\nnative = 'lab'\ntag_types = ['0x8100']",
        4,
        "port.vm1.tag_types[0]",
        "\"0x8100\"",
        "\"0x88a8\"",
    ),
    ("[network.lab]\n[port.vm1]\nnative = 'lab'\npriority = 8", 4, "port.vm1.priority", "8", "from 0 to 7"),
    (
        "[network.lab]\n[port.vm1]\nnetwork = 'lab'\nservice_vlan = 5",
        4,
        "port.vm1.service_vlan",
        "the field",
        "`trunk` or `native` instead",
    ),
    (
        "[network.lab]\n[port.vm1]\nnative = 'lab'\nservice_vlan = 0",
        4,
        "port.vm1.service_vlan",
        "0",
        "from 1 to 4094",
    ),
    (
        "[uplink.wan]\ninterface = 'x'\nservice_vlan = 4095",
        3,
        "uplink.wan.service_vlan",
        "4095",
        "from 1 to 4094",
    ),
    ("[uplink.wan]\ninterface = 'x'\ntag_types = 1", 3, "uplink.wan.tag_types", "1", "\"0x88a8\""),
    ("[uplink.wan]\ninterface = 'x'\npriority = -1", 3, "uplink.wan.priority", "-1", "from 0 to 7"),
    (
        "[uplink.wan]\ninterface = 'x'\n[network.a]\nmode = 'bridged'\nuplink = 'wan'\nvlan = 5\n\
         [network.b]\nmode = 'bridged'\nuplink = 'wan'\nvlan = 5",
        10,
        "network.b.vlan",
        "5",
        "network.a (line 6) has it",
    ),
    (
        "[uplink.wan]\ninterface = 'x'\n[network.a]\nmode = 'bridged'\nuplink = 'wan'\n\
         [network.b]\nmode = 'bridged'\nuplink = 'wan'",
        8,
        "network.b.uplink",
        "\"wan\"",
        "a `vlan` for one of them: network.a (line 3)",
    ),
    (
        "[uplink.wan]\ninterface = 'x'\n[network.a]\nmode = 'bridged'\nuplink = 'wan'\ninner_tags = true\n\
         [network.b]\nmode = 'bridged'\nuplink = 'wan'\nvlan = 5",
        6,
        "network.a.inner_tags",
        "true",
        "a `vlan` beside it",
    ),
];

/// Whether a mistake in this field is among them; the field's table may have another name.
pub(super) fn has_case(path: &str) -> bool {
    let field = |name: &str| path.replacen("vm1", name, 1);
    WRONG.iter().any(|case| ["vm1", "lab", "wan"].iter().any(|name| case.2 == field(name)))
        || WRONG.iter().any(|case| case.2.starts_with(&format!("{path}[")))
}

#[test]
fn every_mistake_is_told_where_it_stands() {
    assert_told(whole(WRONG));
}

#[test]
fn a_trunk_is_read_as_written_and_patterns_name_what_there_is() {
    let networks: String =
        [(10, "tenant10"), (20, "tenant20"), (31, "tenant31"), (32, "tenant32"), (40, "lab")]
            .iter()
            .fold(String::new(), |text, (vlan, name)| text + &format!("[network.{name}]\nvlan = {vlan}\n"));
    let port = "[port.firewall]\nnative = 'tenant10'\ntrunk = ['tenant20', 'tenant3*', 'tenant1*']\n";
    let config = right(&format!(
        "{networks}{port}tag_types = ['0x9100', '0x88a8']\nservice_vlan = 300\npriority = 6\n"
    ));
    let trunk = Trunk {
        native: Some("tenant10".to_owned()),
        networks: ["tenant20", "tenant31", "tenant32"].map(str::to_owned).to_vec(),
        service_vlan: VlanId::new(300),
        tag_types: TagTypes { service: true, legacy: true },
    };
    let port = &config.ports["firewall"];
    assert_eq!((&port.membership, port.priority.code_point()), (&Membership::Trunk(trunk), 6));
    assert_eq!(config.networks["tenant31"].vlan.map(VlanId::get), Some(31));
    let config = right("[network.lab]\ninner_tags = true\n[port.p]\nnative = 'lab'\n");
    let alone = Trunk { native: Some("lab".to_owned()), ..Trunk::default() };
    assert_eq!(config.ports["p"].membership, Membership::Trunk(alone));
    assert!(config.networks["lab"].inner_tags);
}

#[test]
fn several_networks_share_an_uplink_and_one_of_them_has_no_tag() {
    let network = |name, vlan| format!("[network.{name}]\nmode = 'bridged'\nuplink = 'metro'\n{vlan}\n");
    let uplink =
        "[uplink.metro]\ninterface = 'eth2'\nservice_vlan = 300\ntag_types = ['0x9100']\npriority = 3\n";
    let text = [uplink, &network("a", ""), &network("b", "vlan = 5"), &network("c", "vlan = 4094")].concat();
    let uplink = &right(&text).uplinks["metro"];
    assert_eq!(uplink.service_vlan.map(VlanId::get), Some(300));
    assert_eq!(
        (uplink.tag_types.legacy, uplink.tag_types.service, uplink.priority.code_point()),
        (true, false, 3)
    );
}

#[test]
fn a_guests_address_is_its_own_in_every_network_of_a_trunk() {
    let networks = "[network.a]\nvlan = 1\n[network.b]\nvlan = 2\n";
    let mac = "mac = '52:54:00:00:00:01'\n";
    let problems = wrong(&format!("{networks}[port.p]\ntrunk = ['*']\n{mac}[port.q]\nnetwork = 'b'\n{mac}"));
    assert_eq!((problems.len(), problems[0].field.as_str()), (1, "port.q.mac"));
    assert!(problems[0].expected.contains("port.p (line 7) has in the same network"), "{}", problems[0]);
    right(&format!("{networks}[port.p]\ntrunk = ['a']\n{mac}[port.q]\nnetwork = 'b'\n{mac}"));
}
