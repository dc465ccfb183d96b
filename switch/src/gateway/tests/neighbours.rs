//! From the first packet for a neighbour until it is forgotten: RFC 4861, 7.2.2 and 7.3, for both versions of IP.

use super::*;

/// A station of network 0 that sends, one of network 1 that receives, and how it is asked for.
const ENDS: [[&str; 3]; 2] =
    [["10.0.0.5", "10.0.1.6", "10.0.1.1"], ["fd00::5", "fd00:1::6", "fe80::ff:fe00:1"]];

fn to_all(outputs: &[Output], target: &str) -> usize {
    let questions = questions(outputs);
    assert!(
        questions.iter().all(|(of, address, to)| *of == 1 && address == target && to.is_none()),
        "{questions:?}"
    );
    questions.len()
}

#[test]
fn the_first_packet_waits_for_the_answer_to_a_question_to_all() {
    for [from, to, _] in ENDS {
        let mut lab = Lab::new();
        let packet = udp(mac(5), from, to, 64, 100);
        let out = lab.receive(5, 0, &packet);
        assert_eq!((out.len(), to_all(&out, to)), (1, 1));
        let out = lab.receive(6, 1, &answer(6, 1, to));
        assert_eq!(out, [Output::Again { port: port(5), network: network(0), frame: packet.clone() }]);
        assert_eq!(lab.known(1, to), Some(mac(6)));
        // What comes meanwhile goes on, as a worker would have found out.
        let out = lab.receive(5, 0, &packet);
        assert_eq!(again(&out), [(5, 0, packet)]);
        assert_eq!(lab.gateway.room.total(), 0);
    }
}

#[test]
fn the_question_is_asked_three_times_a_second_apart_and_then_the_sender_is_told() {
    for [from, to, _] in ENDS {
        let mut lab = Lab::new();
        let packet = udp(mac(5), from, to, 64, 100);
        assert_eq!(to_all(&lab.receive(5, 0, &packet), to), 1);
        for _ in 0..2 {
            assert_eq!(to_all(&lab.wait(999), to), 0);
            assert_eq!(to_all(&lab.wait(1), to), 1);
        }
        let out = lab.wait(1000);
        assert_eq!(dropped(&out), [(5, DropReason::NeighbourUnresolved)]);
        assert_eq!((sent(&out).len(), questions(&out).len()), (1, 0), "an error, and no further question");
        assert_eq!(lab.state(1, to), Some(NeighbourState::Failed));
        // For two seconds nobody asks again: who sends is told at once.
        let out = lab.receive(5, 0, &packet);
        assert_eq!(dropped(&out), [(5, DropReason::NeighbourUnresolved)]);
        assert_eq!(questions(&out), []);
        lab.wait(2000);
        assert_eq!(lab.state(1, to), None);
        assert_eq!(to_all(&lab.receive(5, 0, &packet), to), 1);
    }
}

/// The question went out while the link was not there.
#[test]
fn who_was_not_asked_for_lack_of_a_link_is_asked_as_soon_as_that_comes() {
    for [from, to, _] in ENDS {
        let asked = |out: &[Output]| questions(out).iter().filter(|(_, address, _)| address == to).count();
        for gone_ms in [10, 999, 3500] {
            let mut lab = Lab::new();
            let packet = udp(mac(5), from, to, 64, 100);
            assert_eq!(asked(&lab.receive(5, 0, &packet)), 1);
            lab.wait(gone_ms);
            lab.gateway.link_up(network(1), lab.now);
            let out = lab.wait(1);
            if gone_ms < 3000 {
                assert_eq!(asked(&out), 1, "{gone_ms} ms");
                assert_eq!(asked(&lab.wait(2000)), 2, "as often as at first");
            } else {
                // Nobody waits any more, and who sends next has him asked for at once.
                assert_eq!((asked(&out), lab.state(1, to)), (0, None));
                assert_eq!(asked(&lab.receive(5, 0, &packet)), 1);
            }
        }
    }
}

#[test]
fn as_many_packets_wait_as_a_super_frame_has_and_the_oldest_one_gives_way() {
    let mut lab = Lab::new();
    for size in 1..=66 {
        let out = lab.receive(5, 0, &udp(mac(5), "10.0.0.5", "10.0.1.6", 64, size));
        let lost = if size > 64 { vec![(5, DropReason::NeighbourQueueFull)] } else { vec![] };
        assert_eq!(dropped(&out), lost);
    }
    let out = lab.receive(6, 1, &answer(6, 1, "10.0.1.6"));
    let lengths: Vec<_> = again(&out).iter().map(|(_, _, frame)| frame.len()).collect();
    assert_eq!(lengths, Vec::from_iter(45..=108));
}

