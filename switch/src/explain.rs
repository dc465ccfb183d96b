//! Why a frame goes where it goes: what each stage looked at and what came of it, as data.
//!
//! [`Switch::explain`](crate::Switch::explain) makes it by asking the very functions that decide about real frames, with
//! something that listens to them. Nothing listens on the data path, where this costs nothing.

use std::cell::RefCell;
use std::net::IpAddr;

use crate::conntrack;
use crate::counters::Volume;
use crate::drops::DropReason;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::marking::Trust;
use crate::meter::{Colour, Dscp};
use crate::nat::Cause;
use crate::packet::{Contents, Icmp, IcmpMessage, Packet, Ports, Transport};
use crate::router::{Route, Why};
use crate::security::{Direction, Match};
use crate::spanning_tree::PortState;
use crate::stages::Stage;
use crate::storm::{FrameRate, StormClass};
use crate::vlan::{Priority, TagStack};

/// What would become of a frame, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// What was done one after the other.
    pub steps: Vec<ExplainedStep>,
    /// The network to which the frame belongs, if it belongs to one.
    pub network: Option<NetworkIndex>,
    /// What would become of it.
    pub fate: Fate,
    /// What it is to trees before ports' queues, if it leaves.
    pub leaving: Option<Leaving>,
}

/// A frame as filters of trees see it ([`Subject`](crate::qos::Subject)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaving {
    /// The packet of IP that it carries, with the addresses with which it leaves.
    pub packet: Option<Packet>,
    /// The network in which it leaves.
    pub network: Option<NetworkIndex>,
    /// What the port where it entered, or that one's meter, chose for it.
    pub mark: u16,
}

/// What becomes of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It leaves by these ports, in ascending order. Whether their drivers run is not the switch's to know.
    Leaves(Vec<Departure>),
    /// The control side gets it.
    Punted,
    /// The network's gateway gets it, and nobody else.
    ToGateway,
    /// It is dropped.
    Dropped(DropReason),
    /// That depends on bytes which are not known here: those behind the head of a message to the switch.
    Unknown,
}

/// A copy of a frame that leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Departure {
    /// The port.
    pub port: PortIndex,
    /// The tags before it.
    pub tags: TagStack,
}

/// One step on a frame's way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExplainedStep {
    /// Where it is.
    pub place: Place,
    /// What was looked at, in this order; each thing once.
    pub looked_at: Vec<Looked>,
    /// What came of it; nothing: the frame passed.
    pub outcomes: Vec<Outcome>,
}

/// A step's place on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// What the port believes of DSCP and priority, and writes.
    Marking,
    /// The port's meter.
    Meter,
    /// The tags tell the network.
    Classification,
    /// The port's guest may send from its own addresses only.
    PortSecurity,
    /// A stage.
    Stage(Stage),
    /// The port's meter for a class of frames.
    StormMeter,
    /// Multicast snooping.
    Snooping,
    /// The rules of the sender's and the receiver's security groups.
    SecurityGroups,
    /// The way to the control side.
    ControlMeter,
    /// Routes and neighbours.
    Router,
    /// What is known of stations on other hosts.
    Suppression,
}

impl Place {
    /// The step's name for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Marking => "marking",
            Self::Meter => "meter",
            Self::Classification => "classification",
            Self::PortSecurity => "port-security",
            Self::Stage(stage) => stage.name(),
            Self::StormMeter => "storm-meter",
            Self::Snooping => "snooping",
            Self::SecurityGroups => "security-groups",
            Self::ControlMeter => "control-meter",
            Self::Router => "router",
            Self::Suppression => "suppression",
        }
    }
}

/// Something that was looked at, with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Looked {
    /// A VLAN tag, as it stands in the frame.
    Tag {
        /// Its type.
        kind: u16,
        /// The VLAN id, 0 to 4095.
        vlan: u16,
        /// The priority code point.
        priority: u8,
    },
    /// What the frame is on a wire: of a super-frame, all segments with their headers.
    OnTheWire(Volume),
    /// That no tag stands there.
    Untagged,
    /// The code point of a packet of IP.
    Dscp(Dscp),
    /// What the port believes.
    Trust(Trust),
    /// The frame's length in bytes, and the limit that it was compared with.
    Length {
        /// The frame's.
        bytes: u32,
        /// The most that is in order.
        limit: u32,
    },
    /// The length of the longest frame that it becomes on a wire, and the limit.
    WireLength {
        /// The frame's.
        bytes: u32,
        /// The most that is in order.
        limit: u32,
    },
    /// The destination address.
    Destination(MacAddress),
    /// The source address.
    Source(MacAddress),
    /// The type field.
    EtherType(u16),
    /// How many tags are left before the type field.
    TagsLeft(u32),
    /// The IP addresses of a packet.
    Addresses {
        /// Whence.
        source: IpAddr,
        /// Whereto.
        destination: IpAddr,
        /// The protocol's number.
        protocol: u8,
    },
    /// The ports of a transport header.
    Ports(Ports),
    /// The type of an ICMP or ICMPv6 message.
    IcmpType(u8),
    /// The target of a message of neighbour discovery.
    NeighbourTarget(IpAddr),
    /// What an ARP message claims.
    ArpSender {
        /// The MAC address.
        mac: MacAddress,
        /// The IPv4 address.
        address: IpAddr,
    },
    /// What the spanning tree wants of the port in the network.
    PortState(PortState),
    /// How many ports the network has that forward, the source included.
    Members(usize),
    /// Whether the network snoops multicast.
    Snoops(bool),
    /// Where an address is known to be, if that counts here, and for how many seconds it was not seen.
    Station {
        /// The address.
        mac: MacAddress,
        /// Its port and its age.
        known: Option<(PortIndex, u32)>,
    },
    /// A limit of the port's for frames of a class.
    StormLimit(StormClass, FrameRate),
    /// A limit that all ports have.
    Limit(FrameRate),
    /// The multicast group.
    Group(IpAddr),
    /// The route to the packet's destination.
    Route(Option<Route>),
    /// An IGMP or MLD message.
    MembershipMessage,
    /// What the packet is to the table of connections.
    Connection {
        /// Whether it belongs to one.
        verdict: conntrack::Verdict,
        /// In which state that is.
        state: Option<conntrack::State>,
    },
}

