//! The services of each network, and the loop that gives them their packets.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use viaduct_switch::ids::{NetworkIndex, PortIndex};
use viaduct_switch::packet::datagram::{Datagram, overhead};
use viaduct_switch::packet::{Packet, number, parse_ip};

use super::counters::Event;
use super::dns::{NameServer, Question, Reading, Step, read, tcp};
use super::metadata;
use super::outside::{Outside, Provider};
use super::settings::{NetworkServices, Uplink};
use super::shared::{Arrival, Plan, Shared};
use super::stack::Stack;

/// Packets taken before others get their turn.
const BURST: usize = 32;

/// How long a question may wait for its turn: whoever asked has given up by then (resolv.conf(5), `timeout`).
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Takes packets and settings until the task is ended.
pub(super) async fn serve(shared: Arc<Shared>) {
    let mut networks = Networks { shared: Arc::clone(&shared), plan: Arc::default(), active: HashMap::new() };
    loop {
        networks.follow();
        if networks.take_burst() {
            tokio::task::yield_now().await;
        } else {
            shared.wake.notified().await;
        }
    }
}

/// The networks that have services.
struct Networks {
    shared: Arc<Shared>,
    /// What was carried out last.
    plan: Arc<Plan>,
    active: HashMap<NetworkIndex, Arc<Network>>,
}

/// One network's services.
struct Network {
    settings: Arc<NetworkServices>,
    name_server: Option<Arc<NameServer>>,
    stack: Arc<Stack>,
    /// Questions that wait for others' answers.
    open: Mutex<HashSet<Asked>>,
}

/// By what a question that comes again is known.
type Asked = (PortIndex, SocketAddr, u16);

impl Networks {
    /// Carries the plan out, if it changed.
    fn follow(&mut self) {
        let plan = Arc::clone(&self.shared.plan.lock());
        if Arc::ptr_eq(&plan, &self.plan) {
            return;
        }
        self.active
            .retain(|index, network| plan.get(index).is_some_and(|wanted| *wanted == network.settings));
        self.follow_uplinks(&plan);
        for (index, wanted) in &*plan {
            self.active.entry(*index).or_insert_with(|| Arc::new(Network::new(wanted, &self.shared)));
        }
        self.shared.names.retain(|index| plan.contains_key(&index));
        self.plan = plan;
    }

    /// Has sockets at the uplinks by which name servers are asked, and at no others.
    fn follow_uplinks(&self, plan: &Plan) {
        let wanted = || plan.values().filter_map(|settings| settings.dns.as_ref()?.uplink.as_ref());
        let mut outsides = self.shared.outsides.lock();
        outsides.retain(|network, outside| {
            wanted().any(|uplink| uplink.network == *network && uplink.mtu == outside.mtu())
        });
        for uplink in wanted() {
            let new = || Arc::new(Outside::new(uplink, &self.shared));
            outsides.entry(uplink.network).or_insert_with(new);
        }
    }

    /// Serves some packets; whether there may be more.
    fn take_burst(&self) -> bool {
        for _ in 0..BURST {
            let Some((port, arrival)) = self.shared.inbox.lock().pop() else { return false };
            self.give(port, &arrival);
        }
        true
    }

    /// Gives a packet to its uplink's sockets or its network.
    fn give(&self, port: PortIndex, arrival: &Arrival) {
        let Ok(parsed) = parse_ip(&arrival.bytes) else {
            return self.shared.counters.count(Event::Malformed);
        };
        if let Some(outside) = self.shared.outside(arrival.network, &parsed) {
            outside.receive(&parsed, &arrival.bytes);
        } else if let Some(network) = self.active.get(&arrival.network) {
            network.receive(&self.shared, port, &parsed, &arrival.bytes);
        }
    }
}

impl Network {
    /// The network's services as they are wanted; those at its uplink are there already.
    fn new(settings: &Arc<NetworkServices>, shared: &Arc<Shared>) -> Self {
        let name_server = settings.dns.as_ref().map(|dns| {
            let outside = |uplink: &Uplink| shared.outsides.lock().get(&uplink.network).cloned();
            let provider =
                dns.uplink.as_ref().and_then(|uplink| Some(Provider::new(&outside(uplink)?, uplink)));
            Arc::new(NameServer::new(settings, dns, provider))
        });
        let stack = Stack::new(settings.network, settings.mtu, shared);
        Self { settings: Arc::clone(settings), name_server, stack, open: Mutex::default() }
    }

