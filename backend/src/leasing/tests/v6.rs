use std::net::Ipv6Addr;

use viaduct_switch::dhcp::datagram::{open_v6, seal_v6};
use viaduct_switch::dhcp6::server::Settings as SettingsV6;
use viaduct_switch::dhcp6::{self, ALL_SERVERS, Options};
use viaduct_switch::ra::{Advertisement, Prefix};

use super::*;

fn settings() -> SettingsV6 {
    SettingsV6 {
        address: "fe80::fe".parse().unwrap(),
        mac: MacAddress([2, 0, 0, 0, 0, 0xfe]),
        prefixes: vec![("fd00:2::".parse().unwrap(), 64)],
        range: Some(("fd00:2::100".parse().unwrap(), "fd00:2::1ff".parse().unwrap())),
        lease_s: 3600,
        ports: 4,
        wide_ports: [port(9)].into(),
        held_ports: [].into(),
        fixed: BTreeMap::new(),
        parameters: dhcp6::server::Parameters::default(),
    }
}

fn advertisement() -> Advertisement {
    Advertisement {
        mac: settings().mac,
        address: settings().address,
        hop_limit: 64,
        is_managed: true,
        has_other: true,
        lifetime_s: 1800,
        prefixes: vec![Prefix {
            address: "fd00:2::".parse().unwrap(),
            length: 64,
            is_autonomous: false,
            valid_s: 86_400,
            preferred_s: 14_400,
        }],
        mtu: Some(1500),
        dns_servers: vec![],
        search: vec![],
        dns_lifetime_s: 1800,
    }
}

/// `home` with servers of both versions and a router, `lab` with that of IPv4.
fn both() -> Plan {
    let mut plan = plan();
    plan.networks[0].v6 = Some(settings());
    plan.networks[0].advertisement = Some(advertisement());
    plan
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.leasing.configure(both(), at(0)).unwrap();
    lab
}

