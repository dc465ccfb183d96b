//! The memory that a card shares with the switch: all `unsafe` of the benchmark's driver is here.
//!
//! The switch, or whoever is on trial in its place, reads and writes these bytes at any moment. So there is never a
//! Rust reference to them: only copies, volatile and atomic accesses through raw pointers.

use std::fs::File;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, MmapRegion};

/// A sealed memfd, mapped; offsets are bytes from its beginning. Accesses outside of it panic: they are bugs of ours,
/// since every offset is made from numbers that were checked.
#[derive(Debug)]
pub(super) struct Shared {
    file: File,
    mapping: MmapRegion,
}

impl Shared {
    /// `bytes` of zeroed memory, sealed against shrinking and growing as QEMU's is.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let file =
            File::from(memfd_create(c"viaduct-bench", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.set_len(bytes as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = MmapRegionBuilder::new(bytes)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_SHARED | libc::MAP_POPULATE)
            .with_file_offset(FileOffset::new(file.try_clone()?, 0))
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { file, mapping })
    }

    /// The file behind it.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> usize {
        self.mapping.size()
    }

    /// The address of the byte at `offset`: here, and as the other side is told, since we are guest and frontend in one.
    pub(super) fn address(&self, offset: usize) -> u64 {
        self.mapping.as_ptr().addr() as u64 + offset as u64
    }

    /// The `len` bytes at `offset`, which is a multiple of `alignment`.
    #[inline]
    fn at(&self, offset: usize, len: usize, alignment: usize) -> *mut u8 {
        let size = self.mapping.size();
        assert!(len <= size && offset <= size - len && offset.is_multiple_of(alignment));
        // SAFETY: `offset + len` is at most the mapping's size, as just checked.
        unsafe { self.mapping.as_ptr().add(offset) }
    }

    #[inline]
    fn atomic(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: the two bytes are inside of the mapping, which lives as long as `self`, and aligned because mappings
        // begin at a page (`at` checks both). They are accessed atomically by all who know them.
        unsafe { AtomicU16::from_ptr(self.at(offset, 2, 2).cast()) }
    }

    /// Reads a 16-bit field that the other side publishes; what it wrote before is seen afterwards.
    #[inline]
    pub(super) fn load_u16(&self, offset: usize) -> u16 {
        u16::from_le(self.atomic(offset).load(Ordering::Acquire))
    }

    /// Publishes a 16-bit field, after everything that was written before.
    #[inline]
    pub(super) fn store_u16(&self, offset: usize, value: u16) {
        self.atomic(offset).store(value.to_le(), Ordering::Release);
    }

    /// Reads 64 bits at a multiple of 4, which is all that the entries of rings promise.
    #[inline]
    pub(super) fn read_u64(&self, offset: usize) -> u64 {
        let low = self.at(offset, 8, 4).cast::<u32>();
        // SAFETY: eight bytes inside of the mapping, aligned to four, as `at` checked.
        let (low, high) = unsafe { (low.read_volatile(), low.add(1).read_volatile()) };
        u64::from(u32::from_le(low)) | u64::from(u32::from_le(high)) << 32
    }

    /// Writes 64 bits at a multiple of 8.
    #[inline]
    pub(super) fn write_u64(&self, offset: usize, value: u64) {
        // SAFETY: eight aligned bytes inside of the mapping, as `at` checked.
        unsafe { self.at(offset, 8, 8).cast::<u64>().write_volatile(value.to_le()) };
    }

    /// Writes `bytes`.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len(), 1);
        // SAFETY: `at` checked the length, and a slice of ours does not overlap the mapping.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Reads `bytes`.
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.at(offset, bytes.len(), 1);
        // SAFETY: as in `write`, the other way round.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let shared = Shared::new(8192).unwrap();
        shared.write_u64(8, 0x0123_4567_89ab_cdef);
        shared.store_u16(4, 0xbeef);
        assert_eq!(
            (shared.read_u64(8), shared.read_u64(12) & 0xffff_ffff),
            (0x0123_4567_89ab_cdef, 0x0123_4567)
        );
        assert_eq!(shared.load_u16(4), 0xbeef);
        let mut bytes = [0; 3];
        shared.write(8189, b"end");
        shared.read(8189, &mut bytes);
        assert_eq!(&bytes, b"end");
    }

    #[test]
    #[should_panic(expected = "assertion")]
    fn nothing_is_written_behind_its_end() {
        Shared::new(4096).unwrap().write(4094, b"end");
    }
}
