//! A message and its bytes (RFC 8415, 8 and 21.1).

use super::Malformed;

/// The longest message that is read, in bytes.
const MESSAGE_MAX: usize = 4096;

/// Codes of options (IANA, "Dynamic Host Configuration Protocol for IPv6 (DHCPv6)").
pub mod code {
    /// What a client is known by (RFC 8415, 21.2).
    pub const CLIENT_ID: u16 = 1;
    /// What a server is known by (RFC 8415, 21.3).
    pub const SERVER_ID: u16 = 2;
    /// Addresses that are not temporary (RFC 8415, 21.4).
    pub const IA_NA: u16 = 3;
    /// Temporary addresses (RFC 8415, 21.5).
    pub const IA_TA: u16 = 4;
    /// An address (RFC 8415, 21.6).
    pub const IA_ADDRESS: u16 = 5;
    /// The options that a client wants (RFC 8415, 21.7).
    pub const OPTION_REQUEST: u16 = 6;
    /// What became of a request (RFC 8415, 21.13).
    pub const STATUS: u16 = 13;
    /// The client takes a lease at once (RFC 8415, 21.14).
    pub const RAPID_COMMIT: u16 = 14;
    /// Name servers (RFC 3646, 3).
    pub const DNS_SERVERS: u16 = 23;
    /// Domains in which names are looked up (RFC 3646, 4).
    pub const DOMAIN_SEARCH: u16 = 24;
    /// Prefixes (RFC 8415, 21.21).
    pub const IA_PD: u16 = 25;
    /// A prefix (RFC 8415, 21.22).
    pub const IA_PREFIX: u16 = 26;
    /// After how many seconds to ask for the rest again (RFC 8415, 21.23).
    pub const REFRESH_TIME: u16 = 32;
    /// The client's name (RFC 4704, 4).
    pub const CLIENT_NAME: u16 = 39;
    /// Time servers (RFC 5908, 4).
    pub const NTP_SERVER: u16 = 56;
    /// What to boot, as a URL (RFC 5970, 3.1).
    pub const BOOT_FILE: u16 = 59;
}

/// What became of a request (RFC 8415, 21.13).
pub mod status {
    /// It was done.
    pub const SUCCESS: u16 = 0;
    /// There is no address for the client.
    pub const NO_ADDRESS: u16 = 2;
    /// Nothing is known of what the client says it was lent.
    pub const NO_BINDING: u16 = 3;
    /// The addresses are not ones of the client's link.
    pub const NOT_ON_LINK: u16 = 4;
    /// The client is to ask all servers.
    pub const USE_MULTICAST: u16 = 5;
    /// There is no prefix for the client.
    pub const NO_PREFIX: u16 = 6;
}

/// What a message is (RFC 8415, 7.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MessageType {
    /// A client looks for servers.
    Solicit,
    /// A server offers addresses.
    Advertise,
    /// A client asks for what was offered.
    Request,
    /// A client asks whether its addresses fit its link.
    Confirm,
    /// A client asks its server to go on.
    Renew,
    /// A client asks all servers to go on.
    Rebind,
    /// A server answers.
    Reply,
    /// A client needs its addresses no more.
    Release,
    /// A client says that somebody uses its addresses.
    Decline,
    /// A server tells a client to ask.
    Reconfigure,
    /// A client has addresses and asks for the rest.
    InformationRequest,
    /// A relay's, to a server.
    RelayForward,
    /// A server's, to a relay.
    RelayReply,
}

impl MessageType {
    const ALL: [Self; 13] = [
        Self::Solicit,
        Self::Advertise,
        Self::Request,
        Self::Confirm,
        Self::Renew,
        Self::Rebind,
        Self::Reply,
        Self::Release,
        Self::Decline,
        Self::Reconfigure,
        Self::InformationRequest,
        Self::RelayForward,
        Self::RelayReply,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    fn number(self) -> u8 {
        self as u8 + 1
    }

    fn is_relays(self) -> bool {
        matches!(self, Self::RelayForward | Self::RelayReply)
    }
}

/// Options in the order in which they stand, some of them more than once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options(Vec<(u16, Vec<u8>)>);

impl Options {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Puts in an option behind the others.
    pub fn put(&mut self, code: u16, value: impl Into<Vec<u8>>) {
        self.0.push((code, value.into()));
    }

    /// The bytes of an option; of several, the first.
    #[must_use]
    pub fn get(&self, code: u16) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == code).map(|(_, value)| value)
    }

    /// All options, codes and bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.0.iter().map(|(code, value)| (*code, value.as_slice()))
    }

    /// Whether the client wants an option (RFC 8415, 21.7).
    #[must_use]
    pub fn wants(&self, code: u16) -> bool {
        let (wanted, _) = self.get(code::OPTION_REQUEST).unwrap_or(&[]).as_chunks::<2>();
        wanted.contains(&code.to_be_bytes())
    }

    /// Reads options up to the end. Those that stand for several things may come again.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut options = Self::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let &[c1, c2, l1, l2, ref behind @ ..] = rest else {
                return Err(Malformed::OptionTruncated { code: 0 });
            };
            let (code, length) = (u16::from_be_bytes([c1, c2]), u16::from_be_bytes([l1, l2]));
            let cut = Malformed::OptionTruncated { code };
            let (value, behind) = behind.split_at_checked(usize::from(length)).ok_or(cut)?;
            if options.get(code).is_some() && !may_come_again(code) {
                return Err(Malformed::OptionTwice { code });
            }
            options.put(code, value);
            rest = behind;
        }
        Ok(options)
    }

    /// Their bytes. What is longer than an option can be is left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in self.iter() {
            let Ok(length) = u16::try_from(value.len()) else { continue };
            bytes.extend(code.to_be_bytes());
            bytes.extend(length.to_be_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }
}

/// Associations, what is in them, and vendors' (RFC 8415, 21.15 to 21.17); the others are there once (RFC 8415, 24).
fn may_come_again(code: u16) -> bool {
    use code::{IA_ADDRESS, IA_NA, IA_PD, IA_PREFIX, IA_TA};
    matches!(code, IA_NA | IA_TA | IA_PD | IA_ADDRESS | IA_PREFIX | 15..=17)
}

/// A message between a client and a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// What it is.
    pub kind: MessageType,
    /// Joins answers to their questions, three bytes.
    pub transaction: [u8; 3],
    /// The options. Of a relay's message, none are read.
    pub options: Options,
}

impl Message {
    /// Reads a UDP datagram's payload.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let length = bytes.len();
        let &[found, t1, t2, t3, ref options @ ..] = bytes else { return Err(Malformed::Short { length }) };
        if length > MESSAGE_MAX {
            return Err(Malformed::Long { length });
        }
        let kind = MessageType::from_number(found).ok_or(Malformed::Kind { found })?;
        let options = if kind.is_relays() { Options::new() } else { Options::decode(options)? };
        Ok(Self { kind, transaction: [t1, t2, t3], options })
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [t1, t2, t3] = self.transaction;
        let mut bytes = vec![self.kind.number(), t1, t2, t3];
        bytes.extend(self.options.encode());
        bytes
    }
}
