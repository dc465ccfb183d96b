//! The table as people see it: pages of connections, and clearing some.

use std::sync::atomic::Ordering::Relaxed;

use super::{ConnectionId, Conntrack, Direction, State, Tuple};
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::Address;
use crate::time::Nanos;

/// A connection as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// The packets of the side that opened it.
    pub original: Tuple,
    /// The packets of the other side.
    pub reply: Tuple,
    /// The port where it was opened.
    pub port: PortIndex,
    /// Its state.
    pub state: State,
    /// By which generation of the policy it was judged last.
    pub policy_generation: u32,
    /// For how many seconds nothing was heard of it.
    pub idle_s: u32,
    /// After how many seconds more it ends.
    pub expires_s: u32,
}

/// Which connections are meant: those for which all holds that is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Of this network, in one of the directions.
    pub zone: Option<NetworkIndex>,
    /// Opened by this port.
    pub port: Option<PortIndex>,
    /// To or from this address.
    pub address: Option<Address>,
    /// Of this protocol.
    pub protocol: Option<u8>,
    /// To or from this transport port.
    pub transport_port: Option<u16>,
    /// In this state.
    pub state: Option<State>,
}

/// A part of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The connections, in the table's order.
    pub connections: Vec<Connection>,
    /// Where the list goes on; `None`: it ends here.
    pub next: Option<u32>,
}

impl Filter {
    fn matches(&self, connection: &Connection) -> bool {
        let Connection { original, reply, .. } = connection;
        let tuples = [original, reply];
        let is = |wanted: Option<bool>| wanted.unwrap_or(true);
        is(self.zone.map(|zone| tuples.iter().any(|tuple| tuple.zone == zone)))
            && is(self.port.map(|port| connection.port == port))
            && is(self
                .address
                .map(|end| tuples.iter().any(|tuple| tuple.source == end || tuple.destination == end)))
            && is(self.protocol.map(|protocol| original.protocol == protocol))
            && is(self.transport_port.map(|port| {
                tuples.iter().any(|tuple| tuple.source_port == port || tuple.destination_port == port)
            }))
            && is(self.state.map(|state| connection.state == state))
    }
}

impl Conntrack {
    /// The connection; `None`: it has ended.
    #[must_use]
    pub fn connection(&self, id: ConnectionId, now: Nanos) -> Option<Connection> {
        self.at(id.entry, now).filter(|connection| connection.id == id)
    }

    /// The connection in this entry.
    fn at(&self, number: u32, now: Nanos) -> Option<Connection> {
        let (front, back) = (self.fronts.get(number as usize)?, self.backs.get(number as usize)?);
        let word = back.word();
        if !word.is_live() {
            return None;
        }
        let idle_s = now.seconds().saturating_sub(back.heard_s());
        let connection = Connection {
            id: ConnectionId { entry: number, life: word.life() },
            original: front.tuple(Direction::Original)?,
            reply: front.tuple(Direction::Reply)?,
            port: front.port()?,
            state: word.state(),
            policy_generation: back.generation.load(Relaxed),
            idle_s,
            expires_s: word.timeout_s().saturating_sub(idle_s),
        };
        (back.is_still(word) && !back.is_over(word, now.seconds())).then_some(connection)
    }

    /// At most `limit` connections that `filter` means, from where an earlier page ended, or from 0. Takes no lock; what
    /// opens or ends meanwhile may be in it or not.
    #[must_use]
    pub fn list(&self, filter: &Filter, from: u32, limit: usize, now: Nanos) -> Page {
        let mut connections = Vec::new();
        for number in from..u32::try_from(self.fronts.len()).unwrap_or(u32::MAX) {
            let Some(connection) = self.at(number, now).filter(|connection| filter.matches(connection))
            else {
                continue;
            };
            if connections.len() == limit {
                return Page { connections, next: Some(number) };
            }
            connections.push(connection);
        }
        Page { connections, next: None }
    }

    /// Ends the connections whose packets are translated on their way and for which `stands` says no, and says how many.
    pub(crate) fn end_translated(&self, now: Nanos, stands: impl Fn([Tuple; 2]) -> bool) -> usize {
        let entries = 0..u32::try_from(self.fronts.len()).unwrap_or(u32::MAX);
        let meant = entries.filter_map(|number| self.at(number, now)).filter(|connection| {
            let Connection { original, reply, .. } = *connection;
            let received = reply.reversed();
            received != Tuple { zone: received.zone, ..original } && !stands([original, reply])
        });
        meant.filter(|connection| self.close(connection.id)).count()
    }

    /// Ends all connections that `filter` means, and says how many.
    pub fn clear(&self, filter: &Filter, now: Nanos) -> usize {
        let entries = 0..u32::try_from(self.fronts.len()).unwrap_or(u32::MAX);
        let meant =
            entries.filter_map(|number| self.at(number, now)).filter(|connection| filter.matches(connection));
        meant.filter(|connection| self.close(connection.id)).count()
    }
}
