//! dpdk-testpmd with two virtio-user ports: a driver for virtio rings that shares nothing with ours.
//!
//! It replays capture files into both ports at once and writes down what comes out of each:
//!
//! ```text
//!   a-in.pcap -> net_pcap0 -> virtio-user 0 -> switch -> virtio-user 1 -> net_pcap1 -> b-out.pcap
//!   a-out.pcap <- net_pcap0 <- virtio-user 0 <- switch <- virtio-user 1 <- net_pcap1 <- b-in.pcap
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::capture::{ANSWER, Arrivals, Stream, Summary};
use crate::deadline::wait_for;
use crate::process::{Process, run_to_end};

/// How long all frames may take to pass, start included.
const PASS_WITHIN: Duration = Duration::from_secs(60);
/// How long testpmd may take to end.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Addresses of the two virtio-user ports.
const ADDRESSES: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// What DPDK itself is told: two threads on one processor, and ordinary memory.
const EAL: [&str; 8] =
    ["--lcores", "0@1,1@1", "--no-pci", "--no-huge", "--no-shconf", "-m", "256", "--no-telemetry"];

/// What the driver is told to do.
#[derive(Clone, Debug)]
pub struct Driver {
    /// Sockets of the two ports of the switch.
    pub sockets: [PathBuf; 2],
    /// More options of `net_virtio_user`, such as `in_order=0,mrg_rxbuf=0`.
    pub options: String,
    /// Entries of each ring.
    pub queue_size: u16,
    /// Queue pairs.
    pub queues: u16,
    /// Room in one of its buffers, in bytes; frames larger than that are spread over several.
    pub buffer_bytes: u16,
    /// Frames into each port, over all its queues.
    pub frames: u32,
    /// Size of the largest frame in bytes.
    pub largest: u16,
}

/// How many frames went where, both directions together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Handed to the virtio-user ports.
    pub sent: u64,
    /// Come out of them, each one checked: all bytes, and after its predecessors.
    pub received: u64,
    /// The highest number of a frame whose predecessor in its flow did not arrive.
    pub last_gap: u32,
    /// Of those received, the ones that came on the queue pair on which their answers are sent.
    pub steered: u64,
}

impl Driver {
    /// Into `sockets`: one queue pair of 256 entries, small and full-sized frames.
    #[must_use]
    pub fn new(sockets: [PathBuf; 2], frames: u32) -> Self {
        Self {
            sockets,
            options: String::new(),
            queue_size: 256,
            queues: 1,
            buffer_bytes: 2048,
            frames,
            largest: 1514,
        }
    }

    /// Lets all frames pass, both ways at once, and checks what arrived.
    ///
    /// # Panics
    /// If a frame arrived wrong, twice or too early, if testpmd fails or has not finished in time, or
    /// if it is not installed; the message says which.
    #[must_use]
    pub fn run(&self) -> Passed {
        let folder =
            tempfile::Builder::new().prefix("viaduct-testpmd-").tempdir().expect("a folder for the captures");
        self.write_captures(folder.path());
        let mut testpmd =
            Process::start("testpmd", "dpdk-testpmd", &self.command_line(folder.path()), folder.path());
        self.await_end(&mut testpmd);
        let statistics = testpmd.output();
        let [pcap_a, user_a, user_b, pcap_b] = [0, 1, 2, 3].map(|port| Forwarded::last(&statistics, port));
        assert_eq!(
            (pcap_a.tx_dropped, pcap_b.tx_dropped),
            (0, 0),
            "testpmd lost frames on the way into its capture files"
        );
        let [one, other] = [0, 1].map(|from| self.check_captures(folder.path(), from));
        let received = one.frames + other.frames;
        assert_eq!(received, user_a.rx + user_b.rx, "testpmd counts other frames than its captures hold");
        Passed {
            sent: user_a.tx + user_b.tx,
            received,
            last_gap: one.last_gap.max(other.last_gap),
            steered: one.steered + other.steered,
        }
    }

    fn streams(&self, from: usize) -> Vec<Stream> {
        let stream = |queue| Stream {
            source: ADDRESSES[from],
            destination: ADDRESSES[1 - from],
            number: from as u16 * ANSWER + queue,
            frames: self.frames / u32::from(self.queues),
            largest: self.largest,
        };
        (0..self.queues).map(stream).collect()
    }

