//! A switch between stations, which are network namespaces on veth pairs, and a machine out there.

use std::path::Path;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// The address of the machine out there.
pub(crate) const OUTSIDE: &str = "192.168.99.1";

/// What a DHCP client of busybox's runs: it sets what it was told, and notes it.
const SCRIPT: &str = r#"#!/bin/sh
env >>"$0.log"
case "$1" in
  bound | renew)
    ip addr flush dev eth0 scope global
    ip addr add "$ip/$mask" dev eth0
    [ -z "$mtu" ] || ip link set eth0 mtu "$mtu"
    [ -z "$router" ] || ip route replace default via "${router%% *}" ;;
esac
"#;

/// A station: the container's end of a port of type `veth`.
pub(crate) struct Station {
    pub(crate) namespace: Namespace,
    /// The port's name.
    pub(crate) name: &'static str,
}

impl Station {
    /// Its Ethernet address.
    pub(crate) fn mac(&self) -> String {
        self.namespace.run("cat /sys/class/net/eth0/address").trim().to_owned()
    }

    /// Its IPv4 address.
    pub(crate) fn address(&self) -> String {
        let line = self.namespace.ip("-4 -o address show dev eth0");
        let address = line.split_whitespace().nth(3).unwrap_or_else(|| panic!("{} has none", self.name));
        address.split('/').next().unwrap().to_owned()
    }

    /// Gives it an address and a default route.
    pub(crate) fn configure(&self, address: &str, gateway: &str) {
        self.namespace.ip(&format!("address replace {address} dev eth0"));
        self.namespace.ip(&format!("route replace default via {gateway}"));
    }

    /// Has it ask for an address; the client ends once it has one.
    pub(crate) fn lease(&self, folder: &Path) -> String {
        let script = folder.join(format!("{}.sh", self.name));
        if !script.exists() {
            std::fs::write(&script, SCRIPT).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&script, mode).unwrap();
        }
        let command = format!(
            "busybox udhcpc -f -q -n -t 5 -T 1 -i eth0 -s {} -O mtu -O search -O staticroutes -x hostname:{}-own 2>&1",
            script.display(),
            self.name
        );
        self.namespace.run(&command);
        std::fs::read_to_string(script.with_extension("sh.log")).unwrap()
    }

    /// Whether an address answers within a second.
    pub(crate) fn reaches(&self, address: &str) -> bool {
        self.namespace.succeeds(&format!("busybox ping -q -c 1 -W 1 {address}"))
    }

    /// Waits until an address answers.
    pub(crate) fn await_reach(&self, address: &str) {
        wait_until(&format!("{} to reach {address}", self.name), LIMIT, || self.reaches(address));
    }
}

/// The switch's machine, the one out there, and folders.
pub(crate) struct Town {
    pub(crate) host: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) folder: tempfile::TempDir,
}

impl Town {
    /// A machine with the interface `uplink` on a cable to the one out there, which has [`OUTSIDE`].
    pub(crate) fn new(uplink: &str) -> Self {
        let (host, outside) = (Namespace::new("host"), Namespace::new("outside"));
        cable((&host, uplink), (&outside, "eth0"));
        outside.ip(&format!("address add {OUTSIDE}/24 dev eth0"));
        // Nothing is left to an interface that does nothing: checksums are real ones on a wire.
        outside.run("ethtool -K eth0 tx off >/dev/null");
        Self { host, outside, folder: tempfile::tempdir().unwrap() }
    }

    /// A station on a cable to the switch's machine.
    pub(crate) fn station(&self, name: &'static str) -> Station {
        let namespace = Namespace::new(name);
        cable((&self.host, &format!("v-{name}")), (&namespace, "eth0"));
        Station { namespace, name }
    }

    /// The switch with this file; all of these ports and uplinks are there.
    pub(crate) fn start(&self, config: &str, attached: &[&str]) -> Daemon {
        let daemon = Daemon::start_in(&self.host, config);
        attached.iter().for_each(|name| daemon.wait_for_state(name, "attached"));
        daemon
    }

    /// A web server in a namespace, whose page says its name.
    pub(crate) fn web_server(&self, place: &Namespace, port: u16) -> Process {
        let folder = self.folder.path().join(format!("{}-{port}", place.name()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), place.name()).unwrap();
        let mut command = place.command("busybox");
        command.args(["httpd", "-f", "-p", &port.to_string(), "-h"]).arg(&folder);
        let name = format!("httpd-{port}");
        let server = Process::spawn(&name, &command, &folder);
        wait_until("the web server to listen", LIMIT, || {
            place.succeeds(&format!("ss -Hltn 'sport = :{port}' | grep -q ."))
        });
        server
    }

    /// A UDP server in a namespace, which answers each datagram with the address that it sees.
    pub(crate) fn udp_server(&self, place: &Namespace, port: u16) -> Process {
        const SERVER: &str = "import socket, sys\n\
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
            s.bind(('0.0.0.0', int(sys.argv[1])))\n\
            while True:\n    data, peer = s.recvfrom(2048)\n    s.sendto(('%s %d ' % peer).encode() + data, peer)\n";
        let mut command = place.command("python3");
        command.args(["-c", SERVER, &port.to_string()]);
        let server = Process::spawn(&format!("udp-{port}"), &command, self.folder.path());
        wait_until("the UDP server to listen", LIMIT, || {
            place.succeeds(&format!("ss -Hlun 'sport = :{port}' | grep -q ."))
        });
        server
    }
}

/// What a UDP server answers to one datagram, or nothing within two seconds.
pub(crate) fn ask(place: &Namespace, address: &str, port: u16) -> String {
    const CLIENT: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(2)\n\
        s.sendto(b'hello', (sys.argv[1], int(sys.argv[2])))\n\
        try:\n    print(s.recv(2048).decode())\nexcept OSError as error:\n    print(error)\n";
    place.run(&format!("python3 -c \"{CLIENT}\" {address} {port}")).trim().to_owned()
}

/// The page that a web server shows, or nothing.
pub(crate) fn page(place: &Namespace, address: &str, port: u16) -> String {
    place.run(&format!("curl -s -m 3 http://{address}:{port}/ || true"))
}
