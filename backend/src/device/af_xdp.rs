//! A port on an interface of the kernel by AF_XDP sockets (Documentation/networking/af_xdp.rst): one for each of the
//! interface's receive queues.
//!
//! A program on the interface (`xdp_program.rs`) hands all frames over, before the kernel makes anything of them: the
//! machine's own network gets none of them any more. Frames come in memory that is shared with the kernel and are read
//! there; those that go out are copied into it. Where the driver can, it uses that memory itself (zero copy). There are
//! no offloads: what guests left to be done is done on the way out.

use std::error::Error;
use std::ffi::c_int;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use viaduct_switch::offload::Capabilities;
use viaduct_switch::{DropReason, PortIndex};
use xdp::nic::NicIndex;
use xdp::slab::{HeapSlab, Slab};
use xdp::socket::{BindFlags, XdpSocket, XdpSocketBuilder};
use xdp::umem::{FrameSize, UmemCfgBuilder};
use xdp::{Packet, Umem};
use xdp::{RingConfigBuilder, RxRing, WakableFillRing};

use super::interface::{Interface, is_veth, look_up_running};
use super::xdp_exit::{ExitRings, XdpExit};
use super::xdp_memory::{Flags, FrameMemory, WokenRing};
use super::xdp_program::{AttachMode, ProgramError, XdpProgram};
use super::{Device, DeviceError, DeviceFault, DeviceKind, DeviceQueue, DeviceRequest, Intake};
use crate::dataplane::Signal;
use crate::ring::{Arrival, BURST_FRAMES, Burst};

/// Entries of each ring.
pub(super) const RING: u32 = 2048;

/// Frames of memory: as many on their way in as a ring holds, and twice as many on their way out, where they lie in one
/// ring before they are sent and in another one afterwards.
const FRAMES: u32 = 3 * RING;

/// Receive queues that are served at most.
const QUEUES_MAX: u32 = 64;

/// Bytes of a frame beside the packet: Ethernet header and two VLAN tags.
const OVERHEAD: u32 = 14 + 8;

/// Bytes of memory that the kernel keeps before each frame (XDP_PACKET_HEADROOM).
const HEADROOM: u32 = 256;

/// Bytes that may be on their way out of one socket, as the kernel counts.
const SOCKET_BYTES: c_int = 8 << 20;

/// How many frames one system call sends (XDP_MAX_TX_SKB_BUDGET, since Linux 6.17; before it is 32).
const SEND_BUDGET: c_int = 9;

/// Looks at an empty ring after which the socket is asked for an error.
const EMPTY_LOOKS: u32 = 4096;

/// Bursts after which the kernel is asked for its losses.
const STATISTICS_BURSTS: u32 = 1024;

/// What the kernel can do with an interface's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// The driver reads and writes our memory.
    ZeroCopy,
    /// The driver hands frames over, and they are copied.
    Driver,
    /// Any driver: the kernel hands frames over, and they are copied.
    Generic,
}

impl Way {
    fn attach_mode(self) -> AttachMode {
        if self == Self::Generic { AttachMode::Generic } else { AttachMode::Driver }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::ZeroCopy => "the driver has AF_XDP without a copy",
            Self::Driver => "the driver has XDP, with a copy for each frame",
            Self::Generic => "the kernel does XDP for the driver, with a copy for each frame",
        }
    }
}

/// Opens the interface of this thread's namespace in the best way that works.
pub(super) fn open(request: &DeviceRequest) -> Result<Device, DeviceError> {
    open_by(request, &[Way::ZeroCopy, Way::Driver, Way::Generic])
}

/// Opens it only if the driver needs no copy.
pub(super) fn open_without_copy(request: &DeviceRequest) -> Result<Device, DeviceError> {
    open_by(request, &[Way::ZeroCopy])
}

/// Why an interface is not opened without a copy, in few words.
pub(super) fn why_not(refusal: &DeviceError) -> String {
    match refusal {
        DeviceError::Refused { error, .. } if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            "its driver has no AF_XDP without a copy".to_owned()
        }
        DeviceError::Refused { what, error, .. } => {
            format!("no AF_XDP, since the switch cannot {what}: {error}")
        }
        other => format!("no AF_XDP, since {other}"),
    }
}

/// What to know about AF_XDP on a veth pair: frames come as the other end's host left them.
const VETH: &str = "; it is one end of a veth pair, and checksums that the other end leaves to its interface stay wrong: \
                    ethtool -K THE-OTHER-END tx off, or driver = \"af-packet\"";

