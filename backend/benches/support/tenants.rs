//! A switch with two guests that may only send as themselves, each in four groups of fifty rules: at port 0 who opens
//! connections, at port 1 who answers.

use std::sync::Arc;

use viaduct::ring::Burst;
use viaduct_switch::security::{
    Direction, Group, GroupIndex, PortSecurity, Protocol, Rule, RuleSpec, SecurityControl, SourceGuard, Zone,
};
use viaduct_switch::{
    JudgeLimits, Limits, MacAddress, Nanos, NetworkIndex, NetworkSettings, Policy, PortPolicy, Switch,
    WorkerState, conntrack,
};

use super::support::{Count, port};

/// Connections that there is room for: fewer than are opened, so that each new one takes the place of another.
const ROOM: usize = 1 << 14;

/// What packets are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Datagram,
    Segment,
}

fn mac(at: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, at])
}

fn station(at: u8, groups: Option<Vec<GroupIndex>>) -> PortSecurity {
    let addresses = vec![[10, 0, 0, at + 1].into()];
    PortSecurity { groups, addresses, guarded: true, ..PortSecurity::new(Zone(0), mac(at)) }
}

/// Fifty ports that some prefixes may reach, all ports of UDP and one of TCP that everybody may, and all that goes out.
fn group() -> Group {
    let rule = |to: u16| {
        let prefix = Some(format!("10.{to}.0.0/16").parse().unwrap());
        let (protocol, ports) = (Some(Protocol::TCP), Some((to + 1, to + 1)));
        RuleSpec { protocol, ports, prefix, ..RuleSpec::new(Direction::Ingress) }
    };
    let own = [(Protocol::UDP, None), (Protocol::TCP, Some((443, 443)))].map(|(protocol, ports)| RuleSpec {
        protocol: Some(protocol),
        ports,
        ..RuleSpec::new(Direction::Ingress)
    });
    let all = own.into_iter().chain([RuleSpec::new(Direction::Egress)]).chain((1..=50).map(rule));
    Group { stateful: true, rules: all.map(|rule| Rule::try_from(rule).unwrap()).collect() }
}

/// The head of a frame of 64 bytes that goes from one guest to the other, of flow number `flow`. A segment has these `flags`.
pub(super) fn packet(from: u8, flow: u32, kind: Kind, flags: u8) -> [u8; 64] {
    let to = 1 - from;
    let mut frame = [0; 64];
    frame[..6].copy_from_slice(&mac(to).0);
    frame[6..12].copy_from_slice(&mac(from).0);
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17]);
    frame[26..30].copy_from_slice(&[10, 0, 0, from + 1]);
    frame[30..34].copy_from_slice(&[10, 0, 0, to + 1]);
    let [_, high, middle, low] = flow.to_be_bytes();
    let ends = [[middle, low], if kind == Kind::Segment { [1, 187] } else { [1, high] }];
    let [source, destination] = if from == 0 { ends } else { [ends[1], ends[0]] };
    frame[34..36].copy_from_slice(&source);
    frame[36..38].copy_from_slice(&destination);
    match kind {
        Kind::Datagram => frame[38..40].copy_from_slice(&[0, 30]),
        Kind::Segment => {
            frame[23] = 6;
            // The SYN has the number 1, and all that follows 2; ten bytes of data may come again and again.
            let first = u8::from(flags & 2 == 0) + 1;
            frame[38..48].copy_from_slice(&[0, 0, 0, first, 0, 0, 0, 2, 0x50, flags]);
            frame[48..50].copy_from_slice(&[0x40, 0]);
        }
    }
    frame
}

/// A switch on which connections of these flows are open.
pub(super) fn switch(flows: u32, kind: Kind) -> (Switch, WorkerState) {
    let network = NetworkIndex::new(0).unwrap();
    let ports = [0, 1].map(|at| {
        let guard = Some(Arc::new(SourceGuard::new(&station(at, None))));
        let judging = JudgeLimits::UNLIMITED;
        (port(at.into()), PortPolicy { guard, judging, ..PortPolicy::new(network, 1500) })
    });
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    let mut security = SecurityControl::new(5);
    let groups: Vec<_> = (0..4).filter_map(GroupIndex::new).collect();
    groups.iter().for_each(|index| security.set_group(*index, Some(&group())));
    for at in [0, 1] {
        security.set_port(port(at.into()), Some(station(at, Some(groups.clone()))));
    }
    let policy = Arc::new(policy.with_security(Arc::new(security.policy().clone())));
    let connections =
        conntrack::Limits { per_port: ROOM, embryonic_per_port: ROOM, ..conntrack::Limits::of(ROOM) };
    let switch = Switch::new(42, Limits { connections, ..Limits::default() });
    switch.prepare(&policy);
    let mut state = WorkerState::new(policy);
    let mut send = |from: u8, flow: u32, flags: u8| {
        let mut bytes = packet(from, flow, kind, flags);
        let mut burst = Burst::new(port(from.into()));
        burst.load(port(from.into()), &mut bytes);
        switch.process(&mut state, Nanos(0), burst.parts().0, &mut Count(0));
    };
    // SYN, SYN and ACK, ACK; of datagrams the first two alone matter.
    let opening = [(0, 2), (1, 0x12), (0, 0x10)];
    (0..flows).flat_map(|flow| opening.map(|step| (flow, step))).for_each(|(flow, (from, flags))| {
        send(from, flow, flags);
    });
    (switch, state)
}
