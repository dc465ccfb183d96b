//! Capture files of numbered frames: made for an independent program to send, checked after another
//! independent program wrote down what arrived.
//!
//! Every frame carries a number; its size and all its bytes follow from that number, so a frame that
//! comes back is checked byte by byte, and the numbers of each flow must grow. Streams come in twos, from
//! either side, whose flows are each other's answers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// Ethernet, IPv4 and UDP headers before the numbers.
const HEADERS: usize = 42;
/// Flows (UDP ports) of one stream.
const FLOWS: u32 = 16;
/// First UDP port of those that tell flows apart.
const FIRST_PORT: u16 = 20_000;
/// The UDP port at the other end of all flows.
const COMMON_PORT: u16 = 9;
/// The number of the stream that answers another one is so much higher.
pub const ANSWER: u16 = 16;
/// How often a flow may change its queue: when the receiver's queues start, when they are first answered, and when
/// another flow that shares its place in a table stops.
const MOVES_MAX: usize = 6;
/// Of the pcap file format: microseconds or nanoseconds, in this machine's byte order.
const MAGIC: [u32; 2] = [0xa1b2_c3d4, 0xa1b2_3c4d];
/// Length of the file header and of a record's header.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// A sequence of numbered frames from one queue of one port to another port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    /// The sender's address.
    pub source: [u8; 6],
    /// The receiver's address.
    pub destination: [u8; 6],
    /// Distinguishes the streams between the same two ports: below [`ANSWER`] from the one, and that much higher
    /// from the other.
    pub number: u16,
    /// Frames in it.
    pub frames: u32,
    /// Size of the largest frame in bytes, without FCS; the smallest has 60.
    pub largest: u16,
}

impl Stream {
    /// The frame number `index`, complete with right checksums.
    #[must_use]
    pub fn frame(&self, index: u32) -> Vec<u8> {
        let size = self.size(index);
        let mut frame = vec![0; size];
        frame[..6].copy_from_slice(&self.destination);
        frame[6..12].copy_from_slice(&self.source);
        frame[12..14].copy_from_slice(&[8, 0]);
        self.fill_payload(&mut frame[HEADERS..], index);
        self.fill_headers(&mut frame[14..], index);
        frame
    }

    /// Mostly small frames, as they strain the rings most; every eighth of any size.
    fn size(&self, index: u32) -> usize {
        let span = if index.is_multiple_of(8) { u32::from(self.largest) - 60 } else { 70 };
        60 + (index.wrapping_mul(2_654_435_761) >> 8) as usize % (span as usize + 1)
    }

    fn fill_payload(&self, payload: &mut [u8], index: u32) {
        payload[..4].copy_from_slice(&index.to_be_bytes());
        payload[4..6].copy_from_slice(&self.number.to_be_bytes());
        let seed = index.wrapping_mul(0x9e37_79b1) ^ u32::from(self.number);
        for (at, byte) in payload[6..].iter_mut().enumerate() {
            *byte = (seed >> (at % 4 * 8)) as u8 ^ at as u8;
        }
    }

    /// IPv4 (RFC 791) and UDP (RFC 768), with their checksums.
    fn fill_headers(&self, packet: &mut [u8], index: u32) {
        let length = packet.len() as u16;
        packet[..20].copy_from_slice(&[
            0x45,
            0,
            0,
            0,
            0,
            0,
            0x40,
            0,
            64,
            17,
            0,
            0,
            10,
            9,
            0,
            self.source[5],
            10,
            9,
            0,
            self.destination[5],
        ]);
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        let checksum = !sum(&packet[..20], 0);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        let port = FIRST_PORT + self.number % ANSWER * FLOWS as u16 + (index % FLOWS) as u16;
        let mut ports = [port, COMMON_PORT];
        if self.number >= ANSWER {
            ports.reverse();
        }
        packet[20..24].copy_from_slice(&ports.map(u16::to_be_bytes).concat());
        packet[24..26].copy_from_slice(&(length - 20).to_be_bytes());
        let pseudo_header = u32::from(sum(&packet[12..20], 17 + u32::from(length - 20)));
        let checksum = match !sum(&packet[20..], pseudo_header) {
            0 => 0xffff,
            other => other,
        };
        packet[26..28].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Writes all frames into a capture file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write(path, (0..self.frames).map(|index| self.frame(index)))
    }
}

