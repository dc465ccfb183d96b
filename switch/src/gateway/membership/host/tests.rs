//! In simulated time, with queries as they are on the wire.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::multicast::Family;
use crate::multicast::samples::{igmp, igmp_query};

const QUERIER: [u8; 4] = [192, 0, 2, 9];

fn group(number: u8) -> Address {
    Address::from_v4([239, 1, 1, number])
}

fn groups(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<Address> {
    numbers.into_iter().map(group).collect()
}

/// A query about one group, of version 3 if there are sources, else of 2.
fn about(number: u8, code: u8, sources: Option<&[[u8; 4]]>) -> Vec<u8> {
    let mut message = vec![0x11, code, 0, 0, 239, 1, 1, number];
    if let Some(sources) = sources {
        message.extend([0, 125, 0, u8::try_from(sources.len()).unwrap()]);
        message.extend(sources.concat());
    }
    igmp(QUERIER, [239, 1, 1, number], &message)
}

struct Lab {
    host: Host,
    random: Random,
    now: Nanos,
}

impl Lab {
    /// A member of these groups, who has told so.
    fn member(numbers: impl IntoIterator<Item = u8>) -> Self {
        let mut lab = Self { host: Host::default(), random: Random::new(7), now: Nanos::from_seconds(1000) };
        lab.host.set_groups(&groups(numbers), lab.now);
        lab.wait(10_000);
        lab
    }

    fn hear(&mut self, frame: &[u8]) {
        let query = Query::read(frame, Family::V4).unwrap();
        self.host.hear(&query, self.now, &mut self.random);
    }

    /// What is said in the next milliseconds, and after how many.
    fn wait(&mut self, milliseconds: u32) -> Vec<(u64, Said)> {
        let (start, end) = (self.now, self.now + Nanos::from_millis(milliseconds));
        let mut all = Vec::new();
        while let Some(due) = self.host.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let said = self.host.advance(self.now, &mut self.random);
            all.extend(said.into_iter().map(|said| ((self.now - start).0 / 1_000_000, said)));
        }
        self.now = end;
        all
    }

    fn said(&mut self, milliseconds: u32) -> Vec<Said> {
        self.wait(milliseconds).into_iter().map(|(_, said)| said).collect()
    }
}

fn report(records: &[(RecordKind, u8)]) -> Said {
    Said::Report(records.iter().map(|(kind, number)| record(*kind, group(*number))).collect())
}

/// RFC 9776, 5.1: at once, and once more within a second.
#[test]
fn joins_and_leaves_are_told_twice_and_together() {
    let mut lab = Lab::member([]);
    lab.host.set_groups(&groups([1, 2]), lab.now);
    let joined = report(&[(RecordKind::ToExclude, 1), (RecordKind::ToExclude, 2)]);
    let told = lab.wait(1000);
    assert_eq!(told.iter().map(|(_, said)| said.clone()).collect::<Vec<_>>(), [joined.clone(), joined]);
    assert!(told[0].0 == 0 && told[1].0 > 0, "{told:?}");
    assert_eq!(lab.said(100_000), []);
    // One goes and another one comes.
    lab.host.set_groups(&groups([2, 3]), lab.now);
    let changed = report(&[(RecordKind::ToExclude, 3), (RecordKind::ToInclude, 1)]);
    assert_eq!(lab.said(1000), [changed.clone(), changed]);
    // What was left and is wanted again meanwhile was never left.
    lab.host.set_groups(&groups([2]), lab.now);
    assert_eq!(lab.said(0), [report(&[(RecordKind::ToInclude, 3)])]);
    lab.host.set_groups(&groups([2, 3]), lab.now);
    assert_eq!(
        lab.said(1000),
        [report(&[(RecordKind::ToExclude, 3)]), report(&[(RecordKind::ToExclude, 3)])]
    );
    assert_eq!((lab.said(100_000), lab.host.next_deadline()), (vec![], None));
}

#[test]
fn the_same_groups_again_are_no_news_but_a_new_link_is() {
    let mut lab = Lab::member([1]);
    lab.host.set_groups(&groups([1]), lab.now);
    assert_eq!(lab.said(10_000), []);
    lab.host.tell_again(lab.now);
    assert_eq!(lab.said(10_000).len(), 2);
    let mut none = Lab::member([]);
    none.host.tell_again(none.now);
    assert_eq!(none.host.next_deadline(), None);
}

