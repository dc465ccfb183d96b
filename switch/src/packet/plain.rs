//! A quick reading of what most packets are, for who can do without when it says nothing: whole packets of IPv4 without options,
//! with UDP, or TCP but for what opens a connection. It agrees with [`parse`](super::parse) on each packet that it reads.

use super::view::{u16_at, u32_at};
use super::{Address, Packet, Ports, SynOptions, Tcp, TcpFlags, Transport, number};
use crate::frame::{Claims, Frame};

/// Where an IPv4 header begins behind Ethernet's, and a transport header behind one without options.
const NETWORK: u16 = 14;
const TRANSPORT: u16 = 34;

/// The type of IPv4, its version, and a header of 20 bytes, before the type of service.
const PLAIN: u32 = 0x0800_4500;

/// What a quick reading says of a plain packet: what tells its flow. All else stands where it always does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plain {
    /// Who sent it in the upper half, to whom in the lower one.
    pub(crate) addresses: u64,
    /// The sender's port in the upper half, the receiver's in the lower one.
    pub(crate) ports: u32,
    /// UDP or TCP.
    pub(crate) protocol: u8,
    end_at: u32,
}

impl Plain {
    /// What a frame carries, of which the claims are about just that; `None`: it has to be read with care.
    #[inline(always)]
    pub(crate) fn of<P>(frame: &Frame<P>) -> Option<Self> {
        let plain = Self::read(frame.head.bytes(), frame.meta.length)?;
        let claims = &frame.meta.claims;
        let claims_nothing = claims.checksum.is_none() && claims.gso.is_none();
        (claims_nothing || fits(plain, frame.head.bytes(), claims)).then_some(plain)
    }

    /// The same of the head of a frame of `length` bytes, whatever is claimed about it.
    #[inline(always)]
    pub(crate) fn read(head: &[u8], length: u32) -> Option<Self> {
        let first = head.first_chunk::<42>()?;
        let end_at = u32::from(NETWORK) + u32::from(u16_at(first, 16));
        let rest = end_at.checked_sub(u32::from(TRANSPORT))?;
        let is_part = u16_at(first, 20) & 0x3fff != 0;
        if u32_at(first, 12) & 0xffff_ff00 != PLAIN || is_part || end_at > length {
            return None;
        }
        let protocol = first[23];
        let is_whole = match protocol {
            number::UDP => (8..=rest).contains(&u32::from(u16_at(first, 38))),
            number::TCP => is_plain_tcp(head, rest),
            _ => false,
        };
        let addresses = u64::from(u32_at(first, 26)) << 32 | u64::from(u32_at(first, 30));
        is_whole.then_some(Self { addresses, ports: u32_at(first, 34), protocol, end_at })
    }

    /// Its sender's address.
    #[inline(always)]
    pub(crate) fn source(self) -> u32 {
        // The upper half.
        u32::try_from(self.addresses >> 32).unwrap_or(0)
    }

    #[inline(always)]
    pub(crate) fn is_tcp(self) -> bool {
        self.protocol == number::TCP
    }

    /// Whether it is for a server or a client of DHCP, of either version: who is asked about what may be one looks at it with care.
    #[inline(always)]
    pub(crate) fn may_be_dhcp(self) -> bool {
        self.protocol == number::UDP && matches!(self.ports & 0xffff, 67 | 68 | 546 | 547)
    }

    /// All that the head says of it, from which it was read.
    #[inline(always)]
    pub(crate) fn packet(self, head: &[u8]) -> Option<Packet> {
        let first = head.first_chunk::<42>()?;
        let transport = match self.segment(head) {
            Some(tcp) => Transport::Tcp(tcp),
            None => Transport::Ports(ports_of(self.ports)),
        };
        let address = |at: usize| Address::from_v4([first[at], first[at + 1], first[at + 2], first[at + 3]]);
        Some(Packet {
            source: address(26),
            destination: address(30),
            protocol: self.protocol,
            hop_limit: first[22],
            traffic_class: first[15],
            network_at: NETWORK,
            transport_at: TRANSPORT,
            end_at: self.end_at,
            fragment: None,
            transport,
        })
    }

    /// Its header of TCP, if it has one.
    #[inline(always)]
    pub(crate) fn segment(self, head: &[u8]) -> Option<Tcp> {
        if !self.is_tcp() {
            return None;
        }
        let header = head.get(usize::from(TRANSPORT)..)?.first_chunk::<20>()?;
        let data_at = u32::from(TRANSPORT) + u32::from(header[12] >> 4) * 4;
        Some(Tcp {
            ports: ports_of(self.ports),
            sequence: u32_at(header, 4),
            acknowledgement: u32_at(header, 8),
            flags: TcpFlags(header[13]),
            window: u16_at(header, 14),
            payload: u16::try_from(self.end_at.saturating_sub(data_at)).ok()?,
            syn: SynOptions::default(),
        })
    }
}

