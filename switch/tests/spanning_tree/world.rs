//! A network of bridges in simulated time.

use std::collections::{BTreeMap, BTreeSet};

use viaduct_switch::spanning_tree::{
    Bpdu, BridgeId, Configuration, EdgePort, Effects, MessageRole, PortId, PortSettings, PortState,
    PortStatus, RapidFlags, SpanningTree, Times, TreeSettings, TreeStatus, Vector, Version,
};
use viaduct_switch::{MacAddress, Nanos};

/// Chance, good enough to shuffle a test (SplitMix64: a counter and a mixing function).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// One end of a link: the bridge and its port.
type End = (usize, u16);

/// A link between two ports; with one end only, a host's, or a loop that gives back what it gets.
struct Link {
    ends: Vec<End>,
    is_loop: bool,
    is_up: bool,
    /// Messages lost of a thousand.
    loss: u32,
    /// Bridges that hear nothing.
    deaf: BTreeSet<usize>,
    delay_ms: u64,
}

struct Bridge {
    tree: SpanningTree,
    settings: TreeSettings,
    ports: BTreeMap<u16, (usize, PortSettings)>,
    /// When the tree wants to be called.
    due_ms: Option<u64>,
    states: BTreeMap<u16, PortState>,
    flushed: usize,
}

pub(crate) struct World {
    now_ms: u64,
    bridges: Vec<Bridge>,
    links: Vec<Link>,
    /// Messages on their way, by time of arrival and a number that keeps their order.
    travelling: BTreeMap<(u64, u64), (usize, End, Vec<u8>)>,
    sent: u64,
    /// How many messages each port sent in each second.
    rates: BTreeMap<(End, u64), usize>,
    chance: Chance,
    pub(crate) doubles: bool,
    pub(crate) allows_loops: bool,
    /// Since when frames can go in a circle, and for how long they could at most.
    looping_since_ms: Option<u64>,
    pub(crate) longest_loop_ms: u64,
}

fn address(bridge: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 1, u8::try_from(bridge).unwrap()])
}

impl World {
    pub(crate) fn new(settings: impl IntoIterator<Item = TreeSettings>) -> Self {
        let bridges = settings.into_iter().enumerate().map(|(at, settings)| Bridge {
            tree: SpanningTree::new(settings, address(at), Nanos(0)).unwrap(),
            settings,
            ports: BTreeMap::new(),
            due_ms: None,
            states: BTreeMap::new(),
            flushed: 0,
        });
        Self {
            now_ms: 0,
            bridges: bridges.collect(),
            links: Vec::new(),
            travelling: BTreeMap::new(),
            sent: 0,
            rates: BTreeMap::new(),
            chance: Chance(1),
            doubles: false,
            allows_loops: false,
            looping_since_ms: None,
            longest_loop_ms: 0,
        }
    }

    /// Two to eight bridges, connected somehow.
    pub(crate) fn random(chance: &mut Chance, with_old: bool) -> Self {
        let bridges = 2 + chance.below(7);
        let settings = (0..bridges).map(|_| {
            let priority = 0x1000 * u16::try_from(7 + chance.below(3)).unwrap();
            let is_old = with_old && chance.below(3) == 0;
            let version = if is_old { Version::Stp } else { Version::Rstp };
            TreeSettings { priority, version, ..TreeSettings::default() }
        });
        let mut world = Self::new(settings.collect::<Vec<_>>());
        for bridge in 1..bridges {
            let other = chance.below(bridge);
            world.join(bridge, other, chance);
        }
        for _ in 0..chance.below(2 * bridges) {
            let (one, other) = (chance.below(bridges), chance.below(bridges));
            if one != other {
                world.join(one, other, chance);
            }
        }
        world
    }

    fn join(&mut self, one: usize, other: usize, chance: &mut Chance) {
        let cost = [None, Some(1), Some(20_000), Some(200_000_000)][chance.below(4)];
        let link = self.add_link(false);
        for bridge in [one, other] {
            self.plug(bridge, link, PortSettings { path_cost: cost, ..PortSettings::new(1) });
        }
        self.links[link].delay_ms = 1 + chance.below(20) as u64;
    }

    fn nanos(&self) -> Nanos {
        Nanos(self.now_ms * 1_000_000)
    }

    fn add_link(&mut self, is_loop: bool) -> usize {
        let deaf = BTreeSet::new();
        self.links.push(Link { ends: Vec::new(), is_loop, is_up: false, loss: 0, deaf, delay_ms: 1 });
        self.links.len() - 1
    }

