//! The control thread: it owns sockets, sessions, timers and the configuration, and shares nothing.
//!
//! One event loop (`controller`, `frontends`) serves all of them, and none may make it wait: sessions read and write without
//! blocking, connecting is tried, never awaited. Others ask through a [`Handle`]. A wanted configuration is
//! compared with the running one (`plan`) and applied all or nothing (`apply`).

mod apply;
mod bonds;
mod candidate;
mod capture;
mod controller;
mod descriptors;
mod devices;
mod driver;
mod duplicates;
mod edit;
mod error;
mod events;
mod figures;
mod frontends;
mod gateways;
mod groups;
mod handle;
mod handover;
mod interface;
mod interfaces;
mod keeping;
mod learned;
mod leased;
mod links;
mod log;
mod neighbours;
mod notify;
mod outside;
mod plan;
mod port;
mod qos;
mod registry;
mod restoring;
mod routing;
mod security;
mod services;
mod shaping;
mod snapshot;
mod stale;
mod stations;
mod stopwatch;
mod succession;
mod suppression;
mod tables;
mod timer;
mod token;
mod trace;
mod trees;
mod tunnels;
mod vteps;
mod watch;
mod watchdog;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use event_manager::{EventManager, SubscriberOps};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::rand::{GetRandomFlags, getrandom};
use viaduct_switch::{Limits, Switch, conntrack};

use crate::changes::Start;
use crate::control::controller::{Controller, Parts};
use crate::control::restoring::Restoring;
use crate::control::security::Security;
use crate::control::stations::Feeds;
use crate::dataplane::Dataplane;
use crate::device;
use crate::gateway::{self, Gateways};
use crate::memory::install_poison_handler;
use crate::vhost_user::PatchBay;

pub use candidate::{Candidate, Source};
pub use capture::{Capture, CaptureQuestion, Names};
pub(crate) use descriptors::raise_limit as raise_descriptor_limit;
pub use edit::PortEdit;
pub use error::{ApplyError, RunError};
pub use events::{EVENTS_MAX, Heard, Journal};
pub use figures::{Figures, TableFigures};
pub use handle::{Change, ChangeKind, Changes, ControlGone, Expected, Handle};
#[cfg(test)]
pub(crate) use handle::{Command, channel};
pub(crate) use handover::{HandOver, Heirloom, Offer};
pub use keeping::{RunningState, differences};
pub use learned::ADDRESSES_MAX;
pub use stations::{FeedRequest, STATION_PAGE_MAX, StationChange, StationError};
pub use tables::{PAGE_MAX, Selection, SelectionError, Tables};
pub use trace::TraceError;
pub use watch::WatchQuestion;

/// How the switch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Everything is put away.
    Stopped,
    /// Another process runs it on, and has all that is open here: this one must end without closing anything in good order.
    HandedOver,
}

