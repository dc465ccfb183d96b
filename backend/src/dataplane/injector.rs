//! By what the gateways' own frames, and packets that waited for a gateway, enter the switch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use viaduct_switch::{NetworkIndex, PortIndex};

use super::message::Message;
use super::sync::mailbox::Postbox;

/// Bytes that may wait for the workers.
const WAITING_BYTES: usize = 4 << 20;

/// What a frame counts at least.
const FRAME_BYTES: usize = 512;

/// Leaves frames for the workers, from any thread.
#[derive(Clone)]
pub struct Injector {
    postboxes: Arc<[Arc<Postbox<Message>>]>,
    waiting: Arc<AtomicUsize>,
}

/// A frame's place among those that wait; given back when it is dropped.
pub(super) struct Ticket(Arc<AtomicUsize>, usize);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Injector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injector").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Injector {
    pub(super) fn new(postboxes: Arc<[Arc<Postbox<Message>>]>) -> Self {
        Self { postboxes, waiting: Arc::default() }
    }

    /// Lets a whole frame without tags enter `network` at `port`, as if it had come in there; says whether there was room for
    /// it. A port's frames stay in order.
    pub fn inject(&self, port: PortIndex, network: NetworkIndex, frame: Vec<u8>) -> bool {
        let Some(postbox) = self.postboxes.get(port.get() % self.postboxes.len().max(1)) else {
            return false;
        };
        let cost = frame.len().max(FRAME_BYTES);
        let before = self.waiting.fetch_add(cost, Ordering::Relaxed);
        let ticket = Ticket(Arc::clone(&self.waiting), cost);
        if before + cost > WAITING_BYTES {
            return false;
        }
        postbox.post(Message::Inject { port, network, frame, ticket });
        true
    }
}