/// RFC 4861, 7.3.3: an answer is believed for 15 to 45 s; if it is used then, the neighbour is asked whether it is still there.
#[test]
fn a_neighbour_in_use_is_asked_again() {
    for [_, to, _] in ENDS {
        let mut lab = Lab::new();
        lab.introduce(1, 6, to);
        let start = lab.now;
        let mut out = Vec::new();
        while questions(&out).is_empty() {
            assert_eq!(lab.neighbours.resolve(network(1), address(to), lab.now.seconds()), Some(mac(6)));
            out = lab.wait(100);
        }
        let after = lab.now - start;
        assert!((Nanos::from_seconds(20)..Nanos::from_seconds(52)).contains(&after), "{after:?}");
        assert_eq!(questions(&out), [(1, to.to_owned(), Some(mac(6)))], "it alone is asked");
        assert_eq!(lab.state(1, to), Some(NeighbourState::Probe));
        lab.receive(6, 1, &answer(6, 1, to));
        assert_eq!(lab.state(1, to), Some(NeighbourState::Reachable));
        // And forgotten if it does not answer any more.
        let mut asked = 0;
        for _ in 0..600 {
            lab.neighbours.resolve(network(1), address(to), lab.now.seconds());
            asked += questions(&lab.wait(100)).len();
        }
        assert_eq!((asked, lab.state(1, to), lab.known(1, to)), (3, None, None));
    }
}

#[test]
fn a_neighbour_that_nobody_uses_is_not_asked_and_is_forgotten_some_day() {
    let mut lab = Lab::new();
    lab.introduce(1, 6, "10.0.1.6");
    assert_eq!(lab.wait(290_000), []);
    assert_eq!(lab.state(1, "10.0.1.6"), Some(NeighbourState::Stale));
    assert_eq!(lab.known(1, "10.0.1.6"), Some(mac(6)));
    assert_eq!(lab.wait(80_000), []);
    assert_eq!((lab.state(1, "10.0.1.6"), lab.known(1, "10.0.1.6")), (None, None));
}

#[test]
fn an_old_answer_is_good_until_it_is_used() {
    let mut lab = Lab::new();
    lab.introduce(1, 6, "10.0.1.6");
    lab.wait(200_000);
    lab.neighbours.resolve(network(1), address("10.0.1.6"), lab.now.seconds());
    assert_eq!(lab.wait(4_999), []);
    let out = lab.wait(5_001);
    assert_eq!(questions(&out)[0], (1, "10.0.1.6".to_owned(), Some(mac(6))));
}

#[test]
fn packets_to_another_router_wait_for_that() {
    let mut lab = Lab::new();
    let packet = udp(mac(5), "10.0.0.5", "10.9.1.1", 64, 100);
    assert_eq!(to_all(&lab.receive(5, 0, &packet), "10.0.1.9"), 1);
    assert_eq!(again(&lab.receive(9, 1, &answer(9, 1, "10.0.1.9"))), [(5, 0, packet)]);
}

#[test]
fn who_claims_an_address_at_another_port_gets_it_only_if_its_owner_is_silent() {
    for [_, to, _] in ENDS {
        let mut lab = Lab::new();
        lab.introduce(1, 6, to);
        let claim = claim(66, to);
        let out = lab.receive(66, 1, &claim);
        assert_eq!(questions(&out), [(1, to.to_owned(), Some(mac(6)))], "its owner is asked");
        assert_eq!(lab.known(1, to), Some(mac(6)));
        lab.receive(6, 1, &answer(6, 1, to));
        assert_eq!((lab.known(1, to), lab.state(1, to)), (Some(mac(6)), Some(NeighbourState::Reachable)));
        // For ten seconds it is not asked because of that again.
        lab.wait(9_999);
        assert_eq!(lab.receive(66, 1, &claim), []);
        lab.wait(1);
        assert_eq!(questions(&lab.receive(66, 1, &claim)).len(), 1);
        // Now it is silent.
        assert_eq!(questions(&lab.wait(1_499)).len(), 2);
        assert_eq!(lab.known(1, to), Some(mac(6)));
        lab.wait(1);
        assert_eq!((lab.known(1, to), lab.state(1, to)), (Some(mac(66)), Some(NeighbourState::Stale)));
    }
}

