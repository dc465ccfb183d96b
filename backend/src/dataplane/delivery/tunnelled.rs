//! Frames that leave by tunnels: outer headers are put before them as they are taken.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use viaduct_switch::flow_hash::flow_hash;
use viaduct_switch::meter::dscp::traffic_class;
use viaduct_switch::offload::{Capabilities, Treatment, sum};
use viaduct_switch::router::Why;
use viaduct_switch::tunnel::{Coupled, Encapsulation, Inside, PREFIX_MAX, fit, path_mtu};
use viaduct_switch::{
    Claims, DropReason, Frame, Metadata, Nanos, NetworkIndex, PartialChecksum, Policy, PortIndex, Switch,
    TagsOf,
};

use super::coupling::Coupling;
use super::{Delivered, FRAME_MAX, Outcome, Outlet, Send, Taker};
use crate::dataplane::offers::{Offers, Place};
use crate::memory::{Segment, copy_out};

/// Senders of frames that are too long who are told so, for each burst.
const REPLIES_MAX: usize = 8;

/// What a receiver wants before a frame.
pub(in crate::dataplane) enum Before<'a> {
    /// Nothing, which is so for most.
    Nothing,
    /// Tags that tell its network.
    Tags(TagsOf<'a>),
    /// The outer headers of a tunnel to the VTEP that it is for.
    Tunnel,
}

impl<'a> Before<'a> {
    /// What the receiver of a group wants, whose frames leave by `outlet`.
    #[inline]
    pub(super) fn of(policy: Option<&'a Policy>, outlet: &Outlet, group: &[Send]) -> Self {
        let Some(policy) = policy else { return Self::Nothing };
        match group.first() {
            Some(first) if first.to != outlet.port => Self::Tunnel,
            _ => policy.tags_of(outlet.port).map_or(Self::Nothing, Self::Tags),
        }
    }

    #[inline]
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel)
    }

    /// How many bytes that are for a frame.
    pub(super) fn len_for(&self, meta: &Metadata) -> u16 {
        match self {
            Self::Nothing => 0,
            Self::Tags(tags) => tags.of(meta).map_or(0, |tags| tags.len()),
            // As many as there may be: a tree counts them before they are known.
            Self::Tunnel => u16::try_from(PREFIX_MAX).unwrap_or(0),
        }
    }

    /// What the receiver takes unfinished of what is inside.
    pub(super) fn receiver(&self, capabilities: Capabilities) -> Capabilities {
        if self.is_tunnel() { tunnel_capabilities(capabilities, false) } else { capabilities }
    }
}

/// What may be left unfinished inside of a tunnel: a checksum, unless an outer one covers it, and never a super-frame, whose segments
/// need outer headers each.
pub(in crate::dataplane) fn tunnel_capabilities(
    uplink: Capabilities,
    has_outer_checksum: bool,
) -> Capabilities {
    Capabilities { checksum: uplink.checksum && !has_outer_checksum, ..Capabilities::default() }
}

/// What putting frames into tunnels needs; reused from frame to frame.
pub(in crate::dataplane) struct TunnelWork {
    /// Room for outer headers and the head behind them.
    room: Vec<u8>,
    /// Tells flows apart.
    seed: u64,
    /// Where frames go whose next station is not known.
    pub(in crate::dataplane) offers: Arc<Offers>,
    /// What senders of frames are told that were too long.
    pub(in crate::dataplane) replies: Vec<Reply>,
    /// The outer headers that were made last, for whom and when.
    known: Option<Known>,
}

