//! Storm control: frames that reach many ports pass a meter of the port that sent them.

use crate::decision::{Action, Recording, Step};
use crate::storm::StormClass;

/// Meters frames to groups. Whether a frame to one station is flooded, forwarding finds out: it calls
/// [`meter`] itself.
#[inline]
pub(super) fn decide(recording: &mut Recording<'_>) -> Step {
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
pub(super) fn meter(recording: &mut Recording<'_>, class: StormClass) {
    let is_limited = recording.port().is_some_and(|port| port.storm.of(class).is_some());
    if is_limited && recording.network().is_ok_and(|network| recording.members(network) > 2) {
        recording.act(Action::Meter(class));
    }
}
