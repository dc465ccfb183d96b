use std::collections::{BTreeMap, BTreeSet};

use tempfile::TempDir;
use viaduct_switch::dhcp::server::{Parameters, Server, Settings};

use super::*;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x66]);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
const UNIX_S: u64 = 1_790_000_000;

fn network(number: usize) -> NetworkIndex {
    NetworkIndex::new(number).unwrap()
}

fn port(number: usize) -> PortIndex {
    PortIndex::new(number).unwrap()
}

fn plan(is_up: bool) -> ClientPlan {
    ClientPlan { uplink: "isp".to_owned(), network: network(3), port: port(5), mac: MAC, is_up }
}

/// A server that lends the addresses up to this one.
fn server(last: u8) -> Server {
    let range = Some(([192, 0, 2, 50].into(), [192, 0, 2, last].into()));
    let parameters = Parameters { routers: vec![SERVER], dns_servers: vec![SERVER], ..Parameters::default() };
    let (fixed, wide_ports) = (BTreeMap::new(), BTreeSet::new());
    let settings = Settings {
        address: SERVER,
        mac: SERVER_MAC,
        prefix: 24,
        range,
        lease_s: 3600,
        ports: 0,
        wide_ports,
        held_ports: [].into(),
        fixed,
        parameters,
    };
    Server::new(settings).unwrap()
}

/// A client and a server on one wire, and the folder that the lease is in.
struct Wire {
    folder: TempDir,
    clients: Clients,
    server: Server,
    now: Nanos,
    /// Who has which address already.
    others: BTreeMap<Ipv4Addr, MacAddress>,
    /// By which port the server's answers come.
    port: PortIndex,
    /// Packets for the server alone.
    packets: Vec<Vec<u8>>,
    reports: Vec<ClientReport>,
}

impl Wire {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clients = Clients::new(folder.path(), 7, (Nanos(0), UNIX_S));
        Self {
            folder,
            clients,
            server: server(50),
            now: Nanos(0),
            others: BTreeMap::new(),
            port: port(5),
            packets: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// The process is killed, and another one begins at this time.
    fn restart(&mut self, seconds: u64) {
        self.clients = Clients::new(self.folder.path(), 8, (Nanos(0), UNIX_S + seconds));
        self.now = Nanos(0);
        self.reports.clear();
    }

    fn configure(&mut self, is_up: bool) {
        self.clients.configure(vec![plan(is_up)], self.now);
        self.exchange();
    }

    /// Lets everything happen for so long.
    fn run(&mut self, seconds: u32) {
        let end = self.now + Nanos::from_seconds(seconds);
        self.exchange();
        while let Some(due) = self.clients.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.clients.advance(self.now);
            self.exchange();
        }
        self.now = end;
    }

    fn exchange(&mut self) {
        while let Some(outgoing) = self.clients.next_outgoing() {
            match outgoing {
                Outgoing::Frame { network: of, frame } => {
                    assert_eq!(of, network(3));
                    let answer = self.server.receive(self.now, port(5), &frame, &mut |_| false);
                    if let Some(answer) = answer {
                        assert!(Clients::concerns(&answer) && !Clients::concerns(&frame));
                        self.clients.receive(of, self.port, &answer, self.now);
                    }
                }
                Outgoing::Packet { packet, .. } => self.packets.push(packet),
                Outgoing::Probe { network, address } => {
                    let taken_by = self.others.get(&address).copied();
                    self.clients.probed(network, address, taken_by, self.now);
                }
            }
        }
        if let Some(mut reports) = self.clients.news() {
            self.reports.extend(reports.remove("isp"));
        }
    }

    fn last(&self) -> &ClientReport {
        self.reports.last().unwrap()
    }

    fn address(&self) -> Option<[u8; 4]> {
        Some(self.last().lease.as_ref()?.address.octets())
    }
}

