//! Interfaces come, go, fall down, change and are renamed: their ports follow, and others do not notice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use viaduct_tests::bystander::Bystander;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::lab::LAB_AND_OFFICE;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::stream::{frame, mac};

const LIMIT: Duration = Duration::from_secs(10);

/// A switch whose uplink leads to `outside`, two bystanders on another network, and a card on the uplink's.
struct Scene {
    inside: Namespace,
    outside: Namespace,
    daemon: Daemon,
    card: Nic,
    bystander: Bystander,
}

impl Scene {
    fn new() -> Self {
        let (inside, outside) = (Namespace::new("inside"), Namespace::new("outside"));
        let daemon = Daemon::start_in(&inside, LAB_AND_OFFICE);
        let bystander = Bystander::start(["a", "b"].map(|port| daemon.socket(port)));
        let card = Nic::connect(&daemon.socket("c"), &NicOptions::default());
        Self { inside, outside, daemon, card, bystander }
    }

    fn plug(&self) {
        cable((&self.inside, "eth1"), (&self.outside, "eth1"));
        self.outside.ip("address add 192.168.78.1/24 dev eth1");
    }

    fn detail(&self) -> String {
        self.daemon.show().port("wan").detail.clone().unwrap_or_default()
    }

    /// Frames pass both ways: what the kernel outside asks for reaches the card, and the card's frame the kernel.
    fn assert_connected(&mut self) {
        self.daemon.wait_for_state("wan", "attached");
        wait_until("an ARP request from outside at the card", LIMIT, || {
            let _ = self.outside.succeeds("busybox ping -q -c 1 -W 1 192.168.78.2");
            self.card
                .collect(Duration::from_millis(20))
                .iter()
                .any(|received| received.bytes.get(12..14) == Some(&[8, 6][..]))
        });
        let heard = || -> u64 {
            self.outside.run("cat /sys/class/net/eth1/statistics/rx_packets").trim().parse().unwrap()
        };
        let before = heard();
        self.card.send(&frame([0xff; 6], mac(3), 1, 100));
        wait_until("the card's frame outside", LIMIT, || heard() > before);
    }
}

#[test]
fn an_uplink_follows_its_interface_and_bystanders_lose_nothing() {
    let mut scene = Scene::new();
    assert_eq!(scene.daemon.show().port("wan").state, "waiting");
    assert!(scene.detail().contains("there is no interface eth1"), "{}", scene.detail());

    scene.plug();
    scene.assert_connected();
    let first = scene.daemon.show().interface("wan").index;

    scene.inside.ip("link set eth1 down");
    scene.daemon.wait_for_state("wan", "waiting");
    assert!(scene.detail().contains("eth1 is down"), "{}", scene.detail());
    scene.inside.ip("link set eth1 up");
    scene.assert_connected();

    scene.outside.ip("link set eth1 down");
    wait_until("the lost carrier", LIMIT, || scene.daemon.show().interface("wan").link == "no-carrier");
    scene.outside.ip("link set eth1 up");
    scene.assert_connected();

    scene.inside.ip("link set eth1 mtu 9000");
    wait_until("the new MTU", LIMIT, || scene.daemon.show().interface("wan").mtu == Some(9000));
    scene.assert_connected();

    scene.inside.ip("link set eth1 down");
    scene.inside.ip("link set eth1 name wan0");
    scene.inside.ip("link set wan0 up");
    scene.assert_connected();
    assert_eq!(scene.daemon.show().interface("wan").renamed.as_deref(), Some("wan0"));

    scene.inside.ip("link del wan0");
    scene.daemon.wait_for_state("wan", "waiting");
    scene.plug();
    scene.assert_connected();
    assert_ne!(scene.daemon.show().interface("wan").index, first);
    assert_eq!(scene.daemon.show().interface("wan").renamed, None);

    scene.bystander.wait_for_rounds(3);
    scene.bystander.finish();
}

#[test]
fn uplinks_change_at_run_time_all_or_nothing() {
    let mut scene = Scene::new();
    scene.plug();
    scene.assert_connected();
    let refused = scene.daemon.try_apply(&LAB_AND_OFFICE.replace("uplink = \"wan\"", "uplink = \"wam\""));
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("network.office.uplink") && told.contains("\"wan\", the nearest known uplink"),
        "{told}"
    );
    scene.assert_connected();

    // The uplink goes: its network is one of guests alone.
    let isolated = LAB_AND_OFFICE.replace("mode = \"bridged\"\nuplink = \"wan\"\n", "");
    let isolated = isolated.replace("[uplink.wan]\ninterface = \"eth1\"\n", "");
    let changes = scene.daemon.apply(&isolated);
    assert!(changes.contains("- uplink wan") && changes.contains("mode bridged -> isolated"), "{changes}");
    assert!(scene.daemon.show().ports.iter().all(|port| port.name != "wan"));
    assert!(scene.daemon.fdb().iter().all(|entry| entry.port != "wan"));

    // It comes back by another interface, and then by the first one.
    cable((&scene.inside, "eth2"), (&scene.outside, "eth2"));
    scene.daemon.apply(&LAB_AND_OFFICE.replace("eth1", "eth2"));
    scene.daemon.wait_for_state("wan", "attached");
    scene.daemon.apply(LAB_AND_OFFICE);
    scene.assert_connected();
    scene.bystander.finish();
}

#[test]
fn a_restarted_switch_has_its_uplink_again() {
    let mut scene = Scene::new();
    scene.plug();
    scene.assert_connected();
    let Scene { inside, outside, mut daemon, card, bystander } = scene;
    bystander.finish();
    drop(card);
    daemon.kill();
    daemon.restart();
    let bystander = Bystander::start(["a", "b"].map(|port| daemon.socket(port)));
    let card = Nic::connect(&daemon.socket("c"), &NicOptions::default());
    let mut scene = Scene { inside, outside, daemon, card, bystander };
    scene.assert_connected();
    assert!(!scene.inside.ip("-d link show eth1").contains("master"), "the interface has no master");
    scene.bystander.finish();
}
