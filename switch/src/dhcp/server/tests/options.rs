use super::super::super::routes::{self, Route};
use super::*;

fn parameters() -> Parameters {
    Parameters {
        routers: vec![SERVER],
        dns_servers: vec![SERVER, [9, 9, 9, 9].into()],
        domain: Some("home.lan".parse().unwrap()),
        search: vec!["home.lan".parse().unwrap(), "lan".parse().unwrap()],
        ntp_servers: vec![address(5)],
        mtu: Some(1450),
        routes: vec![Route { destination: [10, 9, 0, 0].into(), prefix: 16, router: address(9) }],
        boot: Some(Boot {
            next_server: address(6),
            server_name: "boot.home.lan".into(),
            file: "pxelinux.0".into(),
        }),
    }
}

fn offer(number: usize, change: &dyn Fn(&mut Message)) -> (Envelope, Message) {
    let mut server = Server::new(Settings { parameters: parameters(), ..settings() }).unwrap();
    let mut discover = question(number, MessageType::Discover);
    change(&mut discover);
    ask(&mut server, 0, number, &discover).unwrap()
}

fn want(codes: &[u8]) -> impl Fn(&mut Message) {
    move |message| message.options.set(code::PARAMETER_REQUEST, codes)
}

#[test]
fn a_client_is_told_what_it_asks_for_in_its_order_behind_what_every_answer_has() {
    let wanted = [42, 121, 3, 6, 26, 119, 15, 12, 66, 67, 1, 82, 255, 0, 250];
    let (_, answer) = offer(7, &want(&wanted));
    let codes: Vec<u8> = answer.options.iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [53, 54, 51, 58, 59, 1, 42, 121, 3, 6, 26, 119, 15, 12, 66, 67]);
    let options = &answer.options;
    assert_eq!(options.address(54), Ok(Some(SERVER)));
    assert_eq!(
        (options.u32(51), options.u32(58), options.u32(59)),
        (Ok(Some(3600)), Ok(Some(1800)), Ok(Some(3150)))
    );
    assert_eq!(options.address(1), Ok(Some([255, 255, 255, 0].into())));
    assert_eq!(options.addresses(42), Ok(vec![address(5)]));
    assert_eq!(options.addresses(6).unwrap().len(), 2);
    assert_eq!(options.u16(26), Ok(Some(1450)));
    assert_eq!((options.text(15), options.text(12)), (Some("home.lan"), Some("web")));
    assert_eq!((options.text(66), options.text(67)), (Some("boot.home.lan"), Some("pxelinux.0")));
    assert_eq!(options.get(119), Some(b"\x04home\x03lan\0\xc0\x05".as_slice()));
    let routes = routes::decode(options.get(121).unwrap()).unwrap();
    assert_eq!(routes.len(), 2, "the default route is among them");
    assert_eq!((routes[1].prefix, routes[1].router), (0, SERVER));
}

#[test]
fn a_client_that_boots_is_told_from_where_in_the_fields() {
    let (_, answer) = offer(1, &want(&[]));
    assert_eq!(answer.siaddr, address(6));
    assert_eq!((answer.server_name.as_str(), answer.boot_file.as_str()), ("boot.home.lan", "pxelinux.0"));
}

#[test]
fn a_client_that_asks_for_nothing_is_told_the_usual() {
    let (_, answer) = offer(1, &|_| {});
    let codes: Vec<u8> = answer.options.iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [53, 54, 51, 58, 59, 1, 3, 6, 15]);
}

