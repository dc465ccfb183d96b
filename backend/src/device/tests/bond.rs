//! Bonds, with Open vSwitch's userspace bridge at the other end of two cables.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use viaduct_switch::bond::{Bond, BondSettings, HashPolicy, LinkSet, Mode, MonitorSettings, Preference};
use viaduct_switch::lacp::{Flag, LinkSettings, Medium, Rate, Settings, SystemId};
use viaduct_switch::{
    ControlPolicy, ControlProtocol, DropReason, MacAddress, Nanos, NetworkIndex, NetworkSettings, Policy,
    PortPolicy, StormLimits,
};

use super::lab::{Lab, Namespace, port};
use crate::dataplane::{Datapath, DataplaneEvent};
use crate::device::{BondLinks, DeviceKind, DeviceRequest, join, open};

/// The bond's port, and where the network beyond has its host.
const BOND: usize = 7;
const BEYOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const GIGABIT: Medium = Medium { speed_mbit: 1000, full_duplex: true };

/// Open vSwitch in a namespace, with all that is its own in a folder.
struct OpenVswitch {
    folder: tempfile::TempDir,
    namespace: Namespace,
    processes: Vec<Child>,
}

impl Drop for OpenVswitch {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl OpenVswitch {
    fn new() -> Self {
        let mut this =
            Self { folder: tempfile::tempdir().unwrap(), namespace: Namespace::new(), processes: Vec::new() };
        // Its ports are interfaces of the kernel, which answers ARP there for any address of the namespace, and faster than
        // Open vSwitch: the host would learn a port's address in the place of the bridge's, to which nobody listens.
        this.namespace.within(|| std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").unwrap());
        let (database, socket) = (this.file("db"), this.file("db.sock"));
        this.run("ovsdb-tool", &["create", &database, "/usr/share/openvswitch/vswitch.ovsschema"]);
        this.start("ovsdb-server", &[&database, &format!("--remote=punix:{socket}")]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !std::path::Path::new(&socket).exists() {
            assert!(Instant::now() < deadline, "the database of Open vSwitch does not start");
            thread::sleep(Duration::from_millis(5));
        }
        this.start("ovs-vswitchd", &[&format!("unix:{socket}"), "--disable-system"]);
        this
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("OVS_RUNDIR", self.folder.path()).env("OVS_LOGDIR", self.folder.path());
        command.env("OVS_DBDIR", self.folder.path());
        command
    }

    fn start(&mut self, program: &str, arguments: &[&str]) {
        let log = std::fs::File::create(self.file(&format!("{program}.log"))).unwrap();
        let mut command = self.command(program, arguments);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.namespace.within(|| command.spawn());
        self.processes
            .push(child.unwrap_or_else(|error| panic!("{program}, of openvswitch-switch: {error}")));
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.namespace.within(|| self.command(program, arguments).output());
        let output = output.unwrap_or_else(|error| panic!("{program}, of openvswitch-switch: {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn vsctl(&self, words: &str) -> String {
        let database = format!("--db=unix:{}", self.file("db.sock"));
        let words = words.split(' ');
        let arguments: Vec<_> = [database.as_str(), "--timeout=20"].into_iter().chain(words).collect();
        self.run("ovs-vsctl", &arguments).trim().to_owned()
    }

    /// Frames that came in by this interface.
    fn received(&self, interface: &str) -> u64 {
        let said = self.run("ip", &["-s", "-j", "link", "show", interface]);
        let links: serde_json::Value = serde_json::from_str(&said).unwrap();
        links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    }
}

/// A host at the switch, a bond of two cables to Open vSwitch, and a host at that.
struct Site {
    lab: Lab,
    peer: OpenVswitch,
    bond: Bond,
    links: BondLinks,
    senders: LinkSet,
    started: Instant,
    looked: Instant,
}

impl Site {
    fn new(mode: Mode, peers_bond: &str) -> Self {
        let (mut lab, peer) = (Lab::new(1), OpenVswitch::new());
        let network = NetworkIndex::new(0).unwrap();
        let ports = [(0, ControlPolicy::GUEST), (BOND, ControlPolicy::UPLINK.with(ControlProtocol::Slow))];
        let ports = ports.map(|(index, control)| {
            let policy = PortPolicy::new(network, 1500);
            (port(index), PortPolicy { control, storm: StormLimits::UNLIMITED, ..policy })
        });
        let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
        lab.dataplane.set_policy(Arc::new(policy));
        let devices = (0..2).map(|link| {
            let there = peer.namespace.path();
            lab.wires.ip(&format!("link add b{link} type veth peer name p{link} netns {}", there.display()));
            lab.wires.ip(&format!("link set b{link} up"));
            peer.namespace.ip(&format!("link set p{link} up"));
            // Open vSwitch takes no super-frames: the kernel cuts them before they leave.
            lab.wires.within(|| {
                let interface = format!("b{link}");
                let off = ["-K", &interface, "tx", "off", "tso", "off", "gso", "off"];
                assert!(
                    Command::new("ethtool").args(off).output().is_ok_and(|output| output.status.success())
                );
            });
            let interface = format!("b{link}");
            let namespace = Some(lab.wires.path());
            open(&DeviceRequest {
                kind: DeviceKind::AfPacket,
                interface,
                namespace,
                queues: None,
                gro: true,
                mtu: None,
            })
            .unwrap()
        });
        let devices: Vec<_> = devices.collect();
        let settings =
            devices.iter().map(|device| LinkSettings { address: MacAddress(device.address), priority: 1 });
        let settings = BondSettings { mode, monitor: MonitorSettings::default(), links: settings.collect() };
        let links = BondLinks::new(HashPolicy::Layer3And4, 42);
        let device = join(devices.into_iter().map(Some).collect(), &links).unwrap();
        lab.dataplane.attach_device(port(BOND), device);
        let host = lab.open(0);
        lab.dataplane.attach_device(port(0), host);
        peer.vsctl("add-br wire -- set bridge wire datapath_type=netdev");
        peer.vsctl(&format!("add-bond wire bond0 p0 p1 {peers_bond}"));
        peer.namespace.ip(&format!("addr add {BEYOND}/24 dev wire"));
        peer.namespace.ip("link set wire up");
        let started = Instant::now();
        let bond = Bond::new(&settings, Nanos(0));
        let senders = LinkSet::default();
        Self { lab, peer, bond, links, senders, started, looked: started - Duration::from_secs(1) }
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap())
    }

    /// Does what the control side does.
    fn turn(&mut self) {
        if self.looked.elapsed() > Duration::from_millis(100) {
            self.looked = Instant::now();
            for link in 0..2 {
                let arguments = ["-o", "link", "show", &format!("b{link}")];
                let output = self.lab.wires.within(|| Command::new("ip").args(arguments).output().unwrap());
                let carrier = String::from_utf8_lossy(&output.stdout).contains("LOWER_UP");
                self.bond.set_medium(link, carrier.then_some(GIGABIT), self.now());
            }
        }
        for event in self.lab.dataplane.take_events() {
            match event {
                DataplaneEvent::Control(frame) => {
                    assert_eq!(frame.port, port(BOND));
                    let now = self.now();
                    self.bond.receive(usize::from(frame.link), &frame.bytes, now);
                }
                other => panic!("{other:?}"),
            }
        }
        self.bond.advance(self.now());
        while let Some((link, frame)) = self.bond.next_frame() {
            self.lab.dataplane.emit(port(BOND), u8::try_from(link).unwrap(), frame);
        }
        let (before, senders) = (self.senders, self.bond.senders());
        self.links.set(senders, self.bond.takers());
        self.senders = senders;
        for link in (0..2).filter(|link| before.has(*link) && !senders.has(*link)) {
            self.lab.dataplane.purge(port(BOND), u8::try_from(link).unwrap());
        }
        thread::sleep(Duration::from_millis(5));
    }

    /// Has the host learn where the one beyond is: until then it keeps but a few datagrams.
    fn learn_address(&mut self) {
        let socket = self.lab.hosts[0].within(|| UdpSocket::bind(("10.0.0.1", 0)).unwrap());
        self.turn_until("the address of the host beyond", |site| {
            drop(socket.send_to(b"where are you", (BEYOND, 9)));
            let known = || Command::new("ip").args(["neigh", "show", "10.0.0.9"]).output().unwrap();
            String::from_utf8_lossy(&site.lab.hosts[0].within(known).stdout).contains("lladdr")
        });
    }

    fn turn_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(
                Instant::now() < end,
                "{what}: not within 20 s; {:?}; {:?}",
                self.bond.lacp().map(|lacp| lacp.status().collect::<Vec<_>>()),
                self.lab.all_drops()
            );
            self.turn();
        }
    }

    fn turn_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn();
        }
    }