    fn write_captures(&self, folder: &Path) {
        for from in [0, 1] {
            for (queue, stream) in self.streams(from).iter().enumerate() {
                stream
                    .write(&capture(folder, from, "in", queue))
                    .unwrap_or_else(|error| panic!("cannot write a capture: {error}"));
            }
        }
    }

    /// How many frames arrived, and where the last gap is.
    fn check_captures(&self, folder: &Path, from: usize) -> Summary {
        let (streams, mut arrivals) = (self.streams(from), Arrivals::default());
        for queue in 0..usize::from(self.queues) {
            arrivals.check(&capture(folder, 1 - from, "out", queue), queue, &streams);
        }
        check_with_tshark(&capture(folder, 1 - from, "out", 0));
        arrivals.finish()
    }

    fn command_line(&self, folder: &Path) -> Vec<String> {
        let queues = self.queues.to_string();
        let pcap = |port: usize| {
            let file = |kind, queue| {
                format!(
                    ",{}x_pcap={}",
                    if kind == "in" { "r" } else { "t" },
                    capture(folder, port, kind, queue).display()
                )
            };
            let files: String = (0..usize::from(self.queues))
                .flat_map(|queue| [file("in", queue), file("out", queue)])
                .collect();
            format!("net_pcap{port}{files}")
        };
        let commands = folder.join("commands");
        let scatter = if self.buffer_bytes < self.largest { SCATTER } else { "" };
        fs::write(&commands, format!("{scatter}{START}")).expect("testpmd's commands");
        let mut line: Vec<String> = EAL.map(str::to_owned).to_vec();
        for device in [pcap(0), self.virtio_user(0), self.virtio_user(1), pcap(1)] {
            line.extend(["--vdev".to_owned(), device]);
        }
        line.extend(
            [
                "--",
                "--no-mlockall",
                "--disable-device-start",
                "--no-flush-rx",
                "--total-num-mbufs=32768",
                "--port-topology=paired",
                "--stats-period=1",
                "--auto-start",
            ]
            .map(str::to_owned),
        );
        line.extend([
            format!("--mbuf-size={}", self.buffer_bytes + HEADROOM),
            format!("--rxq={queues}"),
            format!("--txq={queues}"),
        ]);
        line.extend([
            format!("--cmdline-file={}", commands.display()),
            format!("--max-pkt-len={}", self.largest + 4),
        ]);
        line
    }

    fn virtio_user(&self, port: usize) -> String {
        let [.., last] = ADDRESSES[port];
        let options = if self.options.is_empty() { String::new() } else { format!(",{}", self.options) };
        let path = self.sockets[port].display();
        format!(
            "net_virtio_user{port},path={path},queue_size={},queues={},mac=02:00:00:00:00:0{last}{options}",
            self.queue_size, self.queues
        )
    }

    /// Waits until every frame was sent and nothing arrives any more, then ends testpmd.
    fn await_end(&self, testpmd: &mut Process) {
        let mut before = [u64::MAX; 4];
        let all = u64::from(self.frames / u32::from(self.queues) * u32::from(self.queues));
        wait_for("testpmd to pass all frames", PASS_WITHIN, || {
            if let Some(status) = testpmd.ended() {
                panic!("testpmd ended early ({status}):\n{}", testpmd.tail());
            }
            std::thread::sleep(Duration::from_millis(1100));
            let counts = [0, 1, 2, 3].map(|port| last_count(&testpmd.output(), port, "RX-packets:"));
            let settled = counts[0] == all && counts[3] == all && counts == before;
            before = counts;
            settled.then_some(())
        });
        testpmd.signal(libc::SIGINT);
        let status = testpmd.wait(END_WITHIN);
        assert!(status.success(), "testpmd failed ({status}):\n{}", testpmd.tail());
    }
}

/// A testpmd whose two ports listen for the switch, and send to one another when they are told.
pub struct Talkers {
    testpmd: Process,
    commands: usize,
    _folder: tempfile::TempDir,
}

