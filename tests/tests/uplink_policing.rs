//! Policing with real parts: stations behind veth pairs, iperf3, and the daemon between them. A policed port gets its rate, by bits
//! and by packets, its neighbour all that it sends, and rates change while frames flow.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::iperf;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;

const LIMIT: Duration = Duration::from_secs(10);
/// How long each rate is measured.
const SECONDS: u64 = 3;
/// A twentieth, as rates are promised.
const TOLERANCE: f64 = 0.05;

/// 20 Mbit/s on the wire, and half of that in packets of 142 bytes.
const BITS: &str = "police = \"20mbit\"";
const PACKETS: &str = "packets = \"5kpps\"\npacket_burst = 128";

fn config(ingress: &str) -> String {
    let port = |name: &str, more: &str| {
        format!("[port.{name}]\nnetwork = \"lab\"\ntype = \"veth\"\ninterface = \"veth-{name}\"\n{more}")
    };
    let ports = [port("a", "qos = \"held\"\n"), port("b", ""), port("c", "")].concat();
    format!("[qos.held.ingress]\n{ingress}\n[network.lab]\n{ports}")
}

/// Stations a and b, which send, and c, which counts.
struct Stage {
    daemon: Daemon,
    senders: [Namespace; 2],
    _servers: [Process; 2],
    _folder: tempfile::TempDir,
    _host: Namespace,
    _receiver: Namespace,
}

impl Stage {
    fn new() -> Self {
        let host = Namespace::new("host");
        let daemon = Daemon::start_in(&host, &config(BITS));
        let [a, b, c] = ["a", "b", "c"].map(Namespace::new);
        for (number, (name, station)) in [("a", &a), ("b", &b), ("c", &c)].into_iter().enumerate() {
            cable((&host, &format!("veth-{name}")), (station, "eth0"));
            station.ip(&format!("address add 10.0.1.{}/24 dev eth0", number + 1));
            daemon.wait_for_state(name, "attached");
        }
        let folder = tempfile::tempdir().unwrap();
        let servers = [5201, 5202].map(|port| {
            let mut server = c.command("iperf3");
            server.args(["--server", "--port", &port.to_string()]);
            Process::spawn(&format!("iperf3-{port}"), &server, folder.path())
        });
        for port in [5201, 5202] {
            let listens = format!("ss -Hltn sport = :{port} | grep -q .");
            wait_until("iperf3 to listen", LIMIT, || c.succeeds(&listens));
        }
        Self { daemon, senders: [a, b], _servers: servers, _folder: folder, _host: host, _receiver: c }
    }

    /// What arrives of a datagram stream of each sender with these options, both at once, in bits of payload a second.
    fn measure(&self, options: [&str; 2]) -> [f64; 2] {
        std::thread::scope(|scope| {
            let threads = [0, 1].map(|number| {
                let (sender, options) = (&self.senders[number], options[number]);
                let options = format!("-p {} -u {options}", 5201 + number);
                scope.spawn(move || iperf("10.0.1.3", SECONDS, &options, |command| sender.run(command)))
            });
            threads.map(|thread| thread.join().unwrap())
        })
    }

    /// What the meter counted as conforming and as dropped, in packets.
    fn counted(&self) -> (u64, u64) {
        let shown = self.daemon.command(&["show", "qos", "a", "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let meter = &shown["meters"][0];
        (meter["conforming"]["packets"].as_u64().unwrap(), meter["dropped"]["packets"].as_u64().unwrap())
    }
}

fn assert_near(what: &str, rate: f64, expected: f64) {
    let is_near = (rate / expected - 1.0).abs() <= TOLERANCE;
    assert!(is_near, "{what}: {:.3} Mbit/s instead of {:.3}", rate / 1e6, expected / 1e6);
}

#[test]
fn a_policed_port_gets_its_rate_by_bits_and_by_packets_and_its_neighbour_all() {
    let stage = Stage::new();
    // 1400 bytes of payload are 1442 on the wire.
    let [policed, free] = stage.measure(["-l 1400 -b 60M", "-l 1400 -b 20M"]);
    assert_near("by bits", policed, 20e6 * 1400.0 / 1442.0);
    assert_near("the neighbour", free, 20e6);
    let (conforming, dropped) = stage.counted();
    assert!(dropped > conforming, "{conforming} conformed, {dropped} were dropped");
    let told = stage.daemon.apply(&config(PACKETS));
    assert!(told.contains("qos held"), "{told}");
    // 12,500 packets a second, of which 5000 may pass.
    let [policed, free] = stage.measure(["-l 100 -b 10M", "-l 1400 -b 20M"]);
    assert_near("by packets", policed, 5000.0 * 800.0);
    assert_near("the neighbour", free, 20e6);
    assert!(stage.counted().0 > conforming, "the meter goes on counting");
    assert_eq!(stage.daemon.show().port("b").dropped("policed"), 0);
}
