//! What contradicts itself, who is a member of what, and what every tag says at every kind of port.

use proptest::prelude::*;

use super::*;
use crate::control::ControlProtocol;
use crate::drops::DropReason;
use crate::frame::{Claims, Metadata, TakenTag};
use crate::vlan::{TagStack, TagTypes};

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn network(index: usize) -> NetworkIndex {
    NetworkIndex::new(index).unwrap()
}

fn in_network(index: usize) -> PortPolicy {
    PortPolicy::new(network(index), 1500)
}

const SETTINGS: NetworkSettings = NetworkSettings {
    ageing_s: 300,
    multicast: None,
    vlan: None,
    inner_tags: false,
    gateway: None,
    suppresses: false,
};

#[test]
fn members_are_sorted_and_each_network_has_its_own() {
    let ports = [(port(7), in_network(1)), (port(2), in_network(1)), (port(3), in_network(4))];
    let policy = Policy::compile(ports, [(network(1), SETTINGS), (network(4), SETTINGS)]).unwrap();
    assert_eq!(policy.network(network(1)).unwrap().members(), [port(2), port(7)]);
    assert_eq!(policy.network(network(4)).unwrap().members(), [port(3)]);
    assert!(policy.network(network(0)).is_none());
    assert!(policy.port(port(0)).is_none());
    assert!(policy.port(port(4000)).is_none());
    assert!(policy.is_member(port(7), network(1)));
    assert!(!policy.is_member(port(7), network(4)));
}

#[test]
fn contradictions_are_named() {
    let compile = |ports: &[(PortIndex, PortPolicy)], networks: &[(NetworkIndex, NetworkSettings)]| {
        Policy::compile(ports.iter().cloned(), networks.iter().copied()).unwrap_err()
    };
    let lab = (network(0), SETTINGS);
    let one = (port(1), in_network(0));
    assert_eq!(compile(&[one.clone(), one.clone()], &[lab]), PolicyError::DuplicatePort(port(1)));
    assert_eq!(compile(&[one], &[lab, lab]), PolicyError::DuplicateNetwork(network(0)));
    assert_eq!(
        compile(&[], &[(network(0), NetworkSettings { ageing_s: 0, ..SETTINGS })]),
        PolicyError::NoAgeing(network(0))
    );
    let lost = PolicyError::UnknownNetwork { port: port(1), network: network(9) };
    assert_eq!(compile(&[(port(1), in_network(9))], &[lab]), lost);
    assert!(Policy::compile([(port(1), PortPolicy::new(network(0), MTU_MIN))], [lab]).is_ok());
    let small = PortPolicy::new(network(0), 67);
    assert_eq!(compile(&[(port(1), small)], &[lab]), PolicyError::SmallMtu { port: port(1), mtu: 67 });
    let gateway = Some(Gateway { port: port(1), mac: crate::MacAddress([2, 0, 0, 0, 0, 1]) });
    let guarded = (network(0), NetworkSettings { gateway, ..SETTINGS });
    let elsewhere = PolicyError::GatewayElsewhere { port: port(1), network: network(0) };
    let other = (network(2), SETTINGS);
    assert_eq!(compile(&[], &[guarded]), elsewhere, "there is no such port");
    assert_eq!(compile(&[(port(1), in_network(2))], &[guarded, other]), elsewhere);
    assert!(Policy::compile([(port(1), in_network(0))], [guarded]).is_ok());
}

#[test]
fn a_network_keeps_its_settings_and_snoops_where_a_router_may_be() {
    let multicast = Some(MulticastSettings { membership_s: 9, fast_leave: true });
    let settings = NetworkSettings { ageing_s: 77, multicast, ..SETTINGS };
    let router = PortPolicy { multicast_router: true, ..in_network(0) };
    // Whichever of its ports it is.
    for routers in [[router.clone(), in_network(0)], [in_network(0), router]] {
        let ports = routers.into_iter().enumerate().map(|(index, policy)| (port(index), policy));
        let ports = ports.chain([(port(2), in_network(1))]);
        let networks = [(network(0), settings), (network(1), settings)];
        let policy = Policy::compile(ports, networks).unwrap();
        let [lab, other] = [0, 1].map(|index| policy.network(network(index)).unwrap());
        assert_eq!((lab.ageing_s(), lab.multicast()), (77, multicast));
        assert_eq!((other.ageing_s(), other.multicast()), (77, None));
    }
}

