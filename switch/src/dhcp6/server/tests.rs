mod hostile;
mod states;

use super::*;
use crate::dhcp::datagram::{open_v6, seal_v6};

const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
const NONE: &[Ipv6Addr] = &[];

fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, last)
}

fn port(number: usize) -> PortIndex {
    PortIndex::new(number).unwrap()
}

fn mac(number: usize) -> MacAddress {
    MacAddress::from_u64(0x5254_0000_0000 + u64::try_from(number).unwrap())
}

fn at(seconds: u32) -> Nanos {
    Nanos::from_seconds(seconds)
}

/// fd00:2::/64, of which ::100 to ::109 are lent for an hour; port 7 has ::10 for itself.
fn settings() -> Settings {
    let fixed = Fixed { mac: Some(mac(7)), address: address(0x10), host_name: None };
    Settings {
        address: "fe80::fe".parse().unwrap(),
        mac: SERVER_MAC,
        prefixes: vec![(address(0), 64)],
        range: Some((address(0x100), address(0x109))),
        lease_s: 3600,
        ports: 4,
        wide_ports: [].into(),
        held_ports: [].into(),
        fixed: [(port(7), fixed)].into(),
        parameters: Parameters {
            dns_servers: vec![address(1)],
            domain: Some("home.lan".parse().unwrap()),
            search: vec!["home.lan".parse().unwrap()],
            ntp_servers: vec![address(5)],
            boot_url: Some("http://[fd00:2::6]/boot.efi".to_owned()),
        },
    }
}

fn server() -> Server {
    Server::new(settings()).unwrap()
}

fn duid(number: usize) -> Vec<u8> {
    [&[0, 3, 0, 1], mac(number).0.as_slice()].concat()
}

/// An association with the number 1 and these addresses.
fn association(addresses: &[Ipv6Addr]) -> Vec<u8> {
    let mut within = Options::new();
    addresses.iter().for_each(|found| answer::address(&mut within, *found, 100));
    [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], within.encode().as_slice()].concat()
}

/// A client's message: its port's number is its station's. It names us where it has to.
fn question(number: usize, kind: MessageType, addresses: &[Ipv6Addr]) -> Message {
    let mut options = Options::new();
    options.put(code::CLIENT_ID, duid(number));
    let names_us = matches!(
        kind,
        MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline
    );
    if names_us {
        options.put(code::SERVER_ID, settings().duid());
    }
    if kind != MessageType::InformationRequest {
        options.put(code::IA_NA, association(addresses));
    }
    Message { kind, transaction: [1, 2, 3], options }
}

fn frame_of(number: usize, message: &Message, destination: Ipv6Addr) -> Vec<u8> {
    let is_to_all = destination == ALL_SERVERS;
    let envelope = Envelope {
        source_mac: mac(number),
        destination_mac: if is_to_all { ALL_SERVERS_MAC } else { SERVER_MAC },
        source: "fe80::9".parse().unwrap(),
        destination,
        source_port: 546,
        destination_port: 547,
    };
    seal_v6(&envelope, &message.encode())
}

fn ask(server: &mut Server, now: u32, number: usize, message: &Message) -> Option<Message> {
    let frame =
        server.receive(at(now), port(number), &frame_of(number, message, ALL_SERVERS), &mut |_| false)?;
    let (envelope, payload) = open_v6(&frame).unwrap();
    assert_eq!((envelope.destination_mac, envelope.destination_port), (mac(number), 546));
    assert_eq!((envelope.source, envelope.destination), (settings().address, "fe80::9".parse().unwrap()));
    let answer = Message::decode(payload).unwrap();
    assert_eq!(answer.options.get(code::SERVER_ID), Some(&settings().duid()[..]));
    assert_eq!(answer.options.get(code::CLIENT_ID), message.options.get(code::CLIENT_ID));
    assert_eq!(answer.transaction, message.transaction);
    Some(answer)
}

/// Addresses of an answer's first association, and for how long they are valid.
fn granted(answer: &Message) -> Vec<(Ipv6Addr, u32)> {
    let Some(value) = answer.options.get(code::IA_NA) else { return Vec::new() };
    let within = Options::decode(&value[12..]).unwrap();
    let addresses = within.iter().filter(|(code, _)| *code == code::IA_ADDRESS);
    addresses
        .map(|(_, value)| {
            let octets: [u8; 16] = value[..16].try_into().unwrap();
            (octets.into(), u32::from_be_bytes(value[20..24].try_into().unwrap()))
        })
        .collect()
}

/// The status in options.
fn status_in(options: &Options) -> Option<u16> {
    options.get(code::STATUS).map(|value| u16::from_be_bytes([value[0], value[1]]))
}

/// The status of an answer's association of a kind.
fn status_of(answer: &Message, code: u16) -> Option<u16> {
    let fixed = if code == code::IA_TA { 4 } else { 12 };
    status_in(&Options::decode(&answer.options.get(code)?[fixed..]).unwrap())
}

/// The address that a client gets by four messages.
fn lent(server: &mut Server, now: u32, number: usize) -> Option<Ipv6Addr> {
    let offer = ask(server, now, number, &question(number, MessageType::Solicit, NONE))?;
    assert_eq!(offer.kind, MessageType::Advertise);
    let (wanted, _) = *granted(&offer).first()?;
    let answer = ask(server, now, number, &question(number, MessageType::Request, &[wanted]))?;
    assert_eq!((answer.kind, granted(&answer)), (MessageType::Reply, vec![(wanted, 3600)]));
    Some(wanted)
}

fn count(server: &Server, event: Event) -> u64 {
    server.lender().counters().get(event)
}
