//! Fragments, and packets of the gateway's own.

use proptest::prelude::*;

use super::*;

/// A datagram that may be cut.
fn udp_to_cut(source: &str, destination: &str, payload: usize) -> Vec<u8> {
    let mut frame = udp(mac(5), source, destination, 64, payload);
    frame[20] &= !0x40;
    sum_header(&mut frame);
    frame
}

pub(super) fn sum_header(frame: &mut [u8]) {
    let end = 14 + usize::from(frame[14] & 0xf) * 4;
    frame[24..26].fill(0);
    let sum = !crate::offload::checksum::fold(crate::offload::sum(&frame[14..end]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn what_may_be_cut_goes_on_in_fragments_once_its_next_station_is_known() {
    let mut lab = Lab::new();
    let packet = udp_to_cut("10.0.0.5", "10.0.1.6", 3000);
    assert_eq!(questions(&lab.receive(5, 0, &packet)).len(), 1);
    let out = lab.receive(6, 1, &answer(6, 1, "10.0.1.6"));
    assert_eq!(again(&out), [(5, 0, packet.clone())], "whole, and comes again");
    let out = lab.receive(5, 0, &packet);
    let fragments = again(&out);
    assert_eq!((fragments.len(), out.len()), (3, 3));
    let lengths: Vec<_> = fragments.iter().map(|(_, _, frame)| frame.len() - 14).collect();
    assert_eq!(lengths, [1396, 1396, 3036 - 2 * 1376 - 8]);
    for (_, _, fragment) in fragments {
        assert_eq!(again(&lab.receive(5, 0, &fragment)), [(5, 0, fragment)], "no fragment is cut again");
    }
}

/// An IPv4 packet with options, maybe a fragment itself.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        // Router alert, which all fragments have, and a time stamp, which only the first one has.
        Just(vec![148, 4, 0, 0]),
        Just(vec![68, 8, 5, 0, 0, 0, 0, 0]),
    ];
    let options = prop::collection::vec(option, 0..5).prop_map(|options| options.concat());
    (options, prop::collection::vec(any::<u8>(), 1..4000), any::<u16>(), 0..400_u16, any::<bool>()).prop_map(
        |(mut options, mut data, id, offset, more)| {
            options.resize(options.len().next_multiple_of(4), 0);
            if more {
                data.truncate((data.len() & !7).max(8));
                data.resize((data.len() & !7).max(8), 0);
            }
            let words = u8::try_from(5 + options.len() / 4).unwrap();
            let length = u16::try_from(20 + options.len() + data.len()).unwrap();
            let mut frame = [&mac(6).0[..], &mac(5).0, &[8, 0, 0x40 | words, 0]].concat();
            frame.extend(length.to_be_bytes());
            frame.extend(id.to_be_bytes());
            frame.extend((offset | u16::from(more) << 13).to_be_bytes());
            frame.extend([64, 253, 0, 0, 10, 0, 0, 5, 10, 0, 1, 6]);
            frame.extend(options);
            frame.extend(data);
            sum_header(&mut frame);
            frame
        },
    )
}

proptest! {
    #[test]
    fn fragments_are_together_what_was_cut(packet in any_packet(), mtu in 68..1600_u16) {
        let fragments = fragment::cut_v4(&packet, mtu).unwrap();
        let header = |frame: &[u8]| 14 + usize::from(frame[14] & 0xf) * 4;
        let field = |frame: &[u8]| u16::from_be_bytes([frame[20], frame[21]]);
        let mut expected = usize::from(field(&packet) & 0x1fff) * 8;
        let mut data = Vec::new();
        for (number, frame) in fragments.iter().enumerate() {
            let mut summed = frame.clone();
            sum_header(&mut summed);
            prop_assert_eq!(&summed, frame);
            prop_assert!(frame.len() - 14 <= usize::from(mtu));
            prop_assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), frame.len() - 14);
            prop_assert_eq!(usize::from(field(frame) & 0x1fff) * 8, expected);
            let is_last = number + 1 == fragments.len();
            prop_assert_eq!(field(frame) & 0x2000 != 0, !is_last || field(&packet) & 0x2000 != 0);
            prop_assert_eq!(&frame[18..20], &packet[18..20]);
            let part = &frame[header(frame)..];
            prop_assert!(is_last || part.len().is_multiple_of(8));
            prop_assert!(number == 0 || !frame[34..header(frame)].contains(&68), "not copied");
            expected += part.len();
            data.extend_from_slice(part);
        }
        prop_assert_eq!(&fragments[0][34..header(&packet)], &packet[34..header(&packet)]);
        prop_assert_eq!(&data[..], &packet[header(&packet)..]);
    }

    #[test]
    fn ipv6_fragments_are_together_what_was_cut(data in prop::collection::vec(any::<u8>(), 1..5000), mtu in 1280..2000_u16) {
        let ends = (address("fd00::1"), address("fd00::5"));
        let header = compose::Header { source: ends.0, destination: ends.1, protocol: 253, hop_limit: 9, traffic_class: 3, id: None };
        let packet = compose::packet(&header, &data);
        let mut joined = Vec::new();
        let fragments = fragment::cut_v6(&packet, mtu, 77).unwrap();
        for (number, fragment) in fragments.iter().enumerate() {
            prop_assert!(fragment.len() <= usize::from(mtu));
            let frame = compose::frame(mac(1), mac(2), fragment);
            let Contents::Ip(read) = read(&frame) else { panic!() };
            let is_only = fragments.len() == 1;
            prop_assert_eq!(read.fragment.map(|part| (part.id, usize::from(part.offset), part.more)),
                (!is_only).then_some((77, joined.len(), number + 1 < fragments.len())));
            joined.extend_from_slice(&frame[usize::from(read.transport_at)..]);
        }
        prop_assert_eq!(joined, data);
    }
}

