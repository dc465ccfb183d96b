//! The compiled policy: what the control side wants, as tables for the data path.
//!
//! A policy is immutable. The control side compiles a new one and hands it to every worker; nothing is
//! ever changed in place.

mod egress;
mod filtering;
mod ingress;
mod membership;

use std::sync::Arc;

use crate::control::ControlPolicy;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::marking::Marking;
use crate::meter::Meter;
use crate::nat::Nat;
use crate::router::Routing;
use crate::security::{SecurityPolicy, SourceGuard};
use crate::spanning_tree::PortState;
use crate::storm::{JudgeLimits, StormLimits};
use crate::tunnel::Tunnels;
use crate::vlan::{Priority, VlanId};
pub use egress::TagsOf;
use filtering::Filtering;
pub(crate) use ingress::{Classified, Ingress, Refused};
use membership::{Compiled, compile_ports};
pub use membership::{Membership, NetworkSet, PolicyError, Trunk, VtepMembership};

/// The smallest MTU in bytes that a port may have (RFC 791, 3.2: every module forwards 68 octets).
pub const MTU_MIN: u16 = 68;

/// After how many seconds of silence an address is forgotten, unless the network says otherwise
/// (IEEE 802.1Q-2018, table 8-6).
pub const AGEING_DEFAULT_S: u32 = 300;

/// What the control side says about a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortPolicy {
    /// The networks that the port belongs to.
    pub membership: Membership,
    /// The longest layer-3 packet in bytes that may enter here, without Ethernet header and VLAN tags.
    pub mtu: u16,
    /// What may be sent to many receivers at once.
    pub storm: StormLimits,
    /// Whether a multicast router may be behind the port: its queries are believed.
    pub multicast_router: bool,
    /// Which control frames it takes.
    pub control: ControlPolicy,
    /// The priority of frames that enter without one.
    pub priority: Priority,
    /// What a spanning tree wants of the port in its networks; it forwards in those that are not named.
    pub states: Vec<(NetworkIndex, PortState)>,
    /// Whose addresses it may send from; `None`: anybody's.
    pub guard: Option<Arc<SourceGuard>>,
    /// How much of what security groups have to be asked about it may send.
    pub judging: JudgeLimits,
    /// How much it may send, whatever it is; `None`: any amount. Ports that share a meter share what it lets pass.
    pub police: Option<Arc<Meter>>,
    /// What it believes of the marks of frames that enter, and what is written instead; `None`: they stay as they are.
    pub marking: Option<Arc<Marking>>,
}

impl PortPolicy {
    /// An access port of `network` that takes packets of up to `mtu` bytes, everything else by default.
    #[must_use]
    pub fn new(network: NetworkIndex, mtu: u16) -> Self {
        Self::of(Membership::Access(network), mtu)
    }

    /// A trunk that takes packets of up to `mtu` bytes, everything else by default.
    #[must_use]
    pub fn trunk(trunk: Trunk, mtu: u16) -> Self {
        Self::of(Membership::Trunk(trunk), mtu)
    }

    /// A port with this membership that takes packets of up to `mtu` bytes, everything else by default.
    #[must_use]
    pub fn of(membership: Membership, mtu: u16) -> Self {
        let (storm, priority) = (StormLimits::default(), Priority::default());
        let control = ControlPolicy::GUEST;
        let (states, judging) = (Vec::new(), JudgeLimits::default());
        Self {
            membership,
            mtu,
            storm,
            multicast_router: false,
            control,
            priority,
            states,
            guard: None,
            judging,
            police: None,
            marking: None,
        }
    }
}

