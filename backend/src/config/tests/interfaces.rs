//! Uplinks, bridged networks, and ports that are interfaces.

use super::*;
use crate::config::host::InterfaceUse;

const WAN: &str = "[uplink.wan]\ninterface = 'eth1'\n";
const OFFICE: &str = "[network.office]\nmode = 'bridged'\nuplink = 'wan'\n";

const WRONG: &[Told] = &[
    ("[uplink.wan]\ninterface = 'eth1'\nstorm = 5", 3, "uplink.wan.storm", "5", "a table"),
    ("uplink = 'eth1'", 1, "uplink", "\"eth1\"", "a table"),
    ("[uplink.'a b']\ninterface = 'eth1'", 1, "uplink.a b", "the name", "letters, digits"),
    ("[uplink.wan]", 1, "uplink.wan.interface", "nothing", "an interface's name in quotes"),
    ("[uplink.wan]\ninterface = 1", 2, "uplink.wan.interface", "1", "an interface's name in quotes"),
    ("[uplink.wan]\ninterface = 'eth1:0'", 2, "uplink.wan.interface", "eth1:0", "without spaces"),
    ("[uplink.wan]\ninterface = 'a-name-too-long-'", 2, "uplink.wan.interface", "a-name-too", "1 to 15"),
    (
        "[uplink.wan]\ninterfaces = 1\nbond = {}",
        2,
        "uplink.wan.interfaces",
        "1",
        "a list of 1 to 16 interfaces' names",
    ),
    ("[uplink.wan]\ninterfaces = []\nbond = {}", 2, "uplink.wan.interfaces", "0 names", "1 to 16"),
    (
        "[uplink.wan]\ninterfaces = ['a', 'a']\nbond = {}",
        2,
        "uplink.wan.interfaces[1]",
        "\"a\"",
        "each interface once",
    ),
    (
        "[uplink.wan]\ninterface = 'a'\ninterfaces = ['a', 'b']\nbond = {}",
        2,
        "uplink.wan.interface",
        "the field `interface`",
        "either `interface`, or",
    ),
    (
        "[uplink.wan]\ninterface = 'a'\nnew_connections = 5",
        3,
        "uplink.wan.new_connections",
        "5",
        "(cps, kcps, mcps)",
    ),
    (
        "[uplink.wan]\ninterface = 'a'\njudged_packets = ''",
        3,
        "uplink.wan.judged_packets",
        "\"\"",
        "(pps, kpps, mpps)",
    ),
    ("[uplink.wan]\ninterface = 'a'\nlldp = 'yes'", 3, "uplink.wan.lldp", "\"yes\"", "true or false"),
    ("[uplink.wan]\ninterface = 'a'\nbond = {}", 3, "uplink.wan.bond", "a bond of one", "`interfaces`"),
    ("[uplink.wan]\ninterfaces = ['a', 'b']", 1, "uplink.wan.bond", "nothing", "bond = { mode ="),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\ndriver = 'tap'\nbond = {}",
        3,
        "uplink.wan.driver",
        "\"tap\"",
        "no links of a bond",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { mode = 'lacpd' }",
        3,
        "uplink.wan.bond.mode",
        "lacpd",
        "\"lacp\"?",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { hash = 'layer4' }",
        3,
        "uplink.wan.bond.hash",
        "layer4",
        "\"layer3+4\"",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { mode = 'lacp', rate = 1 }",
        3,
        "uplink.wan.bond.rate",
        "1",
        "\"slow\"",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { mode = 'balance', rate = 'fast' }",
        3,
        "uplink.wan.bond.rate",
        "`rate` beside mode = \"balance\"",
        "mode = \"lacp\" alone",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { mode = 'lacp', fallback = 1 }",
        3,
        "uplink.wan.bond.fallback",
        "1",
        "true or false",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { primary = 'c' }",
        3,
        "uplink.wan.bond.primary",
        "\"c\"",
        "one of `interfaces`: a, b",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { primary_reselect = 'now' }",
        3,
        "uplink.wan.bond.primary_reselect",
        "\"now\"",
        "\"failure\"",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { up_delay = 5 }",
        3,
        "uplink.wan.bond.up_delay",
        "5",
        "a duration",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { down_delay = '2h' }",
        3,
        "uplink.wan.bond.down_delay",
        "\"2h\"",
        "a duration",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nqueues = 2\nbond = {}",
        3,
        "uplink.wan.queues",
        "the field `queues`",
        "each link of a bond has one queue; leave it out",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { arp_targets = ['10.0.0.x'] }",
        3,
        "uplink.wan.bond.arp_targets[0]",
        "10.0.0.x",
        "IPv4 addresses of hosts",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { arp_targets = ['224.0.0.1'] }",
        3,
        "uplink.wan.bond.arp_targets[0]",
        "224.0.0.1",
        "IPv4 addresses of hosts",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { arp_targets = [] }",
        3,
        "uplink.wan.bond.arp_targets",
        "0 addresses",
        "1 to 16 IPv4 addresses",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { mode = 'lacp', arp_targets = ['10.0.0.1'] }",
        3,
        "uplink.wan.bond.arp_targets",
        "`arp_targets` beside mode = \"lacp\"",
        "both ends hear each other",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { arp_targets = ['10.0.0.1'], arp_interval = '10ms' }",
        3,
        "uplink.wan.bond.arp_interval",
        "\"10ms\"",
        "from \"50ms\" to \"1m\"",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { arp_targets = ['10.0.0.1'], arp_missed = 0 }",
        3,
        "uplink.wan.bond.arp_missed",
        "0",
        "a number from 1 to 100",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { arp_source = '10.0.0.9' }",
        3,
        "uplink.wan.bond.arp_source",
        "`arp_source` alone",
        "`arp_targets` beside it",
    ),
    (
        "[uplink.wan]\ninterfaces = ['a', 'b']\nbond = { monitor = 1 }",
        3,
        "uplink.wan.bond.monitor",
        "`monitor`",
        "one of",
    ),
    (
        "[uplink.a]\ninterface = 'b'\n[uplink.wan]\ninterfaces = ['a', 'b']\nbond = {}",
        4,
        "uplink.wan.interfaces",
        "\"b\"",
        "uplink.a (line 2) has the same",
    ),
    ("[uplink.wan]\ninterface = 'eth1'\ndriver = 'dpdk'", 3, "uplink.wan.driver", "dpdk", "one of \"auto\""),
    (
        "[uplink.wan]\ninterface = 'eth1'\ndriver = 'afpacket'",
        3,
        "uplink.wan.driver",
        "afpacket",
        "\"af-packet\"?",
    ),
    ("[uplink.wan]\ninterface = 'eth1'\nqueues = 0", 3, "uplink.wan.queues", "0", "from 1 to 16"),
    ("[uplink.wan]\ninterface = 'eth1'\ngro = 'no'", 3, "uplink.wan.gro", "no", "true or false"),
    ("[network.lab]\n[port.c]\nnetwork = 'lab'\ngro = true", 4, "port.c.gro", "`gro`", "type = \"veth\""),
    ("[uplink.wan]\ninterface = 'eth1'\nmtu = 67", 3, "uplink.wan.mtu", "67", "from 68 to 65535"),
    ("[uplink.wan]\ninterface = 'eth1'\nnetns = true", 3, "uplink.wan.netns", "true", "under /run/netns"),
    (
        "[uplink.wan]\ninterface = 'eth1'\nmulticast_router = 1",
        3,
        "uplink.wan.multicast_router",
        "1",
        "true or false",
    ),
    (
        "[uplink.wan]\ninterface = 'eth1'\nstorm = { broadcast = 5 }",
        3,
        "uplink.wan.storm.broadcast",
        "5",
        "with their unit",
    ),
    (
        "[uplink.wan]\ninterface = 'eth1'\nsocket = '/x'",
        3,
        "uplink.wan.socket",
        "`socket`",
        "one of \"interface\"",
    ),
    (
        "[network.lab]\nuplink = 'wan'\n[uplink.wan]\ninterface = 'e'",
        2,
        "network.lab.uplink",
        "`uplink`",
        "mode = \"bridged\"",
    ),
    ("[network.lab]\nmode = 'bridged'", 1, "network.lab.uplink", "nothing", "the name of the uplink"),
    (
        "[network.lab]\nmode = 'bridged'\nuplink = 'wan'",
        3,
        "network.lab.uplink",
        "\"wan\"",
        "add [uplink.NAME]",
    ),
    ("[network.lab]\nmode = 'bridgd'", 2, "network.lab.mode", "\"bridgd\"", "\"bridged\"?"),
    (
        "[network.lab]\n[port.c]\nnetwork = 'lab'\ntype = 'veth'",
        2,
        "port.c.interface",
        "nothing",
        "an interface's name",
    ),
    (
        "[network.lab]\n[port.c]\nnetwork = 'lab'\ninterface = 'eth1'",
        4,
        "port.c.interface",
        "`interface`",
        "type = \"veth\"",
    ),
    (
        "[network.lab]\n[port.c]\nnetwork = 'lab'\nnetns = 'web'",
        4,
        "port.c.netns",
        "`netns`",
        "type = \"veth\"",
    ),
    (
        "[network.lab]\n[port.c]\nnetwork = 'lab'\ntype = 'af-packet'\ninterface = 't0'\nqueues = 17",
        6,
        "port.c.queues",
        "17",
        "from 1 to 16",
    ),
    (
        "[network.lab]\n[port.c]\nnetwork = 'lab'\ntype = 'veth'\ninterface = 'v0'\nmac = '02:00:00:00:00:01'",
        6,
        "port.c.mac",
        "`mac`",
        "leave it out",
    ),
];

