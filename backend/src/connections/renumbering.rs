//! Numbers of ports and networks, which are one process's own, and their names, which are not.

use std::collections::BTreeMap;

use viaduct_switch::conntrack::Record;
use viaduct_switch::nat::{Endpoint, Mapping};
use viaduct_switch::tunnel::EndpointIndex;
use viaduct_switch::{NetworkIndex, PortIndex, Switch};

/// The names that are in force.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Names {
    /// Counts the configurations that changed them.
    pub(crate) generation: u64,
    /// By network.
    pub(crate) networks: BTreeMap<NetworkIndex, String>,
    /// By port.
    pub(crate) ports: BTreeMap<PortIndex, String>,
    /// The uplink of each of the switch's own ends of tunnels.
    pub(crate) uplinks: BTreeMap<EndpointIndex, PortIndex>,
}

impl Names {
    /// The port that pays for what `port` holds and that a successor will know: of a VTEP, its uplink.
    pub(super) fn payer(&self, switch: &Switch, port: PortIndex) -> PortIndex {
        if self.uplinks.is_empty() || self.ports.contains_key(&port) {
            return port;
        }
        let end = switch.has_vteps().then(|| switch.vteps().get(port)).flatten();
        end.and_then(|(endpoint, _)| self.uplinks.get(&endpoint).copied()).unwrap_or(port)
    }
}

/// The numbers that what a file names has in this process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Renumbering {
    networks: BTreeMap<NetworkIndex, NetworkIndex>,
    ports: BTreeMap<PortIndex, PortIndex>,
}

impl Renumbering {
    /// From the numbers in a file with these names to those of what has the same names now.
    pub(crate) fn new(
        names: &Names,
        networks: &BTreeMap<String, NetworkIndex>,
        ports: &BTreeMap<String, PortIndex>,
    ) -> Self {
        let network = |(before, name): (&NetworkIndex, &String)| Some((*before, *networks.get(name)?));
        let port = |(before, name): (&PortIndex, &String)| Some((*before, *ports.get(name)?));
        Self {
            networks: names.networks.iter().filter_map(network).collect(),
            ports: names.ports.iter().filter_map(port).collect(),
        }
    }

    /// The connection with the numbers of now; `None`: it belongs to a port or a network that is no more.
    pub(crate) fn connection(&self, record: &Record) -> Option<Record> {
        let mut renumbered = *record;
        for tuple in &mut renumbered.tuples {
            tuple.zone = *self.networks.get(&tuple.zone)?;
        }
        renumbered.port = *self.ports.get(&record.port)?;
        // Whose port is no more vouches for nothing, and whoever has its station now is asked.
        renumbered.vouchers =
            record.vouchers.map(|port| port.and_then(|port| self.ports.get(&port).copied()));
        Some(renumbered)
    }

    /// The same of a mapping.
    pub(crate) fn mapping(&self, mapping: &Mapping) -> Option<Mapping> {
        let end = |end: Endpoint| Some(Endpoint { network: *self.networks.get(&end.network)?, ..end });
        let port = *self.ports.get(&mapping.port)?;
        Some(Mapping { inside: end(mapping.inside)?, outside: end(mapping.outside)?, port, ..*mapping })
    }
}