/// Runs the switch until SIGTERM, SIGINT or [`Handle::stop`], then ends all sessions and removes all sockets; or until another process has
/// taken over.
///
/// `ready` is called once, when the ports' sockets listen; `reload` gives the configuration anew at each SIGHUP.
/// To be called before the process starts other threads: they must not take the signals away.
///
/// # Errors
/// Why it did not start. Once it runs, nothing short of a broken event loop ends it.
pub fn run(
    start: impl Into<Start>,
    reload: impl FnMut() -> Result<Candidate, String> + 'static,
    ready: impl FnOnce(Handle),
) -> Result<Ended, RunError> {
    let mut start: Start = start.into();
    let signals = take_signals().map_err(|error| RunError::Setup { what: "signal descriptor", error })?;
    descriptors::raise_limit();
    let keeper = start.take_keeper();
    let keeper = keeper.map_err(|error| RunError::Setup { what: "thread of changes", error })?;
    install_poison_handler().map_err(|error| RunError::Setup { what: "SIGBUS handler", error })?;
    let seed = || random_seed().map_err(|error| RunError::Setup { what: "random seed", error });
    let config = &start.config;
    let connections = conntrack::Limits::of(config.switch.connections);
    let limits = Limits { connections, ..Limits::default() };
    let switch = Arc::new(Switch::new(seed()?, limits));
    let security = Security::new(seed()?);
    let settings = &config.switch;
    let dataplane = Dataplane::start(Arc::clone(&switch), Arc::default(), &settings.cpus, settings.polling)?;
    // What another process still keeps is read when that has stopped.
    let restoring = match start.succession {
        None => Restoring::start(&settings.state_dir, &switch, dataplane.started()),
        Some(_) => Ok(Restoring::default()),
    };
    let restoring = restoring.map_err(|error| RunError::Setup { what: "thread of connections", error })?;
    let feeds = match start.succession {
        None => Feeds::start(&settings.state_dir),
        Some(_) => Ok(Feeds::default()),
    };
    let feeds = feeds.map_err(|error| RunError::Setup { what: "thread of stations", error })?;
    let (handle, commands) =
        handle::channel().map_err(|error| RunError::Setup { what: "command channel", error })?;
    let told = handle.clone();
    let parts = gateway::Parts {
        switch: Arc::clone(&switch),
        offers: Arc::clone(dataplane.offers()),
        injector: dataplane.injector(),
        started: dataplane.started(),
        seed: seed()?,
        state_dir: config.switch.state_dir.clone(),
        lends_later: start.succession.is_some(),
        // Only at the end is nobody there to hear it.
        tell: Box::new(move |news| _ = told.news(news)),
    };
    let gateways =
        Gateways::start(parts).map_err(|error| RunError::Setup { what: "gateways' thread", error })?;
    let bay = PatchBay::new(Box::new(dataplane));
    let open = Box::new(device::open);
    let (reload, gateway) = (Box::new(reload), gateways.handle().clone());
    let parts = Parts {
        bay,
        switch,
        security,
        commands,
        signals,
        gateways: gateway,
        open,
        reload,
        first: start,
        keeper,
        restoring,
        feeds,
    };
    let ended = serve(parts, || ready(handle));
    if matches!(ended, Ok(Ended::HandedOver)) {
        // Its end would say goodbye to stations in the name of the one that runs now.
        std::mem::forget(gateways);
    }
    ended
}

/// The event loop.
fn serve(parts: Parts, ready: impl FnOnce()) -> Result<Ended, RunError> {
    let controller = Controller::new(parts).map_err(|error| RunError::Setup { what: "timer", error })?;
    let manager = EventManager::<Controller>::new().map_err(io::Error::other);
    let mut manager = manager.map_err(|error| RunError::Setup { what: "list of events", error })?;
    let id = manager.add_subscriber(controller);
    let mut outcome = started(&mut manager, id);
    if outcome.is_ok() {
        ready();
        notify::ready();
        outcome = spin(&mut manager, id);
        if is_handed_over(&mut manager, id) {
            // Nothing of it is closed here: neither sessions nor listeners.
            std::mem::forget(manager);
            return Ok(Ended::HandedOver);
        }
        notify::stopping();
    }
    if let Ok(controller) = manager.remove_subscriber(id) {
        controller.end();
    }
    outcome.map(|()| Ended::Stopped)
}

fn is_handed_over(manager: &mut EventManager<Controller>, id: event_manager::SubscriberId) -> bool {
    manager.subscriber_mut(id).is_ok_and(|controller| controller.takeover.is_done)
}

/// What came of the first configuration.
fn started(manager: &mut EventManager<Controller>, id: event_manager::SubscriberId) -> Result<(), RunError> {
    let controller = manager.subscriber_mut(id).map_err(RunError::Events)?;
    match controller.outcome.take() {
        Some(Err(error)) => Err(error.into()),
        Some(Ok(_)) | None => Ok(()),
    }
}

fn spin(manager: &mut EventManager<Controller>, id: event_manager::SubscriberId) -> Result<(), RunError> {
    while !manager.subscriber_mut(id).map_err(RunError::Events)?.stopping {
        manager.run().map_err(RunError::Events)?;
    }
    Ok(())
}

/// Signals come through a descriptor from now on, in this thread and all that it starts.
fn take_signals() -> io::Result<SignalFd> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Unknown to guests, which choose the addresses that are hashed with it.
fn random_seed() -> io::Result<u64> {
    let mut seed = [0; 8];
    getrandom(&mut seed, GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(seed))
}
