//! Overlays: tunnels, stations on other machines, and what does not go together.

use std::net::IpAddr;

use viaduct_switch::security::Family;

use super::*;

mod stations;

/// An uplink with addresses, three lines, and a network.
const UNDERLAY: &str =
    "[uplink.isp]\ninterface = 'eth3'\naddress = ['192.168.99.1/24', 'fd00:99::1/64']\n[network.lab]\n";

/// Behind [`UNDERLAY`]: lines from 5. Each has one mistake.
const BEHIND: &[Told] = &[
    ("overlay = 1", 5, "network.lab.overlay", "1", "a table"),
    ("arp_suppression = true", 5, "network.lab.arp_suppression", "the field", "`overlay` beside it"),
    ("static = []", 5, "network.lab.static", "the field", "`overlay` beside it"),
    ("overlay = { vni = 1, uplink = 'isp' }", 5, "network.lab.overlay.kind", "nothing", "like \"vxlan\""),
    (
        "overlay = { kind = 'vxlna', vni = 1, uplink = 'isp' }",
        5,
        "network.lab.overlay.kind",
        "\"vxlna\"",
        "\"vxlan\"?",
    ),
    ("overlay = { kind = 'vxlan', vni = 1 }", 5, "network.lab.overlay.uplink", "nothing", "\"isp\""),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'ips' }",
        5,
        "network.lab.overlay.uplink",
        "\"ips\"",
        "\"isp\", the nearest",
    ),
    (
        "overlay = { kind = 'geneve', uplink = 'isp' }",
        5,
        "network.lab.overlay.vni",
        "nothing",
        "0 to 16777215",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 16777216, uplink = 'isp' }",
        5,
        "network.lab.overlay.vni",
        "16777216",
        "0 to 16777215",
    ),
    (
        "overlay = { kind = 'gre', vni = 1, uplink = 'isp' }",
        5,
        "network.lab.overlay.vni",
        "the field `vni`",
        "`key`, which is what gre has",
    ),
    (
        "overlay = { kind = 'gre', key = 4294967296, uplink = 'isp' }",
        5,
        "network.lab.overlay.key",
        "4294967296",
        "0 to 4294967295",
    ),
    (
        "overlay = { kind = 'vxlan', key = 5, uplink = 'isp' }",
        5,
        "network.lab.overlay.key",
        "the field `key`",
        "`vni`",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', gruop = '239.1.1.1' }",
        5,
        "network.lab.overlay.gruop",
        "`gruop`",
        "`group`, the nearest",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', group = '10.0.0.1' }",
        5,
        "network.lab.overlay.group",
        "10.0.0.1",
        "a multicast address",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', group = '224.0.0.251' }",
        5,
        "network.lab.overlay.group",
        "224.0.0.251",
        "none of 224.0.0.0/24",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', group = 'ff02::101' }",
        5,
        "network.lab.overlay.group",
        "ff02::101",
        "ff02::/16",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', group = 'ff11::101' }",
        5,
        "network.lab.overlay.group",
        "ff11::101",
        "scopes that leave no machine",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', group = '239.1.1.1', peers = ['192.168.99.2'] }",
        5,
        "network.lab.overlay.peers",
        "the field",
        "either `group` or `peers`",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', peers = '192.168.99.2' }",
        5,
        "network.lab.overlay.peers",
        "192.168.99.2",
        "a list of other machines'",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', peers = [] }",
        5,
        "network.lab.overlay.peers",
        "an empty list",
        "at least one",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', peers = ['239.1.1.1'] }",
        5,
        "network.lab.overlay.peers[0]",
        "239.1.1.1",
        "another machine's address",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', peers = ['192.168.99.2', '192.168.99.2'] }",
        5,
        "network.lab.overlay.peers[1]",
        "192.168.99.2",
        "each address once",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', peers = ['192.168.99.1'] }",
        5,
        "network.lab.overlay.peers",
        "192.168.99.1",
        "uplink.isp's own",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', peers = ['192.168.99.2', 'fd00:99::2'] }",
        5,
        "network.lab.overlay.peers",
        "fd00:99::2",
        "an address of IPv4",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', port = 0 }",
        5,
        "network.lab.overlay.port",
        "0",
        "from 1 to 65535",
    ),
    (
        "overlay = { kind = 'gre', key = 1, uplink = 'isp', port = 4789 }",
        5,
        "network.lab.overlay.port",
        "the field",
        "there is no UDP",
    ),
    (
        "overlay = { kind = 'gre', key = 1, uplink = 'isp', udp_checksum = true }",
        5,
        "network.lab.overlay.udp_checksum",
        "the field",
        "there is no UDP",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', udp_checksum = 'zero' }",
        5,
        "network.lab.overlay.udp_checksum",
        "\"zero\"",
        "true or false",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', ttl = 0 }",
        5,
        "network.lab.overlay.ttl",
        "0",
        "from 1 to 255",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', learning = 1 }",
        5,
        "network.lab.overlay.learning",
        "1",
        "true or false",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', known_vteps_only = 1 }",
        5,
        "network.lab.overlay.known_vteps_only",
        "1",
        "true or false",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', group = '239.1.1.1', known_vteps_only = true }",
        5,
        "network.lab.overlay.known_vteps_only",
        "true",
        "nobody would be heard",
    ),
    (
        "mode = 'bridged'\nuplink = 'isp'\noverlay = { kind = 'vxlan', vni = 1, uplink = 'isp' }",
        7,
        "network.lab.overlay",
        "the field",
        "another `mode`",
    ),
    (
        "mode = 'nat'\nuplink = 'isp'\nsegment = 'isp'\nvlan = 5\nsubnets = ['10.0.0.0/24']\noverlay = { kind = \
         'vxlan', vni = 1, uplink = 'isp' }",
        7,
        "network.lab.segment",
        "the field",
        "either `segment` or `overlay`",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp' }\n[network.b]\noverlay = { kind = 'vxlan', vni = 1, uplink = \
         'isp' }",
        7,
        "network.b.overlay.vni",
        "1",
        "network.lab has it there",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp' }\n[network.b]\noverlay = { kind = 'geneve', vni = 2, uplink = \
         'isp', port = 4789 }",
        7,
        "network.b.overlay.port",
        "4789",
        "of kind \"vxlan\"",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'bare' }\n[uplink.bare]\ninterface = 'eth4'",
        5,
        "network.lab.overlay.uplink",
        "\"bare\"",
        "give uplink.bare (line 6) one",
    ),
    (
        "overlay = { kind = 'vxlan', vni = 1, uplink = 'v4', group = 'ff05::1' }\n[uplink.v4]\ninterface = 'eth4'\naddress = \
         'dhcp'",
        5,
        "network.lab.overlay.uplink",
        "\"v4\"",
        "an `address` of IPv6",
    ),
    (
        "mtu = 1500\noverlay = { kind = 'gre', key = 1, uplink = 'low' }\n[uplink.low]\ninterface = 'eth4'\naddress = \
         '10.9.0.1/24'\nmtu = 1500",
        5,
        "network.lab.mtu",
        "1500",
        "1458 at most: uplink.low (line 10) has 1500",
    ),
    (
        "mode = 'nat'\nuplink = 'isp'\nsubnets = ['10.0.0.0/24']\noverlay = { kind = 'vxlan', vni = 1, uplink = 'isp' \
         }\n[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.9']\npublish = ['4780-4790:80-90/udp']",
        12,
        "port.vm1.publish",
        "4780-4790",
        "network.lab's tunnels (line 8) end at 4789",
    ),
];

