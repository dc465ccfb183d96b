//! TAP devices, with Linux behind them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use super::lab::{Lab, at, port, wait_until};
use crate::dataplane::{Datapath, DataplaneEvent};
use crate::device::{Device, DeviceFault, DeviceKind, DeviceRequest, open};

/// A TAP device in the namespace of the host, which has the address of host 2 on it.
fn tap(lab: &Lab, name: &str, queues: u16) -> Device {
    let request = DeviceRequest {
        kind: DeviceKind::Tap,
        interface: name.to_owned(),
        namespace: Some(lab.hosts[1].path()),
        queues: Some(queues),
        gro: true,
        mtu: Some(1400),
    };
    open(&request).unwrap()
}

/// A host at a wire, and one behind a TAP device.
fn lab(queues: u16) -> Lab {
    let mut lab = Lab::new(2);
    let wire = lab.open(0);
    lab.dataplane.attach_device(port(0), wire);
    lab.hosts[1].ip("addr del 10.0.0.2/24 dev h1");
    let device = tap(&lab, "tap7", queues);
    assert_eq!((device.mtu, device.queues.len()), (1400, usize::from(queues)));
    lab.dataplane.attach_device(port(1), device);
    lab.hosts[1].ip("addr add 10.0.0.2/24 dev tap7");
    lab
}

#[test]
fn a_stream_of_super_frames_passes_both_ways_by_one_queue_and_by_several() {
    const BYTES: usize = 16 << 20;
    for queues in [1, 3] {
        let lab = lab(queues);
        let listener = lab.hosts[1].within(|| TcpListener::bind(at(1, 5000)).unwrap());
        let mut stream = lab.hosts[0].within(|| TcpStream::connect(at(1, 5000)).unwrap());
        let (mut other, _) = listener.accept().unwrap();
        let data: Vec<u8> = (0..BYTES).map(|at| u8::try_from(at * 13 % 251).unwrap()).collect();
        for _ in 0..2 {
            thread::scope(|scope| {
                scope.spawn(|| other.write_all(&data).unwrap());
                let mut room = vec![0; BYTES];
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.read_exact(&mut room).unwrap_or_else(|error| panic!("{error}: {:?}", lab.all_drops()));
                assert!(room == data, "other bytes");
            });
            std::mem::swap(&mut stream, &mut other);
        }
        for number in 0..2 {
            let sent = lab.dataplane.switch().counters().port(port(number)).snapshot().sent;
            assert!(sent.frames < 2 * BYTES as u64 / 1400, "super-frames pass whole: {sent:?}");
        }
    }
}

#[test]
fn datagrams_come_back_and_a_device_that_is_removed_is_reported() {
    let mut lab = lab(1);
    let a = lab.hosts[0].within(|| UdpSocket::bind(at(0, 5000)).unwrap());
    let b = lab.hosts[1].within(|| UdpSocket::bind(at(1, 5000)).unwrap());
    let mut room = vec![0; 65_536];
    for socket in [&a, &b] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    for len in (0..1500).step_by(7).chain([8000, 65_507]) {
        let data: Vec<u8> = (0..len).map(|at| u8::try_from(at * 13 % 251).unwrap()).collect();
        a.send_to(&data, at(1, 5000)).unwrap();
        let (got, from) = b.recv_from(&mut room).unwrap_or_else(|error| panic!("{len}: {error}"));
        assert!(room[..got] == data, "{len} bytes");
        b.send_to(&data, from).unwrap();
        let (got, _) = a.recv_from(&mut room).unwrap_or_else(|error| panic!("{len}: {error}"));
        assert!(room[..got] == data, "{len} bytes, on their way back");
    }
    lab.hosts[1].ip("link del tap7");
    let mut events = Vec::new();
    wait_until("its removal is told", || {
        events.extend(lab.dataplane.take_events());
        !events.is_empty()
    });
    let gone = |event: &DataplaneEvent| matches!(event, DataplaneEvent::DeviceFailed { port: failed, error: DeviceFault::Gone, .. } if *failed == port(1));
    assert!(events.iter().all(gone), "{events:?}");
}

#[test]
fn a_persistent_device_is_taken_as_it_is() {
    let lab = Lab::new(2);
    for (name, words, queues) in
        [("one", "mode tap", 1), ("many", "mode tap multi_queue", 1), ("more", "mode tap multi_queue", 2)]
    {
        lab.hosts[1].ip(&format!("tuntap add dev {name} {words}"));
        lab.hosts[1].ip(&format!("link set {name} mtu 1300 up"));
        let device = tap(&lab, name, queues);
        assert_eq!(device.mtu, 1300);
        drop(device);
        lab.hosts[1].ip(&format!("link show {name}"));
    }
}