/// What the control side says about a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkSettings {
    /// After how many seconds of silence an address is forgotten; never 0.
    pub ageing_s: u32,
    /// How multicast is snooped if one of the network's ports may be a multicast router's; `None`: not.
    pub multicast: Option<MulticastSettings>,
    /// The VLAN id of the network's tag on trunks; `None`: trunks can have it as their native network only.
    pub vlan: Option<VlanId>,
    /// Whether the network's own stations may use VLAN tags among themselves: what stands behind the network's tag,
    /// or comes from its access ports, may be another tag, and is passed on as it is.
    pub inner_tags: bool,
    /// The network's gateway; `None`: stations reach no other network.
    pub gateway: Option<Gateway>,
    /// Whether who asks for the Ethernet address of a station on another host is answered here, if it is known: see
    /// [`crate::suppression`].
    pub suppresses: bool,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        let multicast = Some(MulticastSettings::default());
        Self {
            ageing_s: AGEING_DEFAULT_S,
            multicast,
            vlan: None,
            inner_tags: false,
            gateway: None,
            suppresses: false,
        }
    }
}

/// A gateway as the stations of its network see it. Where it sends packets that come to it, [`Routing`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gateway {
    /// The port where the gateway's own frames enter: an access port of the network, behind which is nothing else. It gets no
    /// copies of floods, but what concerns the gateway, by [`Egress::offer`](crate::Egress::offer).
    pub port: PortIndex,
    /// Its Ethernet address, which no station may have.
    pub mac: MacAddress,
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
    /// How many of them are no VTEPs: those come last, since theirs are the highest ports.
    locals: usize,
    ageing_s: u32,
    multicast: Option<MulticastSettings>,
    vlan: Option<VlanId>,
    gateway: Option<Gateway>,
    suppresses: bool,
}

impl NetworkPolicy {
    /// The network's ports that forward, in ascending order.
    #[must_use]
    #[inline]
    pub fn members(&self) -> &[PortIndex] {
        &self.members
    }

    /// Those of them that are no VTEPs: what came by a tunnel goes to no others (split horizon).
    #[must_use]
    #[inline]
    pub fn locals(&self) -> &[PortIndex] {
        self.members.get(..self.locals).unwrap_or_default()
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

    /// The VLAN id of the network's tag on trunks.
    #[must_use]
    #[inline]
    pub fn vlan(&self) -> Option<VlanId> {
        self.vlan
    }

    /// The network's gateway.
    #[must_use]
    #[inline]
    pub fn gateway(&self) -> Option<Gateway> {
        self.gateway
    }

    /// Whether questions for stations on other hosts are answered here.
    #[must_use]
    #[inline]
    pub fn suppresses(&self) -> bool {
        self.suppresses
    }
}

/// All that the data path knows about ports and networks. A copy shares all of it.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    forwarding: Arc<Forwarding>,
    filtering: Filtering,
    routing: Option<Arc<Routing>>,
    nat: Option<Arc<Nat>>,
    tunnels: Option<Arc<Tunnels>>,
}

