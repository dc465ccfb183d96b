//! What a port's log tells about the driver of its guest.

use std::time::Duration;

use crate::control::port::Port;
use crate::model::{Capabilities, EventKind};
use crate::ring::RingError;
use crate::vhost_user::features;

/// A driver starts its rings one after the other, within milliseconds: it is told once, when they have settled.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// A driver as the log knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Driver {
    rings_running: usize,
    features: u64,
    /// A ring whose addresses are outside of the guest's memory now.
    waits: Option<(usize, RingError)>,
}

impl Port {
    /// Tells what became of the driver since it was told last.
    pub(super) fn tell_driver(&mut self) {
        let Some(guest) = &mut self.guest else { return };
        let device = guest.session.device();
        // What the guest broke has been told already, and its end says nothing about the driver.
        if device.broken().is_some() {
            return;
        }
        let now = Driver {
            rings_running: device.rings_running(),
            features: device.features(),
            waits: device.paused(),
        };
        let rings = device.rings().len();
        drop(device);
        let before = std::mem::replace(&mut guest.told, now);
        if now.waits != before.waits
            && let Some((ring, error)) = now.waits
        {
            self.log.warn(format_args!("ring {ring} waits: {error}"));
        }
        match (before.rings_running, now.rings_running) {
            (_, 0) if before.rings_running > 0 => {
                self.log.event(EventKind::DriverDown, "the guest's driver is down")
            }
            (_, 0) => {}
            _ if (before.rings_running, before.features) == (now.rings_running, now.features) => {}
            (_, running) => self.log.event(
                EventKind::DriverUp,
                format_args!(
                    "the guest's driver is up: {running} of {rings} rings run; {}",
                    offloads(&features::names(now.features))
                ),
            ),
        }
    }
}

/// What the guest leaves to others and takes from others.
fn offloads(features: &[String]) -> String {
    let Capabilities { sends, takes, .. } = Capabilities::of(features);
    let listed = |names: &[&str]| if names.is_empty() { "no offload".to_owned() } else { names.join(" ") };
    format!("it sends {}, takes {}", listed(&sends), listed(&takes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_told_in_words() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(offloads(&names("csum host-tso4 mrg-rxbuf")), "it sends csum tso4, takes mrg-rxbuf");
        assert_eq!(offloads(&names("version-1")), "it sends no offload, takes no offload");
    }
}
