//! A port that is a TAP device: the host, a container or an emulator has the other end (Linux,
//! Documentation/networking/tuntap.rst).
//!
//! Frames carry their virtio-net header both ways, so checksums and segmentation stay the kernel's business. A TAP
//! device has no call for many frames: each costs one, and a burst's bounds bound them.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use viaduct_switch::{DropReason, PortIndex};

use super::af_packet::kernel_capabilities;
use super::error::last_errno;
use super::interface::{look_up, look_up_running, request_for};
use super::verdict::{Verdict, verdict};
use super::{
    Device, DeviceError, DeviceFault, DeviceKind, DeviceQueue, DeviceRequest, Exit, Intake, LentDevice,
    Outgoing, OutgoingFrame, Sent,
};
use crate::dataplane::Signal;
use crate::ring::{Arrival, BURST_FRAMES, Burst, FRAME_MAX};

/// Bytes of the header before each frame.
const HEADER: usize = 12;

/// Bytes that one read may fill.
const READ_BYTES: usize = HEADER + 65_558;
const _: () = assert!((READ_BYTES - HEADER) as u64 == FRAME_MAX);

/// Bytes for the frames of one burst: as many as end it, what their alignment takes, and one more read.
const STORE_BYTES: usize = (128 << 10) + (8 << 10) + READ_BYTES;

/// Where each frame begins: at a multiple of this.
const ALIGNMENT: usize = 64;

/// Pieces of one frame: its header, and what [`Outgoing`] has at most.
const PIECES: usize = 66;

/// What the kernel may hand us unfinished (linux/if_tun.h: TUN_F_*): checksums, TCP over both, with ECN; and UDP.
const OFFLOADS: libc::c_uint = 0x01 | 0x02 | 0x04 | 0x08;
const OFFLOADS_UDP: libc::c_uint = 0x20 | 0x40;

/// Opens the TAP device of this thread's namespace, or makes it.
pub(super) fn open(request: &DeviceRequest) -> Result<Device, DeviceError> {
    let opening = Opening { name: &request.interface };
    let count = request.queues.unwrap_or(1);
    let made = matches!(look_up(opening.name), Err(DeviceError::Missing { .. }));
    let files: Vec<File> = (0..count).map(|_| opening.queue(count)).collect::<Result<_, _>>()?;
    if made {
        opening.set_up(request.mtu)?;
    }
    let interface = look_up_running(opening.name)?;
    let queues = files.into_iter().map(|file| opening.device_queue(file, request.gro));
    let reason = if made { "made, and gone when it is closed" } else { "was there already" };
    Ok(Device {
        kind: DeviceKind::Tap,
        reason: format!("the TAP device {reason}"),
        index: interface.index,
        mtu: interface.mtu,
        address: interface.address,
        capabilities: kernel_capabilities(),
        bond: None,
        queues: queues.collect::<Result<_, _>>()?,
    })
}

/// Goes on with a TAP device that is open already.
pub(super) fn inherit(request: &DeviceRequest, lent: &LentDevice) -> Result<Device, DeviceError> {
    let opening = Opening { name: &request.interface };
    let interface = look_up_running(opening.name)?;
    let refused = opening.refused("copy a descriptor", "raise LimitNOFILE=");
    let queue = |file: &Signal| {
        let copied = file.try_clone().map_err(&refused)?;
        opening.device_queue(File::from(copied), request.gro)
    };
    Ok(Device {
        kind: DeviceKind::Tap,
        reason: "the TAP device was taken over".to_owned(),
        index: interface.index,
        mtu: interface.mtu,
        address: interface.address,
        capabilities: kernel_capabilities(),
        bond: None,
        queues: lent.files.iter().map(queue).collect::<Result<_, _>>()?,
    })
}

/// A device that is being opened.
struct Opening<'a> {
    name: &'a str,
}

