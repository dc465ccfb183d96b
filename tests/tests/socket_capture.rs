//! `viaduct capture`: tshark finds each frame whole, with its port, its direction and what became of it; and whoever captures and does not
//! read costs nobody a frame.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{EVENT_IDX, MODERN, OFFLOADS, SEND_OFFLOADS};
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::FRAME_MAX;
use viaduct_tests::stream::mac;
use viaduct_tests::superframe::{Kind, SuperFrame};

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[network.lab]
[network.tenant10]
vlan = 10
[port.web]
network = "lab"
mac = "02:00:00:00:00:05"
addresses = ["10.0.0.5"]
[port.db]
network = "lab"
mac = "02:00:00:00:00:09"
addresses = ["10.0.0.9"]
[port.inside]
network = "tenant10"
[port.trunk]
trunk = ["tenant10"]
"#;

fn api(daemon: &Daemon) -> PathBuf {
    daemon.directory().join("run/api.sock")
}

/// A command that is ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, signal: libc::c_int) {
        // SAFETY: sends a signal to a child that was not waited for yet.
        assert_eq!(unsafe { libc::kill(self.0.id().try_into().unwrap(), signal) }, 0);
    }

    /// What it said on standard error, once it has ended well.
    fn finish(mut self) -> String {
        let mut told = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}: {told}");
        told
    }
}

/// A capture into a file that has begun.
fn capture(daemon: &Daemon, file: &Path, arguments: &[&str]) -> Running {
    let mut command = Command::new(binary());
    command.arg("--socket").arg(api(daemon)).args(["capture", "-w"]).arg(file).args(arguments);
    let running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    wait_until("the capture to begin", LIMIT, || std::fs::metadata(file).is_ok_and(|file| file.len() > 0));
    running
}

