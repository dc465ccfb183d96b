//! Hostile vhost-user frontends: each attack is refused by name, costs the attacker alone, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use viaduct_tests::driver::features::{LOG_ALL, MODERN, PROTOCOL_FEATURES};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::memory::{Memory, memfd};
use viaduct_tests::driver::message::{self, Message, NEED_REPLY, NO_DESCRIPTOR, REPLY, request};
use viaduct_tests::driver::nic::NicOptions;
use viaduct_tests::driver::session::{self, Session};
use viaduct_tests::hostile::{LIMIT, Stage};
use viaduct_tests::stream::{frame, mac};
use vmm_sys_util::eventfd::EventFd;

fn event() -> EventFd {
    EventFd::new(0).unwrap()
}

// Lengths that lie

#[test]
fn a_length_that_lies_closes_the_connection() {
    let mut stage = Stage::new();
    for size in [0, 4, 7, 9, 0x7fff_ffff, u32::MAX] {
        let lie = Message::new(request::SET_FEATURES).u64(0).size(size);
        stage.assert_closes(&format!("SET_FEATURES with a length of {size}"), &lie);
    }
    for size in [1, 8, u32::MAX] {
        let lie = Message::new(request::GET_FEATURES).size(size);
        stage.assert_closes(&format!("GET_FEATURES with a length of {size}"), &lie);
    }
    let early = Message::new(request::SET_MEM_TABLE).u32(8).u32(0).body(&[0; 32]).descriptor(&memfd(4096));
    stage.assert_refused("a memory table that ends early", &early);
    stage.assert_recovered("lengths that lie");
    stage.finish("lengths that lie");
}

#[test]
fn a_header_and_then_silence_keeps_nobody_else_waiting() {
    let mut stage = Stage::new();
    for length in [1, 4, 11, 12, 13, 19] {
        let session = stage.session();
        (&session.stream).write_all(&Message::new(request::SET_FEATURES).u64(0).bytes()[..length]).unwrap();
        stage.assert_unharmed("a header and then silence");
        assert_eq!(stage.port("x").state, "connected");
    }
    stage.finish("a header and then silence");
}

