//! Networks by VLAN: 4094 at once, two switches and a trunk between them, and nothing that ever crosses tenants.
//!
//! ```text
//!   access ports                         access ports
//!        |                                    |
//!     switch 0 ---------- trunk ---------- switch 1
//! ```
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use viaduct_switch::{
    Claims, DropReason, Egress, Frame, Gso, GsoKind, Head, Limits, Metadata, Nanos, NetworkIndex,
    NetworkSettings, PartialChecksum, Policy, PortIndex, PortPolicy, Priority, StormLimits, Switch, TagTypes,
    Trunk, VlanId, WorkerState,
};

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn vlan(id: usize) -> VlanId {
    VlanId::new(u16::try_from(id).unwrap()).unwrap()
}

/// An access port without a limit to its floods.
fn access(of: usize) -> PortPolicy {
    PortPolicy { storm: StormLimits::UNLIMITED, ..PortPolicy::new(network(of), 1500) }
}

fn trunk(trunk: Trunk) -> PortPolicy {
    PortPolicy { storm: StormLimits::UNLIMITED, ..PortPolicy::trunk(trunk, 1500) }
}

fn settings(id: usize) -> NetworkSettings {
    NetworkSettings { vlan: Some(vlan(id)), ..NetworkSettings::default() }
}

/// What leaves, as it stands on each port's wire.
#[derive(Default)]
struct Wires<'a> {
    policy: Option<&'a Policy>,
    sent: BTreeMap<usize, Vec<(Vec<u8>, Metadata)>>,
}

impl Egress<()> for Wires<'_> {
    fn send(&mut self, to: PortIndex, _: usize, frame: &Frame<()>) {
        let mut copy = frame.clone();
        let tags =
            self.policy.and_then(|policy| policy.tags_of(to)).map(|tags| tags.of(&frame.meta).unwrap());
        if let Some(tags) = tags {
            copy.put_tags(&tags).unwrap();
            let mut back = copy.clone();
            back.take_back(&tags);
            assert_eq!((back.head.bytes(), back.meta), (frame.head.bytes(), frame.meta), "it is undone");
        }
        self.sent.entry(to.get()).or_default().push((copy.head.bytes().to_vec(), copy.meta));
    }

    fn flood(&mut self, of: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<()>) {
        for &to in receivers.iter().filter(|&&port| port != frame.meta.source) {
            assert!(self.policy.is_some_and(|policy| policy.is_member(to, of)), "{to} is no member of {of}");
            self.send(to, slot, frame);
        }
    }
}

struct Bench {
    switch: Switch,
    worker: WorkerState,
    policy: Arc<Policy>,
}

impl Bench {
    fn new(
        ports: impl IntoIterator<Item = (PortIndex, PortPolicy)>,
        networks: impl IntoIterator<Item = (NetworkIndex, NetworkSettings)>,
    ) -> Self {
        let policy = Arc::new(Policy::compile(ports, networks).unwrap());
        let switch = Switch::new(7, Limits::default());
        switch.set_verification(true);
        Self { switch, worker: WorkerState::new(Arc::clone(&policy)), policy }
    }

    /// What a burst that enters at a port makes leave, port by port.
    fn burst(&mut self, from: usize, frames: &[Vec<u8>]) -> BTreeMap<usize, Vec<Vec<u8>>> {
        let claimed = frames.iter().map(|bytes| (bytes.clone(), Claims::default())).collect::<Vec<_>>();
        let sent = self.claimed(from, &claimed);
        sent.into_iter()
            .map(|(port, sent)| (port, sent.into_iter().map(|(bytes, _)| bytes).collect()))
            .collect()
    }

    fn claimed(
        &mut self,
        from: usize,
        frames: &[(Vec<u8>, Claims)],
    ) -> BTreeMap<usize, Vec<(Vec<u8>, Metadata)>> {
        let make = |(bytes, claims): &(Vec<u8>, Claims)| {
            let meta = Metadata::new(port(from), u32::try_from(bytes.len()).unwrap(), *claims);
            Frame { head: Head::from_bytes(bytes), meta, payload: () }
        };
        let mut frames: Vec<Frame<()>> = frames.iter().map(make).collect();
        let policy = Arc::clone(&self.policy);
        let mut wires = Wires { policy: Some(&policy), ..Wires::default() };
        self.switch.process(&mut self.worker, Nanos(0), &mut frames, &mut wires);
        let counted = self.worker.flow_counters().snapshot();
        assert_eq!(counted.mismatched, 0, "{:?}", self.switch.flow_mismatch().map(ToString::to_string));
        wires.sent
    }

