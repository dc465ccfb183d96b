//! Packets of every kind through translations and routes to the kernel's own stack and back: what arrives is what was sent, the
//! kernel finds nothing wrong with it, and neither does tshark with what was on the wire.
#![expect(clippy::cast_possible_truncation, reason = "lengths and numbers are the test's own")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use etherparse::{PacketBuilder, PacketHeaders, TransportHeader};
use viaduct_tests::capture;
use viaduct_tests::card::{Card, fragments, icmp_error, tcp, udp, unfinished};
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::process::{Process, run_to_end};
use viaduct_tests::superframe::verified;

use viaduct_tests::town::{LIMIT, Town};

/// The uplink carries no super-frames and no unfinished checksums: what the switch makes is what is on the wire.
const CONFIG: &str = r#"
[uplink.isp]
interface = "eth3"
driver = "af-xdp"
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
[port.vm1]
network = "home"
[port.web1]
network = "home"
mac = "02:00:00:00:07:02"
addresses = ["10.0.0.10", "fd00:2::10"]
floating = "192.168.99.120"
publish = ["15300:17000/udp"]
[port.vm3]
network = "lab"
"#;

/// The machine out there.
const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 168, 99, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1)),
];
const ECHO: u16 = 17000;
const STREAM: u16 = 17001;
const CLOSED: u16 = 17009;

/// Returns datagrams, tells of errors about what it returned, and keeps what streams bring.
const SERVER: &str = include_str!("server.py");

/// Sends datagrams of many lengths to an address and a port, each once the one before has come back, and tells how many did.
const CLIENT: &str = include_str!("client.py");

/// Numbers that are the same each time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

struct Scene {
    town: Town,
    server: Process,
    sniffer: Process,
    cards: Vec<Card>,
    numbers: Numbers,
    _daemon: Daemon,
}

impl Scene {
    fn new() -> Self {
        let town = Town::new("eth3");
        let outside = &town.outside;
        outside.ip("address add 2001:db8:99::1/64 dev eth0 nodad");
        // The kernel tells of each closed port.
        outside.run("echo 0 >/proc/sys/net/ipv4/icmp_ratemask; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit; echo 2 >/proc/sys/net/ipv6/icmp/ratemask");
        let mut server = outside.command("python3");
        server.args(["-c", SERVER]).arg(town.folder.path());
        let server = Process::spawn("server", &server, town.folder.path());
        wait_until("the server to listen", LIMIT, || server.output().contains("listening"));
        let mut sniffer = outside.command("tcpdump");
        sniffer.args([
            "-i",
            "eth0",
            "-Q",
            "in",
            "-n",
            "-s",
            "0",
            "-U",
            "--immediate-mode",
            "-B",
            "65536",
            "-Z",
            "root",
            "-w",
        ]);
        sniffer.arg(Self::capture(&town));
        let sniffer = Process::spawn("sniffer", &sniffer, town.folder.path());
        wait_until("tcpdump to listen", LIMIT, || sniffer.output().contains("listening on"));
        let daemon = town.start(CONFIG, &["isp"]);
        for (prefix, gateway) in
            [("172.16.99.0/24", "192.168.99.108"), ("2001:db8:2::/47", "2001:db8:99::108")]
        {
            outside.ip(&format!("route add {prefix} via {gateway}"));
        }
        let cards = [
            ("vm1", "10.0.0.11", "fd00:2::11"),
            ("web1", "10.0.0.10", "fd00:2::10"),
            ("vm3", "172.16.99.13", "2001:db8:3::13"),
        ];
        let cards = (1_u8..).zip(cards).map(|(number, (port, v4, v6))| {
            let v4: Ipv4Addr = v4.parse().unwrap();
            let [a, b, c, _] = v4.octets();
            let gateway = Ipv4Addr::new(a, b, c, 1);
            Card::connect(
                &daemon.socket(port),
                [2, 0, 0, 0, 7, number],
                v4,
                Some(v6.parse().unwrap()),
                gateway,
            )
        });
        let cards = cards.collect();
        Self { town, server, sniffer, cards, numbers: Numbers(1), _daemon: daemon }
    }

