//! The whole way of a frame, from one guest's ring into another's, by a worker that does a round when it is told: with a meter where
//! frames enter, or a tree of classes before the receiver, or neither.

use std::sync::Arc;

use viaduct::dataplane::{Datapath, Stepped, TreeSetup};
use viaduct::ring::Burst;
use viaduct_switch::meter::{Allowance, Limits as MeterLimits, Meter, MeterPlan};
use viaduct_switch::qos::{
    BitRate, Burst as TreeBurst, ClassIndex, ClassPlan, FifoPlan, FilterPlan, HtbPlan, Match, QueuePlan,
    RootPlan, Shares, TreeLimits, TreePlan,
};
use viaduct_switch::security::Protocol;
use viaduct_switch::{
    Limits, MacAddress, Nanos, NetworkIndex, NetworkSettings, Policy, PortPolicy, Switch, WorkerState,
};

use super::support::{BURST, Count, Guest, Layout, SIZE, port};
use super::tunnel;

/// Bytes of a frame.
const FRAME_LEN: u64 = 64;
/// What passes between two bursts.
const PACE_NS: u64 = 100_000;
/// The rate at which a burst takes that long.
const EXACT_BITS: u64 = FRAME_LEN * 8 * BURST as u64 * 1_000_000_000 / PACE_NS;
/// A rate that no burst here comes near.
const PLENTY_BITS: u64 = 100_000_000_000;

const STATIONS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
/// The first destination port that frames have, of eight: two for each class.
const FIRST_PORT: u8 = 80;

/// What stands in the frames' way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    Nothing,
    /// A meter of the sender's, by bits and packets, which all of them keep to.
    Meter,
    /// Classes of three levels, with tokens enough.
    WideTree,
    /// The same, whose root has just as many tokens as are needed, but not at once: all frames wait.
    NarrowTree,
    /// Outer headers are put before them: the receiver stands for an uplink.
    Encapsulation,
    /// The same, where each frame of a burst is for another VTEP.
    ToCrowd(tunnel::Crowd),
    /// And are taken off: the sender does.
    Decapsulation,
}

/// Two guests and the worker between them.
pub(super) struct Path {
    stepped: Stepped,
    sender: Guest,
    receiver: Guest,
    now: Nanos,
    offered: u16,
    /// Buffers that the receiver has offered.
    buffers: u16,
}

impl Path {
    pub(super) fn new(obstacle: Obstacle) -> Self {
        let sender = match obstacle {
            Obstacle::Decapsulation => {
                let length = FRAME_LEN + tunnel::OUTER as u64;
                Guest::sender_of(Layout::Split, length, |entry| tunnel::outside(&datagram(entry)))
            }
            Obstacle::ToCrowd(crowd) => Guest::sender_of(Layout::Split, FRAME_LEN, |entry| {
                let mut frame = datagram(entry).to_vec();
                frame[..6].copy_from_slice(&tunnel::station_of(crowd, entry.into()).0);
                frame
            }),
            _ => Guest::sender_of(Layout::Split, FRAME_LEN, |entry| datagram(entry).to_vec()),
        };
        let receiver = Guest::receiver(Layout::Split);
        let policy = Arc::new(policy(obstacle));
        let is_crowded = matches!(obstacle, Obstacle::ToCrowd(_));
        let fdb_entries = if is_crowded { 1 << 18 } else { Limits::default().fdb_entries };
        let switch = Switch::new(7, Limits { fdb_entries, ..Limits::default() });
        introduce(&switch, &policy, obstacle);
        let mut stepped = Stepped::new(Arc::new(switch), policy).unwrap();
        let setups = [sender.setup(0, 1), receiver.setup(1, 0)];
        stepped.control(|dataplane| {
            for setup in setups {
                assert!(dataplane.attach(setup).is_empty());
            }
            let rate = match obstacle {
                Obstacle::WideTree => PLENTY_BITS,
                Obstacle::NarrowTree => EXACT_BITS,
                _ => return,
            };
            let tree = TreeSetup { name: "tree".into(), plan: Arc::new(tree(rate)), ports: vec![port(1)] };
            assert!(dataplane.set_shaping(vec![tree]).is_empty());
        });
        Self { stepped, sender, receiver, now: Nanos(0), offered: 0, buffers: 0 }
    }

    /// Lets both guests offer what is needed for a burst.
    pub(super) fn offer(&mut self) {
        // The first bursts come at once, so that those who have to wait always find others waiting.
        if self.offered > 8 * BURST {
            self.now = self.now + Nanos(PACE_NS);
        }
        self.offered += BURST;
        self.sender.offer();
        // Where frames wait, fewer buffers are filled than frames come.
        if self.buffers - self.receiver.used() <= SIZE - BURST {
            self.buffers += BURST;
            self.receiver.offer();
        }
    }

    /// Carries a burst.
    pub(super) fn carry(&mut self) {
        self.stepped.round(self.now);
    }

