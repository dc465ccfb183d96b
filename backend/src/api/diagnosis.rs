//! Paths that answer why a packet goes where it goes.

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::routes::{Api, Refused, blocking};
use super::watch;
use crate::control::TraceError;
use crate::model::TraceRequest;
use crate::trace::{Description, DescriptionError};

/// The longest question in bytes: the longest frame in hex with spaces, and its surroundings.
const QUESTION_MAX: usize = 256 << 10;

impl From<DescriptionError> for Refused {
    fn from(error: DescriptionError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    }
}

impl From<TraceError> for Refused {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::ControlGone(gone) => gone.into(),
            TraceError::TooManyWatch(_) | TraceError::TooManyCapture(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            TraceError::NoneCame { .. } => Self::new(StatusCode::REQUEST_TIMEOUT, error.to_string()),
            TraceError::NoPort(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            TraceError::Unknown(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        }
    }
}

/// The body as JSON of this shape.
pub(super) async fn question<T: DeserializeOwned>(body: Body) -> Result<T, Refused> {
    let cut = |_| {
        let error = format!("the body was cut off, or is longer than {QUESTION_MAX} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let bytes = to_bytes(body, QUESTION_MAX).await.map_err(cut)?;
    let wrong = |error| {
        let error =
            format!("the body is not the JSON object that is expected: {error}; docs/api.md has an example");
        Refused::new(StatusCode::BAD_REQUEST, error)
    };
    serde_json::from_slice(&bytes).map_err(wrong)
}

/// What would become of a packet.
pub(super) async fn trace(State(shared): Api, body: Body) -> Result<Response, Refused> {
    let request: TraceRequest = question(body).await?;
    let TraceRequest { port, packet, next, timeout_s } = request;
    let handle = shared.handle.clone();
    let traced = match (packet, next) {
        (Some(packet), None) => {
            let description: Description = packet.parse()?;
            blocking(move || handle.trace(port, description)).await??
        }
        (None, Some(filter)) => watch::next(&handle, port, &filter, timeout_s).await?,
        _ => {
            let error = "say either `packet` or `next`; docs/api.md has an example";
            return Err(Refused::new(StatusCode::BAD_REQUEST, error));
        }
    };
    Ok(axum::Json(traced).into_response())
}
