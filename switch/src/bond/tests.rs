//! The whole control side of bonds of each mode.

use super::*;
use crate::lacp::{Rate, Settings, SystemId};

const MS: u64 = 1_000_000;
const GIGABIT: Medium = Medium { speed_mbit: 1000, full_duplex: true };

fn bond(mode: Mode, links: u8) -> Bond {
    let link = |at| LinkSettings { address: MacAddress([2, 0, 0, 0, 0, at]), priority: 1 };
    let settings =
        BondSettings { mode, monitor: MonitorSettings::default(), links: (0..links).map(link).collect() };
    Bond::new(&settings, Nanos(0))
}

fn lacp(system: u8) -> Mode {
    Mode::Lacp(Settings {
        system: SystemId { priority: 1, address: MacAddress([2, 0, 0, 0, 9, system]) },
        key: 1,
        rate: Rate::Fast,
        active: true,
        fallback: false,
    })
}

fn set(links: &[usize]) -> LinkSet {
    links.iter().copied().collect()
}

#[test]
fn an_active_backup_bond_sends_and_takes_by_one_link_and_tells_when_that_changes() {
    let mut bond = bond(Mode::ActiveBackup { primary: Some(1), preference: Preference::Better }, 2);
    assert_eq!((bond.senders(), bond.takers()), (set(&[]), set(&[])));
    bond.set_medium(0, Some(GIGABIT), Nanos(1));
    assert_eq!((bond.senders(), bond.takers(), bond.up()), (set(&[0]), set(&[0]), set(&[0])));
    assert!(bond.take_failover() && !bond.take_failover());
    bond.set_medium(1, Some(GIGABIT), Nanos(2));
    assert_eq!((bond.senders(), bond.up(), bond.take_failover()), (set(&[0]), set(&[0, 1]), false));
    bond.set_medium(1, Some(Medium { speed_mbit: 10_000, ..GIGABIT }), Nanos(3));
    assert_eq!((bond.senders(), bond.take_failover()), (set(&[1]), true));
    bond.set_medium(1, None, Nanos(4));
    assert_eq!((bond.senders(), bond.take_failover()), (set(&[0]), true));
    assert!(bond.lacp().is_none() && bond.due().is_none() && bond.next_frame().is_none());
    bond.set_medium(9, None, Nanos(5));
}

#[test]
fn a_balanced_bond_uses_all_links_with_carrier() {
    let mut bond = bond(Mode::Balance, 3);
    (0..3).for_each(|link| bond.set_medium(link, Some(GIGABIT), Nanos(1)));
    bond.set_medium(1, None, Nanos(2));
    assert_eq!((bond.senders(), bond.takers(), bond.take_failover()), (set(&[0, 2]), set(&[0, 2]), false));
}

#[test]
fn two_bonds_agree_by_lacp_and_a_link_without_carrier_is_out_at_once() {
    let mut bonds = [bond(lacp(1), 2), bond(lacp(2), 2)];
    let (mut now, mut takes_before_it_sends) = (0, false);
    for bond in &mut bonds {
        (0..2).for_each(|link| bond.set_medium(link, Some(GIGABIT), Nanos(0)));
    }
    while now < 4000 * MS {
        for from in 0..2 {
            while let Some((link, frame)) = bonds[from].next_frame() {
                bonds[1 - from].receive(link, &frame, Nanos(now));
            }
            bonds[from].advance(Nanos(now));
            takes_before_it_sends |= bonds[from].takers() != bonds[from].senders();
        }
        now += 10 * MS;
    }
    assert!(takes_before_it_sends);
    for bond in &bonds {
        assert_eq!((bond.senders(), bond.takers()), (set(&[0, 1]), set(&[0, 1])));
        assert!(bond.due().is_some_and(|due| due.0 < now + 1000 * MS));
        assert_eq!(bond.lacp().map(|lacp| lacp.status().count()), Some(2));
    }
    bonds[0].set_medium(1, None, Nanos(now));
    assert_eq!((bonds[0].senders(), bonds[0].takers()), (set(&[0]), set(&[0])));
}

fn probing() -> ArpProbing {
    ArpProbing {
        targets: vec!["10.0.0.1".parse().unwrap()],
        source: "10.0.0.9".parse().unwrap(),
        interval_ms: 100,
        misses_max: 1,
    }
}

#[test]
fn what_a_bond_says_itself_comes_from_the_address_that_the_link_has_now() {
    let link = LinkSettings { address: MacAddress([2, 0, 0, 0, 0, 1]), priority: 1 };
    let probes = MonitorSettings { arp: Some(probing()), ..MonitorSettings::default() };
    for (mode, monitor) in [(lacp(1), MonitorSettings::default()), (Mode::Balance, probes)] {
        let mut bond = Bond::new(&BondSettings { mode, monitor, links: vec![link] }, Nanos(0));
        bond.set_address(0, MacAddress([2, 0, 0, 0, 7, 7]));
        bond.set_medium(0, Some(GIGABIT), Nanos(0));
        assert_eq!(bond.next_frame().unwrap().1[6..12], [2, 0, 0, 0, 7, 7]);
    }
}

#[test]
fn a_bond_that_asks_by_arp_counts_on_answers() {
    let arp = probing();
    let own = MacAddress([2, 0, 0, 0, 0, 1]);
    let settings = BondSettings {
        mode: Mode::ActiveBackup { primary: None, preference: Preference::Failure },
        monitor: MonitorSettings { arp: Some(arp), ..MonitorSettings::default() },
        links: vec![LinkSettings { address: own, priority: 1 }],
    };
    let mut bond = Bond::new(&settings, Nanos(0));
    bond.set_medium(0, Some(GIGABIT), Nanos(0));
    let (link, question) = bond.next_frame().unwrap();
    assert_eq!((link, bond.next_frame(), bond.senders()), (0, None, set(&[])));
    let mut answer = question;
    answer[..6].copy_from_slice(&own.0);
    answer[21] = 2;
    answer[28..32].copy_from_slice(&[10, 0, 0, 1]);
    assert_eq!(answering(&answer, own), Some([10, 0, 0, 1].into()));
    bond.hear_answer(0, Nanos(5 * MS));
    assert_eq!((bond.is_answered(0), bond.is_answered(1)), (Some(true), None));
    assert_eq!((bond.senders(), bond.due()), (set(&[0]), Some(Nanos(100 * MS))));
    bond.advance(Nanos(205 * MS));
    assert_eq!(bond.senders(), set(&[]));
}
