//! The services of a gateway behind TUN devices: Linux, dig and curl are the guests, dnsmasq is the name server that others
//! know, and the services' own sockets live in a namespace of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test, which has a clock"
)]

mod metadata;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use tempfile::TempDir;
use viaduct::services::{Dns, Event, Metadata, NetworkServices, Services, Taking, Target, Uplink};
use viaduct_switch::ids::{NetworkIndex, PortIndex};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::Process;
use viaduct_tests::tun::{Tun, within, write};

/// How long what has to come may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Where the guests' packets come out.
type Exits = Arc<Mutex<Vec<(IpAddr, Arc<File>)>>>;

/// A network with two guests, its services, and an outside with a name server.
struct Lab {
    guests: Vec<Namespace>,
    // Dropped before what it hands packets to.
    tuns: Vec<Tun>,
    services: Services,
    exits: Exits,
    outside: Namespace,
    folder: TempDir,
    _dnsmasq: Process,
}

fn network() -> NetworkIndex {
    NetworkIndex::new(5).unwrap()
}

fn port(index: usize) -> PortIndex {
    PortIndex::new(index + 1).unwrap()
}

fn settings(target: Target) -> NetworkServices {
    let host = |name: &str, address: &str| (name.parse().unwrap(), address.parse().unwrap());
    NetworkServices {
        network: network(),
        addresses: ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap()).to_vec(),
        subnets: ["10.0.0.0/24", "fd00::/64"].map(|text| text.parse().unwrap()).to_vec(),
        mtu: 1400,
        dns: Some(Dns {
            domain: Some("home.lan".parse().unwrap()),
            // Nobody is at the first one.
            upstream: ["127.0.0.7:53", "127.0.0.1:53"].map(|text| text.parse().unwrap()).to_vec(),
            uplink: None,
            hosts: vec![host("web1", "10.0.0.10"), host("web1", "fd00::10")],
        }),
        metadata: Some(Metadata { target, announces_port: true }),
        name: "home".to_owned(),
        ports: vec![(port(0), "vm0".to_owned()), (port(1), "vm1".to_owned())],
    }
}

/// The uplink's network, in which the name server is 192.0.2.1.
fn uplink() -> NetworkIndex {
    NetworkIndex::new(9).unwrap()
}

impl Lab {
    /// A lab whose services ask the name server by sockets in its namespace.
    fn new() -> Self {
        let outside = Namespace::new("outside");
        Self::with(outside, |outside, make| within(outside, make), &["127.0.0.1"])
    }

    /// A lab whose services have sockets of their own at an uplink alone.
    fn uplinked() -> Self {
        let outside = Namespace::new("outside");
        outside.ip("address add 192.0.2.1/32 dev lo");
        let nowhere = Namespace::new("nowhere");
        let mut lab = Self::with(outside, |_, make| within(&nowhere, make), &["127.0.0.1", "192.0.2.1"]);
        let handle = lab.services.handle();
        let tun = Tun::new(&lab.outside, "up0", move |packet| {
            handle.packet(port(7), uplink(), packet);
        });
        lab.outside.ip("route add 192.0.2.2 dev up0");
        lab.exits.lock().unwrap().push(("192.0.2.1".parse().unwrap(), tun.file()));
        lab.tuns.push(tun);
        let own = Uplink { network: uplink(), addresses: vec!["192.0.2.2".parse().unwrap()], mtu: 1400 };
        lab.ask_at("192.0.2.1:53", Some(own));
        lab
    }

    /// Has this name server asked, by an uplink if there is one.
    fn ask_at(&self, server: &str, uplink: Option<Uplink>) {
        let mut wanted = settings(Target::Unix(self.folder.path().join("metadata")));
        let dns = wanted.dns.as_mut().unwrap();
        dns.upstream = vec![server.parse().unwrap()];
        dns.uplink = uplink;
        self.services.handle().configure(vec![wanted]);
    }

