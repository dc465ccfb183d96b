//! Multicast groups of real kernels: a Linux bridge asks for them as a querier, and a Linux host joins and leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use etherparse::PacketBuilder;
use serde_json::Value;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::guest::Shell;
use viaduct_tests::machine::Machine;
use viaduct_tests::stream::mac;

/// How long kernels may take to ask, to join or to leave, and the switch to believe it.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);

/// How long nothing may come before it counts as "nothing came".
const QUIET: Duration = Duration::from_millis(100);

/// UDP ports that tell apart what is sent: before anybody joined, while the host is a member, after it left.
const BEFORE: u16 = 5001;
const DURING: u16 = 5002;
const AFTER: u16 = 5003;

/// Groups of one version of IP.
struct Family {
    group: &'static str,
    /// What stands for the routers in the switch's table.
    routers: &'static str,
    datagram: fn(u16) -> Vec<u8>,
}

const FAMILIES: [Family; 2] = [
    Family { group: "239.1.2.3", routers: "0.0.0.0", datagram: datagram4 },
    Family { group: "ff05::1:3", routers: "::", datagram: datagram6 },
];

/// A datagram to UDP port `port` of the group, from 10.0.1.9 (RFC 1112, 6.4: the group's Ethernet address).
fn datagram4(port: u16) -> Vec<u8> {
    let packet = PacketBuilder::ethernet2(mac(9), [0x01, 0x00, 0x5e, 1, 2, 3])
        .ipv4([10, 0, 1, 9], [239, 1, 2, 3], 4)
        .udp(4000, port);
    let mut bytes = Vec::new();
    packet.write(&mut bytes, b"for the group").expect("a frame in memory");
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// The same over IPv6 (RFC 2464, 7).
fn datagram6(port: u16) -> Vec<u8> {
    let source = [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let group = [0xff, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3];
    let packet =
        PacketBuilder::ethernet2(mac(9), [0x33, 0x33, 0, 1, 0, 3]).ipv6(source, group, 4).udp(4000, port);
    let mut bytes = Vec::new();
    packet.write(&mut bytes, b"for the group").expect("a frame in memory");
    bytes
}

/// The ports that `viaduct show multicast` lists for `group`.
fn members(daemon: &Daemon, group: &str) -> Vec<String> {
    let output = daemon.command(&["show", "multicast", "--json"]);
    let groups: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list of groups");
    let listed = groups.iter().find(|entry| entry["group"] == group);
    let ports = listed.and_then(|entry| entry["members"].as_array()).into_iter().flatten();
    ports.map(|member| member["port"].as_str().expect("a name").to_owned()).collect()
}

fn await_members(daemon: &Daemon, group: &str, expected: &[&str]) {
    let what = format!("the members of {group} to be {expected:?}");
    wait_until(&what, SETTLED_WITHIN, || members(daemon, group) == expected);
}

/// Sends a datagram to the group from `sender`; whether it came to `stranger`.
fn reaches(sender: &mut Nic, stranger: &mut Nic, datagram: &[u8]) -> bool {
    sender.send(datagram);
    stranger.collect(QUIET).iter().any(|received| received.bytes == datagram)
}

/// A bridge of Linux's own that asks for groups every two seconds and is a member of both itself.
fn become_querier(guest: &mut Shell) {
    guest.run("modprobe bridge");
    guest.run("ip address flush dev eth0");
    guest.run(
        "ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_query_use_ifaddr 1 mcast_mld_version 2 \
         mcast_igmp_version 3 mcast_query_interval 200 mcast_startup_query_interval 200 mcast_query_response_interval 100",
    );
    guest.run("ip link set eth0 master br0");
    guest.run("ip address add 10.0.1.1/24 dev br0");
    guest.run("ip link set br0 up");
}

fn set_member(guest: &mut Shell, device: &str, group: &str, joins: bool) {
    let verb = if joins { "add" } else { "del" };
    let length = if group.contains(':') { 128 } else { 32 };
    let autojoin = if joins { "autojoin" } else { "" };
    guest.run(&format!("ip address {verb} {group}/{length} dev {device} {autojoin}"));
}

#[test]
fn a_linux_host_gets_a_groups_frames_from_when_it_joins_until_it_leaves() {
    let port = |name: &str| {
        let is_router = name == "querier";
        format!("[port.{name}]\nnetwork = \"lab\"\nmulticast_router = {is_router}\n")
    };
    let names = ["querier", "host", "sender", "stranger"];
    let daemon = Daemon::start(&format!("[network.lab]\n{}", names.map(port).concat()));
    let [mut sender, mut stranger] =
        ["sender", "stranger"].map(|name| Nic::connect(&daemon.socket(name), &NicOptions::default()));
    let mut guests = [("querier", "10.0.1.1/24"), ("host", "10.0.1.2/24")]
        .map(|(name, address)| Machine::new(name, address).on_port_of(&daemon).power_on());
    guests.iter_mut().for_each(|guest| guest.await_shell());
    let [mut querier, mut host] = guests;
    become_querier(&mut querier);
    host.start("tcpdump", "tcpdump -p -l -n -i eth0 'udp and src port 4000' 2>/tmp/listens");
    wait_until("tcpdump to listen", SETTLED_WITHIN, || {
        host.run("cat /tmp/listens || true").contains("listening on eth0")
    });
    for Family { group, routers, datagram } in FAMILIES {
        await_members(&daemon, routers, &["querier"]);
        // It is for all as long as nobody joins.
        wait_until("a frame to a group that nobody joined", SETTLED_WITHIN, || {
            reaches(&mut sender, &mut stranger, &datagram(BEFORE))
        });

        // The querier's own kernel stays a member, so that the group is known to the end.
        set_member(&mut querier, "br0", group, true);
        set_member(&mut host, "eth0", group, true);
        await_members(&daemon, group, &["host", "querier"]);
        let what = format!("a frame to {group} to reach its members alone");
        wait_until(&what, SETTLED_WITHIN, || !reaches(&mut sender, &mut stranger, &datagram(DURING)));

        set_member(&mut host, "eth0", group, false);
        await_members(&daemon, group, &["querier"]);
        assert!(!reaches(&mut sender, &mut stranger, &datagram(AFTER)), "{group} still has a member");
    }
    // What the host saw, in order: once it has left, nothing more.
    host.run("pkill tcpdump; true");
    let seen = host.run("cat /tmp/tcpdump.out");
    let count = |group: &str, port: u16| {
        seen.lines().filter(|line| line.contains(&format!("{group}.{port}: "))).count()
    };
    for Family { group, .. } in FAMILIES {
        assert!(
            count(group, BEFORE) > 0 && count(group, DURING) > 0,
            "the member of {group} got nothing:\n{seen}"
        );
        assert_eq!(count(group, AFTER), 0, "the host got frames of {group}, which it had left:\n{seen}");
    }
    let state = daemon.show();
    assert!(state.ports.iter().all(|port| port.dropped("bad-membership") == 0), "{state:?}");
}
