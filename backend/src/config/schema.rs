//! The fields that exist, as data: the reader refuses all others, and the documentation is compared to it.

mod qos;

pub use qos::{QOS, QOS_CLASS, QOS_FILTER, QOS_INGRESS, QOS_MAP, QOS_QUEUE, QOS_SET};

/// Whether this version can do what a field asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// Yes.
    Now,
    /// It is read and checked, but nothing acts on it yet: who writes it is warned.
    Unserved,
    /// No: writing the field is an error that says so, because ignoring it would betray its author.
    Later,
}

/// One field of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What values it takes.
    pub values: &'static str,
    /// What holds where it is left out; empty if it must be written.
    pub default: &'static str,
    /// Whether this version can do it.
    pub support: Support,
}

/// One table, or one kind of tables that are keyed by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Its heading in the file; `NAME` stands for a name that the user gives.
    pub heading: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

impl Table {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names of the fields that this version reads.
    pub fn names_now(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.fields.iter().filter(|field| field.support != Support::Later).map(|field| field.name)
    }
}

const fn now(name: &'static str, values: &'static str, default: &'static str) -> Field {
    Field { name, values, default, support: Support::Now }
}

/// A field that is read, and has no effect yet.
#[allow(dead_code, reason = "at times there is none")]
const fn unserved(name: &'static str, values: &'static str, default: &'static str) -> Field {
    Field { name, values, default, support: Support::Unserved }
}

const fn later(name: &'static str) -> Field {
    Field { name, values: "", default: "", support: Support::Later }
}

/// The file's top level.
pub const TOP: Table = Table {
    heading: "",
    fields: &[
        now("switch", "a table", "all defaults"),
        now("network", "a table for each network", "none"),
        now("port", "a table for each port", "none"),
        now("uplink", "a table for each uplink", "none"),
        now("group", "a table for each security group", "none"),
        now("address_group", "a table for each address group", "none"),
        now("router", "a table for each router", "none"),
        now("qos", "a table for each QoS", "none"),
    ],
};

/// `[switch]`
pub const SWITCH: Table = Table {
    heading: "switch",
    fields: &[
        now("runtime_dir", "an absolute path of at most 92 bytes", "\"/run/viaduct\""),
        now("state_dir", "an absolute path", "\"/var/lib/viaduct\""),
        now("cpus", "a list of processor numbers", "[0]"),
        now("polling", "\"adaptive\", \"busy\", \"interrupt\"", "\"adaptive\""),
        now("verify_flow_cache", "true or false", "false"),
        now("socket_mode", "octal permissions as a text", "\"0660\""),
        now("socket_group", "a group of this machine", "\"kvm\""),
        now("api_mode", "octal permissions as a text", "\"0600\""),
        now("api_group", "a group of this machine", "none"),
        now("api_listen", "an address and a port", "none"),
        now("api_listen_public", "true or false", "false"),
        now("storm", "a table like `[port.NAME.storm]`", "the defaults there"),
        now("connections", "a number from 1024 to 4194304", "262144"),
        now("sandbox", "\"on\", \"off\"", "\"on\""),
        now("namespaces", "true or false", "whether one is at the start"),
    ],
};

/// `[network.NAME]`
pub const NETWORK: Table = Table {
    heading: "network.NAME",
    fields: &[
        now("mode", "\"isolated\", \"bridged\", \"nat\", \"routed\"", "\"isolated\""),
        now("uplink", "an uplink's name", "none"),
        now("segment", "an uplink's name", "none"),
        now("parallel_uplinks", "a list of uplinks' names", "[]"),
        now("stp", "\"off\", \"stp\", \"rstp\"", "\"off\""),
        now("stp_priority", "a multiple of 4096 from 0 to 61440", "32768"),
        now("stp_hello_time", "\"1s\", \"2s\"", "\"2s\""),
        now("stp_max_age", "a duration from \"6s\" to \"40s\"", "\"20s\""),
        now("stp_forward_delay", "a duration from \"4s\" to \"30s\"", "\"15s\""),
        now("ageing", "a duration from \"10s\" to \"1000000s\"", "\"300s\""),
        now("multicast_snooping", "true, false", "true"),
        now("multicast_membership", "a duration from \"10s\" to \"10000s\"", "\"260s\""),
        now("multicast_fast_leave", "true, false", "false"),
        now("vlan", "a VLAN id from 1 to 4094", "none"),
        now("inner_tags", "true, false", "false"),
        now("tenant", "a name", "the network's own"),
        now("subnets", "a list of 1 to 8 subnets", "none"),
        now("mtu", "a number from 68 to 65535", "the least of its ports'"),
        now("dhcp", "a table", "none"),
        now(
            "ra",
            "\"off\", \"slaac\", \"stateless\", \"stateful\"",
            "slaac where packets leave by the gateway, stateful beside dhcp6",
        ),
        now("dhcp6", "a table", "none"),
        now("dns", "a table", "none"),
        now("metadata", "\"unix:\" and a path, an address and a port, or a table", "none"),
        now("nat", "a table", "the defaults there"),
        now("snat", "a list of tables", "[]"),
        now("overlay", "a table", "none"),
        now("arp_suppression", "true, false", "false"),
        now("static", "a list of tables", "[]"),
        later("qos"),
    ],
};

