//! What waits before a station is shaped otherwise again and again while numbered packets come: none is lost but those that a queue
//! drops and counts, and no flow is overtaken by itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use viaduct_tests::deadline::{wait_for, wait_until};
use viaduct_tests::process::Process;

use super::{LIMIT, Stage, port};

/// Packets in all, and in a second, of four flows.
const PACKETS: u32 = 8000;
const FLOWS: u32 = 4;

/// Sends numbered packets of a kilobyte from four ports, two thousand a second.
const SENDER: &str = "
import socket, struct, time
flows = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
for number, flow in enumerate(flows): flow.bind(('', 7000 + number))
began = time.monotonic()
for number in range(8000):
    while time.monotonic() - began < number / 2000: time.sleep(0.0005)
    flows[number % 4].sendto(struct.pack('!I', number // 4) + bytes(970), ('10.0.1.3', 7000))
";

/// Writes down port and number of each packet, once nothing came for two seconds.
const RECEIVER: &str = "
import socket, struct
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)
here.bind(('', 7000))
print('ready', flush=True)
got = []
try:
    while True:
        data, (_, port) = here.recvfrom(2000)
        here.settimeout(2)
        got.append((port, struct.unpack('!I', data[:4])[0]))
except TimeoutError: pass
for port, number in got: print(port, number)
print('end', flush=True)
";

/// A queue before c alone, of more and of less than what comes; classes with another queue each; one of them; none.
const TREES: [&str; 6] = [
    "[qos.shaped]\negress = { kind = 'tbf', rate = '50mbit' }\n",
    "[qos.shaped]\negress = { kind = 'tbf', rate = '12mbit', queue = { kind = 'fifo', packets = 300 } }\n",
    "[qos.shaped]\nkind = 'htb'\nrate = '12mbit'\ndefault = 'rest'\n\
     [qos.shaped.class.rest]\nrate = '6mbit'\nceil = '12mbit'\nqueue = { kind = 'fifo' }\n\
     [qos.shaped.class.first]\nrate = '4mbit'\nceil = '12mbit'\nqueue = { kind = 'sfq', packets = 500, depth = 500 }\n\
     [[qos.shaped.filter]]\nsource_port = 7000\nclass = 'first'\n",
    "[qos.shaped]\nkind = 'htb'\nrate = '30mbit'\ndefault = 'rest'\n\
     [qos.shaped.class.rest]\nrate = '6mbit'\nceil = '30mbit'\n",
    "[qos.shaped]\negress = { kind = 'prio' }\n",
    "",
];

fn config(tree: &str) -> String {
    let qos = if tree.is_empty() { "" } else { "qos = \"shaped\"\n" };
    let ports = [port("a", ""), port("b", ""), port("c", qos)].concat();
    format!("{tree}[network.lab]\n{ports}")
}

#[test]
fn trees_change_and_go_under_load_without_a_loss_but_what_their_queues_drop() {
    let stage = Stage::new(&config(TREES[0]), &[]);
    stage.stations[0].run("busybox ping -c 1 -W 5 10.0.1.3");
    let start = |station: usize, name: &str, program: &str| {
        let mut command = stage.stations[station].command("python3");
        command.args(["-c", program]);
        Process::spawn(name, &command, stage.folder.path())
    };
    let mut receiver = start(2, "receiver", RECEIVER);
    wait_until("the receiver to listen", LIMIT, || receiver.output().contains("ready"));
    let mut sender = start(0, "sender", SENDER);
    let (mut changes, mut next) = (0, Instant::now());
    for tree in TREES.iter().skip(1).chain(&TREES).cycle() {
        if sender.ended().is_some() {
            break;
        }
        // One each so often, however long it takes.
        next += Duration::from_millis(200);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        stage.daemon.apply(&config(tree));
        changes += 1;
    }
    assert!(changes >= 8, "{changes} changes while packets came");
    stage.daemon.apply(&config(""));
    assert!(receiver.wait(Duration::from_secs(20)).success(), "{}", receiver.tail());
    let output = receiver.output();
    let words = |line: &str| {
        Some(line.split_once(' ')?)
            .and_then(|(port, number)| Some((port.parse::<u16>().ok()?, number.parse::<u32>().ok()?)))
    };
    let got: Vec<(u16, u32)> = output.lines().filter_map(words).collect();
    let mut last = HashMap::new();
    for (flow, number) in &got {
        let before = last.insert(*flow, *number);
        assert!(before.is_none_or(|before| before < *number), "flow {flow}: {number} after {before:?}");
    }
    assert_eq!(last.len(), FLOWS as usize);
    let dropped = || {
        let shown = stage.daemon.show();
        let port = shown.ports.iter().find(|port| port.name == "c").unwrap();
        (port.dropped("queue-full") + port.dropped("queue-delay"), port.dropped_in_all())
    };
    let (by_queues, in_all) = dropped();
    assert_eq!((got.len() as u64 + by_queues, by_queues), (u64::from(PACKETS), in_all));
    assert!(got.len() > PACKETS as usize / 2, "{} of {PACKETS} packets came", got.len());
    wait_for("the last tree to be gone", LIMIT, || {
        let shown = stage.daemon.command(&["show", "qos", "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        shown["trees"].as_array().is_none_or(Vec::is_empty).then_some(())
    });
}