    fn capture(town: &Town) -> PathBuf {
        town.folder.path().join("outside.pcap")
    }

    /// Each card and each machine's address out there of both versions of IP.
    fn each(&mut self, mut work: impl FnMut(&mut Card, IpAddr, &mut Numbers)) {
        for card in &mut self.cards {
            for to in OUTSIDE {
                work(card, to, &mut self.numbers);
            }
        }
    }
}

/// A whole packet that came, with right checksums.
fn read(packet: &[u8]) -> (Option<TransportHeader>, Vec<u8>) {
    let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
    let frame = [&[0; 12][..], &kind, packet].concat();
    let headers = PacketHeaders::from_ethernet_slice(&frame).unwrap();
    if matches!(headers.transport, Some(TransportHeader::Udp(_) | TransportHeader::Tcp(_))) {
        let _ = verified(&frame);
    }
    (headers.transport, headers.payload.slice().to_vec())
}

/// Whether a packet is a datagram from this port with this data.
fn is_datagram(packet: &[u8], port: u16, data: &[u8]) -> bool {
    let is_udp = packet[if packet[0] >> 4 == 6 { 6 } else { 9 }] == 17;
    is_udp
        && matches!(read(packet), (Some(TransportHeader::Udp(udp)), found) if udp.source_port == port && found == data)
}

/// Sends a packet in one of the ways in which a driver may.
fn send(card: &mut Card, mut packet: Vec<u8>, numbers: &mut Numbers) {
    let is_long = packet.len() > 1500;
    match numbers.below(3) {
        0 if !is_long => {
            // A super-frame of one segment is an unfinished packet.
            let size = (numbers.below(2) == 0).then_some(1472);
            let header = unfinished(&mut packet, size);
            card.send(header, &packet);
        }
        1 if !is_long => card.send(NetHeader::default(), &packet),
        _ => {
            let (id, size) = (numbers.next() as u16, 8 * (5 + numbers.below(176)));
            let mut parts = fragments(&packet, id, size);
            if numbers.below(2) == 0 {
                parts.reverse();
            }
            parts.iter().for_each(|part| card.send(NetHeader::default(), part));
        }
    }
}

/// Datagrams come back as they were sent: whole, unfinished, in fragments, without a checksum, and many in one.
fn datagrams(card: &mut Card, to: IpAddr, numbers: &mut Numbers) {
    let from = card.address(to);
    for round in 0..120 {
        let port = 40_000 + numbers.below(4) as u16;
        let is_many = round % 8 == 7;
        let length =
            [1, 2, 17, 700, 1400, 5000][if is_many { 5 } else { numbers.below(6) }] + numbers.below(9);
        let data = numbers.bytes(length);
        let mut packet = udp((from, port), (to, ECHO), &data);
        if is_many {
            let size = 100 + numbers.below(1300);
            let header = unfinished(&mut packet, Some(size as u16));
            card.send(header, &packet);
            for part in data.chunks(size) {
                assert!(
                    card.next(LIMIT, |packet| is_datagram(packet, ECHO, part)).is_some(),
                    "datagram {round} of {} bytes to {to}, of which {size} in each, did not come back",
                    data.len()
                );
            }
            continue;
        }
        if round % 8 == 6 && to.is_ipv4() && packet.len() <= 1500 {
            packet[26..28].fill(0);
            card.send(NetHeader::default(), &packet);
        } else {
            send(card, packet, numbers);
        }
        let came = card.next(LIMIT, |packet| is_datagram(packet, ECHO, &data));
        assert!(came.is_some(), "datagram {round} of {} bytes to {to} did not come back", data.len());
    }
}

