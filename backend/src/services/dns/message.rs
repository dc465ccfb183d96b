//! Questions as guests send them, and answers as they get them (RFC 1035, 4).

use hickory_resolver::proto::op::{Edns, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Record, RecordType};

use super::super::counters::Event;

/// A message's header in bytes (RFC 1035, 4.1.1).
const HEADER: usize = 12;

/// The longest question that is read, in bytes; real ones have at most some hundred.
pub(in crate::services) const QUESTION_MAX: usize = 4096;

/// The longest answer in a datagram where a guest says nothing (RFC 1035, 2.3.4).
const PLAIN_MAX: usize = 512;

/// The longest in any datagram: what passes every network in one piece (RFC 9715, 3.2).
pub(in crate::services) const DATAGRAM_MAX: u16 = 1232;

/// A question that is to be answered.
#[derive(Clone, Debug)]
pub(in crate::services) struct Question {
    /// The header as it came.
    metadata: Metadata,
    /// What is asked, in the letters in which it came.
    pub(in crate::services) query: Query,
    edns: Option<Offer>,
}

/// What a guest's EDNS record says (RFC 6891, 6.1).
#[derive(Clone, Copy, Debug)]
struct Offer {
    size: u16,
    is_dnssec_ok: bool,
}

/// What an answer says.
#[derive(Clone, Debug)]
pub(in crate::services) struct Answer {
    pub(in crate::services) code: ResponseCode,
    /// Whether it is from the network's own names.
    pub(in crate::services) is_authoritative: bool,
    pub(in crate::services) answers: Vec<Record>,
    pub(in crate::services) authorities: Vec<Record>,
    pub(in crate::services) additionals: Vec<Record>,
}

impl Answer {
    /// An answer without records.
    pub(in crate::services) fn empty(code: ResponseCode) -> Self {
        let (answers, authorities, additionals) = Default::default();
        Self { code, is_authoritative: false, answers, authorities, additionals }
    }
}

/// What is to be done about a message.
#[derive(Debug)]
pub(in crate::services) enum Reading {
    /// Nothing: it gets no answer.
    Ignore,
    /// It gets this answer, whatever it asks.
    Reject(Event, Vec<u8>),
    /// It is answered.
    Ask(Box<Question>),
}

/// Reads what a guest sent. Answers get none, so that no two servers ever talk to one another for ever.
pub(in crate::services) fn read(bytes: &[u8]) -> Reading {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Reading::Ignore };
    if header[2] & 0x80 != 0 {
        return Reading::Ignore;
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    let op_code = OpCode::from_u8(header[2] >> 3 & 15);
    let reject = |event, code| {
        let mut message = Message::error_msg(id, op_code, code);
        message.metadata.recursion_desired = header[2] & 1 != 0;
        message.to_vec().map_or(Reading::Ignore, |bytes| Reading::Reject(event, bytes))
    };
    if op_code != OpCode::Query {
        return reject(Event::DnsRefused, ResponseCode::NotImp);
    }
    // One question (RFC 9619), nothing that only answers and updates have.
    if header[4..10] != [0, 1, 0, 0, 0, 0] || bytes.len() > QUESTION_MAX {
        return reject(Event::DnsFormatError, ResponseCode::FormErr);
    }
    let question = Message::from_vec(bytes).ok().and_then(Question::of);
    match question {
        Some(question) => match question.objection() {
            None => Reading::Ask(Box::new(question)),
            Some(code) => question
                .write(&Answer::empty(code), usize::MAX)
                .map_or(Reading::Ignore, |(bytes, _)| Reading::Reject(Event::DnsRefused, bytes)),
        },
        None => reject(Event::DnsFormatError, ResponseCode::FormErr),
    }
}

impl Question {
    fn of(message: Message) -> Option<Self> {
        let offer = |edns: &Edns| Offer { size: edns.max_payload(), is_dnssec_ok: edns.flags().dnssec_ok };
        let edns = message.edns.as_ref();
        let mut metadata = message.metadata;
        // Only version 0 is known (RFC 6891, 6.1.3).
        if edns.is_some_and(|edns| edns.version() != 0) {
            metadata.response_code = ResponseCode::BADVERS;
        }
        if message.signature.is_some() {
            // No keys are shared with guests (RFC 8945, 5.2.1).
            metadata.response_code = ResponseCode::NotAuth;
        }
        let edns = edns.map(offer);
        message.queries.into_iter().next().map(|query| Self { metadata, query, edns })
    }

    /// Why this kind of question is not answered.
    fn objection(&self) -> Option<ResponseCode> {
        let kind = u16::from(self.query.query_type());
        match self.metadata.response_code {
            ResponseCode::NoError => {}
            code => return Some(code),
        }
        if self.query.query_class() != DNSClass::IN {
            return Some(ResponseCode::Refused);
        }
        match self.query.query_type() {
            RecordType::AXFR | RecordType::IXFR => Some(ResponseCode::Refused),
            RecordType::ANY => None,
            // Types that only questions and messages have (RFC 6895, 3.1).
            _ if matches!(kind, 0 | 41 | 128..=255) => Some(ResponseCode::NotImp),
            _ => None,
        }
    }

    /// Whether others may be asked for the answer.
    pub(in crate::services) fn may_recurse(&self) -> bool {
        self.metadata.recursion_desired
    }

    /// The number by which the guest knows its question.
    pub(in crate::services) fn id(&self) -> u16 {
        self.metadata.id
    }

    /// Whether the guest wants what proves an answer (RFC 3225).
    pub(in crate::services) fn wants_proof(&self) -> bool {
        self.edns.is_some_and(|edns| edns.is_dnssec_ok)
    }

    /// How long an answer in a datagram may be where packets carry `room` bytes of payload.
    pub(in crate::services) fn datagram_max(&self, room: usize) -> usize {
        let size = self.edns.map_or(PLAIN_MAX, |edns| usize::from(edns.size.min(DATAGRAM_MAX)));
        size.max(PLAIN_MAX).min(room)
    }

    /// The answer's bytes, and whether it had to be truncated (RFC 2181, 9).
    pub(in crate::services) fn write(&self, answer: &Answer, max: usize) -> Option<(Vec<u8>, bool)> {
        let mut message = Message::response(self.metadata.id, OpCode::Query);
        message.metadata.recursion_desired = self.metadata.recursion_desired;
        message.metadata.checking_disabled = self.metadata.checking_disabled;
        message.metadata.recursion_available = true;
        message.metadata.authoritative = answer.is_authoritative;
        message.metadata.response_code = answer.code;
        message.add_query(self.query.clone());
        message.edns = self.edns.map(Offer::reply);
        let short = message.clone();
        message.answers.clone_from(&answer.answers);
        let of_question = |record: &&mut Record| record.name == *self.query.name();
        for record in message.answers.iter_mut().filter(of_question) {
            record.name = self.query.name().clone();
        }
        message.authorities.clone_from(&answer.authorities);
        message.additionals.clone_from(&answer.additionals);
        let whole = message.to_vec().ok().filter(|bytes| bytes.len() <= max.min(usize::from(u16::MAX)));
        if let Some(bytes) = whole {
            return Some((bytes, false));
        }
        short.truncate().to_vec().ok().map(|bytes| (bytes, true))
    }
}

impl Offer {
    fn reply(self) -> Edns {
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM_MAX).set_dnssec_ok(self.is_dnssec_ok);
        edns
    }
}