fn open_by(request: &DeviceRequest, ways: &[Way]) -> Result<Device, DeviceError> {
    let name = &request.interface;
    let interface = look_up_running(name)?;
    let frame_size = frame_size(name, interface.mtu)?;
    let mut refusal = None;
    for &way in ways {
        match (Opening { name, interface, frame_size, way, queues: request.queues, gro: request.gro }).open()
        {
            Err(error @ (DeviceError::Taken { .. } | DeviceError::OtherQueues { .. })) => return Err(error),
            Err(error) => refusal = Some(error),
            opened => return opened,
        }
    }
    Err(refusal.unwrap_or(DeviceError::Missing { name: name.clone() }))
}

/// `XDP_MAX_TX_SKB_BUDGET` (linux/if_xdp.h, since Linux 6.17).
const MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Where frames are copied, a system call sends 32 of them unless it is told that it may send more: all that the ring
/// holds, so that a burst takes one call. Kernels that cannot are called again for the rest.
fn send_all_at_once(socket: RawFd) {
    let budget = RING;
    let length = libc::socklen_t::try_from(size_of_val(&budget)).unwrap_or(0);
    let place = (&raw const budget).cast();
    // SAFETY: reads `length` bytes of a number.
    unsafe { libc::setsockopt(socket, libc::SOL_XDP, MAX_TX_SKB_BUDGET, place, length) };
}

/// The smallest frames of memory that hold the interface's.
fn frame_size(name: &str, mtu: u32) -> Result<FrameSize, DeviceError> {
    match mtu.saturating_add(OVERHEAD + HEADROOM) {
        ..=2048 => Ok(FrameSize::TwoK),
        2049..=4096 => Ok(FrameSize::FourK),
        _ => Err(DeviceError::LongFrames { name: name.to_owned(), mtu, most: 4096 - OVERHEAD - HEADROOM }),
    }
}

/// An interface that is being opened.
struct Opening<'a> {
    name: &'a str,
    interface: Interface,
    frame_size: FrameSize,
    way: Way,
    /// How many queues it has to have.
    queues: Option<u16>,
    gro: bool,
}

