//! Connections that outlive their table: what holds for their next packets, and for how long they are remembered.

use proptest::prelude::*;

use super::*;
use crate::conntrack::tcp::is_before;

const THERE: bool = false;
const BACK: bool = true;

/// All records of a table.
fn records(table: &Conntrack, extent: Extent, seconds: u32) -> Vec<Record> {
    let (mut records, mut from) = (Vec::new(), Some(0));
    while let Some(at_entry) = from {
        from = table.records(at_entry, 100, extent, at(seconds), |_, record| records.push(record));
    }
    records
}

fn restore(table: &Conntrack, record: &Record, is_exact: bool, seconds: u32) -> Result<(), NotRestored> {
    let judged = Judged { vouchers: record.vouchers, generation: 1 };
    table.restore(record, [None; 2], judged, is_exact, at(seconds)).map(drop)
}

/// Another table, which has what this one had.
fn successor(table: &Conntrack, extent: Extent, is_exact: bool, seconds: u32) -> Conntrack {
    let other = Conntrack::new(small(), 43);
    for record in records(table, extent, seconds) {
        assert_eq!(restore(&other, &record, is_exact, seconds), Ok(()), "{record:?}");
    }
    other
}

/// The kind of a verdict, without the connection's name.
fn kind(verdict: Verdict) -> (u8, Option<Direction>, Option<Invalid>) {
    match verdict {
        Verdict::New => (0, None, None),
        Verdict::Established(found) => (1, Some(found.direction), None),
        Verdict::Related(found) => (2, Some(found.direction), None),
        Verdict::Invalid(reason) => (3, None, Some(reason)),
        Verdict::Untracked => (4, None, None),
    }
}

/// TCP of flow 1, open, with windows of 1000, each side having sent so many bytes.
fn opened(sent: u32) -> Conntrack {
    let table = table();
    table.pass(&tcp(1, THERE, SYN, (1000, 0), 0), 0);
    table.pass(&tcp(1, BACK, SYN | ACK, (5000, 1001), 0), 0);
    table.pass(&tcp(1, THERE, ACK, (1001, 5001), 0), 0);
    for byte in (0..sent).step_by(500) {
        table.pass(&tcp(1, THERE, ACK, (1001 + byte, 5001), 500), 0);
        table.pass(&tcp(1, BACK, ACK, (5001, 1501 + byte), 0), 0);
    }
    table
}

fn passes(table: &Conntrack, packet: &Packet) -> bool {
    is_established(
        table.pass(packet, 1),
        if packet.ports().unwrap().source == 1 { Direction::Original } else { Direction::Reply },
    )
}

#[test]
fn only_what_somebody_would_miss_lasts() {
    let table = opened(0);
    table.pass(&udp(2, THERE), 0);
    table.pass(&udp(3, THERE), 0);
    table.pass(&udp(3, BACK), 0);
    table.pass(&tcp(4, THERE, SYN, (1, 0), 0), 0);
    table.pass(&tcp(5, THERE, SYN, (1, 0), 0), 0);
    table.pass(&tcp(5, BACK, RST | ACK, (0, 2), 0), 0);
    let flows = |extent| {
        let mut flows: Vec<u16> =
            records(&table, extent, 0).iter().map(|record| record.tuples[0].source_port).collect();
        flows.sort_unstable();
        flows
    };
    assert_eq!((flows(Extent::Lasting), flows(Extent::All)), (vec![1, 3], vec![1, 2, 3, 4, 5]));
    // UDP is over after five minutes.
    assert_eq!(records(&table, Extent::Lasting, 301).len(), 1);
}

