//! What connections cost: found by their tuples among 10,000 and among a million, at random, one by one and by bursts;
//! followed by their name; opened and closed.

#![expect(clippy::expect_used, reason = "a benchmark may stop at its own mistakes")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use viaduct_switch::conntrack::{Conntrack, Hint, Limits};
use viaduct_switch::packet::{Address, Packet, Ports, SynOptions, Tcp, TcpFlags, Transport, number};
use viaduct_switch::{Nanos, NetworkIndex, PortIndex};

const BATCH: u32 = 64;

/// The same, as a length.
const BURST: usize = BATCH as usize;

/// The SYN of a flow's number.
fn syn(flow: u32) -> Packet {
    let tcp = Tcp {
        ports: Ports { source: u16::try_from(flow & 0xffff).unwrap_or(0), destination: 80 },
        sequence: flow,
        acknowledgement: 0,
        flags: TcpFlags(TcpFlags::SYN),
        window: 1000,
        payload: 0,
        syn: SynOptions::default(),
    };
    Packet {
        source: Address::from_bits(0xffff_0a00_0000 | u128::from(flow >> 16)),
        destination: Address::from_bits(0xffff_0a63_0001),
        protocol: number::TCP,
        hop_limit: 64,
        traffic_class: 0,
        network_at: 14,
        transport_at: 34,
        end_at: 54,
        fragment: None,
        transport: Transport::Tcp(tcp),
    }
}

fn zone() -> NetworkIndex {
    NetworkIndex::new(1).expect("a small index")
}

fn port() -> PortIndex {
    PortIndex::new(1).expect("a small index")
}

fn table() -> Conntrack {
    let limits =
        Limits { connections: 1 << 20, per_port: 1 << 20, embryonic_per_port: 1 << 20, ..Limits::default() };
    Conntrack::new(limits, 42)
}

/// The next of a row of numbers below `flows` that looks random and is too long to repeat itself.
fn next(state: &mut u64, flows: u32) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    u32::try_from(((*state >> 32) * u64::from(flows)) >> 32).unwrap_or(0)
}

fn found(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conntrack");
    group.throughput(Throughput::Elements(BATCH.into()));
    for flows in [10_000, 1_000_000] {
        let table = table();
        let named: Vec<_> = (0..flows)
            .map(|flow| table.open(zone(), &syn(flow), port(), 1, Nanos(0)).expect("there is room"))
            .collect();
        let mut state = 1;
        group.bench_function(format!("look_up/{flows}"), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    let flow = next(&mut state, flows);
                    black_box(table.look_up(zone(), &syn(flow), Nanos(0)));
                }
            });
        });
        group.bench_function(format!("look_ahead/{flows}"), |bencher| {
            bencher.iter(|| look_up_burst(&table, std::array::from_fn(|_| syn(next(&mut state, flows)))));
        });
        group.bench_function(format!("track/{flows}"), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    let flow = next(&mut state, flows);
                    let _ = black_box(table.track(named[flow as usize], &syn(flow), Nanos(0)));
                }
            });
        });
    }
    group.finish();
}

/// Looks all packets of a burst up.
fn look_up_burst(table: &Conntrack, packets: [Packet; BURST]) {
    let mut hints: [Hint; BURST] = std::array::from_fn(|at| table.hint(zone(), &packets[at]));
    table.look_ahead(&mut hints);
    for (packet, hint) in packets.iter().zip(hints) {
        black_box(table.look_up_hinted(zone(), packet, hint, Nanos(0)));
    }
}

fn opened(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conntrack");
    group.throughput(Throughput::Elements(BATCH.into()));
    let (table, mut flow) = (table(), 0u32);
    group.bench_function("open_and_close", |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                flow = flow.wrapping_add(1) & 0xff_ffff;
                let opened = table.open(zone(), &syn(flow), port(), 1, Nanos(0)).expect("there is room");
                table.close(opened.id);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, found, opened);
criterion_main!(benches);
