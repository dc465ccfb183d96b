//! Captures as pcapng (draft-ietf-opsawg-pcapng): an interface block for each port, a packet block for each frame with its direction and
//! what became of it as comment, statistics blocks with what was lost.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{Block as AnyBlock, PcapNgParser, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};

/// if_tsresol: times are in nanoseconds.
const NANOSECONDS: u8 = 9;

/// epb_flags, bits 0 and 1.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// epb_flags, bits 2 to 4: how it was addressed.
const UNICAST: u32 = 1 << 2;
const MULTICAST: u32 = 2 << 2;
const BROADCAST: u32 = 3 << 2;

/// Where frames were captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The port's name.
    pub name: String,
    /// Bytes of each frame that are kept at most.
    pub snaplen: u32,
}

/// A frame that was captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// The interface, in the order in which they were told, from 0.
    pub interface: u32,
    /// Since 1970.
    pub at: Duration,
    /// The frame's length; [`Record::bytes`] may be fewer.
    pub length: u32,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// It leaves the switch there; else it enters.
    pub is_outbound: bool,
    /// What became of it.
    pub comment: Cow<'a, str>,
}

/// How much was seen at an interface so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// The interface, as in [`Record`].
    pub interface: u32,
    /// Since 1970.
    pub at: Duration,
    /// Frames that came by.
    pub seen: u64,
    /// Those that were captured.
    pub captured: u64,
    /// Those for which there was no room.
    pub lost: u64,
}

/// Writes a capture into memory.
pub struct Writer(PcapNgWriter<Vec<u8>>);

impl Writer {
    /// The beginning of a capture.
    ///
    /// # Errors
    /// The blocks cannot be written, which memory does not know.
    pub fn new() -> Result<Self, PcapError> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            major_version: 1,
            minor_version: 0,
            section_length: -1,
            options: vec![SectionHeaderOption::UserApplication(
                concat!("Viaduct ", env!("CARGO_PKG_VERSION")).into(),
            )],
        };
        Ok(Self(PcapNgWriter::with_section_header(Vec::new(), section)?))
    }

    /// Adds an interface.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn interface(&mut self, interface: &Interface) -> Result<(), PcapError> {
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: interface.snaplen,
            options: vec![
                InterfaceDescriptionOption::IfName(interface.name.as_str().into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.0.write_pcapng_block(block).map(drop)
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// Its interface was not told.
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), PcapError> {
        let direction = if record.is_outbound { OUTBOUND } else { INBOUND };
        let block = EnhancedPacketBlock {
            interface_id: record.interface,
            timestamp: record.at,
            original_len: record.length,
            data: record.bytes.into(),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Borrowed(&record.comment)),
                EnhancedPacketOption::Flags(direction | addressed(record.bytes)),
            ],
        };
        self.0.write_pcapng_block(block).map(drop)
    }

    /// Adds how much was seen.
    ///
    /// # Errors
    /// Its interface was not told.
    pub fn statistics(&mut self, statistics: &Statistics) -> Result<(), PcapError> {
        let nanoseconds = u64::try_from(statistics.at.as_nanos()).unwrap_or(u64::MAX);
        let block = InterfaceStatisticsBlock {
            interface_id: statistics.interface,
            // The upper half stands first in the file; the crate writes the lower one first.
            timestamp: nanoseconds.rotate_left(32),
            options: vec![
                InterfaceStatisticsOption::IsbIfRecv(statistics.seen),
                InterfaceStatisticsOption::IsbIfDrop(statistics.lost),
                InterfaceStatisticsOption::IsbFilterAccept(statistics.captured),
            ],
        };
        self.0.write_pcapng_block(block).map(drop)
    }

    /// What was written since this was asked last.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.0.get_mut())
    }

    /// How much was written since then.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.get_ref().len()
    }
}

fn addressed(bytes: &[u8]) -> u32 {
    match bytes.first_chunk::<6>() {
        Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => BROADCAST,
        Some([first, ..]) if first & 1 == 1 => MULTICAST,
        _ => UNICAST,
    }
}

/// A block of a capture.
#[derive(Debug)]
pub enum Block<'a> {
    /// An interface, by its name.
    Interface(String),
    /// A frame.
    Record(Record<'a>),
    /// How much was seen.
    Statistics(Statistics),
    /// Anything else.
    Other,
}

/// Reads a capture as it comes.
#[derive(Default)]
pub struct Reader {
    parser: Option<PcapNgParser>,
    waiting: Vec<u8>,
}

