//! Devices over veth pairs in namespaces of the tests' own, with Linux at their other ends.

mod bond;
mod kernel_segments;
mod lab;
mod packet;
mod pair;
mod talk;
mod tap;
mod wires;
mod xdp;

use super::{DeviceError, DeviceKind, DeviceRequest, open};

#[test]
fn a_device_has_one_to_sixteen_queues() {
    for queues in [0, 17] {
        let (interface, namespace) = ("lo".to_owned(), None);
        let request = DeviceRequest {
            kind: DeviceKind::AfPacket,
            interface,
            namespace,
            queues: Some(queues),
            gro: true,
            mtu: None,
        };
        let error = open(&request).map(drop).unwrap_err();
        assert!(matches!(error, DeviceError::BadQueues { queues: found } if found == queues), "{error}");
    }
}
