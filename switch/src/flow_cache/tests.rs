//! The cache alone: what a key covers, epochs, bounds, fairness.

use super::*;
use crate::decision::{Decision, Learned};
use crate::fdb::Limits;
use crate::ids::NetworkIndex;

const SHORT: Lengths = Lengths { whole: 60, wire: 60 };

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// The key of an untagged frame of `source` that is the `number`th of its kind.
fn key(source: usize, number: u32) -> FlowKey {
    let mut head = [0; 60];
    head[2..6].copy_from_slice(&number.to_be_bytes());
    FlowKey::untagged(port(source), &head).unwrap()
}

fn hash(key: FlowKey) -> u64 {
    key.hash(&FlowHasher::with_seed(7))
}

struct Bench {
    cache: FlowCache,
    fdb: Fdb,
}

impl Bench {
    fn new(entries: usize) -> Self {
        Self { cache: FlowCache::new(entries), fdb: Fdb::new(1, Limits::default()) }
    }

    fn insert(&mut self, source: usize, number: u32) -> Option<Kept> {
        let key = key(source, number);
        let (place, kept) = self.cache.place_for(hash(key), port(source), &self.fdb, 0)?;
        *self.cache.at(place) = Entry::new(key, Decision::default(), Learned::default());
        Some(kept)
    }

    fn find(&self, source: usize, number: u32) -> Option<Place> {
        let key = key(source, number);
        self.cache.find(hash(key), key, SHORT)
    }

    /// How many of a port's first `numbers` frames have a record; the cache's own count must agree.
    fn held(&self, source: usize, numbers: u32) -> usize {
        let found = (0..numbers).filter(|&number| self.find(source, number).is_some()).count();
        assert_eq!(self.cache.held_by(port(source).raw()) as usize, found);
        found
    }
}

#[test]
fn what_was_inserted_is_found_until_it_is_removed() {
    let mut bench = Bench::new(1024);
    for number in 0..100 {
        assert_eq!(bench.insert(1, number), Some(Kept::Inserted));
    }
    assert_eq!((bench.held(1, 200), bench.held(2, 200)), (100, 0));
    let place = bench.find(1, 7).unwrap();
    bench.cache.remove(place);
    assert_eq!((bench.find(1, 7), bench.held(1, 200)), (None, 99));
}

#[test]
fn a_new_epoch_ends_all_records_and_gives_all_places_back() {
    let mut bench = Bench::new(64);
    for _ in 0..3 {
        for number in 0..1000 {
            bench.insert(0, number);
        }
        assert!(bench.held(0, 1000) > 48);
        bench.cache.start_epoch();
        assert_eq!(bench.held(0, 1000), 0);
        assert_eq!(bench.insert(1, 1), Some(Kept::Inserted));
    }
}

/// Empty places hold what stood there: nothing of it may be taken for a record, whatever the hash and whatever stands beside.
#[test]
fn what_stands_in_an_empty_place_is_never_found() {
    for tag in 0..=255_u64 {
        let (mut bench, hash) = (Bench::new(16), tag << 56);
        let write = |bench: &mut Bench, number| {
            let (place, _) = bench.cache.place_for(hash, port(0), &bench.fdb, 0).unwrap();
            *bench.cache.at(place) = Entry::new(key(0, number), Decision::default(), Learned::default());
        };
        let find = |bench: &Bench, number| bench.cache.find(hash, key(0, number), SHORT);
        (0..16).for_each(|number| write(&mut bench, number));
        // A part of the places is taken out, one beside the other.
        for number in [1, 2, 5, 9, 15] {
            let place = find(&bench, number).unwrap();
            bench.cache.remove(place);
            assert_eq!(find(&bench, number), None, "tag {tag}, taken out");
        }
        bench.cache.start_epoch();
        for written in 0..16 {
            write(&mut bench, written);
            let found = (0..16).filter(|number| find(&bench, *number).is_some());
            assert_eq!(found.max(), Some(written), "tag {tag}, of an earlier epoch");
        }
    }
}

#[test]
fn old_epochs_do_not_come_back() {
    let mut bench = Bench::new(64);
    bench.insert(0, 1);
    bench.cache.epoch = u32::MAX;
    bench.cache.start_epoch();
    assert_eq!((bench.cache.epoch, bench.find(0, 1)), (1, None));
}

