//! A switch between stations, which are network namespaces on veth pairs, and a machine out there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::daemon::Daemon;
use crate::deadline::wait_until;
use crate::namespace::{Namespace, cable};
use crate::process::Process;

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The address of the machine out there.
pub const OUTSIDE: &str = "192.168.99.1";

/// The address of the machine behind that one.
pub const FAR: &str = "198.51.100.2";

/// The name of that machine, which the name server out there knows.
pub const FAR_NAME: &str = "far.example.org";

/// An example of the project, as it stands.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn example(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// `config` with these stations on its ports: veth pairs in place of guests' sockets, which are held to their Ethernet addresses.
///
/// # Panics
/// If one of the ports is not there.
#[must_use]
pub fn with_stations(config: String, stations: &[&Station]) -> String {
    stations.iter().fold(config, |text, station| {
        let (name, heading) = (station.name, format!("[port.{}]\n", station.name));
        assert!(text.contains(&heading), "there is no {heading}");
        let mac = station.mac();
        let lines = format!(
            "{heading}type = \"veth\"\ninterface = \"{}\"\nmac = \"{mac}\"\nport_security = true\n",
            interface(name)
        );
        text.replace(&heading, &lines)
    })
}

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
#[derive(Debug)]
pub struct Station {
    /// Where it is; its interface is `eth0`.
    pub namespace: Namespace,
    /// The port's name.
    pub name: &'static str,
}

/// The switch's end of a station's cable; names of interfaces have at most 15 bytes.
fn interface(name: &str) -> String {
    format!("v-{name:.13}")
}

impl Station {
    /// A station on a cable to a switch's machine, for the port of this name.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(switch: &Namespace, name: &'static str) -> Self {
        let namespace = Namespace::new(name);
        cable((switch, &interface(name)), (&namespace, "eth0"));
        Self { namespace, name }
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> String {
        self.namespace.run("cat /sys/class/net/eth0/address").trim().to_owned()
    }

    /// Its IPv4 address.
    pub fn address(&self) -> String {
        let line = self.namespace.ip("-4 -o address show dev eth0");
        let address = line.split_whitespace().nth(3).unwrap_or_else(|| panic!("{} has none", self.name));
        address.split('/').next().unwrap().to_owned()
    }

    /// Gives it an address and a default route.
    pub fn configure(&self, address: &str, gateway: &str) {
        self.namespace.ip(&format!("address replace {address} dev eth0"));
        self.namespace.ip(&format!("route replace default via {gateway}"));
    }

    /// Has it ask for an address; the client ends once it has one.
    pub fn lease(&self, folder: &Path) -> String {
        let script = folder.join(format!("{}.sh", self.name));
        if !script.exists() {
            fs::write(&script, SCRIPT).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&script, mode).unwrap();
        }
        let command = format!(
            "busybox udhcpc -f -q -n -t 5 -T 1 -i eth0 -s {} -O mtu -O search -O staticroutes -x hostname:{}-own 2>&1",
            script.display(),
            self.name
        );
        self.namespace.run(&command);
        fs::read_to_string(script.with_extension("sh.log")).unwrap()
    }

    /// Whether an address answers within a second.
    pub fn reaches(&self, address: &str) -> bool {
        self.namespace.succeeds(&format!("busybox ping -q -c 1 -W 1 {address}"))
    }

    /// Waits until an address answers.
    pub fn await_reach(&self, address: &str) {
        wait_until(&format!("{} to reach {address}", self.name), LIMIT, || self.reaches(address));
    }
}

/// The switch's machine, the one out there, and folders.
#[derive(Debug)]
pub struct Town {
    /// The switch's machine.
    pub host: Namespace,
    /// The machine out there, with [`OUTSIDE`].
    pub outside: Namespace,
    /// For the files of programs.
    pub folder: tempfile::TempDir,
}

impl Town {
    /// A machine with the interface `uplink` on a cable to the one out there, which has [`OUTSIDE`].
    pub fn new(uplink: &str) -> Self {
        let (host, outside) = (Namespace::new("host"), Namespace::new("outside"));
        cable((&host, uplink), (&outside, "eth0"));
        outside.ip(&format!("address add {OUTSIDE}/24 dev eth0"));
        // Nothing is left to an interface that does nothing: checksums are real ones on a wire.
        outside.run("ethtool -K eth0 tx off >/dev/null");
        Self { host, outside, folder: tempfile::tempdir().unwrap() }
    }

    /// A station on a cable to the switch's machine.
    #[must_use]
    pub fn station(&self, name: &'static str) -> Station {
        Station::new(&self.host, name)
    }

    /// The switch with this file; all of these ports and uplinks are there.
    pub fn start(&self, config: &str, attached: &[&str]) -> Daemon {
        let daemon = Daemon::start_in(&self.host, config);
        attached.iter().for_each(|name| daemon.wait_for_state(name, "attached"));
        daemon
    }

