//! Two systems that agree by LACP about the links between them, in a simulated network with losses, duplicates and
//! delays; and partners that lie, fall silent or are somebody else.
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use viaduct_switch::lacp::pdu::{Lacpdu, Marker, Message, SlowFrame};
use viaduct_switch::lacp::{
    ChurnState, Flag, Lacp, LinkSettings, LinkStatus, Medium, MuxState, PortInfo, Rate, ReceiveState,
    Settings, State, SystemId,
};
use viaduct_switch::{MacAddress, Nanos};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const GIGABIT: Medium = Medium { speed_mbit: 1000, full_duplex: true };

fn settings(system: u8) -> Settings {
    Settings {
        system: SystemId { priority: 0x8000, address: MacAddress([2, 0, 0, 0, 1, system]) },
        key: 7,
        rate: Rate::Fast,
        active: true,
        fallback: true,
    }
}

fn lacp(settings: Settings, links: usize) -> Lacp {
    let link = |at: usize| LinkSettings {
        address: MacAddress([2, 0, 0, 0, settings.system.address.0[5], u8::try_from(at).unwrap()]),
        priority: 0x8000,
    };
    Lacp::new(settings, &(0..links).map(link).collect::<Vec<_>>(), Nanos(0))
}

fn status(lacp: &Lacp, link: usize) -> LinkStatus {
    lacp.status().nth(link).unwrap()
}

/// One end of a cable: a system and its link.
type End = (usize, usize);

/// Chance, good enough to shuffle a test (SplitMix64: a counter and a mixing function).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Systems, the cables between their links, and what is on the way.
struct Net {
    systems: Vec<Lacp>,
    cables: Vec<[End; 2]>,
    /// Cables that lose all frames but keep their carrier.
    silent: Vec<usize>,
    /// By arrival; on one cable nothing is overtaken.
    flying: BTreeMap<(u64, u64), (End, SlowFrame)>,
    last_arrival: BTreeMap<End, u64>,
    sent: Vec<(u64, End, SlowFrame)>,
    chance: Chance,
    loss_percent: u64,
    now: u64,
    number: u64,
}

impl Net {
    fn new(systems: Vec<Lacp>, cables: Vec<[End; 2]>) -> Self {
        Self {
            systems,
            cables,
            silent: Vec::new(),
            flying: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            sent: Vec::new(),
            chance: Chance(1),
            loss_percent: 0,
            now: 0,
            number: 0,
        }
    }

    /// Two systems, the links with one number connected, all with carrier.
    fn pair(one: Settings, other: Settings, links: usize) -> Self {
        let cables = (0..links).map(|link| [(0, link), (1, link)]).collect();
        let mut net = Self::new(vec![lacp(one, links), lacp(other, links)], cables);
        (0..links).for_each(|cable| net.plug(cable, Some(GIGABIT)));
        net
    }

    fn plug(&mut self, cable: usize, medium: Option<Medium>) {
        for (system, link) in self.cables[cable] {
            self.systems[system].set_medium(link, medium, Nanos(self.now));
        }
        self.collect();
    }

    /// Takes what the systems want to send.
    fn collect(&mut self) {
        for system in 0..self.systems.len() {
            while let Some((link, frame)) = self.systems[system].next_frame() {
                self.sent.push((self.now, (system, link), frame));
                self.send((system, link), frame);
            }
        }
    }

    fn send(&mut self, from: End, frame: SlowFrame) {
        let cable = self.cables.iter().position(|ends| ends.contains(&from));
        let Some(cable) = cable.filter(|cable| !self.silent.contains(cable)) else { return };
        let [one, other] = self.cables[cable];
        let to = if from == one { other } else { one };
        for _ in 0..2 {
            if self.chance.below(100) >= self.loss_percent {
                let delay = if self.loss_percent == 0 { 1000 } else { self.chance.below(50 * MS) };
                self.number += 1;
                let last = self.last_arrival.entry(to).or_default();
                *last = (*last).max(self.now + delay);
                self.flying.insert((*last, self.number), (to, frame));
            }
            // A second copy only where the network is bad.
            if self.loss_percent == 0 || self.chance.below(100) >= 10 {
                return;
            }
        }
    }

    /// Lets time pass; `watch` is called whenever something has happened.
    fn run(&mut self, for_ns: u64, mut watch: impl FnMut(u64, &[Lacp])) {
        let end = self.now + for_ns;
        loop {
            let due =
                self.systems.iter().filter_map(|system| system.due()).min().map_or(u64::MAX, |due| due.0);
            let arrival = self.flying.keys().next().map_or(u64::MAX, |(at, _)| *at);
            let next = due.min(arrival);
            if next > end {
                break;
            }
            assert!(next >= self.now, "something was due in the past");
            self.now = next;
            if arrival == next {
                let ((_, _), ((system, link), frame)) = self.flying.pop_first().unwrap();
                self.systems[system].receive(link, &frame, Nanos(next));
            } else {
                self.systems.iter_mut().for_each(|system| system.advance(Nanos(next)));
            }
            self.collect();
            let rests = self.systems.iter().all(|system| system.due().is_none_or(|due| due.0 > next));
            assert!(rests || arrival == next, "something that was due is due again");
            watch(next, &self.systems);
        }
        self.now = end;
    }

