//! BPDUs as frames (IEEE 802.1D-2004, clause 9; 802.1Q-2018, clause 14).
//!
//! ```text
//!   01:80:c2:00:00:00, source, length       Ethernet header
//!   42 42 03                                LLC
//!   00 00, version, type                    all; that is all of a topology change notification
//!   flags, root, cost, bridge, port         configuration and RST
//!   message age, max age, hello, delay      in 1/256 s
//!   00                                      RST: no version 1 information
//! ```

use super::vector::{BridgeId, PortId, Times, Vector};
use crate::mac::MacAddress;

/// Where BPDUs go (IEEE 802.1D-2004, 7.12.3).
pub const BRIDGE_GROUP: MacAddress = MacAddress([0x01, 0x80, 0xc2, 0, 0, 0]);

/// The LLC header of BPDUs (IEEE 802.1D-2004, 7.12.3: SAP 0x42, unnumbered information).
const LLC: [u8; 3] = [0x42, 0x42, 0x03];

/// Bytes of the Ethernet header.
const ETHERNET: usize = 14;

/// The shortest Ethernet frame in bytes, without FCS.
const FRAME_MIN: usize = 60;

const CONFIGURATION: u8 = 0x00;
const NOTIFICATION: u8 = 0x80;
const RAPID: u8 = 0x02;

/// Bytes that each kind has behind the LLC header (IEEE 802.1D-2004, 9.3.4).
const NOTIFICATION_LEN: usize = 4;
const CONFIGURATION_LEN: usize = 35;
const RAPID_LEN: usize = 36;

/// The version of RSTP; those above must be read like it (IEEE 802.1D-2004, 9.3.4).
const RAPID_VERSION: u8 = 2;

const FLAG_CHANGE: u8 = 0x01;
const FLAG_PROPOSAL: u8 = 0x02;
const FLAG_LEARNING: u8 = 0x10;
const FLAG_FORWARDING: u8 = 0x20;
const FLAG_AGREEMENT: u8 = 0x40;
const FLAG_ACKNOWLEDGED: u8 = 0x80;

/// What role the sending port has, as messages say it (IEEE 802.1D-2004, 9.2.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageRole {
    /// Alternate or backup port.
    AlternateOrBackup,
    /// Root port.
    Root,
    /// Designated port; also what a message of the older protocol means.
    Designated,
}

/// What only RST messages say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RapidFlags {
    /// The sender wants to forward at once, if the receiver agrees.
    pub proposal: bool,
    /// The sender learns addresses.
    pub learning: bool,
    /// The sender forwards.
    pub forwarding: bool,
    /// The sender agrees that the receiver forwards at once.
    pub agreement: bool,
}

/// A configuration message, of STP or RSTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Configuration {
    /// What RSTP adds; `None`: the message is STP's.
    pub rapid: Option<RapidFlags>,
    /// The sending port's role.
    pub role: MessageRole,
    /// The topology changed.
    pub change: bool,
    /// The notification of a change was heard (STP only).
    pub acknowledged: bool,
    /// What the sender believes.
    pub vector: Vector,
    /// And the times that go with it.
    pub times: Times,
}

/// A message between bridges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bpdu {
    /// A configuration message.
    Configuration(Configuration),
    /// The topology changed, says a bridge that speaks STP to the bridge before it (TCN).
    Notification,
}

/// Why a frame is no BPDU that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BpduError {
    /// It is not addressed or framed as one.
    #[error("the frame is not addressed and framed as a BPDU (IEEE 802.1D-2004, 7.12)")]
    NotOne,
    /// It says to be longer than it is.
    #[error("the frame's length field says {said} bytes, and {there} are there")]
    Cut {
        /// What the length field says, in bytes.
        said: usize,
        /// What is there, in bytes.
        there: usize,
    },
    /// It is shorter than its kind must be.
    #[error("a BPDU of type {kind:#04x} has {length} bytes, fewer than its kind must have")]
    Short {
        /// The type.
        kind: u8,
        /// The bytes behind the LLC header.
        length: usize,
    },
    /// Another protocol, or a kind that there is not.
    #[error("protocol {protocol:#06x}, version {version}, type {kind:#04x} is no BPDU that is known")]
    Unknown {
        /// Protocol identifier.
        protocol: u16,
        /// Protocol version.
        version: u8,
        /// Type.
        kind: u8,
    },
    /// It is older than it may get.
    #[error("the message age is not below the max age")]
    TooOld,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(bytes, at))
}

impl Bpdu {
    /// Reads a whole frame.
    ///
    /// # Errors
    /// Why it does not count; see [`BpduError`].
    pub fn parse(frame: &[u8]) -> Result<Self, BpduError> {
        let (header, rest) = frame.split_at_checked(ETHERNET).ok_or(BpduError::NotOne)?;
        let said = usize::from(word(header, 12));
        if field(header, 0) != BRIDGE_GROUP.0 || said >= 0x600 {
            return Err(BpduError::NotOne);
        }
        let there = rest.len();
        let body = rest.get(..said).ok_or(BpduError::Cut { said, there })?;
        Self::parse_body(body.strip_prefix(&LLC).ok_or(BpduError::NotOne)?)
    }

