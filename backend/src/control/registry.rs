//! Ports and networks with the small numbers under which the data path knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use viaduct_switch::ids::PORTS_MAX;
use viaduct_switch::marking::Marking;
use viaduct_switch::nat::{Nat, NatSettings};
use viaduct_switch::security::{AddressPair, PortSecurity, SourceGuard, Zone};
use viaduct_switch::tunnel::{EndpointIndex, VTEPS_MAX, is_vtep_port};
use viaduct_switch::{
    ControlPolicy, ControlProtocol, Membership, MulticastSettings, NetworkIndex, NetworkSettings, Policy,
    PortIndex, PortPolicy, Trunk,
};

use crate::config::{self, BondMode, Config};
use crate::control::ApplyError;
use crate::control::port::Port;
use crate::control::qos::Meters;
use crate::control::routing::{self, Named, Outsides};
use crate::control::stations::FedVteps;
use crate::control::trees::States;
use crate::control::tunnels::{self, Vteps};

/// What the tables depend on beside the configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What spanning trees want of uplinks.
    pub(super) states: States,
    /// What is known of uplinks at which the switch has addresses.
    pub(super) outsides: Outsides,
    /// What ports may send, and did.
    pub(super) meters: Meters,
    /// The ports of VTEPs that are written down, and of those that are fed.
    pub(super) vteps: Vteps,
    /// The VTEPs of stations that are fed.
    pub(super) fed: FedVteps,
}

/// Names and numbers of a configuration's networks, and of its ports and uplinks, which are ports to the data path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Numbers {
    pub(super) networks: BTreeMap<String, NetworkIndex>,
    pub(super) ports: BTreeMap<String, PortIndex>,
    /// The switch's own ends of tunnels.
    pub(super) endpoints: BTreeMap<String, EndpointIndex>,
}

impl Numbers {
    /// Numbers for `wanted`: who has one keeps it; newcomers get the lowest that nobody has, not even one who
    /// is about to leave. `None` if there are not enough.
    pub(super) fn for_config(&self, wanted: &Config) -> Option<Self> {
        let gateways: Vec<String> = routing::gateway_ports(wanted).collect();
        let ports = wanted.ports.keys().chain(wanted.uplinks.keys()).chain(&gateways);
        let endpoints = tunnels::endpoint_names(wanted);
        if self.in_the_way(wanted).is_some() {
            return None;
        }
        // The highest are those of VTEPs.
        let ports_max = if endpoints.is_empty() { PORTS_MAX } else { PORTS_MAX - VTEPS_MAX };
        Some(Self {
            networks: assign(
                &self.networks,
                wanted.networks.keys().chain(routing::own_networks(wanted)),
                NetworkIndex::new,
            )?,
            ports: assign(&self.ports, ports, |index| PortIndex::new(index).filter(|_| index < ports_max))?,
            endpoints: assign(&self.endpoints, endpoints.iter(), |index| {
                u16::try_from(index).ok().map(EndpointIndex)
            })?,
        })
    }

    /// Why `wanted` cannot have overlays: ports that it keeps have numbers that are VTEPs' then.
    pub(super) fn in_the_way(&self, wanted: &Config) -> Option<ApplyError> {
        tunnels::endpoint_names(wanted).first()?;
        let stays = |name: &String| wanted.ports.contains_key(name) || wanted.uplinks.contains_key(name);
        let mut kept = self
            .ports
            .iter()
            .filter(|(name, index)| is_vtep_port(**index) && stays(name))
            .map(|(name, _)| name);
        let port = kept.next()?.clone();
        Some(ApplyError::PortsInTheWay { port, others: kept.count(), max: PORTS_MAX - VTEPS_MAX })
    }

