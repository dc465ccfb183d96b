//! Hostile vhost-user frontends: each attack is refused by name, costs the attacker alone, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use viaduct_tests::driver::features::{EVENT_IDX, LOG_ALL, MODERN, PROTOCOL_FEATURES, RING_PACKED};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::memory::{Memory, memfd};
use viaduct_tests::driver::message::{self, Message, NEED_REPLY, NO_DESCRIPTOR, REPLY, request};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::session::{self, Session, region_message};
use viaduct_tests::hostile::{LIMIT, Stage};
use viaduct_tests::stream::{Flow, frame, mac};
use vmm_sys_util::eventfd::EventFd;

fn event() -> EventFd {
    EventFd::new(0).unwrap()
}

fn protocol_bit(session: &Session, bit: u32) -> bool {
    session.protocol & (1 << bit) != 0
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

// Descriptors: none due, too many, missing, cut off, of the wrong kind

#[test]
fn descriptors_on_messages_that_carry_none_are_refused_and_closed() {
    let mut stage = Stage::new();
    let event = event();
    let messages = [
        Message::new(request::SET_OWNER),
        Message::new(request::GET_FEATURES),
        Message::new(request::SET_FEATURES).u64(0),
        Message::new(request::GET_QUEUE_NUM),
        Message::vring(request::SET_VRING_NUM, 0, 256),
        Message::vring(request::GET_VRING_BASE, 0, 0),
        Message::new(request::RESET_DEVICE),
        Message::new(999),
    ];
    for message in messages {
        let message = message.descriptor(&event);
        stage.assert_closes(&format!("a descriptor with request {}", message.request), &message);
    }
    stage.assert_recovered("descriptors where none belong");
    stage.finish("descriptors where none belong");
}

#[test]
fn too_many_and_missing_descriptors_are_refused() {
    let stage = Stage::new();
    let (event, file) = (event(), memfd(0x10_0000));
    let table = |regions: u32, descriptors: usize| {
        let mut message = Message::new(request::SET_MEM_TABLE).u32(regions).u32(0);
        for index in 0..u64::from(regions) {
            message = message.u64(index << 20).u64(1 << 16).u64(index << 20).u64(0);
        }
        (0..descriptors).fold(message, |message, _| message.descriptor(&file))
    };
    let kick = || Message::new(request::SET_VRING_KICK).u64(0);
    stage.assert_refused("two kicks at once", &kick().descriptor(&event).descriptor(&event));
    stage.assert_refused("a kick without one", &kick());
    stage.assert_refused(
        "no kick, with one",
        &Message::new(request::SET_VRING_KICK).u64(0x100).descriptor(&event),
    );
    stage.assert_refused("a table of two regions and one file", &table(2, 1));
    stage.assert_refused("a table of one region and two files", &table(1, 2));
    stage.assert_refused("a table of no regions", &table(0, 0));
    stage.assert_refused("a table of 33 regions", &table(33, 33));
    stage.assert_refused("a table with 253 files", &table(8, 253));
    let region = region_message(request::ADD_MEM_REG, 1 << 30, 1 << 16, 1 << 40, 0);
    stage.assert_refused("a region without its file", &region);
    stage.assert_refused("a region with two files", &region.clone().descriptor(&file).descriptor(&file));
    stage.finish("too many and missing descriptors");
}

/// Files that are no eventfds.
fn not_eventfds() -> Vec<(&'static str, OwnedFd)> {
    let (reader, writer) = std::io::pipe().unwrap();
    let (socket, other) = UnixStream::pair().unwrap();
    drop(other);
    // SAFETY: both calls only make a new descriptor, which is ours alone.
    let (epoll, timer) = unsafe {
        (
            libc::epoll_create1(libc::EPOLL_CLOEXEC),
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC),
        )
    };
    // SAFETY: as above.
    let owned = |fd: RawFd| unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    vec![
        ("a pipe to read", reader.into()),
        ("a pipe to write", writer.into()),
        ("a regular file", File::open("/proc/self/exe").unwrap().into()),
        ("/dev/null", File::open("/dev/null").unwrap().into()),
        ("a memfd", memfd(4096).into()),
        ("a socket whose other end is closed", socket.into()),
        ("an epoll", owned(epoll)),
        ("a timerfd", owned(timer)),
    ]
}

#[test]
fn only_an_eventfd_is_taken_for_an_eventfd() {
    let stage = Stage::new();
    for (kind, file) in not_eventfds() {
        for number in [request::SET_VRING_KICK, request::SET_VRING_CALL, request::SET_VRING_ERR] {
            let message = Message::new(number).u64(1).descriptor(&file);
            stage.assert_refused(&format!("{kind} for request {number}"), &message);
        }
    }
    stage.finish("files that are no eventfds");
}

#[test]
fn descriptors_that_the_kernel_cut_off_are_noticed() {
    let mut stage = Stage::new();
    let session = stage.session();
    let open = stage.daemon.usage().descriptors as u64;
    let before = set_descriptor_limit(stage.daemon.pid(), open + 1);
    let event = event();
    let many = (0..40).fold(Message::new(request::SET_OWNER), |message, _| message.descriptor(&event));
    let _ = many.send(&session.stream);
    assert!(message::is_closed_within(&session.stream, LIMIT), "cut-off descriptors close the connection");
    set_descriptor_limit(stage.daemon.pid(), before);
    stage.assert_told("cut-off descriptors");
    drop(session);
    stage.assert_recovered("cut-off descriptors");
    stage.finish("cut-off descriptors");
}

