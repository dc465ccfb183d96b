//! A guest's super-frames that leave by an interface which carries none: the switch cuts them and finishes their checksums,
//! and the kernel at the other end finds each right. A few seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{EVENT_IDX, MODERN, SEND_OFFLOADS};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;
use viaduct_tests::stream::mac;
use viaduct_tests::superframe::{Kind, Packet, SuperFrame, fragment, reassembled, verified};

const LIMIT: Duration = Duration::from_secs(20);
/// As long as a packet over IPv6 with the timestamp option can be, and what fits into one super-frame.
const SEGMENT: u16 = 1428;
const LENGTHS: [usize; 3] = [1429, 20_000, 65_400];
const KINDS: [Kind; 5] = [Kind::Tcp4, Kind::Tcp4Ecn, Kind::Tcp6, Kind::Udp4, Kind::Udp6];
/// Where the super-frames' packets go, at their port 5001.
const ADDRESSES: [&str; 2] = ["10.0.1.2/24", "fd00:1::2/64 nodad"];
const CONFIG: &str = r#"
[uplink.wan]
interface = "eth1"
driver = "af-xdp"
[network.office]
mode = "bridged"
uplink = "wan"
[network.tagged]
mode = "bridged"
uplink = "wan"
vlan = 20
[port.plain]
network = "office"
storm = { unknown_unicast = "unlimited" }
[port.tagging]
network = "tagged"
storm = { unknown_unicast = "unlimited" }
"#;

/// Tells of each frame that comes its VLAN and its bytes; and of each datagram what the kernel hands to its receiver.
const LISTENER: &str = "import select, socket, struct
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.setsockopt(263, 8, 1)
raw.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
raw.bind(('eth1', 0))
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
udp.bind(('::', 5001))
print('listening', flush=True)
while True:
    for ready in select.select([raw, udp], [], [])[0]:
        if ready is udp:
            print('datagram', udp.recv(70000).hex(), flush=True)
            continue
        data, extra, _, sender = raw.recvmsg(70000, 200)
        if sender[2] == 4 or data[6:10] != bytes([2, 0, 0, 0]): continue
        tags = [struct.unpack('IIIHHHH', value)[5] for level, kind, value in extra if (level, kind) == (263, 8)]
        print('frame', tags[0] & 4095, data.hex(), flush=True)
";

/// The switch behind one end of a wire, and the kernel that hears everything at the other end.
struct Wire {
    daemon: Daemon,
    outside: Namespace,
    listener: Process,
    told: usize,
    _folder: tempfile::TempDir,
    _inside: Namespace,
}

impl Wire {
    fn new() -> Self {
        let [inside, outside] = ["inside", "outside"].map(Namespace::new);
        cable((&inside, "eth1"), (&outside, "eth1"));
        for address in ADDRESSES {
            outside.ip(&format!("address add {address} dev eth1"));
        }
        let folder = tempfile::tempdir().unwrap();
        let mut listener = outside.command("python3");
        listener.args(["-c", LISTENER]);
        let listener = Process::spawn("listener", &listener, folder.path());
        wait_until("the listener", LIMIT, || listener.output().contains("listening"));
        let daemon = Daemon::start_in(&inside, CONFIG);
        daemon.wait_for_state("wan", "attached");
        Self { daemon, outside, listener, told: 1, _folder: folder, _inside: inside }
    }

    fn address(&self) -> [u8; 6] {
        let text = self.outside.run("cat /sys/class/net/eth1/address");
        let bytes: Vec<u8> =
            text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }

    /// The next `count` frames with this VLAN, and the datagrams that were told of with them, if there are to be some.
    fn frames(&mut self, count: usize, vlan: &str, datagrams: usize) -> [Vec<Vec<u8>>; 2] {
        let news = |wire: &Self| -> Vec<String> {
            wire.listener.output().lines().skip(wire.told).map(str::to_owned).collect()
        };
        let count_of =
            |lines: &[String], what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
        wait_until(&format!("{count} frames and {datagrams} datagrams"), LIMIT, || {
            let lines = news(self);
            count_of(&lines, "frame") >= count && count_of(&lines, "datagram") >= datagrams
        });
        let lines = news(self);
        self.told += lines.len();
        let (frames, others): (Vec<&String>, Vec<_>) =
            lines.iter().partition(|line| line.starts_with("frame"));
        let mut words = frames.iter().map(|line| line.split(' '));
        assert!(words.all(|mut words| words.nth(1) == Some(vlan)), "not all are in VLAN {vlan}");
        [frames, others].map(|lines| lines.into_iter().map(|line| bytes(line)).collect())
    }

