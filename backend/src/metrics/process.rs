//! The process and its API.

use std::collections::BTreeMap;
use std::fmt;

use super::book::Book;
use crate::model::Snapshot;

/// What the API itself did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApiFigures {
    /// Answers by listener (`unix`, `tcp`) and HTTP status.
    pub answers: BTreeMap<(&'static str, u16), u64>,
    /// Connections that are open, by listener.
    pub connections: BTreeMap<&'static str, u64>,
}

pub(super) fn write(book: &mut Book<'_>, snapshot: &Snapshot, api: &ApiFigures) -> fmt::Result {
    let version = [([("version", env!("CARGO_PKG_VERSION"))], 1_u64)];
    book.gauges(("build_info", "Always 1: the version that runs."), version)?;
    book.gauge(("uptime_seconds", "Seconds since the daemon started."), snapshot.uptime_s)?;
    book.gauge(
        ("configuration_generation", "The running configuration's number, from 1."),
        snapshot.generation,
    )?;
    book.counter(
        (
            "refused_system_calls",
            "System calls of this process that its sandbox refused: none, unless something is wrong.",
        ),
        crate::sandbox::refused_calls(),
    )?;
    let answers = api.answers.iter().map(|((listener, code), count)| {
        ([("listener", (*listener).to_owned()), ("code", code.to_string())], *count)
    });
    book.counters(("api_answers", "Answers of the API, by listener and HTTP status."), answers)?;
    let connections = api.connections.iter().map(|(listener, count)| ([("listener", *listener)], *count));
    book.gauges(("api_connections", "Connections of the API that are open."), connections)
}
