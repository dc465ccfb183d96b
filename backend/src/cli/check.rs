//! `viaduct check FILE`: is the file right, and what does it declare?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use viaduct_switch::VlanId;

use super::checked_qos::{DeclaredQos, declared_qos, qos_text};
use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::{Style, json, units};
use crate::config::{self, Config, Driver, Loaded, ThisHost};
use crate::link::LinkWatcher;

/// What a file declares, every default filled in; names are those of the file.
#[derive(Serialize)]
struct Declared<'a> {
    file: String,
    networks: Vec<DeclaredNetwork<'a>>,
    uplinks: Vec<DeclaredInterface<'a>>,
    ports: Vec<DeclaredPort<'a>>,
    interfaces: Vec<DeclaredInterface<'a>>,
    groups: Vec<DeclaredGroup<'a>>,
    qos: Vec<DeclaredQos<'a>>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct DeclaredNetwork<'a> {
    name: &'a str,
    mode: &'static str,
    uplink: Option<&'a str>,
    vlan: Option<u16>,
    ageing_s: u64,
}

/// An uplink, or a port that is an interface.
#[derive(Serialize)]
struct DeclaredInterface<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    networks: Vec<String>,
    interface: String,
    netns: Option<PathBuf>,
    driver: &'static str,
    mtu: Option<u16>,
    /// What a daemon would do if it were started now.
    now: String,
}

#[derive(Serialize)]
struct DeclaredPort<'a> {
    name: &'a str,
    network: String,
    socket: &'a Path,
    role: &'static str,
    mac: String,
    queues: u16,
    mtu: u16,
}

/// A security group.
#[derive(Serialize)]
struct DeclaredGroup<'a> {
    name: &'a str,
    stateful: bool,
    egress: &'static str,
    rules: usize,
    /// Its members.
    ports: Vec<&'a str>,
}

/// Reads the file and tells what it declares, or everything that is wrong in it.
pub(super) fn check(file: &Path, style: Style) -> Result<String, Failure> {
    let loaded = config::load(file, &ThisHost)?;
    let declared = declared(file, &loaded);
    if style.json {
        return json(&declared);
    }
    let networks = declared.networks.len() as u64;
    let (guests, containers) = (declared.ports.len() as u64, declared.interfaces.len() as u64);
    let uplinks = declared.uplinks.len() as u64;
    let mut text = format!(
        "{} is right: {}, {}, {}{}\n",
        declared.file,
        counted(networks, "network"),
        counted(guests + containers, "port"),
        counted(uplinks, "uplink"),
        groups_summary(&loaded.config)
    );
    for warning in &declared.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if networks > 0 {
        text.push_str(&format!("\n{}", network_table(&declared).render(style.colour)));
    }
    if guests > 0 {
        text.push_str(&format!("\n{}", port_table(&declared).render(style.colour)));
    }
    for interfaces in [&declared.interfaces, &declared.uplinks].into_iter().filter(|all| !all.is_empty()) {
        text.push_str(&format!("\n{}", interface_table(interfaces).render(style.colour)));
        for interface in interfaces {
            text.push_str(&format!("{}: {}\n", interface.name, interface.now));
        }
    }
    if !declared.groups.is_empty() {
        text.push_str(&format!("\n{}", group_table(&declared.groups).render(style.colour)));
    }
    text.push_str(&qos_text(&declared.qos, style.colour));
    Ok(text)
}

/// How many security groups there are, and rules in them; nothing where there are none.
pub(super) fn groups_summary(config: &Config) -> String {
    let rules: usize = config.groups.values().map(|group| group.rules.len()).sum();
    match config.groups.len() as u64 {
        0 => String::new(),
        number => format!(", {} with {}", counted(number, "group"), counted(rules as u64, "rule")),
    }
}

/// `1 port`, `2 ports`.
pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn declared<'a>(file: &Path, loaded: &'a Loaded) -> Declared<'a> {
    let Config { networks, ports, uplinks, groups, .. } = &loaded.config;
    let network = |(name, network): (&'a String, &'a config::Network)| DeclaredNetwork {
        name,
        mode: network.mode.name(),
        uplink: network.uplink.as_deref(),
        vlan: network.vlan.map(VlanId::get),
        ageing_s: network.ageing.as_secs(),
    };
    let port = |(name, port): (&'a String, &'a config::Port)| {
        let end = port.vhost_user()?;
        Some(DeclaredPort {
            name,
            network: port.membership.to_string(),
            socket: &end.socket,
            role: end.role.name(),
            mac: end.mac.to_string(),
            queues: end.queues,
            mtu: port.mtu,
        })
    };
    let over = |uplink: &str| {
        let networks = networks.iter().filter(|(_, network)| network.uplinks().any(|name| name == uplink));
        networks.map(|(name, _)| name.clone()).collect()
    };
    let uplink = |(name, uplink): (&'a String, &'a config::Uplink)| {
        declared_interface(name, "uplink", over(name), &uplink.interfaces().collect::<Vec<_>>(), uplink.mtu)
    };
    let interface = |(name, port): (&'a String, &'a config::Port)| {
        let (kind, networks) =
            (config::type_name(&port.attachment), port.membership.networks().map(str::to_owned).collect());
        Some(declared_interface(
            name,
            kind,
            networks,
            std::slice::from_ref(port.interface()?),
            Some(port.mtu),
        ))
    };
    Declared {
        file: file.display().to_string(),
        networks: networks.iter().map(network).collect(),
        uplinks: uplinks.iter().map(uplink).collect(),
        ports: ports.iter().filter_map(port).collect(),
        interfaces: ports.iter().filter_map(interface).collect(),
        groups: groups.iter().map(|(name, group)| declared_group(name, group, ports)).collect(),
        qos: declared_qos(&loaded.config),
        warnings: loaded.warnings.iter().cloned().chain(config::qos_advice(&loaded.config)).collect(),
    }
}

