//! What the configuration has to know about the machine.

use std::collections::BTreeMap;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Group, Pid};
use parking_lot::Mutex;

/// Facts about the machine that a file is checked against; tests make their own.
pub trait Host {
    /// Processors that this process may run on, ascending.
    fn cpus(&self) -> Vec<usize>;
    /// Whether a group of this name exists.
    fn has_group(&self, name: &str) -> bool;
    /// For what the machine itself uses the interface of this name; nothing if there is none.
    fn interface_use(&self, _name: &str) -> InterfaceUse {
        InterfaceUse::default()
    }
}

/// For what the machine itself uses an interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InterfaceUse {
    /// Its IP addresses, without those that every interface has (fe80::/10).
    pub addresses: Vec<String>,
    /// Whether a default route leads there.
    pub default_route: bool,
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisHost;

impl Host for ThisHost {
    /// The process' main thread is asked, because workers pin themselves to one processor each.
    fn cpus(&self) -> Vec<usize> {
        let Ok(allowed) = sched_getaffinity(Pid::this()) else { return vec![0] };
        (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect()
    }

    fn has_group(&self, name: &str) -> bool {
        group_of(name).is_some()
    }

    fn interface_use(&self, name: &str) -> InterfaceUse {
        let routes = |path| std::fs::read_to_string(path).unwrap_or_default();
        let default_route = is_default_v4(&routes("/proc/net/route"), name)
            || is_default_v6(&routes("/proc/net/ipv6_route"), name);
        InterfaceUse { addresses: addresses(name), default_route }
    }
}

/// A machine of one processor that has all groups.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainHost;

#[cfg(test)]
impl Host for PlainHost {
    fn cpus(&self) -> Vec<usize> {
        vec![0]
    }

    fn has_group(&self, _: &str) -> bool {
        true
    }
}

/// The number of the machine's group `name`. One that was found is not looked up again: groups may come from where a confined process
/// cannot read (nsswitch.conf(5)).
#[must_use]
pub fn group_of(name: &str) -> Option<u32> {
    static FOUND: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    if let Some(number) = FOUND.lock().get(name) {
        return Some(*number);
    }
    let number = Group::from_name(name).ok().flatten()?.gid.as_raw();
    FOUND.lock().insert(name.to_owned(), number);
    Some(number)
}

fn addresses(name: &str) -> Vec<String> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let own = all.filter(|entry| entry.interface_name == name).filter_map(|entry| entry.address);
    let text = own.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|address| address.ip().to_string());
        let v6 = address.as_sockaddr_in6().map(|address| address.ip());
        v4.or_else(|| v6.filter(|ip| !ip.is_unicast_link_local()).map(|ip| ip.to_string()))
    });
    text.collect()
}

/// Columns of /proc/net/route: interface, destination, gateway, flags, three numbers, mask.
fn is_default_v4(table: &str, name: &str) -> bool {
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        matches!(columns[..], [interface, "00000000", _, _, _, _, _, "00000000", ..] if interface == name)
    })
}

/// Columns of /proc/net/ipv6_route: destination and its length, source and its length, gateway, three numbers, flags,
/// interface. Routes that refuse are those of `lo`.
fn is_default_v6(table: &str, name: &str) -> bool {
    let default = format!("{:032} 00 ", 0);
    table.lines().any(|line| line.starts_with(&default) && line.split_whitespace().last() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                      eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[test]
    fn default_routes_are_found_by_their_interface() {
        assert!(is_default_v4(V4, "eth0") && !is_default_v4(V4, "eth1") && !is_default_v4(V4, "eth"));
        let zero = "0".repeat(32);
        let line =
            format!("{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00450003     eth2\n");
        assert!(is_default_v6(&line, "eth2") && !is_default_v6(&line, "eth0"));
        assert!(!is_default_v6(&line.replacen("00 ", "40 ", 1), "eth2"));
    }

    #[test]
    fn the_loopback_interface_has_its_addresses() {
        let found = ThisHost.interface_use("lo");
        assert!(found.addresses.iter().any(|address| address == "127.0.0.1"), "{found:?}");
        assert_eq!(ThisHost.interface_use("no-such"), InterfaceUse::default());
    }
}
