//! A connection of a stack, as tokio reads and writes it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, Socket, State};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::{Ends, Stack};

/// How long the other side may take to end a connection after us.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// A connection; dropping it ends it at once.
pub(in crate::services) struct Stream {
    stack: Arc<Stack>,
    handle: SocketHandle,
    ends: Ends,
    last: Activity,
}

/// When something was last read or written.
#[derive(Clone, Debug)]
pub(in crate::services) struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    /// How long nothing has been read or written.
    pub(in crate::services) fn idle(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

impl Stream {
    pub(super) fn new(stack: Arc<Stack>, handle: SocketHandle, ends: Ends) -> Self {
        Self { stack, handle, ends, last: Activity(Arc::new(Mutex::new(Instant::now()))) }
    }

    /// The guest's address and port.
    pub(in crate::services) fn peer(&self) -> SocketAddr {
        self.ends.0
    }

    /// Our own.
    pub(in crate::services) fn local(&self) -> SocketAddr {
        self.ends.1
    }

    /// Tells how long the connection has been idle.
    pub(in crate::services) fn activity(&self) -> Activity {
        self.last.clone()
    }

    /// Waits until the connection is there; `false`: it will not be.
    pub(in crate::services) async fn established(&mut self) -> bool {
        let wait = poll_fn(|context| {
            self.with(|socket| match socket.state() {
                State::SynReceived | State::SynSent => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                state => Poll::Ready(state != State::Closed && state != State::Listen),
            })
        });
        timeout(super::HANDSHAKE_MAX, wait).await.unwrap_or(false)
    }

    /// Ends the connection in good order: what was written gets there first.
    pub(in crate::services) async fn finish(self) {
        self.with(|socket| socket.close());
        self.stack.touched.notify_one();
        let wait = poll_fn(|context| {
            self.with(|socket| match socket.state() {
                State::Closed | State::TimeWait | State::Listen => Poll::Ready(()),
                _ => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
            })
        });
        // Whoever takes longer is cut off.
        let _ = timeout(LINGER_MAX, wait).await;
    }

    fn with<R>(&self, f: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        f(self.stack.inner.lock().sockets.get_mut(self.handle))
    }

    /// Something was read or written.
    fn touch(&self) {
        *self.last.0.lock() = Instant::now();
        self.stack.touched.notify_one();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.with(|socket| {
            if socket.can_recv() || !socket.may_recv() {
                return Poll::Ready(socket.recv_slice(buffer.initialize_unfilled()));
            }
            socket.register_recv_waker(context.waker());
            Poll::Pending
        });
        read.map(|read| match read {
            Ok(length) => {
                buffer.advance(length);
                self.touch();
                Ok(())
            }
            // The other side ended it; what ended in another way has no end of the stream.
            Err(RecvError::Finished) => Ok(()),
            Err(RecvError::InvalidState) => Err(io::ErrorKind::ConnectionReset.into()),
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.with(|socket| {
            if socket.can_send() || !socket.may_send() {
                return Poll::Ready(socket.send_slice(bytes));
            }
            socket.register_send_waker(context.waker());
            Poll::Pending
        });
        written.map(|written| {
            self.touch();
            written.map_err(|_| io::ErrorKind::BrokenPipe.into())
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(Socket::close);
        self.stack.touched.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut inner = self.stack.inner.lock();
        inner.close(&self.ends);
        self.stack.send_made(&mut inner);
    }
}
