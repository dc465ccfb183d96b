//! The table of neighbours: bounded, and fair to ports.
//!
//! Each entry is charged to a port: one that is asked for to the port whose packet needs it, one that is known to the port where
//! it answered. Who asks for too many that do not answer displaces his own, the oldest first; when the table is full, so does
//! the port that has most. Those that never answered go before the others.

use std::collections::{BTreeSet, HashMap};

use foldhash::quality::FixedState;

use super::neighbour::{Entry, NeighbourState};
use super::{Charge, Key};
use crate::time::Nanos;

/// Names an entry as long as it is in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot(usize);

/// What is to be remembered about an entry beside what it says.
#[derive(Debug)]
struct Place {
    entry: Entry,
    due: Nanos,
    rank: Rank,
}

/// In which order entries of one port give way: first those that never answered, then those that were heard of longest ago.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Rank {
    charge: Charge,
    is_proven: bool,
    /// Counts up.
    heard: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Count {
    all: usize,
    unproven: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    places: Vec<Option<Place>>,
    free: Vec<Slot>,
    index: HashMap<Key, Slot, FixedState>,
    ranks: BTreeSet<(Rank, Slot)>,
    deadlines: BTreeSet<(Nanos, Slot)>,
    counts: Vec<Count>,
    heard: u64,
    most: usize,
    most_unproven: usize,
}

impl Table {
    /// An empty table for `most` entries, of which `most_unproven` of one port never answered.
    pub(super) fn new(most: usize, most_unproven: usize, seed: u64) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            index: HashMap::with_hasher(FixedState::with_seed(seed)),
            ranks: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            counts: vec![Count::default(); Charge::COUNT],
            heard: 0,
            most: most.max(1),
            most_unproven: most_unproven.max(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, key: Key) -> Option<Slot> {
        self.index.get(&key).copied()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Entry> {
        self.places.get(slot.0)?.as_ref().map(|place| &place.entry)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.places.get_mut(slot.0)?.as_mut().map(|place| &mut place.entry)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (Slot, Charge, &Entry)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(slot, place)| {
            let place = place.as_ref()?;
            Some((Slot(slot), place.rank.charge, &place.entry))
        })
    }

    /// Who has to give way before another entry of `charge` may be put in.
    pub(super) fn displaced_by(&self, charge: Charge) -> Option<Slot> {
        let own = self.counts[charge.get()];
        if own.unproven >= self.most_unproven {
            return self.first_of(charge);
        }
        if self.len() < self.most {
            return None;
        }
        let most = self.counts.iter().map(|count| count.all).max().unwrap_or(0);
        if own.all == most {
            return self.first_of(charge);
        }
        let richest = self.counts.iter().position(|count| count.all == most)?;
        self.first_of(Charge::from_index(richest))
    }

    /// Who has to give way since `charge` was charged with an entry of another.
    pub(super) fn surplus_of(&self, charge: Charge) -> Option<Slot> {
        let has_more = self.counts[charge.get()].unproven > self.most_unproven;
        has_more.then(|| self.first_of(charge)).flatten()
    }

    fn first_of(&self, charge: Charge) -> Option<Slot> {
        let least = Rank { charge, is_proven: false, heard: 0 };
        let first = self.ranks.range((least, Slot(0))..).next();
        first.filter(|(rank, _)| rank.charge == charge).map(|(_, slot)| *slot)
    }