#[test]
fn a_conversation_byte_by_byte_is_understood() {
    let stage = Stage::new();
    let session = stage.session();
    let message = Message::new(request::SET_FEATURES).u64(session.offered & !LOG_ALL).need_reply();
    for byte in message.bytes() {
        (&session.stream).write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(message::receive(&session.stream, LIMIT).unwrap().value(), 0);
    // Several messages in one piece, cut in the middle.
    let mut bytes = Message::new(request::GET_FEATURES).bytes().repeat(5);
    let rest = bytes.split_off(12 * 2 + 7);
    (&session.stream).write_all(&bytes).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    (&session.stream).write_all(&rest).unwrap();
    for _ in 0..5 {
        assert_eq!(message::receive(&session.stream, LIMIT).unwrap().value(), session.offered);
    }
    drop(session);
    stage.finish("byte by byte");
}

// Versions, flags, unknown requests, replies that nobody reads

#[test]
fn a_wrong_version_and_wrong_flags_close_the_connection() {
    let stage = Stage::new();
    for flags in [0, 2, 3, 1 | REPLY, 1 | REPLY | NEED_REPLY, 1 | 0x10, 0x8000_0001] {
        let wrong = Message::new(request::GET_FEATURES).flags(flags);
        stage.assert_closes(&format!("flags {flags:#x}"), &wrong);
    }
    stage.finish("wrong versions and flags");
}

#[test]
fn an_unknown_request_is_refused() {
    let stage = Stage::new();
    for number in [0, 41, 99, 0x7fff_ffff, u32::MAX] {
        stage.assert_refused(&format!("request {number}"), &Message::new(number));
        stage.assert_refused(&format!("request {number}"), &Message::new(number).body(&[7; 100]));
    }
    stage.finish("unknown requests");
}

#[test]
fn replies_that_are_never_read_cost_the_connection_and_no_memory() {
    let mut stage = Stage::new();
    for asks in [Message::new(request::GET_FEATURES), Message::new(request::SET_OWNER).need_reply()] {
        let session = stage.session();
        let bytes = asks.bytes().repeat(1000);
        session.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let error = (0..10_000).find_map(|_| (&session.stream).write_all(&bytes).err());
        let error = error.expect("ten million unread replies are too many");
        assert!(!message::is_timeout(&error), "a frontend that does not read is sent away: {error}");
        stage.assert_unharmed("replies never read");
        stage.assert_told("replies never read");
        drop(session);
        stage.assert_recovered("replies never read");
    }
    stage.finish("replies never read");
}

// Rings that do not exist

#[test]
fn a_ring_that_does_not_exist_is_refused_in_the_full_width_of_its_number() {
    let stage = Stage::new();
    for index in [2, 3, 127, 255, 256, 0x100, 0x1_0000, 0x8000_0000, 0x8000_0001, u32::MAX] {
        for number in [request::SET_VRING_NUM, request::SET_VRING_BASE, request::SET_VRING_ENABLE] {
            stage.assert_refused(
                &format!("request {number} for ring {index:#x}"),
                &Message::vring(number, index, 1),
            );
        }
        stage.assert_refused("SET_VRING_ADDR", &session::address_message(index, 0x1000, 0x2000, 0x3000));
        stage.assert_closes("GET_VRING_BASE", &Message::vring(request::GET_VRING_BASE, index, 0));
    }
    stage.finish("rings that do not exist");
}

#[test]
fn a_descriptor_for_a_ring_that_does_not_exist_is_refused() {
    let stage = Stage::new();
    let event = event();
    for number in [request::SET_VRING_KICK, request::SET_VRING_CALL, request::SET_VRING_ERR] {
        for index in [2, 255, 0x200, 0x1_0000_0000, 1 << 63, !NO_DESCRIPTOR] {
            let message = Message::new(number).u64(index).descriptor(&event);
            stage.assert_refused(&format!("request {number} for ring {index:#x}"), &message);
        }
        stage.assert_refused("no descriptor for a ring beyond", &Message::new(number).u64(2 | NO_DESCRIPTOR));
    }
    stage.finish("descriptors for rings that do not exist");
}

// The same request for ever

#[test]
fn the_same_request_ten_thousand_times_accumulates_nothing() {
    let memory = Memory::contiguous(&[1 << 20, 1 << 20]);
    let event = event();
    let region = &memory.regions[0];
    let table = Message::new(request::SET_MEM_TABLE).u32(1).u32(0);
    let table = table.u64(region.guest_address).u64(region.size).u64(region.user_address).u64(0);
    let messages = [
        table.descriptor(&region.file),
        Message::vring(request::SET_VRING_NUM, 0, 256),
        Message::vring(request::SET_VRING_BASE, 0, 0),
        Message::new(request::SET_VRING_ERR).u64(0).descriptor(&event),
        Message::new(request::SET_VRING_CALL).u64(0).descriptor(&event),
        Message::new(request::SET_FEATURES).u64(PROTOCOL_FEATURES | MODERN),
        Message::new(request::SET_VRING_KICK).u64(0).descriptor(&event),
        Message::vring(request::SET_VRING_ENABLE, 0, 1),
        Message::new(request::SET_STATUS).u64(0xf),
        Message::new(request::RESET_DEVICE),
    ];
    for message in messages {
        // A daemon each: what may be sent at once is the port's, whatever connection it comes by.
        let stage = Stage::new();
        let session = stage.session();
        assert!(session.accepts(&message), "{message:?}");
        let once = stage.daemon.settled_usage();
        repeat(&session, &message);
        let often = stage.daemon.usage_given_back(once);
        let what = format!("request {} ten thousand times", message.request);
        assert!(often.anonymous_kib < once.anonymous_kib + 1024, "{what}: {once:?} {often:?}");
        drop(session);
        stage.finish(&what);
    }
}

fn repeat(session: &Session, message: &Message) {
    for _ in 0..9_999 {
        message.send(&session.stream).unwrap();
    }
    assert!(session.accepts(message), "the last one is answered like the first");
}

#[test]
fn a_memory_slot_added_and_removed_a_thousand_times_leaves_nothing() {
    let stage = Stage::new();
    let mut session = stage.session();
    let memory = Memory::contiguous(&[1 << 20]);
    let before = stage.daemon.settled_usage();
    for _ in 0..1000 {
        session.add_region(&memory.regions[0]);
        session.remove_region(&memory.regions[0]);
    }
    stage.daemon.usage_given_back(before);
    drop(session);
    stage.finish("a slot a thousand times");
}

// Connections that come and go

#[test]
fn two_thousand_connections_come_and_go_and_leave_nothing() {
    let mut stage = Stage::new();
    let path = stage.daemon.socket("x");
    let start = Instant::now();
    for round in 0..2000_u32 {
        let stream = session::connect(&path);
        let bytes = Message::new(request::SET_FEATURES).u64(0).bytes();
        // Nothing, half a message, a whole one, one and a half.
        let sent = [0, 7, 20, 33][(round % 4) as usize];
        let _ = (&stream).write(&bytes.repeat(2)[..sent]);
    }
    println!("two thousand connections in {:?}", start.elapsed());
    stage.assert_unharmed("a storm of connections");
    stage.finish("a storm of connections");
}

#[test]
fn many_connections_at_once_to_one_port_are_sent_away_but_one() {
    let mut stage = Stage::new();
    let path = stage.daemon.socket("x");
    let streams: Vec<UnixStream> = (0..200).map(|_| session::connect(&path)).collect();
    stage.assert_unharmed("200 connections to one port");
    assert!(
        streams[1..].iter().all(|stream| message::is_closed_within(stream, LIMIT)),
        "the first one alone stays"
    );
    drop(streams);
    stage.finish("200 connections to one port");
}

#[test]
fn a_frontend_that_goes_under_full_load_leaves_nothing() {
    let mut stage = Stage::new();
    for round in 0..40 {
        let [mut x, mut y] = stage.cards(&NicOptions::default());
        for number in 0..200 {
            x.transmit[0].put(NetHeader::default(), &frame(mac(2), mac(1), number, 1000));
            y.transmit[0].put(NetHeader::default(), &frame(mac(1), mac(2), number, 60));
        }
        x.transmit[0].ring.publish();
        y.transmit[0].ring.publish();
        // The sender, the receiver, or both, and their memory with them.
        if round % 2 == 0 {
            drop(x)
        } else {
            drop(y)
        }
        stage.assert_unharmed("gone under load");
    }
    stage.finish("gone under load");
}

#[test]
fn descriptors_of_a_thousand_messages_in_flight_are_closed_with_the_connection() {
    let mut stage = Stage::new();
    let event = event();
    for _ in 0..20 {
        let session = stage.session();
        for _ in 0..50 {
            let message = Message::new(request::SET_VRING_CALL).u64(0).descriptor(&event);
            if message.send(&session.stream).is_err() {
                break;
            }
        }
        // Half a message whose descriptor has arrived already.
        let half = Message::new(request::SET_VRING_CALL).u64(0);
        let _ = vmm_sys_util::sock_ctrl_msg::ScmSocket::send_with_fds(
            &session.stream,
            &[&half.bytes()[..15]],
            &[event.as_raw_fd()],
        );
    }
    stage.assert_recovered("descriptors in flight");
    stage.finish("descriptors in flight");
}
