//! Scenario S6 at 100 Mbit/s: three classes of what goes to one station, each with its share, lent to the others when it is idle; and
//! a neighbour without a QoS, which notices nothing of it.

use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::Value;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::iperf;
use viaduct_tests::tun::within;

use super::{LIMIT, Stage, port};

const EXAMPLE: &str = include_str!("../../../examples/noisy-neighbour.toml");

/// The station c's tree: the example's, for a station here, but for the queues' room: datagrams come in rows of a millisecond.
fn tree() -> String {
    let (_, tree) = EXAMPLE.split_once("[qos.shared]").unwrap();
    let (tree, _) = tree.split_once("# each guest").unwrap();
    let tree = tree.replace("packets = 5 }", "packets = 50 }").replace("1.2.3.4", "10.0.1.1");
    assert!(tree.matches("packets = 50 }").count() == 2 && tree.matches("10.0.1.1").count() == 2, "{tree}");
    format!("[qos.shared]{tree}")
}

const QUEUE: &str = "[qos.shared]\negress = { kind = \"tbf\", rate = \"20mbit\" }\n";

/// The classes, with the station that sends for each, and to which port of c.
const CLASSES: [(&str, usize, u16); 3] = [("web", 0, 80), ("other", 0, 5201), ("rest", 1, 5202)];

/// How long streams last, and for how long of that they are measured.
const SECONDS: u64 = 4;
const WINDOW: Duration = Duration::from_secs(2);

/// A twentieth of each share.
const TOLERANCE: f64 = 0.05;
/// How often each mix is measured at most.
const TRIES: usize = 4;

fn config(qos: &str) -> String {
    let ports = [port("a", ""), port("b", ""), port("c", "qos = \"shared\"\n")].concat();
    format!("{qos}[network.lab]\n{ports}")
}

/// The same with c out there, behind an uplink before which the tree is.
fn config_of_uplink() -> String {
    let uplink = "[uplink.c]\ninterface = \"veth-c\"\nqos = \"shared\"\n";
    let network = "[network.lab]\nmode = \"bridged\"\nuplink = \"c\"\n";
    [&tree(), uplink, network, &port("a", ""), &port("b", "")].concat()
}

/// What was counted, and when.
struct Reading {
    at: Instant,
    /// How long reading took: it was some time in that.
    took: Duration,
    /// Bytes that c got, by its own count.
    got: u64,
    /// Those of each class, and of all of them first, by the switch's.
    sent: Vec<(String, u64)>,
}