/// Sets the soft limit of open files of the process `pid`; returns what it was.
fn set_descriptor_limit(pid: u32, limit: u64) -> u64 {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: `old` is a valid place for the answer, `new` a valid value; the process is our own child.
    let results = unsafe {
        let read = libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old);
        let new = libc::rlimit { rlim_cur: limit, ..old };
        (read, libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut()))
    };
    assert_eq!(results, (0, 0), "prlimit: {}", std::io::Error::last_os_error());
    old.rlim_cur
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
        let often = stage.daemon.settled_usage();
        let what = format!("request {} ten thousand times", message.request);
        assert_eq!((often.descriptors, often.mappings), (once.descriptors, once.mappings), "{what}");
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
    let after = stage.daemon.settled_usage();
    assert_eq!((after.descriptors, after.mappings), (before.descriptors, before.mappings));
    drop(session);
    stage.finish("a slot a thousand times");
}

// In-flight buffers are not offered; the dirty log is, for migration

#[test]
fn inflight_buffers_are_not_offered_and_refused() {
    const INFLIGHT_SHMFD: u32 = 12;
    let stage = Stage::new();
    assert!(!protocol_bit(&stage.session(), INFLIGHT_SHMFD));
    let file = memfd(1 << 20);
    for queues in [1_u16, 2, 0xffff] {
        let body = |number: u32| {
            let message = Message::new(number).u64(1 << 20).u64(0);
            message.body(&queues.to_le_bytes()).body(&256_u16.to_le_bytes()).u32(0)
        };
        let (get, set) = (body(request::GET_INFLIGHT_FD), body(request::SET_INFLIGHT_FD));
        stage.assert_closes("GET_INFLIGHT_FD", &get);
        stage.assert_refused("SET_INFLIGHT_FD", &set.descriptor(&file));
        stage.assert_closes("GET_INFLIGHT_FD with a file", &get.descriptor(&file));
    }
    let session = stage.session();
    for _ in 0..1000 {
        if session.ask(&Message::new(request::GET_INFLIGHT_FD).u64(0).u64(0).u64(0).need_reply()).is_err() {
            break;
        }
    }
    drop(session);
    stage.finish("inflight buffers");
}

fn log_base(size: u64, offset: u64, file: &impl AsRawFd) -> Message {
    Message::new(request::SET_LOG_BASE).u64(size).u64(offset).descriptor(file)
}

#[test]
fn a_dirty_log_that_cannot_be_is_refused() {
    const LOG_SHMFD: u32 = 1;
    let stage = Stage::new();
    assert!(protocol_bit(&stage.session(), LOG_SHMFD), "migration needs the dirty log");
    let file = memfd(1 << 20);
    for (size, offset) in [
        (0, 0),
        (u64::MAX, 1),
        (1, u64::MAX),
        (1 << 20, u64::MAX - 4095),
        ((1 << 20) + 1, 0),
        (1 << 20, 4096),
        (1 << 62, 0),
    ] {
        stage.assert_closes(
            &format!("a log of {size:#x} bytes at {offset:#x}"),
            &log_base(size, offset, &file),
        );
    }
    for (kind, file) in not_eventfds().into_iter().filter(|(kind, _)| *kind != "a memfd") {
        stage.assert_closes(&format!("{kind} as a log"), &log_base(4096, 0, &file));
    }
    stage.assert_closes("a log without its file", &Message::new(request::SET_LOG_BASE).u64(4096).u64(0));
    stage.assert_closes("a log with two files", &log_base(4096, 0, &file).descriptor(&file));
    stage.finish("logs that cannot be");
}

/// Turns logging on at `x`, with a log of `size` bytes and used rings that claim to be at `used`.
fn start_logging(x: &mut Nic, file: &File, size: u64, used: u64) {
    let reply = x.session.ask(&log_base(size, 0, file)).expect("SET_LOG_BASE is answered");
    assert_eq!(reply.request, request::SET_LOG_BASE);
    x.session.take_features(x.options.features | LOG_ALL);
    for index in 0..2 {
        let addresses = session::ring_addresses(x.ring(index));
        let body =
            Message::new(request::SET_VRING_ADDR).u32(index as u32).u32(1).u64(addresses.desc_table_addr);
        let body = body.u64(addresses.used_ring_addr).u64(addresses.avail_ring_addr).u64(used);
        assert!(x.session.accepts(&body), "a used ring that claims to be at {used:#x}");
    }
}

#[test]
fn a_log_that_is_too_small_or_shrinks_or_is_misled_harms_nobody() {
    let mut stage = Stage::new();
    for (size, used) in
        [(1, 0), (8, u64::MAX), (4096, u64::MAX - 8), (1 << 20, u64::MAX - 4096), (1 << 20, 1 << 62)]
    {
        let [mut x, mut y] = stage.cards(&NicOptions::default());
        let file = memfd(1 << 20);
        start_logging(&mut x, &file, size, used);
        Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60, 1514, 700]);
        Flow::new(mac(2), mac(1)).carry(&mut y, &mut x, [60, 1514, 700]);
        stage.assert_unharmed("a log that is too small or misled");
        // And now it goes, under the switch's hands.
        file.set_len(0).unwrap();
        for number in 0..20 {
            y.send(&frame(mac(1), mac(2), number, 900));
        }
        stage.assert_unharmed("a log that shrank");
        drop((x, y));
        stage.assert_recovered("a log that shrank");
    }
    stage.finish("a log that shrank");
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let stage = Stage::new();
    let offered = stage.session().offered;
    for bit in (0..64).filter(|bit| offered & (1 << bit) == 0) {
        let session = stage.session();
        let wanted = Message::new(request::SET_FEATURES).u64(MODERN | PROTOCOL_FEATURES | 1 << bit);
        assert!(!session.accepts(&wanted), "feature bit {bit}");
    }
    assert_eq!(offered & RING_PACKED, 0, "packed rings are not offered yet");
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
