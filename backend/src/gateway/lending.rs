//! The thread of the servers that lend addresses, and of the clients that uplinks get theirs by: it alone waits for the disk on which
//! leases are kept.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, io};

use tracing::warn;
use viaduct_switch::packet::Address;
use viaduct_switch::{MacAddress, Nanos, NetworkIndex, PortIndex, Switch, dhcp};

use super::{Handle, News, Tell, Ticket};
use crate::dhcp_clients::{self, ClientPlan, Clients};
use crate::leasing::{LeaseView, Leasing, NameChange, NameKind, Outgoing, Plan};
use crate::model::ServiceEventStatus;
use crate::services;

/// Frames that may wait for the thread: each port sends its gateway a thousand a second at most.
const FRAMES_MAX: usize = 4096;

/// How long the thread sleeps at most, so that it notices that the clock was set.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What the thread is told.
enum Order {
    Frame { port: PortIndex, network: NetworkIndex, frame: Vec<u8>, _place: Ticket },
    Plan(Box<Plan>),
    Clients(Vec<ClientPlan>),
    Probed { network: NetworkIndex, address: Ipv4Addr, taken_by: Option<MacAddress> },
    Claimed { network: NetworkIndex, port: PortIndex, address: Ipv4Addr, mac: MacAddress },
    ForgetPort(PortIndex),
    Leases(SyncSender<(Nanos, Vec<LeaseView>)>),
    Events(SyncSender<Vec<ServiceEventStatus>>),
    Stop,
}

/// Talks to the thread, which ends when the last of these is dropped by its owner.
pub(super) struct Lending {
    /// Told when another process lends no more.
    begin: Option<Sender<()>>,
    orders: Sender<Order>,
    frames: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Lending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lending").field("frames", &self.frames).finish_non_exhaustive()
    }
}

/// What the thread has.
pub(super) struct Tools {
    pub(super) switch: Arc<Switch>,
    /// By what answers leave.
    pub(super) gateways: Handle,
    /// Who hears of names.
    pub(super) services: services::Handle,
    /// When the switch's time began.
    pub(super) started: Instant,
    /// Who is told of what uplinks were lent.
    pub(super) tell: Arc<Tell>,
}

impl Lending {
    /// Starts the thread, which keeps leases in files in `folder`.
    pub(super) fn start(folder: &Path, seed: u64, tools: Tools, is_later: bool) -> io::Result<Self> {
        let (orders, received) = channel();
        let (begin, begun) = channel();
        let open = move |folder: &Path| {
            let now = now(tools.started);
            let leasing = Leasing::open(&folder.join("leases"), now, unix_s());
            let clients = Clients::new(folder, seed.rotate_left(32), (now, unix_s()));
            Lender { leasing, clients, tools, ports: Plan::default().ports, networks: Vec::new() }
        };
        let folder = folder.to_owned();
        let builder = thread::Builder::new().name("leases".to_owned());
        let thread = if is_later {
            // What is ordered meanwhile waits. If it is told to end first, it never begins.
            builder.spawn(move || {
                if begun.recv().is_ok() {
                    open(&folder).run(&received);
                }
            })?
        } else {
            let lender = open(&folder);
            builder.spawn(move || lender.run(&received))?
        };
        Ok(Self { begin: Some(begin), orders, frames: Arc::default(), thread: Some(thread) })
    }

    /// Reads the leases and lends, where that was to be later.
    pub(super) fn begin(&self) {
        // Who lends already does not listen.
        if let Some(begin) = &self.begin {
            let _ = begin.send(());
        }
    }

    fn say(&self, order: Order) {
        // Only at the end of the process is nobody there.
        let _ = self.orders.send(order);
    }

