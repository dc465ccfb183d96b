//! AF_XDP sockets.

use std::net::UdpSocket;
use std::process::Command;

use std::time::Duration;

use super::lab::{Lab, address, at, port, wait_until};
use super::talk::{datagrams_come_back, pattern, receive, stream_both_ways};
use crate::dataplane::Datapath;
use crate::device::{Device, DeviceError, DeviceKind, DeviceRequest, open};

/// Opens the device at a host's wire in this way.
fn open_as(lab: &Lab, number: usize, kind: DeviceKind) -> Result<Device, DeviceError> {
    open(&DeviceRequest { kind, ..lab.request(number) })
}

/// Two hosts on AF_XDP ports. A veth end shows XDP programs frames as the other end's host left them; a real interface
/// gets none with unfinished checksums, and so shall ours.
fn lab() -> Lab {
    let mut lab = Lab::new(2);
    for number in 0..2 {
        lab.hosts[number].within(|| {
            let name = format!("h{number}");
            let output = Command::new("ethtool").args(["-K", &name, "tx", "off"]).output();
            let output = output.expect("ethtool is missing: scripts/setup installs it");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        });
        let device = open_as(&lab, number, DeviceKind::AfXdp).unwrap();
        assert_eq!(device.kind, DeviceKind::AfXdp);
        assert!(device.reason.contains("with a copy"), "veth needs one: {}", device.reason);
        assert!(device.reason.contains("ethtool -K"), "how the other end is to be set: {}", device.reason);
        lab.dataplane.attach_device(port(number), device);
    }
    lab
}

#[test]
fn a_stream_arrives_as_it_was_sent_both_ways() {
    stream_both_ways(&lab(), 32 << 20);
}

#[test]
fn datagrams_of_all_sizes_come_back() {
    // Longer ones go in fragments.
    datagrams_come_back(&lab(), (0..1600).chain((1600..=65_507).step_by(4999)));
}

#[test]
fn what_packet_sockets_took_unfinished_is_finished_for_af_xdp() {
    let mut lab = Lab::new(2);
    let (xdp, packet) =
        (open_as(&lab, 0, DeviceKind::AfXdp).unwrap(), open_as(&lab, 1, DeviceKind::AfPacket).unwrap());
    lab.dataplane.attach_device(port(0), xdp);
    lab.dataplane.attach_device(port(1), packet);
    let listener = lab.hosts[0].within(|| UdpSocket::bind(at(0, 5000)).unwrap());
    listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The sender leaves its checksum to the interface.
    let sender = lab.hosts[1].within(|| UdpSocket::bind(at(1, 0)).unwrap());
    let mut room = [0; 2048];
    for len in [1, 100, 1472] {
        sender.send_to(&pattern(len), at(0, 5000)).unwrap();
        let (got, _) = receive(&listener, &mut room).unwrap_or_else(|error| panic!("{len}: {error}"));
        assert!(room[..got] == pattern(len), "{len} bytes");
    }
}

