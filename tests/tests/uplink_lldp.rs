//! LLDP on uplinks: scapy and tshark, which know the protocol from its standard, and lldpd as the neighbour.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[uplink.wan]
interface = "eth1"
lldp = true
[uplink.quiet]
interface = "eth2"
[network.office]
mode = "bridged"
uplink = "wan"
[network.quiet]
mode = "bridged"
uplink = "quiet"
"#;

/// What scapy makes: a switch that tells all about itself, one that leaves, and frames that lie.
const NEIGHBOUR: &str = r"
import sys
from scapy.all import Ether, Raw, sendp
from scapy.contrib.lldp import *
def frame(ttl):
    return Ether(dst='01:80:c2:00:00:0e', src='02:00:00:00:00:77', type=0x88cc) / LLDPDUChassisID(
        subtype=4, id='02:00:00:00:00:70') / LLDPDUPortID(subtype=5, id='swp7') / LLDPDUTimeToLive(ttl=ttl) / LLDPDUPortDescription(
        description='to the machine') / LLDPDUSystemName(system_name='tor1') / LLDPDUSystemDescription(
        description='a switch\x1b[31m') / LLDPDUSystemCapabilities(
        mac_bridge_available=1, router_available=1, mac_bridge_enabled=1) / LLDPDUManagementAddress(
        management_address_subtype=1, management_address=bytes([192, 0, 2, 7]), interface_numbering_subtype=2,
        interface_number=1) / LLDPDUEndOfLLDPDU()
what = sys.argv[1]
if what == 'bad':
    good = bytes(frame(120))
    for length in range(14, len(good) - 2, 3):
        sendp(Raw(good[:length] + bytes([255])), iface='eth1', verbose=0)
else:
    sendp(frame(int(what)), iface=sys.argv[2], verbose=0)
";

