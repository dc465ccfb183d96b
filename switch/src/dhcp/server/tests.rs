mod hostile;
mod options;
mod shares;
mod states;

use super::super::datagram::{Envelope, open, seal};
use super::super::options::{Options, code};
use super::*;
use std::collections::BTreeSet;

const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
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

/// 10.0.0.0/24, of which .100 to .109 are lent for an hour; port 7 has .10 for itself.
fn settings() -> Settings {
    let fixed = Fixed { mac: Some(mac(7)), address: address(10), host_name: Some("web".parse().unwrap()) };
    Settings {
        address: SERVER,
        mac: SERVER_MAC,
        prefix: 24,
        range: Some((address(100), address(109))),
        lease_s: 3600,
        ports: 4,
        wide_ports: BTreeSet::new(),
        held_ports: [].into(),
        fixed: [(port(7), fixed)].into(),
        parameters: Parameters { routers: vec![SERVER], ..Parameters::default() },
    }
}

fn server() -> Server {
    Server::new(settings()).unwrap()
}

/// A client: its port's number is its station's.
fn question(number: usize, kind: MessageType) -> Message {
    let mut message = Message::new(Operation::Request, 0xabcd, mac(number));
    message.options.set(code::MESSAGE_TYPE, [kind.number()]);
    message
}

fn frame_to(message: &Message, destination: Ipv4Addr) -> Vec<u8> {
    let is_unicast = destination != Ipv4Addr::BROADCAST;
    let envelope = Envelope {
        source_mac: message.chaddr,
        destination_mac: if is_unicast { SERVER_MAC } else { MacAddress::BROADCAST },
        source: message.ciaddr,
        destination,
        source_port: 68,
        destination_port: 67,
    };
    seal(&envelope, &message.encode(1500).0)
}

/// Asks by all ways that a switch has, and reads the answer.
fn ask(server: &mut Server, now: u32, number: usize, message: &Message) -> Option<(Envelope, Message)> {
    ask_knowing(server, now, number, message, &mut |_| false)
}

fn ask_knowing(
    server: &mut Server,
    now: u32,
    number: usize,
    message: &Message,
    taken: &mut Taken,
) -> Option<(Envelope, Message)> {
    let frame = server.receive(at(now), port(number), &frame_to(message, Ipv4Addr::BROADCAST), taken)?;
    let (envelope, payload) = open(&frame).unwrap();
    Some((envelope, Message::decode(payload).unwrap()))
}

fn offered(server: &mut Server, now: u32, number: usize) -> Option<Ipv4Addr> {
    let (_, answer) = ask(server, now, number, &question(number, MessageType::Discover))?;
    assert_eq!(answer.kind(), Ok(MessageType::Offer));
    Some(answer.yiaddr)
}

fn selecting(number: usize, wanted: Ipv4Addr) -> Message {
    let mut message = question(number, MessageType::Request);
    message.options.set(code::REQUESTED_ADDRESS, wanted.octets());
    message.options.set(code::SERVER_IDENTIFIER, SERVER.octets());
    message
}

fn booting(number: usize, wanted: Ipv4Addr) -> Message {
    let mut message = selecting(number, wanted);
    message.options.remove(code::SERVER_IDENTIFIER);
    message
}

fn renewing(number: usize, current: Ipv4Addr) -> Message {
    Message { ciaddr: current, ..question(number, MessageType::Request) }
}

/// What a request is answered with.
fn answer_to(server: &mut Server, now: u32, number: usize, message: &Message) -> Option<MessageType> {
    ask(server, now, number, message).map(|(_, answer)| answer.kind().unwrap())
}

/// The address that a client gets in full.
fn lent(server: &mut Server, now: u32, number: usize) -> Option<Ipv4Addr> {
    let wanted = offered(server, now, number)?;
    assert_eq!(answer_to(server, now, number, &selecting(number, wanted)), Some(MessageType::Ack));
    Some(wanted)
}

fn count(server: &Server, event: Event) -> u64 {
    server.lender().counters().get(event)
}
