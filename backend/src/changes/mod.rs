//! Changes that were made while the switch ran: what they are, and how they outlive the process, apart from the file.
//!
//! What runs is a text ([`Running`]): the file's as it was read last, or another one that the API was sent, and on it changes of
//! single ports. So what runs can be read, compared with the file and written into it with its comments; nothing makes a
//! text of a checked configuration.
//!
//! ```text
//!   state_dir/changes
//!     4f6e3a10 {"viaduct_changes":1}
//!     8d0c22b7 {"file":"[network.lab]\n…"}          what the file said when it was read
//!     19e07c55 {"document":"[network.lab]\n…"}      what the API was sent instead, if it was
//!     c0ffee12 {"port":{"name":"vm1","edit":{"groups":["web"]}}}
//! ```
//!
//! **The file wins.** The changes count for the text on which they were made. Where the file says something else when the
//! process starts, it runs alone, and the changes are set aside. Reading the file anew (SIGHUP) and sending its text discard them,
//! and then there is no such file.
//!
//! **An answered change is durable.** A change of a port is one line that is appended and synced; any other is a file that is
//! written beside, synced and renamed. A thread of its own does that (`keeper.rs`), so that neither frames nor the control thread wait for
//! a disk; who asked for the change waits for it. A change that cannot be kept is made all the same and said to be not kept: a
//! full disk takes nothing away from guests. It is tried again every second.
//!
//! **Never between.** Lines hold whole changes, in their order. A last line that was cut was not answered, and does not count. What
//! follows a damaged line does not count either: the state is one that was.
//!
//! **Why not a database.** It is one text and a few lines, read once and written seldom, by one thread; people can read it.

mod document;
mod error;
mod file;
mod keeper;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use document::ComposeError;
pub use error::ChangesError;
pub(crate) use keeper::{Keeper, Receipt};
pub(crate) use start::refuse;
pub use start::{Start, resume};

use crate::control::PortEdit;

/// What happened to what runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Noted {
    /// The file is what runs, and says this.
    File(Arc<str>),
    /// This is what runs, whatever the file says.
    Document(Arc<str>),
    /// A port was changed.
    Port {
        /// Its name.
        name: String,
        /// What was changed of it.
        edit: PortEdit,
    },
}

/// How what runs came about. Copies share the texts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Running {
    /// What the file said when it was read last.
    file: Arc<str>,
    /// What runs instead of it.
    document: Option<Arc<str>>,
    /// Changes of single ports, by name.
    ports: BTreeMap<String, PortEdit>,
}

impl Running {
    /// What the file says, and nothing else.
    #[must_use]
    pub fn of_file(text: impl Into<Arc<str>>) -> Self {
        Self { file: text.into(), document: None, ports: BTreeMap::new() }
    }

    /// Whether it is what the file said when it was read last.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.document.is_none() && self.ports.is_empty()
    }

    /// What the file said when it was read last.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What runs, as a text: that of the file or of the API, with comments and order, and the changes of ports in it.
    ///
    /// # Errors
    /// If the text is no TOML, or has no such port: neither can be of what runs.
    pub fn text(&self) -> Result<String, ComposeError> {
        document::compose(self.document.as_ref().unwrap_or(&self.file), &self.ports)
    }

    pub(crate) fn note(&mut self, noted: Noted) {
        match noted {
            Noted::File(text) => *self = Self::of_file(text),
            Noted::Document(text) => {
                self.ports.clear();
                self.document = (text != self.file).then_some(text);
            }
            Noted::Port { name, edit } => self.ports.entry(name).or_default().follow(edit),
        }
    }
}

/// Where changes are kept in a `state_dir`.
#[must_use]
pub fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join("changes")
}

/// Where what does not count any more is put.
fn aside(path: &Path) -> PathBuf {
    path.with_extension("aside")
}
