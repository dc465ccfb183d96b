//! A port's socket in the file system: made so that nobody meets it half ready, removed if it is still ours.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Gid, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::vhost_user::disposal::Disposal;

/// Longest path of a socket in bytes: 107 fit into `sockaddr_un` (unix(7)), and the name under which the
/// socket is made is one byte longer.
const PATH_MAX: usize = 106;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// Why a socket could not be made or reached.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path does not fit into a socket address.
    #[error("{}: the path of a socket may have {PATH_MAX} bytes at most; choose a shorter one", .0.display())]
    TooLong(PathBuf),
    /// The path names no file.
    #[error("{}: this is no path of a socket; name a file in a folder", .0.display())]
    NoName(PathBuf),
    /// Something else is there.
    #[error("{}: there is a file that is not a socket; move it away or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// Somebody listens there.
    #[error(
        "{}: {} listens there; stop it or choose another path",
        path.display(),
        peer.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The path.
        path: PathBuf,
        /// The listener's process, where the kernel tells.
        peer: Option<i32>,
    },
    /// The service manager passed another socket.
    #[error(
        "the service manager passed {}, and not a socket that listens at {}: ListenStream= of its socket unit and runtime_dir under [switch] \
         have to agree",
        if found.as_os_str().is_empty() { "something else".to_owned() } else { found.display().to_string() },
        path.display()
    )]
    Inherited {
        /// Where it should listen.
        path: PathBuf,
        /// Where it listens; empty if nowhere.
        found: PathBuf,
    },
    /// The group does not exist.
    #[error("group {0} does not exist; make it (groupadd --system {0}) or name another under [switch]")]
    NoGroup(String),
    /// The system refused a step.
    #[error("{}: cannot {step}: {error}; {}", path.display(), remedy(error))]
    System {
        /// The path.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// What usually helps against `error`.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run as a user who may do that, or choose another path",
        io::ErrorKind::NotFound => "make the folder, or choose another path",
        io::ErrorKind::ReadOnlyFilesystem => "choose a path on a file system that can be written",
        _ => "check the folder and its file system",
    }
}

/// Who may use the sockets that we make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Mode bits.
    pub mode: u32,
    /// Owning group; `None` leaves the process's own.
    pub group: Option<u32>,
}

impl Access {
    /// Looks the group's number up.
    ///
    /// # Errors
    /// There is no such group.
    pub fn new(mode: u32, group: Option<&str>) -> Result<Self, SocketError> {
        let Some(name) = group else { return Ok(Self { mode, group: None }) };
        let group = crate::config::group_of(name).ok_or_else(|| SocketError::NoGroup(name.to_owned()))?;
        Ok(Self { mode, group: Some(group) })
    }
}

/// A listening socket and the file that it made.
#[derive(Debug)]
pub struct Listener {
    socket: Arc<UnixListener>,
    path: PathBuf,
    identity: (u64, u64),
    /// Somebody else made it, and keeps it.
    inherited: bool,
    /// Another process has it, too: it goes on when this one lets go of it. Who may use it once it is this one's own.
    lent: Option<Access>,
}

impl Listener {
    /// Listens at `path`; a socket that nobody listens on is replaced, the folder is made if it is missing.
    ///
    /// The socket is made under a temporary name, given its group and mode before it listens, and only then
    /// renamed: whoever finds the path finds it ready.
    ///
    /// # Errors
    /// What is in the way, or what the system refused.
    pub fn bind(path: &Path, access: Access) -> Result<Self, SocketError> {
        let temporary = temporary_name(path)?;
        make_folder(path)?;
        make_room(path)?;
        make_room(&temporary)?;
        remove_stale(&temporary)?;
        let identity = Identity::of(path);
        let socket = bind_ready(&temporary, access).and_then(|socket| {
            std::fs::rename(&temporary, path)
                .map_err(|error| identity.failed("rename the socket to its name", error))?;
            Ok(socket)
        });
        let socket = socket.inspect_err(|_| drop(std::fs::remove_file(&temporary)))?;
        let metadata =
            std::fs::symlink_metadata(path).map_err(|error| identity.failed("examine the socket", error))?;
        let identity = (metadata.dev(), metadata.ino());
        let socket = Arc::new(socket);
        Ok(Self { socket, path: path.to_owned(), identity, inherited: false, lent: None })
    }

