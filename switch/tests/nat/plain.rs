//! Packets as they are meant, written down in the plainest way with every checksum computed anew: what a translation has to come out
//! as, whoever changes what in which order.

use std::net::IpAddr;

use viaduct_switch::{Claims, Gso, GsoKind, PartialChecksum};

use crate::lab::sum;

/// An address and a port, or an identifier of ICMP.
pub(crate) type Point = (IpAddr, u16);

/// What is behind the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// With sequence and acknowledgement numbers and flags as they stand in the header.
    Tcp(u32, u32, u8),
    Udp,
    /// UDP over IPv4 without a checksum (RFC 768).
    Unsummed,
    /// An echo request or reply.
    Echo {
        is_reply: bool,
    },
}

impl Kind {
    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp(..))
    }

    pub(crate) fn is_echo(self) -> bool {
        matches!(self, Self::Echo { .. })
    }

    fn number(self, is_v6: bool) -> u8 {
        match self {
            Self::Tcp(..) => 6,
            Self::Udp | Self::Unsummed => 17,
            Self::Echo { .. } if is_v6 => 58,
            Self::Echo { .. } => 1,
        }
    }

    /// The length of its header, and where the checksum is in it.
    fn shape(self) -> (usize, usize) {
        match self {
            Self::Tcp(..) => (20, 16),
            Self::Udp | Self::Unsummed => (8, 6),
            Self::Echo { .. } => (8, 2),
        }
    }
}

/// A packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plain {
    pub(crate) kind: Kind,
    pub(crate) from: Point,
    pub(crate) to: Point,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) id: u16,
    /// Whether nobody may cut it (IPv4).
    pub(crate) is_whole: bool,
    /// Words of options of IPv4 that say nothing.
    pub(crate) options: usize,
    pub(crate) payload: Vec<u8>,
}

impl Plain {
    fn is_v6(&self) -> bool {
        self.from.0.is_ipv6()
    }

    /// The same packet behind a router, with other ends.
    pub(crate) fn routed(&self, from: Point, to: Point) -> Self {
        Self { from, to, ttl: self.ttl - 1, ..self.clone() }
    }

    /// Transport header and payload.
    fn transport(&self) -> Vec<u8> {
        let mut bytes = match self.kind {
            Kind::Tcp(sequence, acknowledgement, flags) => {
                let ports = [self.from.1, self.to.1].map(u16::to_be_bytes).concat();
                let numbers = [sequence, acknowledgement].map(u32::to_be_bytes).concat();
                [&ports[..], &numbers, &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat()
            }
            Kind::Udp | Kind::Unsummed => {
                let length = 8 + self.payload.len() as u16;
                [self.from.1, self.to.1, length, 0].map(u16::to_be_bytes).concat()
            }
            Kind::Echo { is_reply } => {
                let kind = match (self.is_v6(), is_reply) {
                    (true, _) => 128 + u8::from(is_reply),
                    (false, true) => 0,
                    (false, false) => 8,
                };
                [&[kind, 0, 0, 0][..], &self.from.1.to_be_bytes(), &[0, 1]].concat()
            }
        };
        bytes.extend(&self.payload);
        bytes
    }

    /// What is summed before a transport's bytes; nothing for ICMP.
    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let protocol = self.kind.number(self.is_v6());
        match (self.from.0, self.to.0) {
            (IpAddr::V4(_), IpAddr::V4(_)) if self.kind.is_echo() => Vec::new(),
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                [&from.octets()[..], &to.octets(), &[0, protocol], &(length as u16).to_be_bytes()].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => [
                &from.octets()[..],
                &to.octets(),
                &u32::try_from(length).unwrap().to_be_bytes(),
                &[0, 0, 0, protocol],
            ]
            .concat(),
            _ => panic!("two versions of IP"),
        }
    }

