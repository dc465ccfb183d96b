//! Linux guests whose NICs have packed rings (`packed=on`), beside one another and beside one with split rings.

use std::fs;
use std::path::Path;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::Shell;
use viaduct_tests::machine::{Guest, Machine};

/// The slowest TCP that counts as working: a fraction of what an emulated guest can do.
const WORKING_BITS_PER_SECOND: f64 = 5e6;

/// The sequence that gives a NIC its address again after its driver came back.
const BRING_UP: &str = "ip address add 10.0.1.1/24 dev eth0; ip link set eth0 up";

fn s1() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/s1.toml");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Boots `vm1` with packed rings, and `vm2` with these properties of its NIC.
fn boot_pair(daemon: &Daemon, properties: &str) -> [Guest; 2] {
    let machines = [("vm1", "10.0.1.1/24", "packed=on"), ("vm2", "10.0.1.2/24", properties)];
    let mut guests = machines.map(|(name, address, properties)| {
        Machine::new(name, address).on_port_of(daemon).with_device_properties(properties).power_on()
    });
    for guest in &mut guests {
        guest.await_shell();
    }
    guests
}

fn is_packed(daemon: &Daemon, port: &str) -> bool {
    daemon.show().port(port).features.iter().any(|feature| feature == "ring-packed")
}

/// Pings of every size, TCP both ways and UDP, and nothing that arrives damaged.
fn exchange(vm1: &mut Shell, vm2: &mut Shell) {
    // The smallest frame, a full one, and the largest packet of IPv4 (RFC 791), in fragments.
    for payload in [22, 1472, 65_507] {
        vm1.ping("10.0.1.2", payload);
        vm2.ping("10.0.1.1", payload);
    }
    vm2.serve_iperf();
    for options in ["", "-R", "-u -b 10M"] {
        let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, "10.0.1.2", 2, options);
        eprintln!("iperf3 {options}: {:.1} Mbit/s", rate / 1e6);
        assert!(rate > WORKING_BITS_PER_SECOND, "iperf3 {options} came to {rate} bit/s only");
    }
    for guest in [vm1, vm2] {
        assert_eq!(guest.checksum_errors(), 0, "{} received packets with wrong checksums", guest.name());
        let complaints = guest.try_run(
            Duration::from_secs(10),
            "dmesg | grep -iE 'virtio|eth0|output.0' | grep -iE 'error|fail|timeout|broken|not a head'",
        );
        assert_eq!(complaints.output, "", "the kernel of {} complains", guest.name());
    }
}

/// Lets `vm1` restart and its driver go and come, and see that it is reached again each time.
fn come_and_go(daemon: &Daemon, vm1: &mut Guest, vm2: &mut Guest) {
    vm1.reboot();
    vm1.ping("10.0.1.2", 1472);
    let device = vm1.run("basename $(readlink /sys/class/net/eth0/device)").trim().to_owned();
    vm2.start("ping", "ping -i 0.05 -c 10000 -W 1 10.0.1.1 || true");
    for _ in 0..3 {
        vm1.run(&format!("echo {device} >/sys/bus/virtio/drivers/virtio_net/unbind"));
        wait_until("the unbound driver's rings to stop", Duration::from_secs(10), || {
            daemon.show().port("vm1").rings_running == 0
        });
        vm1.run(&format!("echo {device} >/sys/bus/virtio/drivers/virtio_net/bind; {BRING_UP}"));
        vm1.ping("10.0.1.2", 1472);
    }
    vm2.run("pkill ping; true");
}

#[test]
fn two_guests_with_packed_rings_exchange_frames_and_come_and_go() {
    let daemon = Daemon::start(&s1());
    // Linux has no IN_ORDER yet; QEMU passes the offer on all the same.
    let [mut vm1, mut vm2] = boot_pair(&daemon, "packed=on,in_order=on");
    assert!(is_packed(&daemon, "vm1") && is_packed(&daemon, "vm2"), "{:?}", daemon.show());
    exchange(&mut vm1, &mut vm2);
    come_and_go(&daemon, &mut vm1, &mut vm2);
    assert!(is_packed(&daemon, "vm1"), "{:?}", daemon.show());
    exchange(&mut vm1, &mut vm2);
}

/// The one as `viaduct qemu-args --packed` has it, with two queue pairs.
#[test]
fn a_guest_with_packed_rings_and_one_with_split_rings_understand_each_other() {
    let daemon = Daemon::start(&s1().replace("[port.vm1]", "[port.vm1]\nqueues = 2"));
    let packed = Machine::new("vm1", "10.0.1.1/24").packed_on_port_of(&daemon).with_processors(2);
    let split = Machine::new("vm2", "10.0.1.2/24").on_port_of(&daemon);
    let [mut vm1, mut vm2] = [packed, split].map(|machine| machine.power_on());
    vm1.await_shell();
    vm2.await_shell();
    wait_until("both pairs of packed rings to run", Duration::from_secs(10), || {
        daemon.show().port("vm1").rings_running == 4
    });
    assert!(is_packed(&daemon, "vm1") && !is_packed(&daemon, "vm2"), "{:?}", daemon.show());
    exchange(&mut vm1, &mut vm2);
    come_and_go(&daemon, &mut vm1, &mut vm2);
}

/// Chains without tables take many slots of a ring, and event suppression has no slot to name.
#[test]
fn packed_rings_without_tables_and_event_indices_serve_guests_too() {
    let daemon = Daemon::start(&s1());
    let [mut vm1, mut vm2] = boot_pair(&daemon, "packed=on,indirect_desc=off,event_idx=off,mrg_rxbuf=off");
    exchange(&mut vm1, &mut vm2);
}