/// Behind [`UNDERLAY`], a subnet, [`OVERLAY`] and the first one's heading: lines from 8.
const STATIONS: &[Told] = &[
    ("vtep = '192.168.99.2'", 7, "network.lab.static[0].mac", "nothing", "like \"52:54:"),
    (
        "mac = '53:54:00:00:00:01'\nvtep = '192.168.99.2'",
        8,
        "network.lab.static[0].mac",
        "53:54",
        "one station",
    ),
    ("mac = '52:54:00:00:00:01'", 7, "network.lab.static[0].vtep", "nothing", "behind which"),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '0.0.0.0'",
        9,
        "network.lab.static[0].vtep",
        "0.0.0.0",
        "behind which",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.1'",
        9,
        "network.lab.static[0].vtep",
        "192.168.99.1",
        "uplink.isp's own",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = 'fd00:99::2'",
        9,
        "network.lab.static[0].vtep",
        "fd00:99::2",
        "an address of IPv4",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.2'\naddress = 'x'",
        10,
        "network.lab.static[0].address",
        "\"x\"",
        "the station's IP address",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.2'\naddress = ['10.101.0.2', '10.9.0.1']",
        10,
        "network.lab.static[0].address[1]",
        "10.9.0.1",
        "in 10.101.0.0/24",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.2'\naddress = '10.101.0.1'",
        10,
        "network.lab.static[0].address",
        "10.101.0.1",
        "network's gateway",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.2'\naddress = '10.101.0.255'",
        10,
        "network.lab.static[0].address",
        "10.101.0.255",
        "10.101.0.1 to 10.101.0.254",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.2'\nvtp = 1",
        10,
        "network.lab.static[0].vtp",
        "`vtp`",
        "`vtep`, the nearest",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.2'\n[[network.lab.static]]\nmac = '52:54:00:00:00:01'\nvtep = \
         '192.168.99.3'",
        11,
        "network.lab.static[1].mac",
        "52:54:00:00:00:01",
        "each station once",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.2'\naddress = '10.101.0.9'\n[[network.lab.static]]\nmac = \
         '52:54:00:00:00:02'\nvtep = '192.168.99.3'\naddress = '10.101.0.9'",
        14,
        "network.lab.static[1].address",
        "10.101.0.9",
        "each address once",
    ),
    (
        "mac = '52:54:00:00:00:01'\nvtep = '192.168.99.2'\n[port.vm1]\nnetwork = 'lab'\nmac = '52:54:00:00:00:01'",
        8,
        "network.lab.static[0].mac",
        "52:54:00:00:00:01",
        "port.vm1 (line 12) has it here",
    ),
];

