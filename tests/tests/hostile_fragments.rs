//! Fragments through real rings, where rules count: early ones, from trunks too, tricks with them, and floods of datagrams that
//! never become whole, beside a neighbour's that do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::fragments::{Part, cut, datagram, fragment, tagged};
use viaduct_tests::stations::{Body, Family, frame};

/// Station 1 is `vm`, which takes UDP to port 53 alone; 2 is its neighbour; 3 sends by a trunk, and 4 by one with a service tag;
/// 5 to 8 are the attacker's.
const CONFIG: &str = "[network.ten]\nvlan = 10\n[network.twenty]\nvlan = 20\n\
    [group.dns]\nrules = [{ direction = 'ingress', protocol = 'udp', ports = 53 }]\n\
    [group.open]\nrules = [{ direction = 'ingress' }]\n\
    [port.vm]\nnetwork = 'ten'\nmac = '02:00:00:00:00:01'\naddresses = ['10.0.0.1', 'fd00::1']\ngroups = ['dns']\n\
    [port.neighbour]\nnetwork = 'ten'\nmac = '02:00:00:00:00:02'\naddresses = ['10.0.0.2', 'fd00::2']\ngroups = ['open']\n\
    [port.trunk]\ntrunk = ['ten', 'twenty']\n\
    [port.metro]\nnative = 'twenty'\ntrunk = ['ten']\nservice_vlan = 300\n";

/// The attacker's ports.
const ATTACKERS: [(&str, u8); 4] = [("w", 5), ("x", 6), ("y", 7), ("z", 8)];

fn config() -> String {
    let port = |(name, number): (&str, u8)| {
        format!(
            "[port.{name}]\nnetwork = 'ten'\nmac = '02:00:00:00:00:{number:02x}'\n\
             addresses = ['10.0.0.{number}', 'fd00::{number:x}']\ngroups = ['open']\n"
        )
    };
    CONFIG.to_owned() + &ATTACKERS.map(port).concat()
}

/// Who sends fragments to the `vm`: the port, the station's number, and the tags that its frames have.
const SENDERS: [(&str, u8, &[u16]); 3] =
    [("neighbour", 2, &[]), ("trunk", 3, &[0x8100, 10]), ("metro", 4, &[0x88a8, 300, 0x8100, 10])];

fn card(daemon: &Daemon, port: &str) -> Nic {
    let options = NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() };
    Nic::connect(&daemon.socket(port), &options)
}

/// A daemon, the `vm`'s card, which is known, and one that sends.
fn stage(sender: &str) -> (Daemon, Nic, Nic) {
    let daemon = Daemon::start(&config());
    let [mut vm, sender] = ["vm", sender].map(|port| card(&daemon, port));
    vm.send(&frame(Family::V4, 1, 2, &Body::Udp(9, 9)));
    wait_until("the vm to be known", Duration::from_secs(5), || !daemon.fdb().is_empty());
    (daemon, vm, sender)
}

