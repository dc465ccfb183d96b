//! Changes of single ports in a text, whose comments and order stay.

use std::collections::BTreeMap;

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, TomlError, Value};

use super::{ChangedPort, Declared};

/// Why a text with changes cannot be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ComposeError {
    /// The text is no TOML.
    #[error("the text that runs cannot be read: {0}")]
    Text(#[from] TomlError),
    /// What is to stand under a table's name is no TOML.
    #[error("what is to stand under [{table}] is no TOML: {error}")]
    Lines {
        /// The table, for example `port.vm1`.
        table: String,
        /// What is wrong.
        error: TomlError,
    },
    /// The text has no such port or uplink.
    #[error("port {0} was changed, and is not declared")]
    NoPort(String),
}

/// The text `document` with these changes of ports.
pub(super) fn compose(document: &str, ports: &BTreeMap<String, ChangedPort>) -> Result<String, ComposeError> {
    if ports.is_empty() {
        return Ok(document.to_owned());
    }
    let mut text: DocumentMut = document.parse()?;
    for (name, ChangedPort { declared: place, edit, .. }) in ports {
        match place {
            Declared::InText => {}
            Declared::By(lines) => declare(&mut text, ("port", name), lines)?,
            Declared::Nowhere => remove(&mut text, name),
        }
        if edit.is_empty() {
            continue;
        }
        let port = declared(&mut text, name).ok_or_else(|| ComposeError::NoPort(name.clone()))?;
        if let Some(groups) = &edit.groups {
            set(port, "groups", Value::Array(groups.iter().collect::<Array>()));
        }
        match &edit.qos {
            Some(Some(qos)) => set(port, "qos", Value::from(qos)),
            Some(None) => drop(port.remove("qos")),
            None => {}
        }
    }
    Ok(text.to_string())
}

/// The table of a port or an uplink, however it is written.
fn declared<'t>(text: &'t mut DocumentMut, name: &str) -> Option<&'t mut dyn TableLike> {
    let has = |kind: &&str| {
        text.get(kind).and_then(|all| all.as_table_like()).is_some_and(|all| all.contains_key(name))
    };
    let kind = ["port", "uplink"].into_iter().find(has)?;
    text.get_mut(kind)?.as_table_like_mut()?.get_mut(name)?.as_table_like_mut()
}

/// Declares what this kind of table has of this name as these lines say, in the place of the one of that name, or behind all others.
fn declare(text: &mut DocumentMut, (kind, name): (&str, &str), lines: &str) -> Result<(), ComposeError> {
    let wrong = |error| ComposeError::Lines { table: format!("{kind}.{name}"), error };
    let mut table = lines.parse::<DocumentMut>().map_err(wrong)?.into_table();
    float(&mut table);
    let all = text.entry(kind).or_insert_with(|| {
        let mut all = Table::new();
        // `[port]` itself is not written.
        all.set_implicit(true);
        Item::Table(all)
    });
    if let Some(all) = all.as_table_mut() {
        if let Some(before) = all.get(name).and_then(Item::as_table) {
            // The comment before it stays.
            *table.decor_mut() = before.decor().clone();
        }
        all.insert(name, Item::Table(table));
    } else {
        let all = all.as_inline_table_mut().ok_or_else(|| ComposeError::NoPort(name.to_owned()))?;
        all.insert(name, Value::InlineTable(table.into_inline_table()));
    }
    Ok(())
}

/// Lets a table and those in it be written behind what stands before it: their places were those of another text.
fn float(table: &mut Table) {
    table.set_position(None);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => float(inner),
            Item::ArrayOfTables(inner) => inner.iter_mut().for_each(float),
            Item::Value(_) | Item::None => {}
        }
    }
}

/// The text `document` with these lines under `[KIND.NAME]`.
pub(super) fn with_table(document: &str, table: (&str, &str), lines: &str) -> Result<String, ComposeError> {
    let mut text: DocumentMut = document.parse()?;
    declare(&mut text, table, lines)?;
    Ok(text.to_string())
}

/// What stands under `[KIND.NAME]` in the text `document`, if it has such a table.
pub(super) fn table(document: &str, (kind, name): (&str, &str)) -> Result<Option<String>, ComposeError> {
    let text: DocumentMut = document.parse()?;
    let found = text.get(kind).and_then(Item::as_table_like).and_then(|all| all.get(name));
    let lines = found.and_then(|found| found.clone().into_table().ok()).map(|mut table| {
        table.set_dotted(false);
        // What stands around its heading.
        table.decor_mut().clear();
        DocumentMut::from(table).to_string()
    });
    Ok(lines)
}

fn remove(text: &mut DocumentMut, name: &str) {
    if let Some(ports) = text.get_mut("port").and_then(Item::as_table_like_mut) {
        ports.remove(name);
    }
}

/// Sets a field; the comment behind the one that was there stays.
fn set(table: &mut dyn TableLike, field: &str, mut value: Value) {
    if let Some(before) = table.get(field).and_then(Item::as_value) {
        *value.decor_mut() = before.decor().clone();
    }
    table.insert(field, Item::Value(value));
}
