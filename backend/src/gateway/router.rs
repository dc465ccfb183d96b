//! The thread's work: letters and the time in, frames out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing::warn;
use viaduct_switch::gateway::{Gateway, Limits, Moment, Offered, Output};
use viaduct_switch::packet::Address;
use viaduct_switch::tunnel::{EndpointIndex, is_vtep_port};
use viaduct_switch::{DropReason, MacAddress, Nanos, NetworkIndex, PortIndex, Switch};

use super::lending::Lending;
use super::{Letter, News, Setup, Tell};
use crate::dataplane::{Injector, OfferedFrame, Offers};
use crate::dhcp_clients::Clients;
use crate::leasing::Leasing;
use crate::services::{self, Taking};

/// The bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// How long the thread sleeps at most.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Those who answer what is for the gateways' own addresses.
pub(super) struct Served {
    pub(super) services: services::Handle,
    pub(super) lending: Lending,
    /// Who is told of what happens at uplinks.
    pub(super) tell: Arc<Tell>,
}

/// All that the thread has.
pub(super) struct Router {
    machine: Gateway,
    switch: Arc<Switch>,
    offers: Arc<Offers>,
    injector: Injector,
    started: Instant,
    served: Served,
    /// The gateways' ports.
    ports: BTreeMap<NetworkIndex, PortIndex>,
    /// The ports by which the switch's ends of tunnels are reached.
    tunnels: BTreeMap<EndpointIndex, PortIndex>,
    /// Room for what is offered.
    offered: VecDeque<OfferedFrame>,
}

impl Router {
    pub(super) fn new(
        switch: Arc<Switch>,
        offers: Arc<Offers>,
        injector: Injector,
        (started, seed): (Instant, u64),
        served: Served,
    ) -> Self {
        let machine = Gateway::new(seed, &Limits::default());
        Self {
            machine,
            switch,
            offers,
            injector,
            started,
            served,
            ports: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            offered: VecDeque::new(),
        }
    }