fn neighbour(outside: &Namespace, arguments: &[&str]) {
    let output =
        outside.command("/usr/bin/python3").args(["-c", NEIGHBOUR]).args(arguments).output().unwrap();
    assert!(output.status.success(), "scapy: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn neighbours_are_told_and_heard_where_that_is_wanted_and_nowhere_else() {
    let [inside, outside] = ["inside", "outside"].map(Namespace::new);
    for number in 1..=2 {
        cable((&inside, &format!("eth{number}")), (&outside, &format!("eth{number}")));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.pcap").display().to_string();
    let mut dump = outside.command("tcpdump");
    dump.args(["-i", "any", "-U", "-w", &file, "ether", "proto", "0x88cc"]);
    let dump = Process::spawn("tcpdump", &dump, folder.path());
    wait_until("tcpdump to listen", LIMIT, || dump.tail().contains("listening on"));
    let daemon = Daemon::start_in(&inside, CONFIG);
    daemon.wait_for_state("wan", "attached");
    let decoded = || {
        let mut tshark = std::process::Command::new("tshark");
        tshark.args([
            "-r",
            &file,
            "-T",
            "fields",
            "-E",
            "separator=;",
            "-e",
            "sll.ifindex",
            "-e",
            "lldp.chassis.id.mac",
        ]);
        let fields = ["lldp.port.id", "lldp.time_to_live", "lldp.port.desc", "lldp.tlv.system.desc"];
        tshark.args(fields.iter().flat_map(|field| ["-e", field]));
        String::from_utf8(tshark.output().expect("tshark").stdout).unwrap()
    };
    let address = inside.run("cat /sys/class/net/eth1/address").trim().to_owned();
    let said = format!("{address};eth1;121;uplink wan;Viaduct ");
    wait_until("our frame, as tshark reads it", LIMIT, || decoded().contains(&said));

    neighbour(&outside, &["120", "eth1"]);
    neighbour(&outside, &["120", "eth2"]);
    let heard = || daemon.show_json()["neighbours"].as_array().unwrap().clone();
    wait_until("the neighbour to be known", LIMIT, || heard().len() == 1);
    let entry = &heard()[0];
    for (field, value) in [
        ("uplink", "wan"),
        ("interface", "eth1"),
        ("chassis", "02:00:00:00:00:70"),
        ("port", "swp7"),
        ("port_description", "to the machine"),
        ("system_name", "tor1"),
        ("system_description", "a switch\u{fffd}[31m"),
        ("management", "192.0.2.7"),
    ] {
        assert_eq!(entry[field], value, "{entry}");
    }
    assert_eq!(entry["enabled"], serde_json::json!(["bridge"]), "{entry}");
    let text = String::from_utf8(daemon.command(&["show", "neighbours"]).stdout).unwrap();
    assert!(text.contains("tor1") && text.contains("swp7") && text.contains("bridge"), "{text}");

    neighbour(&outside, &["bad"]);
    wait_until("what is wrong to be counted", LIMIT, || heard()[0]["malformed"].as_u64() > Some(5));
    assert_eq!(daemon.show().port("quiet").dropped("link-local"), 1, "nobody asked for it there");
    // Who leaves is forgotten at once, and so are we where it is not wanted any more.
    neighbour(&outside, &["0", "eth1"]);
    wait_until("the neighbour to be forgotten", LIMIT, || heard().is_empty());
    daemon.apply(&CONFIG.replace("lldp = true", ""));
    let goodbye = format!("{address};eth1;0;");
    wait_until("our goodbye, as tshark reads it", LIMIT, || decoded().contains(&goodbye));
    let quiet = inside.run("cat /sys/class/net/eth2/address").trim().to_owned();
    assert!(!decoded().contains(&quiet), "{}", decoded());
    drop(dump);
}

/// A neighbour that is no test's making: each knows what the other says of itself, and forgets it when it leaves.
#[test]
fn lldpd_and_the_switch_know_each_other_and_part() {
    let [inside, outside] = ["inside", "outside"].map(Namespace::new);
    cable((&inside, "eth1"), (&outside, "eth1"));
    let folder = tempfile::tempdir().unwrap();
    // Both lldpd and lldpcli are users of their own here.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("lldpd.socket").display().to_string();
    let mut lldpd = outside.command("lldpd");
    lldpd.args(["-d", "-u", &socket, "-I", "eth1", "-O", "/dev/null", "-S", "a neighbour of the test"]);
    let mut lldpd = Process::spawn("lldpd", &lldpd, folder.path());
    let daemon = Daemon::start_in(&inside, CONFIG);
    daemon.wait_for_state("wan", "attached");

    let told = || {
        let output =
            outside.command("lldpcli").args(["-u", &socket, "-f", "keyvalue", "show", "neighbors"]).output();
        String::from_utf8(output.expect("lldpcli").stdout).unwrap()
    };
    wait_until("lldpd to know the switch", LIMIT, || told().contains("lldp.eth1.chassis.mac="));
    let address = inside.run("cat /sys/class/net/eth1/address");
    for line in [
        &format!("lldp.eth1.chassis.mac={}", address.trim()),
        "lldp.eth1.port.ifname=eth1",
        "lldp.eth1.port.descr=uplink wan",
        "lldp.eth1.port.ttl=121",
        "lldp.eth1.chassis.Bridge.enabled=on",
    ] {
        assert!(told().lines().any(|told| told == line), "no {line} in\n{}", told());
    }
    let heard = || daemon.show_json()["neighbours"].as_array().unwrap().clone();
    wait_until("the switch to know lldpd", LIMIT, || heard().len() == 1);
    let (entry, there) = (&heard()[0], outside.run("cat /sys/class/net/eth1/address"));
    for (field, value) in [
        ("interface", "eth1"),
        ("chassis", there.trim()),
        ("port", there.trim()),
        ("port_description", "eth1"),
        ("system_description", "a neighbour of the test"),
    ] {
        assert_eq!(entry[field], value, "{entry}");
    }
    assert_eq!(entry["malformed"], 0, "{entry}");
    // Who is told to be quiet says goodbye, and so does who ends.
    daemon.apply(&CONFIG.replace("lldp = true", ""));
    wait_until("lldpd to forget the switch", LIMIT, || !told().contains("lldp.eth1.chassis"));
    daemon.apply(CONFIG);
    wait_until("lldpd to know the switch again", LIMIT, || told().contains("lldp.eth1.chassis.mac="));
    // Else it would wait for its half minute to be over.
    assert!(outside.succeeds(&format!("lldpcli -u {socket} update")));
    wait_until("the switch to know lldpd again", LIMIT, || heard().len() == 1);
    lldpd.signal(libc::SIGTERM);
    wait_until("the switch to forget lldpd", LIMIT, || heard().is_empty());
}
