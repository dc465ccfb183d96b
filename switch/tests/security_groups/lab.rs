//! A switch whose stations are in security groups, and packets as another library writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use etherparse::{Ethernet2Header, PacketBuilder, PacketBuilderStep};
use viaduct_switch::fragments::DatagramId;
use viaduct_switch::security::{
    Direction, Group, GroupIndex, PortSecurity, Rule, RuleSpec, SecurityControl, SourceGuard, Zone,
};
use viaduct_switch::{
    Carried, Claims, DropReason, Egress, Frame, Head, JudgeLimits, Limits, MacAddress, Metadata, Nanos,
    NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, StormLimits, Switch, WorkerState,
};

pub(crate) fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

pub(crate) fn group(index: usize) -> GroupIndex {
    GroupIndex::new(index).unwrap()
}

pub(crate) fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

/// The MAC address of a station.
pub(crate) fn mac(station: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, u8::try_from(station).unwrap() + 1]
}

/// The IPv4 address of a station.
pub(crate) fn v4(station: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(station).unwrap() + 1).into()
}

/// The IPv6 address of a station.
pub(crate) fn v6(station: usize) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::try_from(station).unwrap() + 1).into()
}

/// What became of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It left by these ports.
    To(Vec<usize>),
    /// It was dropped, and counted at this port.
    Dropped(DropReason, usize),
    /// It waits for the first fragment of its datagram.
    Held,
}

/// What the switch did with a burst, and what it has the caller keep.
#[derive(Default)]
pub(crate) struct Outside {
    sent: Vec<usize>,
    held: Vec<(DatagramId, Frame<()>)>,
    released: Vec<(Frame<()>, Carried)>,
    holds: bool,
}

impl Egress<()> for Outside {
    fn send(&mut self, to: PortIndex, _: usize, _: &Frame<()>) {
        self.sent.push(to.get());
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], _: usize, frame: &Frame<()>) {
        let others = receivers.iter().filter(|port| **port != frame.meta.source);
        self.sent.extend(others.map(|port| port.get()));
    }

    fn hold(&mut self, datagram: DatagramId, _: usize, frame: &Frame<()>) -> bool {
        if self.holds {
            self.held.push((datagram, frame.clone()));
        }
        self.holds
    }

    fn release(&mut self, datagram: DatagramId, decided: Option<Carried>) {
        for (_, frame) in self.held.extract_if(.., |(of, _)| *of == datagram) {
            self.released.extend(decided.map(|decided| (frame, decided)));
        }
    }
}

pub(crate) struct Lab {
    pub(crate) switch: Switch,
    pub(crate) worker: WorkerState,
    pub(crate) security: SecurityControl,
    pub(crate) now: Nanos,
    pub(crate) outside: Outside,
    compiled: Policy,
    stations: usize,
}

impl Lab {
    /// Stations in network 0, each known at the port of its number, none of them filtered.
    pub(crate) fn new(stations: usize) -> Self {
        Self::with(&vec![0; stations], JudgeLimits::UNLIMITED, 8192)
    }

    /// Stations of these networks, with these limits and a flow cache of so many records.
    pub(crate) fn with(networks: &[usize], judging: JudgeLimits, flow_entries: usize) -> Self {
        Self::of(networks, judging, flow_entries, 4096, false)
    }

    /// The same, with room for so many connections; or with stations that are held to their addresses.
    pub(crate) fn of(
        networks: &[usize],
        judging: JudgeLimits,
        flow_entries: usize,
        connections: usize,
        is_guarded: bool,
    ) -> Self {
        let ports = networks.iter().enumerate().map(|(index, of)| {
            let storm = StormLimits::UNLIMITED;
            let addresses = vec![v4(index), v6(index)];
            let own = PortSecurity { addresses, ..PortSecurity::new(Zone(0), MacAddress(mac(index))) };
            let guard = is_guarded.then(|| Arc::new(SourceGuard::new(&own)));
            (port(index), PortPolicy { storm, judging, guard, ..PortPolicy::new(network(*of), 1500) })
        });
        let most = networks.iter().max().unwrap();
        let settings = (0..=*most).map(|index| (network(index), NetworkSettings::default()));
        let compiled = Policy::compile(ports, settings).unwrap();
        let connections = viaduct_switch::conntrack::Limits::of(connections);
        let switch = Switch::new(7, Limits { connections, ..Limits::default() });
        switch.set_verification(flow_entries > 0);
        let worker = WorkerState::with_flow_entries(Arc::new(compiled.clone()), flow_entries);
        let (security, outside) = (SecurityControl::new(3), Outside { holds: true, ..Outside::default() });
        let stations = networks.len();
        let mut lab =
            Self { switch, worker, security, now: Nanos::from_seconds(1), outside, compiled, stations };
        for station in 0..stations {
            lab.announce(station);
        }
        lab
    }

    /// Shows the switch where a station is.
    pub(crate) fn announce(&mut self, station: usize) {
        self.send(station, &arp(station));
    }

