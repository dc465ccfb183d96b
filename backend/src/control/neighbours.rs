//! LLDP on uplinks that want it: tells neighbours of this switch, and notes who they are.

use std::collections::BTreeMap;
use std::time::Duration;

use viaduct_switch::lldp::{Agent, Capabilities, Entry, Local};
use viaduct_switch::{MacAddress, Nanos, PortIndex};

use crate::control::controller::Controller;
use crate::link::Link;
use crate::model::NeighbourStatus;

/// One link on which the protocol runs.
#[derive(Debug)]
struct Talk {
    interface: String,
    address: MacAddress,
    agent: Agent,
}

/// All of them, by port and link.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<(PortIndex, u8), Talk>);

/// A link on which the protocol is to run.
struct WantedTalk {
    place: (PortIndex, u8),
    uplink: String,
    interface: String,
    address: MacAddress,
    carrier: bool,
}

impl Neighbours {
    /// Takes a frame that came in by a link of `port`.
    pub(super) fn receive(&mut self, port: PortIndex, link: u8, frame: &[u8], now: Nanos) {
        if let Some(talk) = self.0.get_mut(&(port, link)) {
            talk.agent.receive(frame, now);
        }
    }

    /// Runs the protocol on this link.
    fn follow(&mut self, wanted: &WantedTalk, now: Nanos) {
        let is_other =
            |talk: &mut Talk| (&talk.interface, talk.address) != (&wanted.interface, wanted.address);
        if self.0.get_mut(&wanted.place).is_none_or(is_other) {
            let agent = Agent::new(local(wanted), wanted.address, now);
            let talk = Talk { interface: wanted.interface.clone(), address: wanted.address, agent };
            self.0.insert(wanted.place, talk);
        }
        if let Some(talk) = self.0.get_mut(&wanted.place) {
            talk.agent.set_carrier(wanted.carrier, now);
        }
    }

    fn statuses<'a>(
        &'a self,
        now: Nanos,
        name: impl Fn(PortIndex) -> Option<&'a String>,
    ) -> Vec<NeighbourStatus> {
        let of = |(&(port, _), talk): (&(PortIndex, u8), &Talk)| {
            let uplink = name(port).cloned().unwrap_or_default();
            let statuses: Vec<_> =
                talk.agent.neighbours().iter().map(|entry| status(&uplink, talk, entry, now)).collect();
            statuses
        };
        self.0.iter().flat_map(of).collect()
    }
}

/// What is told of this switch on a link.
fn local(wanted: &WantedTalk) -> Local {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Local {
        chassis: wanted.address,
        interface: wanted.interface.clone(),
        port_description: format!("uplink {}", wanted.uplink),
        system_name: name,
        system_description: concat!("Viaduct ", env!("CARGO_PKG_VERSION")).to_owned(),
        management: None,
    }
}

fn status(uplink: &str, talk: &Talk, entry: &Entry, now: Nanos) -> NeighbourStatus {
    let neighbour = &entry.neighbour;
    let names = |bits: u16| Capabilities::names(bits).map(str::to_owned).collect();
    let counters = talk.agent.counters();
    NeighbourStatus {
        uplink: uplink.to_owned(),
        interface: talk.interface.clone(),
        chassis: neighbour.chassis.display(true),
        port: neighbour.port.display(false),
        port_description: neighbour.port_description.clone(),
        system_name: neighbour.system_name.clone(),
        system_description: neighbour.system_description.clone(),
        able: neighbour.capabilities.map_or_else(Vec::new, |can| names(can.able)),
        enabled: neighbour.capabilities.map_or_else(Vec::new, |can| names(can.enabled)),
        management: neighbour.management.map(|address| address.to_string()),
        ttl_s: neighbour.ttl_s,
        expires_s: entry.until.0.saturating_sub(now.0) / 1_000_000_000,
        malformed: counters.malformed,
        refused: counters.refused,
    }
}

impl Controller {
    /// Has LLDP follow links and the time; gives the time until something is due. To be called after each event.
    pub(super) fn serve_lldp(&mut self, now: Nanos) -> Option<Duration> {
        let wanted = self.wanted_talks();
        let leaving: Vec<_> = self
            .neighbours
            .0
            .keys()
            .filter(|place| wanted.iter().all(|wanted| wanted.place != **place))
            .copied()
            .collect();
        for (port, link) in leaving {
            let Some(mut talk) = self.neighbours.0.remove(&(port, link)) else { continue };
            talk.agent.shut_down();
            // Where the uplink itself is gone, nobody is told, and the neighbour forgets in time.
            if let Some(frame) = talk.agent.next_frame().filter(|_| self.interfaces.contains_key(&port)) {
                self.bay.emit(port, link, frame);
            }
        }
        for wanted in &wanted {
            self.neighbours.follow(wanted, now);
        }
        for (&(port, link), talk) in &mut self.neighbours.0 {
            talk.agent.advance(now);
            if let Some(frame) = talk.agent.next_frame() {
                self.bay.emit(port, link, frame);
            }
        }
        let due = self.neighbours.0.values().filter_map(|talk| talk.agent.due()).min();
        due.map(|due| Duration::from_nanos(due.0.saturating_sub(now.0)))
    }

    /// The links on which the protocol is to run, of those whose address is known.
    fn wanted_talks(&self) -> Vec<WantedTalk> {
        let mut wanted = Vec::new();
        for (&port, known) in self.interfaces.iter().filter(|(_, known)| known.wanted.lldp) {
            for (number, interface) in (0..).zip(known.wanted.interfaces()) {
                let Some(link) = self.links.link(&interface) else { continue };
                let Some(address) = link.mac else { continue };
                let carrier = known.attached.is_some() && is_up(link);
                let (place, uplink) = ((port, number), known.name.clone());
                wanted.push(WantedTalk { place, uplink, interface: interface.name, address, carrier });
            }
        }
        wanted
    }

    /// Who was heard.
    pub(super) fn neighbour_statuses(&self) -> Vec<NeighbourStatus> {
        self.neighbours.statuses(self.bay.now(), |port| Some(&self.interfaces.get(&port)?.name))
    }
}

fn is_up(link: &Link) -> bool {
    link.up && link.carrier
}
