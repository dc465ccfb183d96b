//! What guests may try: garbage, scans, floods of answers, forged claims.

use proptest::prelude::*;

use super::*;

/// What has to hold at any time.
fn check(lab: &Lab, limits: &Limits) {
    let gateway = &lab.gateway;
    assert!(gateway.table.len() <= limits.neighbours);
    let mut held = 0;
    let mut unproven = vec![0; Charge::COUNT];
    for (slot, charge, entry) in gateway.table.entries() {
        assert_eq!(gateway.table.find(entry.key), Some(slot));
        held += entry.held.iter().map(|held| held.frame.len()).sum::<usize>();
        assert!(entry.held.len() <= held::PER_NEIGHBOUR);
        let known = lab.neighbours.get(entry.key.0, entry.key.1);
        assert_eq!(known, entry.state.is_known().then_some(entry.mac), "workers know the same: {entry:?}");
        assert!(entry.held.is_empty() || entry.state == NeighbourState::Incomplete);
        assert!(!entry.mac.is_group() && entry.mac != GATEWAY);
        unproven[charge.get()] += usize::from(entry.state == NeighbourState::Incomplete);
    }
    assert_eq!(gateway.room.total(), held);
    assert!(unproven.iter().all(|unproven| *unproven <= limits.unproven_of_port));
}

fn v6_of(network: usize, host: u64) -> String {
    std::net::Ipv6Addr::from(0xfd00 << 112 | (network as u128) << 96 | u128::from(host)).to_string()
}

#[test]
fn a_scan_displaces_only_what_the_scanner_asked_for() {
    let limits = Limits { unproven_of_port: 64, ..Limits::default() };
    let mut lab = Lab::with(&limits);
    for station in 6..16 {
        lab.introduce(1, station, &format!("10.0.1.{station}"));
    }
    // Another port waits for an answer.
    let patient = udp(mac(4), "10.0.0.4", "10.0.1.200", 64, 100);
    lab.receive(4, 0, &patient);
    let mut told = 0;
    for host in 0..5000 {
        let out = lab.receive(5, 0, &udp(mac(5), "fd00::5", &v6_of(1, 1000 + host), 64, 100));
        assert_eq!(questions(&out).len(), 1);
        let reasons = dropped(&out);
        told += reasons.len();
        assert!(reasons.iter().all(|reason| *reason == (5, DropReason::NeighbourTableFull)));
    }
    assert_eq!(told, 5000 - 64, "the oldest question gives way");
    check(&lab, &limits);
    assert!((6..16).all(|station| lab.known(1, &format!("10.0.1.{station}")) == Some(mac(station))));
    assert_eq!(again(&lab.receive(200, 1, &answer(200, 1, "10.0.1.200"))), [(4, 0, patient)]);
    // Whoever is asked for last and answers is served still.
    let last = v6_of(1, 1000 + 4999);
    assert_eq!(again(&lab.receive(6, 1, &answer(6, 1, &last))).len(), 1);
}

#[test]
fn who_answers_for_thousands_of_addresses_displaces_only_himself() {
    let limits = Limits { neighbours: 500, ..Limits::default() };
    let mut lab = Lab::with(&limits);
    for station in 6..16 {
        lab.introduce(1, station, &format!("10.0.1.{station}"));
    }
    for host in 0..5000 {
        let text = v6_of(1, 1000 + host);
        lab.receive(5, 0, &udp(mac(5), "fd00::5", &text, 64, 100));
        lab.receive(66, 1, &answer(66, 1, &text));
        assert_eq!(lab.known(1, &text), Some(mac(66)));
    }
    check(&lab, &limits);
    assert_eq!(lab.gateway.table.len(), 500);
    assert!((6..16).all(|station| lab.known(1, &format!("10.0.1.{station}")) == Some(mac(station))));
    // A newcomer finds room at the expense of who has most.
    lab.introduce(1, 20, "10.0.1.20");
    assert!((6..16).all(|station| lab.known(1, &format!("10.0.1.{station}")).is_some()));
    assert_eq!(lab.gateway.table.len(), 500);
}

