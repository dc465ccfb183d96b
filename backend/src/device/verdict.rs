//! What a way out does about a frame that the kernel did not take.

use super::DeviceFault;

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Try the same frame again.
    Again,
    /// Leave the frame out, for good.
    Refused,
    /// Leave the frame out: it is lost.
    Lost,
    /// Wait for room.
    Full,
}

/// From the number of the error that sending a frame ended with.
///
/// # Errors
/// [`DeviceFault`] if no frame will ever be taken.
pub(super) fn verdict(errno: i32) -> Result<Verdict, DeviceFault> {
    match errno {
        libc::EAGAIN => Ok(Verdict::Full),
        libc::EINTR => Ok(Verdict::Again),
        // The interface's queue is full, or memory is short.
        libc::ENOBUFS | libc::ENOMEM => Ok(Verdict::Lost),
        // What the kernel says of a frame: longer than the MTU, a header that does not fit, memory that is gone, a
        // filter's verdict.
        libc::EMSGSIZE | libc::EINVAL | libc::EFAULT | libc::EPERM | libc::EPROTONOSUPPORT => {
            Ok(Verdict::Refused)
        }
        // What a TAP device says when it is down.
        libc::EIO => Err(DeviceFault::Down),
        _ => Err(DeviceFault::new("send frames", errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_to_blame_for_its_own_errors_only() {
        assert_eq!(verdict(libc::EAGAIN), Ok(Verdict::Full));
        assert_eq!(verdict(libc::ENOBUFS), Ok(Verdict::Lost));
        assert_eq!(verdict(libc::EMSGSIZE), Ok(Verdict::Refused));
        assert_eq!(verdict(libc::ENETDOWN), Err(DeviceFault::Down));
        assert_eq!(verdict(libc::ENXIO), Err(DeviceFault::Gone));
        assert_eq!(verdict(libc::EBADFD), Err(DeviceFault::Gone));
        assert!(matches!(verdict(libc::EBADF), Err(DeviceFault::System { errno: libc::EBADF, .. })));
    }
}
