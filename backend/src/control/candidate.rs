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
            Self::Nowhere => None,
        }
    }
}
