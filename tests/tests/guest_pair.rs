//! Two QEMU guests on one switch: the S1 scenario, and what their NICs may and may not do for them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::Shell;
use viaduct_tests::machine::{Guest, Machine};

/// The slowest TCP that counts as working: a fraction of what an emulated guest can do.
const WORKING_BITS_PER_SECOND: f64 = 5e6;

/// Ethernet, IPv4 and ICMP headers: a ping's payload plus this is its frame.
const PING_HEADERS: u16 = 14 + 20 + 8;

fn s1() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/s1.toml");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Boots `vm1` and `vm2` at the same time; the second one's NIC has these properties.
fn boot_pair(daemon: &Daemon, properties: &str) -> [Guest; 2] {
    let vm1 = Machine::new("vm1", "10.0.1.1/24").on_port_of(daemon);
    let mut vm2 = Machine::new("vm2", "10.0.1.2/24").on_port_of(daemon);
    if !properties.is_empty() {
        vm2 = vm2.with_device_properties(properties);
    }
    let mut guests = [vm1.power_on(), vm2.power_on()];
    for guest in &mut guests {
        guest.await_shell();
    }
    guests
}

/// TCP both ways and UDP between the guests, and no packet whose checksum is wrong.
fn exchange(vm1: &mut Shell, vm2: &mut Shell) {
    for options in ["", "-R"] {
        let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, "10.0.1.2", 1, options);
        assert!(rate > WORKING_BITS_PER_SECOND, "TCP (iperf3 {options}) came to {rate} bit/s only");
    }
    let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, "10.0.1.2", 1, "-u -b 10M");
    assert!(rate > WORKING_BITS_PER_SECOND, "UDP came to {rate} bit/s only");
    for guest in [vm1, vm2] {
        assert_eq!(guest.checksum_errors(), 0, "{} received packets with wrong checksums", guest.name());
    }
}

/// The largest TCP frame that `vm2` receives from `vm1`, as its NIC delivers it, while iperf3 runs.
fn largest_received(vm1: &mut Shell, vm2: &mut Shell) -> usize {
    // Merging in the guest's own kernel would make large frames of small ones.
    vm2.run("ethtool -K eth0 gro off");
    vm2.run("rm -f /tmp/listens");
    vm2.start(
        "tcpdump",
        "timeout 20 tcpdump -q -n -t -e -s 80 -i eth0 -c 100 'tcp dst port 5201' 2>/tmp/listens",
    );
    wait_until("tcpdump to listen", Duration::from_secs(15), || {
        vm2.run("cat /tmp/listens || true").contains("listening on eth0")
    });
    vm1.iperf("10.0.1.2", 1, "");
    let output = vm2.finish("tcpdump", Duration::from_secs(30));
    vm2.run("ethtool -K eth0 gro on");
    let length = |line: &str| {
        line.split_once("length ")?.1.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    };
    output.lines().filter_map(length).max().unwrap_or_else(|| panic!("tcpdump saw no frame:\n{output}"))
}

#[test]
fn two_guests_exchange_frames_of_every_size_with_all_offloads() {
    let daemon = Daemon::start(&s1());
    let [mut vm1, mut vm2] = boot_pair(&daemon, "");
    let kernel = vm1.run("uname -r");
    assert!(kernel.starts_with("6."), "the guest's kernel is {kernel}, not 6.12 or later");
    assert!(vm1.run("cat /proc/interrupts").contains("PCI-MSI"), "the guest's NIC does not use MSI-X");

    for frame in [64, 1514] {
        vm1.ping("10.0.1.2", frame - PING_HEADERS);
        vm2.ping("10.0.1.1", frame - PING_HEADERS);
    }
    assert_eq!(vm1.fragmented(), 0, "frames of up to 1514 bytes were cut");
    // 64 KiB, the largest packet of IPv4 (RFC 791): 65,535 bytes with both headers, in fragments.
    vm1.ping("10.0.1.2", 65_507);

    for guest in [&mut vm1, &mut vm2] {
        let offloads = guest.run("ethtool -k eth0");
        for offload in
            ["tcp-segmentation-offload", "tx-tcp6-segmentation", "tx-checksumming", "rx-checksumming"]
        {
            assert!(
                offloads.contains(&format!("{offload}: on")),
                "{}: {offload} is not on:\n{offloads}",
                guest.name()
            );
        }
    }
    vm2.serve_iperf();
    exchange(&mut vm1, &mut vm2);
    // TCP makes as large ones as fit into a millisecond of what it comes to, which is little where guests stand still.
    let mut largest = 0;
    for _ in 0..3 {
        largest = largest_received(&mut vm1, &mut vm2).max(largest);
        if largest > 30_000 {
            break;
        }
    }
    assert!(largest > 30_000, "no super-frame came whole: the largest frame had {largest} bytes");

    vm1.run("ip address add fd00:1::1/64 dev eth0 nodad");
    vm2.run("ip address add fd00:1::2/64 dev eth0 nodad");
    vm1.ping("fd00:1::2", 1000);
    for options in ["", "-R"] {
        let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, "fd00:1::2", 1, options);
        assert!(rate > WORKING_BITS_PER_SECOND, "TCP over IPv6 (iperf3 {options}) came to {rate} bit/s only");
    }
    assert_eq!(vm1.checksum_errors() + vm2.checksum_errors(), 0, "packets with wrong checksums arrived");

    let known = daemon.fdb();
    let learned: Vec<&str> = known.iter().map(|entry| entry.port.as_str()).collect();
    assert!(learned.contains(&"vm1") && learned.contains(&"vm2"), "learned addresses: {known:?}");
}

