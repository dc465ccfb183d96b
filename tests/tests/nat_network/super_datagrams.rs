//! Many datagrams in one super-frame (USO; `VIRTIO_NET_HDR_GSO_UDP_L4`) through a router and through translations of both versions of IP,
//! from the kernel's own stack and from guests, to both and back: whole to who takes them, cut right to who does not. The
//! kernel says by `UDP_GRO` how long each datagram was. It carries such super-frames to packet sockets from Linux 6.2 on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct_tests::card::{Card, udp, unfinished};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{GUEST_CSUM, GUEST_USO4, GUEST_USO6};
use viaduct_tests::driver::header::{GSO_UDP_L4, NEEDS_CSUM};
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::{Process, tail};
use viaduct_tests::superframe::{finished, verified};
use viaduct_tests::town::{LIMIT, Town};

const CONFIG: &str = r#"
[uplink.isp]
interface = "eth3"
address = ["192.168.99.108/24", "2001:db8:99::108/64"]
gateway = ["192.168.99.1", "2001:db8:99::1"]
[network.home]
mode = "nat"
uplink = "isp"
subnets = ["10.0.0.0/24", "fd00:2::/64"]
nat = { nptv6 = [{ inside = "fd00:2::/48", outside = "2001:db8:2::/48" }] }
[network.lab]
mode = "routed"
uplink = "isp"
subnets = ["172.16.99.0/24", "2001:db8:3::/64"]
[router.r1]
networks = ["home", "lab"]
[port.vm1]
network = "home"
type = "veth"
interface = "v-vm1"
[port.vm3]
network = "lab"
type = "veth"
interface = "v-vm3"
[port.plain]
network = "home"
[port.taking]
network = "home"
"#;

/// Who answers: the machine out there, by a translation, and a station of the other network, by a router; by both versions of IP.
const SERVERS: [&str; 4] = ["192.168.99.1", "2001:db8:99::1", "172.16.99.13", "2001:db8:3::13"];

const PORT: u16 = 7000;

/// Bytes of the datagrams of a super-frame, and all of its bytes: the last datagram is shorter, and an IP packet of 64 KiB is nearly
/// full once.
const SHAPES: [(usize, usize); 4] = [(64, 1000), (557, 17_000), (1400, 56_011), (1452, 65_000)];

/// Tells of what comes and returns it as it came: many datagrams in one call if they came so, from the address that they were sent to
/// (a station has several addresses of IPv6 here, as routers advertise prefixes).
const SERVER: &str = "import socket, struct\n\
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n\
    s.setsockopt(17, 104, 1)\n\
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)\n\
    s.bind(('::', 7000))\n\
    while True:\n    \
        data, extra, _, peer = s.recvmsg(70000, 100)\n    \
        size = [struct.unpack('i', value)[0] for level, kind, value in extra if (level, kind) == (17, 104)]\n    \
        own = [said for said in extra if said[:2] == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)]\n    \
        print('came', len(data), *size, flush=True)\n    \
        s.sendmsg([data], own + [(17, 103, struct.pack('H', *one)) for one in [size] if one], 0, peer)\n";

/// Sends super-frames, each once the one before has come back whole.
const CLIENT: &str = "import os, socket, struct, sys\n\
    for host in sys.argv[1].split(','):\n    \
        s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)\n    \
        s.setsockopt(17, 104, 1)\n    \
        s.settimeout(5)\n    \
        s.connect((host, 7000))\n    \
        for shape in sys.argv[2].split(','):\n        \
            size, length = map(int, shape.split('x'))\n        \
            data = os.urandom(length)\n        \
            print('asking', host, size, length, flush=True)\n        \
            s.sendmsg([data], [(17, 103, struct.pack('H', size))])\n        \
            came, extra, _, _ = s.recvmsg(70000, 100)\n        \
            sizes = [struct.unpack('i', value)[0] for level, kind, value in extra if (level, kind) == (17, 104)]\n        \
            assert (came == data, sizes) == (True, [size]), (host, size, length, len(came), sizes)\n\
    print('right')\n";

/// The shapes as the client reads them.
fn shapes() -> String {
    SHAPES.map(|(size, length)| format!("{size}x{length}")).join(",")
}

fn server(town: &Town, place: &Namespace) -> Process {
    let mut command = place.command("python3");
    command.args(["-c", SERVER]);
    let server = Process::spawn(&format!("server-{}", place.name()), &command, town.folder.path());
    wait_until("the server to listen", LIMIT, || place.run("ss -Hlun").contains(":7000 "));
    server
}

/// Packets that came to a machine.
fn came(place: &Namespace) -> u64 {
    place.run("cat /sys/class/net/eth0/statistics/rx_packets").trim().parse().unwrap()
}

/// The kernel sends, the kernel answers.
fn kernels_get_all_whole(town: &Town, client: &Namespace, servers: [&Namespace; 2]) {
    let before = servers.map(came);
    let mut command = client.command("python3");
    command.args(["-c", CLIENT, &SERVERS.join(","), &shapes()]);
    let mut process = Process::spawn("client", &command, town.folder.path());
    process.wait(LIMIT);
    assert!(process.output().ends_with("right\n"), "{}", tail(&process.output(), 20));
    let datagrams: usize = SHAPES.iter().map(|(size, length)| length.div_ceil(*size)).sum();
    for (server, before) in servers.into_iter().zip(before) {
        let packets = came(server) - before;
        // Beside them come neighbour discovery and what else a kernel says.
        assert!(packets < datagrams as u64 / 2, "{packets} came to {} for {datagrams}", server.name());
    }
}

