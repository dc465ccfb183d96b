//! A network's name server: its own names, special names, what is kept, and other servers for the rest.
//!
//! ```text
//! question ── message ── zone      names of guests, hosts and the gateway; reverse zones of the subnets
//!                     ├─ special   localhost, invalid, local, ...: answered without asking
//!                     ├─ kept      what other servers said
//!                     └─ upstream  a place (fair between ports), then server after server
//! ```

mod message;
mod special;
mod system;
pub(super) mod tcp;
#[cfg(test)]
mod tests;
mod upstream;
mod zone;

use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::HINFO;
use hickory_resolver::proto::rr::{RData, Record, RecordType};

use super::counters::{Counters, Event};
use super::names::Names;
use super::outside::Provider;
use super::settings::{Dns, NetworkServices};
use message::Answer;
pub(super) use message::{Question, Reading, read};
use upstream::Upstream;
use zone::Zone;

/// How long the answer to ANY holds, in seconds.
const ANY_TTL_S: u32 = 3600;

/// The name server of a network.
pub(super) struct NameServer {
    zone: Zone,
    upstream: Upstream,
}

/// What becomes of a question at once.
pub(super) enum Step {
    /// It has its answer.
    Done(Answer),
    /// Others have to be asked.
    Forward,
}

impl NameServer {
    /// The name server of a network that asks others by `provider`'s sockets, or else the host's.
    pub(super) fn new(settings: &NetworkServices, dns: &Dns, provider: Option<Provider>) -> Self {
        let zone = Zone::new(settings, dns.domain.as_ref(), &dns.hosts);
        Self { zone, upstream: Upstream::new(&dns.upstream, provider) }
    }

    /// What can be answered without asking others.
    pub(super) fn step(&self, question: &Question, names: &Names, counters: &Counters) -> Step {
        let (name, kind) = (question.query.name(), question.query.query_type());
        let lower = name.to_lowercase().to_ascii();
        let text = lower.strip_suffix('.').unwrap_or(&lower);
        let local = self.zone.answer(names, name, text, kind).or_else(|| special::answer(name, text, kind));
        if let Some(answer) = local.or_else(|| everything(&question.query)) {
            counters.count(Event::DnsLocal);
            return Step::Done(answer);
        }
        if !question.may_recurse() {
            counters.count(Event::DnsRefused);
            return Step::Done(Answer::empty(ResponseCode::Refused));
        }
        match self.upstream.kept(&plain(&question.query), question.wants_proof()) {
            Some(answer) => {
                counters.count(Event::DnsCached);
                Step::Done(answer)
            }
            None => Step::Forward,
        }
    }

    /// The other servers' answer, or SERVFAIL.
    pub(super) async fn forward(&self, question: &Question, counters: &Counters) -> Answer {
        counters.count(Event::DnsForwarded);
        let answer = self.upstream.ask(&plain(&question.query), question.wants_proof()).await;
        answer.unwrap_or_else(|| {
            counters.count(Event::DnsFailed);
            Answer::empty(ResponseCode::ServFail)
        })
    }
}

/// The question in small letters: those of the guest stay here.
fn plain(query: &Query) -> Query {
    Query::query(query.name().to_lowercase(), query.query_type())
}

/// Nobody is asked for all that there is about a name (RFC 8482, 4.2).
fn everything(query: &Query) -> Option<Answer> {
    let data = || RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
    let record = || Record::from_rdata(query.name().clone(), ANY_TTL_S, data());
    (query.query_type() == RecordType::ANY)
        .then(|| Answer { answers: vec![record()], ..Answer::empty(ResponseCode::NoError) })
}
