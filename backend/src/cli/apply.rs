//! `viaduct apply FILE`: make the running daemon match a file.

use std::path::Path;

use super::check::counted;
use super::failure::Failure;
use super::locate::Locate;
use super::{Style, json};
use crate::api::{Applied, Client, ClientError};
use crate::config::{self, ThisHost};

/// Sends the file and tells what changed, or with `dry_run` would change.
pub(super) fn apply(locate: &Locate, file: &Path, dry_run: bool, style: Style) -> Result<String, Failure> {
    let text = config::read(file)?;
    let name = file.display().to_string();
    let client = if locate.is_said() { locate.client()? } else { own_daemon(&text, &name)? };
    let applied = client.put_config(text, dry_run).map_err(|error| refused(error, &name))?;
    if style.json { json(&applied) } else { Ok(difference(&applied, dry_run)) }
}

/// The daemon in the file's own `runtime_dir`.
fn own_daemon(text: &[u8], name: &str) -> Result<Client, Failure> {
    Ok(Client::new(config::parse(text, name, &ThisHost)?.config.switch.api_socket()))
}

/// Why it was refused, with all that is wrong in `file`.
pub(super) fn refused(error: ClientError, file: &str) -> Failure {
    match error {
        ClientError::Refused { refusal, .. } => Failure::in_file(refusal, file),
        other => other.into(),
    }
}

/// What was changed, or would be, a line each.
pub(super) fn difference(applied: &Applied, dry_run: bool) -> String {
    let mut text = String::new();
    for warning in &applied.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if let Some(problem) = &applied.changes.not_kept {
        text.push_str(&format!("warning: a restart would forget this: {problem}\n"));
    }
    for change in &applied.changes.changes {
        text.push_str(&format!("{change}\n"));
    }
    let generation = applied.changes.generation;
    let changes = counted(applied.changes.changes.len() as u64, "change");
    let summary = match (applied.changes.changes.is_empty(), dry_run) {
        (true, _) => format!("nothing to change; generation {generation} runs"),
        (false, true) => format!("{changes} would be made; nothing was changed"),
        (false, false) => format!("{changes} made; generation {generation} runs"),
    };
    text.push_str(&format!("{summary}\n"));
    text
}
