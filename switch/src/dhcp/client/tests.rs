use super::super::datagram::{Envelope, open, seal};
use super::super::options::code;
use super::super::server::{Parameters, Server, Settings};
use super::*;
use crate::dhcp::{Message, MessageType, Operation};
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 1]);
const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn settings() -> ClientSettings {
    ClientSettings { mac: MAC, client_id: None, host_name: Some("host1".parse().unwrap()) }
}

fn server() -> Server {
    Server::new(Settings {
        address: SERVER,
        mac: SERVER_MAC,
        prefix: 24,
        range: Some((Ipv4Addr::new(10, 0, 0, 100), Ipv4Addr::new(10, 0, 0, 199))),
        lease_s: 3600,
        ports: 0,
        wide_ports: BTreeSet::new(),
        held_ports: [].into(),
        fixed: BTreeMap::new(),
        parameters: Parameters {
            routers: vec![SERVER],
            dns_servers: vec![SERVER],
            domain: Some("home.lan".parse().unwrap()),
            search: vec!["home.lan".parse().unwrap()],
            mtu: Some(1450),
            ..Parameters::default()
        },
    })
    .unwrap()
}

/// When something was sent, what, and where to.
type Sent = (u64, MessageType, Ipv4Addr);

/// Makes something of a good answer.
type Change = dyn Fn(&mut Message, &mut Envelope);

/// A client and a server on one link, in simulated time. What is to be lost is asked of `loses`.
struct Link {
    now: Nanos,
    client: Client,
    server: Server,
    is_server_there: bool,
    in_use: BTreeSet<Ipv4Addr>,
    events: Vec<(u64, ClientEvent)>,
    sent: Vec<Sent>,
}