/// What a station says to all when it takes an address.
fn claim(station: usize, text: &str) -> Vec<u8> {
    if address(text).is_v4() {
        return arp(1, MacAddress::BROADCAST, (mac(station), text), (MacAddress([0; 6]), text));
    }
    let all = MacAddress([0x33, 0x33, 0, 0, 0, 1]);
    nd(136, 0x20, (mac(station), all), (text, "ff02::1"), (text, Some((2, mac(station)))))
}

/// Where the neighbour of this address was heard.
fn port_of(lab: &Lab, text: &str) -> Option<PortIndex> {
    lab.gateway.neighbours().find(|entry| entry.address == address(text)).and_then(|entry| entry.port)
}

#[test]
fn a_station_that_moves_with_its_address_is_followed_once_it_answers() {
    let mut lab = Lab::new();
    lab.introduce(1, 6, "10.0.1.6");
    let out = lab.receive(66, 1, &claim(6, "10.0.1.6"));
    assert_eq!((out, port_of(&lab, "10.0.1.6")), (vec![], Some(port(6))));
    let mut asked = 0;
    while asked == 0 {
        lab.neighbours.resolve(network(1), address("10.0.1.6"), lab.now.seconds());
        asked = questions(&lab.wait(100)).len();
    }
    lab.receive(66, 1, &answer(6, 1, "10.0.1.6"));
    assert_eq!((port_of(&lab, "10.0.1.6"), lab.known(1, "10.0.1.6")), (Some(port(66)), Some(mac(6))));
}

/// Who first says the truth about another station does not count as being at its port.
#[test]
fn a_claim_in_two_steps_is_no_shortcut() {
    for [_, to, _] in ENDS {
        let mut lab = Lab::new();
        lab.introduce(1, 6, to);
        assert_eq!(lab.receive(66, 1, &claim(6, to)), []);
        assert_eq!(lab.receive(66, 1, &answer(6, 1, to)), []);
        assert_eq!(questions(&lab.receive(66, 1, &claim(66, to))).len(), 1);
        assert_eq!(lab.known(1, to), Some(mac(6)));
    }
}

#[test]
fn nobody_becomes_known_by_telling_all() {
    let mut lab = Lab::new();
    for [_, to, _] in ENDS {
        assert_eq!(lab.receive(6, 1, &claim(6, to)), []);
        assert_eq!(lab.receive(6, 1, &answer(6, 1, to)), []);
    }
    assert_eq!(lab.gateway.table.len(), 0);
}

#[test]
fn neighbours_stay_known_as_long_as_their_interface_does() {
    let mut lab = Lab::new();
    lab.introduce(0, 5, "10.0.0.5");
    lab.introduce(1, 6, "10.0.1.6");
    lab.receive(5, 0, &udp(mac(5), "10.0.0.5", "10.0.1.7", 64, 1));
    lab.set_routing(routing());
    assert_eq!(lab.gateway.drain().count(), 0);
    assert_eq!(lab.known(1, "10.0.1.6"), Some(mac(6)));
    lab.set_routing(Routing::compile([settings(0, 1500, &["10.0.0.1/24"])], []).unwrap());
    let out: Vec<_> = lab.gateway.drain().collect();
    assert_eq!(dropped(&out), [(5, DropReason::NoRoute)], "what waited there is lost");
    assert_eq!((lab.known(1, "10.0.1.6"), lab.known(0, "10.0.0.5")), (None, Some(mac(5))));
    lab.set_routing(Routing::default());
    assert_eq!((lab.gateway.table.len(), lab.gateway.room.total(), lab.gateway.due()), (0, 0, None));
}

#[test]
fn what_came_from_a_port_that_is_gone_waits_no_longer() {
    let mut lab = Lab::new();
    lab.introduce(1, 8, "10.0.1.8");
    lab.receive(5, 0, &udp(mac(5), "10.0.0.5", "10.0.1.6", 64, 1));
    lab.receive(6, 0, &udp(mac(6), "10.0.0.6", "10.0.1.7", 64, 1));
    lab.receive(5, 0, &udp(mac(5), "10.0.0.5", "10.0.1.7", 64, 1));
    let moment = Moment { neighbours: &lab.neighbours, now: lab.now };
    lab.gateway.forget_port(port(5), moment);
    lab.gateway.forget_port(port(8), moment);
    lab.gateway.drain().for_each(drop);
    assert_eq!(lab.known(1, "10.0.1.8"), None);
    lab.receive(60, 1, &answer(60, 1, "10.0.1.6"));
    let out = lab.receive(7, 1, &answer(7, 1, "10.0.1.7"));
    assert_eq!(again(&out).iter().map(|(from, ..)| *from).collect::<Vec<_>>(), [6]);
    assert_eq!(lab.gateway.room.total(), 0);
}
