//! Packets that follow others of their flow within a second: what is remembered of earlier ones changes nothing.

use proptest::prelude::*;
use viaduct_switch::packet::Address;
use viaduct_switch::{MacAddress, Nanos};

use crate::lab::*;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A guest sends to a peer, by UDP or TCP with these flags, with these ports and so many hops left.
    Out { from: usize, to: usize, ports: (u16, u16), flags: Option<&'static str>, hops: u8 },
    /// Somebody answers the last packet that left, as often.
    Back { flags: Option<&'static str>, times: u8 },
    /// The last packet is sent once more, with a wrong checksum of its IP header.
    Broken,
    /// Milliseconds pass.
    Wait(u32),
    /// The next station has another Ethernet address, or none that is known.
    Moves(usize, Option<u8>),
    /// A station is seen at another station's port.
    Roams(usize, usize),
    /// The gateway outside has this last byte in its address.
    Renumbered(u8),
}

fn flags() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![None, None, Some("S"), Some("A"), Some("A"), Some("SA"), Some("FA"), Some("R")])
}

fn event() -> impl Strategy<Value = Event> {
    let out =
        (0..3_usize, 3..5_usize, (0..3_u16, 0..2_u16), flags(), prop::sample::select(vec![9, 9, 9, 1, 2]));
    prop_oneof![
        8 => out.prop_map(|(from, to, (a, b), flags, hops)| Event::Out {
            from,
            to,
            ports: (5000 + a, 53 + b),
            flags,
            hops
        }),
        8 => (flags(), 1..4_u8).prop_map(|(flags, times)| Event::Back { flags, times }),
        1 => Just(Event::Broken),
        2 => (0..1500_u32).prop_map(Event::Wait),
        1 => (0..5_usize, prop::option::of(100..102_u8)).prop_map(|(of, mac)| Event::Moves(of, mac)),
        1 => (0..5_usize, 0..5_usize).prop_map(|(who, at)| Event::Roams(who, at)),
        1 => (1..3_u8).prop_map(Event::Renumbered),
    ]
}

/// All that is seen from outside.
type Seen = (Vec<(usize, Vec<u8>)>, Vec<(usize, Vec<u8>)>, Vec<viaduct_switch::DropReason>);

struct Run {
    lab: Lab,
    last: Option<(usize, Vec<u8>)>,
}

fn frame(station: usize, ends: Ends, flags: Option<&str>) -> Vec<u8> {
    match flags {
        None => udp(station, ends),
        Some(flags) => tcp(station, ends, flags, (1000, 2000)),
    }
}

fn with_hops(mut frame: Vec<u8>, hops: u8) -> Vec<u8> {
    frame[22] = hops;
    frame[24..26].fill(0);
    let checksum = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

impl Run {
    fn new(lab: Lab) -> Self {
        Self { lab, last: None }
    }

    fn send(&mut self, station: usize, frame: &[u8]) -> Seen {
        let outside = self.lab.send(station, frame);
        if let [(to, left)] = &outside.sent[..] {
            self.last = Some((*to, left.clone()));
        }
        (outside.sent, outside.offered, outside.dropped)
    }

    fn happens(&mut self, event: &Event) -> Vec<Seen> {
        match *event {
            Event::Out { from, to, ports, flags, hops } => {
                let sent = ends((v4(from), ports.0), (v4(to), ports.1));
                let frame = with_hops(frame(from, sent, flags), hops);
                // Twice, so that the second one may go the way of the first.
                vec![self.send(from, &frame), self.send(from, &frame)]
            }
            Event::Back { flags, times } => {
                let Some((at, left)) = self.last.clone().filter(|(at, _)| *at < NETWORK_OF.len()) else {
                    return Vec::new();
                };
                let frame = frame(at, ends_of(&left).turned(), flags);
                (0..times).map(|_| self.send(at, &frame)).collect()
            }
            Event::Broken => {
                let Some((at, left)) = self.last.clone().filter(|(at, _)| *at < NETWORK_OF.len()) else {
                    return Vec::new();
                };
                let mut frame = frame(at, ends_of(&left).turned(), None);
                frame[25] ^= 1;
                vec![self.send(at, &frame)]
            }
            Event::Wait(ms) => {
                self.lab.now = Nanos(self.lab.now.0 + u64::from(ms) * 1_000_000);
                self.lab.switch.expire_connections(self.lab.now, 1 << 20, |_| {});
                Vec::new()
            }
            Event::Moves(of, mac) => {
                let (network, address) = (network(NETWORK_OF[of]), Address::from(v4(of)));
                match mac {
                    Some(last) => {
                        self.lab.switch.neighbours().set(
                            network,
                            address,
                            MacAddress([2, 0, 0, 0, 0, last]),
                            1,
                        );
                    }
                    None => self.lab.switch.neighbours().clear(network, address),
                }
                Vec::new()
            }
            Event::Roams(who, at) => {
                let mut frame = vec![0; 60];
                frame[..6].copy_from_slice(&gateway(NETWORK_OF[at]).0);
                frame[6..12].copy_from_slice(&mac(who).0);
                vec![self.send(at, &frame)]
            }
            Event::Renumbered(last) => {
                self.lab.apply([192, 0, 2, last].into());
                Vec::new()
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_remembered_of_earlier_packets_changes_nothing(events in prop::collection::vec(event(), 1..80)) {
        let mut runs = [Lab::new(), Lab::new().relying(), Lab::new().relying().without_memory()].map(Run::new);
        for (number, event) in events.iter().enumerate() {
            let [verified, relying, forgetful] = runs.each_mut().map(|run| run.happens(event));
            prop_assert_eq!(&relying, &forgetful, "event {}", number);
            prop_assert_eq!(&verified, &forgetful, "event {}", number);
        }
    }
}

/// The next station's place is looked up once a second, but that it changed is noticed at once.
#[test]
fn a_path_ends_at_once_when_the_station_moves() {
    let mut lab = Lab::new().relying();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let there = lab.pass(A, &udp(A, sent));
    lab.pass(PEER, &udp(PEER, ends_of(&there.1).turned()));
    assert_eq!(lab.pass(A, &udp(A, sent)).0, PEER);
    assert_eq!(lab.pass(A, &udp(A, sent)).0, PEER);
    // The peer's address is seen at the other one's port.
    let mut roams = vec![0; 60];
    roams[..6].copy_from_slice(&[0xff; 6]);
    roams[6..12].copy_from_slice(&mac(PEER).0);
    lab.send(OTHER, &roams);
    assert_eq!(lab.pass(A, &udp(A, sent)).0, OTHER);
    // It has another Ethernet address.
    lab.switch.neighbours().set(network(2), Address::from(v4(PEER)), mac(ROUTER), 1);
    let (to, left) = lab.pass(A, &udp(A, sent));
    assert_eq!((to, &left[..6]), (ROUTER, &mac(ROUTER).0[..]));
    // Nobody knows it any more.
    lab.switch.neighbours().clear(network(2), Address::from(v4(PEER)));
    lab.offer(A, &udp(A, sent));
}