/// Writes frames into a capture file, a second apart.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, frames: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for word in [MAGIC[0], 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_ne_bytes())?;
    }
    for (index, frame) in (0_u32..).zip(frames) {
        let length = frame.len() as u32;
        for word in [index, 0, length, length] {
            file.write_all(&word.to_ne_bytes())?;
        }
        file.write_all(&frame)?;
    }
    file.flush()
}

/// The Internet checksum's sum (RFC 1071), not yet complemented.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut total = start;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// What arrived at one port, over the capture files of all its queues.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// The number and the queue of each frame of each flow of each stream.
    flows: HashMap<(u16, u32), Vec<(u32, usize)>>,
}

/// What is known when all files were checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Frames of the streams.
    pub frames: u64,
    /// The highest number of a frame whose predecessor in its flow is missing; all that come after it are whole.
    pub last_gap: u32,
    /// Frames that came on the queue with the number of the one that sends their answers.
    pub steered: u64,
}

impl Arrivals {
    /// Checks the capture file of one queue: each frame is one of `streams`, has all its bytes, and comes after the
    /// earlier ones of its flow.
    ///
    /// # Panics
    /// At the first frame that is wrong; the message tells which and how.
    pub fn check(&mut self, path: &Path, queue: usize, streams: &[Stream]) {
        let mut file = BufReader::with_capacity(
            1 << 20,
            File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        );
        let mut header = [0; FILE_HEADER];
        file.read_exact(&mut header)
            .unwrap_or_else(|error| panic!("{} is no capture file: {error}", path.display()));
        let magic = u32::from_ne_bytes(header[..4].try_into().unwrap());
        assert!(MAGIC.contains(&magic), "{} is no capture file", path.display());
        let mut record = [0; RECORD_HEADER];
        while file.read_exact(&mut record).is_ok() {
            let length = u32::from_ne_bytes(record[8..12].try_into().unwrap());
            let mut frame = vec![0; length as usize];
            file.read_exact(&mut frame)
                .unwrap_or_else(|error| panic!("{} is cut short: {error}", path.display()));
            self.check_frame(&frame, queue, streams);
        }
    }

    fn check_frame(&mut self, frame: &[u8], queue: usize, streams: &[Stream]) {
        assert!(frame.len() >= 60, "a frame of {} bytes arrived: {frame:02x?}", frame.len());
        let index = u32::from_be_bytes(frame[HEADERS..HEADERS + 4].try_into().unwrap());
        let number = u16::from_be_bytes(frame[HEADERS + 4..HEADERS + 6].try_into().unwrap());
        let stream = streams.iter().find(|stream| stream.number == number && index < stream.frames);
        let stream = stream.unwrap_or_else(|| panic!("a frame arrived that nobody sent: {frame:02x?}"));
        let sent = stream.frame(index);
        assert!(
            sent == frame,
            "frame {index} of stream {number} was sent as\n{sent:02x?}\nand arrived as\n{frame:02x?}"
        );
        let flow = self.flows.entry((number, index % FLOWS)).or_default();
        if let Some((last, _)) = flow.last().filter(|(_, other)| *other == queue) {
            let flow = index % FLOWS;
            assert!(
                index > *last,
                "stream {number}, flow {flow}: frame {index} arrived after frame {last} in queue {queue}"
            );
        }
        flow.push((index, queue));
    }