    fn drops(&self, from: usize, reason: DropReason) -> u64 {
        self.switch.counters().port(port(from)).drops(reason)
    }
}

fn station(number: usize) -> [u8; 6] {
    let [.., a, b, c] = number.to_be_bytes();
    [2, 0, 0, a, b, c]
}

const ALL: [u8; 6] = [0xff; 6];

/// A frame with these words behind the addresses, and its number in the payload.
fn frame(to: [u8; 6], from: [u8; 6], words: &[u16], number: usize) -> Vec<u8> {
    let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    [&to[..], &from, &words, &[0x88, 0xb5], &number.to_be_bytes(), &[0; 40]].concat()
}

const VLANS: usize = 4094;

/// A switch with an access port in each of 4094 networks, one of which has port 4094 as well; and a trunk of all.
#[test]
fn four_thousand_and_ninety_four_vlans_have_a_frame_each_both_ways() {
    let trunk_port = 4095;
    let all = Trunk { networks: (0..VLANS).map(network).collect(), ..Trunk::default() };
    let ports = (0..VLANS).map(|of| (port(of), access(of))).chain([(port(trunk_port), trunk(all))]);
    let mut bench = Bench::new(ports, (0..VLANS).map(|of| (network(of), settings(of + 1))));
    for round in 0..2 {
        for of in 0..VLANS {
            // The same addresses in all networks.
            let (here, there) = (station(1), station(2));
            let tag = [0x8100, u16::try_from(of + 1).unwrap() | 0x6000];
            let plain = |to, from| frame(to, from, &[], of);
            // A broadcast from the access port, and the answer by the trunk; the second time both are known.
            let to = if round == 0 { ALL } else { there };
            let out = bench.burst(of, &[plain(to, here)]);
            let expected = frame(to, here, &[0x8100, u16::try_from(of + 1).unwrap()], of);
            assert_eq!(out, [(trunk_port, vec![expected])].into(), "VLAN {}", of + 1);
            let back = bench.burst(trunk_port, &[frame(here, there, &tag, of)]);
            assert_eq!(back, [(of, vec![plain(here, there)])].into(), "VLAN {}", of + 1);
        }
    }
    for id in [0, 4095] {
        assert!(bench.burst(trunk_port, &[frame(ALL, station(2), &[0x8100, id], 0)]).is_empty());
    }
    assert_eq!(bench.drops(trunk_port, DropReason::VlanUntagged), 1);
    assert_eq!(bench.drops(trunk_port, DropReason::VlanReserved), 1);
    let known = bench.switch.fdb(Nanos(0), &bench.policy);
    assert_eq!(known.len(), 2 * VLANS);
    let flows = bench.worker.flow_counters().snapshot();
    assert!(flows.inserted > 0);
}

#[test]
fn a_burst_of_all_vlans_goes_each_its_own_way() {
    let all = Trunk { networks: (0..VLANS).map(network).collect(), ..Trunk::default() };
    let ports = [(port(0), trunk(all.clone())), (port(1), trunk(all))];
    let mut bench = Bench::new(ports, (0..VLANS).map(|of| (network(of), settings(of + 1))));
    let numbers: Vec<usize> = (0..64).map(|slot| slot * 61 % VLANS).collect();
    let frames: Vec<_> = numbers
        .iter()
        .map(|of| frame(ALL, station(1), &[0x8100, u16::try_from(of + 1).unwrap() | 0xf000], *of))
        .collect();
    // Priority and drop eligibility are kept from tag to tag.
    assert_eq!(bench.burst(0, &frames), [(1, frames.clone())].into());
    assert_eq!(bench.burst(1, &frames), [(0, frames)].into());
}

