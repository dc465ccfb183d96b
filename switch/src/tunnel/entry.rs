//! Frames that come by tunnels: what was put before them is taken off.

use std::ops::Range;

use super::endpoint::{EndpointSettings, SegmentSettings};
use super::outer::Outer;
use super::train::Train;
use super::{RecentVteps, Tunnels, Vteps};
use crate::drops::DropReason;
use crate::frame::{ETHERNET, Frame, TakenTag};
use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::meter::dscp::{rewrite, traffic_class};
use crate::policy::Policy;
use crate::router::is_nobodys;
use crate::spanning_tree::PortState;
use crate::vlan::{TYPE_FIELD, is_tag_at};

/// What a frame that came in by an uplink is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// None that came by a tunnel.
    Plain,
    /// One that did: its outer headers are off, and its source is the VTEP from which it came. Its head is shorter by these bytes
    /// than it could be.
    Inner(u16),
    /// One that is to be dropped.
    Refused(DropReason),
}

/// The outer headers' longest length that is looked for: what stands in a head before a whole inner Ethernet header.
const INNER_MIN: usize = ETHERNET as usize;

/// Which of our ends a frame is for.
struct Addressed<'a> {
    endpoint: &'a EndpointSettings,
    /// The network in which it came.
    underlay: NetworkIndex,
    outer: Outer,
    /// Where the outer IP header begins.
    network_at: usize,
    /// Where the tunnel's header and the inner frame stand.
    tunnel: Range<usize>,
}

/// A frame of a tunnel that is for one of our ends.
struct Arrival<'a> {
    endpoint: &'a EndpointSettings,
    segment: &'a SegmentSettings,
    outer: Outer,
    /// Where the inner frame stands.
    inner: Range<usize>,
}

impl Tunnels {
    /// Takes the outer headers off a frame that came by a tunnel to one of the switch's ends at its port. What is wrong with one that is
    /// for such an end is told; all other frames are left as they are.
    #[inline]
    pub(crate) fn admit<P>(
        &self,
        policy: &Policy,
        (vteps, recent): (&Vteps, &mut RecentVteps),
        frame: &mut Frame<P>,
        now_s: u32,
    ) -> Admission {
        let arrival = match self.read(policy, frame) {
            Ok(Some(arrival)) => arrival,
            Ok(None) => return Admission::Plain,
            Err(reason) => return Admission::Refused(reason),
        };
        // Nobody gets a place for what is no good.
        let admitted = arrival.unwrap(frame).and_then(|taken| {
            let key = (arrival.endpoint.index, arrival.outer.source);
            frame.meta.source = vteps.hear(recent, key, now_s)?;
            Ok(taken)
        });
        match admitted {
            Ok(taken) => Admission::Inner(taken),
            Err(reason) => Admission::Refused(reason),
        }
    }

    /// The train that a frame is, if it is one for an end of ours; what is wrong with one is told.
    pub(crate) fn train<P>(&self, policy: &Policy, frame: &Frame<P>) -> Option<Result<Train, DropReason>> {
        let addressed = self.addressed(policy, frame)?;
        Train::read(frame, (&addressed.outer, addressed.network_at), addressed.endpoint)
    }

