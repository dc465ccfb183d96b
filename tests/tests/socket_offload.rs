//! Checksums and segmentation: left alone between drivers that can take them, done where the receiver cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::features::{
    EVENT_IDX, GUEST_CSUM, GUEST_TSO4, MODERN, OFFLOADS, RECEIVE_OFFLOADS, SEND_OFFLOADS,
};
use viaduct_tests::driver::header::NEEDS_CSUM;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::queue::Received;
use viaduct_tests::lab::{FRAME_MAX, network};
use viaduct_tests::stream::{frame, number_of};
use viaduct_tests::superframe::{Kind, SuperFrame, finished, fragment, reassembled, verified};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// Payload length and segment size: just above one segment, exact multiples, short rests, the longest.
const CUTS: [(usize, u16); 6] =
    [(1429, 1428), (2856, 1428), (100, 8), (10_000, 536), (60_000, 1428), (65_400, 1400)];

fn options(features: u64) -> NicOptions {
    NicOptions {
        features: MODERN | EVENT_IDX | features,
        queue_size: 1024,
        send_bytes: FRAME_MAX as u64 + 13,
        send_buffers: 16,
        ..NicOptions::default()
    }
}

/// A sender that leaves everything to the switch, and a receiver that takes `features` over.
fn cards(daemon: &Daemon, features: u64) -> [Nic; 2] {
    let mut pair = [
        Nic::connect(&daemon.socket("a"), &options(SEND_OFFLOADS)),
        Nic::connect(&daemon.socket("b"), &options(features)),
    ];
    let [a, b] = &mut pair;
    b.send(&frame(A, B, 0, 60));
    assert_eq!(number_of(&a.expect_frame("the first frame").bytes), Some(0));
    pair
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// Super-frames that are none, since all fits in one segment (Linux, `virtio_net_hdr_to_skb`: "Too small packets are not really
/// GSO ones"): payload length and segment size.
const ONE_SEGMENT: [(usize, u16); 4] = [(1, 1428), (1428, 1428), (100, 1000), (33, 60_000)];

/// Sends, and collects all that comes of it; a numbered frame after it shows the end.
fn through(a: &mut Nic, b: &mut Nic, sent: &SuperFrame) -> Vec<Received> {
    a.send_with(sent.header, &sent.bytes);
    a.send(&frame(B, A, 77, 60));
    let mut arrived = Vec::new();
    loop {
        let received = b.expect_frame("the frame that closes the list");
        if number_of(&received.bytes) == Some(77) {
            return arrived;
        }
        arrived.push(received);
    }
}

#[test]
fn super_frames_go_untouched_between_drivers_that_take_them() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [a, b] = &mut cards(&daemon, OFFLOADS);
    for kind in Kind::ALL {
        for (length, size) in CUTS {
            let sent = SuperFrame::new(kind, B, A, &payload(length), size);
            let arrived = through(a, b, &sent);
            assert_eq!(arrived.len(), 1, "{kind:?} of {length} bytes arrives as one");
            assert!(arrived[0].bytes == sent.bytes, "{kind:?} of {length} bytes arrives unchanged");
            let header = arrived[0].header;
            assert_eq!((header.gso_type, header.gso_size), (kind.gso_type(), size));
            assert_eq!(header.flags & NEEDS_CSUM, NEEDS_CSUM, "its checksum is still to be done");
            assert_eq!(
                (header.csum_start, header.csum_offset),
                (sent.header.csum_start, sent.header.csum_offset)
            );
            assert_eq!(usize::from(header.hdr_len), sent.headers_len, "hdr_len covers the headers");
        }
    }
}

#[test]
fn a_receiver_without_offloads_gets_finished_segments() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [a, b] = &mut cards(&daemon, 0);
    for kind in [Kind::Tcp4, Kind::Tcp4Ecn, Kind::Tcp6, Kind::Udp4, Kind::Udp6] {
        for (length, size) in CUTS {
            let sent = SuperFrame::new(kind, B, A, &payload(length), size);
            let arrived = through(a, b, &sent);
            for segment in &arrived {
                assert_eq!((segment.header.flags & NEEDS_CSUM, segment.header.gso_type), (0, 0));
            }
            check_segments(&sent, &arrived, &payload(length), size);
        }
    }
}

#[test]
fn a_receiver_that_takes_checksums_alone_gets_segments_that_are_right_once_finished() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [a, b] = &mut cards(&daemon, GUEST_CSUM);
    for kind in [Kind::Tcp4, Kind::Tcp4Ecn, Kind::Tcp6, Kind::Udp4, Kind::Udp6] {
        for (length, size) in CUTS {
            let sent = SuperFrame::new(kind, B, A, &payload(length), size);
            let arrived = through(a, b, &sent);
            check_segments(&sent, &arrived, &payload(length), size);
        }
    }
}

#[test]
fn each_kind_of_super_frame_is_cut_for_a_receiver_that_takes_only_another() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [a, b] = &mut cards(&daemon, GUEST_CSUM | GUEST_TSO4);
    for kind in Kind::ALL {
        let sent = SuperFrame::new(kind, B, A, &payload(6000), 1000);
        let arrived = through(a, b, &sent);
        let whole = kind == Kind::Tcp4;
        assert_eq!(arrived.len() == 1, whole, "{kind:?} arrives in {} frames", arrived.len());
    }
}

