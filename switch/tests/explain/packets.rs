//! Frames of all kinds, right and wrong.

use viaduct_switch::MacAddress;

use crate::chance::Chance;

/// Stations 0 to 5 live behind the ports with these numbers, if they keep to it.
pub(crate) fn station(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, number])
}

const BROADCAST: [u8; 6] = [0xff; 6];

/// The one's complement sum of 16-bit words (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, content: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), content].concat()
}

/// A request of station `from` for the address of station `to`.
pub(crate) fn arp(from: u8, to: u8, claimed: [u8; 4]) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, 1];
    message.extend(station(from).0);
    message.extend(claimed);
    message.extend([0; 6]);
    message.extend([10, 0, 0, to]);
    ethernet(station(to).0, station(from).0, 0x806, &message)
}

fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + content.len()).unwrap().to_be_bytes();
    let hops = if protocol == 2 { 1 } else { 64 };
    let mut header = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, hops, protocol, 0, 0];
    header.extend(source);
    header.extend(destination);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [&header[..], content].concat()
}

fn ipv6(source: u8, destination: u8, next: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let header = [0x60, 0, 0, 0, length[0], length[1], next, 64];
    [&header[..], &address(source), &address(destination), content].concat()
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    [&ports[..], &[0, 8, 0, 0]].concat()
}

/// A segment of TCP with these flags.
fn segment(flags: u8) -> Vec<u8> {
    [&[3, 232, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags][..], &[1, 0, 0, 0, 0, 0]].concat()
}

fn igmp(kind: u8, group: [u8; 4]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0][..], &group].concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);
    message
}

/// A host's wish for a group's packets (RFC 2236, 2).
pub(crate) fn igmp_report(group: [u8; 4]) -> Vec<u8> {
    let to = [0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]];
    ethernet(to, station(1).0, 0x800, &ipv4([10, 0, 0, 1], group, 2, &igmp(0x16, group)))
}

fn multicast(chance: &mut Chance, from: u8) -> Vec<u8> {
    let group = [239, 1, 1, chance.byte() % 3];
    let (address, content) = match chance.below(4) {
        0 => ([224, 0, 0, 1], igmp(0x11, [0; 4])),
        1 => (group, igmp(0x16, group)),
        2 => (group, [&igmp(0x16, group)[..2], &[chance.byte() % 2; 6]].concat()),
        _ => (group, ports(1, 2)),
    };
    let to = [0x01, 0x00, 0x5e, address[1] & 0x7f, address[2], address[3]];
    let protocol = if content[1] == 0 && content[0] < 0x20 && content[0] > 1 { 2 } else { 17 };
    let content = ipv4([10, 0, 0, from], address, protocol, &content);
    ethernet(to, station(from).0, 0x800, &content)
}

fn control(chance: &mut Chance, from: u8) -> Vec<u8> {
    let (last, kind) = chance.pick(&[(0, 39), (0xe, 0x88cc), (2, 0x8809), (3, 0x888e), (1, 0x8808)]);
    ethernet([0x01, 0x80, 0xc2, 0, 0, last], station(from).0, kind, &[0; 46])
}

fn unicast(chance: &mut Chance, from: u8, to: [u8; 6]) -> Vec<u8> {
    let address = |last| [10, 0, 0, last];
    let claimed = if chance.once_in(5) { chance.byte() % 8 } else { from };
    let other = chance.byte() % 6;
    let content = match chance.below(6) {
        0 => ports(67, 68),
        1 => vec![1; chance.below(1490)],
        _ => ports(chance.pick(&[1000, 80]), chance.pick(&[80, 1000])),
    };
    match chance.below(7) {
        5 => ethernet(to, station(from).0, 0x88b5, &content),
        6 => {
            let packet = ipv4(address(claimed), address(other), 6, &segment(chance.pick(&[2, 16, 18])));
            ethernet(to, station(from).0, 0x800, &packet)
        }
        0 => ethernet(to, station(from).0, 0x86dd, &ipv6(claimed, other, 17, &content)),
        1 => ethernet(to, station(from).0, 0x800, &ipv4(address(claimed), address(other), 6, &content)),
        _ => ethernet(to, station(from).0, 0x800, &ipv4(address(claimed), address(other), 17, &content)),
    }
}

/// A frame of some station to somebody, sometimes with tags, seldom damaged.
pub(crate) fn random(chance: &mut Chance) -> Vec<u8> {
    let from = chance.byte() % 6;
    let to = chance.pick(&[station(0).0, station(1).0, station(2).0, station(7).0, BROADCAST]);
    let mut frame = match chance.below(8) {
        0 => {
            let claimed = [10, 0, 0, if chance.once_in(3) { 9 } else { from }];
            arp(from, chance.byte() % 6, claimed)
        }
        1 | 2 => multicast(chance, from),
        3 if chance.once_in(2) => control(chance, from),
        _ => unicast(chance, from, to),
    };
    for _ in 0..chance.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 2]) {
        let kind = chance.pick(&[[0x81, 0], [0x81, 0], [0x88, 0xa8], [0x91, 0]]);
        let vlan = chance.pick(&[0_u16, 1, 1, 2, 3, 5, 9, 9, 4095]).to_be_bytes();
        let tag = [kind[0], kind[1], vlan[0] | chance.byte() & 0xe0, vlan[1]];
        frame.splice(12..12, tag);
    }
    damage(chance, &mut frame);
    frame
}

fn damage(chance: &mut Chance, frame: &mut Vec<u8>) {
    match chance.below(60) {
        0 => frame.truncate(chance.below(20)),
        1 => frame.resize(1600, 0),
        2 => frame[6] |= 1,
        3 => frame[6..12].fill(0),
        4 => frame.truncate(30),
        _ => {}
    }
}

/// A datagram of UDP from one station to another one.
pub(crate) fn datagram((from, to): (u8, u8), (source, destination): (u16, u16)) -> Vec<u8> {
    let content = ipv4([10, 0, 0, from], [10, 0, 0, to], 17, &ports(source, destination));
    ethernet(station(to).0, station(from).0, 0x800, &content)
}
