//! Partners that lie, fall silent or are somebody else.

use super::*;

/// A partner that says what a test wants.
struct Puppet {
    actor: PortInfo,
    /// What it claims to know of us.
    partner: Option<PortInfo>,
}

impl Puppet {
    fn new(system: u8) -> Self {
        let system = SystemId { priority: 1, address: MacAddress([2, 0, 0, 0, 9, system]) };
        Self {
            actor: PortInfo { system, key: 5, port_priority: 2, port: 3, state: State(0x3f) },
            partner: None,
        }
    }

    fn say(&self, to: &mut Lacp, link: usize, now: u64) {
        let partner = self.partner.unwrap_or_else(|| status(to, link).actor);
        to.receive(
            link,
            &Lacpdu::new(self.actor, partner).encode(MacAddress([2, 0, 0, 0, 9, 9])),
            Nanos(now),
        );
    }
}

/// What a puppet does otherwise.
type Change = fn(&mut Puppet);

/// A bond of two links that both distribute, with a puppet at each.
fn served() -> (Lacp, [Puppet; 2], u64) {
    let (mut one, mut puppets) = (lacp(settings(1), 2), [Puppet::new(1), Puppet::new(1)]);
    puppets[1].actor.port = 4;
    (0..2).for_each(|link| one.set_medium(link, Some(GIGABIT), Nanos(0)));
    for tick in 0..30 {
        puppets.iter().enumerate().for_each(|(link, puppet)| puppet.say(&mut one, link, tick * 100 * MS));
        while one.next_frame().is_some() {}
    }
    assert!(one.distributes(0) && one.distributes(1));
    (one, puppets, 3 * SECOND)
}

#[test]
fn a_partner_that_becomes_another_port_is_let_go_and_taken_anew() {
    let changes: [fn(&mut PortInfo); 6] = [
        |actor| actor.key += 1,
        |actor| actor.port += 1,
        |actor| actor.port_priority += 1,
        |actor| actor.system.priority += 1,
        |actor| actor.system.address.0[5] += 1,
        |actor| actor.state.set(Flag::Aggregation, false),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut one, mut puppets, now) = served();
        change(&mut puppets[0].actor);
        puppets[0].say(&mut one, 0, now);
        assert!(!one.collects(0) && !one.distributes(0), "change {number}");
        assert!(one.distributes(1), "the other link is not concerned");
        assert!(status(&one, 0).mux <= MuxState::Waiting);
        // All links change: they are one group again after the wait.
        change(&mut puppets[1].actor);
        for tick in 0..50 {
            (0..2).for_each(|link| puppets[link].say(&mut one, link, now + tick * 100 * MS));
        }
        assert!(one.distributes(0) || one.distributes(1), "change {number}");
    }
}

#[test]
fn a_partner_in_sync_has_to_mean_us_and_go_on_telling() {
    let cases: [(Change, bool); 9] = [
        (|_| (), true),
        (|puppet| puppet.actor.state.set(Flag::Synchronization, false), false),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.port += 1), false),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.key += 1), false),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.system.address.0[0] = 0), false),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.state.set(Flag::Aggregation, false)), false),
        // It is passive, but knows that we are not.
        (|puppet| puppet.actor.state.set(Flag::Activity, false), true),
        (
            |puppet| {
                puppet.actor.state.set(Flag::Activity, false);
                puppet.partner.iter_mut().for_each(|us| us.state.set(Flag::Activity, false));
            },
            false,
        ),
        (|puppet| puppet.partner.iter_mut().for_each(|us| us.state = State(us.state.0 & 7)), true),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let (mut one, mut puppets, now) = served();
        puppets[0].partner = Some(status(&one, 0).actor);
        change(&mut puppets[0]);
        puppets[0].say(&mut one, 0, now);
        assert_eq!(one.distributes(0), expected, "case {number}");
        assert_eq!(status(&one, 0).partner.state.has(Flag::Synchronization), expected, "case {number}");
    }
}

