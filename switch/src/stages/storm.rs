//! Storm control: frames that reach many ports pass a meter of the port that sent them.

use crate::decision::{Action, Recording, Step};
use crate::explain::{Looked, Observer};
use crate::storm::StormClass;

/// Meters frames to groups. Whether a frame to one station is flooded, forwarding finds out: it calls
/// [`meter`] itself.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    let destination = recording.destination();
    if destination == crate::MacAddress::BROADCAST {
        meter(recording, StormClass::Broadcast);
    } else if destination.is_group() {
        meter(recording, StormClass::Multicast);
    }
    Step::Continue
}

/// Records that the frame passes the port's meter for `class`, if the port has a limit. Between two ports a flood
/// is as good as unicast: it reaches one, and is no storm.
#[inline]
pub(super) fn meter<O: Observer>(recording: &mut Recording<'_, O>, class: StormClass) {
    let limit = recording.port().and_then(|port| port.storm.of(class));
    if let Some(limit) = limit {
        recording.observer.looked(|| Looked::StormLimit(class, limit));
    }
    if limit.is_some() && recording.network().is_ok_and(|network| recording.members(network) > 2) {
        recording.act(Action::Meter(class));
    }
}
