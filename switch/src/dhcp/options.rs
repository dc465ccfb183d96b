//! Options: a code, a length and bytes (RFC 2132; RFC 3396 where one is longer than 255 bytes).

use std::net::Ipv4Addr;

use super::Malformed;

/// Codes of options (IANA, "Dynamic Host Configuration Protocol (DHCP) and Bootstrap Protocol (BOOTP) Parameters").
pub mod code {
    /// Fills up; it has no length (RFC 2132, 3.1).
    pub const PAD: u8 = 0;
    /// The subnet's mask (RFC 2132, 3.3).
    pub const SUBNET_MASK: u8 = 1;
    /// Routers, the preferred one first (RFC 2132, 3.5).
    pub const ROUTERS: u8 = 3;
    /// Name servers (RFC 2132, 3.8).
    pub const DNS_SERVERS: u8 = 6;
    /// The client's name (RFC 2132, 3.14).
    pub const HOST_NAME: u8 = 12;
    /// The domain in which names without dots are looked up (RFC 2132, 3.17).
    pub const DOMAIN_NAME: u8 = 15;
    /// The interface's MTU (RFC 2132, 5.1).
    pub const INTERFACE_MTU: u8 = 26;
    /// Time servers (RFC 2132, 8.3).
    pub const NTP_SERVERS: u8 = 42;
    /// The address that a client asks for (RFC 2132, 9.1).
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// For how long an address is lent, in seconds (RFC 2132, 9.2).
    pub const LEASE_TIME: u8 = 51;
    /// Which of the fields `file` and `sname` hold options (RFC 2132, 9.3).
    pub const OVERLOAD: u8 = 52;
    /// What kind of message it is (RFC 2132, 9.6).
    pub const MESSAGE_TYPE: u8 = 53;
    /// Which server a message is of or for (RFC 2132, 9.7).
    pub const SERVER_IDENTIFIER: u8 = 54;
    /// The options that a client wants, in its order (RFC 2132, 9.8).
    pub const PARAMETER_REQUEST: u8 = 55;
    /// Why something was refused (RFC 2132, 9.9).
    pub const MESSAGE: u8 = 56;
    /// The longest IP datagram that a client takes (RFC 2132, 9.10).
    pub const MAXIMUM_SIZE: u8 = 57;
    /// After how many seconds a client asks its server to go on (RFC 2132, 9.11).
    pub const RENEWAL_TIME: u8 = 58;
    /// After how many seconds it asks any server (RFC 2132, 9.12).
    pub const REBINDING_TIME: u8 = 59;
    /// What a client is known by (RFC 2132, 9.14; RFC 4361).
    pub const CLIENT_IDENTIFIER: u8 = 61;
    /// The name of the server to boot from (RFC 2132, 9.4).
    pub const TFTP_SERVER_NAME: u8 = 66;
    /// The file to boot (RFC 2132, 9.5).
    pub const BOOT_FILE: u8 = 67;
    /// What a relay says about the client (RFC 3046).
    pub const RELAY_INFORMATION: u8 = 82;
    /// Domains in which names are looked up (RFC 3397).
    pub const DOMAIN_SEARCH: u8 = 119;
    /// Routes to prefixes of any length (RFC 3442).
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// Ends the options (RFC 2132, 3.2).
    pub const END: u8 = 255;
}

/// The longest that one instance of an option may be.
const INSTANCE_MAX: usize = 255;

