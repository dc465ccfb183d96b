//! Many flows through a switch that somebody else runs: how many frames of flows that it knows, both directions at once, and
//! how many new flows a second. For switches that track connections, route or translate addresses.
//!
//! A flow is a pair of UDP ports between the two ends. It is made known by a frame in each direction; afterwards both ends
//! send frames of flows that look chosen at random. New ones are opened by one end, each by its only frame. The first end may
//! have its frames go by a gateway; the second one answers to the addresses and ports that it sees.

mod end;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use end::{End, Seen};

use super::card::{Card, FlowFields};
use super::error::BenchError;
use super::frame::{self, FLOW_AT, Station, UDP_PORTS_AT};
use super::generator::{BURST, LOST_AFTER, WARM_UP, WINDOW};
use super::interrupt;
use super::report::{Better, Row};

/// What this part is called in tables.
const PART: &str = "flows";
/// Flows that there may be: of so many no two have the same ports.
pub(crate) const FLOWS_MAX: u32 = 16_000_000;
/// A's ports, of which each of B's meets all.
const PORTS: u32 = 60_000;
const FIRST_PORT: [u32; 2] = [1024, 5000];
/// How long a switch may take until it passes a frame each way.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// What is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Work {
    /// Bytes of a frame, without FCS.
    pub(crate) bytes: usize,
    /// How many flows, each of which is known; `None`: each frame is of a new one.
    pub(crate) flows: Option<u32>,
    /// How long.
    pub(crate) time: Duration,
    /// Between whom.
    pub(crate) ends: Ends,
}

/// Who the two ends are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    /// Their addresses.
    pub(crate) addresses: [Ipv4Addr; 2],
    /// So many addresses from its own on are the first end's, which take turns in new flows.
    pub(crate) stations: u32,
    /// The router by which the first end reaches the other one.
    pub(crate) gateway: Option<Ipv4Addr>,
}

impl Ends {
    fn stand(self) -> [End; 2] {
        let [a, b] = [0, 1].map(|index| Station { ip: self.addresses[index], ..Station::end(index) });
        // Who is behind a gateway looks to the other one as that makes it look.
        let seen = (self.gateway.is_none()).then_some(a);
        let partner = |own: Station, other: Station, stations, gateway, peer| End {
            own,
            stations,
            peer,
            gateway,
            partner: other.ip,
            answer: None,
        };
        let reached = self.gateway.is_none().then_some(b);
        [partner(a, b, self.stations, self.gateway, reached), partner(b, a, 1, None, seen)]
    }
}

/// What came through.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Carried {
    /// Frames that came, and those before them that did not.
    done: u64,
    received: u64,
    time: Duration,
}

impl Carried {
    /// Its rows in the table.
    pub(super) fn rows(&self, work: Work, path: &str) -> Vec<Row> {
        let (name, measure) = match work.flows {
            Some(flows) => (format!("{} B, {flows} flows", work.bytes), "frames"),
            None => (format!("{} B, new flows", work.bytes), "new flows"),
        };
        let per_second = self.received as f64 / self.time.as_secs_f64();
        let lost = 100.0 * self.done.saturating_sub(self.received) as f64 / self.done.max(1) as f64;
        let row = |measure, unit, better, value| Row::new(PART, &name, measure, path, (unit, better), value);
        vec![row(measure, "M/s", Better::More, per_second / 1e6), row("lost", "%", Better::Less, lost)]
    }
}

/// Measures; `path` names the switch in errors.
pub(super) fn measure(cards: &mut [Card; 2], work: Work, path: &str) -> Result<Carried, BenchError> {
    let mut talk = Talk::new(cards, work);
    talk.begin(path)?;
    let mut chance = Chance(1);
    let (mut next, flows) = (0, work.flows.unwrap_or(0));
    let mut pick = |from: usize| match work.flows {
        Some(flows) => Some(chance.below(flows)),
        None if from == 0 => {
            next = (next + 1) % FLOWS_MAX;
            Some(next)
        }
        None => None,
    };
    talk.open(flows)?;
    talk.is_noting = false;
    talk.run(WARM_UP, &mut pick)?;
    let before = talk.counted();
    let start = Instant::now();
    talk.run(work.time, &mut pick)?;
    let (time, after) = (start.elapsed(), talk.counted());
    let [done, received] = [0, 1].map(|at| after[at] - before[at]);
    if received == 0 {
        return Err(BenchError::Silence { path: path.to_owned(), seconds: work.time.as_secs() });
    }
    Ok(Carried { done, received, time })
}

