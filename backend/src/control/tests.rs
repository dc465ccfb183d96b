//! The control thread as a whole, with real sockets, the real data path and the `vhost` crate's frontend.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vhost::VhostBackend;
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use crate::config::{Attachment, Config, Polling, Role};
use crate::control::samples::{self, end};
use crate::control::{ApplyError, Ended, Expected, Handle, RunError, run};
use crate::model::{PortState, PortStatus};
use crate::vhost_user::disposal::tests::lingering;

mod groups;
mod hostile;
mod stations;

/// A switch in a folder of its own.
struct Lab {
    folder: tempfile::TempDir,
    handle: Handle,
    thread: Option<JoinHandle<Result<Ended, RunError>>>,
    /// What the kernel tells of the control thread.
    task: PathBuf,
}

impl Lab {
    fn start(ports: &[&str]) -> Self {
        Self::start_with(ports, |_| ()).0
    }

    /// Has `prepare` done when the sockets in the folder are there and nothing is served yet.
    fn start_with<T: Send + 'static>(
        ports: &[&str],
        prepare: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> (Self, T) {
        // In memory, as /run is: where sockets are made on a disk, a thousand of them wait for its journal.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (path, config) = (folder.path().to_owned(), config(folder.path(), ports));
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || {
            let task = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap());
            let ready = |handle| sender.send((handle, task, prepare(&path))).unwrap();
            run(config, || Err("no file".to_owned()), ready)
        });
        let (handle, task, prepared) = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        (Self { folder, handle, thread: Some(thread), task }, prepared)
    }

    fn config(&self, ports: &[&str]) -> Config {
        config(self.folder.path(), ports)
    }

    fn socket(&self, port: &str) -> PathBuf {
        self.folder.path().join(format!("{port}.sock"))
    }

    fn port(&self, name: &str) -> PortStatus {
        let ports = self.handle.snapshot().unwrap().ports;
        ports.into_iter().find(|port| port.name == name).unwrap()
    }

    fn wait_for(&self, name: &str, state: PortState) -> PortStatus {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let port = self.port(name);
            if port.state == state {
                return port;
            }
            assert!(Instant::now() < end, "{port:?} does not become {state:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn stop(&mut self) {
        self.handle.stop().unwrap();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

fn config(folder: &Path, ports: &[&str]) -> Config {
    let port = |name: &&str| {
        let end = samples::vhost_user(folder.join(format!("{name}.sock")), 2);
        ((*name).to_owned(), samples::port(end))
    };
    let mut config = samples::lab(ports.iter().map(port));
    config.switch.runtime_dir = folder.to_owned();
    config.switch.polling = Polling::Interrupt;
    config
}

fn busy_us(thread: &Path) -> u64 {
    let text = std::fs::read_to_string(thread.join("schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1000
}

/// Asks something and waits for the answer, so that everything sent before is served.
fn greet(frontend: &mut Frontend) {
    frontend.get_features().unwrap();
    let protocol = frontend.get_protocol_features().unwrap();
    frontend.set_protocol_features(protocol).unwrap();
    assert_eq!(frontend.get_queue_num().unwrap(), 2);
}

#[test]
fn a_frontend_comes_goes_and_comes_again() {
    let lab = Lab::start(&["a", "b"]);
    assert_eq!(lab.port("a").state, PortState::Listening);
    let mut frontend = Frontend::connect(lab.socket("a"), 4).unwrap();
    greet(&mut frontend);
    let port = lab.wait_for("a", PortState::Connected);
    assert_eq!(port.peer_pid, Some(i32::try_from(std::process::id()).unwrap()));
    assert_eq!((port.connections, lab.port("b").state), (1, PortState::Listening));
    drop(frontend);
    lab.wait_for("a", PortState::Listening);
    greet(&mut Frontend::connect(lab.socket("a"), 4).unwrap());
    assert_eq!(lab.port("a").connections, 2);
}

#[test]
fn the_second_frontend_is_turned_away_while_the_first_lives() {
    let lab = Lab::start(&["a"]);
    let mut first = Frontend::connect(lab.socket("a"), 4).unwrap();
    greet(&mut first);
    let mut second = UnixStream::connect(lab.socket("a")).unwrap();
    second.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap(), 0, "it is closed");
    assert_eq!(first.get_queue_num().unwrap(), 2, "the first one does not notice");
}

#[test]
fn a_frontend_that_was_killed_and_is_back_at_once_is_let_in() {
    let lab = Lab::start(&["a"]);
    for _ in 0..200 {
        let mut frontend = Frontend::connect(lab.socket("a"), 4).unwrap();
        greet(&mut frontend);
    }
    assert_eq!(lab.port("a").connections, 200);
}

#[test]
fn ports_are_added_and_removed_while_the_others_stay() {
    let lab = Lab::start(&["a", "b"]);
    let mut frontend = Frontend::connect(lab.socket("a"), 4).unwrap();
    greet(&mut frontend);
    let wanted = lab.config(&["a", "c"]);
    let told = lab.handle.apply(wanted.clone(), true).unwrap();
    assert_eq!(told.changes.len(), 2);
    assert!(!lab.socket("c").exists(), "a dry run changes nothing");
    let done = lab.handle.apply(wanted.clone(), false).unwrap();
    assert_eq!((done.generation, done.changes), (2, told.changes));
    assert!(lab.socket("c").exists() && !lab.socket("b").exists());
    assert_eq!(frontend.get_queue_num().unwrap(), 2);
    assert_eq!(lab.handle.apply(wanted, false).unwrap().generation, 2, "nothing changed");
    let names: Vec<String> = lab.handle.snapshot().unwrap().ports.into_iter().map(|port| port.name).collect();
    assert_eq!(names, ["a", "c"]);
}

#[test]
fn who_expects_another_generation_changes_nothing() {
    let lab = Lab::start(&["a"]);
    let one = || Expected::OneOf(vec![1]);
    lab.handle.apply_if(lab.config(&["a", "b"]), one(), true).unwrap();
    assert_eq!(lab.handle.apply_if(lab.config(&["a", "b"]), one(), false).unwrap().generation, 2);
    // Of many who all have seen generation 2, one may replace it.
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let (handle, wanted) = (lab.handle.clone(), lab.config(&["a"]));
            std::thread::spawn(move || handle.apply_if(wanted, Expected::OneOf(vec![2, 7]), false))
        })
        .collect();
    let outcomes: Vec<_> = attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert!(matches!(error, ApplyError::Generation { running: 3 }), "{error}");
    }
    lab.handle.apply_if(lab.config(&["a", "c"]), Expected::OneOf(Vec::new()), false).unwrap_err();
    assert_eq!(lab.handle.snapshot().unwrap().generation, 3);
}

