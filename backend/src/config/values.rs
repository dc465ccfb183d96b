//! Values as they are written in a file: numbers, words, durations, paths, addresses.

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;
use viaduct_switch::MacAddress;

/// The longest path of a Unix socket in bytes: `sun_path` is 108 bytes with the final zero (unix(7)), and a socket is
/// made under a name that is one byte longer, so that nobody meets it half ready.
pub(super) const SOCKET_PATH_MAX: usize = 106;

/// A text.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    if let DeValue::String(text) = value { Some(text) } else { None }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Option<bool> {
    if let DeValue::Boolean(boolean) = value { Some(*boolean) } else { None }
}

/// A whole number within `range`.
pub(super) fn number<T>(value: &DeValue<'_>, range: RangeInclusive<T>) -> Option<T>
where
    T: TryFrom<i64> + PartialOrd,
{
    let DeValue::Integer(integer) = value else { return None };
    let wide = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    T::try_from(wide).ok().filter(|number| range.contains(number))
}

/// A number and its unit without a space: `500ms`, `10s`, `5m`, `12h`, `1d`.
pub(super) fn duration(value: &DeValue<'_>) -> Option<Duration> {
    duration_of(text(value)?)
}

/// The same, of a text.
pub(crate) fn duration_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

/// A number and this unit without a space, which may stand for a thousand, a million or a thousand million: `10kpps`.
pub(super) fn scaled(text: &str, unit: &str) -> Option<u64> {
    let (digits, written) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match written.strip_suffix(unit)? {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// An absolute path without `..` and without control characters.
pub(super) fn path(value: &DeValue<'_>) -> Option<PathBuf> {
    path_of(text(value)?)
}

/// The same of a part of a text.
pub(super) fn path_of(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let plain =
        path.components().all(|part| part != Component::ParentDir) && !text.chars().any(char::is_control);
    // Components leave doubled and trailing slashes out, so that one place has one spelling.
    (path.is_absolute() && plain).then(|| path.components().collect())
}

/// Whether a Unix socket can have this path.
pub(super) fn fits_socket(path: &Path) -> bool {
    path.as_os_str().len() <= SOCKET_PATH_MAX && path.file_name().is_some()
}

/// Whether somebody else's Unix socket can have this path (unix(7): 108 bytes with the final zero).
pub(super) fn fits_peer(path: &Path) -> bool {
    path.as_os_str().len() <= SOCKET_PATH_MAX + 1 && path.file_name().is_some()
}

/// Three octal digits, with a zero in front or without.
pub(super) fn mode(value: &DeValue<'_>) -> Option<u32> {
    let text = text(value)?;
    let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let length = text.len() == 3 || (text.len() == 4 && text.starts_with('0'));
    if octal && length { u32::from_str_radix(text, 8).ok() } else { None }
}

/// The address of one station: six pairs of hexadecimal digits.
pub(super) fn station(value: &DeValue<'_>) -> Option<MacAddress> {
    let mac: MacAddress = text(value)?.parse().ok()?;
    (!mac.is_group() && !mac.is_zero()).then_some(mac)
}

/// The value as the file's author would recognise it, on one line and shortened.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shortened(text)),
        DeValue::Integer(integer) => shortened(&integer.to_string()),
        DeValue::Float(float) => shortened(&float.to_string()),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(array) if array.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// At most 60 characters of `text`, control characters escaped.
pub(super) fn shortened(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().take(60) {
        if character.is_control() { out.extend(character.escape_default()) } else { out.push(character) }
    }
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> DeValue<'_> {
        DeValue::parse(text).unwrap().into_inner()
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(duration(&value("'500ms'")), Some(Duration::from_millis(500)));
        assert_eq!(duration(&value("'5m'")), Some(Duration::from_secs(300)));
        assert_eq!(duration(&value("'1d'")), Some(Duration::from_secs(86_400)));
        for bad in ["10", "'10'", "'s'", "''", "'-1s'", "'1.5s'", "'1 s'", "'99999999999999999999s'", "'ſ'"]
        {
            assert_eq!(duration(&value(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        assert_eq!(path(&value("'/run//viaduct/./a/'")), Some(PathBuf::from("/run/viaduct/a")));
        for bad in ["'run'", "''", "'/run/../etc'", "\"/run\\u0000\"", "\"/run\\n\"", "7"] {
            assert_eq!(path(&value(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_mode_is_octal_permissions() {
        assert_eq!(mode(&value("'0660'")), Some(0o660));
        assert_eq!(mode(&value("'600'")), Some(0o600));
        for bad in ["660", "'0680'", "'4755'", "'00660'", "'66'", "'rw'"] {
            assert_eq!(mode(&value(bad)), None, "{bad}");
        }
    }

    #[test]
    fn what_is_shown_stays_on_one_line() {
        assert_eq!(shown(&value("\"a\\nb\"")), "\"a\\nb\"");
        assert_eq!(shown(&value(&format!("'{}'", "x".repeat(99)))).chars().count(), 63);
        assert_eq!(shown(&value("0x10")), "0x10");
    }
}
