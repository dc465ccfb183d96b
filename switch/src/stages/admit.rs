//! Admission: a frame must have a plausible length and a plausible sender, and its port a network.

use crate::decision::{Recording, Step};
use crate::drops::DropReason;
use crate::frame::GsoKind;

/// The longest frame in bytes: 65,535 bytes of packet and an Ethernet header of 14, rounded up as virtio
/// does (virtio 1.2, 5.1.6.3.1).
pub(crate) const LENGTH_MAX: u32 = 65_550;

/// The length of an Ethernet header in bytes.
const ETHERNET: u32 = 14;

/// The length of a VLAN tag in bytes.
const VLAN_TAG: u32 = 4;

/// Drops what must not enter.
#[inline]
pub(super) fn decide(recording: &mut Recording<'_>) -> Step {
    let length = recording.length();
    if length > LENGTH_MAX {
        return recording.drop(DropReason::TooLong);
    }
    if length < ETHERNET || !recording.has_ethernet() {
        return recording.drop(DropReason::Runt);
    }
    let source = recording.source_address();
    if source.is_group() || source.is_zero() {
        return recording.drop(DropReason::BadSource);
    }
    let Some(port) = recording.port() else { return recording.drop(DropReason::NoNetwork) };
    // Most frames fit even without looking for tags.
    if length > u32::from(port.mtu) + ETHERNET
        && segment_length(recording, length) > room(recording, port.mtu)
    {
        return recording.drop(DropReason::OverMtu);
    }
    Step::Continue
}

/// The longest frame that a port with this MTU may send, given the tags of this one.
fn room(recording: &mut Recording<'_>, mtu: u16) -> u32 {
    u32::from(mtu) + ETHERNET + VLAN_TAG * recording.vlan_tags()
}

/// The length in bytes of the longest frame on the wire: the frame's own, or that of its first segment.
fn segment_length(recording: &mut Recording<'_>, length: u32) -> u32 {
    let Some((gso, checksum)) = recording.gso() else { return length };
    let transport = usize::from(checksum.start);
    let header = match gso.kind {
        // RFC 9293, 3.1: the data offset counts words of 32 bits and stands in the upper half of byte 12.
        GsoKind::Tcp4 | GsoKind::Tcp6 => {
            recording.byte(transport + 12).map_or(20, |byte| u32::from(byte >> 4) * 4)
        }
        GsoKind::Udp => 8,
        // Fragments carry `size` bytes after the network header, the first one's UDP header among them.
        GsoKind::UdpFragment => 0,
    };
    (u32::from(checksum.start) + header + u32::from(gso.size)).min(length)
}