/// A datagram's data, if a packet is one from a server.
fn data_from(packet: &[u8], server: IpAddr) -> Option<Vec<u8>> {
    let (kind, from, protocol): ([u8; 2], IpAddr, u8) = if packet[0] >> 4 == 6 {
        ([0x86, 0xdd], <[u8; 16]>::try_from(&packet[8..24]).unwrap().into(), packet[6])
    } else {
        ([8, 0], <[u8; 4]>::try_from(&packet[12..16]).unwrap().into(), packet[9])
    };
    let frame = [&[0; 12][..], &kind, packet].concat();
    (protocol == 17 && from == server).then(|| verified(&frame).payload)
}

/// One datagram there and back, after which the gateway knows the guest: what waits until it does is cut for everybody.
fn becomes_known(card: &mut Card, server: IpAddr, port: u16) {
    let mut packet = udp((card.address(server), port), (server, PORT), b"hello");
    let header = unfinished(&mut packet, None);
    card.send(header, &packet);
    let answer = card.next(LIMIT, |packet| data_from(packet, server).is_some());
    assert_eq!(
        answer.and_then(|packet| data_from(&packet, server)).as_deref(),
        Some(&b"hello"[..]),
        "{server}"
    );
}

/// A guest sends to each server, which says that it came whole; `back` says what comes back to the guest.
fn guest_is_answered(card: &mut Card, servers: [&Process; 2], back: impl Fn(&mut Card, IpAddr, u16, &[u8])) {
    for (number, server) in SERVERS.iter().enumerate() {
        let address: IpAddr = server.parse().unwrap();
        let port = 40_000 + u16::try_from(number).unwrap();
        becomes_known(card, address, port);
        for (size, length) in SHAPES {
            let size = u16::try_from(size).unwrap();
            let data: Vec<u8> = (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
            let from = (card.address(address), port);
            let mut packet = udp(from, (address, PORT), &data);
            let header = unfinished(&mut packet, Some(size));
            let told = || servers[number / 2].output().matches(&format!("came {length} {size}\n")).count();
            let before = told();
            card.send(header, &packet);
            wait_until(&format!("{server} to get {length} bytes whole"), LIMIT, || told() > before);
            back(card, address, size, &data);
        }
    }
}

/// To a guest that takes none, each datagram comes by itself, with its checksum.
fn cut(card: &mut Card, server: IpAddr, size: u16, data: &[u8]) {
    for part in data.chunks(size.into()) {
        let packet = card.next(LIMIT, |packet| data_from(packet, server).is_some());
        let packet = packet.unwrap_or_else(|| panic!("of {} bytes of {server} not all came", data.len()));
        assert_eq!(data_from(&packet, server).as_deref(), Some(part), "in order");
    }
}

/// A guest that takes them gets all in one frame, which says how to cut it.
fn whole(card: &mut Card, server: IpAddr, size: u16, data: &[u8]) {
    let (header, frame) =
        card.next_super_frame(LIMIT).unwrap_or_else(|| panic!("{server} sent nothing whole"));
    assert_eq!((header.gso_type, header.flags & NEEDS_CSUM), (GSO_UDP_L4, NEEDS_CSUM));
    assert_eq!((header.gso_size, header.csum_offset), (size, 6));
    assert_eq!(header.hdr_len, header.csum_start + 8);
    let frame = finished(header, frame);
    assert_eq!(data_from(&frame[14..], server).as_deref(), Some(data));
}

#[test]
fn datagrams_sent_at_once_cross_the_router_and_its_translations_whole_or_are_cut_right() {
    let town = Town::new("eth3");
    let outside = &town.outside;
    // It is another machine of the same host here, which cuts nothing and finishes nothing.
    outside.run("ethtool -K eth0 tx on >/dev/null");
    outside.ip("address add 2001:db8:99::1/64 dev eth0 nodad");
    for (prefix, gateway) in [("172.16.99.0/24", "192.168.99.108"), ("2001:db8:2::/47", "2001:db8:99::108")] {
        outside.ip(&format!("route add {prefix} via {gateway}"));
    }
    let [vm1, vm3] = ["vm1", "vm3"].map(|name| town.station(name));
    for (station, v4, v6, gateways) in [
        (&vm1, "10.0.0.12/24", "fd00:2::12/64", ["10.0.0.1", "fd00:2::1"]),
        (&vm3, "172.16.99.13/24", "2001:db8:3::13/64", ["172.16.99.1", "2001:db8:3::1"]),
    ] {
        station.configure(v4, gateways[0]);
        station.namespace.ip(&format!("address add {v6} dev eth0 nodad"));
        station.namespace.ip(&format!("route replace default via {}", gateways[1]));
    }
    let daemon = town.start(CONFIG, &["isp", "vm1", "vm3"]);
    let servers = [server(&town, outside), server(&town, &vm3.namespace)];
    SERVERS.iter().for_each(|server| {
        wait_until(&format!("vm1 to reach {server}"), LIMIT, || vm1.reaches(server));
    });
    kernels_get_all_whole(&town, &vm1.namespace, [outside, &vm3.namespace]);
    let servers = [&servers[0], &servers[1]];
    let card = |port: &str, features: u64, last: u8| {
        let v4 = Ipv4Addr::new(10, 0, 0, last);
        let v6 = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, last.into());
        let (mac, gateway) = ([2, 0, 0, 0, 7, last], Ipv4Addr::new(10, 0, 0, 1));
        Card::connect_with(features, &daemon.socket(port), mac, (v4, Some(v6)), gateway)
    };
    guest_is_answered(&mut card("plain", 0, 21), servers, cut);
    guest_is_answered(&mut card("taking", GUEST_CSUM | GUEST_USO4 | GUEST_USO6, 22), servers, whole);
    for place in [outside, &vm1.namespace, &vm3.namespace] {
        assert_eq!(place.wrong_packets(), [], "{}", place.name());
    }
}
