//! Hostile packed rings: ids, wrap bits, chains and tables that no driver would write. What is malformed is a counted drop
//! or breaks its own ring, and a reset mends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{EVENT_IDX, IN_ORDER, INDIRECT_DESC, MODERN, RING_PACKED};
use viaduct_tests::driver::memory::Memory;
use viaduct_tests::driver::message::{Message, request};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::packed::{AVAIL, Place, USED};
use viaduct_tests::driver::ring::{INDIRECT, NEXT, Piece, Ring, WRITE, readable};
use viaduct_tests::driver::session::address_message;
use viaduct_tests::hostile::{LIMIT, Stage, mended};
use viaduct_tests::raw::{RECEIVE, Raw, SEND, good_frame};
use viaduct_tests::stream::{Flow, frame, mac, number_of};

fn packed(optional: u64) -> NicOptions {
    NicOptions { features: MODERN | RING_PACKED | optional, ..NicOptions::default() }
}

fn piece(Raw(address, length, ..): Raw) -> Piece {
    Piece { address, length, writable: false }
}

/// Puts a chain into the next slots and kicks; the fourth field of each descriptor is its buffer id.
fn offer(ring: &mut Ring, chain: &[Raw]) {
    let Some((first, others)) = chain.split_first() else { return };
    // The first one last; the others are seen after it.
    let place = ring.next_place();
    ring.put_raw(piece(*first), first.3, first.2 ^ place.available());
    for raw in others {
        ring.put_raw(piece(*raw), raw.3, raw.2);
    }
    let flags = ring.descriptor + 16 * u64::from(place.slot) + 14;
    ring.memory.store_u16(flags, first.2 | place.available());
    ring.kick.write(1).unwrap();
}

/// The chain is used up in its first slot, counted at `x` as `reason`, and good frames go on in the same ring.
fn assert_dropped(stage: &Stage, x: &mut Nic, y: &mut Nic, reason: &str, what: &str, chain: &[Raw]) {
    x.transmit[0].drain();
    let (before, place) = (stage.port("x").dropped(reason), x.ring(SEND).next_place());
    offer(&mut x.transmit[0].ring, chain);
    let ring = &x.transmit[0].ring;
    wait_until(&format!("{what}: the chain to be used"), LIMIT, || ring.is_used(place));
    assert_eq!(ring.used_in(place), (chain.last().unwrap().3, 0), "{what}: by its last descriptor's id");
    wait_until(&format!("{what}: to be counted as {reason}"), LIMIT, || {
        stage.port("x").dropped(reason) == before + 1
    });
    assert_eq!(stage.port("x").state, "running", "{what}: the ring goes on");
    assert!(y.take().is_none(), "{what}: nothing of it is delivered");
    // The next chain is looked for where this one ends, and nowhere else.
    let (at, length) = good_frame(x, 77, 100);
    offer(&mut x.transmit[0].ring, &[Raw(at, length, 0, 1)]);
    assert_eq!(number_of(&y.expect_frame("the frame after it").bytes), Some(77), "{what}");
    mended(x, y, SEND);
}

/// The ring is broken: the port says so, the error descriptor is written, and a reset mends it.
fn assert_breaks(stage: &mut Stage, x: &mut Nic, y: &mut Nic, index: usize, what: &str) {
    assert!(readable(&x.ring(index).error, LIMIT), "{what}: the ring's error descriptor is written");
    let _ = x.ring(index).error.read();
    wait_until(&format!("{what}: the port to be broken"), LIMIT, || stage.port("x").state == "broken");
    assert!(stage.port("x").detail.is_some(), "{what}: the port says why");
    stage.assert_unharmed(what);
    mended(x, y, index);
    assert_eq!(stage.port("x").state, "running", "{what}: mended by a reset of the ring");
}

// Buffer ids and wrap bits

