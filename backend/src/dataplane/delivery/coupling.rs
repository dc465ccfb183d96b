//! Segments of a super-frame that leave by a tunnel: as trains, where the uplink takes such.

use viaduct_switch::tunnel::{Coupled, Encapsulation, Inside};
use viaduct_switch::{Claims, DropReason};

use super::{Outcome, Taker, header_of, length_of};
use crate::memory::{Segment, copy_out};

/// Couples datagrams to trains on their way to who takes them; none may have anything left to be done.
pub(super) struct Coupling<'a, T> {
    pub(super) taker: &'a mut T,
    pub(super) encapsulation: &'a Encapsulation,
    pub(super) inside: Inside,
    pub(super) room: &'a mut Vec<u8>,
    /// What stands in `room`.
    pub(super) coupled: Coupled,
}

impl<T: Taker> Taker for Coupling<'_, T> {
    fn take(
        &mut self,
        _: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        let tunnel = self.encapsulation.tunnel_header();
        let behind_udp = tunnel.len() + length as usize;
        if !self.coupled.takes(behind_udp, self.encapsulation.packet_headers()) {
            self.depart(outcome)?;
        }
        if self.coupled.datagrams() == 0 {
            self.room.clear();
            self.room.resize(self.encapsulation.len(), 0);
        } else {
            self.room.extend_from_slice(tunnel);
        }
        self.room.extend_from_slice(head);
        if !rest.is_empty() {
            let at = self.room.len();
            self.room.resize(at + (length as usize).saturating_sub(head.len()), 0);
            copy_out(&[], rest, self.room.get_mut(at..).unwrap_or_default());
        }
        self.coupled.add(behind_udp);
        Ok(())
    }
}

impl<T: Taker> Coupling<'_, T> {
    /// Has what was coupled leave.
    pub(super) fn depart(&mut self, outcome: &mut Outcome) -> Result<(), DropReason> {
        let coupled = std::mem::take(&mut self.coupled);
        let whole = length_of(self.room);
        let length = whole.saturating_sub(u32::try_from(self.encapsulation.len()).unwrap_or(0));
        let inside = Inside { length, ..self.inside };
        let claims = match coupled.datagrams() {
            0 => return Ok(()),
            1 => Claims { checksum: self.encapsulation.put(&inside, self.room), gso: None },
            _ => self.encapsulation.put_train(&inside, coupled.size(), self.room),
        };
        self.taker.take(&header_of(claims.to_raw(&[])), self.room, &[], whole, outcome)
    }
}
