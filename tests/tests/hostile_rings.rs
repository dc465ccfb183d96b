//! Hostile rings: what is malformed is a counted drop or breaks its own ring, and a reset mends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{INDIRECT_DESC, MODERN};
use viaduct_tests::driver::header::{NEEDS_CSUM, NetHeader};
use viaduct_tests::driver::memory::Memory;
use viaduct_tests::driver::message::{Message, request};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::ring::{INDIRECT, NEXT, Piece, Ring, WRITE, readable};
use viaduct_tests::hostile::{LIMIT, Stage, mended};
use viaduct_tests::stream::{frame, mac, number_of};

/// The transmit ring's number.
const SEND: usize = 1;
/// The receive ring's number.
const RECEIVE: usize = 0;

/// A descriptor as it stands in the table: address, length, flags, next.
#[derive(Clone, Copy)]
struct Raw(u64, u32, u16, u16);

fn write_table(ring: &Ring, table: u64, descriptors: &[Raw]) {
    for (index, Raw(address, length, flags, next)) in (0_u16..).zip(descriptors) {
        let piece = Piece { address: *address, length: *length, writable: false };
        ring.write_descriptor(table, index, piece, *flags, *next);
    }
}

/// Makes descriptor 0 with all that hangs on it available, behind the driver's back.
fn offer(ring: &mut Ring, descriptors: &[Raw]) {
    write_table(ring, ring.descriptor, descriptors);
    ring.put_available(0);
    ring.set_available_index(ring.available_index);
}

/// A header and a good frame at the card's spare memory; returns its address and length.
fn good_frame(x: &Nic, number: u64, length: usize) -> (u64, u32) {
    x.memory.write(x.spare, &NetHeader::default().bytes());
    x.memory.write(x.spare + 12, &frame(mac(2), mac(1), number, length));
    (x.spare, (12 + length) as u32)
}

/// The ring is broken: the port says so, the error descriptor is written, and a reset mends it.
fn assert_breaks(stage: &mut Stage, x: &mut Nic, y: &mut Nic, what: &str) {
    assert!(readable(&x.ring(SEND).error, LIMIT), "{what}: the ring's error descriptor is written");
    let _ = x.ring(SEND).error.read();
    wait_until(&format!("{what}: the port to be broken"), LIMIT, || stage.port("x").state == "broken");
    assert!(stage.port("x").detail.is_some(), "{what}: the port says why");
    stage.assert_unharmed(what);
    mended(x, y, SEND);
    assert_eq!(stage.port("x").state, "running", "{what}: mended by a reset of the ring");
}

// The available index

#[test]
fn an_available_index_that_jumps_or_goes_back_breaks_the_ring_alone() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    for ahead in [257, 300, 32_768, 65_535] {
        x.transmit[0].drain();
        let index = x.ring(SEND).available_index.wrapping_add(ahead);
        x.ring(SEND).set_available_index(index);
        assert_breaks(&mut stage, &mut x, &mut y, &format!("an index {ahead} ahead"));
    }
    drop((x, y));
    stage.finish("an available index that jumps");
}

#[test]
fn an_index_that_jumps_in_the_receive_ring_breaks_it_alone() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    for ahead in [300, 65_000] {
        let index = x.ring(RECEIVE).available_index.wrapping_add(ahead);
        x.ring(RECEIVE).set_available_index(index);
        for number in 0..600 {
            y.send(&frame(mac(1), mac(2), number, 60));
        }
        assert!(readable(&x.ring(RECEIVE).error, LIMIT), "the ring's error descriptor is written");
        let _ = x.ring(RECEIVE).error.read();
        stage.assert_unharmed("a jump in the receive ring");
        assert!(stage.port("x").detail.is_some());
        mended(&mut x, &mut y, RECEIVE);
    }
    drop((x, y));
    stage.finish("a jump in the receive ring");
}

// Heads and chains

#[test]
fn a_head_that_is_no_descriptor_breaks_the_ring_alone() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    for head in [256, 257, 32_768, 65_535] {
        x.transmit[0].drain();
        let ring = &mut x.transmit[0].ring;
        ring.put_available(head);
        ring.set_available_index(ring.available_index);
        assert_breaks(&mut stage, &mut x, &mut y, &format!("head {head}"));
    }
    drop((x, y));
    stage.finish("heads that are no descriptors");
}

