//! Slow protocol frames: LACPDUs (IEEE 802.1AX-2020, 6.4.2.3) and marker PDUs (6.5.3.3).

use std::fmt;

use crate::mac::MacAddress;

/// Where slow protocol frames go: the group that no bridge forwards (IEEE 802.1AX-2020, table 6-1).
pub const SLOW_PROTOCOLS: MacAddress = MacAddress([0x01, 0x80, 0xc2, 0, 0, 2]);

/// The type field of slow protocols (IEEE 802.3-2018, 57A.4).
pub const SLOW_PROTOCOLS_TYPE: u16 = 0x8809;

/// Bytes of an LACPDU or a marker PDU from the destination address on, without FCS.
pub const FRAME_LEN: usize = 124;

/// A whole slow protocol frame, without FCS.
pub type SlowFrame = [u8; FRAME_LEN];

const SUBTYPE_LACP: u8 = 1;
const SUBTYPE_MARKER: u8 = 2;

/// The version that we speak; those above only add to it (IEEE 802.1AX-2020, 6.4.2.3).
const VERSION: u8 = 1;

/// Bytes of the values that an LACPDU holds, each with its two bytes of type and length.
const PORT_TLV_LEN: u8 = 20;
const COLLECTOR_TLV_LEN: u8 = 16;
const MARKER_TLV_LEN: u8 = 16;

const TLV_ACTOR: u8 = 1;
const TLV_PARTNER: u8 = 2;
const TLV_COLLECTOR: u8 = 3;
const TLV_MARKER_REQUEST: u8 = 1;
const TLV_MARKER_RESPONSE: u8 = 2;

/// Where the parts of an LACPDU begin, from the destination address on.
mod at {
    pub(super) const SUBTYPE: usize = 14;
    pub(super) const VERSION: usize = 15;
    pub(super) const ACTOR: usize = 16;
    pub(super) const PARTNER: usize = 36;
    pub(super) const COLLECTOR: usize = 56;
    pub(super) const MARKER: usize = 16;
    /// Behind the marker's requester, transaction and padding.
    pub(super) const MARKER_END: usize = 32;
}

/// One bit of a port's state (IEEE 802.1AX-2020, 6.4.2.3 m).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Flag {
    /// It sends LACPDUs without having been asked.
    Activity = 0x01,
    /// It wants LACPDUs every second, and gives up after three.
    ShortTimeout = 0x02,
    /// It may be one of several in a group.
    Aggregation = 0x04,
    /// It is attached to the right group.
    Synchronization = 0x08,
    /// It takes frames.
    Collecting = 0x10,
    /// It sends frames.
    Distributing = 0x20,
    /// It knows nothing of its partner but defaults.
    Defaulted = 0x40,
    /// It has not heard of its partner in time.
    Expired = 0x80,
}

