use super::*;
use proptest::prelude::*;

const SOURCE: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

/// What the bonding driver of Linux sends, as it stands in packet captures: version 1, one port of an active, fast
/// system, which knows its partner.
fn captured() -> Vec<u8> {
    let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 2, 2, 0, 0, 0, 0, 9, 0x88, 0x09, 1, 1];
    frame.extend([1, 20, 0xff, 0xff, 2, 0, 0, 0, 0, 8, 0, 15, 0, 255, 0, 1, 0x3f, 0, 0, 0]);
    frame.extend([2, 20, 0x80, 0, 2, 0, 0, 0, 0, 7, 0x12, 0x34, 0x80, 1, 0x56, 0x78, 0x7d, 0, 0, 0]);
    frame.extend([3, 16, 0, 5]);
    frame.extend([0; 12 + 2 + 50]);
    frame
}

fn info() -> impl Strategy<Value = PortInfo> {
    any::<(u16, [u8; 6], u16, u16, u16, u8)>().prop_map(
        |(priority, address, key, port_priority, port, state)| {
            let system = SystemId { priority, address: MacAddress(address) };
            PortInfo { system, key, port_priority, port, state: State(state) }
        },
    )
}

#[test]
fn a_captured_lacpdu_is_read_field_by_field_and_written_alike() {
    let frame = captured();
    assert_eq!(frame.len(), FRAME_LEN);
    let Ok(Message::Lacp(pdu)) = Message::decode(&frame) else { panic!("not read") };
    let system = SystemId { priority: 0xffff, address: MacAddress([2, 0, 0, 0, 0, 8]) };
    let actor = PortInfo { system, key: 15, port_priority: 255, port: 1, state: State(0x3f) };
    let system = SystemId { priority: 0x8000, address: MacAddress([2, 0, 0, 0, 0, 7]) };
    let partner = PortInfo { system, key: 0x1234, port_priority: 0x8001, port: 0x5678, state: State(0x7d) };
    assert_eq!(pdu, Lacpdu { version: 1, actor, partner, collector_delay: 5 });
    assert_eq!(pdu.encode(SOURCE).to_vec(), frame);
}

#[test]
fn flags_have_their_places_and_names() {
    let names: Vec<_> = State(0x3f).names().collect();
    let first_six =
        ["activity", "short-timeout", "aggregation", "synchronization", "collecting", "distributing"];
    assert_eq!(names, first_six);
    assert_eq!(format!("{:?}", State(0xc0)), r#"["defaulted", "expired"]"#);
    let mut state = State(0xff);
    state.set(Flag::Collecting, false);
    assert_eq!(state, State(0xef));
    state.set(Flag::Collecting, true);
    assert_eq!(state, State(0xff));
    assert!(State(0x11).agrees(State(0x21), &[Flag::Activity]));
    assert!(!State(0x11).agrees(State(0x21), &[Flag::Activity, Flag::Distributing]));
}

#[test]
fn what_is_no_slow_protocol_frame_is_refused() {
    let wrong = |at: usize, value: u8| {
        let mut frame = captured();
        frame[at] = value;
        Message::decode(&frame)
    };
    assert_eq!(Message::decode(&captured()[..FRAME_LEN - 1]), Err(Malformed::Short));
    assert_eq!(Message::decode(&[]), Err(Malformed::Short));
    for at in (0..6).chain(12..14) {
        assert_eq!(wrong(at, 0x77), Err(Malformed::NotSlow), "byte {at}");
    }
    assert_eq!(wrong(6, 3), Err(Malformed::Source), "a group");
    let mut nobody = captured();
    nobody[6..12].fill(0);
    assert_eq!(Message::decode(&nobody), Err(Malformed::Source));
    // 3 is OAM (IEEE 802.3-2018, 57A.5), 10 that of organisations.
    for subtype in [0, 3, 10, 255] {
        assert_eq!(wrong(14, subtype), Err(Malformed::Subtype));
    }
    for at in [17, 37, 57] {
        for length in [0, 15, 17, 19, 21, 255] {
            assert_eq!(wrong(at, length), Err(Malformed::PartLength), "byte {at}: {length}");
        }
    }
}

#[test]
fn versions_types_and_reserved_bytes_count_for_nothing() {
    let Ok(Message::Lacp(plain)) = Message::decode(&captured()) else { panic!("not read") };
    for at in [16, 33, 34, 35, 36, 53, 55, 56, 60, 71, 72, 73, 74, FRAME_LEN - 1] {
        let mut frame = captured();
        frame[at] = 0xa5;
        assert_eq!(Message::decode(&frame), Ok(Message::Lacp(plain)), "byte {at}");
    }
    let mut later = captured();
    later[15] = 2;
    later.extend([4; 40]);
    assert_eq!(Message::decode(&later), Ok(Message::Lacp(Lacpdu { version: 2, ..plain })));
}

#[test]
fn a_marker_is_answered_with_what_it_held() {
    let mut request = slow_frame(SOURCE, 2, 1);
    request[16..18].copy_from_slice(&[1, 16]);
    for (place, byte) in request[18..32].iter_mut().enumerate() {
        *byte = u8::try_from(place).unwrap() + 1;
    }
    let Ok(Message::Marker(marker)) = Message::decode(&request) else { panic!("not read") };
    let own = MacAddress([2, 0, 0, 0, 0, 1]);
    let mut expected = request;
    expected[6..12].copy_from_slice(&own.0);
    expected[16] = 2;
    assert_eq!(marker.response(own), expected);
    assert_eq!(Message::decode(&expected), Ok(Message::MarkerResponse));
    for (kind, length, error) in [
        (1, 15, Malformed::PartLength),
        (2, 17, Malformed::PartLength),
        (0, 16, Malformed::Subtype),
        (3, 16, Malformed::Subtype),
    ] {
        request[16..18].copy_from_slice(&[kind, length]);
        assert_eq!(Message::decode(&request), Err(error));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(actor in info(), partner in info(), collector_delay: u16, version: u8) {
        let pdu = Lacpdu { version, actor, partner, collector_delay };
        prop_assert_eq!(Message::decode(&pdu.encode(SOURCE)), Ok(Message::Lacp(pdu)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, at in 14..FRAME_LEN, value: u8) {
        let _ = Message::decode(&bytes);
        let mut frame = captured();
        frame[at] = value;
        frame.extend(bytes);
        let _ = Message::decode(&frame);
    }
}
