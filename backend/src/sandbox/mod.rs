//! What the process gives up before it serves guests, so that whoever takes it over has little of it.
//!
//! Four things, each of which holds without the others:
//!
//! * **System calls** (`filter`): only those that the switch makes. A call that no switch ever makes (to run a program, to look
//!   into other processes) ends the process; any other one that is not on the list fails with EPERM and is told in the log
//!   (`refusals`).
//! * **Files** (`files`): what the configuration says, by Landlock.
//! * **Capabilities** (`capabilities`): those that ports need.
//! * **Threads**: workers, which read what guests write, keep no capability, no file, and hardly a system call.
//!
//! All of it is inherited by the threads that are started later, so [`enter`] is called before the first.

mod capabilities;
mod files;
mod filter;
mod grants;
mod refusals;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::OnceLock;

use tracing::{info, warn};

use crate::config::{Config, Confinement};
pub use files::Outside;
use grants::Grants;
pub(crate) use refusals::{count as refused_calls, descriptor as refusals_descriptor, tell as tell_refusals};

/// What is in force, once [`enter`] was called.
static IN_FORCE: OnceLock<InForce> = OnceLock::new();

/// What the process gave up.
#[derive(Debug)]
struct InForce {
    filter: Result<(), String>,
    files: files::Enforced,
    capabilities: Result<Vec<String>, String>,
    namespaces: bool,
}

/// Gives up what neither `config`, read from `file`, nor what it was changed to at run time needs; does nothing if it says so. To be
/// called by the only thread that there is. What the kernel cannot do is left out; [`tell`] says so.
pub fn enter(config: &Config, changed: Option<&Config>, file: &Path) {
    if config.switch.sandbox == Confinement::Off {
        return;
    }
    let configs: Vec<&Config> = std::iter::once(config).chain(changed).collect();
    let grants = Grants::of(&configs, file);
    // In this order: Landlock and the filter take away what the steps before them need.
    let capabilities = capabilities::keep(&grants);
    let files = files::enter(&grants);
    let filter = filter::enter();
    // Only a test that runs two daemons in one process has one already.
    let _ = IN_FORCE.set(InForce { filter, files, capabilities, namespaces: grants.namespaces });
}

/// Says in the log what is in force.
pub fn tell() {
    let Some(InForce { filter, files, capabilities, namespaces }) = IN_FORCE.get() else {
        warn!("switch.sandbox is \"off\": whoever takes this process over has all that it may do");
        return;
    };
    match filter {
        Ok(()) => info!("confined: no programs, and only system calls that a switch makes (seccomp)"),
        Err(error) => warn!("not confined to a switch's system calls: seccomp: {error}"),
    }
    files.tell();
    match capabilities {
        Ok(kept) if kept.is_empty() => info!("confined: no capabilities"),
        Ok(kept) => info!("confined: of all capabilities only {}", kept.join(", ")),
        Err(error) => warn!("not all capabilities could be given up: {error}"),
    }
    if !namespaces {
        info!("no port can be in another network namespace, since none is at the start (switch.namespaces)");
    }
}

/// Confines the calling thread, which reads what guests write, to what a worker does.
pub(crate) fn confine_worker() {
    let Some(in_force) = IN_FORCE.get() else { return };
    let given_up =
        [capabilities::give_up(), in_force.files.give_up(), filter::enter_worker(&in_force.filter)];
    for error in given_up.into_iter().filter_map(Result::err) {
        warn!("a worker is confined no more than the process: {error}");
    }
}

/// Gives up the calling thread's capabilities, which it does not need.
pub(crate) fn confine_helper() {
    if IN_FORCE.get().is_some()
        && let Err(error) = capabilities::give_up()
    {
        warn!("a thread keeps its capabilities: {error}");
    }
}

/// Whether a file can be made at `path`, as far as this process gave rights up.
///
/// # Errors
/// Its folder is not among those of the start.
pub(crate) fn check_place(path: &Path) -> Result<(), Outside> {
    IN_FORCE.get().map_or(Ok(()), |in_force| in_force.files.check(path))
}

/// Why a network namespace cannot be entered, if that was given up.
pub(crate) fn no_namespaces() -> Option<&'static str> {
    let in_force = IN_FORCE.get()?;
    (!in_force.namespaces).then_some("set switch.namespaces = true and start the daemon again")
}
