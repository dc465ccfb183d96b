//! `viaduct watch` and `viaduct trace --next`: what is told of real frames is what became of them, and whoever watches, or
//! stops reading what he asked for, costs nobody a frame.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use viaduct_tests::control_plane;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::ring::Piece;

const CONFIG: &str = r#"
[network.lab]
[port.web]
network = "lab"
mac = "02:00:00:00:00:05"
addresses = ["10.0.0.5"]
[port.db]
network = "lab"
mac = "02:00:00:00:00:09"
addresses = ["10.0.0.9"]
"#;

fn api(daemon: &Daemon) -> std::path::PathBuf {
    daemon.directory().join("run/api.sock")
}

/// A running `viaduct watch --json`, ended when it is dropped.
struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watcher {
    /// Watches from the moment at which this returns.
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("--socket").arg(api(daemon)).args(["watch", "--json"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut watcher = Self { child, lines };
        assert!(watcher.line()["sampling"]["frames"].is_u64(), "the first line says how much was seen");
        watcher
    }

    fn line(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("the watch goes on").unwrap()).unwrap()
    }

    /// The next sample.
    fn sample(&mut self) -> Value {
        loop {
            let line = self.line();
            if line["sample"].is_object() {
                return line["sample"].clone();
            }
        }
    }
}

fn frame(daemon: &Daemon, port: &str, packet: &str) -> Vec<u8> {
    daemon.described(port, packet)
}

fn pair(daemon: &Daemon) -> [Nic; 2] {
    ["web", "db"].map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()))
}

#[test]
fn frames_are_told_with_names_and_what_became_of_them() {
    let daemon = Daemon::start(CONFIG);
    let [mut web, mut db] = pair(&daemon);
    let syn = frame(&daemon, "web", "tcp 10.0.0.5:4000 > 10.0.0.9:3306");
    let spoofed = frame(&daemon, "web", "udp 10.0.0.7:53 > 10.0.0.9:53");
    let mut all = Watcher::start(&daemon, &[]);
    let mut drops = Watcher::start(&daemon, &["--drops", "--port", "web"]);
    let mut filtered = Watcher::start(&daemon, &["--count", "1", "tcp", "port", "3306"]);
    web.send(&spoofed);
    web.send(&syn);
    db.expect_frame("the SYN");
    let first = all.sample();
    assert_eq!((first["port"].as_str(), first["network"].as_str()), (Some("web"), Some("lab")));
    assert!(first["packet"].as_str().unwrap().starts_with("udp 10.0.0.7:53 > 10.0.0.9:53"));
    let second = all.sample();
    assert_eq!(second["verdict"]["kind"], "sent");
    assert_eq!(second["verdict"]["receivers"][0]["port"], "db");
    let dropped = drops.sample();
    assert_eq!(dropped["verdict"]["reason"], "spoof-ipv4");
    assert_eq!(dropped["step"]["stage"], "port-security");
    assert_eq!(filtered.sample()["packet"], second["packet"]);
    assert!(filtered.child.wait().unwrap().success(), "it had its one sample");
}

#[test]
fn what_a_receiver_loses_is_told_with_its_name_and_what_nobody_could_read_by_number() {
    let daemon = Daemon::start(CONFIG);
    let [mut web, mut db] = pair(&daemon);
    // The switch has to know where it is.
    db.send(&frame(&daemon, "db", "udp 10.0.0.9:1 > 10.0.0.5:1"));
    web.expect_frame("what makes db known");
    let syn = frame(&daemon, "web", "tcp 10.0.0.5:4000 > 10.0.0.9:3306");
    let mut drops = Watcher::start(&daemon, &["--drops"]);
    // Its ring takes 256, and 1000 wait for it. It reads none.
    while daemon.show().port("db").dropped("no-buffer") == 0 {
        (0..200).for_each(|_| web.send(&syn));
    }
    // Of a flood only samples are told; what comes after a pause is.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(11));
        web.send(&syn);
    }
    let lost = drops.sample();
    let verdict = &lost["verdict"];
    assert_eq!((&verdict["kind"], &verdict["reason"]), (&"dropped".into(), &"no-buffer".into()), "{lost}");
    assert_eq!(lost["lost_at"], serde_json::json!({ "port": "db", "reason": "no-buffer" }));
    assert_eq!(verdict["receivers"][0]["port"], "db");
    let mut unread = Watcher::start(&daemon, &["--drops", "--port", "web"]);
    // Shorter than the header that stands before each frame.
    let (queue, address) = (&mut web.transmit[0], web.spare);
    assert!(queue.ring.add(&[Piece { address, length: 5, writable: false }], None, 0));
    queue.ring.publish();
    let told = std::iter::from_fn(|| Some(unread.sample())).find(|told| told["lost_at"].is_null()).unwrap();
    assert_eq!((&told["port"], &told["verdict"]["reason"]), (&"web".into(), &"bad-chain".into()), "{told}");
    assert_eq!(
        (told["packet"].as_str(), &told["network"]),
        (Some("a frame that was not read"), &Value::Null)
    );
}

