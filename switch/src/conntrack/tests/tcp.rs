//! TCP: what opens, carries on and ends a connection, and what does not.

use super::*;

const THERE: bool = false;
const BACK: bool = true;

/// A segment of flow 1.
fn segment(is_back: bool, flags: u8, numbers: (u32, u32), payload: u16) -> Packet {
    tcp(1, is_back, flags, numbers, payload)
}

fn with_window(mut packet: Packet, window: u16, scale: Option<u8>) -> Packet {
    if let Transport::Tcp(tcp) = &mut packet.transport {
        tcp.window = window;
        tcp.syn.window_scale = scale;
    }
    packet
}

/// Opened from 1000 and 5000, without scaling, windows of 1000.
fn opened() -> Conntrack {
    let table = table();
    assert_eq!(table.pass(&segment(THERE, SYN, (1000, 0), 0), 0), Verdict::New);
    assert!(is_established(table.pass(&segment(BACK, SYN | ACK, (5000, 1001), 0), 0), Direction::Reply));
    assert_eq!(table.states(0), [State::SynReceived]);
    assert_eq!(table.held(port(7)), (1, 1));
    assert!(is_established(table.pass(&segment(THERE, ACK, (1001, 5001), 0), 0), Direction::Original));
    assert_eq!((table.states(0), table.held(port(7))), (vec![State::Established], (1, 0)));
    table
}

fn refused(table: &Conntrack, packet: &Packet) -> Option<Invalid> {
    match table.pass(packet, 0) {
        Verdict::Invalid(reason) => Some(reason),
        _ => None,
    }
}

#[test]
fn only_a_syn_opens() {
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | ACK] {
        assert_eq!(refused(&table(), &segment(THERE, flags, (1, 1), 0)), Some(Invalid::NotSyn), "{flags:#x}");
    }
    for flags in
        [0, FIN, SYN | FIN, SYN | RST, SYN | FIN | RST | ACK, FIN | RST | ACK, TcpFlags::PSH, TcpFlags::URG]
    {
        assert_eq!(
            refused(&table(), &segment(THERE, flags, (1, 1), 0)),
            Some(Invalid::BadFlags),
            "{flags:#x}"
        );
        assert_eq!(refused(&opened(), &segment(THERE, flags, (1001, 5001), 0)), Some(Invalid::BadFlags));
    }
    assert_eq!(
        table().pass(&segment(THERE, SYN | TcpFlags::PSH | 0xc0, (1, 0), 10), 0),
        Verdict::New,
        "ECN, fast open"
    );
}

#[test]
fn a_connection_that_ends_is_followed_to_its_end() {
    let table = opened();
    table.pass(&segment(THERE, FIN | ACK, (1001, 5001), 10), 1);
    assert_eq!(table.states(1), [State::FinWait]);
    table.pass(&segment(BACK, ACK, (5001, 1012), 0), 1);
    assert_eq!(table.states(1), [State::FinWait]);
    table.pass(&segment(BACK, ACK, (5001, 1012), 100), 1);
    table.pass(&segment(BACK, FIN | ACK, (5101, 1012), 0), 1);
    assert_eq!(table.states(1), [State::LastAck]);
    table.pass(&segment(THERE, ACK, (1012, 5102), 0), 1);
    assert_eq!(table.states(1), [State::TimeWait]);
    // Late segments pass, and the same ports may be used again at once.
    assert!(is_established(table.pass(&segment(THERE, ACK, (1012, 5102), 0), 2), Direction::Original));
    assert_eq!(table.pass(&segment(BACK, SYN, (90_000, 0), 0), 3), Verdict::New);
    assert_eq!((table.states(3), table.held(port(7))), (vec![State::SynSent], (1, 1)));
    assert_eq!(table.counters().closed, 1);
}

#[test]
fn both_sides_may_end_at_the_same_time() {
    let table = opened();
    table.pass(&segment(THERE, FIN | ACK, (1001, 5001), 0), 0);
    table.pass(&segment(BACK, FIN | ACK, (5001, 1001), 0), 0);
    assert_eq!(table.states(0), [State::LastAck]);
    table.pass(&segment(THERE, ACK, (1002, 5002), 0), 0);
    table.pass(&segment(BACK, ACK, (5002, 1002), 0), 0);
    assert_eq!(table.states(0), [State::TimeWait]);
}

