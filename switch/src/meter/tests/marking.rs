//! Code points: read, written with right checksums, and believed where a meter is aware of colours.

use super::super::*;
use super::rates::{bits, frames};
use crate::offload::checksum::{fold, sum};

/// A frame of IPv4 behind as many tags, with a right checksum.
fn ipv4(tags: usize, tos: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for _ in 0..tags {
        frame.extend([0x81, 0, 0, 7]);
    }
    frame.extend([8, 0]);
    let mut packet = [0x45, tos, 0, 46, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let checksum = !fold(sum(&packet));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(packet);
    frame.extend([0; 26]);
    frame
}

fn ipv6(class: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
    frame.extend([0x60 | class >> 4, class << 4 | 0x0a, 0xbc, 0xde]);
    frame.extend([0; 60]);
    frame
}

#[test]
fn a_code_point_is_written_and_the_checksum_stays_right() {
    for tags in 0..=2 {
        for tos in 0..=255_u8 {
            for dscp in [0, 1, 8, 46, 63] {
                let mut frame = ipv4(tags, tos);
                assert_eq!(Dscp::of(&frame), Dscp::new(tos >> 2));
                assert!(Dscp::new(dscp).unwrap().write(&mut frame));
                let at = 14 + 4 * tags;
                assert_eq!(frame[at + 1], dscp << 2 | tos & 3, "the bits for congestion stay");
                assert_eq!(fold(sum(&frame[at..at + 20])), 0xffff);
            }
        }
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut frame = ipv4(0, 0);
    frame[24] ^= 1;
    assert!(Dscp::new(46).unwrap().write(&mut frame));
    assert_ne!(fold(sum(&frame[14..34])), 0xffff);
}

#[test]
fn ipv6_keeps_version_and_flow_label() {
    for class in 0..=255_u8 {
        let mut frame = ipv6(class);
        assert_eq!(dscp::traffic_class(&frame), Some(class));
        assert!(Dscp::new(46).unwrap().write(&mut frame));
        assert_eq!(frame[14..18], [0x60 | 0x0b, 0x80 | (class & 3) << 4 | 0x0a, 0xbc, 0xde]);
    }
}

#[test]
fn what_is_no_ip_or_cut_is_left_alone() {
    let mut arp = frames(60, 1)[0].head.bytes().to_vec();
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut lying = ipv4(0, 0);
    lying[14] = 0x65;
    let tagged = ipv4(2, 0);
    let mut thrice = tagged[..20].to_vec();
    thrice.extend([0x81, 0, 0, 7, 8, 0, 0x45, 0]);
    for mut head in [arp, lying, ipv4(0, 0)[..25].to_vec(), ipv4(0, 0)[..15].to_vec(), thrice, vec![1, 2, 3]]
    {
        let before = head.clone();
        assert!(!Dscp::new(46).unwrap().write(&mut head), "{before:?}");
        assert_eq!(head, before);
    }
}

#[test]
fn a_code_point_is_read_as_it_is_written() {
    for number in 0..=Dscp::MAX {
        let dscp = Dscp::new(number).unwrap();
        assert_eq!(dscp.to_string().parse(), Ok(dscp));
        assert_eq!(number.to_string().parse(), Ok(dscp));
    }
    let named = ["ef", "cs6", "af41", "af13", "le", "default", "be", "va"]
        .map(|name| name.parse::<Dscp>().unwrap().get());
    assert_eq!(named, [46, 48, 34, 14, 1, 0, 0, 44]);
    for wrong in ["", "64", "cs8", "af14", "af51", "af4", "EF", "+1", "-1", "1 "] {
        assert_eq!(wrong.parse::<Dscp>(), Err(dscp::InvalidDscp), "{wrong}");
    }
}

#[test]
fn what_exceeds_is_marked_and_passes() {
    let le = Exceeding::Marked(Dscp::LOWER_EFFORT);
    let plan = MeterPlan { committed: bits(8_000, 2000), exceeding: le, ..MeterPlan::default() };
    let meter = Meter::new(plan, Nanos(0));
    let mut burst = frames(1000, 3);
    for frame in &mut burst {
        frame.head = crate::Head::from_bytes(&ipv4(0, 0xb8));
    }
    let mut refused = Vec::new();
    meter.police(&mut burst, Nanos(0), &mut refused);
    assert!(refused.is_empty());
    let marks: Vec<_> = burst.iter().map(|frame| Dscp::of(frame.head.bytes()).unwrap().get()).collect();
    assert_eq!(marks, [46, 46, 1]);
    assert_eq!(meter.counters().exceeding, Volume { frames: 1, bytes: 1000 });
}

#[test]
fn a_meter_that_is_aware_of_colours_never_betters_one() {
    let plan = MeterPlan {
        committed: bits(8_000, 3000),
        peak: Some(bits(16_000, 4000)),
        colour_aware: true,
        exceeding: Exceeding::Passed,
        exceeding_mark: 0,
    };
    let meter = Meter::new(plan, Nanos(0));
    let coloured = ["af13", "af12", "af11", "ef", "af11", "af43"].map(|name| {
        let dscp: Dscp = name.parse().unwrap();
        let mut frame = frames(1000, 1).remove(0);
        frame.head = crate::Head::from_bytes(&ipv4(0, dscp.get() << 2));
        frame
    });
    let told = coloured.map(|mut frame| {
        let (foretold, _) = meter.assess(&frame, Nanos(0));
        let before = meter.counters();
        meter.police(std::slice::from_mut(&mut frame), Nanos(0), &mut Vec::new());
        let after = meter.counters();
        let colour = if after.conforming != before.conforming {
            Colour::Green
        } else if after.exceeding != before.exceeding {
            Colour::Yellow
        } else {
            Colour::Red
        };
        assert_eq!(colour, foretold);
        colour
    });
    // The peak rate's four thousand bytes: the yellow one takes of them, the red ones nothing.
    let expected = [Colour::Red, Colour::Yellow, Colour::Green, Colour::Green, Colour::Green, Colour::Red];
    assert_eq!(told, expected);
}