/// What decisions depend on that may be kept.
#[derive(Debug, Default)]
struct Forwarding {
    ports: Box<[Option<Compiled>]>,
    networks: Box<[Option<NetworkPolicy>]>,
    has_gateways: bool,
    has_suppression: bool,
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
        let ports = compile_ports(ports, &networks)?;
        check_gateways(&networks, &ports)?;
        let mut members = vec![(Vec::new(), false); networks.len()];
        for (port, compiled) in numbered(&ports) {
            for network in compiled.networks() {
                let (members, has_router) = &mut members[network.get()];
                let gateway = networks[network.get()].and_then(|settings| settings.gateway);
                let is_gateway = gateway.is_some_and(|gateway| gateway.port == port);
                if compiled.state(network) == PortState::Forwarding && !is_gateway {
                    members.push(port);
                }
                *has_router |= compiled.policy.multicast_router;
            }
        }
        let networks = networks.into_iter().zip(members).map(|(settings, (members, has_router))| {
            settings.map(|NetworkSettings { ageing_s, multicast, vlan, gateway, suppresses, .. }| {
                let multicast = multicast.filter(|_| has_router);
                let is_local = |port: &&PortIndex| !is_vtep(&ports, **port);
                let locals = members.iter().take_while(is_local).count();
                NetworkPolicy {
                    members: members.into(),
                    locals,
                    ageing_s,
                    multicast,
                    vlan,
                    gateway,
                    suppresses,
                }
            })
        });
        let networks: Box<[Option<NetworkPolicy>]> = networks.collect();
        let has_gateways = networks.iter().flatten().any(|network| network.gateway.is_some());
        let has_suppression = networks.iter().flatten().any(|network| network.suppresses);
        let forwarding = Forwarding { networks, ports: ports.into(), has_gateways, has_suppression };
        Ok(Self {
            forwarding: Arc::new(forwarding),
            filtering: Filtering::default(),
            routing: None,
            nat: None,
            tunnels: None,
        })
    }

    /// The same ports and networks, with these security groups. Costs a look at each port, and more only if others are
    /// filtered than before.
    #[must_use]
    pub fn with_security(&self, security: Arc<SecurityPolicy>) -> Self {
        let filtering = self.filtering.with(security, &self.forwarding);
        Self { filtering, ..self.clone() }
    }

    /// The same ports and networks, with these routes between networks that have gateways. No record of the flow cache depends
    /// on them; the ways that packets went do, and end with them.
    #[must_use]
    pub fn with_routing(&self, routing: Arc<Routing>) -> Self {
        Self { routing: Some(routing), ..self.clone() }
    }

    /// The same ports, networks and routes, with this translation of addresses, which was compiled with the same routes. No
    /// record of the flow cache depends on it; the ways that packets went do.
    #[must_use]
    pub fn with_nat(&self, nat: Arc<Nat>) -> Self {
        Self { nat: Some(nat), ..self.clone() }
    }

    /// The same ports and networks, of which some cross underlays by these tunnels.
    #[must_use]
    pub fn with_tunnels(&self, tunnels: Arc<Tunnels>) -> Self {
        Self { tunnels: Some(tunnels), ..self.clone() }
    }

    /// How networks cross underlays; `None`: none does.
    #[must_use]
    #[inline]
    pub fn tunnels(&self) -> Option<&Arc<Tunnels>> {
        self.tunnels.as_ref()
    }

    /// How addresses are translated between networks; `None`: they are not.
    #[must_use]
    #[inline]
    pub fn nat(&self) -> Option<&Arc<Nat>> {
        self.nat.as_ref()
    }

    /// Routes between networks; `None`: there are none.
    #[must_use]
    #[inline]
    pub fn routing(&self) -> Option<&Arc<Routing>> {
        self.routing.as_ref()
    }

    /// Security groups and their members; `None`: no port is filtered.
    #[must_use]
    #[inline]
    pub fn security(&self) -> Option<&Arc<SecurityPolicy>> {
        self.filtering.security()
    }

    /// Whether what this port sends and gets depends on security groups.
    #[must_use]
    #[inline]
    pub fn is_filtered(&self, port: PortIndex) -> bool {
        self.filtering.has_port(port)
    }

    /// Whether that is so of one of the network's ports.
    #[must_use]
    #[inline]
    pub fn has_filtered(&self, network: NetworkIndex) -> bool {
        self.filtering.has_network(network)
    }

    /// Whether decisions made by the one hold by the other: only what groups say differs, and that is asked for each frame.
    pub(crate) fn decides_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.forwarding, &other.forwarding)
            && self.filtering.is_about_same(&other.filtering)
            && self.tunnels.as_ref().map(Arc::as_ptr) == other.tunnels.as_ref().map(Arc::as_ptr)
    }

    /// Whether packets that gateways get go the same ways by the one as by the other: beside all that decisions depend on, routes and
    /// translations are the same.
    pub(crate) fn leads_as(&self, other: &Self) -> bool {
        fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
            one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
        }
        self.decides_as(other)
            && is_same(self.routing.as_ref(), other.routing.as_ref())
            && is_same(self.nat.as_ref(), other.nat.as_ref())
    }

    /// Whether any network has a gateway.
    #[inline]
    pub(crate) fn has_gateways(&self) -> bool {
        self.forwarding.has_gateways
    }

    /// Whether a network suppresses ARP and neighbour discovery.
    #[must_use]
    #[inline]
    pub(crate) fn has_suppression(&self) -> bool {
        self.forwarding.has_suppression
    }

    /// Whether `port` is a VTEP.
    #[must_use]
    #[inline]
    pub fn is_vtep(&self, port: PortIndex) -> bool {
        self.compiled(port).is_some_and(|compiled| compiled.vtep.is_some())
    }

    /// How many ports there are, VTEPs aside.
    pub(crate) fn ports(&self) -> usize {
        numbered(&self.forwarding.ports).filter(|(_, compiled)| compiled.vtep.is_none()).count()
    }

    /// The port's policy; `None` if the port belongs to no network.
    #[must_use]
    #[inline]
    pub fn port(&self, port: PortIndex) -> Option<&PortPolicy> {
        self.compiled(port).map(|compiled| &compiled.policy)
    }

    #[inline]
    fn compiled(&self, port: PortIndex) -> Option<&Compiled> {
        self.forwarding.ports.get(port.get())?.as_ref()
    }

    /// The network's policy; `None` if there is no such network.
    #[must_use]
    #[inline]
    pub fn network(&self, network: NetworkIndex) -> Option<&NetworkPolicy> {
        self.forwarding.networks.get(network.get())?.as_ref()
    }

    /// Whether `port` belongs to `network` and forwards there.
    #[must_use]
    #[inline]
    pub fn is_member(&self, port: PortIndex, network: NetworkIndex) -> bool {
        self.state(port, network) == Some(PortState::Forwarding)
    }

    /// What `port` does with frames of `network`; `None` if it does not belong to it.
    #[must_use]
    #[inline(always)]
    pub fn state(&self, port: PortIndex, network: NetworkIndex) -> Option<PortState> {
        let compiled = self.compiled(port)?;
        let belongs = compiled.is_native(network) || {
            let vlan = self.network(network).and_then(NetworkPolicy::vlan);
            vlan.is_some_and(|vlan| compiled.allows(vlan, network)) || compiled.is_vtep_of(network)
        };
        belongs.then(|| compiled.state(network))
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

fn is_vtep(ports: &[Option<Compiled>], port: PortIndex) -> bool {
    ports.get(port.get()).and_then(Option::as_ref).is_some_and(|compiled| compiled.vtep.is_some())
}

/// A gateway's port belongs to its network, and to no other.
fn check_gateways(
    networks: &[Option<NetworkSettings>],
    ports: &[Option<Compiled>],
) -> Result<(), PolicyError> {
    for (index, settings) in networks.iter().enumerate() {
        let Some(Gateway { port, .. }) = settings.and_then(|settings| settings.gateway) else { continue };
        let compiled = ports.get(port.get()).and_then(Option::as_ref);
        let own = compiled.map(|compiled| &compiled.policy.membership);
        match (NetworkIndex::new(index), own) {
            (Some(network), Some(Membership::Access(own))) if *own == network => {}
            (Some(network), _) => return Err(PolicyError::GatewayElsewhere { port, network }),
            (None, _) => {}
        }
    }
    Ok(())
}

/// Puts `value` at `index` of a table that grows as needed; gives back what stood there.
pub(crate) fn place<T>(table: &mut Vec<Option<T>>, index: usize, value: T) -> Option<T> {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    table[index].replace(value)
}

/// The ports that a table holds, in ascending order.
fn numbered(ports: &[Option<Compiled>]) -> impl Iterator<Item = (PortIndex, &Compiled)> {
    let numbered = ports.iter().enumerate();
    numbered.filter_map(|(index, compiled)| Some((PortIndex::new(index)?, compiled.as_ref()?)))
}

#[cfg(test)]
mod tests;
