//! Entity tags, by which who changes something says on what he relies (RFC 9110, 8.8.3 and 13.1.1).
//!
//! The configuration's number begins at 1 in each process. Its tag is that number behind one of the process, so that who read it before
//! a restart is told, and does not meet another configuration that has the same number by chance. Tables that are fed have numbers of
//! whoever feeds them, which stand alone.

use std::sync::LazyLock;

use axum::http::{HeaderMap, header};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::control::Expected;

/// Configurations of one process have tags from here on. All are whole numbers for JavaScript, too, which are below 2^53.
static BASE: LazyLock<u64> = LazyLock::new(|| {
    let mut bytes = [0; 8];
    // Early in the life of a machine there may be none: then the number of the process has to do.
    let number = match getrandom(&mut bytes, GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => u64::from(std::process::id()),
    };
    (100_000_000 + number % 800_000_000) * SPACE
});

/// Tags of one process.
const SPACE: u64 = 10_000_000;

/// The tag of a configuration that this process runs.
pub(super) fn of_configuration(generation: u64) -> String {
    of_table(BASE.wrapping_add(generation))
}

/// The tag of a table that is fed.
pub(super) fn of_table(generation: u64) -> String {
    format!("\"{generation}\"")
}

/// The configurations of this process that `If-Match` lists; any without it.
pub(super) fn expected_configuration(headers: &HeaderMap) -> Expected {
    expected(headers, |tag| number(tag)?.checked_sub(*BASE))
}

/// The same of a table.
pub(super) fn expected_table(headers: &HeaderMap) -> Expected {
    expected(headers, number)
}

fn expected(headers: &HeaderMap, generation: impl Fn(&str) -> Option<u64>) -> Expected {
    if !headers.contains_key(header::IF_MATCH) {
        return Expected::Any;
    }
    let values = headers.get_all(header::IF_MATCH).iter().filter_map(|value| value.to_str().ok());
    let tags: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    if tags.contains(&"*") {
        return Expected::Any;
    }
    let quoted = tags.into_iter().filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"'));
    Expected::OneOf(quoted.filter_map(generation).collect())
}

/// A number as it is written here; no other one matches.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tag: &str) -> HeaderMap {
        [(header::IF_MATCH, tag.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn a_tag_of_another_process_means_no_configuration_of_this_one() {
        let own = of_configuration(4);
        assert_eq!(expected_configuration(&with(&own)), Expected::OneOf(vec![4]));
        for tag in ["\"4\"", "4", own.trim_matches('"'), &format!("W/{own}"), "\"1000000000000004\""] {
            let expected = expected_configuration(&with(tag));
            assert!(
                (0..SPACE).step_by(999).chain([4]).all(|running| !expected.allows(running)),
                "{tag} {expected:?}"
            );
        }
        let several = format!("\"4\", {own}, {}", of_configuration(7));
        assert_eq!(expected_configuration(&with(&several)), Expected::OneOf(vec![4, 7]));
        assert_eq!(expected_configuration(&with("*")), Expected::Any);
        assert_eq!(expected_configuration(&HeaderMap::new()), Expected::Any);
        assert!(*BASE + SPACE < 1 << 53 && *BASE >= 100_000_000 * SPACE);
    }

    #[test]
    fn a_table_has_a_number_alone() {
        assert_eq!(expected_table(&with(&of_table(17))), Expected::OneOf(vec![17]));
        assert_eq!(expected_table(&with("\"+17\", W/\"17\"")), Expected::OneOf(vec![]));
    }
}
