//! What translation changes in a packet's private head: addresses, ports and the checksums over them, which are updated by what
//! changed (RFC 1624). So what was wrong before is wrong afterwards, and a super-frame needs no more than a packet.

use std::net::Ipv4Addr;

use crate::conntrack::Tuple;
use crate::frame::Claims;
use crate::offload::checksum::fold;
use crate::offload::layout::{get_u16, put_u16};
use crate::packet::{Address, IcmpMessage, Packet, Transport, number};
use crate::router::Leaving;
use crate::router::rewrite::{ONE_HOP_LESS, fold_once};

/// Where IPv4 keeps its header's checksum and both addresses (RFC 791, 3.1).
const CHECKSUM: usize = 10;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;

/// Where IPv6 keeps the addresses (RFC 8200, 3).
const SOURCE_V6: usize = 8;
const DESTINATION_V6: usize = 24;

/// Where ICMP keeps its checksum, and requests their identifier (RFC 792).
const ICMP_CHECKSUM: usize = 2;
const ICMP_ID: usize = 4;

/// Bytes of the header of an ICMP error, behind which the quoted packet begins.
const ICMP_ERROR: usize = 8;

/// Words that were changed: the sum in ones' complement of what became more.
#[derive(Clone, Copy, Default)]
struct Change(u64);

impl Change {
    /// Puts a word in place.
    #[inline]
    fn put(&mut self, head: &mut [u8], at: usize, new: u16) {
        let old = get_u16(head, at);
        put_u16(head, at, new);
        self.0 += u64::from(!old) + u64::from(new);
    }

    #[inline]
    fn put_address(&mut self, head: &mut [u8], at: usize, address: Ipv4Addr) {
        let [a, b, c, d] = address.octets();
        self.put(head, at, u16::from_be_bytes([a, b]));
        self.put(head, at + 2, u16::from_be_bytes([c, d]));
    }

    /// The checksum over what was changed (RFC 1624, 3, equation 3).
    #[inline]
    fn apply(self, checksum: u16) -> u16 {
        !fold(u64::from(!checksum) + self.0)
    }

    /// The same for a sum of which the complement is not taken yet.
    #[inline]
    fn apply_to_sum(self, sum: u16) -> u16 {
        fold(u64::from(sum) + self.0)
    }
}

/// By how much the sums over what is translated change, in ones' complement: the same for each packet of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sums {
    /// That over an IPv4 header, which passes a router besides.
    pub(crate) header: u16,
    /// That over both addresses.
    addresses: u16,
    /// That over both addresses and ports.
    all: u16,
}

impl Sums {
    /// Those of a packet that comes as `from` and leaves as `to`.
    pub(crate) fn of(from: &Leaving, to: &Leaving) -> Self {
        let (mut head, mut change) = (from.to_bytes(), Change::default());
        change.put_address(&mut head, 0, to.source);
        change.put_address(&mut head, 4, to.destination);
        let addresses = change;
        change.put(&mut head, 8, to.source_port);
        change.put(&mut head, 10, to.destination_port);
        let header = fold(addresses.0 + u64::from(ONE_HOP_LESS));
        Self { header, addresses: fold(addresses.0), all: fold(change.0) }
    }
}

/// Where a plain packet has its addresses, its ports, and behind these the checksums of UDP and TCP.
const PLAIN_ADDRESSES: usize = 26;
const PLAIN_PORTS: usize = 34;
const PLAIN_UDP_CHECKSUM: usize = 40;
const PLAIN_TCP_CHECKSUM: usize = 50;

