//! Finding out the Ethernet addresses of neighbours, and whether they are still there (RFC 4861, 7.2 and 7.3).

use super::discovery::Ask;
use super::held::{Held, Origin, PER_NEIGHBOUR};
use super::icmp::Problem;
use super::neighbour::{
    CHALLENGE, DELAY, Entry, FAILED, GUARDED, NeighbourState, POLL, REACHABLE, RETRANSMIT, Rival,
    SOLICITATIONS, UNUSED_S,
};
use super::table::Slot;
use super::{Charge, Gateway, Key, Moment, Offered, Output, arp, discovery};
use crate::drops::DropReason;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::packet::Address;
use crate::router::{Route, is_link_local};
use crate::time::Nanos;

/// What a station says about an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) address: Address,
    /// Where it is; an advertisement need not say.
    pub(super) mac: Option<MacAddress>,
    /// Where the message came from.
    pub(super) port: PortIndex,
    /// Whether it answers a question.
    pub(super) is_solicited: bool,
    /// Whether it holds against what was known before.
    pub(super) overrides: bool,
    /// Whether it is about a station that is going to be spoken to: who asks for the gateway will be answered (RFC 826; RFC
    /// 4861, 7.2.3).
    pub(super) may_create: bool,
}

impl Gateway {
    /// Whether a station of `network` may have `address`: it is one of the interface's subnets and nobody's else, or one of a
    /// router to which routes lead, or somebody was asked for it.
    pub(super) fn may_have(&self, network: NetworkIndex, address: Address) -> bool {
        let Some(interface) = self.routing.interface(network) else { return false };
        if interface.has(address) || address.is_group() {
            return false;
        }
        if is_link_local(address) && !address.is_v4() {
            return true;
        }
        let is_in_subnet = interface.addresses.iter().any(|(_, subnet)| subnet.contains(address.into()));
        let route = self.routing.route(interface.router, address);
        let is_taken = matches!(route, Some(Route::Local | Route::Broadcast));
        let key = (network, address);
        (is_in_subnet && !is_taken) || self.next_hops.contains(&key) || self.table.find(key).is_some()
    }

    /// Has a packet wait until the Ethernet address of `key` is known, and asks for it.
    pub(super) fn hold(&mut self, key: Key, held: Held, moment: Moment<'_>) {
        let slot = match self.table.find(key) {
            Some(slot) => slot,
            None => {
                let entry = Entry::new(key, NeighbourState::Incomplete, moment.now);
                let slot = self.add(entry, held.origin.charge(), moment);
                self.ask_again(slot, moment);
                slot
            }
        };
        match self.table.get(slot).map(|entry| entry.state) {
            Some(NeighbourState::Incomplete) => self.push_held(slot, held),
            Some(NeighbourState::Failed) | None => self.fail_packet(&held, moment),
            Some(_) => self.let_go(key, held, moment),
        }
    }

    fn push_held(&mut self, slot: Slot, held: Held) {
        if !self.room.take(held.origin.charge(), held.frame.len()) {
            return self.lose(&held, DropReason::NeighbourQueueFull);
        }
        let Some(entry) = self.table.get_mut(slot) else { return };
        entry.held.push_back(held);
        if entry.held.len() > PER_NEIGHBOUR
            && let Some(oldest) = entry.held.pop_front()
        {
            self.room.give_back(&oldest);
            self.lose(&oldest, DropReason::NeighbourQueueFull);
        }
    }

    /// Puts an entry in, and displaces another one if need be.
    fn add(&mut self, entry: Entry, charge: Charge, moment: Moment<'_>) -> Slot {
        if let Some(slot) = self.table.displaced_by(charge) {
            self.forget(slot, DropReason::NeighbourTableFull, moment);
        }
        self.table.insert(entry, charge, moment.now + RETRANSMIT)
    }

    /// Takes an entry out, with all that waits for it.
    pub(super) fn forget(&mut self, slot: Slot, reason: DropReason, moment: Moment<'_>) {
        let Some(entry) = self.table.remove(slot) else { return };
        let (network, address) = entry.key;
        moment.neighbours.clear(network, address);
        for held in entry.held {
            self.room.give_back(&held);
            self.lose(&held, reason);
        }
    }

    /// A packet that waited is lost.
    pub(super) fn lose(&mut self, held: &Held, reason: DropReason) {
        if let Origin::Station(port, network) = held.origin {
            self.outputs.push_back(Output::Dropped { port, network, reason });
        }
    }

    /// Nobody answered for the next station on a packet's way: its sender is told (RFC 1812, 4.3.3.1; RFC 4861, 7.2.2).
    fn fail_packet(&mut self, held: &Held, moment: Moment<'_>) {
        let Origin::Station(port, network) = held.origin else { return };
        let offered = Offered { port, network, frame: &held.frame, why: None };
        self.tell(&offered, Problem::HostUnreachable, moment);
        self.drop(&offered, DropReason::NeighbourUnresolved);
    }

