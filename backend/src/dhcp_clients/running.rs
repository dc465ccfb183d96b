//! One uplink's client.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::{fs, io};

use tracing::{info, warn};
use viaduct_switch::dhcp::client::{self, Client, ClientEvent, ClientSettings, ClientState, Lease};
use viaduct_switch::{MacAddress, Nanos};

use super::{ClientPlan, ClientReport, Outgoing};
use crate::leases::{OwnLease, WallClock};

/// The bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// An address that is claimed once more within this time cannot be kept (RFC 5227, 2.4, (b); defending it is told at most every ten
/// seconds).
const CLAIMED_AGAIN: Nanos = Nanos::from_seconds(60);

/// A client, its file, and what it waits for.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) plan: ClientPlan,
    pub(super) client: Client,
    path: PathBuf,
    /// What is being probed for.
    probing: Option<Ipv4Addr>,
    /// Who claimed the address last, and when.
    claimed: Option<(MacAddress, Nanos)>,
    trouble: Option<String>,
    /// What was told in the log.
    address: Option<Ipv4Addr>,
    is_up: bool,
}

impl Running {
    /// A client without a link; what its file says counts at once.
    pub(super) fn start(
        plan: ClientPlan,
        path: PathBuf,
        seed: u64,
        (clock, now): (WallClock, Nanos),
    ) -> Self {
        let kept = OwnLease::read(&path).and_then(|kept| kept.lease(plan.mac, clock, now));
        let settings = ClientSettings { mac: plan.mac, client_id: None, host_name: None };
        let mut client = Client::new(settings, kept, seed);
        client.resume(now);
        Self { plan, client, path, probing: None, claimed: None, trouble: None, address: None, is_up: false }
    }

    /// Follows the interface.
    pub(super) fn follow(&mut self, plan: ClientPlan, now: Nanos) {
        match (self.is_up, plan.is_up) {
            (false, true) => self.client.link_up(now),
            (true, false) => self.client.link_down(),
            _ => {}
        }
        self.is_up = plan.is_up;
        self.plan = plan;
    }

    pub(super) fn probed(&mut self, address: Ipv4Addr, taken_by: Option<MacAddress>, now: Nanos) {
        if self.probing != Some(address) {
            return;
        }
        self.probing = None;
        if let Some(mac) = taken_by {
            self.complain(format!(
                "the server lent {address}, which the station {mac} has: it was declined, and another one is asked for"
            ));
        }
        self.client.probed(now, taken_by.is_some());
    }

    pub(super) fn claimed(&mut self, address: Ipv4Addr, mac: MacAddress, now: Nanos) {
        if self.client.lease().is_none_or(|lease| lease.address != address) {
            return;
        }
        let is_again = self.claimed.is_some_and(|(_, last)| now < last + CLAIMED_AGAIN);
        self.claimed = Some((mac, now));
        if is_again {
            self.complain(format!(
                "the station {mac} goes on using {address}, which the server lent to this uplink: it was declined, and another one \
                 is asked for"
            ));
            self.client.conflict(now);
        }
    }

    pub(super) fn report(&self) -> ClientReport {
        ClientReport {
            state: self.client.state(),
            lease: self.client.lease().cloned(),
            trouble: self.trouble.clone(),
        }
    }

    /// Does what the client wants done.
    pub(super) fn settle(&mut self, clock: WallClock, outgoing: &mut VecDeque<Outgoing>) {
        let network = self.plan.network;
        while let Some(event) = self.client.next_event() {
            match event {
                ClientEvent::Probe(address) => {
                    self.probing = Some(address);
                    outgoing.push_back(Outgoing::Probe { network, address });
                }
                ClientEvent::Configured(lease) => self.keep(&lease, clock),
                ClientEvent::Lost(address) => self.lose(address),
            }
        }
        while let Some(message) = self.client.next_message() {
            outgoing.push_back(self.sent(&message));
        }
    }

    fn sent(&self, message: &client::Outgoing) -> Outgoing {
        let network = self.plan.network;
        let frame = message.frame(self.plan.mac, MacAddress::BROADCAST);
        if message.destination == Ipv4Addr::BROADCAST {
            Outgoing::Frame { network, frame }
        } else {
            Outgoing::Packet { network, packet: frame.get(ETHERNET..).unwrap_or_default().to_vec() }
        }
    }

    fn keep(&mut self, lease: &Lease, clock: WallClock) {
        let Lease { address, prefix, server, .. } = lease;
        let until_s = clock.unix_s(lease.until);
        let uplink = &self.plan.uplink;
        if self.client.state() == ClientState::Down {
            info!(
                "uplink {uplink}: {address}/{prefix} is used again, which {server} lent until {until_s} s since 1970"
            );
        } else if self.address != Some(*address) {
            info!("uplink {uplink}: {server} lends {address}/{prefix}");
        }
        (self.address, self.trouble) = (Some(*address), None);
        if let Err(error) = OwnLease::of(lease, self.plan.mac, clock).write(&self.path) {
            warn!(
                "uplink {}: the lease cannot be kept in {}: {error}; after a restart the address comes later",
                self.plan.uplink,
                self.path.display()
            );
        }
    }

    fn lose(&mut self, address: Ipv4Addr) {
        (self.address, self.claimed) = (None, None);
        if self.trouble.is_none() {
            self.complain(format!(
                "the lease of {address} has ended, or its server refused to go on; another one is asked for"
            ));
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(
                    "uplink {}: {} tells of a lease that is over: {error}",
                    self.plan.uplink,
                    self.path.display()
                );
            }
            _ => {}
        }
    }

    fn complain(&mut self, trouble: String) {
        warn!("uplink {}: {trouble}", self.plan.uplink);
        self.trouble = Some(trouble);
    }
}
