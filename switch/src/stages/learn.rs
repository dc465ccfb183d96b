//! Learning: a bridge notes at which port it saw an address (IEEE 802.1Q-2018, 8.7).

use crate::decision::{Action, Recording, Step};
use crate::drops::DropReason;
use crate::explain::Observer;

/// Records that the source address was seen. Admission has refused group addresses; the gateway's own belongs to nobody else.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    if let Ok(network) = recording.network() {
        let source = recording.source_address();
        if recording.gateway().is_some_and(|(_, gateway)| gateway.mac == source) {
            return recording.drop(DropReason::GatewaySpoofed);
        }
        recording.act(Action::Learn(network));
    }
    Step::Continue
}
