//! What rules said about openings, for the next ones of their kind: one table for each worker.
//!
//! Whether rules let a packet open a connection, and whose, depends under one policy on nothing but the ports by which it enters and
//! leaves, both addresses, the protocol and the destination port. Clients open connection after connection to the same service, so
//! that rules would say the same again and again. Another policy ends all that is known. What cannot be told by this alone is
//! not in here: fragments, what is translated, and what passes whatever rules say.
//!
//! A place for each hash, seeded since guests choose what is hashed: who is displaced has the rules asked once more.

use std::hash::{BuildHasher, Hasher};

use crate::flow_cache::FlowHasher;
use crate::ids::PortIndex;
use crate::packet::{Packet, Transport};
use crate::security::{Service, may_be_essential};

/// Kinds that there is room for: 48 bytes each.
const KINDS: usize = 512;

/// What packets have in common that rules allow or not to open connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Kind {
    source: u128,
    destination: u128,
    service: u32,
    /// Where it enters, and where it leaves.
    ports: [u16; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    kind: Kind,
    /// Whether the rules of the port where it enters vouch for its connections, and those of the other one.
    vouch: [bool; 2],
    /// The epoch in which that holds.
    epoch: u16,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Openings {
    slots: Box<[Slot]>,
    /// Where the last one was found or noted: the next one is mostly of its kind.
    last: usize,
    /// The current epoch; never 0.
    epoch: u16,
}

impl Kind {
    /// That of a packet that enters by the first of `ports` and leaves by the second as it came; `None`: each is asked about by itself.
    #[inline]
    pub(crate) fn of(packet: &Packet, ports: [PortIndex; 2]) -> Option<Self> {
        let has_ports = matches!(packet.transport, Transport::Tcp(_) | Transport::Ports(_));
        if !has_ports || packet.fragment.is_some() || may_be_essential(packet) {
            return None;
        }
        Some(Self {
            source: packet.source.to_bits(),
            destination: packet.destination.to_bits(),
            service: Service::of(packet)?.number(),
            ports: ports.map(PortIndex::raw),
        })
    }

    fn hash(&self, hasher: &FlowHasher) -> u64 {
        let mut hasher = hasher.build_hasher();
        hasher.write_u128(self.source);
        hasher.write_u128(self.destination);
        let [from, to] = self.ports.map(u64::from);
        hasher.write_u64(u64::from(self.service) << 32 | from << 16 | to);
        hasher.finish()
    }
}

impl Openings {
    /// An empty table; or, for who shall remember nothing, one without room.
    pub(crate) fn new(has_room: bool) -> Self {
        let slots = vec![Slot::default(); if has_room { KINDS } else { 0 }].into();
        Self { slots, last: 0, epoch: 1 }
    }

    /// Forgets all: another policy holds.
    pub(crate) fn start_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            *self = Self::new(!self.slots.is_empty());
        }
    }

    /// Whose rules vouch for connections that packets of this kind open, which rules allow; `None`: they have to be asked.
    #[inline]
    pub(crate) fn find(&mut self, kind: &Kind, hasher: &FlowHasher) -> Option<[bool; 2]> {
        let epoch = self.epoch;
        let known = |slot: &Slot| (slot.epoch == epoch && slot.kind == *kind).then_some(slot.vouch);
        self.slots.get(self.last).and_then(known).or_else(|| {
            self.last = place(kind, hasher);
            self.slots.get(self.last).and_then(known)
        })
    }

    /// Takes note of what rules said, which allowed it.
    pub(crate) fn note(&mut self, kind: Kind, vouch: [bool; 2], hasher: &FlowHasher) {
        self.last = place(&kind, hasher);
        if let Some(slot) = self.slots.get_mut(self.last) {
            *slot = Slot { kind, vouch, epoch: self.epoch };
        }
    }
}

fn place(kind: &Kind, hasher: &FlowHasher) -> usize {
    // Less than KINDS.
    usize::try_from(kind.hash(hasher) >> 32).unwrap_or(0) % KINDS
}
