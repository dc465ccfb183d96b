//! The port information machine and the one that receives: each condition of IEEE 802.1D-2004, figures 17-14 and 17-18.

use super::super::port::{InfoIs, Information, Message, Port};
use super::*;

/// A bridge whose first port holds what bridge 3 said of root 1, at a cost of 10, and was changed like this; after one
/// transition, and whether there was one.
fn informed(alter: impl FnOnce(&mut Port)) -> (SpanningTree, bool) {
    let mut tree = bridge(2);
    let port = &mut tree.ports[0];
    (port.information, port.info_is) = (Information::Current, InfoIs::Received);
    (port.port_priority, port.port_times) = (vector(1, 10, 3, 1), from_root().times);
    (port.selected, port.reselect, port.updt_info, port.rcvd_msg) = (true, false, false, None);
    (port.agree, port.agreed, port.proposed, port.proposing) = (true, true, false, true);
    port.timers.rcvd_info_while = 1;
    alter(port);
    let moved = tree.keep_information(0);
    (tree, moved)
}

/// The port after this message.
fn heard(message: Configuration, alter: impl FnOnce(&mut Port)) -> Port {
    let (tree, moved) = informed(|port| {
        port.rcvd_msg = Some(Message::Configuration(message));
        alter(port);
    });
    assert!(moved);
    tree.ports[0].clone()
}

/// What the neighbour said before, and says again.
fn again() -> Configuration {
    Configuration { vector: vector(1, 10, 3, 1), ..from_root() }
}

fn costing(cost: u32) -> Configuration {
    Configuration { vector: vector(1, cost, 3, 1), ..from_root() }
}

#[test]
fn what_is_said_again_is_believed_longer_and_changes_nothing() {
    // rcvInfo() (17.21.8).
    let port = heard(again(), |_| ());
    assert!(!port.reselect && port.selected && port.agreed && port.proposing);
    assert_eq!(port.timers.rcvd_info_while, 6000);
    let slower = Times { forward_delay: 16 * 256, ..from_root().times };
    for port in [
        heard(Configuration { times: slower, ..again() }, |_| ()),
        heard(costing(11), |_| ()),
        heard(costing(9), |_| ()),
        heard(again(), |port| port.info_is = InfoIs::Mine),
        heard(again(), |port| port.info_is = InfoIs::Aged),
    ] {
        assert!(port.reselect && !port.selected && !port.agreed && !port.proposing, "roles are chosen anew");
        assert!(port.info_is == InfoIs::Received && port.timers.rcvd_info_while == 6000);
    }
}

#[test]
fn who_agreed_goes_on_agreeing_to_what_is_no_worse() {
    // SUPERIOR_DESIGNATED: agree and betterorsameInfo(Received) (17.21.1).
    let slower = Times { forward_delay: 16 * 256, ..from_root().times };
    assert!(heard(costing(9), |_| ()).agree);
    assert!(heard(Configuration { times: slower, ..again() }, |_| ()).agree, "the same, and other times");
    assert!(!heard(costing(11), |_| ()).agree);
    assert!(!heard(costing(9), |port| port.agree = false).agree);
    for info_is in [InfoIs::Mine, InfoIs::Aged] {
        assert!(!heard(costing(9), |port| port.info_is = info_is).agree, "{info_is:?}");
    }
}

