//! Whole messages from a socket that may deliver them byte by byte, and never the thread's time.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use crate::vhost_user::disposal::Disposal;
use crate::vhost_user::message::{FILES_MAX, FormError, HEADER_SIZE, Header, Message, Rule};
use crate::vhost_user::peer_file::PeerFile;

/// Files that the kernel delivers with one message at most (SCM_MAX_FD, unix(7)): with this much room nothing
/// is cut off unless we are out of descriptors.
const KERNEL_FILES_MAX: usize = 253;

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer closed the connection between two messages.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed the connection in the middle of a message.
    #[error("the peer closed the connection in the middle of a message")]
    ClosedInMessage,
    /// The message has not the form of one.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The socket failed.
    #[error("cannot read from the socket: {0}")]
    Socket(io::Error),
}

/// Takes messages out of a socket.
#[derive(Debug)]
pub struct Framer {
    disposal: Disposal,
    partial: Partial,
}

/// A message that is being received.
#[derive(Debug, Default)]
struct Partial {
    header: [u8; HEADER_SIZE],
    /// Bytes received so far, header included.
    received: usize,
    /// Once the header is complete and checked.
    rule: Option<Option<&'static Rule>>,
    body: Vec<u8>,
    files: Vec<PeerFile>,
}

impl Framer {
    /// `disposal` closes the files that come.
    #[must_use]
    pub fn new(disposal: Disposal) -> Self {
        Self { disposal, partial: Partial::default() }
    }

    /// One that goes on where another process stopped: what it read of a message, and the files of that.
    ///
    /// # Errors
    /// It is no message.
    pub fn resume(disposal: Disposal, read: &[u8], files: Vec<OwnedFd>) -> Result<Self, FormError> {
        let mut partial = Partial { received: read.len(), ..Partial::default() };
        let (header, body) = read.split_at(read.len().min(HEADER_SIZE));
        partial.header[..header.len()].copy_from_slice(header);
        if header.len() == HEADER_SIZE {
            partial.open_body()?;
            let room = partial.body.get_mut(..body.len()).ok_or(FormError::FilesCut)?;
            room.copy_from_slice(body);
        }
        partial.files = files.into_iter().map(|file| PeerFile::new(file, disposal.clone())).collect();
        Ok(Self { disposal, partial })
    }

    /// What was read of a message that is not whole yet, and its files.
    #[must_use]
    pub fn unread(&self) -> (Vec<u8>, &[PeerFile]) {
        let Partial { header, received, body, files, .. } = &self.partial;
        let of_header = header.iter().take(*received);
        let of_body = body.iter().take(received.saturating_sub(HEADER_SIZE));
        (of_header.chain(of_body).copied().collect(), files)
    }

    /// Reads on; gives a message once it is complete, and `None` when the socket has nothing more for now.
    ///
    /// Never reads beyond the message's end: files arrive with the byte to which they were attached.
    ///
    /// # Errors
    /// The connection ended or the peer broke the protocol; the session is over.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<Option<Message>, ReceiveError> {
        let socket = socket.as_fd();
        let partial = &mut self.partial;
        loop {
            let missing = match partial.received.checked_sub(HEADER_SIZE) {
                None => &mut partial.header[partial.received..],
                Some(of_body) => &mut partial.body[of_body..],
            };
            let received = match receive_some(socket, missing, &mut partial.files, &self.disposal) {
                Ok(0) if partial.received == 0 => return Err(ReceiveError::Closed),
                Ok(0) => return Err(ReceiveError::ClosedInMessage),
                Ok(received) => received,
                Err(ReceiveError::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            partial.received += received;
            if partial.received == HEADER_SIZE {
                partial.open_body()?;
            }
            if partial.received == HEADER_SIZE + partial.body.len() && partial.rule.is_some() {
                return Ok(Some(std::mem::take(partial).finish()));
            }
        }
    }
}

impl Partial {
    fn open_body(&mut self) -> Result<(), FormError> {
        let header = Header::from_bytes(&self.header);
        self.rule = Some(header.check()?);
        // Checked: at most a few KiB.
        self.body = vec![0; usize::try_from(header.size).unwrap_or(0)];
        Ok(())
    }

