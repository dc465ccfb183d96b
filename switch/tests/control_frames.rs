//! Control frames: handed to the control side where their protocol runs, and never to another port.
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

use std::sync::Arc;

use viaduct_switch::{
    Claims, ControlPolicy, ControlProtocol, DropReason, Egress, Frame, Head, Limits, Metadata, Nanos,
    NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, Switch, Trunk, VlanId, WorkerState,
};

const BPDU: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0];
const SLOW: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 2];
const LLDP: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 14];
const PER_VLAN: [u8; 6] = [1, 0, 0x0c, 0xcc, 0xcc, 0xcd];
const BROADCAST: [u8; 6] = [0xff; 6];

/// Ports of the bench: a guest's, an uplink on which every protocol runs, and one on which none does.
const GUEST: usize = 0;
const UPLINK: usize = 1;
const SILENT: usize = 2;

#[derive(Default)]
struct Told {
    sent: usize,
    punted: Vec<usize>,
    is_full: bool,
}

impl Egress<()> for Told {
    fn send(&mut self, _: PortIndex, _: usize, _: &Frame<()>) {
        self.sent += 1;
    }

    fn flood(&mut self, _: NetworkIndex, _: &[PortIndex], _: usize, _: &Frame<()>) {
        self.sent += 1;
    }

    fn punt(&mut self, slot: usize, _: &Frame<()>) -> bool {
        self.punted.push(slot);
        !self.is_full
    }
}

struct Bench {
    switch: Switch,
    worker: WorkerState,
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

impl Bench {
    fn new() -> Self {
        let network = NetworkIndex::new(0).unwrap();
        let all = [ControlProtocol::SpanningTree, ControlProtocol::Slow, ControlProtocol::Lldp];
        let running = all.into_iter().fold(ControlPolicy::UPLINK, ControlPolicy::with);
        let control = [ControlPolicy::GUEST, running, ControlPolicy::UPLINK];
        let ports = control
            .into_iter()
            .enumerate()
            .map(|(index, control)| (port(index), PortPolicy { control, ..PortPolicy::new(network, 1500) }));
        let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
        Self { switch: Switch::new(1, Limits::default()), worker: WorkerState::new(Arc::new(policy)) }
    }

    fn process(&mut self, now: Nanos, frames: &mut [Frame<()>], told: &mut Told) {
        self.switch.process(&mut self.worker, now, frames, told);
    }

    fn drops(&self, from: usize, reason: DropReason) -> u64 {
        self.switch.counters().port(port(from)).drops(reason)
    }

