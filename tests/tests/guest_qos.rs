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
/// How often it is at most: an emulated guest stands still for a moment now and then, and what its class leaves then is lent to others.
const WINDOWS: usize = 8;
/// A twentieth of each share, as the scenario has it.
const TOLERANCE: f64 = 0.05;

fn config() -> String {
    let ports = network("lab", &["a", "b", "c"], "");
    format!("{TREE}{}", ports.replace("[port.c]\n", "[port.c]\nqos = \"shared\"\n"))
}

/// Bytes that each class sent so far, and all of them first.
fn sent(daemon: &Daemon) -> Vec<(String, u64)> {
    let shown = daemon.command(&["show", "qos", "c", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let class =
        |class: &Value| (class["name"].as_str().unwrap().to_owned(), class["sent_bytes"].as_u64().unwrap());
    shown["trees"][0]["classes"].as_array().unwrap().iter().map(class).collect()
}

fn bytes_of(sent: &[(String, u64)], name: &str) -> u64 {
    sent.iter().find(|(class, _)| class == name).map_or(0, |(_, bytes)| *bytes)
}

/// Has a guest send more datagrams than there is room for, until it is told to stop.
fn flood(guest: &mut Guest, port: u16) {
    guest.run(&format!(
        "iperf3 -c 10.0.1.3 -u -l 1400 -b 120M -t 100 -p {port} >/dev/null 2>&1 & echo $! >/tmp/flood-{port}"
    ));
}

/// Asserts that these classes get these parts of the whole, and c as much as the switch says.
fn assert_shares(daemon: &Daemon, receiver: &mut Guest, shares: &[(&str, f64)]) {
    let before = sent(daemon);
    wait_until("all classes to send, and the others to be empty", Duration::from_secs(20), || {
        let now = sent(daemon);
        shares.iter().all(|(name, _)| bytes_of(&now, name) > bytes_of(&before, name) + 500_000)
    });
    let mut wrong = Vec::new();
    while wrong.len() < WINDOWS {
        match measure(daemon, receiver, shares) {
            Ok(()) => return,
            Err(what) => wrong.push(what),
        }
    }
    panic!("{wrong:#?}");
}

/// The same of one window.
fn measure(daemon: &Daemon, receiver: &mut Guest, shares: &[(&str, f64)]) -> Result<(), String> {
    let got = |receiver: &mut Guest| -> u64 {
        receiver.run("cat /sys/class/net/eth0/statistics/rx_bytes").trim().parse().unwrap()
    };
    let (began, before, got_before) = (Instant::now(), sent(daemon), got(receiver));
    std::thread::sleep(WINDOW);
    let (took, after, got_after) = (began.elapsed().as_secs_f64(), sent(daemon), got(receiver));
    let megabits = |bytes: u64| bytes as f64 * 8e-6 / took;
    for (name, share) in shares.iter().chain(&[("root", RATE)]) {
        let rate = megabits(bytes_of(&after, name) - bytes_of(&before, name));
        println!("{name}: {rate:.2} Mbit/s of {share}");
        if (rate / share - 1.0).abs() > TOLERANCE {
            return Err(format!("{name}: {rate:.2} Mbit/s instead of {share}"));
        }
    }
    // The guest's console takes some time to answer, hence a little more.
    let rate = megabits(got_after - got_before);
    if (rate / RATE - 1.0).abs() > 2.0 * TOLERANCE {
        return Err(format!("c itself got {rate:.2} Mbit/s"));
    }
    Ok(())
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