    fn pass(&mut self, for_ns: u64) {
        self.run(for_ns, |_, _| ());
    }

    /// Which links of a system distribute.
    fn distributing(&self, system: usize) -> Vec<usize> {
        (0..16).filter(|link| self.systems[system].distributes(*link)).collect()
    }

    fn status(&self, system: usize, link: usize) -> LinkStatus {
        status(&self.systems[system], link)
    }

    /// The times at which LACPDUs were sent by this end.
    fn sent_by(&self, end: End) -> Vec<u64> {
        self.sent.iter().filter(|(_, from, _)| *from == end).map(|(at, _, _)| *at).collect()
    }
}

/// The most frames within any second.
fn busiest_second(times: &[u64]) -> usize {
    let from = |start: &u64| times.iter().filter(|at| (*start..start + SECOND).contains(*at)).count();
    times.iter().map(from).max().unwrap_or(0)
}

#[test]
fn two_systems_agree_on_all_links_within_the_time_that_links_wait_for_one_another() {
    let mut net = Net::pair(settings(1), settings(2), 4);
    net.pass(2 * SECOND - MS);
    assert_eq!(net.distributing(0), [], "links wait 2 s for others");
    // And a second for what the limit of three LACPDUs a second holds back.
    net.pass(SECOND + 100 * MS);
    for system in [0, 1] {
        assert_eq!(net.distributing(system), [0, 1, 2, 3]);
        let status = net.status(system, 2);
        assert_eq!((status.receive, status.mux), (ReceiveState::Current, MuxState::Distributing));
        assert!(status.enabled && status.selected && !status.looped);
        assert_eq!(status.actor.state.0 & 0xfc, 0x3c, "{:?}", status.actor.state);
        assert_eq!(status.actor.port, 3);
        assert_eq!(status.partner.port, 3);
        assert_eq!(status.partner.system.address.0[5], if system == 0 { 2 } else { 1 });
        assert_eq!(status.actor_churn, ChurnState::NoChurn);
        assert_eq!(status.partner_churn, ChurnState::NoChurn);
        assert_eq!(status.actor.key, 0x4007, "the key and the code of 1 Gbit/s");
    }
    // Each end's picture of the other one is right.
    net.pass(2 * SECOND);
    for link in 0..4 {
        assert_eq!(net.status(0, link).partner, net.status(1, link).actor);
        assert_eq!(net.status(1, link).partner, net.status(0, link).actor);
    }
}

#[test]
fn a_link_collects_before_the_other_end_distributes() {
    for seed in 0..20 {
        let mut net = Net::pair(settings(1), settings(2), 2);
        net.chance = Chance(seed);
        net.loss_percent = 20;
        let mut before = [[false; 2]; 2];
        net.run(10 * SECOND, |at, systems| {
            for (one, other, link) in [(0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1)] {
                let distributes = systems[one].distributes(link);
                if distributes && !before[one][link] {
                    assert!(systems[one].collects(link));
                    assert!(systems[other].collects(link), "seed {seed}, {at} ns, link {link}");
                }
                before[one][link] = distributes;
            }
        });
        net.loss_percent = 0;
        net.pass(5 * SECOND);
        assert_eq!(net.distributing(0), [0, 1], "seed {seed}");
    }
}

#[test]
fn fast_ends_tell_each_second_and_slow_ones_every_thirty() {
    for (rate, period_s) in [(Rate::Fast, 1), (Rate::Slow, 30)] {
        let settings = |system| Settings { rate, ..settings(system) };
        let mut net = Net::pair(settings(1), settings(2), 1);
        net.pass(10 * SECOND);
        net.sent.clear();
        net.pass(300 * SECOND);
        let times = net.sent_by((0, 0));
        assert_eq!(times.len(), 300 / period_s, "{rate:?}");
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.into_iter().all(|gap| gap == period_s as u64 * SECOND));
        assert_eq!(net.distributing(0), [0]);
    }
}

#[test]
fn each_end_is_told_as_often_as_it_asked_for() {
    let slow = Settings { rate: Rate::Slow, ..settings(2) };
    let mut net = Net::pair(settings(1), slow, 1);
    net.pass(10 * SECOND);
    net.sent.clear();
    net.pass(60 * SECOND);
    assert_eq!(net.sent_by((0, 0)).len(), 2, "to the slow one");
    assert_eq!(net.sent_by((1, 0)).len(), 60, "to the fast one");
}

