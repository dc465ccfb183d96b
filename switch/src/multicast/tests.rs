//! Snooping as the switch does it: frames in, and who gets them.

mod properties;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::samples::*;
use crate::frame::{Claims, Head, Metadata};
use crate::{
    DropReason, Egress, Frame, GroupLimits, GroupSnapshot, Limits, MulticastSettings, Nanos, NetworkIndex,
    NetworkSettings, Policy, PortIndex, PortPolicy, Switch, WorkerState,
};

/// Port 0 is the router's; 1 to 7 are hosts, all in network 0; 8 and 9 are alone in network 1.
const PORTS: usize = 10;
const ROUTER: usize = 0;
const GROUP: [u8; 4] = [239, 1, 2, 3];

struct Bench {
    switch: Switch,
    worker: WorkerState,
    now_s: u32,
}

/// Whom a frame reached; the payload is the bytes after the head.
#[derive(Default)]
struct Sent(Vec<usize>);

impl Egress<Vec<u8>> for Sent {
    fn send(&mut self, to: PortIndex, _: usize, _: &Frame<Vec<u8>>) {
        self.0.push(to.get());
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], _: usize, frame: &Frame<Vec<u8>>) {
        assert!(receivers.is_sorted());
        self.0.extend(receivers.iter().filter(|&&port| port != frame.meta.source).map(|port| port.get()));
    }

    fn read(&mut self, frame: &Frame<Vec<u8>>, to: &mut [u8]) -> usize {
        let length = to.len().min(frame.payload.len());
        to[..length].copy_from_slice(&frame.payload[..length]);
        length
    }
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn policy(multicast: Option<MulticastSettings>) -> Arc<Policy> {
    let network = |index| NetworkIndex::new(index).unwrap();
    let ports = (0..PORTS).map(|index| {
        let policy = PortPolicy::new(network(usize::from(index >= 8)), 9000);
        (port(index), PortPolicy { multicast_router: index == ROUTER, ..policy })
    });
    let settings = NetworkSettings { multicast, ..NetworkSettings::default() };
    Arc::new(Policy::compile(ports, [(network(0), settings), (network(1), settings)]).unwrap())
}

fn data(group: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3], 2, 0, 0, 0, 0, 5, 8, 0];
    frame.extend([0x45, 0, 0, 46, 0, 1, 0, 0, 9, 17, 0, 0, 10, 0, 0, 5]);
    frame.extend(group);
    frame.resize(60, 0);
    frame
}

impl Bench {
    fn with(limits: GroupLimits, multicast: Option<MulticastSettings>) -> Self {
        let switch = Switch::new(1, Limits { groups: limits, ..Limits::default() });
        Self { switch, worker: WorkerState::new(policy(multicast)), now_s: 1000 }
    }

    fn new() -> Self {
        Self::with(GroupLimits::default(), Some(MulticastSettings::default()))
    }

    /// With a router that has asked, and the answers waited for.
    fn asked() -> Self {
        let mut bench = Self::new();
        bench.ask();
        bench
    }

