//! Guest memory: regions mapped through vm-memory, and a flat, bounds-checked table for the data path.
//!
//! A [`GuestMemory`] is an immutable snapshot: the control side makes a new one for each change and hands it
//! over with the rings. The mappings live as long as any snapshot that names them.
//!
//! Nothing here makes a Rust reference to guest memory. The guest writes to it at any moment, so it is only
//! touched through raw pointers, by copies and by volatile or atomic accesses, and never trusted twice.

mod log;
mod poison;
mod region;

pub use log::DirtyLog;
pub(crate) use poison::Entry as PoisonEntry;
pub use poison::install as install_poison_handler;
pub use region::{Region, RegionSpec};

use std::fmt;
use std::sync::Arc;

/// Regions that one guest may have: what QEMU asks for at most (vhost-user, GET_MAX_MEM_SLOTS).
pub const REGIONS_MAX: usize = 509;

/// A memory region that we refuse, or an address that no region holds.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The guest has too many regions.
    #[error("the guest already has {REGIONS_MAX} memory regions, the most that are supported")]
    TooMany,
    /// The region is empty or its end wraps around.
    #[error("memory region at {guest_address:#x} with {size:#x} bytes is empty or wraps around")]
    BadSize {
        /// Guest-physical address.
        guest_address: u64,
        /// Bytes.
        size: u64,
    },
    /// The region shares addresses with another one.
    #[error("memory region at {guest_address:#x} with {size:#x} bytes overlaps one at {other:#x}")]
    Overlap {
        /// Guest-physical address.
        guest_address: u64,
        /// Bytes.
        size: u64,
        /// Guest-physical address of the region that was there before.
        other: u64,
    },
    /// No region is the one to be removed.
    #[error("there is no memory region at {guest_address:#x} with {size:#x} bytes to remove")]
    Unknown {
        /// Guest-physical address.
        guest_address: u64,
        /// Bytes.
        size: u64,
    },
    /// The file is of a kind that could block or fail us at the guest's will.
    #[error(
        "guest memory must be a memfd, or a file on tmpfs or hugetlbfs (file system type {file_system:#x} \
         found): give QEMU memory-backend-memfd with share=on"
    )]
    BadFile {
        /// `f_type` of statfs(2).
        file_system: i64,
    },
    /// The file ends before its region does.
    #[error("the memory file holds {file_size:#x} bytes, but the region needs {needed:#x}")]
    ShortFile {
        /// Bytes in the file.
        file_size: u64,
        /// Offset and length of the region together.
        needed: u64,
    },
    /// Asking the kernel about the file failed.
    #[error("cannot examine the memory file: {0}")]
    Examine(std::io::Error),
    /// The kernel refused the mapping.
    #[error("cannot map {size:#x} bytes of guest memory: {error}")]
    Map {
        /// Bytes.
        size: u64,
        /// What mmap(2) said.
        error: String,
    },
}

/// One row of the data path's table.
#[derive(Clone, Copy)]
struct Flat {
    start: u64,
    end: u64,
    host: *mut u8,
}

struct Inner {
    regions: Vec<Arc<Region>>,
    flat: Vec<Flat>,
}

/// A guest's memory at one moment: cheap to clone, never changed.
#[derive(Clone)]
pub struct GuestMemory {
    inner: Arc<Inner>,
}

// SAFETY: the raw pointers point into mappings that `regions` keeps alive and that every thread may access;
// nothing in here gives out a reference to the mapped bytes.
unsafe impl Send for Inner {}
// SAFETY: as above; `Inner` is never changed after construction.
unsafe impl Sync for Inner {}

impl Default for GuestMemory {
    fn default() -> Self {
        Self::from_regions(Vec::new())
    }
}

impl fmt::Debug for GuestMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.inner.regions.iter().map(|region| region.spec())).finish()
    }
}

/// A run of guest memory that is contiguous in our address space.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub(crate) host: *mut u8,
    pub(crate) len: u32,
}

// SAFETY: a segment is only an address; whoever dereferences it argues that the mapping still lives.
unsafe impl Send for Segment {}

/// Copies a frame to the beginning of `to`, which is long enough, so that nobody can change it any more.
pub(crate) fn copy_out(head: &[u8], rest: &[Segment], to: &mut [u8]) {
    let Some((front, mut room)) = to.split_at_mut_checked(head.len()) else { return };
    front.copy_from_slice(head);
    for segment in rest {
        let count = segment.len as usize;
        let Some((place, later)) = room.split_at_mut_checked(count) else { return };
        // SAFETY: the segment is `count` bytes of mapped guest memory; `place` is as long and our own.
        unsafe { place.as_mut_ptr().copy_from_nonoverlapping(segment.host, count) };
        room = later;
    }
}

/// Copies as much of a frame's payload as `to` has room for; gives how much that is.
pub(crate) fn copy_some(rest: &[Segment], to: &mut [u8]) -> usize {
    let mut filled = 0;
    for segment in rest {
        let room = to.get_mut(filled..).unwrap_or_default();
        let count = room.len().min(segment.len as usize);
        // SAFETY: the segment is at least `count` bytes of mapped guest memory, and `room` is as long; the two cannot
        // overlap, since `room` is our own.
        unsafe { room.as_mut_ptr().copy_from_nonoverlapping(segment.host, count) };
        filled += count;
    }
    filled
}

