//! Nanoseconds per frame of each part of a frame's way, and of the same work through the stock rust-vmm crates.
//!
//! `cargo bench -p viaduct --bench path`; a figure is the time for a burst of 64 frames.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it fails")]

use std::cell::RefCell;
use std::fs::File;
use std::hint::black_box;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vhost_user_backend::{VringRwLock, VringT};
use viaduct::dataplane::RingSetup;
use viaduct::memory::{GuestMemory, Region, RegionSpec};
use viaduct::ring::{Burst, Core, ReceiveRing, TransmitRing};
use viaduct_switch::{
    Egress, Frame, Limits, Nanos, NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, Switch,
    WorkerState,
};
use virtio_queue::QueueT;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

const SIZE: u16 = 256;
const BURST: u16 = 64;
const MEMORY: u64 = 16 << 20;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x9000;
const USED: u64 = 0xb000;
const BUFFERS: u64 = 0x10_0000;
const BUFFER_LEN: u64 = 2048;
const USER: u64 = 0x7f00_0000_0000;

/// A guest's memory with one ring in which every entry is a buffer of its own.
struct Guest {
    file: File,
    index: u16,
}

impl Guest {
    fn new(frame_len: u64, write: bool) -> Self {
        // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(MEMORY).unwrap();
        for entry in 0..u64::from(SIZE) {
            let address = BUFFERS + entry * BUFFER_LEN;
            let len = if write { BUFFER_LEN } else { frame_len + 12 };
            let flags: u64 = if write { 2 } else { 0 };
            let words = [address, len | flags << 32];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            file.write_all_at(&bytes, DESCRIPTORS + entry * 16).unwrap();
            file.write_all_at(&u16::try_from(entry).unwrap().to_le_bytes(), AVAILABLE + 4 + entry * 2)
                .unwrap();
            let mut frame = vec![0; 12];
            frame.extend([0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00]);
            frame.resize(usize::try_from(len).unwrap(), 0x5a);
            file.write_all_at(&frame, address).unwrap();
        }
        Self { file, index: 0 }
    }

    /// Makes the next 64 entries available: what the driver does.
    fn offer(&mut self, memory: &GuestMemoryMmap) {
        self.index = self.index.wrapping_add(BURST);
        memory.store(self.index, GuestAddress(AVAILABLE + 2), std::sync::atomic::Ordering::Release).unwrap();
    }

    fn mapped(&self) -> GuestMemoryMmap {
        let part = FileOffset::new(self.file.try_clone().unwrap(), 0);
        let len = usize::try_from(MEMORY).unwrap();
        GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), len, Some(part))]).unwrap()
    }

    fn core(&self) -> Core {
        let spec = RegionSpec { guest_address: 0, size: MEMORY, user_address: USER, file_offset: 0 };
        let memory = GuestMemory::default().with(Region::map(&self.file, spec).unwrap()).unwrap();
        let setup = RingSetup {
            index: 0,
            size: SIZE,
            base: 0,
            descriptor: USER + DESCRIPTORS,
            available: USER + AVAILABLE,
            used: USER + USED,
            used_log: None,
            kick: None,
            call: None,
            error: None,
        };
        Core::new(&setup, &memory, 0).unwrap()
    }

    fn stock(&self) -> VringRwLock<GuestMemoryAtomic<GuestMemoryMmap>> {
        let vring = VringRwLock::new(GuestMemoryAtomic::new(self.mapped()), SIZE).unwrap();
        vring.set_queue_size(SIZE);
        vring.set_queue_info(DESCRIPTORS, AVAILABLE, USED).unwrap();
        vring.set_queue_ready(true);
        vring
    }
}

struct Count(u64);

impl<P> Egress<P> for Count {
    fn send(&mut self, _to: PortIndex, _slot: usize, _frame: &Frame<P>) {
        self.0 += 1;
    }

