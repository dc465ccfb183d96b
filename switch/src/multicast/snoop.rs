//! What becomes of one frame to an IP multicast address; carried out for each frame, also of a cached decision.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;

use super::Groups;
use super::classify::{Class, Family, classify, is_snooped};
use super::message::{Change, Message, Records, parse};
use super::slot::PortSet;
use super::write::Heard;
use crate::counters::count;
use crate::drops::DropReason;
use crate::frame::Metadata;
use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};
use crate::policy::{MulticastSettings, Policy};
use crate::storm::StormMeters;
use crate::time::Nanos;

/// The longest frame, in bytes, whose message is read: what fits 1500 bytes, and a little more.
const MESSAGE_MAX: usize = 2048;

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict<'a> {
    /// To all ports of the network.
    Flood,
    /// To these ports, in ascending order; the source may be among them.
    To(&'a [PortIndex]),
    /// To none.
    Drop(DropReason),
}

/// What a worker works with; reused from frame to frame.
#[derive(Debug)]
pub(crate) struct Scratch {
    ports: PortSet,
    receivers: Vec<PortIndex>,
    message: Box<[u8]>,
    /// The group of a network whose receivers stand there, and whether they are known. A burst mostly has one.
    recent: Option<(NetworkIndex, IpAddr, bool)>,
}

impl Default for Scratch {
    fn default() -> Self {
        let (receivers, message) = (Vec::with_capacity(PORTS_MAX), vec![0; MESSAGE_MAX].into());
        Self { ports: PortSet::default(), receivers, message, recent: None }
    }
}

impl Scratch {
    /// Begins a burst.
    pub(crate) fn begin(&mut self) {
        self.recent = None;
    }
}

/// A frame's surroundings.
#[derive(Clone, Copy)]
pub(crate) struct Snooping<'a> {
    pub(crate) groups: &'a Groups,
    pub(crate) meters: &'a StormMeters,
    pub(crate) policy: &'a Policy,
    pub(crate) network: NetworkIndex,
    pub(crate) source: PortIndex,
    pub(crate) now: Nanos,
    /// Only tells what would become of the frame: nothing is noted, metered or counted.
    pub(crate) is_trial: bool,
}