/// A frame to a sender whose frame was too long, as if from behind the VTEP.
pub(in crate::dataplane) struct Reply {
    pub(in crate::dataplane) vtep: PortIndex,
    pub(in crate::dataplane) network: NetworkIndex,
    pub(in crate::dataplane) frame: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Known {
    of: (PortIndex, NetworkIndex, Nanos),
    encapsulation: Encapsulation,
    is_whole: bool,
}

impl Default for TunnelWork {
    fn default() -> Self {
        Self {
            room: Vec::new(),
            seed: RandomState::new().hash_one(1),
            offers: Arc::default(),
            replies: Vec::new(),
            known: None,
        }
    }
}

impl TunnelWork {
    /// The outer headers for frames of `network` to `vtep`, and whether they are whole.
    pub(in crate::dataplane) fn way(
        &mut self,
        switch: &Switch,
        policy: &Policy,
        (vtep, network): (PortIndex, NetworkIndex),
        now: Nanos,
    ) -> Result<(Encapsulation, bool), DropReason> {
        let of = (vtep, network, now);
        if let Some(known) = self.known.filter(|known| known.of == of) {
            return Ok((known.encapsulation, known.is_whole));
        }
        let way = switch.encapsulation(policy, (vtep, network), now);
        let (encapsulation, is_whole) = way.map_err(|_| DropReason::TunnelDown)?;
        self.known = Some(Known { of, encapsulation, is_whole });
        Ok((encapsulation, is_whole))
    }

    /// What of an inner frame that begins with `head` shows outside.
    #[inline]
    pub(in crate::dataplane) fn inside(&self, head: &[u8]) -> Inside {
        let traffic_class = traffic_class(head).unwrap_or(0);
        Inside { length: 0, flow: flow_hash(head, self.seed), traffic_class }
    }

    /// The claims with which a frame goes on that is not too long, and what its sender is told if it is.
    fn fit(
        &mut self,
        frame: &Frame<impl Sized>,
        mtu: u16,
        to: Option<(PortIndex, NetworkIndex)>,
    ) -> Option<Claims> {
        let (head, meta) = (frame.head.bytes(), &frame.meta);
        let fitted = fit(&meta.claims, head, meta.length, mtu);
        if fitted.is_none()
            && self.replies.len() < REPLIES_MAX
            && let Some((vtep, network)) = to
        {
            let reply = path_mtu::too_big(head, meta.length, mtu);
            self.replies.extend(reply.map(|frame| Reply { vtep, network, frame }));
        }
        fitted
    }

    pub(in crate::dataplane) fn take_room(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.room)
    }

    pub(in crate::dataplane) fn give_back(&mut self, room: Vec<u8>) {
        self.room = room;
    }
}

/// Puts outer headers before frames on their way to who takes them, or to the gateway of the underlay as long as the next station is
/// not known.
pub(in crate::dataplane) struct Encapsulating<'a, T> {
    pub(in crate::dataplane) taker: &'a mut T,
    pub(in crate::dataplane) encapsulation: &'a Encapsulation,
    pub(in crate::dataplane) inside: Inside,
    pub(in crate::dataplane) room: &'a mut Vec<u8>,
    /// Whether who takes them finishes checksums.
    pub(in crate::dataplane) takes_checksum: bool,
    /// Where they go instead, and the port that is charged for it.
    pub(in crate::dataplane) instead: Option<(&'a Offers, PortIndex)>,
}

impl<T: Taker> Taker for Encapsulating<'_, T> {
    #[inline]
    fn take(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let len = self.encapsulation.len();
        let mut prefix = [0; PREFIX_MAX];
        let checksum = self.encapsulation.put(&Inside { length, ..self.inside }, &mut prefix);
        self.room.clear();
        self.room.extend_from_slice(prefix.get(..len).unwrap_or_default());
        self.room.extend_from_slice(head);
        let whole = length + u32::try_from(len).unwrap_or(0);
        let header = behind(header, len);
        if let Some((offers, port)) = self.instead {
            return self.offer(offers, port, rest, whole, checksum);
        }
        match checksum {
            None => self.taker.take(&header, self.room, rest, whole, outcome),
            Some(checksum) if self.takes_checksum => {
                self.taker.take(&checksum_header(checksum), self.room, rest, whole, outcome)
            }
            Some(checksum) => {
                self.collect(rest, whole);
                finish(self.room, checksum);
                self.taker.take(&[0; 12], self.room, &[], whole, outcome)
            }
        }
    }

    #[inline]
    fn treatment(&self, receiver: Capabilities, claims: &Claims, head: &[u8]) -> Treatment {
        self.taker.treatment(receiver, claims, head)
    }
}

