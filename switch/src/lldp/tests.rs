use std::net::IpAddr;

use super::*;
use proptest::prelude::*;

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

fn local() -> Local {
    Local {
        chassis: MacAddress([2, 0, 0, 0, 0, 9]),
        interface: "eth4".into(),
        port_description: "uplink wan".into(),
        system_name: "host1".into(),
        system_description: "Viaduct".into(),
        management: Some("192.0.2.1".parse().unwrap()),
    }
}

/// A frame with these types and values.
fn frame(parts: &[(u8, &[u8])]) -> Vec<u8> {
    let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 9, 9, 9, 9, 9, 0x88, 0xcc];
    for (kind, value) in parts {
        frame.extend([
            kind << 1 | u8::try_from(value.len() >> 8).unwrap(),
            u8::try_from(value.len() % 256).unwrap(),
        ]);
        frame.extend(*value);
    }
    frame
}

fn neighbour(number: u8, ttl_s: u8) -> Vec<u8> {
    frame(&[(1, &[4, 2, 0, 0, 0, 0, number]), (2, b"\x05eth0"), (3, &[0, ttl_s]), (0, &[])])
}

fn second(at: u64) -> Nanos {
    Nanos(at * SECOND_NS)
}

fn sent(agent: &mut Agent) -> usize {
    std::iter::from_fn(|| agent.next_frame()).count()
}

#[test]
fn what_we_say_stands_in_the_frame_byte_by_byte() {
    let mut expected = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc];
    expected.extend([2, 7, 4, 2, 0, 0, 0, 0, 9]);
    expected.extend(b"\x04\x05\x05eth4");
    expected.extend([6, 2, 0, 121]);
    expected.extend(b"\x08\x0auplink wan");
    expected.extend(b"\x0a\x05host1");
    expected.extend(b"\x0c\x07Viaduct");
    expected.extend([14, 4, 0, 4, 0, 4]);
    expected.extend([16, 12, 5, 1, 192, 0, 2, 1, 1, 0, 0, 0, 0, 0]);
    expected.extend([0, 0]);
    assert_eq!(encode(&local(), OWN, 121), expected);
    let mut goodbye = expected[..34].to_vec();
    goodbye[33] = 0;
    goodbye.resize(60, 0);
    assert_eq!(encode(&local(), OWN, 0), goodbye);
}

#[test]
fn what_we_say_is_understood() {
    let local = Local { management: Some("2001:db8::1".parse().unwrap()), ..local() };
    let read = decode(&encode(&local, OWN, 121)).unwrap();
    assert_eq!(read.chassis.display(true), "02:00:00:00:00:09");
    assert_eq!(read.port.display(false), "eth4");
    assert_eq!(read.ttl_s, 121);
    assert_eq!(read.port_description.as_deref(), Some("uplink wan"));
    assert_eq!(read.system_name.as_deref(), Some("host1"));
    assert_eq!(read.system_description.as_deref(), Some("Viaduct"));
    assert_eq!(read.capabilities, Some(Capabilities { able: 4, enabled: 4 }));
    assert_eq!(Capabilities::names(4 | 16).collect::<Vec<_>>(), ["bridge", "router"]);
    assert_eq!(read.management, Some("2001:db8::1".parse::<IpAddr>().unwrap()));
    let bare = Local { management: None, ..local };
    assert_eq!(decode(&encode(&bare, OWN, 121)).unwrap().management, None);
}

#[test]
fn long_texts_are_cut_between_characters() {
    let name = format!("{}\u{e4}", "a".repeat(254));
    let read = decode(&encode(&Local { system_name: name, ..local() }, OWN, 1)).unwrap();
    assert_eq!(read.system_name, Some("a".repeat(254)));
    let name = "b".repeat(300);
    let read = decode(&encode(&Local { system_name: name, ..local() }, OWN, 1)).unwrap();
    assert_eq!(read.system_name, Some("b".repeat(255)));
}

#[test]
fn names_of_strangers_hold_no_control_characters() {
    let bytes = b"a\x1b[2Jb\xffc\n";
    let read = decode(&frame(&[(1, b"\x07x\x07"), (2, b"\x05\x1b"), (3, &[0, 9]), (5, bytes)])).unwrap();
    assert_eq!(read.system_name.as_deref(), Some("a\u{fffd}[2Jb\u{fffd}c\u{fffd}"));
    assert_eq!(read.chassis.display(true), "x\u{fffd}");
    assert_eq!(read.port.display(false), "\u{fffd}");
}

