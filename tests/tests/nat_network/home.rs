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
