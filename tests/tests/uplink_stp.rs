//! Parallel uplinks into one segment: a circle without a spanning tree, and none with one; with Linux's and Open
//! vSwitch's bridges as neighbours.

use std::time::{Duration, Instant};

use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::stream::{frame, mac};

const LIMIT: Duration = Duration::from_secs(10);

/// The longest that a tree of the older protocol takes with the times that the test's bridges have: max age, and twice
/// the forward delay, with something to spare on a busy machine.
const OLD_LIMIT: Duration = Duration::from_secs(40);

const BROADCAST: [u8; 6] = [0xff; 6];

/// Bytes of a frame that is told from others by its length.
const LONG: usize = 1500;

/// Two uplinks of one network. What goes round in a circle is bounded by the storm limit.
fn config(stp: &str) -> String {
    format!(
        r#"
[uplink.one]
interface = "eth1"
storm = {{ broadcast = "200pps" }}
[uplink.two]
interface = "eth2"
storm = {{ broadcast = "200pps" }}
[network.office]
mode = "bridged"
uplink = "one"
parallel_uplinks = ["two"]
stp = "{stp}"
[port.a]
network = "office"
"#
    )
}

/// A switch with two uplinks to a bridge out there, behind which is a host; and a card on the network.
struct Scene {
    inside: Namespace,
    outside: Namespace,
    host: Namespace,
    daemon: Daemon,
    card: Nic,
    sent: u64,
}

