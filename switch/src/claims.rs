//! What a guest claims about a frame (virtio 1.2, 5.1.6): raw until it is checked.

use crate::counters::Volume;
use crate::drops::DropReason;
use crate::frame::{Claims, ETHERNET, Gso, GsoKind, PartialChecksum};
use crate::packet::{Contents, Packet, TcpFlags, Transport, number};

/// The checksum has to be finished (virtio 1.2, 5.1.6: `VIRTIO_NET_HDR_F_NEEDS_CSUM`).
pub const FLAG_NEEDS_CHECKSUM: u8 = 1;

/// The checksum was verified; means something to a receiver only (`VIRTIO_NET_HDR_F_DATA_VALID`).
pub const FLAG_DATA_VALID: u8 = 2;

/// The header counts coalesced segments; means something to a receiver only (`VIRTIO_NET_HDR_F_RSC_INFO`).
pub const FLAG_RECEIVE_COALESCING: u8 = 4;

const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_UDP_FRAGMENT: u8 = 3;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// A virtio-net header's offload fields, as they stand in the ring but in the host's byte order
/// (virtio 1.2, 5.1.6, `struct virtio_net_hdr`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RawClaims {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Bytes of headers before the payload: a hint, never trusted.
    pub hdr_len: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// First byte that is summed, from the Ethernet header's first.
    pub csum_start: u16,
    /// Where the sum is stored, from `csum_start`.
    pub csum_offset: u16,
}

impl RawClaims {
    /// Checks the claims against the frame's length in bytes. Flags that have no meaning for a sender are
    /// ignored (virtio 1.2, 5.1.6.2.2: "The device MUST ignore flag bits that it does not recognize"),
    /// except for receive coalescing, which gives other fields another meaning. A super-frame of one segment is none: nothing is
    /// left of it but its checksum, as Linux takes it (`virtio_net_hdr_to_skb`: "Too small packets are not really GSO ones").
    ///
    /// # Errors
    /// [`DropReason::BadOffload`] if they do not fit the frame, or contradict each other.
    #[inline]
    pub fn check(self, length: u32) -> Result<Claims, DropReason> {
        if self.is_plain() { Ok(Claims::default()) } else { self.check_offload(length) }
    }

    /// Whether nothing is claimed, so that there is nothing to check.
    #[must_use]
    #[inline]
    pub fn is_plain(self) -> bool {
        self.flags & (FLAG_NEEDS_CHECKSUM | FLAG_RECEIVE_COALESCING) == 0 && self.gso_type == GSO_NONE
    }

    /// The same where there are claims. By itself, so that frames without any pay nothing for it.
    #[inline(never)]
    fn check_offload(self, length: u32) -> Result<Claims, DropReason> {
        if self.flags & FLAG_RECEIVE_COALESCING != 0 {
            return Err(DropReason::BadOffload);
        }
        let checksum = self.check_checksum(length)?;
        if self.gso_type == GSO_NONE {
            return Ok(Claims { checksum, gso: None });
        }
        let gso = self.check_gso()?;
        // virtio 1.2, 5.1.6.2.1: a driver that sets a GSO type must set NEEDS_CSUM as well.
        let sum = checksum.ok_or(DropReason::BadOffload)?;
        let is_cut = !gso.is_one_segment(sum.start, length);
        Ok(Claims { checksum, gso: is_cut.then_some(gso) })
    }

    fn check_checksum(self, length: u32) -> Result<Option<PartialChecksum>, DropReason> {
        if self.flags & FLAG_NEEDS_CHECKSUM == 0 {
            return Ok(None);
        }
        let end = u32::from(self.csum_start) + u32::from(self.csum_offset) + 2;
        if self.csum_start < ETHERNET || end > length {
            return Err(DropReason::BadOffload);
        }
        Ok(Some(PartialChecksum { start: self.csum_start, offset: self.csum_offset }))
    }