    /// Hands over a frame that asks for an address, or tells about one; says whether there was room.
    pub(super) fn frame(&self, port: PortIndex, network: NetworkIndex, frame: Vec<u8>) -> bool {
        let place = Ticket(Arc::clone(&self.frames));
        let had_room = self.frames.fetch_add(1, Ordering::Relaxed) < FRAMES_MAX;
        if had_room {
            self.say(Order::Frame { port, network, frame, _place: place });
        }
        had_room
    }

    pub(super) fn configure(&self, plan: Plan) {
        self.say(Order::Plan(Box::new(plan)));
    }

    pub(super) fn follow_clients(&self, plans: Vec<ClientPlan>) {
        self.say(Order::Clients(plans));
    }

    /// Tells what was found out about an address that a client asked for.
    pub(super) fn probed(&self, network: NetworkIndex, address: Ipv4Addr, taken_by: Option<MacAddress>) {
        self.say(Order::Probed { network, address, taken_by });
    }

    /// Tells that a station claims an address of a gateway's.
    pub(super) fn claimed(
        &self,
        (network, port): (NetworkIndex, PortIndex),
        address: Address,
        mac: MacAddress,
    ) {
        if let IpAddr::V4(address) = address.into() {
            self.say(Order::Claimed { network, port, address, mac });
        }
    }

    pub(super) fn forget_port(&self, port: PortIndex) {
        self.say(Order::ForgetPort(port));
    }

    pub(super) fn leases(&self, answer: SyncSender<(Nanos, Vec<LeaseView>)>) {
        self.say(Order::Leases(answer));
    }

