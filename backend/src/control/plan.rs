//! The difference between what runs and what is wanted: data only.

mod addresses;
mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use viaduct_switch::ids::{NETWORKS_MAX, PORTS_MAX};
use viaduct_switch::spanning_tree::TreeSettings;
use viaduct_switch::{FrameRate, JudgeLimits, StormLimits, VlanId};

use crate::config::spanning_tree::kind_name;
use crate::config::{
    Config, Interface, Network, Port, PortSecurity, Role, SwitchSettings, Uplink, VhostUser, type_name,
    written_limit, written_limit_in, written_tag_types,
};
use crate::control::interface::Wanted;
use crate::control::{ApplyError, Change, ChangeKind};
pub(super) use groups::written_groups;
use groups::{group_differences, item_differences};

/// What has to be done with a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Make it.
    Add,
    /// Take it away.
    Remove,
    /// Take it away and make it anew: its socket or its queues are others.
    Replace,
    /// Change it while its guest runs.
    Adjust,
}

/// What has to be done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    /// For people: networks before ports, by name.
    pub(super) changes: Vec<Change>,
    /// Guests' ports that do not stay as they are, by name.
    pub(super) ports: BTreeMap<String, Step>,
    /// The same for uplinks and ports that are interfaces.
    pub(super) interfaces: BTreeMap<String, Step>,
}

/// Compares a running configuration with a wanted one.
///
/// # Errors
/// What cannot run, or not without a restart.
pub(super) fn diff(running: &Config, wanted: &Config) -> Result<Plan, ApplyError> {
    check_restart(&running.switch, &wanted.switch)?;
    check(wanted)?;
    let mut plan = Plan::default();
    let settings = switch_differences(&running.switch, &wanted.switch);
    plan.note(ChangeKind::Changed, "switch".to_owned(), settings);
    for name in names(&running.networks, &wanted.networks) {
        let (running, wanted) = (running.networks.get(name), wanted.networks.get(name));
        plan.object("network", name, (running, wanted), network_differences);
    }
    for name in names(&running.uplinks, &wanted.uplinks) {
        let (running, wanted) = (running.uplinks.get(name), wanted.uplinks.get(name));
        plan.object("uplink", name, (running, wanted), uplink_differences);
    }
    for name in names(&running.address_groups, &wanted.address_groups) {
        let (running, wanted) = (running.address_groups.get(name), wanted.address_groups.get(name));
        plan.object("address_group", name, (running, wanted), |running, wanted| {
            item_differences("address", running, wanted)
        });
    }
    for name in names(&running.groups, &wanted.groups) {
        let (running, wanted) = (running.groups.get(name), wanted.groups.get(name));
        plan.object("group", name, (running, wanted), group_differences);
    }
    for name in names(&running.routers, &wanted.routers) {
        let (running, wanted) = (running.routers.get(name), wanted.routers.get(name));
        plan.object("router", name, (running, wanted), addresses::router_differences);
    }
    for name in names(&running.ports, &wanted.ports) {
        let (running, wanted) = (running.ports.get(name), wanted.ports.get(name));
        plan.object("port", name, (running, wanted), port_differences);
    }
    plan.ports = steps(&guests(running), &guests(wanted), |running, wanted| running.1 == wanted.1);
    let interfaces = |config| Wanted::all(config).collect::<BTreeMap<_, _>>();
    let same = |running: &Wanted, wanted: &Wanted| !running.is_elsewhere(wanted);
    plan.interfaces = steps(&interfaces(running), &interfaces(wanted), same);
    Ok(plan)
}

/// What a configuration must fulfil whatever runs.
pub(super) fn check(wanted: &Config) -> Result<(), ApplyError> {
    let counts = [
        ("ports and uplinks", wanted.ports.len() + wanted.uplinks.len(), PORTS_MAX),
        ("networks", wanted.networks.len(), NETWORKS_MAX),
    ];
    for (what, count, max) in counts {
        if count > max {
            return Err(ApplyError::TooMany { what, count, max });
        }
    }
    let mut sockets: BTreeMap<&PathBuf, &String> = BTreeMap::new();
    for (name, port) in &wanted.ports {
        if let Some(end) = port.vhost_user()
            && let Some(first) = sockets.insert(&end.socket, name)
        {
            let (first, second) = (first.clone(), name.clone());
            return Err(ApplyError::SameSocket { first, second, path: end.socket.clone() });
        }
        if let Some(network) = port.membership.networks().find(|name| !wanted.networks.contains_key(*name)) {
            return Err(ApplyError::NoNetwork { port: name.clone(), network: network.to_owned() });
        }
        check_groups(name, port.groups.iter().flatten(), wanted)?;
    }
    Ok(())
}

