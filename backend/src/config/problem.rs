//! What can be wrong with a file, and how it is told.

use std::fmt;
use std::io;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One thing that is wrong in a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The field, as in `port.vm1.mtu`; empty where the text is not TOML.
    pub field: String,
    /// What stands there, shortened.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}

/// Everything that is wrong in one file, in the order of its lines.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub struct WrongFile {
    /// The file's name, as it was given.
    pub file: String,
    /// The problems; at least one.
    pub problems: Vec<Problem>,
    /// How many problems are left out because there are too many to read.
    pub left_out: usize,
}

impl fmt::Display for WrongFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{problem}", self.file)?;
        }
        if self.left_out > 0 {
            write!(f, "\n{}: and {} more; mend these first", self.file, self.left_out)?;
        }
        Ok(())
    }
}

/// Why a file gives no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{}: there is no such file; write one (see docs/configuration.md) or name another with --config", .0.display())]
    NotFound(PathBuf),
    /// The file may not be read.
    #[error("{}: permission denied; run as a user who may read it", .0.display())]
    Denied(PathBuf),
    /// The file cannot be read for another reason.
    #[error("{}: cannot be read: {error}; name a regular file", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is longer than any configuration.
    #[error(
        "{file}: longer than {limit} bytes, the most that a configuration may have; is it the right file?"
    )]
    TooLarge {
        /// The file's name.
        file: String,
        /// The longest that is read, in bytes.
        limit: usize,
    },
    /// The text is wrong.
    #[error(transparent)]
    Wrong(#[from] WrongFile),
}

impl ConfigError {
    /// The problems inside of the file, where it could be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Wrong(wrong) => &wrong.problems,
            _ => &[],
        }
    }
}