impl<T> Encapsulating<'_, T> {
    /// Copies what follows the head behind it.
    #[cold]
    fn collect(&mut self, rest: &[Segment], whole: u32) {
        let whole = (whole as usize).min(FRAME_MAX + PREFIX_MAX);
        let at = self.room.len();
        self.room.resize(whole.max(at), 0);
        if let Some(room) = self.room.get_mut(at..) {
            copy_out(&[], rest, room);
        }
    }

    /// Gives the gateway the packet, which asks for the next station and sends it then.
    #[cold]
    fn offer(
        &mut self,
        offers: &Offers,
        port: PortIndex,
        rest: &[Segment],
        whole: u32,
        checksum: Option<PartialChecksum>,
    ) -> Result<(), DropReason> {
        self.collect(rest, whole);
        if let Some(checksum) = checksum {
            finish(self.room, checksum);
        }
        let place = Place { port, network: self.encapsulation.underlay, why: Some(Why::Own) };
        let had_room = offers.offer(place, self.room.len(), |to| to.copy_from_slice(self.room));
        if had_room { Ok(()) } else { Err(DropReason::GatewayQueueFull) }
    }
}

/// A virtio-net header of a frame before which `len` bytes were put (virtio 1.2, 5.1.6.1).
#[inline]
fn behind(header: &[u8; 12], len: usize) -> [u8; 12] {
    let mut moved = *header;
    if header[0] & viaduct_switch::FLAG_NEEDS_CHECKSUM != 0 {
        let start = u16::from_le_bytes([header[6], header[7]]);
        let start = start.saturating_add(u16::try_from(len).unwrap_or(u16::MAX));
        moved[6..8].copy_from_slice(&start.to_le_bytes());
    }
    moved
}

/// The header of a frame whose outer checksum is left to be finished.
fn checksum_header(checksum: PartialChecksum) -> [u8; 12] {
    super::header_of(Claims { checksum: Some(checksum), gso: None }.to_raw(&[]))
}

/// Finishes the outer UDP checksum of a whole frame, whose field holds the pseudo-header's sum. It is never 0, which would mean that
/// there is none (RFC 768).
fn finish(frame: &mut [u8], checksum: PartialChecksum) {
    let start = usize::from(checksum.start);
    let total = sum(frame.get(start..).unwrap_or_default());
    let folded = (0..4).fold(total, |sum, _| (sum & 0xffff) + (sum >> 16));
    let field = match u16::try_from(!folded & 0xffff).unwrap_or(0) {
        0 => u16::MAX,
        field => field,
    };
    let at = start + usize::from(checksum.offset);
    if let Some(room) = frame.get_mut(at..at + 2) {
        room.copy_from_slice(&field.to_be_bytes());
    }
}

