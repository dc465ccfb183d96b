//! Hostile frames: claims that cannot be, runts and giants; each a counted drop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{EVENT_IDX, MODERN, SEND_OFFLOADS, VERSION_1};
use viaduct_tests::driver::header::{GSO_TCPV4, NEEDS_CSUM, NetHeader};
use viaduct_tests::driver::nic::NicOptions;
use viaduct_tests::hostile::{LIMIT, Stage, mended};
use viaduct_tests::lab::FRAME_MAX;
use viaduct_tests::stream::{Flow, frame, mac};
use viaduct_tests::superframe::{Kind, SuperFrame};

/// The transmit ring's number.
const SEND: usize = 1;

// Offload claims

#[test]
fn a_header_that_claims_what_cannot_be_is_a_counted_drop() {
    let mut stage = Stage::new();
    let options = NicOptions { features: MODERN | EVENT_IDX | SEND_OFFLOADS, ..NicOptions::default() };
    let [mut x, mut y] = stage.cards(&options);
    let csum = |start, offset| NetHeader {
        flags: NEEDS_CSUM,
        csum_start: start,
        csum_offset: offset,
        ..NetHeader::default()
    };
    let gso = |gso_type, gso_size| NetHeader { gso_type, gso_size, hdr_len: 54, ..csum(34, 16) };
    let cases = [
        csum(100, 0),
        csum(99, 0),
        csum(98, 1),
        csum(0, 99),
        csum(65_535, 65_535),
        csum(34, 65_535),
        csum(65_535, 16),
        gso(GSO_TCPV4, 0),
        gso(2, 100),
        gso(6, 100),
        gso(0x7f, 100),
        gso(0x80, 100),
        NetHeader { flags: 0, ..gso(GSO_TCPV4, 100) },
    ];
    for header in cases {
        let before = stage.port("x").dropped_in_all();
        x.send_with(header, &frame(mac(2), mac(1), 1, 100));
        wait_until(&format!("{header:?} to be counted"), LIMIT, || {
            stage.port("x").dropped_in_all() == before + 1
        });
        assert!(stage.port("x").dropped("bad-offload") > 0);
    }
    assert!(y.take().is_none(), "none of them is delivered");
    stage.assert_unharmed("claims that cannot be");
    mended(&mut x, &mut y, SEND);
    drop((x, y));
    stage.finish("claims that cannot be");
}

#[test]
fn a_super_frame_that_contradicts_its_headers_never_reaches_a_receiver_that_needs_it_cut() {
    let mut stage = Stage::new();
    let options = NicOptions {
        features: MODERN | EVENT_IDX | SEND_OFFLOADS,
        send_bytes: FRAME_MAX as u64 + 12,
        send_buffers: 32,
        ..NicOptions::default()
    };
    let [mut x, mut y] = stage.cards(&options);
    let good = SuperFrame::new(Kind::Tcp4, mac(2), mac(1), &[7; 9000], 1000);
    let mut wrong: Vec<SuperFrame> = Vec::new();
    for gso_type in [4, 5] {
        let mut other = good.clone();
        other.header.gso_type = gso_type;
        wrong.push(other);
    }
    for (at, byte) in [(12, 0x12), (14, 0x4f), (14, 0x41), (14, 0x65), (23, 17), (46, 0x10)] {
        let mut other = good.clone();
        other.bytes[at] = byte;
        wrong.push(other);
    }
    // Of its TCP header not even the checksum is there.
    let mut cut = good.clone();
    cut.bytes.truncate(50);
    wrong.push(cut);
    for frame in &wrong {
        let drops = || ["x", "y"].map(|port| stage.port(port).dropped_in_all()).iter().sum::<u64>();
        let before = drops();
        x.send_with(frame.header, &frame.bytes);
        wait_until("a contradiction to be counted", LIMIT, || drops() > before);
        assert!(y.take().is_none(), "no part of it is delivered");
    }
    // Of no more than one segment: it is a plain frame, whose checksum is finished, and nobody makes more of it than was sent.
    let mut single = good.clone();
    single.bytes.truncate(60);
    x.send_with(single.header, &single.bytes);
    let received = y.receive_within(LIMIT).unwrap().bytes;
    assert_eq!((&received[..50], &received[52..]), (&single.bytes[..50], &single.bytes[52..]));
    assert!(y.take().is_none(), "it comes once");
    stage.assert_unharmed("contradictions");
    mended(&mut x, &mut y, SEND);
    drop((x, y));
    stage.finish("contradictions");
}

// Lengths

#[test]
fn runts_giants_and_frames_beyond_the_mtu_are_counted_drops() {
    let mut stage = Stage::apart();
    let options = NicOptions { send_bytes: 70_000, send_buffers: 32, ..NicOptions::default() };
    let [mut x, mut y] = stage.cards(&options);
    let whole = frame(mac(2), mac(1), 1, 69_000);
    for (length, reason) in [
        (0, "runt"),
        (1, "runt"),
        (13, "runt"),
        (1515, "over-mtu"),
        (9000, "over-mtu"),
        (65_535, "over-mtu"),
        (65_551, "too-long"),
        (69_000, "too-long"),
    ] {
        let before = stage.port("x").dropped(reason);
        x.send(&whole[..length]);
        wait_until(&format!("{length} bytes to be counted as {reason}"), LIMIT, || {
            stage.port("x").dropped(reason) == before + 1
        });
    }
    assert!(y.take().is_none(), "none of them is delivered");
    x.send(&whole[..14]);
    assert_eq!(y.expect_frame("the shortest that is a frame").bytes.len(), 14);
    stage.assert_unharmed("runts and giants");
    mended(&mut x, &mut y, SEND);
    drop((x, y));
    stage.finish("runts and giants");
}

#[test]
fn a_frame_too_long_for_an_unmergeable_buffer_is_a_counted_drop() {
    let stage = Stage::new();
    let options = NicOptions { features: VERSION_1, receive_bytes: 800, ..NicOptions::default() };
    let [mut x, mut y] = stage.cards(&options);
    let before = stage.receiver_drops();
    x.send(&frame(mac(2), mac(1), 1, 1000));
    wait_until("the drop to be counted", LIMIT, || stage.receiver_drops() == before + 1);
    Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60, 700]);
    drop((x, y));
    stage.finish("a small buffer");
}
