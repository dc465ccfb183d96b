//! Eventfds from a peer: only real ones, since anything else could block whoever writes it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::dataplane::Signal;

/// A file that is no eventfd.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is not an eventfd but {found}; a pipe, socket or file could block the switch")]
pub struct NotAnEventfd {
    found: String,
}

impl NotAnEventfd {
    fn unknown(error: &std::io::Error) -> Self {
        Self { found: format!("unknown, as /proc does not tell ({error})") }
    }
}

/// Checks that `file` is an eventfd; see [`accept`].
///
/// # Errors
/// It is something else.
pub fn check(file: BorrowedFd<'_>) -> Result<(), NotAnEventfd> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let name = std::fs::read_link(link).map_err(|error| NotAnEventfd::unknown(&error))?;
    if name.as_os_str() == "anon_inode:[eventfd]" {
        return Ok(());
    }
    Err(NotAnEventfd { found: name.display().to_string() })
}

/// Accepts `file` if it is an eventfd.
///
/// The kernel's name of an open file tells: `anon_inode:[eventfd]` has no leading slash, so that no file in
/// any file system can be named like it.
///
/// # Errors
/// It is something else.
pub fn accept(file: OwnedFd) -> Result<Signal, NotAnEventfd> {
    check(file.as_fd())?;
    Ok(Arc::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_eventfds_are_accepted() {
        let event = vmm_sys_util::eventfd::EventFd::new(0).unwrap();
        // SAFETY: the descriptor is ours alone from here on.
        let event: OwnedFd =
            unsafe { std::os::fd::FromRawFd::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(event)) };
        accept(event).unwrap();
        let (pipe, _other) = std::io::pipe().unwrap();
        let error = accept(pipe.into()).unwrap_err();
        assert!(error.to_string().contains("pipe:"), "{error}");
        accept(std::fs::File::open("/dev/null").unwrap().into()).unwrap_err();
        accept(std::os::unix::net::UnixStream::pair().unwrap().0.into()).unwrap_err();
    }
}
