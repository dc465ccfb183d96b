//! Policing in the data path: a port gets its rate, exactly, by however many workers; its neighbours notice nothing; what is
//! refused teaches nothing, and what is marked goes out marked, whether its decision was kept or not.
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

use std::sync::Arc;

use viaduct_switch::meter::{Allowance, Dscp, Exceeding, Limits as Rates, Meter, MeterPlan};
use viaduct_switch::{
    Claims, DropReason, Egress, Frame, Head, Limits, MacAddress, Metadata, Nanos, NetworkIndex,
    NetworkSettings, Policy, PortIndex, PortPolicy, StormLimits, Switch, WorkerState,
};

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// Notes the code points of the frames that leave.
#[derive(Default)]
struct Sent(Vec<u8>);

impl Egress<()> for Sent {
    fn send(&mut self, _: PortIndex, _: usize, frame: &Frame<()>) {
        self.0.push(Dscp::of(frame.head.bytes()).unwrap().get());
    }

    fn flood(&mut self, _: NetworkIndex, _: &[PortIndex], _: usize, frame: &Frame<()>) {
        self.0.push(Dscp::of(frame.head.bytes()).unwrap().get());
    }
}

fn packets(per_second: u64, burst: u64) -> MeterPlan {
    let committed = Rates { packets: Some(Allowance { per_second, burst }), ..Rates::default() };
    MeterPlan { committed, ..MeterPlan::default() }
}

/// Ports 0 and 1 have this meter, ports 2 and 3 none.
fn policy(meter: &Arc<Meter>) -> Arc<Policy> {
    let network = NetworkIndex::new(0).unwrap();
    let ports = (0..4).map(|index| {
        let police = (index < 2).then(|| Arc::clone(meter));
        (port(index), PortPolicy { police, storm: StormLimits::UNLIMITED, ..PortPolicy::new(network, 1500) })
    });
    Arc::new(Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap())
}

/// Frames of a station at `from` to one at `to`, with DSCP 46.
fn burst(from: usize, to: u8, frames: usize) -> Vec<Frame<()>> {
    let source = u8::try_from(from).unwrap();
    let mut bytes = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, source, 8, 0];
    bytes.extend([0x45, 0xb8, 0, 46, 0, 0, 0, 0, 64, 17, 0x66, 0xc5, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.resize(60, 0);
    let meta = Metadata::new(port(from), 60, Claims::default());
    vec![Frame { head: Head::from_bytes(&bytes), meta, payload: () }; frames]
}

fn process(switch: &Switch, worker: &mut WorkerState, now: u64, burst: &mut [Frame<()>]) -> Vec<u8> {
    let mut sent = Sent::default();
    switch.process(worker, Nanos(now), burst, &mut sent);
    sent.0
}

#[test]
fn a_port_gets_its_rate_and_its_neighbour_all() {
    let meter = Arc::new(Meter::new(packets(1000, 10), Nanos(0)));
    let switch = Switch::new(1, Limits::default());
    switch.set_verification(true);
    let mut worker = WorkerState::new(policy(&meter));
    process(&switch, &mut worker, 0, &mut burst(3, 0, 1));
    let (mut policed, mut free) = (0, 0);
    for round in 0..1000_u64 {
        let now = 1_000_000 * round;
        policed += process(&switch, &mut worker, now, &mut burst(0, 3, 5)).len();
        free += process(&switch, &mut worker, now, &mut burst(2, 3, 5)).len();
    }
    assert_eq!((policed, free), (1009, 5000));
    let counted = switch.counters().port(port(0)).snapshot();
    assert_eq!(counted.received.frames, 5000);
    assert_eq!(counted.dropped().collect::<Vec<_>>(), [(DropReason::Policed, 3991)]);
    let flows = worker.flow_counters().snapshot();
    assert_eq!(
        (flows.hits + flows.misses, flows.mismatched),
        (1 + 1009 + 5000, 0),
        "what is refused is not decided about"
    );
}

#[test]
fn two_ports_and_two_workers_share_a_meter_exactly() {
    let meter = Arc::new(Meter::new(packets(1000, 20_000), Nanos(0)));
    let switch = Switch::new(1, Limits::default());
    let policy = policy(&meter);
    let sent: usize = std::thread::scope(|scope| {
        let threads = [0, 1].map(|from| {
            let mut worker = WorkerState::new(Arc::clone(&policy));
            let switch = &switch;
            scope.spawn(move || {
                let sent = (0..500).map(|_| process(switch, &mut worker, 0, &mut burst(from, 3, 64)).len());
                sent.sum::<usize>()
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(sent, 20_000);
    assert_eq!(meter.counters().conforming.frames, 20_000);
    assert_eq!(meter.counters().dropped.frames, 44_000);
}

#[test]
fn what_is_refused_teaches_nothing() {
    let meter = Arc::new(Meter::new(packets(1, 1), Nanos(0)));
    let switch = Switch::new(1, Limits::default());
    let policy = policy(&meter);
    let mut worker = WorkerState::new(Arc::clone(&policy));
    process(&switch, &mut worker, 0, &mut burst(2, 3, 1));
    assert_eq!(process(&switch, &mut worker, 0, &mut burst(0, 2, 1)).len(), 1);
    let mut forged = burst(0, 2, 1);
    forged[0].head.bytes_mut()[11] = 77;
    assert_eq!(process(&switch, &mut worker, 0, &mut forged).len(), 0);
    let known: Vec<MacAddress> = switch.fdb(Nanos(0), &policy).iter().map(|entry| entry.mac).collect();
    assert_eq!(known.len(), 2);
    assert!(!known.contains(&MacAddress([2, 0, 0, 0, 0, 77])));
}

#[test]
fn what_exceeds_goes_out_marked_by_the_decision_that_is_kept() {
    let plan = MeterPlan { exceeding: Exceeding::Marked(Dscp::LOWER_EFFORT), ..packets(1, 70) };
    let meter = Arc::new(Meter::new(plan, Nanos(0)));
    let switch = Switch::new(1, Limits::default());
    switch.set_verification(true);
    let mut worker = WorkerState::new(policy(&meter));
    process(&switch, &mut worker, 0, &mut burst(3, 0, 1));
    let marks: Vec<u8> =
        (0..3).flat_map(|_| process(&switch, &mut worker, 0, &mut burst(0, 3, 50))).collect();
    assert_eq!(marks[..70], [46; 70]);
    assert_eq!(marks[70..], [1; 80]);
    assert_eq!(worker.flow_counters().snapshot().mismatched, 0);
}
