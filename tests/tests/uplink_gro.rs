//! Segments that come by an interface without super-frames become super-frames for receivers that take them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::features::{MODERN, RECEIVE_OFFLOADS};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::queue::Received;
use viaduct_tests::machine::{Guest, Machine};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;
use viaduct_tests::stream::{frame, mac};
use viaduct_tests::superframe::{Kind, SuperFrame, finished, verified};

const QUIET: Duration = Duration::from_millis(300);
/// A station out there.
const STATION: [u8; 6] = [2, 0, 0, 0xee, 0, 1];
const HOST: &str = "192.168.81.1";
const PAYLOAD: usize = 20_000;
/// What a packet over IPv6 has room for.
const SEGMENT: u16 = 1428;
const SEGMENTS: usize = PAYLOAD.div_ceil(SEGMENT as usize);
/// The slowest transfer that counts as working: a fraction of what an emulated guest can do.
const WORKING_BITS_PER_SECOND: f64 = 5e6;

fn config(driver: &str, more: &str) -> String {
    format!(
        "[uplink.wan]\ninterface = \"eth1\"\ndriver = \"{driver}\"\n{more}\n\
         [network.office]\nmode = \"bridged\"\nuplink = \"wan\"\n\
         [network.tagged]\nmode = \"bridged\"\nuplink = \"wan\"\nvlan = 20\n\
         [port.vm1]\nnetwork = \"office\"\n[port.vm2]\nnetwork = \"tagged\"\n"
    )
}

/// Two namespaces and a wire between them whose outer end leaves nothing to its interface, as if that were a NIC which
/// cuts super-frames and finishes checksums.
fn wire() -> [Namespace; 2] {
    let ends = ["inside", "outside"].map(Namespace::new);
    for end in &ends {
        end.run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    }
    cable((&ends[0], "eth1"), (&ends[1], "eth1"));
    ends[1].run("ethtool -K eth1 tx off tso off");
    ends
}

