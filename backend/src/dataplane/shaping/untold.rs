//! Visits to receivers while a tree was locked. Their guests are told afterwards: a hostile one may make that slow, and the tree must
//! not wait for it.

use std::sync::Arc;

use viaduct_switch::PortIndex;

use crate::dataplane::outlet::{Outcome, Outlet};

/// Visits after which nobody was told yet.
#[derive(Default)]
pub(in crate::dataplane) struct Untold(Vec<(PortIndex, u16, Outcome)>);

impl Untold {
    /// Notes what became of a visit to a queue.
    pub(in crate::dataplane) fn note(&mut self, outlet: &Outlet, queue: u16, outcome: &Outcome) {
        self.0.push((outlet.port, queue, *outcome));
    }

    /// Tells of all visits; none are left.
    pub(super) fn tell(
        &mut self,
        outlets: &[Option<Arc<Outlet>>],
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) {
        for (port, queue, outcome) in self.0.drain(..) {
            if let Some(outlet) = outlets.get(port.get()).and_then(Option::as_ref) {
                visited(outlet, queue, &outcome);
            }
        }
    }
}