/// Requests of echo, in fragments if they are long.
fn pings(card: &mut Card, to: IpAddr, numbers: &mut Numbers) {
    let from = card.address(to);
    for number in 0..40 {
        let length = numbers.below(3000);
        let data = numbers.bytes(length);
        let mut packet = Vec::new();
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let ip = PacketBuilder::ipv4(from.octets(), to.octets(), 64);
                ip.icmpv4_echo_request(77, number).write(&mut packet, &data).unwrap();
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let ip = PacketBuilder::ipv6(from.octets(), to.octets(), 64);
                ip.icmpv6_echo_request(77, number).write(&mut packet, &data).unwrap();
            }
            _ => panic!("two versions of IP"),
        }
        let size = if packet.len() > 1500 { 1400 } else { 8 * (5 + numbers.below(176)) };
        let id = numbers.next() as u16;
        fragments(&packet, id, size).iter().for_each(|part| card.send(NetHeader::default(), part));
        let came = card.next(LIMIT, |packet| match read(packet) {
            (Some(TransportHeader::Icmpv4(icmp)), found) => {
                assert_eq!(icmp.icmp_type.calc_checksum(&found), icmp.checksum);
                found == data
            }
            (Some(TransportHeader::Icmpv6(icmp)), found) => {
                let ends = [8, 24].map(|at| packet[at..at + 16].try_into().unwrap());
                let sum = icmp.icmp_type.calc_checksum(ends[0], ends[1], &found).unwrap();
                assert_eq!(sum, icmp.checksum);
                found == data
            }
            _ => false,
        });
        assert!(came.is_some(), "echo {number} of {} bytes to {to} got no reply", data.len());
    }
}

/// The kernel says that a port is closed: the card finds quoted what it sent.
fn closed_ports(card: &mut Card, to: IpAddr, numbers: &mut Numbers) {
    let from = card.address(to);
    for number in 0..30 {
        let length = 16 + numbers.below(800);
        let data = numbers.bytes(length);
        let packet = udp((from, 41_000 + number), (to, CLOSED), &data);
        card.send(NetHeader::default(), &packet);
        let is_error = |packet: &[u8]| {
            matches!(
                (packet[0] >> 4, packet[9], packet[20], packet[6], packet[40]),
                (4, 1, 3, ..) | (6, _, _, 58, 1)
            )
        };
        let told =
            card.next(LIMIT, is_error).unwrap_or_else(|| panic!("nothing was told of {to}'s closed port"));
        let quote = &told[if to.is_ipv4() { 28 } else { 48 }..];
        // But for what routers change: the hop limit, and with it the header's checksum.
        let unchanged = |bytes: &[u8]| match to {
            IpAddr::V4(_) => [&bytes[..8], &bytes[9..10], &bytes[12..]].concat(),
            IpAddr::V6(_) => [&bytes[..7], &bytes[8..]].concat(),
        };
        assert_eq!(unchanged(quote), unchanged(&packet[..quote.len()]), "what is quoted of {number}");
        assert_checksums(&told);
    }
}

/// The outer and the quoted checksums of an ICMP error.
fn assert_checksums(packet: &[u8]) {
    match read(packet) {
        (Some(TransportHeader::Icmpv4(icmp)), quote) => {
            assert_eq!(icmp.icmp_type.calc_checksum(&quote), icmp.checksum, "of {packet:02x?}");
            let quoted = etherparse::Ipv4Header::from_slice(&quote).unwrap().0;
            assert_eq!(quoted.calc_header_checksum(), quoted.header_checksum, "of the quoted {quote:02x?}");
        }
        (Some(TransportHeader::Icmpv6(icmp)), quote) => {
            let ends = [8, 24].map(|at| packet[at..at + 16].try_into().unwrap());
            let sum = icmp.icmp_type.calc_checksum(ends[0], ends[1], &quote).unwrap();
            assert_eq!(sum, icmp.checksum, "of {packet:02x?}");
        }
        _ => panic!("an ICMP error was to come: {packet:02x?}"),
    }
}

