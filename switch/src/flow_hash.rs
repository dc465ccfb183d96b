//! One number for both directions of a flow: by it a guest's queue is chosen.

use crate::vlan::{TAG_LEN, TYPE_FIELD, is_tag_at};

/// VLAN tags that are passed over at most: those of a trunk, and two of a guest's own.
const TAGS_PASSED: usize = 4;

/// Headers of IPv6 that are passed over at most, to find the transport's.
const EXTENSIONS_MAX: usize = 4;

/// A hash of the flow that a frame belongs to, the same for both directions: of addresses and ports of TCP and UDP
/// over IPv4 and IPv6; of the addresses alone for fragments, of which only the first shows ports, and for other
/// protocols; of the MAC addresses for all else. At most four VLAN tags are passed over. `seed` must be random and
/// unknown to the guests, which choose the flows.
#[must_use]
pub fn flow_hash(head: &[u8], seed: u64) -> u32 {
    network_flow(head).unwrap_or_else(|| stations(head)).hash(seed)
}

/// A hash of the two stations that a frame goes between, the same for both directions.
pub(crate) fn station_hash(head: &[u8], seed: u64) -> u32 {
    stations(head).hash(seed)
}

/// A hash of the two addresses that an IP packet goes between, the same for both directions; `None`: it is none.
pub(crate) fn address_hash(head: &[u8], seed: u64) -> Option<u32> {
    let flow = network_flow(head)?;
    Some(Flow { ports: [0; 2], protocol: 0, ..flow }.hash(seed))
}

/// The stations that a frame goes between.
fn stations(head: &[u8]) -> Flow<'_> {
    Flow {
        ends: [field(head, 0, 6).unwrap_or_default(), field(head, 6, 6).unwrap_or_default()],
        ports: [0; 2],
        protocol: 0,
    }
}

/// What tells flows apart: two ends, and the protocol between them.
struct Flow<'a> {
    ends: [&'a [u8]; 2],
    ports: [u16; 2],
    protocol: u8,
}

impl Flow<'_> {
    fn hash(&self, seed: u64) -> u32 {
        let [one, other] = [0, 1].map(|end: usize| {
            let start = mix(seed, u64::from(self.ports[end]) << 8 | 1, seed);
            self.ends[end].chunks(8).fold(start, |hash, part| {
                let word = part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
                mix(hash, word, seed)
            })
        });
        // The sum does not tell which end is which.
        let [a, b, c, d, ..] = mix(one.wrapping_add(other), u64::from(self.protocol), seed).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Multiplies and folds the product's halves onto each other: each bit depends on all of both. A word that makes the
/// product nothing, and so wipes out what came before it, depends on the seed.
fn mix(hash: u64, word: u64, seed: u64) -> u64 {
    let secret = seed.rotate_left(32) ^ 0xd6e8_feb8_6659_fd93;
    let product = u128::from(hash ^ 0x9e37_79b9_7f4a_7c15) * u128::from(word ^ secret);
    let bytes = product.to_le_bytes();
    let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    half(0) ^ half(8)
}

/// The flow of an IP packet; `None`: it is none, or cut short.
fn network_flow(head: &[u8]) -> Option<Flow<'_>> {
    let mut at = TYPE_FIELD;
    for _ in 0..TAGS_PASSED {
        if !is_tag_at(head, at) {
            break;
        }
        at += TAG_LEN;
    }
    match word(head, at)? {
        0x0800 => ipv4_flow(head.get(at + 2..)?),
        0x86dd => ipv6_flow(head.get(at + 2..)?),
        _ => None,
    }
}

/// RFC 791, 3.1.
fn ipv4_flow(packet: &[u8]) -> Option<Flow<'_>> {
    let &first = packet.first()?;
    let header = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    // More fragments, or not the first one.
    let is_fragment = word(packet, 6)? & 0x3fff != 0;
    let protocol = *packet.get(9)?;
    let ports = if is_fragment { [0; 2] } else { ports(packet, header, protocol) };
    Some(Flow { ends: [field(packet, 12, 4)?, field(packet, 16, 4)?], ports, protocol })
}

/// RFC 8200, 3 and 4.
fn ipv6_flow(packet: &[u8]) -> Option<Flow<'_>> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let ends = [field(packet, 8, 16)?, field(packet, 24, 16)?];
    let (mut protocol, mut at) = (*packet.get(6)?, 40);
    for _ in 0..EXTENSIONS_MAX {
        // Hop-by-hop options, routing, destination options: 8 bytes and as many more as their second byte says.
        if !matches!(protocol, 0 | 43 | 60) {
            break;
        }
        let Some(&[next, length]) = packet.get(at..).and_then(<[u8]>::first_chunk) else { break };
        protocol = next;
        at += 8 + 8 * usize::from(length);
    }
    const FRAGMENT: u8 = 44;
    if protocol == FRAGMENT {
        // All fragments say what they carry (RFC 8200, 4.5).
        protocol = packet.get(at).copied().unwrap_or(FRAGMENT);
        return Some(Flow { ends, ports: [0; 2], protocol });
    }
    Some(Flow { ends, ports: ports(packet, at, protocol), protocol })
}

/// The ports of TCP and UDP.
fn ports(packet: &[u8], at: usize, protocol: u8) -> [u16; 2] {
    match (protocol, word(packet, at), word(packet, at + 2)) {
        (6 | 17, Some(source), Some(destination)) => [source, destination],
        _ => [0; 2],
    }
}

