//! Control frames between the workers and the control thread.

use viaduct_switch::{ControlPolicy, ControlProtocol};

use super::*;

/// Two ports of one network; spanning tree runs on port 0.
fn bridge() -> Dataplane {
    let network = NetworkIndex::new(0).unwrap();
    let control = [ControlPolicy::UPLINK.with(ControlProtocol::SpanningTree), ControlPolicy::GUEST];
    let ports = control.into_iter().enumerate();
    let ports =
        ports.map(|(index, control)| (port(index), PortPolicy { control, ..PortPolicy::new(network, 1500) }));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    let switch = Arc::new(Switch::new(1, Limits::default()));
    Dataplane::start(switch, Arc::new(policy), &[0], Polling::Adaptive).unwrap()
}

/// A spanning tree frame of `length` bytes, which are numbered behind its header.
fn bpdu(length: usize) -> Vec<u8> {
    let mut frame = vec![1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 39];
    frame.extend((14..length).map(|at| u8::try_from(at % 251).unwrap()));
    frame
}

fn wait_for_control(dataplane: &mut Dataplane) -> ControlFrame {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        for event in dataplane.take_events() {
            if let DataplaneEvent::Control(frame) = event {
                return frame;
            }
        }
        assert!(Instant::now() < deadline, "no control frame came");
        thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_control_frame_comes_to_the_control_thread_whole() {
    let mut dataplane = bridge();
    let mut a = Guest::new(0);
    dataplane.attach(a.setup([0, 0]));
    for length in [60, 127, 128, 129, 1514] {
        let mut bytes = vec![0; 12];
        bytes.extend(bpdu(length));
        a.offer(1, &bytes);
        a.kick(1);
        let expected = ControlFrame { port: port(0), link: 0, bytes: bpdu(length) };
        assert_eq!(wait_for_control(&mut dataplane), expected);
    }
}

#[test]
fn a_flood_of_control_frames_is_bounded_while_nobody_takes_them() {
    let mut dataplane = bridge();
    for _ in 0..2000 {
        dataplane.announce(port(0), bpdu(60));
    }
    let b = Guest::new(1);
    dataplane.attach(b.setup([0, 0]));
    let frames = dataplane.take_events().len();
    assert!((64..200).contains(&frames), "{frames} frames");
    assert_eq!(drops(&dataplane, 0, DropReason::StormControl), 2000 - frames as u64);
}

#[test]
fn a_frame_of_the_control_threads_leaves_by_its_port_alone() {
    let mut dataplane = bridge();
    let (mut a, mut b) = (Guest::new(0), Guest::new(1));
    (0..4).for_each(|_| a.offer(0, &[]));
    (0..4).for_each(|_| b.offer(0, &[]));
    dataplane.attach(a.setup([0, 0]));
    dataplane.attach(b.setup([0, 0]));
    let mut frame = bpdu(200);
    frame[199] = 42;
    dataplane.emit(port(0), 0, frame);
    a.wait_used(0, 1);
    assert_eq!((a.received(0), b.used(0)), (42, 0));
    // Where no driver runs it is lost, and counted.
    dataplane.detach(port(1));
    dataplane.emit(port(1), 0, bpdu(60));
    dataplane.detach(port(0));
    assert_eq!(drops(&dataplane, 1, DropReason::ReceiverDown), 1);
}
