//! The words in which the reference says what values a field takes, as schemas.

use serde_json::{Value, json};

/// A name that users give.
pub(super) const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$";

const V4: &str = r"[0-9]{1,3}(\.[0-9]{1,3}){3}";
const V6: &str = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*";

/// What the words mean; `None` if nobody said so yet.
pub(super) fn values(words: &str) -> Option<Value> {
    let readings = [chosen, number, measured, list, text, address, either];
    readings.iter().find_map(|reading| reading(words))
}

fn pattern(expression: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^({expression})$") })
}

/// `"one", "two"`, and `true, false`.
fn chosen(words: &str) -> Option<Value> {
    if matches!(words, "true, false" | "true or false") {
        return Some(json!({ "type": "boolean" }));
    }
    let word = |word: &str| {
        word.strip_prefix('"')?.strip_suffix('"').filter(|word| !word.contains('"')).map(str::to_owned)
    };
    let all: Vec<String> = words.split(", ").map(word).collect::<Option<_>>()?;
    Some(json!({ "enum": all }))
}

/// `a number from 1 to 4094`, `a multiple of 16 from 0 to 240`.
fn number(words: &str) -> Option<Value> {
    let (kind, range) = words.split_once(" from ")?;
    let (least, most) = range.split_once(" to ")?;
    let (least, most): (i64, i64) = (least.parse().ok()?, most.parse().ok()?);
    let mut schema = json!({ "type": "integer", "minimum": least, "maximum": most });
    match kind {
        "a number" | "a VLAN id" => {}
        _ => schema["multipleOf"] = kind.strip_prefix("a multiple of ")?.parse::<i64>().ok()?.into(),
    }
    Some(schema)
}

/// Numbers with a unit.
fn measured(words: &str) -> Option<Value> {
    let units = [
        ("a duration ", "[0-9]+(ms|s|m|h|d)"),
        ("bits a second", "[0-9]+[kmg]?bit"),
        ("bytes ", "[0-9]+(B|KiB|MiB|GiB)"),
        ("frames a second", "[0-9]+[kmg]?pps|unlimited"),
        ("packets a second", "[0-9]+[kmg]?pps|unlimited"),
        ("connections a second", "[0-9]+[kmg]?cps|unlimited"),
    ];
    units.iter().find(|(unit, _)| words.starts_with(unit)).map(|(_, expression)| pattern(expression))
}

/// `a list of` anything that has a word of its own, and how many.
fn list(words: &str) -> Option<Value> {
    let of = words.strip_prefix("a list of ")?;
    let (items, least, most) = match of {
        "1 to 8 subnets" => ("a prefix of either version", 1, 8),
        "16 numbers" => ("a number from 0 to 15", 16, 16),
        "processor numbers" => ("a number from 0 to 65535", 1, 65_536),
        "IP addresses" | "addresses" => ("an IP address", 0, 65_536),
        "IPv4 addresses" => ("an IPv4 address", 0, 65_536),
        "IPv6 addresses" => ("an IPv6 address", 0, 65_536),
        "domains" => ("a domain's name", 0, 65_536),
        "ports" => ("a published port", 0, 64),
        "prefixes and IP addresses" => ("a prefix or an IP address", 0, 65_536),
        "interfaces' names" => ("an interface's name", 1, 16),
        "networks' names or patterns" => ("a name or a pattern", 0, 65_536),
        "groups' names" | "networks' names" | "uplinks' names" => ("a name", 0, 65_536),
        words => (words, 0, 65_536),
    };
    Some(json!({ "type": "array", "items": values(items)?, "minItems": least, "maxItems": most }))
}

