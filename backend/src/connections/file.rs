//! The file as a whole: writing all that a switch has, and reading what is whole of it.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write};
use std::path::Path;
use std::time::Duration;

use viaduct_switch::conntrack::{Conntrack, Extent, Record};
use viaduct_switch::nat::Mapping;
use viaduct_switch::{Nanos, NetworkIndex, PortIndex, Switch};

use super::block::{Blocks, Kind, blocks};
use super::record::{Bytes, Reader, put_connection, put_mapping, take_connection, take_mapping};
use super::{BootClock, KeptError, Names};

/// What the file begins with.
const MAGIC: &[u8; 8] = b"viaduct\0";

/// The version of the format.
const VERSION: u32 = 1;

/// The longest file that is read: that of the largest table, and more.
const FILE_MAX: u64 = 1 << 30;

/// Places of the table of connections that are looked at before others may have the processor, and of mappings before others may have
/// their lock.
const ENTRIES: u32 = 2048;
const SLOTS: u32 = 128;

/// After how long at the latest the file says when connections were heard.
pub(super) const REFRESH: Duration = Duration::from_secs(30);

/// A block is written once it is this long.
const BLOCK: usize = 64 << 10;

/// What is to be kept, and when it is now.
pub(super) struct Source<'a> {
    pub(super) switch: &'a Switch,
    pub(super) names: &'a Names,
    pub(super) clock: &'a BootClock,
    pub(super) extent: Extent,
    /// No packet is carried any more.
    pub(super) is_exact: bool,
    pub(super) now: &'a dyn Fn() -> Nanos,
}

/// How much was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Written {
    pub(super) connections: u64,
    pub(super) mappings: u64,
    pub(super) bytes: usize,
}

/// Which connections and mappings are written.
#[derive(Debug, Default)]
pub(super) enum Selection {
    /// All.
    #[default]
    All,
    /// Those that were not there when it was last written so; 4 bytes for each place of the tables.
    Unseen {
        /// Which connection was in each place.
        connections: Vec<u32>,
        /// Which mapping was in each place.
        mappings: Vec<u32>,
    },
}

impl Selection {
    /// Everything once, and then what is new.
    pub(super) fn unseen() -> Self {
        Self::Unseen { connections: Vec::new(), mappings: Vec::new() }
    }

    fn wants_connection(&mut self, name: u64) -> bool {
        match self {
            Self::All => true,
            Self::Unseen { connections, .. } => is_new(connections, name),
        }
    }

    fn wants_mapping(&mut self, name: u64) -> bool {
        match self {
            Self::All => true,
            Self::Unseen { mappings, .. } => is_new(mappings, name),
        }
    }
}

/// Whether something else was in the place that is the lower half of the name, or nothing; notes what is there now.
fn is_new(lives: &mut Vec<u32>, name: u64) -> bool {
    let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0);
    // 0 is nothing. Should a life be just before it, it is written twice.
    let (place, life) = (half(name) as usize, half(name >> 32).wrapping_add(1));
    if place >= lives.len() {
        lives.resize(place + 1, 0);
    }
    lives.get_mut(place).is_none_or(|there| std::mem::replace(there, life) != life)
}

/// Writes a switch's connections and mappings. `pause` is called again and again, and may sleep.
pub(super) fn write(
    source: &Source<'_>,
    selection: &mut Selection,
    to: impl Write,
    mut pause: impl FnMut() -> io::Result<()>,
) -> io::Result<Written> {
    let mut blocks = Blocks::new(to);
    blocks.put(Kind::Head, &head(source))?;
    let mut written = Written::default();
    if let Some(table) = source.switch.conntrack() {
        // Connections first, so that none is without its mapping that began meanwhile.
        written.connections = write_connections(source, table, (&mut blocks, selection), &mut pause)?;
        written.mappings = write_mappings(source, table, (&mut blocks, selection), &mut pause)?;
    }
    let mut end = Vec::new();
    let mut bytes = Bytes(&mut end);
    bytes.u64(written.connections);
    bytes.u64(written.mappings);
    blocks.put(Kind::End, &end)?;
    written.bytes = blocks.written;
    Ok(written)
}

