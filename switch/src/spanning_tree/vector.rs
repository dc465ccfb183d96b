//! Identifiers, times and priority vectors: what bridges compare (IEEE 802.1D-2004, 17.5 and 17.6).

use std::fmt;

use crate::mac::MacAddress;

/// Low 12 bits of a port identifier and 48 of a bridge identifier name; what is above is the priority.
const PORT_NUMBER: u16 = 0x0fff;

/// A bridge identifier: a priority, and a bridge's address (IEEE 802.1D-2004, 9.2.5). Less is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BridgeId(u64);

impl BridgeId {
    /// A bridge of this priority (what a person sets has steps of 4096) and address.
    #[must_use]
    pub fn new(priority: u16, address: MacAddress) -> Self {
        Self(u64::from(priority) << 48 | address.to_u64())
    }

    /// From the eight bytes of a message.
    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// As it stands in messages.
    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The priority: four bits that a person sets, and twelve of the system identifier extension.
    #[must_use]
    pub fn priority(self) -> u16 {
        let [high, low, ..] = self.to_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The address that tells bridges of equal priority apart.
    #[must_use]
    pub fn address(self) -> MacAddress {
        MacAddress::from_u64(self.0)
    }
}

impl fmt::Display for BridgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.priority(), self.address())
    }
}

impl fmt::Debug for BridgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A port identifier: four bits of priority and twelve of number (IEEE 802.1D-2004, 9.2.7). Less is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub(super) u16);

impl PortId {
    /// A port of this priority (0 to 240 in steps of 16) and number (1 to 4095).
    #[must_use]
    pub fn new(priority: u8, number: u16) -> Self {
        Self(u16::from(priority & 0xf0) << 8 | (number & PORT_NUMBER))
    }

    /// The priority.
    #[must_use]
    pub fn priority(self) -> u8 {
        let [high, _] = self.0.to_be_bytes();
        high & 0xf0
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0 & PORT_NUMBER
    }
}

/// The times that a root imposes on its tree, in units of 1/256 s as in messages (IEEE 802.1D-2004, 17.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// How far from the root the information is; it dies at `max_age`.
    pub message_age: u16,
    /// The age at which information is no longer believed.
    pub max_age: u16,
    /// The time between two hellos.
    pub hello_time: u16,
    /// How long a port listens, and how long it learns, when nobody agrees to less.
    pub forward_delay: u16,
}

/// One second in the unit of messages.
pub(super) const SECOND: u16 = 256;

/// A time of messages in milliseconds, rounded up.
pub(super) fn milliseconds(time: u16) -> u32 {
    (u32::from(time) * 1000).div_ceil(u32::from(SECOND))
}

impl Times {
    /// Times from whole seconds; none may be above 255.
    pub(super) fn from_seconds(max_age_s: u8, hello_time_s: u8, forward_delay_s: u8) -> Self {
        let time = |seconds: u8| u16::from(seconds) * SECOND;
        Self {
            message_age: 0,
            max_age: time(max_age_s),
            hello_time: time(hello_time_s),
            forward_delay: time(forward_delay_s),
        }
    }

    /// The same within what the standard allows (IEEE 802.1D-2004, table 17-1; hellos up to 10 s come from bridges of
    /// the 1998 edition): whoever claims to be the root could otherwise set timers to nothing.
    pub(super) fn within_bounds(self) -> Self {
        let clamp = |time: u16, min: u16, max: u16| time.clamp(min * SECOND, max * SECOND);
        Self {
            message_age: self.message_age,
            max_age: clamp(self.max_age, 6, 40),
            hello_time: clamp(self.hello_time, 1, 10),
            forward_delay: clamp(self.forward_delay, 4, 30),
        }
    }

    /// The same one bridge further from the root, in whole seconds (IEEE 802.1D-2004, 17.21.25 f).
    pub(super) fn one_hop_on(self) -> Self {
        let aged = self.message_age.saturating_add(SECOND + SECOND / 2);
        Self { message_age: aged - aged % SECOND, ..self }
    }
}

