//! Security groups while the switch runs: a port's membership changes by itself, and everything is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use viaduct_switch::Policy;
use viaduct_switch::security::RuleSpec;

use crate::config::{self, Config, GroupRule};
use crate::control::controller::Controller;
use crate::control::plan::{check_groups, written_groups};
use crate::control::{ApplyError, Change, ChangeKind, Changes};
use crate::model::{AddressGroupStatus, GroupPort, GroupStatus, RuleStatus, SecurityStatus};

impl Controller {
    /// Puts a port into these groups and no others; with `dry_run` only tells what would change. What it costs does not
    /// depend on how many rules and members there are.
    pub(super) fn set_groups(
        &mut self,
        name: &str,
        groups: Vec<String>,
        dry_run: bool,
    ) -> Result<Changes, ApplyError> {
        let no_port = || ApplyError::NoPort { port: name.to_owned() };
        let port = self.config.ports.get(name).ok_or_else(no_port)?;
        check_groups(name, groups.iter(), &self.config)?;
        check_filtered(name, port, &groups)?;
        let wanted = config::Port { groups: Some(distinct(groups)), ..port.clone() };
        let [before, after] = [port, &wanted].map(written_groups);
        if before == after {
            return Ok(Changes { generation: self.generation, ..Changes::default() });
        }
        let (object, detail) = (format!("port {name}"), format!("groups {before} -> {after}"));
        let changes = vec![Change { kind: ChangeKind::Changed, object, detail }];
        if !dry_run {
            self.become_member(name, wanted);
        }
        Ok(Changes { generation: self.generation + u64::from(dry_run), changes, not_kept: None })
    }

    /// Nothing here can fail.
    fn become_member(&mut self, name: &str, wanted: config::Port) {
        self.generation += 1;
        let Some(&index) = self.numbers.ports.get(name) else { return };
        if let Some(port) = self.ports.get_mut(index) {
            port.config = wanted.clone();
        }
        self.config.ports.insert(name.to_owned(), wanted);
        self.security.apply_port(&self.config, name, index);
        self.policy = self.secured(&self.policy);
        self.bay.set_policy(Arc::clone(&self.policy));
    }

    /// This policy with the groups as they are now.
    pub(super) fn secured(&self, policy: &Policy) -> Arc<Policy> {
        Arc::new(policy.with_security(Arc::new(self.security.policy().clone())))
    }

    /// All groups, their rules and their ports.
    pub(super) fn security_status(&self) -> SecurityStatus {
        let mut members = members(&self.config);
        let groups = self.config.groups.iter().map(|(name, group)| GroupStatus {
            name: name.clone(),
            stateful: group.stateful,
            egress: group.egress.name().to_owned(),
            rules: group.rules.iter().map(rule_status).collect(),
            ports: members.remove(name.as_str()).unwrap_or_default(),
        });
        let address_groups = self.config.address_groups.iter().map(|(name, addresses)| AddressGroupStatus {
            name: name.clone(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        });
        SecurityStatus {
            generation: self.generation,
            groups: groups.collect(),
            address_groups: address_groups.collect(),
        }
    }
}

/// Who is not held to his addresses cannot be told apart by them, and who is in no group would not be filtered.
pub(super) fn check_filtered(name: &str, port: &config::Port, groups: &[String]) -> Result<(), ApplyError> {
    let refused = |why, remedy| Err(ApplyError::NotFiltered { port: name.to_owned(), why, remedy });
    match (port.membership.native(), &port.security) {
        _ if groups.is_empty() => {
            let remedy = "Name at least one; a group without rules lets nothing in";
            refused("would be in no group, and open to all", remedy)
        }
        _ if port.membership.networks().count() != 1 || port.membership.native().is_none() => {
            refused("is a trunk, and groups are for ports of one network", "Name a port that has a `network`")
        }
        (_, None) => {
            let remedy = "Give it `addresses` or `port_security = true` in the file first";
            refused("has no port security, and rules go by addresses, which must not be made up", remedy)
        }
        _ => Ok(()),
    }
}

/// Each name once, as they were given.
pub(super) fn distinct(groups: Vec<String>) -> Vec<String> {
    let mut distinct = Vec::new();
    for group in groups {
        if !distinct.contains(&group) {
            distinct.push(group);
        }
    }
    distinct
}

/// The ports of each group.
fn members(config: &Config) -> BTreeMap<&str, Vec<GroupPort>> {
    let mut members: BTreeMap<&str, Vec<GroupPort>> = BTreeMap::new();
    for (name, port) in &config.ports {
        for group in port.groups.iter().flatten() {
            members.entry(group).or_default().push(member(config, name, port));
        }
    }
    members
}

fn member(config: &Config, name: &str, port: &config::Port) -> GroupPort {
    let network = port.membership.native().unwrap_or_default();
    let tenant = config.networks.get(network).and_then(|network| network.tenant.as_deref());
    let security = port.security.iter();
    let addresses = security.clone().flat_map(|security| security.addresses.iter().map(ToString::to_string));
    let pairs = security.flat_map(|security| security.pairs.iter().map(|pair| pair.prefix.to_string()));
    GroupPort {
        name: name.to_owned(),
        network: network.to_owned(),
        tenant: tenant.unwrap_or(network).to_owned(),
        addresses: addresses.chain(pairs).collect(),
    }
}

fn rule_status(rule: &GroupRule) -> RuleStatus {
    let RuleSpec { direction, ethertype, protocol, ports, icmp_type, icmp_code, prefix, .. } = *rule.spec();
    let range = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    RuleStatus {
        direction: direction.to_string(),
        ethertype: ethertype.map(|family| family.to_string()),
        protocol: protocol.map(|protocol| protocol.to_string()),
        ports: ports.map(range),
        icmp_type,
        icmp_code,
        remote: prefix.map(|prefix| prefix.to_string()),
        remote_group: rule.remote_group.clone(),
        remote_address_group: rule.remote_address_group.clone(),
        text: rule.to_string(),
    }
}