    fn with(
        outside: Namespace,
        start: impl FnOnce(&Namespace, &mut (dyn FnMut() -> Services + Send)) -> Services,
        listening: &[&str],
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let dnsmasq = name_server(&outside, folder.path(), listening);
        let exits: Exits = Arc::default();
        let output = Arc::clone(&exits);
        let services = start(&outside, &mut || serve(Arc::clone(&output)));
        services.handle().configure(vec![settings(Target::Unix(folder.path().join("metadata")))]);
        let guests: Vec<_> = (0..2).map(|index| Namespace::new(&format!("guest{index}"))).collect();
        let tuns =
            guests.iter().enumerate().map(|(index, guest)| plug(guest, index, &services, &exits)).collect();
        Self { guests, tuns, services, exits, outside, folder, _dnsmasq: dnsmasq }
    }

    /// What dig prints at a guest.
    fn dig(&self, guest: usize, words: &str) -> String {
        self.guests[guest].run(&format!("dig +time=5 +tries=2 {words} || true"))
    }

    fn count(&self, event: Event) -> u64 {
        self.services.handle().counters()[event as usize].1
    }
}

/// Services whose packets go where their addresses say.
fn serve(exits: Exits) -> Services {
    Services::start(move |_, packet| {
        let exits = exits.lock().unwrap();
        let destination = destination(&packet);
        let exit = exits.iter().find(|(address, _)| *address == destination);
        exit.inspect(|(_, file)| write(file, &packet)).is_some()
    })
    .unwrap()
}

fn plug(guest: &Namespace, index: usize, services: &Services, exits: &Exits) -> Tun {
    let handle = services.handle();
    let tun = Tun::new(guest, "net0", move |packet| {
        handle.packet(port(index), network(), packet);
    });
    let (v4, v6) = (format!("10.0.0.{}", index + 8), format!("fd00::{}", index + 8));
    guest.ip(&format!("address add {v4}/24 dev net0"));
    guest.ip(&format!("address add {v6}/64 dev net0 nodad"));
    guest.ip("link set net0 mtu 1400");
    guest.ip("route add 169.254.169.254 dev net0");
    guest.ip("route add fd00:ec2::254 dev net0");
    let mut exits = exits.lock().unwrap();
    exits.extend([v4, v6].map(|address| (address.parse().unwrap(), tun.file())));
    tun
}

fn name_server(outside: &Namespace, folder: &Path, listening: &[&str]) -> Process {
    let long = "x".repeat(200);
    let mut arguments: Vec<String> = ["netns", "exec", outside.name(), "dnsmasq"].map(str::to_owned).to_vec();
    arguments.extend(
        [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--pid-file",
            "--log-facility=-",
            "--bind-interfaces",
            "--address=/example.net/192.0.2.80",
            "--cname=alias.example.org,real.example.org",
            "--host-record=real.example.org,192.0.2.81,2001:db8::81",
            "--local=/example.org/",
            "--local-ttl=60",
        ]
        .map(str::to_owned),
    );
    arguments.extend(listening.iter().map(|address| format!("--listen-address={address}")));
    arguments.push(format!("--txt-record=long.example.org{}", format!(",{long}").repeat(10)));
    let process = Process::start("dnsmasq", "ip", &arguments, folder);
    wait_until("dnsmasq answers", LIMIT, || {
        outside.succeeds("dig +time=1 +tries=1 @127.0.0.1 real.example.org")
    });
    process
}

fn destination(packet: &[u8]) -> IpAddr {
    match packet[0] >> 4 {
        4 => IpAddr::from(<[u8; 4]>::try_from(&packet[16..20]).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(&packet[24..40]).unwrap()),
    }
}

/// What the test is about, by what dig was told: words, and what its output must have.
fn check(lab: &Lab, cases: &[(&str, &[&str])]) {
    for (words, expected) in cases {
        let output = lab.dig(0, words);
        for text in *expected {
            assert!(output.contains(text), "dig {words}: no {text:?} in\n{output}");
        }
    }
}