/// The chain is used up, counted at `x` as `reason`, and good frames go on in the same ring.
fn assert_dropped(stage: &Stage, x: &mut Nic, y: &mut Nic, reason: &str, what: &str, chain: &[Raw]) {
    x.transmit[0].drain();
    let (before, used) = (stage.port("x").dropped(reason), x.ring(SEND).used_index());
    offer(&mut x.transmit[0].ring, chain);
    let ring = &x.transmit[0].ring;
    wait_until(&format!("{what}: the chain to be used"), LIMIT, || ring.used_index() == used.wrapping_add(1));
    wait_until(&format!("{what}: to be counted as {reason}"), LIMIT, || {
        stage.port("x").dropped(reason) == before + 1
    });
    assert_eq!(stage.port("x").state, "running", "{what}: the ring goes on");
    assert!(y.take().is_none(), "{what}: nothing of it is delivered");
    mended(x, y, SEND);
}

#[test]
fn chains_that_are_malformed_are_counted_drops() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    let (at, length) = good_frame(&x, 1, 100);
    let cases: [(&str, Vec<Raw>); 12] = [
        ("next beyond the table", vec![Raw(at, length, NEXT, 256)]),
        ("next far beyond the table", vec![Raw(at, length, NEXT, 65_535)]),
        ("a loop of one", vec![Raw(at, length, NEXT, 0)]),
        ("a loop of three", vec![Raw(at, 12, NEXT, 1), Raw(at, 50, NEXT, 2), Raw(at, 50, NEXT, 0)]),
        ("a loop of nothing", vec![Raw(at, 0, NEXT, 1), Raw(at, 0, NEXT, 0)]),
        ("a buffer to be written", vec![Raw(at, length, WRITE, 0)]),
        (
            "a buffer to be written at the end",
            vec![Raw(at, 12, NEXT, 1), Raw(at + 12, length - 12, WRITE, 0)],
        ),
        ("a bad address after a good one", vec![Raw(at, 12, NEXT, 1), Raw(0, 100, 0, 0)]),
        ("an address that wraps", vec![Raw(at, 12, NEXT, 1), Raw(u64::MAX - 4, 100, 0, 0)]),
        ("nothing at all", vec![Raw(at, 0, 0, 0)]),
        ("shorter than the header", vec![Raw(at, 11, 0, 0)]),
        (
            "a header in pieces that ends early",
            vec![Raw(at, 4, NEXT, 1), Raw(at, 4, NEXT, 2), Raw(at, 3, 0, 0)],
        ),
    ];
    for (what, chain) in cases {
        assert_dropped(&stage, &mut x, &mut y, "bad-chain", what, &chain);
    }
    stage.assert_unharmed("malformed chains");
    drop((x, y));
    stage.finish("malformed chains");
}

#[test]
fn chains_of_more_than_four_gigabytes_and_of_32768_descriptors_are_counted_drops() {
    let mut stage = Stage::new();
    let options = NicOptions { queue_size: 32_768, ..NicOptions::default() };
    let [mut x, mut y] = stage.cards(&options);
    let (at, length) = good_frame(&x, 1, 100);
    let mut long: Vec<Raw> = (0..32_768_u32).map(|index| Raw(at, 1, NEXT, (index + 1) as u16)).collect();
    long[32_767] = Raw(at, length, 0, 0);
    assert_dropped(&stage, &mut x, &mut y, "bad-chain", "a chain of 32768", &long);
    // More than the guest has at all, in one piece and in many that wrap the sum around.
    assert_dropped(&stage, &mut x, &mut y, "bad-chain", "four gigabytes at once", &[Raw(at, u32::MAX, 0, 0)]);
    stage.assert_unharmed("chains without end");
    drop((x, y));
    stage.finish("chains without end");
}

#[test]
fn a_chain_whose_total_length_is_beyond_32_bits_is_a_counted_drop() {
    let stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    let region = &x.memory.regions[0];
    let (start, size) = (region.guest_address, region.size as u32);
    let times = (1_u64 << 32).div_ceil(u64::from(size)) as u16;
    let pieces = times.min(255);
    let mut chain: Vec<Raw> = (0..pieces).map(|index| Raw(start, size, NEXT, index + 1)).collect();
    chain.push(Raw(start, 200, 0, 0));
    assert_dropped(&stage, &mut x, &mut y, "too-long", "all of the memory many times over", &chain);
    drop((x, y));
    stage.finish("a total beyond 32 bits");
}

