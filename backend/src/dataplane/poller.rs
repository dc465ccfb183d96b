//! Waiting for kicks: an epoll instance with the eventfds of the rings that a worker serves.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// What an event says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// The control thread left a message.
    Mailbox,
    /// The transmit ring in this place of the worker's list was kicked.
    Inlet(u32),
    /// The receive queue `queue` of the port with this index was kicked.
    Outlet { port: u16, queue: u16 },
}

const OUTLET: u64 = 1 << 62;
const MAILBOX: u64 = 1 << 63;

impl Wake {
    fn to_data(self) -> u64 {
        match self {
            Self::Mailbox => MAILBOX,
            Self::Inlet(place) => u64::from(place),
            Self::Outlet { port, queue } => OUTLET | u64::from(port) << 16 | u64::from(queue),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the fields are cut out of the word")]
    fn from_data(data: u64) -> Self {
        match data {
            MAILBOX => Self::Mailbox,
            data if data & OUTLET != 0 => Self::Outlet { port: (data >> 16) as u16, queue: data as u16 },
            data => Self::Inlet(data as u32),
        }
    }
}

/// Events taken by one wait.
const EVENTS: usize = 256;

/// An epoll instance.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let raw = epoll::create(true)?;
        // SAFETY: the descriptor is new, and nothing else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self { epoll, events: vec![epoll::Event::new(epoll::Events::empty(), 0); EVENTS] })
    }

    /// Reports each write to the eventfd as `wake`, without the eventfd ever being read (edge-triggered).
    pub(super) fn add(&self, descriptor: RawFd, wake: Wake) -> io::Result<()> {
        let events = epoll::Events::EPOLLIN | epoll::Events::EPOLLET;
        let event = epoll::Event::new(events, wake.to_data());
        epoll::ctl(self.epoll.as_raw_fd(), epoll::ControlOptions::EPOLL_CTL_ADD, descriptor, event)
    }

    /// Reports once as `wake` that the descriptor is writable, or has failed; at once if it is so already.
    pub(super) fn watch_for_room(&self, descriptor: RawFd, wake: Wake) -> io::Result<()> {
        let events = epoll::Events::EPOLLOUT | epoll::Events::EPOLLONESHOT;
        let event = epoll::Event::new(events, wake.to_data());
        let control = |operation| epoll::ctl(self.epoll.as_raw_fd(), operation, descriptor, event);
        control(epoll::ControlOptions::EPOLL_CTL_MOD)
            .or_else(|_| control(epoll::ControlOptions::EPOLL_CTL_ADD))
    }

    /// Stops reporting the eventfd.
    pub(super) fn remove(&self, descriptor: RawFd) {
        let event = epoll::Event::new(epoll::Events::empty(), 0);
        // A descriptor that is not in the set is not there afterwards either.
        let _ = epoll::ctl(self.epoll.as_raw_fd(), epoll::ControlOptions::EPOLL_CTL_DEL, descriptor, event);
    }

    /// Waits for at most `timeout` (`None`: for ever) and gives what happened.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> impl Iterator<Item = Wake> + '_ {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let count = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        let events = self.events.as_mut_ptr().cast();
        // SAFETY: writes at most `count` events to `events`, laid out as the kernel does; the time is null or our own.
        let found =
            unsafe { libc::epoll_pwait2(self.epoll.as_raw_fd(), events, count, timeout, ptr::null()) };
        // EINTR and the like: nothing happened, and the caller goes round its loop.
        self.events.iter().take(usize::try_from(found).unwrap_or(0)).map(|event| Wake::from_data(event.data))
    }
}
