//! Ports that a spanning tree has closed: nothing enters by them, nothing leaves by them, and a topology change forgets
//! who was behind them.
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

use std::sync::Arc;

use viaduct_switch::spanning_tree::PortState;
use viaduct_switch::{
    Claims, DropReason, Egress, Frame, Head, Limits, Metadata, Nanos, NetworkIndex, NetworkSettings, Policy,
    PortIndex, PortPolicy, Switch, WorkerState,
};

const BROADCAST: [u8; 6] = [0xff; 6];

#[derive(Default)]
struct Sent(Vec<usize>);

impl Egress<()> for Sent {
    fn send(&mut self, to: PortIndex, _: usize, _: &Frame<()>) {
        self.0.push(to.get());
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], _: usize, frame: &Frame<()>) {
        self.0.extend(receivers.iter().filter(|&&port| port != frame.meta.source).map(|port| port.get()));
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

/// Ports 0 to 2 of one network, port 1 in this state.
fn policy(state: PortState) -> Arc<Policy> {
    let ports = (0..3).map(|index| {
        let states = if index == 1 { vec![(network(0), state)] } else { Vec::new() };
        (port(index), PortPolicy { states, ..PortPolicy::new(network(0), 1500) })
    });
    Arc::new(Policy::compile(ports, [(network(0), NetworkSettings::default())]).unwrap())
}

struct Bench {
    switch: Switch,
    worker: WorkerState,
}

impl Bench {
    fn new(state: PortState) -> Self {
        Self { switch: Switch::new(1, Limits::default()), worker: WorkerState::new(policy(state)) }
    }

    fn set(&mut self, state: PortState) {
        self.worker.set_policy(policy(state));
    }

    fn send(&mut self, from: usize, to: [u8; 6], source: [u8; 6]) -> Vec<usize> {
        let mut bytes = [0; 60];
        bytes[..6].copy_from_slice(&to);
        bytes[6..12].copy_from_slice(&source);
        bytes[12] = 8;
        let frame = |bytes: &[u8]| Frame {
            head: Head::from_bytes(bytes),
            meta: Metadata::new(port(from), 60, Claims::default()),
            payload: (),
        };
        let mut sent = Sent::default();
        self.switch.process(&mut self.worker, Nanos(0), &mut [frame(&bytes)], &mut sent);
        sent.0
    }

    fn known(&self) -> Vec<[u8; 6]> {
        self.switch.fdb(Nanos(0), self.worker.policy()).iter().map(|entry| entry.mac.0).collect()
    }

    fn blocked(&self) -> u64 {
        self.switch.counters().port(port(1)).drops(DropReason::StpBlocked)
    }
}

#[test]
fn a_discarding_port_neither_takes_nor_gives_nor_learns() {
    let mut bench = Bench::new(PortState::Discarding);
    assert_eq!(bench.send(0, BROADCAST, mac(1)), [2]);
    assert_eq!(bench.send(1, BROADCAST, mac(2)), [0; 0]);
    assert_eq!(bench.send(1, mac(1), mac(2)), [0; 0]);
    assert_eq!((bench.blocked(), bench.known()), (2, vec![mac(1)]));
}

#[test]
fn a_learning_port_learns_and_nothing_more() {
    let mut bench = Bench::new(PortState::Learning);
    assert_eq!(bench.send(1, BROADCAST, mac(2)), [0; 0]);
    assert_eq!((bench.blocked(), bench.known()), (1, vec![mac(2)]));
    assert_eq!(bench.send(0, mac(2), mac(1)), [2], "its addresses do not count before it forwards");
    bench.switch.expire(Nanos(0), bench.worker.policy(), usize::MAX);
    bench.set(PortState::Forwarding);
    assert_eq!(bench.send(0, mac(2), mac(1)), [1]);
}

#[test]
fn a_port_that_is_closed_gets_nothing_any_more_from_the_next_burst_on() {
    let mut bench = Bench::new(PortState::Forwarding);
    bench.send(1, BROADCAST, mac(2));
    assert_eq!(bench.send(0, mac(2), mac(1)), [1]);
    bench.set(PortState::Discarding);
    assert_eq!(bench.send(0, mac(2), mac(1)), [2], "wherever the address may be now");
    assert_eq!(bench.send(1, mac(1), mac(2)), [0; 0]);
}

#[test]
fn a_topology_change_forgets_who_was_behind_a_port_in_that_network_alone() {
    let mut bench = Bench::new(PortState::Forwarding);
    bench.send(0, BROADCAST, mac(1));
    bench.send(1, BROADCAST, mac(2));
    let policy = Arc::clone(bench.worker.policy());
    bench.switch.flush(network(1), port(1), Nanos(0), &policy);
    assert_eq!(bench.known().len(), 2);
    bench.switch.flush(network(0), port(1), Nanos(0), &policy);
    assert_eq!(bench.known(), [mac(1)]);
    assert_eq!(bench.send(0, mac(2), mac(1)), [1, 2], "whoever it is is looked for again");
}