#[test]
fn priorities_are_kept_and_a_port_has_one_for_frames_without() {
    let both = Trunk { networks: vec![network(0)], ..Trunk::default() };
    let service = Trunk { service_vlan: Some(vlan(300)), ..both.clone() };
    let ports = [
        (port(0), PortPolicy { priority: Priority::new(5).unwrap(), ..access(0) }),
        (port(1), trunk(both)),
        (port(2), trunk(service)),
        (port(3), access(0)),
    ];
    let mut bench = Bench::new(ports, [(network(0), settings(10))]);
    let mut out = |from, words: &[u16]| bench.burst(from, &[frame(ALL, station(from), words, 0)]);
    let expected = |tags: [&[u16]; 4], from: usize| -> BTreeMap<usize, Vec<Vec<u8>>> {
        let others = (0..4).filter(|to| *to != from);
        others.map(|to| (to, vec![frame(ALL, station(from), tags[to], 0)])).collect()
    };
    assert_eq!(out(0, &[]), expected([&[], &[0x8100, 0xa00a], &[0x88a8, 0xa12c, 0x8100, 0xa00a], &[]], 0));
    // A priority tag says more than the port does.
    let tagged = |control: u16| [control | 10, control | 300];
    let [c, s] = tagged(0x3000);
    assert_eq!(out(0, &[0x8100, 0x3000]), expected([&[], &[0x8100, c], &[0x88a8, s, 0x8100, c], &[]], 0));
    let [c, s] = tagged(0xe000);
    assert_eq!(out(1, &[0x8100, c]), expected([&[], &[], &[0x88a8, s, 0x8100, c], &[]], 1));
    assert_eq!(out(2, &[0x88a8, 300, 0x8100, c]), expected([&[], &[0x8100, c], &[], &[]], 2));
    assert_eq!(out(3, &[]), expected([&[], &[0x8100, 10], &[0x88a8, 300, 0x8100, 10], &[]], 3));
}

#[test]
fn the_mtu_is_the_packets_whatever_tags_it_has() {
    let service = Trunk { networks: vec![network(0)], service_vlan: Some(vlan(300)), ..Trunk::default() };
    let native = Trunk { native: Some(network(0)), ..Trunk::default() };
    let ports = [(port(0), access(0)), (port(1), trunk(service)), (port(2), trunk(native))];
    let mut bench = Bench::new(ports, [(network(0), settings(10))]);
    for (from, words) in
        [(0, &[][..]), (1, &[0x88a8, 300, 0x8100, 10]), (2, &[0x8100, 10]), (2, &[0x8100, 0])]
    {
        for (packet, passes) in [(1500, true), (1501, false)] {
            let mut whole = frame(ALL, station(from), words, 0);
            whole.resize(14 + 2 * words.len() + packet, 0);
            let before = bench.drops(from, DropReason::OverMtu);
            assert_eq!(bench.burst(from, &[whole]).len(), if passes { 2 } else { 0 }, "{words:x?}, {packet}");
            assert_eq!(bench.drops(from, DropReason::OverMtu) - before, u64::from(!passes));
        }
    }
}

#[test]
fn claims_follow_the_tags() {
    let service = Trunk { networks: vec![network(0)], service_vlan: Some(vlan(300)), ..Trunk::default() };
    let one = Trunk { networks: vec![network(0)], ..Trunk::default() };
    let ports = [(port(0), access(0)), (port(1), trunk(one)), (port(2), trunk(service))];
    let mut bench = Bench::new(ports, [(network(0), settings(10))]);
    let tags: [&[u16]; 3] = [&[], &[0x8100, 10], &[0x88a8, 300, 0x8100, 10]];
    for (from, words) in tags.iter().enumerate() {
        let whole = frame(ALL, station(from), words, 0);
        let claims = |start| Claims {
            checksum: Some(PartialChecksum { start, offset: 16 }),
            gso: Some(Gso { kind: GsoKind::Tcp4, size: 20, ecn: false }),
        };
        let start = |port: usize| 34 + 2 * u16::try_from(tags[port].len()).unwrap();
        let out = bench.claimed(from, &[(whole, claims(start(from)))]);
        assert_eq!(out.len(), 2);
        for (to, sent) in out {
            let (bytes, meta) = &sent[0];
            assert_eq!((bytes, meta.claims), (&frame(ALL, station(from), tags[to], 0), claims(start(to))));
            assert_eq!(meta.length as usize, bytes.len());
        }
        // A checksum that would begin within the tags, or within the type field behind them.
        for start in 14..14 + 2 * u16::try_from(words.len()).unwrap() {
            let before = bench.drops(from, DropReason::BadOffload);
            let claims = Claims { checksum: Some(PartialChecksum { start, offset: 0 }), gso: None };
            assert!(bench.claimed(from, &[(frame(ALL, station(from), words, 0), claims)]).is_empty());
            assert_eq!(bench.drops(from, DropReason::BadOffload), before + 1, "{start}");
        }
    }
}

