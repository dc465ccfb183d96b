//! Packets as they should be and as they should not, one byte apart.

mod within;

use std::net::IpAddr;

use super::*;
use crate::mac::MacAddress;

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn frame(kind: u16, packet: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], &kind.to_be_bytes()[..], packet].concat()
}

/// An IPv4 packet from 10.0.0.1 to 10.0.0.2, with options.
fn v4_with(options: &[u8], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let length = u16::try_from(header + payload.len()).unwrap().to_be_bytes();
    let first = 0x40 + u8::try_from(header / 4).unwrap();
    let fixed = [first, 0xb9, length[0], length[1], 0x12, 0x34];
    let rest = [64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let packet = [&fixed[..], &fragment.to_be_bytes(), &rest, options, payload].concat();
    frame(0x0800, &packet)
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_with(&[], protocol, 0, payload)
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x6b, 0x91, 2, 3, length[0], length[1], next, 255];
    for end in ["fe80::1", "fe80::2"] {
        packet.extend(address(end).to_bits().to_be_bytes());
    }
    packet.extend(payload);
    frame(0x86dd, &packet)
}

fn tcp(flags: u8, options: &[u8], payload: usize) -> Vec<u8> {
    let offset = u8::try_from(20 + options.len()).unwrap() << 2;
    let fixed = [0, 80, 0x30, 0x39, 1, 2, 3, 4, 5, 6, 7, 8, offset, flags, 0x10, 0, 0, 0, 0, 0];
    [&fixed[..], options, &vec![7; payload]].concat()
}

fn udp(length: u16, payload: usize) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    [&[0, 53, 0x30, 0x39, high, low, 0, 0][..], &vec![7; payload]].concat()
}

/// Reads a frame of which only the head was copied.
fn read(frame: &[u8]) -> Result<Contents, PacketError> {
    parse(&frame[..frame.len().min(crate::frame::HEAD_MAX)], u32::try_from(frame.len()).unwrap())
}

fn packet(frame: &[u8]) -> Packet {
    match read(frame) {
        Ok(Contents::Ip(packet)) => packet,
        other => panic!("no packet but {other:?}"),
    }
}

fn error(frame: &[u8]) -> PacketError {
    read(frame).unwrap_err()
}

#[test]
fn a_tcp_segment_is_read_in_both_versions() {
    let options = [2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 9, 0, 0];
    for (frame, network, source) in
        [(v4(6, &tcp(0x12, &options, 10)), 14, "10.0.0.1"), (v6(6, &tcp(0x12, &options, 10)), 14, "fe80::1")]
    {
        let packet = packet(&frame);
        assert_eq!((packet.source, packet.network_at), (address(source), network));
        assert_eq!((packet.protocol, packet.traffic_class, packet.fragment), (6, 0xb9, None));
        assert_eq!(packet.end_at as usize, frame.len());
        let Transport::Tcp(tcp) = packet.transport else { panic!("{packet:?}") };
        assert_eq!((tcp.ports.source, tcp.ports.destination), (80, 12345));
        assert_eq!((tcp.sequence, tcp.acknowledgement), (0x0102_0304, 0x0506_0708));
        assert_eq!((tcp.flags, tcp.window, tcp.payload), (TcpFlags(0x12), 0x1000, 10));
        assert_eq!(tcp.syn, SynOptions { window_scale: Some(9), may_acknowledge_selectively: true });
    }
}

#[test]
fn padding_is_no_payload() {
    // CVE-2020-35498: a switch read padding as the packet's.
    let mut frame = v4(6, &tcp(0x10, &[], 0));
    let end = frame.len();
    frame.extend([0xff; 200]);
    let packet = packet(&frame);
    assert_eq!(packet.end_at as usize, end);
    assert!(matches!(packet.transport, Transport::Tcp(tcp) if tcp.payload == 0));
    let mut short = v4(17, &[0, 53, 0x30]);
    short.extend([0; 20]);
    assert_eq!(error(&short), PacketError::UdpTruncated);
    let mut short = v6(6, &tcp(0x10, &[], 0)[..19]);
    short.extend([0; 20]);
    assert_eq!(error(&short), PacketError::TcpTruncated);
}

#[test]
fn a_long_payload_counts_though_it_was_not_copied() {
    let packet = packet(&v6(6, &tcp(0x10, &[], 60_000)));
    assert!(matches!(packet.transport, Transport::Tcp(tcp) if tcp.payload == 60_000));
}