    fn ask(&mut self) {
        assert_eq!(self.send(ROUTER, &igmp_query([10, 0, 0, 1], 100, 2)), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(self.send(ROUTER, &mld_query("fe80::1", 10_000, 2)), [1, 2, 3, 4, 5, 6, 7]);
        self.now_s += 11;
    }

    fn try_send(&mut self, from: usize, bytes: &[u8]) -> (Vec<usize>, Vec<DropReason>) {
        let length = u32::try_from(bytes.len()).unwrap();
        let meta = Metadata::new(port(from), length, Claims::default());
        let rest = bytes.get(crate::frame::HEAD_MAX..).unwrap_or_default().to_vec();
        let frame = Frame { head: Head::from_bytes(bytes), meta, payload: rest };
        let mut sent = Sent::default();
        let before = self.switch.counters().port(port(from)).snapshot().drops;
        let now = Nanos::from_seconds(self.now_s);
        self.switch.process(&mut self.worker, now, &mut [frame], &mut sent);
        let after = self.switch.counters().port(port(from)).snapshot().drops;
        let reasons = DropReason::ALL.iter().copied().zip(before.into_iter().zip(after));
        (sent.0, reasons.filter(|(_, (before, after))| before < after).map(|(reason, _)| reason).collect())
    }

    fn send(&mut self, from: usize, bytes: &[u8]) -> Vec<usize> {
        let (sent, drops) = self.try_send(from, bytes);
        assert_eq!(drops, []);
        sent
    }

    fn drops(&mut self, from: usize, bytes: &[u8], reason: DropReason) {
        assert_eq!(self.try_send(from, bytes), (vec![], vec![reason]));
    }

    fn expire(&self) {
        let now = Nanos::from_seconds(self.now_s);
        self.switch.expire(now, self.worker.policy(), usize::MAX);
    }

    fn counted(&self) -> GroupSnapshot {
        self.switch.group_counters()
    }
}

#[test]
fn members_and_routers_get_the_groups_frames_and_nobody_else() {
    let mut bench = Bench::asked();
    assert_eq!(bench.send(5, &data(GROUP)), [0, 1, 2, 3, 4, 6, 7], "nobody joined: unregistered");
    assert_eq!(bench.send(1, &igmp_2(0x16, GROUP)), [ROUTER], "a report is for the routers");
    assert_eq!(bench.send(3, &igmp_3(&[record_4(4, GROUP, 0)])), [ROUTER]);
    assert_eq!(bench.send(5, &data(GROUP)), [0, 1, 3]);
    assert_eq!(bench.send(1, &data(GROUP)), [0, 3], "a member's own frame does not come back");
    assert_eq!(bench.send(5, &data([239, 129, 2, 3])).len(), 7, "another group with the same MAC address");
    assert_eq!(bench.send(8, &data(GROUP)), [9], "another network");
    let expected = GroupSnapshot { queries: 2, joined: 4, ..GroupSnapshot::default() };
    assert_eq!(bench.counted(), expected);
}

#[test]
fn ipv6_groups_are_snooped_likewise() {
    let mut bench = Bench::asked();
    let mut frame = mld("fe80::5", "ff05::1:3", &[17; 20]);
    frame[20] = 17;
    assert_eq!(bench.send(2, &mld_1(131, "fe80::2", "ff05::1:3")), [ROUTER]);
    assert_eq!(bench.send(5, &frame), [0, 2]);
    bench.send(2, &mld_1(132, "fe80::2", "ff05::1:3"));
    bench.now_s += 3;
    bench.expire();
    assert_eq!(bench.send(5, &frame).len(), 7);
}

#[test]
fn the_links_own_groups_reach_all_whoever_joins_them() {
    let mut bench = Bench::asked();
    bench.send(1, &igmp_3(&[record_4(4, [224, 0, 0, 251], 0)]));
    bench.send(1, &mld_2(&[record_6(4, "ff02::1:ff00:1", 0), record_6(4, "ff02::fb", 0)]));
    // The same MAC address as a solicited-node group: who joins it must not cut off neighbour discovery.
    bench.send(1, &mld_2(&[record_6(4, "ff05::1:ff00:1", 0)]));
    assert_eq!(bench.send(5, &data([224, 0, 0, 251])).len(), 7);
    let mut solicitation = mld("fe80::5", "ff02::1:ff00:1", &[135; 24]);
    solicitation[20] = 58;
    assert_eq!(bench.send(5, &solicitation).len(), 7);
}

#[test]
fn without_a_querier_everything_is_flooded() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.send(1, &igmp_2(0x16, GROUP)).len(),
        7,
        "even reports: there may be a router that nobody told us of"
    );
    assert_eq!(bench.send(5, &data(GROUP)).len(), 7);
    bench.ask();
    bench.send(1, &igmp_2(0x16, GROUP));
    assert_eq!(bench.send(5, &data(GROUP)), [0, 1]);
    bench.now_s += 250;
    bench.expire();
    assert_eq!(bench.send(5, &data(GROUP)).len(), 7, "the querier is silent for too long");
}

