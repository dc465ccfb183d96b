//! Names that users give, and the nearest known name to a mistyped one.

use std::collections::BTreeSet;

use super::reader::TableReader;
use super::values;

/// What a name of a network or port may look like.
pub(super) const NAME_RULE: &str =
    "a name of 1 to 63 letters, digits, `_`, `.` and `-` that begins with a letter or digit";

/// Whether `name` follows [`NAME_RULE`]: such a name is also safe as a file's name and an identifier of QEMU's.
pub(crate) fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    first && rest && name.len() <= 63
}

/// How long a name must be to be seen within another one.
const PART_MIN: usize = 4;

/// The known name that `found` was probably meant to be: one that is typed wrong, or else one of which it has more or less, such as
/// `lease_time` for `lease`.
pub(super) fn nearest<'n>(found: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Names are short; a long text is no typing error, and comparing it would cost time for nothing.
    let shortened: String = found.chars().take(64).collect::<String>().to_lowercase();
    let known: Vec<&str> = known.into_iter().collect();
    let distances =
        known.iter().map(|name| (strsim::damerau_levenshtein(&shortened, &name.to_lowercase()), *name));
    let typed = distances.filter(|(distance, name)| *distance <= name.len().max(3) / 3).min();
    let is_part = |name: &&&str| {
        let (short, long) =
            if name.len() < shortened.len() { (**name, &*shortened) } else { (&*shortened, **name) };
        short.len() >= PART_MIN && long.contains(short)
    };
    typed
        .map(|(_, name)| name)
        .or_else(|| known.iter().filter(is_part).max_by_key(|name| name.len()).copied())
}

/// The names in a sentence: `"a", "b"`, the first eight of them.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = names.iter().take(8).map(|name| format!("\"{name}\"")).collect();
    let more = if names.len() > 8 { format!(" and {} more", names.len() - 8) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// The field's value as the name of a table of this `kind`; `None` if it is left out, or no text and now noted. A name
/// that is none of the `known` ones is noted too.
pub(super) fn reference(
    table: &TableReader<'_>,
    field: &str,
    kind: &str,
    known: &BTreeSet<&str>,
) -> Option<String> {
    let expected = format!("{} {kind}'s name in quotes: {}", article(kind), choice(kind, known));
    let name = table.read(field, &expected, |value| values::text(value).map(str::to_owned))?;
    if !known.contains(name.as_str()) {
        let near =
            nearest(&name, known.iter().copied()).map(|near| format!("\"{near}\", the nearest known {kind}"));
        let found = format!("\"{}\"", values::shortened(&name));
        table.note(field, found, near.unwrap_or_else(|| choice(kind, known)));
    }
    Some(name)
}

/// What can be written where the name of a table of this `kind` belongs.
pub(super) fn choice(kind: &str, known: &BTreeSet<&str>) -> String {
    if known.is_empty() {
        let article = article(kind);
        return format!("{article} {kind} that the file declares, and it declares none; add [{kind}.NAME]");
    }
    listed(known.iter().copied())
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names() {
        for good in ["a", "0", "vm-1", "Web.example_2", &"x".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ä", "a\n", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_name_with_more_or_less_finds_the_known_one() {
        assert_eq!(nearest("lease_time", ["range", "lease"]), Some("lease"));
        assert_eq!(nearest("next_server", ["server", "file", "server_name"]), Some("server"));
        assert_eq!(nearest("upstreams_dns", ["upstream", "domain"]), Some("upstream"));
        assert_eq!(nearest("snooping", ["multicast_snooping", "mtu"]), Some("multicast_snooping"));
        assert_eq!(nearest("to_from", ["to", "via"]), None, "two letters are no hint");
    }

    #[test]
    fn a_typing_error_finds_its_name_and_nonsense_none() {
        assert_eq!(nearest("netwrok", ["mtu", "network"]), Some("network"));
        assert_eq!(nearest("lob", ["lab", "office"]), Some("lab"));
        assert_eq!(nearest("colour", ["mtu", "network"]), None);
        assert_eq!(nearest("NAT", ["isolated", "nat"]), Some("nat"));
        assert_eq!(nearest(&"x".repeat(1 << 20), ["network"]), None);
    }
}
