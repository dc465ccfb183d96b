//! Two hosts in namespaces of their own, joined by a switch that has a device at each.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use viaduct_switch::{
    DropReason, Limits, NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, StormLimits, Switch,
};

use crate::config::Polling;
use crate::dataplane::{Datapath, Dataplane};
use crate::device::{Device, DeviceKind, DeviceRequest, open};

/// A network namespace, there as long as this is.
pub(super) struct Namespace(File);

impl Namespace {
    pub(super) fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces take root");
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(made.join().unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// The same one, for another thread.
    pub(super) fn again(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Works in a thread that is in the namespace.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs ip(8) with these words.
    pub(super) fn ip(&self, words: &str) {
        self.within(|| {
            let output = Command::new("ip").args(words.split(' ')).output().expect("iproute2 is missing");
            assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        });
    }
}

/// Host `n` has the interface `hn` with address 10.0.0.(n + 1), wired to `sn` in the switch's namespace.
pub(super) struct Lab {
    pub(super) wires: Namespace,
    pub(super) hosts: Vec<Namespace>,
    pub(super) dataplane: Dataplane,
}

pub(super) fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

pub(super) fn address(host: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(host + 1).unwrap()).into()
}

impl Lab {
    pub(super) fn new(hosts: usize) -> Self {
        let (wires, list) = (Namespace::new(), (0..hosts).map(|_| Namespace::new()).collect::<Vec<_>>());
        let network = NetworkIndex::new(0).unwrap();
        let ports = (0..8).map(|index| {
            (port(index), PortPolicy { storm: StormLimits::UNLIMITED, ..PortPolicy::new(network, 9000) })
        });
        let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
        let switch = Arc::new(Switch::new(1, Limits::default()));
        let dataplane = Dataplane::start(switch, Arc::new(policy), &[0], Polling::Adaptive).unwrap();
        let lab = Self { wires, hosts: list, dataplane };
        for (number, host) in lab.hosts.iter().enumerate() {
            lab.wire(number);
            host.ip(&format!("addr add {}/24 dev h{number}", address(number)));
        }
        lab
    }

    /// Wires a host, new or again.
    pub(super) fn wire(&self, number: usize) {
        let path = self.hosts[number].path();
        self.wires.ip(&format!("link add s{number} type veth peer name h{number} netns {}", path.display()));
        self.wires.ip(&format!("link set s{number} up"));
        self.hosts[number].ip(&format!("link set h{number} up"));
    }

    pub(super) fn request(&self, number: usize) -> DeviceRequest {
        DeviceRequest {
            kind: DeviceKind::AfPacket,
            interface: format!("s{number}"),
            namespace: Some(self.wires.path()),
            queues: None,
            gro: true,
            mtu: None,
        }
    }

    /// The device at a host's wire.
    pub(super) fn open(&self, number: usize) -> Device {
        open(&self.request(number)).unwrap()
    }

    /// Attaches a device for each host.
    pub(super) fn attach_all(&mut self) {
        for number in 0..self.hosts.len() {
            let device = self.open(number);
            self.dataplane.attach_device(port(number), device);
        }
    }

    pub(super) fn drops(&self, number: usize, reason: DropReason) -> u64 {
        self.dataplane.switch().counters().port(port(number)).drops(reason)
    }

    /// All that was dropped, for messages.
    pub(super) fn all_drops(&self) -> Vec<(usize, &'static str, u64)> {
        let of = |number| {
            DropReason::ALL.iter().map(move |reason| (number, reason.name(), self.drops(number, *reason)))
        };
        (0..self.hosts.len()).flat_map(of).filter(|(_, _, count)| *count > 0).collect()
    }
}

/// Where a host listens.
pub(super) fn at(host: usize, port: u16) -> SocketAddr {
    (address(host), port).into()
}

/// Keeps this thread on one processor: a wire keeps the order of one processor's frames.
pub(super) fn stay_on_one_processor() {
    let mut processor = nix::sched::CpuSet::new();
    processor.set(0).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &processor).unwrap();
}

/// Looks that are taken before a wait sleeps between them: what is about to come comes at once.
const LOOKS: u32 = 2000;

/// Waits until something holds.
pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let (end, mut looks) = (Instant::now() + Duration::from_secs(10), 0);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within 10 s");
        looks += 1;
        if looks < LOOKS { thread::yield_now() } else { thread::sleep(Duration::from_millis(2)) }
    }
}
