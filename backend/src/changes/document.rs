//! Changes of single ports in a text, whose comments and order stay.

use std::collections::BTreeMap;

use toml_edit::{Array, DocumentMut, Item, TableLike, TomlError, Value};

use crate::control::PortEdit;

/// Why a text with changes cannot be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ComposeError {
    /// The text is no TOML.
    #[error("the text that runs cannot be read: {0}")]
    Text(#[from] TomlError),
    /// The text has no such port or uplink.
    #[error("port {0} was changed, and is not declared")]
    NoPort(String),
}

/// The text `document` with these changes of ports.
pub(super) fn compose(document: &str, ports: &BTreeMap<String, PortEdit>) -> Result<String, ComposeError> {
    if ports.is_empty() {
        return Ok(document.to_owned());
    }
    let mut text: DocumentMut = document.parse()?;
    for (name, edit) in ports {
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

/// Sets a field; the comment behind the one that was there stays.
fn set(table: &mut dyn TableLike, field: &str, mut value: Value) {
    if let Some(before) = table.get(field).and_then(Item::as_value) {
        *value.decor_mut() = before.decor().clone();
    }
    table.insert(field, Item::Value(value));
}
