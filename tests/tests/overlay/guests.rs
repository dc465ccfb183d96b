//! Scenario S7 with QEMU guests.

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::machine::Machine;

use super::underlay::{LIMIT, Underlay, address, mac, uplink};
use super::wire::Wire;

const GROUP: &str = "239.1.1.101";

#[test]
fn guests_on_three_machines_ask_once_by_the_group_and_then_speak_alone() {
    let underlay = Underlay::new();
    let hosts = ["one", "two", "three"].map(|name| underlay.machine(name));
    let nodes: Vec<_> = (1..=3_u8)
        .zip(&hosts)
        .map(|(number, host)| {
            let config = format!(
                "{}[network.tenant101]\noverlay = {{ kind = \"vxlan\", vni = 101, uplink = \"isp\", group = \"{GROUP}\" }}\n\
                 [port.vm{number}]\nnetwork = \"tenant101\"\nmac = \"{}\"\n",
                uplink(number),
                mac(number)
            );
            let daemon = Daemon::start_in(host, &config);
            daemon.wait_for_state("isp", "attached");
            let guest = Machine::new(&format!("vm{number}"), &format!("{}/24", address(number)));
            let guest = guest.on_port_of(&daemon).power_on();
            (daemon, guest)
        })
        .collect();
    let (daemons, mut guests): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
    guests.iter_mut().for_each(|guest| guest.await_shell());
    let wire = Wire::listen(&underlay, "guests");
    guests[0].ping(&address(2), 1000);
    guests[0].ping(&address(2), 1000);
    wait_until("the answers on the wire", LIMIT, || wire.count("vxlan && icmp.type == 0") >= 6);
    let asked = wire.rows("vxlan && arp && arp.dst.proto_ipv4 == 10.101.0.2", &["ip.dst", "arp.opcode"]);
    assert_eq!(asked[0], [GROUP, "1"]);
    let answered =
        wire.rows("vxlan && arp && arp.src.proto_ipv4 == 10.101.0.2 && arp.opcode == 2", &["ip.dst"]);
    assert_eq!(answered[0], ["192.168.99.1"]);
    assert_eq!(wire.count(&format!("vxlan && icmp && ip.dst == {GROUP}")), 0);
    guests[1].serve_iperf();
    let rate = guests[0].iperf(&address(2), 1, "");
    assert!(rate > 5e6, "iperf3 came to {rate} bit/s only");
    assert_eq!(wire.count(&format!("vxlan && tcp && ip.dst == {GROUP}")), 0);
    assert_eq!(guests.iter_mut().map(|guest| guest.checksum_errors()).sum::<u64>(), 0);
    drop(daemons);
}
