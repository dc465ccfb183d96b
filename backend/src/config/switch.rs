//! `[switch]`: everything about the process.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use super::host::Host;
use super::names::listed;
use super::reader::TableReader;
use super::{Polling, SwitchSettings, schema, storm, values};
use crate::takeover::SOCKET;

/// The group of the guests' sockets unless told otherwise: QEMU's own under libvirt and on most distributions.
const DEFAULT_GROUP: &str = "kvm";

/// Whether the process gives up what it does not need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Confinement {
    /// It does, before it serves guests.
    #[default]
    On,
    /// It keeps all that it was started with.
    Off,
}

impl Confinement {
    /// Both, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[("on", Self::On), ("off", Self::Off)];

    /// Its name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self == Self::On { "on" } else { "off" }
    }
}

/// The settings as far as they are right; what is wrong is noted, warnings are appended.
pub(super) fn read(
    table: Option<&TableReader<'_>>,
    host: &dyn Host,
    warnings: &mut Vec<String>,
) -> SwitchSettings {
    let defaults = SwitchSettings { cpus: default_cpus(host), ..SwitchSettings::default() };
    let Some(table) = table else {
        return SwitchSettings { socket_group: default_group(host, warnings), ..defaults };
    };
    table.check_fields(&schema::SWITCH);
    let settings = SwitchSettings {
        runtime_dir: runtime_dir(table).unwrap_or(defaults.runtime_dir),
        state_dir: table.read("state_dir", PATH, values::path).unwrap_or(defaults.state_dir),
        cpus: cpus(table, host).unwrap_or(defaults.cpus),
        polling: table.read_word("polling", Polling::ALL, &[]).unwrap_or(defaults.polling),
        verify_flow_cache: table
            .read("verify_flow_cache", "true or false, without quotes", values::boolean)
            .unwrap_or(defaults.verify_flow_cache),
        socket_mode: table.read("socket_mode", MODE, values::mode).unwrap_or(defaults.socket_mode),
        socket_group: socket_group(table, host, warnings),
        api_mode: table.read("api_mode", API_MODE, values::mode).unwrap_or(defaults.api_mode),
        api_group: group(table, "api_group", host),
        api_listen: listen(table, warnings),
        storm: storm::read(table, defaults.storm),
        connections: table
            .read("connections", "a number from 1024 to 4194304", |value| {
                values::number(value, 1024..=4_194_304)
            })
            .unwrap_or(defaults.connections),
        sandbox: table.read_word("sandbox", Confinement::ALL, &[]).unwrap_or(defaults.sandbox),
        namespaces: table.read("namespaces", "true or false, without quotes", values::boolean),
    };
    check_api(table, &settings, warnings);
    settings
}

const PATH: &str = "an absolute path in quotes, without `..`, like \"/run/viaduct\"";
const MODE: &str = "octal permissions in quotes, like \"0660\"";
const API_MODE: &str = "octal permissions in quotes, like \"0600\"";

fn runtime_dir(table: &TableReader<'_>) -> Option<PathBuf> {
    let expected = format!("{PATH}, short enough that \"{SOCKET}\" in it has at most 106 bytes");
    table.read("runtime_dir", &expected, |value| {
        values::path(value).filter(|path| values::fits_socket(&path.join(SOCKET)))
    })
}

/// Processor 0, or the first one that we may use.
fn default_cpus(host: &dyn Host) -> Vec<usize> {
    let usable = host.cpus();
    let first = if usable.contains(&0) { 0 } else { usable.first().copied().unwrap_or(0) };
    vec![first]
}

fn cpus(table: &TableReader<'_>, host: &dyn Host) -> Option<Vec<usize>> {
    let usable = host.cpus();
    let expected = format!(
        "a list of processor numbers, like [0], of those that this process may use: {}",
        ranges(&usable)
    );
    let mut seen = Vec::new();
    let cpus = table.read_list("cpus", &expected, |value| cpu(value, &usable, &mut seen))?;
    if cpus.is_empty() && seen.is_empty() {
        table.note("cpus", "an empty list".to_owned(), expected);
    }
    Some(cpus).filter(|cpus| !cpus.is_empty())
}

