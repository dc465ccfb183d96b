//! Linux guests with VLAN interfaces on trunks, 802.1ad included, and guests on access ports that know of none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::machine::Machine;
use viaduct_tests::stream::{frame, mac};

const CONFIG: &str = "
[network.ten]
vlan = 10
[network.twenty]
vlan = 20
[network.thirty]
vlan = 30

# Its guest tags for itself: natively in ten, with VLAN interfaces in the others.
[port.firewall]
native = \"ten\"
trunk = [\"twenty\", \"thirty\"]

# The same behind a service provider's tag.
[port.metro]
trunk = [\"twenty\", \"thirty\"]
service_vlan = 300

[port.spy10]
network = \"ten\"
[port.spy20]
network = \"twenty\"
[port.spy30]
network = \"thirty\"
";

/// How long nothing may come before it counts as \"nothing came\".
const QUIET: Duration = Duration::from_millis(200);

/// What came to an access port so far, as type fields; each frame is one of its network, since that is where its sender's
/// addresses are.
fn seen(spy: &mut Nic, subnet: u8) -> Vec<u16> {
    let frames = spy.collect(QUIET);
    let kind = |bytes: &[u8]| u16::from_be_bytes([bytes[12], bytes[13]]);
    for received in frames.iter().filter(|received| kind(&received.bytes) == 0x0806) {
        assert_eq!(received.bytes[28..31], [10, 0, subnet], "an ARP message of another tenant");
    }
    frames.iter().map(|received| kind(&received.bytes)).collect()
}

#[test]
fn vlan_interfaces_of_two_linux_guests_meet_tenant_by_tenant_and_nobody_else_hears_them() {
    let daemon = Daemon::start_with("verify_flow_cache = true", CONFIG);
    let mut spies =
        [10, 20, 30].map(|id| Nic::connect(&daemon.socket(&format!("spy{id}")), &NicOptions::default()));
    let mut guests = [("firewall", "10.0.10.1/24"), ("metro", "10.0.99.1/24")]
        .map(|(name, address)| Machine::new(name, address).on_port_of(&daemon).power_on());
    guests.iter_mut().for_each(|guest| guest.await_shell());
    let [mut firewall, mut metro] = guests;
    for guest in [&mut firewall, &mut metro] {
        guest.run("modprobe 8021q");
        guest.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
        guest.run("ip link set eth0 up");
    }
    for id in [20, 30] {
        firewall.run(&format!("ip link add link eth0 name eth0.{id} type vlan id {id} egress-qos-map 0:5"));
        firewall.run(&format!("ip address add 10.0.{id}.1/24 dev eth0.{id}; ip link set eth0.{id} up"));
    }
    metro.run("ip link add link eth0 name s300 type vlan proto 802.1ad id 300 && ip link set s300 up");
    for id in [20, 30] {
        metro.run(&format!("ip link add link s300 name s300.{id} type vlan id {id}"));
        metro.run(&format!("ip address add 10.0.{id}.2/24 dev s300.{id}; ip link set s300.{id} up"));
    }
    spies.iter_mut().for_each(|spy| drop(spy.collect(QUIET)));
    // Tenant 20: both reach each other, in MTU-sized packets as well, and the tenants' access ports hear their ARP alone.
    firewall.ping("10.0.20.2", 56);
    firewall.ping("10.0.20.2", 1472);
    let [ten, twenty, thirty] = &mut spies;
    assert_eq!((seen(ten, 10), seen(thirty, 30)), (vec![], vec![]), "tenant 20 was heard elsewhere");
    assert!(seen(twenty, 20).contains(&0x0806), "a broadcast reaches its own tenant's access port");
    metro.ping("10.0.30.1", 1472);
    assert_eq!((seen(ten, 10), seen(twenty, 20)), (vec![], vec![]), "tenant 30 was heard elsewhere");
    assert!(seen(thirty, 30).contains(&0x0806));
    // TCP with the guests' offloads, into VLAN interfaces on both sides: whole super-frames and their checksums.
    firewall.serve_iperf();
    assert!(metro.iperf("10.0.30.1", 2, "") > 1e6);
    assert!(metro.iperf("10.0.30.1", 2, "-R") > 1e6);
    assert_eq!((firewall.checksum_errors(), metro.checksum_errors()), (0, 0));
    // What a guest tags with a VLAN that is not its is dropped at its port.
    firewall.run("ip link add link eth0 name eth0.40 type vlan id 40 && ip link set eth0.40 up");
    firewall.run("ip address add 10.0.40.1/24 dev eth0.40");
    assert!(!firewall.reaches("10.0.40.2"));
    let state = daemon.show();
    assert!(state.port("firewall").dropped("vlan-not-allowed") > 0);
    // A frame into the native network comes without any tag, to the guest and from it.
    spies[0].send(&frame([0xff; 6], mac(9), 1, 60));
    firewall
        .run("ip neigh add 10.0.10.9 lladdr 02:00:00:00:00:09 dev eth0; ping -c 1 -W 1 10.0.10.9 || true");
    assert!(spies[0].collect(QUIET).iter().any(|received| received.bytes[12..14] == [8, 0]));
}