fn head(source: &Source<'_>) -> Vec<u8> {
    let mut content = MAGIC.to_vec();
    let mut bytes = Bytes(&mut content);
    bytes.u32(VERSION);
    bytes.u8(u8::from(source.is_exact));
    put_text(&mut bytes, &source.clock.boot);
    let Names { networks, ports, .. } = source.names;
    bytes.u16(u16::try_from(networks.len()).unwrap_or(u16::MAX));
    for (network, name) in networks {
        bytes.u16(network.raw());
        put_text(&mut bytes, name);
    }
    bytes.u16(u16::try_from(ports.len()).unwrap_or(u16::MAX));
    for (port, name) in ports {
        bytes.u16(port.raw());
        put_text(&mut bytes, name);
    }
    content
}

fn put_text(bytes: &mut Bytes<'_>, text: &str) {
    bytes.u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    bytes.0.extend(text.as_bytes());
}

/// A block under way; it begins with when its content was read.
fn begun(source: &Source<'_>, block: &mut Vec<u8>) -> io::Result<Nanos> {
    block.clear();
    Bytes(block).u64(source.clock.now_s()?);
    Ok((source.now)())
}

fn write_connections(
    source: &Source<'_>,
    table: &Conntrack,
    (blocks, selection): (&mut Blocks<impl Write>, &mut Selection),
    pause: &mut impl FnMut() -> io::Result<()>,
) -> io::Result<u64> {
    let (mut block, mut count, mut from) = (Vec::with_capacity(2 * BLOCK), 0, Some(0));
    let mut now = begun(source, &mut block)?;
    while let Some(place) = from {
        let mut full: Vec<Vec<u8>> = Vec::new();
        from = table.records(place, ENTRIES, source.extent, now, |id, record| {
            if !selection.wants_connection(id.to_bits()) {
                return;
            }
            let record = Record { port: source.names.payer(source.switch, record.port), ..record };
            put_connection(&mut Bytes(&mut block), &record);
            count += 1;
            if block.len() >= BLOCK {
                let began = block.get(..8).unwrap_or_default().to_vec();
                full.push(std::mem::replace(&mut block, began));
            }
        });
        for content in &full {
            blocks.put(Kind::Connections, content)?;
        }
        if block.len() > BLOCK / 2 || from.is_none() {
            blocks.put(Kind::Connections, &block)?;
            now = begun(source, &mut block)?;
        }
        pause()?;
    }
    Ok(count)
}

fn write_mappings(
    source: &Source<'_>,
    table: &Conntrack,
    (blocks, selection): (&mut Blocks<impl Write>, &mut Selection),
    pause: &mut impl FnMut() -> io::Result<()>,
) -> io::Result<u64> {
    let Some(mappings) = table.mappings() else { return Ok(0) };
    let (mut block, mut count, mut from) = (Vec::with_capacity(2 * BLOCK), 0, Some(0));
    let mut now = begun(source, &mut block)?;
    while let Some(slot) = from {
        from = mappings.records(slot, SLOTS, now, |name, mapping| {
            if !selection.wants_mapping(name) {
                return;
            }
            let mapping = Mapping { port: source.names.payer(source.switch, mapping.port), ..mapping };
            put_mapping(&mut Bytes(&mut block), &mapping);
            count += 1;
        });
        if block.len() >= BLOCK || from.is_none() {
            blocks.put(Kind::Mappings, &block)?;
            now = begun(source, &mut block)?;
            pause()?;
        }
    }
    Ok(count)
}

/// What a file has, with its ages as of when it was read.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Names, with the numbers that what follows has.
    pub(crate) names: Names,
    /// Nothing was carried since.
    pub(crate) is_exact: bool,
    /// Connections.
    pub(crate) connections: Vec<Record>,
    /// Mappings.
    pub(crate) mappings: Vec<Mapping>,
    /// Part of the file is damaged or missing.
    pub(crate) is_damaged: bool,
}

/// What stands in the file at `path`; `None`: there is none, or it tells of before the machine started.
///
/// # Errors
/// Why nothing of it counts.
pub(crate) fn read(path: &Path, clock: &BootClock) -> Result<Option<Kept>, KeptError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    parse(&bytes, clock, clock.now_s()?)
}

