//! The bridge through real rings: learning, moving, ageing, flooding, isolation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::network;
use viaduct_tests::stream::{Flow, frame, mac, mac_text, number_of};

/// How long nothing may come before it counts as "nothing came".
const QUIET: Duration = Duration::from_millis(60);
const BROADCAST: [u8; 6] = [0xff; 6];

fn card(daemon: &Daemon, port: &str) -> Nic {
    Nic::connect(&daemon.socket(port), &NicOptions::default())
}

fn numbers(card: &mut Nic) -> Vec<u64> {
    card.collect(QUIET).iter().filter_map(|received| number_of(&received.bytes)).collect()
}

/// What each of the cards got of what any of them has sent, by number.
fn arrivals<const N: usize>(cards: &mut [Nic; N]) -> [Vec<u64>; N] {
    cards.iter_mut().for_each(Nic::drain);
    cards.each_mut().map(numbers)
}

#[test]
fn an_address_is_learned_from_its_first_frame_and_from_then_on_met_alone() {
    let daemon = Daemon::start(&network("lab", &["a", "b", "c"], ""));
    let cards = &mut ["a", "b", "c"].map(|port| card(&daemon, port));
    cards[0].send(&frame(mac(2), mac(1), 1, 60));
    assert_eq!(
        arrivals(cards),
        [vec![], vec![1], vec![1]],
        "an unknown address is flooded, not to the sender"
    );
    cards[1].send(&frame(mac(1), mac(2), 2, 60));
    assert_eq!(arrivals(cards), [vec![2], vec![], vec![]], "a known address is met alone");
    cards[0].send(&frame(mac(2), mac(1), 3, 60));
    assert_eq!(arrivals(cards), [vec![], vec![3], vec![]], "both directions are learned");
    let known = daemon.fdb();
    for (address, port) in [(mac(1), "a"), (mac(2), "b")] {
        let learned =
            known.iter().find(|entry| entry.mac == mac_text(address)).expect("the address is shown");
        assert_eq!((learned.network.as_str(), learned.port.as_str()), ("lab", port));
    }
    assert_eq!(daemon.show().networks[0].addresses, 2);
}

#[test]
fn broadcast_and_multicast_reach_everybody_else_and_the_sender_never() {
    let daemon = Daemon::start(&network("lab", &["a", "b", "c", "d"], ""));
    let cards = &mut ["a", "b", "c", "d"].map(|port| card(&daemon, port));
    let multicast = [0x01, 0x00, 0x5e, 0, 0, 5];
    for (number, to) in [(1, BROADCAST), (2, multicast), (3, [0x33, 0x33, 0, 0, 0, 1])] {
        cards[2].send(&frame(to, mac(3), number, 400));
        let got = || vec![number];
        assert_eq!(arrivals(cards), [got(), got(), vec![], got()]);
    }
}

#[test]
fn a_frame_for_an_address_on_the_senders_own_port_goes_nowhere() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let cards = &mut [card(&daemon, "a"), card(&daemon, "b")];
    cards[0].send(&frame(BROADCAST, mac(1), 1, 60));
    assert_eq!(arrivals(cards), [vec![], vec![1]]);
    cards[0].send(&frame(mac(1), mac(9), 2, 60));
    assert_eq!(arrivals(cards), [Vec::<u64>::new(), vec![]]);
    assert_eq!(daemon.show().port("a").dropped("same-port"), 1);
}

#[test]
fn link_local_group_addresses_are_not_forwarded() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let cards = &mut [card(&daemon, "a"), card(&daemon, "b")];
    for last in 0..16 {
        cards[0].send(&frame([0x01, 0x80, 0xc2, 0, 0, last], mac(1), 1, 60));
    }
    assert_eq!(arrivals(cards), [Vec::<u64>::new(), vec![]]);
    assert_eq!(daemon.show().port("a").dropped("link-local"), 16);
}

#[test]
fn an_address_that_moves_is_followed_with_its_first_frame() {
    let daemon = Daemon::start(&network("lab", &["a", "b", "c"], ""));
    let cards = &mut ["a", "b", "c"].map(|port| card(&daemon, port));
    for round in 0..20_u64 {
        let place = (round % 2) as usize;
        cards[place].send(&frame(BROADCAST, mac(7), round, 60));
        arrivals(cards);
        cards[2].send(&frame(mac(7), mac(3), 1000 + round, 60));
        let mut expected = [vec![], vec![], vec![]];
        expected[place] = vec![1000 + round];
        assert_eq!(arrivals(cards), expected, "round {round}");
    }
}

