//! What the servers are told.

use std::collections::BTreeMap;

use viaduct_switch::dhcp::ServerSettings;
use viaduct_switch::ra::{Advertisement, AdvertisementError};
use viaduct_switch::{NetworkIndex, PortIndex, dhcp, dhcp6};

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
    pub v4: Option<dhcp::server::Settings>,
    /// What its DHCPv6 server is told, if it has one. One without addresses to lend tells the rest alone (stateless).
    pub v6: Option<dhcp6::server::Settings>,
    /// What its router advertisements say, if there are any.
    pub advertisement: Option<Advertisement>,
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
        source: dhcp::server::SettingsError,
    },
    /// Those of a DHCPv6 server.
    #[error("the DHCPv6 server of network {network}: {source}")]
    V6 {
        /// The network's name.
        network: String,
        /// What is wrong.
        source: dhcp6::server::SettingsError,
    },
    /// Those of router advertisements.
    #[error("the router advertisements of network {network}: {source}")]
    Advertisement {
        /// The network's name.
        network: String,
        /// What is wrong.
        source: AdvertisementError,
    },
}

impl Plan {
    /// Says what is wrong, if anything is.
    ///
    /// # Errors
    /// The first settings that make no sense.
    pub fn check(&self) -> Result<(), PlanError> {
        self.networks.iter().try_for_each(NetworkPlan::check)
    }
}

impl NetworkPlan {
    fn check(&self) -> Result<(), PlanError> {
        let network = || self.name.clone();
        if let Some(settings) = &self.v4 {
            settings.check().map_err(|source| PlanError::V4 { network: network(), source })?;
        }
        if let Some(settings) = &self.v6 {
            settings.check().map_err(|source| PlanError::V6 { network: network(), source })?;
        }
        if let Some(said) = &self.advertisement {
            said.check().map_err(|source| PlanError::Advertisement { network: network(), source })?;
        }
        Ok(())
    }
}
