//! A whole network card of a guest: session, memory, queue pairs.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::features::{EVENT_IDX, IN_ORDER, INDIRECT_DESC, MODERN, MRG_RXBUF, RING_PACKED, VERSION_1};
use super::header::NetHeader;
use super::memory::Memory;
use super::message::{Message, request};
use super::packed::Place;
use super::queue::{Layout, ReceiveQueue, Received, TransmitQueue, buffers_bytes, share, take_buffers};
use super::ring::{Ring, RingOptions};
use super::session::{self, Session};

/// The virtio device's DRIVER_OK with all that comes before it (virtio 1.2, 2.1).
const STATUS_RUNNING: u64 = 0xf;
/// How long a frame that has to come may take.
const FRAME_LIMIT: Duration = Duration::from_secs(5);
/// Spare memory of a guest, for what a test puts beside rings and buffers.
const SPARE_BYTES: u64 = 64 * 1024;

/// How a card is to be driven.
#[derive(Clone, Debug)]
pub struct NicOptions {
    /// Virtio features that the driver takes.
    pub features: u64,
    /// Entries of each ring.
    pub queue_size: u16,
    /// Queue pairs.
    pub queue_pairs: u16,
    /// Bytes of a receive buffer, header included.
    pub receive_bytes: u64,
    /// Bytes of a send buffer, header included.
    pub send_bytes: u64,
    /// Send buffers, at most a ring's entries.
    pub send_buffers: u64,
    /// How receive buffers are cut.
    pub receive_layout: Layout,
    /// How sent frames are cut.
    pub send_layout: Layout,
    /// Buffers lie in regions of this size, and cross them; otherwise all memory is one region.
    pub region_bytes: Option<u64>,
    /// No call descriptors: the driver looks at the used rings.
    pub polled: bool,
    /// No kick descriptors: the switch looks at the available rings.
    pub kickless: bool,
}

impl Default for NicOptions {
    fn default() -> Self {
        Self {
            features: MODERN | EVENT_IDX,
            queue_size: 256,
            queue_pairs: 1,
            receive_bytes: 2048,
            send_bytes: 2048,
            send_buffers: 256,
            receive_layout: Layout::default(),
            send_layout: Layout::default(),
            region_bytes: None,
            polled: false,
            kickless: false,
        }
    }
}

impl NicOptions {
    /// Bytes of the header before each frame (virtio 1.2, 5.1.6: legacy drivers without merging have 10).
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        if self.features & (VERSION_1 | MRG_RXBUF) == 0 { 10 } else { 12 }
    }

    /// With frames of up to `bytes` in one buffer, both ways.
    #[must_use]
    pub fn with_frames_of(mut self, bytes: u64) -> Self {
        self.receive_bytes = bytes + 12;
        self.send_bytes = bytes + 12;
        self
    }

    /// With packed rings.
    #[must_use]
    pub fn packed(mut self) -> Self {
        self.features |= RING_PACKED;
        self
    }

    fn ring(&self) -> RingOptions {
        RingOptions {
            size: self.queue_size,
            event_index: self.features & EVENT_IDX != 0,
            in_order: self.features & IN_ORDER != 0,
            packed: self.features & RING_PACKED != 0,
        }
    }

    fn receive_buffers(&self) -> u64 {
        let each = if self.receive_layout.indirect { 1 } else { self.receive_layout.pieces_max() };
        u64::from(self.queue_size) / each
    }

    fn send_buffers(&self) -> u64 {
        self.send_buffers.min(u64::from(self.queue_size))
    }

    fn check(&self) {
        let indirect = self.receive_layout.indirect || self.send_layout.indirect;
        assert!(!indirect || self.features & INDIRECT_DESC != 0, "indirect chains need INDIRECT_DESC");
        assert!(self.receive_buffers() > 0, "a ring of {} takes no receive buffer", self.queue_size);
    }

    fn memory(&self) -> Memory {
        let rings = 2 * u64::from(self.queue_pairs) * (Ring::bytes(self.queue_size) + 4096);
        let receive = buffers_bytes(self.receive_buffers(), self.receive_bytes, &self.receive_layout);
        let send = buffers_bytes(self.send_buffers(), self.send_bytes, &self.send_layout);
        let buffers = u64::from(self.queue_pairs) * (receive + send) + SPARE_BYTES;
        let page = |bytes: u64| bytes.next_multiple_of(4096);
        match self.region_bytes {
            None => Memory::contiguous(&[page(rings) + page(buffers)]),
            Some(each) => {
                let mut sizes = vec![page(rings)];
                sizes.extend((0..buffers.div_ceil(each)).map(|_| each));
                Memory::contiguous(&sizes)
            }
        }
    }
}