// Indirect tables

#[test]
fn indirect_tables_that_are_malformed_are_counted_drops() {
    let mut stage = Stage::new();
    let [mut x, mut y] =
        stage.cards(&NicOptions { features: MODERN | INDIRECT_DESC, ..NicOptions::default() });
    let (at, length) = good_frame(&x, 1, 100);
    let table = x.spare + 4096;
    let end = x.memory.regions.last().map(|last| last.guest_address + last.size).unwrap();
    let good = Raw(at, length, 0, 0);
    type Case = (&'static str, Raw, Vec<Raw>);
    let cases: [Case; 10] = [
        ("a table in a table", Raw(table, 16, INDIRECT, 0), vec![Raw(table, 16, INDIRECT, 0)]),
        ("a length of 17", Raw(table, 17, INDIRECT, 0), vec![good]),
        ("a length of 15", Raw(table, 15, INDIRECT, 0), vec![good]),
        ("no length", Raw(table, 0, INDIRECT, 0), vec![good]),
        ("a table and NEXT", Raw(table, 16, INDIRECT | NEXT, 1), vec![good]),
        ("next at the table's end", Raw(table, 16, INDIRECT, 0), vec![Raw(at, 12, NEXT, 1)]),
        ("next far beyond", Raw(table, 32, INDIRECT, 0), vec![Raw(at, 12, NEXT, 65_535), good]),
        ("a loop", Raw(table, 32, INDIRECT, 0), vec![Raw(at, 0, NEXT, 1), Raw(at, 0, NEXT, 0)]),
        ("a table nowhere", Raw(0x1000, 16, INDIRECT, 0), vec![good]),
        ("a table that runs out of memory", Raw(end - 8, 16, INDIRECT, 0), vec![good]),
    ];
    for (what, head, entries) in cases {
        write_table(x.ring(SEND), table, &entries);
        assert_dropped(&stage, &mut x, &mut y, "bad-chain", what, &[head]);
    }
    // A good one, to show that the cases fail for what they say: the length may be more than is used.
    write_table(x.ring(SEND), table, &[Raw(at, 12, NEXT, 3), good, good, Raw(at + 12, length - 12, 0, 0)]);
    x.transmit[0].drain();
    offer(&mut x.transmit[0].ring, &[Raw(table, 1600, INDIRECT, 0)]);
    assert_eq!(number_of(&y.expect_frame("a frame by an indirect table").bytes), Some(1));
    stage.assert_unharmed("malformed indirect tables");
    drop((x, y));
    stage.finish("malformed indirect tables");
}

#[test]
fn an_indirect_table_across_two_regions_works() {
    let stage = Stage::new();
    let options =
        NicOptions { features: MODERN | INDIRECT_DESC, region_bytes: Some(8192), ..NicOptions::default() };
    let [mut x, mut y] = stage.cards(&options);
    let (at, length) = good_frame(&x, 7, 300);
    let border =
        x.memory.regions.iter().map(|region| region.guest_address).find(|start| *start > at + 4096).unwrap();
    for before in [8, 16, 24, 1, 15] {
        let table = border - before;
        write_table(x.ring(SEND), table, &[Raw(at, 12, NEXT, 1), Raw(at + 12, length - 12, 0, 0)]);
        x.transmit[0].drain();
        offer(&mut x.transmit[0].ring, &[Raw(table, 32, INDIRECT, 0)]);
        assert_eq!(number_of(&y.expect_frame("a frame by a table across regions").bytes), Some(7));
        x.reset_ring(SEND);
    }
    drop((x, y));
    stage.finish("an indirect table across regions");
}

// Descriptors of no length, and buffers to be written

#[test]
fn a_zero_length_descriptor_with_a_bad_address_is_passed_over_or_dropped_and_never_touched() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    let (at, length) = good_frame(&x, 3, 100);
    for bad in [0, 1, u64::MAX, 0xdead_beef_0000] {
        let used = x.ring(SEND).used_index();
        x.transmit[0].drain();
        offer(&mut x.transmit[0].ring, &[Raw(bad, 0, NEXT, 1), Raw(at, length, NEXT, 2), Raw(bad, 0, 0, 0)]);
        let ring = &x.transmit[0].ring;
        wait_until("the chain to be used", LIMIT, || ring.used_index() != used);
        mended(&mut x, &mut y, SEND);
    }
    stage.assert_unharmed("zero-length descriptors");
    drop((x, y));
    stage.finish("zero-length descriptors");
}