#[test]
fn a_partner_that_falls_silent_is_gone_after_three_seconds_or_ninety() {
    for (rate, timeout_s) in [(Rate::Fast, 3), (Rate::Slow, 90)] {
        let settings = |system| Settings { rate, ..settings(system) };
        let mut net = Net::pair(settings(1), settings(2), 2);
        net.pass(100 * SECOND);
        net.silent = vec![1];
        let heard = *net.sent_by((1, 1)).last().unwrap() + 1000;
        let mut lost = None;
        net.run(heard + (timeout_s + 1) * SECOND - net.now, |at, systems| {
            if !systems[0].distributes(1) && lost.is_none() {
                lost = Some(at);
            }
        });
        assert_eq!(lost, Some(heard + timeout_s * SECOND), "{rate:?}");
        let status = net.status(0, 1);
        assert_eq!((status.receive, status.mux), (ReceiveState::Expired, MuxState::Attached));
        assert!(status.actor.state.has(Flag::Expired) && status.partner.state.has(Flag::ShortTimeout));
        assert_eq!(status.counters.withdrawals, 1);
        // Three seconds later nothing is left of it.
        net.pass(3 * SECOND);
        let status = net.status(0, 1);
        assert_eq!((status.receive, status.mux), (ReceiveState::Defaulted, MuxState::Detached));
        assert!(status.actor.state.has(Flag::Defaulted) && !status.actor.state.has(Flag::Expired));
        assert!(!status.selected);
        assert_eq!(net.distributing(0), [0], "the other one goes on");
        // And when it can be heard again, it comes back.
        net.silent.clear();
        net.pass(if rate == Rate::Fast { 6 } else { 40 } * SECOND);
        assert_eq!(net.distributing(0), [0, 1]);
        assert_eq!(net.distributing(1), [0, 1]);
    }
}

#[test]
fn a_link_without_carrier_is_out_at_once_and_comes_back_when_it_has_waited() {
    let mut net = Net::pair(settings(1), settings(2), 2);
    net.pass(5 * SECOND);
    net.plug(0, None);
    for system in [0, 1] {
        assert_eq!(net.distributing(system), [1]);
        assert!(!net.systems[system].collects(0));
        let status = net.status(system, 0);
        assert_eq!((status.receive, status.mux), (ReceiveState::PortDisabled, MuxState::Detached));
        assert!(!status.enabled && !status.selected);
    }
    let before = net.sent_by((0, 0)).len();
    net.pass(200 * SECOND);
    assert_eq!(net.sent_by((0, 0)).len(), before, "nothing is sent into the void");
    assert_eq!(net.status(0, 0).actor_churn, ChurnState::Monitor, "and nobody is blamed");
    net.plug(0, Some(GIGABIT));
    net.pass(1900 * MS);
    assert_eq!(net.distributing(0), [1]);
    net.pass(200 * MS);
    assert_eq!(net.distributing(0), [0, 1]);
    assert_eq!(net.distributing(1), [0, 1]);
}

#[test]
fn an_lacpdu_on_a_link_without_carrier_says_nothing() {
    let mut one = lacp(settings(1), 1);
    let info = status(&one, 0).actor;
    one.receive(0, &Lacpdu::new(info, info).encode(MacAddress([2; 6])), Nanos(5));
    assert_eq!(status(&one, 0).receive, ReceiveState::PortDisabled);
    assert_eq!(one.next_frame(), None);
    assert_eq!(one.due(), None);
    assert_eq!(status(&one, 0).counters.received, 1);
}

#[test]
fn without_any_partner_one_link_carries_all_or_none_does() {
    for fallback in [true, false] {
        let mut net = Net::pair(Settings { fallback, ..settings(1) }, settings(2), 3);
        net.silent = vec![0, 1, 2];
        net.flying.clear();
        net.pass(5 * SECOND - MS);
        assert_eq!(net.distributing(0), [], "3 s until it is clear, 2 s for others to come");
        net.pass(100 * MS);
        let expected: &[usize] = if fallback { &[0] } else { &[] };
        assert_eq!(net.distributing(0), expected);
        net.pass(300 * SECOND);
        assert_eq!(net.distributing(0), expected, "it stays so");
        // A partner on another link takes over, and then all links are one group.
        net.silent = vec![0, 1];
        net.pass(4 * SECOND);
        assert_eq!(net.distributing(0), [2]);
        net.silent.clear();
        net.pass(4 * SECOND);
        assert_eq!(net.distributing(0), [0, 1, 2]);
    }
}

#[test]
fn only_links_to_one_system_are_together_and_the_one_in_service_stays() {
    // Links 0 and 1 go to one system, 2 and 3 to another.
    let systems = vec![lacp(settings(1), 4), lacp(settings(2), 2), lacp(settings(3), 2)];
    let cables = vec![[(0, 0), (1, 0)], [(0, 1), (1, 1)], [(0, 2), (2, 0)], [(0, 3), (2, 1)]];
    let mut net = Net::new(systems, cables);
    (0..4).for_each(|cable| net.plug(cable, Some(GIGABIT)));
    net.pass(4 * SECOND);
    assert_eq!(net.distributing(0), [0, 1]);
    assert_eq!(net.distributing(2), [], "the other one sees that it is not wanted");
    let waiting = net.status(0, 3);
    assert_eq!((waiting.receive, waiting.mux), (ReceiveState::Current, MuxState::Detached));
    net.plug(0, None);
    net.pass(4 * SECOND);
    assert_eq!(net.distributing(0), [1], "a group in service stays");
    net.plug(1, None);
    net.pass(4 * SECOND);
    assert_eq!(net.distributing(0), [2, 3]);
    assert_eq!(net.distributing(2), [0, 1]);
    net.plug(0, Some(GIGABIT));
    net.plug(1, Some(GIGABIT));
    net.pass(10 * SECOND);
    assert_eq!(net.distributing(0), [2, 3], "and no cable that comes back moves it");
}