    fn check_gso(self) -> Result<Gso, DropReason> {
        let kind = match self.gso_type & !GSO_ECN {
            GSO_TCP4 => GsoKind::Tcp4,
            GSO_TCP6 => GsoKind::Tcp6,
            GSO_UDP_FRAGMENT => GsoKind::UdpFragment,
            GSO_UDP => GsoKind::Udp,
            _ => return Err(DropReason::BadOffload),
        };
        let ecn = self.gso_type & GSO_ECN != 0;
        // virtio 1.2, 5.1.6.2.1: ECN goes with TCP only.
        let is_tcp = matches!(kind, GsoKind::Tcp4 | GsoKind::Tcp6);
        if self.gso_size == 0 || (ecn && !is_tcp) {
            return Err(DropReason::BadOffload);
        }
        Ok(Gso { kind, size: self.gso_size, ecn })
    }
}

impl Gso {
    /// Whether nothing is left to be cut from a frame of `length` bytes whose transport header begins at `start`. That of TCP
    /// counts without options, since not all of it may have been read.
    #[inline]
    fn is_one_segment(self, start: u16, length: u32) -> bool {
        length <= u32::from(start) + least_header(self.kind) + u32::from(self.size)
    }
}

/// The length in bytes of the smallest transport header of which a segment's size does not speak.
#[inline]
fn least_header(kind: GsoKind) -> u32 {
    match kind {
        GsoKind::Tcp4 | GsoKind::Tcp6 => 20,
        GsoKind::Udp => 8,
        // Fragments carry `size` bytes after the network header, the first one's UDP header among them.
        GsoKind::UdpFragment => 0,
    }
}

impl Claims {
    /// The length in bytes of the longest frame on the wire: that of a super-frame's first segment, else
    /// `length`, which is the frame's own. `head` is the frame's beginning.
    #[must_use]
    #[inline]
    pub fn wire_length(&self, head: &[u8], length: u32) -> u32 {
        let (Some(gso), Some(checksum)) = (self.gso, self.checksum) else { return length };
        segment_length(gso, checksum.start, head).min(length)
    }

    /// What a frame of `length` bytes that begins with `head` is on a wire: of a super-frame, all segments with their headers.
    #[must_use]
    #[inline]
    pub fn wire_volume(&self, head: &[u8], length: u32) -> Volume {
        let (Some(gso), Some(checksum)) = (self.gso, self.checksum) else {
            return Volume { frames: 1, bytes: length.into() };
        };
        let size = u32::from(gso.size.max(1));
        let header = segment_length(gso, checksum.start, head).saturating_sub(size);
        let segments = length.saturating_sub(header).div_ceil(size).max(1);
        let bytes = u64::from(length) + u64::from(header) * u64::from(segments - 1);
        Volume { frames: segments.into(), bytes }
    }

    /// Whether they are about what the head was read as: whoever finishes the checksum then, or cuts the super-frame, changes
    /// nothing that was judged. No fragment holds all that is summed, and what is no packet of IP has nothing to be summed.
    #[must_use]
    #[inline]
    pub(crate) fn fit(&self, contents: &Contents) -> bool {
        match contents {
            Contents::Ip(packet) => self.fit_packet(packet),
            _ => self.checksum.is_none() && self.gso.is_none(),
        }
    }

    /// The same about a packet of IP.
    #[must_use]
    #[inline]
    pub(crate) fn fit_packet(&self, packet: &Packet) -> bool {
        match (self.checksum, self.gso) {
            (None, None) => true,
            (Some(checksum), None) => fits_packet(checksum, packet),
            (Some(checksum), Some(gso)) => fits_segments(checksum, gso, packet),
            (None, Some(_)) => false,
        }
    }

