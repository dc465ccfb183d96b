//! Files that are being written. Each has a name of its own, so that a write which a slow disk holds up, and which nobody waits for any
//! more, shares nothing with the next one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::durable::beside_as;

/// What such names end with.
const ENDING: &str = ".new";

/// Writes so far.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// A new file that is to replace the one at `path`, and its path: that one's with a number and `.new` behind it.
///
/// # Errors
/// What the system said.
pub(super) fn temporary(path: &Path) -> io::Result<(File, PathBuf)> {
    beside_as(path, &format!(".{}{ENDING}", WRITES.fetch_add(1, Ordering::Relaxed)))
}

/// Removes all such files of the file of connections at `path`: of processes that were killed, and of writes that were given up.
pub(super) fn sweep(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    let is_ours = |found: &str| {
        let rest = found.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(ENDING))
    };
    // A folder that cannot be read is told when something is to be written.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_ours) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::{path_in, rest_of};

    #[test]
    fn each_write_has_a_name_of_its_own_and_none_outlives_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());
        let rest = rest_of(&path);
        let kept = ["connections", "connections.rest", "connections-of-mine.new", "changes.new"];
        for name in kept.iter().chain(&["connections.new", "connections.rest.new"]) {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let names: Vec<PathBuf> =
            [&path, &rest, &rest, &path].map(|path| temporary(path).unwrap().1).to_vec();
        assert!(names.iter().all(|name| name.is_file()));
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{names:?}");
        sweep(&path);
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let mut kept = kept;
        kept.sort_unstable();
        assert_eq!(left, kept);
    }
}
