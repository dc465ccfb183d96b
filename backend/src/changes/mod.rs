//! Changes that were made while the switch ran: what they are, and how they outlive the process, apart from the file.
//!
//! What runs is a text ([`Running`]): the file's as it was read last, or another one that the API was sent, and on it changes of
//! single ports. So what runs can be read, compared with the file and written into it with its comments; nothing makes a
//! text of a checked configuration.
//!
//! ```text
//!   state_dir/lock                                  held by the one daemon that keeps its state here
//!   state_dir/changes
//!     4f6e3a10 {"viaduct_changes":1}
//!     8d0c22b7 {"file":"[network.lab]\n…"}          what the file said when it was read
//!     19e07c55 {"document":"[network.lab]\n…"}      what the API was sent instead, if it was
//!     c0ffee12 {"port":{"name":"vm1","change":{"edit":{"groups":["web"]}}}}
//!     5b1d00e9 {"port":{"name":"vm9","change":{"declare":{"lines":"network = \"lab\"\n","is_new":true}}}}
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
mod lock;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use document::ComposeError;
pub use error::ChangesError;
pub(crate) use keeper::{Keeper, Receipt};
pub use lock::{StateInUse, lock};
pub(crate) use start::refuse;
pub use start::{Start, peek, resume, succeed};

use serde::{Deserialize, Serialize};

use serde_json::Map;

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
        change: PortChange,
    },
}

impl Noted {
    /// A port is declared by these lines, or gone.
    pub(crate) fn of_port(name: String, lines: Option<String>, is_new: bool) -> Self {
        let change = lines.map_or(PortChange::Remove, |lines| PortChange::Declare { lines, is_new });
        Self::Port { name, change }
    }
}

/// What happened to a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum PortChange {
    /// Some of its fields are others.
    Edit(PortEdit),
    /// It is declared by these lines.
    Declare {
        /// What stands under its name.
        lines: String,
        /// Whether there was none of that name.
        is_new: bool,
    },
    /// It is gone.
    Remove,
}

/// How what runs came about. Copies share the texts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Running {
    /// What the file said when it was read last.
    file: Arc<str>,
    /// What runs instead of it.
    document: Option<Arc<str>>,
    /// Changes of single ports, by name.
    ports: BTreeMap<String, ChangedPort>,
}

/// How a port is not what the text says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct ChangedPort {
    /// The text has none of that name.
    is_new: bool,
    declared: Declared,
    /// What changed since it was declared.
    edit: PortEdit,
}

/// Where a port is declared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Declared {
    /// In the text.
    #[default]
    InText,
    /// By these lines.
    By(String),
    /// Nowhere.
    Nowhere,
}

impl ChangedPort {
    fn follow(&mut self, change: PortChange) {
        match change {
            PortChange::Edit(edit) => self.edit.follow(edit),
            PortChange::Declare { lines, .. } => self.place(Declared::By(lines)),
            PortChange::Remove => self.place(Declared::Nowhere),
        }
    }

    fn place(&mut self, declared: Declared) {
        *self = Self { is_new: self.is_new, declared, edit: PortEdit::default() };
    }

    /// The fewest changes that make it so.
    fn changes(&self) -> impl Iterator<Item = PortChange> + '_ {
        let declared = match &self.declared {
            Declared::InText => None,
            Declared::By(lines) => Some(PortChange::Declare { lines: lines.clone(), is_new: self.is_new }),
            Declared::Nowhere => Some(PortChange::Remove),
        };
        let edit = (!self.edit.is_empty()).then(|| PortChange::Edit(self.edit.clone()));
        declared.into_iter().chain(edit)
    }
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

    /// What would run if a port were declared by these lines, or gone: as [`Running::text`].
    ///
    /// # Errors
    /// If the lines are no TOML.
    pub fn text_with(&self, port: &str, lines: Option<&str>, is_new: bool) -> Result<String, ComposeError> {
        let mut changed = self.clone();
        changed.note(Noted::of_port(port.to_owned(), lines.map(str::to_owned), is_new));
        changed.text()
    }

    /// What would run if these lines stood under `[KIND.NAME]`: as [`Running::text`].
    ///
    /// # Errors
    /// If the lines are no TOML.
    pub fn text_with_table(&self, table: (&str, &str), lines: &str) -> Result<String, ComposeError> {
        document::with_table(&self.text()?, table, lines)
    }

    /// What would run if the table `[KIND.NAME]` had these members, and of the members of tables in it these, without those that are `null`
    /// (RFC 7396): as [`Running::text`]. `None` where there is no such table.
    ///
    /// # Errors
    /// If TOML cannot say it.
    pub fn text_with_members(
        &self,
        table: (&str, &str),
        members: &Map<String, serde_json::Value>,
    ) -> Result<Option<String>, ComposeError> {
        document::with_members(&self.text()?, table, members)
    }

    /// The lines under `[KIND.NAME]` of what runs, if it has such a table.
    ///
    /// # Errors
    /// As [`Running::text`].
    pub fn table(&self, table: (&str, &str)) -> Result<Option<String>, ComposeError> {
        document::table(&self.text()?, table)
    }

    pub(crate) fn note(&mut self, noted: Noted) {
        match noted {
            Noted::File(text) => *self = Self::of_file(text),
            Noted::Document(text) => {
                self.ports.clear();
                self.document = (text != self.file).then_some(text);
            }
            Noted::Port { name, change } => self.note_port(name, change),
        }
    }
}

impl Running {
    /// What came and went is forgotten, so that guests that come and go under ever new names leave nothing.
    fn note_port(&mut self, name: String, change: PortChange) {
        let is_new = matches!(change, PortChange::Declare { is_new: true, .. });
        let is_over = change == PortChange::Remove && self.ports.get(&name).is_some_and(|port| port.is_new);
        if is_over {
            self.ports.remove(&name);
        } else {
            self.ports
                .entry(name)
                .or_insert_with(|| ChangedPort { is_new, ..ChangedPort::default() })
                .follow(change);
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