#[test]
fn dig_finds_names_of_the_network_and_of_the_world_by_udp_and_tcp() {
    let lab = Lab::new();
    let handle = lab.services.handle();
    let its = "10.0.0.9".parse().unwrap();
    for (name, is_first) in [("db", false), ("vm1", true)] {
        assert!(handle.name_given(network(), port(1), &name.parse().unwrap(), its, is_first));
    }
    check(&lab, &[("@10.0.0.1 db.home.lan +short", &["10.0.0.9"])]);
    handle.name_ended(network(), &"db".parse().unwrap(), its);
    check(
        &lab,
        &[
            ("@10.0.0.1 web1.home.lan +short", &["10.0.0.10"]),
            ("@fd00::1 web1.home.lan AAAA +short", &["fd00::10"]),
            ("@10.0.0.1 -x 10.0.0.9 +short", &["vm1.home.lan."]),
            ("@10.0.0.1 -x fd00::10 +short", &["web1.home.lan."]),
            ("@10.0.0.1 +tcp vm1.home.lan +short", &["10.0.0.9"]),
            ("@fd00::1 +tcp gateway.home.lan AAAA +short", &["fd00::1"]),
            ("@10.0.0.1 db.home.lan", &["status: NXDOMAIN"]),
            (
                "@10.0.0.1 none.home.lan",
                &["status: NXDOMAIN", "flags: qr aa rd ra;", "SOA\tgateway.home.lan."],
            ),
            ("@10.0.0.1 www.example.net +short", &["192.0.2.80"]),
            ("@10.0.0.1 alias.example.org", &["CNAME\treal.example.org.", "192.0.2.81", "flags: qr rd ra;"]),
            ("@10.0.0.1 none.example.org", &["status: NXDOMAIN"]),
            ("@10.0.0.1 web1.home.lan ANY +notcp", &["HINFO\t\"RFC8482\" \"\""]),
            ("@10.0.0.1 version.bind TXT CH", &["status: REFUSED"]),
            ("@10.0.0.1 home.lan AXFR", &["Transfer failed."]),
            ("@10.0.0.1 +edns=1 +noednsnegotiation www.example.net", &["status: BADVERS"]),
            ("@10.0.0.1 +opcode=notify www.example.net", &["status: NOTIMP"]),
            // Ten texts of 200 bytes: too long for any datagram, for its asker or for everybody.
            ("@10.0.0.1 +ignore long.example.org TXT", &["flags: qr tc rd ra;", "ANSWER: 0"]),
            ("@10.0.0.1 +ignore +noedns long.example.org TXT", &["flags: qr tc rd ra;", "ANSWER: 0"]),
            (
                "@10.0.0.1 long.example.org TXT",
                &["Truncated, retrying in TCP mode.", "ANSWER: 1", "xxxxxxxxxx"],
            ),
            ("@fd00::1 +tcp long.example.org TXT", &["ANSWER: 1", "xxxxxxxxxx"]),
            ("@10.0.0.1 +tcp +keepopen www.example.net web1.home.lan +short", &["192.0.2.80\n10.0.0.10"]),
        ],
    );
    assert!(
        lab.count(Event::DnsCached) > 0
            && lab.count(Event::DnsTruncated) > 1
            && lab.count(Event::TcpOpened) > 4
    );
    assert_eq!(lab.guests[0].checksum_errors(), 0, "Linux found wrong checksums");
    lab.ask_at("127.0.0.1:5300", None);
    assert_forgers_are_not_believed(&lab, ["127.0.0.1", "127.0.0.3"]);
}

#[test]
fn an_uplinks_own_address_asks_for_what_is_out_there_by_udp_and_tcp() {
    let lab = Lab::uplinked();
    check(
        &lab,
        &[
            ("@10.0.0.1 www.example.net +short", &["192.0.2.80"]),
            ("@10.0.0.1 none.example.org", &["status: NXDOMAIN"]),
            // The name server's own answer is truncated: the stack asks again by TCP, and Linux answers.
            ("@10.0.0.1 long.example.org TXT", &["ANSWER: 1", "xxxxxxxxxx"]),
            ("@10.0.0.1 web1.home.lan +short", &["10.0.0.10"]),
        ],
    );
    assert_eq!(lab.count(Event::DnsFailed), 0);
    assert_eq!(lab.outside.checksum_errors(), 0, "Linux found wrong checksums");
    // What nobody asked for is nobody's.
    let handle = lab.services.handle();
    let packet = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(53, 65_100);
    let mut bytes = Vec::new();
    packet.write(&mut bytes, &[]).unwrap();
    assert_eq!(handle.packet(port(7), uplink(), bytes), Taking::NotServed);
    let own = Uplink { network: uplink(), addresses: vec!["192.0.2.2".parse().unwrap()], mtu: 1400 };
    lab.ask_at("192.0.2.1:5300", Some(own));
    lab.outside.ip("address add 192.0.2.3/32 dev lo");
    assert_forgers_are_not_believed(&lab, ["192.0.2.1", "192.0.2.3"]);
}