    fn receive(self: &Arc<Self>, shared: &Arc<Shared>, port: PortIndex, parsed: &Packet, packet: &[u8]) {
        if parsed.fragment.is_some() {
            return shared.counters.count(Event::Malformed);
        }
        if !self.settings.knows(parsed.source.into()) {
            return shared.counters.count(Event::Stranger);
        }
        match parsed.protocol {
            number::TCP => self.connect(shared, port, parsed, packet),
            _ => self.question(shared, port, packet),
        }
    }

    /// Takes in a packet of a connection, and serves it if it is new.
    fn connect(&self, shared: &Arc<Shared>, port: PortIndex, parsed: &Packet, packet: &[u8]) {
        let Some(ports) = parsed.ports() else { return };
        let (shared, settings) = (Arc::clone(shared), Arc::clone(&self.settings));
        if settings.is_metadata(parsed.destination.into(), ports.destination) {
            let stream = self.stack.receive(port, parsed, packet, Some(metadata::WINDOWS));
            if let Some(stream) = stream {
                tokio::spawn(metadata::pass_on(settings, shared, port, stream));
            }
        } else if let Some(server) = self.name_server.clone()
            && let Some(stream) = self.stack.receive(port, parsed, packet, Some(tcp::WINDOWS))
        {
            tokio::spawn(tcp::converse(server, shared, port, stream));
        }
    }

    /// Takes in a question in a datagram.
    fn question(self: &Arc<Self>, shared: &Arc<Shared>, port: PortIndex, packet: &[u8]) {
        let Ok(datagram) = Datagram::open(packet) else { return shared.counters.count(Event::Malformed) };
        if datagram.source.port() == 0 {
            return shared.counters.count(Event::Malformed);
        }
        match read(datagram.payload) {
            Reading::Ignore => shared.counters.count(Event::DnsIgnored),
            Reading::Reject(event, reply) => {
                shared.counters.count(event);
                self.reply(shared, &datagram, &reply);
            }
            Reading::Ask(question) => self.ask(shared, port, &datagram, question),
        }
    }

    fn ask(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        port: PortIndex,
        datagram: &Datagram<'_>,
        question: Box<Question>,
    ) {
        shared.counters.count(Event::DnsQuestion);
        let Some(name_server) = &self.name_server else { return };
        let max = question
            .datagram_max(usize::from(self.settings.mtu).saturating_sub(overhead(datagram.source.ip())));
        match name_server.step(&question, &shared.names, &shared.counters) {
            Step::Done(answer) => {
                if let Some((reply, is_truncated)) = question.write(&answer, max) {
                    self.count_truncated(shared, is_truncated);
                    self.reply(shared, datagram, &reply);
                }
            }
            Step::Forward => self.forward(shared, port, datagram, question, max),
        }
    }

    /// Has others asked, in a task of its own.
    fn forward(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        port: PortIndex,
        datagram: &Datagram<'_>,
        question: Box<Question>,
        max: usize,
    ) {
        let asked = (port, datagram.source, question.id());
        if !self.open.lock().insert(asked) {
            return shared.counters.count(Event::DnsRepeated);
        }
        let envelope = (datagram.source, datagram.destination);
        let (network, shared) = (Arc::clone(self), Arc::clone(shared));
        tokio::spawn(async move {
            network.forward_one(&shared, port, envelope, &question, max).await;
            network.open.lock().remove(&asked);
        });
    }

    async fn forward_one(
        &self,
        shared: &Shared,
        port: PortIndex,
        (source, destination): (SocketAddr, SocketAddr),
        question: &Question,
        max: usize,
    ) {
        let (Some(name_server), Ok(Some(_place))) =
            (&self.name_server, timeout(WAIT_MAX, shared.places.take(port)).await)
        else {
            return shared.counters.count(Event::DnsNoPlace);
        };
        let answer = name_server.forward(question, &shared.counters).await;
        if let Some((reply, is_truncated)) = question.write(&answer, max) {
            self.count_truncated(shared, is_truncated);
            self.reply(shared, &Datagram { source, destination, payload: &[] }, &reply);
        }
    }

    fn count_truncated(&self, shared: &Shared, is_truncated: bool) {
        if is_truncated {
            shared.counters.count(Event::DnsTruncated);
        }
    }

    /// Sends `payload` back to where `datagram` came from.
    fn reply(&self, shared: &Shared, datagram: &Datagram<'_>, payload: &[u8]) {
        let reply = Datagram { source: datagram.destination, destination: datagram.source, payload };
        if let Some(packet) = reply.seal() {
            shared.send(self.settings.network, packet);
        }
    }
}
