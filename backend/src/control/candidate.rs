//! A configuration that is to run, and whence it comes.

use std::sync::Arc;

use crate::changes::Noted;
use crate::config::Config;

/// Whence a configuration comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The daemon's file has this text.
    File(Arc<str>),
    /// Somebody sent this text.
    Text(Arc<str>),
    /// What runs, with one port declared anew or gone.
    Port {
        /// Its name.
        name: String,
        /// The lines under its name; `None`: it is gone.
        lines: Option<String>,
        /// Whether there was none of that name.
        is_new: bool,
    },
    /// No text: it is not kept.
    Nowhere,
}

/// A configuration that is to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// What is wanted, checked.
    pub config: Config,
    /// Whence it comes.
    pub source: Source,
}

impl From<Config> for Candidate {
    fn from(config: Config) -> Self {
        Self { config, source: Source::Nowhere }
    }
}

impl Source {
    pub(super) fn noted(self) -> Option<Noted> {
        match self {
            Self::File(text) => Some(Noted::File(text)),
            Self::Text(text) => Some(Noted::Document(text)),
            Self::Port { name, lines, is_new } => Some(Noted::of_port(name, lines, is_new)),
            Self::Nowhere => None,
        }
    }
}
