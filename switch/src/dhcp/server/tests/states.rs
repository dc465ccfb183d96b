use super::*;
use crate::dhcp::ServerSettings;

#[test]
fn a_client_is_offered_an_address_gets_it_renews_it_and_gives_it_back() {
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    assert!((address(100)..=address(109)).contains(&first));
    assert_eq!(server.lender_mut().take_changed(), [first].into());
    let lease = server.lender().lease(first).unwrap();
    assert_eq!((lease.port, lease.mac, lease.until), (port(1), mac(1), at(3600)));
    assert_eq!(lease.client, ClientId::of_mac(mac(1)));

    assert_eq!(answer_to(&mut server, 1800, 1, &renewing(1, first)), Some(MessageType::Ack));
    assert_eq!(server.lender().lease(first).unwrap().until, at(5400));

    let release = Message { ciaddr: first, ..question(1, MessageType::Release) };
    assert_eq!(ask(&mut server, 2000, 1, &release), None);
    assert_eq!((server.lender().lease(first), count(&server, Event::Release)), (None, 1));
    assert_eq!(server.lender_mut().take_changed(), [first].into());
    assert_eq!(lent(&mut server, 9000, 1), Some(first), "nobody else needed it");
}

#[test]
fn a_lease_that_ends_is_its_clients_until_the_range_is_used_up() {
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    assert_eq!(server.lender().due(), Some(at(3600)));
    server.lender_mut().advance(at(3600));
    assert_eq!((server.lender().leases().count(), count(&server, Event::Expired)), (0, 1));
    for number in 20..29 {
        assert_ne!(lent(&mut server, 3700, number), Some(first));
    }
    assert_eq!(answer_to(&mut server, 3700, 1, &booting(1, first)), Some(MessageType::Ack));
    let release = Message { ciaddr: first, ..question(1, MessageType::Release) };
    ask(&mut server, 3701, 1, &release);
    assert_eq!(lent(&mut server, 3701, 30), Some(first));
    assert_eq!(offered(&mut server, 3702, 1), None);
    assert_eq!(count(&server, Event::NoAddress), 1);
}

#[test]
fn an_offer_holds_for_a_minute() {
    let mut server = server();
    let first = offered(&mut server, 0, 1).unwrap();
    assert_eq!(offered(&mut server, 30, 1), Some(first), "asked again, the same");
    assert_eq!(server.lender().leases().count(), 0);
    assert_eq!(answer_to(&mut server, 89, 1, &selecting(1, first)), Some(MessageType::Ack));
    let second = offered(&mut server, 100, 2).unwrap();
    assert_eq!(answer_to(&mut server, 160, 2, &selecting(2, second)), Some(MessageType::Nak));
    assert_eq!(
        (count(&server, Event::OfferExpired), server.lender_mut().take_changed()),
        (1, [first].into())
    );
}

#[test]
fn a_client_that_chose_another_server_lets_our_offer_go() {
    let mut server = server();
    let first = offered(&mut server, 0, 1).unwrap();
    let mut other = selecting(1, address(77));
    other.options.set(code::SERVER_IDENTIFIER, [10, 0, 0, 9]);
    assert_eq!(answer_to(&mut server, 1, 1, &other), None);
    assert_eq!(count(&server, Event::OtherServer), 1);
    assert!(server.lender.table.is_unused(first));
    // A lease does not end by that: its client says so itself.
    let lease = lent(&mut server, 2, 1).unwrap();
    assert_eq!(answer_to(&mut server, 3, 1, &other), None);
    assert!(server.lender().lease(lease).is_some());
}

