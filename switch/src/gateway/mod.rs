//! What routers do beside the data path: the addresses of neighbours, answers, errors.
//!
//! ```text
//! a worker's offer ─ receive ─ ARP, neighbour discovery ─ notes, answers ──────────── Output::Send
//!                            ├ a packet that goes on by now ───────────────────────── Output::Again
//!                            ├ the next station is unknown: it waits, and is asked for ─ Send, then Again
//!                            ├ it cannot go on ── an ICMP error ───────────────────── Send, Dropped
//!                            ├ an echo request ── its answer ──────────────────────── Send
//!                            └ for a service (UDP, TCP, DHCP, router solicitation) ── Output::Local
//! a service's packet ─ originate ─ routed, resolved, cut ──────────────────────────── Send
//! time ─ advance ─ asks again, gives up, tells of new addresses
//! ```
//!
//! [`Gateway`] is all routers of a switch: pure, run by one thread. What has to be done is known by the same
//! function that workers ask (`Routing::way`); what it learns, it writes to [`Neighbours`] for them.
//!
//! Stations are hostile:
//! * Nobody becomes a neighbour by telling so: a station is noted when it answers, or when it asks for the gateway, which
//!   is going to answer it. Only addresses of the network's own subnets, and next hops of routes, count.
//! * The table is bounded, and whoever fills it displaces his own entries (`table`). Who asks for thousands of addresses that
//!   nobody has displaces his oldest question; packets that wait are bounded for each neighbour, port and in all (`held`).
//!   A neighbour that did not answer is not asked for again for two seconds.
//! * A station that claims the address of another one at another port gets it only if that one does not answer three questions
//!   within 1.5 s, and then not for good: it has to answer itself. Who answered is left alone for 10 s. At the same port the
//!   switch cannot tell who is who, and does as RFC 4861, 7.2.5 says.
//! * Errors are metered for each port and in all (`meters`), those about lengths by themselves; echoes are answered to the
//!   station that asked and to nobody else as long as routes agree: forged addresses reach nobody.
//!
//! What it does not do: answer for other stations (proxy ARP), put fragments for itself together, redirect (RFC 4861, 8), note
//! that neighbours are routers.

mod arp;
pub(crate) mod compose;
mod discovery;
mod forward;
mod fragment;
mod held;
mod icmp;
mod membership;
mod meters;
mod neighbour;
mod originate;
mod own;
mod random;
mod reset;
mod resolution;
mod table;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

pub(crate) use compose::group_mac;
pub(crate) use discovery::is_summed;
pub use neighbour::NeighbourState;

use crate::drops::DropReason;
use crate::ids::{NetworkIndex, PORTS_MAX, PortIndex};
use crate::mac::MacAddress;
use crate::multicast::query_in;
use crate::packet::{Address, Contents, Icmp, IcmpMessage, Packet, Ports, Transport, number, parse};
use crate::router::{Interface, Neighbours, Routing, Why, is_for_dhcp_client};
use crate::storm::FrameRate;
use crate::time::Nanos;

/// What tells a neighbour, and an address of the gateway's.
type Key = (NetworkIndex, Address);

/// The most things that are done in one call of [`Gateway::advance`].
const BUDGET: usize = 256;

/// How much a gateway remembers and says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Neighbours of all networks.
    pub neighbours: usize,
    /// Of these, such that never answered and were asked for, or asked, because of one port.
    pub unproven_of_port: usize,
    /// Bytes of packets that wait for neighbours.
    pub held_bytes: usize,
    /// ICMP errors a second because of one port's packets; as many again that are about their length.
    pub errors_of_port: FrameRate,
    /// All ICMP errors a second; as many again that are about lengths.
    pub errors: FrameRate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            neighbours: 16_384,
            unproven_of_port: 256,
            held_bytes: 4 << 20,
            errors_of_port: rate(100),
            errors: rate(10_000),
        }
    }
}

/// A rate that is one for certain.
const fn rate(per_second: u32) -> FrameRate {
    match FrameRate::new(per_second) {
        Some(rate) => rate,
        None => unreachable!(),
    }
}

