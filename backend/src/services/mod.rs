//! Services on the gateways' own addresses, beside the data path: names (DNS) for the guests of networks, and metadata.
//!
//! One thread with an event loop of its own, so that a slow name server delays nothing else:
//!
//! ```text
//! gateway thread ── packet(port, network, packet) ──▶ inbox (bounded, ports take turns)
//!                                                       │ thread "services"
//!                                                       ├─ UDP 53 ─────────── dns ── other name servers, by sockets of the
//!                                                       │                    │       host's or by an uplink (outside)
//!                                                       ├─ TCP 53 ── stack ──┘
//!                                                       ├─ TCP 80 ── stack ── metadata ── a server of the host's
//! gateway thread ◀── output(network, packet) ───────────┘
//! ```
//!
//! Packets are whole IP packets without an Ethernet header, with finished checksums. Guests are hostile: whatever waits is
//! bounded, shared between ports (`fair`) and counted (`counters`).

mod counters;
mod dns;
mod fair;
mod handle;
mod metadata;
mod names;
mod network;
mod outside;
mod settings;
mod shared;
mod stack;
#[cfg(test)]
mod tests;

pub use counters::Event;
pub use handle::{Handle, Services, ServicesError, Taking};
pub use settings::{Dns, Metadata, NetworkServices, Target, Uplink};

/// Bits that nobody can guess.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // The kernel's generator is ready long before a daemon starts, and then never fails for so few bytes (getrandom(2)).
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}