    /// Serves letters until one says stop.
    pub(super) fn run(mut self, letters: &Receiver<Letter>) {
        loop {
            match letters.recv_timeout(self.sleep()) {
                Ok(Letter::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(letter) => self.open(letter),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let switch = Arc::clone(&self.switch);
            self.machine.advance(self.moment(&switch));
            self.carry_out();
        }
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long nothing is to be done unless a letter comes.
    fn sleep(&self) -> Duration {
        let due = self.machine.due().map(|due| due.0.saturating_sub(self.now().0));
        due.map_or(SLEEP_MAX, |nanos| Duration::from_nanos(nanos).min(SLEEP_MAX))
    }
}

impl Router {
    /// What the machine has to know now.
    fn moment<'a>(&self, switch: &'a Switch) -> Moment<'a> {
        Moment { neighbours: switch.neighbours(), now: self.now() }
    }

    fn open(&mut self, letter: Letter) {
        let switch = Arc::clone(&self.switch);
        let moment = self.moment(&switch);
        match letter {
            Letter::Offered => return self.take_offers(),
            Letter::Setup(setup) => {
                let Setup { routing, ports, tunnels, services, lending } = *setup;
                (self.ports, self.tunnels) = (ports, tunnels);
                self.served.services.configure(services);
                self.served.lending.configure(lending);
                self.machine.set_routing(routing, moment);
            }
            Letter::ForgetPort(port) => {
                self.machine.forget_port(port, moment);
                self.served.lending.forget_port(port);
            }
            Letter::Leases(answer) => self.served.lending.leases(answer),
            Letter::Events(answer) => self.served.lending.events(answer),
            Letter::Packet(network, packet, _place) => {
                if let Err(reason) = self.machine.originate(network, &packet, moment) {
                    self.count(network, reason);
                }
            }
            Letter::Frame(network, frame) => self.send(network, frame),
            Letter::Probe(network, address) => self.machine.probe(network, address.into(), moment.now),
            Letter::Clients(plans) => self.served.lending.follow_clients(plans),
            Letter::LinkUp(network) => self.machine.link_up(network, moment.now),
            Letter::Neighbours(answer) => {
                let all = self.machine.neighbours().collect();
                // Whoever asked may have stopped waiting.
                let _ = answer.try_send((moment.now, all));
            }
            Letter::BeginLending => self.served.lending.begin(),
            Letter::Cease(answer) => {
                self.machine.cease(moment.now);
                self.carry_out();
                let _ = answer.try_send(());
            }
            Letter::Stop => {}
        }
        self.carry_out();
    }

    fn take_offers(&mut self) {
        let switch = Arc::clone(&self.switch);
        let mut offered = std::mem::take(&mut self.offered);
        self.offers.take(&mut offered);
        for frame in offered.drain(..) {
            let OfferedFrame { port, network, why, bytes } = &frame;
            let offer = Offered { port: *port, network: *network, frame: bytes, why: *why };
            self.machine.receive(&offer, self.moment(&switch));
            self.carry_out();
            self.offers.recycle(frame);
        }
        self.offered = offered;
    }

    /// Does what the machine wants done.
    fn carry_out(&mut self) {
        let outputs: Vec<Output> = self.machine.drain().collect();
        for output in outputs {
            match output {
                Output::Send { network, frame } => self.send(network, frame),
                Output::Again { port, network, frame } => {
                    if !self.injector.inject(port, network, frame) {
                        self.drop(port, DropReason::GatewayQueueFull);
                    }
                }
                Output::Local { port, network, frame } => self.serve(port, network, &frame),
                Output::Dropped { port, reason, .. } => self.drop(port, reason),
                Output::Conflict { port, network, address, mac } => {
                    warn!(
                        "network {network}: the station {mac} at port {port} claims {address}, which is the gateway's"
                    );
                    self.served.lending.claimed((network, port), address, mac);
                    let address = address.into();
                    (self.served.tell)(News::Claim { network, address, mac, is_kept: true });
                }
                Output::Probed { network, address, taken_by } => self.probed(network, address, taken_by),
            }
        }
    }

    /// It has been found out whether any station has an address: one that the DHCP client asked for, or one of IPv6 of the gateway's.
    fn probed(&self, network: NetworkIndex, address: Address, taken_by: Option<MacAddress>) {
        match (IpAddr::from(address), taken_by) {
            (IpAddr::V4(address), _) => self.served.lending.probed(network, address, taken_by),
            (address, Some(mac)) => {
                warn!(
                    "network {network}: the station {mac} has {address} already: the gateway does not use it"
                );
                (self.served.tell)(News::Claim { network, address, mac, is_kept: false });
            }
            (_, None) => {}
        }
    }

    /// Gives a frame for one of the gateway's addresses to the service that it is for; nobody else wants it.
    fn serve(&mut self, port: PortIndex, network: NetworkIndex, frame: &[u8]) {
        if Leasing::concerns(frame) || Clients::concerns(frame) {
            if !self.served.lending.frame(self.place(port), network, frame.to_vec()) {
                self.drop(port, DropReason::GatewayQueueFull);
            }
            return;
        }
        let packet = frame.get(ETHERNET..).unwrap_or_default();
        match self.served.services.packet(port, network, packet.to_vec()) {
            Taking::Taken => {}
            Taking::NoRoom => self.drop(port, DropReason::GatewayQueueFull),
            Taking::NotServed => {
                let switch = Arc::clone(&self.switch);
                let offer = Offered { port, network, frame, why: None };
                self.machine.refuse(&offer, self.moment(&switch));
            }
        }
    }

    /// The port to whom what a station is lent is written: of one behind a tunnel its uplink, since VTEPs come and go.
    fn place(&self, port: PortIndex) -> PortIndex {
        if !is_vtep_port(port) || self.tunnels.is_empty() {
            return port;
        }
        let endpoint = self.switch.vteps().get(port).map(|(endpoint, _)| endpoint);
        endpoint.and_then(|endpoint| self.tunnels.get(&endpoint)).copied().unwrap_or(port)
    }

    /// Lets a frame of the gateway's enter a network.
    fn send(&mut self, network: NetworkIndex, frame: Vec<u8>) {
        let Some(&port) = self.ports.get(&network) else { return };
        if !self.injector.inject(port, network, frame) {
            self.drop(port, DropReason::GatewayQueueFull);
        }
    }

    fn drop(&self, port: PortIndex, reason: DropReason) {
        self.switch.counters().port(port).add_drops(reason, 1);
    }

    /// Counts a packet of the gateway's own that goes nowhere.
    fn count(&self, network: NetworkIndex, reason: DropReason) {
        if let Some(&port) = self.ports.get(&network) {
            self.drop(port, reason);
        }
    }
}
