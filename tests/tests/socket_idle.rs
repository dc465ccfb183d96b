//! What the switch costs when it has nothing to do, and when it starts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::{Duration, Instant};

use viaduct_tests::daemon::Daemon;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::driver::session;
use viaduct_tests::lab::network;
use viaduct_tests::stream::{frame, mac, number_of};

/// Small cards, so that a hundred of them fit everywhere.
fn small() -> NicOptions {
    NicOptions { queue_size: 64, send_buffers: 8, ..NicOptions::default() }
}

fn idle_share(daemon: &Daemon, time: Duration) -> f64 {
    let (start, before) = (Instant::now(), daemon.usage().cpu);
    std::thread::sleep(time);
    (daemon.usage().cpu - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

#[test]
fn idle_with_a_hundred_ports_connected_it_uses_less_than_a_hundredth_of_a_core() {
    let names: Vec<String> = (0..100).map(|index| format!("p{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&network("lab", &names, ""));
    let mut cards: Vec<Nic> = names.iter().map(|name| Nic::connect(&daemon.socket(name), &small())).collect();
    cards[0].send(&frame([0xff; 6], mac(1), 1, 60));
    for card in &mut cards[1..] {
        assert_eq!(number_of(&card.expect_frame("the broadcast").bytes), Some(1));
    }
    assert!(daemon.show().ports.iter().all(|port| port.state == "running" && port.rings_running == 2));
    std::thread::sleep(Duration::from_millis(500));
    let share = idle_share(&daemon, Duration::from_secs(6));
    println!("100 ports, idle: {:.2} % of a core", share * 100.0);
    assert!(share < 0.01, "{:.2} % of a core", share * 100.0);
    // It sleeps, and wakes for the first kick.
    let start = Instant::now();
    cards[7].send(&frame(mac(1), mac(8), 2, 60));
    assert_eq!(number_of(&cards[0].expect_frame("a frame out of the silence").bytes), Some(2));
    println!("a frame out of the silence: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(100), "woken after {:?}", start.elapsed());
}

#[test]
fn from_start_to_the_first_frame_it_takes_less_than_a_tenth_of_a_second() {
    let config = network("lab", &["a", "b"], "role = \"client\"");
    let mut daemon = Daemon::start(&config);
    let mut times = Vec::new();
    for _ in 0..5 {
        daemon.kill();
        let listeners = ["a", "b"].map(|port| session::listen(&daemon.socket(port)));
        daemon.restart_without_waiting();
        let [mut a, mut b] =
            listeners.each_ref().map(|listener| Nic::over(session::accept(listener), &NicOptions::default()));
        a.send(&frame(mac(2), mac(1), 1, 60));
        assert_eq!(number_of(&b.expect_frame("the first frame").bytes), Some(1));
        times.push(daemon.started().elapsed());
    }
    println!("from exec to the first frame delivered: {times:?}");
    times.sort();
    assert!(times[2] < Duration::from_millis(100), "the median of {times:?}");
}
