//! The record of a decision: what to do with a frame, and on what that depends.
//!
//! Deciding is pure. Stages see frame, policy and tables only through a [`Recording`], which notes what
//! they looked at; what they want done becomes an [`Action`], carried out after the last stage. A cache
//! may replay a record for every frame that agrees in the fields looked at, as long as the dependencies
//! are current.

use arrayvec::ArrayVec;

use crate::drops::DropReason;
use crate::fdb::{Fdb, Key, Seen};
use crate::frame::{Gso, Metadata, PartialChecksum};
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::policy::{Policy, PortPolicy};
use crate::storm::StormClass;

/// The most actions in one decision.
const ACTIONS_MAX: usize = 4;

/// The most learned entries on which one decision may depend.
const DEPENDENCIES_MAX: usize = 4;

/// Something to be done with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Note that the source address was seen at the source port of this network.
    Learn(NetworkIndex),
    /// Count the frame among its port's frames of this class; if they are too many, drop it and do nothing
    /// that follows.
    Meter(StormClass),
    /// Let the frame leave by a port.
    Output(PortIndex),
    /// Let copies leave by all ports of the network but the source.
    Flood(NetworkIndex),
    /// Do not deliver the frame.
    Drop(DropReason),
}

/// A field that a decision looked at: what a cache's key has to cover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Field {
    /// The destination address.
    Destination = 1,
    /// The source address.
    Source = 2,
    /// The type field, and those behind VLAN tags.
    EtherType = 4,
    /// The length, or the offload claims.
    Size = 8,
}

/// The fields that a decision looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fields(u8);

impl Fields {
    #[inline]
    fn insert(&mut self, field: Field) {
        self.0 |= field as u8;
    }

    #[cfg(test)]
    pub(crate) fn contains(self, field: Field) -> bool {
        self.0 & field as u8 != 0
    }
}

/// What was decided about one frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decision {
    actions: ArrayVec<Action, ACTIONS_MAX>,
    dependencies: ArrayVec<Seen, DEPENDENCIES_MAX>,
    looked_at: Fields,
    once: bool,
}

impl Decision {
    /// What to do, in this order.
    #[inline]
    pub(crate) fn actions(&self) -> &[Action] {
        &self.actions
    }
}

/// What a cache asks of a decision.
#[cfg_attr(not(test), expect(dead_code, reason = "the flow cache will ask"))]
impl Decision {
    /// Whether the decision holds for later frames too.
    pub(crate) fn is_cacheable(&self) -> bool {
        !self.once
    }

    /// The fields that the decision looked at.
    pub(crate) fn looked_at(&self) -> Fields {
        self.looked_at
    }

    /// Whether nothing changed on which the decision depends.
    pub(crate) fn is_current(&self, fdb: &Fdb) -> bool {
        self.dependencies.iter().all(|&seen| fdb.is_current(seen))
    }
}

/// What is the same for all frames of a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) fdb: &'a Fdb,
    pub(crate) now_s: u32,
    pub(crate) source: PortIndex,
    pub(crate) port: Option<&'a PortPolicy>,
}

/// Whether the next stage is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The next stage is asked.
    Continue,
    /// The decision is complete.
    Done,
}

/// All that a stage can see of a frame and its surroundings; notes what was looked at.
#[derive(Debug)]
pub(crate) struct Recording<'a> {
    scene: &'a Scene<'a>,
    head: &'a [u8],
    meta: &'a Metadata,
    decision: Decision,
}

impl<'a> Recording<'a> {
    /// Begins the decision about one frame.
    #[inline]
    pub(crate) fn new(scene: &'a Scene<'a>, head: &'a [u8], meta: &'a Metadata) -> Self {
        Self { scene, head, meta, decision: Decision::default() }
    }

    /// Ends it.
    #[inline]
    pub(crate) fn finish(self) -> Decision {
        self.decision
    }

    /// Records something to be done.
    #[inline]
    pub(crate) fn act(&mut self, action: Action) {
        let recorded = self.decision.actions.try_push(action);
        debug_assert!(recorded.is_ok(), "the stages record at most {ACTIONS_MAX} actions");
    }