#[test]
fn a_passive_end_needs_an_active_partner() {
    let mut one = lacp(Settings { active: false, ..settings(1) }, 1);
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    let mut puppet = Puppet::new(1);
    puppet.actor.state.set(Flag::Activity, false);
    // It claims that we are active, and so would go on; but we are not.
    puppet.partner = Some(PortInfo { state: State(0xff), ..status(&one, 0).actor });
    puppet.say(&mut one, 0, SECOND);
    assert!(!status(&one, 0).partner.state.has(Flag::Synchronization));
    puppet.actor.state.set(Flag::Activity, true);
    puppet.say(&mut one, 0, SECOND);
    assert!(status(&one, 0).partner.state.has(Flag::Synchronization));
}

#[test]
fn a_partner_that_stands_alone_needs_not_know_us() {
    let mut one = lacp(settings(1), 1);
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    let mut puppet = Puppet::new(1);
    puppet.actor.state.set(Flag::Aggregation, false);
    puppet.partner = Some(PortInfo { port: 77, ..status(&one, 0).actor });
    puppet.say(&mut one, 0, SECOND);
    assert!(status(&one, 0).partner.state.has(Flag::Synchronization));
    puppet.say(&mut one, 0, 3 * SECOND);
    assert!(one.distributes(0));
}

#[test]
fn a_partner_that_does_not_collect_gets_nothing_and_one_out_of_sync_is_not_heard() {
    let (mut one, mut puppets, now) = served();
    puppets[0].actor.state.set(Flag::Collecting, false);
    puppets[0].say(&mut one, 0, now);
    assert!(one.collects(0) && !one.distributes(0));
    assert_eq!(status(&one, 0).mux, MuxState::Collecting);
    assert_eq!(status(&one, 0).counters.withdrawals, 1);
    puppets[0].actor.state.set(Flag::Synchronization, false);
    puppets[0].say(&mut one, 0, now);
    assert!(!one.collects(0));
    assert_eq!(status(&one, 0).mux, MuxState::Attached);
    puppets[0].actor.state = State(0x3f);
    puppets[0].say(&mut one, 0, now);
    assert!(one.distributes(0), "no wait: it never left the group");
    assert_eq!(status(&one, 0).counters.withdrawals, 1);
}

#[test]
fn whoever_has_us_wrong_hears_from_us_but_not_more_than_three_times_a_second() {
    let (mut one, mut puppets, start) = served();
    let wrong: [fn(&mut PortInfo); 5] = [
        |us| us.port += 1,
        |us| us.state.set(Flag::Activity, false),
        |us| us.state.set(Flag::ShortTimeout, false),
        |us| us.state.set(Flag::Synchronization, false),
        |us| us.state.set(Flag::Aggregation, false),
    ];
    for change in wrong {
        let now = start + 100 * SECOND;
        let (mut one, puppets, _) = served();
        let mut puppet = Puppet { actor: puppets[0].actor, partner: Some(status(&one, 0).actor) };
        // Nothing was sent for long; the periodic one is taken first.
        one.advance(Nanos(now));
        while one.next_frame().is_some() {}
        puppet.partner = Some(status(&one, 0).actor);
        puppet.say(&mut one, 0, now + 1);
        while one.next_frame().is_some() {}
        puppet.partner = Some(status(&one, 0).actor);
        puppet.say(&mut one, 0, now + 2);
        assert_eq!(one.next_frame(), None, "who has us right hears nothing");
        puppet.partner.iter_mut().for_each(change);
        puppet.say(&mut one, 0, now + 3);
        assert!(one.next_frame().is_some());
    }
    // Collecting and distributing are not compared.
    let start = start + 10 * SECOND;
    one.advance(Nanos(start));
    (0..2).for_each(|link| puppets[link].say(&mut one, link, start));
    one.advance(Nanos(start + SECOND));
    while one.next_frame().is_some() {}
    let start = start + SECOND + 1;
    puppets[0].partner = Some(status(&one, 0).actor);
    puppets[0].partner.iter_mut().for_each(|us| us.state = State(us.state.0 & 0x0f));
    puppets[0].say(&mut one, 0, start);
    assert_eq!(one.next_frame(), None);
    puppets[0].partner.iter_mut().for_each(|us| us.port += 1);
    let mut times = Vec::new();
    for tick in 0..1000 {
        let now = start + tick * 10 * MS;
        puppets[0].say(&mut one, 0, now);
        while let Some((link, _)) = one.next_frame() {
            times.extend((link == 0).then_some(now));
        }
    }
    assert_eq!(busiest_second(&times), 3);
    assert!((28..=30).contains(&times.len()), "{} in ten seconds", times.len());
}