    /// Asserts that all that was offered came, or waits, and that nothing waits but where tokens are few.
    pub(super) fn check(mut self, obstacle: Obstacle) {
        let trees = self.stepped.control(|dataplane| dataplane.shaping());
        let classes = trees.iter().flat_map(|tree| &tree.report.classes);
        let waiting = classes.map(|class| class.backlog.frames).sum::<u32>();
        assert_eq!(u32::from(self.receiver.used()) + waiting, u32::from(self.offered));
        assert_eq!(waiting > 0, obstacle == Obstacle::NarrowTree, "{waiting} wait");
    }
}

/// A frame of one of 16 flows, two of each class.
fn datagram(entry: u16) -> [u8; 64] {
    let flow = u8::try_from(entry % 16).unwrap();
    let mut frame = [0x5a; 64];
    frame[..6].copy_from_slice(&STATIONS[1]);
    frame[6..12].copy_from_slice(&STATIONS[0]);
    frame[12..26].copy_from_slice(&[8, 0, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0x26, 0xb9]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34..42].copy_from_slice(&[0x13, flow, 0, FIRST_PORT + flow % 8, 0, 30, 0, 0]);
    frame
}

/// A network of both guests, or of one and what is behind the other.
fn policy(obstacle: Obstacle) -> Policy {
    match obstacle {
        Obstacle::Encapsulation | Obstacle::ToCrowd(_) => return tunnel::policy(1),
        Obstacle::Decapsulation => return tunnel::policy(0),
        _ => {}
    }
    let network = NetworkIndex::new(0).unwrap();
    let ports = [0, 1].map(|at| {
        let mut policy = PortPolicy::new(network, 1500);
        if at == 0 && obstacle == Obstacle::Meter {
            policy.police = Some(Arc::new(meter()));
        }
        (port(at), policy)
    });
    Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap()
}

fn meter() -> Meter {
    let bits = Some(Allowance { per_second: PLENTY_BITS, burst: 1 << 20 });
    let packets = Some(Allowance { per_second: 100_000_000, burst: 4096 });
    let committed = MeterLimits { bits, packets };
    Meter::new(MeterPlan { committed, ..MeterPlan::default() }, Nanos(0))
}

/// The root, two classes, and two below each, told apart by protocol and destination port.
fn tree(root_bits: u64) -> TreePlan {
    let shares = |rate: u64, ceil: u64| {
        let [rate, ceil] = [rate, ceil].map(|bits| BitRate::new(bits).unwrap());
        let burst =
            if root_bits == PLENTY_BITS { TreeBurst::suiting(ceil) } else { TreeBurst::new(1600).unwrap() };
        Shares { rate, ceil, burst, cburst: burst }
    };
    let class = |name: &str, parent: Option<usize>, rate: u64| ClassPlan {
        name: name.into(),
        parent: parent.map(|place| ClassIndex::new(place).unwrap()),
        shares: shares(rate, root_bits),
        quantum: None,
        priority: 0,
        queue: QueuePlan::Fifo(FifoPlan { frames: 1000, bytes: u64::MAX }),
    };
    let inner = ["a", "b"].map(|name| class(name, None, root_bits / 2));
    let leaves = [("a1", 0), ("a2", 0), ("b1", 1), ("b2", 1)];
    let leaves = leaves.map(|(name, parent)| class(name, Some(parent), root_bits / 4));
    let filters = (0..4u8).map(|leaf| {
        let first = u16::from(FIRST_PORT + 2 * leaf);
        let wants = Match {
            protocol: Some(Protocol(17)),
            destination_ports: Some((first, first + 1)),
            ..Match::default()
        };
        FilterPlan { wants, class: ClassIndex::new(2 + usize::from(leaf)).unwrap() }
    });
    TreePlan {
        root: RootPlan::Htb(HtbPlan {
            root: shares(root_bits, root_bits),
            classes: inner.into_iter().chain(leaves).collect(),
            default: ClassIndex::new(5).unwrap(),
        }),
        filters: filters.collect(),
        overhead_bytes: 0,
        limits: TreeLimits::default(),
    }
}

/// Lets the switch learn where both stations are.
fn introduce(switch: &Switch, policy: &Arc<Policy>, obstacle: Obstacle) {
    if let Some(far) =
        [Obstacle::Decapsulation, Obstacle::Encapsulation].iter().position(|at| *at == obstacle)
    {
        switch.prepare(policy);
        let remote = tunnel::remote(switch);
        assert!(switch.set_station(tunnel::tenant(), MacAddress(STATIONS[far]), remote));
        assert!(switch.set_station(tunnel::tenant(), MacAddress(STATIONS[1 - far]), port(1 - far)));
        return;
    }
    if let Obstacle::ToCrowd(crowd) = obstacle {
        switch.prepare(policy);
        tunnel::crowd(switch, crowd);
        return assert!(switch.set_station(tunnel::tenant(), MacAddress(STATIONS[0]), port(0)));
    }
    let mut state = WorkerState::new(Arc::clone(policy));
    for (at, station) in STATIONS.iter().enumerate() {
        let mut hello = [0xff; 64];
        hello[6..12].copy_from_slice(station);
        let mut burst = Burst::new(port(at));
        burst.load(port(at), &mut hello);
        switch.process(&mut state, Nanos(0), burst.parts().0, &mut Count(0));
    }
}
