//! Real clients of DHCP, DHCPv6 and router advertisements, at stations on veth pairs. Each runs with files of its own in place of the
//! machine's (`/run`, `/etc/resolv.conf` and where leases are kept), and configures the station's interface as it does anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::Process;
use crate::town::Station;

/// Folders that clients write to.
const WRITTEN: [&str; 3] = ["/run", "/var/lib/dhcp", "/var/lib/dhcpcd"];

/// A client that runs at a station, until it is dropped.
#[derive(Debug)]
pub struct Client {
    process: Process,
    names: PathBuf,
}

impl Client {
    /// ISC's dhclient, for addresses of IPv4 (`-4`) or IPv6 (`-6`).
    #[must_use]
    pub fn dhclient(station: &Station, folder: &Path, version: &str) -> Self {
        // It needs a link-local address that it may use already (RFC 4862, 5.4).
        let line = format!(
            "until ip -6 -o address show dev eth0 scope link -tentative | grep -q .; do sleep 0.1; done; exec dhclient -d -v {version} -pf /run/dhclient.pid -lf /run/dhclient.leases eth0"
        );
        Self::start("dhclient", station, folder, &line)
    }

    /// The same for nothing but the rest (RFC 8415, 6.1), time servers (option 56, of which it knows nothing: as a suboption's code, its
    /// length and an address) and what to boot among it. Its output has all that it was told.
    #[must_use]
    pub fn dhclient_asking_for_the_rest(station: &Station, folder: &Path) -> Self {
        let configuration = "option dhcp6.time-server code 56 = { unsigned integer 16, unsigned integer 16, ip6-address };\\n\
             also request dhcp6.time-server, dhcp6.bootfile-url;\\n";
        let script = "#!/bin/sh\\nenv | grep ^new_\\n";
        let line = format!(
            "printf '{configuration}' >/run/dhclient.conf; printf '{script}' >/run/told; chmod +x /run/told; \
             exec dhclient -d -v -6 -S -cf /run/dhclient.conf -sf /run/told -pf /run/dhclient.pid -lf /run/dhclient.leases eth0"
        );
        Self::start("dhclient-telling", station, folder, &line)
    }

    /// dhcpcd, for all that the network offers.
    #[must_use]
    pub fn dhcpcd(station: &Station, folder: &Path) -> Self {
        let line = "printf 'duid\\nslaac hwaddr\\noption domain_name_servers, domain_search, interface_mtu\\n' >/run/dhcpcd.conf; \
                    exec dhcpcd --nobackground --config /run/dhcpcd.conf eth0";
        Self::start("dhcpcd", station, folder, line)
    }

    /// systemd's systemd-networkd, for all that the network offers; without udev, which it does not ask for where /sys may only
    /// be read.
    #[must_use]
    pub fn networkd(station: &Station, folder: &Path) -> Self {
        let unit = "[Match]\\nName=eth0\\n[Network]\\nDHCP=yes\\nIPv6AcceptRA=yes\\n";
        let line = format!(
            "mount -o remount,ro,bind /sys; mkdir -p /run/systemd/network; \
             printf '{unit}' >/run/systemd/network/eth0.network; exec /lib/systemd/systemd-networkd"
        );
        Self::start("systemd-networkd", station, folder, &line)
    }

    fn start(program: &str, station: &Station, folder: &Path, line: &str) -> Self {
        let name = format!("{program}-{}", station.name);
        let names = folder.join(format!("{name}.resolv.conf"));
        fs::write(&names, "").unwrap();
        let own: String = WRITTEN
            .iter()
            .map(|folder| format!("[ ! -d {folder} ] || mount -t tmpfs -o mode=755 own {folder}; "))
            .collect();
        let own = format!("set -e; {own}mount --bind {} /etc/resolv.conf; {line}", names.display());
        let mut command = station.namespace.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &own]);
        Self { process: Process::spawn(&name, &command, folder), names }
    }

    /// All that it has said.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// The station's /etc/resolv.conf, for clients that write one.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn names(&self) -> String {
        fs::read_to_string(&self.names).unwrap()
    }
}
