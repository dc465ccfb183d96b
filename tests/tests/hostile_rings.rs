//! Hostile rings: what is malformed is a counted drop or breaks its own ring, and a reset mends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::message::{Message, request};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::ring::{Ring, readable};
use viaduct_tests::hostile::{LIMIT, Stage, mended};
use viaduct_tests::raw::{RECEIVE, SEND};
use viaduct_tests::stream::{frame, mac};

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
        stage.assert_told("a jump in the receive ring");
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

// Reset, unload, reload

#[test]
fn a_driver_that_is_unloaded_and_loaded_in_the_middle_of_traffic_harms_nobody() {
    let mut stage = Stage::new();
    for options in [NicOptions::default(), NicOptions::default().packed()] {
        let mut cards = stage.cards(&options);
        unload_and_load(&mut stage, &mut cards);
    }
    stage.finish("a driver unloaded and loaded");
}

fn unload_and_load(stage: &mut Stage, [x, y]: &mut [Nic; 2]) {
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
    mended(x, y, SEND);
}

#[test]
fn after_a_reset_nothing_is_written_to_the_guests_memory_any_more() {
    let stage = Stage::new();
    for options in [NicOptions::default(), NicOptions::default().packed()] {
        reset_under_load(stage.cards(&options));
    }
    stage.finish("after a reset");
}

fn reset_under_load([x, mut y]: [Nic; 2]) {
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
}
