//! Answers that last: lines that come as things happen, until the client goes.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use std::convert::Infallible;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces of an answer that may wait for the client.
const PIECES_MAX: usize = 4;

/// Whether a connection's answer lasts, so that it is not cut off for the time that it takes.
#[derive(Debug, Default)]
pub(super) struct Lasting(AtomicBool);

impl Lasting {
    /// The answer lasts from now on, or no more.
    pub(super) fn set(&self, lasts: bool) {
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
    let (sender, receiver) = channel(PIECES_MAX);
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (sender, (kind, Body::new(Pieces(receiver))).into_response())
}
