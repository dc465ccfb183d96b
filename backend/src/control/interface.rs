//! A port behind which is an interface of the kernel: an uplink, or a container's end.

use std::time::{Duration, Instant};

use viaduct_switch::{PortIndex, Switch, Volume};

use crate::config::{Bond, Config, Driver, Interface, Port, Uplink, type_name};
use crate::control::log::PortLog;
use crate::control::port::Counted;
use crate::control::trees::LinkSeen;
use crate::device::{Device, DeviceKind, DeviceRequest, Medium};
use crate::link::Link;
use crate::model::{EventKind, InterfaceStatus, LinkState, PortState, PortStatus, Traffic};

/// First pause before an interface that was refused is tried again.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// An interface that was attached this long was a good one: when it fails, it is tried again at once.
const SETTLED: Duration = Duration::from_secs(5);

/// What the configuration says about the interface behind a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// A port's `type`, or `uplink`.
    pub(super) kind: &'static str,
    pub(super) interface: Interface,
    /// All of them, if there are several, and how they are used together.
    pub(super) bond: Option<Bond>,
    /// Whether neighbours are told of this switch, and heard.
    pub(super) lldp: bool,
    /// Largest packet in bytes; `None` is the interface's own.
    pub(super) mtu: Option<u16>,
    /// Names of its networks.
    pub(super) networks: Vec<String>,
    /// The one of them that has no tag there.
    pub(super) native: Option<String>,
}

impl Wanted {
    fn of_port(port: &Port) -> Option<Self> {
        Some(Self {
            kind: type_name(&port.attachment),
            interface: port.interface()?.clone(),
            bond: None,
            lldp: false,
            mtu: Some(port.mtu),
            networks: port.membership.networks().map(str::to_owned).collect(),
            native: port.membership.native().map(str::to_owned),
        })
    }

    fn of_uplink(config: &Config, name: &str, uplink: &Uplink) -> Self {
        let over =
            || config.networks.iter().filter(|(_, network)| network.uplinks().any(|uplink| uplink == name));
        let native = over().find(|(_, network)| network.vlan.is_none()).map(|(name, _)| name.clone());
        Self {
            kind: "uplink",
            interface: uplink.interface.clone(),
            bond: uplink.bond.clone(),
            lldp: uplink.lldp,
            mtu: uplink.mtu,
            networks: over().map(|(name, _)| name.clone()).collect(),
            native,
        }
    }

    /// All of a configuration, by name of port or uplink.
    pub(super) fn all(config: &Config) -> impl Iterator<Item = (&String, Self)> {
        let ports = config.ports.iter().filter_map(|(name, port)| Some((name, Self::of_port(port)?)));
        let uplinks =
            config.uplinks.iter().map(|(name, uplink)| (name, Self::of_uplink(config, name, uplink)));
        ports.chain(uplinks)
    }

    /// Whether another interface is meant, or another way to it.
    pub(super) fn is_elsewhere(&self, other: &Self) -> bool {
        let names = |wanted: &Self| wanted.bond.as_ref().map(|bond| bond.interfaces.clone());
        self.interface != other.interface || names(self) != names(other)
    }

    /// Its interfaces, by their links' numbers.
    pub(super) fn interfaces(&self) -> Vec<Interface> {
        let Some(bond) = &self.bond else { return vec![self.interface.clone()] };
        let of = |name: &String| Interface { name: name.clone(), ..self.interface.clone() };
        bond.interfaces.iter().map(of).collect()
    }

    /// Their names, for people.
    fn names(&self) -> String {
        self.bond.as_ref().map_or_else(|| self.interface.name.clone(), |bond| bond.interfaces.join(","))
    }
}

/// What is known of a device that the data path has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attached {
    driver: &'static str,
    reason: String,
    /// The interface's number when it was opened.
    index: u32,
    mtu: u32,
    queues: u16,
    offloads: Vec<String>,
    since: Instant,
}

impl Attached {
    pub(super) fn new(device: &Device, now: Instant) -> Self {
        Self {
            driver: driver_name(device.kind),
            reason: device.reason.clone(),
            index: device.index,
            mtu: device.mtu,
            queues: u16::try_from(device.queues.len()).unwrap_or(u16::MAX),
            offloads: offloads(device),
            since: now,
        }
    }