#[test]
fn the_clients_identifier_goes_back_and_a_relays_information_does_not() {
    let mut server = server();
    let mut discover = question(1, MessageType::Discover);
    discover.options.set(code::CLIENT_IDENTIFIER, [255, 1, 2, 3, 4]);
    discover.options.set(code::RELAY_INFORMATION, [1, 2, 0, 0]);
    let (_, answer) = ask(&mut server, 0, 1, &discover).unwrap();
    assert_eq!(answer.options.get(code::CLIENT_IDENTIFIER), Some([255, 1, 2, 3, 4].as_slice()));
    assert_eq!(answer.options.get(code::RELAY_INFORMATION), None);
    assert_eq!(count(&server, Event::RelayInformation), 1);
    // RFC 6842, 3: in a refusal, too.
    let mut request = booting(1, [1, 2, 3, 4].into());
    request.options.set(code::CLIENT_IDENTIFIER, [255, 1, 2, 3, 4]);
    let (envelope, nak) = ask(&mut server, 0, 1, &request).unwrap();
    let codes: Vec<u8> = nak.options.iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [53, 54, 56, 61]);
    assert_eq!((nak.yiaddr, nak.ciaddr, nak.siaddr), (NONE, NONE, NONE));
    assert_eq!(envelope.destination, Ipv4Addr::BROADCAST);
}

#[test]
fn an_answer_goes_to_the_station_or_to_all_if_it_takes_nothing_else_yet() {
    let (envelope, answer) = offer(1, &|_| {});
    assert_eq!((envelope.destination_mac, envelope.destination), (mac(1), answer.yiaddr));
    assert_eq!((envelope.source_mac, envelope.source), (SERVER_MAC, SERVER));
    assert_eq!((envelope.source_port, envelope.destination_port), (67, 68));
    assert_eq!((answer.xid, answer.chaddr, answer.operation), (0xabcd, mac(1), Operation::Reply));
    let (envelope, answer) = offer(1, &|message| message.broadcast = true);
    assert_eq!(
        (envelope.destination_mac, envelope.destination),
        (MacAddress::BROADCAST, Ipv4Addr::BROADCAST)
    );
    assert!(answer.broadcast);
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    let renewing = Message { broadcast: true, ..renewing(1, first) };
    let (envelope, answer) = ask(&mut server, 1, 1, &renewing).unwrap();
    assert_eq!((envelope.destination_mac, envelope.destination), (mac(1), first));
    assert_eq!((answer.ciaddr, answer.yiaddr), (first, first));
}

#[test]
fn a_lease_is_as_long_as_the_client_wants_within_what_is_allowed() {
    let lease_s = |wanted: u32| {
        let (_, answer) = offer(1, &|message| message.options.set(code::LEASE_TIME, wanted.to_be_bytes()));
        answer.options.u32(code::LEASE_TIME).unwrap().unwrap()
    };
    assert_eq!([lease_s(600), lease_s(0), lease_s(7200), lease_s(u32::MAX)], [600, 60, 3600, 3600]);
}

#[test]
fn an_answer_is_no_longer_than_the_client_and_the_network_take() {
    let mut parameters = parameters();
    parameters.search = (0..16)
        .map(|number| format!("a-long-name-of-a-domain-{number}.example{number}").parse().unwrap())
        .collect();
    parameters.boot = None;
    let mut server = Server::new(Settings { parameters, ..settings() }).unwrap();
    let mut length = |maximum: Option<u16>| {
        let mut discover = question(1, MessageType::Discover);
        discover.options.set(code::PARAMETER_REQUEST, [119, 3, 6, 15]);
        if let Some(maximum) = maximum {
            discover.options.set(code::MAXIMUM_SIZE, maximum.to_be_bytes());
        }
        let frame = server.receive(at(0), port(1), &frame_to(&discover, Ipv4Addr::BROADCAST), &mut |_| false);
        frame.unwrap().len() - 14
    };
    assert!(length(None) <= 576);
    assert!(length(Some(100)) <= 576);
    let whole = length(Some(1500));
    assert!((577..=1450).contains(&whole), "{whole}");
    assert_eq!(length(Some(u16::MAX)), whole);
    assert_eq!(count(&server, Event::OptionLeftOut), 2, "the list of domains, in the two short ones");
}
