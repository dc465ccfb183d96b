//! `storm`, and what else a port may have a second: frames to many receivers at once, connections, packets that rules are asked about.

use toml::de::DeValue;
use viaduct_switch::{FrameRate, JudgeLimits, StormLimits};

use super::reader::TableReader;
use super::{schema, values};

const EXPECTED: &str =
    "frames a second with their unit (pps, kpps, mpps), from \"1pps\" to \"10mpps\", or \"unlimited\"";

/// The limits under `storm` in `table` as far as they are right, and for the rest `defaults`; what is wrong is
/// noted.
pub(super) fn read(table: &TableReader<'_>, defaults: StormLimits) -> StormLimits {
    let Some(storm) = table.table("storm") else { return defaults };
    storm.check_fields(&schema::STORM);
    let limit = |name, default| storm.read(name, EXPECTED, |value| limit(value, "pps")).unwrap_or(default);
    StormLimits {
        broadcast: limit("broadcast", defaults.broadcast),
        multicast: limit("multicast", defaults.multicast),
        unknown_unicast: limit("unknown_unicast", defaults.unknown_unicast),
    }
}

/// What of a port may have rules asked, as far as it is right, and for the rest `defaults`; what is wrong is noted.
pub(super) fn judging(table: &TableReader<'_>, defaults: JudgeLimits) -> JudgeLimits {
    let limit = |field, what, unit, default| {
        let expected = format!(
            "{what} a second with their unit ({unit}, k{unit}, m{unit}), from \"1{unit}\" to \"10m{unit}\", or \"unlimited\""
        );
        table.read(field, &expected, |value| limit(value, unit)).unwrap_or(default)
    };
    JudgeLimits {
        new_connections: limit("new_connections", "connections", "cps", defaults.new_connections),
        judged_packets: limit("judged_packets", "packets", "pps", defaults.judged_packets),
    }
}

/// A number and its unit without a space, or no limit; `unit` may stand for a thousand or a million.
fn limit(value: &DeValue<'_>, unit: &str) -> Option<Option<FrameRate>> {
    let text = values::text(value)?;
    if text == "unlimited" {
        return Some(None);
    }
    let per_second = u32::try_from(values::scaled(text, unit)?).ok()?;
    FrameRate::new(per_second).map(Some)
}

/// The limit as it is written in the file.
pub(crate) fn written(limit: Option<FrameRate>) -> String {
    written_in(limit, "pps")
}

/// The same in another unit.
pub(crate) fn written_in(limit: Option<FrameRate>, unit: &str) -> String {
    match limit.map(FrameRate::per_second) {
        None => "unlimited".to_owned(),
        Some(rate) if rate.is_multiple_of(1_000_000) => format!("{}m{unit}", rate / 1_000_000),
        Some(rate) if rate.is_multiple_of(1_000) => format!("{}k{unit}", rate / 1_000),
        Some(rate) => format!("{rate}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_needs_its_unit_and_is_written_as_it_is_read() {
        let read = |text: &str| limit(DeValue::parse(&format!("'{text}'")).unwrap().get_ref(), "pps");
        for good in ["1pps", "999pps", "10kpps", "1mpps", "10mpps", "unlimited"] {
            assert_eq!(written(read(good).unwrap()), good);
        }
        for bad in
            ["", "10", "pps", "0pps", "11mpps", "1 kpps", "1.5kpps", "-1pps", "1cps", "4294968mpps", "none"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
