//! Stations of overlay networks on other machines that a control plane feeds by the API, beside those that the file has.
//!
//! They are no part of the configuration: they have a generation of their own for each network, and applying a file leaves them alone,
//! as long as it does not contradict them. A change is judged as a whole before anything is done, and costs what it changes: the
//! switch's tables are written station by station, each under a lock that no frame waits for, and the policy stays as it is
//! unless another VTEP is to be believed. What is fed outlives the process ([`kept`]).

mod error;
mod feeds;
mod kept;
mod rules;
mod table;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};
use viaduct_switch::packet::Address;
use viaduct_switch::tunnel::VTEPS_MAX;
use viaduct_switch::{MacAddress, PortIndex};

use crate::config::{Overlay, StaticStation};
use crate::control::Expected;
use crate::control::controller::Controller;
use crate::control::tunnels;
use crate::model::Fed;
pub use error::StationError;
pub(super) use feeds::{FedVteps, Feeds};
use feeds::{Leaver, Planned};
use table::{Place, Step};

/// Stations in one answer at most.
pub const STATION_PAGE_MAX: usize = 10_000;

/// How many stations a line of the log names.
const NAMED_MAX: usize = 4;

/// What is to become of the stations of a network that are fed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StationChange {
    /// These and no others.
    Replace(Vec<StaticStation>),
    /// These, beside those that are there.
    Set(Vec<StaticStation>),
    /// These are no more.
    Remove(Vec<MacAddress>),
}

/// A change of one network's stations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedRequest {
    /// The network's name.
    pub network: String,
    /// What is wanted.
    pub change: StationChange,
    /// The generation that the table gets; `None`: one more, if anything changes.
    pub generation: Option<u64>,
    /// The generations that it may have before.
    pub expected: Expected,
}

impl Controller {
    /// Changes stations that are fed, all or nothing.
    pub(super) fn feed(&mut self, request: FeedRequest) -> Result<Fed, StationError> {
        if self.takeover.is_under_way {
            return Err(StationError::TakeoverUnderWay);
        }
        let network = request.network.clone();
        let planned = self.feeds.plan(&self.config, request)?;
        self.check_vteps(&network, &planned.steps)?;
        let fed = self.change_stations(network, &planned);
        self.feeds.note(&fed.network, planned);
        Ok(fed)
    }

    /// Feeds what was fed before the restart, as far as the file does not contradict it; to be called once that is in force.
    pub(super) fn restore_fed(&mut self) {
        for (network, kept) in self.feeds.take_kept() {
            let wanted = kept.stations.len();
            let Some(allowed) = self.feeds.allowed(&network, kept.stations.into_values()) else {
                warn!(
                    "network {network} has no overlay any more: {wanted} stations that were fed before the restart are forgotten"
                );
                continue;
            };
            let contradicted = wanted - allowed.len();
            // As when another file contradicts some while the switch runs.
            let generation = kept.generation.saturating_add(u64::from(contradicted > 0));
            let request = FeedRequest {
                network: network.clone(),
                change: StationChange::Replace(allowed),
                generation: (generation > 0).then_some(generation),
                expected: Expected::Any,
            };
            match self.feed(request) {
                Ok(fed) => info!(
                    "network {network}: {} stations that were fed before the restart are known, generation {}; the file contradicts \
                     {contradicted}",
                    fed.fed, fed.generation
                ),
                Err(error) => warn!(
                    "network {network}: stations that were fed before the restart are forgotten: {error}"
                ),
            }
        }
    }

    fn overlay(&self, network: &str) -> Option<&Overlay> {
        self.config.networks.get(network)?.overlay.as_ref()
    }

    fn place(&self, network: &str) -> Option<Place> {
        let overlay = self.overlay(network)?;
        Some(Place {
            network: *self.numbers.networks.get(network)?,
            endpoint: tunnels::endpoint(&self.config, &self.numbers, overlay)?,
            suppresses: overlay.suppression,
        })
    }

    /// There are places for VTEPs that are new.
    fn check_vteps(&self, network: &str, steps: &[Step]) -> Result<(), StationError> {
        let Some(place) = self.place(network) else { return Ok(()) };
        let after = steps.iter().filter_map(|step| step.after.as_ref());
        let new = after.map(|station| (place.endpoint, Address::from(station.vtep)));
        let new: BTreeSet<_> = new.filter(|vtep| !self.vteps.contains_key(vtep)).collect();
        let count = self.vteps.len() + new.len();
        if new.is_empty() || count <= VTEPS_MAX {
            return Ok(());
        }
        Err(StationError::TooMany { what: "VTEPs, those that leave included,", count, max: VTEPS_MAX })
    }