fn tshark(arguments: &[&str]) -> String {
    let output = Command::new("tshark").args(["-n"]).args(arguments).output().expect("tshark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Port, direction (1: enters, 2: leaves) and comment of each frame.
fn told(file: &Path) -> Vec<String> {
    let fields = ["frame.interface_name", "frame.packet_flags_direction", "frame.comment"];
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let arguments = ["-r", file.to_str().unwrap(), "-T", "fields", "-E", "separator=|"].into_iter();
    let told = tshark(&arguments.chain(fields).collect::<Vec<_>>());
    told.lines().map(|line| line.replace("|0x0000000", "|")).collect()
}

/// The bytes of each frame.
fn bytes(file: &Path) -> Vec<Vec<u8>> {
    let frames: Value =
        serde_json::from_str(&tshark(&["-r", file.to_str().unwrap(), "-T", "jsonraw"])).unwrap();
    let hex = |frame: &Value| frame["_source"]["layers"]["frame_raw"][0].as_str().unwrap().to_owned();
    frames.as_array().unwrap().iter().map(|frame| from_hex(&hex(frame))).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The described packet, filled up with bytes that tell their place.
fn packet(daemon: &Daemon, port: &str, words: &str, length: usize) -> Vec<u8> {
    let output = daemon.command(&["trace", port, &format!("{words} length {length}"), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let traced: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut frame = from_hex(traced["bytes"].as_str().unwrap());
    frame.extend((frame.len()..length).map(|at| u8::try_from(at % 251).unwrap()));
    frame
}

fn pair(daemon: &Daemon) -> [Nic; 2] {
    ["web", "db"].map(|port| Nic::connect(&daemon.socket(port), &NicOptions::default()))
}

/// The switch knows where both are.
fn acquainted(daemon: &Daemon) -> [Nic; 2] {
    let [mut web, mut db] = pair(daemon);
    db.send(&packet(daemon, "db", "udp 10.0.0.9:1 > 10.0.0.5:1", 60));
    web.expect_frame("what makes db known");
    [web, db]
}

#[test]
fn tshark_finds_ports_directions_verdicts_and_every_byte() {
    let daemon = Daemon::start(CONFIG);
    let [mut web, mut db] = acquainted(&daemon);
    let file = daemon.directory().join("some.pcapng");
    let long = packet(&daemon, "web", "tcp 10.0.0.5:4000 > 10.0.0.9:80", 1514);
    let spoofed = packet(&daemon, "web", "udp 10.0.0.7:53 > 10.0.0.9:53", 300);
    let answer = packet(&daemon, "db", "tcp 10.0.0.9:80 > 10.0.0.5:4000", 60);
    let running = capture(&daemon, &file, &["-c", "5", "web,db"]);
    web.send(&spoofed);
    web.send(&long);
    assert_eq!(db.expect_frame("the long one").bytes, long);
    db.send(&answer);
    web.expect_frame("the answer");
    let summary = running.finish();
    assert!(summary.contains("5 frames captured") && summary.contains("0 frames lost"), "{summary}");
    let comments = told(&file);
    let dropped = &comments[0];
    assert!(dropped.starts_with("web|1|dropped: spoof-ipv4 - "), "{dropped}");
    assert!(dropped.len() > "web|1|dropped: spoof-ipv4 - ".len(), "there is a sentence");
    assert_eq!(
        comments[1..],
        ["web|1|forwarded to db", "db|2|from web", "db|1|forwarded to web", "web|2|from db"]
    );
    assert_eq!(bytes(&file), [&spoofed, &long, &long, &answer, &answer].map(Clone::clone));
}

#[test]
fn tags_and_super_frames_are_as_they_enter_and_leave() {
    let daemon = Daemon::start(CONFIG);
    let large = |port: &str, features| {
        let options = NicOptions { features: MODERN | EVENT_IDX | features, ..NicOptions::default() };
        Nic::connect(&daemon.socket(port), &options.with_frames_of(FRAME_MAX as u64))
    };
    let mut inside = large("inside", SEND_OFFLOADS);
    let mut trunk = large("trunk", OFFLOADS);
    let file = daemon.directory().join("tags.pcapng");
    let payload: Vec<u8> = (0..20_000_u32).map(|at| u8::try_from(at % 253).unwrap()).collect();
    let whole = SuperFrame::new(Kind::Tcp4, mac(2), mac(1), &payload, 1400);
    let running = capture(&daemon, &file, &["--all", "-c", "2"]);
    inside.send_with(whole.header, &whole.bytes);
    let arrived = trunk.expect_frame("the super-frame").bytes;
    assert_eq!(arrived[12..16], [0x81, 0, 0, 10]);
    running.finish();
    let super_frame = "; super-frame, on a wire cut to 1400 bytes of payload each";
    assert_eq!(
        told(&file),
        [format!("inside|1|forwarded to trunk{super_frame}"), format!("trunk|2|from inside{super_frame}")]
    );
    let captured = bytes(&file);
    assert_eq!(captured[0], whole.bytes);
    assert_eq!(captured[1], [&whole.bytes[..12], &[0x81, 0, 0, 10], &whole.bytes[12..]].concat());
}

#[test]
fn a_pipe_is_read_live_and_only_what_the_filter_means_is_in_it() {
    let daemon = Daemon::start(CONFIG);
    let [mut web, mut db] = acquainted(&daemon);
    let meant = packet(&daemon, "web", "tcp 10.0.0.5:4000 > 10.0.0.9:80", 700);
    let other = packet(&daemon, "web", "tcp 10.0.0.5:4000 > 10.0.0.9:3306", 60);
    let start = |filter: &str, reader: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("--socket").arg(api(&daemon)).args(["capture", "web", "-w", "-"]).args(filter.split(' '));
        let mut capturer = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut command = Command::new("tshark");
        command
            .args(["-n", "-l", "-T", "fields", "-e", "frame.interface_name", "-e", "tcp.dstport"])
            .args(reader);
        let pipe = capturer.0.stdout.take().unwrap();
        let reader = command.stdin(pipe).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        (capturer, Running(reader.expect("tshark runs")))
    };
    // Live: a line comes while the capture goes on.
    let (capturer, mut reader) = start("tcp port 80", &["-i", "-"]);
    let mut lines = BufReader::new(reader.0.stdout.take().unwrap()).lines();
    let line = std::thread::scope(|scope| {
        let line = scope.spawn(|| lines.next().unwrap().unwrap());
        while !line.is_finished() {
            web.send(&other);
            web.send(&meant);
            db.expect_frame("the other one");
            db.expect_frame("the one that is meant");
        }
        line.join().unwrap()
    });
    assert_eq!(line, "web\t80");
    capturer.signal(libc::SIGINT);
    let summary = capturer.finish();
    assert!(summary.contains("frames captured"), "Ctrl-C ends it well: {summary}");
    assert!(lines.all(|line| line.unwrap() == "web\t80"));
    // To the end, and a reader that goes away.
    let (capturer, mut reader) = start("dst port 80 -c 3", &["-r", "-"]);
    let mut read = String::new();
    std::thread::scope(|scope| {
        let finished = scope.spawn(|| capturer.finish());
        while !finished.is_finished() {
            web.send(&other);
            web.send(&meant);
            db.expect_frame("the other one");
            db.expect_frame("the one that is meant");
        }
        finished.join().unwrap();
    });
    reader.0.stdout.take().unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, "web\t80\n".repeat(3));
    let (capturer, reader) = start("tcp", &["-i", "-"]);
    drop(reader);
    std::thread::scope(|scope| {
        let finished = scope.spawn(|| capturer.finish());
        while !finished.is_finished() {
            web.send(&meant);
            db.expect_frame("a frame that nobody looks at");
        }
        finished.join().unwrap();
    });
}

#[test]
fn a_reader_that_stops_loses_frames_that_are_counted_and_costs_nobody_any() {
    /// Frames of the flood, in portions that the receiver has buffers for.
    const PORTIONS: usize = 150;
    const PORTION: usize = 100;
    let daemon = Daemon::start(CONFIG);
    let [mut web, mut db] = acquainted(&daemon);
    let frame = packet(&daemon, "web", "udp 10.0.0.5:4000 > 10.0.0.9:80", 1514);
    let mark = packet(&daemon, "web", "udp 10.0.0.5:4000 > 10.0.0.9:81", 333);
    let file = daemon.directory().join("stopped.pcapng");
    let running = capture(&daemon, &file, &["web", "--json"]);
    running.signal(libc::SIGSTOP);
    for _ in 0..PORTIONS {
        (0..PORTION).for_each(|_| web.send(&frame));
        (0..PORTION).for_each(|number| {
            assert_eq!(db.expect_frame("a frame of the flood").bytes, frame, "{number}");
        });
    }
    web.drain();
    let counted = daemon.show().port("web").clone();
    assert_eq!(counted.received.frames, (PORTIONS * PORTION) as u64);
    assert!(counted.drops.is_empty() && daemon.show().port("db").drops.is_empty());
    running.signal(libc::SIGCONT);
    wait_until("the capture to have caught up", LIMIT, || {
        web.send(&mark);
        db.expect_frame("the mark");
        let written = std::fs::read(&file).unwrap();
        written.len() > 1000 && written[written.len() - 1000..].windows(mark.len()).any(|part| part == mark)
    });
    // Statistics follow within a tenth of a second, and have ten times as long.
    wait_until("the statistics to have come", LIMIT, || {
        let before = std::fs::metadata(&file).unwrap().len();
        std::thread::sleep(Duration::from_secs(1));
        std::fs::metadata(&file).unwrap().len() == before
    });
    running.signal(libc::SIGINT);
    let summary: Value = serde_json::from_str(running.finish().trim()).unwrap();
    let [captured, lost] = ["captured", "lost"].map(|field| summary[field].as_u64().unwrap());
    let sent = daemon.show().port("web").received.frames;
    assert!(lost > 0 && captured > 1000, "{summary}");
    assert_eq!(captured + lost, sent, "{summary}");
    assert_eq!(told(&file).len() as u64, captured);
}

#[test]
fn lines_tell_each_frame_and_what_cannot_be_captured_is_refused_with_the_reason() {
    let daemon = Daemon::start(CONFIG);
    let [mut web, mut db] = acquainted(&daemon);
    let meant = packet(&daemon, "web", "tcp 10.0.0.5:4000 > 10.0.0.9:80", 700);
    let lines = std::thread::scope(|scope| {
        let capturer = scope.spawn(|| daemon.command(&["capture", "db", "-Q", "out", "-c", "2", "--json"]));
        while !capturer.is_finished() {
            web.send(&meant);
            db.expect_frame("a frame that is told");
        }
        capturer.join().unwrap()
    });
    let lines = String::from_utf8(lines.stdout).unwrap();
    assert_eq!(lines.lines().count(), 2);
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((line["port"].as_str(), line["direction"].as_str()), (Some("db"), Some("out")));
    assert_eq!((line["length"].as_u64(), line["comment"].as_str()), (Some(700), Some("from web")));
    assert!(line["packet"].as_str().unwrap().starts_with("tcp 10.0.0.5:4000 > 10.0.0.9:80 "), "{line}");
    let quiet = daemon.command(&["capture", "db", "--duration", "100ms", "arp"]);
    assert!(quiet.status.success() && quiet.stdout.is_empty());
    let held: Vec<UnixStream> = (0..4).map(|_| held_capture(&daemon)).collect();
    for (arguments, status, reason) in [
        (&["web"][..], 1, "4 capture already"),
        (&["nobody"][..], 1, "there is no port nobody"),
        (&["web", "tcp", "prot", "80"][..], 1, "the filter `tcp prot 80` is wrong: "),
        (&["web", "tcp", "prot", "80"][..], 1, "`man pcap-filter` tells how one is written"),
        (&["web", "-w", "/nowhere/file"][..], 1, "cannot write /nowhere/file"),
        (&["web", "--duration", "10"][..], 2, "write a number and its unit"),
        (&[][..], 2, "required"),
    ] {
        let Output { status: ended, stderr, .. } = daemon.command(&[&["capture"][..], arguments].concat());
        let told = String::from_utf8_lossy(&stderr);
        assert!(told.contains(reason), "{arguments:?}: {told}");
        assert_eq!(ended.code(), Some(status), "{arguments:?}: {told}");
    }
    drop(held);
    wait_until("a place to be free again", LIMIT, || {
        daemon.command(&["capture", "db", "--duration", "1ms"]).status.success()
    });
}

/// A capture that nobody reads, for as long as the stream is open. Its place may still belong for a moment to
/// one whose reader has just gone.
fn held_capture(daemon: &Daemon) -> UnixStream {
    let body = r#"{"ports":["web"]}"#;
    let length = body.len();
    let mut held = None;
    wait_until("a place for a capture", LIMIT, || {
        let mut stream = UnixStream::connect(api(daemon)).unwrap();
        write!(stream, "POST /v1/capture HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        let opened = &head == b"HTTP/1.1 200";
        held = opened.then_some(stream);
        opened
    });
    held.unwrap()
}
