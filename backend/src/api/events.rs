//! `GET /v1/events`: what happens, as lines of JSON until the client goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use hyper::body::Bytes;

use super::lasting::{Lasting, hand_on, lines, push};
use super::routes::{Api, Refused};
use crate::control::Journal;
use crate::model::{EventLine, EventsLost};

/// How often it is looked whether something happened.
const PAUSE: Duration = Duration::from_millis(50);

/// How long nothing may happen until the place is told, so that both sides know that the other is there.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Events that are told at once.
const EVENTS_AT_ONCE: usize = 128;

/// A client that reads nothing for so long is cut off.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Where the client wants to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Wanted {
    from: Option<u64>,
    run: Option<u64>,
}

fn wanted(uri: &Uri) -> Result<Wanted, Refused> {
    let wrong = |part: &str| {
        let error = format!("the query says {part}; it may say from=NUMBER and run=NUMBER, each once");
        Refused::new(StatusCode::BAD_REQUEST, error)
    };
    let mut wanted = Wanted::default();
    for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let place = match name {
            "from" => &mut wanted.from,
            "run" => &mut wanted.run,
            _ => return Err(wrong(part)),
        };
        if place.replace(value.parse().map_err(|_| wrong(part))?).is_some() {
            return Err(wrong(part));
        }
    }
    Ok(wanted)
}

/// Events until the client goes.
pub(super) async fn events(
    State(shared): Api,
    Extension(lasting): Extension<Arc<Lasting>>,
    uri: Uri,
) -> Result<Response, Refused> {
    let wanted = wanted(&uri)?;
    let busy = |_| {
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "so many listen to events already; end one of them")
    };
    let place = Arc::clone(&shared.listeners).try_acquire_owned().map_err(busy)?;
    let (sender, answer) = lines();
    lasting.set(true);
    let journal = shared.handle.journal().clone();
    drop(tokio::spawn(async move {
        pump(&journal, wanted, &sender).await;
        lasting.set(false);
        drop(place);
    }));
    Ok(answer)
}

/// Hands events on, until the client is gone or has read nothing for too long.
async fn pump(journal: &Journal, wanted: Wanted, sender: &Sender<Bytes>) {
    let (mut text, mut next) = begin(journal, wanted);
    let mut told = Instant::now();
    loop {
        let heard = journal.read(next, EVENTS_AT_ONCE);
        next = heard.next;
        if heard.lost > 0 {
            push(&mut text, &EventLine::Lost(EventsLost { events: Some(heard.lost) }));
        }
        heard.events.into_iter().for_each(|event| push(&mut text, &EventLine::Event(event)));
        if text.is_empty() && told.elapsed() >= SILENCE_MAX {
            push(&mut text, &EventLine::Place(journal.place()));
        }
        if !text.is_empty() {
            told = Instant::now();
            if !hand_on(sender, std::mem::take(&mut text), STALL_MAX).await {
                return;
            }
        }
        sleep(PAUSE).await;
    }
}

/// The first lines, and the event that is told first: what happens from now on, unless the client named an earlier one.
fn begin(journal: &Journal, wanted: Wanted) -> (String, u64) {
    let (mut text, place) = (String::new(), journal.place());
    push(&mut text, &EventLine::Place(place));
    let is_other = wanted.run.is_some_and(|run| run != place.run);
    if is_other {
        push(&mut text, &EventLine::Lost(EventsLost { events: None }));
    }
    let first = if is_other { 1 } else { wanted.from.unwrap_or(place.next) };
    (text, first.min(place.next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_where_it_was_and_for_which_process_that_counts() {
        let read = |query: &str| {
            wanted(&format!("/v1/events?{query}").parse().unwrap()).map_err(|refused| refused.1.error)
        };
        assert_eq!(read("from=7&run=12"), Ok(Wanted { from: Some(7), run: Some(12) }));
        assert_eq!(read(""), Ok(Wanted::default()));
        for wrong in ["from=x", "from=1&from=2", "since=3", "from"] {
            assert!(read(wrong).unwrap_err().contains("from=NUMBER"), "{wrong}");
        }
        let journal = Journal::default();
        let place = journal.place();
        assert_eq!(
            begin(&journal, Wanted { from: Some(9999), run: None }).1,
            1,
            "of a place that is still to come"
        );
        let (text, first) = begin(&journal, Wanted { from: Some(5), run: Some(place.run + 1) });
        assert!(first == 1 && text.contains("{\"lost\":{\"events\":null}}"), "{text}");
    }
}
