//! Spanning trees of whole networks in simulated time: bridges, links that fail and recover, messages that are lost,
//! doubled and made up. Everything comes from a seed, so each run can be had again.
//!
//! Whenever a port changes, those that forward are looked at: a frame must never be able to go in a circle. One exception
//! is the protocol's own: an agreement carries no number, so one that was on its way while what it agrees to changed may
//! be taken for a fresh one. Where several things fail within the same seconds this opens a circle once in 1,500 failures
//! (107 of 20,000 networks with 8 failures each: 96 for up to 50 ms, all for less than a second); the next messages
//! close it, which may be held back for a second (the transmit hold count). [`CIRCLE_MAX_MS`] bounds that. While networks
//! come up there is none (of 100,000).
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

#[path = "spanning_tree/world.rs"]
mod world;

use proptest::prelude::*;
use viaduct_switch::spanning_tree::{EdgePort, PortRole, PortState, TreeSettings, Version};
use world::{Chance, World};

const RSTP: TreeSettings = TreeSettings {
    version: Version::Rstp,
    priority: 0x8000,
    hello_time_s: 2,
    max_age_s: 20,
    forward_delay_s: 15,
    tx_hold_count: 6,
};
const STP: TreeSettings = TreeSettings { version: Version::Stp, ..RSTP };

/// How long a network of bridges that speak STP alone may take: three hellos and max age until all know the root, then
/// listening and learning, and something to spare for messages that are held back.
const STP_CONVERGES_MS: u64 = 60_000;

/// How long a circle may stay open: as long as two messages in a row are held back.
const CIRCLE_MAX_MS: u64 = 2000;

/// A ring of `bridges` with settings by place.
fn ring(bridges: usize, settings: impl Fn(usize) -> TreeSettings) -> World {
    let mut world = World::new((0..bridges).map(settings));
    for bridge in 0..bridges {
        world.link(bridge, (bridge + 1) % bridges);
    }
    world
}

#[test]
fn a_ring_of_rstp_bridges_converges_within_three_seconds_and_has_one_closed_port() {
    for bridges in 2..=7 {
        let mut world = ring(bridges, |_| RSTP);
        world.bring_all_up();
        world.run(3000);
        world.assert_one_tree();
        let closed = world.ports().filter(|port| port.state == PortState::Discarding).count();
        assert_eq!(closed, 1, "{bridges} bridges");
    }
}

#[test]
fn the_best_priority_becomes_the_root_and_the_cheapest_way_the_root_port() {
    let mut world = ring(4, |at| TreeSettings { priority: if at == 2 { 0x1000 } else { 0x8000 }, ..RSTP });
    world.bring_all_up();
    world.run(2000);
    world.assert_one_tree();
    assert!((0..4).all(|at| world.status(at).root == world.status(2).bridge));
    assert_eq!(world.status(2).root_port, None);
    assert_eq!(world.status(0).root_cost, 2 * world.status(1).root_cost);
}

#[test]
fn the_cut_of_an_active_link_is_healed_within_a_tenth_of_a_second() {
    let mut world = ring(5, |_| RSTP);
    world.bring_all_up();
    world.run(5000);
    for cut in 0..5 {
        world.set_link(cut, false);
        world.run(100);
        world.assert_one_tree();
        world.set_link(cut, true);
        world.run(10_000);
        world.assert_one_tree();
    }
}

#[test]
fn two_parallel_links_leave_one_open_and_the_other_takes_over_at_once() {
    let mut world = World::new([RSTP, RSTP]);
    let links = [world.link(0, 1), world.link(0, 1)];
    world.bring_all_up();
    world.run(1000);
    world.assert_one_tree();
    let open = |world: &World, link| world.is_open(link);
    assert_eq!([open(&world, links[0]), open(&world, links[1])], [true, false]);
    world.set_link(links[0], false);
    world.run(50);
    assert!(open(&world, links[1]));
    assert!(world.flushed(0) + world.flushed(1) > 0, "addresses behind the old way are forgotten");
}

#[test]
fn a_silent_failure_is_noticed_after_three_hellos() {
    let mut world = ring(3, |_| RSTP);
    world.bring_all_up();
    world.run(5000);
    world.allows_loops = true;
    let open = (0..3).find(|&link| world.is_open(link)).unwrap();
    world.set_loss(open, 1000);
    world.run(6000 + 1000);
    world.set_link(open, false);
    world.run(10);
    world.assert_one_tree();
}

