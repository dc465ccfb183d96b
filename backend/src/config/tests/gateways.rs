//! Networks with a gateway: subnets, what is served there, uplinks' addresses, what the outside reaches, routers.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_switch::security::Family;

use super::*;

/// A network of mode `nat`, six lines.
const HOME: &str = "[uplink.isp]\ninterface = 'eth3'\naddress = '192.168.99.108/24'\n[network.lab]\nmode = 'nat'\nuplink = \
                    'isp'\n";
/// Its subnets, and no more: line 7.
const SUBNETS: &str = "subnets = ['10.0.0.0/24', 'fd00:2::/64']\n";

/// Text behind [`HOME`] and [`SUBNETS`], its line from 8, field, part of what was found, part of what would be right.
type Case = (&'static str, usize, &'static str, &'static str, &'static str);

const WRONG: &[Case] = &[
    ("mtu = 1279", 8, "network.lab.mtu", "1279", "from 1280"),
    ("mtu = '1500'", 8, "network.lab.mtu", "\"1500\"", "a number"),
    ("segment = 'isp2'", 8, "network.lab.segment", "\"isp2\"", "\"isp\", the nearest"),
    ("segment = 'isp'", 8, "network.lab.segment", "\"isp\"", "a `vlan` beside it"),
    ("parallel_uplinks = []", 8, "network.lab.parallel_uplinks", "the field", "mode = \"bridged\""),
    // DHCP
    ("dhcp = 1", 8, "network.lab.dhcp", "1", "a table"),
    ("dhcp = { range = 5 }", 8, "network.lab.dhcp.range", "5", "the first and the last"),
    ("dhcp = { range = '10.0.0.9-10.0.0.5' }", 8, "network.lab.dhcp.range", "10.0.0.9-", "the first and"),
    (
        "dhcp = { range = '10.0.0.9-10.0.1.5' }",
        8,
        "network.lab.dhcp.range",
        "10.0.1.5",
        "10.0.0.1 to 10.0.0.254",
    ),
    ("dhcp = { range = '10.1.0.9-10.1.0.9' }", 8, "network.lab.dhcp.range", "10.1.0.9", "in 10.0.0.0/24"),
    ("dhcp = { range = '10.0.0.0-10.0.0.9' }", 8, "network.lab.dhcp.range", "10.0.0.0", "10.0.0.1 to"),
    ("dhcp = { range = '10.0.0.1-10.0.0.9' }", 8, "network.lab.dhcp.range", "10.0.0.1-", "without 10.0.0.1,"),
    ("dhcp = { lease = 60 }", 8, "network.lab.dhcp.lease", "60", "with its unit"),
    ("dhcp = { lease = '59s' }", 8, "network.lab.dhcp.lease", "59s", "from \"60s\""),
    ("dhcp = { lease = '3651d' }", 8, "network.lab.dhcp.lease", "3651d", "to \"3650d\""),
    ("dhcp = { lease = '60500ms' }", 8, "network.lab.dhcp.lease", "60500ms", "\"12h\""),
    ("dhcp = { routers = '10.0.0.9' }", 8, "network.lab.dhcp.routers", "10.0.0.9", "a list of at most 16"),
    ("dhcp = { routers = ['10.0.1.9'] }", 8, "network.lab.dhcp.routers", "10.0.1.9", "in 10.0.0.0/24"),
    ("dhcp = { dns_servers = ['x'] }", 8, "network.lab.dhcp.dns_servers[0]", "\"x\"", "an IPv4 address"),
    ("dhcp = { dns_servers = 1 }", 8, "network.lab.dhcp.dns_servers", "1", "a list of at most 16"),
    ("dhcp = { domain = 'a..b' }", 8, "network.lab.dhcp.domain", "a..b", "a domain's name"),
    ("dhcp = { search = ['-a'] }", 8, "network.lab.dhcp.search[0]", "-a", "a domain's name"),
    ("dhcp = { search = 'a' }", 8, "network.lab.dhcp.search", "\"a\"", "a list of at most 16"),
    ("dhcp = { ntp_servers = [1] }", 8, "network.lab.dhcp.ntp_servers[0]", "1", "an IPv4 address"),
    ("dhcp = { ntp_servers = 1 }", 8, "network.lab.dhcp.ntp_servers", "1", "a list of at most 16"),
    ("dhcp = { mtu = 67 }", 8, "network.lab.dhcp.mtu", "67", "from 68"),
    ("dhcp = { routes = 1 }", 8, "network.lab.dhcp.routes", "1", "a list of at most 16 tables"),
    (
        "dhcp = { routes = [{ to = '10.9.0.0/16' }] }",
        8,
        "network.lab.dhcp.routes[0].via",
        "nothing",
        "next router",
    ),
    (
        "dhcp = { routes = [{ to = '10.9.0.0/16', via = '10.0.1.1' }] }",
        8,
        "network.lab.dhcp.routes",
        "10.0.1.1",
        "in 10.0.0.0/24",
    ),
    (
        "dhcp = { routes = [{ to = '10.9.0.1/16', via = '10.0.0.9' }] }",
        8,
        "network.lab.dhcp.routes[0].to",
        "10.9.0.1/16",
        "10.9.0.0/16 would be right",
    ),
    ("dhcp = { boot = 1 }", 8, "network.lab.dhcp.boot", "1", "a table"),
    ("dhcp = { boot = { file = 'x' } }", 8, "network.lab.dhcp.boot.server", "nothing", "boot server's"),
    ("dhcp = { boot = { server = '10.0.0.9' } }", 8, "network.lab.dhcp.boot.file", "nothing", "at most 127"),
    (
        "dhcp = { boot = { server = '10.0.0.9', file = 'x', server_name = '' } }",
        8,
        "network.lab.dhcp.boot.server_name",
        "\"\"",
        "at most 63",
    ),
    // IPv6
    ("ra = 'on'", 8, "network.lab.ra", "\"on\"", "\"slaac\""),
    ("ra = 'stateful'", 8, "network.lab.ra", "\"stateful\"", "`dhcp6 = {}`"),
    ("dhcp6 = 1", 8, "network.lab.dhcp6", "1", "a table"),
    ("ra = 'slaac'\ndhcp6 = {}", 9, "network.lab.dhcp6", "the field", "ra = \"stateful\""),
    (
        "ra = 'stateless'\ndhcp6 = { range = 'none' }",
        9,
        "network.lab.dhcp6.range",
        "the field",
        "ra = \"stateful\"",
    ),
    ("dhcp6 = { range = 'fd00:3::1' }", 8, "network.lab.dhcp6.range", "fd00:3::1", "fd00:2::/64"),
    (
        "dhcp6 = { range = 'fd00:2::1-fd00:2::9' }",
        8,
        "network.lab.dhcp6.range",
        "fd00:2::1",
        "without fd00:2::1,",
    ),
    (
        "dhcp6 = { range = 'fd00:2::2-fd00:2::1:2' }",
        8,
        "network.lab.dhcp6.range",
        "fd00:2::2",
        "at most 65536",
    ),
    ("dhcp6 = { range = 1 }", 8, "network.lab.dhcp6.range", "1", "the first and the last"),
    ("dhcp6 = { lease = '1s' }", 8, "network.lab.dhcp6.lease", "1s", "from \"60s\""),
    ("dhcp6 = { dns_servers = ['10.0.0.1'] }", 8, "network.lab.dhcp6.dns_servers[0]", "10.0.0.1", "an IPv6"),
    ("dhcp6 = { dns_servers = 1 }", 8, "network.lab.dhcp6.dns_servers", "1", "at most 8"),
    ("dhcp6 = { search = 1 }", 8, "network.lab.dhcp6.search", "1", "a list of at most 16"),
    // names
    ("dns = 'x'", 8, "network.lab.dns", "\"x\"", "a table"),
    ("dns = { domain = 'a b' }", 8, "network.lab.dns.domain", "a b", "a domain's name"),
    ("dns = { upstream = [] }", 8, "network.lab.dns.upstream", "0 servers", "1 to 8"),
    ("dns = { upstream = ['9.9.9.9:0'] }", 8, "network.lab.dns.upstream[0]", "9.9.9.9:0", "a port if"),
    ("dns = { search = 'x' }", 8, "network.lab.dns.search", "\"x\"", "a list of at most 16"),
    ("dns = { hosts = 1 }", 8, "network.lab.dns.hosts", "1", "a table"),
    ("dns = { hosts = { 'a b' = '10.0.0.1' } }", 8, "network.lab.dns.hosts.a b", "a b", "a domain's name"),
    ("dns = { hosts = { a = 'b' } }", 8, "network.lab.dns.hosts.a", "\"b\"", "an address in quotes"),
    ("dns = { hosts = { a = [] } }", 8, "network.lab.dns.hosts.a", "0 addresses", "1 to 16"),
    ("metadata = 'unix:x'", 8, "network.lab.metadata", "unix:x", "absolute path"),
    ("metadata = '127.0.0.1'", 8, "network.lab.metadata", "127.0.0.1", "a port"),
    ("metadata = '0.0.0.0:80'", 8, "network.lab.metadata", "0.0.0.0:80", "like \"127.0.0.1:8775\""),
    // translation
    ("nat = 1", 8, "network.lab.nat", "1", "a table"),
    ("nat = { mapping = 'cone' }", 8, "network.lab.nat.mapping", "\"cone\"", "\"endpoint-independent\""),
    ("nat = { filtering = 'no' }", 8, "network.lab.nat.filtering", "\"no\"", "\"address-dependent\""),
    ("nat = { ports = 1024 }", 8, "network.lab.nat.ports", "1024", "in quotes"),
    ("nat = { ports = '1024-65024' }", 8, "network.lab.nat.ports", "1024-65024", "from 1 to 65023"),
    ("nat = { ports = '2-1' }", 8, "network.lab.nat.ports", "2-1", "a range of ports"),
    ("nat = { port_limit = 0 }", 8, "network.lab.nat.port_limit", "0", "from 1 to"),
    ("nat = { nptv6 = 1 }", 8, "network.lab.nat.nptv6", "1", "a list of tables"),
    (
        "nat = { nptv6 = [{ outside = '2001:db8::/64' }] }",
        8,
        "network.lab.nat.nptv6[0].inside",
        "nothing",
        "16 to 64",
    ),
    (
        "nat = { nptv6 = [{ inside = 'fd00:2::/64' }] }",
        8,
        "network.lab.nat.nptv6[0].outside",
        "nothing",
        "16 to 64",
    ),
    (
        "nat = { nptv6 = [{ inside = 'fd00:2::/64', outside = '2001:db8::/48' }] }",
        8,
        "network.lab.nat.nptv6[0].outside",
        "/48",
        "64 bits",
    ),
    (
        "nat = { nptv6 = [{ inside = 'fd00:3::/64', outside = '2001:db8::/64' }] }",
        8,
        "network.lab.nat.nptv6[0].inside",
        "fd00:3",
        "`subnets`",
    ),
    ("snat = 1", 8, "network.lab.snat", "1", "[[network.NAME.snat]]"),
    ("snat = [{ to = 'masquerade' }]", 8, "network.lab.snat[0].source", "nothing", "a prefix of IPv4"),
    (
        "snat = [{ source = 'fd00::/64', to = '192.0.2.1' }]",
        8,
        "network.lab.snat[0].source",
        "fd00",
        "of IPv4",
    ),
    ("snat = [{ source = '10.0.0.0/24' }]", 8, "network.lab.snat[0].to", "nothing", "\"masquerade\""),
    (
        "snat = [{ source = '10.0.0.0/24', to = '192.0.2.0-192.0.3.0' }]",
        8,
        "network.lab.snat[0].to",
        "192.0.2.0-",
        "at most 256",
    ),
    (
        "snat = [{ source = '10.0.0.0/8', to = '192.0.2.1' }, { source = '10.0.0.0/24', to = '192.0.2.2' }]",
        8,
        "network.lab.snat[1].source",
        "10.0.0.0/24",
        "rule 0",
    ),
    (
        "snat = [{ source = '10.0.0.0/24', to = '192.168.99.255' }]",
        8,
        "network.lab.snat",
        "192.168.99.255",
        "192.168.99.1 to 192.168.99.254",
    ),
    // ports
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.1.5']",
        10,
        "port.vm1.addresses",
        "10.0.1.5",
        "10.0.0.0/24, network.lab's",
    ),
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.1']",
        10,
        "port.vm1.addresses",
        "10.0.0.1",
        "gateway (line 7)",
    ),
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.255']",
        10,
        "port.vm1.addresses",
        "10.0.0.255",
        "to 10.0.0.254",
    ),
    ("mtu = 1500\n[port.vm1]\nnetwork = 'lab'\nmtu = 1400", 11, "port.vm1.mtu", "1400", "1500 at least"),
    ("[port.vm1]\nnetwork = 'lab'\nmtu = 1200", 10, "port.vm1.mtu", "1200", "1280 at least"),
    ("[port.vm1]\nnetwork = 'lab'\nfloating = 1", 10, "port.vm1.floating", "1", "an IPv4 address"),
    (
        "[port.vm1]\nnetwork = 'lab'\nfloating = '192.168.99.9'",
        10,
        "port.vm1.floating",
        "0 of them",
        "an IPv4 address",
    ),
    ("[port.vm1]\nnetwork = 'lab'\npublish = '80:80'", 10, "port.vm1.publish", "80:80", "a list like"),
    (
        "[port.vm1]\nnetwork = 'lab'\npublish = ['80']",
        10,
        "port.vm1.publish[0]",
        "\"80\"",
        "like \"10080:80/tcp\"",
    ),
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.108'",
        11,
        "port.vm1.floating",
        "192.168.99.108",
        "another address than uplink.isp (line 3)",
    ),
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = ['192.168.99.7', '192.168.99.8']",
        11,
        "port.vm1.floating",
        "1 of them",
        "2 IPv4 addresses",
    ),
    (
        "[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.7'\n\
         [port.b]\nnetwork = 'lab'\naddresses = ['10.0.0.6']\nfloating = '192.168.99.7'",
        15,
        "port.b.floating",
        "192.168.99.7",
        "port.a (line 11) has it",
    ),
    (
        "[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\npublish = ['80-90:80-90']\n\
         [port.b]\nnetwork = 'lab'\naddresses = ['10.0.0.6']\npublish = ['192.168.99.108:85:80']",
        15,
        "port.b.publish",
        "192.168.99.108:85:80/tcp",
        "port.a (line 11) has them",
    ),
    (
        "[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.7'\n\
         [port.b]\nnetwork = 'lab'\naddresses = ['10.0.0.6']\npublish = ['192.168.99.7:85:80']",
        15,
        "port.b.publish",
        "192.168.99.7:85:80/tcp",
        "all of it is port.a's (line 11)",
    ),
    (
        "snat = [{ source = '10.0.0.0/24', to = '192.168.99.7-192.168.99.9' }]\n\
         [port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.8'",
        8,
        "network.lab.snat",
        "192.168.99.7-192.168.99.9",
        "port.a (line 12) has 192.168.99.8",
    ),
    (
        "[network.b]\n[port.a]\nnetwork = 'b'\npublish = ['80:80']",
        11,
        "port.a.publish",
        "the field",
        "is isolated",
    ),
    // routers
    ("[router]\nvm1 = 1", 9, "router.vm1", "1", "a table"),
    ("[router.vm1]", 8, "router.vm1.networks", "nothing", "a list of networks' names"),
    ("[router.vm1]\nnetworks = []", 9, "router.vm1.networks", "no network", "a list of networks' names"),
    ("[router.vm1]\nnetworks = ['leb']", 9, "router.vm1.networks[0]", "\"leb\"", "\"lab\", the nearest"),
    (
        "[network.b]\n[router.r]\nnetworks = ['lab', 'b']",
        10,
        "router.r.networks",
        "\"b\"",
        "`subnets`: give network.b (line 8)",
    ),
    (
        "[network.b]\nsubnets = ['10.0.0.128/25']\n[router.r]\nnetworks = ['lab', 'b']",
        11,
        "router.r.networks",
        "\"b\"",
        "no address in common",
    ),
    (
        "[router.a]\nnetworks = ['lab']\n[router.b]\nnetworks = ['lab']",
        11,
        "router.b.networks",
        "\"lab\"",
        "router.a (line 8) has it",
    ),
    ("[router.vm1]\nnetworks = ['lab']\nroutes = 1", 10, "router.vm1.routes", "1", "a list of tables"),
    (
        "[router.vm1]\nnetworks = ['lab']\nroutes = [{ via = '10.0.0.9' }]",
        10,
        "router.vm1.routes[0].to",
        "nothing",
        "a prefix",
    ),
    (
        "[router.vm1]\nnetworks = ['lab']\nroutes = [{ to = '0.0.0.0/0' }]",
        10,
        "router.vm1.routes[0].via",
        "nothing",
        "the next router",
    ),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '::/0', via = '10.0.0.9' }]",
        10,
        "router.r.routes[0].via",
        "10.0.0.9",
        "of IPv6",
    ),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '10.9.0.0/16', via = '10.1.0.9' }]",
        10,
        "router.r.routes",
        "10.9.0.0/16 via 10.1.0.9",
        "in 10.0.0.0/24, fd00:2::/64, 192.168.99.0/24",
    ),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '10.9.0.0/16', via = '10.0.0.1' }]",
        10,
        "router.r.routes",
        "via 10.0.0.1",
        "a gateway of its own",
    ),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '10.0.0.0/24', via = '10.0.0.9' }]",
        10,
        "router.r.routes",
        "10.0.0.0/24 via",
        "none of the networks' own",
    ),
    // a network whose name that of an uplink's address has
    ("[network.isp]", 8, "network.isp", "the name \"isp\"", "uplink.isp (line 1)"),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '10.9.0.0/16', via = '10.0.0.9' }, { to = '10.9.0.0/16', via = \
         '10.0.0.8' }]",
        10,
        "router.r.routes[1].to",
        "10.9.0.0/16",
        "via 10.0.0.9 already",
    ),
];

