//! A packet socket's way out: one sendmmsg(2) for the frames of a visit, straight from the senders' memory.

use std::mem;
use std::os::fd::AsRawFd;

use super::error::last_errno;
use super::long_frames::HEADER;
use super::verdict::{Verdict, verdict};
use super::{DeviceFault, Exit, Outgoing, Sent};
use crate::dataplane::Signal;
use crate::ring::BURST_FRAMES;

/// Frames that the interface may lose in one call before the rest is given up too: each costs a system call of its own.
const LOSSES: u32 = 4;

/// A packet socket's way out.
pub(super) struct PacketExit {
    socket: Signal,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the addresses are written anew at each call, and used during it only.
unsafe impl Send for PacketExit {}

impl PacketExit {
    pub(super) fn new(socket: Signal) -> Self {
        let (vectors, messages) = (Vec::with_capacity(2048), Vec::with_capacity(BURST_FRAMES));
        Self { socket, vectors, messages }
    }

    /// Lays the frames out for the kernel, each with its header of ten bytes first.
    fn lay_out(&mut self, frames: &Outgoing) {
        self.vectors.clear();
        self.messages.clear();
        for frame in frames.iter() {
            let header = frame.header.as_ptr().cast_mut().cast();
            self.vectors.push(libc::iovec { iov_base: header, iov_len: HEADER });
            let piece = |piece: &crate::memory::Segment| libc::iovec {
                iov_base: piece.host.cast(),
                iov_len: piece.len as usize,
            };
            self.vectors.extend(frame.pieces.iter().map(piece));
        }
        // Only now, since the list may have moved while it grew.
        let mut next = self.vectors.as_mut_ptr();
        for frame in frames.iter() {
            // SAFETY: all-zero is a valid message: no address, no control data.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = next;
            message.msg_hdr.msg_iovlen = frame.pieces.len() + 1;
            next = next.wrapping_add(frame.pieces.len() + 1);
            self.messages.push(message);
        }
    }

    /// Sends the frames from place `from` on; gives how many were.
    fn send_from(&mut self, from: usize) -> Result<usize, i32> {
        let messages = self.messages.get_mut(from..).unwrap_or_default();
        let count = u32::try_from(messages.len()).unwrap_or(0);
        // SAFETY: the messages name vectors of ours, and those the frames' memory: ours, or mapped memory of guests. A
        // page that a guest took away makes the call fail, no more.
        let sent = unsafe {
            libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        usize::try_from(sent).map_err(|_| last_errno())
    }
}

impl Exit for PacketExit {
    fn send(&mut self, frames: &Outgoing) -> Result<Sent, DeviceFault> {
        self.lay_out(frames);
        let (mut sent, mut losses) = (Sent::default(), 0);
        while sent.done < self.messages.len() {
            let errno = match self.send_from(sent.done) {
                Ok(count) => {
                    sent.done += count;
                    continue;
                }
                Err(errno) => errno,
            };
            let bit = 1 << (sent.done % BURST_FRAMES);
            match verdict(errno)? {
                Verdict::Again => continue,
                Verdict::Full => break,
                Verdict::Refused => sent.refused |= bit,
                Verdict::Lost if losses < LOSSES => {
                    losses += 1;
                    sent.lost |= bit;
                }
                Verdict::Lost => {
                    sent.lost |= (sent.done..self.messages.len()).fold(0, |bits, place| bits | 1 << place);
                    sent.done = self.messages.len();
                    break;
                }
            }
            sent.done += 1;
        }
        Ok(sent)
    }
}
