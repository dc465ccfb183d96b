//! Flooded frames that wait together, since they go to the same receivers.

use std::sync::Arc;

use viaduct_switch::frame::HEAD_MAX;
use viaduct_switch::offload::{Capabilities, Treatment};
use viaduct_switch::tunnel::{Encapsulation, fit};
use viaduct_switch::{
    Claims, DropReason, Nanos, NetworkIndex, Policy, PortIndex, Priority, Switch, TagStack, TagsOf,
};

use super::form::{Form, MadeFor};
use super::pool::Pool;
use super::tagged::Tagged;
use crate::dataplane::delivery::{
    Encapsulating, Taker, Workshop, count, count_sent, header_of, length_of, tunnel_capabilities,
};
use crate::dataplane::outlet::{NO_QUEUE, Outcome, Outlet};
use crate::dataplane::shaping::{Leaving, Newcomer, Shaper, Shaping, Verdict};
use crate::dataplane::sync::turn;
use crate::memory::Segment;
use crate::ring::BURST_FRAMES;

/// Frames in one batch at most.
const BATCH_FRAMES: usize = 16;

/// Bytes to which a batch may grow: what one visit to a receiver writes at most, a single longer frame aside.
const BATCH_BYTES: usize = 16 << 10;

/// What a visit to a receiver costs beside the bytes that it writes: the lock, the ring, the notification.
const VISIT_COST: usize = 1024;

/// Frames of one source, and the receivers that have not got them yet.
#[derive(Default)]
pub(super) struct Batch {
    /// The network of all of them; `None` only in an empty one.
    pub(super) network: Option<NetworkIndex>,
    /// In ascending order.
    pub(super) receivers: Vec<PortIndex>,
    /// Which of them need no copy any more, before it is their turn; empty as long as all do.
    served: Vec<bool>,
    /// The place of the next receiver.
    pub(super) next: usize,
    copies: Vec<Copied>,
    /// Bytes of the frames together.
    bytes: usize,
    /// Bytes of memory that all of it holds.
    pub(super) taken: usize,
    /// Some receiver's driver ran.
    pub(super) reached: bool,
    /// One of the frames is for one station, whose port was unknown.
    pub(super) unicast: bool,
}

/// A frame of our own.
pub(super) struct Copied {
    pub(super) buffer: Box<[u8]>,
    pub(super) length: usize,
    pub(super) claims: Claims,
    /// `None`: its port's.
    pub(super) priority: Option<Priority>,
    /// What filters know it by.
    pub(super) mark: u16,
    pub(super) forms: Vec<Form>,
}

/// What a visit needs beside the batch.
pub(super) struct Means<'a> {
    pub(super) switch: &'a Switch,
    pub(super) policy: &'a Policy,
    pub(super) source: PortIndex,
    /// The receiver: the outlet's port, or a VTEP that is reached by it.
    pub(super) to: PortIndex,
    pub(super) outlets: &'a [Option<Arc<Outlet>>],
    pub(super) workshop: &'a mut Workshop,
    pub(super) shaping: &'a mut Shaping,
    pub(super) pool: &'a Pool,
    pub(super) now: Nanos,
    pub(super) now_s: u16,
    /// What the source holds, in bytes: grows with the forms that are kept.
    pub(super) held: usize,
    /// What was done so far: bytes that were written, or what costs as much.
    pub(super) cost: usize,
    /// What it cost to move frames that had waited in the receivers' queues into their rings.
    pub(super) moved: u64,
    /// Forms that were made.
    pub(super) forms_made: &'a mut u64,
}

impl Batch {
    /// Whether a frame of `length` bytes may join.
    pub(super) fn may_join(&self, network: NetworkIndex, receivers: &[PortIndex], length: usize) -> bool {
        self.next == 0
            && self.network == Some(network)
            && self.served.is_empty()
            && self.copies.len() < BATCH_FRAMES
            && self.bytes + length <= BATCH_BYTES
            && self.receivers == receivers
    }

    /// Bytes that the list of these receivers takes.
    pub(super) fn list_bytes(receivers: &[PortIndex]) -> usize {
        size_of_val(receivers) + receivers.len() * size_of::<bool>()
    }

    /// The place of a receiver whose turn has not come yet, and that still needs its copies.
    pub(super) fn place_of(&self, to: PortIndex) -> Option<usize> {
        let left = self.receivers.get(self.next..)?;
        let place = self.next + left.binary_search(&to).ok()?;
        (!self.is_served(place)).then_some(place)
    }

