//! Streams of any kind: cutting what was merged gives what there was.

use proptest::prelude::*;

use super::*;

fn stream() -> impl Strategy<Value = Stream> {
    use Numbering::{Constant, Counted, Fragmentable, Wrong};
    let numbering = prop::sample::select(vec![Counted, Constant, Fragmentable, Wrong]);
    let shape = (any::<[bool; 2]>(), 0..3usize, (0..3u8, 2..4u8), 0..10usize, numbering);
    let sizes = (1..6000usize, 400..1500u16);
    let numbers =
        (prop::sample::select(vec![0x10u8, 0x18, 0x11, 0x90, 0x50, 0x12, 0x14]), any::<(u32, u16)>());
    (shape, sizes, numbers).prop_map(
        |(([v6, udp], tags, (port, station), options, numbering), (payload, size), (flags, numbers))| {
            let (sequence, id) = numbers;
            Stream { v6, udp, tags, port, station, options, payload, size, flags, sequence, id, numbering }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn cutting_what_was_merged_gives_the_same_frames_or_their_equals(
        streams in prop::collection::vec(stream(), 1..4),
        order in prop::collection::vec(0..4usize, 0..64),
        spoiled in prop::collection::vec(any::<(u8, u16, u8)>(), 0..6),
        capabilities in any::<[bool; 4]>(),
    ) {
        let mut queues: Vec<_> = streams.iter().map(|stream| stream.segments().into_iter()).collect();
        let count = queues.len();
        let mut frames: Vec<_> = order.iter().filter_map(|queue| queues[queue % count].next()).collect();
        for (frame, byte, change) in spoiled {
            let count = frames.len().max(1);
            if let Some(frame) = frames.get_mut(usize::from(frame) % count) {
                let at = usize::from(byte) % frame.len();
                frame[at] ^= change;
            }
        }
        let [ecn, tso4, uso4, checksum] = capabilities;
        let capabilities = Capabilities { ecn, tso4, uso4, checksum, ..ALL };
        let merged = merge(&frames, capabilities);
        check_inverse(&frames, &merged);
    }

    #[test]
    fn any_bytes_are_left_in_their_order(frames in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let merged = merge(&frames, ALL);
        check_inverse(&frames, &merged);
    }
}
