//! The record of a decision: what to do with a frame, and on what that depends.
//!
//! Deciding is pure. Stages see frame, policy and tables only through a [`Recording`]; what they want done
//! becomes an [`Action`], carried out after the last stage. The flow cache replays a record for later frames
//! of the same key, so whatever a recording lets a stage look at is
//!
//! * covered by the key (addresses, type field, that there are VLAN tags, source port and network: see
//!   `flow_cache/key.rs`),
//! * or a question about a length, whose answer narrows the [`Lengths`] for which the record holds,
//! * or noted as a dependency, with the second until which it holds,
//! * or part of the policy, whose epoch ends all records,
//! * or it makes the decision hold once only.

mod lengths;
mod scene;

use arrayvec::ArrayVec;

pub(crate) use lengths::{Covered, Lengths};
pub(crate) use scene::Scene;

use crate::drops::DropReason;
use crate::explain::{Looked, Observer, Outcome};
use crate::fdb::{Fdb, Key, Seen};
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::policy::{Gateway, PortPolicy};
use crate::spanning_tree::PortState;
use crate::storm::StormClass;
use crate::vlan::is_tag_at;

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
    /// Let the frame leave by a port, if security groups allow it: they are asked for each frame, so that no decision
    /// depends on what they look at.
    Judge(PortIndex),
    /// Let copies leave by all ports of the network but the source.
    Flood(NetworkIndex),
    /// Note what an IGMP or MLD message says, and let the frame leave by the ports that want it now: who they
    /// are is found out for each frame, so that no decision depends on it.
    Multicast(NetworkIndex),
    /// Send the packet on its way to another network, or hand it to the network's gateway: found out for each frame, so
    /// that no decision depends on routes and neighbours.
    Route(NetworkIndex),
    /// Hand the frame to the network's gateway if it concerns that, and answer it if it asks for a station on another host that
    /// is known; if nobody else is concerned, do nothing that follows.
    Offer(NetworkIndex),
    /// Take note of who has an address, if the frame says so: it came by a tunnel.
    Hear(NetworkIndex),
    /// Hand the frame to the control side, if the port did not send too many of them.
    Punt,
    /// Do not deliver the frame.
    Drop(DropReason),
}

/// What was decided about one frame.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    covered: Covered,
    /// The last second in which the decision holds.
    valid_until_s: u32,
    once: bool,
    actions: ArrayVec<Action, ACTIONS_MAX>,
    dependencies: ArrayVec<Seen, DEPENDENCIES_MAX>,
}

impl Default for Decision {
    fn default() -> Self {
        Self {
            covered: Covered::ALL,
            valid_until_s: u32::MAX,
            once: false,
            actions: ArrayVec::new(),
            dependencies: ArrayVec::new(),
        }
    }
}

impl Decision {
    /// One that holds no longer.
    #[cfg(test)]
    pub(crate) fn outdated() -> Self {
        Self { dependencies: [Seen::NEVER].into_iter().collect(), ..Self::default() }
    }

    /// What to do, in this order.
    #[inline]
    pub(crate) fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Whether the decision holds for later frames of the same key too.
    #[inline]
    pub(crate) fn is_cacheable(&self) -> bool {
        !self.once
    }

    /// The lengths of frames for which the decision holds.
    #[inline]
    pub(crate) fn covered(&self) -> Covered {
        self.covered
    }

    /// Whether nothing changed on which the decision depends.
    #[inline]
    pub(crate) fn is_current(&self, fdb: &Fdb, now_s: u32) -> bool {
        now_s <= self.valid_until_s && self.dependencies.iter().all(|&seen| fdb.is_current(seen))
    }

    /// Whether `self`, decided earlier about another frame, is what was decided now: all but the second until
    /// which it holds, which may have been put off since.
    pub(crate) fn agrees_with(&self, now: &Self) -> bool {
        self.covered == now.covered
            && self.valid_until_s <= now.valid_until_s
            && (&self.actions, &self.dependencies, self.once) == (&now.actions, &now.dependencies, now.once)
    }
}