#[test]
fn who_asks_for_the_gateway_by_thousands_of_names_displaces_only_himself() {
    let limits = Limits { unproven_of_port: 64, ..Limits::default() };
    let mut lab = Lab::with(&limits);
    lab.introduce(0, 6, "10.0.0.6");
    let own = crate::router::link_local_of(GATEWAY).to_string();
    for host in 0..2000 {
        let name = v6_of(0, 1000 + host);
        lab.receive(5, 0, &nd(135, 0, (mac(5), GATEWAY), (&name, &own), (&own, Some((1, mac(5))))));
    }
    check(&lab, &limits);
    assert_eq!(lab.gateway.table.len(), 65);
    assert_eq!(lab.known(0, "10.0.0.6"), Some(mac(6)));
}

#[test]
fn waiting_packets_of_many_ports_leave_room_for_one_more() {
    let limits = Limits { held_bytes: 100_000, ..Limits::default() };
    let mut lab = Lab::with(&limits);
    for station in 100..120 {
        for host in 0..50_u64 {
            let to = v6_of(1, u64::try_from(station).unwrap() * 1000 + host);
            lab.receive(station, 0, &udp(mac(station), "fd00::5", &to, 64, 1000));
        }
    }
    check(&lab, &limits);
    assert!(lab.gateway.room.total() <= 100_000 + 20 * 4096, "{}", lab.gateway.room.total());
    let packet = udp(mac(5), "fd00::5", "fd00:1::6", 64, 1000);
    lab.receive(5, 0, &packet);
    assert_eq!(again(&lab.receive(6, 1, &answer(6, 1, "fd00:1::6"))), [(5, 0, packet)]);
    lab.wait(10_000);
    assert_eq!((lab.gateway.room.total(), lab.gateway.table.len()), (0, 1));
}

/// A scan of addresses that nobody has costs one row of questions for each, however often they are tried.
#[test]
fn addresses_that_nobody_has_are_not_asked_for_at_every_packet() {
    let mut lab = Lab::new();
    let packet = udp(mac(5), "10.0.0.5", "10.0.1.66", 64, 8);
    let mut asked = 0;
    for _ in 0..10_000 {
        asked += questions(&lab.receive(5, 0, &packet)).len();
        asked += questions(&lab.wait(1)).len();
    }
    // Three in each three seconds of asking, then two seconds of silence.
    assert_eq!(asked, 6);
}

#[test]
fn nobody_gets_an_address_that_its_owner_answers_for_however_often_he_claims_it() {
    let mut lab = Lab::new();
    lab.introduce(1, 6, "10.0.1.6");
    let all = MacAddress::BROADCAST;
    let mut asked = 0;
    for _ in 0..60_000 {
        let claims = [
            arp(1, all, (mac(66), "10.0.1.6"), (MacAddress([0; 6]), "10.0.1.6")),
            arp(2, GATEWAY, (mac(66), "10.0.1.6"), (GATEWAY, "10.0.1.1")),
            arp(1, all, (mac(66), "10.0.1.6"), (MacAddress([0; 6]), "10.0.1.1")),
        ];
        let mut out: Vec<_> = claims.iter().flat_map(|claim| lab.receive(66, 1, claim)).collect();
        out.extend(lab.wait(1));
        if let [question, ..] = &questions(&out)[..] {
            asked += 1;
            assert_eq!(question.2, Some(mac(6)));
            lab.receive(6, 1, &answer(6, 1, "10.0.1.6"));
        }
        assert_eq!(lab.known(1, "10.0.1.6"), Some(mac(6)));
    }
    assert!(asked <= 7, "{asked} questions in a minute");
}