    /// Sends a packet that waits no longer on its way.
    fn let_go(&mut self, (network, address): Key, held: Held, moment: Moment<'_>) {
        let Held { origin, mut frame } = held;
        match origin {
            Origin::Station(port, network) => self.outputs.push_back(Output::Again { port, network, frame }),
            Origin::Gateway(_) => {
                let mac = moment.neighbours.get(network, address);
                if let (Some(mac), Some(destination)) = (mac, frame.get_mut(..6)) {
                    destination.copy_from_slice(&mac.0);
                    self.outputs.push_back(Output::Send { network, frame });
                }
            }
        }
    }

    /// Takes note of what a station says (RFC 4861, 7.2.3 and 7.2.5).
    pub(super) fn note(&mut self, network: NetworkIndex, claim: &Claim, moment: Moment<'_>) {
        let key = (network, claim.address);
        let Some(slot) = self.table.find(key) else {
            if let (true, Some(mac)) = (claim.may_create, claim.mac) {
                let entry = Entry::new(key, NeighbourState::Stale, moment.now);
                let slot = self.add(entry, Charge::port(claim.port), moment);
                self.learn(slot, mac, claim, moment);
            }
            return;
        };
        let Some(entry) = self.table.get(slot) else { return };
        match claim.mac {
            Some(mac) if !entry.state.is_known() => self.learn(slot, mac, claim, moment),
            None if !entry.state.is_known() => {}
            Some(mac) if mac != entry.mac => self.note_other(slot, mac, claim, moment),
            _ => self.confirm(slot, claim, moment),
        }
    }

    /// Where the neighbour is has become known.
    fn learn(&mut self, slot: Slot, mac: MacAddress, claim: &Claim, moment: Moment<'_>) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        let (network, address) = entry.key;
        let awaits = entry.state == NeighbourState::Incomplete;
        let is_answer = claim.is_solicited && awaits;
        entry.mac = mac;
        entry.port = Some(claim.port);
        entry.rival = None;
        let held = std::mem::take(&mut entry.held);
        held.iter().for_each(|held| self.room.give_back(held));
        if !moment.neighbours.set(network, address, mac, moment.now.seconds()) {
            // Both places where workers would look for it are taken.
            held.iter().for_each(|held| self.lose(held, DropReason::NeighbourTableFull));
            return self.forget(slot, DropReason::NeighbourTableFull, moment);
        }
        self.charge(slot, claim.port, is_answer, moment);
        let state = if is_answer { NeighbourState::Reachable } else { NeighbourState::Stale };
        self.enter(slot, state, moment.now);
        held.into_iter().for_each(|held| self.let_go((network, address), held, moment));
    }

    /// From now on the entry is that of `port`, whose oldest one goes if these are too many now.
    fn charge(&mut self, slot: Slot, port: PortIndex, is_answer: bool, moment: Moment<'_>) {
        let charge = Charge::port(port);
        self.table.heard_of(slot, charge, is_answer);
        if let Some(surplus) = self.table.surplus_of(charge) {
            self.forget(surplus, DropReason::NeighbourTableFull, moment);
        }
    }

