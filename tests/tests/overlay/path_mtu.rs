//! Stations that are told nothing but by DHCP and router advertisements, over an underlay of 1500 bytes.

use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::town::Station;

use super::exchange::{exchange, reach, serve};
use super::underlay::{Underlay, start, uplink};

fn config(number: u8, kind: &str, lines: &str) -> String {
    let other = 3 - number;
    format!(
        "{}[network.tenant]\noverlay = {{ {kind}, uplink = \"isp\", peers = [\"192.168.99.{other}\"] }}\n{lines}[port.s{number}]\nnetwork = \"tenant\"\n",
        uplink(number)
    )
}

fn station(host: &Namespace, name: &'static str) -> Station {
    let namespace = Namespace::new(name);
    cable((host, &format!("v-{name}")), (&namespace, "eth0"));
    Station { namespace, name }
}

#[test]
fn stations_are_told_what_fits_and_speak_tcp_with_no_setting_of_their_own() {
    let underlay = Underlay::new();
    let hosts = ["one", "two"].map(|name| underlay.machine(name));
    let stations = [station(&hosts[0], "s1"), station(&hosts[1], "s2")];
    let kind = "kind = \"vxlan\", vni = 101";
    // The server of one machine serves those of the other one by the tunnel.
    let serving = "subnets = [\"10.101.0.0/24\"]\ndhcp = { range = \"10.101.0.100-10.101.0.109\" }\n";
    let _daemons = [
        start(&hosts[0], &config(1, kind, serving), &[&stations[0]]),
        start(&hosts[1], &config(2, kind, ""), &[&stations[1]]),
    ];
    for station in &stations {
        let told = station.lease(underlay.folder.path());
        assert!(told.contains("mtu=1450"), "{told}");
        let mtu = station.namespace.run("cat /sys/class/net/eth0/mtu");
        assert_eq!(mtu.trim(), "1450", "{}", station.name);
    }
    let second = stations[1].address();
    reach(&stations[0].namespace, &second);
    let _server = serve(&underlay, &stations[1].namespace);
    exchange(&stations[0].namespace, &second, 1 << 20);
}
