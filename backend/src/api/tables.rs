//! `PATCH` of one group, address group, QoS or network: members of its table are replaced, and all else stays (RFC 7396).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodRouter, patch};
use serde_json::{Map, Value};

use super::configuration::checked;
use super::ports::{Attempt, attempted, whole};
use super::routes::{Api, Refused, Shared, answer, dry_run, expected, log_changes};
use crate::control::{Expected, Handle, RunningState};

/// What serves `PATCH` of tables of this kind.
pub(super) fn patched(kind: &'static str) -> MethodRouter<Arc<Shared>> {
    patch(move |State(shared): Api, Path(name): Path<String>, request: Request| async move {
        change(&shared, (kind, name), request).await
    })
}

async fn change(
    shared: &Arc<Shared>,
    (kind, name): (&'static str, String),
    request: Request,
) -> Result<Response, Refused> {
    let dry_run = dry_run(request.uri())?;
    let (parts, body) = request.into_parts();
    let members = serde_json::from_slice(&whole(body).await?).map_err(|error| {
        let error = format!(
            "the body is no JSON object with fields of [{kind}.{name}], such as {{\"field\": \"value\", \"gone\": null}}: {error}; nothing \
             was changed"
        );
        Refused::new(StatusCode::UNPROCESSABLE_ENTITY, error)
    })?;
    let patch = Patch { kind, name, members, expected: expected(&parts.headers), dry_run };
    let handle = shared.handle.clone();
    let applied = shared
        .change(move || attempted(&handle, &patch.expected, |state| patch.apply(&handle, state)))
        .await??;
    if !dry_run {
        log_changes(&applied.changes);
    }
    Ok(answer(applied.changes.generation, &applied))
}

/// Members that are to be in a table.
struct Patch {
    kind: &'static str,
    name: String,
    members: Map<String, Value>,
    expected: Expected,
    dry_run: bool,
}

impl Patch {
    /// Checks the text that results as a whole, and applies it.
    fn apply(&self, handle: &Handle, state: &RunningState) -> Attempt {
        let Self { kind, name, members, .. } = self;
        let wrong =
            |error| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}; nothing was changed"));
        let text = state.running.text_with_members((kind, name), members).map_err(wrong)?;
        let text = text.ok_or_else(|| {
            let error =
                format!("what runs has no [{kind}.{name}]; PUT /v1/config makes one; nothing was changed");
            Refused::new(StatusCode::NOT_FOUND, error)
        })?;
        checked(handle, state, text, self.dry_run)
    }
}