#[test]
fn bridges_that_speak_stp_alone_converge_by_their_timers() {
    let mut world = ring(4, |_| STP);
    world.bring_all_up();
    world.run(29_000);
    assert!(
        world.ports().all(|port| port.state != PortState::Forwarding),
        "nobody forwards before both delays"
    );
    world.run(STP_CONVERGES_MS - 29_000);
    world.assert_one_tree();
    world.set_link(0, false);
    world.run(STP_CONVERGES_MS);
    world.assert_one_tree();
}

#[test]
fn towards_an_old_neighbour_a_bridge_speaks_stp_and_towards_others_rstp() {
    let mut world = World::new([RSTP, STP, RSTP]);
    let (old, new) = (world.link(0, 1), world.link(0, 2));
    world.bring_all_up();
    world.run(STP_CONVERGES_MS);
    world.assert_one_tree();
    assert!(!world.port(0, old).speaks_rstp);
    assert!(world.port(0, new).speaks_rstp && world.port(2, new).speaks_rstp);
    assert_eq!(world.port(1, old).counters.rst_sent, 0);
    // The neighbour is replaced by one that speaks RSTP: heard, and answered, after the migrate time.
    world.replace(1, RSTP);
    world.run(10_000);
    assert!(world.port(0, old).speaks_rstp);
    world.assert_one_tree();
}

#[test]
fn a_port_without_a_bridge_behind_it_forwards_after_the_migrate_time_and_is_an_edge() {
    let mut world = World::new([RSTP]);
    let alone = world.host(0, EdgePort::Auto);
    let said = world.host(0, EdgePort::Yes);
    let never = world.host(0, EdgePort::No);
    world.bring_all_up();
    assert_eq!(world.port(0, said).state, PortState::Forwarding, "an edge port forwards at once");
    world.run(2900);
    assert_eq!(world.port(0, alone).state, PortState::Discarding);
    world.run(200);
    assert_eq!((world.port(0, alone).state, world.port(0, alone).is_edge), (PortState::Forwarding, true));
    assert_eq!(world.port(0, never).state, PortState::Discarding, "max age and a hello have not passed");
    world.run(20_000);
    assert_eq!((world.port(0, never).state, world.port(0, never).is_edge), (PortState::Forwarding, false));
}

#[test]
fn a_port_whose_own_messages_come_back_stays_closed() {
    let mut world = World::new([RSTP, RSTP]);
    let looped = world.looped(0);
    world.link(0, 1);
    world.bring_all_up();
    for _ in 0..100 {
        world.run(1000);
        assert_ne!(world.port(0, looped).state, PortState::Forwarding);
    }
    assert!(world.port(0, looped).counters.own_received >= 45);
}

#[test]
fn two_ports_on_one_wire_leave_one_open_and_the_other_becomes_its_backup() {
    let mut world = World::new([RSTP]);
    let wire = world.link(0, 0);
    world.bring_all_up();
    world.run(40_000);
    let roles: Vec<_> = world.ports().map(|port| port.role).collect();
    assert_eq!(roles, [PortRole::Designated, PortRole::Backup]);
    world.assert_one_tree();
    world.set_link(wire, false);
}

#[test]
fn a_link_that_carries_one_way_only_closes_by_dispute() {
    let mut world = World::new(
        (0..3).map(|at| TreeSettings { priority: 0x1000 * u16::try_from(at + 1).unwrap(), ..RSTP }),
    );
    for bridge in 0..3 {
        world.link_with(bridge, (bridge + 1) % 3, EdgePort::No);
    }
    world.bring_all_up();
    world.run(5000);
    // Bridge 1 is designated towards 2, which closes its port; now 2 hears nothing more from 1.
    let link = 1;
    assert!(!world.is_open(link));
    world.set_deaf(link, 2, true);
    world.run(30_000);
    assert!(!world.is_open(link), "a frame could go round");
    assert!(world.port(1, link).state != PortState::Forwarding);
    world.set_deaf(link, 2, false);
    world.run(10_000);
    world.assert_one_tree();
}

