//! Bonds of the running configuration: uplinks with several interfaces, as one port of the data path.
//!
//! A bond's port is attached while one of its interfaces is up, with those that are; the kernel's news about each of them
//! are put together to what the port follows (`together`). A link that comes or goes is exchanged by itself while another one
//! stays (`exchange_links`), so that it costs the others no frame. Which links send and take frames is decided by
//! `viaduct_switch::bond`, which is told here what became of each link, and what LACPDUs came.

mod exchange;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use viaduct_switch::bond::announce::Station;
use viaduct_switch::bond::{self, ArpProbing, BondSettings, LinkSet, MonitorSettings};
use viaduct_switch::lacp::{self, KEY_MAX, LinkSettings, SystemId};
use viaduct_switch::offload::Capabilities;
use viaduct_switch::{MacAddress, Nanos, PortIndex, VlanId, spanning_tree::PortState};

use self::exchange::open_link;
use crate::config::{Bond, BondMode, Interface};
use crate::control::controller::Controller;
use crate::control::interface::{link_state, medium};
use crate::control::timer::Deadline;
use crate::device::{BondLinks, Device, Medium, join};
use crate::link::Link;
use crate::model::{BondLinkStatus, BondStatus, EventKind, LacpLinkStatus};

/// First pause before a link that was refused is tried again, and the longest.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Addresses that are announced at once after a failover, and the pause before the next ones.
const ANNOUNCED_AT_ONCE: usize = 64;
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(2);

/// Priorities of systems and ports unless told otherwise (IEEE 802.1AX-2020, 7.3.1.1.5 and 7.3.2.1.15).
const PRIORITY: u16 = 0x8000;

/// What is known of one link.
#[derive(Debug)]
struct Member {
    /// What the kernel says.
    link: Option<Link>,
    medium: Medium,
    /// The interface's number when it was opened, while the data path has it.
    opened: Option<u32>,
    /// Why not, although it is up.
    trouble: Option<String>,
}

impl Member {
    /// One of which the kernel has said nothing yet.
    fn unseen() -> Self {
        Self { link: None, medium: Medium::UNKNOWN, opened: None, trouble: None }
    }
}

impl Member {
    /// The number of its interface, if that is up.
    fn usable(&self) -> Option<u32> {
        self.link.as_ref().filter(|link| link.up).map(|link| link.index)
    }

    /// Whether the data path has it as it is.
    fn is_as_opened(&self) -> bool {
        self.opened == self.usable()
    }
}

/// One bond.
pub(super) struct BondPort {
    wanted: Bond,
    /// What each of its devices can do, and why they are opened as they are; since it was opened.
    how: Option<(Capabilities, String)>,
    members: Vec<Member>,
    /// Once a link has had an address.
    bond: Option<bond::Bond>,
    pub(super) links: BondLinks,
    senders: LinkSet,
    takers: LinkSet,
    announcements: VecDeque<Vec<u8>>,
    failovers: u64,
    pause: Duration,
}

/// All bonds, by their ports.
#[derive(Default)]
pub(super) struct Bonds(BTreeMap<PortIndex, BondPort>);

/// What a bond's links became by a step.
struct Change {
    before: LinkSet,
    now: LinkSet,
}

impl BondPort {
    fn new(wanted: &Bond, seed: u64) -> Self {
        Self {
            members: wanted.interfaces.iter().map(|_| Member::unseen()).collect(),
            how: None,
            bond: None,
            links: BondLinks::new(wanted.hash, seed),
            wanted: wanted.clone(),
            senders: LinkSet::default(),
            takers: LinkSet::default(),
            announcements: VecDeque::new(),
            failovers: 0,
            pause: RETRY_MIN,
        }
    }