    /// Takes a socket that the service manager made, which listens at `path` already and goes on when this is dropped.
    ///
    /// # Errors
    /// It is another one, or the system refused.
    pub fn inherit(socket: OwnedFd, path: &Path, access: Access) -> Result<Self, SocketError> {
        let at = Identity::of(path);
        let socket = UnixListener::from(socket);
        let listens = rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false);
        let found = socket.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
        if !listens || found.as_deref() != Some(path) {
            return Err(SocketError::Inherited { path: path.to_owned(), found: found.unwrap_or_default() });
        }
        socket.set_nonblocking(true).map_err(|error| at.failed("make it wait for nothing", error))?;
        set_access(path, access)?;
        let metadata =
            std::fs::symlink_metadata(path).map_err(|error| at.failed("examine the socket", error))?;
        let identity = (metadata.dev(), metadata.ino());
        let socket = Arc::new(socket);
        Ok(Self { socket, path: path.to_owned(), identity, inherited: true, lent: None })
    }

    /// A socket that another process lent, which listens at `path` already. It stays when this is dropped, until [`Listener::claim`], and also
    /// then if somebody else made it.
    ///
    /// # Errors
    /// The path cannot be examined.
    pub fn lent(socket: OwnedFd, path: &Path, inherited: bool, access: Access) -> Result<Self, SocketError> {
        let metadata = std::fs::symlink_metadata(path)
            .map_err(|error| Identity::of(path).failed("examine the socket", error))?;
        let (socket, identity) = (Arc::new(socket.into()), (metadata.dev(), metadata.ino()));
        Ok(Self { socket, path: path.to_owned(), identity, inherited, lent: Some(access) })
    }

    /// The socket is this process's own from now on, and who may use it is what this one's configuration says.
    ///
    /// # Errors
    /// The system refused that; it is this process's own nevertheless.
    pub fn claim(&mut self) -> Result<(), SocketError> {
        self.lent.take().map_or(Ok(()), |access| self.set_access(access))
    }

    /// Whether somebody else made it, and keeps it.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// The socket, for another process.
    #[must_use]
    pub fn lend(&self) -> Arc<UnixListener> {
        Arc::clone(&self.socket)
    }

    /// The next connection, non-blocking; `None` when nobody waits.
    ///
    /// # Errors
    /// The process or the system is out of descriptors or memory.
    pub fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.socket.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(stream))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }

    /// Gives the socket another mode and group, if it is still ours; a group of `None` changes none.
    ///
    /// # Errors
    /// What the system refused.
    pub fn set_access(&self, access: Access) -> Result<(), SocketError> {
        if self.is_ours() { set_access(&self.path, access) } else { Ok(()) }
    }

    fn is_ours(&self) -> bool {
        let found = std::fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        found.is_ok_and(|found| found == self.identity)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.inherited || self.lent.is_some() {
            return;
        }
        if self.is_ours() {
            // A folder that became unwritable keeps a socket that refuses; the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
        // Who waits may have sent files, which would be closed with the listener, for as long as that takes. After the
        // shutdown nobody else comes.
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Both);
        let disposal = Disposal::default();
        while let Ok(Some(waiting)) = self.accept() {
            disposal.hang_up(waiting);
        }
    }
}

/// Connects to the socket that somebody else listens on, without ever waiting.
///
/// # Errors
/// Nobody listens there, or its queue is full.
pub fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    let at = Identity::of(path);
    let address = SocketAddrUnix::new(path).map_err(|_| SocketError::TooLong(path.to_owned()))?;
    let socket = new_socket().map_err(|error| at.failed("make a socket", error))?;
    rustix::net::connect(&socket, &address).map_err(|error| at.failed("connect", error))?;
    Ok(UnixStream::from(socket))
}

/// The process at the other end, where the kernel tells.
#[must_use]
pub fn peer_pid(socket: impl AsFd) -> Option<i32> {
    let credentials = rustix::net::sockopt::socket_peercred(socket).ok()?;
    Some(credentials.pid.as_raw_nonzero().get())
}

/// A path, for error messages.
struct Identity<'a>(&'a Path);

impl<'a> Identity<'a> {
    fn of(path: &'a Path) -> Self {
        Self(path)
    }

    fn failed(&self, step: &'static str, error: impl Into<io::Error>) -> SocketError {
        SocketError::System { path: self.0.to_owned(), step, error: error.into() }
    }
}

fn temporary_name(path: &Path) -> Result<PathBuf, SocketError> {
    let name = path.file_name().ok_or_else(|| SocketError::NoName(path.to_owned()))?;
    if path.as_os_str().as_bytes().len() > PATH_MAX {
        return Err(SocketError::TooLong(path.to_owned()));
    }
    let mut hidden = OsString::from(".");
    hidden.push(name);
    Ok(path.with_file_name(hidden))
}

fn make_folder(path: &Path) -> Result<(), SocketError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| Identity::of(folder).failed("make the folder", error))
}

/// Checks that `path` is free, or a socket that nobody listens on.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let at = Identity::of(path);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at.failed("examine what is there", error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    let in_use = |peer| SocketError::InUse { path: path.to_owned(), peer };
    match connect(path) {
        Ok(stream) => Err(in_use(peer_pid(&stream))),
        Err(SocketError::System { error, .. }) => match Errno::from_io_error(&error) {
            Some(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
            // A full queue, or a socket of another type: somebody is there.
            Some(Errno::AGAIN | Errno::PROTOTYPE) => Err(in_use(None)),
            _ => Err(at.failed("find out who listens there", error)),
        },
        Err(error) => Err(error),
    }
}

/// Whether the socket at `path` is one at which nobody listens.
#[must_use]
pub fn nobody_listens_at(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && make_room(path).is_ok()
}