#[test]
fn identities_are_shown_as_what_they_are() {
    let show =
        |subtype, value: &[u8], is_chassis| Identity { subtype, value: value.into() }.display(is_chassis);
    assert_eq!(show(4, &[1, 2, 3, 4, 5, 6], true), "01:02:03:04:05:06");
    assert_eq!(show(3, &[1, 2, 3, 4, 5, 6], false), "01:02:03:04:05:06");
    assert_eq!(show(5, &[1, 192, 0, 2, 1], true), "192.0.2.1");
    assert_eq!(show(4, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], false), "::1");
    assert_eq!(show(5, &[9, 0xab], true), "09ab");
    assert_eq!(show(5, b"eth0", false), "eth0");
    assert_eq!(show(7, b"rack 5", true), "rack 5");
}

#[test]
fn what_must_be_there_must_be_right() {
    let (chassis, port, ttl) = ((1u8, &b"\x07c"[..]), (2u8, &b"\x05p"[..]), (3u8, &[0u8, 1][..]));
    assert!(decode(&frame(&[chassis, port, ttl])).is_ok(), "the end need not be said");
    assert!(decode(&frame(&[chassis, port, (3, &[0, 1, 9])])).is_ok(), "what follows is passed over");
    let orders: [&[(u8, &[u8])]; 7] = [
        &[],
        &[chassis, port],
        &[port, chassis, ttl],
        &[chassis, ttl, port],
        &[chassis, port, ttl, chassis],
        &[chassis, port, ttl, ttl],
        &[chassis, (0, &[]), port, ttl],
    ];
    for parts in orders {
        assert_eq!(decode(&frame(parts)), Err(Malformed::Order));
    }
    let long = [4; 257];
    let lengths: [&[(u8, &[u8])]; 6] = [
        &[(1, b"\x04"), port, ttl],
        &[(1, b""), port, ttl],
        &[(1, &long), port, ttl],
        &[chassis, (2, b"\x05"), ttl],
        &[chassis, port, (3, &[1])],
        &[chassis, port, ttl, (0, b"x")],
    ];
    for parts in lengths {
        assert_eq!(decode(&frame(parts)), Err(Malformed::PartLength));
    }
    assert!(decode(&frame(&[(1, &long[..256]), port, ttl])).is_ok());
    let whole = frame(&[chassis, port, ttl, (5, b"name")]);
    assert_eq!(decode(&whole[..whole.len() - 1]), Err(Malformed::Cut));
    for at in [0, 5, 12, 13] {
        let mut other = whole.clone();
        other[at] ^= 2;
        assert_eq!(decode(&other), Err(Malformed::NotLldp));
    }
    for group in [0, 3] {
        let mut other = whole.clone();
        other[5] = group;
        assert!(decode(&other).is_ok());
    }
    let mut group = whole.clone();
    group[6] |= 1;
    assert_eq!(decode(&group), Err(Malformed::NotLldp));
    assert_eq!(decode(&whole[..13]), Err(Malformed::NotLldp));
}

#[test]
fn optional_parts_that_are_wrong_or_unknown_are_passed_over() {
    let long = [b'a'; 256];
    let parts: [(u8, &[u8]); 11] = [
        (1, b"\x07c"),
        (2, b"\x05p"),
        (3, &[0, 1]),
        (127, b"\x00\x12\x0f\x01"),
        (5, &long),
        (7, &[0, 4, 0]),
        (8, &[5, 1, 10, 0]),
        (8, &[]),
        (8, &[5, 6, 1, 2, 3, 4]),
        (4, b"first"),
        (4, b"second"),
    ];
    let read = decode(&frame(&parts)).unwrap();
    assert_eq!((read.system_name, read.capabilities, read.management), (None, None, None));
    assert_eq!(read.port_description.as_deref(), Some("second"));
}

#[test]
fn neighbours_are_remembered_as_long_as_they_say() {
    let mut agent = Agent::new(local(), OWN, second(0));
    agent.set_carrier(true, second(0));
    agent.receive(&neighbour(1, 10), second(1));
    agent.receive(&neighbour(2, 20), second(1));
    assert_eq!(agent.neighbours().len(), 2);
    agent.receive(&neighbour(1, 10), second(5));
    assert_eq!(agent.neighbours().len(), 2);
    agent.advance(Nanos(15 * SECOND_NS - 1));
    assert_eq!(agent.neighbours().len(), 2);
    agent.advance(second(15));
    assert_eq!(agent.neighbours().len(), 1);
    assert_eq!(agent.counters().expired, 1);
    agent.receive(&neighbour(2, 0), second(16));
    assert!(agent.neighbours().is_empty(), "it said goodbye");
    agent.receive(&neighbour(3, 0), second(16));
    assert!(agent.neighbours().is_empty());
    agent.receive(&neighbour(3, 9), second(16));
    agent.set_carrier(false, second(17));
    assert!(agent.neighbours().is_empty());
    assert_eq!(agent.counters(), AgentCounters { received: 6, expired: 1, ..AgentCounters::default() });
}

