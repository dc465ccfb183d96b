//! Files that outlive the process: lines with checksums, and files that are replaced as a whole.
//!
//! A line is the CRC-32 of what follows, a space, JSON, and a newline, so that one that was cut or damaged is known.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Digits of the checksum, and the space behind it.
const CHECKSUM: usize = 9;

/// The remainders of all bytes.
const REMAINDERS: [u32; 256] = remainders();

/// The line that says `value`.
pub(crate) fn line(value: &impl Serialize) -> String {
    // Numbers, texts and addresses are written without fail; an empty line is passed over when it is read.
    let text = serde_json::to_string(value).unwrap_or_default();
    format!("{:08x} {text}\n", crc32(text.as_bytes()))
}

/// A line's text, if its checksum is right; without the newline.
pub(crate) fn checked(line: &[u8]) -> Option<&str> {
    let (checksum, text) = line.split_at_checked(CHECKSUM)?;
    let is_right = checksum == format!("{:08x} ", crc32(text)).as_bytes();
    if is_right { std::str::from_utf8(text).ok() } else { None }
}

/// A new file beside the one that it is to replace, for appending, and its path.
///
/// # Errors
/// What the system said.
pub(crate) fn beside(path: &Path) -> io::Result<(File, PathBuf)> {
    beside_as(path, ".new")
}

/// As [`beside`], with another ending.
///
/// # Errors
/// What the system said.
pub(crate) fn beside_as(path: &Path, ending: &str) -> io::Result<(File, PathBuf)> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(ending);
    let _ = fs::remove_file(&temporary);
    let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&temporary)?;
    Ok((file, temporary.into()))
}

/// Puts a file of this content at `path` once it is on the disk, so that at any moment there is one whole file; gives it for
/// appending.
///
/// # Errors
/// What the system said: then the file that was there is there still, and no other.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<File> {
    replace_as(path, content, |_| Ok(()))
}

/// As [`replace`], with something done to the new file before it gets its name.
///
/// # Errors
/// What the system said: then the file that was there is there still, and no other.
pub(crate) fn replace_as(
    path: &Path,
    content: &[u8],
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<File> {
    let (mut file, temporary) = beside(path)?;
    let written = file.write_all(content).and_then(|()| prepare(&temporary));
    let written = written.and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // On a full disk, what was written of it takes room.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(path)?;
    Ok(file)
}

/// Brings the names in the folder of `path` to the disk.
///
/// # Errors
/// What the system said.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// IEEE 802.3-2018, 3.2.9.
fn crc32(bytes: &[u8]) -> u32 {
    Crc::default().with(bytes).value()
}

/// The same of bytes that stand in several places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crc(u32);

impl Default for Crc {
    /// Of no bytes.
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc {
    /// With more bytes behind those of before.
    #[must_use]
    pub(crate) fn with(self, bytes: &[u8]) -> Self {
        let step = |remainder: u32, byte: &u8| {
            (remainder >> 8) ^ REMAINDERS[usize::from(remainder.to_le_bytes()[0] ^ byte)]
        };
        Self(bytes.iter().fold(self.0, step))
    }

    /// The checksum.
    #[must_use]
    pub(crate) fn value(self) -> u32 {
        !self.0
    }
}

const fn remainders() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    let mut value = 0_u32;
    while byte < table.len() {
        let mut remainder = value;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (0xedb8_8320 & (remainder & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
        value += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_check_text_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, b"one").unwrap();
        fs::create_dir(folder.path().join("state.new")).unwrap();
        replace(&path, b"two").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        fs::remove_dir(folder.path().join("state.new")).unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
