use super::*;
use proptest::prelude::*;

#[test]
fn messages_that_rfc_8415_forbids_get_no_answer_and_a_count() {
    let mut server = server();
    let without = |mut message: Message, code| {
        message.options = message.options.iter().filter(|(found, _)| *found != code).fold(
            Options::new(),
            |mut options, (code, value)| {
                options.put(code, value);
                options
            },
        );
        message
    };
    let with_server = |kind, id: &[u8]| {
        let mut message = without(question(1, kind, NONE), code::SERVER_ID);
        message.options.put(code::SERVER_ID, id);
        message
    };
    let us = settings().duid();
    let mut inform = question(1, MessageType::InformationRequest, NONE);
    inform.options.put(code::IA_NA, association(NONE));
    let invalid = [
        without(question(1, MessageType::Solicit, NONE), code::CLIENT_ID),
        without(question(1, MessageType::Request, NONE), code::SERVER_ID),
        without(question(1, MessageType::Renew, NONE), code::SERVER_ID),
        without(question(1, MessageType::Release, NONE), code::CLIENT_ID),
        with_server(MessageType::Solicit, &us),
        with_server(MessageType::Confirm, &us),
        with_server(MessageType::Rebind, &us),
        inform,
    ];
    let others = [
        with_server(MessageType::Request, &[0, 3, 0, 1, 9]),
        with_server(MessageType::Decline, &[0, 3, 0, 1, 9]),
        with_server(MessageType::InformationRequest, &[0, 3, 0, 1, 9]),
    ];
    let servers =
        [MessageType::Advertise, MessageType::Reply, MessageType::Reconfigure, MessageType::RelayReply];
    for message in invalid.iter().chain(&others) {
        assert_eq!(ask(&mut server, 0, 1, message), None, "{message:?}");
    }
    for kind in servers.into_iter().chain([MessageType::RelayForward]) {
        assert_eq!(ask(&mut server, 0, 1, &question(1, kind, NONE)), None);
    }
    let found: Vec<_> = server.lender().counters().iter().filter(|(_, count)| *count > 0).collect();
    let expected = [("not-a-request", 4), ("relayed", 1), ("other-server", 3), ("invalid-request", 8)];
    assert_eq!(found, expected);
}

#[test]
fn options_that_are_cut_or_come_twice_are_no_message() {
    let said = |bytes: &[u8]| Options::decode(bytes).unwrap_err().to_string();
    assert_eq!(said(&[0, 1, 0, 3, 1, 2]), "option 1 runs over the end of what it is in");
    assert_eq!(said(&[0, 1, 0]), "option 0 runs over the end of what it is in");
    assert_eq!(said(&[0, 1, 0, 0, 0, 1, 0, 0]), "option 1 is there more than once");
}

#[test]
fn settings_that_make_no_sense_are_refused_with_what_is_wrong() {
    let check = |settings: Settings| Server::new(settings).map(drop);
    let (first, last) = (address(0x109), address(0x100));
    let backwards = Settings { range: Some((first, last)), ..settings() };
    assert_eq!(check(backwards), Err(SettingsError::Range { first, last }));
    let elsewhere = Settings { address: address(1), ..settings() };
    let error = check(elsewhere).unwrap_err();
    assert_eq!(error, SettingsError::NotLinkLocal(address(1)));
    let said = error.to_string();
    assert_eq!(said, "the server's address fd00:2::1 is not one of the link (fe80::/10)");
}

#[test]
fn who_asks_by_unicast_is_told_to_ask_all() {
    let mut server = server();
    let ours = settings().address;
    for kind in [MessageType::Request, MessageType::Renew, MessageType::Release, MessageType::Decline] {
        let frame = frame_of(1, &question(1, kind, &[address(0x100)]), ours);
        let answer = server.receive(at(0), port(1), &frame, &mut |_| false).unwrap();
        let answer = Message::decode(open_v6(&answer).unwrap().1).unwrap();
        assert_eq!(
            (status_in(&answer.options), answer.options.iter().count()),
            (Some(status::USE_MULTICAST), 3)
        );
    }
    for kind in
        [MessageType::Solicit, MessageType::Confirm, MessageType::Rebind, MessageType::InformationRequest]
    {
        let frame = frame_of(1, &question(1, kind, NONE), ours);
        assert_eq!(server.receive(at(0), port(1), &frame, &mut |_| false), None);
    }
    assert_eq!((count(&server, Event::Unicast), server.lender().entries().count()), (8, 0));
}

#[test]
fn a_frame_that_is_cut_or_changed_anywhere_lends_nothing() {
    let mut server = server();
    let frame = frame_of(1, &question(1, MessageType::Request, NONE), ALL_SERVERS);
    for length in 0..frame.len() {
        assert_eq!(server.receive(at(0), port(1), &frame[..length], &mut |_| false), None, "{length}");
    }
    for at_byte in 20..frame.len() {
        let mut changed = frame.clone();
        changed[at_byte] ^= 0x41;
        let answer = server.receive(at(0), port(1), &changed, &mut |_| false);
        // The hop limit alone is covered by no checksum.
        assert!(answer.is_none() || at_byte == 21, "{at_byte}");
    }
    // A UDP checksum is not left out (RFC 8200, 8.1).
    let mut unchecked = frame;
    unchecked[60..62].copy_from_slice(&[0, 0]);
    assert_eq!(server.receive(at(0), port(1), &unchecked, &mut |_| false), None);
}

