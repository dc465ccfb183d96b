use super::*;
use proptest::prelude::*;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

fn advertisement() -> Advertisement {
    let prefix = Prefix {
        address: "fd00:2::".parse().unwrap(),
        length: 64,
        is_autonomous: true,
        valid_s: 86_400,
        preferred_s: 14_400,
    };
    Advertisement {
        mac: MAC,
        address: "fe80::1".parse().unwrap(),
        hop_limit: 64,
        is_managed: false,
        has_other: false,
        lifetime_s: 1800,
        prefixes: vec![prefix],
        mtu: None,
        dns_servers: vec![],
        search: vec![],
        dns_lifetime_s: 1800,
    }
}

fn advertiser() -> Advertiser {
    Advertiser::new(advertisement(), 7, Nanos(0)).unwrap()
}

fn port(number: usize) -> PortIndex {
    PortIndex::new(number).unwrap()
}

fn ms(milliseconds: u64) -> Nanos {
    Nanos(milliseconds * 1_000_000)
}

/// A solicitation as hosts send it, its checksum finished.
fn question(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    let mut message = vec![133, 0, 0, 0, 0, 0, 0, 0];
    if !source.is_unspecified() {
        message.extend([&[1, 1], HOST.0.as_slice()].concat());
    }
    sealed(source, message)
}

