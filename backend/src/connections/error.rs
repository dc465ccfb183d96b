//! Why no connection was restored.

use std::io;

/// Why a file of connections does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptError {
    /// It cannot be read.
    #[error("cannot be read: {0}; no connection is restored")]
    Io(#[from] io::Error),
    /// Its beginning is damaged, or it is something else.
    #[error("is damaged at its beginning, or no file of this kind; no connection is restored")]
    NotOurs,
    /// A later program wrote it.
    #[error(
        "has version {found}, of which this program knows nothing; no connection is restored: run the program that wrote it"
    )]
    Newer {
        /// Its version.
        found: u32,
    },
}