#[test]
fn what_has_to_wait_is_due_when_it_may_go() {
    let mut one = lacp(settings(1), 1);
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    let mut puppet = Puppet::new(1);
    // It asks to be told every thirty seconds, so that nothing else is due sooner.
    puppet.actor.state.set(Flag::ShortTimeout, false);
    puppet.partner = Some(PortInfo { port: 77, ..status(&one, 0).actor });
    for now in [0, 100 * MS, 200 * MS] {
        puppet.say(&mut one, 0, now);
        assert!(one.next_frame().is_some(), "{now}");
    }
    puppet.say(&mut one, 0, 300 * MS);
    assert_eq!(one.next_frame(), None);
    assert_eq!(one.due(), Some(Nanos(SECOND)));
    one.advance(Nanos(SECOND - 1));
    assert_eq!(one.next_frame(), None);
    one.advance(Nanos(SECOND));
    assert!(one.next_frame().is_some());
    assert_eq!(status(&one, 0).counters.sent, 4);
}

#[test]
fn markers_are_answered_five_times_a_second_and_not_without_carrier() {
    let mut request = [0; 124];
    request[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 2]);
    request[6..12].copy_from_slice(&[2, 0, 0, 0, 9, 9]);
    request[12..18].copy_from_slice(&[0x88, 0x09, 2, 1, 1, 16]);
    let Ok(Message::Marker(_)) = Message::decode(&request) else { panic!("no marker") };
    let answers = |one: &mut Lacp| {
        std::iter::from_fn(|| one.next_frame()).filter(|(_, frame)| frame[14] == 2).collect::<Vec<_>>()
    };
    let mut one = lacp(settings(1), 1);
    one.receive(0, &request, Nanos(0));
    assert!(answers(&mut one).is_empty());
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    assert!(answers(&mut one).is_empty(), "that one is not answered later either");
    let mut answered = Vec::new();
    for tick in 0..300 {
        request[31] = u8::try_from(tick % 256).unwrap();
        one.receive(0, &request, Nanos(tick * 10 * MS));
        for (link, frame) in answers(&mut one) {
            assert_eq!((link, frame[16], frame[31]), (0, 2, request[31]));
            assert_eq!(frame[6..12], [2, 0, 0, 0, 1, 0], "from the link's own address");
            answered.push(tick * 10 * MS);
        }
    }
    assert_eq!(answered.len(), 15);
    assert_eq!(busiest_second(&answered), 5);
    let counters = status(&one, 0).counters;
    assert_eq!((counters.markers_answered, counters.markers_ignored), (15, 286));
    // Asked, and then the cable is pulled: no answer, then or later.
    one.receive(0, &request, Nanos(10 * SECOND));
    one.set_medium(0, None, Nanos(10 * SECOND));
    assert!(answers(&mut one).is_empty());
    one.set_medium(0, Some(GIGABIT), Nanos(10 * SECOND));
    assert!(answers(&mut one).is_empty());
    let _: Option<Marker> = None;
}