#[test]
fn ip_headers_that_lie_are_refused() {
    let good = v4(17, &udp(12, 4));
    assert!(read(&good).is_ok());
    let with = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[14 + at] = value;
        error(&frame)
    };
    assert_eq!(with(0, 0x65), PacketError::BadVersion);
    assert_eq!(with(0, 0x44), PacketError::BadHeaderLength);
    assert_eq!(with(0, 0x4f), PacketError::BadHeaderLength, "longer than the packet: CVE-2016-10377");
    assert_eq!(with(3, 19), PacketError::BadHeaderLength);
    assert_eq!(with(3, 33), PacketError::BadLength);
    assert_eq!(error(&good[..33]), PacketError::Truncated);
    assert_eq!(error(&good[..13]), PacketError::Truncated);
    let good = v6(17, &udp(12, 4));
    let with = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[14 + at] = value;
        error(&frame)
    };
    assert_eq!(with(0, 0x45), PacketError::BadVersion);
    assert_eq!(with(5, 13), PacketError::BadLength);
    assert_eq!(error(&good[..53]), PacketError::Truncated);
    let mut mapped = good.clone();
    mapped[22..38].copy_from_slice(&address("10.0.0.1").to_bits().to_be_bytes());
    assert_eq!(error(&mapped), PacketError::MappedAddress);
    let mut mapped = good;
    mapped[38..54].copy_from_slice(&address("10.0.0.1").to_bits().to_be_bytes());
    assert_eq!(error(&mapped), PacketError::MappedAddress);
}

#[test]
fn options_of_every_length_are_passed_over_or_refused() {
    for length in 0..=255u8 {
        let options = [[7, length].as_slice(), &[1; 38]].concat();
        let read = read(&v4_with(&options, 17, 0, &udp(8, 0)));
        match length {
            2..=40 => assert!(read.is_ok(), "{length}"),
            _ => assert_eq!(read, Err(PacketError::BadOption), "{length}"),
        }
    }
    assert_eq!(error(&v4_with(&[1, 1, 1, 7], 17, 0, &udp(8, 0))), PacketError::BadOption);
    assert!(read(&v4_with(&[0, 7, 0, 7], 17, 0, &udp(8, 0))).is_ok(), "nothing counts behind the end");
    for route in [131, 137] {
        let options = [1, route, 7, 4, 10, 0, 0, 9];
        assert_eq!(error(&v4_with(&options, 17, 0, &udp(8, 0))), PacketError::SourceRoute);
    }
}

#[test]
fn extension_headers_are_walked_to_the_transport() {
    let chain = [&[43, 0, 1, 4, 0, 0, 0, 0][..], &[60, 0, 4, 0, 0, 0, 0, 0], &[17, 1], &[0; 14], &udp(8, 0)];
    let packet = packet(&v6(0, &chain.concat()));
    assert_eq!((packet.protocol, packet.transport_at), (17, 14 + 40 + 32));
    assert_eq!(packet.ports(), Some(Ports { source: 53, destination: 12345 }));
}

#[test]
fn extension_headers_that_lie_are_refused() {
    let udp = udp(8, 0);
    let with = |next, header: &[u8]| read(&v6(next, &[header, &udp].concat()));
    assert_eq!(with(60, &[17, 2, 0, 0, 0, 0, 0, 0]), Err(PacketError::BadExtension));
    assert_eq!(with(60, &[17, 1, 0, 0, 0, 0, 0, 0]), Err(PacketError::UdpTruncated));
    assert_eq!(read(&v6(60, &[17, 0, 0, 0])), Err(PacketError::BadExtension));
    assert_eq!(with(60, &[0, 0, 0, 0, 0, 0, 0, 0]), Err(PacketError::MisplacedExtension));
    assert_eq!(with(43, &[17, 0, 0, 1, 0, 0, 0, 0]), Err(PacketError::SourceRoute));
    assert!(with(43, &[17, 0, 0, 0, 0, 0, 0, 0]).is_ok(), "no segments left");
    let chain = |headers: usize| {
        let mut chain = [60, 0, 0, 0, 0, 0, 0, 0].repeat(headers);
        let last = chain.len() - 8;
        chain[last] = 17;
        read(&v6(60, &[chain, udp.clone()].concat()))
    };
    assert!(chain(8).is_ok(), "14 + 40 + 64 + 8 bytes");
    assert_eq!(chain(9), Err(PacketError::TooManyExtensions));
    let long = [&[17, 10][..], &[0; 86], &udp].concat();
    assert_eq!(read(&v6(60, &long)), Err(PacketError::BeyondHead));
    // RFC 8200, 4.7: nothing follows.
    assert!(matches!(packet(&v6(59, &udp)).transport, Transport::Other));
}

