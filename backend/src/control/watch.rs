//! Watching: samples of real frames with what became of them, told with names.

use std::sync::Arc;
use std::time::Duration;

use viaduct_switch::{Frame, Head, Nanos, PortIndex, PortPolicy, TakenTag};

use crate::control::TraceError;
use crate::control::controller::Controller;
use crate::control::trace::{Words, dropped, tags as tags_in_words};
use crate::dataplane::{PAST, Sample, SampleFate, TapCounters, Wanted, Watch};
use crate::model::{LostAt, Trace, TraceReceiver, Verdict, VerdictKind, WatchEvent};
use crate::trace::{Filter, describe};

/// How many may watch at once.
const WATCHERS_MAX: usize = 4;

/// Whom and what somebody wants to watch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchQuestion {
    /// Only this port's frames.
    pub port: Option<String>,
    /// Only those that enter there.
    pub entering: bool,
    /// Only dropped ones.
    pub drops: bool,
    /// Only such packets.
    pub filter: Filter,
}

/// Those who watch.
#[derive(Debug, Default)]
pub(super) struct Watchers(Vec<Arc<TapCounters>>);

impl Controller {
    /// Begins to take samples.
    pub(super) fn watch(&mut self, question: &WatchQuestion) -> Result<Watch, TraceError> {
        let port = match &question.port {
            Some(name) => {
                let index = self.numbers.ports.get(name).copied();
                Some(index.ok_or_else(|| TraceError::NoPort(name.clone()))?)
            }
            None => None,
        };
        self.watchers.0.retain(|watcher| !watcher.is_closed());
        if self.watchers.0.len() >= WATCHERS_MAX {
            return Err(TraceError::TooManyWatch(WATCHERS_MAX));
        }
        let WatchQuestion { entering, drops, filter, .. } = *question;
        let (watch, counters) = self.bay.watch(Wanted { port, entering, drops, filter });
        self.watchers.0.push(counters);
        Ok(watch)
    }

    /// Samples with names.
    pub(super) fn tell(&self, samples: &[Sample]) -> Vec<WatchEvent> {
        samples.iter().map(|sample| self.event(sample)).collect()
    }

    fn event(&self, sample: &Sample) -> WatchEvent {
        let words = Words { controller: self, source: sample.meta.source };
        let verdict = self.happened(sample);
        let native = || self.policy.port(sample.meta.source).and_then(PortPolicy::native);
        let network = sample.network.or_else(native).map(|network| words.network(network));
        let is_explained = sample.unread == 0 && sample.lost.is_none();
        let step = verdict.reason.as_ref().filter(|_| is_explained).and_then(|reason| {
            let steps = self.explained(sample).steps;
            steps.into_iter().find(|step| step.dropped.as_ref() == Some(reason))
        });
        WatchEvent {
            at_us: since_start(sample.at),
            port: words.port(sample.meta.source),
            network: network.filter(|_| sample.unread == 0),
            packet: match sample.unread {
                0 => describe(sample.head(), sample.meta.length),
                1 => "a frame that was not read".to_owned(),
                frames => format!("{frames} frames that were not read"),
            },
            lost_at: sample
                .lost
                .map(|(port, reason)| LostAt { port: words.port(port), reason: reason.name().to_owned() }),
            flooded_to: match sample.fate {
                SampleFate::Flooded(_, ports) => Some(ports),
                _ => None,
            },
            verdict,
            step,
        }
    }

    /// What really became of a sample.
    fn happened(&self, sample: &Sample) -> Verdict {
        let words = Words { controller: self, source: sample.meta.source };
        let of = |kind| Verdict { kind, ..Verdict::default() };
        match sample.fate {
            SampleFate::Sent(ports) => {
                let receiver = |port| TraceReceiver {
                    port: words.port(port),
                    tags: words.tags_at(port, sample),
                    running: self.runs(port),
                    queue: None,
                };
                let receivers: Vec<_> = ports.into_iter().flatten().map(receiver).collect();
                match sample.lost {
                    // It was for nobody else.
                    Some((_, reason)) if receivers.len() == 1 => Verdict { receivers, ..dropped(reason) },
                    _ => Verdict { receivers, ..of(VerdictKind::Sent) },
                }
            }
            SampleFate::Flooded(..) => of(VerdictKind::Sent),
            SampleFate::Punted => of(VerdictKind::Control),
            SampleFate::Dropped(reason) => dropped(reason),
            SampleFate::Kept => of(VerdictKind::Unknown),
        }
    }

    /// The way of a sample as it would be now.
    fn explained(&self, sample: &Sample) -> Trace {
        let (head, meta) = (Head::from_bytes(sample.head()), sample.meta);
        self.traced(&Frame { head, meta, payload: &[][..] })
    }

    /// The way of a sample, and what really became of it.
    pub(super) fn trace_sample(&self, sample: &Sample) -> Trace {
        Trace { happened: Some(self.happened(sample)), ..self.explained(sample) }
    }
}

impl Words<'_> {
    /// The tags with which a sample left by a port.
    fn tags_at(&self, port: PortIndex, sample: &Sample) -> Vec<String> {
        let mut meta = sample.meta;
        meta.tag = sample.network.map(|network| TakenTag { network, priority: sample.priority });
        let tags = self.controller.policy.tags_of(port).and_then(|tags| tags.of(&meta));
        tags.map(|tags| tags_in_words(&tags)).unwrap_or_default()
    }
}

/// Microseconds since the daemon's start, before which the switch's time began.
fn since_start(at: Nanos) -> u64 {
    u64::try_from((Duration::from_nanos(at.0).saturating_sub(PAST)).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_told_with_the_time_since_the_start() {
        let start = u64::try_from(PAST.as_nanos()).unwrap();
        assert_eq!([0, start, start + 12_000_345_999].map(|at| since_start(Nanos(at))), [0, 0, 12_000_345]);
    }
}
