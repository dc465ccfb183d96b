//! Messages from the control thread to a worker, and its acknowledgements.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use viaduct_switch::{Policy, PortIndex};
use vmm_sys_util::eventfd::EventFd;

use super::outlet::Outlet;
use super::worker::Inlet;

/// What the control thread tells a worker; done between two bursts.
pub(super) enum Message {
    /// Serve these transmit rings, and know where the port's frames go.
    /// `watch`: it falls to this worker to look after the receive rings' kicks.
    Attach { outlet: Option<Arc<Outlet>>, watch: bool, inlets: Vec<Inlet>, acknowledge: Acknowledge },
    /// Let go of all that belongs to the port.
    Detach { port: PortIndex, acknowledge: Acknowledge },
    /// Go by this policy from now on.
    SetPolicy { policy: Arc<Policy>, acknowledge: Acknowledge },
    /// Write no more to this eventfd of the port: it held up a worker.
    Mute { port: PortIndex, descriptor: RawFd },
    /// Let this frame enter the switch.
    Inject { port: PortIndex, frame: Vec<u8> },
    /// End.
    Stop,
}

/// Says to the control thread that a message was handled, and gives back what it asked for.
pub(super) struct Acknowledge(pub(super) Sender<Vec<Inlet>>);

impl Acknowledge {
    pub(super) fn done(self, inlets: Vec<Inlet>) {
        // Nobody waits any more only when the process ends.
        let _ = self.0.send(inlets);
    }
}

/// The worker's end.
pub(super) struct Mailbox {
    messages: Receiver<Message>,
    pending: Arc<AtomicBool>,
    wake: Arc<EventFd>,
}

/// The control thread's end.
pub(super) struct Postbox {
    messages: Sender<Message>,
    pending: Arc<AtomicBool>,
    wake: Arc<EventFd>,
}

/// A pair of ends. The eventfd becomes readable with each message.
pub(super) fn mailbox() -> std::io::Result<(Postbox, Mailbox)> {
    let (sender, receiver) = channel();
    let wake = Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?);
    let pending = Arc::new(AtomicBool::new(false));
    let postbox = Postbox { messages: sender, pending: Arc::clone(&pending), wake: Arc::clone(&wake) };
    Ok((postbox, Mailbox { messages: receiver, pending, wake }))
}

impl Postbox {
    /// Leaves a message and wakes the worker.
    pub(super) fn post(&self, message: Message) {
        // A worker that is gone acknowledges nothing; the caller notices by that.
        let _ = self.messages.send(message);
        self.pending.store(true, Ordering::Release);
        // A full counter wakes as well.
        let _ = self.wake.write(1);
    }
}

impl Mailbox {
    /// Whether messages wait: one load of a line that seldom changes.
    #[inline]
    pub(super) fn has_some(&self) -> bool {
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::AcqRel)
    }

    pub(super) fn take(&self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    pub(super) fn wake_descriptor(&self) -> i32 {
        self.wake.as_raw_fd()
    }
}
