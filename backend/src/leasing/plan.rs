//! What the servers are told.

use std::collections::BTreeMap;

use viaduct_switch::dhcp::server::{Settings, SettingsError};
use viaduct_switch::{NetworkIndex, PortIndex};

/// What the servers of all networks are told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Networks of which somebody is served, each index and each name once.
    pub networks: Vec<NetworkPlan>,
    /// Names of all ports at which clients may be, uplinks among them.
    pub ports: BTreeMap<PortIndex, String>,
}

/// What the servers of one network are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkPlan {
    /// The network's name, by which its leases are kept.
    pub name: String,
    /// Its number.
    pub index: NetworkIndex,
    /// What its DHCP server is told, if it has one.
    pub v4: Option<Settings>,
}

/// Settings that make no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// Those of a DHCP server.
    #[error("the DHCP server of network {network}: {source}")]
    V4 {
        /// The network's name.
        network: String,
        /// What is wrong.
        source: SettingsError,
    },
}

impl Plan {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        for network in &self.networks {
            if let Some(settings) = &network.v4 {
                settings.check().map_err(|source| network.wrong_v4(source))?;
            }
        }
        Ok(())
    }
}

impl NetworkPlan {
    pub(super) fn wrong_v4(&self, source: SettingsError) -> PlanError {
        PlanError::V4 { network: self.name.clone(), source }
    }
}
