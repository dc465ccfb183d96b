//! What is a message of the right form, and what is not.

use super::*;

fn header(request: FrontendReq, flags: u32, size: u32) -> Header {
    Header { code: request.into(), flags, size }
}

fn message(request: FrontendReq, body: &[u8]) -> Message {
    let header = header(request, 1, u32::try_from(body.len()).unwrap());
    Message { header, rule: header.check().unwrap(), body: body.to_vec(), files: Vec::new() }
}

#[test]
fn a_header_survives_the_wire() {
    let sent = header(FrontendReq::SET_VRING_ADDR, 9, 40);
    assert_eq!(Header::from_bytes(&sent.to_bytes()), sent);
    assert_eq!(sent.reply(8), Header { code: 9, flags: 5, size: 8 });
}

#[test]
fn version_flags_and_size_are_checked_before_the_body_is_read() {
    let check = |flags, size| header(FrontendReq::SET_FEATURES, flags, size).check();
    assert!(check(1, 8).unwrap().is_some());
    assert!(check(9, 8).unwrap().is_some());
    assert!(matches!(check(0, 8), Err(FormError::Version { version: 0, .. })));
    assert!(matches!(check(2, 8), Err(FormError::Version { version: 2, .. })));
    assert!(matches!(check(5, 8), Err(FormError::Flags { flags: 5, .. })));
    assert!(matches!(check(0x11, 8), Err(FormError::Flags { .. })));
    assert!(matches!(check(1, 7), Err(FormError::Size { .. })));
    assert!(matches!(check(1, u32::MAX), Err(FormError::Size { .. })));
    assert!(matches!(
        header(FrontendReq::SET_MEM_TABLE, 1, 8 + 33 * 32).check(),
        Err(FormError::Size { .. })
    ));
}

#[test]
fn an_unknown_request_is_read_to_be_refused_and_has_a_name() {
    assert_eq!(Header { code: 999, flags: 1, size: 0 }.check(), Ok(None));
    assert!(Header { code: 999, flags: 1, size: 5000 }.check().is_err());
    assert_eq!(request_name(999), "request 999");
    assert_eq!(request_name(24), "GET_CONFIG");
}

#[test]
fn ring_indices_count_in_their_full_width() {
    let index = |index: u32| message(FrontendReq::SET_VRING_NUM, &[index.to_ne_bytes(), [0; 4]].concat());
    assert!(index(3).check(4).is_ok());
    for bad in [4, 256, 0x8000_0000, u32::MAX] {
        assert!(matches!(index(bad).check(4), Err(FormError::NoSuchRing { .. })), "{bad}");
    }
    let kick = |value: u64| message(FrontendReq::SET_VRING_KICK, &value.to_ne_bytes());
    assert!(kick(0x103).check(4).is_ok());
    for bad in [0x104, 0x203, 0x1_0000_0103, 1 << 63] {
        assert!(matches!(kick(bad).check(4), Err(FormError::NoSuchRing { .. })), "{bad:#x}");
    }
    assert!(matches!(kick(3).check(4), Err(FormError::SignalFiles { said: "one file", files: 0, .. })));
}

#[test]
fn files_are_counted() {
    let null = || std::fs::File::open("/dev/null").unwrap().into();
    let file = || PeerFile::new(null(), crate::vhost_user::Disposal::default());
    let mut owner = message(FrontendReq::SET_OWNER, &[]);
    owner.files.push(file());
    assert!(matches!(owner.check(2), Err(FormError::Files { files: 1, most: 0, .. })));
    let mut kick = message(FrontendReq::SET_VRING_KICK, &0u64.to_ne_bytes());
    kick.files.push(file());
    assert!(kick.check(2).is_ok());
    kick.files.push(file());
    assert!(matches!(kick.check(2), Err(FormError::Files { files: 2, .. })));
    let mut polled = message(FrontendReq::SET_VRING_KICK, &0x100u64.to_ne_bytes());
    polled.files.push(file());
    assert!(matches!(polled.check(2), Err(FormError::SignalFiles { said: "no file", .. })));
}

#[test]
fn every_request_has_one_row() {
    let mut codes: Vec<u32> = RULES.iter().map(|rule| rule.request.into()).collect();
    codes.dedup();
    assert_eq!(codes.len(), RULES.len());
    assert!(codes.is_sorted());
}
