//! The home router of scenario S4: the example's file, with veth pairs in place of guests' sockets.

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;

use viaduct_tests::town::{LIMIT, OUTSIDE, Station, Town, ask, example, page, with_stations};

/// The uplink's own address, and others out there, as the example has them.
const OWN: &str = "192.168.99.108";
const SNAT: &str = "192.168.99.109";
const FLOATING: &str = "192.168.99.120";

struct Home {
    town: Town,
    vm1: Station,
    vm2: Station,
    web1: Station,
    vm3: Station,
    daemon: Daemon,
}

impl Home {
    fn new() -> Self {
        let town = Town::new("eth3");
        let [vm1, vm2, web1, vm3] = ["vm1", "vm2", "web1", "vm3"].map(|name| town.station(name));
        let config = with_stations(example("nat.toml"), &[&vm1, &vm2, &web1, &vm3]);
        let daemon = town.start(&config, &["isp", "vm1", "vm2", "web1", "vm3"]);
        Self { town, vm1, vm2, web1, vm3, daemon }
    }

    /// Gives stations of both networks addresses by hand, where DHCP is not the matter.
    fn settled() -> Self {
        let home = Self::new();
        home.vm1.configure("10.0.0.101/24", "10.0.0.1");
        home.web1.configure("10.0.0.10/24", "10.0.0.1");
        home.vm3.configure("172.16.99.13/24", "172.16.99.1");
        home
    }
}

#[test]
fn stations_lease_addresses_at_once_and_keep_them_over_a_restart() {
    let mut home = Home::new();
    let folder = home.town.folder.path().to_owned();
    let told = home.vm1.lease(&folder);
    for line in [
        "subnet=255.255.255.0",
        "router=10.0.0.1",
        "dns=10.0.0.1",
        "domain=home.lan",
        "lease=43200",
        "mtu=1500",
    ] {
        assert!(told.lines().any(|told| told == line), "vm1 was not told {line}:\n{told}");
    }
    home.vm2.lease(&folder);
    home.web1.lease(&folder);
    let before = [&home.vm1, &home.vm2].map(Station::address);
    for address in &before {
        let last: u8 = address.strip_prefix("10.0.0.").unwrap().parse().unwrap();
        assert!((100..=200).contains(&last), "{address} is not of the range");
    }
    assert_ne!(before[0], before[1]);
    assert_eq!(home.web1.address(), "10.0.0.10", "a port's own address");
    home.vm1.await_reach("10.0.0.1");
    home.vm1.await_reach(&before[1]);
    home.daemon.kill();
    home.daemon.restart();
    ["vm1", "vm2"].iter().for_each(|name| home.daemon.wait_for_state(name, "attached"));
    home.vm2.lease(&folder);
    home.vm1.lease(&folder);
    assert_eq!([&home.vm1, &home.vm2].map(Station::address), before, "leases survive kill -9");
}

#[test]
fn a_router_joins_networks_and_tells_who_goes_too_far() {
    let home = Home::settled();
    home.vm1.await_reach("172.16.99.13");
    home.vm3.await_reach("10.0.0.101");
    let hops = home.vm1.namespace.run("busybox traceroute -n -q 1 -w 2 -m 4 172.16.99.13");
    let hops: Vec<&str> = hops.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(hops, ["10.0.0.1", "172.16.99.13"]);
    // Nobody has it.
    let told = home
        .vm1
        .namespace
        .run("busybox ping -c 1 -W 4 172.16.99.77 || true; ip neigh; ping -c1 -W 4 172.16.99.77 || true");
    assert!(told.contains("100% packet loss"), "{told}");
    let _server = home.town.web_server(&home.vm3.namespace, 80);
    assert_eq!(page(&home.vm1.namespace, "172.16.99.13", 80), home.vm3.namespace.name());
}

