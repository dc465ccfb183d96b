//! Floods, on the bystanders' own network: of addresses, of flows, to everybody and to groups, and back again. They cost
//! the flooder, and the bystanders lose nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "a test")]

use std::time::{Duration, Instant};

use viaduct_tests::bystander;
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::hostile::Stage;
use viaduct_tests::stream::{SHORTEST, frame, mac};

/// How long a storm blows.
const STORM: Duration = Duration::from_secs(2);

/// Cards that can send and take a lot at once.
fn large() -> NicOptions {
    NicOptions { queue_size: 1024, send_buffers: 1024, ..NicOptions::default() }
}

/// Takes all that has come for `y`; none of it may be the bystanders' own business. Returns how many came.
fn take_all(y: &mut Nic) -> u64 {
    let mut count = 0;
    while let Some(received) = y.take() {
        count += 1;
        let to = received.bytes.get(..6);
        let others = bystander::ADDRESSES.iter().any(|address| to == Some(&address[..]));
        assert!(!others, "a frame from one bystander to the other was flooded");
    }
    count
}

/// Sends `make(number)` for each number of `numbers` from `x`, while `y` takes what comes; returns how many came.
fn flood(x: &mut Nic, y: &mut Nic, numbers: std::ops::Range<u64>, make: impl Fn(u64) -> Vec<u8>) -> u64 {
    let mut taken = 0;
    for number in numbers {
        x.transmit[0].put(NetHeader::default(), &make(number));
        if number % 64 == 0 {
            x.transmit[0].ring.publish();
            taken += take_all(y);
        }
    }
    x.transmit[0].drain();
    taken + take_all(y)
}

// Addresses

#[test]
fn a_flood_of_source_addresses_is_bounded_and_the_neighbours_stay_known() {
    const ADDRESSES: u64 = 200_000;
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&large());
    let new_source = |number| frame(mac(2), mac(0x0100_0000 + number as u32), 1, 60);
    flood(&mut x, &mut y, 0..ADDRESSES, new_source);
    stage.assert_unharmed("a flood of addresses");
    let state = stage.daemon.show();
    assert!(state.networks[0].addresses < ADDRESSES, "the table is bounded");
    let known = stage.daemon.fdb();
    for port in ["a", "b"] {
        assert!(known.iter().any(|entry| entry.port == port), "the neighbour {port} stays known");
    }
    println!("{} addresses are learned after {ADDRESSES} were sent", state.networks[0].addresses);
    // The table is in use now, and told by pages; more of the same takes no more memory.
    stage.accept_private_memory();
    flood(&mut x, &mut y, ADDRESSES..2 * ADDRESSES, new_source);
    for _ in 0..16 {
        let _ = (stage.daemon.show(), stage.daemon.fdb());
    }
    drop((x, y));
    stage.finish("a flood of addresses");
}

// Flows

/// Frames a second from `x` to `y`, of which each must arrive.
fn rate(x: &mut Nic, y: &mut Nic, numbers: std::ops::Range<u64>, make: impl Fn(u64) -> Vec<u8>) -> f64 {
    /// Fewer than receive buffers and what may wait for them: none is lost however slow this thread is.
    const WINDOW: u64 = 768;
    let (start, first) = (Instant::now(), numbers.start);
    let (mut sent, mut came) = (0, 0);
    while came < numbers.end - first {
        while sent < numbers.end - first && sent - came < WINDOW {
            x.transmit[0].put(NetHeader::default(), &make(first + sent));
            sent += 1;
        }
        x.transmit[0].ring.publish();
        came += take_all(y);
        assert!(start.elapsed() < Duration::from_secs(20), "{came} of {sent} frames came");
    }
    came as f64 / start.elapsed().as_secs_f64()
}

#[test]
fn a_new_flow_with_each_packet_falls_back_to_the_slow_paths_rate_and_no_further() {
    const FRAMES: u64 = 30_000;
    const ROUNDS: u64 = 7;
    /// What deciding about a frame anew may cost of the rate. By backend/instructions/bounds.toml, a way from ring to
    /// ring with a new flow's decision takes 1.6 times the instructions of one with a known flow's: 0.6 of the rate.
    const LEAST: f64 = 0.35;
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&large());
    let known = |number| frame(mac(2), mac(1), number, SHORTEST);
    // Another protocol each time, more of them than a worker remembers, and none of them a VLAN tag's.
    let new = |number: u64| {
        let mut bytes = known(number);
        bytes[12..14].copy_from_slice(&(0x9101 + (number % 0x5e00) as u16).to_be_bytes());
        bytes
    };
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let numbers = round * FRAMES..(round + 1) * FRAMES;
            rate(&mut x, &mut y, numbers.clone(), new) / rate(&mut x, &mut y, numbers, known)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("new flows go at {median:.2} of the rate of a known one ({ratios:.2?})");
    assert!(median > LEAST, "new flows go at {ratios:.2?} of the rate of a known one");
    stage.assert_unharmed("a new flow with each packet");
    drop((x, y));
    stage.finish("a new flow with each packet");
}

// Storms

/// The Internet checksum (RFC 1071) of `bytes`, on top of `sum`.
fn checksum(bytes: &[u8], sum: u32) -> [u8; 2] {
    let words =
        bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)])));
    let mut sum = sum + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An IGMPv2 report (RFC 2236, 2) that joins another group each time, with the router alert option.