    /// The interface's number when it was opened.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Bytes that a frame's payload had at most when it was opened.
    pub(super) fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Some links of it are others now, of which the number is made.
    pub(super) fn renew(&mut self, index: u32, reason: String) {
        (self.index, self.reason) = (index, reason);
    }
}

/// What is to be done so that the port is as its interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Move {
    /// Nothing.
    Stay,
    /// Open the interface.
    Attach,
    /// Let go of it.
    Detach,
    /// Let go of it and open it again: it is another one, or its MTU is.
    Renew,
}

/// A port whose frames come from and go to an interface.
///
/// It is attached while the interface is there and up, and waits otherwise: for the kernel to say that the interface
/// is, or, where opening it was refused, for the next attempt. A TAP device is made by opening it, so that its port
/// waits for nothing.
#[derive(Debug)]
pub(super) struct InterfacePort {
    pub(super) name: String,
    pub(super) index: PortIndex,
    pub(super) wanted: Wanted,
    pub(super) log: PortLog,
    /// What the kernel says.
    link: Option<Link>,
    pub(super) attached: Option<Attached>,
    /// Why it waits, if that is not the link's state.
    pub(super) trouble: Option<String>,
    speed_mbps: Option<u32>,
    pause: Duration,
    attachments: u64,
    rates: Rates,
}

impl InterfacePort {
    pub(super) fn new(name: &str, index: PortIndex, wanted: Wanted) -> Self {
        Self {
            name: name.to_owned(),
            index,
            wanted,
            log: PortLog::new(name),
            link: None,
            attached: None,
            trouble: None,
            speed_mbps: None,
            pause: RETRY_MIN,
            attachments: 0,
            rates: Rates::default(),
        }
    }

    /// The link as a spanning tree sees it; `None` while there is no address.
    pub(super) fn seen(&self) -> Option<LinkSeen> {
        let link = self.link.as_ref()?;
        let is_up = self.attached.is_some() && link.up && link.carrier;
        Some(LinkSeen { is_up, mac: link.mac?, speed_mbit: self.speed_mbps })
    }

    /// What the kernel says; of a bond all of its links as one.
    pub(super) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// What [`crate::device::open`] needs for one of the port's interfaces. A renamed one is opened by its name of now.
    pub(super) fn request(&self, interface: &Interface, link: Option<&Link>) -> DeviceRequest {
        DeviceRequest {
            kind: match interface.driver {
                Driver::Auto => DeviceKind::Auto,
                Driver::AfPacket => DeviceKind::AfPacket,
                Driver::AfXdp => DeviceKind::AfXdp,
                Driver::Tap => DeviceKind::Tap,
            },
            interface: link.map_or(&interface.name, |link| &link.name).clone(),
            namespace: interface.netns.clone(),
            queues: interface.queues,
            gro: interface.gro,
            mtu: self.wanted.mtu.map(u32::from),
        }
    }

    /// Notes what the kernel says of the interface now, and what follows from that.
    pub(super) fn follow(&mut self, link: Option<Link>) -> Move {
        let step = self.step(link.as_ref());
        if link != self.link {
            self.tell(link.as_ref());
            self.pause = RETRY_MIN;
            self.trouble = None;
            if self.wanted.bond.is_none() {
                self.speed_mbps =
                    link.as_ref().and_then(|link| medium(&self.wanted.interface, link).speed_mbit);
            }
        }
        self.link = link;
        step
    }

    /// Notes how fast a bond's links in service are together.
    pub(super) fn set_speed(&mut self, speed_mbps: Option<u32>) {
        self.speed_mbps = speed_mbps;
    }

    fn step(&self, link: Option<&Link>) -> Move {
        let is_tap = self.is_made_by_opening();
        let Some(attached) = &self.attached else {
            // What was refused waits for its next attempt, unless there is news.
            let again = self.trouble.is_none() || link != self.link.as_ref();
            let usable = is_tap || link.is_some_and(|link| link.up);
            return if usable && again { Move::Attach } else { Move::Stay };
        };
        match link {
            Some(link) if !link.up && !is_tap => Move::Detach,
            Some(link) if link.index != attached.index => Move::Renew,
            Some(link) if link.mtu != attached.mtu => Move::Renew,
            Some(_) => Move::Stay,
            // A TAP device is told of after it was made.
            None if is_tap && self.link.is_none() => Move::Stay,
            None if is_tap => Move::Renew,
            None => Move::Detach,
        }
    }

