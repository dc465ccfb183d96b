//! Three switches in a line, with hosts of several networks, in a simulated network: its clock, losses and
//! reordering come from a seed, so each run can be had again.
//!
//! ```text
//!   hosts        hosts        hosts
//!     |            |            |
//!  switch 0 --- switch 1 --- switch 2      one link per network between neighbours
//! ```
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use viaduct_switch::{
    Claims, DropReason, Egress, FdbSnapshot, Frame, Head, Limits, MacAddress, Metadata, Nanos, NetworkIndex,
    NetworkSettings, Policy, PortIndex, PortPolicy, Switch, WorkerState,
};

const SWITCHES: usize = 3;
const NETWORKS: usize = 3;

/// Places for hosts that one switch has in one network; some stay empty, to be moved to.
const PLACES: usize = 6;

/// The ports of one network at one switch: its places, and the links to both neighbours.
const PORTS: usize = PLACES + 2;
const LEFT: usize = PLACES;
const RIGHT: usize = PLACES + 1;

/// Chance, good enough to shuffle a test (SplitMix64: a counter and a mixing function).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// A port of a switch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Location {
    switch: usize,
    network: usize,
    /// A place, [`LEFT`] or [`RIGHT`].
    port: usize,
}

impl Location {
    fn index(self) -> PortIndex {
        PortIndex::new(self.network * PORTS + self.port).unwrap()
    }

    fn of(switch: usize, index: PortIndex) -> Self {
        Self { switch, network: index.get() / PORTS, port: index.get() % PORTS }
    }

