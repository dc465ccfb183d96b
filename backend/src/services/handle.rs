//! The services' thread, and what others know of it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use viaduct_switch::domain::DomainName;
use viaduct_switch::ids::{NetworkIndex, PortIndex};
use viaduct_switch::packet::parse_ip;

use super::counters::Event;
use super::network::serve;
use super::settings::NetworkServices;
use super::shared::{Arrival, Shared};
use crate::sandbox::confine_helper;

/// How long the end waits for what is under way.
const END_MAX: Duration = Duration::from_millis(200);

/// Why the services did not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start the services' {what}: {error}; raise the limits of open files and threads (ulimit -n, -u)"
)]
pub struct ServicesError {
    what: &'static str,
    error: io::Error,
}

/// The running services; dropping them ends the thread.
#[derive(Debug)]
pub struct Services {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Services {
    /// Starts the thread. It hands its packets to `output`, which must not wait, and returns `false` if there was no room.
    ///
    /// # Errors
    /// The thread or its event loop could not be made.
    pub fn start(
        output: impl Fn(NetworkIndex, Vec<u8>) -> bool + Send + Sync + 'static,
    ) -> Result<Self, ServicesError> {
        let runtime = runtime().map_err(|error| ServicesError { what: "event loop", error })?;
        let shared = Arc::new(Shared::new(Box::new(output)));
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = Handle(Arc::clone(&shared));
        let run = move || {
            confine_helper();
            runtime.block_on(async {
                let server = tokio::spawn(serve(shared));
                // An error means that the sender was dropped: the same wish.
                let _ = stopped.await;
                server.abort();
            });
            runtime.shutdown_timeout(END_MAX);
        };
        let thread = std::thread::Builder::new().name("services".to_owned()).spawn(run);
        let thread = thread.map_err(|error| ServicesError { what: "thread", error })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// What others need to use them.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends within END_MAX; a panic in it has been logged already.
            let _ = thread.join();
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().thread_name("services-wait").build()
}

/// What became of a packet that was handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// The services have it.
    Taken,
    /// There was no room; this was counted.
    NoRoom,
    /// There is no such service: the sender should be told so (port unreachable, reset).
    NotServed,
}

/// Talks to the services from any thread; nothing here waits.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// The services of all networks, from now on: what is not named ends, what did not change goes on.
    pub fn configure(&self, networks: Vec<NetworkServices>) {
        let entry = |settings: NetworkServices| (settings.network, Arc::new(settings));
        *self.0.plan.lock() = Arc::new(networks.into_iter().map(entry).collect());
        self.0.wake.notify_one();
    }

    /// Hands over an IP packet for one of a gateway's own addresses that came in at `port`; answers to the services' own
    /// questions, too.
    pub fn packet(&self, port: PortIndex, network: NetworkIndex, packet: Vec<u8>) -> Taking {
        let Ok(parsed) = parse_ip(&packet) else {
            self.0.counters.count(Event::Malformed);
            return Taking::Taken;
        };
        let plan = Arc::clone(&self.0.plan.lock());
        let is_served = plan.get(&network).is_some_and(|settings| settings.serves(&parsed));
        if !is_served && self.0.outside(network, &parsed).is_none() {
            return Taking::NotServed;
        }
        let arrival = Arrival { network, bytes: packet };
        if self.0.receive(port, arrival) { Taking::Taken } else { Taking::NoRoom }
    }

    /// A guest at `port` has an address with a name, of which the first label counts, beside those that it has; the first one
    /// is told to who asks for the address's. `false`: another port has that name, or nobody may have it; this was counted.
    pub fn name_given(
        &self,
        network: NetworkIndex,
        port: PortIndex,
        name: &DomainName,
        address: IpAddr,
        is_first: bool,
    ) -> bool {
        let is_taken = self.0.names.give(network, port, name, address, is_first);
        if !is_taken {
            self.0.counters.count(Event::NameRefused);
        }
        is_taken
    }

    /// An address has a name no more.
    pub fn name_ended(&self, network: NetworkIndex, name: &DomainName, address: IpAddr) {
        self.0.names.end(network, name, address);
    }

    /// How often each event happened.
    #[must_use]
    pub fn counters(&self) -> Vec<(Event, u64)> {
        self.0.counters.read()
    }
}
