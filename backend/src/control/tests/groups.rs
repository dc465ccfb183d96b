//! Memberships that change by themselves while the switch runs.

use super::*;
use crate::config::{ThisHost, parse};
use crate::control::PortEdit;

const TIERS: &str = "[network.lab]\n\
    [group.web]\nrules = [{ direction = 'ingress', protocol = 'tcp', ports = 8080 }]\n\
    [group.db]\nrules = [{ direction = 'ingress', protocol = 'tcp', ports = 3306, remote_group = 'web' }]\n\
    [port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.1']\ngroups = ['web']\n\
    [port.b]\nnetwork = 'lab'\naddresses = ['10.0.0.2']\ngroups = ['db']\n\
    [port.free]\nnetwork = 'lab'\n\
    [port.trunk]\nnative = 'lab'\ntrunk = ['tagged']\n\
    [network.tagged]\nvlan = 7\n";

impl Lab {
    /// What the text says, in this lab's folder.
    pub(super) fn parse(&self, text: &str) -> Config {
        let mut config = parse(text.as_bytes(), "lab.toml", &ThisHost).unwrap().config;
        config.switch = self.config(&[]).switch;
        for (name, port) in &mut config.ports {
            if let Attachment::VhostUser(end) = &mut port.attachment {
                end.socket = self.socket(name);
            }
        }
        config
    }

    fn set(&self, port: &str, groups: &[&str]) -> Result<String, ApplyError> {
        let groups = groups.iter().map(|name| (*name).to_owned()).collect();
        let done = self.handle.edit(port.to_owned(), PortEdit::groups(groups), Expected::Any, false)?;
        let lines: Vec<String> = done.changes.iter().map(ToString::to_string).collect();
        Ok(format!("{} {}", done.generation, lines.join("; ")))
    }

    /// The ports of a group.
    fn members(&self, group: &str) -> Vec<String> {
        let groups = self.handle.security().unwrap().groups;
        let group = groups.into_iter().find(|status| status.name == group).unwrap();
        group.ports.into_iter().map(|port| port.name).collect()
    }
}

fn tiers() -> Lab {
    let lab = Lab::start(&[]);
    lab.handle.apply(lab.parse(TIERS), false).unwrap();
    lab
}

#[test]
fn a_port_joins_and_leaves_groups_and_the_file_has_the_last_word() {
    let lab = tiers();
    assert_eq!((lab.members("web"), lab.port("b").groups), (vec!["a".to_owned()], Some(vec!["db".into()])));
    let told =
        lab.handle.edit("b".into(), PortEdit::groups(vec!["web".into()]), Expected::Any, true).unwrap();
    assert_eq!((told.generation, lab.members("web").len()), (3, 1), "a dry run changes nothing");
    assert_eq!(lab.set("b", &["web", "db", "web"]).unwrap(), "3 ~ port b: groups db -> web+db");
    assert_eq!(lab.members("web"), ["a", "b"]);
    assert_eq!(lab.port("b").groups, Some(vec!["web".into(), "db".into()]));
    assert_eq!(lab.set("b", &["web", "db"]).unwrap(), "3 ", "nothing to change");
    let done = lab.handle.apply(lab.parse(TIERS), false).unwrap();
    assert_eq!(done.changes[0].to_string(), "~ port b: groups web+db -> db");
    assert_eq!(lab.members("web"), ["a"]);
}

#[test]
fn what_cannot_be_is_refused_with_its_remedy_and_changes_nothing() {
    let lab = tiers();
    for (port, groups, expected) in [
        ("x", &["web"][..], "there is no port x; nothing was changed"),
        ("a", &["wep"], "there is no group wep; nothing was changed. Declare [group.wep]"),
        ("a", &[], "would be in no group, and open to all"),
        ("free", &["web"], "has no port security"),
        ("trunk", &["web"], "is a trunk"),
    ] {
        let error = lab.set(port, groups).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let old = Expected::OneOf(vec![1]);
    let error = lab.handle.edit("a".into(), PortEdit::groups(vec!["db".into()]), old, false).unwrap_err();
    assert!(matches!(error, ApplyError::Generation { running: 2 }), "{error}");
    assert_eq!((lab.handle.snapshot().unwrap().generation, lab.members("web").len()), (2, 1));
}

#[test]
fn rules_and_tenants_are_told_when_they_change() {
    let lab = tiers();
    let changed = TIERS
        .replace("ports = 8080", "ports = 80")
        .replace("[network.lab]", "[network.lab]\ntenant = 'acme'")
        .replace(
            "[group.db]",
            "[address_group.offices]\naddresses = ['192.0.2.0/24']\n[group.db]\nstateful = false",
        );
    let done = lab.handle.apply(lab.parse(&changed), false).unwrap();
    let lines: Vec<String> = done.changes.iter().map(ToString::to_string).collect();
    let expected = [
        "~ network lab: tenant the network's own -> acme",
        "+ address_group offices",
        "~ group db: stateful true -> false",
        "~ group web: without rule ingress tcp 8080, with rule ingress tcp 80",
    ];
    assert_eq!(lines, expected);
    let status = lab.handle.security().unwrap();
    assert_eq!(status.groups[0].ports[0].tenant, "acme");
    assert_eq!(status.address_groups[0].addresses, ["192.0.2.0/24"]);
    let rule = serde_json::to_value(&status.groups[0].rules[0]).unwrap();
    let wanted = serde_json::json!({
        "direction": "ingress", "protocol": "tcp", "ports": "3306", "remote_group": "web",
        "text": "ingress tcp 3306 from group web"
    });
    assert_eq!(rule, wanted);
}

/// The work, not the time that it took: whoever tests has other things to do.
#[test]
fn one_membership_in_a_group_of_a_thousand_costs_less_than_a_millisecond() {
    let lab = Lab::start(&[]);
    let mut text = TIERS.to_owned();
    for index in 0..1000 {
        let address = format!("10.1.{}.{}", index / 250, 1 + index % 250);
        text.push_str(&format!(
            "[port.m{index}]\nnetwork = 'lab'\naddresses = ['{address}']\ngroups = ['web']\n"
        ));
    }
    lab.handle.apply(lab.parse(&text), false).unwrap();
    let (work, rounds) = (busy_us(&lab.task), 100);
    for _ in 0..rounds {
        lab.set("m500", &["db"]).unwrap();
        lab.set("m500", &["web"]).unwrap();
    }
    let each = (busy_us(&lab.task) - work) / (2 * rounds);
    println!("one membership: {each} us of control work");
    assert_eq!(lab.members("web").len(), 1001);
    assert!(each < 1000, "{each} us");
}

#[test]
fn only_a_guest_gets_a_qos_with_which_what_exceeds_its_rate_waits() {
    const WAITING: &str = "[network.lab]\n[port.guest]\nnetwork = 'lab'\n\
        [port.end]\nnetwork = 'lab'\ntype = 'veth'\ninterface = 'none0'\n\
        [qos.slow]\ningress = { police = '50mbit', exceed = 'wait' }\n";
    let lab = Lab::start(&[]);
    lab.handle.apply(lab.parse(WAITING), false).unwrap();
    let set = |port: &str| {
        let edit = PortEdit { qos: Some(Some("slow".into())), ..PortEdit::default() };
        lab.handle.edit(port.to_owned(), edit, Expected::Any, false)
    };
    let error = set("end").unwrap_err().to_string();
    assert!(error.contains("port end: qos.slow has exceed = \"wait\", and only a guest"), "{error}");
    assert!(set("nobody").unwrap_err().to_string().contains("there is no port nobody"));
    assert_eq!(set("guest").unwrap().changes.len(), 1);
}
