//! `[qos.NAME.egress]` and a class's `queue`: how frames wait.

use std::ops::RangeInclusive;

use viaduct_switch::Nanos;
use viaduct_switch::qos::priomap::PFIFO_FAST;
use viaduct_switch::qos::{BandOfDscp, FifoPlan, FqCodelPlan, PrioPlan, QueuePlan, SfqPlan, TbfPlan};

use super::units::{size, tree_burst, tree_rate};
use crate::config::reader::TableReader;
use crate::config::{schema, values};

/// Bytes that may be said where memory is meant.
const SIZES: RangeInclusive<u64> = 1600..=16 << 30;
const PACKETS: RangeInclusive<u32> = 1..=1 << 24;
const SFQ_PACKETS: RangeInclusive<u32> = 1..=SfqPlan::FRAMES_MAX;
const QUANTA: RangeInclusive<u32> = 256..=1 << 20;
const FLOWS: RangeInclusive<u32> = 1..=65_536;
const BANDS: RangeInclusive<usize> = 1..=16;

/// How deep queues may stand in one another: bands of token buckets of queues.
const NESTING_MAX: usize = 3;

/// A kind of queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Fifo,
    Sfq,
    FqCodel,
    Tbf,
    Prio,
}

const KINDS: &[(&str, Kind)] = &[
    ("fifo", Kind::Fifo),
    ("sfq", Kind::Sfq),
    ("fq-codel", Kind::FqCodel),
    ("tbf", Kind::Tbf),
    ("prio", Kind::Prio),
];

/// The name of a queue's kind.
pub(crate) fn name(queue: &QueuePlan) -> &'static str {
    let kind = match queue {
        QueuePlan::Fifo(_) => Kind::Fifo,
        QueuePlan::Sfq(_) => Kind::Sfq,
        QueuePlan::FqCodel(_) => Kind::FqCodel,
        QueuePlan::Tbf(_) => Kind::Tbf,
        QueuePlan::Prio(_) => Kind::Prio,
    };
    crate::config::name_of(KINDS, kind)
}

/// Fields that say something about a queue of this kind, beside `kind`.
fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Fifo => &["packets", "memory"],
        Kind::Sfq => &["packets", "depth", "divisor", "quantum", "perturb"],
        Kind::FqCodel => {
            &["packets", "memory", "target", "interval", "quantum", "flows", "ecn", "ce_threshold"]
        }
        Kind::Tbf => &["rate", "burst", "peak", "peak_burst", "queue"],
        Kind::Prio => &["bands", "priomap"],
    }
}

/// The queue as far as it is right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>) -> QueuePlan {
    nested(table, NESTING_MAX)
}

fn nested(table: &TableReader<'_>, nesting: usize) -> QueuePlan {
    table.check_fields(&schema::QOS_QUEUE);
    let Some(nesting) = nesting.checked_sub(1) else {
        let expected =
            "a queue without another one in it: bands of token buckets of queues is as deep as it gets";
        table.note_self("a queue in three others".to_owned(), expected.to_owned());
        return QueuePlan::default();
    };
    if !table.has("kind") {
        table.note("kind", "nothing".to_owned(), "a queue's kind, like \"fq-codel\"".to_owned());
    }
    let Some(kind) = table.read_word("kind", KINDS, &[]) else { return QueuePlan::default() };
    check_kind(table, kind);
    match kind {
        Kind::Fifo => QueuePlan::Fifo(fifo(table)),
        Kind::Sfq => QueuePlan::Sfq(sfq(table)),
        Kind::FqCodel => QueuePlan::FqCodel(fq_codel(table)),
        Kind::Tbf => QueuePlan::Tbf(Box::new(tbf(table, nesting))),
        Kind::Prio => QueuePlan::Prio(Box::new(prio(table, nesting))),
    }
}

/// Notes fields that say nothing about a queue of this kind.
fn check_kind(table: &TableReader<'_>, kind: Kind) {
    let known = schema::QOS_QUEUE.fields.iter().map(|field| field.name);
    let own = fields(kind);
    for field in known.filter(|field| *field != "kind" && table.has(field) && !own.contains(field)) {
        let name = crate::config::name_of(KINDS, kind);
        let expected = format!("none: a queue of kind \"{name}\" has {}", own.join(", "));
        table.note(field, format!("the field `{field}`"), expected);
    }
}

fn number(table: &TableReader<'_>, field: &str, range: RangeInclusive<u32>, default: u32) -> u32 {
    let expected = format!("a number from {} to {}", range.start(), range.end());
    table.read(field, &expected, |value| values::number(value, range)).unwrap_or(default)
}