#[test]
fn the_next_real_packet_is_traced_and_told_with_what_became_of_it() {
    let daemon = Daemon::start(CONFIG);
    let [mut web, _db] = pair(&daemon);
    let syn = frame(&daemon, "web", "tcp 10.0.0.5:4000 > 10.0.0.9:3306");
    let other = frame(&daemon, "web", "udp 10.0.0.5:53 > 10.0.0.9:53");
    let traced = std::thread::scope(|scope| {
        let asker = scope.spawn(|| daemon.command(&["trace", "web", "--next", "port 3306", "--json"]));
        while !asker.is_finished() {
            web.send(&other);
            web.send(&syn);
            std::thread::sleep(Duration::from_millis(20));
        }
        asker.join().unwrap()
    });
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let traced: Value = serde_json::from_slice(&traced.stdout).unwrap();
    assert!(traced["packet"].as_str().unwrap().starts_with("tcp 10.0.0.5:4000 > 10.0.0.9:3306 flags syn"));
    assert_eq!(traced["happened"]["receivers"], traced["verdict"]["receivers"]);
    let none = daemon.command(&["trace", "web", "--next", "icmp", "--timeout", "1"]);
    let told = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(!none.status.success() && told.contains("no such packet entered within 1 s"), "{told}");
}

#[test]
fn a_reader_that_stalls_under_a_flood_costs_nobody_a_frame() {
    /// Frames of the flood, in portions that the receiver has buffers for.
    const PORTIONS: usize = 200;
    const PORTION: usize = 100;
    let daemon = Daemon::start(CONFIG);
    let [mut web, mut db] = pair(&daemon);
    let syn = frame(&daemon, "web", "tcp 10.0.0.5:4000 > 10.0.0.9:3306");
    let stalled: Vec<UnixStream> = (0..4)
        .map(|_| {
            let mut stream = UnixStream::connect(api(&daemon)).unwrap();
            stream.write_all(b"POST /v1/watch HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            // The head of the answer; nothing more is read.
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let refused = daemon.command(&["watch"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("4 watch already"), "{told}");
    for _ in 0..PORTIONS {
        (0..PORTION).for_each(|_| web.send(&syn));
        for number in 0..PORTION {
            assert_eq!(db.expect_frame("a frame of the flood").bytes, syn, "{number}");
        }
    }
    web.drain();
    let web = daemon.show().port("web").clone();
    assert_eq!(web.received.frames, (PORTIONS * PORTION) as u64);
    assert!(web.drops.is_empty() && daemon.show().port("db").drops.is_empty());
    drop(stalled);
    wait_until("a place to be free again", Duration::from_secs(10), || {
        daemon
            .command(&["trace", "web", "--next", "arp", "--timeout", "0"])
            .stderr
            .windows(12)
            .any(|told| told == b"no such pack")
    });
}

/// Rounds with nothing else going on, and as many between them with all that people and programs ask.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(600);
/// A frame each so many microseconds, and at most so many under way: none is lost for want of room.
const PACE_US: u128 = 100;
const WINDOW: usize = 128;

/// What a round carried: frames in a second, and how long 99 of 100 were under way at most.
#[derive(Clone, Copy, Debug)]
struct Carried {
    rate: f64,
    p99: Duration,
}

fn carry(web: &mut Nic, db: &mut Nic, frame: &[u8]) -> Carried {
    let (began, mut sent) = (Instant::now(), 0);
    let (mut under_way, mut took) = (VecDeque::new(), Vec::new());
    while began.elapsed() < ROUND || !under_way.is_empty() {
        while sent < began.elapsed().min(ROUND).as_micros() / PACE_US && under_way.len() < WINDOW {
            under_way.push_back(Instant::now());
            web.send(frame);
            sent += 1;
        }
        while let Some(received) = db.take() {
            assert_eq!(received.bytes, frame);
            took.push(under_way.pop_front().expect("no frame comes twice").elapsed());
        }
        assert!(began.elapsed() < 20 * ROUND, "{} frames are lost", under_way.len());
    }
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    took.sort_unstable();
    Carried { rate, p99: took[took.len() * 99 / 100] }
}

/// The median of both.
fn medians(mut rounds: Vec<Carried>) -> Carried {
    rounds.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let rate = rounds[rounds.len() / 2].rate;
    rounds.sort_by_key(|round| round.p99);
    Carried { rate, p99: rounds[rounds.len() / 2].p99 }
}

/// A capture and a watch of all that goes on, whose readers read, scrapes of metrics and changes of a port, until `work` is done.
///
/// # Panics
/// A reader ends by itself. `None`: the asker was hardly run meanwhile.
fn asked<T>(daemon: &Daemon, work: impl FnOnce() -> T) -> Option<T> {
    let start = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("--socket").arg(api(daemon)).args(words);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut readers = [start(&["capture", "web", "-w", "/dev/null"]), start(&["watch", "--json"])];
    let is_done = AtomicBool::new(false);
    let (done, changes) = std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut changes = 0;
            while !is_done.load(Ordering::Relaxed) {
                let groups = ["{\"groups\": [\"a\"]}", "{\"groups\": [\"a\", \"b\"]}"][changes % 2];
                let (status, ..) = control_plane::ask(daemon, ("PATCH", "/v1/ports/spare"), None, groups);
                assert_eq!(status, 200);
                let (status, _, metrics) = control_plane::ask_text(daemon, ("GET", "/metrics"), None, "");
                assert!(status == 200 && metrics.contains("viaduct_port_receive_frames_total"), "{metrics}");
                changes += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            changes
        });
        let done = work();
        is_done.store(true, Ordering::Relaxed);
        (done, asker.join().unwrap())
    });
    for reader in &mut readers {
        assert!(reader.try_wait().unwrap().is_none(), "a capture or a watch ended by itself");
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
    (changes > 5).then_some(done)
}

/// What frames in a second there are, and how long they take, with nothing else going on and with all of it: medians of rounds of both by
/// turns.
fn compared(daemon: &Daemon, web: &mut Nic, db: &mut Nic, frame: &[u8]) -> [Carried; 2] {
    let (mut idle, mut busy, mut tries) = (Vec::new(), Vec::new(), 0);
    while busy.len() < ROUNDS {
        tries += 1;
        assert!(tries < 4 * ROUNDS, "hardly a change was made meanwhile");
        let without = carry(web, db, frame);
        if let Some(with) = asked(daemon, || carry(web, db, frame)) {
            idle.push(without);
            busy.push(with);
        }
    }
    [idle, busy].map(medians)
}

#[test]
fn changes_captures_watches_and_scrapes_cost_less_than_a_twentieth_of_the_rate() {
    let spare = "[port.spare]\nnetwork = \"lab\"\naddresses = [\"10.0.0.77\"]\ngroups = [\"a\"]\n[group.a]\n[group.b]\n";
    let daemon = Daemon::start(&(CONFIG.to_owned() + spare));
    let [mut web, mut db] = pair(&daemon);
    let syn = frame(&daemon, "web", "udp 10.0.0.5:4000 > 10.0.0.9:3306");
    carry(&mut web, &mut db, &syn);
    // What others make a machine do takes something from one of the two now and then, and gives nothing to either.
    let is_close = (0..3).any(|_| {
        let [idle, busy] = compared(&daemon, &mut web, &mut db, &syn);
        println!(
            "frames in a second, and what 99 of 100 took: {idle:?} with nothing else, {busy:?} with all of it"
        );
        busy.rate > idle.rate * 0.95
    });
    assert!(is_close, "see above");
}