    fn flood(&mut self, _receivers: &[PortIndex], _slot: usize, _frame: &Frame<P>) {
        self.0 += 1;
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn switch() -> (Switch, WorkerState) {
    let network = NetworkIndex::new(0).unwrap();
    let ports = [port(0), port(1)].map(|port| (port, PortPolicy::new(network, 1500)));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    (Switch::new(7, Limits::default()), WorkerState::new(Arc::new(policy)))
}

/// Teaches the switch where the frames' destination is.
fn teach(switch: &Switch, state: &mut WorkerState) {
    let mut bytes = [0x5a; 64].to_vec();
    bytes[..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2]);
    let mut burst = Burst::new(port(1));
    burst.load(port(1), &mut bytes);
    switch.process(state, Nanos(0), burst.parts().0, &mut Count(0));
}

fn parts(c: &mut Criterion, len: u64) {
    let mut group = c.benchmark_group(format!("{len}B"));
    group.throughput(Throughput::Elements(u64::from(BURST)));
    let guest = RefCell::new(Guest::new(len, false));
    let memory = guest.borrow().mapped();
    let mut ring = TransmitRing::new(guest.borrow().core(), 12, port(0));
    let mut burst = Burst::new(port(0));
    group.bench_function("1 ring read, head copied, used ring written", |b| {
        b.iter(|| {
            guest.borrow_mut().offer(&memory);
            ring.read(&mut burst).unwrap();
            ring.complete(&burst)
        });
    });
    let (switch, mut state) = switch();
    teach(&switch, &mut state);
    guest.borrow_mut().offer(&memory);
    ring.read(&mut burst).unwrap();
    group.bench_function("2 decide", |b| {
        b.iter(|| {
            let mut count = Count(0);
            switch.process(&mut state, Nanos(0), burst.parts().0, &mut count);
            count.0
        });
    });
    let receiver = RefCell::new(Guest::new(0, true));
    let room = receiver.borrow().mapped();
    let mut receive = ReceiveRing::new(receiver.borrow().core(), 12, true);
    group.bench_function("3 copy and ring write", |b| {
        b.iter(|| {
            receiver.borrow_mut().offer(&room);
            let (frames, segments) = burst.frames();
            for frame in frames {
                let rest = segments.get(frame.payload.first as usize, frame.payload.count as usize);
                receive.put(&[0; 12], frame.head.bytes(), rest, frame.meta.length).unwrap();
            }
            receive.publish()
        });
    });
    group.bench_function("1 to 3 in one", |b| {
        b.iter(|| {
            guest.borrow_mut().offer(&memory);
            receiver.borrow_mut().offer(&room);
            ring.read(&mut burst).unwrap();
            let mut count = Count(0);
            switch.process(&mut state, Nanos(0), burst.parts().0, &mut count);
            let (frames, segments) = burst.frames();
            for frame in frames {
                let rest = segments.get(frame.payload.first as usize, frame.payload.count as usize);
                receive.put(&[0; 12], frame.head.bytes(), rest, frame.meta.length).unwrap();
            }
            receive.publish();
            ring.complete(&burst)
        });
    });
    group.finish();
}

/// The same way through vhost-user-backend's vring and virtio-queue's iterator, with a copy out of one guest
/// and a copy into the other; no switching at all.
fn stock(c: &mut Criterion, len: u64) {
    let mut group = c.benchmark_group(format!("{len}B stock rust-vmm"));
    group.throughput(Throughput::Elements(u64::from(BURST)));
    let (mut sender, mut receiver) = (Guest::new(len, false), Guest::new(0, true));
    let (memory, room) = (sender.mapped(), receiver.mapped());
    let (from, to) = (sender.stock(), receiver.stock());
    let (from_memory, to_memory) =
        (GuestMemoryAtomic::new(sender.mapped()), GuestMemoryAtomic::new(receiver.mapped()));
    let mut buffer = vec![0; 65_562];
    group.bench_function("1 and 3 in one", |b| {
        b.iter(|| {
            sender.offer(&memory);
            receiver.offer(&room);
            for _ in 0..BURST {
                let source = from_memory.memory();
                let chain = from.get_mut().get_queue_mut().pop_descriptor_chain(source.clone()).unwrap();
                let head = chain.head_index();
                let mut at = 0;
                for part in chain {
                    let end = at + part.len() as usize;
                    source.read_slice(&mut buffer[at..end], part.addr()).unwrap();
                    at = end;
                }
                let target = to_memory.memory();
                let chain = to.get_mut().get_queue_mut().pop_descriptor_chain(target.clone()).unwrap();
                let place = chain.head_index();
                let first = chain.into_iter().next().unwrap();
                target.write_slice(&buffer[..at], first.addr()).unwrap();
                to.add_used(place, u32::try_from(at).unwrap()).unwrap();
                from.add_used(head, 0).unwrap();
            }
            black_box(to.needs_notification().unwrap()) | from.needs_notification().unwrap()
        });
    });
    group.finish();
}

fn notify(c: &mut Criterion) {
    let signal = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    black_box(signal.as_raw_fd());
    c.bench_function("notify (one write to an eventfd)", |b| b.iter(|| signal.write(1).unwrap()));
}

fn all(c: &mut Criterion) {
    for len in [64, 1518] {
        parts(c, len);
        stock(c, len);
    }
    notify(c);
}

criterion_group!(benches, all);
criterion_main!(benches);
