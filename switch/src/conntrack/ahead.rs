//! Looking ahead: where a burst's connections stand, before its packets are looked up one by one.
//!
//! Of a million connections next to none are in the processor's cache, and a look-up waits for memory two times: for the
//! index, and for the entry that it names. Two passes over a burst that do nothing but load wait for many packets at
//! once; what follows finds all of it near.

use std::hint::black_box;

use super::index::Place;
use super::tuple::Kind;
use super::{Conntrack, Direction, Tuple};
use crate::ids::NetworkIndex;
use crate::packet::Packet;

/// Where a packet's connection probably stands. It is nothing but a guess: whoever uses it looks whether it is so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint {
    /// `None`: a packet that no connection has.
    place: Option<Place>,
    /// The entry that is likely the packet's, and its direction there.
    pub(super) candidate: Option<(u32, Direction)>,
}

impl Conntrack {
    /// Where to look for the connection of `packet` of network `zone`. Reads no memory of the table: that is for
    /// [`Conntrack::look_ahead`], for all packets of a burst at once.
    #[must_use]
    #[inline]
    pub fn hint(&self, zone: NetworkIndex, packet: &Packet) -> Hint {
        let place = match Tuple::of(zone, packet) {
            Ok(Kind::Flow(tuple) | Kind::Reply(tuple) | Kind::Error(tuple, _)) => {
                Some(self.index.place(tuple.hash(&self.hasher)))
            }
            Ok(Kind::Untracked) | Err(_) => None,
        };
        Hint { place, candidate: None }
    }

    /// Loads what a look-up of each of a burst's packets will need, and notes where it stands. Changes nothing but the
    /// hints.
    pub fn look_ahead(&self, hints: &mut [Hint]) {
        let places = hints.iter().filter_map(|hint| hint.place);
        black_box(places.fold(0, |sum, place| sum ^ self.index.touch(place)));
        for hint in hints.iter_mut() {
            hint.candidate = hint.place.and_then(|place| self.index.candidates(place).next());
        }
        let entries = hints.iter().filter_map(|hint| hint.candidate);
        black_box(entries.fold(0, |sum, (number, _)| {
            let entry = self.entry(number);
            sum ^ entry.front.touch() ^ entry.back.touch()
        }));
    }

    /// The same for packets of network `zone` that will open connections, as far as the hints tell: loads where
    /// their answers will be noted. After [`Conntrack::look_ahead`].
    pub fn look_ahead_to_open<'a>(
        &self,
        zone: NetworkIndex,
        packets: impl Iterator<Item = (&'a Packet, &'a Hint)>,
    ) {
        let new = packets.filter(|(_, hint)| hint.place.is_some() && hint.candidate.is_none());
        black_box(new.fold(0, |sum, (packet, _)| match Tuple::of(zone, packet) {
            Ok(Kind::Flow(tuple)) => {
                sum ^ self.index.touch(self.index.place(tuple.reversed().hash(&self.hasher)))
            }
            _ => sum,
        }));
    }
}
