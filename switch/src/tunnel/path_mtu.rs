//! What a station is told whose packets are too long for a tunnel.

use crate::gateway::compose::{self, Header};
use crate::mac::MacAddress;
use crate::packet::{Contents, Icmp, IcmpMessage, Packet, Transport, number, parse};

/// Bytes of a packet that are quoted: its headers, as far as a head holds them.
const QUOTE_MAX: usize = 100;

/// "Don't fragment" in the first byte of an IPv4 header's flags (RFC 791, 3.1).
const DONT_FRAGMENT: u8 = 0x40;

const NEEDS_FRAGMENTATION: [u8; 2] = [3, 4];
const TOO_BIG_V6: [u8; 2] = [2, 0];

/// The frame that tells the sender of a frame which begins with `head` that `mtu` bytes is the longest packet that reaches its
/// receiver (RFC 1191, 4; RFC 8201): it comes as if from the receiver, since a bridge has no address of its own; Linux does the same for
/// its tunnels. `None`: it may be cut, or is nothing about which errors are sent (RFC 1122, 3.2.2; RFC 4443, 2.4 e).
#[must_use]
pub fn too_big(head: &[u8], length: u32, mtu: u16) -> Option<Vec<u8>> {
    let Ok(Contents::Ip(packet)) = parse(head, length) else { return None };
    let (to, from) = (head.first_chunk::<6>()?, head.get(6..)?.first_chunk::<6>()?);
    if !deserves_error(head, &packet) || MacAddress(*to).is_group() {
        return None;
    }
    let ends = (packet.destination, packet.source);
    let end = usize::try_from(packet.end_at).ok()?.min(head.len());
    let whole = head.get(usize::from(packet.network_at)..end)?;
    let quote = whole.get(..QUOTE_MAX).unwrap_or(whole);
    let (kind, protocol) = match packet.source.is_v4() {
        true => (NEEDS_FRAGMENTATION, number::ICMP),
        false => (TOO_BIG_V6, number::ICMPV6),
    };
    let message = compose::icmp(ends, kind, u32::from(mtu).to_be_bytes(), quote);
    let (source, destination) = ends;
    let traffic_class = compose::NETWORK_CONTROL;
    let hop_limit = compose::HOP_LIMIT;
    let header = Header { source, destination, protocol, hop_limit, traffic_class, id: None };
    let packet = compose::packet(&header, &message);
    Some(compose::frame(MacAddress(*to), MacAddress(*from), &packet))
}

fn deserves_error(head: &[u8], packet: &Packet) -> bool {
    let flags = head.get(usize::from(packet.network_at) + 6).copied().unwrap_or(0);
    let may_be_cut = packet.source.is_v4() && flags & DONT_FRAGMENT == 0;
    let is_first = packet.fragment.is_none_or(|fragment| fragment.offset == 0);
    let is_error = matches!(packet.transport, Transport::Icmp(Icmp { message: IcmpMessage::Error(_), .. }));
    let is_of_one = !packet.source.is_group() && !packet.destination.is_group();
    !may_be_cut && is_first && !is_error && is_of_one && packet.source.to_bits() != 0
}