/// When a record's source address was last found known at its port. Once a second is enough: that often its
/// age has to be set back, and whoever moves it or takes it out changes its generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learned {
    seen: Seen,
    at_s: u32,
}

impl Default for Learned {
    fn default() -> Self {
        Self { seen: Seen::NEVER, at_s: 0 }
    }
}

impl Learned {
    /// What [`Fdb::learn`] found in second `at_s`.
    #[inline]
    pub(crate) fn new(seen: Option<Seen>, at_s: u32) -> Self {
        Self { seen: seen.unwrap_or(Seen::NEVER), at_s }
    }

    /// Whether learning the address again would change nothing.
    #[inline]
    pub(crate) fn is_known(&self, scene: &Scene<'_>) -> bool {
        self.at_s == scene.now_s && scene.fdb.is_current(self.seen)
    }
}

/// Whether the next stage is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The next stage is asked.
    Continue,
    /// The decision is complete.
    Done,
}

/// All that a stage can see of a frame and its surroundings. The file's beginning says what each way to look
/// has to note. Somebody may listen ([`Observer`]); on the data path nobody does.
#[derive(Debug)]
pub(crate) struct Recording<'a, O> {
    scene: &'a Scene<'a>,
    subject: &'a Subject<'a>,
    decision: Decision,
    pub(crate) observer: &'a O,
}

/// The frame that is decided about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Its beginning, without the tags that told its network.
    pub(crate) head: &'a [u8],
    pub(crate) lengths: Lengths,
    /// The network to which it belongs, or why it belongs to none.
    pub(crate) network: Result<NetworkIndex, DropReason>,
    /// Whether no tag was taken off.
    pub(crate) is_bare: bool,
}

impl<'a> Subject<'a> {
    /// The frame that belongs to `network`.
    #[inline]
    pub(crate) fn of<P>(
        frame: &'a Frame<P>,
        lengths: Lengths,
        network: Result<NetworkIndex, DropReason>,
    ) -> Self {
        Self { head: frame.head.bytes(), lengths, network, is_bare: frame.meta.tag.is_none() }
    }
}

impl<'a, O: Observer> Recording<'a, O> {
    /// Begins the decision about one frame.
    #[inline]
    pub(crate) fn new(scene: &'a Scene<'a>, subject: &'a Subject<'a>, observer: &'a O) -> Self {
        Self { scene, subject, decision: Decision::default(), observer }
    }

    /// Ends it.
    #[inline]
    pub(crate) fn finish(self) -> Decision {
        self.decision
    }

    /// Records something to be done.
    #[inline]
    pub(crate) fn act(&mut self, action: Action) {
        self.observer.outcome(|| self.outcome_of(action));
        let recorded = self.decision.actions.try_push(action);
        debug_assert!(recorded.is_ok(), "the stages record at most {ACTIONS_MAX} actions");
    }

