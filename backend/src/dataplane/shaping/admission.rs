//! Frames for a port with a tree: they pass if nothing is in their way, or wait.

use viaduct_switch::offload::{Capabilities, Checksums, SEGMENTS_MAX, Treatment};
use viaduct_switch::packet::{Packet, ip_packet};
use viaduct_switch::qos::{ClassCache, ClassIndex, Ecn, Item, Subject};
use viaduct_switch::security::PortTables;
use viaduct_switch::{
    Claims, DropReason, Nanos, NetworkIndex, Policy, PortIndex, Switch, flow_hash::flow_hash,
};

use super::shaper::{Losses, Shaper, Waiting};
use super::store::{Addressee, Form};
use super::table::Shaping;
use super::untold::Untold;
use crate::dataplane::delivery::Taker;
use crate::dataplane::outlet::{Outcome, Outlet};
use crate::dataplane::sync::primitives::MutexGuard;
use crate::memory::Segment;

/// A frame as a tree sees it.
pub(in crate::dataplane) struct Newcomer<'a> {
    /// Its beginning, without the tags that tell its network.
    pub(in crate::dataplane) head: &'a [u8],
    /// All of it, in bytes.
    pub(in crate::dataplane) length: u32,
    pub(in crate::dataplane) claims: Claims,
    pub(in crate::dataplane) source: PortIndex,
    pub(in crate::dataplane) network: Option<NetworkIndex>,
    /// Bytes of tags with which it leaves.
    pub(in crate::dataplane) tags_len: u16,
    /// What its port, or that one's meter, chose for filters to know it by.
    pub(in crate::dataplane) mark: u16,
    /// What its receiver takes unfinished.
    pub(in crate::dataplane) receiver: Capabilities,
}

/// A visit to a tree, whose lock it holds.
pub(in crate::dataplane) struct Visit<'a> {
    tree: &'a Shaper,
    waiting: MutexGuard<'a, Waiting>,
    now: Nanos,
    /// Frames of the port that is visited were set aside, and not all of them have left.
    is_behind: bool,
    /// Pieces into which super-frames were to be cut in this visit.
    cut: u64,
}

/// Pieces into which super-frames are cut in a visit at most, beside those of its first one: an ordinary burst has a tenth of it, but
/// a sender may claim segments of one byte.
const CUT_MAX: u64 = 2048;

/// What a tree said about a frame.
pub(in crate::dataplane) enum Verdict {
    /// It goes on.
    Passes,
    /// It waits, in this class.
    Waits(Place),
    /// It is lost, as that many frames: there is no room for it.
    Lost(DropReason, u64),
}

/// Where a frame waits, and all of its item but what stands for its bytes.
pub(in crate::dataplane) struct Place {
    class: ClassIndex,
    item: Item,
    network: Option<NetworkIndex>,
    /// It is longer than what may leave at once, and can be cut.
    is_too_long: bool,
}

impl Shaper {
    /// Begins a visit if nobody else is at the tree, or with `wait` in any case.
    pub(in crate::dataplane) fn visit(&self, now: Nanos, wait: bool) -> Option<Visit<'_>> {
        let mut waiting = self.turn(wait)?;
        let now = waiting.at(now);
        Some(Visit { tree: self, waiting, now, is_behind: false, cut: 0 })
    }
}

