//! Tracing: what would become of a packet that entered now. The switch says it in numbers; names are put in here.

use std::net::IpAddr;

use viaduct_switch::conntrack::{self, State};
use viaduct_switch::explain::{Departure, ExplainedStep, Explanation, Fate, Leaving, Looked, Outcome};
use viaduct_switch::nat::Cause;
use viaduct_switch::packet::Address;
use viaduct_switch::qos::{FilterPlan, Report, RootPlan, Subject};
use viaduct_switch::router::{Route, Why};
use viaduct_switch::security::{Match, PortTables, Remote};
use viaduct_switch::{
    Claims, DropReason, Frame, Head, MacAddress, Metadata, NetworkIndex, PortIndex, StormClass, TagStack,
};

use crate::config::Attachment;
use crate::control::ControlGone;
use crate::control::controller::Controller;
use crate::control::qos::assigned;
use crate::control::routing::Named;
use crate::dataplane::ShapingReport;
use crate::model::{
    PortState, Trace, TraceField, TraceQueue, TraceReceiver, TraceStep, Verdict, VerdictKind,
};
use crate::trace::{Description, Surroundings, UnknownAddress, describe};

/// Why a packet was not traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Nobody is there to do it.
    #[error(transparent)]
    ControlGone(#[from] ControlGone),
    /// There is no such port.
    #[error("there is no port {0}; `viaduct show ports` lists all")]
    NoPort(String),
    /// So many watch already.
    #[error("{0} watch already, which is the most; end one of them")]
    TooManyWatch(usize),
    /// So many capture already.
    #[error("{0} capture already, which is the most; end one of them, or capture several ports at once")]
    TooManyCapture(usize),
    /// No packet came.
    #[error(
        "no such packet entered within {seconds} s, of {frames} frames that entered anywhere, {looked_at} of which were looked at; \
         wait longer with --timeout"
    )]
    NoneCame {
        /// How long was waited.
        seconds: u64,
        /// Frames that entered meanwhile.
        frames: u64,
        /// Those that were looked at.
        looked_at: u64,
    },
    /// The description leaves something open.
    #[error(transparent)]
    Unknown(#[from] UnknownAddress),
}

impl Controller {
    /// What would become of the described packet if it entered at `port` now; nothing is changed.
    pub(super) fn trace(&self, port: &str, description: &Description) -> Result<Trace, TraceError> {
        let &index = self.numbers.ports.get(port).ok_or_else(|| TraceError::NoPort(port.to_owned()))?;
        let resolve = |address| self.station_with(index, address);
        let around = Surroundings { port, mac: self.own_mac(port, index), resolve: &resolve };
        let bytes = description.build(&around)?;
        let head = Head::from_bytes(&bytes);
        let rest = bytes.get(head.bytes().len()..).unwrap_or_default();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let frame = Frame { head, meta: Metadata::new(index, length, Claims::default()), payload: rest };
        Ok(self.traced(&frame))
    }

    /// What would become of a frame, with names.
    pub(super) fn traced(&self, frame: &Frame<&[u8]>) -> Trace {
        let explained = self.switch.explain(&self.policy, self.bay.now(), frame);
        let words = Words { controller: self, source: frame.meta.source };
        let head = frame.head.bytes();
        Trace {
            port: words.port(frame.meta.source),
            packet: describe(head, frame.meta.length),
            bytes: head.iter().map(|byte| format!("{byte:02x}")).collect(),
            network: explained.network.map(|network| words.network(network)),
            steps: explained.steps.iter().map(|step| words.step(step)).collect(),
            verdict: words.verdict(&explained),
            happened: None,
        }
    }

    /// The address of the station behind a port, as the configuration or the kernel says.
    fn own_mac(&self, name: &str, index: PortIndex) -> Option<MacAddress> {
        let configured = self.config.ports.get(name).and_then(|port| match &port.attachment {
            Attachment::VhostUser(guest) => Some(guest.mac),
            Attachment::Interface(_) => port.security.as_ref().map(|security| security.mac),
        });
        let interface = || self.interfaces.get(&index).and_then(|port| port.link()?.mac);
        configured.or_else(interface)
    }