#[test]
fn an_uplink_gets_an_address_and_renews_it_with_its_server_alone() {
    let mut wire = Wire::new();
    wire.configure(false);
    assert_eq!((wire.last().state, wire.address()), (ClientState::Down, None));
    wire.configure(true);
    wire.run(10);
    assert_eq!((wire.last().state, wire.address()), (ClientState::Bound, Some([192, 0, 2, 50])));
    assert_eq!(wire.last().lease.as_ref().unwrap().dns_servers, [SERVER]);
    assert!(wire.packets.is_empty());
    wire.run(1800);
    assert_eq!((wire.last().state, wire.packets.len()), (ClientState::Renewing, 1));
    let (source, destination) = (&wire.packets[0][12..16], &wire.packets[0][16..20]);
    assert_eq!((source, destination), (&[192, 0, 2, 50][..], &SERVER.octets()[..]));
}

#[test]
fn a_process_that_comes_after_this_one_goes_on_at_once() {
    let mut wire = Wire::new();
    wire.configure(true);
    wire.run(10);
    // Killed; the address counts before there is a link or anybody was asked.
    wire.restart(60);
    wire.configure(false);
    assert_eq!(wire.address(), Some([192, 0, 2, 50]));
    wire.configure(true);
    assert_eq!((wire.last().state, wire.address()), (ClientState::Bound, Some([192, 0, 2, 50])));
    let lost = wire.reports.iter().any(|report| report.lease.is_none());
    assert!(!lost, "{:?}", wire.reports);
    // Nobody answers: the lease ends when it was to, by the wall clock.
    wire.restart(1800);
    wire.port = port(6);
    wire.configure(true);
    wire.run(1800);
    assert_eq!(wire.address(), Some([192, 0, 2, 50]));
    wire.run(200);
    assert_eq!(wire.address(), None);
    assert!(wire.last().trouble.as_ref().unwrap().contains("192.0.2.50 has ended"), "{:?}", wire.last());
    let left: Vec<_> = std::fs::read_dir(wire.folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // After the end there is nothing to go on with.
    wire.restart(4000);
    wire.configure(false);
    assert_eq!(wire.address(), None);
}

#[test]
fn an_address_that_another_station_has_is_declined() {
    let mut wire = Wire::new();
    wire.server = server(200);
    wire.others = (50..=200).map(|last| ([192, 0, 2, last].into(), OTHER)).collect();
    wire.configure(true);
    wire.run(5);
    let trouble = wire.last().trouble.clone().unwrap();
    assert!(trouble.contains(", which the station 02:00:00:00:00:66 has"), "{trouble}");
    wire.others.clear();
    wire.run(20);
    let address = wire.address().unwrap();
    assert!(!trouble.contains(&format!("{}, which", Ipv4Addr::from(address))), "{trouble}");
    assert_eq!(wire.last().trouble, None);
    // Somebody takes it later on: he is told once that it is ours, and then has it.
    let mut claim = || {
        wire.clients.claimed((network(3), port(5)), address.into(), OTHER, wire.now);
        wire.exchange();
        wire.address()
    };
    assert_eq!(claim(), Some(address));
    assert_eq!(claim(), None);
    wire.run(30);
    assert!(wire.address().is_some_and(|other| other != address));
}

#[test]
fn only_what_comes_by_the_uplink_is_heard() {
    let mut wire = Wire::new();
    wire.port = port(6);
    wire.configure(true);
    wire.run(30);
    assert_eq!((wire.last().state, wire.address()), (ClientState::Selecting, None));
    wire.port = port(5);
    wire.run(64);
    let address = wire.address().unwrap();
    for _ in 0..3 {
        wire.clients.claimed((network(3), port(6)), address.into(), OTHER, wire.now);
    }
    wire.exchange();
    assert_eq!(wire.address(), Some(address), "a station elsewhere takes no address away");
    // Another interface is another client.
    let plans = vec![ClientPlan { mac: OTHER, ..plan(true) }];
    wire.clients.configure(plans, wire.now);
    wire.exchange();
    assert_eq!(wire.address(), None);
    wire.clients.configure(Vec::new(), wire.now);
    assert_eq!(wire.clients.news(), Some(ClientReports::new()));
}
