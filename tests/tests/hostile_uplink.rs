//! What a hostile wire or a hostile guest can do with an uplink between them: nothing to bystanders.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use viaduct_tests::bystander::Bystander;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::stream::{frame, mac, mac_text, number_of};

const LIMIT: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(300);
/// A station out there.
const STATION: [u8; 6] = [2, 0, 0, 0xee, 0, 1];

const CONFIG: &str = r#"
[network.lab]
[port.a]
network = "lab"
[port.b]
network = "lab"
[uplink.wan]
interface = "eth1"
[network.office]
mode = "bridged"
uplink = "wan"
[port.c]
network = "office"
[port.d]
network = "office"
mtu = 65535
"#;

/// Two cards on the network of an uplink, a wire that anything can be sent on, and two bystanders elsewhere.
struct Scene {
    outside: Namespace,
    daemon: Daemon,
    cards: [Nic; 2],
    bystander: Bystander,
    _inside: Namespace,
}

impl Scene {
    fn new() -> Self {
        let (inside, outside) = (Namespace::new("inside"), Namespace::new("outside"));
        // Nothing but what the test sends.
        for namespace in [&inside, &outside] {
            namespace.run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
        }
        cable((&inside, "eth1"), (&outside, "eth1"));
        let daemon = Daemon::start_in(&inside, CONFIG);
        daemon.wait_for_state("wan", "attached");
        let bystander = Bystander::start(["a", "b"].map(|port| daemon.socket(port)));
        let options = NicOptions { queue_size: 1024, ..NicOptions::default() }.with_frames_of(66_000);
        let cards = ["c", "d"].map(|port| Nic::connect(&daemon.socket(port), &options));
        Self { outside, daemon, cards, bystander, _inside: inside }
    }

    /// Sends frames on the wire as they are, each `times` times; those that the kernel refuses are left out.
    fn send_on_wire(&self, times: u32, frames: &[Vec<u8>]) {
        let program = "import socket, sys\n\
                       s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
                       s.bind(('eth1', 0))\n\
                       for line in sys.stdin:\n    frame = bytes.fromhex(line)\n    for _ in range(int(sys.argv[1])):\n        \
                       try: s.send(frame)\n        except OSError: pass\n";
        let mut command = self.outside.command("python3");
        let mut sender =
            command.args(["-c", program, &times.to_string()]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = sender.stdin.take().unwrap();
        for frame in frames {
            let line: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(input, "{line}").unwrap();
        }
        drop(input);
        assert!(sender.wait().unwrap().success());
    }

    /// The numbers of the frames that the first card gets.
    fn received(&mut self) -> Vec<u64> {
        self.cards[0].collect(QUIET).iter().filter_map(|received| number_of(&received.bytes)).collect()
    }

    /// The port at which an address is known now.
    fn port_of(&self, address: [u8; 6]) -> Option<String> {
        let (fdb, text) = (self.daemon.show().fdb, mac_text(address));
        fdb.into_iter().find(|entry| entry.mac == text).map(|entry| entry.port)
    }

    fn finish(mut self) {
        assert_eq!(self.daemon.show().port("wan").state, "attached");
        assert!(self.daemon.is_alive());
        self.bystander.wait_for_rounds(3);
        self.bystander.finish();
    }
}

/// `frame` with tags before its type: each of type and tag control information.
fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(kind, tag)| [kind.to_be_bytes(), tag.to_be_bytes()].concat());
    frame[..12].iter().copied().chain(tags).chain(frame[12..].iter().copied()).collect()
}

#[test]
fn tags_on_the_wire_lead_to_no_network_but_their_own() {
    let mut scene = Scene::new();
    let numbered = |number| frame([0xff; 6], STATION, number, 100);
    let frames = [
        numbered(1),
        tagged(&numbered(2), &[(0x8100, 0xe000)]),
        tagged(&numbered(3), &[(0x8100, 0x0fff)]),
        tagged(&numbered(4), &[(0x8100, 10)]),
        tagged(&numbered(5), &[(0x8100, 0), (0x8100, 0)]),
        tagged(&numbered(6), &[(0x8100, 1), (0x8100, 2), (0x8100, 3)]),
        tagged(&numbered(7), &[(0x88a8, 10), (0x8100, 20)]),
        tagged(&numbered(8), &[(0x9100, 10)]),
        numbered(9)[..12].iter().copied().chain([0x81, 0, 0]).collect(),
        numbered(10),
    ];
    scene.send_on_wire(1, &frames);
    // A priority tag names no network (IEEE 802.1Q-2018, 6.9): the frame belongs to the native one.
    assert_eq!(scene.received(), [1, 2, 10]);
    scene.finish();
}