/// Whether all of these groups of a port are declared.
pub(super) fn check_groups<'a>(
    port: &str,
    mut groups: impl Iterator<Item = &'a String>,
    config: &Config,
) -> Result<(), ApplyError> {
    match groups.find(|name| !config.groups.contains_key(*name)) {
        Some(group) => Err(ApplyError::NoGroup { port: port.to_owned(), group: group.clone() }),
        None => Ok(()),
    }
}

/// Whether both say the same about where frames go; groups do not.
pub(super) fn forwards_alike(one: &Config, other: &Config) -> bool {
    let ports = |config: &Config| {
        let port = |port: &Port| Port { groups: None, ..port.clone() };
        config.ports.iter().map(|(name, one)| (name.clone(), port(one))).collect::<Vec<_>>()
    };
    let networks = |config: &Config| {
        let network = |network: &Network| Network { tenant: None, ..network.clone() };
        config.networks.iter().map(|(name, one)| (name.clone(), network(one))).collect::<Vec<_>>()
    };
    one.uplinks == other.uplinks
        && one.routers == other.routers
        && networks(one) == networks(other)
        && ports(one) == ports(other)
}

fn check_restart(running: &SwitchSettings, wanted: &SwitchSettings) -> Result<(), ApplyError> {
    let needs = |setting, running: String, wanted: String| {
        if running == wanted { Ok(()) } else { Err(ApplyError::NeedsRestart { setting, running, wanted }) }
    };
    needs("connections", running.connections.to_string(), wanted.connections.to_string())?;
    needs("cpus", format!("{:?}", running.cpus), format!("{:?}", wanted.cpus))?;
    let mode = |settings: &SwitchSettings| format!("{:04o}", settings.api_mode);
    needs("api_mode", mode(running), mode(wanted))?;
    let group = |settings: &SwitchSettings| settings.api_group.clone().unwrap_or("none".to_owned());
    needs("api_group", group(running), group(wanted))?;
    let path = |path: &PathBuf| path.display().to_string();
    needs("runtime_dir", path(&running.runtime_dir), path(&wanted.runtime_dir))?;
    needs("state_dir", path(&running.state_dir), path(&wanted.state_dir))
}