#[test]
fn until_hosts_had_time_to_answer_groups_go_to_all() {
    let mut bench = Bench::new();
    bench.send(ROUTER, &igmp_query([10, 0, 0, 1], 100, 2));
    bench.send(1, &igmp_2(0x16, GROUP));
    bench.now_s += 10;
    assert_eq!(bench.send(5, &data(GROUP)).len(), 7);
    bench.now_s += 1;
    assert_eq!(bench.send(5, &data(GROUP)), [0, 1]);
}

#[test]
fn a_late_or_slow_query_gives_hosts_their_time_again() {
    let mut bench = Bench::asked();
    bench.send(1, &igmp_2(0x16, GROUP));
    bench.now_s += 235;
    bench.send(2, &igmp_2(0x16, GROUP));
    // What port 1 said ends before the answers to this query must be there.
    bench.send(ROUTER, &igmp_query([10, 0, 0, 1], 250, 2));
    bench.now_s += 25;
    bench.expire();
    assert_eq!(bench.send(5, &data(GROUP)).len(), 7);
    bench.now_s += 1;
    assert_eq!(bench.send(5, &data(GROUP)), [0, 2]);
}

#[test]
fn only_who_may_be_a_router_is_believed() {
    let mut bench = Bench::new();
    bench.drops(4, &igmp_query([10, 0, 0, 4], 100, 2), DropReason::RogueQuery);
    bench.drops(4, &mld_query("fe80::4", 1000, 1), DropReason::RogueQuery);
    bench.now_s += 20;
    assert_eq!(bench.send(5, &data(GROUP)).len(), 7);
    assert_eq!(bench.counted().queries, 0);
    // Where nobody may be one, nobody is read either.
    assert_eq!(bench.send(8, &igmp_query([10, 0, 0, 4], 100, 2)), [9]);
}

#[test]
fn who_leaves_goes_after_the_last_query_unless_somebody_still_wants_it() {
    let mut bench = Bench::asked();
    bench.send(1, &igmp_2(0x16, GROUP));
    bench.send(2, &igmp_2(0x16, GROUP));
    assert_eq!(bench.send(1, &igmp_2(0x17, GROUP)), [ROUTER]);
    bench.send(2, &igmp_3(&[record_4(3, GROUP, 0)]));
    assert_eq!(bench.send(5, &data(GROUP)), [0, 1, 2]);
    bench.now_s += 1;
    bench.send(2, &igmp_2(0x16, GROUP));
    bench.now_s += 2;
    bench.expire();
    assert_eq!(bench.send(5, &data(GROUP)), [0, 2]);
    bench.send(7, &igmp_2(0x17, GROUP));
    assert_eq!(bench.send(5, &data(GROUP)), [0, 2], "nobody leaves for another port");
    let counted = bench.counted();
    assert_eq!((counted.joined, counted.left, counted.expired), (4, 2, 1));
}

#[test]
fn who_leaves_fast_goes_at_once() {
    let settings = MulticastSettings { fast_leave: true, ..MulticastSettings::default() };
    let mut bench = Bench::with(GroupLimits::default(), Some(settings));
    bench.ask();
    bench.send(1, &igmp_2(0x16, GROUP));
    bench.send(2, &igmp_2(0x16, GROUP));
    bench.send(1, &igmp_2(0x17, GROUP));
    assert_eq!(bench.send(5, &data(GROUP)), [0, 2]);
}

#[test]
fn a_message_beyond_the_head_is_read_to_its_end() {
    let mut bench = Bench::asked();
    let records: Vec<_> = (0..70).map(|n| record_6(4, &format!("ff05::{n:x}"), 0)).collect();
    let long = mld_2(&records);
    assert_eq!(long.len(), 14 + 48 + 8 + 1400);
    assert_eq!(bench.send(1, &long), [ROUTER]);
    let mut frame = mld("fe80::5", "ff05::45", &[17; 20]);
    frame[20] = 17;
    assert_eq!(bench.send(5, &frame), [0, 1]);
    // Too long to be read: its groups are not known, so all of the family's go to all.
    let records: Vec<_> = (0..200).map(|n| record_6(4, &format!("ff05::1:{n:x}"), 0)).collect();
    assert_eq!(bench.send(2, &mld_2(&records)).len(), 7);
    assert_eq!(bench.send(5, &frame).len(), 7);
    bench.send(1, &igmp_2(0x16, GROUP));
    assert_eq!(bench.send(5, &data(GROUP)), [0, 1], "the other family is not concerned");
    assert_eq!(bench.counted().unread, 1);
}

