//! Requests in the wrong order, twice, or with values that cannot be: refused by name, at any time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::time::Duration;

use viaduct_tests::driver::features::{EVENT_IDX, MODERN, PROTOCOL_FEATURES};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::message::{Message, request};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::session;
use viaduct_tests::hostile::{LIMIT, Stage};
use viaduct_tests::stream::{Flow, frame, mac};

#[test]
fn features_that_were_not_offered_are_refused() {
    let stage = Stage::new();
    let offered = stage.session().offered;
    for bit in (0..64).filter(|bit| offered & (1 << bit) == 0) {
        let session = stage.session();
        let wanted = Message::new(request::SET_FEATURES).u64(MODERN | PROTOCOL_FEATURES | 1 << bit);
        assert!(!session.accepts(&wanted), "feature bit {bit}");
    }
    let protocol = stage.session().protocol;
    for bit in (0..64).filter(|bit| protocol & (1 << bit) == 0) {
        let session = stage.session();
        let wanted = Message::new(request::SET_PROTOCOL_FEATURES).u64(protocol | 1 << bit);
        assert!(!session.accepts(&wanted), "protocol feature bit {bit}");
    }
    stage.finish("features that were not offered");
}

// Wrong order, and changes while everything runs

#[test]
fn ring_addresses_may_come_before_the_memory_and_count_once_it_is_there() {
    let stage = Stage::new();
    let mut y = Nic::connect(&stage.daemon.socket("y"), &NicOptions::default());
    let mut x = Nic::prepared(session::connect(&stage.daemon.socket("x")), &NicOptions::default());
    x.session.take_features(x.options.features);
    for index in 0..2 {
        x.start_ring(index);
    }
    assert_eq!(stage.port("x").rings_running, 0, "nothing runs on addresses that lead nowhere");
    x.session.share_memory(&x.memory);
    Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60, 1514]);
    Flow::new(mac(2), mac(1)).carry(&mut y, &mut x, [60, 1514]);
    drop((x, y));
    stage.finish("addresses before memory");
}

#[test]
fn features_may_change_while_rings_run_and_harm_nobody() {
    let mut stage = Stage::new();
    let [mut x, y] = stage.cards(&NicOptions::default());
    for round in 0..50 {
        x.send(&frame(mac(2), mac(1), round, 60));
        let features = if round % 2 == 0 { 0 } else { MODERN | EVENT_IDX };
        let message = Message::new(request::SET_FEATURES).u64(features | PROTOCOL_FEATURES);
        let _ = x.session.accepts(&message);
    }
    stage.assert_unharmed("features that change");
    drop((x, y));
    stage.finish("features that change");
}

#[test]
fn the_memory_table_may_be_replaced_under_load() {
    let stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    let mut flow = Flow::new(mac(1), mac(2));
    for _ in 0..200 {
        flow.carry(&mut x, &mut y, [60, 1514, 700]);
        for number in 0..20 {
            x.transmit[0].put(NetHeader::default(), &frame(mac(9), mac(1), number, 60));
        }
        x.transmit[0].ring.publish();
        let memory = std::sync::Arc::clone(&x.memory);
        x.session.share_memory(&memory);
        y.collect(Duration::from_millis(1));
    }
    // Away and back: the rings pause and go on, as QEMU does it (removal first).
    for _ in 0..50 {
        let memory = std::sync::Arc::clone(&x.memory);
        x.session.remove_region(&memory.regions[0]);
        x.session.add_region(&memory.regions[0]);
        flow.carry(&mut x, &mut y, [60, 1514, 700]);
    }
    drop((x, y));
    stage.finish("the memory table replaced");
}

#[test]
fn what_is_asked_twice_is_answered_twice() {
    let stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    let mut flow = Flow::new(mac(1), mac(2));
    for index in 0..2 {
        x.session.enable_ring(index, true);
        x.session.enable_ring(index, true);
    }
    flow.carry(&mut x, &mut y, [60; 10]);
    x.session.enable_ring(1, false);
    x.session.enable_ring(1, false);
    x.send(&frame(mac(2), mac(1), 500, 60));
    assert!(y.receive_within(Duration::from_millis(50)).is_none(), "a disabled ring carries nothing");
    x.session.enable_ring(1, true);
    assert!(y.receive_within(LIMIT).is_some(), "and goes on when it is enabled again");
    let first = x.session.stop_ring(1);
    assert_eq!(x.session.stop_ring(1), first, "GET_VRING_BASE twice gives the same");
    assert_eq!(first, x.ring(1).used_index());
    drop((x, y));
    stage.finish("asked twice");
}

// Sizes, positions and values

#[test]
fn ring_sizes_and_positions_that_cannot_be_are_refused() {
    let stage = Stage::new();
    for size in [0, 3, 100, 255, 32_769, 40_000, 65_535, 65_536, 65_537, 0x8000_0000, u32::MAX] {
        let message = Message::vring(request::SET_VRING_NUM, 0, size);
        stage.assert_refused(&format!("a ring of {size}"), &message);
    }
    for base in [65_536, 0x8000_0000, u32::MAX] {
        stage.assert_refused(&format!("a base of {base}"), &Message::vring(request::SET_VRING_BASE, 1, base));
    }
    for value in [2, 255, u32::MAX] {
        stage.assert_refused(
            &format!("enabled by {value}"),
            &Message::vring(request::SET_VRING_ENABLE, 1, value),
        );
    }
    let [x, y] = stage.cards(&NicOptions::default());
    for message in
        [Message::vring(request::SET_VRING_NUM, 1, 64), Message::vring(request::SET_VRING_BASE, 1, 5)]
    {
        assert!(!x.session.accepts(&message), "a running ring keeps its size and place");
    }
    drop((x, y));
    stage.finish("sizes and positions that cannot be");
}

#[test]
fn a_ring_started_far_from_its_indices_harms_its_owner_alone() {
    let mut stage = Stage::new();
    let [mut x, y] = stage.cards(&NicOptions::default());
    for base in [300_u16, 1000, 32_768, 65_000] {
        let _ = x.session.stop_ring(1);
        x.session.start_ring(1, &x.transmit[0].ring, base);
        x.ring(1).kick.write(1).unwrap();
        stage.assert_unharmed("a base far away");
    }
    stage.assert_told("a base far away");
    x.reset_ring_wherever(1);
    drop((x, y));
    stage.finish("a base far away");
}

#[test]
fn values_of_status_mtu_and_rarp_that_cannot_be_are_refused() {
    let stage = Stage::new();
    for mtu in [0, 67, 65_536, 1 << 32, u64::MAX] {
        stage.assert_refused(&format!("an MTU of {mtu}"), &Message::new(request::NET_SET_MTU).u64(mtu));
    }
    for status in [256, 1 << 32, u64::MAX] {
        stage.assert_refused(&format!("status {status:#x}"), &Message::new(request::SET_STATUS).u64(status));
    }
    for address in [0, 0xffff_ffff_ffff, 1] {
        stage.assert_refused(
            &format!("a RARP for {address:#x}"),
            &Message::new(request::SEND_RARP).u64(address),
        );
    }
    let session = stage.session();
    for status in [0, 1, 3, 11, 15] {
        assert!(session.accepts(&Message::new(request::SET_STATUS).u64(status)));
        assert_eq!(session.ask(&Message::new(request::GET_STATUS)).unwrap().value(), status);
    }
    drop(session);
    stage.finish("values that cannot be");
}
