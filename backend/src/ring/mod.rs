//! Virtqueues as the device sees them: split and packed rings (virtio 1.2, 2.7 and 2.8).
//!
//! `core` and `packed` are the two layouts: where a ring lies, how far both sides have come, who notifies whom;
//! `layout` chooses between them. `chain` follows descriptors and turns guest addresses into checked segments,
//! `transmit` takes bursts of frames out of a guest, `receive` puts frames into one, whatever the layout. All of a ring is written by a hostile guest at any moment: each value is read once,
//! checked, and then used from our own copy.

mod arrival;
mod chain;
mod copy;
mod core;
mod layout;
mod ledger;
mod packed;
mod receive;
mod transmit;

#[cfg(test)]
mod oracle;

pub use self::arrival::Arrival;
pub(crate) use self::arrival::Judgement;
pub use self::chain::{ChainError, Segments};
pub(crate) use self::core::prefetch_ahead;
pub use self::layout::{Core, RingLog};
pub use self::ledger::{Identity, Ledger};
pub use self::receive::{ReceiveRing, Refused};
pub(crate) use self::transmit::{BURST_FRAMES, FRAME_MAX};
pub use self::transmit::{Burst, BurstLimit, Span, TransmitRing};

/// Descriptors that one chain may have, in the ring and in an indirect table together: as many as QEMU and
/// the Linux kernel allow.
pub const CHAIN_MAX: usize = 1024;

/// Why a ring cannot run, or had to be stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RingError {
    /// The size is not a power of two from 1 to 32768 (virtio 1.2, 2.7), or in a packed ring not from 1 to 32768
    /// (virtio 1.2, 2.8.10.1).
    #[error("ring size {0} is not from 1 to 32768, or no power of two, as a split ring's has to be")]
    BadSize(u16),
    /// A packed ring's position is behind its end.
    #[error("a packed ring of {size} descriptors cannot go on at descriptor {index}")]
    BadPosition {
        /// The descriptor.
        index: u16,
        /// The ring's descriptors.
        size: u16,
    },
    /// A part of the ring is misaligned (virtio 1.2, 2.7: 16, 2 and 4 bytes).
    #[error("the {part} at {address:#x} is not aligned to {align} bytes")]
    Misaligned {
        /// Descriptor table, available ring or used ring; or descriptor ring, driver area or device area.
        part: &'static str,
        /// Its address in the frontend's address space.
        address: u64,
        /// What is asked for.
        align: u64,
    },
    /// A part of the ring is not inside of one memory region.
    #[error("the {part} at {address:#x} is not inside of one memory region")]
    Unmapped {
        /// Descriptor table, available ring or used ring; or descriptor ring, driver area or device area.
        part: &'static str,
        /// Its address in the frontend's address space.
        address: u64,
    },
    /// The available index moved by more than the ring's size, or backwards.
    #[error("the available index jumped to {found} while {consumed} were consumed, in a ring of {size}")]
    IndexJump {
        /// What the driver wrote.
        found: u16,
        /// What was consumed.
        consumed: u16,
        /// The ring's entries.
        size: u16,
    },
    /// The available ring names a descriptor that does not exist.
    #[error("the available ring names descriptor {found} in a ring of {size}")]
    BadHead {
        /// What the driver wrote.
        found: u16,
        /// The ring's entries.
        size: u16,
    },
    /// A chain of a packed ring goes on beyond what the driver made available (virtio 1.2, 2.8.17).
    #[error("the chain at descriptor {head} of a packed ring of {size} goes on where nothing is available")]
    EndlessChain {
        /// Its first descriptor.
        head: u16,
        /// The ring's descriptors.
        size: u16,
    },
    /// The frontend made our write to the call eventfd block.
    #[error("the call eventfd was full and made to block, which held up a worker")]
    CallBlocked,
    /// The guest's memory file shrank under the mapping.
    #[error("the guest's memory file was made shorter while it was in use")]
    MemoryGone,
}
