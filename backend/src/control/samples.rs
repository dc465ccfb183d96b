//! Networks and ports for tests, as a file without any setting describes them.

use std::time::Duration;

use viaduct_switch::{JudgeLimits, MacAddress, Priority, StormLimits};

use crate::config::{
    Attachment, Config, GatewaySettings, Membership, Network, NetworkMode, Port, Role, VhostUser,
};

/// An isolated network.
pub(super) fn network() -> Network {
    Network {
        mode: NetworkMode::Isolated,
        uplink: None,
        vlan: None,
        inner_tags: false,
        tenant: None,
        parallel_uplinks: Vec::new(),
        stp: None,
        ageing: Duration::from_secs(300),
        multicast_snooping: true,
        multicast_membership: Duration::from_secs(260),
        multicast_fast_leave: false,
        segment: None,
        gateway: GatewaySettings::default(),
        overlay: None,
    }
}

/// A guest's end with this socket, at which we listen.
pub(super) fn vhost_user(socket: impl Into<std::path::PathBuf>, queues: u16) -> VhostUser {
    VhostUser { socket: socket.into(), role: Role::Server, mac: MacAddress([2, 0, 0, 0, 0, 1]), queues }
}

/// A guest's port in network `lab`.
pub(super) fn port(end: VhostUser) -> Port {
    Port {
        membership: Membership::Access("lab".into()),
        priority: Priority::default(),
        attachment: Attachment::VhostUser(end),
        mtu: 1500,
        storm: StormLimits::default(),
        judging: JudgeLimits::default(),
        qos: None,
        multicast_router: false,
        security: None,
        groups: None,
        addresses: Vec::new(),
        floating: Vec::new(),
        publish: Vec::new(),
    }
}

/// Network `lab` with these ports.
pub(super) fn lab(ports: impl IntoIterator<Item = (String, Port)>) -> Config {
    Config {
        networks: [("lab".to_owned(), network())].into(),
        ports: ports.into_iter().collect(),
        ..Config::default()
    }
}

/// The guest's end of a port that has one.
pub(super) fn end<'a>(config: &'a mut Config, port: &str) -> &'a mut VhostUser {
    match &mut config.ports.get_mut(port).unwrap().attachment {
        Attachment::VhostUser(end) => end,
        Attachment::Interface(interface) => panic!("{interface:?}"),
    }
}