/// What came of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The frame belongs to this network.
    Belongs {
        /// The network.
        network: NetworkIndex,
        /// How many tags told it, and were taken off.
        tags: usize,
        /// What they said; `None`: the port's own.
        priority: Option<Priority>,
    },
    /// What the port's meter says of it.
    Coloured(Colour),
    /// It stays where its sender left it until the rate has room for it.
    Waits,
    /// It goes on with this code point.
    Marked(Dscp),
    /// It goes on with this priority.
    Prioritised(Priority),
    /// Filters know it by this from now on.
    Known(u16),
    /// The source address is noted at the port.
    Learns(MacAddress),
    /// The frame counts among those of the class.
    Metered(StormClass),
    /// It is within the limit.
    WithinLimit,
    /// It goes to one port.
    To(PortIndex),
    /// It goes to all ports of the network but the source.
    Floods,
    /// Snooping says who gets it.
    ToMembers,
    /// It goes to these ports, the group's members and the multicast routers.
    ToGroup(Vec<PortIndex>),
    /// It is a packet for another network, or for the gateway itself.
    Routed,
    /// The gateway is asked whether it concerns it.
    Offered,
    /// It does not concern the gateway.
    NotOffered,
    /// It may say who has an address on another host.
    Heard,
    /// It asks for a station on another host that is known, and is answered with its Ethernet address.
    Answered(MacAddress),
    /// It asks for a station that is not known here.
    NotKnown,
    /// It goes on in this network, to the station with this address.
    Hop(NetworkIndex, MacAddress),
    /// Its destination becomes this address and port.
    Redirected(IpAddr, u16, Cause),
    /// Its source becomes this address and port, if that is known: one that is to be chosen is not.
    Disguised(IpAddr, Option<u16>, Cause),
    /// The gateway gets it; why, if it is a packet to be routed.
    ToGateway(Option<Why>),
    /// The control side gets it.
    Punted,
    /// It is dropped.
    Dropped(DropReason),
    /// What the message says is not known here.
    Unread,
    /// A rule of this port's groups allows it.
    Allowed {
        /// The port.
        port: PortIndex,
        /// As the port's guest sees it.
        direction: Direction,
        /// The rule's group, and its remote.
        rule: Match,
    },
    /// This port vouched for the connection when it was opened, and nothing was taken away since.
    Vouched(PortIndex),
}

/// Listens to a decision. On the data path nobody does, and no code is left of it.
pub(crate) trait Observer {
    /// A stage is asked.
    fn stage(&self, stage: Stage);

    /// Something was looked at.
    fn looked(&self, what: impl FnOnce() -> Looked);

    /// Something came of it.
    fn outcome(&self, what: impl FnOnce() -> Outcome);
}

/// Nobody.
impl Observer for () {
    #[inline(always)]
    fn stage(&self, _stage: Stage) {}

    #[inline(always)]
    fn looked(&self, _what: impl FnOnce() -> Looked) {}

    #[inline(always)]
    fn outcome(&self, _what: impl FnOnce() -> Outcome) {}
}

/// Writes down all that it hears.
#[derive(Debug, Default)]
pub(crate) struct Notes(RefCell<Vec<ExplainedStep>>);

impl Notes {
    /// Begins a step.
    pub(crate) fn enter(&self, place: Place) {
        let step = ExplainedStep { place, looked_at: Vec::new(), outcomes: Vec::new() };
        self.0.borrow_mut().push(step);
    }

    /// All that was written down.
    pub(crate) fn into_steps(self) -> Vec<ExplainedStep> {
        self.0.into_inner()
    }

    /// Notes what a packet says that port security may look at.
    pub(crate) fn contents(&self, contents: &Contents) {
        match contents {
            Contents::Ip(packet) => {
                let (source, destination) = (packet.source.into(), packet.destination.into());
                self.looked(|| Looked::Addresses { source, destination, protocol: packet.protocol });
                if let Some(ports) = packet.ports() {
                    self.looked(|| Looked::Ports(ports));
                }
                if let Transport::Icmp(icmp) = &packet.transport {
                    self.icmp(icmp);
                }
            }
            Contents::Arp(message) => {
                let (mac, address) = (message.sender_mac, message.sender.into());
                self.looked(|| Looked::ArpSender { mac, address });
            }
            Contents::Other(kind) => self.looked(|| Looked::EtherType(*kind)),
        }
    }

    fn icmp(&self, icmp: &Icmp) {
        self.looked(|| Looked::IcmpType(icmp.kind));
        if let IcmpMessage::Neighbour(message) = &icmp.message
            && let Some(target) = message.target
        {
            self.looked(|| Looked::NeighbourTarget(target.into()));
        }
    }
}

impl Observer for Notes {
    fn stage(&self, stage: Stage) {
        self.enter(Place::Stage(stage));
    }

    fn looked(&self, what: impl FnOnce() -> Looked) {
        if let Some(step) = self.0.borrow_mut().last_mut() {
            let what = what();
            if !step.looked_at.contains(&what) {
                step.looked_at.push(what);
            }
        }
    }

    fn outcome(&self, what: impl FnOnce() -> Outcome) {
        if let Some(step) = self.0.borrow_mut().last_mut() {
            step.outcomes.push(what());
        }
    }
}
