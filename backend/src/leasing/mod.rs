//! What hosts configure themselves by, of all networks: DHCP and DHCPv6 servers, and router advertisements. Who was lent what
//! is kept in one file across restarts.
//!
//! No thread, no socket and no clock: frames of the gateways' ports and the time come in, frames for the gateways' ports go
//! out. Frames have no VLAN tags, and their checksums are complete.
//!
//! ```text
//!   configure(plan) ----+
//!   frame ---> receive -+-> server of the network ---> changed leases ---> lease file ---> answer
//!   time ----> advance -+                                    |
//!                       |                                    +---> names for DNS, `show leases`
//!                       +-> router of the network ---> advertisements (next_frame)
//! ```
//!
//! **No promise that would be forgotten.** An answer that lends something is sent once the lease stands in the file. What
//! cannot be written was not lent: it is taken back, nothing is sent, and from then on servers that lend are silent, as if
//! they were not there, so that another server of the network may answer. Clients keep what is noted until it ends. The
//! file is tried again every second. This is said once in the log, and once more when it is over.

mod books;
mod compile;
mod happenings;
mod journal;
mod names;
mod network;
mod plan;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;

use viaduct_switch::{Nanos, NetworkIndex, PortIndex};

use books::Books;
use happenings::Happenings;
pub use happenings::{LeaseChange, LeaseEvent};
use journal::Journal;
use names::Names;
pub use names::{NameChange, NameKind};
use network::Network;
pub use plan::{NetworkPlan, Plan, PlanError};
pub use view::{LeaseState, LeaseView};

/// Tells whether an address of a network is known to be used by somebody: what the gateway's neighbours say.
pub type Taken<'a> = dyn FnMut(IpAddr) -> bool + 'a;

/// A frame for a network, to enter the switch at its gateway's port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The network.
    pub network: NetworkIndex,
    /// The frame, without tags and with complete checksums.
    pub frame: Vec<u8>,
}

/// The servers of all networks.
#[derive(Debug)]
pub struct Leasing {
    journal: Journal,
    networks: BTreeMap<NetworkIndex, Network>,
    ports: BTreeMap<PortIndex, String>,
    outgoing: VecDeque<Outgoing>,
    names: Names,
    happenings: Happenings,
    /// Of which the networks' routers get theirs: it spreads what they say over time, and is no secret.
    seed: u64,
}

impl Leasing {
    /// No servers yet. Leases are kept in the file at `path`; `unix_s` is the wall clock's time at `now`, in seconds since 1970.
    #[must_use]
    pub fn open(path: &Path, now: Nanos, unix_s: u64) -> Self {
        Self {
            journal: Journal::open(path, now, unix_s),
            networks: BTreeMap::new(),
            ports: BTreeMap::new(),
            outgoing: VecDeque::new(),
            names: Names::default(),
            happenings: Happenings::default(),
            seed: unix_s,
        }
    }

    /// Tells what the wall clock says at `now`, in seconds since 1970, should it have been set.
    pub fn set_clock(&mut self, now: Nanos, unix_s: u64) {
        self.journal.set_clock(now, unix_s);
    }

    /// Makes the networks' servers what `plan` says. Leases stay with networks and ports of the same names, whatever numbers
    /// they have now, as far as they fit. Hosts of a network whose router goes are told so, where its gateway's port still is.
    ///
    /// # Errors
    /// If a server's settings make no sense: then nothing changes.
    pub fn configure(&mut self, plan: Plan, now: Nanos) -> Result<(), PlanError> {
        plan.check()?;
        let numbers: BTreeMap<&str, PortIndex> =
            plan.ports.iter().map(|(index, name)| (name.as_str(), *index)).collect();
        let before = std::mem::take(&mut self.ports);
        let renumber = |port: PortIndex| numbers.get(before.get(&port)?.as_str()).copied();
        let mut former: BTreeMap<String, Network> = std::mem::take(&mut self.networks)
            .into_values()
            .map(|network| (network.name.clone(), network))
            .collect();
        for network in plan.networks {
            let (index, before) = (network.index, former.remove(&network.name));
            let last_words = before.as_ref().and_then(Network::last_words);
            self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let next = Network::of(network, before, &renumber, (now, self.seed))?;
            self.outgoing.extend(
                last_words.filter(|_| !next.has_router()).map(|frame| Outgoing { network: index, frame }),
            );
            self.networks.insert(index, next);
        }
        self.ports = plan.ports;
        for gone in former.into_values() {
            self.outgoing.extend(gone.last_words().map(|frame| Outgoing { network: gone.index, frame }));
            self.names.forget_network(&gone.name);
        }
        self.settle(now);
        Ok(())
    }

