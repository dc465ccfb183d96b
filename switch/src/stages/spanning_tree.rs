//! Port states: where a spanning tree has closed a port, frames end (IEEE 802.1D-2004, 7.4 and 7.7.1). Who sent them is
//! noted if the port learns.

use crate::decision::{Action, Recording, Step};
use crate::drops::DropReason;
use crate::explain::Observer;
use crate::spanning_tree::PortState;

/// Lets frames of forwarding ports pass.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    let Ok(network) = recording.network() else { return Step::Continue };
    let state = recording.state(network);
    if state == PortState::Forwarding {
        return Step::Continue;
    }
    if state == PortState::Learning {
        recording.source_address();
        recording.act(Action::Learn(network));
    }
    recording.drop(DropReason::StpBlocked)
}
