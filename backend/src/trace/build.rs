//! From a description to a frame's bytes.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_switch::MacAddress;

use super::{Content, Description, IpContent, TransportContent};

/// A MAC address that follows from nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnknownAddress {
    /// The port's own.
    #[error(
        "the MAC address of {port} is not known; say whom the packet is from, like `from 52:54:00:12:34:56`"
    )]
    Source {
        /// The port's name.
        port: String,
    },
    /// The destination's.
    #[error(
        "no port of the networks of {port} has the address {address}; say which MAC address the packet goes to, like \
         `to 52:54:00:12:34:56` (`viaduct show fdb` lists those that are known)"
    )]
    Destination {
        /// The port's name.
        port: String,
        /// The packet's destination.
        address: IpAddr,
    },
    /// The destination of something that is no IP packet.
    #[error("nothing tells where the frame goes; say it, like `to 52:54:00:12:34:56`")]
    Nowhere,
}

/// What follows from the configuration.
pub(crate) struct Surroundings<'a> {
    /// The port where the packet enters.
    pub(crate) port: &'a str,
    /// Its guest's MAC address, if it is known.
    pub(crate) mac: Option<MacAddress>,
    /// Who has an IP address.
    pub(crate) resolve: &'a dyn Fn(IpAddr) -> Option<MacAddress>,
}

impl Description {
    /// The frame. Lengths and checksums are right.
    ///
    /// # Errors
    /// A MAC address was left out and follows from nothing.
    pub(crate) fn build(&self, around: &Surroundings<'_>) -> Result<Vec<u8>, UnknownAddress> {
        if let Content::Bytes(bytes) = &self.content {
            return Ok(bytes.clone());
        }
        let from = self.from.or(around.mac);
        let from = from.ok_or_else(|| UnknownAddress::Source { port: around.port.to_owned() })?;
        let to = self.to.map_or_else(|| self.destination(around), Ok)?;
        let mut frame = [to.0, from.0].concat();
        self.tags.iter().for_each(|tag| frame.extend(tag));
        let room = self.length.map(|length| length.saturating_sub(frame.len() + 2));
        let (kind, content) = self.content(from, to, room);
        frame.extend(kind.to_be_bytes());
        frame.extend(content);
        if let Some(length) = self.length {
            frame.resize(length, 0);
        }
        Ok(frame)
    }

    /// Where a packet goes on the link.
    fn destination(&self, around: &Surroundings<'_>) -> Result<MacAddress, UnknownAddress> {
        let address = match &self.content {
            Content::Arp { is_reply: false, .. } => return Ok(MacAddress::BROADCAST),
            Content::Arp { target, .. } => IpAddr::V4(*target),
            Content::Ip(packet) => packet.destination,
            Content::Ethernet(_) | Content::Bytes(_) => return Err(UnknownAddress::Nowhere),
        };
        let known = group(address).or_else(|| (around.resolve)(address));
        known.ok_or_else(|| UnknownAddress::Destination { port: around.port.to_owned(), address })
    }

    /// The type field, and what stands behind it; an IP packet fills `room` bytes.
    fn content(&self, from: MacAddress, to: MacAddress, room: Option<usize>) -> (u16, Vec<u8>) {
        match &self.content {
            Content::Ip(packet) if packet.source.is_ipv4() => (0x800, packet.bytes(room)),
            Content::Ip(packet) => (0x86dd, packet.bytes(room)),
            Content::Arp { is_reply, sender, target } => {
                (0x806, arp(*is_reply, (from, *sender), (to, *target)))
            }
            Content::Ethernet(kind) => (*kind, Vec::new()),
            Content::Bytes(bytes) => (0, bytes.clone()),
        }
    }
}