fn question(number: usize, kind: dhcp6::MessageType) -> Vec<u8> {
    let mut options = Options::new();
    options.put(dhcp6::code::CLIENT_ID, [&[0, 3, 0, 1], mac(number).0.as_slice()].concat());
    if kind == dhcp6::MessageType::Solicit {
        options.put(dhcp6::code::RAPID_COMMIT, []);
        options.put(dhcp6::code::IA_NA, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    let message = dhcp6::Message { kind, transaction: [1, 2, 3], options };
    let envelope = Envelope {
        source_mac: mac(number),
        destination_mac: MacAddress([0x33, 0x33, 0, 1, 0, 2]),
        source: "fe80::9".parse().unwrap(),
        destination: ALL_SERVERS,
        source_port: dhcp6::CLIENT_PORT,
        destination_port: dhcp6::SERVER_PORT,
    };
    seal_v6(&envelope, &message.encode())
}

impl Lab {
    fn ask_v6(&mut self, now: u32, number: usize, kind: dhcp6::MessageType) -> Option<Ipv6Addr> {
        let frame = question(number, kind);
        let answer = self.leasing.receive(network(0), port(number), &frame, at(now), &mut |_| false)?;
        let answer = dhcp6::Message::decode(open_v6(&answer).unwrap().1).unwrap();
        let within =
            Options::decode(&answer.options.get(dhcp6::code::IA_NA).unwrap_or(&[0; 12])[12..]).unwrap();
        let address =
            within.get(dhcp6::code::IA_ADDRESS).map_or([0; 16], |value| value[..16].try_into().unwrap());
        Some(address.into())
    }

    /// Frames for networks until `end`, and when they came in seconds.
    fn sent(&mut self, end: u32) -> Vec<(u32, usize, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(due) = self.leasing.due().filter(|due| *due <= at(end)) {
            self.leasing.advance(due);
            while let Some(Outgoing { network, frame }) = self.leasing.next_frame() {
                sent.push((due.seconds(), network.get(), frame));
            }
        }
        sent
    }
}

#[test]
fn leases_of_both_versions_are_kept_in_one_file_under_one_name() {
    let mut lab = lab();
    let v4 = lab.lent(0, 1).unwrap();
    let v6 = lab.ask_v6(0, 1, dhcp6::MessageType::Solicit).unwrap();
    assert_eq!(lab.names(), [format!("+home vm1 {v4}"), format!("+home vm1 {v6}")]);
    lab.leasing = Leasing::open(&lab.path(), Nanos(0), UNIX_S + 100);
    lab.leasing.configure(both(), Nanos(0)).unwrap();
    let vm1 = "vm1".to_owned();
    assert_eq!(lab.held(), [(v4.to_string(), vm1.clone()), (v6.to_string(), vm1)]);
    assert_eq!(lab.ask_v6(1, 1, dhcp6::MessageType::Solicit), Some(v6));
    let found: Vec<_> = lab.leasing.counters().map(|(name, version, _)| (name.to_owned(), version)).collect();
    assert_eq!(found, [("home".to_owned(), 4), ("home".to_owned(), 6), ("lab".to_owned(), 4)]);
}

#[test]
fn what_lends_nothing_needs_no_file() {
    let mut lab = lab();
    lab.leasing.journal.set_full(true);
    assert_eq!(lab.ask_v6(0, 1, dhcp6::MessageType::Solicit), None);
    assert_eq!(lab.held(), []);
    assert_eq!(lab.ask_v6(0, 1, dhcp6::MessageType::InformationRequest), None, "it may lend");
    let mut stateless = both();
    stateless.networks[0].v6.as_mut().unwrap().range = None;
    lab.leasing.configure(stateless, at(0)).unwrap();
    assert!(lab.ask_v6(0, 1, dhcp6::MessageType::InformationRequest).is_some());
}

#[test]
fn routers_say_who_they_are_and_when_they_go() {
    let mut lab = lab();
    let frame = advertisement().frame(None).unwrap();
    let sent = lab.sent(40);
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|(_, network, sent)| (*network, sent) == (0, &frame)));
    // A host asks by its link-local address, and is answered within half a second.
    let start = at(41);
    let solicitation = solicitation();
    assert!(Leasing::concerns(&solicitation) && Leasing::concerns(&question(1, dhcp6::MessageType::Solicit)));
    assert_eq!(lab.leasing.receive(network(0), port(1), &solicitation, start, &mut |_| false), None);
    let due = lab.leasing.due().unwrap();
    assert!(due.0 - start.0 <= 500_000_000);
    let sent = lab.sent(42);
    assert_eq!((sent.len(), &sent[0].2[..6]), (1, &mac(1).0[..]));
    assert_eq!(lab.sent(49).len(), 1, "the last that comes soon");
    // The network gets another number: nothing is to be said about that.
    let mut next = both();
    next.networks[0].index = network(3);
    lab.leasing.configure(next.clone(), at(50)).unwrap();
    assert_eq!(lab.sent(51), []);
    let goes = |frame: &[u8]| frame[54] == 134 && frame[60..62] == [0, 0];
    lab.leasing.cease();
    let last = lab.leasing.next_frame().unwrap();
    assert!(last.network == network(3) && goes(&last.frame) && lab.leasing.next_frame().is_none());
    next.networks[0].advertisement = None;
    lab.leasing.configure(next, at(60)).unwrap();
    let last = lab.leasing.next_frame().unwrap();
    assert!(last.network == network(3) && goes(&last.frame));
    let mut wrong = both();
    wrong.networks[0].advertisement.as_mut().unwrap().lifetime_s = 9999;
    let error = lab.leasing.configure(wrong, at(70)).unwrap_err().to_string();
    assert!(error.starts_with("the router advertisements of network home: "), "{error}");
}

/// A router solicitation of station 1 (RFC 4861, 4.1), its checksum made by hand.
fn solicitation() -> Vec<u8> {
    let source: Ipv6Addr = "fe80::9".parse().unwrap();
    let routers: Ipv6Addr = "ff02::2".parse().unwrap();
    let mut message = vec![133, 0, 0, 0, 0, 0, 0, 0];
    let pseudo = [&source.octets()[..], &routers.octets(), &[0, 8, 0, 58], &message].concat();
    let sum = pseudo.chunks(2).fold(0_u32, |sum, pair| sum + u32::from(pair[0]) * 256 + u32::from(pair[1]));
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    message[2..4].copy_from_slice(&(!folded).to_be_bytes());
    let mut frame =
        [&[0x33, 0x33, 0, 0, 0, 2], mac(1).0.as_slice(), &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255]]
            .concat();
    frame.extend(source.octets());
    frame.extend(routers.octets());
    frame.extend(message);
    frame
}