/// A spanning tree priority vector (IEEE 802.1D-2004, 17.5). Less is better. The last component, the receiving port,
/// stands only where vectors of one bridge's ports are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Vector {
    /// Who is believed to be the root.
    pub root: BridgeId,
    /// What the way there costs.
    pub cost: u32,
    /// Who says so.
    pub bridge: BridgeId,
    /// By which of his ports.
    pub port: PortId,
}

impl Vector {
    /// Whether both were sent by the same port of the same bridge, whatever their priorities are now.
    pub(super) fn has_same_sender(&self, other: &Self) -> bool {
        (self.bridge.address(), self.port.number()) == (other.bridge.address(), other.port.number())
    }

    /// Whether `self`, received, takes the place of `held` (IEEE 802.1D-2004, 17.6): it is better, or whoever sent
    /// `held` has changed his mind.
    pub(super) fn supersedes(&self, held: &Self) -> bool {
        self < held || self.has_same_sender(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_compared_by_priority_first() {
        let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
        assert!(BridgeId::new(0x1000, mac(9)) < BridgeId::new(0x2000, mac(1)));
        assert!(BridgeId::new(0x1000, mac(1)) < BridgeId::new(0x1000, mac(2)));
        let id = BridgeId::new(0x8005, mac(7));
        assert_eq!((id.priority(), id.address()), (0x8005, mac(7)));
        assert_eq!(BridgeId::from_bytes(id.to_bytes()), id);
        assert_eq!(id.to_string(), "32773.02:00:00:00:00:07");
        assert_eq!(format!("{id:?}"), id.to_string());
        let port = PortId::new(0x90, 0x123);
        assert_eq!((port.0, port.priority(), port.number()), (0x9123, 0x90, 0x123));
        assert!(PortId::new(16, 9) > PortId::new(0, 10));
    }

    #[test]
    fn a_vector_is_superseded_by_a_better_one_and_by_its_own_sender() {
        let id = |last| BridgeId::new(0x8000, MacAddress([2, 0, 0, 0, 0, last]));
        let held = Vector { root: id(1), cost: 10, bridge: id(5), port: PortId::new(128, 2) };
        assert!(Vector { cost: 9, ..held }.supersedes(&held));
        assert!(Vector { cost: 11, ..held }.supersedes(&held), "the same sender");
        assert!(
            Vector { cost: 11, port: PortId::new(64, 2), ..held }.supersedes(&held),
            "and another priority"
        );
        assert!(!Vector { cost: 11, bridge: id(4), ..held }.supersedes(&held));
        assert!(!Vector { cost: 10, port: PortId::new(128, 3), ..held }.supersedes(&held));
        assert!(Vector { bridge: id(4), ..held }.supersedes(&held));
    }

    #[test]
    fn times_are_kept_within_bounds_and_age_by_whole_seconds() {
        let wild = Times { message_age: 130, max_age: 0, hello_time: 0xffff, forward_delay: 1 };
        let tame = Times { message_age: 130, max_age: 6 * 256, hello_time: 2560, forward_delay: 1024 };
        assert_eq!(wild.within_bounds(), tame);
        let standard = Times::from_seconds(20, 2, 15);
        assert_eq!(standard.within_bounds(), standard);
        assert_eq!(standard.one_hop_on().message_age, 256);
        assert_eq!(tame.one_hop_on().message_age, 512, "130/256 s is nearer to one second");
        assert_eq!(Times { message_age: 127, ..tame }.one_hop_on().message_age, 256);
        assert_eq!(Times { message_age: 0xffff, ..tame }.one_hop_on().message_age, 0xff00);
        assert_eq!((milliseconds(256), milliseconds(1), milliseconds(512)), (1000, 4, 2000));
    }
}