#[test]
fn ids_beyond_the_ring_are_given_back_as_they_are_and_index_nothing() {
    let mut stage = Stage::new();
    for optional in [0, IN_ORDER] {
        let [mut x, mut y] = stage.cards(&packed(optional));
        let (at, length) = good_frame(&x, 1, 100);
        for id in [256, 257, 0x7fff, 0x8000, 0xffff] {
            let place = x.ring(SEND).next_place();
            offer(&mut x.transmit[0].ring, &[Raw(at, length, 0, id)]);
            assert_eq!(number_of(&y.expect_frame("a frame with a strange id").bytes), Some(1));
            wait_until("the buffer to come back", LIMIT, || x.ring(SEND).is_used(place));
            assert_eq!(x.ring(SEND).used_in(place), (id, 0));
        }
        mended(&mut x, &mut y, SEND);
        begin_empty(&mut x);
        for id in [256, 0x8000, 0xffff] {
            let place = x.ring(RECEIVE).next_place();
            offer(&mut x.receive[0].ring, &[Raw(at, 2048, WRITE, id)]);
            y.send(&frame(mac(1), mac(2), 5, 300));
            wait_until("the buffer to be filled", LIMIT, || x.ring(RECEIVE).is_used(place));
            assert_eq!(x.ring(RECEIVE).used_in(place), (id, 312));
        }
        mended(&mut x, &mut y, RECEIVE);
        stage.assert_unharmed("ids beyond the ring");
    }
    stage.finish("ids beyond the ring");
}

/// Starts the receive ring again without any buffers.
fn begin_empty(x: &mut Nic) {
    let _ = x.session.stop_ring(RECEIVE);
    x.receive[0].ring.reset();
    x.session.start_ring(RECEIVE, &x.receive[0].ring, Place::START.bits());
}

#[test]
fn descriptors_of_another_lap_are_not_there_however_often_they_are_kicked_for() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&packed(EVENT_IDX));
    let (at, length) = good_frame(&x, 9, 100);
    for wrong in [AVAIL, USED, AVAIL | USED] {
        x.transmit[0].drain();
        let place = x.ring(SEND).next_place();
        // The other lap's, used, and used in the other lap.
        x.transmit[0].ring.put_raw(piece(Raw(at, length, 0, 0)), 3, wrong);
        for _ in 0..20 {
            x.ring(SEND).kick.write(1).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(y.take().is_none(), "a descriptor of another lap was taken");
        assert_eq!(stage.port("x").state, "running");
        // Turned right, it is taken.
        let flags = x.ring(SEND).descriptor + 16 * u64::from(place.slot) + 14;
        x.memory.store_u16(flags, place.available());
        x.ring(SEND).kick.write(1).unwrap();
        assert_eq!(number_of(&y.expect_frame("a frame that is available at last").bytes), Some(9));
        mended(&mut x, &mut y, SEND);
    }
    stage.assert_unharmed("descriptors of another lap");
    drop((x, y));
    stage.finish("descriptors of another lap");
}

/// The whole ring available again and again, in both laps, used or not: more chains than it has slots, under the switch's
/// hands.
#[test]
fn wrap_bits_that_flip_all_the_time_harm_nobody_else() {
    let mut stage = Stage::new();
    for optional in [0, IN_ORDER, EVENT_IDX | IN_ORDER] {
        let [mut x, mut y] = stage.cards(&packed(optional));
        let (at, length) = good_frame(&x, 1, 100);
        let stop = Arc::new(AtomicBool::new(false));
        let flippers = [(SEND, 0), (RECEIVE, WRITE)].map(|(index, direction)| {
            let (stop, memory, ring) = (Arc::clone(&stop), Arc::clone(&x.memory), x.ring(index).descriptor);
            let kick = x.ring(index).kick.try_clone().unwrap();
            for slot in 0..256 {
                memory.write(ring + 16 * slot, &at.to_le_bytes());
                memory.write(ring + 16 * slot + 8, &length.to_le_bytes());
            }
            std::thread::spawn(move || {
                flip(&memory, ring, direction, &stop, || kick.write(1).unwrap());
            })
        });
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < Duration::from_secs(1) {
            y.send(&frame(mac(1), mac(2), number, 300));
            while y.take().is_some() {}
            number += 1;
        }
        stop.store(true, Ordering::Relaxed);
        flippers.into_iter().for_each(|flipper| flipper.join().unwrap());
        stage.assert_unharmed("flipping wrap bits");
        // The attacker's own rings may be broken by now.
        x.reset_ring_wherever(RECEIVE);
        x.collect(Duration::from_millis(20));
        mended(&mut x, &mut y, SEND);
    }
    stage.finish("flipping wrap bits");
}

