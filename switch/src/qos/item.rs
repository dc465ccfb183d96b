//! What waits: the handle of a frame that somebody else keeps, with all that disciplines look at.

use crate::time::Nanos;

/// What an IP packet says of explicit congestion notification (RFC 3168, 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Ecn {
    /// Its transport knows nothing of it, or this is no IP packet: it can only be dropped.
    #[default]
    NotCapable,
    /// ECT(0) or ECT(1): it may be marked.
    Capable,
    /// CE: it is marked already.
    Experienced,
}

impl Ecn {
    /// Of the lower two bits of an IPv4 packet's TOS or an IPv6 packet's traffic class.
    #[must_use]
    #[inline]
    pub const fn of(traffic_class: u8) -> Self {
        match traffic_class & 3 {
            0 => Self::NotCapable,
            3 => Self::Experienced,
            _ => Self::Capable,
        }
    }
}

/// A frame that waits. The frame's bytes are the caller's, who knows them by `ticket`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// The caller's name of the frame; comes out exactly once, departed or dropped.
    pub ticket: u32,
    /// The bytes that it takes on the wire, see [`Tree::wire_length`](super::Tree::wire_length).
    pub length: u32,
    /// The flow's seeded hash, the same for all frames of a flow.
    pub flow: u32,
    /// The differentiated services code point, 0 to 63 (RFC 2474, 3); 0 of what is no IP packet.
    pub dscp: u8,
    /// Whether it may be marked instead of dropped.
    pub ecn: Ecn,
    /// When it began to wait.
    pub arrived: Nanos,
    /// Whether the discipline marked it: the caller sets CE in its bytes.
    pub marked: bool,
}

/// No item.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    item: Item,
    next: u32,
}

/// All that waits in a tree: one table for the lists of all its disciplines, so that memory is bounded for the tree, whatever
/// its classes are. It is taken when the tree is made, and touched as far as it is used.
#[derive(Debug)]
pub(crate) struct Items {
    nodes: Vec<Node>,
    /// The first of those that nobody uses.
    free: u32,
    used: u32,
    limit: u32,
}

impl Items {
    /// A table for `limit` items.
    pub(crate) fn new(limit: u32) -> Self {
        Self { nodes: Vec::with_capacity(limit as usize), free: NONE, used: 0, limit }
    }

    /// How many more there is room for.
    #[inline]
    pub(crate) fn free(&self) -> u32 {
        self.limit.saturating_sub(self.used)
    }

    /// Another limit; what is above it stays until it leaves.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.nodes.reserve((limit as usize).saturating_sub(self.nodes.len()));
    }

    /// A place for `item`; `None`: there is none left.
    fn insert(&mut self, item: Item) -> Option<u32> {
        let node = Node { item, next: NONE };
        let at = if let Some(free) = self.nodes.get_mut(self.free as usize) {
            let next = std::mem::replace(free, node).next;
            std::mem::replace(&mut self.free, next)
        } else if self.free() == 0 {
            return None;
        } else {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).ok()?
        };
        self.used += 1;
        Some(at)
    }
}

/// A list of items, first in first out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    first: u32,
    last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Chain {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self { first: NONE, last: NONE };

    /// Whether nothing is in it.
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.first == NONE
    }

    /// Puts `item` at the end; gives it back if the tree has no room.
    #[inline]
    pub(crate) fn push(&mut self, items: &mut Items, item: Item) -> Result<(), Item> {
        let at = items.insert(item).ok_or(item)?;
        match items.nodes.get_mut(self.last as usize) {
            Some(last) if self.first != NONE => last.next = at,
            _ => self.first = at,
        }
        self.last = at;
        Ok(())
    }

    /// Takes out all that `wanted` says; what stays keeps its order.
    pub(crate) fn remove(&mut self, items: &mut Items, mut wanted: impl FnMut(&Item) -> bool) {
        let mut kept = Self::EMPTY;
        while let Some(item) = self.pop(items) {
            if !wanted(&item) {
                // The place that it had is free.
                let _ = kept.push(items, item);
            }
        }
        *self = kept;
    }

    /// Takes the first one out.
    #[inline]
    pub(crate) fn pop(&mut self, items: &mut Items) -> Option<Item> {
        let at = self.first;
        let node = items.nodes.get_mut(at as usize)?;
        let item = node.item;
        self.first = std::mem::replace(&mut node.next, items.free);
        items.free = at;
        items.used -= 1;
        Some(item)
    }
}