#[test]
fn a_spanning_trees_port_has_its_state_in_all_of_its_networks() {
    let mut policy = PortPolicy::trunk(trunk(Some(4), &[0, 3]), 1500);
    assert!(!policy.control.runs(ControlProtocol::SpanningTree));
    policy.take_state(PortState::Learning);
    assert!(policy.control.runs(ControlProtocol::SpanningTree));
    let only = |network| PortPolicy { states: vec![(network, PortState::Discarding)], ..policy.clone() };
    let closed = only(network(3));
    let policy = Policy::compile([(port(1), policy), (port(2), closed)], networks()).unwrap();
    let states = |index| [0, 3, 4, 1].map(|of| policy.state(port(index), network(of)));
    let (learns, opens) = (Some(PortState::Learning), Some(PortState::Forwarding));
    assert_eq!(states(1), [learns, learns, learns, None]);
    assert_eq!(states(2), [opens, Some(PortState::Discarding), opens, None]);
    assert_eq!(policy.network(network(0)).unwrap().members(), [port(2)]);
}

fn vlan(id: u16) -> VlanId {
    VlanId::new(id).unwrap()
}

/// Networks 0 to 3 have VLAN ids 10 to 13; network 4 has none; 5 has 20 and allows inner tags, 6 has 10 again.
fn networks() -> Vec<(NetworkIndex, NetworkSettings)> {
    let ids = [Some(10), Some(11), Some(12), Some(13), None, Some(20), Some(10)];
    let settings = |(index, id): (usize, Option<u16>)| {
        (network(index), NetworkSettings { vlan: id.map(vlan), inner_tags: index == 5, ..SETTINGS })
    };
    ids.into_iter().enumerate().map(settings).collect()
}

fn trunk(native: Option<usize>, tagged: &[usize]) -> Trunk {
    let networks = tagged.iter().copied().map(network).collect();
    Trunk { native: native.map(network), networks, ..Trunk::default() }
}

fn compile_trunk(trunk: Trunk) -> Result<Policy, PolicyError> {
    Policy::compile([(port(1), PortPolicy::trunk(trunk, 1500))], networks())
}

#[test]
fn a_trunk_is_a_member_of_all_its_networks_and_of_no_other() {
    let policy = compile_trunk(trunk(Some(4), &[0, 3, 0])).unwrap();
    let of: Vec<_> = (0..7).filter(|index| policy.is_member(port(1), network(*index))).collect();
    assert_eq!(of, [0, 3, 4]);
    for index in 0..7 {
        let members = policy.network(network(index)).unwrap().members();
        assert_eq!(members.contains(&port(1)), of.contains(&index), "network {index}");
        assert!(members.len() <= 1, "each port once");
    }
    assert!(!policy.is_member(port(0), network(0)), "there is no such port");
    // The native network is there once, written among the others or not.
    for tagged in [&[0, 1][..], &[1]] {
        let policy = compile_trunk(trunk(Some(0), tagged)).unwrap();
        assert_eq!(policy.network(network(0)).unwrap().members(), [port(1)]);
    }
}

#[test]
fn a_frame_reaches_each_network_of_a_port_once_with_the_tags_of_its_own() {
    let stacks = |membership: Membership| {
        let of = PortPolicy { priority: Priority::new(5).unwrap(), ..PortPolicy::of(membership, 1500) };
        let policy = Policy::compile([(port(1), of)], networks()).unwrap();
        assert!(policy.announcements(port(2), &[1; 60]).is_empty(), "there is no such port");
        let tags = |frame: Vec<u8>| {
            let (addresses, rest) = (&frame[..12], &frame[frame.len() - 48..]);
            assert_eq!((addresses, rest), (&[7; 12][..], &[7; 48][..]));
            frame[12..frame.len() - 48].to_vec()
        };
        policy.announcements(port(1), &[7; 60]).into_iter().map(tags).collect::<Vec<_>>()
    };
    assert_eq!(stacks(Membership::Access(network(0))), [Vec::<u8>::new()]);
    let tag = |id: u8| vec![0x81, 0, 0xa0, id];
    assert_eq!(stacks(Membership::Trunk(trunk(None, &[3, 0, 3]))), [tag(10), tag(13)]);
    assert_eq!(
        stacks(Membership::Trunk(trunk(Some(0), &[3, 0]))),
        [vec![], tag(13)],
        "the native one has none"
    );
    let service = Trunk { service_vlan: Some(vlan(300)), ..trunk(Some(4), &[1]) };
    let outer = vec![0x88, 0xa8, 0xa1, 0x2c];
    assert_eq!(stacks(Membership::Trunk(service)), [[outer.clone(), tag(11)].concat(), outer]);
}

