//! Connections and mappings of the process before: restored before anybody sends, each as soon as what it relies on is there.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tracing::{info, warn};
use viaduct_switch::conntrack::{NotRestored, Record};
use viaduct_switch::nat::Mapping;
use viaduct_switch::{Nanos, Switch};

use crate::connections::{BootClock, Keeper, Kept, Names, Renumbering, path_in, read, rest_of};
use crate::control::controller::Controller;
use crate::control::registry::Numbers;
use crate::control::tunnels;
use crate::model::RestoredStatus;

/// How long is waited for outside addresses: an uplink's interface may come late, and what it is lent later.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What was kept, and who keeps what is now.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    keeper: Option<Keeper>,
    waiting: Vec<Waiting>,
    done: Tally,
    /// How long reading and restoring took.
    took: Duration,
    names: Names,
}

/// What is not restored yet.
#[derive(Debug)]
struct Waiting {
    kept: Kept,
    since: Instant,
    aged: Instant,
}

/// What became of what was kept.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    connections: u64,
    mappings: u64,
    /// Rules or translations of today do not allow it, or what it belonged to is no more.
    refused: u64,
    /// Its time was over.
    over: u64,
    /// There was no room, or its place was taken.
    crowded: u64,
}

impl Tally {
    fn note(&mut self, restored: Result<(), NotRestored>, count: impl FnOnce(&mut Self) -> &mut u64) {
        *match restored {
            Ok(()) => count(self),
            Err(NotRestored::Over) => &mut self.over,
            Err(NotRestored::NoRoom | NotRestored::Taken) => &mut self.crowded,
            Err(NotRestored::NotAllowed | NotRestored::Unsound | NotRestored::Waits) => &mut self.refused,
        } += 1;
    }
}

impl Restoring {
    /// What was kept in `state_dir`, and a thread that will keep what is. Without the machine's clock nothing is kept.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(super) fn start(state_dir: &Path, switch: &Arc<Switch>, started: Instant) -> io::Result<Self> {
        let path = path_in(state_dir);
        let clock = match BootClock::this() {
            Ok(clock) => clock,
            Err(error) => {
                warn!("connections are not kept: when the machine started cannot be told: {error}");
                return Ok(Self::default());
            }
        };
        let mut restoring = Self::default();
        restoring.read(&path, &clock);
        // Of a takeover that was cut short.
        restoring.read(&rest_of(&path), &clock);
        restoring.keeper = Some(Keeper::start(&path, clock, Arc::clone(switch), started)?);
        Ok(restoring)
    }

    /// Has what stands at `path` wait, too.
    fn read(&mut self, path: &Path, clock: &BootClock) {
        let began = Instant::now();
        let kept = read(path, clock).unwrap_or_else(|error| {
            warn!("{} {error}", path.display());
            None
        });
        if kept.as_ref().is_some_and(|kept| kept.is_damaged) {
            warn!("{} is damaged in part: the rest of its connections is restored", path.display());
        }
        let now = Instant::now();
        self.took += now - began;
        self.waiting.extend(kept.map(|kept| Waiting { kept, since: now, aged: now }));
    }

    /// As people see it.
    pub(super) fn status(&self) -> RestoredStatus {
        let waiting = self.waiting.iter().map(|waiting| waiting.kept.connections.len() as u64).sum();
        let Tally { connections, mappings, refused, over, crowded } = self.done;
        RestoredStatus {
            connections,
            mappings,
            refused,
            over,
            crowded,
            waiting,
            not_kept: self.keeper.as_ref().and_then(Keeper::problem),
        }
    }

    /// Says what came of it once nothing waits any more; and from then on what is there is kept.
    fn settle(&mut self) {
        let Tally { connections, mappings, refused, over, crowded } = self.done;
        if connections + mappings + refused + over + crowded > 0 {
            let took = self.took.as_millis();
            info!(
                "restored {connections} connections and {mappings} mappings in {took} ms; {refused} were no longer allowed, {over} had \
                 ended, {crowded} found no room"
            );
        }
        self.waiting.clear();
        self.tell_names();
    }

    fn tell_names(&self) {
        // Before any name is in force, what the process before left is all there is.
        let is_kept = self.waiting.is_empty() && self.names.generation > 0;
        if let Some(keeper) = self.keeper.as_ref().filter(|_| is_kept) {
            keeper.follow(self.names.clone());
        }
    }
}

impl Waiting {
    /// Tries all that waits by this policy; keeps what waits still.
    fn try_all(&mut self, restore: &Restore<'_>, done: &mut Tally) {
        let now = Instant::now();
        self.kept.grow_older(now - self.aged);
        self.aged = now;
        self.kept.mappings.retain(|mapping| {
            let restored = restore.mapping(mapping);
            let waits = restored == Err(NotRestored::Waits);
            if !waits {
                done.note(restored, |done| &mut done.mappings);
            }
            waits
        });
        self.kept.connections.retain(|record| {
            let restored = restore.connection(record);
            let waits = restored == Err(NotRestored::Waits);
            if !waits {
                done.note(restored, |done| &mut done.connections);
            }
            waits
        });
    }
}

/// What it takes to restore something.
struct Restore<'a> {
    switch: &'a Switch,
    policy: &'a viaduct_switch::Policy,
    renumbering: Renumbering,
    is_exact: bool,
    now: Nanos,
}

