//! Packets within packets and behind other headers.

use super::*;

#[test]
fn a_quoted_packet_is_told_by_its_kind() {
    let quoted = |inner: &[u8]| message(&v4(1, &[&[3, 1, 0, 0, 0, 0, 0, 0], &inner[14..]].concat()));
    let quoted_v6 = |inner: &[u8]| message(&v6(58, &[&[1, 0, 0, 0, 0, 0, 0, 0], &inner[14..]].concat()));
    let transport = |message: IcmpMessage| match message {
        IcmpMessage::Error(quote) => quote.transport,
        other => panic!("{other:?}"),
    };
    let echo = |kind: u8| [kind, 0, 0, 0, 0xab, 0xcd, 0, 1];
    for kind in [8, 13, 15, 17] {
        assert_eq!(transport(quoted(&v4(1, &echo(kind)))), QuotedTransport::Request(kind, 0xabcd));
    }
    for kind in [0, 14, 16, 18] {
        assert_eq!(transport(quoted(&v4(1, &echo(kind)))), QuotedTransport::Reply(kind, 0xabcd));
    }
    assert_eq!(transport(quoted_v6(&v6(58, &echo(128)))), QuotedTransport::Request(128, 0xabcd));
    assert_eq!(transport(quoted_v6(&v6(58, &echo(129)))), QuotedTransport::Reply(129, 0xabcd));
    // The other version's ICMP is a protocol as any (RFC 792; RFC 4443).
    assert_eq!(transport(quoted(&v4(58, &echo(128)))), QuotedTransport::Other);
    assert_eq!(transport(quoted_v6(&v6(1, &echo(8)))), QuotedTransport::Other);
    for kind in [3, 5, 11, 40] {
        let inner = v4(1, &echo(kind));
        assert_eq!(error(&v4(1, &[&[3, 1, 0, 0, 0, 0, 0, 0], &inner[14..]].concat())), PacketError::QuoteBad);
    }
    let inner = v6(58, &echo(1));
    assert_eq!(error(&v6(58, &[&[1, 0, 0, 0, 0, 0, 0, 0], &inner[14..]].concat())), PacketError::QuoteBad);
}

#[test]
fn icmp_is_read_in_its_own_version_alone() {
    let echo = [8, 0, 0, 0, 0xab, 0xcd, 0, 1];
    assert!(matches!(packet(&v6(1, &echo)).transport, Transport::Other));
    assert!(matches!(packet(&v4(58, &[128, 0, 0, 0, 0xab, 0xcd, 0, 1])).transport, Transport::Other));
}

#[test]
fn extension_headers_end_where_their_packet_does() {
    // Eight bytes of options, of which the packet has four; the rest is padding of the frame.
    for (said, expected) in [(4, Err(PacketError::BadExtension)), (8, Ok(()))] {
        let mut frame = v6(60, &[59, 0, 1, 4, 0, 0, 0, 0]);
        frame[14 + 5] = said;
        assert_eq!(read(&frame).map(|_| ()), expected);
    }
    // A segment behind them counts as far as the packet goes.
    let mut frame = v6(60, &[&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(2, &[], 0)].concat());
    frame[14 + 5] = 8 + 19;
    assert_eq!(read(&frame).map(|_| ()), Err(PacketError::TcpTruncated));
}

#[test]
fn each_kind_of_neighbour_discovery_has_its_length() {
    // RFC 4861, 4.1 and 4.5.
    let solicitation = v6(58, &[&[133, 0, 0, 0, 0, 0, 0, 0][..], &[1, 1, 2, 0, 0, 0, 0, 9]].concat());
    let IcmpMessage::Neighbour(neighbour) = message(&solicitation) else { panic!() };
    assert_eq!((neighbour.target, neighbour.source_mac), (None, Some(MacAddress([2, 0, 0, 0, 0, 9]))));
    let target = address("fe80::7").to_bits().to_be_bytes();
    let destination = address("fe80::8").to_bits().to_be_bytes();
    let redirect =
        [&[137, 0, 0, 0, 0, 0, 0, 0][..], &target, &destination, &[2, 1, 2, 0, 0, 0, 0, 8]].concat();
    let IcmpMessage::Neighbour(neighbour) = message(&v6(58, &redirect)) else { panic!() };
    assert_eq!(
        (neighbour.target, neighbour.target_mac),
        (Some(address("fe80::7")), Some(MacAddress([2, 0, 0, 0, 0, 8])))
    );
    assert_eq!(error(&v6(58, &redirect[..24])), PacketError::NeighbourTruncated);
}

#[test]
fn a_segment_has_ports_as_a_datagram_has() {
    let ports = Some(Ports { source: 80, destination: 12345 });
    assert_eq!(
        (packet(&v4(6, &tcp(2, &[], 0))).ports(), packet(&v4(1, &[8, 0, 0, 0, 0, 0, 0, 0])).ports()),
        (ports, None)
    );
    assert_eq!(format!("{:?}", address("fe80::7")), "fe80::7");
}
