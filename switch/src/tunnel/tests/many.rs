//! Four hosts with 250 guests each, in simulated time: who is where is learned, floods are bounded, and a cut underlay leaves nothing behind
//! once it is whole.

use std::collections::BTreeSet;

use super::*;

const HOSTS: usize = 4;
const GUESTS: usize = 250;
const ALL: usize = HOSTS * GUESTS;

/// Ports of each host that are nobody's, to be moved to.
const SPARE: usize = 10;

const SECOND: u64 = 1_000_000_000;

/// A guest, by its number among all.
type Guest = usize;

/// A port of a host.
type Place = (usize, usize);

/// What became of a frame.
struct Fate {
    /// Where it came out, each as often as it did.
    places: Vec<Place>,
    /// How many packets of the underlay carried it.
    packets: usize,
}

struct Town {
    hosts: Vec<Host>,
    /// Hosts between which no packet passes.
    is_cut: fn(usize, usize) -> bool,
    places: Vec<Place>,
    chance: u64,
}

fn guest_mac(guest: Guest) -> MacAddress {
    let [.., high, low] = u64::try_from(guest).unwrap().to_be_bytes();
    MacAddress([2, 0, 0, 1, high, low])
}

fn frame_of(from: Guest, to: Option<Guest>) -> Vec<u8> {
    let to = to.map_or(MacAddress::BROADCAST, guest_mac);
    // A type for experiments (IEEE 802, 9.2.3): nothing but addresses is looked at.
    [&to.0[..], &guest_mac(from).0, &[0x88, 0xb5], &[7; 46]].concat()
}

impl Town {
    fn new() -> Self {
        let numbers: Vec<u8> = (1..=HOSTS).map(|number| u8::try_from(number).unwrap()).collect();
        let host = |number: &u8| {
            let others: Vec<u8> = numbers.iter().copied().filter(|other| other != number).collect();
            Host::among(PLAIN, *number, &others, vec![guest(); GUESTS + SPARE])
        };
        let places = (0..ALL).map(|guest| (guest / GUESTS, GUEST + guest % GUESTS)).collect();
        Self { hosts: numbers.iter().map(host).collect(), is_cut: |_, _| false, places, chance: 1 }
    }

    fn any_guest(&mut self) -> Guest {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.chance >> 33).unwrap() % ALL
    }

    fn wait(&mut self, nanos: u64) {
        self.hosts.iter_mut().for_each(|host| host.now.0 += nanos);
    }

    /// A guest sends a frame to another one, or to all.
    fn send(&mut self, from: Guest, to: Option<Guest>) -> Fate {
        self.wait(SECOND / 100);
        let (here, port) = self.places[from];
        let mut fate = Fate { places: Vec::new(), packets: 0 };
        for (receiver, frame) in self.hosts[here].take(port, &frame_of(from, to)) {
            let Some(peer) = self.hosts[here].peers.iter().position(|peer| *peer == receiver) else {
                fate.places.push((here, receiver.get()));
                continue;
            };
            // A host is not among its own peers.
            let there = if peer < here { peer } else { peer + 1 };
            fate.packets += 1;
            if !(self.is_cut)(here, there) {
                let packet = self.hosts[here].wrap(receiver, &frame);
                let arrived = self.hosts[there].take(UPLINK, &packet);
                fate.places.extend(arrived.iter().map(|(port, _)| (there, port.get())));
            }
        }
        fate
    }

    /// All places of hosts that a host reaches, but for one.
    fn all_but(&self, place: Place) -> BTreeSet<Place> {
        let hosts = (0..HOSTS).filter(|host| *host == place.0 || !(self.is_cut)(place.0, *host));
        let ports = |host| (GUEST..GUEST + GUESTS + SPARE).map(move |port| (host, port));
        hosts.flat_map(ports).filter(|other| *other != place).collect()
    }

    /// A frame for all came to each place once, in one packet for each other host.
    fn assert_flooded(&self, from: Guest, fate: &Fate) {
        let places: BTreeSet<Place> = fate.places.iter().copied().collect();
        assert_eq!((places.len(), fate.packets), (fate.places.len(), HOSTS - 1), "nothing came twice");
        assert!(places == self.all_but(self.places[from]), "{} places heard {from}", places.len());
    }

    /// A frame came to this guest, and to nobody twice.
    fn assert_found(&self, to: Guest, fate: &Fate) {
        let places: BTreeSet<Place> = fate.places.iter().copied().collect();
        assert!(places.contains(&self.places[to]), "{to} among {} places", places.len());
        assert!(places.len() == fate.places.len() && fate.packets < HOSTS, "nothing came twice");
    }

    /// A frame for one guest comes to it and nobody else, in no more than one packet.
    fn assert_direct(&mut self, from: Guest, to: Guest) {
        let fate = self.send(from, Some(to));
        assert_eq!(fate.places, [self.places[to]], "{from} to {to}");
        assert_eq!(fate.packets, usize::from(self.places[from].0 != self.places[to].0));
    }

    /// Every guest asks another one, who answers.
    fn everybody_asks(&mut self) {
        for from in 0..ALL {
            let to = self.any_guest();
            let asked = self.send(from, None);
            self.assert_flooded(from, &asked);
            if to != from {
                self.assert_direct(to, from);
            }
        }
    }

    fn pairs(&mut self, count: usize) -> Vec<(Guest, Guest)> {
        let pairs = (0..count).map(|_| (self.any_guest(), self.any_guest()));
        pairs.filter(|(from, to)| from != to).collect()
    }
}