fn originate(lab: &mut Lab, of: usize, packet: &[u8]) -> Result<Vec<Output>, DropReason> {
    let moment = Moment { neighbours: &lab.neighbours, now: lab.now };
    lab.gateway.originate(network(of), packet, moment)?;
    Ok(lab.gateway.drain().collect())
}

#[test]
fn what_services_send_finds_its_way() {
    let mut lab = Lab::new();
    for (of, from, to, next) in [
        (1, "10.0.1.1", "10.0.1.6", "10.0.1.6"),
        (1, "10.0.0.1", "10.9.3.3", "10.0.1.9"),
        (1, "fd00:1::1", "fd00:1::6", "fd00:1::6"),
        (1, "fd00:1::1", "2001:db8::7", "fd00:1::9"),
        (1, "fe80::ff:fe00:1", "fe80::6", "fe80::6"),
        // By the other network's interface.
        (0, "10.0.0.1", "10.0.1.7", "10.0.1.7"),
    ] {
        let packet = udp(mac(1), from, to, 64, 30)[14..].to_vec();
        let out = originate(&mut lab, of, &packet).unwrap();
        assert_eq!(questions(&out), [(1, next.to_owned(), None)], "{to}");
        let expected = compose::frame(GATEWAY, mac(6), &packet);
        let out = lab.receive(6, 1, &answer(6, 1, next));
        assert_eq!(out, [Output::Send { network: network(1), frame: expected.clone() }]);
        let out = originate(&mut lab, of, &packet).unwrap();
        assert_eq!(out, [Output::Send { network: network(1), frame: expected }], "it is known by now");
    }
}

#[test]
fn what_services_send_to_many_goes_to_all_of_the_network() {
    let mut lab = Lab::new();
    for (from, to, expected) in [
        ("10.0.0.1", "255.255.255.255", [0xff; 6]),
        ("10.0.0.1", "239.129.2.3", [1, 0, 0x5e, 1, 2, 3]),
        ("fe80::1", "ff02::1:2", [0x33, 0x33, 0, 1, 0, 2]),
    ] {
        let out = originate(&mut lab, 0, &udp(mac(1), from, to, 64, 30)[14..]).unwrap();
        let [(0, frame)] = &sent(&out)[..] else { panic!("{out:?}") };
        assert_eq!(frame[..6], expected);
    }
}

#[test]
fn what_has_no_way_is_refused() {
    let mut lab = Lab::new();
    for (of, to, reason) in [
        (0, "10.0.0.1", DropReason::NotRoutable),
        (0, "10.0.1.1", DropReason::NotRoutable),
        (0, "10.0.1.255", DropReason::NotRoutable),
        (0, "192.0.2.1", DropReason::NoRoute),
        (0, "10.9.9.9", DropReason::NoRoute),
        (7, "10.0.0.5", DropReason::NoRoute),
    ] {
        let packet = udp(mac(1), "10.0.0.1", to, 64, 30)[14..].to_vec();
        assert_eq!(originate(&mut lab, of, &packet), Err(reason), "{to}");
    }
    assert!(originate(&mut lab, 0, &[]).is_err() && originate(&mut lab, 0, &[0x45; 30]).is_err());
}

#[test]
fn what_services_send_is_cut_if_need_be() {
    let mut lab = Lab::new();
    lab.introduce(1, 6, "10.0.1.6");
    lab.introduce(1, 6, "fd00:1::6");
    let frames = |out: &[Output]| sent(out).iter().map(|(_, frame)| frame.len() - 14).collect::<Vec<_>>();
    let v4 = udp_to_cut("10.0.1.1", "10.0.1.6", 2000);
    assert_eq!(frames(&originate(&mut lab, 1, &v4[14..]).unwrap()), [1396, 20 + 2008 - 1376]);
    let v6 = udp(mac(1), "fd00:1::1", "fd00:1::6", 64, 2000);
    assert_eq!(frames(&originate(&mut lab, 1, &v6[14..]).unwrap()), [1400, 48 + 2008 - 1352]);
    let whole = udp(mac(1), "10.0.1.1", "10.0.1.6", 64, 2000);
    assert_eq!(
        originate(&mut lab, 1, &whole[14..]),
        Err(DropReason::PacketTooBig),
        "it says that it may not be"
    );
}

#[test]
fn long_echo_replies_come_in_fragments() {
    let mut lab = Lab::new();
    // A station of a network with a smaller MTU that sends more than it takes.
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(mac(6).0, GATEWAY.0).ipv4([10, 0, 1, 6], [10, 0, 1, 1], 9);
    builder.icmpv4_echo_request(1, 2).write(&mut frame, &[9; 2000]).unwrap();
    let out = sent(&lab.receive(6, 1, &frame));
    assert_eq!(out.iter().map(|(_, frame)| frame.len() - 14).collect::<Vec<_>>(), [1396, 20 + 2008 - 1376]);
}