#[test]
fn guests_use_jumbo_frames_of_9000_bytes() {
    let daemon = Daemon::start(
        "[network.lab]\n[port.vm1]\nnetwork = \"lab\"\nmtu = 9000\n[port.vm2]\nnetwork = \"lab\"\nmtu = 9000\n",
    );
    let [mut vm1, mut vm2] = boot_pair(&daemon, "");
    for guest in [&mut vm1, &mut vm2] {
        let mtu = guest.run("cat /sys/class/net/eth0/mtu");
        assert_eq!(mtu.trim(), "9000", "{} did not take its MTU from the port", guest.name());
    }
    vm1.ping("10.0.1.2", 9000 - 28);
    vm2.ping("10.0.1.1", 9000 - 28);
    assert_eq!(vm1.fragmented() + vm2.fragmented(), 0, "packets of 9000 bytes were cut");
    vm2.serve_iperf();
    exchange(&mut vm1, &mut vm2);
    vm1.run("ethtool -K eth0 tso off gso off");
    let largest = largest_received(&mut vm1, &mut vm2);
    assert!(
        (8000..=9014).contains(&largest),
        "without TSO, TCP at MTU 9000 sent frames of up to {largest} bytes"
    );
}

/// What the second guest's NIC lacks, one machine after the other on the same port.
#[test]
fn guests_that_lack_offloads_get_frames_that_they_can_take() {
    let daemon = Daemon::start(&s1());
    let no_segmentation = "guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off";
    let mut vm1 = Machine::new("vm1", "10.0.1.1/24").on_port_of(&daemon).boot();
    for (properties, super_frames) in [
        (format!("{no_segmentation},guest_csum=off"), false),
        (no_segmentation.to_owned(), false),
        ("mrg_rxbuf=off".to_owned(), true),
        (format!("mrg_rxbuf=off,{no_segmentation}"), false),
        ("host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,csum=off".to_owned(), true),
        ("indirect_desc=off,event_idx=off".to_owned(), true),
    ] {
        let machine =
            Machine::new("vm2", "10.0.1.2/24").on_port_of(&daemon).with_device_properties(&properties);
        let mut vm2 = machine.boot();
        vm2.serve_iperf();
        vm1.ping("10.0.1.2", 1472);
        exchange(&mut vm1, &mut vm2);
        let largest = largest_received(&mut vm1, &mut vm2);
        assert_eq!(largest > 1514, super_frames, "with {properties} frames of up to {largest} bytes arrived");
    }
}

#[test]
fn a_guest_that_turns_its_offloads_off_while_running_is_understood() {
    let daemon = Daemon::start(&s1());
    let [mut vm1, mut vm2] = boot_pair(&daemon, "");
    vm2.serve_iperf();
    for features in ["tso off", "tx off", "tx on tso on"] {
        vm1.run(&format!("ethtool -K eth0 {features}"));
        exchange(&mut vm1, &mut vm2);
    }
}