#[test]
fn fragments_are_told_from_whole_packets() {
    let whole = packet(&v4_with(&[], 17, 0x4000, &udp(8, 0)));
    assert_eq!(whole.fragment, None, "it must not be fragmented, and was not");
    let first = packet(&v4_with(&[], 17, 0x2000, &udp(100, 16)));
    assert_eq!(first.fragment, Some(Fragment { id: 0x1234, offset: 0, length: 24, more: true }));
    assert!(first.ports().is_some() && !first.is_later_fragment());
    let last = packet(&v4_with(&[], 17, 3, &[9; 5]));
    assert_eq!(last.fragment, Some(Fragment { id: 0x1234, offset: 24, length: 5, more: false }));
    assert!(last.ports().is_none() && last.is_later_fragment());

    let header =
        |offset: u16, more: u16| [&[17, 0][..], &(offset | more).to_be_bytes(), &[1, 2, 3, 4]].concat();
    let v6_part = |offset, more, part: &[u8]| read(&v6(44, &[&header(offset, more), part].concat()));
    let part = |read| match read {
        Ok(Contents::Ip(packet)) => packet.fragment,
        other => panic!("{other:?}"),
    };
    assert_eq!(part(v6_part(0, 0, &udp(8, 0))), None, "RFC 6946: a whole one");
    let expected = Fragment { id: 0x0102_0304, offset: 0, length: 24, more: true };
    assert_eq!(part(v6_part(0, 1, &udp(100, 16))), Some(expected));
    let expected = Fragment { id: 0x0102_0304, offset: 24, length: 5, more: false };
    assert_eq!(part(v6_part(24, 0, &[9; 5])), Some(expected));
    let nested = [header(0, 1), header(0, 1), udp(8, 0)].concat();
    let mut nested = v6(44, &nested);
    nested[54] = 44;
    assert_eq!(error(&nested), PacketError::MisplacedExtension);
}

