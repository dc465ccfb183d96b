//! Opening and ending connections: everything under a shard's lock.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use super::entry::Entry;
use super::shard::{Shard, lock};
use super::state::{Class, Word};
use super::tcp::{self, Segment};
use super::tuple::Kind;
use super::{ConnectionId, Conntrack, Direction, Judged, Reference, Refused, Tuple};
use crate::counters::count;
use crate::ids::{NetworkIndex, PortIndex};
use crate::nat::MappingId;
use crate::packet::{Packet, Transport, number};
use crate::time::Nanos;

/// Entries that are looked at for one that may give way: under a flood most may, so that the first ones will do.
const EVICTION_PROBES: u32 = 32;

/// Of how many that may give way the one is taken whose port holds most.
const EVICTION_CANDIDATES: usize = 8;

/// Entries that will be next to give way whose places in the index are fetched at once.
const EVICTIONS_AHEAD: u32 = 8;

/// How long after its opening a connection comes up at the latest, to be asked anew when it ends: a state may have shortened
/// its time, which nobody tells the wheel.
const VISIT_S: u32 = 60;

/// The part of the table, one in so many entries, that is kept for ports with less than their share of it.
const RESERVE_DIVISOR: usize = 16;

/// Entries that are looked at before others may have the lock.
const SWEEP: usize = 64;

/// What tells the packets of a connection that is to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    /// Those of the packet and of its answers, as they come in.
    pub(crate) tuples: [Tuple; 2],
    /// The mappings by which source and destination are translated.
    pub(crate) mappings: [Option<MappingId>; 2],
}

impl Path {
    /// The packet's addresses and ports when it leaves.
    pub(crate) fn leaving(&self) -> Tuple {
        self.tuples[1].reversed()
    }
}

/// A connection to be opened.
struct Opening<'a> {
    path: &'a Path,
    hashes: [u64; 2],
    packet: &'a Packet,
    port: PortIndex,
    judged: Judged,
    now_s: u32,
}

impl Conntrack {
    /// Opens the connection of `packet`, which [`Conntrack::look_up`] called new, for `port`, where it entered, and notes
    /// that the policy of `generation` allowed it. If another worker was quicker, that one's connection is given.
    ///
    /// # Errors
    /// There is no room for it, or the packet may not open one; counted.
    pub fn open(
        &self,
        zone: NetworkIndex,
        packet: &Packet,
        port: PortIndex,
        generation: u32,
        now: Nanos,
    ) -> Result<Reference, Refused> {
        self.open_judged([zone; 2], packet, port, Judged { vouchers: [None; 2], generation }, now)
    }

    /// The same, noting whose rules vouch for it. Its answers come in the second of `zones`: another one if routers are between.
    ///
    /// # Errors
    /// As [`Conntrack::open`].
    pub fn open_judged(
        &self,
        zones: [NetworkIndex; 2],
        packet: &Packet,
        port: PortIndex,
        judged: Judged,
        now: Nanos,
    ) -> Result<Reference, Refused> {
        let [zone, other] = zones;
        let Ok(Kind::Flow(tuple)) = Tuple::of(zone, packet) else { return self.refused(Refused::NotNew) };
        let tuples = [tuple, Tuple { zone: other, ..tuple.reversed() }];
        let path = Path { tuples, mappings: [None; 2] };
        let opened = self.try_open(&path, packet, port, judged, now.seconds());
        opened.map(|(found, _)| found).or_else(|reason| self.refused(reason))
    }

    /// The same for a connection whose packets are translated on their way. Its mappings are given back when it ends; but if
    /// another worker was quicker, that one's connection is given, and they remain the caller's, as they do if there is an
    /// error. Says whether the connection is the caller's.
    ///
    /// # Errors
    /// As [`Conntrack::open`].
    pub(crate) fn open_translated(
        &self,
        path: &Path,
        packet: &Packet,
        port: PortIndex,
        judged: Judged,
        now: Nanos,
    ) -> Result<(Reference, bool), Refused> {
        let opened = self.try_open(path, packet, port, judged, now.seconds());
        opened.or_else(|reason| self.refused(reason))
    }