    /// Makes a group of these rules, which lets everything out, too.
    pub(crate) fn group(&mut self, index: usize, rules: &[RuleSpec]) {
        let all = RuleSpec::new(Direction::Egress);
        self.group_of(index, true, &[&[all], rules].concat());
    }

    /// Makes a group of these rules alone.
    pub(crate) fn group_of(&mut self, index: usize, stateful: bool, rules: &[RuleSpec]) {
        let rules = rules.iter().map(|rule| Rule::try_from(*rule).unwrap()).collect();
        self.security.set_group(group(index), Some(&Group { stateful, rules }));
        self.renew();
    }

    /// Puts a station into these groups; `None`: it is not filtered.
    pub(crate) fn join(&mut self, station: usize, groups: Option<&[usize]>) {
        let own = PortSecurity::new(Zone(0), MacAddress(mac(station)));
        let groups = groups.map(|groups| groups.iter().map(|index| group(*index)).collect());
        let guarded = groups.is_some();
        let addresses = vec![v4(station), v6(station)];
        self.security.set_port(port(station), Some(PortSecurity { groups, addresses, guarded, ..own }));
        self.renew();
    }

    /// Puts a station whose addresses are not known into these groups.
    pub(crate) fn join_anywhere(&mut self, station: usize, groups: &[usize]) {
        let own = PortSecurity::new(Zone(0), MacAddress(mac(station)));
        let groups = Some(groups.iter().map(|index| group(*index)).collect());
        self.security.set_port(port(station), Some(PortSecurity { groups, guarded: true, ..own }));
        self.renew();
    }

    /// Puts a port into these groups, whose guest may have these addresses and no others.
    pub(crate) fn join_as(&mut self, index: usize, groups: &[usize], addresses: Vec<IpAddr>) {
        let own = PortSecurity::new(Zone(0), MacAddress(mac(index)));
        let groups = Some(groups.iter().map(|index| group(*index)).collect());
        self.security.set_port(port(index), Some(PortSecurity { groups, addresses, guarded: true, ..own }));
        self.renew();
    }

    /// What the worker goes by.
    pub(crate) fn policy(&self) -> Policy {
        self.compiled.with_security(Arc::new(self.security.policy().clone()))
    }

    /// Has the worker go by what was changed.
    pub(crate) fn renew(&mut self) {
        let policy = self.policy();
        self.switch.prepare(&policy);
        self.worker.set_policy(Arc::new(policy));
    }

    /// Sends a frame from a station.
    pub(crate) fn send(&mut self, station: usize, bytes: &[u8]) -> Outcome {
        self.send_claiming(station, bytes, Claims::default())
    }

    /// Sends a frame that claims something from a station.
    pub(crate) fn send_claiming(&mut self, station: usize, bytes: &[u8], claims: Claims) -> Outcome {
        let before = self.drops();
        self.outside.sent.clear();
        let held = self.outside.held.len();
        let length = u32::try_from(bytes.len()).unwrap();
        let meta = Metadata::new(port(station), length, claims);
        let mut burst = [Frame { head: Head::from_bytes(bytes), meta, payload: () }];
        self.switch.process(&mut self.worker, self.now, &mut burst, &mut self.outside);
        assert!(self.switch.flow_mismatch().is_none(), "{:?}", self.switch.flow_mismatch());
        let mismatched = self.worker.flow_counters().snapshot().mismatched;
        assert_eq!(mismatched, 0, "a connection was followed about which all would have said otherwise");
        let mut sent = std::mem::take(&mut self.outside.sent);
        sent.sort_unstable();
        let after = self.drops();
        let dropped = after.iter().find(|drop| !before.contains(drop)).copied();
        match dropped {
            Some((station, reason, _)) => {
                assert!(sent.is_empty(), "dropped as {reason:?} and sent to {sent:?}");
                Outcome::Dropped(reason, station)
            }
            None if self.outside.held.len() > held => Outcome::Held,
            None => Outcome::To(sent),
        }
    }

    /// Takes in what was kept and is decided about; where it goes.
    pub(crate) fn go_on(&mut self) -> Vec<usize> {
        self.outside.sent.clear();
        for (frame, decided) in std::mem::take(&mut self.outside.released) {
            let (worker, outside) = (&mut self.worker, &mut self.outside);
            self.switch.process_decided(worker, self.now, &mut [frame], outside, decided);
        }
        std::mem::take(&mut self.outside.sent)
    }

    /// How many frames are kept.
    pub(crate) fn kept(&self) -> usize {
        self.outside.held.len()
    }

    fn drops(&self) -> Vec<(usize, DropReason, u64)> {
        let of = |station| self.switch.counters().port(port(station)).snapshot();
        let all = (0..self.stations).flat_map(|station| {
            of(station).dropped().map(move |(reason, count)| (station, reason, count)).collect::<Vec<_>>()
        });
        all.collect()
    }

    /// Asserts that the frame reaches the station, and nobody else.
    #[track_caller]
    pub(crate) fn passes(&mut self, from: usize, to: usize, frame: &[u8]) {
        assert_eq!(self.send(from, frame), Outcome::To(vec![to]));
    }

