//! What frames that come and go by an interface cost in system calls: one for a burst that goes out, none for what comes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::stream::{frame, mac};
use viaduct_tests::system_calls::system_calls_during;

const LIMIT: Duration = Duration::from_secs(20);
/// Bursts as long as the switch reads at once.
const BURST: u64 = 64;
const BURSTS: u64 = 200;
/// Frames that come in.
const ARRIVING: u64 = 20_000;
const FAR: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A card that sends whole bursts.
struct Sender {
    nic: Nic,
    number: u64,
}

impl Sender {
    /// Lets the switch see a whole burst at once, and waits until it has sent that.
    fn burst(&mut self) {
        for _ in 0..BURST {
            self.nic.transmit[0].put(NetHeader::default(), &frame(FAR, mac(1), self.number, 200));
            self.number += 1;
        }
        self.nic.transmit[0].drain();
    }
}

/// A card on a network with one way out, and what is at that one's other end.
struct Scene {
    daemon: Daemon,
    sender: Sender,
    outside: Namespace,
    way_out: &'static str,
    _inside: Namespace,
}

impl Scene {
    /// By an interface that is one end of a pair.
    fn uplink(driver: &str) -> Self {
        let [inside, outside] = ["inside", "outside"].map(Namespace::new);
        for space in [&inside, &outside] {
            space.run("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
        }
        cable((&inside, "eth1"), (&outside, "eth0"));
        let config = format!(
            "[uplink.wan]\ninterface = \"eth1\"\ndriver = \"{driver}\"\n[network.office]\nmode = \"bridged\"\n\
             uplink = \"wan\"\n"
        );
        Self::new(&config, "wan", inside, outside)
    }

    fn new(config: &str, way_out: &'static str, inside: Namespace, outside: Namespace) -> Self {
        let card = "[port.a]\nnetwork = \"office\"\nstorm = { unknown_unicast = \"unlimited\" }\n";
        let daemon = Daemon::start_in(&inside, &format!("{config}{card}"));
        daemon.wait_for_state(way_out, "attached");
        let options = NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() };
        let sender = Sender { nic: Nic::connect(&daemon.socket("a"), &options), number: 0 };
        let mut scene = Self { daemon, sender, outside, way_out, _inside: inside };
        // From here on the card is known, and its ring runs.
        scene.sender.burst();
        scene.wait_until_sent();
        scene
    }

    fn wait_until_sent(&self) {
        wait_until("all frames to leave", LIMIT, || {
            self.daemon.show().port(self.way_out).sent.frames >= self.sender.number
        });
    }

    /// What sending all bursts takes.
    fn calls_of_sending(&mut self) -> BTreeMap<String, u64> {
        let calls = system_calls_during(&self.daemon, || {
            (0..BURSTS).for_each(|_| self.sender.burst());
        });
        self.wait_until_sent();
        calls
    }

    /// What taking frames takes that come as fast as the kernel makes them.
    fn calls_of_receiving(&self) -> BTreeMap<String, u64> {
        let head = [mac(1), FAR].concat().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let program = format!(
            "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('eth0', 0))\n\
             frame = bytes.fromhex('{head}88b5') + bytes(186)\nfor _ in range({ARRIVING}): s.send(frame)\n"
        );
        let received = || self.daemon.show().port(self.way_out).received.frames;
        let calls = system_calls_during(&self.daemon, || {
            assert!(self.outside.command("python3").args(["-c", &program]).status().unwrap().success());
            thread::sleep(Duration::from_millis(50));
        });
        // A machine that is busy with others loses some in front of the switch: thousands are enough.
        wait_until("thousands of frames to come in", LIMIT, || received() >= ARRIVING / 5);
        calls
    }
}

fn count(calls: &BTreeMap<String, u64>, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| calls.get(*name)).sum()
}

/// All by which frames may come or go at all.
const MOVING: [&str; 11] = [
    "sendmmsg", "sendmsg", "sendto", "recvmmsg", "recvmsg", "recvfrom", "readv", "writev", "poll", "ppoll",
    "ioctl",
];

/// The control thread and the API have sockets, too, and say little by them.
const OF_OTHERS: u64 = 60;

#[test]
fn a_burst_leaves_by_packet_sockets_with_one_system_call_and_none_is_made_for_frames_that_come() {
    let mut scene = Scene::uplink("af-packet");
    let calls = scene.calls_of_sending();
    assert!((BURSTS / 2..=BURSTS).contains(&count(&calls, &["sendmmsg"])), "{calls:?}");
    assert!(count(&calls, &MOVING) <= BURSTS + OF_OTHERS, "{calls:?}");
    let calls = scene.calls_of_receiving();
    assert_eq!(count(&calls, &["recvmmsg"]), 0, "{calls:?}");
    assert!(count(&calls, &MOVING) <= OF_OTHERS, "{calls:?}");
}

/// Where frames are copied, the kernel always asks to be called; that nothing is called where it does not is shown beside
/// the sockets (`backend/src/device/xdp_exit.rs`).
#[test]
fn a_burst_leaves_by_af_xdp_with_one_system_call_and_none_is_made_for_frames_that_come() {
    let mut scene = Scene::uplink("af-xdp");
    let calls = scene.calls_of_sending();
    // Linux before 6.17 sends no more than 32 frames at once.
    let each = if sends_whole_bursts() { 1 } else { 2 };
    let sends = count(&calls, &["sendto"]);
    assert!((BURSTS / 2..=each * BURSTS + OF_OTHERS).contains(&sends), "{calls:?}");
    assert!(count(&calls, &MOVING) <= each * BURSTS + OF_OTHERS, "{calls:?}");
    let calls = scene.calls_of_receiving();
    assert!(count(&calls, &MOVING) <= OF_OTHERS, "{calls:?}");
}

fn sends_whole_bursts() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(17))
}

/// The kernel takes one frame with each call from TAP devices' owners, and offers nothing else.
#[test]
fn each_frame_leaves_by_a_tap_device_with_one_system_call() {
    let [inside, outside] = ["inside", "outside"].map(Namespace::new);
    inside.run("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
    inside.ip("tuntap add dev tap0 mode tap vnet_hdr");
    inside.ip("link set tap0 up");
    let config = "[network.office]\n[port.t]\nnetwork = \"office\"\ntype = \"tap\"\ninterface = \"tap0\"\n";
    let mut scene = Scene::new(config, "t", inside, outside);
    let calls = scene.calls_of_sending();
    let frames = BURSTS * BURST;
    assert_eq!(count(&calls, &["writev"]), frames, "{calls:?}");
    assert!(count(&calls, &MOVING) <= frames + OF_OTHERS, "{calls:?}");
}
