//! Requests without end: nothing accumulates, and who sends too much is slowed down.

use super::*;

#[test]
fn the_same_request_for_ever_accumulates_nothing() {
    let mut rig = Rig::running();
    let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let (event, memory) = (event.as_raw_fd(), rig.memory.as_raw_fd());
    let table = [1, 0, REGION_SIZE, 0x7000_0000, 0];
    for _ in 0..500 {
        for request in [SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR] {
            rig.try_files(request, &[1], &[event]).unwrap();
        }
        rig.try_files(SET_MEM_TABLE, &table, &[memory]).unwrap();
        rig.attempt(SET_VRING_NUM, &[state(2, 1024)]).unwrap();
    }
    settle(&rig.disposal);
    // The test's own, and one for each of the three; the test's own, and one for the region.
    assert_eq!(open_copies(event, "eventfd-id"), 4);
    assert_eq!(open_copies(memory, "ino:"), 2);
    assert_eq!(mappings(&rig.memory), 1);
}

/// How many descriptors of this process show the same line in /proc as `descriptor` does.
fn open_copies(descriptor: RawFd, line: &str) -> usize {
    let about = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).unwrap_or_default();
        text.lines().find(|found| found.starts_with(line)).map(str::to_owned)
    };
    let wanted = about(&descriptor.to_string()).expect("the kernel tells it");
    let names = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| about(name.to_str().unwrap()).as_ref() == Some(&wanted)).count()
}

#[test]
fn replies_that_nobody_reads_end_the_session() {
    let mut rig = Rig::negotiated();
    let end = loop {
        rig.send(SET_OWNER, NEED_REPLY, &[], &[]);
        if let Err(end) = rig.pump() {
            break end;
        }
        assert!(rig.session.served() < 100_000);
    };
    assert!(matches!(end, SessionEnd::Unread(_)), "{end}");
}

#[test]
fn a_frontend_that_sends_without_end_is_slowed_down() {
    let mut rig = Rig::negotiated();
    let spend = |rig: &mut Rig| {
        while !rig.allowance.is_spent() {
            rig.send(SET_VRING_CALL, 1, &[0x100], &[]);
            rig.pump().unwrap();
            assert!(rig.session.served() < 100_000);
        }
        rig.session.served()
    };
    // The next portion may come just then, but not each time.
    let served = (0..5).find_map(|_| {
        let served = spend(&mut rig);
        rig.send(SET_VRING_CALL, 1, &[0x100], &[]);
        rig.pump().unwrap();
        (rig.session.served() == served).then_some(served)
    });
    let served = served.expect("nobody is slowed down");
    std::thread::sleep(Duration::from_millis(110));
    rig.pump().unwrap();
    assert_eq!(rig.session.served(), served + 1);
}

#[test]
fn a_frontend_that_comes_back_may_not_send_more_than_one_that_stayed() {
    let mut rig = Rig::negotiated();
    while !rig.allowance.is_spent() {
        rig.allowance.spend();
    }
    let Rig { allowance, session, mut bay, .. } = rig;
    session.close(&mut bay);
    let mut rig = Rig { allowance, ..Rig::new() };
    rig.send(SET_OWNER, 1, &[], &[]);
    rig.pump().unwrap();
    assert_eq!(rig.session.served(), 0);
}
