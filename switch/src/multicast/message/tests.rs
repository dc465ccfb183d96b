//! Messages of every version, and what is not one.

use proptest::prelude::*;

use super::super::samples::{self, *};
use super::{Change, Malformed, Message, parse};
use crate::multicast::Family;

fn igmp(message: &[u8]) -> Vec<u8> {
    samples::igmp([10, 0, 0, 1], [224, 0, 0, 1], message)
}

fn records(frame: &[u8], family: Family) -> Vec<(String, Change)> {
    let Ok(Message::Report(records)) = parse(frame, family, false) else { panic!("no report: {frame:02x?}") };
    records.map(|(group, change)| (group.to_string(), change)).collect()
}

#[test]
fn old_reports_and_leaves_name_one_group() {
    use Change::{Join, Leave};
    for (kind, change) in [(0x12, Join), (0x16, Join), (0x17, Leave)] {
        let frame = igmp(&[kind, 0, 0, 0, 239, 1, 2, 3]);
        assert_eq!(records(&frame, Family::V4), [("239.1.2.3".to_owned(), change)]);
    }
    for (kind, change) in [(131, Join), (132, Leave)] {
        let frame = mld_1(kind, "fe80::1", "ff05::1:3");
        assert_eq!(records(&frame, Family::V6), [("ff05::1:3".to_owned(), change)]);
    }
}

#[test]
fn new_reports_have_records_whose_kinds_join_or_leave() {
    use Change::{Join, Leave};
    let kinds = [(1, 1), (2, 0), (3, 0), (3, 1), (4, 0), (5, 2), (6, 1), (1, 0), (9, 0)];
    let says = [Join, Join, Leave, Join, Join, Join];
    let four: Vec<_> =
        (1..).zip(kinds).map(|(n, (kind, sources))| record_4(kind, [239, 0, 0, n], sources)).collect();
    let expected: Vec<_> = (1..).zip(says).map(|(n, change)| (format!("239.0.0.{n}"), change)).collect();
    assert_eq!(records(&igmp_3(&four), Family::V4), expected);
    let six: Vec<_> =
        (1..).zip(kinds).map(|(n, (kind, sources))| record_6(kind, &format!("ff05::{n}"), sources)).collect();
    let expected: Vec<_> = (1..).zip(says).map(|(n, change)| (format!("ff05::{n}"), change)).collect();
    assert_eq!(records(&mld_2(&six), Family::V6), expected);
    let mut auxiliary = record_4(4, [239, 0, 0, 1], 0);
    auxiliary[1] = 2;
    auxiliary.extend([0; 8]);
    let frame = igmp_3(&[auxiliary, record_4(4, [239, 0, 0, 2], 0)]);
    assert_eq!(records(&frame, Family::V4).len(), 2, "auxiliary data is passed over");
}

#[test]
fn a_general_query_tells_how_long_hosts_may_wait() {
    let response = |frame: &[u8], family| match parse(frame, family, false) {
        Ok(Message::GeneralQuery { response_s }) => response_s,
        other => panic!("{other:?}"),
    };
    for (code, version, expected) in
        [(0, 1, 10), (100, 2, 10), (255, 2, 26), (100, 3, 10), (0x80, 3, 13), (0xff, 3, 3175)]
    {
        let frame = igmp_query([10, 0, 0, 1], code, version);
        assert_eq!(response(&frame, Family::V4), expected, "code {code} of version {version}");
    }
    for (code, version, expected) in [(10_000, 1, 10), (10_001, 2, 11), (0xffff, 1, 66), (0xffff, 2, 8388)] {
        let frame = mld_query("fe80::1", code, version);
        assert_eq!(response(&frame, Family::V6), expected, "code {code} of version {version}");
    }
}

