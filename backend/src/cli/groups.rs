//! `viaduct show groups`: security groups, what they allow, and who is in them.

use super::check::counted;
use super::failure::Failure;
use super::table::{Align, Table};
use super::{Style, json};
use crate::api::Client;
use crate::model::{AddressGroupStatus, GroupStatus, SecurityStatus};

/// Asks the daemon and tells about all groups, or the one of this name.
pub(super) fn show_groups(client: &Client, name: Option<&str>, style: Style) -> Result<String, Failure> {
    let groups: Vec<GroupStatus> = client.get("/v1/groups")?;
    let address_groups: Vec<AddressGroupStatus> = client.get("/v1/address_groups")?;
    let status = SecurityStatus { groups, address_groups, ..SecurityStatus::default() };
    match (name, style.json) {
        (Some(name), _) => one(&status, name, style),
        (None, true) => json(&status.groups),
        (None, false) => Ok(all(&status, style.colour)),
    }
}

fn one(status: &SecurityStatus, name: &str, style: Style) -> Result<String, Failure> {
    let group = status.groups.iter().find(|group| group.name == name);
    let group = group
        .ok_or_else(|| Failure::new(format!("there is no group {name}; `viaduct show groups` lists all")))?;
    if style.json { json(group) } else { Ok(one_group(group)) }
}

fn all(status: &SecurityStatus, colour: bool) -> String {
    if status.groups.is_empty() && status.address_groups.is_empty() {
        return "there are no security groups; declare one with [group.NAME]\n".to_owned();
    }
    let mut table = Table::new(&[
        ("GROUP", Align::Left),
        ("KIND", Align::Left),
        ("EGRESS", Align::Left),
        ("RULES", Align::Right),
        ("PORTS", Align::Left),
    ]);
    for group in &status.groups {
        table.row([
            group.name.as_str().into(),
            kind(group).into(),
            group.egress.as_str().into(),
            group.rules.len().to_string().into(),
            names(group).join(" ").into(),
        ]);
    }
    let mut text = table.render(colour);
    if !status.address_groups.is_empty() {
        let mut table = Table::new(&[("ADDRESS GROUP", Align::Left), ("ADDRESSES", Align::Left)]);
        for group in &status.address_groups {
            table.row([group.name.as_str().into(), group.addresses.join(" ").into()]);
        }
        text = format!("{text}\n{}", table.render(colour));
    }
    text
}

fn kind(group: &GroupStatus) -> &'static str {
    if group.stateful { "stateful" } else { "stateless" }
}

fn names(group: &GroupStatus) -> Vec<&str> {
    group.ports.iter().map(|port| port.name.as_str()).collect()
}

/// The group's rules, a line each, and then its ports.
fn one_group(group: &GroupStatus) -> String {
    let rules = counted(group.rules.len() as u64, "rule");
    let ports = counted(group.ports.len() as u64, "port");
    let mut text = format!("{}: {}, {rules}, {ports}\n", group.name, kind(group));
    if group.egress == "all" {
        text.push_str("allows    egress (all that its ports send)\n");
    }
    for rule in &group.rules {
        text.push_str(&format!("allows    {}\n", rule.text));
    }
    for port in &group.ports {
        let addresses =
            if port.addresses.is_empty() { "no address".to_owned() } else { port.addresses.join(" ") };
        let tenant =
            if port.tenant == port.network { String::new() } else { format!(", tenant {}", port.tenant) };
        text.push_str(&format!("port      {} in {}{tenant}: {addresses}\n", port.name, port.network));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupPort, RuleStatus};

    fn web() -> GroupStatus {
        let rule = RuleStatus {
            text: "ingress tcp 22 from 203.0.113.0/24".to_owned(),
            direction: "ingress".to_owned(),
            ..RuleStatus::default()
        };
        let port = |name: &str, tenant: &str| GroupPort {
            name: name.to_owned(),
            network: "lab".to_owned(),
            tenant: tenant.to_owned(),
            addresses: vec!["10.0.0.11".to_owned(), "fd00::11".to_owned()],
        };
        GroupStatus {
            name: "web".to_owned(),
            stateful: true,
            egress: "all".to_owned(),
            rules: vec![rule],
            ports: vec![port("web1", "lab"), port("web2", "acme")],
        }
    }

    #[test]
    fn a_group_is_told_with_its_rules_and_its_ports() {
        let expected = "web: stateful, 1 rule, 2 ports\n\
                        allows    egress (all that its ports send)\n\
                        allows    ingress tcp 22 from 203.0.113.0/24\n\
                        port      web1 in lab: 10.0.0.11 fd00::11\n\
                        port      web2 in lab, tenant acme: 10.0.0.11 fd00::11\n";
        assert_eq!(one_group(&web()), expected);
    }

    #[test]
    fn groups_are_listed_with_their_ports_and_address_groups_with_their_addresses() {
        let offices =
            AddressGroupStatus { name: "offices".to_owned(), addresses: vec!["192.0.2.0/24".to_owned()] };
        let status =
            SecurityStatus { generation: 1, groups: vec![web()], address_groups: vec![offices.clone()] };
        let text = all(&status, false);
        assert!(text.contains("web    stateful  all         1  web1 web2"), "{text}");
        assert!(text.contains("offices        192.0.2.0/24"), "{text}");
        assert!(all(&SecurityStatus::default(), false).contains("[group.NAME]"));
    }
}
