//! Bonds as uplinks (scenario S9): with Open vSwitch, a Linux bridge and the bonding driver of a guest's kernel at the other
//! end, cables that are pulled while TCP runs, and a link partner that floods.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::machine::Machine;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::open_vswitch::OpenVswitch;
use viaduct_tests::process::Process;
use viaduct_tests::stream::{Flow, mac};

#[path = "uplink_bond/flows.rs"]
mod flows;

const LIMIT: Duration = Duration::from_secs(30);
const BEYOND: &str = "10.0.9.9";

/// The scenario's file, with a namespace as the host behind the switch and a card that a test drives.
fn config(bond: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/s9.toml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (before, rest) = text.split_once("bond = ").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    format!(
        "{before}bond = {bond}\n{after}[port.host]\nnetwork = \"office\"\ntype = \"veth\"\ninterface = \"host\"\n"
    )
}

const LACP: &str = r#"{ mode = "lacp", hash = "layer3+4", rate = "fast" }"#;

/// The switch with a host behind it, and what the test makes of the other end of the bond's cables.
struct Site {
    daemon: Daemon,
    host: Namespace,
    inside: Namespace,
}

impl Site {
    /// The interfaces eth4 and eth5 have to be in `inside` already, or come later.
    fn new(inside: Namespace, bond: &str) -> Self {
        let host = Namespace::new("host");
        cable((&inside, "host"), (&host, "eth0"));
        host.ip("address add 10.0.9.1/24 dev eth0");
        let daemon = Daemon::start_in(&inside, &config(bond));
        daemon.wait_for_state("bond0", "attached");
        Self { daemon, host, inside }
    }

    fn links(&self) -> Vec<Value> {
        self.daemon.show_json()["bonds"][0]["links"].as_array().cloned().unwrap_or_default()
    }

    /// The interfaces by which frames leave.
    fn senders(&self) -> Vec<String> {
        let name = |link: &Value| link["interface"].as_str().unwrap().to_owned();
        self.links().iter().filter(|link| link["sends"] == true).map(name).collect()
    }

    fn wait_for_senders(&self, wanted: &[&str]) {
        wait_until(&format!("{wanted:?} in service"), LIMIT, || self.senders() == wanted);
    }

    /// Has the host reach the address beyond.
    fn wait_for_reply(&self) {
        wait_until("an answer from beyond", LIMIT, || {
            self.host.succeeds(&format!("busybox ping -q -c 1 -W 1 {BEYOND}"))
        });
    }

    /// Sends a few datagrams of 64 flows.
    fn many_flows(&self) {
        let program = format!(
            "import socket\nfor port in range(6000, 6064):\n s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n \
             s.bind(('10.0.9.1', port))\n for _ in range(4): s.sendto(b'to whom it may concern', ('{BEYOND}', 9))\n"
        );
        assert!(self.host.command("python3").args(["-c", &program]).status().unwrap().success());
    }

    /// Runs TCP from the host to the one beyond while `disturb` pulls cables: nothing may arrive there for a second at most.
    /// A machine that has no time for anybody makes pauses of its own, so the best of three attempts counts.
    fn expect_short_silence(&self, beyond: &Namespace, seconds: u32, mut disturb: impl FnMut(&Self)) {
        let mut attempts = Vec::new();
        for _ in 0..3 {
            let report = self.stream(beyond, seconds, "-b 20M", &mut disturb);
            attempts.push(silence_ms(&report));
            if attempts.last() <= Some(&1000) {
                return;
            }
        }
        panic!("nothing arrived for {attempts:?} ms in three attempts");
    }

    /// What the iperf3 server beyond reports of a stream from the host.
    fn stream(&self, beyond: &Namespace, seconds: u32, options: &str, disturb: impl FnOnce(&Self)) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let mut server = beyond.command("iperf3");
        server.args(["--server", "--one-off", "--json", "--interval", "0.1"]);
        let mut server = Process::spawn("iperf3-server", &server, folder.path());
        wait_until("iperf3 to listen", LIMIT, || beyond.run("ss -Hltn").contains(":5201 "));
        let mut client = self.host.command("iperf3");
        client.args(["-c", BEYOND, "-t", &seconds.to_string()]).args(options.split_whitespace());
        let mut client = Process::spawn("iperf3", &client, folder.path());
        thread::sleep(Duration::from_secs(1));
        disturb(self);
        let ended = client.wait(Duration::from_secs(u64::from(seconds)) + LIMIT);
        assert!(ended.success(), "iperf3: {}", client.tail());
        server.wait(LIMIT);
        let text = server.output();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("iperf3 printed no report ({error}):\n{text}"))
    }
}

