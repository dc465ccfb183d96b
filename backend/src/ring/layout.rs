//! A virtqueue in either of its layouts: what both share, and the choice between them, made once a burst where it can be.

use std::sync::Arc;

use virtio_bindings::virtio_config::VIRTIO_F_RING_PACKED;

use super::chain::{Descriptor, Direction, Segments};
use super::core::{Split, prefetch, prefetch_to_write};
use super::ledger::{Identity, Ledger};
use super::packed::Packed;
use super::receive::Refused;
use super::{ChainError, RingError};
use crate::dataplane::RingSetup;
use crate::memory::{DirtyLog, GuestMemory, Segment};
use crate::vhost_user::features::LOG_ALL;

/// A ring's part in a dirty log.
#[derive(Clone, Debug)]
pub struct RingLog {
    /// The log.
    pub log: Arc<DirtyLog>,
    /// The guest-physical address of the used ring, or of the device event suppression structure, if the ring's own
    /// writes are to be noted (VHOST_VRING_F_LOG).
    pub used: Option<u64>,
}

/// What a ring of either layout needs besides its own parts.
pub(super) struct Common {
    /// Keeps the mappings of all pointers into the guest.
    pub(super) memory: GuestMemory,
    /// The memory region that served last.
    pub(super) hint: usize,
    /// Where writes are noted while the guest is being migrated.
    pub(super) log: Option<RingLog>,
}

/// A chain that waits in the ring; its first descriptor was read once and is not read again.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    /// By what the driver knows the chain: its first descriptor's index, or in a packed ring its buffer id.
    pub(super) head: u16,
    /// Entries of the ring that it takes: 1 in a split ring; in a packed ring one for each descriptor, and 0 as long
    /// as nobody has counted them.
    pub(super) slots: u16,
    pub(super) descriptor: Descriptor,
    /// Its memory, if it is one plain buffer in one piece.
    pub(super) whole: Option<Segment>,
}

impl Default for Ready {
    fn default() -> Self {
        Self { head: 0, slots: 1, descriptor: Descriptor::default(), whole: None }
    }
}

