//! Packets in words: made up from a description (`viaduct trace`), told as text, and chosen by a filter.

mod build;
mod describe;
mod error;
mod filter;
mod options;
mod parse;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use viaduct_switch::MacAddress;

pub(crate) use build::Surroundings;
pub use build::UnknownAddress;
pub use describe::describe;
pub use error::DescriptionError;
pub use filter::Filter;

/// The longest frame in bytes, without tags (virtio 1.2, 5.1.6.3.1).
const FRAME_MAX: usize = 65_550;

/// A packet as somebody described it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The source MAC address; `None`: that of the port.
    from: Option<MacAddress>,
    /// The destination MAC address; `None`: as follows from the packet.
    to: Option<MacAddress>,
    /// VLAN tags as they stand in the frame, the outer one first.
    tags: Vec<[u8; 4]>,
    /// What it carries.
    content: Content,
    /// The whole frame's length in bytes; `None`: just what its headers take.
    length: Option<usize>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    Ip(IpContent),
    Arp {
        is_reply: bool,
        sender: Ipv4Addr,
        target: Ipv4Addr,
    },
    /// Something of this Ethernet type.
    Ethernet(u16),
    /// The whole frame, byte by byte.
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct IpContent {
    source: IpAddr,
    destination: IpAddr,
    hops: u8,
    transport: TransportContent,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TransportContent {
    Tcp { source: u16, destination: u16, flags: u8 },
    Udp { source: u16, destination: u16 },
    Icmp { kind: u8, code: u8, id: u16 },
    Protocol(u8),
}