    /// Tells in the log what became of the interface.
    fn tell(&mut self, link: Option<&Link>) {
        let name = &self.wanted.names();
        let (before, now) = (link_state(self.link.as_ref()), link_state(link));
        if let Some(link) = link.filter(|link| link.name != *name)
            && self.link.as_ref().is_none_or(|before| before.name != link.name)
        {
            self.log.warn(format_args!(
                "{name} is called {} now: the port stays with it until the daemon starts anew; write the new name into the \
                 configuration",
                link.name
            ));
        }
        if before != now {
            match now {
                LinkState::Missing => self
                    .log
                    .trouble(EventKind::LinkDown, format_args!("{name} is gone; the port waits for it")),
                LinkState::Down => self
                    .log
                    .trouble(EventKind::LinkDown, format_args!("{name} is down; ip link set {name} up")),
                LinkState::NoCarrier => {
                    self.log.trouble(EventKind::LinkDown, format_args!("{name} reaches nothing: no carrier"))
                }
                LinkState::Up => self.log.event(EventKind::LinkUp, format_args!("{name} is up")),
            }
        }
    }

    /// Notes that the data path has the device.
    pub(super) fn attach(&mut self, attached: Attached) {
        let name = self.wanted.names();
        self.log.event(
            EventKind::Attached,
            format_args!("{name} is attached by {}: {}", attached.driver, attached.reason),
        );
        self.trouble = None;
        self.attachments += 1;
        self.attached = Some(attached);
    }

    /// Notes that the device could not be opened, or failed; gives the pause before the next attempt.
    pub(super) fn refused(&mut self, why: &str, now: Instant) -> Duration {
        if self.attached.take().is_some_and(|attached| now.duration_since(attached.since) >= SETTLED) {
            self.pause = RETRY_MIN;
        }
        if self.trouble.as_deref() != Some(why) {
            self.log.warn(why);
        }
        self.trouble = Some(why.to_owned());
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_MAX);
        pause
    }

    /// Whether another attempt makes sense.
    pub(super) fn may_retry(&self) -> bool {
        let is_up = self.link.as_ref().is_some_and(|link| link.up);
        self.attached.is_none() && (self.is_made_by_opening() || is_up)
    }

    /// Whether the interface need not be there before it is opened.
    pub(super) fn is_made_by_opening(&self) -> bool {
        self.wanted.interface.driver == Driver::Tap
    }

    fn state(&self, missing: Option<String>) -> (PortState, Option<String>) {
        let name = &self.wanted.names();
        let link = link_state(self.link.as_ref());
        let detail = match (missing, &self.trouble, link) {
            (Some(missing), ..) => Some(missing),
            (None, Some(trouble), _) => Some(trouble.clone()),
            (None, None, LinkState::Missing) if self.attached.is_some() => None,
            (None, None, LinkState::Missing) => {
                Some(format!("there is no interface {name}; it is waited for"))
            }
            (None, None, LinkState::Down) => Some(format!("{name} is down; ip link set {name} up")),
            (None, None, LinkState::NoCarrier) => Some(format!("{name} reaches nothing: no carrier")),
            (None, None, LinkState::Up) => None,
        };
        let state = if self.attached.is_some() { PortState::Attached } else { PortState::Waiting };
        (state, detail)
    }

    /// What there is to tell; `missing` says that its network namespace is not there.
    pub(super) fn status(&self, switch: &Switch, missing: Option<String>) -> PortStatus {
        let counted = Counted::of(switch, self.index);
        let (state, detail) = self.state(missing);
        let link = self.link.as_ref();
        let mtu = link.map(|link| u16::try_from(link.mtu).unwrap_or(u16::MAX));
        PortStatus {
            name: self.name.clone(),
            network: self.wanted.networks.join(","),
            native: self.wanted.native.clone(),
            kind: self.wanted.kind.to_owned(),
            interface: Some(self.interface_status()),
            socket: std::path::PathBuf::new(),
            role: String::new(),
            mac: link.and_then(|link| link.mac).map_or_else(String::new, |mac| mac.to_string()),
            groups: None,
            mtu: self.wanted.mtu.or(mtu).unwrap_or(0),
            queues: self.attached.as_ref().map_or(0, |attached| attached.queues),
            state,
            detail,
            peer_pid: None,
            rings_running: 0,
            features: Vec::new(),
            received: counted.received,
            sent: counted.sent,
            drops: counted.drops,
            connections: self.attachments,
            pauses: counted.pauses,
            paused_ms: counted.paused_ms,
            numa: None,
        }
    }

    fn interface_status(&self) -> InterfaceStatus {
        let (name, netns) = (self.wanted.names(), &self.wanted.interface.netns);
        let (link, attached) = (self.link.as_ref(), self.attached.as_ref());
        InterfaceStatus {
            netns: netns.clone(),
            renamed: link.map(|link| &link.name).filter(|now| **now != name).cloned(),
            name,
            index: link.map(|link| link.index),
            driver: attached.map(|attached| attached.driver.to_owned()),
            reason: attached.map(|attached| attached.reason.clone()),
            link: link_state(link),
            mtu: link.map(|link| link.mtu),
            speed_mbps: self.speed_mbps,
            offloads: attached.map_or_else(Vec::new, |attached| attached.offloads.clone()),
            received_rate: self.rates.received,
            sent_rate: self.rates.sent,
        }
    }

    /// Looks at the counters, about once a second.
    pub(super) fn measure(&mut self, switch: &Switch, now: Instant) {
        let counters = switch.counters().port(self.index).snapshot();
        self.rates.measure([counters.received, counters.sent], now);
    }
}

