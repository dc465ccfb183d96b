//! What comes from the underlay is nobody's word: scapy sends what should not be, each counted under its own reason.

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::town::Station;

use super::exchange::reach;
use super::underlay::{LIMIT, Underlay, mac, quiet_station, start, uplink};

const CONFIG: &str = r#"
[network.open]
overlay = { kind = "vxlan", vni = 101, uplink = "isp", peers = ["192.168.99.2"] }
[network.closed]
overlay = { kind = "vxlan", vni = 102, uplink = "isp", peers = ["192.168.99.2"], known_vteps_only = true }
[network.gre]
overlay = { kind = "gre", key = 103, uplink = "isp", peers = ["192.168.99.2"] }
[network.geneve]
overlay = { kind = "geneve", vni = 104, uplink = "isp", peers = ["192.168.99.2"] }
[network.inside]
mode = "nat"
uplink = "isp"
subnets = ["10.9.0.0/24"]
[port.s3]
network = "inside"
[port.s1]
network = "open"
[port.s2]
network = "closed"
"#;

/// Sends what the first argument names, with the outer source of the second.
const SENDER: &str = r"
import struct, sys
from scapy.all import *
what, count, local = sys.argv[1], int(sys.argv[2]), sys.argv[3]
outer = Ether(dst=local, src='02:00:00:00:00:66')/IP(src='192.168.99.66', dst='192.168.99.1')
inner = Ether(dst='ff:ff:ff:ff:ff:ff', src='52:54:00:00:01:66')/IP(src='10.101.0.66', dst='10.101.0.255')/UDP(sport=9, dport=9)/b'hello'
def vxlan(vni=101, flags=8, reserved=0, inner=bytes(inner), cut=None):
    return outer/UDP(sport=50000, dport=4789, chksum=0)/Raw((struct.pack('>B3xI', flags, vni << 8 | reserved) + inner)[:cut])
def spoofed(source):
    return Ether(dst=local, src='02:00:00:00:00:66')/IP(src=source, dst='192.168.99.1')/vxlan()[UDP]
