//! Fragments and packets that are too long.

use viaduct_switch::DropReason;

use crate::fragment::part;
use crate::lab::*;

/// A datagram of 80 bytes behind its IP header.
fn datagram(station: usize, ends: Ends) -> Vec<u8> {
    let mut frame = Vec::new();
    let ip = ethernet(station).ipv4(ends.from.0.octets(), ends.to.0.octets(), 9);
    ip.udp(ends.from.1, ends.to.1).write(&mut frame, &(0..72).collect::<Vec<u8>>()).unwrap();
    frame
}

/// Puts a datagram together from fragments that came in any order.
fn together(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut data = vec![0; 80];
    for fragment in fragments {
        check(fragment);
        let at = usize::from(u16_at(fragment, 20) & 0x1fff) * 8;
        let length = usize::from(u16_at(fragment, 16)) - 20;
        data[at..at + length].copy_from_slice(&fragment[34..34 + length]);
    }
    let mut whole = fragments[0][..34].to_vec();
    whole[16..18].copy_from_slice(&100_u16.to_be_bytes());
    whole[20..22].fill(0);
    whole[24..26].fill(0);
    let checksum = !sum(&whole[14..34]);
    whole[24..26].copy_from_slice(&checksum.to_be_bytes());
    whole.extend(data);
    check(&whole);
    whole
}

/// RFC 4787, 11, REQ-14: fragments are translated in whatever order they come.
#[test]
fn udp_r14_out_of_order_fragments_are_translated() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let mut lab = Lab::new();
        let sent = ends((v4(A), 5000), (v4(PEER), 53));
        let outward = sent_in(&mut lab, A, &datagram(A, sent), order);
        let seen = ends_of(&outward);
        assert_eq!((seen.from.0, seen.to), (OUTSIDE, sent.to));
        let inward = sent_in(&mut lab, PEER, &datagram(PEER, seen.turned()), order);
        assert_eq!(ends_of(&inward), sent.turned());
        assert_eq!((lab.connections(), lab.mappings()), (1, 1));
    }
}

/// Sends a datagram in three fragments, and gives what arrives put together.
fn sent_in(lab: &mut Lab, station: usize, whole: &[u8], order: [usize; 3]) -> Vec<u8> {
    let fragments = [part(whole, 0, 24), part(whole, 24, 24), part(whole, 48, 32)];
    let mut arrived = Vec::new();
    for number in order {
        let mut outside = lab.send(station, &fragments[number]);
        assert!(outside.dropped.is_empty() && outside.offered.is_empty(), "{:?}", outside.dropped);
        arrived.append(&mut outside.sent);
        for kept in outside.released {
            arrived.append(&mut lab.go_on(kept).sent);
        }
    }
    assert_eq!(arrived.len(), 3);
    together(&arrived.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>())
}

/// RFC 4787, 11, REQ-14a: who floods with fragments harms himself.
#[test]
fn udp_r14a_a_fragment_flood_harms_nobody_else() {
    let mut lab = Lab::new();
    let whole = datagram(B, ends((v4(B), 5000), (v4(PEER), 53)));
    for id in 0..2000_u16 {
        let mut flood = part(&whole, 24, 24);
        flood[18..20].copy_from_slice(&id.to_be_bytes());
        let checksum = !sum(&[&flood[14..24], &flood[26..34]].concat());
        flood[24..26].copy_from_slice(&checksum.to_be_bytes());
        assert!(lab.send(B, &flood).sent.is_empty());
    }
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    let seen = ends_of(&sent_in(&mut lab, A, &datagram(A, sent), [2, 1, 0]));
    assert_eq!(ends_of(&sent_in(&mut lab, PEER, &datagram(PEER, seen.turned()), [2, 0, 1])), sent.turned());
}

#[test]
fn fragments_of_what_may_not_leave_do_not_leave() {
    let mut lab = Lab::new();
    let mut gre = datagram(A, ends((v4(A), 5000), (v4(PEER), 53)));
    gre[23] = 47;
    gre[24..26].fill(0);
    let checksum = !sum(&gre[14..34]);
    gre[24..26].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(lab.lose(A, &part(&gre, 0, 24)), DropReason::NatProtocol);
    assert_eq!(lab.lose(A, &part(&gre, 24, 24)), DropReason::NatProtocol);
}

/// A first fragment whose next station is not known waits with the gateway, the others with the switch.
#[test]
fn fragments_wait_while_the_next_station_is_found() {
    let mut lab = Lab::new();
    let of = network(2);
    lab.switch.neighbours().clear(of, v4(PEER).into());
    let whole = datagram(A, ends((v4(A), 5000), (v4(PEER), 53)));
    let (first, second) = (part(&whole, 0, 48), part(&whole, 48, 32));
    assert_eq!(lab.offer(A, &first), (0, first.clone()), "as it came in");
    assert!(lab.send(A, &second).sent.is_empty());
    assert!(lab.switch.neighbours().set(of, v4(PEER).into(), mac(PEER), 1));
    let outside = lab.send(A, &first);
    assert_eq!(outside.sent.len(), 1);
    let [kept] = <[_; 1]>::try_from(outside.released).ok().unwrap();
    let mut arrived = outside.sent;
    arrived.extend(lab.go_on(kept).sent);
    together(&arrived.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>());
}

/// RFC 4787, 11, REQ-13: too long for the way on. The gateway gets it as it came in, and says so or cuts it, as its sender allows.
#[test]
fn udp_r13_what_is_too_long_is_the_gateways_to_refuse_or_cut() {
    let mut lab = Lab::new();
    let sent = ends((v4(A), 5000), (v4(PEER), 53));
    for may_be_cut in [false, true] {
        let mut frame = Vec::new();
        let ip = ethernet(A).ipv4(sent.from.0.octets(), sent.to.0.octets(), 9);
        ip.udp(sent.from.1, sent.to.1).write(&mut frame, &[7; 1480]).unwrap();
        frame[20] = if may_be_cut { 0 } else { 0x40 };
        frame[24..26].fill(0);
        let checksum = !sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(lab.offer(A, &frame), (0, frame[..128].to_vec()));
        assert_eq!(lab.mappings(), 0, "nothing is taken for it");
    }
}
