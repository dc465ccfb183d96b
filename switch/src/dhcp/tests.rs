use super::datagram::{Envelope, open, seal};
use super::options::Options;
use super::routes::{self, Route};
use super::*;
use crate::mac::MacAddress;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 1]);

fn discover() -> Message {
    let mut message = Message::new(Operation::Request, 0x1234_5678, MAC);
    message.options.set(code::MESSAGE_TYPE, [1]);
    message
}

fn envelope() -> Envelope {
    Envelope {
        source_mac: MAC,
        destination_mac: MacAddress::BROADCAST,
        source: Ipv4Addr::UNSPECIFIED,
        destination: Ipv4Addr::BROADCAST,
        source_port: 68,
        destination_port: 67,
    }
}

fn bytes(message: &Message) -> Vec<u8> {
    let (bytes, left_out) = message.encode(1500);
    assert!(left_out.is_empty(), "{left_out:?}");
    bytes
}

#[test]
fn a_message_stands_in_its_bytes_as_rfc_2131_draws_it() {
    let mut message = discover();
    message.seconds = 7;
    message.broadcast = true;
    message.ciaddr = [10, 0, 0, 1].into();
    message.boot_file = "pxe".into();
    let bytes = bytes(&message);
    assert_eq!(bytes.len(), 300);
    assert_eq!(&bytes[..16], [1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 7, 0x80, 0, 10, 0, 0, 1]);
    assert_eq!(&bytes[28..34], MAC.0);
    assert_eq!(&bytes[108..112], b"pxe\0");
    assert_eq!(&bytes[236..244], [99, 130, 83, 99, 53, 1, 1, 255]);
    assert_eq!(Message::decode(&bytes).unwrap(), message);
}

#[test]
fn a_message_that_is_cut_anywhere_before_its_end_option_is_refused() {
    let mut message = discover();
    message.options.set(code::HOST_NAME, *b"guest");
    let bytes = bytes(&message);
    let end = 240 + 3 + 7 + 1;
    for length in 0..end {
        assert!(Message::decode(&bytes[..length]).is_err(), "{length}");
    }
    assert_eq!(Message::decode(&bytes[..end]).unwrap(), message);
}

#[test]
fn a_long_option_is_cut_into_instances_and_put_together_again() {
    let long: Vec<u8> = (0..600).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let mut message = discover();
    message.options.set(224, long.clone());
    let bytes = bytes(&message);
    assert_eq!(&bytes[243..245], [224, 255]);
    assert_eq!(&bytes[243 + 257..243 + 259], [224, 255]);
    assert_eq!(&bytes[243 + 514..243 + 516], [224, 90]);
    assert_eq!(Message::decode(&bytes).unwrap().options.get(224), Some(long.as_slice()));
}

#[test]
fn options_that_are_too_many_go_to_file_and_sname_and_the_last_ones_are_left_out() {
    let mut message = discover();
    for code in 224..=230 {
        message.options.set(code, vec![code; 100]);
    }
    let (bytes, left_out) = message.encode(0);
    assert_eq!(bytes.len(), 240 + 3 + 2 * 102 + 3 + 1);
    assert_eq!(left_out, [227, 228, 229, 230]);
    message.options.remove(227);
    message.options.set(231, [1, 2, 3]);
    let (bytes, left_out) = message.encode(576);
    let read = Message::decode(&bytes).unwrap();
    assert_eq!(left_out, [228, 229, 230]);
    assert_eq!(read.options.get(226), Some([226; 100].as_slice()));
    assert_eq!(read.options.get(231), Some([1, 2, 3].as_slice()));
    assert_eq!(read.options.get(code::OVERLOAD), None);
}

