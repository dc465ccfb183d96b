//! What a gateway gives beside addresses and a way out: metadata, names from a server that is slow, what to boot, what is told without a
//! lease; and pools and published ports of UDP.

use std::time::Duration;

use viaduct_tests::clients::Client;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::Pings;
use viaduct_tests::process::Process;
use viaduct_tests::town::{LIMIT, OUTSIDE, Station, Town, ask};

/// The uplink's own address.
const OWN: &str = "192.168.99.108";

/// A pool whose addresses do not follow one another.
const POOL: [&str; 3] = ["192.168.99.109", "192.168.99.120", "192.168.99.121"];

/// How long the name server out there takes for each answer: longer than a gateway waits for one.
const ANSWER_AFTER: Duration = Duration::from_secs(3);

/// The most that a packet may take while the name server is waited for. It is said in milliseconds, as ping does.
const ROUND_TRIP_MAX_MS: f64 = 500.0;

fn config(town: &Town) -> String {
    let folder = town.folder.path().display();
    let port = |name: &str, network: &str, lines: &str| {
        format!(
            "[port.{name}]\nnetwork = \"{network}\"\ntype = \"veth\"\ninterface = \"v-{name}\"\n{lines}\n"
        )
    };
    format!(
        r#"
[uplink.isp]
interface = "eth3"
address = "192.168.99.108/24"
gateway = "192.168.99.1"
[network.home]
mode = "nat"
uplink = "isp"
subnets = ["10.0.0.0/24", "fd00:2::/64"]
dhcp6 = {{ ntp_servers = ["fd00:2::123"], boot_url = "tftp://[fd00:2::2]/boot.efi" }}
ra = "stateless"
dns = {{ domain = "home.lan", upstream = ["192.168.99.1"] }}
metadata = "unix:{folder}/metadata.sock"
[network.home.dhcp]
ntp_servers = ["10.0.0.3", "192.0.2.123"]
boot = {{ server = "10.0.0.2", server_name = "boot", file = "pxelinux.0" }}
[[network.home.snat]]
source = "10.0.0.128/25"
to = ["192.168.99.109", "192.168.99.120-192.168.99.121"]
[network.lab]
mode = "nat"
uplink = "isp"
subnets = ["10.0.1.0/24"]
metadata = {{ to = "127.0.0.1:8775", proxy_protocol = false }}
{}{}{}{}{}"#,
        port("vm1", "home", ""),
        port("vm2", "home", ""),
        port("vm4", "home", ""),
        port(
            "web1",
            "home",
            "addresses = [\"10.0.0.10\"]\nport_security = false\npublish = [\"10080:80/udp\"]"
        ),
        port("vm3", "lab", ""),
    )
}

struct Works {
    vm1: Station,
    vm2: Station,
    vm3: Station,
    vm4: Station,
    web1: Station,
    daemon: Daemon,
    town: Town,
}

impl Works {
    fn new() -> Self {
        let town = Town::new("eth3");
        let [vm1, vm2, vm3, vm4, web1] = ["vm1", "vm2", "vm3", "vm4", "web1"].map(|name| town.station(name));
        for (station, address) in
            [(&vm1, "10.0.0.201"), (&vm2, "10.0.0.202"), (&vm4, "10.0.0.204"), (&web1, "10.0.0.10")]
        {
            station.configure(&format!("{address}/24"), "10.0.0.1");
        }
        vm3.configure("10.0.1.13/24", "10.0.1.1");
        let daemon = town.start(&config(&town), &["isp", "vm1", "vm2", "vm3", "vm4", "web1"]);
        Self { vm1, vm2, vm3, vm4, web1, daemon, town }
    }

    /// A program out there, or beside the switch.
    fn program(
        &self,
        name: &str,
        place: &viaduct_tests::namespace::Namespace,
        text: &str,
        words: &[&str],
    ) -> Process {
        let mut command = place.command("python3");
        command.args(["-c", text]).args(words);
        Process::spawn(name, &command, self.town.folder.path())
    }
}