/// Cards refuse what the server returned: it is told so about its own packet.
fn refusals(card: &mut Card, to: IpAddr, numbers: &mut Numbers) -> BTreeSet<String> {
    let from = card.address(to);
    let one = |number: u16| {
        let data = numbers.bytes(16);
        card.send(NetHeader::default(), &udp((from, 42_000 + number), (to, ECHO), &data));
        let came = card.next(LIMIT, |packet| is_datagram(packet, ECHO, &data)).unwrap();
        let code = if to.is_ipv4() { (3, 3) } else { (1, 4) };
        card.send(NetHeader::default(), &icmp_error(from, to, code, &came));
        data.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    (0..30).map(one).collect()
}

/// A stream of many bytes in segments of all kinds; what the kernel hands to its receiver is what was sent.
fn stream(card: &mut Card, to: IpAddr, numbers: &mut Numbers) -> Vec<u8> {
    let (from, port) = ((card.address(to), 43_000), STREAM);
    let segment = |sequence: u32, ack: u32, flags: &str, data: &[u8]| {
        tcp(from, (to, port), (sequence, ack), flags, data)
    };
    let start = 0xffff_8000_u32;
    card.send(NetHeader::default(), &segment(start, 0, "S", &[]));
    let answer = next_segment(card, |tcp| tcp.syn && tcp.ack);
    let (mut sequence, ack) = (start.wrapping_add(1), answer.sequence_number.wrapping_add(1));
    card.send(NetHeader::default(), &segment(sequence, ack, "A", &[]));
    let mut all = Vec::new();
    for round in 0..40 {
        let length = if round % 2 == 0 { 1 + numbers.below(1400) } else { 1401 + numbers.below(20_000) };
        let data = numbers.bytes(length);
        let mut packet = segment(sequence, ack, "AP", &data);
        if packet.len() > 1500 {
            let header = unfinished(&mut packet, Some(600 + numbers.below(800) as u16));
            card.send(header, &packet);
        } else {
            send(card, packet, numbers);
        }
        sequence = sequence.wrapping_add(length as u32);
        next_segment(card, |tcp| tcp.ack && tcp.acknowledgment_number == sequence);
        all.extend(data);
    }
    card.send(NetHeader::default(), &segment(sequence, ack, "AF", &[]));
    next_segment(card, |tcp| tcp.fin);
    card.send(NetHeader::default(), &segment(sequence.wrapping_add(1), ack.wrapping_add(1), "A", &[]));
    all
}

fn next_segment(card: &mut Card, is_meant: impl Fn(&etherparse::TcpHeader) -> bool) -> etherparse::TcpHeader {
    let header = |packet: &[u8]| match read(packet).0 {
        Some(TransportHeader::Tcp(tcp)) => Some(tcp),
        _ => None,
    };
    let packet = card.next(LIMIT, |packet| header(packet).is_some_and(|tcp| is_meant(&tcp)));
    header(&packet.expect("the server's segment")).unwrap()
}

/// A card returns what comes to a port of its own.
fn return_datagrams(card: &mut Card, port: u16, count: usize) {
    for number in 0..count {
        let is_asked = |packet: &[u8]| matches!(read(packet).0, Some(TransportHeader::Udp(udp)) if udp.destination_port == port);
        let packet =
            card.next(LIMIT, is_asked).unwrap_or_else(|| panic!("datagram {number} to {port} did not come"));
        let (Some(TransportHeader::Udp(header)), data) = read(&packet) else { unreachable!() };
        let asker = Ipv4Addr::from_octets(packet[12..16].try_into().unwrap());
        let (own, asker) = ((card.address(asker.into()), port), (asker.into(), header.source_port));
        let answer = udp(own, asker, &data);
        fragments(&answer, number as u16, 1400).iter().for_each(|part| card.send(NetHeader::default(), part));
    }
}

/// What tshark finds in a capture by a filter, with all checksums computed.
fn found(capture: &std::path::Path, filter: &str) -> usize {
    let file = capture.to_str().unwrap();
    let mut arguments = vec!["-r", file, "-Y", filter, "-T", "fields", "-e", "frame.number"];
    for protocol in ["ip", "tcp", "udp"] {
        arguments.extend([
            "-o",
            match protocol {
                "ip" => "ip.check_checksum:TRUE",
                "tcp" => "tcp.check_checksum:TRUE",
                _ => "udp.check_checksum:TRUE",
            },
        ]);
    }
    run_to_end(Duration::from_secs(60), "tshark", &arguments).lines().count()
}

/// No checksum of a capture is wrong, and those of every protocol were looked at.
fn assert_right(capture: &std::path::Path) {
    const PROTOCOLS: [&str; 5] = ["ip", "tcp", "udp", "icmp", "icmpv6"];
    let with = |status: u8| PROTOCOLS.map(|protocol| format!("{protocol}.checksum.status == {status}"));
    assert_eq!(found(capture, &with(0).join(" || ")), 0, "wrong checksums in {}", capture.display());
    for good in with(1) {
        assert!(found(capture, &good) > 100, "{good} in {}", capture.display());
    }
}

#[test]
fn the_kernel_and_tshark_find_nothing_wrong_and_nothing_missing() {
    let mut scene = Scene::new();
    scene.each(datagrams);
    scene.each(pings);
    scene.each(closed_ports);
    let mut refused = BTreeSet::new();
    scene.each(|card, to, numbers| refused.extend(refusals(card, to, numbers)));
    let mut streams = BTreeSet::new();
    scene.each(|card, to, numbers| assert!(streams.insert(stream(card, to, numbers))));
    for (address, port) in [("192.168.99.120", "17000"), ("192.168.99.108", "15300")] {
        let mut client = scene.town.outside.command("python3");
        client.args(["-c", CLIENT, address, port, "60"]);
        let client = Process::spawn("client", &client, scene.town.folder.path());
        return_datagrams(&mut scene.cards[1], ECHO, 60);
        wait_until("all datagrams to come back", LIMIT, || client.output().contains("same 60"));
    }
    // What the server was told and what streams brought it.
    wait_until("the server to be told of all refusals", LIMIT, || {
        let told = scene.server.output();
        let told: BTreeSet<&str> = told
            .lines()
            .filter(|line| line.starts_with("refused"))
            .filter_map(|line| line.split(' ').next_back())
            .collect();
        refused.iter().all(|data| told.contains(&data[..]))
    });
    wait_until("all streams to end", LIMIT, || {
        scene.server.output().matches("stream ").count() == streams.len()
    });
    let output = scene.server.output();
    let names = output.lines().filter_map(|line| line.strip_prefix("stream "));
    let brought: BTreeSet<Vec<u8>> =
        names.map(|name| fs::read(scene.town.folder.path().join(name)).unwrap()).collect();
    assert!(brought == streams, "the kernel got other bytes than were sent");
    assert_eq!(scene.town.outside.wrong_packets(), []);
    // What was on the wire, to the last packet.
    let capture = Scene::capture(&scene.town);
    let last = b"nothing comes behind this datagram";
    let card = &mut scene.cards[0];
    card.send(NetHeader::default(), &udp((card.address(OUTSIDE[0]), 44_000), (OUTSIDE[0], ECHO), last));
    wait_until("tcpdump to write the last packet", LIMIT, || {
        fs::read(&capture).unwrap().windows(last.len()).any(|bytes| bytes == last)
    });
    scene.sniffer.signal(libc::SIGINT);
    scene.sniffer.wait(LIMIT);
    let said = scene.sniffer.output();
    assert!(said.contains("\n0 packets dropped by kernel"), "{said}");
    assert_right(&capture);
    let sent: usize = scene.cards.iter().map(Card::sent).sum();
    // Neighbour discovery is the gateway's own.
    assert_eq!(found(&capture, "ip || (ipv6 && !(icmpv6.type >= 133))"), sent, "packets on the wire");
    let inside = scene.town.folder.path().join("inside.pcap");
    capture::write(&inside, scene.cards.iter().flat_map(|card| card.received().to_vec())).unwrap();
    assert_right(&inside);
    println!(
        "{sent} packets went out, {} came in",
        scene.cards.iter().map(|card| card.received().len()).sum::<usize>()
    );
}