#[test]
fn receive_buffers_that_are_malformed_cost_their_owner_a_frame_and_are_counted() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    let (at, _) = good_frame(&x, 1, 100);
    let cases: [(&str, Vec<Raw>); 8] = [
        ("not writable", vec![Raw(at, 2048, 0, 0)]),
        ("nowhere", vec![Raw(0x1000, 2048, WRITE, 0)]),
        ("wrapping", vec![Raw(u64::MAX - 100, 2048, WRITE, 0)]),
        ("next beyond the table", vec![Raw(at, 20, WRITE | NEXT, 256)]),
        ("a loop", vec![Raw(at, 1, WRITE | NEXT, 0)]),
        ("a loop of nothing", vec![Raw(at, 0, WRITE | NEXT, 0)]),
        ("empty", vec![Raw(at, 0, WRITE, 0)]),
        ("first writable, then not", vec![Raw(at, 12, WRITE | NEXT, 1), Raw(at + 12, 1000, 0, 0)]),
    ];
    for (what, chain) in cases {
        let _ = x.session.stop_ring(RECEIVE);
        x.receive[0].ring.reset();
        x.session.start_ring(RECEIVE, &x.receive[0].ring, 0);
        let lost = || stage.receiver_drops();
        let before = lost();
        offer(&mut x.receive[0].ring, &chain);
        y.send(&frame(mac(1), mac(2), 5, 300));
        wait_until(&format!("{what}: a drop to be counted"), LIMIT, || lost() > before);
        stage.assert_unharmed(what);
        mended(&mut x, &mut y, RECEIVE);
    }
    drop((x, y));
    stage.finish("malformed receive buffers");
}

// What changes after it was checked

#[test]
fn descriptors_and_headers_that_change_all_the_time_deliver_only_what_was_judged() {
    let mut stage = Stage::new();
    let [mut x, mut y] =
        stage.cards(&NicOptions { features: MODERN | INDIRECT_DESC, ..NicOptions::default() });
    let stop = Arc::new(AtomicBool::new(false));
    let (memory, at, table) = (Arc::clone(&x.memory), x.spare, x.spare + 4096);
    let rewriter = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || rewrite(&memory, at, table, &stop))
    };
    x.transmit[0].drain();
    let ring = &mut x.transmit[0].ring;
    write_table(ring, ring.descriptor, &[Raw(table, 32, INDIRECT, 0)]);
    let (start, mut seen) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(3) {
        (0..64).for_each(|_| ring.put_available(0));
        ring.set_available_index(ring.available_index);
        let index = ring.available_index;
        let used = Instant::now();
        while ring.used_index() != index {
            assert!(used.elapsed() < LIMIT, "chains under the rewriter are used up");
            std::thread::yield_now();
        }
        while let Some(received) = y.take() {
            seen += 1;
            // Frames for x's own address are judged to go nowhere, so none may ever be seen here.
            assert_ne!(received.bytes.get(..6), Some(&mac(1)[..]), "delivered what was judged to go nowhere");
        }
    }
    stop.store(true, Ordering::Relaxed);
    rewriter.join().unwrap();
    assert!(seen > 100, "many frames are valid at the moment when they are read: {seen}");
    println!("{seen} frames arrived under the rewriter");
    stage.assert_unharmed("a rewriter");
    mended(&mut x, &mut y, SEND);
    drop((x, y));
    stage.finish("descriptors that change all the time");
}

