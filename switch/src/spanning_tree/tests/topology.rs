//! The topology change machine: each condition of IEEE 802.1D-2004, figure 17-25, and that nothing else will do.

use super::super::port::{Change, Port};
use super::*;

/// A bridge with two ports, of which the first is in this state of the machine, forwards as a designated port and was changed
/// like this, after one transition; `None`: there is none to make.
fn moved(change: Change, alter: impl FnOnce(&mut Port)) -> Option<SpanningTree> {
    let mut tree = bridge(2);
    tree.effects = Effects::default();
    for port in &mut tree.ports {
        (port.learn, port.learning, port.forward, port.forwarding) = (true, true, true, true);
        (port.role, port.oper_edge, port.change) = (PortRole::Designated, false, change);
        (port.new_info, port.tc_ack, port.timers.tc_while) = (false, false, 0);
        (port.rcvd_tc, port.rcvd_tcn, port.rcvd_tc_ack, port.tc_prop) = (false, false, false, false);
    }
    alter(&mut tree.ports[0]);
    tree.follow_topology(0).then_some(tree)
}

/// What is told to a port: each of the four alone.
const TOLD: [fn(&mut Port); 4] = [
    |port| port.rcvd_tc = true,
    |port| port.rcvd_tcn = true,
    |port| port.rcvd_tc_ack = true,
    |port| port.tc_prop = true,
];

fn was_told(port: &Port) -> bool {
    port.rcvd_tc || port.rcvd_tcn || port.rcvd_tc_ack || port.tc_prop
}

fn tells_others(tree: &SpanningTree) -> bool {
    let [own, other] = [0, 1].map(|at| tree.ports[at].tc_prop);
    assert!(!own, "nobody passes on to where it came from");
    assert_eq!((tree.topology_changes, tree.changed_ms.is_some()), (u64::from(other), other));
    other
}

#[test]
fn a_port_that_begins_to_learn_takes_part() {
    assert_eq!(moved(Change::Inactive, |_| ()).unwrap().ports[0].change, Change::Learning);
    assert!(moved(Change::Inactive, |port| port.learn = false).is_none());
}

#[test]
fn a_port_that_begins_to_forward_towards_bridges_is_a_change_of_the_topology() {
    for role in [PortRole::Root, PortRole::Designated] {
        // What was told before is answered by what is told now.
        for tell in TOLD {
            let tree = moved(Change::Learning, |port| {
                port.role = role;
                tell(port);
            });
            let tree = tree.unwrap();
            assert!(tells_others(&tree));
            let port = &tree.ports[0];
            assert!(port.change == Change::Active && port.new_info && !was_told(port));
            assert_eq!(port.timers.tc_while, 3000, "a hello and a second (17.21.7)");
        }
    }
    for alter in [
        |port: &mut Port| port.forward = false,
        |port: &mut Port| port.oper_edge = true,
        |port: &mut Port| port.role = PortRole::Alternate,
        |port: &mut Port| port.role = PortRole::Backup,
    ] {
        assert!(moved(Change::Learning, alter).is_none());
        // And what is told to such a port ends there.
        for tell in TOLD {
            let tree = moved(Change::Learning, |port| {
                alter(port);
                tell(port);
            });
            let tree = tree.unwrap();
            assert!(!tells_others(&tree) && !was_told(&tree.ports[0]));
            assert_eq!((tree.ports[0].change, tree.ports[0].timers.tc_while), (Change::Learning, 0));
        }
    }
}

#[test]
fn a_port_that_was_closed_forgets_its_addresses() {
    let closed = |alter: fn(&mut Port)| {
        moved(Change::Learning, |port| {
            (port.learn, port.learning, port.forward, port.forwarding) = (false, false, false, false);
            (port.role, port.tc_ack, port.timers.tc_while) = (PortRole::Alternate, true, 9);
            alter(port);
        })
    };
    let tree = closed(|_| ()).unwrap();
    let port = &tree.ports[0];
    assert_eq!((port.change, port.tc_ack, port.timers.tc_while), (Change::Inactive, false, 0));
    assert_eq!(tree.effects.flushes, [1]);
    for alter in [
        |port: &mut Port| port.learn = true,
        |port: &mut Port| port.learning = true,
        |port: &mut Port| port.role = PortRole::Root,
        |port: &mut Port| port.role = PortRole::Designated,
    ] {
        assert!(closed(alter).is_none());
    }
}

#[test]
fn a_port_that_no_bridge_is_behind_any_more_stops_telling() {
    for alter in [|port: &mut Port| port.role = PortRole::Alternate, |port: &mut Port| port.oper_edge = true]
    {
        assert_eq!(moved(Change::Active, alter).unwrap().ports[0].change, Change::Learning);
    }
    assert!(moved(Change::Active, |_| ()).is_none());
}

#[test]
fn a_change_is_passed_on_and_the_neighbour_that_told_it_is_answered() {
    for role in [PortRole::Designated, PortRole::Root] {
        for is_notification in [false, true] {
            let tree = moved(Change::Active, |port| {
                (port.role, port.rcvd_tc, port.rcvd_tcn) = (role, !is_notification, is_notification);
            });
            let tree = tree.unwrap();
            assert!(tells_others(&tree) && tree.effects.flushes.is_empty());
            let port = &tree.ports[0];
            assert_eq!(port.tc_ack, role == PortRole::Designated, "acknowledged by who serves the link");
            assert_eq!(port.timers.tc_while, if is_notification { 3000 } else { 0 });
            assert!(!was_told(port));
        }
    }
}

#[test]
fn a_change_behind_another_port_is_told_and_addresses_are_forgotten() {
    for (send_rstp, tc_while) in [(true, 3000), (false, 35_000)] {
        let tree = moved(Change::Active, |port| (port.tc_prop, port.send_rstp) = (true, send_rstp)).unwrap();
        assert!(!tells_others(&tree));
        let port = &tree.ports[0];
        assert_eq!(port.timers.tc_while, tc_while, "17.21.7: max age and forward delay for who speaks STP");
        assert_eq!((port.new_info, port.tc_prop, &tree.effects.flushes[..]), (send_rstp, false, &[1][..]));
    }
    let tree = moved(Change::Active, |port| (port.tc_prop, port.timers.tc_while) = (true, 5)).unwrap();
    assert_eq!((tree.ports[0].timers.tc_while, tree.ports[0].new_info), (5, false), "it is being told");
}

#[test]
fn an_acknowledgement_ends_the_notifications() {
    let tree = moved(Change::Active, |port| (port.rcvd_tc_ack, port.timers.tc_while) = (true, 9000)).unwrap();
    assert_eq!((tree.ports[0].timers.tc_while, tree.ports[0].rcvd_tc_ack), (0, false));
    assert!(!tells_others(&tree));
}

#[test]
fn a_later_change_takes_the_place_of_an_earlier_one() {
    let mut effects = Effects {
        states: vec![(1, PortState::Discarding), (2, PortState::Learning)],
        flushes: vec![2],
        frames: vec![(1, vec![1])],
    };
    effects.append(Effects {
        states: vec![(1, PortState::Learning), (3, PortState::Forwarding)],
        flushes: vec![1, 2],
        frames: vec![(1, vec![2])],
    });
    assert_eq!(
        effects.states,
        [(2, PortState::Learning), (1, PortState::Learning), (3, PortState::Forwarding)]
    );
    assert_eq!((effects.flushes, effects.frames), (vec![1, 2], vec![(1, vec![1]), (1, vec![2])]));
}
