//! What a server answers: fields, options and the frame (RFC 2131, 4.1 and 4.3, table 3).

use std::net::Ipv4Addr;

use super::super::datagram::{CLIENT_PORT, Envelope, SERVER_PORT, seal};
use super::super::message::DATAGRAM_DEFAULT;
use super::super::options::{Options, code};
use super::super::routes::{self, Route};
use super::super::{Malformed, Message, MessageType, Operation};
use super::settings::{LEASE_MIN_S, Parameters, Settings};
use crate::domain::{self, DomainName};
use crate::mac::MacAddress;

/// What a client that does not say what it wants is told.
const UNASKED: [u8; 3] = [code::ROUTERS, code::DNS_SERVERS, code::DOMAIN_NAME];

/// The longest IP datagram that is sent, whatever a client takes.
const DATAGRAM_MAX: u16 = 1500;

/// A grant: the address, and for how long. `None` for a client that has its address already (DHCPINFORM).
pub(super) type Grant = Option<(Ipv4Addr, u32)>;

/// An answer that gives a client what it asked for; also the number of options that found no room.
pub(super) fn grant(
    settings: &Settings,
    question: &Message,
    kind: MessageType,
    grant: Grant,
    name: Option<&DomainName>,
) -> Result<(Vec<u8>, usize), Malformed> {
    let mut answer = reply(settings, question, kind);
    answer.ciaddr = question.ciaddr;
    if kind == MessageType::Offer {
        answer.ciaddr = Ipv4Addr::UNSPECIFIED;
    }
    if let Some((address, lease_s)) = grant {
        answer.yiaddr = address;
        put_times(&mut answer.options, lease_s);
    }
    echo_client(question, &mut answer);
    answer.options.set(code::SUBNET_MASK, settings.mask().octets());
    for wanted in question.options.get(code::PARAMETER_REQUEST).unwrap_or(&UNASKED) {
        put_parameter(&mut answer.options, *wanted, &settings.parameters, name);
    }
    if let Some(boot) = &settings.parameters.boot {
        answer.siaddr = boot.next_server;
        answer.server_name.clone_from(&boot.server_name);
        answer.boot_file.clone_from(&boot.file);
    }
    let (bytes, left_out) = answer.encode(datagram_max(question, &settings.parameters)?);
    Ok((seal(&envelope(settings, question, &answer), &bytes), left_out.len()))
}

/// An answer that refuses, with a reason for people. It goes to all stations at the port, since the client's own address
/// is what is wrong (RFC 2131, 4.1).
pub(super) fn refuse(settings: &Settings, question: &Message, reason: &str) -> Vec<u8> {
    let mut answer = reply(settings, question, MessageType::Nak);
    answer.options.set(code::MESSAGE, reason);
    echo_client(question, &mut answer);
    let (bytes, _) = answer.encode(DATAGRAM_DEFAULT);
    let envelope = envelope_to(settings, MacAddress::BROADCAST, Ipv4Addr::BROADCAST);
    seal(&envelope, &bytes)
}

/// For how long a client gets an address: as long as it asks for, within what the settings allow.
pub(super) fn lease_s(settings: &Settings, question: &Message) -> Result<u32, Malformed> {
    let wanted = question.options.u32(code::LEASE_TIME)?.unwrap_or(u32::MAX);
    Ok(wanted.max(LEASE_MIN_S).min(settings.lease_s))
}

fn reply(settings: &Settings, question: &Message, kind: MessageType) -> Message {
    let mut answer = Message::new(Operation::Reply, question.xid, question.chaddr);
    answer.broadcast = question.broadcast;
    answer.options.set(code::MESSAGE_TYPE, [kind.number()]);
    answer.options.set(code::SERVER_IDENTIFIER, settings.address.octets());
    answer
}

/// The client's own identifier goes back to it (RFC 6842, 3).
fn echo_client(question: &Message, answer: &mut Message) {
    if let Some(id) = question.options.get(code::CLIENT_IDENTIFIER) {
        answer.options.set(code::CLIENT_IDENTIFIER, id);
    }
}

