//! Answers that last: lines that come as things happen, until the client goes.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use serde::Serialize;
use std::convert::Infallible;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

/// Pieces of an answer that may wait for the client.
const PIECES_MAX: usize = 4;

/// Whether a connection's answer lasts, so that it is not cut off for the time that it takes.
#[derive(Debug, Default)]
pub(crate) struct Lasting(AtomicBool);

impl Lasting {
    /// The answer lasts from now on, or no more.
    pub(crate) fn set(&self, lasts: bool) {
        self.0.store(lasts, Relaxed);
    }

    /// Whether it does.
    pub(super) fn lasts(&self) -> bool {
        self.0.load(Relaxed)
    }
}

struct Pieces(Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// An answer of lines of JSON, and the end where they are put in.
pub(super) fn lines() -> (Sender<Bytes>, Response) {
    pieces("application/x-ndjson")
}

/// An answer of this media type, and the end where it is put in.
pub(crate) fn pieces(kind: &'static str) -> (Sender<Bytes>, Response) {
    let (sender, receiver) = channel(PIECES_MAX);
    (sender, ([(header::CONTENT_TYPE, kind)], Body::new(Pieces(receiver))).into_response())
}

/// Whether the client is there, and reads within `limit`.
pub(crate) async fn hand_on(sender: &Sender<Bytes>, text: impl Into<Bytes>, limit: Duration) -> bool {
    matches!(timeout(limit, sender.send(text.into())).await, Ok(Ok(())))
}

/// Adds a line.
pub(super) fn push(text: &mut String, line: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(line) {
        text.push_str(&line);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_reads_nothing_is_waited_for_until_the_limit_and_not_longer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let limit = Duration::from_millis(30);
            let (sender, mut reader) = tokio::sync::mpsc::channel(1);
            assert!(hand_on(&sender, "one".to_owned(), limit).await, "there is room");
            let start = Instant::now();
            assert!(!hand_on(&sender, "two".to_owned(), limit).await);
            assert!(start.elapsed() >= limit);
            assert_eq!(reader.recv().await.unwrap(), "one");
            assert!(hand_on(&sender, "three".to_owned(), limit).await, "who reads again goes on");
            drop(reader);
            assert!(!hand_on(&sender, "four".to_owned(), Duration::from_secs(60)).await, "nobody is there");
        });
    }
}