/// A frame that a worker offered.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// The port where it came from.
    pub port: PortIndex,
    /// The network to which it belongs.
    pub network: NetworkIndex,
    /// The whole frame, without the tags that told its network, and with all checksums: no super-frame, but one of its segments.
    pub frame: &'a [u8],
    /// What a worker found out that the gateway cannot: about packets that would leave with other addresses than they have here.
    pub why: Option<Why>,
}

/// What the switch knows at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// What workers know of neighbours: always the same table.
    pub neighbours: &'a Neighbours,
    /// The time.
    pub now: Nanos,
}

/// What a gateway wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A frame of the gateway's own enters at its port of this network.
    Send {
        /// The network.
        network: NetworkIndex,
        /// The frame, without tags and with all checksums.
        frame: Vec<u8>,
    },
    /// A frame that a worker offered, or a fragment of it, enters once more at the port where it came from.
    Again {
        /// The port.
        port: PortIndex,
        /// The network to which it belongs.
        network: NetworkIndex,
        /// The frame, without tags and with all checksums.
        frame: Vec<u8>,
    },
    /// A frame for a service: UDP, TCP or an ICMP error to an address of the gateway's, a DHCP request, or a router
    /// solicitation. Nothing but the headers that led to this was checked.
    Local {
        /// The port where it came from.
        port: PortIndex,
        /// The network to which it belongs.
        network: NetworkIndex,
        /// The frame, without tags.
        frame: Vec<u8>,
    },
    /// A frame ends here: to be counted at the port where it came from.
    Dropped {
        /// The port.
        port: PortIndex,
        /// The network to which it belonged.
        network: NetworkIndex,
        /// Why.
        reason: DropReason,
    },
    /// A station claims an address of the gateway's, which was defended (RFC 5227, 2.4, (c)). Told at most once in ten seconds for
    /// each address.
    Conflict {
        /// The port of the station.
        port: PortIndex,
        /// The network.
        network: NetworkIndex,
        /// The address.
        address: Address,
        /// The station.
        mac: MacAddress,
    },
    /// What [`Gateway::probe`] found out.
    Probed {
        /// The network.
        network: NetworkIndex,
        /// The address that was probed.
        address: Address,
        /// The station that has it; `None`: nobody has, it may be the gateway's now.
        taken_by: Option<MacAddress>,
    },
}

/// A neighbour as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The network.
    pub network: NetworkIndex,
    /// Its address.
    pub address: Address,
    /// Its Ethernet address, if it is known.
    pub mac: Option<MacAddress>,
    /// What is known about it.
    pub state: NeighbourState,
    /// The port where it was heard last.
    pub port: Option<PortIndex>,
    /// Since when it has been in this state.
    pub since: Nanos,
}

/// Whom an entry or a waiting packet is charged to: a port, or the gateway itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Charge(u16);

impl Charge {
    const COUNT: usize = PORTS_MAX + 1;

    /// What the gateway's services send.
    const OWN: Self = Self(4096);

    fn port(port: PortIndex) -> Self {
        Self(port.raw())
    }

    fn from_index(index: usize) -> Self {
        u16::try_from(index).map_or(Self::OWN, Self)
    }

    fn get(self) -> usize {
        usize::from(self.0)
    }
}

const _: () = assert!(Charge::OWN.0 as usize == PORTS_MAX);

/// The gateways of all networks.
#[derive(Debug)]
pub struct Gateway {
    routing: Arc<Routing>,
    /// Other routers, which need not be of a subnet of their network.
    next_hops: HashSet<Key>,
    table: table::Table,
    room: held::Room,
    own: own::Own,
    memberships: membership::Memberships,
    meters: meters::Meters,
    random: random::Random,
    outputs: VecDeque<Output>,
}