fn flip(memory: &Memory, ring: u64, direction: u16, stop: &AtomicBool, kick: impl Fn()) {
    let mut round = 0_u16;
    while !stop.load(Ordering::Relaxed) {
        round = round.wrapping_add(1);
        let bits = [AVAIL, USED, 0, AVAIL | USED][usize::from(round % 4)];
        for slot in 0..256_u16 {
            // Now and then with all sorts of ids and flags.
            let odd = (round ^ slot).is_multiple_of(61);
            let more = if odd { round & (NEXT | WRITE | INDIRECT) } else { direction };
            memory.store_u16(ring + 16 * u64::from(slot) + 12, if odd { !slot } else { slot });
            memory.store_u16(ring + 16 * u64::from(slot) + 14, bits | more);
        }
        kick();
    }
}

// Chains

#[test]
fn malformed_chains_of_packed_rings_are_counted_drops() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&packed(0));
    let (at, length) = good_frame(&x, 1, 100);
    let cases: [(&str, Vec<Raw>); 9] = [
        ("a buffer to be written", vec![Raw(at, length, WRITE, 4)]),
        (
            "a buffer to be written at the end",
            vec![Raw(at, 12, NEXT, 7), Raw(at + 12, length - 12, WRITE, 8)],
        ),
        ("a bad address after a good one", vec![Raw(at, 12, NEXT, 0), Raw(0, 100, 0, 9)]),
        ("an address that wraps", vec![Raw(at, 12, NEXT, 0), Raw(u64::MAX - 4, 100, 0, 10)]),
        ("bad in the middle", vec![Raw(at, 12, NEXT, 0), Raw(0, 1, NEXT, 0), Raw(at, 100, 0, 0xffff)]),
        ("nothing at all", vec![Raw(at, 0, 0, 11)]),
        ("shorter than the header", vec![Raw(at, 11, 0, 12)]),
        (
            "a header in pieces that ends early",
            vec![Raw(at, 4, NEXT, 1), Raw(at, 4, NEXT, 2), Raw(at, 3, 0, 13)],
        ),
        ("a table in a chain", vec![Raw(at, 12, NEXT, 1), Raw(at, 16, INDIRECT, 14)]),
    ];
    for (what, chain) in cases {
        assert_dropped(&stage, &mut x, &mut y, "bad-chain", what, &chain);
    }
    stage.assert_unharmed("malformed chains");
    drop((x, y));
    stage.finish("malformed chains of packed rings");
}

#[test]
fn chains_of_packed_rings_that_are_too_long_are_counted_drops() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions { queue_size: 32_768, ..packed(0) });
    let (at, length) = good_frame(&x, 1, 100);
    // One slot less than the ring has, for the good frame after it.
    let mut long = vec![Raw(at, 1, NEXT, 5); 32_766];
    long.push(Raw(at, length, 0, 6));
    assert_dropped(&stage, &mut x, &mut y, "bad-chain", "a chain of 32767", &long);
    assert_dropped(&stage, &mut x, &mut y, "bad-chain", "four gigabytes", &[Raw(at, u32::MAX, 0, 0)]);
    let region = &x.memory.regions[0];
    let (start, size) = (region.guest_address, region.size as u32);
    let times = (1_u64 << 32).div_ceil(u64::from(size)) as usize;
    let mut many = vec![Raw(start, size, NEXT, 0); times.min(1000)];
    many.push(Raw(start, 200, 0, 1));
    assert_dropped(&stage, &mut x, &mut y, "too-long", "all of the memory many times over", &many);
    stage.assert_unharmed("chains that are too long");
    drop((x, y));
    stage.finish("chains of packed rings that are too long");
}

