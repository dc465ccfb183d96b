//! Learning: a bridge notes at which port it saw an address (IEEE 802.1Q-2018, 8.7).

use crate::decision::{Action, Recording, Step};
use crate::drops::DropReason;
use crate::explain::Observer;

/// For how many seconds after it was heard a station of this host cannot be behind a tunnel. One whose port went down is forgotten
/// at once.
const FRESH_S: u32 = 10;

/// Records that the source address was seen. Admission has refused group addresses; the gateway's own belongs to nobody else.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    if let Ok(network) = recording.network() {
        let source = recording.source_address();
        if recording.gateway().is_some_and(|(_, gateway)| gateway.mac == source) {
            return recording.drop(DropReason::GatewaySpoofed);
        }
        // Who is here cannot be elsewhere; one that has moved is known here for no longer than this.
        if recording.is_from_vtep() && recording.is_here(network, source, FRESH_S) {
            return recording.drop(DropReason::TunnelLocalSource);
        }
        if recording.is_from_vtep() && !recording.learns_from_vteps(network) {
            return Step::Continue;
        }
        recording.act(Action::Learn(network));
    }
    Step::Continue
}
