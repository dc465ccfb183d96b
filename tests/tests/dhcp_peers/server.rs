//! Real clients of our server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use viaduct_switch::dhcp::Event;
use viaduct_switch::dhcp::Route;
use viaduct_switch::dhcp::server::{Boot, Fixed, Lease, Parameters, Server, Settings};
use viaduct_switch::{MacAddress, Nanos, PortIndex};
use viaduct_tests::deadline::{wait_for, wait_until};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;

use crate::wire::Wire;

const LIMIT: Duration = Duration::from_secs(30);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The longest that an answer may take to be made.
const ANSWER_WITHIN: Duration = Duration::from_millis(10);

/// What clients run when they have an address: it notes all that they were told, and sets the address.
const SCRIPT: &str = r#"#!/bin/sh
env >>"$0.log"; echo "event=$1$reason" >>"$0.log"
case "$1$reason" in
  bound | BOUND | REBOOT) ip addr replace "${ip:-$new_ip_address}/24" dev eth0 ;;
esac
exit 0
"#;

fn settings() -> Settings {
    let own = Fixed {
        mac: Some(MacAddress([0x52, 0x54, 0, 0, 0, 1])),
        address: [10, 0, 0, 10].into(),
        host_name: Some("web".parse().unwrap()),
    };
    Settings {
        address: SERVER,
        mac: MacAddress([2, 0, 0, 0, 0, 0xfe]),
        prefix: 24,
        range: Some(([10, 0, 0, 100].into(), [10, 0, 0, 199].into())),
        lease_s: 600,
        ports: 3,
        wide_ports: BTreeSet::new(),
        held_ports: [].into(),
        fixed: BTreeMap::from([(port(1), own)]),
        parameters: Parameters {
            routers: vec![SERVER],
            dns_servers: vec![SERVER, [9, 9, 9, 9].into()],
            domain: Some("home.lan".parse().unwrap()),
            search: vec!["home.lan".parse().unwrap(), "corp.home.lan".parse().unwrap()],
            ntp_servers: vec![[10, 0, 0, 5].into()],
            mtu: Some(1400),
            routes: vec![Route {
                destination: [10, 9, 0, 0].into(),
                prefix: 16,
                router: [10, 0, 0, 9].into(),
            }],
            boot: Some(Boot {
                next_server: [10, 0, 0, 6].into(),
                server_name: "boot.home.lan".into(),
                file: "pxelinux.0".into(),
            }),
        },
    }
}

fn port(number: usize) -> PortIndex {
    PortIndex::new(number).unwrap()
}

/// Our server with three ports, each of them a cable to a namespace of its own.
struct Lab {
    clients: Vec<Namespace>,
    server: Arc<Mutex<Server>>,
    ends: Arc<AtomicBool>,
    service: Option<JoinHandle<()>>,
    folder: TempDir,
    _gateway: Namespace,
}

impl Lab {
    fn new() -> Self {
        let gateway = Namespace::new("gateway");
        let names = ["port0", "port1", "port2"];
        let clients: Vec<Namespace> =
            (0..3).map(|number| Namespace::new(&format!("client{number}"))).collect();
        for (number, client) in clients.iter().enumerate() {
            cable((client, "eth0"), (&gateway, names[number]));
            client.ip(&format!("link set eth0 address 52:54:00:00:00:0{number}"));
            // What a client's kernel sends is to have its checksum, as it has behind the switch's own ports.
            client.run("ethtool -K eth0 tx off >/dev/null");
        }
        let wire = Wire::new(&gateway, ("10.0.0.1", "02:00:00:00:00:fe"), &names);
        let server = Arc::new(Mutex::new(Server::new(settings()).unwrap()));
        let ends = Arc::new(AtomicBool::new(false));
        let service = spawn({
            let (server, ends) = (server.clone(), ends.clone());
            move || serve(wire, &server, &ends)
        });
        let folder = tempfile::tempdir().unwrap();
        Self { clients, server, ends, service: Some(service), folder, _gateway: gateway }
    }