own = Ether(dst='ff:ff:ff:ff:ff:ff', src='52:54:00:00:01:01')/IP(src='10.101.0.1', dst='10.101.0.255')/UDP(sport=9, dport=9)
geneve = lambda options, critical: outer/UDP(sport=50000, dport=6081, chksum=0)/Raw(
    struct.pack('>BBHI', len(options) // 4, 0x40 if critical else 0, 0x6558, 104 << 8) + options + bytes(inner))
frames = {
    'good': vxlan(),
    'unknown-id': vxlan(vni=999),
    'no-id': vxlan(flags=0),
    'reserved': vxlan(flags=8 | 0x80),
    'cut-header': vxlan(cut=5),
    'cut-frame': vxlan(cut=8 + 10),
    'nested': vxlan(inner=bytes(vxlan())),
    'unknown-vtep': vxlan(vni=102),
    'spoofed': [spoofed(source) for source in ('192.168.99.1', '239.1.1.101', '255.255.255.255', '127.0.0.1')],
    'own-source': vxlan(inner=bytes(own)),
    'gre-no-key': outer/GRE(proto=0x6558)/Raw(bytes(inner)),
    'gre-unknown': outer/GRE(proto=0x6558, key_present=1, key=999)/Raw(bytes(inner)),
    'gre-ip': outer/GRE(proto=0x800, key_present=1, key=103)/IP(dst='10.101.0.1'),
    'geneve-critical': geneve(struct.pack('>HBB', 0x101, 0x81, 0), True),
    'geneve-cut': outer/UDP(sport=50000, dport=6081, chksum=0)/Raw(struct.pack('>BBHI', 60, 0, 0x6558, 104 << 8)),
}
chosen = frames[what] if isinstance(frames[what], list) else [frames[what]]
sendp((chosen * count)[:count], iface='under0', verbose=0)
";

fn send(attacker: &Namespace, what: &str, count: u64, local: &str) {
    let mut command = attacker.command("timeout");
    command.args(["20", "/usr/bin/python3", "-c", SENDER, what, &count.to_string(), local]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "scapy {what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A guest sends to this address what its own machine would send by a tunnel: a broadcast of a station that is nobody.
fn imitate(guest: &Namespace, address: &str) {
    const IMITATOR: &str = r"
import socket, struct, sys
inner = b'\xff' * 6 + bytes.fromhex('525400000199') + b'\x08\x00'
inner += struct.pack('>BBHHHBBH4s4s', 0x45, 0, 32, 0, 0, 64, 17, 0, bytes([10, 101, 0, 9]), bytes([10, 101, 0, 255])) + bytes(12)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for _ in range(5):
        sender.sendto(struct.pack('>B3xI', 8, 101 << 8) + inner, (sys.argv[1], 4789))
";
    let mut command = guest.command("python3");
    let output = command.args(["-c", IMITATOR, address]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A guest that speaks to the port of a VTEP gets nowhere, be it that of its own machine or of another one: nothing of it leaves the
/// machine, nor is opened there.
fn assert_imitators_get_nowhere(daemon: &Daemon, guest: &Station, outside: &Namespace) {
    outside.ip("address add 192.168.99.7/24 dev under0");
    guest.await_reach("192.168.99.7");
    let (forged, unheard) = (dropped(daemon, "tunnel-forged"), counted(outside, "UdpNoPorts"));
    imitate(&guest.namespace, "192.168.99.7");
    wait_until("what looks like a tunnel's frame to be dropped", LIMIT, || {
        dropped(daemon, "tunnel-forged") == forged + 5
    });
    imitate(&guest.namespace, "192.168.99.1");
    guest.await_reach("192.168.99.7");
    assert_eq!(counted(outside, "UdpNoPorts"), unheard);
    assert!(daemon.fdb().iter().all(|entry| entry.mac != mac(0x99)), "nobody learned from it");
}

/// A counter of the kernel's.
fn counted(place: &Namespace, name: &str) -> u64 {
    let told = place.run(&format!("nstat -asz {name} | grep {name}"));
    told.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Frames that were dropped for a reason, at whatever port.
pub(super) fn dropped(daemon: &Daemon, reason: &str) -> u64 {
    daemon.show().ports.iter().map(|port| port.dropped(reason)).sum()
}

/// The same at the other ends of tunnels.
fn dropped_at_vteps(daemon: &Daemon, reason: &str) -> u64 {
    let shown = daemon.command(&["show", "vteps", "--json"]).stdout;
    let told: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    let vteps = told["vteps"].as_array().unwrap().iter();
    let drops = vteps.flat_map(|vtep| vtep["drops"].as_array().unwrap());
    drops.filter(|drop| drop["reason"] == reason).filter_map(|drop| drop["frames"].as_u64()).sum()
}

#[test]
fn what_should_not_come_by_a_tunnel_is_dropped_and_counted_by_its_reason() {
    let underlay = Underlay::new();
    let [host, attacker] = ["one", "attacker"].map(|name| underlay.machine(name));
    let stations = [("s1", 1), ("s2", 2), ("s3", 3)].map(|(name, number)| quiet_station(&host, name, number));
    stations[2].namespace.ip("address flush dev eth0");
    stations[2].configure("10.9.0.3/24", "10.9.0.1");
    let daemon = start(&host, &(uplink(1) + CONFIG), &stations.each_ref());
    let local = host.run("cat /sys/class/net/under0/address").trim().to_owned();
    // Station 1 is known to be here.
    attacker.ip("address add 192.168.99.66/24 dev under0");
    let _ = stations[0].reaches("10.101.0.9");
    // Broadcasts of UDP that came whole; what else the interface may hear is not counted.
    let heard = || counted(&stations[0].namespace, "UdpIgnoredMulti");
    let before = heard();
    send(&attacker, "good", 3, &local);
    wait_until("frames from the tunnel at the station", LIMIT, || heard() >= before + 3);
    let before = heard();
    for (what, count, reason) in [
        ("unknown-id", 3, "tunnel-unknown-id"),
        ("no-id", 4, "tunnel-no-id"),
        ("reserved", 5, "tunnel-reserved"),
        ("cut-header", 6, "tunnel-truncated"),
        ("cut-frame", 7, "tunnel-truncated"),
        ("unknown-vtep", 8, "tunnel-unknown-vtep"),
        // Addresses that no VTEP but ourselves, or none at all, can have.
        ("spoofed", 8, "tunnel-unknown-vtep"),
        ("gre-no-key", 10, "tunnel-no-id"),
        ("gre-unknown", 11, "tunnel-unknown-id"),
        ("gre-ip", 12, "tunnel-reserved"),
        ("geneve-critical", 13, "tunnel-reserved"),
        ("geneve-cut", 14, "tunnel-truncated"),
    ] {
        let so_far = dropped(&daemon, reason);
        send(&attacker, what, count, &local);
        wait_until(&format!("{count} frames ({what}) to be counted as {reason}"), LIMIT, || {
            dropped(&daemon, reason) == so_far + count
        });
    }
    assert_eq!(heard(), before, "none of these reached a station");
    // A station of this host is behind no tunnel; it speaks all the time meanwhile.
    let asking = stations[0].namespace.run("busybox ping -i 0.5 -c 40 10.101.0.9 >/dev/null 2>&1 & echo $!");
    send(&attacker, "own-source", 9, &local);
    wait_until("the VTEP to be told to claim a station that is here", LIMIT, || {
        dropped_at_vteps(&daemon, "tunnel-local-source") == 9
    });
    stations[0].namespace.run(&format!("kill {}", asking.trim()));
    let places = daemon.fdb();
    let place = places.iter().find(|entry| entry.network == "open" && entry.mac == mac(1)).unwrap();
    assert_eq!(place.port, "s1");
    // A frame in a frame in a frame: the inner one is a frame like others, and is opened nowhere.
    send(&attacker, "nested", 2, &local);
    let before = heard();
    assert_imitators_get_nowhere(&daemon, &stations[2], &attacker);
    assert_eq!(heard(), before, "nothing of it came to a station");
    // And all goes on.
    let before = heard();
    send(&attacker, "good", 3, &local);
    wait_until("frames from the tunnel at the station", LIMIT, || heard() >= before + 3);
    reach(&attacker, "192.168.99.1");
}
