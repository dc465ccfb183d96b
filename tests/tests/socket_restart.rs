//! The switch is killed and started again under traffic: its guests go on from where their rings stand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::RING_PACKED;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::session;
use viaduct_tests::lab::{network, pair};
use viaduct_tests::stream::{Flow, frame, mac, number_of};

const KILLS: u64 = 12;
/// Frames that may be under way between two rings when the process dies: one burst.
const BURST: u64 = 64;
const LENGTH: usize = 700;
/// Frames under way at most, fewer than the receiver's buffers: so none may be lost for want of them.
const WINDOW: u64 = 200;

/// A frontend's end of a port, whichever side listens.
enum End {
    Connects(std::path::PathBuf),
    Listens(UnixListener),
}

impl End {
    fn stream(&self) -> std::os::unix::net::UnixStream {
        match self {
            Self::Connects(path) => session::connect(path),
            Self::Listens(listener) => session::accept(listener),
        }
    }
}

/// Puts frames into the sender's ring as long as there is room, there and at the receiver: `seen` have arrived.
fn fill(a: &mut Nic, next: &mut u64, seen: u64) {
    while *next - seen < WINDOW
        && a.transmit[0].try_put(NetHeader::default(), &frame(mac(2), mac(1), *next, LENGTH))
    {
        *next += 1;
    }
    a.transmit[0].ring.publish();
}

/// What the receiver has seen.
#[derive(Default)]
struct Seen {
    expected: u64,
    doubled: u64,
    /// Frames that came since the restart, before which some may come again.
    since_restart: u64,
    /// How many those may be: in a packed ring that was left half shown, the successor shows the last burst first.
    may_be_shown: u64,
}

impl Seen {
    /// Takes what came; a frame may come a second time only right after a restart, from the burst that was being
    /// delivered when the process died.
    fn take(&mut self, b: &mut Nic) {
        while let Some(received) = b.take() {
            let Some(number) = number_of(&received.bytes) else { continue };
            if self.since_restart <= self.may_be_shown && number < self.expected {
                assert!(self.expected - number <= BURST, "frame {number} again, after {}", self.expected - 1);
                self.doubled += 1;
                continue;
            }
            self.since_restart += 1;
            assert_eq!(number, self.expected, "no frame is lost, none comes twice, the order is kept");
            self.expected += 1;
        }
    }
}

/// Kills and restarts under a full sending ring, many times; everything that was ever made available arrives.
fn survives_kills(daemon: &mut Daemon, mut a: Nic, mut b: Nic, ends: [End; 2]) {
    let may_be_shown = if a.options.features & RING_PACKED != 0 { BURST } else { 0 };
    let (mut next, mut seen) = (0, Seen { may_be_shown, since_restart: BURST + 1, ..Seen::default() });
    for kill in 0..KILLS {
        // The kill meets the switch in the middle of its work, wherever that be.
        daemon.kill_after(Duration::from_micros(20_000 + 3_137 * kill));
        while daemon.is_alive() {
            for _ in 0..200 {
                fill(&mut a, &mut next, seen.expected);
                seen.take(&mut b);
            }
        }
        daemon.reap_killed();
        let before = seen.expected;
        let died = Instant::now();
        // What was published before the end is there.
        seen.take(&mut b);
        daemon.restart_without_waiting();
        b.resume(ends[1].stream());
        a.resume(ends[0].stream());
        seen.since_restart = 0;
        wait_until("traffic after the restart", Duration::from_secs(5), || {
            fill(&mut a, &mut next, seen.expected);
            let at = seen.expected;
            seen.take(&mut b);
            seen.expected > at
        });
        println!("kill {kill}: {before} frames until then, traffic again after {:?}", died.elapsed());
    }
    a.transmit[0].drain();
    wait_until("all that was sent", Duration::from_secs(5), || {
        seen.take(&mut b);
        seen.expected == next
    });
    println!("{next} frames over {KILLS} kills; {} came twice", seen.doubled);
}

fn options() -> NicOptions {
    NicOptions { queue_size: 256, send_buffers: 128, ..NicOptions::default() }
}