impl Packet {
    /// What the head of a frame of `length` bytes says; `None`: it has to be read with care.
    #[inline(always)]
    pub(crate) fn plain(head: &[u8], length: u32) -> Option<Self> {
        Plain::read(head, length)?.packet(head)
    }
}

/// Whether the claims are about what the head says. By itself, so that packets without any pay nothing for it.
#[inline(never)]
fn fits(plain: Plain, head: &[u8], claims: &Claims) -> bool {
    plain.packet(head).is_some_and(|packet| claims.fit_packet(&packet))
}

/// Whether a segment without SYN follows, with `rest` bytes from its header on.
#[inline(always)]
fn is_plain_tcp(head: &[u8], rest: u32) -> bool {
    let header = head.get(usize::from(TRANSPORT)..).and_then(<[u8]>::first_chunk::<20>);
    header.is_some_and(|header| {
        let length = u32::from(header[12] >> 4) * 4;
        (20..=rest).contains(&length) && !TcpFlags(header[13]).has(TcpFlags::SYN)
    })
}

#[inline(always)]
fn ports_of(both: u32) -> Ports {
    let [a, b, c, d] = both.to_be_bytes();
    Ports { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{Contents, parse};

    fn length_of(frame: &[u8]) -> u32 {
        u32::try_from(frame.len()).unwrap()
    }

    /// UDP or TCP with a payload, and padding behind the packet.
    fn build(is_tcp: bool, ends: ([u8; 4], [u8; 4], u16, u16), payload: &[u8], padding: usize) -> Vec<u8> {
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(ends.0, ends.1, 64);
        let mut frame = Vec::new();
        if is_tcp {
            ip.tcp(ends.2, ends.3, 77, 1000).ack(5).psh().write(&mut frame, payload).unwrap();
        } else {
            ip.udp(ends.2, ends.3).write(&mut frame, payload).unwrap();
        }
        frame.resize(frame.len() + padding, 0);
        frame
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Whatever is done to a packet: what is read quickly is what is read with care.
        #[test]
        fn both_readings_agree(
            is_tcp in any::<bool>(),
            ends in any::<([u8; 4], [u8; 4], u16, u16)>(),
            payload in prop::collection::vec(any::<u8>(), 0..80),
            padding in 0..20_usize,
            changes in prop::collection::vec((prop_oneof![3 => 12..56_usize, 1 => 0..60_usize], any::<u8>()), 0..4),
            cut in 0..40_usize,
            is_cut in prop::bool::weighted(0.2),
        ) {
            let mut frame = build(is_tcp, ends, &payload, padding);
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            if is_cut {
                frame.truncate(frame.len() - cut.min(frame.len()));
            }
            let head = &frame[..frame.len().min(128)];
            if let Some(packet) = Packet::plain(head, length_of(&frame)) {
                prop_assert_eq!(parse(head, length_of(&frame)), Ok(Contents::Ip(packet)));
                let plain = Plain::read(head, length_of(&frame)).unwrap();
                let [source, destination] = [packet.source, packet.destination].map(|end| end.to_v4().unwrap().to_bits());
                let ports = packet.ports().unwrap();
                prop_assert_eq!(plain.addresses, u64::from(source) << 32 | u64::from(destination));
                prop_assert_eq!(plain.ports, u32::from(ports.source) << 16 | u32::from(ports.destination));
                let segment = plain.segment(head).map_or(Transport::Ports(ports), Transport::Tcp);
                prop_assert_eq!((plain.protocol, segment), (packet.protocol, packet.transport));
            }
        }
    }

    #[test]
    fn plain_packets_are_read() {
        for is_tcp in [true, false] {
            for payload in [0, 1, 60] {
                let frame = build(is_tcp, ([10, 0, 0, 1], [10, 0, 0, 2], 5, 6), &vec![7; payload], 6);
                let read = Packet::plain(&frame[..frame.len().min(128)], length_of(&frame));
                assert!(read.is_some(), "{is_tcp} {payload}");
            }
        }
    }

    #[test]
    fn what_needs_care_is_left_to_who_has_it() {
        let frame = build(true, ([10, 0, 0, 1], [10, 0, 0, 2], 5, 6), &[7; 60], 0);
        // Options, a fragment, another protocol, SYN, a header that is too short, a tag.
        for (at, byte) in [(14, 0x46), (20, 0x20), (21, 1), (23, 1), (47, 0x12), (46, 0x40), (12, 0x81)] {
            let mut other = frame.clone();
            other[at] = byte;
            assert_eq!(Packet::plain(&other, length_of(&other)), None, "{byte:#x} at {at}");
        }
        assert_eq!(Packet::plain(&frame, length_of(&frame) - 1), None, "it is shorter than it says");
        assert_eq!(Packet::plain(&frame[..41], length_of(&frame)), None);
    }
}
