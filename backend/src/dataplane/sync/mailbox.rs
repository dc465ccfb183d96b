//! Messages from the control thread to a worker, and the worker's acknowledgements.

use std::time::Duration;

use super::primitives::{
    Arc, AtomicBool, Bell, Ordering, Receiver, RecvTimeoutError, Sender, channel, receive,
};

/// Says to the control thread that a message was handled, and gives back what it asked for.
pub(in crate::dataplane) struct Acknowledge<T>(Sender<T>);

impl<T> Acknowledge<T> {
    pub(in crate::dataplane) fn done(self, given: T) {
        // Nobody waits any more only when the process ends.
        let _ = self.0.send(given);
    }
}

/// The acknowledgements that the control thread waits for.
pub(in crate::dataplane) struct Answers<T> {
    sender: Option<Sender<T>>,
    receiver: Receiver<T>,
}

/// What came of waiting for an acknowledgement.
pub(in crate::dataplane) enum Answer<T> {
    /// A worker handled its message.
    Given(T),
    /// None did within the given time.
    Late,
    /// All did, or are gone.
    Complete,
}

impl<T> Answers<T> {
    pub(in crate::dataplane) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender: Some(sender), receiver }
    }

    /// The acknowledgement that goes with one more message.
    pub(in crate::dataplane) fn one_more(&self) -> Option<Acknowledge<T>> {
        self.sender.clone().map(Acknowledge)
    }

    /// Waits for the next one; all messages have been posted.
    pub(in crate::dataplane) fn next(&mut self, patience: Duration) -> Answer<T> {
        // What is left of the senders is with workers: when those are gone, nobody answers any more.
        self.sender = None;
        match receive(&self.receiver, patience) {
            Ok(given) => Answer::Given(given),
            Err(RecvTimeoutError::Timeout) => Answer::Late,
            Err(RecvTimeoutError::Disconnected) => Answer::Complete,
        }
    }
}

/// The worker's end.
pub(in crate::dataplane) struct Mailbox<M> {
    messages: Receiver<M>,
    pending: Arc<AtomicBool>,
}

/// The control thread's end.
pub(in crate::dataplane) struct Postbox<M> {
    messages: Sender<M>,
    pending: Arc<AtomicBool>,
    bell: Bell,
}

/// A pair of ends. The bell rings with each message.
pub(in crate::dataplane) fn mailbox<M>(bell: Bell) -> (Postbox<M>, Mailbox<M>) {
    let (sender, receiver) = channel();
    let pending = Arc::new(AtomicBool::new(false));
    let postbox = Postbox { messages: sender, pending: Arc::clone(&pending), bell };
    (postbox, Mailbox { messages: receiver, pending })
}

impl<M> Postbox<M> {
    /// Leaves a message and wakes the worker. The order matters: whoever is woken finds the flag, and whoever finds
    /// the flag finds the message.
    pub(in crate::dataplane) fn post(&self, message: M) {
        // A worker that is gone acknowledges nothing; the caller notices by that.
        let _ = self.messages.send(message);
        self.pending.store(true, Ordering::Release);
        self.bell.ring();
    }
}

impl<M> Mailbox<M> {
    /// Whether messages wait: one load of a line that seldom changes. To be asked again after each sleep.
    #[inline]
    pub(in crate::dataplane) fn has_some(&self) -> bool {
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::AcqRel)
    }

    pub(in crate::dataplane) fn take(&self) -> Option<M> {
        self.messages.try_recv().ok()
    }
}