#[test]
fn what_is_no_message_is_refused_with_a_sentence() {
    let good = bytes(&discover());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Message::decode(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 3), Malformed::Operation { found: 3 });
    assert_eq!(with(1, 6), Malformed::Hardware { kind: 6, length: 6 });
    assert_eq!(with(2, 16), Malformed::Hardware { kind: 1, length: 16 });
    assert_eq!(with(28, 0x53), Malformed::Hardware { kind: 1, length: 6 });
    assert_eq!(with(239, 0), Malformed::NoCookie);
    assert_eq!(Message::decode(&good[..239]), Err(Malformed::Short { length: 239 }));
    assert_eq!(Message::decode(&[0; 5000]), Err(Malformed::Long { length: 5000 }));
    assert_eq!(with(243, 0), Malformed::NoEnd);
    let overload = |value: &[u8]| {
        let mut options = vec![53, 1, 1, 52, u8::try_from(value.len()).unwrap()];
        options.extend(value);
        options.push(255);
        Message::decode(&[&good[..240], &options].concat())
    };
    assert_eq!(overload(&[0]), Err(Malformed::OptionValue { code: 52 }));
    assert_eq!(overload(&[4]), Err(Malformed::OptionValue { code: 52 }));
    assert_eq!(overload(&[1, 1]), Err(Malformed::OptionLength { code: 52, length: 2 }));
    assert_eq!(overload(&[1]), Err(Malformed::NoEnd), "an empty file does not end");
    let options = |options: &[u8]| Message::decode(&[&good[..240], options].concat());
    assert_eq!(options(&[53, 1, 1, 12, 9, b'a']), Err(Malformed::OptionTruncated { code: 12 }));
    assert_eq!(options(&[53, 1, 1, 12]), Err(Malformed::OptionTruncated { code: 12 }));
    assert_eq!(options(&[255]).unwrap().kind(), Err(Malformed::NoType));
    let mut frame = seal(&envelope(), &good);
    // The protocol: ICMP, with a header checksum that fits.
    frame[23] = 1;
    let sum = u16::from_be_bytes([frame[24], frame[25]]) + (17 - 1);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(open(&frame).unwrap_err().to_string(), "the frame is no UDP datagram between ports 67 and 68");
}

#[test]
fn typed_options_have_the_length_that_they_must_have() {
    let mut options = Options::new();
    for length in 0..12_usize {
        options.set(1, vec![0; length]);
        assert_eq!(options.address(1).is_ok(), length == 4);
        assert_eq!(options.u32(1).is_ok(), length == 4);
        assert_eq!(options.u16(1).is_ok(), length == 2);
        assert_eq!(options.u8(1).is_ok(), length == 1);
        assert_eq!(options.addresses(1).is_ok(), length > 0 && length % 4 == 0);
    }
    options.set(12, *b"guest\0\0");
    assert_eq!(options.text(12), Some("guest"));
    options.set(12, *b"gu\0est");
    assert_eq!(options.text(12), None);
    options.set(12, *b"\0");
    assert_eq!(options.text(12), None);
}

#[test]
fn routes_stand_there_as_in_the_examples_of_rfc_3442() {
    let route = |destination: [u8; 4], prefix, router: [u8; 4]| Route {
        destination: destination.into(),
        prefix,
        router: router.into(),
    };
    let list = [
        route([0, 0, 0, 0], 0, [10, 0, 0, 1]),
        route([10, 0, 0, 0], 8, [10, 0, 0, 2]),
        route([10, 17, 0, 0], 16, [0, 0, 0, 0]),
        route([10, 229, 0, 128], 25, [10, 0, 0, 3]),
        route([10, 198, 122, 47], 32, [10, 0, 0, 4]),
    ];
    let expected = [
        &[0, 10, 0, 0, 1][..],
        &[8, 10, 10, 0, 0, 2],
        &[16, 10, 17, 0, 0, 0, 0],
        &[25, 10, 229, 0, 128, 10, 0, 0, 3],
        &[32, 10, 198, 122, 47, 10, 0, 0, 4],
    ]
    .concat();
    assert_eq!(routes::encode(&list), expected);
    assert_eq!(routes::decode(&expected).unwrap(), list);
    let starts = [5, 11, 18, 27];
    for length in (0..expected.len()).filter(|length| !starts.contains(length)) {
        assert!(routes::decode(&expected[..length]).is_err(), "{length}");
    }
    assert!(routes::decode(&[33, 1, 2, 3, 4, 5, 6, 7, 8, 9]).is_err());
    assert_eq!(routes::decode(&[9, 10, 255, 1, 1, 1, 1]).unwrap(), [route([10, 128, 0, 0], 9, [1, 1, 1, 1])]);
}

