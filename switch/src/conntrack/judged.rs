//! By which rules a connection may go on, and for whom: kept in its entry, so that its packets need not be judged.

use std::sync::atomic::Ordering::Relaxed;

use super::entry::Entry;
use super::shard::lock;
use super::{ConnectionId, Conntrack, Direction, Hint, Reference, Tuple};
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Packet, TcpFlags, Transport};
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

    /// The connection that the hint names, if `packet` of network `zone` is a plain one of it (no error, and no SYN), and where both
    /// given ports vouch for it: the packet's sender and its receiver, or `None` who need not. Gives the generation by which they do, too. What
    /// [`Conntrack::look_up`] and [`Conntrack::judged`] find out one after the other, but for what TCP's windows say, which
    /// [`Conntrack::follows`] checks. Changes nothing.
    #[inline]
    pub(crate) fn vouched(
        &self,
        zone: NetworkIndex,
        packet: &Packet,
        hint: &Hint,
        [sender, receiver]: [Option<PortIndex>; 2],
        now: Nanos,
    ) -> Option<(Reference, u32)> {
        let (number, direction) = hint.candidate?;
        let ports = match &packet.transport {
            Transport::Tcp(tcp) if !tcp.flags.has(TcpFlags::SYN) => tcp.ports,
            Transport::Ports(ports) => *ports,
            _ => return None,
        };
        let tuple = Tuple::with_ports(zone, packet, ports);
        let entry = self.entry(number);
        let Entry { front, back } = entry;
        let word = back.word();
        let vouchers = match direction {
            Direction::Original => [sender, receiver],
            Direction::Reply => [receiver, sender],
        };
        let generation = entry.vouched_by(vouchers).filter(|_| word.is_live())?;
        if !front.is(direction, &tuple) || !back.is_still(word) || back.is_over(word, now.seconds()) {
            return None;
        }
        let id = ConnectionId { entry: number, life: word.life() };
        Some((Reference { id, direction }, generation))
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
