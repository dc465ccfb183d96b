//! The headers of IPv4 and IPv6, and fragments.

use super::view::{View, u16_at, u32_at};
use super::{Address, Fragment, PacketError};
use crate::offload::layout::{Version, protocol};

/// The most IPv6 extension headers that are walked.
const EXTENSIONS_MAX: usize = 8;

/// The longest that a packet may be behind its fixed IPv6 header, or with its IPv4 header (RFC 791, 3.1; RFC 8200, 3).
const LENGTH_MAX: usize = 65_535;

/// What an IP header says, whatever its version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) protocol: u8,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
    /// Where the transport header begins, or a later fragment's data, from the frame's first byte.
    pub(super) transport: usize,
    /// Where the packet ends.
    pub(super) end: usize,
    pub(super) fragment: Option<Fragment>,
}

impl Ip {
    /// Reads the header at `at` of a frame of `length` bytes.
    #[inline]
    pub(super) fn parse(
        version: Version,
        head: &[u8],
        at: usize,
        length: usize,
    ) -> Result<Self, PacketError> {
        let view = View::new(head, length);
        match version {
            Version::V4 => Self::parse_v4(&view, at, false),
            Version::V6 => Self::parse_v6(&view, at, false),
        }
    }

    /// Reads a header that an ICMP error quotes, of whose packet less may be there than it says.
    pub(super) fn parse_quoted(version: Version, view: &View<'_>, at: usize) -> Result<Self, PacketError> {
        match version {
            Version::V4 => Self::parse_v4(view, at, true),
            Version::V6 => Self::parse_v6(view, at, true),
        }
    }

    /// RFC 791, 3.1.
    #[inline]
    fn parse_v4(view: &View<'_>, at: usize, is_quoted: bool) -> Result<Self, PacketError> {
        let header: &[u8; 20] = view.chunk(at, PacketError::Truncated)?;
        if header[0] >> 4 != 4 {
            return Err(PacketError::BadVersion);
        }
        let header_length = usize::from(header[0] & 15) * 4;
        let length = usize::from(u16_at(header, 2));
        if header_length < 20 || header_length > length {
            return Err(PacketError::BadHeaderLength);
        }
        if at + length > view.end && !is_quoted {
            return Err(PacketError::BadLength);
        }
        if header_length > 20 {
            check_options(view.range(at + 20, at + header_length, PacketError::Truncated)?)?;
        }
        let mut ip = Self {
            source: Address::from_v4(take(header, 12)),
            destination: Address::from_v4(take(header, 16)),
            protocol: header[9],
            hop_limit: header[8],
            traffic_class: header[1],
            transport: at + header_length,
            end: (at + length).min(view.end),
            fragment: None,
        };
        let field = u16_at(header, 6);
        if field & 0x3fff != 0 {
            let id = u32::from(u16_at(header, 4));
            let data = length - header_length;
            ip.fragment = Some(Fragment::check(id, field << 3, field & 0x2000 != 0, data, header_length)?);
        }
        Ok(ip)
    }

    /// RFC 8200, 3.
    #[inline]
    fn parse_v6(view: &View<'_>, at: usize, is_quoted: bool) -> Result<Self, PacketError> {
        let header: &[u8; 40] = view.chunk(at, PacketError::Truncated)?;
        if header[0] >> 4 != 6 {
            return Err(PacketError::BadVersion);
        }
        let end = at + 40 + usize::from(u16_at(header, 4));
        if end > view.end && !is_quoted {
            return Err(PacketError::BadLength);
        }
        let (source, destination) = (Address::from_v6(take(header, 8)), Address::from_v6(take(header, 24)));
        if source.is_v4() || destination.is_v4() {
            return Err(PacketError::MappedAddress);
        }
        let mut ip = Self {
            source,
            destination,
            protocol: header[6],
            hop_limit: header[7],
            traffic_class: header[0] << 4 | header[1] >> 4,
            transport: at + 40,
            end: end.min(view.end),
            fragment: None,
        };
        if is_extension(ip.protocol) {
            let view = view.up_to(ip.end);
            ip.walk(&view, end)?;
        }
        Ok(ip)
    }