impl Flag {
    /// All flags with the names that people know them by.
    pub const NAMED: [(Self, &'static str); 8] = [
        (Self::Activity, "activity"),
        (Self::ShortTimeout, "short-timeout"),
        (Self::Aggregation, "aggregation"),
        (Self::Synchronization, "synchronization"),
        (Self::Collecting, "collecting"),
        (Self::Distributing, "distributing"),
        (Self::Defaulted, "defaulted"),
        (Self::Expired, "expired"),
    ];
}

/// The state of a port: a set of [`Flag`]s.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct State(pub u8);

impl State {
    /// These flags and no other.
    #[must_use]
    pub fn of(flags: &[Flag]) -> Self {
        Self(flags.iter().fold(0, |bits, flag| bits | *flag as u8))
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn has(self, flag: Flag) -> bool {
        self.0 & flag as u8 != 0
    }

    /// Sets the flag, or clears it.
    pub fn set(&mut self, flag: Flag, on: bool) {
        self.0 = if on { self.0 | flag as u8 } else { self.0 & !(flag as u8) };
    }

    /// Whether all of these flags are the same in `other`.
    #[must_use]
    pub fn agrees(self, other: Self, flags: &[Flag]) -> bool {
        (self.0 ^ other.0) & Self::of(flags).0 == 0
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flag::NAMED.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Names a system: the lower number has the say (IEEE 802.1AX-2020, 6.3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SystemId {
    /// Lower ones come first.
    pub priority: u16,
    /// One of the system's own addresses.
    pub address: MacAddress,
}

/// What an LACPDU says about one end of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// Whose port it is.
    pub system: SystemId,
    /// Ports with one key may be in one group.
    pub key: u16,
    /// Lower ones come first.
    pub port_priority: u16,
    /// The port's number, 1 or above.
    pub port: u16,
    /// What it does and wants.
    pub state: State,
}

impl PortInfo {
    /// Nothing known: what stands for a partner that says nothing, with this state.
    pub(super) const fn unknown(state: State) -> Self {
        let system = SystemId { priority: 0, address: MacAddress([0; 6]) };
        Self { system, key: 0, port_priority: 0, port: 0, state }
    }

    /// Whether both are the same port in the same group: all numbers, and whether it may be aggregated.
    pub(super) fn is_same_port(&self, other: &Self) -> bool {
        let numbers = |info: &Self| (info.system, info.key, info.port_priority, info.port);
        numbers(self) == numbers(other) && self.state.agrees(other.state, &[Flag::Aggregation])
    }

    fn read(bytes: &[u8; 15]) -> Self {
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let address = MacAddress([bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]);
        Self {
            system: SystemId { priority: word(0), address },
            key: word(8),
            port_priority: word(10),
            port: word(12),
            state: State(bytes[14]),
        }
    }

    fn write(&self, bytes: &mut [u8; 15]) {
        bytes[..2].copy_from_slice(&self.system.priority.to_be_bytes());
        bytes[2..8].copy_from_slice(&self.system.address.0);
        bytes[8..10].copy_from_slice(&self.key.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.port_priority.to_be_bytes());
        bytes[12..14].copy_from_slice(&self.port.to_be_bytes());
        bytes[14] = self.state.0;
    }
}

/// A Link Aggregation Control Protocol data unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lacpdu {
    /// The version that the sender speaks.
    pub version: u8,
    /// The sender's end.
    pub actor: PortInfo,
    /// What the sender knows about our end.
    pub partner: PortInfo,
    /// The longest that the sender's collector keeps a frame, in tens of microseconds.
    pub collector_delay: u16,
}

/// What a slow protocol frame says to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// An LACPDU.
    Lacp(Lacpdu),
    /// A marker to be answered: what came before it on this link has arrived when the answer is there.
    Marker(Marker),
    /// An answer to a marker. We send none, so that it says nothing to us.
    MarkerResponse,
}

/// The request of a marker PDU (IEEE 802.1AX-2020, 6.5.3.3.2): port, system and transaction of who asks, and padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marker {
    request: [u8; at::MARKER_END - at::MARKER - 2],
}

/// Why a frame says nothing to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the protocol's frames.
    #[error("a slow protocol frame has at least {FRAME_LEN} bytes")]
    Short,
    /// Another destination or type: not for the slow protocols.
    #[error("the frame does not go to 01:80:c2:00:00:02 with type 0x8809")]
    NotSlow,
    /// The sender is a group, or nobody.
    #[error("the source address is a group address or all zero")]
    Source,
    /// A subtype of other protocols, or a marker of an unknown kind.
    #[error("the subtype is neither LACP nor a marker")]
    Subtype,
    /// A part has not the length that the standard gives it.
    #[error("the length of a part is not the standard's")]
    PartLength,
}

impl Message {
    /// Reads a frame from its destination address on; what follows the first [`FRAME_LEN`] bytes is padding, or belongs
    /// to later versions. Version, types of parts and reserved bytes count for nothing, and lengths are checked
    /// (IEEE 802.1AX-2020, 6.4.12: a receive machine "shall not validate" the former and "may validate" the latter).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let frame: &SlowFrame = frame.first_chunk().ok_or(Malformed::Short)?;
        let is_slow = frame[..6] == SLOW_PROTOCOLS.0 && frame[12..14] == SLOW_PROTOCOLS_TYPE.to_be_bytes();
        if !is_slow {
            return Err(Malformed::NotSlow);
        }
        let source = MacAddress([frame[6], frame[7], frame[8], frame[9], frame[10], frame[11]]);
        if source.is_group() || source.is_zero() {
            return Err(Malformed::Source);
        }
        match frame[at::SUBTYPE] {
            SUBTYPE_LACP => Lacpdu::read(frame).map(Self::Lacp),
            SUBTYPE_MARKER => Marker::read(frame),
            _ => Err(Malformed::Subtype),
        }
    }
}