fn declared_group<'a>(
    name: &'a str,
    group: &config::Group,
    ports: &'a BTreeMap<String, config::Port>,
) -> DeclaredGroup<'a> {
    let is_in = |port: &config::Port| port.groups.iter().flatten().any(|group| group == name);
    DeclaredGroup {
        name,
        stateful: group.stateful,
        egress: group.egress.name(),
        rules: group.rules.len(),
        ports: ports.iter().filter(|(_, port)| is_in(port)).map(|(port, _)| port.as_str()).collect(),
    }
}

fn declared_interface<'a>(
    name: &'a str,
    kind: &'static str,
    networks: Vec<String>,
    interfaces: &[config::Interface],
    mtu: Option<u16>,
) -> DeclaredInterface<'a> {
    let first = interfaces.first();
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let outlooks: Vec<String> = interfaces.iter().map(outlook).collect();
    DeclaredInterface {
        name,
        kind,
        networks,
        interface: names.join(","),
        netns: first.and_then(|interface| interface.netns.clone()),
        driver: first.map_or("", |interface| interface.driver.name()),
        mtu,
        now: outlooks.join("; "),
    }
}

/// What a daemon that is started now would do with an interface; nothing is touched to find out.
fn outlook(interface: &config::Interface) -> String {
    let config::Interface { name, driver, netns, .. } = interface;
    let watcher = LinkWatcher::open(netns.as_deref()).and_then(|mut watcher| {
        watcher.watch(name)?;
        Ok(watcher)
    });
    let watcher = match (watcher, netns) {
        (Ok(watcher), _) => watcher,
        (Err(error), Some(path)) => {
            return format!(
                "the network namespace {} cannot be seen ({error}); it would be waited for",
                path.display()
            );
        }
        (Err(error), None) => return format!("the machine's interfaces cannot be seen: {error}"),
    };
    match (watcher.link(name), driver) {
        (None, Driver::Tap) => format!("the TAP device {name} would be made"),
        (Some(_), Driver::Tap) => format!("{name} would be attached by tap"),
        (None, _) => format!("there is no interface {name} now; it would be waited for"),
        (Some(link), _) if link.mac.is_none() => {
            format!("{name} is no Ethernet interface, and would be refused")
        }
        (Some(link), _) if !link.up => {
            format!("{name} is down; it would be waited for (ip link set {name} up)")
        }
        (Some(link), _) => {
            let carrier = if link.carrier { "" } else { ", has no carrier" };
            format!("{name} is up{carrier}, MTU {}; it would be attached, driver {}", link.mtu, driver.name())
        }
    }
}

fn interface_table(interfaces: &[DeclaredInterface<'_>]) -> Table {
    let kind = if interfaces.iter().all(|one| one.kind == "uplink") { "UPLINK" } else { "PORT" };
    let mut table = Table::new(&[
        (kind, Align::Left),
        ("NETWORK", Align::Left),
        ("INTERFACE", Align::Left),
        ("NETNS", Align::Left),
        ("DRIVER", Align::Left),
        ("MTU", Align::Right),
    ]);
    for one in interfaces {
        let netns = one.netns.as_ref().map_or("-".to_owned(), |path| path.display().to_string());
        let mtu = one.mtu.map_or("-".to_owned(), |mtu| mtu.to_string());
        let names = [one.name.into(), Cell::from(one.networks.join(",")), one.interface.as_str().into()];
        table.row(names.into_iter().chain([netns.into(), one.driver.into(), mtu.into()]));
    }
    table
}

fn group_table(groups: &[DeclaredGroup<'_>]) -> Table {
    let mut table = Table::new(&[
        ("GROUP", Align::Left),
        ("KIND", Align::Left),
        ("EGRESS", Align::Left),
        ("RULES", Align::Right),
        ("PORTS", Align::Left),
    ]);
    for group in groups {
        let kind = if group.stateful { "stateful" } else { "stateless" };
        let (rules, ports) = (Cell::from(group.rules.to_string()), group.ports.join(" "));
        table.row([group.name.into(), kind.into(), group.egress.into(), rules, ports.into()]);
    }
    table
}

fn network_table(declared: &Declared<'_>) -> Table {
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("MODE", Align::Left),
        ("UPLINK", Align::Left),
        ("VLAN", Align::Right),
        ("AGEING", Align::Right),
    ]);
    for network in &declared.networks {
        let uplink = network.uplink.unwrap_or("-");
        table.row([
            network.name.into(),
            network.mode.into(),
            uplink.into(),
            network.vlan.map_or("-".to_owned(), |vlan| vlan.to_string()).into(),
            units::seconds(network.ageing_s).into(),
        ]);
    }
    table
}

fn port_table(declared: &Declared<'_>) -> Table {
    let mut table = Table::new(&[
        ("PORT", Align::Left),
        ("NETWORK", Align::Left),
        ("MAC", Align::Left),
        ("QUEUES", Align::Right),
        ("MTU", Align::Right),
        ("ROLE", Align::Left),
        ("SOCKET", Align::Left),
    ]);
    for port in &declared.ports {
        let numbers = [port.queues, port.mtu].map(|number| Cell::from(number.to_string()));
        let names = [port.name.into(), port.network.as_str().into(), Cell::from(port.mac.as_str())];
        let socket = [port.role.into(), Cell::from(port.socket.display().to_string())];
        table.row(names.into_iter().chain(numbers).chain(socket));
    }
    table
}
