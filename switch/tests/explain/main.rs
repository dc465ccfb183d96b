//! An explanation is what happens: 10,000 random frames in random worlds of VLANs, trunks, port security, security
//! groups, spanning tree states, storm limits and multicast routers are explained first and switched then; receivers with their tags, or the
//! drop's reason, are the same each time, and explaining changed nothing.
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

mod chance;
mod groups;
mod packets;
mod world;

use std::collections::BTreeMap;

use viaduct_switch::explain::{Departure, Explanation, Fate, Looked, Outcome, Place};
use viaduct_switch::{
    Claims, DropReason, Egress, Frame, Head, Metadata, Nanos, NetworkIndex, Policy, PortIndex, Stage,
    StormClass,
};

use chance::Chance;
use world::World;

const WORLDS: u64 = 40;
const FRAMES: usize = 250;

/// What the switch did with one frame.
#[derive(Default)]
struct Happened {
    departures: Vec<Departure>,
    punted: bool,
}

struct Listener<'a> {
    policy: &'a Policy,
    happened: Happened,
}

impl Egress<Vec<u8>> for Listener<'_> {
    fn send(&mut self, port: PortIndex, _: usize, frame: &Frame<Vec<u8>>) {
        let tags = self.policy.tags_of(port).and_then(|tags| tags.of(&frame.meta)).unwrap_or_default();
        self.happened.departures.push(Departure { port, tags });
    }

    fn flood(&mut self, _: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<Vec<u8>>) {
        for &port in receivers.iter().filter(|&&port| port != frame.meta.source) {
            self.send(port, slot, frame);
        }
    }

    fn punt(&mut self, _: usize, _: &Frame<Vec<u8>>) -> bool {
        self.happened.punted = true;
        true
    }

    fn read(&mut self, frame: &Frame<Vec<u8>>, to: &mut [u8]) -> usize {
        let len = to.len().min(frame.payload.len());
        to[..len].copy_from_slice(&frame.payload[..len]);
        len
    }
}

/// A frame as it enters, and what follows its head.
fn frame(source: PortIndex, bytes: &[u8]) -> (Frame<()>, &[u8]) {
    let head = Head::from_bytes(bytes);
    let rest = &bytes[head.bytes().len()..];
    let meta = Metadata::new(source, u32::try_from(bytes.len()).unwrap(), Claims::default());
    (Frame { head, meta, payload: () }, rest)
}

impl World {
    pub(crate) fn explain(&self, now: Nanos, source: PortIndex, bytes: &[u8]) -> Explanation {
        let (Frame { head, meta, .. }, payload) = frame(source, bytes);
        self.switch.explain(&self.policy, now, &Frame { head, meta, payload })
    }

    /// What was dropped so far, at any port: what a receiver's rules refuse is counted there.
    fn drops(&self) -> BTreeMap<&'static str, u64> {
        let mut drops = BTreeMap::new();
        for index in 0..=world::PORTS {
            let counted = self.switch.counters().port(world::port(index)).snapshot();
            counted.dropped().for_each(|(reason, frames)| *drops.entry(reason.name()).or_default() += frames);
        }
        drops
    }

    /// What really becomes of the frame.
    pub(crate) fn process(&mut self, now: Nanos, source: PortIndex, bytes: &[u8]) -> Fate {
        let before = self.drops();
        let (Frame { head, meta, .. }, rest) = frame(source, bytes);
        let mut burst = [Frame { head, meta, payload: rest.to_vec() }];
        let policy = std::sync::Arc::clone(&self.policy);
        let mut listener = Listener { policy: &policy, happened: Happened::default() };
        self.switch.process(&mut self.worker, now, &mut burst, &mut listener);
        let after = self.drops();
        let mut reasons = DropReason::ALL.iter().filter(|reason| {
            let count = |drops: &BTreeMap<_, u64>| drops.get(reason.name()).copied().unwrap_or(0);
            count(&after) > count(&before)
        });
        let Happened { departures, punted } = listener.happened;
        match (reasons.next(), punted) {
            (Some(reason), false) => {
                assert!(departures.is_empty() && reasons.next().is_none());
                Fate::Dropped(*reason)
            }
            (None, true) => Fate::Punted,
            (None, false) => Fate::Leaves(departures),
            (Some(_), true) => panic!("punted and dropped"),
        }
    }

    /// All that frames change.
    fn state(&self, now: Nanos) -> impl PartialEq + std::fmt::Debug + use<> {
        let mut groups = self.switch.groups(now);
        groups.sort_by_key(|entry| (entry.network, entry.group));
        (self.switch.fdb(now, &self.policy), groups, self.switch.group_counters(), self.switch.fdb_counters())
    }
}

#[test]
fn what_is_explained_is_what_happens_to_10000_random_frames() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..WORLDS {
        let mut chance = Chance(seed);
        let mut world = World::random(&mut chance);
        let mut now = Nanos(0);
        for number in 0..FRAMES {
            now = Nanos(now.0 + chance.pick(&[0, 0, 0, 1_000_000, 700_000_000, 20_000_000_000]));
            let source = world.port(&mut chance);
            let bytes = packets::random(&mut chance);
            // Some come so often that they exceed a limit.
            for _ in 0..if chance.once_in(20) { 80 } else { 1 } {
                let explained = world.explain(now, source, &bytes);
                let happened = world.process(now, source, &bytes);
                assert_eq!(
                    explained.fate, happened,
                    "world {seed}, frame {number}: {bytes:02x?} {explained:#?}"
                );
                *seen.entry(kind(&explained)).or_default() += 1;
            }
        }
        assert_eq!(world.worker.flow_counters().snapshot().mismatched, 0);
    }
    // Otherwise the test would say little.
    for reason in MET {
        assert!(seen.contains_key(reason.name()), "no frame was dropped as {}: {seen:?}", reason.name());
    }
    assert!(["one", "many", "group", "punted"].iter().all(|kind| seen.contains_key(*kind)), "{seen:?}");
}

