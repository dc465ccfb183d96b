//! What ports are believed of DSCP and VLAN priority, and what is written: tshark reads it on the wire, Linux takes it, and trees find
//! classes by it. With the same stations: another QoS of one port at run time, and what `check` and `trace` tell.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::Process;
use viaduct_tests::tun::{self, Tun};

use super::{LIMIT, Stage, port};

/// `a` is not believed, `b` is for its DSCP, and what comes by the uplink is for its priority. What goes to `c` has a class by its
/// mark, behind filters that match nothing here.
const QOS: &str = r#"
[qos.guest]
trust = "none"
set = { dscp = "af41", pcp = 4 }
mark = 7
[qos.phones]
trust = "dscp"
map = { dscp = { ef = 6 } }
[qos.outside]
trust = "pcp"
map = { pcp = { 5 = "ef" } }
[qos.shared]
kind = "htb"
rate = "1gbit"
default = "rest"
filter = [
  { destination_port = 1, class = "rest" },
  { source = "192.0.2.1", class = "rest" },
  { protocol = "sctp", class = "rest" },
  { mark = 7, class = "known" },
  { dscp = "ef", class = "fast" },
]
[qos.shared.class.known]
rate = "300mbit"
[qos.shared.class.fast]
rate = "300mbit"
[qos.shared.class.rest]
rate = "300mbit"
"#;

fn config() -> String {
    let network = "[uplink.wan]\ninterface = \"eth1\"\nqos = \"outside\"\n\
                   [network.lab]\nmode = \"bridged\"\nuplink = \"wan\"\nvlan = 10\n";
    let qos = |name: &str| format!("qos = \"{name}\"\n");
    let ports = [port("a", &qos("guest")), port("b", &qos("phones")), port("c", &qos("shared"))].concat();
    format!("{QOS}{network}{ports}")
}

/// A packet as tshark reads it: its source, VLAN priority, DSCP and ECN; wrong checksums of IPv4 are told as such.
type Seen = (String, String, String, String);

/// What tshark reads of the packets at an interface that `filter` means, while `work` runs.
fn seen(at: &Namespace, interface: &str, filter: &str, work: impl FnOnce()) -> BTreeSet<Seen> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.pcap");
    let mut tcpdump = at.command("tcpdump");
    tcpdump.args(["-i", interface, "-U", "--immediate-mode", "-w"]).arg(&file);
    let capture = Process::spawn("tcpdump", &tcpdump, folder.path());
    wait_until("tcpdump to write its file's head", LIMIT, || {
        fs::metadata(&file).is_ok_and(|file| file.len() >= 24)
    });
    work();
    let read = || {
        let fields = "ip.src ipv6.src arp.src.proto_ipv4 vlan.priority ip.dsfield.dscp ipv6.tclass.dscp ip.dsfield.ecn \
                      ipv6.tclass.ecn ip.checksum.status";
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&file).args(["-o", "ip.check_checksum:TRUE", "-Y", filter, "-T", "fields"]);
        tshark.args(fields.split_whitespace().flat_map(|field| ["-e", field]));
        let output = tshark.output().unwrap();
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().map(packet).collect::<BTreeSet<_>>()
    };
    wait_until("tshark to see it", LIMIT, || !read().is_empty());
    drop(capture);
    read()
}

fn packet(line: &str) -> Seen {
    let fields: Vec<&str> = line.split('\t').collect();
    let any = |places: &[usize]| places.iter().map(|place| fields[*place]).collect::<String>();
    // 0: bad, 1: good, 2: not checked. https://www.wireshark.org/docs/dfref/i/ip.html
    assert_ne!(fields.get(8), Some(&"0"), "a wrong checksum: {line}");
    (any(&[0, 1, 2]), any(&[3]), any(&[4, 5]), any(&[6, 7]))
}

fn one(source: &str, priority: &str, dscp: &str, ecn: &str) -> BTreeSet<Seen> {
    let words = [source, priority, dscp, ecn].map(str::to_owned);
    let [source, priority, dscp, ecn] = words;
    [(source, priority, dscp, ecn)].into()
}

/// A station behind the uplink, which is 10.0.1.9 in VLAN 10 and says priority 5 of all: its frames get their tags between two TAP
/// devices, whatever the kernel knows of VLANs.
struct Tagged {
    station: Namespace,
    _ends: [Tun; 2],
}

