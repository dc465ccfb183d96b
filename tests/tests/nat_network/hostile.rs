//! What a hostile station sends to its gateway: no answer that a standard forbids, and nothing that its neighbours notice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use viaduct_tests::daemon::Daemon;
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

/// `evil` and the attackers may send what they like; `guest` is held to its address.
fn config(guest: &Station) -> String {
    let mac = guest.mac();
    let attackers: String = PARTS
        .iter()
        .map(|(part, _, _)| {
            format!("[port.{part}]\nnetwork = \"home\"\ntype = \"veth\"\ninterface = \"v-{part}\"\n")
        })
        .collect();
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
dns = {{ domain = "home.lan", upstream = ["192.168.99.1"] }}
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
{attackers}"#
    )
}

fn attack(from: &Station, address: &str, words: &[&str], town: &Town) -> Process {
    let mut command = from.namespace.command("/usr/bin/python3");
    // Debian's own, which has scapy.
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

/// The parts of the attack, each by a station of its own, and the service that counts what comes of it.
const PARTS: [(&str, &str, Option<&str>); 5] = [
    ("dhcp", "10.0.0.61", Some("dhcp")),
    ("dhcp6", "10.0.0.62", Some("dhcp6")),
    ("dns", "10.0.0.63", Some("services")),
    ("icmp", "10.0.0.64", None),
    ("icmp6", "10.0.0.65", None),
];

/// By what a message that gets no answer is counted: each by exactly one of these.
const UNANSWERED: &[&str] = &[
    "malformed",
    "not-for-us",
    "not-a-request",
    "bootp",
    "relayed",
    "other-server",
    "unknown-client",
    "invalid-request",
    "no-address",
    "share-exceeded",
    "not-held",
    "decline",
    "release",
    "unicast",
    "stranger",
    "dns-ignored",
    "dns-repeated",
    "dns-no-place",
    "inbox-full",
];

type Counts = BTreeMap<String, u64>;

/// What a port lost, by reason.
fn drops(daemon: &Daemon, port: &str) -> Counts {
    let shown = daemon.show_json();
    let port = shown["ports"].as_array().unwrap().iter().find(|shown| shown["name"] == port).unwrap();
    let drops = port["drops"].as_array().unwrap().iter();
    drops
        .map(|drop| (drop["reason"].as_str().unwrap().to_owned(), drop["frames"].as_u64().unwrap()))
        .collect()
}

/// What a service has counted.
fn events(daemon: &Daemon, service: &str) -> Counts {
    let shown = daemon.command(&["show", "services", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let events = shown.as_array().unwrap().iter().filter(|event| event["service"] == service);
    events
        .map(|event| (event["event"].as_str().unwrap().to_owned(), event["count"].as_u64().unwrap()))
        .collect()
}

/// Each message was answered as it may be or counted by one name.
fn assert_accounted(part: &str, found: &Value, events: &Counts, drops: &Counts) {
    assert_eq!(found["forbidden"], json!([]), "{part}: answers that no standard allows");
    assert_eq!(found["missing"], json!([]), "{part}: what is right is answered as ever");
    let of = |name: &str| events.get(name).or_else(|| drops.get(name)).copied().unwrap_or(0);
    for (name, least) in found["counted"].as_object().unwrap() {
        assert!(of(name) >= least.as_u64().unwrap(), "{part}: {name} {} of {least}", of(name));
    }
    let number = |name: &str| found[name].as_u64().unwrap();
    let unanswered: u64 = UNANSWERED.iter().filter_map(|name| events.get(*name)).sum();
    let dropped: u64 = drops.values().sum();
    println!(
        "{part}: {} sent, {} answered, {unanswered} counted by services, {dropped} dropped: {events:?} {drops:?}",
        number("sent"),
        number("answered")
    );
    assert_eq!(number("sent"), number("answered") + unanswered + dropped, "{part}: all is accounted for");
}

#[test]
fn hostile_messages_get_no_answer_that_is_forbidden_and_harm_nobody() {
    let town = Town::new("eth3");
    let [vm1, evil, guest] = ["vm1", "evil", "guest"].map(|name| town.station(name));
    let attackers = PARTS.map(|(part, _, _)| town.station(part));
    for station in attackers.iter().chain([&evil, &guest]) {
        station.namespace.run("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
    }
    let names: Vec<&str> =
        ["isp", "vm1", "evil", "guest"].into_iter().chain(PARTS.map(|part| part.0)).collect();
    let _names = town.name_server();
    let mut daemon = town.start(&config(&guest), &names);
    let address = assert_served(&vm1, &town, None);
    let attacks = PARTS.map(|(part, address, service)| {
        let station = attackers.iter().find(|station| station.name == part).unwrap();
        let before = service.map(|service| events(&daemon, service));
        (part, service, before, attack(station, address, &[part], &town))
    });
    for (part, service, before, attack) in attacks {
        let found = result(attack);
        let mut counts = service.map(|service| events(&daemon, service)).unwrap_or_default();
        for (name, count) in before.into_iter().flatten() {
            *counts.get_mut(&name).unwrap() -= count;
        }
        counts.retain(|_, count| *count > 0);
        assert_accounted(part, &found, &counts, &drops(&daemon, part));
        assert_eq!(daemon.show().port(part).dropped("gateway-rate"), 0, "all of it got to the gateway");
    }
    assert_served(&vm1, &town, Some(&address));
    // Who is held to an address is no router.
    result(attack(&guest, "10.0.0.77", &["router"], &town));
    wait_until("the router's advertisement to be dropped", LIMIT, || {
        daemon.show().port("guest").dropped("rogue-router") > 0
    });
    let state = vm1.namespace.ip("-6 route show") + &vm1.namespace.ip("-6 address show dev eth0");
    assert!(!state.contains("fd0b:ad:"), "a guest's prefix was believed: {state}");
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