/// Changes destination, header and descriptors as fast as it can: to port y, to everybody, and to port x itself,
/// whose frames must go nowhere.
fn rewrite(memory: &Memory, at: u64, table: u64, stop: &AtomicBool) {
    let addresses = [mac(2), mac(1), [0xff; 6], mac(1)];
    let mut round = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        memory.write(at + 12, &addresses[round % 4]);
        memory.write(at + 18, &mac(1));
        memory.write(
            at,
            &[if round.is_multiple_of(3) { NEEDS_CSUM } else { 0 }, [0, 0, 0, 1, 0, 9, 0][round % 7]],
        );
        // Mostly right, so that many get as far as being delivered.
        let length = if round.is_multiple_of(11) { [2000, u32::MAX, 14][round % 3] } else { 72_u32 };
        let flags = if round.is_multiple_of(13) { [NEXT, INDIRECT, WRITE][round % 3] } else { 0 };
        let address = if round.is_multiple_of(17) { [0, u64::MAX][round % 2] } else { at };
        memory.write(table + 8, &length.to_le_bytes());
        memory.write(table + 12, &flags.to_le_bytes());
        memory.write(table, &address.to_le_bytes());
    }
}

// Notifications, and receivers that do not take

/// Sets the file status flags of `file`, which belong to the open file and thus to all who share it.
fn set_status_flags(file: &impl AsRawFd, flags: libc::c_int) {
    // SAFETY: F_SETFL on an open descriptor of ours touches no memory.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) }, 0);
}

#[test]
fn a_call_descriptor_that_is_full_and_blocking_holds_nobody_up() {
    let mut stage = Stage::new();
    let [x, mut y] = stage.cards(&NicOptions { features: MODERN, ..NicOptions::default() });
    let call = &x.receive[0].ring.call;
    let _ = call.read();
    call.write(u64::MAX - 1).unwrap();
    for _ in 0..3 {
        set_status_flags(call, 0);
        for number in 0..50 {
            y.send(&frame(mac(1), mac(2), number, 60));
        }
        stage.assert_unharmed("a full call descriptor");
    }
    set_status_flags(call, libc::O_NONBLOCK);
    drop((x, y));
    stage.finish("a full call descriptor");
}

#[test]
fn a_call_descriptor_that_is_filled_and_made_blocking_again_and_again_holds_nobody_up() {
    let mut stage = Stage::new();
    let [x, mut y] = stage.cards(&NicOptions { features: MODERN, ..NicOptions::default() });
    let call = x.receive[0].ring.call.try_clone().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let filler = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                set_status_flags(&call, libc::O_NONBLOCK);
                let _ = call.write(0xffff_ffff).is_ok() || call.write(1).is_ok();
                let _ = call.write(u64::MAX - 1);
                set_status_flags(&call, 0);
                std::thread::sleep(Duration::from_micros(200));
            }
            set_status_flags(&call, libc::O_NONBLOCK);
        })
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        if y.transmit[0].try_put(NetHeader::default(), &frame(mac(1), mac(2), 1, 60)) {
            y.transmit[0].ring.publish();
        }
        std::thread::sleep(Duration::from_millis(1));
        assert!(stage.daemon.is_alive());
    }
    stage.assert_unharmed("a call descriptor that is filled again and again");
    stop.store(true, Ordering::Relaxed);
    filler.join().unwrap();
    drop((x, y));
    stage.finish("a call descriptor that is filled again and again");
}

#[test]
fn a_storm_of_kicks_without_work_costs_the_neighbours_nothing() {
    let mut stage = Stage::new();
    let [x, y] = stage.cards(&NicOptions::default());
    let start = Instant::now();
    let mut kicks = 0_u64;
    while start.elapsed() < Duration::from_secs(2) {
        for index in [SEND, RECEIVE] {
            x.ring(index).kick.write(1).unwrap();
            y.ring(index).kick.write(1).unwrap();
            kicks += 2;
        }
    }
    println!("{kicks} kicks in two seconds");
    stage.assert_unharmed("a storm of kicks");
    drop((x, y));
    stage.finish("a storm of kicks");
}

#[test]
fn a_guest_that_never_kicks_harms_nobody_and_is_served_at_the_next_kick() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    std::thread::sleep(Duration::from_millis(300));
    let bytes = frame(mac(2), mac(1), 9, 60);
    assert!(x.transmit[0].try_put(NetHeader::default(), &bytes));
    let ring = &x.transmit[0].ring;
    ring.memory.store_u16(ring.available + 2, ring.available_index);
    stage.assert_unharmed("a guest that never kicks");
    std::thread::sleep(Duration::from_millis(100));
    x.transmit[0].ring.kick.write(1).unwrap();
    assert!(y.receive_within(LIMIT).is_some());
    drop((x, y));
    stage.finish("a guest that never kicks");
}