fn switch_differences(running: &SwitchSettings, wanted: &SwitchSettings) -> Vec<String> {
    let group = |settings: &SwitchSettings| settings.socket_group.clone().unwrap_or("none".to_owned());
    let mode = |settings: &SwitchSettings| format!("{:04o}", settings.socket_mode);
    [
        difference("polling", running.polling.name(), wanted.polling.name()),
        difference("verify_flow_cache", running.verify_flow_cache, wanted.verify_flow_cache),
        difference("socket_mode", mode(running), mode(wanted)),
        difference("socket_group", group(running), group(wanted)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn written_vlan(vlan: Option<VlanId>) -> String {
    vlan.map_or("none".to_owned(), |vlan| vlan.to_string())
}

/// `what old -> new`, if they differ.
fn difference<T: PartialEq + Display>(what: &str, running: T, wanted: T) -> Option<String> {
    (running != wanted).then(|| format!("{what} {running} -> {wanted}"))
}

fn network_differences(running: &Network, wanted: &Network) -> Vec<String> {
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    let uplink = |network: &Network| match network.uplinks().cloned().collect::<Vec<_>>() {
        names if names.is_empty() => "none".to_owned(),
        names => names.join("+"),
    };
    let tenant = |network: &Network| network.tenant.clone().unwrap_or("the network's own".to_owned());
    let membership = |network: &Network| seconds(network.multicast_membership);
    let own = [
        difference("mode", running.mode.name(), wanted.mode.name()),
        difference("uplink", uplink(running), uplink(wanted)),
        difference("vlan", written_vlan(running.vlan), written_vlan(wanted.vlan)),
        difference("inner_tags", running.inner_tags, wanted.inner_tags),
        difference("tenant", tenant(running), tenant(wanted)),
        difference("ageing", seconds(running.ageing), seconds(wanted.ageing)),
        difference("multicast_snooping", running.multicast_snooping, wanted.multicast_snooping),
        difference("multicast_membership", membership(running), membership(wanted)),
        difference("multicast_fast_leave", running.multicast_fast_leave, wanted.multicast_fast_leave),
    ];
    own.into_iter()
        .chain(stp_differences(running, wanted))
        .chain(addresses::network_differences(running, wanted))
        .flatten()
        .collect()
}

/// What differs in networks' spanning trees.
fn stp_differences(running: &Network, wanted: &Network) -> [Option<String>; 5] {
    let differs = |field: &str, shown: fn(&TreeSettings) -> String| {
        let shown = |network: &Network| network.stp.as_ref().map_or("none".to_owned(), shown);
        difference(field, shown(running), shown(wanted))
    };
    [
        difference("stp", kind_name(running.stp.as_ref()), kind_name(wanted.stp.as_ref())),
        differs("stp_priority", |stp| stp.priority.to_string()),
        differs("stp_hello_time", |stp| format!("{}s", stp.hello_time_s)),
        differs("stp_max_age", |stp| format!("{}s", stp.max_age_s)),
        differs("stp_forward_delay", |stp| format!("{}s", stp.forward_delay_s)),
    ]
}

fn names<'a, T>(running: &'a BTreeMap<String, T>, wanted: &'a BTreeMap<String, T>) -> BTreeSet<&'a String> {
    running.keys().chain(wanted.keys()).collect()
}

impl Plan {
    fn note(&mut self, kind: ChangeKind, object: String, settings: Vec<String>) {
        if kind != ChangeKind::Changed || !settings.is_empty() {
            self.changes.push(Change { kind, object, detail: settings.join(", ") });
        }
    }

    /// One object by its kind and name, as it is in the one and the other.
    fn object<T>(
        &mut self,
        kind: &str,
        name: &str,
        (running, wanted): (Option<&T>, Option<&T>),
        differences: impl FnOnce(&T, &T) -> Vec<String>,
    ) {
        let (change, settings) = match (running, wanted) {
            (None, _) => (ChangeKind::Added, Vec::new()),
            (_, None) => (ChangeKind::Removed, Vec::new()),
            (Some(running), Some(wanted)) => (ChangeKind::Changed, differences(running, wanted)),
        };
        self.note(change, format!("{kind} {name}"), settings);
    }
}

/// A guest's port without its address, which nothing depends on, and what cannot change while the guest is connected.
type Guest<'a> = (&'a Port, (&'a PathBuf, Role, u16));

fn guests(config: &Config) -> BTreeMap<&String, Guest<'_>> {
    let mut guests = BTreeMap::new();
    for (name, port) in &config.ports {
        if let Some(end) = port.vhost_user() {
            guests.insert(name, (port, (&end.socket, end.role, end.queues)));
        }
    }
    guests
}

/// What has to be done so that all that runs is as it is wanted; what is the `same` in the sense given may be adjusted.
fn steps<T: PartialEq>(
    running: &BTreeMap<&String, T>,
    wanted: &BTreeMap<&String, T>,
    same: impl Fn(&T, &T) -> bool,
) -> BTreeMap<String, Step> {
    let names: BTreeSet<&&String> = running.keys().chain(wanted.keys()).collect();
    let step = |name: &&&String| match (running.get(*name), wanted.get(*name)) {
        (None, _) => Some(Step::Add),
        (_, None) => Some(Step::Remove),
        (Some(running), Some(wanted)) if running == wanted => None,
        (Some(running), Some(wanted)) if same(running, wanted) => Some(Step::Adjust),
        (Some(_), Some(_)) => Some(Step::Replace),
    };
    names.into_iter().filter_map(|name| Some(((*name).clone(), step(&name)?))).collect()
}

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

fn uplink_differences(running: &Uplink, wanted: &Uplink) -> Vec<String> {
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

fn port_differences(running: &Port, wanted: &Port) -> Vec<String> {
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
    let security = security_differences(running.security.as_ref(), wanted.security.as_ref());
    // The driver is what the type says.
    let [interface, netns, _, queues, gro] = interface_differences(running.interface(), wanted.interface());
    ends.into_iter()
        .chain([interface, netns, queues, gro])
        .chain(storm_differences(&running.storm, &wanted.storm))
        .chain(judging_differences(running.judging, wanted.judging))
        .chain([router])
        .chain(security)
        .chain(addresses::port_differences(running, wanted))
        .chain([difference("groups", written_groups(running), written_groups(wanted))])
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use viaduct_switch::{MacAddress, Priority, TagTypes};

    use crate::config::{
        Attachment, Driver, GatewaySettings, Membership, NetworkMode, Polling, Trunk, UplinkStp,
    };

    use super::*;

    fn port(name: &str) -> (String, Port) {
        let end = VhostUser {
            socket: format!("/run/{name}.sock").into(),
            role: Role::Server,
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            queues: 1,
        };
        let port = Port {
            membership: Membership::Access("lab".into()),
            priority: Priority::default(),
            attachment: Attachment::VhostUser(end),
            mtu: 1500,
            storm: StormLimits::default(),
            judging: JudgeLimits::default(),
            multicast_router: false,
            security: None,
            groups: None,
            addresses: Vec::new(),
            floating: Vec::new(),
            publish: Vec::new(),
        };
        (name.to_owned(), port)
    }

    fn lab(ports: &[&str]) -> Config {
        let network = Network {
            mode: NetworkMode::Isolated,
            uplink: None,
            vlan: None,
            inner_tags: false,
            tenant: None,
            parallel_uplinks: Vec::new(),
            stp: None,
            ageing: Duration::from_secs(300),
            multicast_snooping: true,
            multicast_membership: Duration::from_secs(260),
            multicast_fast_leave: false,
            segment: None,
            gateway: GatewaySettings::default(),
        };
        Config {
            networks: [("lab".to_owned(), network)].into(),
            ports: ports.iter().map(|name| port(name)).collect(),
            ..Config::default()
        }
    }

    fn end<'a>(config: &'a mut Config, port: &str) -> &'a mut VhostUser {
        match &mut config.ports.get_mut(port).unwrap().attachment {
            Attachment::VhostUser(end) => end,
            Attachment::Interface(interface) => panic!("{interface:?}"),
        }
    }

    fn eth(name: &str) -> Interface {
        Interface { name: name.to_owned(), driver: Driver::Auto, netns: None, queues: None, gro: true }
    }

    fn with_uplink(mut config: Config, interface: &str) -> Config {
        let uplink = Uplink {
            interface: eth(interface),
            bond: None,
            lldp: false,
            service_vlan: None,
            tag_types: TagTypes::default(),
            priority: Priority::default(),
            mtu: None,
            storm: StormLimits::default(),
            judging: JudgeLimits::UNLIMITED,
            multicast_router: true,
            stp: UplinkStp::default(),
            addressing: None,
        };
        config.uplinks.insert("wan".to_owned(), uplink);
        config
    }

    #[test]
    fn uplinks_come_change_and_go_and_networks_are_bridged_to_them() {
        let running = with_uplink(lab(&["a"]), "eth1");
        let plan = diff(&lab(&["a"]), &running).unwrap();
        assert_eq!((lines(&plan), plan.ports.len()), (vec!["+ uplink wan".to_owned()], 0));
        assert_eq!(plan.interfaces, [("wan".into(), Step::Add)].into());
        let plan = diff(&running, &with_uplink(lab(&["a"]), "eth2")).unwrap();
        assert_eq!(lines(&plan), ["~ uplink wan: interface eth1 -> eth2"]);
        assert_eq!(plan.interfaces, [("wan".into(), Step::Replace)].into());
        let mut wanted = running.clone();
        wanted.uplinks.get_mut("wan").unwrap().mtu = Some(1400);
        let network = wanted.networks.get_mut("lab").unwrap();
        (network.mode, network.uplink) = (NetworkMode::Bridged, Some("wan".to_owned()));
        let plan = diff(&running, &wanted).unwrap();
        let expected = [
            "~ network lab: mode isolated -> bridged, uplink none -> wan",
            "~ uplink wan: mtu the interface's -> 1400",
        ];
        assert_eq!(lines(&plan), expected);
        assert_eq!(plan.interfaces, [("wan".into(), Step::Adjust)].into());
        assert_eq!(lines(&diff(&running, &lab(&["a"])).unwrap()), ["- uplink wan"]);
    }

    #[test]
    fn a_port_may_become_an_interface_and_a_guest_again() {
        let (guest, mut container) = (lab(&["a"]), lab(&["a"]));
        container.ports.get_mut("a").unwrap().attachment = Attachment::Interface(eth("veth0"));
        let plan = diff(&guest, &container).unwrap();
        let steps = (plan.ports.get("a"), plan.interfaces.get("a"));
        assert_eq!(steps, (Some(&Step::Remove), Some(&Step::Add)));
        let line = "~ port a: type vhost-user -> veth, socket /run/a.sock -> none, role server -> none, mac \
                    02:00:00:00:00:01 -> none, queues 1 -> none, interface none -> veth0";
        assert_eq!(lines(&plan), [line]);
        let plan = diff(&container, &guest).unwrap();
        let steps = (plan.ports.get("a"), plan.interfaces.get("a"));
        assert_eq!(steps, (Some(&Step::Add), Some(&Step::Remove)));
    }

    fn lines(plan: &Plan) -> Vec<String> {
        plan.changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn nothing_changes_from_a_configuration_to_itself() {
        assert_eq!(diff(&lab(&["a", "b"]), &lab(&["a", "b"])).unwrap(), Plan::default());
    }

    #[test]
    fn ports_and_networks_come_and_go() {
        let plan = diff(&Config::default(), &lab(&["b", "a"])).unwrap();
        assert_eq!(lines(&plan), ["+ network lab", "+ port a", "+ port b"]);
        let plan = diff(&lab(&["a", "b"]), &lab(&["b", "c"])).unwrap();
        assert_eq!(lines(&plan), ["- port a", "+ port c"]);
        assert_eq!(plan.ports, [("a".into(), Step::Remove), ("c".into(), Step::Add)].into());
    }

    #[test]
    fn what_the_guest_need_not_notice_is_adjusted_and_the_rest_replaced() {
        let mut wanted = lab(&["a", "b", "c"]);
        wanted.ports.get_mut("a").unwrap().mtu = 9000;
        end(&mut wanted, "b").queues = 4;
        end(&mut wanted, "c").role = Role::Client;
        wanted.networks.get_mut("lab").unwrap().ageing = Duration::from_secs(60);
        let plan = diff(&lab(&["a", "b", "c"]), &wanted).unwrap();
        let steps: Vec<Step> = plan.ports.values().copied().collect();
        assert_eq!(steps, [Step::Adjust, Step::Replace, Step::Replace]);
        let expected = [
            "~ network lab: ageing 300s -> 60s",
            "~ port a: mtu 1500 -> 9000",
            "~ port b: queues 1 -> 4",
            "~ port c: role server -> client",
        ];
        assert_eq!(lines(&plan), expected);
    }

    #[test]
    fn the_sockets_access_changes_while_running() {
        let mut wanted = lab(&[]);
        wanted.switch.socket_mode = 0o600;
        wanted.switch.socket_group = Some("kvm".into());
        let plan = diff(&lab(&[]), &wanted).unwrap();
        assert_eq!(lines(&plan), ["~ switch: socket_mode 0660 -> 0600, socket_group none -> kvm"]);
    }

    #[test]
    fn the_way_of_waiting_changes_while_running() {
        let mut wanted = lab(&[]);
        wanted.switch.polling = Polling::Busy;
        assert_eq!(lines(&diff(&lab(&[]), &wanted).unwrap()), ["~ switch: polling adaptive -> busy"]);
    }

    #[test]
    fn what_is_read_once_asks_for_a_restart() {
        let mut wanted = lab(&[]);
        wanted.switch.cpus = vec![0, 1];
        let error = diff(&lab(&[]), &wanted).unwrap_err();
        assert!(matches!(error, ApplyError::NeedsRestart { setting: "cpus", .. }), "{error}");
        let mut wanted = lab(&[]);
        wanted.switch.api_group = Some("operators".into());
        let error = diff(&lab(&[]), &wanted).unwrap_err().to_string();
        assert!(error.contains("switch.api_group cannot change from none to operators"), "{error}");
    }

    #[test]
    fn contradictions_are_refused() {
        let mut wanted = lab(&["a", "b"]);
        end(&mut wanted, "b").socket = "/run/a.sock".into();
        assert!(matches!(diff(&lab(&[]), &wanted), Err(ApplyError::SameSocket { .. })));
        let mut wanted = lab(&["a"]);
        wanted.ports.get_mut("a").unwrap().membership = Membership::Access("office".into());
        assert!(matches!(diff(&lab(&[]), &wanted), Err(ApplyError::NoNetwork { .. })));
    }

    #[test]
    fn membership_and_tags_change_while_guests_run() {
        let running = with_uplink(lab(&["a", "b"]), "eth1");
        let mut wanted = running.clone();
        let trunk = Trunk { networks: vec!["lab".to_owned()], ..Trunk::default() };
        let a = wanted.ports.get_mut("a").unwrap();
        a.membership = Membership::Trunk(trunk);
        a.priority = Priority::new(5).unwrap();
        wanted.networks.get_mut("lab").unwrap().vlan = VlanId::new(7);
        wanted.networks.get_mut("lab").unwrap().inner_tags = true;
        let uplink = wanted.uplinks.get_mut("wan").unwrap();
        uplink.service_vlan = VlanId::new(300);
        uplink.tag_types.legacy = true;
        let plan = diff(&running, &wanted).unwrap();
        assert_eq!(plan.ports, [("a".to_owned(), Step::Adjust)].into());
        assert!(plan.interfaces.is_empty(), "the policy alone changes");
        let expected = [
            "~ network lab: vlan none -> 7, inner_tags false -> true",
            "~ uplink wan: service_vlan none -> 300, tag_types none -> 0x9100",
            "~ port a: network lab -> trunk of lab, priority 0 -> 5",
        ];
        assert_eq!(lines(&plan), expected);
    }
}
