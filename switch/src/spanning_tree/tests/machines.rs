//! Single transitions of single machines: each condition of the standard's figures, and that nothing else will do.

use super::super::port::{Information, Migration, Port};
use super::*;

/// What is other than usual about a port.
type Change = fn(&mut Port);

/// A bridge of this version with one port that has a link, and was changed like this.
fn with_port(version: Version, change: impl FnOnce(&mut Port)) -> SpanningTree {
    let settings = TreeSettings { version, ..TreeSettings::default() };
    let mut tree = SpanningTree::new(settings, OWN, at(0)).unwrap();
    tree.add_port(PortSettings::new(1), mac(100), at(0)).unwrap();
    tree.set_link(1, true, at(0));
    change(&mut tree.ports[0]);
    tree
}

/// The state that the protocol migration machine goes to (IEEE 802.1D-2004, 17.24); `None`: it stays.
fn migrated(version: Version, change: impl FnOnce(&mut Port)) -> Option<Migration> {
    let mut tree = with_port(version, change);
    let moved = tree.migrate(0);
    let port = &tree.ports[0];
    if moved && port.migration == Migration::CheckingRapid {
        let is_rapid = version == Version::Rstp;
        assert_eq!((port.mcheck, port.send_rstp, port.timers.mdelay_while), (false, is_rapid, 3000));
    }
    moved.then_some(port.migration)
}

#[test]
fn a_port_without_a_link_goes_back_to_rstp_and_stays_there() {
    let checked = |change: Change| {
        migrated(Version::Rstp, |port| {
            (port.migration, port.is_enabled, port.mcheck) = (Migration::CheckingRapid, false, false);
            (port.send_rstp, port.timers.mdelay_while) = (true, 3000);
            change(port);
        })
    };
    assert_eq!(checked(|_| ()), None);
    assert_eq!(checked(|port| port.mcheck = true), Some(Migration::CheckingRapid));
    assert_eq!(checked(|port| port.send_rstp = false), Some(Migration::CheckingRapid));
    assert_eq!(checked(|port| port.timers.mdelay_while = 2999), Some(Migration::CheckingRapid));
    assert_eq!(checked(|port| port.timers.mdelay_while = 0), Some(Migration::CheckingRapid));
}

#[test]
fn a_chosen_version_is_kept_for_the_migrate_time() {
    for migration in [Migration::CheckingRapid, Migration::SelectingOld] {
        for (mdelay_while, next) in [(3000, None), (1, None), (0, Some(Migration::Sensing))] {
            let next_is = migrated(Version::Rstp, |port| {
                (port.migration, port.timers.mdelay_while) = (migration, mdelay_while);
            });
            assert_eq!(next_is, next, "{migration:?} with {mdelay_while} ms left");
        }
    }
    let old = |change: Change| {
        migrated(Version::Rstp, |port| {
            (port.migration, port.timers.mdelay_while) = (Migration::SelectingOld, 1);
            change(port);
        })
    };
    assert_eq!(old(|port| port.is_enabled = false), Some(Migration::Sensing));
    assert_eq!(old(|port| port.mcheck = true), Some(Migration::Sensing));
}

#[test]
fn the_version_follows_what_is_heard() {
    let sensed = |version, change: Change| {
        migrated(version, |port| {
            port.migration = Migration::Sensing;
            (port.mcheck, port.rcvd_rstp, port.rcvd_stp) = (false, false, false);
            change(port);
        })
    };
    let rapid: [(Change, Option<Migration>); 8] = [
        (|port| port.send_rstp = true, None),
        (|port| port.send_rstp = false, None),
        (|port| port.is_enabled = false, Some(Migration::CheckingRapid)),
        (|port| port.mcheck = true, Some(Migration::CheckingRapid)),
        (|port| (port.send_rstp, port.rcvd_rstp) = (false, true), Some(Migration::CheckingRapid)),
        (|port| (port.send_rstp, port.rcvd_rstp) = (true, true), None),
        (|port| (port.send_rstp, port.rcvd_stp) = (true, true), Some(Migration::SelectingOld)),
        (|port| (port.send_rstp, port.rcvd_stp) = (false, true), None),
    ];
    for (number, (change, next)) in rapid.into_iter().enumerate() {
        assert_eq!(sensed(Version::Rstp, change), next, "case {number}");
    }
    assert_eq!(sensed(Version::Stp, |port| (port.send_rstp, port.rcvd_rstp) = (false, true)), None);
}

#[test]
fn what_was_heard_before_the_choice_does_not_count_after_it() {
    let mut tree = with_port(Version::Rstp, |port| {
        (port.migration, port.timers.mdelay_while) = (Migration::SelectingOld, 0);
        (port.rcvd_rstp, port.rcvd_stp) = (true, true);
    });
    assert!(tree.migrate(0));
    assert!(!tree.ports[0].rcvd_rstp && !tree.ports[0].rcvd_stp);
    tree.ports[0].rcvd_stp = true;
    assert!(tree.migrate(0));
    let port = &tree.ports[0];
    assert_eq!((port.migration, port.send_rstp), (Migration::SelectingOld, false));
    assert_eq!(port.timers.mdelay_while, 3000);
}