impl Lacpdu {
    fn read(frame: &SlowFrame) -> Result<Self, Malformed> {
        let length = |at: usize| frame[at + 1];
        let agree = length(at::ACTOR) == PORT_TLV_LEN
            && length(at::PARTNER) == PORT_TLV_LEN
            && length(at::COLLECTOR) == COLLECTOR_TLV_LEN;
        if !agree {
            return Err(Malformed::PartLength);
        }
        let info = |at: usize| frame[at + 2..].first_chunk().map(PortInfo::read).ok_or(Malformed::Short);
        Ok(Self {
            version: frame[at::VERSION],
            actor: info(at::ACTOR)?,
            partner: info(at::PARTNER)?,
            collector_delay: u16::from_be_bytes([frame[at::COLLECTOR + 2], frame[at::COLLECTOR + 3]]),
        })
    }

    /// An LACPDU of our version about these two ends.
    #[must_use]
    pub fn new(actor: PortInfo, partner: PortInfo) -> Self {
        Self { version: VERSION, actor, partner, collector_delay: 0 }
    }

    /// The frame that `source`, the address of the link itself, sends.
    #[must_use]
    pub fn encode(&self, source: MacAddress) -> SlowFrame {
        let mut frame = slow_frame(source, SUBTYPE_LACP, self.version);
        for (at, kind, info) in
            [(at::ACTOR, TLV_ACTOR, &self.actor), (at::PARTNER, TLV_PARTNER, &self.partner)]
        {
            frame[at..at + 2].copy_from_slice(&[kind, PORT_TLV_LEN]);
            if let Some(bytes) = frame[at + 2..].first_chunk_mut() {
                info.write(bytes);
            }
        }
        let [high, low] = self.collector_delay.to_be_bytes();
        let collector = [TLV_COLLECTOR, COLLECTOR_TLV_LEN, high, low];
        frame[at::COLLECTOR..at::COLLECTOR + 4].copy_from_slice(&collector);
        // The terminator is of type 0 and length 0, and so are the reserved bytes.
        frame
    }
}

impl Marker {
    fn read(frame: &SlowFrame) -> Result<Message, Malformed> {
        match (frame[at::MARKER], frame[at::MARKER + 1]) {
            (TLV_MARKER_REQUEST, MARKER_TLV_LEN) => {
                let request = frame[at::MARKER + 2..at::MARKER_END].first_chunk().ok_or(Malformed::Short)?;
                Ok(Message::Marker(Self { request: *request }))
            }
            (TLV_MARKER_RESPONSE, MARKER_TLV_LEN) => Ok(Message::MarkerResponse),
            (TLV_MARKER_REQUEST | TLV_MARKER_RESPONSE, _) => Err(Malformed::PartLength),
            _ => Err(Malformed::Subtype),
        }
    }

    /// The frame by which `source` answers: the request, called a response (IEEE 802.1AX-2020, 6.5.4.2.1).
    #[must_use]
    pub fn response(&self, source: MacAddress) -> SlowFrame {
        let mut frame = slow_frame(source, SUBTYPE_MARKER, VERSION);
        frame[at::MARKER..at::MARKER + 2].copy_from_slice(&[TLV_MARKER_RESPONSE, MARKER_TLV_LEN]);
        frame[at::MARKER + 2..at::MARKER_END].copy_from_slice(&self.request);
        frame
    }
}

/// A frame without any part.
fn slow_frame(source: MacAddress, subtype: u8, version: u8) -> SlowFrame {
    let mut frame = [0; FRAME_LEN];
    frame[..6].copy_from_slice(&SLOW_PROTOCOLS.0);
    frame[6..12].copy_from_slice(&source.0);
    frame[12..14].copy_from_slice(&SLOW_PROTOCOLS_TYPE.to_be_bytes());
    frame[at::SUBTYPE] = subtype;
    frame[at::VERSION] = version;
    frame
}

#[cfg(test)]
mod tests;