#[test]
fn neighbours_are_bounded_and_who_is_there_stays() {
    let mut agent = Agent::new(local(), OWN, second(0));
    agent.set_carrier(true, second(0));
    for number in 0..20 {
        agent.receive(&neighbour(number, 100), second(1));
    }
    agent.receive(b"nothing", second(1));
    assert_eq!(agent.neighbours().len(), NEIGHBOURS_MAX);
    assert_eq!(agent.neighbours()[0].neighbour.chassis.value[5], 0);
    assert_eq!(agent.neighbours()[7].neighbour.chassis.value[5], 7);
    assert_eq!((agent.counters().refused, agent.counters().malformed), (12, 1));
}

#[test]
fn a_link_that_comes_up_tells_four_times_quickly_and_then_every_thirty_seconds() {
    let mut agent = Agent::new(local(), OWN, second(0));
    agent.advance(second(100));
    assert_eq!((agent.due(), sent(&mut agent)), (None, 0));
    agent.set_carrier(true, second(100));
    let mut times = Vec::new();
    for _ in 0..8 {
        times.extend(vec![agent.now.seconds() - 100; sent(&mut agent)]);
        let due = agent.due().unwrap();
        assert!(due > agent.now);
        agent.advance(due);
    }
    assert_eq!(times, [0, 1, 2, 3, 33, 63, 93, 123]);
}

#[test]
fn somebody_new_is_told_soon_and_nobody_can_make_us_send_more_than_one_a_second_for_long() {
    let mut agent = Agent::new(local(), OWN, second(0));
    agent.set_carrier(true, second(0));
    for at in 0..10 {
        agent.advance(second(at));
        sent(&mut agent);
    }
    agent.receive(&neighbour(1, 200), second(10));
    assert_eq!(agent.due(), Some(second(11)));
    let mut count = 0;
    for at in 11..40 {
        agent.advance(second(at));
        count += sent(&mut agent);
        agent.receive(&neighbour(1, 200), second(at));
    }
    assert_eq!(count, 4, "who is known is nobody new");
    // A stranger that comes and goes all the time.
    let mut times = Vec::new();
    for at in 0..3000 {
        let now = Nanos(40 * SECOND_NS + at * 10_000_000);
        agent.receive(&neighbour(2, u8::from(at % 2 == 0)), now);
        times.extend(vec![now.0; sent(&mut agent)]);
    }
    assert!((28..=35).contains(&times.len()), "{}", times.len());
}

#[test]
fn carrier_that_comes_and_goes_has_its_credit() {
    let mut agent = Agent::new(local(), OWN, second(0));
    let mut count = 0;
    for at in 0..100 {
        let now = Nanos(at * 10_000_000);
        agent.set_carrier(at % 2 == 0, now);
        count += sent(&mut agent);
    }
    assert_eq!(count, 5);
    agent.set_carrier(true, Nanos(995_000_000));
    assert_eq!(sent(&mut agent), 0);
    assert_eq!(agent.due(), Some(second(1)), "the credit grows");
    agent.advance(second(1));
    assert_eq!(sent(&mut agent), 1);
}

#[test]
fn who_leaves_says_so_once() {
    let mut agent = Agent::new(local(), OWN, second(0));
    agent.shut_down();
    assert_eq!(agent.next_frame(), None, "nobody was told anything");
    agent.set_carrier(true, second(1));
    agent.shut_down();
    assert_eq!(agent.next_frame(), Some(encode(&local(), OWN, 0)));
    assert_eq!((agent.next_frame(), agent.due()), (None, None));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, parts in prop::collection::vec(any::<(u8, Vec<u8>)>(), 0..20)) {
        let _ = decode(&bytes);
        let parts: Vec<_> = parts.iter().map(|(kind, value)| (kind % 128, value.as_slice())).collect();
        let _ = decode(&frame(&parts));
        let start: [(u8, &[u8]); 3] = [(1, b"\x07c"), (2, b"\x05p"), (3, &[0, 1])];
        if let Ok(neighbour) = decode(&frame(&[&start, parts.as_slice()].concat())) {
            prop_assert!(neighbour.system_name.is_none_or(|name| name.len() <= 3 * 255));
        }
    }
}