/// What came to the `vm` until two datagrams behind all others, which are allowed: what waited for a first fragment goes on after
/// the burst in which that came, so that the first of these may overtake it, and the second, sent when that is there, may not.
fn until_fence(vm: &mut Nic, sender: &mut Nic, (from, tags): (u8, &[u16]), number: u16) -> Vec<Vec<u8>> {
    let fence = frame(Family::V4, from, 1, &Body::Udp(number, 53));
    let mut came = Vec::new();
    for _ in 0..2 {
        sender.send(&tagged(&fence, tags));
        loop {
            let received = vm.expect_frame("the datagram behind the fragments").bytes;
            if received.starts_with(&fence) {
                break;
            }
            came.push(received);
        }
    }
    // What became of all of them is counted before their buffers are given back.
    sender.drain();
    came
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn fragments_come_in_any_order_and_by_any_tags_and_go_where_their_first_one_may() {
    for (port, number, tags) in SENDERS {
        let (daemon, mut vm, mut sender) = stage(port);
        let mut id = 0;
        for family in Family::BOTH {
            for (order, to) in ORDERS.iter().flat_map(|order| [(order, 53), (order, 54)]) {
                id += 1;
                let parts = cut(family, (number, 1), id, &datagram(1000 + id, to, 600), 208);
                order.iter().for_each(|part| sender.send(&tagged(&parts[*part], tags)));
                let came: BTreeSet<_> =
                    until_fence(&mut vm, &mut sender, (number, tags), id).into_iter().collect();
                let expected = if to == 53 { parts.into_iter().collect() } else { BTreeSet::new() };
                assert_eq!(came, expected, "{port} {family:?} {order:?} to {to}");
            }
        }
        let drops = daemon.show().port(port).drops.clone();
        // The first ones count at the receiver, whose rules do not let them in; so do the others, which are what these are.
        assert!(daemon.show().port("vm").dropped("group-ingress") >= 12, "{port}: {drops:?}");
        assert_eq!(daemon.show().port(port).dropped("fragment-held-full"), 0, "{port}: {drops:?}");
    }
}

/// Tricks: what is sent in this order, how many of these come, and why the last one does not.
const TRICKS: [(&str, &[Part], usize); 7] = [
    ("fragment-tiny", &[(0, 0, true)], 0),
    ("fragment-unaligned", &[(0, 204, true)], 0),
    ("fragment-overlap", &[(0, 208, true), (200, 208, false)], 1),
    ("fragment-overlap", &[(0, 208, true), (200, 208, true), (208, 392, false)], 1),
    ("fragment-duplicate", &[(0, 208, true), (0, 208, true)], 1),
    ("fragment-beyond-end", &[(0, 208, true), (208, 192, false), (400, 200, false)], 2),
    ("fragment-overlong", &[(65_528, 208, false)], 0),
];

#[test]
fn tricks_with_fragments_are_dropped_by_name_with_tags_and_without() {
    for (port, number, tags) in SENDERS {
        let (daemon, mut vm, mut sender) = stage(port);
        let mut id = 0;
        for (family, (reason, parts, passed)) in
            Family::BOTH.into_iter().flat_map(|family| TRICKS.map(|trick| (family, trick)))
        {
            id += 1;
            // An empty fragment of IPv6 is no part of anything that could be tiny.
            let reason = match (family, parts[0].1) {
                (_, 0) => "fragment-empty",
                _ => reason,
            };
            // A datagram that has come as a whole is known no more: what lies behind its end may begin another one.
            let is_over = reason == "fragment-beyond-end";
            let before = daemon.show().port(port).dropped(reason);
            for part in parts {
                sender.send(&tagged(
                    &fragment(family, (number, 1), 100 + id, &datagram(1000 + id, 53, 600), *part),
                    tags,
                ));
            }
            let came = until_fence(&mut vm, &mut sender, (number, tags), id);
            assert_eq!(came.len(), passed, "{port} {family:?} {reason}");
            let dropped = daemon.show().port(port).dropped(reason) - before;
            assert!(is_over || dropped > 0, "{port} {family:?} {reason}");
        }
    }
}

/// What the attacker's ports send, each of its own station to the next one: parts of datagrams that never become whole.
fn half(number: u64, station: u8) -> Vec<u8> {
    let family = Family::BOTH[(number / 2 % 2) as usize];
    let next = if station == 8 { 5 } else { station + 1 };
    let part = if number.is_multiple_of(2) { (208, 208, true) } else { (0, 208, true) };
    let id = (number / 4) as u16;
    // First ones of datagrams of their own, so that no others are decided about.
    let id = if part.0 == 0 { id | 0x8000 } else { id & 0x7fff };
    fragment(family, (station, next), id, &datagram(7, 7, 600), part)
}

#[test]
fn a_flood_of_half_datagrams_from_several_ports_costs_a_neighbour_none_of_his() {
    const FLOOD: Duration = Duration::from_millis(1500);
    const DATAGRAMS: u16 = 16;
    let (daemon, mut vm, mut neighbour) = stage("neighbour");
    let stop = Arc::<AtomicBool>::default();
    let flooders = {
        let mut cards: Vec<_> =
            ATTACKERS.iter().map(|(port, number)| (card(&daemon, port), *number)).collect();
        for (card, number) in &mut cards {
            card.send(&frame(Family::V4, *number, 2, &Body::Udp(9, 9)));
        }
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                for (card, number) in &mut cards {
                    for at in sent..sent + 64 {
                        card.transmit[0].put(NetHeader::default(), &half(at, *number));
                    }
                    card.transmit[0].ring.publish();
                    while card.take().is_some() {}
                }
                sent += 64;
            }
            4 * sent
        })
    };
    let (start, mut rounds) = (Instant::now(), 0_u16);
    // On a machine without a free processor for as long as a few rounds take.
    while start.elapsed() < FLOOD || rounds <= 3 {
        let mut parts: Vec<_> = (0..DATAGRAMS)
            .flat_map(|number| {
                let id = rounds.wrapping_mul(DATAGRAMS).wrapping_add(number);
                let family = Family::BOTH[usize::from(number % 2)];
                let parts = cut(family, (2, 1), id, &datagram(1000 + number, 53, 600), 208);
                ORDERS[usize::from(number) % 6].map(|part| parts[part].clone())
            })
            .collect();
        parts.iter().for_each(|part| neighbour.send(part));
        let mut came = Vec::new();
        while came.len() < parts.len() {
            let received = vm.expect_frame(&format!("a neighbour's fragment, {} of them came", came.len()));
            // What the attacker announced itself with was for nobody.
            if received.bytes[6..12] == parts[0][6..12] {
                came.push(received.bytes);
            }
        }
        came.sort();
        parts.sort();
        assert_eq!(came, parts, "round {rounds}");
        rounds = rounds.wrapping_add(1);
    }
    stop.store(true, Ordering::Relaxed);
    let sent = flooders.join().unwrap();
    let state = daemon.show();
    let dropped: u64 = ATTACKERS.iter().map(|(port, _)| state.port(port).dropped_in_all()).sum();
    println!(
        "{rounds} rounds of {DATAGRAMS} datagrams beside {sent} halves, of which {dropped} were dropped"
    );
    assert!(rounds > 3 && dropped > sent / 4, "{rounds} {sent} {dropped}");
    assert_eq!(state.port("neighbour").dropped_in_all(), 0, "{:?}", state.port("neighbour").drops);
}
