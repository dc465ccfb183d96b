//! The security groups of a configuration as tables of the data path: names become numbers, differences become changes.

use std::collections::BTreeMap;

use viaduct_switch::PortIndex;
use viaduct_switch::security::{
    AddressGroupIndex, AddressPair, Direction, Group, GroupIndex, PortSecurity, Remote, Rule,
    SecurityControl, SecurityPolicy, Zone,
};

use super::registry::assign;
use crate::config::{self, Config, DEFAULT_GROUP, Egress};

/// The tables, and the numbers of groups and tenants in them.
#[derive(Debug)]
pub(super) struct Security {
    tables: SecurityControl,
    groups: BTreeMap<String, GroupIndex>,
    address_groups: BTreeMap<String, AddressGroupIndex>,
    tenants: BTreeMap<String, u16>,
    ports: BTreeMap<String, PortIndex>,
}

impl Security {
    /// Without groups. `seed` must be random and secret.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            tables: SecurityControl::new(seed),
            groups: BTreeMap::new(),
            address_groups: BTreeMap::new(),
            tenants: BTreeMap::new(),
            ports: BTreeMap::new(),
        }
    }

    /// The tables as they are now.
    pub(super) fn policy(&self) -> &SecurityPolicy {
        self.tables.policy()
    }

    /// The name of a group.
    pub(super) fn group_name(&self, index: GroupIndex) -> Option<&str> {
        self.groups.iter().find(|(_, group)| **group == index).map(|(name, _)| name.as_str())
    }

    /// The number of a group.
    pub(super) fn group_index(&self, name: &str) -> Option<GroupIndex> {
        self.groups.get(name).copied()
    }

    /// The name of an address group.
    pub(super) fn address_group_name(&self, index: AddressGroupIndex) -> Option<&str> {
        self.address_groups.iter().find(|(_, group)| **group == index).map(|(name, _)| name.as_str())
    }

    /// Makes the tables what `config` says, whose ports have these numbers. Costs what differs from before, beside comparing.
    pub(super) fn apply(&mut self, config: &Config, ports: &BTreeMap<String, PortIndex>) {
        let tenants: BTreeMap<&String, ()> = config
            .networks
            .iter()
            .map(|(name, network)| (network.tenant.as_ref().unwrap_or(name), ()))
            .collect();
        // There are fewer groups than 65,536 of each kind, as the file was checked, and fewer networks.
        let groups = assign(&self.groups, config.groups.keys(), GroupIndex::new).unwrap_or_default();
        let address_groups =
            assign(&self.address_groups, config.address_groups.keys(), AddressGroupIndex::new)
                .unwrap_or_default();
        let number = |index: usize| u16::try_from(index).ok();
        self.tenants = assign(&self.tenants, tenants.into_keys(), number).unwrap_or_default();
        self.remove_others(&groups, &address_groups, ports);
        (self.groups, self.address_groups) = (groups, address_groups);
        self.ports.clone_from(ports);
        for (name, index) in &self.address_groups {
            self.tables.set_address_group(*index, config.address_groups.get(name).map_or(&[], Vec::as_slice));
        }
        for (name, index) in &self.groups {
            let wanted = config.groups.get(name).map(|group| self.group(name, *index, group));
            self.tables.set_group(*index, wanted.as_ref());
        }
        for (name, index) in ports {
            self.apply_port(config, name, *index);
        }
    }

    /// Makes one port what `config` says, of which nothing else changed. Costs what differs from before.
    pub(super) fn apply_port(&mut self, config: &Config, name: &str, index: PortIndex) {
        let wanted = config.ports.get(name).and_then(|port| self.port(config, port));
        self.tables.set_port(index, wanted);
    }

    /// Takes away what the new numbers do not name.
    fn remove_others(
        &mut self,
        groups: &BTreeMap<String, GroupIndex>,
        address_groups: &BTreeMap<String, AddressGroupIndex>,
        ports: &BTreeMap<String, PortIndex>,
    ) {
        for (_, index) in self.ports.iter().filter(|(name, _)| !ports.contains_key(*name)) {
            self.tables.set_port(*index, None);
        }
        for (_, index) in self.groups.iter().filter(|(name, _)| !groups.contains_key(*name)) {
            self.tables.set_group(*index, None);
        }
        for (_, index) in self.address_groups.iter().filter(|(name, _)| !address_groups.contains_key(*name)) {
            self.tables.set_address_group(*index, &[]);
        }
    }

    fn group(&self, name: &str, itself: GroupIndex, wanted: &config::Group) -> Group {
        let group = |name: &str| self.groups.get(name).copied();
        let address_group = |name: &str| self.address_groups.get(name).copied();
        let written = wanted.rules.iter().filter_map(|rule| rule.resolve(group, address_group));
        let egress = (wanted.egress == Egress::All).then(|| Rule::everything(Direction::Egress, Remote::Any));
        let among = Rule::everything(Direction::Ingress, Remote::Group(itself));
        let among = (name == DEFAULT_GROUP).then_some(among);
        Group { stateful: wanted.stateful, rules: written.chain(egress).chain(among).collect() }
    }

    /// What the tables have to know of a port; `None`: nothing.
    fn port(&self, config: &Config, port: &config::Port) -> Option<PortSecurity> {
        let security = port.security.as_ref()?;
        let network = port.membership.native()?;
        let tenant = config.networks.get(network)?.tenant.as_deref().unwrap_or(network);
        let groups = port
            .groups
            .as_ref()
            .map(|names| names.iter().filter_map(|name| self.groups.get(name).copied()).collect());
        let pair = |pair: &config::AddressPair| AddressPair { prefix: pair.prefix, mac: pair.mac };
        Some(PortSecurity {
            groups,
            addresses: security.addresses.clone(),
            pairs: security.pairs.iter().map(pair).collect(),
            guarded: true,
            trusted: security.trusted,
            ..PortSecurity::new(Zone(*self.tenants.get(tenant)?), security.mac)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use viaduct_switch::security::{Origin, Protocol, Service, Tracking, Verdict};

    const TIERS: &str = "[network.lab]\ntenant = 'x'\n[network.other]\n\
        [group.web]\n\
        [group.db]\nrules = [{direction = 'ingress', protocol = 'tcp', ports = 3306, remote_group = 'web'},\n\
        {direction = 'ingress', protocol = 'tcp', ports = 22, remote_address_group = 'offices'}]\n\
        [address_group.offices]\naddresses = ['203.0.113.0/24']\n\
        [group.default]\n\
        [port.web1]\nnetwork = 'lab'\naddresses = ['10.0.0.1']\ngroups = ['web']\n\
        [port.db1]\nnetwork = 'lab'\naddresses = ['10.0.0.2']\ngroups = ['db']\n\
        [port.x]\nnetwork = 'other'\naddresses = ['10.0.0.1']\n\
        [port.y]\nnetwork = 'other'\naddresses = ['10.0.0.9']\n\
        [port.free]\nnetwork = 'lab'\nport_security = false\n";

    struct Bench {
        security: Security,
        ports: BTreeMap<String, PortIndex>,
    }

    impl Bench {
        fn apply(&mut self, text: &str) {
            let loaded = crate::config::parse(text.as_bytes(), "x.toml", &crate::config::ThisHost).unwrap();
            let config = loaded.config;
            self.ports = assign(&self.ports, config.ports.keys(), PortIndex::new).unwrap();
            self.security.apply(&config, &self.ports);
        }

        /// Whether a port can be reached by an address at a port of TCP; `None`: it is not filtered.
        fn reaches(&self, port: &str, remote: &str, tcp: u16) -> Option<bool> {
            let (remote, service) = (remote.parse().unwrap(), Service::port(Protocol::TCP, tcp));
            let policy = self.security.policy();
            match policy.judge(self.ports[port], Direction::Ingress, remote, service, Tracking::Stateful) {
                Verdict::Unfiltered => None,
                verdict => Some(verdict != Verdict::Denied),
            }
        }

        /// The ports whose connections of `generation` need not be judged again.
        fn current(&self, generation: u32) -> Vec<&str> {
            let policy = self.security.policy();
            let ports = self.ports.iter().filter(|(_, port)| policy.is_current(**port, generation));
            ports.map(|(name, _)| name.as_str()).collect()
        }
    }

    fn bench() -> Bench {
        let mut bench = Bench { security: Security::new(7), ports: BTreeMap::new() };
        bench.apply(TIERS);
        bench
    }

    #[test]
    fn what_the_file_says_holds() {
        let bench = bench();
        let reaches = |remote, tcp| bench.reaches("db1", remote, tcp).unwrap();
        assert!(reaches("10.0.0.1", 3306) && !reaches("10.0.0.1", 22) && reaches("203.0.113.9", 22));
        assert!(!reaches("10.0.0.9", 3306), "no member of web");
        assert_eq!(bench.reaches("web1", "10.0.0.2", 80), Some(false));
        assert_eq!(bench.reaches("x", "10.0.0.9", 80), Some(true), "both are in the default group");
        assert_eq!(bench.reaches("x", "10.0.0.2", 80), Some(false));
        assert_eq!(bench.reaches("free", "10.0.0.2", 80), None);
        let policy = bench.security.policy();
        assert_eq!(policy.port(bench.ports["web1"]).map(|port| port.origin()), Some(Origin::Guest));
        assert!(policy.port(bench.ports["free"]).is_none());
        let (egress, any) = (Direction::Egress, "192.0.2.1".parse().unwrap());
        let ping = Service::icmp(Protocol::ICMP, 8, 0);
        let verdict = policy.judge(bench.ports["db1"], egress, any, ping, Tracking::Stateful);
        assert!(matches!(verdict, Verdict::Allowed(_)), "a group lets its members send");
    }

    #[test]
    fn a_change_concerns_those_who_lose_something() {
        let mut bench = bench();
        let judged = bench.security.policy().generation();
        bench.apply(TIERS);
        assert_eq!(bench.security.policy().generation(), judged, "nothing changed");
        bench.apply(&TIERS.replace("groups = ['web']", "groups = ['web', 'default']"));
        assert_eq!(bench.security.policy().generation(), judged, "nothing was taken away");
        bench.apply(&TIERS.replace("groups = ['web']", "groups = ['default']"));
        assert_eq!(bench.reaches("db1", "10.0.0.1", 3306), Some(false));
        assert_eq!(bench.current(judged), ["free", "x", "y"]);
    }

    #[test]
    fn what_is_gone_from_the_file_is_gone() {
        let mut bench = bench();
        bench.apply("[network.lab]\n[group.new]\n[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.1']\ngroups = ['new']\n");
        assert_eq!(bench.reaches("a", "10.0.0.1", 22), Some(false));
        // Its one rule lets its members send, by both versions of IP.
        assert_eq!((bench.security.policy().remotes(), bench.security.policy().addresses()), (2, 1));
        bench.apply(TIERS);
        assert_eq!(bench.reaches("db1", "10.0.0.1", 3306), Some(true));
    }
}
