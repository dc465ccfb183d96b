//! Lists of classes that take turns: those that may send by themselves (a row for each level and priority), and those that
//! may borrow of one class (its feed, for each priority).
//!
//! Turns are deficit round robin (Shreedhar and Varghese, 1995): a class whose turn it is and that has used up its deficit
//! gets its quantum and goes to the end. Whoever sent more than it had sits out as many turns as that takes, so that shares
//! hold for super-frames that are longer than a quantum.

use super::{LEVELS, steps};
use crate::qos::plan::PRIORITIES;

/// No node.
const NONE: u32 = u32::MAX;

/// Priorities, as a length.
pub(super) const BANDS: usize = PRIORITIES as usize;

/// A list that classes take turns in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct List(usize);

/// A list's nodes.
#[derive(Clone, Copy, Debug)]
struct Ring {
    /// The node whose turn it is. Who had a turn in this round stands at the end.
    first: u32,
    round: u64,
}

const EMPTY: Ring = Ring { first: NONE, round: 1 };

/// Whose tokens a list's classes send with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tokens {
    Own,
    Borrowed,
}

/// A class's place in a list, of its own tokens or of its parent's; it is in one of them at a time.
#[derive(Clone, Copy, Debug)]
struct Node {
    class: u32,
    next: u32,
    previous: u32,
    quantum: i64,
    /// With own tokens, with borrowed ones.
    turns: [Turn; 2],
}

/// What a class has left to send in its turn.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Bytes; what it sent too much, if negative.
    deficit: i64,
    /// The round in which it had its last turn.
    round: u64,
}

/// All lists.
#[derive(Debug)]
pub(super) struct Feeds {
    nodes: Vec<Node>,
    /// Rows first, feeds behind.
    lists: Vec<Ring>,
    /// Of each level a bit for each priority whose row is not empty.
    rows: [u8; LEVELS],
    /// A bit for each level of which some row is not empty.
    levels: u32,
}

impl Feeds {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), lists: vec![EMPTY; LEVELS * BANDS], rows: [0; LEVELS], levels: 0 }
    }

    /// Nodes for a class: one, or one for each priority. Gives the first one's number.
    pub(super) fn add_nodes(&mut self, class: u32, count: usize, quantum: i64) -> u32 {
        let turns = [Turn { deficit: quantum, round: 0 }; 2];
        let node = Node { class, next: NONE, previous: NONE, quantum, turns };
        let first = self.nodes.len();
        self.nodes.resize(first + count, node);
        u32::try_from(first).unwrap_or(NONE)
    }

    /// The feeds of a class that has others below it. Gives the first one's number.
    pub(super) fn add_feeds(&mut self) -> u32 {
        let first = self.lists.len();
        self.lists.resize(first + BANDS, EMPTY);
        u32::try_from(first).unwrap_or(NONE)
    }

    /// The row of a level and a priority.
    #[inline]
    pub(super) fn row(level: u8, priority: u8) -> List {
        List(usize::from(level) * BANDS + usize::from(priority))
    }

    /// The feed of a priority of the class whose first feed is `feeds`.
    #[inline]
    pub(super) fn feed(feeds: u32, priority: u8) -> List {
        List(feeds as usize + usize::from(priority))
    }

    #[inline]
    pub(super) fn is_empty(&self, list: List) -> bool {
        self.lists.get(list.0).is_none_or(|ring| ring.first == NONE)
    }

    /// The lowest level at which somebody may send, and the first priority there.
    #[inline]
    pub(super) fn first_row(&self) -> Option<(u8, u8)> {
        let level = u8::try_from(self.levels.trailing_zeros()).ok()?;
        let priority = self.rows.get(usize::from(level))?.trailing_zeros();
        Some((level, u8::try_from(priority).ok()?))
    }

    /// Puts `node` into `list`: who has not had its turn in this round goes first, others go to the end. So who is away for a moment, as classes are that have just enough tokens of their own for a frame, neither
    /// misses a turn nor gets one too many.
    pub(super) fn insert(&mut self, list: List, node: u32, tokens: Tokens) {
        steps::count();
        self.note_row(list, true);
        let Ring { first, round } = self.lists[list.0];
        if first == NONE {
            self.link(node, node, node);
            self.lists[list.0].first = node;
            return;
        }
        let last = self.nodes[first as usize].previous;
        self.link(last, node, first);
        if self.nodes[node as usize].turns[tokens as usize].round != round {
            self.lists[list.0].first = node;
        }
    }

    fn link(&mut self, previous: u32, node: u32, next: u32) {
        self.nodes[previous as usize].next = node;
        self.nodes[next as usize].previous = node;
        let own = &mut self.nodes[node as usize];
        (own.previous, own.next) = (previous, next);
    }

    /// Takes `node` out of `list`, where it is.
    pub(super) fn remove(&mut self, list: List, node: u32) {
        steps::count();
        let Node { next, previous, .. } = self.nodes[node as usize];
        if next == node {
            self.lists[list.0].first = NONE;
            self.note_row(list, false);
            return;
        }
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        let ring = &mut self.lists[list.0];
        if ring.first == node {
            ring.first = next;
        }
    }

    fn note_row(&mut self, list: List, is_taken: bool) {
        let level = list.0 / BANDS;
        let Some(priorities) = self.rows.get_mut(level) else { return };
        let bit = 1 << (list.0 % BANDS);
        if is_taken {
            *priorities |= bit
        } else {
            *priorities &= !bit
        }
        let is_used = *priorities != 0;
        if is_used { self.levels |= 1 << level } else { self.levels &= !(1 << level) }
    }

    /// The class of `list` whose turn it is; `None`: the list is empty.
    pub(super) fn turn(&mut self, list: List, tokens: Tokens) -> Option<u32> {
        loop {
            steps::count();
            let ring = self.lists.get_mut(list.0)?;
            let node = self.nodes.get_mut(ring.first as usize)?;
            let turn = &mut node.turns[tokens as usize];
            // Everybody had a turn.
            ring.round += u64::from(turn.round == ring.round);
            if turn.deficit > 0 {
                return Some(node.class);
            }
            // Who is alone need not wait for others' turns.
            turn.deficit = if node.next == ring.first { node.quantum } else { turn.deficit + node.quantum };
            turn.round = ring.round;
            ring.first = node.next;
        }
    }

    /// What `node` has left to send in its turn, in bytes.
    #[inline]
    pub(super) fn deficit(&self, node: u32, tokens: Tokens) -> i64 {
        self.nodes.get(node as usize).map_or(0, |node| node.turns[tokens as usize].deficit)
    }

    /// Notes that `node` sent `bytes`.
    #[inline]
    pub(super) fn charge(&mut self, node: u32, tokens: Tokens, bytes: u32) {
        self.nodes[node as usize].turns[tokens as usize].deficit -= i64::from(bytes);
    }
}
