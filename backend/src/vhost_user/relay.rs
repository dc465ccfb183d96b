//! The `vhost` crate's handler at the end of a private socket pair.
//!
//! The handler reads from its socket until a message is complete, and writes its reply until it is sent. Both
//! would let a peer stop the thread, so that it never gets the peer's socket: it gets messages that are whole
//! and checked, and its replies are fetched at once.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vhost::vhost_user::BackendReqHandler;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use crate::vhost_user::device::Device;
use crate::vhost_user::message::{FLAG_NEED_REPLY, Header, Message};

/// Why the handler gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The device refuses the request.
    #[error("{0}")]
    Refused(String),
    /// The handler finds the message malformed.
    #[error("{0}")]
    Malformed(vhost::vhost_user::Error),
    /// The socket pair failed.
    #[error("the way to the protocol handler failed: {0}")]
    Socket(io::Error),
}

/// The handler and its device.
pub struct Relay {
    near: UnixStream,
    handler: BackendReqHandler<Mutex<Device>>,
    device: Arc<Mutex<Device>>,
}

impl Relay {
    /// A handler for `device`.
    ///
    /// # Errors
    /// No socket pair could be made.
    pub fn new(device: Device) -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        let device = Arc::new(Mutex::new(device));
        let handler = BackendReqHandler::from_stream(far, Arc::clone(&device));
        Ok(Self { near, handler, device })
    }

    /// The device.
    pub fn device(&self) -> MutexGuard<'_, Device> {
        // One thread uses it; the lock is the handler's way to share it.
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a message handled; gives the reply's bytes, none for what is only acknowledged. Acknowledging is the
    /// session's, for all requests alike.
    ///
    /// # Errors
    /// The request is refused or malformed.
    pub fn serve(&mut self, message: &Message) -> Result<Vec<u8>, RelayError> {
        let header = Header { flags: message.header.flags & !FLAG_NEED_REPLY, ..message.header };
        let files: Vec<_> = message.files.iter().map(AsRawFd::as_raw_fd).collect();
        let bytes = [header.to_bytes().as_slice(), &message.body].concat();
        let sent = self.near.send_with_fds(&[bytes.as_slice()], &files);
        if sent.map_err(|error| RelayError::Socket(error.into()))? != bytes.len() {
            return Err(RelayError::Socket(io::ErrorKind::WriteZero.into()));
        }
        self.handler.handle_request().map_err(|error| match error {
            vhost::vhost_user::Error::ReqHandlerError(error) => RelayError::Refused(error.to_string()),
            error => RelayError::Malformed(error),
        })?;
        self.fetch().map_err(RelayError::Socket)
    }

    fn fetch(&mut self) -> io::Result<Vec<u8>> {
        let mut reply = Vec::new();
        match self.near.read_to_end(&mut reply) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(reply),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        }
    }
}