#[test]
fn an_agreement_holds_for_what_the_port_says_itself_if_that_is_no_worse() {
    // UPDATE: agreed and betterorsameInfo(Mine) (17.21.1), and of the same root.
    let updated = |said: Vector, alter: fn(&mut Port)| {
        let (tree, moved) = informed(|port| {
            (port.updt_info, port.info_is, port.sync, port.synced) = (true, InfoIs::Mine, false, true);
            (port.port_priority, port.designated_priority) = (vector(1, 10, 5, 1), said);
            alter(port);
        });
        let port = &tree.ports[0];
        assert!(moved && port.info_is == InfoIs::Mine && !port.updt_info && !port.proposing && port.new_info);
        assert_eq!((port.synced, port.port_priority), (port.agreed, said));
        (port.agreed, port.sync)
    };
    assert_eq!(updated(vector(1, 9, 5, 1), |_| ()), (true, false));
    assert_eq!(updated(vector(1, 10, 5, 1), |_| ()), (true, false), "the same");
    assert_eq!(updated(vector(1, 11, 5, 1), |_| ()), (false, true), "worse: the neighbour is asked");
    assert_eq!(updated(vector(0, 10, 5, 1), |_| ()), (false, false), "another root");
    assert_eq!(updated(vector(1, 10, 5, 1), |port| port.agreed = false), (false, false));
    assert_eq!(updated(vector(1, 10, 5, 1), |port| port.info_is = InfoIs::Aged), (false, false));
    assert_eq!(
        updated(vector(1, 9, 5, 1), |port| port.info_is = InfoIs::Received),
        (false, true),
        "he served it"
    );
    assert_eq!(updated(vector(1, 11, 5, 1), |port| port.point_to_point = false), (false, false));
    assert_eq!(updated(vector(1, 11, 5, 1), |port| port.oper_edge = true), (false, false));
    assert_eq!(updated(vector(1, 11, 5, 1), |port| port.send_rstp = false), (false, false));
}

#[test]
fn times_that_change_leave_a_port_open_to_which_nobody_agreed() {
    let mut tree = bridge(1);
    let listens = Configuration { role: MessageRole::Root, vector: vector(5, 2000, 7, 1), ..from_root() };
    for ms in (1000..30_000).step_by(1000) {
        tree.receive(1, &frame(listens), at(ms));
    }
    assert!(tree.state(1) == PortState::Forwarding && !tree.ports[0].agreed, "by its timers");
    let fast = TreeSettings { hello_time_s: 1, max_age_s: 6, forward_delay_s: 4, ..TreeSettings::default() };
    assert_eq!(tree.configure(fast, at(30_000)).unwrap().states, []);
}

#[test]
fn a_message_waits_until_what_the_port_says_is_up_to_date() {
    // CURRENT to RECEIVE: rcvdMsg and not updtInfo.
    let (tree, moved) = informed(|port| {
        (port.rcvd_msg, port.updt_info, port.selected) = (Some(Message::Notification), true, false);
    });
    assert!(!moved && tree.ports[0].rcvd_msg.is_some() && !tree.ports[0].rcvd_tcn);
    let (tree, moved) = informed(|port| port.rcvd_msg = Some(Message::Notification));
    assert!(moved && tree.ports[0].rcvd_msg.is_none() && tree.ports[0].rcvd_tcn);
}

#[test]
fn received_information_gets_too_old_and_the_ports_own_does_not() {
    for (info_is, left, is_old) in
        [(InfoIs::Received, 0, true), (InfoIs::Received, 1, false), (InfoIs::Mine, 0, false)]
    {
        let (tree, moved) = informed(|port| (port.info_is, port.timers.rcvd_info_while) = (info_is, left));
        assert_eq!(
            (moved, tree.ports[0].information == Information::Aged),
            (is_old, is_old),
            "{info_is:?} {left}"
        );
    }
}

#[test]
fn a_message_tells_of_a_change_and_acknowledges_one() {
    // setTcFlags() (17.21.17), for each kind of message that does.
    let listener = Configuration { role: MessageRole::Root, vector: vector(1, 20, 9, 1), ..from_root() };
    for message in [again(), costing(9), listener] {
        for (change, acknowledged) in [(false, false), (true, false), (false, true), (true, true)] {
            let port = heard(Configuration { change, acknowledged, ..message }, |_| ());
            assert_eq!((port.rcvd_tc, port.rcvd_tc_ack), (change, acknowledged), "{message:?}");
            let port = heard(message, |port| (port.rcvd_tc, port.rcvd_tc_ack) = (change, acknowledged));
            assert_eq!((port.rcvd_tc, port.rcvd_tc_ack), (change, acknowledged), "told before");
        }
    }
    let worse = Configuration { vector: vector(1, 99, 9, 1), change: true, ..from_root() };
    assert!(!heard(worse, |_| ()).rcvd_tc, "nothing is believed of who knows it worse");
}

