//! Containers beside a QEMU guest, behind one address and in the same security groups (scenario S10): the example's file.

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::machine::{Guest, Machine};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::town::{LIMIT, OUTSIDE, Town, example, page};

/// The address that the uplink has out there.
const OWN: &str = "192.168.99.108";
const WEB: &str = "172.17.0.2";
const DB: &str = "172.17.0.3";

/// The example's file, with the namespace of its container `db` by another name: only the test's own are touched.
fn config(db: &Namespace) -> String {
    let text = example("containers.toml");
    let replace = |text: String, one: &str, other: &str| {
        assert!(text.contains(one), "the example has no {one}");
        text.replacen(one, other, 1)
    };
    let text = replace(text, "netns = \"db\"", &format!("netns = \"{}\"", db.name()));
    let address = format!("address = \"{OWN}/24\"\ngateway = \"{OUTSIDE}\"");
    replace(text, "address = \"dhcp\"", &address)
}

/// A container's interface as the page docs/containers.md has it.
fn configure(container: &Namespace, mac: &str, address: &str) {
    container.ip(&format!("link set eth0 address {mac}"));
    container.ip(&format!("address add {address}/16 dev eth0"));
    container.ip("route add default via 172.17.0.1");
}

/// Whether a connection to the database's port opens, and its server answers.
fn asks(container: &Namespace) -> bool {
    container.succeeds(&format!("busybox nc -w 2 {DB} 5432 </dev/null | grep -q ready"))
}

fn guest_asks(guest: &mut Guest) -> bool {
    guest.try_run(LIMIT, &format!("nc -w 2 {DB} 5432 </dev/null | grep -q ready")).status == 0
}

#[test]
fn containers_and_a_guest_share_a_network_its_groups_and_the_way_out() {
    let town = Town::new("eth1");
    let [web, db] = ["web", "db"].map(Namespace::new);
    let daemon = Daemon::start_in(&town.host, &config(&db));
    let mut vm1 = Machine::new("vm1", "").on_port_of(&daemon).power_on();
    cable((&town.host, "veth-web"), (&web, "eth0"));
    ["wan", "web", "db"].iter().for_each(|name| daemon.wait_for_state(name, "attached"));
    configure(&web, "02:00:ac:11:00:02", WEB);
    configure(&db, "02:00:ac:11:00:03", DB);
    let _servers =
        [town.web_server(&web, 80), town.mirror(&town.outside, 80), town.iperf_server(&town.outside)];
    let mut server = db.command("busybox");
    server.args(["nc", "-ll", "-p", "5432", "-e", "echo", "ready"]);
    let _database = viaduct_tests::process::Process::spawn("database", &server, town.folder.path());
    vm1.await_shell();
    vm1.run("udhcpc -i eth0 -n -q -t 10 -T 1 -s /usr/share/udhcpc/default.script");

    wait_until("the lease to be told of", LIMIT, || {
        daemon.log().contains("172.17.0.4 of network containers is lent to")
    });

    // All of them leave by the uplink's address.
    let sees = format!("{} sees {OWN}\n", town.outside.name());
    for container in [&web, &db] {
        wait_until("a container to reach the outside", LIMIT, || page(container, OUTSIDE, 80) == sees);
    }
    assert_eq!(vm1.run(&format!("timeout 10 wget -q -O - http://{OUTSIDE}/")), sees);
    let rate = vm1.iperf_above(5e6, OUTSIDE, 1, "");
    assert!(rate > 5e6, "iperf3 came to {rate} bit/s only");
    // The published port, from the outside, from a container and from the guest.
    assert_eq!(page(&town.outside, OWN, 10080), web.name());
    assert_eq!(page(&db, OWN, 10080), web.name());
    assert_eq!(vm1.run(&format!("timeout 10 wget -q -O - http://{OWN}:10080/")), web.name());
    assert_eq!(page(&town.outside, OWN, 5432), "", "nothing else is");
    // Names, of containers too.
    assert!(vm1.run("nslookup web.containers.lan").contains(WEB));
    assert!(db.run("busybox nslookup vm1.containers.lan 172.17.0.1").contains("172.17.0.4"));
    // Groups: the database is for members of `web`, be they containers or guests.
    assert_eq!(page(&db, WEB, 80), web.name());
    assert_eq!(vm1.run(&format!("timeout 10 wget -q -O - http://{WEB}/")), web.name());
    wait_until("members to be let in", LIMIT, || asks(&web) && guest_asks(&mut vm1));
    assert!(!web.succeeds("busybox ping -q -c 1 -W 1 172.17.0.4"), "no rule allows that");
    let told = daemon.command(&["port", "set", "vm1", "--groups", "db"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(!guest_asks(&mut vm1), "who is no member is kept out");
    wait_until("a member to be let in all the same", LIMIT, || asks(&web));
    assert!(daemon.show().port("db").dropped("group-ingress") > 0);
    assert_eq!(vm1.checksum_errors() + web.checksum_errors() + town.outside.checksum_errors(), 0);
}
