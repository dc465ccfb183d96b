//! What is chosen for which receiver, and what must be refused. Whole frames are cut and checked against an
//! independent parser in `tests/offload.rs`.

use super::*;
use crate::DropReason;
use crate::frame::{Gso, PartialChecksum};

const ALL: Capabilities =
    Capabilities { checksum: true, tso4: true, tso6: true, ecn: true, ufo: true, uso4: true, uso6: true };

/// The beginning of an Ethernet frame of this type.
fn head(ether_type: u16) -> [u8; 64] {
    let mut head = [0; 64];
    head[12..14].copy_from_slice(&ether_type.to_be_bytes());
    head
}

fn claims(kind: GsoKind, ecn: bool) -> Claims {
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    Claims { checksum, gso: Some(Gso { kind, size: 1000, ecn }) }
}

#[test]
fn a_receiver_that_takes_everything_gets_everything_as_it_is() {
    for kind in [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp, GsoKind::UdpFragment] {
        assert_eq!(ALL.treatment(&claims(kind, true), &head(0x0800)), Treatment::AsIs);
    }
    assert_eq!(ALL.treatment(&Claims { gso: None, ..claims(GsoKind::Udp, false) }, &[]), Treatment::AsIs);
}

#[test]
fn a_receiver_that_takes_nothing_gets_finished_frames() {
    let none = Capabilities::default();
    assert_eq!(none.treatment(&Claims::default(), &[]), Treatment::AsIs);
    let partial = Claims { gso: None, ..claims(GsoKind::Tcp4, false) };
    assert_eq!(none.treatment(&partial, &[]), Treatment::FinishChecksum);
    let finished = Treatment::Segment(Checksums::Finished);
    assert_eq!(none.treatment(&claims(GsoKind::Tcp4, false), &[]), finished);
    let unchecked = Capabilities { checksum: false, ..ALL };
    assert_eq!(unchecked.treatment(&claims(GsoKind::Tcp4, false), &[]), finished, "TSO needs checksums");
}

#[test]
fn each_missing_capability_is_made_up_for_alone() {
    let cut = Treatment::Segment(Checksums::Partial);
    let [v4, v6] = [0x0800, 0x86dd].map(head);
    let cases = [
        (Capabilities { tso4: false, ..ALL }, GsoKind::Tcp4, v4),
        (Capabilities { tso6: false, ..ALL }, GsoKind::Tcp6, v6),
        (Capabilities { ufo: false, ..ALL }, GsoKind::UdpFragment, v4),
        (Capabilities { uso4: false, ..ALL }, GsoKind::Udp, v4),
        (Capabilities { uso6: false, ..ALL }, GsoKind::Udp, v6),
        (ALL, GsoKind::Udp, head(0x0806)),
    ];
    for (capabilities, kind, head) in cases {
        assert_eq!(capabilities.treatment(&claims(kind, false), &head), cut, "{kind:?}");
    }
    let without_ecn = Capabilities { ecn: false, ..ALL };
    assert_eq!(without_ecn.treatment(&claims(GsoKind::Tcp4, true), &v4), cut);
    assert_eq!(without_ecn.treatment(&claims(GsoKind::Tcp4, false), &v4), Treatment::AsIs);
    let only_v4 = Capabilities { uso6: false, ..ALL };
    assert_eq!(only_v4.treatment(&claims(GsoKind::Udp, false), &v4), Treatment::AsIs);
}

