//! Where a frame's headers are: Ethernet with up to four VLAN tags, IPv4 with options or IPv6 with
//! extension headers, and what they carry.

use crate::vlan::{TAG_LEN, TYPE_FIELD, is_tag_at};

/// The most IPv6 extension headers that are walked.
const EXTENSIONS_MAX: usize = 8;

/// IP protocol numbers (IANA, "Assigned Internet Protocol Numbers").
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;
}

/// The version of the Internet protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

/// The offsets in bytes, from the Ethernet header's first, of a whole IP packet that is no fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) version: Version,
    /// Where the IP header begins.
    pub(crate) network: usize,
    /// Where the transport header begins.
    pub(crate) transport: usize,
    /// What the transport header is.
    pub(crate) protocol: u8,
    /// Where the part begins that IP may fragment (RFC 8200, 4.5).
    pub(crate) fragmentable: usize,
    /// Where the number stands that names the header at `fragmentable`.
    pub(crate) names_fragmentable: usize,
}

/// The most VLAN tags that are passed over: two that a trunk puts before a frame, and two of a tenant's own.
const TAGS_PASSED: usize = 4;

/// Where the type field stands, behind at most [`TAGS_PASSED`] VLAN tags.
pub(crate) fn type_field(frame: &[u8]) -> usize {
    let places = (0..TAGS_PASSED).map(|tag| TYPE_FIELD + TAG_LEN * tag);
    places.take_while(|&at| is_tag_at(frame, at)).last().map_or(TYPE_FIELD, |last| last + TAG_LEN)
}

/// The IP version that the type field names, and where the IP header begins.
pub(crate) fn version(frame: &[u8]) -> Option<(Version, usize)> {
    let at = type_field(frame);
    match frame.get(at..at + 2)? {
        [0x08, 0x00] => Some((Version::V4, at + 2)),
        [0x86, 0xdd] => Some((Version::V6, at + 2)),
        _ => None,
    }
}

impl Layout {
    /// Finds the headers. `None` if the frame is not a whole IP packet, or is malformed.
    pub(crate) fn parse(frame: &[u8]) -> Option<Self> {
        match version(frame)? {
            (Version::V4, network) => Self::parse_v4(frame, network),
            (Version::V6, network) => Self::parse_v6(frame, network),
        }
    }

    /// RFC 791, 3.1.
    fn parse_v4(frame: &[u8], network: usize) -> Option<Self> {
        let header = frame.get(network..network + 20)?;
        let length = usize::from(header[0] & 0xf) * 4;
        let transport = network + length;
        // More fragments, or an offset: no whole packet.
        let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
        if header[0] >> 4 != 4 || length < 20 || transport > frame.len() || is_fragment {
            return None;
        }
        Some(Self {
            version: Version::V4,
            network,
            transport,
            protocol: header[9],
            fragmentable: transport,
            names_fragmentable: network + 9,
        })
    }

    /// RFC 8200, 3 and 4.
    fn parse_v6(frame: &[u8], network: usize) -> Option<Self> {
        let mut at = network + 40;
        if frame.len() < at || frame[network] >> 4 != 6 {
            return None;
        }
        let (mut named_by, mut has_routing, mut split) = (network + 6, false, None);
        for _ in 0..=EXTENSIONS_MAX {
            let header = frame[named_by];
            match header {
                protocol::HOP_BY_HOP | protocol::ROUTING => has_routing |= header == protocol::ROUTING,
                // RFC 8200, 4.1: before the routing header these options are read on the way, after it
                // only at the end.
                protocol::DESTINATION_OPTIONS if has_routing => split = split.or(Some((at, named_by))),
                protocol::DESTINATION_OPTIONS => {}
                protocol::FRAGMENT => return None,
                protocol => {
                    let (fragmentable, names_fragmentable) = split.unwrap_or((at, named_by));
                    let version = Version::V6;
                    return Some(Self {
                        version,
                        network,
                        transport: at,
                        protocol,
                        fragmentable,
                        names_fragmentable,
                    });
                }
            }
            let length = (usize::from(*frame.get(at + 1)?) + 1) * 8;
            named_by = at;
            at += length;
            if at > frame.len() {
                return None;
            }
        }
        None
    }

    /// Writes the length that IP states, for a packet that fills `frame` to its end, and for IPv4 the
    /// header checksum. `None` if the packet is too long.
    pub(crate) fn set_length(&self, frame: &mut [u8]) -> Option<()> {
        match self.version {
            Version::V4 => {
                let length = u16::try_from(frame.len() - self.network).ok()?;
                put_u16(frame, self.network + 2, length);
                put_u16(frame, self.network + 10, 0);
                let sum = super::checksum::sum(&frame[self.network..self.transport]);
                put_u16(frame, self.network + 10, !super::checksum::fold(sum));
            }
            Version::V6 => {
                let length = u16::try_from(frame.len() - self.network - 40).ok()?;
                put_u16(frame, self.network + 4, length);
            }
        }
        Some(())
    }
}

/// The 16-bit number at `at`, in network byte order.
pub(crate) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Stores a 16-bit number at `at`, in network byte order.
pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