impl Reader {
    /// Takes bytes; gives `each` the blocks that are whole, as they are written and as they are meant, until it says no. Says whether it
    /// never did.
    ///
    /// # Errors
    /// That is no capture.
    pub fn read(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8], Block<'_>) -> bool,
    ) -> Result<bool, PcapError> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.extend_from_slice(bytes);
        let mut rest = waiting.as_slice();
        while let Some((whole, later)) = split(rest) {
            let block = self.block(whole)?;
            rest = later;
            if !each(whole, block) {
                return Ok(false);
            }
        }
        let read = waiting.len() - rest.len();
        waiting.drain(..read);
        self.waiting = waiting;
        Ok(true)
    }

    fn block<'a>(&mut self, whole: &'a [u8]) -> Result<Block<'a>, PcapError> {
        let Some(parser) = &mut self.parser else {
            self.parser = Some(PcapNgParser::new(whole)?.1);
            return Ok(Block::Other);
        };
        Ok(match parser.next_block(whole)?.1 {
            AnyBlock::InterfaceDescription(block) => {
                let name = block.options.into_iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.into_owned()),
                    _ => None,
                });
                Block::Interface(name.unwrap_or_default())
            }
            AnyBlock::EnhancedPacket(block) => record(block).map_or(Block::Other, Block::Record),
            AnyBlock::InterfaceStatistics(block) => Block::Statistics(statistics(&block)),
            _ => Block::Other,
        })
    }
}

/// The first block and what follows it, if it is whole; its length stands behind its type.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    bytes.split_at_checked(usize::try_from(length.max(12)).ok()?)
}

fn record(block: EnhancedPacketBlock<'_>) -> Option<Record<'_>> {
    let Cow::Borrowed(bytes) = block.data else { return None };
    let mut record = Record {
        interface: block.interface_id,
        at: block.timestamp,
        length: block.original_len,
        bytes,
        is_outbound: false,
        comment: Cow::Borrowed(""),
    };
    for option in block.options {
        match option {
            EnhancedPacketOption::Comment(comment) => record.comment = comment,
            EnhancedPacketOption::Flags(flags) => record.is_outbound = flags & 3 == OUTBOUND,
            _ => {}
        }
    }
    Some(record)
}

fn statistics(block: &InterfaceStatisticsBlock<'_>) -> Statistics {
    let at = Duration::from_nanos(block.timestamp.rotate_left(32));
    let mut statistics = Statistics { interface: block.interface_id, at, ..Statistics::default() };
    for option in &block.options {
        match option {
            InterfaceStatisticsOption::IsbIfRecv(seen) => statistics.seen = *seen,
            InterfaceStatisticsOption::IsbIfDrop(lost) => statistics.lost = *lost,
            InterfaceStatisticsOption::IsbFilterAccept(captured) => statistics.captured = *captured,
            _ => {}
        }
    }
    statistics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_however_it_is_cut() {
        let mut writer = Writer::new().unwrap();
        for name in ["web", "db"] {
            writer.interface(&Interface { name: name.to_owned(), snaplen: 64 }).unwrap();
        }
        let at = Duration::new(1_767_225_600, 123_456_789);
        let bytes = [0xff; 61];
        let comment = "dropped: storm-control - ein Wörtchen".into();
        let frame = Record { interface: 1, at, length: 1500, bytes: &bytes, is_outbound: true, comment };
        writer.record(&frame).unwrap();
        let counted = Statistics { interface: 0, at, seen: 9, captured: 4, lost: 5 };
        writer.statistics(&counted).unwrap();
        assert!(
            writer.record(&Record { interface: 2, ..frame.clone() }).is_err(),
            "there is no such interface"
        );
        let whole = writer.take();
        assert_eq!((writer.waiting(), whole.len() % 4), (0, 0));
        for portion in [1, 7, 64, whole.len()] {
            let (mut reader, mut seen, mut again) = (Reader::default(), Vec::new(), Vec::new());
            for part in whole.chunks(portion) {
                let goes_on = reader.read(part, |raw, block| {
                    again.extend_from_slice(raw);
                    seen.push(match block {
                        Block::Interface(name) => name,
                        Block::Record(record) => {
                            assert_eq!(record, frame);
                            "record".to_owned()
                        }
                        Block::Statistics(statistics) => {
                            assert_eq!(statistics, counted);
                            "statistics".to_owned()
                        }
                        Block::Other => "head".to_owned(),
                    });
                    true
                });
                assert!(goes_on.unwrap());
            }
            assert_eq!(seen, ["head", "web", "db", "record", "statistics"]);
            assert_eq!(again, whole);
        }
    }

    #[test]
    fn what_is_no_capture_is_told_and_reading_ends_when_nobody_wants_more() {
        let mut reader = Reader::default();
        assert!(reader.read(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n", |_, _| true).is_ok());
        assert!(Reader::default().read(&[0; 64], |_, _| true).is_err());
        let mut writer = Writer::new().unwrap();
        writer.interface(&Interface { name: "web".to_owned(), snaplen: 64 }).unwrap();
        let mut blocks = 0;
        let goes_on = Reader::default().read(&writer.take(), |_, _| {
            blocks += 1;
            false
        });
        assert_eq!((goes_on.unwrap(), blocks), (false, 1));
    }
}