#[test]
fn of_two_groups_the_faster_one_and_then_the_larger_one_is_taken() {
    let two_systems = || {
        let systems = vec![lacp(settings(1), 3), lacp(settings(2), 1), lacp(settings(3), 2)];
        Net::new(systems, vec![[(0, 0), (1, 0)], [(0, 1), (2, 0)], [(0, 2), (2, 1)]])
    };
    // All partners are heard at the same moment, after the system in the middle has come.
    let mut larger = two_systems();
    larger.silent = vec![0, 1, 2];
    (0..3).for_each(|cable| larger.plug(cable, Some(GIGABIT)));
    larger.pass(100 * SECOND);
    larger.silent.clear();
    larger.plug(0, None);
    larger.pass(6 * SECOND);
    assert_eq!(larger.distributing(0), [1, 2]);
    let mut faster = two_systems();
    faster.plug(0, Some(Medium { speed_mbit: 10_000, ..GIGABIT }));
    faster.plug(1, Some(GIGABIT));
    faster.plug(2, Some(GIGABIT));
    faster.pass(4 * SECOND);
    assert_eq!(faster.distributing(0), [0]);
}

#[test]
fn links_of_different_speeds_are_not_together() {
    let mut net = Net::pair(settings(1), settings(2), 3);
    net.plug(1, Some(Medium { speed_mbit: 10_000, ..GIGABIT }));
    net.pass(4 * SECOND);
    assert_eq!(net.distributing(0), [0, 2], "the group that came first");
    assert_eq!(net.status(0, 1).actor.key, 0x7007);
    // A speed that changes takes the link out of its group and into the other one.
    net.plug(1, Some(GIGABIT));
    net.pass(4 * SECOND);
    assert_eq!(net.distributing(0), [0, 1, 2]);
    net.plug(0, Some(Medium { speed_mbit: 100, ..GIGABIT }));
    assert_eq!(net.distributing(0), [1, 2]);
}

#[test]
fn the_codes_of_speeds_rise_and_tell_the_usual_ones_apart() {
    let key = |speed_mbit| {
        let mut one = lacp(settings(1), 1);
        one.set_medium(0, Some(Medium { speed_mbit, full_duplex: true }), Nanos(0));
        status(&one, 0).actor.key >> 12
    };
    let usual =
        [0, 1, 10, 100, 1000, 2500, 5000, 10_000, 20_000, 25_000, 40_000, 50_000, 100_000, 200_000, 400_000];
    let codes: Vec<_> = usual.into_iter().map(key).collect();
    assert_eq!(codes, (0..15).collect::<Vec<_>>());
    assert_eq!(key(800_000), 15);
    assert_eq!(key(u32::MAX), 15);
}

#[test]
fn a_half_duplex_link_stands_alone() {
    let half = Medium { full_duplex: false, ..GIGABIT };
    let mut net = Net::pair(settings(1), settings(2), 2);
    (0..2).for_each(|cable| net.plug(cable, Some(half)));
    net.pass(5 * SECOND);
    assert_eq!(net.distributing(0).len(), 1);
    assert!(!net.status(0, 0).actor.state.has(Flag::Aggregation));
}

#[test]
fn links_that_lead_back_to_ourselves_carry_nothing() {
    // Links 0 and 1 are connected with each other, 2 hears itself, 3 goes to a partner.
    let systems = vec![lacp(settings(1), 4), lacp(settings(2), 1)];
    let mut net = Net::new(systems, vec![[(0, 0), (0, 1)], [(0, 2), (0, 2)], [(0, 3), (1, 0)]]);
    net.plug(0, Some(GIGABIT));
    net.plug(1, Some(GIGABIT));
    net.run(100 * SECOND, |_, systems| assert!((0..4).all(|link| !systems[0].collects(link))));
    assert!(net.status(0, 0).looped && net.status(0, 2).looped);
    net.plug(2, Some(GIGABIT));
    net.pass(4 * SECOND);
    assert_eq!(net.distributing(0), [3]);
    assert!(!net.status(0, 3).looped);
    assert!((0..3).all(|link| busiest_second(&net.sent_by((0, link))) <= 3));
}

#[test]
fn two_passive_ends_say_nothing_and_one_active_end_is_enough() {
    let passive = |system| Settings { active: false, fallback: false, ..settings(system) };
    let mut net = Net::pair(passive(1), passive(2), 2);
    net.pass(100 * SECOND);
    assert!(net.sent.is_empty());
    assert_eq!(net.distributing(0), []);
    let mut net = Net::pair(passive(1), settings(2), 2);
    net.pass(4 * SECOND);
    assert_eq!(net.distributing(0), [0, 1]);
    assert_eq!(net.distributing(1), [0, 1]);
    net.sent.clear();
    net.pass(10 * SECOND);
    assert_eq!(net.sent_by((0, 0)).len(), 10, "the passive one answers as often as it was asked");
}