pub(super) fn parse(bytes: &[u8], clock: &BootClock, now_s: u64) -> Result<Option<Kept>, KeptError> {
    let blocks = blocks(bytes);
    let first = blocks.first().filter(|block| block.kind == Kind::Head && block.number == 0);
    let (boot, mut kept) = take_head(first.ok_or(KeptError::NotOurs)?.content)?;
    if boot != clock.boot {
        return Ok(None);
    }
    let in_order = blocks.iter().zip(0..).all(|(block, number)| block.number == number);
    let (mut is_whole, mut told) = (in_order, None);
    for block in blocks.get(1..).unwrap_or_default() {
        let mut reader = Reader(block.content);
        is_whole &= match block.kind {
            Kind::Head => false,
            Kind::Connections => take_connections(&mut reader, now_s, &mut kept).is_some(),
            Kind::Mappings => take_mappings(&mut reader, now_s, &mut kept.mappings).is_some(),
            Kind::End => {
                told = reader.u64().zip(reader.u64());
                true
            }
        };
    }
    let counted = (kept.connections.len() as u64, kept.mappings.len() as u64);
    kept.is_damaged = !is_whole || told != Some(counted);
    Ok(Some(kept))
}

fn take_head(content: &[u8]) -> Result<(String, Kept), KeptError> {
    let mut reader = Reader(content.strip_prefix(MAGIC).ok_or(KeptError::NotOurs)?);
    match reader.u32() {
        Some(VERSION) => {}
        Some(found) => return Err(KeptError::Newer { found }),
        None => return Err(KeptError::NotOurs),
    }
    let mut rest = || {
        let is_exact = reader.u8()? != 0;
        let boot = reader.text()?;
        let mut names = Names::default();
        for _ in 0..reader.u16()? {
            let network: NetworkIndex = reader.network()?;
            names.networks.insert(network, reader.text()?);
        }
        for _ in 0..reader.u16()? {
            let port: PortIndex = reader.port()?;
            names.ports.insert(port, reader.text()?);
        }
        Some((boot, Kept { names, is_exact, ..Kept::default() }))
    };
    rest().ok_or(KeptError::NotOurs)
}

/// For how many seconds a block has lain there.
fn lain_s(reader: &mut Reader<'_>, now_s: u64) -> Option<u32> {
    Some(u32::try_from(now_s.saturating_sub(reader.u64()?)).unwrap_or(u32::MAX))
}

/// What was heard since the file was written last may not stand there ([`REFRESH`]): it counts as heard.
fn take_connections(reader: &mut Reader<'_>, now_s: u64, kept: &mut Kept) -> Option<()> {
    let lain_s = lain_s(reader, now_s)?;
    let grace_s = if kept.is_exact { 0 } else { u32::try_from(REFRESH.as_secs()).unwrap_or(0) };
    while !reader.0.is_empty() {
        let record = older_connection(&take_connection(reader)?, lain_s);
        let idle_s = record.idle_s.map(|idle_s| idle_s.saturating_sub(grace_s));
        kept.connections.push(Record { idle_s, ..record });
    }
    Some(())
}

fn take_mappings(reader: &mut Reader<'_>, now_s: u64, to: &mut Vec<Mapping>) -> Option<()> {
    let lain_s = lain_s(reader, now_s)?;
    while !reader.0.is_empty() {
        let mapping = take_mapping(reader)?;
        to.push(older_mapping(&mapping, lain_s));
    }
    Some(())
}

/// The same connection after some seconds.
pub(super) fn older_connection(record: &Record, seconds: u32) -> Record {
    Record { idle_s: record.idle_s.map(|idle_s| idle_s.saturating_add(seconds)), ..*record }
}

/// The same mapping after some seconds.
pub(super) fn older_mapping(mapping: &Mapping, seconds: u32) -> Mapping {
    let age_s = mapping.age_s.saturating_add(seconds);
    Mapping { age_s, idle_s: mapping.idle_s.saturating_add(seconds), ..*mapping }
}

impl Kept {
    /// The same after some time.
    pub(crate) fn grow_older(&mut self, by: Duration) {
        let seconds = u32::try_from(by.as_secs()).unwrap_or(u32::MAX);
        self.connections.iter_mut().for_each(|record| *record = older_connection(record, seconds));
        self.mappings.iter_mut().for_each(|mapping| *mapping = older_mapping(mapping, seconds));
    }
}
