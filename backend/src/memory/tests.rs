use std::fs::File;
use std::os::fd::FromRawFd;

use super::*;

fn memfd(size: u64) -> File {
    // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC)) };
    file.set_len(size).unwrap();
    file
}

fn region(file: &File, guest_address: u64, size: u64, file_offset: u64) -> Region {
    let spec = RegionSpec { guest_address, size, user_address: 0x7000_0000 + guest_address, file_offset };
    Region::map(file, spec).unwrap()
}

#[test]
fn an_address_is_found_in_its_region_and_cut_at_its_end() {
    let file = memfd(0x4000);
    let memory = GuestMemory::default().with(region(&file, 0x1000, 0x2000, 0)).unwrap();
    let memory = memory.with(region(&file, 0x8000, 0x1000, 0x3000)).unwrap();
    let mut hint = 0;
    assert_eq!(memory.translate(&mut hint, 0x1000, 16).unwrap().len, 16);
    assert_eq!(memory.translate(&mut hint, 0x2ff8, 16).unwrap().len, 8);
    assert!(memory.translate(&mut hint, 0x3000, 1).is_none());
    assert!(memory.translate(&mut hint, 0xfff, 1).is_none());
    assert_eq!(memory.translate(&mut hint, 0x8fff, u32::MAX).unwrap().len, 1);
    assert!(memory.translate(&mut hint, u64::MAX, 1).is_none());
    assert!(memory.translate_user(0x7000_1000, 0x2000).is_some());
    assert!(memory.translate_user(0x7000_1000, 0x2001).is_none());
}

#[test]
fn regions_that_overlap_wrap_or_are_short_are_refused() {
    let file = memfd(0x4000);
    let memory = GuestMemory::default().with(region(&file, 0x1000, 0x2000, 0)).unwrap();
    assert!(matches!(memory.with(region(&file, 0x2fff, 0x1000, 0)), Err(MemoryError::Overlap { .. })));
    let map = |size, file_offset| {
        let spec = RegionSpec { guest_address: u64::MAX - 0xfff, size, user_address: 0, file_offset };
        Region::map(&file, spec)
    };
    assert!(matches!(map(0x1000, 0), Err(MemoryError::BadSize { .. })));
    assert!(matches!(map(0, 0), Err(MemoryError::BadSize { .. })));
    assert!(matches!(map(0x800, 0x3801), Err(MemoryError::ShortFile { .. })));
    assert!(matches!(map(0x800, u64::MAX), Err(MemoryError::BadSize { .. })));
}

#[test]
fn only_the_very_region_is_removed() {
    let file = memfd(0x4000);
    let memory = GuestMemory::default().with(region(&file, 0x1000, 0x2000, 0)).unwrap();
    assert!(memory.without(0x1000, 0x1000, 0x7000_1000).is_err());
    assert_eq!(memory.without(0x1000, 0x2000, 0x7000_1000).unwrap().regions(), 0);
}

#[test]
fn places_are_spread_over_all_regions_and_lie_inside_of_them() {
    let (large, small) = (memfd(0x10_0000), memfd(0x1000));
    let memory = GuestMemory::default().with(region(&large, 0, 0x10_0000, 0)).unwrap();
    let memory = memory.with(region(&small, 0x20_0000, 0x1000, 0)).unwrap();
    let places = |count| {
        let found = memory.spread(count).map(|place| memory.guest_address(place).expect("inside"));
        found.collect::<Vec<_>>()
    };
    assert_eq!(places(1), [0, 0x20_0000], "at least one of each");
    let many = places(64);
    assert!((64..=66).contains(&many.len()), "{many:?}");
    assert!(many.windows(2).all(|pair| pair[0] < pair[1]), "{many:?}");
    assert_eq!(many.last(), Some(&0x20_0000));
    assert!(places(0).len() == 2 && GuestMemory::default().spread(64).next().is_none());
}

#[test]
fn a_file_on_a_disk_is_refused() {
    let file = File::open("/proc/self/exe").unwrap();
    let spec = RegionSpec { guest_address: 0, size: 0x1000, user_address: 0, file_offset: 0 };
    assert!(matches!(Region::map(&file, spec), Err(MemoryError::BadFile { .. })));
}

#[test]
fn a_file_that_shrinks_poisons_its_region_and_nothing_else() {
    install_poison_handler().unwrap();
    let file = memfd(0x400_0000);
    let memory = GuestMemory::default().with(region(&file, 0, 0x400_0000, 0)).unwrap();
    let other = memfd(0x1000);
    let bystander = GuestMemory::default().with(region(&other, 0, 0x1000, 0)).unwrap();
    file.set_len(0).unwrap();
    let segment = memory.translate(&mut 0, 0x123_4567, 1).unwrap();
    // SAFETY: inside of the mapping; the handler puts a page there.
    assert_eq!(unsafe { segment.host.read_volatile() }, 0);
    assert!(memory.is_poisoned());
    assert!(!bystander.is_poisoned());
}

#[test]
fn a_file_that_changes_its_size_while_it_is_mapped_never_leaves_a_short_mapping() {
    install_poison_handler().unwrap();
    let file = memfd(0x10_0000);
    let other = file.try_clone().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                other.set_len(0x1000).unwrap();
                other.set_len(0x10_0000).unwrap();
            }
        });
        let spec = RegionSpec { guest_address: 0, size: 0x10_0000, user_address: 0, file_offset: 0 };
        // The other thread may be off its processor for a while, with the file cut short.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let tries = std::iter::repeat(()).take_while(|()| std::time::Instant::now() < end);
        let mapped = tries.filter_map(|()| Region::map(&file, spec).ok()).filter(|region| {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let start = format!("{:x}-{:x}", region.host().addr(), region.host().addr() + 0x10_0000);
            assert!(maps.contains(&start), "{start} is not mapped as a whole");
            true
        });
        let count = mapped.take(50).count();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(count > 0, "the file was never long enough");
    });
}