impl Gateway {
    /// A gateway without interfaces. `seed` must be random and secret.
    #[must_use]
    pub fn new(seed: u64, limits: &Limits) -> Self {
        Self {
            routing: Arc::default(),
            next_hops: HashSet::new(),
            table: table::Table::new(limits.neighbours, limits.unproven_of_port, seed.rotate_left(24)),
            room: held::Room::new(limits.held_bytes),
            own: own::Own::default(),
            memberships: membership::Memberships::default(),
            meters: meters::Meters::new(limits),
            random: random::Random::new(seed),
            outputs: VecDeque::new(),
        }
    }

    /// What has to be done now, in this order; to be asked after each call.
    pub fn drain(&mut self) -> impl Iterator<Item = Output> {
        self.outputs.drain(..)
    }

    /// The policy has changed. Neighbours stay known as long as their interface does; stations are told of addresses that are
    /// new, or have moved to another Ethernet address. At uplinks, whether anybody has a new address is asked: for one of IPv6
    /// before it is spoken with (RFC 4862, 5.4), for one of IPv4 while it is in use already, since who wrote it wants it so.
    pub fn set_routing(&mut self, routing: Arc<Routing>, moment: Moment<'_>) {
        let before = std::mem::replace(&mut self.routing, Arc::clone(&routing));
        let is_same = |network| match (before.interface(network), routing.interface(network)) {
            (Some(old), Some(new)) => old.mac == new.mac && old.router == new.router,
            _ => false,
        };
        let is_own = |(network, address): Key| routing.interface(network).is_some_and(|new| new.has(address));
        let gone = |key: Key| !is_same(key.0) || is_own(key);
        self.forget_where(DropReason::NoRoute, moment, |entry, _| gone(entry.key));
        self.next_hops = routing.next_hops().collect();
        self.own.retain(|key, is_probed| is_own(key) || (is_same(key.0) && is_probed));
        self.memberships.retain(is_same);
        for (network, interface) in routing.interfaces() {
            self.memberships.follow(network, interface, moment.now);
            let old = before.interface(network).filter(|old| old.mac == interface.mac);
            let new = interface.own_addresses().filter(|address| !old.is_some_and(|old| old.has(*address)));
            new.for_each(|address| self.introduce(network, interface, address, moment.now));
        }
    }

    /// A link of the network came: stations that may be others than before are told of the gateway's addresses, as of new ones, and who was
    /// asked for in vain is asked for anew, since nobody heard that.
    pub fn link_up(&mut self, network: NetworkIndex, now: Nanos) {
        let routing = Arc::clone(&self.routing);
        let Some(interface) = routing.interface(network) else { return };
        self.memberships.tell_again(network, now);
        interface.own_addresses().for_each(|address| self.introduce(network, interface, address, now));
        self.hasten_questions(network, now);
    }

    fn introduce(&mut self, network: NetworkIndex, interface: &Interface, address: Address, now: Nanos) {
        if address.is_v4() || !interface.is_outside {
            self.own.announce((network, address), now);
        } else {
            self.probe(network, address, now);
        }
    }

    /// A port is gone: nothing that came from there waits any longer, and who was there is forgotten.
    pub fn forget_port(&mut self, port: PortIndex, moment: Moment<'_>) {
        let charge = Charge::port(port);
        self.forget_where(DropReason::NoReceiver, moment, |entry, of| {
            of == charge || entry.port == Some(port)
        });
        for slot in self.table.entries().map(|(slot, _, _)| slot).collect::<Vec<_>>() {
            let Some(entry) = self.table.get_mut(slot) else { continue };
            let (gone, stay) =
                std::mem::take(&mut entry.held).into_iter().partition(|held| held.origin.charge() == charge);
            entry.held = stay;
            let gone: VecDeque<held::Held> = gone;
            gone.iter().for_each(|held| self.room.give_back(held));
        }
    }

    fn forget_where(
        &mut self,
        reason: DropReason,
        moment: Moment<'_>,
        is_gone: impl Fn(&neighbour::Entry, Charge) -> bool,
    ) {
        let entries = self.table.entries();
        let gone = entries.filter(|(_, charge, entry)| is_gone(entry, *charge)).map(|(slot, _, _)| slot);
        for slot in gone.collect::<Vec<_>>() {
            self.forget(slot, reason, moment);
        }
    }