    /// The machine for links of which one has had an address, the least of which names our system.
    fn machine(&self, port: PortIndex, now: Nanos) -> Option<bond::Bond> {
        let macs = || self.members.iter().map(|member| member.link.as_ref().and_then(|link| link.mac));
        let address = macs().flatten().min()?;
        let wanted = &self.wanted;
        let settings = lacp::Settings {
            system: SystemId { priority: PRIORITY, address },
            key: u16::try_from(port.get() % usize::from(KEY_MAX) + 1).unwrap_or(1),
            rate: wanted.rate,
            active: true,
            fallback: wanted.fallback,
        };
        let primary =
            wanted.primary.as_ref().and_then(|name| wanted.interfaces.iter().position(|known| known == name));
        let mode = match wanted.mode {
            BondMode::ActiveBackup => {
                bond::Mode::ActiveBackup { primary, preference: wanted.primary_reselect }
            }
            BondMode::Balance => bond::Mode::Balance,
            BondMode::Lacp => bond::Mode::Lacp(settings),
        };
        let milliseconds = |delay: Duration| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        let monitor = MonitorSettings {
            up_delay_ms: milliseconds(wanted.up_delay),
            down_delay_ms: milliseconds(wanted.down_delay),
            arp: wanted.probing.as_ref().map(|probing| ArpProbing {
                targets: probing.targets.clone(),
                source: probing.source,
                interval_ms: milliseconds(probing.interval),
                misses_max: probing.missed,
            }),
        };
        let targets = wanted.probing.as_ref().map_or(&[][..], |probing| &probing.targets);
        self.links.set_probe_targets(targets);
        let link = |mac: Option<MacAddress>| LinkSettings {
            address: mac.unwrap_or(MacAddress([0; 6])),
            priority: PRIORITY,
        };
        Some(bond::Bond::new(&BondSettings { mode, monitor, links: macs().map(link).collect() }, now))
    }

    /// The links as one: up while one is, and with carrier while one sends. Its number changes when other ones are up.
    fn together(&self) -> Option<Link> {
        let present = || self.members.iter().filter_map(|member| member.link.as_ref());
        let up = || present().filter(|link| link.up);
        let numbers = self.members.iter().map(|member| match &member.link {
            Some(link) if link.up => link.index,
            _ => 0,
        });
        let first = present().next()?;
        Some(Link {
            // FNV-1a (draft-eastlake-fnv), over whole numbers.
            index: numbers.fold(0x811c_9dc5, |hash: u32, number| (hash ^ number).wrapping_mul(0x0100_0193)),
            name: self.wanted.interfaces.join(","),
            up: up().next().is_some(),
            carrier: !self.senders.is_empty(),
            mtu: up().map(|link| link.mtu).min().unwrap_or(first.mtu),
            mac: present().filter_map(|link| link.mac).min(),
            kind: None,
        })
    }

    /// Notes what the kernel says of each link.
    fn see(&mut self, interfaces: &[Interface], link: impl Fn(&Interface) -> Option<Link>) {
        for (member, interface) in self.members.iter_mut().zip(interfaces) {
            let found = link(interface);
            if found == member.link {
                continue;
            }
            member.medium = found.as_ref().map_or(Medium::UNKNOWN, |link| medium(interface, link));
            member.trouble = None;
            member.link = found;
            self.pause = RETRY_MIN;
        }
    }

    /// Opens all links that are up.
    fn open(
        &mut self,
        mut open: impl FnMut(usize, Option<&Link>) -> Result<Device, String>,
    ) -> Result<Device, String> {
        let mut devices = Vec::new();
        for (number, member) in self.members.iter_mut().enumerate() {
            let is_up = member.link.as_ref().is_some_and(|link| link.up);
            let opened = is_up.then(|| open(number, member.link.as_ref()));
            member.trouble =
                opened.as_ref().and_then(|opened| opened.as_ref().err()).map(ToString::to_string);
            let device = opened.and_then(Result::ok);
            member.opened = device.as_ref().and_then(|_| member.usable());
            devices.push(device);
        }
        let first = devices.iter().flatten().next();
        self.how = first.map(|device| (device.capabilities, device.reason.clone()));
        let mut device = join(devices, &self.links).ok_or_else(|| self.trouble())?;
        // What it is compared with to see whether it has to be opened anew.
        if let Some(link) = self.together() {
            (device.index, device.mtu) = (link.index, link.mtu);
        }
        Ok(device)
    }