/// The lease's length, and when to renew and to rebind it (RFC 2131, 4.4.5: after half and seven eighths of it).
fn put_times(options: &mut Options, lease_s: u32) {
    let rebind_s = lease_s - lease_s / 8;
    options.set(code::LEASE_TIME, lease_s.to_be_bytes());
    options.set(code::RENEWAL_TIME, (lease_s / 2).to_be_bytes());
    options.set(code::REBINDING_TIME, rebind_s.to_be_bytes());
}

/// Puts in a parameter that a client wants, if there is such.
fn put_parameter(options: &mut Options, wanted: u8, parameters: &Parameters, name: Option<&DomainName>) {
    match wanted {
        code::ROUTERS => options.set_addresses(wanted, &parameters.routers),
        code::DNS_SERVERS => options.set_addresses(wanted, &parameters.dns_servers),
        code::NTP_SERVERS => options.set_addresses(wanted, &parameters.ntp_servers),
        code::HOST_NAME => put_text(options, wanted, name.map(DomainName::as_str)),
        code::DOMAIN_NAME => put_text(options, wanted, parameters.domain.as_ref().map(DomainName::as_str)),
        code::INTERFACE_MTU => {
            if let Some(mtu) = parameters.mtu {
                options.set(wanted, mtu.to_be_bytes());
            }
        }
        code::TFTP_SERVER_NAME => {
            put_text(options, wanted, parameters.boot.as_ref().map(|boot| boot.server_name.as_str()));
        }
        code::BOOT_FILE => {
            put_text(options, wanted, parameters.boot.as_ref().map(|boot| boot.file.as_str()));
        }
        code::DOMAIN_SEARCH if !parameters.search.is_empty() => {
            options.set(wanted, domain::encode_compressed(&parameters.search));
        }
        code::CLASSLESS_ROUTES => put_routes(options, parameters),
        _ => {}
    }
}

fn put_text(options: &mut Options, code: u8, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        options.set(code, text);
    }
}

/// All routes, the default one with them: a client that reads these ignores the list of routers (RFC 3442).
fn put_routes(options: &mut Options, parameters: &Parameters) {
    if parameters.routes.is_empty() {
        return;
    }
    let mut routes = parameters.routes.clone();
    let has_default = routes.iter().any(|route| route.prefix == 0);
    if let Some(router) = parameters.routers.first().filter(|_| !has_default) {
        routes.push(Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router: *router });
    }
    options.set(code::CLASSLESS_ROUTES, routes::encode(&routes));
}

/// The longest IP datagram that the client takes and the network passes.
fn datagram_max(question: &Message, parameters: &Parameters) -> Result<u16, Malformed> {
    let client = question.options.u16(code::MAXIMUM_SIZE)?.unwrap_or(DATAGRAM_DEFAULT);
    Ok(client.min(parameters.mtu.unwrap_or(DATAGRAM_MAX)).min(DATAGRAM_MAX))
}

/// Where an answer goes (RFC 2131, 4.1): to the address that the client uses; else to all, if it asks for that; else to
/// the address that it gets, at its station.
fn envelope(settings: &Settings, question: &Message, answer: &Message) -> Envelope {
    if !question.ciaddr.is_unspecified() {
        envelope_to(settings, question.chaddr, question.ciaddr)
    } else if question.broadcast || answer.yiaddr.is_unspecified() {
        envelope_to(settings, MacAddress::BROADCAST, Ipv4Addr::BROADCAST)
    } else {
        envelope_to(settings, question.chaddr, answer.yiaddr)
    }
}

fn envelope_to(settings: &Settings, destination_mac: MacAddress, destination: Ipv4Addr) -> Envelope {
    Envelope {
        source_mac: settings.mac,
        destination_mac,
        source: settings.address,
        destination,
        source_port: SERVER_PORT,
        destination_port: CLIENT_PORT,
    }
}
