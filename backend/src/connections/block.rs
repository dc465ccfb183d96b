//! Blocks: content with a length and a checksum, which also covers the block's kind and place in the file.

use std::io::{self, Write};

use crate::durable::Crc;

/// The longest content, in bytes.
pub(super) const CONTENT_MAX: usize = 256 << 10;

/// Length, checksum, kind and number.
const HEAD: usize = 13;

/// What a block is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Head = 1,
    Connections = 2,
    Mappings = 3,
    End = 4,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Head, Self::Connections, Self::Mappings, Self::End];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

fn checksum(kind: u8, number: u32, content: &[u8]) -> u32 {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let [head, place] = [length, number].map(u32::to_le_bytes);
    Crc::default().with(&[kind]).with(&head).with(&place).with(content).value()
}

/// Writes blocks one behind the other.
#[derive(Debug)]
pub(super) struct Blocks<W> {
    to: W,
    number: u32,
    /// Bytes so far.
    pub(super) written: usize,
}

impl<W: Write> Blocks<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, number: 0, written: 0 }
    }

    pub(super) fn put(&mut self, kind: Kind, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).ok().filter(|_| content.len() <= CONTENT_MAX);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let checksum = checksum(kind as u8, self.number, content);
        let mut head = Vec::with_capacity(HEAD);
        for word in [length, checksum, self.number] {
            head.extend(word.to_le_bytes());
        }
        head.push(kind as u8);
        self.to.write_all(&head)?;
        self.to.write_all(content)?;
        self.number += 1;
        self.written += HEAD + content.len();
        Ok(())
    }
}

/// A block that is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block<'a> {
    pub(super) kind: Kind,
    pub(super) number: u32,
    pub(super) content: &'a [u8],
}

/// The blocks of a file that are whole; one that is damaged is passed over as long as its length can be believed.
pub(super) fn blocks(mut bytes: &[u8]) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(HEAD) {
        let word = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let (Some(length), Some(sum), Some(number)) = (word(0), word(4), word(8)) else { break };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((content, behind)) = rest.split_at_checked(length).filter(|_| length <= CONTENT_MAX) else {
            break;
        };
        let kind = head.get(12).copied().unwrap_or(0);
        if let Some(known) = Kind::of(kind)
            && checksum(kind, number, content) == sum
        {
            found.push(Block { kind: known, number, content });
        }
        bytes = behind;
    }
    found
}
