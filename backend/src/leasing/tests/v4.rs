use std::fs;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_lease_survives_that_the_process_is_killed_and_goes_on() {
    let mut lab = Lab::new();
    let address = lab.lent(10, 1).unwrap();
    assert_eq!(lab.held(), [(address.to_string(), "vm1".to_owned())]);
    lab.restart(1000);
    let lease = &lab.leasing.leases()[0];
    assert_eq!(
        (lease.address, lease.state, lease.until_s),
        (address.into(), LeaseState::Bound, UNIX_S + 3610)
    );
    assert_eq!((lease.until, lease.mac), (at(2610), Some(mac(1))));
    assert_eq!(lease.client.as_deref(), Some("01:52:54:00:00:00:01"));
    assert_eq!(lab.renew(5, 1, address), Some(MessageType::Ack));
    assert_ne!(lab.lent(5, 2), Some(address));
    // Another process, long after: it is over.
    lab.restart(20_000);
    assert_eq!(lab.held(), []);
}

#[test]
fn a_clock_that_is_set_while_leases_run_changes_none_of_them() {
    for clock in [UNIX_S + 1_000_000, UNIX_S - 1_000_000, 1000] {
        let mut lab = Lab::new();
        let address = lab.lent(10, 1).unwrap();
        lab.leasing.set_clock(at(20), clock);
        assert_eq!(lab.leasing.leases()[0].until, at(3610), "it lasts as long");
        assert_eq!(lab.leasing.leases()[0].until_s, clock + 3590);
        let other = lab.lent(30, 2).unwrap();
        // The process after it, which knows the clock from the beginning, 980 s later.
        lab.leasing = Leasing::open(&lab.path(), Nanos(0), clock + 980);
        lab.leasing.configure(plan(), Nanos(0)).unwrap();
        let left: Vec<_> = lab.leasing.leases().iter().map(|lease| (lease.address, lease.until)).collect();
        let mut expected = [(address.into(), at(2610)), (other.into(), at(2630))];
        expected.sort();
        assert_eq!(left, expected, "{clock}");
        // A second more or less is none.
        lab.leasing.set_clock(at(10), clock + 991);
        assert_eq!(lab.leasing.failure(), None);
    }
}

#[test]
fn a_process_that_is_killed_anywhere_while_it_notes_forgets_nothing_that_was_answered() {
    let mut lab = Lab::new();
    let mut answered: Vec<String> = Vec::new();
    let mut whole = Vec::new();
    for number in 1..5 {
        let address = lab.lent(number, usize::try_from(number).unwrap()).unwrap();
        let noted = fs::read(lab.path()).unwrap();
        // Whatever of the line is there when the process ends, all that was answered before is.
        for length in (whole.len()..=noted.len()).step_by(7).chain([noted.len()]) {
            let copy = lab.folder.path().join("copy");
            fs::write(&copy, &noted[..length]).unwrap();
            let again = start(&copy, 5);
            let known: Vec<String> = again.leases().iter().map(|lease| lease.address.to_string()).collect();
            assert!(answered.iter().all(|address| known.contains(address)), "{length}: {known:?}");
        }
        answered.push(address.to_string());
        whole = noted;
    }
    lab.restart(5);
    assert_eq!(lab.held().len(), 4);
}

#[test]
fn what_cannot_be_noted_is_not_promised_and_what_is_noted_goes_on() {
    let mut lab = Lab::new();
    let address = lab.lent(0, 1).unwrap();
    let offer = lab.ask(100, 2, &message(2, MessageType::Discover)).unwrap();
    lab.leasing.journal.set_full(true);
    // The disk is full: nobody gets a promise, not even that his lease goes on.
    assert_eq!(lab.renew(100, 1, address), None);
    assert!(lab.leasing.failure().unwrap().contains("No space left"));
    assert_eq!(lab.ask(100, 3, &message(3, MessageType::Discover)), None);
    let leases = lab.leasing.leases();
    let noted = leases.iter().find(|lease| lease.address == address).unwrap();
    assert_eq!((noted.state, noted.until), (LeaseState::Bound, at(3600)), "as it is noted");
    // A second later it is tried again, by whatever comes, or by itself.
    assert_eq!(lab.leasing.due(), Some(at(101)));
    lab.leasing.journal.set_full(false);
    assert_eq!(lab.renew(100, 1, address), None, "not before");
    assert_eq!(lab.renew(101, 1, address), Some(MessageType::Ack));
    assert_eq!(lab.leasing.failure(), None);
    let mut request = message(2, MessageType::Request);
    request.options.set(code::REQUESTED_ADDRESS, offer.yiaddr.octets());
    request.options.set(code::SERVER_IDENTIFIER, SERVER.octets());
    assert!(lab.ask(102, 2, &request).is_some());
    lab.restart(103);
    assert_eq!(lab.held().len(), 2);
}

