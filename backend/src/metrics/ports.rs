//! Ports, uplinks among them, and the workers that carry their frames.

use std::fmt;

use super::book::{Book, Family, Labels};
use crate::model::{FlowCacheStatus, LinkState, PortState, PortStatus, ROUND_TIMES, Snapshot, WorkerStatus};

pub(super) fn write(book: &mut Book<'_>, snapshot: &Snapshot) -> fmt::Result {
    let ports = snapshot.ports.as_slice();
    states(book, ports)?;
    traffic(book, ports)?;
    let workers = snapshot.workers.as_slice();
    turns(book, workers)?;
    flow_caches(book, workers)
}

fn each<C>(
    ports: &[PortStatus],
    value: impl Fn(&PortStatus) -> C,
) -> impl Iterator<Item = (Labels<&str, 1>, C)> {
    ports.iter().map(move |port| ([("port", port.name.as_str())], value(port)))
}

fn states(book: &mut Book<'_>, ports: &[PortStatus]) -> fmt::Result {
    let described = ports.iter().map(|port| {
        let [name, network, kind, mac] =
            [&port.name, &port.network, &port.kind, &port.mac].map(String::as_str);
        ([("port", name), ("network", network), ("type", kind), ("mac", mac)], 1_u64)
    });
    book.gauges(("port_info", "Always 1: the network, type and MAC address of each port."), described)?;
    let is_up = |port: &PortStatus| u64::from(matches!(port.state, PortState::Running | PortState::Attached));
    book.gauges(
        ("port_up", "1: the guest's driver is up, or the interface is attached."),
        each(ports, is_up),
    )?;
    let links = ports.iter().filter_map(|port| {
        let interface = port.interface.as_ref()?;
        Some(([("port", port.name.as_str())], u64::from(interface.link == LinkState::Up)))
    });
    book.gauges(
        ("port_link_up", "1: the port's interface has a link. Of guests' ports there is none."),
        links,
    )?;
    book.gauges(
        ("port_running_rings", "Rings of the guest that run, two a queue pair."),
        each(ports, |port| u64::from(port.rings_running)),
    )?;
    book.counters(
        ("port_connects", "Times that a frontend connected, or the interface was attached."),
        each(ports, |port| port.connections),
    )
}

fn traffic(book: &mut Book<'_>, ports: &[PortStatus]) -> fmt::Result {
    let (received, sent) = ("that entered the switch here", "that left the switch here");
    for (name, direction, of) in [
        ("receive", received, (|port: &PortStatus| port.received) as fn(&PortStatus) -> _),
        ("transmit", sent, |port| port.sent),
    ] {
        let frames = format!("Frames {direction}; a super-frame counts once.");
        book.counters((&format!("port_{name}_frames"), &frames), each(ports, |port| of(port).frames))?;
        let bytes = format!("Bytes of frames {direction}, from the Ethernet header on, without FCS.");
        book.counters((&format!("port_{name}_bytes"), &bytes), each(ports, |port| of(port).bytes))?;
    }
    let drops = ports.iter().flat_map(|port| {
        let labels = |reason| [("port", port.name.as_str()), ("reason", reason)];
        port.drops.iter().map(move |drops| (labels(drops.reason.as_str()), drops.frames))
    });
    book.counters(("port_drops", "Frames that were not delivered, by reason (docs/drops.md)."), drops)?;
    book.counters(
        ("port_pauses", "Times that frames were left in a ring because of the port's rate."),
        each(ports, |port| port.pauses),
    )?;
    book.counters(
        ("port_paused_seconds", "Seconds for which they were; several rings count each."),
        each(ports, |port| seconds(port.paused_ms)),
    )
}

/// Milliseconds as seconds: a rounding of no more than a thousandth up to 285,000 years.
#[allow(clippy::cast_precision_loss, reason = "the milliseconds are told as they are up to 2^53")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a sum of times is told as it is up to 2^53 ns, 104 days of rounds"
)]
fn round_seconds(value: u64, of_a_second: f64) -> f64 {
    value as f64 / of_a_second
}

/// Rounds by how long they took at most, in seconds.
fn round_counts(worker: &WorkerStatus) -> Vec<(f64, u64)> {
    let bounds = (0..ROUND_TIMES - 1).map(|class| round_seconds(1 << class, 1e6));
    bounds.chain([f64::INFINITY]).zip(worker.round_times).collect()
}

fn of_workers<const N: usize>(
    book: &mut Book<'_>,
    workers: &[WorkerStatus],
    families: [Family<'_, WorkerStatus>; N],
) -> fmt::Result {
    families.into_iter().try_for_each(|(name, help, value)| {
        let samples = workers.iter().map(|worker| ([("cpu", worker.cpu)], value(worker)));
        book.counters((name, help), samples)
    })
}

fn turns(book: &mut Book<'_>, workers: &[WorkerStatus]) -> fmt::Result {
    let rings = workers.iter().map(|worker| ([("cpu", worker.cpu)], worker.rings));
    book.histograms(
        ("worker_round_seconds", "How long rounds of the worker took in which it carried frames."),
        workers.iter().map(|worker| {
            ([("cpu", worker.cpu)], round_seconds(worker.rounds_ns, 1e9), round_counts(worker))
        }),
    )?;
    book.gauges(("worker_rings", "Rings that the worker on the processor reads."), rings)?;
    of_workers(
        book,
        workers,
        [
            ("worker_bursts", "Bursts that the worker handled.", |worker| worker.bursts),
            ("worker_frames", "Frames that the worker handled.", |worker| worker.frames),
            ("worker_sleeps", "Times that the worker went to sleep.", |worker| worker.sleeps),
            ("worker_wakes", "Kicks of rings that the worker had armed.", |worker| worker.wakes),
            ("worker_spins", "Looks at rings that had nothing and stayed polled.", |worker| worker.spins),
            ("worker_contended", "Receive queues found taken by another worker.", |worker| worker.contended),
        ],
    )
}

fn flow_caches(book: &mut Book<'_>, workers: &[WorkerStatus]) -> fmt::Result {
    let cache: [Family<'_, FlowCacheStatus>; 7] = [
        ("hits", "Frames for which an earlier decision was replayed.", |cache| cache.hits),
        ("misses", "Frames that were decided about.", |cache| cache.misses),
        ("insertions", "Decisions that were kept.", |cache| cache.inserted),
        ("evictions", "Decisions that gave way to others.", |cache| cache.evicted),
        ("refusals", "Decisions not kept, because every place was taken.", |cache| cache.refused),
        ("invalidations", "Decisions found out of date.", |cache| cache.invalidated),
        ("mismatches", "Hits that verification found wrong: mistakes of the daemon.", |cache| {
            cache.mismatched
        }),
    ];
    cache.into_iter().try_for_each(|(name, help, value)| {
        let samples = workers.iter().map(|worker| ([("cpu", worker.cpu)], value(&worker.flow_cache)));
        book.counters((&format!("flow_cache_{name}"), help), samples)
    })
}
