//! vhost-user messages, written and read byte by byte, so that a test can also lie.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vmm_sys_util::sock_ctrl_msg::ScmSocket;

/// Request numbers of the vhost-user protocol.
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub mod request {
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const RESET_OWNER: u32 = 4;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_LOG_BASE: u32 = 6;
    pub const SET_LOG_FD: u32 = 7;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const SET_VRING_ERR: u32 = 14;
    pub const GET_PROTOCOL_FEATURES: u32 = 15;
    pub const SET_PROTOCOL_FEATURES: u32 = 16;
    pub const GET_QUEUE_NUM: u32 = 17;
    pub const SET_VRING_ENABLE: u32 = 18;
    pub const SEND_RARP: u32 = 19;
    pub const NET_SET_MTU: u32 = 20;
    pub const SET_BACKEND_REQ_FD: u32 = 21;
    pub const GET_INFLIGHT_FD: u32 = 31;
    pub const SET_INFLIGHT_FD: u32 = 32;
    pub const RESET_DEVICE: u32 = 34;
    pub const GET_MAX_MEM_SLOTS: u32 = 36;
    pub const ADD_MEM_REG: u32 = 37;
    pub const REM_MEM_REG: u32 = 38;
    pub const SET_STATUS: u32 = 39;
    pub const GET_STATUS: u32 = 40;
}

/// Version 1 in the low two bits of the flags.
pub const VERSION: u32 = 1;
/// The flag of a reply.
pub const REPLY: u32 = 4;
/// The flag that asks for an acknowledgement.
pub const NEED_REPLY: u32 = 8;
/// Length of a message's header.
pub const HEADER_BYTES: usize = 12;
/// In the number that goes with a kick, call or error descriptor: there is none.
pub const NO_DESCRIPTOR: u64 = 0x100;

/// One message; every field may be wrong.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which request.
    pub request: u32,
    /// Version, REPLY, NEED_REPLY.
    pub flags: u32,
    /// What the header says about the body's length; the truth unless changed.
    pub size: u32,
    /// What follows the header.
    pub body: Vec<u8>,
    /// Descriptors that go with it; they stay the caller's.
    pub descriptors: Vec<RawFd>,
}

impl Message {
    /// A message without a body.
    #[must_use]
    pub fn new(request: u32) -> Self {
        Self { request, flags: VERSION, size: 0, body: Vec::new(), descriptors: Vec::new() }
    }

    /// With more of a body.
    #[must_use]
    pub fn body(mut self, bytes: &[u8]) -> Self {
        self.body.extend_from_slice(bytes);
        self.size = self.body.len() as u32;
        self
    }

    /// With a 64-bit number more in its body.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.body(&value.to_le_bytes())
    }

    /// With a 32-bit number more in its body.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.body(&value.to_le_bytes())
    }

    /// With a descriptor more.
    #[must_use]
    pub fn descriptor(mut self, descriptor: &impl AsRawFd) -> Self {
        self.descriptors.push(descriptor.as_raw_fd());
        self
    }

    /// Asks for an acknowledgement.
    #[must_use]
    pub fn need_reply(mut self) -> Self {
        self.flags |= NEED_REPLY;
        self
    }

    /// With other flags.
    #[must_use]
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    /// With a length that may be a lie.
    #[must_use]
    pub fn size(mut self, size: u32) -> Self {
        self.size = size;
        self
    }

    /// A ring's number and a value: SET_VRING_NUM, _BASE, _ENABLE.
    #[must_use]
    pub fn vring(request: u32, index: u32, value: u32) -> Self {
        Self::new(request).u32(index).u32(value)
    }

    /// The message as it goes over the socket.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.body.len());
        for field in [self.request, self.flags, self.size] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends the whole message, descriptors with its first byte.
    ///
    /// # Errors
    /// What the socket says: the daemon may have closed it.
    pub fn send(&self, stream: &UnixStream) -> io::Result<()> {
        let bytes = self.bytes();
        let sent = stream
            .send_with_fds(&[&bytes[..]], &self.descriptors)
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
        io::Write::write_all(&mut &*stream, &bytes[sent..])
    }
}

/// A reply as it came.
#[derive(Debug)]
pub struct Reply {
    /// The request that it answers.
    pub request: u32,
    /// Its flags.
    pub flags: u32,
    /// Its body.
    pub body: Vec<u8>,
    /// Descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

impl Reply {
    /// The body as one 64-bit number.
    #[must_use]
    pub fn value(&self) -> u64 {
        u64::from_le_bytes(self.body[..].try_into().expect("a reply of 8 bytes"))
    }
}

/// Reads one reply.
///
/// # Errors
/// `UnexpectedEof` when the daemon closed the connection, `WouldBlock` or `TimedOut` when it says nothing in time.
pub fn receive(stream: &UnixStream, limit: Duration) -> io::Result<Reply> {
    let deadline = Instant::now() + limit;
    let mut descriptors = Vec::new();
    let mut header = [0; HEADER_BYTES];
    read_exactly(stream, &mut header, &mut descriptors, deadline)?;
    let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mut body = vec![0; field(8) as usize];
    read_exactly(stream, &mut body, &mut descriptors, deadline)?;
    Ok(Reply { request: field(0), flags: field(4), body, descriptors })
}

fn read_exactly(
    stream: &UnixStream,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    deadline: Instant,
) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        let mut room: [RawFd; 8] = [0; 8];
        let rest = &mut buffer[done..];
        let mut parts = [libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() }];
        // SAFETY: the only part points at `rest`, a live and exclusive buffer of that length.
        let (length, count) = unsafe { stream.recv_with_fds(&mut parts, &mut room) }
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
        // SAFETY: the kernel just gave us these descriptors; nobody else owns them.
        descriptors.extend(room[..count].iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        done += length;
    }
    Ok(())
}

/// Whether the daemon closes the connection within `limit`; replies that come meanwhile are thrown away.
#[must_use]
pub fn is_closed_within(stream: &UnixStream, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match receive(stream, deadline.saturating_duration_since(Instant::now())) {
            Ok(_) => {}
            Err(error) if is_timeout(&error) => return false,
            Err(_) => return true,
        }
        if Instant::now() > deadline {
            return false;
        }
    }
}

/// Whether `error` says that nothing came in time.
#[must_use]
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
