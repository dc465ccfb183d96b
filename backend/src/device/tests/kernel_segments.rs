//! Linux as the oracle: super-frames are cut by the kernel, for an interface that cannot, and by us. Both are the same,
//! byte for byte: lengths, identifications, sequence numbers, flags, checksums.

use viaduct_switch::offload::{Checksums, Segmenter, sum};
use viaduct_switch::{Claims, DropReason, RawClaims};

use super::lab::port;
use super::pair::Pair;
use crate::ring::Burst;

/// A super-frame of TCP or of many datagrams.
#[derive(Clone, Copy, Debug)]
struct Shape {
    v6: bool,
    udp: bool,
    tags: usize,
    /// Words of TCP options.
    options: usize,
    payload: usize,
    size: u16,
    flags: u8,
}

const CWR: u8 = 0x80;
const PLAIN: Shape =
    Shape { v6: false, udp: false, tags: 0, options: 3, payload: 10_000, size: 1400, flags: 0x18 };

impl Shape {
    /// The frame, its checksum field holding the pseudo-header's sum, and what is claimed of it.
    fn build(&self) -> (Vec<u8>, RawClaims) {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in 0..self.tags {
            let outer = tag + 1 < self.tags;
            frame.extend(if outer { [0x88, 0xa8, 0, 7] } else { [0x81, 0, 0x60, 9] });
        }
        let network = frame.len() + 2;
        let header = if self.udp { 8 } else { 20 + 4 * self.options };
        let length = u16::try_from(header + self.payload).unwrap();
        let protocol = if self.udp { 17 } else { 6 };
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 1]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend((0..32).map(|at| 0xfd ^ at));
        } else {
            frame.extend([8, 0, 0x45, 2]);
            frame.extend((20 + length).to_be_bytes());
            // It wraps.
            frame.extend([0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            let checksum = !fold(sum(&frame[network..]));
            frame[network + 10..network + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        let addresses = if self.v6 { network + 8..network + 40 } else { network + 12..network + 20 };
        let pseudo = fold(sum(&frame[addresses]) + u64::from(protocol) + u64::from(length));
        let start = frame.len();
        frame.extend([0x9c, 0x40, 0x13, 0x89]);
        if self.udp {
            frame.extend(length.to_be_bytes());
            frame.extend(pseudo.to_be_bytes());
        } else {
            frame.extend([0xff, 0xff, 0xf0, 0, 0, 0, 0, 9, u8::try_from(5 + self.options).unwrap() << 4]);
            frame.extend([self.flags, 1, 0]);
            frame.extend(pseudo.to_be_bytes());
            frame.extend([0, 0]);
            frame.extend(vec![1; 4 * self.options]);
        }
        let headers = frame.len();
        frame.extend((0..self.payload).map(|at| u8::try_from((at * 7 + at / 256) % 251).unwrap()));
        let kind = if self.udp {
            5
        } else if self.v6 {
            4
        } else {
            1
        };
        let ecn = if !self.udp && self.flags & CWR != 0 { CWR } else { 0 };
        let number = |value: usize| u16::try_from(value).unwrap();
        let raw = RawClaims {
            flags: 1,
            gso_type: kind | ecn,
            hdr_len: number(headers),
            gso_size: self.size,
            csum_start: number(start),
            csum_offset: if self.udp { 6 } else { 16 },
        };
        (frame, raw)
    }
}

fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// What we make of it.
fn cut(frame: &[u8], claims: &Claims) -> Vec<Vec<u8>> {
    let mut segmenter = Segmenter::new(frame, claims, Checksums::Finished, 0).unwrap();
    let mut buffer = vec![0; segmenter.segment_length_max()];
    let next = || segmenter.next_into(&mut buffer).unwrap().map(|next| buffer[..next.length].to_vec());
    std::iter::from_fn(next).collect()
}

/// What the kernel makes of it.
fn cut_by_kernel(pair: &mut Pair, frame: &[u8], raw: RawClaims, count: usize) -> Vec<Vec<u8>> {
    let mut header = [0; 12];
    (header[0], header[1]) = (raw.flags, raw.gso_type);
    for (at, word) in [raw.hdr_len, raw.gso_size, raw.csum_start, raw.csum_offset].into_iter().enumerate() {
        header[2 + 2 * at..4 + 2 * at].copy_from_slice(&word.to_le_bytes());
    }
    assert_eq!(pair.send(&[(&header, frame)]).refused, 0, "{raw:?}");
    let mut burst = Burst::new(port(0));
    let came = pair.receive_all(count, 64, &mut burst);
    assert_eq!(burst.dropped.iter().find(|(row, _)| *row == DropReason::BadOffload).unwrap().1, 0);
    came.into_iter().map(|(bytes, _)| bytes).collect()
}

#[test]
fn linux_cuts_super_frames_into_the_very_same_segments() {
    let mut pair = Pair::new(1500);
    // An interface without offloads: the kernel does all of it, also behind tags.
    for feature in ["tx", "tso", "tx-udp-segmentation", "tx-checksum-ip-generic"] {
        pair.turn_off("left", feature);
    }
    let mut shapes = Vec::new();
    for (v6, udp, tags) in (0..12).map(|number| (number % 2 == 1, number / 2 % 2 == 1, number / 4)) {
        // In whole segments, with a short last one, with one odd byte, of odd length.
        for (payload, size) in [(14_000, 1400), (10_000, 1399), (2801, 1400), (60_001, 1401)] {
            shapes.push(Shape { v6, udp, tags, payload, size, ..PLAIN });
        }
        for flags in [0x10, 0x11, 0x19, CWR | 0x18, CWR | 0x40 | 0x11, 0x50] {
            shapes.push(Shape { v6, udp: false, tags, flags, options: usize::from(flags % 7), ..PLAIN });
        }
    }
    for shape in shapes {
        let (frame, raw) = shape.build();
        let claims = raw.check(u32::try_from(frame.len()).unwrap()).unwrap();
        let ours = cut(&frame, &claims);
        let theirs = cut_by_kernel(&mut pair, &frame, raw, ours.len());
        for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let other = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
            assert_eq!((ours.len(), other), (theirs.len(), None), "segment {number} of {shape:?}");
        }
    }
}
