//! `interface` and `netns`: which interface of the kernel is meant.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::reader::TableReader;
use super::{Driver, Interface, values};

/// Where `ip netns` keeps namespaces by their names (ip-netns(8)).
pub(crate) const NAMED_NAMESPACES: &str = "/run/netns";

/// The longest name of an interface in bytes (IFNAMSIZ with the final zero is 16: netdevice(7)).
const NAME_MAX: usize = 15;

pub(super) const NAME: &str =
    "an interface's name in quotes: 1 to 15 characters without spaces, `/` and `:`, like \"eth1\"";
/// Queues of an interface at most.
const QUEUES_MAX: u16 = 16;

const QUEUES: &str = "a number from 1 to 16: so many queues an interface may have here";
const NETNS: &str =
    "a network namespace: a name under /run/netns or an absolute path in quotes, or a process's number";

/// The interface as far as it is right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, driver: Driver) -> Interface {
    if !table.has("interface") {
        table.note("interface", "nothing".to_owned(), NAME.to_owned());
    }
    Interface {
        name: table.read("interface", NAME, name).unwrap_or_default(),
        driver,
        netns: namespace(table),
        queues: table.read("queues", QUEUES, |value| values::number(value, 1..=QUEUES_MAX)),
        gro: gro(table),
    }
}

/// `gro`, which is on unless said.
pub(super) fn gro(table: &TableReader<'_>) -> bool {
    table.read("gro", "true or false, without quotes", values::boolean).unwrap_or(true)
}

/// `netns` as far as it is right.
pub(super) fn namespace(table: &TableReader<'_>) -> Option<PathBuf> {
    table.read("netns", NETNS, netns)
}

/// What the kernel takes as a name (dev_valid_name), and no control characters.
pub(super) fn name(value: &DeValue<'_>) -> Option<String> {
    let text = values::text(value)?;
    let plain = text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !['/', ':', '%'].contains(&c));
    let right = plain && !["", ".", ".."].contains(&text) && text.len() <= NAME_MAX;
    right.then(|| text.to_owned())
}

/// The namespace's file.
fn netns(value: &DeValue<'_>) -> Option<PathBuf> {
    if let Some(process) = values::number(value, 1..=i32::MAX) {
        return Some(PathBuf::from(format!("/proc/{process}/ns/net")));
    }
    let text = values::text(value)?;
    if text.starts_with('/') {
        return values::path(value);
    }
    let plain = text.chars().all(|c| !c.is_control() && c != '/');
    let right = plain && !["", ".", ".."].contains(&text) && text.len() <= 255;
    right.then(|| Path::new(NAMED_NAMESPACES).join(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> DeValue<'_> {
        DeValue::parse(text).unwrap().into_inner()
    }

    #[test]
    fn an_interface_has_a_name_that_the_kernel_takes() {
        for good in ["'eth1'", "'enp3s0f0np0'", "'a.b-c_d@e'", "'123456789012345'"] {
            assert!(name(&value(good)).is_some(), "{good}");
        }
        for bad in ["''", "'.'", "'..'", "'a b'", "'a/b'", "'eth0:1'", "'tap%d'", "'1234567890123456'", "7"] {
            assert_eq!(name(&value(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_namespace_is_a_name_a_path_or_a_process() {
        let path = |text| netns(&value(text)).map(|path| path.display().to_string());
        assert_eq!(path("'web1'").as_deref(), Some("/run/netns/web1"));
        assert_eq!(path("'/var/run/docker/netns/4f'").as_deref(), Some("/var/run/docker/netns/4f"));
        assert_eq!(path("4711").as_deref(), Some("/proc/4711/ns/net"));
        for bad in ["''", "'..'", "'a/b'", "'/run/../x'", "0", "-1", "true"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
