//! Many who change the configuration at once, and many ports.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use viaduct_tests::bystander::Bystander;
use viaduct_tests::control_plane::{ask, ask_text};
use viaduct_tests::daemon::Daemon;
use viaduct_tests::lab::network;

const PAIR: [&str; 2] = ["a", "b"];
const WRITERS: usize = 8;
/// Changes of each writer.
const CHANGES: usize = 5;

#[test]
fn of_all_who_rely_on_one_generation_one_wins_and_the_others_are_told() {
    let daemon = Daemon::start(&network("lab", &PAIR, ""));
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    let start = Barrier::new(WRITERS);
    for round in 0..10 {
        let (_, tag, text) = ask_text(&daemon, ("GET", "/v1/config"), None, "");
        let answers: Vec<(u16, String)> = thread::scope(|scope| {
            let ask = |writer: usize| {
                let text = format!("{text}\n[network.of-{round}-{writer}]\n");
                let (start, daemon, tag) = (&start, &daemon, &tag);
                scope.spawn(move || {
                    start.wait();
                    let (status, _, told) = ask_text(daemon, ("PUT", "/v1/config"), Some(tag), &text);
                    (status, told)
                })
            };
            let writers: Vec<_> = (0..WRITERS).map(ask).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let winners = answers.iter().filter(|(status, _)| *status == 200).count();
        let told = |(status, told): &&(u16, String)| *status == 412 && told.contains("runs");
        // Four texts at once are received: who comes beside them has to try again.
        let busy = answers.iter().filter(|(status, _)| *status == 503).count();
        assert_eq!((winners, answers.iter().filter(told).count() + busy), (1, WRITERS - 1), "{answers:?}");
        let networks = daemon.show_json()["networks"].as_array().unwrap().len();
        assert_eq!(networks, 2 + round, "each round the winner's network came, and no other");
    }
    bystander.finish();
}

#[test]
fn fields_of_a_group_a_qos_and_a_network_are_changed_and_all_else_stays() {
    let text = network("lab", &PAIR, "")
        + "[group.web]\n# Since May.\nrules = []\n[address_group.office]\naddresses = [\"192.0.2.0/24\"]\n\
           [qos.gold]\ningress = { police = \"50mbit\", burst = \"128KiB\" }   # agreed\n";
    let daemon = Daemon::start(&text);
    let (_, first, before) = ask_text(&daemon, ("GET", "/v1/config"), None, "");
    let patches = [
        ("groups/web", r#"{"rules": [{"direction": "ingress", "protocol": "tcp", "ports": 22}]}"#),
        ("address_groups/office", r#"{"addresses": ["198.51.100.0/24"]}"#),
        ("qos/gold", r#"{"ingress": {"police": "60mbit"}}"#),
        ("networks/lab", r#"{"ageing": "1m"}"#),
    ];
    for (path, body) in patches {
        let path = format!("/v1/{path}");
        let dry = ask_text(&daemon, ("PATCH", &format!("{path}?dry_run=true")), Some(&first), body);
        let (_, tag, running) = ask_text(&daemon, ("GET", "/v1/config"), None, "");
        assert_eq!(dry.0 == 200, tag == first, "{}", dry.2);
        let (status, _, told) = ask_text(&daemon, ("PATCH", &path), Some(&tag), body);
        assert_eq!(status, 200, "{told}");
        assert!(told.contains("\"changed\""), "{told}");
        let (status, _, told) = ask_text(&daemon, ("PATCH", &path), Some(&tag), body);
        assert_eq!(status, 412, "{told}");
        assert_ne!(ask_text(&daemon, ("GET", "/v1/config"), None, "").2, running);
    }
    let (_, tag, after) = ask_text(&daemon, ("GET", "/v1/config"), None, "");
    for part in [
        "# Since May.\n",
        "ports = 22",
        "198.51.100.0/24",
        "\"60mbit\", burst = \"128KiB\" }   # agreed",
        "ageing = \"1m\"",
    ] {
        assert!(after.contains(part), "{part} is not in {after}");
    }
    assert_eq!(daemon.show_json()["networks"][0]["ageing_s"], 60);
    let (status, _, told) = ask_text(&daemon, ("PATCH", "/v1/networks/lab"), Some(&tag), r#"{"ageing": 5}"#);
    assert!(status == 422 && told.contains("network.lab.ageing"), "{told}");
    let back = r#"{"ageing": null}"#;
    assert_eq!(ask_text(&daemon, ("PATCH", "/v1/networks/lab"), None, back).0, 200);
    let (_, _, text) = ask_text(&daemon, ("GET", "/v1/config"), None, "");
    assert!(!text.contains("ageing") && before.lines().count() == text.lines().count(), "{text}");
}

#[test]
fn writers_that_read_again_when_they_are_told_lose_no_change_of_anybody() {
    let daemon = Daemon::start(&network("lab", &PAIR, ""));
    let started = Instant::now();
    let write = |writer: usize, change: usize| {
        for attempt in 0.. {
            let (_, tag, text) = ask_text(&daemon, ("GET", "/v1/config"), None, "");
            let text = format!("{text}\n[network.of-{writer}-{change}]\n");
            match ask_text(&daemon, ("PUT", "/v1/config"), Some(&tag), &text).0 {
                200 => return attempt,
                status => assert!(matches!(status, 412 | 503), "{status}"),
            }
            assert!(started.elapsed() < Duration::from_secs(60), "nobody gets through");
        }
        0
    };
    let told: usize = thread::scope(|scope| {
        let write = &write;
        let of =
            |writer| scope.spawn(move || (0..CHANGES).map(|change| write(writer, change)).sum::<usize>());
        let writers: Vec<_> = (0..WRITERS).map(of).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    let status = daemon.show_json();
    let made = WRITERS * CHANGES;
    println!("{made} changes of {WRITERS} writers in {:?}, who were told {told} times", started.elapsed());
    assert_eq!(status["networks"].as_array().unwrap().len(), 1 + made);
    assert_eq!(status["generation"], 1 + made as u64);
    assert!(told > 0, "nobody met anybody");
}

/// Ports, and after how many more the time is noted.
fn ports() -> (usize, usize) {
    let wanted = std::env::var("VIADUCT_TEST_PORTS").ok().and_then(|number| number.parse().ok());
    let ports: usize = wanted.unwrap_or(600);
    (ports, (ports / 4).max(1))
}

#[test]
fn ports_by_the_hundred_come_one_by_one_and_all_at_once() {
    let (count, portion) = ports();
    let daemon = Daemon::start(&network("lab", &PAIR, ""));
    let bystander = Bystander::start(PAIR.map(|port| daemon.socket(port)));
    let before = daemon.settled_usage();
    let mut took = Vec::new();
    for first in (0..count).step_by(portion) {
        let start = Instant::now();
        for number in first..count.min(first + portion) {
            let path = format!("/v1/ports/p{number}");
            let (status, _, told) = ask(&daemon, ("PUT", &path), None, "network = \"lab\"\n");
            assert_eq!(status, 200, "{told}");
        }
        took.push(start.elapsed());
    }
    let after = daemon.settled_usage();
    let kib = (after.anonymous_kib - before.anonymous_kib.min(after.anonymous_kib)) / count as u64;
    println!("{count} ports one by one, in portions of {portion}: {took:?}; {kib} KiB a port");
    assert_eq!(daemon.show().ports.len(), count + 2);
    assert!(kib < 64, "{kib} KiB a port");
    let [first, last] = [took[0], took[took.len() - 1]];
    assert!(last < first * 12 + Duration::from_secs(5), "{took:?}: what one port costs grows without end");

    let start = Instant::now();
    daemon.apply(&network("lab", &PAIR, ""));
    println!("all of them away: {:?}", start.elapsed());
    let names: Vec<String> = (0..count).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = PAIR.into_iter().chain(names.iter().map(String::as_str)).collect();
    let start = Instant::now();
    daemon.apply(&network("lab", &names, ""));
    println!("all of them at once: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    bystander.finish();
}
