//! A thousand clients of DHCP behind one port at the same time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::nic::{Nic, NicOptions};

const CLIENTS: u32 = 1000;
/// How long it may take until all have an address: the gateway looks at a thousand packets a second of one port, and each
/// client needs two.
const CROWD: Duration = Duration::from_secs(30);
/// A client asks again after this time without an answer.
const AGAIN: Duration = Duration::from_millis(500);
/// From one client to the next, where they come one after the other.
const PACE: Duration = Duration::from_millis(4);
/// How often a quiet moment is looked for.
const ROUNDS: u32 = 10;
/// What a lease may take in a quiet moment.
const LEASE_WITHIN: Duration = Duration::from_millis(10);

const CONFIG: &str = r#"
[network.home]
mode = "routed"
subnets = ["10.0.0.0/20"]
dhcp = { range = "10.0.4.0-10.0.15.200" }
[port.many]
network = "home"
"#;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// An address that was offered, and the server's.
type Offer = ([u8; 4], [u8; 4]);

/// A message of a client: RFC 2131, 2. A request is for the address that it was offered.
fn message(client: u32, kind: u8, offered: Option<Offer>) -> Vec<u8> {
    let [.., high, low] = client.to_be_bytes();
    let mac = [2, 0, 0, 9, high, low];
    let mut data = vec![1, 1, 6, 0];
    data.extend(client.to_be_bytes());
    data.extend([0, 0, 0x80, 0]);
    data.extend([0; 16]);
    data.extend(mac);
    data.extend([0; 202]);
    data.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
    if let Some((address, server)) = offered {
        data.extend([&[50, 4][..], &address, &[54, 4], &server].concat());
    }
    data.push(255);
    let mut frame = Vec::new();
    let ip = PacketBuilder::ethernet2(mac, [0xff; 6]).ipv4([0; 4], [0xff; 4], 64);
    ip.udp(68, 67).write(&mut frame, &data).unwrap();
    frame
}

/// An answer: for which client, its type, its address, and the server's.
struct Answer {
    client: u32,
    kind: u8,
    address: [u8; 4],
    server: [u8; 4],
}

impl Answer {
    /// Reads a frame; `None`: it is something else.
    fn read(frame: &[u8]) -> Option<Self> {
        let is_answer = frame.len() > 282 && frame[12..14] == [8, 0] && frame[34..38] == [0, 67, 0, 68];
        let data = is_answer.then(|| &frame[42..])?;
        let mut options = &data[240..];
        let (mut kind, mut server) = (0, [0; 4]);
        while let [code, length, rest @ ..] = options
            && *code != 255
        {
            let (value, others) = rest.split_at(usize::from(*length));
            match code {
                53 => kind = value[0],
                54 => server = value.try_into().unwrap(),
                _ => {}
            }
            options = others;
        }
        let word = |at: usize| -> [u8; 4] { data[at..at + 4].try_into().unwrap() };
        Some(Self { client: u32::from_be_bytes(word(4)), kind, address: word(16), server })
    }
}

/// The next answer of the server.
fn next(nic: &mut Nic, limit: Duration) -> Option<Answer> {
    let deadline = Instant::now() + limit;
    loop {
        let frame = nic.receive_within(deadline.saturating_duration_since(Instant::now()))?;
        if let Some(answer) = Answer::read(&frame.bytes) {
            return Some(answer);
        }
    }
}

/// All clients at once, each asking again, for what it was offered if it was, until it has an address.
fn lease_all(nic: &mut Nic) -> BTreeSet<[u8; 4]> {
    let mut waiting: BTreeMap<u32, Option<Offer>> = (0..CLIENTS).map(|client| (client, None)).collect();
    let mut leased = BTreeSet::new();
    let start = Instant::now();
    while !waiting.is_empty() {
        assert!(start.elapsed() < CROWD, "{} clients still wait", waiting.len());
        let round = Instant::now();
        let mut asking: VecDeque<u32> = waiting.keys().copied().collect();
        while round.elapsed() < AGAIN && !waiting.is_empty() {
            // A few each time, so that no ring overflows.
            for client in asking.drain(..asking.len().min(4)) {
                let Some(offer) = waiting.get(&client) else { continue };
                nic.send(&message(client, if offer.is_some() { REQUEST } else { DISCOVER }, *offer));
            }
            let wait = if asking.is_empty() { AGAIN } else { Duration::from_millis(1) };
            while let Some(answer) = next(nic, wait.min(AGAIN.saturating_sub(round.elapsed()))) {
                let offer = Some((answer.address, answer.server));
                match (answer.kind, waiting.get_mut(&answer.client)) {
                    (OFFER, Some(offered)) => {
                        *offered = offer;
                        nic.send(&message(answer.client, REQUEST, offer));
                    }
                    (ACK, Some(_)) => {
                        waiting.remove(&answer.client);
                        assert!(leased.insert(answer.address), "{:?} was lent twice", answer.address);
                    }
                    _ => {}
                }
                if waiting.is_empty() {
                    break;
                }
            }
        }
    }
    println!("{CLIENTS} clients have an address after {:?}", start.elapsed());
    leased
}

/// How long a client waits from its request to its lease, one after the other; in rising order.
fn waits(nic: &mut Nic, clients: std::ops::Range<u32>) -> Vec<Duration> {
    let mut waits: Vec<Duration> = clients
        .map(|client| {
            // Within what the gateway looks at of one port.
            std::thread::sleep(PACE);
            nic.send(&message(client, DISCOVER, None));
            let offer = next(nic, CROWD).expect("an offer");
            assert_eq!((offer.client, offer.kind), (client, OFFER));
            let start = Instant::now();
            nic.send(&message(client, REQUEST, Some((offer.address, offer.server))));
            let ack = next(nic, CROWD).expect("a lease");
            assert_eq!((ack.client, ack.kind), (client, ACK));
            start.elapsed()
        })
        .collect();
    waits.sort_unstable();
    waits
}

#[test]
fn a_thousand_clients_get_addresses_of_their_own_and_a_lease_takes_less_than_ten_milliseconds() {
    let daemon = Daemon::start(CONFIG);
    let mut nic = Nic::connect(&daemon.socket("many"), &NicOptions::default());
    let leased = lease_all(&mut nic);
    assert_eq!(leased.len(), CLIENTS as usize);
    let shown = daemon.command(&["show", "leases", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), CLIENTS as usize);
    // What the crowd still had under way is over.
    nic.collect(AGAIN);
    // In a quiet moment: what else the machine has to do makes a lease later, and never sooner.
    let mut slow = Vec::new();
    let is_quick = (0..ROUNDS).any(|round| {
        let first = 2000 + 100 * round;
        let waits = waits(&mut nic, first..first + 100);
        println!("from request to lease: median {:?}, 99th percentile {:?}", waits[50], waits[98]);
        slow.push(waits[98]);
        waits[98] < LEASE_WITHIN
    });
    assert!(is_quick, "a lease took {slow:?}");
}
