//! The tables of all networks whose stations are fed, and what the file says beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;
use viaduct_switch::MacAddress;

use super::kept::{self, Noted, StationKeeper};
use super::rules::Rules;
use super::table::{Place, Step, Table};
use super::{FeedRequest, STATION_PAGE_MAX, StationError};
use crate::changes::Receipt;
use crate::config::{Config, Overlay, STATIONS_MAX, StaticStation};
use crate::model::{RemoteStation, StationPage};

/// How many addresses all stations that are fed have together: as many as the table of suppression is made for.
const ADDRESSES_MAX: usize = 131_072;

/// The largest number that may be wanted: all that come after it are numbers that every JSON reader keeps exactly, too
/// (RFC 8259, 6).
const GENERATION_MAX: u64 = 1 << 52;

/// The VTEPs of stations that are fed, by network.
pub(in crate::control) type FedVteps = BTreeMap<String, BTreeSet<IpAddr>>;

/// All that is fed.
#[derive(Debug, Default)]
pub(in crate::control) struct Feeds {
    pub(super) tables: BTreeMap<String, Table>,
    /// Of all overlay networks.
    rules: BTreeMap<String, Rules>,
    /// Who keeps them for the next process.
    keeper: Option<StationKeeper>,
    /// What the process before kept.
    kept: kept::Tables,
}

/// A change that can be done.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) generation: u64,
    pub(super) steps: Vec<Step>,
}

/// What contradicts the file from now on.
#[derive(Debug)]
pub(super) struct Leaver {
    pub(super) network: String,
    pub(super) place: Option<Place>,
    pub(super) stations: Vec<Arc<StaticStation>>,
}

/// Where stations are kept in a `state_dir`.
fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join("stations")
}

