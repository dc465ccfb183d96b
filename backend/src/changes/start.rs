//! What runs first: the file, or what ran before the process ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::file::{Content, read};
use super::{ChangesError, Keeper, Running, aside, path_in};
use crate::config::{Config, Host, parse};
use crate::durable::replace;
use crate::takeover::Successor;

/// What is to run first.
#[derive(Debug)]
pub struct Start {
    /// The daemon's file; empty if there is none.
    pub(crate) file: PathBuf,
    /// The configuration.
    pub(crate) config: Config,
    /// How it came about.
    pub(crate) running: Running,
    /// The file alone, where that is something else: should the configuration be refused.
    pub(crate) fallback: Option<(Config, Running)>,
    /// Where changes are kept from now on, and whether that does not say yet what runs.
    pub(crate) kept: Option<(PathBuf, bool)>,
    /// The process from which all that runs is taken over.
    pub(crate) succession: Option<Successor>,
}

impl Start {
    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Starts the thread that keeps changes, if they are to be kept: once signals are taken from all threads that start.
    pub(crate) fn take_keeper(&mut self) -> io::Result<Option<Keeper>> {
        let kept = self.kept.take();
        kept.map(|(path, is_dirty)| Keeper::start(&path, self.running.clone(), is_dirty)).transpose()
    }
}

impl From<Config> for Start {
    /// Nothing of it is kept.
    fn from(config: Config) -> Self {
        Self {
            file: PathBuf::new(),
            config,
            running: Running::default(),
            fallback: None,
            kept: None,
            succession: None,
        }
    }
}

/// What is to run first where the file has this text and says this. Changes that were kept in its `state_dir` are in force, if
/// they were made on this very text; else, and if it is to be `fresh`, they are set aside.
pub fn resume(file: &Path, (text, config): (&str, Config), fresh: bool, host: &dyn Host) -> Start {
    let path = path_in(&config.switch.state_dir);
    let of_file = Running::of_file(text);
    let found = read(&path).and_then(|content| wanted(content, text, fresh, host));
    let (start, is_dirty) = match found {
        Ok(None) => ((config, of_file, None), false),
        Ok(Some((changed, Content { running, damaged }))) => {
            if let Some(line) = damaged {
                tell(&path, &ChangesError::Damaged { line });
                // A copy, since what counts takes its place.
                let copied = fs::read(&path).and_then(|content| replace(&aside(&path), &content));
                told(copied.map(drop), &path);
            }
            info!(
                "run-time changes are in force: `viaduct diff` shows them, and applying the file discards them"
            );
            ((changed, running, Some((config, of_file))), true)
        }
        Err(error) => {
            refuse(&path, &error);
            ((config, of_file, None), false)
        }
    };
    let (config, running, fallback) = start;
    let kept = Some((path, is_dirty));
    Start { file: file.to_owned(), config, running, fallback, kept, succession: None }
}

/// What is to run first where another process runs it now: as [`resume`], but what cannot be resumed is refused, and nothing is changed
/// on the disk, since that process may have to go on.
///
/// # Errors
/// Run-time changes do not go with this file.
pub fn succeed(
    file: &Path,
    (text, config): (&str, Config),
    succession: Successor,
    host: &dyn Host,
) -> Result<Start, ChangesError> {
    let path = path_in(&config.switch.state_dir);
    let found = read(&path)?;
    let found = wanted(found, text, false, host)?;
    let (config, running) = match found {
        Some((changed, Content { running, .. })) => (changed, running),
        None => (config, Running::of_file(text)),
    };
    let (kept, succession) = (Some((path, false)), Some(succession));
    Ok(Start { file: file.to_owned(), config, running, fallback: None, kept, succession })
}

/// The configuration that [`resume`] would have run first where that is not the file's; nothing is changed or told.
#[must_use]
pub fn peek((text, config): (&str, &Config), fresh: bool, host: &dyn Host) -> Option<Config> {
    let found =
        read(&path_in(&config.switch.state_dir)).and_then(|content| wanted(content, text, fresh, host));
    found.ok().flatten().map(|(changed, _)| changed)
}

/// The changed configuration, if there is one.
pub(super) fn wanted(
    content: Option<Content>,
    text: &str,
    fresh: bool,
    host: &dyn Host,
) -> Result<Option<(Config, Content)>, ChangesError> {
    let Some(content) = content.filter(|content| !content.running.is_file()) else { return Ok(None) };
    if fresh {
        return Err(ChangesError::Unwanted);
    }
    if content.running.file() != text {
        return Err(ChangesError::Superseded);
    }
    let changed = content.running.text()?;
    let loaded = parse(changed.as_bytes(), "the changed configuration", host);
    let loaded = loaded.map_err(|error| ChangesError::Refused(error.to_string()))?;
    Ok(Some((loaded.config, content)))
}

/// Tells why the changes do not count, and puts them away.
pub(crate) fn refuse(path: &Path, error: &ChangesError) {
    tell(path, error);
    told(fs::rename(path, aside(path)), path);
}

fn told(done: io::Result<()>, path: &Path) {
    let (path, aside) = (path.display(), aside(path));
    match done {
        Ok(()) => warn!("what stood in {path} is kept as {}", aside.display()),
        Err(error) => warn!("{path} cannot be set aside as {}: {error}", aside.display()),
    }
}

fn tell(path: &Path, error: &ChangesError) {
    warn!("the file of run-time changes {} {error}", path.display());
}