/// The link's address of a group (RFC 1112, 6.4; RFC 2464, 7), or of all stations.
fn group(address: IpAddr) -> Option<MacAddress> {
    match address {
        IpAddr::V4(address) if address.is_broadcast() => Some(MacAddress::BROADCAST),
        IpAddr::V4(address) if address.is_multicast() => {
            let [_, b, c, d] = address.octets();
            Some(MacAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(address) if address.is_multicast() => {
            let [.., a, b, c, d] = address.octets();
            Some(MacAddress([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}

/// RFC 826.
fn arp(
    is_reply: bool,
    (mac, sender): (MacAddress, Ipv4Addr),
    (to, target): (MacAddress, Ipv4Addr),
) -> Vec<u8> {
    let asked = if is_reply { to.0 } else { [0; 6] };
    let head = [0, 1, 8, 0, 6, 4, 0, if is_reply { 2 } else { 1 }];
    [&head[..], &mac.0, &sender.octets(), &asked, &target.octets()].concat()
}

impl IpContent {
    /// The packet, `room` bytes long if its headers leave as much.
    fn bytes(&self, room: Option<usize>) -> Vec<u8> {
        let header = if self.source.is_ipv4() { 20 } else { 40 };
        let mut transport = self.transport_header();
        let length = room.map_or(0, |room| room.saturating_sub(header)).max(transport.len());
        transport.resize(length, 0);
        self.finish(&mut transport);
        [self.header(transport.len()), transport].concat()
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            TransportContent::Tcp { .. } => 6,
            TransportContent::Udp { .. } => 17,
            TransportContent::Icmp { .. } => {
                if self.source.is_ipv4() {
                    1
                } else {
                    58
                }
            }
            TransportContent::Protocol(number) => number,
        }
    }

    fn transport_header(&self) -> Vec<u8> {
        match self.transport {
            // RFC 9293, 3.1: a header of five words, and a window.
            TransportContent::Tcp { source, destination, flags } => {
                let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]].concat()
            }
            TransportContent::Udp { source, destination } => {
                [source.to_be_bytes(), destination.to_be_bytes(), [0; 2], [0; 2]].concat()
            }
            TransportContent::Icmp { kind, code, id } => {
                [[kind, code], [0; 2], id.to_be_bytes(), [0, 1]].concat()
            }
            TransportContent::Protocol(_) => Vec::new(),
        }
    }

    /// Sets the transport's length and checksum.
    fn finish(&self, transport: &mut [u8]) {
        let length = u16::try_from(transport.len()).unwrap_or(u16::MAX).to_be_bytes();
        let at = match self.transport {
            TransportContent::Tcp { .. } => 16,
            TransportContent::Udp { .. } => {
                if let Some(field) = transport.get_mut(4..6) {
                    field.copy_from_slice(&length);
                }
                6
            }
            TransportContent::Icmp { .. } => 2,
            TransportContent::Protocol(_) => return,
        };
        let is_icmp4 = matches!(self.transport, TransportContent::Icmp { .. }) && self.source.is_ipv4();
        let pseudo = if is_icmp4 { 0 } else { self.pseudo_header(transport.len()) };
        let sum = fold(pseudo + words(transport));
        // RFC 768: 0 would say that there is none.
        let sum = if sum == 0 { 0xffff } else { sum };
        if let Some(field) = transport.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// The sum of the pseudo-header's words (RFC 9293, 3.1; RFC 8200, 8.1).
    fn pseudo_header(&self, length: usize) -> u64 {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        words(&octets(self.source))
            + words(&octets(self.destination))
            + u64::from(self.protocol())
            + length as u64
    }

    fn header(&self, length: usize) -> Vec<u8> {
        let length = |more: usize| u16::try_from(length + more).unwrap_or(u16::MAX).to_be_bytes();
        match (self.source, self.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let [high, low] = length(0);
                let head = [0x60, 0, 0, 0, high, low, self.protocol(), self.hops];
                [&head[..], &source.octets(), &destination.octets()].concat()
            }
            (source, destination) => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V4(address) => address.octets(),
                    IpAddr::V6(_) => [0; 4],
                };
                let [high, low] = length(20);
                let head = [0x45, 0, high, low, 0, 1, 0, 0, self.hops, self.protocol(), 0, 0];
                let mut header = [&head[..], &octets(source), &octets(destination)].concat();
                let sum = fold(words(&header)).to_be_bytes();
                header.splice(10..12, sum);
                header
            }
        }
    }
}

/// The sum of 16-bit words (RFC 1071).
fn words(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

/// The checksum of a sum of words.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