impl GuestMemory {
    fn from_regions(mut regions: Vec<Arc<Region>>) -> Self {
        regions.sort_by_key(|region| region.spec().guest_address);
        let flat = regions
            .iter()
            .map(|region| {
                let spec = region.spec();
                Flat { start: spec.guest_address, end: spec.guest_address + spec.size, host: region.host() }
            })
            .collect();
        Self { inner: Arc::new(Inner { regions, flat }) }
    }

    /// This memory with `region` added.
    pub fn with(&self, region: Region) -> Result<Self, MemoryError> {
        if self.inner.regions.len() >= REGIONS_MAX {
            return Err(MemoryError::TooMany);
        }
        let spec = region.spec();
        let (guest_address, size) = (spec.guest_address, spec.size);
        let clash = self.inner.regions.iter().map(|other| other.spec()).find(|other| {
            overlaps(guest_address, size, other.guest_address, other.size)
                || overlaps(spec.user_address, size, other.user_address, other.size)
        });
        if let Some(other) = clash {
            return Err(MemoryError::Overlap { guest_address, size, other: other.guest_address });
        }
        let mut regions = self.inner.regions.clone();
        regions.push(Arc::new(region));
        Ok(Self::from_regions(regions))
    }

    /// This memory without the region that has just these numbers.
    pub fn without(&self, guest_address: u64, size: u64, user_address: u64) -> Result<Self, MemoryError> {
        let is_it = |region: &Arc<Region>| {
            let spec = region.spec();
            (spec.guest_address, spec.size, spec.user_address) == (guest_address, size, user_address)
        };
        if !self.inner.regions.iter().any(is_it) {
            return Err(MemoryError::Unknown { guest_address, size });
        }
        let rest = self.inner.regions.iter().filter(|region| !is_it(region)).cloned().collect();
        Ok(Self::from_regions(rest))
    }

    /// How many regions there are.
    #[must_use]
    pub fn regions(&self) -> usize {
        self.inner.regions.len()
    }

    /// The regions, in the order of their guest-physical addresses.
    #[must_use]
    pub fn regions_of(&self) -> &[Arc<Region>] {
        &self.inner.regions
    }

    /// Whether a region's file shrank under us (see [`install_poison_handler`]).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.inner.regions.iter().any(|region| region.is_poisoned())
    }

    /// Our address of `len` bytes at `user_address` of the frontend's address space, all in one region.
    pub(crate) fn translate_user(&self, user_address: u64, len: u64) -> Option<*mut u8> {
        self.inner.regions.iter().find_map(|region| {
            let spec = region.spec();
            let offset = user_address.checked_sub(spec.user_address)?;
            let end = offset.checked_add(len)?;
            let offset = usize::try_from(offset).ok()?;
            // SAFETY: `offset + len <= size`, so the result lies inside of the region's mapping.
            (end <= spec.size).then(|| unsafe { region.host().add(offset) })
        })
    }

    /// About so many of our addresses inside of this memory, at even distances: at least one of each region.
    pub(crate) fn spread(&self, count: usize) -> impl Iterator<Item = *mut u8> {
        let all: u64 = self.inner.flat.iter().map(|row| row.end - row.start).sum();
        let distance = usize::try_from(all).unwrap_or(usize::MAX).div_ceil(count.max(1)).max(1);
        self.inner.flat.iter().flat_map(move |row| {
            let size = usize::try_from(row.end - row.start).unwrap_or(usize::MAX);
            // Inside of the row's mapping.
            (0..size).step_by(distance).map(move |offset| row.host.wrapping_add(offset))
        })
    }

    /// Device and inode of the file that holds the memory at `user_address` of the frontend's address space.
    pub(crate) fn file_at(&self, user_address: u64) -> Option<(u64, u64)> {
        self.inner.regions.iter().find_map(|region| {
            let spec = region.spec();
            let offset = user_address.checked_sub(spec.user_address)?;
            (offset < spec.size).then(|| region.file())
        })
    }

    /// The guest-physical address of a byte of ours inside of this memory: for the dirty log.
    pub(crate) fn guest_address(&self, host: *const u8) -> Option<u64> {
        self.inner.flat.iter().find_map(|row| {
            let offset = u64::try_from(host.addr().checked_sub(row.host.addr())?).ok()?;
            (offset < row.end - row.start).then(|| row.start + offset)
        })
    }

    /// The contiguous run that starts at guest-physical `address`, at most `len` bytes long and never empty
    /// for `len > 0`; `hint` remembers the region that served last.
    #[inline]
    pub(crate) fn translate(&self, hint: &mut usize, address: u64, len: u32) -> Option<Segment> {
        let flat = &self.inner.flat;
        let row = match flat.get(*hint) {
            Some(row) if row.start <= address && address < row.end => row,
            _ => {
                *hint = flat.partition_point(|row| row.start <= address).checked_sub(1)?;
                flat.get(*hint).filter(|row| address < row.end)?
            }
        };
        let room = row.end - address;
        let len = u32::try_from(room).map_or(len, |room| len.min(room));
        let offset = usize::try_from(address - row.start).ok()?;
        // SAFETY: `address` is inside of the row, so the offset is inside of its mapping, which `regions` keeps.
        let host = unsafe { row.host.add(offset) };
        Some(Segment { host, len })
    }
}

fn overlaps(a: u64, a_size: u64, b: u64, b_size: u64) -> bool {
    a < b.saturating_add(b_size) && b < a.saturating_add(a_size)
}

#[cfg(test)]
mod tests;