    fn finish(self) -> Message {
        let Self { header, rule, body, files, .. } = self;
        Message { header: Header::from_bytes(&header), rule: rule.flatten(), body, files }
    }
}

/// Receives at most `into.len()` bytes, with the files that were attached to them.
fn receive_some(
    socket: impl AsFd,
    into: &mut [u8],
    files: &mut Vec<PeerFile>,
    disposal: &Disposal,
) -> Result<usize, ReceiveError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KERNEL_FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(into)], &mut control, flags) {
            Err(Errno::INTR) => {}
            other => break other.map_err(|error| ReceiveError::Socket(error.into()))?,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            files.extend(more.map(|file| PeerFile::new(file, disposal.clone())));
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(FormError::FilesCut.into());
    }
    if files.len() > FILES_MAX {
        let request = "a message".to_owned();
        return Err(FormError::Files { request, files: files.len(), least: 0, most: FILES_MAX }.into());
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use vhost::vhost_user::message::FrontendReq;
    use vmm_sys_util::sock_ctrl_msg::ScmSocket;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    fn framer() -> Framer {
        Framer::new(Disposal::default())
    }

    fn bytes(request: FrontendReq, body: &[u8]) -> Vec<u8> {
        let header = Header { code: request.into(), flags: 1, size: u32::try_from(body.len()).unwrap() };
        [header.to_bytes().as_slice(), body].concat()
    }

    #[test]
    fn a_message_split_byte_by_byte_arrives_whole() {
        let (mut peer, socket) = pair();
        let mut framer = framer();
        let sent = bytes(FrontendReq::SET_FEATURES, &7u64.to_ne_bytes());
        for byte in &sent[..sent.len() - 1] {
            peer.write_all(&[*byte]).unwrap();
            assert!(framer.receive(&socket).unwrap().is_none());
        }
        peer.write_all(&sent[sent.len() - 1..]).unwrap();
        let message = framer.receive(&socket).unwrap().unwrap();
        assert_eq!((message.name().as_str(), message.value()), ("SET_FEATURES", 7));
        assert!(framer.receive(&socket).unwrap().is_none());
    }

    #[test]
    fn messages_sent_together_are_taken_apart_and_keep_their_files() {
        let (peer, socket) = pair();
        let mut framer = framer();
        let event = vmm_sys_util::eventfd::EventFd::new(0).unwrap();
        let call = bytes(FrontendReq::SET_VRING_CALL, &0u64.to_ne_bytes());
        let owner = bytes(FrontendReq::SET_OWNER, &[]);
        peer.send_with_fds(&[owner.as_slice()], &[]).unwrap();
        peer.send_with_fds(&[call.as_slice(), owner.as_slice()], &[event.as_raw_fd()]).unwrap();
        let files: Vec<usize> =
            (0..3).map(|_| framer.receive(&socket).unwrap().unwrap().files.len()).collect();
        assert_eq!(files, [0, 1, 0]);
    }

    #[test]
    fn a_header_then_silence_keeps_nobody_waiting() {
        let (mut peer, socket) = pair();
        let mut framer = framer();
        peer.write_all(&bytes(FrontendReq::SET_FEATURES, &[0; 8])[..HEADER_SIZE]).unwrap();
        assert!(framer.receive(&socket).unwrap().is_none());
        drop(peer);
        assert!(matches!(framer.receive(&socket), Err(ReceiveError::ClosedInMessage)));
    }

    #[test]
    fn a_closed_connection_is_told_apart_from_silence() {
        let (peer, socket) = pair();
        drop(peer);
        assert!(matches!(framer().receive(&socket), Err(ReceiveError::Closed)));
    }

    #[test]
    fn too_many_files_are_refused_and_closed() {
        let (peer, socket) = pair();
        let (mut end, pipe) = std::io::pipe().unwrap();
        let files = vec![pipe.as_raw_fd(); 200];
        peer.send_with_fds(&[bytes(FrontendReq::SET_OWNER, &[]).as_slice()], &files).unwrap();
        let mut framer = framer();
        let error = framer.receive(&socket).unwrap_err();
        assert!(matches!(error, ReceiveError::Form(FormError::Files { files: 200, .. })), "{error}");
        drop((framer, pipe));
        // The pipe ends when the last of the copies is closed.
        assert_eq!(io::Read::read(&mut end, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_size_that_lies_is_refused_before_anything_is_read() {
        let (mut peer, socket) = pair();
        let header = Header { code: FrontendReq::SET_MEM_TABLE.into(), flags: 1, size: u32::MAX };
        peer.write_all(&header.to_bytes()).unwrap();
        let error = framer().receive(&socket).unwrap_err();
        assert!(matches!(error, ReceiveError::Form(FormError::Size { .. })), "{error}");
    }
}
