mod chance;
mod v4;
mod v6;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use tempfile::TempDir;
use viaduct_switch::MacAddress;
use viaduct_switch::dhcp::datagram::{Envelope, open, seal};
use viaduct_switch::dhcp::server::{Parameters, Settings};
use viaduct_switch::dhcp::{Message, MessageType, Operation, code};

use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// What the wall clock says at the start.
const UNIX_S: u64 = 1_790_000_000;

fn port(number: usize) -> PortIndex {
    PortIndex::new(number).unwrap()
}

fn network(number: usize) -> NetworkIndex {
    NetworkIndex::new(number).unwrap()
}

fn mac(number: usize) -> MacAddress {
    MacAddress::from_u64(0x5254_0000_0000 + u64::try_from(number).unwrap())
}

fn at(seconds: u32) -> Nanos {
    Nanos::from_seconds(seconds)
}

fn v4() -> Settings {
    Settings {
        address: SERVER,
        mac: MacAddress([2, 0, 0, 0, 0, 0xfe]),
        prefix: 24,
        range: Some(([10, 0, 0, 100].into(), [10, 0, 0, 119].into())),
        lease_s: 3600,
        ports: 4,
        wide_ports: [port(9)].into(),
        held_ports: [].into(),
        fixed: BTreeMap::new(),
        parameters: Parameters::default(),
    }
}

/// The networks `home` and `lab`, ports `vm1` to `vm8`, and the uplink `wan`.
fn plan() -> Plan {
    let names = ["home", "lab"].iter().enumerate();
    let networks = names.map(|(index, name)| NetworkPlan {
        name: (*name).to_owned(),
        index: network(index),
        v4: Some(v4()),
        v6: None,
        advertisement: None,
    });
    let mut ports: BTreeMap<PortIndex, String> =
        (1..9).map(|number| (port(number), format!("vm{number}"))).collect();
    ports.insert(port(9), "wan".to_owned());
    Plan { networks: networks.collect(), ports }
}

/// The servers, and the folder that their file is in.
struct Lab {
    folder: TempDir,
    leasing: Leasing,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let leasing = start(&folder.path().join("state/leases"), 0);
        Self { folder, leasing }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state/leases")
    }

    /// The process is killed, and another one begins `seconds` after the start; its own clock begins with 0.
    fn restart(&mut self, seconds: u64) {
        self.leasing = start(&self.path(), seconds);
    }

    /// What the port's station is answered in the network.
    fn ask_in(&mut self, net: usize, now: u32, number: usize, question: &Message) -> Option<Message> {
        let frame = broadcast(question);
        let answer = self.leasing.receive(network(net), port(number), &frame, at(now), &mut |_| false)?;
        let (_, payload) = open(&answer).unwrap();
        Some(Message::decode(payload).unwrap())
    }

    fn ask(&mut self, now: u32, number: usize, question: &Message) -> Option<Message> {
        self.ask_in(0, now, number, question)
    }

    /// The address that a station gets in full.
    fn lent(&mut self, now: u32, number: usize) -> Option<Ipv4Addr> {
        let offer = self.ask(now, number, &message(number, MessageType::Discover))?;
        let mut request = message(number, MessageType::Request);
        request.options.set(code::REQUESTED_ADDRESS, offer.yiaddr.octets());
        request.options.set(code::SERVER_IDENTIFIER, SERVER.octets());
        let answer = self.ask(now, number, &request)?;
        assert_eq!(answer.kind(), Ok(MessageType::Ack));
        Some(answer.yiaddr)
    }

    fn renew(&mut self, now: u32, number: usize, address: Ipv4Addr) -> Option<MessageType> {
        let renewal = Message { ciaddr: address, ..message(number, MessageType::Request) };
        self.ask(now, number, &renewal).map(|answer| answer.kind().unwrap())
    }

    /// Addresses that are lent, with the names of their ports.
    fn held(&self) -> Vec<(String, String)> {
        let bound = self.leasing.leases().into_iter().filter(|lease| lease.state == LeaseState::Bound);
        bound.map(|lease| (lease.address.to_string(), lease.port.unwrap())).collect()
    }

    /// Names that came (`+`) and went (`-`).
    fn names(&mut self) -> Vec<String> {
        let sign = |change: &NameChange| if change.is_added { '+' } else { '-' };
        let changes = self.leasing.take_names().into_iter();
        changes
            .map(|change| format!("{}{} {} {}", sign(&change), change.network, change.name, change.address))
            .collect()
    }
}

fn start(path: &Path, seconds: u64) -> Leasing {
    let mut leasing = Leasing::open(path, Nanos(0), UNIX_S + seconds);
    leasing.configure(plan(), Nanos(0)).unwrap();
    leasing
}

fn message(number: usize, kind: MessageType) -> Message {
    let mut message = Message::new(Operation::Request, 7, mac(number));
    message.options.set(code::MESSAGE_TYPE, [kind.number()]);
    message
}

fn broadcast(message: &Message) -> Vec<u8> {
    let envelope = Envelope {
        source_mac: message.chaddr,
        destination_mac: MacAddress::BROADCAST,
        source: message.ciaddr,
        destination: Ipv4Addr::BROADCAST,
        source_port: 68,
        destination_port: 67,
    };
    seal(&envelope, &message.encode(1500).0)
}
