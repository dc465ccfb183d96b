//! Network namespaces: doing something in another one, and telling whether a file still names the same.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Tells one network namespace from every other that exists at the same time (namespaces(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

impl NamespaceId {
    /// The namespace that the file at `path` names now.
    ///
    /// # Errors
    /// There is no such file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// The file system and the file.
    #[must_use]
    pub const fn parts(self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// Does `work` in the network namespace that the file at `namespace` names, or right here. Sockets and devices that it
/// opens belong to that namespace, from wherever they are used.
///
/// # Errors
/// The file names no network namespace, this process may not enter it, or what `work` says.
pub fn within<T, E>(namespace: Option<&Path>, work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
where
    T: Send,
    E: From<io::Error> + Send,
{
    let Some(path) = namespace else { return work() };
    let file = File::open(path)?;
    // A thread of its own, which ends: so nothing else of this process can ever be in the wrong namespace.
    let visit = || {
        setns(&file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
        work()
    };
    thread::scope(|scope| {
        let visitor = thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, visit)?;
        visitor.join().unwrap_or_else(|_| Err(io::Error::other("the visit panicked").into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_namespace_is_an_error_and_work_is_not_done() {
        for path in ["/proc/version", "/no/such/file"] {
            let done: io::Result<()> = within(Some(Path::new(path)), || unreachable!());
            assert!(done.is_err(), "{path}");
        }
    }

    #[test]
    fn the_own_namespace_has_an_identity() {
        let own = Path::new("/proc/self/ns/net");
        assert_eq!(NamespaceId::of(own).unwrap(), NamespaceId::of(own).unwrap());
        assert_ne!(NamespaceId::of(own).unwrap(), NamespaceId::of(Path::new("/proc/self/ns/mnt")).unwrap());
    }
}
