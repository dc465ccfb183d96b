//! TAP devices, with Linux behind them.

use std::path::Path;
use std::process::Command;

use super::lab::{Lab, Namespace, port, wait_until};
use super::talk::{datagrams_come_back, stream_both_ways};
use crate::dataplane::{Datapath, DataplaneEvent};
use crate::device::{Device, DeviceError, DeviceFault, DeviceKind, DeviceRequest, Medium, open};

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
fn a_name_that_no_interface_can_have_is_refused() {
    let names = ["", "sixteen-letters-", "nul\0"];
    for name in names {
        let request = DeviceRequest {
            kind: DeviceKind::Tap,
            interface: name.to_owned(),
            namespace: None,
            queues: None,
            gro: true,
            mtu: None,
        };
        let refusal = open(&request).map(|_| ()).unwrap_err();
        assert!(matches!(&refusal, DeviceError::BadName { name: refused } if refused == name), "{refusal}");
        assert!(refusal.to_string().contains("is empty or longer than 15 bytes"), "{refusal}");
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

/// What is asked is the interface in its namespace, whatever one of that name there is elsewhere.
#[test]
fn speed_and_duplex_are_those_of_the_interface_in_its_own_namespace() {
    let (here, there) = (Namespace::new(), Namespace::new());
    for (namespace, speed, duplex) in [(&here, "1000", "full"), (&there, "100", "half")] {
        namespace.ip("tuntap add dev tap7 mode tap");
        let words = ["-s", "tap7", "speed", speed, "duplex", duplex, "autoneg", "off"];
        namespace.within(|| {
            let output = Command::new("ethtool").args(words).output().expect("ethtool is missing");
            assert!(
                output.status.success(),
                "ethtool {words:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        });
    }
    there.ip("link add pair0 type veth peer name pair1");
    let of = |namespace: &Namespace, name: &str| Medium::of(Some(&namespace.path()), name);
    assert_eq!(of(&here, "tap7"), Medium { speed_mbit: Some(1000), full_duplex: true });
    assert_eq!(of(&there, "tap7"), Medium { speed_mbit: Some(100), full_duplex: false });
    assert_eq!(of(&there, "pair0"), Medium { speed_mbit: Some(10_000), full_duplex: true });
    // One that says nothing, one that is not there, and a namespace that is none.
    assert_eq!(of(&there, "lo"), Medium::UNKNOWN);
    assert_eq!(of(&there, "tap8"), Medium::UNKNOWN);
    assert_eq!(Medium::of(Some(Path::new("/proc/version")), "tap7"), Medium::UNKNOWN);
    assert_eq!(there.within(|| Medium::of(None, "tap7").speed_mbit), Some(100));
}
