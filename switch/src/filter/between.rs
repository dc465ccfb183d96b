//! Packets of connections for which all vouch who are asked, as by far the most are: known by one look at their entry.

use super::Filter;
use crate::conntrack::{Hint, Vouched, Vouching};
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Packet, Plain};
use crate::security::{SecurityPolicy, holds_since, may_be_essential};
use crate::time::Nanos;

/// What it takes for a connection's packets to go from one port to another of a network: the same for all of them, as long as the rules are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    vouching: Vouching,
    /// Since which generations judgements hold about those ports that are asked.
    changed: [u32; 2],
}

impl Between {
    /// For packets that enter by the first of `ports` in `network` and leave by the second; `None`: neither is asked.
    pub(crate) fn new(
        security: &SecurityPolicy,
        network: NetworkIndex,
        ports: [PortIndex; 2],
    ) -> Option<Self> {
        let asked = ports.map(|port| security.port(port)?.groups().map(|_| port));
        let changed = match asked.map(|port| port.map(|port| security.changed(port))) {
            [None, None] => return None,
            [Some(one), None] | [None, Some(one)] => [one; 2],
            [Some(one), Some(other)] => [one, other],
        };
        Some(Self { vouching: Vouching::new(network, asked), changed })
    }

    #[inline(always)]
    fn holds_for(&self, vouched: &Vouched<'_>) -> bool {
        let [one, other] = self.changed;
        holds_since(one, vouched.generation) && holds_since(other, vouched.generation)
    }
}

impl Filter {
    /// The connection of a packet for which all sides that are asked vouch. What [`Filter::assess`] says of
    /// such a packet, a [`Passage::Follows`](super::Passage::Follows), found by one look at its
    /// connection; `None`: that has to be asked. Changes nothing. Segments of TCP may still lie outside of their windows, which
    /// [`Conntrack::follows_vouched`] says.
    ///
    /// [`Conntrack::follows_vouched`]: crate::conntrack::Conntrack::follows_vouched
    #[inline]
    pub(crate) fn vouched(
        &self,
        between: &Between,
        packet: &Packet,
        hint: &Hint,
        now: Nanos,
    ) -> Option<Vouched<'_>> {
        // Fragments may have to wait, and what is essential passes by itself.
        if packet.fragment.is_some() || may_be_essential(packet) {
            return None;
        }
        self.conntrack.vouched(&between.vouching, packet, hint, now).filter(|found| between.holds_for(found))
    }

    /// The same for a plain packet.
    #[inline(always)]
    pub(crate) fn vouched_plain(
        &self,
        between: &Between,
        plain: &Plain,
        hint: &Hint,
        now: Nanos,
    ) -> Option<Vouched<'_>> {
        if plain.may_be_dhcp() {
            return None;
        }
        let found = self.conntrack.vouched_plain(&between.vouching, plain, hint, now);
        found.filter(|found| between.holds_for(found))
    }
}
