//! Frames for tests, put together by the standards.

use std::net::Ipv6Addr;

use crate::offload::checksum::{fold, sum};

/// Sets the checksum of an IPv4 header with Router Alert, and that of the IGMP message behind it.
pub(crate) fn resum_4(frame: &mut [u8]) {
    frame[24..26].copy_from_slice(&[0, 0]);
    frame[40..42].copy_from_slice(&[0, 0]);
    let header = !fold(sum(&frame[14..38]));
    let message = !fold(sum(&frame[38..]));
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    frame[40..42].copy_from_slice(&message.to_be_bytes());
}

/// An IGMP message in a frame.
pub(crate) fn igmp(source: [u8; 4], to: [u8; 4], message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x01, 0x00, 0x5e, to[1] & 0x7f, to[2], to[3], 2, 0, 0, 0, 0, 9, 8, 0];
    let length = u16::try_from(24 + message.len()).unwrap().to_be_bytes();
    frame.extend([0x46, 0xc0, length[0], length[1], 0, 1, 0, 0, 1, 2, 0, 0]);
    frame.extend(source);
    frame.extend(to);
    frame.extend([0x94, 4, 0, 0]);
    frame.extend(message);
    resum_4(&mut frame);
    frame
}

pub(crate) fn igmp_query(source: [u8; 4], code: u8, version: u8) -> Vec<u8> {
    let length = if version == 3 { 12 } else { 8 };
    igmp(source, [224, 0, 0, 1], &[&[0x11, code][..], &vec![0; length - 2]].concat())
}

pub(crate) fn igmp_2(kind: u8, group: [u8; 4]) -> Vec<u8> {
    let to = if kind == 0x17 { [224, 0, 0, 2] } else { group };
    igmp([10, 0, 0, 9], to, &[[kind, 0, 0, 0], group].concat())
}

pub(crate) fn record_4(kind: u8, group: [u8; 4], sources: u16) -> Vec<u8> {
    let mut record = [[kind, 0, sources.to_be_bytes()[0], sources.to_be_bytes()[1]], group].concat();
    record.extend((0..sources).flat_map(|_| [10, 9, 9, 9]));
    record
}

pub(crate) fn record_6(kind: u8, group: &str, sources: u16) -> Vec<u8> {
    let group: Ipv6Addr = group.parse().unwrap();
    let mut record = vec![kind, 0, sources.to_be_bytes()[0], sources.to_be_bytes()[1]];
    record.extend(group.octets());
    record.extend((0..sources).flat_map(|_| Ipv6Addr::LOCALHOST.octets()));
    record
}

pub(crate) fn igmp_3(records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let head = [0x22, 0, 0, 0, 0, 0, count[0], count[1]];
    igmp([10, 0, 0, 9], [224, 0, 0, 22], &[&head[..], &records.concat()].concat())
}

/// An MLD message behind hop-by-hop options with Router Alert, in a frame.
pub(crate) fn mld(source: &str, to: &str, message: &[u8]) -> Vec<u8> {
    let [source, to] = [source, to].map(|address| address.parse::<Ipv6Addr>().unwrap().octets());
    let mut frame = vec![0x33, 0x33, to[12], to[13], to[14], to[15], 2, 0, 0, 0, 0, 9, 0x86, 0xdd];
    let length = u16::try_from(8 + message.len()).unwrap().to_be_bytes();
    frame.extend([0x60, 0, 0, 0, length[0], length[1], 0, 1]);
    frame.extend(source);
    frame.extend(to);
    frame.extend([58, 0, 5, 2, 0, 0, 1, 0]);
    let mut message = message.to_vec();
    message[2..4].copy_from_slice(&[0, 0]);
    let total = sum(&source) + sum(&to) + message.len() as u64 + 58 + sum(&message);
    message[2..4].copy_from_slice(&(!fold(total)).to_be_bytes());
    frame.extend(message);
    frame
}

pub(crate) fn mld_1(kind: u8, source: &str, group: &str) -> Vec<u8> {
    let octets = group.parse::<Ipv6Addr>().unwrap().octets();
    mld(
        source,
        if kind == 132 { "ff02::2" } else { group },
        &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &octets].concat(),
    )
}

pub(crate) fn mld_2(records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let head = [143, 0, 0, 0, 0, 0, count[0], count[1]];
    mld("fe80::9", "ff02::16", &[&head[..], &records.concat()].concat())
}

pub(crate) fn mld_query(source: &str, code: u16, version: u8) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    let rest = if version == 2 { 20 } else { 16 };
    mld(source, "ff02::1", &[&[130, 0, 0, 0, high, low, 0, 0][..], &vec![0; rest]].concat())
}
