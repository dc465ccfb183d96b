//! Descriptors written behind the driver's back: chains of a test's own making.

use crate::driver::header::NetHeader;
use crate::driver::nic::Nic;
use crate::driver::ring::{Piece, Ring};
use crate::stream::{frame, mac};

/// The transmit ring's number.
pub const SEND: usize = 1;
/// The receive ring's number.
pub const RECEIVE: usize = 0;

/// A descriptor as it stands in the table: address, length, flags, next.
#[derive(Clone, Copy)]
pub struct Raw(pub u64, pub u32, pub u16, pub u16);

/// Writes `descriptors` to the table at `table`, from its first entry on.
pub fn write_table(ring: &Ring, table: u64, descriptors: &[Raw]) {
    for (index, Raw(address, length, flags, next)) in (0_u16..).zip(descriptors) {
        let piece = Piece { address: *address, length: *length, writable: false };
        ring.write_descriptor(table, index, piece, *flags, *next);
    }
}

/// Makes descriptor 0 with all that hangs on it available, behind the driver's back.
pub fn offer(ring: &mut Ring, descriptors: &[Raw]) {
    write_table(ring, ring.descriptor, descriptors);
    ring.put_available(0);
    ring.set_available_index(ring.available_index);
}

/// A header and a good frame at the card's spare memory; returns its address and length.
#[must_use]
pub fn good_frame(x: &Nic, number: u64, length: usize) -> (u64, u32) {
    x.memory.write(x.spare, &NetHeader::default().bytes());
    x.memory.write(x.spare + 12, &frame(mac(2), mac(1), number, length));
    (x.spare, (12 + length) as u32)
}
