//! What can be wrong with the file of run-time changes.

use std::io;

use super::ComposeError;
use super::file::FILE_MAX;

/// Why kept changes are not in force, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// The system refused to read them.
    #[error("cannot be read: {0}; let the daemon's user read it")]
    Io(#[from] io::Error),
    /// It is longer than any that is written.
    #[error("is longer than {} MiB, which none of ours is", FILE_MAX >> 20)]
    TooLong,
    /// It does not begin as ours do.
    #[error("is damaged at its beginning, or is no file of ours")]
    NotOurs,
    /// A later version wrote it.
    #[error(
        "is of version {found}, and this Viaduct knows version 1: run the version that wrote it, or make the changes anew"
    )]
    Newer {
        /// Its version.
        found: u32,
    },
    /// A line in the midst of it is wrong: what stands before it counts.
    #[error(
        "is damaged in line {line}: the changes before it are in force, those from there on are not; make them anew"
    )]
    Damaged {
        /// The line, from 1.
        line: usize,
    },
    /// The file says something else than when the changes were made.
    #[error(
        "is about another text than the configuration file has now: the file alone is in force; make anew what is missing"
    )]
    Superseded,
    /// It was asked to run the file alone.
    #[error("is not wanted: the file alone is in force")]
    Unwanted,
    /// The changes do not fit the text on which they were made.
    #[error("cannot be applied: {0}")]
    Compose(#[from] ComposeError),
    /// What comes out is no configuration here and now.
    #[error("gives a configuration that is refused: {0}")]
    Refused(String),
}