    /// For which of our ends a frame is; `None`: for none.
    fn addressed<P>(&self, policy: &Policy, frame: &Frame<P>) -> Option<Addressed<'_>> {
        let head = frame.head.bytes();
        let home = policy.ingress(frame.meta.source).classify(head).ok()?;
        let gateway = policy.network(home.network).and_then(|network| network.gateway());
        let is_own = |mac: MacAddress| gateway.is_some_and(|gateway| gateway.mac == mac) || mac.is_group();
        let is_for_us = head.first_chunk::<6>().is_some_and(|mac| is_own(MacAddress(*mac)));
        if !is_for_us {
            return None;
        }
        let (underlay, network_at) = (home.network, TYPE_FIELD + home.tags + 2);
        let outer = Outer::read(head, network_at)?;
        let mut ends = self.endpoints_at(frame.meta.source);
        let (endpoint, tunnel) = ends.find_map(|end| Some((end, for_end(end, underlay, head, &outer)?)))?;
        Some(Addressed { endpoint, underlay, outer, network_at, tunnel })
    }

    /// What a frame of a tunnel says; `None`: it is for none of our ends.
    fn read<P>(&self, policy: &Policy, frame: &Frame<P>) -> Result<Option<Arrival<'_>>, DropReason> {
        let Some(Addressed { endpoint, underlay, outer, tunnel, .. }) = self.addressed(policy, frame) else {
            return Ok(None);
        };
        let head = frame.head.bytes();
        if policy.state(frame.meta.source, underlay) != Some(PortState::Forwarding) {
            return Err(DropReason::StpBlocked);
        }
        if u32::try_from(outer.end_at).is_ok_and(|end| end > frame.meta.length) {
            return Err(DropReason::TunnelTruncated);
        }
        if is_nobodys(outer.source) || outer.source == endpoint.local {
            return Err(DropReason::TunnelUnknownVtep);
        }
        let found = endpoint.kind.read(head.get(tunnel.start..).unwrap_or_default())?;
        let segment = endpoint.segment(found.id).ok_or(DropReason::TunnelUnknownId)?;
        if !segment.takes_from(outer.source) {
            return Err(DropReason::TunnelUnknownVtep);
        }
        let inner = tunnel.start + found.len..tunnel.end;
        if inner.start + INNER_MIN > inner.end.min(head.len()) {
            return Err(DropReason::TunnelTruncated);
        }
        Ok(Some(Arrival { endpoint, segment, outer, inner }))
    }
}

/// Where the tunnel's header and the inner frame stand, if the packet is for this end.
fn for_end(
    end: &EndpointSettings,
    network: NetworkIndex,
    head: &[u8],
    outer: &Outer,
) -> Option<Range<usize>> {
    if end.underlay != network || outer.protocol != end.kind.protocol() || !end.takes(outer.destination) {
        return None;
    }
    if !end.kind.is_udp() {
        return Some(outer.transport_at..outer.end_at);
    }
    let udp = head.get(outer.transport_at..)?.first_chunk::<8>()?;
    let (port, length) = (u16::from_be_bytes([udp[2], udp[3]]), u16::from_be_bytes([udp[4], udp[5]]));
    // RFC 768: "the length in octets of this user datagram including this header". What follows it belongs to nobody.
    let end_at = outer.transport_at + usize::from(length);
    let fits = length >= 8 && end_at <= outer.end_at;
    (port == end.udp_port && fits).then_some(outer.transport_at + 8..end_at)
}

impl Arrival<'_> {
    /// Makes the frame what is inside; says how many bytes were taken off.
    fn unwrap<P>(&self, frame: &mut Frame<P>) -> Result<u16, DropReason> {
        let taken = u16::try_from(self.inner.start).map_err(|_| DropReason::TunnelTruncated)?;
        let end = u32::try_from(self.inner.end).unwrap_or(u32::MAX);
        frame.take_front(taken, end)?;
        note_congestion(frame.head.bytes_mut(), self.outer.ecn)?;
        if !self.segment.inner_tags && is_tag_at(frame.head.bytes(), TYPE_FIELD) {
            return Err(DropReason::VlanInnerTag);
        }
        frame.meta.tag = Some(TakenTag { network: self.segment.network, priority: None });
        Ok(taken)
    }
}

/// Tells the inner packet of congestion that the underlay met (RFC 6040, 4.2).
#[inline]
fn note_congestion(inner: &mut [u8], outer_ecn: u8) -> Result<(), DropReason> {
    const EXPERIENCED: u8 = 3;
    if outer_ecn != EXPERIENCED {
        return Ok(());
    }
    match traffic_class(inner).map(|class| class & EXPERIENCED) {
        // Inside it is said that the packet is to be dropped instead of marked.
        Some(0) => Err(DropReason::TunnelCongestion),
        Some(EXPERIENCED) | None => Ok(()),
        Some(_) => {
            rewrite(inner, |class| class | EXPERIENCED);
            Ok(())
        }
    }
}
