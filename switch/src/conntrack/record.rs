//! Connections as plain data, for whoever keeps them while no process has the table.
//!
//! A record of a table whose workers have stopped says all. One that was read while they went on says where its sides of TCP stood
//! a while ago: such a connection is restored with its windows unknown, and learns them from the next segment of either side.

use std::sync::atomic::Ordering::Relaxed;

use super::open::Path;
use super::reasons::{Counters, Turnover};
use super::shard::lock;
use super::state::{Class, Word};
use super::{ConnectionId, Conntrack, Direction, Judged, Refused, Tuple};
use crate::counters::count;
use crate::ids::PortIndex;
use crate::nat::MappingId;
use crate::packet::number;
use crate::time::Nanos;

/// A connection as it stands. What it says of others is their number in this switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The packets of both sides, as they come in; those of the side that opened it first.
    pub tuples: [Tuple; 2],
    /// The port that holds it.
    pub port: PortIndex,
    /// The ports of both sides whose rules vouched for it.
    pub vouchers: [Option<PortIndex>; 2],
    /// Whether the opener, and whoever it sends to, stand behind mappings.
    pub is_mapped: [bool; 2],
    /// How far it got, in bits that mean something to this table alone.
    pub flags: u32,
    /// What each side of TCP said, in numbers that mean something to this table alone.
    pub sides: [[u32; 4]; 2],
    /// Another such number.
    pub asked: u32,
    /// For how many seconds each side was silent.
    pub idle_s: [u32; 2],
}

/// Of which connections records are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Those that somebody would miss: open in both directions and not over, or behind a mapping on which its answer relies.
    Lasting,
    /// All.
    All,
}

/// Why a connection or a mapping was not restored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum NotRestored {
    /// No table made such a record.
    #[error("the record contradicts itself")]
    Unsound,
    /// It was silent for too long meanwhile.
    #[error("it has ended meanwhile")]
    Over,
    /// There is one with these addresses and ports, or somebody else has the mapping's port.
    #[error("its place is taken")]
    Taken,
    /// There is no room, or its port may not have more.
    #[error("there is no room for it")]
    NoRoom,
    /// Rules allow it no longer, or nothing translates its addresses as they were.
    #[error("it is no longer allowed")]
    NotAllowed,
    /// The outside address on which it relies is not there, or nothing yet that tracks connections.
    #[error("what it relies on is not there yet")]
    Waits,
}

impl Record {
    fn is_tcp(&self) -> bool {
        self.tuples[0].protocol == number::TCP
    }

    /// The class of a connection of this protocol that has these flags.
    fn class(&self) -> Class {
        let is_v4 = self.tuples[0].source.is_v4();
        match self.tuples[0].protocol {
            number::TCP => Class::Tcp,
            number::ICMP if is_v4 => Class::Query,
            number::ICMPV6 if !is_v4 => Class::Query,
            _ if self.flags & Word::DATAGRAM_FLAG != 0 => Class::Datagram,
            _ => Class::Other,
        }
    }

    /// Whether a table may have made it.
    fn is_sound(&self) -> bool {
        let [original, reply] = self.tuples;
        let ends = [original.source, original.destination, reply.source, reply.destination];
        let is_v4 = original.source.is_v4();
        let is_one_version = ends.iter().all(|end| end.is_v4() == is_v4);
        let mirrors = reply.source == original.destination && reply.destination == original.source;
        let may_be_mapped = is_v4 && matches!(original.protocol, number::TCP | number::UDP | number::ICMP);
        original.protocol == reply.protocol
            && is_one_version
            && (is_v4 || mirrors)
            && (may_be_mapped || self.is_mapped == [false; 2])
    }

    /// Whether somebody would miss it.
    fn is_lasting(&self, word: Word) -> bool {
        !word.may_give_way() || (!self.is_tcp() && self.is_mapped != [false; 2])
    }
}

impl Conntrack {
    /// How often a connection began, was open in both directions for the first time, or ended, and a mapping began or ended: as long as
    /// this is the same, so are the connections of which there are records that last.
    #[must_use]
    pub fn changes(&self) -> u64 {
        let Counters { restored, assured, expired, closed, .. } = &self.counters;
        let counted = [restored, assured, expired, closed].map(|counter| counter.load(Relaxed));
        let mappings = self.mappings().map_or(0, |mappings| mappings.changes());
        let all = counted.into_iter().chain(Turnover::sum(&self.turnover));
        all.fold(mappings, |sum, counter| sum.wrapping_add(counter))
    }