    /// All behind the header of IP, its checksum computed over what `summed` says.
    fn data(&self, is_partial: bool) -> Vec<u8> {
        let mut bytes = self.transport();
        let at = self.kind.shape().1;
        let pseudo = self.pseudo_header(bytes.len());
        let checksum = match (self.kind, is_partial) {
            (Kind::Unsummed, _) => 0,
            (_, true) => sum(&pseudo),
            (kind, false) => match !sum(&[&pseudo[..], &bytes].concat()) {
                0 if kind == Kind::Udp => 0xffff,
                checksum => checksum,
            },
        };
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The headers of IP before `data`, which lies there in the whole.
    fn header(&self, protocol: u8, length: usize, fragment: u16) -> Vec<u8> {
        match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header = 20 + 4 * self.options;
                let mut bytes = vec![0x40 | (header / 4) as u8, self.tos];
                bytes.extend(((header + length) as u16).to_be_bytes());
                bytes.extend(self.id.to_be_bytes());
                bytes.extend((fragment | u16::from(self.is_whole) << 14).to_be_bytes());
                bytes.extend([self.ttl, protocol, 0, 0]);
                bytes.extend([from.octets(), to.octets()].concat());
                bytes.extend(vec![1; 4 * self.options]);
                let checksum = !sum(&bytes);
                bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
                bytes
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut bytes = (0x6000_0000 | u32::from(self.tos) << 20).to_be_bytes().to_vec();
                bytes.extend((length as u16).to_be_bytes());
                bytes.extend([protocol, self.ttl]);
                bytes.extend([from.octets(), to.octets()].concat());
                bytes
            }
            _ => panic!("two versions of IP"),
        }
    }

    /// The packet with its header of IP.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.written(false)
    }

    /// The packet whose checksum holds the pseudo-header's sum alone (virtio 1.2, 5.1.6.2).
    pub(crate) fn partial(&self) -> Vec<u8> {
        self.written(true)
    }

    fn written(&self, is_partial: bool) -> Vec<u8> {
        let data = self.data(is_partial);
        [self.header(self.kind.number(self.is_v6()), data.len(), 0), data].concat()
    }

    /// What its sender leaves to be done, behind an Ethernet header; `size`: in segments of so many bytes.
    pub(crate) fn claims(&self, size: Option<u16>) -> Claims {
        let start = if self.is_v6() { 54 } else { 34 + 4 * self.options };
        let checksum = PartialChecksum { start: start as u16, offset: self.kind.shape().1 as u16 };
        let kind = match (self.kind.is_tcp(), self.is_v6()) {
            (true, true) => GsoKind::Tcp6,
            (true, false) => GsoKind::Tcp4,
            _ => GsoKind::Udp,
        };
        Claims { checksum: Some(checksum), gso: size.map(|size| Gso { kind, size, ecn: false }) }
    }

    /// Its segments: packets of their own with `size` bytes of the payload each.
    pub(crate) fn segments(&self, size: u16) -> Vec<Self> {
        let parts: Vec<&[u8]> = self.payload.chunks(usize::from(size)).collect();
        let last = parts.len() - 1;
        let segment = |(number, part): (usize, &&[u8])| {
            let kind = match self.kind {
                Kind::Tcp(sequence, acknowledgement, flags) => {
                    // FIN and PSH are the last one's.
                    let flags = if number == last { flags } else { flags & !0x09 };
                    Kind::Tcp(sequence + number as u32 * u32::from(size), acknowledgement, flags)
                }
                other => other,
            };
            Self { kind, id: self.id.wrapping_add(number as u16), payload: part.to_vec(), ..self.clone() }
        };
        parts.iter().enumerate().map(segment).collect()
    }

    /// Its fragments, of `size` bytes each but the last (RFC 791, 3.2; RFC 8200, 4.5).
    pub(crate) fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let data = self.data(false);
        let parts: Vec<&[u8]> = data.chunks(size).collect();
        let last = parts.len() - 1;
        let protocol = self.kind.number(self.is_v6());
        let part = |(number, part): (usize, &&[u8])| {
            let (place, more) = ((number * size / 8) as u16, number < last);
            if self.is_v6() {
                let mut extension = vec![protocol, 0];
                extension.extend((place << 3 | u16::from(more)).to_be_bytes());
                extension.extend(u32::from(self.id).to_be_bytes());
                [self.header(44, 8 + part.len(), 0), extension, part.to_vec()].concat()
            } else {
                let cut = Self { is_whole: false, ..self.clone() };
                let header = cut.header(protocol, part.len(), place | u16::from(more) << 13);
                [header, part.to_vec()].concat()
            }
        };
        parts.iter().enumerate().map(part).collect()
    }
}

/// An ICMP error about a packet of which this much is quoted.
pub(crate) fn error(from: IpAddr, to: IpAddr, ttl: u8, (kind, code): (u8, u8), quote: &[u8]) -> Vec<u8> {
    let is_v6 = from.is_ipv6();
    let outer = Plain {
        kind: Kind::Echo { is_reply: false },
        from: (from, 0),
        to: (to, 0),
        ttl,
        tos: 0xc0,
        id: 1,
        is_whole: false,
        options: 0,
        payload: Vec::new(),
    };
    let mut data = [&[kind, code, 0, 0, 0, 0, 5, 0x78][..], quote].concat();
    let pseudo = outer.pseudo_header(data.len());
    let checksum = !sum(&[&pseudo[..], &data].concat());
    data[2..4].copy_from_slice(&checksum.to_be_bytes());
    [outer.header(if is_v6 { 58 } else { 1 }, data.len(), 0), data].concat()
}