    pub(super) fn is_served(&self, place: usize) -> bool {
        self.served.get(place).is_some_and(|served| *served)
    }

    pub(super) fn set_served(&mut self, place: usize) {
        self.served.resize(self.receivers.len(), false);
        if let Some(served) = self.served.get_mut(place) {
            *served = true;
        }
    }

    /// Leaves out the receivers that may not have it under `policy`, which are all of them if `source` may not send it.
    pub(super) fn keep_to(&mut self, policy: &Policy, source: PortIndex) {
        let Some(network) = self.network else { return };
        let stays = policy.is_member(source, network);
        for place in 0..self.receivers.len() {
            if self.receivers.get(place).is_some_and(|to| !stays || !policy.is_member(*to, network)) {
                self.set_served(place);
            }
        }
    }

    pub(super) fn push(&mut self, copied: Copied) {
        // The first bit of the first byte tells groups from stations (IEEE 802-2014, 8.2.2).
        self.unicast |= copied.buffer.first().is_some_and(|byte| byte & 1 == 0);
        self.bytes += copied.length;
        self.copies.push(copied);
    }

    pub(super) fn frames(&self) -> u64 {
        self.copies.len() as u64
    }

    /// Empties it and gives its buffers.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Box<[u8]>> {
        self.receivers.clear();
        self.served.clear();
        (self.next, self.bytes, self.taken) = (0, 0, 0);
        (self.reached, self.unicast, self.network) = (false, false, None);
        self.copies.drain(..).map(|copied| copied.buffer)
    }

    /// Lets one receiver have its copies, each in the queue that is its; what that cost is added to the means.
    pub(super) fn deliver(
        &mut self,
        outlet: &Outlet,
        means: &mut Means<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) {
        self.reached = true;
        if let Some(tree) = means.shaping.of(outlet.port).cloned() {
            return self.shape(outlet, &tree, means, visited);
        }
        let mut numbers = [0; BURST_FRAMES];
        outlet.choose(self.copies.iter().map(Copied::bytes), means.now_s, &mut numbers);
        self.visit_each(outlet, &numbers, means, visited);
    }

    /// Puts each copy into the queue with its number.
    fn visit_each(
        &mut self,
        outlet: &Outlet,
        numbers: &[u16; BURST_FRAMES],
        means: &mut Means<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) {
        let used = numbers.get(..self.copies.len()).unwrap_or_default();
        for (place, &number) in used.iter().enumerate() {
            let is_first = used.iter().position(|known| *known == number) == Some(place);
            if is_first && number != NO_QUEUE {
                let outcome = self.visit(outlet, number, numbers, means);
                visited(outlet, number, &outcome);
            }
        }
    }

    /// Brings the copies to the tree before a receiver's queues, and there what passes it.
    fn shape(
        &mut self,
        outlet: &Outlet,
        tree: &Shaper,
        means: &mut Means<'_>,
        visited: &mut impl FnMut(&Outlet, u16, &Outcome),
    ) {
        let Some(mut visit) = tree.visit(means.now, true) else { return };
        // Each copy that waits is one that is not brought now, but looked at.
        means.cost += VISIT_COST;
        let Means { switch, outlets, now, now_s, .. } = *means;
        let leaving = Leaving { switch, outlets, now, now_s };
        let mut untold = means.shaping.take_untold();
        visit.resume(outlet.port, means.shaping, &leaving, &mut untold);
        let mut numbers = [0; BURST_FRAMES];
        outlet.choose(self.copies.iter().map(Copied::bytes), now_s, &mut numbers);
        let before = Wanted::of(self.network, outlet, means);
        for (copied, number) in self.copies.iter_mut().zip(&mut numbers) {
            let newcomer = copied.newcomer((means.source, outlet), self.network, &before);
            let classes = (&mut means.shaping.classes, switch);
            let place = match visit.admit(&newcomer, Some(means.policy), classes) {
                Verdict::Passes => continue,
                Verdict::Waits(place) => place,
                Verdict::Lost(reason, frames) => {
                    switch.counters().port(outlet.port).add_drops(reason, frames);
                    *number = NO_QUEUE;
                    continue;
                }
            };
            *number = NO_QUEUE;
            let mut taker = visit.keep(place, outlet, switch);
            let mut to = Place { outlet, taker: &mut taker, outcome: &mut Outcome::default() };
            if let Err(reason) = copied.put_before(&mut to, &before, means) {
                switch.counters().port(outlet.port).add_drops(reason, 1);
            }
        }
        self.visit_each(outlet, &numbers, means, &mut |outlet, queue, outcome| {
            untold.note(outlet, queue, outcome);
        });
        visit.end(means.shaping, &leaving, &mut untold);
        means.shaping.tell(untold, leaving.outlets, visited);
    }

    /// Puts those copies into the queue `number` whose number that is.
    fn visit(&mut self, outlet: &Outlet, number: u16, numbers: &[u16], means: &mut Means<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        means.cost += VISIT_COST;
        let Some(queue) = outlet.queue(number) else { return outcome };
        let mut queue = turn::patiently(queue);
        queue.prepare(self.copies.len(), &mut outcome);
        let before = Wanted::of(self.network, outlet, means);
        let copies = self.copies.iter_mut().zip(numbers).filter(|(_, chosen)| **chosen == number);
        for (copied, _) in copies {
            let mut to = Place { outlet, taker: &mut *queue, outcome: &mut outcome };
            if let Err(reason) = copied.put_before(&mut to, &before, means) {
                means.switch.counters().port(outlet.port).add_drops(reason, 1);
            }
        }
        queue.finish(&mut outcome);
        drop(queue);
        means.moved += outcome.moving_cost();
        count(means.switch, outlet.port, &outcome);
        outcome
    }
}