#[test]
fn a_chain_that_goes_on_where_nothing_is_breaks_the_ring_alone() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&packed(0));
    let (at, length) = good_frame(&x, 1, 100);
    for slots in [1, 2, 100, 256] {
        x.transmit[0].drain();
        offer(&mut x.transmit[0].ring, &vec![Raw(at, length, NEXT, 0); slots]);
        assert_breaks(&mut stage, &mut x, &mut y, SEND, &format!("{slots} descriptors that all go on"));
    }
    begin_empty(&mut x);
    offer(&mut x.receive[0].ring, &[Raw(at, 20, NEXT | WRITE, 0); 256]);
    y.send(&frame(mac(1), mac(2), 1, 300));
    assert_breaks(&mut stage, &mut x, &mut y, RECEIVE, "a receive buffer that never ends");
    drop((x, y));
    stage.finish("chains that go on where nothing is");
}

// Indirect tables

#[test]
fn malformed_tables_of_packed_rings_are_counted_drops() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&packed(INDIRECT_DESC));
    let (at, length) = good_frame(&x, 1, 100);
    let table = x.spare + 4096;
    let end = x.memory.regions.last().map(|last| last.guest_address + last.size).unwrap();
    let good = Raw(at, length, 0, 0);
    type Case = (&'static str, Vec<Raw>, Vec<Raw>);
    let cases: [Case; 8] = [
        ("a length of 17", vec![Raw(table, 17, INDIRECT, 1)], vec![good]),
        ("a length of 15", vec![Raw(table, 15, INDIRECT, 2)], vec![good]),
        ("no length", vec![Raw(table, 0, INDIRECT, 3)], vec![good]),
        ("four gigabytes of table", vec![Raw(table, u32::MAX - 15, INDIRECT, 4)], vec![good]),
        ("a table and NEXT", vec![Raw(table, 16, INDIRECT | NEXT, 0), Raw(at, length, 0, 5)], vec![good]),
        ("a table nowhere", vec![Raw(0x1000, 16, INDIRECT, 6)], vec![]),
        ("a table that runs out of memory", vec![Raw(end - 8, 16, INDIRECT, 7)], vec![]),
        ("a bad address in it", vec![Raw(table, 32, INDIRECT, 8)], vec![good, Raw(0, 9, 0, 0)]),
    ];
    for (what, chain, entries) in cases {
        write_table(&x, table, &entries);
        assert_dropped(&stage, &mut x, &mut y, "bad-chain", what, &chain);
    }
    let _ = good_frame(&x, 1, 100);
    // All of a table counts, and of the flags in it none but the direction (virtio 1.2, 2.8.7).
    write_table(&x, table, &[Raw(at, 12, NEXT | INDIRECT, 9), Raw(at + 12, length - 12, NEXT, 300)]);
    offer(&mut x.transmit[0].ring, &[Raw(table, 32, INDIRECT, 200)]);
    assert_eq!(number_of(&y.expect_frame("a frame by a table").bytes), Some(1));
    stage.assert_unharmed("malformed tables");
    drop((x, y));
    stage.finish("malformed tables of packed rings");
}

/// Writes a table's descriptors: address, length, flags, id.
fn write_table(x: &Nic, table: u64, entries: &[Raw]) {
    for (at, Raw(address, length, flags, id)) in (table..).step_by(16).zip(entries) {
        x.memory.write(at, &address.to_le_bytes());
        x.memory.write(at + 8, &length.to_le_bytes());
        x.memory.write(at + 12, &id.to_le_bytes());
        x.memory.write(at + 14, &flags.to_le_bytes());
    }
}

#[test]
fn a_packed_table_across_two_regions_works() {
    let stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions { region_bytes: Some(8192), ..packed(INDIRECT_DESC) });
    let (at, length) = good_frame(&x, 7, 300);
    let border =
        x.memory.regions.iter().map(|region| region.guest_address).find(|start| *start > at + 4096).unwrap();
    for before in [8, 16, 24, 1, 15] {
        let table = border - before;
        write_table(&x, table, &[Raw(at, 12, 0, 0), Raw(at + 12, length - 12, 0, 0)]);
        offer(&mut x.transmit[0].ring, &[Raw(table, 32, INDIRECT, 9)]);
        assert_eq!(number_of(&y.expect_frame("a frame by a table across regions").bytes), Some(7));
    }
    drop((x, y));
    stage.finish("a packed table across regions");
}

