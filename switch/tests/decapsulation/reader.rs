//! Another reader of tunnels' frames, written from the standards alone, on whole frames and with etherparse for IP and UDP.

use std::net::IpAddr;
use std::ops::Range;

use etherparse::{Ipv4Header, Ipv6Header, UdpHeader};
use viaduct_switch::tunnel::Kind;

use super::host::{End, FIRST_ID, ONLY_KNOWN, SEGMENTS, TAG, WITH_TAGS, ends, mac};

/// Bytes of a frame of which the switch has a copy when it decides: what begins behind them is refused.
const HEAD: usize = 128;

/// The host that reads, and the one that it knows.
pub(crate) const LOCAL: u8 = 1;
pub(crate) const PEER: u8 = 2;

/// A frame of a tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inner {
    /// The end that it is for, by its place in [`ends`].
    pub(crate) end: usize,
    /// The network of that end.
    pub(crate) segment: u32,
    /// The outer source.
    pub(crate) vtep: IpAddr,
    /// Where the inner frame stands.
    pub(crate) bytes: Range<usize>,
    /// Whether the underlay met congestion, of which the inner packet is to be told.
    pub(crate) is_congested: bool,
}

/// The outer IP header.
struct Ip {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ecn: u8,
    payload: Range<usize>,
}

/// Whether the frame's tags are such that only the rules of trunks tell its network, which are not the matter here.
pub(crate) fn has_other_tags(bytes: &[u8]) -> bool {
    let is_tag = |at: usize| matches!(bytes.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0]));
    is_tag(12) && (!is_tagged(bytes) || is_tag(16))
}

fn is_tagged(bytes: &[u8]) -> bool {
    let id = bytes.get(14..16).map(|tag| u16::from_be_bytes([tag[0], tag[1]]) & 0xfff);
    bytes.get(12..14) == Some(&[0x81, 0]) && id == Some(TAG)
}

/// The frame of a tunnel that these bytes are; `None`: they are none, or a wrong one.
pub(crate) fn read(bytes: &[u8]) -> Option<Inner> {
    let to = bytes.get(..6)?;
    let (underlay, at) = if is_tagged(bytes) { (1, 18) } else { (0, 14) };
    (to == mac(LOCAL).0 || to[0] & 1 == 1).then_some(())?;
    let ip = match bytes.get(at - 2..at)? {
        [0x08, 0x00] => read_v4(bytes, at)?,
        [0x86, 0xdd] => read_v6(bytes, at)?,
        _ => return None,
    };
    let is_for = |end: &End| {
        let kinds = if ip.protocol == 47 { end.kind == Kind::Gre } else { end.kind != Kind::Gre };
        let groups = (0..SEGMENTS).any(|segment| ip.destination == end.group(segment));
        end.underlay == underlay && kinds && (ip.destination == end.address(LOCAL) || groups)
    };
    let mut mine = ends().enumerate().filter(|(_, end)| is_for(end));
    let (index, end, tunnel) =
        mine.find_map(|(index, end)| Some((index, end, transport(bytes, &ip, end)?)))?;
    let (id, len) = tunnel_header(end.kind, bytes.get(tunnel.clone())?)?;
    let segment = id.checked_sub(FIRST_ID).filter(|segment| *segment < SEGMENTS)?;
    let inner = tunnel.start + len..tunnel.end;
    let is_stranger = segment == ONLY_KNOWN && ip.source != end.address(PEER);
    if is_nobodys(ip.source) || ip.source == end.address(LOCAL) || is_stranger {
        return None;
    }
    let type_at = inner.start + 12;
    if type_at + 2 > inner.end || type_at + 2 > HEAD {
        return None;
    }
    let is_tag = matches!(bytes[type_at..type_at + 2], [0x81, 0] | [0x88, 0xa8] | [0x91, 0]);
    let is_congested = ip.ecn == 3;
    (!is_tag || segment == WITH_TAGS).then_some(Inner {
        end: index,
        segment,
        vtep: ip.source,
        bytes: inner,
        is_congested,
    })
}

/// RFC 791, 3.1: a whole packet with a right checksum.
fn read_v4(bytes: &[u8], at: usize) -> Option<Ip> {
    let (header, _) = Ipv4Header::from_slice(bytes.get(at..)?).ok()?;
    let end = at + usize::from(header.total_len);
    let words = bytes[at..at + header.header_len()].chunks_exact(2);
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let is_right = (sum & 0xffff) + (sum >> 16) == 0xffff;
    let is_part = header.more_fragments || header.fragment_offset.value() != 0;
    let is_whole = end <= bytes.len() && usize::from(header.total_len) >= header.header_len();
    (is_right && !is_part && is_whole).then(|| Ip {
        source: header.source.into(),
        destination: header.destination.into(),
        protocol: header.protocol.0,
        ecn: header.ecn.value(),
        payload: at + header.header_len()..end,
    })
}

/// RFC 8200, 3: without extension headers, and with addresses that may stand on a wire (RFC 4291, 2.5.5.2).
fn read_v6(bytes: &[u8], at: usize) -> Option<Ip> {
    let (header, _) = Ipv6Header::from_slice(bytes.get(at..)?).ok()?;
    let end = at + 40 + usize::from(header.payload_length);
    let [source, destination] = [header.source_addr(), header.destination_addr()];
    let is_mapped = source.to_ipv4_mapped().or(destination.to_ipv4_mapped()).is_some();
    (end <= bytes.len() && !is_mapped).then(|| Ip {
        source: source.into(),
        destination: destination.into(),
        protocol: header.next_header.0,
        ecn: header.traffic_class & 3,
        payload: at + 40..end,
    })
}

/// Where the tunnel's header and the inner frame stand, if the packet is for this end.
fn transport(bytes: &[u8], ip: &Ip, end: End) -> Option<Range<usize>> {
    if end.kind == Kind::Gre {
        return Some(ip.payload.clone());
    }
    let (header, _) = UdpHeader::from_slice(bytes.get(ip.payload.clone())?).ok()?;
    let length = usize::from(header.length);
    let is_right = ip.protocol == 17 && header.destination_port == end.udp_port();
    // RFC 768: the length of header and data.
    (is_right && length >= 8 && length <= ip.payload.len())
        .then(|| ip.payload.start + 8..ip.payload.start + length)
}

/// The number of the tenant, and the header's length.
fn tunnel_header(kind: Kind, bytes: &[u8]) -> Option<(u32, usize)> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (first, second) = (word(0)?, word(4)?);
    match kind {
        // RFC 7348, 5: the I flag alone, and zeros.
        Kind::Vxlan => (first == 0x0800_0000 && second & 0xff == 0).then_some((second >> 8, 8)),
        // RFC 8926, 3.4: version 0, no control packet, nothing critical, an Ethernet frame.
        Kind::Geneve => {
            let is_right = first & 0xc0c0_ffff == 0x6558;
            is_right.then_some((second >> 8, 8 + (first >> 24 & 0x3f) as usize * 4))
        }
        // RFC 2890, 2: a key, perhaps a sequence number, version 0, an Ethernet frame.
        Kind::Gre => {
            let has_sequence = first & 0x1000_0000 != 0;
            (first & !0x1000_0000 == 0x2000_6558).then_some((second, if has_sequence { 12 } else { 8 }))
        }
    }
}

/// Whether nobody may send with this address.
fn is_nobodys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(address) => address.is_unspecified() || address.is_loopback() || address.is_multicast(),
    }
}
