//! Two sockets at the ends of one wire, driven by hand: what goes in at one comes out at the other.

use std::process::Command;

use viaduct_switch::{Claims, DropReason, RawClaims};

use super::lab::{Namespace, port, stay_on_one_processor, wait_until};
use crate::device::{Device, DeviceKind, DeviceRequest, Outgoing, Sent, open};
use crate::ring::Burst;

/// A wire from `left` to `right`, each in a namespace of its own.
pub(super) struct Pair {
    pub(super) namespaces: [Namespace; 2],
    pub(super) ends: Vec<Device>,
}

impl Pair {
    pub(super) fn new(mtu: u32) -> Self {
        Self::by(DeviceKind::AfPacket, mtu)
    }

    /// With such a device at both ends.
    pub(super) fn by(kind: DeviceKind, mtu: u32) -> Self {
        Self::with(kind, mtu, &["left", "right"])
    }

    /// With a device at the left end, and the kernel at the other one.
    pub(super) fn one_end(kind: DeviceKind, mtu: u32) -> Self {
        Self::with(kind, mtu, &["left"])
    }

    fn with(kind: DeviceKind, mtu: u32, names: &[&str]) -> Self {
        let namespaces = [Namespace::new(), Namespace::new()];
        let there = namespaces[1].path();
        let peer = format!("peer name right mtu {mtu} netns {}", there.display());
        namespaces[0].ip(&format!("link add name left mtu {mtu} type veth {peer}"));
        namespaces[0].ip("link set left up");
        namespaces[1].ip("link set right up");
        let end = |(name, namespace): (&&str, &Namespace)| {
            let (interface, namespace) = ((*name).to_owned(), Some(namespace.path()));
            let request = DeviceRequest { kind, interface, namespace, queues: None, gro: true, mtu: None };
            open(&request).unwrap()
        };
        let ends = names.iter().zip(&namespaces).map(end).collect();
        Self { namespaces, ends }
    }

    /// Turns a feature of an end's interface off (ethtool(8)), if it has it.
    pub(super) fn turn_off(&self, end: &str, feature: &str) {
        self.namespaces[usize::from(end == "right")].within(|| {
            let output = Command::new("ethtool").args(["-K", end, feature, "off"]).output();
            output.expect("ethtool is missing: scripts/setup installs it");
        });
    }

    pub(super) fn send(&mut self, frames: &[(&[u8; 12], &[u8])]) -> Sent {
        let mut outgoing = Outgoing::default();
        for (header, bytes) in frames {
            assert!(outgoing.add(header, bytes, &[], u32::try_from(bytes.len()).unwrap()));
        }
        self.ends[0].queues[0].exit.send(&outgoing).unwrap()
    }

    /// The next frames, with their claims.
    fn receive(&mut self, burst: &mut Burst) -> Vec<(Vec<u8>, Claims)> {
        let intake = &mut self.ends[1].queues[0].intake;
        wait_until("a frame comes", || intake.read(port(0), burst).unwrap() > 0);
        let (frames, segments) = burst.frames();
        let frames = frames.iter().map(|frame| {
            let mut bytes = frame.head.bytes().to_vec();
            let span = frame.payload;
            for segment in segments.get(span.first as usize, span.count as usize) {
                // SAFETY: the burst is not completed yet.
                bytes.extend(unsafe { std::slice::from_raw_parts(segment.host, segment.len as usize) });
            }
            assert_eq!(bytes.len(), frame.meta.length as usize);
            (bytes, frame.meta.claims)
        });
        let frames = frames.collect();
        intake.complete();
        frames
    }

    /// The next frames, which come in bursts of at most `most`.
    pub(super) fn receive_all(
        &mut self,
        count: usize,
        most: usize,
        burst: &mut Burst,
    ) -> Vec<(Vec<u8>, Claims)> {
        let mut all = Vec::new();
        while all.len() < count {
            let some = self.receive(burst);
            assert!(some.len() <= most, "{} in a burst", some.len());
            all.extend(some);
        }
        assert_eq!(all.len(), count);
        all
    }

