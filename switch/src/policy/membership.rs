//! Which networks a port belongs to, and what contradicts itself.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

use super::ingress::{Slot, VlanTable, customer_types, service_types};
use super::{MTU_MIN, NetworkSettings, PortPolicy, place};
use crate::control::ControlProtocol;
use crate::ids::{NETWORKS_MAX, NetworkIndex, PortIndex};
use crate::spanning_tree::PortState;
use crate::vlan::{TagTypes, VlanId};

/// The networks that a port belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Membership {
    /// One network, whose frames have no tag here.
    Access(NetworkIndex),
    /// Several networks, told apart by tags.
    Trunk(Trunk),
    /// A VTEP: several networks, told apart by what tunnels put before their frames.
    Vtep(VtepMembership),
}

/// The networks of a VTEP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VtepMembership {
    /// Those whose stations may be behind it.
    pub networks: Arc<NetworkSet>,
    /// Those of which it gets what is for all stations.
    pub floods: Vec<NetworkIndex>,
}

/// A set of networks: 512 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkSet([u64; NETWORKS_MAX / 64]);

impl NetworkSet {
    /// Whether `network` is one of them.
    #[must_use]
    #[inline]
    pub fn has(&self, network: NetworkIndex) -> bool {
        self.0.get(network.get() / 64).is_some_and(|word| word >> (network.get() % 64) & 1 == 1)
    }
}

impl FromIterator<NetworkIndex> for NetworkSet {
    fn from_iter<T: IntoIterator<Item = NetworkIndex>>(networks: T) -> Self {
        let mut set = Self([0; NETWORKS_MAX / 64]);
        for network in networks {
            if let Some(word) = set.0.get_mut(network.get() / 64) {
                *word |= 1 << (network.get() % 64);
            }
        }
        set
    }
}

/// The networks of a trunk. An uplink is one, too.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trunk {
    /// The network whose frames have no tag here. Frames with its tag belong to it as well (IEEE 802.1Q-2018, 6.9:
    /// a VLAN tag's id counts, whatever the port's own is).
    pub native: Option<NetworkIndex>,
    /// The networks whose frames have their tag here; each has a VLAN id. The native one may be among them.
    pub networks: Vec<NetworkIndex>,
    /// The VLAN id of the service provider's tag that stands before all frames here (IEEE 802.1Q-2018, 15 and 16).
    pub service_vlan: Option<VlanId>,
    /// Which tags are taken beside the standard's.
    pub tag_types: TagTypes,
}

impl PortPolicy {
    /// Makes it a spanning tree's port, with one state in all of its networks.
    pub fn take_state(&mut self, state: PortState) {
        self.states = self.networks().into_iter().map(|network| (network, state)).collect();
        self.control = self.control.with(ControlProtocol::SpanningTree);
    }

    /// The networks that it belongs to, each once.
    #[must_use]
    pub fn networks(&self) -> Vec<NetworkIndex> {
        let tagged = match &self.membership {
            Membership::Access(_) => &[][..],
            Membership::Trunk(trunk) => &trunk.networks,
            Membership::Vtep(vtep) => &vtep.floods,
        };
        let mut networks: Vec<_> = self.native().into_iter().chain(tagged.iter().copied()).collect();
        networks.sort_unstable();
        networks.dedup();
        networks
    }

