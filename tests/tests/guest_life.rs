//! What happens to guests and to the switch in the course of a day: crashes, restarts, reboots, drivers that
//! come and go. Nobody in a guest has to lift a finger.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::Pings;
use viaduct_tests::machine::{Guest, Machine};

/// `vm1` connects to the switch, `vm2` listens for it: both directions of the socket at once.
fn both_directions() -> (Daemon, [Guest; 2]) {
    both_directions_with("packed=off")
}

/// The same, with more properties for both NICs.
fn both_directions_with(properties: &str) -> (Daemon, [Guest; 2]) {
    let daemon = Daemon::start(
        "[network.lab]\n[port.vm1]\nnetwork = \"lab\"\n[port.vm2]\nnetwork = \"lab\"\nrole = \"client\"\n",
    );
    let mut guests = [("vm1", "10.0.1.1/24"), ("vm2", "10.0.1.2/24")].map(|(name, address)| {
        Machine::new(name, address).on_port_of(&daemon).with_device_properties(properties).power_on()
    });
    for guest in &mut guests {
        guest.await_shell();
    }
    (daemon, guests)
}

/// Waits until the drivers of all guests run again.
fn await_running(daemon: &Daemon) {
    wait_until("both guests' rings to run", Duration::from_secs(10), || {
        daemon.show().ports.iter().all(|port| port.state == "running")
    });
}

#[test]
fn guests_carry_on_when_the_switch_is_killed_and_started_again() {
    kill_and_start_again(both_directions());
}

/// QEMU does not know where a packed ring stands: the switch's own notes have to tell.
#[test]
fn guests_with_packed_rings_carry_on_when_the_switch_is_killed_and_started_again() {
    kill_and_start_again(both_directions_with("packed=on"));
}

fn kill_and_start_again((mut daemon, [mut vm1, mut vm2]): (Daemon, [Guest; 2])) {
    vm2.serve_iperf();
    vm1.ping("10.0.1.2", 56);
    vm1.start("ping", "ping -i 0.1 -c 150 -W 5 10.0.1.2");
    vm2.start("ping", "ping -i 0.1 -c 150 -W 5 10.0.1.1");
    let mut away = Duration::ZERO;
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(3));
        let killed = Instant::now();
        daemon.kill();
        thread::sleep(Duration::from_millis(500));
        daemon.restart();
        await_running(&daemon);
        away += killed.elapsed();
    }
    for guest in [&mut vm1, &mut vm2] {
        let output = guest.finish("ping", Duration::from_secs(40));
        let pings = Pings::read(&output);
        // Ten a second are lost while the switch is away, and some while the guests notice.
        let bound = away.as_millis() / 100 + 10;
        eprintln!(
            "{}: {} of {} pings lost, the switch was away for {away:?}",
            guest.name(),
            pings.lost(),
            pings.sent
        );
        assert!(
            u128::from(pings.lost()) <= bound,
            "{}: more than {bound} pings lost:\n{output}",
            guest.name()
        );
    }

    // A TCP connection lives through it, too.
    vm1.start("iperf", "iperf3 -c 10.0.1.2 -t 8");
    thread::sleep(Duration::from_secs(2));
    daemon.kill();
    daemon.restart();
    vm1.finish("iperf", Duration::from_secs(40));
    for guest in [&mut vm1, &mut vm2] {
        assert_eq!(guest.checksum_errors(), 0, "{} received packets with wrong checksums", guest.name());
        let complaints = guest.try_run(
            Duration::from_secs(10),
            "dmesg | grep -iE 'virtio|eth0' | grep -iE 'error|fail|timeout|broken'",
        );
        assert_eq!(complaints.output, "", "the kernel of {} complains", guest.name());
    }
}

#[test]
fn guests_that_crash_and_come_again_find_their_ports() {
    let (mut daemon, [mut vm1, mut vm2]) = both_directions();
    vm1.ping("10.0.1.2", 56);
    vm2 = vm2.crash_and_boot();
    vm2.ping("10.0.1.1", 56);
    vm1 = vm1.crash_and_boot();
    vm1.ping("10.0.1.2", 56);
    assert!(daemon.is_alive(), "the switch ended");
}

