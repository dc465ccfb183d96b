//! One class by itself: its buckets, and where its turns are kept.

use super::super::plan::Shares;
use super::super::rate::Tokens;
use super::{Class, Lending, Mode, NONE};
use crate::time::Nanos;

impl Class {
    pub(super) fn new(shares: &Shares, now: Nanos) -> Self {
        Self {
            parent: NONE,
            nodes: NONE,
            feeds: NONE,
            level: 0,
            priority: 0,
            active: 0,
            is_parked: false,
            mode: Mode::CanSend,
            rate: Tokens::new(shares.rate, shares.burst, now),
            ceil: Tokens::new(shares.ceil, shares.cburst, now),
            lending: Lending::default(),
        }
    }

    pub(super) fn at(self, parent: u32, level: u8, priority: u8) -> Self {
        Self { parent, level, priority, ..self }
    }

    pub(super) fn with(self, nodes: u32, feeds: u32) -> Self {
        Self { nodes, feeds, ..self }
    }

    /// Its node for a priority: a leaf has but one.
    #[inline]
    pub(super) fn node(&self, priority: u8) -> u32 {
        if self.feeds == NONE { self.nodes } else { self.nodes + u32::from(priority) }
    }

    #[inline]
    pub(super) fn refill(&mut self, now: Nanos) {
        self.rate.refill(now);
        self.ceil.refill(now);
    }

    #[inline]
    pub(super) fn mode_by_tokens(&self) -> Mode {
        if !self.ceil.is_solvent() {
            Mode::CannotSend(self.ceil.solvent_at())
        } else if self.rate.is_solvent() {
            Mode::CanSend
        } else {
            Mode::MayBorrow(self.rate.solvent_at())
        }
    }
}