/// The longest time in ms, to a tenth of a second, in which nothing came, by a report of iperf3 on as many intervals.
fn silence_ms(report: &Value) -> usize {
    let silent = |interval: &Value| interval["sum"]["bytes"].as_u64() == Some(0);
    let intervals = report["intervals"].as_array().unwrap_or_else(|| panic!("{report}"));
    assert!(intervals.len() > 20, "{report}");
    let runs = intervals.chunk_by(|a, b| silent(a) == silent(b));
    100 * runs.filter(|run| silent(&run[0])).map(<[Value]>::len).max().unwrap_or(0)
}

fn received(namespace: &Namespace, interface: &str) -> u64 {
    let file = format!("cat /sys/class/net/{interface}/statistics/rx_packets");
    namespace.run(&file).trim().parse().unwrap()
}

/// Two cables from `inside` to `outside`, where nothing is left to the kernel that userspace bridges cannot do.
fn cables(inside: &Namespace, outside: &Namespace) {
    for number in [4, 5] {
        cable((inside, &format!("eth{number}")), (outside, &format!("p{number}")));
        inside.run(&format!("ethtool -K eth{number} tx off tso off gso off"));
    }
}

/// A bond that Open vSwitch, which has the address beyond, has agreed to by LACP.
fn beside_open_vswitch() -> (OpenVswitch, Site) {
    let [inside, outside] = ["inside", "outside"].map(Namespace::new);
    cables(&inside, &outside);
    let peer = OpenVswitch::new(outside);
    let site = Site::new(inside, LACP);
    peer.vsctl("add-br wire -- set bridge wire datapath_type=netdev");
    peer.vsctl("add-bond wire bond0 p4 p5 lacp=active bond_mode=balance-tcp other_config:lacp-time=fast");
    peer.namespace.ip(&format!("address add {BEYOND}/24 dev wire"));
    peer.namespace.ip("link set wire up");
    site.wait_for_senders(&["eth4", "eth5"]);
    (peer, site)
}

