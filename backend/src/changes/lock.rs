//! One daemon for one `state_dir`: two would replace each other's files, and both say that all is kept.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Another daemon has the folder.
#[derive(Debug, thiserror::Error)]
#[error(
    "another daemon keeps its state in {}; give this one a folder of its own (switch.state_dir), or end the other one first",
    state_dir.display()
)]
pub struct StateInUse {
    state_dir: PathBuf,
}

/// Keeps all other daemons from `state_dir` for as long as the file is open, which ends with the process, however that ends. `None`: no
/// file can be made there, so that nobody keeps anything there either.
///
/// # Errors
/// Another daemon has the folder.
pub fn lock(state_dir: &Path) -> Result<Option<File>, StateInUse> {
    // Should that fail, opening does, too.
    let _ = std::fs::create_dir_all(state_dir);
    let opened =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(state_dir.join("lock"));
    let Ok(file) = opened else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StateInUse { state_dir: state_dir.to_owned() }),
        // A file system that knows no locks.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_daemon_until_that_ends() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let held = lock(&state).unwrap();
        assert!(held.is_some());
        let told = lock(&state).unwrap_err().to_string();
        assert!(told.contains(state.to_str().unwrap()) && told.contains("switch.state_dir"), "{told}");
        drop(held);
        assert!(lock(&state).unwrap().is_some());
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_locked() {
        assert!(lock(Path::new("/proc/viaduct")).unwrap().is_none());
    }
}
