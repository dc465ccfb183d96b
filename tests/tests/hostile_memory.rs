//! Hostile guest memory: regions that cannot be, files that shrink, rings that lie where none can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::memory::{Memory, Region, memfd};
use viaduct_tests::driver::message::{Message, request};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::queue::Layout;
use viaduct_tests::driver::ring::{Piece, readable};
use viaduct_tests::driver::session::{self, address_message, region_message};
use viaduct_tests::hostile::{LIMIT, Stage};
use viaduct_tests::stream::{Flow, frame, mac};

const PAGE: u64 = 4096;

fn add(guest_address: u64, size: u64, user_address: u64, offset: u64) -> Message {
    region_message(request::ADD_MEM_REG, guest_address, size, user_address, offset)
}

// Regions

#[test]
fn regions_whose_ends_wrap_around_or_that_are_empty_or_too_long_are_refused() {
    let stage = Stage::new();
    let file = memfd(1 << 20);
    let top = u64::MAX - PAGE + 1;
    for (what, message) in [
        ("an empty one", add(0, 0, 0, 0)),
        ("a guest address that wraps", add(top, 2 * PAGE, 1 << 40, 0)),
        ("a user address that wraps", add(0, 2 * PAGE, top, 0)),
        ("an offset that wraps", add(0, 2 * PAGE, 1 << 40, top)),
        ("an offset beyond the file", add(0, PAGE, 1 << 40, 1 << 20)),
        ("one that is longer than its file", add(0, (1 << 20) + 1, 1 << 40, 0)),
        ("a huge one", add(0, 1 << 62, 1 << 40, 0)),
        ("the whole address space", add(0, u64::MAX, 0, 0)),
    ] {
        let message = message.descriptor(&file);
        stage.assert_refused(what, &message);
    }
    stage.finish("regions that cannot be");
}

#[test]
fn regions_that_overlap_are_refused_and_the_first_stays() {
    let stage = Stage::new();
    let file = memfd(1 << 20);
    let base = 1 << 30;
    for (guest, user) in [
        (base, 1 << 41),
        (base + PAGE, 1 << 41),
        (base - PAGE, 1 << 41),
        (1 << 33, 1 << 40),
        (1 << 33, (1 << 40) - PAGE),
    ] {
        let session = stage.session();
        assert!(session.accepts(&add(base, 4 * PAGE, 1 << 40, 0).descriptor(&file)));
        let second = add(guest, 2 * PAGE, user, 0).descriptor(&file);
        assert!(!session.accepts(&second), "{guest:#x} {user:#x} overlaps");
        let removal = region_message(request::REM_MEM_REG, base, 4 * PAGE, 1 << 40, 0);
        assert!(!session.is_alive() || session.accepts(&removal), "the first one is still there");
    }
    stage.finish("regions that overlap");
}

#[test]
fn the_removal_of_a_region_that_is_not_there_is_refused() {
    let stage = Stage::new();
    let file = memfd(1 << 20);
    for (guest, size, user) in
        [(1 << 31, 4 * PAGE, 1 << 40), (1 << 30, PAGE, 1 << 40), (1 << 30, 4 * PAGE, 1 << 41), (0, 0, 0)]
    {
        let session = stage.session();
        assert!(session.accepts(&add(1 << 30, 4 * PAGE, 1 << 40, 0).descriptor(&file)));
        assert!(!session.accepts(&region_message(request::REM_MEM_REG, guest, size, user, 0)));
    }
    stage.finish("removal of what is not there");
}

#[test]
fn five_hundred_and_nine_regions_are_legal_and_one_more_is_not() {
    let stage = Stage::new();
    let file = memfd(512 * PAGE);
    let session = stage.session();
    for index in 0..509_u64 {
        let region =
            add(index * 2 * PAGE, PAGE, (1 << 40) + index * 2 * PAGE, index * PAGE).descriptor(&file);
        assert!(session.accepts(&region), "region {index}");
    }
    assert!(!session.accepts(&add(1 << 40, PAGE, 1 << 45, 0).descriptor(&file)), "region 510");
    drop(session);
    stage.finish("510 regions");
}

// Files behind regions

#[test]
fn memory_on_a_file_that_is_no_memory_is_refused() {
    let stage = Stage::new();
    let read_only = File::open("/proc/self/exe").unwrap();
    let device = OpenOptions::new().read(true).write(true).open("/dev/zero").unwrap();
    let disk = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    disk.set_len(1 << 20).unwrap();
    stage.assert_refused("a program's file", &add(0, PAGE, 1 << 40, 0).descriptor(&read_only));
    stage.assert_refused("/dev/zero", &add(0, PAGE, 1 << 40, 0).descriptor(&device));
    let (reader, _writer) = std::io::pipe().unwrap();
    stage.assert_refused("a pipe", &add(0, PAGE, 1 << 40, 0).descriptor(&reader));
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open("/tmp").unwrap();
    stage.assert_refused("a directory", &add(0, PAGE, 1 << 40, 0).descriptor(&directory));
    // SAFETY: all-zero is a valid statfs, which the call overwrites.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `facts` is a valid place for the answer.
    assert_eq!(unsafe { libc::fstatfs(std::os::fd::AsRawFd::as_raw_fd(&disk), &raw mut facts) }, 0);
    if facts.f_type != libc::TMPFS_MAGIC {
        stage.assert_refused("a file on a disk", &add(0, PAGE, 1 << 40, 0).descriptor(&disk));
    }
    stage.finish("files that are no memory");
}

