//! Cases that chance seldom finds.

use super::*;

#[test]
fn a_ring_asks_for_kicks_at_the_slot_that_comes_next() {
    let mut driver = Driver::new(8, 6, true, EVENT_IDX);
    let mut ring = TransmitRing::new(driver.core(), 12, port());
    let mut burst = Burst::new(port());
    assert!(!ring.core().arm().unwrap());
    assert_eq!(driver.asked(), (2, 6 | 1 << 15));
    ring.core().disarm();
    assert_eq!(driver.asked().0, 1, "some drivers take any named slot for a wish for everything");
    (0..3).for_each(|_| assert!(driver.offer(&[60], false, false, 1)));
    assert!(ring.core().arm().unwrap(), "what came while it was not armed is seen");
    assert_eq!(ring.read(&mut burst).unwrap(), 3);
    ring.complete(&burst);
    assert!(!ring.core().arm().unwrap());
    assert_eq!(driver.asked(), (2, 1), "the slot after the end is the first one of the other lap");

    // A receiver that has some buffers, but not enough of them.
    let mut driver = Driver::new(8, 0, true, 0);
    let mut ring = ReceiveRing::new(driver.core(), 12, true);
    (0..2).for_each(|_| assert!(driver.offer(&[60], false, true, 1)));
    assert_eq!(ring.put(&[0; 12], &[1; 200], &[], 200), Err(Refused::Frame(DropReason::NoBuffer)));
    assert!(!ring.core().arm().unwrap());
    assert_eq!(driver.asked().0, 0);
    assert!(driver.offer(&[60], false, true, 1));
    assert!(ring.core().arm().unwrap());
    assert!(driver.offer(&[60], false, true, 1));
    assert_eq!(ring.put(&[0; 12], &[1; 200], &[], 200), Ok(()));
}

#[test]
fn a_chain_that_never_ends_breaks_the_ring_after_those_before_it_were_served() {
    for (size, write) in [(8, false), (8, true), (1, false), (32_768, false)] {
        let mut driver = Driver::new(size, 0, true, 0);
        let good = if size > 1 { 1 } else { 0 };
        (0..good).for_each(|_| assert!(driver.offer(&[60], false, write, 1)));
        let flags = AVAIL | NEXT | if write { WRITE } else { 0 };
        for slot in good..size {
            driver.put(RING + u64::from(slot) * 16, (BUFFERS, 1), 0, flags);
        }
        let endless = RingError::EndlessChain { head: good, size };
        if write {
            let mut ring = ReceiveRing::new(driver.core(), 12, true);
            assert_eq!(ring.put(&[0; 12], &[1; 40], &[], 40), Ok(()));
            assert_eq!(ring.put(&[0; 12], &[1; 40], &[], 40), Err(Refused::Ring(endless)));
            continue;
        }
        let mut ring = TransmitRing::new(driver.core(), 12, port());
        let mut burst = Burst::new(port());
        if good > 0 {
            assert_eq!(ring.read(&mut burst).unwrap(), 1);
            ring.complete(&burst);
        }
        assert_eq!(ring.read(&mut burst), Err(endless));
    }
}

#[test]
fn malformed_chains_cost_their_frames_and_are_given_back_whole() {
    let mut driver = Driver::new(64, 60, true, 0);
    let mut ring = TransmitRing::new(driver.core(), 12, port());
    let mut burst = Burst::new(port());
    assert!(driver.offer(&[60], false, false, 1));
    // Somewhere in a chain of five: outside of the memory, the wrong way, and a table where none may be.
    for bad in [((1 << 40, 60), 0), ((BUFFERS, 60), WRITE), ((BUFFERS, 60), INDIRECT)] {
        assert!(driver.offer(&[60, 60, 60, 60, 60], false, false, 2));
        let slot = (driver.next + driver.size - 3) % driver.size;
        let (_, id, flags) = driver.slot(slot);
        driver.put(RING + u64::from(slot) * 16, bad.0, id, flags | bad.1);
    }
    // A table with NEXT, one of no whole number of descriptors, and an id that no driver would choose.
    for (len, flags, id) in [(16, INDIRECT | NEXT, 7), (17, INDIRECT, 8), (0, INDIRECT, 9), (5, 0, 0xffff)] {
        let last = driver.place((TABLES, len), id, flags);
        driver.file.write_all_at(&last.1.to_le_bytes(), last.0).unwrap();
        let mut slots = 1;
        if flags & NEXT != 0 {
            let last = driver.place((TABLES, 16), id, 0);
            driver.file.write_all_at(&last.1.to_le_bytes(), last.0).unwrap();
            slots = 2;
        }
        driver.offered.push_back(Offered { id, slots, bytes: Vec::new(), buffers: Vec::new() });
    }
    assert!(driver.offer(&[60], false, false, 3));
    let mut frames = 0;
    while ring.read(&mut burst).unwrap() > 0 {
        frames += frames_of(&mut burst).len();
        assert_eq!(burst.dropped[0], (DropReason::BadChain, 7));
        ring.complete(&burst);
    }
    assert_eq!(frames, 2);
    while driver.reclaim().is_some() {}
    assert!(driver.offered.is_empty(), "all came back, each with its id");
}

