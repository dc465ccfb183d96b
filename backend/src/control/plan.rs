//! The difference between what runs and what is wanted: data only.

mod addresses;
mod groups;
mod networks;
mod overlays;
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;

use viaduct_switch::VlanId;
use viaduct_switch::ids::{NETWORKS_MAX, PORTS_MAX};

use crate::config::{Config, Network, Port, Role, SwitchSettings};
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
        plan.object("network", name, (running, wanted), networks::network_differences);
    }
    for name in names(&running.uplinks, &wanted.uplinks) {
        let (running, wanted) = (running.uplinks.get(name), wanted.uplinks.get(name));
        plan.object("uplink", name, (running, wanted), ports::uplink_differences);
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
    for name in names(&running.qos, &wanted.qos) {
        let (running, wanted) = (running.qos.get(name), wanted.qos.get(name));
        plan.object("qos", name, (running, wanted), ports::qos_differences);
    }
    for name in names(&running.routers, &wanted.routers) {
        let (running, wanted) = (running.routers.get(name), wanted.routers.get(name));
        plan.object("router", name, (running, wanted), addresses::router_differences);
    }
    for name in names(&running.ports, &wanted.ports) {
        let (running, wanted) = (running.ports.get(name), wanted.ports.get(name));
        plan.object("port", name, (running, wanted), ports::port_differences);
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
        && one.qos == other.qos
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
    let listen =
        |settings: &SwitchSettings| settings.api_listen.map_or("none".to_owned(), |it| it.to_string());
    needs("api_listen", listen(running), listen(wanted))?;
    needs("sandbox", running.sandbox.name().to_owned(), wanted.sandbox.name().to_owned())?;
    let namespaces =
        |settings: &SwitchSettings| settings.namespaces.map_or("unset".to_owned(), |it| it.to_string());
    needs("namespaces", namespaces(running), namespaces(wanted))?;
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
    fn object<T: PartialEq>(
        &mut self,
        kind: &str,
        name: &str,
        (running, wanted): (Option<&T>, Option<&T>),
        differences: impl FnOnce(&T, &T) -> Vec<String>,
    ) {
        if running == wanted {
            // Nearly all of thousands, when one port is changed by itself: not put into words.
            return;
        }
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

#[cfg(test)]
mod tests;