    /// Sends one frame; says whether it was punted.
    fn punts(&mut self, from: usize, to: [u8; 6], kind: u16) -> bool {
        let mut told = Told::default();
        self.process(Nanos(0), &mut [frame(from, to, kind)], &mut told);
        assert_eq!(told.sent, 0, "it reached another port");
        !told.punted.is_empty()
    }
}

fn frame(from: usize, to: [u8; 6], kind: u16) -> Frame<()> {
    let mut bytes = [0; 60];
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    bytes[12..14].copy_from_slice(&kind.to_be_bytes());
    let meta = Metadata::new(port(from), 60, Claims::default());
    Frame { head: Head::from_bytes(&bytes), meta, payload: () }
}

#[test]
fn frames_of_a_protocol_that_runs_are_handed_on_and_all_others_are_dropped() {
    let mut bench = Bench::new();
    for (to, kind) in [(BPDU, 39), (SLOW, 0x8809), (LLDP, 0x88cc)] {
        assert!(bench.punts(UPLINK, to, kind));
        assert!(bench.punts(UPLINK, to, kind), "so is what the flow cache replays");
        assert!(!bench.punts(SILENT, to, kind));
        assert!(!bench.punts(GUEST, to, kind));
    }
    assert!(!bench.punts(UPLINK, [1, 0x80, 0xc2, 0, 0, 1], 0x8808), "a pause frame");
    assert_eq!(bench.drops(UPLINK, DropReason::LinkLocal), 1);
    assert_eq!(bench.drops(SILENT, DropReason::LinkLocal), 3);
    assert_eq!(bench.drops(GUEST, DropReason::LinkLocal), 2);
    assert_eq!(bench.drops(GUEST, DropReason::BpduGuard), 1);
    assert!(bench.switch.fdb(Nanos(0), bench.worker.policy()).is_empty(), "they teach no address");
}

#[test]
fn a_guests_spanning_tree_messages_for_each_vlan_are_guarded_against_too() {
    let mut bench = Bench::new();
    assert!(!bench.punts(GUEST, PER_VLAN, 50));
    assert_eq!(bench.drops(GUEST, DropReason::BpduGuard), 1);
    let mut told = Told::default();
    bench.process(Nanos(0), &mut [frame(SILENT, PER_VLAN, 50)], &mut told);
    assert_eq!(told.sent, 1, "between bridges they pass");
}

#[test]
fn a_frame_that_is_longer_than_ethernet_allows_is_no_control_frame() {
    let mut bench = Bench::new();
    let mut policy = bench.worker.policy().port(port(UPLINK)).unwrap().clone();
    policy.mtu = 9000;
    let network = (policy.native().unwrap(), NetworkSettings::default());
    let compiled = Policy::compile([(port(UPLINK), policy)], [network]).unwrap();
    bench.worker.set_policy(Arc::new(compiled));
    for (length, punted) in [(1522, 1), (1523, 0)] {
        let mut told = Told::default();
        let mut long = frame(UPLINK, SLOW, 0x8809);
        long.meta.length = length;
        bench.process(Nanos(0), &mut [long], &mut told);
        assert_eq!(told.punted.len(), punted, "{length} bytes");
    }
}

#[test]
fn a_flood_of_one_port_is_cut_to_a_hundred_a_second_and_costs_no_other_port_a_frame() {
    let mut bench = Bench::new();
    let mut told = Told::default();
    for millisecond in 0..10_000 {
        let now = Nanos(millisecond * 1_000_000);
        bench.process(now, &mut [frame(UPLINK, BPDU, 39)], &mut told);
    }
    let handed_on = u64::try_from(told.punted.len()).unwrap();
    assert!((1000..1100).contains(&handed_on), "{handed_on}");
    assert_eq!(bench.drops(UPLINK, DropReason::StormControl), 10_000 - handed_on);
    let mut told = Told::default();
    bench.process(Nanos(10_000_000_000), &mut [frame(UPLINK, BROADCAST, 0x800)], &mut told);
    assert_eq!(told.sent, 1, "other frames of the port pass");
}

#[test]
fn a_frame_for_which_there_is_no_room_is_counted() {
    let mut bench = Bench::new();
    let mut told = Told { is_full: true, ..Told::default() };
    bench.process(Nanos(0), &mut [frame(UPLINK, BPDU, 39)], &mut told);
    assert_eq!((told.punted.len(), bench.drops(UPLINK, DropReason::ControlQueueFull)), (1, 1));
}

#[test]
fn what_has_a_tag_is_no_control_frame_and_what_has_none_is_one_on_any_trunk() {
    let network = NetworkIndex::new(0).unwrap();
    let settings = NetworkSettings { vlan: VlanId::new(5), ..NetworkSettings::default() };
    for (native, service_vlan) in [(Some(network), None), (None, None), (None, VlanId::new(300))] {
        let mut bench = Bench::new();
        let trunk = Trunk { native, networks: vec![network], service_vlan, ..Trunk::default() };
        let control = ControlPolicy::UPLINK.with(ControlProtocol::Slow);
        let policy = PortPolicy { control, ..PortPolicy::trunk(trunk, 1500) };
        let compiled = Policy::compile([(port(UPLINK), policy)], [(network, settings)]).unwrap();
        bench.worker.set_policy(Arc::new(compiled));
        let mut told = Told::default();
        for control in [0, 5, 6] {
            let mut tagged = frame(UPLINK, SLOW, 0x8100);
            tagged.head.bytes_mut()[14..18].copy_from_slice(&[0, control, 0x88, 0x09]);
            bench.process(Nanos(0), &mut [tagged], &mut told);
        }
        assert_eq!((told.punted.len(), bench.drops(UPLINK, DropReason::LinkLocal)), (0, 3));
        assert!(bench.punts(UPLINK, SLOW, 0x8809) && bench.punts(UPLINK, SLOW, 0x8809));
    }
}
