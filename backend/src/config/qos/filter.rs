//! `[[qos.NAME.filter]]`: which class a frame belongs to.

use std::collections::BTreeSet;

use viaduct_switch::meter::Dscp;
use viaduct_switch::qos::plan::FILTERS_MAX;
use viaduct_switch::qos::{ClassIndex, FilterPlan, Match};
use viaduct_switch::security::{GroupIndex, Prefix};

use super::marking::mark;
use crate::config::compile::Numbered;
use crate::config::groups::{PORTS, PREFIX, of_prefix, port_range, protocol};
use crate::config::names::reference;
use crate::config::reader::TableReader;
use crate::config::{schema, values};

const FILTERS: &str = "a list of tables, like [{ source = \"10.0.0.0/8\", class = \"web\" }]";

/// A filter, with what it wants by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    wants: Match,
    network: Option<String>,
    port: Option<String>,
    group: Option<String>,
    class: ClassIndex,
}

impl Filter {
    /// The class of what it matches.
    pub(crate) fn class(&self) -> ClassIndex {
        self.class
    }

    /// The mark that it wants.
    pub(super) fn mark(&self) -> Option<u16> {
        self.wants.mark
    }

    /// Whether it wants nothing.
    pub(super) fn matches_all(&self) -> bool {
        let Self { wants, network, port, group, .. } = self;
        *wants == Match::default() && network.is_none() && port.is_none() && group.is_none()
    }

    /// The filter with numbers for names; `None` if one has no number.
    pub(super) fn resolve(
        &self,
        numbers: &impl Numbered,
        group: impl Fn(&str) -> Option<GroupIndex>,
    ) -> Option<FilterPlan> {
        let mut wants = self.wants;
        if let Some(name) = &self.network {
            wants.network = Some(numbers.network(name)?);
        }
        if let Some(name) = &self.port {
            wants.port = Some(numbers.port(name)?);
        }
        if let Some(name) = &self.group {
            wants.group = Some(group(name)?);
        }
        Some(FilterPlan { wants, class: self.class })
    }
}

/// The names that filters may use.
pub(in crate::config) struct Known<'a> {
    pub(in crate::config) networks: &'a BTreeSet<&'a str>,
    /// Ports and uplinks.
    pub(in crate::config) ports: &'a BTreeSet<&'a str>,
    pub(in crate::config) groups: &'a BTreeSet<&'a str>,
}

/// The filters as far as they are right; what is wrong is noted. `class` reads the class of one.
pub(super) fn read(
    table: &TableReader<'_>,
    known: &Known<'_>,
    class: impl Fn(&TableReader<'_>) -> Option<ClassIndex>,
) -> Vec<Filter> {
    let tables = table.read_tables("filter", FILTERS);
    if tables.len() > FILTERS_MAX {
        table.note("filter", format!("{} filters", tables.len()), format!("at most {FILTERS_MAX}"));
        return Vec::new();
    }
    tables.iter().filter_map(|table| filter(table, known, &class)).collect()
}

fn filter(
    table: &TableReader<'_>,
    known: &Known<'_>,
    class: impl Fn(&TableReader<'_>) -> Option<ClassIndex>,
) -> Option<Filter> {
    table.check_fields(&schema::QOS_FILTER);
    if !table.has("class") {
        table.note("class", "nothing".to_owned(), "the class of what the filter matches".to_owned());
    }
    let wants = Match {
        source: prefix(table, "source"),
        destination: prefix(table, "destination"),
        protocol: protocol(table),
        source_ports: table.read("source_port", PORTS, port_range),
        destination_ports: table.read("destination_port", PORTS, port_range),
        dscp: dscp(table, "dscp").map(Dscp::get),
        mark: table.has("mark").then(|| mark(table, "mark")),
        ..Match::default()
    };
    check(table, &wants);
    Some(Filter {
        wants,
        network: reference(table, "network", "network", known.networks),
        port: reference(table, "port", "port", known.ports),
        group: reference(table, "group", "group", known.groups),
        class: class(table)?,
    })
}

/// Notes what no packet can be.
fn check(table: &TableReader<'_>, wants: &Match) {
    let ports = ["source_port", "destination_port"].into_iter().find(|field| table.has(field));
    if let (Some(field), Some(protocol)) = (ports, wants.protocol)
        && !protocol.has_ports()
    {
        let expected = "a `protocol` that has ports, like \"tcp\", or none: any that has them";
        table.note(field, format!("the field `{field}`"), expected.to_owned());
    }
    if let (Some(source), Some(destination)) = (wants.source, wants.destination)
        && source.family() != destination.family()
    {
        let expected = format!("a prefix of {}, as `source` is", source.family());
        table.note("destination", format!("\"{destination}\""), expected);
    }
}

fn prefix(table: &TableReader<'_>, field: &str) -> Option<Prefix> {
    let written = table.text(field).map(str::parse::<Prefix>);
    let expected = written.as_ref().and_then(|read| read.err()).map_or(PREFIX.to_owned(), of_prefix);
    table.read(field, &expected, |_| written.and_then(Result::ok))
}

/// A code point by its name or number.
pub(super) fn dscp(table: &TableReader<'_>, field: &str) -> Option<Dscp> {
    table.read(field, &viaduct_switch::meter::dscp::InvalidDscp.to_string(), |value| {
        let number = || values::number(value, 0..=Dscp::MAX).and_then(Dscp::new);
        values::text(value).map_or_else(number, |text| text.parse().ok())
    })
}