impl Talkers {
    /// Listens at `sockets`; `options` are more ones of `net_virtio_user`.
    ///
    /// # Panics
    /// If it is not installed.
    #[must_use]
    pub fn listen(sockets: &[PathBuf; 2], options: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("viaduct-testpmd-").tempdir().expect("a folder");
        let mut line: Vec<String> = EAL.map(str::to_owned).to_vec();
        for (port, socket) in sockets.iter().enumerate() {
            let ([.., last], path) = (ADDRESSES[port], socket.display());
            let device =
                format!("net_virtio_user{port},path={path},server=1,mac=02:00:00:00:00:0{last},{options}");
            line.extend(["--vdev".to_owned(), device]);
        }
        let own = ["--", "-i", "--no-mlockall", "--total-num-mbufs=16384", "--forward-mode=flowgen"];
        line.extend(own.map(str::to_owned));
        line.extend([1, 0].map(|port| format!("--eth-peer={},02:00:00:00:00:0{}", 1 - port, port + 1)));
        let testpmd = Process::start_listening("testpmd", "dpdk-testpmd", &line, folder.path());
        Self { testpmd, commands: 0, _folder: folder }
    }

    /// Lets them send.
    ///
    /// # Panics
    /// If they do not listen.
    pub fn start(&mut self) {
        self.told("start");
    }

    /// Has them stop, and waits until they have. While they send, DPDK's driver does not survive every end of the switch
    /// on a busy machine: it begins its packed rings anew a millisecond after it has asked its own threads to leave them
    /// alone, which is too early for one that is in the middle of a burst.
    ///
    /// # Panics
    /// If they do not.
    pub fn stop(&mut self) {
        self.told("stop");
    }

    /// Gives a command, and waits until the next one is asked for.
    fn told(&mut self, command: &str) {
        self.testpmd.tell(command);
        self.commands += 1;
        wait_for(&format!("testpmd to {command}"), END_WITHIN, || {
            (self.testpmd.output().matches("testpmd> ").count() > self.commands).then_some(())
        });
    }

    /// Ends it.
    ///
    /// # Panics
    /// If it ended before, or fails at its end.
    pub fn finish(mut self) {
        if let Some(status) = self.testpmd.ended() {
            panic!("testpmd ended early ({status}):\n{}", self.testpmd.tail());
        }
        self.testpmd.tell("quit");
        let status = self.testpmd.wait(END_WITHIN);
        assert!(status.success(), "testpmd failed ({status}):\n{}", self.testpmd.tail());
    }
}

/// Frames larger than one buffer are received into several (net_pcap does so unasked and knows no such
/// setting; without merged buffers virtio-user refuses it).
const SCATTER: &str = "port config 1 rx_offload scatter on\nport config 2 rx_offload scatter on\n";

/// A sender waits for room in a ring instead of losing frames: what is lost, the switch lost.
const START: &str = "port start all\nset fwd io retry\nset burst tx delay 1 retry 1000000\n";

/// Bytes of a buffer that DPDK keeps free before the data (RTE_PKTMBUF_HEADROOM).
const HEADROOM: u16 = 128;

fn capture(folder: &Path, port: usize, kind: &str, queue: usize) -> PathBuf {
    folder.join(format!("{}-{kind}-{queue}.pcap", ["a", "b"][port]))
}

/// Lets tshark find damage that our own reading might overlook, in the first frames of a capture.
fn check_with_tshark(path: &Path) {
    let filter = "ip.checksum.status != 1 || udp.checksum.status != 1 || _ws.malformed";
    let checks = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"];
    let mut arguments = vec!["-n", "-r", path.to_str().expect("a path in UTF-8"), "-c", "5000", "-Y", filter];
    arguments.extend(checks);
    let damaged = run_to_end(Duration::from_secs(60), "tshark", &arguments);
    assert!(damaged.is_empty(), "tshark finds damaged frames in {}:\n{damaged}", path.display());
}

/// One port's line of the statistics that testpmd prints at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Forwarded {
    rx: u64,
    tx: u64,
    tx_dropped: u64,
}

impl Forwarded {
    fn last(output: &str, port: usize) -> Self {
        let title = format!("Forward statistics for port {port}");
        let block = output
            .rsplit_once(&title)
            .unwrap_or_else(|| panic!("testpmd printed no statistics:\n{output}"))
            .1;
        let value =
            |name| number_after(block, name).unwrap_or_else(|| panic!("testpmd printed no {name}:\n{block}"));
        Self { rx: value("RX-packets:"), tx: value("TX-packets:"), tx_dropped: value("TX-dropped:") }
    }
}

/// The newest value of a counter in the statistics that testpmd prints every second; 0 before the first.
fn last_count(output: &str, port: usize, name: &str) -> u64 {
    let title = format!("NIC statistics for port {port} ");
    output.rsplit_once(&title).and_then(|(_, block)| number_after(block, name)).unwrap_or(0)
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    text.split_once(name)?.1.split_whitespace().next()?.parse().ok()
}
