//! What the daemon's log tells, and that nobody waits for its reader.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs::File;
use std::io::{Read, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Daemon, PAIR, PROGRAM, wait_for, write};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::EventFd;

mod support;

/// VERSION_1, MRG_RXBUF, HOST_TSO4, GUEST_TSO4, GUEST_CSUM, CSUM (virtio 1.2, 5.1.3) and vhost-user's own bit 30.
const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 15 | 1 << 11 | 1 << 7 | 1 << 1 | 1;

/// A driver that starts its rings and sends nothing.
struct Driver {
    frontend: Frontend,
    memory: File,
    kicks: Vec<EventFd>,
}

/// Where the memory is said to be in the frontend, which the switch only translates.
const MEMORY: u64 = 0x7000_0000;
const AVAILABLE: u64 = 0x1_0000;

impl Driver {
    fn start(daemon: &Daemon, port: &str) -> Self {
        let name = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let memory = File::from(name);
        memory.set_len(1 << 20).unwrap();
        let mut frontend = Frontend::connect(daemon.path(&format!("{port}.sock")), 2).unwrap();
        frontend.set_owner().unwrap();
        frontend.get_features().unwrap();
        let protocol = frontend.get_protocol_features().unwrap();
        frontend.set_protocol_features(protocol).unwrap();
        frontend.set_features(FEATURES).unwrap();
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: 1 << 20,
            userspace_addr: MEMORY,
            mmap_offset: 0,
            mmap_handle: memory.as_raw_fd(),
        };
        frontend.add_mem_region(&region).unwrap();
        let kicks = (0..2).map(|ring| start_ring(&mut frontend, ring)).collect();
        Self { frontend, memory, kicks }
    }
}

fn start_ring(frontend: &mut Frontend, ring: usize) -> EventFd {
    let base = MEMORY + 0x4_0000 * ring as u64;
    let places = VringConfigData {
        queue_max_size: 256,
        queue_size: 256,
        flags: 0,
        desc_table_addr: base,
        avail_ring_addr: base + AVAILABLE,
        used_ring_addr: base + 0x2_0000,
        log_addr: None,
    };
    let kick = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    frontend.set_vring_num(ring, 256).unwrap();
    frontend.set_vring_base(ring, 0).unwrap();
    frontend.set_vring_addr(ring, &places).unwrap();
    frontend.set_vring_kick(ring, &kick).unwrap();
    frontend.set_vring_enable(ring, true).unwrap();
    kick
}

fn wait_for_line(daemon: &Daemon, parts: &[&str]) {
    let found = || daemon.log().lines().any(|line| parts.iter().all(|part| line.contains(part)));
    wait_for(&format!("a line with {parts:?} in\n{}", daemon.log()), found);
}

#[test]
fn the_start_tells_what_runs_where() {
    let daemon = Daemon::start(PAIR);
    let (file, socket) = (daemon.path("viaduct.toml"), daemon.path("api.sock"));
    wait_for_line(&daemon, &[env!("CARGO_PKG_VERSION"), &file.display().to_string()]);
    wait_for_line(&daemon, &["1 network, 2 ports"]);
    wait_for_line(&daemon, &["1 worker on processor ", "polling adaptive"]);
    wait_for_line(&daemon, &[&socket.display().to_string(), "mode 0600"]);
    wait_for_line(&daemon, &["the switch runs"]);
    let log = daemon.log();
    assert!(!log.contains('\x1b'), "no colours in a file: {log}");
    assert!(log.lines().all(|line| line.contains(" INFO ") || line.contains(" WARN ")), "{log}");
}

#[test]
fn the_life_of_a_port_is_told() {
    let daemon = Daemon::start(PAIR);
    let driver = Driver::start(&daemon, "vm1");
    let peer = format!("process {}", std::process::id());
    wait_for_line(&daemon, &["vm1", &peer, "is connected"]);
    let offloads = "sends csum tso4, takes csum tso4 mrg-rxbuf";
    wait_for_line(&daemon, &["vm1", "driver is up: 2 of 2 rings run", offloads]);
    let Driver { mut frontend, memory, kicks } = driver;
    frontend.get_vring_base(1).unwrap();
    frontend.get_vring_base(0).unwrap();
    wait_for_line(&daemon, &["vm1", "driver is down"]);
    let kick = start_ring(&mut frontend, 1);
    wait_for_line(&daemon, &["vm1", "driver is up: 1 of 2 rings run"]);
    // virtio 1.2, 2.7.13.3: the index grows by the number of heads made available, and there are 256 at most.
    memory.write_all_at(&1000_u16.to_le_bytes(), 0x4_0000 + AVAILABLE + 2).unwrap();
    kick.write(1).unwrap();
    wait_for_line(&daemon, &["WARN", "vm1", "broke ring 1", "until the driver resets it"]);
    drop((frontend, kicks));
    wait_for_line(&daemon, &["vm1", &peer, "is gone"]);
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "viaduct.toml", PAIR);
    let (mut reader, writer) = pipe().unwrap();
    let mut command = Command::new(PROGRAM);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut daemon = Daemon::start_in(directory, &mut command);
    drop(command);
    // A reload of this file is worth 10 KiB of log; a pipe holds 64 KiB, the daemon keeps 1 MiB.
    let wrong: String = (0..200).map(|n| format!("[port.p{n}]\nnetwork = 'lob'\n")).collect();
    daemon.write("viaduct.toml", &format!("[network.lab]\n{wrong}"));
    for _ in 0..300 {
        daemon.signal("HUP");
        let start = Instant::now();
        daemon.done(&["show", "ports"]);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    let start = Instant::now();
    daemon.signal("TERM");
    assert!(daemon.child.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(!daemon.path("vm1.sock").exists());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.contains("the switch runs") && text.contains("port.p1.network"), "{text}");
}

#[test]
fn what_was_left_out_is_told_when_somebody_reads_again() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "viaduct.toml", PAIR);
    let (mut reader, writer) = pipe().unwrap();
    let mut command = Command::new(PROGRAM);
    let daemon = Daemon::start_in(directory, command.stderr(writer));
    drop(command);
    let wrong: String = (0..200).map(|n| format!("[port.p{n}]\nnetwork = 'lob'\n")).collect();
    daemon.write("viaduct.toml", &format!("[network.lab]\n{wrong}"));
    for _ in 0..300 {
        daemon.signal("HUP");
        daemon.done(&["show", "ports"]);
    }
    let mut text = Vec::new();
    let mut piece = [0; 65_536];
    while !String::from_utf8_lossy(&text).contains("log lines were left out") {
        let length = reader.read(&mut piece).unwrap();
        assert!(length > 0 && text.len() < 8 << 20, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..length]);
    }
}

#[test]
fn a_limit_of_open_files_that_is_low_is_told_with_the_remedy() {
    let ports: String = (0..20).map(|n| format!("[port.p{n}]\nnetwork = 'lab'\n")).collect();
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "viaduct.toml", &format!("[network.lab]\n{ports}"));
    let log = File::create(directory.path().join("log")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 100 && ulimit -Hn 200 && exec \"$0\" \"$@\"", PROGRAM]).stderr(log);
    let daemon = Daemon::start_in(directory, &mut command);
    wait_for_line(&daemon, &["WARN", "20 ports need about", "may have 200", "LimitNOFILE="]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.child.id())).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(limit.split_whitespace().nth(3), Some("200"), "raised to the hard limit: {limit}");
}