#[test]
fn a_booting_client_is_refused_on_the_wrong_network_and_left_alone_if_it_is_unknown() {
    let mut server = server();
    assert_eq!(answer_to(&mut server, 0, 1, &booting(1, [192, 168, 0, 5].into())), Some(MessageType::Nak));
    assert_eq!(answer_to(&mut server, 0, 1, &booting(1, address(255))), Some(MessageType::Nak));
    // RFC 2131, 4.3.2: "if the DHCP server has no record of this client, then it MUST remain silent".
    assert_eq!(answer_to(&mut server, 0, 1, &booting(1, address(104))), None);
    assert_eq!(count(&server, Event::UnknownClient), 1);
    let first = lent(&mut server, 1, 1).unwrap();
    assert_eq!(answer_to(&mut server, 2, 1, &booting(1, first)), Some(MessageType::Ack));
    assert_eq!(answer_to(&mut server, 2, 1, &booting(1, address(50))), Some(MessageType::Nak));
    assert_eq!(server.lender().lease(first).unwrap().until, at(3602), "a refusal ends nothing");
}

#[test]
fn a_client_that_renews_what_was_forgotten_goes_on_unless_it_is_somebody_elses() {
    let mut server = server();
    assert_eq!(answer_to(&mut server, 0, 1, &renewing(1, address(104))), Some(MessageType::Ack));
    assert_eq!(answer_to(&mut server, 0, 2, &renewing(2, address(104))), Some(MessageType::Nak));
    assert_eq!(
        answer_to(&mut server, 0, 2, &renewing(2, address(10))),
        Some(MessageType::Nak),
        "a port's own"
    );
    assert_eq!(answer_to(&mut server, 0, 2, &renewing(2, [10, 9, 9, 9].into())), Some(MessageType::Nak));
    assert_eq!(
        answer_to(&mut server, 0, 2, &renewing(2, address(200))),
        None,
        "another server may have lent it"
    );
    assert_eq!(server.lender().lease(address(104)).unwrap().port, port(1));
}

/// RFC 2131, 4.3.2 and 4.4.5: after seven eighths of its lease, a client that heard nothing of its server asks all there are, from
/// its own address. The lease goes on as by a renewal; the answer is for the client alone, at the address that it has.
#[test]
fn rebind() {
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    let request = renewing(1, first);
    assert_eq!((request.options.get(code::SERVER_IDENTIFIER), request.ciaddr), (None, first));
    let frame = frame_to(&request, Ipv4Addr::BROADCAST);
    assert_eq!(frame[..6], MacAddress::BROADCAST.0);
    let answer = server.receive(at(3200), port(1), &frame, &mut |_| false).unwrap();
    let (envelope, payload) = open(&answer).unwrap();
    let answer = Message::decode(payload).unwrap();
    assert_eq!((answer.kind(), answer.yiaddr, answer.ciaddr), (Ok(MessageType::Ack), first, first));
    assert_eq!((envelope.destination, envelope.destination_mac), (first, mac(1)));
    assert_eq!(answer.options.get(code::LEASE_TIME), Some(&3600_u32.to_be_bytes()[..]));
    assert_eq!(server.lender().lease(first).unwrap().until, at(6800));
    // Whoever says so of an address that somebody else was lent is told no, by all ways, since he must not use it any more.
    let (envelope, answer) = ask(&mut server, 6300, 2, &renewing(2, first)).unwrap();
    assert_eq!((answer.kind(), answer.yiaddr), (Ok(MessageType::Nak), NONE));
    assert_eq!(
        (envelope.destination, envelope.destination_mac),
        (Ipv4Addr::BROADCAST, MacAddress::BROADCAST)
    );
    let lease = server.lender().lease(first).unwrap();
    assert_eq!((lease.port, lease.until), (port(1), at(6800)), "who has it keeps it");
}

#[test]
fn fields_that_fit_no_state_get_no_answer() {
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    let none = question(1, MessageType::Request);
    let selecting_with_address = Message { ciaddr: first, ..selecting(1, first) };
    let mut only_server = selecting(1, first);
    only_server.options.remove(code::REQUESTED_ADDRESS);
    for message in [none, selecting_with_address, only_server] {
        assert_eq!(answer_to(&mut server, 1, 1, &message), None);
    }
    assert_eq!(count(&server, Event::InvalidRequest), 3);
}

