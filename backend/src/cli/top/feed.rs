//! What comes from the daemon, in threads of their own, so that keys are heard while it does not answer.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::app::App;
use super::figures::{Figures, Moment};
use super::sheets::Talker;
use crate::api::{Client, ClientError};
use crate::model::{Snapshot, VerdictKind, WatchEvent, WatchLine};

/// Flows of which samples are counted at once.
const TALKERS_MAX: usize = 2000;

/// Seconds after which samples are counted anew.
const TALKERS_AGE: Duration = Duration::from_secs(10);

/// How often threads look whether they are still needed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The state now.
pub(super) fn moment(client: &Client) -> Result<Moment, ClientError> {
    let state: Snapshot = client.get("/v1/status")?;
    Ok(Moment { at: Instant::now(), state })
}

/// Samples by flow.
#[derive(Default)]
pub(super) struct Sampled {
    flows: BTreeMap<(String, String), Talker>,
    since: Option<Instant>,
    missing: Option<String>,
}

impl Sampled {
    pub(super) fn add(&mut self, event: &WatchEvent) {
        if self.since.is_none_or(|since| since.elapsed() >= TALKERS_AGE) {
            (self.since, self.flows) = (Some(Instant::now()), BTreeMap::new());
        }
        let (flow, length) = flow(&event.packet);
        let key = (event.port.clone(), flow.clone());
        if self.flows.len() >= TALKERS_MAX && !self.flows.contains_key(&key) {
            return;
        }
        let talker = self.flows.entry(key).or_insert_with(|| Talker {
            port: event.port.clone(),
            flow,
            outcome: String::new(),
            frames: 0,
            bytes: 0,
        });
        talker.frames += 1;
        talker.bytes += length;
        talker.outcome = outcome(event);
    }

    pub(super) fn talkers(&self) -> Vec<Talker> {
        self.flows.values().cloned().collect()
    }
}

/// Who speaks to whom, and a packet's length, of its words: `tcp A > B flags ... length 54`.
fn flow(packet: &str) -> (String, u64) {
    let words: Vec<&str> = packet.split_whitespace().collect();
    let length = words.iter().rposition(|word| *word == "length").and_then(|at| words.get(at + 1));
    let ends = if words.get(2) == Some(&">") { 4 } else { 3 };
    let flow = words.iter().take(ends).copied().collect::<Vec<_>>().join(" ");
    (flow, length.and_then(|length| length.parse().ok()).unwrap_or(0))
}

fn outcome(event: &WatchEvent) -> String {
    match (event.verdict.kind, event.flooded_to) {
        (VerdictKind::Sent, Some(ports)) => format!("{ports} ports"),
        (VerdictKind::Sent, None) => {
            let ports: Vec<_> = event.verdict.receivers.iter().map(|to| to.port.as_str()).collect();
            ports.join(", ")
        }
        (VerdictKind::Control, _) => "the switch itself".to_owned(),
        (VerdictKind::Dropped, _) => format!("dropped: {}", event.verdict.reason.as_deref().unwrap_or("?")),
        (VerdictKind::Unknown, _) => "waits".to_owned(),
    }
}

/// The threads that ask; they end when this is dropped.
pub(super) struct Feed {
    news: Receiver<Result<Figures, String>>,
    sampled: Arc<Mutex<Sampled>>,
    wants_talkers: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
    }
}

impl Feed {
    pub(super) fn start(client: Client, first: Moment, interval: Duration) -> io::Result<Self> {
        let (sender, news) = sync_channel(1);
        let feed =
            Self { news, sampled: Arc::default(), wants_talkers: Arc::default(), ended: Arc::default() };
        let asker = client.clone();
        let ended = Arc::clone(&feed.ended);
        thread::Builder::new().spawn(move || ask(&asker, first, interval, &sender, &ended))?;
        let (sampled, wanted, ended) =
            (Arc::clone(&feed.sampled), Arc::clone(&feed.wants_talkers), Arc::clone(&feed.ended));
        thread::Builder::new().spawn(move || sample(&client, &sampled, &wanted, &ended))?;
        Ok(feed)
    }

    /// Samples are taken only while somebody looks at them.
    pub(super) fn wants_talkers(&self, wanted: bool) {
        self.wants_talkers.store(wanted, Relaxed);
    }

    /// Gives the screen what is new.
    pub(super) fn news(&self, app: &mut App) {
        self.news.try_iter().for_each(|news| app.take(news));
        if self.wants_talkers.load(Relaxed) && !app.is_paused {
            let sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
            (app.talkers, app.talkers_missing) = (sampled.talkers(), sampled.missing.clone());
        }
    }
}

fn ask(
    client: &Client,
    first: Moment,
    interval: Duration,
    news: &SyncSender<Result<Figures, String>>,
    ended: &AtomicBool,
) {
    let mut before = first;
    while rest(interval, ended) {
        let told = match moment(client) {
            Ok(now) => {
                let figures = Figures::between(&before, &now);
                before = now;
                Ok(figures)
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(TrySendError::Disconnected(_)) = news.try_send(told) {
            return;
        }
    }
}

/// Sleeps; says whether to go on.
fn rest(time: Duration, ended: &AtomicBool) -> bool {
    let end = Instant::now() + time;
    while !ended.load(Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(LOOK_EVERY));
    }
    false
}

fn sample(client: &Client, sampled: &Mutex<Sampled>, wanted: &AtomicBool, ended: &AtomicBool) {
    let goes_on = || wanted.load(Relaxed) && !ended.load(Relaxed);
    while rest(LOOK_EVERY, ended) {
        if !goes_on() {
            continue;
        }
        // A line comes at least once a second, so that the end is noticed.
        let outcome = client.watch(b"{}".to_vec(), |line| {
            let mut sampled = sampled.lock().unwrap_or_else(PoisonError::into_inner);
            sampled.missing = None;
            if let WatchLine::Sample(event) = line {
                sampled.add(&event);
            }
            goes_on()
        });
        if let Err(error) = outcome {
            sampled.lock().unwrap_or_else(PoisonError::into_inner).missing = Some(error.to_string());
            if !rest(Duration::from_secs(1), ended) {
                return;
            }
        }
    }
}