/// Whether a case is about the field, which is called as in tables of the name `vm1`.
pub(super) fn has_case(path: &str) -> bool {
    let named = |name| path.replace("vm1", name);
    WRONG.iter().any(|(_, _, field, _, _)| ["lab", "wan", "c"].iter().any(|name| *field == named(name)))
}

#[test]
fn every_mistake_is_told_where_it_stands() {
    assert_told(whole(WRONG));
}

#[test]
fn a_mistyped_uplink_is_told_with_the_nearest() {
    let problems = wrong(&format!("{WAN}{}", OFFICE.replace("'wan'", "'wam'")));
    assert_eq!((problems[0].line, problems[0].expected.as_str()), (5, "\"wan\", the nearest known uplink"));
}

#[test]
fn an_interface_a_name_and_an_uplink_have_one_place() {
    let problems = wrong(&format!("{WAN}[uplink.lan]\ninterface = 'eth1'\n"));
    assert!(problems[0].expected.contains("uplink.wan (line 2) has the same"), "{problems:?}");
    let port = "[port.c]\nnetwork = 'office'\ntype = 'veth'\ninterface = 'eth1'\n";
    let problems = wrong(&format!("{WAN}{OFFICE}{port}"));
    assert_eq!((problems.len(), problems[0].field.as_str()), (1, "port.c.interface"));
    // In another network namespace the same name is another interface.
    right(&format!("{WAN}{OFFICE}{port}netns = 'web'\n"));
    let problems = wrong(&format!("{WAN}{OFFICE}[port.wan]\nnetwork = 'office'\n"));
    assert_eq!((problems.len(), problems[0].field.as_str(), problems[0].line), (1, "uplink.wan", 1));
    let second = OFFICE.replace("office", "lab");
    let problems = wrong(&format!("{WAN}{OFFICE}{second}"));
    assert_eq!((problems.len(), problems[0].field.as_str(), problems[0].line), (1, "network.lab.uplink", 8));
}