/// Texts.
fn text(words: &str) -> Option<Value> {
    let long = |most: u32| json!({ "type": "string", "minLength": 1, "maxLength": most });
    Some(match words {
        "an interface's name" | "one of the interfaces' names" => pattern(r"[^/:\s]{1,15}"),
        "a domain's name" => pattern(r"[A-Za-z0-9_.-]{1,255}"),
        "a class's name" | "a name" => json!({ "type": "string", "pattern": NAME }),
        "a name or a pattern" => pattern(r"[A-Za-z0-9_.*-]+"),
        "a group of this machine" => long(255),
        "octal permissions as a text" => pattern("0?[0-7]{3}"),
        "an address and a port" => pattern(".+:[0-9]+"),
        "\"unix:\" and a path, or an address and a port" => pattern("unix:/.+|.+:[0-9]+"),
        "a range of ports" => pattern("[0-9]+(-[0-9]+)?"),
        "a published port" => pattern(&format!("({V4}:)?[0-9]+(-[0-9]+)?:[0-9]+(-[0-9]+)?(/(tcp|udp))?")),
        words if words.starts_with("an absolute path") => pattern("/.*"),
        words if words.ends_with("'s name") => json!({ "type": "string", "pattern": NAME }),
        words => {
            let bytes = words.split_once(" of at most ")?.1.strip_suffix(" bytes")?;
            long(bytes.parse().ok()?)
        }
    })
}

/// Addresses, prefixes and ranges of them.
fn address(words: &str) -> Option<Value> {
    let expression = match words {
        "an Ethernet address" => "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}".to_owned(),
        "an IP address" | "a multicast address" => format!("{V4}|{V6}"),
        "an IPv4 address" => V4.to_owned(),
        "an IPv6 address" => V6.to_owned(),
        "a prefix of either version" => format!("({V4}|{V6})/[0-9]{{1,3}}"),
        "a prefix of IPv4" => format!("{V4}(/[0-9]{{1,2}})?"),
        "a prefix of IPv6" => format!("{V6}(/[0-9]{{1,3}})?"),
        "a prefix" | "a prefix or an IP address" | "an IP address or a prefix" => {
            format!("({V4}|{V6})(/[0-9]{{1,3}})?")
        }
        "a range of IPv4 addresses, or \"none\"" => format!("{V4}(-{V4})?|none"),
        "a range of IPv6 addresses, or \"none\"" => format!("{V6}(-{V6})?|none"),
        _ => return None,
    };
    Some(pattern(&expression))
}

/// One of several kinds of values.
fn either(words: &str) -> Option<Value> {
    let one_or_list = |one: Value, most: u32| json!({ "anyOf": [one, { "type": "array", "items": one, "maxItems": most }] });
    let address = |words: &str| self::address(words).unwrap_or_default();
    let tabled = |values: Value| json!({ "type": "object", "additionalProperties": values });
    let byte = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
    let port = json!({ "type": "integer", "minimum": 0, "maximum": 65_535 });
    let words_or = |number: Value| json!({ "anyOf": [number, { "type": "string", "minLength": 1 }] });
    Some(match words {
        "a name or a number from 0 to 255" => words_or(byte),
        "a DSCP's name, or a number from 0 to 63" => words_or(number("a number from 0 to 63")?),
        "a port or a range" => json!({ "anyOf": [port, pattern("[0-9]+(-[0-9]+)?")] }),
        "a name, an absolute path or a process's number" => {
            words_or(json!({ "type": "integer", "minimum": 1 }))
        }
        "an IP address, or a list of them" => one_or_list(address("an IP address"), 65_536),
        "an IPv4 address, or a list of them" => one_or_list(address("an IPv4 address"), 64),
        "an IPv4 address, a range of them, a list of both, \"masquerade\" or \"keep\"" => {
            let pool = pattern(&format!("{V4}(-{V4})?"));
            let pools = json!({ "type": "array", "items": pool, "minItems": 1, "maxItems": 256 });
            json!({ "anyOf": [pattern(&format!("{V4}(-{V4})?|masquerade|keep")), pools] })
        }
        "an address, or one of each version of IP" => one_or_list(address("an IP address"), 2),
        "addresses with a prefix length, or \"dhcp\"" => {
            one_or_list(pattern(&format!("({V4}|{V6})/[0-9]{{1,3}}|dhcp")), 16)
        }
        "1 to 8 name servers" => one_or_list(json!({ "type": "string", "minLength": 2 }), 8),
        "a table of names and addresses" => tabled(one_or_list(address("an IP address"), 65_536)),
        "a table like { ef = 5, af41 = 4 }" => tabled(number("a number from 0 to 7")?),
        "a table like { 5 = \"ef\" }" => tabled(words_or(number("a number from 0 to 63")?)),
        _ => return None,
    })
}
