//! An uplink that gets its address from dnsmasq out there: it is leased, kept over kill -9, refused and replaced.

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::process::Process;

use viaduct_tests::town::{OUTSIDE, Station, Town, ask, page};

/// How long an address may take: three probes of up to two seconds each, and what a client waits before it begins anew.
const LEASE_LIMIT: Duration = Duration::from_secs(30);

/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(10);

fn config(stations: &[&Station]) -> String {
    let ports = stations.iter().zip([10, 11]).map(|(station, last)| {
        let (name, mac) = (station.name, station.mac());
        format!(
            "[port.{name}]\nnetwork = \"home\"\ntype = \"veth\"\ninterface = \"v-{name}\"\nmac = \"{mac}\"\n\
             port_security = true\naddresses = [\"10.0.0.{last}\"]\npublish = [\"100{last}:80/tcp\"]\n"
        )
    });
    let head = "[uplink.isp]\ninterface = \"eth3\"\naddress = \"dhcp\"\n[network.home]\nmode = \"nat\"\nuplink = \"isp\"\n\
                subnets = [\"10.0.0.0/24\"]\ndns = { domain = \"home.lan\" }\n";
    std::iter::once(head.to_owned()).chain(ports).collect()
}

/// dnsmasq out there: it lends addresses from this one on, and knows a name.
fn server(town: &Town, name: &str, first: u8, further: &[String]) -> Process {
    let mut command = town.outside.command("dnsmasq");
    command.args(
        "--keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --interface=eth0 --bind-interfaces \
         --no-ping --log-queries --user=root --log-dhcp --log-facility=- --dhcp-authoritative --pid-file= \
         --address=/www.example.org/203.0.113.9"
            .split_whitespace(),
    );
    command.arg(format!("--dhcp-range=192.168.99.{first},192.168.99.{},600s", first + 9));
    command.arg(format!("--dhcp-option=option:dns-server,{OUTSIDE}")).args(further);
    command.arg(format!("--dhcp-leasefile={}/{name}.leases", town.folder.path().display()));
    let server = Process::spawn(name, &command, town.folder.path());
    wait_until("dnsmasq to listen", LIMIT, || server.output().contains("DHCP, IP range"));
    server
}

/// What the switch says of itself at the uplink.
fn outside(daemon: &Daemon) -> serde_json::Value {
    daemon.show_json()["outsides"][0].clone()
}

/// The address that the uplink was lent.
fn leased(daemon: &Daemon) -> Option<String> {
    Some(outside(daemon)["dhcp"]["address"].as_str()?.to_owned())
}

