//! Which links work: those with carrier, and where that says nothing (a media converter, a switch between), those by
//! which somebody answers.

use std::net::Ipv4Addr;

use super::announce::{ARP, REQUEST, pad, write_arp};
use super::steering::LinkSet;
use crate::lacp::LINKS_MAX;
use crate::mac::MacAddress;
use crate::time::Nanos;

/// The most addresses that are asked for an answer.
pub const PROBE_TARGETS_MAX: usize = 16;

const MILLISECOND_NS: u64 = 1_000_000;

/// How it is found out which links work.
#[derive(Clone, Debug, Default)]
pub struct MonitorSettings {
    /// Milliseconds for which a link has carrier before it is used.
    pub up_delay_ms: u32,
    /// Milliseconds for which it has none before it is given up.
    pub down_delay_ms: u32,
    /// Ask others for an answer by each link.
    pub arp: Option<ArpProbing>,
}

/// ARP probes: each link asks from its own address, so that the answer comes by the same link.
#[derive(Clone, Debug)]
pub struct ArpProbing {
    /// Who is asked; any answer counts. At most [`PROBE_TARGETS_MAX`].
    pub targets: Vec<Ipv4Addr>,
    /// Who asks. Unspecified: a probe (RFC 5227, 1.1), which Linux answers and some others do not.
    pub source: Ipv4Addr,
    /// Milliseconds between questions, at least 1.
    pub interval_ms: u32,
    /// Questions in a row that remain without answer before a link counts as down, at least 1.
    pub misses_max: u32,
}

/// What is known about one link.
#[derive(Debug)]
struct Watch {
    address: MacAddress,
    carrier: bool,
    /// What the carrier has been for as long as the delays say.
    settled: bool,
    settles: Option<Nanos>,
    /// Until when answers count.
    answered_until: Option<Nanos>,
    next_probe: Nanos,
    /// Targets that are still to be asked in this round.
    to_ask: usize,
}

/// The watch over all links of a bond.
#[derive(Debug)]
pub struct Monitor {
    settings: MonitorSettings,
    links: Vec<Watch>,
    now: Nanos,
}

impl Monitor {
    /// The watch over links with these addresses, all without carrier.
    #[must_use]
    pub fn new(settings: &MonitorSettings, addresses: &[MacAddress], now: Nanos) -> Self {
        let mut settings = settings.clone();
        if let Some(arp) = &mut settings.arp {
            arp.targets.truncate(PROBE_TARGETS_MAX);
            arp.interval_ms = arp.interval_ms.max(1);
            arp.misses_max = arp.misses_max.max(1);
        }
        let watch = |address: &MacAddress| Watch {
            address: *address,
            carrier: false,
            settled: false,
            settles: None,
            answered_until: None,
            next_probe: now,
            to_ask: 0,
        };
        Self { settings, links: addresses.iter().take(LINKS_MAX).map(watch).collect(), now }
    }

    /// A link has this address from now on.
    pub fn set_address(&mut self, link: usize, address: MacAddress) {
        if let Some(watch) = self.links.get_mut(link) {
            watch.address = address;
        }
    }

    /// A link got carrier, or lost it.
    pub fn set_carrier(&mut self, link: usize, carrier: bool, now: Nanos) {
        self.now = self.now.max(now);
        let MonitorSettings { up_delay_ms, down_delay_ms, .. } = self.settings;
        let Some(watch) = self.links.get_mut(link).filter(|watch| watch.carrier != carrier) else { return };
        watch.carrier = carrier;
        let delay_ms = if carrier { up_delay_ms } else { down_delay_ms };
        watch.settles = (watch.settled != carrier).then(|| later(now, delay_ms));
        watch.answered_until = None;
        watch.next_probe = now;
    }

    /// One of the targets answered by this link ([`answering`]).
    pub fn hear_answer(&mut self, link: usize, now: Nanos) {
        self.now = self.now.max(now);
        let (Some(arp), Some(watch)) = (&self.settings.arp, self.links.get_mut(link)) else { return };
        if watch.carrier {
            let patience_ms = arp.interval_ms.saturating_mul(arp.misses_max.saturating_add(1));
            watch.answered_until = Some(later(now, patience_ms));
        }
    }

