//! Link aggregation control: agrees with the other end of several links which of them carry traffic together
//! (IEEE 802.1AX-2020, 6.4: version 1 of the protocol, as the older IEEE 802.3ad and 802.1AX-2014 have it).
//!
//! ```text
//!   frames, carrier, time                                         who collects, who distributes, LACPDUs
//!            |                                                                       ^
//!            v                                                                       |
//!   Receive ---> Selection ---> Mux ------------------------------------------> Transmit
//!   what does    which links    attach a link, collect on it, then              at most 3 in
//!   the partner  form the       distribute, as the partner follows              a second
//!   say?         one group?        Periodic: is it time again?
//! ```
//!
//! Each link has its own machines (`link`, one file a machine); what is common to them is which links form the
//! group (`selection`). There is one group, since the bond is one port of the switch: links whose partner is
//! another system, or has put them in another group, carry nothing and wait.
//!
//! The Mux machine is the one for *independent* control (figure 6-22 of IEEE 802.1AX-2014): a link collects before it
//! distributes, so that a partner which begins to send as soon as it sees us in sync loses nothing. The coupled
//! machine, made for hardware that has one switch for both, drops what comes in between.
//!
//! Everything is told its time and does no I/O: call [`Lacp::receive`] with what came, [`Lacp::set_medium`] with what
//! became of a link, [`Lacp::advance`] when [`Lacp::due`] has come, and after each of them [`Lacp::next_frame`] until it
//! gives nothing.

mod churn;
mod link;
mod mux;
pub mod pdu;
mod periodic;
mod receive;
mod selection;
mod transmit;

pub use churn::ChurnState;
pub use link::{LinkCounters, LinkStatus, Medium};
pub use mux::MuxState;
pub use pdu::{Flag, PortInfo, State, SystemId};
pub use receive::ReceiveState;

use crate::mac::MacAddress;
use crate::time::Nanos;
use link::Link;
use pdu::{Lacpdu, Message, SlowFrame};
use selection::Group;

/// The most links that one bond has.
pub const LINKS_MAX: usize = 16;

/// How often the partner is asked to send LACPDUs, which is a third of the time after which it counts as gone
/// (IEEE 802.1AX-2020, 6.4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rate {
    /// Every 30 seconds; gone after 90.
    #[default]
    Slow,
    /// Every second; gone after 3.
    Fast,
}

/// What a bond wants of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Our system; its address is one of our own, and no other system's.
    pub system: SystemId,
    /// Tells this bond from others of the same system: 1 to [`KEY_MAX`].
    pub key: u16,
    /// How often the partner is to send.
    pub rate: Rate,
    /// Send LACPDUs unasked. Two passive ends never agree on anything.
    pub active: bool,
    /// Without any partner that speaks the protocol, let one link carry all traffic (IEEE 802.1AX-2020, 6.3.5: an
    /// individual link), else none.
    pub fallback: bool,
}

/// The highest [`Settings::key`]; the four bits above tell speeds apart.
pub const KEY_MAX: u16 = 0x0fff;

/// What a link brings along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkSettings {
    /// The address that its LACPDUs come from.
    pub address: MacAddress,
    /// Among links of one group the partner prefers the lower ones.
    pub priority: u16,
}

/// The links of one bond, and what was agreed about them.
#[derive(Debug)]
pub struct Lacp {
    settings: Settings,
    links: Vec<Link>,
    group: Option<Group>,
    now: Nanos,
}

impl Lacp {
    /// A bond with these links, all without carrier; links beyond [`LINKS_MAX`] are left out. They are numbered from 0
    /// here, from 1 in LACPDUs.
    #[must_use]
    pub fn new(settings: Settings, links: &[LinkSettings], now: Nanos) -> Self {
        let ports = (1..).zip(links.iter().take(LINKS_MAX));
        let links = ports.map(|(port, link)| Link::new(&settings, port, *link)).collect();
        Self { settings, links, group: None, now }
    }

