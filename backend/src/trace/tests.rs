//! Descriptions become the frames that they describe, frames become words again, and each mistake is named.

use std::net::IpAddr;

use proptest::prelude::*;
use viaduct_switch::MacAddress;
use viaduct_switch::packet::{Contents, Transport, parse};

use super::build::Surroundings;
use super::*;

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 5]);
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

fn build(text: &str) -> Vec<u8> {
    let resolve =
        |address: IpAddr| ["10.0.0.9", "fd00::9"].contains(&address.to_string().as_str()).then_some(OTHER);
    let around = Surroundings { port: "vm1", mac: Some(OWN), resolve: &resolve };
    text.parse::<Description>().unwrap().build(&around).unwrap()
}

fn told(text: &str) -> String {
    let frame = build(text);
    describe(&frame, u32::try_from(frame.len()).unwrap())
}

fn wrong(text: &str) -> String {
    text.parse::<Description>().unwrap_err().to_string()
}

#[test]
fn the_example_is_a_syn_between_the_two_stations() {
    let frame = build("tcp 10.0.0.5:4000 > 10.0.0.9:3306");
    assert_eq!(frame[..12], [OTHER.0, OWN.0].concat());
    let Contents::Ip(packet) = parse(&frame, 54).unwrap() else { panic!("no IP packet") };
    let Transport::Tcp(tcp) = packet.transport else { panic!("{packet:?}") };
    assert_eq!((tcp.ports.source, tcp.ports.destination, tcp.flags.0), (4000, 3306, 2));
}

#[test]
fn what_is_built_is_told_in_the_words_that_built_it() {
    for (text, expected) in [
        (
            "tcp 10.0.0.5:4000>10.0.0.9:3306 flags syn+ack",
            "tcp 10.0.0.5:4000 > 10.0.0.9:3306 flags syn+ack from 02:00:00:00:00:05 to 02:00:00:00:00:09 length 54",
        ),
        (
            "udp [fd00::5]:53 > [ff02::fb]:5353 length 100 vlan 10 priority 5",
            "udp [fd00::5]:53 > [ff02::fb]:5353 from 02:00:00:00:00:05 to 33:33:00:00:00:fb vlan 10 priority 5 length 100",
        ),
        (
            "icmp 10.0.0.5 > 239.1.2.3 type 0 id 7",
            "icmp 10.0.0.5 > 239.1.2.3 type 0 code 0 id 7 from 02:00:00:00:00:05 to 01:00:5e:01:02:03 length 42",
        ),
        (
            "icmp6 fd00::5 > fd00::9",
            "icmp6 fd00::5 > fd00::9 type 128 code 0 id 1 from 02:00:00:00:00:05 to 02:00:00:00:00:09 length 62",
        ),
        (
            "arp 10.0.0.5 > 10.0.0.9 from 02:00:00:00:00:01",
            "arp 10.0.0.5 > 10.0.0.9 from 02:00:00:00:00:01 to ff:ff:ff:ff:ff:ff length 42",
        ),
        (
            "ip 10.0.0.5 > 10.0.0.9 protocol 47 service-vlan 300 vlan 4",
            "ip 10.0.0.5 > 10.0.0.9 protocol 47 from 02:00:00:00:00:05 to 02:00:00:00:00:09 service-vlan 300 vlan 4 length 42",
        ),
        (
            "ethernet type 0x88b5 to 02:00:00:00:00:09 length 60",
            "ethernet type 0x88b5 from 02:00:00:00:00:05 to 02:00:00:00:00:09 length 60",
        ),
    ] {
        assert_eq!(told(text), expected);
        assert_eq!(build(expected), build(text), "{expected}");
    }
}

