//! What of the configuration is kept for the next process.

use std::collections::BTreeSet;
use std::path::PathBuf;

use event_manager::EventOps;

use crate::changes::{self, ChangesError, Keeper, Noted, PortChange, Receipt, Running};
use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::{ApplyError, Candidate, Change, Changes, PortEdit, plan};
use crate::model::ConfigurationStatus;

/// How what runs came about, and who keeps it.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// The daemon's file.
    pub(super) file: PathBuf,
    pub(super) running: Running,
    pub(super) keeper: Option<Keeper>,
}

/// What runs, in words of the file.
#[derive(Clone, Debug)]
pub struct RunningState {
    /// The running configuration's number.
    pub generation: u64,
    /// The daemon's file; empty if it has none.
    pub file: PathBuf,
    /// How what runs came about.
    pub running: Running,
    /// The names of all ports.
    pub ports: BTreeSet<String>,
    /// Why changes are not kept, if they cannot be.
    pub not_kept: Option<String>,
}

impl Keeping {
    pub(super) fn note(&mut self, noted: Noted) -> Option<Receipt> {
        self.running.note(noted.clone());
        self.keeper.as_ref().map(|keeper| keeper.note(noted))
    }

    fn problem(&self) -> Option<String> {
        self.keeper.as_ref().and_then(Keeper::problem)
    }

    pub(super) fn status(&self) -> ConfigurationStatus {
        ConfigurationStatus {
            file: self.file.clone(),
            is_changed: !self.running.is_file(),
            not_kept: self.problem(),
        }
    }
}

impl Controller {
    /// As [`Controller::apply`], and takes note of it.
    pub(super) fn apply_kept(
        &mut self,
        candidate: Candidate,
        dry_run: bool,
        ops: &mut EventOps,
    ) -> Result<(Changes, Option<Receipt>), ApplyError> {
        let Candidate { config, source } = candidate;
        let changes = self.apply(config, dry_run, ops)?;
        let noted = source.noted().filter(|_| !dry_run);
        Ok((changes, noted.and_then(|noted| self.keeping.note(noted))))
    }

    /// As [`Controller::edit`], and takes note of it.
    pub(super) fn edit_kept(
        &mut self,
        name: &str,
        edit: PortEdit,
        dry_run: bool,
        ops: &mut EventOps,
    ) -> Result<(Changes, Option<Receipt>), ApplyError> {
        let changes = self.edit(name, edit.clone(), dry_run, ops)?;
        if dry_run || changes.changes.is_empty() {
            return Ok((changes, None));
        }
        let receipt =
            self.keeping.note(Noted::Port { name: name.to_owned(), change: PortChange::Edit(edit) });
        Ok((changes, receipt))
    }

    /// Applies what is to run first. Where the changes of the process before are refused, the file alone runs.
    pub(super) fn begin(
        &mut self,
        first: Config,
        fallback: Option<(Config, Running)>,
        ops: &mut EventOps,
    ) -> Result<Changes, ApplyError> {
        let path = changes::path_in(&first.switch.state_dir);
        match (self.apply(first, false, ops), fallback) {
            (Err(error), Some((config, running))) => {
                // What keeps the file from running, too, may be over when the daemon is started again: the changes stay for that.
                let applied = self.apply(config, false, ops)?;
                changes::refuse(&path, &ChangesError::Refused(error.to_string()));
                // Nobody waits for it.
                let _ = self.keeping.note(Noted::File(running.file().into()));
                Ok(applied)
            }
            (applied, _) => applied,
        }
    }

    pub(super) fn running_state(&self) -> RunningState {
        RunningState {
            generation: self.generation,
            file: self.keeping.file.clone(),
            running: self.keeping.running.clone(),
            ports: self.config.ports.keys().cloned().collect(),
            not_kept: self.keeping.problem(),
        }
    }
}

/// How `to` differs from `from`.
///
/// # Errors
/// What is different and cannot change while the switch runs, or what cannot run at all.
pub fn differences(from: &Config, to: &Config) -> Result<Vec<Change>, ApplyError> {
    Ok(plan::diff(from, to)?.changes)
}