#[test]
fn all_know_where_a_thousand_guests_are_after_each_has_spoken_once() {
    let mut town = Town::new();
    town.everybody_asks();
    for host in &town.hosts {
        assert_eq!(host.switch.fdb(host.now, host.worker.policy()).len(), ALL);
    }
    for (from, to) in town.pairs(5000) {
        town.assert_direct(from, to);
    }
    // All are silent until they are forgotten: then each host asks once for each, and no more.
    town.wait(301 * SECOND);
    let mut asked = BTreeSet::new();
    for (from, to) in town.pairs(2000) {
        if asked.insert((town.places[from].0, to)) {
            let fate = town.send(from, Some(to));
            town.assert_found(to, &fate);
        } else {
            town.assert_direct(from, to);
        }
        town.assert_direct(to, from);
        asked.insert((town.places[to].0, from));
    }
}

#[test]
fn what_a_cut_underlay_kept_apart_is_together_again_when_it_is_whole() {
    let mut town = Town::new();
    town.everybody_asks();
    town.wait(5 * SECOND);
    // Hosts 0 and 1 on one side, 2 and 3 on the other one.
    town.is_cut = |one, other| one / 2 != other / 2;
    for (from, to) in town.pairs(2000) {
        let is_apart = (town.is_cut)(town.places[from].0, town.places[to].0);
        match is_apart {
            true => assert_eq!(town.send(from, Some(to)).places, []),
            false => town.assert_direct(from, to),
        }
    }
    // Guests move from the first host to the last one, where they are heard on that side alone.
    let movers: Vec<Guest> = (0..SPARE).map(|number| number * 7).collect();
    for (number, mover) in movers.iter().enumerate() {
        let (old_host, old_port) = town.places[*mover];
        town.hosts[old_host].switch.forget_port(port(old_port));
        town.places[*mover] = (HOSTS - 1, GUEST + GUESTS + number);
        let heard = town.send(*mover, None);
        town.assert_flooded(*mover, &heard);
        town.assert_direct(2 * GUESTS, *mover);
    }
    // It is whole: whoever was known is reached at once, without any flood.
    town.is_cut = |_, _| false;
    for (from, to) in town.pairs(2000).into_iter().filter(|(_, to)| !movers.contains(to)) {
        if !movers.contains(&from) {
            town.assert_direct(from, to);
        }
    }
    for mover in movers {
        // At its old host nobody knows it: it is asked for everywhere. Host 1 still believes it to be at host 0, which does not send frames
        // back into the tunnels; its first word there ends that.
        let asked = town.send(1, Some(mover));
        town.assert_found(mover, &asked);
        let elsewhere = town.send(GUESTS, Some(mover));
        assert!(elsewhere.packets == 1 && !elsewhere.places.contains(&town.places[mover]));
        town.assert_direct(mover, 1);
        let spoken = town.send(mover, None);
        town.assert_flooded(mover, &spoken);
        for from in [1, GUESTS, 2 * GUESTS, 3 * GUESTS] {
            town.assert_direct(from, mover);
        }
    }
}