/// A partner that says what a test wants.
struct Puppet {
    actor: PortInfo,
    /// What it claims to know of us.
    partner: Option<PortInfo>,
}

impl Puppet {
    fn new(system: u8) -> Self {
        let system = SystemId { priority: 1, address: MacAddress([2, 0, 0, 0, 9, system]) };
        Self {
            actor: PortInfo { system, key: 5, port_priority: 2, port: 3, state: State(0x3f) },
            partner: None,
        }
    }

    fn say(&self, to: &mut Lacp, link: usize, now: u64) {
        let partner = self.partner.unwrap_or_else(|| status(to, link).actor);
        to.receive(
            link,
            &Lacpdu::new(self.actor, partner).encode(MacAddress([2, 0, 0, 0, 9, 9])),
            Nanos(now),
        );
    }
}

/// What a puppet does otherwise.
type Change = fn(&mut Puppet);

/// A bond of two links that both distribute, with a puppet at each.
fn served() -> (Lacp, [Puppet; 2], u64) {
    let (mut one, mut puppets) = (lacp(settings(1), 2), [Puppet::new(1), Puppet::new(1)]);
    puppets[1].actor.port = 4;
    (0..2).for_each(|link| one.set_medium(link, Some(GIGABIT), Nanos(0)));
    for tick in 0..30 {
        puppets.iter().enumerate().for_each(|(link, puppet)| puppet.say(&mut one, link, tick * 100 * MS));
        while one.next_frame().is_some() {}
    }
    assert!(one.distributes(0) && one.distributes(1));
    (one, puppets, 3 * SECOND)
}

#[test]
fn a_partner_that_becomes_another_port_is_let_go_and_taken_anew() {
    let changes: [fn(&mut PortInfo); 6] = [
        |actor| actor.key += 1,
        |actor| actor.port += 1,
        |actor| actor.port_priority += 1,
        |actor| actor.system.priority += 1,
        |actor| actor.system.address.0[5] += 1,
        |actor| actor.state.set(Flag::Aggregation, false),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut one, mut puppets, now) = served();
        change(&mut puppets[0].actor);
        puppets[0].say(&mut one, 0, now);
        assert!(!one.collects(0) && !one.distributes(0), "change {number}");
        assert!(one.distributes(1), "the other link is not concerned");
        assert!(status(&one, 0).mux <= MuxState::Waiting);
        // All links change: they are one group again after the wait.
        change(&mut puppets[1].actor);
        for tick in 0..50 {
            (0..2).for_each(|link| puppets[link].say(&mut one, link, now + tick * 100 * MS));
        }
        assert!(one.distributes(0) || one.distributes(1), "change {number}");
    }
}

#[test]
fn a_partner_in_sync_has_to_mean_us_and_go_on_telling() {
    let cases: [(Change, bool); 9] = [
        (|_| (), true),
        (|puppet| puppet.actor.state.set(Flag::Synchronization, false), false),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.port += 1), false),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.key += 1), false),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.system.address.0[0] = 0), false),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.state.set(Flag::Aggregation, false)), false),
        // It is passive, but knows that we are not.
        (|puppet| puppet.actor.state.set(Flag::Activity, false), true),
        (
            |puppet| {
                puppet.actor.state.set(Flag::Activity, false);
                puppet.partner.iter_mut().for_each(|us| us.state.set(Flag::Activity, false));
            },
            false,
        ),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.state = State(us.state.0 & 7)), true),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let (mut one, mut puppets, now) = served();
        puppets[0].partner = Some(status(&one, 0).actor);
        change(&mut puppets[0]);
        puppets[0].say(&mut one, 0, now);
        assert_eq!(one.distributes(0), expected, "case {number}");
        assert_eq!(status(&one, 0).partner.state.has(Flag::Synchronization), expected, "case {number}");
    }
}

#[test]
fn a_passive_end_needs_an_active_partner() {
    let mut one = lacp(Settings { active: false, ..settings(1) }, 1);
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    let mut puppet = Puppet::new(1);
    puppet.actor.state.set(Flag::Activity, false);
    // It claims that we are active, and so would go on; but we are not.
    puppet.partner = Some(PortInfo { state: State(0xff), ..status(&one, 0).actor });
    puppet.say(&mut one, 0, SECOND);
    assert!(!status(&one, 0).partner.state.has(Flag::Synchronization));
    puppet.actor.state.set(Flag::Activity, true);
    puppet.say(&mut one, 0, SECOND);
    assert!(status(&one, 0).partner.state.has(Flag::Synchronization));
}

#[test]
fn a_partner_that_stands_alone_needs_not_know_us() {
    let mut one = lacp(settings(1), 1);
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    let mut puppet = Puppet::new(1);
    puppet.actor.state.set(Flag::Aggregation, false);
    puppet.partner = Some(PortInfo { port: 77, ..status(&one, 0).actor });
    puppet.say(&mut one, 0, SECOND);
    assert!(status(&one, 0).partner.state.has(Flag::Synchronization));
    puppet.say(&mut one, 0, 3 * SECOND);
    assert!(one.distributes(0));
}

