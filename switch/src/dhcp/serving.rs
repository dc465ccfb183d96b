//! The server of one network, whichever version of IP it lends addresses of: what it was told, and what it lent.

use std::fmt::Debug;

use super::Event;
use super::lending::{Address, Lender, Renumber, Rules, Taken};
use crate::ids::PortIndex;
use crate::time::Nanos;

/// What a server is told, and how one that was told so answers.
pub trait ServerSettings: Sized + Debug {
    /// An address of the version that it lends.
    type Address: Address;

    /// Why settings make no sense.
    type Error;

    /// Says what is wrong, if anything is.
    ///
    /// # Errors
    /// The first thing that is wrong.
    fn check(&self) -> Result<(), Self::Error>;

    /// What may be lent, and to whom.
    fn rules(&self) -> Rules<Self::Address>;

    /// The frame to be sent back to who sent this one by `port`.
    ///
    /// # Errors
    /// There is none: what is counted instead.
    fn answer(
        server: &mut Server<Self>,
        now: Nanos,
        port: PortIndex,
        frame: &[u8],
        taken: &mut Taken<Self::Address>,
    ) -> Result<Vec<u8>, Event>;
}

/// The server of one network.
#[derive(Debug)]
pub struct Server<S: ServerSettings> {
    pub(crate) settings: S,
    pub(crate) lender: Lender<S::Address>,
}

impl<S: ServerSettings> Server<S> {
    /// A server that has lent nothing yet.
    ///
    /// # Errors
    /// If the settings make no sense.
    pub fn new(settings: S) -> Result<Self, S::Error> {
        settings.check()?;
        let lender = Lender::new(settings.rules());
        Ok(Self { settings, lender })
    }

    /// Takes new settings, and the ports' new numbers. What fits them stays; the rest is forgotten, and clients whose leases
    /// are among it are refused when they renew.
    ///
    /// # Errors
    /// If the settings make no sense; then nothing changes.
    pub fn reconfigure(&mut self, settings: S, renumber: &Renumber) -> Result<(), S::Error> {
        settings.check()?;
        self.lender.change(settings.rules(), renumber);
        self.settings = settings;
        Ok(())
    }

    /// What is lent.
    #[must_use]
    pub fn lender(&self) -> &Lender<S::Address> {
        &self.lender
    }

    /// What is lent, to be changed by what is known elsewhere.
    pub fn lender_mut(&mut self) -> &mut Lender<S::Address> {
        &mut self.lender
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &S {
        &self.settings
    }

    /// Takes a frame that came by `port`, and gives the one to be sent back by it, if any. The frame has no VLAN tags, and
    /// its checksums are complete. A client may use an address once it got the frame: whoever keeps leases takes
    /// [`Lender::take_changed`] before it is sent.
    pub fn receive(
        &mut self,
        now: Nanos,
        port: PortIndex,
        frame: &[u8],
        taken: &mut Taken<S::Address>,
    ) -> Option<Vec<u8>> {
        self.lender.advance(now);
        match S::answer(self, now, port, frame, taken) {
            Ok(frame) => Some(frame),
            Err(event) => {
                self.lender.counters.count(event);
                None
            }
        }
    }
}