impl Ready {
    /// Takes note of the chain's first descriptor and has its memory fetched.
    #[inline]
    pub(super) fn look(
        &mut self,
        common: &mut Common,
        descriptor: Descriptor,
        direction: Direction,
        header_len: usize,
    ) {
        let place = common.memory.translate(&mut common.hint, descriptor.address, descriptor.len);
        let single = descriptor.is_single(direction);
        self.descriptor = descriptor;
        self.whole = place.filter(|place| single && place.len == descriptor.len);
        match (self.whole, direction) {
            (None, _) => {}
            (Some(place), Direction::Read) => {
                prefetch(place.host);
                prefetch(place.host.wrapping_add(64));
            }
            (Some(place), Direction::Write) => fetch_to_write(place.host, header_len),
        }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Has a receive buffer's first lines fetched. A header that ends with its line has this line for itself (DPDK puts its
/// headers so): it seldom changes, see [`super::copy::write_if_different`], and stays shared.
#[inline]
fn fetch_to_write(buffer: *mut u8, header_len: usize) {
    if (buffer.addr() + header_len).is_multiple_of(LINE) {
        prefetch(buffer);
    } else {
        prefetch_to_write(buffer);
    }
    prefetch_to_write(buffer.wrapping_add(LINE));
}

/// A part of a ring at a frontend's address. Aligned in the guest means aligned here, unless the region begins at an odd
/// place of its file.
pub(super) fn find_part(
    memory: &GuestMemory,
    part: &'static str,
    address: u64,
    len: u64,
    align: u64,
) -> Result<*mut u8, RingError> {
    let host = memory.translate_user(address, len).ok_or(RingError::Unmapped { part, address })?;
    let ours = host.addr() as u64;
    let aligned = address.is_multiple_of(align) && ours.is_multiple_of(align.min(8));
    if aligned { Ok(host) } else { Err(RingError::Misaligned { part, address, align }) }
}

enum Layout {
    Split(Split),
    Packed(Packed),
}

/// A virtqueue as the device sees it.
///
/// Chains are completed in the order in which they were made available, so one position says both what was taken and
/// what was given back.
pub struct Core {
    common: Common,
    layout: Layout,
}

impl Core {
    /// A ring that goes on where `setup` says; `features` decide on its layout.
    pub fn new(setup: &RingSetup, memory: &GuestMemory, features: u64) -> Result<Self, RingError> {
        let common = Common { memory: memory.clone(), hint: 0, log: None };
        let layout = if features & (1 << VIRTIO_F_RING_PACKED) != 0 {
            Layout::Packed(Packed::new(setup, &common, features)?)
        } else {
            Layout::Split(Split::new(setup, &common, features)?)
        };
        Ok(Self { common, layout })
    }

    /// Notes all writes in a dirty log from now on.
    pub(crate) fn logged(mut self, log: Option<RingLog>) -> Self {
        self.common.log = log;
        self
    }

    /// Notes from now on in `ledger` where ring `setup` of a port with these features is, if it is a packed one; goes on
    /// where the ledger says that a predecessor was killed.
    pub(crate) fn kept(mut self, ledger: Option<&Ledger>, setup: &RingSetup, features: u64) -> Self {
        let Self { common, layout: Layout::Packed(packed) } = &mut self else { return self };
        let file = common.memory.file_at(setup.descriptor);
        let page = ledger.and_then(|ledger| ledger.page(setup.index));
        if let Some((file, page)) = file.zip(page) {
            let addresses = [setup.descriptor, setup.available, setup.used];
            let identity = Identity { file, addresses, size: setup.size, features: features & !LOG_ALL };
            packed.keep_notes(common, page, &identity);
        }
        self
    }

    /// Whether writes are noted.
    #[inline]
    pub(super) fn is_logged(&self) -> bool {
        self.common.log.is_some()
    }

    /// Notes that the first `written` bytes of `places` of the guest's memory were written to.
    pub(super) fn log_places(&self, places: &[Segment], written: u64) {
        let Some(RingLog { log, .. }) = &self.common.log else { return };
        let mut left = written;
        for place in places {
            let len = u64::from(place.len).min(left);
            if let Some(address) = self.common.memory.guest_address(place.host) {
                log.mark(address, len);
            }
            left -= len;
        }
    }

    /// Where the ring may be started again, as SET_VRING_BASE has it: a split ring's entries completed so far; a packed
    /// ring's next slot, with the wrap counter in bit 15.
    pub fn position(&self) -> u16 {
        match &self.layout {
            Layout::Split(split) => split.position(),
            Layout::Packed(packed) => packed.position(),
        }
    }

    /// Where the next chain is taken from, as [`Core::position`] counts.
    pub(super) fn taken(&self) -> u16 {
        match &self.layout {
            Layout::Split(split) => split.taken,
            Layout::Packed(packed) => packed.taken(),
        }
    }

    /// Looks at the next chains, as many as `ready` holds, and has what they name fetched meanwhile; gives how many
    /// there are. In a packed ring a chain of several descriptors ends the look: where the next one begins is known
    /// after [`Core::walk`].
    #[inline]
    pub(super) fn look_ahead(
        &mut self,
        direction: Direction,
        header_len: usize,
        ready: &mut [Ready],
    ) -> Result<usize, RingError> {
        let Self { common, layout } = self;
        match layout {
            Layout::Split(split) => split.look_ahead(common, direction, header_len, ready),
            Layout::Packed(packed) => Ok(packed.look_ahead(common, direction, header_len, ready)),
        }
    }

    /// The chain that comes `ahead` entries after the next one, if the driver has made it available.
    pub(super) fn peek(&mut self, ahead: u16) -> Result<Option<Ready>, RingError> {
        match &mut self.layout {
            Layout::Split(split) => split.peek(ahead),
            Layout::Packed(packed) => Ok(packed.peek(ahead)),
        }
    }

    /// Appends the segments of `chain`, which begins `ahead` entries after the next one; gives their total length in
    /// bytes. The entries that the chain takes are known then, even if it is malformed.
    ///
    /// # Errors
    /// A malformed chain costs its frame; the caller truncates `segments` to what they were. A packed ring whose chain
    /// never ends is broken.
    pub(super) fn walk(
        &mut self,
        chain: &mut Ready,
        ahead: usize,
        direction: Direction,
        segments: &mut Segments,
    ) -> Result<Result<u64, ChainError>, RingError> {
        let Self { common, layout } = self;
        match layout {
            Layout::Split(split) => Ok(split.walk(common, chain.descriptor, direction, segments)),
            Layout::Packed(packed) => {
                let ahead = u16::try_from(ahead).unwrap_or(u16::MAX);
                packed.walk(common, chain, ahead, direction, segments)
            }
        }
    }

    /// Takes chains that were looked at, in order.
    #[inline]
    pub(super) fn take(&mut self, chains: &[Ready]) {
        match &mut self.layout {
            Layout::Split(split) => {
                split.taken = split.taken.wrapping_add(u16::try_from(chains.len()).unwrap_or(0));
            }
            Layout::Packed(packed) => packed.take(chains.iter().map(|chain| chain.slots).sum()),
        }
    }

    /// Gives back chains that were only read, in order; says whether the driver wants to be notified.
    pub(super) fn complete(&mut self, chains: &[Ready]) -> bool {
        let Self { common, layout } = self;
        match layout {
            Layout::Split(split) => split.complete(common, chains),
            Layout::Packed(packed) => packed.complete(common, chains),
        }
    }

    /// Takes one chain and puts it among those to be given back, of which `pending` are there already.
    #[inline]
    pub(super) fn use_one(&mut self, pending: usize, head: u16, slots: u16, written: u32) {
        match &mut self.layout {
            Layout::Split(split) => {
                split.put_used(pending, head, written);
                split.taken = split.taken.wrapping_add(1);
            }
            Layout::Packed(packed) => packed.use_next(head, slots, written),
        }
    }

    /// Makes sure that `count` more chains can be put among those to be given back.
    pub(super) fn make_room(&mut self, count: usize) {
        if let Layout::Packed(packed) = &mut self.layout {
            packed.make_room(&self.common, count);
        }
    }

    /// Lets the driver see the `count` chains that were given back since the last time; says whether it wants to be
    /// notified.
    #[inline]
    pub(super) fn publish(&mut self, count: usize) -> bool {
        let Self { common, layout } = self;
        match layout {
            Layout::Split(split) => split.publish(common, u16::try_from(count).unwrap_or(u16::MAX)),
            Layout::Packed(packed) => packed.publish(common),
        }
    }

    /// Asks the driver for kicks; says whether entries came in meanwhile, so that nobody would kick for them.
    pub fn arm(&mut self) -> Result<bool, RingError> {
        let Self { common, layout } = self;
        match layout {
            Layout::Split(split) => split.arm(common),
            Layout::Packed(packed) => Ok(packed.arm(common)),
        }
    }

    /// Asks the driver not to kick.
    pub fn disarm(&mut self) {
        let Self { common, layout } = self;
        match layout {
            Layout::Split(split) => split.disarm(common),
            Layout::Packed(packed) => packed.disarm(common),
        }
    }
}

impl From<ChainError> for Refused {
    fn from(_: ChainError) -> Self {
        Self::Frame(viaduct_switch::DropReason::BadChain)
    }
}