impl Opening<'_> {
    fn refused(&self, what: &'static str, error: io::Error) -> DeviceError {
        DeviceError::Refused {
            what,
            name: self.name.to_owned(),
            error,
            remedy: "AF_XDP takes Linux 5.9, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and some MiB of locked memory \
                     (LimitMEMLOCK=); driver = \"af-packet\" takes less",
        }
    }

    /// The library's errors have the kernel's behind them.
    fn refused_by<E: Error>(&self, what: &'static str) -> impl FnOnce(E) -> DeviceError + '_ {
        move |error| {
            let errno = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
            let cause =
                errno.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error);
            self.refused(what, cause)
        }
    }

    fn program_refused(&self, refusal: ProgramError) -> DeviceError {
        if refusal.is_taken() {
            return DeviceError::Taken { name: self.name.to_owned() };
        }
        self.refused(refusal.what, refusal.error)
    }

    fn open(&self) -> Result<Device, DeviceError> {
        let index = NicIndex::new(self.interface.index);
        let counts = index.queue_counts().map_err(|error| self.refused("count the receive queues", error))?;
        let count = counts.rx_count().clamp(1, QUEUES_MAX);
        // One socket more or less: there would be nothing to receive, or a part of the flows would pass us by.
        if let Some(wanted) = self.queues.filter(|wanted| u32::from(*wanted) != count) {
            return Err(DeviceError::OtherQueues { name: self.name.to_owned(), wanted, count });
        }
        let attached = XdpProgram::attach(self.interface.index, count, self.way.attach_mode());
        let program = Arc::new(attached.map_err(|refusal| self.program_refused(refusal))?);
        let queues = (0..count).map(|queue| self.queue(index, queue, &program));
        Ok(Device {
            kind: DeviceKind::AfXdp,
            reason: format!("{}{}", self.way.reason(), if is_veth(self.name) { VETH } else { "" }),
            index: self.interface.index,
            mtu: self.interface.mtu,
            address: self.interface.address,
            capabilities: Capabilities::default(),
            queues: queues.collect::<Result<_, _>>()?,
            bond: None,
        })
    }

    fn queue(
        &self,
        index: NicIndex,
        queue: u32,
        program: &Arc<XdpProgram>,
    ) -> Result<DeviceQueue, DeviceError> {
        let (umem, frame_bytes) = self.memory()?;
        let mut socket = XdpSocketBuilder::new().map_err(self.refused_by("make an AF_XDP socket"))?;
        let config =
            RingConfigBuilder { rx_count: RING, tx_count: RING, fill_count: RING, completion_count: RING };
        let config = config.build().map_err(self.refused_by("lay out AF_XDP rings"))?;
        let (rings, mut flags) =
            socket.build_wakable_rings(&umem, config).map_err(self.refused_by("make AF_XDP rings"))?;
        let (Some(receive), Some(transmit)) = (rings.rx_ring, rings.tx_ring) else {
            return Err(self.refused("make AF_XDP rings", io::Error::from_raw_os_error(libc::EINVAL)));
        };
        let descriptor = socket.as_raw_fd();
        send_all_at_once(descriptor);
        let mapped = |errno| self.refused("map an AF_XDP ring", io::Error::from_raw_os_error(errno));
        let fill_flags = Flags::of(descriptor, WokenRing::Fill).map_err(mapped)?;
        let transmit_flags = Flags::of(descriptor, WokenRing::Transmit).map_err(mapped)?;
        choose_copy(&mut flags, self.way);
        let bound = socket.bind(index, queue, flags).map_err(self.refused_by("bind an AF_XDP socket"))?;
        program.serve(queue, bound.as_raw_fd()).map_err(|refusal| self.program_refused(refusal))?;
        let [readable, writable] = self.signals(&bound)?;
        let memory = Arc::new(FrameMemory::new(umem));
        let keep = Arc::new(Keep { _program: Arc::clone(program), _socket: bound });
        let mut intake = XdpIntake {
            socket: Arc::clone(&readable),
            gro: self.gro,
            receive,
            fill: rings.fill_ring,
            fill_flags,
            arrived: HeapSlab::with_capacity(BURST_FRAMES),
            held: Vec::with_capacity(BURST_FRAMES),
            owed: RING as usize,
            told: Losses::default(),
            bursts: 0,
            empty_looks: 0,
            memory: Arc::clone(&memory),
            _keep: Arc::clone(&keep),
        };
        intake.refill();
        let way_out = ExitRings { transmit, flags: transmit_flags, completion: rings.completion_ring };
        let exit = XdpExit::new(Arc::clone(&writable), way_out, frame_bytes, memory, keep);
        Ok(DeviceQueue { intake: Box::new(intake), readable, exit: Box::new(exit), writable })
    }

    /// The socket's frames, and how many bytes each holds.
    fn memory(&self) -> Result<(Umem, usize), DeviceError> {
        let what = "get memory for AF_XDP frames";
        let config =
            UmemCfgBuilder { frame_size: self.frame_size, frame_count: FRAMES, ..UmemCfgBuilder::default() };
        let config = config.build().map_err(self.refused_by(what))?;
        let bytes = u32::try_from(self.frame_size).map_err(self.refused_by(what))?;
        let umem = Umem::map(config).map_err(|error| self.refused(what, error))?;
        Ok((umem, (bytes - HEADROOM) as usize))
    }

    /// The socket's descriptor twice, for its two ways.
    fn signals(&self, socket: &XdpSocket) -> Result<[Signal; 2], DeviceError> {
        // SAFETY: the socket is open, and stays so during the call.
        let socket = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        for option in [libc::SO_SNDBUFFORCE, libc::SO_SNDBUF] {
            if set_option(socket, libc::SOL_SOCKET, option, SOCKET_BYTES) {
                break;
            }
        }
        // A kernel that does not know it takes another system call for each 32 frames.
        set_option(socket, libc::SOL_XDP, SEND_BUDGET, c_int::try_from(BURST_FRAMES).unwrap_or(64));
        let copy = || -> io::Result<Signal> { Ok(Arc::new(socket.try_clone_to_owned()?)) };
        let refused = |error| self.refused("copy a descriptor", error);
        Ok([copy().map_err(refused)?, copy().map_err(refused)?])
    }
}

fn choose_copy(flags: &mut BindFlags, way: Way) {
    match way {
        Way::ZeroCopy => flags.force_zerocopy(),
        Way::Driver | Way::Generic => flags.force_copy(),
    }
}

/// Sets an option; says whether the kernel took it.
fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> bool {
    let length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or(0);
    // SAFETY: reads `length` bytes of `value`.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) == 0 }
}

