//! What people and programs are shown.

use std::path::PathBuf;

use super::*;
use crate::model::{
    ConfigurationStatus, FlowCacheStatus, InterfaceStatus, LinkState, MemberStatus, MulticastGroupStatus,
    MulticastStatus, NetworkStatus, NumaStatus, PortState, PortStatus, QosStatus, RestoredStatus, Traffic,
    WorkerStatus,
};

fn port(name: &str, state: PortState) -> PortStatus {
    PortStatus {
        groups: None,
        name: name.to_owned(),
        network: "lab".to_owned(),
        native: Some("lab".to_owned()),
        kind: "vhost-user".to_owned(),
        interface: None,
        socket: PathBuf::from(format!("/run/viaduct/{name}.sock")),
        role: "server".to_owned(),
        mac: "52:54:00:00:00:01".to_owned(),
        mtu: 1500,
        queues: 2,
        state,
        detail: (state == PortState::Broken).then(|| "ring 1: the available index jumped".to_owned()),
        peer_pid: Some(4711),
        rings_running: 4,
        features: vec!["VERSION_1".to_owned(); 12],
        received: Traffic { frames: 1_234_567, bytes: 1_900_000_000 },
        sent: Traffic { frames: 12, bytes: 840 },
        drops: vec![DropStatus { reason: "runt".to_owned(), meaning: "Too short.".to_owned(), frames: 7 }],
        connections: 1,
        pauses: 0,
        paused_ms: 0,
        numa: None,
    }
}

fn uplink(name: &str, state: PortState) -> PortStatus {
    let interface = InterfaceStatus {
        name: "ens1f0np0".to_owned(),
        netns: None,
        renamed: None,
        index: Some(3),
        driver: Some("af-packet".to_owned()),
        reason: Some("it has no XDP driver".to_owned()),
        link: LinkState::NoCarrier,
        mtu: Some(1500),
        speed_mbps: Some(25_000),
        offloads: vec!["csum".to_owned(), "tso4".to_owned()],
        received_rate: Traffic { frames: 812_345, bytes: 987_654_321 },
        sent_rate: Traffic { frames: 1, bytes: 60 },
    };
    let kind = "uplink".to_owned();
    PortStatus { kind, interface: Some(interface), rings_running: 0, ..port(name, state) }
}

fn snapshot() -> Snapshot {
    let long = "a-port-whose-name-is-as-long-as-a-name-can-be-in-this-program-1";
    Snapshot {
        generation: 3,
        configuration: ConfigurationStatus::default(),
        restored: RestoredStatus::default(),
        uptime_s: 65,
        ports: vec![
            port("vm1", PortState::Running),
            port(long, PortState::Broken),
            uplink("wan", PortState::Attached),
            uplink("metro", PortState::Waiting),
        ],
        networks: vec![NetworkStatus {
            name: "lab".to_owned(),
            mode: "isolated".to_owned(),
            uplink: None,
            vlan: Some(4094),
            ports: vec!["vm1".to_owned(), long.to_owned()],
            addresses: 2,
            ageing_s: 300,
        }],
        duplicates: Vec::new(),
        multicast_groups: vec![MulticastGroupStatus {
            network: "lab".to_owned(),
            group: "ff05::1:3".to_owned(),
            routers: false,
            members: vec![MemberStatus { port: "vm1".to_owned(), expires_s: 259 }],
        }],
        multicast: MulticastStatus::default(),
        stp: Vec::new(),
        bonds: Vec::new(),
        outsides: Vec::new(),
        qos: QosStatus::default(),
        neighbours: Vec::new(),
        workers: vec![WorkerStatus {
            cpu: 0,
            rings: 4,
            bursts: 8,
            frames: 20,
            sleeps: 1,
            flow_cache: FlowCacheStatus { hits: 19, misses: 1, ..FlowCacheStatus::default() },
            ..Default::default()
        }],
    }
}

const ALL: [Option<What>; 7] = [
    None,
    Some(What::Ports),
    Some(What::Uplinks),
    Some(What::Networks),
    Some(What::Multicast),
    Some(What::Workers),
    Some(What::Drops),
];