    /// Reads what stands behind the LLC header (IEEE 802.1D-2004, 9.3.4).
    fn parse_body(body: &[u8]) -> Result<Self, BpduError> {
        let (protocol, [version, kind]) = (word(body, 0), field(body, 2));
        if body.len() < NOTIFICATION_LEN {
            return Err(BpduError::Short { kind, length: body.len() });
        }
        let (is_rapid, length) = match (protocol, kind) {
            (0, NOTIFICATION) => return Ok(Self::Notification),
            (0, CONFIGURATION) => (false, CONFIGURATION_LEN),
            (0, RAPID) if version >= RAPID_VERSION => (true, RAPID_LEN),
            _ => return Err(BpduError::Unknown { protocol, version, kind }),
        };
        if body.len() < length {
            return Err(BpduError::Short { kind, length: body.len() });
        }
        let message = Configuration::parse(body, is_rapid);
        if !is_rapid && message.times.message_age >= message.times.max_age {
            return Err(BpduError::TooOld);
        }
        Ok(Self::Configuration(message))
    }

    /// The frame that says this, from the port with address `source`.
    #[must_use]
    pub fn frame(&self, source: MacAddress) -> Vec<u8> {
        let mut body = LLC.to_vec();
        match self {
            Self::Notification => body.extend([0, 0, 0, NOTIFICATION]),
            Self::Configuration(message) => message.write(&mut body),
        }
        let length = u16::try_from(body.len()).unwrap_or(0);
        let mut frame = [&BRIDGE_GROUP.0[..], &source.0, &length.to_be_bytes(), &body].concat();
        frame.resize(FRAME_MIN.max(frame.len()), 0);
        frame
    }
}

impl Configuration {
    fn parse(body: &[u8], is_rapid: bool) -> Self {
        let [flags] = field(body, 4);
        let has = |flag| flags & flag != 0;
        // Who does not say his role is taken for one of the older protocol (IEEE 802.1D-2004, 9.2.9).
        let role = match flags >> 2 & 3 {
            1 if is_rapid => Some(MessageRole::AlternateOrBackup),
            2 if is_rapid => Some(MessageRole::Root),
            3 if is_rapid => Some(MessageRole::Designated),
            _ => None,
        };
        let rapid = RapidFlags {
            proposal: has(FLAG_PROPOSAL) && role.is_some(),
            learning: has(FLAG_LEARNING) && role.is_some(),
            forwarding: has(FLAG_FORWARDING) && role.is_some(),
            agreement: has(FLAG_AGREEMENT) && role.is_some(),
        };
        Self {
            rapid: is_rapid.then_some(rapid),
            role: role.unwrap_or(MessageRole::Designated),
            change: has(FLAG_CHANGE),
            acknowledged: has(FLAG_ACKNOWLEDGED) && !is_rapid,
            vector: Vector {
                root: BridgeId::from_bytes(field(body, 5)),
                cost: u32::from_be_bytes(field(body, 13)),
                bridge: BridgeId::from_bytes(field(body, 17)),
                port: PortId(word(body, 25)),
            },
            times: Times {
                message_age: word(body, 27),
                max_age: word(body, 29),
                hello_time: word(body, 31),
                forward_delay: word(body, 33),
            },
        }
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let common = flag(self.change, FLAG_CHANGE);
        let Some(rapid) = self.rapid else { return common | flag(self.acknowledged, FLAG_ACKNOWLEDGED) };
        let role = match self.role {
            MessageRole::AlternateOrBackup => 1,
            MessageRole::Root => 2,
            MessageRole::Designated => 3,
        };
        common
            | role << 2
            | flag(rapid.proposal, FLAG_PROPOSAL)
            | flag(rapid.learning, FLAG_LEARNING)
            | flag(rapid.forwarding, FLAG_FORWARDING)
            | flag(rapid.agreement, FLAG_AGREEMENT)
    }

    fn write(&self, body: &mut Vec<u8>) {
        let (version, kind) = if self.rapid.is_some() { (RAPID_VERSION, RAPID) } else { (0, CONFIGURATION) };
        body.extend([0, 0, version, kind, self.flags()]);
        body.extend(self.vector.root.to_bytes());
        body.extend(self.vector.cost.to_be_bytes());
        body.extend(self.vector.bridge.to_bytes());
        body.extend(self.vector.port.0.to_be_bytes());
        let Times { message_age, max_age, hello_time, forward_delay } = self.times;
        body.extend(
            [message_age, max_age, hello_time, forward_delay].iter().flat_map(|time| time.to_be_bytes()),
        );
        body.extend(self.rapid.map(|_| 0));
    }
}
