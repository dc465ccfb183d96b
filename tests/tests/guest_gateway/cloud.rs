//! The small cloud of scenario S8: two nodes, each with a switch, on the wire of the service network and on that of management and
//! storage. Node 1 is the way out of all. The three topologies are the examples' files as they stand, and so are those of node 2.

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::machine::Machine;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;
use viaduct_tests::town::{LIMIT, OUTSIDE, Station, Town, example, page, with_stations};

/// Addresses on the public network, as the examples have them.
const OWN: &str = "192.168.99.108";
const ROUTING_SOURCE: &str = "192.168.99.110";
const FLOATING: &str = "192.168.99.121";

/// Two nodes and the machine on the public network, which has a web server.
struct Cloud {
    town: Town,
    node2: Namespace,
    _web: Process,
}

impl Cloud {
    fn new() -> Self {
        let town = Town::new("eth1");
        let node2 = Namespace::new("node2");
        ["eth2", "eth3"].iter().for_each(|name| cable((&town.host, name), (&node2, name)));
        let web = town.mirror(&town.outside, 80);
        Self { town, node2, _web: web }
    }

    /// A node's switch with an example's file and these stations.
    fn start(&self, node: &Namespace, file: &str, stations: &[&Station], uplinks: &[&str]) -> Daemon {
        let daemon = Daemon::start_in(node, &with_stations(example(file), stations));
        let names = stations.iter().map(|station| station.name).chain(uplinks.iter().copied());
        names.for_each(|name| daemon.wait_for_state(name, "attached"));
        daemon
    }

    /// What the machine out there sees a station as.
    fn seen(&self, station: &Station) -> String {
        station.await_reach(OUTSIDE);
        let page = station.namespace.run(&format!("curl -s -m 5 http://{OUTSIDE}/"));
        page.trim().rsplit(' ').next().unwrap_or_default().to_owned()
    }

    /// That the outside reaches a station's web server by the floating address, and others do, too.
    fn assert_floating(&self, server: &Station, client: &Station) {
        let _web = self.town.web_server(&server.namespace, 80);
        for place in [&self.town.outside, &client.namespace] {
            assert_eq!(page(place, FLOATING, 80), server.namespace.name(), "from {}", place.name());
        }
    }
}

#[test]
fn a_flat_network_without_dhcp_spans_two_nodes() {
    let cloud = Cloud::new();
    let (node1, node2) = (&cloud.town.host, &cloud.node2);
    let [vm1, vm2, storage1] = ["vm1", "vm2", "vm1-management"].map(|name| Station::new(node1, name));
    let [vm3, storage3] = ["vm3", "vm3-management"].map(|name| Station::new(node2, name));
    for (station, address) in [(&vm1, "10.0.1.11/8"), (&vm2, "10.0.1.12/8"), (&vm3, "10.0.1.13/8")] {
        station.configure(address, "10.0.0.1");
    }
    storage1.namespace.ip("address add 172.16.99.11/24 dev eth0");
    storage3.namespace.ip("address add 172.16.99.13/24 dev eth0");
    let uplinks = ["service", "management"];
    let _first =
        cloud.start(node1, "cloud-flat.toml", &[&vm1, &vm2, &storage1], &["public", uplinks[0], uplinks[1]]);
    let _second = cloud.start(node2, "cloud-flat-node2.toml", &[&vm3, &storage3], &uplinks);

    assert_eq!([&vm1, &vm2, &vm3].map(|station| cloud.seen(station)), [FLOATING, OWN, OWN]);
    vm3.await_reach("10.0.1.11");
    cloud.assert_floating(&vm1, &vm3);
    // The second wire is for itself.
    storage1.await_reach("172.16.99.13");
    storage1.namespace.ip("route add default via 172.16.99.1");
    assert!(!storage1.reaches("10.0.1.12") && !storage1.reaches(OUTSIDE), "management has no way out");
}