#[test]
fn a_cache_without_room_keeps_nothing() {
    let mut bench = Bench::new(0);
    assert_eq!((bench.insert(0, 1), bench.find(0, 1)), (None, None));
}

#[test]
fn a_flood_of_flows_displaces_the_flooders_own() {
    let mut bench = Bench::new(256);
    for number in 0..40 {
        bench.insert(1, number);
    }
    for number in 0..100_000 {
        bench.insert(0, number);
    }
    assert_eq!(bench.held(1, 40), 40, "who has fewer keeps them");
    assert!(bench.held(0, 100_000) <= 216);
}

#[test]
fn a_newcomer_with_fewer_records_gets_in() {
    let mut bench = Bench::new(256);
    for number in 0..100_000 {
        bench.insert(0, number);
    }
    // Only some newcomers displace anything: those whose frames keep coming.
    for _ in 0..200 {
        for number in 0..40 {
            if bench.find(1, number).is_none() {
                bench.insert(1, number);
            }
        }
    }
    assert_eq!(bench.held(1, 40), 40);
}

#[test]
fn a_record_that_no_longer_holds_keeps_no_place() {
    let mut bench = Bench::new(16);
    for number in 0..16 {
        assert_eq!(bench.insert(number as usize, number), Some(Kept::Inserted));
    }
    for number in 16..64 {
        // The port has more records than any other, so that only what is out of date gives way.
        bench.cache.give_to(port(99).raw());
        assert_eq!(bench.insert(99, number), None);
    }
    for entry in &mut bench.cache.entries {
        entry.decision = Decision::outdated();
    }
    assert!((64..96).any(|number| bench.insert(99, number) == Some(Kept::Displaced)));
}

#[test]
fn a_key_covers_addresses_types_and_tags_and_nothing_behind_them() {
    let head = |changed: &[(usize, u8)]| {
        let mut head = [0u8; 60];
        head[12] = 8;
        for &(at, value) in changed {
            head[at] = value;
        }
        FlowKey::untagged(port(3), &head).unwrap()
    };
    for at in 0..14 {
        assert_ne!(head(&[(at, 1)]), head(&[]), "byte {at}");
    }
    for at in 14..60 {
        assert_eq!(head(&[(at, 1)]), head(&[]), "byte {at} of an untagged frame");
    }
}

#[test]
fn a_key_covers_the_network_and_the_type_behind_a_tag_but_not_what_the_tag_says() {
    let key = |network: usize, changed: &[(usize, u8)]| {
        let mut head = [0u8; 60];
        head[12] = 8;
        for &(at, value) in changed {
            head[at] = value;
        }
        FlowKey::classified(port(3), NetworkIndex::new(network).unwrap(), &head).unwrap()
    };
    assert_ne!(key(0, &[]), key(1, &[]));
    assert_ne!(
        key(0, &[]),
        FlowKey::untagged(port(3), &{
            let mut head = [0u8; 60];
            head[12] = 8;
            head
        })
        .unwrap()
    );
    for kind in [[0x81, 0], [0x88, 0xa8], [0x91, 0]] {
        let tag = [(12, kind[0]), (13, kind[1])];
        assert!(key(4095, &tag).is_tagged() && !key(4095, &[]).is_tagged());
        for at in 14..60 {
            let changed: Vec<_> = tag.iter().copied().chain([(at, 1)]).collect();
            assert_eq!(key(5, &changed) != key(5, &tag), (16..18).contains(&at), "byte {at}");
        }
    }
    for at in 14..60 {
        assert_eq!(key(5, &[(at, 1)]), key(5, &[]), "byte {at} of a frame without a tag");
    }
}

#[test]
fn a_key_covers_the_source_port() {
    assert_ne!(key(1, 1), key(2, 1));
    assert!(!key(1, 1).is(key(2, 1)) && !key(1, 1).is(key(1, 2)) && key(1, 1).is(key(1, 1)));
}

#[test]
fn a_frame_shorter_than_two_tags_has_no_key() {
    assert!(FlowKey::untagged(port(0), &[0; 21]).is_none());
    assert!(FlowKey::untagged(port(0), &[0; 22]).is_some());
}