    /// A web server in a namespace, whose page says its name.
    pub fn web_server(&self, place: &Namespace, port: u16) -> Process {
        let folder = self.folder.path().join(format!("{}-{port}", place.name()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("index.html"), place.name()).unwrap();
        let mut command = place.command("busybox");
        command.args(["httpd", "-f", "-p", &port.to_string(), "-h"]).arg(&folder);
        let name = format!("httpd-{port}");
        let server = Process::spawn(&name, &command, &folder);
        await_listener(place, port);
        server
    }

    /// A web server in a namespace, each of whose pages says the server's name and the address that it sees.
    #[must_use]
    pub fn mirror(&self, place: &Namespace, port: u16) -> Process {
        const SERVER: &str = "import http.server, socket, sys\n\
            class Mirror(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
            peer = self.client_address[0].removeprefix('::ffff:')\n        \
            page = ('%s sees %s\\n' % (sys.argv[2], peer)).encode()\n        \
            self.send_response(200)\n        self.send_header('Content-Length', str(len(page)))\n        \
            self.end_headers()\n        self.wfile.write(page)\n\
            class Server(http.server.ThreadingHTTPServer):\n    address_family = socket.AF_INET6\n\
            Server(('::', int(sys.argv[1])), Mirror).serve_forever()\n";
        let mut command = place.command("python3");
        command.args(["-c", SERVER, &port.to_string(), place.name()]);
        let server = Process::spawn(&format!("mirror-{}-{port}", place.name()), &command, self.folder.path());
        await_listener(place, port);
        server
    }

    /// An iperf3 server in a namespace.
    #[must_use]
    pub fn iperf_server(&self, place: &Namespace) -> Process {
        let mut command = place.command("iperf3");
        command.arg("--server");
        let server = Process::spawn(&format!("iperf3-{}", place.name()), &command, self.folder.path());
        await_listener(place, 5201);
        server
    }

    /// A machine behind the one out there, with [`FAR`]; the way to it takes packets of 1400 bytes at most.
    #[must_use]
    pub fn far(&self) -> Namespace {
        let far = Namespace::new("far");
        cable((&self.outside, "eth1"), (&far, "eth0"));
        // Its own card takes more, so that it does not tell anybody by TCP's option of the segment size.
        self.outside.ip("link set eth1 mtu 1400");
        self.outside.ip("address add 198.51.100.1/24 dev eth1");
        self.outside.ip("address add 2001:db8:51::1/64 dev eth1 nodad");
        far.ip(&format!("address add {FAR}/24 dev eth0"));
        far.ip("address add 2001:db8:51::2/64 dev eth0 nodad");
        far.ip("route add default via 198.51.100.1");
        far.ip("route add default via 2001:db8:51::1");
        self.outside.run("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        far
    }

    /// A name server out there, which knows [`FAR_NAME`].
    #[must_use]
    pub fn name_server(&self) -> Process {
        let mut command = self.outside.command("dnsmasq");
        command
            .args("--keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root".split(' '));
        let names = format!("--address=/{FAR_NAME}/{FAR}");
        command.args(["--pid-file=", "--log-queries", "--log-facility=-", &names]);
        let server = Process::spawn("dnsmasq", &command, self.folder.path());
        await_listener(&self.outside, 53);
        server
    }

    /// A UDP server in a namespace, which answers each datagram with the address that it sees.
    pub fn udp_server(&self, place: &Namespace, port: u16) -> Process {
        const SERVER: &str = "import socket, sys\n\
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
            s.bind(('0.0.0.0', int(sys.argv[1])))\n\
            while True:\n    data, peer = s.recvfrom(2048)\n    s.sendto(('%s %d ' % peer).encode() + data, peer)\n";
        let mut command = place.command("python3");
        command.args(["-c", SERVER, &port.to_string()]);
        let server = Process::spawn(&format!("udp-{port}"), &command, self.folder.path());
        await_listener(place, port);
        server
    }
}

/// Waits until somebody listens at a port, be it of TCP or UDP.
fn await_listener(place: &Namespace, port: u16) {
    wait_until(&format!("a server to listen at port {port}"), LIMIT, || {
        place.succeeds(&format!("ss -Hltun 'sport = :{port}' | grep -q ."))
    });
}

/// What a UDP server answers to one datagram, or nothing within two seconds.
pub fn ask(place: &Namespace, address: &str, port: u16) -> String {
    const CLIENT: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(2)\n\
        s.sendto(b'hello', (sys.argv[1], int(sys.argv[2])))\n\
        try:\n    print(s.recv(2048).decode())\nexcept OSError as error:\n    print(error)\n";
    place.run(&format!("python3 -c \"{CLIENT}\" {address} {port}")).trim().to_owned()
}

/// The page that a web server shows, or nothing.
pub fn page(place: &Namespace, address: &str, port: u16) -> String {
    place.run(&format!("curl -s -m 3 http://{address}:{port}/ || true"))
}
