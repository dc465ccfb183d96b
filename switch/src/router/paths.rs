//! What became of packets that a router sent on, for those that follow: one table for each worker.
//!
//! The flow cache tells what is to be done with a frame by its Ethernet header, and of what is routed no more than that it is. Where
//! it goes from here depends on its addresses, and where addresses are translated on its connection. A path is that
//! answer. It holds for one second, in which it has to be found anew: so nothing that changes with time is in it, and a station
//! that is sent to is noted as used. Within that second it depends on what it names: the places of the next station's Ethernet
//! address and of its port. Another policy ends all paths. Who goes by one still takes note of each packet in the table of
//! connections, which says whether its connection lives.

use std::hash::{BuildHasher, Hasher};
use std::net::Ipv4Addr;

use super::{Hop, Neighbours};
use crate::conntrack::{Reference, Tuple};
use crate::fdb::{Fdb, Seen};
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Packet, TcpFlags, Transport};

/// How many paths a worker has room for. Each takes 128 bytes.
const PATHS: usize = 32_768;

/// How many a bucket has.
const WAYS: usize = 2;

/// The bytes of an Ethernet header, which no MTU counts.
const ETHERNET: u32 = 14;

/// Where addresses are translated: a bit of [`PathKey::origin`].
const OF_CONNECTION: u64 = 1 << 40;

/// Of newcomers that find no room, only every so manieth takes some other one's.
const LET_IN: u32 = 16;

/// What a path is found by: whatever its answer depends on in a packet, but for what [`Path::admits`] asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PathKey {
    source: u128,
    destination: u128,
    /// Port where it came in, network, and where addresses are translated, protocol.
    origin: u64,
    /// Where addresses are translated, both ports.
    ports: u32,
}

impl PathKey {
    /// The key of a packet that entered at `port` in `network`; `None`: each of its kind is looked at by itself. `is_translated`
    /// says whether its connection matters.
    #[inline]
    pub(crate) fn of(
        port: PortIndex,
        network: NetworkIndex,
        packet: &Packet,
        is_translated: bool,
    ) -> Option<Self> {
        // A tag that a station put on itself goes nowhere.
        if packet.fragment.is_some() || u32::from(packet.network_at) != ETHERNET {
            return None;
        }
        let origin = u64::from(port.raw()) | u64::from(network.raw()) << 16;
        let (source, destination) = (packet.source.to_bits(), packet.destination.to_bits());
        if !is_translated {
            return Some(Self { source, destination, origin, ports: 0 });
        }
        let ports = match packet.transport {
            // What may open a connection is looked at by itself.
            Transport::Tcp(tcp) if !tcp.flags.has(TcpFlags::SYN) => tcp.ports,
            Transport::Ports(ports) => ports,
            _ => return None,
        };
        let origin = origin | u64::from(packet.protocol) << 32 | OF_CONNECTION;
        Some(Self {
            source,
            destination,
            origin,
            ports: u32::from(ports.source) << 16 | u32::from(ports.destination),
        })
    }
}

impl PathKey {
    /// Whether its packet's connection matters.
    #[inline]
    pub(crate) fn is_of_connection(&self) -> bool {
        self.origin & OF_CONNECTION != 0
    }
}

/// What a packet's addresses and ports become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaving {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Leaving {
    /// The addresses and ports of a tuple of IPv4.
    #[inline]
    pub(crate) fn of(tuple: &Tuple) -> Option<Self> {
        let (source, destination) = (tuple.source.to_v4()?, tuple.destination.to_v4()?);
        let Tuple { source_port, destination_port, .. } = *tuple;
        Some(Self { source, destination, source_port, destination_port })
    }
}

/// Where packets of a flow go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) hop: Hop,
    /// The port by which they leave.
    pub(crate) to: PortIndex,
    /// Their connection, and what it makes of them; `None`: they keep their addresses.
    pub(crate) translation: Option<(Reference, Leaving)>,
    /// By what it is known that the next station is there.
    pub(crate) station: Seen,
}

impl Path {
    /// Whether what the path was made of is as it was.
    #[inline]
    pub(crate) fn is_current(&self, neighbours: &Neighbours, fdb: &Fdb) -> bool {
        neighbours.is_current(self.hop.seen) && fdb.is_current(self.station)
    }