#[test]
fn a_partner_that_does_not_collect_gets_nothing_and_one_out_of_sync_is_not_heard() {
    let (mut one, mut puppets, now) = served();
    puppets[0].actor.state.set(Flag::Collecting, false);
    puppets[0].say(&mut one, 0, now);
    assert!(one.collects(0) && !one.distributes(0));
    assert_eq!(status(&one, 0).mux, MuxState::Collecting);
    assert_eq!(status(&one, 0).counters.withdrawals, 1);
    puppets[0].actor.state.set(Flag::Synchronization, false);
    puppets[0].say(&mut one, 0, now);
    assert!(!one.collects(0));
    assert_eq!(status(&one, 0).mux, MuxState::Attached);
    puppets[0].actor.state = State(0x3f);
    puppets[0].say(&mut one, 0, now);
    assert!(one.distributes(0), "no wait: it never left the group");
    assert_eq!(status(&one, 0).counters.withdrawals, 1);
}

#[test]
fn whoever_has_us_wrong_hears_from_us_but_not_more_than_three_times_a_second() {
    let (mut one, mut puppets, start) = served();
    let wrong: [fn(&mut PortInfo); 5] = [
        |us| us.port += 1,
        |us| us.state.set(Flag::Activity, false),
        |us| us.state.set(Flag::ShortTimeout, false),
        |us| us.state.set(Flag::Synchronization, false),
        |us| us.state.set(Flag::Aggregation, false),
    ];
    for change in wrong {
        let now = start + 100 * SECOND;
        let (mut one, puppets, _) = served();
        let mut puppet = Puppet { actor: puppets[0].actor, partner: Some(status(&one, 0).actor) };
        // Nothing was sent for long; the periodic one is taken first.
        one.advance(Nanos(now));
        while one.next_frame().is_some() {}
        puppet.partner = Some(status(&one, 0).actor);
        puppet.say(&mut one, 0, now + 1);
        while one.next_frame().is_some() {}
        puppet.partner = Some(status(&one, 0).actor);
        puppet.say(&mut one, 0, now + 2);
        assert_eq!(one.next_frame(), None, "who has us right hears nothing");
        puppet.partner.iter_mut().for_each(change);
        puppet.say(&mut one, 0, now + 3);
        assert!(one.next_frame().is_some());
    }
    // Collecting and distributing are not compared.
    let start = start + 10 * SECOND;
    one.advance(Nanos(start));
    (0..2).for_each(|link| puppets[link].say(&mut one, link, start));
    one.advance(Nanos(start + SECOND));
    while one.next_frame().is_some() {}
    let start = start + SECOND + 1;
    puppets[0].partner = Some(status(&one, 0).actor);
    puppets[0].partner.iter_mut().for_each(|us| us.state = State(us.state.0 & 0x0f));
    puppets[0].say(&mut one, 0, start);
    assert_eq!(one.next_frame(), None);
    puppets[0].partner.iter_mut().for_each(|us| us.port += 1);
    let mut times = Vec::new();
    for tick in 0..1000 {
        let now = start + tick * 10 * MS;
        puppets[0].say(&mut one, 0, now);
        while let Some((link, _)) = one.next_frame() {
            times.extend((link == 0).then_some(now));
        }
    }
    assert_eq!(busiest_second(&times), 3);
    assert!((28..=30).contains(&times.len()), "{} in ten seconds", times.len());
}

#[test]
fn what_has_to_wait_is_due_when_it_may_go() {
    let mut one = lacp(settings(1), 1);
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    let mut puppet = Puppet::new(1);
    puppet.partner = Some(PortInfo { port: 77, ..status(&one, 0).actor });
    for now in [0, 100 * MS, 200 * MS] {
        puppet.say(&mut one, 0, now);
        assert!(one.next_frame().is_some(), "{now}");
    }
    puppet.say(&mut one, 0, 300 * MS);
    assert_eq!(one.next_frame(), None);
    assert_eq!(one.due(), Some(Nanos(SECOND)));
    one.advance(Nanos(SECOND - 1));
    assert_eq!(one.next_frame(), None);
    one.advance(Nanos(SECOND));
    assert!(one.next_frame().is_some());
    assert_eq!(status(&one, 0).counters.sent, 4);
}