/// Does to the head of a plain packet what [`translate`] does, but for the checksum of its IPv4 header. `is_partial` says whether
/// its transport checksum is still to be finished. Says whether there was as much of it as that takes; else nothing is changed.
#[inline(always)]
pub(crate) fn translate_plain(
    head: &mut [u8],
    is_tcp: bool,
    (to, sums): (&Leaving, Sums),
    is_partial: bool,
) -> bool {
    let at = if is_tcp { PLAIN_TCP_CHECKSUM } else { PLAIN_UDP_CHECKSUM };
    let Some(Some(checksum)) = head.get_mut(at..).map(<[u8]>::first_chunk_mut::<2>) else { return false };
    let old = u16::from_be_bytes(*checksum);
    if is_partial {
        *checksum = fold_once(u32::from(old) + u32::from(sums.addresses)).to_be_bytes();
    } else if is_tcp || old != 0 {
        let new = !fold_once(u32::from(!old) + u32::from(sums.all));
        // RFC 768: a sum of zero is sent as all ones, since zero says that there is none.
        let new = if new == 0 && !is_tcp { 0xffff } else { new };
        *checksum = new.to_be_bytes();
    }
    let bytes = to.to_bytes();
    let ends = head.get_mut(PLAIN_ADDRESSES..).and_then(<[u8]>::first_chunk_mut::<12>);
    ends.map(|ends| *ends = bytes).is_some()
}

const _: () = assert!(PLAIN_PORTS == PLAIN_ADDRESSES + 8);

/// Gives a packet of IPv4 the addresses and ports of `to`. A later fragment has no ports.
#[inline]
pub(crate) fn translate(head: &mut [u8], packet: &Packet, to: &Leaving, claims: &Claims) {
    let addresses = put_addresses(head, packet.network_at.into(), to.source, to.destination);
    let at = usize::from(packet.transport_at);
    let is_partial = claims.checksum.is_some_and(|checksum| checksum.start == packet.transport_at);
    match packet.transport {
        Transport::Tcp(_) => put_ports(head, at, 16, (to, addresses), is_partial),
        // SCTP's checksum is about no address; its ports are never translated.
        Transport::Ports(_) if packet.protocol != number::SCTP => {
            let is_unsummed = packet.protocol == number::UDP && !is_partial && get_u16(head, at + 6) == 0;
            if is_unsummed {
                put_u16(head, at, to.source_port);
                put_u16(head, at + 2, to.destination_port);
                return;
            }
            put_ports(head, at, 6, (to, addresses), is_partial);
            if packet.protocol == number::UDP && !is_partial && get_u16(head, at + 6) == 0 {
                // RFC 768: a sum of zero is sent as all ones, since zero says that there is none.
                put_u16(head, at + 6, 0xffff);
            }
        }
        Transport::Icmp(icmp) if matches!(icmp.message, IcmpMessage::Request(_) | IcmpMessage::Reply(_)) => {
            let mut change = Change::default();
            change.put(head, at + ICMP_ID, to.source_port);
            if !is_partial {
                let checksum = change.apply(get_u16(head, at + ICMP_CHECKSUM));
                put_u16(head, at + ICMP_CHECKSUM, checksum);
            }
        }
        _ => {}
    }
}

/// Puts both addresses of an IPv4 header in place.
#[inline]
fn put_addresses(head: &mut [u8], at: usize, source: Ipv4Addr, destination: Ipv4Addr) -> Change {
    let mut change = Change::default();
    change.put_address(head, at + SOURCE, source);
    change.put_address(head, at + DESTINATION, destination);
    let checksum = change.apply(get_u16(head, at + CHECKSUM));
    put_u16(head, at + CHECKSUM, checksum);
    change
}

/// Puts both ports of the transport header at `at` in place, whose checksum covers the addresses, too. Where that is still to
/// be finished, it holds the sum of the pseudo header alone.
#[inline]
fn put_ports(
    head: &mut [u8],
    at: usize,
    checksum: usize,
    (to, addresses): (&Leaving, Change),
    is_partial: bool,
) {
    let mut change = addresses;
    change.put(head, at, to.source_port);
    change.put(head, at + 2, to.destination_port);
    let old = get_u16(head, at + checksum);
    let new = if is_partial { addresses.apply_to_sum(old) } else { change.apply(old) };
    put_u16(head, at + checksum, new);
}

