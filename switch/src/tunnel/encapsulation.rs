//! What is put before a frame that leaves by a tunnel.

use super::endpoint::{EndpointSettings, SegmentSettings};
use super::{Tunnels, Vteps};
use crate::frame::{Claims, Gso, GsoKind, PartialChecksum};
use crate::gateway::group_mac;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::offload::{fold, sum};
use crate::packet::Address;
use crate::policy::Policy;
use crate::router::{Interface, Neighbours, Route, Routing, is_link_local};
use crate::spanning_tree::PortState;
use crate::vlan::{TAG_LEN, TAGS_MAX};

/// Bytes of the longest outer headers: Ethernet, two tags, IPv6, UDP, and the tunnel's own.
pub const PREFIX_MAX: usize = 14 + TAGS_MAX * TAG_LEN + 40 + 8 + 8;

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// "Don't fragment" (RFC 791, 3.1).
const DONT_FRAGMENT: u8 = 0x40;

/// Source ports of UDP tell flows of the tunnel apart (RFC 7348, 5; RFC 6335, 6: the dynamic ones).
const SOURCE_PORT_FIRST: u16 = 49_152;

/// No frame leaves by the tunnel now: the port stands for no VTEP, the network crosses no underlay, the uplink has no address, or no
/// route leads there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreached;

/// Outer headers for frames of one network to one VTEP, but for what each frame changes.
#[derive(Clone, Copy, Debug)]
pub struct Encapsulation {
    bytes: [u8; PREFIX_MAX],
    len: usize,
    /// Where the outer IP header begins.
    network_at: usize,
    /// Where the UDP header begins; 0: there is none.
    udp_at: usize,
    is_v4: bool,
    has_checksum: bool,
    /// The IPv4 header's sum without what each frame changes, or the pseudo-header's of UDP.
    header_sum: u64,
    pseudo_sum: u64,
    /// The underlay's MTU in bytes.
    mtu: u16,
    /// The port by which frames leave.
    pub uplink: PortIndex,
    /// The network in which they leave.
    pub underlay: NetworkIndex,
}

/// What it takes to find the way to a VTEP.
pub(crate) struct Ways<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) tunnels: &'a Tunnels,
    pub(crate) vteps: &'a Vteps,
    pub(crate) routing: &'a Routing,
    pub(crate) neighbours: &'a Neighbours,
    pub(crate) now_s: u32,
}

impl Ways<'_> {
    /// The headers for frames of `network` that leave by `vtep`, and whether the next station's Ethernet address stands in them. Those
    /// without it are for the gateway.
    pub(crate) fn encapsulation(
        &self,
        vtep: PortIndex,
        network: NetworkIndex,
    ) -> Result<(Encapsulation, bool), Unreached> {
        let (index, remote) = self.vteps.get(vtep).ok_or(Unreached)?;
        let (endpoint, segment) = self.tunnels.segment(network).ok_or(Unreached)?;
        let interface = self.routing.interface(endpoint.underlay).ok_or(Unreached)?;
        let state = self.policy.state(endpoint.uplink, endpoint.underlay);
        let is_open = state == Some(PortState::Forwarding);
        if endpoint.index != index || !interface.has(endpoint.local) || !is_open {
            return Err(Unreached);
        }
        let next = self.next_station(interface, endpoint.underlay, remote)?;
        let mac = match next {
            None => Some(group_mac(remote)),
            Some(next) => self.neighbours.resolve(endpoint.underlay, next, self.now_s),
        };
        let stations = (mac.unwrap_or(MacAddress([0; 6])), interface.mac);
        let encapsulation = self.write(endpoint, segment, remote, stations, interface.mtu);
        Ok((encapsulation, mac.is_some()))
    }

    /// The next station's address; `None`: the packet is for a group.
    fn next_station(
        &self,
        interface: &Interface,
        underlay: NetworkIndex,
        remote: Address,
    ) -> Result<Option<Address>, Unreached> {
        if remote.is_group() {
            return Ok(None);
        }
        if is_link_local(remote) {
            return Ok(Some(remote));
        }
        match self.routing.route(interface.router, remote) {
            Some(Route::Link(network)) if network == underlay => Ok(Some(remote)),
            Some(Route::Via(network, next)) if network == underlay => Ok(Some(next)),
            _ => Err(Unreached),
        }
    }

    fn write(
        &self,
        endpoint: &EndpointSettings,
        segment: &SegmentSettings,
        remote: Address,
        (to, from): (MacAddress, MacAddress),
        mtu: u16,
    ) -> Encapsulation {
        let kind = endpoint.kind;
        let ends = (endpoint.local, remote);
        let mut headers = Headers { bytes: [0; PREFIX_MAX], len: 0 };
        headers.put(&to.0);
        headers.put(&from.0);
        let priority = self.policy.port(endpoint.uplink).map(|port| port.priority).unwrap_or_default();
        if let Some(tags) = self.policy.tags_of(endpoint.uplink) {
            headers.put(tags.frame(endpoint.underlay, priority).bytes());
        }
        headers.put(if remote.is_v4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });
        let network_at = headers.len;
        headers.put_ip(ends, kind.protocol(), segment.ttl);
        let header = headers.bytes.get(network_at..headers.len).unwrap_or_default();
        let header_sum = sum(header);
        let addresses = header.get(if remote.is_v4() { 12 } else { 8 }..).unwrap_or_default();
        let pseudo_sum = sum(addresses) + u64::from(kind.protocol());
        let udp_at = if kind.is_udp() { headers.len } else { 0 };
        if kind.is_udp() {
            headers.put(&[0, 0]);
            headers.put(&endpoint.udp_port.to_be_bytes());
            headers.put(&[0; 4]);
        }
        let at = headers.len;
        headers.len += kind.len();
        kind.write(segment.id, headers.bytes.get_mut(at..).unwrap_or_default());
        Encapsulation {
            bytes: headers.bytes,
            len: headers.len,
            network_at,
            udp_at,
            is_v4: remote.is_v4(),
            has_checksum: segment.udp_checksum && kind.is_udp(),
            header_sum,
            pseudo_sum,
            mtu,
            uplink: endpoint.uplink,
            underlay: endpoint.underlay,
        }
    }
}