impl Opening<'_> {
    fn refused(&self, what: &'static str, remedy: &'static str) -> impl Fn(io::Error) -> DeviceError + '_ {
        move |error| DeviceError::Refused { what, name: self.name.to_owned(), error, remedy }
    }

    /// One queue of the device, which the first one makes.
    fn queue(&self, queues: u16) -> Result<File, DeviceError> {
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
            let refused =
                self.refused("open /dev/net/tun", "it takes the module tun (modprobe tun) and CAP_NET_ADMIN");
            options.open("/dev/net/tun").map_err(refused)
        };
        let plain = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        let (first, second) = match queues {
            1 => (plain, plain | libc::IFF_MULTI_QUEUE),
            _ => (plain | libc::IFF_MULTI_QUEUE, plain | libc::IFF_MULTI_QUEUE),
        };
        let mut file = open()?;
        // A device that is there has several queues or not, and has to be opened accordingly.
        if self.attach(&file, first)?.is_err() {
            file = open()?;
            let remedy = "is it a TAP device with so many queues, and nobody else's just now? See ip tuntap";
            self.attach(&file, second)?.map_err(self.refused("attach a queue", remedy))?;
        }
        let refused = self.refused("agree on offloads", "it takes Linux 2.6.27 or later");
        let header = libc::c_int::try_from(HEADER).unwrap_or(0);
        // SAFETY: TUNSETVNETHDRSZ reads one int, which lives during the call.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header) })
            .map_err(&refused)?;
        let offloads = |wanted: libc::c_uint| {
            // SAFETY: TUNSETOFFLOAD takes its bits by value.
            check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(wanted)) })
        };
        // Kernels before 6.2 don't know of UDP, and refuse all.
        offloads(OFFLOADS | OFFLOADS_UDP).or_else(|_| offloads(OFFLOADS)).map_err(&refused)?;
        Ok(file)
    }

    fn attach(&self, file: &File, flags: libc::c_int) -> Result<io::Result<()>, DeviceError> {
        let mut request = request_for(self.name)?;
        request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or(0);
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives during the call.
        Ok(check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }))
    }

    /// Gives a device that was just made its MTU, and sets it up.
    fn set_up(&self, mtu: Option<u32>) -> Result<(), DeviceError> {
        let refused =
            self.refused("set up a TAP device", "it takes CAP_NET_ADMIN, and an MTU of 68 to 65521");
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| refused(error.into()))?;
        let ask = |what: libc::Ioctl, mut request: libc::ifreq| {
            // SAFETY: these requests read and write one `ifreq`, which lives during the call.
            check(unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut request) }).map_err(&refused)
        };
        if let Some(mtu) = mtu {
            let mut request = request_for(self.name)?;
            request.ifr_ifru.ifru_mtu = i32::try_from(mtu).unwrap_or(i32::MAX);
            ask(libc::SIOCSIFMTU, request)?;
        }
        let mut request = request_for(self.name)?;
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap_or(0);
        ask(libc::SIOCSIFFLAGS, request)
    }

    fn device_queue(&self, file: File, gro: bool) -> Result<DeviceQueue, DeviceError> {
        let copy = file.try_clone().map_err(self.refused("copy a descriptor", "raise LimitNOFILE="))?;
        let (readable, writable): (Signal, Signal) =
            (Arc::new(OwnedFd::from(file)), Arc::new(OwnedFd::from(copy)));
        let store = vec![0; STORE_BYTES].into_boxed_slice();
        let intake = Box::new(TapIntake { file: Arc::clone(&readable), gro, store });
        let exit = Box::new(TapExit { file: Arc::clone(&writable) });
        Ok(DeviceQueue { intake, readable, exit, writable })
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A queue's way in. Frames are read one after the other into the same memory, burst by burst.
struct TapIntake {
    file: Signal,
    /// What the other end did not merge may be.
    gro: bool,
    store: Box<[u8]>,
}

impl Intake for TapIntake {
    fn read(&mut self, port: PortIndex, burst: &mut Burst) -> Result<u16, DeviceFault> {
        burst.begin(self.gro);
        let mut used = 0;
        while burst.has_room() {
            // The frame itself shall be aligned, behind its header.
            let start = used + ALIGNMENT - HEADER;
            let Some(room) = self.store.get_mut(start..).filter(|room| room.len() >= READ_BYTES) else {
                break;
            };
            // SAFETY: writes at most READ_BYTES bytes into the room, which is ours and as long.
            let read = unsafe { libc::read(self.file.as_raw_fd(), room.as_mut_ptr().cast(), READ_BYTES) };
            let Ok(read) = usize::try_from(read) else {
                match last_errno() {
                    libc::EAGAIN => break,
                    libc::EINTR => continue,
                    errno => return Err(DeviceFault::new("hand out frames", errno)),
                }
            };
            used = (start + read).next_multiple_of(ALIGNMENT);
            let Some((header, frame)) =
                room.get_mut(..read).and_then(|whole| whole.split_first_chunk_mut::<HEADER>())
            else {
                burst.skip(DropReason::BadOffload);
                continue;
            };
            let (body, length) = (frame.as_mut_ptr(), u32::try_from(frame.len()).unwrap_or(0));
            let arrival = Arrival { header: *header, tag: None, head: body, body, length };
            // SAFETY: the frame lies in the store, which is not touched until the burst is completed.
            unsafe { burst.add(port, &arrival) };
        }
        Ok(burst.taken())
    }

    fn complete(&mut self) {}

    /// Each frame that comes is told, whether anybody listens or not, and the last read found none.
    fn arm(&mut self) -> Result<bool, DeviceFault> {
        Ok(false)
    }
}

/// A queue's way out.
struct TapExit {
    file: Signal,
}

impl TapExit {
    fn send_one(&self, frame: &OutgoingFrame<'_>) -> Result<(), i32> {
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut vectors = [nothing; PIECES];
        let [first, rest @ ..] = &mut vectors;
        *first = libc::iovec { iov_base: frame.header.as_ptr().cast_mut().cast(), iov_len: HEADER };
        for (vector, piece) in rest.iter_mut().zip(frame.pieces) {
            *vector = libc::iovec { iov_base: piece.host.cast(), iov_len: piece.len as usize };
        }
        let count = libc::c_int::try_from(frame.pieces.len() + 1).unwrap_or(0);
        // SAFETY: reads the frame's memory: ours, or mapped memory of a guest. A page that it took away makes the call
        // fail, no more. There are no more pieces than vectors.
        let written = unsafe { libc::writev(self.file.as_raw_fd(), vectors.as_ptr(), count) };
        if written < 0 { Err(last_errno()) } else { Ok(()) }
    }
}

impl Exit for TapExit {
    fn send(&mut self, frames: &Outgoing) -> Result<Sent, DeviceFault> {
        let mut sent = Sent::default();
        for frame in frames.iter() {
            let bit = 1 << (sent.done % BURST_FRAMES);
            match self.send_one(&frame).map_err(verdict) {
                Ok(()) => {}
                Err(verdict) => match verdict? {
                    Verdict::Full | Verdict::Again => break,
                    Verdict::Refused => sent.refused |= bit,
                    Verdict::Lost => sent.lost |= bit,
                },
            }
            sent.done += 1;
        }
        Ok(sent)
    }
}