#[test]
fn an_address_that_is_declined_is_put_aside_for_ten_minutes() {
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    let mut decline = selecting(1, first);
    decline.options.set(code::MESSAGE_TYPE, [MessageType::Decline.number()]);
    assert_eq!(ask(&mut server, 1, 2, &decline), None);
    assert_eq!(
        (count(&server, Event::NotHeld), server.lender().lease(first).is_some()),
        (1, true),
        "not this port's"
    );
    assert_eq!(ask(&mut server, 1, 1, &decline), None);
    assert_eq!((count(&server, Event::Decline), server.lender().lease(first)), (1, None));
    assert_ne!(offered(&mut server, 2, 1), Some(first));
    server.lender_mut().advance(at(600));
    assert!(!server.lender.table.is_unused(first));
    server.lender_mut().advance(at(601));
    assert!(server.lender.table.is_unused(first));
}

#[test]
fn a_ports_own_address_is_its_own_whatever_happens() {
    let mut server = server();
    assert_eq!(lent(&mut server, 0, 7), Some(address(10)));
    // Another system on the same card, by another identifier.
    let mut discover = question(7, MessageType::Discover);
    discover.options.set(code::CLIENT_IDENTIFIER, [0, 1, 2, 3]);
    let (_, offer) = ask(&mut server, 1, 7, &discover).unwrap();
    assert_eq!(offer.yiaddr, address(10));
    assert_eq!(server.lender().leases().count(), 1, "the lease is there until the new system takes it");
    let mut request = selecting(7, address(10));
    request.options.set(code::CLIENT_IDENTIFIER, [0, 1, 2, 3]);
    assert_eq!(answer_to(&mut server, 1, 7, &request), Some(MessageType::Ack));
    assert_eq!(server.lender().lease(address(10)).unwrap().client.bytes(), [0, 1, 2, 3]);
    // A machine inside of the guest gets one of the range; nobody gets the port's.
    let mut inner = question(8, MessageType::Discover);
    inner.options.set(code::REQUESTED_ADDRESS, address(10).octets());
    let (_, offer) = ask(&mut server, 2, 7, &inner).unwrap();
    assert_ne!(offer.yiaddr, address(10));
    let mut same_name = question(8, MessageType::Discover);
    same_name.options.set(code::CLIENT_IDENTIFIER, [0, 1, 2, 3]);
    let (_, offer) = ask(&mut server, 2, 7, &same_name).unwrap();
    assert_ne!(offer.yiaddr, address(10));
    for stranger in [selecting(3, address(10)), booting(3, address(10)), renewing(3, address(10))] {
        assert_ne!(answer_to(&mut server, 3, 3, &stranger), Some(MessageType::Ack));
    }
    // Whoever takes its station's address elsewhere gets nothing by that.
    let (_, offer) = ask(&mut server, 4, 3, &question(7, MessageType::Discover)).unwrap();
    assert_ne!(offer.yiaddr, address(10));
    assert_eq!(answer_to(&mut server, 5, 7, &booting(7, address(104))), Some(MessageType::Nak));
}

#[test]
fn an_address_that_somebody_uses_is_not_offered() {
    let mut server = server();
    let mut asked = Vec::new();
    let (_, offer) = ask_knowing(&mut server, 0, 1, &question(1, MessageType::Discover), &mut |found| {
        asked.push(found);
        asked.len() < 3
    })
    .unwrap();
    assert_eq!((asked.len(), offer.yiaddr), (3, asked[2]));
    assert_eq!(count(&server, Event::Conflict), 2);
    let answer = ask_knowing(&mut server, 0, 2, &question(2, MessageType::Discover), &mut |_| true);
    assert_eq!((answer, count(&server, Event::NoAddress)), (None, 1));
    assert!(!server.lender_mut().report_conflict(at(1), offer.yiaddr), "it is lent");
    assert!(!server.lender_mut().report_conflict(at(1), address(10)), "it is a port's");
    let free = (100..110).map(address).find(|found| server.lender.table.is_unused(*found)).unwrap();
    assert!(server.lender_mut().report_conflict(at(1), free));
    assert_eq!(answer_to(&mut server, 1, 3, &renewing(3, free)), Some(MessageType::Nak));
}

