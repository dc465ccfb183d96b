//! What changes after it was checked: what was judged is what is delivered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use viaduct_tests::driver::features::{INDIRECT_DESC, MODERN, RING_PACKED};
use viaduct_tests::driver::header::NEEDS_CSUM;
use viaduct_tests::driver::memory::Memory;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::ring::{INDIRECT, NEXT, Piece, Ring, WRITE};
use viaduct_tests::hostile::{LIMIT, Stage, mended};
use viaduct_tests::raw::{Raw, SEND, write_table};
use viaduct_tests::stream::mac;

#[test]
fn descriptors_and_headers_that_change_all_the_time_deliver_only_what_was_judged() {
    let mut stage = Stage::new();
    for packed in [0, RING_PACKED] {
        let features = MODERN | INDIRECT_DESC | packed;
        let mut cards = stage.cards(&NicOptions { features, ..NicOptions::default() });
        send_under_the_rewriter(&mut stage, &mut cards);
    }
    stage.finish("descriptors that change all the time");
}

fn send_under_the_rewriter(stage: &mut Stage, [x, y]: &mut [Nic; 2]) {
    let stop = Arc::new(AtomicBool::new(false));
    let (memory, at, table) = (Arc::clone(&x.memory), x.spare, x.spare + 4096);
    let rewriter = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || rewrite(&memory, at, table, &stop))
    };
    x.transmit[0].drain();
    let ring = &mut x.transmit[0].ring;
    let (start, mut seen) = (Instant::now(), 0);
    // For three seconds, and on a machine without a free processor for as long as it takes to see enough.
    while start.elapsed() < Duration::from_secs(3) || seen <= 100 {
        assert!(start.elapsed() < Duration::from_secs(60), "{seen} frames were valid when they were read");
        let is_used = offer_64(ring, table);
        let used = Instant::now();
        while !is_used(ring) {
            assert!(used.elapsed() < 5 * LIMIT, "chains under the rewriter are used up");
            std::thread::yield_now();
        }
        while let Some(received) = y.take() {
            seen += 1;
            // Frames for x's own address are judged to go nowhere, so none may ever be seen here.
            assert_ne!(received.bytes.get(..6), Some(&mac(1)[..]), "delivered what was judged to go nowhere");
            // Nobody sends as a group (IEEE 802.3, 3.2.3): such a frame is judged to be dropped.
            assert_eq!(received.bytes.get(6), Some(&mac(1)[0]), "delivered what was judged to be dropped");
        }
    }
    stop.store(true, Ordering::Relaxed);
    rewriter.join().unwrap();
    println!("{seen} frames arrived under the rewriter");
    stage.assert_unharmed("a rewriter");
    mended(x, y, SEND);
}

/// Offers 64 times what the table at `table` says, and kicks; says how to see that all of it was used.
fn offer_64(ring: &mut Ring, table: u64) -> impl Fn(&Ring) -> bool + use<> {
    let mut last = ring.next_place();
    if ring.options.packed {
        for _ in 0..64 {
            last = ring.next_place();
            ring.put_raw(Piece { address: table, length: 32, writable: false }, 0, INDIRECT);
        }
        ring.kick.write(1).unwrap();
    } else {
        write_table(ring, ring.descriptor, &[Raw(table, 32, INDIRECT, 0)]);
        (0..64).for_each(|_| ring.put_available(0));
        ring.set_available_index(ring.available_index);
    }
    let index = ring.available_index;
    move |ring| if ring.options.packed { ring.is_used(last) } else { ring.used_index() == index }
}

/// Changes addresses, header and descriptors as fast as it can: to port y, to everybody, and to port x itself,
/// whose frames must go nowhere; from x, and from a group. Addresses that are told apart differ in one byte, so that
/// none is made of halves.
fn rewrite(memory: &Memory, at: u64, table: u64, stop: &AtomicBool) {
    let addresses = [mac(2), mac(1), [0xff; 6], mac(1)];
    memory.write(at + 18, &mac(1));
    let mut round = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        memory.write(at + 12, &addresses[round % 4]);
        memory.write(at + 18, &[mac(1)[0] | u8::from(round.is_multiple_of(5))]);
        memory.write(
            at,
            &[if round.is_multiple_of(3) { NEEDS_CSUM } else { 0 }, [0, 0, 0, 1, 0, 9, 0][round % 7]],
        );
        // Mostly right, so that many get as far as being delivered.
        let length = if round.is_multiple_of(11) { [2000, u32::MAX, 14][round % 3] } else { 72_u32 };
        let flags = if round.is_multiple_of(13) { [NEXT, INDIRECT, WRITE][round % 3] } else { 0 };
        let address = if round.is_multiple_of(17) { [0, u64::MAX][round % 2] } else { at };
        memory.write(table + 8, &length.to_le_bytes());
        // Where a split table has the flags, and where a packed one has them.
        memory.write(table + 12, &flags.to_le_bytes());
        memory.write(table + 14, &(flags & WRITE).to_le_bytes());
        memory.write(table, &address.to_le_bytes());
    }
}