#[test]
fn a_connection_that_went_on_since_learns_where_its_sides_stand_and_is_followed_again() {
    // In each direction 40,000 bytes more were carried than the record says, more than any window.
    for first in [THERE, BACK] {
        let table = successor(&opened(0), Extent::Lasting, false, 0);
        assert_eq!(table.held(port(7)), (1, 0));
        let there = tcp(1, THERE, ACK, (41_001, 45_001), 100);
        let back = tcp(1, BACK, ACK, (45_001, 41_101), 100);
        for packet in if first == THERE { [&there, &back] } else { [&back, &there] } {
            assert!(passes(&table, packet), "{packet:?}");
        }
        // What is far from there is no segment of it any more.
        let far = tcp(1, BACK, ACK, (245_001, 41_101), 0);
        assert_eq!(table.pass(&far, 1), Verdict::Invalid(Invalid::SequenceAhead));
        let forged = tcp(1, THERE, ACK, (41_101, 945_001), 0);
        assert_eq!(table.pass(&forged, 1), Verdict::Invalid(Invalid::AckAhead));
        assert!(passes(&table, &tcp(1, THERE, ACK, (41_101, 45_101), 0)));
        assert!(passes(&table, &tcp(1, THERE, FIN | ACK, (41_101, 45_101), 0)));
        assert_eq!(table.states(1), [State::FinWait]);
    }
}

#[test]
fn what_was_under_way_comes_once_more_and_what_was_lost_is_acknowledged() {
    // The opener had sent ten segments of 100 bytes, of which the first was lost, and all answers were.
    let table = successor(&opened(0), Extent::Lasting, false, 0);
    let resent = tcp(1, THERE, ACK, (41_001, 45_001), 100);
    assert!(passes(&table, &tcp(1, BACK, ACK, (45_001, 41_001), 0)), "says once more what is missing");
    assert!(passes(&table, &resent));
    assert!(passes(&table, &tcp(1, BACK, ACK, (45_001, 42_001), 0)), "acknowledges what we never saw");
    assert!(passes(&table, &tcp(1, THERE, ACK, (42_001, 45_001), 100)));
    // An answer was lost, so that the same comes again.
    let table = successor(&opened(0), Extent::Lasting, false, 0);
    for _ in 0..3 {
        assert!(passes(&table, &resent));
        assert!(passes(&table, &tcp(1, BACK, ACK, (45_001, 42_001), 0)));
    }
}

#[test]
fn resets_and_closing_end_a_restored_connection() {
    let table = successor(&opened(0), Extent::Lasting, false, 0);
    assert!(passes(&table, &tcp(1, BACK, ACK, (45_001, 41_001), 0)));
    assert!(passes(&table, &tcp(1, THERE, ACK, (41_001, 45_001), 0)));
    assert!(passes(&table, &tcp(1, THERE, RST, (41_001, 0), 0)));
    assert_eq!(table.states(1), [State::Reset]);
}

#[test]
fn an_exact_record_leaves_the_window_closed() {
    let table = successor(&opened(1000), Extent::All, true, 0);
    assert_eq!(
        table.pass(&tcp(1, THERE, ACK, (41_001, 5001), 0), 1),
        Verdict::Invalid(Invalid::SequenceAhead)
    );
    assert!(passes(&table, &tcp(1, THERE, ACK, (2001, 5001), 100)));
}

#[test]
fn one_that_was_restored_twice_learns_still() {
    let table = successor(&opened(0), Extent::Lasting, false, 0);
    assert!(passes(&table, &tcp(1, THERE, ACK, (41_001, 45_001), 100)));
    for is_exact in [true, false] {
        let again = successor(&table, Extent::Lasting, is_exact, 1);
        assert!(passes(&again, &tcp(1, BACK, ACK, (45_001, 41_101), 100)));
        assert!(passes(&again, &tcp(1, THERE, ACK, (41_101, 45_101), 100)));
    }
}