    /// A stream from the host at the switch to the one beyond; it notes the longest silence.
    fn stream(&self) -> Stream {
        let listener = self.peer.namespace.within(|| TcpListener::bind((BEYOND, 5000)).unwrap());
        let ends = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ends);
        // Beside this thread, which has its turns to do.
        let host = self.lab.hosts[0].again();
        thread::spawn(move || {
            let mut stream = host.within(|| TcpStream::connect((BEYOND, 5000)).unwrap());
            stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
            while !end.load(Ordering::Relaxed) && stream.write_all(&[7; 1000]).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let reader = thread::spawn(move || {
            let (mut other, _) = listener.accept().unwrap();
            other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let (mut longest, mut last, mut room) = (Duration::ZERO, Instant::now(), vec![0; 65_536]);
            loop {
                match other.read(&mut room) {
                    Ok(0) => return longest,
                    Ok(_) => longest = longest.max(last.elapsed()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => panic!("the stream broke: {error}"),
                }
                last = Instant::now();
            }
        });
        Stream { ends, reader }
    }
}

/// A stream that runs.
struct Stream {
    ends: Arc<AtomicBool>,
    reader: thread::JoinHandle<Duration>,
}

impl Stream {
    /// Ends it; gives the longest time in which nothing came.
    fn end(self) -> Duration {
        self.ends.store(true, Ordering::Relaxed);
        self.reader.join().unwrap()
    }
}

/// Lets cables be pulled until the stream was silent for less than a second, and says after how many attempts: a machine
/// whose processors are busy with other tests makes pauses of its own, but not three times.
fn short_silence(site: &mut Site, mut pull: impl FnMut(&mut Site, usize) -> Duration) -> usize {
    let mut silences = Vec::new();
    while silences.len() < 3 {
        silences.push(pull(site, silences.len()));
        if silences.last() < Some(&Duration::from_secs(1)) {
            return silences.len();
        }
    }
    panic!("nothing came for {silences:?}; {:?}", site.lab.all_drops());
}

fn set(links: &[usize]) -> LinkSet {
    links.iter().copied().collect()
}

fn lacp() -> Mode {
    let system = SystemId { priority: 0x8000, address: MacAddress([2, 0, 0, 0, 0, 1]) };
    Mode::Lacp(Settings { system, key: 1, rate: Rate::Fast, active: true, fallback: false })
}

#[test]
fn open_vswitch_agrees_by_lacp_both_links_carry_and_a_pulled_cable_interrupts_for_less_than_a_second() {
    let mut site = Site::new(lacp(), "lacp=active bond_mode=balance-tcp other_config:lacp-time=fast");
    site.turn_until("both links in service", |site| site.bond.senders() == set(&[0, 1]));
    let partner = site.bond.lacp().unwrap().status().next().unwrap().partner;
    assert!(partner.state.has(Flag::Distributing) && partner.state.has(Flag::ShortTimeout), "{partner:?}");
    assert_eq!(site.links.shares()[..2], [128, 128]);
    site.turn_until("Open vSwitch's agreement", |site| {
        (0..2).all(|link| site.peer.vsctl(&format!("get interface p{link} lacp_current")) == "true")
    });

    site.learn_address();
    // Many flows: both links carry some.
    let before = [site.peer.received("p0"), site.peer.received("p1")];
    for number in 0..64 {
        let socket = site.lab.hosts[0].within(|| UdpSocket::bind(("10.0.0.1", 6000 + number)).unwrap());
        (0..4).for_each(|_| drop(socket.send_to(b"to whom it may concern", (BEYOND, 9))));
    }
    site.turn_until("64 flows by both links", |site| {
        (0..2).all(|link| site.peer.received(&format!("p{link}")) > before[link] + 40)
    });

    short_silence(&mut site, |site, _| {
        let stream = site.stream();
        site.turn_for(Duration::from_millis(500));
        for link in 0..2 {
            site.peer.namespace.ip(&format!("link set p{link} down"));
            site.turn_until("the other link alone", |site| site.bond.senders() == set(&[1 - link]));
            site.turn_for(Duration::from_millis(1500));
            site.peer.namespace.ip(&format!("link set p{link} up"));
            site.turn_until("both links in service again", |site| site.bond.senders() == set(&[0, 1]));
            site.turn_for(Duration::from_millis(200));
        }
        stream.end()
    });
}

#[test]
fn an_active_backup_bond_goes_on_by_its_reserve_and_takes_no_frame_twice() {
    let mode = Mode::ActiveBackup { primary: Some(0), preference: Preference::Failure };
    let mut site = Site::new(mode, "bond_mode=active-backup other_config:bond-primary=p0");
    site.turn_until("the first link in service", |site| site.bond.senders() == set(&[0]));
    site.turn_for(Duration::from_millis(500));
    let attempts = short_silence(&mut site, |site, attempt| {
        let (active, reserve) = (attempt % 2, 1 - attempt % 2);
        site.peer.namespace.ip(&format!("link set p{reserve} up"));
        let stream = site.stream();
        site.turn_for(Duration::from_millis(500));
        site.peer.namespace.ip(&format!("link set p{active} down"));
        site.turn_until("the reserve in service", |site| site.bond.senders() == set(&[reserve]));
        assert!(site.bond.take_failover());
        site.turn_for(Duration::from_millis(1500));
        stream.end()
    });
    let idle = (attempts - 1) % 2;
    // What comes by a link that is not in service is dropped by name: here the neighbour discovery of an interface that
    // comes up, or what Open vSwitch floods.
    site.peer.namespace.ip(&format!("link set p{idle} up"));
    site.turn_for(Duration::from_millis(300));
    assert_eq!(site.bond.senders(), set(&[1 - idle]), "it stays with the reserve");
    let before = site.lab.drops(BOND, DropReason::InactiveLink);
    site.peer.vsctl(&format!("del-port wire bond0 -- add-port wire p{idle}"));
    let neighbour = site.peer.namespace.within(|| UdpSocket::bind((BEYOND, 0)).unwrap());
    neighbour.set_broadcast(true).unwrap();
    site.turn_until("a frame by the link that is not in service", |site| {
        drop(neighbour.send_to(b"hear, hear", ("10.0.0.255", 9)));
        site.lab.drops(BOND, DropReason::InactiveLink) > before
    });
}