#[test]
fn guests_that_reboot_come_back() {
    reboot(both_directions());
}

#[test]
fn guests_with_packed_rings_that_reboot_come_back() {
    reboot(both_directions_with("packed=on"));
}

fn reboot((daemon, [mut vm1, mut vm2]): (Daemon, [Guest; 2])) {
    vm1.ping("10.0.1.2", 56);
    for _ in 0..2 {
        vm2.reboot();
        vm2.ping("10.0.1.1", 1000);
        vm1.reboot();
        vm1.ping("10.0.1.2", 1000);
    }
    await_running(&daemon);
}

/// The sequence that gives the NIC its address again after its driver came back.
const BRING_UP: &str = "ip address add 10.0.1.2/24 dev eth0; ip link set eth0 up";

#[test]
fn drivers_that_are_unbound_and_bound_under_traffic_come_back() {
    let (daemon, [mut vm1, mut vm2]) = both_directions();
    let device = vm2.run("basename $(readlink /sys/class/net/eth0/device)").trim().to_owned();
    vm1.start("ping", "ping -i 0.05 -c 10000 -W 1 10.0.1.2 || true");
    for _ in 0..5 {
        vm2.run(&format!("echo {device} >/sys/bus/virtio/drivers/virtio_net/unbind"));
        wait_until("the unbound driver's rings to stop", Duration::from_secs(10), || {
            daemon.show().port("vm2").rings_running == 0
        });
        vm2.run(&format!("echo {device} >/sys/bus/virtio/drivers/virtio_net/bind; {BRING_UP}"));
        vm2.ping("10.0.1.1", 56);
    }
    vm1.run("pkill ping; true");
}

#[test]
fn a_nic_that_is_pulled_out_and_plugged_in_again_finds_its_port() {
    let daemon =
        Daemon::start("[network.lab]\n[port.vm1]\nnetwork = \"lab\"\n[port.vm2]\nnetwork = \"lab\"\n");
    let machine = |name, address| Machine::new(name, address).on_port_of(&daemon);
    let mut vm1 = machine("vm1", "10.0.1.1/24").boot();
    let mut vm2 = machine("vm2", "10.0.1.2/24").with_device_properties("bus=nic-slot").boot();
    vm1.ping("10.0.1.2", 56);
    let mac = vm2.run("cat /sys/class/net/eth0/address").trim().to_owned();
    for _ in 0..2 {
        vm2.unplug("nic-vm2");
        wait_until("the unplugged NIC's rings to stop", Duration::from_secs(10), || {
            daemon.show().port("vm2").rings_running == 0
        });
        let nic = json!({ "driver": "virtio-net-pci", "id": "nic-vm2", "netdev": "net-vm2", "mac": mac, "bus": "nic-slot" });
        vm2.monitor("device_add", &nic);
        wait_until("the guest to find its NIC", Duration::from_secs(20), || {
            vm2.try_run(Duration::from_secs(10), "test -e /sys/class/net/eth0").status == 0
        });
        vm2.run(BRING_UP);
        vm2.ping("10.0.1.1", 1000);
    }
}

/// A driver changes the size of a ring by resetting it alone (virtio 1.2, 2.6.1), of which QEMU would not tell
/// us: the guest must not have that feature, so that it refuses and its traffic goes on.
#[test]
fn rings_cannot_be_reset_behind_our_back() {
    let (daemon, [mut vm1, mut vm2]) = both_directions();
    vm2.serve_iperf();
    vm1.start("iperf", "iperf3 -c 10.0.1.2 -t 3");
    thread::sleep(Duration::from_secs(1));
    let refused = vm2.try_run(Duration::from_secs(10), "ethtool -G eth0 rx 256 tx 256");
    assert_ne!(refused.status, 0, "the guest changed the size of its rings: {}", refused.output);
    vm1.finish("iperf", Duration::from_secs(30));
    vm2.ping("10.0.1.1", 1472);
    await_running(&daemon);
}