#[test]
fn a_partners_port_that_was_plugged_elsewhere_is_forgotten_where_it_was() {
    let (mut one, puppets, now) = served();
    one.set_medium(0, None, Nanos(now));
    assert_eq!(status(&one, 0).partner.port, 3);
    puppets[1].say(&mut one, 1, now);
    assert_eq!(status(&one, 0).partner.port, 3, "another port of the same system");
    let mut other = Puppet::new(2);
    other.say(&mut one, 1, now);
    assert_eq!(status(&one, 0).partner.port, 3, "the same port of another system");
    other.actor = puppets[0].actor;
    other.say(&mut one, 1, now);
    let status = status(&one, 0);
    assert_eq!(status.partner.port, 0);
    assert!(status.actor.state.has(Flag::Defaulted) && !status.actor.state.has(Flag::Expired));
    assert!(!status.partner.state.has(Flag::Synchronization));
    assert_eq!(status.receive, ReceiveState::PortDisabled);
}

#[test]
fn a_partners_port_seen_at_two_links_with_carrier_stays_at_both() {
    let (mut one, puppets, now) = served();
    puppets[0].say(&mut one, 1, now);
    assert_eq!(status(&one, 0).partner.port, 3);
    assert!(one.distributes(0));
    one.set_medium(0, None, Nanos(now));
    assert_eq!(status(&one, 0).partner.port, 3, "nor is it forgotten later for that");
}

#[test]
fn an_end_that_does_not_get_into_sync_within_a_minute_is_said_to_churn() {
    let mut one = lacp(Settings { fallback: false, ..settings(1) }, 1);
    let mut puppet = Puppet::new(1);
    puppet.actor.state.set(Flag::Synchronization, false);
    one.set_medium(0, Some(GIGABIT), Nanos(0));
    let churns = |one: &Lacp| {
        let status = status(one, 0);
        (
            status.actor_churn,
            status.partner_churn,
            status.counters.actor_churns,
            status.counters.partner_churns,
        )
    };
    for second in 0..60 {
        puppet.say(&mut one, 0, second * SECOND);
    }
    // Our end was in sync as soon as it had waited.
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Monitor, 0, 0));
    puppet.say(&mut one, 0, 60 * SECOND);
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Churn, 0, 1));
    puppet.say(&mut one, 0, 60 * SECOND + MS);
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Churn, 0, 1), "counted once");
    puppet.actor.state = State(0x3f);
    puppet.say(&mut one, 0, 61 * SECOND);
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::NoChurn, 0, 1));
    // Nobody there: our end has nothing to be in sync with.
    one.advance(Nanos(64 * SECOND));
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Monitor, 0, 1));
    one.advance(Nanos(67 * SECOND));
    assert_eq!(churns(&one), (ChurnState::Monitor, ChurnState::Monitor, 0, 1));
    one.advance(Nanos(69 * SECOND));
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Monitor, 0, 1), "in sync with nobody");
    one.advance(Nanos(124 * SECOND - 1));
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Monitor, 0, 1));
    one.advance(Nanos(124 * SECOND));
    assert_eq!(churns(&one), (ChurnState::NoChurn, ChurnState::Churn, 0, 2));
    one.set_medium(0, None, Nanos(128 * SECOND));
    assert_eq!(churns(&one), (ChurnState::Monitor, ChurnState::Monitor, 0, 2));
    assert_eq!(one.due(), None);
}

#[test]
fn a_link_that_is_not_wanted_churns_at_our_end() {
    let mut one = lacp(settings(1), 2);
    let puppets = [Puppet::new(1), Puppet::new(2)];
    (0..2).for_each(|link| one.set_medium(link, Some(GIGABIT), Nanos(0)));
    for second in 0..60 {
        puppets.iter().enumerate().for_each(|(link, puppet)| puppet.say(&mut one, link, second * SECOND));
    }
    assert_eq!(status(&one, 1).actor_churn, ChurnState::Monitor);
    puppets[1].say(&mut one, 1, 60 * SECOND);
    let unwanted = status(&one, 1);
    assert_eq!((unwanted.actor_churn, unwanted.partner_churn), (ChurnState::Churn, ChurnState::NoChurn));
    assert_eq!((unwanted.counters.actor_churns, unwanted.counters.partner_churns), (1, 0));
    assert_eq!(status(&one, 0).actor_churn, ChurnState::NoChurn);
    puppets[1].say(&mut one, 1, 60 * SECOND + MS);
    assert_eq!(status(&one, 1).counters.actor_churns, 1, "counted once");
}

