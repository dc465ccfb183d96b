//! The file as a JSON Schema (draft 7), for editors and other programs: made of the fields that exist ([`schema`](super::schema)) and of
//! what `docs/configuration.md` says of each, so that neither can tell anything else than the daemon does.

mod words;

use serde_json::{Map, Value, json};

use super::schema::{Field, Support, TABLES, TOP, Table};
use words::{NAME, values};

/// The page that says what each field means; a test compares it with the fields.
const REFERENCE: &str = include_str!("../../../docs/configuration.md");

/// The schema of a whole file. What depends on other fields, on other tables or on this machine it does not know: that is for
/// `viaduct check`.
#[must_use]
pub fn json_schema() -> Value {
    let definitions: Map<String, Value> =
        TABLES[1..].iter().map(|table| (table.heading.to_owned(), described(table))).collect();
    let mut whole = described(&TOP);
    whole["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    whole["title"] = "Viaduct's configuration".into();
    whole["definitions"] = definitions.into();
    whole
}

/// A table as a schema.
fn described(table: &Table) -> Value {
    let fields = table.fields.iter().filter(|field| field.support != Support::Later);
    let properties: Map<String, Value> =
        fields.map(|field| (field.name.to_owned(), field_schema(table, field))).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    add_conditions(table, &mut schema);
    schema
}

/// What must be written. A field without a default must be, in some tables only beside a certain `kind`.
fn add_conditions(table: &Table, schema: &mut Value) {
    let must = |field: &&Field| field.default.is_empty() && field.support != Support::Later;
    let names = |depends: bool| -> Vec<&str> {
        let on_kind = |field: &&Field| table.field("kind").is_some() && ON_KIND.contains(&field.name);
        table
            .fields
            .iter()
            .filter(must)
            .filter(|field| on_kind(field) == depends)
            .map(|field| field.name)
            .collect()
    };
    let (always, beside_kind) = (names(false), names(true));
    if !always.is_empty() {
        schema["required"] = always.into();
    }
    if !beside_kind.is_empty() {
        let kind = if table.heading == "qos.NAME" { "htb" } else { "tbf" };
        schema["if"] = json!({ "required": ["kind"], "properties": { "kind": { "const": kind } } });
        schema["then"] = json!({ "required": beside_kind });
    }
}

/// Fields that must be written beside `kind = "htb"` of a tree, or `kind = "tbf"` of a queue.
const ON_KIND: &[&str] = &["rate", "default", "class"];

fn field_schema(table: &Table, field: &Field) -> Value {
    let mut schema = inner(table, field).or_else(|| values(field.values)).unwrap_or_else(|| json!({}));
    if let Some(reference) = schema.get("$ref").cloned() {
        // Beside a reference nothing else counts (draft 7).
        schema = json!({ "allOf": [{ "$ref": reference }] });
    }
    schema["description"] = description(table, field).into();
    if let Some(default) = default(field) {
        schema["default"] = default;
    }
    schema
}

/// The tables that a field holds.
fn inner(table: &Table, field: &Field) -> Option<Value> {
    let heading = if table.heading.is_empty() {
        field.name.to_owned()
    } else {
        format!("{}.{}", table.heading, field.name)
    };
    let like = |words: &str| words.strip_prefix("a table like `[")?.strip_suffix("]`").map(reference);
    match field.values {
        "a table" => Some(reference(&heading)),
        "a list of tables" => Some(json!({ "type": "array", "items": reference(&heading) })),
        "\"unix:\" and a path, an address and a port, or a table" => Some(
            json!({ "anyOf": [values("\"unix:\" and a path, or an address and a port")?, reference(&heading)] }),
        ),
        words if words.starts_with("a table for each ") => {
            let names = json!({ "pattern": NAME });
            let each = reference(&format!("{heading}.NAME"));
            Some(json!({ "type": "object", "propertyNames": names, "additionalProperties": each }))
        }
        "a list of 1 to 16 tables like `[qos.NAME.egress]`" => Some(
            json!({ "type": "array", "items": reference("qos.NAME.egress"), "minItems": 1, "maxItems": 16 }),
        ),
        words => like(words),
    }
}

fn reference(heading: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{heading}") })
}

/// What the reference page says that the field means, without links, and what holds where it is left out.
fn description(table: &Table, field: &Field) -> String {
    let heading = format!("`[{}]`", table.heading);
    let section = REFERENCE.split("\n## ").find(|section| section.starts_with(&heading)).unwrap_or_default();
    let row = format!("| `{}` | {} | ", field.name, field.values);
    let cells = section.lines().find_map(|line| line.strip_prefix(&row)?.split_once(" | "));
    let meaning = cells.map_or(field.values, |(_, meaning)| meaning.trim_end_matches(" |"));
    let unless = if field.default.is_empty() {
        String::new()
    } else {
        format!("\n\nUnless written: {}", field.default)
    };
    without_links(meaning) + &unless
}

/// `see [nat.md](nat.md)` as `see nat.md`.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("](") {
        let Some((_, after)) = link.split_once(')') else { break };
        let (left, shown) = before.rsplit_once('[').unwrap_or((before, ""));
        plain.push_str(left);
        plain.push_str(shown);
        rest = after;
    }
    plain + rest
}

/// The default, where it is a value and not a sentence.
fn default(field: &Field) -> Option<Value> {
    serde_json::from_str(field.default).ok().filter(|value: &Value| !value.is_object())
}