impl Scene {
    /// Brings up what is behind the uplinks with `bridge`, which has to take the interfaces p1, p2 and p3 into it.
    fn new(stp: &str, bridge: impl FnOnce(&Namespace)) -> Self {
        let [inside, outside, host] = ["inside", "outside", "host"].map(Namespace::new);
        for space in [&inside, &outside, &host] {
            // What the kernels say by themselves would go round as well, and nothing limits it.
            space.run("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
        }
        for number in 1..=2 {
            cable((&inside, &format!("eth{number}")), (&outside, &format!("p{number}")));
        }
        cable((&host, "eth0"), (&outside, "p3"));
        bridge(&outside);
        let daemon = Daemon::start_in(&inside, &config(stp));
        daemon.wait_for_state("one", "attached");
        daemon.wait_for_state("two", "attached");
        let card = Nic::connect(&daemon.socket("a"), &NicOptions::default());
        Self { inside, outside, host, daemon, card, sent: 0 }
    }

    /// Sends a broadcast and counts what comes back of all that was sent, until nothing does for a moment. Where it
    /// never ends a few are enough.
    fn echoes(&mut self) -> usize {
        self.sent += 1;
        self.card.send(&frame(BROADCAST, mac(1), self.sent, 100));
        let received = std::iter::from_fn(|| self.card.receive_within(Duration::from_millis(300)));
        received.filter(|received| received.bytes.get(6..12) == Some(&mac(1)[..])).take(50).count()
    }

    /// Bytes that came to the host.
    fn heard_outside(&self) -> u64 {
        let count = self.host.run("cat /sys/class/net/eth0/statistics/rx_bytes");
        count.trim().parse().unwrap_or_else(|error| panic!("{count}: {error}"))
    }

    /// Sends until something arrives at the host; gives how long that took.
    fn time_to_reach(&mut self, limit: Duration) -> Duration {
        // What was on its way arrives now.
        std::thread::sleep(Duration::from_millis(20));
        let (before, start) = (self.heard_outside(), Instant::now());
        wait_until("a broadcast at the host", limit, || {
            self.sent += 1;
            self.card.send(&frame(BROADCAST, mac(1), self.sent, LONG));
            std::thread::sleep(Duration::from_millis(10));
            // What bridges and kernels say by themselves is far less.
            self.heard_outside() >= before + LONG as u64
        });
        start.elapsed()
    }

    fn ports(&self) -> Vec<Value> {
        self.daemon.show_json()["stp"][0]["ports"].as_array().cloned().unwrap_or_default()
    }

    fn states(&self) -> Vec<String> {
        self.ports().iter().map(|port| port["state"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Whether one uplink forwards, and the other one is closed since it hears of it. One whose link came back is closed
    /// first, too, until it has told the other one: after a hello time if its first message was lost, as the bridge out
    /// there may see the link later.
    fn has_one_open(&self) -> bool {
        let mut ports = self.ports();
        ports.sort_by_key(|port| port["state"].to_string());
        let state = |port: &Value| (port["role"].to_string(), port["state"].to_string());
        let found: Vec<_> = ports.iter().map(state).collect();
        let words: Vec<(&str, &str)> =
            found.iter().map(|(role, state)| (role.trim_matches('"'), state.trim_matches('"'))).collect();
        matches!(words[..], [("backup" | "alternate", "discarding"), ("designated" | "root", "forwarding")])
    }

    /// The far end of the uplink that is open.
    fn open_end(&self) -> &'static str {
        if self.states()[0] == "forwarding" { "p1" } else { "p2" }
    }
}

/// A Linux bridge of all three interfaces, with these options.
fn linux_bridge(options: &str) -> impl FnOnce(&Namespace) {
    move |outside| {
        outside.ip(&format!("link add segment type bridge mcast_snooping 0 {options}"));
        for port in ["p1", "p2", "p3"] {
            outside.ip(&format!("link set {port} master segment"));
        }
        outside.ip("link set segment up");
    }
}

#[test]
fn without_a_spanning_tree_a_broadcast_goes_round_and_with_rstp_the_circle_is_cut_and_healed() {
    let mut scene = Scene::new("off", linux_bridge("forward_delay 0 stp_state 0"));
    wait_until("a broadcast that comes back again and again", LIMIT, || scene.echoes() > 3);

    // The circle ends while it turns.
    scene.daemon.apply(&config("rstp"));
    wait_until("one uplink that forwards", LIMIT, || scene.has_one_open());
    wait_until("the circle's end", LIMIT, || scene.echoes() == 0);
    assert_eq!((scene.echoes(), scene.echoes()), (0, 0));
    scene.time_to_reach(LIMIT);
    let blocked = scene.daemon.show();
    assert!(blocked.port("one").dropped("stp-blocked") + blocked.port("two").dropped("stp-blocked") > 0);

    // The active one is cut, twice.
    for _ in 0..2 {
        let cut = scene.open_end();
        scene.outside.ip(&format!("link set {cut} down"));
        let took = scene.time_to_reach(LIMIT);
        assert!(took < Duration::from_secs(2), "the other uplink took over after {took:?}");
        assert_eq!(scene.echoes(), 0);
        scene.outside.ip(&format!("link set {cut} up"));
        wait_until("one uplink that forwards", LIMIT, || scene.has_one_open());
        assert_eq!(scene.echoes(), 0);
    }

    // A guest that claims to be the root of all is not heard.
    let mut claim = vec![1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 39, 0x42, 0x42, 3, 0, 0, 2, 2, 0x3c];
    claim.resize(60, 0);
    scene.card.send(&claim);
    wait_until("the claim's end", LIMIT, || scene.daemon.show().port("a").dropped("bpdu-guard") == 1);
    let tree = scene.daemon.show_json()["stp"][0].clone();
    assert_eq!(tree["root"], tree["bridge"]);
    let shown = String::from_utf8_lossy(&scene.daemon.command(&["show", "stp"]).stdout).into_owned();
    assert!(shown.contains("this bridge is the root") && shown.contains("backup"), "{shown}");
    drop(scene.inside);
}

#[test]
fn towards_a_linux_bridge_stp_is_spoken_and_its_tree_has_no_circle() {
    let options = "stp_state 1 priority 4096 forward_delay 200 hello_time 100 max_age 600";
    let mut scene = Scene::new("rstp", linux_bridge(options));
    wait_until("one uplink that forwards", OLD_LIMIT, || scene.has_one_open());
    let tree = scene.daemon.show_json()["stp"][0].clone();
    assert_eq!((&tree["root_port"], &tree["root_cost"]), (&Value::from("one"), &Value::from(2000)));
    assert!(tree["root"].as_str().unwrap().starts_with("4096."), "{tree}");
    // Which version the neighbour speaks is decided after the migrate time of three seconds.
    wait_until("STP on both uplinks", OLD_LIMIT, || {
        scene.ports().iter().all(|port| port["protocol"] == "stp" && port["rst_received"] == 0)
    });
    assert!(scene.has_one_open());
    scene.time_to_reach(OLD_LIMIT);
    assert_eq!(scene.echoes(), 0);

    // The way to the root is cut: the other one takes over, and the bridge is told that stations have moved.
    scene.outside.ip("link set p1 down");
    scene.time_to_reach(OLD_LIMIT);
    assert_eq!(scene.echoes(), 0);
    let notified =
        || -> u64 { scene.ports().iter().filter_map(|port| port["notification_sent"].as_u64()).sum() };
    wait_until("a notification", LIMIT, || notified() > 0);
}
