//! Bands by class of service.

use super::support::*;
use crate::qos::priomap::PFIFO_FAST;
use crate::qos::*;
use crate::time::Nanos;

/// tc-prio(8), the table of TOS values: TOS, priority, band.
const TABLE: [(u8, usize, u8); 8] = [
    (0x00, 0, 1),
    (0x04, 0, 1),
    (0x08, 2, 2),
    (0x0c, 2, 2),
    (0x10, 6, 0),
    (0x14, 6, 0),
    (0x18, 4, 1),
    (0x1c, 4, 1),
];

#[test]
fn every_class_of_service_goes_to_the_band_of_pfifo_fast() {
    for (tos, priority, band) in TABLE {
        assert_eq!(PFIFO_FAST[priority], band);
        for upper in 0..8 {
            // The upper three bits, precedence, do not count.
            assert_eq!(BandOfDscp::default().band((tos | upper << 5) >> 2), band, "{tos:#x}");
        }
    }
}

fn frame(tos: u8) -> Item {
    Item { dscp: tos >> 2, ..item(0, 1000) }
}

#[test]
fn a_band_is_served_only_while_nothing_waits_before_it() {
    let mut lab = Lab::new(&shaped(8_000_000, QueuePlan::Prio(Box::default())));
    // Bulk, best effort, interactive; the first passes at once, the second is out of its queue already.
    for tos in [0x08, 0x08, 0x08, 0x00, 0x10, 0x08, 0x00, 0x10] {
        lab.send(0, frame(tos));
        lab.run(lab.now);
    }
    lab.run(Nanos(SECOND));
    let tickets: Vec<u32> = lab.departed.iter().map(|departure| departure.item.ticket).collect();
    assert_eq!(tickets, [0, 1, 4, 7, 3, 6, 2, 5]);
}

#[test]
fn a_band_that_may_not_send_lets_the_next_one_go() {
    let slow = TbfPlan { rate: rate(8_000), burst: burst(1000), peak: None, queue: fifo(10) };
    let plan =
        PrioPlan { bands: vec![QueuePlan::Tbf(Box::new(slow)), fifo(10), fifo(10)], ..PrioPlan::default() };
    let mut lab = Lab::new(&of_queue(QueuePlan::Prio(Box::new(plan))));
    for tos in [0x10, 0x10, 0x00, 0x08] {
        lab.send(0, frame(tos));
    }
    lab.run(Nanos::from_seconds(10));
    let departed: Vec<_> =
        lab.departed.iter().map(|departure| (departure.item.ticket, departure.at.0)).collect();
    assert_eq!(departed, [(0, 0), (2, 0), (3, 0), (1, SECOND)]);
}

#[test]
fn a_band_of_a_class_does_not_wait_for_the_bucket_of_another_one() {
    let slow = TbfPlan { rate: rate(8_000), burst: burst(1000), peak: None, queue: fifo(10) };
    let bands =
        PrioPlan { bands: vec![QueuePlan::Tbf(Box::new(slow)), fifo(10), fifo(10)], ..PrioPlan::default() };
    let mut plan = htb(8_000_000, &[(None, 8_000_000, 8_000_000)]);
    let RootPlan::Htb(classes) = &mut plan.root else { unreachable!() };
    classes.classes[0].queue = QueuePlan::Prio(Box::new(bands));
    let mut lab = Lab::new(&plan);
    lab.send(0, frame(0x10));
    lab.send(0, frame(0x10));
    // The class is left alone until the slow band's second frame is due; another band's frames come meanwhile.
    for at in [1, 2, 3] {
        lab.run(Nanos(at * SECOND / 10));
        lab.send(0, frame(0x00));
        lab.run(lab.now);
    }
    lab.run(Nanos::from_seconds(10));
    let departed: Vec<_> =
        lab.departed.iter().map(|departure| (departure.item.ticket, departure.at.0)).collect();
    let tenth = SECOND / 10;
    assert_eq!(departed, [(0, 0), (2, tenth), (3, 2 * tenth), (4, 3 * tenth), (1, SECOND)]);
}
