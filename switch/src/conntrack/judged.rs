//! By which rules a connection may go on, and for whom: kept in its entry, so that its packets need not be judged.

use std::sync::atomic::Ordering::Relaxed;

use super::entry::{Back, Entry, Expected};
use super::shard::lock;
use super::state::Word;
use super::{ConnectionId, Conntrack, Direction, Hint, Reference, Tuple};
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Packet, Plain, TcpFlags, Transport};
use crate::time::Nanos;

/// What a connection was found to be allowed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Judged {
    /// The ports of the side that opened it and of the other one whose rules vouch for it: packets of the connection that
    /// enter or leave by other ports have to be judged.
    pub vouchers: [Option<PortIndex>; 2],
    /// By which generation of the rules.
    pub generation: u32,
}

/// Of whom it is expected to vouch for the connections of packets of one network that go from one port to another: for all such packets
/// the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vouching {
    zone: NetworkIndex,
    /// What entries have to say for packets of either direction.
    expected: [Expected; 2],
}

impl Vouching {
    /// For packets of network `zone`: their sender's port and their receiver's, or `None` who need not.
    pub(crate) fn new(zone: NetworkIndex, [sender, receiver]: [Option<PortIndex>; 2]) -> Self {
        let expected = [
            Expected::new(Direction::Original, zone, [sender, receiver]),
            Expected::new(Direction::Reply, zone, [receiver, sender]),
        ];
        Self { zone, expected }
    }
}

/// A connection for which all vouch who have to, as one look found it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vouched<'a> {
    pub(crate) found: Reference,
    /// By which generation of the rules.
    pub(crate) generation: u32,
    pub(super) word: Word,
    pub(super) back: &'a Back,
}

impl Conntrack {
    /// How the connection was judged last; `None`: it has ended.
    #[must_use]
    #[inline]
    pub fn judged(&self, id: ConnectionId) -> Option<Judged> {
        let (front, back) = (self.fronts.get(id.entry as usize)?, self.backs.get(id.entry as usize)?);
        let word = back.word();
        let (vouchers, generation) = Entry { front, back }.judged();
        let judged = Judged { vouchers, generation };
        (word.life() == id.life && back.is_still(word)).then_some(judged)
    }

    /// The connection that the hint names, if `packet` is one of it that neither opens nor reports anything (no error, and no SYN), and where
    /// all vouch for it of whom that is expected. What
    /// [`Conntrack::look_up`] and [`Conntrack::judged`] find out one after the other, but for what TCP's windows say, which
    /// [`Conntrack::follows_vouched`] checks. Changes nothing.
    #[inline]
    pub(crate) fn vouched(
        &self,
        vouching: &Vouching,
        packet: &Packet,
        hint: &Hint,
        now: Nanos,
    ) -> Option<Vouched<'_>> {
        let ports = match &packet.transport {
            Transport::Tcp(tcp) if !tcp.flags.has(TcpFlags::SYN) => tcp.ports,
            Transport::Ports(ports) => *ports,
            _ => return None,
        };
        let tuple = Tuple::with_ports(vouching.zone, packet, ports);
        self.look_once(hint, now, |entry, direction| {
            let generation = entry.vouched_by(vouching.expected[direction as usize]);
            generation.filter(|_| entry.front.is(direction, &tuple))
        })
    }

    /// The same for a plain packet.
    #[inline(always)]
    pub(crate) fn vouched_plain(
        &self,
        vouching: &Vouching,
        plain: &Plain,
        hint: &Hint,
        now: Nanos,
    ) -> Option<Vouched<'_>> {
        self.look_once(hint, now, |entry, direction| {
            entry.vouched_for_plain(direction, plain, vouching.expected[direction as usize])
        })
    }

    /// The connection that the hint names, if it lives and `judged` says by which generation all vouch for it.
    #[inline(always)]
    fn look_once(
        &self,
        hint: &Hint,
        now: Nanos,
        judged: impl FnOnce(Entry<'_>, Direction) -> Option<u32>,
    ) -> Option<Vouched<'_>> {
        let (number, direction) = hint.candidate?;
        let entry = self.entry(number);
        let (word, generation) = entry.look_once(|entry| judged(entry, direction))?;
        if entry.back.is_over(word, now.seconds()) {
            return None;
        }
        let id = ConnectionId { entry: number, life: word.life() };
        Some(Vouched { found: Reference { id, direction }, generation, word, back: entry.back })
    }

    /// Notes that the connection was judged anew, about a packet that goes as `found` says; says whether it lives. A port that
    /// sends for the opener's side and vouches for it holds it from now on, once it is open in both directions; before,
    /// only the port that opened it can vouch. One that only gets a reply takes nothing over, and nothing is noted: it
    /// would be charged for what others do. Takes the lock of a part of the table, as opening does.
    pub fn set_judged(&self, found: Reference, judged: Judged) -> bool {
        let Reference { id, direction } = found;
        let Some(shard) = self.shard_with(id.entry) else { return false };
        let _shard = lock(shard);
        let (front, back) = (&self.fronts[id.entry as usize], &self.backs[id.entry as usize]);
        let word = back.word();
        if !word.is_live() || word.life() != id.life {
            return false;
        }
        let [opener, responder] = judged.vouchers;
        let holder = front.port();
        if direction == Direction::Reply && opener.is_some_and(|port| Some(port) != holder) {
            return true;
        }
        // A holder's embryonic connections are counted without the lock: so they stay with it.
        let opener = opener.filter(|_| word.is_assured() || opener == holder);
        Entry { front, back }.set_judged([opener, responder], judged.generation);
        if let (Some(before), Some(after)) = (holder, opener)
            && before != after
        {
            self.held[before.get()].all.fetch_sub(1, Relaxed);
            self.held[after.get()].all.fetch_add(1, Relaxed);
        }
        true
    }

    /// The packets of the direction that opened the connection; `None`: it has ended.
    #[must_use]
    pub fn original(&self, id: ConnectionId) -> Option<Tuple> {
        let back = self.backs.get(id.entry as usize)?;
        let word = back.word();
        let tuple = self.fronts.get(id.entry as usize)?.tuple(Direction::Original)?;
        (word.is_live() && word.life() == id.life && back.is_still(word)).then_some(tuple)
    }
}