#[test]
fn killed_and_started_again_with_frontends_that_connect_nothing_is_lost() {
    let mut daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [a, b] = pair(&daemon, &options());
    let ends = ["a", "b"].map(|port| End::Connects(daemon.socket(port)));
    survives_kills(&mut daemon, a, b, ends);
}

#[test]
fn killed_and_started_again_with_frontends_that_listen_nothing_is_lost() {
    let mut daemon = Daemon::start(&network("lab", &["a", "b"], "role = \"client\""));
    let ends = ["a", "b"].map(|port| End::Listens(session::listen(&daemon.socket(port))));
    let [a, b] = ends.each_ref().map(|end| Nic::over(end.stream(), &options()));
    survives_kills(&mut daemon, a, b, ends);
}

#[test]
fn an_indirect_in_order_ring_resumes_too() {
    use viaduct_tests::driver::features::{EVENT_IDX, IN_ORDER, INDIRECT_DESC, MODERN};
    use viaduct_tests::driver::queue::Layout;
    let layout = Layout { cuts: vec![12, 100], indirect: true };
    let options = NicOptions {
        features: MODERN | EVENT_IDX | IN_ORDER | INDIRECT_DESC,
        send_layout: layout.clone(),
        receive_layout: layout,
        ..options()
    };
    let mut daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let [a, b] = pair(&daemon, &options);
    let ends = ["a", "b"].map(|port| End::Connects(daemon.socket(port)));
    survives_kills(&mut daemon, a, b, ends);
}

/// The frontend knows nothing of where packed rings stand.
#[test]
fn packed_rings_resume_where_the_switch_noted_that_they_stand() {
    use viaduct_tests::driver::features::{EVENT_IDX, IN_ORDER, INDIRECT_DESC, MODERN};
    use viaduct_tests::driver::queue::Layout;
    let cut = |indirect| Layout { cuts: vec![12, 100], indirect };
    for (more, layout, queue_size) in [
        (EVENT_IDX, Layout::default(), 256),
        (EVENT_IDX | IN_ORDER, Layout::default(), 300),
        (INDIRECT_DESC, cut(true), 256),
        (IN_ORDER, cut(false), 1000),
    ] {
        let options = NicOptions {
            features: MODERN | RING_PACKED | more,
            send_layout: layout.clone(),
            receive_layout: layout,
            queue_size,
            ..options()
        };
        let mut daemon = Daemon::start(&network("lab", &["a", "b"], ""));
        let [a, b] = pair(&daemon, &options);
        let ends = ["a", "b"].map(|port| End::Connects(daemon.socket(port)));
        survives_kills(&mut daemon, a, b, ends);
    }
}

#[test]
fn a_frontend_that_is_killed_and_comes_again_is_served_at_once() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], ""));
    let mut b = Nic::connect(&daemon.socket("b"), &NicOptions::default());
    for round in 0..50 {
        let mut a = Nic::connect(&daemon.socket("a"), &NicOptions::default());
        Flow::new(mac(1), mac(2)).carry(&mut a, &mut b, [60, 1000]);
        Flow::new(mac(2), mac(1)).carry(&mut b, &mut a, [60, 1000]);
        assert_eq!(daemon.show().port("a").connections, round + 1);
    }
}

#[test]
fn a_client_port_finds_a_frontend_that_comes_late_or_again() {
    let daemon = Daemon::start(&network("lab", &["a", "b"], "role = \"client\""));
    std::thread::sleep(Duration::from_millis(1500));
    for _ in 0..5 {
        let start = Instant::now();
        let listeners = ["a", "b"].map(|port| session::listen(&daemon.socket(port)));
        let [mut a, mut b] =
            listeners.each_ref().map(|listener| Nic::over(session::accept(listener), &NicOptions::default()));
        assert!(start.elapsed() < Duration::from_secs(3), "found after {:?}", start.elapsed());
        Flow::new(mac(1), mac(2)).carry(&mut a, &mut b, [60, 1000]);
    }
}
