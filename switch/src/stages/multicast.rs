//! Multicast: where snooping is at work, frames to IP groups go to the ports that want them (RFC 4541).

use crate::decision::{Action, Recording, Step};
use crate::drops::DropReason;
use crate::explain::Observer;
use crate::multicast::is_ip_multicast;

/// Hands frames to IP groups over to snooping, which knows for each of them who wants it; all others go on.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    let destination = recording.destination();
    if !destination.is_group() {
        return Step::Continue;
    }
    let Some(network) = recording.network().ok().filter(|network| recording.snoops(*network)) else {
        return Step::Continue;
    };
    if !is_ip_multicast(destination, recording.ether_type()) {
        return Step::Continue;
    }
    if !recording.has_others(network) {
        return recording.drop(DropReason::NoReceiver);
    }
    recording.act(Action::Multicast(network));
    Step::Done
}
