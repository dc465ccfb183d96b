//! When a router says what it has to say (RFC 4861, 6.2.4 and 6.2.6).
//!
//! ```text
//!   start, change --> three times within 48 s --> every 200 to 600 s --> cease: once more, with a lifetime of 0
//!   solicitation ---> to who asked, within half a second; to all, if more than one asks at a port, or nobody can be told apart
//! ```

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::{Advertisement, AdvertisementError, INTERVAL_MAX_S, LIST_MAX, Prefix};
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::offload::checksum;
use crate::packet::number;
use crate::random::Random;
use crate::time::Nanos;

const SECOND_NS: u64 = 1_000_000_000;

/// The shortest time between two advertisements to all that nobody asked for (RFC 4861, 6.2.1: a third of the longest).
const INTERVAL_MIN_S: u64 = INTERVAL_MAX_S as u64 / 3;

/// How many come sooner at the start, and after how long at most (RFC 4861, 10).
const INITIAL: u8 = 3;
const INITIAL_INTERVAL_S: u64 = 16;

/// The longest that an answer is held back (RFC 4861, 10: MAX_RA_DELAY_TIME).
const DELAY_MAX_NS: u64 = SECOND_NS / 2;

/// The shortest time between two to all (RFC 4861, 10: MIN_DELAY_BETWEEN_RAS).
const SPACING_NS: u64 = 3 * SECOND_NS;

/// The shortest time between two answers to stations at one port; who asks sooner is answered together with all.
const PORT_SPACING_NS: u64 = SECOND_NS;

const ROUTER_SOLICITATION: u8 = 133;
const SOURCE_LINK_ADDRESS: u8 = 1;
const ETHERNET: usize = 14;
const IP: usize = 40;
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// A solicitation that is no right one (RFC 4861, 6.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the frame is no router solicitation as RFC 4861, 6.1.1 wants it")]
pub struct InvalidSolicitation;

/// A station that asked.
type Station = (MacAddress, Ipv6Addr);

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AdvertiserCounters {
    /// Advertisements to all.
    pub to_all: u64,
    /// Advertisements to a station that asked.
    pub to_one: u64,
    /// Solicitations.
    pub solicited: u64,
    /// Frames that are no right solicitations.
    pub invalid: u64,
}

/// The router of one network.
#[derive(Debug)]
pub struct Advertiser {
    said: Advertisement,
    /// Prefixes that were said before and are not any more: their addresses are not to be used for anything new.
    withdrawn: Vec<Prefix>,
    random: Random,
    /// How many more come soon.
    initial: u8,
    next: Nanos,
    last: Option<Nanos>,
    /// Who is to be answered, by port.
    pending: BTreeMap<PortIndex, (Nanos, Station)>,
    /// When somebody at a port was answered last, if that is not long ago.
    answered: BTreeMap<PortIndex, Nanos>,
    counters: AdvertiserCounters,
}

impl Advertiser {
    /// A router that begins at `now`; `seed` comes from a good source of randomness.
    ///
    /// # Errors
    /// If hosts would not take what it says.
    pub fn new(said: Advertisement, seed: u64, now: Nanos) -> Result<Self, AdvertisementError> {
        said.check()?;
        let mut random = Random::new(seed);
        // A short time at random, so that many networks do not begin at once.
        let next = Nanos(now.0.saturating_add(random.below(DELAY_MAX_NS)));
        Ok(Self {
            said,
            withdrawn: Vec::new(),
            random,
            initial: INITIAL,
            next,
            last: None,
            pending: BTreeMap::new(),
            answered: BTreeMap::new(),
            counters: AdvertiserCounters::default(),
        })
    }

    /// Says something else from now on. It is told soon; ports may have other numbers, so that who is waiting is answered
    /// together with all.
    ///
    /// # Errors
    /// If hosts would not take it; then nothing changes.
    pub fn change(&mut self, said: Advertisement, now: Nanos) -> Result<(), AdvertisementError> {
        said.check()?;
        self.answered.clear();
        if !std::mem::take(&mut self.pending).is_empty() {
            self.soon(now);
        }
        if said != self.said {
            self.withdraw(&said);
            self.said = said;
            self.initial = INITIAL;
            self.soon(now);
        }
        Ok(())
    }

    fn withdraw(&mut self, next: &Advertisement) {
        let is_kept = |prefix: &Prefix| {
            next.prefixes.iter().any(|kept| (kept.address, kept.length) == (prefix.address, prefix.length))
        };
        let before = self.said.prefixes.iter().chain(&self.withdrawn).filter(|prefix| !is_kept(prefix));
        let over = before.map(|prefix| Prefix { valid_s: 0, preferred_s: 0, ..*prefix });
        let room = LIST_MAX.saturating_sub(next.prefixes.len());
        self.withdrawn = over.take(room).collect();
    }