    /// Takes all files together: no frame came twice, and no flow changes its queue time and again.
    ///
    /// # Panics
    /// If one did; the message tells which.
    #[must_use]
    pub fn finish(self) -> Summary {
        let mut summary = Summary::default();
        for ((number, flow), mut frames) in self.flows {
            frames.sort_unstable();
            let pairs = || frames.iter().zip(frames.iter().skip(1));
            if let Some(((twice, _), _)) = pairs().find(|(one, next)| one.0 == next.0) {
                panic!("stream {number}, flow {flow}: frame {twice} arrived twice");
            }
            let moves = pairs().filter(|(one, next)| one.1 != next.1).count();
            assert!(moves <= MOVES_MAX, "stream {number}, flow {flow}: changed its queue {moves} times");
            let mut expected = flow;
            for (index, queue) in frames {
                if index != expected {
                    summary.last_gap = summary.last_gap.max(index);
                }
                expected = index + FLOWS;
                summary.frames += 1;
                summary.steered += u64::from(queue == usize::from(number % ANSWER));
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream {
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
        number: 3,
        frames: 500,
        largest: 1514,
    };

    fn caught(check: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let error = std::panic::catch_unwind(check).unwrap_err();
        error.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn a_file_that_was_written_is_found_whole_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames.pcap");
        STREAM.write(&path).unwrap();
        let mut arrivals = Arrivals::default();
        arrivals.check(&path, 3, &[STREAM]);
        assert_eq!(arrivals.finish(), Summary { frames: 500, last_gap: 0, steered: 500 });
        let mut arrivals = Arrivals::default();
        arrivals.check(&path, 2, &[STREAM]);
        let later = 500 + 3 * FLOWS;
        let longer = Stream { frames: 1000, ..STREAM };
        arrivals.check_frame(&longer.frame(later), 3, &[longer]);
        assert_eq!(
            arrivals.finish(),
            Summary { frames: 501, last_gap: later, steered: 1 },
            "a gap is noticed"
        );
    }

    #[test]
    fn a_changed_byte_a_repeated_frame_and_a_stranger_are_found() {
        let mut changed = STREAM.frame(7);
        *changed.last_mut().unwrap() ^= 1;
        assert!(
            caught(move || Arrivals::default().check_frame(&changed, 0, &[STREAM]))
                .contains("frame 7 of stream 3")
        );
        let arrive = |queues: &[(u32, usize)]| {
            let mut arrivals = Arrivals::default();
            for (index, queue) in queues {
                arrivals.check_frame(&STREAM.frame(*index), *queue, &[STREAM]);
            }
            let _ = arrivals.finish();
        };
        let twice = caught(|| arrive(&[(16, 0), (16, 0)]));
        assert!(twice.contains("frame 16 arrived after frame 16"), "{twice}");
        let twice = caught(|| arrive(&[(16, 0), (16, 1)]));
        assert!(twice.contains("frame 16 arrived twice"), "{twice}");
        let to_and_fro = caught(|| {
            let even = (0..8).map(|place| (32 * place, 0));
            arrive(&even.chain((0..8).map(|place| (32 * place + 16, 1))).collect::<Vec<_>>());
        });
        assert!(to_and_fro.contains("changed its queue 15 times"), "{to_and_fro}");
        let stranger = Stream { number: 4, ..STREAM };
        assert!(
            caught(move || Arrivals::default().check_frame(&stranger.frame(0), 0, &[STREAM]))
                .contains("nobody sent")
        );
    }

    #[test]
    fn checksums_of_the_frames_are_right() {
        for index in 0..200 {
            let frame = STREAM.frame(index);
            let udp_length = frame.len() as u32 - 34;
            assert_eq!(sum(&frame[14..34], 0), 0xffff, "IPv4 header of frame {index}");
            let pseudo_header = u32::from(sum(&frame[26..34], 17 + udp_length));
            assert_eq!(sum(&frame[34..], pseudo_header), 0xffff, "UDP of frame {index}");
        }
    }
}