/// `[network.NAME.overlay]`
pub const OVERLAY: Table = Table {
    heading: "network.NAME.overlay",
    fields: &[
        now("kind", "\"vxlan\", \"geneve\", \"gre\"", ""),
        now("uplink", "an uplink's name", ""),
        now("vni", "a number from 0 to 16777215", "must be written but with gre"),
        now("key", "a number from 0 to 4294967295", "must be written with gre"),
        now("group", "a multicast address", "none"),
        now("peers", "a list of addresses", "none"),
        now("port", "a number from 1 to 65535", "4789 with vxlan, 6081 with geneve"),
        now("ttl", "a number from 1 to 255", "64"),
        now("udp_checksum", "true, false", "false over IPv4, true over IPv6"),
        now("learning", "true, false", "true"),
        now("known_vteps_only", "true, false", "false"),
    ],
};

/// `[[network.NAME.static]]`
pub const STATIC: Table = Table {
    heading: "network.NAME.static",
    fields: &[
        now("mac", "an Ethernet address", ""),
        now("address", "an IP address, or a list of them", "[]"),
        now("vtep", "an IP address", ""),
    ],
};

/// `[port.NAME]`
pub const PORT: Table = Table {
    heading: "port.NAME",
    fields: &[
        now("network", "a network's name", "none"),
        now("native", "a network's name", "none"),
        now("trunk", "a list of networks' names or patterns", "none"),
        now("service_vlan", "a VLAN id from 1 to 4094", "none"),
        now("tag_types", "a list of \"0x88a8\", \"0x9100\"", "[]"),
        now("priority", "a number from 0 to 7", "0"),
        now("type", "\"vhost-user\", \"veth\", \"tap\", \"af-packet\", \"af-xdp\"", "\"vhost-user\""),
        now("interface", "an interface's name", "none"),
        now("netns", "a name, an absolute path or a process's number", "the daemon's own"),
        now("gro", "true, false", "true"),
        now("socket", "an absolute path of at most 106 bytes", "runtime_dir/NAME.sock"),
        now("role", "\"server\", \"client\"", "\"server\""),
        now("mac", "an Ethernet address", "52:54:00 and a hash of NAME"),
        now("queues", "a number from 1 to 128", "1"),
        now("mtu", "a number from 68 to 65535", "1500"),
        now("storm", "a table", "as under [switch]"),
        now("new_connections", "connections a second", "\"50kcps\""),
        now("judged_packets", "packets a second", "\"100kpps\""),
        now("multicast_router", "true, false", "false"),
        now("port_security", "true, false", "true beside addresses, pairs or groups, else false"),
        now("addresses", "a list of IP addresses", "[]"),
        now("allowed_address_pairs", "a list of tables", "[]"),
        now("trusted", "true, false", "false"),
        now("groups", "a list of groups' names", "[\"default\"], if there is such a group"),
        now("qos", "a QoS's name", "none"),
        now("floating", "an IPv4 address, or a list of them", "[]"),
        now("publish", "a list of ports", "[]"),
    ],
};

/// `[uplink.NAME]`
pub const UPLINK: Table = Table {
    heading: "uplink.NAME",
    fields: &[
        now("interface", "an interface's name", "none"),
        now("interfaces", "a list of interfaces' names", "none"),
        now("bond", "a table", "none"),
        now("lldp", "true, false", "false"),
        now("netns", "a name, an absolute path or a process's number", "the daemon's own"),
        now("driver", "\"auto\", \"af-packet\", \"af-xdp\", \"tap\"", "\"auto\""),
        now("queues", "a number from 1 to 16", "one, or with AF_XDP the interface's"),
        now("gro", "true, false", "true"),
        now("mtu", "a number from 68 to 65535", "the interface's"),
        now("storm", "a table like `[port.NAME.storm]`", "twice what a port may send"),
        now("new_connections", "connections a second", "\"unlimited\""),
        now("judged_packets", "packets a second", "\"unlimited\""),
        now("multicast_router", "true, false", "true"),
        now("service_vlan", "a VLAN id from 1 to 4094", "none"),
        now("tag_types", "a list of \"0x88a8\", \"0x9100\"", "[]"),
        now("priority", "a number from 0 to 7", "0"),
        now("stp_cost", "a number from 1 to 200000000", "by the link's speed"),
        now("stp_priority", "a multiple of 16 from 0 to 240", "128"),
        now("stp_edge", "\"auto\", \"yes\", \"no\"", "\"auto\""),
        now("address", "addresses with a prefix length, or \"dhcp\"", "none"),
        now("gateway", "an address, or one of each version of IP", "none"),
        now("qos", "a QoS's name", "none"),
    ],
};

