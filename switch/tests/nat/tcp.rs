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

/// RFC 5382, 4.3, REQ-4: nothing is answered for six seconds at least, however often it is asked: no reset, no ICMP error,
/// and nothing that the gateway would hear of.
#[test]
fn tcp_r4_an_unsolicited_syn_gets_no_answer_for_six_seconds() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(OTHER), 80));
    let mapped = ends_of(&lab.pass(A, &tcp(A, sent, "S", (100, 0))).1).from;
    let to_nobody = ends((v4(PEER), 80), (OUTSIDE, mapped.1 ^ 1));
    let to_a_mapping = ends((v4(PEER), 80), mapped);
    for _ in 0..=7 {
        for (unasked, reason) in
            [(to_nobody, DropReason::NatUnsolicited), (to_a_mapping, DropReason::NatFiltered)]
        {
            let outside = lab.send(PEER, &tcp(PEER, unasked, "S", (900, 0)));
            assert_eq!((&outside.sent[..], &outside.offered[..]), (&[][..], &[][..]), "{unasked:?}");
            assert_eq!(outside.dropped, [reason]);
            assert_eq!(lab.answers(PEER, &tcp(PEER, unasked, "S", (900, 0))), []);
        }
        lab.wait(1);
    }
    assert_eq!((lab.connections(), lab.mappings()), (1, 1), "and nothing is remembered of it");
    // An outbound SYN opens a connection later, too.
    let late = ends((v4(A), 5000), (v4(PEER), 80));
    assert_eq!(ends_of(&lab.pass(A, &tcp(A, late, "S", (100, 0))).1).from, mapped);
    assert_eq!(ends_of(&lab.pass(PEER, &tcp(PEER, to_a_mapping, "S", (900, 0))).1), late.turned());
}

#[test]
fn tcp_r4_an_unsolicited_syn_is_forgotten_when_an_outbound_one_follows() {
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

/// RFC 5382, 5, REQ-5, of one that closes: half-closed, it goes on for as long as the other side speaks, and is remembered for
/// four minutes of silence; so is one that both have closed. One that nobody closed outlives both.
#[test]
fn tcp_r5_a_half_closed_connection_goes_on_and_is_remembered_for_four_minutes_of_silence() {
    let mut lab = Lab::new();
    let (sent, seen) = opened(&mut lab);
    let idle = ends((v4(B), 5000), (v4(PEER), 80));
    let outward = ends_of(&lab.pass(B, &tcp(B, idle, "S", (100, 0))).1);
    lab.pass(PEER, &tcp(PEER, outward.turned(), "SA", (900, 101)));
    lab.pass(B, &tcp(B, idle, "A", (101, 901)));
    lab.pass(A, &tcp(A, sent, "FA", (101, 901)));
    for _ in 0..20 {
        lab.wait(235);
        assert_eq!(ends_of(&lab.pass(PEER, &tcp(PEER, seen.turned(), "A", (901, 102))).1), sent.turned());
        assert_eq!(ends_of(&lab.pass(A, &tcp(A, sent, "A", (102, 901))).1), seen);
    }
    lab.wait(240);
    assert_eq!(ends_of(&lab.pass(PEER, &tcp(PEER, seen.turned(), "FA", (901, 102))).1), sent.turned());
    lab.pass(A, &tcp(A, sent, "A", (102, 902)));
    // Both have closed: what is late still arrives for four minutes, and then no more.
    lab.wait(240);
    assert_eq!(ends_of(&lab.pass(PEER, &tcp(PEER, seen.turned(), "FA", (901, 102))).1), sent.turned());
    lab.wait(245);
    let late = tcp(PEER, seen.turned(), "FA", (901, 102));
    assert_eq!(lab.lose(PEER, &late), DropReason::NatUnsolicited);
    let (to, answer) = lab.pass(PEER, &tcp(PEER, outward.turned(), "A", (901, 101)));
    assert_eq!((to, ends_of(&answer)), (B, idle.turned()), "the one that nobody closed");
    // Half-closed and silent.
    let (sent, seen) = opened(&mut lab);
    lab.pass(A, &tcp(A, sent, "FA", (101, 901)));
    lab.wait(245);
    let late = tcp(PEER, seen.turned(), "A", (901, 102));
    assert_eq!(lab.lose(PEER, &late), DropReason::NatUnsolicited);
    assert_eq!(lab.connections(), 1);
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

/// RFC 5382, 7.4, REQ-10: whatever error is told of an established connection, by whomever, it goes on, and for as long as any
/// other that is idle.
#[test]
fn tcp_r10_icmp_never_ends_a_connection() {
    let mut lab = Lab::new();
    let (sent, seen) = opened(&mut lab);
    // Data on its way, which the peer has not acknowledged: about nothing else is an error believed (RFC 5927, 4.1).
    let question = segment(A, sent, "A", (101, 901), &[7; 20]);
    let outward = lab.pass(A, &question).1;
    let answer = segment(PEER, seen.turned(), "A", (901, 101), &[8; 20]);
    let before = (lab.connections(), lab.mappings());
    for (kind, code) in errors() {
        for (from, reporter) in [(PEER, v4(PEER)), (ROUTER, FAR_ROUTER)] {
            let report = error(from, (reporter, OUTSIDE), (kind, code), &outward, 1000);
            let (to, told) = lab.pass(from, &report);
            assert_eq!((to, told[34], told[35]), (A, kind, code), "it arrives");
            assert_eq!((lab.connections(), lab.mappings()), before, "{kind} {code}");
            assert_eq!(lab.pass(A, &question).1, outward, "{kind} {code}");
            let (to, answered) = lab.pass(PEER, &answer);
            assert_eq!((to, ends_of(&answered)), (A, sent.turned()), "{kind} {code}");
            assert_eq!(answered[54..], [8; 20], "{kind} {code}");
        }
    }
    lab.pass(PEER, &error(PEER, (v4(PEER), OUTSIDE), (3, 1), &outward, 1000));
    lab.wait(2 * 3600 + 4 * 60);
    assert_eq!(ends_of(&lab.pass(PEER, &answer).1), sent.turned());
    // What is told of one that only opens does not end it either.
    let opening = ends((v4(B), 5000), (v4(PEER), 80));
    let request = lab.pass(B, &tcp(B, opening, "S", (100, 0))).1;
    lab.pass(PEER, &error(PEER, (v4(PEER), OUTSIDE), (3, 1), &request, 1000));
    let (to, answer) = lab.pass(PEER, &tcp(PEER, ends_of(&request).turned(), "SA", (900, 101)));
    assert_eq!((to, ends_of(&answer)), (B, opening.turned()));
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
