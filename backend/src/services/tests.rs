//! Tests of the running services: questions in packets, name servers on the loopback interface.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use viaduct_switch::ids::{NetworkIndex, PortIndex};
use viaduct_switch::packet::datagram::Datagram;

use super::*;

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(30);

fn network() -> NetworkIndex {
    NetworkIndex::new(1).unwrap()
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn settings(upstream: &[SocketAddr]) -> NetworkServices {
    NetworkServices {
        network: network(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        subnets: vec!["10.0.0.0/24".parse().unwrap()],
        mtu: 1500,
        metadata: None,
        name: "home".to_owned(),
        ports: Vec::new(),
        dns: Some(Dns {
            domain: Some("home.lan".parse().unwrap()),
            upstream: upstream.to_vec(),
            uplink: None,
            hosts: vec![("web1".parse().unwrap(), "10.0.0.9".parse().unwrap())],
        }),
    }
}

/// Services of one network, and what they send.
struct Bench {
    services: Services,
    sent: Receiver<Vec<u8>>,
}

impl Bench {
    fn new(upstream: &[SocketAddr]) -> Self {
        let (sender, sent) = channel();
        let services = Services::start(move |_, packet| sender.send(packet).is_ok()).unwrap();
        services.handle().configure(vec![settings(upstream)]);
        Self { services, sent }
    }

    fn send(&self, from: usize, source: &str, payload: &[u8]) -> Taking {
        let (source, destination) = (source.parse().unwrap(), "10.0.0.1:53".parse().unwrap());
        let packet = Datagram { source, destination, payload }.seal().unwrap();
        self.services.handle().packet(port(from), network(), packet)
    }

    fn ask(&self, from: usize, id: u16, name: &str) {
        let taken = self.send(from, "10.0.0.9:5000", &question(id, name));
        assert_eq!(taken, Taking::Taken);
    }

    fn answer(&self) -> Message {
        let packet = self.sent.recv_timeout(PATIENCE).expect("no answer came");
        Message::from_vec(Datagram::open(&packet).unwrap().payload).unwrap()
    }

    fn count(&self, event: Event) -> u64 {
        self.services.handle().counters()[event as usize].1
    }
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

/// A name server in a thread, which ends with the test's process: `reply` makes of a question what it sends back.
fn name_server(reply: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let Ok(message) = Message::from_vec(&buffer[..length]) else { return };
            for bytes in reply(&message) {
                let _ = socket.send_to(&bytes, from);
            }
        }
    });
    address
}