    /// Takes a frame of a station at `port`, without tags: a solicitation is answered by [`Advertiser::advance`].
    ///
    /// # Errors
    /// If it is no right solicitation to us.
    pub fn solicit(&mut self, port: PortIndex, frame: &[u8], now: Nanos) -> Result<(), InvalidSolicitation> {
        let Some((mac, address)) = solicitation(frame, &self.said) else {
            self.counters.invalid += 1;
            return Err(InvalidSolicitation);
        };
        self.counters.solicited += 1;
        self.answered.retain(|_, answered| now.0 < answered.0.saturating_add(PORT_SPACING_NS));
        let is_waiting = self.pending.get(&port).is_some_and(|(_, station)| *station != (mac, address));
        if address.is_unspecified() || is_waiting || self.answered.contains_key(&port) {
            self.soon(now);
        } else if !self.pending.contains_key(&port) {
            let due = Nanos(now.0.saturating_add(self.random.below(DELAY_MAX_NS)));
            self.pending.insert(port, (due, (mac, address)));
        }
        Ok(())
    }

    /// All are to be told soon, but not too soon after the last time.
    fn soon(&mut self, now: Nanos) {
        let earliest = self.last.map_or(0, |last| last.0.saturating_add(SPACING_NS)).max(now.0);
        let at = Nanos(earliest.saturating_add(self.random.below(DELAY_MAX_NS)));
        self.next = self.next.min(at);
    }

    /// The frames that are due at `now`.
    pub fn advance(&mut self, now: Nanos) -> Vec<Vec<u8>> {
        let due: Vec<PortIndex> =
            self.pending.iter().filter(|(_, (due, _))| *due <= now).map(|(port, _)| *port).collect();
        let mut frames = Vec::new();
        for port in due {
            let Some((_, station)) = self.pending.remove(&port) else { continue };
            self.answered.insert(port, now);
            self.counters.to_one += 1;
            frames.extend(self.current().frame(Some(station)));
        }
        if self.next <= now {
            frames.extend(self.current().frame(None));
            self.told_all(now);
        }
        frames
    }

    fn told_all(&mut self, now: Nanos) {
        self.counters.to_all += 1;
        self.last = Some(now);
        let (least_s, most_s) = (INTERVAL_MIN_S, u64::from(INTERVAL_MAX_S));
        let mut wait = least_s * SECOND_NS + self.random.below((most_s - least_s) * SECOND_NS);
        if self.initial > 0 {
            self.initial -= 1;
            wait = wait.min(INITIAL_INTERVAL_S * SECOND_NS);
            if self.initial == 0 {
                self.withdrawn.clear();
            }
        }
        self.next = Nanos(now.0.saturating_add(wait));
    }

    /// What is said at the moment.
    fn current(&self) -> Advertisement {
        let mut current = self.said.clone();
        current.prefixes.extend(&self.withdrawn);
        current
    }

    /// When [`Advertiser::advance`] has something to do next.
    #[must_use]
    pub fn due(&self) -> Nanos {
        self.pending.values().map(|(due, _)| *due).fold(self.next, Nanos::min)
    }

    /// The last frame: we are no router any more (RFC 4861, 6.2.5).
    #[must_use]
    pub fn cease(&self) -> Option<Vec<u8>> {
        Advertisement { lifetime_s: 0, dns_lifetime_s: 0, ..self.said.clone() }.frame(None).ok()
    }

    /// What is said.
    #[must_use]
    pub fn said(&self) -> &Advertisement {
        &self.said
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> AdvertiserCounters {
        self.counters
    }
}

/// Who sent a solicitation to this router or to all (RFC 4861, 4.1 and 6.1.1).
fn solicitation(frame: &[u8], router: &Advertisement) -> Option<Station> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    let (header, rest) = packet.split_first_chunk::<IP>()?;
    let is_v6 = ethernet[12..] == [0x86, 0xdd] && header[0] >> 4 == 6;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let message = rest.get(..length)?;
    let (source, destination) = (&header[8..24], &header[24..]);
    let total =
        checksum::sum(&header[8..]) + checksum::sum(&header[4..6]) + checksum::sum(&[0, number::ICMPV6]);
    let is_whole = checksum::fold(total + checksum::sum(message)) == 0xffff;
    let is_to_us = destination == ALL_ROUTERS.octets() || destination == router.address.octets();
    let &[ROUTER_SOLICITATION, 0, _, _, _, _, _, _, ref options @ ..] = message else { return None };
    if !is_v6 || header[6..8] != [number::ICMPV6, 255] || !is_whole || !is_to_us {
        return None;
    }
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(source).ok()?);
    let mac = MacAddress(ethernet[6..12].try_into().ok()?);
    let has_link_address = has_link_address(options)?;
    // Nobody can be answered who is a group, and who has no address says no link address.
    let is_wrong = address.is_multicast() || mac.is_group() || address.is_unspecified() && has_link_address;
    if is_wrong { None } else { Some((mac, address)) }
}

/// Whether the sender's link address is among the options; `None` if one of them is cut or has no length.
fn has_link_address(options: &[u8]) -> Option<bool> {
    let (mut rest, mut found) = (options, false);
    while !rest.is_empty() {
        let &[kind, units, ..] = rest else { return None };
        if units == 0 {
            return None;
        }
        found |= kind == SOURCE_LINK_ADDRESS;
        rest = rest.get(usize::from(units) * 8..)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests;
