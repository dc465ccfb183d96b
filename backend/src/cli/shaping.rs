//! `viaduct show qos`: what the trees of queues before ports do.

use super::table::{Align, Table};
use super::units;
use crate::model::{ShapingClassStatus, ShapingStatus};

/// Each tree with a line for each class.
pub(super) fn shaping_text(trees: &[ShapingStatus], colour: bool) -> String {
    let texts: Vec<String> = trees.iter().map(|tree| one_tree(tree, colour)).collect();
    texts.join("\n")
}

fn one_tree(tree: &ShapingStatus, colour: bool) -> String {
    let ports = if tree.ports.is_empty() { "no port".to_owned() } else { tree.ports.join(", ") };
    format!(
        "{}, before {ports}\n{}{}",
        tree.qos,
        traffic_table(&tree.classes).render(colour),
        fate_table(&tree.classes).render(colour)
    )
}

/// What the classes may send, and do.
fn traffic_table(classes: &[ShapingClassStatus]) -> Table {
    let mut table = Table::new(&[
        ("CLASS", Align::Left),
        ("IN", Align::Left),
        ("RATE", Align::Right),
        ("CEIL", Align::Right),
        ("NOW", Align::Right),
        ("SENT", Align::Right),
        ("BYTES", Align::Right),
    ]);
    let limit = |bits: Option<u64>| bits.map_or_else(|| "-".to_owned(), units::bit_rate);
    for class in classes {
        table.row([
            class.name.as_str().into(),
            class.parent.as_deref().unwrap_or("-").into(),
            limit(class.rate_bits).into(),
            limit(class.ceil_bits).into(),
            units::bit_rate(class.bits_per_second).into(),
            units::count(class.sent_frames).into(),
            units::bytes(class.sent_bytes).into(),
        ]);
    }
    table
}

/// What waits, and what became of what waited.
fn fate_table(classes: &[ShapingClassStatus]) -> Table {
    let mut table = Table::new(&[
        ("CLASS", Align::Left),
        ("WAITING", Align::Right),
        ("BYTES", Align::Right),
        ("DROPPED", Align::Right),
        ("MARKED", Align::Right),
        ("OVERLIMITS", Align::Right),
        ("BORROWED", Align::Right),
        ("LENT", Align::Right),
    ]);
    for class in classes {
        table.row([
            class.name.as_str().into(),
            units::count(class.backlog_frames).into(),
            units::bytes(class.backlog_bytes).into(),
            units::count(class.dropped).into(),
            units::count(class.marked).into(),
            units::count(class.overlimits).into(),
            units::bytes(class.borrowed_bytes).into(),
            units::bytes(class.lent_bytes).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_told_with_its_ports_and_all_numbers_of_its_classes() {
        let class = |name: &str, parent: Option<&str>| ShapingClassStatus {
            name: name.to_owned(),
            parent: parent.map(str::to_owned),
            rate_bits: Some(30_000_000),
            ceil_bits: Some(100_000_000),
            bits_per_second: 29_900_000,
            sent_frames: 1_234,
            sent_bytes: 1_900_000,
            backlog_frames: 5,
            backlog_bytes: 7_570,
            dropped: 11,
            overlimits: 22,
            marked: 33,
            borrowed_bytes: 44_000,
            lent_bytes: 55_000,
        };
        let classes = vec![class("root", None), class("web", None), class("images", Some("web"))];
        let ports = vec!["vm1".to_owned(), "wan".to_owned()];
        let tree = ShapingStatus { qos: "shared".to_owned(), shared: true, ports, classes };
        let text = shaping_text(&[tree], false);
        assert!(text.starts_with("shared, before vm1, wan\n"), "{text}");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("images")).collect();
        for part in ["web", "30.0 Mbit/s", "100 Mbit/s", "29.9 Mbit/s", "1.23k", "1.90 MB"] {
            assert!(rows[0].contains(part), "{part} in {}", rows[0]);
        }
        for part in ["5", "7.57 kB", "11", "33", "22", "44.0 kB", "55.0 kB"] {
            assert!(rows[1].contains(part), "{part} in {}", rows[1]);
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
