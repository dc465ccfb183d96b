//! `trust`, `set`, `map` and `mark` of `[qos.NAME]`: what becomes of the DSCP and the priority of frames that enter.

use viaduct_switch::marking::{Marking, Trust};
use viaduct_switch::meter::Dscp;

use super::filter::dscp;
use crate::config::membership::{PRIORITY, code_point};
use crate::config::reader::TableReader;
use crate::config::{schema, values};

const MARK: &str = "a number from 1 to 65535";

/// Fields that mark.
pub(super) const FIELDS: [&str; 4] = ["trust", "set", "map", "mark"];

/// The marking of a QoS as far as it is right, if it has one; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>) -> Option<Marking> {
    if !FIELDS.iter().any(|field| table.has(field)) {
        return None;
    }
    const WORDS: &[(&str, Trust)] =
        &[("both", Trust::Both), ("dscp", Trust::Dscp), ("pcp", Trust::Priority), ("none", Trust::None)];
    let trust = table.read_word("trust", WORDS, &[]).unwrap_or_default();
    let mut marking = Marking { trust, mark: mark(table, "mark"), ..Marking::default() };
    if let Some(set) = table.table("set") {
        read_set(&set, &mut marking);
    }
    if let Some(map) = table.table("map") {
        read_map(&map, &mut marking);
    }
    Some(marking)
}

/// What filters know frames by; 0: nothing.
pub(super) fn mark(table: &TableReader<'_>, field: &str) -> u16 {
    table.read(field, MARK, |value| values::number(value, 1..=u16::MAX)).unwrap_or(0)
}

fn read_set(table: &TableReader<'_>, marking: &mut Marking) {
    table.check_fields(&schema::QOS_SET);
    if table.len() == 0 {
        table.note_self("an empty table".to_owned(), "a `dscp`, a `pcp`, or both".to_owned());
    }
    marking.dscp = dscp(table, "dscp");
    marking.priority = code_point(table, "pcp");
    let trusted = match marking.trust {
        Trust::Dscp => "dscp",
        Trust::Priority => "pcp",
        Trust::Both | Trust::None => return,
    };
    if table.has(trusted) {
        let expected = format!("another `trust`, or no `{trusted}`: what is believed is not written anew");
        table.note(trusted, format!("the field `{trusted}` beside trust = \"{trusted}\""), expected);
    }
}

fn read_map(table: &TableReader<'_>, marking: &mut Marking) {
    table.check_fields(&schema::QOS_MAP);
    for (field, trust, trusted) in [("dscp", Trust::Dscp, "dscp"), ("pcp", Trust::Priority, "pcp")] {
        if table.has(field) && marking.trust != trust {
            table.note(field, format!("the field `{field}`"), format!("trust = \"{trusted}\" beside `map`"));
        }
    }
    if let Some(map) = table.table("dscp") {
        read_priorities(&map, marking);
    }
    if let Some(map) = table.table("pcp") {
        read_code_points(&map, marking);
    }
}

/// Priorities by DSCP.
fn read_priorities(map: &TableReader<'_>, marking: &mut Marking) {
    for name in map.fields() {
        let priority = code_point(map, name);
        match name.parse::<Dscp>() {
            Ok(dscp) => {
                let place = marking.priority_of.get_mut(usize::from(dscp.get()));
                if let Some((place, priority)) = place.zip(priority) {
                    *place = priority;
                }
            }
            Err(error) => map.note(name, format!("`{name}`"), error.to_string()),
        }
    }
}

/// Code points of DSCP by priority.
fn read_code_points(map: &TableReader<'_>, marking: &mut Marking) {
    for name in map.fields() {
        let dscp = dscp(map, name);
        match name.parse::<usize>().ok().and_then(|number| marking.dscp_of.get_mut(number)) {
            Some(place) => *place = dscp.unwrap_or(*place),
            None => map.note(name, format!("`{name}`"), PRIORITY.to_owned()),
        }
    }
}

/// In one line, for people: `trust none, set dscp af41 pcp 4, mark 7`.
pub(crate) fn written(marking: &Marking) -> String {
    let default = Marking::default();
    let mut words = vec![format!("trust {}", marking.trust)];
    let dscp = marking.dscp.map(|dscp| format!(" dscp {dscp}"));
    let priority = marking.priority.map(|priority| format!(" pcp {}", priority.code_point()));
    if dscp.is_some() || priority.is_some() {
        words.push(format!("set{}{}", dscp.unwrap_or_default(), priority.unwrap_or_default()));
    }
    for (number, dscp) in marking.dscp_of.iter().enumerate().filter(|(at, to)| default.dscp_of[*at] != **to) {
        words.push(format!("pcp {number} to dscp {dscp}"));
    }
    for (number, priority) in
        (0..).zip(&marking.priority_of).filter(|(at, to)| default.priority_of[usize::from(*at)] != **to)
    {
        let dscp = Dscp::new(number).unwrap_or_default();
        words.push(format!("dscp {dscp} to pcp {}", priority.code_point()));
    }
    if marking.mark != 0 {
        words.push(format!("mark {}", marking.mark));
    }
    words.join(", ")
}
