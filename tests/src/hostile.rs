//! A stage for hostile frontends: two ports for the attacker, two for bystanders on the same network, and what
//! must hold after every attack.

use std::time::Duration;

use crate::bystander::Bystander;
use crate::daemon::{Daemon, Usage};
use crate::deadline::wait_until;
use crate::driver::message::{self, Message};
use crate::driver::nic::{Nic, NicOptions};
use crate::driver::session::{self, Session};
use crate::lab::network;
use crate::snapshot::Port;
use crate::stream::{Flow, mac};

/// The attacker's ports.
pub const ATTACKERS: [&str; 2] = ["x", "y"];
/// How long the daemon may take to close a connection that broke the rules, and to give back what it held.
pub const LIMIT: Duration = Duration::from_secs(3);
/// Private memory may grow by this much before it counts as a leak.
const ANONYMOUS_SLACK_KIB: u64 = 2048;
/// Guests' memory may be touched by this much more: the bystanders' rings and buffers.
const SHARED_SLACK_KIB: u64 = 8192;

/// A daemon with bystanders at work.
pub struct Stage {
    // Ended first: it must not outlive the daemon that it talks to.
    bystander: Bystander,
    /// The daemon.
    pub daemon: Daemon,
    baseline: Usage,
}

/// The API's runtime has threads that come and go.
const API_THREADS: u64 = 2;

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// All four ports on one network, with frames of any length.
    #[must_use]
    pub fn new() -> Self {
        let lines = format!("mtu = {}", crate::lab::MTU_MAX);
        Self::on(&network("lab", &["x", "y", "a", "b"], &lines))
    }

    /// The attacker's ports on a network of their own: for floods, which a neighbour has to bear.
    #[must_use]
    pub fn apart() -> Self {
        Self::on(&(network("lab", &ATTACKERS, "") + &network("other", &["a", "b"], "")))
    }

    fn on(config: &str) -> Self {
        let daemon = Daemon::start(config);
        let bystander = Bystander::start(["a", "b"].map(|port| daemon.socket(port)));
        // Once through everything, so that what is allocated on first use is in the baseline.
        let [mut x, mut y] = ATTACKERS.map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()));
        Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60, 1514]);
        drop((x, y));
        let stage = Self { baseline: daemon.settled_usage(), daemon, bystander };
        stage.wait_until_left();
        let baseline = stage.daemon.settled_usage();
        Self { baseline, ..stage }
    }

    fn wait_until_left(&self) {
        wait_until("the attacker's ports to be free again", LIMIT, || {
            let state = self.daemon.show();
            ATTACKERS.iter().all(|port| state.port(port).state == "listening")
        });
    }

    /// A session on port `x`, negotiated and nothing more.
    #[must_use]
    pub fn session(&self) -> Session {
        self.wait_until_left();
        Session::negotiate(session::connect(&self.daemon.socket("x")))
    }

    /// Cards that run on both ports and have met.
    #[must_use]
    pub fn cards(&self, options: &NicOptions) -> [Nic; 2] {
        self.wait_until_left();
        let [mut x, mut y] = ATTACKERS.map(|port| Nic::connect(&self.daemon.socket(port), options));
        Flow::new(mac(1), mac(2)).carry(&mut x, &mut y, [60]);
        Flow::new(mac(2), mac(1)).carry(&mut y, &mut x, [60]);
        [x, y]
    }

    /// The port `name` as it is shown now.
    #[must_use]
    pub fn port(&self, name: &str) -> Port {
        self.daemon.show().port(name).clone()
    }

    /// `message` costs the attacker its connection, and the port says why.
    pub fn assert_closes(&self, what: &str, message: &Message) {
        let session = self.session();
        // The daemon may close while the message is still being sent.
        let _ = message.send(&session.stream);
        self.assert_closed(what, &session);
    }

    /// The connection is closed by the daemon, and the port says why.
    pub fn assert_closed(&self, what: &str, session: &Session) {
        assert!(message::is_closed_within(&session.stream, LIMIT), "{what}: the connection is to be closed");
        self.assert_told(what);
    }

    /// Port `x` says what went wrong.
    pub fn assert_told(&self, what: &str) {
        wait_until(&format!("{what}: the port's detail tells"), LIMIT, || self.port("x").detail.is_some());
    }

    /// `message` is refused, whether or not the sender asks for an answer.
    pub fn assert_refused(&self, what: &str, message: &Message) {
        let session = self.session();
        assert!(!session.accepts(message), "{what}: to be refused");
        drop(session);
        self.assert_closes(what, message);
    }

    /// Frames dropped between the attacker's ports for the receiver's buffers' sake.
    #[must_use]
    pub fn receiver_drops(&self) -> u64 {
        let state = self.daemon.show();
        let of = |port: &str, reason: &str| state.port(port).dropped(reason);
        let reasons = ["bad-buffer", "small-buffer", "no-buffer"];
        ATTACKERS.iter().map(|port| reasons.iter().map(|reason| of(port, reason)).sum::<u64>()).sum()
    }

    /// What is resident now counts as the baseline: for tables that were filled for the first time.
    pub fn accept_private_memory(&mut self) {
        self.baseline.anonymous_kib = self.daemon.usage().anonymous_kib;
    }

    /// The process is the same, the bystanders' traffic flows and lost nothing.
    pub fn assert_unharmed(&mut self, what: &str) {
        assert!(self.daemon.is_alive(), "{what} ended the daemon: {}", self.daemon.log_tail());
        self.bystander.wait_for_rounds(3);
    }

    /// After the attacker has gone: all that [`Stage::assert_unharmed`] says, and nothing of it stays behind.
    pub fn assert_recovered(&mut self, what: &str) {
        self.assert_unharmed(what);
        self.wait_until_left();
        let baseline = self.baseline;
        let mut now = baseline;
        let fits = |now: Usage| {
            now.descriptors <= baseline.descriptors
                && now.mappings <= baseline.mappings
                && now.anonymous_kib <= baseline.anonymous_kib + ANONYMOUS_SLACK_KIB
                && now.shared_kib <= baseline.shared_kib + SHARED_SLACK_KIB
                && now.threads <= baseline.threads + API_THREADS
        };
        let start = std::time::Instant::now();
        while start.elapsed() < LIMIT {
            now = self.daemon.usage();
            if fits(now) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{what}: something stays behind: {baseline:?} before, {now:?} now");
    }

    /// The end of a test: recovered, and the bystanders lost nothing at all.
    pub fn finish(mut self, what: &str) {
        self.assert_recovered(what);
        println!("{what}: the bystanders' longest round took {:?}", self.bystander.worst_round());
        self.bystander.finish();
    }
}

/// After whatever happened to ring `index` of `x`, the card carries frames again once the ring was reset.
pub fn mended(x: &mut Nic, y: &mut Nic, index: usize) {
    x.reset_ring_wherever(index);
    y.collect(Duration::from_millis(5));
    Flow::new(mac(1), mac(2)).carry(x, y, [60, 700]);
    Flow::new(mac(2), mac(1)).carry(y, x, [60, 700]);
}
