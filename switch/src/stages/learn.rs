//! Learning: a bridge notes at which port it saw an address (IEEE 802.1Q-2018, 8.7).

use crate::decision::{Action, Recording, Step};
use crate::explain::Observer;

/// Records that the source address was seen. Admission has refused group addresses.
#[inline]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    if let Ok(network) = recording.network() {
        recording.source_address();
        recording.act(Action::Learn(network));
    }
    Step::Continue
}
