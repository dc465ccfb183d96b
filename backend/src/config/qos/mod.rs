//! `[qos.NAME]`: how much a port may send, and how what goes to it waits.

mod filter;
mod ingress;
mod queue;
mod tree;
mod units;

pub use filter::Filter;
pub(super) use filter::Known;
pub use ingress::Police;
pub use tree::Tree;

use super::reader::TableReader;
use super::schema;

/// `[qos.NAME]`: what ports and uplinks with this name are held to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Qos {
    /// What a port may send; `None`: any amount.
    pub ingress: Option<Police>,
    /// How what goes to a port waits; `None`: for the receiver only.
    pub tree: Option<Tree>,
}

/// The table as far as it is right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, known: &Known<'_>) -> Qos {
    table.check_fields(&schema::QOS);
    if table.len() == 0 {
        let expected =
            "what a port may send (`ingress`), how what goes to it waits (`egress`), or a tree (`kind`)";
        table.note_self("an empty table".to_owned(), expected.to_owned());
    }
    Qos { ingress: table.table("ingress").map(|table| ingress::read(&table)), tree: tree::read(table, known) }
}
