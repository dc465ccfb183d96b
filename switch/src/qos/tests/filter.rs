//! Which class a frame belongs to.

use std::net::IpAddr;

use super::*;
use crate::packet::{Address, Ports};

fn packet(source: &str, destination: &str, transport: Transport) -> Packet {
    let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
    Packet {
        source: address(source),
        destination: address(destination),
        protocol: 17,
        hop_limit: 64,
        traffic_class: 46 << 2 | 1,
        network_at: 14,
        transport_at: 34,
        end_at: 42,
        fragment: None,
        transport,
    }
}

fn class(place: usize) -> ClassIndex {
    ClassIndex::new(place).unwrap()
}

#[test]
fn the_first_filter_that_matches_decides() {
    let source = Some("1.2.3.4".parse().unwrap());
    let filters = [
        FilterPlan {
            wants: Match { source, destination_ports: Some((80, 80)), ..Match::default() },
            class: class(0),
        },
        FilterPlan { wants: Match { source, ..Match::default() }, class: class(1) },
    ];
    let of = |source: &str, port| {
        let packet = packet(source, "10.0.0.1", Transport::Ports(Ports { source: 4000, destination: port }));
        class_of(&filters, &Subject { packet: Some(&packet), ..Subject::default() })
    };
    assert_eq!(of("1.2.3.4", 80), Some(class(0)));
    assert_eq!(of("1.2.3.4", 81), Some(class(1)));
    assert_eq!(of("1.2.3.5", 80), None);
    assert_eq!(class_of(&filters, &Subject::default()), None, "no IP packet");
}

#[test]
fn each_thing_that_is_wanted_must_be_there() {
    let ports = Transport::Ports(Ports { source: 4000, destination: 80 });
    let packet = packet("fd00::1", "fd00::2", ports);
    let groups = [GroupIndex::new(3).unwrap()];
    let subject = Subject {
        packet: Some(&packet),
        network: NetworkIndex::new(5),
        port: PortIndex::new(6),
        groups: &groups,
        mark: 0x1234,
    };
    let any = Match::default();
    let right = [
        any,
        Match { source: Some("fd00::/64".parse().unwrap()), ..any },
        Match { destination: Some("fd00::2".parse().unwrap()), ..any },
        Match { protocol: Some(Protocol::UDP), ..any },
        Match { source_ports: Some((4000, 4001)), ..any },
        Match { destination_ports: Some((1, 80)), ..any },
        Match { dscp: Some(46), ..any },
        Match { network: NetworkIndex::new(5), ..any },
        Match { port: PortIndex::new(6), ..any },
        Match { group: GroupIndex::new(3), ..any },
        Match { mark: Some(0x1234), ..any },
    ];
    for wants in right {
        assert!(wants.matches(&subject), "{wants:?}");
    }
    let wrong = [
        Match { source: Some("fd00:0:0:1::/64".parse().unwrap()), ..any },
        Match { destination: Some("10.0.0.0/8".parse().unwrap()), ..any },
        Match { protocol: Some(Protocol::TCP), ..any },
        Match { source_ports: Some((4001, 4001)), ..any },
        Match { destination_ports: Some((81, 90)), ..any },
        Match { dscp: Some(45), ..any },
        Match { network: NetworkIndex::new(6), ..any },
        Match { port: PortIndex::new(5), ..any },
        Match { group: GroupIndex::new(4), ..any },
        Match { mark: Some(0x1235), ..any },
    ];
    for wants in wrong {
        assert!(!wants.matches(&subject), "{wants:?}");
    }
}

#[test]
fn a_later_fragment_has_no_ports() {
    let packet = packet("10.0.0.1", "10.0.0.2", Transport::Fragment);
    let subject = Subject { packet: Some(&packet), ..Subject::default() };
    assert!(!Match { source_ports: Some((0, u16::MAX)), ..Match::default() }.matches(&subject));
    assert!(Match { protocol: Some(Protocol::UDP), ..Match::default() }.matches(&subject));
}
