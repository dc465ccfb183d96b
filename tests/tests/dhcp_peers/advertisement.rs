//! The kernel as a host that hears our router advertisements.

use std::time::Duration;

use viaduct_switch::MacAddress;
use viaduct_switch::ra::{Advertisement, Prefix};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::{Namespace, cable};

use crate::wire::Wire;

const LIMIT: Duration = Duration::from_secs(20);

fn advertisement(lifetime_s: u16) -> Advertisement {
    Advertisement {
        mac: MacAddress([2, 0, 0, 0, 0, 0xfe]),
        address: "fe80::fe".parse().unwrap(),
        hop_limit: 77,
        is_managed: false,
        has_other: false,
        lifetime_s,
        prefixes: vec![Prefix {
            address: "fd00:2::".parse().unwrap(),
            length: 64,
            is_autonomous: true,
            valid_s: 7200,
            preferred_s: 3600,
        }],
        mtu: Some(1400),
        dns_servers: vec!["fd00:2::1".parse().unwrap()],
        search: vec!["home.lan".parse().unwrap()],
        dns_lifetime_s: 1800,
    }
}

#[test]
fn the_kernel_makes_an_address_a_route_and_its_mtu_of_an_advertisement() {
    let [router, host] = ["router", "host"].map(Namespace::new);
    router.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    host.run("sysctl -qw net.ipv6.conf.default.accept_ra=1 net.ipv6.conf.default.autoconf=1 net.ipv6.conf.default.addr_gen_mode=0");
    cable((&host, "eth0"), (&router, "port"));
    let mut wire = Wire::new(&router, ("0.0.0.0", "02:00:00:00:00:fe"), &["port"]);
    wait_until("the host's own address of the link", LIMIT, || {
        let addresses = host.ip("-6 addr show dev eth0 scope link");
        addresses.contains("fe80::") && !addresses.contains("tentative")
    });
    wire.send(0, &advertisement(1800).frame(None).unwrap());
    wait_until("an address", LIMIT, || host.ip("-6 addr show dev eth0 scope global").contains("fd00:2::"));
    let route = host.ip("-6 route show default");
    assert!(route.contains("default via fe80::fe dev eth0") && route.contains("hoplimit 77"), "{route}");
    assert!(host.ip("-6 route show fd00:2::/64").contains("dev eth0"));
    assert_eq!(host.run("cat /proc/sys/net/ipv6/conf/eth0/mtu").trim(), "1400");
    assert!(host.ip("-6 neigh show fe80::fe").contains("02:00:00:00:00:fe"));
    wire.send(0, &advertisement(0).frame(None).unwrap());
    wait_until("the default route to go", LIMIT, || host.ip("-6 route show default").is_empty());
}