#[test]
fn everything_fits_a_hundred_columns() {
    for what in ALL {
        let text = people(&snapshot(), what, None, false);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{what:?}: {line}");
        }
    }
}

#[test]
fn it_says_that_connections_would_not_survive_a_restart() {
    let mut snapshot = snapshot();
    assert!(!overview(&snapshot, false).contains("connections are not kept"));
    snapshot.restored.not_kept = Some("cannot write /x: No space left".to_owned());
    assert!(
        overview(&snapshot, false).contains("connections are not kept: cannot write /x: No space left\n")
    );
}

#[test]
fn a_port_is_one_line_and_a_broken_one_says_why() {
    let text = people(&snapshot(), Some(What::Ports), None, false);
    let lines: Vec<&str> = text.lines().collect();
    let row = lines.iter().find(|line| line.starts_with("vm1 ")).unwrap();
    for part in ["lab", "running", "52:54:00:00:00:01", "1.23M", "1.90 GB", "12", "840 B", "7"] {
        assert!(row.contains(part), "{part} in {row}");
    }
    assert!(lines.iter().any(|line| line.ends_with(": ring 1: the available index jumped")), "{text}");
}

#[test]
fn an_uplink_is_told_with_its_interface_driver_and_rates() {
    let text = people(&snapshot(), Some(What::Uplinks), None, false);
    let row = text.lines().find(|line| line.starts_with("wan ")).unwrap();
    for part in ["ens1f0np0", "af-packet", "no-carrier", "25.0 Gbit/s", "1500", "7.90 Gbit/s", "480 bit/s"] {
        assert!(row.contains(part), "{part} in {row}");
    }
    assert!(!text.contains("vm1"), "{text}");
    let one = only_uplink(snapshot(), "wan").unwrap();
    let text = people(&one, Some(What::Uplinks), Some("wan"), false);
    for part in ["wan to network lab: attached", "af-packet: it has no XDP driver", "csum tso4"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(only_uplink(snapshot(), "vm1").is_err());
}

#[test]
fn a_guest_whose_memory_is_on_another_node_is_told_below_the_ports() {
    let mut snapshot = snapshot();
    let numa = |is_local| Some(NumaStatus { memory_node: 1, cpus: vec![0], is_local });
    snapshot.ports[0].numa = numa(true);
    snapshot.ports[1].numa = numa(false);
    let text = people(&snapshot, Some(What::Ports), None, false);
    let told = "its memory is on node 1; not all of its workers are near (processors 0)";
    assert_eq!(text.matches("its memory").count(), 1, "{text}");
    assert!(text.contains(&format!("{}: {told}\n", snapshot.ports[1].name)), "{text}");
    snapshot.workers[0].node = Some(1);
    let text = people(&snapshot, Some(What::Workers), None, false);
    assert!(text.lines().any(|line| line.split_whitespace().take(2).eq(["0", "1"])), "{text}");
}

#[test]
fn one_port_is_told_in_full() {
    let snapshot = only_port(snapshot(), "vm1").unwrap();
    let text = people(&snapshot, Some(What::Ports), Some("vm1"), false);
    for part in ["process 4711", "4 of 4 rings run", "7 runt: Too short.", "VERSION_1"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn an_unknown_port_or_network_is_an_error() {
    assert!(only_port(snapshot(), "vm9").is_err());
    assert!(only_network(snapshot(), "wan").is_err());
}

#[test]
fn programs_get_the_same_names_as_the_api() {
    for what in ALL {
        let value: serde_json::Value = serde_json::from_str(&programs(&snapshot(), what).unwrap()).unwrap();
        assert!(if what.is_none() { value.is_object() } else { value.is_array() }, "{what:?}");
    }
    let drops: serde_json::Value =
        serde_json::from_str(&programs(&snapshot(), Some(What::Drops)).unwrap()).unwrap();
    assert_eq!(
        drops[0],
        serde_json::json!({"port": "vm1", "reason": "runt", "meaning": "Too short.", "frames": 7})
    );
}
