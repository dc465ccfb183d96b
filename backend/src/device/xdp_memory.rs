//! The memory that an AF_XDP socket shares with the kernel, and the words in which the kernel asks to be woken.

use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use xdp::Umem;

use super::error::last_errno;

/// An AF_XDP socket's frames (its umem). Both ways take frames out of it and put them back, once a burst.
pub(super) struct FrameMemory(Mutex<Umem>);

// SAFETY: a umem is a mapping of its own and a list of free frames, both used behind the lock only, by whichever thread.
unsafe impl Send for FrameMemory {}
// SAFETY: as above.
unsafe impl Sync for FrameMemory {}

impl FrameMemory {
    pub(super) fn new(umem: Umem) -> Self {
        Self(Mutex::new(umem))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Umem> {
        self.0.lock()
    }
}

/// A ring for whose entries the kernel may ask to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WokenRing {
    /// Free frames for the kernel.
    Fill,
    /// Frames to be sent.
    Transmit,
}

/// A ring's flags: a mapping of its first page beside the one in which the ring is used.
pub(super) struct Flags {
    page: *mut libc::c_void,
    flags: *mut u32,
}

/// Bytes that are mapped: the indices and flags stand at the ring's beginning.
const PAGE: usize = 4096;

// SAFETY: the mapping belongs to this value, and is only read, atomically.
unsafe impl Send for Flags {}

impl Flags {
    /// The flags of a ring of `socket`, which has its rings and is not bound yet.
    pub(super) fn of(socket: RawFd, ring: WokenRing) -> Result<Self, i32> {
        // SAFETY: all-zero is valid: integers.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
        let mut length = libc::socklen_t::try_from(size_of_val(&offsets)).unwrap_or(0);
        // SAFETY: writes at most `length` bytes to `offsets`.
        let got = unsafe {
            let place = (&raw mut offsets).cast();
            libc::getsockopt(socket, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, place, &raw mut length)
        };
        if got != 0 {
            return Err(last_errno());
        }
        let (offset, at): (i128, u64) = match ring {
            WokenRing::Fill => (libc::XDP_UMEM_PGOFF_FILL_RING.into(), offsets.fr.flags),
            WokenRing::Transmit => (libc::XDP_PGOFF_TX_RING.into(), offsets.tx.flags),
        };
        let at = usize::try_from(at).ok().filter(|at| at % 4 == 0 && at + 4 <= PAGE).ok_or(libc::ERANGE)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| libc::ERANGE)?;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let page =
            unsafe { libc::mmap(ptr::null_mut(), PAGE, libc::PROT_READ, libc::MAP_SHARED, socket, offset) };
        if page == libc::MAP_FAILED {
            return Err(last_errno());
        }
        // SAFETY: inside of the page, as was checked.
        let flags = unsafe { page.cast::<u8>().add(at) }.cast();
        Ok(Self { page, flags })
    }

    /// Whether the kernel asks for a system call when there are new entries (XDP_RING_NEED_WAKEUP).
    #[inline]
    pub(super) fn ask_for_wakeup(&self) -> bool {
        // SAFETY: mapped as long as `self`, aligned; the kernel writes it as one word, and nobody here does.
        let flags = unsafe { AtomicU32::from_ptr(self.flags) };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

#[cfg(test)]
impl Flags {
    /// Flags that no kernel writes, all clear.
    pub(super) fn pretended() -> Self {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        Self { page, flags: page.cast() }
    }

    /// Asks for a system call, as a kernel does that is not awake.
    pub(super) fn pretend_to_ask(&self) {
        // SAFETY: mapped as long as `self`, and aligned.
        unsafe { AtomicU32::from_ptr(self.flags) }.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
    }
}

impl Drop for Flags {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and nothing of it is used any more.
        unsafe { libc::munmap(self.page, PAGE) };
    }
}
