//! DHCP for IPv4: messages, the server of a network, the client of an uplink (RFC 2131, RFC 2132).
//!
//! Time, frames and randomness are arguments, as everywhere in the switch. The server answers within the call that brings
//! the question; both run beside the data path.
//!
//! ```text
//!   frame -- datagram::open --> payload -- Message::decode --> Message -- Server::receive --> frame
//! ```
//!
//! Reading is strict: what is cut, contradicts itself or has a length that it cannot have is a [`Malformed`] message as a
//! whole. Options of which nothing is known here are carried along unread.

pub mod client;
pub mod datagram;
mod error;
mod events;
pub mod lending;
mod message;
pub mod options;
pub mod routes;
pub mod server;
mod serving;

pub use error::Malformed;
pub use events::{Counters, Event};
pub use message::{DATAGRAM_DEFAULT, MESSAGE_MAX, Message, MessageType, Operation};
pub use options::{Options, code};
pub use routes::Route;
pub use serving::{Server, ServerSettings};

#[cfg(test)]
mod tests;
