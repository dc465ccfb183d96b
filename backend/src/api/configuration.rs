//! What runs, in words of the file, how it is replaced, and how it differs from the file.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::Applied;
use super::ports::{Attempt, attempted, lines};
use super::routes::{Api, Refused, Shared, answer, blocking, entity_tag, expected, log_changes, upload};
use crate::changes::{ComposeError, Running};
use crate::config::{ConfigError, Loaded, ThisHost, is_name, parse, read};
use crate::control::{Candidate, ControlGone, Expected, Handle, RunningState, Source, differences};
use crate::model::{ConfigurationStatus, Differences};

/// The kinds of tables that can be told and replaced by themselves. A port has a path of its own; what else there is hangs together.
pub(super) const TABLE_KINDS: [&str; 3] = ["group", "address_group", "qos"];

/// A table of the file, by its kind and name.
#[derive(Clone, PartialEq, Eq, Debug)]
struct TableName(&'static str, String);

impl TableName {
    fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('.')?;
        let kind = TABLE_KINDS.into_iter().find(|known| *known == kind)?;
        is_name(name).then(|| Self(kind, name.to_owned()))
    }

    fn words(&self) -> (&str, &str) {
        (self.0, &self.1)
    }

    fn missing(&self) -> Refused {
        let (kind, name) = self.words();
        Refused::new(
            StatusCode::NOT_FOUND,
            format!("what runs has no [{kind}.{name}]; GET /v1/config tells all of it"),
        )
    }
}

/// What the query of `/v1/config` says.
#[derive(PartialEq, Eq, Debug, Default)]
struct Asked {
    table: Option<TableName>,
    dry_run: Option<bool>,
}

impl Asked {
    /// Each word once, and no others: a misspelt word must not become a real change.
    fn read(uri: &Uri) -> Result<Self, Refused> {
        let wrong = |part: &str| {
            let error = format!(
                "the query says {part}; it may say dry_run=true and table=KIND.NAME, each once, where KIND is {}",
                TABLE_KINDS.join(", ")
            );
            Refused::new(StatusCode::BAD_REQUEST, error)
        };
        let mut asked = Self::default();
        for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let is_twice = match part.split_once('=') {
                Some(("table", name)) => {
                    asked.table.replace(TableName::parse(name).ok_or_else(|| wrong(part))?).is_some()
                }
                Some(("dry_run", value)) => {
                    asked.dry_run.replace(value.parse().map_err(|_| wrong(part))?).is_some()
                }
                _ => return Err(wrong(part)),
            };
            if is_twice {
                return Err(wrong(part));
            }
        }
        Ok(asked)
    }
}

/// What runs, as the text of a file, or one table of it.
pub(super) async fn running(State(shared): Api, uri: Uri) -> Result<Response, Refused> {
    let asked = Asked::read(&uri)?;
    if asked.dry_run.is_some() {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "reading changes nothing; leave dry_run out"));
    }
    let handle = shared.handle.clone();
    let (generation, text) = blocking(move || {
        let RunningState { generation, running, .. } = handle.running()?;
        Ok::<_, Refused>((generation, told(&running, asked.table.as_ref())?))
    })
    .await??;
    let head =
        [(header::CONTENT_TYPE, "application/toml".to_owned()), (header::ETAG, entity_tag(generation))];
    Ok((head, text).into_response())
}

fn told(running: &Running, table: Option<&TableName>) -> Result<String, Refused> {
    let broken = |error: ComposeError| {
        let sentence = format!("what runs cannot be written: {error}; this is a bug, please report it");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
    };
    match table {
        None => running.text().map_err(broken),
        Some(table) => running.table(table.words()).map_err(broken)?.ok_or_else(|| table.missing()),
    }
}

/// Makes the daemon match the TOML text in the body, all or nothing: a whole file, or the lines of one table.
pub(super) async fn replace(State(shared): Api, request: Request) -> Result<Response, Refused> {
    let Asked { table, dry_run } = Asked::read(request.uri())?;
    let dry_run = dry_run.unwrap_or(false);
    let (parts, body) = request.into_parts();
    let expected = expected(&parts.headers);
    let applied = match table {
        Some(table) => {
            let placing = Placing { table, lines: lines(body).await?, expected, dry_run };
            let handle = shared.handle.clone();
            shared.change(move || placing.carry_out(&handle)).await??
        }
        None => replace_all(&shared, body, expected, dry_run).await?,
    };
    if !dry_run {
        log_changes(&applied.changes);
    }
    Ok(answer(applied.changes.generation, &applied))
}

async fn replace_all(
    shared: &Arc<Shared>,
    body: Body,
    expected: Expected,
    dry_run: bool,
) -> Result<Applied, Refused> {
    let (Loaded { config, warnings }, text) = upload(shared, body).await?;
    let handle = shared.handle.clone();
    let apply = move || {
        let source = source(&handle.running()?.file, text);
        handle.apply_if(Candidate { config, source }, expected, dry_run)
    };
    Ok(Applied { changes: shared.change(apply).await??, warnings })
}

/// Lines that are to stand under a table's name.
struct Placing {
    table: TableName,
    lines: String,
    expected: Expected,
    dry_run: bool,
}

impl Placing {
    fn carry_out(&self, handle: &Handle) -> Result<Applied, Refused> {
        attempted(handle, &self.expected, |state| self.apply(handle, state))
    }

    /// Checks the text that results as a whole, and applies it.
    fn apply(&self, handle: &Handle, state: &RunningState) -> Attempt {
        let text = state.running.text_with_table(self.table.words(), &self.lines).map_err(|error| {
            Refused::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}; nothing was changed"))
        })?;
        checked(handle, state, text, self.dry_run)
    }
}

/// Checks this text of a whole configuration, which was made of what runs, and applies it.
pub(super) fn checked(handle: &Handle, state: &RunningState, text: String, dry_run: bool) -> Attempt {
    let Loaded { config, warnings } = parse(text.as_bytes(), "the configuration with this table", &ThisHost)?;
    let candidate = Candidate { config, source: source(&state.file, text) };
    let changes = handle.apply_if(candidate, Expected::OneOf(vec![state.generation]), dry_run);
    Ok(changes.map(|changes| Applied { changes, warnings }))
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
    running: &Result<String, ComposeError>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_table_and_nothing_twice() {
        let read = |query: &str| {
            Asked::read(&format!("/v1/config?{query}").parse().unwrap()).map_err(|wrong| wrong.1.error)
        };
        let gold = || Some(TableName("qos", "gold".to_owned()));
        assert_eq!(read(""), Ok(Asked::default()));
        assert_eq!(read("table=qos.gold"), Ok(Asked { table: gold(), dry_run: None }));
        assert_eq!(read("dry_run=true&table=qos.gold"), Ok(Asked { table: gold(), dry_run: Some(true) }));
        assert_eq!(read("dry_run=false"), Ok(Asked { table: None, dry_run: Some(false) }));
        for wrong in [
            "dryrun=true",
            "dry_run=yes",
            "dry_run=true&dry_run=false",
            "table=qos.gold&table=qos.silver",
            "table=qos",
            "table=qos.",
            "table=qos.a%20b",
            "table=port.vm1",
            "table=switch.cpus",
            "table",
        ] {
            assert!(read(wrong).is_err_and(|error| error.contains("table=KIND.NAME")), "{wrong}");
        }
    }
}
