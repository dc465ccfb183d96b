//! One group in the table: which ports get its frames.

use std::net::IpAddr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};

/// The time of the answers while no general query was noted.
pub(super) const NOT_ANSWERED: u32 = u32::MAX;

/// Words of a set of ports.
const WORDS: usize = PORTS_MAX / 64;

/// A group in its network; the address 0 stands for the network's routers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct GroupKey([u64; 3]);

impl GroupKey {
    const OCCUPIED: u64 = 1 << 63;
    const IS_V6: u64 = 1 << 62;

    /// The key of `group` in `network`.
    pub(super) fn new(network: NetworkIndex, group: IpAddr) -> Self {
        let (flag, bits) = match group {
            IpAddr::V4(group) => (0, u128::from(group.to_bits())),
            IpAddr::V6(group) => (Self::IS_V6, group.to_bits()),
        };
        let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)].map(|half| half.try_into().unwrap_or(0));
        Self([Self::OCCUPIED | flag | u64::from(network.raw()), high, low])
    }

    /// The key as a hash function takes it.
    pub(super) fn words(self) -> [u64; 3] {
        self.0
    }

    /// The network; `None` only for bits that [`GroupKey::new`] never makes.
    pub(super) fn network(self) -> Option<NetworkIndex> {
        usize::try_from(self.0[0] & 0xffff).ok().and_then(NetworkIndex::new)
    }

    /// The group's address.
    pub(super) fn group(self) -> IpAddr {
        let bits = u128::from(self.0[1]) << 64 | u128::from(self.0[2]);
        if self.0[0] & Self::IS_V6 != 0 {
            IpAddr::V6(bits.into())
        } else {
            IpAddr::V4(u32::try_from(bits).unwrap_or(0).into())
        }
    }
}

/// A set of ports.
#[derive(Clone, Debug)]
pub(super) struct PortSet {
    /// A bit for each word that may have one.
    used: u64,
    words: [u64; WORDS],
}

impl Default for PortSet {
    fn default() -> Self {
        Self { used: 0, words: [0; WORDS] }
    }
}

impl PortSet {
    /// Takes all ports out.
    pub(super) fn clear(&mut self) {
        for word in bits(self.used) {
            self.words[word] = 0;
        }
        self.used = 0;
    }

    /// The ports, in ascending order.
    pub(super) fn ports(&self) -> impl Iterator<Item = PortIndex> {
        let indices = bits(self.used).flat_map(|word| bits(self.words[word]).map(move |bit| word * 64 + bit));
        indices.filter_map(PortIndex::new)
    }
}

/// The positions of the bits that are set, in ascending order.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

/// A place for one group: read by every worker without a lock, written under the table's lock.
///
/// The version changes before and after a slot is given to another group. A reader that finds the same even
/// version and its key around what it read has read that group's ports.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    version: AtomicU32,
    /// Until this second the group's frames go to all ports, because a member could not be noted.
    pub(super) flooded_until_s: AtomicU32,
    /// For routers: the second of the last general query, and the one from which all hosts have answered.
    pub(super) queried_s: AtomicU32,
    pub(super) answered_s: AtomicU32,
    key: [AtomicU64; 3],
    used: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            version: AtomicU32::default(),
            flooded_until_s: AtomicU32::default(),
            queried_s: AtomicU32::default(),
            answered_s: AtomicU32::default(),
            key: Default::default(),
            used: AtomicU64::default(),
            words: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

/// What a reader found beside the ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) flooded_until_s: u32,
    pub(super) answered_s: u32,
}