/// What stations need beside them, one line.
const OVERLAY: &str = "overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', group = '239.1.1.1' }\n";

/// Whether a mistake in this field is among them.
pub(super) fn has_case(path: &str) -> bool {
    let is_of = |field: &str| field.replace("[0]", "").replace("network.lab", "network.vm1") == path;
    BEHIND.iter().chain(STATIONS).any(|case| is_of(case.2))
}

#[test]
fn every_mistake_is_told_where_it_stands() {
    assert_told(BEHIND.iter().map(|case| (format!("{UNDERLAY}{}", case.0), case)));
    let before = format!("{UNDERLAY}subnets = ['10.101.0.0/24']\n{OVERLAY}[[network.lab.static]]\n");
    assert_told(STATIONS.iter().map(|case| (format!("{before}{}", case.0), case)));
}

fn overlay(text: &str) -> Overlay {
    right(&format!("{UNDERLAY}{text}")).networks["lab"].overlay.clone().unwrap()
}

#[test]
fn the_smallest_overlay_of_each_kind_gets_every_default() {
    let vxlan = overlay("overlay = { kind = 'vxlan', vni = 101, uplink = 'isp', group = '239.1.1.101' }");
    let expected = Overlay {
        kind: OverlayKind::Vxlan,
        id: 101,
        uplink: "isp".to_owned(),
        group: Some("239.1.1.101".parse().unwrap()),
        peers: Vec::new(),
        port: 4789,
        ttl: 64,
        udp_checksum: None,
        learning: true,
        known_vteps_only: false,
        suppression: false,
        stations: Vec::new(),
    };
    assert_eq!(vxlan, expected);
    assert_eq!((vxlan.family(), vxlan.inner_mtu(1500, Family::Ipv4)), (Some(Family::Ipv4), 1450));
    assert!(!vxlan.has_udp_checksum(Family::Ipv4) && vxlan.has_udp_checksum(Family::Ipv6));
    let geneve =
        overlay("overlay = { kind = 'geneve', vni = 16777215, uplink = 'isp', peers = ['fd00:99::2'] }");
    assert_eq!((geneve.id, geneve.port, geneve.family()), (16_777_215, 6081, Some(Family::Ipv6)));
    assert_eq!(geneve.inner_mtu(1500, Family::Ipv6), 1430);
    let gre = overlay("overlay = { kind = 'gre', key = 4294967295, uplink = 'isp' }");
    assert_eq!((gre.id, gre.port, gre.family()), (u32::MAX, 0, None));
    assert_eq!((gre.inner_mtu(1500, Family::Ipv4), gre.inner_mtu(40, Family::Ipv4)), (1458, 0));
}

