//! What stations are told of packets that cannot pass, and what they are not told: errors that somebody made up.

use viaduct_tests::deadline::wait_until;
use viaduct_tests::process::{Process, tail};

use viaduct_tests::town::{LIMIT, OUTSIDE, Station, Town};

/// Shorter than what stations may send.
const UPLINK_MTU: u32 = 1400;

const CONFIG: &str = r#"
[uplink.isp]
interface = "eth3"
address = "192.168.99.108/24"
gateway = "192.168.99.1"
[network.home]
mode = "nat"
uplink = "isp"
subnets = ["10.0.0.0/24"]
nat = { port_limit = 4 }
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
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("192.168.99.1", 7000))
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

/// What a station's programs see of all that; it ends with "right".
const CLIENT: &str = r#"
import errno, socket, struct, sys
def connected(*options):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option, value in options: s.setsockopt(socket.IPPROTO_IP, option, value)
    s.settimeout(5)
    s.connect(("192.168.99.1", 7000))
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
    returned(connected((DISCOVER, WITHOUT_DF)), b"l" * 1472)
    s = connected((DISCOVER, WITH_DF))
    refused(s, b"l" * 1472, errno.EMSGSIZE)
    assert s.getsockopt(socket.IPPROTO_IP, MTU) == 1400, s.getsockopt(socket.IPPROTO_IP, MTU)
    returned(s, b"l" * 1372)
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
{"lengths": lengths, "forged": forged, "exhaustion": exhaustion}[sys.argv[1]]()
print("right")
"#;

/// A station's program finds all as it should be.
fn assert_right(station: &Station, town: &Town, what: &str) {
    let mut client = station.namespace.command("python3");
    client.args(["-c", CLIENT, what]);
    let mut client = Process::spawn(&format!("{}-{what}", station.name), &client, town.folder.path());
    client.wait(LIMIT);
    assert!(client.output().ends_with("right\n"), "{what}:\n{}", tail(&client.output(), 20));
}

/// RFC 4787, 12, REQ-13; RFC 5508, REQ-8; and quotes that are nobody's are ignored.
#[test]
fn stations_are_told_of_lengths_and_exhaustion_and_not_of_forged_errors() {
    let town = Town::new("eth3");
    for (place, interface) in [(&town.host, "eth3"), (&town.outside, "eth0")] {
        place.ip(&format!("link set {interface} mtu {UPLINK_MTU}"));
    }
    let [vm1, vm2] = ["vm1", "vm2"].map(|name| town.station(name));
    vm1.configure("10.0.0.11/24", "10.0.0.1");
    vm2.configure("10.0.0.12/24", "10.0.0.1");
    let mut server = town.outside.command("python3");
    server.args(["-c", SERVER]);
    let _server = Process::spawn("server", &server, town.folder.path());
    wait_until("the server to listen", LIMIT, || town.outside.run("ss -Hlun").contains(":7000 "));
    let daemon = town.start(CONFIG, &["isp", "vm1", "vm2"]);
    vm1.await_reach(OUTSIDE);
    // Its own ports are few, and a ping to the outside would take one.
    vm2.await_reach("10.0.0.1");
    assert_right(&vm1, &town, "lengths");
    assert_right(&vm1, &town, "forged");
    assert_right(&vm2, &town, "exhaustion");
    assert_eq!(daemon.show().port("vm2").dropped("nat-exhausted"), 1);
    assert_eq!(daemon.show().port("vm1").dropped("nat-exhausted"), 0, "another station's ports are its own");
    assert_eq!(town.outside.wrong_packets(), []);
}
