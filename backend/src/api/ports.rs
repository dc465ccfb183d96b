//! `PATCH`, `PUT` and `DELETE /v1/ports/NAME`: changes of one port while the switch runs.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::routes::{Api, Refused, Shared, answer, dry_run, expected, log_changes};
use super::{Applied, PORT_PATCH_MAX};
use crate::config::{Loaded, ThisHost, parse};
use crate::control::{ApplyError, Candidate, Expected, Handle, PortEdit, RunningState, Source};

/// How often a port is put into what runs, if that changes meanwhile.
const ATTEMPTS: usize = 5;

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
    let changes = shared.change(move || handle.edit(name, edit, expected, dry_run)).await??;
    if !dry_run {
        log_changes(&changes);
    }
    Ok(answer(changes.generation, &Applied { changes, warnings: Vec::new() }))
}

/// Declares a port by the lines in the body, as they would stand under `[port.NAME]`; one of that name becomes that.
pub(super) async fn declare(
    State(shared): Api,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let dry_run = dry_run(request.uri())?;
    let (parts, body) = request.into_parts();
    let lines = lines(body).await?;
    place(&shared, Placing { name, lines: Some(lines), expected: expected(&parts.headers), dry_run }).await
}

/// Takes a port away.
pub(super) async fn remove(
    State(shared): Api,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let dry_run = dry_run(request.uri())?;
    place(&shared, Placing { name, lines: None, expected: expected(request.headers()), dry_run }).await
}

/// A port that is to be declared, or to go.
struct Placing {
    name: String,
    lines: Option<String>,
    expected: Expected,
    dry_run: bool,
}

async fn place(shared: &Arc<Shared>, placing: Placing) -> Result<Response, Refused> {
    let (handle, dry_run) = (shared.handle.clone(), placing.dry_run);
    let applied = shared.change(move || placing.carry_out(&handle)).await??;
    if !dry_run {
        log_changes(&applied.changes);
    }
    Ok(answer(applied.changes.generation, &applied))
}

impl Placing {
    fn carry_out(&self, handle: &Handle) -> Result<Applied, Refused> {
        attempted(handle, &self.expected, |state| self.apply(handle, state))
    }

    /// Checks the text that results as a whole, and applies it.
    fn apply(&self, handle: &Handle, state: &RunningState) -> Attempt {
        let Self { name, lines, dry_run, .. } = self;
        let is_new = !state.ports.contains(name);
        if is_new && lines.is_none() {
            return Err(ApplyError::NoPort { port: name.clone() }.into());
        }
        let text = state.running.text_with(name, lines.as_deref(), is_new).map_err(|error| {
            Refused::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}; nothing was changed"))
        })?;
        let Loaded { config, warnings } =
            parse(text.as_bytes(), "the configuration with this port", &ThisHost)?;
        let source = Source::Port { name: name.clone(), lines: lines.clone(), is_new };
        let expected = Expected::OneOf(vec![state.generation]);
        let changes = handle.apply_if(Candidate { config, source }, expected, *dry_run);
        Ok(changes.map(|changes| Applied { changes, warnings }))
    }
}

/// What came of an attempt to change what runs, if it was right in itself.
pub(super) type Attempt = Result<Result<Applied, ApplyError>, Refused>;

/// Changes what runs by what is made of it, if nothing else changed meanwhile; else once more.
pub(super) fn attempted(
    handle: &Handle,
    expected: &Expected,
    attempt: impl Fn(&RunningState) -> Attempt,
) -> Result<Applied, Refused> {
    for _ in 0..ATTEMPTS {
        let state = handle.running()?;
        expected.check(state.generation)?;
        match attempt(&state)? {
            Err(ApplyError::Generation { .. }) if *expected == Expected::Any => {}
            applied => return Ok(applied?),
        }
    }
    Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the configuration changes all the time; try again"))
}

pub(super) async fn whole(body: Body) -> Result<Bytes, Refused> {
    let cut = |_| {
        let error =
            format!("the body was cut off, or is longer than {PORT_PATCH_MAX} bytes; nothing was changed");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    to_bytes(body, PORT_PATCH_MAX).await.map_err(cut)
}

pub(super) async fn lines(body: Body) -> Result<String, Refused> {
    String::from_utf8(whole(body).await?.into()).map_err(|_| {
        Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "the body is no text in UTF-8; nothing was changed")
    })
}

async fn read(body: Body) -> Result<PortEdit, Refused> {
    let bytes = whole(body).await?;
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
