//! Frames between the workers and a network's gateway.

use std::collections::VecDeque;
use std::sync::mpsc::channel;

use viaduct_switch::router::{InterfaceSettings, RouterIndex, Routing, Serves};
use viaduct_switch::{Gateway, MacAddress};

use super::*;

const GATEWAY: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);

fn network() -> NetworkIndex {
    NetworkIndex::new(0).unwrap()
}

/// Two ports of one network, whose gateway is at port 2 and has 10.0.0.1.
fn routed() -> Dataplane {
    let ports = (0..3).map(|index| (port(index), PortPolicy::new(network(), 1500)));
    let gateway = Some(Gateway { port: port(2), mac: GATEWAY });
    let settings = NetworkSettings { gateway, ..NetworkSettings::default() };
    let addresses = vec![("10.0.0.1".parse().unwrap(), 24)];
    let interface = InterfaceSettings {
        network: network(),
        router: RouterIndex(0),
        mac: GATEWAY,
        mtu: 1500,
        addresses,
        serves: Serves::default(),
        is_outside: false,
        groups: Vec::new(),
    };
    let routing = Routing::compile([interface], []).unwrap();
    let policy = Policy::compile(ports, [(network(), settings)]).unwrap().with_routing(Arc::new(routing));
    let switch = Arc::new(Switch::new(1, Limits::default()));
    switch.prepare(&policy);
    Dataplane::start(switch, Arc::new(policy), &[0], Polling::Adaptive).unwrap()
}

/// What the gateway is offered, in a queue that is waited for.
fn listen(dataplane: &Dataplane) -> impl FnMut() -> OfferedFrame + use<> {
    let offers = Arc::clone(dataplane.offers());
    let (sender, bell) = channel();
    offers.listen(move || sender.send(()).unwrap());
    let mut taken = VecDeque::new();
    move || {
        while taken.is_empty() {
            bell.recv_timeout(Duration::from_secs(5)).unwrap();
            offers.take(&mut taken);
        }
        taken.pop_front().unwrap()
    }
}

/// An IPv4 packet of 10.0.0.5's for `to` with these bytes behind its header, in a frame to the gateway.
fn packet(to: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 5];
    header.extend(to);
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    let sum = !u16::try_from((words & 0xffff) + (words >> 16)).unwrap();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&GATEWAY.0[..], &[2, 0, 0, 0, 0, 5, 8, 0], &header, payload].concat()
}

#[test]
fn a_gateway_gets_what_is_for_it_whole() {
    let dataplane = &mut routed();
    let mut next = listen(dataplane);
    let mut a = Guest::new(0);
    dataplane.attach(a.setup([0, 0]));
    for length in [8, 100, 200, 1400] {
        let frame = packet([10, 0, 0, 1], 1, &[&[8, 0, 0, 0][..], &vec![7; length - 4]].concat());
        a.offer(1, &[&[0; 12][..], &frame].concat());
        a.kick(1);
        assert_eq!(next(), OfferedFrame { port: port(0), network: network(), why: None, bytes: frame });
    }
}

#[test]
fn a_gateway_gets_finished_checksums() {
    let dataplane = &mut routed();
    let mut next = listen(dataplane);
    let mut a = Guest::new(0);
    dataplane.attach(a.setup([0, 0]));
    // UDP from port 1 to port 2, of which the checksum field holds the sum of the pseudo header.
    let pseudo = 0x0a00 + 5 + 0x0a00 + 1 + 17 + 12_u16;
    let [high, low] = pseudo.to_be_bytes();
    let frame = packet([10, 0, 0, 1], 17, &[0, 1, 0, 2, 0, 12, high, low, 1, 2, 3, 4]);
    let header = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
    a.offer(1, &[&header[..], &frame].concat());
    a.kick(1);
    let sum = !(pseudo + 1 + 2 + 12 + 0x0102 + 0x0304);
    assert_eq!(next().bytes[40..42], sum.to_be_bytes());
}

#[test]
fn a_gateways_frames_enter_at_its_port() {
    let mut dataplane = routed();
    let mut a = Guest::new(0);
    (0..4).for_each(|_| a.offer(0, &[]));
    dataplane.attach(a.setup([0, 0]));
    let injector = dataplane.injector();
    let mut frame = [&[0xff; 6][..], &GATEWAY.0, &[8, 6]].concat();
    frame.resize(200, 33);
    assert!(injector.inject(port(2), network(), frame));
    a.wait_used(0, 1);
    assert_eq!(a.received(0), 33);
    let other = NetworkIndex::new(9).unwrap();
    assert!(injector.inject(port(0), other, vec![0; 60]), "there is room");
    dataplane.detach(port(0));
    assert_eq!(drops(&dataplane, 0, DropReason::NoNetwork), 1, "the port is not in that network");
}
