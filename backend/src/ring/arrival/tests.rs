//! Frames that are made of parts of another one.

use viaduct_switch::PortIndex;

use super::*;

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// A burst with a frame of these bytes, which came by a device.
fn arrived(bytes: &mut [u8]) -> Burst {
    let mut burst = Burst::new(port(0));
    burst.begin(true);
    let length = u32::try_from(bytes.len()).unwrap();
    let (head, body) = (bytes.as_ptr(), bytes.as_mut_ptr());
    let arrival = Arrival { header: [0; 12], tag: None, head, body, length };
    // SAFETY: the bytes are there for as long as the test lasts.
    unsafe { burst.add(port(3), &arrival) };
    burst
}

/// The bytes of all frames that a burst shows.
fn frames(burst: &Burst) -> Vec<Vec<u8>> {
    let (frames, segments) = burst.frames();
    let whole = |frame: &viaduct_switch::Frame<Span>| {
        let mut bytes = vec![0; frame.meta.length as usize];
        let rest = segments.get(frame.payload.first as usize, frame.payload.count as usize);
        copy_out(frame.head.bytes(), rest, &mut bytes);
        bytes
    };
    frames.iter().map(whole).collect()
}

#[test]
fn parts_of_a_frame_are_frames_with_headers_of_their_own() {
    let mut bytes: Vec<u8> = (0..5000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let expected = bytes.clone();
    let whole = arrived(&mut bytes);
    let headers = [0xee; 42];
    for length in [1, 40, 85, 86, 87, 128, 1000, 4958] {
        let mut apart = Burst::new(port(0));
        apart.begin_apart(&whole);
        let starts: Vec<_> = (42..5000).step_by(length).take(BURST_FRAMES).collect();
        for start in &starts {
            assert!(apart.add_part(&whole, &headers, *start..(start + length).min(5000)), "{length}");
        }
        let parts = frames(&apart);
        for (part, start) in parts.iter().zip(&starts) {
            assert_eq!(part[..42], headers);
            assert_eq!(part[42..], expected[*start..(start + length).min(5000)], "{length} from {start}");
        }
        assert_eq!(parts.len(), starts.len());
        let (frames, _) = apart.frames();
        assert!(frames.iter().all(|frame| frame.meta.source == port(3)));
        assert!(
            frames
                .iter()
                .all(|frame| frame.head.bytes().len() == (42 + length).min(HEAD_MAX)
                    || frame.meta.length < 128)
        );
        assert_eq!(apart.mergeable(), Some(0));
    }
}

#[test]
fn what_is_not_there_is_no_part_and_a_full_burst_takes_no_more() {
    let mut bytes = vec![7; 300];
    let whole = arrived(&mut bytes);
    let mut apart = Burst::new(port(0));
    apart.begin_apart(&whole);
    assert!(apart.add_part(&whole, &[0; 42], 250..400) && apart.add_part(&whole, &[0; 42], 400..500));
    let lengths: Vec<_> = frames(&apart).iter().map(Vec::len).collect();
    assert_eq!(lengths, [42 + 50, 42]);
    let more = (2..2 * BURST_FRAMES).filter(|_| apart.add_part(&whole, &[0; 42], 42..300)).count();
    assert_eq!(more, BURST_FRAMES - 2);
    apart.show(10..12);
    assert_eq!(frames(&apart).len(), 2);
    apart.clear();
    assert!(!apart.add_part(&apart_of_nothing(), &[0; 42], 0..1));
}

/// A burst that shows nothing.
fn apart_of_nothing() -> Burst {
    Burst::new(port(0))
}

#[test]
fn what_the_kernel_vouches_for_follows_the_frames_that_stay() {
    let mut bytes = vec![7; 64];
    let mut burst = Burst::new(port(0));
    burst.begin(true);
    let (head, body) = (bytes.as_ptr(), bytes.as_mut_ptr());
    for number in 0..4_u8 {
        let mut header = [0; 12];
        header[0] = if number % 2 == 1 { FLAG_DATA_VALID } else { 0 };
        let arrival = Arrival { header, tag: None, head, body, length: 60 };
        // SAFETY: the bytes are there for as long as the test lasts.
        unsafe { burst.add(port(3), &arrival) };
    }
    assert_eq!(burst.mergeable(), Some(0b1010));
    burst.show(1..4);
    assert_eq!(burst.mergeable(), Some(0b101));
    burst.distrust(0b1);
    burst.show(0..4);
    assert_eq!(burst.mergeable(), Some(0b1000));
    let mut number = 0;
    burst.keep(|_| {
        number += 1;
        if number == 1 { Judgement::Taken } else { Judgement::Keep }
    });
    assert_eq!(burst.mergeable(), Some(0b100));
}

#[test]
fn a_burst_ends_when_there_are_many_datagrams_to_be_taken_apart() {
    let mut bytes = vec![7; 5000];
    let (head, body) = (bytes.as_ptr(), bytes.as_mut_ptr());
    // UDP to be cut into pieces of so many bytes, its checksum left open.
    let frames = |size: u16| {
        let mut burst = Burst::new(port(0));
        burst.begin(true);
        let [a, b] = size.to_le_bytes();
        let header = [1, 5, 42, 0, a, b, 34, 0, 6, 0, 0, 0];
        while burst.has_room() {
            let arrival = Arrival { header, tag: None, head, body, length: 5000 };
            // SAFETY: the bytes are there for as long as the test lasts.
            unsafe { burst.add(port(3), &arrival) };
        }
        burst.taken()
    };
    assert_eq!([frames(1), frames(50), frames(500), frames(4999)], [1, 2, 13, 27]);
}
