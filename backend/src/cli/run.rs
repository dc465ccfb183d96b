//! `viaduct run`: the daemon.

use std::io::{self, IsTerminal};
use std::path::Path;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use super::failure::Failure;
use super::locate::Locate;
use crate::api::Server;
use crate::config::{self, Config, ConfigError, ThisHost};
use crate::control;
use crate::vhost_user::{Access, Listener};

/// Chooses the log lines, in the notation of `tracing_subscriber`: `debug`, `warn,viaduct::api=debug`.
const LOG_VARIABLE: &str = "VIADUCT_LOG";

/// Runs the switch until it is told to end. The API's socket comes first: a second daemon in the same folder ends
/// here, before it touches a guest's socket.
pub(super) fn run(locate: &Locate) -> Result<(), Failure> {
    start_log();
    let file = locate.file();
    let config = load(&file)?;
    let settings = &config.switch;
    let access = Access::new(settings.api_mode, settings.api_group.as_deref()).map_err(Failure::new)?;
    let listener = Listener::bind(&settings.api_socket(), access).map_err(Failure::new)?;
    let reload = move || load(&file).map_err(|error| error.to_string());
    tracing::info!(
        "viaduct {} with {} ports, API on {}",
        env!("CARGO_PKG_VERSION"),
        config.ports.len(),
        settings.api_socket().display()
    );
    let mut server = None;
    let ready = |handle| match Server::start(handle, listener) {
        Ok(started) => server = Some(started),
        Err(error) => tracing::error!(%error, "guests are served, but nobody can ask or change anything"),
    };
    let ended = control::run(config, reload, ready).map_err(Failure::new);
    drop(server);
    ended
}

fn load(file: &Path) -> Result<Config, ConfigError> {
    let loaded = config::load(file, &ThisHost)?;
    for warning in &loaded.warnings {
        tracing::warn!(file = %file.display(), "{warning}");
    }
    Ok(loaded.config)
}

/// Log lines go to standard error; the journal adds its own time.
fn start_log() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().try_init()
    } else {
        lines.with_timer(SystemTime).try_init()
    };
    // Only a test that runs two daemons in one process has a log already; it may keep it.
    drop(started);
}
