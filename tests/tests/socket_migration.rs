//! Dirty logging: what the switch writes to a guest's memory while the guest is being migrated is noted exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::time::Duration;

use vhost::{VhostBackend, VhostUserDirtyLogRegion, VringConfigData};
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{EVENT_IDX, IN_ORDER, INDIRECT_DESC, LOG_ALL, MODERN, RING_PACKED};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::memory::{Memory, Region, memfd};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::queue::Layout;
use viaduct_tests::driver::ring::Ring;
use viaduct_tests::driver::session::{self, Session, ring_addresses};
use viaduct_tests::lab::{FRAME_MAX, pair, two_ports};
use viaduct_tests::stream::{Flow, frame, mac, number_of};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(5);
const PAGE: u64 = 4096;
/// One bit a page: enough for guest addresses up to 32 GiB.
const LOG_BYTES: u64 = 1 << 20;
/// Where in its file the log begins.
const LOG_OFFSET: u64 = 8192;
/// "The vring's used ring is to be logged" (vhost-user: VHOST_VRING_F_LOG).
const VRING_LOG: u32 = 1;

/// The log as the frontend sees it.
struct Log {
    memory: Memory,
}

impl Log {
    /// Turns logging on for `card`, as QEMU does at the start of a migration: log, features, addresses.
    fn start(card: &mut Nic) -> Self {
        let file = memfd(LOG_OFFSET + LOG_BYTES);
        let log = VhostUserDirtyLogRegion {
            mmap_size: LOG_BYTES,
            mmap_offset: LOG_OFFSET,
            mmap_handle: file.as_raw_fd(),
        };
        card.session.call("SET_LOG_BASE", |frontend| frontend.set_log_base(0, Some(log)));
        card.session.take_features(card.options.features | LOG_ALL);
        for index in 0..2 {
            let addresses = logged_addresses(card, index);
            card.session.call("SET_VRING_ADDR", |frontend| frontend.set_vring_addr(index, &addresses));
        }
        Self { memory: Memory::of(vec![Region::of(file, 0, LOG_OFFSET + LOG_BYTES, 0)]) }
    }

    /// The pages that are marked, by their guest addresses; they are marked no longer.
    fn harvest(&self) -> BTreeSet<u64> {
        let (mut pages, mut bytes) = (BTreeSet::new(), vec![0; LOG_BYTES as usize]);
        self.memory.read(LOG_OFFSET, &mut bytes);
        // What is marked from here on is found the next time.
        for at in (0..LOG_BYTES).step_by(2).filter(|at| bytes[*at as usize..][..2] != [0; 2]) {
            let word = self.memory.swap_u16(LOG_OFFSET + at, 0);
            pages.extend((0..16).filter(|bit| word & (1 << bit) != 0).map(|bit| (at * 8 + bit) * PAGE));
        }
        pages
    }
}

fn logged_addresses(card: &Nic, index: usize) -> VringConfigData {
    let ring = card.ring(index);
    VringConfigData { flags: VRING_LOG, log_addr: Some(ring.used), ..ring_addresses(ring) }
}

/// The pages of what the device writes of a ring.
fn written_by_device(ring: &Ring) -> BTreeSet<u64> {
    let size = u64::from(ring.options.size);
    if ring.options.packed {
        pages_of(ring.descriptor, 16 * size).chain(pages_of(ring.used, 4)).collect()
    } else {
        pages_of(ring.used, 6 + 8 * size).collect()
    }
}

fn pages_of(address: u64, length: u64) -> impl Iterator<Item = u64> {
    (address / PAGE * PAGE..address + length).step_by(PAGE as usize)
}

/// All of the card's memory, page by page.
fn picture(card: &Nic) -> Vec<(u64, Vec<u8>)> {
    let mut pages = Vec::new();
    for region in &card.memory.regions {
        let mut bytes = vec![0; region.size as usize];
        card.memory.read(region.guest_address, &mut bytes);
        let addresses = (region.guest_address..).step_by(PAGE as usize);
        pages.extend(addresses.zip(bytes.chunks(PAGE as usize).map(<[u8]>::to_vec)));
    }
    pages
}

/// The pages that differ between two pictures.
fn changed(before: &[(u64, Vec<u8>)], after: &[(u64, Vec<u8>)]) -> BTreeSet<u64> {
    before.iter().zip(after).filter(|(old, new)| old.1 != new.1).map(|(old, _)| old.0).collect()
}