#[test]
fn what_a_trunk_could_not_tell_apart_is_named() {
    let error = |trunk| compile_trunk(trunk).unwrap_err();
    let port = port(1);
    assert_eq!(error(trunk(None, &[4])), PolicyError::NoVlan { port, network: network(4) });
    assert!(compile_trunk(trunk(Some(4), &[4])).is_ok(), "the native network needs no id");
    let (first, second) = (network(0), network(6));
    let shared = PolicyError::SharedVlan { port, vlan: vlan(10), first, second };
    assert_eq!(error(trunk(None, &[6, 1, 0])), shared);
    assert_eq!(error(trunk(Some(6), &[0])), shared, "a native network's tag is its, too");
    assert!(compile_trunk(trunk(None, &[6, 1])).is_ok(), "another trunk may have the other one");
    assert_eq!(error(trunk(Some(5), &[0])), PolicyError::NativeInnerTags { port, network: network(5) });
    assert!(compile_trunk(trunk(Some(5), &[])).is_ok() && compile_trunk(trunk(Some(0), &[5])).is_ok());
    for unknown in [trunk(Some(9), &[]), trunk(None, &[0, 9])] {
        assert_eq!(error(unknown), PolicyError::UnknownNetwork { port, network: network(9) });
    }
}

#[test]
fn trunks_with_the_same_networks_share_one_table() {
    let ports = [(1, &[0, 1][..]), (2, &[1, 0]), (3, &[1])];
    let ports = ports.map(|(index, tagged)| (port(index), PortPolicy::trunk(trunk(None, tagged), 1500)));
    let policy = Policy::compile(ports, networks()).unwrap();
    let table = |index| &policy.compiled(port(index)).unwrap().trunk.as_ref().unwrap().vlans;
    assert!(std::sync::Arc::ptr_eq(table(1), table(2)) && !std::sync::Arc::ptr_eq(table(1), table(3)));
}

/// A head with these words behind the addresses.
fn head(words: &[u16]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_be_bytes());
    [2; 12].into_iter().chain(words).chain([0; 40]).collect()
}

/// The network, how many bytes of tags go, and the priority's code point.
type Entered = Result<(usize, usize, Option<u8>), DropReason>;

fn enter(policy: &Policy, head: &[u8]) -> Entered {
    let classified = policy.ingress(port(1)).classify(head)?;
    let priority = classified.priority.map(Priority::code_point);
    Ok((classified.network.get(), classified.tags, priority))
}

#[test]
fn an_access_port_takes_untagged_and_priority_tagged_frames_only() {
    let policy = Policy::compile([(port(1), in_network(0))], networks()).unwrap();
    assert_eq!(policy.ingress(port(1)).untagged(), Ok(network(0)));
    let access: [(&[u16], Entered); 11] = [
        (&[0x0800], Ok((0, 0, None))),
        (&[0x8100, 0xe000, 0x0800], Ok((0, 4, Some(7)))),
        // Its own network's tag is a tag, too.
        (&[0x8100, 10, 0x0800], Err(DropReason::VlanOnAccess)),
        (&[0x8100, 11, 0x0800], Err(DropReason::VlanOnAccess)),
        (&[0x88a8, 0, 0x0800], Err(DropReason::VlanOnAccess)),
        (&[0x9100, 0, 0x0800], Err(DropReason::VlanOnAccess)),
        (&[0x8100, 0x0fff, 0x0800], Err(DropReason::VlanReserved)),
        (&[0x8100, 0, 0x8100, 11, 0x0800], Err(DropReason::VlanInnerTag)),
        (&[0x8100, 0, 0x88a8, 11, 0x0800], Err(DropReason::VlanInnerTag)),
        (&[0x8100, 0, 0x9100, 11, 0x0800], Err(DropReason::VlanInnerTag)),
        (&[0x8100, 0, 0x0800, 0x8100], Ok((0, 4, Some(0)))),
    ];
    for (words, expected) in access {
        assert_eq!(enter(&policy, &head(words)), expected, "{words:04x?}");
    }
    for cut in 14..18 {
        assert_eq!(
            enter(&policy, &head(&[0x8100, 0, 0x0800])[..cut]),
            Err(DropReason::VlanTruncated),
            "{cut}"
        );
    }
    // A tag that ends where the head does, and a head without a type field, which admission refuses.
    assert_eq!(enter(&policy, &head(&[0x8100, 0, 0x0800])[..18]), Ok((0, 4, Some(0))));
    assert_eq!(enter(&policy, &[2; 13]), Ok((0, 0, None)));
    let nobody = Policy::default();
    assert_eq!(enter(&nobody, &head(&[0x0800])), Err(DropReason::NoNetwork));
    assert_eq!(nobody.ingress(port(1)).untagged(), Err(DropReason::NoNetwork));
}

