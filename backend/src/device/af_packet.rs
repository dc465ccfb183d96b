//! A port on an interface of the kernel by packet sockets (packet(7)): one for each queue.
//!
//! Frames come by the ring of `frame_ring.rs` and go out with sendmmsg(2) straight from the sender's memory. Both ways
//! carry the virtio-net header (PACKET_VNET_HDR), so checksums and segmentation stay the kernel's business. A VLAN tag
//! that the kernel took off is put back before anybody looks at the frame. Several queues share the interface's flows
//! by the kernel's hash (PACKET_FANOUT_HASH).

use std::ffi::c_int;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::system::uname;
use viaduct_switch::offload::Capabilities;
use viaduct_switch::{DropReason, PortIndex};

use super::error::last_errno;
use super::frame_ring::{FrameRing, RingShape, Slot};
use super::interface::{Interface, look_up_running};
use super::long_frames::{HEADER, LongFrames};
use super::packet_exit::PacketExit;
use super::{Device, DeviceError, DeviceFault, DeviceKind, DeviceQueue, DeviceRequest, Intake, LentDevice};
use crate::dataplane::Signal;
use crate::ring::{Arrival, Burst};

/// Bytes that may be on their way in as long frames, and that may be on their way out of one socket: some tens of
/// super-frames. The kernel counts about twice a frame's bytes.
const SOCKET_BYTES: c_int = 8 << 20;

/// Frames longer than a slot come whole from the socket (linux/if_packet.h).
const PACKET_COPY_THRESH: c_int = 7;

/// Every protocol, in network order (linux/if_ether.h: ETH_P_ALL).
const ALL_PROTOCOLS: u16 = 3u16.to_be();

/// Bursts with losses after which the kernel is asked how many there were.
const LOSING_BURSTS: u32 = 64;

/// Looks at an empty ring after which the socket is asked for an error.
const EMPTY_LOOKS: u32 = 4096;

/// Opens the interface of this thread's namespace.
pub(super) fn open(request: &DeviceRequest) -> Result<Device, DeviceError> {
    let name = &request.interface;
    let interface = look_up_running(name)?;
    let opening = Opening { name, interface };
    let mut sockets = Vec::new();
    for _ in 0..request.queues.unwrap_or(1) {
        sockets.push(opening.socket()?);
    }
    if let [(first, _), _, ..] = sockets.as_slice() {
        let group = opening.group(first)?;
        for (socket, _) in sockets.iter().skip(1) {
            opening.join(socket, group)?;
        }
    }
    let queues = sockets.into_iter().map(|(socket, ring)| opening.queue(socket, ring, request.gro));
    Ok(Device {
        kind: DeviceKind::AfPacket,
        reason: "a packet socket works with every Ethernet interface".to_owned(),
        index: interface.index,
        mtu: interface.mtu,
        address: interface.address,
        capabilities: kernel_capabilities(),
        queues: queues.collect::<Result<_, _>>()?,
        bond: None,
    })
}

/// Goes on with packet sockets that are open already.
pub(super) fn inherit(request: &DeviceRequest, lent: &LentDevice) -> Result<Device, DeviceError> {
    let name = &request.interface;
    let interface = look_up_running(name)?;
    let opening = Opening { name, interface };
    let other = opening.refused("go on with packet sockets", "it is opened anew");
    let (shape, next) = lent.ring.as_ref().ok_or_else(|| other(libc::EINVAL))?;
    if *shape != RingShape::of(interface.mtu) || next.len() != lent.files.len() {
        return Err(other(libc::EINVAL));
    }
    let queue = |(file, next): (&Signal, &u16)| {
        let copied = file.try_clone().map_err(|error| other(error.raw_os_error().unwrap_or(0)))?;
        let ring = FrameRing::map(&copied, interface.mtu, *next).map_err(&other)?;
        opening.queue(copied, ring, request.gro)
    };
    Ok(Device {
        kind: DeviceKind::AfPacket,
        reason: "its packet sockets were taken over".to_owned(),
        index: interface.index,
        mtu: interface.mtu,
        address: interface.address,
        capabilities: kernel_capabilities(),
        queues: lent.files.iter().zip(next).map(queue).collect::<Result<_, _>>()?,
        bond: None,
    })
}

/// What Linux finishes for an interface that cannot: checksums, TCP, and since 6.2 UDP in datagrams. UDP in fragments
/// is made here, since the kernel takes such frames only for a part of its interfaces.
pub(super) fn kernel_capabilities() -> Capabilities {
    let uso = is_since((6, 2), &uname().release().to_string_lossy());
    Capabilities { checksum: true, tso4: true, tso6: true, ecn: true, ufo: false, uso4: uso, uso6: uso }
}