#[test]
fn names_of_stations_resolve_both_ways_and_others_are_asked_for_elsewhere() {
    let home = Home::settled();
    let lookup =
        |name: &str| home.vm1.namespace.run(&format!("busybox nslookup {name} 10.0.0.1 2>&1 || true"));
    wait_until("web1's name to resolve", LIMIT, || lookup("web1.home.lan").contains("10.0.0.10"));
    assert!(lookup("10.0.0.10").contains("web1.home.lan"), "{}", lookup("10.0.0.10"));
    assert!(lookup("nobody.home.lan").contains("NXDOMAIN"), "{}", lookup("nobody.home.lan"));
}

#[test]
fn stations_reach_the_outside_by_the_uplinks_address_or_their_own() {
    let home = Home::settled();
    let outside = &home.town.outside;
    let _web = home.town.web_server(outside, 80);
    let _echo = home.town.udp_server(outside, 7000);
    home.vm1.await_reach(OUTSIDE);
    assert_eq!(page(&home.vm1.namespace, OUTSIDE, 80), outside.name());
    for (station, address) in [(&home.vm1, OWN), (&home.web1, FLOATING), (&home.vm3, SNAT)] {
        let answer = ask(&station.namespace, OUTSIDE, 7000);
        assert!(answer.starts_with(&format!("{address} ")), "{} is seen as {answer}", station.name);
    }
    assert_eq!(outside.checksum_errors() + home.vm1.namespace.checksum_errors(), 0);
}

#[test]
fn the_outside_reaches_floating_addresses_and_published_ports_and_so_do_stations() {
    let home = Home::settled();
    let (outside, web1) = (&home.town.outside, &home.web1.namespace);
    let _web = home.town.web_server(web1, 80);
    let _echo = home.town.udp_server(web1, 53);
    home.web1.await_reach(OUTSIDE);
    // From out there, and from inside (hairpin).
    for place in [outside, &home.vm1.namespace] {
        assert_eq!(page(place, FLOATING, 80), web1.name(), "the floating address from {}", place.name());
        assert_eq!(page(place, OWN, 10080), web1.name(), "the published port from {}", place.name());
        assert!(ask(place, OWN, 5353).ends_with("hello"), "UDP from {}", place.name());
    }
    assert!(
        outside.succeeds(&format!("busybox ping -q -c 1 -W 2 {FLOATING}")),
        "ping to the floating address"
    );
    assert_eq!(page(outside, OWN, 80), "", "what is not published is closed");
    assert_eq!(outside.checksum_errors() + web1.checksum_errors(), 0);
}

/// The rows of a table that a command prints, cut into columns.
fn rows(daemon: &Daemon, words: &[&str]) -> Vec<Vec<String>> {
    let output = daemon.command(words);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        })
        .collect()
}

/// That a command prints a row with these columns, of which empty ones may hold anything.
fn assert_row(daemon: &Daemon, words: &[&str], expected: &[&str]) {
    let rows = rows(daemon, words);
    let is_row = |row: &&Vec<String>| {
        row.len() >= expected.len()
            && expected.iter().zip(row.iter()).all(|(expected, cell)| expected.is_empty() || expected == cell)
    };
    assert!(rows.iter().any(|row| is_row(&row)), "no row {expected:?} among {rows:#?}");
}

