//! Rates and sizes as they are written: `"50mbit"`, `"10kpps"`, `"128KiB"`.

use std::ops::RangeInclusive;

use toml::de::DeValue;
use viaduct_switch::qos::{BitRate, Burst};

use crate::config::reader::TableReader;
use crate::config::values;

/// Bytes that a unit stands for.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// The field as a number of bits a second within `range`.
pub(super) fn bit_rate(table: &TableReader<'_>, field: &str, range: &RangeInclusive<u64>) -> Option<u64> {
    let expected = format!(
        "bits a second with their unit (bit, kbit, mbit, gbit), from \"{}\" to \"{}\"",
        written_rate(*range.start(), "bit"),
        written_rate(*range.end(), "bit")
    );
    rate(table, field, "bit", range, &expected)
}

/// The field as a number of packets a second within `range`.
pub(super) fn packet_rate(table: &TableReader<'_>, field: &str, range: &RangeInclusive<u64>) -> Option<u64> {
    let expected = format!(
        "packets a second with their unit (pps, kpps, mpps), from \"{}\" to \"{}\"",
        written_rate(*range.start(), "pps"),
        written_rate(*range.end(), "pps")
    );
    rate(table, field, "pps", range, &expected)
}

fn rate(
    table: &TableReader<'_>,
    field: &str,
    unit: &str,
    range: &RangeInclusive<u64>,
    expected: &str,
) -> Option<u64> {
    let parsed = |value: &DeValue<'_>| values::scaled(values::text(value)?, unit);
    table.read(field, expected, |value| parsed(value).filter(|rate| range.contains(rate)))
}

/// The field as a number of bytes within `range`.
pub(super) fn size(table: &TableReader<'_>, field: &str, range: &RangeInclusive<u64>) -> Option<u64> {
    let expected = format!(
        "bytes with their unit (B, KiB, MiB, GiB), from \"{}\" to \"{}\"",
        written_size(*range.start()),
        written_size(*range.end())
    );
    table.read(field, &expected, |value| size_of(values::text(value)?).filter(|size| range.contains(size)))
}

fn size_of(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The field as a rate that a tree goes by.
pub(super) fn tree_rate(table: &TableReader<'_>, field: &str) -> Option<BitRate> {
    bit_rate(table, field, &(BitRate::MIN.bits()..=BitRate::MAX.bits())).and_then(BitRate::new)
}

/// The field as what may leave at once, or what suits the rate.
pub(super) fn tree_burst(table: &TableReader<'_>, field: &str, rate: BitRate) -> Burst {
    let written = size(table, field, &(1600..=Burst::MAX.bytes().into()));
    let burst = written.and_then(|bytes| Burst::new(u32::try_from(bytes).ok()?));
    burst.unwrap_or_else(|| Burst::suiting(rate))
}

/// A rate as it is written in the file, in the greatest unit in which it is whole.
pub(crate) fn written_rate(rate: u64, unit: &str) -> String {
    let prefixes = [("g", 1_000_000_000), ("m", 1_000_000), ("k", 1_000)];
    let prefix = prefixes.iter().find(|(_, factor)| rate >= *factor && rate.is_multiple_of(*factor));
    prefix.map_or_else(|| format!("{rate}{unit}"), |(name, factor)| format!("{}{name}{unit}", rate / factor))
}

/// A size as it is written in the file, in the greatest unit in which it is whole.
pub(super) fn written_size(bytes: u64) -> String {
    let unit = SIZES.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes}B"), |(name, factor)| format!("{}{name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_are_read_as_they_are_written() {
        for (bytes, text) in
            [(1, "1B"), (1500, "1500B"), (73_728, "72KiB"), (1 << 21, "2MiB"), (4 << 30, "4GiB")]
        {
            assert_eq!((size_of(text), written_size(bytes)), (Some(bytes), text.to_owned()));
        }
        for wrong in
            ["", "1", "KiB", "1kib", "1.5KiB", "-1B", "1 B", "99999999999999999999B", "99999999999GiB"]
        {
            assert_eq!(size_of(wrong), None, "{wrong}");
        }
        for (rate, text) in [
            (1, "1bit"),
            (1500, "1500bit"),
            (8_000, "8kbit"),
            (50_000_000, "50mbit"),
            (400_000_000_000, "400gbit"),
        ] {
            assert_eq!(
                (values::scaled(text, "bit"), written_rate(rate, "bit")),
                (Some(rate), text.to_owned())
            );
        }
        for wrong in ["", "1", "bit", "1Mbit", "1.5mbit", "-1bit", "1 bit", "1pps", "99999999999gbit"] {
            assert_eq!(values::scaled(wrong, "bit"), None, "{wrong}");
        }
    }
}
