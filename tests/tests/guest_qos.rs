//! Scenario S6 with guests: three classes of what goes to one of them share 100 Mbit/s.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::{Duration, Instant};

use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::lab::network;
use viaduct_tests::machine::{Guest, Machine};

/// The tree of the scenario; queues have room for what an emulated guest sends in one go.
const TREE: &str = r#"
[qos.shared]
kind = "htb"
rate = "100mbit"
default = "rest"
[qos.shared.class.web]
rate = "30mbit"
ceil = "100mbit"
queue = { kind = "fifo", packets = 100 }
[qos.shared.class.other]
rate = "10mbit"
ceil = "100mbit"
queue = { kind = "fifo", packets = 100 }
[qos.shared.class.rest]
rate = "60mbit"
ceil = "100mbit"
queue = { kind = "sfq", perturb = "10s" }
[[qos.shared.filter]]
source = "10.0.1.1"
destination_port = 80
class = "web"
[[qos.shared.filter]]
source = "10.0.1.1"
class = "other"
"#;

/// Mbit/s of all classes.
const RATE: f64 = 100.0;
/// Where c listens, for each class.
const PORTS: [u16; 3] = [80, 5201, 5202];
/// How long each mix is measured. A frame more or less is a thousandth of the least share in it.
const WINDOW: Duration = Duration::from_secs(4);
/// How often is looked, meanwhile, whether each class has something to send.
const LOOKS: u32 = 20;
/// How many windows there are at most in which one had not: an emulated guest that offers two floods runs dry now and then, and what
/// its class leaves then is lent to the others, as it has to be.
const WINDOWS: usize = 40;
/// A twentieth of each share, as the scenario has it.
const TOLERANCE: f64 = 0.05;

fn config() -> String {
    let ports = network("lab", &["a", "b", "c"], "");
    format!("{TREE}{}", ports.replace("[port.c]\n", "[port.c]\nqos = \"shared\"\n"))
}

/// Of each class, and of all of them first: bytes that it sent so far, and frames that wait in it.
fn classes(daemon: &Daemon) -> Vec<(String, u64, u64)> {
    let shown = daemon.command(&["show", "qos", "c", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let class = |class: &Value| {
        let number = |field: &str| class[field].as_u64().unwrap();
        (class["name"].as_str().unwrap().to_owned(), number("sent_bytes"), number("backlog_frames"))
    };
    shown["trees"][0]["classes"].as_array().unwrap().iter().map(class).collect()
}

fn class<'a>(classes: &'a [(String, u64, u64)], name: &str) -> &'a (String, u64, u64) {
    classes.iter().find(|(class, ..)| class == name).unwrap()
}

/// Bytes that were sent by a class between the one look and the other.
fn sent(before: &[(String, u64, u64)], after: &[(String, u64, u64)], name: &str) -> u64 {
    class(after, name).1 - class(before, name).1
}

/// Has a guest send more datagrams than there is room for, until it is told to stop.
fn flood(guest: &mut Guest, port: u16) {
    guest.run(&format!(
        "iperf3 -c 10.0.1.3 -u -l 1400 -b 120M -t 100 -p {port} >/dev/null 2>&1 & echo $! >/tmp/flood-{port}"
    ));
}

/// Asserts that these classes get these parts of the whole while all of them have something to send, and c as much as the switch says.
fn assert_shares(daemon: &Daemon, receiver: &mut Guest, shares: &[(&str, f64)]) {
    let before = classes(daemon);
    wait_until("all classes to send", Duration::from_secs(20), || {
        let now = classes(daemon);
        shares.iter().all(|(name, _)| sent(&before, &now, name) > 500_000)
    });
    for window in 1..=WINDOWS {
        if measure(daemon, receiver, shares) {
            println!("window {window}");
            return;
        }
    }
    panic!("there was no window in which {shares:?} had something to send at each look");
}

/// The same in one window; false if one of them had nothing to send meanwhile, which ends it.
fn measure(daemon: &Daemon, receiver: &mut Guest, shares: &[(&str, f64)]) -> bool {
    let got = |receiver: &mut Guest| -> u64 {
        receiver.run("cat /sys/class/net/eth0/statistics/rx_bytes").trim().parse().unwrap()
    };
    let (got_before, began, before) = (got(receiver), Instant::now(), classes(daemon));
    for _ in 0..LOOKS {
        std::thread::sleep(WINDOW / LOOKS);
        let now = classes(daemon);
        if let Some((name, _)) = shares.iter().find(|(name, _)| class(&now, name).2 == 0) {
            println!("{name} has nothing to send after {:?}", began.elapsed());
            return false;
        }
    }
    let (took, after, got_after) = (began.elapsed().as_secs_f64(), classes(daemon), got(receiver));
    let megabits = |bytes: u64| bytes as f64 * 8e-6 / took;
    for (name, share) in shares.iter().chain(&[("root", RATE)]) {
        let rate = megabits(sent(&before, &after, name));
        println!("{name}: {rate:.2} Mbit/s of {share}");
        assert!((rate / share - 1.0).abs() < TOLERANCE, "{name}: {rate:.2} Mbit/s instead of {share}");
    }
    // The guest's console takes some time to answer, hence a little more.
    let rate = megabits(got_after - got_before);
    assert!((rate / RATE - 1.0).abs() < 2.0 * TOLERANCE, "c itself got {rate:.2} Mbit/s");
    true
}

#[test]
fn classes_of_guests_get_their_shares_and_lend_what_they_leave() {
    let daemon = Daemon::start(&config());
    let names = [("a", "10.0.1.1/24"), ("b", "10.0.1.2/24"), ("c", "10.0.1.3/24")];
    let mut guests = names.map(|(name, address)| Machine::new(name, address).on_port_of(&daemon).power_on());
    guests.iter_mut().for_each(|guest| guest.await_shell());
    let [mut a, mut b, mut c] = guests;
    for port in PORTS {
        c.run(&format!("iperf3 -s -D -p {port}"));
    }
    flood(&mut a, PORTS[0]);
    flood(&mut a, PORTS[1]);
    flood(&mut b, PORTS[2]);
    assert_shares(&daemon, &mut c, &[("web", 30.0), ("other", 10.0), ("rest", 60.0)]);
    // What the rest leaves is lent in proportion; then one alone reaches its ceil.
    b.run("killall iperf3");
    assert_shares(&daemon, &mut c, &[("web", 75.0), ("other", 25.0)]);
    a.run("kill $(cat /tmp/flood-5201)");
    assert_shares(&daemon, &mut c, &[("web", 100.0)]);
}
