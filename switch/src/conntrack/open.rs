//! Opening and ending connections: everything under a shard's lock.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use super::displace::Holding;
use super::entry::Entry;
use super::reasons::Turnover;
use super::shard::{Shard, lock};
use super::state::{Class, Word};
use super::tcp::{self, Segment};
use super::tuple::Kind;
use super::{ConnectionId, Conntrack, Direction, Hint, Judged, Reference, Refused, Tuple};
use crate::counters::count;
use crate::ids::{NetworkIndex, PortIndex};
use crate::nat::MappingId;
use crate::packet::{Packet, Transport, number};
use crate::time::Nanos;

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
pub(super) struct Opening<'a> {
    path: &'a Path,
    pub(super) hashes: [u64; 2],
    packet: &'a Packet,
    pub(super) port: PortIndex,
    judged: Judged,
    now_s: u32,
}

/// An entry for a connection.
struct Room {
    number: u32,
    /// Who held the connection that gave way for it, and is still counted as its holder.
    displaced: Option<Holding>,
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

    /// The same as [`Conntrack::open_judged`] within one network, for a packet that was of no connection when its burst was looked ahead to;
    /// `None`: that has to be looked up, since it is of one now or may open none. `may_open` is asked once it is known to be new.
    ///
    /// # Errors
    /// As [`Conntrack::open`], or what `may_open` says.
    #[inline]
    pub(crate) fn open_ahead<E: From<Refused>>(
        &self,
        (zone, packet): (NetworkIndex, &Packet),
        hint: &Hint,
        (port, judged): (PortIndex, Judged),
        now: Nanos,
        may_open: impl FnOnce() -> Result<(), E>,
    ) -> Option<Result<Reference, E>> {
        let hashes = hint.hashes()?;
        let tuple = Tuple::of_flow(zone, packet)?;
        if let Transport::Tcp(tcp) = &packet.transport {
            // What takes a connection up in its midst is looked at with care.
            tcp::opens(tcp, false).ok()?;
        }
        let path = Path { tuples: [tuple, tuple.reversed()], mappings: [None; 2] };
        debug_assert_eq!(hashes, path.tuples.map(|tuple| tuple.hash(&self.hasher)), "the packet's own hint");
        let opening = Opening { path: &path, hashes, packet, port, judged, now_s: now.seconds() };
        let mut shard = lock(self.shard_of(hashes));
        if self.standing(&opening).is_some() {
            return None;
        }
        let opened = may_open().and_then(|()| {
            let opened = self.open_new(&mut shard, &opening);
            Ok(opened.or_else(|reason| self.refused(reason))?)
        });
        drop(shard);
        Some(opened)
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
        self.open_new(&mut shard, &opening).map(|found| (found, true))
    }

    pub(super) fn shard_of(&self, hashes: [u64; 2]) -> &Mutex<Shard> {
        let sum = hashes[0].wrapping_add(hashes[1]) >> 32;
        &self.shards[usize::try_from((sum * self.shards.len() as u64) >> 32).unwrap_or(0)]
    }

    /// The connection that stands there already; an old one that is over makes room.
    fn meet(&self, shard: &mut Shard, opening: &Opening<'_>) -> Option<Reference> {
        let (number, direction) = self.standing(opening)?;
        let back = &self.backs[number as usize];
        let word = back.word();
        if !word.is_spent() && !back.is_over(word, opening.now_s) {
            return Some(Reference { id: ConnectionId { entry: number, life: word.life() }, direction });
        }
        self.end(shard, number);
        count(&self.counters.closed);
        None
    }

    /// The entry where a connection of the packet stands, whether it is over or not.
    #[inline]
    fn standing(&self, opening: &Opening<'_>) -> Option<(u32, Direction)> {
        let place = self.index.place(opening.hashes[0]);
        self.index.candidates(place).find(|&(number, direction)| {
            let entry = self.entry(number);
            entry.back.word().is_live() && entry.front.is(direction, &opening.path.tuples[0])
        })
    }

    /// Opens a connection of which nothing stands in the table.
    fn open_new(&self, shard: &mut Shard, opening: &Opening<'_>) -> Result<Reference, Refused> {
        let room = self.room(shard, opening)?;
        self.settle(shard, room, opening)
    }

    /// A free entry, or one whose connection gives way.
    fn room(&self, shard: &mut Shard, opening: &Opening<'_>) -> Result<Room, Refused> {
        let (all, embryonic) = self.held(opening.port);
        let is_full = all >= self.limits.per_port || embryonic >= self.limits.embryonic_per_port;
        let may_take = !is_full && self.may_take(shard, all);
        if may_take && let Some(number) = shard.free.take() {
            return Ok(Room { number, displaced: None });
        }
        let victim = self.victim(shard, opening, is_full);
        let number = victim.ok_or(if is_full { Refused::PortFull } else { Refused::TableFull })?;
        let displaced = self.displace(shard, number);
        if displaced.is_some_and(|displaced| displaced.port != opening.port) {
            count(&self.counters.evicted_of_others);
        }
        Ok(Room { number, displaced })
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

    /// Gives the entry to the connection.
    fn settle(&self, shard: &mut Shard, room: Room, opening: &Opening<'_>) -> Result<Reference, Refused> {
        let Room { number, displaced } = room;
        let entry = self.entry(number);
        let [original, reply] = &opening.path.tuples;
        let mappings = opening.path.mappings.map(|mapping| mapping.map_or(0, MappingId::to_bits));
        entry.front.fill(original, reply, opening.port, mappings);
        entry.front.set_vouchers(opening.judged.vouchers);
        entry.back.fill(opening.judged.generation, opening.now_s);
        let word = self.first_word(entry, opening);
        self.enter(shard, number, opening.hashes, (word, opening.port, displaced), opening.now_s)?;
        Turnover::add_one(&self.turnover[shard.number].opened);
        let id = ConnectionId { entry: number, life: word.life() };
        Ok(Reference { id, direction: Direction::Original })
    }

    /// Lets others find the connection that the entry was filled with, which `port` holds, and in whose place another one was that is
    /// still counted for its holder, or none.
    pub(super) fn enter(
        &self,
        shard: &mut Shard,
        number: u32,
        hashes: [u64; 2],
        (word, port, displaced): (Word, PortIndex, Option<Holding>),
        now_s: u32,
    ) -> Result<(), Refused> {
        let back = &self.backs[number as usize];
        let places = hashes.map(|hash| self.index.place(hash));
        for (place, direction) in places.into_iter().zip([Direction::Original, Direction::Reply]) {
            if !self.index.insert(place, number, direction) {
                self.index.remove(places[0], number, Direction::Original);
                self.hand_over(displaced, None);
                shard.give(number);
                return Err(Refused::Crowded);
            }
        }
        // Before anybody finds it, who counts it as answered.
        self.hand_over(displaced, Some(Holding::new(port, word)));
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
    pub(super) fn end(&self, shard: &mut Shard, number: u32) {
        let ended = self.take_out(shard, number);
        self.hand_over(ended, None);
        shard.give(number);
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
