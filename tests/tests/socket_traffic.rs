//! Frames between two ports, through rings of every shape: each arrives once, in order and unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::time::{Duration, Instant};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{
    ANY_LAYOUT, EVENT_IDX, IN_ORDER, INDIRECT_DESC, MODERN, MQ, MRG_RXBUF, RING_PACKED, VERSION_1,
};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::memory::{Memory, Region, memfd};
use viaduct_tests::driver::message::{Message, request};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::queue::Layout;
use viaduct_tests::driver::ring::Piece;
use viaduct_tests::driver::session::{self, Session};
use viaduct_tests::lab::{FRAME_MAX, network, pair, two_ports};
use viaduct_tests::stream::{Flow, frame, mac, number_of};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// Short ones, the sizes around every border that is known, long ones.
fn all_sizes() -> Vec<usize> {
    let mut sizes: Vec<usize> = (60..200).collect();
    for border in [512, 1500, 1514, 1518, 2036, 2048, 4096, 9014, 16_384, 32_768, FRAME_MAX - 2] {
        sizes.extend(border - 2..=border + 2);
    }
    sizes
}

/// Cards as they are, with split and with packed rings.
fn both_layouts() -> [NicOptions; 2] {
    [NicOptions::default(), NicOptions::default().packed()]
}

/// Both directions, each with its own numbers.
struct Both {
    forth: Flow,
    back: Flow,
}

impl Both {
    fn new() -> Self {
        Self { forth: Flow::new(A, B), back: Flow::new(B, A) }
    }

    fn carry(&mut self, [a, b]: &mut [Nic; 2], lengths: &[usize]) {
        self.forth.carry(a, b, lengths.iter().copied());
        self.back.carry(b, a, lengths.iter().copied());
    }
}

/// What one combination of features makes of the options.
fn options_for(bits: u32) -> NicOptions {
    let on = |bit: u32, feature: u64| if bits & (1 << bit) != 0 { feature } else { 0 };
    let features = on(0, VERSION_1)
        | on(1, MRG_RXBUF)
        | on(2, INDIRECT_DESC)
        | on(3, EVENT_IDX)
        | on(4, IN_ORDER)
        | on(5, RING_PACKED)
        | ANY_LAYOUT;
    let receive_bytes = if features & MRG_RXBUF != 0 { 2048 } else { FRAME_MAX as u64 + 12 };
    let indirect = features & INDIRECT_DESC != 0;
    NicOptions {
        features,
        receive_bytes,
        send_bytes: FRAME_MAX as u64 + 12,
        send_buffers: 64,
        send_layout: Layout { cuts: vec![10, 50, 1400], indirect },
        receive_layout: Layout { cuts: if indirect { vec![12, 100] } else { vec![] }, indirect },
        ..NicOptions::default()
    }
}

#[test]
fn every_combination_of_ring_features_carries_every_size() {
    let daemon = Daemon::start(&two_ports());
    for bits in (0..64).filter(|bits| bits & 0b10_0001 != 0b10_0000) {
        eprintln!(
            "VERSION_1, MRG_RXBUF, INDIRECT, EVENT_IDX, IN_ORDER, PACKED = {bits:06b} (from the right)"
        );
        Both::new().carry(&mut pair(&daemon, &options_for(bits)), &all_sizes());
    }
    let state = daemon.show();
    assert_eq!(state.port("a").dropped_in_all() + state.port("b").dropped_in_all(), 0, "{state:?}");
}

#[test]
fn drivers_with_different_features_understand_one_another() {
    let daemon = Daemon::start(&two_ports());
    let receive_all = FRAME_MAX as u64 + 12;
    let legacy = NicOptions {
        features: 0,
        receive_bytes: receive_all,
        send_bytes: receive_all,
        ..NicOptions::default()
    };
    let modern = NicOptions { send_bytes: receive_all, ..NicOptions::default() };
    let mut cards = [Nic::connect(&daemon.socket("a"), &legacy), Nic::connect(&daemon.socket("b"), &modern)];
    Both::new().carry(&mut cards, &all_sizes());
    drop(cards);
    // A legacy driver and one with packed rings.
    let mut cards =
        [Nic::connect(&daemon.socket("a"), &legacy), Nic::connect(&daemon.socket("b"), &modern.packed())];
    Both::new().carry(&mut cards, &all_sizes());
}

