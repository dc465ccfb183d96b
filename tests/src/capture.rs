//! Capture files of numbered frames: made for an independent program to send, checked after another
//! independent program wrote down what arrived.
//!
//! Every frame carries a number; its size and all its bytes follow from that number, so a frame that
//! comes back is checked byte by byte, and the numbers of each flow must grow.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// Ethernet, IPv4 and UDP headers before the numbers.
const HEADERS: usize = 42;
/// Flows (UDP source ports) of one stream.
const FLOWS: u32 = 16;
/// First UDP source port.
const FIRST_PORT: u16 = 20_000;
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
    /// Distinguishes the streams between the same two ports.
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
        let port = FIRST_PORT + self.number * FLOWS as u16 + (index % FLOWS) as u16;
        packet[20..22].copy_from_slice(&port.to_be_bytes());
        packet[22..24].copy_from_slice(&9u16.to_be_bytes());
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
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for word in [MAGIC[0], 0x0004_0002, 0, 0, 65_535, 1] {
            file.write_all(&word.to_ne_bytes())?;
        }
        for index in 0..self.frames {
            let frame = self.frame(index);
            let length = frame.len() as u32;
            for word in [index, 0, length, length] {
                file.write_all(&word.to_ne_bytes())?;
            }
            file.write_all(&frame)?;
        }
        file.flush()
    }
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

/// What arrived, over all files that were checked.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Frames of the streams.
    pub frames: u64,
    /// The highest number of a frame whose predecessor in its flow is missing; all that come after it are whole.
    pub last_gap: u32,
    /// The last number seen of each flow of each stream.
    last: HashMap<(u16, u32), u32>,
}

impl Arrivals {
    /// Checks one capture file: each frame is one of `streams`, has all its bytes, and comes after the
    /// earlier ones of its flow, in this file and those checked before.
    ///
    /// # Panics
    /// At the first frame that is wrong; the message tells which and how.
    pub fn check(&mut self, path: &Path, streams: &[Stream]) {
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
            self.check_frame(&frame, streams);
        }
    }

    fn check_frame(&mut self, frame: &[u8], streams: &[Stream]) {
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
        let last = self.last.insert((number, index % FLOWS), index);
        if let Some(last) = last {
            assert!(
                index > last,
                "stream {number}, flow {}: frame {index} arrived after frame {last}",
                index % FLOWS
            );
        }
        if last.map_or(index >= FLOWS, |last| index > last + FLOWS) {
            self.last_gap = self.last_gap.max(index);
        }
        self.frames += 1;
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
        arrivals.check(&path, &[STREAM]);
        assert_eq!((arrivals.frames, arrivals.last_gap), (500, 0));
        arrivals.check_frame(
            &Stream { frames: 1000, ..STREAM }.frame(500 + 3 * FLOWS),
            &[Stream { frames: 1000, ..STREAM }],
        );
        assert_eq!(arrivals.last_gap, 500 + 3 * FLOWS, "a gap is noticed");
    }

    #[test]
    fn a_changed_byte_a_repeated_frame_and_a_stranger_are_found() {
        let mut changed = STREAM.frame(7);
        *changed.last_mut().unwrap() ^= 1;
        assert!(
            caught(move || Arrivals::default().check_frame(&changed, &[STREAM]))
                .contains("frame 7 of stream 3")
        );
        let twice = caught(|| {
            let mut arrivals = Arrivals::default();
            arrivals.check_frame(&STREAM.frame(16), &[STREAM]);
            arrivals.check_frame(&STREAM.frame(16), &[STREAM]);
        });
        assert!(twice.contains("frame 16 arrived after frame 16"), "{twice}");
        let stranger = Stream { number: 4, ..STREAM };
        assert!(
            caught(move || Arrivals::default().check_frame(&stranger.frame(0), &[STREAM]))
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
