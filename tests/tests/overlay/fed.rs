//! Stations that no file names: a control plane feeds them by the API, and tells when one moves.

use serde_json::{Value, json};
use viaduct_tests::control_plane::ask;
use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::town::with_stations;

use super::exchange::reach;
use super::scenario::{Mode, NUMBERS, Node, apply, forget, talk};
use super::underlay::{LIMIT, Underlay, address, mac};
use super::wire::Wire;

const PATH: &str = "/v1/networks/tenant105/stations";

/// Station `number`, which is behind machine `at`.
fn station(number: u8, at: u8) -> Value {
    json!({ "mac": mac(number), "address": [address(number)], "vtep": format!("192.168.99.{at}") })
}

fn feed(daemon: &Daemon, method: &str, stations: &[Value], if_match: Option<u64>) -> (u16, u64, Value) {
    ask(daemon, (method, PATH), if_match, &json!({ "stations": stations }).to_string())
}

/// Nobody is asked for and nothing is flooded, and a station that moved is found by the one who was told.
pub(super) fn stations_are_fed_and_move(underlay: &Underlay, nodes: &[Node]) {
    let wire = Wire::listen(underlay, "fed");
    apply(nodes, Mode::Fed);
    for (node, number) in nodes.iter().zip(NUMBERS) {
        let others: Vec<Value> =
            NUMBERS.into_iter().filter(|other| *other != number).map(|other| station(other, other)).collect();
        let (status, generation, told) = feed(&node.daemon, "PUT", &others, Some(0));
        assert_eq!((status, generation, &told["added"]), (200, 1, &json!(2)), "{told}");
    }
    talk(nodes);
    reach(&nodes[2].station.namespace, &address(1));
    // Station 2 moves: it is at machine 3 in the place of the one that was there, whose machine knows by its file.
    for (node, other) in [(&nodes[1], 3), (&nodes[2], 2)] {
        node.become_station(other);
    }
    nodes[1].daemon.apply(&with_stations(Mode::Fed.config(2), &[&nodes[1].station]));
    nodes[2].daemon.apply(&with_stations(Mode::Fed.config(3), &[&nodes[2].station]));
    nodes.iter().for_each(|node| node.daemon.wait_for_state(node.station.name, "attached"));
    let (status, generation, left) = ask(&nodes[2].daemon, ("GET", PATH), None, "");
    assert_eq!(
        (status, generation, &left["fed"]),
        (200, 2, &json!(1)),
        "who is here is nowhere else: {left}"
    );
    forget(nodes);
    let (status, _, told) = feed(&nodes[0].daemon, "POST", &[station(2, 3)], Some(0));
    assert_eq!(status, 412, "{told}");
    assert!(told["error"].as_str().unwrap().contains("have generation 1"), "{told}");
    assert!(!nodes[0].station.reaches(&address(2)), "machine 1 was not told yet");
    let (status, generation, told) = feed(&nodes[0].daemon, "POST", &[station(2, 3)], Some(1));
    assert_eq!((status, generation, &told["changed"]), (200, 2, &json!(1)), "{told}");
    reach(&nodes[0].station.namespace, &address(2));
    let answers = format!("icmp && vxlan && ip.src == 192.168.99.3 && ip.src == {}", address(2));
    wait_until("the answer on the wire", LIMIT, || wire.count(&answers) > 0);
    let of_overlay = "vxlan.vni == 105";
    assert!(wire.count(of_overlay) > 100);
    assert_eq!(wire.count(&format!("{of_overlay} && (arp || eth.dst.ig == 1)")), 0, "nobody is asked for");
    let shown = nodes[0].daemon.command(&["show", "stations", "tenant105"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("{}  192.168.99.3  api   {}", mac(2), address(2))), "{shown}");
    let removed = nodes[0].daemon.command(&["station", "remove", "tenant105", &mac(3)]);
    assert!(String::from_utf8_lossy(&removed.stdout).contains("generation 3: 0 added, 0 changed, 1 removed"));
}
