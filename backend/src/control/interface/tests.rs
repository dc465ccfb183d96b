//! How a port follows its interface.

use super::*;

fn link(index: u32, up: bool, mtu: u32) -> Link {
    Link { index, name: "eth1".to_owned(), up, carrier: up, mtu, ..Link::default() }
}

fn port(driver: Driver) -> InterfacePort {
    let interface = Interface { name: "eth1".to_owned(), driver, netns: None, queues: None, gro: true };
    let networks = vec!["lab".to_owned()];
    let wanted =
        Wanted { kind: "uplink", interface, bond: None, lldp: false, mtu: None, networks, native: None };
    InterfacePort::new("wan", PortIndex::new(3).unwrap(), wanted)
}

fn attached(index: u32, mtu: u32, since: Instant) -> Attached {
    Attached {
        driver: "af-packet",
        reason: String::new(),
        index,
        mtu,
        queues: 1,
        offloads: Vec::new(),
        since,
    }
}

fn running(driver: Driver) -> InterfacePort {
    let mut port = port(driver);
    port.follow(Some(link(5, true, 1500)));
    port.attach(attached(5, 1500, Instant::now()));
    port
}

#[test]
fn it_is_attached_when_its_interface_is_there_and_up() {
    let mut port = port(Driver::Auto);
    assert_eq!(port.follow(None), Move::Stay);
    assert_eq!(
        port.state(None),
        (PortState::Waiting, Some("there is no interface eth1; it is waited for".into()))
    );
    assert_eq!(port.follow(Some(link(5, false, 1500))), Move::Stay);
    assert_eq!(port.state(None).1.unwrap(), "eth1 is down; ip link set eth1 up");
    assert_eq!(port.follow(Some(link(5, true, 1500))), Move::Attach);
    port.attach(attached(5, 1500, Instant::now()));
    assert_eq!(port.state(None), (PortState::Attached, None));
    assert_eq!(port.follow(Some(link(5, true, 1500))), Move::Stay);
}

#[test]
fn it_lets_go_when_the_interface_goes_down_or_away_and_takes_another_in_its_place() {
    assert_eq!(running(Driver::Auto).follow(Some(link(5, false, 1500))), Move::Detach);
    assert_eq!(running(Driver::Auto).follow(None), Move::Detach);
    assert_eq!(running(Driver::Auto).follow(Some(link(6, true, 1500))), Move::Renew);
    assert_eq!(running(Driver::Auto).follow(Some(link(5, true, 9000))), Move::Renew);
}

#[test]
fn a_cable_that_is_pulled_is_told_and_the_port_stays() {
    let mut port = running(Driver::AfPacket);
    assert_eq!(port.follow(Some(Link { carrier: false, ..link(5, true, 1500) })), Move::Stay);
    assert_eq!(port.state(None), (PortState::Attached, Some("eth1 reaches nothing: no carrier".into())));
}

#[test]
fn a_renamed_interface_is_opened_by_its_name_of_now() {
    let mut port = running(Driver::Auto);
    assert_eq!(port.follow(Some(Link { name: "wan0".to_owned(), ..link(5, true, 1500) })), Move::Stay);
    assert_eq!(port.request(&port.wanted.interface, port.link()).interface, "wan0");
    assert_eq!(port.interface_status().renamed.as_deref(), Some("wan0"));
}

#[test]
fn a_tap_device_is_made_by_opening_it_whatever_is_there() {
    let mut port = port(Driver::Tap);
    assert_eq!(port.follow(None), Move::Attach);
    port.attach(attached(7, 1500, Instant::now()));
    assert_eq!(port.follow(None), Move::Stay, "the kernel has not told of it yet");
    assert_eq!(port.follow(Some(link(7, false, 1500))), Move::Stay, "the other end sets it up");
    assert_eq!(port.follow(Some(link(7, true, 1500))), Move::Stay);
    assert_eq!(port.follow(None), Move::Renew, "somebody removed it");
}

#[test]
fn what_is_refused_is_tried_less_and_less_often_until_there_is_news() {
    let mut port = port(Driver::Auto);
    let start = Instant::now();
    assert_eq!(port.follow(Some(link(5, true, 1500))), Move::Attach);
    let pauses: Vec<u128> = (0..8).map(|_| port.refused("no", start).as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(port.follow(Some(link(5, true, 1500))), Move::Stay, "the next attempt is the timer's");
    assert!(port.may_retry());
    assert_eq!(port.follow(Some(link(5, true, 9000))), Move::Attach);
    assert_eq!(port.refused("no", start), RETRY_MIN);
    port.attach(attached(5, 9000, start));
    assert_eq!(port.state(None).1, None);
    port.refused("broke", start + SETTLED);
    assert_eq!(port.pause, RETRY_MIN * 2, "it had worked for long");
    port.follow(None);
    assert!(!port.may_retry());
}

#[test]
fn rates_are_those_of_the_last_second() {
    let mut rates = Rates::default();
    let start = Instant::now();
    let volume = |frames, bytes| Volume { frames, bytes };
    rates.measure([volume(10, 1000), volume(0, 0)], start);
    rates.measure([volume(60, 6000), volume(1, 60)], start + Duration::from_millis(500));
    assert_eq!(rates.received, Traffic::default());
    rates.measure([volume(110, 11_000), volume(2, 120)], start + Duration::from_secs(2));
    assert_eq!(
        (rates.received, rates.sent),
        (Traffic { frames: 50, bytes: 5000 }, Traffic { frames: 1, bytes: 60 })
    );
}
