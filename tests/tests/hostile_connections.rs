//! Connections under attack, through real rings, in a network whose ports are all filtered. Two neighbours talk over hundreds
//! of connections all the time and lose nothing; what the attacker does costs the attacker.
//!
//! | hostile input | shown by |
//! |---|---|
//! | a flood of SYNs at full speed | `a_syn_flood_*` |
//! | a table filled by one port, or by several that collude; tuples that look alike | `connections_of_*` |
//! | blind resets, SYNs, FINs and data; forged ICMP errors | `blind_*` |
//! | a new flow with each packet | `a_thrash_of_flows_*`; for the attacker's own rate `hostile_floods.rs` |
//! | IP headers that lie | `packets_that_lie_*` |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::stations::{Body, Family, Flags, Stations, Talk, frame, frame_between};
use viaduct_tests::stream::mac;
use viaduct_tests::talks::{SERVER_PORT, Talks, client_port, family, first_sequence};

/// Connections between the neighbours.
const TALKS: u16 = 200;
/// How long a flood lasts.
const FLOOD: Duration = Duration::from_millis(1500);

/// Stations 1 and 2 are the neighbours `a` and `b`, 3 and 4 the attacker's `x` and `y`, 5 and 6 other neighbours; 9 is a port
/// without security, as what lies behind an uplink. `lines` go into the attacker's port `x`.
fn config(lines: &str) -> String {
    let port = |(name, number): (&str, u8)| {
        let more = if name == "x" { lines } else { "" };
        format!(
            "[port.{name}]\nnetwork = 'lab'\nmac = '02:00:00:00:00:{number:02x}'\n\
             addresses = ['10.0.0.{number}', 'fd00::{number:x}']\ngroups = ['open']\n{more}\n"
        )
    };
    let ports = [("a", 1), ("b", 2), ("x", 3), ("y", 4), ("c", 5), ("d", 6), ("z", 7)].map(port).concat();
    format!(
        "[network.lab]\n[group.open]\nrules = [{{ direction = 'ingress' }}]\n{ports}\
         [port.wild]\nnetwork = 'lab'\nmac = '02:00:00:00:00:09'\nport_security = false\n"
    )
}

const UNLIMITED: &str = "new_connections = 'unlimited'\njudged_packets = 'unlimited'";

/// The neighbours at work in a network of this configuration, with a table of this many connections.
fn stage(connections: usize, lines: &str) -> (Daemon, Talks) {
    let daemon = Daemon::start_with(&format!("connections = {connections}"), &config(lines));
    let talks = Talks::start(["a", "b"].map(|port| daemon.socket(port)), [1, 2], TALKS);
    (daemon, talks)
}