    /// What an action means to who listens.
    fn outcome_of(&self, action: Action) -> Outcome {
        match action {
            Action::Learn(_) => Outcome::Learns(address_at::<6>(self.subject.head)),
            Action::Meter(class) => Outcome::Metered(class),
            Action::Output(port) | Action::Judge(port) => Outcome::To(port),
            Action::Flood(_) => Outcome::Floods,
            Action::Multicast(_) => Outcome::ToMembers,
            Action::Route(_) => Outcome::Routed,
            Action::Offer(_) => Outcome::Offered,
            Action::Hear(_) => Outcome::Heard,
            Action::Punt => Outcome::Punted,
            Action::Drop(reason) => Outcome::Dropped(reason),
        }
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

    /// Whether the whole frame has more than `limit` bytes.
    #[inline]
    pub(crate) fn is_longer_than(&mut self, limit: u32) -> bool {
        let bytes = self.subject.lengths.whole;
        self.observer.looked(|| Looked::Length { bytes, limit });
        self.decision.covered.whole.narrow(bytes, limit)
    }

    /// Whether the frame, or a super-frame's longest segment, has more than `limit` bytes.
    #[inline]
    pub(crate) fn is_longer_on_the_wire_than(&mut self, limit: u32) -> bool {
        let bytes = self.subject.lengths.wire;
        self.observer.looked(|| Looked::WireLength { bytes, limit });
        self.decision.covered.wire.narrow(bytes, limit)
    }

    /// Whether the head holds an Ethernet header; always so for frames that have a key.
    #[inline]
    pub(crate) fn has_ethernet(&self) -> bool {
        self.subject.head.len() >= 14
    }

    /// The destination address; zero if the head is too short.
    #[inline]
    pub(crate) fn destination(&self) -> MacAddress {
        let destination = address_at::<0>(self.subject.head);
        self.observer.looked(|| Looked::Destination(destination));
        destination
    }

    /// The source address; zero if the head is too short.
    #[inline]
    pub(crate) fn source_address(&self) -> MacAddress {
        let source = address_at::<6>(self.subject.head);
        self.observer.looked(|| Looked::Source(source));
        source
    }

    /// How many VLAN tags still stand before the type field, at most two.
    #[inline]
    pub(crate) fn vlan_tags(&self) -> u32 {
        let is_tag = |at: usize| is_tag_at(self.subject.head, at);
        let tags = u32::from(is_tag(12)) + u32::from(is_tag(12) && is_tag(16));
        self.observer.looked(|| Looked::TagsLeft(tags));
        tags
    }

    /// Whether no tag was taken off. The key tells such frames from others, unless another tag stands behind.
    #[inline]
    pub(crate) fn is_bare(&self) -> bool {
        self.subject.is_bare
    }

    /// The network to which the frame belongs, or why it belongs to none. Covered by the key.
    #[inline]
    pub(crate) fn network(&self) -> Result<NetworkIndex, DropReason> {
        self.subject.network
    }

    /// The type field of an untagged frame, and the tag's type of a tagged one.
    #[inline]
    pub(crate) fn ether_type(&self) -> [u8; 2] {
        let kind =
            self.subject.head.get(12..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        self.observer.looked(|| Looked::EtherType(u16::from_be_bytes(kind)));
        kind
    }

    /// Whether `network` looks who wants which multicast group.
    #[inline]
    pub(crate) fn snoops(&self, network: NetworkIndex) -> bool {
        let snoops = self.scene.policy.network(network).is_some_and(|network| network.multicast().is_some());
        self.observer.looked(|| Looked::Snoops(snoops));
        snoops
    }

    /// The network's gateway, unless the frame is its own; part of the policy.
    #[inline]
    pub(crate) fn gateway(&self) -> Option<(NetworkIndex, Gateway)> {
        // A call that saw the recording itself would keep it out of registers.
        if self.scene.policy.has_gateways() { self.scene.gateway(self.subject.network) } else { None }
    }

    /// The frame's network, if who asks there for stations on other hosts is answered here; part of the policy.
    #[inline]
    pub(crate) fn suppressing(&self) -> Option<NetworkIndex> {
        // As above.
        if self.scene.policy.has_suppression() { self.scene.suppressing(self.subject.network) } else { None }
    }

    /// The port where the frame entered.
    #[inline]
    pub(crate) fn source(&self) -> PortIndex {
        self.scene.source
    }

    /// Whether security groups are asked about what goes to `receiver`; part of the policy.
    #[inline(always)]
    pub(crate) fn is_judged(&self, receiver: PortIndex) -> bool {
        let policy = self.scene.policy;
        policy.is_filtered(self.scene.source) || policy.is_filtered(receiver)
    }

    /// The policy of the port where the frame entered. A cache belongs to one policy and is keyed by the
    /// port, so this needs no note.
    #[inline]
    pub(crate) fn port(&self) -> Option<&'a PortPolicy> {
        self.scene.port
    }

    /// What the port where the frame entered does with frames of `network`; part of the policy.
    #[inline]
    pub(crate) fn state(&self, network: NetworkIndex) -> PortState {
        let state = match self.scene.port {
            Some(port) if !port.states.is_empty() => {
                self.scene.policy.state(self.scene.source, network).unwrap_or_default()
            }
            _ => PortState::Forwarding,
        };
        self.observer.looked(|| Looked::PortState(state));
        state
    }

    /// Whether `network` has a port beside the one where the frame entered.
    #[inline]
    pub(crate) fn has_others(&self, network: NetworkIndex) -> bool {
        let members = self.scene.peers(network);
        self.observer.looked(|| Looked::Members(members.len()));
        members.iter().any(|&member| member != self.scene.source)
    }

    /// How many ports `network` has, the one where the frame entered included.
    #[inline]
    pub(crate) fn members(&self, network: NetworkIndex) -> usize {
        // A VTEP is none of its own peers.
        let members = self.scene.peers(network).len() + usize::from(self.is_from_vtep());
        self.observer.looked(|| Looked::Members(members));
        members
    }

    /// The port in `network` where `mac` is known to be. Notes that the decision depends on it, and how long
    /// that holds unless the address is seen again. That an address is unknown holds for this frame only:
    /// an answer will teach it, and learning changes no generation.
    #[inline(always)]
    pub(crate) fn look_up(&mut self, network: NetworkIndex, mac: MacAddress) -> Option<PortIndex> {
        let known = self.look_up_current(network, mac);
        self.observer.looked(|| self.station(network, mac, known));
        if known.is_none() {
            self.only_once();
        }
        known
    }

    /// Whether the frame came by a tunnel; part of the policy.
    #[inline]
    pub(crate) fn is_from_vtep(&self) -> bool {
        self.scene.is_from_vtep
    }

    /// Whether `network` learns behind which VTEPs its stations are; part of the policy.
    #[inline]
    pub(crate) fn learns_from_vteps(&self, network: NetworkIndex) -> bool {
        self.scene.learns_from_vteps(network)
    }

    /// Whether `port` is a VTEP; part of the policy.
    #[inline]
    pub(crate) fn is_vtep(&self, port: PortIndex) -> bool {
        self.scene.policy.is_vtep(port)
    }

    /// Whether a station of this host that was heard less than this many seconds ago has the address with which a frame came by a tunnel,
    /// and whether that address is written down as its port's. The decision depends on it.
    #[inline(always)]
    pub(crate) fn who_is_here(
        &mut self,
        network: NetworkIndex,
        mac: MacAddress,
        fresh_s: u32,
    ) -> Option<bool> {
        let (seen, is_known, here) = self.scene.who_is_here(network, mac, fresh_s);
        // He will be old in a while, without any change that would end a kept decision; nor does learning end one.
        if self.decision.dependencies.try_push(seen).is_err() || here.is_some() || !is_known {
            self.only_once();
        }
        here
    }

    /// What looking up `mac` gave to who listens.
    fn station(&self, network: NetworkIndex, mac: MacAddress, known: Option<PortIndex>) -> Looked {
        let (_, value) = self.scene.fdb.look_up(Key::new(network, mac));
        let age_s = value.map_or(0, |value| value.age_s(self.scene.now_s));
        Looked::Station { mac, known: known.map(|port| (port, age_s)) }
    }

    #[inline(always)]
    fn look_up_current(&mut self, network: NetworkIndex, mac: MacAddress) -> Option<PortIndex> {
        let (seen, value) = self.scene.fdb.look_up(Key::new(network, mac));
        if self.decision.dependencies.try_push(seen).is_err() {
            self.only_once();
        }
        let value = value?;
        let port = value.port()?;
        let policy = self.scene.policy;
        let ageing_s = policy.network(network)?.ageing_s();
        let valid_until_s = value.seen_s().saturating_add(ageing_s);
        self.decision.valid_until_s = self.decision.valid_until_s.min(valid_until_s);
        (self.scene.now_s <= valid_until_s && policy.is_member(port, network)).then_some(port)
    }
}

#[inline]
pub(crate) fn address_at<const AT: usize>(head: &[u8]) -> MacAddress {
    let bytes = head.get(AT..).and_then(|rest| rest.first_chunk::<6>());
    MacAddress(bytes.copied().unwrap_or_default())
}