impl Tagged {
    fn new(host: &Namespace) -> Self {
        let station = Namespace::new("wire");
        let uplink: Arc<OnceLock<Arc<File>>> = Arc::default();
        let to_uplink = Arc::clone(&uplink);
        let inner = Tun::tap(&station, "eth1", move |frame| {
            if let Some(file) = to_uplink.get() {
                tun::write(file, &[&frame[..12], &[0x81, 0, 5 << 5, 10], &frame[12..]].concat());
            }
        });
        let to_station = inner.file();
        let outer = Tun::tap(host, "eth1", move |frame| {
            if let [0x81, 0, high, 10] = frame[12..16]
                && high & 0xf == 0
            {
                tun::write(&to_station, &[&frame[..12], &frame[16..]].concat());
            }
        });
        uplink.set(outer.file()).unwrap();
        station.ip("address add 10.0.1.9/24 dev eth1");
        station.ip("address add fd00::9/64 dev eth1 nodad");
        Self { station, _ends: [inner, outer] }
    }
}

/// The stage, and the station behind its uplink.
fn stage() -> (Stage, Tagged) {
    let stage = Stage::new(&config(), &[]);
    let wire = Tagged::new(&stage.host);
    stage.stations[0].ip("address add fd00::1/64 dev eth0 nodad");
    stage.daemon.wait_for_state("wan", "attached");
    let reaches = || stage.stations[0].succeeds("busybox ping -q -c 1 -W 1 10.0.1.9");
    wait_until("the uplink to carry", LIMIT, reaches);
    (stage, wire)
}

