//! What is measured, as Prometheus reads it: text of one scrape, made of one moment's figures.
//!
//! Names are `viaduct_THING_WHAT_UNIT`, of the process `process_THING_UNIT`; counters end in `_total`; docs/metrics.md lists all. How many lines there are depends on
//! what the file declares, and on tables that are bounded; nothing that a guest sends makes a label.

mod book;
mod classic;
mod ports;
mod process;
mod qos;
mod tables;
#[cfg(test)]
mod tests;
mod usage;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::control::TableFigures;
use crate::model::Snapshot;
use book::Book;
pub use process::ApiFigures;
pub use usage::Usage;

/// Everything of which a scrape is made.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// The state.
    pub snapshot: Snapshot,
    /// The tables' counters.
    pub tables: TableFigures,
    /// What the API itself did.
    pub api: ApiFigures,
    /// What the process takes of its machine; `None`: the kernel does not tell.
    pub usage: Option<Usage>,
}

/// How a scrape is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    #[default]
    Classic,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What a client takes that sends this `Accept`: OpenMetrics if it names it.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let names = |part: &str| part.trim_start().starts_with("application/openmetrics-text");
        if accept.split(',').any(names) { Self::OpenMetrics } else { Self::Classic }
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The text of a scrape.
///
/// # Errors
/// Writing text into memory failed, which it does not.
pub fn render(measured: Measured, format: Format) -> Result<String, fmt::Error> {
    let mut process = Registry::with_prefix("process");
    process.register_collector(Box::new(Process(measured.usage)));
    let mut switch = Registry::with_prefix("viaduct");
    switch.register_collector(Box::new(Scrape(Arc::new(measured))));
    let mut open = String::new();
    text::encode_registry(&mut open, &process)?;
    text::encode(&mut open, &switch)?;
    Ok(match format {
        Format::OpenMetrics => open,
        Format::Classic => classic::of(&open),
    })
}

#[derive(Debug)]
struct Process(Option<Usage>);

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |usage| usage::write(&mut Book::new(encoder), &usage))
    }
}

#[derive(Debug)]
struct Scrape(Arc<Measured>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Measured { snapshot, tables, api, usage: _ } = &*self.0;
        let mut book = Book::new(encoder);
        process::write(&mut book, snapshot, api)?;
        ports::write(&mut book, snapshot)?;
        tables::write(&mut book, snapshot, tables)?;
        qos::write(&mut book, &snapshot.qos)
    }
}
