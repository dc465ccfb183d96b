//! Messages byte by byte, and single bridges whose neighbours are the test's.

mod agreements;
mod information;
mod machines;
mod messages;
mod roles;
mod topology;

use super::*;
use crate::mac::MacAddress;
use crate::time::Nanos;

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 5]);

fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

fn at(ms: u64) -> Nanos {
    Nanos(ms * 1_000_000)
}

fn vector(root: u8, cost: u32, bridge: u8, port: u16) -> Vector {
    let id = |last| BridgeId::new(0x8000, mac(last));
    Vector { root: id(root), cost, bridge: id(bridge), port: PortId::new(128, port) }
}

/// What a designated port of bridge 1 says, which is the root.
fn from_root() -> Configuration {
    Configuration {
        rapid: Some(RapidFlags::default()),
        role: MessageRole::Designated,
        change: false,
        acknowledged: false,
        vector: vector(1, 0, 1, 1),
        times: Times { message_age: 0, max_age: 20 * 256, hello_time: 2 * 256, forward_delay: 15 * 256 },
    }
}

fn frame(message: Configuration) -> Vec<u8> {
    Bpdu::Configuration(message).frame(mac(9))
}

/// A bridge whose ports 1 to `ports` have links.
fn bridge(ports: u16) -> SpanningTree {
    let mut tree = SpanningTree::new(TreeSettings::default(), OWN, at(0)).unwrap();
    for number in 1..=ports {
        tree.add_port(PortSettings::new(number), mac(100), at(0)).unwrap();
        tree.set_link(number, true, at(0));
    }
    tree
}

fn port(tree: &SpanningTree, number: u16) -> PortStatus {
    tree.ports().find(|port| port.number == number).unwrap()
}

/// The messages that leave by the port.
fn sent(effects: &Effects, number: u16) -> Vec<Bpdu> {
    let own = effects.frames.iter().filter(|(port, _)| *port == number);
    own.map(|(_, frame)| Bpdu::parse(frame).unwrap()).collect()
}