    /// Gives the bridge a port on the link.
    fn plug(&mut self, bridge: usize, link: usize, settings: PortSettings) {
        let number = u16::try_from(self.bridges[bridge].ports.len() + 1).unwrap();
        let settings = PortSettings { number, ..settings };
        self.bridges[bridge].ports.insert(number, (link, settings));
        self.links[link].ends.push((bridge, number));
        let now = self.nanos();
        let effects = self.bridges[bridge].tree.add_port(settings, address(bridge), now).unwrap();
        self.carry_out(bridge, effects);
    }

    /// A link between two bridges, or two ports of one.
    pub(crate) fn link(&mut self, one: usize, other: usize) -> usize {
        let link = self.add_link(false);
        self.plug(one, link, PortSettings::new(1));
        self.plug(other, link, PortSettings::new(1));
        link
    }

    /// The same, and its ports take nothing, or something, for granted about who is there.
    pub(crate) fn link_with(&mut self, one: usize, other: usize, edge: EdgePort) -> usize {
        let link = self.add_link(false);
        self.plug(one, link, PortSettings { edge, ..PortSettings::new(1) });
        self.plug(other, link, PortSettings { edge, ..PortSettings::new(1) });
        link
    }

    /// A link with nothing that speaks at its other end.
    pub(crate) fn host(&mut self, bridge: usize, edge: EdgePort) -> usize {
        let link = self.add_link(false);
        self.plug(bridge, link, PortSettings { edge, ..PortSettings::new(1) });
        link
    }

    /// A link that gives back what it gets.
    pub(crate) fn looped(&mut self, bridge: usize) -> usize {
        let link = self.add_link(true);
        self.plug(bridge, link, PortSettings::new(1));
        link
    }

    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn links_of(&self, bridge: usize) -> Vec<usize> {
        self.bridges[bridge].ports.values().map(|(link, _)| *link).collect()
    }

    pub(crate) fn bring_all_up(&mut self) {
        for link in 0..self.links.len() {
            self.set_link(link, true);
        }
    }

    pub(crate) fn set_link(&mut self, link: usize, is_up: bool) {
        self.links[link].is_up = is_up;
        if !is_up {
            self.travelling.retain(|_, (on, ..)| *on != link);
        }
        let now = self.nanos();
        // The ports of both ends change before anything is said on others.
        let ends = self.links[link].ends.clone();
        let effects: Vec<_> = ends
            .iter()
            .map(|&(bridge, port)| (bridge, self.bridges[bridge].tree.set_link(port, is_up, now)))
            .collect();
        for (bridge, effects) in effects {
            self.carry_out(bridge, effects);
        }
    }

    pub(crate) fn set_loss(&mut self, link: usize, per_mille: u32) {
        self.links[link].loss = per_mille;
    }

    pub(crate) fn set_deaf(&mut self, link: usize, bridge: usize, is_deaf: bool) {
        if is_deaf {
            self.links[link].deaf.insert(bridge);
        } else {
            self.links[link].deaf.remove(&bridge);
        }
    }

    /// Puts a new bridge with the same address and cables in the place of one.
    pub(crate) fn replace(&mut self, bridge: usize, settings: TreeSettings) {
        let up: Vec<usize> =
            self.links_of(bridge).into_iter().filter(|&link| self.links[link].is_up).collect();
        up.iter().for_each(|&link| self.set_link(link, false));
        let now = self.nanos();
        let old = &mut self.bridges[bridge];
        (old.settings, old.tree) = (settings, SpanningTree::new(settings, address(bridge), now).unwrap());
        let ports: Vec<PortSettings> = old.ports.values().map(|(_, settings)| *settings).collect();
        old.states.clear();
        for settings in ports {
            let effects = self.bridges[bridge].tree.add_port(settings, address(bridge), now).unwrap();
            self.carry_out(bridge, effects);
        }
        up.iter().for_each(|&link| self.set_link(link, true));
    }

    /// Something happens: a link fails or recovers, a priority is changed, a bridge begins anew.
    pub(crate) fn disturb(&mut self, chance: &mut Chance) {
        let bridge = chance.below(self.bridges.len());
        match chance.below(8) {
            0 => self.replace(bridge, self.bridges[bridge].settings),
            1 => {
                let priority = 0x1000 * u16::try_from(chance.below(16)).unwrap();
                let settings = TreeSettings { priority, ..self.bridges[bridge].settings };
                self.bridges[bridge].settings = settings;
                let now = self.nanos();
                let effects = self.bridges[bridge].tree.configure(settings, now).unwrap();
                self.carry_out(bridge, effects);
            }
            _ => {
                let link = chance.below(self.links.len());
                self.set_link(link, !self.links[link].is_up);
            }
        }
    }