#[test]
fn checksums_of_all_headers_are_right() {
    // The sum of the words of what a checksum covers is all ones (RFC 1071).
    let sum = |bytes: &[u8]| {
        let words =
            bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
        words.fold(0, |sum, word| (sum + word) % 0xffff)
    };
    let frame = build("tcp 10.0.0.5:4000 > 10.0.0.9:3306 length 77");
    assert_eq!(sum(&frame[14..34]), 0);
    let pseudo = [&frame[26..34], &[0, 6, 0, 43]].concat();
    assert_eq!(sum(&[&pseudo[..], &frame[34..]].concat()), 0);
    let frame = build("udp [fd00::5]:53 > [fd00::9]:53 length 99");
    let pseudo = [&frame[22..54], &[0, 0, 0, 45, 0, 0, 0, 17]].concat();
    assert_eq!(sum(&[&pseudo[..], &frame[54..]].concat()), 0);
    let frame = build("icmp 10.0.0.5 > 10.0.0.9");
    assert_eq!(sum(&frame[34..]), 0);
}

#[test]
fn hex_is_taken_as_it_is() {
    let expected: Vec<u8> = (0..20).collect();
    for text in
        ["000102030405060708090a0b0c0d0e0f10111213", "00:01:02:03:04:05 060708090A0B 0c0d 0e0f10111213\n"]
    {
        assert_eq!(build(text), expected);
    }
    assert_eq!(
        wrong("0001020"),
        "`0001020` (word 1 of the packet) is not right: write two hex digits for each byte; there are 7"
    );
    assert!(wrong(&"00".repeat(70_000)).contains("at most 65550 bytes; there are 70000"));
}

