//! `storm`: how many frames a second a port may send to many receivers at once.

use toml::de::DeValue;
use viaduct_switch::{FrameRate, StormLimits};

use super::reader::TableReader;
use super::{schema, values};

const EXPECTED: &str =
    "frames a second with their unit (pps, kpps, mpps), from \"1pps\" to \"10mpps\", or \"unlimited\"";

/// The limits under `storm` in `table` as far as they are right, and for the rest `defaults`; what is wrong is
/// noted.
pub(super) fn read(table: &TableReader<'_>, defaults: StormLimits) -> StormLimits {
    let Some(storm) = table.table("storm") else { return defaults };
    storm.check_fields(&schema::STORM);
    let limit = |name, default| storm.read(name, EXPECTED, limit).unwrap_or(default);
    StormLimits {
        broadcast: limit("broadcast", defaults.broadcast),
        multicast: limit("multicast", defaults.multicast),
        unknown_unicast: limit("unknown_unicast", defaults.unknown_unicast),
    }
}

/// A number and its unit without a space, or no limit.
fn limit(value: &DeValue<'_>) -> Option<Option<FrameRate>> {
    let text = values::text(value)?;
    if text == "unlimited" {
        return Some(None);
    }
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit {
        "pps" => 1,
        "kpps" => 1_000,
        "mpps" => 1_000_000,
        _ => return None,
    };
    let per_second = digits.parse::<u32>().ok()?.checked_mul(factor)?;
    FrameRate::new(per_second).map(Some)
}

/// The limit as it is written in the file.
pub(crate) fn written(limit: Option<FrameRate>) -> String {
    match limit.map(FrameRate::per_second) {
        None => "unlimited".to_owned(),
        Some(rate) if rate.is_multiple_of(1_000_000) => format!("{}mpps", rate / 1_000_000),
        Some(rate) if rate.is_multiple_of(1_000) => format!("{}kpps", rate / 1_000),
        Some(rate) => format!("{rate}pps"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_needs_its_unit_and_is_written_as_it_is_read() {
        let read = |text: &str| limit(DeValue::parse(&format!("'{text}'")).unwrap().get_ref());
        for good in ["1pps", "999pps", "10kpps", "1mpps", "10mpps", "unlimited"] {
            assert_eq!(written(read(good).unwrap()), good);
        }
        for bad in ["", "10", "pps", "0pps", "11mpps", "1 kpps", "1.5kpps", "-1pps", "4294968mpps", "none"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
