//! The difference between what runs and what is wanted: data only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use viaduct_switch::ids::{NETWORKS_MAX, PORTS_MAX};
use viaduct_switch::{FrameRate, StormLimits};

use crate::config::{Config, Network, Port, SwitchSettings, written_limit};
use crate::control::{ApplyError, Change, ChangeKind};

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
    /// Ports that do not stay as they are, by name.
    pub(super) ports: BTreeMap<String, Step>,
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
        plan.network(name, running.networks.get(name), wanted.networks.get(name));
    }
    for name in names(&running.ports, &wanted.ports) {
        plan.port(name, running.ports.get(name), wanted.ports.get(name));
    }
    Ok(plan)
}

/// What a configuration must fulfil whatever runs.
pub(super) fn check(wanted: &Config) -> Result<(), ApplyError> {
    let counts =
        [("ports", wanted.ports.len(), PORTS_MAX), ("networks", wanted.networks.len(), NETWORKS_MAX)];
    for (what, count, max) in counts {
        if count > max {
            return Err(ApplyError::TooMany { what, count, max });
        }
    }
    let mut sockets: BTreeMap<&PathBuf, &String> = BTreeMap::new();
    for (name, port) in &wanted.ports {
        if let Some(first) = sockets.insert(&port.socket, name) {
            let (first, second) = (first.clone(), name.clone());
            return Err(ApplyError::SameSocket { first, second, path: port.socket.clone() });
        }
        if !wanted.networks.contains_key(&port.network) {
            return Err(ApplyError::NoNetwork { port: name.clone(), network: port.network.clone() });
        }
    }
    Ok(())
}

fn check_restart(running: &SwitchSettings, wanted: &SwitchSettings) -> Result<(), ApplyError> {
    let needs = |setting, running: String, wanted: String| {
        if running == wanted { Ok(()) } else { Err(ApplyError::NeedsRestart { setting, running, wanted }) }
    };
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

    fn network(&mut self, name: &str, running: Option<&Network>, wanted: Option<&Network>) {
        let object = format!("network {name}");
        match (running, wanted) {
            (None, _) => self.note(ChangeKind::Added, object, Vec::new()),
            (_, None) => self.note(ChangeKind::Removed, object, Vec::new()),
            (Some(running), Some(wanted)) => {
                let seconds = |time: Duration| format!("{}s", time.as_secs());
                let settings = [
                    difference("mode", running.mode.name(), wanted.mode.name()),
                    difference("ageing", seconds(running.ageing), seconds(wanted.ageing)),
                    difference("multicast_snooping", running.multicast_snooping, wanted.multicast_snooping),
                    difference(
                        "multicast_membership",
                        seconds(running.multicast_membership),
                        seconds(wanted.multicast_membership),
                    ),
                    difference(
                        "multicast_fast_leave",
                        running.multicast_fast_leave,
                        wanted.multicast_fast_leave,
                    ),
                ];
                self.note(ChangeKind::Changed, object, settings.into_iter().flatten().collect());
            }
        }
    }

    fn port(&mut self, name: &str, running: Option<&Port>, wanted: Option<&Port>) {
        let (kind, step, settings) = match (running, wanted) {
            (None, _) => (ChangeKind::Added, Step::Add, Vec::new()),
            (_, None) => (ChangeKind::Removed, Step::Remove, Vec::new()),
            (Some(running), Some(wanted)) if running == wanted => return,
            (Some(running), Some(wanted)) => {
                let same_link = running.socket == wanted.socket
                    && running.role == wanted.role
                    && running.queues == wanted.queues;
                let step = if same_link { Step::Adjust } else { Step::Replace };
                (ChangeKind::Changed, step, port_differences(running, wanted))
            }
        };
        self.note(kind, format!("port {name}"), settings);
        self.ports.insert(name.to_owned(), step);
    }
}

fn port_differences(running: &Port, wanted: &Port) -> Vec<String> {
    let limit = |what, of: fn(&StormLimits) -> Option<FrameRate>| {
        difference(what, written_limit(of(&running.storm)), written_limit(of(&wanted.storm)))
    };
    [
        difference("network", &running.network, &wanted.network),
        difference("socket", running.socket.display().to_string(), wanted.socket.display().to_string()),
        difference("role", running.role.name().to_owned(), wanted.role.name().to_owned()),
        difference("mac", running.mac, wanted.mac),
        difference("queues", running.queues, wanted.queues),
        difference("mtu", running.mtu, wanted.mtu),
        limit("storm.broadcast", |storm| storm.broadcast),
        limit("storm.multicast", |storm| storm.multicast),
        limit("storm.unknown_unicast", |storm| storm.unknown_unicast),
        difference("multicast_router", running.multicast_router, wanted.multicast_router),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use viaduct_switch::MacAddress;

    use crate::config::{NetworkMode, Polling, Role};

    use super::*;

    fn port(name: &str) -> (String, Port) {
        let port = Port {
            network: "lab".into(),
            socket: format!("/run/{name}.sock").into(),
            role: Role::Server,
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            queues: 1,
            mtu: 1500,
            storm: StormLimits::default(),
            multicast_router: false,
        };
        (name.to_owned(), port)
    }

    fn lab(ports: &[&str]) -> Config {
        let network = Network {
            mode: NetworkMode::Isolated,
            ageing: Duration::from_secs(300),
            multicast_snooping: true,
            multicast_membership: Duration::from_secs(260),
            multicast_fast_leave: false,
        };
        Config {
            networks: [("lab".to_owned(), network)].into(),
            ports: ports.iter().map(|name| port(name)).collect(),
            ..Config::default()
        }
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
        wanted.ports.get_mut("b").unwrap().queues = 4;
        wanted.ports.get_mut("c").unwrap().role = Role::Client;
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
        wanted.ports.get_mut("b").unwrap().socket = "/run/a.sock".into();
        assert!(matches!(diff(&lab(&[]), &wanted), Err(ApplyError::SameSocket { .. })));
        let mut wanted = lab(&["a"]);
        wanted.ports.get_mut("a").unwrap().network = "office".into();
        assert!(matches!(diff(&lab(&[]), &wanted), Err(ApplyError::NoNetwork { .. })));
    }
}