impl Feeds {
    /// Nothing yet; what was kept in `state_dir`, and a thread that will keep what is fed.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(in crate::control) fn start(state_dir: &Path) -> io::Result<Self> {
        let keeper = Some(StationKeeper::start(&path_in(state_dir))?);
        let mut feeds = Self { keeper, ..Self::default() };
        feeds.read(state_dir);
        Ok(feeds)
    }

    /// Takes up what was kept in `state_dir`. Who has only read keeps nothing before [`Feeds::begin_keeping`].
    pub(in crate::control) fn read(&mut self, state_dir: &Path) {
        let path = path_in(state_dir);
        let (kept, is_whole) = kept::read(&path).unwrap_or_else(|error| {
            warn!("stations that were fed before the restart are forgotten: {}: {error}", path.display());
            (kept::Tables::new(), true)
        });
        if !is_whole {
            warn!("{} is damaged: what was fed last before the restart is forgotten", path.display());
        }
        self.kept = kept;
    }

    /// Keeps what is fed, and what there is already, from now on.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(in crate::control) fn begin_keeping(&mut self, state_dir: &Path) -> io::Result<()> {
        let keeper = StationKeeper::start(&path_in(state_dir))?;
        for (network, table) in &self.tables {
            let step = |station: &Arc<StaticStation>| Step {
                mac: station.mac,
                before: None,
                after: Some(station.clone()),
            };
            let steps = table.stations().map(step).collect();
            keeper.note(Noted::Feed { network: network.clone(), generation: table.generation, steps });
        }
        self.keeper = Some(keeper);
        Ok(())
    }

    /// Will tell when all that was fed is on the disk; `None`: nothing is kept.
    pub(in crate::control) fn barrier(&self) -> Option<Receipt> {
        self.keeper.as_ref().map(StationKeeper::barrier)
    }

    /// What the process before kept.
    pub(super) fn take_kept(&mut self) -> kept::Tables {
        std::mem::take(&mut self.kept)
    }

    /// Those of a network's stations that the file does not contradict; `None`: it has no such network with an overlay.
    pub(super) fn allowed(
        &self,
        network: &str,
        stations: impl Iterator<Item = Arc<StaticStation>>,
    ) -> Option<Vec<StaticStation>> {
        let rules = self.rules.get(network)?;
        Some(stations.filter(|station| rules.check(station).is_ok()).map(Arc::unwrap_or_clone).collect())
    }

    /// Has a change kept that was made.
    pub(super) fn note(&self, network: &str, planned: Planned) {
        let Planned { generation, steps } = planned;
        if let Some(keeper) = &self.keeper {
            keeper.note(Noted::Feed { network: network.to_owned(), generation, steps });
        }
    }

    /// What a request comes to, if it may be done.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn plan(&self, config: &Config, request: FeedRequest) -> Result<Planned, StationError> {
        let FeedRequest { network, change, generation, expected } = request;
        let rules = self.rules_of(config, &network)?;
        let none = Table::default();
        let table = self.tables.get(&network).unwrap_or(&none);
        let running = table.generation;
        if !expected.allows(running) {
            return Err(StationError::Generation { running });
        }
        if let Some(wanted) = generation.filter(|wanted| *wanted <= running) {
            return Err(StationError::OldGeneration { running, wanted });
        }
        if let Some(wanted) = generation.filter(|wanted| *wanted > GENERATION_MAX) {
            return Err(StationError::LargeGeneration { wanted, max: GENERATION_MAX });
        }
        let steps = table.steps(change)?;
        steps.iter().filter_map(|step| step.after.as_deref()).try_for_each(|station| rules.check(station))?;
        self.check_size(&steps)?;
        let next = if steps.is_empty() { running } else { running.saturating_add(1) };
        Ok(Planned { generation: generation.unwrap_or(next), steps })
    }

    fn rules_of(&self, config: &Config, network: &str) -> Result<&Rules, StationError> {
        let missing = || match config.networks.contains_key(network) {
            true => StationError::NoOverlay(network.to_owned()),
            false => StationError::NoNetwork(network.to_owned()),
        };
        self.rules.get(network).ok_or_else(missing)
    }

    /// Whether there is room for what the steps would come to.
    fn check_size(&self, steps: &[Step]) -> Result<(), StationError> {
        let addresses = |station: &Option<Arc<StaticStation>>| {
            station.as_ref().map_or(0, |station| station.addresses.len())
        };
        let gone = steps.iter().filter(|step| step.before.is_some()).count();
        let came = steps.iter().filter(|step| step.after.is_some()).count();
        let lost: usize = steps.iter().map(|step| addresses(&step.before)).sum();
        let got: usize = steps.iter().map(|step| addresses(&step.after)).sum();
        let stations = self.tables.values().map(Table::len).sum::<usize>() + came - gone;
        let addresses = self.tables.values().map(Table::addresses).sum::<usize>() + got - lost;
        for (what, count, max) in [
            ("stations of all networks that are fed", stations, STATIONS_MAX),
            ("addresses of all stations that are fed", addresses, ADDRESSES_MAX),
        ] {
            // Who takes some away may have too many left.
            if count > max && (came > gone || got > lost) {
                return Err(StationError::TooMany { what, count, max });
            }
        }
        Ok(())
    }

    /// Does it; says whether other VTEPs than before have stations of the network.
    pub(super) fn commit(&mut self, network: &str, planned: &Planned) -> bool {
        let table = self.tables.entry(network.to_owned()).or_default();
        table.generation = planned.generation;
        table.commit(&planned.steps)
    }

    /// The VTEPs behind which stations are now.
    pub(in crate::control) fn vteps_now(&self) -> FedVteps {
        let of_table =
            |(name, table): (&String, &Table)| (name.clone(), table.vteps_without(&BTreeSet::new()));
        self.tables.iter().map(of_table).collect()
    }

    /// The VTEPs behind which stations are once a configuration is in force, which some of them may contradict.
    pub(in crate::control) fn vteps(&self, config: &Config) -> FedVteps {
        let rules = Rules::all(config, |name| self.tables.get(name).is_some_and(|table| table.len() > 0));
        let of_network = |(name, rules): (&String, &Rules)| {
            let table = self.tables.get(name)?;
            Some((name.clone(), table.vteps_without(&contradicted(table, rules))))
        };
        rules.iter().filter_map(of_network).collect()
    }

    /// Goes by another configuration from now on: gives what contradicts it, which is fed no more.
    pub(super) fn adopt(&mut self, config: &Config) -> Vec<Leaver> {
        self.rules = Rules::all(config, |_| true);
        let mut leavers = Vec::new();
        let (rules, keeper) = (&self.rules, &self.keeper);
        let note = |noted: Noted| keeper.iter().for_each(|keeper| keeper.note(noted.clone()));
        self.tables.retain(|name, table| {
            let leaving = match rules.get(name) {
                Some(rules) => contradicted(table, rules),
                None => table.stations().map(|station| station.mac).collect(),
            };
            let step = |mac: MacAddress| Step { mac, before: table.get(mac).cloned(), after: None };
            let steps: Vec<Step> = leaving.into_iter().map(step).collect();
            if !steps.is_empty() {
                table.commit(&steps);
                table.generation = table.generation.saturating_add(1);
                let generation = table.generation;
                note(Noted::Feed { network: name.clone(), generation, steps: steps.clone() });
                let stations = steps.into_iter().filter_map(|step| step.before).collect();
                leavers.push(Leaver { network: name.clone(), place: table.place, stations });
            }
            // A network that only lost its overlay keeps its number, so that none is ever given twice.
            let stays = config.networks.contains_key(name);
            if !stays {
                note(Noted::Forget(name.clone()));
            }
            stays
        });
        leavers
    }

    /// A page of a network's stations, in ascending order of their Ethernet addresses.
    ///
    /// # Errors
    /// There is no such network, or it has no overlay.
    pub(in crate::control) fn page(
        &self,
        config: &Config,
        network: &str,
        from: Option<MacAddress>,
        limit: usize,
    ) -> Result<StationPage, StationError> {
        let rules = self.rules_of(config, network)?;
        let none = Table::default();
        let table = self.tables.get(network).unwrap_or(&none);
        let (from, limit) = (from.unwrap_or(MacAddress([0; 6])), limit.clamp(1, STATION_PAGE_MAX));
        let written = written(config, network);
        let in_file = rules.written.range(from..).filter_map(|(_, at)| written?.stations.get(*at));
        let mut found: Vec<(&StaticStation, &str)> =
            in_file.take(limit + 1).map(|station| (station, "file")).collect();
        found.extend(table.from(from).take(limit + 1).map(|station| (station.as_ref(), "api")));
        found.sort_unstable_by_key(|(station, _)| station.mac);
        let next = found.get(limit).map(|(station, _)| station.mac.to_string());
        found.truncate(limit);
        Ok(StationPage {
            network: network.to_owned(),
            generation: table.generation,
            fed: table.len(),
            written: rules.written.len(),
            stations: found.into_iter().map(|(station, origin)| status(station, origin)).collect(),
            next,
        })
    }
}

fn written<'a>(config: &'a Config, network: &str) -> Option<&'a Overlay> {
    config.networks.get(network)?.overlay.as_ref()
}

fn status(station: &StaticStation, origin: &str) -> RemoteStation {
    let StaticStation { mac, addresses, vtep } = station;
    RemoteStation { mac: mac.to_string(), address: addresses.clone(), vtep: *vtep, origin: origin.to_owned() }
}

/// The stations of a table that the file contradicts.
fn contradicted(table: &Table, rules: &Rules) -> BTreeSet<MacAddress> {
    let is_wrong = |station: &&Arc<StaticStation>| rules.check(station).is_err();
    table.stations().filter(is_wrong).map(|station| station.mac).collect()
}
