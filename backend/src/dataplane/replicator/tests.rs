//! Floods without a worker: rounds are counted, not timed.

mod forms;

use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use viaduct_switch::{
    Claims, Gso, GsoKind, Limits, NetworkSettings, PartialChecksum, PortPolicy, Priority, TakenTag, Trunk,
    VlanId, Volume,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net::{VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_MRG_RXBUF};

use super::*;
use crate::dataplane::build::build;
use crate::dataplane::{PortSetup, RingSetup};
use crate::memory::{GuestMemory, Region, RegionSpec};

const USER: u64 = 0x7000_0000;
const SIZE: u16 = 128;
const BUFFER_LEN: u64 = 2048;
/// Each port has its ring's parts and its buffers here.
const STRIDE: u64 = 0x4000 + SIZE as u64 * BUFFER_LEN;
const PLAIN: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_NET_F_MRG_RXBUF;
const CHECKSUMS: u64 = PLAIN | 1 << VIRTIO_NET_F_GUEST_CSUM;
const ALL: u64 = CHECKSUMS | 1 << VIRTIO_NET_F_GUEST_TSO4;

/// Ports whose guests only receive, in one file; port 0 is the source of most floods.
struct Herd {
    file: File,
    outlets: Vec<Option<Arc<Outlet>>>,
    offered: Vec<u16>,
    switch: Switch,
    memory: Arc<FloodMemory>,
    replicator: Replicator,
    workshop: Workshop,
    policy: Policy,
    /// What the tags of frames to come said.
    tag: Option<TakenTag>,
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

/// Ports of network 0, whose VLAN id is 5, of which some are trunks.
fn policy(count: usize, trunks: &[(usize, Trunk)]) -> Policy {
    let membership = |index| {
        let trunk = trunks.iter().find(|(trunk, _)| *trunk == index);
        trunk.map_or(PortPolicy::new(network(0), 1500), |(_, trunk)| PortPolicy::trunk(trunk.clone(), 1500))
    };
    let settings = NetworkSettings { vlan: VlanId::new(5), ..NetworkSettings::default() };
    Policy::compile((0..count).map(|index| (port(index), membership(index))), [(network(0), settings)])
        .unwrap()
}

/// A broadcast frame of `len` bytes, all of them `number`.
fn frame(number: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![number; len];
    bytes[..14].copy_from_slice(&[255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0]);
    bytes
}

impl Herd {
    /// As many ports as there are features, each with a full ring of buffers.
    fn with(features: &[u64], total: usize) -> Self {
        // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"herd".as_ptr(), libc::MFD_CLOEXEC)) };
        let size = STRIDE * features.len() as u64;
        file.set_len(size).unwrap();
        let spec = RegionSpec { guest_address: 0, size, user_address: USER, file_offset: 0 };
        let memory = GuestMemory::default().with(Region::map(&file, spec).unwrap()).unwrap();
        let outlet = |(index, features): (usize, &u64)| {
            let at = USER + index as u64 * STRIDE;
            let ring = RingSetup {
                index: 0,
                size: SIZE,
                base: 0,
                descriptor: at,
                available: at + 0x1000,
                used: at + 0x2000,
                used_log: None,
                kick: None,
                call: None,
                error: None,
            };
            let (port, features, memory) = (port(index), *features, memory.clone());
            let setup = PortSetup { port, features, memory, log: None, ledger: None, rings: vec![ring] };
            build(&setup, None).outlet.map(Arc::new)
        };
        let outlets: Vec<_> = features.iter().enumerate().map(outlet).collect();
        let memory = Arc::new(FloodMemory::of(total));
        let mut herd = Self {
            file,
            offered: vec![0; outlets.len()],
            outlets,
            switch: Switch::new(1, Limits::default()),
            replicator: Replicator::new(Arc::clone(&memory)),
            memory,
            workshop: Workshop::new(),
            policy: policy(features.len(), &[]),
            tag: None,
        };
        (0..features.len()).for_each(|index| herd.offer(index, SIZE));
        herd
    }

    fn new(count: usize) -> Self {
        Self::with(&vec![PLAIN; count], 64 << 20)
    }

    fn offer(&mut self, index: usize, count: u16) {
        let at = index as u64 * STRIDE;
        for _ in 0..count {
            let slot = self.offered[index] % SIZE;
            let buffer = at + 0x4000 + u64::from(slot) * BUFFER_LEN;
            let words = [buffer, BUFFER_LEN | 2 << 32].map(u64::to_le_bytes).concat();
            self.file.write_all_at(&words, at + u64::from(slot) * 16).unwrap();
            self.file.write_all_at(&slot.to_le_bytes(), at + 0x1004 + u64::from(slot) * 2).unwrap();
            self.offered[index] = self.offered[index].wrapping_add(1);
        }
        self.file.write_all_at(&self.offered[index].to_le_bytes(), at + 0x1002).unwrap();
    }

    fn word(&self, at: u64) -> u16 {
        let mut bytes = [0; 2];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        u16::from_le_bytes(bytes)
    }

    fn used(&self, index: usize) -> u16 {
        self.word(index as u64 * STRIDE + 0x2002)
    }

    /// The frames in the port's ring, with their headers; buffers of one frame are joined.
    fn received(&self, index: usize) -> Vec<Vec<u8>> {
        let at = index as u64 * STRIDE;
        let buffer = |slot: u64| {
            let mut element = [0; 8];
            self.file.read_exact_at(&mut element, at + 0x2004 + slot * 8).unwrap();
            let word = |at: usize| u32::from_le_bytes(element[at..at + 4].try_into().unwrap());
            let mut bytes = vec![0; word(4) as usize];
            self.file.read_exact_at(&mut bytes, at + 0x4000 + u64::from(word(0)) * BUFFER_LEN).unwrap();
            bytes
        };
        let (mut frames, mut slot) = (Vec::new(), 0);
        while slot < u64::from(self.used(index)) {
            let mut frame = buffer(slot);
            let buffers = u64::from(u16::from_le_bytes([frame[10], frame[11]]));
            (1..buffers).for_each(|more| frame.extend(buffer(slot + more)));
            frames.push(frame);
            slot += buffers;
        }
        frames
    }

    fn flood_with(&mut self, source: usize, bytes: &[u8], claims: Claims) -> bool {
        self.flood_to(source, 0..self.outlets.len(), bytes, claims)
    }

    fn flood_to(
        &mut self,
        source: usize,
        receivers: std::ops::Range<usize>,
        bytes: &[u8],
        claims: Claims,
    ) -> bool {
        let receivers: Vec<_> = receivers.map(port).collect();
        let length = u32::try_from(bytes.len()).unwrap();
        let mut meta = Metadata::new(port(source), length, claims);
        meta.tag = self.tag;
        // The head apart from the rest, as it comes from a ring.
        let (head, rest) = bytes.split_at(bytes.len().min(128));
        let len = u32::try_from(rest.len()).unwrap();
        let rest = [Segment { host: rest.as_ptr().cast_mut(), len }];
        self.replicator.take(&Flood {
            meta: &meta,
            network: network(0),
            head,
            rest: &rest,
            receivers: &receivers,
        })
    }

    fn flood(&mut self, source: usize, bytes: &[u8]) -> bool {
        self.flood_with(source, bytes, Claims::default())
    }

    /// One round: the receivers that were visited.
    fn round(&mut self) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut visited = |outlet: &Outlet, _: u16, _: &Outcome| seen.push(outlet.port.get());
        let (switch, outlets, workshop) = (&self.switch, &self.outlets, &mut self.workshop);
        let policy = &self.policy;
        let (shaping, now) = (&mut Shaping::new(0), Nanos::default());
        let mut receivers = Receivers { switch, policy, outlets, workshop, shaping, now, now_s: 0 };
        self.replicator.serve(&mut receivers, &mut visited);
        seen
    }

    /// Rounds until nothing waits.
    fn rounds(&mut self) -> usize {
        let mut rounds = 0;
        while !self.replicator.is_empty() {
            self.round();
            rounds += 1;
            assert!(rounds < 100_000, "it never ends");
        }
        rounds
    }

    /// Serves `first` first: how many visits that were, and what it cost.
    fn serve_first(&mut self, source: usize, first: impl IntoIterator<Item = usize>) -> (usize, i64) {
        let (switch, outlets, workshop) = (&self.switch, &self.outlets, &mut self.workshop);
        let policy = &self.policy;
        let (shaping, now) = (&mut Shaping::new(0), Nanos::default());
        let mut receivers = Receivers { switch, policy, outlets, workshop, shaping, now, now_s: 0 };
        let (mut visits, first) = (0, first.into_iter().map(port));
        let cost =
            self.replicator.serve_first(port(source), first, &mut receivers, &mut |_, _, _| visits += 1);
        (visits, cost)
    }

    fn drops(&self, index: usize, reason: DropReason) -> u64 {
        self.switch.counters().port(port(index)).drops(reason)
    }
}

fn numbers(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().map(|frame| frame[frame.len() - 1]).collect()
}

#[test]
fn every_receiver_gets_every_flood_in_order_and_the_source_none() {
    for count in [100, 1000] {
        let mut herd = Herd::new(count);
        let sent: Vec<_> = (0..40u8).map(|number| frame(number, 60 + usize::from(number) * 36)).collect();
        assert!(sent.iter().all(|frame| herd.flood(0, frame)));
        herd.rounds();
        assert_eq!(herd.used(0), 0);
        for index in 1..count {
            let received = herd.received(index);
            let bytes: Vec<_> = received.iter().map(|frame| &frame[12..]).collect();
            assert_eq!(bytes, sent, "port {index}");
            let counted = herd.switch.counters().port(port(index)).snapshot();
            let bytes = sent.iter().map(|frame| frame.len() as u64).sum();
            assert_eq!(counted.sent, Volume { frames: 40, bytes });
        }
        assert_eq!(herd.memory.taken(), 0);
    }
}

#[test]
fn a_receiver_without_buffers_loses_its_own_copies_only() {
    let mut herd = Herd::new(20);
    let last = 1300u16;
    // Port 7 has a ring of buffers and a backlog of 1000 frames, and offers no more.
    for round in 0..last {
        for index in (1..20).filter(|index| *index != 7 && round >= SIZE) {
            herd.offer(index, 1);
        }
        assert!(herd.flood(0, &frame(1, 60)));
        herd.rounds();
    }
    for index in (1..20).filter(|index| *index != 7) {
        assert_eq!(herd.used(index), last);
        assert_eq!(herd.drops(index, DropReason::NoBuffer), 0);
    }
    assert_eq!(herd.used(7), SIZE);
    assert_eq!(herd.drops(7, DropReason::NoBuffer), u64::from(last - SIZE - 1000));
}

#[test]
fn a_round_is_short_whatever_waits() {
    let mut herd = Herd::new(1000);
    for number in 0..100 {
        assert!(herd.flood(0, &frame(number, 1514)));
    }
    while !herd.replicator.is_empty() {
        let before: u64 = (1..1000).map(|index| u64::from(herd.used(index))).sum();
        let visits = herd.round().len();
        let after: u64 = (1..1000).map(|index| u64::from(herd.used(index))).sum();
        // A budget of 64 KiB, and at most one visit of 10 frames more.
        assert!(visits <= 64 && (after - before) * 1514 <= (64 << 10) + 10 * 1514, "{visits} visits");
    }
    // Small ones: what counts are the visits.
    herd.flood(0, &frame(1, 60));
    assert!(herd.round().len() <= 64);
}

#[test]
fn what_one_round_spends_too_much_the_next_ones_save() {
    let mut herd = Herd::new(20);
    assert!(herd.flood(0, &frame(1, 65_000)));
    let visits: Vec<usize> = (0..40).map(|_| herd.round().len()).collect();
    assert!(visits.iter().all(|visits| *visits <= 2), "{visits:?}");
    assert_eq!(visits.iter().sum::<usize>(), 19);
    // 19 visits of 66,024 bytes at 65,536 a round: one more round than visits.
    assert!(visits[..19].iter().sum::<usize>() < 20);
}

#[test]
fn a_source_with_much_waiting_does_not_hold_up_another() {
    let mut herd = Herd::new(1000);
    let mut flooded = 0;
    while herd.flood(0, &frame(1, 1514)) {
        flooded += 1;
    }
    assert!(flooded > 100, "the storm had room for {flooded} frames only");
    assert!(herd.flood(5, &frame(2, 60)));
    let mut rounds = 0;
    while herd.replicator.holds(port(5)) {
        herd.round();
        rounds += 1;
    }
    // Alone it takes 16 rounds; beside one other source not more than twice as many, and one visit a turn.
    assert!(rounds <= 16 * 2 + 6, "{rounds} rounds");
    assert!(herd.replicator.holds(port(0)));
}

#[test]
fn a_full_queue_refuses_the_flooder_alone_and_empties_again() {
    let mut herd = Herd::with(&[PLAIN; 12], 8 << 20);
    let fill = |herd: &mut Herd, source| (0..).take_while(|_| herd.flood(source, &frame(1, 60))).count();
    let first = fill(&mut herd, 0);
    assert!((400..=512).contains(&first), "{first}");
    assert!(!herd.flood(0, &frame(1, 60)));
    for source in 1..12 {
        assert!(fill(&mut herd, source) > 0, "port {source} found no room");
    }
    assert!(!herd.flood(0, &vec![0; 66_049]), "longer than any frame");
    herd.rounds();
    assert_eq!(herd.memory.taken(), 0);
    assert!(herd.flood(0, &frame(1, 60)));
}

#[test]
fn a_port_that_goes_away_costs_its_own_copies_and_one_that_comes_back_gets_the_rest() {
    let mut herd = Herd::new(100);
    for number in 0..20 {
        herd.flood(0, &frame(number, 1000));
    }
    herd.round();
    let gone = herd.outlets[99].take();
    let source = herd.outlets[0].take();
    while herd.replicator.sources[0].batches.len() > 1 {
        herd.round();
    }
    herd.outlets[99] = gone;
    drop(source);
    herd.rounds();
    assert_eq!(numbers(&herd.received(98)), (0..20).collect::<Vec<_>>());
    assert_eq!(numbers(&herd.received(99)), [16, 17, 18, 19]);
    assert_eq!(herd.memory.taken(), 0);
}

#[test]
fn nobody_gets_a_frame_of_a_network_that_it_left() {
    let policy = |networks: [usize; 12]| {
        let ports = networks.into_iter().enumerate();
        let ports = ports.map(|(index, of)| (port(index), PortPolicy::new(network(of), 1500)));
        Policy::compile(ports, [0, 1].map(|index| (network(index), NetworkSettings::default()))).unwrap()
    };
    let mut herd = Herd::new(12);
    herd.flood(0, &frame(1, 60));
    let mut after = [0; 12];
    after[3] = 1;
    herd.replicator.keep_to(&policy(after));
    herd.rounds();
    assert_eq!((1..12).map(|index| herd.used(index)).collect::<Vec<_>>(), [1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
    // The source itself leaves: nobody was reached.
    herd.flood(0, &frame(2, 60));
    let mut left = after;
    left[0] = 1;
    herd.replicator.keep_to(&policy(left));
    herd.rounds();
    assert_eq!((1..12).map(|index| herd.used(index)).sum::<u16>(), 10);
    assert_eq!(herd.drops(0, DropReason::NoReceiver), 1);
    assert_eq!(herd.memory.taken(), 0);
}

#[test]
fn a_flood_that_meets_no_running_driver_is_counted_once_a_frame() {
    let mut herd = Herd::new(30);
    herd.outlets[1..].iter_mut().for_each(|outlet| *outlet = None);
    (0..3).for_each(|_| assert!(herd.flood(0, &frame(1, 60))));
    herd.rounds();
    assert_eq!(herd.drops(0, DropReason::NoReceiver), 3);
}

#[test]
fn frames_of_one_station_are_not_overtaken_when_its_port_becomes_known() {
    let mut herd = Herd::new(200);
    let mut unknown = frame(1, 60);
    unknown[0] = 2;
    herd.flood(0, &frame(0, 1500));
    herd.flood(0, &unknown);
    herd.flood(0, &frame(2, 16_000));
    assert!(herd.replicator.holds_unicast(port(0)) && !herd.replicator.holds_unicast(port(1)));
    herd.serve_first(0, [150]);
    assert_eq!(numbers(&herd.received(150)), [0, 1, 2]);
    assert_eq!(herd.used(149), 0);
    herd.rounds();
    assert!(!herd.replicator.holds_unicast(port(0)));
    for index in 1..200 {
        assert_eq!(numbers(&herd.received(index)), [0, 1, 2], "port {index}");
    }
}

/// Floods for two sets of receivers in turn make a batch of each frame.
fn fill_with_batches(herd: &mut Herd, source: usize) -> usize {
    let count = herd.outlets.len();
    let mut unknown = frame(7, 60);
    unknown[0] = 2;
    (0..).take_while(|turn| herd.flood_to(source, 0..count - turn % 2, &unknown, Claims::default())).count()
}

#[test]
fn frames_that_go_first_cost_a_burst_little_however_many_wait() {
    let mut herd = Herd::new(1000);
    let batches = fill_with_batches(&mut herd, 0);
    assert!(batches > 150 && herd.replicator.sources[0].batches.len() == batches, "{batches} batches");
    // 64 stations on as many ports: 64 times as many visits as there are batches.
    let (visits, cost) = herd.serve_first(0, 1..65);
    // The last visit may go beyond by its frames.
    assert!(cost <= FIRST_BUDGET + LOOKUP_COST + 1024 + 60, "{cost}");
    assert!(visits <= 64, "{visits} visits");
    // A look that finds nothing costs, too: once all of port 500's are served, bursts for it look in vain.
    while herd.serve_first(0, [500]).0 > 0 {}
    let (visits, cost) = herd.serve_first(0, std::iter::repeat_n(500, 64));
    assert_eq!(visits, 0);
    assert!((FIRST_BUDGET..FIRST_BUDGET + LOOKUP_COST).contains(&cost), "{cost}");
    // What was served is not served again, and the rest comes.
    herd.rounds();
    for index in [1, 500, 998] {
        assert_eq!(usize::from(herd.used(index)), batches.min(usize::from(SIZE)), "port {index}");
    }
    assert_eq!(herd.memory.taken(), 0);
}

#[test]
fn frames_that_go_first_are_paid_for_by_their_own_source() {
    let mut herd = Herd::new(1000);
    fill_with_batches(&mut herd, 0);
    assert!(herd.flood(5, &frame(2, 60)));
    let (mut rounds, mut next) = (0, 1);
    while herd.replicator.holds(port(5)) {
        // Each round the other one has as much served first as he may.
        herd.serve_first(0, next..next + 64);
        next = next % 900 + 64;
        herd.round();
        rounds += 1;
        assert!(rounds < 1000, "the neighbour's flood is starved");
    }
    // Alone it takes 17 rounds.
    assert!(rounds <= 24, "{rounds} rounds");
    assert!(herd.replicator.holds(port(0)));
}

#[test]
fn receivers_that_hoard_frames_and_take_them_all_at_once_hold_up_no_round() {
    let mut herd = Herd::new(100);
    // Rings of 128 buffers take four of these, and each backlog 16 more.
    for number in 0..20 {
        herd.flood(0, &frame(number, 65_000));
        herd.rounds();
    }
    for index in 1..100 {
        herd.offer(index, SIZE);
    }
    let bytes = |herd: &Herd| {
        let sent = |index| herd.switch.counters().port(port(index)).snapshot().sent.bytes;
        (1..100).map(sent).sum::<u64>()
    };
    herd.flood(0, &frame(99, 60));
    while !herd.replicator.is_empty() {
        let before = bytes(&herd);
        herd.round();
        // One visit that moves 128 KiB and the rest of a frame spends all of the round's budget.
        let moved = bytes(&herd) - before;
        assert!(moved <= (128 << 10) + 65_000 + 64 * 60, "{moved} bytes in one round");
    }
}