/// Whole texts, likewise.
const ALONE: &[Case] = &[
    ("router = 1", 1, "router", "1", "a table"),
    (
        "[network.lab]\nmode = 'nat'\nsubnets = ['10.0.0.0/24']",
        1,
        "network.lab.uplink",
        "nothing",
        "whose address",
    ),
    ("[network.lab]\nmode = 'routed'", 1, "network.lab.subnets", "nothing", "like [\"10.0.0.0/24\"]"),
    ("[network.lab]\nsubnets = '10.0.0.0/24'", 2, "network.lab.subnets", "10.0.0.0/24", "a list of subnets"),
    ("[network.lab]\nsubnets = ['10.0.0.0']", 2, "network.lab.subnets[0]", "10.0.0.0", "the length of"),
    (
        "[network.lab]\nsubnets = ['10.0.0.0/24', '10.0.0.0/8']",
        2,
        "network.lab.subnets[1]",
        "10.0.0.0/8",
        "in common with 10.0.0.0/24",
    ),
    ("[network.lab]\ndhcp = {}", 2, "network.lab.dhcp", "the field", "`subnets` beside it"),
    ("[network.lab]\nmtu = 1500", 2, "network.lab.mtu", "the field", "`subnets` beside it"),
    (
        "[network.lab]\nsubnets = ['fd00::/64']\ndhcp = {}",
        3,
        "network.lab.dhcp",
        "the field",
        "a subnet of IPv4",
    ),
    (
        "[network.lab]\nsubnets = ['10.0.0.0/8']\nra = 'slaac'",
        3,
        "network.lab.ra",
        "the field",
        "a subnet of IPv6",
    ),
    ("[network.lab]\nsubnets = ['fd00::/80']\nra = 'slaac'", 3, "network.lab.ra", "slaac", "64 bits"),
    (
        "[network.lab]\nsubnets = ['10.0.0.0/8']\ndhcp6 = {}",
        3,
        "network.lab.dhcp6",
        "the field",
        "a subnet of IPv6",
    ),
    (
        "[network.lab]\nsubnets = ['10.0.0.0/8']\nnat = {}",
        3,
        "network.lab.nat",
        "the field",
        "mode = \"nat\"",
    ),
    (
        "[network.lab]\nsubnets = ['10.0.0.0/8']\nsnat = []",
        3,
        "network.lab.snat",
        "the field",
        "mode = \"nat\"",
    ),
    (
        "[uplink.vm1]\ninterface = 'x'\naddress = '192.0.2.1'",
        3,
        "uplink.vm1.address",
        "192.0.2.1",
        "\"dhcp\"",
    ),
    (
        "[uplink.vm1]\ninterface = 'x'\naddress = '192.0.2.0/24'",
        3,
        "uplink.vm1.address",
        "192.0.2.0",
        "192.0.2.1/24",
    ),
    ("[uplink.vm1]\ninterface = 'x'\naddress = []", 3, "uplink.vm1.address", "0 addresses", "1 to 16"),
    (
        "[uplink.vm1]\ninterface = 'x'\naddress = ['dhcp', '192.0.2.1/24']",
        3,
        "uplink.vm1.address",
        "both",
        "either \"dhcp\" or",
    ),
    (
        "[uplink.vm1]\ninterface = 'x'\ngateway = '192.0.2.1'",
        3,
        "uplink.vm1.gateway",
        "the field",
        "`address`",
    ),
    (
        "[uplink.vm1]\ninterface = 'x'\naddress = '192.0.2.2/24'\ngateway = '192.0.3.1'",
        4,
        "uplink.vm1.gateway",
        "192.0.3.1",
        "such as 192.0.2.0/24",
    ),
    (
        "[uplink.vm1]\ninterface = 'x'\naddress = '192.0.2.2/24'\ngateway = 'fd00::1'",
        4,
        "uplink.vm1.gateway",
        "fd00::1",
        "an `address` of IPv6",
    ),
    (
        "[uplink.vm1]\ninterface = 'x'\naddress = 'dhcp'\ngateway = '192.0.2.1'",
        4,
        "uplink.vm1.gateway",
        "192.0.2.1",
        "the DHCP server names it",
    ),
    (
        "[uplink.vm1]\ninterface = 'x'\naddress = '192.0.2.2/24'\ngateway = '192.0.2.2'",
        4,
        "uplink.vm1.gateway",
        "192.0.2.2",
        "not the uplink's own",
    ),
    (
        "[uplink.isp]\ninterface = 'x'\n[network.lab]\nmode = 'nat'\nuplink = 'isp'\nsubnets = ['10.0.0.0/24']",
        5,
        "network.lab.uplink",
        "\"isp\"",
        "give uplink.isp (line 1) one",
    ),
    (
        "[uplink.isp]\ninterface = 'x'\naddress = '10.0.0.9/8'\n[network.lab]\nmode = 'nat'\nuplink = 'isp'\nsubnets = \
         ['10.0.0.0/24']",
        7,
        "network.lab.subnets",
        "10.0.0.0/24",
        "in common with 10.0.0.0/8",
    ),
    (
        "[uplink.isp]\ninterface = 'x'\naddress = 'dhcp'\n[network.lab]\nmode = 'nat'\nuplink = 'isp'\nsubnets = ['fd00::/64']",
        7,
        "network.lab.subnets",
        "no subnet of IPv4",
        "mode = \"routed\"",
    ),
    (
        "[uplink.isp]\ninterface = 'x'\naddress = 'dhcp'\n[network.lab]\nmode = 'bridged'\nuplink = 'isp'\nsubnets = \
         ['10.0.0.0/8']\ndhcp = {}",
        4,
        "network.lab",
        "a gateway",
        "or a `vlan`: in this network is the address of uplink.isp",
    ),
];

