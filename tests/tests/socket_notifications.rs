//! How many kicks and calls frames cost, in each way of waiting: both sides say when they want none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::features::{EVENT_IDX, MODERN};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::{network, pair};
use viaduct_tests::stream::{frame, mac};
use vmm_sys_util::eventfd::EventFd;

const FRAMES: u64 = 1000;
const BATCH: u64 = 50;

/// How often an eventfd was written to since the last look: the switch never reads a kick.
fn count(event: &EventFd) -> u64 {
    event.read().unwrap_or(0)
}

/// Kicks and calls of the sender's ring, then calls of the receiver's, since the last look.
#[derive(Debug)]
struct Notifications {
    kicks: u64,
    sender_calls: u64,
    receiver_calls: u64,
}

fn notifications(a: &Nic, b: &Nic) -> Notifications {
    let sent = &a.transmit[0].ring;
    let receiver_calls = count(&b.receive[0].ring.call);
    Notifications { kicks: count(&sent.kick), sender_calls: count(&sent.call), receiver_calls }
}

/// Sends in batches as fast as they are carried; the receiver looks by itself.
fn stream(a: &mut Nic, b: &mut Nic) {
    for number in 0..FRAMES {
        a.transmit[0].put(NetHeader::default(), &frame(mac(2), mac(1), number, 60));
        if number % BATCH == BATCH - 1 {
            a.transmit[0].ring.publish();
            (0..BATCH).for_each(|_| drop(b.expect_frame("a batch")));
        }
    }
}

/// Both drivers poll: neither has a use for calls.
fn polled(features: u64) -> NicOptions {
    NicOptions { features, polled: true, ..NicOptions::default() }
}

fn each_way(mut test: impl FnMut(&str, &mut [Nic; 2], bool)) {
    for polling in ["busy", "adaptive", "interrupt"] {
        for event_index in [true, false] {
            let daemon =
                Daemon::start_with(&format!("polling = \"{polling}\""), &network("lab", &["a", "b"], ""));
            let features = MODERN | if event_index { EVENT_IDX } else { 0 };
            let mut cards = pair(&daemon, &polled(features));
            if !event_index {
                cards.iter().for_each(|card| card.transmit[0].ring.refuse_calls());
                cards.iter().for_each(|card| card.receive[0].ring.refuse_calls());
            }
            test(polling, &mut cards, event_index);
        }
    }
}

#[test]
fn a_stream_between_drivers_that_poll_costs_next_to_no_calls_and_a_busy_switch_is_never_kicked() {
    each_way(|polling, [a, b], event_index| {
        stream(a, b);
        notifications(a, b);
        stream(a, b);
        let found = notifications(a, b);
        println!("{polling}, event index {event_index}: {found:?} for {FRAMES} frames");
        // An event index that is left where it is asks for a call each time that the index comes round: 65536.
        assert!(found.sender_calls <= 1 && found.receiver_calls <= 1, "{polling}: {found:?}");
        let batches = FRAMES / BATCH;
        let most = if polling == "busy" { 0 } else { batches };
        assert!(found.kicks <= most, "{polling}, event index {event_index}: {found:?}");
    });
}

#[test]
fn a_lone_frame_costs_one_kick_where_the_switch_sleeps_and_none_where_it_is_busy() {
    const LONE: u64 = 20;
    each_way(|polling, [a, b], event_index| {
        // An event index that was never written asks for a kick at the first frame.
        a.send(&frame(mac(2), mac(1), 0, 60));
        b.expect_frame("the first frame");
        // A worker that finds its processor taken may arm later than the next frame comes, and never sooner.
        let (least, most) = if polling == "busy" { (0, 0) } else { (LONE / 2, LONE) };
        let mut seen = Vec::new();
        let has_slept = (0..5).any(|_| {
            notifications(a, b);
            for number in 0..LONE {
                // Too seldom to be foreseen.
                std::thread::sleep(Duration::from_millis(15));
                a.send(&frame(mac(2), mac(1), number, 60));
                b.expect_frame("a lone frame");
            }
            let found = notifications(a, b);
            println!("{polling}, event index {event_index}: {found:?} for {LONE} lone frames");
            assert!(found.kicks <= most, "{polling}, event index {event_index}: {found:?}");
            seen.push(found.kicks);
            found.kicks >= least
        });
        assert!(has_slept, "{polling}, event index {event_index}: {seen:?} kicks for {LONE} lone frames");
    });
}

#[test]
fn a_driver_that_waits_is_called_once_for_each_wait_at_most() {
    for polling in ["busy", "adaptive", "interrupt"] {
        let daemon =
            Daemon::start_with(&format!("polling = \"{polling}\""), &network("lab", &["a", "b"], ""));
        let [a, b] =
            &mut pair(&daemon, &NicOptions { features: MODERN | EVENT_IDX, ..NicOptions::default() });
        notifications(a, b);
        let mut waits = 0;
        for number in 0..FRAMES / BATCH {
            (0..BATCH)
                .for_each(|_| a.transmit[0].put(NetHeader::default(), &frame(mac(2), mac(1), number, 60)));
            a.transmit[0].ring.publish();
            let mut arrived = 0;
            while arrived < BATCH {
                match b.take() {
                    Some(_) => arrived += 1,
                    None => {
                        waits += 1;
                        assert!(
                            b.receive[0].ring.wait_used(Duration::from_secs(5)),
                            "{arrived} of {BATCH} came"
                        );
                    }
                }
            }
        }
        // What the waits themselves did not read.
        let left = count(&b.receive[0].ring.call);
        println!("{polling}: {waits} waits, {left} calls that were not waited for");
        assert!(left <= waits + 1, "{polling}: {left} calls beyond {waits} waits");
    }
}