/// Numbers that look random (Knuth, "The Art of Computer Programming", volume 2, 3.3.4).
struct Chance(u64);

impl Chance {
    #[inline]
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(((self.0 >> 32) * u64::from(bound)) >> 32).unwrap_or(0)
    }
}

/// The ports of a flow in frames from end `from`: source and destination.
#[inline]
fn ports(flow: u32, from: usize) -> [u8; 4] {
    let [_, _, a_high, a_low] = (FIRST_PORT[0] + flow % PORTS).to_be_bytes();
    let [_, _, b_high, b_low] = (FIRST_PORT[1] + flow / PORTS).to_be_bytes();
    if from == 0 { [a_high, a_low, b_high, b_low] } else { [b_high, b_low, a_high, a_low] }
}

fn source_port([high, low, ..]: [u8; 4]) -> [u8; 2] {
    [high, low]
}

/// Frames from one end to the other.
struct Way {
    from: usize,
    sent: u64,
    received: u64,
    /// Frames that came or will not come any more: all before the last one that came, since none overtakes another.
    done: u64,
    last: Instant,
}

impl Way {
    fn new(from: usize) -> Self {
        Self { from, sent: 0, received: 0, done: 0, last: Instant::now() }
    }

    fn under_way(&self) -> u64 {
        self.sent.saturating_sub(self.done)
    }

    /// Takes for lost what is under way for too long.
    fn give_up(&mut self, before: u64) {
        if self.received != before {
            self.last = Instant::now();
        } else if self.last.elapsed() > LOST_AFTER {
            (self.done, self.last) = (self.sent, Instant::now());
        }
    }
}

/// Both ends.
struct Talk<'c> {
    cards: &'c mut [Card; 2],
    ways: [Way; 2],
    ends: [End; 2],
    /// The frame that each end sends, once it knows to whom.
    templates: [Vec<u8>; 2],
    bytes: usize,
    /// The first end's port of each flow, as the other one sees it.
    seen_ports: Vec<[u8; 2]>,
    /// Whether those are noted.
    is_noting: bool,
}

impl<'c> Talk<'c> {
    fn new(cards: &'c mut [Card; 2], work: Work) -> Self {
        let flows = work.flows.unwrap_or(0);
        Self {
            cards,
            ways: [Way::new(0), Way::new(1)],
            ends: work.ends.stand(),
            templates: [const { Vec::new() }; 2],
            bytes: work.bytes,
            // At least that of the first flow, which both ends begin with.
            seen_ports: (0..flows.max(1)).map(|flow| source_port(ports(flow, 0))).collect(),
            is_noting: true,
        }
    }

    /// Lets the switch learn where both ends are, and both ends to whom they send.
    fn begin(&mut self, path: &str) -> Result<(), BenchError> {
        let start = Instant::now();
        while start.elapsed() < FIRST_WITHIN {
            for from in [1, 0] {
                if let Some(question) = self.ends[from].question() {
                    self.cards[from].send_once(&question)?;
                }
                if self.is_ready(from) {
                    self.send(from, 1, || 0)?;
                }
                interrupt::sleep(Duration::from_millis(20))?;
                self.receive()?;
            }
            if self.ways.iter().all(|way| way.received > 1) {
                self.ways.iter_mut().for_each(|way| way.done = way.sent);
                return Ok(());
            }
        }
        Err(BenchError::Silence { path: path.to_owned(), seconds: FIRST_WITHIN.as_secs() })
    }

    /// Whether an end knows to whom it sends; its frames are made then.
    fn is_ready(&mut self, from: usize) -> bool {
        let End { own, peer: Some(peer), .. } = self.ends[from] else { return false };
        if self.templates[from].is_empty() {
            self.templates[from] = frame::between(self.bytes, own, peer);
            self.cards[from].load(&self.templates[from]);
        }
        true
    }

    /// Has each flow begun by the first end and answered by the other.
    fn open(&mut self, flows: u32) -> Result<(), BenchError> {
        let mut next = [0; 2];
        while next[1] < flows {
            let seen = self.ways.each_ref().map(|way| way.received);
            self.receive()?;
            for (way, seen) in self.ways.iter_mut().zip(seen) {
                way.give_up(seen);
            }
            for from in 0..2 {
                // An answer follows what it answers, which has arrived then.
                let arrived = u64::from(next[0]).saturating_sub(self.ways[0].under_way());
                let bound = if from == 0 { flows } else { u32::try_from(arrived).unwrap_or(0) };
                let left = usize::try_from(bound.saturating_sub(next[from])).unwrap_or(0).min(BURST);
                if self.ways[from].under_way() + left as u64 <= WINDOW / 2 {
                    let first = &mut next[from];
                    self.send(from, left, || {
                        *first += 1;
                        *first - 1
                    })?;
                }
            }
            interrupt::check()?;
        }
        Ok(())
    }

