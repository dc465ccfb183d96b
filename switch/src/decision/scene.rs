//! Where and when frames are decided about: what holds for all of a burst.

use crate::drops::DropReason;
use crate::fdb::{Fdb, Key, Seen};
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::policy::{Gateway, Membership, Policy, PortPolicy};

/// What is the same for all frames of a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) fdb: &'a Fdb,
    pub(crate) now_s: u32,
    pub(crate) source: PortIndex,
    pub(crate) port: Option<&'a PortPolicy>,
    /// Whether they came by a tunnel.
    pub(crate) is_from_vtep: bool,
}

impl<'a> Scene<'a> {
    /// Where and when frames enter at `source`.
    #[inline]
    pub(crate) fn new(policy: &'a Policy, fdb: &'a Fdb, now_s: u32, source: PortIndex) -> Self {
        let port = policy.port(source);
        let is_from_vtep = port.is_some_and(|port| matches!(port.membership, Membership::Vtep(_)));
        Self { policy, fdb, now_s, source, port, is_from_vtep }
    }

    /// The gateway of a frame's network, unless the frame is its own.
    #[cold]
    pub(super) fn gateway(
        &self,
        network: Result<NetworkIndex, DropReason>,
    ) -> Option<(NetworkIndex, Gateway)> {
        let network = network.ok()?;
        let gateway = self.policy.network(network)?.gateway()?;
        (gateway.port != self.source).then_some((network, gateway))
    }

    /// A frame's network, if it suppresses ARP and neighbour discovery.
    #[cold]
    pub(super) fn suppressing(&self, network: Result<NetworkIndex, DropReason>) -> Option<NetworkIndex> {
        network
            .ok()
            .filter(|network| self.policy.network(*network).is_some_and(|network| network.suppresses()))
    }

    /// What [`super::Recording::who_is_here`] says; whether the address is known at all, and what tells later that this changed.
    #[cold]
    pub(super) fn who_is_here(
        &self,
        network: NetworkIndex,
        mac: MacAddress,
        fresh_s: u32,
    ) -> (Seen, bool, Option<bool>) {
        let (seen, value) = self.fdb.look_up(Key::new(network, mac));
        let known = value.and_then(|value| Some((value.port()?, value.age_s(self.now_s))));
        let fresh = known.filter(|(port, age_s)| *age_s < fresh_s && !self.policy.is_vtep(*port));
        let here = fresh.filter(|(port, _)| self.policy.is_member(*port, network)).map(|(port, _)| {
            let guard = self.policy.port(port).and_then(|port| port.guard.as_deref());
            guard.is_some_and(|guard| guard.has_mac(mac))
        });
        (seen, known.is_some(), here)
    }

    #[cold]
    pub(super) fn learns_from_vteps(&self, network: NetworkIndex) -> bool {
        let segment = self.policy.tunnels().and_then(|tunnels| tunnels.segment(network));
        segment.is_some_and(|(_, segment)| segment.learns)
    }

    /// The ports to which what is for all stations of `network` goes. The frame's own is among them, unless it is a VTEP: of what came
    /// by a tunnel, none that are (split horizon).
    #[inline]
    pub(crate) fn peers(&self, network: NetworkIndex) -> &[PortIndex] {
        match self.policy.network(network) {
            Some(network) if self.is_from_vtep => network.locals(),
            Some(network) => network.members(),
            None => &[],
        }
    }

    /// The port in `network` where `mac` is known to be, and what tells later that this changed, for who decides about frames
    /// of one second only.
    #[inline(never)]
    pub(crate) fn station(&self, network: NetworkIndex, mac: MacAddress) -> Option<(PortIndex, Seen)> {
        let (seen, value) = self.fdb.look_up(Key::new(network, mac));
        let value = value?;
        let port = value.port()?;
        let ageing_s = self.policy.network(network)?.ageing_s();
        let is_valid = value.age_s(self.now_s) <= ageing_s && self.policy.is_member(port, network);
        is_valid.then_some((port, seen))
    }
}