    /// The network of frames without a tag.
    #[must_use]
    pub fn native(&self) -> Option<NetworkIndex> {
        match &self.membership {
            Membership::Access(network) => Some(*network),
            Membership::Trunk(trunk) => trunk.native,
            Membership::Vtep(_) => None,
        }
    }
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
    /// A trunk could not tell a network's frames from others.
    #[error("trunk {port} carries network {network}, which has no VLAN id; give it one, or make it native")]
    NoVlan {
        /// The trunk.
        port: PortIndex,
        /// The network without an id.
        network: NetworkIndex,
    },
    /// A trunk could not tell two networks' frames apart.
    #[error("trunk {port} carries networks {first} and {second}, which both have VLAN id {vlan}; change one")]
    SharedVlan {
        /// The trunk.
        port: PortIndex,
        /// The id that they share.
        vlan: VlanId,
        /// One network.
        first: NetworkIndex,
        /// The other one.
        second: NetworkIndex,
    },
    /// A gateway's frames would enter in another network.
    #[error("port {port} is network {network}'s gateway, but no access port of it; make it one")]
    GatewayElsewhere {
        /// The gateway's port.
        port: PortIndex,
        /// The gateway's network.
        network: NetworkIndex,
    },
    /// A station's own tags would be taken for those of other networks.
    #[error(
        "trunk {port} has network {network}, whose stations may use tags of their own, without a tag beside other \
         networks, where such tags would be taken for theirs; give the network a tag there, or forbid inner tags"
    )]
    NativeInnerTags {
        /// The trunk.
        port: PortIndex,
        /// Its native network.
        network: NetworkIndex,
    },
}

/// A port as the data path sees it.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) policy: PortPolicy,
    /// What becomes of frames without a tag.
    pub(super) untagged: Slot,
    /// Which types announce a network's tag: see [`customer_types`].
    pub(super) customer_types: u8,
    pub(super) trunk: Option<CompiledTrunk>,
    /// The networks whose stations may be behind it, if it is a VTEP.
    pub(super) vtep: Option<Arc<NetworkSet>>,
}

/// What only a trunk has.
#[derive(Clone, Debug)]
pub(super) struct CompiledTrunk {
    /// Networks by VLAN id; shared by all trunks that carry the same ones.
    pub(super) vlans: Arc<VlanTable>,
    pub(super) service: Option<VlanId>,
    /// Which types announce the service provider's tag: see [`service_types`].
    pub(super) service_types: u8,
}

impl Compiled {
    /// The port's networks, each once.
    pub(super) fn networks(&self) -> impl Iterator<Item = NetworkIndex> + '_ {
        let native = self.untagged.network();
        let tagged = self.trunk.iter().flat_map(|trunk| trunk.vlans.networks());
        let flooded = match &self.policy.membership {
            Membership::Vtep(vtep) => &vtep.floods[..],
            _ => &[],
        };
        let tagged = tagged.filter(move |network| Some(*network) != native);
        native.into_iter().chain(tagged).chain(flooded.iter().copied())
    }

    /// What the port does with frames of a network that it belongs to.
    #[inline]
    pub(super) fn state(&self, network: NetworkIndex) -> PortState {
        let closed = self.policy.states.iter().find(|(of, _)| *of == network);
        closed.map_or(PortState::Forwarding, |(_, state)| *state)
    }

    #[inline]
    pub(super) fn is_native(&self, network: NetworkIndex) -> bool {
        self.untagged.network() == Some(network)
    }

    /// Whether stations of `network` may be behind the VTEP that the port is.
    #[inline]
    pub(super) fn is_vtep_of(&self, network: NetworkIndex) -> bool {
        self.vtep.as_ref().is_some_and(|networks| networks.has(network))
    }

    /// Whether `network`, whose id is `vlan`, is one of the trunk's.
    #[inline]
    pub(super) fn allows(&self, vlan: VlanId, network: NetworkIndex) -> bool {
        self.trunk.as_ref().is_some_and(|trunk| trunk.vlans.get(vlan).network() == Some(network))
    }
}

/// Tables of networks by VLAN id, one for each set of networks that trunks carry.
type Tables = HashMap<Vec<(VlanId, NetworkIndex)>, Arc<VlanTable>>;

pub(super) fn compile_ports(
    given: impl IntoIterator<Item = (PortIndex, PortPolicy)>,
    networks: &[Option<NetworkSettings>],
) -> Result<Vec<Option<Compiled>>, PolicyError> {
    let (mut table, mut tables) = (Vec::new(), Tables::new());
    for (port, policy) in given {
        if policy.mtu < MTU_MIN {
            return Err(PolicyError::SmallMtu { port, mtu: policy.mtu });
        }
        let compiled = Compile { port, networks }.port(policy, &mut tables)?;
        if place(&mut table, port.get(), compiled).is_some() {
            return Err(PolicyError::DuplicatePort(port));
        }
    }
    Ok(table)
}

