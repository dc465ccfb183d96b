//! TCP between guests on two machines, by tunnels over a cable: a table of both, beside the kernel's device behind TAP and a Linux
//! bridge, for people.

use viaduct_tests::daemon::Daemon;
use viaduct_tests::machine::{Guest, Machine};
use viaduct_tests::namespace::{Namespace, cable};

use super::underlay::{address, mac, uplink};

/// What counts as working: a fraction of what emulated guests can do.
const WORKING_BITS_PER_SECOND: f64 = 5e6;

/// What is measured: its name and iperf3's options.
const MEASURED: [(&str, &str); 3] =
    [("TCP, 1 stream", ""), ("TCP, 1 stream back", "-R"), ("TCP, 8 streams", "-P 8")];

/// Packets that fit into a tunnel over 1500 bytes.
const GUEST_MTU: &str = "ip link set eth0 mtu 1450";

fn machines() -> [Namespace; 2] {
    let machines = ["one", "two"].map(Namespace::new);
    cable((&machines[0], "under0"), (&machines[1], "under0"));
    machines
}

/// Bits a second that arrived, of each that is measured.
fn measure(mut guests: [Guest; 2]) -> [f64; 3] {
    guests.iter_mut().for_each(|guest| guest.await_shell());
    guests.iter_mut().for_each(|guest| _ = guest.run(GUEST_MTU));
    guests[0].ping(&address(2), 56);
    guests[1].serve_iperf();
    let rates =
        MEASURED.map(|(_, options)| guests[0].iperf_above(WORKING_BITS_PER_SECOND, &address(2), 2, options));
    let errors = guests.iter_mut().map(|guest| guest.checksum_errors()).sum::<u64>();
    assert_eq!(errors, 0, "packets with wrong checksums arrived");
    rates
}

fn by_viaduct() -> [f64; 3] {
    let machines = machines();
    let daemons = [1_u8, 2].map(|number| {
        let config = format!(
            "{}[network.tenant]\noverlay = {{ kind = \"vxlan\", vni = 101, uplink = \"isp\", peers = [\"192.168.99.{}\"] }}\n\
             [port.vm{number}]\nnetwork = \"tenant\"\nmac = \"{}\"\n",
            uplink(number),
            3 - number,
            mac(number)
        );
        let daemon = Daemon::start_in(&machines[usize::from(number) - 1], &config);
        daemon.wait_for_state("isp", "attached");
        daemon
    });
    let guests = [1_u8, 2].map(|number| {
        let guest = Machine::new(&format!("vm{number}"), &format!("{}/24", address(number)));
        guest.on_port_of(&daemons[usize::from(number) - 1]).power_on()
    });
    measure(guests)
}

fn by_the_kernel() -> [f64; 3] {
    let machines = machines();
    let guests = [1_u8, 2].map(|number| {
        let machine = &machines[usize::from(number) - 1];
        for words in [
            format!("address add 192.168.99.{number}/24 dev under0"),
            format!(
                "link add vx0 type vxlan id 101 local 192.168.99.{number} remote 192.168.99.{} dstport 4789",
                3 - number
            ),
            "link add br0 type bridge forward_delay 0".to_owned(),
            "tuntap add dev tap0 mode tap".to_owned(),
            "link set vx0 master br0".to_owned(),
            "link set tap0 master br0".to_owned(),
            "link set vx0 up".to_owned(),
            "link set tap0 up".to_owned(),
            "link set br0 up".to_owned(),
        ] {
            machine.ip(&words);
        }
        let guest = Machine::new(&format!("vm{number}"), &format!("{}/24", address(number)));
        guest.on_tap(machine, "tap0").with_device_properties(&format!("mac={}", mac(number))).power_on()
    });
    measure(guests)
}

#[test]
fn guests_on_two_machines_talk_by_a_tunnel_and_the_table_compares_the_kernels_device() {
    let (ours, theirs) = (by_viaduct(), by_the_kernel());
    eprintln!("{:20}  {:>10}  {:>20}  ratio", "Mbit/s", "viaduct", "vxlan + bridge + TAP");
    for (index, (name, _)) in MEASURED.iter().enumerate() {
        let [ours, theirs] = [ours[index] / 1e6, theirs[index] / 1e6];
        eprintln!("{name:20}  {ours:10.0}  {theirs:20.0}  {:5.2}", ours / theirs);
        // How fast this machine is at that moment is no matter of right and wrong: only that all works is.
        assert!(ours * 1e6 > WORKING_BITS_PER_SECOND, "{name} came to {ours} Mbit/s only");
    }
}