#[test]
fn what_ended_while_nothing_could_be_noted_is_struck_out_later() {
    let mut lab = Lab::new();
    let address = lab.lent(0, 1).unwrap();
    lab.leasing.journal.set_full(true);
    lab.leasing.advance(at(3600));
    assert_eq!((lab.held().len(), lab.names().len()), (0, 2));
    lab.leasing.journal.set_full(false);
    assert_eq!(lab.leasing.due(), Some(at(3601)));
    lab.leasing.advance(at(3601));
    assert_eq!((lab.leasing.failure(), lab.leasing.due()), (None, None));
    let text = fs::read_to_string(lab.path()).unwrap();
    assert!(text.lines().last().unwrap().contains(&format!("\"{address}\",\"until_s\":0")), "{text}");
}

#[test]
fn a_file_that_cannot_be_opened_is_opened_once_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), "").unwrap();
    let path = folder.path().join("state/leases");
    let mut lab = Lab { leasing: start(&path, 0), folder };
    assert!(lab.leasing.failure().is_some());
    assert_eq!(lab.lent(0, 1), None);
    fs::remove_file(lab.folder.path().join("state")).unwrap();
    lab.leasing.advance(at(1));
    assert_eq!(lab.leasing.failure(), None);
    assert!(lab.lent(1, 1).is_some());
}

#[test]
fn leases_stay_with_names_when_networks_and_ports_get_other_numbers() {
    let mut lab = Lab::new();
    let one = lab.lent(0, 1).unwrap();
    let two = lab.lent(0, 2).unwrap();
    let offered = lab.ask(0, 3, &message(3, MessageType::Discover)).unwrap().yiaddr;
    let mut next = plan();
    // home is network 5 now; vm1 is port 2, vm2 is gone, vm3 is port 1.
    next.networks[0].index = network(5);
    next.ports = [(port(2), "vm1".to_owned()), (port(1), "vm3".to_owned())].into();
    lab.leasing.configure(next.clone(), at(10)).unwrap();
    assert_eq!(lab.held(), [(one.to_string(), "vm1".to_owned())]);
    let mut request = message(3, MessageType::Request);
    request.options.set(code::REQUESTED_ADDRESS, offered.octets());
    request.options.set(code::SERVER_IDENTIFIER, SERVER.octets());
    assert_eq!(lab.ask_in(5, 11, 1, &request).unwrap().yiaddr, offered, "the offer still holds");
    let mut expected = vec![(one.to_string(), "vm1".to_owned()), (offered.to_string(), "vm3".to_owned())];
    expected.sort();
    assert_eq!(lab.held(), expected);
    let text = fs::read_to_string(lab.path()).unwrap();
    assert!(text.contains(&format!("\"{two}\",\"until_s\":0")), "vm2's is struck out: {text}");
    // A network that comes back has its leases again.
    let home = next.networks.remove(0);
    lab.leasing.configure(next.clone(), at(20)).unwrap();
    assert_eq!(lab.held(), []);
    next.networks.push(home);
    lab.leasing.configure(next.clone(), at(30)).unwrap();
    assert_eq!(lab.held(), expected);
    // Settings that make no sense change nothing.
    next.networks[1].v4.as_mut().unwrap().lease_s = 1;
    let error = lab.leasing.configure(next, at(40)).unwrap_err().to_string();
    assert!(error.starts_with("the DHCP server of network home: a lease of 1 s"), "{error}");
    assert_eq!(lab.held(), expected);
}

#[test]
fn a_port_that_is_gone_holds_nothing() {
    let mut lab = Lab::new();
    let address = lab.lent(0, 1).unwrap();
    lab.leasing.forget_port(port(1), at(1));
    assert_eq!(lab.held(), []);
    assert_eq!(lab.ask(1, 1, &message(1, MessageType::Discover)), None, "nobody is there");
    lab.restart(2);
    assert_eq!(lab.held(), []);
    assert_eq!(lab.names(), Vec::<String>::new());
    assert_eq!(lab.renew(3, 2, address), Some(MessageType::Ack), "it is free");
}

/// A question of a station that calls itself `name`.
fn called(number: usize, name: &str, address: Ipv4Addr) -> Message {
    let mut renewal = Message { ciaddr: address, ..message(number, MessageType::Request) };
    renewal.options.set(code::HOST_NAME, name);
    renewal
}