/// Has the kernel of `outside` cut and send super-frames, one after the other.
fn send(outside: &Namespace, frames: &[(NetHeader, Vec<u8>)]) {
    let program = "import socket, sys\n\
                   s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
                   s.setsockopt(263, 15, 1)\n\
                   s.bind(('eth1', 0))\n\
                   for line in sys.stdin:\n    s.send(bytes.fromhex(line))\n";
    let mut command = outside.command("python3");
    let mut sender = command.args(["-c", program]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = sender.stdin.take().unwrap();
    for (header, frame) in frames {
        let bytes = header.bytes();
        let line: String = bytes[..10].iter().chain(frame).map(|byte| format!("{byte:02x}")).collect();
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    assert!(sender.wait().unwrap().success(), "the kernel refused a super-frame");
}

fn super_frame(kind: Kind, to: u32) -> SuperFrame {
    let payload: Vec<u8> = (0..PAYLOAD).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
    SuperFrame::new(kind, mac(to), STATION, &payload, SEGMENT)
}

/// The frame with a tag of network `tagged`, and its header.
fn with_tag(whole: &SuperFrame) -> (NetHeader, Vec<u8>) {
    let (addresses, rest) = whole.bytes.split_at(12);
    let mut header = whole.header;
    (header.csum_start, header.hdr_len) = (header.csum_start + 4, header.hdr_len + 4);
    (header, [addresses, &[0x81, 0, 0, 20], rest].concat())
}

/// A switch on the wire's inner end, and a card on each of its ports, which take these offloads.
fn switch(inside: &Namespace, driver: &str, more: &str, offloads: u64) -> (Daemon, [Nic; 2]) {
    let daemon = Daemon::start_in(inside, &config(driver, more));
    daemon.wait_for_state("wan", "attached");
    let options = NicOptions { features: MODERN | offloads, queue_size: 1024, ..NicOptions::default() };
    let mut nics = [("vm1", 1), ("vm2", 2)].map(|(port, number)| {
        let mut nic = Nic::connect(&daemon.socket(port), &options);
        // Nothing for it is flooded.
        nic.send(&frame([0xff; 6], mac(number), 0, 60));
        nic
    });
    let _ = nics.each_mut().map(|nic| nic.collect(QUIET));
    (daemon, nics)
}

/// What the cards get of a super-frame of each kind.
fn carry(outside: &Namespace, nics: &mut [Nic; 2], kind: Kind) -> [Vec<Received>; 2] {
    send(
        outside,
        &[(super_frame(kind, 1).header, super_frame(kind, 1).bytes), with_tag(&super_frame(kind, 2))],
    );
    nics.each_mut().map(|nic| nic.collect_at_least(1, QUIET))
}

/// All segments came, each as the kernel cut it.
fn check_segments(received: &[Received], whole: &SuperFrame) {
    let payload: Vec<u8> = received.iter().flat_map(|one| verified(&one.bytes).payload).collect();
    assert_eq!(received.len(), SEGMENTS);
    assert!(received.iter().all(|one| (one.header.flags, one.header.gso_type) == (0, 0)));
    assert!(payload == whole.bytes[whole.headers_len..], "other bytes");
}

/// The kernel cuts a super-frame, the switch makes it whole again: byte for byte what it was, with the same claims.
#[test]
fn what_a_kernel_cut_arrives_as_it_was_before_by_af_xdp() {
    let [inside, outside] = wire();
    let (daemon, mut nics) = switch(&inside, "af-xdp", "", RECEIVE_OFFLOADS);
    for kind in [Kind::Tcp4, Kind::Tcp6, Kind::Tcp4Ecn] {
        let got = carry(&outside, &mut nics, kind);
        for (number, got) in (1..).zip(got) {
            let whole = super_frame(kind, number);
            let [one] = got.as_slice() else { panic!("{kind:?}: {} frames came", got.len()) };
            let other = one.bytes.iter().zip(&whole.bytes).position(|(came, sent)| came != sent);
            assert_eq!((one.bytes.len(), other), (whole.bytes.len(), None), "{kind:?}");
            assert_eq!(NetHeader { num_buffers: 0, ..one.header }, whole.header, "{kind:?}");
            let packet = verified(&finished(one.header, one.bytes.clone()));
            assert_eq!(packet.payload.len(), PAYLOAD);
        }
    }
    // Datagrams stay as they came, also for a card that would take them together.
    let [got, _] = carry(&outside, &mut nics, Kind::Udp4);
    check_segments(&got, &super_frame(Kind::Udp4, 1));
    assert_eq!(daemon.show().port("vm1").dropped_in_all(), 0);
}

/// A wire on which another kernel gives every packet of IPv4 the identification 0, as FreeBSD and macOS send them.
fn wire_without_identifications() -> [Namespace; 3] {
    let ends = ["inside", "between", "outside"].map(Namespace::new);
    for end in &ends {
        end.run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    }
    let [inside, between, outside] = &ends;
    cable((inside, "eth1"), (between, "near"));
    cable((between, "far"), (outside, "eth1"));
    outside.run("ethtool -K eth1 tx off tso off");
    // Each frame goes on as it came, but for its identification and the header's checksum.
    between.run(
        "nft 'add table netdev t; \
              add chain netdev t c { type filter hook ingress device far priority 0; }; \
              add rule netdev t c ip id set 0; add rule netdev t c fwd to near'",
    );
    ends
}

/// Of packets that nobody may fragment the identification means nothing (RFC 6864): they arrive together.
#[test]
fn packets_without_identifications_are_merged_where_nobody_may_fragment_them() {
    let [inside, _between, outside] = wire_without_identifications();
    let (_daemon, [mut nic, _]) = switch(&inside, "af-xdp", "", RECEIVE_OFFLOADS);
    for dont_fragment in [0x40, 0] {
        let mut whole = super_frame(Kind::Tcp4, 1);
        // Its checksum is the business of who cuts it.
        whole.bytes[20] = dont_fragment;
        send(&outside, &[(whole.header, whole.bytes.clone())]);
        let got = nic.collect_at_least(1, QUIET);
        assert!(got.iter().all(|one| one.bytes[18..20] == [0, 0]), "identifications are still there");
        if dont_fragment == 0 {
            check_segments(&got, &whole);
            continue;
        }
        let [one] = got.as_slice() else { panic!("{} frames came", got.len()) };
        assert!(one.bytes == whole.bytes, "other bytes");
        assert_eq!(NetHeader { num_buffers: 0, ..one.header }, whole.header);
        assert_eq!(verified(&finished(one.header, one.bytes.clone())).payload.len(), PAYLOAD);
    }
}

#[test]
fn who_takes_no_super_frames_gets_segments_as_they_came_and_so_does_everybody_without_gro() {
    let [inside, outside] = wire();
    for (more, offloads) in [("", 0), ("gro = false", RECEIVE_OFFLOADS)] {
        let (_daemon, mut nics) = switch(&inside, "af-xdp", more, offloads);
        for (number, got) in (1..).zip(carry(&outside, &mut nics, Kind::Tcp4)) {
            check_segments(&got, &super_frame(Kind::Tcp4, number));
        }
    }
}

/// A packet socket hears frames before anybody merged them where the interface's GRO is off, as a veth's is.
#[test]
fn segments_that_a_kernel_hands_over_by_packet_sockets_are_merged_too() {
    let [inside, outside] = wire();
    let (_daemon, mut nics) = switch(&inside, "af-packet", "", RECEIVE_OFFLOADS);
    let [untagged, tagged] = carry(&outside, &mut nics, Kind::Tcp4);
    // How many come in one burst is a matter of time here: each is shown at once.
    for (number, got) in [(1, untagged), (2, tagged)] {
        let whole = super_frame(Kind::Tcp4, number);
        let packets = got.iter().map(|one| verified(&finished(one.header, one.bytes.clone())).payload);
        assert!(packets.flatten().eq(whole.bytes[whole.headers_len..].iter().copied()), "other bytes");
    }
}

/// What one direction of iperf3 came to: bits a second, and bytes of a frame that the guest got.
fn from_host(guest: &mut Guest) -> (f64, u64) {
    let count = |guest: &mut Guest| -> [u64; 2] {
        ["bytes", "packets"].map(|what| {
            guest.run(&format!("cat /sys/class/net/eth0/statistics/rx_{what}")).trim().parse().unwrap()
        })
    };
    let [bytes, packets] = count(guest);
    let rate = guest.iperf(HOST, 2, "-R");
    let [bytes_after, packets_after] = count(guest);
    (rate, (bytes_after - bytes) / (packets_after - packets).max(1))
}

/// How much faster it is is a matter of the machine; that a guest gets super-frames is not.
#[test]
fn a_guest_gets_super_frames_from_a_host_by_af_xdp_and_the_table_compares_without() {
    let [inside, outside] = wire();
    outside.ip(&format!("address add {HOST}/24 dev eth1"));
    let folder = tempfile::tempdir().unwrap();
    let mut server = outside.command("iperf3");
    server.arg("--server");
    let _server = Process::spawn("iperf3", &server, folder.path());
    let daemon = Daemon::start_in(&inside, &config("af-xdp", ""));
    daemon.wait_for_state("wan", "attached");
    // The guest's end has to finish its checksums, since AF_XDP carries none that are not: the switch does.
    let mut guest = Machine::new("vm1", "192.168.81.2/24").on_port_of(&daemon).boot();
    guest.ping(HOST, 56);
    let with = from_host(&mut guest);
    daemon.apply(&config("af-xdp", "gro = false"));
    daemon.wait_for_state("wan", "attached");
    guest.ping(HOST, 56);
    let without = from_host(&mut guest);
    for (name, (rate, length)) in [("with GRO", with), ("without", without)] {
        eprintln!("{name:10}  {:6.0} Mbit/s, {length} bytes a frame", rate / 1e6);
        assert!(rate > WORKING_BITS_PER_SECOND, "{name} it came to {rate} bit/s only");
    }
    eprintln!("ratio {:.2}", with.0 / without.0);
    assert!(with.1 > 3000, "the guest got {} bytes a frame", with.1);
    assert!(without.1 < 1515, "without GRO it got {} bytes a frame", without.1);
    assert_eq!(
        guest.checksum_errors() + outside.checksum_errors(),
        0,
        "packets with wrong checksums arrived"
    );
}
