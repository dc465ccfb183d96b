//! What stations are told of packets that cannot pass, and what they are not told: errors that somebody made up.

use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::{Process, tail};

use viaduct_tests::town::{LIMIT, OUTSIDE, Station, Town};

/// Shorter than what stations may send.
const UPLINK_MTU: u32 = 1400;

const CONFIG: &str = r#"
[uplink.isp]
interface = "eth3"
address = ["192.168.99.108/24", "2001:db8:99::108/64"]
gateway = "192.168.99.1"
[network.home]
mode = "nat"
uplink = "isp"
subnets = ["10.0.0.0/24"]
nat = { port_limit = 4 }
[network.narrow]
mode = "nat"
uplink = "isp"
subnets = ["10.0.1.0/24", "fd00:3::/64"]
mtu = 1300
dhcp = {}
ra = "slaac"
[port.vm3]
network = "narrow"
type = "veth"
interface = "v-vm3"
addresses = ["10.0.1.10"]
port_security = false
publish = ["7003:7000/udp"]
[port.vm1]
network = "home"
type = "veth"
interface = "v-vm1"
[port.vm2]
network = "home"
type = "veth"
interface = "v-vm2"
"#;

/// Returns datagrams. To one that says "forge" it has errors about packets that were never sent come first, and for one that
/// says "refuse" a true one comes instead.
const SERVER: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7000))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
def total(data):
    t = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while t > 0xffff: t = (t & 0xffff) + (t >> 16)
    return 0xffff - t
def tell(to, source, destination, protocol, ports):
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 36, 1, 0, 60, protocol, 0, socket.inet_aton(source), socket.inet_aton(destination))
    ip = ip[:10] + struct.pack("!H", total(ip)) + ip[12:]
    data = struct.pack("!BBHI", 3, 3, 0, 0) + ip + struct.pack("!HHHH", *ports, 16, 0) + b"\0" * 8
    raw.sendto(data[:2] + struct.pack("!H", total(data)) + data[4:], (to, 0))
while True:
    data, (address, port) = s.recvfrom(65536)
    if data == b"forge":
        for source, destination, protocol, ports in [
            (address, "192.168.99.1", 17, (port ^ 1, 7000)), (address, "192.168.99.1", 17, (port, 7001)),
            (address, "192.168.99.77", 17, (port, 7000)), (address, "192.168.99.1", 6, (port, 7000)),
            ("10.0.0.11", "192.168.99.1", 17, (port, 7000)), ("192.168.99.1", address, 17, (7000, port)),
        ]: tell(address, source, destination, protocol, ports)
    if data == b"refuse": tell(address, address, "192.168.99.1", 17, (port, 7000))
    else: s.sendto(data, (address, port))
"#;

/// What a station's programs see of all that; it ends with "right". Lengths are those of the longest packet of its own card, and of the
/// way to an address and a port.
const CLIENT: &str = r#"
import errno, socket, struct, sys
def connected(*options):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option, value in options: s.setsockopt(socket.IPPROTO_IP, option, value)
    s.settimeout(5)
    s.connect(peer)
    return s
def returned(s, data):
    s.send(data)
    assert s.recv(65536) == data
def refused(s, data, expected):
    s.send(data)
    try: raise AssertionError(s.recv(65536))
    except OSError as error: assert error.errno == expected, error
DISCOVER, WITHOUT_DF, WITH_DF, MTU, RECVERR = 10, 0, 2, 14, 11
def lengths():
    own, way = int(sys.argv[4]), int(sys.argv[5])
    returned(connected((DISCOVER, WITHOUT_DF)), b"l" * (own - 28))
    s = connected((DISCOVER, WITH_DF))
    refused(s, b"l" * (own - 28), errno.EMSGSIZE)
    assert s.getsockopt(socket.IPPROTO_IP, MTU) == way, s.getsockopt(socket.IPPROTO_IP, MTU)
    returned(s, b"l" * (way - 28))
def forged():
    s = connected()
    returned(s, b"forge")
    returned(s, b"and on")
    refused(s, b"refuse", errno.ECONNREFUSED)
    returned(s, b"and on")
