//! Two tiers behind security groups with QEMU guests (scenario S5): members and rules come and go under running connections, and
//! what only they allowed ends, while everything else goes on.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::guest::Shell;
use viaduct_tests::machine::Machine;
use viaduct_tests::namespace::{Namespace, cable};

const LIMIT: Duration = Duration::from_secs(20);
const DB: &str = "10.0.0.21";
/// The rule by which the database is administered, as the file has it.
const SSH: &str =
    "  { direction = \"ingress\", protocol = \"tcp\", ports = 22, remote = \"203.0.113.0/24\" },\n";

/// The scenario's file, with a place outside and a group that allows nothing.
fn s5() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/s5.toml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text + "[group.quarantine]\n[port.outside]\nnetwork = \"lab\"\ntype = \"veth\"\ninterface = \"veth-out\"\n"
}

/// A transfer from the outside, which ends with this.
struct Transfer(Child);

impl Drop for Transfer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Transfer {
    fn start(outside: &Namespace, port: u16) -> Self {
        let mut command = outside.command("iperf3");
        command.args(["-c", DB, "-p", &port.to_string(), "-t", "120", "-b", "4M"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("iperf3: {error}")))
    }
}

/// An iperf3 server that writes down what came in each second.
fn serve(guest: &mut Shell, port: u16) {
    guest.run(&format!("iperf3 -s -p {port} -D --forceflush --logfile /tmp/served.{port}"));
}

/// In how many seconds so far something came to a port that is served.
fn seconds_with_data(guest: &mut Shell, port: u16) -> u32 {
    let told = guest.run(&format!("grep ' sec ' /tmp/served.{port} | grep -vc ' 0.00 Bytes' || true"));
    told.trim().parse().unwrap_or(0)
}

/// Waits until more comes.
fn assert_flows(guest: &mut Shell, port: u16, when: &str) {
    let before = seconds_with_data(guest, port);
    // The second that was under way may have begun before.
    wait_until(&format!("data to port {port} {when}"), LIMIT, || seconds_with_data(guest, port) > before + 1);
}

/// How many seconds were written down so far, and in how many of the last of them in a row nothing came.
fn silence(guest: &mut Shell, port: u16) -> (usize, usize) {
    let told = guest.run(&format!("grep ' sec ' /tmp/served.{port} || true"));
    let silent = told.lines().rev().take_while(|line| line.contains(" 0.00 Bytes")).count();
    (told.lines().count(), silent)
}

/// Nothing more comes after what was under way: once a second of the server's own is silent, so are the next three.
fn assert_stands(guest: &mut Shell, port: u16, when: &str) {
    let so_far = silence(guest, port).0;
    wait_until(&format!("silence at port {port} {when}"), LIMIT, || {
        let (seconds, silent) = silence(guest, port);
        seconds > so_far && silent > 0
    });
    let before = (silence(guest, port).0, seconds_with_data(guest, port));
    wait_until("three more seconds", LIMIT, || silence(guest, port).0 >= before.0 + 3);
    assert_eq!(seconds_with_data(guest, port), before.1, "data to port {port} {when}");
}

/// Waits until a connection opens.
fn assert_opens(from: &mut Shell, address: &str, port: u16) {
    wait_until(&format!("port {port} of {address} to be open"), LIMIT, || opens(from, address, port));
}

/// Whether a connection opens: iperf3's server answers each, be it that it is busy.
fn opens(from: &mut Shell, address: &str, port: u16) -> bool {
    let attempt = format!("timeout 3 iperf3 -c {address} -p {port} -t 1 -b 1M");
    let told = from.try_run(LIMIT, &attempt);
    told.status == 0 || told.output.contains("busy")
}

#[test]
fn the_connection_that_only_a_member_or_a_rule_allowed_ends_and_the_other_goes_on() {
    let (host, outside) = (Namespace::new("host"), Namespace::new("outside"));
    cable((&host, "veth-out"), (&outside, "eth0"));
    outside.ip("address add 203.0.113.7/24 dev eth0");
    outside.ip("route add 10.0.0.0/24 dev eth0");
    let daemon = Daemon::start_in(&host, &s5());
    let [mut web, mut db] = [("web1", "10.0.0.11/24"), ("db1", "10.0.0.21/24")]
        .map(|(name, address)| Machine::new(name, address).on_port_of(&daemon).power_on());
    for guest in [&mut web, &mut db] {
        guest.await_shell();
        guest.run("ip route add 203.0.113.0/24 dev eth0");
    }
    [3306, 22, 5000].into_iter().for_each(|port| serve(&mut db, port));
    [8080, 22].into_iter().for_each(|port| serve(&mut web, port));
    wait_until("all servers to listen", LIMIT, || {
        db.run("ss -Hltn").lines().count() == 3 && web.run("ss -Hltn").lines().count() == 2
    });
    // What the two groups say, from each side.
    web.ping(DB, 56);
    assert!(!db.reaches("10.0.0.11"), "nobody may ping a web server");
    assert!(!outside.succeeds(&format!("busybox ping -q -c 1 -W 1 {DB}")), "only 10.0.0.0/8 may");
    assert!(!opens(&mut web, DB, 22), "the database is not administered from there");
    assert!(!opens(&mut web, DB, 5000), "no rule allows that");
    // That is for all.
    assert_opens(&mut db, "10.0.0.11", 8080);
    // Both transfers run.
    web.start("transfer", &format!("iperf3 -c {DB} -p 3306 -t 120 -b 4M"));
    let _shell = Transfer::start(&outside, 22);
    assert_flows(&mut db, 3306, "at first");
    assert_flows(&mut db, 22, "at first");
    // Another member, and another rule: nothing ends.
    let set = |groups: &str| {
        let done = daemon.command(&["port", "set", "web1", "--groups", groups]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    set("web,quarantine");
    assert_flows(&mut db, 3306, "in one more group");
    // The member goes.
    set("quarantine");
    assert_stands(&mut db, 3306, "without the member");
    assert_flows(&mut db, 22, "without the member");
    assert!(!opens(&mut web, DB, 3306));
    // It comes again.
    set("web");
    assert_opens(&mut web, DB, 3306);
    assert_flows(&mut db, 22, "with the member again");
    // The rule goes; the file says, too, that web1 is a member.
    let without = s5();
    let place = without.rfind(SSH).unwrap_or_else(|| panic!("no such rule in\n{without}"));
    let told = daemon.apply(&(without[..place].to_owned() + &without[place + SSH.len()..]));
    assert!(told.contains("group db: without rule ingress tcp 22 from 203.0.113.0/24"), "{told}");
    assert_stands(&mut db, 22, "without the rule");
    // The other rule stands.
    assert_opens(&mut web, DB, 3306);
    let drops = daemon.show().port("db1").dropped("group-ingress");
    assert!(drops > 0, "what is cut is counted where people look for it");
    let groups = daemon.command(&["show", "groups"]).stdout;
    let groups = String::from_utf8_lossy(&groups).into_owned();
    assert!(groups.contains("db ") && groups.contains("web1 web2"), "{groups}");
}
