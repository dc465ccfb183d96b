//! A map whose copies share what they have in common.
//!
//! The data path reads tables that never change. So a change is a new table, which must not cost what the whole table
//! would: this is a hash trie with path copying (P. Bagwell, "Ideal Hash Trees", 2001, without the compression of its
//! branches). A copy costs one reference; a change copies the way from the root to one leaf: for a million entries
//! five branches of 16 references and a leaf of eight entries. A look-up goes the same way.

use std::hash::BuildHasher;
use std::sync::Arc;

/// Hashes keys; seeded, so that nobody can choose names that fall together.
pub(crate) type TrieHasher = foldhash::quality::FixedState;

/// How many bits of the hash choose a branch.
const BRANCH_BITS: u32 = 4;
const BRANCHES: usize = 1 << BRANCH_BITS;

/// How many entries a leaf has, unless the hash has no more bits that could part them.
const LEAF_MAX: usize = 8;

/// The map.
#[derive(Clone, Debug)]
pub(crate) struct Trie<K, V> {
    root: Arc<Node<K, V>>,
    hasher: TrieHasher,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(u64, K, V)>),
    Branch([Arc<Node<K, V>>; BRANCHES]),
}

impl<K: Clone + Eq + std::hash::Hash, V: Clone> Trie<K, V> {
    /// An empty map.
    pub(crate) fn new(seed: u64) -> Self {
        let root = Arc::new(Node::Leaf(Vec::new()));
        Self { root, hasher: TrieHasher::with_seed(seed), len: 0 }
    }

    /// How many keys have a value.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let (mut node, mut rest) = (&*self.root, hash);
        while let Node::Branch(branches) = node {
            node = &branches[branch_of(rest)];
            rest >>= BRANCH_BITS;
        }
        let Node::Leaf(entries) = node else { return None };
        entries.iter().find(|(other, known, _)| *other == hash && known == key).map(|(_, _, value)| value)
    }

    /// Gives `key` this value; `None` takes the key out. What it had before comes back.
    pub(crate) fn set(&mut self, key: K, value: Option<V>) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        if value.is_none() {
            // Nothing is copied for what is not there.
            self.get(&key)?;
        }
        let (mut node, mut rest, mut depth) = (Arc::make_mut(&mut self.root), hash, 0);
        loop {
            if let Node::Leaf(entries) = node {
                if entries.len() < LEAF_MAX || depth * BRANCH_BITS >= u64::BITS {
                    break;
                }
                *node = split(std::mem::take(entries), depth);
            }
            let Node::Branch(branches) = node else { break };
            node = Arc::make_mut(&mut branches[branch_of(rest)]);
            rest >>= BRANCH_BITS;
            depth += 1;
        }
        let Node::Leaf(entries) = node else { return None };
        let found = entries.iter().position(|(other, known, _)| *other == hash && *known == key);
        let before = found.map(|at| entries.swap_remove(at).2);
        self.len = self.len + usize::from(value.is_some()) - usize::from(before.is_some());
        entries.extend(value.map(|value| (hash, key, value)));
        before
    }
}

#[inline]
fn branch_of(rest: u64) -> usize {
    // Masked to less than BRANCHES.
    usize::try_from(rest & (BRANCHES as u64 - 1)).unwrap_or(0)
}

/// A leaf at `depth` that has become too large, as a branch.
fn split<K, V>(entries: Vec<(u64, K, V)>, depth: u32) -> Node<K, V> {
    let mut parts: [Vec<_>; BRANCHES] = std::array::from_fn(|_| Vec::new());
    for entry in entries {
        parts[branch_of(entry.0 >> (depth * BRANCH_BITS))].push(entry);
    }
    Node::Branch(parts.map(|part| Arc::new(Node::Leaf(part))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut trie = Trie::new(1);
        (0..1000).for_each(|key| assert_eq!(trie.set(key, Some(key)), None));
        let copy = trie.clone();
        (0..500).for_each(|key| assert_eq!(trie.set(key, None), Some(key)));
        assert_eq!(trie.set(600, Some(7)), Some(600));
        assert_eq!((trie.len(), copy.len()), (500, 1000));
        assert_eq!((trie.get(&3), copy.get(&3)), (None, Some(&3)));
        assert_eq!((trie.get(&600), copy.get(&600)), (Some(&7), Some(&600)));
    }

    /// Keys whose hashes are all the same cannot be parted, and are found all the same.
    #[test]
    fn keys_that_fall_together_stay_apart() {
        #[derive(Clone, PartialEq, Eq)]
        struct Same(u32);
        impl std::hash::Hash for Same {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                state.write_u32(0);
            }
        }
        let mut trie = Trie::new(1);
        (0..40).for_each(|key| assert!(trie.set(Same(key), Some(key)).is_none()));
        assert!((0..40).all(|key| trie.get(&Same(key)) == Some(&key)));
        assert_eq!(trie.set(Same(39), None), Some(39));
        assert_eq!((trie.get(&Same(39)), trie.get(&Same(38)), trie.len()), (None, Some(&38), 39));
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(changes in prop::collection::vec((0..200_u16, any::<Option<u8>>()), 0..600)) {
            let (mut trie, mut map) = (Trie::new(7), HashMap::new());
            for (key, value) in changes {
                let before = match value {
                    Some(value) => map.insert(key, value),
                    None => map.remove(&key),
                };
                prop_assert_eq!(trie.set(key, value), before);
                prop_assert_eq!(trie.len(), map.len());
            }
            for key in 0..200 {
                prop_assert_eq!(trie.get(&key), map.get(&key));
            }
        }
    }
}