    /// Sends whole bursts, of the flows that `pick` names for each end, which sends nothing if there is none.
    fn run(&mut self, time: Duration, pick: &mut impl FnMut(usize) -> Option<u32>) -> Result<(), BenchError> {
        let start = Instant::now();
        while start.elapsed() < time {
            let before = self.ways.each_ref().map(|way| way.received);
            for _ in 0..BURST {
                self.receive()?;
                for from in 0..2 {
                    let has_room = self.ways[from].under_way() + BURST as u64 <= WINDOW;
                    if has_room && let Some(first) = pick(from) {
                        let mut first = Some(first);
                        self.send(from, BURST, || first.take().or_else(|| pick(from)).unwrap_or(0))?;
                    }
                }
            }
            for (way, before) in self.ways.iter_mut().zip(before) {
                way.give_up(before);
            }
            interrupt::check()?;
        }
        Ok(())
    }

    #[inline]
    fn send(&mut self, from: usize, count: usize, mut flow: impl FnMut() -> u32) -> Result<(), BenchError> {
        let way = &mut self.ways[from];
        let (stations, first) = (self.ends[from].stations, self.ends[from].own.ip);
        let (template, seen_ports) = (&self.templates[from], &self.seen_ports);
        let fields = || {
            let number = flow();
            let mut ports = ports(number / stations, from);
            if from == 1
                && let Some([high, low]) = seen_ports.get(number as usize)
            {
                (ports[2], ports[3]) = (*high, *low);
            }
            let station = || Ipv4Addr::from(u32::from(first).wrapping_add(number % stations));
            let source = (stations > 1).then(|| frame::source_fields(template, station()));
            FlowFields { number, ports, source }
        };
        way.sent += self.cards[from].send_flows(way.sent, count, fields)? as u64;
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<(), BenchError> {
        for (Way { from, received, done, .. }, end) in self.ways.iter_mut().zip(self.ends.iter_mut().rev()) {
            let (to, is_noting) = (1 - *from, self.is_noting);
            let seen_ports = &mut self.seen_ports;
            self.cards[to].receive(BURST, |arrived| {
                if end.see(arrived) == Seen::Packet {
                    *received += 1;
                    *done = arrived.number().saturating_add(1).max(*done);
                    let flow = || u32::from_le_bytes(arrived.read(FLOW_AT)) as usize;
                    if is_noting
                        && to == 1
                        && let Some(seen) = seen_ports.get_mut(flow())
                    {
                        *seen = arrived.read(UDP_PORTS_AT);
                    }
                }
                Ok(())
            })?;
            if let Some(answer) = end.answer.take() {
                self.cards[to].send_once(&answer)?;
            }
        }
        Ok(())
    }

    /// Frames that came or will not come any more, and those that came, both ways together.
    fn counted(&self) -> [u64; 2] {
        self.ways.iter().fold([0; 2], |[done, received], way| [done + way.done, received + way.received])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_flows_have_the_same_ports_and_both_directions_of_one_do() {
        let all: std::collections::HashSet<_> =
            (0..FLOWS_MAX).step_by(977).map(|flow| ports(flow, 0)).collect();
        assert_eq!(all.len(), FLOWS_MAX.div_ceil(977) as usize);
        for flow in [0, 1, PORTS - 1, PORTS, FLOWS_MAX - 1] {
            let ([a, b, c, d], back) = (ports(flow, 0), ports(flow, 1));
            assert_eq!(back, [c, d, a, b]);
        }
        assert_eq!(ports(FLOWS_MAX - 1, 0)[2..], (5000_u16 + 266).to_be_bytes());
    }

    #[test]
    fn what_is_under_way_for_too_long_is_given_up() {
        let mut way = Way { sent: 10, received: 4, done: 4, ..Way::new(0) };
        way.give_up(4);
        assert_eq!(way.under_way(), 6);
        way.last = Instant::now().checked_sub(LOST_AFTER * 2).unwrap();
        way.give_up(3);
        assert_eq!(way.under_way(), 6, "something came");
        way.last = Instant::now().checked_sub(LOST_AFTER * 2).unwrap();
        way.give_up(4);
        assert_eq!(way.under_way(), 0);
    }
}