/// Whether mappings of open connections stand on an address out there.
fn is_mapped(daemon: &Daemon, address: &str) -> bool {
    let output = daemon.command(&["show", "nat", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mappings = told["page"].as_array().unwrap().iter();
    mappings
        .filter(|mapping| mapping["connections"].as_u64() > Some(0))
        .any(|mapping| mapping["outside"].as_str().unwrap().starts_with(&format!("{address}:")))
}

fn shows(daemon: &Daemon, what: &str) -> String {
    String::from_utf8(daemon.command(&["show", what]).stdout).unwrap()
}

#[test]
fn an_uplink_leases_its_address_keeps_it_over_kill_9_and_follows_its_server_to_another() {
    let town = Town::new("eth3");
    let vm1 = town.station("vm1");
    let first = server(&town, "dnsmasq", 50, &[]);
    let config = config(&[&vm1]);
    let mut daemon = town.start(&config, &["isp", "vm1"]);
    vm1.configure("10.0.0.10/24", "10.0.0.1");
    wait_until("an address to be leased", LEASE_LIMIT, || leased(&daemon).is_some());
    let old = leased(&daemon).unwrap();
    assert!(old.starts_with("192.168.99.5"), "{old}");
    wait_until("the gateway that came with it", LIMIT, || outside(&daemon)["gateways"][0] == OUTSIDE);
    assert_eq!(outside(&daemon)["dhcp"]["server"], OUTSIDE);
    // Everything that names the uplink stands on it: routes, translation, published ports.
    let (routes, leases) = (shows(&daemon, "routes"), shows(&daemon, "leases"));
    assert!(routes.contains("192.168.99.0/24") && routes.contains(OUTSIDE), "{routes}");
    assert!(leases.lines().any(|line| line.contains(&old) && line.contains("own")), "{leases}");
    let uplinks = shows(&daemon, "uplinks");
    assert!(uplinks.contains(&format!("isp: {old}/24, gateway {OUTSIDE}")), "{uplinks}");
    let _echo = town.udp_server(&town.outside, 7000);
    let _web = town.web_server(&vm1.namespace, 80);
    let seen_as = |address: &str| ask(&vm1.namespace, OUTSIDE, 7000).starts_with(&format!("{address} "));
    wait_until("the outside to see the leased address", LIMIT, || seen_as(&old));
    assert_eq!(page(&town.outside, &old, 10010), vm1.namespace.name(), "the published port");

    // Its server is away and the switch is killed: the address goes on, and is there at once.
    drop(first);
    daemon.kill();
    daemon.restart();
    ["isp", "vm1"].iter().for_each(|name| daemon.wait_for_state(name, "attached"));
    wait_until("the kept address", Duration::from_secs(3), || seen_as(&old));
    assert_eq!(outside(&daemon)["dhcp"]["state"], "rebooting");
    assert!(is_mapped(&daemon, &old));

    // Another server is there when the cable is plugged in again: it refuses the address, and lends one that a station has,
    // which is declined.
    town.outside.ip("address add 192.168.99.70/32 dev lo");
    town.outside.ip("link set eth0 down");
    wait_until("the cable to be out", LIMIT, || outside(&daemon)["dhcp"]["state"] == "down");
    town.outside.ip("link set eth0 up");
    let mac = town.host.run("cat /sys/class/net/eth3/address");
    let meant = format!("--dhcp-host={},192.168.99.70", mac.trim());
    let second = server(&town, "dnsmasq-2", 71, &[meant]);
    town.outside.ip("link set eth0 down");
    wait_until("the cable to be out again", LIMIT, || outside(&daemon)["dhcp"]["state"] == "down");
    town.outside.ip("link set eth0 up");
    wait_until("another address", LEASE_LIMIT + LEASE_LIMIT, || {
        leased(&daemon).is_some_and(|now| now != old)
    });
    let new = leased(&daemon).unwrap();
    let told = second.output();
    for (line, address) in
        [("DHCPNAK", old.as_str()), ("DHCPDECLINE", "192.168.99.70"), ("DHCPACK", new.as_str())]
    {
        assert!(told.contains(&format!("{line}(eth0) {address} ")), "no {line} of {address} in\n{told}");
    }
    daemon.wait_for_log("192.168.99.70, which the station");
    wait_until("connections of the address that went to end", LIMIT, || !is_mapped(&daemon, &old));
    wait_until("the outside to see the new address", LIMIT, || seen_as(&new));
    assert_eq!(page(&town.outside, &new, 10010), vm1.namespace.name(), "the published port follows");
    assert_eq!(page(&town.outside, &old, 10010), "", "the old address is gone");
}

#[test]
fn names_are_asked_of_the_leases_name_server_with_the_uplinks_own_address() {
    let town = Town::new("eth3");
    let vm1 = town.station("vm1");
    // It is to be renewed after five seconds.
    let server = server(&town, "dnsmasq", 50, &["--dhcp-option=option:T1,5".to_owned()]);
    let daemon = town.start(&config(&[&vm1]), &["isp", "vm1"]);
    vm1.configure("10.0.0.10/24", "10.0.0.1");
    wait_until("an address to be leased", LEASE_LIMIT, || leased(&daemon).is_some());
    let lookup = || vm1.namespace.run("busybox nslookup www.example.org 10.0.0.1 2>&1 || true");
    wait_until("a name out there to resolve", LIMIT, || lookup().contains("203.0.113.9"));
    let asked = format!("www.example.org from {}", leased(&daemon).unwrap());
    // Questions have capital letters at random.
    let told = server.output().to_lowercase();
    assert!(told.contains(&asked), "no {asked} in\n{told}");
    wait_until("the lease to be renewed", LIMIT, || server.output().matches("DHCPACK(").count() >= 2);
    wait_until("the renewal to be heard", LIMIT, || outside(&daemon)["dhcp"]["state"] == "bound");
}

#[test]
fn an_address_that_another_station_has_is_told_and_one_of_ipv6_is_not_used() {
    let town = Town::new("eth3");
    town.outside.ip("address add 192.168.99.108/32 dev lo");
    town.outside.ip("-6 address add 2001:db8::108/64 dev eth0 nodad");
    let config = "[uplink.isp]\ninterface = \"eth3\"\naddress = [\"192.168.99.108/24\", \"2001:db8::108/64\"]\n\
                  gateway = \"192.168.99.1\"\n[network.home]\nmode = \"nat\"\nuplink = \"isp\"\nsubnets = [\"10.0.0.0/24\"]\n";
    let daemon = town.start(config, &["isp"]);
    let mac = town.outside.run("cat /sys/class/net/eth0/address").trim().to_owned();
    wait_until("both claims", LIMIT, || {
        outside(&daemon)["claims"].as_array().is_some_and(|all| all.len() == 2)
    });
    let told = outside(&daemon);
    let claims: Vec<_> = told["claims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|claim| {
            assert_eq!(claim["mac"], mac);
            (claim["address"].as_str().unwrap(), claim["in_use"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(claims, [("192.168.99.108", true), ("2001:db8::108", false)]);
    assert_eq!(told["addresses"], serde_json::json!(["192.168.99.108/24"]), "that of IPv6 is not used");
    daemon.wait_for_log("claims 192.168.99.108");
    daemon.wait_for_log("has 2001:db8::108 already");
    let shown = shows(&daemon, "uplinks");
    assert!(shown.contains("192.168.99.108 is claimed by the station"), "{shown}");
}
