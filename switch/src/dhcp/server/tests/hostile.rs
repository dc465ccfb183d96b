use super::*;
use proptest::prelude::*;

#[test]
fn what_is_not_a_clients_to_us_gets_no_answer_and_a_count() {
    let mut server = server();
    let discover = question(1, MessageType::Discover);
    let relayed = Message { giaddr: address(9), ..discover.clone() };
    let reply = Message { operation: Operation::Reply, ..discover.clone() };
    let mut bootp = discover.clone();
    bootp.options.remove(code::MESSAGE_TYPE);
    let mut short_id = discover.clone();
    short_id.options.set(code::CLIENT_IDENTIFIER, [1]);
    let mut long_id = discover.clone();
    long_id.options.set(code::CLIENT_IDENTIFIER, [1; 256]);
    let mut unknown = discover.clone();
    unknown.options.set(code::MESSAGE_TYPE, [9]);
    for message in [relayed, reply, question(1, MessageType::Offer), bootp, short_id, long_id, unknown] {
        assert_eq!(ask(&mut server, 0, 1, &message), None);
    }
    let elsewhere = frame_to(&discover, address(3));
    assert_eq!(server.receive(at(0), port(1), &elsewhere, &mut |_| false), None);
    let counted: Vec<_> = server.lender().counters().iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        counted,
        [("malformed", 3), ("not-for-us", 1), ("not-a-request", 2), ("bootp", 1), ("relayed", 1)]
    );
    assert_eq!(server.lender.table.iter().count(), 0);
}

#[test]
fn a_frame_that_is_cut_anywhere_changes_nothing() {
    let mut server = server();
    let frame = frame_to(&question(1, MessageType::Discover), Ipv4Addr::BROADCAST);
    for length in 0..frame.len() {
        assert_eq!(server.receive(at(0), port(1), &frame[..length], &mut |_| false), None, "{length}");
    }
    assert_eq!(count(&server, Event::Malformed), u64::try_from(frame.len()).unwrap());
}

/// Something that a client may send, sensible or not.
#[derive(Clone, Debug)]
struct Act {
    number: usize,
    station: usize,
    kind: u8,
    ciaddr: Option<u8>,
    wanted: Option<u8>,
    server: Option<bool>,
    client: Option<u8>,
    lease_s: Option<u32>,
    passes_s: u32,
    taken: bool,
}

fn act() -> impl Strategy<Value = Act> {
    let last = || proptest::option::of(prop_oneof![98..112_u8, Just(10), Just(255), Just(1)]);
    let who = (1..9_usize, prop_oneof![3 => Just(None), 1 => (1..9_usize).prop_map(Some)]);
    let lease_s = proptest::option::weighted(0.1, any::<u32>());
    let rest = (proptest::option::of(any::<bool>()), proptest::option::of(0..6_u8), lease_s);
    let passes_s = prop_oneof![4 => 0..3_u32, 1 => 0..90_u32, 1 => 0..4000_u32];
    (who, 1..9_u8, last(), last(), rest, passes_s, proptest::bool::weighted(0.05)).prop_map(
        |((number, station), kind, ciaddr, wanted, (server, client, lease_s), passes_s, taken)| Act {
            number,
            station: station.unwrap_or(number),
            kind: if kind > 5 { 3 } else { kind },
            ciaddr: ciaddr.filter(|_| kind > 4),
            wanted,
            server,
            client,
            lease_s,
            passes_s,
            taken,
        },
    )
}

fn message(act: &Act) -> Message {
    let mut message = Message::new(Operation::Request, 1, mac(act.station));
    let options: &mut Options = &mut message.options;
    options.set(code::MESSAGE_TYPE, [[1, 3, 4, 7, 8][usize::from(act.kind) % 5]]);
    if let Some(last) = act.wanted {
        options.set(code::REQUESTED_ADDRESS, address(last).octets());
    }
    if let Some(is_us) = act.server {
        options.set(code::SERVER_IDENTIFIER, if is_us { SERVER } else { address(9) }.octets());
    }
    if let Some(client) = act.client {
        options.set(code::CLIENT_IDENTIFIER, [0, client]);
    }
    if let Some(lease_s) = act.lease_s {
        options.set(code::LEASE_TIME, lease_s.to_be_bytes());
    }
    message.ciaddr = act.ciaddr.map_or(NONE, address);
    message
}

