//! Stations that speak in the gateway's name: what they send reaches nobody and is counted by name, and their neighbours keep reaching the
//! gateway meanwhile, even those that just forgot where it is and believe whatever they hear.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::Pings;
use viaduct_tests::process::{Process, run_to_end};
use viaduct_tests::town::{LIMIT, OUTSIDE, Station, Town};

/// Makes and sends it all.
const PROGRAM: &str = include_str!("forger.py");

/// For how many seconds.
const SECONDS: &str = "3";

/// The gateway of the forgers' network, and a station of another one.
const GATEWAY: &str = "10.0.0.1";
const GATEWAY6: &str = "fd00:2::1";
const FAR: &str = "10.0.1.13";
const FAR6: &str = "fd00:3::13";

/// `evil` may send what it likes; `held` is held to its addresses.
fn config(held: &Station) -> String {
    let mac = held.mac();
    format!(
        r#"
[uplink.isp]
interface = "eth3"
address = "192.168.99.108/24"
gateway = "192.168.99.1"
[network.home]
mode = "nat"
uplink = "isp"
subnets = ["10.0.0.0/24", "fd00:2::/64"]
[network.lab]
mode = "nat"
uplink = "isp"
subnets = ["10.0.1.0/24", "fd00:3::/64"]
[router.r1]
networks = ["home", "lab"]
[port.vm1]
network = "home"
type = "veth"
interface = "v-vm1"
[port.vm3]
network = "lab"
type = "veth"
interface = "v-vm3"
[port.evil]
network = "home"
type = "veth"
interface = "v-evil"
[port.held]
network = "home"
type = "veth"
interface = "v-held"
mac = "{mac}"
addresses = ["10.0.0.32", "fd00:2::32"]
"#
    )
}

/// What a forger sent, by what it claims.
type Sent = BTreeMap<String, u64>;

struct Scene {
    vm1: Station,
    vm3: Station,
    evil: Station,
    held: Station,
    /// The gateway's Ethernet address.
    mac: String,
    daemon: Daemon,
    town: Town,
}

impl Scene {
    fn new() -> Self {
        let town = Town::new("eth3");
        let [vm1, vm3, evil, held] = ["vm1", "vm3", "evil", "held"].map(|name| town.station(name));
        for (station, v4, v6, gateways) in [
            (&vm1, "10.0.0.11/24", "fd00:2::11/64", [GATEWAY, GATEWAY6]),
            (&vm3, "10.0.1.13/24", "fd00:3::13/64", ["10.0.1.1", "fd00:3::1"]),
        ] {
            station.configure(v4, gateways[0]);
            station.namespace.ip(&format!("address add {v6} dev eth0 nodad"));
            station.namespace.ip(&format!("route replace default via {}", gateways[1]));
        }
        // What comes from them is forged, and nothing else.
        for forger in [&evil, &held] {
            forger.namespace.run("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
        }
        vm1.namespace.run("echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_accept");
        let daemon = town.start(&config(&held), &["isp", "vm1", "vm3", "evil", "held"]);
        for address in [GATEWAY, GATEWAY6, OUTSIDE, FAR, FAR6] {
            vm1.await_reach(address);
        }
        let mac = place_of(&vm1, GATEWAY).expect("the gateway's place");
        Self { vm1, vm3, evil, held, mac, daemon, town }
    }

    fn attack(&self, from: &Station, [own, own6]: [&str; 2]) -> Process {
        let mut command = from.namespace.command("/usr/bin/python3");
        let (victim, mac) = (self.vm1.mac(), from.mac());
        // Debian's own, which has scapy.
        command.args(["-c", PROGRAM, from.name, GATEWAY, GATEWAY6, &self.mac, "10.0.0.11", "fd00:2::11"]);
        command.args([&victim, FAR, FAR6, own, own6, &link_local(&mac), SECONDS]);
        Process::spawn(&format!("forger-{}", from.name), &command, self.town.folder.path())
    }

    /// What a port lost, by reason.
    fn drops(&self, port: &str) -> BTreeMap<String, u64> {
        let shown = self.daemon.show();
        let drops = shown.port(port).drops.iter();
        drops.map(|drops| (drops.reason.clone(), drops.frames)).filter(|(_, frames)| *frames > 0).collect()
    }
}

/// The address that a station makes itself of its Ethernet address (RFC 4291, appendix A).
fn link_local(mac: &str) -> String {
    let bytes: Vec<u8> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let [a, b, c, d, e, f] = bytes[..] else { panic!("{mac}") };
    format!("fe80::{:02x}{b:02x}:{c:02x}ff:fe{d:02x}:{e:02x}{f:02x}", a ^ 2)
}

/// The Ethernet address that a station knows for another's address.
fn place_of(station: &Station, address: &str) -> Option<String> {
    let line = station.namespace.ip(&format!("neigh show {address} dev eth0"));
    let mut words = line.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).map(str::to_owned)
}