    /// Gives `each` a record of each connection that is meant among the next `entries` places of the table, from where an earlier call
    /// ended or from 0; tells where the next one begins, and `None` at the end. Takes no lock.
    pub fn records(
        &self,
        from: u32,
        entries: u32,
        extent: Extent,
        now: Nanos,
        mut each: impl FnMut(ConnectionId, Record),
    ) -> Option<u32> {
        let end = u32::try_from(self.fronts.len()).unwrap_or(u32::MAX);
        let to = from.saturating_add(entries).min(end);
        for (id, record) in (from..to).filter_map(|number| self.record(number, extent, now.seconds())) {
            each(id, record);
        }
        (to < end).then_some(to)
    }

    /// The connection in this place, if it is meant.
    fn record(&self, number: u32, extent: Extent, now_s: u32) -> Option<(ConnectionId, Record)> {
        let (front, back) = (self.fronts.get(number as usize)?, self.backs.get(number as usize)?);
        let word = back.word();
        if !word.is_live() || back.is_over(word, now_s) {
            return None;
        }
        let entry = self.entry(number);
        let record = Record {
            tuples: [front.tuple(Direction::Original)?, front.tuple(Direction::Reply)?],
            port: front.port()?,
            vouchers: front.vouchers(),
            is_mapped: front.mappings().map(|name| name != 0),
            flags: word.flags(),
            sides: [Direction::Original, Direction::Reply].map(|side| entry.side(side).numbers()),
            asked: back.asked.load(Relaxed),
            idle_s: back.heard_s.each_ref().map(|heard| now_s.saturating_sub(heard.load(Relaxed))),
        };
        let is_meant = extent == Extent::All || record.is_lasting(word);
        (is_meant && back.is_still(word))
            .then_some((ConnectionId { entry: number, life: word.life() }, record))
    }

    /// Opens the connection of a record once more, and notes that it was judged so. `mappings` are those by which its packets
    /// are translated; they remain the caller's if there is an error. `is_exact`: nothing was sent since the record was made. Nobody gives way
    /// to it, and no port gets more than it could have opened.
    ///
    /// # Errors
    /// Why not; counted by nobody.
    pub(crate) fn restore(
        &self,
        record: &Record,
        mappings: [Option<MappingId>; 2],
        judged: Judged,
        is_exact: bool,
        now: Nanos,
    ) -> Result<ConnectionId, NotRestored> {
        let path = Path { tuples: record.tuples, mappings };
        if !record.is_sound() {
            return Err(NotRestored::Unsound);
        }
        let hashes = path.tuples.map(|tuple| tuple.hash(&self.hasher));
        let mut shard = lock(self.shard_of(hashes));
        if path.tuples.iter().any(|tuple| self.find(tuple, now.seconds()).is_some()) {
            return Err(NotRestored::Taken);
        }
        // Who vouches for the opener holds it.
        let port = judged.vouchers[0].unwrap_or(record.port);
        let (all, embryonic) = self.held(port);
        let is_full = all >= self.limits.per_port || embryonic >= self.limits.embryonic_per_port;
        let number = if is_full || !self.may_take(&shard, all) { None } else { shard.free.take() };
        let number = number.ok_or(NotRestored::NoRoom)?;
        let word = self.fill(number, record, &path, judged, now.seconds());
        let word = word.map(|word| if is_exact { word } else { word.learning() });
        let entered = word.and_then(|word| {
            let entered = self.enter(&mut shard, number, hashes, (word, port, None), now.seconds());
            // That gives the entry back by itself.
            entered.map(|()| word).map_err(|_: Refused| NotRestored::NoRoom)
        });
        if let Err(NotRestored::Unsound | NotRestored::Over) = entered {
            shard.free.give(number);
        }
        entered.map(|word| {
            count(&self.counters.restored);
            ConnectionId { entry: number, life: word.life() }
        })
    }

    /// Fills an entry that nobody has; gives its word.
    fn fill(
        &self,
        number: u32,
        record: &Record,
        path: &Path,
        judged: Judged,
        now_s: u32,
    ) -> Result<Word, NotRestored> {
        let entry = self.entry(number);
        let [original, reply] = &record.tuples;
        let mappings = path.mappings.map(|mapping| mapping.map_or(0, MappingId::to_bits));
        entry.front.fill(original, reply, record.port, mappings);
        entry.front.set_vouchers(judged.vouchers);
        entry.back.fill(judged.generation, now_s);
        for (heard, idle_s) in entry.back.heard_s.iter().zip(record.idle_s) {
            heard.store(now_s.saturating_sub(idle_s), Relaxed);
        }
        for (side, numbers) in [Direction::Original, Direction::Reply].into_iter().zip(record.sides) {
            entry.side(side).restore(numbers);
        }
        entry.back.asked.store(record.asked, Relaxed);
        let word = entry.back.word().restored(record.flags, record.class()).ok_or(NotRestored::Unsound)?;
        if entry.back.is_over(word, now_s) { Err(NotRestored::Over) } else { Ok(word) }
    }
}
