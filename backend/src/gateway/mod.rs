//! The gateways' thread: what routers and their services do beside the data path.
//!
//! ```text
//! workers ─ Offers ─┐                                ┌─ Injector ─ workers
//!                   ├─ viaduct_switch::gateway ──────┤
//! control ─ Setup ──┤   (pure: neighbours, ICMP)     └─ Local: DHCP, DNS, metadata, each in a thread of its own
//! services ─ packets┘
//! ```
//!
//! One thread for all networks. It never waits for a disk or a peer: what may take long (leases that have to be written, names that
//! have to be asked for elsewhere) is done in other threads, whose frames and packets come back as letters. Nothing here is asked by
//! a worker, so a frame is never late because of it.

mod router;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::oneshot;
use viaduct_switch::gateway::Neighbour;
use viaduct_switch::router::Routing;
use viaduct_switch::{Nanos, NetworkIndex, PortIndex, Switch};

use crate::dataplane::{Injector, Offers};

/// What the control side wants of the gateways.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Interfaces and routes, as the data path has them.
    pub routing: Arc<Routing>,
    /// The port of each gateway, by its network.
    pub ports: BTreeMap<NetworkIndex, PortIndex>,
}

/// What the thread is made of.
pub struct Parts {
    /// The switch, whose neighbours it writes.
    pub switch: Arc<Switch>,
    /// What workers have for it.
    pub offers: Arc<Offers>,
    /// By what its frames enter.
    pub injector: Injector,
    /// When the switch's time began.
    pub started: Instant,
    /// Random and secret.
    pub seed: u64,
}

/// What the thread is told.
enum Letter {
    /// Frames wait.
    Offered,
    /// Be as this says from now on.
    Setup(Box<Setup>),
    /// The port is gone.
    ForgetPort(PortIndex),
    /// Send this packet of IP in a network, or on from there.
    Packet(NetworkIndex, Vec<u8>),
    /// Send this frame in a network.
    Frame(NetworkIndex, Vec<u8>),
    /// Tell of all neighbours.
    Neighbours(oneshot::Sender<(Nanos, Vec<Neighbour>)>),
    /// End.
    Stop,
}

/// Talks to the thread. What is said after its end is lost.
#[derive(Clone)]
pub struct Handle(Sender<Letter>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").finish()
    }
}

impl Handle {
    fn say(&self, letter: Letter) {
        // Only at the end of the process is nobody there.
        let _ = self.0.send(letter);
    }

    /// Has the gateways be as `setup` says. To be said before workers know of a new policy, so that nobody asks a gateway that
    /// does not know of itself yet.
    pub fn configure(&self, setup: Setup) {
        self.say(Letter::Setup(Box::new(setup)));
    }

    /// Has all forgotten that is known because of a port.
    pub fn forget_port(&self, port: PortIndex) {
        self.say(Letter::ForgetPort(port));
    }

    /// Has all neighbours told, with the time.
    pub fn neighbours(&self, answer: oneshot::Sender<(Nanos, Vec<Neighbour>)>) {
        self.say(Letter::Neighbours(answer));
    }

    /// Sends a packet of IP of a service's.
    pub fn packet(&self, network: NetworkIndex, packet: Vec<u8>) {
        self.say(Letter::Packet(network, packet));
    }

    /// Sends a frame of a service's, which enters at the gateway's port of `network`.
    pub fn frame(&self, network: NetworkIndex, frame: Vec<u8>) {
        self.say(Letter::Frame(network, frame));
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Gateways {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Gateways {
    /// Starts the thread.
    ///
    /// # Errors
    /// The kernel starts no more threads.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let (sender, letters) = channel();
        let bell = sender.clone();
        parts.offers.listen(move || drop(bell.send(Letter::Offered)));
        let run = move || router::Router::new(parts).run(&letters);
        let thread = thread::Builder::new().name("gateway".to_owned()).spawn(run)?;
        Ok(Self { handle: Handle(sender), thread: Some(thread) })
    }

    /// Talks to the thread.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        self.handle.say(Letter::Stop);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}
