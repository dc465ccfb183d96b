//! Connections that end before their time: who gives way to a new one, and what ending takes. Everything under a shard's lock.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;

use super::open::Opening;
use super::reasons::Turnover;
use super::shard::{Ahead, EVICTIONS_AHEAD, Shard};
use super::state::Word;
use super::{Conntrack, Direction};
use crate::ids::PortIndex;
use crate::nat::MappingId;

/// Entries that are looked at for one that may give way: under a flood most may, so that the first ones will do.
const EVICTION_PROBES: u32 = 32;

/// Of how many that may give way the one is taken whose port holds most.
const EVICTION_CANDIDATES: usize = 8;

/// A connection as its holder's bounds count it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Holding {
    pub(super) port: PortIndex,
    is_embryonic: bool,
}

impl Holding {
    /// That of a connection in this state.
    pub(super) fn new(port: PortIndex, word: Word) -> Self {
        Self { port, is_embryonic: !word.is_assured() }
    }
}

impl Conntrack {
    /// A connection that may give way: of this port itself, or, unless that is full, of one that holds more. The shard's
    /// connections are asked in turn, so that the oldest go first, and then the new one's neighbours. The first few are compared:
    /// that of the port with most gives way. Who is known to have most needs no comparison.
    pub(super) fn victim(&self, shard: &mut Shard, opening: &Opening<'_>, own_only: bool) -> Option<u32> {
        let own = self.held(opening.port).0;
        let (first, entries, cursor) = (shard.first, shard.entries, shard.cursor);
        let holder = |number: u32| {
            let word = self.backs[number as usize].word();
            if !word.is_live() || !word.may_give_way() {
                return None;
            }
            let port = self.fronts[number as usize].port()?;
            let held = self.held(port).0;
            (port == opening.port || (!own_only && held > own)).then_some((held, number, port))
        };
        let (mut probes, mut next) = (0, cursor);
        let in_turn = (0..EVICTION_PROBES).map_while(|_| {
            let live = shard.live.next(next)?;
            (probes, next) = (probes + 1, live + 1);
            Some(first + live)
        });
        let neighbours = self.index.neighbours(self.index.place(opening.hashes[0]));
        let ours = neighbours.filter(|number| (first..first + entries).contains(number));
        let mut victim = None;
        for candidate in in_turn.chain(ours).filter_map(holder).take(EVICTION_CANDIDATES) {
            victim = victim.max(Some(candidate));
            if own_only || Some(candidate.2) == shard.richest {
                break;
            }
        }
        shard.cursor = next;
        self.fetch_next(shard, probes);
        let (held, number, port) = victim?;
        if shard.richest.is_none_or(|richest| held > self.held(richest).0) {
            shard.richest = Some(port);
        }
        Some(number)
    }

    /// Finds out where the next few entries in turn stand in the index and loads that, for all of them at once, so that the waits for
    /// memory overlap; `looked_at` of those that were loaded are done.
    fn fetch_next(&self, shard: &mut Shard, looked_at: u32) {
        shard.fetched = shard.fetched.saturating_sub(looked_at);
        if shard.fetched > 0 {
            return;
        }
        let mut from = shard.cursor;
        for at in 0..shard.ahead.len() {
            let Some(live) = shard.live.next(from) else { return };
            from = live + 1;
            shard.ahead[at] = self.ahead_of(shard.first + live);
        }
        shard.fetched = u32::try_from(shard.ahead.len()).unwrap_or(0);
        black_box(shard.ahead.iter().flat_map(|ahead| ahead.hashes).fold(0, |sum, hash| {
            // Nearly all stand in their first bucket.
            sum ^ self.index.touch(self.index.place(hash), 0)
        }));
        if let Some(mappings) = self.mappings.get() {
            let mut ends = [None; 2 * EVICTIONS_AHEAD];
            let translated = shard.ahead.iter().flat_map(|ahead| self.translated_ends(ahead.number));
            ends.iter_mut().zip(translated).for_each(|(end, of)| *end = of);
            mappings.look_ahead_to_end(&ends);
        }
    }

    /// The mappings by which the entry's connection is translated, and the peer of each as the outside sees it.
    fn translated_ends(&self, number: u32) -> [Option<(MappingId, Ipv4Addr)>; 2] {
        let front = self.entry(number).front;
        let names = front.mappings();
        if names == [0; 2] {
            return [None; 2];
        }
        let of = |way: Direction| {
            let peer = front.tuple(way)?.destination.to_v4()?;
            Some((MappingId::from_bits(names[way as usize])?, peer))
        };
        [Direction::Original, Direction::Reply].map(of)
    }

    /// What ending this entry's connection will ask.
    fn ahead_of(&self, number: u32) -> Ahead {
        let entry = self.entry(number);
        let hash = |way| entry.front.tuple(way).map_or(0, |tuple| tuple.hash(&self.hasher));
        let hashes = [Direction::Original, Direction::Reply].map(hash);
        Ahead { number, life: entry.back.word().life(), hashes }
    }

    /// Ends the connection of a shard's entry, which is then the caller's; tells by whom it is still said to be held.
    pub(super) fn displace(&self, shard: &mut Shard, number: u32) -> Option<Holding> {
        Turnover::add_one(&self.turnover[shard.number].evicted);
        self.take_out(shard, number)
    }

    /// Has nobody find the connection of a shard's entry any more, and gives back what it had beside that; its holder is still said to
    /// hold it.
    pub(super) fn take_out(&self, shard: &Shard, number: u32) -> Option<Holding> {
        let entry = self.entry(number);
        let word = entry.back.end();
        let known = shard.ahead.iter().find(|ahead| ahead.number == number && ahead.life == word.life());
        // Nothing that it is found by changes in a connection's life.
        let hashes = known.map_or_else(|| self.ahead_of(number).hashes, |ahead| ahead.hashes);
        for (hash, direction) in hashes.into_iter().zip([Direction::Original, Direction::Reply]) {
            self.index.remove(self.index.place(hash), number, direction);
        }
        self.give_back(number);
        entry.front.port().map(|port| Holding::new(port, word))
    }

    /// Counts a connection for the one that holds it now, and no longer for the one that held another in its place.
    pub(super) fn hand_over(&self, before: Option<Holding>, after: Option<Holding>) {
        let (before, after) = match (before, after) {
            (Some(one), Some(other)) if one == other => return,
            pair => pair,
        };
        if let Some(Holding { port, is_embryonic }) = after {
            let held = &self.held[port.get()];
            held.all.fetch_add(1, Relaxed);
            held.embryonic.fetch_add(is_embryonic.into(), Relaxed);
        }
        if let Some(Holding { port, is_embryonic }) = before {
            let held = &self.held[port.get()];
            held.all.fetch_sub(1, Relaxed);
            held.embryonic.fetch_sub(is_embryonic.into(), Relaxed);
        }
    }

    /// Gives back the mappings that translated the packets of a connection that has ended. Each knows its peer as the outside sees
    /// that.
    fn give_back(&self, number: u32) {
        let Some(mappings) = self.mappings.get() else { return };
        for (id, peer) in self.translated_ends(number).into_iter().flatten() {
            mappings.release(id, peer);
        }
    }
}
