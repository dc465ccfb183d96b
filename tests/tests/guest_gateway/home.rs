//! The home router of scenario S4: the example's file with two QEMU guests, of which one is the server, beside stations with other
//! clients. All of it is one town, since guests take seconds to boot.

use std::time::Duration;

use viaduct_tests::clients::Client;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::{wait_for, wait_until};
use viaduct_tests::guest::{Shell, iperf_above};
use viaduct_tests::machine::{Guest, Machine};
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::Process;
use viaduct_tests::town::{FAR, FAR_NAME, LIMIT, OUTSIDE, Station, Town, example, with_stations};

/// The uplink's own address, and others out there, as the example has them.
const OWN: &str = "192.168.99.108";
const SNAT: &str = "192.168.99.109";
const FLOATING: &str = "192.168.99.120";
/// The slowest transfer that counts as working: a fraction of what an emulated guest can do.
const WORKING_BITS_PER_SECOND: f64 = 5e6;
/// What guests do takes longer than what programs of the machine do.
const GUEST_LIMIT: Duration = Duration::from_secs(30);
/// Whom the guest's web server is asked by.
const WHO: &str = "#!/bin/sh\\necho; echo web1 sees $(echo $REMOTE_ADDR | tr -d [] | sed s/.*://)\\n";

/// The example, with leases that are renewed after half a minute and one more station.
fn config(stations: &[&Station]) -> String {
    let text = example("nat.toml");
    assert!(text.contains("lease = \"12h\""), "{text}");
    with_stations(
        text.replace("lease = \"12h\"", "lease = \"60s\"") + "[port.vm4]\nnetwork = \"home\"\n",
        stations,
    )
}

struct Home {
    /// Leases an address by udhcpc.
    vm1: Guest,
    /// The server, which leases its own address by dhclient.
    web1: Guest,
    /// Leases an address by systemd-networkd.
    vm2: Station,
    /// Is in the network `lab`.
    vm3: Station,
    /// Leases an address by dhcpcd.
    vm4: Station,
    clients: [Client; 2],
    config: String,
    far: Namespace,
    daemon: Daemon,
    name_server: Process,
    _servers: [Process; 4],
    town: Town,
}

impl Home {
    fn new() -> Self {
        let town = Town::new("eth3");
        let far = town.far();
        let [vm2, vm3, vm4] = ["vm2", "vm3", "vm4"].map(|name| town.station(name));
        vm3.configure("172.16.99.13/24", "172.16.99.1");
        let config = config(&[&vm2, &vm3, &vm4]);
        let daemon = town.start(&config, &["isp", "vm2", "vm3", "vm4"]);
        let mut guests = ["vm1", "web1"].map(|name| Machine::new(name, "").on_port_of(&daemon).power_on());
        let servers = [
            town.mirror(&town.outside, 80),
            town.mirror(&far, 80),
            town.iperf_server(&town.outside),
            town.iperf_server(&far),
        ];
        let name_server = town.name_server();
        guests.iter_mut().for_each(|guest| guest.await_shell());
        let folder = town.folder.path();
        let clients = [Client::networkd(&vm2, folder), Client::dhcpcd(&vm4, folder)];
        let [vm1, web1] = guests;
        Self { vm1, web1, vm2, vm3, vm4, clients, config, far, daemon, name_server, _servers: servers, town }
    }

    /// The addresses that are lent, by port, with the time at which each lease ends.
    fn leases(&self) -> Vec<(String, String, u64)> {
        let output = self.daemon.command(&["show", "leases", "--json"]);
        let leases: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let bound = leases.as_array().unwrap().iter().filter(|lease| lease["state"] == "bound");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        bound
            .map(|lease| (text(&lease["port"]), text(&lease["address"]), lease["until_s"].as_u64().unwrap()))
            .collect()
    }
}

/// The address that a guest has.
fn address(guest: &mut Guest) -> String {
    let text = guest.run("ip -4 -o address show dev eth0");
    let word = text.split_whitespace().nth(3).unwrap_or_else(|| panic!("no address in {text:?}"));
    word.split('/').next().unwrap().to_owned()
}

