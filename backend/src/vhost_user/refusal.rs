//! Why the device refuses a request.

use viaduct_switch::MacAddress;

use crate::memory::MemoryError;
use crate::ring::RingError;

/// Smallest MTU in bytes (RFC 791, 3.2; virtio 1.2, 5.1.4.1).
pub(super) const MTU_MIN: u16 = 68;

/// Most entries of a ring (virtio 1.2, 2.7 and 2.8).
pub(super) const SIZE_MAX: u32 = 32_768;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Virtio features that we did not offer.
    #[error("features {0:#x} were not offered")]
    Features(u64),
    /// Protocol features that we did not offer.
    #[error("protocol features {0:#x} were not offered")]
    ProtocolFeatures(u64),
    /// No such ring size.
    #[error(
        "ring {ring} would have {size} entries; 1 to {SIZE_MAX} are legal, and a power of two in a split ring (virtio 1.2, 2.7)"
    )]
    Size {
        /// The ring.
        ring: usize,
        /// What was asked for.
        size: u32,
    },
    /// A position that a split ring cannot have.
    #[error("ring {ring} would start at {base}; a split ring's index has 16 bits")]
    Base {
        /// The ring.
        ring: usize,
        /// What was asked for.
        base: u32,
    },
    /// The ring runs.
    #[error("ring {0} runs; stop it with GET_VRING_BASE before its size or position changes")]
    Started(usize),
    /// A part of the ring is misaligned.
    #[error("ring {ring}: {error}")]
    Ring {
        /// The ring.
        ring: usize,
        /// What is wrong.
        error: RingError,
    },
    /// No such ring.
    #[error("there is no ring {0}")]
    NoSuchRing(usize),
    /// The enable value is neither 0 nor 1.
    #[error("ring {ring} cannot be enabled with {value}; 0 and 1 are legal")]
    Enable {
        /// The ring.
        ring: usize,
        /// What was sent.
        value: u32,
    },
    /// Enabling is part of what protocol features negotiate.
    #[error("rings cannot be enabled before protocol features are negotiated")]
    EnableTooEarly,
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No such MTU.
    #[error("an MTU of {0} bytes; {MTU_MIN} to 65535 are legal")]
    Mtu(u64),
    /// More than the configuration allows.
    #[error(
        "an MTU of {asked} bytes, but the port has {configured}; set the port's mtu to {asked}, or QEMU's host_mtu to {configured}"
    )]
    MtuTooLarge {
        /// What was asked for.
        asked: u16,
        /// What the configuration says.
        configured: u16,
    },
    /// A status with bits beyond its byte.
    #[error("device status {0:#x} has more than 8 bits (virtio 1.2, 2.1)")]
    Status(u64),
    /// A RARP for an address that no guest can have.
    #[error("a RARP for {0}, which is no station's address")]
    Rarp(MacAddress),
}