/// One port that is being compiled.
#[derive(Clone, Copy)]
struct Compile<'a> {
    port: PortIndex,
    networks: &'a [Option<NetworkSettings>],
}

impl Compile<'_> {
    fn port(self, policy: PortPolicy, tables: &mut Tables) -> Result<Compiled, PolicyError> {
        let native = policy.native();
        let untagged = match native {
            Some(network) => Slot::of(network, self.network(network)?.inner_tags),
            None => Slot::default(),
        };
        let (customer_types, trunk) = match &policy.membership {
            Membership::Access(_) => (customer_types(TagTypes::default()), None),
            // Its frames have no tags when they enter: what told their network was another header.
            Membership::Vtep(vtep) => {
                vtep.floods.iter().try_for_each(|network| self.network(*network).map(drop))?;
                (0, None)
            }
            Membership::Trunk(trunk) => {
                (customer_types(trunk.tag_types), Some(self.trunk(trunk, untagged, tables)?))
            }
        };
        let vtep = match &policy.membership {
            Membership::Vtep(vtep) => Some(Arc::clone(&vtep.networks)),
            _ => None,
        };
        Ok(Compiled { policy, untagged, customer_types, trunk, vtep })
    }

    fn network(self, network: NetworkIndex) -> Result<NetworkSettings, PolicyError> {
        let settings = self.networks.get(network.get()).copied().flatten();
        settings.ok_or(PolicyError::UnknownNetwork { port: self.port, network })
    }

    fn trunk(self, trunk: &Trunk, untagged: Slot, tables: &mut Tables) -> Result<CompiledTrunk, PolicyError> {
        let vlans = self.vlans(trunk, untagged)?;
        if let (Some(network), true, false) = (trunk.native, untagged.allows_inner_tags(), vlans.is_empty()) {
            return Err(PolicyError::NativeInnerTags { port: self.port, network });
        }
        let make = |vlans: &Vec<(VlanId, NetworkIndex)>| {
            let slot = |&(vlan, network): &(VlanId, NetworkIndex)| {
                Ok((vlan, Slot::of(network, self.network(network)?.inner_tags)))
            };
            vlans.iter().map(slot).collect::<Result<VlanTable, _>>().map(Arc::new)
        };
        let vlans = match tables.get(&vlans) {
            Some(table) => Arc::clone(table),
            None => Arc::clone(tables.entry(vlans.clone()).or_insert(make(&vlans)?)),
        };
        let service_types = service_types(trunk.tag_types);
        Ok(CompiledTrunk { vlans, service: trunk.service_vlan, service_types })
    }

    /// The trunk's networks by their VLAN ids, in ascending order. The native one is among them if it has an id, unless
    /// its stations may use tags: then all tags are theirs.
    fn vlans(self, trunk: &Trunk, untagged: Slot) -> Result<Vec<(VlanId, NetworkIndex)>, PolicyError> {
        let mut vlans = Vec::with_capacity(trunk.networks.len() + 1);
        for &network in trunk.networks.iter().filter(|network| Some(**network) != trunk.native) {
            let vlan = self.network(network)?.vlan;
            vlans.push((vlan.ok_or(PolicyError::NoVlan { port: self.port, network })?, network));
        }
        if let Some(network) = trunk.native.filter(|_| !untagged.allows_inner_tags())
            && let Some(vlan) = self.network(network)?.vlan
        {
            vlans.push((vlan, network));
        }
        vlans.sort_unstable();
        vlans.dedup();
        match vlans.array_windows().find(|[one, other]| one.0 == other.0) {
            Some(&[(vlan, first), (_, second)]) => {
                Err(PolicyError::SharedVlan { port: self.port, vlan, first, second })
            }
            None => Ok(vlans),
        }
    }
}