/// RFC 9776, 8.1: what may be lost, the querier says.
#[test]
fn a_querier_that_tells_a_greater_robustness_is_told_more_often() {
    let mut lab = Lab::member([1]);
    let mut query = vec![0x11, 10, 0, 0, 0, 0, 0, 0, 4, 125, 0, 0];
    lab.hear(&igmp(QUERIER, [224, 0, 0, 1], &query));
    lab.wait(1000);
    lab.host.set_groups(&groups([]), lab.now);
    assert_eq!(lab.said(10_000).len(), 4);
    // One may be lost at least, whatever anybody says.
    query[8] = 1;
    lab.hear(&igmp(QUERIER, [224, 0, 0, 1], &query));
    lab.host.set_groups(&groups([1]), lab.now);
    assert_eq!(
        lab.said(10_000).iter().filter(|said| **said == report(&[(RecordKind::ToExclude, 1)])).count(),
        2
    );
}

#[test]
fn all_groups_are_told_once_within_the_time_that_the_querier_gives() {
    let mut lab = Lab::member([1, 2]);
    let all = report(&[(RecordKind::IsExclude, 1), (RecordKind::IsExclude, 2)]);
    for code in [100, 50, 10] {
        lab.hear(&igmp_query(QUERIER, code, 3));
    }
    assert_eq!(lab.said(1000), std::slice::from_ref(&all), "the shortest time counts");
    assert_eq!(lab.said(100_000), []);
    let times: BTreeSet<u64> = (0..20)
        .map(|_| {
            lab.hear(&igmp_query(QUERIER, 100, 3));
            let told = lab.wait(10_000);
            assert_eq!(told.len(), 1);
            told[0].0
        })
        .collect();
    assert!(times.len() > 15, "at random: {times:?}");
}

#[test]
fn one_group_is_told_if_it_is_one_of_those() {
    let mut lab = Lab::member([1, 2]);
    lab.hear(&about(3, 10, Some(&[])));
    assert_eq!(lab.host.next_deadline(), None);
    lab.hear(&about(2, 10, Some(&[])));
    assert_eq!(lab.said(1000), [report(&[(RecordKind::IsExclude, 2)])]);
    // RFC 9776, 5.2, 1: who is about to hear all hears nothing beside.
    lab.hear(&igmp_query(QUERIER, 10, 3));
    lab.now = lab.host.next_deadline().unwrap();
    lab.hear(&about(2, 10, Some(&[])));
    assert_eq!(lab.said(1000), [report(&[(RecordKind::IsExclude, 1), (RecordKind::IsExclude, 2)])]);
}

/// RFC 9776, 5.2: what is wanted of the sources that were asked for; here all of them.
#[test]
fn sources_are_told_as_they_were_asked_for() {
    let mut lab = Lab::member([1]);
    let sources = [[192, 0, 2, 7], [192, 0, 2, 8], [192, 0, 2, 7]];
    lab.hear(&about(1, 10, Some(&sources[..1])));
    lab.hear(&about(1, 10, Some(&sources[1..])));
    let told = lab.said(1000);
    let expected = sources[..2].iter().map(|source| Address::from_v4(*source)).collect();
    assert_eq!(
        told,
        [Said::Report(vec![Record { kind: RecordKind::IsInclude, group: group(1), sources: expected }])]
    );
    // Once all is asked for, all is told; and who asks for too many is told of all, too.
    lab.hear(&about(1, 10, Some(&sources)));
    lab.hear(&about(1, 10, Some(&[])));
    assert_eq!(lab.said(2000), [report(&[(RecordKind::IsExclude, 1)])]);
    for number in 0..4_u8 {
        let many: Vec<[u8; 4]> = (0..20).map(|last| [10, 0, number, last]).collect();
        lab.hear(&about(1, 10, Some(&many)));
    }
    assert_eq!(lab.said(2000), [report(&[(RecordKind::IsExclude, 1)])]);
}