/// What has to stay as long as either way is used.
pub(super) struct Keep {
    _program: Arc<XdpProgram>,
    _socket: XdpSocket,
}

/// Frames that the kernel lost so far, by its own count.
#[derive(Clone, Copy, Default)]
struct Losses(u64);

/// A socket's way in.
struct XdpIntake {
    socket: Signal,
    /// Nobody has merged segments before; they may be.
    gro: bool,
    receive: RxRing,
    fill: WakableFillRing,
    fill_flags: Flags,
    /// Frames that were taken from the ring, and not by a burst yet.
    arrived: HeapSlab,
    /// Frames of the burst.
    held: Vec<Packet>,
    /// Frames that the kernel is to get.
    owed: usize,
    told: Losses,
    bursts: u32,
    empty_looks: u32,
    memory: Arc<FrameMemory>,
    _keep: Arc<Keep>,
}

// SAFETY: the rings and packets lead into mappings that `memory` and the rings keep, which any thread may use; one at a
// time does.
unsafe impl Send for XdpIntake {}

impl XdpIntake {
    /// Takes frames from the ring, if none are left from before.
    fn take(&mut self) {
        if self.arrived.is_empty() {
            let umem = self.memory.lock();
            // SAFETY: the packets stay with `self`, which keeps the memory.
            unsafe { self.receive.recv(&umem, &mut self.arrived) };
        }
    }

    /// Gives the kernel free frames to fill.
    fn refill(&mut self) {
        let mut umem = self.memory.lock();
        for packet in self.held.drain(..) {
            umem.free_packet(packet);
            self.owed += 1;
        }
        let wakeup = self.fill_flags.ask_for_wakeup();
        // SAFETY: the memory outlives the socket's use of it, which pins its pages.
        let given = unsafe { self.fill.enqueue(&mut umem, self.owed, wakeup) };
        // An error is about the wake-up alone, which comes again with the next frames; the socket's own is found by
        // `check`.
        self.owed -= given.unwrap_or(self.owed);
    }

    /// Frames that the kernel lost since it was last asked.
    fn losses(&mut self) -> u64 {
        // SAFETY: all-zero is valid: integers.
        let mut statistics: libc::xdp_statistics = unsafe { mem::zeroed() };
        let mut length = libc::socklen_t::try_from(size_of_val(&statistics)).unwrap_or(0);
        // SAFETY: writes at most `length` bytes to `statistics`.
        let got = unsafe {
            let place = (&raw mut statistics).cast();
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_STATISTICS,
                place,
                &raw mut length,
            )
        };
        if got != 0 {
            return 0;
        }
        let now = statistics.rx_dropped + statistics.rx_ring_full;
        let new = now.saturating_sub(self.told.0);
        self.told = Losses(now);
        new
    }

    fn check(&mut self) -> Result<(), DeviceFault> {
        self.empty_looks = 0;
        let what = "go on with an AF_XDP socket";
        match rustix::net::sockopt::socket_error(&self.socket) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(DeviceFault::new(what, error.raw_os_error())),
        }
    }
}

impl Intake for XdpIntake {
    fn read(&mut self, port: PortIndex, burst: &mut Burst) -> Result<u16, DeviceFault> {
        burst.begin(self.gro);
        self.take();
        while burst.has_room()
            && let Some(mut packet) = self.arrived.pop_back()
        {
            let (body, length) = (packet.as_mut_ptr(), u32::try_from(packet.len()).unwrap_or(0));
            let arrival = Arrival { header: [0; 12], tag: None, head: body, body, length };
            // SAFETY: the packet's bytes are the frame, and stay so until the burst is completed.
            unsafe { burst.add(port, &arrival) };
            self.held.push(packet);
        }
        if burst.taken() == 0 {
            self.empty_looks += 1;
            if self.empty_looks >= EMPTY_LOOKS {
                self.check()?;
            }
            return Ok(0);
        }
        self.bursts += 1;
        if self.bursts >= STATISTICS_BURSTS {
            self.bursts = 0;
            let lost = self.losses();
            burst.count(DropReason::DeviceOverrun, lost);
        }
        Ok(burst.taken())
    }

    fn complete(&mut self) {
        self.refill();
    }

    fn arm(&mut self) -> Result<bool, DeviceFault> {
        self.check()?;
        self.take();
        Ok(!self.arrived.is_empty())
    }
}
