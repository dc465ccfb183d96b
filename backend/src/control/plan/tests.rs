//! What is found to have changed, and what has to be done.

use std::time::Duration;

use viaduct_switch::{JudgeLimits, Priority, StormLimits, TagTypes};

use super::*;
use crate::config::{
    Attachment, Driver, Interface, Membership, NetworkMode, Polling, Trunk, Uplink, UplinkStp,
};
use crate::control::samples::{self, end};

fn lab(ports: &[&str]) -> Config {
    let port = |name: &&str| {
        ((*name).to_owned(), samples::port(samples::vhost_user(format!("/run/{name}.sock"), 1)))
    };
    samples::lab(ports.iter().map(port))
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
        qos: None,
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