    /// Why none is open.
    fn trouble(&self) -> String {
        let troubles: Vec<&str> =
            self.members.iter().filter_map(|member| member.trouble.as_deref()).collect();
        if troubles.is_empty() { "no link of the bond is up".to_owned() } else { troubles.join("; ") }
    }

    /// Whether a link is up and refused.
    fn lacks_some(&self) -> bool {
        self.members.iter().any(|member| member.trouble.is_some())
    }

    /// Has the machine follow the links and the time; says what that changed.
    fn advance(&mut self, port: PortIndex, now: Nanos) -> Option<Change> {
        if self.bond.is_none() {
            self.bond = self.machine(port, now);
        }
        let bond = self.bond.as_mut()?;
        for (number, member) in self.members.iter().enumerate() {
            let link = member.link.as_ref();
            if let Some(mac) = link.and_then(|link| link.mac) {
                bond.set_address(number, mac);
                self.links.set_probe_address(number, self.wanted.probing.is_some().then_some(mac));
            }
            let carries = member.opened.is_some() && link.is_some_and(|link| link.up && link.carrier);
            let Medium { speed_mbit, full_duplex } = member.medium;
            let medium = lacp::Medium { speed_mbit: speed_mbit.unwrap_or(0), full_duplex };
            bond.set_medium(number, carries.then_some(medium), now);
        }
        self.links.take_answers().iter().for_each(|link| bond.hear_answer(link, now));
        bond.advance(now);
        let (before, senders, takers) = (self.senders, bond.senders(), bond.takers());
        if (senders, takers) == (before, self.takers) {
            return None;
        }
        (self.senders, self.takers) = (senders, takers);
        Some(Change { before, now: senders })
    }

    /// How fast the links in service are together.
    fn speed(&self) -> Option<u32> {
        let speeds = self.senders.iter().filter_map(|link| self.members.get(link)?.medium.speed_mbit);
        speeds.reduce(u32::saturating_add)
    }

    fn names(&self, links: LinkSet) -> String {
        let names: Vec<&str> =
            links.iter().filter_map(|link| self.wanted.interfaces.get(link)).map(String::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    fn status(&self, name: &str) -> BondStatus {
        let lacp = self.bond.as_ref().and_then(bond::Bond::lacp);
        let states: Vec<_> = lacp.into_iter().flat_map(lacp::Lacp::status).collect();
        let shares = self.links.shares();
        let link = |(number, member): (usize, &Member)| BondLinkStatus {
            interface: self.wanted.interfaces.get(number).cloned().unwrap_or_default(),
            link: link_state(member.link.as_ref()),
            attached: member.opened.is_some(),
            detail: member.trouble.clone(),
            speed_mbps: member.medium.speed_mbit,
            answered: self.bond.as_ref().and_then(|bond| bond.is_answered(number)),
            sends: self.senders.has(number),
            takes: self.takers.has(number),
            share: if self.senders.is_empty() { 0 } else { shares.get(number).copied().unwrap_or(0) },
            lacp: states.get(number).map(LacpLinkStatus::from),
        };
        BondStatus {
            uplink: name.to_owned(),
            mode: self.wanted.mode.name().to_owned(),
            hash: self.wanted.hash_name().to_owned(),
            rate: lacp.map(|_| self.wanted.rate_name().to_owned()),
            system: lacp.map(|lacp| lacp.system().address.to_string()),
            failovers: self.failovers,
            links: self.members.iter().enumerate().map(link).collect(),
        }
    }
}

impl Bonds {
    /// Makes a bond, or another one of what is there.
    pub(super) fn insert(&mut self, port: PortIndex, wanted: &Bond) {
        let Some(known) = self.0.get_mut(&port).filter(|known| known.wanted.interfaces == wanted.interfaces)
        else {
            let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
            self.0.insert(port, BondPort::new(wanted, seed));
            return;
        };
        if known.wanted != (Bond { hash: known.wanted.hash, ..wanted.clone() }) {
            // Another mode or rate is agreed about anew; flows go on by the links that then serve.
            known.bond = None;
        }
        known.links.set_policy(wanted.hash);
        known.wanted = wanted.clone();
    }

    pub(super) fn remove(&mut self, port: PortIndex) {
        self.0.remove(&port);
    }

    pub(super) fn statuses<'a>(&'a self, name: impl Fn(PortIndex) -> Option<&'a String>) -> Vec<BondStatus> {
        self.0.iter().filter_map(|(port, bond)| Some(bond.status(name(*port)?))).collect()
    }

    /// Takes a frame that came in by a link of `port`.
    pub(super) fn receive(&mut self, port: PortIndex, link: u8, frame: &[u8], now: Nanos) {
        if let Some(bond) = self.0.get_mut(&port).and_then(|bond| bond.bond.as_mut()) {
            bond.receive(usize::from(link), frame, now);
        }
    }
}

/// What concerns bonds of the life of ports that are interfaces.
impl Controller {
    /// What the kernel says of the interface behind a port, or of all links of a bond as one.
    pub(super) fn link_behind(&mut self, port: PortIndex) -> Option<Link> {
        let known = self.interfaces.get(&port)?;
        let Some(bond) = self.bonds.0.get_mut(&port) else {
            return self.links.link(&known.wanted.interface).cloned();
        };
        let links = &self.links;
        bond.see(&known.wanted.interfaces(), |interface| links.link(interface).cloned());
        bond.together()
    }