    pub(super) fn events(&self, answer: SyncSender<Vec<ServiceEventStatus>>) {
        self.say(Order::Events(answer));
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        drop(self.begin.take());
        self.say(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

fn now(started: Instant) -> Nanos {
    Nanos(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// What the wall clock says, in seconds since 1970.
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The thread's own.
struct Lender {
    leasing: Leasing,
    clients: Clients,
    tools: Tools,
    /// Ports and networks by the names under which leases know them.
    ports: std::collections::BTreeMap<PortIndex, String>,
    networks: Vec<(String, NetworkIndex)>,
}

impl Lender {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(self.sleep()) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return self.end(),
                Ok(order) => self.follow(order),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.set_clock();
            loop {
                match orders.try_recv() {
                    Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return self.end(),
                    Ok(order) => self.follow(order),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let moment = now(self.tools.started);
            self.leasing.advance(moment);
            self.clients.advance(moment);
            self.tell();
            // Nobody waits now for what has to be on the disk only should the machine lose its power.
            self.sync();
        }
    }

    /// Notes what the wall clock says, should it have been set.
    fn set_clock(&mut self) {
        let (moment, unix_s) = (now(self.tools.started), unix_s());
        self.leasing.set_clock(moment, unix_s);
        self.clients.set_clock(moment, unix_s);
    }

    /// Hosts are told that their routers go; what is lent stays so.
    fn end(&mut self) {
        self.leasing.cease();
        self.tell();
        self.sync();
    }

    fn sleep(&self) -> Duration {
        let due = self.leasing.due().into_iter().chain(self.clients.due()).min();
        let due = due.map(|due| due.0.saturating_sub(now(self.tools.started).0));
        due.map_or(SLEEP_MAX, |nanos| Duration::from_nanos(nanos).min(SLEEP_MAX))
    }

    fn follow(&mut self, order: Order) {
        let moment = now(self.tools.started);
        match order {
            Order::Frame { port, network, frame, .. } if Clients::concerns(&frame) => {
                self.clients.receive(network, port, &frame, moment);
            }
            Order::Frame { port, network, frame, .. } => {
                let neighbours = self.tools.switch.neighbours();
                let mut taken = |address: IpAddr| neighbours.get(network, address.into()).is_some();
                if let Some(answer) = self.leasing.receive(network, port, &frame, moment, &mut taken) {
                    self.tools.gateways.frame(network, answer);
                }
            }
            Order::Plan(plan) => {
                self.ports.clone_from(&plan.ports);
                self.networks = plan.networks.iter().map(|one| (one.name.clone(), one.index)).collect();
                if let Err(error) = self.leasing.configure(*plan, moment) {
                    warn!("{error}; the servers stay as they were");
                }
            }
            Order::Clients(plans) => self.clients.configure(plans, moment),
            Order::Probed { network, address, taken_by } => {
                self.clients.probed(network, address, taken_by, moment);
            }
            Order::Claimed { network, port, address, mac } => {
                self.clients.claimed((network, port), address, mac, moment);
            }
            Order::ForgetPort(port) => self.leasing.forget_port(port, moment),
            // Whoever asked may have stopped waiting.
            Order::Leases(answer) => drop(answer.try_send((moment, self.leasing.leases()))),
            Order::Events(answer) => drop(answer.try_send(self.events())),
            Order::Stop => {}
        }
        self.tell();
    }

    /// What happened at the servers that lend, by network, and at all others.
    fn events(&self) -> Vec<ServiceEventStatus> {
        let status = |service: &str, network: Option<&str>, (event, meaning): (&str, &str), count| {
            ServiceEventStatus {
                service: service.to_owned(),
                network: network.map(str::to_owned),
                event: event.to_owned(),
                meaning: meaning.to_owned(),
                count,
            }
        };
        let lent = self.leasing.counters().flat_map(|(network, version, counters)| {
            let service = if version == 4 { "dhcp" } else { "dhcp6" };
            let words = |event: &dhcp::Event| (event.name(), event.sentence());
            dhcp::Event::ALL
                .iter()
                .map(move |event| status(service, Some(network), words(event), counters.get(*event)))
        });
        let others = self.tools.services.counters().into_iter();
        let others =
            others.map(|(event, count)| status("services", None, (event.name(), event.sentence()), count));
        lent.chain(others).filter(|event| event.count > 0).collect()
    }

    /// Sends what was not asked for, and tells of names and of uplinks' addresses.
    fn tell(&mut self) {
        while let Some(outgoing) = self.clients.next_outgoing() {
            self.send(outgoing);
        }
        if let Some(reports) = self.clients.news() {
            (self.tools.tell)(News::Clients(reports));
        }
        while let Some(Outgoing { network, frame }) = self.leasing.next_frame() {
            self.tools.gateways.frame(network, frame);
        }
        let events = self.leasing.take_events();
        if !events.is_empty() {
            (self.tools.tell)(News::Leases(events));
        }
        for change in self.leasing.take_names() {
            self.name(&change);
        }
    }

    fn send(&self, outgoing: dhcp_clients::Outgoing) {
        use dhcp_clients::Outgoing;
        let gateways = &self.tools.gateways;
        match outgoing {
            Outgoing::Frame { network, frame } => gateways.frame(network, frame),
            // What finds no room is sent again by the client, as if it had got lost on the wire.
            Outgoing::Packet { network, packet } => drop(gateways.packet(network, packet)),
            Outgoing::Probe { network, address } => gateways.probe(network, address),
        }
    }

    fn name(&self, change: &NameChange) {
        let Some((_, network)) = self.networks.iter().find(|(name, _)| *name == change.network) else {
            return;
        };
        let port = self.ports.iter().find(|(_, name)| **name == change.port).map(|(port, _)| *port);
        match port {
            Some(port) if change.is_added => {
                // That another port has the name is counted.
                let is_first = change.kind == NameKind::Port;
                let _ =
                    self.tools.services.name_given(*network, port, &change.name, change.address, is_first);
            }
            None if change.is_added => {}
            _ => self.tools.services.name_ended(*network, &change.name, change.address),
        }
    }

    fn sync(&mut self) {
        if let Some(file) = self.leasing.unsynced()
            && let Err(error) = file.sync_data()
        {
            warn!("leases may be forgotten if the machine loses its power: {error}");
        }
    }
}