/// Whether a kernel's release, as "6.1.0-18-amd64", is `wanted` or later.
fn is_since(wanted: (u32, u32), release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

/// Sets an option of a packet socket.
pub(super) fn set_option<T>(socket: &OwnedFd, name: c_int, value: &T) -> Result<(), i32> {
    set_option_at(socket, libc::SOL_PACKET, name, value)
}

fn set_option_at<T>(socket: &OwnedFd, level: c_int, name: c_int, value: &T) -> Result<(), i32> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: reads `length` bytes of `value`.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(last_errno()) }
}

fn get_option<T>(socket: &OwnedFd, level: c_int, name: c_int, value: &mut T) -> Result<(), i32> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: writes at most `length` bytes to `value`, a plain structure of integers.
    let got = unsafe {
        let place = std::ptr::from_mut(value).cast();
        libc::getsockopt(socket.as_raw_fd(), level, name, place, &raw mut length)
    };
    if got == 0 { Ok(()) } else { Err(last_errno()) }
}

/// An interface that is being opened.
struct Opening<'a> {
    name: &'a str,
    interface: Interface,
}

impl Opening<'_> {
    fn refused(&self, what: &'static str, remedy: &'static str) -> impl Fn(i32) -> DeviceError + '_ {
        move |errno| DeviceError::Refused {
            what,
            name: self.name.to_owned(),
            error: io::Error::from_raw_os_error(errno),
            remedy,
        }
    }

    /// A socket with its ring, bound to the interface. The order counts: version and header before the ring, the ring
    /// before the first frame.
    fn socket(&self) -> Result<(OwnedFd, FrameRing), DeviceError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Without a protocol it hears nothing before it is bound.
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).map_err(|error| {
            self.refused("open a packet socket", "it takes CAP_NET_RAW")(error.raw_os_error())
        })?;
        let refused = self.refused("prepare a packet socket", "it takes Linux 4.20 or later");
        let on: c_int = 1;
        set_option(&socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as c_int))
            .map_err(&refused)?;
        set_option(&socket, PACKET_VNET_HDR, &on).map_err(&refused)?;
        set_option(&socket, libc::PACKET_IGNORE_OUTGOING, &on).map_err(&refused)?;
        set_option(&socket, PACKET_COPY_THRESH, &on).map_err(&refused)?;
        for (forced, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            // Without CAP_NET_ADMIN it gets what the machine allows to everybody.
            set_option_at(&socket, libc::SOL_SOCKET, forced, &SOCKET_BYTES)
                .or_else(|_| set_option_at(&socket, libc::SOL_SOCKET, plain, &SOCKET_BYTES))
                .map_err(&refused)?;
        }
        let ring = FrameRing::new(&socket, self.interface.mtu).map_err(
            self.refused("map a ring of frames", "it takes 8 MiB for each queue, and CAP_NET_RAW"),
        )?;
        self.bind(&socket)?;
        Ok((socket, ring))
    }

    fn bind(&self, socket: &OwnedFd) -> Result<(), DeviceError> {
        let index = c_int::try_from(self.interface.index).unwrap_or(0);
        // SAFETY: all-zero is a valid address: integers.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
        address.sll_protocol = ALL_PROTOCOLS;
        address.sll_ifindex = index;
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
        // SAFETY: reads `length` bytes of `address`.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        let refused = self.refused("listen", "see ip link");
        if bound != 0 {
            return Err(refused(last_errno()));
        }
        let all = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: u16::try_from(libc::PACKET_MR_PROMISC).unwrap_or(0),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(socket, libc::PACKET_ADD_MEMBERSHIP, &all).map_err(refused)
    }

    /// Founds a group of sockets that share the interface's flows; gives its number.
    fn group(&self, first: &OwnedFd) -> Result<u32, DeviceError> {
        let refused = self.refused("share frames among queues", "set queues = 1");
        let mode = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_UNIQUEID;
        set_option(first, libc::PACKET_FANOUT, &(mode << 16)).map_err(&refused)?;
        let mut made = 0_u32;
        get_option(first, libc::SOL_PACKET, libc::PACKET_FANOUT, &mut made).map_err(&refused)?;
        Ok(made & 0xffff)
    }

    fn join(&self, socket: &OwnedFd, group: u32) -> Result<(), DeviceError> {
        let refused = self.refused("share frames among queues", "set queues = 1");
        set_option(socket, libc::PACKET_FANOUT, &(libc::PACKET_FANOUT_HASH << 16 | group)).map_err(refused)
    }

    fn queue(&self, socket: OwnedFd, ring: FrameRing, gro: bool) -> Result<DeviceQueue, DeviceError> {
        let copy = socket.try_clone().map_err(|error| {
            self.refused("copy a descriptor", "raise LimitNOFILE=")(error.raw_os_error().unwrap_or(0))
        })?;
        let (readable, writable): (Signal, Signal) = (Arc::new(socket), Arc::new(copy));
        let intake = PacketIntake {
            socket: Arc::clone(&readable),
            ring,
            gro,
            long: LongFrames::new(),
            losing: 0,
            lost: 0,
            was_full: false,
            empty_looks: 0,
        };
        let exit = Box::new(PacketExit::new(Arc::clone(&writable)));
        Ok(DeviceQueue { intake: Box::new(intake), readable, exit, writable })
    }
}

