//! What the switch may look at and change of a frame: a private copy of its head.

use crate::counters::Volume;
use crate::drops::DropReason;
use crate::ids::{NetworkIndex, PortIndex};
use crate::vlan::{Priority, TAG_LEN, TAGS_MAX, TagStack};

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
const _: () = assert!(HEADROOM_U16 as usize == HEADROOM && HEADROOM >= TAGS_MAX * TAG_LEN);

/// The bytes of both addresses, behind which tags stand.
const ADDRESSES: usize = 12;

/// The bytes of an Ethernet header, which no checksum covers.
pub(crate) const ETHERNET: u16 = 14;

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

    /// Takes `len` bytes off that stand behind the addresses, which move up to what follows; says whether there were
    /// as many.
    #[inline]
    fn take_tags(&mut self, len: u16) -> bool {
        let Some(addresses) = self.bytes().first_chunk::<ADDRESSES>().copied() else { return false };
        let fits = self.bytes().len() >= ADDRESSES + usize::from(len);
        if fits {
            self.start += len;
            self.bytes_mut()[..ADDRESSES].copy_from_slice(&addresses);
        }
        fits
    }

    /// Takes `len` bytes off the front; says whether there were as many.
    #[inline]
    fn take_front(&mut self, len: u16) -> bool {
        let fits = self.bytes().len() >= usize::from(len);
        if fits {
            self.start += len;
        }
        fits
    }

    /// Leaves no more than the first `len` bytes.
    #[inline]
    fn truncate(&mut self, len: u16) {
        self.end = self.end.min(self.start.saturating_add(len));
    }

    /// Moves the head to where one begins that has just been read, so that as much of the frame finds room behind it as in any other;
    /// gives that room. [`Head::grow`] says how much of it was filled.
    #[inline]
    pub fn settle(&mut self) -> &mut [u8] {
        let (start, end) = (usize::from(self.start), usize::from(self.end));
        if start > HEADROOM {
            self.bytes.copy_within(start..end, HEADROOM);
            self.start = HEADROOM_U16;
            self.end -= u16::try_from(start - HEADROOM).unwrap_or(0);
        }
        &mut self.bytes[usize::from(self.end)..]
    }

    /// Says that `len` bytes of the room behind the head were filled with what follows it.
    #[inline]
    pub fn grow(&mut self, len: usize) {
        let end = (usize::from(self.end) + len).min(self.bytes.len());
        self.end = u16::try_from(end).unwrap_or(self.end);
    }

    /// Puts `tags` behind the addresses, which move into the room before the head; says whether there was room.
    #[inline]
    fn put_tags(&mut self, tags: &TagStack) -> bool {
        let Some(addresses) = self.bytes().first_chunk::<ADDRESSES>().copied() else { return false };
        let fits = self.start >= tags.len();
        if fits {
            self.start -= tags.len();
            let tags = tags.bytes();
            let (front, rest) = self.bytes_mut().split_at_mut(ADDRESSES);
            front.copy_from_slice(&addresses);
            rest[..tags.len()].copy_from_slice(tags);
        }
        fits
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
    /// What its tag said that was taken off; `None` where it had none, as frames that are just being read do.
    pub tag: Option<TakenTag>,
    /// What was chosen for it beside its bytes where it entered.
    pub marks: Marks,
}

/// What a port, or its meter, chose for a frame beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The priority with which it goes on; `None`: that of its tag, or of its port.
    pub priority: Option<Priority>,
    /// What filters know it by; 0: nothing.
    pub mark: u16,
}

/// What a frame's tags said that were taken off where it entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TakenTag {
    /// The network to which the frame belongs.
    pub network: NetworkIndex,
    /// Its priority; `None`: that of frames which enter at its port without one.
    pub priority: Option<Priority>,
}

impl Metadata {
    /// What is known about a frame of `length` bytes that is about to enter at `source`.
    #[must_use]
    #[inline]
    pub fn new(source: PortIndex, length: u32, claims: Claims) -> Self {
        Self { source, length, claims, tag: None, marks: Marks::default() }
    }