/// What a receiver wants before the copies of a batch.
enum Wanted<'a> {
    Nothing,
    /// The tags of this network, with the priority of a source for those that have none.
    Tags(NetworkIndex, TagsOf<'a>, Priority),
    /// The outer headers of a tunnel, and whether they are whole.
    Tunnel(Encapsulation, bool),
    /// A tunnel by which nothing can go now.
    Nowhere(DropReason),
}

impl<'a> Wanted<'a> {
    fn of(network: Option<NetworkIndex>, outlet: &Outlet, means: &mut Means<'a>) -> Self {
        let Some(network) = network else { return Self::Nothing };
        if means.to != outlet.port {
            let (switch, policy) = (means.switch, means.policy);
            return match means.workshop.tunnels.way(switch, policy, (means.to, network), means.now) {
                Ok((encapsulation, is_whole)) => Self::Tunnel(encapsulation, is_whole),
                Err(reason) => Self::Nowhere(reason),
            };
        }
        let own = means.policy.port(means.source).map(|source| source.priority).unwrap_or_default();
        means.policy.tags_of(outlet.port).map_or(Self::Nothing, |tags| Self::Tags(network, tags, own))
    }

    fn tags(&self, copied: &Copied) -> TagStack {
        match self {
            Self::Tags(network, tags, own) => tags.frame(*network, copied.priority.unwrap_or(*own)),
            _ => TagStack::default(),
        }
    }

    fn len_for(&self, copied: &Copied) -> u16 {
        match self {
            Self::Tunnel(encapsulation, _) => u16::try_from(encapsulation.len()).unwrap_or(0),
            _ => self.tags(copied).len(),
        }
    }

    fn receiver(&self, capabilities: Capabilities) -> Capabilities {
        match self {
            Self::Tunnel(encapsulation, is_whole) => {
                tunnel_capabilities(capabilities, encapsulation.has_checksum() || !is_whole)
            }
            _ => capabilities,
        }
    }
}

/// What takes frames for a receiver, and what becomes of this visit to it.
struct Place<'a, T> {
    outlet: &'a Outlet,
    taker: &'a mut T,
    outcome: &'a mut Outcome,
}

impl Copied {
    /// The frame as a tree sees it.
    fn newcomer(
        &self,
        (source, outlet): (PortIndex, &Outlet),
        network: Option<NetworkIndex>,
        before: &Wanted<'_>,
    ) -> Newcomer<'_> {
        let bytes = self.bytes();
        let head = bytes.get(..HEAD_MAX).unwrap_or(bytes);
        let (claims, tags_len, mark) = (self.claims, before.len_for(self), self.mark);
        let (length, receiver) = (length_of(bytes), before.receiver(outlet.capabilities));
        Newcomer { head, length, claims, source, network, tags_len, mark, receiver }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// Puts the frame, with what is wanted before it, into a receiver's queue in the form that it takes.
    fn put_before(
        &mut self,
        to: &mut Place<'_, impl Taker>,
        before: &Wanted<'_>,
        means: &mut Means<'_>,
    ) -> Result<(), DropReason> {
        let capabilities = before.receiver(to.outlet.capabilities);
        match before {
            Wanted::Nothing | Wanted::Tags(..) => {
                let tags = before.tags(self);
                self.put(to, &tags, means, capabilities)
            }
            Wanted::Tunnel(encapsulation, is_whole) => {
                self.put_into(to, (encapsulation, *is_whole), means, capabilities)
            }
            Wanted::Nowhere(reason) => Err(*reason),
        }
    }