#[test]
fn both_sides_may_open_at_the_same_time() {
    // RFC 9293, 3.5, figure 7; with acknowledgements as SYN-ACK and as bare ACK.
    for flags in [SYN | ACK, ACK] {
        let table = table();
        let (one, other) = if flags == ACK { (1001, 5001) } else { (1000, 5000) };
        table.pass(&segment(THERE, SYN, (1000, 0), 0), 0);
        assert!(is_established(table.pass(&segment(BACK, SYN, (5000, 0), 0), 0), Direction::Reply));
        assert_eq!(table.states(0), [State::SynReceived]);
        assert!(is_established(table.pass(&segment(THERE, flags, (one, 5001), 0), 0), Direction::Original));
        assert_eq!(table.states(0), [State::SynReceived]);
        assert!(is_established(table.pass(&segment(BACK, flags, (other, 1001), 0), 0), Direction::Reply));
        assert_eq!((table.states(0), table.held(port(7))), (vec![State::Established], (1, 0)));
    }
}

#[test]
fn segments_come_again_and_out_of_order() {
    let table = opened();
    for (sequence, payload) in [(1001, 500), (1501, 500), (1001, 500), (1501, 500)] {
        assert_eq!(refused(&table, &segment(THERE, ACK, (sequence, 5001), payload)), None);
    }
    assert_eq!(refused(&table, &segment(BACK, ACK, (5001, 2001), 0)), None);
    assert_eq!(refused(&table, &segment(BACK, ACK, (5001, 1501), 0)), None, "an older acknowledgement");
    let syn = table.look_up(zone(1), &segment(BACK, SYN | ACK, (5000, 1001), 0), at(0));
    assert!(is_established(syn, Direction::Reply), "a SYN-ACK that comes again");
}

#[test]
fn a_syn_comes_again_with_the_same_number_or_another() {
    let table = table();
    for sequence in [1000, 1000, 77_000] {
        table.pass(&segment(THERE, SYN, (sequence, 0), 0), 0);
    }
    assert_eq!(refused(&table, &segment(BACK, SYN | ACK, (5000, 1001), 0)), Some(Invalid::AckBehind));
    assert_eq!(refused(&table, &segment(BACK, SYN | ACK, (5000, 77_001), 0)), None);
}

#[test]
fn what_lies_outside_of_the_windows_is_invalid() {
    let table = opened();
    let cases = [
        (THERE, (2001, 5001), 0, None),
        (THERE, (2002, 5001), 0, Some(Invalid::SequenceAhead)),
        (THERE, (1001 + (1 << 31), 5001), 0, Some(Invalid::SequenceAhead)),
        (THERE, (1001, 5002), 0, Some(Invalid::AckAhead)),
        (BACK, (6002, 1001), 0, Some(Invalid::SequenceAhead)),
        (BACK, (5001, 2002), 0, Some(Invalid::AckAhead)),
        (THERE, (1001, 5001_u32.wrapping_sub(66_000)), 0, None),
        (THERE, (1001, 5000_u32.wrapping_sub(66_000)), 0, Some(Invalid::AckBehind)),
        (THERE, (1001, 5001), 0, None),
        (THERE, (1000, 5001), 0, Some(Invalid::SequenceBehind)),
    ];
    for (is_back, numbers, payload, expected) in cases {
        let numbers: (u32, u32) = numbers;
        assert_eq!(
            refused(&table, &segment(is_back, ACK, numbers, payload)),
            expected,
            "{is_back} {numbers:?}"
        );
    }
}

#[test]
fn numbers_wrap() {
    let table = table();
    let (one, other) = (u32::MAX - 5, u32::MAX - 7);
    table.pass(&segment(THERE, SYN, (one, 0), 0), 0);
    table.pass(&segment(BACK, SYN | ACK, (other, one.wrapping_add(1)), 0), 0);
    let (mut one, mut other) = (one.wrapping_add(1), other.wrapping_add(1));
    for _ in 0..100 {
        assert_eq!(refused(&table, &segment(THERE, ACK, (one, other), 100)), None);
        one = one.wrapping_add(100);
        assert_eq!(refused(&table, &segment(BACK, ACK, (other, one), 200)), None);
        other = other.wrapping_add(200);
    }
}

#[test]
fn windows_are_scaled_if_both_sides_say_so() {
    let open = |scales: [Option<u8>; 2]| {
        let table = table();
        table.pass(&with_window(segment(THERE, SYN, (1000, 0), 0), 1000, scales[0]), 0);
        table.pass(&with_window(segment(BACK, SYN | ACK, (5000, 1001), 0), 1000, scales[1]), 0);
        table.pass(&segment(THERE, ACK, (1001, 5001), 0), 0);
        table
    };
    let last = |table: &Conntrack, limit: u32| {
        let is_inside = refused(table, &segment(BACK, ACK, (5001 + limit, 1001), 0)).is_none();
        is_inside
            && refused(table, &segment(BACK, ACK, (5002 + limit, 1001), 0)) == Some(Invalid::SequenceAhead)
    };
    assert!(last(&open([Some(3), Some(7)]), 8000), "the SYN's own window is not scaled");
    assert!(last(&open([Some(3), None]), 1000));
    assert!(last(&open([None, Some(7)]), 1000));
    assert!(last(&open([Some(0), Some(7)]), 1000));
    assert!(last(&open([Some(14), Some(0)]), 1000 << 14));
}

