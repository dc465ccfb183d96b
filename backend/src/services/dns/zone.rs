//! The network's own names: its domain, and the reverse zones of its subnets. Nobody else is asked about them.

use std::collections::HashMap;
use std::net::IpAddr;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::{A, AAAA, HINFO, NS, PTR, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use viaduct_switch::domain::DomainName;
use viaduct_switch::ids::NetworkIndex;
use viaduct_switch::security::Prefix;

use super::super::names::Names;
use super::super::settings::NetworkServices;
use super::message::Answer;
use super::special::is_in;

/// How long an answer about a guest holds, in seconds: names come and go with their guests.
const TTL_S: u32 = 10;

/// The gateway's own name in the domain.
const GATEWAY: &str = "gateway";

/// What a network knows by itself.
#[derive(Debug)]
pub(super) struct Zone {
    network: NetworkIndex,
    domain: Option<DomainName>,
    subnets: Vec<Prefix>,
    /// By whole name, in small letters.
    hosts: HashMap<String, Vec<IpAddr>>,
    reverse: HashMap<IpAddr, String>,
    /// Which state of the names this is (RFC 1035, 3.3.13): names of leases change without it, as there are no secondaries.
    serial: u32,
}

/// Whose names a name belongs to.
enum Found {
    /// The addresses of a name.
    Addresses(Vec<IpAddr>),
    /// The name of an address.
    Name(String),
    /// The top of a zone.
    Apex,
    /// There is no such name.
    Nothing,
}

impl Zone {
    /// The zone of a network that has names.
    pub(super) fn new(
        settings: &NetworkServices,
        domain: Option<&DomainName>,
        hosts: &[(DomainName, IpAddr)],
    ) -> Self {
        let mut zone = Self {
            network: settings.network,
            domain: domain.cloned(),
            subnets: settings.subnets.clone(),
            hosts: HashMap::new(),
            reverse: HashMap::new(),
            serial: 1,
        };
        for (name, address) in hosts {
            zone.add(name.as_str(), *address);
        }
        let is_global = |address: &IpAddr| match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        };
        for address in settings.addresses.iter().filter(|address| is_global(address)) {
            zone.add(GATEWAY, *address);
        }
        zone
    }

    fn add(&mut self, name: &str, address: IpAddr) {
        let whole = self.whole(name);
        self.reverse.entry(address).or_insert_with(|| whole.clone());
        self.hosts.entry(whole).or_default().push(address);
    }

    /// A single label stands for a name in the domain.
    fn whole(&self, name: &str) -> String {
        match &self.domain {
            Some(domain) if !name.contains('.') => format!("{name}.{domain}"),
            _ => name.to_owned(),
        }
    }

    /// The answer, if the name is the network's own. `text` is `name` in small letters, without its last dot.
    pub(super) fn answer(&self, names: &Names, name: &Name, text: &str, kind: RecordType) -> Option<Answer> {
        let (found, apex) = match address_of(name) {
            Some(address) if self.reverse_name(names, address).is_some() => (
                self.reverse_name(names, address).map_or(Found::Nothing, Found::Name),
                self.reverse_apex(address),
            ),
            _ if is_reverse(text) => self.in_reverse(name)?,
            _ => self.forward(names, text)?,
        };
        let mut answer = Answer { is_authoritative: true, ..Answer::empty(ResponseCode::NoError) };
        if matches!(found, Found::Nothing) {
            answer.code = ResponseCode::NXDomain;
        } else {
            let record = |data| Record::from_rdata(name.clone(), TTL_S, data);
            answer.answers = self.data(&found, kind).into_iter().map(record).collect();
        }
        if answer.answers.is_empty() {
            // RFC 2308, 2: the zone's SOA tells how long this holds.
            answer
                .authorities
                .extend(apex.and_then(|apex| Some(Record::from_rdata(apex, TTL_S, self.soa()?))));
        }
        Some(answer)
    }

    /// A name, its addresses and the top of its zone.
    fn forward(&self, names: &Names, text: &str) -> Option<(Found, Option<Name>)> {
        let apex = self.domain.as_ref().and_then(|domain| parse(domain.as_str()));
        let inside = self.domain.as_ref().and_then(|domain| {
            let rest = is_in(text, domain.as_str()).then(|| text.strip_suffix(domain.as_str()))??;
            Some(rest.strip_suffix('.').unwrap_or(rest))
        });
        let label = inside.or_else(|| (!text.contains('.')).then_some(text));
        if inside == Some("") {
            return Some((Found::Apex, apex));
        }
        let hosts = self.hosts.get(text).or_else(|| self.hosts.get(&self.whole(label?)));
        let of_lease = || label.and_then(|label| names.addresses(self.network, label));
        match hosts.cloned().or_else(of_lease) {
            Some(addresses) => Some((Found::Addresses(addresses), apex)),
            None => inside.map(|_| (Found::Nothing, apex)),
        }
    }

    /// The name of an address.
    fn reverse_name(&self, names: &Names, address: IpAddr) -> Option<String> {
        let of_lease = || names.name(self.network, address).map(|label| self.whole(&label));
        self.reverse.get(&address).cloned().or_else(of_lease)
    }

    /// A name in a reverse zone of a subnet; `None`: it is in no such zone.
    fn in_reverse(&self, name: &Name) -> Option<(Found, Option<Name>)> {
        let asked = name.parse_arpa_name().ok()?;
        let is_inside =
            |subnet: &&Prefix| subnet.contains(asked.addr()) && asked.prefix_len() >= subnet.length();
        self.subnets.iter().find(is_inside)?;
        let apex = self.reverse_apex(asked.addr());
        let is_host = asked.prefix_len() == asked.max_prefix_len();
        // Above addresses there are names that have nothing but others below them (RFC 8020, 2).
        Some((if is_host { Found::Nothing } else { Found::Addresses(Vec::new()) }, apex))
    }

    /// The top of the reverse zone in which an address is: the smallest whose names are all of its subnet.
    fn reverse_apex(&self, address: IpAddr) -> Option<Name> {
        let subnet = self.subnets.iter().find(|subnet| subnet.contains(address))?;
        let (step, labels) = if address.is_ipv4() { (8, 2) } else { (4, 2) };
        let kept = usize::from(subnet.length().div_ceil(step)) + labels;
        Some(Name::from(address).trim_to(kept))
    }

    fn data(&self, found: &Found, kind: RecordType) -> Vec<RData> {
        match (found, kind) {
            // RFC 8482, 4.2.
            (_, RecordType::ANY) => vec![RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()))],
            (Found::Addresses(addresses), _) => {
                addresses.iter().filter_map(|address| of_kind(*address, kind)).collect()
            }
            (Found::Name(name), RecordType::PTR) => {
                parse(name).map(|name| RData::PTR(PTR(name))).into_iter().collect()
            }
            (Found::Apex, RecordType::SOA) => self.soa().into_iter().collect(),
            (Found::Apex, RecordType::NS) => {
                self.gateway().map(|name| RData::NS(NS(name))).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn gateway(&self) -> Option<Name> {
        parse(&self.whole(GATEWAY))
    }

    fn soa(&self) -> Option<RData> {
        let contact = parse(&self.whole("hostmaster"))?;
        Some(RData::SOA(SOA::new(self.gateway()?, contact, self.serial, 3600, 600, 86_400, TTL_S)))
    }
}

fn of_kind(address: IpAddr, kind: RecordType) -> Option<RData> {
    match (address, kind) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(address))),
        _ => None,
    }
}

fn parse(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.")).ok()
}

fn is_reverse(text: &str) -> bool {
    is_in(text, "in-addr.arpa") || is_in(text, "ip6.arpa")
}

/// The address that a reverse name stands for (RFC 1035, 3.5; RFC 3596, 2.5).
pub(super) fn address_of(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len())?;
    (Name::from(net.addr()) == *name).then(|| net.addr())
}
