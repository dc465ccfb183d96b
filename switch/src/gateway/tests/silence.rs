//! About what no error of ICMP may be sent: RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 e.

use super::errors::{echo, error_about};
use super::*;

/// A packet that would be told of if it were not for what is wrong about it: its time is up.
fn expired(from: &str, to: &str) -> Vec<u8> {
    udp(mac(5), from, to, 1, 40)
}

/// Nothing is sent because of any of these, and each is counted.
fn assert_silent(frames: &[Vec<u8>]) {
    assert_eq!(error_about(&mut Lab::new(), &expired("10.0.0.5", "10.0.1.6")).0.2, [11, 0], "but for those");
    for frame in frames {
        let out = outputs_of(frame);
        assert_eq!(dropped(&out).len(), 1, "{frame:x?}: {out:?}");
    }
}

/// What becomes of a frame, but that nothing is sent.
fn outputs_of(frame: &[u8]) -> Vec<Output> {
    let out = Lab::new().receive(5, 0, frame);
    assert!(sent(&out).is_empty(), "{frame:x?}: {out:?}");
    out
}

/// Errors of these types, as they would be sent about a packet the other way, whose time is up.
fn errors(from: &str, to: &str, kinds: &[u8]) -> Vec<Vec<u8>> {
    let quote = udp(mac(5), to, from, 1, 40)[14..].to_vec();
    let ends = (address(from), address(to));
    let header = compose::Header {
        source: ends.0,
        destination: ends.1,
        protocol: if ends.0.is_v4() { 1 } else { 58 },
        hop_limit: 1,
        traffic_class: 0,
        id: None,
    };
    let error = |kind: &u8| {
        let message = compose::icmp(ends, [*kind, 0], [0; 4], &quote);
        compose::frame(mac(5), GATEWAY, &compose::packet(&header, &message))
    };
    kinds.iter().map(error).collect()
}

/// RFC 1812, 4.3.2.7: "an ICMP error message"; RFC 4443, 2.4 e.1 and e.2: "an ICMPv6 redirect message".
#[test]
fn no_error_is_sent_about_an_error_or_a_redirect() {
    assert_silent(&errors("10.0.0.5", "10.0.1.6", &[3, 4, 5, 11, 12]));
    assert_silent(&errors("fd00::5", "fd00:1::6", &[1, 2, 3, 4, 100, 127, 137]));
    // But about a request there is one.
    let mut request = echo(GATEWAY, "10.0.0.5", "10.0.1.6", 8);
    request[22] = 1;
    cutting::sum_header(&mut request);
    assert_eq!(error_about(&mut Lab::new(), &request).0.2, [11, 0]);
}

/// RFC 1812, 4.3.2.7: "a packet which fails the IP header validation tests described in Section [5.2.2]".
#[test]
fn no_error_is_sent_about_a_packet_whose_header_is_wrong() {
    let mut damaged = expired("10.0.0.5", "10.0.1.6");
    damaged[24] ^= 1;
    let change = |at: usize, byte: u8| {
        let mut frame = expired("10.0.0.5", "10.0.1.6");
        frame[at] = byte;
        cutting::sum_header(&mut frame);
        frame
    };
    // Another version, and a total length beyond the frame.
    assert_silent(&[damaged, change(14, 0x55), change(16, 9)]);
}

/// RFC 1812, 4.3.2.7: "a packet destined to an IP broadcast or IP multicast address"; RFC 4443, 2.4 e.3.
#[test]
fn no_error_is_sent_about_a_packet_to_many_addresses() {
    let to = ["224.0.0.5", "255.255.255.255", "10.0.0.255"];
    assert_silent(&to.map(|to| expired("10.0.0.5", to)));
    assert_silent(&[expired("fd00::5", "ff0e::1"), expired("fd00::5", "ff02::1")]);
}

/// RFC 1812, 4.3.2.7: "a packet sent as a Link Layer broadcast or multicast"; RFC 4443, 2.4 e.4 and e.5.
#[test]
fn no_error_is_sent_about_a_frame_to_many_stations() {
    let to = |mac: [u8; 6], from: &str, to: &str| {
        let mut frame = expired(from, to);
        frame[..6].copy_from_slice(&mac);
        frame
    };
    // Others get it, and it is not the gateway's to drop.
    let frames = [
        to([0xff; 6], "10.0.0.5", "10.0.1.6"),
        to([1, 0, 0x5e, 0, 0, 5], "10.0.0.5", "10.0.1.6"),
        to([0xff; 6], "fd00::5", "fd00:1::6"),
        to([0x33, 0x33, 0, 0, 0, 1], "fd00::5", "fd00:1::6"),
    ];
    assert!(frames.iter().all(|frame| dropped(&outputs_of(frame)).is_empty()));
}

/// RFC 1812, 4.3.2.7: "a packet whose source address has a network prefix of zero or is an invalid source address"; RFC
/// 4443, 2.4 e.6: "a packet whose source address does not uniquely identify a single node".
#[test]
fn no_error_is_sent_to_an_address_that_is_nobodys_or_manys() {
    let from =
        ["10.0.0.255", "10.0.0.1", "10.0.1.1", "0.0.0.0", "0.0.0.5", "127.0.0.1", "224.0.0.1", "240.0.0.1"];
    assert_silent(&from.map(|from| expired(from, "10.0.1.6")));
    assert_silent(&["::", "::1", "ff02::1", "fe80::5"].map(|from| expired(from, "fd00:1::6")));
}

/// RFC 1812, 4.3.2.7: "any fragment of a datagram other than the first fragment".
#[test]
fn no_error_is_sent_about_a_later_fragment() {
    let fragment = |offset: u8| {
        let mut frame = expired("10.0.0.5", "10.0.1.6");
        frame[20..22].copy_from_slice(&[0x20, offset]);
        cutting::sum_header(&mut frame);
        frame
    };
    let mut later_v6 = expired("fd00::5", "fd00:1::6");
    later_v6[20] = 44;
    later_v6[54..62].copy_from_slice(&[17, 0, 0, 41, 0, 0, 0, 1]);
    assert_silent(&[fragment(5), later_v6]);
    assert_eq!(error_about(&mut Lab::new(), &fragment(0)).0.2, [11, 0], "about the first one there is");
}
