//! Frames on their way from the workers to the gateways: copies in a queue of bounded size, which is fair to ports.
//!
//! How many a port may have looked at is metered by the switch (`gateway-rate`); this bounds what they take while they wait. A
//! worker comes here for such frames only. The lock is held while one frame is copied, or lists change hands.

use std::collections::VecDeque;
use std::fmt;
use std::sync::OnceLock;

use parking_lot::Mutex;
use viaduct_switch::ids::PORTS_MAX;
use viaduct_switch::router::Why;
use viaduct_switch::{NetworkIndex, PortIndex};

/// Bytes that the frames of all ports may take together, each port's minimum aside.
const TOTAL_BYTES: usize = 8 << 20;

/// Bytes that those of one port may take.
const PORT_BYTES: usize = 256 << 10;

/// Bytes that a port may always take, whatever the others do.
const PORT_MINIMUM: usize = 4 << 10;

/// A port takes at most this part of what is free (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory
/// packet switches", 1998).
const SHARE: usize = 8;

/// The length of buffers that are kept for the next frame, and how many of them are.
const BUFFER_BYTES: usize = 2048;
const BUFFERS_KEPT: usize = 256;

/// A frame that a gateway has to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfferedFrame {
    /// The port where it came in.
    pub port: PortIndex,
    /// The network to which it belongs, and whose gateway is meant.
    pub network: NetworkIndex,
    /// What the gateway cannot find out by itself.
    pub why: Option<Why>,
    /// The whole frame from the Ethernet header on, without the tags of its network and without FCS; its checksums are
    /// finished, and it is no super-frame.
    pub bytes: Vec<u8>,
}

/// Where a frame came in, and why it is offered if the gateway cannot find that out by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) port: PortIndex,
    pub(super) network: NetworkIndex,
    pub(super) why: Option<Why>,
}

/// All that wait.
pub struct Offers {
    store: Mutex<Store>,
    /// Rung when the first one comes.
    bell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct Store {
    waiting: VecDeque<OfferedFrame>,
    /// What each port takes, and all do.
    ports: Box<[usize]>,
    bytes: usize,
    buffers: Vec<Vec<u8>>,
}

impl Default for Offers {
    fn default() -> Self {
        let store = Store {
            waiting: VecDeque::new(),
            ports: vec![0; PORTS_MAX].into(),
            bytes: 0,
            buffers: Vec::new(),
        };
        Self { store: Mutex::new(store), bell: OnceLock::new() }
    }
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offers").finish_non_exhaustive()
    }
}

impl Offers {
    /// Has `bell` called whenever a frame comes while none waits. To be said once; nothing is taken before.
    pub fn listen(&self, bell: impl Fn() + Send + Sync + 'static) {
        // Whoever listens first stays.
        let _ = self.bell.set(Box::new(bell));
    }

    /// Takes a frame of `length` bytes, which `fill` writes; says whether there was room.
    pub(super) fn offer(
        &self,
        Place { port, network, why }: Place,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        let Some(bell) = self.bell.get() else { return false };
        let mut store = self.store.lock();
        let Some(mut bytes) = store.take_room(port, length) else { return false };
        fill(&mut bytes);
        let is_first = store.waiting.is_empty();
        store.waiting.push_back(OfferedFrame { port, network, why, bytes });
        drop(store);
        if is_first {
            bell();
        }
        true
    }

    /// What waits, oldest first; `into` must be empty.
    pub fn take(&self, into: &mut VecDeque<OfferedFrame>) {
        let mut store = self.store.lock();
        std::mem::swap(&mut store.waiting, into);
        store.ports.fill(0);
        store.bytes = 0;
    }

    /// Takes a frame's buffer back.
    pub fn recycle(&self, frame: OfferedFrame) {
        let mut bytes = frame.bytes;
        if bytes.capacity() == BUFFER_BYTES {
            bytes.clear();
            let mut store = self.store.lock();
            if store.buffers.len() < BUFFERS_KEPT {
                store.buffers.push(bytes);
            }
        }
    }
}

impl Store {
    /// A buffer of `length` bytes for a port, if it may have so much.
    fn take_room(&mut self, port: PortIndex, length: usize) -> Option<Vec<u8>> {
        let cost = length.max(BUFFER_BYTES);
        let held = self.ports.get_mut(port.get())?;
        let free = TOTAL_BYTES.saturating_sub(self.bytes);
        if *held + cost > PORT_BYTES.min(free / SHARE).max(PORT_MINIMUM) {
            return None;
        }
        *held += cost;
        self.bytes += cost;
        let kept = if length <= BUFFER_BYTES { self.buffers.pop() } else { None };
        let mut bytes = kept.unwrap_or_else(|| Vec::with_capacity(cost));
        bytes.resize(length, 0);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn place(port: usize) -> Place {
        Place { port: PortIndex::new(port).unwrap(), network: NetworkIndex::new(0).unwrap(), why: None }
    }

    fn offer(offers: &Offers, port: usize, length: usize, fill: u8) -> bool {
        offers.offer(place(port), length, |bytes| bytes.fill(fill))
    }

    fn listened() -> (Offers, Arc<AtomicU32>) {
        let (offers, rung) = (Offers::default(), Arc::new(AtomicU32::new(0)));
        let counter = Arc::clone(&rung);
        offers.listen(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        (offers, rung)
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_the_first_one_rings() {
        let (offers, rung) = listened();
        let mut taken = VecDeque::new();
        for round in 0..3_u8 {
            assert!(offer(&offers, 1, 60, round) && offer(&offers, 2, 3000, round));
            assert_eq!(rung.load(Ordering::Relaxed), u32::from(round) + 1);
            offers.take(&mut taken);
            let expected = [(1, 60), (2, 3000)].map(|(port, length)| {
                let Place { port, network, why } = place(port);
                OfferedFrame { port, network, why, bytes: vec![round; length] }
            });
            assert_eq!(taken, expected);
            taken.drain(..).for_each(|frame| offers.recycle(frame));
        }
    }

    #[test]
    fn nothing_is_taken_while_nobody_listens() {
        assert!(!offer(&Offers::default(), 1, 60, 1));
    }

    #[test]
    fn a_port_that_offers_without_end_takes_no_others_room() {
        let (offers, _) = listened();
        let flood = (0..100_000).filter(|_| offer(&offers, 1, 60, 1)).count();
        assert_eq!(flood, PORT_BYTES / BUFFER_BYTES);
        assert!(offer(&offers, 2, 1514, 2), "another port has room");
        let floods: usize =
            (3..PORTS_MAX).map(|port| (0..200).filter(|_| offer(&offers, port, 60, 1)).count()).sum();
        assert!(floods * BUFFER_BYTES < TOTAL_BYTES + PORTS_MAX * PORT_MINIMUM, "{floods}");
        let mut taken = VecDeque::new();
        offers.take(&mut taken);
        assert_eq!(taken.len(), flood + 1 + floods);
        assert!(offer(&offers, 1, 60, 1), "there is room again");
    }
}
