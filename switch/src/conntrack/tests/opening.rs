//! TCP: what a SYN says, said again or otherwise, and connections of which not all is known.

use super::*;
use crate::conntrack::tcp::is_before;

const THERE: bool = false;
const BACK: bool = true;

fn segment(is_back: bool, flags: u8, numbers: (u32, u32), window: u16, scale: Option<u8>) -> Packet {
    let mut packet = tcp(1, is_back, flags, numbers, 0);
    if let Transport::Tcp(tcp) = &mut packet.transport {
        (tcp.window, tcp.syn.window_scale) = (window, scale);
    }
    packet
}

fn refused(table: &Conntrack, packet: &Packet) -> Option<Invalid> {
    match table.pass(packet, 0) {
        Verdict::Invalid(reason) => Some(reason),
        _ => None,
    }
}

/// A table after these segments of flow 1, all of which are valid.
fn after(segments: &[Packet]) -> Conntrack {
    let table = table();
    for segment in segments {
        assert_eq!(refused(&table, segment), None, "{segment:?}");
    }
    table
}

/// How far the side may send beyond `next` with the acknowledgement `ack`.
fn room(table: &Conntrack, is_back: bool, next: u32, ack: u32) -> u32 {
    let passes = |ahead: u32| {
        let packet = segment(is_back, ACK, (next.wrapping_add(ahead), ack), 1000, None);
        !matches!(table.look_up(zone(1), &packet, at(0)), Verdict::Invalid(_))
    };
    (0..=14).map(|scale| 1000 << scale).rfind(|ahead| passes(*ahead) && !passes(ahead + 1)).unwrap()
}

/// What both sides offer after their SYNs and an acknowledgement with a window of 1000 from each.
fn offers(syns: &[Packet]) -> [u32; 2] {
    let table = after(syns);
    for packet in
        [segment(THERE, ACK, (1001, 5001), 1000, None), segment(BACK, ACK, (5001, 1001), 1000, None)]
    {
        assert_eq!(refused(&table, &packet), None);
    }
    [room(&table, BACK, 5001, 1001), room(&table, THERE, 1001, 5001)]
}

#[test]
fn windows_go_by_the_last_syn_of_each_side() {
    // RFC 7323, 2.2: both sides have to send a scale.
    let syn = |scale| segment(THERE, SYN, (1000, 0), 1000, scale);
    let other_syn = |scale| segment(THERE, SYN, (900, 0), 1000, scale);
    let answer = |scale| segment(BACK, SYN | ACK, (5000, 1001), 1000, scale);
    let other_answer = |scale| segment(BACK, SYN | ACK, (4000, 1001), 1000, scale);
    assert_eq!(offers(&[syn(Some(2)), answer(Some(4))]), [4000, 16_000]);
    assert_eq!(offers(&[other_syn(Some(5)), syn(Some(2)), answer(Some(4))]), [4000, 16_000]);
    assert_eq!(offers(&[other_syn(Some(5)), syn(None), answer(Some(4))]), [1000, 1000]);
    assert_eq!(offers(&[other_syn(None), syn(Some(2)), answer(Some(4))]), [4000, 16_000]);
    assert_eq!(offers(&[syn(Some(2)), other_answer(Some(3)), answer(Some(4))]), [4000, 16_000]);
    assert_eq!(offers(&[syn(Some(2)), other_answer(Some(3)), answer(None)]), [1000, 1000]);
    assert_eq!(offers(&[syn(Some(2)), other_answer(None), answer(Some(4))]), [4000, 16_000]);
    // Both open at once; the SYN comes again with the acknowledgement.
    let there = segment(THERE, SYN | ACK, (1000, 5001), 1000, Some(2));
    let simultaneous = [syn(Some(2)), segment(BACK, SYN, (5000, 0), 1000, Some(4)), there, answer(Some(4))];
    assert_eq!(offers(&simultaneous), [4000, 16_000]);
}

