//! The compiled policy: what the control side wants, as tables for the data path.
//!
//! A policy is immutable. The control side compiles a new one and hands it to every worker; nothing is
//! ever changed in place.

use thiserror::Error;

use crate::control::ControlPolicy;
use crate::ids::{NetworkIndex, PortIndex};
use crate::storm::StormLimits;

/// The smallest MTU in bytes that a port may have (RFC 791, 3.2: every module forwards 68 octets).
pub const MTU_MIN: u16 = 68;

/// After how many seconds of silence an address is forgotten, unless the network says otherwise
/// (IEEE 802.1Q-2018, table 8-6).
pub const AGEING_DEFAULT_S: u32 = 300;

/// What the control side says about a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortPolicy {
    /// The network that the port belongs to.
    pub network: NetworkIndex,
    /// The longest layer-3 packet in bytes that may enter here, without Ethernet header and VLAN tags.
    pub mtu: u16,
    /// What may be sent to many receivers at once.
    pub storm: StormLimits,
    /// Whether a multicast router may be behind the port: its queries are believed.
    pub multicast_router: bool,
    /// Which control frames it takes.
    pub control: ControlPolicy,
}

impl PortPolicy {
    /// A port in `network` that takes packets of up to `mtu` bytes, everything else by default.
    #[must_use]
    pub fn new(network: NetworkIndex, mtu: u16) -> Self {
        let (storm, control) = (StormLimits::default(), ControlPolicy::GUEST);
        Self { network, mtu, storm, multicast_router: false, control }
    }
}

/// What the control side says about a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkSettings {
    /// After how many seconds of silence an address is forgotten; never 0.
    pub ageing_s: u32,
    /// How multicast is snooped if one of the network's ports may be a multicast router's; `None`: not.
    pub multicast: Option<MulticastSettings>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self { ageing_s: AGEING_DEFAULT_S, multicast: Some(MulticastSettings::default()) }
    }
}

/// How multicast is snooped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MulticastSettings {
    /// For how many seconds a port is a member of a group after a host behind it said so.
    pub membership_s: u32,
    /// Whether a host that leaves a group was the last behind its port: the port leaves at once.
    pub fast_leave: bool,
}

impl Default for MulticastSettings {
    /// RFC 9776, 8.4: two queries, 125 s apart, and 10 s to answer.
    fn default() -> Self {
        Self { membership_s: 260, fast_leave: false }
    }
}

/// A network as the data path sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkPolicy {
    members: Box<[PortIndex]>,
    ageing_s: u32,
    multicast: Option<MulticastSettings>,
}

impl NetworkPolicy {
    /// The network's ports, in ascending order.
    #[must_use]
    #[inline]
    pub fn members(&self) -> &[PortIndex] {
        &self.members
    }

    /// After how many seconds of silence an address is forgotten.
    #[must_use]
    #[inline]
    pub fn ageing_s(&self) -> u32 {
        self.ageing_s
    }

    /// How multicast is snooped; `None` if it is not, or if no port may be a multicast router's.
    #[must_use]
    #[inline]
    pub fn multicast(&self) -> Option<MulticastSettings> {
        self.multicast
    }
}

/// All that the data path knows about ports and networks.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    ports: Box<[Option<PortPolicy>]>,
    networks: Box<[Option<NetworkPolicy>]>,
}

/// Why a policy was not compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PolicyError {
    /// Port {0} is given twice; give each port once.
    #[error("port {0} is given twice; give each port once")]
    DuplicatePort(PortIndex),
    /// Network {0} is given twice; give each network once.
    #[error("network {0} is given twice; give each network once")]
    DuplicateNetwork(NetworkIndex),
    /// A port belongs to a network that is not given.
    #[error(
        "port {port} belongs to network {network}, which is not given; give the network or leave out the port"
    )]
    UnknownNetwork {
        /// The port in question.
        port: PortIndex,
        /// The network that is missing.
        network: NetworkIndex,
    },
    /// A port's MTU is below the smallest that IPv4 allows.
    #[error("port {port} has an MTU of {mtu} bytes; use at least 68 (RFC 791, 3.2)")]
    SmallMtu {
        /// The port in question.
        port: PortIndex,
        /// Its MTU in bytes.
        mtu: u16,
    },
    /// A network's addresses would be forgotten at once.
    #[error("network {0} has an ageing time of 0 s; use at least 1 s")]
    NoAgeing(NetworkIndex),
}

impl Policy {
    /// Compiles a policy from its ports and networks, in any order.
    ///
    /// # Errors
    /// The first contradiction found; see [`PolicyError`].
    pub fn compile(
        ports: impl IntoIterator<Item = (PortIndex, PortPolicy)>,
        networks: impl IntoIterator<Item = (NetworkIndex, NetworkSettings)>,
    ) -> Result<Self, PolicyError> {
        let networks = compile_networks(networks)?;
        let ports = compile_ports(ports)?;
        let mut members = vec![Vec::new(); networks.len()];
        for (port, policy) in numbered(&ports) {
            let network = policy.network;
            let known = networks.get(network.get()).is_some_and(Option::is_some);
            if !known {
                return Err(PolicyError::UnknownNetwork { port, network });
            }
            members[network.get()].push(port);
        }
        let networks = networks.into_iter().zip(members).map(|(settings, members)| {
            let has_router = members.iter().any(|port: &PortIndex| {
                ports[port.get()].as_ref().is_some_and(|policy| policy.multicast_router)
            });
            settings.map(|NetworkSettings { ageing_s, multicast }| {
                let multicast = multicast.filter(|_| has_router);
                NetworkPolicy { members: members.into(), ageing_s, multicast }
            })
        });
        Ok(Self { networks: networks.collect(), ports: ports.into() })
    }