pub(super) fn link_state(link: Option<&Link>) -> LinkState {
    match link {
        None => LinkState::Missing,
        Some(link) if !link.up => LinkState::Down,
        Some(link) if !link.carrier => LinkState::NoCarrier,
        Some(_) => LinkState::Up,
    }
}

pub(super) fn driver_name(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Auto => "auto",
        DeviceKind::AfPacket => "af-packet",
        DeviceKind::AfXdp => "af-xdp",
        DeviceKind::Tap => "tap",
    }
}

/// What the interface says of its link, while it has one.
pub(super) fn medium(interface: &Interface, link: &Link) -> Medium {
    if link.carrier { Medium::of(interface.netns.as_deref(), &link.name) } else { Medium::UNKNOWN }
}

/// What the interface finishes for frames that leave by it, in the words of a guest's features.
fn offloads(device: &Device) -> Vec<String> {
    let can = device.capabilities;
    let words = [
        ("csum", can.checksum),
        ("tso4", can.tso4),
        ("tso6", can.tso6),
        ("ecn", can.ecn),
        ("ufo", can.ufo),
        ("uso4", can.uso4),
        ("uso6", can.uso6),
    ];
    words.into_iter().filter(|(_, can)| *can).map(|(word, _)| word.to_owned()).collect()
}

/// What came and went in the last second.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    counted: Option<(Instant, [Volume; 2])>,
    received: Traffic,
    sent: Traffic,
}

impl Rates {
    /// Shortest time over which a rate is told.
    const INTERVAL: Duration = Duration::from_secs(1);

    fn measure(&mut self, counts: [Volume; 2], now: Instant) {
        let Some((since, before)) = self.counted else {
            self.counted = Some((now, counts));
            return;
        };
        let elapsed = now.duration_since(since);
        if elapsed < Self::INTERVAL {
            return;
        }
        let a_second = |now: u64, before: u64| {
            let rate = u128::from(now.saturating_sub(before)) * 1000 / elapsed.as_millis().max(1);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        let [received, sent] = [0, 1].map(|way: usize| Traffic {
            frames: a_second(counts[way].frames, before[way].frames),
            bytes: a_second(counts[way].bytes, before[way].bytes),
        });
        *self = Self { counted: Some((now, counts)), received, sent };
    }
}

#[cfg(test)]
mod tests;