// Receive buffers

#[test]
fn malformed_receive_buffers_of_packed_rings_cost_their_owner_a_frame_and_are_counted() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&packed(INDIRECT_DESC));
    let (at, _) = good_frame(&x, 1, 100);
    let table = x.spare + 4096;
    let cases: [(&str, Vec<Raw>); 7] = [
        ("not writable", vec![Raw(at, 2048, 0, 1)]),
        ("nowhere", vec![Raw(0x1000, 2048, WRITE, 2)]),
        ("wrapping", vec![Raw(u64::MAX - 100, 2048, WRITE, 3)]),
        ("empty", vec![Raw(at, 0, WRITE, 4)]),
        ("first writable, then not", vec![Raw(at, 12, WRITE | NEXT, 0), Raw(at + 12, 1000, 0, 5)]),
        ("a table to be read", vec![Raw(table, 16, INDIRECT, 6)]),
        ("a table of nothing", vec![Raw(table, 0, INDIRECT, 7)]),
    ];
    write_table(&x, table, &[Raw(at, 2048, 0, 0)]);
    for (what, chain) in cases {
        begin_empty(&mut x);
        let (before, place) = (stage.port("x").dropped("bad-buffer"), x.ring(RECEIVE).next_place());
        offer(&mut x.receive[0].ring, &chain);
        y.send(&frame(mac(1), mac(2), 5, 300));
        wait_until(&format!("{what}: a drop to be counted"), LIMIT, || {
            stage.port("x").dropped("bad-buffer") > before
        });
        wait_until(&format!("{what}: the buffer to come back"), LIMIT, || x.ring(RECEIVE).is_used(place));
        assert_eq!(x.ring(RECEIVE).used_in(place), (chain.last().unwrap().3, 0), "{what}: and is empty");
        stage.assert_unharmed(what);
        mended(&mut x, &mut y, RECEIVE);
    }
    drop((x, y));
    stage.finish("malformed receive buffers of packed rings");
}

// Positions and event suppression

#[test]
fn positions_beyond_the_ring_and_garbage_in_the_drivers_area_harm_nobody_else() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&packed(EVENT_IDX));
    for base in [256, 257, 0x7fff, 0x8000 | 256, 0xffff] {
        let _ = x.session.stop_ring(SEND);
        x.transmit[0].reset();
        x.session.start_ring(SEND, &x.transmit[0].ring, base);
        wait_until("the ring to wait for a position that can be", LIMIT, || {
            stage.port("x").rings_running == 1
        });
        stage.assert_unharmed("a position beyond the ring");
        mended(&mut x, &mut y, SEND);
    }
    for (slot, flags) in [(0xffff, 2), (0x7fff, 2), (256, 2), (0, 3), (0xffff, 0xffff), (3, 0xfffe)] {
        for index in [SEND, RECEIVE] {
            x.memory.store_u16(x.ring(index).available, slot);
            x.memory.store_u16(x.ring(index).available + 2, flags);
        }
        for number in 0..600 {
            x.transmit[0].put(Default::default(), &frame(mac(2), mac(1), number, 60));
            x.transmit[0].ring.publish();
            assert_eq!(number_of(&y.expect_frame("a frame").bytes), Some(number));
        }
        stage.assert_unharmed("garbage in the driver's area");
    }
    mended(&mut x, &mut y, SEND);
    drop((x, y));
    stage.finish("positions beyond the ring");
}

// Where the parts lie, and sizes

/// Stops ring `index` and starts it with its parts elsewhere: ring, device area and driver area.
fn start_at(x: &mut Nic, index: usize, [slots, device, driver]: [u64; 3]) -> bool {
    let _ = x.session.stop_ring(index);
    let kick = Message::new(request::SET_VRING_KICK).u64(index as u64).descriptor(&x.ring(index).kick);
    let accepted =
        x.session.accepts(&address_message(index as u32, slots, device, driver)) && x.session.accepts(&kick);
    x.ring(index).kick.write(1).unwrap();
    accepted
}

