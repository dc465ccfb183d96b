//! RSTP with Open vSwitch's userspace bridge as the neighbour.

use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::open_vswitch::OpenVswitch;
use viaduct_tests::stream::{frame, mac};

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[uplink.one]
interface = "eth1"
[uplink.two]
interface = "eth2"
[network.office]
mode = "bridged"
uplink = "one"
parallel_uplinks = ["two"]
stp = "rstp"
[port.a]
network = "office"
"#;

/// The role that Open vSwitch gives the port, in lower case.
fn role(peer: &OpenVswitch, port: &str) -> String {
    peer.vsctl(&format!("--if-exists get port {port} rstp_status:rstp_port_role"))
        .trim()
        .replace('"', "")
        .to_lowercase()
}

fn stp(daemon: &Daemon) -> Value {
    daemon.show_json()["stp"][0].clone()
}

fn states(daemon: &Daemon) -> Vec<String> {
    let text = |port: &Value| port["state"].as_str().unwrap_or_default().to_owned();
    stp(daemon)["ports"].as_array().map(|ports| ports.iter().map(text).collect()).unwrap_or_default()
}

#[test]
fn open_vswitch_and_we_agree_at_once_and_a_cut_is_healed_within_two_seconds() {
    let [inside, outside, host] = ["inside", "outside", "host"].map(Namespace::new);
    for number in 1..=2 {
        cable((&inside, &format!("eth{number}")), (&outside, &format!("p{number}")));
    }
    cable((&host, "eth0"), (&outside, "p3"));
    let peer = OpenVswitch::new(outside);
    peer.vsctl(
        "add-br wire -- set bridge wire datapath_type=netdev rstp_enable=true other_config:rstp-priority=4096",
    );
    for port in ["p1", "p2", "p3"] {
        peer.vsctl(&format!("add-port wire {port}"));
    }
    let daemon = Daemon::start_in(&inside, CONFIG);
    let mut card = Nic::connect(&daemon.socket("a"), &NicOptions::default());
    let one_open = || {
        let states = states(&daemon);
        let count = |state| states.iter().filter(|found| *found == state).count();
        (count("forwarding"), count("discarding")) == (1, 1)
    };
    wait_until("one uplink that forwards", LIMIT, one_open);
    wait_until("Open vSwitch as the root", LIMIT, || {
        stp(&daemon)["root"].as_str().is_some_and(|root| root.starts_with("4096."))
    });
    wait_until("one uplink that forwards", LIMIT, one_open);
    let tree = stp(&daemon);
    for port in tree["ports"].as_array().unwrap() {
        assert_eq!(port["protocol"], "rstp", "{port}");
        assert!(port["rst_received"].as_u64() > Some(0), "{port}");
    }
    assert_eq!((role(&peer, "p1"), role(&peer, "p2")), ("designated".to_owned(), "designated".to_owned()));

    let heard =
        || -> u64 { host.run("cat /sys/class/net/eth0/statistics/rx_packets").trim().parse().unwrap() };
    let mut number = 0;
    let mut reach = |what: &str, limit: Duration| {
        let before = heard();
        wait_until(what, limit, || {
            number += 1;
            card.send(&frame([0xff; 6], mac(1), number, 1000));
            std::thread::sleep(Duration::from_millis(10));
            heard() > before
        });
    };
    reach("a broadcast at the host", LIMIT);
    let open = if states(&daemon)[0] == "forwarding" { "p1" } else { "p2" };
    peer.namespace.ip(&format!("link set {open} down"));
    std::thread::sleep(Duration::from_millis(20));
    reach("a broadcast by the other uplink", Duration::from_secs(2));
    peer.namespace.ip(&format!("link set {open} up"));
    wait_until("one uplink that forwards", LIMIT, one_open);
    reach("a broadcast at the host", LIMIT);
}
