//! ARP: RFC 826 and RFC 5227.

use super::*;
use crate::router::link_local_of;

const NOBODY: MacAddress = MacAddress([0; 6]);
const ALL: MacAddress = MacAddress::BROADCAST;

#[test]
fn who_asks_for_the_gateway_is_answered_and_noted() {
    let mut lab = Lab::new();
    let out = lab.receive(5, 0, &arp(1, ALL, (mac(5), "10.0.0.5"), (NOBODY, "10.0.0.1")));
    let expected = arp(2, mac(5), (GATEWAY, "10.0.0.1"), (mac(5), "10.0.0.5"));
    assert_eq!(out, [Output::Send { network: network(0), frame: expected }]);
    assert_eq!(lab.known(0, "10.0.0.5"), Some(mac(5)), "it is going to be answered by IP as well");
    assert_eq!(lab.state(0, "10.0.0.5"), Some(NeighbourState::Stale), "nothing shows that it hears us");
}

#[test]
fn nobody_is_answered_for_other_addresses_or_from_other_subnets() {
    let mut lab = Lab::new();
    for (sender, target) in [
        ("10.0.0.5", "10.0.0.9"),
        ("10.0.0.5", "10.0.1.1"),
        ("10.0.1.5", "10.0.0.1"),
        ("8.8.8.8", "10.0.0.1"),
        ("10.0.0.255", "10.0.0.1"),
        ("10.0.0.0", "10.0.0.1"),
        ("224.0.0.1", "10.0.0.1"),
    ] {
        let out = lab.receive(5, 0, &arp(1, ALL, (mac(5), sender), (NOBODY, target)));
        assert!(sent(&out).is_empty(), "{sender} asks for {target}: {out:?}");
        assert_eq!(lab.gateway.table.len(), 0);
    }
}

/// Where the interface has one address alone, the other router is of no subnet.
#[test]
fn a_router_to_which_a_route_leads_is_answered_wherever_it_is() {
    let mut lab = Lab::new();
    let default =
        (RouterIndex(0), "0.0.0.0/0".parse().unwrap(), Route::Via(network(0), address("172.31.1.1")));
    lab.set_routing(Routing::compile([settings(0, 1500, &["10.0.0.1/32"])], [default]).unwrap());
    lab.wait(10_000);
    let out = lab.receive(5, 0, &arp(1, ALL, (mac(5), "172.31.1.1"), (NOBODY, "10.0.0.1")));
    assert_eq!((sent(&out).len(), lab.known(0, "172.31.1.1")), (1, Some(mac(5))));
    let out = lab.receive(6, 0, &arp(1, ALL, (mac(6), "172.31.1.2"), (NOBODY, "10.0.0.1")));
    assert_eq!(dropped(&out), [(6, DropReason::GatewayBadMessage)]);
}

#[test]
fn a_probe_for_the_gateways_address_is_answered_so_that_it_is_not_taken() {
    let mut lab = Lab::new();
    let out = lab.receive(5, 0, &arp(1, ALL, (mac(5), "0.0.0.0"), (NOBODY, "10.0.0.1")));
    let expected = arp(2, mac(5), (GATEWAY, "10.0.0.1"), (mac(5), "0.0.0.0"));
    assert_eq!(out, [Output::Send { network: network(0), frame: expected }]);
    assert_eq!(lab.gateway.table.len(), 0, "0.0.0.0 is nobody's address");
}

#[test]
fn who_claims_the_gateways_address_is_answered_once_in_ten_seconds() {
    let mut lab = Lab::new();
    let claim = arp(1, ALL, (mac(5), "10.0.0.1"), (NOBODY, "10.0.0.1"));
    let out = lab.receive(5, 0, &claim);
    let conflict =
        Output::Conflict { port: port(5), network: network(0), address: address("10.0.0.1"), mac: mac(5) };
    let defence = arp(1, ALL, (GATEWAY, "10.0.0.1"), (NOBODY, "10.0.0.1"));
    assert_eq!(out, [conflict, Output::Send { network: network(0), frame: defence }]);
    lab.wait(9_999);
    assert_eq!(lab.receive(5, 0, &claim), []);
    lab.wait(1);
    assert_eq!(lab.receive(5, 0, &claim).len(), 2);
    assert_eq!(lab.known(0, "10.0.0.1"), None);
}

#[test]
fn claims_with_impossible_ethernet_addresses_are_not_believed() {
    let mut lab = Lab::new();
    for sender in [NOBODY, ALL, MacAddress([1, 0, 0x5e, 0, 0, 1])] {
        let out = lab.receive(5, 0, &arp(1, ALL, (sender, "10.0.0.5"), (NOBODY, "10.0.0.1")));
        assert_eq!(dropped(&out), [(5, DropReason::GatewayBadMessage)]);
        assert_eq!((sent(&out).len(), lab.gateway.table.len()), (0, 0));
    }
    // The gateway's own, which the data path counts.
    assert_eq!(lab.receive(5, 0, &arp(1, ALL, (GATEWAY, "10.0.0.5"), (NOBODY, "10.0.0.1"))), []);
    assert_eq!(lab.gateway.table.len(), 0);
}

