//! The port role transitions machine: each condition of IEEE 802.1D-2004, figures 17-21 to 17-23, and that nothing else will
//! do.

use super::super::port::{Port, Timers};
use super::*;

/// A port that has nothing left to do: open as a root port or a designated one, closed otherwise.
fn rest(port: &mut Port, role: PortRole) {
    let is_open = matches!(role, PortRole::Root | PortRole::Designated);
    (port.role, port.selected_role, port.selected, port.updt_info) = (role, role, true, false);
    (port.learn, port.learning, port.forward, port.forwarding) = (is_open, is_open, is_open, is_open);
    (port.agree, port.agreed, port.proposed, port.proposing) = (true, true, false, false);
    (port.sync, port.synced, port.re_root, port.disputed) = (false, true, false, false);
    (port.inherits, port.oper_edge, port.send_rstp, port.new_info) = (false, false, true, false);
    let (fd_while, rr_while, rb_while) = match role {
        PortRole::Root => (0, 15_000, 0),
        PortRole::Alternate => (15_000, 0, 0),
        PortRole::Backup => (15_000, 0, 4000),
        PortRole::Designated | PortRole::Disabled => (0, 0, 0),
    };
    port.timers = Timers { fd_while, rr_while, rb_while, ..Timers::default() };
}

/// The ports of a bridge after a transition of the first one, which has this role and was at rest but for a change; the
/// second is a designated port. `None`: there is none to make.
fn moved(role: PortRole, change: impl FnOnce(&mut SpanningTree)) -> Option<[Port; 2]> {
    let mut tree = bridge(2);
    rest(&mut tree.ports[0], role);
    rest(&mut tree.ports[1], PortRole::Designated);
    change(&mut tree);
    tree.change_role(0).then(|| tree.ports.try_into().unwrap())
}

/// The same for what is changed of the first port alone.
fn own(role: PortRole, change: impl FnOnce(&mut Port)) -> Option<Port> {
    moved(role, |tree| change(&mut tree.ports[0])).map(|[own, _]| own)
}

#[test]
fn a_port_at_rest_stays_as_it_is() {
    for role in [PortRole::Root, PortRole::Designated, PortRole::Alternate, PortRole::Backup] {
        assert!(own(role, |_| ()).is_none(), "{role:?}");
    }
}

#[test]
fn a_proposal_makes_the_others_close_before_it_is_agreed_to() {
    // ROOT_PROPOSED, ROOT_AGREED, ALTERNATE_PROPOSED, ALTERNATE_AGREED.
    for role in [PortRole::Root, PortRole::Alternate, PortRole::Backup] {
        let told = |proposed, agree, is_synced| {
            moved(role, |tree| {
                (tree.ports[0].proposed, tree.ports[0].agree) = (proposed, agree);
                tree.ports[1].synced = is_synced;
            })
        };
        for is_synced in [true, false] {
            let [own, other] = told(true, false, is_synced).unwrap();
            assert!(other.sync && !own.proposed && !own.agree && !own.new_info, "{role:?} asks the others");
            let [own, other] = told(true, true, is_synced).unwrap();
            assert!(!other.sync && !own.proposed && own.agree && own.new_info, "{role:?} agrees again");
        }
        let [own, other] = told(false, false, true).unwrap();
        assert!(!other.sync && own.agree && own.new_info, "{role:?} agrees by itself");
        assert!(told(false, false, false).is_none(), "{role:?} waits for the other port");
        assert!(told(false, true, false).is_none(), "{role:?} has agreed");
    }
}

#[test]
fn all_are_synced_when_each_has_a_role_that_is_settled_and_has_done_what_was_asked() {
    // allSynced (17.20.3); a root port has nothing to close.
    type Change = fn(&mut Port);
    let changes: [(Change, bool); 8] = [
        (|_| (), true),
        (|port| port.synced = false, false),
        (|port| (port.role, port.selected_role, port.synced) = (PortRole::Root, PortRole::Root, false), true),
        (|port| (port.role, port.selected_role) = (PortRole::Root, PortRole::Root), true),
        (|port| port.selected = false, false),
        (|port| port.updt_info = true, false),
        (|port| port.selected_role = PortRole::Alternate, false),
        (|port| (port.selected, port.updt_info, port.synced) = (false, true, false), false),
    ];
    for (number, (change, expected)) in changes.into_iter().enumerate() {
        let mut tree = bridge(2);
        tree.ports.iter_mut().for_each(|port| rest(port, PortRole::Designated));
        change(&mut tree.ports[1]);
        assert_eq!(tree.all_synced(), expected, "change {number}");
    }
}