    /// Passes over the extension headers (RFC 8200, 4). Authentication is none of them here: as for IPv4, it is a protocol
    /// of its own. `stated_end` is where the packet says that it ends.
    fn walk(&mut self, view: &View<'_>, stated_end: usize) -> Result<(), PacketError> {
        let first = self.transport;
        for _ in 0..EXTENSIONS_MAX {
            let header: &[u8; 8] = view.chunk(self.transport, self.short())?;
            match self.protocol {
                protocol::HOP_BY_HOP if self.transport != first => {
                    return Err(PacketError::MisplacedExtension);
                }
                // RFC 5095, 3: type 0 with segments left must not be followed.
                protocol::ROUTING if header[2] == 0 && header[3] != 0 => {
                    return Err(PacketError::SourceRoute);
                }
                protocol::FRAGMENT => self.read_fragment(header, stated_end)?,
                _ => {}
            }
            let length = if self.protocol == protocol::FRAGMENT { 8 } else { 8 + 8 * usize::from(header[1]) };
            self.protocol = header[0];
            self.transport += length;
            if self.transport > view.end {
                return Err(self.short());
            }
            // Only the first fragment holds what follows.
            if self.is_later_fragment() || !is_extension(self.protocol) {
                return Ok(());
            }
        }
        Err(PacketError::TooManyExtensions)
    }

    /// RFC 8200, 4.5. A fragment that is the first and the last at once is a whole packet (RFC 6946).
    fn read_fragment(&mut self, header: &[u8; 8], stated_end: usize) -> Result<(), PacketError> {
        if self.fragment.is_some() {
            return Err(PacketError::MisplacedExtension);
        }
        let field = u16_at(header, 2);
        if field & 0xfff9 != 0 {
            let data = stated_end.saturating_sub(self.transport + 8);
            self.fragment =
                Some(Fragment::check(u32_at(header, 4), field & 0xfff8, field & 1 != 0, data, 0)?);
        }
        Ok(())
    }

    /// What it means that the packet ends within its headers.
    pub(super) fn short(&self) -> PacketError {
        // RFC 7112, 5: the first fragment holds all headers.
        if self.fragment.is_some() { PacketError::FragmentTiny } else { PacketError::BadExtension }
    }

    /// Whether this is a fragment without transport header.
    pub(super) fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }
}

impl Fragment {
    /// A fragment of `length` bytes of data. `header` are the bytes of headers that count for the length of the whole.
    fn check(id: u32, offset: u16, more: bool, length: usize, header: usize) -> Result<Self, PacketError> {
        let end = usize::from(offset) + length;
        if length == 0 {
            Err(PacketError::FragmentEmpty)
        } else if more && !length.is_multiple_of(8) {
            Err(PacketError::FragmentUnaligned)
        } else if end + header > LENGTH_MAX {
            Err(PacketError::FragmentOverlong)
        } else {
            let length = u16::try_from(length).map_err(|_| PacketError::FragmentOverlong)?;
            Ok(Self { id, offset, length, more })
        }
    }
}

/// Whether this header is passed over.
#[inline]
fn is_extension(header: u8) -> bool {
    use protocol::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(header, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// Checks the options of an IPv4 header (RFC 791, 3.1). Source routes are refused, as RFC 7126, 4.3 and 4.4 advise: the
/// address that was judged would not be the last one.
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), PacketError> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const LOOSE_ROUTE: u8 = 131;
    const STRICT_ROUTE: u8 = 137;
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            END => return Ok(()),
            NOTHING => rest,
            LOOSE_ROUTE | STRICT_ROUTE => return Err(PacketError::SourceRoute),
            _ => {
                let length = rest.first().copied().map_or(0, usize::from);
                options.get(length..).filter(|_| length >= 2).ok_or(PacketError::BadOption)?
            }
        };
    }
    Ok(())
}

/// `M` bytes at `at` of a header that is long enough.
#[inline]
pub(super) fn take<const N: usize, const M: usize>(header: &[u8; N], at: usize) -> [u8; M] {
    std::array::from_fn(|byte| header[at + byte])
}