#[test]
fn guests_with_several_queues_use_them_all() {
    let port = |name: &str| format!("[port.{name}]\nnetwork = \"lab\"\nqueues = 2\n");
    let daemon = Daemon::start(&format!("[network.lab]\n{}{}", port("vm1"), port("vm2")));
    let mut guests = [("vm1", "10.0.1.1/24"), ("vm2", "10.0.1.2/24")]
        .map(|(name, address)| Machine::new(name, address).on_port_of(&daemon).with_processors(2).power_on());
    for guest in &mut guests {
        guest.await_shell();
        guest.run("ethtool -L eth0 combined 2");
    }
    let [mut vm1, mut vm2] = guests;
    vm2.serve_iperf();
    for options in ["-P 4", "-P 4 -R"] {
        let rate = vm1.iperf_above(WORKING_BITS_PER_SECOND, "10.0.1.2", 2, options);
        assert!(rate > WORKING_BITS_PER_SECOND, "TCP (iperf3 {options}) came to {rate} bit/s only");
    }
    assert_eq!(vm1.checksum_errors() + vm2.checksum_errors(), 0, "packets with wrong checksums arrived");
    for name in ["vm1", "vm2"] {
        assert_eq!(daemon.show().port(name).rings_running, 4, "{name} does not run two queue pairs");
    }
    // One interrupt line for each ring: all that receive must have fired.
    let interrupts = vm2.run("grep -E 'virtio[0-9]+-input' /proc/interrupts");
    let silent = |line: &&str| line.split_whitespace().skip(1).take(2).all(|count| count == "0");
    assert!(interrupts.lines().count() >= 2, "no two receiving rings in\n{interrupts}");
    assert_eq!(
        interrupts.lines().take(2).filter(silent).count(),
        0,
        "a ring received nothing:\n{interrupts}"
    );
    vm1.run("ethtool -L eth0 combined 1");
    vm1.ping("10.0.1.2", 56);
}

/// The interrupts of each receive queue of a guest's NIC so far, on all its processors: one for each frame that comes
/// alone.
fn interrupts_by_queue(guest: &mut Shell) -> [u64; 2] {
    let table = guest.run("cat /proc/interrupts");
    [0, 1].map(|queue| {
        let name = format!("-input.{queue}");
        let line = table.lines().find(|line| line.trim_end().ends_with(&name));
        let line = line.unwrap_or_else(|| panic!("no interrupt of receive queue {queue} in\n{table}"));
        line.split_whitespace().skip(1).map_while(|count| count.parse::<u64>().ok()).sum()
    })
}

/// The interrupts of each receive queue of `guest` while it runs `command` on the processor `processor`.
fn interrupts_during(guest: &mut Shell, processor: usize, command: &str) -> [u64; 2] {
    let before = interrupts_by_queue(guest);
    // Linux sends from a processor on the queue pair of its number (XPS).
    guest.run(&format!("taskset {:x} {command}", 1 << processor));
    let after = interrupts_by_queue(guest);
    [0, 1].map(|queue| after[queue] - before[queue])
}

/// Pings of both processors are one flow, so by its hash alone it could not be right for both.
#[test]
fn replies_come_to_the_processor_that_sent() {
    let port = |name: &str, queues: u8| format!("[port.{name}]\nnetwork = \"lab\"\nqueues = {queues}\n");
    let daemon = Daemon::start(&format!("[network.lab]\n{}{}", port("vm1", 2), port("vm2", 1)));
    let mut guests =
        [("vm1", "10.0.1.1/24", 2), ("vm2", "10.0.1.2/24", 1)].map(|(name, address, processors)| {
            Machine::new(name, address).on_port_of(&daemon).with_processors(processors).power_on()
        });
    guests.iter_mut().for_each(|guest| guest.await_shell());
    let [mut vm1, mut vm2] = guests;
    vm1.run("ethtool -L eth0 combined 2");
    vm1.ping("10.0.1.2", 56);
    for processor in [1, 0, 1] {
        let replies = interrupts_during(&mut vm1, processor, "ping -q -i 0.05 -c 60 -W 5 10.0.1.2");
        eprintln!("pings from processor {processor}: interrupts {replies:?}");
        // The first reply to one that was sent elsewhere before, and strangers such as neighbour discovery.
        assert!(replies[processor] >= 58, "60 pings from processor {processor}: interrupts {replies:?}");
        assert!(replies[1 - processor] <= 10, "60 pings from processor {processor}: interrupts {replies:?}");
    }
    vm2.serve_iperf();
    for processor in [0, 1] {
        // Four connections on which much comes, and a fifth that rules them.
        let counts = interrupts_during(&mut vm1, processor, "iperf3 -c 10.0.1.2 -R -P 4 -t 2");
        eprintln!("TCP to processor {processor}: interrupts {counts:?}");
        let (right, wrong) = (counts[processor], counts[1 - processor]);
        assert!(right > 50 && right > 9 * wrong, "TCP to processor {processor}: interrupts {counts:?}");
    }
}
