//! Random packets there and back, beside checksums that are computed anew.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::frame::PartialChecksum;
use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::offload::checksum::finish_checksum;
use crate::packet::{Contents, parse};
use crate::router::rewrite::{pass, pass_plain};

fn packet_of(frame: &[u8]) -> Packet {
    match parse(frame, u32::try_from(frame.len()).unwrap()) {
        Ok(Contents::Ip(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

/// Words in ones' complement, in the plainest way.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u64 =
        bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// Whether all checksums of a whole packet are right, and those of a quoted one as far as it is there.
fn is_right(packet: &[u8]) -> bool {
    let header = usize::from(packet[0] & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if sum(&packet[..header]) != 0xffff || packet.len() < length {
        return sum(&packet[..header]) == 0xffff;
    }
    let data = &packet[header..length];
    let mut pseudo = packet[12..20].to_vec();
    pseudo.extend([0, packet[9]]);
    pseudo.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    pseudo.extend(data);
    match packet[9] {
        17 if data[6..8] == [0, 0] => true,
        6 | 17 => sum(&pseudo) == 0xffff,
        1 if matches!(data[0], 3 | 11) => sum(data) == 0xffff && is_right(&data[8..]),
        _ => sum(data) == 0xffff,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Tcp,
    Udp,
    Unsummed,
    Echo,
}

type Four = ([u8; 4], [u8; 4], u16, u16);

fn build(kind: Kind, (from, to, from_port, to_port): Four, payload: &[u8]) -> Vec<u8> {
    let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 9);
    let mut frame = Vec::new();
    match kind {
        Kind::Tcp => ip.tcp(from_port, to_port, 1, 2).ack(3).write(&mut frame, payload).unwrap(),
        Kind::Udp | Kind::Unsummed => ip.udp(from_port, to_port).write(&mut frame, payload).unwrap(),
        Kind::Echo => ip.icmpv4_echo_request(from_port, 1).write(&mut frame, payload).unwrap(),
    }
    if kind == Kind::Unsummed {
        frame[40..42].fill(0);
    }
    frame
}

fn leaving(kind: Kind, end: Four) -> Leaving {
    Leaving::of(&tuple(kind, end)).unwrap()
}

fn tuple(kind: Kind, (from, to, from_port, to_port): Four) -> Tuple {
    let (protocol, second) = match kind {
        Kind::Tcp => (number::TCP, to_port),
        Kind::Udp | Kind::Unsummed => (number::UDP, to_port),
        Kind::Echo => (number::ICMP, 8),
    };
    Tuple {
        zone: NetworkIndex::new(0).unwrap(),
        source: Address::from_v4(from),
        destination: Address::from_v4(to),
        protocol,
        source_port: from_port,
        destination_port: second,
    }
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Tcp), Just(Kind::Udp), Just(Kind::Unsummed), Just(Kind::Echo)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_translated_is_right_and_comes_back(
        kind in any_kind(),
        own in any::<Four>(),
        other in any::<Four>(),
        payload in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let frame = build(kind, own, &payload);
        let mut head = frame.clone();
        translate(&mut head, &packet_of(&frame), &leaving(kind, other), &Claims::default());
        prop_assert!(is_right(&head[14..]), "{head:02x?}");
        prop_assert_eq!(&head, &{
            // A plain builder makes the same of it, but for the two forms of a sum of zero.
            let mut plain = build(kind, other, &payload);
            plain[..14].copy_from_slice(&frame[..14]);
            plain
        });
        let packet = packet_of(&head);
        translate(&mut head, &packet, &leaving(kind, own), &Claims::default());
        prop_assert_eq!(head, frame);
    }

    /// Checksums that are still to be finished.
    #[test]
    fn what_is_partial_stays_so_and_is_right_when_it_is_finished(
        is_tcp in any::<bool>(),
        own in any::<Four>(),
        other in any::<Four>(),
        payload in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let (kind, offset) = if is_tcp { (Kind::Tcp, 16) } else { (Kind::Udp, 6) };
        let mut frame = build(kind, own, &payload);
        let mut pseudo = frame[26..34].to_vec();
        pseudo.extend([0, frame[23]]);
        pseudo.extend(u16::try_from(frame.len() - 34).unwrap().to_be_bytes());
        let at = 34 + usize::from(offset);
        frame[at..at + 2].copy_from_slice(&sum(&pseudo).to_be_bytes());
        let checksum = PartialChecksum { start: 34, offset };
        let claims = Claims { checksum: Some(checksum), gso: None };
        let packet = packet_of(&frame);
        translate(&mut frame, &packet, &leaving(kind, other), &claims);
        finish_checksum(&mut frame, checksum).unwrap();
        prop_assert!(is_right(&frame[14..]), "{frame:02x?}");
    }

    /// What goes by a path becomes what any other packet becomes, whether its checksums are right, wrong, left out or partial.
    #[test]
    fn a_plain_packet_is_translated_and_passed_as_any_other(
        is_tcp in any::<bool>(),
        own in any::<Four>(),
        other in any::<Four>(),
        payload in prop::collection::vec(any::<u8>(), 0..60),
        checksums in any::<[Option<u16>; 2]>(),
        is_partial in any::<bool>(),
        zeros in 0..8_u8,
    ) {
        let ends = |mut ends: Four| {
            for (bit, part) in [&mut ends.0, &mut ends.1].into_iter().enumerate() {
                if zeros >> bit & 1 == 1 { *part = if zeros & 4 == 0 { [0; 4] } else { [0xff; 4] } }
            }
            ends
        };
        let (kind, offset) = if is_tcp { (Kind::Tcp, 16) } else { (Kind::Udp, 6) };
        let mut frame = build(kind, ends(own), &payload);
        for (at, sum) in [24, 34 + usize::from(offset)].into_iter().zip(checksums) {
            if let Some(sum) = sum {
                frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
        let checksum = is_partial.then_some(PartialChecksum { start: 34, offset });
        let (packet, to) = (packet_of(&frame), leaving(kind, other));
        let macs = (MacAddress([6; 6]), MacAddress([8; 6]));
        let mut careful = frame.clone();
        translate(&mut careful, &packet, &to, &Claims { checksum, gso: None });
        pass(&mut careful, &packet, macs.0, macs.1);
        let mut quick = frame;
        let sums = Sums::of(&Leaving::as_it_came(&packet).unwrap(), &to);
        prop_assert!(translate_plain(&mut quick, is_tcp, (&to, sums), is_partial));
        pass_plain(quick.first_chunk_mut().unwrap(), macs, sums.header);
        prop_assert_eq!(quick, careful);
    }

    #[test]
    fn errors_and_what_they_quote_are_right_and_come_back(
        kind in any_kind(),
        own in any::<Four>(),
        other in any::<Four>(),
        ends in any::<[[u8; 4]; 4]>(),
        half in 14..60_usize,
        payload in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        // What is quoted went from where the error goes.
        let quoted = build(kind, (ends[1], own.1, own.2, own.3), &payload);
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(ends[0], ends[1], 9);
        let quote = &quoted[14..quoted.len().min(14 + 2 * half)];
        let mut frame = Vec::new();
        ip.icmpv4_raw(3, 1, [0; 4]).write(&mut frame, quote).unwrap();
        let Ok(Contents::Ip(packet)) = parse(&frame, u32::try_from(frame.len()).unwrap()) else { return Ok(()) };
        let mut head = frame.clone();
        let there = [ends[2], ends[3]].map(Address::from_v4);
        let (outward, back) = (tuple(kind, other), tuple(kind, (ends[1], own.1, own.2, own.3)));
        translate_error(&mut head, &packet, there, &outward, &Claims::default());
        prop_assert!(is_right(&head[14..]), "{head:02x?}");
        let as_sent = build(kind, other, &payload);
        prop_assert_eq!(&head[42..], &as_sent[14..14 + quote.len()], "it quotes what was sent");
        let here = [ends[0], ends[1]].map(Address::from_v4);
        translate_error(&mut head, &packet, here, &back, &Claims::default());
        prop_assert_eq!(head, frame);
    }
}