#[test]
fn queues_of_every_size_from_1_to_32768_carry_frames_past_the_wrap_of_the_index() {
    let daemon = Daemon::start(&two_ports());
    for shift in 0..=15_u32 {
        let size = 1_u16 << shift;
        eprintln!("queue size {size}");
        let features = MODERN | INDIRECT_DESC | if shift % 2 == 0 { EVENT_IDX } else { 0 };
        carry_past_the_wrap(&daemon, size, features);
    }
}

/// A packed ring may have any size (virtio 1.2, 2.8.10.1).
#[test]
fn packed_queues_of_odd_sizes_carry_frames_past_many_wraps() {
    let daemon = Daemon::start(&two_ports());
    for size in [1, 2, 3, 5, 7, 64, 65, 100, 255, 1000, 4097, 32_767, 32_768] {
        eprintln!("queue size {size}");
        for optional in [0, EVENT_IDX, IN_ORDER, EVENT_IDX | IN_ORDER] {
            carry_past_the_wrap(&daemon, size, MODERN | INDIRECT_DESC | RING_PACKED | optional);
        }
    }
}

fn carry_past_the_wrap(daemon: &Daemon, size: u16, features: u64) {
    let options = NicOptions { features, queue_size: size, send_buffers: 32_768, ..NicOptions::default() };
    let count = if size == 1 || size >= 1024 { 3 * usize::from(size) + 200 } else { 2_000 };
    let mut flow = Flow::new(A, B);
    flow.window = usize::from(size);
    let [a, b] = &mut pair(daemon, &options);
    flow.carry(a, b, (0..count).map(|index| 60 + index % 1400));
}

#[test]
fn the_indices_of_a_ring_wrap_and_nobody_notices() {
    let daemon = Daemon::start(&two_ports());
    for size in [64, 1024] {
        let options = NicOptions { queue_size: size, send_buffers: 1024, ..NicOptions::default() };
        let [a, b] = &mut pair(&daemon, &options);
        Flow::new(A, B).carry(a, b, std::iter::repeat_n(60, 150_000));
        a.transmit[0].drain();
        let wrapped = (150_000_u32 % 65_536) as u16;
        assert_eq!((a.ring(1).used_index(), b.ring(0).used_index()), (wrapped, wrapped));
    }
}

#[test]
fn buffers_that_cross_memory_regions_are_read_and_written_whole() {
    let daemon = Daemon::start(&two_ports());
    for (region_bytes, receive_bytes, features) in [
        (64 * 1024, 2048 - 40, MODERN),
        (128 * 1024, FRAME_MAX as u64 + 12, VERSION_1),
        (8 * 1024, 1999, MODERN | INDIRECT_DESC),
        (64 * 1024, 2048 - 40, MODERN | RING_PACKED),
        (8 * 1024, 1999, MODERN | INDIRECT_DESC | RING_PACKED),
    ] {
        let small = region_bytes < 10_000;
        let options = NicOptions {
            features,
            receive_bytes,
            queue_size: if small { 128 } else { 64 },
            send_bytes: FRAME_MAX as u64 + 12,
            send_buffers: if small { 20 } else { 64 },
            send_layout: Layout { cuts: vec![7, 20, 4096], indirect: features & INDIRECT_DESC != 0 },
            region_bytes: Some(region_bytes),
            ..NicOptions::default()
        };
        let mut cards = pair(&daemon, &options);
        eprintln!("{} regions of {region_bytes} bytes", cards[0].memory.regions.len());
        Both::new().carry(&mut cards, &all_sizes());
        Both::new().carry(&mut cards, &[FRAME_MAX; 100]);
    }
    let state = daemon.show();
    assert_eq!(state.port("a").dropped_in_all() + state.port("b").dropped_in_all(), 0, "{state:?}");
}