#[test]
fn a_query_that_not_every_host_would_take_is_not_believed() {
    let good = igmp_query([10, 0, 0, 1], 100, 2);
    let changed = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        resum_4(&mut frame);
        frame
    };
    let not_believed = [
        ("another MAC address", changed(5, 2)),
        ("another IP address", changed(33, 2)),
        ("from 0.0.0.0", igmp_query([0, 0, 0, 0], 100, 2)),
        ("from a group", igmp_query([224, 0, 0, 9], 100, 2)),
        ("from 127.0.0.1", igmp_query([127, 0, 0, 1], 100, 2)),
        ("beyond the link", changed(22, 2)),
        ("without Router Alert", changed(34, 1)),
        ("for one group", changed(42, 239)),
    ];
    for (why, frame) in not_believed {
        assert_eq!(parse(&frame, Family::V4, false), Ok(Message::OtherQuery), "{why}");
    }
    let mut odd = vec![0x11, 100, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(parse(&igmp(&odd), Family::V4, false), Ok(Message::OtherQuery), "of 10 bytes");
    odd.extend([0, 1, 10, 0, 0, 1]);
    assert_eq!(parse(&igmp(&odd), Family::V4, false), Ok(Message::OtherQuery), "of one source");
    for source in ["::", "2001:db8::1"] {
        let frame = mld_query(source, 1000, 2);
        assert_eq!(parse(&frame, Family::V6, false), Ok(Message::Unknown), "from {source}");
    }
    let mut frame = mld_query("fe80::1", 1000, 1);
    frame[5] = 2;
    assert_eq!(parse(&frame, Family::V6, false), Ok(Message::OtherQuery), "another MAC address");
}

#[test]
fn wrong_sums_lengths_and_fragments_are_malformed() {
    for (good, family) in [
        (igmp_3(&[record_4(4, [239, 0, 0, 1], 1)]), Family::V4),
        (mld_2(&[record_6(4, "ff05::1", 1)]), Family::V6),
    ] {
        assert!(parse(&good, family, false).is_ok());
        for end in 0..good.len() {
            assert_eq!(parse(&good[..end], family, false), Err(Malformed), "cut to {end}");
        }
        for at in good.len() - 20..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert_eq!(parse(&bad, family, false), Err(Malformed), "byte {at}");
        }
        let padded = [&good[..], &[0; 30]].concat();
        assert_eq!(parse(&padded, family, false), parse(&good, family, false), "padding is no part of it");
    }
    let mut fragment = igmp(&[0x16, 0, 0, 0, 239, 1, 2, 3]);
    fragment[20] = 0x20;
    resum_4(&mut fragment);
    assert_eq!(parse(&fragment, Family::V4, false), Err(Malformed));
    let mut unsummed = mld_1(131, "fe80::1", "ff05::1:3");
    unsummed[64] ^= 1;
    assert_eq!(parse(&unsummed, Family::V6, false), Err(Malformed));
    assert!(parse(&unsummed, Family::V6, true).is_ok(), "the sender's NIC was to finish the checksum");
    let mut claims_more = igmp_3(&[record_4(4, [239, 0, 0, 1], 0)]);
    claims_more[45] = 2;
    resum_4(&mut claims_more);
    assert_eq!(parse(&claims_more, Family::V4, false), Err(Malformed), "two records said and one there");
}

#[test]
fn unknown_types_are_neither_reports_nor_malformed() {
    assert_eq!(parse(&igmp(&[0x30, 0, 0, 0, 0, 0, 0, 0]), Family::V4, false), Ok(Message::Unknown));
}

proptest! {
    /// Whatever stands in a frame: no panic, and never more records than fit.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), is_summed: bool) {
        for family in [Family::V4, Family::V6] {
            if let Ok(Message::Report(records)) = parse(&bytes, family, is_summed) {
                prop_assert!(records.count() <= bytes.len());
            }
        }
    }

    /// The same behind headers that are right, with checksums that are.
    #[test]
    fn any_message_is_read_or_refused(message in prop::collection::vec(any::<u8>(), 8..300), kind in prop::sample::select(vec![0x11_u8, 0x12, 0x16, 0x17, 0x22])) {
        let mut message = message;
        message[0] = kind;
        if let Ok(Message::Report(records)) = parse(&igmp(&message), Family::V4, false) {
            prop_assert!(records.count() <= message.len() / 8 + 1);
        }
        message[0] = 143;
        if let Ok(Message::Report(records)) = parse(&samples::mld("fe80::1", "ff02::16", &message), Family::V6, false) {
            prop_assert!(records.count() <= message.len() / 20 + 1);
        }
    }
}
