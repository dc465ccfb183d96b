//! Replies on their way to a peer that may not read them.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

/// Bytes of replies that may wait beyond what the socket itself holds. A peer asks, then reads: a few dozen
/// bytes wait at most, unless it never reads.
pub const WAITING_MAX: usize = 64 * 1024;

/// The peer does not read its replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the peer does not read its replies: {WAITING_MAX} bytes wait")]
pub struct Unread;

/// Replies that wait for the socket.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Vec<u8>,
}

impl Outbox {
    /// Adds a reply.
    ///
    /// # Errors
    /// Too much waits already.
    pub fn push(&mut self, reply: &[u8]) -> Result<(), Unread> {
        if self.waiting.len() + reply.len() > WAITING_MAX {
            return Err(Unread);
        }
        self.waiting.extend_from_slice(reply);
        Ok(())
    }

    /// One in which this waits.
    ///
    /// # Errors
    /// It is too much.
    pub fn holding(waiting: Vec<u8>) -> Result<Self, Unread> {
        if waiting.len() > WAITING_MAX { Err(Unread) } else { Ok(Self { waiting }) }
    }

    /// What waits.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        &self.waiting
    }

    /// Whether something waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends what the socket takes now.
    ///
    /// # Errors
    /// The socket failed; the session is over.
    pub fn flush(&mut self, socket: impl AsFd) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match rustix::net::send(&socket, &self.waiting, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.waiting.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn replies_wait_within_bounds_and_go_out_in_order() {
        let (mut peer, socket) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        let mut sent = 0_u64;
        let unread = loop {
            if let Err(unread) = outbox.push(&sent.to_ne_bytes()) {
                break unread;
            }
            sent += 1;
            outbox.flush(&socket).unwrap();
        };
        assert_eq!(unread, Unread);
        assert!(!outbox.is_empty());
        for expected in 0..sent {
            let mut bytes = [0; 8];
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(u64::from_ne_bytes(bytes), expected);
            outbox.flush(&socket).unwrap();
        }
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_closed_peer_is_an_error_and_not_a_signal() {
        let (peer, socket) = UnixStream::pair().unwrap();
        drop(peer);
        let mut outbox = Outbox::default();
        outbox.push(&[0]).unwrap();
        assert_eq!(outbox.flush(&socket).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
