use super::*;

/// A guest that invents a client.
fn invented(server: &mut Server, now: u32, number: usize, client: u32) -> Option<Ipv4Addr> {
    let mut discover = question(number, MessageType::Discover);
    discover.options.set(code::CLIENT_IDENTIFIER, [&[0], client.to_be_bytes().as_slice()].concat());
    let (_, offer) = ask(server, now, number, &discover)?;
    let mut request = selecting(number, offer.yiaddr);
    request.options.set(code::CLIENT_IDENTIFIER, [&[0], client.to_be_bytes().as_slice()].concat());
    let (_, ack) = ask(server, now, number, &request)?;
    Some(ack.yiaddr)
}

#[test]
fn a_guest_that_invents_clients_takes_no_more_than_its_share() {
    let mut server = server();
    let got = (0..2000).filter_map(|client| invented(&mut server, 0, 1, client)).count();
    // Of ten, one is kept for each of the other three ports, and as many as it has for whoever comes.
    assert_eq!((got, count(&server, Event::ShareExceeded)), (4, 1996));
    for number in [2, 3, 4] {
        assert!(lent(&mut server, 1, number).is_some(), "port {number}");
    }
    assert_eq!(server.lender.table.iter().count(), 7);
}

#[test]
fn many_guests_that_invent_clients_leave_one_for_everybody() {
    let mut settings = settings();
    settings.range = Some((address(100), address(199)));
    settings.ports = 60;
    let mut server = Server::new(settings).unwrap();
    for client in 0..50 {
        for number in 10..40 {
            invented(&mut server, 0, number, client);
        }
    }
    for number in 40..70 {
        assert!(lent(&mut server, 1, number).is_some(), "port {number}");
    }
}

#[test]
fn who_declines_everything_spoils_his_own_share_alone() {
    let mut server = server();
    for now in 0..50 {
        let Some(first) = offered(&mut server, now, 1) else { continue };
        let mut decline = selecting(1, first);
        decline.options.set(code::MESSAGE_TYPE, [MessageType::Decline.number()]);
        ask(&mut server, now, 1, &decline);
    }
    assert_eq!(count(&server, Event::Decline), 4);
    assert!((2..5).all(|number| lent(&mut server, 60, number).is_some()));
}

#[test]
fn a_port_that_could_use_none_of_the_range_is_offered_nothing() {
    let mut settings = settings();
    settings.held_ports.insert(port(1));
    let mut server = Server::new(settings).unwrap();
    assert_eq!((offered(&mut server, 0, 1), count(&server, Event::HeldToOthers)), (None, 1));
    assert_eq!(answer_to(&mut server, 0, 1, &booting(1, address(100))), None);
    assert!(lent(&mut server, 0, 2).is_some());
}

#[test]
fn a_port_behind_which_many_stations_are_may_hold_all_but_what_is_kept() {
    let mut settings = settings();
    settings.wide_ports.insert(port(1));
    let mut server = Server::new(settings).unwrap();
    let got = (0..20).filter_map(|client| invented(&mut server, 0, 1, client)).count();
    assert_eq!((got, count(&server, Event::NoAddress)), (7, 13));
}

#[test]
fn where_all_is_taken_an_offer_of_who_holds_most_gives_way_to_who_holds_none() {
    let mut settings = settings();
    settings.ports = 0;
    let mut server = Server::new(settings).unwrap();
    let invented_offers = (0..9_u8).filter_map(|client| {
        let mut discover = question(1, MessageType::Discover);
        discover.options.set(code::CLIENT_IDENTIFIER, [0, client]);
        ask(&mut server, 0, 1, &discover)
    });
    assert_eq!(invented_offers.count(), 5);
    let others: Vec<_> = (20..25).map(|number| offered(&mut server, 1, number).unwrap()).collect();
    for number in 30..34 {
        assert!(lent(&mut server, 2, number).is_some());
    }
    assert_eq!(count(&server, Event::Displaced), 4);
    // Who has but one keeps it, offer or lease.
    assert_eq!((offered(&mut server, 3, 40), count(&server, Event::NoAddress)), (None, 1));
    for (number, offer) in (20..25).zip(&others) {
        assert_eq!(answer_to(&mut server, 4, number, &selecting(number, *offer)), Some(MessageType::Ack));
    }
}

#[test]
fn the_same_client_at_two_ports_is_two_clients() {
    let mut server = server();
    let first = invented(&mut server, 0, 1, 5).unwrap();
    let second = invented(&mut server, 0, 2, 5).unwrap();
    assert_ne!(first, second);
    let release = Message { ciaddr: first, ..question(1, MessageType::Release) };
    ask(&mut server, 1, 2, &release);
    assert_eq!((server.lender().leases().count(), count(&server, Event::NotHeld)), (2, 1));
}

#[test]
fn a_thousand_clients_come_renew_and_go() {
    let settings = Settings {
        prefix: 16,
        range: Some(([10, 0, 1, 0].into(), [10, 0, 5, 255].into())),
        ports: 1000,
        ..settings()
    };
    let mut server = Server::new(settings).unwrap();
    let first: Vec<_> = (1000..2000).map(|number| lent(&mut server, 0, number).unwrap()).collect();
    let distinct: BTreeSet<_> = first.iter().collect();
    assert_eq!((distinct.len(), server.lender().leases().count()), (1000, 1000));
    for (number, own) in (1000..2000).zip(&first) {
        let renewed = answer_to(&mut server, 1800, number, &renewing(number, *own));
        assert_eq!(renewed, Some(MessageType::Ack));
    }
    server.lender_mut().advance(at(5399));
    assert_eq!(server.lender().leases().count(), 1000);
    server.lender_mut().advance(at(5400));
    assert_eq!((server.lender().leases().count(), server.lender().due()), (0, None));
    let again: Vec<_> = (1000..2000).map(|number| lent(&mut server, 6000, number).unwrap()).collect();
    assert_eq!(again, first);
}