impl Visit<'_> {
    /// Asks what becomes of a frame.
    pub(in crate::dataplane) fn admit(
        &mut self,
        newcomer: &Newcomer<'_>,
        policy: Option<&Policy>,
        (classes, switch): (&mut ClassCache, &Switch),
    ) -> Verdict {
        let Newcomer { head, length, claims, source, network, tags_len, mark, .. } = *newcomer;
        let packet = ip_packet(head, length);
        let packet = packet.as_ref();
        let tables = policy.and_then(|policy| policy.security()?.port(source));
        let groups = tables.and_then(PortTables::groups).unwrap_or_default();
        let subject = Subject { packet, network, port: Some(source), groups, mark };
        let wire = claims.wire_volume(head, length);
        let Waiting { tree, generation, seed, .. } = &mut *self.waiting;
        let verify =
            switch.verifies().then_some(|kept, found| switch.note_class_mismatch(source, kept, found));
        let class = classes.class_of(tree, *generation, &subject, verify);
        let bytes = u32::try_from(wire.bytes + wire.frames * u64::from(tags_len)).unwrap_or(u32::MAX);
        let length = tree.wire_length(bytes, u32::try_from(wire.frames).unwrap_or(u32::MAX));
        // One that is longer than what may leave at once would take what belongs to others: it is cut, whatever tokens there are.
        let is_too_long = claims.gso.is_some() && length > tree.longest(class);
        // Nor does one pass where others of its port are still to go first.
        if !is_too_long && !self.is_behind && tree.admit_of_many(self.now, class, length) {
            return Verdict::Passes;
        }
        let traffic_class = packet.map_or(0, |packet: &Packet| packet.traffic_class);
        let item = Item {
            ticket: 0,
            length,
            flow: flow_hash(head, *seed),
            dscp: traffic_class >> 2,
            ecn: Ecn::of(traffic_class),
            arrived: self.now,
            marked: false,
        };
        self.keep_or_lose(Place { class, item, network, is_too_long }, newcomer, wire.frames)
    }

    /// Whether there is room for a frame that has to wait, asked before anything of it is copied. `segments`: as what it is on the
    /// wire.
    fn keep_or_lose(&mut self, place: Place, newcomer: &Newcomer<'_>, segments: u64) -> Verdict {
        let Newcomer { head, length, claims, tags_len, receiver, .. } = newcomer;
        let Waiting { tree, store, .. } = &mut *self.waiting;
        let is_cut = match receiver.treatment(claims, head) {
            Treatment::Segment(_) => true,
            _ => place.is_too_long,
        };
        // Of what is cut, some may find room.
        let least = if is_cut { Item { length: 1, ..place.item } } else { place.item };
        let bytes = if is_cut { 0 } else { *length as usize + usize::from(*tags_len) };
        let no_memory = || (!store.has_room(bytes)).then_some(DropReason::QueueMemory);
        let pieces = if is_cut && segments <= SEGMENTS_MAX as u64 { segments } else { 1 };
        let too_many = || (self.cut > 0 && self.cut + pieces > CUT_MAX).then_some(DropReason::QueueFull);
        let refusal = tree.refusal(self.now, place.class, &least).or_else(no_memory);
        let Some(reason) = refusal.or_else(|| if is_cut { too_many() } else { None }) else {
            self.cut += if is_cut { pieces } else { 0 };
            return Verdict::Waits(place);
        };
        let frames = pieces;
        tree.count_refused(place.class, frames);
        Verdict::Lost(reason, frames)
    }

    /// What takes the forms of a frame for a receiver, which waits at `place`.
    pub(in crate::dataplane) fn keep<'v>(
        &'v mut self,
        place: Place,
        outlet: &Outlet,
        switch: &'v Switch,
    ) -> Keeping<'v> {
        let (port, made_for, network) = (outlet.port, outlet.capabilities, place.network);
        let to = Addressee { port, made_for, network };
        Keeping { waiting: &mut self.waiting, switch, now: self.now, to, place, lost: None }
    }

    /// Ends the visit: lets depart what is due, after all that passed, and has the owner see to the rest in time.
    pub(in crate::dataplane) fn end(
        mut self,
        shaping: &mut Shaping,
        leaving: &super::Leaving<'_>,
        untold: &mut Untold,
    ) {
        self.waiting.tree.settle();
        if self.waiting.store.len() > 0 {
            let next = self.waiting.depart(leaving, untold, shaping.allowance(leaving.now));
            shaping.schedule(self.tree, &mut self.waiting, next);
        }
    }

    /// To be called before anything passes to `port`: lets its frames go first that were set aside.
    pub(in crate::dataplane) fn resume(
        &mut self,
        port: PortIndex,
        shaping: &mut Shaping,
        leaving: &super::Leaving<'_>,
        untold: &mut Untold,
    ) {
        if self.waiting.aside.contains_key(&port) {
            self.is_behind = !self.waiting.resume(port, leaving, untold, shaping.allowance(leaving.now));
        }
    }
}

/// Takes the forms of one frame into a tree.
pub(in crate::dataplane) struct Keeping<'a> {
    waiting: &'a mut Waiting,
    switch: &'a Switch,
    now: Nanos,
    to: Addressee,
    place: Place,
    /// Why the first of its pieces was lost, if one was.
    lost: Option<DropReason>,
}

impl Keeping<'_> {
    /// Why something of the frame was lost, if anything was; it is counted.
    pub(in crate::dataplane) fn lost(self) -> Option<DropReason> {
        self.lost
    }

    /// Puts one piece into the tree, or all of a frame that is not cut.
    fn put(&mut self, form: &Form<'_>, length: u32) -> Result<(), DropReason> {
        let Waiting { tree, store, .. } = &mut *self.waiting;
        let Place { class, item, .. } = &self.place;
        let item = Item { length, ..*item };
        let kept = match tree.refusal(self.now, *class, &item) {
            Some(reason) => Err(reason),
            None => store.keep(&self.to, form).ok_or(DropReason::QueueMemory),
        };
        let ticket = kept.inspect_err(|_| tree.count_refused(*class, 1))?;
        let mut losses = Losses::of_newcomer(store, self.switch, ticket);
        tree.enqueue(self.now, *class, Item { ticket, ..item }, &mut losses);
        losses.verdict()
    }
}

impl Taker for Keeping<'_> {
    fn take(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        _outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        // A super-frame that is taken whole is what was asked about; a piece of one has its own length.
        let is_whole = header.get(GSO_TYPE).is_some_and(|kind| *kind != 0);
        let wire = if is_whole { self.place.item.length } else { self.waiting.tree.wire_length(length, 1) };
        let put = self.put(&Form { header, head, rest, length }, wire);
        if let Err(reason) = put {
            // The other pieces may be shorter, or have others dropped for them: each is a frame of its own.
            self.switch.counters().port(self.to.port).add_drops(reason, 1);
            self.lost.get_or_insert(reason);
        }
        Ok(())
    }

    /// A super-frame that is longer than what may leave at once is cut.
    fn treatment(&self, receiver: Capabilities, claims: &Claims, head: &[u8]) -> Treatment {
        match receiver.treatment(claims, head) {
            Treatment::AsIs if self.place.is_too_long => {
                let checksums = if receiver.checksum { Checksums::Partial } else { Checksums::Finished };
                Treatment::Segment(checksums)
            }
            treatment => treatment,
        }
    }
}

/// Where `virtio_net_hdr` has the kind of a super-frame (virtio 1.2, 5.1.6).
const GSO_TYPE: usize = 1;