/// One processor's number, if it can be used and is not yet among those seen.
fn cpu(value: &DeValue<'_>, usable: &[usize], seen: &mut Vec<Option<usize>>) -> Result<usize, String> {
    let number = values::number(value, 0..=usize::MAX);
    let first_time = !seen.contains(&number) || number.is_none();
    seen.push(number);
    match number {
        Some(cpu) if usable.contains(&cpu) && first_time => Ok(cpu),
        Some(_) if !first_time => Err("each processor once: a worker has it for itself".to_owned()),
        _ => Err(format!("the number of a processor that this process may use: {}", ranges(usable))),
    }
}

/// Ascending numbers as people write them: `0-3,6`.
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let shown = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    shown.collect::<Vec<_>>().join(",")
}

fn socket_group(table: &TableReader<'_>, host: &dyn Host, warnings: &mut Vec<String>) -> Option<String> {
    if table.has("socket_group") { group(table, "socket_group", host) } else { default_group(host, warnings) }
}

fn group(table: &TableReader<'_>, field: &str, host: &dyn Host) -> Option<String> {
    let expected =
        format!("a group of this machine, like {}; `getent group` lists them", listed([DEFAULT_GROUP]));
    table.read(field, &expected, |value| {
        values::text(value).filter(|name| host.has_group(name)).map(str::to_owned)
    })
}

/// Whoever may write to the API's socket may change the switch: rights for a group need a group that was chosen for
/// it, because the daemon's own may be QEMU's.
fn check_api(table: &TableReader<'_>, settings: &SwitchSettings, warnings: &mut Vec<String>) {
    let (mode, group) = (settings.api_mode, &settings.api_group);
    if mode & 0o070 != 0 && !table.has("api_group") {
        let expected = "\"0600\", or beside it an `api_group`: the people who may change the switch";
        table.note("api_mode", format!("\"{mode:04o}\""), expected.to_owned());
    }
    if mode & 0o002 != 0 {
        warnings
            .push(format!("switch.api_mode \"{mode:04o}\" lets everybody on this machine change the switch"));
    }
    let Some(group) = group else { return };
    if mode & 0o020 == 0 {
        warnings.push(format!(
            "switch.api_group \"{group}\" cannot use the API: switch.api_mode \"{mode:04o}\" keeps the group out; \
             \"0660\" lets it in"
        ));
    } else if Some(group) == settings.socket_group.as_ref() {
        warnings.push(format!(
            "switch.api_group \"{group}\" is the guests' sockets' group too: whoever breaks out of a guest into QEMU \
             can change the switch; choose another group"
        ));
    }
}

/// Where the API can be read by TCP, which knows no user: beyond this machine only if that is said in so many words.
fn listen(table: &TableReader<'_>, warnings: &mut Vec<String>) -> Option<SocketAddr> {
    let expected = "an address and a port in quotes, like \"127.0.0.1:9477\" or \"[::1]:9477\"";
    let address =
        |value: &DeValue<'_>| values::text(value)?.parse::<SocketAddr>().ok().filter(|it| it.port() != 0);
    let listen = table.read("api_listen", expected, address);
    let public = table.read("api_listen_public", "true or false, without quotes", values::boolean);
    let listen = listen?;
    if !listen.ip().is_loopback() && public != Some(true) {
        let expected = "an address of this machine for itself alone, like \"127.0.0.1:9477\", or beside it api_listen_public = true";
        table.note("api_listen", format!("\"{listen}\""), expected.to_owned());
        return None;
    }
    let whom = if listen.ip().is_loopback() { "everybody on this machine" } else { "whoever reaches it" };
    warnings.push(format!(
        "switch.api_listen \"{listen}\" tells {whom} the switch's state and changes nothing: TCP has no authorisation"
    ));
    Some(listen)
}

fn default_group(host: &dyn Host, warnings: &mut Vec<String>) -> Option<String> {
    if host.has_group(DEFAULT_GROUP) {
        return Some(DEFAULT_GROUP.to_owned());
    }
    warnings.push(format!(
        "this machine has no group \"{DEFAULT_GROUP}\", so the guests' sockets keep the daemon's own group; \
         set switch.socket_group to the group that QEMU runs in"
    ));
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_shown_as_ranges() {
        assert_eq!(super::ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(super::ranges(&[]), "");
    }
}
