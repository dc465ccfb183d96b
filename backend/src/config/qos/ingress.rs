//! `[qos.NAME.ingress]`: what a port may send.

use std::fmt;
use std::ops::RangeInclusive;

use viaduct_switch::meter::{Allowance, Dscp, Exceeding, Limits, MeterPlan};

use super::filter::dscp;
use super::marking::mark;
use super::units::{bit_rate, packet_rate, size, written_rate, written_size};
use crate::config::reader::TableReader;
use crate::config::{schema, values};

const BIT_RATES: RangeInclusive<u64> = 8_000..=400_000_000_000;
const PACKET_RATES: RangeInclusive<u64> = 1..=400_000_000;

/// A super-frame of 64 KiB is 122 packets at the smallest segments that hosts agree on (RFC 9293, 3.7.1: 536 bytes), of up to 66
/// bytes of headers each: with less, a guest's segmentation offload would not work at all.
const BURSTS: RangeInclusive<u64> = 72 << 10..=4 << 30;
const PACKET_BURSTS: RangeInclusive<u64> = 128..=1_000_000;

/// The least bursts unless told otherwise, in bytes and packets: two super-frames.
const BURST_LEAST: u64 = 128 << 10;
const PACKET_BURST_LEAST: u64 = 256;

/// How many of the bursts that hold unless told otherwise make a second: what TCP sends in a round trip of 20 ms passes.
const BURSTS_A_SECOND: u64 = 50;

const SWITCH: &str = "true or false, without quotes";

/// The least rates where what exceeds them waits.
const WAIT_BITS_LEAST: u64 = 1_000_000;
const WAIT_PACKETS_LEAST: u64 = 250;

/// What a port may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Police {
    /// Rates, and what becomes of what exceeds them.
    pub plan: MeterPlan,
    /// Whether all ports of the same QoS share the rates.
    pub shared: bool,
}

/// A field that counts only beside another one.
const BESIDE: &[(&str, &str)] = &[
    ("burst", "police"),
    ("packet_burst", "packets"),
    ("peak", "police"),
    ("peak_burst", "peak"),
    ("peak_packets", "packets"),
    ("peak_packet_burst", "peak_packets"),
];

/// The table as far as it is right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>) -> Police {
    table.check_fields(&schema::QOS_INGRESS);
    if !table.has("police") && !table.has("packets") {
        let expected = "a rate in bits a second (`police`), in packets a second (`packets`), or both";
        table.note("police", "nothing".to_owned(), expected.to_owned());
    }
    for (field, beside) in BESIDE.iter().filter(|(field, beside)| table.has(field) && !table.has(beside)) {
        table.note(field, format!("the field `{field}`"), format!("`{beside}` beside it"));
    }
    let committed = limits(table, ["police", "burst", "packets", "packet_burst"]);
    let has_peak = table.has("peak") || table.has("peak_packets");
    let peak = has_peak.then(|| limits(table, ["peak", "peak_burst", "peak_packets", "peak_packet_burst"]));
    if let Some(peak) = &peak {
        check_peak(table, "peak", (committed.bits, peak.bits));
        check_peak(table, "peak_packets", (committed.packets, peak.packets));
    }
    let colour_aware = table.read("colour_aware", SWITCH, values::boolean).unwrap_or(false);
    if colour_aware && !has_peak {
        let expected = "a `peak` beside it: with one rate there is no colour that a frame could have before";
        table.note("colour_aware", "true".to_owned(), expected.to_owned());
    }
    let exceeding = exceeding(table, has_peak);
    let exceeding_mark = mark(table, "exceed_mark");
    if exceeding_mark != 0 && matches!(exceeding, Exceeding::Dropped | Exceeding::Waits) {
        let expected = "exceed = \"mark\" or \"pass\" beside it: what is dropped or waits needs no mark";
        table.note("exceed_mark", "the field `exceed_mark`".to_owned(), expected.to_owned());
    }
    if exceeding == Exceeding::Waits {
        check_wait(table, &committed);
    }
    let plan = MeterPlan { committed, peak, colour_aware, exceeding, exceeding_mark };
    Police { plan, shared: table.read("shared", SWITCH, values::boolean).unwrap_or(false) }
}

