//! A guest's memory: shared files mapped here and, by the daemon, there.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where guest addresses begin, unless a test says otherwise.
pub const GUEST_BASE: u64 = 0x1_0000_0000;
/// Distance of two regions in the frontend's address space: neighbours in guest addresses are none there.
const USER_STRIDE: u64 = 0x1_0000_0000;
const USER_BASE: u64 = 0x7000_0000_0000;
const PAGE: u64 = 4096;

/// One shared file and where it stands in the guest's and the frontend's address space.
#[derive(Debug)]
pub struct Region {
    /// First guest address.
    pub guest_address: u64,
    /// Size in bytes.
    pub size: u64,
    /// First address in the frontend's address space, which ring addresses are given in.
    pub user_address: u64,
    /// The file behind it, used from its beginning.
    pub file: File,
    mapping: *mut u8,
}

// SAFETY: the mapping is shared memory that lives as long as the region, and belongs to no thread.
unsafe impl Send for Region {}
// SAFETY: as above; races on the bytes are those of any guest with its devices, and all access is by copy.
unsafe impl Sync for Region {}

impl Region {
    /// A new memfd of `size` bytes, sealed against shrinking and growing as QEMU's are.
    #[must_use]
    pub fn sealed(guest_address: u64, size: u64, user_address: u64) -> Self {
        let file = memfd(size);
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: fcntl with F_ADD_SEALS takes an integer and changes only the file's state.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
        assert_eq!(result, 0, "sealing: {}", std::io::Error::last_os_error());
        Self::of(file, guest_address, size, user_address)
    }

    /// The first `size` bytes of `file`.
    #[must_use]
    pub fn of(file: File, guest_address: u64, size: u64, user_address: u64) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing of ours is replaced.
        let mapping = unsafe {
            libc::mmap(std::ptr::null_mut(), size as usize, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        assert_ne!(mapping, libc::MAP_FAILED, "mapping {size} bytes: {}", std::io::Error::last_os_error());
        Self { guest_address, size, user_address, file, mapping: mapping.cast() }
    }

    fn pointer(&self, offset: u64, length: usize) -> *mut u8 {
        assert!(offset + length as u64 <= self.size);
        // SAFETY: the offset was just checked to lie in the mapping.
        unsafe { self.mapping.add(offset as usize) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size and nothing borrows from it.
        unsafe { libc::munmap(self.mapping.cast(), self.size as usize) };
    }
}

/// A new memfd of `size` bytes, not sealed.
#[must_use]
pub fn memfd(size: u64) -> File {
    // SAFETY: the name is a constant C string; the descriptor returned is ours alone.
    let file = unsafe {
        let fd = libc::memfd_create(c"guest".as_ptr(), libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC);
        assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        File::from(OwnedFd::from_raw_fd(fd))
    };
    file.set_len(size).unwrap();
    file
}

/// All of a guest's memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// The regions, in the order of their guest addresses.
    pub regions: Vec<Region>,
    next: u64,
}

impl Memory {
    /// Regions of `sizes` bytes that follow one another in guest addresses without gaps, and not at all in the
    /// frontend's.
    #[must_use]
    pub fn contiguous(sizes: &[u64]) -> Self {
        let mut memory = Self { regions: Vec::new(), next: GUEST_BASE };
        let mut address = GUEST_BASE;
        for (index, size) in sizes.iter().enumerate() {
            memory.regions.push(Region::sealed(address, *size, user_address(index)));
            address += size;
        }
        memory
    }

    /// Memory of these regions, all of which is taken: only to be read and written.
    #[must_use]
    pub fn of(regions: Vec<Region>) -> Self {
        Self { regions, next: u64::MAX }
    }

    /// Takes `size` bytes that start at a multiple of `alignment`; regions may be crossed.
    #[must_use]
    pub fn allocate(&mut self, size: u64, alignment: u64) -> u64 {
        let address = self.next.next_multiple_of(alignment);
        self.next = address + size;
        let end = self.regions.last().map_or(0, |region| region.guest_address + region.size);
        assert!(self.next <= end, "the test's guest is too small: {} bytes more are needed", self.next - end);
        address
    }

