//! Sockets of ports that are no more: a process that was killed leaves them, and one that was taken over lends those of ports that the new
//! file does not have. Whoever connects to one waits for nobody.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::control::controller::Controller;
use crate::vhost_user::nobody_listens_at;

/// How the sockets of ports end that have no other path.
const ENDING: &str = "sock";

impl Controller {
    /// Removes the sockets in `runtime_dir` that are called as those of ports, belong to this process's user and to no port of the
    /// configuration, and at which nobody listens. To be called once what runs first is in force.
    pub(super) fn remove_stale_sockets(&self) {
        let settings = &self.config.switch;
        let ends = self.config.ports.values().filter_map(|port| Some(port.vhost_user()?.socket.clone()));
        let used: BTreeSet<PathBuf> =
            ends.chain([settings.api_socket(), settings.takeover_socket()]).collect();
        // One that cannot be read was told of when sockets were to be made in it.
        for entry in std::fs::read_dir(&settings.runtime_dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_ours = path.extension().is_some_and(|ending| ending == ENDING) && is_own_socket(&path);
            if is_ours && !used.contains(&path) && nobody_listens_at(&path) {
                remove(&path);
            }
        }
    }
}

/// Removes sockets that the process before lent, and that are nobody's any more.
pub(super) fn remove_unclaimed(paths: &[PathBuf]) {
    paths.iter().filter(|path| is_own_socket(path)).for_each(|path| remove(path));
}

fn is_own_socket(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket() && found.uid() == own)
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => {
            info!("{} was removed: no port of the configuration listens there any more", path.display())
        }
        Err(error) => {
            warn!("{} is a socket of no port and cannot be removed: {error}; remove it", path.display());
        }
    }
}