fn response(question: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(question.id, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(question.queries[0].clone());
    message
}

fn addressed(question: &Message, address: [u8; 4]) -> Vec<u8> {
    let mut message = response(question, ResponseCode::NoError);
    let data = RData::A(A(address.into()));
    message.add_answer(Record::from_rdata(question.queries[0].name().clone(), 60, data));
    message.to_vec().unwrap()
}

#[test]
fn names_are_answered_here_and_other_questions_elsewhere_once() {
    let server = name_server(|question| vec![addressed(question, [192, 0, 2, 1])]);
    let bench = Bench::new(&[server]);
    bench.ask(1, 1, "web1.home.lan.");
    assert_eq!(bench.answer().answers[0].data.to_string(), "10.0.0.9");
    for id in 2..5 {
        bench.ask(1, id, "WWW.example.net.");
        let answer = bench.answer();
        assert_eq!((answer.id, answer.response_code), (id, ResponseCode::NoError));
        assert_eq!(answer.answers[0].to_string().split_whitespace().next(), Some("WWW.example.net."));
    }
    assert_eq!((bench.count(Event::DnsForwarded), bench.count(Event::DnsCached)), (1, 2));
}

#[test]
fn a_server_that_fails_is_passed_over_and_so_is_one_that_is_silent() {
    let failing = name_server(|question| vec![response(question, ResponseCode::Refused).to_vec().unwrap()]);
    let silent = name_server(|_| Vec::new());
    let good = name_server(|question| vec![addressed(question, [192, 0, 2, 7])]);
    let bench = Bench::new(&[failing, silent, good]);
    bench.ask(1, 1, "a.example.net.");
    assert_eq!(bench.answer().answers[0].data.to_string(), "192.0.2.7");
    bench.services.handle().configure(vec![settings(&[failing])]);
    bench.ask(1, 2, "b.example.net.");
    assert_eq!(bench.answer().response_code, ResponseCode::ServFail);
    assert_eq!(bench.count(Event::DnsFailed), 1);
}

#[test]
fn a_liar_is_not_believed() {
    // Wrong numbers, another question, and letters that were not asked for.
    let server = name_server(|question| {
        let honest = addressed(question, [192, 0, 2, 1]);
        let mut other_id = honest.clone();
        other_id[0] ^= 1;
        let mut other = question.clone();
        other.queries[0].set_name(Name::from_ascii("evil.example.net.").unwrap());
        vec![other_id, addressed(&other, [6, 6, 6, 6]), honest]
    });
    let bench = Bench::new(&[server]);
    bench.ask(1, 1, "www.example.net.");
    assert_eq!(bench.answer().answers[0].data.to_string(), "192.0.2.1");
}

#[test]
fn what_does_not_exist_is_kept_for_as_long_as_the_zone_says() {
    let server = name_server(|question| {
        let mut message = response(question, ResponseCode::NXDomain);
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let soa = SOA::new(name("ns.example.net."), name("root.example.net."), 1, 60, 60, 60, 30);
        message.add_authority(Record::from_rdata(name("example.net."), 600, RData::SOA(soa)));
        vec![message.to_vec().unwrap()]
    });
    let bench = Bench::new(&[server]);
    for id in 0..3 {
        bench.ask(1, id, "none.example.net.");
        let answer = bench.answer();
        assert_eq!((answer.response_code, answer.authorities.len()), (ResponseCode::NXDomain, 1));
    }
    assert_eq!((bench.count(Event::DnsForwarded), bench.count(Event::DnsCached)), (1, 2));
}

#[test]
fn who_floods_questions_that_nobody_answers_leaves_room_for_another() {
    let server = name_server(|question| {
        let is_silent = question.queries[0].name().to_lowercase().to_ascii().starts_with("flood");
        if is_silent { Vec::new() } else { vec![addressed(question, [192, 0, 2, 1])] }
    });
    let bench = Bench::new(&[server]);
    for id in 0..2000 {
        let taken = bench.send(1, "10.0.0.8:4000", &question(id, &format!("flood{id}.example.net.")));
        assert!(taken != Taking::NotServed);
    }
    for id in 0..20 {
        bench.ask(2, id, &format!("good{id}.example.net."));
        let answer = loop {
            let answer = bench.answer();
            if answer.response_code == ResponseCode::NoError {
                break answer;
            }
        };
        assert_eq!(answer.id, id);
    }
}

#[test]
fn a_thousand_questions_at_once_all_get_their_answers() {
    let server = name_server(|question| vec![addressed(question, [192, 0, 2, 1])]);
    let bench = Bench::new(&[server]);
    for id in 0..1000_u16 {
        while bench.send(usize::from(id % 50), "10.0.0.9:5000", &question(id, &format!("n{id}.example.net.")))
            == Taking::NoRoom
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let mut ids: Vec<_> =
        (0..1000).map(|_| bench.answer()).map(|answer| (answer.id, answer.answers.len())).collect();
    ids.sort_unstable();
    assert!(ids.iter().enumerate().all(|(index, answer)| (usize::from(answer.0), answer.1) == (index, 1)));
}

#[test]
fn strangers_answers_and_other_ports_get_nothing() {
    let bench = Bench::new(&["127.0.0.1:9".parse().unwrap()]);
    assert_eq!(bench.send(1, "192.0.2.9:5000", &question(1, "web1.home.lan.")), Taking::Taken);
    let mut answer = question(2, "web1.home.lan.");
    answer[2] |= 0x80;
    assert_eq!(bench.send(1, "10.0.0.9:5000", &answer), Taking::Taken);
    bench.ask(1, 3, "web1.home.lan.");
    assert_eq!(bench.answer().id, 3, "and nothing before");
    assert_eq!((bench.count(Event::Stranger), bench.count(Event::DnsIgnored)), (1, 1));
    let (source, destination) = ("10.0.0.9:5000".parse().unwrap(), "10.0.0.1:54".parse().unwrap());
    let packet = Datagram { source, destination, payload: &[] }.seal().unwrap();
    let handle = bench.services.handle();
    assert_eq!(handle.packet(port(1), network(), packet.clone()), Taking::NotServed);
    assert_eq!(handle.packet(port(1), NetworkIndex::new(7).unwrap(), packet), Taking::NotServed);
    handle.configure(Vec::new());
    assert_eq!(bench.send(1, "10.0.0.9:5000", &question(1, "web1.home.lan.")), Taking::NotServed);
}

#[test]
fn a_question_that_comes_again_is_asked_once() {
    // It answers when all have asked.
    let (all_asked, wait) = channel::<()>();
    let server = name_server(move |question| {
        let _ = wait.recv_timeout(PATIENCE);
        vec![addressed(question, [192, 0, 2, 1])]
    });
    let bench = Bench::new(&[server]);
    for _ in 0..5 {
        bench.ask(1, 7, "slow.example.net.");
    }
    let deadline = Instant::now() + PATIENCE;
    while bench.count(Event::DnsRepeated) < 4 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    all_asked.send(()).unwrap();
    assert_eq!(bench.answer().id, 7);
    assert_eq!((bench.count(Event::DnsForwarded), bench.count(Event::DnsRepeated)), (1, 4));
}
