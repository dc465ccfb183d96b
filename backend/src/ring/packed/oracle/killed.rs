//! A packed ring after a process that was killed.

use super::super::cursor::Cursor;
use super::super::shadow::Entry;
use super::*;
use crate::ring::Ledger;
use crate::ring::ledger::{Identity, Note};

/// A ring of a process that came after another one: the frontend believes that it stands where it began.
fn successor(driver: &Driver, ledger: &Ledger) -> TransmitRing {
    TransmitRing::new(driver.core().kept(Some(ledger), &driver.setup(), driver.features), 12, port())
}

/// Offers and serves one round; the driver takes back what it shows.
fn serve(driver: &mut Driver, ring: &mut TransmitRing, count: u8) {
    let mut burst = Burst::new(port());
    for number in 0..count {
        let lens: &[u32] = if number % 3 == 2 { &[30, 60] } else { &[60] };
        assert!(driver.offer(lens, false, false, number));
    }
    let expected: Vec<Vec<u8>> = driver.offered.iter().map(|chain| chain.bytes.clone()).collect();
    let mut frames = Vec::new();
    while ring.read(&mut burst).unwrap() > 0 {
        frames.extend(frames_of(&mut burst));
        ring.complete(&burst);
    }
    assert!(frames == expected, "each frame once and in order");
    while driver.reclaim().is_some() {}
    assert!(driver.offered.is_empty());
    driver.buffer = BUFFERS;
}

#[test]
fn a_ring_goes_on_where_its_ledger_says_however_often_its_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    for features in [0, IN_ORDER] {
        for size in [16, 23] {
            let ledger = Ledger::at(folder.path().join(format!("{features}-{size}.rings")), 2);
            let mut driver = Driver::new(size, 0, true, features);
            for round in 0..60 {
                let mut ring = successor(&driver, &ledger);
                serve(&mut driver, &mut ring, 1 + round % 9);
            }
        }
    }
}

/// What is left of a process that was killed: the ring, and its page of the ledger.
struct Remains {
    ring: Vec<u8>,
    note: Note,
    entries: Vec<Entry>,
}

impl Remains {
    fn of(driver: &Driver, ledger: &Ledger) -> Self {
        let mut ring = vec![0; 16 * usize::from(driver.size)];
        driver.file.read_exact_at(&mut ring, RING).unwrap();
        let (note, entries) = ledger.page(0).unwrap().read(&identity(driver)).unwrap();
        Self { ring, note, entries }
    }

    fn put(&self, driver: &Driver, ledger: &Ledger) {
        driver.file.write_all_at(&self.ring, RING).unwrap();
        ledger.page(0).unwrap().announce(self.note, &self.entries);
    }

    fn word(&self, slot: usize) -> u64 {
        u64::from_le_bytes(self.ring[16 * slot + 8..][..8].try_into().unwrap())
    }

    /// All that a kill between these two states may leave: nothing noted yet; noted, and none, one, some of the used
    /// descriptors written; all written, and that not noted.
    fn between(before: &Self, after: &Self) -> Vec<Self> {
        let changed = |slot: &usize| before.word(*slot) != after.word(*slot);
        let start = usize::from(Cursor::from_bits(before.note.end).index);
        let size = before.ring.len() / 16;
        let entries: Vec<Entry> = (0..size)
            .map(|ahead| (start + ahead) % size)
            .filter(changed)
            .map(|slot| Entry { word: after.word(slot), slot: slot as u64 })
            .collect();
        let count = u16::try_from(entries.len()).unwrap();
        let note = Note { start: before.note.end, count, end: after.note.end, last: before.note.last };
        let written = |count: usize| {
            let mut ring = before.ring.clone();
            for entry in entries.iter().skip(1).chain(entries.first()).take(count) {
                ring[16 * usize::from(entry.place().index) + 8..][..8]
                    .copy_from_slice(&entry.word.to_le_bytes());
            }
            Self { ring, note, entries: entries.clone() }
        };
        (0..=entries.len()).map(written).collect()
    }
}

fn identity(driver: &Driver) -> Identity {
    let setup = driver.setup();
    Identity {
        file: driver.memory().file_at(setup.descriptor).unwrap(),
        addresses: [setup.descriptor, setup.available, setup.used],
        size: setup.size,
        features: driver.features,
    }
}