    /// Lets what is behind a link say something to the bridges on it.
    pub(crate) fn say(&mut self, link: usize, frame: &[u8]) {
        for end in self.links[link].ends.clone() {
            self.deliver(link, end, frame);
        }
    }

    fn deliver(&mut self, link: usize, (bridge, port): End, frame: &[u8]) {
        if self.links[link].is_up {
            let now = self.nanos();
            let effects = self.bridges[bridge].tree.receive(port, frame, now);
            self.carry_out(bridge, effects);
        }
    }

    /// States first, as a switch has to do it.
    fn carry_out(&mut self, bridge: usize, effects: Effects) {
        let now_ms = self.now_ms;
        let here = &mut self.bridges[bridge];
        here.flushed += effects.flushes.len();
        here.states.extend(effects.states.iter().copied());
        here.due_ms = here.tree.next_due_ms().map(|due| now_ms + u64::from(due));
        if !effects.states.is_empty() {
            self.look_for_loops();
        }
        for (port, frame) in effects.frames {
            *self.rates.entry(((bridge, port), now_ms / 1000)).or_default() += 1;
            self.send((bridge, port), frame);
        }
    }

    fn send(&mut self, from: End, frame: Vec<u8>) {
        let number = self.bridges[from.0].ports[&from.1].0;
        let link = &self.links[number];
        let others = link.ends.iter().copied().filter(|end| *end != from || link.is_loop);
        let arrives = self.now_ms + link.delay_ms;
        for end in others.collect::<Vec<_>>() {
            let copies = 1 + usize::from(self.doubles && self.chance.below(4) == 0);
            for _ in 0..copies {
                let is_lost = self.chance.below(1000) < self.links[number].loss as usize;
                if !is_lost && self.links[number].is_up && !self.links[number].deaf.contains(&end.0) {
                    self.sent += 1;
                    self.travelling.insert((arrives, self.sent), (number, end, frame.clone()));
                }
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            let arrival = self.travelling.first_key_value().map(|(&(at, _), _)| at);
            let due = self.bridges.iter().filter_map(|bridge| bridge.due_ms).min();
            let Some(next) = arrival.into_iter().chain(due).min().filter(|&next| next <= end) else { break };
            self.now_ms = self.now_ms.max(next);
            if arrival == Some(next) {
                let (_, (link, to, frame)) = self.travelling.pop_first().unwrap();
                self.deliver(link, to, &frame);
                continue;
            }
            let bridge = self.bridges.iter().position(|bridge| bridge.due_ms == due).unwrap();
            let now = self.nanos();
            let effects = self.bridges[bridge].tree.advance(now);
            self.carry_out(bridge, effects);
            assert!(
                self.bridges[bridge].due_ms.is_none_or(|due| due > self.now_ms),
                "it wants to be called forever"
            );
        }
        self.now_ms = end;
    }

    fn forwards(&self, (bridge, port): End) -> bool {
        self.bridges[bridge].states.get(&port) == Some(&PortState::Forwarding)
    }

    /// Whether frames cross the link.
    pub(crate) fn is_open(&self, link: usize) -> bool {
        let link = &self.links[link];
        link.is_up && link.ends.iter().all(|&end| self.forwards(end))
    }

    /// Components of bridges joined by `links`, as the least bridge of each; and the links that close a circle.
    fn components(&self, links: impl Iterator<Item = usize>) -> (Vec<usize>, Vec<usize>) {
        let mut of: Vec<usize> = (0..self.bridges.len()).collect();
        let mut circles = Vec::new();
        for number in links {
            let link = &self.links[number];
            let (one, other) = match link.ends[..] {
                [(one, _), (other, _)] => (of[one], of[other]),
                [(one, _)] if link.is_loop => (of[one], of[one]),
                _ => continue,
            };
            if one == other {
                circles.push(number);
            }
            let (least, most) = (one.min(other), one.max(other));
            of.iter_mut().filter(|component| **component == most).for_each(|component| *component = least);
        }
        (of, circles)
    }

    fn look_for_loops(&mut self) {
        let open = (0..self.links.len()).filter(|&link| self.is_open(link));
        let (_, circles) = self.components(open);
        let is_fine = circles.is_empty() || self.allows_loops;
        assert!(is_fine, "a loop at {} ms: links {circles:?}\n{}", self.now_ms, self.describe());
        if circles.is_empty() {
            let since = self.looping_since_ms.take();
            let lasted = since.map_or(0, |since| self.now_ms - since);
            self.longest_loop_ms = self.longest_loop_ms.max(lasted);
        } else {
            self.looping_since_ms.get_or_insert(self.now_ms);
        }
    }

    /// Every bridge that can be reached is reached, in one way, and all agree about the root, which is the best.
    pub(crate) fn assert_one_tree(&self) {
        let (by_links, _) = self.components((0..self.links.len()).filter(|&link| self.links[link].is_up));
        let (by_tree, circles) = self.components((0..self.links.len()).filter(|&link| self.is_open(link)));
        assert!(circles.is_empty(), "a loop at {} ms\n{}", self.now_ms, self.describe());
        assert_eq!(by_links, by_tree, "not all can be reached at {} ms\n{}", self.now_ms, self.describe());
        for (bridge, component) in by_links.iter().enumerate() {
            let members = by_links.iter().enumerate().filter(|(_, other)| *other == component);
            let best = members.map(|(at, _)| self.status(at).bridge).min().unwrap();
            assert_eq!(self.status(bridge).root, best, "bridge {bridge}\n{}", self.describe());
        }
    }

    fn describe(&self) -> String {
        let lines = self.bridges.iter().enumerate().flat_map(|(at, bridge)| {
            let status = bridge.tree.status();
            let head = format!(
                "bridge {at} {:?}: root {} cost {}",
                bridge.settings.version, status.root, status.root_cost
            );
            let port = move |port: PortStatus| {
                format!(
                    "  port {} on link {}: {:?} {:?} rstp {} edge {} from {}",
                    port.number,
                    bridge.ports[&port.number].0,
                    port.role,
                    port.state,
                    port.speaks_rstp,
                    port.is_edge,
                    port.designated.bridge
                )
            };
            std::iter::once(head).chain(bridge.tree.ports().map(port))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = PortStatus> {
        self.bridges.iter().flat_map(|bridge| bridge.tree.ports())
    }

    pub(crate) fn port(&self, bridge: usize, link: usize) -> PortStatus {
        let (_, number) = *self.links[link].ends.iter().find(|end| end.0 == bridge).unwrap();
        self.bridges[bridge].tree.ports().find(|port| port.number == number).unwrap()
    }

    pub(crate) fn status(&self, bridge: usize) -> TreeStatus {
        self.bridges[bridge].tree.status()
    }

    pub(crate) fn flushed(&self, bridge: usize) -> usize {
        self.bridges[bridge].flushed
    }

    pub(crate) fn most_sent_in_a_second(&self) -> usize {
        self.rates.values().copied().max().unwrap_or(0)
    }

    /// A message that nobody honest sends: with claims of `bridge` and others in it, or plain nonsense.
    pub(crate) fn made_up(&self, bridge: usize, chance: &mut Chance) -> Vec<u8> {
        let any = |chance: &mut Chance| {
            let priority = 0x1000 * u16::try_from(chance.below(16)).unwrap();
            BridgeId::new(priority, address(chance.below(6)))
        };
        let flag = |chance: &mut Chance| chance.below(2) == 0;
        let role =
            [MessageRole::AlternateOrBackup, MessageRole::Root, MessageRole::Designated][chance.below(3)];
        let rapid = RapidFlags {
            proposal: flag(chance),
            learning: flag(chance),
            forwarding: flag(chance),
            agreement: flag(chance),
        };
        let time = |chance: &mut Chance| [0, 1, 255, 256, 512, 5120, 0xffff][chance.below(7)];
        let message = Configuration {
            rapid: flag(chance).then_some(rapid),
            role,
            change: flag(chance),
            acknowledged: flag(chance),
            vector: Vector {
                root: if flag(chance) { self.status(bridge).root } else { any(chance) },
                cost: [0, 1, 2000, u32::MAX][chance.below(4)],
                bridge: if flag(chance) { self.status(bridge).bridge } else { any(chance) },
                port: PortId::new(chance.byte(), u16::try_from(1 + chance.below(4)).unwrap()),
            },
            times: Times {
                message_age: time(chance),
                max_age: time(chance),
                hello_time: time(chance),
                forward_delay: time(chance),
            },
        };
        let message = if chance.below(8) == 0 { Bpdu::Notification } else { Bpdu::Configuration(message) };
        let mut frame = message.frame(address(200));
        if chance.below(4) == 0 {
            let at = 12 + chance.below(frame.len() - 12);
            frame[at] = chance.byte();
        }
        frame
    }
}
