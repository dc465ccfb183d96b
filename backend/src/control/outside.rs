//! Uplinks at which the switch has addresses: their interfaces' addresses are known while those are there, and what they are lent by DHCP
//! while that holds.

mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use tracing::warn;
use viaduct_switch::dhcp::client::Lease;
use viaduct_switch::{MacAddress, NetworkIndex};

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::registry::{Numbers, Seen};
use crate::control::routing::{self, Named, Outside, Outsides};
use crate::control::{leased, services, tunnels};
use crate::dhcp_clients::{ClientPlan, ClientReports};
use crate::gateway::{News, Setup};
use crate::leasing::{LeaseChange, LeaseEvent};
use crate::model::EventKind;

/// What is known of uplinks beside their interfaces.
#[derive(Debug, Default)]
pub(super) struct UplinkNews {
    /// Where the DHCP clients stand, and what they were lent.
    pub(super) clients: ClientReports,
    /// Stations that claim addresses of uplinks'.
    pub(super) claims: BTreeMap<(String, IpAddr), Claim>,
    /// Why leases cannot be used.
    pub(super) refused: BTreeMap<String, String>,
    /// Uplinks by which frames go out.
    up: BTreeSet<String>,
    /// What the clients were told last.
    plans: Vec<ClientPlan>,
}

/// That a station claims an address of an uplink's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) mac: MacAddress,
    /// When it did so last.
    pub(super) at: Instant,
    /// Whether the switch uses the address nevertheless.
    pub(super) is_kept: bool,
}

impl UplinkNews {
    /// What an uplink was lent.
    pub(super) fn lease(&self, uplink: &str) -> Option<&Lease> {
        self.clients.get(uplink)?.lease.as_ref()
    }

    /// Whether an address is another station's, so that the switch does not use it.
    fn is_lost(&self, uplink: &str, address: IpAddr) -> bool {
        self.claims.get(&(uplink.to_owned(), address)).is_some_and(|claim| !claim.is_kept)
    }
}

impl Controller {
    /// What the tables of a configuration depend on beside it.
    pub(super) fn seen(&self, config: &Config, numbers: &Numbers) -> Seen {
        let meters = self.meters.for_config(config, self.bay.now());
        let states = self.trees.states(config, numbers);
        // What runs contradicts nothing that is fed.
        let runs = std::ptr::eq(config, &self.config);
        let fed = if runs { self.feeds.vteps_now() } else { self.feeds.vteps(config) };
        let vteps = tunnels::bind(&self.switch, config, numbers, &fed);
        Seen { states, outsides: self.outsides_of(config, numbers), meters, vteps, fed }
    }

    /// What is known now of the uplinks at which the switch has addresses.
    pub(super) fn outsides_of(&self, config: &Config, numbers: &Numbers) -> Outsides {
        let outside = |name: &String| Some((name.clone(), self.outside_of(config, numbers, name)?));
        config.uplinks.keys().filter_map(outside).collect()
    }

    fn outside_of(&self, config: &Config, numbers: &Numbers, name: &str) -> Option<Outside> {
        let link = self.interfaces.get(numbers.ports.get(name)?)?.link()?;
        let is_dhcp = config.uplinks.get(name)?.addressing.as_ref()?.is_dhcp;
        let lease = self.uplinks.lease(name).filter(|_| is_dhcp);
        let lease = lease.filter(|lease| leased::problem(config, name, lease).is_none());
        let mut outside = routing::outside(config, name, (link.mac?, Some(link.mtu)), lease)?;
        outside.addresses.retain(|(address, _)| !self.uplinks.is_lost(name, *address));
        Some(outside)
    }

