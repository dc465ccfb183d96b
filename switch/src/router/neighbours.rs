//! Neighbours: which Ethernet address a station of a network has that a router may send to (RFC 826; RFC 4861, 5.1).
//!
//! The gateway (`gateway`), which speaks ARP and neighbour discovery, writes; workers read without a lock, and note that
//! they used an entry, so that the gateway knows for which ones to ask again. A table of fixed size: whom the gateway gives a
//! place is its business. An address may stand in one of two buckets that a seeded hash names, since guests choose addresses.

use std::hash::BuildHasher;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::packet::Address;

/// How many entries a bucket has.
const SLOTS: usize = 4;

/// The most entries that a table may have.
pub(crate) const ENTRIES_MAX: usize = 1 << 20;

/// An entry. Its sequence is odd while it is written, so that who reads in between reads again elsewhere: an entry that is just
/// changed counts as unknown, and its packet goes to the gateway, which knows.
#[derive(Debug, Default)]
struct Slot {
    sequence: AtomicU32,
    /// The second in which a worker used it last.
    used_s: AtomicU32,
    /// Both halves of the IP address.
    address: [AtomicU64; 2],
    /// The network in the upper 16 bits, the Ethernet address in the lower 48, and nothing if the slot is free: no station has
    /// an address of zeros.
    station: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([Slot; SLOTS]);

/// The table.
#[derive(Debug)]
pub struct Neighbours {
    buckets: Box<[Bucket]>,
    hasher: foldhash::quality::FixedState,
}

/// An entry as it was when somebody looked at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sighting {
    place: u32,
    sequence: u32,
}

/// What tells a neighbour.
type Key = (NetworkIndex, Address);

impl Neighbours {
    /// An empty table for about `entries` neighbours; takes all its memory, 40 bytes for each. `seed` must be random and
    /// secret.
    #[must_use]
    pub(crate) fn new(entries: usize, seed: u64) -> Self {
        // Half as many again: both buckets of an address are seldom full before the table is.
        let buckets = (entries.clamp(1, ENTRIES_MAX) * 3 / 2).div_ceil(SLOTS).next_power_of_two();
        let hasher = foldhash::quality::FixedState::with_seed(seed);
        Self { buckets: std::iter::repeat_with(Bucket::default).take(buckets).collect(), hasher }
    }

    /// The Ethernet address of the station that has `address` in `network`; notes that it was used.
    #[inline]
    pub(crate) fn resolve(&self, network: NetworkIndex, address: Address, now_s: u32) -> Option<MacAddress> {
        self.resolve_seen(network, address, now_s).map(|(mac, _)| mac)
    }

    /// The same, with what tells later that the entry is still what it was.
    #[inline]
    pub(crate) fn resolve_seen(
        &self,
        network: NetworkIndex,
        address: Address,
        now_s: u32,
    ) -> Option<(MacAddress, Sighting)> {
        let key = (network, address);
        let places = self.places(key);
        let slots = places.into_iter().flat_map(|bucket| (0..SLOTS).map(move |slot| (bucket, slot)));
        let found = slots.into_iter().find_map(|(bucket, slot)| {
            let entry = self.buckets.get(bucket)?.0.get(slot)?;
            Some((bucket * SLOTS + slot, entry, entry.read_seen(key)?))
        });
        let (place, slot, (mac, sequence)) = found?;
        if slot.used_s.load(Relaxed) != now_s {
            slot.used_s.store(now_s, Relaxed);
        }
        Some((mac, Sighting { place: u32::try_from(place).unwrap_or(u32::MAX), sequence }))
    }

    /// Whether an entry is still what it was.
    #[inline]
    pub(crate) fn is_current(&self, Sighting { place, sequence }: Sighting) -> bool {
        let (bucket, slot) = (place as usize / SLOTS, place as usize % SLOTS);
        self.buckets.get(bucket).is_some_and(|bucket| bucket.0[slot].sequence.load(Acquire) == sequence)
    }

    /// The same, without a note.
    #[must_use]
    #[inline]
    pub fn get(&self, network: NetworkIndex, address: Address) -> Option<MacAddress> {
        self.find((network, address)).map(|(_, mac)| mac)
    }

    /// The second in which the neighbour was used last; `None`: it is unknown.
    #[must_use]
    pub fn used_s(&self, network: NetworkIndex, address: Address) -> Option<u32> {
        self.find((network, address)).map(|(slot, _)| slot.used_s.load(Relaxed))
    }

    #[inline]
    fn find(&self, key: Key) -> Option<(&Slot, MacAddress)> {
        let slots = self.places(key).into_iter().flat_map(|bucket| &self.buckets[bucket].0);
        slots.into_iter().find_map(|slot| Some((slot, slot.read(key)?)))
    }

    #[inline]
    fn places(&self, (network, address): Key) -> [usize; 2] {
        let hash = self.hasher.hash_one((network.raw(), address.to_bits()));
        let mask = self.buckets.len() - 1;
        // Masked to less than the number of buckets.
        [hash, hash.rotate_right(32)].map(|bits| usize::try_from(bits & mask as u64).unwrap_or(0))
    }

