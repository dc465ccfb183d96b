//! Making the running state match a wanted one, all or nothing.
//!
//! Whatever can fail comes first and is taken back if anything after it fails: numbers, the policy, new sockets,
//! their place in the event loop, the mode of sockets that stay. What follows cannot fail: sessions of ports that
//! leave are closed, the policy is swapped, newcomers take their place. Ports that stay as they are notice nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use event_manager::{EventOps, Events};
use tracing::warn;
use viaduct_switch::ids::{NETWORKS_MAX, PORTS_MAX};
use viaduct_switch::tunnel::VTEPS_MAX;
use viaduct_switch::{Policy, PortIndex};

use crate::config::{self, Config, Role};
use crate::control::controller::{Controller, unwatch};
use crate::control::interface::Wanted;
use crate::control::plan::{self, Plan, Step};
use crate::control::port::{Link, Port};
use crate::control::qos::Meters;
use crate::control::registry::Numbers;
use crate::control::timer::Deadline;
use crate::control::token::Token;
use crate::control::{ApplyError, Changes, descriptors};
use crate::sandbox;
use crate::vhost_user::{Access, Listener};

/// A configuration of which everything that can fail has succeeded.
struct Prepared {
    plan: Plan,
    wanted: Config,
    numbers: Numbers,
    policy: Arc<Policy>,
    meters: Meters,
    access: Access,
    /// New listeners, watched already, by the port's name.
    listeners: BTreeMap<String, Listener>,
}

impl Controller {
    /// Makes the running state match `wanted`; with `dry_run` only tells what would change.
    pub(super) fn apply(
        &mut self,
        wanted: Config,
        dry_run: bool,
        ops: &mut EventOps,
    ) -> Result<Changes, ApplyError> {
        let prepared = self.check(wanted)?;
        self.lap("checking and compiling it");
        let changed = self.generation == 0 || !prepared.plan.changes.is_empty();
        let generation = self.generation + u64::from(changed);
        let changes = Changes { generation, changes: prepared.plan.changes.clone(), not_kept: None };
        if changed && !dry_run {
            let prepared = self.prepare(prepared, ops)?;
            self.lap("opening sockets");
            self.commit(prepared, ops);
            self.lap("making ports");
            self.generation = generation;
            descriptors::check(&self.config);
        }
        Ok(changes)
    }

    /// Everything that can be judged without touching anything.
    fn check(&self, wanted: Config) -> Result<Prepared, ApplyError> {
        let plan = plan::diff(&self.config, &wanted)?;
        self.check_places(&plan, &wanted)?;
        let numbers = self.numbers.for_config(&wanted).ok_or_else(|| self.too_many(&wanted))?;
        let (policy, meters) = self.forwarding(&wanted, &numbers)?;
        let settings = &wanted.switch;
        let access = Access::new(settings.socket_mode, settings.socket_group.as_deref());
        let access = access.map_err(ApplyError::Access)?;
        Ok(Prepared { plan, wanted, numbers, policy, meters, access, listeners: BTreeMap::new() })
    }

    /// Whether the sockets of newcomers can be made where they are to be, as far as the sandbox is concerned.
    fn check_places(&self, plan: &Plan, wanted: &Config) -> Result<(), ApplyError> {
        let (mut folders, leaving) = (BTreeSet::new(), self.leaving(plan));
        for (port, _, end) in newcomers(plan, wanted) {
            let makes = end.role == Role::Server && !leaving.contains(end.socket.as_path());
            if makes && folders.insert(end.socket.parent()) {
                sandbox::check_place(&end.socket)
                    .map_err(|error| ApplyError::Place { port: port.clone(), error })?;
            }
        }
        Ok(())
    }

    /// The policy but for groups, and its meters: as they are, if nothing else changes, so that decisions that are kept hold.
    fn forwarding(&self, wanted: &Config, numbers: &Numbers) -> Result<(Arc<Policy>, Meters), ApplyError> {
        if self.generation > 0 && *numbers == self.numbers && plan::forwards_alike(&self.config, wanted) {
            return Ok((Arc::clone(&self.policy), self.meters.clone()));
        }
        let seen = self.seen(wanted, numbers);
        Ok((Arc::new(numbers.compile(wanted, &seen)?), seen.meters))
    }

    /// Those who leave keep their numbers until they have left: both sides together must fit.
    fn too_many(&self, wanted: &Config) -> ApplyError {
        let names =
            |config: &Config| config.ports.keys().chain(config.uplinks.keys()).cloned().collect::<Vec<_>>();
        let ports = names(&self.config).into_iter().chain(names(wanted));
        let count = ports.collect::<std::collections::BTreeSet<_>>().len();
        let (what, max) = match wanted.networks.values().any(|network| network.overlay.is_some()) {
            true => ("ports and uplinks beside overlays, those that leave included,", PORTS_MAX - VTEPS_MAX),
            false => ("ports and uplinks, those that leave included,", PORTS_MAX),
        };
        if count > max {
            return ApplyError::TooMany { what, count, max };
        }
        if let Some(error) = self.numbers.in_the_way(wanted) {
            return error;
        }
        let networks = self.config.networks.keys().chain(wanted.networks.keys());
        let count = networks.collect::<std::collections::BTreeSet<_>>().len();
        ApplyError::TooMany { what: "networks, those that leave included,", count, max: NETWORKS_MAX }
    }

