//! The documentation says what the program does: every reason, path and field is in it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;

use serde_json::Value;
use viaduct::model::{
    AddressGroupStatus, BondLinkStatus, BondStatus, ClaimStatus, ConfigurationStatus, DhcpClientStatus,
    Differences, DropStatus, DuplicateStatus, FdbPage, FdbStatus, GroupPort, GroupStatus, InterfaceStatus,
    LacpLinkStatus, LinkState, MemberStatus, MeterStatus, MulticastGroupStatus, MulticastStatus,
    NeighbourStatus, NetworkStatus, NumaStatus, OutsideStatus, PortState, PortStatus, QosDeclared, QosStatus,
    RestoredStatus, RuleStatus, SecurityStatus, ShapingClassStatus, ShapingStatus, Snapshot, StpPortStatus,
    StpStatus, Traffic, WorkerStatus,
};
use viaduct_switch::DropReason;

const DROPS: &str = include_str!("../../docs/drops.md");
const API: &str = include_str!("../../docs/api.md");

#[test]
fn every_drop_reason_has_its_row_with_its_sentence() {
    for reason in DropReason::ALL {
        let row = format!("| `{}` | {} | ", reason.name(), reason.sentence());
        let line = DROPS.lines().find(|line| line.starts_with(&row));
        let advice = line.unwrap_or_else(|| panic!("docs/drops.md has no row that begins\n{row}"));
        assert!(advice.len() > row.len() + 10, "{} has no advice", reason.name());
    }
}

#[test]
fn no_row_is_about_a_reason_that_does_not_exist() {
    let rows = DROPS.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    for name in rows {
        assert!(DropReason::ALL.iter().any(|reason| reason.name() == name), "{name}");
    }
}

fn port() -> PortStatus {
    let drops = DropStatus { reason: String::new(), meaning: String::new(), frames: 0 };
    PortStatus {
        name: String::new(),
        network: String::new(),
        native: None,
        kind: String::new(),
        interface: Some(interface()),
        socket: PathBuf::new(),
        role: String::new(),
        mac: String::new(),
        groups: None,
        mtu: 0,
        queues: 0,
        state: PortState::Listening,
        detail: None,
        peer_pid: None,
        rings_running: 0,
        features: Vec::new(),
        received: Traffic::default(),
        sent: Traffic::default(),
        drops: vec![drops],
        connections: 0,
        pauses: 0,
        paused_ms: 0,
        numa: Some(NumaStatus { memory_node: 0, cpus: Vec::new(), is_local: true }),
    }
}

fn interface() -> InterfaceStatus {
    InterfaceStatus {
        name: String::new(),
        netns: None,
        renamed: None,
        index: None,
        driver: None,
        reason: None,
        link: LinkState::Missing,
        mtu: None,
        speed_mbps: None,
        offloads: Vec::new(),
        received_rate: Traffic::default(),
        sent_rate: Traffic::default(),
    }
}

fn names(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            into.push(name.clone());
            names(value, into);
        }),
        Value::Array(items) => items.iter().for_each(|item| names(item, into)),
        _ => {}
    }
}

/// Whatever a group can have.
fn security() -> SecurityStatus {
    let written = || Some(String::new());
    let rule = RuleStatus {
        ethertype: written(),
        protocol: written(),
        ports: written(),
        icmp_type: Some(0),
        icmp_code: Some(0),
        remote: written(),
        remote_group: written(),
        remote_address_group: written(),
        ..RuleStatus::default()
    };
    let port = GroupPort {
        name: String::new(),
        network: String::new(),
        tenant: String::new(),
        addresses: Vec::new(),
    };
    let (name, egress) = (String::new(), String::new());
    SecurityStatus {
        generation: 1,
        groups: vec![GroupStatus { name, stateful: true, egress, rules: vec![rule], ports: vec![port] }],
        address_groups: vec![AddressGroupStatus { name: String::new(), addresses: Vec::new() }],
    }
}

#[test]
fn every_field_of_an_answer_is_named() {
    let network = NetworkStatus {
        name: String::new(),
        mode: String::new(),
        uplink: None,
        vlan: None,
        ports: Vec::new(),
        addresses: 0,
        ageing_s: 0,
    };
    let entry =
        FdbStatus { network: String::new(), vlan: None, mac: String::new(), port: String::new(), age_s: 0 };
    let members = vec![MemberStatus { port: String::new(), expires_s: 0 }];
    let group =
        MulticastGroupStatus { network: String::new(), group: String::new(), routers: false, members };
    let snapshot = Snapshot {
        generation: 1,
        configuration: ConfigurationStatus {
            not_kept: Some(String::new()),
            ..ConfigurationStatus::default()
        },
        restored: RestoredStatus { not_kept: Some(String::new()), ..RestoredStatus::default() },
        uptime_s: 0,
        ports: vec![port()],
        networks: vec![network],
        duplicates: vec![DuplicateStatus::default()],
        multicast_groups: vec![group],
        stp: vec![StpStatus { ports: vec![StpPortStatus::default()], ..StpStatus::default() }],
        outsides: vec![OutsideStatus {
            claims: vec![ClaimStatus::default()],
            dhcp: Some(DhcpClientStatus::default()),
            ..OutsideStatus::default()
        }],
        neighbours: vec![NeighbourStatus::default()],
        bonds: vec![BondStatus {
            links: vec![BondLinkStatus {
                lacp: Some(LacpLinkStatus::default()),
                ..BondLinkStatus::default()
            }],
            ..BondStatus::default()
        }],
        multicast: MulticastStatus::default(),
        qos: QosStatus {
            meters: vec![MeterStatus::default()],
            trees: vec![ShapingStatus {
                classes: vec![ShapingClassStatus::default()],
                ..ShapingStatus::default()
            }],
            declared: vec![QosDeclared::default()],
        },
        workers: vec![WorkerStatus::default()],
    };
    let mut fields = Vec::new();
    names(&serde_json::to_value(security()).unwrap(), &mut fields);
    names(&serde_json::to_value(&snapshot).unwrap(), &mut fields);
    names(&serde_json::to_value(FdbPage { addresses: vec![entry], next: None }).unwrap(), &mut fields);
    let differences = Differences { not_compared: Some(String::new()), ..Differences::default() };
    names(&serde_json::to_value(&differences).unwrap(), &mut fields);
    assert!(fields.contains(&"peer_pid".to_owned()));
    for field in fields.iter().filter(|field| {
        !["ports", "networks", "address_groups", "multicast", "stp", "bonds", "neighbours", "workers", "qos"]
            .contains(&field.as_str())
    }) {
        assert!(API.contains(&format!("`{field}`")), "docs/api.md does not name `{field}`");
    }
}

#[test]
fn every_state_of_a_link_is_named() {
    for state in [LinkState::Missing, LinkState::Down, LinkState::NoCarrier, LinkState::Up] {
        let name = serde_json::to_value(state).unwrap();
        assert_eq!(name.as_str(), Some(state.name()));
        assert!(API.contains(&format!("`{}`", state.name())), "{state:?}");
    }
}

#[test]
fn every_state_of_a_port_is_named() {
    let states = [
        PortState::Listening,
        PortState::Connecting,
        PortState::Connected,
        PortState::Running,
        PortState::Broken,
        PortState::Waiting,
        PortState::Attached,
    ];
    for state in states {
        let name = serde_json::to_value(state).unwrap();
        assert!(API.contains(&format!("`{}`", name.as_str().unwrap())), "{state:?}");
    }
}
