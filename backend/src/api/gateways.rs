//! `/v1/routes`, `/v1/neighbours`, `/v1/vteps`, `/v1/leases` and `/v1/services`: what gateways and tunnels know.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::connections::paging;
use super::paging::Page;
use super::routes::{Api, Refused, Shared, blocking};
use crate::control::{ControlGone, Tables};
use crate::model::{LeaseStatus, NeighbourTables};

/// Reads tables where waiting is allowed.
async fn read<T: Serialize + Send + 'static>(
    shared: &Arc<Shared>,
    from: impl FnOnce(&Tables) -> Result<T, ControlGone> + Send + 'static,
) -> Result<Response, Refused> {
    let handle = shared.handle.clone();
    blocking(move || Ok(axum::Json(from(&handle.tables()?)?).into_response())).await?
}

pub(super) async fn routes(State(shared): Api) -> Result<Response, Refused> {
    read(&shared, |tables| Ok(tables.routes())).await
}

pub(super) async fn vteps(State(shared): Api) -> Result<Response, Refused> {
    read(&shared, |tables| Ok(tables.vteps())).await
}

/// Leases in the order of networks and addresses, or a page of them.
pub(super) async fn leases(State(shared): Api, uri: Uri) -> Result<Response, Refused> {
    let page = Page::read(&uri)?;
    let handle = shared.handle.clone();
    let leases = blocking(move || handle.tables()?.leases()).await??;
    let place = |text: &str| {
        let (network, address) = text.split_once('/')?;
        Some((network.to_owned(), address.parse::<IpAddr>().ok()?))
    };
    let key = |lease: &LeaseStatus| (lease.network.clone(), lease.address);
    let written = |lease: &LeaseStatus| format!("{}/{}", lease.network, lease.address);
    let (leases, next) = page.of(leases, place, key, written)?;
    Ok(page.link(axum::Json(leases).into_response(), uri.path(), next))
}

pub(super) async fn services(State(shared): Api) -> Result<Response, Refused> {
    read(&shared, Tables::service_events).await
}

/// Mappings of NAT by pages, with what there is in all.
pub(super) async fn nat(State(shared): Api, uri: Uri) -> Result<Response, Refused> {
    let (from, limit) = paging(&uri)?;
    read(&shared, move |tables| Ok(tables.nat(from, limit))).await
}

pub(super) async fn neighbours(State(shared): Api) -> Result<Response, Refused> {
    let handle = shared.handle.clone();
    let found = blocking(move || {
        let figures = handle.figures()?;
        let lldp = figures.snapshot.neighbours;
        Ok::<_, ControlGone>(NeighbourTables { stations: figures.tables.stations()?, lldp })
    });
    Ok(axum::Json(found.await??).into_response())
}
