//! IPv6 of the home router: a QEMU guest makes its address itself, stations beside it have theirs lent, and packets leave as they are.

use std::time::Duration;

use viaduct_tests::clients::Client;
use viaduct_tests::deadline::{wait_for, wait_until};
use viaduct_tests::machine::Machine;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::town::{LIMIT, Station, Town, example, with_stations};

/// The machine out there, and the one behind it.
const OUTSIDE: &str = "2001:db8:99::1";
const FAR: &str = "2001:db8:51::2";
/// The slowest transfer that counts as working.
const WORKING_BITS_PER_SECOND: f64 = 5e6;
/// Asking by router solicitations and DHCPv6 takes seconds (RFC 4861, 6.3.7; RFC 8415, 18.2.1).
const ADDRESS_WITHIN: Duration = Duration::from_secs(30);
/// A router advertisement with a prefix of its own, to all.
const ROGUE: &str = "import sys\nfrom scapy.all import *\n\
    p = Ether(src=get_if_hwaddr('eth0'), dst='33:33:00:00:00:01') / IPv6(src=sys.argv[1], dst='ff02::1', hlim=255) / \
    ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptPrefixInfo(prefix='2001:db8:bad::', prefixlen=64)\n\
    sendp(p, iface='eth0', count=3, verbose=False)\n";

/// The example with addresses of IPv6 out there, and a network beside it whose addresses are lent.
fn config(stations: &[&Station]) -> String {
    let replace = |text: String, one: &str, other: &str| {
        assert!(text.contains(one), "the example has no {one}");
        text.replacen(one, other, 1)
    };
    let text = example("nat.toml");
    let text = replace(
        text,
        "address = \"192.168.99.108/24\"",
        "address = [\"192.168.99.108/24\", \"2001:db8:99::108/64\"]",
    );
    let text =
        replace(text, "gateway = \"192.168.99.1\"", &format!("gateway = [\"192.168.99.1\", \"{OUTSIDE}\"]"));
    let text = replace(
        text,
        "subnets = [\"172.16.99.0/24\"]",
        "subnets = [\"172.16.99.0/24\", \"fd00:3::/64\"]\ndhcp = {}\ndhcp6 = { lease = \"60s\" }\nra = \"stateful\"",
    );
    let text = ["vm4", "vm5", "vm6"]
        .iter()
        .fold(text, |text, name| text + &format!("[port.{name}]\nnetwork = \"lab\"\n"));
    with_stations(text, stations).replace("[port.vm1]\n", "[port.vm1]\nport_security = true\n")
}

/// The addresses of a station that begin so.
fn addresses(place: &Namespace, prefix: &str) -> Vec<String> {
    let text = place.ip("-6 -o address show dev eth0");
    let words = text.split_whitespace().filter(|word| word.starts_with(prefix));
    words.map(|word| word.split('/').next().unwrap().to_owned()).collect()
}

#[test]
fn guests_have_addresses_of_ipv6_and_reach_the_outside_by_them() {
    let town = Town::new("eth3");
    let far = town.far();
    town.outside.ip(&format!("address add {OUTSIDE}/64 dev eth0 nodad"));
    town.outside.ip("route add fd00::/16 via 2001:db8:99::108");
    let [vm2, vm4, vm5, vm6] = ["vm2", "vm4", "vm5", "vm6"].map(|name| town.station(name));
    let daemon = town.start(&config(&[&vm2, &vm4, &vm5, &vm6]), &["isp", "vm2", "vm4", "vm5", "vm6"]);
    let mut vm1 = Machine::new("vm1", "").on_port_of(&daemon).power_on();
    let _servers =
        [town.mirror(&town.outside, 80), town.iperf_server(&town.outside), town.iperf_server(&far)];
    let folder = town.folder.path();
    let clients =
        [Client::dhclient(&vm4, folder, "-6"), Client::dhcpcd(&vm6, folder), Client::networkd(&vm5, folder)];
    vm1.await_shell();

    // The guest makes its own from the prefix that it is told, and has a default route.
    wait_for("the guest's address", ADDRESS_WITHIN, || {
        vm1.run("ip -6 -o address show dev eth0 -tentative").contains("fd00:2::").then_some(())
    });
    vm1.ping("fd00:2::1", 1000);
    vm1.ping(OUTSIDE, 1452);
    let page = vm1.run(&format!("timeout 10 wget -q -O - 'http://[{OUTSIDE}]/'"));
    assert!(page.contains("sees fd00:2::"), "packets of IPv6 leave as they are: {page}");
    for options in ["", "-R"] {
        let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, OUTSIDE, 1, options);
        assert!(rate > WORKING_BITS_PER_SECOND, "iperf3 {options} came to {rate} bit/s only");
    }
    // The way behind the outside takes 1400 bytes; nobody may cut packets of IPv6 on their way.
    let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, FAR, 1, "");
    assert!(rate > WORKING_BITS_PER_SECOND, "over the narrow way came {rate} bit/s only");
    let known = vm1.run(&format!("ip -6 route get {FAR}"));
    assert!(known.contains("mtu 1400"), "{known}");

    // Lent addresses: one each, and no address that a station made itself from the prefix.
    for (station, client) in [&vm4, &vm6, &vm5].into_iter().zip(&clients) {
        let (name, place) = (station.name, &station.namespace);
        wait_until(&format!("{name} to be lent an address"), ADDRESS_WITHIN, || {
            addresses(place, "fd00:3::").len() == 1
        });
        // Who asks for an address need not have waited for a router's advertisement.
        wait_until(&format!("{name} to have a router"), ADDRESS_WITHIN, || {
            place.ip("-6 route show default").contains("via fe80:")
        });
        wait_until(&format!("{name} to reach the outside"), LIMIT, || station.reaches(OUTSIDE));
        let seen = place.run(&format!("curl -s -m 5 'http://[{OUTSIDE}]/'"));
        assert!(seen.contains(&addresses(place, "fd00:3::")[0]), "{seen}; {}", client.output());
    }
    let own = vm1.run("ip -6 -o address show dev eth0 scope global");
    let own = own.split_whitespace().nth(3).and_then(|word| word.split('/').next()).unwrap();
    // Stations of both networks reach each other.
    vm5.await_reach(own);

    // A station that is no router says that it is one.
    let source = &addresses(&vm2.namespace, "fe80:")[0];
    // Debian's own, which has scapy.
    vm2.namespace.run(&format!("/usr/bin/python3 -c \"{ROGUE}\" {source}"));
    wait_until("the false router to be counted", LIMIT, || {
        daemon.show().port("vm2").dropped("rogue-router") >= 3
    });
    vm1.ping("fd00:2::1", 56);
    let known = vm1.run("ip -6 address show dev eth0; ip -6 route");
    assert!(!known.contains("2001:db8:bad"), "{known}");
    assert_eq!(known.matches("default via").count(), 1, "{known}");
    assert_eq!(vm1.checksum_errors() + town.outside.checksum_errors() + far.checksum_errors(), 0);
}