/// Frames as hostile ones are made: right ones, with something changed.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let text = |of: usize, host: u8| {
        if host.is_multiple_of(2) { format!("10.0.{of}.{host}") } else { v6_of(of, host.into()) }
    };
    let host = prop::sample::select(vec![1_u8, 2, 5, 6, 7, 9, 77, 255]);
    let right = (0..8_u8, 0..2_usize, host.clone(), host, 0..3_usize, any::<u8>()).prop_map(
        move |(what, of, from, to, station, flags)| {
            let (sender, all) = (mac(station + 5), MacAddress::BROADCAST);
            let v4 = |host: u8| format!("10.0.{of}.{host}");
            let v6 = |host: u8| v6_of(of, host.into());
            match what {
                0 => arp(1, all, (sender, &v4(from)), (MacAddress([0; 6]), &v4(to))),
                1 => arp(2, GATEWAY, (sender, &v4(from)), (GATEWAY, &v4(1))),
                2 => nd(135, 0, (sender, GATEWAY), (&v6(from), &v6(to)), (&v6(to), Some((1, sender)))),
                3 => nd(136, flags, (sender, GATEWAY), (&v6(from), &v6(1)), (&v6(from), Some((2, sender)))),
                4 => udp(sender, &v4(from), &format!("10.0.{}.{to}", 1 - of), flags % 3, 30),
                5 => udp(sender, &v6(from), &v6_of(1 - of, to.into()), flags % 3, 30),
                6 => udp(sender, &v6(from), &v6(to), 64, usize::from(flags) * 10),
                _ => answer(station + 5, of, &text(of, from)),
            }
        },
    );
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (right, changes, prop::option::of(any::<prop::sample::Index>())).prop_map(|(mut frame, changes, cut)| {
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len() * 4).min(frame.len()));
        }
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_comes_nothing_breaks_and_all_bounds_hold(
        steps in prop::collection::vec((any_frame(), 4..9_usize, 0..2_usize, 0..3000_u32), 1..120),
    ) {
        let limits = Limits { neighbours: 12, unproven_of_port: 5, held_bytes: 3000, ..Limits::default() };
        let mut lab = Lab::with(&limits);
        for (frame, from, of, pause) in steps {
            let out = lab.receive(from, of, &frame);
            // What was taken in is answered by a bounded number of frames.
            prop_assert!(sent(&out).len() <= 4 && again(&out).len() <= 4, "{out:?}");
            check(&lab, &limits);
            if pause < 500 {
                lab.wait(pause * 10);
            }
            for (of, frame) in sent(&lab.gateway.drain().collect::<Vec<_>>()) {
                prop_assert!(of < 2);
                read(&frame);
            }
        }
        check(&lab, &limits);
        lab.wait(1_000_000);
        prop_assert_eq!((lab.gateway.table.len(), lab.gateway.room.total(), lab.gateway.due()), (0, 0, None));
    }

    #[test]
    fn garbage_is_dropped(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![[8_u8, 0], [8, 6], [0x86, 0xdd], [0, 7]]),
        is_direct in any::<bool>(),
    ) {
        let to = if is_direct { GATEWAY } else { MacAddress::BROADCAST };
        let frame = [&to.0[..], &mac(5).0, &kind, &bytes].concat();
        let mut lab = Lab::new();
        lab.receive(5, 0, &frame);
        check(&lab, &Limits::default());
    }
}

/// Every message that is answered or noted, cut anywhere, is neither.
#[test]
fn nothing_is_made_of_half_a_message() {
    let own = crate::router::link_local_of(GATEWAY).to_string();
    let whole = [
        arp(1, MacAddress::BROADCAST, (mac(5), "10.0.0.5"), (MacAddress([0; 6]), "10.0.0.1")),
        nd(135, 0, (mac(5), GATEWAY), ("fd00::5", &own), (&own, Some((1, mac(5))))),
        udp(mac(5), "10.0.0.5", "10.0.1.6", 64, 20),
        udp(mac(5), "fd00::5", "fd00:1::6", 1, 20),
    ];
    for frame in whole {
        for length in 0..frame.len() {
            let mut lab = Lab::new();
            let out = lab.receive(5, 0, &frame[..length]);
            assert_eq!((sent(&out).len(), lab.gateway.table.len()), (0, 0), "{length} of {frame:x?}");
        }
        assert!(!sent(&Lab::new().receive(5, 0, &frame)).is_empty());
    }
}