#[test]
fn parts_of_packed_rings_at_odd_places_or_outside_of_the_memory_do_not_run_and_the_port_says_so() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&packed(EVENT_IDX));
    let last = x.memory.regions.last().unwrap();
    let end = last.user_address + last.size;
    for index in [SEND, RECEIVE] {
        let ring = x.ring(index);
        let [slots, driver, device] =
            [ring.descriptor, ring.available, ring.used].map(|at| x.memory.to_user(at));
        for (what, slots, device, driver) in [
            ("a driver area aligned as an available ring", slots, device, driver + 2),
            ("a driver area outside", slots, device, end),
            ("a driver area before all memory", slots, device, 0),
            ("a device area outside", slots, end, driver),
            ("a device area at the end of all addresses", slots, u64::MAX - 3, driver),
            ("a ring across the end", end - 16, device, driver),
            ("a ring at the end of all addresses", u64::MAX - 15, device, driver),
        ] {
            assert!(start_at(&mut x, index, [slots, device, driver]), "{what}");
            wait_until(&format!("{what}: the ring to stand, and the port to say why"), LIMIT, || {
                let port = stage.port("x");
                port.rings_running == 1 && port.detail.is_some()
            });
            stage.assert_unharmed(what);
            mended(&mut x, &mut y, index);
        }
    }
    drop((x, y));
    stage.finish("parts of packed rings");
}

/// The driver's and the device's area may lie on top of each other or of the ring: the guest harms itself alone.
#[test]
fn parts_of_packed_rings_that_overlap_harm_nobody_else() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&packed(EVENT_IDX));
    for index in [SEND, RECEIVE] {
        let ring = x.ring(index);
        let [slots, driver] = [ring.descriptor, ring.available].map(|at| x.memory.to_user(at));
        for (device, driver) in [(driver, driver), (slots + 8, driver), (slots + 12, slots), (slots, slots)] {
            assert!(start_at(&mut x, index, [slots, device, driver]));
            for number in 0..20 {
                let _ = x.transmit[0].try_put(Default::default(), &frame(mac(2), mac(1), number, 60));
                x.transmit[0].ring.publish();
                y.transmit[0].put(Default::default(), &frame(mac(1), mac(2), number, 60));
                y.transmit[0].ring.publish();
                x.ring(index).kick.write(1).unwrap();
            }
            stage.assert_unharmed("parts that overlap");
            for index in [SEND, RECEIVE] {
                x.reset_ring_wherever(index);
            }
            // What waited for the receiver comes now.
            x.collect(Duration::from_millis(100));
            mended(&mut x, &mut y, index);
        }
    }
    drop((x, y));
    stage.finish("overlapping parts of packed rings");
}

#[test]
fn packed_rings_of_any_size_carry_frames() {
    let stage = Stage::new();
    for queue_size in [1, 2, 3, 7, 100, 1000] {
        for optional in [0, IN_ORDER | EVENT_IDX] {
            let [mut x, mut y] = stage.cards(&NicOptions { queue_size, ..packed(optional) });
            for _ in 0..2 * 1000 / queue_size {
                Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60]);
            }
            Flow::new(mac(2), mac(1)).carry(&mut y, &mut x, [60, 1000]);
        }
    }
    stage.finish("packed rings of any size");
}

/// Between two runs of its rings a frontend may negotiate another layout, with sizes and positions that only the one
/// before could have.
#[test]
fn a_layout_that_changes_under_sizes_and_positions_of_the_other_one_harms_nobody_else() {
    let mut stage = Stage::new();
    let options = NicOptions { queue_size: 100, ..packed(0) };
    let [mut x, mut y] = stage.cards(&options);
    Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60, 700]);
    x.session.take_features(MODERN);
    wait_until("rings that cannot be split to stop", LIMIT, || stage.port("x").rings_running == 0);
    stage.assert_unharmed("a size that is no power of two");
    x.session.take_features(options.features);
    for index in [RECEIVE, SEND] {
        x.reset_ring_wherever(index);
    }
    mended(&mut x, &mut y, SEND);
    drop((x, y));
    stage.finish("another layout");
}
