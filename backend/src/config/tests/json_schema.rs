//! What the JSON Schema takes and refuses, judged by python3-jsonschema beside the daemon's own reader.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::*;
use crate::config::json_schema;

/// Prints for each of `[schema, texts]`'s texts, as JSON, what is wrong with it, or null.
const JUDGE: &str = "import json, sys, tomllib\n\
    from jsonschema import Draft7Validator as Validator\n\
    schema, texts = json.load(sys.stdin)\n\
    Validator.check_schema(schema)\n\
    judge = Validator(schema)\n\
    def wrong(text):\n    \
    return next(('%s at %s' % (e.message, list(e.absolute_path)) for e in judge.iter_errors(tomllib.loads(text))), None)\n\
    print(json.dumps([wrong(text) for text in texts]))\n";

fn judged(judge: &str, texts: &[&str]) -> Vec<Option<String>> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", judge])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    child.stdin.take().unwrap().write_all(json!([json_schema(), texts]).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "python3-jsonschema: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The same of `name = value` lines, each of which must be right in some table, and of whole files.
const JUDGE_WRITTEN: &str = "import json, sys, tomllib\n\
    from jsonschema import Draft7Validator as Validator\n\
    schema, texts = json.load(sys.stdin)\n\
    judge = Validator(schema)\n\
    tables = schema['definitions'].values()\n\
    def fits(name, value):\n    \
    fields = [table['properties'][name] for table in tables if name in table['properties']]\n    \
    return any(Validator({**field, 'definitions': schema['definitions']}).is_valid(value) for field in fields)\n\
    def wrong(text):\n    \
    try: told = tomllib.loads(text)\n    \
    except tomllib.TOMLDecodeError as error: return str(error)\n    \
    fields = {name: value for name, value in told.items() if name not in schema['properties'] or not isinstance(value, dict)}\n    \
    unfit = [name for name, value in fields.items() if not fits(name, value)]\n    \
    whole = {name: value for name, value in told.items() if name not in fields}\n    \
    errors = [e for e in judge.iter_errors(whole) if e.validator != 'required']\n    \
    return '%s %s' % (unfit, [e.message for e in errors]) if unfit or errors else None\n\
    print(json.dumps([wrong(text) for text in texts]))\n";

fn tables(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["definitions"].as_object().unwrap().iter()
}

#[test]
fn every_field_says_what_it_takes_and_what_it_means() {
    let schema = json_schema();
    for table in &schema::TABLES[1..] {
        for name in table.names_now() {
            let field = &schema["definitions"][table.heading]["properties"][name];
            let says = ["type", "enum", "anyOf", "allOf"].iter().any(|word| field.get(word).is_some());
            assert!(
                says,
                "{}.{name}: nobody said what its values are as a schema (json_schema/words.rs)",
                table.heading
            );
            let values = table.field(name).unwrap().values;
            let meaning = field["description"].as_str().unwrap();
            assert!(
                !meaning.starts_with(values) && !meaning.contains("]("),
                "{}.{name}: {meaning}",
                table.heading
            );
        }
    }
    let text = schema.to_string();
    for reference in text.split("#/definitions/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(tables(&schema).any(|(heading, _)| heading == reference), "{reference}");
    }
}

#[test]
fn every_example_is_right_by_the_schema() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let (names, texts): (Vec<PathBuf>, Vec<String>) =
        files.map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())).unzip();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (name, wrong) in names.iter().zip(judged(JUDGE, &texts)) {
        assert_eq!(wrong, None, "{}", name.display());
    }
    assert!(names.len() >= 16, "{names:?}");
}

/// One mistake for each kind of values, names and tables.
const MISTAKES: &[&str] = &[
    "[networks.lab]",
    "[network.'a b']",
    "[network.lab]\nagein = '10s'",
    "[network.lab]\nageing = 300",
    "[network.lab]\nageing = '5 min'",
    "[network.lab]\nvlan = 4095",
    "[network.lab]\nmode = 'bridge'",
    "[network.lab]\nstp_priority = 100",
    "[network.lab]\nqos = 'gold'",
    "[network.lab]\nsubnets = ['10.0.0.0']",
    "[network.lab]\nmetadata = '127.0.0.1'",
    "[network.lab]\ndhcp = { range = '10.0.0.0/24' }",
    "[network.lab]\ndhcp = { boot = { server = '10.0.0.5' } }",
    "[network.lab]\nnat = { ports = 'all' }",
    "[network.lab]\nsnat = [{ source = '10.0.0.0/24', to = 'somewhere' }]",
    "[network.lab]\nsnat = [{ source = '10.0.0.0/24', to = [] }]",
    "[network.lab]\nsnat = [{ source = '10.0.0.0/24', to = ['192.0.2.1', 'keep'] }]",
    "[network.lab]\noverlay = { kind = 'vxlan', vni = 1 }",
    "[[network.lab.static]]\nmac = '52:54:00:00:00:01'",
    "[port.a]\nmac = '52-54-00-00-00-01'",
    "[port.a]\naddresses = '10.0.0.1'",
    "[port.a]\naddresses = ['10.0.0.1/24']",
    "[port.a]\npublish = ['10080']",
    "[port.a]\nmtu = '1500'",
    "[port.a]\nsocket = 'vm1.sock'",
    "[port.a]\nstorm = { broadcast = 10000 }",
    "[uplink.u]\ninterface = 'longer-than-any-is'",
    "[uplink.u]\naddress = '192.0.2.1'",
    "[uplink.u]\nbond = { mode = 'lacp', rate = 'quick' }",
    "[group.web]\nrules = [{ protocol = 'tcp' }]",
    "[group.web]\nrules = [{ direction = 'in' }]",
    "[group.web]\nrules = [{ direction = 'ingress', ports = '80:90' }]",
    "[address_group.office]",
    "[router.r]",
    "[qos.gold]\ningress = { police = '50mbps' }",
    "[qos.gold]\negress = { rate = '80mbit' }",
    "[qos.gold]\negress = { kind = 'tbf' }",
    "[qos.gold]\nkind = 'htb'\nrate = '1mbit'",
    "[switch]\nsocket_mode = '0668'",
    "[switch]\ncpus = 0",
];

#[test]
fn a_mistake_of_one_field_is_one_by_the_schema() {
    for (text, wrong) in MISTAKES.iter().zip(judged(JUDGE, MISTAKES)) {
        assert!(wrong.is_some(), "{text}");
    }
    // Of those of the daemon's own list, too, but for what depends on other fields, on this machine, or on a range with units.
    let texts: Vec<&str> =
        WRONG.iter().map(|case| case.0).filter(|text| toml::de::DeTable::parse(text).is_ok()).collect();
    let found = judged(JUDGE, &texts).into_iter().flatten().count();
    assert!(found * 5 >= texts.len() * 3, "{found} of {}", texts.len());
}

/// Fragments too: what a page says of one field or table is right by itself.
#[test]
fn what_the_documentation_writes_is_right_by_the_schema() {
    let written = documents::written();
    let texts: Vec<&str> = written.iter().map(|(_, text)| text.as_str()).collect();
    let judged = judged(JUDGE_WRITTEN, &texts);
    let wrong: Vec<String> = written
        .iter()
        .zip(judged)
        .filter_map(|((page, text), wrong)| wrong.map(|wrong| format!("{page}: {wrong}\n{text}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(written.len() > 150, "{}", written.len());
}
