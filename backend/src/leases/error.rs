//! What can be wrong with a lease file.

use std::io;
use std::path::PathBuf;

/// Why a lease file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LeaseFileError {
    /// The system refused something.
    #[error("cannot {what} the lease file {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too long to be one of ours.
    #[error(
        "the lease file {path} is longer than 128 MiB: move it away, and clients will be known again as they renew"
    )]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Its first line is not one that we write.
    #[error(
        "{path} begins with {found:?} and not with a lease file's first line of version 1: \
         move it away, or run the version of Viaduct that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its first line, at most 80 bytes of it.
        found: String,
    },
}

/// A line that was passed over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseFileWarning {
    /// The last line was cut, as it is when the machine fails while it is written.
    #[error("the last line of the lease file, {line}, was cut: passed over")]
    Cut {
        /// Its number, from 1.
        line: usize,
    },
    /// A line's checksum is wrong.
    #[error("line {line} of the lease file is damaged (its checksum is wrong): passed over")]
    Damaged {
        /// Its number, from 1.
        line: usize,
    },
    /// A line is whole, but not one that we write.
    #[error("line {line} of the lease file says what cannot be ({problem}): passed over")]
    Unknown {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}
