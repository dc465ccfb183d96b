//! What the services' thread has in common with those that hand it packets and settings.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use viaduct_switch::ids::{NetworkIndex, PortIndex};
use viaduct_switch::packet::{Packet, number};

use super::counters::{Counters, Event};
use super::fair::{FairQueue, Limits, Places};
use super::metadata;
use super::names::Names;
use super::outside::{self, Outside};
use super::settings::NetworkServices;

/// Packets that wait before the services.
const INBOX: Limits = Limits { port: 256, total: 2048 };

/// Questions that other name servers are asked at once: each has up to four sockets, for as long as five seconds.
const ASKED: Limits = Limits { port: 32, total: 128 };

/// Questions that wait until they can be asked.
const WAITING: Limits = Limits { port: 1024, total: 4096 };

/// Connections of guests to services: 48 KiB each.
const CONNECTIONS: Limits = Limits { port: 16, total: 512 };

/// The port of name servers (RFC 1035, 4.2).
pub(super) const DNS: u16 = 53;

/// The port of metadata.
pub(super) const HTTP: u16 = 80;

/// Where the services' packets go: `false` if there was no room.
pub(super) type Output = Box<dyn Fn(NetworkIndex, Vec<u8>) -> bool + Send + Sync>;

/// A packet that came.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) network: NetworkIndex,
    pub(super) bytes: Vec<u8>,
}

/// The networks' settings, as they are wanted.
pub(super) type Plan = HashMap<NetworkIndex, Arc<NetworkServices>>;

/// All that is shared.
pub(super) struct Shared {
    pub(super) inbox: Mutex<FairQueue<Arrival>>,
    /// Something came, or the plan changed.
    pub(super) wake: Notify,
    pub(super) plan: Mutex<Arc<Plan>>,
    pub(super) names: Names,
    pub(super) counters: Counters,
    /// Places of questions to other name servers.
    pub(super) places: Arc<Places>,
    /// Places of guests' connections.
    pub(super) connections: Arc<Places>,
    /// The sockets at uplinks.
    pub(super) outsides: Mutex<HashMap<NetworkIndex, Arc<Outside>>>,
    output: Output,
}

impl Shared {
    pub(super) fn new(output: Output) -> Self {
        Self {
            inbox: Mutex::new(FairQueue::new(INBOX)),
            wake: Notify::new(),
            plan: Mutex::default(),
            names: Names::default(),
            counters: Counters::default(),
            places: Places::new(ASKED, WAITING),
            connections: Places::new(CONNECTIONS, Limits { port: 0, total: 0 }),
            outsides: Mutex::default(),
            output,
        }
    }

    /// Hands a packet out; one that finds no room is lost.
    pub(super) fn send(&self, network: NetworkIndex, packet: Vec<u8>) {
        if !(self.output)(network, packet) {
            self.counters.count(Event::OutboxFull);
        }
    }

    /// The sockets at an uplink, if a packet is for one of them.
    pub(super) fn outside(&self, network: NetworkIndex, packet: &Packet) -> Option<Arc<Outside>> {
        let ports = packet.ports().filter(|ports| outside::PORTS.contains(&ports.destination))?;
        let outside = self.outsides.lock().get(&network).cloned()?;
        outside.expects(packet, ports).then_some(outside)
    }

    /// Takes a packet in.
    pub(super) fn receive(&self, port: PortIndex, arrival: Arrival) -> bool {
        let pushed = self.inbox.lock().push(port, arrival);
        self.wake.notify_one();
        if pushed.is_err() {
            self.counters.count(Event::InboxFull);
        }
        pushed.is_ok()
    }
}

impl NetworkServices {
    /// Whether a packet is for a service.
    pub(super) fn serves(&self, packet: &Packet) -> bool {
        let destination = IpAddr::from(packet.destination);
        let Some(ports) = packet.ports() else { return false };
        let is_name = self.dns.is_some() && ports.destination == DNS && self.addresses.contains(&destination);
        match packet.protocol {
            number::UDP => is_name,
            number::TCP => is_name || self.is_metadata(destination, ports.destination),
            _ => false,
        }
    }

    /// Whether a connection is for the metadata server.
    pub(super) fn is_metadata(&self, destination: IpAddr, port: u16) -> bool {
        self.metadata.is_some() && port == HTTP && metadata::is_address(destination)
    }

    /// Whether an address is one of the network's: all that are answered.
    pub(super) fn knows(&self, address: IpAddr) -> bool {
        let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        is_link_local || self.subnets.iter().any(|subnet| subnet.contains(address))
    }
}