    /// Records that the frame is not delivered, and ends the decision.
    #[inline]
    pub(crate) fn drop(&mut self, reason: DropReason) -> Step {
        self.act(Action::Drop(reason));
        Step::Done
    }

    /// Records that the decision holds for this frame only.
    #[inline]
    pub(crate) fn only_once(&mut self) {
        self.decision.once = true;
    }

    /// The whole frame's length in bytes.
    #[inline]
    pub(crate) fn length(&mut self) -> u32 {
        self.decision.looked_at.insert(Field::Size);
        self.meta.length
    }

    /// How the frame is to be cut, if it is a super-frame.
    #[inline]
    pub(crate) fn gso(&mut self) -> Option<(Gso, PartialChecksum)> {
        self.decision.looked_at.insert(Field::Size);
        Some((self.meta.claims.gso?, self.meta.claims.checksum?))
    }

    /// Whether the head holds an Ethernet header.
    #[inline]
    pub(crate) fn has_ethernet(&mut self) -> bool {
        self.decision.looked_at.insert(Field::Size);
        self.head.len() >= 14
    }

    /// The destination address; zero if the head is too short.
    #[inline]
    pub(crate) fn destination(&mut self) -> MacAddress {
        self.decision.looked_at.insert(Field::Destination);
        address_at::<0>(self.head)
    }

    /// The source address; zero if the head is too short.
    #[inline]
    pub(crate) fn source_address(&mut self) -> MacAddress {
        self.decision.looked_at.insert(Field::Source);
        address_at::<6>(self.head)
    }

    /// How many VLAN tags stand before the type field, at most two (IEEE 802.1Q-2018, 9.6 and 9.5: types
    /// 0x8100 and 0x88a8).
    #[inline]
    pub(crate) fn vlan_tags(&mut self) -> u32 {
        self.decision.looked_at.insert(Field::EtherType);
        let is_tag = |at: usize| matches!(self.head.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8]));
        u32::from(is_tag(12)) + u32::from(is_tag(12) && is_tag(16))
    }

    /// The byte `at` of the frame, if the head reaches so far.
    pub(crate) fn byte(&mut self, at: usize) -> Option<u8> {
        self.decision.looked_at.insert(Field::Size);
        self.head.get(at).copied()
    }

    /// The port where the frame entered.
    #[inline]
    pub(crate) fn source(&self) -> PortIndex {
        self.scene.source
    }

    /// The policy of the port where the frame entered. A cache belongs to one policy and is keyed by the
    /// port, so this needs no note.
    #[inline]
    pub(crate) fn port(&self) -> Option<&'a PortPolicy> {
        self.scene.port
    }

    /// Whether `network` has a port beside the one where the frame entered.
    #[inline]
    pub(crate) fn has_others(&self, network: NetworkIndex) -> bool {
        let members = self.scene.policy.network(network).map_or(&[][..], |network| network.members());
        members.iter().any(|&member| member != self.scene.source)
    }

    /// How many ports `network` has, the one where the frame entered included.
    #[inline]
    pub(crate) fn members(&self, network: NetworkIndex) -> usize {
        self.scene.policy.network(network).map_or(0, |network| network.members().len())
    }

    /// The port in `network` where `mac` is known to be; notes that the decision depends on it.
    #[inline]
    pub(crate) fn look_up(&mut self, network: NetworkIndex, mac: MacAddress) -> Option<PortIndex> {
        let (seen, value) = self.scene.fdb.look_up(Key::new(network, mac));
        if self.decision.dependencies.try_push(seen).is_err() {
            self.decision.once = true;
        }
        let value = value?;
        let port = value.port()?;
        let policy = self.scene.policy;
        let current = value.age_s(self.scene.now_s) <= policy.network(network)?.ageing_s();
        (current && policy.is_member(port, network)).then_some(port)
    }
}

#[inline]
pub(crate) fn address_at<const AT: usize>(head: &[u8]) -> MacAddress {
    let bytes = head.get(AT..).and_then(|rest| rest.first_chunk::<6>());
    MacAddress(bytes.copied().unwrap_or_default())
}