/// A card whose memory can be cut off under the switch's hands.
fn card_on_soft_memory(stage: &Stage, port: &str) -> (Nic, File) {
    let options = NicOptions { queue_size: 64, send_buffers: 64, ..NicOptions::default() };
    let mut nic = Nic::prepared(session::connect(&stage.daemon.socket(port)), &options);
    nic.session.take_features(options.features);
    nic.session.share_memory(&nic.memory);
    for index in 0..2 {
        nic.start_ring(index);
    }
    let file = memfd(1 << 20);
    (nic, file)
}

/// A region of soft memory beside the card's own, with one buffer's address in it.
fn add_soft_region(nic: &mut Nic, file: &File) -> Region {
    let region = Region::of(file.try_clone().unwrap(), 0x9_0000_0000, 1 << 20, 0x9_9000_0000);
    nic.session.add_region(&region);
    region
}

#[test]
fn a_file_that_shrinks_under_a_senders_buffers_ends_that_port_and_nobody_else() {
    let mut stage = Stage::new();
    let [x, mut y] = stage.cards(&NicOptions::default());
    drop(x);
    let (mut x, file) = card_on_soft_memory(&stage, "x");
    let soft = add_soft_region(&mut x, &file);
    let bytes = frame(mac(2), mac(1), 5, 1500);
    let memory = Memory::of(vec![soft]);
    let address = 0x9_0000_0000 + 0x8000;
    memory.write(address, &[0; 12]);
    memory.write(address + 12, &bytes);
    let piece = Piece { address, length: 1512, writable: false };
    assert!(x.transmit[0].ring.add(&[piece], None, 0));
    x.transmit[0].ring.publish();
    assert!(y.receive_within(LIMIT).is_some(), "soft memory works as long as it is there");
    file.set_len(0).unwrap();
    for _ in 0..10 {
        assert!(x.transmit[0].ring.add(&[piece], None, 0));
        x.transmit[0].ring.publish();
    }
    stage.assert_unharmed("a file that shrank");
    wait_until("the port to say that its memory is gone", LIMIT, || {
        let port = stage.port("x");
        port.state == "broken" && port.detail.is_some_and(|detail| detail.contains("memory"))
    });
    drop((x, y));
    stage.finish("a file that shrank");
}

#[test]
fn a_file_that_shrinks_under_rings_and_receive_buffers_ends_that_port_and_nobody_else() {
    let mut stage = Stage::new();
    let options = NicOptions { queue_size: 64, send_buffers: 32, ..NicOptions::default() };
    let [mut x, mut y] = stage.cards(&options);
    // A receiver whose buffers lie in soft memory.
    let _ = y.session.stop_ring(0);
    let file = memfd(1 << 20);
    let soft = add_soft_region(&mut y, &file);
    y.receive[0].ring.reset();
    for index in 0..32 {
        let piece = Piece { address: soft.guest_address + index * 2048, length: 2048, writable: true };
        assert!(y.receive[0].ring.add(&[piece], None, index));
    }
    y.start_ring(0);
    file.set_len(PAGE).unwrap();
    for number in 0..20 {
        x.send(&frame(mac(2), mac(1), number, 1500));
    }
    stage.assert_unharmed("receive buffers that shrank away");
    wait_until("the port to say that its memory is gone", LIMIT, || stage.port("y").state == "broken");
    drop((x, y, soft));
    stage.assert_recovered("receive buffers that shrank away");

    // The rings themselves.
    let [x, y] = stage.cards(&options);
    let rings = memfd(1 << 20);
    let region = Region::of(rings.try_clone().unwrap(), 0xa_0000_0000, 1 << 20, 0xa_a000_0000);
    let mut x = x;
    let _ = x.session.stop_ring(1);
    x.session.add_region(&region);
    let base = region.user_address;
    assert!(x.session.accepts(&address_message(1, base, base + 0x8000, base + 0x4000)));
    assert!(x.session.accepts(&Message::vring(request::SET_VRING_BASE, 1, 0)));
    assert!(
        x.session.accepts(&Message::new(request::SET_VRING_KICK).u64(1).descriptor(&x.transmit[0].ring.kick))
    );
    rings.set_len(0).unwrap();
    for _ in 0..10 {
        x.transmit[0].ring.kick.write(1).unwrap();
        stage.assert_unharmed("rings that shrank away");
    }
    wait_until("the port to say that its ring is gone", LIMIT, || stage.port("x").state == "broken");
    drop((x, y, region));
    stage.finish("rings that shrank away");
}

