//! One interface's part in IGMP (RFC 9776, 5 and 7.2) or MLD (RFC 9777, 6 and 8.2), which differ in nothing but their messages.

use std::collections::{BTreeMap, BTreeSet};

use crate::gateway::random::Random;
use crate::multicast::{Query, Version, is_snooped};
use crate::packet::Address;
use crate::time::Nanos;

/// RFC 9776, 8.1: the robustness variable unless the querier tells another one, and what is believed of those.
const ROBUSTNESS: u8 = 2;
const ROBUSTNESS_MAX: u8 = 7;

/// RFC 9776, 8.11 and RFC 2236, 8.10: within which time a change is told again.
const UNSOLICITED: Nanos = Nanos::from_millis(1000);
const UNSOLICITED_OLDER: Nanos = Nanos::from_millis(10_000);

/// RFC 9776, 8.2: how often queriers ask as a rule.
const QUERY_INTERVAL_S: u32 = 125;

/// The longest delay of an answer: whoever gives longer gets it sooner.
const DELAY_MAX: Nanos = Nanos::from_millis(10_000);

/// The same is not answered sooner again, however often it is asked. Queriers ask once a second at most as a rule (RFC 9776, 8.8).
const ANSWERS_APART: Nanos = Nanos::from_millis(250);

/// Sources of one group's that are remembered. Who asks for more is told about all of them.
const SOURCES_MAX: usize = 32;

/// Records of a report: at most 20 bytes each, so that it passes any link.
pub(super) const RECORDS_MAX: usize = 60;

/// What a record of a report says (RFC 9776, 4.2.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RecordKind {
    /// These sources are wanted.
    IsInclude = 1,
    /// All sources are wanted.
    IsExclude = 2,
    /// None is wanted any more.
    ToInclude = 3,
    /// All are wanted from now on.
    ToExclude = 4,
}

/// What is said about a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) kind: RecordKind,
    pub(super) group: Address,
    pub(super) sources: Vec<Address>,
}

/// What is to be said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// A report of the current version with these records, at most [`RECORDS_MAX`].
    Report(Vec<Record>),
    /// One of an older version: a member of this group is here.
    OldReport(Version, Address),
    /// A host has left this group, told to an older querier.
    OldLeave(Address),
}

/// A group's answer that is due.
#[derive(Debug)]
struct Asked {
    due: Nanos,
    /// What was asked for; none: all of it.
    sources: BTreeSet<Address>,
}

/// A group of which the interface is a member.
#[derive(Debug)]
struct Member {
    /// How often it is still to be told that it is wanted.
    untold: u8,
    asked: Option<Asked>,
    answered: Option<Nanos>,
}

/// The state.
#[derive(Debug)]
pub(super) struct Host {
    groups: BTreeMap<Address, Member>,
    /// Groups that were left, and how often this is still to be told.
    left: BTreeMap<Address, u8>,
    robustness: u8,
    /// Until when there is a querier of the oldest version, and of the older one, as far as is known.
    oldest_until: Nanos,
    older_until: Nanos,
    /// When changes are told next.
    changes: Option<Nanos>,
    /// When all groups are told, and when they were.
    answer: Option<Nanos>,
    answered: Option<Nanos>,
    /// When an older querier asked for all groups.
    asked: Option<Nanos>,
    /// When groups are told each by itself.
    timers: BTreeSet<(Nanos, Address)>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            left: BTreeMap::new(),
            robustness: ROBUSTNESS,
            oldest_until: Nanos(0),
            older_until: Nanos(0),
            changes: None,
            answer: None,
            answered: None,
            asked: None,
            timers: BTreeSet::new(),
        }
    }
}

impl Host {
    /// The interface is a member of these groups from now on. What that changes is told at once, and again.
    pub(super) fn set_groups(&mut self, groups: &BTreeSet<Address>, now: Nanos) {
        let gone = self.groups.keys().filter(|group| !groups.contains(group)).copied().collect::<Vec<_>>();
        let new = groups.iter().filter(|group| !self.groups.contains_key(group)).copied().collect::<Vec<_>>();
        if gone.is_empty() && new.is_empty() {
            return;
        }
        for group in gone {
            self.forget_question(group);
            self.groups.remove(&group);
            self.left.insert(group, self.robustness);
        }
        for group in new {
            self.left.remove(&group);
            self.groups.insert(group, Member { untold: self.robustness, asked: None, answered: None });
        }
        self.changes = Some(now);
    }

