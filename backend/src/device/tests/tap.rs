//! TAP devices, with Linux behind them.

use super::lab::{Lab, port, wait_until};
use super::talk::{datagrams_come_back, stream_both_ways};
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
        stream_both_ways(&lab, BYTES);
        for number in 0..2 {
            let sent = lab.dataplane.switch().counters().port(port(number)).snapshot().sent;
            assert!(sent.frames < 2 * BYTES as u64 / 1400, "super-frames pass whole: {sent:?}");
        }
    }
}

#[test]
fn datagrams_come_back_and_a_device_that_is_removed_is_reported() {
    let mut lab = lab(1);
    datagrams_come_back(&lab, (0..1500).step_by(7).chain([8000, 65_507]));
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
