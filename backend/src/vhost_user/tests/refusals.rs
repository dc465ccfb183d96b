//! What is refused, and what of it ends the session.

use super::*;
use crate::vhost_user::refusal::DeviceError;

#[test]
fn what_cannot_be_is_refused_and_the_session_goes_on() {
    let mut rig = Rig::running();
    let refused: &[(FrontendReq, &[u64], &str)] = &[
        (SET_FEATURES, &[1 << 33], "0x200000000 were not offered"),
        (SET_PROTOCOL_FEATURES, &[1 << 12], "0x1000 were not offered"),
        (SET_VRING_NUM, &[state(2, 0)], "0 entries"),
        (SET_VRING_NUM, &[state(2, 3)], "3 entries"),
        (SET_VRING_NUM, &[state(2, 65536)], "65536 entries"),
        (SET_VRING_NUM, &[state(0, 128)], "ring 0 runs; stop it with GET_VRING_BASE before"),
        (SET_VRING_BASE, &[state(1, 9)], "ring 1 runs; stop it with GET_VRING_BASE before"),
        (SET_VRING_BASE, &[state(2, 65536)], "ring 2 would start at 65536; a split ring's index has 16 bits"),
        (SET_VRING_ENABLE, &[state(2, 2)], "ring 2 cannot be enabled with 2; 0 and 1 are legal"),
        (NET_SET_MTU, &[67], "an MTU of 67 bytes; 68 to 65535 are legal"),
        (NET_SET_MTU, &[65536], "an MTU of 65536 bytes; 68 to 65535 are legal"),
        (NET_SET_MTU, &[1501], "the port has 1500"),
        (SET_STATUS, &[256], "8 bits"),
        (SEND_RARP, &[0], "no station's address"),
        (SEND_RARP, &[1], "no station's address"),
        (SET_VRING_ENDIAN, &[0], "it is not supported"),
    ];
    for (request, body, reason) in refused {
        let error = rig.attempt(*request, body).unwrap_err();
        assert!(error.contains(reason), "{request:?} {body:x?}: {error}");
    }
    assert_eq!(rig.attached(), [0, 1]);
    assert_eq!(rig.ask(GET_QUEUE_NUM, &[]), 2);
}

/// Messages are checked against the number of rings before they get there, so that none comes from a frontend.
#[test]
fn a_device_has_no_rings_but_its_own() {
    let rig = Rig::running();
    let mut device = rig.session.device();
    let refused = [device.set_size(4, 256), device.set_base(4, 0), device.enable(4, 1)];
    for refused in refused {
        assert!(matches!(refused, Err(DeviceError::NoSuchRing(4))), "{refused:?}");
    }
}

#[test]
fn a_refusal_that_nobody_would_hear_of_ends_the_session() {
    let mut rig = Rig::running();
    rig.send(SET_VRING_NUM, 1, &[state(2, 3)], &[]);
    let end = rig.pump().unwrap_err();
    assert!(matches!(&end, SessionEnd::Refused { request, .. } if request == "SET_VRING_NUM"), "{end}");
    let Rig { session, mut bay, mock, .. } = rig;
    session.close(&mut bay);
    assert!(mock.0.lock().unwrap().attached.is_empty());
    // Without REPLY_ACK nobody is told, even if asked.
    let mut rig = Rig::new();
    rig.send(SET_VRING_NUM, NEED_REPLY, &[state(2, 3)], &[]);
    assert!(matches!(rig.pump(), Err(SessionEnd::Refused { .. })));
}

#[test]
fn misaligned_rings_are_no_rings() {
    for (word, offset) in [(1, 8), (2, 2), (3, 1)] {
        let mut rig = Rig::running();
        let mut body = addresses(2);
        body[0] = 2;
        body[word] += offset;
        rig.send(SET_VRING_ADDR, 1, &body, &[]);
        let end = rig.pump().unwrap_err();
        assert!(matches!(end, SessionEnd::Malformed { .. } | SessionEnd::Refused { .. }), "{end}");
    }
}