/// The address that right answers tell, and the one of forged ones.
const RIGHT: [u8; 4] = [192, 0, 2, 99];
const FORGED: [u8; 4] = [203, 0, 113, 66];

/// A name server's right answer comes behind forged ones: with another number, about another name, from another port of the
/// server's, from another machine. The guest gets the right one.
fn assert_forgers_are_not_believed(lab: &Lab, [server, stranger]: [&str; 2]) {
    let sockets = within(&lab.outside, || {
        [(server, 5300), (server, 5301), (stranger, 5300)].map(|end| UdpSocket::bind(end).unwrap())
    });
    sockets[0].set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 1500];
            while !is_over.load(Ordering::Relaxed) {
                let Ok((length, asker)) = sockets[0].recv_from(&mut buffer) else { continue };
                asked.fetch_add(1, Ordering::Relaxed);
                for (socket, answer) in forged_and_right(&buffer[..length]) {
                    sockets[socket].send_to(&answer, asker).unwrap();
                }
            }
        });
        let told: Vec<String> =
            (0..5).map(|number| lab.dig(0, &format!("@10.0.0.1 host{number}.example.com +short"))).collect();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(told, vec!["192.0.2.99\n"; 5]);
    });
    assert_eq!(asked.into_inner(), 5, "each question was answered at once");
}

/// What is answered to a question, each by the number of the socket that sends it.
fn forged_and_right(question: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let answer = |address: [u8; 4]| {
        let counts = [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4];
        [&question[..2], &counts, &question[12..end], &record, &address].concat()
    };
    let (mut number, mut name) = (answer(FORGED), answer(FORGED));
    number[1] ^= 1;
    // Behind the length of the first label, which begins with "host".
    name[14] ^= 1;
    let (elsewhere, right) = (answer(FORGED), answer(RIGHT));
    vec![(0, number), (0, name), (1, elsewhere.clone()), (2, elsewhere), (0, right)]
}

#[test]
fn a_thousand_questions_at_once_are_answered_while_another_guest_floods() {
    let lab = Lab::new();
    let handle = lab.services.handle();
    let flood = std::thread::scope(|scope| {
        let flooder = scope.spawn(|| {
            let mut sent = 0_u32;
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                // A question of its own for each datagram, all for the name server outside.
                let name = format!("n{sent}.example.net");
                let packet = PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 0, 1], 64).udp(4000, 53);
                let mut bytes = Vec::new();
                packet.write(&mut bytes, &question(1, &name)).unwrap();
                handle.packet(port(1), network(), bytes);
                sent += 1;
            }
            sent
        });
        let answered = within(&lab.guests[0], || ask_thousand("10.0.0.1:53".parse().unwrap()));
        assert_eq!(answered, 1000);
        flooder.join().unwrap()
    });
    assert!(flood > 1000, "the flood was one: {flood}");
    assert!(lab.count(Event::DnsNoPlace) + lab.count(Event::InboxFull) > 0, "the flooder lost something");
}

/// How many of a thousand questions, sent at once and again every second, get their answers.
fn ask_thousand(server: SocketAddr) -> usize {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut open: Vec<u16> = (0..1000).collect();
    let (end, mut buffer) = (Instant::now() + LIMIT, [0; 1500]);
    while !open.is_empty() && Instant::now() < end {
        for id in &open {
            socket.send_to(&question(*id, &format!("q{id}.example.net")), server).unwrap();
        }
        while let Ok(length) = socket.recv(&mut buffer) {
            let (id, count) = (u16::from_be_bytes([buffer[0], buffer[1]]), buffer[7]);
            assert!(length > 12 && buffer[3] & 15 == 0 && count == 1, "{:?}", &buffer[..12]);
            open.retain(|other| *other != id);
        }
    }
    1000 - open.len()
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}
