//! `GET /v1/openapi.json`: the API as a document (OpenAPI 3.1), made of the list of operations and of the types of answers.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Refusal;
use super::configuration::TABLE_KINDS;
use super::operations::{Content, Operation, Word, operations};

/// An Ethernet address of one station.
pub(super) const MAC: &str = "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$";
/// A generation as in `ETag`, several, or any (RFC 9110, 13.1.1).
const GENERATION: &str = r#"^(\*|"[0-9]+"(, *"[0-9]+")*)$"#;

/// The document, which does not change while the process runs.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| whole().to_string());

/// The document.
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// Where the schemas of answers and of questions are made.
struct Schemas {
    /// What is told: every field is there unless it may be left out.
    told: SchemaGenerator,
    /// What may be asked, each schema whole: fields with a default may be left out.
    asked: SchemaGenerator,
}

/// The document as a value.
pub(super) fn whole() -> Value {
    let told = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .for_serialize();
    let asked =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).for_deserialize();
    let mut schemas = Schemas { told: told.into_generator(), asked: asked.into_generator() };
    let mut paths = Map::new();
    for operation in operations() {
        let place = paths.entry(operation.path).or_insert_with(|| json!({}));
        place[operation.method] = described(&operation, &mut schemas);
    }
    let refusal = schemas.told.subschema_for::<Refusal>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Viaduct",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A virtual switch. Served on the Unix socket runtime_dir/api.sock; docs/api.md has more.",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "responses": {
                "Refusal": { "description": "Refused", "content": { "application/json": { "schema": refusal } } },
            },
            "schemas": schemas.told.take_definitions(true),
        },
    })
}

fn described(operation: &Operation, schemas: &mut Schemas) -> Value {
    let named = operation.path.contains("{name}");
    let name = named.then(|| parameter("path", &("name", "string", "The name in the file")));
    let mac = operation.path.contains("{mac}");
    let mac = mac.then(|| parameter("path", &("mac", "string", "The station's Ethernet address")));
    let guard = ("If-Match", "string", "Only if this generation runs, as in `ETag`");
    let guard = operation.is_change().then(|| parameter("header", &guard));
    let query = operation.query.iter().map(|word| parameter("query", word));
    let parameters: Vec<Value> = name.into_iter().chain(mac).chain(guard).chain(query).collect();
    let mut described = json!({
        "operationId": id(operation),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done", "content": content(operation.answer, &mut schemas.told) },
            "default": { "$ref": "#/components/responses/Refusal" },
        },
    });
    if let Some(body) = operation.body {
        described["requestBody"] = json!({ "required": true, "content": content(body, &mut schemas.asked) });
    }
    described
}

/// A name for programs: `get_ports_name`.
fn id(operation: &Operation) -> String {
    let words = operation
        .path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !matches!(*word, "" | "v1" | "json"));
    std::iter::once(operation.method).chain(words).collect::<Vec<_>>().join("_")
}

fn parameter(place: &str, (name, kind, meaning): &Word) -> Value {
    json!({
        "name": name,
        "in": place,
        "required": place == "path",
        "description": meaning,
        "schema": values(name, kind, meaning),
    })
}

/// What values a word of a query, a path or a head takes: of a number its range, as its meaning tells it (`how many: 1 to 1000`).
fn values(name: &str, kind: &str, meaning: &str) -> Value {
    let mut values = json!({ "type": kind });
    let range = meaning.split([' ', ',', ':']).collect::<Vec<_>>();
    let range =
        range.windows(3).find(|words| words[1] == "to").map(|words| (words[0].parse(), words[2].parse()));
    match (name, kind, range) {
        (_, "integer", Some((Ok::<u64, _>(least), Ok::<u64, _>(most)))) => {
            values["minimum"] = least.into();
            values["maximum"] = most.into();
        }
        ("from", "integer", _) => {
            values["minimum"] = 0.into();
            values["maximum"] = u32::MAX.into();
        }
        (_, "integer", _) => values["minimum"] = 0.into(),
        ("mac", ..) => values["pattern"] = MAC.into(),
        ("from", "string", _) if meaning.contains("Ethernet") => values["pattern"] = MAC.into(),
        ("from", "string", _) if meaning.contains("NETWORK/ADDRESS") => {
            values["pattern"] = "^[A-Za-z0-9][A-Za-z0-9_.-]*/[0-9a-f.:]+$".into();
        }
        ("from", "string", _) => values["pattern"] = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$".into(),
        ("table", ..) => {
            values["pattern"] =
                format!("^({})[.][A-Za-z0-9][A-Za-z0-9_.-]{{0,62}}$", TABLE_KINDS.join("|")).into();
        }
        ("If-Match", ..) => values["pattern"] = GENERATION.into(),
        _ => {}
    }
    values
}

fn content(content: Content, generator: &mut SchemaGenerator) -> Value {
    match content {
        Content::Json(describe) => json!({ "application/json": { "schema": describe(generator) } }),
        Content::Lines(describe) => json!({ "application/x-ndjson": { "schema": describe(generator) } }),
        Content::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        // OpenAPI 3.1.0, 4.8.14.2: bytes have no schema.
        Content::Bytes(kind) => json!({ kind: {} }),
    }
}