#[test]
fn an_end_that_has_nobody_to_tell_is_due_when_it_starts_to_churn() {
    let mut passive = lacp(Settings { active: false, fallback: false, ..settings(1) }, 1);
    passive.set_medium(0, Some(GIGABIT), Nanos(0));
    let mut last = Nanos(0);
    while let Some(due) = passive.due().filter(|due| due.0 <= 100 * SECOND) {
        assert!(due > last, "{due:?}: what was due is done");
        last = due;
        passive.advance(due);
        assert_eq!(passive.next_frame(), None);
    }
    assert_eq!(status(&passive, 0).partner_churn, ChurnState::Churn);
    assert_eq!(last, Nanos(60 * SECOND));
}

#[test]
fn when_the_group_in_service_is_lost_the_fastest_is_next_and_of_equal_ones_the_largest() {
    for (speed_of_one, expected) in [(1000, vec![2, 3]), (10_000, vec![1])] {
        let mut one = lacp(settings(1), 4);
        let mut puppets = [1, 2, 3, 3].map(Puppet::new);
        puppets[3].actor.port = 4;
        (0..4).for_each(|link| {
            let speed_mbit = if link == 1 { speed_of_one } else { 1000 };
            one.set_medium(link, Some(Medium { speed_mbit, ..GIGABIT }), Nanos(0));
        });
        let mut now = 0;
        let mut talk = |one: &mut Lacp, from: usize| {
            for _ in 0..30 {
                (from..4).for_each(|link| puppets[link].say(one, link, now));
                while one.next_frame().is_some() {}
                now += 100 * MS;
            }
            (0..4).filter(|link| one.distributes(*link)).collect::<Vec<_>>()
        };
        assert_eq!(talk(&mut one, 0), [0], "who spoke first");
        one.set_medium(0, None, Nanos(3 * SECOND));
        assert_eq!(talk(&mut one, 1), expected);
    }
}

#[test]
fn a_link_that_cannot_come_to_rest_does_not_hold_up_the_others() {
    // Its partner becomes another one each second, so that it never has waited long enough.
    let mut one = lacp(settings(1), 2);
    (0..2).for_each(|link| one.set_medium(link, Some(GIGABIT), Nanos(0)));
    let (mut fickle, steady) = (Puppet::new(1), Puppet::new(1));
    for tick in 0..100 {
        fickle.actor.key = 5 + u16::from(tick % 10 >= 5);
        fickle.say(&mut one, 0, tick * 100 * MS);
        steady.say(&mut one, 1, tick * 100 * MS);
        while one.next_frame().is_some() {}
    }
    assert!(one.distributes(1));
    assert!(!one.distributes(0));
}

#[test]
fn malformed_frames_are_counted_and_change_nothing() {
    let (mut one, _, now) = served();
    let before = status(&one, 0);
    let mut frame = Lacpdu::new(before.partner, before.actor).encode(MacAddress([2; 6]));
    frame[17] = 19;
    one.receive(0, &frame, Nanos(now));
    one.receive(0, &[], Nanos(now));
    one.receive(9, &frame, Nanos(now));
    one.set_medium(9, None, Nanos(now));
    let after = status(&one, 0);
    assert_eq!(after.counters.malformed, before.counters.malformed + 2);
    assert_eq!((after.partner, after.mux), (before.partner, before.mux));
    assert!(!one.collects(9) && !one.distributes(9));
}

#[test]
fn links_beyond_the_most_are_left_out_and_time_never_runs_backwards() {
    let mut one = lacp(settings(1), 20);
    assert_eq!(one.status().count(), 16);
    one.set_medium(0, Some(GIGABIT), Nanos(10 * SECOND));
    assert!(one.next_frame().is_some());
    one.advance(Nanos(0));
    assert!(one.due().unwrap() > Nanos(10 * SECOND));
}
