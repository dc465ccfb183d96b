//! Services on the gateways' own addresses, beside the data path: names (DNS) for the guests of networks.
//!
//! One thread with an event loop of its own, so that a slow name server delays nothing else:
//!
//! ```text
//! gateway thread ── packet(port, network, packet) ──▶ inbox (bounded, ports take turns)
//!                                                       │ thread "services"
//!                                                       ├─ UDP 53 ── dns ── other name servers
//! gateway thread ◀── output(network, packet) ───────────┘
//! ```
//!
//! Packets are whole IP packets without an Ethernet header, with finished checksums. Guests are hostile: whatever waits is
//! bounded, shared between ports (`fair`) and counted (`counters`).

mod counters;
mod dns;
mod fair;
mod handle;
mod names;
mod network;
mod settings;
mod shared;
#[cfg(test)]
mod tests;

pub use counters::Event;
pub use handle::{Handle, Services, ServicesError, Taking};
pub use settings::{Dns, NetworkServices};