/// What holds whatever clients do.
fn check(server: &Server, before: &[Lease], act: &Act, now: u32, answer: Option<&Message>) {
    for (found, binding) in server.lender.table.iter() {
        assert!(server.lender.table.is_in_pool(found) || found == address(10));
        assert!(binding.until > at(now) || binding.state == State::Idle);
        let holder = binding.holder.as_ref();
        assert!(found != address(10) || holder.unwrap().port == port(7) && holder.unwrap().mac == mac(7));
    }
    let in_pool =
        server.lender.table.iter().filter(|(found, binding)| {
            server.lender.table.is_in_pool(*found) && binding.state != State::Idle
        });
    assert_eq!(in_pool.count() + server.lender.table.free(), 10);
    // Nobody ends or takes another port's lease.
    for lease in before.iter().filter(|lease| lease.port != port(act.number) && lease.until > at(now)) {
        assert_eq!(server.lender().lease(lease.address).as_ref(), Some(lease));
    }
    let Some(answer) = answer else { return };
    let kind = answer.kind().unwrap();
    let is_granted = kind == MessageType::Ack && !answer.yiaddr.is_unspecified();
    if is_granted {
        let lease = server.lender().lease(answer.yiaddr).unwrap();
        assert_eq!((lease.port, lease.mac), (port(act.number), mac(act.station)));
        let lease_s = answer.options.u32(code::LEASE_TIME).unwrap().unwrap();
        assert!((60..=3600).contains(&lease_s) && lease.until == at(now + lease_s));
    }
    // RFC 2131, table 3.
    assert_eq!(kind == MessageType::Nak, answer.options.get(code::SUBNET_MASK).is_none());
    assert_eq!(answer.options.address(code::SERVER_IDENTIFIER), Ok(Some(SERVER)));
}

proptest! {
    #[test]
    fn whatever_clients_do_nobody_loses_what_is_lent_to_him(acts in proptest::collection::vec(act(), 1..120)) {
        let mut server = server();
        let mut now = 0;
        for act in acts {
            now += act.passes_s;
            server.lender_mut().advance(at(now));
            let before: Vec<Lease> = server.lender().leases().collect();
            let answer = ask_knowing(&mut server, now, act.number, &message(&act), &mut |_| act.taken);
            check(&server, &before, &act, now, answer.as_ref().map(|(_, answer)| answer));
        }
    }

    #[test]
    fn any_bytes_behind_good_headers_get_no_wrong_answer(
        options in proptest::collection::vec(prop_oneof![2 => 0..10_u8, 1 => 48..62_u8, 1 => any::<u8>()], 0..120),
        kind in 1..9_u8,
    ) {
        let mut server = server();
        let mut payload = question(1, MessageType::Discover).encode(576).0;
        payload.truncate(240);
        payload.extend([53, 1, kind]);
        payload.extend(options);
        let (envelope, _) = {
            let frame = frame_to(&question(1, MessageType::Discover), Ipv4Addr::BROADCAST);
            let (envelope, _) = open(&frame).unwrap();
            (envelope, ())
        };
        let frame = seal(&envelope, &payload);
        if let Some(answer) = server.receive(at(0), port(1), &frame, &mut |_| false) {
            let (_, payload) = open(&answer).unwrap();
            let answer = Message::decode(payload).unwrap();
            prop_assert!(matches!(
                answer.kind(),
                Ok(MessageType::Offer | MessageType::Ack | MessageType::Nak)
            ));
        }
    }
}
