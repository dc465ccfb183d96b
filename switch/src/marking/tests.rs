//! What is believed, written and followed, and that an independent reading of the bytes agrees.

use etherparse::{IpHeaders, PacketBuilder, SlicedPacket};
use proptest::prelude::*;

use super::*;
use crate::frame::{Claims, Head, Metadata};
use crate::ids::{NetworkIndex, PortIndex};
use crate::policy::{NetworkSettings, Policy, PortPolicy, Trunk};
use crate::vlan::{TagTypes, VlanId};

fn priority(code_point: u8) -> Priority {
    Priority::new(code_point).unwrap()
}

fn dscp(name: &str) -> Dscp {
    name.parse().unwrap()
}

/// A port that has network 0 without a tag, and network 1 with VLAN 11.
fn policy() -> Policy {
    let network = |index| NetworkIndex::new(index).unwrap();
    let trunk = Trunk {
        native: Some(network(0)),
        networks: vec![network(1)],
        service_vlan: None,
        tag_types: TagTypes::default(),
    };
    let tagged = NetworkSettings { vlan: VlanId::new(11), ..NetworkSettings::default() };
    let ports = [(PortIndex::new(0).unwrap(), PortPolicy::trunk(trunk, 1500))];
    Policy::compile(ports, [(network(0), NetworkSettings::default()), (network(1), tagged)]).unwrap()
}

/// UDP with this octet of traffic class, behind a tag with this control field.
fn packet(is_ipv4: bool, class: u8, control: Option<u16>) -> Vec<u8> {
    let step = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let headers = if is_ipv4 {
        let mut ip =
            etherparse::Ipv4Header::new(18, 64, etherparse::IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2])
                .unwrap();
        ip.dscp = (class >> 2).try_into().unwrap();
        ip.ecn = (class & 3).try_into().unwrap();
        IpHeaders::Ipv4(ip, Default::default())
    } else {
        IpHeaders::Ipv6(
            etherparse::Ipv6Header { traffic_class: class, hop_limit: 9, ..Default::default() },
            Default::default(),
        )
    };
    let mut frame = Vec::new();
    step.ip(headers).udp(7, 9).write(&mut frame, &[5; 10]).unwrap();
    if let Some(control) = control {
        let [high, low] = control.to_be_bytes();
        frame.splice(12..12, [0x81, 0, high, low]);
    }
    frame
}

/// The bytes and the chosen priority after marking.
fn marked(marking: &Marking, bytes: &[u8]) -> (Vec<u8>, Option<u8>, u16) {
    let length = u32::try_from(bytes.len()).unwrap();
    let meta = Metadata::new(PortIndex::new(0).unwrap(), length, Claims::default());
    let mut frame = Frame { head: Head::from_bytes(bytes), meta, payload: () };
    let policy = policy();
    marking.mark(std::slice::from_mut(&mut frame), policy.ingress(meta.source), priority(2));
    let marks = frame.meta.marks;
    (frame.head.bytes().to_vec(), marks.priority.map(Priority::code_point), marks.mark)
}

/// The traffic class as an independent parser reads it, and whether an IPv4 header's checksum is that of all of it.
fn read(bytes: &[u8]) -> (u8, bool) {
    let sliced = SlicedPacket::from_ethernet(bytes).unwrap();
    match sliced.net.unwrap() {
        etherparse::NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            let class = header.dscp.value() << 2 | header.ecn.value();
            (class, header.calc_header_checksum() == header.header_checksum)
        }
        etherparse::NetSlice::Ipv6(ip) => (ip.header().traffic_class(), true),
        etherparse::NetSlice::Arp(_) => unreachable!(),
    }
}

#[test]
fn nothing_changes_unless_it_is_said() {
    for control in [None, Some(0xa00b)] {
        let frame = packet(true, 0xb9, control);
        assert_eq!(marked(&Marking::default(), &frame), (frame.clone(), None, 0));
        let known = Marking { mark: 7, ..Marking::default() };
        assert_eq!(marked(&known, &frame), (frame, None, 7));
    }
}

#[test]
fn a_priority_follows_the_code_point() {
    let marking = Marking { trust: Trust::Dscp, ..Marking::default() };
    let followed =
        |name: &str| marked(&marking, &packet(true, dscp(name).get() << 2, Some(0xe00b))).1.unwrap();
    let names = ["be", "le", "cs1", "af21", "af31", "af43", "cs5", "va", "ef", "cs6", "cs7"];
    assert_eq!(names.map(followed), [0, 1, 1, 2, 3, 4, 5, 5, 5, 6, 7]);
    let mut own = marking.clone();
    own.priority_of[46] = priority(7);
    assert_eq!(marked(&own, &packet(false, 46 << 2, None)).1, Some(7));
    let mut arp = packet(true, 0, None);
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(marked(&marking, &arp), (arp, Some(2), 0), "the port's, where nothing is said");
}