    /// Packets whose transport checksum this kernel found wrong, and all segments of TCP that came.
    fn counted(&self) -> (u64, u64) {
        let tables = self.outside.run("grep Tcp: /proc/net/snmp");
        let tcp: Vec<Vec<&str>> = tables.lines().map(|line| line.split_whitespace().collect()).collect();
        let place = tcp[0].iter().position(|name| *name == "InSegs").unwrap();
        (self.outside.checksum_errors(), tcp[1][place].parse().unwrap())
    }
}

/// What stands at the end of a line.
fn bytes(line: &str) -> Vec<u8> {
    let digits = line.rsplit(' ').next().unwrap();
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 11 % 253).unwrap()).collect()
}

fn card(wire: &Wire, port: &str) -> Nic {
    let features = MODERN | EVENT_IDX | SEND_OFFLOADS;
    let options = NicOptions { features, send_bytes: 66_000, send_buffers: 16, ..NicOptions::default() };
    Nic::connect(&wire.daemon.socket(port), &options)
}

fn together(packets: &[Packet]) -> Vec<u8> {
    packets.iter().flat_map(|packet| packet.payload.clone()).collect()
}

#[test]
fn super_frames_leave_by_af_xdp_as_segments_that_the_receiving_kernel_finds_right() {
    let mut wire = Wire::new();
    let to = wire.address();
    let mut segments_of_tcp = 0;
    for (port, vlan, number) in [("plain", "0", 1), ("tagging", "20", 2)] {
        let mut nic = card(&wire, port);
        for (kind, length) in KINDS.into_iter().flat_map(|kind| LENGTHS.map(|length| (kind, length))) {
            let sent = SuperFrame::new(kind, to, mac(number), &payload(length), SEGMENT);
            nic.send_with(sent.header, &sent.bytes);
            let count = length.div_ceil(usize::from(SEGMENT));
            let is_udp = matches!(kind, Kind::Udp4 | Kind::Udp6);
            // The kernel has no interface in the VLAN, and so hands on nothing of it.
            let is_for_it = vlan == "0";
            let datagrams = if is_udp && is_for_it { count } else { 0 };
            let [frames, handed_over] = wire.frames(count, vlan, datagrams);
            let packets: Vec<Packet> = frames.iter().map(|frame| verified(frame)).collect();
            assert_eq!(packets.len(), count, "{kind:?} of {length} bytes by {port}");
            assert!(
                together(&packets) == payload(length),
                "{kind:?} of {length} bytes by {port}: other bytes"
            );
            assert!(datagrams == 0 || handed_over.concat() == payload(length), "{kind:?} of {length} bytes");
            segments_of_tcp += if is_udp || !is_for_it { 0 } else { count as u64 };
        }
    }
    let (wrong, taken) = wire.counted();
    assert_eq!(wrong, 0, "packets with wrong checksums");
    assert!(taken >= segments_of_tcp, "the kernel took {taken} segments of {segments_of_tcp}");
    let drops = ["plain", "tagging"].map(|port| wire.daemon.show().port(port).dropped_in_all());
    assert_eq!(drops, [0; 2]);
}

#[test]
fn unfinished_checksums_and_datagrams_to_be_fragmented_leave_finished_by_af_xdp() {
    let mut wire = Wire::new();
    let to = wire.address();
    let mut nic = card(&wire, "plain");
    for (kind, length) in KINDS.into_iter().flat_map(|kind| [0, 1, 333, 1420].map(|length| (kind, length))) {
        let sent = SuperFrame::with_partial_checksum(kind, to, mac(1), &payload(length));
        nic.send_with(sent.header, &sent.bytes);
        let is_udp = matches!(kind, Kind::Udp4 | Kind::Udp6);
        let [frames, handed_over] = wire.frames(1, "0", usize::from(is_udp));
        assert!(verified(&frames[0]).payload == payload(length), "{kind:?} of {length} bytes");
        assert!(!is_udp || handed_over == [payload(length)]);
    }
    // The kernel puts the datagram together and looks at the checksum over all of it.
    let sent = SuperFrame::new(Kind::UdpFragment4, to, mac(1), &payload(30_000), 1480);
    nic.send_with(sent.header, &sent.bytes);
    let [frames, handed_over] = wire.frames(30_008_usize.div_ceil(1480), "0", 1);
    let datagram: Vec<u8> = frames.iter().flat_map(|frame| fragment(frame).3).collect();
    assert!(reassembled(&frames[0], &datagram).payload == payload(30_000));
    assert!(handed_over == [payload(30_000)]);
    assert_eq!(wire.counted().0, 0, "packets with wrong checksums");
}
