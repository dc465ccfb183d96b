//! How an address and what is known of it are packed into two words.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;

/// An address in its network: bit 63 is always set (0 is an empty slot), the network stands in bits 48 to
/// 59, the address below.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key(u64);

impl Key {
    const OCCUPIED: u64 = 1 << 63;
    const NETWORK_SHIFT: u32 = 48;

    /// The key of `mac` in `network`.
    #[inline]
    pub(crate) fn new(network: NetworkIndex, mac: MacAddress) -> Self {
        Self(Self::OCCUPIED | (u64::from(network.raw()) << Self::NETWORK_SHIFT) | mac.to_u64())
    }

    /// Sixteen bits of the key, which every value of it carries.
    #[inline]
    fn tag(self) -> u64 {
        (self.0 ^ (self.0 >> 16) ^ (self.0 >> 32)) & 0xffff
    }

    /// The key as a hash function takes it.
    #[inline]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    /// The address.
    pub(crate) fn mac(self) -> MacAddress {
        MacAddress::from_u64(self.0)
    }

    /// The network; `None` only for bits that [`Key::new`] never makes.
    pub(crate) fn network(self) -> Option<NetworkIndex> {
        let bits = (self.0 & !Self::OCCUPIED) >> Self::NETWORK_SHIFT;
        usize::try_from(bits).ok().and_then(NetworkIndex::new)
    }
}

/// What is known of an address: its port in bits 0 to 11, its moves within the last second in bits 12 to
/// 15, its key's tag in bits 16 to 31, the second in which it was last seen in bits 32 to 63.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Value(u64);

impl Value {
    const PORT_BITS: u64 = 0xfff;
    const MOVES_SHIFT: u32 = 12;
    const MOVES_BITS: u64 = 0xf;
    const TAG_SHIFT: u32 = 16;
    const SEEN_SHIFT: u32 = 32;

    /// An address seen at `port` in second `now_s`, after `moves` moves within that second.
    #[inline]
    pub(crate) fn new(key: Key, port: PortIndex, moves: u64, now_s: u32) -> Self {
        let moves = moves.min(Self::MOVES_BITS) << Self::MOVES_SHIFT;
        let tag = key.tag() << Self::TAG_SHIFT;
        Self(u64::from(port.raw()) | moves | tag | (u64::from(now_s) << Self::SEEN_SHIFT))
    }

    /// When an address was seen that is where it is until it is told otherwise.
    pub(crate) const FIXED_S: u32 = u32::MAX;

    /// Whether the address is where it is until it is told otherwise.
    pub(crate) fn is_fixed(self) -> bool {
        self.seen_s() == Self::FIXED_S
    }

    #[inline]
    fn is_of(self, key: Key) -> bool {
        (self.0 >> Self::TAG_SHIFT) & 0xffff == key.tag()
    }

    /// The port where the address was seen; `None` only for bits that [`Value::new`] never makes.
    #[inline]
    pub(crate) fn port(self) -> Option<PortIndex> {
        usize::try_from(self.0 & Self::PORT_BITS).ok().and_then(PortIndex::new)
    }

    /// How often the address moved within the second in which it was last seen.
    pub(crate) fn moves(self) -> u64 {
        (self.0 >> Self::MOVES_SHIFT) & Self::MOVES_BITS
    }

    /// The second in which the address was last seen.
    #[inline]
    pub(crate) fn seen_s(self) -> u32 {
        u32::try_from(self.0 >> Self::SEEN_SHIFT).unwrap_or(u32::MAX)
    }

    /// For how many seconds the address was not seen. Workers read the clock apart from each other, so
    /// an entry may seem to be from the future: that counts as 0.
    #[inline]
    pub(crate) fn age_s(self, now_s: u32) -> u32 {
        now_s.saturating_sub(self.seen_s())
    }
}

/// A place for one address: read by every worker without a lock, written under the table's lock, except
/// for a refresh.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

impl Slot {
    /// The value, if the slot holds `key`.
    ///
    /// A writer takes the key out before it stores another value, so a reader that finds its key on both
    /// sides of the value has a value of that key. The tag covers the case that the slot was given to
    /// another address and back in between. What remains is a frame to a wrong port of its own network,
    /// since the caller checks that the port belongs to it.
    #[inline]
    pub(crate) fn read(&self, key: Key) -> Option<Value> {
        if self.key.load(Ordering::Acquire) != key.0 {
            return None;
        }
        let value = Value(self.value.load(Ordering::Acquire));
        (self.key.load(Ordering::Relaxed) == key.0 && value.is_of(key)).then_some(value)
    }

    /// Whatever the slot holds.
    pub(crate) fn content(&self) -> Option<(Key, Value)> {
        let key = Key(self.key.load(Ordering::Acquire));
        if key.0 == 0 { None } else { self.read(key).map(|value| (key, value)) }
    }

    /// Notes that the address was seen again. Whoever changes the slot at the same time wins.
    #[inline]
    pub(crate) fn refresh(&self, old: Value, new: Value) {
        let _ = self.value.compare_exchange(old.0, new.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Gives the slot to `key`; only under the table's lock.
    pub(crate) fn store(&self, key: Key, value: Value) {
        if self.key.load(Ordering::Relaxed) != key.0 {
            self.key.store(0, Ordering::Relaxed);
        }
        self.value.store(value.0, Ordering::Release);
        self.key.store(key.0, Ordering::Release);
    }

    /// Empties the slot; only under the table's lock.
    pub(crate) fn clear(&self) {
        self.key.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_value_give_back_what_was_packed() {
        let network = NetworkIndex::new(crate::ids::NETWORKS_MAX - 1).unwrap();
        let mac = MacAddress([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let key = Key::new(network, mac);
        assert_eq!((key.network(), key.mac()), (Some(network), mac));
        let port = PortIndex::new(crate::ids::PORTS_MAX - 1).unwrap();
        let value = Value::new(key, port, 7, u32::MAX);
        assert_eq!((value.port(), value.moves(), value.seen_s()), (Some(port), 7, u32::MAX));
        assert_eq!(value.age_s(3), 0);
    }

    #[test]
    fn a_slot_is_read_only_by_its_key() {
        let [lab, office] = [0, 1].map(|index| NetworkIndex::new(index).unwrap());
        let mac = MacAddress([2, 0, 0, 0, 0, 1]);
        let value = Value::new(Key::new(lab, mac), PortIndex::new(3).unwrap(), 0, 1);
        let slot = Slot::default();
        assert_eq!(slot.content(), None);
        slot.store(Key::new(lab, mac), value);
        assert_eq!(slot.read(Key::new(lab, mac)), Some(value));
        assert_eq!(slot.read(Key::new(office, mac)), None);
        slot.clear();
        assert_eq!(slot.read(Key::new(lab, mac)), None);
    }
}