    /// To whom a station at the port sends what is for `address`: who has it in one of the port's networks, by the configuration or
    /// as the gateway knows; else the gateway, as hosts do with what is not of their subnets.
    fn station_with(&self, source: PortIndex, address: IpAddr) -> Option<MacAddress> {
        let networks = self.policy.port(source)?.networks();
        let shares = |name: &String| {
            let port = self.numbers.ports.get(name).and_then(|port| self.policy.port(*port));
            port.is_some_and(|port| port.networks().iter().any(|network| networks.contains(network)))
        };
        let secured =
            self.config.ports.iter().filter_map(|(name, port)| Some((name, port.security.as_ref()?)));
        let mut owners =
            secured.filter(|(name, security)| security.addresses.contains(&address) && shares(name));
        let owner = owners.next().map(|(_, security)| security.mac);
        owner.or_else(|| networks.iter().find_map(|network| self.next_station(*network, address.into())))
    }

    /// The next station on the way from a network to an address, if the network has a gateway.
    fn next_station(&self, network: NetworkIndex, address: Address) -> Option<MacAddress> {
        let routing = self.policy.routing()?;
        let interface = routing.interface(network)?;
        match routing.route(interface.router, address) {
            Some(Route::Link(to)) if to == network => self.switch.neighbours().get(network, address),
            Some(Route::Broadcast) => None,
            _ => Some(interface.mac),
        }
    }

    /// Whether somebody takes what leaves by a port.
    pub(super) fn runs(&self, port: PortIndex) -> bool {
        match (self.ports.get(port), self.interfaces.get(&port)) {
            (Some(port), _) => port.state().0 == PortState::Running,
            (None, Some(interface)) => interface.attached.is_some(),
            (None, None) => false,
        }
    }
}

/// Puts numbers into words.
pub(super) struct Words<'a> {
    pub(super) controller: &'a Controller,
    pub(super) source: PortIndex,
}

fn field(field: &str, value: impl ToString) -> TraceField {
    TraceField { field: field.to_owned(), value: value.to_string() }
}