    /// The claims as a receiver's header tells them. `head` is the frame's beginning: what it shows of the
    /// transport header makes `hdr_len` exact, else that counts the smallest header of its kind.
    #[must_use]
    pub fn to_raw(&self, head: &[u8]) -> RawClaims {
        let Some(checksum) = self.checksum else { return RawClaims::default() };
        let raw = RawClaims {
            flags: FLAG_NEEDS_CHECKSUM,
            csum_start: checksum.start,
            csum_offset: checksum.offset,
            ..RawClaims::default()
        };
        let Some(gso) = self.gso else { return raw };
        let (kind, transport) = match gso.kind {
            GsoKind::Tcp4 => (GSO_TCP4, tcp_header(head, checksum.start)),
            GsoKind::Tcp6 => (GSO_TCP6, tcp_header(head, checksum.start)),
            GsoKind::UdpFragment => (GSO_UDP_FRAGMENT, 8),
            GsoKind::Udp => (GSO_UDP, 8),
        };
        RawClaims {
            gso_type: kind | if gso.ecn { GSO_ECN } else { 0 },
            hdr_len: checksum.start.saturating_add(transport),
            gso_size: gso.size,
            ..raw
        }
    }
}

/// Where a transport header has its checksum: RFC 9293, 3.1; RFC 768; RFC 3828, 3.1; RFC 4340, 5.1; RFC 9260, 3.1; RFC 792.
fn checksum_offset(packet: &Packet) -> Option<u16> {
    match packet.protocol {
        number::TCP => Some(16),
        number::UDP | number::UDP_LITE | number::DCCP => Some(6),
        number::SCTP => Some(8),
        number::ICMP | number::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Whether the checksum is the transport header's own, or that of something which it carries, such as the packet in a tunnel
/// of the guest's.
fn fits_packet(checksum: PartialChecksum, packet: &Packet) -> bool {
    let (start, transport) = (u32::from(checksum.start), u32::from(packet.transport_at));
    let is_own = start == transport && checksum_offset(packet) == Some(checksum.offset);
    let behind = match packet.transport {
        Transport::Tcp(tcp) => packet.end_at.saturating_sub(tcp.payload.into()),
        Transport::Ports(_) | Transport::Icmp(_) => transport + 8,
        Transport::Other => transport,
        Transport::Fragment => return false,
    };
    packet.fragment.is_none() && (is_own || start >= behind)
}

/// Whether the packet can be cut into segments that are what it is: of its own transport, and none of them opens or resets
/// with another sequence number.
fn fits_segments(checksum: PartialChecksum, gso: Gso, packet: &Packet) -> bool {
    let is_own = checksum.start == packet.transport_at && checksum_offset(packet) == Some(checksum.offset);
    let is_kind = match (gso.kind, packet.transport) {
        (GsoKind::Tcp4, Transport::Tcp(tcp)) => packet.source.is_v4() && is_plain(tcp.flags),
        (GsoKind::Tcp6, Transport::Tcp(tcp)) => !packet.source.is_v4() && is_plain(tcp.flags),
        (GsoKind::Udp | GsoKind::UdpFragment, Transport::Ports(_)) => packet.protocol == number::UDP,
        _ => false,
    };
    packet.fragment.is_none() && is_own && is_kind
}

fn is_plain(flags: TcpFlags) -> bool {
    !flags.has(TcpFlags::SYN | TcpFlags::RST)
}

/// The length in bytes of the TCP header at `start` (RFC 9293, 3.1: the data offset counts words of 32
/// bits), at least 20.
fn tcp_header(head: &[u8], start: u16) -> u16 {
    let offset = head.get(usize::from(start) + 12).map_or(5, |byte| u16::from(byte >> 4));
    (offset * 4).max(20)
}

/// The length in bytes of a whole segment whose transport header begins at `start`.
fn segment_length(gso: Gso, start: u16, head: &[u8]) -> u32 {
    let header = match gso.kind {
        // RFC 9293, 3.1: the data offset counts words of 32 bits and stands in the upper half of byte 12.
        GsoKind::Tcp4 | GsoKind::Tcp6 => {
            head.get(usize::from(start) + 12).map(|byte| u32::from(byte >> 4) * 4)
        }
        GsoKind::Udp | GsoKind::UdpFragment => None,
    };
    let header = header.unwrap_or(least_header(gso.kind));
    u32::from(start) + header + u32::from(gso.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TSO: RawClaims =
        RawClaims { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1448, csum_start: 34, csum_offset: 16 };

    #[test]
    fn a_plain_frame_claims_nothing() {
        assert_eq!(RawClaims::default().check(60), Ok(Claims::default()));
        let valid = RawClaims { flags: FLAG_DATA_VALID | 0xf8, ..RawClaims::default() };
        assert_eq!(valid.check(60), Ok(Claims::default()));
    }

    #[test]
    fn a_super_frame_is_taken_as_claimed() {
        let claims = TSO.check(65_226).unwrap();
        assert_eq!(claims.checksum, Some(PartialChecksum { start: 34, offset: 16 }));
        assert_eq!(claims.gso, Some(Gso { kind: GsoKind::Tcp4, size: 1448, ecn: false }));
        assert!(RawClaims { gso_type: 0x81, ..TSO }.check(9000).unwrap().gso.unwrap().ecn);
    }

    #[test]
    fn a_lying_header_is_refused() {
        let lies = [
            RawClaims { flags: FLAG_RECEIVE_COALESCING, ..RawClaims::default() },
            RawClaims { csum_start: 8990, ..TSO },
            RawClaims { csum_start: u16::MAX, csum_offset: u16::MAX, ..TSO },
            RawClaims { csum_start: 13, ..TSO },
            RawClaims { gso_size: 0, ..TSO },
            RawClaims { gso_type: 2, ..TSO },
            RawClaims { gso_type: 6, ..TSO },
            RawClaims { gso_type: GSO_ECN, ..TSO },
            RawClaims { gso_type: GSO_ECN | GSO_UDP, ..TSO },
            RawClaims { flags: 0, ..TSO },
        ];
        for lie in lies {
            assert_eq!(lie.check(9000), Err(DropReason::BadOffload), "{lie:?}");
        }
    }

    #[test]
    fn a_super_frame_of_one_segment_is_a_frame_with_its_checksum_left_open() {
        // The kind, the checksum's offset, and how long the headers are behind which one segment may begin.
        let kinds =
            [(GSO_TCP4, 16, 54), (GSO_TCP4 | GSO_ECN, 16, 54), (GSO_UDP, 6, 42), (GSO_UDP_FRAGMENT, 6, 34)];
        for (gso_type, csum_offset, headers) in kinds {
            let raw = RawClaims { gso_type, csum_offset, gso_size: 1000, ..TSO };
            let checksum = Some(PartialChecksum { start: 34, offset: csum_offset });
            for length in [54, 60, 999, 1000, headers + 1000] {
                assert_eq!(raw.check(length), Ok(Claims { checksum, gso: None }), "{gso_type} of {length}");
            }
            let more = raw.check(headers + 1001).unwrap();
            assert_eq!(more.gso.unwrap().size, 1000, "{gso_type} of one byte more");
        }
        assert_eq!(RawClaims { flags: 0, ..TSO }.check(60), Err(DropReason::BadOffload));
    }

    #[test]
    fn the_checksum_may_end_with_the_frame_and_not_later() {
        let raw = RawClaims { flags: 1, csum_start: 34, csum_offset: 16, ..RawClaims::default() };
        assert!(raw.check(52).is_ok());
        assert_eq!(raw.check(51), Err(DropReason::BadOffload));
    }

    #[test]
    fn the_receiver_is_told_the_real_header_length() {
        let mut head = [0; 128];
        head[34 + 12] = 8 << 4;
        let claims = RawClaims { hdr_len: 1, ..TSO }.check(9000).unwrap();
        assert_eq!(claims.to_raw(&head), RawClaims { hdr_len: 66, ..TSO });
        assert_eq!(claims.to_raw(&[]), RawClaims { hdr_len: 54, ..TSO });
    }

    proptest! {
        #[test]
        fn what_is_accepted_survives_the_way_to_the_receiver(
            fields in any::<(u8, u8, u16, u16, u16, u16)>(), length in 0..70_000u32, head: Vec<u8>,
        ) {
            let (flags, gso_type, hdr_len, gso_size, csum_start, csum_offset) = fields;
            let gso_type = (gso_type % 8) | (gso_type & GSO_ECN);
            let raw = RawClaims { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset };
            if let Ok(claims) = raw.check(length) {
                prop_assert_eq!(claims.to_raw(&head).check(length), Ok(claims));
            }
        }
    }
}
