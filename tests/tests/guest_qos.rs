//! Scenario S6 with guests: three classes of what goes to one of them share 100 Mbit/s.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::{Duration, Instant};

use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::lab::network;
use viaduct_tests::machine::{Guest, Machine};

/// The tree of the scenario; queues have room for all that TCP has under way, since an emulated guest sends now much and now nothing.
const TREE: &str = r#"
[qos.shared]
kind = "htb"
rate = "100mbit"
default = "rest"
[qos.shared.class.web]
rate = "30mbit"
ceil = "100mbit"
queue = { kind = "fifo", packets = 2000 }
[qos.shared.class.other]
rate = "10mbit"
ceil = "100mbit"
queue = { kind = "fifo", packets = 2000 }
[qos.shared.class.rest]
rate = "60mbit"
ceil = "100mbit"
queue = { kind = "sfq", packets = 2000, depth = 2000, perturb = "10s" }
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
/// How long is waited between two looks at what waits: far less than what waits lasts for.
const LOOK: Duration = Duration::from_millis(50);
/// How long may pass until there is a window in which each class had something to send all the time: what others had left has to leave
/// first, and what a class leaves that runs dry is lent, as it has to be.
const LIMIT: Duration = Duration::from_secs(90);
/// A twentieth of each share, as the scenario has it.
const TOLERANCE: f64 = 0.05;

fn config() -> String {
    let ports = network("lab", &["a", "b", "c"], "");
    format!("{TREE}{}", ports.replace("[port.c]\n", "[port.c]\nqos = \"shared\"\n"))
}

/// What a class did so far.
struct Class {
    name: String,
    sent_bytes: u64,
    /// Bytes that wait in it.
    backlog_bytes: u64,
}

/// All classes, the root first.
fn classes(daemon: &Daemon) -> Vec<Class> {
    let shown = daemon.command(&["show", "qos", "c", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let class = |class: &Value| {
        let number = |field: &str| class[field].as_u64().unwrap();
        Class {
            name: class["name"].as_str().unwrap().to_owned(),
            sent_bytes: number("sent_bytes"),
            backlog_bytes: number("backlog_bytes"),
        }
    };
    shown["trees"][0]["classes"].as_array().unwrap().iter().map(class).collect()
}

fn class<'a>(classes: &'a [Class], name: &str) -> &'a Class {
    classes.iter().find(|class| class.name == name).unwrap()
}

/// Bytes that were sent by a class between the one look and the other.
fn sent(before: &[Class], after: &[Class], name: &str) -> u64 {
    class(after, name).sent_bytes - class(before, name).sent_bytes
}

/// Whether a class may have had nothing to send at some time between the two looks: only if as much as had waited was sent, as nothing
/// that waits is dropped but for something that takes its place.
fn may_have_run_dry(before: &[Class], after: &[Class], name: &str) -> bool {
    let [before, after] = [before, after].map(|classes| class(classes, name));
    after.sent_bytes - before.sent_bytes >= before.backlog_bytes
}

/// Has a guest send as much as there is room for, until it is told to stop. By TCP, whose super-frames cost an emulated guest so little that
/// it can offer more than its classes may have.
fn flood(guest: &mut Guest, port: u16) {
    guest.run(&format!("iperf3 -c 10.0.1.3 -t 400 -p {port} >/dev/null 2>&1 & echo $! >/tmp/flood-{port}"));
}

/// Whether a class has something to send exactly if it is among those that share the rate.
fn are_busy(classes: &[Class], shares: &[(&str, f64)]) -> bool {
    let leaves = classes.iter().filter(|class| class.name != "root");
    leaves
        .into_iter()
        .all(|class| (class.backlog_bytes > 0) == shares.iter().any(|(name, _)| *name == class.name))
}

/// Asserts that these classes get these parts of the whole while all of them have something to send, and c as much as the switch says.
fn assert_shares(daemon: &Daemon, receiver: &mut Guest, shares: &[(&str, f64)]) {
    let mut windows = 0;
    wait_until(
        "a window in which these classes and no others had something to send all the time",
        LIMIT,
        || {
            windows += 1;
            measure(daemon, receiver, shares)
        },
    );
    println!("window {windows}");
}

/// The same in one window; false if one of them may have had nothing to send meanwhile, which ends it.
fn measure(daemon: &Daemon, receiver: &mut Guest, shares: &[(&str, f64)]) -> bool {
    let got = |receiver: &mut Guest| -> u64 {
        receiver.run("cat /sys/class/net/eth0/statistics/rx_bytes").trim().parse().unwrap()
    };
    let (got_before, began, before) = (got(receiver), Instant::now(), classes(daemon));
    let mut last = classes(daemon);
    if !are_busy(&last, shares) {
        return false;
    }
    while began.elapsed() < WINDOW {
        std::thread::sleep(LOOK);
        let now = classes(daemon);
        if !are_busy(&now, shares) || shares.iter().any(|(name, _)| may_have_run_dry(&last, &now, name)) {
            println!("a class may have had nothing to send after {:?}", began.elapsed());
            return false;
        }
        last = now;
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
