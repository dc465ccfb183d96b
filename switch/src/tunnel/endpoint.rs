//! What the control side wants of tunnels: the switch's own ends, and the networks behind them.

use std::sync::Arc;

use thiserror::Error;

use super::Kind;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Address, ip_packet};

/// Names an end of ours: an uplink's address where one kind of tunnels comes and goes. Given by the control side; VTEPs are bound
/// to it over all policies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointIndex(pub u16);

/// What the control side says about an end of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSettings {
    /// Its name on the data path.
    pub index: EndpointIndex,
    /// The kind of tunnels.
    pub kind: Kind,
    /// The UDP port to which frames go, here and there; of no meaning for GRE.
    pub udp_port: u16,
    /// The port by which frames come and go.
    pub uplink: PortIndex,
    /// The network of that port in which the switch has its address.
    pub underlay: NetworkIndex,
    /// That address.
    pub local: Address,
    /// The networks behind it.
    pub segments: Vec<SegmentSettings>,
}

/// What the control side says about a network that crosses an underlay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentSettings {
    /// By what its frames are told from others': a VNI, or a key.
    pub id: u32,
    /// The network.
    pub network: NetworkIndex,
    /// The group to which frames for all VTEPs go, if there is one.
    pub group: Option<Address>,
    /// Hop limit of outer headers.
    pub ttl: u8,
    /// Whether outer UDP headers get a checksum. Without one (RFC 6935 allows that for IPv6, too), what is inside has its own.
    pub udp_checksum: bool,
    /// Whether frames are taken of VTEPs that are not `known`.
    pub takes_unknown: bool,
    /// The VTEPs that are written down, in ascending order.
    pub known: Arc<[Address]>,
    /// Whether it is learned from frames behind which VTEP their senders are.
    pub learns: bool,
    /// Whether stations may have VLAN tags of their own.
    pub inner_tags: bool,
}

/// Why tunnels were not compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TunnelError {
    /// Two networks of one end have the same number.
    #[error("networks {first} and {second} have the same number {id} behind one address; change one")]
    SharedId {
        /// The number.
        id: u32,
        /// One network.
        first: NetworkIndex,
        /// The other one.
        second: NetworkIndex,
    },
    /// A network is given to two ends.
    #[error("network {0} crosses two underlays; give it one")]
    TwoUnderlays(NetworkIndex),
    /// An end is given twice.
    #[error("two ends of tunnels have the number {}; give each its own", .0.0)]
    DuplicateEndpoint(EndpointIndex),
}

/// All ends of ours, as the data path sees them.
#[derive(Clone, Debug, Default)]
pub struct Tunnels {
    /// By index.
    endpoints: Vec<Option<EndpointSettings>>,
    /// Which end each network has, and its place among that one's segments.
    networks: Vec<Option<(EndpointIndex, usize)>>,
    /// Which ends are at each port.
    uplinks: Vec<(PortIndex, EndpointIndex)>,
}

impl Tunnels {
    /// Compiles the ends that are given.
    ///
    /// # Errors
    /// The first contradiction found; see [`TunnelError`].
    pub fn compile(given: impl IntoIterator<Item = EndpointSettings>) -> Result<Self, TunnelError> {
        let mut tunnels = Self::default();
        for mut settings in given {
            settings.segments.sort_unstable_by_key(|segment| segment.id);
            if let Some([one, other]) = settings.segments.array_windows().find(|[a, b]| a.id == b.id) {
                let (first, second) = (one.network, other.network);
                return Err(TunnelError::SharedId { id: one.id, first, second });
            }
            let index = settings.index;
            tunnels.note_networks(&settings)?;
            tunnels.uplinks.push((settings.uplink, index));
            if super::super::policy::place(&mut tunnels.endpoints, index.0.into(), settings).is_some() {
                return Err(TunnelError::DuplicateEndpoint(index));
            }
        }
        tunnels.uplinks.sort_unstable();
        Ok(tunnels)
    }

    fn note_networks(&mut self, settings: &EndpointSettings) -> Result<(), TunnelError> {
        for (place, segment) in settings.segments.iter().enumerate() {
            let network = segment.network;
            let at = (settings.index, place);
            if super::super::policy::place(&mut self.networks, network.get(), at).is_some() {
                return Err(TunnelError::TwoUnderlays(network));
            }
        }
        Ok(())
    }

    /// The end of this name.
    #[must_use]
    #[inline]
    pub fn endpoint(&self, index: EndpointIndex) -> Option<&EndpointSettings> {
        self.endpoints.get(usize::from(index.0))?.as_ref()
    }

    /// All ends, in ascending order of their names.
    pub fn endpoints(&self) -> impl Iterator<Item = &EndpointSettings> {
        self.endpoints.iter().flatten()
    }

    /// Those whose frames come in at `port`.
    #[inline]
    pub fn endpoints_at(&self, port: PortIndex) -> impl Iterator<Item = &EndpointSettings> {
        let at = self.uplinks.iter().filter(move |(uplink, _)| *uplink == port);
        at.filter_map(|(_, index)| self.endpoint(*index))
    }

    /// Whether any end is at `port`.
    #[must_use]
    #[inline]
    pub fn has_uplink(&self, port: PortIndex) -> bool {
        self.uplinks.iter().any(|(uplink, _)| *uplink == port)
    }

    /// Whether a packet that a station of `network` sends elsewhere looks like one of an end of ours at an underlay: with an address of ours,
    /// which translation may give it, others would take it for one.
    #[inline(never)]
    pub(crate) fn is_imitated_by(&self, network: NetworkIndex, head: &[u8], length: u32) -> bool {
        let Some(packet) = ip_packet(head, length) else { return false };
        let is_port = |port: u16| packet.ports().is_some_and(|ports| ports.destination == port);
        let is_like = |end: &EndpointSettings| {
            packet.protocol == end.kind.protocol() && (!end.kind.is_udp() || is_port(end.udp_port))
        };
        self.endpoints().any(|end| end.underlay != network && is_like(end))
    }

    /// How `network` crosses its underlay; `None`: it has none.
    #[must_use]
    #[inline]
    pub fn segment(&self, network: NetworkIndex) -> Option<(&EndpointSettings, &SegmentSettings)> {
        let (index, place) = (*self.networks.get(network.get())?)?;
        let endpoint = self.endpoint(index)?;
        Some((endpoint, endpoint.segments.get(place)?))
    }
}

impl SegmentSettings {
    /// Whether frames of the VTEP with this address are taken.
    #[inline]
    pub(super) fn takes_from(&self, vtep: Address) -> bool {
        self.takes_unknown || self.known.binary_search(&vtep).is_ok()
    }
}

impl EndpointSettings {
    /// The network whose frames have this number.
    #[must_use]
    #[inline]
    pub fn segment(&self, id: u32) -> Option<&SegmentSettings> {
        let place = self.segments.binary_search_by_key(&id, |segment| segment.id).ok()?;
        self.segments.get(place)
    }

    /// Whether packets to this address are for this end.
    #[must_use]
    #[inline]
    pub fn takes(&self, address: Address) -> bool {
        address == self.local
            || (address.is_group() && self.segments.iter().any(|segment| segment.group == Some(address)))
    }
}