    /// The tables of the data path for `config`, whose names all have numbers.
    pub(super) fn compile(&self, config: &Config, seen: &Seen) -> Result<Policy, ApplyError> {
        let Seen { outsides, meters, vteps, fed, .. } = seen;
        let tunnels = tunnels::Plan { config, numbers: self, outsides, vteps, fed };
        let gateway = |name: &str| routing::gateway(config, self, outsides, name);
        let ports = config.ports.iter().filter_map(|(name, port)| {
            Some((
                *self.ports.get(name)?,
                PortPolicy {
                    storm: port.storm,
                    judging: port.judging,
                    multicast_router: port.multicast_router,
                    control: ControlPolicy::GUEST,
                    priority: port.priority,
                    guard: port.security.as_ref().map(guard),
                    police: meters.of(config, name, port.qos.as_ref()),
                    marking: marking(config, port.qos.as_ref()),
                    ..PortPolicy::of(self.membership(&port.membership)?, port.mtu)
                },
            ))
        });
        let networks = config.networks.iter().filter_map(|(name, network)| {
            let ageing_s = u32::try_from(network.ageing.as_secs()).unwrap_or(u32::MAX);
            let membership_s = u32::try_from(network.multicast_membership.as_secs()).unwrap_or(u32::MAX);
            let settings = MulticastSettings { membership_s, fast_leave: network.multicast_fast_leave };
            // Members on other machines say so to their own.
            let is_snooped = network.multicast_snooping && network.overlay.is_none();
            let multicast = is_snooped.then_some(settings);
            let &config::Network { vlan, inner_tags, .. } = network;
            Some((
                *self.networks.get(name)?,
                NetworkSettings {
                    ageing_s,
                    multicast,
                    vlan,
                    inner_tags,
                    gateway: gateway(name),
                    suppresses: network.overlay.as_ref().is_some_and(|overlay| overlay.suppression),
                },
            ))
        });
        let own = routing::own_networks(config).filter_map(|name| {
            let settings = NetworkSettings { gateway: gateway(name), ..NetworkSettings::default() };
            Some((*self.networks.get(name)?, settings))
        });
        // A gateway's own frames are as long as its network takes them, which the gateway sees to.
        let gateways = routing::ports(config, self).into_iter();
        let gateways = gateways.map(|(network, port)| (port, PortPolicy::new(network, u16::MAX)));
        let ports = ports.chain(self.uplinks(config, seen)).chain(gateways);
        let ports = ports.chain(tunnels.ports());
        let policy = Policy::compile(ports, networks.chain(own))?;
        let routing = routing::compile(config, self, outsides)?;
        // Whoever has no gateway pays nothing for it.
        let is_empty = routing.interfaces().next().is_none();
        if is_empty {
            return Ok(policy);
        }
        let translations = config.nat_settings(&Named { config, numbers: self, outsides });
        let nat = Nat::compile(&translations, &routing)?;
        let policy = policy.with_routing(Arc::new(routing));
        let policy = if self.endpoints.is_empty() {
            policy
        } else {
            policy.with_tunnels(Arc::new(tunnels.compile()?))
        };
        let translates = translations != NatSettings::default();
        Ok(if translates { policy.with_nat(Arc::new(nat)) } else { policy })
    }

    /// The networks of a port; `None` where one has no number.
    fn membership(&self, wanted: &config::Membership) -> Option<Membership> {
        let number = |name: &String| self.networks.get(name).copied();
        match wanted {
            config::Membership::Access(network) => number(network).map(Membership::Access),
            config::Membership::Trunk(trunk) => {
                let native = match &trunk.native {
                    Some(name) => Some(number(name)?),
                    None => None,
                };
                let networks = trunk.networks.iter().map(number).collect::<Option<_>>()?;
                Some(Membership::Trunk(Trunk {
                    native,
                    networks,
                    service_vlan: trunk.service_vlan,
                    tag_types: trunk.tag_types,
                }))
            }
        }
    }

    /// The uplinks that carry networks: trunks of them, where the one without a VLAN id has no tag. Those in `states`
    /// take part in a spanning tree.
    fn uplinks(&self, config: &Config, seen: &Seen) -> impl Iterator<Item = (PortIndex, PortPolicy)> {
        let Seen { states, meters, .. } = seen;
        config.uplinks.iter().filter_map(|(name, settings)| {
            let is_over = |network: &config::Network| network.uplinks().any(|uplink| uplink == name);
            let over = config.networks.iter().filter(|(_, network)| is_over(network));
            let (tagged, untagged): (Vec<_>, Vec<_>) = over.partition(|(_, network)| network.vlan.is_some());
            let number = |(name, _): &(&String, &config::Network)| self.networks.get(*name).copied();
            // It has the uplink's name, if the uplink has an address and nothing else is there without a tag.
            let own = self.networks.get(name).copied().filter(|_| settings.addressing.is_some());
            let trunk = Trunk {
                native: untagged.first().and_then(number).or(own),
                networks: tagged.iter().filter_map(number).collect(),
                service_vlan: settings.service_vlan,
                tag_types: settings.tag_types,
            };
            let control = control_policy(settings);
            // Neighbours are talked to whether networks want the uplink or not.
            let carries =
                trunk.native.is_some() || !trunk.networks.is_empty() || control != ControlPolicy::UPLINK;
            // What is longer than the interface takes does not come in by it.
            let mtu = settings.mtu.unwrap_or(u16::MAX);
            let mut policy = PortPolicy {
                storm: settings.storm,
                judging: settings.judging,
                multicast_router: settings.multicast_router,
                control,
                priority: settings.priority,
                police: meters.of(config, name, settings.qos.as_ref()),
                marking: marking(config, settings.qos.as_ref()),
                ..PortPolicy::trunk(trunk, mtu)
            };
            let port = *self.ports.get(name)?;
            if let Some(&state) = states.get(&port) {
                policy.take_state(state);
            }
            carries.then_some((port, policy))
        })
    }
}