#[test]
fn a_receive_ring_that_is_never_refilled_fills_its_own_bounded_queue_and_loses_the_rest_counted() {
    const SENT: u64 = 5_000;
    /// What waits for a receiver without buffers, as in a TAP device.
    const WAITING: u64 = 1_000;
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    for number in 0..SENT {
        x.send(&frame(mac(2), mac(1), number, 60));
    }
    x.transmit[0].drain();
    let lost = SENT - 256 - WAITING;
    wait_until("the drops to be counted", LIMIT, || stage.port("y").dropped("no-buffer") == lost);
    stage.assert_unharmed("a ring that is never refilled");
    // What waited comes in order once there are buffers again.
    for number in 0..256 + WAITING {
        let received = y.expect_frame("a frame that waited");
        assert_eq!(number_of(&received.bytes), Some(number));
    }
    assert!(y.receive_within(Duration::from_millis(20)).is_none());
    // And a receiver that never comes back takes nothing with it.
    for number in 0..SENT {
        x.send(&frame(mac(2), mac(1), number, 1500));
    }
    drop((x, y));
    stage.finish("a ring that is never refilled");
}

#[test]
fn a_flood_of_broadcasts_leaves_another_network_in_peace() {
    let mut stage = Stage::apart();
    let [mut x, y] =
        stage.cards(&NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() });
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(2) {
        x.transmit[0].put(NetHeader::default(), &frame([0xff; 6], mac(1), sent, 60));
        sent += 1;
        if sent % 64 == 0 {
            x.transmit[0].ring.publish();
        }
    }
    println!("{sent} broadcasts in two seconds");
    stage.assert_unharmed("a flood of broadcasts");
    drop((x, y));
    stage.finish("a flood of broadcasts");
}

// Reset, unload, reload

#[test]
fn a_driver_that_is_unloaded_and_loaded_in_the_middle_of_traffic_harms_nobody() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    for round in 0..60_u64 {
        for number in 0..100 {
            y.transmit[0].put(NetHeader::default(), &frame(mac(1), mac(2), number, 500));
        }
        y.transmit[0].ring.publish();
        match round % 3 {
            0 => assert!(x.session.accepts(&Message::new(request::RESET_DEVICE))),
            1 => assert!(x.session.accepts(&Message::new(request::SET_STATUS).u64(0))),
            _ => {
                let _ = (x.session.stop_ring(RECEIVE), x.session.stop_ring(SEND));
            }
        }
        // The guest's memory is now its own again: it may put anything where the rings were.
        let ring = x.ring(SEND);
        x.memory.write(ring.descriptor, &vec![0xff; Ring::bytes(256) as usize]);
        x.receive[0].reset();
        x.transmit[0].reset();
        x.start();
        stage.assert_unharmed("a driver unloaded and loaded");
    }
    mended(&mut x, &mut y, SEND);
    drop((x, y));
    stage.finish("a driver unloaded and loaded");
}

#[test]
fn after_a_reset_nothing_is_written_to_the_guests_memory_any_more() {
    let stage = Stage::new();
    let [x, mut y] = stage.cards(&NicOptions::default());
    for reset in [Message::new(request::RESET_DEVICE), Message::new(request::SET_STATUS).u64(0)] {
        for number in 0..200 {
            y.transmit[0].put(NetHeader::default(), &frame(mac(1), mac(2), number, 500));
        }
        y.transmit[0].ring.publish();
        assert!(x.session.accepts(&reset));
        let region = &x.memory.regions[0];
        let picture = |x: &Nic| {
            let mut bytes = vec![0; region.size as usize];
            x.memory.read(region.guest_address, &mut bytes);
            bytes
        };
        let before = picture(&x);
        for number in 0..200 {
            y.send(&frame(mac(1), mac(2), number, 500));
        }
        y.transmit[0].drain();
        assert!(picture(&x) == before, "a device that was reset writes nothing");
    }
    drop((x, y));
    stage.finish("after a reset");
}
