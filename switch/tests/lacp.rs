//! Two systems that agree by LACP about the links between them, in a simulated network with losses, duplicates and
//! delays; and partners that lie, fall silent or are somebody else.
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

#[path = "lacp/net.rs"]
mod net;
#[path = "lacp/partners.rs"]
mod partners;
#[path = "lacp/random.rs"]
mod random;

use net::{Chance, GIGABIT, MS, Net, SECOND, busiest_second, lacp, settings, status};
use viaduct_switch::lacp::pdu::{Lacpdu, Marker, Message};
use viaduct_switch::lacp::{
    ChurnState, Flag, Lacp, Medium, MuxState, PortInfo, Rate, ReceiveState, Settings, State, SystemId,
};
use viaduct_switch::{MacAddress, Nanos};
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

#[test]
fn lacpdus_come_from_the_address_that_a_link_has_now() {
    let mut one = lacp(settings(1), 2);
    let mine = MacAddress([2, 0, 0, 0, 7, 7]);
    one.set_address(1, mine);
    one.set_address(2, MacAddress([2, 0, 0, 0, 7, 8]));
    (0..2).for_each(|link| one.set_medium(link, Some(GIGABIT), Nanos(0)));
    let sources: Vec<_> =
        std::iter::from_fn(|| one.next_frame()).map(|(link, frame)| (link, frame[6..12].to_vec())).collect();
    assert_eq!(sources, [(0, vec![2, 0, 0, 0, 1, 0]), (1, mine.0.to_vec())]);
}

#[test]
fn states_are_told_by_the_standards_names() {
    use ReceiveState::{Current, Defaulted, Expired, PortDisabled};
    let names = [PortDisabled, Expired, Defaulted, Current].map(ReceiveState::name);
    assert_eq!(names, ["port-disabled", "expired", "defaulted", "current"]);
    use MuxState::{Attached, Collecting, Detached, Distributing, Waiting};
    let names = [Detached, Waiting, Attached, Collecting, Distributing].map(MuxState::name);
    assert_eq!(names, ["detached", "waiting", "attached", "collecting", "distributing"]);
    let names = [ChurnState::Monitor, ChurnState::NoChurn, ChurnState::Churn].map(ChurnState::name);
    assert_eq!(names, ["monitor", "no-churn", "churn"]);
}