    /// Whether a frame is one that [`Leasing::receive`] may answer, by its ports and types alone.
    #[must_use]
    pub fn concerns(frame: &[u8]) -> bool {
        network::Kind::of(frame).is_some()
    }

    /// Takes a frame of a station of `network` that came by `port`, and gives the one to be sent to it, if any.
    pub fn receive(
        &mut self,
        network: NetworkIndex,
        port: PortIndex,
        frame: &[u8],
        now: Nanos,
        taken: &mut Taken,
    ) -> Option<Vec<u8>> {
        let found = self.networks.get_mut(&network).filter(|_| self.ports.contains_key(&port))?;
        let answer = found.receive(now, port, frame, taken, &mut || self.journal.is_ready(now));
        let is_noted = found.note(&mut Books::of(
            now,
            &mut self.journal,
            &self.ports,
            &mut self.names,
            &mut self.happenings,
        ));
        answer.filter(|_| is_noted)
    }

    /// Does what is due at `now`: ends leases that are over, mends and tidies the file, and has routers say who they are.
    pub fn advance(&mut self, now: Nanos) {
        if self.journal.is_failing() && self.journal.is_ready(now) {
            self.settle(now);
        }
        self.change_all(now, |network, outgoing| {
            let frames = network.advance(now).into_iter();
            outgoing.extend(frames.map(|frame| Outgoing { network: network.index, frame }));
        });
        self.journal.tidy(now);
    }

    /// When [`Leasing::advance`] has something to do next.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        let networks = self.networks.values().filter_map(Network::due);
        networks.chain(self.journal.due()).min()
    }

    /// The next frame that is to be sent though it is not the answer to the one that was just received: to be asked for until
    /// there is none after each call.
    pub fn next_frame(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// The process ends: hosts are told that there are no routers any more. Leases go on.
    pub fn cease(&mut self) {
        for network in self.networks.values() {
            let last_words = network.last_words();
            self.outgoing.extend(last_words.map(|frame| Outgoing { network: network.index, frame }));
        }
    }

    /// Forgets what a port holds, since it is gone.
    pub fn forget_port(&mut self, port: PortIndex, now: Nanos) {
        self.change_all(now, |network, _| network.remove_port(port));
        self.ports.remove(&port);
    }

    /// Tells that somebody uses an address that was not lent to him.
    pub fn report_conflict(&mut self, network: NetworkIndex, address: IpAddr, now: Nanos) {
        if let Some(found) = self.networks.get_mut(&network) {
            found.report_conflict(now, address);
        }
    }

    /// What of the networks' addresses is lent, offered or remembered, by network and address.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseView> {
        let view = |network| view::of_network(network, &self.ports, &self.journal);
        let mut views: Vec<LeaseView> = self.networks.values().flat_map(view).collect();
        views.sort_by(|one, other| (&one.network, one.address).cmp(&(&other.network, other.address)));
        views
    }

    /// What was counted in each network: its name, the version of IP, and names and counts of events.
    pub fn counters(&self) -> impl Iterator<Item = (&str, u8, &viaduct_switch::dhcp::Counters)> {
        self.networks.values().flat_map(Network::counters)
    }

    /// What happened to leases since this was last asked, in order.
    pub fn take_events(&mut self) -> Vec<LeaseEvent> {
        self.happenings.take()
    }

    /// Names that came or went since this was last asked, in order.
    pub fn take_names(&mut self) -> Vec<NameChange> {
        self.names.take_changes()
    }

    /// The lease file, if it was written to since this was last asked, to be synced with its disk by whoever may wait.
    pub fn unsynced(&mut self) -> Option<File> {
        self.journal.unsynced()
    }

    /// Why leases cannot be noted, if they cannot.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.journal.failure()
    }

    /// Has all networks do something, each of which writes down what came of it.
    fn change_all(&mut self, now: Nanos, mut change: impl FnMut(&mut Network, &mut VecDeque<Outgoing>)) {
        for network in self.networks.values_mut() {
            change(network, &mut self.outgoing);
            network.note(&mut Books::of(
                now,
                &mut self.journal,
                &self.ports,
                &mut self.names,
                &mut self.happenings,
            ));
        }
    }

    /// Takes up what the file says of servers that know less, and strikes from it what is not so any more.
    fn settle(&mut self, now: Nanos) {
        self.journal.is_ready(now);
        for network in self.networks.values_mut() {
            network.settle(&mut Books::of(
                now,
                &mut self.journal,
                &self.ports,
                &mut self.names,
                &mut self.happenings,
            ));
        }
    }
}

#[cfg(test)]
mod tests;