/// What becomes of the marks of frames by a port with this QoS.
fn marking(config: &Config, qos: Option<&String>) -> Option<Arc<Marking>> {
    config.qos.get(qos?)?.marking.clone()
}

/// What a port with these addresses may send.
fn guard(settings: &config::PortSecurity) -> Arc<SourceGuard> {
    let pair = |pair: &config::AddressPair| AddressPair { prefix: pair.prefix, mac: pair.mac };
    Arc::new(SourceGuard::new(&PortSecurity {
        addresses: settings.addresses.clone(),
        pairs: settings.pairs.iter().map(pair).collect(),
        trusted: settings.trusted,
        ..PortSecurity::new(Zone(0), settings.mac)
    }))
}

/// The protocols that are spoken on an uplink, its networks' spanning trees aside.
fn control_policy(uplink: &config::Uplink) -> ControlPolicy {
    let is_lacp = uplink.bond.as_ref().is_some_and(|bond| bond.mode == BondMode::Lacp);
    let slow =
        if is_lacp { ControlPolicy::UPLINK.with(ControlProtocol::Slow) } else { ControlPolicy::UPLINK };
    if uplink.lldp { slow.with(ControlProtocol::Lldp) } else { slow }
}

pub(super) fn assign<'a, I: Copy + Ord>(
    taken: &BTreeMap<String, I>,
    wanted: impl Iterator<Item = &'a String>,
    number: impl Fn(usize) -> Option<I>,
) -> Option<BTreeMap<String, I>> {
    let used: std::collections::BTreeSet<I> = taken.values().copied().collect();
    let mut free = (0..).map_while(&number).filter(|index| !used.contains(index));
    wanted
        .map(|name| {
            let index = taken.get(name).copied().or_else(|| free.next())?;
            Some((name.clone(), index))
        })
        .collect()
}

/// The running ports, by number.
#[derive(Default)]
pub(super) struct Ports {
    slots: Vec<Option<Port>>,
}

impl Ports {
    pub(super) fn get_mut(&mut self, index: PortIndex) -> Option<&mut Port> {
        self.slots.get_mut(index.get())?.as_mut()
    }

    pub(super) fn get(&self, index: PortIndex) -> Option<&Port> {
        self.slots.get(index.get())?.as_ref()
    }

    pub(super) fn insert(&mut self, port: Port) {
        let index = port.index.get();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(port);
    }

    pub(super) fn remove(&mut self, index: PortIndex) -> Option<Port> {
        self.slots.get_mut(index.get())?.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Port> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Port> {
        self.slots.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ThisHost, parse};

    #[test]
    fn a_port_that_is_in_an_overlays_way_is_named_with_the_remedy() {
        let overlay = "[uplink.isp]\ninterface = 'eth3'\naddress = '192.0.2.1/24'\n[network.lab]\n\
                       overlay = { kind = 'vxlan', vni = 1, uplink = 'isp' }\n[port.late]\nnetwork = 'lab'\n[port.new]\nnetwork = 'lab'\n";
        let read = |text: &str| parse(text.as_bytes(), "x.toml", &ThisHost).unwrap().config;
        let late = PortIndex::new(PORTS_MAX - VTEPS_MAX).unwrap();
        let numbers = Numbers { ports: [("late".to_owned(), late)].into(), ..Numbers::default() };
        let wanted = read(overlay);
        assert_eq!(numbers.for_config(&wanted), None);
        let told = numbers.in_the_way(&wanted).unwrap().to_string();
        assert!(told.starts_with("port late and 0 others") && told.contains("Restart the daemon"), "{told}");
        // Without the port, and then with it again.
        let without = read(&overlay.replace("[port.late]\nnetwork = 'lab'\n", ""));
        let given = numbers.for_config(&without).unwrap();
        assert!(given.for_config(&wanted).is_some());
        assert!(numbers.in_the_way(&read("[network.lab]\n[port.late]\nnetwork = 'lab'\n")).is_none());
    }

    #[test]
    fn who_stays_keeps_its_number_and_newcomers_take_free_ones() {
        let taken: BTreeMap<String, usize> = [("a".into(), 0), ("b".into(), 1), ("c".into(), 3)].into();
        let wanted = ["b", "d", "e", "f"].map(String::from);
        let number = |index| (index < 6).then_some(index);
        let given = assign(&taken, wanted.iter(), number).unwrap();
        let expected: BTreeMap<String, usize> =
            [("b".into(), 1), ("d".into(), 2), ("e".into(), 4), ("f".into(), 5)].into();
        assert_eq!(given, expected);
        let five = ["b", "d", "e", "f", "g"].map(String::from);
        assert_eq!(assign(&taken, five.iter(), number), None);
    }
}
