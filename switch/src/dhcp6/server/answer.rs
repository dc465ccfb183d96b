//! What a server answers: options and the frame.

use std::net::Ipv6Addr;

use super::super::association::Association;
use super::super::message::{Message, MessageType, Options, code, status};
use super::super::{CLIENT_PORT, SERVER_PORT};
use super::Question;
use super::settings::{Parameters, Settings};
use crate::dhcp::datagram::{Envelope, seal_v6};
use crate::domain;

/// For how long an address is preferred, in eighths of the time for which it is valid.
const PREFERRED_EIGHTHS: u32 = 5;

/// Time servers: an address within the option (RFC 5908, 4.1).
const NTP_ADDRESS: u16 = 1;

/// After how many seconds clients that have no address from us ask for the rest again.
const REFRESH_S: u32 = 86_400;

/// Flags of a client's name (RFC 4704, 4.1): the server names it; though the client did not ask for that; or does not.
const NAMED: u8 = 1;
const OVERRIDDEN: u8 = 2;
const NOT_NAMED: u8 = 4;

/// An answer that says who asked and who answers.
pub(super) fn begin(settings: &Settings, question: &Question, kind: MessageType) -> Message {
    let mut options = Options::new();
    options.put(code::SERVER_ID, settings.duid());
    if let Some(client) = question.message.options.get(code::CLIENT_ID) {
        options.put(code::CLIENT_ID, client);
    }
    Message { kind, transaction: question.message.transaction, options }
}

/// What an association is answered with.
pub(super) fn put(answer: &mut Message, association: &Association, lease_s: u32, within: &Options) {
    let preferred_s = preferred(lease_s);
    let times =
        if within.get(code::STATUS).is_some() { (0, 0) } else { (preferred_s / 2, preferred_s / 5 * 4) };
    let (code, value) = association.answer(times, within);
    answer.options.put(code, value);
}

fn preferred(lease_s: u32) -> u32 {
    lease_s / 8 * PREFERRED_EIGHTHS
}

/// An address for as long, or with 0 no longer.
pub(super) fn address(within: &mut Options, address: Ipv6Addr, valid_s: u32) {
    let mut value = address.octets().to_vec();
    value.extend(preferred(valid_s).to_be_bytes());
    value.extend(valid_s.to_be_bytes());
    within.put(code::IA_ADDRESS, value);
}

/// What became of something, with a sentence for people.
pub(super) fn status(options: &mut Options, code: u16, text: &str) {
    options.put(code::STATUS, [&code.to_be_bytes(), text.as_bytes()].concat());
}

/// An association for which there is nothing.
pub(super) fn none(code: u16, text: &str) -> Options {
    let mut within = Options::new();
    status(&mut within, code, text);
    within
}

/// What the client asked for beside addresses.
pub(super) fn put_parameters(answer: &mut Message, parameters: &Parameters, question: &Question) {
    let wants = |code| question.message.options.wants(code);
    let options = &mut answer.options;
    if wants(code::DNS_SERVERS) && !parameters.dns_servers.is_empty() {
        options.put(code::DNS_SERVERS, octets(&parameters.dns_servers));
    }
    if wants(code::DOMAIN_SEARCH) && !parameters.search.is_empty() {
        options.put(code::DOMAIN_SEARCH, domain::encode(&parameters.search));
    }
    if wants(code::NTP_SERVER) && !parameters.ntp_servers.is_empty() {
        let mut within = Options::new();
        parameters.ntp_servers.iter().for_each(|server| within.put(NTP_ADDRESS, server.octets()));
        options.put(code::NTP_SERVER, within.encode());
    }
    if let Some(url) = parameters.boot_url.as_ref().filter(|_| wants(code::BOOT_FILE)) {
        options.put(code::BOOT_FILE, url.as_bytes());
    }
    if wants(code::REFRESH_TIME) && question.message.kind == MessageType::InformationRequest {
        options.put(code::REFRESH_TIME, REFRESH_S.to_be_bytes());
    }
    if let Some(flags) = question.name_flags().filter(|_| wants(code::CLIENT_NAME)) {
        options.put(code::CLIENT_NAME, name(flags, parameters, question));
    }
}

/// What the client is called (RFC 4704, 6): as it calls itself, in the network's domain.
fn name(flags: u8, parameters: &Parameters, question: &Question) -> Vec<u8> {
    let Some(label) = &question.host_name else { return vec![NOT_NAMED, 0] };
    let overridden = if flags & NAMED == 0 { OVERRIDDEN } else { 0 };
    let full = parameters.domain.as_ref().and_then(|domain| format!("{label}.{domain}").parse().ok());
    let is_full = full.is_some();
    let mut bytes = domain::encode(&[full.unwrap_or_else(|| label.clone())]);
    // A name that is not complete has no root at its end (RFC 4704, 4.2).
    bytes.truncate(bytes.len() - usize::from(!is_full));
    [&[NAMED | overridden], bytes.as_slice()].concat()
}

fn octets(addresses: &[Ipv6Addr]) -> Vec<u8> {
    addresses.iter().flat_map(Ipv6Addr::octets).collect()
}

/// The frame to who asked.
pub(super) fn frame(settings: &Settings, question: &Question, answer: &Message) -> Vec<u8> {
    let envelope = Envelope {
        source_mac: settings.mac,
        destination_mac: question.envelope.source_mac,
        source: settings.address,
        destination: question.envelope.source,
        source_port: SERVER_PORT,
        destination_port: CLIENT_PORT,
    };
    seal_v6(&envelope, &answer.encode())
}

/// A reply that says nothing but that the client is to ask all servers (RFC 8415, 18.4).
pub(super) fn use_multicast(settings: &Settings, question: &Question) -> Vec<u8> {
    let mut answer = begin(settings, question, MessageType::Reply);
    status(&mut answer.options, status::USE_MULTICAST, "ask by multicast");
    frame(settings, question, &answer)
}
