//! Several links that are one port of the switch: one of them in use and the others in reserve, all of them by the hash
//! of each flow, or those that LACP agreed about.
//!
//! ```text
//!   carrier, probes ---> Monitor ---+
//!                                   +---> Bond: which links send, which take  --->  Steering: which flow by which
//!   LACPDUs -----------> Lacp ------+      (control thread)                          link (data path, each frame)
//! ```
//!
//! **No flow is reordered by a change of links.** Flows are put into 256 buckets by their hash, and each bucket has one
//! link. When a link dies, its buckets, and no others, go to the other links at once: what was sent by the dead link
//! before has arrived or never will. When a link comes (back), buckets are to move to it from links that live; each one
//! does so only when it was silent for [`steering::GAP_NS`], so that what went the old way has arrived before anything
//! goes the new one. A bucket that is never silent stays where it is. (An active-backup bond moves all of its flows at
//! once, since the network beyond follows the last frame of each station. So by default it does not go back to a primary
//! link that has returned, [`Preference::Failure`]; where it is told to, frames under way at that moment may be
//! overtaken.)

mod active_backup;
pub mod announce;
pub mod hash;
mod monitor;
pub mod steering;

pub use active_backup::Preference;
pub use hash::HashPolicy;
pub use monitor::{ArpProbing, Monitor, MonitorSettings, PROBE_TARGETS_MAX, answering};
pub use steering::{LinkSet, Steering};

use crate::lacp::{Lacp, LinkSettings, Medium};
use crate::mac::MacAddress;
use crate::time::Nanos;
use active_backup::ActiveBackup;

/// How links are used together.
#[derive(Clone, Debug)]
pub enum Mode {
    /// One at a time.
    ActiveBackup {
        /// The link that is rather used than others.
        primary: Option<usize>,
        /// When to go back to it.
        preference: Preference,
    },
    /// All that are up, which the other end has to be told by hand.
    Balance,
    /// All that both ends agree about.
    Lacp(crate::lacp::Settings),
}

/// What a bond is made of.
#[derive(Clone, Debug)]
pub struct BondSettings {
    /// How its links are used together.
    pub mode: Mode,
    /// How it is found out which of them work.
    pub monitor: MonitorSettings,
    /// Its links.
    pub links: Vec<LinkSettings>,
}

/// The control side of a bond: which of its links send, and which take frames.
#[derive(Debug)]
pub struct Bond {
    chooser: Chooser,
    monitor: Monitor,
    media: Vec<Option<Medium>>,
    /// What [`Bond::take_failover`] has not told yet.
    failover: bool,
}

#[derive(Debug)]
enum Chooser {
    ActiveBackup(ActiveBackup),
    Balance,
    Lacp(Box<Lacp>),
}

impl Bond {
    /// A bond whose links have no carrier yet.
    #[must_use]
    pub fn new(settings: &BondSettings, now: Nanos) -> Self {
        let chooser = match &settings.mode {
            Mode::ActiveBackup { primary, preference } => {
                Chooser::ActiveBackup(ActiveBackup::new(*primary, *preference))
            }
            Mode::Balance => Chooser::Balance,
            Mode::Lacp(lacp) => Chooser::Lacp(Box::new(Lacp::new(*lacp, &settings.links, now))),
        };
        let addresses: Vec<MacAddress> = settings.links.iter().map(|link| link.address).collect();
        Self {
            chooser,
            monitor: Monitor::new(&settings.monitor, &addresses, now),
            media: vec![None; settings.links.len()],
            failover: false,
        }
    }

    /// A link has this carrier now, or none.
    pub fn set_medium(&mut self, link: usize, medium: Option<Medium>, now: Nanos) {
        if let Some(known) = self.media.get_mut(link) {
            *known = medium;
            self.monitor.set_carrier(link, medium.is_some(), now);
        }
        self.advance(now);
    }

    /// A link has this address from now on.
    pub fn set_address(&mut self, link: usize, address: MacAddress) {
        self.monitor.set_address(link, address);
        if let Chooser::Lacp(lacp) = &mut self.chooser {
            lacp.set_address(link, address);
        }
    }

    /// An answer to a probe came by this link ([`answering`]).
    pub fn hear_answer(&mut self, link: usize, now: Nanos) {
        self.monitor.hear_answer(link, now);
        self.advance(now);
    }

    /// Whether a link's probes are answered; `None` where nobody is asked.
    #[must_use]
    pub fn is_answered(&self, link: usize) -> Option<bool> {
        self.monitor.is_answered(link)
    }

    /// A frame of a slow protocol came in by this link.
    pub fn receive(&mut self, link: usize, frame: &[u8], now: Nanos) {
        if let Chooser::Lacp(lacp) = &mut self.chooser {
            lacp.receive(link, frame, now);
        }
        self.advance(now);
    }

    /// Time has passed.
    pub fn advance(&mut self, now: Nanos) {
        self.monitor.advance(now);
        let up = self.monitor.up();
        match &mut self.chooser {
            Chooser::ActiveBackup(chooser) => {
                self.failover |= chooser.choose(up, |link| speed(&self.media, link));
            }
            Chooser::Balance => {}
            Chooser::Lacp(lacp) => {
                for (link, medium) in self.media.iter().enumerate() {
                    lacp.set_medium(link, medium.filter(|_| up.has(link)), now);
                }
                lacp.advance(now);
            }
        }
    }

    /// When [`Bond::advance`] has to be called, if nothing else happens before.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        let lacp = self.lacp().and_then(Lacp::due);
        lacp.into_iter().chain(self.monitor.due()).min()
    }

    /// The next frame to send, and the link by which it goes.
    pub fn next_frame(&mut self) -> Option<(usize, Vec<u8>)> {
        let slow = match &mut self.chooser {
            Chooser::Lacp(lacp) => lacp.next_frame().map(|(link, frame)| (link, frame.to_vec())),
            _ => None,
        };
        slow.or_else(|| self.monitor.next_probe())
    }

    /// The links by which frames leave.
    #[must_use]
    pub fn senders(&self) -> LinkSet {
        match &self.chooser {
            Chooser::ActiveBackup(chooser) => chooser.active().into_iter().collect(),
            Chooser::Balance => self.monitor.up(),
            Chooser::Lacp(lacp) => (0..self.media.len()).filter(|link| lacp.distributes(*link)).collect(),
        }
    }

    /// The links from which frames are taken. Of an active-backup bond it is the active one alone: a broadcast comes by
    /// all of them.
    #[must_use]
    pub fn takers(&self) -> LinkSet {
        match &self.chooser {
            Chooser::Lacp(lacp) => (0..self.media.len()).filter(|link| lacp.collects(*link)).collect(),
            _ => self.senders(),
        }
    }

    /// Whether another link became the active one since this was asked last: then the addresses behind the switch have
    /// to be announced ([`announce`]), for the network to send by that link.
    pub fn take_failover(&mut self) -> bool {
        std::mem::take(&mut self.failover)
    }

    /// What LACP knows, in a bond of that mode.
    #[must_use]
    pub fn lacp(&self) -> Option<&Lacp> {
        match &self.chooser {
            Chooser::Lacp(lacp) => Some(lacp),
            _ => None,
        }
    }

    /// Which links the monitor takes for working.
    #[must_use]
    pub fn up(&self) -> LinkSet {
        self.monitor.up()
    }
}

fn speed(media: &[Option<Medium>], link: usize) -> u32 {
    media.get(link).copied().flatten().map_or(0, |medium| medium.speed_mbit)
}

#[cfg(test)]
mod tests;
