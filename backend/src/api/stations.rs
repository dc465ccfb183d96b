//! `/v1/networks/NAME/stations`: stations of overlay networks on other machines, which a control plane feeds.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use viaduct_switch::MacAddress;

use super::openapi::MAC;
use super::routes::{Api, Refused, Shared, blocking};
use super::tags;
use crate::config::{FILE_SIZE_MAX, STATIONS_MAX, StaticStation};
use crate::control::{FeedRequest, STATION_PAGE_MAX, StationChange, StationError};

/// Stations in an answer unless said.
const LIMIT: usize = 1000;

impl From<StationError> for Refused {
    fn from(error: StationError) -> Self {
        let status = match &error {
            StationError::ControlGone(_) | StationError::TakeoverUnderWay => StatusCode::SERVICE_UNAVAILABLE,
            StationError::Generation { .. } => StatusCode::PRECONDITION_FAILED,
            StationError::NoNetwork(_) | StationError::NoStation(_) => StatusCode::NOT_FOUND,
            StationError::Repeated(_)
            | StationError::LargeGeneration { .. }
            | StationError::Address { .. }
            | StationError::Vtep { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            StationError::OldGeneration { .. }
            | StationError::NoOverlay(_)
            | StationError::Written(_)
            | StationError::WrittenAddress { .. }
            | StationError::Local { .. }
            | StationError::AddressTaken { .. }
            | StationError::TooMany { .. } => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}

/// A change: of stations to be fed, or of the Ethernet addresses of some that are not to be any more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change<T> {
    generation: Option<u64>,
    stations: Vec<T>,
}

/// A station, as in the file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Station {
    #[schemars(regex(pattern = MAC))]
    mac: String,
    #[serde(default)]
    address: Addresses,
    #[schemars(schema_with = "address")]
    vtep: IpAddr,
}

/// An address as programs know it: schemas have a word for each version of IP, and none for both.
fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
}

/// One, or a list of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Addresses {
    One(#[schemars(schema_with = "address")] IpAddr),
    Many(#[schemars(schema_with = "addresses")] Vec<IpAddr>),
}

fn addresses(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": address(generator) })
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Station {
    fn read(self) -> Result<StaticStation, Refused> {
        let addresses = match self.address {
            Addresses::One(address) => vec![address],
            Addresses::Many(addresses) => addresses,
        };
        Ok(StaticStation { mac: station(&self.mac)?, addresses, vtep: self.vtep })
    }
}

/// The Ethernet address of one station.
fn station(text: &str) -> Result<MacAddress, Refused> {
    let mac: Option<MacAddress> = text.parse().ok();
    mac.filter(|mac| !mac.is_group() && !mac.is_zero()).ok_or_else(|| {
        wrong(&format!(
            "found station {text:?}, expected the Ethernet address of one station, like 52:54:00:00:01:02"
        ))
    })
}

fn wrong(what: &str) -> Refused {
    let error = format!("{what}; nothing was changed. docs/api.md has an example");
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, error)
}

/// `body` as JSON, with the table's generation as entity tag.
fn told(generation: u64, body: &impl serde::Serialize) -> Response {
    ([(header::ETAG, tags::of_table(generation))], axum::Json(body)).into_response()
}

/// A page of stations, from the Ethernet address `from` on.
pub(super) async fn list(
    State(shared): Api,
    Path(network): Path<String>,
    uri: Uri,
) -> Result<Response, Refused> {
    let (from, limit) = page(&uri)?;
    let handle = shared.handle.clone();
    let page = blocking(move || handle.stations(network, from, limit)).await??;
    Ok(told(page.generation, &page))
}

fn page(uri: &Uri) -> Result<(Option<MacAddress>, usize), Refused> {
    let refused = |error: String| Refused::new(StatusCode::BAD_REQUEST, error);
    let (mut from, mut limit) = (None, LIMIT);
    for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("from", mac)) => {
                let mac: Option<MacAddress> = mac.parse().ok();
                from = Some(mac.ok_or_else(|| {
                    refused("write an Ethernet address, like from=52:54:00:00:01:02".into())
                })?);
            }
            Some(("limit", number)) => {
                let number: Option<usize> = number.parse().ok();
                limit = number.filter(|number| (1..=STATION_PAGE_MAX).contains(number)).ok_or_else(|| {
                    refused(format!("write a number from 1 to {STATION_PAGE_MAX}, like limit=1000"))
                })?;
            }
            _ => return Err(refused("the query may say `from` and `limit`, and nothing else".into())),
        }
    }
    Ok((from, limit))
}

