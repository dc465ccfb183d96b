//! A table of fixed size whose things are found by hashes: chains through the things' own slots, so that putting in and
//! taking out cost a few steps, leave nothing behind, and allocate nothing.

/// No slot.
const NONE: u32 = u32::MAX;

/// The table. Each thing is in `CHAINS` chains, one for each way in which it is found.
#[derive(Debug)]
pub(super) struct Chained<T, const CHAINS: usize> {
    things: Box<[Option<T>]>,
    next: Box<[[u32; CHAINS]]>,
    heads: [Box<[u32]>; CHAINS],
    /// Slots that are free again, the last one on top, with room for all.
    freed: Vec<u32>,
    /// Slots from here on were never in use.
    fresh: u32,
}

impl<T: Copy, const CHAINS: usize> Chained<T, CHAINS> {
    /// An empty table for so many things; takes all its memory.
    pub(super) fn new(room: usize) -> Self {
        let heads = room.max(1).next_power_of_two();
        Self {
            things: vec![None; room].into(),
            next: vec![[NONE; CHAINS]; room].into(),
            heads: std::array::from_fn(|_| vec![NONE; heads].into()),
            freed: Vec::with_capacity(room),
            fresh: 0,
        }
    }

    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.fresh as usize - self.freed.len()
    }

    /// For how many there is room.
    pub(super) fn room(&self) -> usize {
        self.things.len()
    }

    /// The slot behind the last one that was ever in use.
    pub(super) fn end(&self) -> u32 {
        self.fresh
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.things)
            + size_of_val(&*self.next)
            + self.heads.iter().map(|heads| size_of_val(&**heads)).sum::<usize>()
            + self.freed.capacity() * size_of::<u32>()
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.things.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.things.get_mut(slot as usize)?.as_mut()
    }

    /// The thing that is meant, by one of the ways to it.
    pub(super) fn find(&self, chain: usize, hash: u64, is_meant: impl Fn(&T) -> bool) -> Option<u32> {
        let mut slot = self.heads[chain][self.place(hash)];
        while let Some(thing) = self.get(slot) {
            if is_meant(thing) {
                return Some(slot);
            }
            slot = self.next[slot as usize][chain];
        }
        None
    }

    /// Loads where a chain begins.
    #[inline]
    pub(super) fn touch(&self, chain: usize, hash: u64) -> u32 {
        self.heads[chain][self.place(hash)]
    }

    /// Puts a thing in; `None`: there is no room.
    pub(super) fn insert(&mut self, thing: T, hashes: [u64; CHAINS]) -> Option<u32> {
        let slot = self.freed.pop().or_else(|| {
            let fresh = self.fresh;
            ((fresh as usize) < self.things.len()).then(|| {
                self.fresh += 1;
                fresh
            })
        })?;
        for (chain, hash) in hashes.into_iter().enumerate() {
            let place = self.place(hash);
            self.next[slot as usize][chain] = std::mem::replace(&mut self.heads[chain][place], slot);
        }
        self.things[slot as usize] = Some(thing);
        Some(slot)
    }

    /// Takes a thing out, which was put in with these hashes.
    pub(super) fn remove(&mut self, slot: u32, hashes: [u64; CHAINS]) {
        if self.get(slot).is_none() {
            return;
        }
        for (chain, hash) in hashes.into_iter().enumerate() {
            self.unlink(chain, hash, slot);
        }
        self.things[slot as usize] = None;
        self.freed.push(slot);
    }

    fn unlink(&mut self, chain: usize, hash: u64, slot: u32) {
        let behind = self.next[slot as usize][chain];
        let place = self.place(hash);
        let mut at = self.heads[chain][place];
        if at == slot {
            self.heads[chain][place] = behind;
            return;
        }
        while let Some(next) = self.next.get_mut(at as usize) {
            if next[chain] == slot {
                next[chain] = behind;
                return;
            }
            at = next[chain];
        }
    }

    fn place(&self, hash: u64) -> usize {
        // Masked to less than the number of heads, which all chains have in common.
        let heads = self.heads.first().map_or(1, |heads| heads.len());
        usize::try_from(hash & (heads as u64 - 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in prop::collection::vec((any::<bool>(), 0..40_u64, 0..4_u64), 1..200)) {
            let mut own: Chained<(u64, u64), 2> = Chained::new(20);
            let mut map: HashMap<u64, (u32, u64)> = HashMap::new();
            for (puts_in, key, other) in steps {
                // Few places, so that chains are long.
                let hashes = [key % 5, other];
                match (puts_in, map.get(&key).copied()) {
                    (true, None) => {
                        let slot = own.insert((key, other), hashes);
                        prop_assert_eq!(slot.is_some(), map.len() < 20);
                        if let Some(slot) = slot {
                            map.insert(key, (slot, other));
                        }
                    }
                    (false, Some((slot, other))) => {
                        own.remove(slot, [key % 5, other]);
                        map.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!(own.len(), map.len());
                for key in 0..40 {
                    let slot = map.get(&key).map(|(slot, _)| *slot);
                    prop_assert_eq!(own.find(0, key % 5, |thing| thing.0 == key), slot);
                    if let Some((slot, other)) = map.get(&key) {
                        prop_assert_eq!(own.find(1, *other, |thing| thing.0 == key), Some(*slot));
                    }
                }
            }
        }
    }
}