    /// As [`Memory::allocate`], within one region: what a ring needs, whose parts the daemon maps as a whole.
    #[must_use]
    pub fn allocate_within_region(&mut self, size: u64, alignment: u64) -> u64 {
        loop {
            let address = self.next.next_multiple_of(alignment);
            let region = self.region_at(address);
            let end = region.guest_address + region.size;
            if address + size <= end {
                self.next = address + size;
                return address;
            }
            self.next = end;
        }
    }

    /// What [`Memory::allocate`] would give next, on a fresh page.
    pub fn next_page(&mut self) -> u64 {
        self.next = self.next.next_multiple_of(PAGE);
        self.next
    }

    fn region_at(&self, address: u64) -> &Region {
        let holds =
            |region: &&Region| (region.guest_address..region.guest_address + region.size).contains(&address);
        let found = self.regions.iter().find(holds);
        found.unwrap_or_else(|| panic!("the test's guest has no memory at {address:#x}: it is too small"))
    }

    /// The guest address `address` in the frontend's address space.
    #[must_use]
    pub fn to_user(&self, address: u64) -> u64 {
        let region = self.region_at(address);
        address - region.guest_address + region.user_address
    }

    /// Copies `bytes` to guest address `address`.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.each_part(address, bytes.len(), |pointer, range| {
            let part = &bytes[range];
            // SAFETY: `pointer` is valid for this part's length (checked in `pointer`), and a slice of ours does
            // not overlap the mapping.
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), pointer, part.len()) };
        });
    }

    /// Copies from guest address `address` to `bytes`.
    pub fn read(&self, address: u64, bytes: &mut [u8]) {
        self.each_part(address, bytes.len(), |pointer, range| {
            let part = &mut bytes[range];
            // SAFETY: as in `write`, in the other direction.
            unsafe { std::ptr::copy_nonoverlapping(pointer, part.as_mut_ptr(), part.len()) };
        });
    }

    fn each_part(&self, address: u64, length: usize, mut part: impl FnMut(*mut u8, std::ops::Range<usize>)) {
        let mut done = 0;
        while done < length {
            let region = self.region_at(address + done as u64);
            let offset = address + done as u64 - region.guest_address;
            let now = (length - done).min((region.size - offset) as usize);
            part(region.pointer(offset, now), done..done + now);
            done += now;
        }
    }

    fn atomic(&self, address: u64) -> &AtomicU16 {
        let region = self.region_at(address);
        let pointer = region.pointer(address - region.guest_address, 2);
        assert_eq!(pointer as usize % 2, 0);
        // SAFETY: valid and aligned as just checked; shared memory is only ever accessed by copy or atomically.
        unsafe { AtomicU16::from_ptr(pointer.cast()) }
    }

    /// Reads a 16-bit field that the device writes; what it wrote before is seen afterwards.
    #[must_use]
    pub fn load_u16(&self, address: u64) -> u16 {
        u16::from_le(self.atomic(address).load(Ordering::Acquire))
    }

    /// Writes a 16-bit field that the device reads, after everything written before.
    pub fn store_u16(&self, address: u64, value: u16) {
        self.atomic(address).store(value.to_le(), Ordering::Release);
    }

    /// Replaces a 16-bit field at once; returns what it was.
    #[must_use]
    pub fn swap_u16(&self, address: u64, value: u16) -> u16 {
        u16::from_le(self.atomic(address).swap(value.to_le(), Ordering::AcqRel))
    }

    /// Reads a 32-bit little-endian number.
    #[must_use]
    pub fn read_u32(&self, address: u64) -> u32 {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes);
        u32::from_le_bytes(bytes)
    }
}

fn user_address(index: usize) -> u64 {
    // Falling addresses: the order in the frontend's space is the reverse of the guest's.
    USER_BASE - index as u64 * USER_STRIDE
}
