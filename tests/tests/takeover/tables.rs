//! Large tables: what they have passes, and costs guests little of their time.

use std::ops::Range;
use std::time::{Duration, Instant};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::stations::{Body, Family, frame};

use crate::LIMIT;

/// Connections that are open.
const CONNECTIONS: usize = 100_000;
/// Frames that are under way at once.
const BURST: usize = 128;
/// Takeovers, two of which have to make no longer a pause than that.
const ROUNDS: usize = 5;
/// How long nothing may run, on a machine with other work. What it is on a quiet one is printed.
const PAUSE_MAX: Duration = Duration::from_millis(300);

fn config() -> String {
    let port = |(name, number, group): (&str, u8, &str)| {
        format!(
            "[port.{name}]\nnetwork = 'lab'\nmac = '02:00:00:00:00:{number:02x}'\naddresses = ['10.0.0.{number}']\n\
             groups = ['{group}']\nnew_connections = 'unlimited'\njudged_packets = 'unlimited'\n"
        )
    };
    let ports = [("a", 1, "closed"), ("b", 2, "open")].map(port).concat();
    format!(
        "[network.lab]\n[group.open]\nrules = [{{ direction = 'ingress' }}]\n[group.closed]\nrules = []\n{ports}"
    )
}

/// The packet of a connection, there or back.
fn packet(number: usize, is_reply: bool) -> Vec<u8> {
    let (low, high) = (number % 50_000, number / 50_000);
    let (client, server) = (u16::try_from(10_000 + low).unwrap(), u16::try_from(7000 + high).unwrap());
    match is_reply {
        false => frame(Family::V4, 1, 2, &Body::Udp(client, server)),
        true => frame(Family::V4, 2, 1, &Body::Udp(server, client)),
    }
}

/// Sends the packets of these connections from one card to the other: all of them come.
fn carry(daemon: &Daemon, from: &mut Nic, to: &mut Nic, numbers: Range<usize>, is_reply: bool) {
    let wanted = numbers.len();
    numbers.for_each(|number| from.send(&packet(number, is_reply)));
    let (deadline, mut came) = (Instant::now() + LIMIT, 0);
    while came < wanted {
        came += usize::from(to.take().is_some());
        if Instant::now() >= deadline {
            let drops = ["a", "b"].map(|port| daemon.show().port(port).drops.clone());
            panic!("{came} of {wanted} came; {drops:?}");
        }
    }
}

/// Opens these connections, some at a time: a port may have few that nobody has answered.
fn open(daemon: &Daemon, a: &mut Nic, b: &mut Nic, numbers: &Range<usize>) {
    for burst in bursts(numbers) {
        carry(daemon, a, b, burst.clone(), false);
        carry(daemon, b, a, burst, true);
    }
}

fn bursts(numbers: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = numbers.end;
    numbers.clone().step_by(BURST).map(move |start| start..(start + BURST).min(end))
}

/// For how long nothing ran, as the process said that ended.
fn pause(log: &str) -> Duration {
    let (_, rest) = log.rsplit_once("nothing ran here for ").unwrap();
    Duration::from_micros(rest.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_hundred_thousand_connections_pass_and_the_latest_ones_too() {
    let mut daemon = Daemon::start_with("connections = 524288", &config());
    let options = NicOptions { queue_size: 256, send_buffers: 256, ..NicOptions::default() };
    let [mut a, mut b] = ["a", "b"].map(|port| Nic::connect(&daemon.socket(port), &options));
    ["a", "b"].iter().for_each(|port| daemon.wait_for_state(port, "running"));
    let begun = Instant::now();
    open(&daemon, &mut a, &mut b, &(0..CONNECTIONS));
    println!("{CONNECTIONS} connections were opened within {:?}", begun.elapsed());
    // Twice, for a process that has taken over can be taken over; and with what opened a moment before. What else the machine has to do
    // makes a pause longer, and never shorter.
    let mut pauses = Vec::new();
    for round in 0..ROUNDS {
        let latest = CONNECTIONS + round * BURST..CONNECTIONS + (round + 1) * BURST;
        open(&daemon, &mut a, &mut b, &latest);
        daemon.take_over();
        wait_until("the pause in the log", LIMIT, || {
            daemon.log().matches("nothing ran here for").count() > round
        });
        let pause = pause(&daemon.log());
        println!("with {} connections nothing ran for {pause:?}", latest.end);
        // The other side's rules let nothing in: what comes back is of connections that are known.
        bursts(&(0..latest.end)).for_each(|burst| carry(&daemon, &mut b, &mut a, burst, true));
        pauses.push(pause);
        if pauses.iter().filter(|pause| **pause < PAUSE_MAX).count() == 2 {
            break;
        }
    }
    assert!(pauses.iter().filter(|pause| **pause < PAUSE_MAX).count() == 2, "{pauses:?}");
    let state = daemon.show();
    assert_eq!(
        state.port("a").dropped_in_all() + state.port("b").dropped_in_all(),
        0,
        "{}",
        daemon.log_tail()
    );
    let left = daemon.directory().join("state/connections.rest");
    wait_until("what was told apart to be forgotten", LIMIT, || !left.exists());
}