    /// Whether a packet may go this way by its own: others may have less hops left, or be longer. `wire_length` is that of the
    /// longest frame that it becomes, in bytes with its Ethernet header.
    #[inline]
    pub(crate) fn admits(&self, packet: &Packet, wire_length: u32) -> bool {
        packet.hop_limit > 1 && wire_length <= u32::from(self.hop.mtu) + ETHERNET
    }
}

#[derive(Clone, Debug)]
#[repr(align(128))]
struct Record {
    key: PathKey,
    /// The second in which it was found out, and the policy's epoch; 0: never.
    at_s: u32,
    epoch: u32,
    path: Option<Path>,
}

/// A worker's paths.
#[derive(Debug)]
pub(crate) struct Paths {
    /// None until the first gateway.
    records: Box<[Record]>,
    hasher: foldhash::fast::FixedState,
    epoch: u32,
    refused: u32,
    /// Answers that were found to be wrong when they were verified.
    mismatched: u32,
}

/// Where a path may stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PathPlace(u32);

impl Paths {
    /// No room for any.
    pub(crate) fn none() -> Self {
        let hasher = foldhash::fast::FixedState::with_seed(0);
        Self { records: Box::default(), hasher, epoch: 1, refused: 0, mismatched: 0 }
    }

    /// Takes the memory for all that there may be, if it has none. `seed` must be random and secret: guests choose addresses.
    pub(crate) fn make_room(&mut self, seed: u64) {
        if self.records.is_empty() {
            let record = Record { key: PathKey::default(), at_s: 0, epoch: 0, path: None };
            self.records = vec![record; PATHS].into();
            self.hasher = foldhash::fast::FixedState::with_seed(seed);
        }
    }

    /// Whether there is room for any.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        !self.records.is_empty()
    }

    /// Ends all paths.
    pub(crate) fn start_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
        if self.epoch == 1 {
            self.records.iter_mut().for_each(|record| record.epoch = 0);
        }
    }

    /// Where the path of a key may stand.
    #[inline]
    pub(crate) fn place(&self, key: &PathKey) -> PathPlace {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u128(key.source);
        hasher.write_u128(key.destination);
        hasher.write_u64(key.origin ^ u64::from(key.ports) << 32);
        // Masked to less than the number of records.
        PathPlace(u32::try_from(hasher.finish() & (PATHS - WAYS) as u64).unwrap_or(0))
    }

    /// Loads what stands there.
    #[inline]
    pub(crate) fn touch(&self, place: PathPlace) -> u32 {
        let bucket = self.bucket(place);
        bucket.iter().fold(0, |sum, record| sum ^ record.at_s)
    }

    #[inline]
    fn bucket(&self, PathPlace(place): PathPlace) -> &[Record] {
        self.records.get(place as usize..place as usize + WAYS).unwrap_or_default()
    }

    /// The path of a key that was found out in this second.
    #[inline]
    pub(crate) fn find(&self, place: PathPlace, key: &PathKey, now_s: u32) -> Option<&Path> {
        let record = self
            .bucket(place)
            .iter()
            .find(|record| record.key == *key && record.at_s == now_s && record.epoch == self.epoch)?;
        record.path.as_ref()
    }

    /// Notes a path. One of an earlier second gives way to it, and every so often one of this second: so flows that come often get
    /// in soon, and a guest that makes a new flow of each packet displaces few that others follow.
    pub(crate) fn keep(&mut self, key: PathKey, path: Path, now_s: u32) {
        let PathPlace(place) = self.place(&key);
        let epoch = self.epoch;
        let Some(bucket) = self.records.get_mut(place as usize..place as usize + WAYS) else { return };
        let is_free = |record: &Record| record.key == key || record.at_s != now_s || record.epoch != epoch;
        let room = bucket.iter().position(is_free).or_else(|| {
            self.refused = self.refused.wrapping_add(1);
            let is_even = (self.refused / LET_IN).is_multiple_of(2);
            self.refused.is_multiple_of(LET_IN).then_some(usize::from(is_even))
        });
        if let Some(record) = room.and_then(|room| bucket.get_mut(room)) {
            *record = Record { key, at_s: now_s, epoch, path: Some(path) };
        }
    }

    /// Counts an answer that verification found to be wrong.
    #[cold]
    pub(crate) fn mismatch(&mut self) {
        self.mismatched += 1;
    }

    /// How many there were since the last call.
    pub(crate) fn take_mismatched(&mut self) -> u32 {
        std::mem::take(&mut self.mismatched)
    }
}

#[cfg(test)]
mod tests;