    /// A script for a client, which notes in `PATH.log` what it was told.
    fn script(&self) -> PathBuf {
        let path = self.folder.path().join("script");
        fs::write(&path, SCRIPT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn count(&self, event: Event) -> u64 {
        self.server.lock().unwrap().lender().counters().get(event)
    }

    /// What is lent at a port, once something is.
    fn lease_at(&self, number: usize) -> Lease {
        let found = || self.server.lock().unwrap().lender().leases().find(|lease| lease.port == port(number));
        wait_for(&format!("a lease at port {number}"), LIMIT, found)
    }

    /// Forgets all but the leases, as a process that starts again does.
    fn restart(&self) {
        let mut server = self.server.lock().unwrap();
        let leases: Vec<Lease> = server.lender().leases().collect();
        *server = Server::new(settings()).unwrap();
        assert!(leases.into_iter().all(|lease| server.lender_mut().restore(Nanos(0), lease)));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.service.take().map(JoinHandle::join);
    }
}

fn serve(mut wire: Wire, server: &Mutex<Server>, ends: &AtomicBool) {
    let start = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        let Ok((number, frame)) = wire.frames().recv_timeout(Duration::from_millis(20)) else { continue };
        let now = Nanos(u64::try_from(start.elapsed().as_nanos()).unwrap());
        let answer = server.lock().unwrap().receive(now, port(number), &frame, &mut |_| false);
        if let Some(answer) = answer {
            wire.send(number, &answer);
        }
    }
}

/// Lines that the script noted since it was last asked.
fn told(script: &std::path::Path, event: &str) -> Vec<String> {
    let log = script.with_extension("log");
    let text = wait_for(&format!("the client's {event}"), LIMIT, || {
        let text = fs::read_to_string(&log).ok()?;
        (text.contains(&format!("event={event}\n")) && text.ends_with('\n')).then_some(text)
    });
    text.lines().map(str::to_owned).collect()
}

fn assert_told(lines: &[String], expected: &[&str]) {
    for line in expected {
        assert!(lines.iter().any(|found| found == line), "{line} is not among {lines:#?}");
    }
}

#[test]
fn udhcpc_gets_its_ports_address_with_every_option_renews_and_gives_it_back() {
    let lab = Lab::new();
    let script = lab.script();
    let mut command = lab.clients[1].command("busybox");
    command.args(
        "udhcpc -f -i eth0 -t 20 -T 1 -O mtu -O search -O staticroutes -O tftp -O bootfile -O ntpsrv -s"
            .split(' '),
    );
    command.arg(&script);
    let mut client = Process::spawn("udhcpc", &command, lab.folder.path());
    let expected = [
        "ip=10.0.0.10",
        "mask=24",
        "router=10.0.0.1",
        "dns=10.0.0.1 9.9.9.9",
        "domain=home.lan",
        "search=home.lan corp.home.lan",
        "staticroutes=10.9.0.0/16 10.0.0.9 0.0.0.0/0 10.0.0.1",
        "mtu=1400",
        "ntpsrv=10.0.0.5",
        "siaddr=10.0.0.6",
        "boot_file=pxelinux.0",
        "sname=boot.home.lan",
        "tftp=boot.home.lan",
        "bootfile=pxelinux.0",
        "lease=600",
        "serverid=10.0.0.1",
    ];
    assert_told(&told(&script, "bound"), &expected);
    let lease = lab.lease_at(1);
    assert_eq!(lease.address, Ipv4Addr::new(10, 0, 0, 10));

    lab.restart();
    client.signal(libc::SIGUSR1);
    told(&script, "renew");
    assert_eq!((lab.count(Event::Ack), lab.count(Event::Discover)), (1, 0), "it renewed by unicast");
    client.signal(libc::SIGUSR2);
    told(&script, "deconfig");
    wait_until("the release", LIMIT, || lab.count(Event::Release) == 1);
    assert_eq!(lab.server.lock().unwrap().lender().leases().count(), 0);
}

/// ISC's client, which ends once it has an address, and goes on in the background.
fn dhclient(lab: &Lab, script: &std::path::Path, words: &str) {
    let folder = lab.folder.path().display();
    let configuration = lab.folder.path().join("dhclient.conf");
    fs::write(
        &configuration,
        "option classless-routes code 121 = array of unsigned integer 8;\n\
         request subnet-mask, classless-routes, routers, domain-name, domain-search, interface-mtu, ntp-servers, host-name;\n\
         send host-name \"guest2\";\n",
    )
    .unwrap();
    let line = format!(
        "timeout 20 dhclient -4 {words} -cf {folder}/dhclient.conf -lf {folder}/leases -pf {folder}/pid -sf {} eth0 2>&1",
        script.display()
    );
    lab.clients[2].run(&line);
}

#[test]
fn dhclient_gets_an_address_asks_for_it_when_it_boots_again_and_gives_it_back() {
    let lab = Lab::new();
    let script = lab.script();
    dhclient(&lab, &script, "-1");
    let lease = lab.lease_at(2);
    let expected = [
        &*format!("new_ip_address={}", lease.address),
        "new_subnet_mask=255.255.255.0",
        "new_classless_routes=16 10 9 10 0 0 9 0 10 0 0 1",
        "new_domain_search=home.lan. corp.home.lan.",
        "new_interface_mtu=1400",
        "new_ntp_servers=10.0.0.5",
        "new_dhcp_lease_time=600",
    ];
    assert_told(&told(&script, "BOUND"), &expected);
    assert_eq!(lease.host_name.unwrap().as_str(), "guest2");

    dhclient(&lab, &script, "-x");
    lab.restart();
    dhclient(&lab, &script, "-1");
    told(&script, "REBOOT");
    assert_eq!((lab.count(Event::Request), lab.count(Event::Ack), lab.count(Event::Discover)), (1, 1, 0));
    assert_eq!(lab.lease_at(2).address, lease.address);
    dhclient(&lab, &script, "-r");
    wait_until("the release", LIMIT, || lab.count(Event::Release) == 1);
}

#[test]
fn dhcpcd_gets_an_address_and_keeps_it_when_the_server_begins_anew() {
    let lab = Lab::new();
    // Its folders of state are fixed: it gets ones of its own.
    let line = "mount -t tmpfs none /var/lib/dhcpcd; mount -t tmpfs none /run; \
                exec dhcpcd -B -4 -A -f /dev/null -c /bin/true eth0";
    let mut command = lab.clients[0].command("sh");
    command.args(["-c", line]);
    let mut client = Process::spawn("dhcpcd", &command, lab.folder.path());
    let lease = lab.lease_at(0);
    assert!(lease.address >= Ipv4Addr::new(10, 0, 0, 100));
    let has_address =
        || lab.clients[0].ip("-4 addr show eth0").contains(&format!("inet {}/24", lease.address));
    wait_until("dhcpcd to use its address", LIMIT, has_address);
    lab.restart();
    client.signal(libc::SIGUSR1);
    wait_until("dhcpcd to ask again", LIMIT, || lab.count(Event::Ack) == 1);
    assert_eq!(lab.lease_at(0).address, lease.address);
    // dhcpcd 9 loses a signal that comes while it is busy with the one before.
    wait_until("the release", LIMIT, || {
        client.signal(libc::SIGALRM);
        sleep(Duration::from_millis(100));
        lab.count(Event::Release) == 1
    });
}

#[test]
fn an_answer_takes_less_than_ten_milliseconds_where_thousands_are_lent() {
    use viaduct_switch::dhcp::datagram::{Envelope, seal};
    use viaduct_switch::dhcp::{Message, Operation, code};
    let mut large = settings();
    (large.prefix, large.ports) = (16, 4000);
    large.range = Some(([10, 0, 1, 0].into(), [10, 0, 200, 255].into()));
    let mut server = Server::new(large).unwrap();
    let mut slowest = Duration::ZERO;
    for number in 0..4000_u16 {
        let [high, low] = number.to_be_bytes();
        let mac = MacAddress([0x52, 0x54, 0, 1, high, low]);
        let mut discover = Message::new(Operation::Request, u32::from(number), mac);
        discover.options.set(code::MESSAGE_TYPE, [1]);
        let envelope = Envelope {
            source_mac: mac,
            destination_mac: MacAddress::BROADCAST,
            source: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::BROADCAST,
            source_port: 68,
            destination_port: 67,
        };
        let frame = seal(&envelope, &discover.encode(576).0);
        // The least of three, since the machine may be busy; the offer is the same.
        let times = (0..3).map(|_| {
            let start = Instant::now();
            assert!(server.receive(Nanos(0), port(usize::from(number)), &frame, &mut |_| false).is_some());
            start.elapsed()
        });
        slowest = slowest.max(times.min().unwrap());
    }
    assert!(slowest < ANSWER_WITHIN, "{slowest:?}");
}