/// Together the segments carry the payload, each is right by itself, and the headers are as TCP wants them.
fn check_segments(sent: &SuperFrame, arrived: &[Received], payload: &[u8], size: u16) {
    let packets: Vec<_> =
        arrived.iter().map(|segment| verified(&finished(segment.header, segment.bytes.clone()))).collect();
    let count = payload.len().div_ceil(usize::from(size));
    assert_eq!(packets.len(), count, "{} bytes in segments of {size}", payload.len());
    let together: Vec<u8> = packets.iter().flat_map(|packet| packet.payload.clone()).collect();
    assert!(together == payload, "the segments carry the payload");
    assert!(packets[..count - 1].iter().all(|packet| packet.payload.len() == usize::from(size)));
    let whole = verified(&finished(sent.header, sent.bytes.clone()));
    for (index, packet) in packets.iter().enumerate() {
        if let (Some(first), Some(next)) = (packets[0].identification, packet.identification) {
            assert_eq!(next, first.wrapping_add(index as u16), "identifications count up");
        }
        let (Some(tcp), Some(original)) = (&packet.tcp, &whole.tcp) else { continue };
        let sequence = original.sequence_number.wrapping_add(index as u32 * u32::from(size));
        assert_eq!(tcp.sequence_number, sequence, "segment {index}");
        let last = index + 1 == count;
        assert_eq!((tcp.psh, tcp.fin), (last, last), "PSH and FIN are the last segment's");
        assert_eq!(tcp.cwr, original.cwr && index == 0, "CWR is the first segment's (RFC 3168, 6.1.2)");
        assert_eq!(tcp.options, original.options);
    }
}

#[test]
fn a_datagram_to_be_fragmented_is_put_together_again_from_its_fragments() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [a, b] = &mut cards(&daemon, 0);
    for (length, size) in [(1473, 1480), (4000, 1480), (60_000, 1480), (9001, 800)] {
        let sent = SuperFrame::new(Kind::UdpFragment4, B, A, &payload(length), size);
        let arrived = through(a, b, &sent);
        let mut datagram = Vec::new();
        for (index, piece) in arrived.iter().enumerate() {
            let (offset, more, identification, bytes) = fragment(&piece.bytes);
            assert_eq!(offset, datagram.len(), "fragment {index} goes on where the one before ended");
            assert_eq!(more, index + 1 < arrived.len(), "more fragments follow");
            assert_eq!(identification, fragment(&arrived[0].bytes).2, "one identification for all fragments");
            assert!(bytes.len() <= usize::from(size));
            datagram.extend_from_slice(&bytes);
        }
        let packet = reassembled(&arrived[0].bytes, &datagram);
        assert!(packet.payload == payload(length), "the datagram of {length} bytes arrives whole");
    }
}

#[test]
fn a_checksum_that_was_left_open_is_finished_only_where_the_receiver_cannot() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    for features in [0, GUEST_CSUM] {
        let [a, b] = &mut cards(&daemon, features);
        for kind in [Kind::Tcp4, Kind::Tcp6, Kind::Udp4, Kind::Udp6] {
            for length in [0, 1, 2, 33, 100, 1001, 1400] {
                let sent = SuperFrame::with_partial_checksum(kind, B, A, &payload(length));
                let arrived = through(a, b, &sent);
                assert_eq!(arrived.len(), 1);
                let open = arrived[0].header.flags & NEEDS_CSUM != 0;
                assert_eq!(open, features & GUEST_CSUM != 0, "{kind:?}, {length} bytes");
                assert_eq!(arrived[0].bytes == sent.bytes, open, "left as it was, or finished");
                let packet = verified(&finished(arrived[0].header, arrived[0].bytes.clone()));
                assert!(packet.payload == payload(length));
            }
            for (length, size) in ONE_SEGMENT {
                let sent = SuperFrame::new(kind, B, A, &payload(length), size);
                let arrived = through(a, b, &sent);
                assert_eq!(arrived.len(), 1, "{kind:?}, {length} bytes in segments of {size}");
                let header = arrived[0].header;
                let open = header.flags & NEEDS_CSUM != 0;
                assert_eq!((header.gso_type, open), (0, features & GUEST_CSUM != 0));
                assert!(verified(&finished(header, arrived[0].bytes.clone())).payload == payload(length));
            }
        }
    }
}

#[test]
fn a_flooded_super_frame_reaches_each_receiver_in_the_form_that_it_takes() {
    let daemon = Daemon::start(&network("lab", &["a", "b", "c"], ""));
    let [mut a, mut b] = cards(&daemon, RECEIVE_OFFLOADS);
    let mut c = Nic::connect(&daemon.socket("c"), &options(0));
    let sent = SuperFrame::new(Kind::Tcp4, [0xff; 6], A, &payload(20_000), 1448);
    a.send_with(sent.header, &sent.bytes);
    let whole = b.expect_frame("the super-frame");
    assert!(whole.bytes == sent.bytes);
    a.drain();
    let segments = c.collect(Duration::from_millis(200));
    check_segments(&sent, &segments, &payload(20_000), 1448);
    assert!(b.take().is_none(), "one copy each");
    assert!(a.take().is_none(), "none for the sender");
}