/// A duration within `range` milliseconds.
fn duration(table: &TableReader<'_>, field: &str, range: RangeInclusive<u64>) -> Option<Nanos> {
    let expected = format!("a duration with its unit, from \"{}ms\" to \"{}ms\"", range.start(), range.end());
    table.read(field, &expected, |value| {
        let milliseconds = u64::try_from(values::duration(value)?.as_millis()).ok()?;
        range.contains(&milliseconds).then(|| Nanos(milliseconds * 1_000_000))
    })
}

fn fifo(table: &TableReader<'_>) -> FifoPlan {
    let default = FifoPlan::default();
    FifoPlan {
        frames: number(table, "packets", PACKETS, default.frames),
        bytes: size(table, "memory", &SIZES).unwrap_or(default.bytes),
    }
}

fn sfq(table: &TableReader<'_>) -> SfqPlan {
    let default = SfqPlan::default();
    let frames = number(table, "packets", SFQ_PACKETS, default.frames);
    SfqPlan {
        frames,
        depth: number(table, "depth", SFQ_PACKETS, frames.min(default.depth)),
        divisor: number(table, "divisor", FLOWS, default.divisor),
        quantum: number(table, "quantum", QUANTA, default.quantum),
        perturb: duration(table, "perturb", 1..=86_400_000),
    }
}

fn fq_codel(table: &TableReader<'_>) -> FqCodelPlan {
    let default = FqCodelPlan::default();
    FqCodelPlan {
        target: duration(table, "target", 1..=60_000).unwrap_or(default.target),
        interval: duration(table, "interval", 1..=60_000).unwrap_or(default.interval),
        quantum: number(table, "quantum", QUANTA, default.quantum),
        flows: number(table, "flows", FLOWS, default.flows),
        frames: number(table, "packets", PACKETS, default.frames),
        bytes: size(table, "memory", &SIZES).unwrap_or(default.bytes),
        ecn: table.read("ecn", "true or false, without quotes", values::boolean).unwrap_or(default.ecn),
        ce_threshold: duration(table, "ce_threshold", 1..=60_000),
    }
}

fn tbf(table: &TableReader<'_>, nesting: usize) -> TbfPlan {
    if !table.has("rate") {
        table.note("rate", "nothing".to_owned(), "a rate in bits a second, like \"80mbit\"".to_owned());
    }
    if table.has("peak_burst") && !table.has("peak") {
        table.note("peak_burst", "the field `peak_burst`".to_owned(), "`peak` beside it".to_owned());
    }
    let (rate, peak) = (tree_rate(table, "rate"), tree_rate(table, "peak"));
    if let (Some(rate), Some(peak)) = (rate, peak)
        && peak <= rate
    {
        let found = table.text("peak").unwrap_or_default();
        table.note("peak", format!("\"{found}\""), "more than `rate`".to_owned());
    }
    let rate = rate.unwrap_or(viaduct_switch::qos::BitRate::MAX);
    let peak = peak.map(|peak| (peak, tree_burst(table, "peak_burst", peak)));
    let queue = table.table("queue").map(|queue| nested(&queue, nesting));
    TbfPlan { rate, burst: tree_burst(table, "burst", rate), peak, queue: queue.unwrap_or_default() }
}

fn prio(table: &TableReader<'_>, nesting: usize) -> PrioPlan {
    let default = PrioPlan::default();
    let tables = table.read_tables("bands", "a list of 1 to 16 queues, like [{ kind = \"fifo\" }]");
    let bands: Vec<QueuePlan> = tables.iter().map(|table| nested(table, nesting)).collect();
    if let Some(count) = table.list_len("bands").filter(|count| !BANDS.contains(count)) {
        table.note("bands", format!("{count} bands"), "1 to 16 of them".to_owned());
    }
    let bands = if bands.is_empty() { default.bands } else { bands };
    let band_of = band_of(table, bands.len());
    PrioPlan { bands, band_of }
}

/// The band of each priority as in Linux, where there are as many.
fn band_of(table: &TableReader<'_>, bands: usize) -> BandOfDscp {
    let last = u8::try_from(bands.saturating_sub(1)).unwrap_or(u8::MAX);
    let expected = format!("a list of 16 numbers from 0 to {last}: the band of each priority (tc-prio(8))");
    let read = table.read_list("priomap", &expected, |value| {
        values::number(value, 0..=last).ok_or_else(|| format!("a number from 0 to {last}"))
    });
    let written = table.list_len("priomap");
    if written.is_some_and(|written| written != 16) {
        table.note("priomap", format!("{} numbers", written.unwrap_or(0)), expected.clone());
    }
    let read = read.and_then(|read| <[u8; 16]>::try_from(read).ok());
    BandOfDscp::from_priomap(read.unwrap_or_else(|| PFIFO_FAST.map(|band| band.min(last))))
}
