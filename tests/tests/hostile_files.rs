//! Hostile files: descriptors where none belong, of the wrong kind, cut off; logs and in-flight buffers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::LOG_ALL;
use viaduct_tests::driver::memory::memfd;
use viaduct_tests::driver::message::{self, Message, request};
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
    let open = stage.daemon.settled_usage().descriptors as u64;
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

/// How many files a process may have open from now on; gives what held before.
fn limit_files(process: u32, count: u64) -> u64 {
    let process = libc::pid_t::try_from(process).unwrap();
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to values of ours, or null.
    assert_eq!(unsafe { libc::prlimit(process, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before) }, 0);
    let wanted = libc::rlimit { rlim_cur: count, ..before };
    // SAFETY: as above.
    let done =
        unsafe { libc::prlimit(process, libc::RLIMIT_NOFILE, &raw const wanted, std::ptr::null_mut()) };
    assert_eq!(done, 0);
    before.rlim_cur
}

#[test]
fn a_file_for_which_the_process_has_no_room_ends_that_session_and_says_why() {
    let mut stage = Stage::new();
    let session = stage.session();
    let before = limit_files(stage.daemon.pid(), 3);
    Message::new(request::SET_VRING_KICK).u64(0).descriptor(&event()).send(&session.stream).unwrap();
    assert!(message::is_closed_within(&session.stream, LIMIT), "the session is to end");
    limit_files(stage.daemon.pid(), before);
    let told = "a message came with more files than can be received";
    let is_told = || stage.port("x").detail.is_some_and(|detail| detail.contains(told));
    wait_until("the port to tell why", LIMIT, is_told);
    stage.assert_recovered("no room for files");
    stage.finish("no room for files");
}