struct Headers {
    bytes: [u8; PREFIX_MAX],
    len: usize,
}

impl Headers {
    fn put(&mut self, part: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + part.len()) {
            room.copy_from_slice(part);
            self.len += part.len();
        }
    }

    /// An IP header without its lengths. Nobody may cut what is never put together again (RFC 7348, 4.3), so that its identification
    /// means nothing (RFC 6864, 4.1).
    fn put_ip(&mut self, (source, destination): (Address, Address), protocol: u8, ttl: u8) {
        if let (Some(source), Some(destination)) = (source.to_v4(), destination.to_v4()) {
            self.put(&[0x45, 0, 0, 0, 0, 0, DONT_FRAGMENT, 0, ttl, protocol, 0, 0]);
            self.put(&source.octets());
            self.put(&destination.octets());
        } else {
            self.put(&[0x60, 0, 0, 0, 0, 0, protocol, ttl]);
            self.put(&source.to_bits().to_be_bytes());
            self.put(&destination.to_bits().to_be_bytes());
        }
    }
}

/// What a frame changes of its outer headers.
#[derive(Clone, Copy, Debug)]
pub struct Inside {
    /// The inner frame's length in bytes.
    pub length: u32,
    /// The hash of its flow.
    pub flow: u32,
    /// Its traffic class, of which the lower two bits go outside (RFC 6040, 4.1).
    pub traffic_class: u8,
}

impl Encapsulation {
    /// How many bytes are put before a frame.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the outer UDP checksum is to be finished over the whole frame: then no other one may be left to be.
    #[must_use]
    #[inline]
    pub fn has_checksum(&self) -> bool {
        self.has_checksum
    }

    /// The MTU in bytes for packets inside, so that nothing is longer than the underlay takes.
    #[must_use]
    #[inline]
    pub fn inner_mtu(&self) -> u16 {
        let outer = u16::try_from(self.len - self.network_at).unwrap_or(u16::MAX);
        self.mtu.saturating_sub(outer).saturating_sub(crate::frame::ETHERNET)
    }

    /// Whether frames may leave as a train.
    #[must_use]
    #[inline]
    pub fn takes_trains(&self) -> bool {
        self.udp_at != 0
    }

    /// Whether the outer packets are of IPv4.
    #[must_use]
    #[inline]
    pub fn is_v4(&self) -> bool {
        self.is_v4
    }

    /// The headers of IP and UDP, as many bytes as a packet has before what a train repeats.
    #[must_use]
    #[inline]
    pub fn packet_headers(&self) -> usize {
        (self.udp_at + UDP_HEADER).saturating_sub(self.network_at)
    }

