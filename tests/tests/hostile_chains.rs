//! Hostile chains: what is malformed is a counted drop, and the ring goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{INDIRECT_DESC, MODERN};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::ring::{INDIRECT, NEXT, WRITE};
use viaduct_tests::hostile::{LIMIT, Stage, mended};
use viaduct_tests::raw::{RECEIVE, Raw, SEND, good_frame, offer, write_table};
use viaduct_tests::stream::{frame, mac, number_of};

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
