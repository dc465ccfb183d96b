//! Which ports and networks security groups have a say in.

use std::sync::Arc;

use super::{Forwarding, numbered};
use crate::ids::{NetworkIndex, PortIndex};
use crate::security::SecurityPolicy;

/// Security groups, and for whom they are asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Filtering {
    /// `None`: nobody is filtered.
    security: Option<Arc<SecurityPolicy>>,
    filtered: Arc<Filtered>,
}

/// Who is filtered, by index; what lies behind the end is not.
#[derive(PartialEq, Eq, Debug, Default)]
struct Filtered {
    ports: Box<[bool]>,
    networks: Box<[bool]>,
}

impl Filtering {
    pub(super) fn with(&self, security: Arc<SecurityPolicy>, forwarding: &Forwarding) -> Self {
        let is_filtered = |port| security.port(port).is_some_and(|tables| tables.groups().is_some());
        let ports: Box<[bool]> =
            (0..forwarding.ports.len()).map(|port| PortIndex::new(port).is_some_and(is_filtered)).collect();
        let same = self.filtered.networks.len() == forwarding.networks.len() && self.filtered.ports == ports;
        let filtered =
            if same { Arc::clone(&self.filtered) } else { Arc::new(Filtered::new(ports, forwarding)) };
        let any = filtered.ports.contains(&true);
        Self { security: any.then_some(security), filtered }
    }

    #[inline]
    pub(super) fn security(&self) -> Option<&Arc<SecurityPolicy>> {
        self.security.as_ref()
    }

    #[inline]
    pub(super) fn has_port(&self, port: PortIndex) -> bool {
        self.security.is_some() && self.filtered.ports.get(port.get()).is_some_and(|is| *is)
    }

    #[inline]
    pub(super) fn has_network(&self, network: NetworkIndex) -> bool {
        self.security.is_some() && self.filtered.networks.get(network.get()).is_some_and(|is| *is)
    }

    pub(super) fn is_about_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.filtered, &other.filtered) || self.filtered == other.filtered
    }
}

impl Filtered {
    fn new(ports: Box<[bool]>, forwarding: &Forwarding) -> Self {
        let mut networks: Box<[bool]> = std::iter::repeat_n(false, forwarding.networks.len()).collect();
        for (_, compiled) in numbered(&forwarding.ports).filter(|(port, _)| ports[port.get()]) {
            for network in compiled.networks() {
                networks[network.get()] = true;
            }
        }
        Self { ports, networks }
    }
}
