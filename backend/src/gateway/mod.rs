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

mod lending;
mod router;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use viaduct_switch::gateway::Neighbour;
use viaduct_switch::router::Routing;
use viaduct_switch::tunnel::EndpointIndex;
use viaduct_switch::{MacAddress, Nanos, NetworkIndex, PortIndex, Switch};

use crate::dataplane::{Injector, Offers};
use crate::dhcp_clients::{ClientPlan, ClientReports};
use crate::leasing::{LeaseEvent, LeaseView, Plan};
use crate::model::ServiceEventStatus;
use crate::sandbox::confine_helper;
use crate::services::{NetworkServices, Services};
use lending::{Lending, Tools};
use router::{Router, Served};

/// What the control side wants of the gateways.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Interfaces and routes, as the data path has them.
    pub routing: Arc<Routing>,
    /// The port of each gateway, by its network.
    pub ports: BTreeMap<NetworkIndex, PortIndex>,
    /// The port by which each of the switch's ends of tunnels is reached.
    pub tunnels: BTreeMap<EndpointIndex, PortIndex>,
    /// What is served on the gateways' addresses.
    pub services: Vec<NetworkServices>,
    /// What is lent in networks, and by what names ports are known.
    pub lending: Plan,
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
    /// The folder in which leases are kept.
    pub state_dir: PathBuf,
    /// Leases are read, and lent, only from [`Handle::begin_lending`] on: another process does that.
    pub lends_later: bool,
    /// Who is told of what happens at uplinks; must not wait.
    pub tell: Box<dyn Fn(News) + Send + Sync>,
}

/// What happened at uplinks, and to what networks lend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// What the uplinks were lent that get their addresses by DHCP, and where their clients stand.
    Clients(ClientReports),
    /// What happened to leases of networks.
    Leases(Vec<LeaseEvent>),
    /// A station claims an address of a gateway's.
    Claim {
        /// The network.
        network: NetworkIndex,
        /// The address.
        address: IpAddr,
        /// The station.
        mac: MacAddress,
        /// Whether the gateway uses the address nevertheless.
        is_kept: bool,
    },
}

/// Who is told of what happens.
type Tell = dyn Fn(News) + Send + Sync;

/// Packets of services that may wait for the thread.
const PACKETS_MAX: usize = 4096;

/// How long the end waits for groups to be left.
const CEASE_WITHIN: Duration = Duration::from_millis(500);

/// A packet's place among those that wait; given back when it is dropped.
struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
    Packet(NetworkIndex, Vec<u8>, Ticket),
    /// Send this frame in a network.
    Frame(NetworkIndex, Vec<u8>),
    /// Find out whether anybody has this address.
    Probe(NetworkIndex, Ipv4Addr),
    /// Have clients run for these uplinks.
    Clients(Vec<ClientPlan>),
    /// A link of this network came.
    LinkUp(NetworkIndex),
    /// Tell of all leases.
    Leases(SyncSender<(Nanos, Vec<LeaseView>)>),
    /// Tell what services counted.
    Events(SyncSender<Vec<ServiceEventStatus>>),
    /// Tell of all neighbours.
    Neighbours(SyncSender<(Nanos, Vec<Neighbour>)>),
    /// Read the leases, and lend.
    BeginLending,
    /// Leave the groups of all networks.
    Cease(SyncSender<()>),
    /// End.
    Stop,
}

/// Talks to the thread. What is said after its end is lost.
#[derive(Clone)]
pub struct Handle {
    letters: Sender<Letter>,
    /// Packets of services that wait.
    packets: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("packets", &self.packets).finish_non_exhaustive()
    }
}

impl Handle {
    fn say(&self, letter: Letter) {
        // Only at the end of the process is nobody there.
        let _ = self.letters.send(letter);
    }

    /// Talks to nobody.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        Self { letters: channel().0, packets: Arc::default() }
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

    /// No other process lends any more.
    pub fn begin_lending(&self) {
        self.say(Letter::BeginLending);
    }

    /// Has all neighbours told, with the time.
    pub fn neighbours(&self, answer: SyncSender<(Nanos, Vec<Neighbour>)>) {
        self.say(Letter::Neighbours(answer));
    }

    /// Leaves the groups of which gateways are members, as the process is about to end; returns when that is said to the workers, or
    /// after a while.
    pub fn cease(&self) {
        let (answer, done) = std::sync::mpsc::sync_channel(1);
        self.say(Letter::Cease(answer));
        // Who forwards to the groups finds out by itself, should it not be told.
        let _ = done.recv_timeout(CEASE_WITHIN);
    }

    /// Has all leases told, with the time.
    pub fn leases(&self, answer: SyncSender<(Nanos, Vec<LeaseView>)>) {
        self.say(Letter::Leases(answer));
    }

    /// Has told what services counted: events that did happen.
    pub fn events(&self, answer: SyncSender<Vec<ServiceEventStatus>>) {
        self.say(Letter::Events(answer));
    }

    /// Sends a packet of IP of a service's; says whether there was room for it.
    pub fn packet(&self, network: NetworkIndex, packet: Vec<u8>) -> bool {
        let ticket = Ticket(Arc::clone(&self.packets));
        let had_room = self.packets.fetch_add(1, Ordering::Relaxed) < PACKETS_MAX;
        if had_room {
            self.say(Letter::Packet(network, packet, ticket));
        }
        had_room
    }

    /// Has DHCP clients run for these uplinks and no others. To be said after the gateways know of the uplinks' networks.
    pub fn follow_clients(&self, plans: Vec<ClientPlan>) {
        self.say(Letter::Clients(plans));
    }

    /// Has stations of a network told of the gateway's addresses, since an uplink's link came.
    pub fn link_up(&self, network: NetworkIndex) {
        self.say(Letter::LinkUp(network));
    }

    /// Finds out whether any station has an address, which is told to the thread of leases.
    pub(super) fn probe(&self, network: NetworkIndex, address: Ipv4Addr) {
        self.say(Letter::Probe(network, address));
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
    /// They run as long as the thread.
    _services: Services,
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
        let handle = Handle { letters: sender, packets: Arc::default() };
        let output = handle.clone();
        let services = Services::start(move |network, packet| output.packet(network, packet));
        let services = services.map_err(io::Error::other)?;
        let tell: Arc<Tell> = Arc::from(parts.tell);
        let tools = Tools {
            tell: Arc::clone(&tell),
            switch: Arc::clone(&parts.switch),
            gateways: handle.clone(),
            services: services.handle(),
            started: parts.started,
        };
        let lending = Lending::start(&parts.state_dir, parts.seed, tools, parts.lends_later)?;
        let served = Served { services: services.handle(), lending, tell };
        let router =
            Router::new(parts.switch, parts.offers, parts.injector, (parts.started, parts.seed), served);
        let run = move || {
            confine_helper();
            router.run(&letters);
        };
        let thread = thread::Builder::new().name("gateway".to_owned()).spawn(run)?;
        Ok(Self { handle, thread: Some(thread), _services: services })
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
