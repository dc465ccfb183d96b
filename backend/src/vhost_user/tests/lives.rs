//! Rings that break and are reset, memory that goes: what is given back, when, and by whom.

use super::*;

#[test]
fn a_ring_that_waits_or_is_broken_may_be_set_up_anew_without_being_stopped() {
    let mut rig = Rig::running();
    rig.attempt(REM_MEM_REG, &region(0)).unwrap();
    rig.session.ring_broken(1, JUMP);
    for ring in [0, 1] {
        rig.attempt(SET_VRING_NUM, &[state(ring, 64)]).unwrap();
        rig.attempt(SET_VRING_BASE, &[state(ring, 3)]).unwrap();
    }
}

const JUMP: RingError = RingError::IndexJump { found: 9, consumed: 0, size: 4 };

#[test]
fn a_broken_ring_stays_down_until_it_is_reset() {
    let mut rig = Rig::running();
    rig.session.ring_broken(1, JUMP);
    assert_eq!(rig.session.device().broken(), Some((1, JUMP)));
    rig.tell(SET_VRING_CALL, &[0x100]);
    assert_eq!(rig.attached(), [0], "the other ring runs on");
    rig.base(1);
    assert_eq!(rig.session.device().broken(), None);
    rig.tell(SET_VRING_KICK, &[0x101]);
    assert_eq!(rig.attached(), [0, 1]);
}

#[test]
fn the_breaking_of_a_rings_past_life_is_not_held_against_it() {
    let mut rig = Rig::running();
    let event = DataplaneEvent::RingBroken { port: PortIndex::new(7).unwrap(), ring: 1, error: JUMP };
    rig.mock.0.lock().unwrap().events.push(event);
    rig.base(1);
    rig.tell(SET_VRING_KICK, &[0x101]);
    assert_eq!(rig.attached(), [0, 1]);
    assert!(rig.bay.take_broken().is_empty());
}

#[test]
fn memory_that_shrank_takes_the_port_down_until_a_reset() {
    let mut rig = Rig::running();
    rig.session.memory_gone(&mut rig.bay);
    assert!(rig.attached().is_empty());
    rig.tell(SET_VRING_CALL, &[0x100]);
    assert!(rig.attached().is_empty());
    assert_eq!(rig.session.device().broken(), Some((0, RingError::MemoryGone)));
    rig.tell(SET_STATUS, &[0]);
    assert_eq!(rig.session.device().broken(), None);
}

#[test]
fn a_ring_that_is_not_on_the_data_path_is_set_up_without_disturbing_those_that_are() {
    let mut rig = Rig::running();
    let attaches = |rig: &Rig| rig.mock.0.lock().unwrap().attaches;
    let before = attaches(&rig);
    for ring in [2, 3] {
        rig.signal(SET_VRING_CALL, ring).unwrap();
        rig.signal(SET_VRING_ERR, ring).unwrap();
        rig.tell(SET_VRING_ENABLE, &[state(ring, 1)]);
        rig.tell(SET_VRING_NUM, &[state(ring, 256)]);
        rig.tell(SET_VRING_BASE, &[state(ring, 0)]);
        rig.tell(SET_VRING_ADDR, &addresses(ring));
        rig.base(ring);
    }
    assert_eq!(attaches(&rig), before, "nothing of it concerns the rings that run");
    rig.signal(SET_VRING_KICK, 2).unwrap();
    assert_eq!((attaches(&rig), rig.attached()), (before + 1, vec![0, 1, 2]));
    rig.signal(SET_VRING_CALL, 2).unwrap();
    assert_eq!(attaches(&rig), before + 2, "from now on it does");
}

#[test]
fn a_broken_ring_is_taken_off_the_data_path_before_it_is_asked_for_its_position() {
    let mut rig = Rig::running();
    let before = rig.session.device().rings()[1].base;
    rig.session.ring_broken(1, JUMP);
    assert_eq!(rig.base(1), u64::from(before) + 10);
}

#[test]
fn memory_that_was_replaced_is_freed_by_another_thread() {
    let mut rig = Rig::running();
    let file = rig.memory.as_raw_fd();
    let table = [1, 0, REGION_SIZE, 0x7000_0000, 0];
    let log = |rig: &mut Rig| {
        rig.send(SET_LOG_BASE, 1, &[1 << 10, 4096], &[file]);
        rig.pump().unwrap();
        rig.reply().unwrap();
    };
    let gate = block_reaper(&rig.disposal);
    log(&mut rig);
    log(&mut rig);
    rig.try_files(SET_MEM_TABLE, &table, &[file]).unwrap();
    rig.attempt(REM_MEM_REG, &region(0)).unwrap();
    assert_eq!(mappings(&rig.memory), 4, "a log in use, and one log and two regions that wait");
    drop(gate);
    settle(&rig.disposal);
    assert_eq!(mappings(&rig.memory), 1);
}

#[test]
fn a_guest_that_is_gone_is_freed_by_another_thread() {
    let rig = Rig::running();
    let gate = block_reaper(&rig.disposal);
    let Rig { mut peer, session, mut bay, memory, disposal, .. } = rig;
    peer.set_nonblocking(false).unwrap();
    session.close(&mut bay);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the frontend hears of it at once");
    assert_eq!(mappings(&memory), 1);
    drop(gate);
    settle(&disposal);
    assert_eq!(mappings(&memory), 0);
}

#[test]
fn memory_requests_wait_while_too_much_of_the_past_is_not_freed() {
    let mut rig = Rig::running();
    let gate = block_reaper(&rig.disposal);
    rig.disposal.free(600, ());
    rig.send(SET_OWNER, 1, &[], &[]);
    let served = rig.session.served();
    rig.pump().unwrap();
    assert_eq!(rig.session.served(), served);
    drop(gate);
    settle(&rig.disposal);
    rig.pump().unwrap();
    assert_eq!(rig.session.served(), served + 1);
}

#[test]
fn files_that_cannot_be_closed_stop_the_port_that_they_came_to() {
    let mut rig = Rig::negotiated();
    let _gate = block_closer(&rig.disposal);
    let (pipe, _other) = io::pipe().unwrap();
    let sent = 100;
    for _ in 0..sent {
        rig.send(SET_VRING_CALL, NEED_REPLY, &[0], &[pipe.as_raw_fd()]);
    }
    let before = rig.session.served();
    for _ in 0..sent {
        rig.pump().unwrap();
    }
    // What blocks, and 63 pipes.
    assert_eq!(rig.session.served() - before, 63);
}

#[test]
fn a_frontend_that_left_is_noticed_before_its_last_words_are_read() {
    let rig = Rig::negotiated();
    assert!(!rig.session.has_hung_up());
    rig.send(SET_OWNER, 1, &[], &[]);
    rig.peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(!rig.session.has_hung_up(), "it may still read");
    let Rig { peer, session, .. } = rig;
    drop(peer);
    assert!(session.has_hung_up());
}