    /// Makes what can fail; when something does, nothing of it stays.
    fn prepare(&mut self, mut prepared: Prepared, ops: &mut EventOps) -> Result<Prepared, ApplyError> {
        let made = self.listen(&mut prepared, ops).and_then(|()| self.set_access(&prepared));
        match made {
            Ok(()) => Ok(prepared),
            Err(error) => {
                for listener in prepared.listeners.values() {
                    unwatch(listener, ops);
                }
                Err(error)
            }
        }
    }

    /// Opens the sockets of newcomers. Where a port that leaves has the same path, its socket is taken over in
    /// [`Controller::commit`].
    fn listen(&mut self, prepared: &mut Prepared, ops: &mut EventOps) -> Result<(), ApplyError> {
        let leaving = self.leaving(&prepared.plan);
        for (name, _, end) in newcomers(&prepared.plan, &prepared.wanted) {
            if end.role == Role::Client || leaving.contains(end.socket.as_path()) {
                continue;
            }
            let Some(&index) = prepared.numbers.ports.get(name) else { continue };
            let listener = self
                .listen_at(&end.socket, prepared.access)
                .map_err(|error| ApplyError::Socket { port: name.clone(), error })?;
            let events = Events::with_data(&listener, Token::Listener(index).to_data(), self.listening());
            ops.add(events).map_err(|error| ApplyError::Watch { port: name.clone(), error })?;
            prepared.listeners.insert(name.clone(), listener);
        }
        Ok(())
    }

    /// Where ports listen that leave, or are made anew.
    fn leaving(&self, plan: &Plan) -> BTreeSet<PathBuf> {
        let leaves = |port: &&Port| matches!(plan.ports.get(&port.name), Some(Step::Remove | Step::Replace));
        let listens = |port: &&Port| matches!(&port.link, Link::Server(_));
        let leavers = self.ports.iter().filter(leaves).filter(listens);
        leavers.map(|port| port.end.socket.clone()).collect()
    }

    /// Gives the sockets that stay their new mode and group; if one refuses, all have their old ones again.
    fn set_access(&self, prepared: &Prepared) -> Result<(), ApplyError> {
        if prepared.access == self.access {
            return Ok(());
        }
        let mut done: Vec<&Listener> = Vec::new();
        for port in self.ports.iter() {
            let Link::Server(listener) = &port.link else { continue };
            if let Err(error) = listener.set_access(prepared.access) {
                for listener in done {
                    if let Err(error) = listener.set_access(self.access) {
                        warn!("a socket keeps its new mode: {error}");
                    }
                }
                return Err(ApplyError::Socket { port: port.name.clone(), error });
            }
            done.push(listener);
        }
        Ok(())
    }

    /// Does it. Nothing here can fail.
    fn commit(&mut self, prepared: Prepared, ops: &mut EventOps) {
        let Prepared { plan, wanted, numbers, policy, meters, access, mut listeners } = prepared;
        let mut free: BTreeMap<PathBuf, Listener> = BTreeMap::new();
        for (name, step) in &plan.ports {
            if let Step::Remove = step
                && let Some(port) = self.numbers.ports.get(name).and_then(|index| self.ports.get(*index))
            {
                port.ledger.remove();
            }
            if let Step::Remove | Step::Replace = step
                && let Some(listener) = self.remove(name, ops)
            {
                free.insert(listener.path().to_owned(), listener);
            }
        }
        for (name, _) in
            plan.interfaces.iter().filter(|(_, step)| matches!(step, Step::Remove | Step::Replace))
        {
            self.remove_interface(name, ops);
        }
        self.security.apply(&wanted, &numbers.ports);
        self.policy = self.secured(&policy);
        self.meters = meters;
        self.configure_gateways(&wanted, &numbers);
        self.lap("taking ports away");
        self.install_policy(&numbers);
        self.lap("handing it to the workers");
        self.shape(&wanted, &numbers);
        if self.config.switch.polling != wanted.switch.polling {
            self.bay.set_polling(wanted.switch.polling);
        }
        self.forget_leavers(&plan, &numbers);
        self.numbers = numbers;
        self.access = access;
        self.switch.set_verification(wanted.switch.verify_flow_cache);
        self.config = wanted.clone();
        self.follow_names();
        self.drop_contradicted();
        self.follow_tunnels();
        self.follow_addresses();
        self.trees.become_wanted(&wanted, &self.numbers, self.bay.now());
        for (name, port, end) in newcomers(&plan, &wanted) {
            let listener = listeners.remove(name).or_else(|| free.remove(&end.socket));
            self.insert(name, (port, end), listener, ops);
        }
        for name in plan.ports.iter().filter(|(_, step)| **step == Step::Adjust).map(|(name, _)| name) {
            self.adjust(name);
        }
        for listener in free.values() {
            unwatch(listener, ops);
        }
        for (name, interface) in Wanted::all(&wanted) {
            match plan.interfaces.get(name) {
                Some(Step::Add | Step::Replace) => self.insert_interface(name, interface, ops),
                Some(Step::Adjust) => self.adjust_interface(name, interface),
                Some(Step::Remove) | None => {}
            }
        }
    }

