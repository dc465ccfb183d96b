//! What a hostile station sends to its gateway: no answer that a standard forbids, and nothing that its neighbours notice.

use std::time::Duration;

use serde_json::{Value, json};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::Pings;
use viaduct_tests::process::Process;

use viaduct_tests::town::{LIMIT, OUTSIDE, Station, Town};

/// Sends it all, and judges the answers.
const PROGRAM: &str = include_str!("hostile.py");

/// How long a part may take.
const PART: Duration = Duration::from_secs(60);

/// The most stations of one port that a gateway knows by their own word alone.
const KNOWN_MAX: usize = 256;

/// `evil` may send what it likes; `guest` is held to its address.
fn config(guest: &Station) -> String {
    let mac = guest.mac();
    format!(
        r#"
[uplink.isp]
interface = "eth3"
address = ["192.168.99.108/24", "2001:db8:99::108/64"]
gateway = "192.168.99.1"
[network.home]
mode = "nat"
uplink = "isp"
subnets = ["10.0.0.0/24", "fd00:2::/64"]
dhcp = {{ range = "10.0.0.100-10.0.0.200" }}
dhcp6 = {{}}
ra = "stateful"
dns = {{ domain = "home.lan" }}
[port.vm1]
network = "home"
type = "veth"
interface = "v-vm1"
[port.evil]
network = "home"
type = "veth"
interface = "v-evil"
[port.guest]
network = "home"
type = "veth"
interface = "v-guest"
mac = "{mac}"
addresses = ["10.0.0.77"]
"#
    )
}

fn attack(from: &Station, address: &str, words: &[&str], town: &Town) -> Process {
    let mut command = from.namespace.command("python3");
    command.args(["-c", PROGRAM, address]).args(words);
    Process::spawn(&format!("hostile-{}", words[0]), &command, town.folder.path())
}

fn result(mut attack: Process) -> Value {
    let status = attack.wait(PART);
    let output = attack.output();
    assert!(status.success(), "{output}");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// The bystander leases the same address as ever, reaches the outside and resolves a name.
fn assert_served(vm1: &Station, town: &Town, address: Option<&str>) -> String {
    vm1.lease(town.folder.path());
    let leased = vm1.address();
    assert!(address.is_none_or(|address| address == leased), "{address:?} became {leased}");
    vm1.await_reach(OUTSIDE);
    let name = vm1.namespace.run("busybox nslookup gateway.home.lan 10.0.0.1 2>&1 || true");
    assert!(name.contains("10.0.0.1"), "{name}");
    leased
}

#[test]
fn hostile_messages_get_no_answer_that_is_forbidden_and_harm_nobody() {
    let town = Town::new("eth3");
    let [vm1, evil, guest] = ["vm1", "evil", "guest"].map(|name| town.station(name));
    for station in [&evil, &guest] {
        station.namespace.run("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
    }
    let mut daemon = town.start(&config(&guest), &["isp", "vm1", "evil", "guest"]);
    let drops = |port: &str| -> u64 {
        let shown = daemon.show_json();
        let port = shown["ports"].as_array().unwrap().iter().find(|shown| shown["name"] == port).unwrap();
        port["drops"].as_array().unwrap().iter().map(|drop| drop["frames"].as_u64().unwrap()).sum()
    };
    let address = assert_served(&vm1, &town, None);
    for part in ["dhcp", "dhcp6", "dns", "icmp", "icmp6"] {
        let before = drops("evil");
        let found = result(attack(&evil, "10.0.0.66", &[part], &town));
        println!(
            "{part}: {} sent, {} dropped before services saw them",
            found["sent"],
            drops("evil") - before
        );
        assert_eq!(found["forbidden"], json!([]), "{part}: answers that no standard allows");
        assert_eq!(found["missing"], json!([]), "{part}: what is right is answered as before");
        assert_eq!(daemon.show().port("evil").dropped("gateway-rate"), 0, "all of it got to the gateway");
        assert_served(&vm1, &town, Some(&address));
    }
    assert!(daemon.show().port("evil").dropped("gateway-bad-message") > 0);
    // Who is held to an address is no router.
    let before = drops("guest");
    result(attack(&guest, "10.0.0.77", &["router"], &town));
    wait_until("the router's advertisement to be dropped", LIMIT, || drops("guest") > before);
    let state = vm1.namespace.ip("-6 route show") + &vm1.namespace.ip("-6 address show dev eth0");
    assert!(!state.contains("fd99:"), "a guest's prefix was believed: {state}");
    // A flood of stations: the bystander's ping goes on, and the gateway still knows it.
    let mut ping = vm1.namespace.command("busybox");
    ping.args(["ping", "-c", "5", OUTSIDE]);
    let flood = attack(&evil, "10.0.0.66", &["flood", "5"], &town);
    let mut ping = Process::spawn("ping", &ping, town.folder.path());
    ping.wait(PART);
    println!("flood: {} sent", result(flood)["sent"]);
    assert_eq!(Pings::read(&ping.output()).lost(), 0, "{}", ping.output());
    let shown = daemon.command(&["show", "neighbours", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let stations = shown["stations"].as_array().unwrap();
    // For its own addresses the gateway has asked itself.
    let is_own = |station: &Value| ["10.0.0.66", "fe80::66"].iter().any(|own| station["address"] == **own);
    let is_claimed = |station: &&Value| station["port"] == "evil" && !is_own(station);
    let known = stations.iter().filter(is_claimed).count();
    assert!((1..=KNOWN_MAX).contains(&known), "{known} stations are known behind evil: {shown}");
    assert!(stations.iter().any(|station| station["address"] == address.as_str()), "vm1 is known: {shown}");
    assert_served(&vm1, &town, Some(&address));
    assert!(daemon.is_alive());
}