/// Removes what [`make_room`] found to be stale.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Identity::of(path).failed("remove the stale socket", error))
        }
        _ => Ok(()),
    }
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn set_access(path: &Path, access: Access) -> Result<(), SocketError> {
    let at = Identity::of(path);
    if let Some(group) = access.group {
        rustix::fs::chown(path, None, Some(Gid::from_raw(group)))
            .map_err(|error| at.failed("set the socket's group", error))?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(access.mode))
        .map_err(|error| at.failed("set the socket's mode", error))
}

/// Binds, sets group and mode, and listens, in this order: a socket that does not listen yet refuses everybody.
fn bind_ready(path: &Path, access: Access) -> Result<UnixListener, SocketError> {
    let at = Identity::of(path);
    let address = SocketAddrUnix::new(path).map_err(|_| SocketError::TooLong(path.to_owned()))?;
    let socket = new_socket().map_err(|error| at.failed("make a socket", error))?;
    rustix::net::bind(&socket, &address).map_err(|error| at.failed("make the socket", error))?;
    set_access(path, access)?;
    rustix::net::listen(&socket, BACKLOG).map_err(|error| at.failed("listen", error))?;
    Ok(UnixListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use vmm_sys_util::sock_ctrl_msg::ScmSocket;

    use super::*;
    use crate::vhost_user::disposal::tests::lingering;

    const ACCESS: Access = Access { mode: 0o640, group: None };

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn the_folder_is_made_and_the_mode_is_set_whatever_the_umask() {
        let folder = folder();
        let path = folder.path().join("a/b/vm1.sock");
        let listener = Listener::bind(&path, Access { mode: 0o666, group: None }).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no temporary name is left"
        );
        assert!(listener.accept().unwrap().is_none());
        let stream = connect(&path).unwrap();
        assert_eq!(peer_pid(&stream), Some(i32::try_from(std::process::id()).unwrap()));
        assert!(listener.accept().unwrap().is_some());
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_is_inherited_goes_on_when_its_user_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let made = UnixListener::bind(&path).unwrap();
        let other = Listener::inherit(made.try_clone().unwrap().into(), Path::new("/run/x.sock"), ACCESS);
        let told = other.unwrap_err().to_string();
        assert!(told.contains("/run/x.sock") && told.contains("api.sock"), "{told}");
        let inherited = Listener::inherit(made.try_clone().unwrap().into(), &path, ACCESS).unwrap();
        let first = connect(&path).unwrap();
        assert!(inherited.accept().unwrap().is_some() && inherited.accept().unwrap().is_none());
        drop((inherited, first));
        let _second = connect(&path).unwrap();
        made.set_nonblocking(false).unwrap();
        made.accept().unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = folder();
        let path = folder.path().join("vm1.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = Listener::bind(&path, ACCESS).unwrap();
        connect(&path).unwrap();
    }

    #[test]
    fn a_socket_that_somebody_listens_on_is_left_alone_and_its_owner_named() {
        let folder = folder();
        let path = folder.path().join("vm1.sock");
        let _other = UnixListener::bind(&path).unwrap();
        let error = Listener::bind(&path, ACCESS).unwrap_err();
        assert!(matches!(error, SocketError::InUse { peer: Some(_), .. }), "{error}");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        connect(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = folder();
        let path = folder.path().join("vm1.sock");
        std::fs::write(&path, "precious").unwrap();
        let error = Listener::bind(&path, ACCESS).unwrap_err();
        assert!(matches!(error, SocketError::NotASocket(_)), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_that_replaced_ours_is_not_removed() {
        let folder = folder();
        let path = folder.path().join("vm1.sock");
        let ours = Listener::bind(&path, ACCESS).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        drop(ours);
        connect(&path).unwrap();
    }

    #[test]
    fn files_sent_to_a_listener_that_ends_do_not_hold_it_up() {
        let folder = folder();
        let path = folder.path().join("vm1.sock");
        let listener = Listener::bind(&path, ACCESS).unwrap();
        let quiet = connect(&path).unwrap();
        let stream = connect(&path).unwrap();
        let (writer, _reader) = lingering();
        stream.send_with_fd(&b"file"[..], writer.as_raw_fd()).unwrap();
        drop(writer);
        let start = Instant::now();
        drop(listener);
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        for mut peer in [quiet, stream] {
            peer.set_nonblocking(false).unwrap();
            let end = peer.read(&mut [0]).map_err(|error| error.kind());
            assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{end:?}");
        }
        connect(&path).unwrap_err();
    }

    #[test]
    fn a_path_that_is_too_long_or_none_is_refused() {
        let long = Path::new("/tmp").join("x".repeat(120));
        assert!(matches!(Listener::bind(&long, ACCESS), Err(SocketError::TooLong(_))));
        assert!(matches!(Listener::bind(Path::new("/"), ACCESS), Err(SocketError::NoName(_))));
    }

    #[test]
    fn an_unknown_group_is_named() {
        let error = Access::new(0o660, Some("no-such-group-here")).unwrap_err();
        assert!(error.to_string().contains("no-such-group-here"), "{error}");
    }
}
