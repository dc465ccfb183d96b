//! `/metrics` and `/v1/health`: what programs look at again and again.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::routes::{Api, Refused, answer, blocking};
use crate::control::ControlGone;
use crate::metrics::{Format, Measured, Usage, render};
use crate::model::Health;

/// How long the control thread and the workers may take for a sign of life.
const SIGN_MAX: Duration = Duration::from_secs(2);

/// What is measured, for Prometheus. One scrape is made at a time: others wait.
pub(super) async fn metrics(State(shared): Api, headers: HeaderMap) -> Result<Response, Refused> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::wanted(&accept.collect::<Vec<_>>().join(","));
    let ended = |_| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the API ends; try again");
    let _turn = shared.scrapes.acquire().await.map_err(ended)?;
    let (handle, api) = (shared.handle.clone(), shared.tally.figures());
    let text = blocking(move || {
        let figures = handle.figures()?;
        let tables = figures.tables.figures();
        Ok::<_, ControlGone>(Measured { snapshot: figures.snapshot, tables, api, usage: Usage::read().ok() })
    });
    let text = render(text.await??, format).map_err(|error| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics could not be written: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, format.media_type())], text).into_response())
}

/// Whether the control thread answers and the workers turn.
pub(super) async fn health(State(shared): Api) -> Result<Response, Refused> {
    let handle = shared.handle.clone();
    let (health, silent) = blocking(move || {
        let (generation, pulse) = handle.pulse(SIGN_MAX)?;
        let workers = pulse.asked();
        let not_kept = handle.running()?.not_kept;
        Ok::<_, ControlGone>((Health { generation, workers, not_kept }, pulse.silent(SIGN_MAX)))
    })
    .await??;
    if silent.is_empty() {
        return Ok(answer(health.generation, &health));
    }
    let cpus = silent.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let error = format!(
        "the workers on processors {cpus} gave no sign of life within {} seconds; see the daemon's log, and start it again",
        SIGN_MAX.as_secs()
    );
    Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, error))
}