#[test]
fn a_client_with_an_address_is_told_the_rest_and_given_no_lease() {
    let mut server = server();
    let inform = Message { ciaddr: address(50), ..question(1, MessageType::Inform) };
    let (envelope, answer) = ask(&mut server, 0, 1, &inform).unwrap();
    assert_eq!(answer.kind(), Ok(MessageType::Ack));
    assert_eq!((answer.yiaddr, answer.ciaddr, envelope.destination), (NONE, address(50), address(50)));
    assert_eq!(envelope.destination_mac, mac(1));
    for code in [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME] {
        assert_eq!(answer.options.get(code), None, "{code}");
    }
    assert_eq!(answer.options.addresses(code::ROUTERS), Ok(vec![SERVER]));
    assert_eq!(ask(&mut server, 0, 1, &question(1, MessageType::Inform)), None, "it has no address");
}

#[test]
fn leases_survive_new_settings_that_they_fit_and_come_back_after_a_restart() {
    let mut server = server();
    let (one, own) = (lent(&mut server, 0, 1).unwrap(), lent(&mut server, 0, 7).unwrap());
    let kept: Vec<Lease> = server.lender().leases().collect();
    let mut successor = Server::new(settings()).unwrap();
    for lease in &kept {
        assert!(successor.lender_mut().restore(at(10), lease.clone()));
        assert!(!successor.lender_mut().restore(at(10), lease.clone()), "only once");
    }
    assert_eq!(successor.lender().leases().collect::<Vec<_>>(), kept);
    assert_eq!(answer_to(&mut successor, 10, 1, &booting(1, one)), Some(MessageType::Ack));
    let mut late = Server::new(settings()).unwrap();
    assert!(!late.lender_mut().restore(at(3600), kept[0].clone()), "over");

    server.lender_mut().take_changed();
    let mut next = settings();
    next.fixed.get_mut(&port(7)).unwrap().address = address(11);
    server.reconfigure(next.clone(), &Some).unwrap();
    assert_eq!(
        (server.lender().lease(one).is_some(), server.lender_mut().take_changed()),
        (true, [own].into())
    );
    assert_eq!(answer_to(&mut server, 21, 7, &renewing(7, own)), Some(MessageType::Nak));
    assert_eq!(lent(&mut server, 22, 7), Some(address(11)));
    next.lease_s = 1;
    assert_eq!(server.reconfigure(next, &Some), Err(SettingsError::Lease(1)));
    server.lender_mut().remove_port(port(1));
    assert_eq!(server.lender().leases().map(|lease| lease.port).collect::<Vec<_>>(), [port(7)]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let wrong = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        settings.check().is_err()
    };
    assert_eq!(Settings { prefix: 31, ..settings() }.check(), Err(SettingsError::Prefix(31)));
    let (first, last) = (address(20), address(10));
    let backwards = Settings { range: Some((first, last)), ..settings() };
    assert_eq!(backwards.check(), Err(SettingsError::Range { first, last }));
    assert!(!wrong(&|_| {}));
    assert!(wrong(&|settings| settings.prefix = 31));
    assert!(wrong(&|settings| settings.prefix = 0));
    assert!(wrong(&|settings| settings.lease_s = 59));
    assert!(wrong(&|settings| settings.address = address(0)));
    assert!(wrong(&|settings| settings.address = address(255)));
    assert!(wrong(&|settings| settings.range = Some((address(20), address(10)))));
    assert!(wrong(&|settings| settings.range = Some((address(20), [10, 0, 1, 10].into()))));
    assert!(wrong(&|settings| settings.fixed.get_mut(&port(7)).unwrap().address = SERVER));
    assert!(wrong(&|settings| settings.fixed.get_mut(&port(7)).unwrap().address = [10, 1, 0, 1].into()));
    assert!(wrong(&|settings| settings.parameters.mtu = Some(67)));
    assert!(wrong(&|settings| settings.parameters.routers = vec![SERVER; 17]));
    assert!(wrong(&|settings| {
        settings.prefix = 8;
        settings.range = Some(([10, 0, 0, 2].into(), [10, 1, 0, 2].into()));
    }));
}
