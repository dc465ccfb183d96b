use super::super::{Checksums, Segmenter};
use super::*;
use crate::frame::TakenTag;
use crate::ids::{NetworkIndex, PortIndex};
use crate::vlan::Priority;

mod identification;
mod properties;

const ALL: Capabilities =
    Capabilities { checksum: true, tso4: true, tso6: true, ecn: true, ufo: true, uso4: true, uso6: true };

/// A stream that is cut into segments, as a sender with a network adapter would.
#[derive(Clone, Debug)]
struct Stream {
    v6: bool,
    udp: bool,
    tags: usize,
    port: u8,
    station: u8,
    options: usize,
    payload: usize,
    size: u16,
    flags: u8,
    sequence: u32,
    id: u16,
    numbering: Numbering,
}

/// What a sender does to the identifications of IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Numbering {
    /// DF is set, and they count up.
    Counted,
    /// DF is set, and they are all the same.
    Constant,
    /// The packets may be fragmented, and they count up.
    Fragmentable,
    /// The packets may be fragmented, and they are all the same: nobody may send them so.
    Wrong,
}

impl Numbering {
    fn flags(self) -> u8 {
        if matches!(self, Self::Counted | Self::Constant) { DONT_FRAGMENT } else { 0 }
    }

    fn is_constant(self) -> bool {
        matches!(self, Self::Constant | Self::Wrong)
    }
}

const STREAM: Stream = Stream {
    v6: false,
    udp: false,
    tags: 0,
    port: 1,
    station: 2,
    options: 3,
    payload: 10_000,
    size: 1448,
    flags: FLAG_ACK | FLAG_PSH,
    sequence: 0xffff_f000,
    id: 0xfffd,
    numbering: Numbering::Counted,
};