    /// Opens what is behind a port.
    pub(super) fn open_device(&mut self, port: PortIndex) -> Result<Device, String> {
        let Some(known) = self.interfaces.get(&port) else { return Err(String::new()) };
        let open = &mut self.open;
        let Some(bond) = self.bonds.0.get_mut(&port) else {
            let request = known.request(&known.wanted.interface, known.link());
            return open(&request).map_err(|error| error.to_string());
        };
        let interfaces = known.wanted.interfaces();
        let device = bond.open(|number, link| {
            let interface = interfaces.get(number).unwrap_or(&known.wanted.interface);
            open_link(open, known.request(interface, link))
        });
        if bond.lacks_some() {
            self.timer.set(Deadline::Attach(port), Instant::now() + bond.pause);
        }
        device
    }

    /// No link of the port is open any more.
    pub(super) fn close_links(&mut self, port: PortIndex) {
        let members = self.bonds.0.get_mut(&port).into_iter().flat_map(|bond| &mut bond.members);
        members.for_each(|member| member.opened = None);
    }

    /// One link of an attached bond failed: it is left out, and tried again soon.
    pub(super) fn link_failed(&mut self, port: PortIndex, link: u8, why: &str) {
        let Some(known) = self.interfaces.get_mut(&port) else { return };
        let Some(bond) = self.bonds.0.get_mut(&port) else { return };
        let Some(member) = bond.members.get_mut(usize::from(link)) else { return };
        member.trouble = Some(why.to_owned());
        let name = bond.wanted.interfaces.get(usize::from(link)).map_or("", String::as_str);
        known.log.warn(format_args!("{name} is left out: {why}"));
        self.close_link(port, usize::from(link));
        self.note_links(port);
    }

    /// Asks again for the links of bonds: the kernel may keep the news of a carrier that is gone to itself for a second
    /// (`linkwatch_schedule_work` in net/core/link_watch.c), and who asks is told at once.
    pub(super) fn look_at_carriers(&mut self) {
        let known = self.bonds.0.keys().filter_map(|port| self.interfaces.get(port));
        let interfaces: Vec<Interface> = known.flat_map(|known| known.wanted.interfaces()).collect();
        let changed: BTreeSet<PortIndex> =
            interfaces.iter().flat_map(|interface| self.links.look_again(interface)).collect();
        for port in changed {
            self.follow(port);
        }
    }

