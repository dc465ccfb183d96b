//! Looking ahead: what opening and ending translated connections will read of the mappings, loaded for many of them at once, so that
//! the waits for memory overlap (see `conntrack/ahead.rs`). Nothing is changed.

use std::hint::black_box;
use std::net::Ipv4Addr;

use super::mappings::{Endpoint, MappingId};
use super::plan::Translator;
use super::settings::MappingBehavior;
use super::store::Store;
use crate::conntrack::{Hint, Tuple};
use crate::ids::NetworkIndex;
use crate::packet::number;

/// The most packets that are looked ahead for: a burst.
const AHEAD_MAX: usize = 64;

/// A packet that may open a connection by a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opener {
    pub(super) inside: Endpoint,
    pub(super) protocol: u8,
    /// To whom, as its sender sees it.
    pub(super) peer: (Ipv4Addr, u16),
    /// By what its mapping is found, and where that stands.
    pub(super) hash: u64,
    pub(super) slot: Option<u32>,
    /// What stands for its sender; `None`: nothing yet.
    pub(super) outside: Option<Endpoint>,
}

impl Opener {
    /// For a packet of this tuple; `None`: its translation is looked for otherwise.
    fn of(tuple: &Tuple) -> Option<Self> {
        let Tuple { zone: network, protocol, source_port: port, .. } = *tuple;
        if !matches!(protocol, number::TCP | number::UDP) {
            return None;
        }
        let inside = Endpoint { network, address: tuple.source.to_v4()?, port };
        let peer = (tuple.destination.to_v4()?, tuple.destination_port);
        Some(Self { inside, protocol, peer, hash: 0, slot: None, outside: None })
    }

    /// The packets that answer it, as they come in.
    fn answer(&self) -> Option<Tuple> {
        let (outside, (address, port)) = (self.outside?, self.peer);
        Some(Tuple {
            zone: outside.network,
            source: address.into(),
            destination: outside.address.into(),
            protocol: self.protocol,
            source_port: port,
            destination_port: outside.port,
        })
    }
}

impl Translator<'_> {
    /// Whether packets of `network` leave with the addresses of others.
    pub(crate) fn hides_stations(&self, network: NetworkIndex) -> bool {
        self.nat.source(network).is_some()
    }

    /// Loads what it takes to open connections for those of these packets of `network` whose hints tell of none: the mappings of their
    /// senders, and where their answers will be noted.
    pub(crate) fn look_ahead<'a>(
        &self,
        network: NetworkIndex,
        packets: impl Iterator<Item = (Tuple, &'a mut Hint)>,
    ) {
        let Some(source) = self.nat.source(network) else { return };
        let mut openers = [None; AHEAD_MAX];
        let new = packets.filter(|(_, hint)| hint.is_open());
        for (own, (tuple, _)) in openers.iter_mut().zip(new) {
            *own = Opener::of(&tuple);
        }
        let is_dependent = source.mapping == MappingBehavior::EndpointDependent;
        self.mappings.look_ahead(&mut openers, is_dependent);
        let answers = openers.iter().flatten().filter_map(Opener::answer);
        black_box(answers.fold(0, |sum, answer| sum ^ self.conntrack.touch_place(&answer)));
    }
}

impl Store {
    /// Finds the mappings of these packets, and loads what counts their connections. `is_dependent` says whether they depend on the peer.
    pub(super) fn look_ahead(&self, openers: &mut [Option<Opener>], is_dependent: bool) {
        black_box(openers.iter_mut().flatten().fold(0, |sum, opener| {
            let peer = is_dependent.then_some(opener.peer);
            opener.hash = self.hash_end(opener.inside, opener.protocol, peer);
            sum ^ self.touch_inside(opener.hash)
        }));
        for opener in openers.iter_mut().flatten() {
            let found = self.find_like(opener, is_dependent.then_some(opener.peer));
            opener.slot = found.map(|(slot, _)| slot);
            opener.outside = found.map(|(_, outside)| outside);
        }
        let counted = || openers.iter().flatten().filter_map(|opener| Some((opener.slot?, opener.peer.0)));
        self.touch_contacts(counted);
    }

    /// Loads what ending connections by these mappings, with these peers, will read.
    pub(super) fn look_ahead_to_end(&self, ends: &[Option<(MappingId, Ipv4Addr)>]) {
        let slots = || ends.iter().flatten().map(|(id, peer)| (id.slot, *peer));
        black_box(slots().fold(0, |sum, (slot, _)| {
            sum ^ self.entry(slot).map_or(0, |entry| entry.connections ^ entry.idle_s ^ entry.life)
        }));
        self.touch_contacts(slots);
    }
}
