//! What becomes of packets of IPv6 whose prefixes are translated (RFC 6296): nothing is remembered of them.

use super::compiled::Nat;
use super::plan::Translator;
use super::prefix::PrefixTranslation;
use crate::drops::DropReason;
use crate::ids::NetworkIndex;
use crate::packet::{Address, Packet};
use crate::router::{Arrival, Hop, Way, Why};

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Prefixed {
    /// It keeps its addresses.
    Plain,
    /// It goes on with others.
    Leave {
        /// The next station.
        hop: Hop,
        /// The packet's addresses, source first, as the stations of the inside networks see them: what connections and rules
        /// rely on.
        inner: [Address; 2],
        /// Those with which it leaves.
        leaving: [Address; 2],
    },
    /// The gateway has to see it as it came in.
    Gateway(Why),
    /// It does not go on.
    Drop(DropReason),
}

impl Nat {
    /// The prefix by which a packet that came in in `network` appears outside, or came from there.
    fn prefix(
        &self,
        is_meant: impl Fn(&PrefixTranslation) -> Option<Address>,
    ) -> Option<(&PrefixTranslation, Address)> {
        self.prefixes().iter().find_map(|prefix| Some((prefix, is_meant(prefix)?)))
    }

    /// The outside of `network`: itself, if it is none's inside.
    fn outside_of(&self, network: NetworkIndex) -> NetworkIndex {
        self.prefixes()
            .iter()
            .find(|prefix| prefix.inside == network)
            .map_or(network, |prefix| prefix.outside)
    }

    /// An address that a quoted packet has, as a station of `network` or of the outside sees it.
    pub(crate) fn quoted_out(&self, network: NetworkIndex, address: Address) -> Address {
        let out = self.prefix(|prefix| (prefix.inside == network).then(|| prefix.out(address)).flatten());
        out.map_or(address, |(_, out)| out)
    }
}

impl Translator<'_> {
    /// Whether packets of IPv6 may be translated that come in in `network`.
    #[inline]
    pub(crate) fn concerns_prefixes(&self, packet: &Packet) -> bool {
        !packet.source.is_v4() && !self.nat.prefixes().is_empty()
    }

    /// What becomes of a packet of IPv6.
    pub(crate) fn plan_prefixes(&self, arrival: &Arrival<'_>, now_s: u32) -> Prefixed {
        let Arrival { network, packet, .. } = *arrival;
        let interface = match self.routing.admit(arrival) {
            Ok(interface) => interface,
            Err(reason) => return Prefixed::Drop(reason),
        };
        let outside = self.nat.outside_of(network);
        let target = self
            .nat
            .prefix(|prefix| (prefix.outside == outside).then(|| prefix.back(packet.destination)).flatten());
        if interface.has(packet.destination) {
            return Prefixed::Gateway(Why::Local);
        }
        let (of, destination) =
            target.map_or((network, packet.destination), |(prefix, station)| (prefix.inside, station));
        let hop = match self.routing.lead(arrival, (of, destination), self.neighbours, now_s) {
            Way::To(hop) => hop,
            Way::Gateway(why) => return Prefixed::Gateway(why),
            Way::Drop(reason) => return Prefixed::Drop(reason),
        };
        let is_hidden = |prefix: &PrefixTranslation| {
            prefix.inside == hop.network
                && prefix.outside == network
                && prefix.inner.contains(packet.destination.into())
        };
        if target.is_none() && self.nat.prefixes().iter().any(is_hidden) {
            return Prefixed::Drop(DropReason::NatUnsolicited);
        }
        let source = self.nat.prefix(|prefix| {
            let leaves = prefix.outside == hop.network || target.is_some();
            (prefix.inside == network && leaves).then(|| prefix.out(packet.source)).flatten()
        });
        if target.is_none() && source.is_none() {
            return Prefixed::Plain;
        }
        let leaving = source.map_or(packet.source, |(_, address)| address);
        let inner = [packet.source, destination];
        Prefixed::Leave { hop, inner, leaving: [leaving, destination] }
    }
}