#[test]
fn what_is_malformed_is_dropped_and_changes_nothing() {
    let mut bench = Bench::asked();
    let mut wrong = igmp_2(0x16, GROUP);
    wrong[41] ^= 1;
    bench.drops(1, &wrong, DropReason::BadMembership);
    let long = igmp_3(&(0..20).map(|n| record_4(4, [239, 0, 0, n], 0)).collect::<Vec<_>>());
    bench.drops(1, &long[..130], DropReason::BadMembership);
    assert_eq!((bench.counted().malformed, bench.counted().joined), (2, 2));
}

#[test]
fn a_frame_that_only_its_sender_wants_is_counted() {
    let mut bench = Bench::asked();
    bench.drops(ROUTER, &igmp_2(0x16, [239, 9, 9, 9]), DropReason::NoMember);
    bench.drops(ROUTER, &data([239, 9, 9, 9]), DropReason::NoMember);
}

#[test]
fn a_storm_of_messages_is_cut() {
    let mut bench = Bench::asked();
    let report = igmp_2(0x16, GROUP);
    for _ in 0..125 {
        assert_eq!(bench.send(1, &report), [ROUTER]);
    }
    bench.drops(1, &report, DropReason::StormMembership);
    assert_eq!(bench.send(2, &report), [ROUTER], "others are not concerned");
}

#[test]
fn who_joins_without_end_displaces_only_itself() {
    let limits = GroupLimits { groups: 64, memberships: 64, memberships_per_port_max: 1000 };
    let mut bench = Bench::with(limits, Some(MulticastSettings::default()));
    bench.ask();
    for member in 2..8 {
        bench.send(member, &igmp_2(0x16, GROUP));
    }
    for round in 0..200_u32 {
        let [.., c, d] = round.to_be_bytes();
        let records: Vec<_> = (0..20).map(|n| record_4(4, [238, c, d, n], 0)).collect();
        bench.send(1, &igmp_3(&records));
        bench.now_s += u32::from(round % 10 == 0);
        assert_eq!(bench.send(5, &data(GROUP)), [0, 2, 3, 4, 6, 7]);
    }
    let late = igmp_2(0x16, [239, 5, 5, 5]);
    bench.send(3, &late);
    let sent = bench.send(5, &data([239, 5, 5, 5]));
    assert!(sent == [0, 3], "who comes late finds room: {sent:?}");
    let counted = bench.counted();
    assert!(counted.evicted > 3000 && counted.refused == 0, "{counted:?}");
}

#[test]
fn a_port_has_its_own_limit_and_is_forgotten_with_it() {
    let limits = GroupLimits { memberships_per_port_max: 10, ..GroupLimits::default() };
    let mut bench = Bench::with(limits, Some(MulticastSettings::default()));
    bench.ask();
    let records: Vec<_> = (0..50).map(|n| record_4(4, [238, 1, 1, n], 0)).collect();
    bench.send(1, &igmp_3(&records));
    bench.send(2, &igmp_3(&records[..1]));
    let held = |bench: &Bench, index| {
        let groups = bench.switch.groups(Nanos::from_seconds(bench.now_s));
        groups.iter().flat_map(|group| &group.ports).filter(|(member, _)| *member == port(index)).count()
    };
    assert_eq!((held(&bench, 1), held(&bench, 2)), (10, 1));
    bench.switch.forget_port(port(1));
    assert_eq!((held(&bench, 1), held(&bench, 2)), (0, 1));
    let counted = bench.counted();
    assert_eq!((counted.forgotten, counted.joined - counted.evicted), (10, 10 + 3));
}

