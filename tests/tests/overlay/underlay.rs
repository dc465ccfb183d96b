//! The machines and the wire between them.

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::namespace::{Namespace, Segment, cable};
use viaduct_tests::town::{Station, with_stations};

/// How long anything may take.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// What fits into a tunnel over 1500 bytes: less the headers of IPv4, UDP, VXLAN or Geneve, and Ethernet.
pub(super) const MTU: u16 = 1450;

/// The wire, and a folder for the files of programs.
#[derive(Debug)]
pub(super) struct Underlay {
    pub(super) segment: Segment,
    pub(super) folder: tempfile::TempDir,
}

impl Underlay {
    pub(super) fn new() -> Self {
        Self { segment: Segment::new(), folder: tempfile::tempdir().unwrap() }
    }

    /// A machine on it: its interface there is `under0`, which leaves no checksum to others.
    pub(super) fn machine(&self, name: &'static str) -> Namespace {
        let host = Namespace::new(name);
        self.segment.plug(&host, "under0");
        host.run("ethtool -K under0 tx off >/dev/null");
        host
    }
}

/// A station with an address for the port of this name, on a cable to `host`; it speaks IPv4 alone, so that it says nothing unasked.
pub(super) fn quiet_station(host: &Namespace, name: &'static str, number: u8) -> Station {
    station(host, name, &["echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"], number)
}

/// One with addresses of both versions of IP.
pub(super) fn dual_station(host: &Namespace, name: &'static str, number: u8) -> Station {
    let station = station(host, name, &[], number);
    station.namespace.ip(&format!("address add {}/64 dev eth0 nodad", address_6(number)));
    station
}

fn station(host: &Namespace, name: &'static str, before: &[&str], number: u8) -> Station {
    let namespace = Namespace::new(name);
    before.iter().for_each(|line| _ = namespace.run(line));
    cable((host, &format!("v-{name:.13}")), (&namespace, "eth0"));
    namespace.ip(&format!("link set eth0 mtu {MTU} address {}", mac(number)));
    namespace.ip(&format!("address add {}/24 dev eth0", address(number)));
    Station { namespace, name }
}

/// The Ethernet address of the station with this number.
pub(super) fn mac(number: u8) -> String {
    format!("52:54:00:00:01:{number:02x}")
}

/// Its address.
pub(super) fn address(number: u8) -> String {
    format!("10.101.0.{number}")
}

/// That of IPv6.
pub(super) fn address_6(number: u8) -> String {
    format!("fd10::{number:x}")
}

/// The machine with this number has the address of that number, at an uplink `isp`.
pub(super) fn uplink(number: u8) -> String {
    format!(
        "[uplink.isp]\ninterface = \"under0\"\naddress = [\"192.168.99.{number}/24\", \"fd99::{number:x}/64\"]\n"
    )
}

/// The switch on a machine, with these stations on its ports.
pub(super) fn start(host: &Namespace, config: &str, stations: &[&Station]) -> Daemon {
    let daemon = Daemon::start_in(host, &with_stations(config.to_owned(), stations));
    daemon.wait_for_state("isp", "attached");
    stations.iter().for_each(|station| daemon.wait_for_state(station.name, "attached"));
    daemon
}