/// Frames that each class before `c` has sent.
fn classes(stage: &Stage) -> Vec<(String, u64)> {
    let shown = stage.daemon.command(&["show", "qos", "c", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let classes = shown["trees"][0]["classes"].as_array().unwrap().iter().skip(1);
    let sent =
        |class: &Value| (class["name"].as_str().unwrap().to_owned(), class["sent_frames"].as_u64().unwrap());
    classes.map(sent).collect()
}

/// The classes before `c` that sent more after `work`.
pub(super) fn used(stage: &Stage, work: impl FnOnce()) -> Vec<String> {
    let before = classes(stage);
    work();
    let after = classes(stage);
    let more = after.into_iter().zip(before).filter(|((_, after), (_, before))| *after >= before + 5);
    more.map(|((name, _), _)| name).collect()
}

/// Sends a datagram of so many bytes to UDP port 9.
pub(super) fn send(station: &Namespace, bytes: u16, to: &str, marked: &str) {
    let protocol = if to.starts_with('[') { "UDP6" } else { "UDP4" };
    station.run(&format!("head -c {bytes} /dev/zero | socat -u - {protocol}-SENDTO:{to}:9,{marked}"));
}

/// What finds these datagrams, and not the answers that nobody listens.
fn from(source: &str) -> String {
    format!("udp.dstport == 9 && {source} && !icmp && !icmpv6")
}

fn told(stage: &Stage, words: &[&str]) -> String {
    let output = stage.daemon.command(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn marks_are_believed_written_and_found_by_trees() {
    let (stage, tagged) = stage();
    let (wire, outside) = (&tagged.station, &stage.host);
    let [a, b, c] = &stage.stations;
    // TOS 0xb9 is DSCP 46 (ef) with ECT(1), which stays.
    let whole = seen(outside, "eth1", &from("ip.src == 10.0.1.1"), || send(a, 100, "10.0.1.9", "tos=0xb9"));
    assert_eq!(whole, one("10.0.1.1", "4", "34", "1"), "nothing of a is believed");
    let fragments = "ip.src == 10.0.1.1 && (ip.flags.mf == 1 || ip.frag_offset > 0)";
    assert_eq!(
        seen(outside, "eth1", fragments, || send(a, 4000, "10.0.1.9", "tos=0xb9")),
        one("10.0.1.1", "4", "34", "1")
    );
    let ipv6 = seen(outside, "eth1", &from("ipv6.src == fd00::1"), || {
        send(a, 100, "[fd00::9]", "ipv6-tclass=0xb9");
    });
    assert_eq!(ipv6, one("fd00::1", "4", "34", "1"));
    let arp = seen(outside, "eth1", "arp.opcode == 1 && arp.src.proto_ipv4 == 10.0.1.1", || {
        a.run("ip neigh flush all; busybox ping -q -c 1 -W 2 10.0.1.9");
    });
    assert_eq!(arp, one("10.0.1.1", "4", "", ""), "what is no IP has a priority all the same");
    let believed =
        seen(outside, "eth1", &from("ip.src == 10.0.1.2"), || send(b, 100, "10.0.1.9", "tos=0xb9"));
    assert_eq!(believed, one("10.0.1.2", "6", "46", "1"), "the priority follows b's DSCP by its map");
    let followed = seen(c, "eth0", &from("ip.src == 10.0.1.9"), || send(wire, 100, "10.0.1.3", "tos=0x21"));
    assert_eq!(followed, one("10.0.1.9", "", "46", "1"), "the DSCP follows the tag's priority by its map");
    super_frames(&stage, wire);
    let by = |station: &Namespace, tos: &str| {
        used(&stage, || (0..8).for_each(|_| send(station, 100, "10.0.1.3", tos)))
    };
    assert_eq!(by(a, "tos=0xb8"), ["known"], "whatever it says");
    assert_eq!((by(b, "tos=0xb8"), by(b, "tos=0")), (vec!["fast".to_owned()], vec!["rest".to_owned()]));
    tools(&stage);
    run_time(&stage);
    assert_eq!(wire.checksum_errors() + c.checksum_errors(), 0);
}

/// A stream of TCP, whose super-frames have one mark for all segments.
fn super_frames(stage: &Stage, wire: &Namespace) {
    let mut server = wire.command("iperf3");
    server.args(["--server", "--one-off", "--port", "5201"]);
    let _server = Process::spawn("iperf3-wire", &server, stage.folder.path());
    wait_until("iperf3 to listen", LIMIT, || wire.succeeds("ss -Hltn sport = :5201 | grep -q ."));
    let data = "tcp.dstport == 5201 && tcp.len > 0";
    let stream = seen(&stage.host, "eth1", data, || {
        drop(stage.stations[0].run("iperf3 -c 10.0.1.9 -n 300K -S 0xb8"));
    });
    let dscps: BTreeSet<_> =
        stream.iter().map(|(_, priority, dscp, _)| (priority.as_str(), dscp.as_str())).collect();
    assert_eq!(dscps, [("4", "34")].into());
}

/// What `check` and `trace` tell of it.
fn tools(stage: &Stage) {
    let traced = told(stage, &["trace", "a", "udp 10.0.1.1:5 > 10.0.1.3:9 to 02:00:00:00:00:03"]);
    for words in [
        "marking",
        "trusted none",
        "goes on with DSCP af41",
        "goes on with priority 4",
        "goes on with mark 7",
    ] {
        assert!(traced.contains(words), "{words}: {traced}");
    }
    let place = "before c by class known of qos shared, by filter[3], where ";
    assert!(traced.contains(place), "an unknown station, so a copy goes to c as well: {traced}");
    let file = stage.folder.path().join("checked.toml");
    fs::write(&file, config().replace("filter = [", "filter = [ { mark = 8, class = \"rest\" },")).unwrap();
    let checked = told(stage, &["check", file.to_str().unwrap()]);
    for words in [
        "qos guest of a\n  marks    trust none, set dscp af41 pcp 4, mark 7\n",
        "nothing sets mark 8",
        "egress   htb 1gbit",
    ] {
        assert!(checked.contains(words), "{words}: {checked}");
    }
}

/// Another QoS, none, and the first one again, while `a` sends: nothing is lost, and what is written follows.
fn run_time(stage: &Stage) {
    let a = &stage.stations[0];
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| a.run("busybox ping -q -c 200 -i 0.01 -W 5 10.0.1.9"));
        for edit in [&["--qos", "phones"][..], &["--no-qos"], &["--qos", "shared"], &["--qos", "guest"]] {
            let words = [&["port", "set", "a"], edit].concat();
            let changed = told(stage, &words);
            assert!(changed.contains("port a: qos"), "{changed}");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        let pings = pings.join().unwrap();
        assert!(pings.contains("200 packets received"), "{pings}");
    });
    let filter = from("ip.src == 10.0.1.1");
    told(stage, &["port", "set", "a", "--no-qos"]);
    assert_eq!(
        seen(&stage.host, "eth1", &filter, || send(a, 100, "10.0.1.9", "tos=0xb8")),
        one("10.0.1.1", "0", "46", "0"),
        "as it came"
    );
    let refused = stage.daemon.command(&["port", "set", "a", "--qos", "gould"]);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("there is no QoS gould"), "{refused}");
}
