//! Ports that are interfaces of the kernel: packet sockets and TAP devices.
//!
//! A port type is one file. It fills bursts from its interface ([`Intake`]) and sends what goes out by it ([`Exit`]);
//! workers serve it as they serve a guest's rings: polled while frames come, then armed and left alone until its
//! descriptor says that there is more. What waits for an interface that takes no more is kept, and bounded, by the
//! data path (`dataplane/device_queue.rs`), and so is what the interface cannot do: checksums and segments are
//! finished for it as for a guest, by its [`Capabilities`].

mod af_packet;
mod af_xdp;
mod bond;
mod error;
mod frame_ring;
mod interface;
mod long_frames;
mod medium;
mod outgoing;
mod packet_exit;
mod probe_answers;
mod tap;
mod verdict;
mod xdp_exit;
mod xdp_memory;
mod xdp_program;

use std::path::PathBuf;

use viaduct_switch::PortIndex;
use viaduct_switch::offload::Capabilities;

pub use self::bond::{BondLinks, join, link_queue, reason as bond_reason};
pub use self::error::{DeviceError, DeviceFault};
pub use self::frame_ring::RingShape;
pub use self::medium::Medium;
pub use self::outgoing::{Outgoing, OutgoingFrame};
use crate::dataplane::Signal;
use crate::ring::Burst;

/// How frames reach the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// The best that works here.
    Auto,
    /// A packet socket (packet(7)) on an interface that is there already.
    AfPacket,
    /// AF_XDP sockets on an interface that is there already.
    AfXdp,
    /// A TAP device (Documentation/networking/tuntap.rst): a persistent one, or one that is there as long as it is open.
    Tap,
}

/// What the control side wants of [`open`].
#[derive(Clone, Debug)]
pub struct DeviceRequest {
    /// How.
    pub kind: DeviceKind,
    /// The interface's name, in its namespace.
    pub interface: String,
    /// The network namespace that the interface is in, as a file such as /run/netns/NAME; `None`: the process's own.
    pub namespace: Option<PathBuf>,
    /// Queues, 1 to 16; flows are spread over them by the kernel, or by the NIC for AF_XDP. `None`: as many as the
    /// interface has receive queues for AF_XDP, which takes each of them, and else one.
    pub queues: Option<u16>,
    /// Whether segments that come in one burst may become super-frames for receivers that take them.
    pub gro: bool,
    /// Bytes of payload that a TAP device gets as its MTU if it is made; an interface that is there keeps its own.
    pub mtu: Option<u32>,
}

/// Queues that a device may have at most.
const QUEUES_MAX: u16 = 16;

/// An open interface, for the data path.
pub struct Device {
    /// What was chosen.
    pub kind: DeviceKind,
    /// Why that, in one sentence.
    pub reason: String,
    /// The interface's number in its namespace: stays the same when it is renamed.
    pub index: u32,
    /// Bytes that a frame's payload may have, as of now.
    pub mtu: u32,
    /// The interface's own address.
    pub address: [u8; 6],
    /// What the kernel finishes for us.
    pub capabilities: Capabilities,
    /// Its queues, at least one.
    pub queues: Vec<DeviceQueue>,
    /// Its queues are the links of a bond, in their order, and this says which frames leave by which.
    pub bond: Option<BondLinks>,
}

/// One queue of a device: a way in and a way out.
pub struct DeviceQueue {
    /// Where frames come from.
    pub intake: Box<dyn Intake>,
    /// Becomes readable when there are frames, or the interface fails.
    pub readable: Signal,
    /// Where frames go.
    pub exit: Box<dyn Exit>,
    /// Becomes writable when there is room again; another descriptor than `readable`.
    pub writable: Signal,
}

/// An open interface without what this process made of it, for another one or for later.
#[derive(Clone, Debug)]
pub struct LentDevice {
    /// How it is driven: by packet sockets, or as a TAP device.
    pub kind: DeviceKind,
    /// One for each queue.
    pub files: Vec<Signal>,
    /// What rings of received frames look like, and each queue's next slot; for packet sockets.
    pub ring: Option<(RingShape, Vec<u16>)>,
}

/// A way in. One worker has it at a time; no call waits for anything.
pub trait Intake: Send {
    /// Begins `burst` anew and fills it with what is there; gives how many frames were taken, those that the burst
    /// counts as dropped included. Payload may stay where it lies until [`Intake::complete`].
    ///
    /// # Errors
    /// [`DeviceFault`] if there will be no more frames.
    fn read(&mut self, port: PortIndex, burst: &mut Burst) -> Result<u16, DeviceFault>;

    /// The burst is done with: its frames' memory is used no more.
    fn complete(&mut self);

    /// It will be left alone until its descriptor becomes readable; says whether there is something already, for
    /// which it would not.
    ///
    /// # Errors
    /// [`DeviceFault`] if there will be no more frames.
    fn arm(&mut self) -> Result<bool, DeviceFault>;

    /// Where it stands in a ring that it shares with the kernel, if it does, between two bursts.
    fn position(&self) -> Option<u16> {
        None
    }
}

/// A way out. One worker has it at a time; no call waits for anything.
pub trait Exit: Send {
    /// Sends `frames` in their order as far as there is room, with one system call where the kernel can.
    ///
    /// # Errors
    /// [`DeviceFault`] if none will ever be sent.
    fn send(&mut self, frames: &Outgoing) -> Result<Sent, DeviceFault>;
}

/// What became of [`Outgoing`] frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// So many from the first on are done with; the others found no room and may be sent later.
    pub done: usize,
    /// A bit for each of those that the kernel refused, as it always will.
    pub refused: u64,
    /// A bit for each of those that the interface lost for want of room.
    pub lost: u64,
}

/// Opens an interface. May take some milliseconds; nothing of it is done on the data path.
///
/// # Errors
/// [`DeviceError`] if it is not there, is no Ethernet interface or is down, or if the kernel refuses.
pub fn open(request: &DeviceRequest) -> Result<Device, DeviceError> {
    if let Some(queues) = request.queues.filter(|queues| *queues == 0 || *queues > QUEUES_MAX) {
        return Err(DeviceError::BadQueues { queues });
    }
    interface::within(request.namespace.as_deref(), || match request.kind {
        DeviceKind::Auto => open_best(request),
        DeviceKind::AfPacket => af_packet::open(request),
        DeviceKind::AfXdp => af_xdp::open(request),
        DeviceKind::Tap => tap::open(request),
    })
}

/// Goes on with an interface that is open already.
///
/// # Errors
/// [`DeviceError`] if it is not there any more, or this process would have opened it in another way.
pub fn inherit(request: &DeviceRequest, lent: LentDevice) -> Result<Device, DeviceError> {
    interface::within(request.namespace.as_deref(), || match lent.kind {
        DeviceKind::Tap => tap::inherit(request, &lent),
        _ => af_packet::inherit(request, &lent),
    })
}

/// AF_XDP where the driver needs no copy; else packet sockets, which copy as well and carry super-frames and unfinished
/// checksums, so that guests' TCP is faster by them.
fn open_best(request: &DeviceRequest) -> Result<Device, DeviceError> {
    match af_xdp::open_without_copy(request) {
        Ok(device) => Ok(device),
        Err(refusal) => {
            let device = af_packet::open(request)?;
            Ok(Device { reason: format!("{}; {}", device.reason, af_xdp::why_not(&refusal)), ..device })
        }
    }
}

#[cfg(test)]
mod tests;