    /// The tunnel's own header, which stands before each frame of a train.
    #[must_use]
    #[inline]
    pub fn tunnel_header(&self) -> &[u8] {
        self.bytes.get(self.udp_at + UDP_HEADER..self.len).unwrap_or_default()
    }

    /// Writes the headers of one frame to the beginning of `room`, which has [`Encapsulation::len`] bytes or more; gives the checksum
    /// that is left to be finished, counted from there.
    #[inline]
    pub fn put(&self, inside: &Inside, room: &mut [u8]) -> Option<PartialChecksum> {
        self.put_with(inside, room, self.has_checksum)
    }

    /// Writes the headers of a train, whose first frame stands behind them, in the same way: `inside` has the length of all that follows
    /// them. Gives what is left to be done. Whoever cuts it makes checksums, whether there are to be some or not: any receiver
    /// takes a right one (RFC 7348, 5).
    #[inline]
    pub fn put_train(&self, inside: &Inside, size: u16, room: &mut [u8]) -> Claims {
        let checksum = self.put_with(inside, room, true);
        Claims { checksum, gso: Some(Gso { kind: GsoKind::Udp, size, ecn: false }) }
    }

    #[inline]
    fn put_with(&self, inside: &Inside, room: &mut [u8], has_checksum: bool) -> Option<PartialChecksum> {
        let room = room.get_mut(..self.len)?;
        room.copy_from_slice(&self.bytes[..self.len]);
        let behind_ip = self.len - self.network_at - if self.is_v4 { 20 } else { 40 };
        let payload = u32::try_from(behind_ip).unwrap_or(0) + inside.length;
        let ecn = inside.traffic_class & 3;
        let (_, packet) = room.split_at_mut(self.network_at);
        if self.is_v4 {
            let total = length_field(payload + 20);
            packet[1] = ecn;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            let checksum = !fold(self.header_sum + u64::from(ecn) + u64::from(total));
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            packet[1] = ecn << 4;
            packet[4..6].copy_from_slice(&length_field(payload).to_be_bytes());
        }
        self.put_udp(inside, room, payload, has_checksum)
    }

    #[inline]
    fn put_udp(
        &self,
        inside: &Inside,
        room: &mut [u8],
        payload: u32,
        has_checksum: bool,
    ) -> Option<PartialChecksum> {
        if self.udp_at == 0 {
            return None;
        }
        let udp = room.get_mut(self.udp_at..)?.first_chunk_mut::<8>()?;
        let entropy = u16::try_from(inside.flow >> 18).unwrap_or(0);
        udp[..2].copy_from_slice(&(SOURCE_PORT_FIRST | entropy).to_be_bytes());
        let length = length_field(payload);
        udp[4..6].copy_from_slice(&length.to_be_bytes());
        if !has_checksum {
            return None;
        }
        // The pseudo-header's sum, not complemented: who finishes the checksum adds the rest (virtio 1.2, 5.1.6.2).
        udp[6..8].copy_from_slice(&fold(self.pseudo_sum + u64::from(length)).to_be_bytes());
        let start = u16::try_from(self.udp_at).unwrap_or(u16::MAX);
        Some(PartialChecksum { start, offset: crate::offload::checksum::UDP_CHECKSUM })
    }
}

/// The claims with which a frame of `length` bytes that begins with `head` goes on, so that none of its segments is longer than packets of
/// `mtu` bytes are: those of a super-frame of TCP are cut shorter, which its receiver does not see. `None`: it is too long.
#[must_use]
#[inline]
pub fn fit(claims: &Claims, head: &[u8], length: u32, mtu: u16) -> Option<Claims> {
    let most = u32::from(mtu) + u32::from(crate::frame::ETHERNET);
    let longest = claims.wire_length(head, length);
    let Some(excess) = longest.checked_sub(most).filter(|excess| *excess > 0) else { return Some(*claims) };
    let gso = claims.gso.filter(|gso| matches!(gso.kind, GsoKind::Tcp4 | GsoKind::Tcp6))?;
    let size = u32::from(gso.size).checked_sub(excess).filter(|size| *size >= SEGMENT_MIN)?;
    let gso = Gso { size: u16::try_from(size).ok()?, ..gso };
    Some(Claims { gso: Some(gso), ..*claims })
}

/// Bytes of payload below which no segment is cut: what any host takes (RFC 879, 1; RFC 9293, 3.7.1).
const SEGMENT_MIN: u32 = 88;

fn length_field(bytes: u32) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
