//! `viaduct run`: the daemon.

use std::error::Error;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use nix::unistd::getpid;

use super::check::{counted, groups_summary};
use super::failure::Failure;
use super::locate::Locate;
use super::log::Log;
use crate::api::{self, Server};
use crate::changes::{self, ChangesError};
use crate::config::{self, Config, ConfigError, Loaded, SwitchSettings, ThisHost};
use crate::control::{self, Candidate, Ended, Source};
use crate::sandbox;
use crate::takeover::{Door, Estate, Successor};
use crate::vhost_user::{Access, Listener};

/// Runs the switch until it is told to end, or another process takes over. The API's socket comes first: a second daemon in the same folder
/// ends here, before it touches a guest's socket, and so does one with the same `state_dir`. Then the process is confined, while it has
/// one thread.
pub(super) fn run(locate: &Locate, fresh: bool, takes_over: bool) -> Result<(), Failure> {
    let file = locate.file();
    // Others are told of it, who may be elsewhere.
    let file = std::path::absolute(&file).unwrap_or(file);
    let read = read(&file)?;
    let knock = || Successor::knock(&read.1.config.switch.runtime_dir).map_err(Failure::new);
    // A socket of each port comes at once.
    control::raise_descriptor_limit();
    let successor = takes_over.then(knock).transpose()?;
    let refuse = successor.as_ref().map(Successor::refuser);
    let outcome = run_on(&file, read, fresh, successor);
    if let (Err(failure), Some(refuse)) = (&outcome, refuse) {
        // Once it has given its word, it does not listen any more.
        refuse(&failure.to_string());
    }
    outcome
}

/// What listens, and what keeps other daemons away.
struct Places {
    api: Listener,
    tcp: Option<TcpListener>,
    takeover: Listener,
    lock: Option<File>,
}

impl Places {
    /// Takes them, from the process that runs if there is one to be taken over.
    fn take(settings: &SwitchSettings, mut from: Option<&mut Successor>) -> Result<Self, Failure> {
        let access = Access::new(settings.api_mode, settings.api_group.as_deref()).map_err(Failure::new)?;
        let path = settings.api_socket();
        let api = from.as_mut().map(|from| from.listener(&path, access)).transpose().map_err(Failure::new)?;
        let api = api.flatten().map_or_else(|| api_listener(&path, access), Ok)?;
        let lent =
            |from: &mut Option<&mut Successor>, address| from.as_mut().and_then(|from| from.tcp(address));
        let (path, own) = (settings.takeover_socket(), Access { mode: 0o600, group: None });
        let takeover = from.as_mut().map(|from| from.listener(&path, own)).transpose();
        let takeover = takeover
            .map(Option::flatten)
            .and_then(|lent| lent.map_or_else(|| Listener::bind(&path, own), Ok));
        let takeover = takeover.map_err(Failure::new)?;
        let listen =
            |address| lent(&mut from, address).map_or_else(|| api::listen("switch.api_listen", address), Ok);
        let tcp = settings.api_listen.map(listen).transpose().map_err(Failure::new)?;
        let lent = from.and_then(|from| from.lock(&settings.state_dir));
        let lock = lent.map_or_else(|| changes::lock(&settings.state_dir), |lock| Ok(Some(lock)));
        Ok(Self { api, tcp, takeover, lock: lock.map_err(Failure::new)? })
    }

    /// Serves the API and whoever wants to take over, from now on as this process's own.
    fn serve(
        self,
        handle: control::Handle,
        settings: &SwitchSettings,
    ) -> Result<(Server, Door), Box<dyn Error>> {
        let Self { mut api, tcp, mut takeover, lock } = self;
        for claimed in [api.claim(), takeover.claim()] {
            claimed.unwrap_or_else(|error| tracing::warn!("{error}"));
        }
        let estate = Estate {
            api: Some((api.path().to_owned(), api.lend(), api.is_inherited())),
            tcp: tcp.as_ref().map(TcpListener::try_clone).transpose()?,
            lock: lock.map(|lock| (settings.state_dir.clone(), lock)),
        };
        let server = Server::start(handle.clone(), api, tcp)?;
        let door = Door::open(takeover, estate, handle, server.gate())?;
        Ok((server, door))
    }
}

fn run_on(
    file: &Path,
    (text, Loaded { config, warnings }): (String, Loaded),
    fresh: bool,
    mut successor: Option<Successor>,
) -> Result<(), Failure> {
    let settings = config.switch.clone();
    let places = Places::take(&settings, successor.as_mut())?;
    let changed = changes::peek((&text, &config), fresh, &ThisHost);
    sandbox::enter(&config, changed.as_ref(), file);
    let log = Log::start().map_err(no_log)?;
    tracing::info!(
        "viaduct {}, process {}, configuration {}",
        env!("CARGO_PKG_VERSION"),
        getpid(),
        file.display()
    );
    log_warnings(file, &warnings);
    let start = match successor {
        None => changes::resume(file, (&text, config), fresh, &ThisHost),
        Some(successor) => changes::succeed(file, (&text, config), successor, &ThisHost)
            .map_err(|error| with_changes(&settings, &error))?,
    };
    log_configuration(start.config());
    sandbox::tell();
    let mut served = None;
    let ready = |handle| match places.serve(handle, &settings) {
        Ok(started) => {
            served = Some(started);
            tracing::info!("the switch runs");
        }
        Err(error) => tracing::error!("guests are served, but nobody can ask or change anything: {error}"),
    };
    let ended = control::run(start, reload(file), ready).map_err(Failure::new)?;
    if ended == Ended::HandedOver {
        // What is open belongs to the process that runs the switch now: it is left as it is.
        std::mem::forget(served);
        drop(log);
        std::process::exit(0);
    }
    Ok(())
}

/// The configuration, whenever it is to be read again.
fn reload(file: &Path) -> impl FnMut() -> Result<Candidate, String> + 'static {
    let file = file.to_owned();
    move || {
        let (text, Loaded { config, warnings }) = read(&file).map_err(|error| error.to_string())?;
        log_warnings(&file, &warnings);
        Ok(Candidate { config, source: Source::File(text.into()) })
    }
}

/// What to do where run-time changes keep a process from taking over.
fn with_changes(settings: &SwitchSettings, error: &ChangesError) -> Failure {
    Failure::new(format!(
        "the file of run-time changes in {} {error}: nothing was taken over; write them into the file (`viaduct save`) or discard them \
         (`viaduct apply FILE`) first",
        settings.state_dir.display()
    ))
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
