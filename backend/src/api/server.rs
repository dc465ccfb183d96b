//! The API's thread: a small HTTP server whose every resource is bounded, so that no client can hurt the daemon.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::response::Response;
use axum::{Extension, Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::lasting::Lasting;
use super::routes::router;
use super::tally::{Door, Tally};
use super::tcp;
use crate::control::Handle;
use crate::sandbox::confine_helper;
use crate::vhost_user::Listener;

/// Connections served at once; more wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 32;
/// The same of TCP, so that whoever comes from there keeps nobody from the Unix socket.
const TCP_CONNECTIONS_MAX: usize = 8;
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
    gate: Gate,
}

/// Keeps clients waiting, who have connected and are not served yet. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Serves nobody who comes from now on.
    pub fn close(&self) {
        self.0.send_replace(false);
    }

    /// Serves who waits.
    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Serves `handle` on `listener`, and what there is to read on `tcp`, too, in a thread of its own.
    ///
    /// # Errors
    /// The thread or its event loop could not be made.
    pub fn start(handle: Handle, listener: Listener, tcp: Option<TcpListener>) -> Result<Self, ServerError> {
        let runtime = runtime().map_err(|error| ServerError { what: "event loop", error })?;
        let (stop, stopped) = oneshot::channel();
        let (gate, is_open) = watch::channel(true);
        let serve = move || {
            confine_helper();
            runtime.block_on(async {
                let tally = Arc::new(Tally::default());
                let router = router(handle, Arc::clone(&tally));
                let readers =
                    tcp.map(|tcp| tokio::spawn(accept_tcp(tcp, Desk::tcp(&router, &tally), is_open.clone())));
                let acceptor = tokio::spawn(accept_all(listener, Desk::unix(router, tally), is_open));
                // An error means that the sender was dropped: the same wish.
                let _ = stopped.await;
                readers.inspect(tokio::task::JoinHandle::abort);
                acceptor.abort();
                // Awaited, so that the listener is dropped and its socket removed.
                let _ = acceptor.await;
            });
            runtime.shutdown_timeout(END_MAX);
        };
        let thread = std::thread::Builder::new().name("api".to_owned()).spawn(serve);
        let thread = thread.map_err(|error| ServerError { what: "thread", error })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), gate: Gate(gate) })
    }

    /// The gate through which clients come.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate.clone()
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

/// What serves the clients that come by one door.
#[derive(Clone)]
struct Desk {
    router: Router,
    door: Door,
    tally: Arc<Tally>,
    slots: Arc<Semaphore>,
}

impl Desk {
    fn unix(router: Router, tally: Arc<Tally>) -> Self {
        Self::new(router, Door::Unix, tally, CONNECTIONS_MAX)
    }

    fn tcp(router: &Router, tally: &Arc<Tally>) -> Self {
        let turns = Arc::new(Semaphore::new(1));
        let guarded = router.clone().layer(middleware::from_fn_with_state(turns, tcp::guard));
        Self::new(guarded, Door::Tcp, Arc::clone(tally), TCP_CONNECTIONS_MAX)
    }

    fn new(router: Router, door: Door, tally: Arc<Tally>, connections: usize) -> Self {
        let counted = Arc::clone(&tally);
        let count = move |response: Response| {
            counted.answered(door, response.status().as_u16());
            std::future::ready(response)
        };
        let router = router.layer(middleware::map_response(count));
        Self { router, door, tally, slots: Arc::new(Semaphore::new(connections)) }
    }

    /// Waits until one more client may be served.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Serves who came, in a task of its own.
    async fn take(&self, accepted: io::Result<impl Stream>, slot: OwnedSemaphorePermit) {
        match accepted {
            Ok(stream) => drop(tokio::spawn(serve(stream, self.clone(), slot))),
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// A connection's bytes.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// `listener` keeps the socket's file, and removes it when this ends.
async fn accept_all(listener: Listener, desk: Desk, mut is_open: watch::Receiver<bool>) {
    let socket = match watched(&listener) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, "the API cannot watch its socket; restart the daemon"),
    };
    while let Some(slot) = desk.slot().await {
        let accepted = through(&mut is_open, || socket.accept()).await;
        desk.take(accepted.map(|(stream, _)| stream), slot).await;
    }
}

async fn accept_tcp(listener: TcpListener, desk: Desk, is_open: watch::Receiver<bool>) {
    match tokio::net::TcpListener::from_std(listener) {
        Ok(socket) => accept_each(socket, desk, is_open).await,
        Err(error) => tracing::error!(%error, "the API cannot watch TCP; restart the daemon"),
    }
}

/// Serves `router` to so many clients at once, who are held to the limits of the API's own.
pub(crate) async fn serve_on_tcp(listener: tokio::net::TcpListener, router: Router, connections: usize) {
    // Its gate has nobody who would close it.
    let (_gate, is_open) = watch::channel(true);
    accept_each(listener, Desk::new(router, Door::Tcp, Arc::default(), connections), is_open).await;
}

async fn accept_each(socket: tokio::net::TcpListener, desk: Desk, mut is_open: watch::Receiver<bool>) {
    while let Some(slot) = desk.slot().await {
        let accepted = through(&mut is_open, || socket.accept()).await;
        desk.take(accepted.map(|(stream, _)| stream), slot).await;
    }
}

/// Who comes next while the gate is open.
async fn through<F: Future>(is_open: &mut watch::Receiver<bool>, accept: impl Fn() -> F) -> F::Output {
    loop {
        // Without its other end, it stays as it is.
        let _ = is_open.wait_for(|is_open| *is_open).await;
        tokio::select! {
            biased;
            Ok(_) = is_open.wait_for(|is_open| !*is_open) => {}
            accepted = accept() => return accepted,
        }
    }
}

fn watched(listener: &Listener) -> io::Result<UnixListener> {
    UnixListener::from_std(listener.as_fd().try_clone_to_owned()?.into())
}

/// One connection, one request; a client that is slow, silent or does not read is cut off. An answer that lasts is looked
/// after by who makes it.
async fn serve(stream: impl Stream, desk: Desk, _slot: OwnedSemaphorePermit) {
    let _open = desk.tally.opened(desk.door);
    let lasting = Arc::new(Lasting::default());
    let router = desk.router.layer(Extension(Arc::clone(&lasting)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
