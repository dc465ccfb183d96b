use super::*;
use crate::dhcp::ServerSettings;

#[test]
fn a_client_is_offered_an_address_gets_it_goes_on_and_gives_it_back() {
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    assert!((address(0x100)..=address(0x109)).contains(&first));
    assert_eq!(server.lender_mut().take_changed(), [first].into());
    let lease = server.lender().lease(first).unwrap();
    assert_eq!((lease.port, lease.mac, lease.until), (port(1), mac(1), at(3600)));
    for (now, kind) in [(1000, MessageType::Renew), (2000, MessageType::Rebind)] {
        let answer = ask(&mut server, now, 1, &question(1, kind, &[first])).unwrap();
        assert_eq!(granted(&answer), [(first, 3600)]);
        assert_eq!(server.lender().lease(first).unwrap().until, at(now + 3600));
        // T1 and T2 of RFC 8415, 21.4: half and four fifths of the shortest preferred lifetime.
        let value = answer.options.get(code::IA_NA).unwrap();
        assert_eq!(&value[4..12], [1125_u32.to_be_bytes(), 1800_u32.to_be_bytes()].concat());
    }
    let answer = ask(&mut server, 3000, 1, &question(1, MessageType::Release, &[first])).unwrap();
    assert_eq!((status_in(&answer.options), answer.options.get(code::IA_NA)), (Some(status::SUCCESS), None));
    assert_eq!((server.lender().lease(first), count(&server, Event::Release)), (None, 1));
    let again = ask(&mut server, 3001, 1, &question(1, MessageType::Release, &[first])).unwrap();
    assert_eq!(status_of(&again, code::IA_NA), Some(status::NO_BINDING));
    assert_eq!(lent(&mut server, 9000, 1), Some(first), "nobody else needed it");
}

#[test]
fn a_rapid_commit_lends_at_once() {
    let mut server = server();
    let mut solicit = question(1, MessageType::Solicit, NONE);
    solicit.options.put(code::RAPID_COMMIT, []);
    let answer = ask(&mut server, 0, 1, &solicit).unwrap();
    assert_eq!((answer.kind, answer.options.get(code::RAPID_COMMIT)), (MessageType::Reply, Some(&[][..])));
    let (first, _) = granted(&answer)[0];
    assert!(server.lender().lease(first).is_some());
}

#[test]
fn a_ports_own_address_is_had_by_its_station_alone() {
    let mut server = server();
    assert_eq!(lent(&mut server, 0, 7), Some(address(0x10)));
    let answer = ask(&mut server, 1, 7, &question(7, MessageType::Renew, &[address(0x100)])).unwrap();
    assert_eq!(granted(&answer), [(address(0x10), 3600), (address(0x100), 0)]);
    assert_eq!(lent(&mut server, 2, 1).map(|found| found >= address(0x100)), Some(true));
}

#[test]
fn a_port_that_could_use_none_of_the_range_is_told_that_there_is_none() {
    let mut server = server();
    let before = lent(&mut server, 0, 1).unwrap();
    let held = Settings { held_ports: [port(1), port(7)].into(), ..settings() };
    server.reconfigure(held, &Some).unwrap();
    assert_eq!(server.lender().lease(before), None);
    for kind in [MessageType::Solicit, MessageType::Renew] {
        let answer = ask(&mut server, 1, 1, &question(1, kind, &[before])).unwrap();
        let told = if kind == MessageType::Solicit { status::NO_ADDRESS } else { status::NO_BINDING };
        assert_eq!((granted(&answer), status_of(&answer, code::IA_NA)), (vec![], Some(told)));
    }
    assert_eq!(count(&server, Event::HeldToOthers), 1);
    // What is its own it gets, and others all that is there.
    assert_eq!(lent(&mut server, 2, 7), Some(address(0x10)));
    assert!(lent(&mut server, 2, 2).is_some());
}

