//! Switches with random ports.

use std::net::IpAddr;
use std::sync::Arc;

use viaduct_switch::security::{PortSecurity, SourceGuard, Zone};
use viaduct_switch::spanning_tree::PortState;
use viaduct_switch::{
    ControlPolicy, ControlProtocol, FrameRate, JudgeLimits, Limits, Membership, NetworkIndex,
    NetworkSettings, Policy, PortIndex, PortPolicy, Priority, StormLimits, Switch, TagTypes, Trunk, VlanId,
    WorkerState,
};

use crate::chance::Chance;
use crate::groups::with_random_groups;
use crate::packets::station;

const NETWORKS: usize = 3;
pub(crate) const PORTS: usize = 6;

pub(crate) struct World {
    pub(crate) switch: Switch,
    pub(crate) worker: WorkerState,
    pub(crate) policy: Arc<Policy>,
}

pub(crate) fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

/// The VLAN of a network: 1, 2, 3.
fn vlan(index: usize) -> VlanId {
    VlanId::new(u16::try_from(index + 1).unwrap()).unwrap()
}

impl World {
    fn new(ports: Vec<PortPolicy>, networks: Vec<NetworkSettings>) -> Self {
        let ports = ports.into_iter().enumerate().map(|(index, policy)| (port(index), policy));
        let networks = networks.into_iter().enumerate().map(|(index, settings)| (network(index), settings));
        let policy = Arc::new(Policy::compile(ports, networks).unwrap());
        let switch = Switch::new(7, Limits::default());
        switch.set_verification(true);
        Self { switch, worker: WorkerState::new(Arc::clone(&policy)), policy }
    }

    /// A network of three; port 0 is held to its addresses, and behind port 2 may be a multicast router.
    pub(crate) fn plain() -> Self {
        let guarded = PortPolicy { guard: Some(guard(0)), ..PortPolicy::new(network(0), 1500) };
        let router = PortPolicy { multicast_router: true, ..PortPolicy::new(network(0), 1500) };
        let ports = vec![guarded, PortPolicy::new(network(0), 1500), router];
        Self::new(ports, vec![NetworkSettings::default()])
    }

    pub(crate) fn random(chance: &mut Chance) -> Self {
        let networks = (0..NETWORKS).map(|index| NetworkSettings {
            vlan: Some(vlan(index)),
            // A trunk's native network allows none.
            inner_tags: index > 0 && chance.once_in(2),
            ..NetworkSettings::default()
        });
        let networks = networks.collect();
        let ports = (0..PORTS).map(|index| random_port(chance, index)).collect();
        let mut world = Self::new(ports, networks);
        if !chance.once_in(3) {
            let policy = with_random_groups(chance, &world.policy, PORTS);
            world.go_by(Arc::new(policy));
        }
        world
    }

    pub(crate) fn go_by(&mut self, policy: Arc<Policy>) {
        self.worker.set_policy(Arc::clone(&policy));
        self.policy = policy;
    }

    /// A port, seldom one that has no network.
    pub(crate) fn port(&self, chance: &mut Chance) -> PortIndex {
        port(if chance.once_in(50) { PORTS } else { chance.below(PORTS) })
    }
}

/// A port is mostly in network 0, so that frames reach somebody.
fn random_port(chance: &mut Chance, index: usize) -> PortPolicy {
    let membership = match chance.below(3) {
        0 => Membership::Trunk(random_trunk(chance)),
        _ => Membership::Access(network(chance.pick(&[0, 0, 0, 1, 2]))),
    };
    let low = FrameRate::new(1);
    let few = JudgeLimits { new_connections: low, judged_packets: FrameRate::new(2) };
    let storm = StormLimits { broadcast: low, multicast: low, unknown_unicast: low };
    let control = ControlPolicy::UPLINK.with(ControlProtocol::Lldp).with(ControlProtocol::SpanningTree);
    let mut policy = PortPolicy {
        judging: if chance.once_in(3) { few } else { JudgeLimits::default() },
        storm: if chance.once_in(3) { storm } else { StormLimits::default() },
        multicast_router: chance.once_in(3),
        control: if chance.once_in(3) { control } else { ControlPolicy::GUEST },
        priority: Priority::new(chance.byte() % 8).unwrap(),
        guard: chance.once_in(3).then(|| guard(index)),
        ..PortPolicy::of(membership, 1500)
    };
    if chance.once_in(6) {
        let states = [PortState::Discarding, PortState::Learning, PortState::Forwarding];
        policy.take_state(chance.pick(&states));
    }
    policy
}

fn random_trunk(chance: &mut Chance) -> Trunk {
    Trunk {
        native: chance.once_in(2).then(|| network(0)),
        networks: (0..NETWORKS).filter(|_| !chance.once_in(3)).map(network).collect(),
        service_vlan: chance.once_in(4).then(|| VlanId::new(9).unwrap()),
        tag_types: TagTypes { service: chance.once_in(2), legacy: chance.once_in(2) },
    }
}

/// Station `number` with 10.0.0.`number` and fd00::`number`.
fn guard(number: usize) -> Arc<SourceGuard> {
    let last = u8::try_from(number).unwrap();
    let six: IpAddr = format!("fd00::{number}").parse().unwrap();
    let addresses = vec![IpAddr::from([10, 0, 0, last]), six];
    Arc::new(SourceGuard::new(&PortSecurity { addresses, ..PortSecurity::new(Zone(0), station(last)) }))
}
