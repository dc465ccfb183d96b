//! Ethernet addresses that move again and again between machines: who looks at the switch is told, and so is the log.

use std::collections::BTreeMap;

use tracing::warn;
use viaduct_switch::{Duplicate, NetworkIndex, PortIndex, Switch};

use crate::control::controller::Controller;
use crate::control::gateways::name_of;
use crate::control::snapshot::vtep_name;
use crate::model::DuplicateStatus;

/// Lines in the log at once. What is found comes five moves apart, and once in three minutes for each address.
const LINES_MAX: usize = 4;

/// With names.
pub(super) fn status(
    switch: &Switch,
    (networks, ports): (&BTreeMap<String, NetworkIndex>, &BTreeMap<String, PortIndex>),
    duplicate: &Duplicate,
) -> DuplicateStatus {
    let name = |port: PortIndex| vtep_name(switch, port).unwrap_or_else(|| name_of(ports, port, "port"));
    let [port, other_port] = duplicate.ports.map(name);
    DuplicateStatus {
        network: name_of(networks, duplicate.network, "network"),
        mac: duplicate.mac.to_string(),
        port,
        other_port,
        moves: duplicate.moves,
        age_s: duplicate.age_s,
    }
}

impl Controller {
    pub(super) fn duplicates(&self, found: &[Duplicate]) -> Vec<DuplicateStatus> {
        let names = (&self.numbers.networks, &self.numbers.ports);
        found.iter().map(|duplicate| status(&self.switch, names, duplicate)).collect()
    }

    /// Tells the log of those that were found since the last call, some at a time.
    pub(super) fn tell_of_duplicates(&mut self) {
        let found = self.switch.fdb_counters().duplicates;
        if found == self.duplicates_told {
            return;
        }
        let news = self.switch.take_new_duplicates(self.bay.now(), LINES_MAX);
        self.duplicates_told = if news.len() < LINES_MAX { found } else { self.duplicates_told };
        for DuplicateStatus { network, mac, port, other_port, moves, .. } in self.duplicates(&news) {
            warn!(
                "network {network}: {mac} moved {moves} times within three minutes, now between {port} and {other_port}; two \
                 stations have this address, or there is a loop"
            );
        }
    }
}
