//! Nanoseconds per frame of each part of a frame's way, and of the same work through the stock rust-vmm crates.
//!
//! `cargo bench -p viaduct --bench path`; a figure is the time for a burst of 64 frames.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it fails")]

use std::cell::RefCell;
use std::hint::black_box;
use std::os::fd::AsRawFd;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vhost_user_backend::{VringRwLock, VringT};
use viaduct::ring::{Burst, ReceiveRing, TransmitRing};
use viaduct_switch::Nanos;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use self::support::{
    AVAILABLE, BURST, Count, DESCRIPTORS, Guest, Layout, SIZE, USED, crowd, port, station, switch,
};

mod support;

fn stock_ring(guest: &Guest) -> VringRwLock<GuestMemoryAtomic<GuestMemoryMmap>> {
    let vring = VringRwLock::new(GuestMemoryAtomic::new(guest.memory()), SIZE).unwrap();
    vring.set_queue_size(SIZE);
    vring.set_queue_info(DESCRIPTORS, AVAILABLE, USED).unwrap();
    vring.set_queue_ready(true);
    vring
}

fn parts(c: &mut Criterion, len: u64) {
    let mut group = c.benchmark_group(format!("{len}B"));
    group.throughput(Throughput::Elements(u64::from(BURST)));
    let guest = RefCell::new(Guest::sender(Layout::Split, len, 1));
    let mut ring = TransmitRing::new(guest.borrow().core(), 12, port(0));
    let mut burst = Burst::new(port(0));
    group.bench_function("1 ring read, head copied, used ring written", |b| {
        b.iter(|| {
            guest.borrow_mut().offer();
            ring.read(&mut burst).unwrap();
            ring.complete(&burst)
        });
    });
    let (switch, mut state) = switch(2, 1);
    guest.borrow_mut().offer();
    ring.read(&mut burst).unwrap();
    group.bench_function("2 decide", |b| {
        b.iter(|| {
            let mut count = Count(0);
            switch.process(&mut state, Nanos(0), burst.parts().0, &mut count);
            count.0
        });
    });
    let receiver = RefCell::new(Guest::receiver(Layout::Split));
    let mut receive = ReceiveRing::new(receiver.borrow().core(), 12, true);
    group.bench_function("3 copy and ring write", |b| {
        b.iter(|| {
            receiver.borrow_mut().offer();
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
            guest.borrow_mut().offer();
            receiver.borrow_mut().offer();
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
    let (mut sender, mut receiver) = (Guest::sender(Layout::Split, len, 1), Guest::receiver(Layout::Split));
    let (from, to) = (stock_ring(&sender), stock_ring(&receiver));
    let (from_memory, to_memory) =
        (GuestMemoryAtomic::new(sender.memory()), GuestMemoryAtomic::new(receiver.memory()));
    let mut buffer = vec![0; 65_562];
    group.bench_function("1 and 3 in one", |b| {
        b.iter(|| {
            sender.offer();
            receiver.offer();
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

/// Bursts whose frames are of `stations` squared flows, in no order: what it costs that a flow's record, or its
/// addresses, have left the processor's caches, or never had room.
fn flows(c: &mut Criterion, stations: u32) {
    let (switch, mut state) = crowd(stations);
    let mut bytes = [0x5a; 64];
    let mut burst = Burst::new(port(0));
    let mut frames = Vec::new();
    for _ in 0..BURST {
        burst.load(port(0), &mut bytes);
        frames.extend_from_slice(burst.parts().0);
    }
    let mut group = c.benchmark_group("decide");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    let mut random = 1u64;
    group.bench_function(format!("{} flows", u64::from(stations) * u64::from(stations)), |b| {
        b.iter(|| {
            for frame in &mut frames {
                // Knuth's multiplier (The Art of Computer Programming, 3.3.4, line 26).
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let [to, from] =
                    [random >> 48, (random >> 32) & 0xffff].map(|part| (part * u64::from(stations)) >> 16);
                let head = frame.head.bytes_mut();
                head[..6].copy_from_slice(&station(1, u32::try_from(to).unwrap()));
                head[6..12].copy_from_slice(&station(0, u32::try_from(from).unwrap()));
            }
            let mut count = Count(0);
            switch.process(&mut state, Nanos(0), &mut frames, &mut count);
            count.0
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
    for stations in [1, 10, 32, 64, 100, 316, 1000] {
        flows(c, stations);
    }
    notify(c);
}

criterion_group!(benches, all);
criterion_main!(benches);
