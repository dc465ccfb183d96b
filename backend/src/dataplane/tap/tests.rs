//! What a tap costs is bounded, whatever comes, and whoever watches gets his share of it.

use viaduct_switch::frame::Head;

use super::*;

const SLOT: Nanos = Nanos(SLOT_NS);

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn frame(from: usize) -> Frame<Span> {
    let head = Head::from_bytes(&[7; 60]);
    Frame { head, meta: Metadata::new(port(from), 60, Claims::default()), payload: Span::default() }
}

/// A worker's taps, and the readers' ends of these.
fn watched(wanted: &[Wanted]) -> (Taps, Vec<Watch>) {
    let mut taps = Taps::default();
    let watches = wanted.iter().map(|wanted| {
        let (watch, _, mut ends) = super::taps(1, *wanted);
        taps.add(ends.remove(0));
        watch
    });
    let watches = watches.collect();
    (taps, watches)
}

/// Carries a burst of `frames` frames from a port, each to port 9; `lost` of them find no room there.
fn carry(taps: &mut Taps, from: usize, frames: usize, lost: usize, now: Nanos) {
    let burst: Vec<_> = (0..frames).map(|_| frame(from)).collect();
    let _ = taps.begin(&burst, true, now);
    let mut outbox = Outbox::default();
    (0..frames).for_each(|slot| outbox.push(port(9), slot, false));
    taps.note_sends(&outbox);
    for slot in 0..lost {
        taps.notes().into_iter().for_each(|notes| notes.note_lost(slot, port(9), DropReason::NoBuffer));
    }
    taps.end((&burst, &Segments::of(&[])), &Policy::default(), now);
}

fn sources(watch: &Watch) -> Vec<usize> {
    watch.take(usize::MAX).iter().map(|sample| sample.meta.source.get()).collect()
}

/// Whoever wants to see all frames.
fn all() -> Wanted {
    Wanted::default()
}

#[test]
fn what_is_looked_at_in_ten_milliseconds_is_bounded_and_counted() {
    let (mut taps, watches) = watched(&[all()]);
    (0..100).for_each(|_| carry(&mut taps, 1, 1, 0, Nanos(0)));
    assert_eq!(sources(&watches[0]).len(), 8, "half of the bursts are for others");
    assert_eq!(watches[0].tally(), TapTally { frames: 100, looked_at: 8, lost: 0 });
    // As many again in the next ten milliseconds, and not more samples than there are of large bursts.
    (0..100).for_each(|_| carry(&mut taps, 1, 20, 0, SLOT));
    assert_eq!(sources(&watches[0]).len(), 32);
    assert_eq!(watches[0].tally(), TapTally { frames: 2100, looked_at: 40, lost: 0 });
}

#[test]
fn a_flood_from_one_port_hides_nobody_elses_frames() {
    let (mut taps, watches) = watched(&[all()]);
    (0..1000).for_each(|_| carry(&mut taps, 1, 1, 0, Nanos(0)));
    (2..20).for_each(|other| carry(&mut taps, other, 1, 0, Nanos(0)));
    let seen = sources(&watches[0]);
    assert_eq!(seen.iter().filter(|from| **from == 1).count(), 8);
    assert_eq!(seen.iter().filter(|from| **from != 1).count(), 8, "{seen:?}");
}

#[test]
fn who_watches_one_port_sees_its_frames_beside_a_flood_of_others_to_it() {
    let (mut taps, watches) = watched(&[Wanted { port: Some(port(9)), ..all() }]);
    (0..1000).for_each(|_| carry(&mut taps, 1, 1, 0, Nanos(0)));
    (0..3).for_each(|_| carry(&mut taps, 9, 1, 0, Nanos(0)));
    let seen = sources(&watches[0]);
    assert_eq!(seen.iter().filter(|from| **from == 9).count(), 3, "{seen:?}");
    assert_eq!(seen.len(), 11, "and some of those that leave by it");
}

#[test]
fn each_watcher_has_a_budget_and_a_queue_of_his_own() {
    let (mut taps, watches) = watched(&[all(), Wanted { drops: true, ..all() }]);
    for slot in 0..100 {
        carry(&mut taps, 1, 20, 0, Nanos(slot * SLOT_NS));
        carry(&mut taps, 2, 2, 1, Nanos(slot * SLOT_NS));
        // The second one reads, the first one does not.
        let seen = watches[1].take(10);
        assert_eq!(seen.len(), 1, "{slot}");
        assert_eq!(seen[0].lost, Some((port(9), DropReason::NoBuffer)));
        assert_eq!(seen[0].meta.source, port(2));
    }
    let stalled = watches[0].tally();
    assert_eq!(sources(&watches[0]).len(), QUEUE);
    assert_eq!(stalled.lost, 100 * 22 - QUEUE as u64);
    assert_eq!(watches[1].tally().lost, 0);
}

#[test]
fn who_goes_costs_nothing_any_more_and_who_comes_finds_a_place() {
    let (mut taps, mut watches) = watched(&[all(); TAPS_MAX + 1]);
    carry(&mut taps, 1, 1, 0, Nanos(0));
    let seen: Vec<usize> = watches.iter().map(|watch| sources(watch).len()).collect();
    assert_eq!(seen, [1, 1, 1, 1, 1, 1, 1, 1, 0], "there is a place for eight");
    watches.truncate(1);
    let (late, _, mut ends) = super::taps(1, all());
    taps.add(ends.remove(0));
    assert_eq!(taps.taps.len(), 2);
    carry(&mut taps, 1, 1, 0, SLOT);
    assert_eq!((sources(&watches[0]).len(), sources(&late).len()), (1, 1));
    drop((watches, late));
    carry(&mut taps, 1, 1, 0, SLOT);
    assert!(taps.is_empty());
}

#[test]
fn frames_that_could_not_be_read_are_told_by_number() {
    let (mut taps, watches) = watched(&[
        Wanted { drops: true, ..all() },
        Wanted { port: Some(port(2)), ..all() },
        Wanted { filter: "tcp".parse().unwrap(), ..all() },
    ]);
    let dropped = [(DropReason::BadChain, 3), (DropReason::TooLong, 0), (DropReason::BadOffload, 1)];
    taps.leave_unread(port(1), &dropped, Nanos(0));
    let seen = watches[0].take(10);
    let told: Vec<_> = seen.iter().map(|sample| (sample.unread, sample.fate)).collect();
    let fate = SampleFate::Dropped;
    assert_eq!(told, [(3, fate(DropReason::BadChain)), (1, fate(DropReason::BadOffload))]);
    assert_eq!(watches[0].tally(), TapTally { frames: 4, looked_at: 4, lost: 0 });
    assert!(sources(&watches[1]).is_empty() && sources(&watches[2]).is_empty());
    // They are within the same budget.
    (0..100).for_each(|_| taps.leave_unread(port(1), &dropped, Nanos(0)));
    assert_eq!(sources(&watches[0]).len(), 30);
}
