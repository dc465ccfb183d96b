//! Answers to the probes by which a bond watches its links (`switch/bond/monitor.rs`), as they come in.
//!
//! They are taken where a link's frames come in, since those of a link that carries nothing now go no further; and
//! nobody else has business with them: they are for the link's own address. The control thread asks which links heard one.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use parking_lot::Mutex;
use viaduct_switch::MacAddress;
use viaduct_switch::bond::{LinkSet, answering};
use viaduct_switch::lacp::LINKS_MAX;

/// No address: those have 48 bits.
const NONE: u64 = u64::MAX;

/// What all links of a bond heard.
pub(super) struct ProbeAnswers {
    targets: Mutex<Vec<Ipv4Addr>>,
    /// Who asks, by link.
    addresses: [AtomicU64; LINKS_MAX],
    heard: AtomicU16,
}

impl ProbeAnswers {
    /// Nobody is asked.
    pub(super) fn new() -> Self {
        let addresses = [const { AtomicU64::new(NONE) }; LINKS_MAX];
        Self { targets: Mutex::default(), addresses, heard: AtomicU16::new(0) }
    }

    /// Answers of these count from now on.
    pub(super) fn set_targets(&self, targets: &[Ipv4Addr]) {
        *self.targets.lock() = targets.to_vec();
        self.heard.store(0, Ordering::Relaxed);
    }

    /// The link asks from this address, or not at all.
    pub(super) fn set_address(&self, link: usize, address: Option<MacAddress>) {
        if let Some(place) = self.addresses.get(link) {
            place.store(address.map_or(NONE, |address| number(address.0)), Ordering::Relaxed);
        }
    }

    /// Whether a frame that begins with `head` and came by this link is of ARP (RFC 826) and for the link itself.
    #[inline]
    pub(super) fn is_for_link(&self, link: usize, head: &[u8]) -> bool {
        let address = self.addresses.get(link).map_or(NONE, |address| address.load(Ordering::Relaxed));
        address != NONE
            && head.get(12..14) == Some(&[0x08, 0x06])
            && head.first_chunk().is_some_and(|destination| number(*destination) == address)
    }

    /// Takes such a frame.
    pub(super) fn take(&self, link: usize, head: &[u8]) {
        let Some(destination) = head.first_chunk() else { return };
        let sender = answering(head, MacAddress(*destination));
        if sender.is_some_and(|sender| self.targets.lock().contains(&sender)) {
            let link: LinkSet = [link].into_iter().collect();
            self.heard.fetch_or(link.0, Ordering::Relaxed);
        }
    }

    /// The links that heard an answer since this was asked last.
    pub(super) fn take_heard(&self) -> LinkSet {
        LinkSet(self.heard.swap(0, Ordering::Relaxed))
    }
}

fn number(address: [u8; 6]) -> u64 {
    address.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