    /// Puts the frame behind the outer headers of a tunnel. Of one that is too long nobody is told: it was for many.
    fn put_into(
        &mut self,
        to: &mut Place<'_, impl Taker>,
        (encapsulation, is_whole): (&Encapsulation, bool),
        means: &mut Means<'_>,
        capabilities: Capabilities,
    ) -> Result<(), DropReason> {
        let bytes = self.bytes();
        let (length, claims) = (length_of(bytes), self.claims);
        let head = bytes.get(..HEAD_MAX).unwrap_or(bytes);
        let fitted = fit(&claims, head, length, encapsulation.inner_mtu());
        let fitted = fitted.ok_or(DropReason::TunnelTooBig)?;
        if !is_whole && !means.switch.may_ask_gateway(means.source, means.now) {
            return Err(DropReason::GatewayRate);
        }
        let inside = means.workshop.tunnels.inside(head);
        let mut room = means.workshop.tunnels.take_room();
        let offers = (!is_whole).then(|| Arc::clone(&means.workshop.tunnels.offers));
        let mut taker = Encapsulating {
            taker: &mut *to.taker,
            encapsulation,
            inside,
            room: &mut room,
            takes_checksum: to.outlet.capabilities.checksum,
            instead: offers.as_deref().map(|offers| (offers, means.source)),
        };
        let mut behind = Place { outlet: to.outlet, taker: &mut taker, outcome: &mut *to.outcome };
        self.claims = fitted;
        let put = self.put(&mut behind, &TagStack::default(), means, capabilities);
        self.claims = claims;
        means.workshop.tunnels.give_back(room);
        if put.is_ok() {
            count_sent(means.switch, means.to, length);
        }
        put
    }

    /// Puts the frame, with `tags` before it, into a receiver's queue in the form that it takes.
    fn put(
        &mut self,
        to: &mut Place<'_, impl Taker>,
        tags: &TagStack,
        means: &mut Means<'_>,
        capabilities: Capabilities,
    ) -> Result<(), DropReason> {
        // No treatment depends on tags.
        let treatment = to.taker.treatment(capabilities, &self.claims, self.bytes());
        if treatment != Treatment::AsIs {
            return self.put_form(to, tags, treatment, means);
        }
        if !tags.is_empty() {
            return self.put_tagged(to, tags, means);
        }
        let bytes = self.bytes();
        means.cost += bytes.len();
        let header = header_of(self.claims.to_raw(bytes));
        to.taker.take(&header, bytes, &[], length_of(bytes), to.outcome)
    }

    /// Puts the frame as it is, behind its addresses and the tags, which are put together beside it.
    fn put_tagged(
        &mut self,
        to: &mut Place<'_, impl Taker>,
        tags: &TagStack,
        means: &mut Means<'_>,
    ) -> Result<(), DropReason> {
        let claims = self.claims.behind(tags).ok_or(DropReason::BadOffload)?;
        let length = length_of(self.bytes()).saturating_add(tags.len().into());
        means.cost += length as usize;
        let head = Tagged::head(self.bytes(), tags);
        let header = header_of(claims.to_raw(head.bytes()));
        let rest = self.buffer.get_mut(head.taken..self.length).unwrap_or_default();
        let rest = Segment { host: rest.as_mut_ptr(), len: length_of(rest) };
        to.taker.take(&header, head.bytes(), &[rest], length, to.outcome)
    }

    fn put_form(
        &mut self,
        to: &mut Place<'_, impl Taker>,
        tags: &TagStack,
        treatment: Treatment,
        means: &mut Means<'_>,
    ) -> Result<(), DropReason> {
        let wanted = MadeFor { treatment, tags: *tags, size: self.claims.gso.map(|gso| gso.size) };
        if let Some(form) = self.forms.iter().find(|form| form.made_for == wanted) {
            means.cost += form.cost();
            return form.put(to.taker, to.outcome);
        }
        let bytes = self.bytes();
        let form = Form::make(bytes, self.claims, wanted, means.workshop);
        *means.forms_made += 1;
        means.cost += bytes.len() + form.cost();
        let put = form.put(to.taker, to.outcome);
        let size = form.size();
        if means.pool.take(size, means.held) {
            means.held += size;
            self.forms.push(form);
        }
        put
    }
}
