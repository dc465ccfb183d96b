//! What the switch may look at and change of a frame: a private copy of its head.

use crate::ids::PortIndex;

/// Bytes kept free before the head, for tags and tunnel headers that an egress prepends.
pub const HEADROOM: usize = 64;

/// Bytes of the frame, from the Ethernet header on, that are copied before anything is judged.
pub const HEAD_MAX: usize = 128;

/// A frame inside the switch. `P` stands for the bytes after the head, which the switch never reads.
#[derive(Clone, Debug)]
pub struct Frame<P> {
    /// The private copy of the frame's first bytes.
    pub head: Head,
    /// What is known about the frame beside its bytes.
    pub meta: Metadata,
    /// The bytes after the head, opaque here.
    pub payload: P,
}

/// The first bytes of a frame, with room before them.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Head {
    bytes: [u8; HEADROOM + HEAD_MAX],
    start: u16,
    end: u16,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: [0; HEADROOM + HEAD_MAX], start: HEADROOM_U16, end: HEADROOM_U16 }
    }
}

const HEADROOM_U16: u16 = 64;
const _: () = assert!(HEADROOM_U16 as usize == HEADROOM);

impl Head {
    /// The head's bytes, from the Ethernet header on.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }

    /// The head's bytes, to be rewritten in place.
    #[must_use]
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.start)..usize::from(self.end)]
    }

    /// Empties the head and gives back its whole room of [`HEAD_MAX`] bytes; [`Head::set_len`] says how
    /// many of them were filled.
    #[must_use]
    #[inline]
    pub fn room(&mut self) -> &mut [u8; HEAD_MAX] {
        self.start = HEADROOM_U16;
        self.end = HEADROOM_U16;
        let (_, room) = self.bytes.split_at_mut(HEADROOM);
        // The array is HEADROOM + HEAD_MAX long, so the rest is exactly HEAD_MAX.
        match room.first_chunk_mut::<HEAD_MAX>() {
            Some(room) => room,
            None => unreachable!(),
        }
    }

    /// Says that the first `len` bytes of [`Head::room`] are the head; more than [`HEAD_MAX`] counts as all.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        let len = u16::try_from(len.min(HEAD_MAX)).unwrap_or(0);
        self.start = HEADROOM_U16;
        self.end = HEADROOM_U16 + len;
    }

    /// A head with a copy of the first [`HEAD_MAX`] bytes of `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut head = Self::default();
        let len = bytes.len().min(HEAD_MAX);
        head.room()[..len].copy_from_slice(&bytes[..len]);
        head.set_len(len);
        head
    }
}

/// What is known about a frame beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// The port where the frame entered.
    pub source: PortIndex,
    /// The whole frame's length in bytes, Ethernet header included, without FCS.
    pub length: u32,
    /// What the sender left to be done: checked against the length, not against the bytes.
    pub claims: Claims,
}

/// What a sender left for later: a checksum, segmentation, or both (virtio 1.2, 5.1.6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Claims {
    /// The transport checksum holds only the pseudo-header's sum so far.
    pub checksum: Option<PartialChecksum>,
    /// The frame is a super-frame.
    pub gso: Option<Gso>,
}

/// Where a checksum still has to be computed (virtio 1.2, 5.1.6.2: `csum_start`, `csum_offset`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartialChecksum {
    /// First byte that is summed, counted from the Ethernet header's first.
    pub start: u16,
    /// Where the 16-bit result is stored, counted from `start`.
    pub offset: u16,
}

/// How a super-frame is to be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gso {
    /// By which protocol.
    pub kind: GsoKind,
    /// Payload bytes of each segment but the last; never 0.
    pub size: u16,
    /// The first segment alone may carry CWR (RFC 3168, 6.1.2).
    pub ecn: bool,
}

/// The protocol by which a super-frame is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagram to be fragmented by IP (the old "UFO").
    UdpFragment,
    /// Many UDP datagrams of equal size in one ("USO").
    Udp,
}
