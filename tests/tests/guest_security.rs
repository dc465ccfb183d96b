//! Port security with QEMU guests: an honest guest does not notice it, and a guest that takes what is not its own is alone
//! with that.

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::machine::Machine;

const CONFIG: &str = r#"
[network.lab]
[port.vm1]
network = "lab"
addresses = ["10.0.1.1", "fd00:1::1"]
[port.vm2]
network = "lab"
addresses = ["10.0.1.2", "fd00:1::2"]
"#;

#[test]
fn an_honest_guest_notices_nothing_and_a_thief_of_addresses_is_alone() {
    let daemon = Daemon::start(CONFIG);
    let machines =
        [("vm1", "10.0.1.1/24"), ("vm2", "10.0.1.2/24")].map(|(name, address)| Machine::new(name, address));
    let [mut vm1, mut vm2] = machines.map(|machine| machine.on_port_of(&daemon).power_on());
    vm1.await_shell();
    vm2.await_shell();
    vm2.serve_iperf();
    // Both versions of IP, duplicate address detection, neighbour discovery, fragments and super-frames.
    vm1.run("ip address add fd00:1::1/64 dev eth0");
    vm2.run("ip address add fd00:1::2/64 dev eth0");
    for guest in [&mut vm1, &mut vm2] {
        // Before its address is known to be free, Linux would send from ::1.
        guest.run("while ip -6 address show dev eth0 tentative | grep -q inet6; do sleep 0.2; done");
    }
    vm1.ping("10.0.1.2", 56);
    vm1.ping("10.0.1.2", 20_000);
    vm2.ping("10.0.1.1", 56);
    let seconds = Duration::from_secs(30);
    let ping =
        vm1.try_run(seconds, "for i in 1 2 3 4 5 6; do ping -6 -c 1 -W 2 fd00:1::2 && break; sleep 1; done");
    assert_eq!(ping.status, 0, "{}", ping.output);
    assert!(vm1.iperf("10.0.1.2", 1, "") > 5e6);
    for name in ["vm1", "vm2"] {
        let drops = daemon.show().port(name).drops.clone();
        let refused =
            |reason: &str| ["spoof", "rogue", "unreadable"].iter().any(|kind| reason.starts_with(kind));
        assert!(!drops.iter().any(|drop| refused(&drop.reason)), "{name}: {drops:?}");
    }
    // Takes an address of nobody, then its neighbour's, then another MAC address.
    vm1.run("ip address add 10.0.1.9/24 dev eth0");
    let stolen = vm1.try_run(seconds, "ping -c 2 -W 1 -I 10.0.1.9 10.0.1.2");
    assert_ne!(stolen.status, 0, "{}", stolen.output);
    vm2.run("ip neighbour flush all");
    assert!(!vm2.reaches("10.0.1.9"), "its answers to ARP are not its own");
    vm1.run("ip link set eth0 address 02:00:00:00:00:99");
    assert!(!vm1.reaches("10.0.1.2"));
    let thief = daemon.show().port("vm1").clone();
    for reason in ["spoof-ipv4", "spoof-arp", "spoof-mac"] {
        assert!(thief.dropped(reason) > 0, "{reason}: {:?}", thief.drops);
    }
    let known = daemon.fdb();
    assert!(!known.iter().any(|known| known.mac == "02:00:00:00:00:99"), "{known:?}");
}