#[test]
fn each_mistake_is_told_with_what_was_found_and_what_is_right() {
    for (text, found, expected) in [
        ("", "the packet ends where word 1 should be", "begin with a protocol"),
        ("tpc 10.0.0.5:1 > 10.0.0.9:2", "`tpc` (word 1 ", "did you mean `tcp`?"),
        (
            "quic 10.0.0.5:1 > 10.0.0.9:2",
            "`quic` (word 1 ",
            "write one of tcp, udp, icmp, icmp6, arp, ip, ethernet",
        ),
        ("tcp 10.0.0.5 > 10.0.0.9:2", "`10.0.0.5` (word 2 ", "an address with a port"),
        ("tcp 10.0.0.5:99999 > 10.0.0.9:2", "`10.0.0.5:99999` (word 2 ", "an address with a port"),
        ("tcp 10.0.0.5:1 10.0.0.9:2", "`10.0.0.9:2` (word 3 ", "write `>`"),
        ("tcp 10.0.0.5:1 >", "the packet ends where word 4 should be", "an address with a port"),
        ("tcp 10.0.0.5:1 > [fd00::9]:2", "`[fd00::9]:2` (word 4 ", "one version of IP"),
        ("icmp fd00::5 > fd00::9", "`fd00::5` (word 2 ", "write an IPv4 address"),
        ("icmp6 10.0.0.5 > 10.0.0.9", "`10.0.0.5` (word 2 ", "write an IPv6 address"),
        ("arp 10.0.0.5 > 10.0.0.999", "`10.0.0.999` (word 4 ", "write an IPv4 address"),
        ("udp 10.0.0.5:1 > 10.0.0.9:2 flags syn", "`flags` (word 5 ", "behind the ends of udp"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 flag syn", "`flag` (word 5 ", "did you mean `flags`?"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 flags sin", "`sin` (word 6 ", "flags joined by +"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 vlan 5000", "`5000` (word 6 ", "a VLAN id from 0"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 priority 5", "`5` (word 6 ", "the tag whose priority it is"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 vlan 1 priority 8", "`8` (word 8 ", "from 0 to 7"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 length 9", "`9` (word 6 ", "from 14 to 65550"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 length 60 length 61", "`length` (word 7 ", "say it once"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 to 52:54", "`52:54` (word 6 ", "an Ethernet address"),
        ("tcp 10.0.0.5:1 > 10.0.0.9:2 ttl", "the packet ends where word 6 should be", "a number of hops"),
        ("icmp 10.0.0.5 > 10.0.0.9 type 300", "`300` (word 6 ", "an ICMP type from 0 to 255"),
        ("ethernet to 02:00:00:00:00:09", "the packet ends where word 4 should be", "say the type"),
        ("ethernet type 88b5", "`88b5` (word 3 ", "an Ethernet type in hex, like 0x88b5"),
    ] {
        let told = wrong(text);
        assert!(told.starts_with(found) && told.contains(expected), "{text}: {told}");
    }
}

#[test]
fn a_mac_address_that_follows_from_nothing_is_asked_for() {
    let nobody = |_| None;
    let around = Surroundings { port: "wan", mac: None, resolve: &nobody };
    let error = |text: &str| text.parse::<Description>().unwrap().build(&around).unwrap_err().to_string();
    assert!(error("arp 10.0.0.5 > 10.0.0.9").contains("of wan is not known; say whom the packet is from"));
    let told = error("icmp 10.0.0.5 > 10.0.0.9 from 02:00:00:00:00:05");
    assert!(told.contains("has the address 10.0.0.9; say which"), "{told}");
    assert!(
        error("ethernet type 0x88b5 from 02:00:00:00:00:05")
            .contains("nothing tells where the frame goes; say it")
    );
}

#[test]
fn a_filter_means_packets_for_which_all_of_it_holds() {
    let matches = |filter: &str, packet: &str| {
        let frame = build(packet);
        filter.parse::<Filter>().unwrap().matches(&frame, u32::try_from(frame.len()).unwrap())
    };
    let syn = "tcp 10.0.0.5:4000 > 10.0.0.9:3306 vlan 7";
    for (filter, is_meant) in [
        ("", true),
        ("tcp", true),
        ("udp", false),
        ("ip", true),
        ("ip6", false),
        ("host 10.0.0.5", true),
        ("host 10.0.0.6", false),
        ("port 3306", true),
        ("tcp host 10.0.0.9 port 4000", true),
        ("udp host 10.0.0.9 port 4000", false),
        ("port 80", false),
    ] {
        assert_eq!(matches(filter, syn), is_meant, "{filter}");
    }
    assert!(
        matches("arp host 10.0.0.9", "arp 10.0.0.5 > 10.0.0.9")
            && !matches("icmp", "icmp6 fd00::5 > fd00::9")
    );
    assert!(!matches("arp port 1", "arp 10.0.0.5 > 10.0.0.9"));
    let wrong = |text: &str| text.parse::<Filter>().unwrap_err().to_string();
    assert!(
        wrong("tcp prot 80").starts_with("`prot` (word 2 ") && wrong("prot").contains("did you mean `port`?")
    );
    assert!(wrong("host").contains("word 2 should be: write an address"));
    assert!(wrong("port 80 port 81").contains("`port` (word 3 of the packet) is not right: say one of each"));
}

proptest! {
    #[test]
    fn no_text_and_no_frame_makes_it_fail(text in "\\PC{0,80}", bytes: Vec<u8>, length: u32) {
        let _ = text.parse::<Description>();
        let _ = text.parse::<Filter>();
        prop_assert!(!describe(&bytes, length).is_empty());
    }

    #[test]
    fn words_in_any_order_are_read_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "tcp", "udp", "icmp", "arp", "ip", "ethernet", "10.0.0.5:1", "10.0.0.9", ">", "vlan", "10", "flags", "syn",
                "length", "70000", "60", "priority", "type", "0x88b5", "to", "02:00:00:00:00:09", "reply", "fd00::1",
            ]),
            0..10,
        ),
    ) {
        if let Ok(description) = words.join(" ").parse::<Description>() {
            let around = Surroundings { port: "vm1", mac: Some(OWN), resolve: &|_| Some(OTHER) };
            if let Ok(frame) = description.build(&around) {
                prop_assert!(!frame.is_empty());
            }
        }
    }
}
