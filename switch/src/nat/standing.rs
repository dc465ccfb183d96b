//! Whether connections may go on that were opened under an earlier policy.

use std::net::Ipv4Addr;

use super::plan::Translator;
use super::store::is_in;
use crate::conntrack::Tuple;
use crate::ids::NetworkIndex;

impl Translator<'_> {
    /// Whether what NAT is to do now still translates a connection as it was opened.
    pub(crate) fn stands(&self, [original, reply]: [Tuple; 2]) -> bool {
        let leaving = reply.reversed();
        let is_target = leaving.destination == original.destination || self.leads(&original, &leaving);
        let is_source = leaving.source == original.source || self.hides(&original, &leaving);
        is_target && is_source
    }

    /// Whether what is sent to the connection's first destination goes to its second one.
    fn leads(&self, original: &Tuple, leaving: &Tuple) -> bool {
        let outside = self.nat.source(original.zone).map_or(original.zone, |source| source.outside);
        let (Some(address), Some(station)) = (original.destination.to_v4(), leaving.destination.to_v4())
        else {
            return false;
        };
        let port = original.destination_port;
        match self.nat.target(outside, address, (original.protocol, port)) {
            Some(target) => {
                target.address == station && target.port.is_none_or(|port| port == leaving.destination_port)
            }
            // By a mapping.
            None => self.may_appear(leaving.zone, station, outside, address),
        }
    }

    /// Whether the connection's sender may still appear as it does.
    fn hides(&self, original: &Tuple, leaving: &Tuple) -> bool {
        let Some(source) = self.nat.source(original.zone) else { return false };
        let (Some(station), Some(address)) = (original.source.to_v4(), leaving.source.to_v4()) else {
            return false;
        };
        match self.nat.floating(original.zone, station, source.outside) {
            Some(floating) => floating == address,
            None => self.may_appear(original.zone, station, source.outside, address),
        }
    }

    /// Whether what would have to translate the connection as it was opened may still come: its outside addresses are nobody's.
    pub(crate) fn awaits(&self, [original, reply]: [Tuple; 2]) -> bool {
        let leaving = reply.reversed();
        let source = self.nat.source(original.zone);
        let is_missing = |outside: NetworkIndex, address: crate::packet::Address| {
            address.to_v4().is_some_and(|address| !self.nat.has_outside(outside, address))
        };
        let is_source_missing = leaving.source != original.source
            && source.is_none_or(|source| is_missing(source.outside, leaving.source));
        let outside = source.map_or(original.zone, |source| source.outside);
        is_source_missing
            || leaving.destination != original.destination && is_missing(outside, original.destination)
    }

    /// Whether a station may appear with this address by a mapping.
    pub(super) fn may_appear(
        &self,
        inside: NetworkIndex,
        station: Ipv4Addr,
        outside: NetworkIndex,
        address: Ipv4Addr,
    ) -> bool {
        let source = self.nat.source(inside).filter(|source| source.outside == outside);
        let pool = source.and_then(|source| source.choose(station));
        pool.is_some_and(|(_, pool)| is_in(pool, address))
    }
}
