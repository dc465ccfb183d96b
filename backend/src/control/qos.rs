//! Meters of ports: each keeps its tokens and counts as long as its port has one, whatever else is configured.

use std::collections::BTreeMap;
use std::sync::Arc;

use viaduct_switch::meter::{Exceeding, Meter, MeterSnapshot};
use viaduct_switch::{Nanos, Volume};

use crate::config::{Config, Police};
use crate::model::{CountedStatus, MeterStatus, QosDeclared};

/// Whose a meter is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    /// A port's or an uplink's.
    Port(String),
    /// That of all ports with this QoS.
    Shared(String),
}

/// How often buckets are settled: far more often than it takes, and so seldom that it costs nothing.
const SETTLING: Nanos = Nanos::from_seconds(3600);

/// The meters of a configuration's ports. A copy shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Meters {
    owned: BTreeMap<Owner, Arc<Meter>>,
    settled: Nanos,
}

impl Meters {
    /// Those of `config`: one whose rates stay goes on as it is, and one whose rates change gives its successor what was taken.
    pub(super) fn for_config(&self, config: &Config, now: Nanos) -> Self {
        let mut meters = BTreeMap::new();
        for (port, qos) in assigned(config) {
            let Some((owner, police)) = owner(config, port, qos) else { continue };
            meters.entry(owner).or_insert_with_key(|owner| match self.owned.get(owner) {
                Some(meter) if *meter.plan() == police.plan => Arc::clone(meter),
                Some(meter) => Arc::new(meter.succeeded_by(police.plan, now)),
                None => Arc::new(Meter::new(police.plan, now)),
            });
        }
        Self { owned: meters, settled: self.settled }
    }

    /// The meter of a port or uplink with this QoS.
    pub(super) fn of(&self, config: &Config, port: &str, qos: Option<&String>) -> Option<Arc<Meter>> {
        let (owner, _) = owner(config, port, qos?)?;
        self.owned.get(&owner).cloned()
    }

    /// See [`Meter::settle`]; to be called at any time.
    pub(super) fn settle(&mut self, now: Nanos) {
        if now - self.settled < SETTLING {
            return;
        }
        self.settled = now;
        for meter in self.owned.values() {
            meter.settle(now);
        }
    }

    /// What they did so far, by QoS and port.
    pub(super) fn statuses(&self, config: &Config) -> Vec<MeterStatus> {
        let mut statuses: BTreeMap<(String, Option<String>), MeterStatus> = BTreeMap::new();
        for (port, qos) in assigned(config) {
            let Some((owner, police)) = owner(config, port, qos) else { continue };
            let Some(meter) = self.owned.get(&owner) else { continue };
            let alone = (!police.shared).then(|| port.clone());
            let status = statuses
                .entry((qos.clone(), alone))
                .or_insert_with(|| status(qos, police, &meter.counters()));
            status.ports.push(port.clone());
        }
        statuses.into_values().collect()
    }
}

fn status(qos: &str, police: &Police, counters: &MeterSnapshot) -> MeterStatus {
    let counted = |volume: Volume| CountedStatus { packets: volume.frames, bytes: volume.bytes };
    MeterStatus {
        qos: qos.to_owned(),
        ports: Vec::new(),
        shared: police.shared,
        limits: police.to_string(),
        conforming: counted(counters.conforming),
        exceeding: counted(counters.exceeding),
        dropped: counted(counters.dropped),
        waits: police.plan.exceeding == Exceeding::Waits,
        ..MeterStatus::default()
    }
}

/// Ports and uplinks that have a QoS, with its name.
pub(super) fn assigned(config: &Config) -> impl Iterator<Item = (&String, &String)> {
    let ports = config.ports.iter().filter_map(|(name, port)| Some((name, port.qos.as_ref()?)));
    let uplinks = config.uplinks.iter().filter_map(|(name, uplink)| Some((name, uplink.qos.as_ref()?)));
    ports.chain(uplinks)
}

/// Every QoS with the ports and uplinks that have it.
pub(super) fn declared(config: &Config) -> Vec<QosDeclared> {
    let mut declared: BTreeMap<&String, Vec<String>> =
        config.qos.keys().map(|qos| (qos, Vec::new())).collect();
    for (port, qos) in assigned(config) {
        declared.entry(qos).or_default().push(port.clone());
    }
    declared.into_iter().map(|(qos, ports)| QosDeclared { qos: qos.clone(), ports }).collect()
}

/// Whose meter holds for a port with this QoS, if any does.
fn owner<'a>(config: &'a Config, port: &str, qos: &str) -> Option<(Owner, &'a Police)> {
    let police = config.qos.get(qos)?.ingress.as_ref()?;
    let owner = if police.shared { Owner::Shared(qos.to_owned()) } else { Owner::Port(port.to_owned()) };
    Some((owner, police))
}

#[cfg(test)]
mod tests {
    use viaduct_switch::meter::{Allowance, Limits, MeterPlan};

    use super::*;
    use crate::config::Qos;
    use crate::control::samples;

    fn config(rate: u64, shared: bool, ports: &[&str]) -> Config {
        let committed = Limits { bits: Some(Allowance { per_second: rate, burst: 1 << 17 }), packets: None };
        let police = Police { plan: MeterPlan { committed, ..MeterPlan::default() }, shared };
        let port = |name: &&str| {
            let port = samples::port(samples::vhost_user(format!("/run/{name}.sock"), 1));
            ((*name).to_owned(), crate::config::Port { qos: Some("gold".to_owned()), ..port })
        };
        let qos = Qos { ingress: Some(police), ..Qos::default() };
        Config { qos: [("gold".to_owned(), qos)].into(), ..samples::lab(ports.iter().map(port)) }
    }

    fn meter(meters: &Meters, config: &Config, port: &str) -> Arc<Meter> {
        meters.of(config, port, Some(&"gold".to_owned())).unwrap()
    }

    #[test]
    fn each_port_has_its_own_meter_unless_they_share_one() {
        for shared in [false, true] {
            let config = config(1_000_000, shared, &["a", "b"]);
            let meters = Meters::default().for_config(&config, Nanos(0));
            let [a, b] = ["a", "b"].map(|port| meter(&meters, &config, port));
            assert_eq!(Arc::ptr_eq(&a, &b), shared);
            let ports: Vec<_> = meters.statuses(&config).into_iter().map(|status| status.ports).collect();
            assert_eq!(ports, if shared { vec![vec!["a", "b"]] } else { vec![vec!["a"], vec!["b"]] });
        }
    }

    #[test]
    fn a_meter_stays_while_its_rates_do_and_its_counts_while_it_has_any() {
        let before = config(1_000_000, false, &["a"]);
        let meters = Meters::default().for_config(&before, Nanos(0));
        let more = config(1_000_000, false, &["a", "b"]);
        let same = meters.for_config(&more, Nanos(1));
        assert!(Arc::ptr_eq(&meter(&meters, &before, "a"), &meter(&same, &more, "a")));
        let faster = config(2_000_000, false, &["a"]);
        let changed = same.for_config(&faster, Nanos(2));
        assert!(!Arc::ptr_eq(&meter(&same, &more, "a"), &meter(&changed, &faster, "a")));
        assert_eq!(changed.statuses(&faster).len(), 1, "b has gone");
        assert_eq!(changed.of(&faster, "a", None), None);
    }
}