    /// LACPDUs of a link come from this address from now on.
    pub fn set_address(&mut self, link: usize, address: MacAddress) {
        if let Some(link) = self.links.get_mut(link) {
            link.address = address;
        }
    }

    /// A link has this carrier now, or none.
    pub fn set_medium(&mut self, link: usize, medium: Option<Medium>, now: Nanos) {
        if let Some(link) = self.links.get_mut(link) {
            link.set_medium(&self.settings, medium);
        }
        self.advance(now);
    }

    /// A slow protocol frame came in by this link.
    pub fn receive(&mut self, link: usize, frame: &[u8], now: Nanos) {
        let Some(at) = self.links.get_mut(link) else { return };
        match Message::decode(frame) {
            Ok(Message::Lacp(pdu)) => {
                at.receive(&pdu, now);
                self.note_moved(link, &pdu);
            }
            Ok(Message::Marker(marker)) => at.note_marker(marker, now),
            Ok(Message::MarkerResponse) => {}
            Err(_) => at.count_malformed(),
        }
        self.advance(now);
    }

    /// IEEE 802.1AX-2020, 6.4.8, `port_moved`: the partner's port that a dead link remembers is at another link now.
    fn note_moved(&mut self, to: usize, pdu: &Lacpdu) {
        for (_, link) in self.links.iter_mut().enumerate().filter(|(at, _)| *at != to) {
            link.note_moved(pdu);
        }
    }

    /// Lets all machines go on until nothing changes any more.
    pub fn advance(&mut self, now: Nanos) {
        self.now = self.now.max(now);
        // Each machine has few states, so that it comes to rest soon; the bound is for our own mistakes.
        for _ in 0..STEPS_MAX {
            if !self.step() {
                return;
            }
        }
        debug_assert!(false, "the machines of a bond do not come to rest");
    }

    fn step(&mut self) -> bool {
        let now = self.now;
        let mut changed = false;
        for link in &mut self.links {
            changed |= link.step_receive(now);
        }
        changed |= selection::select(&mut self.group, &mut self.links, self.settings.system);
        let ready = self.links.iter_mut().fold(true, |ready, link| ready & link.is_ready(now));
        for link in &mut self.links {
            changed |= link.step_mux(ready, now);
            changed |= link.step_periodic(now);
            changed |= link.step_churn(now);
        }
        changed
    }

    /// When [`Lacp::advance`] has to be called, if nothing else happens before.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.links.iter().filter_map(Link::due).min()
    }

    /// The next frame to send, and the link by which it goes.
    pub fn next_frame(&mut self) -> Option<(usize, SlowFrame)> {
        let now = self.now;
        let mut links = self.links.iter_mut().enumerate();
        links.find_map(|(at, link)| link.next_frame(now).map(|frame| (at, frame)))
    }

    /// Whether frames that come in by this link are taken.
    #[must_use]
    pub fn collects(&self, link: usize) -> bool {
        self.links.get(link).is_some_and(|link| link.actor.state.has(Flag::Collecting))
    }

    /// Whether frames may leave by this link.
    #[must_use]
    pub fn distributes(&self, link: usize) -> bool {
        self.links.get(link).is_some_and(|link| link.actor.state.has(Flag::Distributing))
    }

    /// Who we are to the partner.
    #[must_use]
    pub fn system(&self) -> SystemId {
        self.settings.system
    }

    /// What is known about each link, for people.
    pub fn status(&self) -> impl Iterator<Item = LinkStatus> {
        self.links.iter().map(|link| link.status(self.settings.system))
    }
}

/// Rounds in which all machines come to rest: a link goes through five Mux states at most, once down and once up.
const STEPS_MAX: usize = 32;

/// A moment that may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Timer(Option<Nanos>);

impl Timer {
    /// It comes `after_s` seconds from `now`.
    fn start(now: Nanos, after_s: u64) -> Self {
        Self(Some(Nanos(now.0.saturating_add(after_s * 1_000_000_000))))
    }

    /// It has come.
    fn has_expired(self, now: Nanos) -> bool {
        self.0.is_some_and(|due| now >= due)
    }
}
