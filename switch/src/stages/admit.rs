//! Admission: a frame must have a plausible length and a plausible sender, and its port a network.

use crate::decision::{Recording, Step};
use crate::drops::DropReason;
use crate::explain::Observer;

/// The longest frame in bytes: 65,535 bytes of packet and an Ethernet header of 14, rounded up as virtio
/// does (virtio 1.2, 5.1.6.3.1).
pub(crate) const LENGTH_MAX: u32 = 65_550;

/// The length of an Ethernet header in bytes.
const ETHERNET: u32 = 14;

/// The length of a VLAN tag in bytes.
const VLAN_TAG: u32 = 4;

/// Drops what must not enter.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    if recording.is_longer_than(LENGTH_MAX) {
        return recording.drop(DropReason::TooLong);
    }
    if !recording.is_longer_than(ETHERNET - 1) || !recording.has_ethernet() {
        return recording.drop(DropReason::Runt);
    }
    let source = recording.source_address();
    if source.is_group() || source.is_zero() {
        return recording.drop(DropReason::BadSource);
    }
    let Some(port) = recording.port() else { return recording.drop(DropReason::NoNetwork) };
    // Most frames fit even without looking for tags.
    let untagged = u32::from(port.mtu) + ETHERNET;
    if recording.is_longer_on_the_wire_than(untagged) {
        let room = untagged + VLAN_TAG * recording.vlan_tags();
        if recording.is_longer_on_the_wire_than(room) {
            return recording.drop(DropReason::OverMtu);
        }
    }
    Step::Continue
}