fn igmp_report(number: u64) -> Vec<u8> {
    let [_, b, c, d] = (number as u32).to_be_bytes();
    let group = [239, b, c, d];
    let mut report = vec![0x16, 0, 0, 0];
    report.extend(group);
    let sum = checksum(&report, 0);
    report[2..4].copy_from_slice(&sum);
    let mut header = vec![0x46, 0xc0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 1];
    header.extend(group);
    header.extend([0x94, 4, 0, 0]);
    let sum = checksum(&header, 0);
    header[10..12].copy_from_slice(&sum);
    let ethernet = [&[1, 0, 0x5e, b & 0x7f, c, d][..], &mac(1), &[8, 0]].concat();
    [ethernet, header, report].concat()
}

/// An MLDv1 report (RFC 2710, 3) that joins another group each time, with the router alert option.
fn mld_report(number: u64) -> Vec<u8> {
    let [a, b, c, d] = (number as u32).to_be_bytes();
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, a, b, c, d];
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut report = vec![131, 0, 0, 0, 0, 0, 0, 0];
    report.extend(group);
    let pseudo = [&source[..], &group, &[0, 0, 0, 24, 0, 0, 0, 58], &report].concat();
    let sum = checksum(&pseudo, 0);
    report[2..4].copy_from_slice(&sum);
    let header = [&[0x60, 0, 0, 0, 0, 32, 0, 1][..], &source, &group, &[58, 0, 5, 2, 0, 0, 1, 0]].concat();
    let ethernet = [&[0x33, 0x33, a, b, c, d][..], &mac(1), &[0x86, 0xdd]].concat();
    [ethernet, header, report].concat()
}

/// `x` sends `make(number)` as fast as it can while the bystanders go on; gives how many it sent.
fn storm(stage: &mut Stage, x: &mut Nic, y: &mut Nic, what: &str, make: impl Fn(u64) -> Vec<u8>) -> u64 {
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < STORM {
        flood(x, y, sent..sent + 4096, &make);
        sent += 4096;
    }
    println!("{what}: {sent} frames in {:?}", start.elapsed());
    stage.assert_unharmed(what);
    sent
}

#[test]
fn a_storm_of_broadcasts_is_held_down_and_the_neighbours_lose_nothing() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&large());
    let sent = storm(&mut stage, &mut x, &mut y, "broadcasts", |number| frame([0xff; 6], mac(1), number, 60));
    let held = stage.port("x").dropped("storm-broadcast");
    assert!(held > 0 && held < sent, "{held} of {sent} broadcasts were held back");
    drop((x, y));
    stage.finish("a storm of broadcasts");
}

#[test]
fn a_storm_for_groups_and_strangers_is_held_down_and_the_neighbours_lose_nothing() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&large());
    let group = |number: u64| [1, 0, 0x5e, 1, (number >> 8) as u8 & 7, number as u8];
    storm(&mut stage, &mut x, &mut y, "groups", |number| frame(group(number), mac(1), number, 60));
    storm(&mut stage, &mut x, &mut y, "strangers", |number| frame(mac(0x0200_0000), mac(1), number, 60));
    drop((x, y));
    stage.finish("a storm for groups and strangers");
}

#[test]
fn a_storm_of_reports_that_join_groups_harms_nobody() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&large());
    storm(&mut stage, &mut x, &mut y, "IGMP reports", igmp_report);
    storm(&mut stage, &mut x, &mut y, "MLD reports", mld_report);
    // Tables that it filled stay as large as they are: more of the same takes no more.
    let _ = stage.daemon.show();
    stage.accept_private_memory();
    storm(&mut stage, &mut x, &mut y, "more IGMP reports", |number| igmp_report(number + (1 << 20)));
    storm(&mut stage, &mut x, &mut y, "more MLD reports", |number| mld_report(number + (1 << 20)));
    drop((x, y));
    stage.finish("a storm of reports");
}

/// Sends back everything that has come, as it is; gives how many frames that were.
fn reflect(nic: &mut Nic) -> u64 {
    let mut count = 0;
    while let Some(received) = nic.take() {
        count += u64::from(nic.transmit[0].try_put(NetHeader::default(), &received.bytes));
    }
    nic.transmit[0].ring.publish();
    count
}

#[test]
fn guests_that_reflect_everything_they_get_harm_nobody_but_themselves() {
    let mut stage = Stage::new();
    let [mut x, mut y] = stage.cards(&large());
    let (start, mut reflected) = (Instant::now(), 0);
    while start.elapsed() < STORM {
        x.transmit[0].put(NetHeader::default(), &frame([0xff; 6], mac(1), reflected, 60));
        x.transmit[0].put(NetHeader::default(), &frame(mac(2), mac(1), reflected, 60));
        x.transmit[0].ring.publish();
        reflected += reflect(&mut y) + reflect(&mut x);
    }
    println!("{reflected} frames were reflected");
    assert!(reflected > 1000, "they reflect each other's frames: {reflected}");
    stage.assert_unharmed("guests that reflect everything");
    drop((x, y));
    stage.finish("guests that reflect everything");
}
