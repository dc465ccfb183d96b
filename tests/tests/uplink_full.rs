//! An interface that is slower than its port's guests: frames wait, first in the kernel and then in the switch, and what is
//! beyond that is lost and counted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use viaduct_tests::bystander::Bystander;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;
use viaduct_tests::stream::{frame, mac};

const LIMIT: Duration = Duration::from_secs(30);
const FRAMES: u64 = 16_000;
const FAR: [u8; 6] = [2, 0, 0, 0, 0, 9];
const CONFIG: &str = r#"
[uplink.wan]
interface = "eth1"
driver = "af-packet"
[network.office]
mode = "bridged"
uplink = "wan"
[port.a]
network = "office"
storm = { unknown_unicast = "unlimited" }
"#;

/// Notes the number of each frame that comes, until none does for three seconds.
const LISTENER: &str = "import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5))
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
s.bind(('eth0', 0x88b5))
print('listening', flush=True)
s.settimeout(20)
try:
    while True:
        data = s.recv(2000)
        s.settimeout(3)
        print(int.from_bytes(data[14:22], 'big'))
except TimeoutError: pass
";

fn send(card: &mut Nic, numbers: std::ops::Range<u64>) {
    for number in numbers {
        card.transmit[0].put(NetHeader::default(), &frame(FAR, mac(1), number, 1000));
        card.transmit[0].ring.publish();
    }
}

/// The interface at one end of a wire has this queue, and who listens at the other end.
fn wire(queue: &str) -> ([Namespace; 2], Process, tempfile::TempDir) {
    let [inside, outside] = ["inside", "outside"].map(Namespace::new);
    cable((&inside, "eth1"), (&outside, "eth0"));
    inside.run(&format!("tc qdisc add dev eth1 root {queue}"));
    let folder = tempfile::tempdir().unwrap();
    let mut listener = outside.command("python3");
    listener.args(["-c", LISTENER]);
    let listener = Process::spawn("listener", &listener, folder.path());
    wait_until("the listener", LIMIT, || listener.output().contains("listening"));
    ([inside, outside], listener, folder)
}

/// The numbers of the frames that came, once no more do.
fn heard(listener: &mut Process) -> Vec<u64> {
    assert!(listener.wait(LIMIT).success(), "{}", listener.tail());
    let numbers: Vec<u64> = listener.output().lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "a frame came twice, or out of order");
    numbers
}

#[test]
fn frames_wait_in_order_for_an_interface_that_is_full_and_what_is_beyond_is_counted() {
    // Much room in the queue, so that it is the socket that is full: its 16 MiB are some 7000 of these frames.
    let ([inside, _outside], mut listener, _folder) = wire("tbf rate 20mbit burst 16k limit 100m");
    let daemon = Daemon::start_in(&inside, CONFIG);
    daemon.wait_for_state("wan", "attached");
    let options = NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() };
    let mut card = Nic::connect(&daemon.socket("a"), &options);
    send(&mut card, 0..FRAMES);
    let lost = || daemon.show().port("wan").dropped("no-buffer");
    wait_until("the switch to have no more room", LIMIT, || lost() > 0);
    let sent = || daemon.show().port("wan").sent.frames;
    wait_until("all others to be sent", LIMIT, || sent() + lost() >= FRAMES);
    let all_lost = lost();

    // There is room again: nothing is lost any more.
    send(&mut card, FRAMES..FRAMES + 500);
    let numbers = heard(&mut listener);
    assert_eq!(numbers.len() as u64, FRAMES + 500 - all_lost);
    assert_eq!(numbers[numbers.len() - 500..], (FRAMES..FRAMES + 500).collect::<Vec<_>>());
    let wan = daemon.show();
    assert_eq!(
        (wan.port("wan").dropped_in_all(), wan.port("wan").dropped("no-buffer")),
        (all_lost, all_lost)
    );
    assert!(numbers.len() > 7000 + 500, "{} frames waited", numbers.len());
}

/// The kernel says of each frame for which the interface's own queue has no room that it is lost (ENOBUFS).
#[test]
fn what_the_queue_of_an_interface_loses_is_counted_frame_by_frame_and_others_carry_on() {
    let ([inside, _outside], mut listener, _folder) = wire("tbf rate 20mbit burst 16k limit 8k");
    let others = "[network.others]\n[port.b]\nnetwork = \"others\"\n[port.c]\nnetwork = \"others\"\n";
    let daemon = Daemon::start_in(&inside, &format!("{CONFIG}{others}"));
    daemon.wait_for_state("wan", "attached");
    let options = NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() };
    let mut card = Nic::connect(&daemon.socket("a"), &options);
    let bystander = Bystander::start(["b", "c"].map(|port| daemon.socket(port)));
    send(&mut card, 0..FRAMES);
    let counted = || {
        let state = daemon.show();
        (state.port("wan").sent.frames, state.port("wan").dropped("no-buffer"))
    };
    wait_until("each frame to be sent or lost", LIMIT, || counted().0 + counted().1 >= FRAMES);
    let rounds = bystander.rounds();
    bystander.wait_for_rounds(rounds + 20);
    let (sent, lost) = counted();
    assert!(lost > FRAMES / 2, "{lost} frames were lost");
    assert_eq!((sent + lost, daemon.show().port("wan").dropped_in_all()), (FRAMES, lost));
    // There is room again: nothing is lost any more.
    std::thread::sleep(Duration::from_millis(100));
    send(&mut card, FRAMES..FRAMES + 4);
    wait_until("the last frames to be sent", LIMIT, || counted() == (sent + 4, lost));
    bystander.finish();
    let numbers = heard(&mut listener);
    assert_eq!(numbers.len() as u64, sent + 4, "what is counted as sent came");
    assert!(numbers.ends_with(&[FRAMES, FRAMES + 1, FRAMES + 2, FRAMES + 3]));
}
