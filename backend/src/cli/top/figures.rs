//! Rates: what changed between two moments, by the time between them.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::model::{PortState, PortStatus, ShapingStatus, Snapshot, Traffic, WorkerStatus, p99_us};

/// The state at one moment.
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) state: Snapshot,
}

/// What went on between two moments.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Seconds since the daemon started.
    pub(super) uptime_s: u64,
    /// The configuration that runs.
    pub(super) generation: u64,
    /// The time between the two moments.
    pub(super) interval_ms: u64,
    /// Ports and uplinks, by name.
    pub(super) ports: Vec<PortFigures>,
    /// Classes of trees of queues, by QoS.
    pub(super) classes: Vec<ClassFigures>,
    /// The data path's workers.
    pub(super) workers: Vec<WorkerFigures>,
}

/// A port.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PortFigures {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) network: String,
    pub(super) state: PortState,
    pub(super) detail: Option<String>,
    /// What entered the switch here.
    pub(super) received: Rate,
    /// What left it here.
    pub(super) sent: Rate,
    /// Frames that were dropped, in a second.
    pub(super) drops_per_second: u64,
    /// Why, the most frequent reason now first.
    pub(super) drops: Vec<DropFigures>,
}

/// Frames and bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Rate {
    /// In a second; a super-frame counts once.
    pub(super) frames_per_second: u64,
    /// In a second, Ethernet header included, without FCS.
    pub(super) bits_per_second: u64,
}

/// A reason of drops.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DropFigures {
    pub(super) reason: String,
    pub(super) meaning: String,
    pub(super) per_second: u64,
    /// Since the port is there.
    pub(super) frames: u64,
}

/// A class of a tree of queues.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ClassFigures {
    pub(super) qos: String,
    pub(super) class: String,
    pub(super) ports: Vec<String>,
    pub(super) sent: Rate,
    /// What it may have, where it has a ceiling.
    pub(super) ceil_bits: Option<u64>,
    pub(super) backlog_frames: u64,
    pub(super) backlog_bytes: u64,
    pub(super) drops_per_second: u64,
}

/// A worker.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WorkerFigures {
    pub(super) cpu: usize,
    pub(super) rings: u64,
    pub(super) frames_per_second: u64,
    pub(super) bursts_per_second: u64,
    /// Of 100 frames, how many were decided by a kept decision.
    pub(super) cached_percent: u64,
    pub(super) sleeps_per_second: u64,
    pub(super) contended_per_second: u64,
    /// What 99 of 100 rounds with frames took at most, in microseconds: a power of two; null above 32,768.
    pub(super) p99_us: Option<u64>,
}

/// How much a counter grew in a second; one that is smaller than before began anew.
#[derive(Clone, Copy)]
struct Growth(Duration);

impl Growth {
    fn of(self, before: u64, now: u64) -> u64 {
        let grown = u128::from(now.checked_sub(before).unwrap_or(now));
        u64::try_from(grown * 1_000_000 / self.0.as_micros().max(1)).unwrap_or(u64::MAX)
    }

    fn rate(self, before: Traffic, now: Traffic) -> Rate {
        Rate {
            frames_per_second: self.of(before.frames, now.frames),
            bits_per_second: self.of(before.bytes, now.bytes).saturating_mul(8),
        }
    }
}

impl Figures {
    pub(super) fn between(before: &Moment, now: &Moment) -> Self {
        let interval = now.at.saturating_duration_since(before.at);
        let growth = Growth(interval);
        let (old, new) = (&before.state, &now.state);
        // Another process counts anew.
        let nothing = Snapshot::default();
        let old = if new.uptime_s < old.uptime_s { &nothing } else { old };
        let port = |port: &PortStatus| growth.port(old.ports.iter().find(|old| old.name == port.name), port);
        let worker = |worker: &WorkerStatus| {
            let old = old.workers.iter().find(|old| old.cpu == worker.cpu).copied().unwrap_or_default();
            growth.worker(&old, worker)
        };
        Self {
            uptime_s: new.uptime_s,
            generation: new.generation,
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            ports: new.ports.iter().map(port).collect(),
            classes: new.qos.trees.iter().flat_map(|tree| growth.classes(&old.qos.trees, tree)).collect(),
            workers: new.workers.iter().map(worker).collect(),
        }
    }
}

impl Growth {
    /// A port that was not there before has no rates yet.
    fn port(self, before: Option<&PortStatus>, now: &PortStatus) -> PortFigures {
        let before = before.unwrap_or(now);
        let drop = |drop: &crate::model::DropStatus| {
            let old = before.drops.iter().find(|old| old.reason == drop.reason).map_or(0, |old| old.frames);
            DropFigures {
                reason: drop.reason.clone(),
                meaning: drop.meaning.clone(),
                per_second: self.of(old, drop.frames),
                frames: drop.frames,
            }
        };
        let mut drops: Vec<_> = now.drops.iter().map(drop).collect();
        drops.sort_by_key(|drop| std::cmp::Reverse((drop.per_second, drop.frames)));
        PortFigures {
            name: now.name.clone(),
            kind: now.kind.clone(),
            network: now.network.clone(),
            state: now.state,
            detail: now.detail.clone(),
            received: self.rate(before.received, now.received),
            sent: self.rate(before.sent, now.sent),
            drops_per_second: drops.iter().map(|drop| drop.per_second).sum(),
            drops,
        }
    }

    fn classes<'a>(
        self,
        before: &'a [ShapingStatus],
        now: &'a ShapingStatus,
    ) -> impl Iterator<Item = ClassFigures> + 'a {
        let tree = before.iter().find(|tree| tree.qos == now.qos && tree.ports == now.ports);
        now.classes.iter().map(move |class| {
            let old = tree.and_then(|tree| tree.classes.iter().find(|old| old.name == class.name));
            let old = old.unwrap_or(class);
            let traffic = |frames, bytes| Traffic { frames, bytes };
            ClassFigures {
                qos: now.qos.clone(),
                class: class.name.clone(),
                ports: now.ports.clone(),
                sent: self.rate(
                    traffic(old.sent_frames, old.sent_bytes),
                    traffic(class.sent_frames, class.sent_bytes),
                ),
                ceil_bits: class.ceil_bits,
                backlog_frames: class.backlog_frames,
                backlog_bytes: class.backlog_bytes,
                drops_per_second: self.of(old.dropped, class.dropped),
            }
        })
    }

    fn worker(self, old: &WorkerStatus, now: &WorkerStatus) -> WorkerFigures {
        let grown = |old: u64, now: u64| now.checked_sub(old).unwrap_or(now);
        let hits = grown(old.flow_cache.hits, now.flow_cache.hits);
        let asked = hits + grown(old.flow_cache.misses, now.flow_cache.misses);
        let mut rounds = now.round_times;
        rounds.iter_mut().zip(old.round_times).for_each(|(now, old)| *now = grown(old, *now));
        WorkerFigures {
            cpu: now.cpu,
            rings: now.rings,
            frames_per_second: self.of(old.frames, now.frames),
            bursts_per_second: self.of(old.bursts, now.bursts),
            cached_percent: hits * 100 / asked.max(1),
            sleeps_per_second: self.of(old.sleeps, now.sleeps),
            contended_per_second: self.of(old.contended, now.contended),
            p99_us: p99_us(&rounds),
        }
    }
}
