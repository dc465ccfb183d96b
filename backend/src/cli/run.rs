//! `viaduct run`: the daemon.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use nix::unistd::getpid;

use super::check::{counted, groups_summary};
use super::failure::Failure;
use super::locate::Locate;
use super::log::Log;
use crate::api::{self, Server};
use crate::changes;
use crate::config::{self, Config, ConfigError, Loaded, ThisHost};
use crate::control::{self, Candidate, Source};
use crate::sandbox;
use crate::vhost_user::{Access, Listener};

/// Runs the switch until it is told to end. The API's socket comes first: a second daemon in the same folder ends
/// here, before it touches a guest's socket, and so does one with the same `state_dir`. Then the process is confined, while it has one thread.
pub(super) fn run(locate: &Locate, fresh: bool) -> Result<(), Failure> {
    let file = locate.file();
    // Others are told of it, who may be elsewhere.
    let file = std::path::absolute(&file).unwrap_or(file);
    let (text, Loaded { config, warnings }) = read(&file)?;
    let settings = &config.switch;
    let access = Access::new(settings.api_mode, settings.api_group.as_deref()).map_err(Failure::new)?;
    let listener = api_listener(&settings.api_socket(), access)?;
    let tcp = settings
        .api_listen
        .map(|address| api::listen("switch.api_listen", address))
        .transpose()
        .map_err(Failure::new)?;
    let _state = changes::lock(&settings.state_dir).map_err(Failure::new)?;
    let changed = changes::peek((&text, &config), fresh, &ThisHost);
    sandbox::enter(&config, changed.as_ref(), &file);
    let _log = Log::start().map_err(no_log)?;
    tracing::info!(
        "viaduct {}, process {}, configuration {}",
        env!("CARGO_PKG_VERSION"),
        getpid(),
        file.display()
    );
    log_warnings(&file, &warnings);
    let start = changes::resume(&file, (&text, config), fresh, &ThisHost);
    log_configuration(start.config());
    sandbox::tell();
    let reload = move || {
        let (text, Loaded { config, warnings }) = read(&file).map_err(|error| error.to_string())?;
        log_warnings(&file, &warnings);
        Ok(Candidate { config, source: Source::File(text.into()) })
    };
    let mut server = None;
    let ready = |handle| match Server::start(handle, listener, tcp) {
        Ok(started) => {
            server = Some(started);
            tracing::info!("the switch runs");
        }
        Err(error) => tracing::error!(%error, "guests are served, but nobody can ask or change anything"),
    };
    let ended = control::run(start, reload, ready).map_err(Failure::new);
    drop(server);
    ended
}

/// The API's socket: the service manager's, if it passed one (sd_listen_fds(3)), else our own.
fn api_listener(path: &Path, access: Access) -> Result<Listener, Failure> {
    let unread = |error| Failure::new(format!("cannot read what the service manager passed: {error}"));
    let mut passed = sd_notify::listen_fds().map_err(unread)?;
    let listener = match (passed.next(), passed.next()) {
        (None, _) => Listener::bind(path, access),
        (Some(socket), None) => {
            // SAFETY: the service manager opened it for this process, which learns of it here alone.
            Listener::inherit(unsafe { OwnedFd::from_raw_fd(socket) }, path, access)
        }
        _ => {
            let sentence = "the service manager passed several sockets, and the API has one: leave one ListenStream= in its unit";
            return Err(Failure::new(sentence));
        }
    };
    listener.map_err(Failure::new)
}

fn no_log(error: std::io::Error) -> Failure {
    Failure::new(format!("cannot start the log's thread: {error}; raise the limit of threads (ulimit -u)"))
}

/// The file's text, and what it says.
fn read(file: &Path) -> Result<(String, Loaded), ConfigError> {
    let bytes = config::read(file)?;
    let loaded = config::parse(&bytes, &file.display().to_string(), &ThisHost)?;
    // It is text: parsing looks at that first.
    Ok((String::from_utf8_lossy(&bytes).into_owned(), loaded))
}

fn log_warnings(file: &Path, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{}: {warning}", file.display());
    }
}

/// A line for each thing that somebody who reads the log later has to know.
fn log_configuration(config: &Config) {
    let Config { switch, networks, ports, uplinks, .. } = config;
    let cpus: Vec<String> = switch.cpus.iter().map(ToString::to_string).collect();
    tracing::info!(
        "{}, {}, {}{}",
        counted(networks.len() as u64, "network"),
        counted(ports.len() as u64, "port"),
        counted(uplinks.len() as u64, "uplink"),
        groups_summary(config)
    );
    tracing::info!(
        "{} on processor {}, polling {}",
        counted(cpus.len() as u64, "worker"),
        cpus.join(", "),
        switch.polling.name()
    );
    tracing::info!("guests' sockets {}", who(switch.socket_mode, switch.socket_group.as_deref()));
    tracing::info!(
        "API on {}, {}",
        switch.api_socket().display(),
        who(switch.api_mode, switch.api_group.as_deref())
    );
    if let Some(address) = switch.api_listen {
        tracing::info!("API for reading on {address}, for whoever reaches it");
    }
}

/// Who may use a socket.
fn who(mode: u32, group: Option<&str>) -> String {
    match group {
        _ if mode & 0o077 == 0 => format!("with mode {mode:04o}: for its owner alone"),
        Some(group) => format!("with mode {mode:04o} and group {group}"),
        None => format!("with mode {mode:04o} and the daemon's own group"),
    }
}
