//! Guests in the segment of an uplink: two switches on one wire, and Linux hosts out there (scenario S2).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::{wait_for, wait_until};
use viaduct_tests::machine::{Guest, Machine};
use viaduct_tests::namespace::{Namespace, Segment};
use viaduct_tests::process::Process;

const LIMIT: Duration = Duration::from_secs(10);
/// The slowest transfer that counts as working: a fraction of what an emulated guest can do.
const WORKING_BITS_PER_SECOND: f64 = 5e6;
const SERVER: &str = "192.168.77.1";

fn example(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A host with a switch: the scenario's file, in a namespace with the interface eth1 in the segment.
struct Host {
    daemon: Daemon,
    namespace: Namespace,
}

impl Host {
    fn new(name: &str, segment: &Segment) -> Self {
        let namespace = Namespace::new(name);
        segment.plug(&namespace, "eth1");
        let daemon = Daemon::start_in(&namespace, &example("s2.toml"));
        daemon.wait_for_state("wan", "attached");
        Self { daemon, namespace }
    }
}

/// A plain Linux host in the segment, with a DHCP server and iperf3.
struct Server {
    namespace: Namespace,
    _dhcp: Process,
    _iperf: Process,
    _folder: tempfile::TempDir,
}

impl Server {
    fn new(segment: &Segment) -> Self {
        let namespace = Namespace::new("server");
        segment.plug(&namespace, "eth0");
        namespace.ip(&format!("address add {SERVER}/24 dev eth0"));
        let folder = tempfile::tempdir().unwrap();
        let lease = folder.path().join("leases").display().to_string();
        let mut dhcp = namespace.command("dnsmasq");
        dhcp.args(["--keep-in-foreground", "--port=0", "--interface=eth0", "--bind-interfaces"])
            .args(["--dhcp-range=192.168.77.100,192.168.77.150,1h", "--dhcp-authoritative", "--no-ping"])
            .args(["--conf-file=/dev/null", "--log-facility=-", "--user=root", "--pid-file="])
            .arg(format!("--dhcp-leasefile={lease}"));
        let mut iperf = namespace.command("iperf3");
        iperf.arg("--server");
        let dhcp = Process::spawn("dnsmasq", &dhcp, folder.path());
        let iperf = Process::spawn("iperf3", &iperf, folder.path());
        wait_until("the server's programs to listen", LIMIT, || {
            let listening = namespace.run("ss -Hlntu");
            listening.contains(":67 ") && listening.contains(":5201 ")
        });
        Self { namespace, _dhcp: dhcp, _iperf: iperf, _folder: folder }
    }
}

/// Asks for an address as most small guests do, and gives it.
fn lease(guest: &mut Guest) -> String {
    guest.run("udhcpc -i eth0 -n -q -t 5 -T 2 -s /usr/share/udhcpc/default.script");
    let text = guest.run("ip -4 -o address show dev eth0");
    let address = text.split_whitespace().skip_while(|word| *word != "inet").nth(1);
    let address = address.and_then(|address| address.split('/').next());
    address.unwrap_or_else(|| panic!("no address in {text}")).to_owned()
}

fn hosts_with_guests(segment: &Segment) -> ([Host; 2], [Guest; 2]) {
    let hosts = ["east", "west"].map(|name| Host::new(name, segment));
    let mut guests = [("vm1", &hosts[0]), ("vm2", &hosts[1])]
        .map(|(name, host)| Machine::new(name, "").on_port_of(&host.daemon).power_on());
    guests.iter_mut().for_each(|guest| guest.await_shell());
    (hosts, guests)
}

#[test]
fn guests_get_addresses_from_the_segment_and_talk_to_hosts_and_to_guests_of_another_switch() {
    let segment = Segment::new();
    let server = Server::new(&segment);
    let (hosts, [mut vm1, mut vm2]) = hosts_with_guests(&segment);
    let addresses = [lease(&mut vm1), lease(&mut vm2)];
    assert_ne!(addresses[0], addresses[1]);

    for address in &addresses {
        server.namespace.run(&format!("busybox ping -q -c 3 -i 0.2 -W 5 -s 1472 {address}"));
    }
    vm1.ping(SERVER, 1472);
    vm1.ping(&addresses[1], 1472);
    vm2.ping(&addresses[0], 56);

    for options in ["", "-R", "-u -b 20M", "-u -b 20M -R"] {
        let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, SERVER, 1, options);
        assert!(rate > WORKING_BITS_PER_SECOND, "iperf3 {options} with a host came to {rate} bit/s only");
    }
    vm2.serve_iperf();
    for options in ["", "-R"] {
        let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, &addresses[1], 1, options);
        assert!(rate > WORKING_BITS_PER_SECOND, "iperf3 {options} with a guest came to {rate} bit/s only");
    }
    let errors = [vm1.checksum_errors(), vm2.checksum_errors(), server.namespace.checksum_errors()];
    assert_eq!(errors, [0; 3], "packets with wrong checksums arrived");

    let state = hosts[0].daemon.show();
    assert_eq!(state.interface("wan").driver.as_deref(), Some("af-packet"));
    let known = hosts[0].daemon.fdb();
    let behind_wan = known.iter().filter(|entry| entry.port == "wan").count();
    assert!(behind_wan >= 2, "the server and the other host's guest are behind the uplink: {known:?}");
    let told = hosts[0].daemon.command(&["show", "uplinks"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("eth1") && told.contains("af-packet"), "{told}");
}

/// The interface of a guest's only way out goes and comes back; the guest need not do anything.
#[test]
fn a_guest_finds_its_segment_again_when_the_interface_comes_back() {
    let segment = Segment::new();
    let server = Server::new(&segment);
    let host = Host::new("east", &segment);
    let mut vm1 = Machine::new("vm1", "192.168.77.9/24").on_port_of(&host.daemon).boot();
    vm1.ping(SERVER, 56);
    host.namespace.ip("link del eth1");
    host.daemon.wait_for_state("wan", "waiting");
    assert!(!vm1.reaches(SERVER));
    segment.plug(&host.namespace, "eth1");
    host.daemon.wait_for_state("wan", "attached");
    wait_for("the guest to reach the server again", LIMIT, || vm1.reaches(SERVER).then_some(()));
    server.namespace.run("busybox ping -q -c 3 -i 0.2 -W 5 192.168.77.9");
}
