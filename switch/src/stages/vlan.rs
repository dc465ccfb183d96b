//! Membership: a frame belongs to one of its port's networks (IEEE 802.1Q-2018, 8.6.2: ingress filtering).
//!
//! To which one was found out before: the tags that told it are off the head by the time a decision is made or replayed,
//! see `policy/ingress.rs`. A frame that port security refuses belongs to none, either (`security/guard.rs`): for ports that have
//! it, each frame is looked at before a record is.

use crate::decision::{Recording, Step};
use crate::explain::Observer;

/// Drops what belongs to none.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    match recording.network() {
        Ok(_) => Step::Continue,
        Err(reason) => recording.drop(reason),
    }
}