    /// The neighbour is where it was. Only an answer to a question shows that it hears us, and at which port: others might say
    /// the same in its name.
    fn confirm(&mut self, slot: Slot, claim: &Claim, moment: Moment<'_>) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        if !claim.is_solicited || entry.state != NeighbourState::Probe {
            return;
        }
        entry.port = Some(claim.port);
        if entry.rival.take().is_some() {
            entry.guarded_until = moment.now + GUARDED;
        }
        self.table.heard_of(slot, Charge::port(claim.port), true);
        self.enter(slot, NeighbourState::Reachable, moment.now);
    }

    /// Another station claims the address. At the port where the neighbour is, it is believed as RFC 4861, 7.2.5 says. At another
    /// port it might steal the address: so who had it is asked first, and keeps it if he answers.
    fn note_other(&mut self, slot: Slot, mac: MacAddress, claim: &Claim, moment: Moment<'_>) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        if !claim.overrides {
            if entry.state == NeighbourState::Reachable {
                self.enter(slot, NeighbourState::Stale, moment.now);
            }
        } else if entry.port == Some(claim.port) {
            self.replace(slot, Rival { mac, port: claim.port }, moment);
        } else if entry.rival.is_none() && moment.now >= entry.guarded_until {
            entry.rival = Some(Rival { mac, port: claim.port });
            self.enter(slot, NeighbourState::Probe, moment.now);
            self.ask_again(slot, moment);
        }
    }

    /// The address belongs to another station now, which has yet to show that it hears us.
    fn replace(&mut self, slot: Slot, Rival { mac, port }: Rival, moment: Moment<'_>) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        let (network, address) = entry.key;
        entry.mac = mac;
        entry.port = Some(port);
        entry.rival = None;
        moment.neighbours.set(network, address, mac, moment.now.seconds());
        self.charge(slot, port, false, moment);
        self.enter(slot, NeighbourState::Stale, moment.now);
    }

    fn enter(&mut self, slot: Slot, state: NeighbourState, now: Nanos) {
        let after = match state {
            NeighbourState::Incomplete | NeighbourState::Probe => RETRANSMIT,
            NeighbourState::Reachable => self.random.around(REACHABLE),
            NeighbourState::Stale => POLL,
            NeighbourState::Delay => DELAY,
            NeighbourState::Failed => FAILED,
        };
        self.table.enter(slot, state, now, now + after);
    }

    /// Has all in a network be asked for at `now`, and as often as at first, who has not answered yet.
    pub(super) fn hasten_questions(&mut self, network: NetworkIndex, now: Nanos) {
        let waits = |entry: &Entry| entry.key.0 == network && !entry.state.is_known();
        let waiting = self.table.entries().filter(|(.., entry)| waits(entry)).map(|(slot, ..)| slot);
        for slot in waiting.collect::<Vec<_>>() {
            if let Some(entry) = self.table.get_mut(slot) {
                entry.asked = 0;
            }
            self.table.set_due(slot, now);
        }
    }

    /// What has to be done about an entry at its time.
    pub(super) fn expire(&mut self, slot: Slot, moment: Moment<'_>) {
        let Some(entry) = self.table.get(slot) else { return };
        match entry.state {
            NeighbourState::Incomplete | NeighbourState::Probe if entry.asked < SOLICITATIONS => {
                self.ask_again(slot, moment);
            }
            NeighbourState::Incomplete => self.give_up(slot, moment),
            NeighbourState::Failed => self.forget(slot, DropReason::NeighbourUnresolved, moment),
            NeighbourState::Reachable | NeighbourState::Stale => self.look_for_use(slot, moment),
            NeighbourState::Delay => {
                self.enter(slot, NeighbourState::Probe, moment.now);
                self.ask_again(slot, moment);
            }
            NeighbourState::Probe => match entry.rival {
                Some(rival) => self.replace(slot, rival, moment),
                None => self.forget(slot, DropReason::NeighbourUnresolved, moment),
            },
        }
    }

    /// Nobody answered.
    fn give_up(&mut self, slot: Slot, moment: Moment<'_>) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        let held = std::mem::take(&mut entry.held);
        self.enter(slot, NeighbourState::Failed, moment.now);
        for held in held {
            self.room.give_back(&held);
            self.fail_packet(&held, moment);
        }
    }

    /// What is known is old: if it is used, the neighbour has to be asked again, else it is forgotten some day.
    fn look_for_use(&mut self, slot: Slot, Moment { neighbours, now }: Moment<'_>) {
        let Some(entry) = self.table.get(slot) else { return };
        let (network, address) = entry.key;
        let used_s = neighbours.used_s(network, address);
        let (since_s, now_s) = (entry.since.seconds(), now.seconds());
        let is_used = match entry.state {
            NeighbourState::Reachable => used_s.is_some_and(|used_s| used_s + POLL.seconds() >= now_s),
            _ => used_s.is_some_and(|used_s| used_s > since_s),
        };
        let idle_s = now_s.saturating_sub(used_s.unwrap_or(0).max(since_s));
        match entry.state {
            _ if is_used => self.enter(slot, NeighbourState::Delay, now),
            NeighbourState::Reachable => self.enter(slot, NeighbourState::Stale, now),
            _ if idle_s >= UNUSED_S => {
                self.forget(slot, DropReason::NeighbourUnresolved, Moment { neighbours, now })
            }
            _ => self.table.set_due(slot, now + POLL),
        }
    }

    /// Asks for a neighbour once more: all stations if nothing is known, else the one that is known.
    fn ask_again(&mut self, slot: Slot, moment: Moment<'_>) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        entry.asked += 1;
        let (network, target) = entry.key;
        let to = entry.state.is_known().then_some(entry.mac);
        let after = if entry.rival.is_some() { CHALLENGE } else { RETRANSMIT };
        self.table.set_due(slot, moment.now + after);
        let Some(source) = self.speaker(network, target) else { return };
        let Some(interface) = self.routing.interface(network) else { return };
        let ask = Ask { mac: interface.mac, source, target, to };
        let frame = if target.is_v4() { arp::request(&ask) } else { discovery::solicitation(&ask) };
        self.outputs.push_back(Output::Send { network, frame });
    }

    /// The address with which the gateway speaks to `to` in `network`, unless it has yet to find out whether that is its own.
    pub(super) fn speaker(&self, network: NetworkIndex, to: Address) -> Option<Address> {
        let interface = self.routing.interface(network)?;
        let is_settled = |address: &Address| !self.own.is_tentative((network, *address));
        let source = if to.is_v4() { interface.source_for(to) } else { Some(interface.link_local) };
        source.filter(is_settled)
    }
}