#[test]
fn a_root_port_opens_when_no_other_was_one_or_its_time_has_come() {
    let opens = |change: fn(&mut SpanningTree)| {
        let learns = moved(PortRole::Root, |tree| {
            let port = &mut tree.ports[0];
            (port.learn, port.learning, port.forward, port.forwarding) = (false, false, false, false);
            (port.re_root, port.timers.fd_while) = (true, 1);
            change(tree);
        });
        let forwards = moved(PortRole::Root, |tree| {
            let port = &mut tree.ports[0];
            (port.forward, port.forwarding, port.re_root, port.timers.fd_while) = (false, false, true, 1);
            change(tree);
        });
        assert_eq!(learns.is_some(), forwards.is_some(), "ROOT_LEARN and ROOT_FORWARD ask for the same");
        let ([learns, _], [forwards, _]) = (learns?, forwards?);
        assert!(learns.learn && !learns.forward && forwards.forward && forwards.timers.fd_while == 0);
        Some(learns.timers.fd_while)
    };
    assert_eq!(opens(|_| ()), Some(2000), "reRooted, and no backup lately");
    assert_eq!(opens(|tree| tree.ports[1].timers.rr_while = 1), None, "another port was one");
    assert_eq!(opens(|tree| tree.ports[0].timers.rb_while = 1), None, "a backup port lately");
    assert_eq!(opens(|tree| tree.settings.version = Version::Stp), None);
    assert_eq!(
        opens(|tree| (tree.ports[1].timers.rr_while, tree.ports[0].timers.fd_while) = (1, 0)),
        Some(2000)
    );
    let old = |tree: &mut SpanningTree| (tree.ports[0].timers.fd_while, tree.ports[0].send_rstp) = (0, false);
    assert_eq!(opens(old), Some(15_000), "forwardDelay (17.20.6)");
}

#[test]
fn a_root_port_has_earlier_ones_retire_before_it_opens() {
    let [own, other] = moved(PortRole::Root, |tree| {
        let port = &mut tree.ports[0];
        (port.learn, port.forward, port.timers.fd_while) = (false, false, 1);
    })
    .unwrap();
    assert!(own.re_root && other.re_root && !own.learn, "REROOT");
    let rerooted = self::own(PortRole::Root, |port| port.re_root = true).unwrap();
    assert!(!rerooted.re_root && rerooted.forward, "REROOTED");
    let again = self::own(PortRole::Root, |port| port.timers.rr_while = 14_999).unwrap();
    assert_eq!(again.timers.rr_while, 15_000, "ROOT_PORT: as long as it is one, it was one just now");
}

#[test]
fn a_closed_port_has_done_what_others_ask_for() {
    // ALTERNATE_PORT and BACKUP_PORT.
    for role in [PortRole::Alternate, PortRole::Backup] {
        let changes: [fn(&mut Port); 5] = [
            |port| port.timers.fd_while = 14_999,
            |port| port.timers.fd_while = 0,
            |port| port.sync = true,
            |port| port.re_root = true,
            |port| port.synced = false,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let port = own(role, |port| {
                port.timers.rr_while = 7;
                change(port);
            });
            let port = port.unwrap();
            assert_eq!(
                (port.synced, port.sync, port.re_root),
                (true, false, false),
                "{role:?}, change {number}"
            );
            assert_eq!(
                (port.timers.fd_while, port.timers.rr_while),
                (15_000, 0),
                "{role:?}, change {number}"
            );
            // BLOCK_PORT: first it closes.
            for is_learning in [true, false] {
                let closing = own(role, |port| {
                    (port.learning, port.forwarding) = (is_learning, !is_learning);
                    change(port);
                });
                assert!(closing.is_none());
            }
        }
        let aged = own(role, |port| port.timers.rb_while = 3999);
        let expected = (role == PortRole::Backup).then_some(4000);
        assert_eq!(aged.map(|port| port.timers.rb_while), expected, "two hellos: {role:?}");
    }
}

/// What becomes of a designated port that is closed, was asked for nothing, and waits for its time.
fn closed(change: impl FnOnce(&mut Port)) -> Option<Port> {
    own(PortRole::Designated, |port| {
        (port.learn, port.learning, port.forward, port.forwarding) = (false, false, false, false);
        (port.agreed, port.proposing, port.timers.fd_while) = (false, true, 1);
        change(port);
    })
}

#[test]
fn a_designated_port_that_is_closed_asks_its_neighbour_once() {
    // DESIGNATED_PROPOSE.
    let port = closed(|port| port.proposing = false).unwrap();
    assert!(port.proposing && port.new_info && port.timers.edge_delay_while == 3000 && !port.learn);
    let shared = closed(|port| (port.proposing, port.point_to_point) = (false, false)).unwrap();
    assert_eq!(shared.timers.edge_delay_while, 20_000, "EdgeDelay (17.20.5)");
    assert!(closed(|_| ()).is_none(), "it has asked");
    let agreed = closed(|port| (port.proposing, port.agreed) = (false, true)).unwrap();
    let edge = closed(|port| (port.proposing, port.oper_edge) = (false, true)).unwrap();
    assert!(!agreed.proposing && !edge.proposing);
    assert!(own(PortRole::Designated, |port| port.agreed = false).is_none(), "it is open");
}