#[test]
fn a_buffer_that_runs_out_of_a_region_into_nothing_is_a_counted_drop() {
    let stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions::default());
    let last = x.memory.regions.last().unwrap();
    let end = last.guest_address + last.size;
    let before = stage.port("x").dropped("bad-chain");
    let wrong = [end - 100, end, 0, u64::MAX - 100, u64::MAX, 0x7000_0000_0000];
    x.transmit[0].drain();
    for address in wrong {
        assert!(x.transmit[0].ring.add(&[Piece { address, length: 1000, writable: false }], None, 0));
    }
    x.transmit[0].ring.publish();
    for _ in wrong {
        assert!(x.transmit[0].ring.wait_used(LIMIT));
        x.transmit[0].ring.take_used().unwrap();
    }
    wait_until("the drops to be counted", LIMIT, || {
        stage.port("x").dropped("bad-chain") == before + wrong.len() as u64
    });
    Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60, 1514]);
    drop((x, y));
    stage.finish("buffers that run into nothing");
}

// Where rings lie

#[test]
fn rings_that_are_misaligned_are_refused() {
    let stage = Stage::new();
    let base = 0x7000_0000_0000;
    for (descriptor, used, available) in [(8, 0x2000, 0x3000), (0, 0x2002, 0x3000), (0, 0x2000, 0x3001)] {
        let message = address_message(1, base + descriptor, base + used, base + available);
        stage.assert_refused("a misaligned ring", &message);
    }
    stage.finish("misaligned rings");
}

#[test]
fn rings_outside_of_the_memory_or_across_its_end_do_not_run_and_the_port_says_so() {
    let mut stage = Stage::new();
    let [mut x, y] = stage.cards(&NicOptions::default());
    let region = &x.memory.regions[0];
    let (first, end) = (region.user_address, region.user_address + region.size);
    for (descriptor, used, available) in [
        (0, 0, 0),
        (u64::MAX - 15, u64::MAX - 3, u64::MAX - 1),
        (end, end + 0x1000, end + 0x2000),
        (end - 16, first, first + 0x4000),
        (first, end - 8, first + 0x4000),
        (first, first + 0x4000, end - 4),
        (x.memory.regions[0].guest_address, first, first + 0x4000),
    ] {
        let _ = x.session.stop_ring(1);
        let accepted = x.session.accepts(&address_message(1, descriptor, used, available));
        assert!(accepted, "addresses may come before the memory that they lie in");
        let kick = Message::new(request::SET_VRING_KICK).u64(1).descriptor(&x.transmit[0].ring.kick);
        assert!(x.session.accepts(&kick));
        x.transmit[0].ring.kick.write(1).unwrap();
        stage.assert_unharmed("a ring outside of the memory");
        wait_until("the other ring alone to run, and the port to say so", LIMIT, || {
            let port = stage.port("x");
            port.rings_running == 1 && port.detail.is_some()
        });
    }
    x.reset_ring_wherever(1);
    let mut y = y;
    Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60, 1514]);
    drop((x, y));
    stage.finish("rings outside of the memory");
}

#[test]
fn a_ring_that_overlaps_its_own_parts_and_buffers_harms_its_owner_alone() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&NicOptions { send_layout: Layout::default(), ..NicOptions::default() });
    // Table, available and used ring all in one place; and buffers that are the ring itself.
    let at = x.memory.to_user(x.ring(1).descriptor);
    let _ = x.session.stop_ring(1);
    assert!(x.session.accepts(&address_message(1, at, at, at)));
    assert!(x.session.accepts(&Message::vring(request::SET_VRING_BASE, 1, 0)));
    let kick = Message::new(request::SET_VRING_KICK).u64(1).descriptor(&x.transmit[0].ring.kick);
    assert!(x.session.accepts(&kick));
    for _ in 0..20 {
        x.transmit[0].ring.kick.write(1).unwrap();
        stage.assert_unharmed("a ring on itself");
    }
    x.reset_ring_wherever(1);
    let ring = &y.receive[0].ring;
    let (table, used) = (ring.descriptor, ring.used);
    let _ = y.session.stop_ring(0);
    y.receive[0].ring.reset();
    for (token, address) in [(0, table), (1, used), (2, table + 100), (3, used - 50)] {
        assert!(y.receive[0].ring.add(&[Piece { address, length: 1600, writable: true }], None, token));
    }
    y.start_ring(0);
    for number in 0..10 {
        x.send_with(NetHeader::default(), &frame(mac(2), mac(1), number, 1500));
        std::thread::sleep(Duration::from_millis(2));
    }
    stage.assert_unharmed("receive buffers on the ring");
    let _ = readable(&y.receive[0].ring.error, Duration::from_millis(1));
    drop((x, y));
    stage.finish("a ring on itself");
}
