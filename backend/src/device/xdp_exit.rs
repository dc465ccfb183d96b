//! An AF_XDP socket's way out: frames are copied into the memory that is shared with the kernel, which is woken if it
//! asks for that.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use xdp::slab::{HeapSlab, Slab};
use xdp::{CompletionRing, WakableTxRing};

use super::af_xdp::RING;
use super::error::last_errno;
use super::xdp_memory::{Flags, FrameMemory};
use super::{DeviceFault, Exit, Outgoing, Sent};
use crate::dataplane::Signal;
use crate::memory::copy_out;
use crate::ring::BURST_FRAMES;

/// System calls for one burst at most, where the kernel says that there is more to do.
const SENDS_MAX: usize = 8;

/// A socket's way out.
pub(super) struct XdpExit {
    socket: Signal,
    rings: ExitRings,
    /// Frames that are written and not in the ring yet.
    outgoing: HeapSlab,
    /// Frames that the kernel has.
    under_way: usize,
    /// The longest frame.
    frame_bytes: usize,
    memory: Arc<FrameMemory>,
    /// What has to live as long.
    _keep: Arc<dyn Send + Sync>,
}

/// The rings of the way out.
pub(super) struct ExitRings {
    /// Frames to be sent.
    pub(super) transmit: WakableTxRing,
    /// Whether the kernel wants to be told of them.
    pub(super) flags: Flags,
    /// Frames that were sent.
    pub(super) completion: CompletionRing,
}

// SAFETY: the rings and packets lead into mappings that `memory` and the rings keep, which any thread may use; one at a
// time does.
unsafe impl Send for XdpExit {}

impl XdpExit {
    /// The way out of `socket`, whose memory holds frames of `frame_bytes` at most.
    pub(super) fn new(
        socket: Signal,
        rings: ExitRings,
        frame_bytes: usize,
        memory: Arc<FrameMemory>,
        keep: Arc<dyn Send + Sync>,
    ) -> Self {
        let outgoing = HeapSlab::with_capacity(BURST_FRAMES);
        Self { socket, rings, outgoing, under_way: 0, frame_bytes, memory, _keep: keep }
    }

    /// Copies frames into the shared memory, as far as there is room.
    fn write(&mut self, frames: &Outgoing) -> Sent {
        let mut umem = self.memory.lock();
        self.under_way -= self.rings.completion.dequeue(&mut umem, self.under_way).min(self.under_way);
        let mut sent = Sent::default();
        for frame in frames.iter() {
            let length: usize = frame.pieces.iter().map(|piece| piece.len as usize).sum();
            if length > self.frame_bytes {
                sent.refused |= 1 << (sent.done % BURST_FRAMES);
                sent.done += 1;
                continue;
            }
            if self.under_way + self.outgoing.len() >= RING as usize {
                break;
            }
            // SAFETY: the packet goes to the kernel or back, and never beyond the memory's life.
            let Some(mut packet) = (unsafe { umem.alloc() }) else { break };
            let tail = i32::try_from(length).unwrap_or(0);
            if packet.adjust_tail(tail).is_err() || self.outgoing.available() == 0 {
                umem.free_packet(packet);
                break;
            }
            copy_out(&[], frame.pieces, &mut packet);
            self.outgoing.push_front(packet);
            sent.done += 1;
        }
        sent
    }

    /// Has the kernel send what is in the ring, if it asks for that.
    fn wake(&mut self) -> Result<(), DeviceFault> {
        for _ in 0..SENDS_MAX {
            if !self.rings.flags.ask_for_wakeup() {
                return Ok(());
            }
            // SAFETY: no memory is named.
            let sent = unsafe {
                libc::sendto(
                    self.socket.as_raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
            match if sent >= 0 { 0 } else { last_errno() } {
                0 => return Ok(()),
                // There is more to do than one call does, or the interface is busy for a moment.
                libc::EAGAIN | libc::EBUSY | libc::EINTR | libc::ENOBUFS => {}
                errno => return Err(DeviceFault::new("send frames", errno)),
            }
        }
        Ok(())
    }
}

impl Exit for XdpExit {
    fn send(&mut self, frames: &Outgoing) -> Result<Sent, DeviceFault> {
        let sent = self.write(frames);
        // SAFETY: the memory outlives the socket's use of it.
        let queued = unsafe { self.rings.transmit.send(&mut self.outgoing, false) };
        self.under_way += queued.unwrap_or(0);
        self.wake()?;
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use xdp::Umem;
    use xdp::socket::XdpSocketBuilder;
    use xdp::umem::{FrameSize, UmemCfgBuilder};

    use super::*;
    use crate::memory::Segment;

    /// A socket that is bound to no interface refuses to send (ENXIO), which tells whether it was called.
    #[test]
    fn a_kernel_that_is_awake_is_not_called() {
        let config = UmemCfgBuilder { frame_size: FrameSize::TwoK, frame_count: 64, ..Default::default() };
        let umem = Umem::map(config.build().unwrap()).unwrap();
        let mut socket = XdpSocketBuilder::new().expect("AF_XDP takes CAP_NET_RAW");
        let rings =
            xdp::RingConfigBuilder { rx_count: 64, tx_count: 64, fill_count: 64, completion_count: 64 };
        let (rings, _) = socket.build_wakable_rings(&umem, rings.build().unwrap()).unwrap();
        // SAFETY: the socket is open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        let signal = Arc::new(descriptor.try_clone_to_owned().unwrap());
        let rings = ExitRings {
            transmit: rings.tx_ring.unwrap(),
            flags: Flags::pretended(),
            completion: rings.completion_ring,
        };
        let memory = Arc::new(FrameMemory::new(umem));
        let mut exit = XdpExit::new(signal, rings, 1800, memory, Arc::new(()));
        let mut bytes = [7_u8; 100];
        let mut frames = Outgoing::default();
        for _ in 0..16 {
            let piece = Segment { host: bytes.as_mut_ptr(), len: 100 };
            assert!(frames.add(&[0; 12], &[], &[piece], 100));
        }
        for _ in 0..2 {
            assert_eq!(exit.send(&frames), Ok(Sent { done: 16, ..Sent::default() }));
        }
        exit.rings.flags.pretend_to_ask();
        assert_eq!(exit.send(&frames), Err(DeviceFault::new("send frames", libc::ENXIO)));
    }
}