/// An open connection, whose opener has asked to open it anew with each of these scales, and whose peer answers the last
/// with 3; what they offer then, with windows of 1000.
fn reopened(scales: &[Option<u8>]) -> [u32; 2] {
    let table = after(&[
        segment(THERE, SYN, (1000, 0), 1000, Some(1)),
        segment(BACK, SYN | ACK, (5000, 1001), 1000, Some(1)),
        segment(THERE, ACK, (1001, 5001), 1000, None),
        // It is about to end.
        segment(THERE, FIN | ACK, (1001, 5001), 1000, None),
    ]);
    for scale in scales {
        assert_eq!(refused(&table, &segment(THERE, SYN, (700_000, 0), 1000, *scale)), None);
    }
    assert_eq!(table.states(0), [State::FinWait]);
    for packet in [
        segment(BACK, SYN | ACK, (90_000, 700_001), 1000, Some(3)),
        segment(THERE, ACK, (700_001, 90_001), 1000, None),
        segment(BACK, ACK, (90_001, 700_001), 1000, None),
    ] {
        assert_eq!(refused(&table, &packet), None);
    }
    assert_eq!((table.states(0), table.held(port(7))), (vec![State::Established], (1, 0)), "nothing ends");
    [room(&table, BACK, 90_001, 700_001), room(&table, THERE, 700_001, 90_001)]
}

#[test]
fn a_connection_that_is_opened_anew_goes_by_the_last_syn_that_asked_for_it() {
    assert_eq!(reopened(&[Some(2)]), [4000, 8000]);
    assert_eq!(reopened(&[None]), [1000, 1000]);
    assert_eq!(reopened(&[Some(2), Some(2)]), [4000, 8000], "asked twice");
    assert_eq!(reopened(&[Some(5), Some(2)]), [4000, 8000]);
    assert_eq!(reopened(&[Some(5), None]), [1000, 1000]);
}

#[test]
fn who_answered_with_a_syn_does_not_send_another_one_alone() {
    let table = after(&[
        segment(THERE, SYN, (1000, 0), 1000, None),
        segment(BACK, SYN | ACK, (5000, 1001), 1000, None),
    ]);
    assert_eq!(refused(&table, &segment(BACK, SYN, (5000, 0), 1000, None)), Some(Invalid::StraySyn));
    let table = after(&[
        segment(THERE, SYN, (1000, 0), 1000, None),
        segment(BACK, SYN, (5000, 0), 1000, None),
        segment(THERE, SYN | ACK, (1000, 5001), 1000, None),
    ]);
    assert_eq!(refused(&table, &segment(BACK, SYN, (7000, 0), 1000, None)), Some(Invalid::StraySyn));
}

/// Open, from 1000 and 5000, with windows of 1000.
fn opened() -> Conntrack {
    after(&[
        segment(THERE, SYN, (1000, 0), 1000, None),
        segment(BACK, SYN | ACK, (5000, 1001), 1000, None),
        segment(THERE, ACK, (1001, 5001), 1000, None),
    ])
}

#[test]
fn a_number_that_is_no_acknowledgement_answers_nothing() {
    let table = opened();
    assert_eq!(refused(&table, &segment(THERE, SYN, (700_000, 0), 1000, None)), None);
    // The flag is missing: the field means nothing (RFC 9293, 3.1).
    let reset = segment(BACK, RST, (0, 700_001), 1000, None);
    assert_eq!(refused(&table, &reset), Some(Invalid::ResetOutside));
    assert_eq!(table.states(0), [State::Established]);
    // And a number that the opener sends answers none of its own.
    let reset = segment(THERE, RST | ACK, (0, 700_001), 1000, None);
    assert_eq!(refused(&table, &reset), Some(Invalid::ResetOutside));
}

#[test]
fn a_connection_that_was_reset_stays_so() {
    let table = opened();
    for _ in 0..3 {
        assert_eq!(refused(&table, &segment(BACK, RST, (5001, 0), 0, None)), None);
        assert_eq!(table.states(0), [State::Reset]);
    }
}