#[test]
fn stacks_of_any_height_are_refused_by_name() {
    let carried = Trunk { native: Some(network(0)), networks: vec![network(1)], ..Trunk::default() };
    let ports = [access(0), access(1), trunk(carried)].into_iter().enumerate();
    let ports = ports.map(|(index, policy)| (port(index), PortPolicy { mtu: 9000, ..policy }));
    let mut bench = Bench::new(ports, [(network(0), settings(10)), (network(1), settings(20))]);
    for height in [2, 3, 29, 1000] {
        let stack: Vec<u16> = [0x8100, 10].into_iter().chain([0x8100, 20].repeat(height - 1)).collect();
        assert!(bench.burst(2, &[frame(ALL, station(9), &stack, 0)]).is_empty());
        assert!(bench.burst(0, &[frame(ALL, station(9), &stack, 0)]).is_empty());
    }
    assert_eq!((bench.drops(2, DropReason::VlanInnerTag), bench.drops(0, DropReason::VlanOnAccess)), (4, 4));
    assert!(bench.switch.fdb(Nanos(0), &bench.policy).is_empty(), "what is refused teaches nothing");
    let whole = frame(ALL, station(9), &[0x8100, 20], 0);
    for end in 14..18 {
        assert!(bench.burst(2, &[whole[..end].to_vec()]).is_empty());
    }
    assert_eq!(bench.drops(2, DropReason::VlanTruncated), 4);
    assert_eq!(
        bench.burst(2, &[whole[..18].to_vec()]),
        [(1, vec![frame(ALL, station(9), &[], 0)[..14].to_vec()])].into()
    );
}

#[test]
fn tenants_with_tags_of_their_own_are_kept_apart_by_the_service_providers() {
    // Two tenants, whose own VLANs are the same, over one trunk; and a metro link that belongs to the first alone.
    let inner = |id| NetworkSettings { inner_tags: true, ..settings(id) };
    let both = Trunk { networks: vec![network(0), network(1)], ..Trunk::default() };
    let metro = Trunk { native: Some(network(0)), service_vlan: Some(vlan(300)), ..Trunk::default() };
    let ports = [(port(0), access(0)), (port(1), access(1)), (port(2), trunk(both)), (port(3), trunk(metro))];
    let mut bench = Bench::new(ports, [(network(0), inner(10)), (network(1), inner(20))]);
    for own in [&[][..], &[0x8100, 20], &[0x8100, 10], &[0x88a8, 7, 0x8100, 20]] {
        let (first, second) = (frame(ALL, station(0), own, 0), frame(ALL, station(1), own, 1));
        let tagged =
            |outer: &[u16], number: usize| vec![frame(ALL, station(number), &[outer, own].concat(), number)];
        let out = bench.burst(0, std::slice::from_ref(&first));
        assert_eq!(out, [(2, tagged(&[0x8100, 10], 0)), (3, tagged(&[0x88a8, 300], 0))].into(), "{own:x?}");
        assert_eq!(bench.burst(1, &[second]), [(2, tagged(&[0x8100, 20], 1))].into());
        let out = bench.burst(3, &tagged(&[0x88a8, 300], 0));
        assert_eq!(out, [(0, vec![first]), (2, tagged(&[0x8100, 10], 0))].into(), "{own:x?}");
    }
}

/// Ports of the property below: access ports of three tenants, trunks of all kinds between them.
fn mixed() -> Bench {
    let of = |numbers: &[usize]| numbers.iter().copied().map(network).collect::<Vec<_>>();
    let all = TagTypes { service: true, legacy: true };
    let trunks = [
        Trunk { networks: of(&[0, 1, 2]), ..Trunk::default() },
        Trunk { native: Some(network(0)), networks: of(&[1]), ..Trunk::default() },
        Trunk { native: Some(network(1)), networks: of(&[2]), tag_types: all, ..Trunk::default() },
        Trunk { networks: of(&[0, 2]), service_vlan: Some(vlan(300)), ..Trunk::default() },
        Trunk { native: Some(network(2)), service_vlan: Some(vlan(10)), ..Trunk::default() },
    ];
    let access = (0..6).map(|index| (port(index), access(index % 3)));
    let trunks = trunks.into_iter().enumerate().map(|(index, kind)| (port(6 + index), trunk(kind)));
    Bench::new(access.chain(trunks), (0..3).map(|of| (network(of), settings(10 * (of + 1)))))
}