    /// The other end of a link; `None` where a host, or nothing, is attached.
    fn peer(self) -> Option<Self> {
        match self.port {
            LEFT => Some(Self { switch: self.switch.checked_sub(1)?, port: RIGHT, ..self }),
            RIGHT => Some(Self { switch: self.switch + 1, port: LEFT, ..self }),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Host {
    mac: MacAddress,
    at: Location,
}

/// What travels: the number of a message.
type Message = u64;

/// Frames that travel together.
type Burst = Vec<Frame<Message>>;

/// What became of a message.
#[derive(Clone, Debug)]
struct Fate {
    sender: usize,
    /// `None` for a broadcast.
    receiver: Option<usize>,
    /// The hosts where it arrived, in order.
    arrived: Vec<usize>,
    /// How many times it crossed a link between switches.
    crossed: usize,
}

/// Frames that left a switch, by port, in order.
#[derive(Default)]
struct Outbox(BTreeMap<usize, Vec<Frame<Message>>>);

impl Egress<Message> for Outbox {
    fn send(&mut self, to: PortIndex, _: usize, frame: &Frame<Message>) {
        self.0.entry(to.get()).or_default().push(frame.clone());
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<Message>) {
        for &to in receivers.iter().filter(|&&port| port != frame.meta.source) {
            self.send(to, slot, frame);
        }
    }
}

struct World {
    chance: Chance,
    switches: Vec<(Switch, WorkerState)>,
    policy: Arc<Policy>,
    hosts: Vec<Host>,
    now_ns: u64,
    /// Bursts on their way to a port, by time of arrival and a number that keeps equal times apart.
    under_way: BTreeMap<(u64, u64), (Location, Burst)>,
    bursts: u64,
    loss_percent: usize,
    fates: Vec<Fate>,
    /// Everything that arrived anywhere.
    trace: Vec<(u64, Location, Vec<Message>)>,
}

/// All switches have the same ports.
fn policy() -> Policy {
    let network = |index| NetworkIndex::new(index).unwrap();
    let ports = (0..NETWORKS * PORTS).map(|index| {
        let port = PortIndex::new(index).unwrap();
        (port, PortPolicy::new(network(index / PORTS), 1500))
    });
    Policy::compile(ports, (0..NETWORKS).map(|index| (network(index), NetworkSettings::default()))).unwrap()
}

impl World {
    fn new(seed: u64, loss_percent: usize) -> Self {
        let mut chance = Chance(seed);
        let policy = Arc::new(policy());
        let switch = |_| {
            let switch = Switch::new(chance.next(), Limits::default());
            switch.set_verification(true);
            (switch, WorkerState::new(policy.clone()))
        };
        let switches = (0..SWITCHES).map(switch).collect();
        let mut world = Self {
            chance,
            switches,
            policy,
            hosts: Vec::new(),
            now_ns: 0,
            under_way: BTreeMap::new(),
            bursts: 0,
            loss_percent,
            fates: Vec::new(),
            trace: Vec::new(),
        };
        world.settle();
        world
    }

    /// One to four hosts of each network at each switch. Networks use the same addresses, which must not
    /// matter.
    fn settle(&mut self) {
        for network in 0..NETWORKS {
            let mut mac = 0x0200_0000_0000;
            for switch in 0..SWITCHES {
                for port in 0..=self.chance.below(4) {
                    mac += 1;
                    let at = Location { switch, network, port };
                    self.hosts.push(Host { mac: MacAddress::from_u64(mac), at });
                }
            }
        }
    }

    fn host_at(&self, at: Location) -> Option<usize> {
        self.hosts.iter().position(|host| host.at == at)
    }

    /// The hosts of a host's network, without itself.
    fn neighbours(&self, host: usize) -> BTreeSet<usize> {
        let network = self.hosts[host].at.network;
        (0..self.hosts.len())
            .filter(|&other| other != host && self.hosts[other].at.network == network)
            .collect()
    }

    /// A host sends a burst of messages; `None` stands for everybody.
    fn send(&mut self, sender: usize, receivers: &[Option<usize>]) {
        let Host { mac, at } = self.hosts[sender];
        let frames = receivers.iter().map(|&receiver| {
            let to = receiver.map_or(MacAddress::BROADCAST, |receiver| self.hosts[receiver].mac);
            let message = self.fates.len() as Message;
            self.fates.push(Fate { sender, receiver, arrived: Vec::new(), crossed: 0 });
            let bytes = [to.0.as_slice(), &mac.0, &[0x88, 0xb5], &message.to_be_bytes()].concat();
            let meta = Metadata::new(at.index(), 60, Claims::default());
            Frame { head: Head::from_bytes(&bytes), meta, payload: message }
        });
        let frames = frames.collect();
        self.travel(at, frames);
    }

    /// Puts a burst on its way; it may overtake others, and lose frames.
    fn travel(&mut self, to: Location, mut frames: Vec<Frame<Message>>) {
        frames.retain(|_| self.chance.below(100) >= self.loss_percent);
        let delay_ns = 1_000 + self.chance.next() % 1_000_000;
        self.bursts += 1;
        self.under_way.insert((self.now_ns + delay_ns, self.bursts), (to, frames));
    }

    /// Lets all arrive that is under way.
    fn drain(&mut self) {
        while let Some(((at_ns, _), (location, frames))) = self.under_way.pop_first() {
            self.now_ns = at_ns;
            if !frames.is_empty() {
                self.arrive(location, frames);
            }
        }
    }

    /// A burst enters a switch; what leaves it reaches hosts at once and other switches later.
    fn arrive(&mut self, location: Location, mut frames: Vec<Frame<Message>>) {
        self.trace.push((self.now_ns, location, frames.iter().map(|frame| frame.payload).collect()));
        for frame in &mut frames {
            frame.meta.source = location.index();
        }
        let (switch, worker) = &mut self.switches[location.switch];
        let mut outbox = Outbox::default();
        switch.process(worker, Nanos(self.now_ns), &mut frames, &mut outbox);
        for (port, frames) in outbox.0 {
            let from = Location::of(location.switch, PortIndex::new(port).unwrap());
            match from.peer().filter(|peer| peer.switch < SWITCHES) {
                Some(peer) => {
                    for frame in &frames {
                        self.fates[usize::try_from(frame.payload).unwrap()].crossed += 1;
                    }
                    self.travel(peer, frames);
                }
                None => self.deliver(from, frames),
            }
        }
    }

    fn deliver(&mut self, at: Location, frames: Vec<Frame<Message>>) {
        let Some(host) = self.host_at(at) else { return };
        self.trace.push((self.now_ns, at, frames.iter().map(|frame| frame.payload).collect()));
        for frame in frames {
            self.fates[usize::try_from(frame.payload).unwrap()].arrived.push(host);
        }
    }

    /// A host is plugged in elsewhere, and says so as virtio-net's drivers do.
    fn relocate(&mut self, host: usize) {
        let old = self.hosts[host].at;
        let free =
            (0..SWITCHES).flat_map(|switch| (0..PLACES).map(move |port| Location { switch, port, ..old }));
        let free: Vec<_> = free.filter(|&at| self.host_at(at).is_none()).collect();
        self.hosts[host].at = free[self.chance.below(free.len())];
        if self.chance.below(2) == 0 {
            self.switches[old.switch].0.forget_port(old.index());
        }
        self.send(host, &[None]);
        self.drain();
    }

    /// Random bursts of every kind of message, some at the same time.
    fn chatter(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let sender = self.chance.below(self.hosts.len());
            let neighbours: Vec<_> = self.neighbours(sender).into_iter().collect();
            let length = 1 + self.chance.below(8);
            let receivers = (0..length).map(|_| {
                let chosen = self.chance.below(neighbours.len() + 1);
                neighbours.get(chosen).copied()
            });
            let receivers: Vec<_> = receivers.collect();
            self.send(sender, &receivers);
            if self.chance.below(3) == 0 {
                self.drain();
            }
        }
        self.drain();
    }

    /// Everybody says one broadcast, so that everybody is known.
    fn introduce(&mut self) {
        for host in 0..self.hosts.len() {
            self.send(host, &[None]);
        }
        self.drain();
    }

    /// What must hold however much is lost or overtaken: nobody gets a message twice, nobody gets its own,
    /// nobody gets another network's, and a unicast comes to nobody else's network.
    fn check_always(&self) {
        for (_, worker) in &self.switches {
            let counted = worker.flow_counters().snapshot();
            assert!(counted.mismatched == 0, "{counted:?}");
        }
        for (message, fate) in self.fates.iter().enumerate() {
            let arrived: BTreeSet<_> = fate.arrived.iter().copied().collect();
            assert_eq!(arrived.len(), fate.arrived.len(), "message {message} came twice: {fate:?}");
            assert!(arrived.is_subset(&self.neighbours(fate.sender)), "message {message} leaked: {fate:?}");
        }
    }

    /// What must hold besides if nothing is lost: each message reaches whom it is for.
    fn check_complete(&self) {
        for (message, fate) in self.fates.iter().enumerate() {
            let arrived: BTreeSet<_> = fate.arrived.iter().copied().collect();
            match fate.receiver {
                Some(receiver) => {
                    assert!(arrived.contains(&receiver), "message {message} was lost: {fate:?}")
                }
                None => assert_eq!(arrived, self.neighbours(fate.sender), "broadcast {message}: {fate:?}"),
            }
        }
    }

    /// When all are known: every unicast takes the one path, and comes to nobody else.
    fn check_paths(&mut self) {
        let first = self.fates.len();
        for sender in 0..self.hosts.len() {
            let receivers: Vec<_> = self.neighbours(sender).into_iter().map(Some).collect();
            self.send(sender, &receivers);
        }
        self.drain();
        for fate in &self.fates[first..] {
            let receiver = fate.receiver.unwrap();
            assert_eq!(fate.arrived, [receiver], "{fate:?}");
            let [from, to] = [fate.sender, receiver].map(|host| self.hosts[host].at.switch);
            assert_eq!(fate.crossed, from.abs_diff(to), "{fate:?}");
        }
    }

    fn fdb_counters(&self) -> Vec<FdbSnapshot> {
        self.switches.iter().map(|(switch, _)| switch.fdb_counters()).collect()
    }

    /// Frames that were dropped anywhere for `reason`.
    fn drops(&self, reason: DropReason) -> u64 {
        let ports = (0..NETWORKS * PORTS).map(|index| PortIndex::new(index).unwrap());
        let of =
            |port| self.switches.iter().map(move |(switch, _)| switch.counters().port(port).drops(reason));
        ports.flat_map(of).sum()
    }
}

const SEEDS: std::ops::Range<u64> = 0..100;

#[test]
fn without_loss_every_message_arrives_once_where_it_should() {
    for seed in SEEDS {
        let mut world = World::new(seed, 0);
        world.chatter(60);
        assert!(world.switches.iter().any(|(_, worker)| worker.flow_counters().snapshot().hits > 0));
        world.check_always();
        world.check_complete();
    }
}

#[test]
fn with_loss_and_reordering_nothing_is_duplicated_returned_or_leaked() {
    for seed in SEEDS {
        let mut world = World::new(seed, 20);
        world.chatter(100);
        for _ in 0..5 {
            let host = world.chance.below(world.hosts.len());
            world.relocate(host);
            world.chatter(20);
        }
        world.check_always();
        let arrived: usize = world.fates.iter().map(|fate| fate.arrived.len()).sum();
        assert!(
            arrived > 0 && world.fates.iter().any(|fate| fate.arrived.is_empty()),
            "seed {seed} lost nothing"
        );
    }
}

#[test]
fn once_learned_unicast_takes_the_path_and_no_other() {
    for seed in SEEDS {
        let mut world = World::new(seed, 0);
        world.introduce();
        world.check_paths();
        world.check_always();
        let learned = |snapshot: FdbSnapshot| FdbSnapshot { learned: 0, ..snapshot };
        let others: Vec<_> = world.fdb_counters().into_iter().map(learned).collect();
        assert_eq!(others, [FdbSnapshot::default(); SWITCHES], "in peace, nothing but learning happens");
        assert_eq!(world.drops(DropReason::SamePort), 0);
    }
}

#[test]
fn a_host_that_moved_is_followed() {
    for seed in SEEDS {
        let mut world = World::new(seed, 0);
        world.introduce();
        for _ in 0..10 {
            // Within one second an address may move a few times only.
            world.now_ns += 1_000_000_000;
            let host = world.chance.below(world.hosts.len());
            world.relocate(host);
            world.check_paths();
        }
        world.check_always();
        world.check_complete();
    }
}

#[test]
fn who_was_silent_too_long_is_flooded_to_and_found_again() {
    for seed in SEEDS {
        let mut world = World::new(seed, 0);
        world.introduce();
        world.now_ns += 302 * 1_000_000_000;
        for (switch, _) in &world.switches {
            assert!(switch.fdb(Nanos(world.now_ns), &world.policy).is_empty());
            switch.expire(Nanos(world.now_ns), &world.policy, usize::MAX);
        }
        assert!(world.fdb_counters().iter().all(|counted| counted.expired == counted.learned));
        world.chatter(30);
        world.check_always();
        world.check_complete();
        world.introduce();
        world.check_paths();
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed, 10);
        world.chatter(100);
        let host = world.chance.below(world.hosts.len());
        world.relocate(host);
        let counted = world.fdb_counters();
        (world.trace, counted)
    };
    for seed in SEEDS.step_by(10) {
        assert_eq!(run(seed), run(seed));
        assert_ne!(run(seed).0, run(seed + 1).0);
    }
}
