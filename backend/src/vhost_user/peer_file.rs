//! Files that a peer sent, of which nothing is known yet, not even whether closing them returns.
//!
//! close(2) of a file on FUSE waits for whoever serves that file system, and so does asking for its size or its
//! file system. Hence a file is first asked what only the kernel answers: whether it is an eventfd, or memory.
//! What is neither is closed by a thread that has nothing else to do.

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

/// Files that may wait to be closed. One that waits for ever holds up the others behind it; beyond this number
/// they stay open, which is the least harm left.
const WAITING_MAX: usize = 1024;

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

/// A file that came with a message.
#[derive(Debug)]
pub struct PeerFile {
    descriptor: ManuallyDrop<OwnedFd>,
    harmless: bool,
}

impl PeerFile {
    /// Takes over a file of which nothing is known.
    #[must_use]
    pub fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor: ManuallyDrop::new(descriptor), harmless: false }
    }

    /// Checks that it is an eventfd.
    ///
    /// The kernel's name of an open file tells: `anon_inode:[eventfd]` has no leading slash, so that no file in
    /// any file system can be named like it.
    ///
    /// # Errors
    /// It is something else.
    pub fn check_eventfd(&mut self) -> Result<(), WrongFile> {
        let name = self.name();
        self.harmless = name == "anon_inode:[eventfd]";
        if self.harmless { Ok(()) } else { Err(WrongFile::NotAnEventfd(name)) }
    }

    /// Checks that it is a memfd, or a file on tmpfs or hugetlbfs: those that can have seals (fcntl(2)).
    ///
    /// # Errors
    /// It is something else.
    pub fn check_memory(&mut self) -> Result<(), WrongFile> {
        self.harmless = rustix::fs::fcntl_get_seals(&*self.descriptor).is_ok();
        if self.harmless { Ok(()) } else { Err(WrongFile::NotMemory(self.name())) }
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
        if !self.harmless {
            close_elsewhere(descriptor);
        }
    }
}

/// Has the closing thread close it.
fn close_elsewhere(descriptor: OwnedFd) {
    static CLOSER: OnceLock<Option<SyncSender<OwnedFd>>> = OnceLock::new();
    let closer = CLOSER.get_or_init(|| {
        let (sender, receiver) = sync_channel::<OwnedFd>(WAITING_MAX);
        let close = move || receiver.into_iter().for_each(drop);
        std::thread::Builder::new().name("closer".to_owned()).spawn(close).ok().map(|_| sender)
    });
    let Some(closer) = closer else { return };
    if let Err(TrySendError::Full(descriptor) | TrySendError::Disconnected(descriptor)) =
        closer.try_send(descriptor)
    {
        std::mem::forget(descriptor);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_eventfds_are_eventfds() {
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        PeerFile::new(event).check_eventfd().unwrap();
        let (pipe, _other) = std::io::pipe().unwrap();
        let error = PeerFile::new(pipe.into()).check_eventfd().unwrap_err();
        assert!(error.to_string().contains("pipe:"), "{error}");
        PeerFile::new(File::open("/dev/null").unwrap().into()).check_eventfd().unwrap_err();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        PeerFile::new(socket.into()).check_eventfd().unwrap_err();
    }

    #[test]
    fn only_memory_is_memory() {
        let memfd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        PeerFile::new(memfd).check_memory().unwrap();
        let error =
            PeerFile::new(File::open("/proc/self/status").unwrap().into()).check_memory().unwrap_err();
        assert!(error.to_string().contains("memory-backend-memfd"), "{error}");
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        PeerFile::new(event).check_memory().unwrap_err();
    }

    #[test]
    fn what_is_unknown_is_closed_all_the_same() {
        let (mut other, pipe) = std::io::pipe().unwrap();
        drop(PeerFile::new(pipe.into()));
        // The end comes when the last writer is closed.
        assert_eq!(std::io::Read::read(&mut other, &mut [0]).unwrap(), 0);
    }
}