/// RFC 9776, 7.2.1; RFC 2236, 3.
#[test]
fn an_older_querier_is_spoken_to_in_its_language_until_it_is_gone() {
    let mut lab = Lab::member([1, 2]);
    lab.hear(&igmp_query(QUERIER, 100, 3));
    lab.hear(&igmp_query(QUERIER, 100, 2));
    let older = |number| Said::OldReport(Version::Older, group(number));
    let told = lab.wait(10_000);
    let mut what: Vec<Said> = told.iter().map(|(_, said)| said.clone()).collect();
    what.sort_by_key(|said| *said != older(1));
    assert_eq!(what, [older(1), older(2)], "and what was to be said to the newer one never is");
    lab.hear(&about(2, 10, None));
    assert_eq!(lab.said(1000), [older(2)]);
    lab.host.set_groups(&groups([1, 3]), lab.now);
    assert_eq!(lab.said(0), [older(3), Said::OldLeave(group(2))]);
    assert_eq!(lab.said(10_000), [older(3)], "who leaves says so once");
    // One that is older still.
    lab.hear(&igmp_query(QUERIER, 0, 1));
    assert!(lab.said(10_000).iter().all(|said| matches!(said, Said::OldReport(Version::Oldest, _))));
    lab.host.set_groups(&groups([1]), lab.now);
    assert_eq!(lab.said(100_000), []);
    // Both are gone.
    lab.wait(270_000);
    lab.host.set_groups(&groups([1, 5]), lab.now);
    assert_eq!(lab.said(0), [report(&[(RecordKind::ToExclude, 5)])]);
}

#[test]
fn who_ends_leaves_its_groups_but_not_those_of_the_link() {
    let mut lab = Lab::member([1, 2]);
    let gone = report(&[(RecordKind::ToInclude, 1), (RecordKind::ToInclude, 2)]);
    assert_eq!(lab.host.cease(lab.now), [gone]);
    assert_eq!((lab.host.cease(lab.now), lab.host.next_deadline()), (vec![], None));
    let mut six = Lab::member([]);
    let all_routers: IpAddr = "ff02::2".parse().unwrap();
    six.host.set_groups(&BTreeSet::from([all_routers.into()]), six.now);
    assert_eq!(six.host.cease(six.now), []);
}

#[test]
fn a_report_has_as_many_records_as_pass_any_link() {
    let mut lab = Lab::member([]);
    lab.host.set_groups(&groups(0..=255), lab.now);
    let told = lab.said(0);
    let lengths: Vec<usize> = told
        .iter()
        .map(|said| match said {
            Said::Report(records) => records.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [60, 60, 60, 60, 16]);
}

proptest! {
    /// Whatever is asked however often: the same is not told twice within a quarter of a second, nothing is remembered
    /// but of groups of its own, and all that is asked for is told in time.
    #[test]
    fn a_flood_of_queries_costs_little(
        queries in prop::collection::vec((0..4_u8, 0..255_u8, 0..6_u8, 0..40_u8, 0..300_u32), 1..300),
    ) {
        let mut lab = Lab::member([1, 2, 3]);
        let mut told: Vec<(Nanos, Said)> = Vec::new();
        for (kind, code, number, sources, pause) in queries {
            let many: Vec<[u8; 4]> = (0..sources).map(|last| [10, code, number, last]).collect();
            let frame = match kind {
                0 => igmp_query(QUERIER, code, 3),
                1 => igmp_query(QUERIER, code, 2),
                2 => about(number, code.max(1), None),
                _ => about(number, code, Some(&many)),
            };
            lab.hear(&frame);
            prop_assert!(lab.host.timers.len() <= 3);
            prop_assert!(lab.host.groups.values().filter_map(|member| member.asked.as_ref()).all(|asked| asked.sources.len() <= SOURCES_MAX));
            let start = lab.now;
            told.extend(lab.wait(pause).into_iter().map(|(after, said)| (start + Nanos::from_millis(u32::try_from(after).unwrap()), said)));
        }
        let start = lab.now;
        told.extend(lab.wait(10_250).into_iter().map(|(after, said)| (start + Nanos::from_millis(u32::try_from(after).unwrap()), said)));
        prop_assert_eq!(lab.host.next_deadline(), None, "all is told");
        let key = |said: &Said| match said {
            Said::Report(records) if records.len() == 1 => Some(records[0].group),
            Said::Report(_) => None,
            Said::OldReport(_, group) | Said::OldLeave(group) => Some(*group),
        };
        for (at, (when, said)) in told.iter().enumerate() {
            let next = told[at + 1..].iter().find(|(_, other)| key(other) == key(said));
            prop_assert!(next.is_none_or(|(other, _)| (*other - *when) >= ANSWERS_APART - Nanos::from_millis(2)), "{:?} {:?}", when, next);
        }
    }
}