/// The rates of these fields: bits, bytes at once, packets, packets at once.
fn limits(table: &TableReader<'_>, [bits, burst, packets, packet_burst]: [&str; 4]) -> Limits {
    let burst = size(table, burst, &BURSTS);
    let bits = bit_rate(table, bits, &BIT_RATES).map(|per_second| {
        let suiting = (per_second / 8 / BURSTS_A_SECOND).max(BURST_LEAST);
        Allowance { per_second, burst: burst.unwrap_or(suiting) }
    });
    let expected = "a number from 128 to 1000000";
    let burst = table.read(packet_burst, expected, |value| values::number(value, PACKET_BURSTS));
    let packets = packet_rate(table, packets, &PACKET_RATES).map(|per_second| {
        let suiting = (per_second / BURSTS_A_SECOND).max(PACKET_BURST_LEAST);
        Allowance { per_second, burst: burst.unwrap_or(suiting) }
    });
    Limits { bits, packets }
}

/// While a guest waits for longer than some seconds it takes its device for broken.
fn check_wait(table: &TableReader<'_>, committed: &Limits) {
    let rates = [
        ("police", committed.bits, "1mbit", WAIT_BITS_LEAST),
        ("packets", committed.packets, "250pps", WAIT_PACKETS_LEAST),
    ];
    for (field, allowance, written, least) in rates {
        if allowance.is_some_and(|allowance| allowance.per_second < least) {
            let expected = format!(
                "\"{written}\" or more beside exceed = \"wait\": one frame of 64 KiB takes half a second then"
            );
            table.note(field, format!("\"{}\"", table.text(field).unwrap_or_default()), expected);
        }
    }
}

/// A peak below the committed rate would be the only one that counts (RFC 2698, 2).
fn check_peak(table: &TableReader<'_>, field: &str, limits: (Option<Allowance>, Option<Allowance>)) {
    if let (Some(committed), Some(peak)) = limits
        && peak.per_second < committed.per_second
    {
        let found = table.text(field).unwrap_or_default();
        let beside = if field == "peak" { "police" } else { "packets" };
        table.note(field, format!("\"{found}\""), format!("at least as much as `{beside}`"));
    }
}

fn exceeding(table: &TableReader<'_>, has_peak: bool) -> Exceeding {
    const WORDS: &[(&str, &str)] = &[("drop", "drop"), ("mark", "mark"), ("pass", "pass"), ("wait", "wait")];
    let word = table.read_word("exceed", WORDS, &[]).unwrap_or(if has_peak { "mark" } else { "drop" });
    let dscp = dscp(table, "dscp");
    match word {
        "mark" => return Exceeding::Marked(dscp.unwrap_or(Dscp::LOWER_EFFORT)),
        _ if table.has("dscp") => {
            table.note("dscp", "the field `dscp`".to_owned(), "exceed = \"mark\" beside it".to_owned());
        }
        "drop" | "wait" if has_peak => {
            let expected = "\"mark\" or \"pass\": with a peak that nothing may reach, leave `peak` out";
            table.note("exceed", format!("\"{word}\""), expected.to_owned());
        }
        "pass" => return Exceeding::Passed,
        "wait" => return Exceeding::Waits,
        _ => {}
    }
    Exceeding::Dropped
}

impl fmt::Display for Police {
    /// In one line, for people: `police 50mbit burst 128KiB, exceed drop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, shared } = self;
        write_limits(f, &plan.committed, ["police", "packets"])?;
        if let Some(peak) = &plan.peak {
            write_limits(f, peak, ["peak", "peak_packets"])?;
        }
        match plan.exceeding {
            Exceeding::Dropped => write!(f, "exceed drop"),
            Exceeding::Marked(dscp) => write!(f, "exceed mark {dscp}"),
            Exceeding::Passed => write!(f, "exceed pass"),
            Exceeding::Waits => write!(f, "exceed wait"),
        }?;
        if plan.exceeding_mark != 0 {
            write!(f, " with mark {}", plan.exceeding_mark)?;
        }
        let words = [(plan.colour_aware, "colour-aware"), (*shared, "shared")];
        words.into_iter().filter(|(is_so, _)| *is_so).try_for_each(|(_, word)| write!(f, ", {word}"))
    }
}

fn write_limits(f: &mut fmt::Formatter<'_>, limits: &Limits, [bits, packets]: [&str; 2]) -> fmt::Result {
    if let Some(Allowance { per_second, burst }) = limits.bits {
        write!(f, "{bits} {} burst {}, ", written_rate(per_second, "bit"), written_size(burst))?;
    }
    match limits.packets {
        Some(Allowance { per_second, burst }) => {
            write!(f, "{packets} {} burst {burst}, ", written_rate(per_second, "pps"))
        }
        None => Ok(()),
    }
}