    /// Takes a frame that a worker offered.
    pub fn receive(&mut self, offered: &Offered<'_>, moment: Moment<'_>) {
        let length = u32::try_from(offered.frame.len()).unwrap_or(u32::MAX);
        let routing = Arc::clone(&self.routing);
        let Some(interface) = routing.interface(offered.network) else {
            return self.drop(offered, DropReason::NotRoutable);
        };
        if offered.why == Some(Why::Own) {
            return self.send_own(offered, moment);
        }
        match parse(offered.frame, length) {
            Ok(Contents::Arp(arp)) => self.hear_arp(offered, interface, &arp, moment),
            Ok(Contents::Ip(packet)) => self.take_packet(offered, interface, &packet, moment),
            Ok(Contents::Other(_)) => self.drop(offered, DropReason::NotRoutable),
            Err(error) => self.drop(offered, error.into()),
        }
    }

    fn take_packet(
        &mut self,
        offered: &Offered<'_>,
        interface: &Interface,
        packet: &Packet,
        moment: Moment<'_>,
    ) {
        let concerns_link = packet.destination.is_group() || interface.has(packet.destination);
        if packet.destination.is_group()
            && let Some(family) = query_in(offered.frame, packet)
        {
            return self.hear_query(offered, family, moment);
        }
        match packet.transport {
            Transport::Icmp(Icmp { kind: 133, .. }) if concerns_link && !packet.source.is_v4() => {
                self.hand_on(offered)
            }
            Transport::Icmp(icmp @ Icmp { kind: 135 | 136, .. })
                if concerns_link && !packet.source.is_v4() =>
            {
                match icmp.message {
                    IcmpMessage::Neighbour(neighbour) => {
                        self.hear_discovery(offered, interface, (packet, &icmp, &neighbour), moment);
                    }
                    _ => self.reject(offered),
                }
            }
            Transport::Ports(ports)
                if is_for_dhcp(packet, ports) || is_for_dhcp_client(interface, packet) =>
            {
                self.hand_on(offered)
            }
            _ if offered.frame.starts_with(&interface.mac.0) => self.route(offered, packet, moment),
            // What others were told as well.
            _ => {}
        }
    }

    /// Does what has become due by now, as far as one call may go on; [`Gateway::due`] tells whether there is more.
    pub fn advance(&mut self, moment: Moment<'_>) {
        for _ in 0..BUDGET {
            match self.table.first_due() {
                Some((due, slot)) if due <= moment.now => self.expire(slot, moment),
                _ => break,
            }
        }
        for _ in 0..BUDGET {
            match self.own.first_due() {
                Some((due, key)) if due <= moment.now => self.attend(key, moment.now),
                _ => break,
            }
        }
        for _ in 0..BUDGET {
            match self.memberships.first_due() {
                Some((due, key)) if due <= moment.now => self.attend_groups(key, moment.now),
                _ => break,
            }
        }
    }

    /// When [`Gateway::advance`] is to be called; `None`: there is nothing to be done.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        let neighbour = self.table.first_due().map(|(due, _)| due);
        let own = self.own.first_due().map(|(due, _)| due);
        let groups = self.memberships.first_due().map(|(due, _)| due);
        [neighbour, own, groups].into_iter().flatten().min()
    }

    /// All neighbours, in no order.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> {
        self.table.entries().map(|(_, _, entry)| Neighbour {
            network: entry.key.0,
            address: entry.key.1,
            mac: entry.state.is_known().then_some(entry.mac),
            state: entry.state,
            port: entry.port,
            since: entry.since,
        })
    }
}

/// Whether a packet to many stations is for a DHCP server (RFC 2131, 4.1; RFC 8415, 7).
fn is_for_dhcp(packet: &Packet, ports: Ports) -> bool {
    use crate::router::{DHCP_V4, DHCP_V6};
    let to = (packet.destination, ports.destination);
    packet.protocol == number::UDP && packet.fragment.is_none() && (to == DHCP_V4 || to == DHCP_V6)
}

#[cfg(test)]
mod tests;