/// PACKET_VNET_HDR (linux/if_packet.h).
const PACKET_VNET_HDR: c_int = 15;

/// A socket's way in.
struct PacketIntake {
    socket: Signal,
    ring: FrameRing,
    /// What the kernel did not merge may be.
    gro: bool,
    long: LongFrames,
    /// Bursts since the kernel was asked for its losses that had some.
    losing: u32,
    /// Losses that no burst has told yet.
    lost: u64,
    /// A burst was full since it was last armed, so that there may have been too much.
    was_full: bool,
    /// Looks at the ring in a row that found nothing.
    empty_looks: u32,
}

impl PacketIntake {
    /// Adds the frame in the slot; says whether there was room for it.
    #[inline]
    fn add(&mut self, port: PortIndex, slot: &Slot, burst: &mut Burst) -> bool {
        self.losing += u32::from(slot.status & libc::TP_STATUS_LOSING != 0);
        let body = match slot.status & libc::TP_STATUS_COPY {
            0 if slot.held < slot.length => {
                // Too long for its slot, and the socket had no room for it either.
                burst.skip(DropReason::DeviceOverrun);
                return true;
            }
            0 => slot.bytes,
            _ => match self.long.place(slot.length) {
                Some(place) => place,
                None => return false,
            },
        };
        let mut header = [0; 12];
        let Some(front) = header.first_chunk_mut::<HEADER>() else { return true };
        // SAFETY: the kernel wrote a header of ten bytes before the frame (PACKET_VNET_HDR), inside of the slot.
        *front = unsafe { slot.bytes.sub(HEADER).cast::<[u8; HEADER]>().read() };
        let arrival = Arrival { header, tag: slot.tag, head: slot.bytes, body, length: slot.length };
        // SAFETY: the slot holds the frame, or more of a long one than a head has, and is ours until the burst is
        // completed; so is the place in `long`, filled before anybody else sees the burst.
        unsafe { burst.add(port, &arrival) };
        true
    }

    /// Asks the kernel for its losses, which also ends their being told with each frame.
    fn ask_for_losses(&mut self) {
        // SAFETY: all-zero is valid: integers.
        let mut statistics: libc::tpacket_stats = unsafe { mem::zeroed() };
        let got = get_option(&self.socket, libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut statistics);
        if got.is_ok() {
            self.lost += u64::from(statistics.tp_drops);
        }
        self.losing = 0;
    }

    fn check(&mut self) -> Result<(), DeviceFault> {
        self.empty_looks = 0;
        let mut error: c_int = 0;
        let what = "go on with a packet socket";
        get_option(&self.socket, libc::SOL_SOCKET, libc::SO_ERROR, &mut error)
            .map_err(|errno| DeviceFault::new(what, errno))?;
        if error == 0 { Ok(()) } else { Err(DeviceFault::new(what, error)) }
    }
}

impl Intake for PacketIntake {
    fn read(&mut self, port: PortIndex, burst: &mut Burst) -> Result<u16, DeviceFault> {
        burst.begin(self.gro);
        self.long.clear();
        while burst.has_room()
            && let Some(slot) = self.ring.peek()
            && self.add(port, &slot, burst)
        {
            self.ring.take();
        }
        self.was_full |= !burst.has_room();
        self.long.receive(&self.socket)?;
        if self.losing >= LOSING_BURSTS {
            self.ask_for_losses();
        }
        let lost = mem::take(&mut self.lost);
        burst.count(DropReason::DeviceOverrun, lost);
        match burst.taken() {
            0 if lost == 0 => {
                self.empty_looks += 1;
                if self.empty_looks >= EMPTY_LOOKS {
                    self.check()?;
                }
                Ok(0)
            }
            // A burst that only tells of losses is one, too.
            taken => Ok(taken.max(1)),
        }
    }

    fn complete(&mut self) {
        self.ring.give_back();
    }

    fn position(&self) -> Option<u16> {
        Some(self.ring.position())
    }

    fn arm(&mut self) -> Result<bool, DeviceFault> {
        self.check()?;
        // Losses at a row's end are told by no frame.
        if self.losing > 0 || mem::take(&mut self.was_full) {
            self.ask_for_losses();
        }
        Ok(self.lost > 0 || self.ring.has_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_first_two_numbers() {
        assert!(is_since((6, 2), "6.2.0") && is_since((6, 2), "7.0-rc1") && is_since((6, 2), "6.18.44-x"));
        assert!(!is_since((6, 2), "6.1.0-18-amd64") && !is_since((6, 2), "5.15") && !is_since((6, 2), "x"));
    }
}
