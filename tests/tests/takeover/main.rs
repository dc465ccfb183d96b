//! A new process takes over from the one that runs: guests lose nothing, and whatever goes wrong leaves them where they are.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use viaduct_tests::daemon::{Daemon, Usage, is_release};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{EVENT_IDX, MODERN, RING_PACKED};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::guest::Pings;
use viaduct_tests::lab::network;
use viaduct_tests::machine::Machine;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::stream::{Flow, frame, mac, mac_text, number_of};
use viaduct_tests::tun::within;

mod refused;
mod tables;

/// Takeovers in a row.
const TAKEOVERS: usize = 50;
/// After each so many of them nobody takes over for as long again.
const QUIET_AFTER: usize = 5;
/// A frame each so many microseconds: 20,000 in a second.
const PACE_US: u128 = 50;
/// Frames under way at most, fewer than the receiver's buffers: so none may be lost for want of them.
const WINDOW: u64 = 240;
const LENGTH: usize = 200;
const LIMIT: Duration = Duration::from_secs(10);
/// A pause that is told.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Sends numbered frames from `a` to `b` at a modest rate until `done`: every one arrives once, in order. Gives how many, and the pauses
/// between two of them, with the moment of their end.
fn carry(a: &mut Nic, b: &mut Nic, done: &AtomicBool) -> (u64, Vec<(Instant, Duration)>) {
    let began = Instant::now();
    let (mut next, mut seen, mut last, mut pauses) = (0_u64, 0_u64, began, Vec::new());
    loop {
        let is_done = done.load(Ordering::Relaxed);
        let due = u64::try_from(began.elapsed().as_micros() / PACE_US).unwrap();
        while !is_done
            && next < due
            && next - seen < WINDOW
            && a.transmit[0].try_put(NetHeader::default(), &frame(mac(2), mac(1), next, LENGTH))
        {
            next += 1;
        }
        a.transmit[0].ring.publish();
        let before = seen;
        while let Some(received) = b.take() {
            let Some(number) = number_of(&received.bytes) else { continue };
            assert_eq!(number, seen, "no frame is lost, none comes twice, the order is kept");
            seen += 1;
        }
        let now = Instant::now();
        if seen > before {
            let pause = now.duration_since(last);
            if pause > PAUSE_MIN {
                pauses.push((now, pause));
            }
            last = now;
        }
        if is_done && seen == next {
            return (seen, pauses);
        }
        assert!(now.duration_since(last) < LIMIT, "nothing arrives any more: {seen} of {next} have");
        std::thread::sleep(Duration::from_micros(40));
    }
}

/// Cards on the ports `a` and `b`, which have heard of each other.
fn acquainted(daemon: &Daemon, options: &NicOptions) -> [Nic; 2] {
    let [mut a, mut b] = ["a", "b"].map(|port| Nic::connect(&daemon.socket(port), options));
    Flow::new(mac(1), mac(2)).carry(&mut a, &mut b, [60]);
    Flow::new(mac(2), mac(1)).carry(&mut b, &mut a, [60]);
    [a, b]
}

/// The longest pause within each of `spans`, sorted.
fn longest(spans: &[(Instant, Instant)], pauses: &[(Instant, Duration)]) -> Vec<Duration> {
    let within = |(begin, end): &(Instant, Instant)| {
        let inside = pauses.iter().filter(|(at, _)| begin <= at && at <= end).map(|(_, pause)| *pause);
        inside.max().unwrap_or(PAUSE_MIN)
    };
    let mut longest: Vec<Duration> = spans.iter().map(within).collect();
    longest.sort_unstable();
    longest
}

fn options(features: u64) -> NicOptions {
    NicOptions { features: MODERN | EVENT_IDX | features, queue_size: 256, ..NicOptions::default() }
}

