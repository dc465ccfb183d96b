//! What can be asked: the one list of which both the router and the OpenAPI document are made.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::routes::{self, Shared};
use super::{
    Applied, capture, configuration, connections, diagnosis, events, gateways, measures, openapi, ports,
    stations, tables, watch,
};
use crate::control::PortEdit;
use crate::model::{
    AddressGroupStatus, BondStatus, Cleared, ConnectionPage, Differences, EventLine, FdbPage, Fed,
    GroupStatus, Health, LeaseStatus, MulticastGroupStatus, NatStatus, NeighbourTables, NetworkStatus,
    PortStatus, QosStatus, RouteStatus, ServiceEventStatus, Snapshot, StationPage, StpStatus, Trace,
    TraceRequest, VtepTables, WatchLine, WorkerStatus,
};

/// How a type is written in a schema.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

fn describe<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A word of a query: its name, its JSON type, what it means.
pub(super) type Word = (&'static str, &'static str, &'static str);

/// What travels in a body.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// A JSON value.
    Json(Describe),
    /// Lines of JSON, until the client goes.
    Lines(Describe),
    /// Text of this media type.
    Text(&'static str),
    /// Bytes of this media type, until the client goes.
    Bytes(&'static str),
}

impl Content {
    fn json<T: JsonSchema>() -> Self {
        Self::Json(describe::<T>)
    }
}

/// One thing that can be asked.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Word],
    pub(super) body: Option<Content>,
    pub(super) answer: Content,
    handler: MethodRouter<Arc<Shared>>,
}

impl Operation {
    fn asks(self, query: &'static [Word]) -> Self {
        Self { query, ..self }
    }

    fn takes(self, body: Content) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Whether it changes the configuration, or a table that has a generation, so that `If-Match` guards it.
    pub(super) fn is_change(&self) -> bool {
        matches!(self.method, "put" | "patch")
            || (self.method != "get"
                && ["/stations", "/v1/ports/"].iter().any(|kind| self.path.contains(kind)))
    }
}

/// Reads JSON of type `T`.
fn read<T: JsonSchema>(
    path: &'static str,
    summary: &'static str,
    handler: MethodRouter<Arc<Shared>>,
) -> Operation {
    operation("get", path, summary, (Content::json::<T>(), handler))
}

fn operation(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    (answer, handler): (Content, MethodRouter<Arc<Shared>>),
) -> Operation {
    Operation { method, path, summary, query: &[], body: None, answer, handler }
}

const DRY_RUN_WORD: Word = ("dry_run", "boolean", "Change nothing, only tell what would change");
const DRY_RUN: &[Word] = &[DRY_RUN_WORD];

const TABLE: Word = (
    "table",
    "string",
    "Only what stands under this name: group.NAME, address_group.NAME or qos.NAME; the body is these lines",
);

const FROM: Word = ("from", "integer", "Where the page before ended (`next`)");
const LIMIT: Word = ("limit", "integer", "How many at most: 1 to 1000, 100 unless said");
const FDB_LIMIT: Word = ("limit", "integer", "How many at most: 1 to 10000, 1000 unless said");
const PAGE: &[Word] = &[FROM, LIMIT];
const PART_LIMIT: Word = ("limit", "integer", "How many at most: 1 to 10000, all unless said");
/// A part of a list of things with names.
const PART: &[Word] =
    &[("from", "string", "The first name that is wanted (`Link` of the page before)"), PART_LIMIT];

const NETWORK: Word = ("network", "string", "Of this network");
const PORT: Word = ("port", "string", "Opened at this port");
const AT_PORT: Word = ("port", "string", "At this port");
const ADDRESS: Word = ("address", "string", "To or from this address");
const PROTOCOL: Word = ("protocol", "string", "Of this protocol, by name or number");
const TRANSPORT_PORT: Word = ("transport_port", "string", "To or from this transport port");
const STATE: Word = ("state", "string", "In this state");
const ALL: Word = ("all", "boolean", "All connections");

/// Everything that can be asked.
pub(super) fn operations() -> Vec<Operation> {
    [observed(), state(), gateways_and_tunnels(), changes(), changes_of_fields(), fed()]
        .into_iter()
        .flatten()
        .collect()
}

fn observed() -> Vec<Operation> {
    vec![
        operation(
            "get",
            "/metrics",
            "What is measured, for Prometheus",
            (Content::Text("text/plain"), get(measures::metrics)),
        ),
        read::<Health>(
            "/v1/health",
            "Whether the control thread answers and all workers turn",
            get(measures::health),
        ),
        operation(
            "get",
            "/v1/openapi.json",
            "This document",
            (Content::json::<serde_json::Map<String, serde_json::Value>>(), get(openapi::document)),
        ),
        operation(
            "get",
            "/v1/events",
            "What happens, as it happens",
            (Content::Lines(describe::<EventLine>), get(events::events)),
        )
        .asks(&[
            ("from", "integer", "Begin with the event of this number; with those from now on unless said"),
            ("run", "integer", "The process whose number that is"),
        ]),
        operation(
            "post",
            "/v1/watch",
            "What becomes of frames as they come",
            (Content::Lines(describe::<WatchLine>), post(watch::watch)),
        )
        .takes(Content::json::<watch::Question>()),
        operation(
            "post",
            "/v1/capture",
            "Whole frames of ports with what became of them, as they come, as pcapng",
            (Content::Bytes(capture::MEDIA_TYPE), post(capture::capture)),
        )
        .takes(Content::json::<capture::Question>()),
        operation(
            "post",
            "/v1/trace",
            "What would become of a packet, or became of the next one; changes nothing",
            (Content::json::<Trace>(), post(diagnosis::trace)),
        )
        .takes(Content::json::<TraceRequest>()),
    ]
}

fn state() -> Vec<Operation> {
    vec![
        read::<Snapshot>(
            "/v1/status",
            "The state at one moment, but for the tables that have pages",
            get(routes::status),
        ),
        read::<Vec<PortStatus>>("/v1/ports", "All ports, uplinks among them", get(routes::ports)).asks(PART),
        read::<PortStatus>("/v1/ports/{name}", "One port", get(routes::port)),
        read::<Vec<PortStatus>>("/v1/uplinks", "The ports that are uplinks", get(routes::uplinks)),
        read::<PortStatus>("/v1/uplinks/{name}", "One uplink", get(routes::uplink)),
        read::<Vec<NetworkStatus>>("/v1/networks", "All networks", get(routes::networks)).asks(PART),
        read::<FdbPage>("/v1/fdb", "A page of the learned addresses", get(connections::fdb))
            .asks(&[NETWORK, AT_PORT, FROM, FDB_LIMIT]),
        read::<Vec<GroupStatus>>("/v1/groups", "Security groups", get(routes::groups)),
        read::<GroupStatus>("/v1/groups/{name}", "One security group", get(routes::group)),
        read::<Vec<AddressGroupStatus>>("/v1/address_groups", "Address groups", get(routes::address_groups)),
        read::<Vec<MulticastGroupStatus>>(
            "/v1/multicast",
            "Multicast groups and routers",
            get(routes::multicast),
        ),
        read::<Vec<StpStatus>>("/v1/stp", "Spanning trees", get(routes::stp)),
        read::<Vec<BondStatus>>("/v1/bonds", "The uplinks that are bonds", get(routes::bonds)),
        read::<QosStatus>("/v1/qos", "Meters, and trees of queues", get(routes::qos)),
        read::<Vec<WorkerStatus>>("/v1/workers", "The data path's workers", get(routes::workers)),
    ]
}

fn gateways_and_tunnels() -> Vec<Operation> {
    vec![
        read::<NeighbourTables>(
            "/v1/neighbours",
            "Stations of gateways, and LLDP",
            get(gateways::neighbours),
        ),
        read::<Vec<RouteStatus>>("/v1/routes", "The ways that routed packets go", get(gateways::routes)),
        read::<NatStatus>("/v1/nat", "What translates addresses, and a page of mappings", get(gateways::nat))
            .asks(PAGE),
        read::<VtepTables>("/v1/vteps", "The other ends of tunnels", get(gateways::vteps)),
        read::<Vec<LeaseStatus>>("/v1/leases", "The addresses that are lent", get(gateways::leases))
            .asks(&[("from", "string", "Where the page before ended (`Link`): NETWORK/ADDRESS"), PART_LIMIT]),
        read::<Vec<ServiceEventStatus>>(
            "/v1/services",
            "What happened at servers of gateways",
            get(gateways::services),
        ),
        read::<ConnectionPage>("/v1/connections", "A page of tracked connections", get(connections::list))
            .asks(&[NETWORK, PORT, ADDRESS, PROTOCOL, TRANSPORT_PORT, STATE, FROM, LIMIT]),
    ]
}

fn changes() -> Vec<Operation> {
    let of = Content::json::<Applied>;
    vec![
        operation(
            "get",
            "/v1/config",
            "What runs, as the text of a file",
            (Content::Text("application/toml"), get(configuration::running)),
        )
        .asks(&[TABLE]),
        read::<Differences>(
            "/v1/changes",
            "How what runs differs from the file",
            get(configuration::changes),
        ),
        operation(
            "put",
            "/v1/config",
            "Makes the daemon match the file in the body, all or nothing",
            (of(), put(configuration::replace)),
        )
        .asks(&[DRY_RUN_WORD, TABLE])
        .takes(Content::Text("application/toml")),
        operation(
            "put",
            "/v1/ports/{name}",
            "Declares a port by the lines that would stand under its name in the file",
            (of(), put(ports::declare)),
        )
        .asks(DRY_RUN)
        .takes(Content::Text("application/toml")),
        operation("delete", "/v1/ports/{name}", "Takes a port away", (of(), delete(ports::remove)))
            .asks(DRY_RUN),
        operation(
            "patch",
            "/v1/ports/{name}",
            "Gives one port other security groups or another QoS",
            (of(), patch(ports::patch)),
        )
        .asks(DRY_RUN)
        .takes(Content::json::<PortEdit>()),
        operation(
            "delete",
            "/v1/connections",
            "Ends the connections that are meant, or all",
            (Content::json::<Cleared>(), delete(connections::clear)),
        )
        .asks(&[NETWORK, PORT, ADDRESS, PROTOCOL, TRANSPORT_PORT, STATE, ALL]),
    ]
}

/// Objects of the configuration of which single fields are changed.
fn changes_of_fields() -> Vec<Operation> {
    let of = |path, summary, kind| {
        operation("patch", path, summary, (Content::json::<Applied>(), tables::patched(kind)))
            .asks(DRY_RUN)
            .takes(Content::json::<serde_json::Map<String, serde_json::Value>>())
    };
    vec![
        of("/v1/groups/{name}", "Changes fields of a security group, as the file names them", "group"),
        of("/v1/address_groups/{name}", "Changes fields of an address group", "address_group"),
        of("/v1/qos/{name}", "Changes fields of a QoS", "qos"),
        of("/v1/networks/{name}", "Changes fields of a network", "network"),
    ]
}

/// Stations of overlay networks that are fed.
fn fed() -> Vec<Operation> {
    const PATH: &str = "/v1/networks/{name}/stations";
    const FROM: Word = ("from", "string", "The first Ethernet address that is wanted (`next`)");
    const LIMIT: Word = ("limit", "integer", "How many at most: 1 to 10000, 1000 unless said");
    let of = Content::json::<Fed>;
    let change = Content::json::<stations::Change<stations::Station>>;
    vec![
        read::<StationPage>(PATH, "A page of an overlay network's stations elsewhere", get(stations::list))
            .asks(&[FROM, LIMIT]),
        operation(
            "put",
            PATH,
            "Feeds these stations and no others, all or nothing",
            (of(), put(stations::replace)),
        )
        .takes(change()),
        operation("post", PATH, "Feeds these stations, too, all or nothing", (of(), post(stations::set)))
            .takes(change()),
        operation("delete", PATH, "Feeds these stations no more", (of(), delete(stations::remove)))
            .takes(Content::json::<stations::Change<String>>()),
        operation(
            "delete",
            "/v1/networks/{name}/stations/{mac}",
            "Feeds one station no more",
            (of(), delete(stations::remove_one)),
        ),
    ]
}

/// All paths.
pub(super) fn routed() -> Router<Arc<Shared>> {
    operations().into_iter().fold(Router::new(), |router, it| router.route(it.path, it.handler))
}

/// All paths in words, for whoever asks for another one.
pub(super) fn in_words() -> String {
    let words = |it: Operation| {
        format!("{} {}", it.method.to_uppercase(), it.path.replace("{name}", "NAME").replace("{mac}", "MAC"))
    };
    operations().into_iter().map(words).collect::<Vec<_>>().join(", ")
}
