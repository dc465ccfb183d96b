//! What a frame costs inside the switch: known unicast between 64 stations, in bursts of 64, with 1 and
//! 10,000 flows; and what it costs when every source address is new.

#![expect(clippy::expect_used, reason = "a benchmark may stop at its own mistakes")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use viaduct_switch::{
    Claims, Egress, Frame, Head, Limits, Metadata, Nanos, NetworkIndex, NetworkSettings, Policy, PortIndex,
    PortPolicy, Switch, WorkerState,
};

const BURST: usize = 64;
const STATIONS: u16 = 64;

/// An egress that costs next to nothing.
struct Sink(usize);

impl Egress<()> for Sink {
    fn send(&mut self, to: PortIndex, slot: usize, _: &Frame<()>) {
        self.0 = self.0.wrapping_add(to.get() ^ slot);
    }

    fn flood(&mut self, receivers: &[PortIndex], slot: usize, _: &Frame<()>) {
        self.0 = self.0.wrapping_add(receivers.len() ^ slot);
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).expect("a small index")
}

fn worker() -> WorkerState {
    let network = NetworkIndex::new(0).expect("a small index");
    let ports = (0..2).map(|index| (port(index), PortPolicy::new(network, 1500)));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]);
    WorkerState::new(Arc::new(policy.expect("a valid policy")))
}

/// A UDP frame of 60 bytes from a station of port `source` to one of the other port.
fn frame(source: usize, to: u16, from: u16, flow: u16) -> Frame<()> {
    let mut bytes = [0; 60];
    bytes[0] = 2;
    bytes[3] = 1 - u8::from(source == 1);
    bytes[4..6].copy_from_slice(&to.to_be_bytes());
    bytes[6] = 2;
    bytes[9] = u8::from(source == 1);
    bytes[10..12].copy_from_slice(&from.to_be_bytes());
    bytes[12] = 8;
    bytes[34..36].copy_from_slice(&flow.to_be_bytes());
    let meta = Metadata { source: port(source), length: 60, claims: Claims::default() };
    Frame { head: Head::from_bytes(&bytes), meta, payload: () }
}

/// `flows` flows in bursts: flow by flow another destination, and every eighth frame another sender.
fn bursts(flows: u16) -> Vec<Vec<Frame<()>>> {
    let stations = STATIONS.min(flows);
    let frames = (0..u16::try_from(BURST).expect("small")).cycle().take(usize::from(flows).max(BURST));
    let numbered = frames.enumerate().map(|(index, _)| {
        let flow = u16::try_from(index).expect("at most 65,535 flows") % flows;
        frame(0, flow % stations, flow / 8 % stations, flow)
    });
    let frames: Vec<_> = numbered.collect();
    frames.chunks_exact(BURST).map(<[_]>::to_vec).collect()
}

fn known_unicast(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("known_unicast");
    for flows in [1, 10_000] {
        let (switch, mut worker, mut sink) = (Switch::new(42, Limits::default()), worker(), Sink(0));
        for station in 0..STATIONS {
            switch.process(&mut worker, Nanos(0), &mut [frame(1, 0, station, 0)], &mut sink);
        }
        let mut bursts = bursts(flows);
        group.throughput(Throughput::Elements((bursts.len() * BURST) as u64));
        group.bench_function(format!("{flows}_flows"), |bencher| {
            bencher.iter(|| {
                for burst in &mut bursts {
                    switch.process(&mut worker, Nanos(0), black_box(burst), &mut sink);
                }
            });
        });
        black_box(sink.0);
    }
    group.finish();
}

fn new_source_every_frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new_source_every_frame");
    let (switch, mut worker, mut sink) = (Switch::new(42, Limits::default()), worker(), Sink(0));
    switch.process(&mut worker, Nanos(0), &mut [frame(1, 0, 0, 0)], &mut sink);
    let mut next = 0u32;
    let mut burst = || {
        let mut one = || {
            next = next.wrapping_add(1);
            let mut frame = frame(0, 0, 0, 0);
            frame.head.bytes_mut()[7..11].copy_from_slice(&next.to_be_bytes());
            frame
        };
        (0..BURST).map(|_| one()).collect::<Vec<_>>()
    };
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("flood", |bencher| {
        bencher.iter_batched_ref(
            &mut burst,
            |burst| switch.process(&mut worker, Nanos(0), burst, &mut sink),
            BatchSize::SmallInput,
        );
    });
    black_box(sink.0);
    group.finish();
}

criterion_group!(benches, known_unicast, new_source_every_frame);
criterion_main!(benches);