#[test]
fn a_name_is_its_ports_or_his_who_had_it_first() {
    let mut lab = Lab::new();
    let one = lab.lent(0, 1).unwrap();
    let two = lab.lent(0, 2).unwrap();
    assert_eq!(lab.names(), [format!("+home vm1 {one}"), format!("+home vm2 {two}")]);
    lab.ask(1, 2, &called(2, "www", two)).unwrap();
    lab.ask(2, 1, &called(1, "WWW.evil.example", one)).unwrap();
    lab.ask(3, 1, &called(1, "VM2", one)).unwrap();
    assert_eq!(lab.names(), [format!("+home www {two}")], "neither another's name nor a port's");
    lab.ask(4, 1, &called(1, "vm1", one)).unwrap();
    lab.ask(5, 2, &called(2, "db", two)).unwrap();
    lab.ask(6, 1, &called(1, "www", one)).unwrap();
    let expected = [format!("-home www {two}"), format!("+home db {two}"), format!("+home www {one}")];
    assert_eq!(lab.names(), expected);
    // Behind an uplink are strangers: its name is not theirs.
    let wan = lab.lent(7, 9).unwrap();
    lab.ask(8, 9, &called(9, "printer", wan)).unwrap();
    assert_eq!(lab.names(), [format!("+home printer {wan}")]);
    let release = Message { ciaddr: two, ..message(2, MessageType::Release) };
    assert_eq!(lab.ask(9, 2, &release), None);
    assert_eq!(lab.names(), [format!("-home vm2 {two}"), format!("-home db {two}")]);
    lab.restart(10);
    let mut names = lab.names();
    names.sort();
    let mut expected =
        vec![format!("+home vm1 {one}"), format!("+home www {one}"), format!("+home printer {wan}")];
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn only_frames_for_servers_concern_them() {
    let discover = broadcast(&message(1, MessageType::Discover));
    assert!(Leasing::concerns(&discover));
    assert!((0..38).all(|length| !Leasing::concerns(&discover[..length])));
    let mut dns = discover.clone();
    dns[36..38].copy_from_slice(&[0, 53]);
    assert!(!Leasing::concerns(&dns));
}

#[test]
fn a_thousand_clients_get_their_lease_within_ten_milliseconds_each() {
    let mut lab = Lab::new();
    let mut next = plan();
    let settings = next.networks[0].v4.as_mut().unwrap();
    (settings.prefix, settings.range) = (16, Some(([10, 0, 1, 0].into(), [10, 0, 20, 255].into())));
    settings.ports = 1000;
    next.ports = (0..1000).map(|number| (port(number), format!("vm{number}"))).collect();
    lab.leasing.configure(next, at(0)).unwrap();
    let time = |lab: &mut Lab, number| {
        let start = Instant::now();
        assert!(lab.lent(1, number).is_some());
        start.elapsed()
    };
    let mut slowest = Duration::ZERO;
    for number in 0..1000 {
        // The least of three exchanges of two messages each, since the machine may be busy.
        slowest = slowest.max((0..3).map(|_| time(&mut lab, number)).min().unwrap());
    }
    assert_eq!(lab.held().len(), 1000);
    assert!(slowest < Duration::from_millis(10), "{slowest:?}");
}

#[test]
fn what_happens_to_leases_is_told_once() {
    let mut lab = Lab::new();
    let told = |lab: &mut Lab| {
        let events = lab.leasing.take_events().into_iter();
        events.map(|it| (it.change, it.port, it.address, it.client)).collect::<Vec<_>>()
    };
    let event = |change, number: usize, address: Ipv4Addr| {
        (change, format!("vm{number}"), IpAddr::from(address), mac(number).to_string())
    };
    let [one, two, three] = [1, 2, 3].map(|number| lab.lent(0, number).unwrap());
    let granted =
        [(1, one), (2, two), (3, three)].map(|(number, it)| event(LeaseChange::Granted, number, it));
    assert_eq!(told(&mut lab), granted);
    // That it goes on is none.
    assert_eq!(lab.renew(1800, 1, one), Some(MessageType::Ack));
    assert_eq!(told(&mut lab), []);
    let mut release = Message { ciaddr: two, ..message(2, MessageType::Release) };
    release.options.set(code::SERVER_IDENTIFIER, SERVER.octets());
    lab.ask(1801, 2, &release);
    assert_eq!(told(&mut lab), [event(LeaseChange::Released, 2, two)]);
    lab.leasing.advance(at(3601));
    assert_eq!(told(&mut lab), [event(LeaseChange::Expired, 3, three)]);
    let mut decline = message(1, MessageType::Decline);
    decline.options.set(code::REQUESTED_ADDRESS, one.octets());
    decline.options.set(code::SERVER_IDENTIFIER, SERVER.octets());
    lab.ask(3602, 1, &decline);
    assert_eq!(told(&mut lab), [event(LeaseChange::Conflict, 1, one)]);
    // Another process tells nothing of what it finds.
    lab.lent(3603, 4).unwrap();
    lab.restart(3604);
    assert_eq!(lab.held().len(), 1);
    assert_eq!(told(&mut lab), []);
}