    /// Has bonds follow their links and the time, and does what they want; gives the time until something is due. To be
    /// called after each event.
    pub(super) fn serve_bonds(&mut self, now: Nanos) -> Option<Duration> {
        let ports: Vec<PortIndex> = self.bonds.0.keys().copied().collect();
        ports.into_iter().filter_map(|port| self.serve_bond(port, now)).min()
    }

    fn serve_bond(&mut self, port: PortIndex, now: Nanos) -> Option<Duration> {
        let change = self.bonds.0.get_mut(&port)?.advance(port, now);
        if let Some(change) = change {
            self.carry_out_links(port, &change);
        }
        let is_failover = self.bonds.0.get_mut(&port)?.bond.as_mut().is_some_and(bond::Bond::take_failover);
        if is_failover {
            let announcements = self.announcements(port);
            let bond = self.bonds.0.get_mut(&port)?;
            bond.failovers += 1;
            bond.announcements = announcements.into();
        }
        let bond = self.bonds.0.get_mut(&port)?;
        while let Some((link, frame)) = bond.bond.as_mut()?.next_frame() {
            self.bay.emit(port, u8::try_from(link).unwrap_or(u8::MAX), frame);
        }
        if let Some(active) = bond.senders.iter().next() {
            let count = bond.announcements.len().min(ANNOUNCED_AT_ONCE);
            for frame in bond.announcements.drain(..count) {
                self.bay.emit(port, u8::try_from(active).unwrap_or(u8::MAX), frame);
            }
        }
        let due = bond.bond.as_ref()?.due();
        let due = due.map(|due| Duration::from_nanos(due.0.saturating_sub(now.0)));
        let more = (!bond.announcements.is_empty()).then_some(ANNOUNCE_PAUSE);
        due.into_iter().chain(more).min()
    }

    /// Tells the data path by which links frames go. What waits at a link that is out of service now, or was, would be
    /// overtaken by what went another way.
    fn carry_out_links(&mut self, port: PortIndex, change: &Change) {
        let Some(bond) = self.bonds.0.get(&port) else { return };
        let others = |links: LinkSet, of: LinkSet| links.iter().filter(move |link| !of.has(*link));
        let number = |link: usize| u8::try_from(link).unwrap_or(u8::MAX);
        for link in others(change.now, change.before) {
            self.bay.purge(port, number(link));
        }
        bond.links.set(bond.senders, bond.takers);
        for link in others(change.before, change.now) {
            self.bay.purge(port, number(link));
        }
        let (speed, names) = (bond.speed(), bond.names(bond.senders));
        if let Some(known) = self.interfaces.get_mut(&port) {
            known.set_speed(speed);
            known.log.event(EventKind::BondLinks, format_args!("links in service: {names}"));
        }
        if change.before.is_empty() != change.now.is_empty() {
            self.follow(port);
        }
    }

    /// Frames that tell the network beyond an uplink where the stations behind this switch are.
    fn announcements(&self, port: PortIndex) -> Vec<Vec<u8>> {
        let Some(name) = self.numbers.ports.iter().find(|(_, index)| **index == port).map(|(name, _)| name)
        else {
            return Vec::new();
        };
        let service = self.config.uplinks.get(name).and_then(|uplink| uplink.service_vlan);
        let is_open = |network| self.policy.state(port, network) == Some(PortState::Forwarding);
        let vlan_of = |network| Some(self.policy.network(network)?.vlan()?.get());
        let entries = self.switch.fdb_iter(self.bay.now(), &self.policy);
        let stations = entries.filter(|entry| entry.port != port && is_open(entry.network)).map(|entry| {
            let station = Station { address: entry.mac, vlan: vlan_of(entry.network), ipv4: None };
            behind(service, station.announcement())
        });
        stations.collect()
    }
}

/// The frame behind a service provider's tag (IEEE 802.1Q-2018, 9.5.2), if there is one.
fn behind(service: Option<VlanId>, frame: Vec<u8>) -> Vec<u8> {
    let Some(service) = service else { return frame };
    let Some((addresses, rest)) = frame.split_at_checked(12) else { return frame };
    [addresses, &[0x88, 0xa8], &service.get().to_be_bytes(), rest].concat()
}
