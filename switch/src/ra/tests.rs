use super::*;
use crate::packet::{Contents, IcmpMessage, Transport, parse};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);

fn advertisement() -> Advertisement {
    Advertisement {
        mac: MAC,
        address: "fe80::1".parse().unwrap(),
        hop_limit: 64,
        is_managed: false,
        has_other: true,
        lifetime_s: 1800,
        prefixes: vec![Prefix {
            address: "fd00:2::".parse().unwrap(),
            length: 64,
            is_autonomous: true,
            valid_s: 86_400,
            preferred_s: 14_400,
        }],
        mtu: Some(1400),
        dns_servers: vec!["fd00:2::1".parse().unwrap()],
        search: vec!["home.lan".parse().unwrap()],
        dns_lifetime_s: 1800,
    }
}

#[test]
fn what_a_router_says_stands_in_the_frame_byte_by_byte() {
    let frame = advertisement().frame(None).unwrap();
    let mut expected = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe, 0x86, 0xdd];
    expected.extend([0x6c, 0, 0, 0, 0, 16 + 8 + 8 + 32 + 24 + 24, 58, 255]);
    expected.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
    expected.extend(ALL_NODES.octets());
    expected.extend([134, 0, frame[56], frame[57], 64, 0x40, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([1, 1, 2, 0, 0, 0, 0, 0xfe]);
    expected.extend([5, 1, 0, 0, 0, 0, 5, 120]);
    expected.extend([3, 4, 64, 0xc0, 0, 1, 81, 128, 0, 0, 56, 64, 0, 0, 0, 0]);
    expected.extend("fd00:2::".parse::<Ipv6Addr>().unwrap().octets());
    expected.extend([25, 3, 0, 0, 0, 0, 7, 8]);
    expected.extend("fd00:2::1".parse::<Ipv6Addr>().unwrap().octets());
    expected.extend([31, 3, 0, 0, 0, 0, 7, 8]);
    expected.extend(b"\x04home\x03lan\0\0\0\0\0\0\0");
    assert_eq!(frame, expected);
    let Contents::Ip(packet) = parse(&frame, u32::try_from(frame.len()).unwrap()).unwrap() else { panic!() };
    let Transport::Icmp(icmp) = packet.transport else { panic!() };
    assert!(matches!(icmp.message, IcmpMessage::Neighbour(_)));
}

#[test]
fn an_answer_goes_to_who_asked_and_little_may_be_said() {
    let (mac, address) = (MacAddress([2, 0, 0, 0, 0, 9]), "fe80::9".parse().unwrap());
    let silent = Advertisement {
        lifetime_s: 0,
        is_managed: true,
        has_other: false,
        prefixes: vec![],
        mtu: None,
        dns_servers: vec![],
        search: vec![],
        ..advertisement()
    };
    let frame = silent.frame(Some((mac, address))).unwrap();
    assert_eq!((frame.len(), &frame[..6], &frame[38..54]), (54 + 24, &mac.0[..], &address.octets()[..]));
    assert_eq!(&frame[58..62], [64, 0x80, 0, 0]);
}

#[test]
fn what_hosts_would_not_take_is_not_said() {
    let wrong = |change: &dyn Fn(&mut Advertisement)| {
        let mut advertisement = advertisement();
        change(&mut advertisement);
        advertisement.frame(None).err()
    };
    assert_eq!(wrong(&|_| {}), None);
    let elsewhere = "fd00:2::1".parse().unwrap();
    assert_eq!(wrong(&|said| said.address = elsewhere), Some(AdvertisementError::NotLinkLocal(elsewhere)));
    assert_eq!(wrong(&|said| said.lifetime_s = 9001), Some(AdvertisementError::Lifetime(9001)));
    assert_eq!(wrong(&|said| said.mtu = Some(1279)), Some(AdvertisementError::Mtu(1279)));
    assert!(wrong(&|said| said.prefixes[0].length = 129).is_some());
    assert!(wrong(&|said| said.prefixes[0].length = 16).is_some());
    assert!(wrong(&|said| said.prefixes[0].preferred_s = u32::MAX).is_some());
    assert_eq!(wrong(&|said| said.dns_servers = vec![elsewhere; 9]), Some(AdvertisementError::TooMany));
}

#[test]
fn with_all_lists_full_it_passes_every_link() {
    let name = format!("{}.{}", "a".repeat(63), "b".repeat(30));
    let full = Advertisement {
        prefixes: vec![advertisement().prefixes[0]; LIST_MAX],
        dns_servers: vec![ALL_NODES; LIST_MAX],
        search: vec![name.parse().unwrap(); LIST_MAX],
        ..advertisement()
    };
    let frame = full.frame(None).unwrap();
    assert!((1240..=14 + 1280).contains(&frame.len()), "{}", frame.len());
    let mut longer = full;
    longer.search[0] = format!("{name}.cccccccccc").parse().unwrap();
    assert_eq!(longer.frame(None), Err(AdvertisementError::TooMany));
}