/// `[uplink.NAME.bond]`
pub const BOND: Table = Table {
    heading: "uplink.NAME.bond",
    fields: &[
        now("mode", "\"active-backup\", \"balance\", \"lacp\"", "\"active-backup\""),
        now("hash", "\"layer2\", \"layer2+3\", \"layer3+4\"", "\"layer2+3\""),
        now("rate", "\"slow\", \"fast\"", "\"slow\""),
        now("fallback", "true, false", "false"),
        now("primary", "one of the interfaces' names", "none"),
        now("primary_reselect", "\"failure\", \"better\", \"always\"", "\"failure\""),
        now("up_delay", "a duration from \"0ms\" to \"1h\"", "\"0ms\""),
        now("down_delay", "a duration from \"0ms\" to \"1h\"", "\"0ms\""),
        now("arp_targets", "a list of IPv4 addresses", "none"),
        now("arp_interval", "a duration from \"50ms\" to \"1m\"", "\"200ms\""),
        now("arp_missed", "a number from 1 to 100", "2"),
        now("arp_source", "an IPv4 address", "\"0.0.0.0\""),
    ],
};

const FRAME_RATE: &str = "frames a second from \"1pps\" to \"10mpps\", or \"unlimited\"";

/// `[port.NAME.storm]`, and the same under `[switch]`
pub const STORM: Table = Table {
    heading: "port.NAME.storm",
    fields: &[
        now("broadcast", FRAME_RATE, "\"10kpps\""),
        now("multicast", FRAME_RATE, "\"100kpps\""),
        now("unknown_unicast", FRAME_RATE, "\"100kpps\""),
    ],
};

/// An item of a port's `allowed_address_pairs`.
pub const ADDRESS_PAIR: Table = Table {
    heading: "port.NAME.allowed_address_pairs",
    fields: &[
        now("address", "an IP address or a prefix", ""),
        now("mac", "an Ethernet address", "the port's"),
    ],
};

/// `[group.NAME]`
pub const GROUP: Table = Table {
    heading: "group.NAME",
    fields: &[
        now("stateful", "true, false", "true"),
        now("egress", "\"all\", \"rules\"", "\"all\""),
        now("rules", "a list of tables", "[]"),
    ],
};

/// An item of a group's `rules`.
pub const RULE: Table = Table {
    heading: "group.NAME.rules",
    fields: &[
        now("direction", "\"ingress\", \"egress\"", ""),
        now("ethertype", "\"ipv4\", \"ipv6\"", "what protocol and remote leave open"),
        now("protocol", "a name or a number from 0 to 255", "any"),
        now("ports", "a port or a range", "any"),
        now("type", "a number from 0 to 255", "any"),
        now("code", "a number from 0 to 255", "any"),
        now("remote", "a prefix or an IP address", "anybody"),
        now("remote_group", "a group's name", "none"),
        now("remote_address_group", "an address group's name", "none"),
    ],
};

/// `[address_group.NAME]`
pub const ADDRESS_GROUP: Table = Table {
    heading: "address_group.NAME",
    fields: &[now("addresses", "a list of prefixes and IP addresses", "")],
};

/// `[network.NAME.dhcp]`
pub const DHCP: Table = Table {
    heading: "network.NAME.dhcp",
    fields: &[
        now("range", "a range of IPv4 addresses, or \"none\"", "the whole subnet"),
        now("lease", "a duration from \"60s\" to \"3650d\"", "\"12h\""),
        now("routers", "a list of IPv4 addresses", "the gateway"),
        now("dns_servers", "a list of IPv4 addresses", "the gateway"),
        now("domain", "a domain's name", "that under dns"),
        now("search", "a list of domains", "that under dns"),
        now("ntp_servers", "a list of IPv4 addresses", "[]"),
        now("mtu", "a number from 68 to 65535", "the network's"),
        now("routes", "a list of tables", "[]"),
        now("boot", "a table", "none"),
    ],
};

