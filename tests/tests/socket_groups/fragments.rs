//! Datagrams in fragments under security groups.

use super::*;

/// Fragments of a datagram from one station to another (RFC 791, 3.1; RFC 8200, 4.5): offset and length in bytes, whether more
/// follow.
fn fragment(
    family: Family,
    from: u8,
    to: u8,
    datagram: &[u8],
    (offset, length, more): (usize, usize, bool),
) -> Vec<u8> {
    let part = &datagram[offset..offset + length];
    let place = u16::try_from(offset / 8).unwrap();
    let whole = frame(family, from, to, &Body::Other(17));
    let mut bytes = whole[..if family == Family::V4 { 34 } else { 54 }].to_vec();
    match family {
        Family::V4 => {
            bytes[16..18].copy_from_slice(&u16::try_from(20 + length).unwrap().to_be_bytes());
            bytes[18..20].copy_from_slice(&[7, datagram[1]]);
            bytes[20..22].copy_from_slice(&(place | if more { 0x2000 } else { 0 }).to_be_bytes());
            bytes[24..26].fill(0);
            let sum: u32 =
                bytes[14..34].chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            bytes[24..26]
                .copy_from_slice(&(!u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()).to_be_bytes());
        }
        Family::V6 => {
            bytes[18..20].copy_from_slice(&u16::try_from(8 + length).unwrap().to_be_bytes());
            bytes[20] = 44;
            bytes.extend([17, 0]);
            bytes.extend((place << 3 | u16::from(more)).to_be_bytes());
            bytes.extend([0, 0, 7, datagram[1]]);
        }
    }
    bytes.extend_from_slice(part);
    bytes
}

/// A datagram of 96 bytes to this port.
fn datagram(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = [source, destination, 96, 0].map(u16::to_be_bytes).concat();
    bytes.resize(96, 7);
    bytes
}

#[test]
fn point_13_fragments_get_the_verdict_of_their_first_one_and_tricks_with_them_are_dropped_by_name() {
    let rule = "{ direction = 'ingress', protocol = 'udp', ports = 53 }";
    let config = lab(&[group("dns", &[rule]), port("vm", 1, "lab", "dns"), port("d", 4, "lab", "")]);
    let mut stage = Stations::new(&config, &[("vm", 1), ("d", 4)]);
    for (round, family) in (0_u16..).zip(Family::BOTH) {
        let mut sends =
            |datagram: &[u8], part| stage.carries("d", "vm", &fragment(family, 4, 1, datagram, part));
        let (open, closed) = (datagram(0x1001 + round, 53), datagram(0x1011 + round, 54));
        assert!(sends(&open, (0, 48, true)) && sends(&open, (48, 48, false)), "{family:?}: allowed");
        assert!(
            !sends(&closed, (0, 48, true)) && !sends(&closed, (48, 48, false)),
            "{family:?}: not allowed"
        );
        let tricks = [
            ("fragment-tiny", datagram(0x1021 + round, 53), &[(0, 0, true)][..]),
            ("fragment-overlap", datagram(0x1031 + round, 53), &[(0, 48, true), (40, 48, false)]),
            ("fragment-unaligned", datagram(0x1041 + round, 53), &[(0, 44, true)]),
        ];
        for (reason, datagram, parts) in tricks {
            let Some((last, before)) = parts.split_last() else { continue };
            for part in before {
                assert!(sends(&datagram, *part), "{family:?} {reason}");
            }
            assert!(!sends(&datagram, *last), "{family:?} {reason}");
        }
    }
    for reason in ["fragment-overlap", "fragment-unaligned"] {
        assert_eq!(stage.dropped("d", reason), 2, "{reason}");
    }
}
