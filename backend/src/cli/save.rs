//! `viaduct diff` and `viaduct save`: what runs, and the file.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use clap::Args;

use super::check::counted;
use super::failure::Failure;
use super::{Style, json};
use crate::api::{Client, ClientError};
use crate::durable;
use crate::model::{ConfigurationStatus, Differences};

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct save                              what runs is what the file says from now on
  viaduct save --stdout > what-runs.toml
  viaduct save --to today.toml              another file; the daemon's stays as it is";

/// How often what runs is written anew because it changed meanwhile.
const ATTEMPTS: usize = 5;

/// HTTP's status where another generation runs than was expected (RFC 9110, 15.5.13).
const PRECONDITION_FAILED: u16 = 412;

/// What to write, and where.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write into this file instead, whatever the daemon's file says
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Print it, and write nothing
    #[arg(long, conflicts_with = "to")]
    stdout: bool,
}

/// Tells how what runs differs from the daemon's file as it is now.
pub(super) fn diff(client: &Client, style: Style) -> Result<String, Failure> {
    let told: Differences = client.get("/v1/changes")?;
    if style.json {
        return json(&told);
    }
    if let Some(problem) = told.not_compared {
        return Err(Failure::new(format!("what runs cannot be compared with the file: {problem}")));
    }
    let file = told.configuration.file.display();
    let mut text: String = told.changes.iter().map(|change| format!("{change}\n")).collect();
    let count = counted(told.changes.len() as u64, "difference");
    text.push_str(&match (told.changes.is_empty(), told.is_file_edited) {
        (true, false) => format!("what runs is what {file} says\n"),
        (true, true) => format!("what runs is what {file} says, though other words stand there than when it was read\n"),
        (false, false) => format!(
            "{count} of what runs to {file}: `viaduct save` writes them there, `viaduct apply {file}` undoes them\n"
        ),
        (false, true) => format!(
            "{count} of what runs to {file}, which was edited since it was read: `viaduct apply {file}` makes it run\n"
        ),
    });
    Ok(text + &not_kept(&told.configuration))
}

/// What `viaduct show` says of it: nothing, if the file runs.
pub(super) fn status_lines(status: &ConfigurationStatus) -> String {
    let changed = "changed at run time: `viaduct diff` tells how, `viaduct save` writes it into the file\n";
    let changed = if status.is_changed { changed } else { "" };
    format!("{changed}{}", not_kept(status))
}

fn not_kept(status: &ConfigurationStatus) -> String {
    let line = |problem: &String| format!("run-time changes are not kept: {problem}\n");
    status.not_kept.as_ref().map_or(String::new(), line)
}

/// Writes what runs.
pub(super) fn save(client: &Client, arguments: &Arguments, style: Style) -> Result<String, Failure> {
    let text = match arguments {
        Arguments { stdout: true, .. } => return Ok(client.config()?.0),
        Arguments { to: Some(file), .. } => {
            write(file, client.config()?.0)?;
            format!("what runs was written to {}\n", file.display())
        }
        _ => save_into_own(client)?,
    };
    if style.json { json(&client.get::<Differences>("/v1/changes")?) } else { Ok(text) }
}

/// Makes the daemon's file what runs, and lets the daemon know. Where the daemon does not take it, the file is as it was.
fn save_into_own(client: &Client) -> Result<String, Failure> {
    let told: Differences = client.get("/v1/changes")?;
    let file = told.configuration.file;
    let shown = file.display();
    if told.is_file_edited || told.not_compared.is_some() {
        return Err(Failure::new(format!(
            "{shown} says something else than when the daemon read it, and that would be lost; nothing was written. Write what \
             runs to another file with --to, or make {shown} run with `viaduct apply {shown}`"
        )));
    }
    let before = fs::read(&file).map_err(|error| {
        Failure::new(format!(
            "cannot read {shown}: {error}; run as a user who may, or name another file with --to"
        ))
    })?;
    for _ in 0..ATTEMPTS {
        let (text, tag) = client.config()?;
        write(&file, &text)?;
        match client.expecting(tag).put_config(text.clone().into_bytes(), false) {
            Ok(_) => return Ok(format!("{shown} says what runs\n")),
            Err(ClientError::Refused { status: PRECONDITION_FAILED, .. }) => {}
            Err(error) if is_answered(&error) => {
                put_back(&file, &before, &text)?;
                return Err(error.into());
            }
            // The daemon may have taken it, and keep no changes beside it any more.
            Err(error) => {
                return Err(Failure::new(format!(
                    "{shown} says what runs, but whether the daemon knows is not known: {error}. `viaduct diff` tells"
                )));
            }
        }
        put_back(&file, &before, &text)?;
    }
    Err(Failure::new(format!(
        "what runs changes faster than it can be written to {shown}, which is as it was; try again when it is quiet"
    )))
}

/// Whether the daemon did not do it, for sure.
fn is_answered(error: &ClientError) -> bool {
    match error {
        ClientError::NotRunning(_) | ClientError::Denied { .. } => true,
        ClientError::Refused { status, .. } => *status < 500,
        ClientError::Silent(_) | ClientError::Broken { .. } => false,
    }
}

/// Gives a file that has our text what it had before. What somebody else wrote meanwhile stays.
fn put_back(file: &Path, before: &[u8], ours: &str) -> Result<(), Failure> {
    if fs::read(file).is_ok_and(|found| found == ours.as_bytes()) { write(file, before) } else { Ok(()) }
}

/// Replaces the file, whose mode and owner stay; where a link stands, the one that it leads to.
fn write(file: &Path, text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let path = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let before = fs::metadata(&path).ok();
    let written = durable::replace_as(&path, text.as_ref(), |made| as_before(made, before.as_ref()));
    written.map(drop).map_err(|error| {
        Failure::new(format!(
            "cannot write {}: {error}; run as a user who may, or name another file with --to",
            path.display()
        ))
    })
}

fn as_before(made: &Path, before: Option<&fs::Metadata>) -> io::Result<()> {
    let Some(before) = before else { return Ok(()) };
    chown(made, Some(before.uid()), Some(before.gid()))?;
    fs::set_permissions(made, before.permissions())
}
