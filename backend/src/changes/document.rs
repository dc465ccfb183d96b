//! Changes of single ports in a text, whose comments and order stay.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use toml_edit::{Array, Decor, DocumentMut, Item, RawString, Table, TableLike, TomlError, Value};

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
    /// A value of JSON that TOML does not have.
    #[error(
        "`{member}` of [{table}] has a value that cannot stand in the file: a null in a list, or a number that is too large"
    )]
    Member {
        /// The table, for example `qos.gold`.
        table: String,
        /// The member's name.
        member: String,
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
    let mut body = lines.parse::<DocumentMut>().map_err(wrong)?;
    let behind = body.trailing().as_str().unwrap_or_default().to_owned();
    let mut table = std::mem::take(body.as_table_mut());
    if !behind.trim().is_empty() {
        // Behind the last line it would be the next table's, and come once more with each time that the same lines are sent.
        put_before_last(&mut table, &behind);
    }
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
            let own = std::mem::replace(table.decor_mut(), before.decor().clone());
            let own = own.prefix().and_then(RawString::as_str).unwrap_or_default();
            let is_there =
                before.decor().prefix().and_then(RawString::as_str).is_some_and(|it| it.contains(own));
            if !is_there {
                lead(table.decor_mut(), own);
            }
        }
        all.insert(name, Item::Table(table));
    } else {
        let all = all.as_inline_table_mut().ok_or_else(|| ComposeError::NoPort(name.to_owned()))?;
        all.insert(name, Value::InlineTable(table.into_inline_table()));
    }
    Ok(())
}

/// Puts comments before the last of a text's lines.
fn put_before_last(table: &mut Table, comments: &str) {
    let last = table.iter().filter_map(|(key, item)| Some((end(item)?, key.to_owned()))).max();
    if let Some((_, key)) = last {
        return match table.get_mut(&key) {
            Some(Item::Table(inner)) => put_before_last(inner, comments),
            Some(Item::ArrayOfTables(inner)) => {
                if let Some(inner) = inner.iter_mut().last() {
                    put_before_last(inner, comments);
                }
            }
            _ => {}
        };
    }
    let last = table.iter().last().map(|(key, item)| (key.to_owned(), item.is_table()));
    match last {
        // `a.b = 1`: the line is the last name's.
        Some((key, true)) => {
            if let Some(inner) = table.get_mut(&key).and_then(Item::as_table_mut) {
                put_before_last(inner, comments);
            }
        }
        Some((key, false)) => {
            if let Some(mut key) = table.key_mut(&key) {
                lead(key.leaf_decor_mut(), comments);
            }
        }
        None => lead(table.decor_mut(), comments),
    }
}

/// Adds comments to those before a line.
fn lead(decor: &mut Decor, comments: &str) {
    let before = decor.prefix().and_then(RawString::as_str).unwrap_or_default();
    decor.set_prefix(format!("{before}{}\n", comments.trim_end()));
}

/// Where the last heading in something stands in the text, if it has one.
fn end(item: &Item) -> Option<isize> {
    let of_table = |table: &Table| {
        let own = table.position().filter(|_| !table.is_dotted());
        table.iter().filter_map(|(_, item)| end(item)).chain(own).max()
    };
    match item {
        Item::Table(table) => of_table(table),
        Item::ArrayOfTables(tables) => tables.iter().filter_map(of_table).max(),
        Item::Value(_) | Item::None => None,
    }
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

/// The text `document` with these members of the table `[KIND.NAME]`, if it has that.
pub(super) fn with_members(
    document: &str,
    (kind, name): (&str, &str),
    members: &Map<String, Json>,
) -> Result<Option<String>, ComposeError> {
    let mut text: DocumentMut = document.parse()?;
    let all = text.get_mut(kind).and_then(Item::as_table_like_mut);
    let Some(table) = all.and_then(|all| all.get_mut(name)).and_then(Item::as_table_like_mut) else {
        return Ok(None);
    };
    let wrong = |member| ComposeError::Member { table: format!("{kind}.{name}"), member };
    merge(table, members).map_err(wrong)?;
    Ok(Some(text.to_string()))
}

/// RFC 7396, 2. The error is the member's name.
fn merge(table: &mut dyn TableLike, members: &Map<String, Json>) -> Result<(), String> {
    for (name, value) in members {
        match value {
            Json::Null => drop(table.remove(name)),
            Json::Object(inner) => match table.get_mut(name) {
                Some(Item::Value(Value::InlineTable(own))) => {
                    let before = own.len();
                    let has_new = inner.keys().any(|key| !own.contains_key(key));
                    merge(own, inner)?;
                    // The spaces of what went, or is new; but no comment goes with them.
                    let mut inside = own.clone();
                    inside.decor_mut().clear();
                    if (has_new || own.len() != before) && !inside.to_string().contains('#') {
                        own.fmt();
                    }
                }
                Some(Item::Table(own)) => merge(own, inner)?,
                _ => drop(table.insert(name, Item::Value(value_of(value).ok_or(name)?))),
            },
            _ => set(table, name, value_of(value).ok_or(name)?),
        }
    }
    Ok(())
}

/// A value of JSON as one of TOML; members of objects that are null are none.
fn value_of(value: &Json) -> Option<Value> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => {
            let float = || number.as_f64().filter(|_| number.is_f64()).map(Value::from);
            number.as_i64().map(Value::from).or_else(float)?
        }
        Json::String(text) => Value::from(text),
        Json::Array(values) => Value::Array(values.iter().map(value_of).collect::<Option<Array>>()?),
        Json::Object(members) => {
            let is_there = members.iter().filter(|(_, value)| !value.is_null());
            let pairs = is_there.map(|(name, value)| Some((name, value_of(value)?)));
            Value::InlineTable(pairs.collect::<Option<Vec<_>>>()?.into_iter().collect())
        }
    })
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

/// Sets a field; the comments before and behind the one that was there stay.
fn set(table: &mut dyn TableLike, field: &str, mut value: Value) {
    match table.get_mut(field) {
        Some(Item::Value(before)) => {
            *value.decor_mut() = before.decor().clone();
            *before = value;
        }
        _ => drop(table.insert(field, Item::Value(value))),
    }
}