#[test]
fn removing_a_port_ends_its_session() {
    let lab = Lab::start(&["a", "b"]);
    let mut socket = UnixStream::connect(lab.socket("b")).unwrap();
    lab.wait_for("b", PortState::Connected);
    lab.handle.apply(lab.config(&["a"]), false).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_cannot_be_applied_leaves_everything_as_it_was() {
    let lab = Lab::start(&["a", "b"]);
    std::fs::write(lab.socket("z"), "in the way").unwrap();
    let mut frontend = Frontend::connect(lab.socket("b"), 4).unwrap();
    greet(&mut frontend);
    // `a` leaves, `c` can be made, `z` cannot.
    let error = lab.handle.apply(lab.config(&["b", "c", "z"]), false).unwrap_err();
    assert!(matches!(&error, ApplyError::Socket { port, .. } if port == "z"), "{error}");
    assert!(error.to_string().contains("z.sock"), "{error}");
    let snapshot = lab.handle.snapshot().unwrap();
    let names: Vec<&str> = snapshot.ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!((snapshot.generation, names), (1, vec!["a", "b"]));
    assert!(lab.socket("a").exists() && !lab.socket("c").exists());
    assert_eq!(frontend.get_queue_num().unwrap(), 2);
    lab.handle.apply(lab.config(&["b", "c"]), false).unwrap();
    greet(&mut Frontend::connect(lab.socket("c"), 4).unwrap());
}

#[test]
fn a_socket_is_handed_over_from_port_to_port() {
    let lab = Lab::start(&["a", "b"]);
    let (a, b) = (lab.socket("a"), lab.socket("b"));
    let mut swapped = lab.config(&["a", "b"]);
    end(&mut swapped, "a").socket = b;
    end(&mut swapped, "b").socket = a.clone();
    lab.handle.apply(swapped, false).unwrap();
    let _stream = UnixStream::connect(&a).unwrap();
    lab.wait_for("b", PortState::Connected);
    assert_eq!(lab.port("a").state, PortState::Listening);
    let mut renamed = lab.config(&["c"]);
    end(&mut renamed, "c").socket = a.clone();
    lab.handle.apply(renamed, false).unwrap();
    let _stream = UnixStream::connect(&a).unwrap();
    lab.wait_for("c", PortState::Connected);
}

#[test]
fn a_changed_mtu_needs_no_new_session() {
    let lab = Lab::start(&["a"]);
    let mut frontend = Frontend::connect(lab.socket("a"), 4).unwrap();
    greet(&mut frontend);
    let mut wanted = lab.config(&["a"]);
    wanted.ports.get_mut("a").unwrap().mtu = 9000;
    let done = lab.handle.apply(wanted, false).unwrap();
    assert_eq!(done.changes[0].to_string(), "~ port a: mtu 1500 -> 9000");
    assert_eq!((lab.port("a").mtu, lab.port("a").state), (9000, PortState::Connected));
    assert_eq!(frontend.get_queue_num().unwrap(), 2);
}

#[test]
fn we_connect_where_the_frontend_listens_and_come_back_when_it_does() {
    let mut lab = Lab::start(&[]);
    let mut wanted = lab.config(&["a"]);
    end(&mut wanted, "a").role = Role::Client;
    lab.handle.apply(wanted, false).unwrap();
    assert_eq!(lab.port("a").state, PortState::Connecting);
    assert!(lab.port("a").detail.unwrap().contains("a.sock"));
    for round in 1..=2 {
        let listener = std::os::unix::net::UnixListener::bind(lab.socket("a")).unwrap();
        let mut frontend = Frontend::from_stream(listener.accept().unwrap().0, 4);
        greet(&mut frontend);
        assert_eq!(lab.port("a").connections, round);
        drop((frontend, listener));
        std::fs::remove_file(lab.socket("a")).unwrap();
        lab.wait_for("a", PortState::Connecting);
    }
    lab.stop();
}

#[test]
fn the_end_removes_sockets_and_answers_nobody() {
    let mut lab = Lab::start(&["a", "b"]);
    let mut socket = UnixStream::connect(lab.socket("b")).unwrap();
    lab.wait_for("b", PortState::Connected);
    lab.stop();
    assert!(!lab.socket("a").exists() && !lab.socket("b").exists());
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    lab.handle.snapshot().unwrap_err();
}

#[test]
fn a_thousand_ports_listen_at_once() {
    let names: Vec<String> = (0..1000).map(|index| format!("p{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lab = Lab::start(&names);
    assert_eq!(lab.handle.snapshot().unwrap().ports.len(), 1000);
    assert_eq!(lab.handle.apply(lab.config(&[]), false).unwrap().changes.len(), 1000);
}

#[test]
fn what_was_not_negotiated_is_refused_and_the_neighbour_does_not_notice() {
    let lab = Lab::start(&["a", "b"]);
    let mut neighbour = Frontend::connect(lab.socket("b"), 4).unwrap();
    greet(&mut neighbour);
    let mut frontend = Frontend::connect(lab.socket("a"), 4).unwrap();
    frontend.get_features().unwrap();
    frontend.get_protocol_features().unwrap();
    frontend.set_protocol_features(VhostUserProtocolFeatures::MQ).unwrap();
    assert_eq!(frontend.get_queue_num().unwrap(), 2);
    frontend.set_features(1 << 63).unwrap();
    frontend.get_features().unwrap_err();
    let port = lab.wait_for("a", PortState::Listening);
    assert!(port.detail.unwrap().contains("0x8000000000000000 were not offered"));
    assert_eq!(neighbour.get_queue_num().unwrap(), 2);
}
