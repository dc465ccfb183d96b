//! From a file or a text to a checked configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::DeTable;
use viaduct_switch::ids::{NETWORKS_MAX, PORTS_MAX};
use viaduct_switch::security::GROUPS_MAX;

use super::cross::{self, Placed};
use super::groups::Known;
use super::host::Host;
use super::names::{NAME_RULE, is_name};
use super::problem::{ConfigError, Problem, WrongFile};
use super::reader::{Problems, TableReader};
use super::values::shortened;
use super::{Config, groups, network, overlay, port, qos, router, schema, spanning_tree, switch, uplink};

/// The longest file that is read, in bytes.
pub const FILE_SIZE_MAX: usize = 16 << 20;

/// More syntax errors than this are not listed: after the first few, one causes the next.
const SYNTAX_ERRORS_MAX: usize = 10;

/// A configuration, and what its author should know although it is right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Sentences for people.
    pub warnings: Vec<String>,
}

/// Reads and checks the file.
///
/// # Errors
/// If the file cannot be read, or for all that is wrong in it at once.
pub fn load(path: &Path, host: &dyn Host) -> Result<Loaded, ConfigError> {
    parse(&read(path)?, &path.display().to_string(), host)
}

/// Reads the file without looking into it.
///
/// # Errors
/// If the file cannot be read, or is longer than [`FILE_SIZE_MAX`].
pub fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let bytes = read_bounded(path).map_err(|error| unreadable(path, error))?;
    if bytes.len() > FILE_SIZE_MAX {
        return Err(ConfigError::TooLarge { file: path.display().to_string(), limit: FILE_SIZE_MAX });
    }
    Ok(bytes)
}

/// Checks a text; `file` is its name in messages.
///
/// # Errors
/// For all that is wrong in it at once.
pub fn parse(bytes: &[u8], file: &str, host: &dyn Host) -> Result<Loaded, ConfigError> {
    if bytes.len() > FILE_SIZE_MAX {
        return Err(ConfigError::TooLarge { file: file.to_owned(), limit: FILE_SIZE_MAX });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_text(bytes, error.valid_up_to(), file))?;
    let problems = Problems::new(text);
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let mut warnings = Vec::new();
    let config = if syntax_errors.is_empty() {
        read_document(&TableReader::top(document.get_ref(), &problems), host, &mut warnings)
    } else {
        note_syntax_errors(text, &syntax_errors, &problems);
        Config::default()
    };
    warnings.extend(problems.warnings());
    problems.into_result(file, text)?;
    if config.networks.is_empty() && config.ports.is_empty() {
        warnings.push("the file declares no network and no port".to_owned());
    }
    Ok(Loaded { config, warnings })
}

/// One byte more than allowed is read, so that the caller sees that there is more.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_SIZE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: io::Error) -> ConfigError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => ConfigError::NotFound(path),
        io::ErrorKind::PermissionDenied => ConfigError::Denied(path),
        _ => ConfigError::Unreadable { path, error },
    }
}

fn not_text(bytes: &[u8], at: usize, file: &str) -> WrongFile {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    let found = format!("the byte 0x{:02x}", bytes[at]);
    let expected = "text in UTF-8; is it the right file?".to_owned();
    let problem = Problem { line, column, field: String::new(), found, expected };
    WrongFile { file: file.to_owned(), problems: vec![problem], left_out: 0 }
}

fn note_syntax_errors(text: &str, errors: &[toml::de::Error], problems: &Problems) {
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        let at = error.span().map_or(text.len(), |span| span.start).min(text.len());
        let line = text[at..].lines().next().unwrap_or("");
        let found =
            if line.is_empty() { "the end of the line".to_owned() } else { format!("`{}`", shortened(line)) };
        let found = if at == text.len() { "the end of the file".to_owned() } else { found };
        problems.note(at, "", found, format!("TOML ({})", error.message()));
    }
}

fn read_document(top: &TableReader<'_>, host: &dyn Host, warnings: &mut Vec<String>) -> Config {
    top.check_fields(&schema::TOP);
    let settings = switch::read(top.table("switch").as_ref(), host, warnings);
    let qos_names = names_under(top, "qos");
    let uplinks =
        placed(top, "uplink", PORTS_MAX, |name, table| uplink::read(name, table, host, &qos_names, warnings));
    let known = names_of(&uplinks);
    let networks = placed(top, "network", NETWORKS_MAX, |_, table| network::read(table, &known));
    let known = names_of(&networks);
    let group_names = names_under(top, "group");
    let address_group_names = names_under(top, "address_group");
    let named = Known { groups: &group_names, address_groups: &address_group_names };
    let of_ports = port::Known { networks: &known, groups: &group_names, qos: &qos_names };
    let ends = names_under(top, "port").union(&names_under(top, "uplink")).copied().collect();
    let of_qos = qos::Known { networks: &known, ports: &ends, groups: &group_names };
    let qos = placed(top, "qos", PORTS_MAX, |_, table| qos::read(table, &of_qos));
    let groups = placed(top, "group", GROUPS_MAX, |_, table| groups::read(table, &named));
    let address_groups = placed(top, "address_group", GROUPS_MAX, |_, table| groups::read_addresses(table));
    let ports = placed(top, "port", PORTS_MAX, |name, table| port::read(name, table, &settings, &of_ports));
    let routers = placed(top, "router", NETWORKS_MAX, |_, table| router::read(table, &known));
    cross::check(&ports, &networks, &uplinks, &routers, &settings);
    qos::check_waits(&ports, &uplinks, &qos);
    warnings.extend(spanning_tree::warnings(&networks));
    warnings.extend(overlay::warnings(&networks));
    Config {
        switch: settings,
        networks: by_name(networks),
        ports: by_name(ports),
        uplinks: by_name(uplinks),
        routers: by_name(routers),
        qos: by_name(qos),
        groups: by_name(groups),
        address_groups: by_name(address_groups),
    }
}

/// What `read` makes of each table under `kind`.
fn placed<'f, T>(
    top: &TableReader<'f>,
    kind: &str,
    most: usize,
    mut read: impl FnMut(&str, &TableReader<'f>) -> T,
) -> Vec<Placed<'f, T>> {
    let tables = named(top, kind, most).into_iter();
    tables
        .map(|(name, table)| {
            let value = read(name, &table);
            Placed { name, table, value }
        })
        .collect()
}

/// The names of the tables under `kind`, right or wrong.
fn names_under<'f>(top: &TableReader<'f>, kind: &str) -> BTreeSet<&'f str> {
    top.names(kind).collect()
}

fn names_of<'f, T>(placed: &[Placed<'f, T>]) -> BTreeSet<&'f str> {
    placed.iter().map(|placed| placed.name).collect()
}

fn by_name<T>(placed: Vec<Placed<'_, T>>) -> BTreeMap<String, T> {
    placed.into_iter().map(|placed| (placed.name.to_owned(), placed.value)).collect()
}

/// The tables under `kind` by their names, each of which is checked; none of them if there are too many, because
/// then that is the one thing to mend.
fn named<'f>(top: &TableReader<'f>, kind: &str, most: usize) -> Vec<(&'f str, TableReader<'f>)> {
    let Some(all) = top.table(kind) else { return Vec::new() };
    if all.len() > most {
        top.note(
            kind,
            format!("{} tables", all.len()),
            format!("at most {most}, as many as one switch can have"),
        );
        return Vec::new();
    }
    let tables = all.tables();
    for (name, table) in tables.iter().filter(|(name, _)| !is_name(name)) {
        table.note_self(format!("the name \"{}\"", shortened(name)), NAME_RULE.to_owned());
    }
    tables
}
