//! `[qos.NAME]`: how much a port may send, and how what goes to it waits.

mod advice;
mod filter;
mod ingress;
mod marking;
pub(crate) use marking::written as written_marking;
mod queue;
mod tree;
mod units;

pub(crate) use advice::{advice, users};
pub use filter::Filter;
pub(super) use filter::Known;
pub use ingress::Police;
pub(crate) use queue::name as queue_name;
pub use tree::Tree;
pub(crate) use units::written_rate;

use std::sync::Arc;

use viaduct_switch::marking::Marking;
use viaduct_switch::meter::Exceeding;

use super::cross::Placed;
use super::reader::TableReader;
use super::{Port, Uplink, schema};

/// `[qos.NAME]`: what ports and uplinks with this name are held to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Qos {
    /// What a port may send; `None`: any amount.
    pub ingress: Option<Police>,
    /// What becomes of the DSCP and the priority of what a port sends; `None`: they stay.
    pub marking: Option<Arc<Marking>>,
    /// How what goes to a port waits; `None`: for the receiver only.
    pub tree: Option<Tree>,
}

/// The table as far as it is right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, known: &Known<'_>) -> Qos {
    table.check_fields(&schema::QOS);
    if table.len() == 0 {
        let expected = "what a port may send (`ingress`), how what goes to it waits (`egress`), a tree (`kind`), or marks (`trust`)";
        table.note_self("an empty table".to_owned(), expected.to_owned());
    }
    Qos {
        ingress: table.table("ingress").map(|table| ingress::read(&table)),
        marking: marking::read(table).map(Arc::new),
        tree: tree::read(table, known),
    }
}

impl Qos {
    /// Whether what a port sends too fast stays in its ring.
    pub(crate) fn waits(&self) -> bool {
        self.ingress.is_some_and(|police| police.plan.exceeding == Exceeding::Waits)
    }
}

/// Notes ports and uplinks where nothing can wait: an interface has no ring that its kernel would stop at.
pub(super) fn check_waits(
    ports: &[Placed<'_, Port>],
    uplinks: &[Placed<'_, Uplink>],
    all: &[Placed<'_, Qos>],
) {
    let interfaces = ports.iter().filter(|placed| placed.value.vhost_user().is_none());
    let ports = interfaces.map(|placed| (&placed.table, &placed.value.qos));
    let uplinks = uplinks.iter().map(|placed| (&placed.table, &placed.value.qos));
    for (table, qos) in ports.chain(uplinks) {
        let Some(qos) = all.iter().find(|placed| Some(placed.name) == qos.as_deref()) else { continue };
        if qos.value.waits() {
            let expected = format!(
                "a QoS without exceed = \"wait\", which qos.{} (line {}) has: only a guest can be made to wait; \
                 what nobody reads from an interface its kernel drops",
                qos.name,
                qos.table.line("ingress")
            );
            table.note("qos", format!("\"{}\"", qos.name), expected);
        }
    }
}