#[test]
fn every_page_that_a_received_frame_touches_is_marked_and_no_other() {
    let daemon = Daemon::start(&two_ports());
    let cases = [(2048, vec![], None), (1999, vec![12, 100], Some(64 * 1024)), (9000, vec![5, 3000], None)];
    for (packed, (receive_bytes, cuts, region_bytes)) in
        [0, RING_PACKED].into_iter().flat_map(|packed| cases.clone().map(|case| (packed, case)))
    {
        let options = NicOptions {
            features: MODERN | EVENT_IDX | INDIRECT_DESC | packed,
            queue_size: 64,
            send_bytes: FRAME_MAX as u64 + 12,
            send_buffers: 8,
            receive_bytes,
            receive_layout: Layout { indirect: !cuts.is_empty(), cuts },
            region_bytes,
            ..NicOptions::default()
        };
        let [a, b] = &mut pair(&daemon, &options);
        Flow::new(mac(1), mac(2)).carry(a, b, [60]);
        let log = Log::start(b);
        let queue_pages: BTreeSet<u64> = {
            let (ring, buffers) = (b.ring(0), &b.receive[0].buffers);
            pages_of(buffers.first, buffers.count * buffers.bytes).chain(written_by_device(ring)).collect()
        };
        for (number, length) in
            (0_u64..).zip([60, 1514, 61, 2036, 2037, 9000, 20_000, 1000, 4096, 60].repeat(5))
        {
            std::thread::sleep(Duration::from_millis(1));
            log.harvest();
            let (before, used) = (picture(b), b.ring(0).used_index());
            a.send(&frame(mac(2), mac(1), number, length));
            wait_until("the frame", LIMIT, || b.ring(0).used_index() != used);
            a.drain();
            std::thread::sleep(Duration::from_millis(1));
            // The worker may be about to mark what it has just written.
            let mut marked = BTreeSet::new();
            wait_until("all that was touched to be marked", LIMIT, || {
                let touched = changed(&before, &picture(b));
                marked.extend(log.harvest());
                touched.is_subset(&marked)
            });
            assert!(marked.is_subset(&queue_pages), "marked {marked:x?}, not all of the receive queue");
            // Not more than the frame, its header, and the used ring with its event.
            let most = length.div_ceil(PAGE as usize) + length.div_ceil(receive_bytes as usize) + 3;
            assert!(marked.len() <= most, "{} pages are marked for {length} bytes", marked.len());
            assert_eq!(number_of(&b.expect_frame("the frame").bytes), Some(number));
        }
    }
}

#[test]
fn a_completed_transmission_marks_the_used_ring_alone() {
    let daemon = Daemon::start(&two_ports());
    for options in [NicOptions::default(), NicOptions::default().packed()] {
        transmit_logged(&mut pair(&daemon, &options));
    }
}

fn transmit_logged([a, b]: &mut [Nic; 2]) {
    Flow::new(mac(2), mac(1)).carry(b, a, [60]);
    let log = Log::start(b);
    std::thread::sleep(Duration::from_millis(5));
    log.harvest();
    Flow::new(mac(2), mac(1)).carry(b, a, [60; 300]);
    b.transmit[0].drain();
    let (used, mut marked) = (written_by_device(b.ring(1)), BTreeSet::new());
    wait_until("the used ring to be marked", LIMIT, || {
        marked.extend(log.harvest());
        used.is_subset(&marked)
    });
    std::thread::sleep(Duration::from_millis(5));
    marked.extend(log.harvest());
    let receive = written_by_device(b.ring(0));
    assert!(marked.is_subset(&(&used | &receive)), "and nothing else: {marked:x?}");
}

#[test]
fn nothing_is_marked_before_logging_is_on_and_after_it_is_off() {
    let daemon = Daemon::start(&two_ports());
    let [a, b] = &mut pair(&daemon, &NicOptions::default());
    let log = Log::start(b);
    Flow::new(mac(1), mac(2)).carry(a, b, [60; 100]);
    assert!(!log.harvest().is_empty());
    b.session.take_features(b.options.features);
    // What was under way when it was turned off may still be marked.
    wait_until("logging to be off", LIMIT, || {
        log.harvest();
        Flow::new(mac(1), mac(2)).carry(a, b, [60]);
        Flow::new(mac(2), mac(1)).carry(b, a, [60]);
        log.harvest().is_empty()
    });
    Flow::new(mac(1), mac(2)).carry(a, b, [60; 100]);
    Flow::new(mac(2), mac(1)).carry(b, a, [60; 100]);
    assert_eq!(log.harvest(), BTreeSet::new());
}

