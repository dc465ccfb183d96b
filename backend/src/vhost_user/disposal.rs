//! What a port's sessions leave behind, and the threads that put it away.
//!
//! Two things are kept from the control thread, which serves all ports. Closing a file that a peer chose may take as
//! long as the peer likes: a file on FUSE asks whoever serves that file system, a socket with SO_LINGER waits until its
//! data is read, and a UNIX socket takes along the files that were sent to it and not received. Freeing a guest's
//! memory comes to an end, but takes about a fifth of a second for each GiB.
//!
//! Each port has a thread for either while there is something to do: what blocks one port's blocks nobody else's, and a
//! file that cannot be closed keeps no memory from being freed. What waits is counted. A port with too much of it is
//! neither read nor accepted anew until there is less ([`Disposal::crowded`]), so that peers pile up no more than that,
//! however often they come back.

use std::any::Any;
use std::collections::VecDeque;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory;
use crate::sandbox::confine_helper;

/// Files of a port that may wait to be closed before it is held back. The message after which it is held back may
/// leave as many more as the kernel delivers at once.
const FILES_MAX: usize = 64;

/// Memory regions of a port that may wait to be freed before it is held back: a guest with all that it can have may
/// end and its successor start at once.
const REGIONS_MAX: usize = memory::REGIONS_MAX + 64;

/// Why a port is held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Crowded {
    /// Too many files.
    #[error(
        "{0} files that frontends sent wait to be closed, and the first one blocks: it is on FUSE or a socket that \
         lingers; the port is held back until they are closed: end the process that serves or reads it"
    )]
    Files(usize),
    /// Too much memory.
    #[error("{0} memory regions of the port's past guests are not freed yet; it is held back until they are")]
    Regions(usize),
}

/// Puts away what the sessions of one port leave behind. Clones share threads and counts.
#[derive(Clone, Debug)]
pub struct Disposal {
    files: Arc<Queue>,
    regions: Arc<Queue>,
}

impl Default for Disposal {
    fn default() -> Self {
        Self { files: Queue::new("closer"), regions: Queue::new("reaper") }
    }
}

impl Disposal {
    /// Closes a file of which nothing is known.
    pub fn close(&self, file: OwnedFd) {
        self.files.put(1, Box::new(file));
    }

    /// Ends a connection: the peer hears of it at once, whatever else it takes.
    pub fn hang_up(&self, socket: UnixStream) {
        // It fails if the peer hung up first, which is as good: nothing can be sent to us any more.
        let _ = socket.shutdown(Shutdown::Both);
        match rustix::io::ioctl_fionread(&socket) {
            // Files come with bytes: where there are none, closing is quick.
            Ok(0) => drop(socket),
            _ => self.close(socket.into()),
        }
    }

    /// Drops what may be the last to refer to `regions` regions of memory.
    pub fn free(&self, regions: usize, memory: impl Send + 'static) {
        if regions > 0 {
            self.regions.put(regions, Box::new(memory));
        }
    }

    /// Why the port should be held back, if it should.
    #[must_use]
    pub fn crowded(&self) -> Option<Crowded> {
        let (files, regions) = (self.files.waiting(), self.regions.waiting());
        if files >= FILES_MAX {
            return Some(Crowded::Files(files));
        }
        (regions >= REGIONS_MAX).then_some(Crowded::Regions(regions))
    }
}

type Thing = Box<dyn Any + Send>;

/// Things to be dropped, and the thread that does so while there are any.
struct Queue {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// With what each counts.
    things: VecDeque<(usize, Thing)>,
    /// Their sum, the one included that is being dropped.
    waiting: usize,
    running: bool,
}

impl Queue {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(self: &Arc<Self>, count: usize, thing: Thing) {
        let mut state = self.lock();
        state.waiting += count;
        state.things.push_back((count, thing));
        self.start(&mut state);
    }

    /// How much waits. Asking also starts a thread where none could be had before.
    fn waiting(self: &Arc<Self>) -> usize {
        let mut state = self.lock();
        self.start(&mut state);
        state.waiting
    }

    fn start(self: &Arc<Self>, state: &mut State) {
        if state.running || state.things.is_empty() {
            return;
        }
        let queue = Arc::clone(self);
        let work = move || {
            confine_helper();
            queue.work();
        };
        let thread = std::thread::Builder::new().name(self.name.to_owned()).spawn(work);
        // The thread is not waited for at the end of the process, which takes away all that is left.
        state.running = thread.is_ok();
    }

    fn work(&self) {
        while let Some((count, thing)) = self.next() {
            drop(thing);
            self.lock().waiting -= count;
        }
    }