#[test]
fn time_goes_on_from_where_it_stood() {
    let table = table();
    table.pass(&udp(1, THERE), 100);
    table.pass(&udp(1, BACK), 110);
    let mut record = records(&table, Extent::Lasting, 200)[0];
    assert_eq!(record.idle_s, [100, 90]);
    let other = Conntrack::new(small(), 43);
    assert_eq!(restore(&other, &record, false, 5000), Ok(()));
    for (seconds, lives) in [(5210, true), (5211, false)] {
        assert_eq!(kind(other.look_up(zone(1), &udp(1, THERE), at(seconds))).0 == 1, lives, "{seconds}");
    }
    other.run_to(5301);
    assert_eq!((other.states(5301).len(), other.held(port(7))), (0, (0, 0)));
    record.idle_s = [301, 301];
    assert_eq!(restore(&other, &record, false, 6000), Err(NotRestored::Over));
    assert_eq!(other.held(port(7)), (0, 0));
}

#[test]
fn who_is_there_already_stays_and_nobody_gives_way() {
    let records = records(&opened(0), Extent::Lasting, 0);
    let table = opened(0);
    assert_eq!(restore(&table, &records[0], false, 0), Err(NotRestored::Taken));
    let limits = Limits { per_port: 3, ..small() };
    let table = Conntrack::new(limits, 43);
    let of = |flow: u16| {
        let mut record = records[0];
        (record.tuples[0].source_port, record.tuples[1].destination_port) = (flow, flow);
        record
    };
    let outcomes: Vec<bool> = (1..6).map(|flow| restore(&table, &of(flow), false, 0).is_ok()).collect();
    assert_eq!(outcomes, [true, true, true, false, false]);
    assert_eq!(restore(&table, &of(9), false, 0), Err(NotRestored::NoRoom));
    assert_eq!(table.held(port(7)), (3, 0));
}

#[test]
fn a_record_that_contradicts_itself_is_no_connection() {
    let record = records(&opened(0), Extent::Lasting, 0)[0];
    let table = table();
    let wrong = |change: &dyn Fn(&mut Record)| {
        let mut record = record;
        change(&mut record);
        restore(&table, &record, false, 0)
    };
    let v6 = std::net::IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]).into();
    let unsound = Err(NotRestored::Unsound);
    assert_eq!(wrong(&|record| record.tuples[1].protocol = 17), unsound, "two protocols");
    assert_eq!(wrong(&|record| record.tuples[1].source = v6), unsound, "two versions of IP");
    assert_eq!((table.held(port(7)), restore(&table, &record, false, 0)), ((0, 0), Ok(())));
}

#[test]
fn a_voucher_who_is_not_the_holder_pays() {
    let mut record = records(&opened(0), Extent::Lasting, 0)[0];
    record.vouchers = [Some(port(9)), None];
    let table = table();
    assert_eq!(restore(&table, &record, false, 0), Ok(()));
    assert_eq!((table.held(port(7)), table.held(port(9))), ((0, 0), (1, 0)));
    table.clear(&Filter::default(), at(0));
    assert_eq!((table.held(port(7)), table.held(port(9))), ((0, 0), (0, 0)));
}

/// What may happen in a table.
#[derive(Clone, Copy, Debug)]
enum Step {
    Packet { flow: u32, is_tcp: bool, is_back: bool, flags: u8, numbers: (u32, u32) },
    Wait(u32),
}

fn packet((flow, is_tcp, is_back): (u32, bool, bool), flags: u8, numbers: (u32, u32)) -> Packet {
    if is_tcp { tcp(flow, is_back, flags, numbers, 10) } else { udp(flow + 100, is_back) }
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec![SYN, SYN | ACK, ACK, ACK, ACK, FIN | ACK, RST, RST | ACK]);
    let number = || prop_oneof![Just(1), 0..60_u32, 60_000..70_000_u32];
    let packet = (0..8_u32, any::<bool>(), any::<bool>(), flags, (number(), number()));
    prop_oneof![
        9 => packet.prop_map(|(flow, is_tcp, is_back, flags, numbers)| {
            Step::Packet { flow, is_tcp, is_back, flags, numbers }
        }),
        1 => (0..200_u32).prop_map(Step::Wait),
    ]
}