/// What a guest gets from a web server.
fn page(guest: &mut Guest, address: &str) -> String {
    guest.run(&format!("timeout 10 wget -q -O - http://{address}"))
}

#[test]
fn guests_live_behind_a_home_router() {
    let mut home = Home::new();
    all_lease_addresses_at_once(&mut home);
    names_resolve(&mut home);
    guests_reach_the_outside(&mut home);
    paths_are_found(&mut home);
    the_outside_reaches_the_server(&mut home);
    guests_reach_the_server_by_its_outside_addresses(&mut home);
    another_network_gets_an_address_of_its_own(&home);
    addresses_and_connections_outlive_the_switch(&mut home);
    leases_are_renewed(&home);
    let errors = home.vm1.checksum_errors() + home.web1.checksum_errors();
    assert_eq!(errors + home.town.outside.checksum_errors() + home.far.checksum_errors(), 0);
}

fn all_lease_addresses_at_once(home: &mut Home) {
    home.vm1
        .start("udhcpc", "udhcpc -i eth0 -t 10 -T 1 -s /usr/share/udhcpc/default.script -x hostname:laptop");
    home.web1.start("dhclient", "dhclient -v -pf /run/dhclient.pid -lf /run/dhclient.leases eth0");
    home.vm1.finish("udhcpc", GUEST_LIMIT);
    home.web1.finish("dhclient", GUEST_LIMIT);
    wait_until("four leases", LIMIT, || home.leases().len() == 4);
    let output = home.daemon.command(&["show", "services", "home", "--json"]);
    let events: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let acknowledged = events.as_array().unwrap().iter().find(|event| event["event"] == "ack").unwrap();
    assert!(acknowledged["service"] == "dhcp" && acknowledged["count"].as_u64() >= Some(4), "{events}");
    assert_eq!(address(&mut home.web1), "10.0.0.10", "the server's own");
    for station in [&home.vm2, &home.vm4] {
        wait_until("a station to have its address", LIMIT, || {
            station.namespace.ip("-4 -o address show dev eth0").contains("10.0.0.")
        });
    }
    let mut others = [address(&mut home.vm1), home.vm2.address(), home.vm4.address()];
    for address in &others {
        let last: u8 = address.strip_prefix("10.0.0.").unwrap().parse().unwrap();
        assert!((100..=200).contains(&last), "{address} is not of the range");
    }
    others.sort();
    assert!(others.windows(2).all(|pair| pair[0] != pair[1]), "{others:?}");
}

fn names_resolve(home: &mut Home) {
    let own = address(&mut home.vm1);
    let vm2 = home.vm2.address();
    let resolv = home.vm1.run("cat /etc/resolv.conf") + &home.web1.run("cat /etc/resolv.conf");
    assert_eq!(resolv.matches("nameserver 10.0.0.1\n").count(), 2, "{resolv}");
    wait_until("dhcpcd to note names", LIMIT, || home.clients[1].names().contains("nameserver 10.0.0.1"));
    for (question, answer) in [
        ("web1.home.lan", "10.0.0.10"),
        ("web1", "10.0.0.10"),
        ("vm2.home.lan", vm2.as_str()),
        ("10.0.0.10", "web1.home.lan"),
        (vm2.as_str(), "vm2.home.lan"),
        // Nobody of the network: the server out there is asked.
        (FAR_NAME, FAR),
    ] {
        let told = home.vm1.try_run(GUEST_LIMIT, &format!("nslookup {question}")).output;
        assert!(told.contains(answer), "{question}: {told}");
    }
    let dig = |words: &str| home.vm2.namespace.run(&format!("dig @10.0.0.1 +time=2 {words}"));
    assert!(dig("vm1.home.lan A").contains(&own), "{}", dig("vm1.home.lan A"));
    assert!(dig(&format!("-x {own}")).contains("home.lan."), "{}", dig(&format!("-x {own}")));
    assert!(dig("nobody.home.lan A").contains("NXDOMAIN"));
    // Queries come with capitals at random, against forgers.
    let asked = home.name_server.output().to_lowercase();
    assert!(asked.contains(&format!("query[a] {FAR_NAME} from {OWN}")), "by the uplink: {asked}");
    assert!(!asked.contains("home.lan"), "own names are nobody else's business: {asked}");
}