#[test]
fn the_death_of_the_root_does_not_count_to_infinity() {
    for bridges in [3, 5, 8] {
        let mut world =
            ring(bridges, |at| TreeSettings { priority: if at == 0 { 0 } else { 0x8000 }, ..RSTP });
        world.link(1, bridges - 1);
        world.bring_all_up();
        world.run(10_000);
        let dead = world.status(0).root;
        for link in world.links_of(0) {
            world.set_link(link, false);
        }
        // Stale information may circle, but each hop adds a second to its age: it dies at max age.
        world.run(20_000 + 6_000);
        assert!((1..bridges).all(|at| world.status(at).root != dead), "{bridges} bridges");
        world.assert_one_tree();
    }
}

#[test]
fn no_port_sends_more_than_the_hold_count_allows() {
    let mut world = ring(5, |_| RSTP);
    world.bring_all_up();
    let mut chance = Chance(7);
    for _ in 0..200 {
        let link = chance.below(5);
        world.set_link(link, chance.below(2) == 0);
        world.run(50);
    }
    assert!(world.most_sent_in_a_second() <= 2 * 6, "{}", world.most_sent_in_a_second());
}

#[test]
fn messages_that_are_made_up_neither_stop_a_bridge_nor_keep_a_loop_open() {
    for seed in 0..40 {
        let mut chance = Chance(seed);
        let mut world = ring(4, |_| RSTP);
        let hostile = world.host(0, EdgePort::Auto);
        world.bring_all_up();
        world.run(5000);
        world.allows_loops = true;
        for _ in 0..300 {
            let frame = world.made_up(0, &mut chance);
            world.say(hostile, &frame);
            world.run(chance.below(400) as u64);
        }
        // Who claimed to be the root has fallen silent.
        world.set_link(hostile, false);
        world.run(60_000);
        world.assert_one_tree();
        assert!(world.longest_loop_ms <= CIRCLE_MAX_MS, "{} ms with seed {seed}", world.longest_loop_ms);
    }
}

/// In these networks news of two better roots met, and both ends of a link thought that they serve it.
#[test]
fn roots_that_become_known_by_different_ways_open_no_circle() {
    for seed in [
        2_661_678_164_901_382_028,
        1_701_474_955_042_576_489,
        13_699_396_756_335_703_439,
        16_808_011_279_127_336_333,
        17_320_415_894_603_898_677,
        18_282_017_173_513_041_258,
    ] {
        let mut world = World::random(&mut Chance(seed), false);
        world.bring_all_up();
        world.run(10_000);
        world.assert_one_tree();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_network_becomes_one_tree_whatever_fails(seed in any::<u64>()) {
        let mut chance = Chance(seed);
        let mut world = World::random(&mut chance, false);
        world.bring_all_up();
        world.run(10_000);
        world.assert_one_tree();
        world.allows_loops = true;
        for _ in 0..8 {
            world.disturb(&mut chance);
            world.run(chance.below(4000) as u64);
        }
        world.run(60_000);
        world.assert_one_tree();
        prop_assert!(world.longest_loop_ms <= CIRCLE_MAX_MS, "{} ms", world.longest_loop_ms);
    }

    #[test]
    fn so_does_one_with_old_bridges_among_them(seed in any::<u64>()) {
        let mut chance = Chance(seed);
        let mut world = World::random(&mut chance, true);
        world.bring_all_up();
        for _ in 0..4 {
            world.run(100_000);
            world.assert_one_tree();
            world.allows_loops = true;
            world.disturb(&mut chance);
        }
        world.run(100_000);
        world.assert_one_tree();
        prop_assert!(world.longest_loop_ms <= CIRCLE_MAX_MS, "{} ms", world.longest_loop_ms);
    }

    #[test]
    fn lost_and_doubled_messages_delay_it_only(seed in any::<u64>(), loss in 0..200_u32) {
        let mut chance = Chance(seed);
        let mut world = World::random(&mut chance, false);
        world.bring_all_up();
        for link in 0..world.links() {
            world.set_loss(link, loss);
        }
        // Three hellos in a row that are lost look like a neighbour that is gone: no protocol can tell.
        world.allows_loops = true;
        world.doubles = true;
        world.run(60_000);
        for link in 0..world.links() {
            world.set_loss(link, 0);
        }
        world.run(10_000);
        world.allows_loops = false;
        world.run(50_000);
        world.assert_one_tree();
    }
}
