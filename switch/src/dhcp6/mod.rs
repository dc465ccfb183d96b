//! DHCP for IPv6: messages, and the server of a network (RFC 8415).
//!
//! What a server lends, and to whom, is the same for both versions ([`crate::dhcp::lending`]): clients are told apart by
//! port, DUID and IAID, and nobody gets or ends what is lent at another port. The server is asked by the group of all
//! servers alone, never by unicast; it lends addresses (IA_NA), but neither temporary ones nor prefixes; it sends no
//! Reconfigure. A network whose hosts make their addresses themselves is served with the rest alone.
//!
//! ```text
//!   frame -- datagram::open_v6 --> payload -- Message::decode --> Message -- Server::receive --> frame
//! ```
//!
//! Reading is strict: what is cut, or has a length that it cannot have, is [`Malformed`] as a whole.

mod association;
mod error;
mod message;
pub mod server;

pub use association::{Association, AssociationKind, DUID_MAX};
pub use error::Malformed;
pub use message::{Message, MessageType, Options, code, status};

/// The port on which servers listen (RFC 8415, 7.2).
pub const SERVER_PORT: u16 = 547;

/// The port on which clients listen.
pub const CLIENT_PORT: u16 = 546;

/// All servers and relays of a link (RFC 8415, 7.1).
pub const ALL_SERVERS: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
