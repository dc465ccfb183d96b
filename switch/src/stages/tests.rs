//! Deciding alone: pure, and its record says on what it depends.

use super::*;
use crate::counters::FdbCounters;
use crate::decision::{Action, Lengths};
use crate::fdb::{Fdb, Key, Limits, Sighting};
use crate::mac::MacAddress;
use crate::policy::{NetworkSettings, Policy, PortPolicy};
use crate::{NetworkIndex, PortIndex};

const A: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xa]);
const B: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xb]);

struct Bench {
    policy: Policy,
    fdb: Fdb,
    counters: FdbCounters,
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

impl Bench {
    fn new() -> Self {
        let network = NetworkIndex::new(0).unwrap();
        let ports = (0..3).map(|index| (port(index), PortPolicy::new(network, 1500)));
        let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
        Self { policy, fdb: Fdb::new(1, Limits::default()), counters: FdbCounters::default() }
    }

    fn learn(&self, mac: MacAddress, at: PortIndex) {
        let key = Key::new(NetworkIndex::new(0).unwrap(), mac);
        let (policy, counters) = (&self.policy, &self.counters);
        self.fdb.learn(&Sighting { key, port: at, now_s: 0, policy, counters });
    }

    /// Decides about a frame of port 0.
    fn decide(&self, to: MacAddress, from: MacAddress) -> Decision {
        let mut head = [0; 60];
        head[..6].copy_from_slice(&to.0);
        head[6..12].copy_from_slice(&from.0);
        let source = port(0);
        let scene = Scene::new(&self.policy, &self.fdb, 0, source);
        let lengths = Lengths { whole: 60, wire: 60 };
        decide(
            &scene,
            &Subject { head: &head, lengths, network: Ok(NetworkIndex::new(0).unwrap()), is_bare: true },
        )
    }
}

#[test]
fn a_known_destination_may_be_cached_until_it_moves() {
    let bench = Bench::new();
    bench.learn(B, port(1));
    let decision = bench.decide(B, A);
    let network = NetworkIndex::new(0).unwrap();
    assert_eq!(decision.actions(), [Action::Learn(network), Action::Output(port(1))]);
    assert!(decision.is_cacheable() && decision.is_current(&bench.fdb, 300));
    assert!(!decision.is_current(&bench.fdb, 301), "the address ages");
    bench.learn(B, port(2));
    assert!(!decision.is_current(&bench.fdb, 0));
}

#[test]
fn a_decision_holds_for_the_lengths_that_would_have_been_answered_alike() {
    let bench = Bench::new();
    bench.learn(B, port(1));
    let decision = bench.decide(B, A);
    for (whole, wire, covered) in [
        (14, 14, true),
        (13, 13, false),
        (1514, 1514, true),
        (1515, 1515, false),
        (65_550, 1514, true),
        (65_551, 1514, false),
    ] {
        assert_eq!(
            decision.covered().contains(Lengths { whole, wire }),
            covered,
            "{whole} bytes, {wire} on the wire"
        );
    }
}

#[test]
fn a_flood_for_an_unknown_destination_is_never_cached_but_a_broadcast_is() {
    let bench = Bench::new();
    assert!(!bench.decide(B, A).is_cacheable());
    assert!(bench.decide(MacAddress::BROADCAST, A).is_cacheable());
}

#[test]
fn deciding_changes_nothing() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.decide(B, A);
    }
    assert!(bench.fdb.entries(0, &bench.policy).is_empty());
}

#[test]
fn the_order_of_the_stages_is_the_pipelines() {
    assert_eq!(
        STAGES,
        [
            Stage::Admit,
            Stage::Control,
            Stage::Vlan,
            Stage::SpanningTree,
            Stage::Learn,
            Stage::Gateway,
            Stage::Storm,
            Stage::Multicast,
            Stage::Forward
        ]
    );
}
