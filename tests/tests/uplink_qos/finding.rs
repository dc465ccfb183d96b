//! How a tree finds a frame's class by where the frame came from, and a queue its band by the TOS.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::time::Duration;

use viaduct_tests::deadline::wait_until;
use viaduct_tests::process::Process;
use viaduct_tests::tun::within;

use super::marking::{send, used};
use super::{LIMIT, Stage, port};

/// Of the station behind the uplink `c`: `a`, of the group `staff`, is in its network without a tag, `b` in the one of VLAN 20.
fn config(filter: &str) -> String {
    let mut config = format!(
        "[qos.shared]\nkind = \"htb\"\nrate = \"1gbit\"\ndefault = \"rest\"\n\
         filter = [ {{ {filter}, class = \"found\" }} ]\n[group.staff]\n\
         [uplink.c]\ninterface = \"veth-c\"\nqos = \"shared\"\n"
    );
    for class in ["found", "rest"] {
        write!(config, "[qos.shared.class.{class}]\nrate = \"300mbit\"\n").unwrap();
    }
    for (network, vlan) in [("lab", ""), ("other", "vlan = 20\n")] {
        write!(config, "[network.{network}]\nmode = \"bridged\"\nuplink = \"c\"\n{vlan}").unwrap();
    }
    let a = port("a", "mac = \"02:00:00:00:00:0a\"\naddresses = [\"10.0.1.1\"]\ngroups = [\"staff\"]\n");
    config + &a + &port("b", "").replace("\"lab\"", "\"other\"")
}

#[test]
fn trees_find_classes_by_the_network_the_port_and_the_group_that_frames_came_from() {
    let stage = Stage::new(&config("network = \"other\""), &[]);
    let [a, b, _] = &stage.stations;
    a.ip("link set eth0 address 02:00:00:00:00:0a");
    // Nobody has to answer: frames for a station that nobody knows leave by the uplink, too.
    for station in [a, b] {
        station.ip("neigh replace 10.0.1.3 lladdr 02:00:00:00:00:0c dev eth0 nud permanent");
    }
    let classes = || {
        [a, b].map(|station| used(&stage, || (0..8).for_each(|_| send(station, 100, "10.0.1.3", "tos=0"))))
    };
    let [found, rest] = ["found", "rest"].map(|class| vec![class.to_owned()]);
    for (filter, is_a) in [
        ("network = \"other\"", false),
        ("network = \"lab\"", true),
        ("group = \"staff\"", true),
        ("port = \"b\"", false),
        ("port = \"a\"", true),
    ] {
        stage.daemon.apply(&config(filter));
        let expected = if is_a { [&found, &rest] } else { [&rest, &found] };
        assert_eq!(classes().each_ref(), expected, "{filter}");
    }
}

/// Bytes of datagrams with TOS 0x10 (low delay, the first band) and 0x08 (throughput, the third).
const FIRST: u16 = 100;
const LAST: u16 = 200;

#[test]
fn bands_go_in_their_order_by_the_tos_however_much_waits_in_the_others() {
    let qos = "[qos.shared]\negress = { kind = \"tbf\", rate = \"5mbit\", queue = { kind = \"prio\" } }\n";
    let ports = [port("a", ""), port("b", ""), port("c", "qos = \"shared\"\n")].concat();
    let stage = Stage::new(&format!("{qos}[network.lab]\n{ports}"), &[5201]);
    let [a, b, c] = &stage.stations;
    let socket = within(c, || UdpSocket::bind("10.0.1.3:9").unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut bytes = [0; 2000];
    let mut got = || socket.recv(&mut bytes).ok().and_then(|length| u16::try_from(length).ok());
    // So that both know where c is.
    send(b, FIRST, "10.0.1.3", "tos=0x10");
    assert_eq!(got(), Some(FIRST));
    let mut iperf = a.command("iperf3");
    iperf.args(["-c", "10.0.1.3", "-u", "-l", "1400", "-b", "10M", "-t", "60"]);
    let flood = Process::spawn("iperf3-flood", &iperf, stage.folder.path());
    let waiting = || {
        let shown = stage.daemon.command(&["show", "qos", "c", "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        shown["trees"][0]["classes"][0]["backlog_frames"].as_u64().unwrap()
    };
    wait_until("best effort to wait in the second band", LIMIT, || waiting() > 300);
    send(b, LAST, "10.0.1.3", "tos=0x08");
    for _ in 0..20 {
        send(b, FIRST, "10.0.1.3", "tos=0x10");
        assert_eq!(got(), Some(FIRST), "at once, and nothing of the third band");
    }
    assert!(waiting() > 300, "a second's worth still waits");
    drop(flood);
    let mut last = None;
    wait_until("the third band's turn, when the second is empty", LIMIT, || {
        last = got();
        last.is_some()
    });
    assert_eq!((last, waiting()), (Some(LAST), 0));
}
