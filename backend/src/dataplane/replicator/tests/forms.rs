//! What receivers want a frame to be: finished, cut, or with tags before it.

use super::*;

/// A TCP super-frame over IPv4 with `payload` bytes, and its claims.
fn superframe(payload: usize, size: u16) -> (Vec<u8>, Claims) {
    let mut bytes = frame(0x5a, 54 + payload);
    let total = u16::try_from(40 + payload).unwrap().to_be_bytes();
    bytes[14..34]
        .copy_from_slice(&[0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes[34..54].copy_from_slice(&[0, 80, 0, 90, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    (bytes, Claims { checksum, gso: Some(Gso { kind: GsoKind::Tcp4, size, ecn: false }) })
}

#[test]
fn each_form_of_a_frame_is_made_once_for_all_receivers_that_share_it() {
    let features: Vec<u64> = (0..300).map(|index| [PLAIN, CHECKSUMS, ALL][index % 3]).collect();
    let mut herd = Herd::with(&features, 64 << 20);
    let (bytes, claims) = superframe(10_000, 1400);
    assert!(herd.flood_with(0, &bytes, claims));
    herd.rounds();
    assert_eq!(herd.replicator.forms_made, 2, "cut with finished and with partial checksums");
    for (index, features) in features.iter().enumerate().skip(1) {
        let received = herd.received(index);
        assert_eq!(received, herd.received(if index < 4 { index } else { index % 3 + 3 }), "port {index}");
        match *features {
            ALL => assert_eq!(received.len(), 1),
            _ => assert_eq!(received.len(), 8),
        }
        let partial = received[0][0] & 1 == 1;
        assert_eq!(partial, *features != PLAIN);
    }
    let whole = &herd.received(2)[0];
    assert_eq!(&whole[12..], bytes);
    assert_eq!(herd.memory.taken(), 0);
    // A checksum alone: one form, for those that want it finished.
    let checksum = Claims { gso: None, ..claims };
    herd.flood_with(0, &superframe(100, 1).0, checksum);
    herd.rounds();
    assert_eq!(herd.replicator.forms_made, 3);
}

#[test]
fn forms_that_find_no_room_are_made_again_and_a_frame_that_cannot_be_cut_is_counted_at_each_receiver() {
    let mut features = [PLAIN; 12];
    features[11] = ALL;
    let mut herd = Herd::with(&features, 512 << 10);
    let (bytes, claims) = superframe(60_000, 1400);
    assert!(herd.flood_with(0, &bytes, claims));
    herd.rounds();
    assert_eq!(herd.replicator.forms_made, 10);
    assert!((1..11).all(|index| herd.received(index).len() == 43));
    assert_eq!(herd.memory.taken(), 0);
    let (mut odd, claims) = superframe(3000, 1400);
    odd[14] = 0x65;
    assert!(herd.flood_with(0, &odd, claims));
    herd.rounds();
    assert!((1..11).all(|index| herd.drops(index, DropReason::NotSegmentable) == 1));
    assert_eq!(herd.drops(11, DropReason::NotSegmentable), 0);
}

/// Every third port is a trunk, every ninth one with a service provider's tag as well.
fn mixed(count: usize) -> Policy {
    let trunk = |index: usize| {
        let service_vlan = VlanId::new(300).filter(|_| index.is_multiple_of(9));
        Trunk { networks: vec![network(0)], service_vlan, ..Trunk::default() }
    };
    let trunks: Vec<_> = (1..count)
        .filter(|index: &usize| index.is_multiple_of(3))
        .map(|index| (index, trunk(index)))
        .collect();
    policy(count, &trunks)
}

/// The tags that [`mixed`] wants at a port, with this priority in their upper byte.
fn tags_at(index: usize, priority: u8) -> Vec<u8> {
    match index {
        _ if index.is_multiple_of(9) => vec![0x88, 0xa8, priority | 1, 0x2c, 0x81, 0, priority, 5],
        _ if index.is_multiple_of(3) => vec![0x81, 0, priority, 5],
        _ => Vec::new(),
    }
}

#[test]
fn access_ports_and_trunks_get_the_same_flood_each_with_its_tags() {
    let mut herd = Herd::new(30);
    herd.policy = mixed(30);
    for (len, priority) in [(20, 0), (60, 0), (128, 0), (129, 0xa0), (1514, 0xe0)] {
        let code_point = Priority::new(priority >> 5).filter(|_| priority > 0);
        herd.tag = code_point.map(|priority| TakenTag { network: network(0), priority: Some(priority) });
        herd.flood(0, &frame(7, len));
        herd.rounds();
        for index in 1..30 {
            let received = herd.received(index).pop().unwrap();
            let whole = frame(7, len);
            let expected = [&whole[..12], &tags_at(index, priority), &whole[12..]].concat();
            assert_eq!(received[12..], expected, "{len} bytes at port {index}");
        }
    }
}

#[test]
fn a_form_with_tags_is_made_once_for_all_that_want_it_and_is_right() {
    let features: Vec<u64> = (0..28).map(|index| if index < 14 { CHECKSUMS } else { PLAIN }).collect();
    let mut herd = Herd::with(&features, 64 << 20);
    herd.policy = mixed(28);
    let (whole, claims) = superframe(4000, 1000);
    herd.flood_with(0, &whole, claims);
    herd.rounds();
    // Cut with partial and with finished checksums, each without tags, with one and with two.
    assert_eq!(herd.replicator.forms_made, 6);
    let lengths: Vec<Vec<usize>> =
        (1..28).map(|index| herd.received(index).iter().map(|frame| frame.len() - 12).collect()).collect();
    let untagged = lengths[0].clone();
    for index in 1..28 {
        let tags = tags_at(index, 0);
        let expected: Vec<usize> = untagged.iter().map(|length| length + tags.len()).collect();
        assert_eq!(lengths[index - 1], expected);
        for received in herd.received(index) {
            assert_eq!(received[24..24 + tags.len()], tags);
            let start = u16::from_le_bytes([received[6], received[7]]);
            let partial = received[0] == 1;
            assert_eq!(partial, index < 14);
            assert_eq!(usize::from(start), if partial { 34 + tags.len() } else { 0 });
        }
    }
}

#[test]
fn a_flood_waits_with_others_of_its_network_only() {
    let mut herd = Herd::new(30);
    let receivers: Vec<_> = (0..30).map(port).collect();
    let meta = Metadata::new(port(0), 60, Claims::default());
    let head = frame(1, 60);
    for of in [0, 1, 1, 0] {
        let flood =
            Flood { meta: &meta, network: network(of), head: &head, rest: &[], receivers: &receivers };
        assert!(herd.replicator.take(&flood));
    }
    assert_eq!(herd.replicator.sources[0].batches.len(), 3);
}