    /// Takes note of what happened at an uplink; what follows from it is done after the event.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Clients(reports) => {
                self.uplinks.clients = reports;
                self.tell_of_refused();
            }
            News::Leases(events) => events.iter().for_each(|event| self.tell_lease(event)),
            News::Claim { network, address, mac, is_kept } => {
                let is_own = self.policy.routing().and_then(|routing| routing.interface(network));
                let is_own = is_own.is_some_and(|interface| interface.has(address.into()));
                if let Some(uplink) = self.uplink_in(network).filter(|_| is_own) {
                    let claim = Claim { mac, at: Instant::now(), is_kept };
                    self.uplinks.claims.insert((uplink, address), claim);
                }
            }
        }
    }

    /// Tells what happened to a lease, of its port if somebody had it.
    fn tell_lease(&mut self, event: &LeaseEvent) {
        let LeaseEvent { change, network, address, port, client } = event;
        let (kind, what) = match change {
            LeaseChange::Granted => (EventKind::LeaseGranted, "is lent to"),
            LeaseChange::Released => (EventKind::LeaseReleased, "is no longer lent to"),
            LeaseChange::Expired => (EventKind::LeaseExpired, "was not renewed by"),
            LeaseChange::Conflict if client.is_empty() => {
                (EventKind::LeaseConflict, "is used by a stranger and put aside")
            }
            LeaseChange::Conflict => {
                (EventKind::LeaseConflict, "is used by a stranger and put aside; it was lent to")
            }
        };
        let detail = format!("{address} of network {network} {what} {client}");
        let detail = detail.trim_end();
        let index = self.numbers.ports.get(port).copied();
        let log = index.and_then(|index| match self.ports.get_mut(index) {
            Some(port) => Some(&mut port.log),
            None => self.interfaces.get_mut(&index).map(|port| &mut port.log),
        });
        match log {
            Some(log) => log.event(kind, detail),
            None => self.journal().tell(kind, format!("network {network}"), detail.to_owned()),
        }
    }

    /// Says in the log which leases cannot be used, once.
    fn tell_of_refused(&mut self) {
        let problem = |(name, report): (&String, &crate::dhcp_clients::ClientReport)| {
            let problem = leased::problem(&self.config, name, report.lease.as_ref()?)?;
            Some((name.clone(), problem))
        };
        let refused: BTreeMap<String, String> = self.uplinks.clients.iter().filter_map(problem).collect();
        for (uplink, problem) in &refused {
            if self.uplinks.refused.get(uplink) != Some(problem) {
                warn!("uplink {uplink}: {problem}");
            }
        }
        self.uplinks.refused = refused;
    }

    /// The uplink whose address is in a network.
    fn uplink_in(&self, network: NetworkIndex) -> Option<String> {
        let has = |name: &&String| {
            self.numbers.networks.get(routing::network_at(&self.config, name)) == Some(&network)
        };
        routing::addressed(&self.config).find(has).cloned()
    }

    /// Follows the uplinks' interfaces and what they are lent; to be called after each event.
    pub(super) fn serve_outsides(&mut self) {
        let came = self.follow_uplinks();
        let outsides = self.outsides_of(&self.config, &self.numbers);
        if outsides != self.outsides {
            self.outsides = outsides;
            self.renew_policy("the uplinks' addresses");
            self.tell_of_refused();
        }
        for uplink in came.iter().filter(|uplink| self.outsides.contains_key(*uplink)) {
            let network = self.numbers.networks.get(routing::network_at(&self.config, uplink));
            network.iter().for_each(|network| self.gateways.link_up(**network));
        }
        let plans: Vec<ClientPlan> =
            self.outsides.keys().filter_map(|uplink| self.client_plan(uplink)).collect();
        if plans != self.uplinks.plans {
            self.uplinks.plans.clone_from(&plans);
            self.gateways.follow_clients(plans);
        }
    }

    /// Notes by which uplinks frames go out now; gives those that came. Behind them may be other stations than before.
    fn follow_uplinks(&mut self) -> Vec<String> {
        let is_up = |name: &&String| {
            let port = self.numbers.ports.get(*name).and_then(|index| self.interfaces.get(index));
            port.and_then(|port| port.seen()).is_some_and(|seen| seen.is_up)
        };
        let up: BTreeSet<String> = routing::addressed(&self.config).filter(is_up).cloned().collect();
        let came: Vec<String> = up.difference(&self.uplinks.up).cloned().collect();
        self.uplinks.up = up;
        if !self.uplinks.claims.is_empty() {
            let mut claims = std::mem::take(&mut self.uplinks.claims);
            claims.retain(|(uplink, address), _| !came.contains(uplink) && self.has(uplink, *address));
            self.uplinks.claims = claims;
        }
        came
    }

    /// Whether an uplink has an address, whoever claims it.
    fn has(&self, uplink: &str, address: IpAddr) -> bool {
        let addressing = self.config.uplinks.get(uplink).and_then(|uplink| uplink.addressing.as_ref());
        let is_written = addressing
            .is_some_and(|addressing| addressing.addresses.iter().any(|subnet| subnet.address == address));
        let network = self.numbers.networks.get(routing::network_at(&self.config, uplink));
        let routing = self.policy.routing();
        let interface = network.and_then(|network| routing?.interface(*network));
        is_written || interface.is_some_and(|interface| interface.has(address.into()))
    }

    /// What the DHCP client of an uplink is told, if it has one.
    fn client_plan(&self, uplink: &str) -> Option<ClientPlan> {
        self.config.uplinks.get(uplink)?.addressing.as_ref().filter(|addressing| addressing.is_dhcp)?;
        Some(ClientPlan {
            uplink: uplink.to_owned(),
            network: *self.numbers.networks.get(routing::network_at(&self.config, uplink))?,
            port: *self.numbers.ports.get(uplink)?,
            mac: self.outsides.get(uplink)?.mac,
            is_up: self.uplinks.up.contains(uplink),
        })
    }

    /// Compiles the configuration anew: `what` it depends on has changed.
    pub(super) fn renew_policy(&mut self, what: &str) {
        let seen = self.seen(&self.config, &self.numbers);
        match self.numbers.compile(&self.config, &seen) {
            Ok(policy) => {
                self.policy = self.secured(&policy);
                let (config, numbers) = (self.config.clone(), self.numbers.clone());
                self.configure_gateways(&config, &numbers);
                self.install_policy(&numbers);
                self.settle_restored();
            }
            Err(error) => warn!("{what} cannot be followed: {error}"),
        }
    }

    /// Tells the gateways of the policy, before the workers have it.
    pub(super) fn configure_gateways(&mut self, config: &Config, numbers: &Numbers) {
        let routing = self.policy.routing().cloned().unwrap_or_default();
        let named = Named { config, numbers, outsides: &self.outsides };
        let (services, lending) = (services::of(&named, &routing), services::lending(&named));
        let tunnels = tunnels::uplinks(config, numbers);
        let ports = routing::ports(config, numbers);
        self.gateways.configure(Setup { routing, ports, tunnels, services, lending });
    }
}