#[test]
fn a_trunk_takes_its_networks_tags_and_no_other() {
    let native = compile_trunk(trunk(Some(0), &[1, 5])).unwrap();
    let tagged_only = compile_trunk(trunk(None, &[1])).unwrap();
    let cases: [(&[u16], Entered, Entered); 12] = [
        (&[0x0800], Ok((0, 0, None)), Err(DropReason::VlanUntagged)),
        (&[0x8100, 0x6000, 0x0800], Ok((0, 4, Some(3))), Err(DropReason::VlanUntagged)),
        (&[0x8100, 0xa00b, 0x0800], Ok((1, 4, Some(5))), Ok((1, 4, Some(5)))),
        // IEEE 802.1Q-2018, 6.9: the native network's tag names the native network.
        (&[0x8100, 10, 0x0800], Ok((0, 4, Some(0))), Err(DropReason::VlanNotAllowed)),
        (&[0x8100, 12, 0x0800], Err(DropReason::VlanNotAllowed), Err(DropReason::VlanNotAllowed)),
        (&[0x8100, 0x1fff, 0x0800], Err(DropReason::VlanReserved), Err(DropReason::VlanReserved)),
        // Hopping: the outer tag is the native network's, the inner one another's.
        (&[0x8100, 10, 0x8100, 11, 0x0800], Err(DropReason::VlanInnerTag), Err(DropReason::VlanNotAllowed)),
        (&[0x8100, 11, 0x8100, 11, 0x0800], Err(DropReason::VlanInnerTag), Err(DropReason::VlanInnerTag)),
        (&[0x8100, 0, 0x8100, 11, 0x0800], Err(DropReason::VlanInnerTag), Err(DropReason::VlanNotAllowed)),
        // Tags of other types are no tags of a network's here.
        (&[0x88a8, 11, 0x0800], Err(DropReason::VlanNotAllowed), Err(DropReason::VlanNotAllowed)),
        (&[0x9100, 11, 0x0800], Err(DropReason::VlanNotAllowed), Err(DropReason::VlanNotAllowed)),
        // Network 5 allows them behind its own.
        (&[0x8100, 20, 0x88a8, 11, 0x8100, 0xfff], Ok((5, 4, Some(0))), Err(DropReason::VlanNotAllowed)),
    ];
    for (words, with_native, without) in cases {
        assert_eq!(enter(&native, &head(words)), with_native, "{words:04x?}");
        assert_eq!(enter(&tagged_only, &head(words)), without, "{words:04x?}");
    }
    assert_eq!(native.ingress(port(1)).untagged(), Ok(network(0)));
    assert_eq!(tagged_only.ingress(port(1)).untagged(), Err(DropReason::VlanUntagged));
}