fn guests_reach_the_outside(home: &mut Home) {
    let outside = home.town.outside.name().to_owned();
    home.vm1.ping(OUTSIDE, 1472);
    home.vm1.ping(OUTSIDE, 4000);
    assert_eq!(page(&mut home.vm1, OUTSIDE), format!("{outside} sees {OWN}\n"));
    assert_eq!(page(&mut home.vm1, FAR), format!("{} sees {OWN}\n", home.far.name()), "by its name");
    assert_eq!(page(&mut home.web1, OUTSIDE), format!("{outside} sees {FLOATING}\n"), "by its own address");
    for options in ["", "-R", "-u -b 10M", "-u -b 10M -R"] {
        let rate = home.vm1.iperf_above(WORKING_BITS_PER_SECOND, OUTSIDE, 1, options);
        assert!(rate > WORKING_BITS_PER_SECOND, "iperf3 {options} came to {rate} bit/s only");
    }
}

fn paths_are_found(home: &mut Home) {
    let told = home.vm1.run(&format!("traceroute -n -q 1 -w 3 -m 5 {FAR}"));
    let hops: Vec<&str> = told.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, ["10.0.0.1", OUTSIDE, FAR], "{told}");
    // Packets of 1500 bytes are too long for the way behind the outside; its router says so to the uplink's address.
    let rate = home.vm1.iperf_above(WORKING_BITS_PER_SECOND, FAR, 1, "");
    assert!(rate > WORKING_BITS_PER_SECOND, "over the narrow way came {rate} bit/s only");
    let known = home.vm1.run(&format!("ip route get {FAR}"));
    assert!(known.contains("mtu 1400"), "{known}");
}

fn the_outside_reaches_the_server(home: &mut Home) {
    let script = format!("mkdir -p /tmp/www/cgi-bin; cd /tmp/www/cgi-bin; printf '{WHO}' >who; chmod +x who");
    home.web1.run(&script);
    home.web1.run("httpd -h /tmp/www; iperf3 -s -D; iperf3 -s -D -p 53");
    let outside = &home.town.outside;
    let get = |url: &str| outside.run(&format!("curl -s -m 5 http://{url}/cgi-bin/who || true"));
    wait_until("the server's web server", LIMIT, || !get(FLOATING).is_empty());
    assert_eq!(get(FLOATING), format!("web1 sees {OUTSIDE}\n"));
    assert_eq!(get(&format!("{OWN}:10080")), format!("web1 sees {OUTSIDE}\n"));
    assert_eq!(get(OWN), "", "what is not published is closed");
    outside.run(&format!("busybox ping -q -c 3 -i 0.2 -W 5 {FLOATING}"));
    for (address, options) in [(FLOATING, ""), (OWN, "-p 5353 -R"), (OWN, "-p 5353 -u -b 10M")] {
        let rate = iperf_above(WORKING_BITS_PER_SECOND, address, 1, options, |command| outside.run(command));
        assert!(rate > WORKING_BITS_PER_SECOND, "iperf3 {options} to {address} came to {rate} bit/s only");
    }
}

