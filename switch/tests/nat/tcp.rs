//! TCP: RFC 5382 and RFC 7857.

use viaduct_switch::DropReason;

use crate::lab::*;

/// A connection of A's to the peer's port 80, and how it looks outside.
fn opened(lab: &mut Lab) -> (Ends, Ends) {
    let sent = ends((v4(A), 5000), (v4(PEER), 80));
    let seen = ends_of(&lab.pass(A, &tcp(A, sent, "S", (100, 0))).1);
    let (to, answer) = lab.pass(PEER, &tcp(PEER, seen.turned(), "SA", (900, 101)));
    assert_eq!((to, ends_of(&answer)), (A, sent.turned()));
    lab.pass(A, &tcp(A, sent, "A", (101, 901)));
    (sent, seen)
}

#[test]
fn tcp_r1_endpoint_independent_mapping() {
    let mut lab = Lab::new();
    let own = (v4(A), 5000);
    let to = [(v4(PEER), 80), (v4(PEER), 81), (v4(OTHER), 80)];
    let mapped = to.map(|to| ends_of(&lab.pass(A, &tcp(A, ends(own, to), "S", (1, 0))).1).from);
    assert!(mapped[0] == mapped[1] && mapped[1] == mapped[2]);
}

#[test]
fn tcp_r2_every_valid_sequence_simultaneous_open_included() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 80));
    let seen = ends_of(&lab.pass(A, &tcp(A, sent, "S", (100, 0))).1);
    // The peer opens at the same time.
    let (to, syn) = lab.pass(PEER, &tcp(PEER, seen.turned(), "S", (900, 0)));
    assert_eq!((to, ends_of(&syn)), (A, sent.turned()));
    lab.pass(A, &tcp(A, sent, "SA", (100, 901)));
    lab.pass(PEER, &tcp(PEER, seen.turned(), "SA", (900, 101)));
    lab.pass(A, &tcp(A, sent, "A", (101, 901)));
    // And both close at the same time.
    lab.pass(A, &tcp(A, sent, "FA", (101, 901)));
    lab.pass(PEER, &tcp(PEER, seen.turned(), "FA", (901, 101)));
    lab.pass(A, &tcp(A, sent, "A", (102, 902)));
    lab.pass(PEER, &tcp(PEER, seen.turned(), "A", (902, 102)));
    // A new one by the same ports.
    assert_eq!(ends_of(&lab.pass(A, &tcp(A, sent, "S", (5000, 0))).1), seen);
    assert_eq!(lab.connections(), 1);
}

#[test]
fn tcp_r4_an_unsolicited_syn_gets_no_answer() {
    let mut lab = Lab::new();
    // To a port that nobody has, and to one of a station that has not sent there.
    let unasked = ends((v4(PEER), 80), (OUTSIDE, 5000));
    assert_eq!(lab.lose(PEER, &tcp(PEER, unasked, "S", (900, 0))), DropReason::NatUnsolicited);
    let sent = ends((v4(A), 5000), (v4(OTHER), 80));
    let mapped = ends_of(&lab.pass(A, &tcp(A, sent, "S", (100, 0))).1).from;
    let unasked = ends((v4(PEER), 80), mapped);
    assert_eq!(lab.lose(PEER, &tcp(PEER, unasked, "S", (900, 0))), DropReason::NatFiltered);
    lab.wait(5);
    // An outbound SYN follows: the connection opens as if the other had been lost.
    let sent = ends((v4(A), 5000), (v4(PEER), 80));
    assert_eq!(ends_of(&lab.pass(A, &tcp(A, sent, "S", (100, 0))).1).from, mapped);
    assert_eq!(ends_of(&lab.pass(PEER, &tcp(PEER, unasked, "S", (900, 0))).1), sent.turned());
    // What is neither a SYN nor of a connection gets no further than that.
    let stray = ends((v4(PEER), 1), (OUTSIDE, 6000));
    assert_eq!(lab.lose(PEER, &tcp(PEER, stray, "A", (1, 1))), DropReason::NatUnsolicited);
}

#[test]
fn tcp_r5_an_idle_connection_lives_for_two_hours_and_four_minutes_and_one_that_opens_for_four_minutes() {
    let mut lab = Lab::new();
    let (sent, seen) = opened(&mut lab);
    lab.wait(2 * 3600 + 4 * 60);
    assert_eq!(ends_of(&lab.pass(PEER, &tcp(PEER, seen.turned(), "A", (901, 101))).1), sent.turned());
    let opening = ends((v4(B), 5000), (v4(PEER), 80));
    let outward = ends_of(&lab.pass(B, &tcp(B, opening, "S", (100, 0))).1);
    lab.wait(240);
    assert_eq!(ends_of(&lab.pass(PEER, &tcp(PEER, outward.turned(), "SA", (9, 101))).1), opening.turned());
    let opening = ends((v4(C), 5000), (v4(PEER), 80));
    let outward = ends_of(&lab.pass(C, &tcp(C, opening, "S", (100, 0))).1);
    lab.wait(245);
    let late = tcp(PEER, outward.turned(), "SA", (9, 101));
    assert_eq!(lab.lose(PEER, &late), DropReason::NatUnsolicited);
}

#[test]
fn tcp_r7_no_port_is_shared() {
    let mut lab = Lab::new();
    let mut seen = std::collections::BTreeSet::new();
    for (station, own) in [(A, 5000), (A, 5002), (B, 5000), (C, 5000)] {
        let sent = ends((v4(station), own), (v4(PEER), 80));
        assert!(seen.insert(ends_of(&lab.pass(station, &tcp(station, sent, "S", (1, 0))).1).from));
    }
}

#[test]
fn tcp_r8_hairpin() {
    let mut lab = Lab::new();
    let mapped = ends_of(&lab.pass(A, &tcp(A, ends((v4(A), 5000), (v4(PEER), 80)), "S", (1, 0))).1).from;
    let sent = ends((v4(C), 6000), mapped);
    let (to, syn) = lab.pass(C, &tcp(C, sent, "S", (100, 0)));
    let seen = ends_of(&syn);
    assert_eq!((to, seen.from.0, seen.to), (A, OUTSIDE, (v4(A), 5000)));
    let (to, answer) = lab.pass(A, &tcp(A, seen.turned(), "SA", (900, 101)));
    assert_eq!((to, ends_of(&answer)), (C, sent.turned()));
    lab.pass(C, &tcp(C, sent, "A", (101, 901)));
}

/// RFC 7857, 2.2: a reset is translated, and what is known of the connection stays for four minutes.
#[test]
fn tcp_rst_is_translated_and_the_state_held_for_four_minutes() {
    let mut lab = Lab::new();
    let (sent, seen) = opened(&mut lab);
    let (to, reset) = lab.pass(PEER, &tcp(PEER, seen.turned(), "R", (901, 0)));
    assert_eq!((to, ends_of(&reset)), (A, sent.turned()));
    lab.wait(239);
    assert_eq!((lab.connections(), lab.mappings()), (1, 1));
    lab.wait(3);
    assert_eq!(lab.connections(), 0);
    // Its port is held for two minutes more.
    lab.wait(110);
    assert_eq!(lab.mappings(), 1);
    lab.wait(20);
    assert_eq!(lab.mappings(), 0);
}
