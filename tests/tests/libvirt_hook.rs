//! Domains whose ports libvirt's hook makes and takes away.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use viaduct_tests::daemon::{Daemon, binary};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::libvirt::Libvirt;

/// Domains that come and go, unless `VIADUCT_DOMAINS` says how many.
const DOMAINS: usize = 6;

const MAC: &str = "52:54:00:00:01:07";

/// One port is declared, for guests of which the hook knows nothing.
const LAB: &str = "[network.lab]\n[port.mine]\nnetwork = \"lab\"\n";

fn lab() -> (Daemon, Libvirt) {
    let daemon = Daemon::start(LAB);
    // QEMU runs as a user of its own and has to reach the switch's sockets.
    fs::set_permissions(daemon.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = daemon.directory().join("run/api.sock");
    let hook = format!(
        "#!/bin/sh\nVIADUCT_SOCKET={} exec {} libvirt-hook \"$@\"\n",
        socket.display(),
        binary().display()
    );
    let libvirt = Libvirt::start_with_hook(&hook);
    (daemon, libvirt)
}

fn ports(daemon: &Daemon) -> BTreeSet<String> {
    daemon.show().ports.iter().map(|port| port.name.clone()).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("d{number}")).collect()
}

fn interface(daemon: &Daemon, port: &str, number: usize) -> String {
    format!(
        "<interface type='vhostuser'><mac address='52:54:00:00:01:{number:02x}'/>\
         <source type='unix' path='{}' mode='client'/><model type='virtio'/><rom enabled='no'/></interface>",
        daemon.socket(port).display()
    )
}

fn metadata(ports: &str) -> String {
    format!("<metadata><v:guest xmlns:v='urn:viaduct:libvirt:1'>{ports}</v:guest></metadata>")
}

/// A machine without anything to boot: its firmware waits.
fn domain(daemon: &Daemon, number: usize, network: &str) -> String {
    let name = format!("d{number}");
    format!(
        "<domain type='qemu'><name>{name}</name>{}<memory unit='MiB'>32</memory>\
         <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>\
         <devices>{}<memballoon model='none'/></devices></domain>",
        metadata(&format!("<v:port name='{name}' network='{network}'/>")),
        interface(daemon, &name, number),
    )
}

/// Whose socket has a QEMU at it.
fn is_connected(daemon: &Daemon, port: &str) -> bool {
    let state = daemon.show().port(port).state.clone();
    state != "listening" && state != "waiting"
}

#[test]
fn ports_come_with_their_domains_and_leave_nothing() {
    let (daemon, libvirt) = lab();
    let before = (ports(&daemon), daemon.settled_usage());
    let count = std::env::var("VIADUCT_DOMAINS").map_or(DOMAINS, |count| count.parse().unwrap());
    let names = names(count);
    for (number, name) in names.iter().enumerate() {
        libvirt.define(name, &domain(&daemon, number, "lab"));
        libvirt.virsh(&["start", name]);
    }
    assert_eq!(ports(&daemon).len(), 1 + count, "{:?}", ports(&daemon));
    for name in &names {
        wait_until("QEMU to be at its port", Duration::from_secs(10), || is_connected(&daemon, name));
    }
    for name in &names {
        libvirt.virsh(&["destroy", name]);
        libvirt.virsh(&["undefine", name]);
    }
    let gone = || ports(&daemon) == before.0;
    wait_until("the ports to be gone", Duration::from_secs(10), gone);
    let left: Vec<_> =
        fs::read_dir(daemon.directory().join("run")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with('d')), "{left:?}");
    let after = daemon.settled_usage();
    assert_eq!((after.descriptors, after.mappings), (before.1.descriptors, before.1.mappings));

    // What is wrong keeps the domain from starting, and says so; what others wrote stays.
    libvirt.define("d0", &domain(&daemon, 0, "nowhere"));
    let told = libvirt.refusal(&["start", "d0"]);
    assert!(told.contains("nowhere"), "{told}");
    libvirt.virsh(&["undefine", "d0"]);
    libvirt.define("d0", &domain(&daemon, 0, "lab").replace("name='d0'", "name='mine'"));
    let told = libvirt.refusal(&["start", "d0"]);
    assert!(told.contains("port mine is there already"), "{told}");
    assert_eq!(ports(&daemon), before.0);
}

#[test]
fn nics_are_plugged_in_and_out_while_their_domain_runs() {
    let (daemon, libvirt) = lab();
    let second = metadata("<v:port name='second' network='lab' mac='52:54:00:00:01:07'/>");
    let mut guest = libvirt.boot_with(&daemon, "mine", "10.0.1.1/24", &second);
    let nics = "ls /sys/class/net | grep -c eth; true";
    assert_eq!(guest.run(nics).trim(), "1");
    let nic = libvirt.file("nic", &interface(&daemon, "second", 7));
    libvirt.virsh(&["attach-device", "mine", &nic, "--live"]);
    wait_until("the new NIC to be at its port", Duration::from_secs(10), || is_connected(&daemon, "second"));
    wait_until("the guest to find it", Duration::from_secs(10), || guest.run(nics).trim() == "2");
    // What libvirt cannot do with such a NIC it says, as the documentation does.
    for command in [&["domif-setlink", "mine", MAC, "down"][..], &["domifstat", "mine", MAC]] {
        let told = libvirt.refusal(command);
        assert!(told.contains("vhostuser") || told.contains("not"), "{command:?}: {told}");
        println!("{command:?}: {told}");
    }
    libvirt.virsh(&["detach-device", "mine", &nic, "--live"]);
    wait_until("the NIC to be gone", Duration::from_secs(20), || !is_connected(&daemon, "second"));
    assert!(ports(&daemon).contains("second"), "the port is its domain's as long as that runs");
    drop(guest);
    wait_until("the port to be gone", Duration::from_secs(10), || !ports(&daemon).contains("second"));
    assert!(ports(&daemon).contains("mine"), "what the file declares stays");
}
