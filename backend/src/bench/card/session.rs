//! The frontend's side of vhost-user: makes a card's memory and rings known to a switch (QEMU, docs/interop/vhost-user).

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::VhostUserHeaderFlag;
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;

use super::ring::Ring;
use super::shared::Shared;
use crate::bench::error::BenchError;
use crate::bench::interrupt;
use crate::vhost_user::features::PROTOCOL_FEATURES;

/// How long the whole conversation may take.
const TALK_WITHIN: Duration = Duration::from_secs(10);
/// How long the other side may take to listen or to connect.
const MEET_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What the driver takes: headers of 12 bytes, and nothing of offloads.
const WANTED: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_NET_F_MRG_RXBUF;

/// Who makes the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// We connect to a switch that listens.
    Connect,
    /// We listen, and the switch connects (Open vSwitch's dpdkvhostuserclient).
    Listen,
}

/// Connections at all of these sockets, in their order.
pub(super) fn meet(sockets: &[&Path], side: Side) -> Result<Vec<UnixStream>, BenchError> {
    match side {
        Side::Connect => sockets.iter().map(|socket| connect(socket)).collect(),
        Side::Listen => {
            let bound: Result<Vec<_>, _> = sockets.iter().map(|socket| Bound::at(socket)).collect();
            bound?.iter().map(Bound::accept).collect()
        }
    }
}

fn connect(socket: &Path) -> Result<UnixStream, BenchError> {
    let missing = |error| BenchError::Meet { socket: socket.to_owned(), side: "listens at", error };
    patiently(|| UnixStream::connect(socket)).map_err(missing)?
}

/// A listener whose socket file goes with it.
struct Bound<'s> {
    socket: &'s Path,
    listener: UnixListener,
}

impl<'s> Bound<'s> {
    fn at(socket: &'s Path) -> Result<Self, BenchError> {
        let refused =
            |error| BenchError::Meet { socket: socket.to_owned(), side: "could be awaited at", error };
        let listener = UnixListener::bind(socket).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        Ok(Self { socket, listener })
    }

    fn accept(&self) -> Result<UnixStream, BenchError> {
        let missing =
            |error| BenchError::Meet { socket: self.socket.to_owned(), side: "connected to", error };
        let stream = patiently(|| self.listener.accept()).map_err(missing)??.0;
        stream.set_nonblocking(false).map_err(missing)?;
        Ok(stream)
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.socket);
    }
}

/// Tries until it works; the outer error is the last one, the inner one an interruption.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<Result<T, BenchError>> {
    let deadline = Instant::now() + MEET_WITHIN;
    loop {
        match attempt() {
            Ok(value) => return Ok(Ok(value)),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
        if let Err(interrupted) = interrupt::check() {
            return Ok(Err(interrupted));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A connection over which a card runs; it stops when this is dropped.
pub(super) struct Session {
    frontend: Frontend,
    protocol: bool,
    offered: u64,
}

impl Session {
    /// Tells the other side all about a card: its `memory`, and its rings, the one that it receives from first
    /// (virtio 1.2, 5.1.2).
    pub(super) fn start(stream: UnixStream, memory: &Shared, rings: [&Ring; 2]) -> Result<Self, BenchError> {
        let limit = Limit::over(&stream)?;
        let mut session = Self { frontend: Frontend::from_stream(stream, 2), protocol: false, offered: 0 };
        let done = session.talk(memory, rings).map_err(BenchError::Talk);
        drop(limit);
        done.map(|()| session)
    }

    fn talk(&mut self, memory: &Shared, rings: [&Ring; 2]) -> Result<(), vhost::Error> {
        self.agree()?;
        self.frontend.set_mem_table(&[region(memory)])?;
        for (index, ring) in rings.into_iter().enumerate() {
            self.start_ring(index, memory, ring)?;
        }
        Ok(())
    }

    fn agree(&mut self) -> Result<(), vhost::Error> {
        self.frontend.set_owner()?;
        self.offered = self.frontend.get_features()?;
        if self.offered & WANTED == 0 {
            // Headers would have 10 bytes (virtio 1.2, 5.1.6.1): no switch of the last ten years.
            return Err(vhost::Error::InvalidOperation);
        }
        self.protocol = self.offered & PROTOCOL_FEATURES != 0;
        self.frontend.set_features(self.offered & (WANTED | PROTOCOL_FEATURES))?;
        if self.protocol {
            let acknowledge = self.frontend.get_protocol_features()? & VhostUserProtocolFeatures::REPLY_ACK;
            self.frontend.set_protocol_features(acknowledge)?;
            if !acknowledge.is_empty() {
                self.frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
            }
        }
        Ok(())
    }

    fn start_ring(&mut self, index: usize, memory: &Shared, ring: &Ring) -> Result<(), vhost::Error> {
        let [descriptors, available, used] = ring.parts().map(|offset| memory.address(offset));
        let addresses = VringConfigData {
            queue_max_size: ring.size(),
            queue_size: ring.size(),
            flags: 0,
            desc_table_addr: descriptors,
            used_ring_addr: used,
            avail_ring_addr: available,
            log_addr: None,
        };
        self.frontend.set_vring_num(index, ring.size())?;
        self.frontend.set_vring_base(index, 0)?;
        self.frontend.set_vring_addr(index, &addresses)?;
        self.frontend.set_vring_call(index, &ring.call)?;
        self.frontend.set_vring_kick(index, &ring.kick)?;
        if self.protocol { self.frontend.set_vring_enable(index, true) } else { Ok(()) }
    }
}

fn region(memory: &Shared) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: memory.address(0),
        memory_size: memory.size() as u64,
        userspace_addr: memory.address(0),
        mmap_offset: 0,
        mmap_handle: memory.file().as_raw_fd(),
    }
}

/// Cuts the connection when the conversation takes too long: the `vhost` crate waits for answers for ever.
struct Limit {
    _done: Sender<()>,
}

impl Limit {
    fn over(stream: &UnixStream) -> Result<Self, BenchError> {
        let stream = stream.try_clone().map_err(BenchError::system("copy a socket's descriptor"))?;
        let (done, waits) = channel::<()>();
        thread::spawn(move || {
            if waits.recv_timeout(TALK_WITHIN) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        });
        Ok(Self { _done: done })
    }
}
