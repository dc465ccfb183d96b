//! The API's thread: a small HTTP server whose every resource is bounded, so that no client can hurt the daemon.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::lasting::Lasting;
use super::routes::router;
use crate::control::Handle;
use crate::vhost_user::Listener;

/// Connections served at once; more wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 32;
/// A connection ends after this time, whatever its client does: one request and its answer take milliseconds.
const CONNECTION_MAX: Duration = Duration::from_secs(20);
/// A client that has not sent its request's head by then is cut off.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Header lines of a request.
const HEADERS_MAX: usize = 32;
/// Threads that wait for the control thread.
const WAITERS_MAX: usize = 4;
/// How long the end of the daemon waits for requests that are under way.
const END_MAX: Duration = Duration::from_millis(500);

/// Why the API did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the API's {what}: {error}; raise the limits of open files and threads (ulimit -n, -u)")]
pub struct ServerError {
    what: &'static str,
    error: io::Error,
}

/// The running server; dropping it ends it and removes its socket.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `handle` on `listener` in a thread of its own.
    ///
    /// # Errors
    /// The thread or its event loop could not be made.
    pub fn start(handle: Handle, listener: Listener) -> Result<Self, ServerError> {
        let runtime = runtime().map_err(|error| ServerError { what: "event loop", error })?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let acceptor = tokio::spawn(accept_all(listener, router(handle)));
                // An error means that the sender was dropped: the same wish.
                let _ = stopped.await;
                acceptor.abort();
                // Awaited, so that the listener is dropped and its socket removed.
                let _ = acceptor.await;
            });
            runtime.shutdown_timeout(END_MAX);
        };
        let thread = std::thread::Builder::new().name("api".to_owned()).spawn(serve);
        let thread = thread.map_err(|error| ServerError { what: "thread", error })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends within END_MAX; a panic in it has been logged already.
            let _ = thread.join();
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    let waiter_lifetime = Duration::from_secs(1);
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WAITERS_MAX)
        .thread_keep_alive(waiter_lifetime)
        .thread_name("api-wait")
        .build()
}

/// `listener` keeps the socket's file, and removes it when this ends.
async fn accept_all(listener: Listener, router: Router) {
    let socket = match watched(&listener) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, "the API cannot watch its socket; restart the daemon"),
    };
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, router.clone(), slot))),
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn watched(listener: &Listener) -> io::Result<UnixListener> {
    UnixListener::from_std(listener.as_fd().try_clone_to_owned()?.into())
}

/// One connection, one request; a client that is slow, silent or does not read is cut off. An answer that lasts is looked
/// after by who makes it.
async fn serve(stream: UnixStream, router: Router, _slot: OwnedSemaphorePermit) {
    let lasting = Arc::new(Lasting::default());
    let marker = Arc::clone(&lasting);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.layer(Extension(marker))));
    let mut connection = std::pin::pin!(connection);
    loop {
        match timeout(CONNECTION_MAX, connection.as_mut()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the API ended a connection"),
            Err(_) if lasting.lasts() => continue,
            Err(_) => tracing::debug!("the API ended a connection that took too long"),
        }
        return;
    }
}
