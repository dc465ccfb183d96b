//! Uplinks at which the switch has addresses: their interfaces' addresses are known while those are there.

use std::sync::Arc;

use tracing::warn;

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::registry::{Numbers, Seen};
use crate::control::routing::{self, Named, Outsides};
use crate::control::services;
use crate::gateway::Setup;

impl Controller {
    /// What the tables of a configuration depend on beside it.
    pub(super) fn seen(&self, config: &Config, numbers: &Numbers) -> Seen {
        Seen { states: self.trees.states(config, numbers), outsides: self.outsides_of(config, numbers) }
    }

    /// What is known now of the uplinks at which the switch has addresses.
    fn outsides_of(&self, config: &Config, numbers: &Numbers) -> Outsides {
        let outside = |(name, uplink): (&String, _)| {
            let link = self.interfaces.get(numbers.ports.get(name)?)?.link()?;
            Some((name.clone(), routing::outside(uplink, link.mac?, Some(link.mtu))?))
        };
        config.uplinks.iter().filter_map(outside).collect()
    }

    /// Follows the uplinks' interfaces; to be called after each event.
    pub(super) fn serve_outsides(&mut self) {
        let outsides = self.outsides_of(&self.config, &self.numbers);
        if outsides != self.outsides {
            self.outsides = outsides;
            self.renew_policy("the uplinks' addresses");
        }
    }

    /// Compiles the configuration anew: `what` it depends on has changed.
    pub(super) fn renew_policy(&mut self, what: &str) {
        let seen = self.seen(&self.config, &self.numbers);
        match self.numbers.compile(&self.config, &seen) {
            Ok(policy) => {
                self.policy = self.secured(&policy);
                let (config, numbers) = (self.config.clone(), self.numbers.clone());
                self.configure_gateways(&config, &numbers);
                self.bay.set_policy(Arc::clone(&self.policy));
            }
            Err(error) => warn!("{what} cannot be followed: {error}"),
        }
    }

    /// Tells the gateways of the policy, before the workers have it.
    pub(super) fn configure_gateways(&mut self, config: &Config, numbers: &Numbers) {
        let routing = self.policy.routing().cloned().unwrap_or_default();
        let services = services::of(config, numbers, &routing);
        let lending = services::lending(&Named { config, numbers, outsides: &self.outsides });
        self.gateways.configure(Setup { routing, ports: routing::ports(config, numbers), services, lending });
    }
}
