//! Every error that the program can tell is produced by a test, or is named here with what is in the way: so that a new one without a
//! test fails.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Errors that hand another one's words on, and are tested as that.
const HANDED_ON: &[&str] = &[
    "ApplyError::ControlGone",
    "ApplyError::Nat",
    "ApplyError::Routing",
    "ApplyError::Tunnels",
    "ChangesError::Compose",
    "DeviceError::Memory",
    "DeviceError::Ring",
    "Malformed::Datagram",
    "Malformed::Packet",
    "Refusal::Device",
    "Refusal::File",
    "Refusal::Handler",
    "RelayError::Malformed",
    "RelayError::Refused",
    "RunError::Apply",
    "SessionEnd::Form",
    "SessionEnd::Receive",
    "SettingsError::Parameter",
    "StationError::ControlGone",
    "TakeoverError::Here",
    "TraceError::ControlGone",
    "TraceError::Unknown",
];

/// What the system or a peer has to do for it is not had in tests: a call that fails halfway, a device or a process that breaks.
const OF_THE_SYSTEM: &[&str] = &[
    "BenchError::Changed",
    "BenchError::Interrupted",
    "BenchError::Meet",
    "BenchError::Refused",
    "BenchError::System",
    "ConsoleError::Listen",
    "ConsoleError::Start",
    "DeviceError::LongFrames",
    "DeviceError::Namespace",
    "DeviceError::NotEthernet",
    "DeviceError::Refused",
    "FilterError::Library",
    "MemoryError::Examine",
    "MemoryError::Map",
    "ReceiveError::Socket",
    "RelayError::Socket",
    "RunError::Events",
    "SessionEnd::Socket",
    "SocketError::System",
];

/// Words of a message that have to be in a test where its name is not.
const WORDS: usize = 3;
const WORDS_BYTES: usize = 12;

/// Files and folders of tests within the program's own, and how a module of tests begins.
const TEST_NAMES: [&str; 4] = ["tests", "tests.rs", "oracle", "oracle.rs"];
const TEST_MODULES: [&str; 3] = [
    "#[cfg(test)]\nmod tests {",
    "#[cfg(test)]\npub(super) mod tests {",
    "#[cfg(test)]\npub(crate) mod tests {",
];

/// A variant of an error, as `Enum::Variant`, and the words in which it is told.
struct Variant {
    name: String,
    file: PathBuf,
    text: String,
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The variants of enums that are errors (thiserror).
fn variants(file: &Path, text: &str) -> Vec<Variant> {
    let (mut found, mut derived, mut inside, mut message) = (Vec::new(), false, None, None::<String>);
    for line in text.lines() {
        let word = line.trim_start();
        if line.starts_with("#[derive(") {
            derived = line.contains("Error");
        } else if let Some((_, rest)) = line.split_once("enum ").filter(|_| derived && !line.starts_with(' '))
        {
            inside = rest.split([' ', '<', '{']).next().map(str::to_owned);
        } else if line == "}" {
            (derived, inside) = (false, None);
        }
        let Some(name) = &inside else { continue };
        if word.starts_with("#[error(") {
            message = Some(String::new());
        }
        if let Some(text) = &mut message {
            let ident =
                line.strip_prefix("    ").filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
            if let Some(ident) = ident {
                let variant = ident.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
                let (name, text) = (format!("{name}::{variant}"), std::mem::take(text));
                found.push(Variant { name, file: file.to_owned(), text });
                message = None;
            } else {
                text.push_str(word.trim_end_matches('\\'));
            }
        }
    }
    found
}

/// Pieces of a message that stand in it as they are.
fn pieces(text: &str) -> Vec<String> {
    let literals = text.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
    let mut pieces = vec![String::new()];
    let mut depth = 0;
    for c in literals.chars() {
        match c {
            '{' => (depth += 1, pieces.push(String::new())).0,
            '}' => depth -= 1,
            '`' | '\\' => pieces.push(String::new()),
            c if depth == 0 => pieces.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    pieces
}

fn is_tested(variant: &Variant, tests: &str) -> bool {
    let are_there = |piece: &String| {
        let words: Vec<&str> = piece.split_whitespace().collect();
        words.windows(WORDS).any(|some| {
            let some = some.join(" ");
            let some = some.trim_matches([' ', ',', ';', ':', '.', '(', ')']);
            some.len() >= WORDS_BYTES && tests.contains(some)
        })
    };
    tests.contains(&variant.name) || pieces(&variant.text).iter().any(are_there)
}

/// The texts of all tests, and the variants of all errors of the program.
fn read() -> (String, Vec<Variant>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut tests, mut all) = (String::new(), Vec::new());
    let mut files = Vec::new();
    for folder in ["backend/src", "switch/src", "switch/tests", "qemu/src", "tests/src", "tests/tests"] {
        sources(&root.join(folder), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(root).unwrap();
        if path.file_name().is_some_and(|name| name == "error_catalogue.rs") {
            continue;
        }
        let is_test = path.starts_with("tests")
            || path.components().any(|part| TEST_NAMES.iter().any(|name| part.as_os_str() == *name));
        let inner = TEST_MODULES.iter().find_map(|begin| text.split_once(begin));
        let (code, own) = match inner {
            _ if is_test => ("", text.as_str()),
            Some(parts) => parts,
            None => (text.as_str(), ""),
        };
        // What is said about a test proves nothing.
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        own.lines().filter(is_code).for_each(|line| tests.extend([line, "\n"]));
        all.extend(variants(path, code));
    }
    (tests, all)
}

#[test]
fn every_error_is_produced_by_a_test_or_named_here() {
    let (tests, all) = read();
    assert!(all.len() > 280, "only {} errors were found: the scan is wrong", all.len());
    let listed: BTreeSet<&str> = HANDED_ON.iter().chain(OF_THE_SYSTEM).copied().collect();
    let untested: BTreeSet<&str> =
        all.iter().filter(|it| !is_tested(it, &tests)).map(|it| it.name.as_str()).collect();
    let is_new = |it: &&Variant| untested.contains(it.name.as_str()) && !listed.contains(it.name.as_str());
    let words = |it: &Variant| format!("{} of {}: {}", it.name, it.file.display(), it.text);
    let new: Vec<String> = all.iter().filter(is_new).map(words).collect();
    assert!(new.is_empty(), "no test produces these errors: {new:#?}");
    let tested: Vec<_> = listed.iter().filter(|name| !untested.contains(**name)).collect();
    assert!(
        tested.is_empty(),
        "these are produced by a test now, or gone; take them off the lists: {tested:?}"
    );
    println!("{} errors, {} of them on the lists", all.len(), listed.len());
}
