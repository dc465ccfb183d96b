//! To what a neighbour's agreement is one, and for how long.

use super::*;

/// A neighbour that listens to the port, and agrees that `root` is the root.
fn agreeing(root: u8, cost: u32, bridge: u8) -> Configuration {
    let rapid = Some(RapidFlags { agreement: true, ..RapidFlags::default() });
    Configuration { rapid, role: MessageRole::Root, vector: vector(root, cost, bridge, 1), ..from_root() }
}

/// A neighbour by which the way to `root` is, and whether it asks for an agreement.
fn offering(root: u8, cost: u32, bridge: u8, proposal: bool) -> Configuration {
    let rapid = Some(RapidFlags { proposal, ..RapidFlags::default() });
    Configuration { rapid, vector: vector(root, cost, bridge, 1), ..from_root() }
}

fn last(effects: &Effects, number: u16) -> RapidFlags {
    match sent(effects, number).last() {
        Some(Bpdu::Configuration(message)) => message.rapid.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_agreement_to_another_root_does_not_count() {
    let mut tree = bridge(1);
    assert_eq!(tree.receive(1, &frame(agreeing(7, 0, 7)), at(10)).states, []);
    assert_eq!(tree.receive(1, &frame(agreeing(5, 2000, 7)), at(20)).states, [(1, PortState::Forwarding)]);
}

#[test]
fn nobody_agrees_for_a_bridge_that_speaks_the_older_protocol_alone() {
    let settings = TreeSettings { version: Version::Stp, ..TreeSettings::default() };
    let mut tree = SpanningTree::new(settings, OWN, at(0)).unwrap();
    tree.add_port(PortSettings::new(1), mac(100), at(0)).unwrap();
    tree.set_link(1, true, at(0));
    assert_eq!(tree.receive(1, &frame(agreeing(5, 2000, 7)), at(10)).states, []);
}

/// Both ends would serve the link, open, until the other one hears that.
#[test]
fn a_port_that_was_the_way_to_the_root_closes_until_its_neighbour_agrees() {
    let mut tree = bridge(2);
    tree.receive(2, &frame(agreeing(5, 2000, 7)), at(10));
    tree.receive(1, &frame(offering(3, 0, 3, false)), at(20));
    assert_eq!([1, 2].map(|number| tree.state(number)), [PortState::Forwarding; 2]);
    let effects = tree.receive(2, &frame(offering(1, 0, 1, false)), at(30));
    assert_eq!(effects.states, [(1, PortState::Discarding)]);
    assert!(last(&effects, 1).proposal);
    assert_eq!([port(&tree, 1).role, port(&tree, 2).role], [PortRole::Designated, PortRole::Root]);
    assert_eq!(tree.receive(1, &frame(agreeing(3, 0, 3)), at(40)).states, [], "to what is over");
    let effects = tree.receive(1, &frame(agreeing(1, 4000, 3)), at(50));
    assert_eq!(effects.states, [(1, PortState::Forwarding)]);
}

#[test]
fn on_a_link_that_cannot_be_asked_the_way_to_the_root_stays_open() {
    for is_shared in [true, false] {
        let mut tree = bridge(1);
        let second = PortSettings { point_to_point: !is_shared, ..PortSettings::new(2) };
        tree.add_port(second, mac(100), at(0)).unwrap();
        tree.set_link(2, true, at(0));
        tree.receive(1, &frame(agreeing(5, 2000, 7)), at(10));
        let effects = tree.receive(2, &frame(offering(3, 0, 3, false)), at(20));
        assert_eq!(effects.states, [(2, PortState::Forwarding)]);
        let closed = if is_shared { vec![] } else { vec![(2, PortState::Discarding)] };
        assert_eq!(tree.receive(1, &frame(offering(1, 0, 1, false)), at(30)).states, closed);
    }
}

#[test]
fn an_agreement_holds_for_better_ways_to_the_same_root_and_for_no_other_root() {
    let mut tree = bridge(2);
    tree.receive(2, &frame(agreeing(5, 2000, 7)), at(10));
    assert_eq!(tree.state(2), PortState::Forwarding);
    let effects = tree.receive(1, &frame(offering(1, 10, 3, true)), at(20));
    assert_eq!(effects.states, [(1, PortState::Forwarding), (2, PortState::Discarding)]);
    assert!(last(&effects, 1).agreement && last(&effects, 2).proposal);
    tree.receive(2, &frame(agreeing(1, 4010, 7)), at(30));
    assert_eq!(tree.state(2), PortState::Forwarding);
    // A better way to the same root: who agreed to the worse one agrees to this one.
    let effects = tree.receive(1, &frame(offering(1, 9, 3, true)), at(2000));
    assert_eq!(effects.states, []);
    assert!(last(&effects, 1).agreement);
    // A worse one: the neighbour may have a better way himself.
    let effects = tree.receive(1, &frame(offering(1, 11, 3, false)), at(4000));
    assert_eq!(effects.states, [(2, PortState::Discarding)]);
}

#[test]
fn a_root_port_goes_on_agreeing_to_what_is_no_worse_and_asks_its_own_neighbours_first_otherwise() {
    let mut tree = bridge(2);
    tree.receive(1, &frame(offering(1, 10, 3, true)), at(10));
    tree.receive(2, &frame(agreeing(1, 4010, 7)), at(20));
    // Better: agreed to at once, because it was before.
    let effects = tree.receive(1, &frame(offering(1, 9, 3, true)), at(3000));
    assert!(effects.states.is_empty() && last(&effects, 1).agreement);
    // Worse: nothing is agreed to while the port behind is open.
    let effects = tree.receive(1, &frame(offering(1, 20, 3, true)), at(6000));
    assert_eq!(effects.states, [(2, PortState::Discarding)]);
    assert!(last(&effects, 1).agreement);
}

#[test]
fn times_that_change_close_nothing_and_are_told() {
    let mut tree = bridge(1);
    tree.receive(1, &frame(agreeing(5, 2000, 7)), at(10));
    let fast = TreeSettings { hello_time_s: 1, max_age_s: 6, forward_delay_s: 4, ..TreeSettings::default() };
    let effects = tree.configure(fast, at(3000)).unwrap();
    assert_eq!(effects.states, []);
    let times = Times { message_age: 0, max_age: 6 * 256, hello_time: 256, forward_delay: 4 * 256 };
    assert_eq!((only(&effects, 1).times, tree.status().times), (times, times));
    assert_eq!((tree.advance(at(3999)).frames.len(), tree.advance(at(4000)).frames.len()), (0, 1), "hellos");
    let other = TreeSettings { priority: 4096, ..fast };
    assert_eq!(tree.configure(other, at(5000)).unwrap().states, [(1, PortState::Discarding)]);
}