#[test]
fn who_left_the_network_is_no_member_any_more() {
    let mut bench = Bench::asked();
    bench.send(1, &igmp_2(0x16, GROUP));
    bench.send(2, &igmp_2(0x16, GROUP));
    let network = |index| NetworkIndex::new(index).unwrap();
    let ports = [(0, 0), (1, 1), (2, 0), (5, 0), (6, 0)].map(|(index, of)| {
        (port(index), PortPolicy { multicast_router: index == 0, ..PortPolicy::new(network(of), 1500) })
    });
    let networks = [0, 1].map(|index| (network(index), NetworkSettings::default()));
    bench.worker.set_policy(Arc::new(Policy::compile(ports, networks).unwrap()));
    assert_eq!(bench.send(5, &data(GROUP)), [0, 2], "even before it is swept out");
    bench.expire();
    assert_eq!(bench.counted().expired, 1);
}

#[test]
fn where_snooping_is_off_frames_go_to_all() {
    let mut bench = Bench::with(GroupLimits::default(), None);
    bench.ask();
    assert_eq!(bench.send(1, &igmp_2(0x16, GROUP)).len(), 7);
    assert_eq!(bench.send(5, &data(GROUP)).len(), 7);
    assert_eq!(bench.counted(), GroupSnapshot::default());
}

#[test]
fn a_worker_that_finds_the_lock_taken_floods() {
    let mut bench = Bench::asked();
    bench.send(1, &igmp_2(0x16, GROUP));
    let switch = std::mem::replace(&mut bench.switch, Switch::new(1, Limits::default()));
    std::thread::scope(|scope| {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (ready, wait) = std::sync::mpsc::channel::<()>();
        let groups = &switch.groups;
        scope.spawn(move || {
            let _writer = groups.writer.lock().unwrap();
            ready.send(()).unwrap();
            let _ = held.recv();
        });
        wait.recv().unwrap();
        let report = igmp_2(0x16, GROUP);
        let meta = Metadata::new(port(2), 46, Claims::default());
        let frame = Frame { head: Head::from_bytes(&report), meta, payload: Vec::new() };
        let now = Nanos::from_seconds(bench.now_s);
        switch.process(&mut bench.worker, now, &mut [frame], &mut Sent::default());
        drop(hold);
    });
    bench.switch = switch;
    assert_eq!(bench.counted().contended, 1);
    assert_eq!(bench.send(5, &data(GROUP)).len(), 7, "port 2 joined, and nobody noted it");
}

#[test]
fn readers_beside_a_writer_send_to_a_port_of_the_group_or_to_all() {
    let limits = GroupLimits { groups: 8, memberships: 16, memberships_per_port_max: 100 };
    let mut bench = Bench::with(limits, Some(MulticastSettings::default()));
    bench.ask();
    let now = Nanos::from_seconds(bench.now_s);
    let switch = &bench.switch;
    let run = |from: usize, bytes: Vec<u8>, worker: &mut WorkerState| {
        let length = u32::try_from(bytes.len()).unwrap();
        let meta = Metadata::new(port(from), length, Claims::default());
        let mut sent = Sent::default();
        let frame = Frame { head: Head::from_bytes(&bytes), meta, payload: Vec::new() };
        switch.process(worker, now, &mut [frame], &mut sent);
        sent.0
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut worker = WorkerState::new(bench.worker.policy().clone());
            // Port n joins only groups that end in n; the meters let through what they let through.
            for round in 0..5000_u32 {
                let from = 1 + (round % 4) as usize;
                let group = [239, 0, u8::try_from(round / 4 % 200).unwrap(), u8::try_from(from).unwrap()];
                run(from, igmp_2(if round % 3 == 0 { 0x17 } else { 0x16 }, group), &mut worker);
            }
        });
        scope.spawn(|| {
            let mut worker = WorkerState::new(bench.worker.policy().clone());
            for round in 0..20_000_u32 {
                let member = 1 + (round % 4) as usize;
                let group = [239, 0, u8::try_from(round / 4 % 200).unwrap(), u8::try_from(member).unwrap()];
                let sent = run(5, data(group), &mut worker);
                assert!(
                    sent.is_empty() || sent.len() == 7 || sent == [0] || sent == [0, member],
                    "{group:?}: {sent:?}"
                );
            }
        });
    });
}
