//! An underlay that takes packets of 9000 bytes: stations have an MTU of 8950, and nothing is cut.

use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;

use super::exchange::{exchange, reach, serve};
use super::underlay::{LIMIT, Underlay, dual_station, start, uplink};
use super::wire::Wire;

/// The wire takes packets of this many bytes, and so do all interfaces on it.
fn enlarge(underlay: &Underlay, machines: &[&Namespace]) {
    machines.iter().for_each(|machine| _ = machine.ip("link set under0 mtu 9000"));
    let ports = "for port in /sys/class/net/p*; do ip link set ${port##*/} mtu 9000; done";
    underlay.segment.namespace().run(ports);
    underlay.segment.namespace().ip("link set segment mtu 9000");
}

#[test]
fn large_packets_pass_whole_where_the_underlay_takes_them() {
    let underlay = Underlay::new();
    let hosts = ["one", "two"].map(|name| underlay.machine(name));
    enlarge(&underlay, &hosts.each_ref());
    let nodes = [1, 2].map(|number: u8| {
        let host = &hosts[usize::from(number) - 1];
        let name = ["s1", "s2"][usize::from(number) - 1];
        let station = dual_station(host, name, number);
        host.ip(&format!("link set v-{name} mtu 8950"));
        station.namespace.ip("link set eth0 mtu 8950");
        let config = format!(
            "{}[network.tenant]\noverlay = {{ kind = \"vxlan\", vni = 101, uplink = \"isp\", peers = [\"192.168.99.{}\"] }}\n\
             [port.{name}]\nnetwork = \"tenant\"\nmtu = 8950\n",
            uplink(number),
            3 - number
        );
        let daemon = start(host, &config, &[&station]);
        (station.namespace, daemon)
    });
    let wire = Wire::listen(&underlay, "jumbo");
    let [(first, _one), (second, _two)] = &nodes;
    reach(first, "10.101.0.2");
    first.run("busybox ping -q -c 3 -i 0.2 -W 2 -s 8900 10.101.0.2");
    first.run("busybox ping -q -c 3 -i 0.2 -W 2 -s 8900 fd10::2");
    // Outer and inner headers say that nobody may cut the packet, which came as one.
    for whole in [
        "vxlan && icmp.type == 0 && frame.len == 8992 && ip.flags.df == 1",
        "vxlan && icmpv6.type == 129 && frame.len == 9012",
    ] {
        wait_until(whole, LIMIT, || wire.count(whole) >= 3);
    }
    let _server = serve(&underlay, second);
    for address in ["10.101.0.2", "fd10::2"] {
        exchange(first, address, 4 << 20);
    }
    assert!(wire.count("vxlan && tcp && frame.len > 8900") > 100, "segments use the room");
    assert_eq!(wire.count("frame.len > 9014"), 0);
    assert_eq!(wire.wrong_checksums(), Vec::<Vec<String>>::new());
    assert_eq!(first.checksum_errors() + second.checksum_errors(), 0);
}