#[test]
fn a_guest_copied_by_its_dirty_pages_under_load_is_the_same_at_the_end() {
    let daemon = Daemon::start(&two_ports());
    for options in [NicOptions::default(), NicOptions::default().packed()] {
        copy_under_load(&mut pair(&daemon, &NicOptions { queue_size: 1024, ..options }));
    }
}

fn copy_under_load([a, b]: &mut [Nic; 2]) {
    let log = Log::start(b);
    let sizes: Vec<u64> = b.memory.regions.iter().map(|region| region.size).collect();
    let copy = Memory::contiguous(&sizes);
    let transfer = |card: &Nic, pages: BTreeSet<u64>| {
        let mut bytes = [0; PAGE as usize];
        for page in pages {
            card.memory.read(page, &mut bytes);
            copy.write(page, &bytes);
        }
    };
    // Everything once, then what was marked, round after round, while frames come in.
    transfer(
        b,
        b.memory.regions.iter().flat_map(|region| pages_of(region.guest_address, region.size)).collect(),
    );
    let mut number = 0;
    for round in 0..200 {
        for _ in 0..100 {
            let length = 60 + (number * 37 % 1400) as usize;
            a.transmit[0].put(NetHeader::default(), &frame(mac(2), mac(1), number, length));
            number += 1;
        }
        a.transmit[0].ring.publish();
        transfer(b, log.harvest());
        while b.take().is_some() {}
        if round % 50 == 49 {
            b.collect(Duration::from_millis(10));
        }
    }
    let _ = (b.session.stop_ring(0), b.session.stop_ring(1));
    transfer(b, log.harvest());
    // The receive buffers are written by the switch alone; all else the hypervisor knows of.
    let buffers = &b.receive[0].buffers;
    let (mut here, mut there) = (vec![0; (buffers.count * buffers.bytes) as usize], Vec::new());
    there.resize(here.len(), 0);
    b.memory.read(buffers.first, &mut here);
    copy.read(buffers.first, &mut there);
    assert!(here == there, "the copy differs in the receive buffers");
    // In a packed ring the driver has written last, wherever the device had.
    if !b.ring(0).options.packed {
        assert_eq!(
            b.memory.load_u16(b.ring(0).used + 2),
            copy.load_u16(b.ring(0).used + 2),
            "the used index"
        );
    }
}

/// What a migration does in the end: the rings are stopped, and another switch goes on where they stood.
#[test]
fn rings_that_are_stopped_under_load_go_on_at_another_switch_and_nothing_is_lost() {
    let daemons = [Daemon::start(&two_ports()), Daemon::start(&two_ports())];
    for features in [EVENT_IDX, EVENT_IDX | RING_PACKED, RING_PACKED | IN_ORDER] {
        let options = NicOptions { features: MODERN | features, queue_size: 100, ..NicOptions::default() };
        let size = if features & RING_PACKED == 0 { 128 } else { options.queue_size };
        let [a, b] = &mut pair(&daemons[0], &NicOptions { queue_size: size, ..options });
        let mut number = 0;
        for round in 1..=40 {
            for _ in 0..50 {
                a.transmit[0].put(NetHeader::default(), &frame(mac(2), mac(1), number, 90));
                number += 1;
            }
            a.transmit[0].ring.publish();
            std::thread::sleep(Duration::from_micros(7 * round));
            for card in [&mut *a, &mut *b] {
                for index in [1, 0] {
                    let stood = card.session.stop_ring(index);
                    assert_eq!(stood, card.ring(index).used_index(), "it has completed what it took");
                }
            }
            let next = &daemons[round as usize % 2];
            for (card, port) in [(&mut *b, "b"), (&mut *a, "a")] {
                card.session = Session::negotiate(session::connect(&next.socket(port)));
                card.start();
            }
            for expected in number - 50..number {
                let received = b.expect_frame("a frame that was sent before or after the switch changed");
                assert_eq!(number_of(&received.bytes), Some(expected));
            }
        }
    }
}