#[test]
fn what_was_sent_long_ago_is_measured_by_the_widest_window() {
    let table = opened();
    let sends = |table: &Conntrack, end: u32| refused(table, &segment(THERE, ACK, (end, 5001), 1000, None));
    let offers = |table: &Conntrack, ack: u32, window| {
        assert_eq!(refused(table, &segment(BACK, ACK, (5001, ack), window, None)), None);
    };
    offers(&table, 1001, 5000);
    assert_eq!(sends(&table, 6001), None);
    offers(&table, 6001, 2000);
    assert_eq!((sends(&table, 1001), sends(&table, 1000)), (None, Some(Invalid::SequenceBehind)));
    let table = opened();
    assert_eq!(sends(&table, 2001), None);
    assert_eq!((sends(&table, 1001), sends(&table, 1000)), (None, Some(Invalid::SequenceBehind)));
}

#[test]
fn segments_of_a_connection_are_fragmented_time_and_again() {
    let table = opened();
    let mut first = segment(THERE, ACK, (1001, 5001), 1000, None);
    first.fragment = Some(crate::packet::Fragment { id: 1, offset: 0, length: 28, more: true });
    for round in 0..4 {
        assert_eq!(refused(&table, &first), None, "fragment {round}");
        let far = segment(BACK, ACK, (5001, 900_000 + round), 1000, None);
        assert_eq!(refused(&table, &far), None, "windows are not known any more");
    }
}

#[test]
fn a_connection_taken_up_in_its_midst_is_reset_by_the_number_that_is_waited_for_alone() {
    let taken_up = || {
        let table = Conntrack::new(Limits { may_take_up: true, ..small() }, 1);
        assert_eq!(table.pass(&segment(THERE, ACK, (1, 300), 1000, None), 0), Verdict::New);
        table
    };
    for (flags, sequence, verdict, state) in [
        (RST, 300, None, State::Reset),
        (RST | ACK, 301, None, State::Established),
        (RST, 1301, Some(Invalid::ResetOutside), State::Established),
        // The peer has not been heard: that it sent nothing is not known.
        (RST, 0, Some(Invalid::ResetOutside), State::Established),
    ] {
        let table = taken_up();
        assert_eq!(refused(&table, &segment(BACK, flags, (sequence, 0), 0, None)), verdict, "{sequence}");
        assert_eq!(table.states(0), [state], "{sequence}");
    }
    // What its peer waits for is not known either.
    let table = taken_up();
    assert_eq!(refused(&table, &segment(THERE, RST, (1, 0), 0, None)), None);
    assert_eq!(table.states(0), [State::Established]);
    assert_eq!(refused(&table, &segment(BACK, ACK, (300, 1), 1000, None)), None);
    assert_eq!(refused(&table, &segment(THERE, RST, (1, 0), 0, None)), None);
    assert_eq!(table.states(0), [State::Reset]);
}

#[test]
fn what_a_segment_is_refused_for_is_counted() {
    let table = opened();
    let Verdict::Established(found) =
        table.look_up(zone(1), &segment(THERE, ACK, (1001, 5001), 9, None), at(0))
    else {
        panic!()
    };
    let far = segment(THERE, ACK, (9_000, 5001), 1000, None);
    assert_eq!(table.track(found, &far, at(0)), Err(Invalid::SequenceAhead));
    assert_eq!(table.track(found, &far, at(0)), Err(Invalid::SequenceAhead));
    let counters = table.counters();
    assert_eq!((counters.invalid(Invalid::SequenceAhead), counters.invalid(Invalid::AckAhead)), (2, 0));
}

#[test]
fn numbers_are_compared_around_the_circle() {
    // RFC 9293, 3.4: what lies less than half the circle ahead is later.
    for start in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let ahead = |by: u32| is_before(start, start.wrapping_add(by));
        assert!(ahead(1) && ahead(0x7fff_ffff) && !ahead(0) && !ahead(u32::MAX) && !ahead(0x8000_0001));
    }
}
