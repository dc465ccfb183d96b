//! Two tenants on two hosts, kept apart by VLANs on one wire (scenario S3), then behind a service provider's tag.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::machine::{Guest, Machine};
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;

const LIMIT: Duration = Duration::from_secs(10);
/// The same in both tenants.
const ADDRESSES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

/// The guests' ports on both hosts: names, and so addresses, differ.
const NAMES: [[&str; 2]; 2] = [["a10", "b20"], ["c10", "d20"]];

/// The scenario's file for one of the hosts.
fn example(host: usize) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/s3.toml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let [a, b] = NAMES[host];
    text.replace("port.a10", &format!("port.{a}")).replace("port.b20", &format!("port.{b}"))
}

/// A host with the scenario's file, and a guest of each tenant.
struct Host {
    daemon: Daemon,
    namespace: Namespace,
    guests: [Guest; 2],
}

fn hosts() -> [Host; 2] {
    let namespaces = ["east", "west"].map(Namespace::new);
    cable((&namespaces[0], "eth1"), (&namespaces[1], "eth1"));
    // Room for two tags behind which packets have 1500 bytes.
    namespaces.iter().for_each(|namespace| drop(namespace.ip("link set eth1 mtu 1508")));
    let mut place = 0;
    namespaces.map(|namespace| {
        let daemon = Daemon::start_in(&namespace, &example(place));
        daemon.wait_for_state("wan", "attached");
        let address = format!("{}/24", ADDRESSES[place]);
        let guests = NAMES[place].map(|name| Machine::new(name, &address).on_port_of(&daemon).power_on());
        place += 1;
        Host { daemon, namespace, guests }
    })
}

/// What is seen on the wire while `work` runs, as tshark takes it apart, once frames of all these stations are: source, service tag, tag.
fn on_the_wire(
    namespace: &Namespace,
    macs: &[[String; 2]; 2],
    work: impl FnOnce(),
) -> BTreeSet<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wire.pcap");
    let mut tcpdump = namespace.command("tcpdump");
    tcpdump.args(["-i", "eth1", "-U", "--immediate-mode", "-s", "64", "-w"]).arg(&file);
    let capture = Process::spawn("tcpdump", &tcpdump, folder.path());
    wait_until("tcpdump to write its file's head", LIMIT, || {
        fs::metadata(&file).is_ok_and(|file| file.len() >= 24)
    });
    work();
    let seen = |wire: &BTreeSet<(String, String, String)>, mac: &String| wire.iter().any(|row| row.0 == *mac);
    wait_until("tshark to see all stations", LIMIT, || {
        let wire = read(&file);
        macs.as_flattened().iter().all(|mac| seen(&wire, mac))
    });
    drop(capture);
    read(&file)
}

/// The capture so far.
fn read(file: &Path) -> BTreeSet<(String, String, String)> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(file).args([
        "-T",
        "fields",
        "-e",
        "eth.src",
        "-e",
        "ieee8021ad.id",
        "-e",
        "vlan.id",
    ]);
    let output = tshark.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // While a frame is being written, tshark says that the file is cut.
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || problem.contains("cut short"), "tshark: {problem}");
    let field = |line: &str, number| line.split('\t').nth(number).unwrap_or("").to_owned();
    text.lines().map(|line| (field(line, 0), field(line, 1), field(line, 2))).collect()
}

/// The tags of frames from `macs`; all of them have some.
fn tags(wire: &BTreeSet<(String, String, String)>, macs: &[String]) -> BTreeSet<(String, String)> {
    let own = wire.iter().filter(|(source, ..)| macs.contains(source));
    own.map(|(_, service, vlan)| (service.clone(), vlan.clone())).collect()
}

#[test]
fn tenants_on_two_hosts_reach_their_own_and_never_see_a_frame_of_the_other() {
    let mut hosts = hosts();
    hosts.iter_mut().flat_map(|host| &mut host.guests).for_each(|guest| guest.await_shell());
    let [east, west] = &mut hosts;
    let macs = [0, 1].map(|tenant: usize| {
        [&mut east.guests[tenant], &mut west.guests[tenant]]
            .map(|guest| guest.run("cat /sys/class/net/eth0/address").trim().to_owned())
    });
    for guest in east.guests.iter_mut().chain(&mut west.guests) {
        guest.run("touch /tmp/listens");
        guest.start("capture", "tcpdump -p -l -n -e -i eth0 2>/tmp/listens");
        wait_until("tcpdump to listen", LIMIT, || {
            guest.run("cat /tmp/listens || true").contains("listening on eth0")
        });
    }
    let rounds = [("", ["", ""], ["10", "20"]), ("service_vlan = 300\n", ["300", "300"], ["10", "20"])];
    for (line, services, vlans) in rounds {
        for (place, host) in [&east.daemon, &west.daemon].into_iter().enumerate() {
            host.apply(
                &example(place).replace("interface = \"eth1\"\n", &format!("interface = \"eth1\"\n{line}")),
            );
        }
        let wire = on_the_wire(&east.namespace, &macs, || {
            for tenant in 0..2 {
                // Broadcasts first: nobody knows anybody.
                east.guests[tenant].run("ip neigh flush all");
                east.guests[tenant].ping(ADDRESSES[1], 56);
                west.guests[tenant].ping(ADDRESSES[0], 1472);
            }
        });
        for tenant in 0..2 {
            let expected = (services[tenant].to_owned(), vlans[tenant].to_owned());
            assert_eq!(
                tags(&wire, &macs[tenant]),
                [expected].into(),
                "tenant {tenant} on the wire: {wire:?}"
            );
        }
    }
    east.guests[0].serve_iperf();
    assert!(west.guests[0].iperf(ADDRESSES[0], 1, "") > 1e6, "TCP between the hosts");
    for host in &mut hosts {
        for (tenant, guest) in host.guests.iter_mut().enumerate() {
            guest.run("pkill tcpdump; true");
            let seen = guest.run("grep -v IP6 /tmp/capture.out | cut -c17-80 | sort -u | head -c 20000");
            let others = &macs[1 - tenant];
            assert!(
                others.iter().all(|mac| !seen.contains(mac.as_str())),
                "a frame of the other tenant:\n{seen}"
            );
            assert!(!seen.contains("802.1Q"), "an access port shows no tags:\n{seen}");
            assert_eq!(guest.checksum_errors(), 0);
        }
        let known = host.daemon.fdb();
        assert!(known.iter().any(|entry| entry.network == "tenant20" && entry.port == "wan"), "{known:?}");
    }
}