#[test]
fn other_types_are_taken_where_that_is_wanted() {
    let all = TagTypes { service: true, legacy: true };
    for (tag_types, taken) in [
        (TagTypes::default(), [true, false, false]),
        (TagTypes { service: true, legacy: false }, [true, true, false]),
        (TagTypes { service: false, legacy: true }, [true, false, true]),
        (all, [true; 3]),
    ] {
        let policy = compile_trunk(Trunk { tag_types, ..trunk(None, &[1]) }).unwrap();
        for (kind, taken) in [0x8100, 0x88a8, 0x9100].into_iter().zip(taken) {
            let expected = if taken { Ok((1, 4, Some(0))) } else { Err(DropReason::VlanNotAllowed) };
            assert_eq!(enter(&policy, &head(&[kind, 11, 0x0800])), expected, "{kind:x} with {tag_types:?}");
        }
    }
    // The service provider's tag: 0x88a8 always, 0x9100 where wanted, 0x8100 never.
    for (tag_types, taken) in [(TagTypes::default(), [false, true, false]), (all, [false, true, true])] {
        let service_vlan = Some(vlan(300));
        let policy = compile_trunk(Trunk { tag_types, service_vlan, ..trunk(Some(0), &[]) }).unwrap();
        for (kind, taken) in [0x8100, 0x88a8, 0x9100].into_iter().zip(taken) {
            let expected = if taken { Ok((0, 4, Some(2))) } else { Err(DropReason::VlanNotAllowed) };
            assert_eq!(
                enter(&policy, &head(&[kind, 0x412c, 0x0800])),
                expected,
                "{kind:x} with {tag_types:?}"
            );
        }
    }
}

#[test]
fn behind_a_service_providers_tag_all_is_as_without() {
    let policy = compile_trunk(Trunk { service_vlan: Some(vlan(300)), ..trunk(Some(0), &[1]) }).unwrap();
    let service: [(&[u16], Entered); 12] = [
        (&[0x88a8, 300, 0x8100, 0xa00b, 0x0800], Ok((1, 8, Some(5)))),
        (&[0x88a8, 0xe12c, 0x0800], Ok((0, 4, Some(7)))),
        // The inner tag's priority counts, also if it says nothing else.
        (&[0x88a8, 0xe12c, 0x8100, 0x2000, 0x0800], Ok((0, 8, Some(1)))),
        (&[0x0800], Err(DropReason::VlanUntagged)),
        (&[0x8100, 11, 0x0800], Err(DropReason::VlanNotAllowed)),
        (&[0x88a8, 301, 0x8100, 11, 0x0800], Err(DropReason::VlanNotAllowed)),
        (&[0x88a8, 0, 0x8100, 11, 0x0800], Err(DropReason::VlanNotAllowed)),
        (&[0x88a8, 0xfff, 0x8100, 11, 0x0800], Err(DropReason::VlanReserved)),
        (&[0x88a8, 300, 0x8100, 0xfff, 0x0800], Err(DropReason::VlanReserved)),
        (&[0x88a8, 300, 0x8100, 12, 0x0800], Err(DropReason::VlanNotAllowed)),
        (&[0x88a8, 300, 0x88a8, 300, 0x0800], Err(DropReason::VlanInnerTag)),
        (&[0x88a8, 300, 0x8100, 11, 0x8100, 11, 0x0800], Err(DropReason::VlanInnerTag)),
    ];
    for (words, expected) in service {
        assert_eq!(enter(&policy, &head(words)), expected, "{words:04x?}");
    }
    assert_eq!(policy.ingress(port(1)).untagged(), Err(DropReason::VlanUntagged));
    let whole = head(&[0x88a8, 300, 0x8100, 11, 0x0800]);
    for cut in 14..22 {
        assert_eq!(enter(&policy, &whole[..cut]), Err(DropReason::VlanTruncated), "{cut}");
    }
    assert_eq!(enter(&policy, &whole[..22]), Ok((1, 8, Some(0))));
}

#[test]
fn a_network_that_allows_inner_tags_keeps_them() {
    let access = Policy::compile([(port(1), in_network(5))], networks()).unwrap();
    let alone = compile_trunk(trunk(Some(5), &[])).unwrap();
    for words in [&[0x8100, 20, 0x0800][..], &[0x8100, 7], &[0x88a8, 7], &[0x9100, 0, 0x8100]] {
        assert_eq!(enter(&access, &head(words)), Ok((5, 0, None)), "{words:04x?}");
        assert_eq!(enter(&alone, &head(words)), Ok((5, 0, None)), "{words:04x?}");
    }
    for policy in [access, alone] {
        assert_eq!(enter(&policy, &head(&[0x8100, 0x4000, 0x8100, 7])), Ok((5, 4, Some(2))));
        assert_eq!(enter(&policy, &head(&[0x8100, 0xfff, 0x0800])), Err(DropReason::VlanReserved));
    }
}