#[test]
fn explaining_changes_nothing() {
    let mut chance = Chance(99);
    let mut world = World::random(&mut chance);
    for number in 0..200 {
        let now = Nanos(number * 100_000_000);
        let (source, bytes) = (world.port(&mut chance), packets::random(&mut chance));
        let before = (world.state(now), world.drops());
        let first = world.explain(now, source, &bytes);
        assert_eq!(first, world.explain(now, source, &bytes));
        assert_eq!(before, (world.state(now), world.drops()), "{bytes:02x?}");
        world.process(now, source, &bytes);
    }
}

/// Reasons that the random frames must have met.
const MET: [DropReason; 29] = [
    DropReason::Runt,
    DropReason::OverMtu,
    DropReason::BadSource,
    DropReason::VlanOnAccess,
    DropReason::VlanNotAllowed,
    DropReason::VlanUntagged,
    DropReason::VlanReserved,
    DropReason::VlanInnerTag,
    DropReason::SpoofMac,
    DropReason::SpoofIpv4,
    DropReason::SpoofIpv6,
    DropReason::SpoofArp,
    DropReason::RogueDhcp,
    DropReason::Unreadable,
    DropReason::LinkLocal,
    DropReason::BpduGuard,
    DropReason::StpBlocked,
    DropReason::SamePort,
    DropReason::StormBroadcast,
    DropReason::StormMulticast,
    DropReason::StormUnknownUnicast,
    DropReason::StormControl,
    DropReason::RogueQuery,
    DropReason::BadMembership,
    DropReason::GroupEgress,
    DropReason::GroupIngress,
    DropReason::GroupNotIp,
    DropReason::ConnectionRate,
    DropReason::CtNotSyn,
];

fn kind(explained: &Explanation) -> String {
    let outcomes = || explained.steps.iter().flat_map(|step| &step.outcomes);
    match &explained.fate {
        Fate::Leaves(_) if outcomes().any(|outcome| matches!(outcome, Outcome::ToGroup(_))) => {
            "group".to_owned()
        }
        Fate::Leaves(to) if to.len() == 1 => "one".to_owned(),
        Fate::Leaves(_) => "many".to_owned(),
        Fate::Punted => "punted".to_owned(),
        Fate::ToGateway => "gateway".to_owned(),
        Fate::Dropped(reason) => reason.name().to_owned(),
        Fate::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn the_steps_name_what_was_looked_at_and_what_decided() {
    let world = World::plain();
    let explained = world.explain(Nanos(0), world::port(0), &packets::arp(0, 1, [10, 0, 0, 0]));
    let places: Vec<&str> = explained.steps.iter().map(|step| step.place.name()).collect();
    assert_eq!(
        places,
        [
            "classification",
            "port-security",
            "admit",
            "control",
            "vlan",
            "spanning-tree",
            "learn",
            "gateway",
            "storm",
            "multicast",
            "forward",
            "storm-meter"
        ]
    );
    let forward = explained.steps.iter().find(|step| step.place == Place::Stage(Stage::Forward)).unwrap();
    let known = None;
    assert!(forward.looked_at.contains(&Looked::Station { mac: packets::station(1), known }), "{forward:?}");
    assert_eq!(forward.outcomes, [Outcome::Metered(StormClass::UnknownUnicast), Outcome::Floods]);
    assert_eq!(explained.steps.last().unwrap().outcomes, [Outcome::WithinLimit]);
    assert_eq!(explained.network, NetworkIndex::new(0));
}

#[test]
fn a_spoofed_frame_ends_at_port_security_whose_step_shows_the_address() {
    let world = World::plain();
    let explained = world.explain(Nanos(0), world::port(0), &packets::arp(0, 1, [10, 0, 0, 9]));
    let step = explained.steps.iter().find(|step| step.place == Place::PortSecurity).unwrap();
    let claimed =
        Looked::ArpSender { mac: packets::station(0), address: std::net::IpAddr::from([10, 0, 0, 9]) };
    assert!(step.looked_at.contains(&claimed), "{step:?}");
    assert_eq!(step.outcomes, [Outcome::Dropped(DropReason::SpoofArp)]);
    assert_eq!((explained.fate, explained.network), (Fate::Dropped(DropReason::SpoofArp), None));
}

#[test]
fn a_message_of_which_a_part_is_missing_is_not_guessed_at() {
    let world = World::plain();
    let bytes = packets::igmp_report([239, 1, 1, 1]);
    let meta = Metadata::new(world::port(1), 1000, Claims::default());
    let frame = Frame { head: Head::from_bytes(&bytes), meta, payload: &[][..] };
    assert_eq!(world.switch.explain(&world.policy, Nanos(0), &frame).fate, Fate::Unknown);
}
