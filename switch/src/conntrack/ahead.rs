//! Looking ahead: where a burst's connections stand, before its packets are looked up one by one.
//!
//! Of a million connections next to none are in the processor's cache, and a look-up waits for memory two times: for the
//! index, and for the entry that it names. Two passes over a burst that do nothing but load wait for many packets at
//! once; what follows finds all of it near.

use std::hint::black_box;

use super::index::{BUCKETS, Place};
use super::tuple::Kind;
use super::{Conntrack, Direction, Tuple};
use crate::ids::NetworkIndex;
use crate::packet::{Packet, Plain};

/// Where a packet's connection probably stands. It is nothing but a guess: whoever uses it looks whether it is so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint {
    /// `None`: a packet that no connection has.
    place: Option<Place>,
    /// What the packet's tuple hashes to.
    hash: u64,
    /// The same of its answers; `None`: it may not open a connection, or belongs to one.
    reply: Option<u64>,
    /// The entry that is likely the packet's, and its direction there.
    pub(super) candidate: Option<(u32, Direction)>,
}

impl Conntrack {
    /// Where to look for the connection of `packet` of network `zone`. Reads no memory of the table: that is for
    /// [`Conntrack::look_ahead`], for all packets of a burst at once.
    #[must_use]
    #[inline]
    pub fn hint(&self, zone: NetworkIndex, packet: &Packet) -> Hint {
        match Tuple::of(zone, packet) {
            Ok(Kind::Flow(tuple) | Kind::Reply(tuple) | Kind::Error(tuple, _)) => {
                let hash = tuple.hash(&self.hasher);
                Hint { place: Some(self.index.place(hash)), hash, ..Hint::default() }
            }
            Ok(Kind::Untracked) | Err(_) => Hint::default(),
        }
    }

    /// The same of a plain packet.
    #[inline]
    pub(crate) fn hint_plain(&self, zone: NetworkIndex, plain: &Plain) -> Hint {
        let hash = Tuple::hash_plain(zone, plain, &self.hasher);
        Hint { place: Some(self.index.place(hash)), hash, ..Hint::default() }
    }

    /// Loads what a look-up of each of a burst's packets will need, and notes where it stands. Changes nothing but the
    /// hints. Says whether there may be packets of no connection among them.
    pub fn look_ahead(&self, hints: &mut [Hint]) -> bool {
        let mut has_open = true;
        for bucket in BUCKETS {
            if !has_open {
                break;
            }
            let open = hints.iter().filter_map(Hint::open);
            black_box(open.fold(0, |sum, place| sum ^ self.index.touch(place, bucket)));
            has_open = false;
            for hint in hints.iter_mut() {
                let Some(place) = hint.open() else { continue };
                hint.candidate = self.index.candidate(place, bucket);
                has_open |= hint.candidate.is_none();
            }
        }
        let entries = hints.iter().filter_map(|hint| hint.candidate);
        black_box(entries.fold(0, |sum, (number, _)| {
            let entry = self.entry(number);
            sum ^ entry.front.touch() ^ entry.back.touch()
        }));
        has_open
    }

    /// The same for a burst's packets that may open connections and will, as far as the hints tell: loads where
    /// their answers will be noted. After [`Conntrack::look_ahead`].
    pub fn look_ahead_to_open<'a>(&self, packets: impl Iterator<Item = (Tuple, &'a mut Hint)>) {
        let new = packets.filter(|(_, hint)| hint.is_open());
        black_box(new.fold(0, |sum, (tuple, hint)| {
            let hash = tuple.reversed().hash(&self.hasher);
            hint.reply = Some(hash);
            sum ^ self.touch_hash(hash)
        }));
    }

    /// Loads where packets of this tuple are looked for.
    #[inline]
    pub(crate) fn touch_place(&self, tuple: &Tuple) -> u32 {
        self.touch_hash(tuple.hash(&self.hasher))
    }

    #[inline]
    fn touch_hash(&self, hash: u64) -> u32 {
        let place = self.index.place(hash);
        BUCKETS.into_iter().fold(0, |sum, bucket| sum ^ self.index.touch(place, bucket))
    }
}

impl Hint {
    /// Where to look for a connection that was not found yet.
    #[inline]
    fn open(&self) -> Option<Place> {
        self.place.filter(|_| self.candidate.is_none())
    }

    /// Whether its packet may open a connection.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open().is_some()
    }

    /// Whether an entry was found that is likely the packet's.
    #[inline]
    pub(crate) fn names_one(&self) -> bool {
        self.candidate.is_some()
    }

    /// What the tuples of both directions hash to of a packet that seemed to open a connection, within one network.
    #[inline]
    pub(super) fn hashes(&self) -> Option<[u64; 2]> {
        Some([self.hash, self.reply?])
    }
}
