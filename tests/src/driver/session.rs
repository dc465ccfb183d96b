//! One vhost-user connection: the `vhost` crate's frontend for what it says, raw messages for the rest.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use vhost::vhost_user::message::VhostUserHeaderFlag;
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};

use super::features::{PROTOCOL_FEATURES, RING_PACKED};
use super::memory::{Memory, Region};
use super::message::{self, Message, NO_DESCRIPTOR, Reply, request};
use super::ring::Ring;
use super::watchdog::Watch;
use crate::deadline::wait_for;

/// How long a reply may take.
pub const REPLY_LIMIT: Duration = Duration::from_secs(5);
/// How long the daemon may take to listen or to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// More than the largest message of regions that QEMU sends at once; beyond, slots are added one by one.
const TABLE_REGIONS_MAX: usize = 8;

/// A connection on which the protocol's features were negotiated.
pub struct Session {
    /// The `vhost` crate's frontend.
    pub frontend: Frontend,
    watch: Watch,
    /// The same socket, for messages of the test's own.
    pub stream: UnixStream,
    /// Virtio features that the port offers.
    pub offered: u64,
    /// Protocol features that the port offers (bit numbers of the protocol).
    pub protocol: u64,
    /// Virtio features that were taken.
    pub taken: u64,
    /// Queue pairs that the port allows.
    pub queue_pairs: u64,
    /// Memory slots that the port allows.
    pub memory_slots: u64,
}

/// Connects to a port that listens at `path`.
#[must_use]
pub fn connect(path: &Path) -> UnixStream {
    let what = format!("somebody to listen at {}", path.display());
    wait_for(&what, CONNECT_LIMIT, || UnixStream::connect(path).ok())
}

/// Listens at `path`, for a port that connects.
#[must_use]
pub fn listen(path: &Path) -> UnixListener {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Takes the connection of a port that connects.
#[must_use]
pub fn accept(listener: &UnixListener) -> UnixStream {
    let stream = wait_for("the port to connect", CONNECT_LIMIT, || listener.accept().ok()).0;
    stream.set_nonblocking(false).unwrap();
    stream
}

impl Session {
    /// Negotiates as QEMU does: features, protocol features, queues, slots, ownership.
    #[must_use]
    pub fn negotiate(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(REPLY_LIMIT)).unwrap();
        stream.set_write_timeout(Some(REPLY_LIMIT)).unwrap();
        let watch = Watch::over(&stream, REPLY_LIMIT);
        let mut frontend = Frontend::from_stream(stream.try_clone().unwrap(), 256);
        let (offered, protocol, memory_slots) = watch.bounded(|| agree(&mut frontend));
        let mut session =
            Self { frontend, watch, stream, offered, protocol, taken: 0, queue_pairs: 0, memory_slots };
        // The crate's own GET_QUEUE_NUM would take the number of pairs for one of rings.
        session.queue_pairs =
            session.ask(&Message::new(request::GET_QUEUE_NUM)).expect("GET_QUEUE_NUM").value();
        session.call("SET_OWNER", |frontend| frontend.set_owner());
        session
    }

    /// Calls the `vhost` crate's frontend; panics with `what` when the daemon refuses or does not answer in time.
    pub fn call<T>(&mut self, what: &str, call: impl FnOnce(&mut Frontend) -> vhost::Result<T>) -> T {
        let frontend = &mut self.frontend;
        self.watch.bounded(|| call(frontend)).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends a message and returns the reply.
    ///
    /// # Errors
    /// What the socket says: the daemon may have closed it, or not answered in time.
    pub fn ask(&self, message: &Message) -> io::Result<Reply> {
        message.send(&self.stream)?;
        let reply = message::receive(&self.stream, REPLY_LIMIT);
        self.stream.set_read_timeout(Some(REPLY_LIMIT))?;
        reply
    }

    /// Sends a message that asks for an acknowledgement; true when it was done, false when the daemon refused it,
    /// by its answer or by closing the connection.
    #[must_use]
    pub fn accepts(&self, message: &Message) -> bool {
        match self.ask(&message.clone().need_reply()) {
            Ok(reply) => reply.value() == 0,
            Err(error) => {
                assert!(!message::is_timeout(&error), "no answer within {REPLY_LIMIT:?} to {message:?}");
                false
            }
        }
    }

    /// Whether the connection still answers.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.ask(&Message::new(request::GET_FEATURES)).is_ok()
    }

    /// Takes the features `wanted`; panics when one of them is not offered.
    pub fn take_features(&mut self, wanted: u64) {
        let missing = wanted & !self.offered;
        assert_eq!(missing, 0, "feature bits {missing:#x} are not offered (offered: {:#x})", self.offered);
        self.call("SET_FEATURES", |frontend| frontend.set_features(wanted | PROTOCOL_FEATURES));
        self.taken = wanted;
    }

    /// Makes the guest's memory known: a table of up to 8 regions at once, more of them slot by slot.
    pub fn share_memory(&mut self, memory: &Memory) {
        if memory.regions.len() <= TABLE_REGIONS_MAX {
            let table: Vec<_> = memory.regions.iter().map(region_info).collect();
            self.call("SET_MEM_TABLE", |frontend| frontend.set_mem_table(&table));
        } else {
            for region in &memory.regions {
                self.add_region(region);
            }
        }
    }

    /// Adds one memory slot.
    pub fn add_region(&mut self, region: &Region) {
        self.call("ADD_MEM_REG", |frontend| frontend.add_mem_region(&region_info(region)));
    }

    /// Removes one memory slot.
    pub fn remove_region(&mut self, region: &Region) {
        self.call("REM_MEM_REG", |frontend| frontend.remove_mem_region(&region_info(region)));
    }

    /// Starts ring `index` at `base` and enables it.
    pub fn start_ring(&mut self, index: usize, ring: &Ring, base: u16) {
        self.call("SET_VRING_NUM", |frontend| frontend.set_vring_num(index, ring.options.size));
        self.call("SET_VRING_BASE", |frontend| frontend.set_vring_base(index, base));
        self.call("SET_VRING_ADDR", |frontend| frontend.set_vring_addr(index, &ring_addresses(ring)));
        self.call("SET_VRING_ERR", |frontend| frontend.set_vring_err(index, &ring.error));
        if ring.polled {
            let nobody = index as u64 | NO_DESCRIPTOR;
            assert!(
                self.accepts(&Message::new(request::SET_VRING_CALL).u64(nobody)),
                "SET_VRING_CALL without fd"
            );
        } else {
            self.call("SET_VRING_CALL", |frontend| frontend.set_vring_call(index, &ring.call));
        }
        if ring.kickless {
            let nobody = index as u64 | NO_DESCRIPTOR;
            assert!(
                self.accepts(&Message::new(request::SET_VRING_KICK).u64(nobody)),
                "SET_VRING_KICK without fd"
            );
        } else {
            self.call("SET_VRING_KICK", |frontend| frontend.set_vring_kick(index, &ring.kick));
        }
        self.enable_ring(index, true);
    }

    /// Enables or disables ring `index`.
    pub fn enable_ring(&mut self, index: usize, enable: bool) {
        self.call("SET_VRING_ENABLE", |frontend| frontend.set_vring_enable(index, enable));
    }

    /// Stops ring `index`; returns where it stopped.
    ///
    /// # Panics
    /// If a packed ring is taken from and given back in different places, or a split ring's index has more than 16 bits.
    #[must_use]
    pub fn stop_ring(&mut self, index: usize) -> u16 {
        let base = self.call("GET_VRING_BASE", |frontend| frontend.get_vring_base(index));
        let (taken, given_back) = (base as u16, (base >> 16) as u16);
        let expected = if self.taken & RING_PACKED != 0 { taken } else { 0 };
        assert_eq!(given_back, expected, "the upper half of position {base:#x}");
        taken
    }
}