#[test]
fn an_overlay_in_full_is_read_as_written() {
    let read = overlay(
        "arp_suppression = true\nmtu = 1400\nvlan = 7\n[network.lab.overlay]\nkind = 'vxlan'\nvni = 0\nuplink = \
         'isp'\npeers = ['fd00:99::2', 'fd00:99::3']\nport = 8472\nttl = 255\nudp_checksum = false\nlearning = \
         false\nknown_vteps_only = true\n[[network.lab.static]]\nmac = '52:54:00:00:01:02'\naddress = ['10.101.0.2', \
         'fe80::2']\nvtep = 'fd00:99::4'\n[[network.lab.static]]\nmac = '52:54:00:00:01:03'\nvtep = 'fd00:99::4'\n",
    );
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let station = |mac: &str, addresses: &[&str]| StaticStation {
        mac: mac.parse().unwrap(),
        addresses: addresses.iter().map(|text| address(text)).collect(),
        vtep: address("fd00:99::4"),
    };
    assert_eq!((read.id, read.port, read.ttl, read.udp_checksum), (0, 8472, 255, Some(false)));
    assert_eq!((read.learning, read.known_vteps_only, read.suppression), (false, true, true));
    assert_eq!(read.peers, [address("fd00:99::2"), address("fd00:99::3")]);
    let stations =
        [station("52:54:00:00:01:02", &["10.101.0.2", "fe80::2"]), station("52:54:00:00:01:03", &[])];
    assert_eq!(read.stations, stations);
    assert_eq!(
        read.vteps().map(|vtep| vtep.to_string()).collect::<Vec<_>>()[2..],
        ["fd00:99::4", "fd00:99::4"]
    );
}

#[test]
fn numbers_are_told_apart_by_kind_port_and_uplink() {
    let network = |name: &str, overlay: &str| format!("[network.{name}]\noverlay = {{ {overlay} }}\n");
    let text = [
        "[uplink.isp]\ninterface = 'eth3'\naddress = '192.168.99.1/24'\n",
        "[uplink.dc]\ninterface = 'eth4'\naddress = 'dhcp'\n",
        &network("a", "kind = 'vxlan', vni = 1, uplink = 'isp'"),
        &network("b", "kind = 'vxlan', vni = 1, uplink = 'isp', port = 8472"),
        &network("c", "kind = 'vxlan', vni = 1, uplink = 'dc', group = '239.1.1.1'"),
        &network("d", "kind = 'geneve', vni = 1, uplink = 'isp'"),
        &network("e", "kind = 'gre', key = 1, uplink = 'isp'"),
    ]
    .concat();
    assert_eq!(right(&text).networks.values().filter(|network| network.overlay.is_some()).count(), 5);
}

#[test]
fn the_mtu_of_a_network_is_what_fits_into_its_tunnels() {
    let mtu = |text: &str| {
        let network = "[network.lab]\noverlay = { kind = 'vxlan', vni = 1, uplink = 'isp' }\n";
        right(&format!("[uplink.isp]\ninterface = 'eth3'\naddress = '192.168.99.1/24'\n{text}\n{network}"))
            .mtu_of("lab")
    };
    assert_eq!(mtu(""), 1450);
    assert_eq!(mtu("mtu = 9000"), 8950);
    assert_eq!(mtu("mtu = 9000\n[port.a]\nnetwork = 'lab'"), 1500);
    let over = |text: &str, found: u16| {
        let network = "[network.lab]\noverlay = { kind = 'vxlan', vni = 1, uplink = 'isp' }\n[port.a]\nnetwork = 'lab'\n";
        right(&format!("[uplink.isp]\ninterface = 'eth3'\naddress = '2001:db8::1/64'\n{text}\n{network}"))
            .mtu_over("lab", |uplink| (uplink == "isp").then_some(found))
    };
    assert_eq!([over("", 1400), over("", 9000), over("mtu = 1460", 1400)], [1330, 1500, 1390]);
}

#[test]
fn who_reaches_nobody_is_warned() {
    let warnings = |text: &str| {
        let loaded = parse(format!("{UNDERLAY}{text}").as_bytes(), "x", &TestHost).unwrap();
        loaded.warnings.into_iter().filter(|warning| warning.contains("reaches nobody")).count()
    };
    assert_eq!(warnings("overlay = { kind = 'vxlan', vni = 1, uplink = 'isp' }"), 1);
    assert_eq!(warnings("overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', group = '239.1.1.1' }"), 0);
}