    /// Sends bursts of 64 numbered frames, each when the one before has come whole and in order.
    pub(super) fn carry_in_order(&mut self, bursts: u64) {
        stay_on_one_processor();
        let mut burst = Burst::new(port(0));
        let mut frames = vec![frame(&[0x88, 0xb5], 60); 64];
        let mut next = 0_u64;
        for number in 0..bursts {
            for (place, frame) in (0..).zip(&mut frames) {
                frame[14..22].copy_from_slice(&(number * 64 + place).to_be_bytes());
            }
            let burst_of: Vec<(&[u8; 12], &[u8])> =
                frames.iter().map(|frame| (&[0; 12], &frame[..])).collect();
            assert_eq!(self.send(&burst_of), Sent { done: 64, refused: 0, lost: 0 });
            while next < (number + 1) * 64 {
                for (came, _) in self.receive(&mut burst) {
                    assert_eq!((&came[14..22], came.len()), (&next.to_be_bytes()[..], 60));
                    next += 1;
                }
            }
        }
        assert_eq!(next, bursts * 64);
    }

    /// Sends one frame, and gives it as it came.
    pub(super) fn carry(&mut self, header: &[u8; 12], bytes: &[u8], burst: &mut Burst) -> (Vec<u8>, Claims) {
        assert_eq!(self.send(&[(header, bytes)]), Sent { done: 1, refused: 0, lost: 0 }, "{}", bytes.len());
        let mut frames = self.receive(burst);
        assert_eq!(frames.len(), 1);
        frames.remove(0)
    }
}

/// A frame of this length with these bytes behind its addresses.
pub(super) fn frame(behind: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(behind);
    let start = bytes.len();
    bytes.extend((start..len.max(start)).map(|at| u8::try_from((at * 31 + at / 256) % 251).unwrap()));
    bytes.truncate(len);
    bytes
}

/// TCP over IPv4 in a frame of `len` bytes, with a tag if there is one; and the header that asks for its segmentation.
fn super_frame(tag: &[u8], len: usize, size: u16) -> ([u8; 12], Vec<u8>) {
    let at = 14 + tag.len();
    let mut bytes = frame(&[tag, &[8, 0]].concat(), len);
    let total = u16::try_from(len - at).unwrap_or(u16::MAX).to_be_bytes();
    let ip = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    bytes[at..at + 20].copy_from_slice(&ip);
    bytes[at + 20 + 12] = 5 << 4;
    let start = u16::try_from(at + 20).unwrap().to_le_bytes();
    let (hdr_len, size) = (u16::try_from(at + 40).unwrap().to_le_bytes(), size.to_le_bytes());
    let header = [1, 1, hdr_len[0], hdr_len[1], size[0], size[1], start[0], start[1], 16, 0, 0, 0];
    (header, bytes)
}

#[test]
fn frames_of_all_lengths_come_as_they_were_sent() {
    let (mut pair, mut burst) = (Pair::new(9000), Burst::new(port(0)));
    for len in (14..2300).chain((2300..9014).step_by(101)).chain([9013, 9014]) {
        let sent = frame(&[0x88, 0xb5], len);
        let (came, claims) = pair.carry(&[0; 12], &sent, &mut burst);
        assert!(came == sent, "{len} bytes");
        assert_eq!(claims, Claims::default());
    }
}

#[test]
fn super_frames_of_all_lengths_come_whole_with_what_is_left_to_be_done() {
    let (mut pair, mut burst) = (Pair::new(1500), Burst::new(port(0)));
    // From 65536 bytes on the kernel cuts them (netdev's gso_max_size).
    for len in (1600..65_536).step_by(61).chain([2000, 2048, 2112, 65_535]) {
        let (header, sent) = super_frame(&[], len, 1448);
        let (came, claims) = pair.carry(&header, &sent, &mut burst);
        assert!(came == sent, "{len} bytes");
        let raw =
            RawClaims { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1448, csum_start: 34, csum_offset: 16 };
        assert_eq!(claims.to_raw(&came), raw, "{len} bytes");
    }
}