#[test]
fn fifty_takeovers_in_a_row_lose_no_frame_and_leave_nothing_behind() {
    let mut daemon = Daemon::start(&network("lab", &["a", "b", "c"], ""));
    let [mut a, mut b] = acquainted(&daemon, &options(0));
    let mut c = Nic::connect(&daemon.socket("c"), &options(0));
    daemon.take_over();
    let first = daemon.settled_usage();
    c.collect(Duration::from_millis(50));
    let done = AtomicBool::new(false);
    let (frames, pauses, spans, quiet) = std::thread::scope(|scope| {
        let upgrader = scope.spawn(|| {
            let (mut spans, mut quiet) = (Vec::new(), Vec::new());
            for number in 0..TAKEOVERS {
                let begun = Instant::now();
                daemon.take_over();
                assert_eq!(daemon.show().port("a").state, "running");
                spans.push((begun, Instant::now()));
                if number % QUIET_AFTER == 0 {
                    let (begun, time) = (Instant::now(), begun.elapsed());
                    std::thread::sleep(time);
                    quiet.push((begun, Instant::now()));
                }
            }
            done.store(true, Ordering::Relaxed);
            (spans, quiet)
        });
        let (frames, pauses) = carry(&mut a, &mut b, &done);
        let (spans, quiet) = upgrader.join().unwrap();
        (frames, pauses, spans, quiet)
    });
    // What the machine itself makes of pauses at the time.
    let quiet = longest(&quiet, &pauses);
    let machines_own = quiet[quiet.len() / 2] - PAUSE_MIN;
    let longest = longest(&spans, &pauses);
    let took: Duration = spans.iter().map(|(begin, end)| end.duration_since(*begin)).sum();
    println!(
        "{frames} frames over {TAKEOVERS} takeovers of {:?} each, none lost; the longest pause within one: {:?} at least, {:?} median, \
         {:?} at most; {machines_own:?} where nobody took over",
        took / u32::try_from(TAKEOVERS).unwrap(),
        longest[0],
        longest[TAKEOVERS / 2],
        longest[TAKEOVERS - 1]
    );
    // Builds for tests take several times as long.
    let median_max = Duration::from_millis(if is_release() { 10 } else { 50 });
    assert!(longest[TAKEOVERS / 2] < median_max + machines_own, "{longest:?}, {quiet:?}");
    // Where stations are is known from the beginning: nothing was flooded.
    let strayed = c.collect(Duration::from_millis(50));
    assert_eq!(strayed.iter().filter(|received| number_of(&received.bytes).is_some()).count(), 0);
    // The sessions are the same ones: the protocol goes on, and so do rings that are reset.
    assert_eq!(daemon.show().port("a").connections, 1);
    assert!(a.session.is_alive() && b.session.is_alive());
    a.reset_ring(1);
    Flow::new(mac(1), mac(2)).carry(&mut a, &mut b, [60, 1000]);
    // Another frontend finds the port free once the first one has left.
    drop(c);
    daemon.wait_for_state("c", "listening");
    let mut c = Nic::connect(&daemon.socket("c"), &options(0));
    Flow::new(mac(3), mac(1)).carry(&mut c, &mut a, [60]);
    drop(c);
    daemon.wait_for_state("c", "listening");
    c = Nic::connect(&daemon.socket("c"), &options(0));
    // Threads that wait for answers go a second after the last one.
    wait_until("helpers to be gone", LIMIT, || daemon.usage().threads <= first.threads + 1);
    let last = daemon.usage_given_back(Usage { descriptors: first.descriptors + 2, ..first });
    drop(c);
    assert!(last.anonymous_kib < first.anonymous_kib + 8 * 1024, "{first:?}, then {last:?}");
    assert!(daemon.terminate().success());
    let left: Vec<_> = fs::read_dir(daemon.directory().join("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| !name.ends_with(".sock")), "{left:?}");
}

/// Rings of all kinds, and ports that connect to their frontends.
#[test]
fn packed_rings_and_frontends_that_listen_go_on_too() {
    use viaduct_tests::driver::session;
    let mut daemon = Daemon::start(&network("lab", &["a", "b"], "role = \"client\""));
    let listeners = ["a", "b"].map(|port| session::listen(&daemon.socket(port)));
    let [mut a, mut b] =
        listeners.each_ref().map(|listener| Nic::over(session::accept(listener), &options(RING_PACKED)));
    Flow::new(mac(1), mac(2)).carry(&mut a, &mut b, [60]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..5).for_each(|_| daemon.take_over());
            done.store(true, Ordering::Relaxed);
        });
        carry(&mut a, &mut b, &done);
    });
    assert!(listeners.iter().all(|listener| listener.accept().is_err()), "nobody connected anew");
    assert!(a.session.is_alive() && b.session.is_alive());
}

