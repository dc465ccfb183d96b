//! Packet sockets.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use viaduct_switch::DropReason;

use super::lab::{Lab, at, port, stay_on_one_processor, wait_until};
use super::talk::{datagrams_come_back, receive, stream_both_ways};
use crate::dataplane::{Datapath, DataplaneEvent};
use crate::device::{DeviceError, DeviceFault, open};

#[test]
fn a_stream_of_super_frames_arrives_as_it_was_sent_both_ways() {
    const BYTES: usize = 64 << 20;
    let mut lab = Lab::new(2);
    lab.attach_all();
    stream_both_ways(&lab, BYTES);
    let sent = lab.dataplane.switch().counters().port(port(0)).snapshot().sent;
    assert!(sent.bytes / sent.frames > 10_000, "super-frames arrive whole: {sent:?}");
}

#[test]
fn datagrams_of_all_sizes_come_back() {
    let mut lab = Lab::new(2);
    lab.attach_all();
    datagrams_come_back(&lab, (0..1600).chain((1600..=65_507).step_by(997)));
}

#[test]
fn an_interface_that_goes_is_reported_and_the_others_carry_on() {
    let mut lab = Lab::new(3);
    lab.attach_all();
    let sockets: Vec<_> =
        (0..3).map(|host| lab.hosts[host].within(|| UdpSocket::bind(at(host, 5000)).unwrap())).collect();
    let reach = |from: usize, to: usize| {
        sockets[to].set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        sockets[from].send_to(b"hello", at(to, 5000)).unwrap();
        let (len, _) = receive(&sockets[to], &mut [0; 100]).unwrap();
        assert_eq!(len, 5);
    };
    let failed = |lab: &mut Lab| {
        let mut events = Vec::new();
        wait_until("the failure is told", || {
            events.extend(lab.dataplane.take_events());
            !events.is_empty()
        });
        for event in events {
            let DataplaneEvent::DeviceFailed { port: failed, error, .. } = event else { panic!("{event:?}") };
            assert_eq!((failed, error), (port(2), DeviceFault::Down));
        }
    };
    for (set_down, set_up) in [("set s2 down", "set s2 up"), ("del s2", "")] {
        reach(0, 2);
        lab.wires.ip(&format!("link {set_down}"));
        failed(&mut lab);
        reach(0, 1);
        reach(1, 0);
        let error = open(&lab.request(2)).err().unwrap();
        lab.dataplane.detach(port(2));
        match set_up {
            "" => {
                assert!(matches!(error, DeviceError::Missing { .. }), "{error}");
                lab.wire(2);
                lab.hosts[2].ip("addr add 10.0.0.3/24 dev h2");
                // It has another Ethernet address now.
                lab.hosts[0].ip("neigh flush all");
            }
            _ => {
                assert!(matches!(error, DeviceError::Down { .. }), "{error}");
                lab.wires.ip(&format!("link {set_up}"));
            }
        }
        let device = lab.open(2);
        lab.dataplane.attach_device(port(2), device);
        reach(0, 2);
    }
    assert_eq!(lab.drops(2, DropReason::DeviceRefused), 0);
}

#[test]
fn several_queues_share_the_flows_and_none_comes_twice() {
    let mut lab = Lab::new(2);
    for host in 0..2 {
        let device = open(&crate::device::DeviceRequest { queues: Some(3), ..lab.request(host) }).unwrap();
        assert_eq!(device.queues.len(), 3);
        lab.dataplane.attach_device(port(host), device);
    }
    let b = lab.hosts[1].within(|| UdpSocket::bind(at(1, 5000)).unwrap());
    b.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for flow in 0..50 {
        let a = lab.hosts[0].within(|| UdpSocket::bind(at(0, 6000 + flow)).unwrap());
        a.send_to(&flow.to_be_bytes(), at(1, 5000)).unwrap();
        let mut room = [0; 10];
        let (len, from) = receive(&b, &mut room).unwrap();
        assert_eq!((&room[..len], from), (&flow.to_be_bytes()[..], at(0, 6000 + flow)));
    }
    b.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(receive(&b, &mut [0; 10]).is_err(), "a frame came twice");
}

#[test]
fn frames_come_in_order_and_the_kernel_finds_their_checksums_right() {
    const FRAMES: u64 = 20_000;
    // A socket's room is for 256 such datagrams, of which the kernel gives back up to a quarter late.
    const WINDOW: u64 = 100;
    let mut lab = Lab::new(2);
    lab.attach_all();
    let a = lab.hosts[0].within(|| UdpSocket::bind(at(0, 5000)).unwrap());
    let b = lab.hosts[1].within(|| UdpSocket::bind(at(1, 5000)).unwrap());
    a.connect(at(1, 5000)).unwrap();
    b.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let received = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            stay_on_one_processor();
            for number in 0..FRAMES {
                while number >= received.load(Ordering::Relaxed).saturating_add(WINDOW) {
                    thread::sleep(Duration::from_micros(50));
                }
                a.send(&number.to_be_bytes()).unwrap();
            }
        });
        let mut room = [0; 16];
        for number in 0..FRAMES {
            let got = receive(&b, &mut room).map(|(len, _)| len);
            let is_right = got.as_ref().is_ok_and(|got| room[..*got] == number.to_be_bytes());
            // The sender must end, too, if this panics.
            received.store(if is_right { number + 1 } else { u64::MAX }, Ordering::Relaxed);
            assert!(is_right, "{number}: {got:?} {room:?}: {:?}", lab.all_drops());
        }
    });
}

#[test]
fn a_worker_whose_devices_have_nothing_sleeps() {
    let mut lab = Lab::new(2);
    lab.attach_all();
    let a = lab.hosts[0].within(|| UdpSocket::bind(at(0, 5000)).unwrap());
    a.send_to(b"hello", at(1, 5000)).unwrap();
    thread::sleep(Duration::from_millis(100));
    let before = lab.dataplane.workers()[0];
    thread::sleep(Duration::from_millis(500));
    let after = lab.dataplane.workers()[0];
    assert_eq!(after.spins, before.spins, "it polls");
    // The neighbours' tables of the hosts may ask something now and then.
    assert!(after.sleeps - before.sleeps < 20, "{before:?} {after:?}");
}