/// Connections that are listed for these arguments, all pages.
fn listed(daemon: &Daemon, arguments: &[&str]) -> usize {
    let (mut count, mut from) = (0, "0".to_owned());
    loop {
        let paging = ["show", "connections", "--json", "--limit", "1000", "--from", &from];
        let output = daemon.command(&[&paging, arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let page: Value = serde_json::from_slice(&output.stdout).unwrap();
        count += page["connections"].as_array().unwrap().len();
        match page["next"].as_u64() {
            Some(next) => from = next.to_string(),
            None => return count,
        }
    }
}

/// All that must hold of the neighbours after an attack.
fn assert_unharmed(daemon: &Daemon, talks: Talks) {
    talks.wait_for_rounds(2);
    let worst = talks.worst_round();
    talks.finish();
    println!("the neighbours' longest round took {worst:?}");
    assert_eq!(listed(daemon, &["--port", "a", "--state", "established"]), usize::from(TALKS));
    let state = daemon.show();
    for port in ["a", "b"] {
        assert_eq!(state.port(port).dropped_in_all(), 0, "{port}: {:?}", state.port(port).drops);
    }
}

/// Numbers that look random and are the same each time (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", 2014).
fn random(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Sends as fast as it can from `x` to `y`, in a thread of its own.
struct Flooder {
    stop: Arc<AtomicBool>,
    mode: Arc<AtomicU8>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<u64>>,
}

/// Which frames a flooder sends: none, those that `make` gives for 1, or for 2.
const IDLE: u8 = 0;

impl Flooder {
    /// `make(mode, number)` makes the frames.
    fn start(daemon: &Daemon, make: impl Fn(u8, u64) -> Vec<u8> + Send + 'static) -> Self {
        let options = NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() };
        let [x, mut y] = ["x", "y"].map(|port| Nic::connect(&daemon.socket(port), &options));
        y.send(&frame(Family::V4, 4, 3, &Body::Udp(9, 9)));
        let (stop, mode, sent) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU8>::default(), Arc::<AtomicU64>::default());
        let shared = (Arc::clone(&stop), Arc::clone(&mode), Arc::clone(&sent));
        let work = move || {
            let ((stop, mode, sent), mut x, mut came) = (shared, x, 0);
            while !stop.load(Ordering::Relaxed) {
                let mode = mode.load(Ordering::Relaxed);
                if mode == IDLE {
                    std::thread::sleep(Duration::from_millis(1));
                }
                for _ in 0..if mode == IDLE { 0 } else { 64 } {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    x.transmit[0].put(NetHeader::default(), &make(mode, number));
                }
                x.transmit[0].ring.publish();
                while y.take().is_some() {
                    came += 1;
                }
            }
            x.transmit[0].drain();
            came + y.collect(Duration::from_millis(50)).len() as u64
        };
        let thread = Some(std::thread::Builder::new().name("flooder".into()).spawn(work).unwrap());
        Self { stop, mode, sent, thread }
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::Relaxed);
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; gives how many frames came to `y`, and how many were sent.
    fn finish(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let came = self.thread.take().unwrap().join().unwrap();
        (came, self.sent())
    }
}

/// A SYN of station 3 for station 4's port, with a random tuple in all that port security lets it choose.
fn random_syn(number: u64) -> Vec<u8> {
    let (random, family) = (random(number), Family::BOTH[number as usize % 2]);
    let [a, b, c, d, e, f, ..] = random.to_le_bytes();
    let mut bytes = frame(family, 3, 4, &Body::Start([u16::from_le_bytes([a, b]), 80], random as u32));
    let (destination, transport) = if family == Family::V4 { (31, 34) } else { (50, 54) };
    bytes[destination..destination + 3].copy_from_slice(&[c, d, e]);
    bytes[transport + 2..transport + 4].copy_from_slice(&[f, a | 1]);
    bytes
}

// Floods of SYNs

#[test]
fn a_syn_flood_at_full_speed_displaces_itself_and_the_neighbours_lose_nothing() {
    const CONNECTIONS: usize = 4096;
    let (daemon, talks) = stage(CONNECTIONS, UNLIMITED);
    let flooder = Flooder::start(&daemon, |_, number| random_syn(number));
    flooder.set(1);
    let mut most = (0, 0);
    let start = std::time::Instant::now();
    while start.elapsed() < FLOOD {
        most = (most.0.max(listed(&daemon, &["--port", "x"])), most.1.max(listed(&daemon, &[])));
    }
    let (came, sent) = flooder.finish();
    println!("{sent} SYNs were sent, {came} came; at most {most:?} connections of the flooder and in all");
    // A sixteenth of the table is what one port may have opened that nobody answers. A list is no moment's picture, so what
    // is replaced while it is made may be in it twice: of the bound for all connections it stays far away nevertheless.
    assert!(sent > 10 * CONNECTIONS as u64, "the table was turned over many times: {sent}");
    assert!(listed(&daemon, &["--port", "x"]) <= CONNECTIONS / 16 && most.0 <= CONNECTIONS / 8, "{most:?}");
    assert!(most.1 <= CONNECTIONS / 8 + usize::from(TALKS) + 2, "{most:?}");
    assert_unharmed(&daemon, talks);
}

#[test]
fn a_syn_flood_above_the_default_rate_is_dropped_and_counted_at_the_flooder() {
    let (daemon, talks) = stage(4096, "new_connections = '5kcps'");
    let start = std::time::Instant::now();
    let flooder = Flooder::start(&daemon, |_, number| random_syn(number));
    flooder.set(1);
    std::thread::sleep(FLOOD);
    let (came, sent) = flooder.finish();
    let time = start.elapsed();
    let dropped = daemon.show().port("x").dropped("connection-rate");
    println!("{sent} SYNs were sent in {time:?}, {came} came, {dropped} were dropped as connection-rate");
    // 5000 a second, a quarter of which may come at once.
    let most = 5 * time.as_millis() as u64 + 2000;
    assert!(dropped > 0 && came <= sent - dropped && came < most, "{sent} {came} {dropped}, {most} at most");
    assert_unharmed(&daemon, talks);
}

// A table filled by one port

/// Opens connections from `client` to `server` until one is refused, with tuples that differ in as little as possible; gives
/// how many were opened.
fn fill(stage: &mut Stations, client: &'static str, server: &'static str) -> usize {
    let open = |stage: &mut Stations, number: u16| {
        let family = Family::BOTH[usize::from(number % 2)];
        Talk::open(stage, family, (client, 1024 + number / 2), (server, 80)).is_some()
    };
    (0..4096).take_while(|number| open(stage, *number)).count()
}

#[test]
fn connections_of_colluding_ports_fill_their_shares_and_the_neighbours_still_open_more() {
    let (daemon, talks) = stage(1024, "");
    let stations = [("x", 3), ("y", 4), ("z", 7), ("c", 5), ("d", 6)];
    let mut stage = Stations::on(daemon, &stations);
    let held = [("x", "y"), ("y", "z"), ("z", "x")].map(|(client, server)| fill(&mut stage, client, server));
    println!("{held:?} connections were opened");
    assert!(held.iter().all(|held| *held <= 256) && held[0] == 256, "a quarter of the table each: {held:?}");
    let refused: Vec<u64> = ["x", "y", "z"]
        .iter()
        .map(|port| ["ct-port-full", "ct-table-full"].iter().map(|reason| stage.dropped(port, reason)).sum())
        .collect();
    assert_eq!(refused, [1, 1, 1], "counted at who is refused");
    // Tuples that look alike do not meet in the table: it is full, and not crowded.
    assert!(["x", "y", "z"].iter().all(|port| stage.dropped(port, "ct-crowded") == 0));
    // What is kept for others is there: connections to and from whoever has none.
    for number in 0..8 {
        for (client, server) in [("c", "d"), ("d", "c"), ("c", "x")] {
            let mut talk = Talk::open(&mut stage, Family::V4, (client, 3000 + number), (server, 80))
                .unwrap_or_else(|| panic!("{client} to {server}"));
            assert!(talk.goes_on(&mut stage));
        }
    }
    assert_unharmed(&stage.daemon, talks);
}

// Blind attacks

/// What somebody sends who knows addresses and ports of a connection, but does not see it: to either side, from the other one's
/// address, with numbers that are wrong by at least a window.
fn blind_segments(connection: u16, round: u64) -> Vec<(u8, Body)> {
    let mut bodies = Vec::new();
    for side in 0..2 {
        let mut ports = [client_port(connection), SERVER_PORT];
        if side == 1 {
            ports.reverse();
        }
        // Between a quarter and three quarters of the circle away from all that was said.
        let wrong =
            first_sequence(connection, side).wrapping_add(1 << 30 | random(round) as u32 & 0x7fff_ffff);
        let other =
            first_sequence(connection, 1 - side).wrapping_add(1 << 30 | random(round + 1) as u32 >> 1);
        let segment = |flags, data: &[u8]| Body::Segment(ports, flags, wrong, other, data.to_vec());
        bodies.extend([
            (side as u8, segment(Flags::Rst, b"")),
            (side as u8, segment(Flags::Ack, b"")),
            (side as u8, segment(Flags::Ack, b"data of somebody else")),
            (side as u8, segment(Flags::FinAck, b"")),
            (side as u8, segment(Flags::SynAck, b"")),
            (side as u8, Body::Start(ports, wrong)),
        ]);
        // "Port unreachable" for the other side, about a segment that it did not send just now.
        let quoted = frame(family(connection), 1 + side as u8, 2 - side as u8, &segment(Flags::Ack, b"sent"));
        bodies.push((1 - side as u8, Body::unreachable(family(connection), &quoted)));
    }
    bodies
}

#[test]
fn blind_resets_and_forged_errors_neither_end_nor_disturb_a_neighbours_connection() {
    const ROUNDS: u64 = 20;
    let (daemon, talks) = stage(4096, "");
    let mut stage = Stations::on(daemon, &[("x", 3), ("y", 4), ("wild", 9)]);
    let mut count = 0;
    for round in 0..ROUNDS {
        for connection in 0..TALKS {
            for (from, body) in blind_segments(connection, round * 1000 + u64::from(connection)) {
                let family = family(connection);
                let (from, to) = (from + 1, 2 - from);
                let forged = frame_between(
                    (mac(9), family.address(from)),
                    (mac(to.into()), family.address(to)),
                    &body,
                );
                stage.send("wild", &forged);
                // Port security lets a guest not even try.
                if count % 16 == 0 {
                    let mut forged = forged;
                    forged[6..12].copy_from_slice(&mac(3));
                    stage.send("x", &forged);
                }
                count += 1;
            }
        }
    }
    println!("{count} forged packets were sent");
    let (v4, v6) = (stage.dropped("x", "spoof-ipv4"), stage.dropped("x", "spoof-ipv6"));
    wait_until("all packets of x to be refused", Duration::from_secs(5), || {
        stage.dropped("x", "spoof-ipv4") + stage.dropped("x", "spoof-ipv6") == count / 16
    });
    assert!(v4 > 0 && v6 > 0, "{v4} {v6}");
    for reason in ["ct-reset-outside", "ct-forged-quote", "ct-stray-syn"] {
        assert!(stage.dropped("wild", reason) > 0, "{reason}: {:?}", stage.daemon.show().port("wild").drops);
    }
    assert_unharmed(&stage.daemon, talks);
}

// A new flow with each packet

/// Mode 1: datagrams of one flow that is known; mode 2: each begins a flow of its own, to an address of its own.
fn datagram(mode: u8, number: u64) -> Vec<u8> {
    let mut bytes = frame(Family::V4, 3, 4, &Body::Udp(1000, 2000));
    if mode == 2 {
        let [a, b, c, d, e, ..] = random(number).to_le_bytes();
        bytes[31..38].copy_from_slice(&[a, b, c, d, e, a, b]);
    }
    bytes
}

#[test]
fn a_thrash_of_flows_costs_the_neighbours_little_more_than_as_many_packets_of_one() {
    const ROUNDS: usize = 9;
    const TIME: Duration = Duration::from_millis(200);
    /// What must be left of the neighbours' rate beside a flood at full speed of packets that are of one flow. A packet that
    /// opens a connection in the place of another one costs up to three times what one that is known does.
    const LEAST: f64 = 0.3;
    let (daemon, talks) = stage(4096, UNLIMITED);
    let flooder = Flooder::start(&daemon, datagram);
    let rate = |mode| {
        flooder.set(mode);
        std::thread::sleep(TIME / 10);
        let sent = flooder.sent();
        let rate = talks.rate(TIME);
        (rate, flooder.sent() - sent)
    };
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (rate(2), rate(1))).collect();
    let mut ratios: Vec<f64> = rounds.iter().map(|((new, _), (known, _))| new / known).collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ROUNDS / 2];
    println!("beside new flows the neighbours have {median:.2} of the rate beside a known one: {rounds:.1?}");
    assert!(median > LEAST, "{ratios:.2?} of the neighbours' rate are left: {rounds:.1?}");
    flooder.finish();
    assert_unharmed(&daemon, talks);
}