impl Words<'_> {
    pub(super) fn port(&self, index: PortIndex) -> String {
        let ports = &self.controller.numbers.ports;
        let name = ports.iter().find(|(_, port)| **port == index).map(|(name, _)| name.clone());
        name.unwrap_or_else(|| format!("port number {index}"))
    }

    pub(super) fn network(&self, index: NetworkIndex) -> String {
        let networks = &self.controller.numbers.networks;
        let name = networks.iter().find(|(_, network)| **network == index).map(|(name, _)| name.clone());
        name.unwrap_or_else(|| format!("network number {index}"))
    }

    fn ports(&self, ports: &[PortIndex]) -> String {
        ports.iter().map(|port| self.port(*port)).collect::<Vec<_>>().join(", ")
    }

    fn step(&self, step: &ExplainedStep) -> TraceStep {
        let outcomes: Vec<String> = step.outcomes.iter().map(|outcome| self.outcome(outcome)).collect();
        let dropped = step.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Dropped(reason) => Some(reason.name().to_owned()),
            _ => None,
        });
        TraceStep {
            stage: step.place.name().to_owned(),
            looked_at: step.looked_at.iter().flat_map(|looked| self.looked(looked)).collect(),
            outcome: if outcomes.is_empty() { "passes".to_owned() } else { outcomes.join("; ") },
            dropped,
        }
    }

    fn looked(&self, looked: &Looked) -> Vec<TraceField> {
        let one = match looked {
            Looked::Tag { kind, vlan, priority } => {
                field("tag", format!("0x{kind:04x} VLAN {vlan} priority {priority}"))
            }
            Looked::OnTheWire(volume) => {
                field("on the wire", format!("{} packets, {} bytes", volume.frames, volume.bytes))
            }
            Looked::Untagged => field("tag", "none"),
            Looked::Dscp(dscp) => field("DSCP", dscp),
            Looked::Trust(trust) => field("trusted", trust),
            Looked::Length { bytes, limit } => field("length", against(*bytes, *limit)),
            Looked::WireLength { bytes, limit } => field("length on the wire", against(*bytes, *limit)),
            Looked::Destination(mac) => field("destination", mac),
            Looked::Source(mac) => field("source", mac),
            Looked::EtherType(kind) => field("type", format!("0x{kind:04x}")),
            Looked::TagsLeft(tags) => field("tags left", tags),
            Looked::Addresses { source, destination, protocol } => {
                return vec![
                    field("IP source", source),
                    field("IP destination", destination),
                    field("protocol", protocol),
                ];
            }
            Looked::Ports(ports) => {
                return vec![
                    field("source port", ports.source),
                    field("destination port", ports.destination),
                ];
            }
            Looked::IcmpType(kind) => field("ICMP type", kind),
            Looked::NeighbourTarget(address) => field("neighbour discovery target", address),
            Looked::ArpSender { mac, address } => {
                return vec![field("ARP sender", mac), field("ARP sender address", address)];
            }
            Looked::PortState(state) => field("spanning tree state", state.name()),
            Looked::Members(ports) => field("ports of the network", ports),
            Looked::Snoops(snoops) => field("multicast snooping", if *snoops { "on" } else { "off" }),
            Looked::Station { mac, known: Some((port, age_s)) } => {
                field("learned", format!("{mac} at {}, seen {age_s} s ago", self.port(*port)))
            }
            Looked::Station { mac, known: None } => field("learned", format!("{mac} nowhere")),
            Looked::StormLimit(class, rate) => {
                field("storm limit", format!("{} {} frames a second", rate.per_second(), class_name(*class)))
            }
            Looked::Limit(rate) => field("limit", format!("{} a second", rate.per_second())),
            Looked::Group(group) => field("group", group),
            Looked::Connection { verdict, state } => field("connection", connection(*verdict, *state)),
            Looked::MembershipMessage => field("message", "IGMP or MLD"),
            Looked::Route(route) => field("route", self.route(*route)),
        };
        vec![one]
    }

    fn outcome(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Belongs { network, tags: 0, .. } => {
                format!("belongs to network {}", self.network(*network))
            }
            Outcome::Belongs { network, priority, .. } => {
                let priority = priority
                    .map_or_else(String::new, |priority| format!(", priority {}", priority.code_point()));
                format!("belongs to network {} by its tag{priority}", self.network(*network))
            }
            Outcome::Waits => {
                "stays in the guest's ring until the rate has room for it, and goes on then".to_owned()
            }
            Outcome::Coloured(colour) => format!("{colour} to the meter of {}", self.port(self.source)),
            Outcome::Marked(dscp) => format!("goes on with DSCP {dscp}"),
            Outcome::Prioritised(priority) => format!("goes on with priority {}", priority.code_point()),
            Outcome::Known(mark) => format!("goes on with mark {mark}"),
            Outcome::Learns(mac) => format!("{mac} is noted at {}", self.port(self.source)),
            Outcome::Metered(class) => {
                format!("counts among the {} frames of {}", class_name(*class), self.port(self.source))
            }
            Outcome::WithinLimit => "within the limit".to_owned(),
            Outcome::To(port) => format!("goes to {}", self.port(*port)),
            Outcome::Floods => "goes to all other ports of the network".to_owned(),
            Outcome::ToMembers => "goes to those who want the group".to_owned(),
            Outcome::ToGroup(ports) => format!("goes to {}", self.ports(ports)),
            Outcome::Allowed { port, direction, rule } => {
                format!("{direction} of {} is allowed by {}", self.port(*port), self.rule(rule))
            }
            Outcome::Vouched(port) => format!("{} vouches for the connection", self.port(*port)),
            Outcome::Routed => "is the gateway's to send on".to_owned(),
            Outcome::Offered => "may concern the gateway".to_owned(),
            Outcome::NotOffered => "does not concern the gateway".to_owned(),
            Outcome::Heard => "may tell who has an address on another host".to_owned(),
            Outcome::Answered(mac) => {
                format!("is answered here: the station is on another host, and has {mac}")
            }
            Outcome::NotKnown => "asks for a station that is not known here".to_owned(),
            Outcome::Redirected(address, port, cause) => {
                format!("its destination becomes {}, {}", end(*address, Some(*port)), cause_of(*cause))
            }
            Outcome::Disguised(address, port, cause) => {
                format!("its source becomes {}, {}", end(*address, *port), cause_of(*cause))
            }
            Outcome::Hop(network, mac) => format!("goes on to {mac} in network {}", self.network(*network)),
            Outcome::ToGateway(why) => format!("goes to the gateway{}", why.map_or("", in_words)),
            Outcome::Punted => "goes to the switch itself".to_owned(),
            Outcome::Dropped(reason) => format!("dropped as {}: {}", reason.name(), reason.sentence()),
            Outcome::Unread => "not known: the message goes on behind what is known of it".to_owned(),
        }
    }

    fn route(&self, route: Option<Route>) -> String {
        match route {
            Some(Route::Local) => "the gateway's own address".to_owned(),
            Some(Route::Link(network)) => format!("to network {}", self.network(network)),
            Some(Route::Via(network, next)) => format!("by {next} in network {}", self.network(network)),
            Some(Route::Broadcast) => "a subnet's broadcast address".to_owned(),
            Some(Route::Unreachable) => "unreachable".to_owned(),
            None => "none".to_owned(),
        }
    }

    /// A rule, by what tells it: its group and who is at the other end.
    fn rule(&self, rule: &Match) -> String {
        let security = &self.controller.security;
        let group = security.group_name(rule.group).unwrap_or("a group that is gone");
        let remote = match rule.remote {
            Remote::Any => "anybody".to_owned(),
            Remote::Prefix(prefix) => prefix.to_string(),
            Remote::Group(of) => {
                format!("members of {}", security.group_name(of).unwrap_or("a group that is gone"))
            }
            Remote::AddressGroup(of) => {
                format!("address group {}", security.address_group_name(of).unwrap_or("that is gone"))
            }
        };
        format!("a rule of group {group} for {remote}")
    }

    fn verdict(&self, explained: &Explanation) -> Verdict {
        match &explained.fate {
            Fate::Leaves(departures) => {
                let waiting = self.controller.bay.shaping();
                let receiver =
                    |departure: &Departure| self.receiver(departure, explained.leaving.as_ref(), &waiting);
                let receivers = departures.iter().map(receiver).collect();
                Verdict { kind: VerdictKind::Sent, receivers, ..Verdict::default() }
            }
            Fate::Punted | Fate::ToGateway => Verdict { kind: VerdictKind::Control, ..Verdict::default() },
            Fate::Dropped(reason) => dropped(*reason),
            Fate::Unknown => Verdict::default(),
        }
    }

    fn receiver(
        &self,
        departure: &Departure,
        leaving: Option<&Leaving>,
        waiting: &[ShapingReport],
    ) -> TraceReceiver {
        let (port, running) = (self.port(departure.port), self.controller.runs(departure.port));
        let report = waiting.iter().find(|report| report.ports.contains(&departure.port));
        let queue =
            leaving.zip(report).and_then(|(leaving, report)| self.queue(&port, leaving, &report.report));
        TraceReceiver { port, tags: tags(&departure.tags), running, queue }
    }

    /// Where a frame would wait before a port.
    fn queue(&self, port: &str, leaving: &Leaving, report: &Report) -> Option<TraceQueue> {
        let controller = self.controller;
        let (_, qos) = assigned(&controller.config).find(|(name, _)| *name == port)?;
        let tree = controller.config.qos.get(qos)?.tree.as_ref()?;
        let outsides = controller.outsides_of(&controller.config, &controller.numbers);
        let named = Named { config: &controller.config, numbers: &controller.numbers, outsides: &outsides };
        let filters = tree.resolve_filters(&named, |group| controller.security.group_index(group));
        let security = controller.policy.security();
        let tables = security.and_then(|security| security.port(self.source));
        let subject = Subject {
            packet: leaving.packet.as_ref(),
            network: leaving.network,
            port: Some(self.source),
            groups: tables.and_then(PortTables::groups).unwrap_or_default(),
            mark: leaving.mark,
        };
        let matches =
            |filter: &Option<FilterPlan>| filter.is_some_and(|filter| filter.wants.matches(&subject));
        let filter = filters.iter().position(matches);
        let found = filter.and_then(|place| filters.get(place)?.map(|filter| filter.class));
        let class = match &tree.plan().root {
            RootPlan::Queue(_) => &report.root,
            RootPlan::Htb(htb) => report.classes.get(found.unwrap_or(htb.default).get())?,
        };
        let name = matches!(tree.plan().root, RootPlan::Htb(_)).then(|| class.name.to_string());
        Some(TraceQueue {
            qos: qos.clone(),
            class: name.unwrap_or_default(),
            filter,
            waiting_frames: class.backlog.frames.into(),
            waiting_bytes: class.backlog.bytes,
        })
    }
}

