//! The DHCP clients that get uplinks their addresses (`address = "dhcp"`).
//!
//! No thread, no socket and no clock: frames of the uplinks' networks and the time come in; frames, packets and questions go out. The
//! protocol is [`viaduct_switch::dhcp::client`]'s; here is what it asks its caller for: each lease is kept in a file of its own,
//! `uplink-NAME.lease`, so that a process that comes after this one goes on with the address at once, while its server is asked.
//!
//! ```text
//!   configure(plans) ─┐                  ┌─> frames and packets for the uplinks' networks, addresses to be probed for
//!   frame ──> receive ┼─> client ────────┼─> the lease file
//!   probed, claimed ──┤                  └─> reports: what the uplinks' addresses are
//!   time ──> advance ─┘
//! ```
//!
//! Only what comes by the uplink itself is heard: where guests are bridged to its network, none of them is its server.

mod running;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use viaduct_switch::dhcp::client::{ClientState, Lease};
use viaduct_switch::dhcp::datagram::{CLIENT_PORT, SERVER_PORT};
use viaduct_switch::{MacAddress, Nanos, NetworkIndex, PortIndex};

use crate::leases::WallClock;
use running::Running;

/// An uplink that gets its address by DHCP, while its interface is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientPlan {
    /// Its name, by which its lease is kept.
    pub uplink: String,
    /// The network where its address is.
    pub network: NetworkIndex,
    /// Its port, by which the server's answers come.
    pub port: PortIndex,
    /// The interface's Ethernet address.
    pub mac: MacAddress,
    /// Whether frames go out by it.
    pub is_up: bool,
}

/// Where a client stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientReport {
    /// Its state.
    pub state: ClientState,
    /// What it was lent, while that counts.
    pub lease: Option<Lease>,
    /// Why it has none, if there was one before or could have been.
    pub trouble: Option<String>,
}

/// By uplink.
pub type ClientReports = BTreeMap<String, ClientReport>;

/// Something to be sent, or asked for, in an uplink's network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outgoing {
    /// A frame for all stations.
    Frame {
        /// The network.
        network: NetworkIndex,
        /// The frame, without tags and with complete checksums.
        frame: Vec<u8>,
    },
    /// A packet of IP for one station, whose Ethernet address is to be asked for.
    Packet {
        /// The network.
        network: NetworkIndex,
        /// The packet, with complete checksums.
        packet: Vec<u8>,
    },
    /// Whether any station has this address (RFC 5227, 2.1): to be told by [`Clients::probed`].
    Probe {
        /// The network.
        network: NetworkIndex,
        /// The address.
        address: Ipv4Addr,
    },
}

/// The clients of all uplinks.
#[derive(Debug)]
pub struct Clients {
    /// Where leases are kept.
    folder: PathBuf,
    clock: WallClock,
    seed: u64,
    running: BTreeMap<String, Running>,
    outgoing: VecDeque<Outgoing>,
    /// What was told last.
    told: ClientReports,
}

impl Clients {
    /// No clients yet. Leases are kept in `folder`; `unix_s` is the wall clock's time at `now`, in seconds since 1970, and `seed` is
    /// random.
    #[must_use]
    pub fn new(folder: &Path, seed: u64, (now, unix_s): (Nanos, u64)) -> Self {
        Self {
            folder: folder.to_owned(),
            clock: WallClock::new(now, unix_s),
            seed,
            running: BTreeMap::new(),
            outgoing: VecDeque::new(),
            told: ClientReports::new(),
        }
    }

    /// Tells what the wall clock says at `now`, in seconds since 1970, should it have been set.
    pub fn set_clock(&mut self, now: Nanos, unix_s: u64) {
        self.clock = WallClock::new(now, unix_s);
    }

    /// Has a client run for each of these uplinks, and no others. One whose link comes asks for its lease of before.
    pub fn configure(&mut self, plans: Vec<ClientPlan>, now: Nanos) {
        let mut former = std::mem::take(&mut self.running);
        for plan in plans {
            let same = former.remove(&plan.uplink).filter(|running| running.plan.mac == plan.mac);
            let name = plan.uplink.clone();
            let running = same.unwrap_or_else(|| {
                self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let path = self.folder.join(format!("uplink-{name}.lease"));
                Running::start(plan.clone(), path, self.seed, (self.clock, now))
            });
            self.running.insert(name.clone(), running);
            self.with(&name, |running| running.follow(plan, now));
        }
    }

    /// Whether a frame is one that [`Clients::receive`] may want, by its ports alone.
    #[must_use]
    pub fn concerns(frame: &[u8]) -> bool {
        const UDP: u8 = 17;
        let ([_, _, _, _, _, _, _, _, _, _, _, _, 8, 0], Some(packet)) =
            (frame.get(..14).unwrap_or_default(), frame.get(14..))
        else {
            return false;
        };
        let &[version, _, _, _, _, _, _, _, _, UDP, ..] = packet else { return false };
        let ports = [SERVER_PORT, CLIENT_PORT].map(u16::to_be_bytes).concat();
        packet.get(usize::from(version & 15) * 4..).is_some_and(|udp| udp.starts_with(&ports))
    }

    /// Takes a frame that came by `port` in `network`.
    pub fn receive(&mut self, network: NetworkIndex, port: PortIndex, frame: &[u8], now: Nanos) {
        if let Some(name) = self.at(network, |plan| plan.port == port) {
            self.with(&name, |running| running.client.receive(now, frame));
        }
    }

    /// Tells what [`Outgoing::Probe`] asked: which station has the address, if any has it.
    pub fn probed(
        &mut self,
        network: NetworkIndex,
        address: Ipv4Addr,
        taken_by: Option<MacAddress>,
        now: Nanos,
    ) {
        if let Some(name) = self.at(network, |_| true) {
            self.with(&name, |running| running.probed(address, taken_by, now));
        }
    }

    /// Tells that a station at `port` claims an address of the gateway's, which was defended.
    pub fn claimed(
        &mut self,
        (network, port): (NetworkIndex, PortIndex),
        address: Ipv4Addr,
        mac: MacAddress,
        now: Nanos,
    ) {
        if let Some(name) = self.at(network, |plan| plan.port == port) {
            self.with(&name, |running| running.claimed(address, mac, now));
        }
    }

    /// Does what is due at `now`.
    pub fn advance(&mut self, now: Nanos) {
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            self.with(&name, |running| running.client.advance(now));
        }
    }

    /// When [`Clients::advance`] has something to do next.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.running.values().filter_map(|running| running.client.due()).min()
    }

    /// The next thing to be sent or asked for: to be asked for until there is none after each call.
    pub fn next_outgoing(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// Where all clients stand, if that is not what this told last.
    pub fn news(&mut self) -> Option<ClientReports> {
        let reports: ClientReports =
            self.running.iter().map(|(name, running)| (name.clone(), running.report())).collect();
        if reports == self.told {
            return None;
        }
        self.told.clone_from(&reports);
        Some(reports)
    }

    /// The uplink whose address is in a network, if it is the one that is meant.
    fn at(&self, network: NetworkIndex, is_meant: impl Fn(&ClientPlan) -> bool) -> Option<String> {
        let mut plans = self.running.values().map(|running| &running.plan);
        plans.find(|plan| plan.network == network && is_meant(plan)).map(|plan| plan.uplink.clone())
    }

    /// Has something told to a client, and does what it wants then.
    fn with(&mut self, name: &str, tell: impl FnOnce(&mut Running)) {
        if let Some(running) = self.running.get_mut(name) {
            tell(running);
            running.settle(self.clock, &mut self.outgoing);
        }
    }
}