impl Snooping<'_> {
    /// Where the frame goes that begins with `head`; `rest` copies what comes after it and says how much that
    /// was. IGMP and MLD messages are noted.
    pub(crate) fn verdict<'s>(
        &self,
        scratch: &'s mut Scratch,
        head: &[u8],
        meta: &Metadata,
        rest: impl FnOnce(&mut [u8]) -> usize,
    ) -> Verdict<'s> {
        let settings = self.policy.network(self.network).and_then(|network| network.multicast());
        match (classify(head), settings) {
            (Class::Data(group), Some(_)) => self.to(scratch, group),
            (Class::Control(family), Some(settings)) => {
                scratch.recent = None;
                if !self.admits_message() {
                    return Verdict::Drop(DropReason::StormMembership);
                }
                let length = match self.collect(scratch, head, meta, rest) {
                    Ok(length) => length,
                    Err(Unread::Cut) => return self.malformed(),
                    Err(Unread::TooLong) => {
                        self.miss(family, settings);
                        self.count(&self.groups.counters.unread);
                        return Verdict::Flood;
                    }
                };
                let message = std::mem::take(&mut scratch.message);
                let read = parse(&message[..length], family, meta.claims.checksum.is_some());
                let aim = read.map(|read| self.note(read, family, settings));
                scratch.message = message;
                match aim {
                    Ok(Aim::All) => Verdict::Flood,
                    Ok(Aim::Routers) => self.to(scratch, family.routers()),
                    Ok(Aim::Nobody(reason)) => Verdict::Drop(reason),
                    Err(_) => self.malformed(),
                }
            }
            _ => Verdict::Flood,
        }
    }

    fn admits_message(&self) -> bool {
        if self.is_trial {
            self.meters.would_admit_message(self.source, self.now)
        } else {
            self.meters.admits_message(self.source, self.now)
        }
    }

    fn count(&self, counter: &AtomicU64) {
        if !self.is_trial {
            count(counter);
        }
    }

    /// To the members of a group and the routers.
    fn to<'s>(&self, scratch: &'s mut Scratch, group: IpAddr) -> Verdict<'s> {
        let Scratch { ports, receivers, recent, .. } = scratch;
        let is_known = match *recent {
            Some((network, last, is_known)) if (network, last) == (self.network, group) => is_known,
            _ => {
                let is_known = self.groups.receivers(self.network, group, self.now.seconds(), ports);
                receivers.clear();
                let own = ports.ports().filter(|&port| self.policy.is_member(port, self.network));
                receivers.extend(own.take(PORTS_MAX));
                is_known
            }
        };
        *recent = Some((self.network, group, is_known));
        let is_other = |&port: &PortIndex| port != self.source;
        match is_known {
            false => Verdict::Flood,
            true if receivers.iter().any(is_other) => Verdict::To(receivers),
            true => Verdict::Drop(DropReason::NoMember),
        }
    }

    fn malformed(&self) -> Verdict<'static> {
        self.count(&self.groups.counters.malformed);
        Verdict::Drop(DropReason::BadMembership)
    }

    /// Copies the whole frame to where it can be read; gives its length.
    fn collect(
        &self,
        scratch: &mut Scratch,
        head: &[u8],
        meta: &Metadata,
        rest: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, Unread> {
        let length = meta.length as usize;
        let whole = scratch.message.get_mut(..length.max(head.len())).ok_or(Unread::TooLong)?;
        let (begin, end) = whole.split_at_mut(head.len());
        begin.copy_from_slice(head);
        let copied = if end.is_empty() { 0 } else { rest(end) };
        if copied == end.len() { Ok(length) } else { Err(Unread::Cut) }
    }

    /// Notes what a message says, and tells whom it is for.
    fn note(&self, message: Message<'_>, family: Family, settings: MulticastSettings) -> Aim {
        let (network, port, now_s) = (self.network, self.source, self.now.seconds());
        let heard = Heard { network, port, now_s, settings };
        let is_router = self.policy.port(port).is_some_and(|port| port.multicast_router);
        match message {
            Message::GeneralQuery { .. } | Message::OtherQuery if !is_router => {
                Aim::Nobody(DropReason::RogueQuery)
            }
            Message::GeneralQuery { response_s } => {
                self.query(family, response_s, &heard);
                Aim::All
            }
            Message::Report(records) => {
                self.report(records, family, &heard);
                Aim::Routers
            }
            Message::OtherQuery | Message::Unknown => Aim::All,
        }
    }

    fn query(&self, family: Family, response_s: u32, heard: &Heard) {
        if self.is_trial {
            return;
        }
        match self.groups.try_lock() {
            Some(mut writer) => self.groups.ask(&mut writer, heard, family, response_s),
            None => self.contended(family, heard.settings),
        }
    }

    fn report(&self, records: Records<'_>, family: Family, heard: &Heard) {
        if self.is_trial {
            return;
        }
        let Some(mut writer) = self.groups.try_lock() else { return self.contended(family, heard.settings) };
        for (group, change) in records.filter(|&(group, _)| is_snooped(group)) {
            match change {
                Change::Join => self.groups.join(&mut writer, heard, group),
                Change::Leave => self.groups.leave(&mut writer, heard, group),
            }
        }
    }

    fn contended(&self, family: Family, settings: MulticastSettings) {
        count(&self.groups.counters.contended);
        self.miss(family, settings);
    }

    /// What a message said is not known: until hosts must have said it again, groups go to all.
    fn miss(&self, family: Family, settings: MulticastSettings) {
        if self.is_trial {
            return;
        }
        let until_s = self.now.seconds().saturating_add(settings.membership_s);
        self.groups.distrust(self.network, family, until_s);
    }
}

/// Whom a message is for.
enum Aim {
    All,
    /// RFC 4541, 2.1.1, 1: hosts that hear another one's report would keep silent (RFC 2236, 3).
    Routers,
    Nobody(DropReason),
}

/// Why a message was not read.
enum Unread {
    /// It is longer than what we read.
    TooLong,
    /// It is shorter than it says.
    Cut,
}
