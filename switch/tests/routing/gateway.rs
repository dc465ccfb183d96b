//! What is the gateway's own business: who asks for it, who speaks in its name, what it is handed and what it sends.

use super::*;

#[test]
fn who_asks_for_the_gateway_asks_nobody_else() {
    let mut lab = Lab::new();
    let outside = lab.send(0, &arp(0, 1, station_v4(0), v4(0, 1)));
    assert_eq!((outside.sent.len(), outside.offered.len()), (0, 1));
    // Who asks for another station is of no interest to the gateway unless it knows him; it does.
    let outside = lab.send(0, &arp(0, 1, station_v4(0), station_v4(3)));
    assert_eq!((outside.sent.len(), outside.offered.len()), (1, 1));
    let outside = lab.send(0, &arp(0, 1, v4(0, 99), station_v4(3)));
    assert_eq!((outside.sent.len(), outside.offered.len()), (1, 0));
    // The answer goes to the gateway's own Ethernet address.
    let mut answer = arp(0, 2, station_v4(0), v4(0, 1));
    answer[..6].copy_from_slice(&gateway(0).0);
    let outside = lab.send(0, &answer);
    assert_eq!((outside.sent.len(), outside.offered.len()), (0, 1));
}

#[test]
fn nobody_speaks_in_the_gateways_name() {
    let mut lab = Lab::new();
    // Its Ethernet address.
    let mut frame = udp(0, station_v4(1), 9);
    frame[6..12].copy_from_slice(&gateway(0).0);
    assert!(lab.send(0, &frame).sent.is_empty());
    // Its IPv4 address, to all and to one, asking and answering.
    let gratuitous = arp(0, 2, v4(0, 1), v4(0, 1));
    let mut to_one = gratuitous.clone();
    to_one[..6].copy_from_slice(&mac(3).0);
    for frame in [&gratuitous, &to_one, &arp(0, 1, v4(0, 1), station_v4(3))] {
        let outside = lab.send(0, frame);
        assert_eq!((outside.sent.len(), outside.offered.len()), (0, 1), "it may have to defend itself");
    }
    // Its Ethernet address within the message.
    let mut hidden = arp(0, 2, station_v4(0), v4(0, 9));
    hidden[22..28].copy_from_slice(&gateway(0).0);
    assert!(lab.send(0, &hidden).sent.is_empty());
    assert_eq!(lab.drops(0, DropReason::GatewaySpoofed), 5);
    // By the gateway to itself, and to another network, which would answer it.
    for own in [IpAddr::from(v4(0, 1)), v6(0, 1).into()] {
        let others: [IpAddr; 2] =
            if own.is_ipv4() { [own, station_v4(1).into()] } else { [own, station_v6(1).into()] };
        for to in others {
            let outside = lab.send(0, &from_gateway(udp(0, to, 9), own));
            assert_eq!((outside.sent.len(), outside.offered.len()), (0, 0), "{to}");
        }
    }
    assert_eq!(lab.drops(0, DropReason::GatewaySpoofed), 9);
    // To itself alone, who has to know.
    for mut claim in [
        gratuitous,
        hidden,
        neighbour_discovery(0, 136, station_v6(0), v6(0, 1)),
        neighbour_discovery(0, 135, v6(0, 1), station_v6(3)),
    ] {
        claim[..6].copy_from_slice(&gateway(0).0);
        let outside = lab.send(0, &claim);
        assert_eq!((outside.sent.len(), outside.offered.len()), (0, 1));
    }
    assert_eq!(lab.drops(0, DropReason::GatewaySpoofed), 13);
    // Where there is no gateway with these addresses, they are a station's.
    let outside = lab.send(1, &arp(1, 2, v4(0, 1), v4(0, 1)));
    assert_eq!(outside.sent.len(), 2);
}

/// The same packet from an address of the gateway's; what carries it says who sends it.
fn from_gateway(mut frame: Vec<u8>, own: IpAddr) -> Vec<u8> {
    match own {
        IpAddr::V4(own) => {
            let mut header = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
            header.source = own.octets();
            header.header_checksum = header.calc_header_checksum();
            frame[14..34].copy_from_slice(&header.to_bytes());
        }
        IpAddr::V6(own) => frame[22..38].copy_from_slice(&own.octets()),
    }
    frame
}

/// A neighbour discovery message of a station to a group; its checksum is of no interest here.
pub(super) fn neighbour_discovery(from: usize, kind: u8, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend(mac(from).0);
    let length = if kind == 133 { 8 } else { 24 };
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, length, 58, 255]);
    frame.extend(source.octets());
    frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
    if kind != 133 {
        frame.extend(target.octets());
    }
    frame
}