/// Headers that contradict themselves are none of a bridge's business: they pass as they are.
#[test]
fn packets_that_lie_about_their_lengths_pass_unchanged() {
    let mut scene = Scene::new();
    let mut frames = Vec::new();
    for (first, total, protocol) in
        [(0x4f, 20, 17), (0x45, 9000, 6), (0x45, 0, 17), (0x40, 60, 1), (0x4f, 60, 6)]
    {
        let mut lie = frame([0xff; 6], STATION, 100 + frames.len() as u64, 120);
        lie[12..14].copy_from_slice(&[8, 0]);
        lie[14] = first;
        lie[16..18].copy_from_slice(&u16::to_be_bytes(total));
        lie[20..22].copy_from_slice(&[0x20, 0xff]);
        lie[23] = protocol;
        frames.push(lie);
    }
    // IPv6: a payload longer than the frame, a chain of extension headers, a neighbour's option of length 0.
    for (length, next, rest) in
        [(9000_u16, 17_u8, [0_u8; 8]), (60, 0, [0; 8]), (24, 58, [135, 0, 0, 0, 0, 0, 0, 0])]
    {
        let mut lie = frame([0xff; 6], STATION, 100 + frames.len() as u64, 120);
        lie[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        lie[18..20].copy_from_slice(&length.to_be_bytes());
        lie[20] = next;
        lie[54..62].copy_from_slice(&rest);
        frames.push(lie);
    }
    scene.send_on_wire(1, &frames);
    let received: Vec<Vec<u8>> =
        scene.cards[0].collect(QUIET).into_iter().map(|received| received.bytes).collect();
    assert_eq!(received, frames);
    scene.finish();
}

/// What does not fit the wire is counted, and the device goes on.
#[test]
fn frames_that_fit_no_wire_are_dropped_and_counted() {
    let mut scene = Scene::new();
    scene.send_on_wire(1, &[frame([0xff; 6], STATION, 1, 60)]);
    scene.cards.iter_mut().for_each(|card| drop(card.collect(QUIET)));
    let card = &mut scene.cards[1];
    // From a port that may send it, to an interface whose MTU is 1500.
    for length in [1515, 9014, 65_549] {
        card.send(&frame(STATION, mac(4), 2, length));
    }
    card.send(&frame(STATION, mac(4), 3, 60)[..13]);
    card.send(&frame(STATION, mac(4), 4, 65_600));
    for header in [
        NetHeader {
            flags: 1,
            gso_type: 1,
            hdr_len: 54,
            gso_size: 0,
            csum_start: 34,
            csum_offset: 16,
            ..NetHeader::default()
        },
        NetHeader {
            flags: 1,
            gso_type: 1,
            hdr_len: 65_535,
            gso_size: 1,
            csum_start: 65_000,
            csum_offset: 16,
            ..NetHeader::default()
        },
        NetHeader {
            flags: 1,
            gso_type: 5,
            hdr_len: 42,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 6,
            ..NetHeader::default()
        },
        NetHeader {
            flags: 1,
            gso_type: 4,
            hdr_len: 54,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
            ..NetHeader::default()
        },
    ] {
        card.send_with(header, &frame(STATION, mac(4), 5, 6000));
    }
    card.send(&frame([0xff; 6], mac(4), 6, 100));
    assert_eq!(scene.received(), [6], "what is right arrives");
    let state = scene.daemon.show();
    let [sender, wan] = ["d", "wan"].map(|port| state.port(port));
    assert!(sender.dropped("runt") == 1 && sender.dropped("too-long") == 1, "{:?}", sender.drops);
    let lost = sender.dropped_in_all() + wan.dropped_in_all();
    assert!(lost >= 8, "of 9 that cannot be sent {lost} are counted: {:?} {:?}", sender.drops, wan.drops);
    scene.finish();
}

/// Without port security an address is where it was last seen, and comes back to its owner with its next frame.
#[test]
fn a_guest_that_sends_with_the_address_of_a_station_outside_holds_it_until_that_speaks() {
    let mut scene = Scene::new();
    scene.send_on_wire(1, &[frame([0xff; 6], STATION, 1, 100)]);
    assert_eq!(scene.received(), [1]);
    assert_eq!(scene.port_of(STATION).as_deref(), Some("wan"));
    scene.cards[1].send(&frame([0xff; 6], STATION, 2, 100));
    assert_eq!(scene.received(), [2]);
    assert_eq!(scene.port_of(STATION).as_deref(), Some("d"));
    scene.send_on_wire(1, &[frame([0xff; 6], STATION, 3, 100)]);
    assert_eq!(scene.received(), [3]);
    assert_eq!(scene.port_of(STATION).as_deref(), Some("wan"));
    scene.finish();
}

#[test]
fn a_storm_from_outside_is_limited_and_a_guest_that_reflects_everything_harms_itself() {
    let mut scene = Scene::new();
    let kinds = [[0xff; 6], [1, 0, 0x5e, 1, 2, 3], [0x33, 0x33, 0, 0, 0, 0x16], mac(77)];
    let frames: Vec<Vec<u8>> = kinds.iter().map(|to| frame(*to, STATION, 1, 200)).collect();
    scene.send_on_wire(20_000, &frames);
    let wan = scene.daemon.show().port("wan").clone();
    assert!(wan.dropped("storm-broadcast") > 0, "{:?}", wan.drops);
    assert!(wan.received.frames >= 60_000, "{wan:?}");
    // All that the card gets it sends back, for as long as something comes.
    let end = std::time::Instant::now() + Duration::from_secs(1);
    scene.send_on_wire(10, &[frame([0xff; 6], STATION, 1, 200)]);
    while std::time::Instant::now() < end {
        for received in scene.cards[0].collect(Duration::from_millis(5)) {
            scene.cards[0].send(&received.bytes);
        }
    }
    wait_until("the uplink to carry frames as before", LIMIT, || {
        scene.send_on_wire(1, &[frame([0xff; 6], STATION, 99, 100)]);
        scene.received().contains(&99)
    });
    scene.finish();
}