/// Each burst is cut off at each of its stores in turn. The successor shows all of the burst, and sends nothing of it
/// again; and goes on at the right place.
#[test]
fn whatever_a_kill_leaves_of_a_burst_its_successor_completes_it() {
    let folder = tempfile::tempdir().unwrap();
    for (size, features) in [1, 2, 3, 5, 16].into_iter().flat_map(|size| [(size, 0), (size, IN_ORDER)]) {
        let ledger = Ledger::at(folder.path().join(format!("{features}-{size}.rings")), 2);
        let mut driver = Driver::new(size, 0, true, features);
        let mut ring = successor(&driver, &ledger);
        let mut burst = Burst::new(port());
        for round in 0..40u16 {
            // One slot or several to a chain, so that laps begin in their middle; up to a full ring.
            let most = 1 + usize::from(round * 7 % size.min(4));
            let mut offered = 0;
            while offered <= round % 11 && driver.offer(&vec![60; most], false, false, 1) {
                offered += 1;
            }
            let before = Remains::of(&driver, &ledger);
            let taken = ring.read(&mut burst).unwrap();
            assert_eq!(taken, offered);
            ring.complete(&burst);
            let after = Remains::of(&driver, &ledger);
            let states = Remains::between(&before, &after);
            assert_eq!(states.len() > 1, taken > 0);
            for (written, state) in states.into_iter().enumerate() {
                state.put(&driver, &ledger);
                let mut next = successor(&driver, &ledger);
                let position = next.core().position();
                assert_eq!(position, after.note.end, "{written} of round {round}, size {size}");
                assert!(Remains::of(&driver, &ledger).ring == after.ring, "all of the burst shows");
                assert_eq!(next.read(&mut burst).unwrap(), 0, "none of it is sent again");
                ring = next;
            }
            while driver.reclaim().is_some() {}
            assert!(driver.offered.is_empty());
            driver.buffer = BUFFERS;
        }
    }
}

/// A driver that begins anew at every connection, as DPDK's does: whatever a kill left of the old ring's burst, nothing
/// of it is written into the new one, which begins at its beginning.
#[test]
fn what_was_announced_for_a_ring_is_not_written_into_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    for features in [0, IN_ORDER] {
        let ledger = Ledger::at(folder.path().join(format!("{features}.rings")), 2);
        let mut driver = Driver::new(16, 0, true, features);
        let mut ring = successor(&driver, &ledger);
        let mut burst = Burst::new(port());
        for round in 0..60u8 {
            (0..1 + round % 7).for_each(|_| assert!(driver.offer(&[60], false, false, 1)));
            let before = Remains::of(&driver, &ledger);
            while ring.read(&mut burst).unwrap() > 0 {
                ring.complete(&burst);
            }
            let after = Remains::of(&driver, &ledger);
            while driver.reclaim().is_some() {}
            driver.buffer = BUFFERS;
            for state in Remains::between(&before, &after) {
                for count in [0, 1, 9, 16] {
                    let mut fresh = Driver::new(16, 0, true, features);
                    fresh.file = driver.file.try_clone().unwrap();
                    state.put(&driver, &ledger);
                    fresh.file.write_all_at(&[0; 256], RING).unwrap();
                    fresh.file.write_all_at(&[0; 4], DEVICE).unwrap();
                    (0..count).for_each(|_| assert!(fresh.offer(&[60], false, false, 1)));
                    let mut new = successor(&fresh, &ledger);
                    assert_eq!(new.core().position(), 1 << 15);
                    serve(&mut fresh, &mut new, 0);
                }
            }
            after.put(&driver, &ledger);
        }
    }
}

#[test]
fn a_ring_that_was_begun_anew_is_not_taken_for_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    for rounds in 1..12 {
        let ledger = Ledger::at(folder.path().join(format!("{rounds}.rings")), 2);
        let mut driver = Driver::new(16, 0, true, 0);
        for _ in 0..rounds {
            let mut ring = successor(&driver, &ledger);
            serve(&mut driver, &mut ring, 5);
        }
        // The guest was reset while no switch was there: the same memory and addresses, zeroed.
        let mut fresh = Driver::new(16, 0, true, 0);
        fresh.file = driver.file.try_clone().unwrap();
        fresh.file.write_all_at(&[0; 256], RING).unwrap();
        let mut ring = successor(&fresh, &ledger);
        serve(&mut fresh, &mut ring, 9);
        // A ring whose position was handed over goes on where the frontend says.
        ledger.close(0);
        let place = fresh.used_next | if fresh.used_wrap { 1 << 15 } else { 0 };
        fresh.start = place;
        let mut ring = successor(&fresh, &ledger);
        serve(&mut fresh, &mut ring, 3);
    }
}