#[test]
fn a_closed_window_is_probed_with_one_byte() {
    let table = opened();
    refused(&table, &with_window(segment(BACK, ACK, (5001, 1001), 0), 0, None));
    // What was allowed before stays so (RFC 9293, 3.8.6: a window should not shrink, but may).
    assert_eq!(refused(&table, &segment(THERE, ACK, (2001, 5001), 1)), None);
}

#[test]
fn a_reset_is_believed_with_the_very_next_number_only() {
    // RFC 5961, 3.2.
    for (sequence, flags, verdict, state) in [
        (5001, RST, None, State::Reset),
        (5001, RST | ACK, None, State::Reset),
        (5002, RST, None, State::Established),
        (6001, RST | ACK, None, State::Established),
        (6002, RST, Some(Invalid::ResetOutside), State::Established),
        (5000, RST, Some(Invalid::ResetOutside), State::Established),
        (5001 + (1 << 31), RST, Some(Invalid::ResetOutside), State::Established),
    ] {
        let table = opened();
        assert_eq!(refused(&table, &segment(BACK, flags, (sequence, 0), 0)), verdict, "{sequence}");
        assert_eq!(table.states(0), [state], "{sequence}");
    }
}

#[test]
fn a_reset_behind_data_under_way_is_believed() {
    let table = opened();
    table.pass(&segment(BACK, ACK, (5001, 1001), 300), 0);
    assert_eq!(refused(&table, &segment(BACK, RST, (5301, 0), 0)), None);
    assert_eq!(table.states(0), [State::Reset]);
}

#[test]
fn a_reset_does_not_delete_at_once() {
    let table = opened();
    table.pass(&segment(BACK, RST, (5001, 0), 0), 10);
    assert!(is_established(table.pass(&segment(THERE, ACK, (1001, 5001), 0), 20), Direction::Original));
    table.run_to(20 + timeouts::TCP_TRANSITORY_S);
    assert_eq!(table.states(20 + timeouts::TCP_TRANSITORY_S), [State::Reset]);
    table.run_to(21 + timeouts::TCP_TRANSITORY_S);
    assert_eq!(table.held(port(7)), (0, 0));
    let table = opened();
    table.pass(&segment(BACK, RST, (5001, 0), 0), 10);
    assert_eq!(table.pass(&segment(THERE, SYN, (9, 0), 0), 11), Verdict::New, "the same ports again");
}

#[test]
fn a_syn_is_refused_by_a_reset_that_acknowledges_it() {
    let syn = segment(THERE, SYN, (1000, 0), 0);
    for (flags, ack, expected) in [
        (RST | ACK, 1001, None),
        (RST | ACK, 1000, Some(Invalid::ResetOutside)),
        (RST | ACK, 1002, Some(Invalid::ResetOutside)),
        (RST, 1001, Some(Invalid::ResetOutside)),
    ] {
        let table = table();
        table.pass(&syn, 0);
        assert_eq!(refused(&table, &segment(BACK, flags, (0, ack), 0)), expected);
        assert_eq!(table.states(0) == [State::Reset], expected.is_none());
    }
}

#[test]
fn a_syn_to_an_open_connection_changes_nothing() {
    // RFC 5961, 4: it is answered, so that an honest sender can reset what is left of an old connection.
    let table = opened();
    assert_eq!(refused(&table, &segment(THERE, SYN, (700_000, 0), 0)), None);
    assert_eq!(refused(&table, &segment(BACK, SYN, (700_000, 0), 0)), Some(Invalid::StraySyn));
    assert_eq!(refused(&table, &segment(BACK, SYN | ACK, (700_000, 1001), 0)), Some(Invalid::StraySyn));
    assert_eq!(refused(&table, &segment(THERE, SYN | ACK, (700_000, 5001), 0)), Some(Invalid::StraySyn));
    assert_eq!(table.states(0), [State::Established]);
    assert_eq!(refused(&table, &segment(THERE, ACK, (1001, 5001), 100)), None);
    assert_eq!(refused(&table, &segment(THERE, RST, (5001, 0), 0)), Some(Invalid::ResetOutside));
}

