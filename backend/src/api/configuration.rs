//! What runs, in words of the file, and how it differs from the file.

use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::routes::{Api, Refused, answer, blocking, entity_tag};
use crate::config::{ConfigError, ThisHost, parse, read};
use crate::control::{ControlGone, RunningState, Source, differences};
use crate::model::{ConfigurationStatus, Differences};

/// What runs, as the text of a file.
pub(super) async fn running(State(shared): Api) -> Result<Response, Refused> {
    let handle = shared.handle.clone();
    let (generation, text) = blocking(move || {
        let RunningState { generation, running, .. } = handle.running()?;
        Ok::<_, ControlGone>((generation, running.text()))
    })
    .await??;
    let text = text.map_err(|error| {
        let sentence = format!("what runs cannot be written: {error}; this is a bug, please report it");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
    })?;
    let head =
        [(header::CONTENT_TYPE, "application/toml".to_owned()), (header::ETAG, entity_tag(generation))];
    Ok((head, text).into_response())
}

/// How what runs differs from the file as it is now.
pub(super) async fn changes(State(shared): Api) -> Result<Response, Refused> {
    let handle = shared.handle.clone();
    let told = blocking(move || Ok::<_, ControlGone>(compared(handle.running()?))).await??;
    Ok(answer(told.generation, &told))
}

fn compared(state: RunningState) -> Differences {
    let RunningState { generation, file, running, not_kept, .. } = state;
    let configuration = ConfigurationStatus { file: file.clone(), is_changed: !running.is_file(), not_kept };
    let mut told = Differences { generation, configuration, ..Differences::default() };
    match text_of(&file) {
        Ok(text) => {
            told.is_file_edited = text != running.file();
            match changes_between(&file, &text, &running.text()) {
                Ok(changes) => told.changes = changes,
                Err(problem) => told.not_compared = Some(problem),
            }
        }
        Err(problem) => told.not_compared = Some(problem),
    }
    told
}

fn changes_between(
    file: &Path,
    text: &str,
    running: &Result<String, crate::changes::ComposeError>,
) -> Result<Vec<crate::control::Change>, String> {
    let running = running.as_ref().map_err(ToString::to_string)?;
    if running == text {
        return Ok(Vec::new());
    }
    let config = |text: &str, name: &str| parse(text.as_bytes(), name, &ThisHost).map(|loaded| loaded.config);
    let from = config(text, &file.display().to_string()).map_err(|error| error.to_string())?;
    let to = config(running, "what runs").map_err(|error| error.to_string())?;
    differences(&from, &to).map_err(|error| error.to_string())
}

fn text_of(file: &Path) -> Result<String, String> {
    if file.as_os_str().is_empty() {
        return Err("the daemon has no file".to_owned());
    }
    let bytes = read(file).map_err(|error: ConfigError| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| format!("{} is no text in UTF-8", file.display()))
}

/// Whence a text comes that was sent: from the daemon's file, if it stands there.
pub(super) fn source(file: &Path, text: String) -> Source {
    let text: Arc<str> = text.into();
    match text_of(file) {
        Ok(written) if *written == *text => Source::File(text),
        _ => Source::Text(text),
    }
}