fn is_tag(kind: u16) -> bool {
    [0x8100, 0x88a8, 0x9100].contains(&kind)
}

/// The network that a frame on a port's wire belongs to, as the neighbour there would say: told anew from the port's
/// description, not from the policy.
fn seen_as(index: usize, bytes: &[u8]) -> Option<usize> {
    let words: Vec<u16> =
        bytes[12..24].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let by_id = |control: u16| Some(usize::from(control & 0xfff) / 10 - 1);
    let (native, service) = match index {
        0..=5 => return (!is_tag(words[0])).then_some(index % 3),
        6 => (None, None),
        7 => (Some(0), None),
        8 => (Some(1), None),
        9 => (None, Some(300)),
        _ => (Some(2), Some(10)),
    };
    let words = match service {
        Some(id) if words[0] == 0x88a8 && words[1] & 0xfff == id => &words[2..],
        Some(_) => return None,
        None => &words[..],
    };
    match words {
        [0x8100, control, next, ..] if !is_tag(*next) => by_id(*control),
        [kind, ..] if !is_tag(*kind) => native,
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever anybody sends, every copy that leaves is one of the network to which the sender's frame belonged, in the
    /// eyes of whoever is behind the port.
    #[test]
    fn no_frame_crosses_tenants(
        bursts in prop::collection::vec(
            (0..11usize, prop::collection::vec(
                (0..8usize, 0..6usize, prop::collection::vec(prop::sample::select(vec![
                    0x8100u16, 0x88a8, 0x9100, 0, 10, 20, 30, 300, 0xa00a, 0x7fff, 0x600a,
                ]), 0..6)),
                1..12,
            )),
            1..40,
        ),
    ) {
        let mut bench = mixed();
        for (from, kinds) in bursts {
            let frames: Vec<Vec<u8>> = kinds
                .iter()
                .enumerate()
                .map(|(slot, (to, sender, words))| {
                    let to = if *to < 6 { station(*to) } else { ALL };
                    frame(to, station(*sender), words, slot)
                })
                .collect();
            for (to, sent) in bench.burst(from, &frames) {
                for bytes in sent {
                    let Some(of) = seen_as(to, &bytes) else {
                        return Err(TestCaseError::fail(format!("port {to} cannot place {:x?}", &bytes[12..24])));
                    };
                    // The number stands behind the type field, wherever that is.
                    let at = 14 + bytes[12..].chunks(2).position(|pair| pair == [0x88, 0xb5]).unwrap() * 2;
                    let slot = usize::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
                    let network = network(of);
                    prop_assert!(bench.policy.is_member(port(to), network), "{to} got one of {of}");
                    prop_assert!(bench.policy.is_member(port(from), network), "{from} sent one to {of}");
                    let entered = seen_on_entry(from, &frames[slot]);
                    prop_assert_eq!(entered, Some(of), "from {} to {}: {:x?}", from, to, &frames[slot][12..24]);
                }
            }
        }
    }
}

/// The same for a frame that enters, which may be tagged with the native network's id, with a priority alone, or with
/// other types.
fn seen_on_entry(index: usize, bytes: &[u8]) -> Option<usize> {
    let mut words: Vec<u16> = bytes[12..]
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
        .collect();
    if index > 8 {
        words.drain(..2);
    }
    let accepts = |kind: u16| kind == 0x8100 || index == 8 && [0x88a8, 0x9100].contains(&kind);
    let native = match index {
        0..=5 => Some(index % 3),
        7 => Some(0),
        8 => Some(1),
        10 => Some(2),
        _ => None,
    };
    match words[..] {
        [kind, control, ..] if accepts(kind) && control & 0xfff != 0 => {
            Some(usize::from(control & 0xfff) / 10 - 1)
        }
        _ => native,
    }
}