/// Gives an ICMP error of IPv4 these addresses, and the packet that it quotes the addresses and ports of `quoted`: both look then as
/// if nothing had been translated (RFC 5508, 4.2).
pub(crate) fn translate_error(
    head: &mut [u8],
    packet: &Packet,
    [source, destination]: [Address; 2],
    quoted: &Tuple,
    claims: &Claims,
) {
    let ends = [source, destination, quoted.source, quoted.destination].map(Address::to_v4);
    let [Some(source), Some(destination), Some(inner_source), Some(inner_destination)] = ends else { return };
    put_addresses(head, packet.network_at.into(), source, destination);
    let icmp = usize::from(packet.transport_at);
    let inner = icmp + ICMP_ERROR;
    // What the error quotes, as far as it lies in the head.
    let end = head.len().min(usize::try_from(packet.end_at).unwrap_or(usize::MAX));
    let Some(quote) = head.get_mut(..end) else { return };
    let mut change = Change::default();
    let old_sum = get_u16(quote, inner + CHECKSUM);
    let addresses = put_addresses(quote, inner, inner_source, inner_destination);
    change.0 += addresses.0;
    change.0 += u64::from(!old_sum) + u64::from(get_u16(quote, inner + CHECKSUM));
    let transport = inner + usize::from(quote[inner] & 0xf) * 4;
    put_quoted(quote, transport, (quoted, addresses), &mut change);
    let is_partial = claims.checksum.is_some_and(|checksum| checksum.start == packet.transport_at);
    if !is_partial {
        let checksum = change.apply(get_u16(head, icmp + ICMP_CHECKSUM));
        put_u16(head, icmp + ICMP_CHECKSUM, checksum);
    }
}

/// The same for the transport header of the quoted packet, of which eight bytes are there at least.
fn put_quoted(head: &mut [u8], at: usize, (to, addresses): (&Tuple, Change), change: &mut Change) {
    let mut own = addresses;
    let checksum = match to.protocol {
        number::TCP => 16,
        number::UDP | number::UDP_LITE | number::DCCP => 6,
        number::ICMP => {
            own = Change::default();
            own.put(head, at + ICMP_ID, to.source_port);
            change.0 += own.0;
            put_sum(head, at + ICMP_CHECKSUM, own, change);
            return;
        }
        _ => return,
    };
    let mut ports = Change::default();
    ports.put(head, at, to.source_port);
    ports.put(head, at + 2, to.destination_port);
    own.0 += ports.0;
    change.0 += ports.0;
    // Of a longer header its checksum may be cut off.
    let is_there = head.len() >= at + checksum + 2;
    if is_there && (to.protocol != number::UDP || get_u16(head, at + checksum) != 0) {
        put_sum(head, at + checksum, own, change);
    }
}

/// Brings a quoted checksum up to date, which changes the error's own.
fn put_sum(head: &mut [u8], at: usize, own: Change, change: &mut Change) {
    let new = own.apply(get_u16(head, at));
    change.put(head, at, new);
}

/// Gives a packet of IPv6 other addresses, source first, whose sum is the same as that of those it had, so that no checksum
/// changes; not even that of an error, which quotes a packet with the same addresses. `out` says how that shows its own.
pub(crate) fn put_prefixes(
    head: &mut [u8],
    packet: &Packet,
    [source, destination]: [Address; 2],
    out: impl Fn(Address) -> Address,
) {
    let at = usize::from(packet.network_at);
    put_v6(head, at + SOURCE_V6, source);
    put_v6(head, at + DESTINATION_V6, destination);
    if let Transport::Icmp(icmp) = packet.transport
        && let IcmpMessage::Error(quote) = icmp.message
    {
        let inner = usize::from(packet.transport_at) + ICMP_ERROR;
        // The quoted packet went the other way.
        if quote.source == packet.destination {
            put_v6(head, inner + SOURCE_V6, destination);
        }
        put_v6(head, inner + DESTINATION_V6, out(quote.destination));
    }
}

/// Puts an address of IPv6 in place, if all of it is there.
fn put_v6(head: &mut [u8], at: usize, address: Address) {
    if let Some(bytes) = head.get_mut(at..at + 16) {
        bytes.copy_from_slice(&address.to_bits().to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