/// An item of a network's `dhcp.routes`.
pub const DHCP_ROUTE: Table = Table {
    heading: "network.NAME.dhcp.routes",
    fields: &[now("to", "a prefix of IPv4", ""), now("via", "an IPv4 address", "")],
};

/// `[network.NAME.dhcp.boot]`
pub const DHCP_BOOT: Table = Table {
    heading: "network.NAME.dhcp.boot",
    fields: &[
        now("server", "an IPv4 address", ""),
        now("file", "a text of at most 127 bytes", ""),
        now("server_name", "a text of at most 63 bytes", "none"),
    ],
};

/// `[network.NAME.dhcp6]`
pub const DHCP6: Table = Table {
    heading: "network.NAME.dhcp6",
    fields: &[
        now("range", "a range of IPv6 addresses, or \"none\"", "the subnet's last 65,536"),
        now("lease", "a duration from \"60s\" to \"3650d\"", "\"12h\""),
        now("dns_servers", "a list of IPv6 addresses", "the gateway"),
        now("search", "a list of domains", "that under dns"),
        now("ntp_servers", "a list of IPv6 addresses", "[]"),
        now("boot_url", "a URL of at most 255 bytes", "none"),
    ],
};

/// `[network.NAME.dns]`
pub const DNS: Table = Table {
    heading: "network.NAME.dns",
    fields: &[
        now("domain", "a domain's name", "none"),
        now("upstream", "1 to 8 name servers", "the uplink's, if DHCP told of some, else this machine's own"),
        now("via", "\"uplink\", \"host\"", "uplink where packets leave by one"),
        now("search", "a list of domains", "the domain"),
        now("hosts", "a table of names and addresses", "none"),
    ],
};

/// `[network.NAME.metadata]`
pub const METADATA: Table = Table {
    heading: "network.NAME.metadata",
    fields: &[
        now("to", "\"unix:\" and a path, or an address and a port", ""),
        now("proxy_protocol", "true, false", "true"),
    ],
};

/// `[network.NAME.nat]`
pub const NAT: Table = Table {
    heading: "network.NAME.nat",
    fields: &[
        now(
            "mapping",
            "\"endpoint-independent\", \"address-and-port-dependent\"",
            "\"endpoint-independent\"",
        ),
        now(
            "filtering",
            "\"endpoint-independent\", \"address-dependent\", \"address-and-port-dependent\"",
            "\"address-dependent\"",
        ),
        now("ports", "a range of ports", "\"1024-65023\""),
        now("port_limit", "a number from 1 to 65535", "none"),
        now("nptv6", "a list of tables", "[]"),
    ],
};

/// An item of a network's `nat.nptv6`.
pub const NPTV6: Table = Table {
    heading: "network.NAME.nat.nptv6",
    fields: &[now("inside", "a prefix of IPv6", ""), now("outside", "a prefix of IPv6", "")],
};

/// `[[network.NAME.snat]]`
pub const SNAT: Table = Table {
    heading: "network.NAME.snat",
    fields: &[
        now("source", "a prefix of IPv4", ""),
        now("to", "an IPv4 address, a range of them, a list of both, \"masquerade\" or \"keep\"", ""),
    ],
};

/// `[router.NAME]`
pub const ROUTER: Table = Table {
    heading: "router.NAME",
    fields: &[now("networks", "a list of networks' names", ""), now("routes", "a list of tables", "[]")],
};

/// An item of a router's `routes`.
pub const ROUTE: Table = Table {
    heading: "router.NAME.routes",
    fields: &[now("to", "a prefix", ""), now("via", "an IP address", "")],
};

/// All tables.
pub const TABLES: &[&Table] = &[
    &TOP,
    &SWITCH,
    &NETWORK,
    &DHCP,
    &DHCP_ROUTE,
    &DHCP_BOOT,
    &DHCP6,
    &DNS,
    &METADATA,
    &NAT,
    &NPTV6,
    &SNAT,
    &OVERLAY,
    &STATIC,
    &ROUTER,
    &ROUTE,
    &PORT,
    &UPLINK,
    &BOND,
    &STORM,
    &QOS,
    &QOS_INGRESS,
    &QOS_SET,
    &QOS_MAP,
    &QOS_CLASS,
    &QOS_QUEUE,
    &QOS_FILTER,
    &ADDRESS_PAIR,
    &GROUP,
    &RULE,
    &ADDRESS_GROUP,
];
