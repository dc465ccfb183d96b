//! Makes good on what a sender left to be done, for receivers that did not agree to take it: finishes
//! checksums, cuts super-frames; and the other way round makes super-frames for receivers that take them.
//!
//! All of it works on an owned copy of the whole frame, never on guest memory, and trusts nothing in it:
//! what policy has seen of the headers must agree with the claims, else the frame is dropped.

pub(crate) mod checksum;
mod fragment;
mod gro;
pub(crate) mod layout;
mod segment;

pub(crate) use checksum::fold;
pub use checksum::{finish_checksum, sum};
pub use gro::{BURST_MAX, Behind, Member, SuperFrame, coalesce};
pub use segment::{SEGMENTS_MAX, Segment, Segmenter};

use crate::frame::{Claims, GsoKind};
use layout::{Version, version};

/// What a receiver agreed to take (virtio 1.2, 5.1.3: the features `VIRTIO_NET_F_GUEST_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// Partial checksums (`GUEST_CSUM`); nothing else holds without.
    pub checksum: bool,
    /// TCP over IPv4 (`GUEST_TSO4`).
    pub tso4: bool,
    /// TCP over IPv6 (`GUEST_TSO6`).
    pub tso6: bool,
    /// TCP with CWR set (`GUEST_ECN`).
    pub ecn: bool,
    /// UDP to be fragmented (`GUEST_UFO`).
    pub ufo: bool,
    /// UDP over IPv4 to be cut into datagrams (`GUEST_USO4`).
    pub uso4: bool,
    /// UDP over IPv6 to be cut into datagrams (`GUEST_USO6`).
    pub uso6: bool,
}

/// What has to be done to a frame before a receiver can take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// Nothing.
    AsIs,
    /// [`finish_checksum`].
    FinishChecksum,
    /// A [`Segmenter`], whose segments get such checksums.
    Segment(Checksums),
}

/// Which checksums segments get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksums {
    /// Complete ones, for any receiver.
    Finished,
    /// The pseudo-header's sum, for a receiver that finishes them itself. Fragments get finished ones all
    /// the same, since no fragment holds all that is summed.
    Partial,
}

impl Capabilities {
    /// What has to be done to a frame with these claims and this beginning.
    #[must_use]
    #[inline]
    pub fn treatment(self, claims: &Claims, head: &[u8]) -> Treatment {
        match (claims.gso, claims.checksum) {
            (None, None) => Treatment::AsIs,
            (None, Some(_)) if self.checksum => Treatment::AsIs,
            (None, Some(_)) => Treatment::FinishChecksum,
            (Some(_), _) if !self.checksum => Treatment::Segment(Checksums::Finished),
            (Some(gso), _) if self.takes(gso.kind, head) && (self.ecn || !gso.ecn) => Treatment::AsIs,
            (Some(_), _) => Treatment::Segment(Checksums::Partial),
        }
    }

    fn takes(self, kind: GsoKind, head: &[u8]) -> bool {
        match kind {
            GsoKind::Tcp4 => self.tso4,
            GsoKind::Tcp6 => self.tso6,
            GsoKind::UdpFragment => self.ufo,
            GsoKind::Udp => match version(head) {
                Some((Version::V4, _)) => self.uso4,
                Some((Version::V6, _)) => self.uso6,
                None => false,
            },
        }
    }
}

#[cfg(test)]
mod tests;