#[test]
fn masks_and_prefixes_are_the_same_said_twice() {
    for prefix in 0..=32 {
        assert_eq!(routes::prefix_of(routes::mask(prefix)), Some(prefix));
    }
    assert_eq!(routes::prefix_of([255, 0, 255, 0].into()), None);
}

#[test]
fn a_frame_whose_checksums_are_wrong_is_refused() {
    let frame = seal(&envelope(), &bytes(&discover()));
    let (found, payload) = open(&frame).unwrap();
    assert_eq!((found, payload), (envelope(), bytes(&discover()).as_slice()));
    for at in 14..frame.len() {
        let mut changed = frame.clone();
        changed[at] ^= 0x10;
        assert!(open(&changed).is_err(), "byte {at}");
    }
    let mut without = frame.clone();
    without[40..42].fill(0);
    assert!(open(&without).is_ok(), "a UDP checksum of 0 is none");
    let mut padded = frame;
    padded.extend([0xaa; 30]);
    assert_eq!(open(&padded).unwrap().1.len(), 300);
}

fn any_message() -> impl Strategy<Value = Message> {
    let addresses = any::<[u32; 4]>();
    let texts = ("[ -~]{0,63}", "[ -~]{0,127}");
    let options =
        proptest::collection::vec((1..255_u8, proptest::collection::vec(any::<u8>(), 0..300)), 0..12);
    (any::<(u32, u16, bool, bool, u8)>(), addresses, texts, options).prop_map(
        |((xid, seconds, broadcast, is_request, hops), addresses, (server_name, boot_file), options)| {
            let operation = if is_request { Operation::Request } else { Operation::Reply };
            let mut message = Message { hops, seconds, broadcast, ..Message::new(operation, xid, MAC) };
            [message.ciaddr, message.yiaddr, message.siaddr, message.giaddr] = addresses.map(Ipv4Addr::from);
            (message.server_name, message.boot_file) = (server_name, boot_file);
            for (code, value) in options.into_iter().filter(|(code, _)| *code != code::OVERLOAD) {
                message.options.set(code, value);
            }
            message
        },
    )
}

proptest! {
    #[test]
    fn any_message_is_read_as_it_was_written(message in any_message()) {
        let (bytes, left_out) = message.encode(u16::MAX);
        prop_assert!(left_out.is_empty());
        // What is longer than anybody sends is not read.
        prop_assume!(bytes.len() <= MESSAGE_MAX);
        prop_assert_eq!(Message::decode(&bytes).unwrap(), message);
    }

    #[test]
    fn a_message_that_had_to_be_cut_holds_the_rest_unchanged(message in any_message(), datagram in 576..1501_u16) {
        let (bytes, left_out) = message.encode(datagram);
        prop_assert!(bytes.len() + 28 <= usize::from(datagram));
        let mut rest = message;
        for code in left_out {
            rest.options.remove(code);
        }
        let read = Message::decode(&bytes).unwrap();
        let sorted = |message: &Message| {
            let mut options: Vec<_> = message.options.iter().map(|(code, value)| (code, value.to_vec())).collect();
            options.sort();
            options
        };
        prop_assert_eq!(sorted(&read), sorted(&rest));
        prop_assert_eq!(&read.boot_file, &rest.boot_file);
    }

    #[test]
    fn reading_anything_ends_without_a_crash(
        mut head in proptest::collection::vec(any::<u8>(), 240),
        options in proptest::collection::vec(prop_oneof![3 => 0..8_u8, 2 => Just(52), 1 => any::<u8>()], 0..200),
    ) {
        head[..3].copy_from_slice(&[1, 1, 6]);
        head[28] = 2;
        head[236..].copy_from_slice(&[99, 130, 83, 99]);
        let _ = Message::decode(&[head, options].concat()).map(|message| message.kind());
    }

    #[test]
    fn opening_any_frame_ends_without_a_crash(
        mut frame in proptest::collection::vec(any::<u8>(), 0..400),
        length in 0..60_u8,
    ) {
        if let Some(head) = frame.get_mut(12..24) {
            head.copy_from_slice(&[8, 0, 0x45, 0, 0, length, 0, 0, 0, 0, 64, 17]);
        }
        let _ = open(&frame);
        let _ = routes::decode(&frame);
    }
}
