//! Security groups as the data path asks them: for each frame that enters or leaves by a port that is filtered.
//!
//! ```text
//! frame ─ read ─ fragment? ─ connection? ─ sender's egress rules ┐
//!                                        └ receiver's ingress rules ┴─ both allow it: note it ─ it passes
//! ```
//!
//! Where a frame goes is a decision that is kept (the flow cache's); whether it may go there is an action, carried out for each
//! frame anew. So no kept decision depends on anything that rules look at, and what rules say may change at any time
//! without one being forgotten. What makes it fast is the table of connections: a packet of a known one is asked about
//! once, by its tuple, and no rule is looked at.
//!
//! A connection is vouched for by ports: by the one where it was opened, whose rules let it out, and by the one where it
//! leaves, whose rules let it in. It passes between these, as long as nothing was taken away from what they may. Packets of the
//! same addresses and ports between others are judged anew, by the packet that opened it. A side whose groups are
//! stateless never relies on a connection: its rules are asked about each packet.
//!
//! [`Filter::assess`] finds out and changes nothing; [`Filter::note`] takes note of what passes. Fragments count as what their
//! first one was.

mod assess;
mod between;
mod crossing;
mod denied;
mod flood;
mod openings;
mod restored;

use crate::conntrack::{self, Conntrack, Hint, Reference};
use crate::drops::DropReason;
use crate::fragments::{self, Answer, DatagramId, Fragments};
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Contents, Packet};
use crate::security::Service;
use crate::time::Nanos;
pub(crate) use assess::Passage;
pub(crate) use between::Between;
pub(crate) use crossing::Crossing;
pub use denied::Denied;
pub(crate) use openings::{Kind, Openings};

/// What filtering remembers; shared by all workers.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) conntrack: Conntrack,
    pub(crate) fragments: Fragments<Carried>,
}

/// What holds for all fragments of a datagram, by its first one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried(pub(crate) Result<First, DropReason>);

/// What a first fragment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct First {
    pub(crate) service: Service,
    /// The connection to which it belongs, if it does.
    pub(crate) found: Option<Reference>,
}

/// Where and when a frame comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrance {
    pub(crate) network: NetworkIndex,
    pub(crate) from: PortIndex,
    pub(crate) now: Nanos,
}

/// A frame as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel<'a> {
    pub(crate) contents: &'a Contents,
    /// What the receiver gets to see, if that is something else: the packet is translated on its way.
    pub(crate) seen: Option<&'a Packet>,
    /// What is known of a later fragment by the first one.
    pub(crate) first: Option<First>,
    /// Where its connection may stand.
    pub(crate) hint: Hint,
}

/// What is to be done with a frame before rules are asked.
pub(crate) enum Arrival {
    /// Ask them.
    Whole,
    /// Ask them, and tell [`Filter::decide`].
    First(DatagramId),
    /// Ask them, as what this says.
    Later(First),
    /// Keep a copy under this name.
    Hold(DatagramId),
    /// Drop it, and what is kept under this name.
    Drop(DropReason, Option<DatagramId>),
}

impl Filter {
    pub(crate) fn new(limits: conntrack::Limits, fragments: fragments::Limits, seed: u64) -> Self {
        Self { conntrack: Conntrack::new(limits, seed), fragments: Fragments::new(fragments, !seed) }
    }

    /// Takes note of a frame that may be a fragment; `ended` hears of datagrams that gave way.
    #[inline]
    pub(crate) fn arrive(
        &self,
        entrance: Entrance,
        contents: &Contents,
        length: u32,
        ended: impl FnMut(DatagramId),
    ) -> Arrival {
        match contents {
            Contents::Ip(packet) if packet.fragment.is_some() => {
                self.arrive_in_part(entrance, (packet, length), ended)
            }
            _ => Arrival::Whole,
        }
    }

    #[cold]
    fn arrive_in_part(
        &self,
        entrance: Entrance,
        packet: (&Packet, u32),
        ended: impl FnMut(DatagramId),
    ) -> Arrival {
        let Entrance { network, from, now } = entrance;
        match self.fragments.note(network, from, packet, now, ended) {
            Answer::First(id) => Arrival::First(id),
            Answer::Decided(Carried(Ok(first))) => Arrival::Later(first),
            Answer::Decided(Carried(Err(reason))) => Arrival::Drop(reason, None),
            Answer::Hold(id) => Arrival::Hold(id),
            Answer::Drop(reason) => Arrival::Drop(reason.into(), None),
            Answer::DropAll(id, reason) => Arrival::Drop(reason.into(), Some(id)),
        }
    }

    /// Takes back that a fragment came: it will come in once more.
    pub(crate) fn put_back(&self, network: NetworkIndex, from: PortIndex, packet: &Packet) {
        self.fragments.put_back(network, from, packet);
    }

    /// Says what holds for a datagram whose first fragment was judged.
    pub(crate) fn decide(&self, id: DatagramId, carried: Carried) {
        let _ = self.fragments.decide(id, carried);
    }

    /// Ends what nothing was heard of for too long; looks at about `budget` entries of each table.
    pub(crate) fn expire(&self, now: Nanos, budget: usize, ended: impl FnMut(DatagramId)) {
        // The table's parts have a budget each.
        self.conntrack.advance(now, budget.div_ceil(16));
        if let Some(mappings) = self.conntrack.mappings() {
            mappings.advance(now, budget);
        }
        self.fragments.advance(now, budget, ended);
    }

    /// Forgets what a port holds that is no more.
    pub(crate) fn forget_port(&self, port: PortIndex, now: Nanos, ended: impl FnMut(DatagramId)) {
        self.conntrack.clear(&conntrack::Filter { port: Some(port), ..conntrack::Filter::default() }, now);
        self.fragments.forget(port, ended);
    }

    /// Forgets the connections of a network that is no more.
    pub(crate) fn forget_network(&self, zone: NetworkIndex, now: Nanos) {
        self.conntrack.clear(&conntrack::Filter { zone: Some(zone), ..conntrack::Filter::default() }, now);
    }
}