fn field(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at + len)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn ethernet(from: [u8; 6], to: [u8; 6], tags: &[u16], kind: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = [to, from].concat();
        tags.iter().for_each(|tag| frame.extend([tag.to_be_bytes(), [0, 7]].concat()));
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        frame
    }

    fn ipv4(ends: [u8; 2], protocol: u8, fragment: u16, ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0x46, 0, 0, 60, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 0, 0, ends[0], 10, 0, 0, ends[1], 1, 1, 1, 1]);
        packet.extend(ports.map(u16::to_be_bytes).concat());
        packet
    }

    fn ipv6(ends: [u8; 2], extensions: &[(u8, u8)], protocol: u8, ports: [u16; 2]) -> Vec<u8> {
        let first = extensions.first().map_or(protocol, |extension| extension.0);
        let mut packet = vec![0x60, 0, 0, 0, 0, 60, first, 64];
        ends.iter().for_each(|end| packet.extend([[0; 15].as_slice(), &[*end]].concat()));
        for (place, (_, length)) in extensions.iter().enumerate() {
            let next = extensions.get(place + 1).map_or(protocol, |extension| extension.0);
            packet.extend([next, *length]);
            packet.extend(vec![0; 6 + 8 * usize::from(*length)]);
        }
        packet.extend(ports.map(u16::to_be_bytes).concat());
        packet
    }

    fn hash(packet: &[u8], kind: u16) -> u32 {
        flow_hash(&ethernet(A, B, &[], kind, packet), 7)
    }

    #[test]
    fn both_directions_of_a_flow_have_one_hash_with_and_without_tags() {
        for protocol in [6, 17] {
            let there = [
                (0x800, ipv4([1, 2], protocol, 0, [80, 4000])),
                (0x86dd, ipv6([1, 2], &[], protocol, [80, 4000])),
            ];
            let back = [ipv4([2, 1], protocol, 0, [4000, 80]), ipv6([2, 1], &[], protocol, [4000, 80])];
            for ((kind, there), back) in there.into_iter().zip(back) {
                let expected = hash(&there, kind);
                assert_eq!(hash(&back, kind), expected);
                for tags in [&[0x8100][..], &[0x88a8, 0x8100]] {
                    assert_eq!(flow_hash(&ethernet(B, A, tags, kind, &back), 7), expected);
                }
                assert_ne!(flow_hash(&ethernet(A, B, &[], kind, &there), 8), expected, "another seed");
            }
        }
        // Ports belong to their ends.
        assert_ne!(
            hash(&ipv4([1, 2], 6, 0, [80, 4000]), 0x800),
            hash(&ipv4([1, 2], 6, 0, [4000, 80]), 0x800)
        );
    }

    #[test]
    fn all_fragments_of_a_datagram_have_one_hash() {
        let first = hash(&ipv4([1, 2], 17, 0x2000, [80, 4000]), 0x800);
        assert_eq!(hash(&ipv4([1, 2], 17, 0x00b9, [1, 2]), 0x800), first);
        assert_ne!(hash(&ipv4([1, 2], 17, 0x4000, [80, 4000]), 0x800), first, "that one is whole");
        let fragments = [[80, 4000], [5, 6]].map(|bytes| hash(&ipv6([1, 2], &[(44, 0)], 17, bytes), 0x86dd));
        assert_eq!(fragments[0], fragments[1]);
    }

    #[test]
    fn extension_headers_do_not_hide_the_ports() {
        let plain = hash(&ipv6([1, 2], &[], 6, [80, 4000]), 0x86dd);
        for extensions in [&[(0, 0)][..], &[(0, 1), (60, 0)], &[(60, 0), (43, 2)]] {
            assert_eq!(hash(&ipv6([1, 2], extensions, 6, [80, 4000]), 0x86dd), plain);
        }
    }

    #[test]
    fn what_is_no_ip_packet_goes_by_its_mac_addresses() {
        let arp = |from, to| flow_hash(&ethernet(from, to, &[], 0x806, &[0; 28]), 7);
        assert_eq!(arp(A, B), arp(B, A));
        assert_ne!(arp(A, B), arp(A, [0xff; 6]));
        assert_eq!(hash(&[0x45], 0x800), arp(A, B), "cut short");
        assert_eq!(flow_hash(&[], 7), flow_hash(&[0; 5], 7), "too short for any address");
    }

    #[test]
    fn no_address_hides_the_ports_whatever_the_seed() {
        let mut packet = ipv6([1, 2], &[], 6, [80, 4000]);
        packet[8..16].copy_from_slice(&0xd6e8_feb8_6659_fd93_u64.to_be_bytes());
        let one = flow_hash(&ethernet(A, B, &[], 0x86dd, &packet), 7);
        packet[41] += 1;
        assert_ne!(flow_hash(&ethernet(A, B, &[], 0x86dd, &packet), 7), one);
    }

    #[test]
    fn many_flows_spread_evenly() {
        let mut counts = [0u32; 4];
        for flow in 0..4000u16 {
            let hash = hash(&ipv4([1, 2], 6, 0, [80, flow]), 0x800);
            counts[usize::try_from((u64::from(hash) * 4) >> 32).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
