//! Both ends of a wire by AF_XDP, and a million frames by each way to a kernel that looks at their checksums.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use viaduct_switch::Claims;
use viaduct_switch::offload::sum;

use super::lab::{port, stay_on_one_processor, wait_until};
use super::pair::{Pair, frame};
use crate::device::{DeviceKind, Outgoing};
use crate::ring::Burst;

#[test]
fn frames_of_all_lengths_that_its_memory_holds_come_by_af_xdp_as_they_were_sent() {
    // The longest that AF_XDP takes.
    let (mut pair, mut burst) = (Pair::by(DeviceKind::AfXdp, 3818), Burst::new(port(0)));
    for len in (14..2300).chain((2300..3832).step_by(31)).chain([3831, 3832]) {
        let sent = frame(&[0x88, 0xb5], len);
        let (came, claims) = pair.carry(&[0; 12], &sent, &mut burst);
        assert!(came == sent, "{len} bytes");
        assert_eq!(claims, Claims::default());
    }
    // With tags, which are part of no MTU for AF_XDP.
    for tags in [&[0x81, 0, 0x6f, 0xff][..], &[0x88, 0xa8, 0x20, 7, 0x81, 0, 0, 9]] {
        for len in [60, 130, 1518, 3832 + tags.len()] {
            let sent = frame(&[tags, &[0x88, 0xb5]].concat(), len);
            if len <= 3832 {
                assert!(pair.carry(&[0; 12], &sent, &mut burst).0 == sent, "{tags:x?}, {len} bytes");
            }
        }
    }
    // What is longer than its memory is refused, and the others go.
    let (good, long) = (frame(&[0x88, 0xb5], 100), frame(&[0x88, 0xb5], 3900));
    let sent = pair.send(&[(&[0; 12], &good), (&[0; 12], &long), (&[0; 12], &good)]);
    assert_eq!((sent.done, sent.refused, sent.lost), (3, 2, 0));
    assert_eq!(pair.receive_all(2, 2, &mut burst).len(), 2);
}

#[test]
fn a_million_frames_come_in_order_by_af_xdp() {
    Pair::by(DeviceKind::AfXdp, 1500).carry_in_order(15_625);
}

/// The kernel's end of the wire.
const HOST: &str = "10.9.0.2:5000";

/// Datagrams of these lengths, numbered, with checksums in full; or with `partial`, the kernel has to finish them.
fn datagram(number: u64, len: usize, partial: bool) -> ([u8; 12], Vec<u8>) {
    let mut bytes = frame(&[8, 0], 42 + len);
    let word = |value: usize| u16::try_from(value).unwrap().to_be_bytes();
    bytes[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
    bytes[16..18].copy_from_slice(&word(28 + len));
    let header = !fold(sum(&bytes[14..34]));
    bytes[24..26].copy_from_slice(&header.to_be_bytes());
    bytes[34..42].copy_from_slice(&[0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0]);
    bytes[38..40].copy_from_slice(&word(8 + len));
    bytes[42..50].copy_from_slice(&number.to_be_bytes());
    let pseudo = sum(&bytes[26..34]) + 17 + 8 + len as u64;
    let (checksum, claims) = if partial {
        (fold(pseudo), [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0])
    } else {
        (!fold(sum(&bytes[34..]) + pseudo), [0; 12])
    };
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    bytes[40..42].copy_from_slice(&checksum.to_be_bytes());
    (claims, bytes)
}

fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// Takes the next datagrams, many at once, and gives the number and the length of each.
fn take(socket: &UdpSocket, room: &mut [u8]) -> Vec<(u64, usize)> {
    const EACH: usize = 2048;
    let mut vectors: Vec<libc::iovec> = room
        .chunks_mut(EACH)
        .map(|place| libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all-zero is a valid message.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (vector, 1);
            message
        })
        .collect();
    let count = u32::try_from(messages.len()).unwrap();
    // SAFETY: writes into the places named, which are `room`.
    let got = unsafe {
        let none = std::ptr::null_mut();
        libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, libc::MSG_DONTWAIT, none)
    };
    let taken = messages.iter().zip(room.chunks(EACH)).take(usize::try_from(got).unwrap_or(0));
    taken
        .map(|(message, bytes)| {
            let number = u64::from_be_bytes(*bytes.first_chunk().unwrap());
            (number, message.msg_len as usize)
        })
        .collect()
}

/// A million datagrams of all lengths to a kernel's socket, in bursts of 64: all come, in order, and no checksum is wrong.
fn a_million_to_a_kernel(kind: DeviceKind) {
    const BURSTS: u64 = 15_625;
    stay_on_one_processor();
    let mut pair = Pair::one_end(kind, 1500);
    // Else the kernel would take unfinished checksums for right ones, since they never leave the machine.
    pair.turn_off("left", "tx");
    pair.namespaces[1].ip("addr add 10.9.0.2/24 dev right");
    let socket = pair.namespaces[1].within(|| UdpSocket::bind(HOST).unwrap());
    pair.namespaces[1].ip("link set right address 02:00:00:00:00:01");
    let (mut outgoing, mut room, mut next) = (Outgoing::default(), vec![0; 64 * 2048], 0);
    let length = |number: u64| usize::try_from(8 + number * 7 % 1465).unwrap();
    for number in 0..BURSTS {
        outgoing.clear();
        for place in number * 64..number * 64 + 64 {
            let partial = kind == DeviceKind::AfPacket && place % 2 == 1;
            let (header, bytes) = datagram(place, if number % 16 == 0 { length(place) } else { 18 }, partial);
            assert!(outgoing.add(&header, &bytes, &[], u32::try_from(bytes.len()).unwrap()));
        }
        let sent = pair.ends[0].queues[0].exit.send(&outgoing).unwrap();
        assert_eq!((sent.done, sent.refused, sent.lost), (64, 0, 0));
        wait_until("all of a burst", || {
            for (got, len) in take(&socket, &mut room) {
                assert_eq!(got, next);
                assert_eq!(len, if number % 16 == 0 { length(next) } else { 18 });
                next += 1;
            }
            next == (number + 1) * 64
        });
    }
    assert_eq!(next, 1_000_000);
    let counters =
        pair.namespaces[1].within(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let udp: Vec<&str> = counters.lines().filter(|line| line.starts_with("Udp:")).collect();
    let of = |name: &str| -> u64 {
        let place = udp[0].split(' ').position(|column| column == name).unwrap();
        udp[1].split(' ').nth(place).unwrap().parse().unwrap()
    };
    assert_eq!((of("InDatagrams"), of("InCsumErrors"), of("InErrors")), (1_000_000, 0, 0));
}

#[test]
fn a_million_datagrams_by_a_packet_socket_have_checksums_that_a_kernel_finds_right() {
    a_million_to_a_kernel(DeviceKind::AfPacket);
}

#[test]
fn a_million_datagrams_by_af_xdp_have_checksums_that_a_kernel_finds_right() {
    a_million_to_a_kernel(DeviceKind::AfXdp);
}