    /// Puts in an entry that nobody has, which is due at `due`.
    pub(super) fn insert(&mut self, entry: Entry, charge: Charge, due: Nanos) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            Slot(self.places.len() - 1)
        });
        self.heard += 1;
        let rank = Rank { charge, is_proven: false, heard: self.heard };
        self.index.insert(entry.key, slot);
        self.deadlines.insert((due, slot));
        self.places[slot.0] = Some(Place { entry, due, rank });
        self.count(rank, slot, true);
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Entry> {
        let Place { entry, due, rank } = self.places.get_mut(slot.0)?.take()?;
        self.index.remove(&entry.key);
        self.deadlines.remove(&(due, slot));
        self.count(rank, slot, false);
        self.free.push(slot);
        Some(entry)
    }

    /// The neighbour answered, or somebody told that he is it, which proves nothing, whatever was proven before: from now on the
    /// entry is charged to `charge`, and the last of that to give way. Who has more than he may then: see [`Self::surplus_of`].
    pub(super) fn heard_of(&mut self, slot: Slot, charge: Charge, is_answer: bool) {
        let Some(old) = self.places.get(slot.0).and_then(|place| place.as_ref()).map(|place| place.rank)
        else {
            return;
        };
        self.count(old, slot, false);
        self.heard += 1;
        let rank = Rank { charge, is_proven: is_answer, heard: self.heard };
        if let Some(place) = self.places[slot.0].as_mut() {
            place.rank = rank;
        }
        self.count(rank, slot, true);
    }

    fn count(&mut self, rank: Rank, slot: Slot, is_there: bool) {
        let count = &mut self.counts[rank.charge.get()];
        let unproven = usize::from(!rank.is_proven);
        if is_there {
            self.ranks.insert((rank, slot));
            *count = Count { all: count.all + 1, unproven: count.unproven + unproven };
        } else {
            self.ranks.remove(&(rank, slot));
            *count = Count { all: count.all - 1, unproven: count.unproven - unproven };
        }
    }

    /// Has the entry be in `state` from `now` on, and be due at `due`; no question was asked in that state.
    pub(super) fn enter(&mut self, slot: Slot, state: NeighbourState, now: Nanos, due: Nanos) {
        if let Some(entry) = self.get_mut(slot) {
            entry.state = state;
            entry.since = now;
            entry.asked = 0;
        }
        self.set_due(slot, due);
    }

    pub(super) fn set_due(&mut self, slot: Slot, due: Nanos) {
        let Some(place) = self.places.get_mut(slot.0).and_then(Option::as_mut) else { return };
        self.deadlines.remove(&(place.due, slot));
        place.due = due;
        self.deadlines.insert((due, slot));
    }

    /// The entry that is due first, and when.
    pub(super) fn first_due(&self) -> Option<(Nanos, Slot)> {
        self.deadlines.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::NetworkIndex;
    use crate::packet::Address;

    fn key(number: u16) -> Key {
        (NetworkIndex::new(0).unwrap(), Address::from_bits(number.into()))
    }

    /// Each entry's charge, as the table itself has it.
    fn charges(table: &Table) -> Vec<Charge> {
        table.entries().map(|(_, charge, _)| charge).collect()
    }

    fn count(charges: &[Charge], of: Charge) -> usize {
        charges.iter().filter(|charge| **charge == of).count()
    }

    proptest! {
        /// Whoever comes in, who has fewer than his share keeps all.
        #[test]
        fn who_has_most_gives_way(
            steps in prop::collection::vec((0..400_u16, 0..5_u16, 0..4_u8), 1..400),
            most in 1..40_usize,
            most_unproven in 1..20_usize,
        ) {
            let mut table = Table::new(most, most_unproven, 1);
            for (step, (number, charge, what)) in steps.into_iter().enumerate() {
                let (charge, now) = (Charge(charge), Nanos(step as u64));
                match table.find(key(number)) {
                    Some(slot) if what == 0 => prop_assert_eq!(table.remove(slot).unwrap().key, key(number)),
                    Some(slot) => {
                        table.heard_of(slot, charge, what > 1);
                        if let Some(surplus) = table.surplus_of(charge) {
                            prop_assert_ne!(surplus, slot, "who was heard of goes last");
                            table.remove(surplus);
                        }
                    }
                    None => {
                        let before = charges(&table);
                        if let Some(slot) = table.displaced_by(charge) {
                            let (_, of, _) = table.entries().find(|(other, ..)| *other == slot).unwrap();
                            let most_of = before.iter().map(|of| count(&before, *of)).max().unwrap();
                            prop_assert!(of == charge || count(&before, of) == most_of);
                            prop_assert!(of == charge || count(&before, charge) < most_of);
                            prop_assert!(of == charge || before.len() == most);
                            table.remove(slot);
                        }
                        let entry = Entry::new(key(number), NeighbourState::Incomplete, now);
                        table.insert(entry, charge, now);
                    }
                }
                let charges = charges(&table);
                prop_assert!(charges.len() == table.len() && table.len() <= most);
                prop_assert_eq!((table.ranks.len(), table.deadlines.len()), (table.len(), table.len()));
                for charge in (0..5).map(Charge) {
                    prop_assert_eq!(table.counts[charge.get()].all, count(&charges, charge));
                    let unproven = table.counts[charge.get()].unproven;
                    prop_assert!(unproven <= table.counts[charge.get()].all && unproven <= most_unproven);
                }
            }
        }
    }
}