/// Datagrams that are numbered, into a namespace's interface, for a card that is told by a neighbour entry.
struct Sender {
    socket: UdpSocket,
    next: u64,
}

impl Sender {
    fn new(namespace: &Namespace, device: &str, address: &str, card: (&str, [u8; 6])) -> Self {
        namespace.ip(&format!("address add {address}/24 dev {device}"));
        namespace.ip(&format!("neighbour replace {} lladdr {} dev {device}", card.0, mac_text(card.1)));
        let socket = within(namespace, || UdpSocket::bind((address, 0)).unwrap());
        socket.connect((card.0, 9)).unwrap();
        Self { socket, next: 0 }
    }

    fn send(&mut self) {
        self.socket.send(&self.next.to_be_bytes()).unwrap();
        self.next += 1;
    }
}

/// Takes the numbers of datagrams that came; they are in order and none lacks.
fn take_datagrams(card: &mut Nic, seen: &mut u64) {
    while let Some(received) = card.take() {
        // IPv4, UDP, our port.
        if received.bytes.get(12..14) != Some(&[8, 0]) || received.bytes.get(36..38) != Some(&[0, 9]) {
            continue;
        }
        let number = u64::from_be_bytes(received.bytes[42..50].try_into().unwrap());
        assert_eq!(number, *seen, "no datagram is lost, none comes twice");
        *seen += 1;
    }
}

#[test]
fn tap_devices_uplinks_and_the_api_pass_with_all_that_is_open() {
    let (inside, outside) = (Namespace::new("inside"), Namespace::new("outside"));
    cable((&inside, "eth1"), (&outside, "eth1"));
    let config = r#"
[network.lab]
[port.a]
network = "lab"
[port.host]
network = "lab"
type = "tap"
interface = "tap0"
[uplink.wan]
interface = "eth1"
driver = "af-packet"
[network.office]
mode = "bridged"
uplink = "wan"
[port.c]
network = "office"
"#;
    let mut daemon = Daemon::start_in(&inside, config);
    for port in ["host", "wan"] {
        daemon.wait_for_state(port, "attached");
    }
    let [mut a, mut c] = ["a", "c"].map(|port| Nic::connect(&daemon.socket(port), &options(0)));
    let mut senders = [
        Sender::new(&inside, "tap0", "10.9.0.1", ("10.9.0.2", mac(1))),
        Sender::new(&outside, "eth1", "10.8.0.1", ("10.8.0.2", mac(3))),
    ];
    a.send(&frame(mac(9), mac(1), 0, 60));
    c.send(&frame(mac(9), mac(3), 0, 60));
    let index = |daemon: &Daemon| ["host", "wan"].map(|port| daemon.show().interface(port).index);
    let before = index(&daemon);
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let upgrader = scope.spawn(|| {
            (0..10).for_each(|_| daemon.take_over());
            done.store(true, Ordering::Relaxed);
        });
        let mut seen = [0; 2];
        let (mut shown, mut began) = (0, Instant::now());
        while !done.load(Ordering::Relaxed) || seen != [senders[0].next, senders[1].next] {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{seen:?} of {}, {}",
                senders[0].next,
                senders[1].next
            );
            if !done.load(Ordering::Relaxed) {
                senders.iter_mut().for_each(Sender::send);
            } else {
                began = began.max(Instant::now() - LIMIT);
            }
            for (card, seen) in [&mut a, &mut c].into_iter().zip(&mut seen) {
                take_datagrams(card, seen);
            }
            shown += 1;
            std::thread::sleep(Duration::from_micros(200));
        }
        upgrader.join().unwrap();
        assert!(shown > 0);
        seen
    });
    println!("{seen:?} datagrams by the TAP device and by the uplink, over 10 takeovers, none lost");
    assert_eq!(index(&daemon), before, "the interfaces are the same ones");
    assert!(inside.ip("address show dev tap0").contains("10.9.0.1"));
    daemon.wait_for_log("the TAP device was taken over");
    daemon.wait_for_log("its packet sockets were taken over");
    assert!(!daemon.log().contains("is opened anew"), "{}", daemon.log_tail());
}