#[test]
fn markers_are_answered_five_times_a_second_and_not_without_carrier() {
    let mut request = [0; 124];
    request[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 2]);
    request[6..12].copy_from_slice(&[2, 0, 0, 0, 9, 9]);
    request[12..18].copy_from_slice(&[0x88, 0x09, 2, 1, 1, 16]);
    let Ok(Message::Marker(_)) = Message::decode(&request) else { panic!("no marker") };
    let answers = |one: &mut Lacp| {
        std::iter::from_fn(|| one.next_frame()).filter(|(_, frame)| frame[14] == 2).collect::<Vec<_>>()
    };
    let mut one = lacp(settings(1), 1);
    one.receive(0, &request, Nanos(0));
    assert!(answers(&mut one).is_empty());
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    assert!(answers(&mut one).is_empty(), "that one is not answered later either");
    let mut answered = Vec::new();
    for tick in 0..300 {
        request[31] = u8::try_from(tick % 256).unwrap();
        one.receive(0, &request, Nanos(tick * 10 * MS));
        for (link, frame) in answers(&mut one) {
            assert_eq!((link, frame[16], frame[31]), (0, 2, request[31]));
            assert_eq!(frame[6..12], [2, 0, 0, 0, 1, 0], "from the link's own address");
            answered.push(tick * 10 * MS);
        }
    }
    assert_eq!(answered.len(), 15);
    assert_eq!(busiest_second(&answered), 5);
    let counters = status(&one, 0).counters;
    assert_eq!((counters.markers_answered, counters.markers_ignored), (15, 286));
    // Asked, and then the cable is pulled: no answer, then or later.
    one.receive(0, &request, Nanos(10 * SECOND));
    one.set_medium(0, None, Nanos(10 * SECOND));
    assert!(answers(&mut one).is_empty());
    one.set_medium(0, Some(GIGABIT), Nanos(10 * SECOND));
    assert!(answers(&mut one).is_empty());
    let _: Option<Marker> = None;
}

#[test]
fn a_partners_port_that_was_plugged_elsewhere_is_forgotten_where_it_was() {
    let (mut one, puppets, now) = served();
    one.set_medium(0, None, Nanos(now));
    assert_eq!(status(&one, 0).partner.port, 3);
    puppets[1].say(&mut one, 1, now);
    assert_eq!(status(&one, 0).partner.port, 3, "another port of the same system");
    let mut other = Puppet::new(2);
    other.say(&mut one, 1, now);
    assert_eq!(status(&one, 0).partner.port, 3, "the same port of another system");
    other.actor = puppets[0].actor;
    other.say(&mut one, 1, now);
    let status = status(&one, 0);
    assert_eq!(status.partner.port, 0);
    assert!(status.actor.state.has(Flag::Defaulted) && !status.actor.state.has(Flag::Expired));
    assert!(!status.partner.state.has(Flag::Synchronization));
    assert_eq!(status.receive, ReceiveState::PortDisabled);
}

#[test]
fn a_partners_port_seen_at_two_links_with_carrier_stays_at_both() {
    let (mut one, puppets, now) = served();
    puppets[0].say(&mut one, 1, now);
    assert_eq!(status(&one, 0).partner.port, 3);
    assert!(one.distributes(0));
}

#[test]
fn an_end_that_does_not_get_into_sync_within_a_minute_is_said_to_churn() {
    let mut one = lacp(Settings { fallback: false, ..settings(1) }, 1);
    let mut puppet = Puppet::new(1);
    puppet.actor.state.set(Flag::Synchronization, false);
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    let churns = |one: &Lacp| {
        let status = status(one, 0);
        (
            status.actor_churn,
            status.partner_churn,
            status.counters.actor_churns,
            status.counters.partner_churns,
        )
    };
    for second in 0..60 {
        puppet.say(&mut one, 0, second * SECOND);
    }
    // Our end was in sync as soon as it had waited.
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Monitor, 0, 0));
    puppet.say(&mut one, 0, 60 * SECOND);
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Churn, 0, 1));
    puppet.actor.state = State(0x3f);
    puppet.say(&mut one, 0, 61 * SECOND);
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::NoChurn, 0, 1));
    // Nobody there: our end has nothing to be in sync with.
    one.advance(Nanos(64 * SECOND));
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Monitor, 0, 1));
    one.advance(Nanos(67 * SECOND));
    assert_eq!(churns(&one), (ChurnState::Monitor, ChurnState::Monitor, 0, 1));
    one.advance(Nanos(69 * SECOND));
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Monitor, 0, 1), "in sync with nobody");
    one.advance(Nanos(124 * SECOND - 1));
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Monitor, 0, 1));
    one.advance(Nanos(124 * SECOND));
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Churn, 0, 2));
    one.set_medium(0, None, Nanos(128 * SECOND));
    assert_eq!(churns(&one), (ChurnState::Monitor, ChurnState::Monitor, 0, 2));
    assert_eq!(one.due(), None);
}

#[test]
fn a_link_that_is_not_wanted_churns_at_our_end() {
    let mut one = lacp(settings(1), 2);
    let puppets = [Puppet::new(1), Puppet::new(2)];
    (0..2).for_each(|link| one.set_medium(link, Some(GIGABIT), Nanos(0)));
    for second in 0..60 {
        puppets.iter().enumerate().for_each(|(link, puppet)| puppet.say(&mut one, link, second * SECOND));
    }
    assert_eq!(status(&one, 1).actor_churn, ChurnState::Monitor);
    puppets[1].say(&mut one, 1, 60 * SECOND);
    let unwanted = status(&one, 1);
    assert_eq!((unwanted.actor_churn, unwanted.partner_churn), (ChurnState::Churn, ChurnState::NoChurn));
    assert_eq!((unwanted.counters.actor_churns, unwanted.counters.partner_churns), (1, 0));
    assert_eq!(status(&one, 0).actor_churn, ChurnState::NoChurn);
}

