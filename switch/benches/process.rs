//! What a frame costs inside the switch, in bursts of 64: known unicast of one flow, between 64 and 64
//! stations, and of 10,000 flows among them; the same when every frame is of a kind that the flow cache does
//! not hold, with the cache and without; and when every source address is new.

#![expect(clippy::expect_used, reason = "a benchmark may stop at its own mistakes")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use viaduct_switch::{
    Claims, Egress, Frame, Head, Limits, Metadata, Nanos, NetworkIndex, NetworkSettings, Policy, PortIndex,
    PortPolicy, Switch, WorkerState, switch::FLOW_ENTRIES_DEFAULT,
};

const BURST: usize = 64;
const STATIONS: u16 = 64;

/// An egress that costs next to nothing.
struct Sink(usize);

impl Egress<()> for Sink {
    fn send(&mut self, to: PortIndex, slot: usize, _: &Frame<()>) {
        self.0 = self.0.wrapping_add(to.get() ^ slot);
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], slot: usize, _: &Frame<()>) {
        self.0 = self.0.wrapping_add(receivers.len() ^ slot);
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).expect("a small index")
}

fn worker(flow_entries: usize) -> WorkerState {
    let network = NetworkIndex::new(0).expect("a small index");
    let ports = (0..2).map(|index| (port(index), PortPolicy::new(network, 1500)));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]);
    WorkerState::with_flow_entries(Arc::new(policy.expect("a valid policy")), flow_entries)
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
    let meta = Metadata::new(port(source), 60, Claims::default());
    Frame { head: Head::from_bytes(&bytes), meta, payload: () }
}

/// The switch knows `stations` stations of port 1.
fn known(stations: u16, flow_entries: usize) -> (Switch, WorkerState) {
    let (switch, mut worker) = (Switch::new(42, Limits::default()), worker(flow_entries));
    for station in 0..stations {
        switch.process(&mut worker, Nanos(0), &mut [frame(1, 0, station, 0)], &mut Sink(0));
    }
    (switch, worker)
}

/// Frames in bursts, made from their numbers.
fn bursts(frames: usize, frame: impl FnMut(u16) -> Frame<()>) -> Vec<Vec<Frame<()>>> {
    let numbers = (0..frames).map(|number| u16::try_from(number).expect("at most 65,536 frames"));
    let frames: Vec<_> = numbers.map(frame).collect();
    frames.chunks_exact(BURST).map(<[_]>::to_vec).collect()
}

fn known_unicast(criterion: &mut Criterion) {
    let cases: [(&str, Vec<Vec<Frame<()>>>); 3] = [
        ("1_flow", bursts(BURST, |_| frame(0, 0, 0, 0))),
        ("64_by_64_stations", bursts(4096, |number| frame(0, number % 64, number / 64, 0))),
        // Flow by flow another destination, and every eighth frame another sender.
        ("10000_flows", bursts(10_000, |flow| frame(0, flow % STATIONS, flow / 8 % STATIONS, flow))),
    ];
    let mut group = criterion.benchmark_group("known_unicast");
    for (name, mut bursts) in cases {
        let ((switch, mut worker), mut sink) = (known(STATIONS, FLOW_ENTRIES_DEFAULT), Sink(0));
        group.throughput(Throughput::Elements((bursts.len() * BURST) as u64));
        group.bench_function(name, |bencher| {
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

/// Between 256 and 256 stations there are eight times as many kinds of frames as records. Addresses are
/// written into the same burst over and over, as frames are read from a ring.
fn every_frame_another_flow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("every_frame_another_flow");
    for (name, entries) in [("with_cache", FLOW_ENTRIES_DEFAULT), ("without_cache", 0)] {
        let ((switch, mut worker), mut sink) = (known(256, entries), Sink(0));
        let mut burst = vec![frame(0, 0, 0, 0); BURST];
        let mut number = 0u16;
        group.throughput(Throughput::Elements(BURST as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for frame in &mut burst {
                    number = number.wrapping_add(1);
                    let [to, from] = number.to_be_bytes();
                    let bytes = frame.head.bytes_mut();
                    (bytes[5], bytes[11]) = (to, from);
                }
                switch.process(&mut worker, Nanos(0), black_box(&mut burst), &mut sink);
            });
        });
        black_box(sink.0);
    }
    group.finish();
}

fn new_source_every_frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new_source_every_frame");
    let (switch, mut worker, mut sink) =
        (Switch::new(42, Limits::default()), worker(FLOW_ENTRIES_DEFAULT), Sink(0));
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

criterion_group!(benches, known_unicast, every_frame_another_flow, new_source_every_frame);
criterion_main!(benches);