impl Link {
    fn new(kept: Option<Lease>) -> Self {
        Self {
            now: Nanos(0),
            client: Client::new(settings(), kept, 7),
            server: server(),
            is_server_there: true,
            in_use: BTreeSet::new(),
            events: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn up() -> Self {
        let mut link = Self::new(None);
        link.client.link_up(Nanos(0));
        link
    }

    fn second(&self) -> u64 {
        self.now.0 / SECOND_NS
    }

    /// Lets everything happen until `second`.
    fn run(&mut self, second: u64, loses: &mut dyn FnMut() -> bool) {
        let end = Nanos(second * SECOND_NS);
        loop {
            self.exchange(loses);
            match self.client.due() {
                Some(due) if due <= end => self.now = self.now.max(due),
                _ => break,
            }
            self.client.advance(self.now);
        }
        self.now = end;
        self.server.lender_mut().advance(end);
    }

    fn exchange(&mut self, loses: &mut dyn FnMut() -> bool) {
        loop {
            let Some(message) = self.client.next_message() else {
                let Some(event) = self.client.next_event() else { return };
                self.note(event);
                continue;
            };
            let kind = Message::decode(&message.payload).unwrap().kind().unwrap();
            self.sent.push((self.second(), kind, message.destination));
            let is_all = message.destination == Ipv4Addr::BROADCAST;
            let frame = message.frame(MAC, if is_all { MacAddress::BROADCAST } else { SERVER_MAC });
            if loses() || !self.is_server_there {
                continue;
            }
            let port = PortIndex::new(1).unwrap();
            let answer = self.server.receive(self.now, port, &frame, &mut |_| false);
            if let Some(answer) = answer.filter(|_| !loses()) {
                self.client.receive(self.now, &answer);
            }
        }
    }

    fn note(&mut self, event: ClientEvent) {
        if let ClientEvent::Probe(address) = event {
            self.client.probed(self.now, self.in_use.contains(&address));
        }
        self.events.push((self.second(), event));
    }

    fn address(&self) -> Option<Ipv4Addr> {
        self.client.lease().map(|lease| lease.address)
    }
}

fn never() -> bool {
    false
}

#[test]
fn an_address_comes_with_all_that_belongs_to_it_after_a_probe() {
    let mut link = Link::up();
    link.run(2, &mut never);
    let lease = link.client.lease().unwrap().clone();
    assert_eq!(link.client.state(), ClientState::Bound);
    assert_eq!((lease.prefix, lease.server, lease.mtu), (24, SERVER, Some(1450)));
    assert_eq!((lease.routes.len(), lease.routes[0].router, lease.routes[0].prefix), (1, SERVER, 0));
    assert_eq!((lease.dns_servers.len(), lease.search.len(), lease.domain.is_some()), (1, 1, true));
    assert!(matches!(
        &link.events[..],
        [(_, ClientEvent::Probe(probed)), (_, ClientEvent::Configured(configured))]
            if *probed == lease.address && *configured == lease
    ));
    let lent = link.server.lender().lease(lease.address).unwrap();
    assert_eq!(lent.host_name.unwrap().as_str(), "host1");
}

#[test]
fn it_renews_at_half_of_the_lease_and_asks_all_when_its_server_is_gone() {
    let mut link = Link::up();
    link.run(1801, &mut never);
    let first = link.address();
    let (_, kind, destination) = *link.sent.last().unwrap();
    assert_eq!((link.sent.len(), kind, destination), (3, MessageType::Request, SERVER));
    link.is_server_there = false;
    link.sent.clear();
    // Renewed at about 1800 s: T1 is 3600, T2 4950, the end 5400.
    link.run(5402, &mut never);
    let (renewing, rebinding): (Vec<_>, Vec<_>) =
        link.sent.iter().filter(|(second, ..)| *second < 5400).partition(|(.., to)| *to == SERVER);
    let come_at = |sent: &[&Sent], expected: &[u64]| {
        let is_near = |(sent, wanted): (&&Sent, &u64)| sent.0.abs_diff(*wanted) <= 1;
        sent.len() == expected.len() && sent.iter().zip(expected).all(is_near)
    };
    // Each time half of what is left, a minute at least.
    assert!(come_at(&renewing, &[3600, 4275, 4612, 4781, 4865, 4925]), "{renewing:?}");
    assert!(come_at(&rebinding, &[4950, 5175, 5287, 5347]), "{rebinding:?}");
    assert!(link.events.contains(&(5400, ClientEvent::Lost(first.unwrap()))));
    assert_eq!((link.client.state(), link.client.counters().expired), (ClientState::Selecting, 1));
    link.is_server_there = true;
    link.run(5480, &mut never);
    assert_eq!(link.address(), first);
}

#[test]
fn a_lease_that_is_due_when_its_probe_ends_is_renewed_a_second_later() {
    let mut link = Link::up();
    link.run(2, &mut never);
    let lease = link.client.lease().unwrap().clone();
    let probed = lease.renew_at + Nanos::from_seconds(3);
    link.client.configure(probed, lease);
    assert_eq!(link.client.due(), Some(probed + Nanos::from_seconds(1)));
}

#[test]
fn servers_are_looked_for_ever_less_often() {
    let mut link = Link::up();
    link.is_server_there = false;
    link.run(400, &mut never);
    let seconds: Vec<u64> = link.sent.iter().map(|(second, ..)| *second).collect();
    for (gap, wanted) in seconds.windows(2).map(|pair| pair[1] - pair[0]).zip([4, 8, 16, 32, 64, 64, 64]) {
        assert!(gap.abs_diff(wanted) <= 2, "{seconds:?}");
    }
    assert!(link.sent.iter().all(|(_, kind, _)| *kind == MessageType::Discover));
    assert!(seconds.len() > 7, "{seconds:?}");
}

#[test]
fn an_address_in_use_is_declined_and_another_one_asked_for() {
    let mut link = Link::up();
    link.in_use.extend((100..=109).map(|last| Ipv4Addr::new(10, 0, 0, last)));
    let unlucky = |link: &Link| link.client.counters().declined;
    while link.address().is_none() && link.now < Nanos::from_seconds(600) {
        link.run(link.second() + 5, &mut never);
    }
    let address = link.address().unwrap();
    assert!(!link.in_use.contains(&address));
    assert_eq!(link.server.lender().counters().get(crate::dhcp::Event::Decline), unlucky(&link));
    // Somebody takes it later.
    link.client.conflict(link.now);
    link.run(link.second() + 30, &mut never);
    assert!(link.events.iter().any(|(_, event)| *event == ClientEvent::Lost(address)));
    assert!(link.address().is_some_and(|next| next != address));
}

#[test]
fn a_lease_of_before_is_asked_for_and_used_where_nobody_answers() {
    let mut link = Link::up();
    link.run(10, &mut never);
    let kept = link.client.lease().unwrap().clone();
    // The same server: it is confirmed by one message.
    let mut next = Link::new(Some(kept.clone()));
    std::mem::swap(&mut next.server, &mut link.server);
    next.client.link_up(Nanos::from_seconds(20));
    next.run(21, &mut never);
    assert_eq!((next.address(), next.sent.len()), (Some(kept.address), 1));
    assert_eq!(next.client.lease().unwrap().until, Nanos::from_seconds(3620));
    // A server that knows nothing is silent; it offers the same address then.
    let mut forgotten = Link::new(Some(kept.clone()));
    forgotten.client.link_up(Nanos::from_seconds(20));
    forgotten.run(60, &mut never);
    assert_eq!(forgotten.address(), Some(kept.address));
    // Nobody at all.
    let mut alone = Link::new(Some(kept.clone()));
    alone.is_server_there = false;
    alone.client.link_up(Nanos::from_seconds(20));
    alone.run(120, &mut never);
    assert_eq!((alone.address(), alone.client.state()), (Some(kept.address), ClientState::Bound));
    alone.run(4000, &mut never);
    assert_eq!(alone.address(), None, "it does not outlast its lease");
}

#[test]
fn a_lease_of_before_that_is_resumed_counts_at_once_until_somebody_refuses_it() {
    let mut link = Link::up();
    link.run(10, &mut never);
    let kept = link.client.lease().unwrap().clone();
    let mut next = Link::new(Some(kept.clone()));
    std::mem::swap(&mut next.server, &mut link.server);
    next.client.resume(Nanos::from_seconds(20));
    assert_eq!(next.address(), Some(kept.address), "before anybody is asked");
    next.client.link_up(Nanos::from_seconds(20));
    next.run(20, &mut never);
    let told = |link: &Link| link.events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>();
    let confirmed = next.client.lease().unwrap().clone();
    assert_eq!(told(&next), [ClientEvent::Configured(kept.clone()), ClientEvent::Configured(confirmed)]);
    // Refused, it goes.
    let mut moved = next.server.settings().clone();
    moved.address = Ipv4Addr::new(10, 0, 1, 1);
    moved.range = Some((Ipv4Addr::new(10, 0, 1, 100), Ipv4Addr::new(10, 0, 1, 199)));
    let mut away = Link::new(Some(kept.clone()));
    away.server = Server::new(moved).unwrap();
    away.client.resume(Nanos::from_seconds(20));
    away.client.link_up(Nanos::from_seconds(20));
    away.run(60, &mut never);
    assert_eq!(told(&away)[..2], [ClientEvent::Configured(kept.clone()), ClientEvent::Lost(kept.address)]);
    assert_eq!(away.address().map(|address| address.octets()[2]), Some(1));
    // One that has ended is not.
    let mut late = Link::new(Some(kept.clone()));
    late.client.resume(kept.until);
    assert_eq!((late.address(), told(&late)), (None, vec![]));
}

#[test]
fn a_refused_lease_is_lost_at_once() {
    let mut link = Link::up();
    link.run(10, &mut never);
    let first = link.address().unwrap();
    let mut moved = link.server.settings().clone();
    moved.address = Ipv4Addr::new(10, 0, 1, 1);
    moved.range = Some((Ipv4Addr::new(10, 0, 1, 100), Ipv4Addr::new(10, 0, 1, 199)));
    link.server = Server::new(moved).unwrap();
    link.client.link_down();
    assert_eq!(link.address(), Some(first), "the link may come back");
    link.client.link_up(Nanos::from_seconds(10));
    link.run(30, &mut never);
    assert!(link.events.iter().any(|(_, event)| *event == ClientEvent::Lost(first)));
    assert_eq!(link.address().map(|address| address.octets()[2]), Some(1));
}

#[test]
fn an_address_that_is_needed_no_more_is_given_back() {
    let mut link = Link::up();
    link.run(10, &mut never);
    let first = link.address().unwrap();
    link.client.release(link.now);
    link.run(11, &mut never);
    assert_eq!((link.server.lender().lease(first), link.address()), (None, None));
    assert_eq!(link.client.due(), None);
}

/// An answer of the server, changed, to a client that is asking.
fn forged(change: &Change) -> Client {
    let mut client = Client::new(settings(), None, 3);
    client.link_up(Nanos(0));
    client.advance(Nanos(2 * SECOND_NS));
    let discover = client.next_message().unwrap().frame(MAC, MacAddress::BROADCAST);
    let offer = server().receive(Nanos(0), PortIndex::new(1).unwrap(), &discover, &mut |_| false).unwrap();
    let (mut envelope, payload) = open(&offer).unwrap();
    let mut message = Message::decode(payload).unwrap();
    change(&mut message, &mut envelope);
    client.receive(Nanos(2 * SECOND_NS), &seal(&envelope, &message.encode(1500).0));
    client
}

#[test]
fn an_answer_to_somebody_else_or_without_what_it_must_have_is_not_believed() {
    assert_eq!(forged(&|_, _| {}).state(), ClientState::Requesting);
    let ignored: [&Change; 7] = [
        &|message, _| message.xid ^= 1,
        &|message, _| message.chaddr = SERVER_MAC,
        &|message, _| message.operation = Operation::Request,
        &|message, _| message.options.set(code::CLIENT_IDENTIFIER, [0, 1, 2]),
        &|message, _| message.options.set(code::MESSAGE_TYPE, [5]),
        &|_, envelope| envelope.source_port = 1067,
        &|_, envelope| envelope.destination_mac = SERVER_MAC,
    ];
    for change in ignored {
        let client = forged(change);
        assert_eq!((client.state(), client.counters().ignored), (ClientState::Selecting, 1));
    }
    let malformed: [&Change; 9] = [
        &|message, _| message.options.remove(code::SERVER_IDENTIFIER),
        &|message, _| message.options.remove(code::LEASE_TIME),
        &|message, _| message.options.set(code::LEASE_TIME, [0; 4]),
        &|message, _| message.options.remove(code::SUBNET_MASK),
        &|message, _| message.options.set(code::SUBNET_MASK, [255, 0, 255, 0]),
        &|message, _| message.options.set(code::SUBNET_MASK, [255, 0, 0]),
        &|message, _| message.yiaddr = Ipv4Addr::UNSPECIFIED,
        &|message, _| message.yiaddr = Ipv4Addr::new(127, 0, 0, 1),
        &|message, _| message.yiaddr = Ipv4Addr::new(224, 0, 0, 1),
    ];
    for change in malformed {
        let client = forged(change);
        assert_eq!((client.state(), client.counters().malformed), (ClientState::Selecting, 1));
    }
}

#[test]
fn a_refusal_counts_only_from_the_server_that_was_asked() {
    let nak = |server: [u8; 4]| {
        let mut client = forged(&|_, _| {});
        let request = client.next_message().unwrap();
        let question = Message::decode(&request.payload).unwrap();
        let mut nak = Message::new(Operation::Reply, question.xid, MAC);
        nak.options.set(code::MESSAGE_TYPE, [6]);
        nak.options.set(code::SERVER_IDENTIFIER, server);
        let envelope = Envelope {
            source_mac: SERVER_MAC,
            destination_mac: MacAddress::BROADCAST,
            source: server.into(),
            destination: Ipv4Addr::BROADCAST,
            source_port: 67,
            destination_port: 68,
        };
        client.receive(Nanos(3 * SECOND_NS), &seal(&envelope, &nak.encode(576).0));
        client.state()
    };
    assert_eq!(nak([10, 0, 0, 9]), ClientState::Requesting);
    assert_eq!(nak(SERVER.octets()), ClientState::Waiting);
}

#[test]
fn routes_to_prefixes_exclude_the_routers_and_small_mtus_are_not_believed() {
    let offer = |change: &dyn Fn(&mut Message)| {
        let mut message = Message::new(Operation::Reply, 1, MAC);
        message.yiaddr = Ipv4Addr::new(10, 0, 0, 100);
        message.options.set(code::SERVER_IDENTIFIER, SERVER.octets());
        message.options.set(code::SUBNET_MASK, [255, 255, 255, 0]);
        message.options.set(code::LEASE_TIME, 3600_u32.to_be_bytes());
        message.options.set(code::ROUTERS, SERVER.octets());
        change(&mut message);
        Lease::of(&message, Nanos(0)).unwrap()
    };
    let classless = offer(&|message| message.options.set(code::CLASSLESS_ROUTES, [8, 10, 10, 0, 0, 2]));
    assert_eq!((classless.routes.len(), classless.routes[0].prefix), (1, 8));
    let broken = offer(&|message| message.options.set(code::CLASSLESS_ROUTES, [8, 10, 10]));
    assert_eq!((broken.routes.len(), broken.routes[0].prefix), (1, 0));
    assert_eq!(offer(&|message| message.options.set(code::INTERFACE_MTU, [2, 63])).mtu, None);
    assert_eq!(offer(&|message| message.options.set(code::INTERFACE_MTU, [2, 64])).mtu, Some(576));
    let at = |lease: &Lease| (lease.renew_at.seconds(), lease.rebind_at.seconds(), lease.until.seconds());
    assert_eq!(at(&classless), (1800, 3150, 3600));
    let told = |renew_s: u32, rebind_s: u32| {
        at(&offer(&|message| {
            message.options.set(code::RENEWAL_TIME, renew_s.to_be_bytes());
            message.options.set(code::REBINDING_TIME, rebind_s.to_be_bytes());
        }))
    };
    assert_eq!(told(600, 1200), (600, 1200, 3600));
    assert_eq!(told(5000, 4000), (1800, 3150, 3600));
    assert_eq!(told(3000, 1000), (1000, 1000, 3600));
}

proptest! {
    #[test]
    fn over_a_lossy_link_an_address_comes_and_stays(losses in proptest::collection::vec(0..100_u8, 400), rate in 0..10_u8) {
        let mut link = Link::up();
        let mut position = 0;
        let mut loses = || {
            position += 1;
            losses[position % losses.len()] < rate
        };
        link.run(600, &mut loses);
        let address = link.address();
        prop_assert!(address.is_some(), "{:?}", link.sent);
        for second in (600..40_000).step_by(100) {
            link.run(second, &mut loses);
            prop_assert_eq!(link.address(), address);
            prop_assert_eq!(link.server.lender().leases().count(), 1);
        }
    }

    #[test]
    fn any_frame_whatever_changes_no_more_than_counters(frames in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..400), 1..20)) {
        let mut link = Link::up();
        link.run(10, &mut never);
        let lease = link.client.lease().cloned();
        for frame in frames {
            link.client.receive(link.now, &frame);
            prop_assert_eq!(link.client.lease(), lease.as_ref());
        }
    }
}
