//! The dirty log: which pages of a guest's memory we wrote to while it is being migrated.
//!
//! One bit for each page of 4096 bytes, in memory that the frontend shares with us and reads and clears at any
//! moment (vhost-user, "Migration"): so bits are set atomically, after the write that they stand for and
//! before the guest is told of it.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{MemoryError, Region, RegionSpec};

/// Bytes that one bit stands for (vhost-user: `VHOST_LOG_PAGE`).
const PAGE: u64 = 4096;

/// A mapped dirty log.
#[derive(Debug)]
pub struct DirtyLog {
    region: Region,
}

impl DirtyLog {
    /// Maps `size` bytes of `file` from `offset` on. The file must be of the kind that guest memory must be of.
    pub fn map(file: &File, offset: u64, size: u64) -> Result<Self, MemoryError> {
        let spec = RegionSpec { guest_address: 0, size, user_address: 0, file_offset: offset };
        Ok(Self { region: Region::map(file, spec)? })
    }

    /// Where it lies in its file.
    #[must_use]
    pub fn spec(&self) -> RegionSpec {
        self.region.spec()
    }

    /// Its file.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.region.descriptor()
    }

    /// Whether the log's file shrank under the mapping, so that marks are lost.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.region.is_poisoned()
    }

    /// Marks the pages of `len` bytes from guest-physical `address` on; those that the log has no bits for are
    /// left out.
    pub fn mark(&self, address: u64, len: u64) {
        if len == 0 {
            return;
        }
        let bits = self.region.spec().size.saturating_mul(8);
        let last = address.saturating_add(len - 1) / PAGE;
        for page in address / PAGE..(last + 1).min(bits) {
            let (Ok(byte), bit) = (usize::try_from(page / 8), page % 8) else { return };
            // SAFETY: page < bits, so the byte lies inside of the mapping; both sides use it atomically.
            let byte = unsafe { AtomicU8::from_ptr(self.region.host().add(byte)) };
            byte.fetch_or(1 << bit, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn each_page_that_was_touched_has_its_bit_and_nothing_is_marked_beyond_the_log() {
        // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"log".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(8192).unwrap();
        let log = DirtyLog::map(&file, 4096, 16).unwrap();
        log.mark(0, 1);
        log.mark(4096 * 9 - 1, 2);
        log.mark(4096 * 20, 0);
        log.mark(4096 * 127, 4096 * 5);
        log.mark(u64::MAX - 10, 100);
        let mut bytes = [0; 32];
        file.read_exact_at(&mut bytes, 4096).unwrap();
        let mut expected = [0; 32];
        expected[0] = 1;
        expected[1] = 0b11;
        expected[15] = 0x80;
        assert_eq!(bytes, expected);
        assert!(DirtyLog::map(&file, 4096, 4097).is_err());
        assert!(DirtyLog::map(&file, u64::MAX, 16).is_err());
    }
}