#[test]
fn a_flat_network_with_dhcp_lends_to_guests_of_both_nodes_and_leaves_by_one_address() {
    let cloud = Cloud::new();
    let (node1, node2) = (&cloud.town.host, &cloud.node2);
    let [vm1, vm2] = ["vm1", "vm2"].map(|name| Station::new(node1, name));
    let [vm3, storage3] = ["vm3", "vm3-management"].map(|name| Station::new(node2, name));
    let _first = cloud.start(node1, "cloud-dhcp.toml", &[&vm1, &vm2], &["public", "service"]);
    let _second = cloud.start(node2, "cloud-flat-node2.toml", &[&vm3, &storage3], &["service"]);
    for station in [&vm1, &vm2, &vm3] {
        let told = station.lease(cloud.town.folder.path());
        assert!(told.contains("domain=cloud.lan"), "{}: {told}", station.name);
    }
    assert_eq!(vm1.address(), "10.0.1.11", "a port's own address");
    for station in [&vm2, &vm3] {
        let address = station.address();
        assert!(address.starts_with("10.0.2.") || address.starts_with("10.0.3."), "{address}");
    }
    assert_eq!(
        [&vm1, &vm2, &vm3].map(|station| cloud.seen(station)),
        [FLOATING, ROUTING_SOURCE, ROUTING_SOURCE]
    );
    vm2.await_reach(&vm3.address());
    cloud.assert_floating(&vm1, &vm3);
    let lookup = vm3.namespace.run("busybox nslookup vm1.cloud.lan 10.0.0.1 2>&1 || true");
    assert!(lookup.contains("10.0.1.11"), "{lookup}");
}

/// The guest of node 2 is a QEMU guest.
#[test]
fn tenants_in_vlans_span_two_nodes_and_never_see_each_other() {
    let cloud = Cloud::new();
    let (node1, node2) = (&cloud.town.host, &cloud.node2);
    let [vm1, vm2] = ["vm1", "vm2"].map(|name| Station::new(node1, name));
    let vm4 = Station::new(node2, "vm4");
    let second = cloud.start(node2, "cloud-node2.toml", &[&vm4], &["service"]);
    let mut vm3 = Machine::new("vm3", "").on_port_of(&second).power_on();
    let first = cloud.start(node1, "cloud-vlan.toml", &[&vm1, &vm2], &["public", "service"]);
    for (station, domain) in [(&vm1, "tenant1.lan"), (&vm2, "tenant2.lan"), (&vm4, "tenant2.lan")] {
        let told = station.lease(cloud.town.folder.path());
        assert!(told.contains(&format!("domain={domain}")), "{}: {told}", station.name);
    }
    assert_eq!(vm1.address(), "10.0.1.11", "a port's own address");
    assert!(vm2.address().starts_with("10.0.2.1") && vm4.address().starts_with("10.0.2.1"));
    assert_eq!([&vm1, &vm2, &vm4].map(|station| cloud.seen(station)), [FLOATING, OWN, OWN]);

    vm3.await_shell();
    vm3.run("udhcpc -i eth0 -n -q -t 10 -T 1 -s /usr/share/udhcpc/default.script");
    assert!(vm3.run("ip -4 -o address show dev eth0").contains("inet 10.0.1.1"));
    vm3.ping(OUTSIDE, 1472);
    assert!(vm3.run(&format!("timeout 10 wget -q -O - http://{OUTSIDE}/")).contains(&format!("sees {OWN}")));
    vm3.ping("10.0.1.11", 1472);
    assert!(vm3.run("nslookup vm1.tenant1.lan").contains("10.0.1.11"));
    let _iperf = cloud.town.iperf_server(&cloud.town.outside);
    for options in ["", "-R"] {
        let rate = vm3.iperf_above(5e6, OUTSIDE, 1, options);
        assert!(rate > 5e6, "node 2's guest and the outside: iperf3 {options} came to {rate} bit/s only");
    }
    cloud.assert_floating(&vm1, &vm2);
    vm2.await_reach(&vm4.address());
    // Tenants: neither by address nor by name, nor by a broadcast on the wire.
    assert!(!vm2.reaches("10.0.1.11") && !vm4.reaches("10.0.1.11") && !vm3.reaches(&vm4.address()));
    let lookup = vm4.namespace.run("busybox nslookup vm1.tenant1.lan 10.0.2.1 2>&1 || true");
    assert!(!lookup.contains("10.0.1.11"), "{lookup}");
    assert_isolated(&first, &second, &vm1, &vm4);
    assert_eq!(vm3.checksum_errors() + cloud.town.outside.checksum_errors(), 0);
}

/// Who has which address is asked for by broadcasts: tenant 1's come to node 2, and not to tenant 2.
fn assert_isolated(first: &Daemon, second: &Daemon, one: &Station, other: &Station) {
    let network = |daemon: &Daemon, mac: &str| {
        let known = daemon.fdb();
        let entry = known.iter().find(|entry| entry.mac == mac).map(|entry| entry.network.clone());
        entry.unwrap_or_default()
    };
    wait_until("node 2 to know tenant 1's station", LIMIT, || {
        one.namespace.run("busybox arping -c 1 -w 1 -I eth0 10.0.1.99 || true");
        network(second, &one.mac()) == "tenant1"
    });
    assert_eq!(network(first, &other.mac()), "tenant2");
    let seen = other.namespace.run("ip neigh");
    assert!(!seen.contains("10.0.1."), "{seen}");
}
