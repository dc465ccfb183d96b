//! The configuration that runs, beside its file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::Change;

/// Whether what runs is what the file says, and survives.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationStatus {
    /// The daemon's file.
    pub file: PathBuf,
    /// Whether something was changed at run time since the file was read.
    pub is_changed: bool,
    /// Why a restart would forget run-time changes, if it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}

/// How what runs differs from the file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Differences {
    /// The running configuration's number.
    pub generation: u64,
    /// The file, and whether run-time changes are in force.
    #[serde(flatten)]
    pub configuration: ConfigurationStatus,
    /// Whether the file says something else than when it was read.
    pub is_file_edited: bool,
    /// What makes of the file what runs.
    pub changes: Vec<Change>,
    /// Why the file cannot be compared, if it cannot: it is wrong, or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
}
