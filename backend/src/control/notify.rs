//! What a service manager wants to know (sd_notify(3)). Without one, all of this does nothing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

use sd_notify::NotifyState;
use tracing::warn;

/// The sockets listen.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!("cannot read the clock for the service manager: {error}"),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub(super) fn main_process(process: i32) {
    tell(&[NotifyState::MainPid(process.unsigned_abs())]);
}

/// The service manager's socket, and how often it wants to hear of the switch, in microseconds.
pub(super) fn manager() -> Option<(String, Option<u64>)> {
    let socket = socket()?.into_string().ok()?;
    Some((socket, watchdog_us()))
}

/// How often the service manager wants to hear of the switch, in microseconds.
pub(super) fn watchdog_us() -> Option<u64> {
    let mut limit_us = 0;
    let is_wanted = sd_notify::watchdog_enabled(false, &mut limit_us) && limit_us > 0;
    is_wanted.then_some(limit_us).or_else(|| MANAGER.get().and_then(|(_, limit_us)| *limit_us))
}

/// Tells the service manager of a process that was taken over.
pub(super) fn inherit(socket: String, watchdog_us: Option<u64>) {
    // A second one does not come: a process takes over once.
    let _ = MANAGER.set((socket, watchdog_us));
}

/// The service manager of the process that was taken over.
static MANAGER: OnceLock<(String, Option<u64>)> = OnceLock::new();

fn socket() -> Option<OsString> {
    MANAGER.get().map(|(socket, _)| socket.into()).or_else(|| std::env::var_os("NOTIFY_SOCKET"))
}

/// The control thread and all workers turn.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState]) {
    let Some(name) = socket() else { return };
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    if let Err(error) = send(&name, &text) {
        warn!(
            "cannot tell the service manager: {error}; check NotifyAccess= and the socket in NOTIFY_SOCKET"
        );
    }
}

/// Never waits: a service manager that does not read its socket misses a message, and no guest waits for it.
fn send(name: &OsStr, text: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_gets_the_text_and_one_that_does_not_read_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1\n").unwrap();
        let mut text = [0; 16];
        assert_eq!(manager.recv(&mut text).unwrap(), 8);
        assert_eq!(&text[..8], b"READY=1\n");
        let refused = (0..10_000).find_map(|_| send(path.as_os_str(), "READY=1\n").err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