#[test]
fn sums_do_not_depend_on_how_the_bytes_are_taken() {
    // RFC 1071, 3: this data sums to ddf2.
    assert_eq!(checksum::fold(checksum::sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    assert_eq!(checksum::fold(checksum::sum(&[0xff, 0xff, 0x01])), 0x0100);
    assert_eq!(checksum::fold(checksum::sum(&[0xff; 65_536])), 0xffff);
    assert_eq!(checksum::fold(checksum::sum(&[])), 0);
}

/// A UDP frame over IPv4 from port 7 to port 7 whose checksum field holds `pseudo`.
fn udp_frame(pseudo: u16) -> Vec<u8> {
    let mut frame = head(0x0800).to_vec();
    frame[14] = 0x45;
    frame[23] = layout::protocol::UDP;
    frame[35] = 7;
    frame[37] = 7;
    frame[38..40].copy_from_slice(&30u16.to_be_bytes());
    frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

#[test]
fn a_udp_checksum_of_zero_is_stored_as_all_ones() {
    // RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    let mut frame = udp_frame(0xffff - 7 - 7 - 30);
    finish_checksum(&mut frame, PartialChecksum { start: 34, offset: 6 }).unwrap();
    assert_eq!(frame[40..42], [0xff, 0xff]);
}

#[test]
fn a_checksum_claim_cannot_change_what_was_judged() {
    let refused = [(14, 12), (14, 16), (30, 0), (34, 0), (34, 2), (35, 6), (34, 29), (62, 1)];
    for (start, offset) in refused {
        let mut frame = udp_frame(0);
        let result = finish_checksum(&mut frame, PartialChecksum { start, offset });
        assert_eq!(result, Err(DropReason::BadOffload), "{start} + {offset}");
        assert_eq!(frame, udp_frame(0));
    }
    // A packet in a guest's own tunnel.
    assert_eq!(finish_checksum(&mut udp_frame(0), PartialChecksum { start: 50, offset: 6 }), Ok(()));
    // Neither IPv4 nor IPv6: anything behind the type field.
    let mut other = head(0x88b5).to_vec();
    assert_eq!(finish_checksum(&mut other, PartialChecksum { start: 14, offset: 0 }), Ok(()));
}

#[test]
fn a_fragment_is_neither_cut_nor_finished() {
    let checksum = PartialChecksum { start: 34, offset: 6 };
    let claims =
        Claims { checksum: Some(checksum), gso: Some(Gso { kind: GsoKind::Udp, size: 8, ecn: false }) };
    assert!(Segmenter::new(&udp_frame(0), &claims, Checksums::Finished, 0).is_ok());
    for (at, bits) in [(20, 0x20), (20, 0x01), (21, 0x01)] {
        let mut frame = udp_frame(0);
        frame[at] |= bits;
        assert!(Segmenter::new(&frame, &claims, Checksums::Finished, 0).is_err());
        assert_eq!(finish_checksum(&mut frame, checksum), Err(DropReason::BadOffload));
    }
}

#[test]
fn one_frame_is_not_cut_into_thousands() {
    let mut frame = udp_frame(0);
    frame.resize(34 + 8 + 2000, 0);
    let length = u16::try_from(frame.len() - 34).unwrap();
    frame[38..40].copy_from_slice(&length.to_be_bytes());
    let checksum = Some(PartialChecksum { start: 34, offset: 6 });
    let segmenter = |size| {
        let claims = Claims { checksum, gso: Some(Gso { kind: GsoKind::Udp, size, ecn: false }) };
        Segmenter::new(&frame, &claims, Checksums::Finished, 0).map(|_| ())
    };
    assert_eq!(segmenter(1), Err(DropReason::NotSegmentable));
    assert_eq!(segmenter(2), Ok(()));
}

#[test]
fn long_headers_in_many_segments_do_not_multiply_a_frame() {
    // IPv6, destination options of 1400 bytes, UDP with 20,000 bytes.
    let mut frame = head(0x86dd)[..14].to_vec();
    let (options, udp) = (1400u16, 20_008u16);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((options + udp).to_be_bytes());
    frame.extend([60, 64]);
    frame.extend([1; 32]);
    frame.extend([17, 174, 1, 0]);
    frame.resize(frame.len() + 1396, 0);
    frame.extend([0, 7, 0, 7]);
    frame.extend(udp.to_be_bytes());
    frame.resize(frame.len() + 20_002, 0xaa);
    let segmenter = |size| {
        let checksum = Some(PartialChecksum { start: 14 + 40 + 1400, offset: 6 });
        let claims = Claims { checksum, gso: Some(Gso { kind: GsoKind::Udp, size, ecn: false }) };
        Segmenter::new(&frame, &claims, Checksums::Finished, 0).map(|_| ())
    };
    assert_eq!(segmenter(500), Ok(()));
    assert_eq!(segmenter(48), Err(DropReason::NotSegmentable));
}

#[test]
fn fragments_carry_options_for_the_destination_behind_the_fragment_header() {
    // IPv6, a routing header of 8 bytes, destination options of 8 bytes, UDP with 40 bytes: RFC 8200, 4.5
    // puts the fragment header between the routing header and the options.
    let mut frame = head(0x86dd)[..14].to_vec();
    frame.extend([[0x60, 0, 0, 0, 0, 64, 43, 64].as_slice(), &[1; 32]].concat());
    frame.extend([60, 0, 9, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend([0, 7, 0, 7, 0, 48, 0, 0]);
    frame.extend([0xaa; 40]);
    let claims = Claims {
        checksum: Some(PartialChecksum { start: 70, offset: 6 }),
        gso: Some(Gso { kind: GsoKind::UdpFragment, size: 37, ecn: false }),
    };
    let mut segmenter = Segmenter::new(&frame, &claims, Checksums::Partial, 0x0102_0304).unwrap();
    let mut buffer = vec![0; segmenter.segment_length_max()];
    assert_eq!(segmenter.next_into(&mut buffer[..20]), Err(DropReason::SmallBuffer));
    let first = segmenter.next_into(&mut buffer).unwrap().unwrap();
    assert_eq!(first, Segment { length: 14 + 40 + 8 + 8 + 32, claims: Claims::default() });
    assert_eq!(buffer[54], 44);
    assert_eq!(buffer[62..70], [60, 0, 0, 1, 1, 2, 3, 4]);
    assert_eq!(buffer[70..72], [17, 0]);
    let second = segmenter.next_into(&mut buffer).unwrap().unwrap();
    assert_eq!(buffer[62..66], [60, 0, 0, 32]);
    assert_eq!(second.length, 14 + 40 + 8 + 8 + 24);
    assert_eq!(segmenter.next_into(&mut buffer), Ok(None));
}
