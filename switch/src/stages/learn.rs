//! Learning: a bridge notes at which port it saw an address (IEEE 802.1Q-2018, 8.7).

use crate::decision::{Action, Recording, Step};
use crate::drops::DropReason;
use crate::explain::Observer;

/// For how many seconds after it was heard a station of this host cannot be behind a tunnel: so soon one that has moved there is heard.
const FRESH_S: u32 = 3;

/// Records that the source address was seen. Admission has refused group addresses; the gateway's own belongs to nobody else.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    if let Ok(network) = recording.network() {
        let source = recording.source_address();
        if recording.gateway().is_some_and(|(_, gateway)| gateway.mac == source) {
            return recording.drop(DropReason::GatewaySpoofed);
        }
        if recording.is_from_vtep() {
            match recording.who_is_here(network, source, FRESH_S) {
                // It is written down who this is, and he cannot be elsewhere.
                Some(true) => return recording.drop(DropReason::TunnelLocalSource),
                // One of both is not who he says; neither keeps the other from being heard.
                Some(false) => return Step::Continue,
                None if !recording.learns_from_vteps(network) => return Step::Continue,
                None => {}
            }
        }
        recording.act(Action::Learn(network));
    }
    Step::Continue
}
