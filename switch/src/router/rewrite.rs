//! What a router changes in a packet's head: both Ethernet addresses, the hop limit, and the header checksum of IPv4.

use crate::mac::MacAddress;
use crate::offload::checksum::{fold, sum};
use crate::offload::layout::{get_u16, put_u16};
use crate::packet::Packet;

/// Where IPv4 keeps the time to live, and its header's checksum (RFC 791, 3.1).
const TTL: usize = 8;
const CHECKSUM: usize = 10;

/// Where IPv6 keeps the hop limit (RFC 8200, 3).
const HOP_LIMIT: usize = 7;

/// Where IPv4 begins behind an Ethernet header without tags, and where it ends if it has no options.
const PLAIN_AT: usize = 14;
pub(crate) const PLAIN_HEADERS: usize = 34;

/// Makes the head that of a packet which passed a router. The hop limit must be above 0.
#[inline]
pub(crate) fn pass(head: &mut [u8], packet: &Packet, from: MacAddress, to: MacAddress) {
    head[..6].copy_from_slice(&to.0);
    head[6..12].copy_from_slice(&from.0);
    let at = usize::from(packet.network_at);
    if packet.source.is_v4() {
        let old = get_u16(head, at + TTL);
        head[at + TTL] -= 1;
        let checksum = get_u16(head, at + CHECKSUM);
        put_u16(head, at + CHECKSUM, updated(checksum, old, old.wrapping_sub(0x100)));
    } else {
        head[at + HOP_LIMIT] -= 1;
    }
}

/// By how much the sum over an IPv4 header changes when its time to live falls by one: the word that has that in its upper half is
/// `0x100` less (RFC 1624, 3, equation 3).
pub(crate) const ONE_HOP_LESS: u16 = 0xffff - 0x100;

/// The same for a packet of IPv4 behind an Ethernet header without tags, of whose header the sum changes by `sum` in all.
#[inline(always)]
pub(crate) fn pass_plain(head: &mut [u8; PLAIN_HEADERS], (from, to): (MacAddress, MacAddress), sum: u16) {
    head[..6].copy_from_slice(&to.0);
    head[6..12].copy_from_slice(&from.0);
    head[PLAIN_AT + TTL] = head[PLAIN_AT + TTL].wrapping_sub(1);
    let checksum = u16::from_be_bytes([head[PLAIN_AT + CHECKSUM], head[PLAIN_AT + CHECKSUM + 1]]);
    let new = !fold_once(u32::from(!checksum) + u32::from(sum));
    head[PLAIN_AT + CHECKSUM..PLAIN_AT + CHECKSUM + 2].copy_from_slice(&new.to_be_bytes());
}

/// The checksum after a 16-bit word that it covers changed (RFC 1624, 3, equation 3).
#[inline]
pub(crate) fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

/// Whether the header checksum of an IPv4 packet is right (RFC 1812, 5.2.2); IPv6 has none.
#[inline]
pub(crate) fn is_intact(head: &[u8], packet: &Packet) -> bool {
    if !packet.source.is_v4() {
        return true;
    }
    let at = usize::from(packet.network_at);
    let Some(first) = head.get(at) else { return false };
    // Next to all have no options: a sum of known length takes no loop.
    if first & 0xf == 5
        && let Some(header) = head.get(at..).and_then(<[u8]>::first_chunk::<20>)
    {
        return fold(sum(header)) == 0xffff;
    }
    let header = head.get(at..at + usize::from(first & 0xf) * 4);
    header.is_some_and(|header| fold(sum(header)) == 0xffff)
}

/// The same for a header without options behind an Ethernet header without tags.
#[inline(always)]
pub(crate) fn is_intact_plain(head: &[u8; PLAIN_HEADERS]) -> bool {
    let (_, header) = head.split_at(PLAIN_AT);
    let (words, _) = header.as_chunks::<4>();
    // In whatever order a word's bytes are read: that of a sum in ones' complement is the same (RFC 1071, 2).
    let sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    fold(sum) == 0xffff
}

/// A sum of two 16-bit words in ones' complement.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "twice 0xffff with its carry added is 0xffff")]
pub(crate) const fn fold_once(sum: u32) -> u16 {
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket};
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{Contents, parse};

    const A: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xa]);
    const B: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xb]);

    fn packet_of(frame: &[u8]) -> Packet {
        match parse(frame, u32::try_from(frame.len()).unwrap()) {
            Ok(Contents::Ip(packet)) => packet,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn what_passed_is_a_packet_with_one_hop_less(
            ends in any::<([u8; 4], [u8; 4], [u8; 16], [u8; 16])>(),
            ttl in 1..=255_u8,
            is_v6 in any::<bool>(),
            payload in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let ethernet = PacketBuilder::ethernet2(A.0, A.0);
            let ip = if is_v6 { ethernet.ipv6(ends.2, ends.3, ttl) } else { ethernet.ipv4(ends.0, ends.1, ttl) };
            let mut frame = Vec::new();
            ip.udp(1, 2).write(&mut frame, &payload).unwrap();
            let packet = match parse(&frame, u32::try_from(frame.len()).unwrap()) {
                Ok(Contents::Ip(packet)) => packet,
                // IPv4 in IPv6's clothes.
                _ => return Ok(()),
            };
            prop_assert!(is_intact(&frame, &packet));
            let (before, mut quick) = (frame.clone(), frame.clone());
            pass(&mut frame, &packet, A, B);
            if !is_v6 {
                let head = quick.first_chunk_mut().unwrap();
                prop_assert!(is_intact_plain(head));
                pass_plain(head, (A, B), ONE_HOP_LESS);
                prop_assert_eq!(&quick, &frame);
            }
            prop_assert!(is_intact(&frame, &packet_of(&frame)));
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            match sliced.net.unwrap() {
                NetSlice::Ipv4(ip) => {
                    prop_assert_eq!(ip.header().ttl(), ttl - 1);
                    prop_assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                }
                NetSlice::Ipv6(ip) => prop_assert_eq!(ip.header().hop_limit(), ttl - 1),
                NetSlice::Arp(_) => prop_assert!(false),
            }
            prop_assert_eq!((&frame[..6], &frame[6..12]), (&B.0[..], &A.0[..]));
            let changed = frame.iter().zip(&before).skip(12).filter(|(new, old)| new != old).count();
            prop_assert!(changed <= 3, "nothing but the hop limit and a checksum is changed");
        }

        #[test]
        fn a_flipped_bit_in_the_header_is_noticed(bit in 0..160_usize) {
            let mut frame = Vec::new();
            PacketBuilder::ethernet2(A.0, A.0).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9).udp(1, 2).write(&mut frame, &[]).unwrap();
            let packet = packet_of(&frame);
            // The header's length stays, or it would be another header.
            prop_assume!(!(4..8).contains(&bit));
            frame[14 + bit / 8] ^= 0x80 >> (bit % 8);
            prop_assert!(!is_intact(&frame, &packet));
            prop_assert!(!is_intact_plain(frame.first_chunk().unwrap()));
        }
    }
}
