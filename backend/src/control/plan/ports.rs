//! In what ports and uplinks differ, in words.

use viaduct_switch::{FrameRate, JudgeLimits, StormLimits};

use super::{addresses, difference, written_groups, written_vlan};
use crate::config::{
    Interface, Port, PortSecurity, Qos, Uplink, VhostUser, type_name, written_limit, written_limit_in,
    written_marking, written_tag_types,
};

fn storm_differences(running: &StormLimits, wanted: &StormLimits) -> [Option<String>; 3] {
    let limit = |what, running: Option<FrameRate>, wanted: Option<FrameRate>| {
        difference(what, written_limit(running), written_limit(wanted))
    };
    [
        limit("storm.broadcast", running.broadcast, wanted.broadcast),
        limit("storm.multicast", running.multicast, wanted.multicast),
        limit("storm.unknown_unicast", running.unknown_unicast, wanted.unknown_unicast),
    ]
}

fn judging_differences(running: JudgeLimits, wanted: JudgeLimits) -> [Option<String>; 2] {
    let limit = |what, unit, running, wanted| {
        difference(what, written_limit_in(running, unit), written_limit_in(wanted, unit))
    };
    [
        limit("new_connections", "cps", running.new_connections, wanted.new_connections),
        limit("judged_packets", "pps", running.judged_packets, wanted.judged_packets),
    ]
}

/// A QoS by its name.
fn named(qos: Option<&String>) -> &str {
    qos.map_or("none", String::as_str)
}

