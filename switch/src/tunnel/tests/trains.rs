//! Datagrams that go as one super-frame, and what comes as one that nobody should believe.

use super::*;
use crate::frame::{Gso, GsoKind, HEAD_MAX, PartialChecksum};
use crate::offload::checksum::UDP_CHECKSUM;

/// Frames of one flow with so many bytes each, from a guest of the first host to one of the second.
fn inners(lengths: &[usize]) -> Vec<Vec<u8>> {
    let frame = |(number, length): (u8, &usize)| {
        let mut frame = inner(0x11, mac(0x22));
        frame.resize(*length, number);
        frame
    };
    (0..).zip(lengths).map(frame).collect()
}

/// A train of these frames, and what is left to be done with it.
fn train(host: &Host, frames: &[Vec<u8>]) -> (Vec<u8>, Claims) {
    let of = (host.peer, network(TENANT));
    let (way, _) = host.switch.encapsulation(host.worker.policy(), of, Nanos(0)).unwrap();
    let (mut whole, mut coupled) = (vec![0; way.len()], Coupled::default());
    for frame in frames {
        let length = way.tunnel_header().len() + frame.len();
        assert!(coupled.takes(length, way.packet_headers()));
        if coupled.datagrams() > 0 {
            whole.extend_from_slice(way.tunnel_header());
        }
        whole.extend_from_slice(frame);
        coupled.add(length);
    }
    let length = u32::try_from(whole.len() - way.len()).unwrap();
    let inside = Inside { length, flow: 7, traffic_class: 0 };
    let claims = way.put_train(&inside, coupled.size(), &mut whole);
    (whole, claims)
}

/// What a host makes of a super-frame at its uplink: the datagrams, as if each had come by itself.
fn apart(host: &Host, whole: &[u8], claims: Claims) -> Option<Result<Vec<Vec<u8>>, DropReason>> {
    let meta = Metadata::new(port(UPLINK), u32::try_from(whole.len()).unwrap(), claims);
    let frame = Frame { head: Head::from_bytes(whole), meta, payload: () };
    let train = match host.switch.train(&host.worker, &frame)? {
        Ok(train) => train,
        Err(reason) => return Some(Err(reason)),
    };
    let datagram = |number| {
        let (place, mut headers) = (train.place(number), [0; HEAD_MAX]);
        let len = train.put_headers(place.len(), &mut headers);
        [&headers[..len], &whole[place]].concat()
    };
    Some(Ok((0..train.datagrams()).map(datagram).collect()))
}

#[test]
fn a_train_is_taken_apart_into_what_was_coupled() {
    for kinds in all_kinds().into_iter().filter(|kinds| kinds.kind.is_udp()) {
        for lengths in [&[100, 100][..], &[1464, 1464, 1464, 60], &[64; 64], &[1400; 45]] {
            let (one, mut other) = (Host::new(kinds, 1, 2), Host::new(kinds, 2, 1));
            let frames = inners(lengths);
            let (whole, claims) = train(&one, &frames);
            let datagrams = apart(&other, &whole, claims).unwrap().unwrap();
            assert_eq!(datagrams.len(), frames.len(), "{:?}", kinds.kind);
            for (datagram, frame) in datagrams.iter().zip(&frames) {
                let read = SlicedPacket::from_ethernet(datagram).unwrap();
                let Some(TransportSlice::Udp(udp)) = read.transport else { panic!("no UDP") };
                assert_eq!(usize::from(udp.length()), 8 + 8 + frame.len());
                if let Some(NetSlice::Ipv4(ip)) = read.net {
                    let header = ip.header();
                    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                }
                let arrived = other.take(UPLINK, datagram);
                assert_eq!(arrived.len(), 2, "to both guests, since nobody knows the station");
                for (_, bytes) in arrived {
                    assert!(bytes.len() > 20 && frame.starts_with(&bytes));
                }
            }
        }
    }
}

#[test]
fn what_leaves_as_a_train_has_one_checksum_and_lengths_of_the_whole() {
    let host = Host::new(PLAIN, 1, 2);
    let (whole, claims) = train(&host, &inners(&[1464, 1464, 99]));
    let read = SlicedPacket::from_ethernet(&whole).unwrap();
    let Some(TransportSlice::Udp(udp)) = read.transport else { panic!("no UDP") };
    assert_eq!(usize::from(udp.length()), whole.len() - 34);
    let checksum = Some(PartialChecksum { start: 34, offset: UDP_CHECKSUM });
    let gso = Some(Gso { kind: GsoKind::Udp, size: 8 + 1464, ecn: false });
    assert_eq!(claims, Claims { checksum, gso });
    // RFC 768: the pseudo-header's sum, which whoever cuts it begins with.
    let pseudo = [[192, 168], [99, 1], [192, 168], [99, 2], [0, 17], udp.length().to_be_bytes()].concat();
    assert_eq!(udp.checksum(), crate::offload::fold(crate::offload::sum(&pseudo)));
}

