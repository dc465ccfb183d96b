//! Control frames: what neighbouring bridges and stations say to one another across one link.
//!
//! They go to the reserved group addresses that a bridge never forwards (IEEE 802.1Q-2018, 8.6.3 and table 8-1).
//! Where the policy says that a protocol runs on a port, its frames are handed to the control side
//! ([`Egress::punt`](crate::Egress::punt)), at most [`CONTROL_FRAMES_PER_SECOND`] of one port; all others are dropped.

use crate::mac::MacAddress;
use crate::storm::FrameRate;

/// The longest control frame in bytes that is handed on, without FCS: an Ethernet frame of full size.
pub const CONTROL_FRAME_MAX: usize = 1522;

/// How many control frames of one port are handed on in a second. Hellos come once a second and link, and a change
/// of the topology takes a handful.
pub const CONTROL_FRAMES_PER_SECOND: u32 = 100;

/// The same as a rate.
pub(crate) const CONTROL_RATE: FrameRate = match FrameRate::new(CONTROL_FRAMES_PER_SECOND) {
    Some(rate) => rate,
    None => unreachable!(),
};

/// The type field of slow protocols, LACP among them (IEEE 802.3-2018, 57A.4).
const SLOW: u16 = 0x8809;

/// The type field of LLDP (IEEE 802.1AB-2016, 8.3).
const LLDP: u16 = 0x88cc;

/// The smallest type; below, the field is the length of an LLC frame (IEEE 802.3-2018, 3.2.6).
const TYPE_MIN: u16 = 0x600;

/// Where a vendor's bridges send one spanning tree message a VLAN. No reserved address: other bridges forward it.
const PER_VLAN_BPDU: MacAddress = MacAddress([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd]);

/// A protocol that runs across one link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlProtocol {
    /// Spanning tree messages: LLC frames to 01:80:c2:00:00:00 (IEEE 802.1D-2004, 7.12).
    SpanningTree,
    /// LACP and its kind: type 0x8809 to 01:80:c2:00:00:02.
    Slow,
    /// LLDP: type 0x88cc to 01:80:c2:00:00:0e, 03 or 00 (IEEE 802.1AB-2016, 7.1).
    Lldp,
}

impl ControlProtocol {
    /// The protocol of an untagged frame to a reserved address.
    #[inline]
    pub(crate) fn of(destination: MacAddress, ether_type: [u8; 2]) -> Option<Self> {
        if !destination.is_link_local() {
            return None;
        }
        match (destination.0[5], u16::from_be_bytes(ether_type)) {
            (0x00, length) if length < TYPE_MIN => Some(Self::SpanningTree),
            (0x02, SLOW) => Some(Self::Slow),
            (0x0e | 0x03 | 0x00, LLDP) => Some(Self::Lldp),
            _ => None,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Which control frames a port takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlPolicy {
    protocols: u8,
    /// Whether spanning tree messages are a guest's, which has no business to send any: they are dropped by name, the
    /// per-VLAN kind included, which would otherwise pass like any multicast frame.
    pub bpdu_guard: bool,
}

impl ControlPolicy {
    /// A guest's port: no protocol runs, and spanning tree messages are guarded against.
    pub const GUEST: Self = Self { protocols: 0, bpdu_guard: true };

    /// A port towards other bridges, on which no protocol runs so far.
    pub const UPLINK: Self = Self { protocols: 0, bpdu_guard: false };

    /// The same, and `protocol` runs.
    #[must_use]
    pub const fn with(self, protocol: ControlProtocol) -> Self {
        Self { protocols: self.protocols | protocol.bit(), ..self }
    }

    /// Whether `protocol` runs.
    #[must_use]
    #[inline]
    pub const fn runs(self, protocol: ControlProtocol) -> bool {
        self.protocols & protocol.bit() != 0
    }

    /// Whether a frame to `destination` is refused although it is not to a reserved address.
    #[inline]
    pub(crate) fn guards_against(self, destination: MacAddress) -> bool {
        self.bpdu_guard && destination == PER_VLAN_BPDU
    }
}

impl Default for ControlPolicy {
    fn default() -> Self {
        Self::GUEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_told_by_address_and_type() {
        let of = |last, kind: u16| {
            ControlProtocol::of(MacAddress([1, 0x80, 0xc2, 0, 0, last]), kind.to_be_bytes())
        };
        assert_eq!(of(0, 39), Some(ControlProtocol::SpanningTree));
        assert_eq!(of(0, 0x5ff), Some(ControlProtocol::SpanningTree));
        assert_eq!(of(0, 0x600), None);
        assert_eq!(of(0, 0x8100), None, "control frames have no VLAN tag");
        assert_eq!(of(2, SLOW), Some(ControlProtocol::Slow));
        assert_eq!(of(2, LLDP), None);
        for last in [0, 3, 0xe] {
            assert_eq!(of(last, LLDP), Some(ControlProtocol::Lldp));
        }
        assert_eq!(of(1, 39), None);
        assert_eq!(ControlProtocol::of(PER_VLAN_BPDU, [0, 39]), None);
    }

    #[test]
    fn protocols_run_one_by_one() {
        let policy = ControlPolicy::UPLINK.with(ControlProtocol::Slow);
        assert!(policy.runs(ControlProtocol::Slow));
        assert!(!policy.runs(ControlProtocol::Lldp) && !policy.runs(ControlProtocol::SpanningTree));
        assert!(policy.with(ControlProtocol::Lldp).runs(ControlProtocol::Slow));
        assert!(!policy.guards_against(PER_VLAN_BPDU));
        assert!(ControlPolicy::default().guards_against(PER_VLAN_BPDU));
        assert!(!ControlPolicy::default().guards_against(MacAddress::BROADCAST));
    }
}