pub(super) fn has_case(path: &str) -> bool {
    // An item of a list stands for all.
    let is_of = |field: &str| field.replace("[0]", "").replace("network.lab", "network.vm1") == path;
    WRONG.iter().chain(ALONE).any(|case| is_of(case.2))
}

#[test]
fn everything_that_does_not_go_together_is_told_once() {
    let mut missed = Vec::new();
    let texts = WRONG.iter().map(|case| (format!("{HOME}{SUBNETS}{}", case.0), case));
    for (text, (_, line, field, found, expected)) in
        texts.chain(ALONE.iter().map(|case| (case.0.to_owned(), case)))
    {
        let problems = wrong(&text);
        let is_told = problems.len() == 1
            && (problems[0].line, problems[0].field.as_str()) == (*line, *field)
            && problems[0].found.contains(found)
            && problems[0].expected.contains(expected);
        if !is_told {
            missed.push(format!("{text}\n{problems:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

#[test]
fn the_smallest_nat_network_gets_every_default() {
    let config =
        right(&format!("{HOME}{SUBNETS}dhcp = {{}}\ndns = {{}}\n[port.a]\nnetwork = 'lab'\nmtu = 1400"));
    let network = &config.networks["lab"];
    let gateway = &network.gateway;
    assert_eq!((network.way_out(), network.uplinks().count()), (Some("isp"), 0));
    assert!(config.has_gateway("lab") && config.is_routed("lab"));
    assert_eq!(config.mtu_of("lab"), 1400);
    let addresses: Vec<String> = gateway.subnets.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1/24", "fd00:2::1/64"]);
    let dhcp = gateway.dhcp.as_ref().unwrap();
    let whole = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 254));
    assert_eq!((dhcp.range, dhcp.lease_s, dhcp.subnet), (Some(whole), 43_200, gateway.subnets[0]));
    assert_eq!((&dhcp.routers, &dhcp.dns_servers, dhcp.mtu), (&None, &None, None));
    assert_eq!((gateway.advertising, &gateway.dhcp6), (Some(AdvertisingMode::Slaac), &None));
    assert_eq!(gateway.nat, NatOptions::default());
    assert_eq!((gateway.nat.ports, gateway.nat.mapping), ((1024, 65_023), Mapping::EndpointIndependent));
    let uplink = config.uplinks["isp"].addressing.as_ref().unwrap();
    assert_eq!(
        (uplink.address_v4(), uplink.gateway(Family::Ipv4)),
        (Some(Ipv4Addr::new(192, 168, 99, 108)), None)
    );
    assert!(uplink.has(Family::Ipv4) && !uplink.has(Family::Ipv6));
}

#[test]
fn a_network_has_a_gateway_where_one_is_needed() {
    let config = right(
        "[network.a]\nsubnets = ['10.1.0.0/24']\n[network.b]\nsubnets = ['10.2.0.0/24']\ndhcp = {}\n\
         [network.c]\nsubnets = ['10.3.0.9/24']\n[network.d]\nmode = 'routed'\nsubnets = ['10.4.0.0/24']\n[network.e]\n\
         [router.r]\nnetworks = ['c', 'd']",
    );
    let gateways = ["a", "b", "c", "d", "e"].map(|name| (config.has_gateway(name), config.is_routed(name)));
    assert_eq!(gateways, [(false, false), (true, false), (true, true), (true, true), (false, false)]);
    assert_eq!((config.mtu_of("e"), config.networks["d"].way_out()), (1500, None));
}

#[test]
fn everything_of_a_gateway_is_read_as_written() {
    let config = right(&format!(
        "{HOME}subnets = ['10.0.0.254/24', '10.5.0.0/16', 'fd00:2::/64']\nmtu = 1400\nsegment = 'wire'\nvlan = 10\n\
         dhcp = {{ range = '10.5.1.0-10.5.1.255', lease = '1h', routers = ['10.5.0.9'], dns_servers = [], domain = 'a.b', search = \
         ['c.d'], ntp_servers = ['10.0.0.3'], mtu = 1300, routes = [{{ to = '10.9.0.0/16', via = '10.5.0.8' }}], boot = {{ server = \
         '10.0.0.2', file = 'pxe' }} }}\ndhcp6 = {{ range = 'none', dns_servers = ['fd00::53'] }}\n\
         dns = {{ domain = 'Home.LAN', upstream = ['9.9.9.9', '[fd00::1]:5353'], search = ['lan'], hosts = {{ 'a.b' = '10.0.0.3', c = \
         ['10.0.0.4', 'fd00::4'] }} }}\nmetadata = '127.0.0.1:8775'\nnat = {{ filtering = 'endpoint-independent', port_limit = 500, \
         nptv6 = [{{ inside = 'fd00:2::/64', outside = '2001:db8::/64' }}] }}\n\
         snat = [{{ source = '172.16.99.0/24', to = '192.168.99.109-192.168.99.110' }}, {{ source = '10.0.0.0/24', \
         to = 'masquerade' }}]\n[uplink.wire]\ninterface = 'eth4'\n\
         [port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5', 'fd00:2::5', '10.5.0.5']\nfloating = ['192.168.99.7', '10.20.0.1']\n\
         publish = ['10080:80/tcp', '192.168.99.108:5353:53/udp', '8000-8010:9000-9010']"
    ));
    let network = &config.networks["lab"];
    let gateway = &network.gateway;
    assert_eq!(network.uplinks().collect::<Vec<_>>(), ["wire"]);
    let dhcp = gateway.dhcp.as_ref().unwrap();
    assert_eq!(dhcp.subnet.to_string(), "10.5.0.1/16");
    assert_eq!((dhcp.lease_s, dhcp.mtu, dhcp.dns_servers.as_deref()), (3600, Some(1300), Some(&[][..])));
    assert_eq!((dhcp.routes.len(), dhcp.boot.as_ref().unwrap().file.as_str()), (1, "pxe"));
    let dhcp6 = gateway.dhcp6.as_ref().unwrap();
    assert_eq!((gateway.advertising, dhcp6.range), (Some(AdvertisingMode::Stateful), None));
    let dns = gateway.dns.as_ref().unwrap();
    let upstream: Vec<String> = dns.upstream.iter().map(ToString::to_string).collect();
    assert_eq!(
        (upstream.as_slice(), dns.domain.as_ref().unwrap().as_str()),
        (&["9.9.9.9:53".to_owned(), "[fd00::1]:5353".to_owned()][..], "home.lan")
    );
    assert_eq!(dns.hosts.values().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(gateway.metadata, Some(Metadata::Tcp("127.0.0.1:8775".parse().unwrap())));
    let rules: Vec<String> = gateway.source_rules.iter().map(ToString::to_string).collect();
    let first = "172.16.99.0/24 to 192.168.99.109-192.168.99.110";
    assert_eq!(rules, [first, "10.0.0.0/24 to masquerade"]);
    let port = &config.ports["a"];
    let stations: Vec<Ipv4Addr> = port.addresses_in(network).collect();
    assert_eq!(stations, [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 5, 0, 5)]);
    assert_eq!((port.floating.len(), port.publish.len()), (2, 3));
    assert_eq!(port.publish[2].inside, (9000, 9010));
}

#[test]
fn what_has_no_effect_yet_is_told_where_it_is_written() {
    let loaded = parse(format!("{HOME}{SUBNETS}").as_bytes(), "x.toml", &TestHost).unwrap();
    let unserved: Vec<&String> =
        loaded.warnings.iter().filter(|line| line.contains("nothing acts on it")).collect();
    let fields = [(&schema::UPLINK, "address"), (&schema::NETWORK, "subnets")];
    let expected =
        fields.iter().filter(|(table, name)| table.field(name).unwrap().support == Support::Unserved);
    assert_eq!(unserved.len(), expected.count(), "{unserved:?}");
}

#[test]
fn addresses_without_port_security_are_leases_where_there_are_subnets() {
    let text = |network: &str| {
        format!(
            "[network.n]\n{network}[port.a]\nnetwork = 'n'\nport_security = false\naddresses = ['10.0.0.5']\n"
        )
    };
    let port = right(&text("subnets = ['10.0.0.0/24']\n")).ports["a"].clone();
    assert_eq!((port.security, port.addresses), (None, vec![IpAddr::from([10, 0, 0, 5])]));
    let problems = wrong(&text(""));
    assert!(problems[0].expected.contains("`subnets`"), "{problems:?}");
}

proptest::proptest! {
    /// Whatever stands in a field is read, or refused with its place; nothing panics.
    #[test]
    fn any_value_of_any_field_is_read_or_refused(
        field in 0..200_usize,
        value in "('[0-9a-f:./ -]{0,40}'|\\['[0-9./:-]{0,20}', '[0-9./:-]{0,20}'\\]|-?[0-9]{1,20}|true|\\{\\}|\\[\\])",
    ) {
        let all: Vec<(&str, &str)> = schema::TABLES[1..]
            .iter()
            .flat_map(|table| table.fields.iter().map(move |field| (table.heading, field.name)))
            .collect();
        let (heading, name) = all[field % all.len()];
        let heading = heading.replace("NAME", "lab");
        let text = format!("[{heading}]\n{name} = {value}\n");
        for text in [text.clone(), text.replace(&format!("[{heading}]"), &format!("[[{heading}]]")), format!("{HOME}{SUBNETS}{text}")] {
            if let Err(error) = parse(text.as_bytes(), "x.toml", &TestHost) {
                proptest::prop_assert!(error.problems().iter().all(|problem| problem.line > 0), "{error}");
            }
        }
    }
}
