//! What the heads of a burst's frames say, read once for all who ask: port security and security groups.

use crate::conntrack::{Conntrack, Hint};
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::ids::NetworkIndex;
use crate::packet::Contents;
use crate::vlan::{TYPE_FIELD, is_tag_at};

/// The most frames of a burst that are read ahead; those behind are read when they are asked about.
const AHEAD_MAX: usize = 64;

/// What a head says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// The frame has a tag, which may be taken off before anybody asks.
    Tagged,
    /// This.
    Read(Contents),
    /// It contradicts itself, or its claims do.
    Unreadable(DropReason),
}

/// A burst's heads; reused from burst to burst.
#[derive(Debug)]
pub(super) struct Readings {
    heads: Vec<Reading>,
    hints: Vec<Hint>,
}

impl Default for Readings {
    fn default() -> Self {
        Self { heads: Vec::with_capacity(AHEAD_MAX), hints: Vec::with_capacity(AHEAD_MAX) }
    }
}

impl Readings {
    /// Nothing is read of the burst.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.hints.clear();
    }

    /// Reads the burst's heads.
    pub(super) fn read<P>(&mut self, burst: &[Frame<P>]) {
        self.heads.extend(burst.iter().take(AHEAD_MAX).map(|frame| {
            if is_tag_at(frame.head.bytes(), TYPE_FIELD) {
                return Reading::Tagged;
            }
            match Contents::of(frame) {
                Ok(contents) => Reading::Read(contents),
                Err(reason) => Reading::Unreadable(reason),
            }
        }));
    }

    /// Has the table of connections fetch what the look-ups of a burst that was read will need.
    pub(super) fn look_ahead(&mut self, conntrack: &Conntrack, zone: NetworkIndex) {
        self.hints.extend(self.heads.iter().map(|head| match head {
            Reading::Read(Contents::Ip(packet)) => conntrack.hint(zone, packet),
            _ => Hint::default(),
        }));
        conntrack.look_ahead(&mut self.hints);
        let packets = self.heads.iter().zip(&self.hints).filter_map(|(head, hint)| match head {
            Reading::Read(Contents::Ip(packet)) => Some((packet, hint)),
            _ => None,
        });
        conntrack.look_ahead_to_open(zone, packets);
    }

    /// What the head of the frame at this position says; `None`: it was not read.
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&Reading> {
        self.heads.get(slot)
    }

    /// Where its connection may stand.
    #[inline]
    pub(super) fn hint(&self, slot: usize) -> Hint {
        self.hints.get(slot).copied().unwrap_or_default()
    }
}