    /// Asserts that the frame is dropped for this reason.
    #[track_caller]
    pub(crate) fn drops_as(&mut self, from: usize, frame: &[u8], reason: DropReason) {
        match self.send(from, frame) {
            Outcome::Dropped(found, _) if found == reason => {}
            other => panic!("{other:?} instead of {reason:?}"),
        }
    }
}

/// A packet that begins with these headers.
pub(crate) fn ip(
    from: usize,
    to: usize,
    (source, destination): (IpAddr, IpAddr),
) -> PacketBuilderStep<etherparse::IpHeaders> {
    let ethernet: PacketBuilderStep<Ethernet2Header> = PacketBuilder::ethernet2(mac(from), mac(to));
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("two versions of IP"),
    }
}

/// The addresses of two stations: IPv6 ones, if so.
pub(crate) fn ends(from: usize, to: usize, is_v6: bool) -> (IpAddr, IpAddr) {
    if is_v6 { (v6(from), v6(to)) } else { (v4(from), v4(to)) }
}

/// A datagram of UDP.
pub(crate) fn udp(from: usize, to: usize, is_v6: bool, ports: (u16, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    ip(from, to, ends(from, to, is_v6)).udp(ports.0, ports.1).write(&mut frame, &[7; 16]).unwrap();
    frame
}

/// What a TCP segment says.
#[derive(Clone, Copy, Default)]
pub(crate) struct Segment {
    pub(crate) flags: &'static str,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) payload: usize,
}

/// A segment of TCP.
pub(crate) fn tcp(from: usize, to: usize, is_v6: bool, ports: (u16, u16), segment: Segment) -> Vec<u8> {
    let mut builder = ip(from, to, ends(from, to, is_v6)).tcp(ports.0, ports.1, segment.sequence, 60_000);
    for flag in segment.flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(segment.acknowledgement),
            'F' => builder.fin(),
            'R' => builder.rst(),
            other => panic!("flag {other}"),
        };
    }
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![3; segment.payload]).unwrap();
    frame
}

/// A request of echo.
pub(crate) fn echo(from: usize, to: usize, is_v6: bool, id: u16) -> Vec<u8> {
    let (builder, mut frame) = (ip(from, to, ends(from, to, is_v6)), Vec::new());
    if is_v6 {
        builder.icmpv6_echo_request(id, 1).write(&mut frame, &[1; 8]).unwrap();
    } else {
        builder.icmpv4_echo_request(id, 1).write(&mut frame, &[1; 8]).unwrap();
    }
    frame
}

/// The answer to a request of echo.
pub(crate) fn echo_reply(from: usize, to: usize, is_v6: bool, id: u16) -> Vec<u8> {
    let (builder, mut frame) = (ip(from, to, ends(from, to, is_v6)), Vec::new());
    if is_v6 {
        builder.icmpv6_echo_reply(id, 1).write(&mut frame, &[1; 8]).unwrap();
    } else {
        builder.icmpv4_echo_reply(id, 1).write(&mut frame, &[1; 8]).unwrap();
    }
    frame
}

/// What a station says of itself to all: RFC 5227, 3.
pub(crate) fn arp(station: usize) -> Vec<u8> {
    let IpAddr::V4(own) = v4(station) else { unreachable!() };
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &mac(station),
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &mac(station),
        &own.octets(),
        &[0; 6],
        &own.octets(),
        &[0; 18],
    ];
    parts.concat()
}

/// That a packet could not be delivered: ICMP type 3, code 4, or ICMPv6 type 2, with its beginning.
pub(crate) fn too_big(from: usize, to: usize, is_v6: bool, packet: &[u8]) -> Vec<u8> {
    let quoted = &packet[14..packet.len().min(14 + 60)];
    let (builder, mut frame) = (ip(from, to, ends(from, to, is_v6)), Vec::new());
    if is_v6 {
        builder.icmpv6_raw(2, 0, [0, 0, 5, 0]).write(&mut frame, quoted).unwrap();
    } else {
        builder.icmpv4_raw(3, 4, [0, 0, 5, 0]).write(&mut frame, quoted).unwrap();
    }
    frame
}

/// The fragments of a datagram of IPv4 at these offsets in bytes, each as long as the distance to the next one.
pub(crate) fn fragments(datagram: &[u8], id: u16, offsets: &[usize]) -> Vec<Vec<u8>> {
    let (headers, data) = datagram.split_at(34);
    let ends = offsets.iter().skip(1).copied().chain([data.len()]);
    let cut = offsets.iter().zip(ends).map(|(&start, end)| {
        let mut fragment = [headers, &data[start..end]].concat();
        let length = u16::try_from(20 + end - start).unwrap();
        let more = if end < data.len() { 0x2000 } else { 0 };
        let offset = u16::try_from(start / 8).unwrap() | more;
        fragment[16..18].copy_from_slice(&length.to_be_bytes());
        fragment[18..20].copy_from_slice(&id.to_be_bytes());
        fragment[20..22].copy_from_slice(&offset.to_be_bytes());
        fragment
    });
    cut.collect()
}
