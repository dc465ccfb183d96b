//! Which frames are brought to their receivers together.

use viaduct_switch::tunnel::vtep_port;

use super::*;

/// How many go together, where so many frames go to each of these ports.
fn visits(ports: &[PortIndex], frames: usize, share: bool) -> Vec<Vec<(PortIndex, usize)>> {
    let mut outbox = Outbox::default();
    for slot in 0..frames {
        ports.iter().for_each(|port| outbox.push(*port, slot, true));
    }
    let count = |visit: &[Send]| {
        visit.chunk_by(|a, b| a.to == b.to).map(|group| (group[0].to, group.len())).collect()
    };
    outbox.visits(|_, _| share).map(count).collect()
}

#[test]
fn frames_to_vteps_of_one_uplink_go_together_as_many_as_there_is_room_for() {
    let vteps: Vec<PortIndex> = (0..8).filter_map(vtep_port).collect();
    let each =
        |frames: usize, vteps: &[PortIndex]| vteps.iter().map(|vtep| (*vtep, frames)).collect::<Vec<_>>();
    assert_eq!(visits(&vteps[..3], 10, true), [each(10, &vteps[..3])]);
    assert_eq!(
        visits(&vteps[..3], 10, false),
        vteps[..3].chunks(1).map(|one| each(10, one)).collect::<Vec<_>>()
    );
    // Those to one are never parted, lest later ones overtake.
    assert_eq!(visits(&vteps, 20, true), vteps.chunks(3).map(|some| each(20, some)).collect::<Vec<_>>());
    assert_eq!(
        visits(&vteps, BURST_FRAMES, true),
        vteps.chunks(1).map(|one| each(BURST_FRAMES, one)).collect::<Vec<_>>()
    );
}

#[test]
fn each_port_that_is_no_vtep_is_visited_by_itself() {
    let ports = [3, 4].map(|number| PortIndex::new(number).unwrap());
    assert_eq!(visits(&ports, 2, true), [[(ports[0], 2)], [(ports[1], 2)]]);
    assert!(visits(&[], 5, true).is_empty());
}