#[test]
fn an_uplink_is_read_as_written_and_has_its_defaults() {
    let config = right(&format!("{WAN}{OFFICE}"));
    let uplink = &config.uplinks["wan"];
    let interface =
        Interface { name: "eth1".to_owned(), driver: Driver::Auto, netns: None, queues: None, gro: true };
    assert_eq!((&uplink.interface, uplink.mtu, uplink.multicast_router), (&interface, None, true));
    let limit = |limit: Option<viaduct_switch::FrameRate>| limit.map(viaduct_switch::FrameRate::per_second);
    assert_eq!((limit(uplink.storm.broadcast), limit(uplink.storm.multicast)), (Some(20_000), Some(200_000)));
    let office = &config.networks["office"];
    assert_eq!((office.mode, office.uplink.as_deref()), (NetworkMode::Bridged, Some("wan")));
    let config = right(
        "[uplink.wan]\ninterface = 'tap0'\nnetns = 4711\ndriver = 'tap'\nmtu = 9000\nmulticast_router = false\n\
         storm = { broadcast = 'unlimited' }\n",
    );
    let uplink = &config.uplinks["wan"];
    let netns = Some(PathBuf::from("/proc/4711/ns/net"));
    let interface =
        Interface { name: "tap0".to_owned(), driver: Driver::Tap, netns, queues: None, gro: true };
    assert_eq!((&uplink.interface, uplink.mtu, uplink.multicast_router), (&interface, Some(9000), false));
    assert_eq!(limit(uplink.storm.broadcast), None);
}

#[test]
fn a_container_has_an_interface_and_no_socket() {
    let config = right(&format!(
        "{LAB}[port.web]\nnetwork = 'lab'\ntype = 'veth'\ninterface = 'eth0'\nnetns = 'web1'\n"
    ));
    let port = &config.ports["web"];
    let netns = Some(PathBuf::from("/run/netns/web1"));
    assert_eq!(
        port.interface(),
        Some(&Interface { name: "eth0".to_owned(), driver: Driver::Auto, netns, queues: None, gro: true })
    );
    assert_eq!((port.vhost_user(), port.mtu, type_name(&port.attachment)), (None, 1500, "veth"));
}

#[test]
fn an_interface_that_the_machine_uses_is_warned_about() {
    struct Busy;
    impl Host for Busy {
        fn cpus(&self) -> Vec<usize> {
            vec![0]
        }
        fn has_group(&self, _: &str) -> bool {
            true
        }
        fn interface_use(&self, name: &str) -> InterfaceUse {
            let addresses = if name == "eth0" { vec!["192.0.2.2".to_owned()] } else { Vec::new() };
            InterfaceUse { default_route: !addresses.is_empty(), addresses }
        }
    }
    let warnings = |text: &str| parse(text.as_bytes(), "x", &Busy).unwrap().warnings;
    assert!(warnings(&format!("{WAN}{OFFICE}")).is_empty());
    let told = warnings(&format!("{WAN}{OFFICE}").replace("eth1", "eth0")).join("\n");
    assert!(told.contains("eth0 has the machine's address 192.0.2.2 and its default route"), "{told}");
}