/// Hairpin (RFC 4787, REQ-9): who asks by an outside address is seen with one.
fn guests_reach_the_server_by_its_outside_addresses(home: &mut Home) {
    for url in [format!("{FLOATING}/cgi-bin/who"), format!("{OWN}:10080/cgi-bin/who")] {
        assert_eq!(page(&mut home.vm1, &url), format!("web1 sees {OWN}\n"), "{url} from a guest");
        // The server itself, too.
        assert_eq!(page(&mut home.web1, &url), format!("web1 sees {FLOATING}\n"), "{url} from the server");
    }
    assert_eq!(
        page(&mut home.vm1, "10.0.0.10/cgi-bin/who"),
        format!("web1 sees {}\n", address(&mut home.vm1))
    );
    for options in ["-p 5353", "-p 5353 -u -b 10M"] {
        let rate =
            iperf_above(WORKING_BITS_PER_SECOND, OWN, 1, options, |command| home.vm4.namespace.run(command));
        assert!(
            rate > WORKING_BITS_PER_SECOND,
            "iperf3 {options} to a published port came to {rate} bit/s only"
        );
    }
}

fn another_network_gets_an_address_of_its_own(home: &Home) {
    let seen = || home.vm3.namespace.run(&format!("curl -s -m 5 http://{OUTSIDE}/ || true"));
    assert_eq!(seen(), format!("{} sees {SNAT}\n", home.town.outside.name()));
    let narrow = home.config.replace(&format!("to = \"{SNAT}\""), &format!("to = \"{OWN}\""));
    home.daemon.apply(&narrow);
    wait_until("the other address to be used", LIMIT, || {
        seen() == format!("{} sees {OWN}\n", home.town.outside.name())
    });
    home.daemon.apply(&home.config);
}

/// The last number that came by a guest's connection.
fn ticks(guest: &mut Shell) -> u32 {
    guest.run("tail -n 1 /tmp/ticks.out || true").trim().parse().unwrap_or(0)
}

/// With kill -9, too. Connections between guests go on; those that are translated end, and new ones open at once.
fn addresses_and_connections_outlive_the_switch(home: &mut Home) {
    let before = [address(&mut home.vm1), address(&mut home.web1), home.vm2.address(), home.vm4.address()];
    home.web1.run("printf 'i=0; while sleep 0.2; do i=$((i+1)); echo $i; done' >/tmp/tick");
    home.web1.run("nc -ll -p 7000 -e sh /tmp/tick </dev/null >/dev/null 2>&1 &");
    home.vm1.start("ticks", "sleep 1; nc 10.0.0.10 7000 </dev/null");
    wait_until("ticks", GUEST_LIMIT, || ticks(&mut home.vm1) > 0);
    for is_killed in [false, true] {
        if is_killed {
            home.daemon.kill();
        } else {
            assert!(home.daemon.terminate().success());
        }
        home.daemon.restart();
        ["vm1", "web1"].iter().for_each(|name| home.daemon.wait_for_state(name, "running"));
        ["isp", "vm2", "vm4"].iter().for_each(|name| home.daemon.wait_for_state(name, "attached"));
        let last = ticks(&mut home.vm1);
        wait_until("a connection between guests to go on", GUEST_LIMIT, || ticks(&mut home.vm1) > last + 2);
        for guest in [&mut home.vm1, &mut home.web1] {
            let reached = |guest: &mut Guest| guest.reaches(OUTSIDE).then_some(());
            wait_for("a guest to reach the outside again", LIMIT, || reached(guest));
            assert!(page(guest, OUTSIDE).contains("sees"));
        }
    }
    let after = [address(&mut home.vm1), address(&mut home.web1), home.vm2.address(), home.vm4.address()];
    assert_eq!(after, before);
    let leases = home.leases();
    assert!(before.iter().all(|address| leases.iter().any(|lease| lease.1 == *address)), "{leases:?}");
}

/// Each client renews its lease after half of its time, a minute.
fn leases_are_renewed(home: &Home) {
    let first = home.leases();
    assert_eq!(first.len(), 4, "{first:?}");
    let limit = Duration::from_secs(45);
    wait_until("all leases to be renewed", limit, || {
        std::thread::sleep(Duration::from_millis(200));
        let now = home.leases();
        first.iter().all(|(port, address, until)| {
            now.iter().any(|lease| lease.0 == *port && lease.1 == *address && lease.2 > *until)
        })
    });
}
