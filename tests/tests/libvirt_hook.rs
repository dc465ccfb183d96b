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

/// Where the numbers of domains' NICs begin: one until they are started, one while they run.
const FIRST: usize = 0x100;
const HOT: usize = 0x200;

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
        "<interface type='vhostuser'><mac address='52:54:00:00:{:02x}:{:02x}'/>\
         <source type='unix' path='{}' mode='client'/><model type='virtio'/><rom enabled='no'/></interface>",
        number >> 8,
        number & 0xff,
        daemon.socket(port).display()
    )
}

fn metadata(ports: &str) -> String {
    format!("<metadata><v:guest xmlns:v='urn:viaduct:libvirt:1'>{ports}</v:guest></metadata>")
}

/// A machine without anything to boot: its firmware waits. It has a free slot, and no ACPI, whose events nobody would answer: so that
/// what is plugged in there can be pulled out again.
fn domain(daemon: &Daemon, number: usize, network: &str) -> String {
    let name = format!("d{number}");
    let hot = format!("52:54:00:00:02:{number:02x}");
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{name}</name>{}<memory unit='MiB'>32</memory>\
         <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='q35'>hvm</type></os>\
         <devices><controller type='pci' index='0' model='pcie-root'/><controller type='pci' model='pcie-root-port'/><controller type='pci' model='pcie-root-port'/>\
         {}<controller type='usb' model='none'/><memballoon model='none'/></devices>\
         <qemu:commandline><qemu:arg value='-global'/>\
         <qemu:arg value='ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off'/></qemu:commandline></domain>",
        metadata(&format!(
            "<v:port name='{name}' network='{network}'/><v:port name='{name}-hot' network='{network}' mac='{hot}'/>"
        )),
        interface(daemon, &name, FIRST + number),
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
    assert_eq!(ports(&daemon).len(), 1 + 2 * count, "{:?}", ports(&daemon));
    for name in &names {
        wait_until("QEMU to be at its port", Duration::from_secs(10), || is_connected(&daemon, name));
    }
    for (number, name) in names.iter().enumerate() {
        let hot = format!("{name}-hot");
        let nic = libvirt.file("nic", &interface(&daemon, &hot, HOT + number));
        libvirt.virsh(&["attach-device", name, &nic, "--live"]);
        wait_until("QEMU to be at the second port", Duration::from_secs(10), || is_connected(&daemon, &hot));
        libvirt.virsh(&["detach-device", name, &nic, "--live"]);
        wait_until("QEMU to have left it", Duration::from_secs(10), || !is_connected(&daemon, &hot));
    }
    for name in &names {
        libvirt.virsh(&["destroy", name]);
        libvirt.virsh(&["undefine", name]);
    }
    let gone = || ports(&daemon) == before.0;
    wait_until("the ports to be gone", Duration::from_secs(10), gone);
    wait_until("their files to be gone", Duration::from_secs(10), || {
        let mut left = fs::read_dir(daemon.directory().join("run")).unwrap();
        left.all(|it| !it.unwrap().file_name().to_str().unwrap().starts_with('d'))
    });
    daemon.usage_given_back(before.1);

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
    let nic = libvirt.file("nic", &interface(&daemon, "second", 0x107));
    libvirt.virsh(&["attach-device", "mine", &nic, "--live"]);
    wait_until("the new NIC to be at its port", Duration::from_secs(10), || is_connected(&daemon, "second"));
    wait_until("the guest to find it", Duration::from_secs(30), || guest.run(nics).trim() == "2");
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
