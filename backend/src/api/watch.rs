//! `POST /v1/watch`: samples of real frames as lines of JSON, and the next packet that is meant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::body::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use super::diagnosis::question;
use super::lasting::{Lasting, hand_on, lines, push};
use super::routes::{Api, Refused, blocking};
use crate::control::{Handle, TraceError, WatchQuestion};
use crate::dataplane::{Sample, TapTally, Watch};
use crate::model::{Trace, WatchLine, WatchTally};

/// How often samples are taken from their queues.
const PAUSE: Duration = Duration::from_millis(50);

/// Samples that are taken at once.
const SAMPLES_MAX: usize = 128;

/// How often it is told how much was seen.
const TALLY_PAUSE: Duration = Duration::from_secs(1);

/// A client that reads nothing for so long is cut off.
const STALL_MAX: Duration = Duration::from_secs(10);

/// The longest time in seconds that a packet is waited for.
const WAIT_MAX_S: u64 = 15;

/// The question.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Question {
    /// Only frames that enter at this port, or leave by it.
    port: Option<String>,
    /// Only frames that are dropped or lost.
    drops: bool,
    /// Only packets that it means.
    filter: String,
}

/// Samples until the client goes.
pub(super) async fn watch(
    State(shared): Api,
    Extension(lasting): Extension<Arc<Lasting>>,
    body: Body,
) -> Result<Response, Refused> {
    let Question { port, drops, filter } = question(body).await?;
    let wanted = WatchQuestion { port, entering: false, drops, filter: filter.parse()? };
    let handle = shared.handle.clone();
    let watch = blocking(move || handle.watch(wanted)).await??;
    let (sender, answer) = lines();
    lasting.set(true);
    let handle = shared.handle.clone();
    drop(tokio::spawn(async move {
        pump(&handle, watch, &sender).await;
        lasting.set(false);
    }));
    Ok(answer)
}

/// Hands samples on, until the client is gone or has read nothing for too long.
async fn pump(handle: &Handle, watch: Watch, sender: &Sender<Bytes>) {
    let mut told = None::<Instant>;
    loop {
        let mut text = String::new();
        for line in told_samples(handle, watch.take(SAMPLES_MAX)).await {
            push(&mut text, &line);
        }
        if told.is_none_or(|told| told.elapsed() >= TALLY_PAUSE) {
            told = Some(Instant::now());
            push(&mut text, &WatchLine::Sampling(tally(watch.tally())));
        }
        if !text.is_empty() && !hand_on(sender, text, STALL_MAX).await {
            return;
        }
        sleep(PAUSE).await;
    }
}

fn tally(tally: TapTally) -> WatchTally {
    let TapTally { frames, looked_at, lost } = tally;
    WatchTally { frames, looked_at, lost }
}

async fn told_samples(handle: &Handle, samples: Vec<Sample>) -> Vec<WatchLine> {
    if samples.is_empty() {
        return Vec::new();
    }
    let handle = handle.clone();
    // A control thread that does not answer is told by other requests.
    let told = blocking(move || handle.tell(samples)).await.ok().and_then(Result::ok).unwrap_or_default();
    told.into_iter().map(|event| WatchLine::Sample(Box::new(event))).collect()
}

/// The way of the next real packet that enters at a port.
pub(super) async fn next(
    handle: &Handle,
    port: String,
    filter: &str,
    seconds: Option<u64>,
) -> Result<Trace, Refused> {
    let seconds = seconds.unwrap_or(10).min(WAIT_MAX_S);
    let wanted = WatchQuestion { port: Some(port), entering: true, drops: false, filter: filter.parse()? };
    let asked = handle.clone();
    let watch = blocking(move || asked.watch(wanted)).await??;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if let Some(sample) = watch.take(1).into_iter().next() {
            let handle = handle.clone();
            return Ok(blocking(move || handle.trace_sample(sample)).await??);
        }
        sleep(PAUSE / 5).await;
    }
    let TapTally { frames, looked_at, .. } = watch.tally();
    Err(TraceError::NoneCame { seconds, frames, looked_at }.into())
}
