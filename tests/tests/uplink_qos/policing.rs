//! A policed port gets its rate, by bits and by packets, its neighbour all that it sends, and rates change while frames flow.

use viaduct_tests::guest::iperf;

use super::{Stage, port};

/// How long each rate is measured.
const SECONDS: u64 = 3;
/// A twentieth, as rates are promised.
const TOLERANCE: f64 = 0.05;
/// Where c listens, for a and for b.
const PORTS: [u16; 2] = [5201, 5202];

/// 20 Mbit/s on the wire, and half of that in packets of 142 bytes.
const BITS: &str = "police = \"20mbit\"";
const PACKETS: &str = "packets = \"5kpps\"\npacket_burst = 128";

fn config(ingress: &str) -> String {
    let ports = [port("a", "qos = \"held\"\n"), port("b", ""), port("c", "")].concat();
    format!("[qos.held.ingress]\n{ingress}\n[network.lab]\n{ports}")
}

impl Stage {
    /// What arrives of a datagram stream of each sender with these options, both at once, in bits of payload a second.
    fn measure(&self, options: [&str; 2]) -> [f64; 2] {
        std::thread::scope(|scope| {
            let threads = [0, 1].map(|number| {
                let (sender, options) = (&self.stations[number], options[number]);
                let options = format!("-p {} -u {options}", PORTS[number]);
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

/// Asserts what arrives of the two with these options: never more, and in one of three times no less. Who is not run for a while sends and
/// takes less.
fn assert_rates(stage: &Stage, options: [&str; 2], expected: [f64; 2]) {
    let mut seen = Vec::new();
    let has_all = (0..3).any(|_| {
        let shares = stage.measure(options).into_iter().zip(expected).map(|(rate, expected)| rate / expected);
        let shares: Vec<f64> = shares.collect();
        assert!(
            shares.iter().all(|share| *share <= 1.0 + TOLERANCE),
            "{options:?}: {shares:.3?} of {expected:?}"
        );
        seen.push(shares.clone());
        shares.iter().all(|share| *share >= 1.0 - TOLERANCE)
    });
    assert!(has_all, "{options:?}: {seen:.3?} of {expected:?} bit/s");
}

#[test]
fn a_policed_port_gets_its_rate_by_bits_and_by_packets_and_its_neighbour_all() {
    let stage = Stage::new(&config(BITS), &PORTS);
    // 1400 bytes of payload are 1442 on the wire.
    assert_rates(&stage, ["-l 1400 -b 60M", "-l 1400 -b 20M"], [20e6 * 1400.0 / 1442.0, 20e6]);
    let (conforming, dropped) = stage.counted();
    assert!(dropped > conforming, "{conforming} conformed, {dropped} were dropped");
    let told = stage.daemon.apply(&config(PACKETS));
    assert!(told.contains("qos held"), "{told}");
    // 12,500 packets a second, of which 5000 may pass.
    assert_rates(&stage, ["-l 100 -b 10M", "-l 1400 -b 20M"], [5000.0 * 800.0, 20e6]);
    assert!(stage.counted().0 > conforming, "the meter goes on counting");
    assert_eq!(stage.daemon.show().port("b").dropped("policed"), 0);
}