/// Features, protocol features and memory slots that are offered; all of them are taken.
fn agree(frontend: &mut Frontend) -> (u64, u64, u64) {
    let offered = frontend.get_features().expect("GET_FEATURES");
    frontend.set_features(offered & PROTOCOL_FEATURES).expect("acknowledging the protocol features");
    let protocol = frontend.get_protocol_features().expect("GET_PROTOCOL_FEATURES");
    frontend.set_protocol_features(protocol).expect("SET_PROTOCOL_FEATURES");
    if protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }
    let memory_slots = frontend.get_max_mem_slots().expect("GET_MAX_MEM_SLOTS");
    (offered, protocol.bits(), memory_slots)
}

/// `region` as it is told to the daemon.
#[must_use]
pub fn region_info(region: &Region) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: region.guest_address,
        memory_size: region.size,
        userspace_addr: region.user_address,
        mmap_offset: 0,
        mmap_handle: region.file.as_raw_fd(),
    }
}

/// Where the parts of `ring` are, in the frontend's address space.
#[must_use]
pub fn ring_addresses(ring: &Ring) -> VringConfigData {
    VringConfigData {
        queue_max_size: ring.options.size,
        queue_size: ring.options.size,
        flags: 0,
        desc_table_addr: ring.memory.to_user(ring.descriptor),
        used_ring_addr: ring.memory.to_user(ring.used),
        avail_ring_addr: ring.memory.to_user(ring.available),
        log_addr: None,
    }
}

/// The body of SET_VRING_ADDR for ring `index`: flags, and descriptor, used, available and log addresses.
#[must_use]
pub fn address_message(index: u32, descriptor: u64, used: u64, available: u64) -> Message {
    Message::new(request::SET_VRING_ADDR).u32(index).u32(0).u64(descriptor).u64(used).u64(available).u64(0)
}

/// The body of ADD_MEM_REG and REM_MEM_REG.
#[must_use]
pub fn region_message(
    request: u32,
    guest_address: u64,
    size: u64,
    user_address: u64,
    offset: u64,
) -> Message {
    Message::new(request).u64(0).u64(guest_address).u64(size).u64(user_address).u64(offset)
}
