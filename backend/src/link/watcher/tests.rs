//! Against this machine's kernel, in namespaces that the tests make for themselves.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use viaduct_switch::MacAddress;

use super::*;

/// A network namespace, held by a process that sleeps in it.
struct Namespace(std::process::Child);

impl Namespace {
    fn new() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
        let namespace = Self(child);
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while std::fs::read_link(namespace.path()).is_ok_and(|link| link == own) {
            assert!(Instant::now() < end, "unshare made no namespace; these tests need root");
            std::thread::sleep(Duration::from_millis(2));
        }
        namespace
    }

    fn path(&self) -> std::path::PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    fn ip(&self, arguments: &str) {
        let inside = format!("--net=/proc/{}/ns/net", self.0.id());
        let status = Command::new("nsenter").arg(inside).arg("ip").args(arguments.split(' ')).status();
        assert!(status.unwrap().success(), "ip {arguments}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watching(namespace: &Namespace, names: &[&str]) -> LinkWatcher {
    let mut watcher = LinkWatcher::open(Some(&namespace.path())).unwrap();
    names.iter().for_each(|name| watcher.watch(name).unwrap());
    watcher.read().unwrap();
    watcher
}

#[test]
fn a_link_comes_changes_and_goes() {
    let namespace = Namespace::new();
    let mut watcher = watching(&namespace, &["v1"]);
    assert_eq!(watcher.link("v1"), None);
    namespace.ip("link add v1 address 02:00:00:00:00:01 type veth peer name v2");
    assert_eq!(watcher.read().unwrap(), ["v1"]);
    let link = watcher.link("v1").unwrap().clone();
    assert_eq!((link.up, link.carrier, link.mtu, link.kind.as_deref()), (false, false, 1500, Some("veth")));
    assert_eq!(link.mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
    namespace.ip("link set v1 mtu 9000 up");
    namespace.ip("link set v2 up");
    assert_eq!(watcher.read().unwrap(), ["v1"]);
    // The kernel finds the carrier in its own time.
    let until = Instant::now() + Duration::from_secs(10);
    while !watcher.link("v1").unwrap().carrier && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
        watcher.read().unwrap();
    }
    let link = watcher.link("v1").unwrap().clone();
    assert_eq!((link.up, link.carrier, link.mtu), (true, true, 9000));
    assert_eq!(watcher.read().unwrap(), Vec::<String>::new(), "nothing is told twice");
    let first = link.index;
    namespace.ip("link del v1");
    assert_eq!((watcher.read().unwrap(), watcher.link("v1")), (vec!["v1".to_owned()], None));
    namespace.ip("link add v1 type veth peer name v2");
    watcher.read().unwrap();
    assert_ne!(watcher.link("v1").unwrap().index, first);
}

#[test]
fn what_is_there_already_is_known_at_once() {
    let namespace = Namespace::new();
    namespace.ip("link add v1 type veth peer name v2");
    let watcher = watching(&namespace, &["v1", "lo", "none"]);
    assert!(watcher.link("v1").is_some() && watcher.link("none").is_none());
    assert_eq!(watcher.link("lo").unwrap().mac, None, "no Ethernet");
}

#[test]
fn a_renamed_link_keeps_its_place_until_another_takes_the_name() {
    let namespace = Namespace::new();
    namespace.ip("link add v1 type veth peer name v2");
    let mut watcher = watching(&namespace, &["v1", "v2"]);
    let index = watcher.link("v1").unwrap().index;
    namespace.ip("link set v1 name wan0");
    assert_eq!(watcher.read().unwrap(), ["v1"]);
    let link = watcher.link("v1").unwrap();
    assert_eq!((link.index, link.name.as_str()), (index, "wan0"));
    namespace.ip("link add v1 type bridge");
    watcher.read().unwrap();
    let link = watcher.link("v1").unwrap();
    assert_eq!((link.kind.as_deref(), link.index == index), (Some("bridge"), false));
    // Who gets a watched name belongs there, and nowhere else.
    namespace.ip("link set v2 name v3");
    namespace.ip("link del v1");
    namespace.ip("link set v3 name v1");
    watcher.read().unwrap();
    assert!(watcher.link("v2").is_none());
    assert_eq!(watcher.link("v1").unwrap().kind.as_deref(), Some("veth"));
}

#[test]
fn what_was_lost_in_a_flood_of_changes_is_asked_for() {
    let namespace = Namespace::new();
    namespace.ip("link add v1 type veth peer name v2");
    let mut watcher = watching(&namespace, &["v1", "later"]);
    rustix::net::sockopt::set_socket_recv_buffer_size(&watcher.socket, 4096).unwrap();
    for mtu in 1400..1420 {
        namespace.ip(&format!("link set v2 mtu {mtu}"));
    }
    namespace.ip("link set v1 name gone");
    namespace.ip("link add later type bridge");
    namespace.ip("link del gone");
    watcher.read().unwrap();
    assert_eq!(watcher.link("v1"), None);
    assert_eq!(watcher.link("later").unwrap().kind.as_deref(), Some("bridge"));
}

#[test]
fn links_of_other_namespaces_are_not_seen() {
    let (here, there) = (Namespace::new(), Namespace::new());
    let mut watcher = watching(&here, &["v1"]);
    there.ip("link add v1 type bridge");
    assert!(watcher.read().unwrap().is_empty());
    assert_eq!(watcher.link("v1"), None);
}