/// A guest's network card that runs on a port.
pub struct Nic {
    /// Its connection.
    pub session: Session,
    /// Its memory.
    pub memory: Arc<Memory>,
    /// How it is driven.
    pub options: NicOptions,
    /// Guest address of 64 KiB that nothing uses.
    pub spare: u64,
    /// One a queue pair.
    pub receive: Vec<ReceiveQueue>,
    /// One a queue pair.
    pub transmit: Vec<TransmitQueue>,
}

impl Nic {
    /// Connects to the port that listens at `path` and starts everything.
    #[must_use]
    pub fn connect(path: &Path, options: &NicOptions) -> Self {
        Self::over(session::connect(path), options)
    }

    /// Starts everything over a connection that is there.
    #[must_use]
    pub fn over(stream: UnixStream, options: &NicOptions) -> Self {
        let mut nic = Self::prepared(stream, options);
        nic.start();
        nic
    }

    /// Negotiated, with memory and rings that the switch does not know yet.
    #[must_use]
    pub fn prepared(stream: UnixStream, options: &NicOptions) -> Self {
        options.check();
        let session = Session::negotiate(stream);
        let mut memory = options.memory();
        let rings: Vec<u64> = (0..2 * options.queue_pairs)
            .map(|_| memory.allocate_within_region(Ring::bytes(options.queue_size), 4096))
            .collect();
        let send = options.send_buffers();
        let mut take = |count, bytes, layout| take_buffers(&mut memory, count, bytes, layout);
        let buffers: Vec<_> = (0..options.queue_pairs)
            .map(|_| {
                (
                    take(options.receive_buffers(), options.receive_bytes, &options.receive_layout),
                    take(send, options.send_bytes, &options.send_layout),
                )
            })
            .collect();
        let spare = memory.allocate(SPARE_BYTES / 2, 16);
        let memory = share(memory);
        let ring = |index: usize| {
            let mut ring = Ring::new(Arc::clone(&memory), rings[index], options.ring());
            ring.polled = options.polled;
            ring.kickless = options.kickless;
            ring
        };
        let (header, mergeable) = (options.header_bytes(), options.features & MRG_RXBUF != 0);
        let mut nic = Self {
            session,
            memory: Arc::clone(&memory),
            options: options.clone(),
            spare,
            receive: Vec::new(),
            transmit: Vec::new(),
        };
        for (pair, (receive, send)) in buffers.into_iter().enumerate() {
            nic.receive.push(ReceiveQueue::new(ring(2 * pair), receive, header, mergeable));
            nic.transmit.push(TransmitQueue::new(ring(2 * pair + 1), send, header));
        }
        nic
    }

    /// Bytes at [`Nic::spare`].
    pub const SPARE_BYTES: u64 = SPARE_BYTES / 2;

    /// The ring with the number `index` as the protocol counts them.
    #[must_use]
    pub fn ring(&self, index: usize) -> &Ring {
        if is_receive(index) { &self.receive[index / 2].ring } else { &self.transmit[index / 2].ring }
    }

    /// Tells the switch features, memory and rings, and offers the receive buffers.
    pub fn start(&mut self) {
        self.start_at(Ring::used_index);
    }

    fn start_at(&mut self, base: fn(&Ring) -> u16) {
        self.session.take_features(self.options.features);
        self.session.share_memory(&self.memory);
        for index in 0..2 * usize::from(self.options.queue_pairs) {
            self.start_ring_at(index, base(self.ring(index)));
        }
        assert!(self.session.accepts(&Message::new(request::SET_STATUS).u64(STATUS_RUNNING)), "SET_STATUS");
    }