    /// Notes a neighbour, for the gateway alone; says whether there was room. What is noted counts as used in second `now_s`.
    pub fn set(&self, network: NetworkIndex, address: Address, mac: MacAddress, now_s: u32) -> bool {
        let key = (network, address);
        if let Some((slot, known)) = self.find(key) {
            if known != mac {
                slot.write(key, Some(mac), slot.used_s.load(Relaxed));
            }
            return true;
        }
        let free = self
            .places(key)
            .into_iter()
            .flat_map(|bucket| &self.buckets[bucket].0)
            .find(|slot| slot.is_free());
        if let Some(slot) = free {
            slot.write(key, Some(mac), now_s);
        }
        free.is_some()
    }

    /// Forgets a neighbour, for the gateway alone.
    pub fn clear(&self, network: NetworkIndex, address: Address) {
        if let Some((slot, _)) = self.find((network, address)) {
            slot.write((network, address), None, 0);
        }
    }
}

impl Slot {
    #[inline]
    fn read(&self, key: Key) -> Option<MacAddress> {
        self.read_seen(key).map(|(mac, _)| mac)
    }

    /// The same, with its sequence.
    #[inline]
    fn read_seen(&self, (network, address): Key) -> Option<(MacAddress, u32)> {
        let sequence = self.sequence.load(Acquire);
        let station = self.station.load(Relaxed);
        let [high, low] = self.address.each_ref().map(|half| half.load(Relaxed));
        fence(Acquire);
        let is_whole = sequence & 1 == 0 && self.sequence.load(Relaxed) == sequence;
        let is_it = Address::from_bits(u128::from(high) << 64 | u128::from(low)) == address
            && station >> 48 == u64::from(network.raw())
            && station & MAC_BITS != 0;
        (is_whole && is_it).then(|| (MacAddress::from_u64(station & MAC_BITS), sequence))
    }

    fn is_free(&self) -> bool {
        self.station.load(Relaxed) & MAC_BITS == 0
    }

    /// By one thread at a time.
    fn write(&self, (network, address): Key, mac: Option<MacAddress>, used_s: u32) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Relaxed);
        fence(Release);
        let bits = address.to_bits();
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        self.address[0].store(half(bits >> 64), Relaxed);
        self.address[1].store(half(bits), Relaxed);
        self.station.store(mac.map_or(0, |mac| u64::from(network.raw()) << 48 | mac.to_u64()), Relaxed);
        self.used_s.store(used_s, Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Release);
    }
}

/// The Ethernet address in a slot's word.
const MAC_BITS: u64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use super::*;

    fn network(index: usize) -> NetworkIndex {
        NetworkIndex::new(index).unwrap()
    }

    fn mac(number: u64) -> MacAddress {
        MacAddress::from_u64(0x0200_0000_0000 | number)
    }

    fn address(number: u32) -> Address {
        Ipv4Addr::from(0x0a00_0000 | number).into()
    }

    #[test]
    fn a_neighbour_is_known_in_its_network_until_it_is_forgotten() {
        let neighbours = Neighbours::new(16, 1);
        assert!(neighbours.set(network(1), address(1), mac(1), 5));
        assert_eq!(neighbours.get(network(1), address(1)), Some(mac(1)));
        assert_eq!(neighbours.get(network(2), address(1)), None, "another network's station");
        assert_eq!(neighbours.get(network(1), address(2)), None);
        assert!(neighbours.set(network(1), address(1), mac(2), 6));
        assert_eq!(neighbours.get(network(1), address(1)), Some(mac(2)));
        neighbours.clear(network(1), address(1));
        assert_eq!(neighbours.get(network(1), address(1)), None);
    }

    #[test]
    fn use_is_noted() {
        let neighbours = Neighbours::new(16, 1);
        assert!(neighbours.set(network(0), address(1), mac(1), 5));
        assert_eq!(neighbours.used_s(network(0), address(1)), Some(5));
        assert_eq!(neighbours.resolve(network(0), address(1), 9), Some(mac(1)));
        assert_eq!(neighbours.used_s(network(0), address(1)), Some(9));
        assert!(neighbours.set(network(0), address(1), mac(7), 12));
        assert_eq!(neighbours.used_s(network(0), address(1)), Some(9), "that it moved is no use of it");
    }

    #[test]
    fn as_many_fit_in_as_there_is_said_to_be_room_for() {
        let neighbours = Neighbours::new(4096, 3);
        let refused =
            (0..4096).filter(|&n| !neighbours.set(network(0), address(n), mac(n.into()), 0)).count();
        assert!(refused < 40, "{refused} of 4096 were refused");
        let known =
            (0..4096).filter(|&n| neighbours.get(network(0), address(n)) == Some(mac(n.into()))).count();
        assert_eq!(known + refused, 4096);
    }

    /// Whoever reads while an entry is given to one after the other sees a whole entry or none.
    #[test]
    fn no_half_entry_is_ever_seen() {
        let neighbours = Neighbours::new(1, 1);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        (0..200_000_u32)
                            .filter(|n| {
                                let found = neighbours.get(network(0), address(n % 8));
                                assert!(
                                    found.is_none_or(|found| found == mac(u64::from(n % 8))),
                                    "{found:?}"
                                );
                                found.is_some()
                            })
                            .count()
                    })
                })
                .collect();
            let mut turn = 0_u32;
            while !readers.iter().all(thread::ScopedJoinHandle::is_finished) {
                neighbours.set(network(0), address(turn % 8), mac(u64::from(turn % 8)), turn);
                neighbours.clear(network(0), address((turn + 5) % 8));
                turn = turn.wrapping_add(1);
            }
            assert!(readers.into_iter().map(|reader| reader.join().unwrap()).sum::<usize>() > 0);
        });
    }
}
