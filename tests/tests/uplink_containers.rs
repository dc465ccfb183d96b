//! Containers beside guests: a veth end, and namespaces that come and go (the first half of scenario S10).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::iperf_above;
use viaduct_tests::machine::Machine;
use viaduct_tests::namespace::{Namespace, cable};

const LIMIT: Duration = Duration::from_secs(10);
const WORKING_BITS_PER_SECOND: f64 = 5e6;

/// The scenario's file, with the namespace of its container `db` by another name: only the test's own are touched.
fn s10(db: &Namespace) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/s10.toml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.replace("\"db\"", &format!("\"{}\"", db.name()))
}

#[test]
fn a_container_talks_to_a_guest_by_a_veth_pair() {
    let (host, web, db) = (Namespace::new("host"), Namespace::new("web"), Namespace::new("db"));
    let daemon = Daemon::start_in(&host, &s10(&db));
    let mut vm1 = Machine::new("vm1", "10.0.1.1/24").on_port_of(&daemon).power_on();
    // The container comes later than the switch.
    cable((&host, "veth-web"), (&web, "eth0"));
    web.ip("address add 10.0.1.21/24 dev eth0");
    daemon.wait_for_state("web", "attached");
    vm1.await_shell();
    web.run("busybox ping -q -c 3 -i 0.2 -W 5 10.0.1.1");
    vm1.ping("10.0.1.21", 1472);
    vm1.serve_iperf();
    for options in ["", "-R", "-u -b 20M"] {
        let rate = iperf_above(WORKING_BITS_PER_SECOND, "10.0.1.1", 1, options, |command| web.run(command));
        assert!(rate > WORKING_BITS_PER_SECOND, "iperf3 {options} came to {rate} bit/s only");
    }
    assert_eq!(vm1.checksum_errors() + web.checksum_errors(), 0, "packets with wrong checksums arrived");
}

/// The switch's end is in another namespace, which goes with its container: the port lets go of it, so that it can, and
/// takes the next one of that name.
#[test]
fn a_namespace_that_goes_is_let_go_of_and_its_successor_is_taken() {
    let (pod, peer) = (Namespace::new("pod"), Namespace::new("peer"));
    let config = format!(
        "[network.lab]\n[port.pod]\nnetwork = \"lab\"\ntype = \"veth\"\ninterface = \"veth0\"\nnetns = \"{}\"\n",
        pod.name()
    );
    let daemon = Daemon::start(&config);
    assert_eq!(daemon.show().port("pod").state, "waiting");
    cable((&pod, "veth0"), (&peer, "eth0"));
    daemon.wait_for_state("pod", "attached");
    let before = daemon.settled_usage();
    pod.remove();
    daemon.wait_for_state("pod", "waiting");
    let detail = daemon.show().port("pod").detail.clone().unwrap();
    assert!(detail.contains("network namespace"), "{detail}");
    // Nobody holds the namespace any more, so that its interfaces went, and with them their other ends.
    wait_until("the namespace to go", LIMIT, || !peer.succeeds("ip link show eth0"));
    pod.make();
    cable((&pod, "veth0"), (&peer, "eth0"));
    daemon.wait_for_state("pod", "attached");
    daemon.usage_given_back(before);
}

/// The switch makes the container's interface, in the container.
#[test]
fn a_tap_device_in_a_container_comes_with_its_namespace_and_goes_with_the_switch() {
    let (host, db, web) = (Namespace::new("host"), Namespace::new("db"), Namespace::new("web"));
    let mut daemon = Daemon::start_in(&host, &s10(&db));
    cable((&host, "veth-web"), (&web, "eth0"));
    web.ip("address add 10.0.1.21/24 dev eth0");
    daemon.wait_for_state("db", "attached");
    db.ip("address add 10.0.1.22/24 dev eth0");
    daemon.wait_for_state("web", "attached");
    db.run("busybox ping -q -c 3 -i 0.2 -W 5 10.0.1.21");
    db.ip("link del eth0");
    // It is made anew; its address is its owner's business.
    wait_until("the device to come back", LIMIT, || db.succeeds("ip address add 10.0.1.22/24 dev eth0"));
    wait_until("the containers to reach each other again", LIMIT, || {
        db.succeeds("busybox ping -q -c 1 -W 1 10.0.1.21")
    });
    assert!(daemon.terminate().success());
    assert!(!db.succeeds("ip link show eth0"), "the device stays behind");
}
