//! Our client of a real server.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use viaduct_switch::dhcp::client::{Client, ClientEvent, ClientSettings, ClientState};
use viaduct_switch::dhcp::datagram::open;
use viaduct_switch::{MacAddress, Nanos};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;

use crate::wire::Wire;

const LIMIT: Duration = Duration::from_secs(30);
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

/// Our client on a cable to a namespace in which dnsmasq is.
struct Lab {
    client: Client,
    wire: Wire,
    start: Instant,
    /// How much later it is than the clock says.
    ahead: Nanos,
    server_mac: MacAddress,
    configured: Vec<ClientEvent>,
    server: Process,
    folder: tempfile::TempDir,
    _inside: Namespace,
    outside: Namespace,
}

impl Lab {
    fn new() -> Self {
        let [inside, outside] = ["inside", "outside"].map(Namespace::new);
        cable((&inside, "wan"), (&outside, "lan"));
        outside.ip("addr add 10.0.0.1/24 dev lan");
        outside.run("ethtool -K lan tx off >/dev/null");
        let folder = tempfile::tempdir().unwrap();
        let server = dnsmasq("dnsmasq", &outside, &folder);
        let wire = Wire::new(&inside, ("0.0.0.0", "02:00:00:00:00:09"), &["wan"]);
        let settings =
            ClientSettings { mac: MAC, client_id: None, host_name: Some("host1".parse().unwrap()) };
        let lan = outside.run("cat /sys/class/net/lan/address");
        Self {
            client: Client::new(settings, None, 42),
            wire,
            start: Instant::now(),
            ahead: Nanos(0),
            server_mac: lan.trim().parse().unwrap(),
            configured: Vec::new(),
            server,
            folder,
            _inside: inside,
            outside,
        }
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap() + self.ahead.0)
    }

    /// Lets client and server talk until `done`.
    fn run(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            self.client.advance(self.now());
            while let Some(event) = self.client.next_event() {
                if matches!(event, ClientEvent::Probe(_)) {
                    self.client.probed(self.now(), false);
                }
                self.configured.push(event);
            }
            while let Some(message) = self.client.next_message() {
                let is_all = message.destination == Ipv4Addr::BROADCAST;
                let to = if is_all { MacAddress::BROADCAST } else { self.server_mac };
                self.wire.send(0, &message.frame(MAC, to));
            }
            if done(self) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {:?}; dnsmasq: {}",
                self.client,
                self.server.output()
            );
            if let Ok((_, frame)) = self.wire.frames().recv_timeout(Duration::from_millis(20))
                && open(&frame).is_ok_and(|(envelope, _)| envelope.destination_port == 68)
            {
                self.client.receive(self.now(), &frame);
            }
        }
    }
}

fn dnsmasq(name: &str, outside: &Namespace, folder: &tempfile::TempDir) -> Process {
    let mut command = outside.command("dnsmasq");
    command.args(
        "--keep-in-foreground --conf-file=/dev/null --port=0 --interface=lan --bind-interfaces --no-ping"
            .split(' '),
    );
    command.args(
        "--user=root --log-dhcp --log-facility=- --dhcp-authoritative --dhcp-range=10.0.0.50,10.0.0.60,3600s"
            .split(' '),
    );
    command.args(["--domain=example.net", "--pid-file="]);
    command.args(["--dhcp-option=option:mtu,1400", "--dhcp-option=option:ntp-server,10.0.0.7"]);
    command.args(["--dhcp-option=option:classless-static-route,10.8.0.0/14,10.0.0.8,0.0.0.0/0,10.0.0.2"]);
    command.args(["--dhcp-option=option:domain-search,example.net,sub.example.net"]);
    command.args(["--dhcp-option=option:dns-server,10.0.0.3,10.0.0.4"]);
    command.arg(format!("--dhcp-leasefile={}/leases", folder.path().display()));
    let server = Process::spawn(name, &command, folder.path());
    wait_until("dnsmasq to listen", LIMIT, || server.output().contains("DHCP, IP range"));
    server
}

#[test]
fn dnsmasq_lends_renews_and_gets_back_an_address() {
    let mut lab = Lab::new();
    let now = lab.now();
    lab.client.link_up(now);
    lab.run("an address", |lab| lab.client.state() == ClientState::Bound);
    let lease = lab.client.lease().unwrap().clone();
    assert!((Ipv4Addr::new(10, 0, 0, 50)..=Ipv4Addr::new(10, 0, 0, 60)).contains(&lease.address));
    assert_eq!((lease.prefix, lease.mtu, lease.server), (24, Some(1400), Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(lease.dns_servers, [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)]);
    assert_eq!(lease.ntp_servers, [Ipv4Addr::new(10, 0, 0, 7)]);
    let routes: Vec<String> = lease
        .routes
        .iter()
        .map(|route| format!("{}/{} {}", route.destination, route.prefix, route.router))
        .collect();
    assert_eq!(routes, ["10.8.0.0/14 10.0.0.8", "0.0.0.0/0 10.0.0.2"]);
    assert_eq!(lease.domain.as_ref().unwrap().as_str(), "example.net");
    let search: Vec<&str> = lease.search.iter().map(|name| name.as_str()).collect();
    assert_eq!(search, ["example.net", "sub.example.net"]);
    let leases = std::fs::read_to_string(lab.folder.path().join("leases")).unwrap();
    assert!(
        leases.contains(&format!("02:00:00:00:00:09 {} host1 01:02:00:00:00:00:09", lease.address)),
        "{leases}"
    );

    // Half of the lease later it is renewed, by unicast.
    let acknowledged = lab.client.counters().acknowledged;
    lab.ahead = Nanos::from_seconds(1801);
    lab.run("a renewal", |lab| lab.client.counters().acknowledged == acknowledged + 1);
    assert!(lab.client.lease().unwrap().until > lease.until);
    // The server is away; all are asked, and it is back.
    lab.server.kill();
    lab.ahead = Nanos::from_seconds(1801 + 3200);
    lab.run("to ask all", |lab| lab.client.state() == ClientState::Rebinding);
    lab.server = dnsmasq("dnsmasq-again", &lab.outside, &lab.folder);
    lab.ahead = Nanos::from_seconds(1801 + 3400);
    lab.run("an answer to all", |lab| lab.client.counters().acknowledged == acknowledged + 2);
    assert_eq!(lab.client.lease().unwrap().address, lease.address);
    // The next start asks for the same.
    let kept = lab.client.lease().cloned();
    let settings = ClientSettings { mac: MAC, client_id: None, host_name: None };
    lab.client = Client::new(settings, kept, 7);
    let now = lab.now();
    lab.client.link_up(now);
    lab.run("the lease of before", |lab| lab.client.state() == ClientState::Bound);
    assert_eq!((lab.client.counters().sent, lab.client.counters().acknowledged), (1, 1));

    let now = lab.now();
    lab.client.release(now);
    lab.run("the release", |lab| lab.server.output().contains("DHCPRELEASE(lan) 10.0.0."));
    assert!(lab.configured.contains(&ClientEvent::Lost(lease.address)));
}