fn sealed(source: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let sum = checksum::sum(&source.octets())
        + checksum::sum(&ALL_ROUTERS.octets())
        + checksum::sum(&length)
        + checksum::sum(&[0, 58])
        + checksum::sum(&message);
    let sum = (!checksum::fold(sum)).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let mut frame = [&[0x33, 0x33, 0, 0, 0, 2], HOST.0.as_slice(), &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend(length);
    frame.extend([58, 255]);
    frame.extend(source.octets());
    frame.extend(ALL_ROUTERS.octets());
    frame.extend(message);
    frame
}

/// Moments in milliseconds at which something was sent until `end_s`, and whether it went to all.
fn sent(advertiser: &mut Advertiser, end_s: u32) -> Vec<(u64, bool)> {
    let mut sent = Vec::new();
    while advertiser.due() <= Nanos::from_seconds(end_s) {
        let now = advertiser.due();
        for frame in advertiser.advance(now) {
            sent.push((now.0 / 1_000_000, frame[0] == 0x33));
        }
    }
    sent
}

#[test]
fn a_router_says_who_it_is_three_times_soon_and_then_every_200_to_600_seconds() {
    let mut advertiser = advertiser();
    let sent = sent(&mut advertiser, 100_000);
    assert!(sent.iter().all(|(_, is_to_all)| *is_to_all) && sent[0].0 <= 500);
    let waits: Vec<u64> = sent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    // RFC 4861, 6.2.4: MAX_INITIAL_RTR_ADVERT_INTERVAL for the first ones.
    assert!(waits[..3].iter().all(|wait| (15_999..=16_001).contains(wait)), "{waits:?}");
    assert!(waits[3..].iter().all(|wait| (200_000..=600_000).contains(wait)), "{waits:?}");
    assert!(waits[3..].iter().any(|wait| *wait < 300_000) && waits[3..].iter().any(|wait| *wait > 500_000));
}

#[test]
fn who_asks_is_answered_within_half_a_second_and_alone() {
    let mut advertiser = advertiser();
    sent(&mut advertiser, 1000);
    let start = Nanos::from_seconds(1001);
    advertiser.solicit(port(3), &question("fe80::9"), start).unwrap();
    advertiser.solicit(port(3), &question("fe80::9"), start).unwrap();
    assert!(advertiser.due().0 - start.0 <= DELAY_MAX_NS);
    let frames = advertiser.advance(advertiser.due());
    assert_eq!((frames.len(), &frames[0][..6]), (1, &HOST.0[..]));
    assert_eq!(&frames[0][38..54], &"fe80::9".parse::<Ipv6Addr>().unwrap().octets());
    // Who has no address yet is told together with all, and so are several at one port.
    let later = Nanos::from_seconds(1010);
    advertiser.solicit(port(3), &question("::"), later).unwrap();
    let frames = advertiser.advance(Nanos(later.0 + DELAY_MAX_NS));
    assert_eq!((frames.len(), frames[0][0]), (1, 0x33));
    let busy = Nanos::from_seconds(1020);
    for number in 0..50 {
        advertiser.solicit(port(3), &question(&format!("fe80::{number:x}")), busy).unwrap();
    }
    let frames = advertiser.advance(Nanos(busy.0 + DELAY_MAX_NS));
    assert_eq!(frames.len(), 2, "one to the first, one to all");
}

#[test]
fn a_flood_of_questions_gets_one_answer_to_all_in_three_seconds_and_one_a_second_for_each_port() {
    let mut advertiser = advertiser();
    sent(&mut advertiser, 1000);
    let (mut to_all, mut to_one) = (0, 0);
    for at in 0..30_000 {
        let now = ms(1_001_000 + at);
        let source = if at % 2 == 0 { "::".to_owned() } else { format!("fe80::{:x}", at % 9) };
        advertiser.solicit(port(3), &question(&source), now).unwrap();
        for frame in advertiser.advance(now) {
            *if frame[0] == 0x33 { &mut to_all } else { &mut to_one } += 1;
        }
    }
    assert!((9..=11).contains(&to_all) && (15..=31).contains(&to_one), "{to_all} {to_one}");
    assert_eq!(advertiser.counters().solicited, 30_000);
}

#[test]
fn what_changes_is_told_at_once_and_prefixes_that_went_are_not_to_be_used_any_more() {
    let mut advertiser = advertiser();
    sent(&mut advertiser, 1000);
    let mut next = advertisement();
    next.prefixes[0].address = "fd00:3::".parse().unwrap();
    let now = Nanos::from_seconds(1001);
    advertiser.change(next.clone(), now).unwrap();
    let frames = advertiser.advance(Nanos(now.0 + DELAY_MAX_NS));
    let mut expected = next.clone();
    expected.prefixes.push(Prefix { valid_s: 0, preferred_s: 0, ..advertisement().prefixes[0] });
    assert_eq!(frames, [expected.frame(None).unwrap()]);
    sent(&mut advertiser, 2000);
    assert_eq!(advertiser.advance(advertiser.due()), [next.frame(None).unwrap()], "long enough");
    advertiser.change(next.clone(), Nanos::from_seconds(2000)).unwrap();
    assert!(advertiser.due() > Nanos::from_seconds(2000), "nothing changed");
    let last = advertiser.cease().unwrap();
    assert_eq!((&last[54..56], &last[60..62]), (&[134, 0][..], &[0, 0][..]));
    let wrong = Advertisement { lifetime_s: 9999, ..next };
    assert!(advertiser.change(wrong.clone(), now).is_err() && Advertiser::new(wrong, 1, now).is_err());
}

#[test]
fn what_is_no_right_question_is_counted_and_not_answered() {
    let mut advertiser = advertiser();
    sent(&mut advertiser, 1000);
    let due = advertiser.due();
    let good = question("fe80::9");
    let mut wrong: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    for (at, value) in [(21, 64), (54, 134), (55, 1), (56, good[56] ^ 1), (63, 0), (63, 9), (53, 7)] {
        let mut frame = good.clone();
        frame[at] = value;
        wrong.push(frame);
    }
    // RFC 4861, 6.1.1: who has no address says no link address.
    wrong.push(sealed(
        Ipv6Addr::UNSPECIFIED,
        good[54..].iter().enumerate().map(|(at, byte)| if at == 2 || at == 3 { 0 } else { *byte }).collect(),
    ));
    for frame in &wrong {
        assert_eq!(advertiser.solicit(port(1), frame, Nanos::from_seconds(1001)), Err(InvalidSolicitation));
    }
    assert_eq!((advertiser.due(), advertiser.counters().invalid), (due, wrong.len() as u64));
}

proptest! {
    #[test]
    fn any_bytes_are_no_question(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let mut frame = question("fe80::9");
        frame.truncate(54);
        frame.extend(&bytes);
        let mut advertiser = advertiser();
        let _ = advertiser.solicit(port(1), &frame, Nanos(0));
        let _ = advertiser.solicit(port(1), &bytes, Nanos(0));
        prop_assert!(advertiser.pending.len() <= 1);
    }
}