#[test]
fn fragments_that_evade_rules_are_refused() {
    let v4 = |protocol, field: u16, part: &[u8]| read(&v4_with(&[], protocol, field, part));
    // RFC 1858, 3.
    assert_eq!(v4(6, 0x2000, &tcp(2, &[], 0)[..16]), Err(PacketError::FragmentTiny));
    assert_eq!(v4(6, 0x2000, &tcp(2, &[1; 8], 0)[..24]), Err(PacketError::FragmentTiny));
    assert_eq!(v4(6, 1, &[0; 16]), Err(PacketError::FragmentOverHeader));
    assert_eq!(v4(6, 2, &[0; 16]), Err(PacketError::FragmentOverHeader));
    assert!(v4(6, 3, &[0; 16]).is_ok());
    assert!(v4(17, 1, &[0; 16]).is_ok());
    assert_eq!(v4(17, 1, &[]), Err(PacketError::FragmentEmpty));
    assert_eq!(v4(17, 0x2001, &[0; 15]), Err(PacketError::FragmentUnaligned));
    assert_eq!(v4(17, 0x1fff, &[0; 8]), Err(PacketError::FragmentOverlong), "the ping of death");
    assert_eq!(v4(17, 0x1ffd, &[0; 3]), Ok(read(&v4_with(&[], 17, 0x1ffd, &[0; 3])).unwrap()));
    assert_eq!(v4(1, 0x2000, &[8, 0, 0, 0, 0, 0, 0][..0]), Err(PacketError::FragmentEmpty));
    let v6 = |part: &[u8]| read(&v6(44, &[&[17, 0, 0, 1, 1, 2, 3, 4][..], part].concat()));
    assert_eq!(v6(&[0; 0]), Err(PacketError::FragmentEmpty));
    assert_eq!(v6(&udp(100, 0)[..0]), Err(PacketError::FragmentEmpty));
    let destination_options = [60, 0, 0, 1, 1, 2, 3, 4, 6, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(read(&self::v6(44, &destination_options)), Err(PacketError::FragmentTiny), "RFC 7112, 5");
}

#[test]
fn transport_headers_that_lie_are_refused() {
    let mut segment = tcp(0x10, &[], 4);
    segment[12] = 0x40;
    assert_eq!(error(&v4(6, &segment)), PacketError::TcpBadOffset);
    segment[12] = 0x70;
    assert_eq!(error(&v4(6, &segment)), PacketError::TcpBadOffset);
    for options in [[3, 2, 0, 0], [3, 3, 5, 2], [9, 0, 0, 0], [4, 3, 1, 0], [1, 1, 1, 9], [9, 5, 0, 0]] {
        assert_eq!(error(&v4(6, &tcp(2, &options, 0))), PacketError::TcpBadOption, "{options:?}");
        assert!(read(&v4(6, &tcp(16, &options, 0))).is_ok(), "none of them counts without SYN");
    }
    assert_eq!(error(&v4(17, &udp(7, 0))), PacketError::UdpBadLength);
    assert_eq!(error(&v4(17, &udp(9, 0))), PacketError::UdpBadLength);
    assert!(read(&v4(17, &udp(8, 9))).is_ok(), "RFC 9868");
    assert_eq!(error(&v4(132, &[0; 7])), PacketError::UdpTruncated);
    assert_eq!(error(&v4(1, &[8, 0, 0, 0])), PacketError::IcmpTruncated);
    assert!(matches!(packet(&v4(47, &[])).transport, Transport::Other));
    assert!(matches!(packet(&v4(58, &[0; 8])).transport, Transport::Other), "ICMPv6 is none over IPv4");
    let scale = tcp(2, &[3, 3, 200, 0], 0);
    assert!(
        matches!(packet(&v4(6, &scale)).transport, Transport::Tcp(tcp) if tcp.syn.window_scale == Some(14))
    );
}

fn message(frame: &[u8]) -> IcmpMessage {
    match packet(frame).transport {
        Transport::Icmp(icmp) => icmp.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_and_replies_have_an_id() {
    let echo = |kind| [kind, 0, 0, 0, 0xab, 0xcd, 0, 1];
    assert_eq!(message(&v4(1, &echo(8))), IcmpMessage::Request(0xabcd));
    assert_eq!(message(&v4(1, &echo(0))), IcmpMessage::Reply(0xabcd));
    assert_eq!(message(&v6(58, &echo(128))), IcmpMessage::Request(0xabcd));
    assert_eq!(message(&v6(58, &echo(129))), IcmpMessage::Reply(0xabcd));
    assert_eq!(message(&v4(1, &echo(5))), IcmpMessage::Other);
    assert_eq!(message(&v6(58, &echo(143))), IcmpMessage::Other);
}

#[test]
fn errors_quote_the_packet_that_they_are_about() {
    let unreachable = [3, 1, 0, 0, 0, 0, 0, 0];
    let quoting = |packet: &[u8]| v4(1, &[&unreachable[..], packet].concat());
    let inner = &v4(6, &tcp(2, &[], 100))[14..];
    let ports = Ports { source: 80, destination: 12345 };
    for length in 28..inner.len() {
        let IcmpMessage::Error(quote) = message(&quoting(&inner[..length])) else { panic!() };
        assert_eq!((quote.source, quote.destination), (address("10.0.0.1"), address("10.0.0.2")));
        assert_eq!(quote.transport, QuotedTransport::Tcp(ports, 0x0102_0304));
    }
    for length in 0..28 {
        assert_eq!(error(&quoting(&inner[..length])), PacketError::QuoteTruncated, "{length}");
    }
    let later = &v4_with(&[], 6, 5, &[0; 16])[14..];
    assert_eq!(error(&quoting(later)), PacketError::QuoteBad);
    let of_error = &quoting(inner)[14..];
    assert_eq!(error(&quoting(of_error)), PacketError::QuoteBad, "no error is about an error");
    assert_eq!(error(&quoting(&v6(17, &udp(8, 0))[14..])), PacketError::QuoteBad);
    let options = v4_with(&[1; 40], 6, 0, &tcp(2, &[], 0));
    let cut = v4_with(&[1; 40], 1, 0, &[&unreachable[..], &options[14..]].concat());
    assert_eq!(error(&cut), PacketError::BeyondHead);
    let too_big = [2, 0, 0, 0, 0, 0, 5, 0];
    let inner = &v6(17, &udp(500, 492))[14..];
    let IcmpMessage::Error(quote) = message(&v6(58, &[&too_big[..], &inner[..200]].concat())) else {
        panic!()
    };
    let ports = Ports { source: 53, destination: 12345 };
    assert_eq!((quote.protocol, quote.transport), (17, QuotedTransport::Ports(ports)));
}

#[test]
fn neighbour_discovery_is_read_with_its_addresses() {
    let solicitation = |options: &[u8]| {
        let target = address("fe80::7").to_bits().to_be_bytes();
        v6(58, &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &target, options].concat())
    };
    let IcmpMessage::Neighbour(neighbour) = message(&solicitation(&[1, 1, 2, 0, 0, 0, 0, 9])) else {
        panic!()
    };
    assert_eq!(neighbour.target, Some(address("fe80::7")));
    assert_eq!((neighbour.source_mac, neighbour.target_mac), (Some(MacAddress([2, 0, 0, 0, 0, 9])), None));
    assert!(neighbour.is_complete);
    for (options, expected) in [
        (&[1, 0, 2, 0, 0, 0, 0, 9][..], PacketError::NeighbourZeroOption),
        (&[1, 2, 2, 0, 0, 0, 0, 9], PacketError::NeighbourBadOption),
        (&[14], PacketError::NeighbourBadOption),
        (&[1, 1, 2, 0, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 0, 8], PacketError::NeighbourBadOption),
        (&[2, 2, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0], PacketError::NeighbourBadOption),
    ] {
        assert_eq!(error(&solicitation(options)), expected, "{options:?}");
    }
    let mut routed = solicitation(&[]);
    routed[14 + 7] = 254;
    assert_eq!(error(&routed), PacketError::NeighbourBadHopLimit);
    let mut coded = solicitation(&[]);
    coded[14 + 41] = 1;
    assert_eq!(error(&coded), PacketError::NeighbourBadCode);
    let mut mapped = solicitation(&[]);
    mapped[14 + 48..].copy_from_slice(&address("10.0.0.1").to_bits().to_be_bytes());
    assert_eq!(error(&mapped), PacketError::MappedAddress);
    assert_eq!(error(&v6(58, &[136, 0, 0, 0, 0, 0, 0, 0])), PacketError::NeighbourTruncated);
    assert_eq!(error(&v6(58, &[137, 0, 0, 0, 0, 0, 0, 0])), PacketError::NeighbourTruncated);
    let fragment = [&[58, 0, 0, 1, 1, 2, 3, 4][..], &[135, 0, 0, 0, 0, 0, 0, 0], &[0xfe; 16]].concat();
    assert_eq!(error(&v6(44, &fragment)), PacketError::NeighbourFragment);
    let advertisement =
        [&[134, 0, 0, 0, 0, 0, 0, 0][..], &[0; 8], &[3, 4], &[0; 30], &[3, 4], &[0; 30]].concat();
    let IcmpMessage::Neighbour(neighbour) = message(&v6(58, &advertisement)) else { panic!() };
    assert_eq!((neighbour.target, neighbour.is_complete), (None, false));
}

#[test]
fn arp_is_read_and_nothing_like_it() {
    let message =
        [&[0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2][..]]
            .concat();
    let Ok(Contents::Arp(arp)) = read(&frame(0x806, &message)) else { panic!() };
    assert_eq!((arp.operation, arp.sender_mac), (2, MacAddress([2, 0, 0, 0, 0, 1])));
    assert_eq!((arp.sender, arp.target), (address("10.0.0.1"), address("10.0.0.2")));
    assert_eq!(arp.target_mac, MacAddress([2, 0, 0, 0, 0, 2]));
    assert_eq!(error(&frame(0x806, &message[..27])), PacketError::ArpTruncated);
    for at in 0..6 {
        let mut other = message.clone();
        other[at] ^= 2;
        assert_eq!(error(&frame(0x806, &other)), PacketError::ArpBadFormat, "{at}");
    }
}

#[test]
fn tags_are_passed_over_and_other_types_named() {
    let plain = v4(17, &udp(8, 0));
    let tagged = [&plain[..12], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8], &plain[12..]].concat();
    let packet = packet(&tagged);
    assert_eq!((packet.network_at, packet.transport_at), (22, 42));
    assert_eq!(read(&frame(0x88cc, &[])), Ok(Contents::Other(0x88cc)));
}

#[test]
fn a_packet_stays_small() {
    assert!(size_of::<Packet>() <= 144, "{}", size_of::<Packet>());
}