#[test]
fn an_option_that_is_cut_anywhere_makes_the_whole_message_wrong() {
    let mut server = server();
    let whole = question(1, MessageType::Solicit, &[address(0x100)]).encode();
    let ends = [4, 18, 62];
    for length in 4..whole.len() {
        let cut = Message::decode(&whole[..length]);
        assert_eq!(cut.is_ok(), ends.contains(&length), "{length}: {cut:?}");
    }
    // The same within an association: its own length is right.
    let inner = association(&[address(0x100)]);
    for length in 0..inner.len() {
        let mut message = question(1, MessageType::Solicit, NONE);
        message.options = Options::new();
        message.options.put(code::CLIENT_ID, duid(1));
        message.options.put(code::IA_NA, &inner[..length]);
        assert_eq!(ask(&mut server, 0, 1, &message).is_some(), length == 12, "{length}");
    }
    let mut many = question(1, MessageType::Solicit, NONE);
    (0..16).for_each(|_| many.options.put(code::IA_NA, association(NONE)));
    assert_eq!(ask(&mut server, 0, 1, &many), None);
    let mut twice = question(1, MessageType::Solicit, NONE);
    twice.options.put(code::CLIENT_ID, duid(1));
    assert_eq!(ask(&mut server, 0, 1, &twice), None);
}

/// Something that a client may send, sensible or not.
#[derive(Clone, Debug)]
struct Act {
    number: usize,
    identity: usize,
    kind: MessageType,
    addresses: Vec<u16>,
    is_rapid: bool,
    passes_s: u32,
    taken: bool,
}

fn act() -> impl Strategy<Value = Act> {
    const KINDS: &[MessageType] = &[
        MessageType::Solicit,
        MessageType::Request,
        MessageType::Renew,
        MessageType::Rebind,
        MessageType::Release,
        MessageType::Decline,
        MessageType::Confirm,
    ];
    let last = prop_oneof![0xfe..0x10c_u16, Just(0x10), Just(0)];
    let passes_s = prop_oneof![4 => 0..3_u32, 1 => 0..90_u32, 1 => 0..4000_u32];
    (
        1..9_usize,
        prop_oneof![3 => Just(None), 1 => (1..9_usize).prop_map(Some)],
        proptest::sample::select(KINDS),
        proptest::collection::vec(last, 0..3),
        any::<bool>(),
        passes_s,
        proptest::bool::weighted(0.05),
    )
        .prop_map(|(number, identity, kind, addresses, is_rapid, passes_s, taken)| Act {
            number,
            identity: identity.unwrap_or(number),
            kind,
            addresses,
            is_rapid,
            passes_s,
            taken,
        })
}

proptest! {
    #[test]
    fn whatever_clients_do_nobody_loses_what_is_lent_to_him(acts in proptest::collection::vec(act(), 1..120)) {
        let mut server = server();
        let mut now = 0;
        for act in acts {
            now += act.passes_s;
            server.lender_mut().advance(at(now));
            let before: Vec<_> = server.lender().leases().collect();
            let addresses: Vec<Ipv6Addr> = act.addresses.iter().map(|last| address(*last)).collect();
            let mut message = question(act.identity, act.kind, &addresses);
            if act.is_rapid {
                message.options.put(code::RAPID_COMMIT, []);
            }
            let frame = frame_of(act.number, &message, ALL_SERVERS);
            let answer = server.receive(at(now), port(act.number), &frame, &mut |_| act.taken);
            for lease in before.iter().filter(|lease| lease.port != port(act.number)) {
                let after = server.lender().lease(lease.address);
                prop_assert_eq!(after.as_ref(), Some(lease));
            }
            for entry in server.lender().entries() {
                let is_own = entry.address == address(0x10);
                prop_assert!(is_own || server.lender.table.is_in_pool(entry.address));
                prop_assert!(!is_own || entry.client.is_none_or(|client| client.port == port(7)));
            }
            let Some(answer) = answer else { continue };
            let answer = Message::decode(open_v6(&answer).unwrap().1).unwrap();
            for (found, valid_s) in granted(&answer).iter().filter(|(_, valid_s)| *valid_s > 0) {
                let entry = server.lender().entries().find(|entry| entry.address == *found).unwrap();
                prop_assert_eq!(entry.client.unwrap().port, port(act.number));
                let is_lent = server.lender().lease(*found).is_some_and(|lease| lease.until == at(now + valid_s));
                prop_assert!(is_lent || answer.kind == MessageType::Advertise);
            }
        }
    }

    #[test]
    fn any_options_get_no_wrong_answer(
        bytes in proptest::collection::vec(prop_oneof![3 => 0..30_u8, 1 => any::<u8>()], 0..200),
        kind in 0..15_u8,
    ) {
        let mut server = server();
        let mut payload = vec![kind, 1, 2, 3];
        payload.extend(&bytes);
        let _ = Message::decode(&payload);
        let envelope = Envelope {
            source_mac: mac(1),
            destination_mac: ALL_SERVERS_MAC,
            source: "fe80::9".parse().unwrap(),
            destination: ALL_SERVERS,
            source_port: 546,
            destination_port: 547,
        };
        if let Some(answer) = server.receive(at(0), port(1), &seal_v6(&envelope, &payload), &mut |_| false) {
            let answer = Message::decode(open_v6(&answer).unwrap().1).unwrap();
            prop_assert!(matches!(answer.kind, MessageType::Advertise | MessageType::Reply));
        }
    }
}