#[test]
fn the_api_answers_all_the_time_and_changes_at_run_time_pass() {
    let mut daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let added = daemon.command(&["port", "add", "late", "--network", "lab"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let late = Nic::connect(&daemon.socket("late"), &options(0));
    let (done, api) = (AtomicBool::new(false), daemon.directory().join("run/api.sock"));
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                let shown = std::process::Command::new(viaduct_tests::daemon::binary())
                    .args(["show", "ports"])
                    .env("VIADUCT_SOCKET", &api)
                    .output()
                    .unwrap();
                assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
                answers += 1;
            }
            answers
        });
        (0..10).for_each(|_| daemon.take_over());
        done.store(true, Ordering::Relaxed);
        println!("{} answers over 10 takeovers", asker.join().unwrap());
    });
    assert!(late.session.is_alive());
    assert_eq!(daemon.show().port("late").connections, 1);
    // The next change is kept, too.
    let removed = daemon.command(&["port", "remove", "late"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    drop(late);
    daemon.take_over();
    assert!(daemon.show().ports.iter().all(|port| port.name != "late"));
    // A process that is killed now comes back as it was.
    daemon.kill();
    daemon.restart();
    assert_eq!(daemon.show().ports.len(), 2);
}

/// QEMU's connections stay as they are: it has no way to connect anew here, since it was told to wait for an hour before that.
#[test]
fn guests_of_qemu_talk_on() {
    let mut daemon = Daemon::start(&network("lab", &["vm1", "vm2"], ""));
    let machines = [("vm1", "10.0.1.1/24"), ("vm2", "10.0.1.2/24")];
    let mut guests =
        machines.map(|(port, address)| Machine::new(port, address).on_port_of(&daemon).power_on());
    for guest in &mut guests {
        guest.await_shell();
    }
    let [vm1, vm2] = &mut guests;
    vm2.serve_iperf();
    vm1.ping("10.0.1.2", 56);
    let connections = |daemon: &Daemon| ["vm1", "vm2"].map(|port| daemon.show().port(port).peer_pid);
    let before = connections(&daemon);
    vm1.start("stream", "iperf3 -J -c 10.0.1.2 -t 4");
    vm2.start("pings", "ping -q -c 40 -i 0.1 -W 5 10.0.1.1");
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(400));
        daemon.take_over();
    }
    let report: serde_json::Value =
        serde_json::from_str(&vm1.finish("stream", Duration::from_secs(30))).unwrap();
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
    let pings = Pings::read(&vm2.finish("pings", Duration::from_secs(30)));
    println!(
        "one TCP stream over 5 takeovers: {rate:.0} bit/s; {} pings of {} were answered",
        pings.received, pings.sent
    );
    assert!(rate > 1e6, "{report}");
    assert_eq!(pings.lost(), 0);
    assert_eq!(connections(&daemon), before, "QEMU connected anew");
    assert!(["vm1", "vm2"].iter().all(|port| daemon.show().port(port).connections == 1));
    // The protocol goes on, too: a reset of the driver stops rings and starts them.
    vm1.run("ip link set eth0 down && ip link set eth0 up");
    vm1.ping("10.0.1.2", 1400);
}
