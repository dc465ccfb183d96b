//! `PATCH /v1/ports/NAME`: changes of one port while the switch runs.

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::routes::{Api, Refused, answer, blocking, dry_run, expected, log_changes};
use super::{Applied, PORT_PATCH_MAX};
use crate::control::PortEdit;

/// Changes the port as the body says, in the form of RFC 7396.
pub(super) async fn patch(
    State(shared): Api,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let dry_run = dry_run(request.uri())?;
    let (parts, body) = request.into_parts();
    let edit = read(body).await?;
    let (handle, expected) = (shared.handle.clone(), expected(&parts.headers));
    let changes = blocking(move || handle.edit(name, edit, expected, dry_run)).await??;
    if !dry_run {
        log_changes(&changes);
    }
    Ok(answer(changes.generation, &Applied { changes, warnings: Vec::new() }))
}

async fn read(body: Body) -> Result<PortEdit, Refused> {
    let cut = |_| {
        let error =
            format!("the body was cut off, or is longer than {PORT_PATCH_MAX} bytes; nothing was changed");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let bytes = to_bytes(body, PORT_PATCH_MAX).await.map_err(cut)?;
    let refused = |error: String| {
        let error = format!(
            "the body is not like {{\"groups\": [\"web\", \"db\"]}} or {{\"qos\": \"gold\"}}: {error}; nothing was changed. All \
             else is changed in the file"
        );
        Refused::new(StatusCode::UNPROCESSABLE_ENTITY, error)
    };
    match serde_json::from_slice(&bytes) {
        Ok(edit) if PortEdit::is_empty(&edit) => Err(refused("it names neither".to_owned())),
        Ok(edit) => Ok(edit),
        Err(error) => Err(refused(error.to_string())),
    }
}