#[test]
fn tags_come_as_they_were_sent_also_two_of_them_and_before_super_frames() {
    let (mut pair, mut burst) = (Pair::new(1500), Burst::new(port(0)));
    let one: &[u8] = &[0x81, 0, 0x6f, 0xff];
    let service: &[u8] = &[0x88, 0xa8, 0, 7];
    let two: &[u8] = &[0x88, 0xa8, 0x20, 7, 0x81, 0, 0, 9];
    for tags in [one, service, two] {
        // A customer's tag is no part of the MTU, a service tag is, and so is a second one.
        let spare = if tags == one { 4 } else { 0 };
        for len in [60, 130, 1000, 1500 + 14 + spare] {
            let sent = frame(&[tags, &[0x88, 0xb5]].concat(), len);
            assert!(pair.carry(&[0; 12], &sent, &mut burst).0 == sent, "{tags:x?}, {len} bytes");
        }
        let (header, sent) = super_frame(tags, 30_000, 1448);
        let (came, claims) = pair.carry(&header, &sent, &mut burst);
        assert!(came == sent, "{tags:x?}");
        assert_eq!(usize::from(claims.checksum.unwrap().start), 34 + tags.len());
        assert_eq!(claims.gso.unwrap().size, 1448);
    }
}

#[test]
fn a_burst_has_its_bounds_and_goes_out_with_what_the_kernel_refuses_left_out() {
    let (mut pair, mut burst) = (Pair::new(1500), Burst::new(port(0)));
    let (good, long) = (frame(&[0x88, 0xb5], 100), frame(&[0x88, 0xb5], 4000));
    let mut frames: Vec<(&[u8; 12], &[u8])> = vec![(&[0; 12], &good); 64];
    frames[0].1 = &long;
    frames[40].1 = &long;
    frames[63].1 = &long;
    assert_eq!(pair.send(&frames), Sent { done: 64, refused: 1 | 1 << 40 | 1 << 63, lost: 0 });
    assert_eq!(pair.receive_all(61, 64, &mut burst).len(), 61);
    for _ in 0..2 {
        pair.send(&vec![(&[0; 12], &good[..]); 64]);
    }
    pair.receive_all(128, 64, &mut burst);
    let (header, sent) = super_frame(&[], 60_000, 1448);
    for _ in 0..3 {
        pair.send(&[(&header, &sent[..]); 3]);
    }
    // The third one is where the burst's bytes are enough.
    let came = pair.receive_all(9, 3, &mut burst);
    assert!(came.iter().all(|(bytes, _)| *bytes == sent));
}

#[test]
fn what_came_too_fast_is_counted() {
    let (mut pair, mut burst) = (Pair::new(1500), Burst::new(port(0)));
    let good = frame(&[0x88, 0xb5], 60);
    let (mut sent, mut came, mut lost) = (0, 0, 0);
    for _ in 0..200 {
        sent += pair.send(&vec![(&[0; 12], &good[..]); 64]).done as u64;
    }
    let mut count = |pair: &mut Pair| {
        let intake = &mut pair.ends[1].queues[0].intake;
        while intake.read(port(0), &mut burst).unwrap() > 0 {
            came += burst.frames().0.len() as u64;
            lost += burst.dropped.iter().find(|(row, _)| *row == DropReason::DeviceOverrun).unwrap().1;
            intake.complete();
        }
        intake.arm().unwrap()
    };
    while count(&mut pair) {}
    // The wire may have lost some, too, if the processor was wanted elsewhere.
    assert!(came + lost <= sent, "{came} came, {lost} lost, of {sent}");
    assert!(lost > 0 && came > 1000, "{came} came, {lost} lost");
    pair.namespaces[1].ip("link set right down");
    assert!(pair.ends[1].queues[0].intake.arm().is_err(), "an interface that is down has no more frames");
}

#[test]
fn a_million_frames_come_in_order() {
    Pair::new(1500).carry_in_order(15_625);
}
