//! A burst of segments of one stream, as a device hands it over, and what generic receive offload makes of it.

use viaduct_switch::offload::{
    Behind, Capabilities, Checksums, Member, Segmenter, SuperFrame, coalesce, sum,
};
use viaduct_switch::{Claims, Gso, GsoKind, Metadata, PartialChecksum};

use super::support::{BURST, port};

/// Bytes of each segment behind its headers: Ethernet, IPv4, TCP with timestamps.
const PAYLOAD: u16 = 1448;
const HEADERS: usize = 14 + 20 + 32;
/// As many segments as one super-frame holds.
const IN_ONE: usize = 45;
/// How much of a frame a worker has in its private head.
const HEAD: usize = 128;

const TAKES_SUPER_FRAMES: Capabilities =
    Capabilities { checksum: true, tso4: true, tso6: true, ecn: true, ufo: false, uso4: false, uso6: false };

/// Frames, what is known of them, and room for what becomes of them.
pub(super) struct Stream {
    frames: Vec<Vec<u8>>,
    metas: Vec<Metadata>,
    wholes: Vec<SuperFrame>,
    is_vouched: bool,
}

impl Stream {
    /// Segments of which nothing is left to be done; `is_vouched` says whether the kernel vouches for their checksums.
    pub(super) fn of_tcp(is_vouched: bool) -> Self {
        let (whole, claims) = super_frame();
        let mut cut = Segmenter::new(&whole, &claims, Checksums::Finished, 0).unwrap();
        let mut buffer = vec![0; cut.segment_length_max()];
        let segments = std::iter::from_fn(|| cut.next_into(&mut buffer).unwrap().map(|_| buffer.clone()));
        let segments: Vec<_> = segments.collect();
        let again = segments.iter().take(usize::from(BURST) - IN_ONE);
        Self::new(segments.iter().chain(again).cloned().collect(), is_vouched)
    }

    /// Frames that are no IP at all.
    pub(super) fn of_others() -> Self {
        Self::new(vec![vec![0x5a; 60]; usize::from(BURST)], false)
    }

    fn new(frames: Vec<Vec<u8>>, is_vouched: bool) -> Self {
        let meta =
            |frame: &Vec<u8>| Metadata::new(port(1), u32::try_from(frame.len()).unwrap(), Claims::default());
        let metas = frames.iter().map(meta).collect();
        Self { frames, metas, wholes: Vec::with_capacity(usize::from(BURST)), is_vouched }
    }

    /// Merges what can be, with the headers of each super-frame; says how many frames go on.
    pub(super) fn merge(&mut self) -> usize {
        let Self { frames, metas, wholes, is_vouched } = self;
        let head = |place: u8| {
            let frame: &Vec<u8> = &frames[usize::from(place)];
            frame.split_at(frame.len().min(HEAD))
        };
        let members = (0..).zip(&*metas).map(|(place, meta)| Member { place, head: head(place).0, meta });
        let behind = |place| match *is_vouched {
            true => Behind::Vouched,
            false => Behind::Sum(sum(head(place).1)),
        };
        coalesce(members, TAKES_SUPER_FRAMES, behind, wholes);
        for whole in wholes.iter().filter(|whole| whole.members.len() > 1) {
            let mut headers = [0; HEAD];
            headers.copy_from_slice(head(whole.members[0]).0);
            whole.patch_headers(&mut headers, head(whole.members[whole.members.len() - 1]).0);
            std::hint::black_box(headers);
        }
        wholes.len()
    }
}

/// A super-frame of as many segments as it holds, and what is left to be done to it.
fn super_frame() -> (Vec<u8>, Claims) {
    let payload = IN_ONE * usize::from(PAYLOAD);
    let length = u16::try_from(20 + 32 + payload).unwrap();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(length.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x14, 0x51, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
    frame.resize(HEADERS + payload, 0x5a);
    // The pseudo-header's sum (RFC 9293, 3.1).
    let mut pseudo = sum(&frame[26..34]) + 6 + u64::from(length - 20);
    while pseudo > 0xffff {
        pseudo = (pseudo & 0xffff) + (pseudo >> 16);
    }
    frame[50..52].copy_from_slice(&u16::try_from(pseudo).unwrap().to_be_bytes());
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    (frame, Claims { checksum, gso: Some(Gso { kind: GsoKind::Tcp4, size: PAYLOAD, ecn: false }) })
}