/// Each line of `expected` stands in what `viaduct trace` prints, in this order.
fn assert_traced(daemon: &Daemon, port: &str, packet: &str, expected: &[&str]) {
    let output = daemon.command(&["trace", port, packet]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{packet}: {}", String::from_utf8_lossy(&output.stderr));
    let mut rest = &text[..];
    for part in expected {
        let Some(at) = rest.find(part) else {
            panic!("{packet}: no {part:?} behind the one before it in\n{text}")
        };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_static_route_leads_to_stations_behind_a_station_and_tables_and_traces_tell_of_all() {
    let home = Home::settled();
    let daemon = &home.daemon;
    // The example's route to 10.9.0.0/16 leads to 10.0.0.9.
    home.vm2.configure("10.0.0.9/24", "10.0.0.1");
    home.vm2.namespace.ip("address add 10.9.0.1/32 dev lo");
    home.vm1.await_reach("10.9.0.1");
    home.vm3.await_reach("10.9.0.1");
    home.vm1.await_reach(OUTSIDE);
    // The gateway knows where it is from then on.
    home.web1.await_reach(OUTSIDE);
    let _echo = home.town.udp_server(&home.town.outside, 7000);
    let seen = ask(&home.vm1.namespace, OUTSIDE, 7000);
    let (mac1, mac2) = (home.vm1.mac(), home.vm2.mac());
    let mapped = seen.split(' ').nth(1).unwrap().to_owned();

    for route in [
        ["r1", "10.9.0.0/16", "via", "home", "10.0.0.9"],
        ["r1", "172.16.99.0/24", "link", "lab", "-"],
        ["r1", "10.0.0.0/24", "link", "home", "-"],
        ["r1", "0.0.0.0/0", "via", "isp", OUTSIDE],
    ] {
        assert_row(daemon, &["show", "routes"], &route);
    }
    assert_row(daemon, &["show", "neighbours"], &["home", "10.0.0.101", &mac1, "vm1"]);
    assert_row(daemon, &["show", "neighbours"], &["home", "10.0.0.9", &mac2, "vm2"]);
    assert_row(daemon, &["show", "neighbours"], &["isp", OUTSIDE, "", "isp"]);
    let outside = format!("{OWN}:{mapped}");
    assert_row(daemon, &["show", "nat"], &["home", "vm1", "udp", "", &outside]);
    home.vm1.lease(home.town.folder.path());
    assert_row(daemon, &["show", "leases"], &["home", &home.vm1.address(), "bound", "vm1", &mac1, "vm1-own"]);

    // Nobody had to say to whom the packet goes on its link.
    assert_traced(daemon, "vm1", "tcp 10.0.0.101:4000 > 192.168.99.1:80", &[OWN, "isp"]);
    assert_traced(daemon, "vm1", "udp 10.0.0.101:4000 > 10.9.0.1:53", &["10.0.0.9", "vm2"]);
    assert_traced(daemon, "vm1", "tcp 10.0.0.101:4000 > 172.16.99.13:80", &["vm3"]);
    assert_traced(daemon, "web1", "udp 10.0.0.10:4000 > 192.168.99.1:53", &[FLOATING, "isp"]);
    // The uplink's interface has the gateway's Ethernet address: who out there sends has to be said.
    let from = home.town.outside.run("cat /sys/class/net/eth0/address");
    let packet = format!("tcp {OUTSIDE}:4000 > {OWN}:10080 from {}", from.trim());
    assert_traced(daemon, "isp", &packet, &["10.0.0.10", "web1"]);
    assert_traced(daemon, "vm1", "udp 10.0.0.101:4000 > 10.0.0.1:53", &["gateway"]);
    assert_traced(daemon, "vm1", "udp 8.8.8.8:4000 > 192.168.99.1:53", &["not-routable"]);
}

/// A super-frame is one frame to the switch, whatever it crosses: a router, or its translation of addresses.
#[test]
fn super_frames_cross_the_router_and_its_translation_whole() {
    let home = Home::settled();
    home.vm1.await_reach(OUTSIDE);
    home.vm1.await_reach("172.16.99.13");
    for (server, address) in [(&home.vm3.namespace, "172.16.99.13"), (&home.town.outside, OUTSIDE)] {
        let _server = home.town.iperf_server(server);
        let count = |what: &str| -> u64 {
            server.run(&format!("cat /sys/class/net/eth0/statistics/rx_{what}")).trim().parse().unwrap()
        };
        let before = [count("bytes"), count("packets")];
        home.vm1.namespace.run(&format!("iperf3 -c {address} -n 64M"));
        let (bytes, packets) = (count("bytes") - before[0], count("packets") - before[1]);
        assert!(bytes > 60_000_000, "{bytes} bytes came");
        assert!(
            bytes / packets > 10_000,
            "{bytes} bytes came to {address} in {packets} packets: they were cut"
        );
        assert_eq!(server.checksum_errors(), 0);
    }
}
