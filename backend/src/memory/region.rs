//! One mapped region of a guest's memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use vm_memory::{FileOffset, MmapRegion, mmap::MmapRegionBuilder};

use super::{MemoryError, poison};

const TMPFS_MAGIC: i64 = 0x0102_1994;
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;

/// Bytes whose pages are let go of at once when a mapping ends.
const SLICE: usize = 64 << 20;

/// Where a region lies, as the frontend says (vhost-user: "Memory region description").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegionSpec {
    /// Guest-physical address.
    pub guest_address: u64,
    /// Bytes.
    pub size: u64,
    /// Address in the frontend's address space: ring addresses are given in it.
    pub user_address: u64,
    /// Where in the file the region begins.
    pub file_offset: u64,
}

/// A mapped region; unmapped when dropped.
#[derive(Debug)]
pub struct Region {
    spec: RegionSpec,
    /// Device and inode of the file.
    file: (u64, u64),
    /// The file itself.
    kept: Arc<File>,
    host: *mut u8,
    /// Dropped before the mapping, whose addresses may be another's from then on.
    poison: poison::Entry,
    mapping: MmapRegion,
}

// SAFETY: `host` points into `mapping`, which any thread may use; see the module's rule on references.
unsafe impl Send for Region {}
// SAFETY: as above; a region is never changed.
unsafe impl Sync for Region {}

impl Region {
    /// Maps the region of `file` that `spec` describes.
    ///
    /// The file must be a memfd, or on tmpfs or hugetlbfs: a page fault on anything else (FUSE, NFS) would
    /// block the data path for as long as the frontend likes.
    pub fn map(file: &File, spec: RegionSpec) -> Result<Self, MemoryError> {
        let bad_size = MemoryError::BadSize { guest_address: spec.guest_address, size: spec.size };
        let wraps = |start: u64| start.checked_add(spec.size).is_none();
        if spec.size == 0 || wraps(spec.guest_address) || wraps(spec.user_address) || wraps(spec.file_offset)
        {
            return Err(bad_size);
        }
        // The file may shrink at any moment, so its size decides nothing but whether we go on: the mapping has the
        // length that `spec` asks for in any case, and what the file does not fill is the poison handler's.
        let (block, identity) = examine(file, &spec)?;
        // mmap takes whole pages of the file's own size; the frontend may begin inside of a huge one.
        let start = spec.file_offset & !(block - 1);
        let inside = spec.file_offset - start;
        let end = (spec.file_offset + spec.size).checked_next_multiple_of(block);
        let length = end.map(|end| end - start).and_then(|length| usize::try_from(length).ok());
        let (length, inside) = length.zip(usize::try_from(inside).ok()).ok_or(bad_size)?;
        let refused = |error: io::Error| MemoryError::Map { size: spec.size, error: error.to_string() };
        let kept = Arc::new(file.try_clone().map_err(refused)?);
        let mapping = map_shared(Arc::clone(&kept), start, length, &spec)?;
        // SAFETY: `inside` is less than the mapping's length.
        let host = unsafe { mapping.as_ptr().add(inside) };
        let poison = poison::Entry::new(mapping.as_ptr(), length, block);
        Ok(Self { spec, file: identity, kept, host, poison, mapping })
    }

    /// Where the region lies.
    #[must_use]
    pub fn spec(&self) -> RegionSpec {
        self.spec
    }

    /// The file.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.kept.as_fd()
    }

    /// Device and inode of the file.
    pub(super) fn file(&self) -> (u64, u64) {
        self.file
    }

    /// Whether the file shrank under the mapping.
    pub(super) fn is_poisoned(&self) -> bool {
        self.poison.is_poisoned()
    }

    /// Our address of the region's first byte.
    pub(super) fn host(&self) -> *mut u8 {
        debug_assert!(self.host >= self.mapping.as_ptr());
        self.host
    }
}

impl Drop for Region {
    /// Lets go of the pages slice by slice before the mapping goes: munmap(2) of them all would make everybody who maps
    /// anything wait for a twelfth of a second for each GiB.
    fn drop(&mut self) {
        let (start, length) = (self.mapping.as_ptr(), self.mapping.size());
        for offset in (0..length).step_by(SLICE) {
            // SAFETY: the slice lies inside of the mapping, which nobody uses any more; its contents are the file's. If
            // it fails, there is only more left for munmap.
            let _ = unsafe {
                libc::madvise(start.add(offset).cast(), SLICE.min(length - offset), libc::MADV_DONTNEED)
            };
        }
    }
}

/// Checks the file's kind and size; gives its page size, and its device and inode.
fn examine(file: &File, spec: &RegionSpec) -> Result<(u64, (u64, u64)), MemoryError> {
    // SAFETY: all-zero is a valid `statfs`, which fstatfs overwrites.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open for the call and `facts` is a valid place for the answer.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut facts) } != 0 {
        return Err(MemoryError::Examine(io::Error::last_os_error()));
    }
    let file_system = facts.f_type;
    if file_system != TMPFS_MAGIC && file_system != HUGETLBFS_MAGIC {
        return Err(MemoryError::BadFile { file_system });
    }
    let metadata = file.metadata().map_err(MemoryError::Examine)?;
    if !metadata.is_file() {
        return Err(MemoryError::BadFile { file_system });
    }
    let needed = spec.file_offset + spec.size;
    if metadata.size() < needed {
        return Err(MemoryError::ShortFile { file_size: metadata.size(), needed });
    }
    let huge = file_system == HUGETLBFS_MAGIC;
    let block = if huge { metadata.blksize() } else { 4096 };
    let block = if block.is_power_of_two() { block.max(4096) } else { 4096 };
    Ok((block, (metadata.dev(), metadata.ino())))
}

fn map_shared(
    file: Arc<File>,
    start: u64,
    length: usize,
    spec: &RegionSpec,
) -> Result<MmapRegion, MemoryError> {
    MmapRegionBuilder::new(length)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
        .with_file_offset(FileOffset::from_arc(file, start))
        .build()
        .map_err(|error| MemoryError::Map { size: spec.size, error: error.to_string() })
}