#[test]
fn open_vswitch_agrees_by_lacp_flows_use_both_links_and_a_pulled_cable_interrupts_for_less_than_a_second() {
    let (peer, site) = beside_open_vswitch();
    for link in site.links() {
        let lacp = &link["lacp"];
        assert_eq!((&lacp["mux"], &lacp["receive"]), (&json!("distributing"), &json!("current")), "{link}");
        let states =
            [&lacp["actor"]["state"], &lacp["partner"]["state"]].map(|state| state.as_array().unwrap());
        assert!(states.iter().all(|state| state.contains(&json!("collecting"))), "{link}");
        assert!(states.iter().all(|state| state.contains(&json!("short-timeout"))), "{link}");
        assert_eq!(link["share"], 128);
    }
    let text = String::from_utf8(site.daemon.command(&["show", "bonds"]).stdout).unwrap();
    assert!(text.contains("bond0: lacp, hash layer3+4, rate fast, system "), "{text}");
    site.wait_for_reply();

    let before = ["p4", "p5"].map(|port| received(&peer.namespace, port));
    site.many_flows();
    wait_until("64 flows by both links", LIMIT, || {
        (0..2).all(|link| received(&peer.namespace, ["p4", "p5"][link]) > before[link] + 40)
    });

    let mut pulled = ["4", "5"].into_iter().cycle();
    site.expect_short_silence(&peer.namespace, 5, |site| {
        let pulled = pulled.next().unwrap();
        let other = if pulled == "4" { "eth5" } else { "eth4" };
        peer.namespace.ip(&format!("link set p{pulled} down"));
        site.wait_for_senders(&[other]);
        thread::sleep(Duration::from_millis(1200));
        peer.namespace.ip(&format!("link set p{pulled} up"));
        site.wait_for_senders(&["eth4", "eth5"]);
    });

    // Its own interface goes down and vanishes: the other link carries on, and what comes back is taken.
    site.inside.ip("link set eth4 down");
    site.wait_for_senders(&["eth5"]);
    site.wait_for_reply();
    site.inside.ip("link set eth4 up");
    site.wait_for_senders(&["eth4", "eth5"]);
    // Another mode at run time: the other end says no more that it collects, as nobody speaks LACP with it.
    site.daemon.apply(&config(r#"{ mode = "lacp", rate = "slow" }"#));
    assert_eq!(site.daemon.show_json()["bonds"][0]["rate"], "slow");
    site.wait_for_senders(&["eth4", "eth5"]);
    site.wait_for_reply();
}

/// A flow that is moved to another link by a failure keeps its order: the receiver counts.
#[test]
fn an_active_backup_bond_announces_its_stations_and_keeps_order_and_tcp_goes_on_within_a_second() {
    let [inside, outside] = ["inside", "outside"].map(Namespace::new);
    cables(&inside, &outside);
    outside.ip("link add wire type bridge forward_delay 0 mcast_snooping 0");
    for port in ["p4", "p5"] {
        outside.ip(&format!("link set {port} master wire"));
    }
    outside.ip("link set wire up");
    outside.ip(&format!("address add {BEYOND}/24 dev wire"));
    let site = Site::new(inside, r#"{ mode = "active-backup", primary = "eth4" }"#);
    site.wait_for_senders(&["eth4"]);
    site.wait_for_reply();
    let station = site.host.run("cat /sys/class/net/eth0/address").trim().to_owned();
    let place = || {
        let lines = outside.run("bridge fdb show br wire");
        let line = lines.lines().find(|line| line.starts_with(&station) && !line.contains("permanent"));
        line.map(|line| line.split_whitespace().nth(2).unwrap().to_owned())
    };
    assert_eq!(place().as_deref(), Some("p4"));
    // Nothing is sent by the host: the switch tells the network where it is now.
    outside.ip("link set p4 down");
    site.wait_for_senders(&["eth5"]);
    wait_until("the bridge out there to know the new way", LIMIT, || place().as_deref() == Some("p5"));
    outside.ip("link set p4 up");
    wait_until("the first link's carrier", LIMIT, || site.links()[0]["link"] == "up");
    assert_eq!(site.senders(), ["eth5"], "it stays with the reserve");

    site.expect_short_silence(&outside, 4, |site| {
        let active = site.senders().concat();
        let (port, link) = if active == "eth4" { ("p4", 0) } else { ("p5", 1) };
        outside.ip(&format!("link set {port} down"));
        wait_until("the reserve in service", LIMIT, || site.senders().concat() != active);
        thread::sleep(Duration::from_millis(1000));
        outside.ip(&format!("link set {port} up"));
        wait_until("the other link's carrier", LIMIT, || site.links()[link]["link"] == "up");
    });
    let report = site.stream(&outside, 4, "-u -b 8M -l 1000", |site| {
        let active = site.senders().concat();
        outside.ip(&format!("link set p{} down", active.trim_start_matches("eth")));
        wait_until("the reserve in service", LIMIT, || site.senders().concat() != active);
    });
    let stream = &report["end"]["streams"][0]["udp"];
    assert_eq!(stream["out_of_order"], 0, "{stream}");
    assert!(stream["packets"].as_u64() > Some(2000), "{stream}");
    assert!(site.daemon.show_json()["bonds"][0]["failovers"].as_u64() >= Some(3));
}

/// Behind each cable is a switch of its own, whose way on breaks: the carrier says nothing of that, and who answers does.
#[test]
fn a_link_that_breaks_beyond_its_carrier_is_given_up_within_a_second_by_arp_and_taken_again() {
    let [inside, middle, outside] = ["inside", "middle", "outside"].map(Namespace::new);
    cables(&inside, &middle);
    outside.ip("link add wire type bridge forward_delay 0 mcast_snooping 0");
    for number in [4, 5] {
        cable((&middle, &format!("q{number}")), (&outside, &format!("r{number}")));
        middle.ip(&format!("link add m{number} type bridge forward_delay 0 mcast_snooping 0"));
        for port in ["p", "q"] {
            middle.ip(&format!("link set {port}{number} master m{number}"));
        }
        middle.ip(&format!("link set m{number} up"));
        outside.ip(&format!("link set r{number} master wire"));
    }
    outside.ip("link set wire up");
    outside.ip(&format!("address add {BEYOND}/24 dev wire"));
    let site = Site::new(inside, &format!(r#"{{ mode = "active-backup", arp_targets = ["{BEYOND}"] }}"#));
    let answered = |wanted: [bool; 2]| {
        wait_until(&format!("{wanted:?} as links that are answered"), LIMIT, || {
            site.links().iter().map(|link| link["answered"] == true).eq(wanted)
        });
    };
    answered([true, true]);
    site.wait_for_reply();

    site.expect_short_silence(&outside, 4, |site| {
        let number = site.senders().concat().trim_start_matches("eth").to_owned();
        middle.ip(&format!("link set q{number} down"));
        answered([number != "4", number != "5"]);
        wait_until("the reserve in service", LIMIT, || site.senders().concat() != format!("eth{number}"));
        assert!(site.links().iter().all(|link| link["link"] == "up"), "{:?}", site.links());
        let shown = String::from_utf8(site.daemon.command(&["show", "bonds"]).stdout).unwrap();
        assert!(shown.contains(&format!("eth{number}: none of `arp_targets` answers by it")), "{shown}");
        thread::sleep(Duration::from_millis(1000));
        middle.ip(&format!("link set q{number} up"));
        answered([true, true]);
    });
    // The answers are for the links, and for nobody behind the switch; a sender of ARP's choice is asked for, too.
    let with_source =
        r#"{ mode = "balance", arp_targets = ["BEYOND"], arp_source = "10.0.9.77", arp_missed = 3 }"#;
    site.daemon.apply(&config(&with_source.replace("BEYOND", BEYOND)));
    answered([true, true]);
    site.wait_for_senders(&["eth4", "eth5"]);
    site.host.run("timeout 2 tcpdump -nn -c 1 -i eth0 'arp[6:2] == 2'; test $? -eq 124");
    middle.ip("link set q5 down");
    site.wait_for_senders(&["eth4"]);
}

/// Links that come, go, and are other ones when they come back cost the link in between no frame.
#[test]
fn a_link_that_goes_and_comes_back_costs_the_others_no_frame_and_is_taken() {
    let [inside, outside] = ["inside", "outside"].map(Namespace::new);
    // Kernels that speak by the reserve would have their frames dropped, and counted.
    for end in [&inside, &outside] {
        end.run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    }
    cables(&inside, &outside);
    inside.ip("link set eth4 down");
    let site = Site::new(inside, r#"{ mode = "active-backup" }"#);
    site.wait_for_senders(&["eth5"]);
    let beyond = "[uplink.wire]\ninterface = \"p5\"\n[network.office]\nmode = \"bridged\"\nuplink = \"wire\"\n\
                  [port.far]\nnetwork = \"office\"\n";
    let beyond = Daemon::start_in(&outside, beyond);
    beyond.wait_for_state("wire", "attached");
    let mut near = Nic::connect(&site.daemon.socket("vm1"), &NicOptions::default());
    let mut far = Nic::connect(&beyond.socket("far"), &NicOptions::default());
    let mut ways = [Flow::new(mac(1), mac(2)), Flow::new(mac(2), mac(1))];
    let mut carry = |count| {
        ways[0].carry(&mut near, &mut far, std::iter::repeat_n(700, count));
        ways[1].carry(&mut far, &mut near, std::iter::repeat_n(700, count));
    };
    carry(1);
    let is_open = || site.links()[0]["attached"] == true;
    let changes = || {
        for _ in 0..3 {
            site.inside.ip("link set eth4 up");
            wait_until("the link that came", LIMIT, is_open);
            site.inside.ip("link set eth4 down");
            wait_until("the link to be gone", LIMIT, || !is_open());
        }
        site.inside.ip("link del eth4");
        cable((&site.inside, "eth4"), (&outside, "p4"));
        wait_until("the new link of this name", LIMIT, is_open);
    };
    let rounds = thread::scope(|scope| {
        let changes = scope.spawn(changes);
        let mut rounds = 0;
        while !changes.is_finished() {
            // Each arrives, in order, or this fails.
            carry(100);
            rounds += 1;
        }
        changes.join().unwrap();
        rounds
    });
    assert!(rounds > 5, "only {rounds} rounds while links came and went");
    let uplink = site.daemon.show().port("bond0").clone();
    assert_eq!((uplink.dropped_in_all(), site.senders()), (0, vec!["eth5".to_owned()]));
    // What came back carries when it is its turn.
    outside.ip("link set p5 down");
    site.wait_for_senders(&["eth4"]);
    let before = received(&outside, "p4");
    site.many_flows();
    wait_until("frames by the link that came back", LIMIT, || received(&outside, "p4") > before);
}

/// A guest whose kernel bonds its two cards, as the other end: QEMU has the TAP devices that are the bond's links.
#[test]
fn the_linux_bonding_driver_agrees_by_lacp_and_balances_and_a_pulled_cable_is_survived() {
    let inside = Namespace::new("inside");
    let machine = Machine::new("peer", "").on_taps(&inside, &["eth4", "eth5"]);
    for name in ["eth4", "eth5"] {
        inside.ip(&format!("tuntap add dev {name} mode tap"));
        inside.ip(&format!("link set {name} up"));
    }
    let mut peer = machine.power_on();
    let site = Site::new(inside, LACP);
    peer.await_shell();
    peer.run("modprobe bonding max_bonds=0");
    let bond = |peer: &mut viaduct_tests::machine::Guest, options: &str| {
        peer.run("ip link del bond0 2>/dev/null; true");
        peer.run(&format!("ip link add bond0 type bond miimon 50 {options}"));
        for card in ["eth0", "eth1"] {
            peer.run(&format!("ip link set {card} down; ip link set {card} master bond0"));
        }
        peer.run(&format!("ip link set bond0 up; ip address add {BEYOND}/24 dev bond0"));
    };
    bond(&mut peer, "mode 802.3ad lacp_rate fast xmit_hash_policy layer3+4");
    site.wait_for_senders(&["eth4", "eth5"]);
    site.wait_for_reply();
    let said = peer.run("cat /proc/net/bonding/bond0");
    assert!(said.contains("IEEE 802.3ad Dynamic link aggregation"), "{said}");
    let system = site.daemon.show_json()["bonds"][0]["system"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("Partner Mac Address: {system}")), "{system}: {said}");
    assert!(said.contains("Number of ports: 2"), "{said}");

    see_flows_by_both(&site, &mut peer);

    // A machine that has no time for anybody makes pauses of its own, so the best of three attempts counts.
    peer.serve_iperf();
    let mut longest = Vec::new();
    let is_short = (0..3).any(|_| {
        longest.push(pull_a_cable(&site, &mut peer));
        longest.last().is_some_and(|(flow, tcp)| *flow <= 1000 && *tcp <= 3000)
    });
    // What is beyond the wires is the guest's: its bonding driver, its acknowledgements and the sender's timer, which
    // doubles with each one that is late. Emulated on a busy machine that takes long, and that it goes on is what counts.
    assert!(is_short, "the longest that a flow waited, and in TCP, in milliseconds: {longest:?}");

    // Without LACP: both ends are told by hand.
    site.daemon.apply(&config(r#"{ mode = "balance", hash = "layer3+4" }"#));
    bond(&mut peer, "mode balance-xor xmit_hash_policy layer3+4");
    site.wait_for_senders(&["eth4", "eth5"]);
    site.wait_for_reply();
    see_flows_by_both(&site, &mut peer);
}

/// Many flows to the Linux bonding driver come by both of its cards.
fn see_flows_by_both(site: &Site, peer: &mut viaduct_tests::machine::Guest) {
    let mut counted = || {
        [0, 1].map(|card| {
            let text = peer.run(&format!("cat /sys/class/net/eth{card}/statistics/rx_packets"));
            text.trim().parse::<u64>().unwrap()
        })
    };
    let before = counted();
    site.many_flows();
    wait_until("64 flows by both links", LIMIT, || {
        let now = counted();
        (0..2).all(|link| now[link] > before[link] + 40)
    });
}

/// Pulls a cable at both of its ends while TCP runs, and while datagrams of many flows come from the host; puts it back. Gives the longest
/// time that a flow waited on the wires, and the longest silence in TCP, in milliseconds.
fn pull_a_cable(site: &Site, peer: &mut viaduct_tests::machine::Guest) -> (u64, usize) {
    let mut client = site.host.command("iperf3");
    client.args(["-c", BEYOND, "-t", "7", "-b", "4M", "-J", "-i", "0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let mut client = Process::spawn("iperf3", &client, folder.path());
    let mut watcher = site.inside.command("python3");
    let mut watcher = Process::spawn("watcher", watcher.args(["-c", flows::WATCHER]), folder.path());
    wait_until("the watcher", LIMIT, || watcher.output().contains("watching"));
    let mut sender = site.host.command("python3");
    let sender = Process::spawn("sender", sender.args(["-c", flows::SENDER]), folder.path());
    wait_until("all flows to run", LIMIT, || sender.output().contains("sending"));
    peer.monitor("set_link", &json!({ "name": "net0", "up": false }));
    site.inside.ip("link set eth4 carrier off");
    site.wait_for_senders(&["eth5"]);
    assert!(watcher.wait(LIMIT).success(), "{}", watcher.tail());
    let text = watcher.output();
    let said: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let told = |name: &str| said[name].as_u64().unwrap();
    assert!((1..64).contains(&told("moved")) && told("flows") == 64, "{said}");
    assert!(client.wait(LIMIT).success(), "{}", client.tail());
    let report: Value = serde_json::from_str(&client.output()).unwrap();
    eprintln!("on the wires: {said}; in TCP: {} ms", silence_ms(&report));
    peer.monitor("set_link", &json!({ "name": "net0", "up": true }));
    site.inside.ip("link set eth4 carrier on");
    site.wait_for_senders(&["eth4", "eth5"]);
    (told("longest_ms"), silence_ms(&report))
}

/// Frames of neighbours' protocols from where nobody may send them, and more of them than anybody needs.
#[test]
fn a_guest_speaks_no_lacp_with_us_and_a_neighbour_that_floods_one_link_is_counted_and_keeps_the_other_from_nothing()
 {
    let (peer, site) = beside_open_vswitch();
    site.wait_for_reply();

    let mut guest = Nic::connect(&site.daemon.socket("vm1"), &NicOptions::default());
    let mut lacpdu = vec![0x01, 0x80, 0xc2, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 9, 0x88, 0x09, 1, 1, 1, 20];
    lacpdu.resize(124, 0);
    let mut lldpdu = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 0x52, 0x54, 0, 0, 0, 9, 0x88, 0xcc];
    lldpdu.extend([2, 7, 4, 2, 0, 0, 0, 0, 9, 4, 2, 5, b'x', 6, 2, 0, 120, 0, 0]);
    lldpdu.resize(60, 0);
    for _ in 0..200 {
        guest.send(&lacpdu);
        guest.send(&lldpdu);
    }
    wait_until("the guest's frames to be dropped", LIMIT, || {
        site.daemon.show().port("vm1").dropped("link-local") == 400
    });

    // Malformed ones, 20000 as fast as the kernel takes them, by one cable.
    let program = format!(
        "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('p4', 0))\nframe = bytes.fromhex('{}')\n\
         for _ in range(20000):\n try: s.send(frame)\n except OSError: pass\n",
        lacpdu.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    );
    let lacp = |link: usize, field: &str| site.links()[link]["lacp"][field].as_u64().unwrap();
    let before = [lacp(0, "received"), lacp(1, "received")];
    // What a switch that is not run meanwhile has no room for is lost before it: hence until so many have come.
    for _ in 0..10 {
        assert!(peer.namespace.command("python3").args(["-c", &program]).status().unwrap().success());
        thread::sleep(Duration::from_secs(1));
        if site.daemon.show().port("bond0").dropped("storm-control") > 50_000 {
            break;
        }
    }
    assert!(site.daemon.show().port("bond0").dropped("storm-control") > 50_000, "the flood is counted");
    assert!(lacp(0, "malformed") > 0 && lacp(0, "malformed") <= 500, "{:?}", site.links());
    assert!(lacp(1, "received") >= before[1] + 2 && lacp(1, "malformed") == 0, "{:?}", site.links());
    assert_eq!(site.links()[1]["lacp"]["mux"], "distributing", "{:?} before", before[0]);
    site.wait_for_senders(&["eth4", "eth5"]);
    site.wait_for_reply();
}