pub(super) fn dropped(reason: DropReason) -> Verdict {
    let (name, meaning) = (reason.name().to_owned(), reason.sentence().to_owned());
    Verdict { kind: VerdictKind::Dropped, reason: Some(name), meaning: Some(meaning), ..Verdict::default() }
}

/// What the gateway does with a packet.
fn in_words(why: Why) -> &'static str {
    match why {
        Why::Local => ", to which it is addressed",
        Why::Own => ", which sends it",
        Why::Expired => ", which tells the sender that it passed too many routers",
        Why::Unreachable => ", which tells the sender that there is no route",
        Why::Exhausted => ", which tells the sender that it may not",
        Why::TooBig { may_be_cut: true, .. } => ", which cuts it to fragments",
        Why::TooBig { .. } => ", which tells the sender that it is too big",
        Why::Unresolved { .. } => ", which looks for the next station",
    }
}

/// An address and a port, which is still to be chosen if it is not known.
fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(0) => address.to_string(),
        Some(port) => format!("{address} port {port}"),
        None => format!("{address} with a port to be chosen"),
    }
}

/// Why a packet gets another address, in words.
fn cause_of(cause: Cause) -> String {
    match cause {
        Cause::Connection => "as its connection began".to_owned(),
        Cause::Floating => "by a floating address".to_owned(),
        Cause::Published => "by a published port".to_owned(),
        Cause::Mapping => "by a mapping of the station there".to_owned(),
        Cause::Rule(rule) => format!("by source rule {} of its network", rule + 1),
        Cause::Prefix => "by the translation of its prefix".to_owned(),
    }
}