    /// Starts ring `index` where its used index stands, as QEMU does.
    pub fn start_ring(&mut self, index: usize) {
        self.start_ring_at(index, self.ring(index).used_index());
    }

    fn start_ring_at(&mut self, index: usize, base: u16) {
        let ring =
            if is_receive(index) { &self.receive[index / 2].ring } else { &self.transmit[index / 2].ring };
        self.session.start_ring(index, ring, base);
        if is_receive(index) {
            self.receive[index / 2].ring.publish();
        }
        // Whatever was published before belongs to the daemon that has gone: its kick may have gone with it.
        self.ring(index).kick.write(1).unwrap();
    }

    /// Goes on over a new connection, as QEMU does after the switch came back: from where the used rings stand. Packed
    /// rings say no such thing, and for these it names the last place that it heard of: where they began.
    pub fn resume(&mut self, stream: UnixStream) {
        self.session = Session::negotiate(stream);
        let packed = self.options.features & RING_PACKED != 0;
        self.start_at(if packed { |_| Place::START.bits() } else { Ring::used_index });
    }

    /// Stops ring `index`, forgets what was in it, and starts it from zero.
    pub fn reset_ring(&mut self, index: usize) {
        let base = self.session.stop_ring(index);
        assert_eq!(base, self.ring(index).used_index(), "a stopped ring has completed all that it took");
        self.begin_ring(index);
    }

    /// As [`Nic::reset_ring`], whatever became of the ring before.
    pub fn reset_ring_wherever(&mut self, index: usize) {
        let _ = self.session.stop_ring(index);
        self.begin_ring(index);
    }

    fn begin_ring(&mut self, index: usize) {
        if is_receive(index) {
            self.receive[index / 2].reset();
        } else {
            self.transmit[index / 2].reset();
        }
        self.start_ring(index);
    }

    /// Sends one frame that needs nothing done to it.
    pub fn send(&mut self, frame: &[u8]) {
        self.send_with(NetHeader::default(), frame);
    }

    /// Sends one frame with `header` before it.
    pub fn send_with(&mut self, header: NetHeader, frame: &[u8]) {
        self.transmit[0].put(header, frame);
        self.transmit[0].ring.publish();
    }

    /// The next frame of any queue if one is there.
    pub fn take(&mut self) -> Option<Received> {
        self.receive.iter_mut().find_map(ReceiveQueue::take)
    }

    /// The next frame of any queue; `None` when `limit` has passed without one.
    pub fn receive_within(&mut self, limit: Duration) -> Option<Received> {
        if self.receive.len() == 1 {
            return self
                .take()
                .or_else(|| self.receive[0].ring.wait_used(limit).then(|| self.take()).flatten());
        }
        let deadline = Instant::now() + limit;
        loop {
            if let Some(received) = self.take() {
                return Some(received);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// The next frame; panics with `what` when none comes in time.
    pub fn expect_frame(&mut self, what: &str) -> Received {
        self.receive_within(FRAME_LIMIT).unwrap_or_else(|| panic!("no frame came: {what}"))
    }

    /// Waits until the switch has done with all that was sent: whoever gets it at once has it then, and it is counted.
    pub fn drain(&mut self) {
        self.transmit.iter_mut().for_each(TransmitQueue::drain);
    }

    /// So many frames, as long as that takes, and all others until none has come for `quiet`.
    pub fn collect_at_least(&mut self, count: usize, quiet: Duration) -> Vec<Received> {
        let mut came: Vec<_> = (0..count).map_while(|_| self.receive_within(FRAME_LIMIT)).collect();
        came.extend(self.collect(quiet));
        came
    }

    /// All frames until none has come for `quiet`.
    pub fn collect(&mut self, quiet: Duration) -> Vec<Received> {
        std::iter::from_fn(|| self.receive_within(quiet)).collect()
    }
}

/// Even rings are the guest's receive queues (virtio 1.2, 5.1.2).
fn is_receive(index: usize) -> bool {
    index.is_multiple_of(2)
}