    fn refused<T>(&self, reason: Refused) -> Result<T, Refused> {
        count(&self.counters.refused[reason as usize]);
        Err(reason)
    }

    fn try_open(
        &self,
        path: &Path,
        packet: &Packet,
        port: PortIndex,
        judged: Judged,
        now_s: u32,
    ) -> Result<(Reference, bool), Refused> {
        if let Transport::Tcp(tcp) = &packet.transport {
            tcp::opens(tcp, self.limits.may_take_up).map_err(|_| Refused::NotNew)?;
        }
        let hashes = path.tuples.map(|tuple| tuple.hash(&self.hasher));
        let opening = Opening { path, hashes, packet, port, judged, now_s };
        // The sum is the same for both directions.
        let shard = self.shard_of(hashes);
        let mut shard = lock(shard);
        if let Some(found) = self.meet(&mut shard, &opening) {
            return Ok((found, false));
        }
        let entry = self.room(&mut shard, &opening)?;
        self.settle(&mut shard, entry, &opening).map(|found| (found, true))
    }

    pub(super) fn shard_of(&self, hashes: [u64; 2]) -> &Mutex<Shard> {
        let sum = (hashes[0].wrapping_add(hashes[1]) >> 20) % self.shards.len() as u64;
        &self.shards[usize::try_from(sum).unwrap_or(0)]
    }

    /// The connection that stands there already; an old one that is over makes room.
    fn meet(&self, shard: &mut Shard, opening: &Opening<'_>) -> Option<Reference> {
        let place = self.index.place(opening.hashes[0]);
        let (number, direction) = self.index.candidates(place).find(|&(number, direction)| {
            let entry = self.entry(number);
            entry.back.word().is_live() && entry.front.is(direction, &opening.path.tuples[0])
        })?;
        let back = &self.backs[number as usize];
        let word = back.word();
        if !word.is_spent() && !back.is_over(word, opening.now_s) {
            return Some(Reference { id: ConnectionId { entry: number, life: word.life() }, direction });
        }
        self.end(shard, number);
        count(&self.counters.closed);
        None
    }

    /// A free entry, or one whose connection gives way.
    fn room(&self, shard: &mut Shard, opening: &Opening<'_>) -> Result<u32, Refused> {
        let (all, embryonic) = self.held(opening.port);
        let is_full = all >= self.limits.per_port || embryonic >= self.limits.embryonic_per_port;
        let may_take = !is_full && self.may_take(shard, all);
        if may_take && let Some(entry) = shard.free.take() {
            return Ok(entry);
        }
        let victim = self.victim(shard, opening, is_full);
        let victim = victim.ok_or(if is_full { Refused::PortFull } else { Refused::TableFull })?;
        if self.fronts[victim as usize].port() != Some(opening.port) {
            count(&self.counters.evicted_of_others);
        }
        count(&self.counters.evicted);
        self.take_out(shard, victim);
        Ok(victim)
    }

    /// Whether a port that holds `held` connections may have one of those entries of the shard that are free: as long as it
    /// has less than its share of the reserve, or less than is free beyond that. So what a port may have falls as the table
    /// fills (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998), and
    /// what all others hold together never takes the share of one that has less. The shards fill alike.
    pub(super) fn may_take(&self, shard: &Shard, held: usize) -> bool {
        let ports = self.ports.load(Relaxed) as usize;
        let reserve = self.limits.connections / RESERVE_DIVISOR;
        let free = shard.free.count * self.shards.len();
        ports == 0 || held < reserve / ports || held < free.saturating_sub(reserve)
    }