#[test]
fn a_link_that_cannot_come_to_rest_does_not_hold_up_the_others() {
    // Its partner becomes another one each second, so that it never has waited long enough.
    let mut one = lacp(settings(1), 2);
    (0..2).for_each(|link| one.set_medium(link, Some(GIGABIT), Nanos(0)));
    let (mut fickle, steady) = (Puppet::new(1), Puppet::new(1));
    for tick in 0..100 {
        fickle.actor.key = 5 + u16::from(tick % 10 >= 5);
        fickle.say(&mut one, 0, tick * 100 * MS);
        steady.say(&mut one, 1, tick * 100 * MS);
        while one.next_frame().is_some() {}
    }
    assert!(one.distributes(1));
    assert!(!one.distributes(0));
}

#[test]
fn malformed_frames_are_counted_and_change_nothing() {
    let (mut one, _, now) = served();
    let before = status(&one, 0);
    let mut frame = Lacpdu::new(before.partner, before.actor).encode(MacAddress([2; 6]));
    frame[17] = 19;
    one.receive(0, &frame, Nanos(now));
    one.receive(0, &[], Nanos(now));
    one.receive(9, &frame, Nanos(now));
    one.set_medium(9, None, Nanos(now));
    let after = status(&one, 0);
    assert_eq!(after.counters.malformed, before.counters.malformed + 2);
    assert_eq!((after.partner, after.mux), (before.partner, before.mux));
    assert!(!one.collects(9) && !one.distributes(9));
}

#[test]
fn links_beyond_the_most_are_left_out_and_time_never_runs_backwards() {
    let mut one = lacp(settings(1), 20);
    assert_eq!(one.status().count(), 16);
    one.set_medium(0, Some(GIGABIT), Nanos(10 * SECOND));
    assert!(one.next_frame().is_some());
    one.advance(Nanos(0));
    assert!(one.due().unwrap() > Nanos(10 * SECOND));
}

/// Something that happens to a network.
#[derive(Clone, Debug)]
enum Event {
    Pull(usize),
    Plug(usize),
    Silence(usize),
    Pass(u64),
    Lie(usize, usize, [u8; 110]),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3usize).prop_map(Event::Pull),
        (0..3usize).prop_map(Event::Plug),
        (0..3usize).prop_map(Event::Silence),
        (0..8000u64).prop_map(Event::Pass),
        (0..2usize, 0..3usize, any::<[u8; 32]>()).prop_map(|(system, link, bytes)| {
            let mut body = [0; 110];
            body[..32].copy_from_slice(&bytes);
            Event::Lie(system, link, body)
        }),
    ]
}

impl Net {
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pull(cable) => self.plug(*cable, None),
            Event::Plug(cable) => self.plug(*cable, Some(GIGABIT)),
            Event::Silence(cable) => self.silent.push(*cable),
            Event::Pass(ms) => self.pass(ms * MS),
            Event::Lie(system, link, body) => {
                let mut frame = [0; 124];
                frame[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 2]);
                frame[6..12].copy_from_slice(&[2, 0, 0, 0, 9, 9]);
                frame[12..14].copy_from_slice(&[0x88, 0x09]);
                frame[14..].copy_from_slice(body);
                frame[14..18].copy_from_slice(&[1, 1, 1, 20]);
                frame[36..38].copy_from_slice(&[2, 20]);
                frame[56..58].copy_from_slice(&[3, 16]);
                self.systems[*system].receive(*link, &frame, Nanos(self.now));
                self.collect();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_happened_all_links_are_back_when_the_network_is_well(
        events in prop::collection::vec(event(), 0..30), loss_percent in 0..40u64, seed: u64,
    ) {
        let mut net = Net::pair(settings(1), settings(2), 3);
        net.chance = Chance(seed);
        net.loss_percent = loss_percent;
        for event in &events {
            net.happen(event);
            for system in 0..2 {
                for link in 0..3 {
                    let status = net.status(system, link);
                    let collects = net.systems[system].collects(link);
                    prop_assert!(collects || !net.systems[system].distributes(link));
                    prop_assert!(status.enabled || !collects, "no carrier, but it collects");
                    prop_assert!(status.selected || !collects, "not in the group, but it collects");
                }
            }
        }
        for end in [0, 1].into_iter().flat_map(|system| (0..3).map(move |link| (system, link))) {
            prop_assert!(busiest_second(&net.sent_by(end)) <= 3, "more than three in a second");
        }
        net.loss_percent = 0;
        net.silent.clear();
        (0..3).for_each(|cable| net.plug(cable, Some(GIGABIT)));
        net.pass(20 * SECOND);
        prop_assert_eq!(net.distributing(0), [0, 1, 2]);
        prop_assert_eq!(net.distributing(1), [0, 1, 2]);
    }
}
