//! Frames that are longer than a slot of the ring: they come from the socket, those of a burst with one system call.

use std::os::fd::{AsRawFd, OwnedFd};
use std::{mem, ptr};

use super::DeviceFault;
use super::error::last_errno;
use crate::ring::{BURST_FRAMES, FRAME_MAX};

/// Bytes of a virtio-net header as packet sockets have it.
pub(super) const HEADER: usize = 10;

/// Bytes for the frames of one burst: as many as end it, and one more frame.
const STORE_BYTES: usize = (128 << 10) + (66 << 10);

/// Where each frame begins: at a multiple of this.
const ALIGNMENT: usize = 64;

/// Places for the long frames of one burst. The same memory is filled burst by burst, so it stays in the cache.
pub(super) struct LongFrames {
    store: Box<[u8]>,
    used: usize,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the addresses are those of its own memory.
unsafe impl Send for LongFrames {}

impl LongFrames {
    pub(super) fn new() -> Self {
        Self {
            store: vec![0; STORE_BYTES].into_boxed_slice(),
            used: 0,
            vectors: Vec::with_capacity(BURST_FRAMES),
            messages: Vec::with_capacity(BURST_FRAMES),
        }
    }

    /// Begins a burst: the frames of the last one are gone.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.vectors.clear();
    }

    /// Where the next frame will be, if there is room; one that is longer than any may be is cut.
    pub(super) fn place(&mut self, length: u32) -> Option<*mut u8> {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(FRAME_MAX_BYTES);
        // The frame itself shall be aligned, behind its header.
        let start = self.used + ALIGNMENT - HEADER;
        let end = (start + HEADER + length).next_multiple_of(ALIGNMENT);
        if end > STORE_BYTES || self.vectors.len() == BURST_FRAMES {
            return None;
        }
        self.used = end;
        let begin = self.store.as_mut_ptr().wrapping_add(start);
        self.vectors.push(libc::iovec { iov_base: begin.cast(), iov_len: HEADER + length });
        Some(begin.wrapping_add(HEADER))
    }

    /// Fetches all of them.
    pub(super) fn receive(&mut self, socket: &OwnedFd) -> Result<(), DeviceFault> {
        if self.vectors.is_empty() {
            return Ok(());
        }
        self.messages.clear();
        self.messages.extend(self.vectors.iter_mut().map(|vector| {
            // SAFETY: all-zero is a valid message: no address, no control data.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        }));
        let count = u32::try_from(self.messages.len()).unwrap_or(0);
        // SAFETY: writes into the places that the vectors name, inside of the store, which is ours alone.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let what = "hand out frames that it announced";
        if received < 0 {
            return Err(DeviceFault::new(what, last_errno()));
        }
        // Were one missing, each later frame would be taken for the one before it.
        let whole =
            |(message, vector): (&libc::mmsghdr, &libc::iovec)| message.msg_len as usize == vector.iov_len;
        let complete =
            u32::try_from(received) == Ok(count) && self.messages.iter().zip(&self.vectors).all(whole);
        if complete { Ok(()) } else { Err(DeviceFault::new(what, libc::EPROTO)) }
    }
}

/// [`FRAME_MAX`] as a length in memory.
const FRAME_MAX_BYTES: usize = 65_558;
const _: () = assert!(FRAME_MAX_BYTES as u64 == FRAME_MAX);