/// Pings many times.
fn ping(from: &Station, to: &str, town: &Town) -> Process {
    let mut command = from.namespace.command("busybox");
    command.args(["ping", "-c", "60", "-i", "0.05", to]);
    let name = format!("ping-{}-{}", from.name, to.replace(':', "-"));
    Process::spawn(&name, &command, town.folder.path())
}

/// What a forger says that it sent.
fn sent(mut forger: Process) -> Sent {
    let status = forger.wait(Duration::from_secs(30));
    let output = forger.output();
    assert!(status.success(), "{output}");
    serde_json::from_str(output.lines().last().unwrap()).unwrap()
}

/// What a capture holds that a filter finds.
fn found(capture: &std::path::Path, filter: &str) -> String {
    run_to_end(LIMIT, "tcpdump", &["-n", "-e", "-r", capture.to_str().unwrap(), filter])
}

#[test]
fn who_speaks_in_the_gateways_name_is_counted_and_heard_by_nobody() {
    let scene = Scene::new();
    let Scene { vm1, vm3, evil, held, town, .. } = &scene;
    let capture = town.folder.path().join("vm1.pcap");
    let mut sniffer = vm1.namespace.command("tcpdump");
    sniffer
        .args(["-i", "eth0", "-Q", "in", "-n", "-U", "--immediate-mode", "-Z", "root", "-w"])
        .arg(&capture);
    let mut sniffer = Process::spawn("sniffer", &sniffer, town.folder.path());
    wait_until("tcpdump to listen", LIMIT, || sniffer.output().contains("listening on"));
    let before = ["evil", "held"].map(|port| scene.drops(port));
    assert_eq!(before, [BTreeMap::new(), BTreeMap::new()], "nobody has forged anything yet");
    let forgers =
        [scene.attack(evil, ["10.0.0.31", "fd00:2::31"]), scene.attack(held, ["10.0.0.32", "fd00:2::32"])];
    wait_until("the forgers to begin", LIMIT, || {
        forgers.iter().all(|forger| forger.output().contains("begun"))
    });
    let pings = [(vm1, GATEWAY), (vm1, GATEWAY6), (vm1, OUTSIDE), (vm1, FAR), (vm1, FAR6), (vm3, "10.0.1.1")]
        .map(|(from, to)| ping(from, to, town));
    // It asks for the gateway again and again, and whoever answers it is believed.
    for _ in 0..8 {
        vm1.namespace.run("ip -4 neigh flush all; ip -6 neigh flush all");
        for address in [GATEWAY, GATEWAY6] {
            vm1.await_reach(address);
            assert_eq!(place_of(vm1, address).as_ref(), Some(&scene.mac), "of {address}");
        }
    }
    let [by_evil, by_held] = forgers.map(sent);
    for mut ping in pings {
        ping.wait(LIMIT);
        assert_eq!(Pings::read(&ping.output()).lost(), 0, "{}", ping.output());
    }
    sniffer.signal(libc::SIGINT);
    sniffer.wait(LIMIT);
    assert_eq!(found(&capture, &format!("ether src {}", evil.mac())), "", "what vm1 heard of evil");
    assert_eq!(found(&capture, &format!("arp and ether src {}", held.mac())), "", "what vm1 heard of held");
    let heard = fs::read(&capture).unwrap();
    assert!(!heard.windows(6).any(|bytes| bytes == b"forged"), "vm1 heard what was forged");
    // Each by one name.
    let all: u64 = by_evil.values().sum();
    wait_until("all that evil forged to be counted", LIMIT, || {
        scene.drops("evil").values().sum::<u64>() >= all
    });
    assert_eq!(scene.drops("evil"), BTreeMap::from([("gateway-spoofed".to_owned(), all)]), "{by_evil:?}");
    let of = |names: &[&str]| names.iter().map(|name| by_held[*name]).sum::<u64>();
    let expected = [
        ("spoof-mac", of(&["mac"])),
        ("spoof-arp", of(&["arp"])),
        ("spoof-nd", of(&["nd", "nd to one"])),
        ("spoof-ipv4", of(&["ipv4", "ipv4 to one"])),
        ("spoof-ipv6", of(&["ipv6", "ipv6 to one"])),
    ];
    let expected = expected.map(|(name, frames)| (name.to_owned(), frames));
    assert_eq!(scene.drops("held"), BTreeMap::from(expected), "{by_held:?}");
    for (place, address) in [(vm1, GATEWAY), (vm1, GATEWAY6)] {
        assert_eq!(place_of(place, address).as_ref(), Some(&scene.mac), "of {address}");
    }
}