/// As DPDK's driver has it, which marks the header in a table as to be written.
#[test]
fn in_tables_that_are_only_read_the_direction_does_not_count() {
    let mut driver = Driver::new(64, 0, true, 0);
    let mut ring = TransmitRing::new(driver.core(), 12, port());
    let mut burst = Burst::new(port());
    assert!(driver.offer(&[12, 60, 60], true, false, 1));
    let Offered { buffers, bytes, .. } = &driver.offered[0];
    (TABLES..).step_by(16).zip(buffers).for_each(|(at, buffer)| driver.put(at, *buffer, 0, WRITE | NEXT));
    assert_eq!(ring.read(&mut burst).unwrap(), 1);
    assert_eq!(frames_of(&mut burst), std::slice::from_ref(bytes));
}

#[test]
fn many_small_buffers_are_published_before_the_shadow_is_full() {
    let mut driver = Driver::new(8192, 0, true, 0);
    let mut ring = ReceiveRing::new(driver.core(), 12, true);
    for slot in 0..8192u16 {
        let last = driver.place((BUFFERS + 100 * u64::from(slot % 64), 64), slot, WRITE);
        driver.file.write_all_at(&last.1.to_le_bytes(), last.0).unwrap();
        driver.offered.push_back(Offered { id: slot, slots: 1, bytes: Vec::new(), buffers: Vec::new() });
    }
    for _ in 0..8 {
        assert_eq!(ring.put(&[0; 12], &[1; 60_000], &[], 60_000), Ok(()));
    }
    assert!(ring.publish());
    let mut used = 0;
    while driver.reclaim().is_some() {
        used += 1;
    }
    assert_eq!(used, 8 * 60_012usize.div_ceil(64));
}

#[test]
fn the_dirty_log_holds_just_what_was_written() {
    let pages = |log: &File| -> Vec<u64> {
        let mut bytes = vec![0; 4096];
        log.read_exact_at(&mut bytes, 0).unwrap();
        let bit = |page: &u64| bytes[usize::try_from(*page / 8).unwrap()] & (1 << (page % 8)) != 0;
        (0..8 * 4096).filter(bit).collect()
    };
    for (write, expected) in [
        (false, vec![DEVICE / 4096, RING / 4096 + 1]),
        (true, vec![DEVICE / 4096, RING / 4096 + 1, BUFFERS / 4096, BUFFERS / 4096 + 1]),
    ] {
        let mut driver = Driver::new(1024, 300, true, 0);
        let file = memfd(4096);
        let log = Arc::new(DirtyLog::map(&file, 0, 4096).unwrap());
        let core = driver.core().logged(Some(RingLog { log, used: Some(DEVICE) }));
        assert!(driver.offer(&[5000, 5000], false, write, 1));
        if write {
            let mut ring = ReceiveRing::new(core, 12, false);
            ring.core().disarm();
            ring.put(&[0; 12], &[1; 4500], &[], 4500).unwrap();
            ring.publish();
        } else {
            let mut ring = TransmitRing::new(core, 12, port());
            ring.core().disarm();
            let mut burst = Burst::new(port());
            assert_eq!(ring.read(&mut burst).unwrap(), 1);
            ring.complete(&burst);
        }
        assert_eq!(pages(&file), expected);
    }
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let driver = Driver::new(64, 0, true, 0);
    let attempt = |change: &dyn Fn(&mut RingSetup)| {
        let mut setup = driver.setup();
        change(&mut setup);
        Core::new(&setup, &driver.memory(), PACKED).err()
    };
    assert_eq!(attempt(&|_| {}), None);
    assert_eq!(attempt(&|setup| setup.size = 100), None, "no power of two is needed");
    assert_eq!(attempt(&|setup| setup.size = 0), Some(RingError::BadSize(0)));
    assert_eq!(attempt(&|setup| setup.size = 32_769), Some(RingError::BadSize(32_769)));
    let beyond = RingError::BadPosition { index: 64, size: 64 };
    assert_eq!(attempt(&|setup| setup.base = 64 | 1 << 15), Some(beyond));
    assert!(matches!(attempt(&|setup| setup.used += 2), Some(RingError::Misaligned { align: 4, .. })));
    assert!(matches!(attempt(&|setup| setup.descriptor += 8), Some(RingError::Misaligned { align: 16, .. })));
    assert!(matches!(attempt(&|setup| setup.available += REGION), Some(RingError::Unmapped { .. })));
}