    /// Takes a port away; gives its listener, still watched.
    fn remove(&mut self, name: &str, ops: &mut EventOps) -> Option<Listener> {
        let index = *self.numbers.ports.get(name)?;
        let mut port = self.ports.remove(index)?;
        for deadline in Deadline::of_port(index) {
            self.timer.clear(deadline);
        }
        if let Some(guest) = port.guest.take() {
            unwatch(&guest.session, ops);
            guest.session.close(&mut self.bay);
        }
        match port.link {
            Link::Server(listener) => Some(listener),
            Link::Client(_) => None,
        }
    }

    /// Nobody is to be found behind ports that left; their numbers' next owners start counting from zero.
    fn forget_leavers(&mut self, plan: &Plan, numbers: &Numbers) {
        for (name, step) in plan.ports.iter().chain(&plan.interfaces) {
            let Some(&index) = self.numbers.ports.get(name) else { continue };
            match step {
                Step::Remove => {
                    self.forget_port(index);
                    self.switch.counters().port(index).reset();
                }
                Step::Replace => self.forget_port(index),
                Step::Add | Step::Adjust => {}
            }
        }
        for (name, &index) in &self.numbers.networks {
            if numbers.networks.get(name) != Some(&index) {
                self.switch.forget_network(index, self.bay.now());
            }
        }
    }

    /// Nothing learned at the port, no connection that it opened and nothing that waits for it counts any more.
    fn forget_port(&mut self, index: PortIndex) {
        self.bay.forget(index);
        self.switch.forget_port(index);
        self.switch.forget_connections(index, self.bay.now(), |_| ());
        self.gateways.forget_port(index);
    }

    fn insert(
        &mut self,
        name: &str,
        (config, end): (&config::Port, &config::VhostUser),
        listener: Option<Listener>,
        ops: &mut EventOps,
    ) {
        let Some(&index) = self.numbers.ports.get(name) else { return };
        let link = match listener {
            Some(listener) => {
                self.watch_as(&listener, index, ops);
                Link::Server(listener)
            }
            None => Port::fresh_client(),
        };
        let folder = &self.config.switch.runtime_dir;
        let settings = (config.clone(), end.clone());
        let mut port = Port::new(name, index, settings, link, folder);
        port.log.keep_in(self.journal());
        self.ports.insert(port);
        if end.role == Role::Client && !self.is_waiting() {
            self.connect(index, ops);
        }
    }

    /// A listener that was taken over says from now on whose it is.
    fn watch_as(&self, listener: &Listener, index: PortIndex, ops: &mut EventOps) {
        let events = Events::with_data(listener, Token::Listener(index).to_data(), self.listening());
        if let Err(error) = ops.modify(events) {
            warn!("cannot watch {}: {error}", listener.path().display());
        }
    }

    /// Changes a port whose guest stays connected.
    fn adjust(&mut self, name: &str) {
        let Some(config) = self.config.ports.get(name) else { return };
        let Some(&index) = self.numbers.ports.get(name) else { return };
        let Some(port) = self.ports.get_mut(index) else { return };
        // Who only joins networks keeps his addresses in the others.
        if port.config.membership.networks().any(|network| !config.membership.has(network)) {
            self.switch.forget_port(index);
        }
        port.config = config.clone();
        if let Some(end) = config.vhost_user() {
            port.end = end.clone();
        }
        if let Some(guest) = &port.guest {
            guest.session.device().set_configured_mtu(config.mtu);
        }
    }
}

/// Guests' ports to be made, with their configuration.
fn newcomers<'a>(
    plan: &'a Plan,
    wanted: &'a Config,
) -> impl Iterator<Item = (&'a String, &'a config::Port, &'a config::VhostUser)> {
    let made = plan.ports.iter().filter(|(_, step)| matches!(step, Step::Add | Step::Replace));
    made.filter_map(|(name, _)| {
        let port = wanted.ports.get(name)?;
        Some((name, port, port.vhost_user()?))
    })
}