#[test]
fn requests_whose_feature_was_not_negotiated_are_refused() {
    for request in
        [GET_QUEUE_NUM, SEND_RARP, NET_SET_MTU, RESET_DEVICE, GET_MAX_MEM_SLOTS, SET_STATUS, GET_STATUS]
    {
        let mut rig = Rig::new();
        let body: &[u64] =
            if matches!(request, SEND_RARP | NET_SET_MTU | SET_STATUS) { &[1500] } else { &[] };
        rig.send(request, 1, body, &[]);
        let end = rig.pump().unwrap_err().to_string();
        assert!(end.contains("was not negotiated"), "{request:?}: {end}");
    }
    let mut rig = Rig::new();
    rig.send(SET_VRING_ENABLE, 1, &[state(0, 1)], &[]);
    assert!(rig.pump().unwrap_err().to_string().contains("before protocol features"));
    let mut rig = Rig::negotiated();
    rig.send_raw(1000, NEED_REPLY, &[1, 2, 3], &[]);
    assert_eq!(rig.pump().unwrap()[0].request, "request 1000");
    assert_eq!(rig.reply().unwrap().1, 1);
}

#[test]
fn files_of_the_wrong_kind_are_refused() {
    let mut rig = Rig::running();
    let (pipe, _other) = io::pipe().unwrap();
    for request in [SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, SET_LOG_FD] {
        let body: &[u64] = if request == SET_LOG_FD { &[] } else { &[2] };
        let error = rig.try_files(request, body, &[pipe.as_raw_fd()]).unwrap_err();
        assert!(error.contains("not an eventfd but pipe:"), "{error}");
    }
    let error = rig.try_files(ADD_MEM_REG, &region(1), &[pipe.as_raw_fd()]).unwrap_err();
    assert!(error.contains("not guest memory"), "{error}");
    let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    rig.try_files(SET_LOG_FD, &[], &[event.as_raw_fd()]).unwrap();
    assert_eq!(rig.attached(), [0, 1]);
}

#[test]
fn malformed_messages_end_the_session() {
    let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let file = event.as_raw_fd();
    let bad: &[(u32, u32, &[u64], &[RawFd])] = &[
        (SET_OWNER.into(), 1, &[], &[file]),
        (SET_OWNER.into(), 0, &[], &[]),
        (SET_OWNER.into(), 5, &[], &[]),
        (SET_OWNER.into(), 0x8000_0001, &[], &[]),
        (SET_OWNER.into(), 1, &[1], &[]),
        (SET_VRING_NUM.into(), 1, &[state(4, 256)], &[]),
        (SET_VRING_NUM.into(), 1, &[state(0x8000_0000, 256)], &[]),
        (GET_VRING_BASE.into(), 1, &[state(0x100, 0)], &[]),
        (SET_VRING_KICK.into(), 1, &[0x200], &[file]),
        (SET_VRING_KICK.into(), 1, &[1 << 32], &[file]),
        (SET_VRING_KICK.into(), 1, &[4], &[file]),
        (SET_VRING_KICK.into(), 1, &[0], &[]),
        (SET_VRING_KICK.into(), 1, &[0x100], &[file]),
        (SET_VRING_KICK.into(), 1, &[0], &[file, file]),
        (SET_MEM_TABLE.into(), 1, &[1, 0, 4096, 0, 0], &[]),
        (SET_MEM_TABLE.into(), 1, &[2, 0, 4096, 0, 0], &[file]),
        (ADD_MEM_REG.into(), 1, &[0, 0, 4096, 0, 0], &[file, file]),
    ];
    for (code, flags, body, files) in bad {
        let mut rig = Rig::running();
        rig.send_raw(*code, *flags, body, files);
        let end = rig.pump().expect_err(&format!("{code} {flags} {body:x?}"));
        assert!(!end.is_goodbye(), "{end}");
        let Rig { session, mut bay, mock, .. } = rig;
        session.close(&mut bay);
        assert!(mock.0.lock().unwrap().attached.is_empty());
    }
}

#[test]
fn urgent_bytes_are_bytes_like_others() {
    let mut rig = Rig::negotiated();
    let served = rig.session.served();
    let header = Header { code: SET_OWNER.into(), flags: 1, size: 0 }.to_bytes();
    for byte in header {
        rustix::net::send(&rig.peer, &[byte], rustix::net::SendFlags::OOB).unwrap();
    }
    rig.pump().unwrap();
    assert_eq!(rig.session.served(), served + 1);
}
