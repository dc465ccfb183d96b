//! Super-frames inside of tunnels, over an underlay that takes what is left to be done: they cross it as trains of datagrams, of which
//! the other end, ours or the kernel's, makes super-frames again.

use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::{Namespace, cable};

use super::exchange::{exchange, reach, serve};
use super::hostile::dropped;
use super::kernel::device;
use super::underlay::{LIMIT, Underlay, dual_station, quiet_station, start, uplink};

/// Bytes of each stream.
const STREAM: u32 = 4 << 20;

/// Bytes that frames of a stream have on average where they were not cut: far more than any packet.
const WHOLE_MIN: u64 = 5000;

/// Two machines on one cable, whose ends leave as much to each other as they can.
fn machines(names: [&'static str; 2]) -> [Namespace; 2] {
    let machines = names.map(Namespace::new);
    cable((&machines[0], "under0"), (&machines[1], "under0"));
    machines
}

/// Bytes and frames that came in by an interface.
fn received(place: &Namespace, interface: &str) -> [u64; 2] {
    ["rx_bytes", "rx_packets"].map(|name| {
        let told = place.run(&format!("cat /sys/class/net/{interface}/statistics/{name}"));
        told.trim().parse().unwrap()
    })
}

/// Bytes per frame that came in by an interface during `work`.
fn frame_size(place: &Namespace, interface: &str, work: impl FnOnce()) -> u64 {
    let before = received(place, interface);
    work();
    let after = received(place, interface);
    (after[0] - before[0]) / (after[1] - before[1]).max(1)
}

/// A switch with a network for each kind and version, on a machine with this number; the other one is its only peer.
fn config(number: u8) -> String {
    let other = 3 - number;
    format!(
        "{}[network.four]\noverlay = {{ kind = \"vxlan\", vni = 102, uplink = \"isp\", peers = [\"192.168.99.{other}\"] }}\n\
         [network.six]\noverlay = {{ kind = \"geneve\", vni = 104, uplink = \"isp\", peers = [\"fd99::{other}\"] }}\n\
         [network.full]\noverlay = {{ kind = \"vxlan\", vni = 105, uplink = \"isp\", peers = [\"192.168.99.{other}\"], udp_checksum = true }}\n\
         [port.four]\nnetwork = \"four\"\n[port.six]\nnetwork = \"six\"\n[port.full]\nnetwork = \"full\"\n",
        uplink(number)
    )
}

#[test]
fn super_frames_cross_a_tunnel_in_one_piece_between_two_switches() {
    let underlay = Underlay::new();
    let machines = machines(["one", "two"]);
    let names = ["four", "six", "full"];
    let sides = [1, 2].map(|number| {
        let machine = &machines[usize::from(number) - 1];
        let stations = names.map(|name| dual_station(machine, name, number));
        stations.iter().for_each(|station| _ = station.namespace.ip("link set eth0 mtu 1430"));
        let daemon = start(machine, &config(number), &stations.each_ref());
        (daemon, stations)
    });
    for (one, two) in sides[0].1.iter().zip(&sides[1].1) {
        let name = one.name;
        reach(&one.namespace, "10.101.0.2");
        let _server = serve(&underlay, &two.namespace);
        for address in ["10.101.0.2", "fd10::2"] {
            let mut at_machine = 0;
            let at_station = frame_size(&two.namespace, "eth0", || {
                let send = || exchange(&one.namespace, address, STREAM);
                at_machine = frame_size(&machines[1], "under0", send);
            });
            assert!(at_machine > WHOLE_MIN, "{name}: {at_machine} bytes a frame on the cable to {address}");
            assert!(at_station > WHOLE_MIN, "{name}: {at_station} bytes a frame at the station {address}");
        }
        assert_eq!(one.namespace.checksum_errors() + two.namespace.checksum_errors(), 0, "{name}");
    }
    // A machine that only forwards, or whose adapter cannot: the kernel cuts what it takes in one piece.
    machines[0].run("ethtool -K under0 tx-udp-segmentation off tx off >/dev/null");
    let [one, two] = [0, 1].map(|side| &sides[side].1[0].namespace);
    let _server = serve(&underlay, two);
    let cut = frame_size(&machines[1], "under0", || exchange(one, "10.101.0.2", STREAM));
    assert!(cut <= 1514, "{cut} bytes a frame");
    assert_eq!(one.checksum_errors() + two.checksum_errors(), 0, "where the kernel cuts");
}

/// The kernel's devices, each with the name of our network.
const DEVICES: [(&str, &str); 2] = [
    ("four", "id 102 local 192.168.99.2 remote 192.168.99.1"),
    ("full", "id 105 local 192.168.99.2 remote 192.168.99.1 udpcsum"),
];

#[test]
fn super_frames_cross_a_tunnel_to_the_kernels_device_and_back() {
    let underlay = Underlay::new();
    let [host, peer] = machines(["one", "linux"]);
    peer.ip("address add 192.168.99.2/24 dev under0");
    let stations = ["four", "six", "full"].map(|name| dual_station(&host, name, 1));
    stations.iter().for_each(|station| _ = station.namespace.ip("link set eth0 mtu 1430"));
    let daemon = start(&host, &config(1), &stations.each_ref());
    for ((name, words), station) in DEVICES.into_iter().zip([&stations[0], &stations[2]]) {
        let place = device(&peer, (name, words));
        reach(&station.namespace, "10.101.0.2");
        let _servers = [serve(&underlay, &place), serve(&underlay, &station.namespace)];
        let there = frame_size(&peer, "under0", || exchange(&station.namespace, "10.101.0.2", STREAM));
        assert!(there > WHOLE_MIN, "{name}: {there} bytes a frame to the kernel");
        exchange(&station.namespace, "fd10::2", STREAM);
        let back = frame_size(&station.namespace, "eth0", || exchange(&place, "10.101.0.1", STREAM));
        assert!(back > WHOLE_MIN, "{name}: {back} bytes a frame from the kernel");
        assert_eq!(place.checksum_errors() + station.namespace.checksum_errors(), 0, "{name}");
    }
    assert_eq!(peer.checksum_errors(), 0, "of outer packets");
    drop(daemon);
}

/// Sends one super-frame of UDP behind a virtio-net header of its own making (packet(7): `PACKET_VNET_HDR`): so many datagrams for a
/// station, of which each `wrong`th has a number that nobody knows; what the other arguments name is changed.
const SENDER: &str = r"
import socket, struct, sys
local, count, wrong, size, length = sys.argv[1], *map(int, sys.argv[2:6])
def ones(data):
    total = sum(struct.unpack('>%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total
def ip(source, destination, behind):
    header = struct.pack('>BBHHBBBBH', 0x45, 0, 20 + behind, 0, 0x40, 0, 64, 17, 0) + source + destination
    return header[:10] + struct.pack('>H', 0xffff ^ ones(header)) + header[12:]
body = b'inside'
inner = bytes.fromhex('ffffffffffff525400000166') + b'\x08\x00' + ip(bytes([10, 101, 0, 66]), bytes([10, 101, 0, 255]), 8 + len(body))
inner += struct.pack('>HHHH', 9, 9, 8 + len(body), 0) + body
known = lambda number: 999 if wrong and number % wrong == 0 else 101
payload = b''.join(struct.pack('>B3xI', 8, known(number) << 8) + inner for number in range(count))
udp = 8 + len(payload)
source, destination = bytes([192, 168, 99, 66]), bytes([192, 168, 99, 1])
pseudo = ones(source + destination + struct.pack('>HH', 17, udp))
outer = bytes.fromhex(local.replace(':', '')) + bytes.fromhex('020000000066') + b'\x08\x00' + ip(source, destination, udp)
frame = outer + struct.pack('>HHHH', 50000, 4789, udp + length, pseudo) + payload
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.setsockopt(263, 15, 1)
raw.bind(('under0', 0))
try:
    raw.send(struct.pack('<BBHHHH', 1, 5, 42, size or 8 + len(inner), 34, 6) + frame)
except OSError as error:
    print(error.errno)
";

/// Frames of others that a station may hear meanwhile are fewer.
const FEW: u64 = 10;

#[test]
fn a_train_from_anybody_is_no_more_than_its_datagrams() {
    let _underlay = Underlay::new();
    let [host, attacker] = machines(["one", "attacker"]);
    let network = "[network.open]\noverlay = { kind = \"vxlan\", vni = 101, uplink = \"isp\", peers = [\"192.168.99.2\"] }\n\
                   [port.s1]\nnetwork = \"open\"\n";
    let station = quiet_station(&host, "s1", 1);
    let daemon = start(&host, &(uplink(1) + network), &[&station]);
    let local = host.run("cat /sys/class/net/under0/address").trim().to_owned();
    let heard = || received(&station.namespace, "eth0")[1];
    // What the arguments say; how many frames come out, and what is counted under which reason.
    let cases = [
        ("100 0 0 0", 100, None),
        ("128 0 0 0", 128, None),
        ("100 4 0 0", 75, Some(("tunnel-unknown-id", 25))),
        // Cut in the middle of headers: none of the pieces is a datagram of the tunnel but the first one, if at all.
        ("4 0 20 0", 0, Some(("tunnel-truncated", 1))),
        ("100 0 0 -1", 0, Some(("bad-offload", 1))),
    ];
    for (words, frames, counted) in cases {
        let (before, reason) = (heard(), counted.map_or("tunnel-unknown-id", |(reason, _)| reason));
        let dropped_before = dropped(&daemon, reason);
        let mut sender = attacker.command("python3");
        sender.args(["-c", SENDER, &local]).args(words.split(' '));
        let output = sender.output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        // Linux itself refuses more than it would cut itself.
        assert!(output.stdout.is_empty(), "{words}: errno {}", String::from_utf8_lossy(&output.stdout));
        wait_until(&format!("{frames} frames of {words}"), LIMIT, || heard() >= before + frames);
        let wanted = counted.map_or(0, |(_, count)| count);
        wait_until(&format!("{wanted} to be counted as {reason} of {words}"), LIMIT, || {
            dropped(&daemon, reason) >= dropped_before + wanted
        });
        let came = heard() - before;
        assert!((frames..frames + FEW).contains(&came), "{words}: {came} frames came");
    }
    attacker.ip("address add 192.168.99.66/24 dev under0");
    reach(&attacker, "192.168.99.1");
}
