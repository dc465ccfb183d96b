//! Live migration: a guest moves from one port to another while a stream of data comes in. What arrives during
//! the move is noted in QEMU's dirty log; a page that we forgot would come out stale on the other side.

use std::thread;
use std::time::Duration;

use serde_json::json;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_for;
use viaduct_tests::guest::Pings;
use viaduct_tests::machine::{Guest, Machine};

fn migrate(guest: &mut Guest, to: &str) {
    guest.monitor("migrate-set-parameters", &json!({ "max-bandwidth": 400_000_000, "downtime-limit": 500 }));
    guest.monitor("migrate", &json!({ "uri": to }));
    wait_for("the migration to end", Duration::from_secs(60), || {
        let answer = guest.monitor("query-migrate", &json!({}));
        let status = answer["status"].as_str().unwrap_or_default().to_owned();
        assert!(status != "failed" && status != "cancelled", "the migration failed: {answer}");
        thread::sleep(Duration::from_millis(100));
        (status == "completed").then_some(())
    });
}

#[test]
fn a_guest_is_migrated_to_another_port_under_traffic_and_not_a_byte_is_stale() {
    let daemon = Daemon::start(
        "[network.lab]\n[port.vm1]\nnetwork = \"lab\"\n[port.vm2]\nnetwork = \"lab\"\n[port.vm1-there]\nnetwork = \"lab\"\n",
    );
    let mut vm1 = Machine::new("vm1", "10.0.1.1/24").on_port_of(&daemon).power_on();
    let mut vm2 = Machine::new("vm2", "10.0.1.2/24").on_port_of(&daemon).power_on();
    vm1.await_shell();
    vm2.await_shell();
    let path = format!("unix:{}", daemon.directory().join("migration.sock").display());
    let machine = Machine::new("vm1", "10.0.1.1/24").on_port_of(&daemon);
    let mut there = machine.arriving(&daemon, "vm1-there", &path).power_on();

    vm2.run("head -c 20000000 /dev/urandom >/tmp/data");
    let stream = "for i in $(seq 12); do cat /tmp/data; done";
    vm1.run("( nc -l -p 9000 | md5sum >/tmp/arrived ) >/dev/null 2>&1 &");
    let sent = vm2.run_within(Duration::from_secs(60), &format!("( {stream} ) | md5sum"));
    vm2.start("ping", "ping -i 0.2 -c 100 -W 2 10.0.1.1");
    vm2.start("stream", &format!("( {stream} ) | nc 10.0.1.1 9000"));
    thread::sleep(Duration::from_millis(500));
    migrate(&mut vm1, &path);
    drop(vm1);
    vm2.finish("stream", Duration::from_secs(90));
    wait_for("the other end of the stream", Duration::from_secs(20), || {
        (!there.run("cat /tmp/arrived").trim().is_empty()).then_some(())
    });
    assert_eq!(there.run("cat /tmp/arrived"), sent, "what arrived differs from what was sent");

    let pings = Pings::read(&vm2.finish("ping", Duration::from_secs(60)));
    assert!(pings.lost() <= 15, "{} of {} pings were lost", pings.lost(), pings.sent);
    let mac = vm2.run("ip neigh show 10.0.1.1 | sed 's/.*lladdr \\([^ ]*\\).*/\\1/'").trim().to_owned();
    let place = daemon.fdb().into_iter().find(|entry| entry.mac == mac).map(|entry| entry.port);
    assert_eq!(place.as_deref(), Some("vm1-there"), "the network learned the new place");
    there.ping("10.0.1.2", 1400);
}
