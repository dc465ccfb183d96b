//! Names that are answered without asking anybody, whatever the network's domain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::PTR;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::message::Answer;

/// Domains without names here or anywhere that could be asked. Those of RFC 6761: test (6.2), invalid (6.4); local belongs to
/// multicast DNS (RFC 6762, 22.1), onion to Tor (RFC 7686, 2), alt to none (RFC 9476, 3.2), home.arpa to the network, which
/// has it not, or it would have been answered (RFC 8375, 4), resolver.arpa to each resolver itself (RFC 9462, 6.4).
const NOWHERE: [&str; 7] = ["test", "invalid", "local", "onion", "alt", "home.arpa", "resolver.arpa"];

/// How long the answers hold, in seconds: they never change.
const TTL_S: u32 = 86_400;

/// The answer, if the name is one of these. `name` is `text` in small letters without its last dot.
pub(super) fn answer(name: &Name, text: &str, kind: RecordType) -> Option<Answer> {
    if is_in(text, "localhost") {
        return Some(localhost(name, kind));
    }
    if let Some(address) = super::zone::address_of(name).filter(|address| address.is_loopback()) {
        let target = Name::from_ascii("localhost.").ok()?;
        let is_right = kind == RecordType::PTR && is_host(address);
        return Some(records(name, is_right.then_some(RData::PTR(PTR(target)))));
    }
    if NOWHERE.iter().any(|domain| is_in(text, domain)) {
        return Some(Answer::empty(ResponseCode::NXDomain));
    }
    // Addresses of names with one label are never asked for outside: they are guests', or mistakes (RFC 7085, 3).
    let is_dotless = !text.is_empty() && !text.contains('.') && kind.is_ip_addr();
    is_dotless.then(|| Answer::empty(ResponseCode::NXDomain))
}

/// RFC 6761, 6.3.
fn localhost(name: &Name, kind: RecordType) -> Answer {
    records(
        name,
        match kind {
            RecordType::A => Some(RData::A(Ipv4Addr::LOCALHOST.into())),
            RecordType::AAAA => Some(RData::AAAA(Ipv6Addr::LOCALHOST.into())),
            _ => None,
        },
    )
}

fn is_host(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST))
}

fn records(name: &Name, data: Option<RData>) -> Answer {
    let record = |data| Record::from_rdata(name.clone(), TTL_S, data);
    Answer { answers: data.map(record).into_iter().collect(), ..Answer::empty(ResponseCode::NoError) }
}

/// Whether `name` is `domain` or below it; both in small letters.
pub(super) fn is_in(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