impl Delivered<'_> {
    /// Delivers a frame to a VTEP: by its uplink, behind outer headers.
    #[inline(never)]
    pub(super) fn tunnelled(
        &mut self,
        outlet: &Outlet,
        taker: &mut impl Taker,
        send: &Send,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let vtep = send.to;
        let (Some(policy), Some(frame)) = (self.policy, self.frames.get_mut(usize::from(send.slot))) else {
            return Ok(());
        };
        let network = policy.network_of(&frame.meta).ok_or(DropReason::NoNetwork)?;
        let work = &mut self.workshop.tunnels;
        let (encapsulation, is_whole) = work.way(self.switch, policy, (vtep, network), self.now)?;
        // What may reach its receiver by another way tells nothing about this one.
        let to = (!send.is_flooded()).then_some((vtep, network));
        let fitted = work.fit(frame, encapsulation.inner_mtu(), to);
        let claims = frame.meta.claims;
        frame.meta.claims = fitted.ok_or(DropReason::TunnelTooBig)?;
        let (source, length) = (frame.meta.source, frame.meta.length);
        if !is_whole && !self.switch.may_ask_gateway(source, self.now) {
            frame.meta.claims = claims;
            return Err(DropReason::GatewayRate);
        }
        let may_couple =
            is_whole && takes_trains(outlet.capabilities, &encapsulation) && taker.takes_trains();
        let delivered = if frame.meta.claims.gso.is_some() && may_couple {
            self.coupled(taker, send, outcome, &encapsulation)
        } else {
            self.behind(outlet.capabilities, taker, send, outcome, (&encapsulation, is_whole))
        };
        if let Some(frame) = self.frames.get_mut(usize::from(send.slot)) {
            frame.meta.claims = claims;
        }
        if delivered.is_ok() {
            count_sent(self.switch, vtep, length);
        }
        delivered
    }

    /// Delivers a super-frame in trains.
    fn coupled(
        &mut self,
        taker: &mut impl Taker,
        send: &Send,
        outcome: &mut Outcome,
        encapsulation: &Encapsulation,
    ) -> Result<(), DropReason> {
        let Some(frame) = self.frames.get(usize::from(send.slot)) else { return Ok(()) };
        let inside = self.workshop.tunnels.inside(frame.head.bytes());
        let mut room = self.workshop.tunnels.take_room();
        let coupled = Coupled::default();
        let mut coupling = Coupling { taker, encapsulation, inside, room: &mut room, coupled };
        // An outer checksum covers what is inside, so that nothing may be left to be done there.
        let delivered = self.frame(&Capabilities::default(), &mut coupling, send, outcome);
        let delivered = delivered.and_then(|()| coupling.depart(outcome));
        self.workshop.tunnels.give_back(room);
        delivered
    }

    /// Delivers a frame, or what it is cut into, behind outer headers each.
    #[inline]
    fn behind(
        &mut self,
        uplink: Capabilities,
        taker: &mut impl Taker,
        send: &Send,
        outcome: &mut Outcome,
        (encapsulation, is_whole): (&Encapsulation, bool),
    ) -> Result<(), DropReason> {
        let Some(frame) = self.frames.get(usize::from(send.slot)) else { return Ok(()) };
        let work = &mut self.workshop.tunnels;
        let (source, inside) = (frame.meta.source, work.inside(frame.head.bytes()));
        let (mut room, offers) = (work.take_room(), (!is_whole).then(|| Arc::clone(&work.offers)));
        let receiver = tunnel_capabilities(uplink, encapsulation.has_checksum() || !is_whole);
        let mut taker = Encapsulating {
            taker,
            encapsulation,
            inside,
            room: &mut room,
            takes_checksum: uplink.checksum,
            instead: offers.as_deref().map(|offers| (offers, source)),
        };
        let delivered = self.frame(&receiver, &mut taker, send, outcome);
        self.workshop.tunnels.give_back(room);
        delivered
    }
}

/// Whether an uplink takes a tunnel's datagrams as trains.
fn takes_trains(uplink: Capabilities, encapsulation: &Encapsulation) -> bool {
    let takes_udp = if encapsulation.is_v4() { uplink.uso4 } else { uplink.uso6 };
    uplink.checksum && takes_udp && encapsulation.takes_trains()
}

/// The way out of the uplink by which frames to `vtep` leave; `None`: it is no VTEP, or the uplink is away.
pub(in crate::dataplane) fn uplink_of<'o>(
    switch: &Switch,
    policy: &Policy,
    outlets: &'o [Option<Arc<Outlet>>],
    vtep: PortIndex,
) -> Option<&'o Arc<Outlet>> {
    let uplink = switch.uplink_of(policy, vtep)?;
    outlets.get(uplink.get())?.as_ref()
}

/// Counts a frame that left by a tunnel, at the VTEP to which it went.
pub(in crate::dataplane) fn count_sent(switch: &Switch, vtep: PortIndex, length: u32) {
    let mut sent = viaduct_switch::Volume::default();
    sent.add(length);
    switch.counters().port(vtep).add_sent(sent);
}