    /// Nothing here can fail.
    fn change_stations(&mut self, network: String, planned: &Planned) -> Fed {
        let steps = &planned.steps;
        let has_other_vteps = self.feeds.commit(&network, planned);
        if has_other_vteps {
            let fed = self.feeds.vteps_now();
            self.vteps = tunnels::bind(&self.switch, &self.config, &self.numbers, &fed);
            if self.overlay(&network).is_some_and(|overlay| overlay.known_vteps_only) {
                self.renew_policy("VTEPs of stations that are fed");
            }
        }
        let place = self.place(&network);
        let without_room = place.map_or(0, |place| self.follow_steps(place, steps));
        if has_other_vteps {
            self.release_vteps();
        }
        let table = self.feeds.tables.entry(network.clone()).or_default();
        table.place = place;
        let count = |is_meant: fn(&Step) -> bool| steps.iter().filter(|step| is_meant(step)).count();
        Fed {
            network,
            generation: table.generation,
            fed: table.len(),
            added: count(|step| step.before.is_none()),
            changed: count(|step| step.before.is_some() && step.after.is_some()),
            removed: count(|step| step.after.is_none()),
            without_room,
        }
    }

    /// Has the switch know what changed; says for how many stations there was no room.
    fn follow_steps(&self, place: Place, steps: &[Step]) -> usize {
        for Step { mac, before, after } in steps {
            let Some(before) = before else { continue };
            // What stays is never unknown in between.
            let stays =
                |address: &IpAddr| after.as_ref().is_some_and(|after| after.addresses.contains(address));
            let gone = before.addresses.iter().filter(|address| !stays(address));
            self.forget_addresses(place, gone);
            if after.is_none() {
                self.switch.forget_station(place.network, *mac);
            }
        }
        let after = steps.iter().filter_map(|step| step.after.as_ref());
        after.filter(|station| !self.make_known(place, station)).count()
    }

    /// Says whether there was room for all of it.
    fn make_known(&self, place: Place, station: &StaticStation) -> bool {
        let port: Option<PortIndex> = self.vteps.get(&(place.endpoint, Address::from(station.vtep))).copied();
        let is_known = port.is_some_and(|port| self.switch.set_station(place.network, station.mac, port));
        let addresses = station.addresses.iter().filter(|_| place.suppresses);
        let is_refused = |address: &&IpAddr| {
            !self.switch.suppression().set(place.network, Address::from(**address), station.mac)
        };
        addresses.filter(is_refused).count() == 0 && is_known
    }

    fn forget_addresses<'a>(&self, place: Place, addresses: impl Iterator<Item = &'a IpAddr>) {
        if place.suppresses {
            let suppression = self.switch.suppression();
            addresses.for_each(|address| suppression.clear(place.network, Address::from(*address)));
        }
    }

    fn make_unknown(&self, place: Place, station: &StaticStation) {
        self.switch.forget_station(place.network, station.mac);
        self.forget_addresses(place, station.addresses.iter());
    }

    /// Lets go of stations that another configuration contradicts; to be called before what that one says of stations is followed.
    pub(super) fn drop_contradicted(&mut self) {
        for Leaver { network, place, stations } in self.feeds.adopt(&self.config) {
            place
                .iter()
                .for_each(|place| stations.iter().for_each(|station| self.make_unknown(*place, station)));
            let named: Vec<String> =
                stations.iter().take(NAMED_MAX).map(|station| station.mac.to_string()).collect();
            let more = if stations.len() > NAMED_MAX { ", ..." } else { "" };
            warn!(
                "network {network}: the file contradicts {} stations that were fed, or has no overlay there; they are fed no \
                 more: {}{more}",
                stations.len(),
                named.join(", ")
            );
        }
    }

    /// Has the switch know stations that are fed where their networks stand now.
    pub(super) fn follow_fed(&mut self) {
        let places: Vec<(String, Option<Place>)> =
            self.feeds.tables.keys().map(|name| (name.clone(), self.place(name))).collect();
        for (name, place) in places {
            let Some(table) = self.feeds.tables.get(&name).filter(|table| table.place != place) else {
                continue;
            };
            let stations: Vec<Arc<StaticStation>> = table.stations().cloned().collect();
            if let Some(before) = table.place {
                stations.iter().for_each(|station| self.make_unknown(before, station));
            }
            let unknown =
                |station: &&Arc<StaticStation>| place.is_none_or(|place| !self.make_known(place, station));
            let without_room = stations.iter().filter(unknown).count();
            if without_room > 0 {
                warn!("network {name}: there is no room for {without_room} stations that are fed");
            }
            if let Some(table) = self.feeds.tables.get_mut(&name) {
                table.place = place;
            }
        }
    }
}
