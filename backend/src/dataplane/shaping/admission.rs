//! Frames for a port with a tree: they pass if nothing is in their way, or wait.

use viaduct_switch::offload::{Capabilities, Checksums, Treatment};
use viaduct_switch::packet::{Contents, Packet, parse};
use viaduct_switch::qos::{ClassIndex, Ecn, Item, Subject};
use viaduct_switch::security::PortTables;
use viaduct_switch::{
    Claims, DropReason, Nanos, NetworkIndex, Policy, PortIndex, Switch, flow_hash::flow_hash,
};

use super::shaper::{Losses, Shaper, Waiting};
use super::store::Form;
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
}

/// A visit to a tree, whose lock it holds.
pub(in crate::dataplane) struct Visit<'a> {
    tree: &'a Shaper,
    waiting: MutexGuard<'a, Waiting>,
    now: Nanos,
}

/// What a tree said about a frame.
pub(in crate::dataplane) enum Verdict {
    /// It goes on.
    Passes,
    /// It waits, in this class.
    Waits(Place),
}

/// Where a frame waits, and all of its item but what stands for its bytes.
pub(in crate::dataplane) struct Place {
    class: ClassIndex,
    item: Item,
}

impl Shaper {
    /// Begins a visit if nobody else is at the tree, or with `wait` in any case.
    pub(in crate::dataplane) fn visit(&self, now: Nanos, wait: bool) -> Option<Visit<'_>> {
        let mut waiting = self.turn(wait)?;
        let now = waiting.at(now);
        Some(Visit { tree: self, waiting, now })
    }
}

impl Visit<'_> {
    /// Asks what becomes of a frame.
    pub(in crate::dataplane) fn admit(
        &mut self,
        newcomer: &Newcomer<'_>,
        policy: Option<&Policy>,
    ) -> Verdict {
        let Newcomer { head, length, claims, source, network, tags_len, mark } = *newcomer;
        let contents = parse(head, length);
        let packet = match &contents {
            Ok(Contents::Ip(packet)) => Some(packet),
            _ => None,
        };
        let tables = policy.and_then(|policy| policy.security()?.port(source));
        let groups = tables.and_then(PortTables::groups).unwrap_or_default();
        let subject = Subject { packet, network, port: Some(source), groups, mark };
        let wire = claims.wire_volume(head, length);
        let Waiting { tree, seed, .. } = &mut *self.waiting;
        let class = tree.class_of(&subject);
        let bytes = u32::try_from(wire.bytes + wire.frames * u64::from(tags_len)).unwrap_or(u32::MAX);
        let length = tree.wire_length(bytes, u32::try_from(wire.frames).unwrap_or(u32::MAX));
        if tree.admit(self.now, class, length) {
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
        Verdict::Waits(Place { class, item })
    }

    /// What takes the forms of a frame for a receiver, which waits at `place`.
    pub(in crate::dataplane) fn keep<'v>(
        &'v mut self,
        place: Place,
        outlet: &Outlet,
        switch: &'v Switch,
    ) -> Keeping<'v> {
        let (port, made_for) = (outlet.port, outlet.capabilities);
        let longest = self.waiting.tree.longest(place.class);
        Keeping { waiting: &mut self.waiting, switch, now: self.now, port, made_for, longest, place }
    }

    /// Ends the visit: lets depart what is due, after all that passed, and has the owner see to the rest in time.
    pub(in crate::dataplane) fn end(
        mut self,
        shaping: &mut Shaping,
        leaving: &super::Leaving<'_>,
        untold: &mut Untold,
    ) {
        if self.waiting.store.len() > 0 {
            let next = self.waiting.depart(leaving, untold);
            shaping.schedule(self.tree, &mut self.waiting, next);
        }
    }

    /// To be called before anything passes: lets frames go first that were set aside.
    pub(in crate::dataplane) fn resume(&mut self, leaving: &super::Leaving<'_>, untold: &mut Untold) {
        if !self.waiting.aside.is_empty() {
            self.waiting.resume(leaving, untold);
        }
    }
}

/// Takes the forms of one frame into a tree.
pub(in crate::dataplane) struct Keeping<'a> {
    waiting: &'a mut Waiting,
    switch: &'a Switch,
    now: Nanos,
    port: PortIndex,
    made_for: Capabilities,
    /// Bytes on the wire above which a super-frame is cut.
    longest: u32,
    place: Place,
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
        let Waiting { tree, store, .. } = &mut *self.waiting;
        let form = Form { header, head, rest, length };
        let ticket = store.keep(self.port, self.made_for, &form).ok_or(DropReason::QueueMemory)?;
        let Place { class, item } = &self.place;
        // A super-frame that is taken whole is what was asked about; a piece of one has its own length.
        let is_whole = header.get(GSO_TYPE).is_some_and(|kind| *kind != 0);
        let length = if is_whole { item.length } else { tree.wire_length(length, 1) };
        let item = Item { ticket, length, ..*item };
        let mut losses = Losses::of_newcomer(store, self.switch, ticket);
        tree.enqueue(self.now, *class, item, &mut losses);
        losses.verdict()
    }

    /// A super-frame that is longer than what may leave at once is cut.
    fn treatment(&self, receiver: Capabilities, claims: &Claims, head: &[u8]) -> Treatment {
        match receiver.treatment(claims, head) {
            Treatment::AsIs if claims.gso.is_some() && self.place.item.length > self.longest => {
                let checksums = if receiver.checksum { Checksums::Partial } else { Checksums::Finished };
                Treatment::Segment(checksums)
            }
            treatment => treatment,
        }
    }
}

/// Where `virtio_net_hdr` has the kind of a super-frame (virtio 1.2, 5.1.6).
const GSO_TYPE: usize = 1;
