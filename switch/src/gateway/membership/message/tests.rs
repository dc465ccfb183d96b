//! Compared with what scapy makes of the same: with `ra = IPOption_Router_Alert()` for IGMP, as
//! `Ether(...)/IP(src="192.0.2.1", dst=..., ttl=1, tos=0xc0, id=0, flags="DF", options=[ra], proto=2)/...`, and for MLD
//! `Ether(...)/IPv6(src="fe80::ff:fe00:1", dst=..., hlim=1, tc=0xc0)/IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"")])/...`.

use std::net::IpAddr;

use super::super::host::RecordKind;
use super::*;

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn hex(source: &str, said: &Said) -> String {
    let frame = frame(MacAddress([2, 0, 0, 0, 0, 1]), address(source), said);
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(records: &[(RecordKind, &str, &[&str])]) -> Said {
    let record = |(kind, group, sources): &(RecordKind, &str, &[&str])| Record {
        kind: *kind,
        group: address(group),
        sources: sources.iter().map(|text| address(text)).collect(),
    };
    Said::Report(records.iter().map(record).collect())
}

#[test]
fn igmp_is_that_of_scapy() {
    let group = address("239.1.1.101");
    let changes =
        report(&[(RecordKind::ToExclude, "239.1.1.101", &[]), (RecordKind::ToInclude, "239.1.1.102", &[])]);
    let sources = report(&[(RecordKind::IsInclude, "239.1.1.101", &["192.0.2.7", "192.0.2.8"])]);
    for (said, expected) in [
        (
            changes,
            "01005e000016020000000001080046c0003000004000010241f0c0000201e0000016940400002200f62e0000000204000000ef01016503000000ef010166",
        ),
        (
            sources,
            "01005e000016020000000001080046c0003000004000010241f0c0000201e000001694040000220068850000000101000002ef010165c0000207c0000208",
        ),
        (
            Said::OldReport(Version::Older, group),
            "01005e010165020000000001080046c0002000004000010231b0c0000201ef010165940400001600f998ef010165",
        ),
        (
            Said::OldReport(Version::Oldest, group),
            "01005e010165020000000001080046c0002000004000010231b0c0000201ef010165940400001200fd98ef010165",
        ),
        (
            Said::OldLeave(group),
            "01005e000002020000000001080046c000200000400001024214c0000201e0000002940400001700f898ef010165",
        ),
    ] {
        assert_eq!(hex("192.0.2.1", &said), expected, "{said:?}");
    }
}

#[test]
fn mld_is_that_of_scapy() {
    let group = address("ff0e::1:101");
    let changes =
        report(&[(RecordKind::ToExclude, "ff0e::1:101", &[]), (RecordKind::ToInclude, "ff0e::1:102", &[])]);
    let sources = report(&[(RecordKind::IsInclude, "ff0e::1:101", &["2001:db8::7"])]);
    for (said, expected) in [
        (
            changes,
            "33330000001602000000000186dd6c00000000380001fe80000000000000000000fffe000001ff0200000000000000000000000000163a000502000001008f006cd50000000204000000ff0e000000000000000000000001010103000000ff0e0000000000000000000000010102",
        ),
        (
            sources,
            "33330000001602000000000186dd6c00000000340001fe80000000000000000000fffe000001ff0200000000000000000000000000163a000502000001008f00452b0000000101000001ff0e000000000000000000000001010120010db8000000000000000000000007",
        ),
        (
            Said::OldReport(Version::Older, group),
            "33330001010102000000000186dd6c00000000200001fe80000000000000000000fffe000001ff0e00000000000000000000000101013a0005020000010083007f0900000000ff0e0000000000000000000000010101",
        ),
        (
            Said::OldLeave(group),
            "33330000000202000000000186dd6c00000000200001fe80000000000000000000fffe000001ff0200000000000000000000000000023a0005020000010084007f1500000000ff0e0000000000000000000000010101",
        ),
    ] {
        assert_eq!(hex("fe80::ff:fe00:1", &said), expected, "{said:?}");
    }
}