impl Reading {
    fn new(stage: &Stage) -> Self {
        let began = Instant::now();
        let got = within(&stage.stations[2], || fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let shown = stage.daemon.command(&["show", "qos", "c", "--json"]);
        let took = began.elapsed();
        let got = got.lines().find_map(|line| line.trim().strip_prefix("eth0:")?.split_whitespace().next());
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let classes = shown["trees"][0]["classes"].as_array().unwrap();
        let class = |class: &Value| {
            (class["name"].as_str().unwrap().to_owned(), class["sent_bytes"].as_u64().unwrap())
        };
        Self {
            at: began + took / 2,
            took,
            got: got.unwrap().parse().unwrap(),
            sent: classes.iter().map(class).collect(),
        }
    }

    /// The quickest of some, which says best how much there was when.
    fn quick(stage: &Stage) -> Self {
        let mut best = Self::new(stage);
        for _ in 0..9 {
            if best.took < WINDOW / 100 {
                break;
            }
            let next = Self::new(stage);
            if next.took < best.took {
                best = next;
            }
        }
        best
    }

    fn of(&self, name: &str) -> u64 {
        self.sent.iter().find(|(class, _)| class == name).map_or(0, |found| found.1)
    }
}

/// What each class, and all of them first, gets in Mbit/s, while these send more than there is; and what c gets by its own count.
fn rates(stage: &Stage, busy: &[&str]) -> (Vec<(String, f64)>, f64) {
    thread::scope(|scope| {
        for (_, station, port) in CLASSES.iter().filter(|(name, ..)| busy.contains(name)) {
            let options = format!("-p {port} -u -l 1400 -b 130M");
            scope.spawn(move || {
                iperf("10.0.1.3", SECONDS, &options, |command| stage.stations[*station].run(command))
            });
        }
        let before = Reading::new(stage);
        wait_until("all to send", LIMIT, || {
            let now = Reading::new(stage);
            busy.iter().all(|name| now.of(name) > before.of(name) + 500_000)
        });
        let before = Reading::quick(stage);
        thread::sleep(WINDOW);
        let after = Reading::quick(stage);
        let took = after.at - before.at;
        let megabits = |bytes: u64| bytes as f64 * 8e-6 / took.as_secs_f64();
        let rate = |(name, sent): &(String, u64)| (name.clone(), megabits(sent - before.of(name)));
        let rates: Vec<_> = after.sent.iter().map(rate).collect();
        (rates, megabits(after.got - before.got))
    })
}

/// What is wrong with a rate, if something is.
fn problem(what: &str, rate: f64, expected: f64) -> Option<String> {
    let is_near = (rate / expected - 1.0).abs() <= TOLERANCE;
    (!is_near).then(|| format!("{what}: {rate:.2} Mbit/s instead of {expected:.2}"))
}

/// What is wrong with the shares, once measured. All of them together are never more than there is.
fn wrong_shares(stage: &Stage, busy: &[&str], shares: &[f64]) -> Vec<String> {
    let (rates, got) = rates(stage, busy);
    assert!(rates[0].1 <= 100.0 * (1.0 + TOLERANCE), "all classes: {:.2} Mbit/s", rates[0].1);
    let mut wrong = Vec::from_iter(problem("what c itself got", got, rates[0].1));
    wrong.extend(problem("all classes", rates[0].1, 100.0));
    for (name, share) in busy.iter().zip(shares) {
        let (_, rate) = rates.iter().find(|(class, _)| class == name).unwrap();
        wrong.extend(problem(&format!("{name} of {busy:?}"), *rate, *share));
    }
    wrong
}

/// Asserts that `measure` finds nothing wrong in one of so many times: whoever is not run for a while leaves to others what is his.
fn assert_right(mut measure: impl FnMut() -> Vec<String>) {
    let mut wrong = Vec::new();
    while wrong.len() < TRIES {
        let found = measure();
        if found.is_empty() {
            return;
        }
        wrong.push(found);
    }
    panic!("{wrong:#?}");
}

fn assert_shares(stage: &Stage, busy: &[&str], shares: &[f64]) {
    assert_right(|| wrong_shares(stage, busy, shares));
}

#[test]
fn what_leaves_by_an_uplink_shares_its_tree() {
    let stage = Stage::new(&config_of_uplink(), &CLASSES.map(|(_, _, port)| port));
    assert_shares(&stage, &["web", "other", "rest"], &[30.0, 10.0, 60.0]);
    // What one leaves is lent in proportion.
    assert_shares(&stage, &["other", "rest"], &[100.0 / 7.0, 600.0 / 7.0]);
}

#[test]
fn classes_get_their_shares_lend_what_they_leave_and_harm_no_neighbour() {
    let stage = Stage::new(&config(&tree()), &CLASSES.map(|(_, _, port)| port));
    let _neighbour = stage.serve(1, 5203);
    let shares: [(&[&str], &[f64]); 3] = [
        (&["web", "other", "rest"], &[30.0, 10.0, 60.0]),
        // What the rest leaves is lent in proportion.
        (&["web", "other"], &[75.0, 25.0]),
        (&["web"], &[100.0]),
    ];
    for (busy, shares) in shares {
        assert_right(|| {
            thread::scope(|scope| {
                let options = "-p 5203 -u -l 1400 -b 20M";
                let stations = &stage.stations;
                let free = scope
                    .spawn(move || iperf("10.0.1.2", SECONDS, options, |command| stations[2].run(command)));
                let mut wrong = wrong_shares(&stage, busy, shares);
                wrong.extend(problem("the neighbour", free.join().unwrap() / 1e6, 20.0));
                wrong
            })
        });
    }
    // Another tree while frames may still wait.
    let told = stage.daemon.apply(&config(QUEUE));
    assert!(told.contains("qos shared"), "{told}");
    wait_until("the queue to follow the tree", LIMIT, || {
        let shown = stage.daemon.command(&["show", "qos", "c"]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        shown.starts_with("shared, before c\n") && !shown.contains("web")
    });
    let rate = iperf("10.0.1.3", 2, "-p 80", |command| stage.stations[0].run(command)) / 1e6;
    assert!((15.0..20.0).contains(&rate), "TCP by a queue of 20 Mbit/s: {rate:.2} Mbit/s");
}