#[test]
pub(super) fn neighbour_discovery_reaches_whom_it_concerns() {
    let mut lab = Lab::new();
    let mut both = |from, kind, source, target| {
        let outside = lab.send(from, &neighbour_discovery(from, kind, source, target));
        (outside.sent.len(), outside.offered.len())
    };
    let (own, other) = (station_v6(0), station_v6(3));
    assert_eq!(both(0, 133, own, other), (0, 1), "a router is looked for");
    assert_eq!(both(0, 135, own, v6(0, 1)), (0, 1), "the gateway is looked for");
    assert_eq!(both(0, 135, own, other), (1, 0), "somebody else is");
    assert_eq!(both(0, 136, own, own), (1, 1), "a station that the gateway knows says where it is");
    assert_eq!(both(0, 136, own, v6(0, 99)), (1, 0), "one that it does not know");
    assert_eq!(both(0, 136, own, v6(0, 1)), (0, 1), "the gateway's address is claimed");
    assert_eq!(both(0, 135, v6(0, 1), other), (0, 1), "and again");
    assert_eq!(lab.drops(0, DropReason::GatewaySpoofed), 2);
}

/// A DHCP client's request to all servers.
fn dhcp_request(from: usize, source: IpAddr, destination: IpAddr, port: u16) -> Vec<u8> {
    let to = if source.is_ipv4() { [0xff; 6] } else { [0x33, 0x33, 0, 1, 0, 2] };
    let ethernet = PacketBuilder::ethernet2(mac(from).0, to);
    let ip = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(to)) => ethernet.ipv4(source.octets(), to.octets(), 64),
        (IpAddr::V6(source), IpAddr::V6(to)) => ethernet.ipv6(source.octets(), to.octets(), 1),
        _ => panic!("one version"),
    };
    let mut frame = Vec::new();
    ip.udp(if port == 67 { 68 } else { 546 }, port).write(&mut frame, &[1; 20]).unwrap();
    frame
}

#[test]
fn requests_for_leases_reach_the_gateway_alone_where_it_gives_any() {
    let mut lab = Lab::new();
    let nobody: IpAddr = "0.0.0.0".parse().unwrap();
    let (all, servers): (IpAddr, IpAddr) = ("255.255.255.255".parse().unwrap(), "ff02::1:2".parse().unwrap());
    let link_local: IpAddr = "fe80::5".parse().unwrap();
    for (source, to, port, is_for_gateway) in [
        (nobody, all, 67, true),
        (station_v4(0).into(), all, 67, true),
        (nobody, all, 68, false),
        (nobody, v4(0, 255).into(), 67, false),
        (link_local, servers, 547, true),
        (link_local, servers, 546, false),
        (link_local, "ff02::1".parse().unwrap(), 547, false),
    ] {
        let outside = lab.send(0, &dhcp_request(0, source, to, port));
        let expected = if is_for_gateway { (0, 1) } else { (1, 0) };
        assert_eq!((outside.sent.len(), outside.offered.len()), expected, "{to} {port}");
        // Where it gives none, others may.
        let outside = lab.send(1, &dhcp_request(1, source, to, port));
        assert_eq!((outside.sent.len(), outside.offered.len()), (2, 0), "{to} {port}");
    }
}

#[test]
fn what_one_port_has_the_gateway_look_at_is_metered_and_nobody_elses_loss() {
    let mut lab = Lab::new();
    let ping = udp(0, v4(0, 1), 9);
    let got: usize = (0..5000).map(|_| lab.send(0, &ping).offered.len()).sum();
    assert!((1..=1100).contains(&got), "{got}");
    assert_eq!(lab.drops(0, DropReason::GatewayRate), 5000 - got as u64);
    assert_eq!(lab.send(3, &udp(3, v4(0, 1), 9)).offered.len(), 1, "another port's go on");
    assert_eq!(lab.send(0, &udp(0, station_v4(1), 9)).sent.len(), 1, "and so does what needs no gateway");
    let question = arp(0, 1, station_v4(0), v4(0, 1));
    assert_eq!(lab.send(0, &question).offered.len(), 1, "whoever is behind the port is still found");
    let asked: usize = (0..5000).map(|_| lab.send(0, &question).offered.len()).sum();
    assert!((1..=1100).contains(&asked), "{asked}");
    // One too many to be offered is no reason to keep it from others.
    let outside = lab.send(0, &arp(0, 1, station_v4(0), station_v4(3)));
    assert_eq!((outside.sent.len(), outside.offered.len()), (1, 0));
}

#[test]
fn a_full_queue_is_counted() {
    let mut lab = Lab::new();
    let mut outside = Outside { is_full: true, ..Outside::default() };
    let frame = udp(0, v4(0, 1), 9);
    lab.enter(&mut outside, 0, &frame, frame.len(), Claims::default());
    assert_eq!(lab.drops(0, DropReason::GatewayQueueFull), 1);
}

#[test]
fn the_gateways_own_frames_go_to_stations() {
    let mut lab = Lab::new();
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&mac(3).0);
    frame[6..12].copy_from_slice(&gateway(0).0);
    let meta = Metadata::new(port(10), 60, Claims::default());
    for (to, ports) in [(mac(3).0, vec![TRUNK]), ([0xff; 6], vec![0, TRUNK])] {
        frame[..6].copy_from_slice(&to);
        let mut outside = Outside::default();
        let mut burst = [Frame { head: Head::from_bytes(&frame), meta, payload: () }];
        lab.switch.process(&mut lab.worker, lab.now, &mut burst, &mut outside);
        let sent: Vec<usize> = outside.sent.iter().map(|(to, ..)| *to).collect();
        assert_eq!(sent, ports);
    }
}