    /// Whether a link's probes are answered; `None` where nobody is asked.
    #[must_use]
    pub fn is_answered(&self, link: usize) -> Option<bool> {
        self.settings.arp.as_ref()?;
        Some(self.links.get(link)?.answered_until.is_some())
    }

    /// Time has passed.
    pub fn advance(&mut self, now: Nanos) {
        self.now = self.now.max(now);
        let now = self.now;
        for watch in &mut self.links {
            if watch.settles.is_some_and(|at| now >= at) {
                watch.settled = watch.carrier;
                watch.settles = None;
            }
            watch.answered_until = watch.answered_until.filter(|until| now < *until);
            if let Some(arp) = self.settings.arp.as_ref().filter(|_| watch.carrier && now >= watch.next_probe)
            {
                watch.next_probe = later(now, arp.interval_ms);
                watch.to_ask = arp.targets.len();
            }
        }
    }

    /// When [`Monitor::advance`] has to be called.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        let probing = self.settings.arp.is_some();
        let of = |watch: &Watch| {
            let probe = (probing && watch.carrier).then_some(watch.next_probe);
            [watch.settles, watch.answered_until, probe].into_iter().flatten().min()
        };
        self.links.iter().filter_map(of).min()
    }

    /// The next question, and the link by which it goes.
    pub fn next_probe(&mut self) -> Option<(usize, Vec<u8>)> {
        let arp = self.settings.arp.as_ref()?;
        let (link, watch) =
            self.links.iter_mut().enumerate().find(|(_, watch)| watch.carrier && watch.to_ask > 0)?;
        watch.to_ask -= 1;
        let target = arp.targets.get(watch.to_ask)?;
        Some((link, question(watch.address, arp.source, *target)))
    }

    /// The links that work.
    #[must_use]
    pub fn up(&self) -> LinkSet {
        let probing = self.settings.arp.is_some();
        let works = |watch: &Watch| watch.settled && (!probing || watch.answered_until.is_some());
        self.links.iter().enumerate().filter(|(_, watch)| works(watch)).map(|(link, _)| link).collect()
    }
}

fn later(now: Nanos, by_ms: u32) -> Nanos {
    Nanos(now.0.saturating_add(u64::from(by_ms) * MILLISECOND_NS))
}

/// An ARP request (RFC 826) from a link's own address to all.
fn question(from: MacAddress, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [MacAddress::BROADCAST.0, from.0].concat();
    frame.extend(ARP.to_be_bytes());
    write_arp(&mut frame, REQUEST, (from, source), (MacAddress([0; 6]), target));
    pad(&mut frame, 60);
    frame
}