    fn next(&self) -> Option<(usize, Thing)> {
        let mut state = self.lock();
        let next = state.things.pop_front();
        state.running = next.is_some();
        next
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).field("waiting", &self.lock().waiting).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    use super::*;

    /// Something whose dropping takes until [`Gate`] is dropped.
    struct Slow(Receiver<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }

    /// Keeps a thread of a port from its work.
    pub(crate) struct Gate(#[expect(dead_code, reason = "dropping it is what it is for")] Sender<()>);

    fn slow() -> (Slow, Gate) {
        let (sender, receiver) = channel();
        (Slow(receiver), Gate(sender))
    }

    /// Keeps the port's reaper busy.
    pub(crate) fn block_reaper(disposal: &Disposal) -> Gate {
        let (slow, gate) = slow();
        disposal.regions.put(0, Box::new(slow));
        gate
    }

    /// Keeps the port's closer busy.
    pub(crate) fn block_closer(disposal: &Disposal) -> Gate {
        let (slow, gate) = slow();
        disposal.files.put(1, Box::new(slow));
        gate
    }

    /// Waits until there is nothing left to do.
    pub(crate) fn settle(disposal: &Disposal) {
        let end = Instant::now() + Duration::from_secs(5);
        while disposal.files.waiting() + disposal.regions.waiting() > 0 {
            assert!(Instant::now() < end, "{disposal:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A pipe's writer, and the reader that sees its end when the writer is closed.
    fn pipe() -> (OwnedFd, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        (writer.into(), reader)
    }

    /// A connection whose closing takes until its reader is closed (or ten seconds have passed).
    pub(crate) fn lingering() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (reader, _) = listener.accept().unwrap();
        writer.set_nonblocking(true).unwrap();
        // Full is what stays full, with all that is under way arrived.
        while std::iter::repeat_with(|| (&writer).write(&[0; 1 << 16])).take_while(Result::is_ok).count() > 0
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        writer.set_nonblocking(false).unwrap();
        let linger = libc::linger { l_onoff: 1, l_linger: 10 };
        let size = u32::try_from(size_of_val(&linger)).unwrap();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
        // SAFETY: `linger` is what the option takes, and `size` its length.
        let set =
            unsafe { libc::setsockopt(writer.as_raw_fd(), level, name, (&raw const linger).cast(), size) };
        assert_eq!(set, 0);
        (writer, reader)
    }

    #[test]
    fn a_file_that_cannot_be_closed_holds_up_its_own_port_alone() {
        let (jammed, other) = (Disposal::default(), Disposal::default());
        let gate = block_closer(&jammed);
        let (mine, mut end) = pipe();
        jammed.close(mine);
        let (theirs, mut their_end) = pipe();
        other.close(theirs);
        assert_eq!(their_end.read(&mut [0]).unwrap(), 0, "the other port's file is closed");
        let (slow, _) = slow();
        jammed.free(1, slow);
        let until = Instant::now() + Duration::from_secs(5);
        while jammed.regions.waiting() > 0 {
            assert!(Instant::now() < until, "memory is freed all the same");
        }
        assert_eq!(jammed.files.waiting(), 2);
        drop(gate);
        assert_eq!(end.read(&mut [0]).unwrap(), 0);
        settle(&jammed);
    }

    #[test]
    fn a_port_is_held_back_while_more_than_a_few_files_wait() {
        let disposal = Disposal::default();
        let gate = block_closer(&disposal);
        for _ in 1..FILES_MAX {
            assert_eq!(disposal.crowded(), None);
            disposal.close(pipe().0);
        }
        assert_eq!(disposal.crowded(), Some(Crowded::Files(64)));
        drop(gate);
        settle(&disposal);
        assert_eq!(disposal.crowded(), None);
    }

    #[test]
    fn a_port_is_held_back_while_more_than_one_guests_memory_waits() {
        let disposal = Disposal::default();
        let gate = block_reaper(&disposal);
        disposal.free(509, ());
        assert_eq!(disposal.crowded(), None, "the next guest may start at once");
        disposal.free(509, ());
        assert_eq!(disposal.crowded(), Some(Crowded::Regions(1018)));
        drop(gate);
        settle(&disposal);
        assert_eq!(disposal.crowded(), None);
    }

    #[test]
    fn a_connection_ends_for_its_peer_though_it_cannot_be_closed() {
        let disposal = Disposal::default();
        let _gate = block_closer(&disposal);
        let (mut peer, socket) = UnixStream::pair().unwrap();
        peer.write_all(b"unread").unwrap();
        disposal.hang_up(socket);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        assert_eq!(disposal.files.waiting(), 2);
        let (_peer, socket) = UnixStream::pair().unwrap();
        disposal.hang_up(socket);
        assert_eq!(disposal.files.waiting(), 2, "nothing can be in it");
    }
}