/// The options of a message, each code once, in the order in which they stand there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The bytes of an option.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| *found == code).map(|(_, value)| value.as_slice())
    }

    /// Sets an option, behind the ones that are there. [`code::PAD`] and [`code::END`] are no options.
    pub fn set(&mut self, code: u8, value: impl Into<Vec<u8>>) {
        self.remove(code);
        if !matches!(code, code::PAD | code::END) {
            self.0.push((code, value.into()));
        }
    }

    /// Takes an option away.
    pub fn remove(&mut self, code: u8) {
        self.0.retain(|(found, _)| *found != code);
    }

    /// Sets an option to a list of addresses; an empty list is no option.
    pub fn set_addresses(&mut self, code: u8, addresses: &[Ipv4Addr]) {
        if !addresses.is_empty() {
            self.set(code, addresses.iter().flat_map(Ipv4Addr::octets).collect::<Vec<u8>>());
        }
    }

    /// All options, codes and bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.0.iter().map(|(code, value)| (*code, value.as_slice()))
    }

    /// An option that is one address.
    ///
    /// # Errors
    /// [`Malformed::OptionLength`].
    pub fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, Malformed> {
        Ok(self.fixed::<4>(code)?.map(Ipv4Addr::from))
    }

    /// An option that is a number of 32 bits.
    ///
    /// # Errors
    /// [`Malformed::OptionLength`].
    pub fn u32(&self, code: u8) -> Result<Option<u32>, Malformed> {
        Ok(self.fixed::<4>(code)?.map(u32::from_be_bytes))
    }

    /// An option that is a number of 16 bits.
    ///
    /// # Errors
    /// [`Malformed::OptionLength`].
    pub fn u16(&self, code: u8) -> Result<Option<u16>, Malformed> {
        Ok(self.fixed::<2>(code)?.map(u16::from_be_bytes))
    }

    /// An option that is one byte.
    ///
    /// # Errors
    /// [`Malformed::OptionLength`].
    pub fn u8(&self, code: u8) -> Result<Option<u8>, Malformed> {
        Ok(self.fixed::<1>(code)?.map(|[value]| value))
    }

    /// An option that is a list of at least one address; absent, none.
    ///
    /// # Errors
    /// [`Malformed::OptionLength`].
    pub fn addresses(&self, code: u8) -> Result<Vec<Ipv4Addr>, Malformed> {
        let Some(value) = self.get(code) else { return Ok(Vec::new()) };
        let (addresses, rest) = value.as_chunks::<4>();
        if addresses.is_empty() || !rest.is_empty() {
            return Err(Malformed::OptionLength { code, length: value.len() });
        }
        Ok(addresses.iter().map(|&octets| Ipv4Addr::from(octets)).collect())
    }

    /// An option that is text of printable ASCII, without the zeroes at its end (RFC 2132, 2); absent or something
    /// else, none.
    #[must_use]
    pub fn text(&self, code: u8) -> Option<&str> {
        let value = self.get(code)?;
        let end = value.iter().rposition(|&byte| byte != 0)? + 1;
        let is_text = value[..end].iter().all(|byte| matches!(byte, b' '..=b'~'));
        if is_text { std::str::from_utf8(&value[..end]).ok() } else { None }
    }

    fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, Malformed> {
        let Some(value) = self.get(code) else { return Ok(None) };
        let fixed = value.try_into().map_err(|_| Malformed::OptionLength { code, length: value.len() })?;
        Ok(Some(fixed))
    }

    /// Adds what stands in one of a message's fields. What comes again belongs behind what came before, since it was cut
    /// (RFC 3396, 7).
    ///
    /// # Errors
    /// [`Malformed::OptionTruncated`] or [`Malformed::NoEnd`] (RFC 2131, 4.1: the last option is always `end`).
    pub(super) fn read(&mut self, field: &[u8]) -> Result<(), Malformed> {
        let mut rest = field;
        loop {
            match rest {
                [] => return Err(Malformed::NoEnd),
                [code::END, ..] => return Ok(()),
                [code::PAD, behind @ ..] => rest = behind,
                &[code, length, ref behind @ ..] => {
                    let cut = Malformed::OptionTruncated { code };
                    let (value, behind) = behind.split_at_checked(usize::from(length)).ok_or(cut)?;
                    self.append(code, value);
                    rest = behind;
                }
                &[code] => return Err(Malformed::OptionTruncated { code }),
            }
        }
    }

    fn append(&mut self, code: u8, value: &[u8]) {
        match self.0.iter_mut().find(|(found, _)| *found == code) {
            Some((_, whole)) => whole.extend_from_slice(value),
            None => self.0.push((code, value.to_vec())),
        }
    }
}

/// How many bytes an option takes: a header for each instance (RFC 3396, 5).
fn encoded_length(value: &[u8]) -> usize {
    value.len() + 2 * value.len().div_ceil(INSTANCE_MAX).max(1)
}

/// Writes an option, in several instances where it is too long for one (RFC 3396, 5).
fn write(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    let empty: &[u8] = &[];
    let instances = value.chunks(INSTANCE_MAX).chain(value.is_empty().then_some(empty));
    for instance in instances {
        out.extend([code, u8::try_from(instance.len()).unwrap_or(u8::MAX)]);
        out.extend_from_slice(instance);
    }
}

/// A field of a message that options are written to: its bytes so far, and how many it has room for, `end` not counted.
pub(super) struct Room {
    pub(super) bytes: Vec<u8>,
    room: usize,
}

impl Room {
    /// A field of `length` bytes.
    pub(super) fn new(length: usize) -> Self {
        Self { bytes: Vec::new(), room: length.saturating_sub(1) }
    }

    /// How long the field is.
    pub(super) fn capacity(&self) -> usize {
        self.room + 1
    }

    /// Writes an option if there is room.
    pub(super) fn put(&mut self, code: u8, value: &[u8]) -> bool {
        let fits = self.bytes.len() + encoded_length(value) <= self.room;
        if fits {
            write(&mut self.bytes, code, value);
        }
        fits
    }

    /// Keeps `bytes` free for something that is to be written later.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
    }

    /// Gives back what was kept free.
    pub(super) fn release(&mut self, bytes: usize) {
        self.room += bytes;
    }

    /// The field with its `end`.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(code::END);
        self.bytes
    }
}
