//! Meters of what ports send, and classes of trees of queues before ports.

use std::fmt;

use super::book::{Book, Family, Labels};
use crate::model::{CountedStatus, MeterStatus, QosStatus, ShapingClassStatus, ShapingStatus};

pub(super) fn write(book: &mut Book<'_>, qos: &QosStatus) -> fmt::Result {
    meters(book, &qos.meters)?;
    rates(book, &qos.trees)?;
    classes(book, &qos.trees)
}

/// The port whose own this is; empty: it is shared.
fn owner(shared: bool, ports: &[String]) -> &str {
    if shared { "" } else { ports.first().map_or("", String::as_str) }
}

fn meters(book: &mut Book<'_>, meters: &[MeterStatus]) -> fmt::Result {
    let verdicts = || {
        meters.iter().flat_map(|meter| {
            let of = [
                ("conforming", meter.conforming),
                ("exceeding", meter.exceeding),
                ("dropped", meter.dropped),
            ];
            of.map(|(verdict, counted)| {
                let port = owner(meter.shared, &meter.ports);
                ([("qos", meter.qos.as_str()), ("port", port), ("verdict", verdict)], counted)
            })
        })
    };
    let counted = |value: fn(CountedStatus) -> u64| verdicts().map(move |(labels, of)| (labels, value(of)));
    book.counters(
        ("qos_meter_packets", "Packets of ports that are policed, by what became of them."),
        counted(|it| it.packets),
    )?;
    book.counters(("qos_meter_bytes", "Their bytes on a wire, without FCS."), counted(|it| it.bytes))
}

fn each<'a, C: 'a>(
    trees: &'a [ShapingStatus],
    value: impl Fn(&ShapingClassStatus) -> Option<C> + Copy + 'a,
) -> impl Iterator<Item = (Labels<&'a str, 3>, C)> {
    trees.iter().flat_map(move |tree| {
        let port = owner(tree.shared, &tree.ports);
        tree.classes.iter().filter_map(move |class| {
            let labels = [("qos", tree.qos.as_str()), ("port", port), ("class", class.name.as_str())];
            value(class).map(|value| (labels, value))
        })
    })
}

fn rates(book: &mut Book<'_>, trees: &[ShapingStatus]) -> fmt::Result {
    book.gauges(
        ("qos_class_rate_bits_per_second", "What the class is guaranteed."),
        each(trees, |class| class.rate_bits),
    )?;
    book.gauges(
        ("qos_class_ceil_bits_per_second", "What the class may have with what others leave."),
        each(trees, |class| class.ceil_bits),
    )?;
    book.gauges(
        ("qos_class_sending_bits_per_second", "What the class sends, over the last half second or more."),
        each(trees, |class| Some(class.bits_per_second)),
    )?;
    book.gauges(
        ("qos_class_backlog_frames", "Frames that wait in the class; the root has those of all."),
        each(trees, |class| Some(class.backlog_frames)),
    )?;
    book.gauges(
        ("qos_class_backlog_bytes", "Their bytes on the wire."),
        each(trees, |class| Some(class.backlog_bytes)),
    )
}

fn classes(book: &mut Book<'_>, trees: &[ShapingStatus]) -> fmt::Result {
    let families: [Family<'_, ShapingClassStatus>; 7] = [
        ("frames", "Frames that left.", |class| class.sent_frames),
        ("bytes", "Their bytes on the wire.", |class| class.sent_bytes),
        ("drops", "Frames that were dropped; the root has those of all.", |class| class.dropped),
        ("marks", "Frames that were marked with CE instead of dropped.", |class| class.marked),
        ("overlimits", "Times that the class had to wait for tokens.", |class| class.overlimits),
        ("borrowed_bytes", "Bytes sent with tokens of classes above.", |class| class.borrowed_bytes),
        ("lent_bytes", "Bytes that classes below sent with its tokens.", |class| class.lent_bytes),
    ];
    families.into_iter().try_for_each(|(name, help, value)| {
        book.counters((&format!("qos_class_{name}"), help), each(trees, |class| Some(value(class))))
    })
}