#[test]
fn a_peer_that_forgot_the_connection_may_open_it_anew() {
    let table = opened();
    assert_eq!(refused(&table, &with_window(segment(THERE, SYN, (700_000, 0), 0), 1000, Some(2))), None);
    assert_eq!(
        refused(&table, &segment(BACK, SYN | ACK, (90_000, 700_002), 0)),
        Some(Invalid::StraySyn),
        "answers none"
    );
    let answer = with_window(segment(BACK, SYN | ACK, (90_000, 700_001), 0), 1000, Some(0));
    assert_eq!(refused(&table, &answer), None);
    assert_eq!(refused(&table, &answer), None, "again");
    assert_eq!(
        refused(&table, &segment(THERE, ACK, (1001, 5001), 0)),
        Some(Invalid::SequenceBehind),
        "the old one is over"
    );
    assert_eq!(refused(&table, &segment(THERE, ACK, (700_001, 90_001), 100)), None);
    assert_eq!(refused(&table, &segment(BACK, ACK, (94_001, 700_101), 0)), None, "scaled");
    assert_eq!(refused(&table, &segment(BACK, ACK, (94_002, 700_101), 0)), Some(Invalid::SequenceAhead));
    assert_eq!((table.states(0), table.held(port(7))), (vec![State::Established], (1, 0)));
}

#[test]
fn a_peer_that_forgot_the_connection_may_refuse_it() {
    let table = opened();
    table.pass(&segment(THERE, SYN, (700_000, 0), 0), 0);
    assert_eq!(refused(&table, &segment(BACK, RST | ACK, (0, 700_000), 0)), Some(Invalid::ResetOutside));
    assert_eq!(refused(&table, &segment(BACK, RST | ACK, (0, 700_001), 0)), None);
    assert_eq!(table.states(0), [State::Reset]);
}

#[test]
fn what_is_left_of_an_old_connection_can_be_reset() {
    // RFC 9293, 3.5.1, figure 9: the one side forgot; the other's acknowledgement of something else makes it reset that.
    let table = table();
    table.pass(&segment(THERE, SYN, (1000, 0), 0), 0);
    assert_eq!(refused(&table, &segment(BACK, ACK, (300_000, 400_000), 0)), None);
    assert_eq!(refused(&table, &segment(BACK, ACK, (300_000, 400_000), 9)), Some(Invalid::NotSyn), "no data");
    assert_eq!(refused(&table, &segment(THERE, RST, (400_000, 0), 0)), None);
    assert_eq!(table.states(0), [State::SynSent]);
    table.pass(&segment(THERE, SYN, (1000, 0), 0), 1);
    assert_eq!(refused(&table, &segment(BACK, SYN | ACK, (5000, 1001), 0)), None);
    assert_eq!(refused(&table, &segment(THERE, ACK, (1001, 5001), 0)), None);
    assert_eq!(table.states(1), [State::Established]);
}

#[test]
fn nobody_but_the_peer_completes_an_opening() {
    let table = table();
    table.pass(&segment(THERE, SYN, (1000, 0), 0), 0);
    assert_eq!(refused(&table, &segment(THERE, ACK, (1001, 5001), 0)), Some(Invalid::AckAhead));
    assert_eq!(refused(&table, &segment(BACK, SYN | ACK, (5000, 1002), 0)), Some(Invalid::AckAhead));
    assert_eq!(table.states(0), [State::SynSent]);
}

#[test]
fn a_connection_is_taken_up_in_its_midst_only_where_that_is_wanted() {
    let table = Conntrack::new(Limits { may_take_up: true, ..small() }, 1);
    assert_eq!(refused(&table, &segment(THERE, RST, (1, 1), 0)), Some(Invalid::NotSyn));
    assert_eq!(table.pass(&segment(THERE, ACK, (1, 1), 100), 0), Verdict::New);
    assert!(is_established(table.pass(&segment(BACK, ACK, (900_000, 101), 100), 0), Direction::Reply));
    assert_eq!(table.states(0), [State::Established]);
}

#[test]
fn a_connection_of_which_segments_are_fragmented_loses_its_windows_and_nothing_else() {
    let table = opened();
    let mut first = segment(THERE, ACK, (1001, 5001), 8);
    first.fragment = Some(crate::packet::Fragment { id: 1, offset: 0, length: 28, more: true });
    assert_eq!(refused(&table, &first), None);
    assert_eq!(refused(&table, &segment(BACK, ACK, (5001, 2401), 0)), None, "it was longer");
    assert_eq!(refused(&table, &segment(THERE, ACK, (2401, 5001), 0)), None);
    assert_eq!(table.states(0), [State::Established]);
}