def exhaustion():
    kept = [connected() for _ in range(4)]
    for s in kept: returned(s, b"mine")
    s = connected((RECVERR, 1))
    refused(s, b"one more", errno.EHOSTUNREACH)
    _, [(_, _, told)], _, _ = s.recvmsg(2000, 500, socket.MSG_ERRQUEUE)
    _, _, kind, code = struct.unpack("=IBBB", told[:7])
    assert (kind, code) == (3, 13), (kind, code)
    assert socket.inet_ntoa(told[20:24]) == "10.0.0.1", told
    for s in kept: returned(s, b"still mine")
peer = (sys.argv[2], int(sys.argv[3]))
{"lengths": lengths, "forged": forged, "exhaustion": exhaustion}[sys.argv[1]]()
print("right")
"#;

/// The machine out there, and its server.
const OUT_THERE: &[&str] = &[OUTSIDE, "7000"];

/// A program finds all as it should be.
fn assert_right(place: &Namespace, town: &Town, what: &str, words: &[&str]) {
    let mut client = place.command("python3");
    client.args(["-c", CLIENT, what]).args(words);
    let mut client = Process::spawn(&format!("{}-{what}", place.name()), &client, town.folder.path());
    client.wait(LIMIT);
    assert!(client.output().ends_with("right\n"), "{what}:\n{}", tail(&client.output(), 20));
}

/// A server at an address of a machine's.
fn serve(place: &Namespace, town: &Town, address: &str) -> Process {
    let mut server = place.command("python3");
    server.args(["-c", SERVER, address]);
    let server = Process::spawn(&format!("server-{address}"), &server, town.folder.path());
    wait_until("the server to listen", LIMIT, || place.run("ss -Hlun").contains(":7000 "));
    server
}

/// The longest packet that the network's gateway tells of, to who asks by DHCP and to all by router advertisements.
fn assert_told_of_lengths(station: &Station, town: &Town) {
    let of_v6 = || station.namespace.run("cat /proc/sys/net/ipv6/conf/eth0/mtu");
    wait_until("a router's advertisement", LIMIT, || of_v6() == "1300\n");
    assert_eq!(station.namespace.run("cat /sys/class/net/eth0/mtu"), "1500\n");
    let told = station.lease(town.folder.path());
    assert!(told.lines().any(|line| line == "mtu=1300"), "{told}");
}

/// RFC 4787, 12, REQ-13; RFC 5508, REQ-8; and quotes that are nobody's are ignored.
#[test]
fn stations_are_told_of_lengths_and_exhaustion_and_not_of_forged_errors() {
    let town = Town::new("eth3");
    for (place, interface) in [(&town.host, "eth3"), (&town.outside, "eth0")] {
        place.ip(&format!("link set {interface} mtu {UPLINK_MTU}"));
    }
    let [vm1, vm2, vm3] = ["vm1", "vm2", "vm3"].map(|name| town.station(name));
    vm1.configure("10.0.0.11/24", "10.0.0.1");
    vm2.configure("10.0.0.12/24", "10.0.0.1");
    let daemon = town.start(CONFIG, &["isp", "vm1", "vm2", "vm3"]);
    assert_told_of_lengths(&vm3, &town);
    let _servers = [serve(&town.outside, &town, OUTSIDE), serve(&vm3.namespace, &town, "10.0.1.10")];
    vm1.await_reach(OUTSIDE);
    // Its own ports are few, and a ping to the outside would take one.
    vm2.await_reach("10.0.0.1");
    assert_right(&vm1.namespace, &town, "lengths", &[OUTSIDE, "7000", "1500", "1400"]);
    // The other way a network in here is the narrow one.
    let published = ["192.168.99.108", "7003", "1400", "1300"];
    assert_right(&town.outside, &town, "lengths", &published);
    assert_right(&vm1.namespace, &town, "forged", OUT_THERE);
    assert_right(&vm2.namespace, &town, "exhaustion", OUT_THERE);
    wait_until("the one more to be counted", LIMIT, || {
        daemon.show().port("vm2").dropped("nat-exhausted") >= 1
    });
    assert_eq!(daemon.show().port("vm2").dropped("nat-exhausted"), 1);
    assert_eq!(daemon.show().port("vm1").dropped("nat-exhausted"), 0, "another station's ports are its own");
    assert_eq!(town.outside.wrong_packets(), []);
}