#[test]
fn a_port_without_a_link_forgets_what_was_said_once() {
    // DISABLED.
    let without = |alter: fn(&mut Port)| {
        informed(|port| {
            (port.is_enabled, port.information, port.info_is) =
                (false, Information::Disabled, InfoIs::Disabled);
            alter(port);
        })
    };
    assert!(!without(|_| ()).1, "nothing is left to do");
    for alter in [
        |port: &mut Port| port.rcvd_msg = Some(Message::Notification),
        |port: &mut Port| (port.info_is, port.information) = (InfoIs::Mine, Information::Current),
    ] {
        let (tree, moved) = without(alter);
        let port = &tree.ports[0];
        assert!(moved && port.info_is == InfoIs::Disabled && port.rcvd_msg.is_none());
        assert!(port.reselect && !port.selected && !port.agree && !port.agreed && !port.proposing);
    }
}

#[test]
fn who_loses_a_shared_link_leaves_it_to_the_best_backup_that_has_one() {
    // The first port had the link of `said`, whatever its role is by now; the others' states after it lost it.
    let left = |alter: fn(&mut [Port])| {
        let mut tree = bridge(3);
        for port in &mut tree.ports {
            (port.role, port.forwarding, port.inherits) = (PortRole::Backup, false, false);
            (port.information, port.info_is) = (Information::Current, InfoIs::Received);
            port.port_priority = vector(5, 0, 5, 1);
        }
        (tree.ports[0].role, tree.ports[0].forwarding, tree.ports[0].is_enabled) =
            (PortRole::Designated, true, false);
        alter(&mut tree.ports);
        assert!(tree.keep_information(0));
        [1, 2].map(|at| (tree.ports[at].info_is == InfoIs::Aged, tree.ports[at].inherits))
    };
    let (kept, aged, heir) = ((false, false), (true, false), (true, true));
    assert_eq!(left(|_| ()), [heir, kept]);
    assert_eq!(left(|ports| ports[0].forwarding = false), [aged, kept], "it was closed itself");
    assert_eq!(left(|ports| ports[1].is_enabled = false), [kept, heir]);
    assert_eq!(left(|ports| ports[1].role = PortRole::Alternate), [kept, heir]);
    assert_eq!(left(|ports| ports[1].port_priority.port = PortId::new(128, 3)), [kept, heir], "another link");
    // It has heard better since, on its way out: what it said is over all the same.
    let heard = |ports: &mut [Port]| {
        (ports[0].role, ports[0].port_priority) = (PortRole::Root, vector(1, 0, 1, 7));
    };
    assert_eq!(left(heard), [aged, kept]);
}

#[test]
fn a_port_without_a_link_takes_no_messages() {
    // The receive machine's DISCARD (figure 17-14): rcvdBPDU or edgeDelayWhile, and no link.
    let received = |alter: fn(&mut Port)| {
        let mut tree = bridge(1);
        let port = &mut tree.ports[0];
        (port.is_enabled, port.rcvd_bpdu, port.timers.edge_delay_while) = (false, false, 3000);
        (port.arrived, port.rcvd_msg) = (None, None);
        alter(port);
        let moved = tree.receive_message(0);
        let port = &tree.ports[0];
        assert!(
            !moved || (!port.rcvd_bpdu && port.arrived.is_none() && port.timers.edge_delay_while == 3000)
        );
        moved
    };
    assert!(!received(|_| ()));
    assert!(received(|port| port.timers.edge_delay_while = 2999));
    assert!(received(|port| (port.rcvd_bpdu, port.arrived) = (true, Some(Message::Notification))));
    assert!(!received(|port| port.is_enabled = true), "nothing arrived");
    let waiting = |port: &mut Port| {
        (port.is_enabled, port.rcvd_bpdu, port.rcvd_msg) = (true, true, Some(Message::Notification));
    };
    assert!(!received(waiting), "one after the other");
}