    /// A connection that may give way: of this port itself, or, unless that is full, of one that holds more. The shard's
    /// connections are asked in turn, so that the oldest go first, and then the new one's neighbours. The first few are compared:
    /// that of the port with most gives way. Who is known to have most needs no comparison.
    fn victim(&self, shard: &mut Shard, opening: &Opening<'_>, own_only: bool) -> Option<u32> {
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

    /// Loads what ending the next few entries in turn will read, for all of them at once, so that the waits for memory overlap;
    /// `looked_at` of those that were loaded are done.
    fn fetch_next(&self, shard: &mut Shard, looked_at: u32) {
        shard.fetched = shard.fetched.saturating_sub(looked_at);
        if shard.fetched > 0 {
            return;
        }
        shard.fetched = EVICTIONS_AHEAD;
        let mut from = shard.cursor;
        let mut next = [None; EVICTIONS_AHEAD as usize];
        for number in &mut next {
            let Some(live) = shard.live.next(from) else { break };
            from = live + 1;
            *number = Some(shard.first + live);
        }
        black_box(next.iter().flatten().fold(0, |sum, number| sum ^ self.touch_places(*number)));
        if let Some(mappings) = self.mappings.get() {
            let mut ends = [None; 2 * EVICTIONS_AHEAD as usize];
            let translated = next.iter().flatten().flat_map(|number| self.translated_ends(*number));
            ends.iter_mut().zip(translated).for_each(|(end, of)| *end = of);
            mappings.look_ahead_to_end(&ends);
        }
    }

    /// The mappings by which the entry's connection is translated, and the peer of each as the outside sees it.
    fn translated_ends(&self, number: u32) -> [Option<(MappingId, Ipv4Addr)>; 2] {
        let front = &self.fronts[number as usize];
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

    /// Loads where the entry's connection stands in the index.
    fn touch_places(&self, number: u32) -> u32 {
        let tuples =
            [Direction::Original, Direction::Reply].map(|way| self.fronts[number as usize].tuple(way));
        let places = tuples.into_iter().flatten().map(|tuple| self.index.place(tuple.hash(&self.hasher)));
        places.fold(0, |sum, place| sum ^ self.index.touch(place, 0) ^ self.index.touch(place, 1))
    }

    /// Gives the entry to the connection.
    fn settle(&self, shard: &mut Shard, number: u32, opening: &Opening<'_>) -> Result<Reference, Refused> {
        let entry = self.entry(number);
        let [original, reply] = &opening.path.tuples;
        let mappings = opening.path.mappings.map(|mapping| mapping.map_or(0, MappingId::to_bits));
        entry.front.fill(original, reply, opening.port, mappings);
        entry.front.set_vouchers(opening.judged.vouchers);
        entry.back.fill(opening.judged.generation, opening.now_s);
        let word = self.first_word(entry, opening);
        self.enter(shard, number, opening.hashes, (word, opening.port), opening.now_s)?;
        count(&self.counters.opened);
        let id = ConnectionId { entry: number, life: word.life() };
        Ok(Reference { id, direction: Direction::Original })
    }

    /// Lets others find the connection that the entry was filled with, which `port` holds.
    pub(super) fn enter(
        &self,
        shard: &mut Shard,
        number: u32,
        hashes: [u64; 2],
        (word, port): (Word, PortIndex),
        now_s: u32,
    ) -> Result<(), Refused> {
        let back = &self.backs[number as usize];
        let places = hashes.map(|hash| self.index.place(hash));
        for (place, direction) in places.into_iter().zip([Direction::Original, Direction::Reply]) {
            if !self.index.insert(place, number, direction) {
                self.index.remove(places[0], number, Direction::Original);
                shard.free.give(number);
                return Err(Refused::Crowded);
            }
        }
        let held = &self.held[port.get()];
        held.all.fetch_add(1, Relaxed);
        if !word.is_assured() {
            held.embryonic.fetch_add(1, Relaxed);
        }
        back.publish(word);
        let due = now_s.saturating_add(word.timeout_s().min(VISIT_S)).saturating_add(1);
        shard.wheel.insert(number - shard.first, due.into());
        shard.live.insert(number - shard.first);
        Ok(())
    }

    /// The state after the first packet, with what a TCP segment said noted in the entry.
    fn first_word(&self, entry: Entry<'_>, opening: &Opening<'_>) -> Word {
        let class = match (opening.packet.transport, opening.packet.protocol) {
            (Transport::Tcp(_), _) => Class::Tcp,
            (Transport::Ports(_), _) => Class::Datagram,
            (_, number::ICMP | number::ICMPV6) => Class::Query,
            _ => Class::Other,
        };
        let Transport::Tcp(tcp) = &opening.packet.transport else {
            return entry.back.word().born(class, false);
        };
        let is_midst = !tcp::is_first(tcp);
        // A SYN that is cut is as any other, and not taken for open: that takes an answer. What it carries behind the first
        // fragment is not known, so that no answer may acknowledge it.
        let born = entry.back.word().born(class, is_midst);
        let scale = if is_midst { None } else { tcp.syn.window_scale };
        let word = born.with_syn(Direction::Original, scale);
        let from = Direction::Original;
        Segment { tcp, from, word, entry, is_cut: false }.begin();
        if is_midst { word.with_syn(Direction::Reply, None).with_ack(from) } else { word }
    }

    /// Ends a connection of the shard and gives its entry back.
    fn end(&self, shard: &mut Shard, number: u32) {
        self.take_out(shard, number);
        shard.free.give(number);
    }

    /// Ends a connection of the shard, whose entry is then the caller's.
    fn take_out(&self, shard: &mut Shard, number: u32) {
        let entry = self.entry(number);
        let word = entry.back.end();
        for direction in [Direction::Original, Direction::Reply] {
            if let Some(tuple) = entry.front.tuple(direction) {
                self.index.remove(self.index.place(tuple.hash(&self.hasher)), number, direction);
            }
        }
        self.give_back(number);
        if let Some(port) = entry.front.port() {
            let held = &self.held[port.get()];
            held.all.fetch_sub(1, Relaxed);
            if !word.is_assured() {
                held.embryonic.fetch_sub(1, Relaxed);
            }
        }
        shard.wheel.remove(number - shard.first);
        shard.live.remove(number - shard.first);
    }

    /// Gives back the mappings that translated the packets of a connection that has ended. Each knows its peer as the outside sees
    /// that.
    fn give_back(&self, number: u32) {
        let Some(mappings) = self.mappings.get() else { return };
        for (id, peer) in self.translated_ends(number).into_iter().flatten() {
            mappings.release(id, peer);
        }
    }

    /// Ends a connection at once; says whether it lived. Its packets open a new one, or are invalid.
    pub fn close(&self, id: ConnectionId) -> bool {
        let Some(shard) = self.shard_with(id.entry) else { return false };
        let mut shard = lock(shard);
        let word = self.backs[id.entry as usize].word();
        let is_it = word.is_live() && word.life() == id.life;
        if is_it {
            self.end(&mut shard, id.entry);
            count(&self.counters.closed);
        }
        is_it
    }

    pub(super) fn shard_with(&self, entry: u32) -> Option<&Mutex<Shard>> {
        let (entries, shards) = (self.backs.len(), self.shards.len());
        let entry = usize::try_from(entry).ok().filter(|entry| *entry < entries)?;
        let shard = (0..shards).rfind(|shard| entries * shard / shards <= entry)?;
        self.shards.get(shard)
    }

    /// Ends connections of which nothing was heard for too long, looking at no more than `budget` of them in each of the
    /// table's sixteen parts; the next call goes on there. Called again and again, twice a second or more.
    pub fn advance(&self, now: Nanos, budget: usize) {
        let now_s = now.seconds();
        for shard in &self.shards {
            let mut left = budget;
            while left > 0 {
                let part = left.min(SWEEP);
                let rest = self.sweep(&mut lock(shard), now_s, part);
                left -= part;
                if rest > 0 {
                    break;
                }
            }
        }
    }

    /// Works a part of the shard's wheel off; gives what is left of the budget.
    fn sweep(&self, shard: &mut Shard, now_s: u32, budget: usize) -> usize {
        let mut wheel = std::mem::take(&mut shard.wheel);
        let rest = wheel.advance(now_s.into(), budget, |thing| {
            let number = shard.first + thing;
            let back = &self.backs[number as usize];
            let word = back.word();
            if back.is_over(word, now_s) {
                // The wheel has let go of it already.
                self.end(shard, number);
                count(&self.counters.expired);
                return None;
            }
            let end = back.heard_s().saturating_add(word.timeout_s()).saturating_add(1);
            Some(end.min(now_s.saturating_add(VISIT_S)).into())
        });
        shard.wheel = wheel;
        rest
    }
}