impl Slot {
    /// Adds the group's ports to `into`, if the slot is that of `key`.
    pub(super) fn read(&self, key: GroupKey, into: &mut PortSet) -> Option<Found> {
        let version = self.version.load(Acquire);
        if !version.is_multiple_of(2) || !self.holds(key) {
            return None;
        }
        let found = Found {
            flooded_until_s: self.flooded_until_s.load(Acquire),
            answered_s: self.answered_s.load(Acquire),
        };
        // Should the slot be another group's by now, then its ports are in `into` for nothing, and the caller
        // sends the frame to all.
        let used = self.used.load(Acquire);
        for word in bits(used) {
            into.words[word] |= self.words[word].load(Acquire);
        }
        into.used |= used;
        (self.version.load(Acquire) == version).then_some(found)
    }

    /// Whether the slot is that of `key`.
    pub(super) fn holds(&self, key: GroupKey) -> bool {
        self.key.iter().zip(key.0).all(|(own, word)| own.load(Acquire) == word)
    }

    /// Whose slot it is, if somebody's.
    pub(super) fn key(&self) -> Option<GroupKey> {
        let key = GroupKey(self.key.each_ref().map(|word| word.load(Acquire)));
        (key.0[0] != 0).then_some(key)
    }

    /// Gives the slot, which has no ports, to `key`, or to nobody; only under the table's lock.
    pub(super) fn give(&self, key: Option<GroupKey>) {
        self.version.fetch_add(1, AcqRel);
        for (own, word) in self.key.iter().zip(key.map_or([0; 3], |key| key.0)) {
            own.store(word, Release);
        }
        self.flooded_until_s.store(0, Release);
        self.queried_s.store(0, Release);
        self.answered_s.store(NOT_ANSWERED, Release);
        self.version.fetch_add(1, AcqRel);
    }

    /// Adds a port; only under the table's lock.
    pub(super) fn add(&self, port: PortIndex) {
        let (word, bit) = (port.get() / 64, port.get() % 64);
        self.words[word].fetch_or(1 << bit, AcqRel);
        self.used.fetch_or(1 << word, AcqRel);
    }

    /// Takes a port out; only under the table's lock.
    pub(super) fn remove(&self, port: PortIndex) {
        let (word, bit) = (port.get() / 64, port.get() % 64);
        if self.words[word].fetch_and(!(1 << bit), AcqRel) == 1 << bit {
            self.used.fetch_and(!(1 << word), AcqRel);
        }
    }

    /// The ports; only under the table's lock.
    pub(super) fn ports(&self) -> impl Iterator<Item = PortIndex> {
        let words = bits(self.used.load(Acquire));
        let indices =
            words.flat_map(|word| bits(self.words[word].load(Acquire)).map(move |bit| word * 64 + bit));
        indices.filter_map(PortIndex::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(index: usize) -> PortIndex {
        PortIndex::new(index).unwrap()
    }

    #[test]
    fn a_key_gives_back_what_was_packed() {
        for network in [0, crate::ids::NETWORKS_MAX - 1] {
            let network = NetworkIndex::new(network).unwrap();
            for group in ["239.255.255.255", "0.0.0.0", "ff0e::ffff:1", "::", "::0.0.0.0"] {
                let group = group.parse().unwrap();
                let key = GroupKey::new(network, group);
                assert_eq!((key.network(), key.group()), (Some(network), group));
            }
        }
    }

    #[test]
    fn a_slot_is_read_by_its_key_and_ports_ascend() {
        let network = NetworkIndex::new(7).unwrap();
        let [one, other] =
            ["239.1.1.1", "239.1.1.2"].map(|group| GroupKey::new(network, group.parse().unwrap()));
        let (slot, mut set) = (Slot::default(), PortSet::default());
        assert!(slot.read(one, &mut set).is_none());
        slot.give(Some(one));
        for index in [4095, 0, 64, 63, 65] {
            slot.add(port(index));
        }
        slot.remove(port(65));
        assert!(slot.read(one, &mut set).is_some() && slot.read(other, &mut set).is_none());
        assert_eq!(set.ports().map(PortIndex::get).collect::<Vec<_>>(), [0, 63, 64, 4095]);
        assert!(slot.ports().eq(set.ports()));
        set.clear();
        assert_eq!(set.ports().count(), 0);
    }
}