// IP headers that lie

/// A packet of station 3 for station 4 with this done to its bytes from the IP header on, and why it is dropped; none: it
/// passes.
type Lie = (&'static str, Family, fn(&mut Vec<u8>), Option<&'static str>);

/// Options or extension headers between the fixed header and the UDP header.
fn insert(packet: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    packet.splice(at..at, bytes.iter().copied());
}

/// IPv4 options, with the header's length and the total length made to fit.
fn options(packet: &mut Vec<u8>, bytes: &[u8]) {
    insert(packet, 20, bytes);
    packet[0] = 0x45 + (bytes.len() / 4) as u8;
    packet[3] += bytes.len() as u8;
}

/// Extension headers of eight bytes each, by their numbers, before UDP.
fn extensions(packet: &mut Vec<u8>, kinds: &[u8]) {
    let headers: Vec<u8> = (0..kinds.len())
        .flat_map(|at| [kinds.get(at + 1).copied().unwrap_or(17), 0, 1, 4, 0, 0, 0, 0])
        .collect();
    packet[6] = kinds[0];
    packet[5] += headers.len() as u8;
    insert(packet, 40, &headers);
}

const UNREADABLE: Option<&str> = Some("unreadable");

const LIES: &[Lie] = &[
    ("a header of 16 bytes", Family::V4, |packet| packet[0] = 0x44, UNREADABLE),
    ("a header longer than the packet", Family::V4, |packet| packet[0] = 0x4f, UNREADABLE),
    ("a total length below the header's", Family::V4, |packet| packet[3] = 19, UNREADABLE),
    ("a total length beyond the frame", Family::V4, |packet| packet[2] = 1, UNREADABLE),
    ("another version", Family::V4, |packet| packet[0] = 0x65, UNREADABLE),
    ("padding", Family::V4, |packet| packet.extend([0xee; 40]), None),
    ("padding", Family::V6, |packet| packet.extend([0xee; 40]), None),
    ("a payload beyond the frame", Family::V6, |packet| packet[4] = 1, UNREADABLE),
    ("no room for UDP", Family::V6, |packet| packet[5] = 7, UNREADABLE),
    ("a datagram longer than its packet", Family::V4, |packet| packet[25] = 200, UNREADABLE),
    ("an option that does nothing", Family::V4, |packet| options(packet, &[1, 1, 1, 0]), None),
    ("an option without length", Family::V4, |packet| options(packet, &[7, 0, 0, 0]), UNREADABLE),
    ("an option longer than the header", Family::V4, |packet| options(packet, &[7, 5, 0, 0]), UNREADABLE),
    ("a source route", Family::V4, |packet| options(packet, &[131, 7, 4, 10, 0, 0, 2, 0]), UNREADABLE),
    ("two extension headers", Family::V6, |packet| extensions(packet, &[0, 60]), None),
    ("eight extension headers", Family::V6, |packet| extensions(packet, &[60; 7]), None),
    ("too many extension headers", Family::V6, |packet| extensions(packet, &[60; 9]), UNREADABLE),
    ("hop-by-hop options elsewhere", Family::V6, |packet| extensions(packet, &[60, 0]), UNREADABLE),
    (
        "a routing header of type 0",
        Family::V6,
        |packet| {
            extensions(packet, &[43]);
            packet[42..44].copy_from_slice(&[0, 1]);
        },
        UNREADABLE,
    ),
    (
        "an extension header longer than the packet",
        Family::V6,
        |packet| {
            extensions(packet, &[60]);
            packet[41] = 40;
        },
        UNREADABLE,
    ),
];

#[test]
fn packets_that_lie_about_themselves_reach_nobody_and_are_counted_drops() {
    let (daemon, talks) = stage(4096, "");
    let mut stage = Stations::on(daemon, &[("x", 3), ("y", 4)]);
    for (what, family, lie, reason) in LIES {
        let whole = frame(*family, 3, 4, &Body::Udp(1000, 2000));
        let mut packet = whole[14..].to_vec();
        lie(&mut packet);
        let bytes = [&whole[..14], &packet].concat();
        let before = reason.map(|reason| stage.dropped("x", reason));
        assert_eq!(stage.carries("x", "y", &bytes), reason.is_none(), "{what} {family:?}");
        assert_eq!(reason.map(|reason| stage.dropped("x", reason)), before.map(|count| count + 1), "{what}");
    }
    assert_unharmed(&stage.daemon, talks);
}