#[test]
fn a_designated_port_is_synced_if_it_is_closed_or_its_neighbour_agreed_or_nobody_is_there() {
    // DESIGNATED_SYNCED.
    let open = |change: fn(&mut Port)| {
        own(PortRole::Designated, |port| {
            (port.synced, port.agreed, port.timers.rr_while) = (false, false, 7);
            change(port);
        })
    };
    assert!(open(|_| ()).is_none(), "nobody agreed");
    let learns = |port: &mut Port| {
        (port.forward, port.forwarding, port.proposing, port.timers.fd_while) = (false, false, true, 1);
    };
    assert!(open(learns).is_none(), "a port that learns is not closed");
    for port in [
        open(|port| port.agreed = true),
        open(|port| port.oper_edge = true),
        open(|port| (port.agreed, port.sync) = (true, true)),
        closed(|port| (port.synced, port.timers.rr_while) = (false, 7)),
        own(PortRole::Designated, |port| (port.sync, port.timers.rr_while) = (true, 7)),
    ] {
        let port = port.unwrap();
        assert_eq!((port.synced, port.sync, port.timers.rr_while), (true, false, 0));
    }
}

#[test]
fn a_designated_port_closes_when_it_is_asked_to_retires_or_is_not_heard() {
    // DESIGNATED_DISCARD and DESIGNATED_RETIRED.
    let changes: [fn(&mut Port); 3] = [
        |port| (port.sync, port.synced, port.agreed) = (true, false, false),
        |port| (port.re_root, port.timers.rr_while) = (true, 1),
        |port| port.disputed = true,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let port = own(PortRole::Designated, change).unwrap();
        assert!(!port.learn && !port.forward && !port.disputed, "change {number}");
        assert_eq!(port.timers.fd_while, 2000);
        let learning = own(PortRole::Designated, |port| {
            change(port);
            (port.forward, port.forwarding, port.proposing) = (false, false, true);
        });
        assert!(!learning.unwrap().learn, "change {number} while it learns");
        let edge = own(PortRole::Designated, |port| {
            change(port);
            port.oper_edge = true;
        });
        assert!(edge.is_none_or(|port| port.forward), "end stations are asked for nothing: change {number}");
    }
    let retired = own(PortRole::Designated, |port| port.re_root = true).unwrap();
    assert!(retired.forward && !retired.re_root, "it was no root port");
}

#[test]
fn a_designated_port_opens_when_its_time_has_come_or_its_neighbour_agrees_or_nobody_is_there() {
    // DESIGNATED_LEARN and DESIGNATED_FORWARD.
    let due = closed(|port| port.timers.fd_while = 0).unwrap();
    assert!(due.learn && !due.forward && due.timers.fd_while == 2000);
    assert!(due.new_info, "a neighbour that is not heard can dispute it");
    let agreed = closed(|port| port.agreed = true).unwrap();
    assert!(agreed.learn && !agreed.new_info, "the neighbour has said all");
    assert!(closed(|port| port.oper_edge = true).unwrap().learn);
    let heir = closed(|port| (port.timers.fd_while, port.inherits) = (0, true)).unwrap();
    assert!(heir.learn && heir.timers.fd_while == 0);
    let old = closed(|port| (port.timers.fd_while, port.send_rstp) = (0, false)).unwrap();
    assert_eq!(old.timers.fd_while, 15_000);
    // A root port before, that has to retire first.
    let retiring =
        |re_root| closed(|port| (port.timers.fd_while, port.timers.rr_while, port.re_root) = (0, 1, re_root));
    assert!(retiring(true).is_none() && retiring(false).unwrap().learn);
    let learning = |change: fn(&mut Port)| {
        closed(|port| {
            (port.learn, port.learning) = (true, true);
            change(port);
        })
    };
    assert!(learning(|_| ()).is_none());
    let open = learning(|port| (port.timers.fd_while, port.inherits) = (0, true)).unwrap();
    assert!(open.forward && open.agreed && !open.inherits);
    let old = learning(|port| (port.timers.fd_while, port.send_rstp) = (0, false)).unwrap();
    assert!(old.forward && !old.agreed, "nobody agreed in the older protocol");
}

#[test]
fn the_state_follows_the_role() {
    // The port state transition machine (17.30).
    let after = |now: (bool, bool), wanted: (bool, bool)| {
        let mut tree = bridge(1);
        let port = &mut tree.ports[0];
        (port.learning, port.forwarding, port.learn, port.forward) = (now.0, now.1, wanted.0, wanted.1);
        port.counters.forward_transitions = 5;
        let moved = tree.change_state(0);
        let port = &tree.ports[0];
        moved.then_some((port.state(), port.counters.forward_transitions))
    };
    let (closed, learns, forwards) = ((false, false), (true, false), (true, true));
    assert_eq!(after(closed, learns), Some((PortState::Learning, 5)));
    assert_eq!(after(closed, forwards), Some((PortState::Learning, 5)), "one after the other");
    assert_eq!(after(learns, forwards), Some((PortState::Forwarding, 6)));
    assert_eq!(after(learns, closed), Some((PortState::Discarding, 5)));
    assert_eq!(after(forwards, closed), Some((PortState::Discarding, 5)));
    for state in [closed, learns, forwards] {
        assert_eq!(after(state, state), None);
    }
}