    /// The port's policy; `None` if the port belongs to no network.
    #[must_use]
    #[inline]
    pub fn port(&self, port: PortIndex) -> Option<&PortPolicy> {
        self.ports.get(port.get())?.as_ref()
    }

    /// The network's policy; `None` if there is no such network.
    #[must_use]
    #[inline]
    pub fn network(&self, network: NetworkIndex) -> Option<&NetworkPolicy> {
        self.networks.get(network.get())?.as_ref()
    }

    /// Whether `port` belongs to `network`.
    #[must_use]
    #[inline]
    pub fn is_member(&self, port: PortIndex, network: NetworkIndex) -> bool {
        self.port(port).is_some_and(|policy| policy.network == network)
    }
}

fn compile_networks(
    given: impl IntoIterator<Item = (NetworkIndex, NetworkSettings)>,
) -> Result<Vec<Option<NetworkSettings>>, PolicyError> {
    let mut table = Vec::new();
    for (network, settings) in given {
        if settings.ageing_s == 0 {
            return Err(PolicyError::NoAgeing(network));
        }
        if place(&mut table, network.get(), settings).is_some() {
            return Err(PolicyError::DuplicateNetwork(network));
        }
    }
    Ok(table)
}

fn compile_ports(
    given: impl IntoIterator<Item = (PortIndex, PortPolicy)>,
) -> Result<Vec<Option<PortPolicy>>, PolicyError> {
    let mut table = Vec::new();
    for (port, policy) in given {
        if policy.mtu < MTU_MIN {
            return Err(PolicyError::SmallMtu { port, mtu: policy.mtu });
        }
        if place(&mut table, port.get(), policy).is_some() {
            return Err(PolicyError::DuplicatePort(port));
        }
    }
    Ok(table)
}

/// Puts `value` at `index` of a table that grows as needed; gives back what stood there.
fn place<T>(table: &mut Vec<Option<T>>, index: usize, value: T) -> Option<T> {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    table[index].replace(value)
}

/// The ports that a table holds, in ascending order.
fn numbered(ports: &[Option<PortPolicy>]) -> impl Iterator<Item = (PortIndex, &PortPolicy)> {
    let numbered = ports.iter().enumerate();
    numbered.filter_map(|(index, policy)| Some((PortIndex::new(index)?, policy.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(index: usize) -> PortIndex {
        PortIndex::new(index).unwrap()
    }

    fn network(index: usize) -> NetworkIndex {
        NetworkIndex::new(index).unwrap()
    }

    fn in_network(index: usize) -> PortPolicy {
        PortPolicy::new(network(index), 1500)
    }

    const SETTINGS: NetworkSettings = NetworkSettings { ageing_s: 300, multicast: None };

    #[test]
    fn members_are_sorted_and_each_network_has_its_own() {
        let ports = [(port(7), in_network(1)), (port(2), in_network(1)), (port(3), in_network(4))];
        let policy = Policy::compile(ports, [(network(1), SETTINGS), (network(4), SETTINGS)]).unwrap();
        assert_eq!(policy.network(network(1)).unwrap().members(), [port(2), port(7)]);
        assert_eq!(policy.network(network(4)).unwrap().members(), [port(3)]);
        assert!(policy.network(network(0)).is_none());
        assert!(policy.port(port(0)).is_none());
        assert!(policy.port(port(4000)).is_none());
        assert!(policy.is_member(port(7), network(1)));
        assert!(!policy.is_member(port(7), network(4)));
    }

    #[test]
    fn contradictions_are_named() {
        let compile = |ports: &[(PortIndex, PortPolicy)], networks: &[(NetworkIndex, NetworkSettings)]| {
            Policy::compile(ports.iter().copied(), networks.iter().copied()).unwrap_err()
        };
        let lab = (network(0), SETTINGS);
        let one = (port(1), in_network(0));
        assert_eq!(compile(&[one, one], &[lab]), PolicyError::DuplicatePort(port(1)));
        assert_eq!(compile(&[one], &[lab, lab]), PolicyError::DuplicateNetwork(network(0)));
        assert_eq!(
            compile(&[], &[(network(0), NetworkSettings { ageing_s: 0, ..SETTINGS })]),
            PolicyError::NoAgeing(network(0))
        );
        let lost = PolicyError::UnknownNetwork { port: port(1), network: network(9) };
        assert_eq!(compile(&[(port(1), in_network(9))], &[lab]), lost);
        let small = PortPolicy::new(network(0), 67);
        assert_eq!(compile(&[(port(1), small)], &[lab]), PolicyError::SmallMtu { port: port(1), mtu: 67 });
    }
}