#[test]
fn temporary_addresses_and_prefixes_are_not_lent() {
    let mut server = server();
    for (kind, name, prefix) in [
        (MessageType::Solicit, status::NO_ADDRESS, status::NO_PREFIX),
        (MessageType::Request, status::NO_ADDRESS, status::NO_PREFIX),
        (MessageType::Renew, status::NO_BINDING, status::NO_BINDING),
    ] {
        let mut message = question(1, kind, NONE);
        message.options.put(code::IA_TA, [0, 0, 0, 2]);
        message.options.put(code::IA_PD, [0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
        let answer = ask(&mut server, 0, 1, &message).unwrap();
        assert_eq!(status_of(&answer, code::IA_TA), Some(name), "{kind:?}");
        assert_eq!(status_of(&answer, code::IA_PD), Some(prefix), "{kind:?}");
    }
    assert_eq!(count(&server, Event::NotLent), 4);
}

#[test]
fn an_address_of_elsewhere_is_refused_and_one_that_is_not_the_clients_ends() {
    let mut server = server();
    let elsewhere: Ipv6Addr = "fd00:9::5".parse().unwrap();
    let answer = ask(&mut server, 0, 1, &question(1, MessageType::Request, &[elsewhere])).unwrap();
    assert_eq!(status_of(&answer, code::IA_NA), Some(status::NOT_ON_LINK));
    // RFC 8415, 18.3.4 and 18.3.5: lifetimes of 0.
    for kind in [MessageType::Renew, MessageType::Rebind] {
        let answer = ask(&mut server, 0, 1, &question(1, kind, &[elsewhere])).unwrap();
        assert_eq!(granted(&answer), [(elsewhere, 0)]);
    }
    for (asked, expected) in [
        (&[address(0x100), address(5)][..], Some(status::SUCCESS)),
        (&[address(0x100), elsewhere][..], Some(status::NOT_ON_LINK)),
        (NONE, None),
    ] {
        let answer = ask(&mut server, 0, 1, &question(1, MessageType::Confirm, asked));
        assert_eq!(answer.and_then(|answer| status_in(&answer.options)), expected);
    }
}

#[test]
fn a_client_survives_that_leases_were_lost_but_takes_nobodys() {
    let mut server = server();
    let (wanted, others) = (address(0x103), lent(&mut server, 0, 2).unwrap());
    let answer = ask(&mut server, 0, 1, &question(1, MessageType::Renew, &[wanted])).unwrap();
    assert_eq!(granted(&answer), [(wanted, 3600)]);
    // Another client says it has an address that is lent to the first.
    for kind in [MessageType::Renew, MessageType::Rebind] {
        let answer = ask(&mut server, 0, 3, &question(3, kind, &[others])).unwrap();
        assert_eq!(status_of(&answer, code::IA_NA), Some(status::NO_BINDING));
    }
    // One that is not ours to lend may be another server's.
    let foreign = question(3, MessageType::Rebind, &[address(0x50)]);
    assert_eq!((ask(&mut server, 0, 3, &foreign), count(&server, Event::UnknownClient)), (None, 1));
    let renewal = ask(&mut server, 0, 3, &question(3, MessageType::Renew, &[address(0x50)])).unwrap();
    assert_eq!(status_of(&renewal, code::IA_NA), Some(status::NO_BINDING));
}

#[test]
fn nobody_ends_what_is_lent_at_another_port_whatever_he_says_he_is() {
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    for kind in [MessageType::Release, MessageType::Decline] {
        // The first one's identifiers, by another port.
        let answer = ask(&mut server, 1, 2, &question(1, kind, &[first])).unwrap();
        assert_eq!(status_of(&answer, code::IA_NA), Some(status::NO_BINDING));
    }
    assert!(server.lender().lease(first).is_some());
    assert_eq!(count(&server, Event::NotHeld), 2);
}

#[test]
fn a_declined_address_is_put_aside() {
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    let answer = ask(&mut server, 1, 1, &question(1, MessageType::Decline, &[first])).unwrap();
    assert_eq!(status_in(&answer.options), Some(status::SUCCESS));
    let second = lent(&mut server, 2, 1).unwrap();
    assert_ne!(second, first);
    assert_eq!((count(&server, Event::Decline), server.lender().lease(first)), (1, None));
}

#[test]
fn each_port_has_its_share_and_who_comes_late_still_gets_one() {
    let mut server = server();
    let mut held = 0;
    for number in 0..20_u8 {
        let mut solicit = question(1, MessageType::Solicit, NONE);
        solicit.options = Options::new();
        solicit.options.put(code::CLIENT_ID, [0, 3, 0, 1, number]);
        solicit.options.put(code::IA_NA, association(NONE));
        solicit.options.put(code::RAPID_COMMIT, []);
        held += granted(&ask(&mut server, 0, 1, &solicit).unwrap()).len();
    }
    assert!((2..10).contains(&held), "{held}");
    assert!(count(&server, Event::ShareExceeded) > 0);
    assert!(lent(&mut server, 0, 2).is_some() && lent(&mut server, 0, 3).is_some());
}

#[test]
fn clients_are_told_what_they_ask_for() {
    let mut server = server();
    let mut inform = question(1, MessageType::InformationRequest, NONE);
    let codes: Vec<u8> =
        [23_u16, 24, 32, 39, 56, 59, 99].iter().flat_map(|code| code.to_be_bytes()).collect();
    inform.options.put(code::OPTION_REQUEST, codes.clone());
    inform.options.put(code::CLIENT_NAME, b"\0\x05Guest".to_vec());
    let answer = ask(&mut server, 0, 1, &inform).unwrap();
    let get = |code| answer.options.get(code).unwrap().to_vec();
    assert_eq!(get(code::DNS_SERVERS), address(1).octets());
    assert_eq!(get(code::DOMAIN_SEARCH), b"\x04home\x03lan\0");
    assert_eq!(get(code::NTP_SERVER), [&[0, 1, 0, 16][..], &address(5).octets()].concat());
    assert_eq!(get(code::BOOT_FILE), b"http://[fd00:2::6]/boot.efi");
    assert_eq!(get(code::REFRESH_TIME), 86_400_u32.to_be_bytes());
    assert_eq!(
        get(code::CLIENT_NAME),
        b"\x03\x05guest\x04home\x03lan\0",
        "named, though it did not ask for that"
    );
    assert_eq!(answer.options.iter().count(), 8);
    // Who asks for nothing is told nothing.
    let silent = ask(&mut server, 0, 1, &question(1, MessageType::InformationRequest, NONE)).unwrap();
    assert_eq!(silent.options.iter().count(), 2);
    let mut solicit = question(1, MessageType::Solicit, NONE);
    solicit.options.put(code::OPTION_REQUEST, codes);
    solicit.options.put(code::CLIENT_NAME, b"\x01\x05guest\x04home\x03lan\0".to_vec());
    let offer = ask(&mut server, 0, 1, &solicit).unwrap();
    assert_eq!(offer.options.get(code::CLIENT_NAME).unwrap()[0], 1);
    assert_eq!(offer.options.get(code::REFRESH_TIME), None);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let wrong = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        settings.check().is_err()
    };
    assert!(!wrong(&|_| {}));
    assert!(wrong(&|settings| settings.address = address(1)));
    assert!(wrong(&|settings| settings.lease_s = 59));
    assert!(wrong(&|settings| settings.range = Some((address(9), address(8)))));
    assert!(wrong(&|settings| settings.range = Some((address(0), "fd00:2::1:0".parse().unwrap()))));
    assert!(wrong(&|settings| settings.prefixes.clear()));
    assert!(wrong(&|settings| settings.parameters.dns_servers = vec![address(1); 17]));
    assert!(wrong(&|settings| settings.parameters.boot_url = Some("a".repeat(256))));
    let twice = settings().fixed[&port(7)].clone();
    assert!(wrong(&|settings| drop(settings.fixed.insert(port(8), twice.clone()))));
    let mut server = server();
    let first = lent(&mut server, 0, 1).unwrap();
    let renumber = |found: PortIndex| (found == port(1)).then(|| port(2));
    server.reconfigure(settings(), &renumber).unwrap();
    assert_eq!(server.lender().lease(first).unwrap().port, port(2));
}