#[test]
fn a_port_without_a_link_has_done_what_others_ask_for() {
    // IEEE 802.1D-2004, figure 17-20.
    let stay = |change: Change| {
        let mut tree = with_port(Version::Rstp, |port| {
            (port.role, port.selected_role) = (PortRole::Disabled, PortRole::Disabled);
            (port.selected, port.updt_info, port.timers.fd_while) = (true, false, 20_000);
            (port.learning, port.forwarding) = (false, false);
            (port.synced, port.sync, port.re_root) = (true, false, false);
            port.timers.rr_while = 7;
            change(port);
        });
        let moved = tree.change_role(0);
        let port = &tree.ports[0];
        let is_clean = (port.synced, port.sync, port.re_root) == (true, false, false)
            && (port.timers.fd_while, port.timers.rr_while) == (20_000, 0);
        assert_eq!(moved, is_clean);
        moved
    };
    assert!(!stay(|_| ()), "nothing is left to do");
    assert!(stay(|port| port.timers.fd_while = 19_999) && stay(|port| port.timers.fd_while = 0));
    assert!(stay(|port| port.sync = true) && stay(|port| port.re_root = true));
    assert!(stay(|port| port.synced = false));
    assert!(!stay(|port| (port.synced, port.learning) = (false, true)), "first it closes");
    assert!(!stay(|port| (port.synced, port.forwarding) = (false, true)), "first it closes");
}

#[test]
fn the_next_thing_due_is_the_nearest_of_all_ports_timers_and_held_messages() {
    let mut tree = bridge(2);
    let still = |port: &mut Port| {
        port.timers.each_mut().into_iter().for_each(|timer| *timer = 0);
        (port.tx_count, port.hold_ms) = (0, 1000);
    };
    tree.ports.iter_mut().for_each(still);
    assert_eq!(tree.next_due_ms(), None);
    tree.ports[1].hold_ms = 4;
    assert_eq!(tree.next_due_ms(), None, "nothing was sent");
    tree.ports[1].tx_count = 1;
    assert_eq!(tree.next_due_ms(), Some(4));
    for (timer, due) in (0..8).zip([3, 4, 4, 1, 4, 4, 2, 4]) {
        *tree.ports[0].timers.each_mut()[timer] = due;
        assert_eq!(tree.next_due_ms(), Some(due));
        *tree.ports[0].timers.each_mut()[timer] = 0;
    }
}

#[test]
fn one_message_more_may_leave_for_each_second() {
    let mut tree = bridge(1);
    tree.ports[0].timers.each_mut().into_iter().for_each(|timer| *timer = 1_000_000);
    let held = |tree: &mut SpanningTree, ms| {
        tree.advance(at(ms));
        (tree.ports[0].tx_count, tree.ports[0].hold_ms)
    };
    (tree.ports[0].tx_count, tree.ports[0].hold_ms) = (3, 1000);
    assert_eq!(held(&mut tree, 999), (3, 1));
    assert_eq!(held(&mut tree, 1000), (2, 1000));
    assert_eq!(held(&mut tree, 2001), (1, 999));
    assert_eq!(held(&mut tree, 9000), (0, 1000));
    assert_eq!(held(&mut tree, 9500), (0, 1000));
    (tree.ports[0].tx_count, tree.ports[0].hold_ms) = (3, 1000);
    assert_eq!(held(&mut tree, 11_700), (1, 800), "several seconds at once");
}

#[test]
fn roles_and_states_have_the_standards_names() {
    use PortRole::{Alternate, Backup, Designated, Disabled, Root};
    let names = [Disabled, Root, Designated, Alternate, Backup].map(PortRole::name);
    assert_eq!(names, ["disabled", "root", "designated", "alternate", "backup"]);
    let names = [PortState::Discarding, PortState::Learning, PortState::Forwarding].map(PortState::name);
    assert_eq!(names, ["discarding", "learning", "forwarding"]);
}

#[test]
fn information_waits_for_the_roles_before_it_changes() {
    // IEEE 802.1D-2004, figure 17-18: to UPDATE only if selected and updtInfo.
    for (information, updt_info, selected, moves) in [
        (Information::Aged, true, true, true),
        (Information::Aged, true, false, false),
        (Information::Aged, false, true, false),
        (Information::Current, true, true, true),
        (Information::Current, true, false, false),
        (Information::Current, false, true, false),
    ] {
        let mut tree = with_port(Version::Rstp, |port| {
            (port.information, port.updt_info, port.selected) = (information, updt_info, selected);
        });
        assert_eq!(tree.keep_information(0), moves, "{information:?}, {updt_info}, {selected}");
    }
}