/// What a packet is to the table of connections, in words.
fn connection(verdict: conntrack::Verdict, state: Option<State>) -> String {
    let state = state.map_or("ended", State::name);
    match verdict {
        conntrack::Verdict::New => "none yet".to_owned(),
        conntrack::Verdict::Established(found) => match found.direction {
            conntrack::Direction::Original => state.to_owned(),
            conntrack::Direction::Reply => format!("{state}, this is a reply"),
        },
        conntrack::Verdict::Related(_) => format!("{state}, this is an error about it"),
        conntrack::Verdict::Invalid(reason) => reason.name().to_owned(),
        conntrack::Verdict::Untracked => "messages of this kind have none".to_owned(),
    }
}

fn against(bytes: u32, limit: u32) -> String {
    let more = if bytes > limit { "more" } else { "not more" };
    format!("{bytes} bytes, {more} than {limit}")
}

fn class_name(class: StormClass) -> &'static str {
    match class {
        StormClass::Broadcast => "broadcast",
        StormClass::Multicast => "multicast",
        StormClass::UnknownUnicast => "unknown-unicast",
    }
}

/// The tags of a stack, the outer one first.
pub(super) fn tags(stack: &TagStack) -> Vec<String> {
    let tag = |tag: &[u8]| match *tag {
        [kind, _, high, low] => {
            let word = if kind == 0x88 { "service-vlan" } else { "vlan" };
            format!("{word} {} priority {}", u16::from_be_bytes([high & 0xf, low]), high >> 5)
        }
        _ => String::new(),
    };
    stack.bytes().chunks(4).map(tag).collect()
}