fn run(table: &Conntrack, steps: &[Step], now_s: &mut u32) -> Vec<(u8, Option<Direction>, Option<Invalid>)> {
    let verdicts = steps.iter().map(|step| match *step {
        Step::Packet { flow, is_tcp, is_back, flags, numbers } => {
            let packet = packet((flow, is_tcp, is_back), flags, numbers);
            let verdict = table.look_up(zone(1), &packet, at(*now_s));
            match verdict {
                Verdict::New => drop(table.open(zone(1), &packet, port(7), 1, at(*now_s))),
                Verdict::Established(found) => drop(table.track(found, &packet, at(*now_s))),
                _ => {}
            }
            kind(verdict)
        }
        Step::Wait(seconds) => {
            *now_s += seconds;
            table.run_to(*now_s);
            (9, None, None)
        }
    });
    verdicts.collect()
}

proptest! {
    /// What follows is judged by the successor as by the table itself.
    #[test]
    fn a_successor_goes_on_as_if_nothing_had_been(
        before in prop::collection::vec(step(), 1..150),
        after in prop::collection::vec(step(), 1..150),
        has_restarted_clock in any::<bool>(),
    ) {
        let (table, mut now_s) = (table(), 1000);
        run(&table, &before, &mut now_s);
        // The successor's clock may say something else.
        let mut other_s = if has_restarted_clock { 100_000 } else { now_s };
        let other = Conntrack::new(small(), 43);
        for record in records(&table, Extent::All, now_s) {
            let restored = restore(&other, &record, true, other_s);
            prop_assert_eq!(restored, Ok(()));
        }
        prop_assert_eq!(other.held(port(7)), table.held(port(7)));
        prop_assert_eq!(run(&table, &after, &mut now_s), run(&other, &after, &mut other_s));
        prop_assert_eq!(other.held(port(7)), table.held(port(7)));
    }

    /// No record, however it was made, breaks the table.
    #[test]
    fn no_record_breaks_the_table(
        flags in any::<u32>(),
        (protocol, is_v4, mirrors) in (prop::sample::select(vec![6, 17, 1, 58, 47]), any::<bool>(), any::<bool>()),
        numbers in any::<[u32; 8]>(),
        (idle, is_mapped, asked) in (any::<[u32; 2]>(), any::<[bool; 2]>(), any::<u32>()),
        is_exact in any::<bool>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut record = records(&opened(0), Extent::All, 0)[0];
        for tuple in &mut record.tuples {
            tuple.protocol = protocol;
        }
        if !is_v4 {
            record.tuples[0].source = address("fd00::1");
        }
        if !mirrors {
            record.tuples[1].source = address("10.9.9.9");
        }
        let [a, b, c, d, e, f, g, h] = numbers;
        record = Record { flags, sides: [[a, b, c, d], [e, f, g, h]], idle_s: idle, is_mapped, asked, ..record };
        let table = table();
        let restored = restore(&table, &record, is_exact, 10);
        prop_assert_eq!(table.held(port(7)).0, usize::from(restored.is_ok()));
        let mut now_s = 10;
        run(&table, &steps, &mut now_s);
        table.run_to(now_s + 200_000);
        prop_assert_eq!(table.held(port(7)), (0, 0));
    }

    /// However far the sides went on since the record was made, they are believed, and learned from.
    #[test]
    fn where_sides_stand_is_learned_wherever_that_is(
        numbers in any::<(u32, u32)>(),
        is_back_first in any::<bool>(),
        ahead in 1000..200_000_u32,
    ) {
        let table = successor(&opened(0), Extent::Lasting, false, 0);
        let (there, back) = numbers;
        let packets = [tcp(1, THERE, ACK, (there, back), 0), tcp(1, BACK, ACK, (back, there), 0)];
        for index in if is_back_first { [1, 0] } else { [0, 1] } {
            prop_assert!(passes(&table, &packets[index]));
        }
        let far = tcp(1, THERE, ACK, (there.wrapping_add(ahead + 1000), back), 0);
        prop_assert_eq!(table.pass(&far, 1), Verdict::Invalid(Invalid::SequenceAhead));
        prop_assert!(is_before(there, there.wrapping_add(ahead)));
    }
}
