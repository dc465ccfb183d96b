//! What a service manager wants to know (sd_notify(3)). Without one, all of this does nothing.

use sd_notify::NotifyState;
use tracing::warn;

/// The sockets listen.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!("cannot read the clock for the service manager: {error}"),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(false, state) {
        warn!(
            "cannot tell the service manager: {error}; check NotifyAccess= and the socket in NOTIFY_SOCKET"
        );
    }
}