impl Restore<'_> {
    fn mapping(&self, mapping: &Mapping) -> Result<(), NotRestored> {
        let mapping = self.renumbering.mapping(mapping).ok_or(NotRestored::NotAllowed)?;
        self.switch.restore_mapping(&mapping, self.policy, self.now)
    }

    fn connection(&self, record: &Record) -> Result<(), NotRestored> {
        let record = self.renumbering.connection(record).ok_or(NotRestored::NotAllowed)?;
        self.switch.restore_connection(&record, self.policy, self.is_exact, self.now).map(drop)
    }
}

impl Controller {
    /// Gives the policy to the data path, and what waits for it to the switch before: no outside port is given to anybody else
    /// first.
    pub(super) fn install_policy(&mut self, numbers: &Numbers) {
        self.restore_connections(numbers);
        self.bay.set_policy(Arc::clone(&self.policy));
    }

    /// Tries all that waits by the policy that is to be in force.
    fn restore_connections(&mut self, numbers: &Numbers) {
        let Restoring { waiting, done, took, .. } = &mut self.restoring;
        if !waiting.is_empty() {
            self.switch.prepare(&self.policy);
        }
        for waiting in waiting {
            let renumbering = Renumbering::new(&waiting.kept.names, &numbers.networks, &numbers.ports);
            let restore = Restore {
                switch: &self.switch,
                policy: &self.policy,
                renumbering,
                is_exact: waiting.kept.is_exact,
                now: self.bay.now(),
            };
            let began = Instant::now();
            waiting.try_all(&restore, done);
            *took += began.elapsed();
        }
    }

    /// Has all connections noted where another process finds them; what is told says when they are.
    pub(super) fn begin_connections(&self) -> Option<Receiver<io::Result<()>>> {
        self.restoring.keeper.as_ref().map(Keeper::begin_hand_over)
    }

    /// No other process goes on with connections.
    pub(super) fn stay_with_connections(&self) {
        if let Some(keeper) = &self.restoring.keeper {
            keeper.stay();
        }
    }

    /// Notes what came since, and nothing from then on.
    pub(super) fn hand_over_connections(&mut self, limit: Duration) -> io::Result<()> {
        self.restoring.keeper.take().map_or(Ok(()), |keeper| keeper.hand_over(limit))
    }

    /// Keeps connections again, since no other process does.
    pub(super) fn keep_connections(&mut self) {
        match self.new_keeper() {
            Ok(keeper) => {
                self.restoring.keeper = keeper;
                self.restoring.tell_names();
            }
            Err(error) => warn!("connections are not kept any more: {error}"),
        }
    }

    fn new_keeper(&self) -> io::Result<Option<Keeper>> {
        // Who had no clock at the start kept nothing.
        let Ok(clock) = BootClock::this() else { return Ok(None) };
        let path = path_in(&self.config.switch.state_dir);
        Keeper::start(&path, clock, Arc::clone(&self.switch), self.beginning()).map(Some)
    }

    /// Restores what the process that is to be taken over noted while it runs. Nothing is kept before [`Controller::follow_names`].
    pub(super) fn take_over_connections(&mut self) -> io::Result<()> {
        self.restoring = self.new_restoring()?;
        let numbers = self.numbers.clone();
        self.install_policy(&numbers);
        Ok(())
    }

    /// The same with what it noted once it stood still.
    pub(super) fn take_over_rest_of_connections(&mut self) {
        // Without a clock nothing is kept, as was said.
        let Ok(clock) = BootClock::this() else { return };
        self.restoring.read(&rest_of(&path_in(&self.config.switch.state_dir)), &clock);
        let numbers = self.numbers.clone();
        self.restore_connections(&numbers);
    }

    /// When the switch's time began.
    fn beginning(&self) -> Instant {
        let now = Duration::from_nanos(self.bay.now().0);
        Instant::now().checked_sub(now).unwrap_or(self.started)
    }

    fn new_restoring(&self) -> io::Result<Restoring> {
        Restoring::start(&self.config.switch.state_dir, &self.switch, self.beginning())
    }

    /// Takes note of names; to be called when another configuration is in force.
    pub(super) fn follow_names(&mut self) {
        let names = self.names_to_keep();
        let same = Names { generation: self.restoring.names.generation, ..names.clone() };
        if same != self.restoring.names {
            self.restoring.names = Names { generation: self.restoring.names.generation + 1, ..names };
            self.restoring.tell_names();
        }
        self.settle_restored();
    }

    fn names_to_keep(&self) -> Names {
        let Numbers { networks, ports, .. } = &self.numbers;
        Names {
            generation: 0,
            networks: networks.iter().map(|(name, network)| (*network, name.clone())).collect(),
            ports: ports.iter().map(|(name, port)| (*port, name.clone())).collect(),
            uplinks: tunnels::uplinks(&self.config, &self.numbers),
        }
    }

    /// Ends waiting if nothing waits any more, or if it has waited for long.
    pub(super) fn settle_restored(&mut self) {
        let waiting = &self.restoring.waiting;
        let Some(first) = waiting.first() else { return };
        let mappings: usize = waiting.iter().map(|waiting| waiting.kept.mappings.len()).sum();
        let connections: usize = waiting.iter().map(|waiting| waiting.kept.connections.len()).sum();
        if mappings + connections == 0 {
            self.restoring.settle();
        } else if first.since.elapsed() >= WAIT_MAX {
            warn!(
                "{connections} connections and {mappings} mappings of before the restart are forgotten: what they rely on is not there, \
                 like an uplink's address"
            );
            self.restoring.settle();
        }
    }
}
