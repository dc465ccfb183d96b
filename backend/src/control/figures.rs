//! What is measured, for whoever scrapes it: the state without its long lists, and the large tables' counters.

use std::collections::BTreeMap;

use viaduct_switch::FdbSnapshot;
use viaduct_switch::conntrack::{Conntrack, CountersSnapshot};

use crate::control::Tables;
use crate::control::controller::Controller;
use crate::model::{NatStatus, ServiceEventStatus, Snapshot, VtepTables};

/// The state at one moment, of which the large tables are read beside the control thread.
#[derive(Clone, Debug)]
pub struct Figures {
    /// All that the control thread knows.
    pub snapshot: Snapshot,
    /// The tables.
    pub tables: Tables,
}

impl Figures {
    /// With the number of learned addresses, which takes a walk through their table.
    #[must_use]
    pub(super) fn counted(mut self) -> Self {
        self.tables.count_learned(&mut self.snapshot.networks);
        self
    }

    /// The state with what the tables tell.
    #[must_use]
    pub(super) fn whole(self) -> Snapshot {
        let Self { snapshot, tables } = self.counted();
        Snapshot { multicast_groups: tables.multicast_groups(), ..snapshot }
    }
}

/// What the large tables count.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TableFigures {
    /// What happened to learned addresses.
    pub fdb: FdbSnapshot,
    /// What happened to connections; `None`: none are tracked.
    pub connections: Option<CountersSnapshot>,
    /// Translations, without mappings.
    pub nat: NatStatus,
    /// Other ends of tunnels.
    pub vteps: VtepTables,
    /// How many leases there are, by network and state; `None`: the thread that lends does not answer.
    pub leases: Option<BTreeMap<(String, String), u64>>,
    /// What happened at services; `None`: the thread that lends does not answer.
    pub services: Option<Vec<ServiceEventStatus>>,
}

impl Controller {
    /// What is measured at this moment.
    pub(super) fn figures(&self) -> Figures {
        Figures { snapshot: self.snapshot(), tables: self.tables() }
    }
}

impl Tables {
    /// What the tables count. It may take as long as a disk does.
    #[must_use]
    pub fn figures(&self) -> TableFigures {
        TableFigures {
            fdb: self.switch.fdb_counters(),
            connections: self.switch.conntrack().map(Conntrack::counters),
            nat: self.nat(0, 0),
            vteps: self.vteps(),
            leases: self.leases().ok().map(|leases| {
                let mut counted = BTreeMap::new();
                for lease in leases {
                    *counted.entry((lease.network, lease.state)).or_default() += 1;
                }
                counted
            }),
            services: self.service_events().ok(),
        }
    }
}