#[test]
fn new_addresses_are_announced_twice() {
    let mut lab = Lab::new();
    let mut all = vec![settings(0, 1500, &["10.0.0.1/24", "10.2.0.1/24", "fd00::1/64"])];
    all.push(settings(1, 1400, &["10.0.1.1/24", "fd00:1::1/64"]));
    lab.set_routing(Routing::compile(all.clone(), []).unwrap());
    let announcement = arp(1, ALL, (GATEWAY, "10.2.0.1"), (NOBODY, "10.2.0.1"));
    let once = Output::Send { network: network(0), frame: announcement };
    assert_eq!(lab.wait(0), std::slice::from_ref(&once));
    assert_eq!(lab.wait(1_999), []);
    assert_eq!(lab.wait(1), [once]);
    assert_eq!(lab.wait(100_000), []);
    // An interface with another Ethernet address tells of all it has.
    all[1].mac = mac(200);
    lab.set_routing(Routing::compile(all, []).unwrap());
    let told: Vec<_> =
        sent(&lab.wait(10_000)).into_iter().map(|(of, frame)| (of, frame[6..12].to_vec())).collect();
    assert_eq!(told.len(), 8, "two of IPv6, one of IPv4, and the groups, twice each: {told:?}");
    assert!(told.iter().all(|(of, from)| *of == 1 && *from == mac(200).0));
}

#[test]
fn an_address_that_nobody_has_is_the_gateways_after_three_probes() {
    let mut lab = Lab::new();
    lab.gateway.probe(network(0), address("10.0.0.1"), lab.now);
    let start = lab.now;
    let mut probes = Vec::new();
    let mut probed = None;
    while probed.is_none() {
        for output in lab.wait(10) {
            match output {
                // It is told to all from then on.
                Output::Send { .. } if probed.is_some() => {}
                Output::Send { frame, .. } => {
                    assert_eq!(frame, arp(1, ALL, (GATEWAY, "0.0.0.0"), (NOBODY, "10.0.0.1")));
                    probes.push(lab.now - start);
                }
                Output::Probed { address: probed_address, taken_by, .. } => {
                    probed = Some((probed_address, taken_by, lab.now - start));
                }
                other => panic!("{other:?}"),
            }
        }
        // Before that it is not answered for.
        if probed.is_none() {
            let out = lab.receive(5, 0, &arp(1, ALL, (mac(5), "10.0.0.5"), (NOBODY, "10.0.0.1")));
            assert_eq!(out, []);
        }
    }
    // RFC 5227, 1.1 and 2.1.1.
    let within = |time: Nanos, from: u32, to: u32| {
        (Nanos::from_millis(from)..=Nanos::from_millis(to + 20)).contains(&time)
    };
    assert_eq!(probes.len(), 3);
    assert!(within(probes[0], 0, 1000), "{probes:?}");
    assert!(probes.windows(2).all(|pair| within(pair[1] - pair[0], 1000, 2000)), "{probes:?}");
    let (probed_address, taken_by, at) = probed.unwrap();
    assert_eq!((probed_address, taken_by), (address("10.0.0.1"), None));
    assert!(within(at - probes[2], 1980, 2000));
    let out = lab.receive(5, 0, &arp(1, ALL, (mac(5), "10.0.0.5"), (NOBODY, "10.0.0.1")));
    assert_eq!(sent(&out).len(), 1);
}

#[test]
fn an_address_that_somebody_has_is_not_used() {
    let answers = [
        arp(2, GATEWAY, (mac(5), "10.0.0.1"), (GATEWAY, "0.0.0.0")),
        arp(1, ALL, (mac(5), "10.0.0.1"), (NOBODY, "10.0.0.77")),
        // Another one probes at the same time.
        arp(1, ALL, (mac(5), "0.0.0.0"), (NOBODY, "10.0.0.1")),
    ];
    for answer in answers {
        let mut lab = Lab::new();
        lab.gateway.probe(network(0), address("10.0.0.1"), lab.now);
        lab.wait(1000);
        let out = lab.receive(5, 0, &answer);
        let taken_by = Some(mac(5));
        let expected = Output::Probed { network: network(0), address: address("10.0.0.1"), taken_by };
        assert_eq!(out, [expected]);
        assert_eq!(lab.receive(5, 0, &answer), [], "it is told once");
        assert_eq!((lab.wait(60_000), lab.gateway.due()), (vec![], None), "and not probed any more");
        let out = lab.receive(6, 0, &arp(1, ALL, (mac(6), "10.0.0.6"), (NOBODY, "10.0.0.1")));
        assert_eq!(out, [], "nor used");
    }
}

#[test]
fn the_gateways_own_probes_are_no_conflict() {
    let mut lab = Lab::new();
    lab.gateway.probe(network(0), address("10.0.0.1"), lab.now);
    let own = arp(1, ALL, (GATEWAY, "0.0.0.0"), (NOBODY, "10.0.0.1"));
    lab.receive(5, 0, &own);
    let link_local = link_local_of(GATEWAY).to_string();
    lab.gateway.probe(network(0), address(&link_local), lab.now);
    let group = discovery::solicited_node(address(&link_local));
    let own =
        nd(135, 0, (GATEWAY, compose::group_mac(group)), ("::", &group.to_string()), (&link_local, None));
    lab.receive(5, 0, &own);
    let probed: Vec<_> =
        lab.wait(10_000).into_iter().filter(|out| matches!(out, Output::Probed { .. })).collect();
    assert!(
        probed.len() == 2 && probed.iter().all(|out| matches!(out, Output::Probed { taken_by: None, .. })),
        "{probed:?}"
    );
}