impl Stream {
    /// The frame before it is cut, and what is claimed of it.
    fn whole(&self) -> (Vec<u8>, Claims) {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, self.station];
        (0..self.tags).for_each(|tag| frame.extend([0x81, 0, 0, u8::try_from(tag).unwrap()]));
        let network = frame.len() + 2;
        let header = if self.udp { 8 } else { 20 + 4 * self.options };
        let length = u16::try_from(header + self.payload).unwrap();
        let protocol = if self.udp { protocol::UDP } else { protocol::TCP };
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([7; 16]);
            frame.extend([9; 16]);
        } else {
            frame.extend([0x08, 0x00, 0x45, 2]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend(self.id.to_be_bytes());
            frame.extend([self.numbering.flags(), 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        let transport = frame.len();
        if !self.v6 {
            let total = sum(&frame[network..]);
            put_u16(&mut frame, network + 10, !fold(total));
        }
        frame.extend([1, self.port, 0, 80]);
        if self.udp {
            frame.extend(length.to_be_bytes());
            frame.extend([0, 0]);
        } else {
            frame.extend(self.sequence.to_be_bytes());
            let offset = u8::try_from(5 + self.options).unwrap() << 4;
            frame.extend([0, 0, 0, 9, offset, self.flags, 1, 0, 0, 0, 0, 0]);
            frame.extend(vec![1; 4 * self.options]);
        }
        frame.extend((0..self.payload).map(|at| u8::try_from((at * 7 + at / 256) % 251).unwrap()));
        let offset = if self.udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
        let version = if self.v6 { Version::V6 } else { Version::V4 };
        let pseudo = fold(pseudo(&frame, version, network, protocol, usize::from(length)));
        put_u16(&mut frame, transport + usize::from(offset), pseudo);
        let kind = match (self.udp, self.v6) {
            (true, _) => GsoKind::Udp,
            (false, true) => GsoKind::Tcp6,
            (false, false) => GsoKind::Tcp4,
        };
        let checksum = Some(PartialChecksum { start: u16::try_from(transport).unwrap(), offset });
        let ecn = self.flags & FLAG_CWR != 0 && !self.udp;
        (frame, Claims { checksum, gso: Some(Gso { kind, size: self.size, ecn }) })
    }

    fn segments(&self) -> Vec<Vec<u8>> {
        let (frame, claims) = self.whole();
        let mut segments = segments(&frame, &claims);
        if self.numbering.is_constant() && !self.v6 {
            segments.iter_mut().for_each(|segment| put_id(segment, self.id));
        }
        segments
    }
}

/// Gives an IPv4 packet this identification, and its header the checksum of that.
fn put_id(frame: &mut [u8], id: u16) {
    let (_, network) = version(frame).unwrap();
    put_u16(frame, network + 4, id);
    put_u16(frame, network + 10, 0);
    let total = sum(&frame[network..network + IPV4_HEADER]);
    put_u16(frame, network + 10, !fold(total));
}

/// What cutting gives for frames that were merged: themselves, but for identifications that nobody may look at and that
/// were all the same (RFC 6864, 4.1).
fn as_cut_again(mut members: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let (version, network) = version(&members[0]).unwrap();
    let id = |frame: &[u8]| get_u16(frame, network + 4);
    let first = id(&members[0]);
    if version == Version::V4 && id(&members[1]) == first {
        for (member, number) in members.iter_mut().zip(0..) {
            assert_eq!((id(member), member[network + 6]), (first, DONT_FRAGMENT), "no atomic datagram");
            put_id(member, first.wrapping_add(number));
        }
    }
    members
}

fn segments(frame: &[u8], claims: &Claims) -> Vec<Vec<u8>> {
    let mut segmenter = Segmenter::new(frame, claims, Checksums::Finished, 0).unwrap();
    let mut buffer = vec![0; segmenter.segment_length_max()];
    std::iter::from_fn(|| {
        segmenter.next_into(&mut buffer).unwrap().map(|next| buffer[..next.length].to_vec())
    })
    .collect()
}

fn merge(frames: &[Vec<u8>], capabilities: Capabilities) -> Vec<SuperFrame> {
    merge_claimed(frames, &vec![Claims::default(); frames.len()], capabilities, false)
}

/// Merges frames of which something is left to be done, or whose sums of what is behind their heads are not asked for.
fn merge_claimed(
    frames: &[Vec<u8>],
    claims: &[Claims],
    capabilities: Capabilities,
    vouched: bool,
) -> Vec<SuperFrame> {
    let source = PortIndex::new(3).unwrap();
    let metas: Vec<_> = frames
        .iter()
        .zip(claims)
        .map(|(frame, claims)| Metadata::new(source, u32::try_from(frame.len()).unwrap(), *claims))
        .collect();
    merge_known(frames, &metas, capabilities, vouched)
}

fn merge_known(
    frames: &[Vec<u8>],
    metas: &[Metadata],
    capabilities: Capabilities,
    vouched: bool,
) -> Vec<SuperFrame> {
    let head = |frame: &'_ [u8]| frame.len().min(HEAD_MAX);
    let members = frames.iter().zip(metas).zip(0..).map(|((frame, meta), place)| Member {
        place,
        head: &frame[..head(frame)],
        meta,
    });
    let behind = |place: u8| {
        let frame = &frames[usize::from(place)];
        if vouched { Behind::Vouched } else { Behind::Sum(sum(&frame[head(frame)..])) }
    };
    let nobody = Member {
        place: 0,
        head: &[],
        meta: &Metadata::new(PortIndex::new(0).unwrap(), 0, Claims::default()),
    };
    let mut merged = vec![SuperFrame::single(&nobody, None)];
    coalesce(members, capabilities, behind, &mut merged);
    merged
}

/// The bytes of a super-frame.
fn assemble(whole: &SuperFrame, frames: &[Vec<u8>]) -> Vec<u8> {
    let member = |place: &u8| &frames[usize::from(*place)];
    let mut bytes = member(whole.members.first().unwrap()).clone();
    whole.patch_headers(&mut bytes, member(whole.members.last().unwrap()));
    whole.members.iter().skip(1).for_each(|place| bytes.extend(&member(place)[whole.headers..]));
    bytes
}

/// The places of the frames of each super-frame.
fn places(merged: &[SuperFrame]) -> Vec<Vec<u8>> {
    merged.iter().map(|whole| whole.members.to_vec()).collect()
}

/// No station's frames go in another order than that in which they came.
fn check_order(frames: &[Vec<u8>], merged: &[SuperFrame]) {
    let mut last = std::collections::BTreeMap::new();
    for place in merged.iter().flat_map(|whole| &whole.members) {
        let sender = frames[usize::from(*place)].get(SENDER);
        let before = last.insert(sender, *place);
        assert!(before.is_none_or(|before| before < *place), "{:?}", places(merged));
    }
}

/// Cutting each super-frame again gives its frames or their equals, and each frame is in one of them.
fn check_inverse(frames: &[Vec<u8>], merged: &[SuperFrame]) {
    let mut all: Vec<u8> = merged.iter().flat_map(|whole| whole.members.to_vec()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..u8::try_from(frames.len()).unwrap()).collect::<Vec<_>>());
    check_order(frames, merged);
    for whole in merged {
        let members: Vec<_> = whole.members.iter().map(|place| frames[usize::from(*place)].clone()).collect();
        let bytes = assemble(whole, frames);
        assert_eq!(bytes.len(), whole.length);
        if members.len() == 1 {
            assert_eq!((&bytes, whole.claims), (&members[0], Claims::default()));
            continue;
        }
        let raw = whole.claims.to_raw(&bytes);
        assert_eq!(raw.check(u32::try_from(bytes.len()).unwrap()), Ok(whole.claims));
        assert!(segments(&bytes, &whole.claims) == as_cut_again(members), "{:?}", whole.members);
    }
}

#[test]
fn a_stream_that_was_cut_becomes_what_it_was() {
    for v6 in [false, true] {
        for (udp, tags, flags) in
            [(false, 0, 0x18), (false, 2, 0x11), (true, 1, 0), (false, 0, FLAG_CWR | 0x10), (false, 1, 0x50)]
        {
            let stream = Stream { v6, udp, tags, flags, ..STREAM };
            let frames = stream.segments();
            let merged = merge(&frames, ALL);
            assert_eq!(merged.len(), 1, "{stream:?}");
            let (whole, claims) = stream.whole();
            assert_eq!(merged[0].claims, claims);
            assert!(assemble(&merged[0], &frames) == whole, "{stream:?}");
            check_inverse(&frames, &merged);
        }
    }
}

#[test]
fn nothing_is_merged_that_the_receiver_does_not_take() {
    let missing = [
        (Capabilities { checksum: false, ..ALL }, STREAM),
        (Capabilities { tso4: false, ..ALL }, STREAM),
        (Capabilities { tso6: false, ..ALL }, Stream { v6: true, ..STREAM }),
        (Capabilities { uso4: false, ..ALL }, Stream { udp: true, ..STREAM }),
        (Capabilities { uso6: false, ..ALL }, Stream { udp: true, v6: true, ..STREAM }),
    ];
    for (capabilities, stream) in missing {
        let frames = stream.segments();
        assert_eq!(merge(&frames, capabilities).len(), frames.len());
        assert_eq!(merge(&frames, ALL).len(), 1);
    }
    // Without ECN the first one, which has CWR, stands alone.
    let frames = Stream { flags: FLAG_CWR | FLAG_ACK, ..STREAM }.segments();
    assert_eq!(places(&merge(&frames, Capabilities { ecn: false, ..ALL })), [vec![0], (1..7).collect()]);
}

#[test]
fn a_byte_of_a_header_that_differs_keeps_frames_apart() {
    for stream in [STREAM, Stream { v6: true, ..STREAM }, Stream { udp: true, ..STREAM }] {
        let frames = stream.segments();
        let headers = merge(&frames, ALL)[0].headers;
        for at in 0..headers {
            let mut frames = frames.clone();
            frames[1][at] ^= 4;
            let merged = merge(&frames, ALL);
            assert!(merged.len() > 1, "byte {at} of {stream:?}");
            check_inverse(&frames, &merged);
        }
        // A byte of the payload makes the checksum wrong.
        let mut frames = frames.clone();
        frames[1][headers + 700] ^= 1;
        assert_eq!(merge(&frames, ALL)[1].members.as_slice(), [1]);
    }
}

#[test]
fn headers_that_differ_with_right_checksums_keep_frames_apart_too() {
    let changes: [fn(&mut Stream); 6] = [
        |next| next.flags |= FLAG_CWR,
        |next| next.flags |= 0x20,
        |next| next.flags |= 4,
        |next| next.sequence = next.sequence.wrapping_add(1),
        |next| next.id = next.id.wrapping_add(1),
        |next| next.options += 1,
    ];
    let alone = Stream { payload: 1000, size: 1000, flags: FLAG_ACK, ..STREAM };
    let next = Stream { sequence: alone.sequence.wrapping_add(1000), id: alone.id.wrapping_add(1), ..alone };
    let frame = |stream: &Stream| stream.segments().remove(0);
    assert_eq!(merge(&[frame(&alone), frame(&next)], ALL).len(), 1);
    for (number, change) in changes.into_iter().enumerate() {
        let mut next = next.clone();
        change(&mut next);
        assert_eq!(merge(&[frame(&alone), frame(&next)], ALL).len(), 2, "change {number}");
    }
    for flags in [FLAG_ACK | FLAG_PSH, FLAG_ACK | FLAG_FIN, FLAG_ACK | 2, 0] {
        let first = Stream { flags, ..alone.clone() };
        assert_eq!(merge(&[frame(&first), frame(&next)], ALL).len(), 2, "the first has {flags:#x}");
    }
    // One that is longer than the first begins anew; one that is shorter is the last.
    let sized = |payload: usize, sequence: u32, id: u16| {
        frame(&Stream { payload, size: 1400, sequence, id, flags: FLAG_ACK, ..STREAM })
    };
    let lengths = [sized(1000, 0, 0), sized(1001, 1000, 1), sized(500, 2001, 2), sized(500, 2501, 3)];
    assert_eq!(places(&merge(&lengths, ALL)), [vec![0], vec![1, 2], vec![3]]);
}

#[test]
fn padding_and_empty_segments_are_left_alone() {
    let mut frames = STREAM.segments();
    frames[1].push(0);
    assert_eq!(places(&merge(&frames, ALL)), [vec![0], vec![1], (2..7).collect()]);
    let empty = Stream { payload: 0, flags: FLAG_ACK, ..STREAM }.segments();
    assert_eq!(merge(&[empty[0].clone(), empty[0].clone()], ALL).len(), 2);
    let checksum_less = |number: u8| {
        let mut frame =
            Stream { udp: true, payload: 500, id: u16::from(number), ..STREAM }.segments().remove(0);
        frame[40..42].fill(0);
        frame
    };
    assert_eq!(
        merge(&[checksum_less(0), checksum_less(1)], ALL).len(),
        2,
        "no checksum is none that is right"
    );
}

#[test]
fn stations_are_collected_side_by_side_and_none_overtakes_itself() {
    let flow = |station, port| Stream { station, port, payload: 4344, ..STREAM }.segments();
    let mix = |one: &[Vec<u8>], other: &[Vec<u8>]| {
        [&one[0], &other[0], &one[1], &other[1], &one[2], &other[2]].map(Clone::clone)
    };
    let (one, other) = (flow(2, 1), flow(9, 1));
    assert_eq!(places(&merge(&mix(&one, &other), ALL)), [[0, 2, 4], [1, 3, 5]]);
    // Two flows of one station stay in the order in which it sent their frames.
    assert_eq!(merge(&mix(&one, &flow(2, 2)), ALL).len(), 6);
    // So does whatever else it sent between them: a fragment, an acknowledgement of this flow or of another one.
    let mut fragment = one[0].clone();
    fragment[20] = 0x20;
    let ack =
        |station, port| Stream { station, port, payload: 0, flags: FLAG_ACK, ..STREAM }.segments().remove(0);
    let mut foreign = fragment.clone();
    foreign[11] = 9;
    for (between, expected) in [
        (fragment, vec![vec![0], vec![1], vec![2, 3]]),
        (ack(2, 1), vec![vec![0], vec![1], vec![2, 3]]),
        (ack(2, 2), vec![vec![0], vec![1], vec![2, 3]]),
        (ack(9, 1), vec![vec![0, 2, 3], vec![1]]),
        (foreign, vec![vec![0, 2, 3], vec![1]]),
        (vec![0xff; 60], vec![vec![0, 2, 3], vec![1]]),
        (one[0][..30].to_vec(), vec![vec![0], vec![1], vec![2, 3]]),
        (vec![7; 11], vec![vec![0], vec![1], vec![2, 3]]),
    ] {
        let frames = [one[0].clone(), between, one[1].clone(), one[2].clone()];
        assert_eq!(places(&merge(&frames, ALL)), expected);
    }
}

#[test]
fn what_the_kernel_vouches_for_and_unfinished_checksums_are_merged_too() {
    for (v6, udp) in [(false, false), (true, false), (false, true)] {
        let stream = Stream { v6, udp, ..STREAM };
        let (whole, claims) = stream.whole();
        let mut segmenter = Segmenter::new(&whole, &claims, Checksums::Partial, 0).unwrap();
        let mut buffer = vec![0; 2000];
        let mut frames = Vec::new();
        while let Some(next) = segmenter.next_into(&mut buffer).unwrap() {
            frames.push(buffer[..next.length].to_vec());
        }
        let unfinished = Claims { gso: None, ..claims };
        let all = vec![unfinished; frames.len()];
        let merged = merge_claimed(&frames, &all, ALL, false);
        assert_eq!((merged.len(), merged[0].claims), (1, claims), "{stream:?}");
        assert!(assemble(&merged[0], &frames) == whole);
        // Not with one that is finished, nor one whose pseudo-header's sum is wrong.
        let mut mixed = all.clone();
        mixed[2] = Claims::default();
        assert_eq!(merge_claimed(&frames, &mixed, ALL, true)[0].members.as_slice(), [0, 1]);
        let mut wrong = frames.clone();
        let at = usize::from(claims.checksum.unwrap().start + claims.checksum.unwrap().offset);
        wrong[2][at] ^= 1;
        assert_eq!(merge_claimed(&wrong, &all, ALL, true)[0].members.as_slice(), [0, 1]);
        // A checksum that is vouched for is not looked at, those of IP are.
        let finished = stream.segments();
        let mut spoiled = finished.clone();
        spoiled[1].last_mut().into_iter().for_each(|byte| *byte ^= 1);
        let none = vec![Claims::default(); frames.len()];
        assert_eq!(merge_claimed(&spoiled, &none, ALL, true).len(), 1);
        assert!(merge_claimed(&spoiled, &none, ALL, false).len() > 1);
        if !v6 {
            spoiled[1][24] ^= 1;
            assert!(merge_claimed(&spoiled, &none, ALL, true).len() > 1);
        }
    }
}

#[test]
fn frames_of_other_networks_priorities_or_ports_stay_apart() {
    let frames = Stream { payload: 2896, ..STREAM }.segments();
    let meta = |tag: Option<(u16, u8)>, source| Metadata {
        tag: tag.map(|(network, priority)| TakenTag {
            network: NetworkIndex::new(network.into()).unwrap(),
            priority: Priority::new(priority),
        }),
        ..Metadata::new(
            PortIndex::new(source).unwrap(),
            u32::try_from(frames[0].len()).unwrap(),
            Claims::default(),
        )
    };
    let merged = |one, other| merge_known(&frames, &[one, other], ALL, false).len();
    assert_eq!(merged(meta(Some((5, 3)), 1), meta(Some((5, 3)), 1)), 1);
    let marks = [(Priority::new(3), 0), (None, 7)].map(|(priority, mark)| Metadata {
        marks: crate::frame::Marks { priority, mark },
        ..meta(Some((5, 3)), 1)
    });
    let others = [meta(Some((6, 3)), 1), meta(Some((5, 4)), 1), meta(None, 1), meta(Some((5, 3)), 2)];
    for other in others.into_iter().chain(marks) {
        assert_eq!(merged(meta(Some((5, 3)), 1), other), 2);
    }
    // A super-frame goes on as it came.
    let (whole, claims) = STREAM.whole();
    let merged = merge_claimed(&[whole.clone(), whole.clone()], &[claims; 2], ALL, true);
    assert_eq!((places(&merged), merged[0].claims), (vec![vec![0], vec![1]], claims));
    assert!(assemble(&merged[0], std::slice::from_ref(&whole)) == whole);
}

#[test]
fn what_is_collected_is_bounded() {
    // By the longest packet.
    let long = Stream { payload: 65_000, size: 1400, options: 0, flags: FLAG_ACK, ..STREAM };
    let mut frames = long.segments();
    let next = Stream {
        payload: 1400,
        sequence: long.sequence.wrapping_add(65_000),
        id: long.id.wrapping_add(47),
        ..long.clone()
    };
    let full = Stream { payload: 64_400, ..long.clone() }.segments();
    assert_eq!((frames.len(), full.len()), (47, 46));
    frames.extend(next.segments());
    assert_eq!(merge(&frames, ALL).len(), 2);
    let mut frames = full;
    let at = |sequence, count| {
        let (sequence, id) = (long.sequence.wrapping_add(sequence), long.id.wrapping_add(count));
        Stream { payload: 1400, sequence, id, ..long.clone() }.segments().remove(0)
    };
    frames.extend([at(64_400, 46), at(65_800, 47)]);
    let merged = merge(&frames, ALL);
    assert_eq!(places(&merged), [(0..46).collect::<Vec<_>>(), vec![46, 47]]);
    check_inverse(&frames, &merged);
    // By the burst, and by the flows that are open.
    let many: Vec<_> = (0..70).map(|_| vec![0; 60]).collect();
    assert_eq!(merge(&many, ALL).len(), 64);
    let flow = |station| Stream { station, payload: 2896, ..STREAM }.segments();
    let firsts = (0..9).map(|station| flow(station).remove(0));
    let seconds = (0..9).map(|station| flow(station).remove(1));
    let merged = merge(&firsts.chain(seconds).collect::<Vec<_>>(), ALL);
    assert_eq!(merged.iter().filter(|whole| whole.members.len() == 2).count(), 8);
    assert_eq!(merged[0].members.as_slice(), [0], "the oldest made room");
}
