//! The table against a plain model of a connection's life: a list, searched from end to end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// So few that each search for one that may give way sees all of them.
const CONNECTIONS: usize = 32;
const LIMITS: Limits =
    Limits { connections: CONNECTIONS, per_port: 12, embryonic_per_port: 6, may_take_up: false };
const RESERVE: usize = CONNECTIONS / 16;
const PORTS: usize = 5;
const FLOWS: u32 = 60;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Open,
    /// TCP was reset.
    Spent,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    id: ConnectionId,
    owner: usize,
    phase: Phase,
    heard_s: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open(u32, usize),
    Answer(u32),
    Follow(u32),
    Reset(u32),
    Close(u32),
    Wait(u32),
    Sweep,
}

/// Every third flow is TCP.
fn is_tcp(flow: u32) -> bool {
    flow.is_multiple_of(3)
}

/// A packet of an open connection, or the one that opens it.
fn packet(flow: u32, is_back: bool, phase: Option<Phase>) -> Packet {
    match (is_tcp(flow), phase, is_back) {
        (false, ..) => udp(flow, is_back),
        (true, Some(Phase::Open), false) => tcp(flow, false, ACK, (1001, 5001), 0),
        (true, Some(Phase::Open), true) => tcp(flow, true, ACK, (5001, 1001), 0),
        (true, _, true) => tcp(flow, true, SYN | ACK, (5000, 1001), 0),
        (true, _, false) => tcp(flow, false, SYN, (1000, 0), 0),
    }
}

struct Model {
    lives: BTreeMap<u32, Life>,
    now_s: u32,
}

impl Model {
    fn timeout_s(flow: u32, phase: Phase) -> u32 {
        match (is_tcp(flow), phase) {
            (false, Phase::Opening) => timeouts::DATAGRAM_UNREPLIED_S,
            (false, _) => timeouts::DATAGRAM_REPLIED_S,
            (true, Phase::Open) => timeouts::TCP_ESTABLISHED_S,
            (true, _) => timeouts::TCP_TRANSITORY_S,
        }
    }

    fn is_over(&self, flow: u32) -> bool {
        self.lives
            .get(&flow)
            .is_some_and(|life| self.now_s - life.heard_s > Self::timeout_s(flow, life.phase))
    }

    /// The connection, if it has not run out.
    fn live(&self, flow: u32) -> Option<Life> {
        self.lives.get(&flow).copied().filter(|_| !self.is_over(flow))
    }

    /// All that a port holds, and those that are not open in both directions.
    fn held(&self, owner: usize) -> (usize, usize) {
        let own = || self.lives.values().filter(|life| life.owner == owner);
        (own().count(), own().filter(|life| life.phase == Phase::Opening).count())
    }

    /// Whether a port may have a free entry, and who may give way to it otherwise.
    fn room(&self, owner: usize) -> Result<(), (Refused, Vec<u32>)> {
        let (all, opening) = self.held(owner);
        let is_full = all >= LIMITS.per_port || opening >= LIMITS.embryonic_per_port;
        let free = CONNECTIONS - self.lives.len();
        if !is_full && all < free.saturating_sub(RESERVE) {
            return Ok(());
        }
        let may_give_way = |life: &Life| {
            let is_weaker = !is_full && self.held(life.owner).0 > all;
            life.phase != Phase::Open && (life.owner == owner || is_weaker)
        };
        let victims = self.lives.iter().filter(|(_, life)| may_give_way(life)).map(|(flow, _)| *flow);
        Err((if is_full { Refused::PortFull } else { Refused::TableFull }, victims.collect()))
    }

    /// Opens a connection in both, and has the model follow the table's choice of who gives way.
    fn open(&mut self, table: &Conntrack, flow: u32, owner: usize) -> Result<(), TestCaseError> {
        let opened = table.open(zone(1), &packet(flow, false, None), port(owner), 1, at(self.now_s));
        if let Some(life) = self.live(flow).filter(|life| life.phase != Phase::Spent) {
            prop_assert_eq!(opened.map(|found| found.id), Ok(life.id), "it is there already");
            return Ok(());
        }
        self.lives.remove(&flow);
        match (self.room(owner), opened) {
            (Err((reason, victims)), Err(refused)) => {
                prop_assert_eq!((refused, victims), (reason, vec![]));
                return Ok(());
            }
            (Err((_, victims)), Ok(_)) => {
                let is_gone = |flow: &u32| table.policy_generation(self.lives[flow].id).is_none();
                let gone: Vec<u32> = self.lives.keys().copied().filter(is_gone).collect();
                prop_assert!(gone.len() == 1 && victims.contains(&gone[0]), "{gone:?} of {victims:?}");
                self.lives.remove(&gone[0]);
            }
            (Ok(()), opened) => prop_assert!(opened.is_ok(), "{opened:?}"),
        }
        let id = opened.unwrap().id;
        prop_assert!(self.lives.values().all(|life| life.id != id));
        self.lives.insert(flow, Life { id, owner, phase: Phase::Opening, heard_s: self.now_s });
        Ok(())
    }

