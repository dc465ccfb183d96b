//! Hostile peers of ports that connect: listeners that hang up, that never answer, and things that are no listeners.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use viaduct_tests::bystander::Bystander;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::session;
use viaduct_tests::lab::network;

/// A port `c` that connects beside two that listen, with traffic on these.
fn start() -> (Daemon, Bystander) {
    let config = network("lab", &["a", "b"], "") + "[port.c]\nnetwork = \"lab\"\nrole = \"client\"\n";
    let daemon = Daemon::start(&config);
    let bystander = Bystander::start(["a", "b"].map(|port| daemon.socket(port)));
    (daemon, bystander)
}

/// The port still finds an honest listener.
fn assert_mended(daemon: &Daemon, bystander: Bystander) {
    let listener = session::listen(&daemon.socket("c"));
    let nic = Nic::over(session::accept(&listener), &NicOptions::default());
    daemon.wait_for_state("c", "running");
    drop(nic);
    bystander.wait_for_rounds(3);
    bystander.finish();
}

#[test]
fn a_listener_that_hangs_up_at_once_is_tried_again_with_patience() {
    let (daemon, bystander) = start();
    let listener = session::listen(&daemon.socket("c"));
    let (start, cpu) = (Instant::now(), daemon.usage().cpu);
    let mut accepted = 0;
    while start.elapsed() < Duration::from_secs(3) {
        match listener.accept() {
            Ok(_) => accepted += 1,
            Err(_) => std::thread::sleep(Duration::from_micros(100)),
        }
    }
    println!("{accepted} connections in three seconds, {:?} of processor time", daemon.usage().cpu - cpu);
    assert!((2..200).contains(&accepted), "{accepted} connections in three seconds");
    drop(listener);
    assert_mended(&daemon, bystander);
}

#[test]
fn a_listener_that_never_accepts_or_never_speaks_keeps_nobody_waiting() {
    let (daemon, bystander) = start();
    // A backlog of one, taken by us: who connects next would wait for ever.
    let path = daemon.socket("c");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: listen on a socket of ours only changes the length of its queue.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let first = UnixStream::connect(&path).unwrap();
    bystander.wait_for_rounds(500);
    let state = daemon.show().port("c").state.clone();
    assert!(["connecting", "connected"].contains(&state.as_str()), "{state}");
    drop((first, listener));
    // One that accepts and says nothing.
    let listener = session::listen(&path);
    let silent = session::accept(&listener);
    bystander.wait_for_rounds(200);
    drop((silent, listener));
    assert_mended(&daemon, bystander);
}

#[test]
fn what_is_no_listener_is_left_alone_and_tried_again() {
    let (daemon, bystander) = start();
    let path = daemon.socket("c");
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, "somebody's file").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's file");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    std::fs::remove_dir(&path).unwrap();
    let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(datagrams);
    std::fs::remove_file(&path).unwrap();
    wait_until("the port to say what it waits for", Duration::from_secs(3), || {
        let port = daemon.show().port("c").clone();
        port.state == "connecting" && port.detail.is_some()
    });
    assert_mended(&daemon, bystander);
}