#[test]
fn each_receiver_has_its_tags() {
    let with = |service_vlan| Trunk { service_vlan, ..trunk(Some(0), &[1]) };
    let ports = [
        (port(0), in_network(0)),
        (port(1), PortPolicy::trunk(with(None), 1500)),
        (port(2), PortPolicy::trunk(with(Some(vlan(300))), 1500)),
    ];
    let policy = Policy::compile(ports, networks()).unwrap();
    assert!(policy.tags_of(port(0)).is_none() && policy.tags_of(port(9)).is_none());
    let priority = Priority::new(6).unwrap();
    let of = |to: usize, index| policy.tags_of(port(to)).unwrap().frame(network(index), priority);
    assert_eq!(of(1, 0), TagStack::default());
    assert_eq!(of(1, 1), TagStack::new(None, Some(vlan(11)), priority));
    assert_eq!(of(2, 0), TagStack::new(Some(vlan(300)), None, priority));
    assert_eq!(of(2, 1), TagStack::new(Some(vlan(300)), Some(vlan(11)), priority));
}

#[test]
fn a_frames_own_tag_says_more_than_its_port() {
    let priority = |code_point| Priority::new(code_point).unwrap();
    let native = PortPolicy { priority: priority(3), ..PortPolicy::trunk(trunk(Some(0), &[1]), 1500) };
    let ports = [
        (port(0), PortPolicy { priority: priority(5), ..in_network(1) }),
        (port(1), native),
        (port(2), PortPolicy::trunk(trunk(None, &[0, 1]), 1500)),
    ];
    let policy = Policy::compile(ports, networks()).unwrap();
    let tags = |source, tag| {
        let meta = Metadata { tag, ..Metadata::new(port(source), 60, Claims::default()) };
        policy.tags_of(port(2)).unwrap().of(&meta)
    };
    let stack = |id, code_point| Some(TagStack::new(None, Some(vlan(id)), priority(code_point)));
    assert_eq!(tags(0, None), stack(11, 5));
    assert_eq!(tags(1, None), stack(10, 3));
    let said = |of, priority| Some(TakenTag { network: network(of), priority });
    assert_eq!(tags(1, said(1, Some(priority(7)))), stack(11, 7));
    assert_eq!(tags(1, said(1, None)), stack(11, 3));
    // No network without a tag, and a port that is gone.
    assert_eq!((tags(2, None), tags(9, None)), (None, None));
}

proptest! {
    /// Whatever words stand behind the addresses: what is taken in belongs to a network of the port, loses two tags at
    /// most, and shows no tag any more, unless its network allows that.
    #[test]
    fn what_is_taken_in_shows_no_tag(
        words in prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(vec![0x8100u16, 0x88a8, 0x9100, 0x0800]),
                4 => prop::sample::select(vec![0, 10, 11, 20, 300, 0xfff, 0xe00a, 0xf12c]),
                1 => any::<u16>(),
            ],
            0..8,
        ),
        native in prop::sample::select(vec![None, Some(0), Some(4), Some(5)]),
        service in any::<bool>(),
        types in any::<(bool, bool)>(),
        length in 0..60usize,
    ) {
        let tagged: &[usize] = if native == Some(5) { &[] } else { &[1, 2, 5] };
        let tag_types = TagTypes { service: types.0, legacy: types.1 };
        let service_vlan = service.then_some(vlan(300));
        let policy = compile_trunk(Trunk { tag_types, service_vlan, ..trunk(native, tagged) }).unwrap();
        let mut head = head(&words);
        head.truncate(length);
        if let Ok((of, tags, _)) = enter(&policy, &head) {
            prop_assert!(policy.is_member(port(1), network(of)));
            prop_assert!([0, 4, 8].contains(&tags) && (tags >= 4 || !service));
            prop_assert!(head.len() >= 14 + tags || tags == 0);
            let kind = head.get(12 + tags..14 + tags).map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
            prop_assert!(of == 5 || ![0x8100, 0x88a8, 0x9100].contains(&kind));
        }
    }
}