    /// Those who listen may be others than before.
    pub(super) fn tell_again(&mut self, now: Nanos) {
        for member in self.groups.values_mut() {
            member.untold = self.robustness;
            self.changes = Some(now);
        }
    }

    /// When [`Host::advance`] is to be called.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        let group = self.timers.first().map(|(due, _)| *due);
        [self.changes, self.answer, group].into_iter().flatten().min()
    }

    /// The version in which the interface speaks: that of the oldest querier there is (RFC 9776, 7.2.1).
    fn version(&self, now: Nanos) -> Version {
        if now < self.oldest_until {
            Version::Oldest
        } else if now < self.older_until {
            Version::Older
        } else {
            Version::Current
        }
    }

    /// Takes a query.
    pub(super) fn hear(&mut self, query: &Query<'_>, now: Nanos, random: &mut Random) {
        self.note_querier(query, now);
        let most = Nanos::from_millis(query.response_ms).min(DELAY_MAX);
        let due = now + random.below(most);
        if self.answer.is_some_and(|answer| answer <= due) {
            // RFC 9776, 5.2, 1: all is told before.
            return;
        }
        match query.group {
            Some(group) => self.ask_for(group.into(), due, query.sources().map(Address::from)),
            None if self.version(now) == Version::Current => {
                let after = self.answered.map_or(due, |answered| answered + ANSWERS_APART);
                // 2: it cancels a later answer. What waited for that long stays where it is.
                self.answer = Some(self.answer.unwrap_or(Nanos(u64::MAX)).min(due.max(after)));
            }
            // All groups are about to be told, by a query of just now.
            None if self.asked.is_some_and(|asked| now < asked + ANSWERS_APART) => {}
            // RFC 2236, 3: each group by itself, so that not all hosts answer at once.
            None => {
                self.asked = Some(now);
                for group in self.groups.keys().copied().collect::<Vec<_>>() {
                    self.ask_for(group, now + random.below(most), std::iter::empty());
                }
            }
        }
    }

    /// What a querier's message tells about it. One that is older than those before changes in which version all is said, and what was
    /// to be said in another one never is (RFC 9776, 7.2.1).
    fn note_querier(&mut self, query: &Query<'_>, now: Nanos) {
        let before = self.version(now);
        let until = now
            + Nanos::from_seconds(u32::from(self.robustness) * QUERY_INTERVAL_S)
            + Nanos::from_millis(query.response_ms).min(DELAY_MAX);
        match query.version {
            Version::Oldest => self.oldest_until = until,
            Version::Older if query.group.is_none() => self.older_until = until,
            Version::Current if query.robustness != 0 => {
                self.robustness = query.robustness.clamp(ROBUSTNESS, ROBUSTNESS_MAX);
            }
            _ => {}
        }
        if self.version(now) != before {
            self.forget_questions();
            self.changes = None;
            self.left.clear();
            self.groups.values_mut().for_each(|member| member.untold = 0);
        }
    }

    fn forget_questions(&mut self) {
        self.answer = None;
        self.timers.clear();
        self.groups.values_mut().for_each(|member| member.asked = None);
    }

    fn forget_question(&mut self, group: Address) {
        let asked = self.groups.get_mut(&group).and_then(|member| member.asked.take());
        if let Some(asked) = asked {
            self.timers.remove(&(asked.due, group));
        }
    }

    /// RFC 9776, 5.2, 3 to 5: a group is to be told about by `due`, or at the time when it is told about anyway; together with what was
    /// asked before.
    fn ask_for(&mut self, group: Address, due: Nanos, sources: impl Iterator<Item = Address>) {
        let Some(member) = self.groups.get_mut(&group) else { return };
        let mut sources: BTreeSet<Address> = sources.take(SOURCES_MAX + 1).collect();
        let after = member.answered.map_or(due, |answered| answered + ANSWERS_APART);
        let mut due = due.max(after);
        if let Some(asked) = member.asked.take() {
            self.timers.remove(&(asked.due, group));
            due = due.min(asked.due);
            let is_all = asked.sources.is_empty() || sources.is_empty();
            sources.extend(asked.sources);
            if is_all {
                sources.clear();
            }
        }
        if sources.len() > SOURCES_MAX {
            sources.clear();
        }
        member.asked = Some(Asked { due, sources });
        self.timers.insert((due, group));
    }

    /// What is to be said by now.
    pub(super) fn advance(&mut self, now: Nanos, random: &mut Random) -> Vec<Said> {
        let mut said = Vec::new();
        if self.changes.is_some_and(|due| due <= now) {
            said.extend(self.tell_changes(now, random));
        }
        if self.answer.is_some_and(|due| due <= now) {
            (self.answer, self.answered) = (None, Some(now));
            let all = self.groups.keys().map(|group| record(RecordKind::IsExclude, *group)).collect();
            said.extend(reports(all));
        }
        while let Some((due, group)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, group));
            said.extend(self.tell(group, now));
        }
        said
    }

    /// RFC 9776, 5.2: what was asked about one group.
    fn tell(&mut self, group: Address, now: Nanos) -> Option<Said> {
        let version = self.version(now);
        let member = self.groups.get_mut(&group)?;
        let sources = member.asked.take()?.sources;
        member.answered = Some(now);
        if version != Version::Current {
            return Some(Said::OldReport(version, group));
        }
        let kind = if sources.is_empty() { RecordKind::IsExclude } else { RecordKind::IsInclude };
        Some(Said::Report(vec![Record { kind, group, sources: sources.into_iter().collect() }]))
    }

    /// RFC 9776, 5.1: groups that were joined or left lately.
    fn tell_changes(&mut self, now: Nanos, random: &mut Random) -> Vec<Said> {
        let version = self.version(now);
        let joined = self.groups.iter_mut().filter(|(_, member)| member.untold > 0).map(|(group, member)| {
            member.untold -= 1;
            record(RecordKind::ToExclude, *group)
        });
        let left = self.left.keys().map(|group| record(RecordKind::ToInclude, *group));
        let records: Vec<Record> = joined.chain(left).collect();
        // To an older querier it is told once (RFC 2236, 3).
        let is_told = |times: u8| version != Version::Current || times <= 1;
        self.left.retain(|_, times| {
            let told = is_told(*times);
            *times = times.saturating_sub(1);
            !told
        });
        let is_over = self.left.is_empty() && self.groups.values().all(|member| member.untold == 0);
        let apart = if version == Version::Current { UNSOLICITED } else { UNSOLICITED_OLDER };
        self.changes = (!is_over).then(|| now + random.below(apart));
        match version {
            Version::Current => reports(records),
            _ => records.iter().filter_map(|record| older(version, record)).collect(),
        }
    }

    /// Leaves all groups that reach beyond the link; says so once, for there is no time for more.
    pub(super) fn cease(&mut self, now: Nanos) -> Vec<Said> {
        let (version, gone) = (self.version(now), std::mem::take(&mut self.groups));
        *self = Self::default();
        let gone = gone.into_keys().filter(|group| is_snooped((*group).into()));
        let records: Vec<Record> = gone.map(|group| record(RecordKind::ToInclude, group)).collect();
        match version {
            Version::Current => reports(records),
            _ => records.iter().filter_map(|record| older(version, record)).collect(),
        }
    }
}

fn record(kind: RecordKind, group: Address) -> Record {
    Record { kind, group, sources: Vec::new() }
}

/// Reports with these records.
fn reports(records: Vec<Record>) -> Vec<Said> {
    records.chunks(RECORDS_MAX).map(|records| Said::Report(records.to_vec())).collect()
}

/// A change as it is told to an older querier. Who leaves tells none of the oldest version (RFC 9776, 7.2.1).
fn older(version: Version, record: &Record) -> Option<Said> {
    match record.kind {
        RecordKind::ToInclude if version == Version::Oldest => None,
        RecordKind::ToInclude => Some(Said::OldLeave(record.group)),
        _ => Some(Said::OldReport(version, record.group)),
    }
}

#[cfg(test)]
mod tests;