    /// The priority that was chosen for it, or that its tag told; `None`: its port's.
    #[must_use]
    #[inline]
    pub fn priority(&self) -> Option<Priority> {
        self.marks.priority.or_else(|| self.tag?.priority)
    }
}

impl<P> Frame<P> {
    /// What it is on a wire: of a super-frame, all segments with their headers.
    #[must_use]
    #[inline]
    pub fn wire_volume(&self) -> Volume {
        self.meta.claims.wire_volume(self.head.bytes(), self.meta.length)
    }

    /// Takes `len` bytes of tags off.
    ///
    /// # Errors
    /// [`DropReason::BadOffload`] if the checksum's start is claimed to lie within them.
    #[inline]
    pub(crate) fn take_tags(&mut self, len: u16) -> Result<(), DropReason> {
        if let Some(checksum) = &mut self.meta.claims.checksum {
            let start = checksum.start.checked_sub(len).filter(|start| *start >= ETHERNET);
            checksum.start = start.ok_or(DropReason::BadOffload)?;
        }
        if !self.head.take_tags(len) {
            return Err(DropReason::VlanTruncated);
        }
        self.meta.length = self.meta.length.saturating_sub(len.into());
        Ok(())
    }

    /// Takes `len` bytes of outer headers off, and all that stands behind `end`, both counted from the frame's first byte. What was
    /// claimed about the outer headers' own checksum is forgotten.
    ///
    /// # Errors
    /// [`DropReason::BadOffload`] if the outer packets are to be cut, or the checksum's start lies in no transport header inside.
    #[inline]
    pub(crate) fn take_front(&mut self, len: u16, end: u32) -> Result<(), DropReason> {
        let claims = &mut self.meta.claims;
        match &mut claims.checksum {
            Some(checksum) if checksum.start < len && claims.gso.is_none() => claims.checksum = None,
            Some(checksum) => {
                let start = checksum.start.checked_sub(len).filter(|start| *start >= ETHERNET);
                checksum.start = start.ok_or(DropReason::BadOffload)?;
            }
            None => {}
        }
        self.meta.length = self.meta.length.min(end).saturating_sub(len.into());
        if !self.head.take_front(len) {
            return Err(DropReason::TunnelTruncated);
        }
        self.head.truncate(u16::try_from(self.meta.length).unwrap_or(u16::MAX));
        let end = |sum: PartialChecksum| u32::from(sum.start) + u32::from(sum.offset) + 2;
        match self.meta.claims.checksum {
            Some(sum) if end(sum) > self.meta.length => Err(DropReason::BadOffload),
            _ => Ok(()),
        }
    }

    /// Puts tags before the frame for a receiver that wants them; the claims follow. [`Frame::take_back`] undoes it.
    ///
    /// # Errors
    /// [`DropReason::BadOffload`] if the checksum's start would lie beyond what a header can say.
    #[inline]
    pub fn put_tags(&mut self, tags: &TagStack) -> Result<(), DropReason> {
        let claims = self.meta.claims.behind(tags).ok_or(DropReason::BadOffload)?;
        if !self.head.put_tags(tags) {
            return Err(DropReason::BadOffload);
        }
        self.meta.claims = claims;
        self.meta.length += u32::from(tags.len());
        Ok(())
    }

    /// Takes `tags` off that were put before the frame.
    #[inline]
    pub fn take_back(&mut self, tags: &TagStack) {
        let taken = self.take_tags(tags.len());
        debug_assert!(taken.is_ok(), "they were put before it");
    }
}

/// What a sender left for later: a checksum, segmentation, or both (virtio 1.2, 5.1.6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Claims {
    /// The transport checksum holds only the pseudo-header's sum so far.
    pub checksum: Option<PartialChecksum>,
    /// The frame is a super-frame.
    pub gso: Option<Gso>,
}

impl Claims {
    /// The claims of the same frame with `tags` before it; `None` if the checksum's start would lie beyond what a header
    /// can say.
    #[must_use]
    #[inline]
    pub fn behind(self, tags: &TagStack) -> Option<Self> {
        let Some(checksum) = self.checksum else { return Some(self) };
        let start = checksum.start.checked_add(tags.len())?;
        Some(Self { checksum: Some(PartialChecksum { start, ..checksum }), ..self })
    }
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
