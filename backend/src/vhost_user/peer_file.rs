//! Files that a peer sent, of which nothing is known yet, not even whether closing them returns.
//!
//! close(2) of a file on FUSE waits for whoever serves that file system, and so does asking for its size or its
//! file system. Hence a file is first asked what only the kernel answers: whether it is an eventfd, or memory.
//! Only an eventfd is closed where it was received: to close anything else may take long, if only because it is the
//! last that keeps a guest's memory.

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::OFlags;

use crate::vhost_user::disposal::Disposal;

/// A file that is not what its request needs.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WrongFile {
    /// Not an eventfd.
    #[error("a file came that is not an eventfd but {0}; a pipe, socket or file could block the switch")]
    NotAnEventfd(String),
    /// Not memory.
    #[error(
        "a file came that is not guest memory but {0}; a memfd, or a file on tmpfs or hugetlbfs, is needed: \
         give QEMU memory-backend-memfd with share=on"
    )]
    NotMemory(String),
}

/// What is known of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Unknown,
    Eventfd,
    Memory,
}

/// A file that came with a message.
#[derive(Debug)]
pub struct PeerFile {
    descriptor: ManuallyDrop<OwnedFd>,
    kind: Kind,
    disposal: Disposal,
}

impl PeerFile {
    /// Takes over a file of which nothing is known; `disposal` will close it.
    #[must_use]
    pub fn new(descriptor: OwnedFd, disposal: Disposal) -> Self {
        Self { descriptor: ManuallyDrop::new(descriptor), kind: Kind::Unknown, disposal }
    }

    /// Checks that it is an eventfd, and makes writing to it fail instead of wait when its counter is full. The peer
    /// shares that flag and can take it back: the data path does not rely on it.
    ///
    /// The kernel's name of an open file tells: `anon_inode:[eventfd]` has no leading slash, so that no file in
    /// any file system can be named like it.
    ///
    /// # Errors
    /// It is something else.
    pub fn check_eventfd(&mut self) -> Result<(), WrongFile> {
        let name = self.name();
        if name != "anon_inode:[eventfd]" {
            return Err(WrongFile::NotAnEventfd(name));
        }
        self.kind = Kind::Eventfd;
        // Neither can fail on an open eventfd.
        let flags = rustix::fs::fcntl_getfl(&*self.descriptor).unwrap_or(OFlags::RDWR);
        let _ = rustix::fs::fcntl_setfl(&*self.descriptor, flags | OFlags::NONBLOCK);
        Ok(())
    }

    /// Checks that it is a memfd, or a file on tmpfs or hugetlbfs: those that can have seals (fcntl(2)).
    ///
    /// # Errors
    /// It is something else.
    pub fn check_memory(&mut self) -> Result<(), WrongFile> {
        if rustix::fs::fcntl_get_seals(&*self.descriptor).is_err() {
            return Err(WrongFile::NotMemory(self.name()));
        }
        self.kind = Kind::Memory;
        Ok(())
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn try_clone(&self) -> std::io::Result<OwnedFd> {
        self.descriptor.try_clone()
    }

    /// What the kernel calls it.
    fn name(&self) -> String {
        let link = format!("/proc/self/fd/{}", self.as_raw_fd());
        match std::fs::read_link(link) {
            Ok(name) => name.display().to_string(),
            Err(error) => format!("unknown, as /proc does not tell ({error})"),
        }
    }
}

impl AsRawFd for PeerFile {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl Drop for PeerFile {
    fn drop(&mut self) {
        // SAFETY: `self` is being dropped, so that nobody uses the descriptor after it was moved out.
        let descriptor = unsafe { ManuallyDrop::take(&mut self.descriptor) };
        match self.kind {
            Kind::Unknown => self.disposal.close(descriptor),
            Kind::Eventfd => drop(descriptor),
            Kind::Memory => self.disposal.free(1, descriptor),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::vhost_user::disposal::tests::block_reaper;

    fn peer_file(descriptor: impl Into<OwnedFd>) -> PeerFile {
        PeerFile::new(descriptor.into(), Disposal::default())
    }

    #[test]
    fn only_eventfds_are_eventfds() {
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        peer_file(event).check_eventfd().unwrap();
        let (pipe, _other) = std::io::pipe().unwrap();
        let error = peer_file(pipe).check_eventfd().unwrap_err();
        assert!(error.to_string().contains("pipe:"), "{error}");
        peer_file(File::open("/dev/null").unwrap()).check_eventfd().unwrap_err();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        peer_file(socket).check_eventfd().unwrap_err();
    }

    #[test]
    fn only_memory_is_memory() {
        let memfd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        peer_file(memfd).check_memory().unwrap();
        let error = peer_file(File::open("/proc/self/status").unwrap()).check_memory().unwrap_err();
        assert!(error.to_string().contains("memory-backend-memfd"), "{error}");
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        peer_file(event).check_memory().unwrap_err();
    }

    #[test]
    fn what_is_unknown_is_closed_all_the_same() {
        let (mut other, pipe) = std::io::pipe().unwrap();
        drop(peer_file(pipe));
        // The end comes when the last writer is closed.
        assert_eq!(std::io::Read::read(&mut other, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn an_eventfd_that_is_full_fails_its_writer_from_the_moment_it_came_in() {
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        peer_file(event.try_clone().unwrap()).check_eventfd().unwrap();
        let full = rustix::io::write(&event, &1u64.to_ne_bytes());
        assert_eq!(full, Err(rustix::io::Errno::WOULDBLOCK));
    }

    #[test]
    fn memory_is_not_closed_where_it_was_received() {
        let disposal = Disposal::default();
        let gate = block_reaper(&disposal);
        let memfd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let number = memfd.as_raw_fd();
        let link = || std::fs::read_link(format!("/proc/self/fd/{number}"));
        let name = link().unwrap();
        let mut file = PeerFile::new(memfd, disposal.clone());
        file.check_memory().unwrap();
        drop(file);
        assert_eq!(link().unwrap(), name, "still open");
        drop(gate);
        crate::vhost_user::disposal::tests::settle(&disposal);
    }
}