pub(super) fn qos_differences(running: &Qos, wanted: &Qos) -> Vec<String> {
    let ingress = |qos: &Qos| qos.ingress.map_or("none".to_owned(), |police| police.to_string());
    let tree = |qos: &Qos| qos.tree.as_ref().map_or("none".to_owned(), ToString::to_string);
    let marking = |qos: &Qos| qos.marking.as_deref().map_or("trust both".to_owned(), written_marking);
    let mut differences: Vec<String> = [
        difference("ingress", ingress(running), ingress(wanted)),
        difference("marking", marking(running), marking(wanted)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if running.tree != wanted.tree {
        let words = difference("tree", tree(running), tree(wanted));
        differences.push(words.unwrap_or_else(|| "tree: other classes, queues or filters".to_owned()));
    }
    differences
}

fn written_queues(interface: Option<&Interface>) -> String {
    let queues = interface.and_then(|interface| interface.queues);
    queues.map_or("default".to_owned(), |queues| queues.to_string())
}

fn interface_differences(running: Option<&Interface>, wanted: Option<&Interface>) -> [Option<String>; 5] {
    let of = |interface: Option<&Interface>, what: fn(&Interface) -> String| {
        interface.map_or("none".to_owned(), what)
    };
    let differ = |name, what| difference(name, of(running, what), of(wanted, what));
    [
        differ("interface", |interface| interface.name.clone()),
        differ("netns", |interface| {
            interface.netns.as_ref().map_or("none".to_owned(), |path| path.display().to_string())
        }),
        differ("driver", |interface| interface.driver.name().to_owned()),
        difference("queues", written_queues(running), written_queues(wanted)),
        // What is no interface has none, and nothing to change.
        difference("gro", running.is_none_or(|one| one.gro), wanted.is_none_or(|one| one.gro)),
    ]
}

pub(super) fn uplink_differences(running: &Uplink, wanted: &Uplink) -> Vec<String> {
    let mtu = |uplink: &Uplink| uplink.mtu.map_or("the interface's".to_owned(), |mtu| mtu.to_string());
    let types = |uplink: &Uplink| written_tag_types(uplink.tag_types);
    let cost = |uplink: &Uplink| uplink.stp.cost.map_or("auto".to_owned(), |cost| cost.to_string());
    let own = [
        difference("service_vlan", written_vlan(running.service_vlan), written_vlan(wanted.service_vlan)),
        difference("tag_types", types(running), types(wanted)),
        difference("priority", running.priority.code_point(), wanted.priority.code_point()),
        difference("mtu", mtu(running), mtu(wanted)),
        difference("multicast_router", running.multicast_router, wanted.multicast_router),
        difference("stp_cost", cost(running), cost(wanted)),
        difference("stp_priority", running.stp.priority, wanted.stp.priority),
        difference("stp_edge", running.stp.edge_name(), wanted.stp.edge_name()),
        difference("bond", written_bond(running), written_bond(wanted)),
        difference("lldp", running.lldp, wanted.lldp),
        difference("qos", named(running.qos.as_ref()), named(wanted.qos.as_ref())),
    ];
    interface_differences(Some(&running.interface), Some(&wanted.interface))
        .into_iter()
        .chain(own)
        .chain(storm_differences(&running.storm, &wanted.storm))
        .chain(judging_differences(running.judging, wanted.judging))
        .chain(addresses::uplink_differences(running, wanted))
        .flatten()
        .collect()
}

fn security_differences(
    running: Option<&PortSecurity>,
    wanted: Option<&PortSecurity>,
) -> [Option<String>; 3] {
    let listed = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(" ") };
    let pairs = |security: Option<&PortSecurity>| {
        listed(security.iter().flat_map(|security| &security.pairs).map(ToString::to_string).collect())
    };
    let trusted = |security: Option<&PortSecurity>| security.is_some_and(|security| security.trusted);
    let state = |security: Option<&PortSecurity>| {
        security.map_or("off".to_owned(), |security| format!("of {}", security.mac))
    };
    [
        difference("port_security", state(running), state(wanted)),
        difference("allowed_address_pairs", pairs(running), pairs(wanted)),
        difference("trusted", trusted(running), trusted(wanted)),
    ]
}

/// A bond in one line.
fn written_bond(uplink: &Uplink) -> String {
    let Some(bond) = &uplink.bond else { return "none".to_owned() };
    let primary = bond.primary.as_deref().unwrap_or("none");
    let probing = bond.probing.as_ref().map_or(String::new(), |probing| {
        let targets: Vec<String> = probing.targets.iter().map(ToString::to_string).collect();
        let (interval_ms, missed) = (probing.interval.as_millis(), probing.missed);
        format!(
            ", arp_targets {} each {interval_ms}ms from {}, arp_missed {missed}",
            targets.join("+"),
            probing.source
        )
    });
    format!(
        "{} of {} by {}, rate {}, fallback {}, primary {primary}, primary_reselect {}, up_delay {}ms, down_delay {}ms{probing}",
        bond.mode.name(),
        bond.interfaces.join("+"),
        bond.hash_name(),
        bond.rate_name(),
        bond.fallback,
        bond.reselect_name(),
        bond.up_delay.as_millis(),
        bond.down_delay.as_millis()
    )
}

pub(super) fn port_differences(running: &Port, wanted: &Port) -> Vec<String> {
    let of = |port: &Port, what: fn(&VhostUser) -> String| port.vhost_user().map_or("none".to_owned(), what);
    let differ = |name, what| difference(name, of(running, what), of(wanted, what));
    let kinds = [&running.attachment, &wanted.attachment].map(type_name);
    let ends = [
        difference("network", &running.membership, &wanted.membership),
        difference("priority", running.priority.code_point(), wanted.priority.code_point()),
        difference("type", kinds[0], kinds[1]),
        differ("socket", |end| end.socket.display().to_string()),
        differ("role", |end| end.role.name().to_owned()),
        differ("mac", |end| end.mac.to_string()),
        differ("queues", |end| end.queues.to_string()),
        difference("mtu", running.mtu, wanted.mtu),
    ];
    let router = difference("multicast_router", running.multicast_router, wanted.multicast_router);
    let qos = difference("qos", named(running.qos.as_ref()), named(wanted.qos.as_ref()));
    let security = security_differences(running.security.as_ref(), wanted.security.as_ref());
    // The driver is what the type says.
    let [interface, netns, _, queues, gro] = interface_differences(running.interface(), wanted.interface());
    ends.into_iter()
        .chain([interface, netns, queues, gro])
        .chain(storm_differences(&running.storm, &wanted.storm))
        .chain(judging_differences(running.judging, wanted.judging))
        .chain([router, qos])
        .chain(security)
        .chain(addresses::port_differences(running, wanted))
        .chain([difference("groups", written_groups(running), written_groups(wanted))])
        .flatten()
        .collect()
}