#[test]
fn an_interface_is_as_before_when_its_port_is_gone() {
    let mut lab = lab();
    let is_attached = |lab: &Lab| {
        lab.wires.within(|| {
            let output = Command::new("ip").args(["link", "show", "dev", "s0"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains("xdp")
        })
    };
    assert!(is_attached(&lab));
    lab.dataplane.detach(port(0));
    wait_until("the program is gone", || !is_attached(&lab));
    lab.wires.ip("addr add 10.0.0.9/24 dev s0");
    let own = lab.wires.within(|| UdpSocket::bind("10.0.0.9:5000").unwrap());
    own.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let host = lab.hosts[0].within(|| UdpSocket::bind((address(0), 0)).unwrap());
    host.send_to(b"to the machine itself", "10.0.0.9:5000").unwrap();
    assert_eq!(receive(&own, &mut [0; 64]).unwrap().0, 21);
}

#[test]
fn packet_sockets_are_chosen_where_af_xdp_would_copy_too_and_the_reason_told() {
    let lab = Lab::new(1);
    let device = open_as(&lab, 0, DeviceKind::Auto).unwrap();
    assert_eq!(device.kind, DeviceKind::AfPacket);
    assert!(device.reason.ends_with("its driver has no AF_XDP without a copy"), "{}", device.reason);
}

#[test]
fn who_came_first_keeps_the_interface() {
    let lab = Lab::new(1);
    let _first = open_as(&lab, 0, DeviceKind::AfXdp).unwrap();
    let refusal = open_as(&lab, 0, DeviceKind::AfXdp).map(|_| ()).unwrap_err();
    assert!(matches!(refusal, DeviceError::Taken { .. }), "{refusal}");
    assert!(refusal.to_string().contains("s0"), "{refusal}");
}

#[test]
fn jumbo_frames_are_refused_with_what_to_do() {
    let lab = Lab::new(1);
    lab.wires.ip("link set s0 mtu 9000");
    let refusal = open_as(&lab, 0, DeviceKind::AfXdp).map(|_| ()).unwrap_err().to_string();
    assert!(
        refusal.contains("9000") && refusal.contains("3818") && refusal.contains("af-packet"),
        "{refusal}"
    );
    lab.wires.ip("link set s0 mtu 3818");
    lab.hosts[0].ip("link set h0 mtu 3818");
    open_as(&lab, 0, DeviceKind::AfXdp).unwrap();
}

/// A host whose wire has four queues each way, as a NIC has them.
fn lab_of_four_queues() -> Lab {
    let lab = Lab::new(2);
    for number in 0..2 {
        lab.wires.ip(&format!("link del s{number}"));
        let path = lab.hosts[number].path();
        let four = "numrxqueues 4 numtxqueues 4";
        lab.wires.ip(&format!(
            "link add s{number} {four} type veth peer name h{number} {four} netns {}",
            path.display()
        ));
        lab.wires.ip(&format!("link set s{number} up"));
        lab.hosts[number].ip(&format!("link set h{number} up"));
        lab.hosts[number].ip(&format!("addr add {}/24 dev h{number}", address(number)));
        lab.hosts[number].within(|| {
            let name = format!("h{number}");
            assert!(
                Command::new("ethtool").args(["-K", &name, "tx", "off"]).output().unwrap().status.success()
            );
        });
    }
    lab
}

#[test]
fn each_receive_queue_has_a_socket_and_no_flow_passes_by() {
    let mut lab = lab_of_four_queues();
    for number in 0..2 {
        let queues = [None, Some(4)][number];
        let request = DeviceRequest { kind: DeviceKind::AfXdp, queues, ..lab.request(number) };
        let device = open(&request).unwrap();
        assert_eq!(device.queues.len(), 4);
        lab.dataplane.attach_device(port(number), device);
    }
    let listener = lab.hosts[1].within(|| UdpSocket::bind(at(1, 5000)).unwrap());
    listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // A veth pair takes the sender's processor or flow for the queue: many flows from each processor take them all.
    for flow in 0..200_u16 {
        let sender = lab.hosts[0].within(|| UdpSocket::bind(at(0, 6000 + flow)).unwrap());
        sender.send_to(&flow.to_be_bytes(), at(1, 5000)).unwrap();
        let mut room = [0; 10];
        let (len, from) = receive(&listener, &mut room).unwrap_or_else(|error| panic!("{flow}: {error}"));
        assert_eq!((&room[..len], from), (&flow.to_be_bytes()[..], at(0, 6000 + flow)));
        listener.send_to(&room[..len], from).unwrap();
        sender.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(receive(&sender, &mut room).unwrap().0, 2);
    }
}

#[test]
fn another_number_of_queues_than_the_interface_has_is_refused_with_what_to_do() {
    let lab = lab_of_four_queues();
    for wanted in [1, 2, 5] {
        let request = DeviceRequest { kind: DeviceKind::AfXdp, queues: Some(wanted), ..lab.request(0) };
        let refusal = open(&request).map(|_| ()).unwrap_err().to_string();
        let expected =
            format!("s0 has 4 receive queues and AF_XDP takes each of them, but queues = {wanted}");
        assert!(refusal.contains(&expected) && refusal.contains("ethtool -L s0 combined"), "{refusal}");
    }
}
