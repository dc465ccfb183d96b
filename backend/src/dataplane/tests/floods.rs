//! Floods to more ports than one burst serves, with workers that run.

use super::*;

const PORTS: usize = 30;
/// No port has this address.
const NOBODY: u8 = 200;

fn crowd(cpus: &[usize]) -> (Dataplane, Vec<Guest>) {
    let mut dataplane = dataplane_of(cpus, PORTS);
    let mut guests: Vec<_> = (0..PORTS).map(Guest::new).collect();
    for guest in &mut guests {
        (0..SIZE).for_each(|_| guest.offer(0, &[]));
        dataplane.attach(guest.setup([0, 0]));
    }
    (dataplane, guests)
}

#[test]
fn a_flood_to_thirty_ports_reaches_all_others_and_wakes_sleeping_workers() {
    for cpus in [&[0][..], &[0, 1]] {
        let (dataplane, mut guests) = crowd(cpus);
        for number in 0..20u8 {
            guests[3].send(NOBODY, number);
            thread::sleep(Duration::from_millis(if number % 7 == 0 { 3 } else { 0 }));
        }
        for guest in guests.iter().filter(|guest| guest.port != port(3)) {
            guest.wait_used(0, 20);
            assert!((0..20u8).all(|number| guest.received(u16::from(number)) == number));
        }
        assert_eq!(guests[3].used(0), 0);
        let drops = |index| dataplane.switch().counters().port(port(index)).snapshot().dropped().count();
        assert_eq!((0..PORTS).map(drops).sum::<usize>(), 0);
    }
}

#[test]
fn a_flow_stays_in_order_when_its_flooded_frames_are_followed_by_unicast_ones() {
    let (_dataplane, mut guests) = crowd(&[0]);
    for number in 0..20 {
        guests[0].send(25, number);
    }
    guests[25].send(0, 99);
    for number in 20..40 {
        guests[0].send(25, number);
    }
    guests[25].wait_used(0, 40);
    let received: Vec<_> = (0..40).map(|slot| guests[25].received(slot)).collect();
    assert_eq!(received, (0..40).collect::<Vec<_>>());
}

#[test]
fn receivers_that_come_and_go_during_a_flood_disturb_no_others() {
    let (mut dataplane, mut guests) = crowd(&[0, 1]);
    let mut base = 0;
    for number in 0..60u8 {
        guests[0].send(NOBODY, number);
        let positions = dataplane.detach(port(29));
        assert_eq!(positions[1].base, 0);
        base = positions[0].base;
        dataplane.attach(guests[29].setup([base, 0]));
    }
    for guest in &guests[1..29] {
        guest.wait_used(0, 60);
        assert!((0..60u8).all(|number| guest.received(u16::from(number)) == number));
    }
    assert!(base <= 60);
}