    /// Passes a packet of a connection that lives.
    fn pass(&mut self, table: &Conntrack, flow: u32, packet: &Packet, after: Phase) {
        let is_it = matches!(table.pass(packet, self.now_s), Verdict::Established(found) if found.id == self.lives[&flow].id);
        assert!(is_it, "{packet:?}");
        let life = self.lives.get_mut(&flow).unwrap();
        (life.phase, life.heard_s) = (after, self.now_s);
    }

    fn step(&mut self, table: &Conntrack, step: Step) -> Result<(), TestCaseError> {
        let phase_of = |flow: u32| self.live(flow).map(|life| life.phase);
        match step {
            Step::Open(flow, owner) => self.open(table, flow, owner)?,
            Step::Answer(flow) if phase_of(flow) == Some(Phase::Opening) => {
                self.pass(table, flow, &packet(flow, true, Some(Phase::Opening)), Phase::Opening);
                if is_tcp(flow) {
                    self.pass(table, flow, &packet(flow, false, Some(Phase::Open)), Phase::Open);
                }
                self.lives.get_mut(&flow).unwrap().phase = Phase::Open;
            }
            Step::Answer(flow) | Step::Follow(flow) => match phase_of(flow) {
                Some(Phase::Spent) | None => {}
                Some(phase) => self.pass(table, flow, &packet(flow, false, Some(phase)), phase),
            },
            Step::Reset(flow) if is_tcp(flow) && phase_of(flow) == Some(Phase::Open) => {
                self.pass(table, flow, &tcp(flow, true, RST, (5001, 0), 0), Phase::Spent);
            }
            Step::Reset(_) => {}
            Step::Close(flow) => {
                let closed =
                    self.lives.remove(&flow).map(|life| (table.close(life.id), table.close(life.id)));
                prop_assert!(closed.is_none_or(|closed| closed == (true, false)));
            }
            Step::Wait(seconds) => self.now_s = self.now_s.saturating_add(seconds),
            Step::Sweep => {
                table.run_to(self.now_s);
                let over: Vec<u32> = self.lives.keys().copied().filter(|flow| self.is_over(*flow)).collect();
                self.lives.retain(|flow, _| !over.contains(flow));
            }
        }
        Ok(())
    }

    /// The table and the model say the same of everything.
    fn compare(&self, table: &Conntrack) -> Result<(), TestCaseError> {
        for owner in 0..PORTS {
            prop_assert_eq!(table.held(port(owner)), self.held(owner));
        }
        for flow in 0..FLOWS {
            let verdict = table.look_up(zone(1), &packet(flow, false, None), at(self.now_s));
            let found = match verdict {
                Verdict::Established(found) => Some(found.id),
                _ => None,
            };
            let life = self.live(flow).filter(|life| life.phase != Phase::Spent);
            prop_assert_eq!(found, life.map(|life| life.id), "{} {:?}", flow, verdict);
        }
        let counters = table.counters();
        let ended = counters.closed + counters.expired + counters.evicted;
        prop_assert_eq!(counters.opened - ended, self.lives.len() as u64);
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..FLOWS, 0..PORTS).prop_map(|(flow, owner)| Step::Open(flow, owner)),
        4 => (0..FLOWS).prop_map(Step::Answer),
        2 => (0..FLOWS).prop_map(Step::Follow),
        1 => (0..FLOWS).prop_map(Step::Reset),
        1 => (0..FLOWS).prop_map(Step::Close),
        2 => (0..150u32).prop_map(Step::Wait),
        1 => Just(Step::Wait(90_000)),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Lives and times start at 0 or where they soon pass their end.
    #[test]
    fn the_table_does_what_a_list_does(
        steps in proptest::collection::vec(steps(), 1..300),
        life in prop_oneof![Just(0u32), Just(u32::MAX - 1), Just(u32::MAX - 3)],
        start_s in prop_oneof![Just(0u32), Just(1 << 31), Just(u32::MAX - 40_000_000)],
    ) {
        let table = Conntrack::new(LIMITS, 3);
        table.set_ports(PORTS);
        table.backs.iter().for_each(|back| back.word.store(u64::from(life) << 32, Relaxed));
        let bytes = table.bytes();
        let mut model = Model { lives: BTreeMap::new(), now_s: start_s };
        for step in steps {
            model.step(&table, step)?;
            model.compare(&table)?;
        }
        model.step(&table, Step::Wait(90_000))?;
        model.step(&table, Step::Sweep)?;
        prop_assert!(model.lives.is_empty());
        model.compare(&table)?;
        prop_assert_eq!(table.bytes(), bytes);
        // All places are to be had again.
        table.ports.store(0, Relaxed);
        let again = (0..u32::try_from(CONNECTIONS).unwrap()).filter(|flow| {
            table.open(zone(1), &udp(1000 + flow, false), port(10 + *flow as usize), 1, at(model.now_s)).is_ok()
        });
        prop_assert_eq!(again.count(), CONNECTIONS);
    }
}
