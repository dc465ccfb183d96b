//! Systems, the cables between them, and what is on the way.

use std::collections::BTreeMap;

use viaduct_switch::lacp::pdu::SlowFrame;
use viaduct_switch::lacp::{Lacp, LinkSettings, LinkStatus, Medium, Rate, Settings, SystemId};
use viaduct_switch::{MacAddress, Nanos};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;
pub(crate) const GIGABIT: Medium = Medium { speed_mbit: 1000, full_duplex: true };

pub(crate) fn settings(system: u8) -> Settings {
    Settings {
        system: SystemId { priority: 0x8000, address: MacAddress([2, 0, 0, 0, 1, system]) },
        key: 7,
        rate: Rate::Fast,
        active: true,
        fallback: true,
    }
}

pub(crate) fn lacp(settings: Settings, links: usize) -> Lacp {
    let link = |at: usize| LinkSettings {
        address: MacAddress([2, 0, 0, 0, settings.system.address.0[5], u8::try_from(at).unwrap()]),
        priority: 0x8000,
    };
    Lacp::new(settings, &(0..links).map(link).collect::<Vec<_>>(), Nanos(0))
}

pub(crate) fn status(lacp: &Lacp, link: usize) -> LinkStatus {
    lacp.status().nth(link).unwrap()
}

/// One end of a cable: a system and its link.
pub(crate) type End = (usize, usize);

/// Chance, good enough to shuffle a test (SplitMix64: a counter and a mixing function).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Systems, the cables between their links, and what is on the way.
pub(crate) struct Net {
    pub(crate) systems: Vec<Lacp>,
    pub(crate) cables: Vec<[End; 2]>,
    /// Cables that lose all frames but keep their carrier.
    pub(crate) silent: Vec<usize>,
    /// By arrival; on one cable nothing is overtaken.
    pub(crate) flying: BTreeMap<(u64, u64), (End, SlowFrame)>,
    pub(crate) last_arrival: BTreeMap<End, u64>,
    pub(crate) sent: Vec<(u64, End, SlowFrame)>,
    pub(crate) chance: Chance,
    pub(crate) loss_percent: u64,
    pub(crate) now: u64,
    pub(crate) number: u64,
}

impl Net {
    pub(crate) fn new(systems: Vec<Lacp>, cables: Vec<[End; 2]>) -> Self {
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
    pub(crate) fn pair(one: Settings, other: Settings, links: usize) -> Self {
        let cables = (0..links).map(|link| [(0, link), (1, link)]).collect();
        let mut net = Self::new(vec![lacp(one, links), lacp(other, links)], cables);
        (0..links).for_each(|cable| net.plug(cable, Some(GIGABIT)));
        net
    }

    pub(crate) fn plug(&mut self, cable: usize, medium: Option<Medium>) {
        for (system, link) in self.cables[cable] {
            self.systems[system].set_medium(link, medium, Nanos(self.now));
        }
        self.collect();
    }

    /// Takes what the systems want to send.
    pub(crate) fn collect(&mut self) {
        for system in 0..self.systems.len() {
            while let Some((link, frame)) = self.systems[system].next_frame() {
                self.sent.push((self.now, (system, link), frame));
                self.send((system, link), frame);
            }
        }
    }

    pub(crate) fn send(&mut self, from: End, frame: SlowFrame) {
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
    pub(crate) fn run(&mut self, for_ns: u64, mut watch: impl FnMut(u64, &[Lacp])) {
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

    pub(crate) fn pass(&mut self, for_ns: u64) {
        self.run(for_ns, |_, _| ());
    }

    /// Which links of a system distribute.
    pub(crate) fn distributing(&self, system: usize) -> Vec<usize> {
        (0..16).filter(|link| self.systems[system].distributes(*link)).collect()
    }

    pub(crate) fn status(&self, system: usize, link: usize) -> LinkStatus {
        status(&self.systems[system], link)
    }

    /// The times at which LACPDUs were sent by this end.
    pub(crate) fn sent_by(&self, end: End) -> Vec<u64> {
        self.sent.iter().filter(|(_, from, _)| *from == end).map(|(at, _, _)| *at).collect()
    }
}

/// The most frames within any second.
pub(crate) fn busiest_second(times: &[u64]) -> usize {
    let from = |start: &u64| times.iter().filter(|at| (*start..start + SECOND).contains(*at)).count();
    times.iter().map(from).max().unwrap_or(0)
}