/// The IP address of who answers a probe of the link with this `address`; `None` if the frame is no such answer. The
/// frame has no tag, as probes have none.
#[must_use]
pub fn answering(frame: &[u8], address: MacAddress) -> Option<Ipv4Addr> {
    const REPLY: [u8; 10] = [0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 2];
    let is_answer = frame.get(..6)? == address.0 && frame.get(12..22)? == REPLY;
    let sender: &[u8; 4] = frame.get(28..42)?.first_chunk()?;
    is_answer.then(|| Ipv4Addr::from(*sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = MILLISECOND_NS;
    const OWN: [MacAddress; 2] = [MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2])];
    const TARGETS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

    fn reply(to: MacAddress, from: Ipv4Addr) -> Vec<u8> {
        let mut frame = [to.0, [2, 9, 9, 9, 9, 9]].concat();
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 2, 2, 9, 9, 9, 9, 9]);
        frame.extend(from.octets());
        frame.extend(to.0);
        frame.extend([0; 4]);
        frame
    }

    fn probing() -> Monitor {
        let arp = ArpProbing {
            targets: TARGETS.to_vec(),
            source: Ipv4Addr::UNSPECIFIED,
            interval_ms: 100,
            misses_max: 2,
        };
        Monitor::new(&MonitorSettings { arp: Some(arp), ..MonitorSettings::default() }, &OWN, Nanos(0))
    }

    fn probes(monitor: &mut Monitor) -> Vec<(usize, Vec<u8>)> {
        std::iter::from_fn(|| monitor.next_probe()).collect()
    }

    #[test]
    fn carrier_counts_when_it_has_lasted() {
        let settings = MonitorSettings { up_delay_ms: 200, down_delay_ms: 50, arp: None };
        let mut monitor = Monitor::new(&settings, &OWN, Nanos(0));
        monitor.set_carrier(1, true, Nanos(MS));
        assert_eq!(monitor.due(), Some(Nanos(201 * MS)));
        monitor.advance(Nanos(201 * MS - 1));
        assert!(monitor.up().is_empty());
        monitor.advance(Nanos(201 * MS));
        assert_eq!((monitor.up(), monitor.due()), (LinkSet(2), None));
        // A short loss is no loss.
        monitor.set_carrier(1, false, Nanos(300 * MS));
        monitor.set_carrier(1, true, Nanos(349 * MS));
        monitor.advance(Nanos(1000 * MS));
        assert_eq!((monitor.up(), monitor.due()), (LinkSet(2), None));
        monitor.set_carrier(1, false, Nanos(1000 * MS));
        monitor.set_carrier(1, false, Nanos(1040 * MS));
        monitor.advance(Nanos(1050 * MS - 1));
        assert_eq!(monitor.up(), LinkSet(2));
        monitor.advance(Nanos(1050 * MS));
        assert_eq!((monitor.up(), monitor.next_probe()), (LinkSet(0), None));
        monitor.set_carrier(7, true, Nanos(1050 * MS));
    }

    #[test]
    fn each_link_asks_all_targets_from_its_own_address() {
        let mut monitor = probing();
        monitor.advance(Nanos(0));
        assert!(probes(&mut monitor).is_empty(), "no carrier");
        monitor.set_carrier(1, true, Nanos(0));
        monitor.advance(Nanos(0));
        let asked = probes(&mut monitor);
        let mut expected = vec![0xff; 6];
        expected.extend([2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        expected.resize(60, 0);
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0], (1, expected));
        assert_eq!(monitor.due(), Some(Nanos(100 * MS)));
        monitor.advance(Nanos(100 * MS - 1));
        assert!(probes(&mut monitor).is_empty());
        monitor.advance(Nanos(100 * MS));
        assert_eq!(probes(&mut monitor).len(), 2);
    }

    #[test]
    fn a_link_is_up_while_a_target_answers_by_it() {
        let mut monitor = probing();
        (0..2).for_each(|link| monitor.set_carrier(link, true, Nanos(0)));
        monitor.advance(Nanos(0));
        assert!(monitor.up().is_empty());
        monitor.hear_answer(0, Nanos(MS));
        monitor.hear_answer(7, Nanos(MS));
        assert_eq!([0, 1, 7].map(|link| monitor.is_answered(link)), [Some(true), Some(false), None]);
        assert_eq!(monitor.up(), LinkSet(1));
        monitor.advance(Nanos(301 * MS - 1));
        assert_eq!(monitor.up(), LinkSet(1), "two may be missed");
        monitor.advance(Nanos(301 * MS));
        assert!(monitor.up().is_empty());
        monitor.hear_answer(0, Nanos(302 * MS));
        assert_eq!(monitor.up(), LinkSet(1));
        monitor.set_carrier(0, false, Nanos(303 * MS));
        monitor.advance(Nanos(303 * MS));
        assert!(monitor.up().is_empty());
        assert!(monitor.due().unwrap() > Nanos(303 * MS));
        // What was on its way when the carrier went says nothing.
        monitor.hear_answer(0, Nanos(304 * MS));
        assert_eq!(monitor.is_answered(0), Some(false));
    }

    #[test]
    fn only_a_reply_to_the_links_own_address_is_an_answer() {
        let good = reply(OWN[0], TARGETS[1]);
        assert_eq!(answering(&good, OWN[0]), Some(TARGETS[1]));
        assert_eq!(answering(&good[..42], OWN[0]), Some(TARGETS[1]));
        assert_eq!(answering(&good, OWN[1]), None);
        for at in (0..6).chain(12..22) {
            let mut other = good.clone();
            other[at] ^= 4;
            assert_eq!(answering(&other, OWN[0]), None, "byte {at}");
        }
        (0..42).for_each(|length| assert_eq!(answering(&good[..length], OWN[0]), None));
    }
}