fn only(effects: &Effects, number: u16) -> Configuration {
    match sent(effects, number)[..] {
        [Bpdu::Configuration(message)] => message,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn an_rst_message_is_laid_out_as_the_standard_says() {
    let message = Configuration {
        rapid: Some(RapidFlags { proposal: true, learning: true, forwarding: true, agreement: true }),
        change: true,
        vector: Vector { cost: 0x0102_0304, ..vector(1, 0, 2, 0x234) },
        times: Times { message_age: 0x0111, max_age: 0x1422, hello_time: 0x0233, forward_delay: 0x0f44 },
        ..from_root()
    };
    let expected = [
        1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 39, 0x42, 0x42, 3, // Ethernet and LLC
        0, 0, 2, 2, 0x7f, // protocol, version, type, flags: role designated is 3 << 2
        0x80, 0, 2, 0, 0, 0, 0, 1, 1, 2, 3, 4, // root, cost
        0x80, 0, 2, 0, 0, 0, 0, 2, 0x82, 0x34, // bridge, port
        0x01, 0x11, 0x14, 0x22, 0x02, 0x33, 0x0f, 0x44, 0, // times, version 1 length
    ];
    let bytes = frame(message);
    assert_eq!(bytes[..expected.len()], expected);
    assert!(bytes.len() == 60 && bytes[expected.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(Bpdu::parse(&bytes), Ok(Bpdu::Configuration(message)));
}

#[test]
fn messages_of_the_older_protocol_are_laid_out_as_the_standard_says() {
    let message = Configuration { rapid: None, acknowledged: true, change: true, ..from_root() };
    let bytes = frame(message);
    assert_eq!(bytes[12..22], [0, 38, 0x42, 0x42, 3, 0, 0, 0, 0, 0x81]);
    assert_eq!(Bpdu::parse(&bytes), Ok(Bpdu::Configuration(message)));
    let bytes = Bpdu::Notification.frame(mac(9));
    assert_eq!(bytes[12..22], [0, 7, 0x42, 0x42, 3, 0, 0, 0, 0x80, 0]);
    assert_eq!(Bpdu::parse(&bytes), Ok(Bpdu::Notification));
}

#[test]
fn each_flag_and_role_survives() {
    for bits in 0..32_u8 {
        let has = |bit: u8| bits & 1 << bit != 0;
        let rapid = RapidFlags { proposal: has(0), learning: has(1), forwarding: has(2), agreement: has(3) };
        for role in [MessageRole::AlternateOrBackup, MessageRole::Root, MessageRole::Designated] {
            let message = Configuration { rapid: Some(rapid), role, change: has(4), ..from_root() };
            assert_eq!(Bpdu::parse(&frame(message)), Ok(Bpdu::Configuration(message)));
        }
    }
}

#[test]
fn what_is_no_bpdu_is_refused_for_its_reason() {
    let good = frame(from_root());
    let changed = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        Bpdu::parse(&frame)
    };
    assert_eq!(Bpdu::parse(&good[..13]), Err(BpduError::NotOne));
    for (at, byte) in [(5, 1), (12, 6), (14, 0x43), (15, 0), (16, 0)] {
        assert_eq!(changed(at, byte), Err(BpduError::NotOne), "byte {at}");
    }
    assert_eq!(Bpdu::parse(&good[..50]), Err(BpduError::Cut { said: 39, there: 36 }));
    assert!(Bpdu::parse(&good[..53]).is_ok(), "without padding");
    assert_eq!(changed(13, 38), Err(BpduError::Short { kind: 2, length: 35 }));
    assert_eq!(changed(13, 6), Err(BpduError::Short { kind: 0, length: 3 }));
    assert!(matches!(changed(18, 1), Err(BpduError::Unknown { protocol: 1, .. })));
    assert!(matches!(changed(19, 1), Err(BpduError::Unknown { version: 1, kind: 2, .. })));
    assert!(matches!(changed(20, 3), Err(BpduError::Unknown { kind: 3, .. })));
    assert!(changed(19, 3).is_ok(), "a later version is read like this one");
    let old = Configuration { rapid: None, ..from_root() };
    let aged = |message_age| {
        let times = Times { message_age, ..old.times };
        Bpdu::parse(&frame(Configuration { times, ..old }))
    };
    assert_eq!(aged(20 * 256), Err(BpduError::TooOld));
    assert!(aged(20 * 256 - 1).is_ok());
    let short = frame(old);
    let mut cut = short.clone();
    cut[13] = 37;
    assert_eq!(Bpdu::parse(&cut), Err(BpduError::Short { kind: 0, length: 34 }));
}

#[test]
fn a_message_without_a_role_counts_as_one_of_the_older_protocol() {
    let mut bytes = frame(Configuration { change: true, ..from_root() });
    bytes[21] = !0x0c;
    let expected = Configuration { change: true, ..from_root() };
    assert_eq!(Bpdu::parse(&bytes), Ok(Bpdu::Configuration(expected)));
}

#[test]
fn a_designated_port_proposes_and_opens_when_the_neighbour_agrees() {
    let mut tree = SpanningTree::new(TreeSettings::default(), OWN, at(0)).unwrap();
    tree.add_port(PortSettings::new(1), mac(100), at(0)).unwrap();
    let first = only(&tree.set_link(1, true, at(0)), 1);
    assert!(first.rapid.unwrap().proposal && !first.rapid.unwrap().agreement);
    assert_eq!((first.role, first.vector), (MessageRole::Designated, vector(5, 0, 5, 1)));
    let agreement = RapidFlags { agreement: true, ..RapidFlags::default() };
    let listener = Configuration {
        rapid: Some(agreement),
        role: MessageRole::Root,
        vector: vector(5, 2000, 7, 1),
        ..from_root()
    };
    let effects = tree.receive(1, &frame(listener), at(10));
    assert_eq!(effects.states, [(1, PortState::Forwarding)]);
    let flags = only(&effects, 1).rapid.unwrap();
    assert!(flags.learning && flags.forwarding && !flags.proposal);
    assert!(only(&effects, 1).change, "the topology changed");
}

#[test]
fn on_a_shared_medium_no_neighbour_can_agree_for_all() {
    let mut tree = SpanningTree::new(TreeSettings::default(), OWN, at(0)).unwrap();
    let shared = PortSettings { point_to_point: false, ..PortSettings::new(1) };
    tree.add_port(shared, mac(100), at(0)).unwrap();
    tree.set_link(1, true, at(0));
    let agreement = RapidFlags { agreement: true, ..RapidFlags::default() };
    let listener = Configuration {
        rapid: Some(agreement),
        role: MessageRole::Root,
        vector: vector(5, 2000, 7, 1),
        ..from_root()
    };
    assert_eq!(tree.receive(1, &frame(listener), at(10)).states, []);
}

#[test]
fn a_root_port_agrees_after_the_others_are_closed_and_says_so_last() {
    let mut tree = bridge(2);
    tree.set_link(1, false, at(0));
    // Behind port 2 is a bridge that cannot agree to anything: the port opens by its timers.
    let old = Configuration { rapid: None, vector: vector(7, 0, 7, 1), ..from_root() };
    for ms in (3100..60_000).step_by(1000) {
        tree.receive(2, &frame(old), at(ms));
    }
    assert_eq!(port(&tree, 2).state, PortState::Forwarding);
    tree.set_link(1, true, at(60_000));
    let proposal = RapidFlags { proposal: true, ..RapidFlags::default() };
    let effects = tree.receive(1, &frame(Configuration { rapid: Some(proposal), ..from_root() }), at(60_001));
    assert_eq!(effects.states, [(1, PortState::Forwarding), (2, PortState::Discarding)]);
    let answer = sent(&effects, 1);
    let Some(Bpdu::Configuration(last)) = answer.last() else { panic!("{answer:?}") };
    assert_eq!(last.role, MessageRole::Root);
    assert!(last.rapid.unwrap().agreement);
    assert_eq!(tree.status().root_port, Some(1));
    assert_eq!((tree.status().root, tree.status().root_cost), (vector(1, 0, 1, 1).root, 2000));
    assert_eq!(tree.status().times.message_age, 256);
    let onward = sent(&effects, 2);
    let Some(Bpdu::Configuration(last)) = onward.last() else { panic!("{onward:?}") };
    assert_eq!((last.rapid, last.vector), (None, vector(1, 2000, 5, 2)));
}

#[test]
fn of_two_ways_the_worse_is_an_alternate_and_takes_over_at_once() {
    let mut tree = bridge(2);
    let proposal = RapidFlags { proposal: true, ..RapidFlags::default() };
    for number in [1, 2] {
        let message = Configuration { rapid: Some(proposal), vector: vector(1, 0, 1, number), ..from_root() };
        tree.receive(number, &frame(message), at(10));
    }
    assert_eq!([port(&tree, 1).role, port(&tree, 2).role], [PortRole::Root, PortRole::Alternate]);
    let effects = tree.set_link(1, false, at(5000));
    assert_eq!(effects.states, [(1, PortState::Discarding), (2, PortState::Forwarding)]);
    assert_eq!(effects.flushes, [1]);
    assert_eq!(port(&tree, 1).role, PortRole::Disabled);
}

#[test]
fn a_backup_takes_over_at_once_when_the_bridges_own_port_on_that_link_is_cut() {
    let mut tree = SpanningTree::new(TreeSettings::default(), OWN, at(0)).unwrap();
    for number in 1..=3 {
        tree.add_port(PortSettings::new(number), mac(100), at(0)).unwrap();
    }
    // What one port says the others hear.
    let mut said: Vec<(u16, Vec<u8>)> = Vec::new();
    for number in 1..=3 {
        said.extend(tree.set_link(number, true, at(0)).frames);
    }
    for ms in 1..10_000 {
        for (from, frame) in std::mem::take(&mut said) {
            for to in (1..=3).filter(|to| *to != from) {
                said.extend(tree.receive(to, &frame, at(ms)).frames);
            }
        }
        said.extend(tree.advance(at(ms)).frames);
    }
    let roles = |tree: &SpanningTree| tree.ports().map(|port| port.role).collect::<Vec<_>>();
    assert_eq!(roles(&tree), [PortRole::Designated, PortRole::Backup, PortRole::Backup]);
    assert_eq!(port(&tree, 1).state, PortState::Forwarding);
    let effects = tree.set_link(1, false, at(10_000));
    assert_eq!(effects.states, [(1, PortState::Discarding), (2, PortState::Forwarding)]);
    assert_eq!(roles(&tree), [PortRole::Disabled, PortRole::Designated, PortRole::Backup]);
    let told = sent(&effects, 2);
    let Some(Bpdu::Configuration(last)) = told.last() else { panic!("{told:?}") };
    assert!(
        last.change && last.rapid.unwrap().forwarding,
        "who was behind the other port is looked for here"
    );
    // A port that was closed itself leaves nothing but the role.
    tree.set_link(1, true, at(10_001));
    let effects = tree.set_link(1, false, at(10_002));
    assert!(effects.states.is_empty());
}

#[test]
fn what_a_root_says_is_believed_for_three_hellos() {
    let mut tree = bridge(1);
    tree.receive(1, &frame(from_root()), at(0));
    tree.advance(at(5999));
    assert_eq!(tree.status().root_port, Some(1));
    tree.receive(1, &frame(from_root()), at(5999));
    tree.advance(at(11_998));
    assert_eq!(tree.status().root_port, Some(1));
    tree.advance(at(11_999));
    assert_eq!((tree.status().root_port, tree.status().root_cost), (None, 0));
}

#[test]
fn information_that_is_too_old_is_not_believed_at_all() {
    for (message_age, believed) in
        [(19 * 256, true), (19 * 256 + 127, true), (19 * 256 + 128, false), (20 * 256, false)]
    {
        let mut tree = bridge(1);
        let times = Times { message_age, ..from_root().times };
        tree.receive(1, &frame(Configuration { times, ..from_root() }), at(0));
        assert_eq!(tree.status().root_port.is_some(), believed, "{message_age}");
    }
}

#[test]
fn a_port_hears_the_older_protocol_and_answers_in_it() {
    let mut tree = bridge(2);
    tree.advance(at(3001));
    let old = Configuration { rapid: None, ..from_root() };
    tree.receive(1, &frame(old), at(3100));
    assert!(!port(&tree, 1).speaks_rstp && port(&tree, 2).speaks_rstp);
    // Its root port tells of a change by a notification, once it forwards.
    let mut notified = false;
    for ms in (4000..60_000).step_by(500) {
        let effects = tree.advance(at(ms));
        notified |= sent(&effects, 1).contains(&Bpdu::Notification);
        assert!(sent(&effects, 1).iter().all(|message| matches!(message, Bpdu::Notification)));
        tree.receive(1, &frame(old), at(ms));
    }
    assert!(notified);
    assert_eq!(port(&tree, 1).state, PortState::Forwarding);
    // Asked to try again, it speaks RSTP.
    tree.check_version(1, at(60_000));
    assert!(port(&tree, 1).speaks_rstp);
}

#[test]
fn a_notification_is_acknowledged_and_passed_on() {
    let mut tree = bridge(1);
    let silent = PortSettings { edge: EdgePort::No, ..PortSettings::new(2) };
    tree.add_port(silent, mac(100), at(0)).unwrap();
    tree.set_link(2, true, at(0));
    tree.advance(at(3100));
    tree.receive(1, &Bpdu::Notification.frame(mac(9)), at(3200));
    assert!(!port(&tree, 1).speaks_rstp);
    // The port takes part in the tree as soon as it forwards.
    (4000..50_000).step_by(100).for_each(|ms| drop(tree.advance(at(ms))));
    assert_eq!(port(&tree, 1).state, PortState::Forwarding);
    let before = tree.status().topology_changes;
    let effects = tree.receive(1, &Bpdu::Notification.frame(mac(9)), at(50_000));
    assert_eq!(tree.status().topology_changes, before + 1);
    assert_eq!(tree.status().since_change_ms, Some(0));
    assert_eq!(effects.flushes, [2], "behind the other port addresses may have moved");
    let acknowledged = (50_000..53_000).step_by(100).any(|ms| {
        let said = sent(&tree.advance(at(ms)), 1);
        said.iter().any(|message| matches!(message, Bpdu::Configuration(message) if message.acknowledged && message.change))
    });
    assert!(acknowledged);
}

#[test]
fn who_is_not_heard_is_disputed_and_stays_closed_out() {
    let mut tree = bridge(1);
    let agreement = RapidFlags { agreement: true, ..RapidFlags::default() };
    let listener = Configuration {
        rapid: Some(agreement),
        role: MessageRole::Root,
        vector: vector(5, 2000, 7, 1),
        ..from_root()
    };
    tree.receive(1, &frame(listener), at(0));
    assert_eq!(port(&tree, 1).state, PortState::Forwarding);
    let deaf = |learning| Configuration {
        rapid: Some(RapidFlags { learning, ..RapidFlags::default() }),
        vector: vector(7, 0, 7, 1),
        ..from_root()
    };
    assert_eq!(tree.receive(1, &frame(deaf(false)), at(10)).states, [], "it does not learn");
    assert_eq!(tree.receive(1, &frame(deaf(true)), at(20)).states, [(1, PortState::Discarding)]);
}

#[test]
fn hellos_come_at_their_time_and_no_more_than_the_hold_count_in_a_second() {
    let mut tree = bridge(1);
    let first = tree.advance(at(1)).frames.len();
    assert_eq!(first, 0);
    assert_eq!(tree.advance(at(1999)).frames.len(), 0);
    assert_eq!(tree.advance(at(2000)).frames.len(), 1);
    let times = TreeSettings { tx_hold_count: 1, ..TreeSettings::default() };
    let mut held = SpanningTree::new(times, OWN, at(0)).unwrap();
    held.add_port(PortSettings::new(1), mac(100), at(0)).unwrap();
    assert_eq!(held.set_link(1, true, at(0)).frames.len(), 1);
    let down = Configuration { vector: vector(1, 5, 1, 1), ..from_root() };
    let answer = RapidFlags { proposal: true, ..RapidFlags::default() };
    let proposal = frame(Configuration { rapid: Some(answer), ..down });
    assert_eq!(held.receive(1, &proposal, at(500)).frames.len(), 0, "held back");
    assert_eq!(held.next_due_ms(), Some(500));
    assert_eq!(held.advance(at(999)).frames.len(), 0);
    assert_eq!(held.advance(at(1000)).frames.len(), 1);
}

#[test]
fn a_root_that_asks_for_impossible_times_does_not_get_them() {
    let mut tree = bridge(2);
    let times = Times { message_age: 0, max_age: 0, hello_time: 0, forward_delay: 0 };
    tree.receive(1, &frame(Configuration { times, ..from_root() }), at(0));
    assert_eq!(tree.status().times.forward_delay, 4 * 256);
    assert_eq!(tree.status().times.max_age, 6 * 256);
    assert!(tree.next_due_ms().is_some_and(|due| due > 0));
}

#[test]
fn settings_that_change_take_effect_at_once() {
    let mut tree = bridge(2);
    tree.receive(1, &frame(from_root()), at(0));
    assert_eq!(tree.status().root_port, Some(1));
    let best = TreeSettings { priority: 0, ..TreeSettings::default() };
    tree.configure(best, at(10)).unwrap();
    assert_eq!((tree.status().root_port, tree.status().root), (None, BridgeId::new(0, OWN)));
    assert!(tree.configure(TreeSettings { priority: 1, ..best }, at(10)).is_err());
    tree.configure(TreeSettings::default(), at(20)).unwrap();
    tree.receive(1, &frame(from_root()), at(20));
    tree.receive(2, &frame(Configuration { vector: vector(1, 0, 1, 2), ..from_root() }), at(20));
    assert_eq!(tree.status().root_port, Some(1));
    let dear = PortSettings { path_cost: Some(2001), ..PortSettings::new(1) };
    tree.configure_port(dear, at(30)).unwrap();
    assert_eq!(tree.status().root_port, Some(2), "the other way is cheaper now");
    assert_eq!(tree.state(1), PortState::Discarding);
    assert!(tree.configure_port(PortSettings { priority: 1, ..dear }, at(30)).is_err());
    let effects = tree.remove_port(2, at(40));
    assert!(effects.states.contains(&(2, PortState::Discarding)));
    assert_eq!(tree.status().root_port, Some(1));
    assert_eq!(tree.ports().count(), 1);
    assert_eq!(tree.state(2), PortState::Forwarding, "not in the tree");
}

#[test]
fn a_message_of_a_port_without_a_link_is_ignored() {
    let mut tree = SpanningTree::new(TreeSettings::default(), OWN, at(0)).unwrap();
    tree.add_port(PortSettings::new(1), mac(100), at(0)).unwrap();
    assert_eq!(tree.receive(1, &frame(from_root()), at(0)), Effects::default());
    assert_eq!(tree.receive(2, &frame(from_root()), at(0)), Effects::default());
    assert_eq!(tree.status().root_port, None);
    assert_eq!(tree.next_due_ms().map(|due| due > 0), Some(true));
}

#[test]
fn messages_are_counted_by_kind() {
    let mut tree = bridge(1);
    tree.receive(1, &frame(from_root()), at(0));
    tree.receive(1, &frame(Configuration { rapid: None, ..from_root() }), at(0));
    tree.receive(1, &Bpdu::Notification.frame(mac(9)), at(0));
    tree.receive(1, &[0; 60], at(0));
    tree.receive(1, &frame(Configuration { vector: vector(5, 0, 5, 1), ..from_root() }), at(0));
    let counters = port(&tree, 1).counters;
    let received = [
        counters.rst_received,
        counters.configuration_received,
        counters.notification_received,
        counters.invalid_received,
    ];
    assert_eq!((received, counters.own_received), ([2, 1, 1, 1], 1));
    assert!(port(&tree, 1).is_disputed);
}