/// These stations and no others are fed.
pub(super) async fn replace(
    State(shared): Api,
    Path(network): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    feed(&shared, network, request, StationChange::Replace).await
}

/// These stations are fed, beside those that are.
pub(super) async fn set(
    State(shared): Api,
    Path(network): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    feed(&shared, network, request, StationChange::Set).await
}

/// These stations are fed no more.
pub(super) async fn remove(
    State(shared): Api,
    Path(network): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    no_query(request.uri())?;
    let (parts, body) = request.into_parts();
    let change = |Change { generation, stations }: Change<String>| {
        let macs = stations.iter().map(|text| station(text)).collect::<Result<_, _>>()?;
        Ok((generation, StationChange::Remove(macs)))
    };
    let (generation, change) = read(&shared, body, change).await?;
    apply(&shared, (network, &parts.headers), generation, change).await
}

/// One station is fed no more.
pub(super) async fn remove_one(
    State(shared): Api,
    Path((network, mac)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    no_query(&uri)?;
    let change = StationChange::Remove(vec![station(&mac)?]);
    apply(&shared, (network, &headers), None, change).await
}

async fn feed(
    shared: &Arc<Shared>,
    network: String,
    request: Request,
    change: fn(Vec<StaticStation>) -> StationChange,
) -> Result<Response, Refused> {
    no_query(request.uri())?;
    let (parts, body) = request.into_parts();
    let read_all = move |Change { generation, stations }: Change<Station>| {
        let stations = stations.into_iter().map(Station::read).collect::<Result<_, _>>()?;
        Ok((generation, change(stations)))
    };
    let (generation, change) = read(shared, body, read_all).await?;
    apply(shared, (network, &parts.headers), generation, change).await
}

/// There is no trial of such a change, and a misspelt word must not become a real one.
fn no_query(uri: &Uri) -> Result<(), Refused> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(_) => Err(Refused::new(StatusCode::BAD_REQUEST, "the query says something; leave it out")),
    }
}

/// Receives a change, and has it read where waiting is allowed.
async fn read<T: DeserializeOwned + Send + 'static>(
    shared: &Shared,
    body: Body,
    change: impl FnOnce(Change<T>) -> Result<(Option<u64>, StationChange), Refused> + Send + 'static,
) -> Result<(Option<u64>, StationChange), Refused> {
    let _slot = shared.slot()?;
    let cut = |_| {
        let error =
            format!("the body was cut off, or is longer than {FILE_SIZE_MAX} bytes; nothing was changed");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let bytes = to_bytes(body, FILE_SIZE_MAX).await.map_err(cut)?;
    let parse = move || {
        let read: Change<T> = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(&format!("the body is not as expected: {error}")))?;
        if read.stations.len() > STATIONS_MAX {
            let error = format!(
                "{} stations are more than the {STATIONS_MAX} of one request; nothing was changed. Feed them in several",
                read.stations.len()
            );
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        change(read)
    };
    blocking(parse).await?
}

async fn apply(
    shared: &Arc<Shared>,
    (network, headers): (String, &HeaderMap),
    generation: Option<u64>,
    change: StationChange,
) -> Result<Response, Refused> {
    let request = FeedRequest { network, change, generation, expected: tags::expected_table(headers) };
    let handle = shared.handle.clone();
    let fed = blocking(move || handle.feed(request)).await??;
    tracing::debug!(
        "API: network {}, stations of generation {}: {} added, {} changed, {} removed",
        fed.network,
        fed.generation,
        fed.added,
        fed.changed,
        fed.removed
    );
    if fed.without_room > 0 {
        tracing::warn!(
            "network {}: there is no room for {} stations that are fed",
            fed.network,
            fed.without_room
        );
    }
    Ok(told(fed.generation, &fed))
}