#[test]
fn nothing_is_coupled_that_could_not_be_told_apart_or_is_too_long() {
    let count = |length: usize| {
        let mut coupled = Coupled::default();
        while coupled.takes(length, 28) {
            coupled.add(length);
        }
        assert!(28 + coupled.datagrams() * length <= 65_535);
        coupled.datagrams()
    };
    assert_eq!([count(72), count(1472), count(9000), count(65_000)], [TRAIN_SENT_MAX, 44, 7, 1]);
    let mut coupled = Coupled::default();
    coupled.add(1000);
    assert!(!coupled.takes(1001, 28));
    coupled.add(999);
    assert!(!coupled.takes(999, 28) && !coupled.takes(1, 28));
}

#[test]
fn a_train_that_lies_is_refused_and_others_are_left_alone() {
    let (one, other) = (Host::new(PLAIN, 1, 2), Host::new(PLAIN, 2, 1));
    let (whole, claims) = train(&one, &inners(&[1000, 1000, 50]));
    let sized = |size| Claims { gso: claims.gso.map(|gso| Gso { size, ..gso }), ..claims };
    let refused = Some(Err(DropReason::BadOffload));
    // Too many: one byte each, or one more than anybody sends.
    let payload = u16::try_from(whole.len() - 42).unwrap();
    for size in [0, 1, payload / 129] {
        assert_eq!(apart(&other, &whole, sized(size)), refused, "{size}");
    }
    assert_eq!(apart(&other, &whole, sized(payload.div_ceil(128))).unwrap().unwrap().len(), 122);
    assert_eq!(apart(&other, &whole, sized(u16::MAX)).unwrap().unwrap().len(), 1);
    let offset = Some(PartialChecksum { start: 34, offset: 4 });
    assert_eq!(apart(&other, &whole, Claims { checksum: offset, ..claims }), refused);
    // Another length than the datagram's, and one beyond the frame's end.
    let mut changed = whole.clone();
    changed[39] -= 1;
    assert_eq!(apart(&other, &changed, claims), refused);
    assert_eq!(apart(&other, &whole[..whole.len() - 1], claims), Some(Err(DropReason::TunnelTruncated)));
    assert_eq!(other.drops(UPLINK, DropReason::BadOffload), 5);
    assert_eq!(other.drops(UPLINK, DropReason::TunnelTruncated), 1);
    // A super-frame inside of a tunnel, one of another port, and one for another station are no trains.
    let inside = Some(PartialChecksum { start: 84, offset: UDP_CHECKSUM });
    assert_eq!(apart(&other, &whole, Claims { checksum: inside, ..claims }), None);
    for at in [37, 5, 33] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert_eq!(apart(&other, &changed, claims), None, "{at}");
    }
}

proptest! {
    #[test]
    fn any_change_of_a_train_is_survived(
        changes in proptest::collection::vec((0..60_usize, any::<u8>()), 0..4),
        size: u16, start in 14..90_u16, offset in 0..20_u16, cut in 0..3000_usize, is_v6: bool,
    ) {
        let kinds = Kinds { is_v6, ..PLAIN };
        let (one, mut other) = (Host::new(kinds, 1, 2), Host::new(kinds, 2, 1));
        let (mut whole, claims) = train(&one, &inners(&[1000, 1000, 50]));
        changes.iter().for_each(|(at, byte)| whole[*at] = *byte);
        whole.truncate(whole.len().saturating_sub(cut).max(100));
        let gso = claims.gso.map(|gso| Gso { size, ..gso });
        let checksum = Some(PartialChecksum { start, offset });
        for claims in [Claims { gso, ..claims }, Claims { gso, checksum }] {
            if let Some(Ok(datagrams)) = apart(&other, &whole, claims) {
                prop_assert!(datagrams.len() <= TRAIN_TAKEN_MAX);
                datagrams.iter().for_each(|datagram| _ = other.take(UPLINK, datagram));
            }
        }
    }
}