#[test]
fn a_frame_in_many_small_pieces_arrives_whole() {
    let daemon = Daemon::start(&two_ports());
    let header_in_pieces = vec![1, 2, 3, 4, 2, 5, 1, 8, 6, 9, 1, 1, 30, 500];
    for (indirect, packed) in [(false, 0), (true, 0), (false, RING_PACKED), (true, RING_PACKED)] {
        let layout = Layout { cuts: header_in_pieces.clone(), indirect };
        let options = NicOptions {
            features: MODERN | INDIRECT_DESC | packed,
            send_layout: layout.clone(),
            receive_layout: layout,
            receive_bytes: 4096,
            send_bytes: 16_384,
            ..NicOptions::default()
        };
        let sizes: Vec<usize> = (60..1600).step_by(7).chain([4000, 4096, 8000, 16_000]).collect();
        Both::new().carry(&mut pair(&daemon, &options), &sizes);
    }
}

#[test]
fn a_queue_can_be_reset_and_started_again_at_any_moment() {
    let daemon = Daemon::start(&two_ports());
    for options in both_layouts() {
        reset_queues(&mut pair(&daemon, &options));
    }
}

fn reset_queues(cards: &mut [Nic; 2]) {
    let mut both = Both::new();
    for round in 0..100 {
        let number = 1_000_000 + round;
        for extra in 0..round % 40 {
            cards[0].send(&frame(B, A, number + extra, 600));
            cards[1].send(&frame(A, B, number + extra, 70));
        }
        // Of what was under way some arrived and some is forgotten with the queue; nothing of it stays behind.
        cards[(round % 2) as usize].reset_ring((round / 2 % 2) as usize);
        for card in &mut *cards {
            card.collect(Duration::from_millis(10));
        }
        both.carry(cards, &[60, 1000, 1514]);
    }
}

#[test]
fn a_device_can_be_reset_and_its_driver_start_again_under_traffic() {
    let daemon = Daemon::start(&two_ports());
    for options in both_layouts() {
        reset_device(&mut pair(&daemon, &options));
    }
}

fn reset_device([a, b]: &mut [Nic; 2]) {
    for round in 0..30 {
        for number in 0..round {
            b.send(&frame(A, B, number, 300));
        }
        assert!(a.session.accepts(&Message::new(request::RESET_DEVICE)));
        a.receive[0].reset();
        a.transmit[0].reset();
        a.start();
        a.collect(Duration::from_millis(5));
        Flow::new(A, B).carry(a, b, [60, 1514, 700]);
        Flow::new(B, A).carry(b, a, [60, 1514, 700]);
    }
}

#[test]
fn four_queue_pairs_carry_each_its_own_flow_in_order() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], "queues = 4"));
    let options = NicOptions { features: MODERN | EVENT_IDX | MQ, queue_pairs: 4, ..NicOptions::default() };
    let [a, b] = &mut pair(&daemon, &options);
    assert_eq!(a.session.queue_pairs, 4);
    let mut next = [0_u64; 4];
    for _ in 0..50 {
        for (queue, next) in next.iter_mut().enumerate() {
            for _ in 0..40 {
                a.transmit[queue].put(NetHeader::default(), &frame(B, mac(queue as u32), *next, 90));
                *next += 1;
            }
            a.transmit[queue].ring.publish();
        }
        expect_flows(b, &next);
    }
    Flow::new(B, A).carry(b, a, [60; 100]);
}

/// Takes the 40 frames of each of the four flows that end before `next`, whatever queue they come from.
fn expect_flows(card: &mut Nic, next: &[u64; 4]) {
    let mut expected = next.map(|next| next - 40);
    for _ in 0..160 {
        let received = card.expect_frame("160 frames of four flows");
        let number = number_of(&received.bytes).expect("only numbered frames are here");
        let flow = usize::from(received.bytes[11]);
        assert_eq!(number, expected[flow], "flow {flow} keeps its order");
        expected[flow] += 1;
    }
    assert_eq!(expected, *next);
}

