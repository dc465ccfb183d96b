use super::*;
use crate::multicast::samples::{self, igmp, mld, resum_4};
use proptest::prelude::*;

/// Version, group, time to answer, robustness and sources.
type Said = (Version, Option<IpAddr>, u32, u8, Vec<IpAddr>);

fn read(frame: &[u8], family: Family) -> Option<Said> {
    Query::read(frame, family).map(|query| {
        (query.version, query.group, query.response_ms, query.robustness, query.sources().collect())
    })
}

fn group() -> Option<IpAddr> {
    Some(IpAddr::V4(Ipv4Addr::new(239, 1, 1, 101)))
}

fn specific(source: [u8; 4]) -> Vec<u8> {
    igmp(
        source,
        [239, 1, 1, 101],
        &[0x11, 10, 0, 0, 239, 1, 1, 101, 3, 125, 0, 2, 192, 0, 2, 7, 192, 0, 2, 8],
    )
}

#[test]
fn queries_of_all_versions_are_read() {
    let querier = [192, 0, 2, 9];
    let general = |code, version| read(&samples::igmp_query(querier, code, version), Family::V4);
    assert_eq!(general(0, 1), Some((Version::Oldest, None, 10_000, 0, vec![])));
    assert_eq!(general(100, 2), Some((Version::Older, None, 10_000, 0, vec![])));
    assert_eq!(general(100, 3), Some((Version::Current, None, 10_000, 0, vec![])));
    let sources = ["192.0.2.7", "192.0.2.8"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(read(&specific(querier), Family::V4), Some((Version::Current, group(), 1000, 3, sources)));
    // Switches that ask have no address of their own (RFC 4541, 2.1.1, 1).
    assert!(read(&specific([0; 4]), Family::V4).is_some());
    let older = igmp(querier, [239, 1, 1, 101], &[0x11, 10, 0, 0, 239, 1, 1, 101]);
    assert_eq!(read(&older, Family::V4), Some((Version::Older, group(), 1000, 0, vec![])));
    for (version, expected) in [(1, Version::Older), (2, Version::Current)] {
        let query = samples::mld_query("fe80::9", 1000, version);
        assert_eq!(read(&query, Family::V6), Some((expected, None, 1000, 0, vec![])));
    }
    let group: Ipv6Addr = "ff0e::1:101".parse().unwrap();
    let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
    let message =
        [&[130, 0, 0, 0, 0, 100, 0, 0][..], &group.octets(), &[2, 125, 0, 1], &source.octets()].concat();
    let expected = (Version::Current, Some(group.into()), 100, 2, vec![source.into()]);
    assert_eq!(read(&mld("fe80::9", "ff0e::1:101", &message), Family::V6), Some(expected));
}

/// Whoever forges it is not on the link, or is careless; and no router asks like this.
#[test]
fn what_is_not_for_hosts_is_not_taken() {
    let good = specific([192, 0, 2, 9]);
    for (why, at, value) in [
        ("beyond the link", 22, 2),
        ("without Router Alert", 34, 1),
        ("to another group", 33, 102),
        ("a report", 38, 0x16),
        ("more sources than there are", 49, 3),
    ] {
        let mut frame = good.clone();
        frame[at] = value;
        resum_4(&mut frame);
        assert_eq!(read(&frame, Family::V4), None, "{why}");
    }
    let with_sources =
        igmp([192, 0, 2, 9], [224, 0, 0, 1], &[0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 1, 192, 0, 2, 7]);
    assert_eq!(read(&with_sources, Family::V4), None, "sources without a group");
    let of_version_1 = igmp([192, 0, 2, 9], [239, 1, 1, 101], &[0x11, 0, 0, 0, 239, 1, 1, 101]);
    assert_eq!(read(&of_version_1, Family::V4), None, "version 1 asks for all groups alone");
    assert_eq!(read(&samples::mld_query("2001:db8::9", 1000, 2), Family::V6), None, "from elsewhere");
    assert_eq!(read(&samples::mld_1(131, "fe80::9", "ff0e::1"), Family::V6), None, "a report");
    for (good, family) in [(good, Family::V4), (samples::mld_query("fe80::9", 1000, 2), Family::V6)] {
        assert!((0..good.len()).all(|end| read(&good[..end], family).is_none()));
    }
}

proptest! {
    #[test]
    fn any_message_is_read_or_refused(message in prop::collection::vec(any::<u8>(), 8..300)) {
        let mut message = message;
        message[0] = IGMP_QUERY;
        let four = igmp([192, 0, 2, 9], [224, 0, 0, 1], &message);
        if let Some(query) = Query::read(&four, Family::V4) {
            prop_assert!(query.sources().count() <= message.len() / 4);
        }
        message[0] = MLD_QUERY;
        let six = mld("fe80::9", "ff02::1", &message);
        if let Some(query) = Query::read(&six, Family::V6) {
            prop_assert!(query.sources().count() <= message.len() / 16);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Query::read(&bytes, Family::V4).is_none());
        prop_assert!(Query::read(&bytes, Family::V6).is_none());
    }
}
