//! Tests of reading questions, and of the network's own and special names.

use std::net::IpAddr;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RecordType};
use proptest::prelude::*;
use viaduct_switch::ids::{NetworkIndex, PortIndex};

use super::super::counters::Counters;
use super::super::names::Names;
use super::super::settings::{Dns, NetworkServices};
use super::*;

fn network() -> NetworkIndex {
    NetworkIndex::new(3).unwrap()
}

fn settings() -> NetworkServices {
    let host = |name: &str, address: &str| (name.parse().unwrap(), address.parse().unwrap());
    NetworkServices {
        network: network(),
        addresses: ["10.0.0.1", "fd00::1", "fe80::1"].map(|text| text.parse().unwrap()).to_vec(),
        subnets: ["10.0.0.0/20", "fd00::/64"].map(|text| text.parse().unwrap()).to_vec(),
        mtu: 1500,
        metadata: None,
        name: "home".to_owned(),
        ports: Vec::new(),
        dns: Some(Dns {
            domain: Some("home.lan".parse().unwrap()),
            upstream: vec!["127.0.0.1:1".parse().unwrap()],
            uplink: None,
            hosts: vec![
                host("printer", "10.0.0.7"),
                host("nas.example.net", "10.0.9.9"),
                host("printer", "fd00::7"),
            ],
        }),
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// What becomes of a message; a question's answer as its sender reads it, `None` if others have to be asked.
fn ask(names: &Names, message: &Message) -> Option<Message> {
    let settings = settings();
    let server = NameServer::new(&settings, settings.dns.as_ref().unwrap(), None);
    let bytes = match read(&message.to_vec().unwrap()) {
        Reading::Ignore => panic!("ignored"),
        Reading::Reject(_, bytes) => bytes,
        Reading::Ask(question) => match server.step(&question, names, &Counters::default()) {
            Step::Done(answer) => question.write(&answer, question.datagram_max(1472)).unwrap().0,
            Step::Forward => return None,
        },
    };
    Some(Message::from_vec(&bytes).unwrap())
}

fn answers(names: &Names, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let message = ask(names, &question(name, kind)).unwrap_or_else(|| panic!("{name} is forwarded"));
    (message.response_code, message.answers.iter().map(|record| record.data.to_string()).collect())
}

fn leased() -> Names {
    let (names, port) = (Names::default(), PortIndex::new(1).unwrap());
    for address in ["10.0.3.9", "fd00::9"] {
        assert!(names.give(network(), port, &"web1".parse().unwrap(), address.parse().unwrap(), false));
    }
    names
}

#[test]
fn guests_and_hosts_have_names_forward_and_reverse() {
    let names = leased();
    let found = |name: &str, kind| match answers(&names, name, kind) {
        (ResponseCode::NoError, answers) => answers,
        (code, _) => panic!("{name}: {code}"),
    };
    assert_eq!(found("web1.home.lan.", RecordType::A), ["10.0.3.9"]);
    assert_eq!(found("WEB1.Home.LAN.", RecordType::AAAA), ["fd00::9"]);
    assert_eq!(found("web1.", RecordType::A), ["10.0.3.9"]);
    assert_eq!(found("printer.home.lan.", RecordType::A), ["10.0.0.7"]);
    assert_eq!(found("nas.example.net.", RecordType::A), ["10.0.9.9"]);
    assert_eq!(found("gateway.home.lan.", RecordType::A), ["10.0.0.1"]);
    assert_eq!(
        found("gateway.home.lan.", RecordType::AAAA),
        ["fd00::1"],
        "link-local addresses are not told"
    );
    assert_eq!(found("9.3.0.10.in-addr.arpa.", RecordType::PTR), ["web1.home.lan."]);
    assert_eq!(found("9.9.0.10.in-addr.arpa.", RecordType::PTR), ["nas.example.net."]);
    let reverse = Name::from("fd00::7".parse::<IpAddr>().unwrap()).to_ascii();
    assert_eq!(found(&reverse, RecordType::PTR), ["printer.home.lan."]);
    assert_eq!(found("home.lan.", RecordType::NS), ["gateway.home.lan."]);
    assert_eq!(found("home.lan.", RecordType::SOA).len(), 1);
    assert_eq!(found("web1.home.lan.", RecordType::MX), [""; 0]);
    assert_eq!(found("web1.home.lan.", RecordType::ANY), ["RFC8482 "]);
}

#[test]
fn what_the_network_has_not_is_denied_with_its_soa_and_never_asked_for() {
    let names = leased();
    let cases = [
        ("web2.home.lan.", RecordType::A, ResponseCode::NXDomain, "home.lan."),
        ("a.web1.home.lan.", RecordType::A, ResponseCode::NXDomain, "home.lan."),
        ("home.lan.", RecordType::A, ResponseCode::NoError, "home.lan."),
        ("_dns.web1.home.lan.", RecordType::SRV, ResponseCode::NXDomain, "home.lan."),
        ("8.3.0.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain, "3.0.10.in-addr.arpa."),
        ("3.0.10.in-addr.arpa.", RecordType::NS, ResponseCode::NoError, "3.0.10.in-addr.arpa."),
        ("9.3.0.10.in-addr.arpa.", RecordType::A, ResponseCode::NoError, "3.0.10.in-addr.arpa."),
    ];
    for (name, kind, code, apex) in cases {
        let message = ask(&names, &question(name, kind)).unwrap();
        assert_eq!((message.response_code, message.answers.len()), (code, 0), "{name}");
        assert!(message.authoritative && message.recursion_available && !message.authentic_data, "{name}");
        let [soa] = &message.authorities[..] else { panic!("{name}: {:?}", message.authorities) };
        assert_eq!((soa.record_type(), soa.name.to_ascii()), (RecordType::SOA, apex.to_owned()), "{name}");
    }
    // Others' names, and reverse zones around the subnet, are others'.
    for name in ["example.net.", "lan.", "0.10.in-addr.arpa.", "1.16.0.10.in-addr.arpa.", "home.lan.example."]
    {
        assert!(ask(&names, &question(name, RecordType::PTR)).is_none(), "{name}");
    }
}

#[test]
fn special_names_are_answered_without_asking() {
    let names = Names::default();
    let ok = |text: &str| (ResponseCode::NoError, vec![text.to_owned()]);
    assert_eq!(answers(&names, "localhost.", RecordType::A), ok("127.0.0.1"));
    assert_eq!(answers(&names, "a.localhost.", RecordType::AAAA), ok("::1"));
    assert_eq!(answers(&names, "localhost.", RecordType::MX), (ResponseCode::NoError, vec![]));
    assert_eq!(answers(&names, "1.0.0.127.in-addr.arpa.", RecordType::PTR), ok("localhost."));
    assert_eq!(answers(&names, "example.net.", RecordType::ANY), ok("RFC8482 "));
    for name in [
        "invalid.",
        "a.b.test.",
        "x.local.",
        "x.onion.",
        "x.alt.",
        "x.home.arpa.",
        "_dns.resolver.arpa.",
        "wpad.",
    ] {
        assert_eq!(answers(&names, name, RecordType::A), (ResponseCode::NXDomain, vec![]), "{name}");
    }
    // Not those that merely end alike, and not what is asked about top-level domains.
    assert!(ask(&names, &question("notlocal.", RecordType::NS)).is_none());
    assert!(ask(&names, &question("notinvalid.example.", RecordType::A)).is_none());
    assert!(ask(&names, &question("com.", RecordType::DS)).is_none());
}

#[test]
fn kinds_of_questions_that_are_not_answered_are_told_so() {
    let names = Names::default();
    let code = |change: &dyn Fn(&mut Message)| {
        let mut message = question("example.net.", RecordType::A);
        change(&mut message);
        ask(&names, &message).map(|answer| answer.response_code)
    };
    assert_eq!(code(&|_| {}), None);
    assert_eq!(code(&|message| message.metadata.op_code = OpCode::Status), Some(ResponseCode::NotImp));
    assert_eq!(code(&|message| message.metadata.op_code = OpCode::Notify), Some(ResponseCode::NotImp));
    assert_eq!(code(&|message| message.metadata.recursion_desired = false), Some(ResponseCode::Refused));
    assert_eq!(code(&|message| message.queries.clear()), Some(ResponseCode::FormErr));
    assert_eq!(
        code(&|message| message.queries.push(message.queries[0].clone())),
        Some(ResponseCode::FormErr)
    );
    let class = |message: &mut Message| {
        message.queries[0].set_query_class(DNSClass::CH);
    };
    assert_eq!(code(&class), Some(ResponseCode::Refused));
    for (kind, expected) in [
        (252, ResponseCode::Refused),
        (251, ResponseCode::Refused),
        (249, ResponseCode::NotImp),
        (41, ResponseCode::NotImp),
    ] {
        let set = |message: &mut Message| {
            message.queries[0].set_query_type(RecordType::from(kind));
        };
        assert_eq!(code(&set), Some(expected), "{kind}");
    }
    let version = |message: &mut Message| {
        let mut edns = Edns::new();
        edns.set_version(1);
        message.set_edns(edns);
    };
    // 16 is BADSIG where there is a signature (RFC 6895, 2.3).
    assert_eq!(code(&version).map(u16::from), Some(16));
}

#[test]
fn an_answer_is_as_long_as_its_asker_and_its_path_take() {
    let sized = |size: Option<u16>| {
        let mut message = question("example.net.", RecordType::A);
        message.edns = size.map(|size| Edns::new().set_max_payload(size).clone());
        let Reading::Ask(question) = read(&message.to_vec().unwrap()) else { panic!("not read") };
        question.datagram_max(1252)
    };
    assert_eq!([None, Some(0), Some(700), Some(4096)].map(sized), [512, 512, 700, 1232]);
    let Reading::Ask(question) = read(&question("eXample.net.", RecordType::TXT).to_vec().unwrap()) else {
        panic!()
    };
    let text = |index: u8| {
        let data = hickory_resolver::proto::rr::rdata::TXT::new(vec![format!("{index}").repeat(80)]);
        Record::from_rdata(question.query.name().clone(), 60, RData::TXT(data))
    };
    let mut answer = Answer::empty(ResponseCode::NoError);
    answer.answers = (0..9).map(text).collect();
    let (bytes, is_truncated) = question.write(&answer, 512).unwrap();
    let message = Message::from_vec(&bytes).unwrap();
    assert!(is_truncated && message.truncation && message.answers.is_empty() && bytes.len() <= 512);
    assert_eq!(message.queries[0].name().to_ascii(), "eXample.net.", "the letters are the asker's");
    let (bytes, is_truncated) = question.write(&answer, usize::MAX).unwrap();
    assert!(!is_truncated && Message::from_vec(&bytes).unwrap().answers.len() == 9);
}

proptest! {
    #[test]
    fn no_message_whatever_its_bytes_panics_and_no_answer_is_answered(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        cut in 0..300_usize,
        changes in proptest::collection::vec((0..80_usize, any::<u8>()), 0..4),
        is_random: bool,
    ) {
        if !is_random {
            let mut message = question("www.example.net.", RecordType::A);
            message.set_edns(Edns::new());
            bytes = message.to_vec().unwrap();
            let length = bytes.len();
            changes.iter().for_each(|(at, byte)| bytes[at % length] ^= byte);
            bytes.truncate(cut);
        }
        let is_answer = bytes.get(2).is_some_and(|flags| flags & 0x80 != 0);
        match read(&bytes) {
            Reading::Ignore => prop_assert!(bytes.len() < 12 || is_answer),
            Reading::Reject(_, reply) => {
                prop_assert!(!is_answer && reply[2] & 0x80 != 0 && reply[..2] == bytes[..2]);
                prop_assert!(matches!(read(&reply), Reading::Ignore));
            }
            Reading::Ask(question) => {
                prop_assert!(!is_answer);
                let settings = settings();
                let server = NameServer::new(&settings, settings.dns.as_ref().unwrap(), None);
                if let Step::Done(answer) = server.step(&question, &leased(), &Counters::default()) {
                    let (reply, _) = question.write(&answer, 512).unwrap();
                    prop_assert!(reply.len() <= 512 && reply[2] & 0x80 != 0);
                }
            }
        }
    }
}