/// Answers each request with what the header of the PROXY protocol (version 2) says of who asks.
const METADATA: &str = r#"
import socket, socketserver, struct, sys
class Server(socketserver.StreamRequestHandler):
    def handle(self):
        head = self.rfile.read(16)
        assert head[:13] == b"\r\n\r\n\0\r\nQUIT\n\x21", head
        about = self.rfile.read(struct.unpack("!H", head[14:16])[0])
        said, rest = {}, about[12:]
        while rest:
            length = struct.unpack("!H", rest[1:3])[0]
            said[rest[0]], rest = rest[3:3 + length], rest[3 + length:]
        while self.rfile.readline().strip(): pass
        body = b"%s of %s at %s\n" % (said[0xe0], said[0xe1], socket.inet_ntoa(about[:4]).encode())
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
socketserver.ThreadingUnixStreamServer(sys.argv[1], Server).serve_forever()
"#;

/// A name server that takes its time.
const SLOW: &str = r#"
import socket, sys, threading
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("192.168.99.1", 53))
def answer(data, peer):
    end = 12 + data[12:].index(0) + 5
    s.sendto(data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + data[12:end] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x63", peer)
while True:
    data, peer = s.recvfrom(2000)
    print("asked", flush=True)
    threading.Timer(float(sys.argv[1]), answer, (data, peer)).start()
"#;

#[test]
fn metadata_slow_names_boot_files_pools_and_published_udp_work_through_the_daemon() {
    let works = Works::new();
    works.vm1.await_reach(OUTSIDE);
    metadata_is_served_by_a_socket_and_by_an_address(&works);
    a_slow_name_server_delays_nobody(&works);
    pools_of_several_ranges_are_paired_and_used_alike(&works);
    udp_is_published_by_another_port(&works);
    clients_that_ask_are_told_what_to_boot_and_whom_to_ask_for_the_time(&works);
    a_client_without_a_lease_is_told_the_rest(&works);
}

fn metadata_is_served_by_a_socket_and_by_an_address(works: &Works) {
    let socket = works.town.folder.path().join("metadata.sock");
    let _server = works.program("metadata", &works.town.host, METADATA, &[socket.to_str().unwrap()]);
    wait_until("the metadata server to listen", LIMIT, || socket.exists());
    let _address = works.town.web_server(&works.town.host, 8775);
    let get = |station: &Station| station.namespace.run("curl -s -m 5 http://169.254.169.254/ || true");
    assert_eq!(get(&works.vm1), "vm1 of home at 10.0.0.201\n");
    assert_eq!(get(&works.web1), "web1 of home at 10.0.0.10\n");
    assert_eq!(get(&works.vm3), works.town.host.name(), "another network's server, at an address");
}

/// The longest round trip that ping tells of, in milliseconds.
fn longest_ms(output: &str) -> f64 {
    let times = output.lines().find_map(|line| line.split_once("min/avg/max = "));
    let times = times.unwrap_or_else(|| panic!("ping printed no times:\n{output}")).1;
    times.split('/').nth(2).and_then(|last| last.split(' ').next()).unwrap().parse().unwrap()
}

/// Services run beside the data path. Questions to a name server that is waited for hold up neither packets nor other questions.
fn a_slow_name_server_delays_nobody(works: &Works) {
    let slow = works.program("slow", &works.town.outside, SLOW, &[&ANSWER_AFTER.as_secs().to_string()]);
    wait_until("the slow server to listen", LIMIT, || works.town.outside.run("ss -Hlun").contains(":53 "));
    let mut pings: Vec<Process> =
        [(&works.vm1, OUTSIDE), (&works.vm2, "10.0.0.1"), (&works.web1, "10.0.0.201")]
            .into_iter()
            .map(|(station, to)| {
                let mut ping = station.namespace.command("busybox");
                ping.args(["ping", "-c", "100", "-i", "0.04", to]);
                Process::spawn(&format!("ping-{}", station.name), &ping, works.town.folder.path())
            })
            .collect();
    // A busy machine takes some time to run so many programs.
    let mut took = Vec::new();
    let is_meanwhile = (0..3).any(|round| {
        took.push(own_names_meanwhile(works, &slow, round));
        took.last() < Some(&ANSWER_AFTER)
    });
    assert!(is_meanwhile, "all of that was to be before any answer came: {took:?}");
    for ping in &mut pings {
        ping.wait(LIMIT);
        let output = ping.output();
        assert_eq!(Pings::read(&output).lost(), 0, "{output}");
        assert!(longest_ms(&output) < ROUND_TRIP_MAX_MS, "a packet waited for the name server: {output}");
    }
}

/// Has forty names asked for that the name server out there knows, and names of the network's own while it takes its time; how long the
/// latter took from when those were begun.
fn own_names_meanwhile(works: &Works, slow: &Process, round: u32) -> Duration {
    let questions: String = (0..40)
        .map(|number| {
            format!("dig +time=6 +tries=1 @10.0.0.1 host{number}.of{round}.example.com >/dev/null & ")
        })
        .collect();
    let (asked, before) = (std::time::Instant::now(), slow.output().matches("asked").count());
    let mut all = works.vm1.namespace.command("sh");
    all.args(["-c", &format!("{questions} wait")]);
    let mut all = Process::spawn(&format!("questions-{round}"), &all, works.town.folder.path());
    wait_until("the slow server to be asked", LIMIT, || slow.output().matches("asked").count() > before);
    for _ in 0..5 {
        let told = works.vm1.namespace.run("dig +time=1 +tries=1 +short @10.0.0.1 web1.home.lan");
        assert_eq!(told, "10.0.0.10\n", "a name of the network's own, meanwhile");
    }
    let took = asked.elapsed();
    all.wait(LIMIT);
    took
}

fn pools_of_several_ranges_are_paired_and_used_alike(works: &Works) {
    let _echo = works.town.udp_server(&works.town.outside, 7000);
    let seen =
        |station: &Station| ask(&station.namespace, OUTSIDE, 7000).split(' ').next().unwrap().to_owned();
    let stations = [&works.vm1, &works.vm2, &works.vm4];
    let first = stations.map(seen);
    let mut sorted = first.clone();
    sorted.sort();
    assert_eq!(sorted, POOL, "each has one of its own, of both ranges");
    for _ in 0..3 {
        assert_eq!(stations.map(seen), first, "and keeps it");
    }
    assert_eq!(seen(&works.web1), OWN, "who is not of the rule has the uplink's");
}

fn udp_is_published_by_another_port(works: &Works) {
    let _echo = works.town.udp_server(&works.web1.namespace, 80);
    let outside = &works.town.outside;
    assert!(ask(outside, OWN, 10080).starts_with(&format!("{OUTSIDE} ")), "{}", ask(outside, OWN, 10080));
    assert!(ask(&works.vm1.namespace, OWN, 10080).ends_with("hello"), "from inside");
    assert_ne!(ask(outside, OWN, 80), ask(outside, OWN, 10080), "what is not published is closed");
}

fn clients_that_ask_are_told_what_to_boot_and_whom_to_ask_for_the_time(works: &Works) {
    let folder = works.town.folder.path();
    let script = folder.join("vm2.sh");
    works.vm2.lease(folder);
    let command = format!(
        "busybox udhcpc -f -q -n -t 5 -T 1 -i eth0 -s {} -V PXEClient:Arch:00007 -O tftp -O bootfile -O ntpsrv 2>&1",
        script.display()
    );
    works.vm2.namespace.run(&command);
    let told = std::fs::read_to_string(script.with_extension("sh.log")).unwrap();
    for line in [
        "siaddr=10.0.0.2",
        "sname=boot",
        "boot_file=pxelinux.0",
        "tftp=boot",
        "bootfile=pxelinux.0",
        "ntpsrv=10.0.0.3 192.0.2.123",
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not told:\n{told}");
    }
}

/// `ra = "stateless"`: the station makes its address itself, and dhclient asks for nothing but the rest.
fn a_client_without_a_lease_is_told_the_rest(works: &Works) {
    let station = &works.vm4;
    let has_address =
        || station.namespace.ip("-6 -o address show dev eth0 scope global").contains("fd00:2::");
    wait_until("an address of the prefix", Duration::from_secs(20), has_address);
    let client = Client::dhclient(station, works.town.folder.path(), "-6 -S");
    wait_until("dhclient to be told of the name server", LIMIT, || {
        let names = client.names();
        names.contains("nameserver fd00:2::1") && names.contains("search home.lan")
    });
    drop(client);
    let client = Client::dhclient_asking_for_the_rest(station, works.town.folder.path());
    for told in
        ["new_dhcp6_time_server=1 16 fd00:2::123", "new_dhcp6_bootfile_url=tftp://[fd00:2::2]/boot.efi"]
    {
        wait_until(&format!("dhclient to be told {told}"), LIMIT, || {
            client.output().lines().any(|line| line == told)
        });
    }
    let shown = works.daemon.command(&["show", "leases", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let of_v6 = |lease: &&serde_json::Value| lease["address"].as_str().unwrap().contains(':');
    assert_eq!(shown.as_array().unwrap().iter().filter(of_v6).count(), 0, "nothing was lent: {shown}");
}