#[test]
fn a_code_point_follows_the_priority() {
    let marking = Marking { trust: Trust::Priority, ..Marking::default() };
    for code_point in 0..=7_u16 {
        let (bytes, chosen, _) = marked(&marking, &packet(true, 0xb9, Some(code_point << 13 | 11)));
        assert_eq!(read(&bytes), (u8::try_from(code_point << 5 | 1).unwrap(), true));
        assert_eq!(chosen, None, "that of its tag");
    }
    let (bytes, ..) = marked(&marking, &packet(false, 0xb8, None));
    assert_eq!(read(&bytes), (2 << 5, true), "without a tag it has the port's");
    let (bytes, ..) = marked(&marking, &packet(true, 0xb8, Some(0xe000)));
    assert_eq!(read(&bytes), (7 << 5, true), "a tag may say nothing but a priority");
    // Of a VLAN that is not the port's: it will be refused.
    let foreign = packet(true, 0xb8, Some(0xe063));
    assert_eq!(marked(&marking, &foreign).0, foreign);
    let mut own = marking;
    own.dscp_of[5] = dscp("ef");
    assert_eq!(read(&marked(&own, &packet(true, 0, Some(0xa00b))).0), (46 << 2, true));
}

#[test]
fn where_nothing_is_believed_all_is_written() {
    let marking = Marking { trust: Trust::None, ..Marking::default() };
    let (bytes, chosen, _) = marked(&marking, &packet(true, 0xbb, Some(0xe00b)));
    assert_eq!((read(&bytes), chosen), ((3, true), Some(2)), "the bits for congestion stay");
    let set = Marking { dscp: Some(dscp("af41")), priority: Some(priority(4)), ..marking };
    let (bytes, chosen, _) = marked(&set, &packet(false, 0xb8, None));
    assert_eq!((read(&bytes), chosen), ((34 << 2, true), Some(4)));
}

#[test]
fn what_comes_again_keeps_its_code_point() {
    let bytes = packet(true, 0xb8, None);
    let again = |marking: &Marking| {
        let meta = Metadata::new(PortIndex::new(0).unwrap(), 60, Claims::default());
        let mut frame = Frame { head: Head::from_bytes(&bytes), meta, payload: () };
        marking.mark_again(std::slice::from_mut(&mut frame), priority(2));
        assert_eq!(frame.head.bytes(), bytes);
        let marks = frame.meta.marks;
        (marks.priority.map(Priority::code_point), marks.mark)
    };
    let of = |trust| Marking { trust, mark: 9, ..Marking::default() };
    let told = [Trust::Both, Trust::Priority, Trust::Dscp, Trust::None].map(|trust| again(&of(trust)));
    assert_eq!(told, [(None, 9), (None, 9), (Some(5), 9), (Some(2), 9)]);
    assert_eq!(again(&Marking { priority: Some(priority(6)), ..of(Trust::None) }), (Some(6), 9));
}

proptest! {
    /// Whatever a frame says and a port wants: no more changes than six bits and a checksum, which is what computing it anew gives.
    #[test]
    fn six_bits_change_and_a_checksum(
        is_ipv4 in any::<bool>(),
        class in any::<u8>(),
        control in prop::option::of(any::<u16>()),
        trust in prop::sample::select(vec![Trust::Both, Trust::Dscp, Trust::Priority, Trust::None]),
        set in prop::option::of(0..=Dscp::MAX),
    ) {
        let before = packet(is_ipv4, class, control);
        let marking = Marking { trust, dscp: set.and_then(Dscp::new), ..Marking::default() };
        let (after, ..) = marked(&marking, &before);
        let (written, is_right) = read(&after);
        prop_assert!(is_right);
        prop_assert_eq!(written & 3, class & 3);
        // Of a VLAN that is not the port's, nobody knows a priority to follow: it stays as it is, and will be refused.
        let is_known = trust != Trust::Priority || control.is_none_or(|control| matches!(control & 0xfff, 0 | 11));
        if let Some(set) = set.filter(|_| is_known) {
            prop_assert_eq!(written >> 2, set);
        }
        let at = if control.is_some() { 18 } else { 14 };
        let may_change: &[usize] = if is_ipv4 { &[1, 10, 11] } else { &[0, 1] };
        for (place, (one, other)) in before.iter().zip(&after).enumerate() {
            let is_free = place.checked_sub(at).is_some_and(|place| may_change.contains(&place));
            prop_assert!(is_free || one == other, "byte {}", place);
        }
        if !is_ipv4 {
            prop_assert_eq!((after[at] & 0xf0, after[at + 1] & 0x0f), (before[at] & 0xf0, before[at + 1] & 0x0f));
        }
    }

    /// Whatever bytes come: nothing panics.
    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..80), trust in 0..4_usize) {
        let trust = [Trust::Both, Trust::Dscp, Trust::Priority, Trust::None][trust];
        let (after, ..) = marked(&Marking { trust, ..Marking::default() }, &bytes);
        prop_assert_eq!(after.len(), bytes.len());
    }
}