#[test]
fn an_address_that_is_not_seen_any_more_ages_out() {
    let config =
        network("lab", &["a", "b", "c"], "").replace("[network.lab]", "[network.lab]\nageing = \"10s\"");
    let daemon = Daemon::start(&config);
    let cards = &mut ["a", "b", "c"].map(|port| card(&daemon, port));
    cards[1].send(&frame(BROADCAST, mac(2), 1, 60));
    assert_eq!(arrivals(cards), [vec![1], vec![], vec![1]]);
    cards[0].send(&frame(mac(2), mac(1), 2, 60));
    assert_eq!(arrivals(cards), [vec![], vec![2], vec![]]);
    wait_until("the address to be forgotten after 10 s", Duration::from_secs(14), || {
        std::thread::sleep(Duration::from_millis(200));
        daemon.fdb().iter().all(|entry| entry.mac != mac_text(mac(2)))
    });
    cards[0].send(&frame(mac(2), mac(1), 3, 60));
    assert_eq!(arrivals(cards), [vec![], vec![3], vec![3]], "what was forgotten is flooded again");
}

#[test]
fn two_networks_never_see_one_anothers_frames() {
    let config = network("red", &["a", "b"], "") + &network("blue", &["c", "d"], "");
    let daemon = Daemon::start(&config);
    let cards = &mut ["a", "b", "c", "d"].map(|port| card(&daemon, port));
    cards[0].send(&frame(BROADCAST, mac(1), 1, 60));
    assert_eq!(arrivals(cards), [vec![], vec![1], vec![], vec![]]);
    // The same addresses live in the other network too, elsewhere.
    cards[3].send(&frame(BROADCAST, mac(1), 2, 60));
    assert_eq!(arrivals(cards), [vec![], vec![], vec![2], vec![]]);
    cards[1].send(&frame(mac(1), mac(2), 3, 60));
    assert_eq!(arrivals(cards), [vec![3], vec![], vec![], vec![]]);
    cards[2].send(&frame(mac(1), mac(2), 4, 60));
    assert_eq!(arrivals(cards), [vec![], vec![], vec![], vec![4]]);
    let state = daemon.show();
    assert!(state.networks.iter().all(|network| network.addresses == 2), "{:?}", daemon.fdb());
}

#[test]
fn counters_tell_frames_and_bytes_of_both_ends() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [a, b] = &mut [card(&daemon, "a"), card(&daemon, "b")];
    Flow::new(mac(1), mac(2)).carry(a, b, [60, 100, 1514]);
    wait_until("the counters to be there", Duration::from_secs(2), || {
        daemon.show().port("b").sent.frames == 3
    });
    let state = daemon.show();
    let (from, to) = (state.port("a"), state.port("b"));
    assert_eq!((from.received.frames, from.received.bytes), (3, 1674));
    assert_eq!((to.sent.frames, to.sent.bytes), (3, 1674));
    assert_eq!((from.sent.frames, to.received.frames), (0, 0));
}

#[test]
fn the_rarp_that_announces_a_migrated_guest_is_broadcast_and_learned() {
    use viaduct_tests::driver::message::{Message, request};
    let daemon = Daemon::start(&network("lab", &["a", "b", "c"], ""));
    let cards = &mut ["a", "b", "c"].map(|port| card(&daemon, port));
    let mut body = mac(5).to_vec();
    body.extend_from_slice(&[0, 0]);
    assert!(cards[0].session.accepts(&Message::new(request::SEND_RARP).body(&body)), "SEND_RARP");
    for index in [1, 2] {
        let bytes = cards[index].expect_frame("the RARP frame").bytes;
        assert_eq!((&bytes[..6], &bytes[6..12]), (&BROADCAST[..], &mac(5)[..]));
        assert_eq!(bytes[12..14], [0x80, 0x35], "the ethertype of RARP (RFC 903)");
        assert_eq!(
            (&bytes[22..28], &bytes[32..38]),
            (&mac(5)[..], &mac(5)[..]),
            "sender and target hardware address"
        );
    }
    assert!(cards[0].take().is_none());
    cards[1].send(&frame(mac(5), mac(2), 9, 60));
    assert_eq!(arrivals(cards), [vec![9], vec![], vec![]], "the address was learned at the port");
}
