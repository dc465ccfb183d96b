//! Whole texts: networks without a way out, subnets and uplinks' addresses.

use super::Told;

/// Whole texts.
pub(super) const ALONE: &[Told] = &[
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
    // One mistake, told once.
    (
        "[uplink.isp]\ninterface = 'x'\naddress = '192.0.2.1'\ngateway = '192.0.2.9'\n[network.lab]\nmode = 'nat'\nuplink = \
         'isp'\nsubnets = ['10.0.0.0/24']",
        3,
        "uplink.isp.address",
        "192.0.2.1",
        "\"192.168.99.108/24\"",
    ),
    (
        "[uplink.isp]\ninterface = 'x'\naddress = '192.0.2.1/24'\n[network.lab]\nmode = 'NAT'\nuplink = 'isp'\nsubnets = \
         ['10.0.0.0/24']",
        5,
        "network.lab.mode",
        "\"NAT\"",
        "\"nat\"?",
    ),
    (
        "[uplink.isp]\ninterface = 'x'\naddress = '192.0.2.1/24'\n[network.lab]\nuplink = 'isp'",
        5,
        "network.lab.uplink",
        "the field",
        "mode = \"bridged\", \"nat\"",
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
