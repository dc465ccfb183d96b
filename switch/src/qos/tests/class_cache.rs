//! What is kept is what filters say, whatever they look at, and for no longer than they would say it.

use proptest::prelude::*;

use super::*;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Address, Packet, Ports};
use crate::qos::{
    BitRate, ClassPlan, FilterPlan, HtbPlan, Match, QueuePlan, RootPlan, Shares, TreeLimits, TreePlan,
};
use crate::security::{GroupIndex, Protocol};
use crate::time::Nanos;

fn class(number: usize) -> ClassIndex {
    ClassIndex::new(number).unwrap()
}

/// A tree of ten classes, the last of which is for what no filter matches.
fn tree(filters: Vec<Match>) -> Tree {
    let rate = BitRate::MIN;
    let plan = |number| ClassPlan {
        name: format!("c{number}").into(),
        parent: None,
        shares: Shares::new(rate, rate),
        quantum: None,
        priority: 0,
        queue: QueuePlan::default(),
    };
    let filters = filters.into_iter().enumerate();
    let filters = filters.map(|(place, wants)| FilterPlan { wants, class: class(place % 9) });
    let classes = (0..10).map(plan).collect();
    let root = HtbPlan { root: Shares::new(BitRate::MAX, BitRate::MAX), classes, default: class(9) };
    let plan = TreePlan {
        root: RootPlan::Htb(root),
        filters: filters.collect(),
        overhead_bytes: 0,
        limits: TreeLimits::default(),
    };
    Tree::new(&plan, 1, Nanos(0)).unwrap()
}

fn packet(ends: (u8, u8), protocol: u8, ports: Option<(u16, u16)>, traffic_class: u8) -> Packet {
    let ports = ports.map(|(source, destination)| Ports { source, destination });
    Packet {
        source: Address::from_v4([10, 0, 0, ends.0]),
        destination: Address::from_v4([10, 0, 0, ends.1]),
        protocol,
        hop_limit: 64,
        traffic_class,
        network_at: 14,
        transport_at: 34,
        end_at: 60,
        fragment: None,
        transport: ports.map_or(Transport::Other, Transport::Ports),
    }
}

/// Asks twice, so that the second answer is a kept one; nothing may differ.
fn ask(cache: &mut ClassCache, tree: &Tree, generation: u64, subject: &Subject<'_>) -> ClassIndex {
    let differs = |kept, found| panic!("{kept:?} was kept, and {found:?} is right");
    let first = cache.class_of(tree, generation, subject, Some(differs));
    assert_eq!(cache.class_of(tree, generation, subject, None::<fn(_, _)>), first);
    first
}

fn wants() -> impl Strategy<Value = Match> {
    let small = |most: u8| prop::option::weighted(0.4, 0..most);
    (small(3), small(3), small(2), small(3), small(3), small(3), small(2), small(2), small(3)).prop_map(
        |(source, destination, protocol, from, to, dscp, network, port, mark)| Match {
            source: source.map(|end| format!("10.0.0.{end}").parse().unwrap()),
            destination: destination.map(|end| format!("10.0.0.{end}").parse().unwrap()),
            protocol: protocol.map(|number| Protocol(6 + 11 * number)),
            source_ports: from.map(|port| (port.into(), u16::from(port) + 1)),
            destination_ports: to.map(|port| (port.into(), port.into())),
            dscp,
            network: network.and_then(|index| NetworkIndex::new(index.into())),
            port: port.and_then(|index| PortIndex::new(index.into())),
            group: None,
            mark: mark.map(u16::from),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any flows by any filters, in one table for two trees: each has the class that filters give it.
    #[test]
    fn what_is_kept_is_what_filters_say(
        one in prop::collection::vec(wants(), 4..12),
        other in prop::collection::vec(wants(), 4..12),
        frames in prop::collection::vec(
            ((0..3_u8, 0..3_u8), 0..2_u8, prop::option::of((0..4_u16, 0..4_u16)), 0..16_u8, any::<[bool; 4]>(), 0..3_u16),
            1..60,
        ),
    ) {
        let trees = [tree(one), tree(other)];
        let mut cache = ClassCache::new(7);
        for (ends, protocol, ports, traffic_class, [is_ip, in_network, from_port, of_other], mark) in frames {
            let packet = packet(ends, 6 + 11 * protocol, ports, traffic_class);
            let subject = Subject {
                packet: is_ip.then_some(&packet),
                network: NetworkIndex::new(in_network.into()),
                port: from_port.then(|| PortIndex::new(1).unwrap()),
                groups: &[],
                mark,
            };
            let place = usize::from(of_other);
            let class = ask(&mut cache, &trees[place], place as u64 + 1, &subject);
            prop_assert_eq!(class, trees[place].class_of(&subject));
        }
    }
}

#[test]
fn another_plan_and_other_groups_are_asked_for_anew() {
    let group = GroupIndex::new(3);
    let of_group = Match { group, ..Match::default() };
    let never = Match { mark: Some(1), ..Match::default() };
    let (by_group, without) = (tree(vec![never, of_group, never, never]), tree(vec![never; 4]));
    let mut cache = ClassCache::new(7);
    let (member, other) = (Subject { groups: group.as_slice(), ..Subject::default() }, Subject::default());
    assert_eq!(ask(&mut cache, &by_group, 1, &member), class(1));
    assert_eq!(ask(&mut cache, &without, 2, &member), class(9));
    assert_eq!(ask(&mut cache, &by_group, 1, &member), class(1));
    cache.clear();
    assert_eq!(ask(&mut cache, &by_group, 1, &other), class(9));
    // A class that nobody would find: the filters' counts, and it is told.
    let mut told = None;
    let found = cache.class_of(&by_group, 1, &member, Some(|kept, found| told = Some((kept, found))));
    assert_eq!((found, told), (class(1), Some((class(9), class(1)))));
}

#[test]
fn new_flows_displace_few_that_are_known() {
    let tree = tree(vec![Match { mark: Some(1), ..Match::default() }; 4]);
    let mut cache = ClassCache::new(7);
    let subject = |mark: u16, port: usize| Subject { mark, port: PortIndex::new(port), ..Subject::default() };
    let known: Vec<_> = (0..1000).map(|mark| subject(mark, 1)).collect();
    let knows = |cache: &ClassCache, subject: &Subject<'_>| {
        let words = words(subject);
        cache.find(cache.place(&words, 1), &words, 1).is_some()
    };
    for subject in &known {
        ask(&mut cache, &tree, 1, subject);
    }
    let before = known.iter().filter(|subject| knows(&cache, subject)).count();
    assert!(before > 850, "{before} of 1000 have a place");
    for flow in 0..10_000_u32 {
        let [_, _, high, low] = flow.to_be_bytes();
        let newcomer = subject(u16::from_be_bytes([high, low]), 2);
        cache.class_of(&tree, 1, &newcomer, None::<fn(_, _)>);
    }
    let after = known.iter().filter(|subject| knows(&cache, subject)).count();
    assert!(after > before * 6 / 10, "{after} of {before} are left");
}