#[test]
fn replies_come_back_on_the_queue_pair_that_sent() {
    for queue_pairs in [2_u16, 4] {
        let daemon = Daemon::start(&network("lab", &["a", "b"], "queues = 4"));
        let features = MODERN | EVENT_IDX | MQ;
        let [a, b] = &mut pair(&daemon, &NicOptions { features, queue_pairs, ..NicOptions::default() });
        let pair_of = |flow: u64| usize::try_from(flow).expect("small") % usize::from(queue_pairs);
        let station = |flow: u64| mac(0x100 + flow as u32);
        for flow in 0..16 {
            let transmit = &mut a.transmit[pair_of(flow)];
            transmit.put(NetHeader::default(), &frame(B, station(flow), flow, 90));
            transmit.ring.publish();
            b.expect_frame("a flow's first frame");
        }
        (0..16).for_each(|flow| b.send(&frame(station(flow), B, flow, 90)));
        let (mut came, mut right) = (0, 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        while came < 16 {
            assert!(Instant::now() < deadline, "{came} of 16 replies came");
            for (queue, receive) in a.receive.iter_mut().enumerate() {
                while let Some(received) = receive.take() {
                    let flow = number_of(&received.bytes).expect("only numbered frames are here");
                    came += 1;
                    right += u32::from(queue == pair_of(flow));
                }
            }
        }
        // Two flows may share a place of the port's table; then one goes by its hash.
        assert!(right >= 12, "{right} of 16 came on the pair that sent");
    }
}

#[test]
fn every_way_of_waiting_and_several_workers_carry_frames_in_order() {
    for switch in [
        "polling = \"busy\"",
        "polling = \"interrupt\"",
        "cpus = [0, 1]",
        "cpus = [1, 0]\npolling = \"busy\"",
    ] {
        eprintln!("{switch}");
        let daemon = Daemon::start_with(switch, &network("lab", &["a", "b"], "queues = 4"));
        let features = MODERN | EVENT_IDX | MQ;
        let [a, b] = &mut pair(&daemon, &NicOptions { features, queue_pairs: 4, ..NicOptions::default() });
        for round in 1..=30 {
            for queue in 0..4 {
                for number in 40 * (round - 1)..40 * round {
                    a.transmit[queue].put(NetHeader::default(), &frame(B, mac(queue as u32), number, 90));
                }
                a.transmit[queue].ring.publish();
            }
            expect_flows(b, &[40 * round; 4]);
        }
        assert_eq!(daemon.show().workers.len(), if switch.starts_with("cpus") { 2 } else { 1 });
    }
}

#[test]
fn a_port_that_connects_carries_frames_like_one_that_listens() {
    let client = "[port.c]\nnetwork = \"lab\"\nrole = \"client\"\n";
    let daemon = Daemon::start(&format!("{}{client}", network("lab", &["a"], "")));
    for round in 0..3 {
        let listener = session::listen(&daemon.socket("c"));
        let mut c = Nic::over(session::accept(&listener), &NicOptions::default());
        let mut a = Nic::connect(&daemon.socket("a"), &NicOptions::default());
        eprintln!("connection {round}");
        Flow::new(A, B).carry(&mut a, &mut c, 60..600);
        Flow::new(B, A).carry(&mut c, &mut a, 60..600);
    }
}

#[test]
fn rings_without_kick_and_call_descriptors_are_polled() {
    let daemon = Daemon::start(&two_ports());
    for options in both_layouts() {
        let options = NicOptions { polled: true, kickless: true, ..options };
        let cards = &mut pair(&daemon, &options);
        Both::new().carry(cards, &[60, 600, 1514, 61, 62]);
    }
}

#[test]
fn notifications_can_be_suppressed_and_never_get_lost() {
    let daemon = Daemon::start(&two_ports());
    for optional in [0, EVENT_IDX, RING_PACKED, EVENT_IDX | RING_PACKED] {
        let features = MODERN | optional;
        let [a, b] = &mut pair(&daemon, &NicOptions { features, ..NicOptions::default() });
        // One frame at a time with a pause: the switch goes to sleep in between, and has to be woken by the kick.
        for (number, pause_us) in (0..400_u64).zip([0, 20, 60, 100, 400, 2000].into_iter().cycle()) {
            a.send(&frame(B, A, number, 60));
            let start = Instant::now();
            let received = b.expect_frame("one frame after a pause");
            assert_eq!(number_of(&received.bytes), Some(number));
            assert!(start.elapsed() < Duration::from_millis(500), "woken late: {:?}", start.elapsed());
            std::thread::sleep(Duration::from_micros(pause_us));
        }
        b.receive[0].ring.refuse_calls();
        a.send(&frame(B, A, 1_000, 60));
        wait_until("a frame without a call where none is wanted", Duration::from_secs(5), || {
            b.take().is_some()
        });
    }
}

#[test]
fn all_509_memory_slots_come_and_go_under_load_and_their_memory_is_used() {
    let daemon = Daemon::start(&two_ports());
    let [mut a, mut b] = pair(&daemon, &NicOptions::default());
    assert_eq!(a.session.memory_slots, 509);
    let mut flow = Flow::new(A, B);
    let mut slots = Vec::new();
    let mut at = a.memory.regions.last().map(|last| last.guest_address + last.size).unwrap();
    for index in 1..509_u64 {
        let region = Region::sealed(at, 8192, 0x10_0000_0000 + index * 0x10_0000);
        a.session.add_region(&region);
        at += 8192;
        slots.push(region);
        flow.carry(&mut a, &mut b, [60, 1514]);
    }
    let full = session::region_message(request::ADD_MEM_REG, at, 8192, 0x50_0000_0000, 0);
    let one_more = memfd(8192);
    assert!(!a.session.accepts(&full.descriptor(&one_more)), "slot 510 is refused");
    let (mut a, mut slots) = after_refusal(&daemon, a, slots);
    send_across_slots(&mut a, &mut b, &mut slots);
    while let Some(region) = slots.pop() {
        a.session.remove_region(&region);
        flow.carry(&mut a, &mut b, [60, 1514]);
    }
}

/// A refusal may cost the connection; then everything is there again after a new one.
fn after_refusal(daemon: &Daemon, mut a: Nic, slots: Vec<Region>) -> (Nic, Vec<Region>) {
    if !a.session.is_alive() {
        a.resume(session::connect(&daemon.socket("a")));
        for region in &slots {
            a.session.add_region(region);
        }
    }
    (a, slots)
}

/// A frame that lies across all of the added slots' borders.
fn send_across_slots(a: &mut Nic, b: &mut Nic, slots: &mut Vec<Region>) {
    a.transmit[0].drain();
    let first = slots[0].guest_address;
    let others = Memory::of(std::mem::take(slots));
    for number in 0..100_u64 {
        let bytes = frame(B, A, number, 1514);
        let address = first + 8192 * (number + 1) - 700;
        others.write(address, &[0; 12]);
        others.write(address + 12, &bytes);
        let piece = Piece { address, length: 12 + 1514, writable: false };
        assert!(a.transmit[0].ring.add(&[piece], None, 0));
        a.transmit[0].ring.publish();
        let received = b.expect_frame("a frame across two slots");
        assert_eq!(number_of(&received.bytes), Some(number));
        assert!(
            a.transmit[0].ring.wait_used(Duration::from_secs(5)) && a.transmit[0].ring.take_used().is_some()
        );
    }
    *slots = others.regions;
}

#[test]
fn the_vhost_crate_and_the_port_agree_on_what_is_offered() {
    let daemon = Daemon::start(&network("lab", &["a"], "queues = 3"));
    let session = Session::negotiate(session::connect(&daemon.socket("a")));
    assert_eq!((session.queue_pairs, session.memory_slots), (3, 509));
    let protocol = 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 13 | 1 << 15 | 1 << 16;
    assert_eq!(
        session.protocol & protocol,
        protocol,
        "MQ, RARP, REPLY_ACK, NET_MTU, RESET_DEVICE, SLOTS, STATUS"
    );
}
