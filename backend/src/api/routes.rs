//! The paths of the API and what they answer.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

use super::operations::{in_words, routed};
use super::paging::Page;
use super::tally::Tally;
use super::{Refusal, tags};
use crate::config::{ConfigError, FILE_SIZE_MAX, Loaded, ThisHost, is_name, parse};
use crate::control::{ApplyError, Changes, ControlGone, Expected, Handle};
use crate::model::{SecurityStatus, Snapshot};

/// Configurations, and changes of stations, that may be on their way at once: each may take 16 MiB.
const UPLOADS_MAX: usize = 4;

/// Clients that may listen to events at once, of the connections that there are.
const LISTENERS_MAX: usize = 8;

/// What the handlers share.
pub(super) struct Shared {
    pub(super) handle: Handle,
    uploads: Semaphore,
    /// Scrapes are made one after the other.
    pub(super) scrapes: Semaphore,
    /// And so is what is changed: who waits for the disk keeps one thread of those that answer, and no more.
    changing: Arc<Semaphore>,
    pub(super) tally: Arc<Tally>,
    /// Those who may listen to events at once.
    pub(super) listeners: Arc<Semaphore>,
}

impl Shared {
    /// Leave to receive a long body.
    pub(super) fn slot(&self) -> Result<SemaphorePermit<'_>, Refused> {
        let busy = |_| {
            let error = "other configurations or stations are being sent; try again";
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, error)
        };
        self.uploads.try_acquire().map_err(busy)
    }

    /// Makes a change when those before it are made. One that is under way goes on without its client.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let ended = |_| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the API ends; try again");
        let turn = Arc::clone(&self.changing).acquire_owned().await.map_err(ended)?;
        blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

pub(super) type Api = State<Arc<Shared>>;

/// All paths.
pub(super) fn router(handle: Handle, tally: Arc<Tally>) -> Router {
    let (uploads, scrapes) = (Semaphore::new(UPLOADS_MAX), Semaphore::new(1));
    let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
    let changing = Arc::new(Semaphore::new(1));
    let shared = Shared { handle, uploads, scrapes, changing, tally, listeners };
    routed().fallback(unknown_path).method_not_allowed_fallback(unknown_method).with_state(Arc::new(shared))
}

/// An answer that is no success.
pub(crate) struct Refused(pub(super) StatusCode, pub(super) Refusal);

impl Refused {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self(status, Refusal { error: error.into(), ..Refusal::default() })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, axum::Json(self.1)).into_response()
    }
}

impl From<ControlGone> for Refused {
    fn from(error: ControlGone) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<ApplyError> for Refused {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::ControlGone(gone) => gone.into(),
            ApplyError::Generation { .. } => Self::new(StatusCode::PRECONDITION_FAILED, error.to_string()),
            ApplyError::NoPort { .. } => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            other => Self::new(StatusCode::CONFLICT, other.to_string()),
        }
    }
}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Self {
        let ConfigError::Wrong(wrong) = error else {
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string());
        };
        let error = "the configuration is wrong; nothing was changed".to_owned();
        Self(
            StatusCode::UNPROCESSABLE_ENTITY,
            Refusal { error, problems: wrong.problems, left_out: wrong.left_out },
        )
    }
}

/// `body` as JSON, with the generation as entity tag.
pub(super) fn answer(generation: u64, body: &impl Serialize) -> Response {
    ([(header::ETAG, entity_tag(generation))], axum::Json(body)).into_response()
}

pub(super) fn entity_tag(generation: u64) -> String {
    tags::of_configuration(generation)
}

/// What `tell` says of the whole state. Both are made beside the API's own thread: the state of thousands of ports is long.
pub(super) async fn state(
    shared: &Arc<Shared>,
    tell: impl FnOnce(&Snapshot) -> Result<Response, Refused> + Send + 'static,
) -> Result<Response, Refused> {
    let handle = shared.handle.clone();
    blocking(move || tell(&handle.snapshot()?)).await?
}

/// A part of the state that is always there.
async fn part<T: Serialize>(
    shared: &Arc<Shared>,
    part: impl FnOnce(&Snapshot) -> &T + Send + 'static,
) -> Result<Response, Refused> {
    state(shared, |snapshot| Ok(answer(snapshot.generation, part(snapshot)))).await
}

/// Runs what may wait for the control thread beside the API's own thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let ended = |_| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the request's thread ended; see the daemon's log")
    };
    spawn_blocking(work).await.map_err(ended)
}

pub(super) async fn status(State(shared): Api) -> Result<Response, Refused> {
    part(&shared, |snapshot| snapshot).await
}

pub(super) async fn ports(State(shared): Api, uri: Uri) -> Result<Response, Refused> {
    by_name(&shared, &uri, |snapshot| &snapshot.ports, |port| &port.name).await
}

/// A list in the order of names, or a page of it.
async fn by_name<T: Serialize + Clone + 'static>(
    shared: &Arc<Shared>,
    uri: &Uri,
    list: fn(&Snapshot) -> &Vec<T>,
    name: fn(&T) -> &String,
) -> Result<Response, Refused> {
    let (page, path) = (Page::read(uri)?, uri.path().to_owned());
    let tell = move |snapshot: &Snapshot| {
        let owned = |item: &T| name(item).clone();
        let read = |text: &str| is_name(text).then(|| text.to_owned());
        let (items, next) = page.of(list(snapshot).clone(), read, owned, owned)?;
        Ok(page.link(answer(snapshot.generation, &items), &path, next))
    };
    state(shared, tell).await
}

pub(super) async fn port(State(shared): Api, Path(name): Path<String>) -> Result<Response, Refused> {
    let find = move |snapshot: &Snapshot| {
        let port = snapshot.ports.iter().find(|port| port.name == name);
        let port = port.ok_or_else(|| {
            Refused::new(StatusCode::NOT_FOUND, "there is no such port; GET /v1/ports lists all")
        })?;
        Ok(answer(snapshot.generation, port))
    };
    state(&shared, find).await
}

pub(super) async fn uplinks(State(shared): Api) -> Result<Response, Refused> {
    let all = |snapshot: &Snapshot| Ok(answer(snapshot.generation, &snapshot.uplinks().collect::<Vec<_>>()));
    state(&shared, all).await
}

pub(super) async fn uplink(State(shared): Api, Path(name): Path<String>) -> Result<Response, Refused> {
    let find = move |snapshot: &Snapshot| {
        let uplink = snapshot.uplinks().find(|uplink| uplink.name == name).ok_or_else(|| {
            Refused::new(StatusCode::NOT_FOUND, "there is no such uplink; GET /v1/uplinks lists all")
        })?;
        Ok(answer(snapshot.generation, uplink))
    };
    state(&shared, find).await
}

pub(super) async fn networks(State(shared): Api, uri: Uri) -> Result<Response, Refused> {
    by_name(&shared, &uri, |snapshot| &snapshot.networks, |network| &network.name).await
}

async fn security(shared: &Arc<Shared>) -> Result<SecurityStatus, Refused> {
    let handle = shared.handle.clone();
    Ok(blocking(move || handle.security()).await??)
}

pub(super) async fn groups(State(shared): Api) -> Result<Response, Refused> {
    let security = security(&shared).await?;
    Ok(answer(security.generation, &security.groups))
}

pub(super) async fn group(State(shared): Api, Path(name): Path<String>) -> Result<Response, Refused> {
    let security = security(&shared).await?;
    let group = security.groups.iter().find(|group| group.name == name).ok_or_else(|| {
        Refused::new(StatusCode::NOT_FOUND, "there is no such group; GET /v1/groups lists all")
    })?;
    Ok(answer(security.generation, group))
}

pub(super) async fn address_groups(State(shared): Api) -> Result<Response, Refused> {
    let security = security(&shared).await?;
    Ok(answer(security.generation, &security.address_groups))
}

pub(super) async fn multicast(State(shared): Api) -> Result<Response, Refused> {
    part(&shared, |snapshot| &snapshot.multicast_groups).await
}

pub(super) async fn stp(State(shared): Api) -> Result<Response, Refused> {
    part(&shared, |snapshot| &snapshot.stp).await
}

pub(super) async fn bonds(State(shared): Api) -> Result<Response, Refused> {
    part(&shared, |snapshot| &snapshot.bonds).await
}

pub(super) async fn qos(State(shared): Api) -> Result<Response, Refused> {
    part(&shared, |snapshot| &snapshot.qos).await
}

pub(super) async fn workers(State(shared): Api) -> Result<Response, Refused> {
    part(&shared, |snapshot| &snapshot.workers).await
}

pub(super) fn log_changes(changes: &Changes) {
    tracing::info!("API: configuration {} runs, {} changes", changes.generation, changes.changes.len());
    for change in &changes.changes {
        tracing::info!("{change}");
    }
}

/// Receives and checks a configuration; gives its text, too.
pub(super) async fn upload(shared: &Arc<Shared>, body: Body) -> Result<(Loaded, String), Refused> {
    let _slot = shared.slot()?;
    let cut = |_| {
        let error =
            format!("the body was cut off, or is longer than {FILE_SIZE_MAX} bytes; nothing was changed");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let bytes: Bytes = to_bytes(body, FILE_SIZE_MAX).await.map_err(cut)?;
    let read = move || {
        let loaded = parse(&bytes, "the configuration", &ThisHost)?;
        // It is text: parsing looks at that first.
        Ok::<_, ConfigError>((loaded, String::from_utf8_lossy(&bytes).into_owned()))
    };
    Ok(blocking(read).await??)
}

/// `?dry_run=true` and nothing else: a misspelt word must not become a real change.
pub(super) fn dry_run(uri: &Uri) -> Result<bool, Refused> {
    match uri.query() {
        None | Some("" | "dry_run=false") => Ok(false),
        Some("dry_run=true") => Ok(true),
        Some(_) => {
            Err(Refused::new(StatusCode::BAD_REQUEST, "the query may be `dry_run=true`, and nothing else"))
        }
    }
}

/// RFC 9110, 13.1.1: with If-Match, the change happens only if the generation is one of those listed.
pub(super) fn expected(headers: &HeaderMap) -> Expected {
    tags::expected_configuration(headers)
}

async fn unknown_path() -> Refused {
    let error = format!("there is no such path; there are {}", in_words());
    Refused::new(StatusCode::NOT_FOUND, error)
}

async fn unknown_method() -> Refused {
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "GET reads a state, PUT replaces /v1/config, a port and a network's stations, PATCH changes a port, a group, a QoS or a network, \
         POST asks /v1/trace, /v1/watch and /v1/capture and adds stations, DELETE ends /v1/connections, ports and stations; nothing else is known",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn changes_are_made_one_after_the_other_and_keep_one_thread() {
        let (handle, _commands) = crate::control::channel().unwrap();
        let shared = Arc::new(Shared {
            handle,
            uploads: Semaphore::new(1),
            scrapes: Semaphore::new(1),
            changing: Arc::new(Semaphore::new(1)),
            tally: Arc::default(),
            listeners: Arc::new(Semaphore::new(1)),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (begun, has_begun) = channel();
        let (release, disk) = channel::<()>();
        let told = begun.clone();
        let first = Arc::clone(&shared);
        let waits = runtime.spawn(async move {
            let done = first.change(move || (told.send(1).unwrap(), disk.recv().is_ok())).await;
            done.is_ok()
        });
        let next = runtime.spawn(async move { shared.change(move || begun.send(2)).await.is_ok() });
        let pass = |ms| runtime.block_on(async { tokio::time::sleep(Duration::from_millis(ms)).await });
        // However long this takes, the second one cannot begin.
        pass(50);
        assert_eq!(has_begun.recv_timeout(Duration::from_secs(20)), Ok(1));
        assert_eq!(has_begun.try_recv().ok(), None, "the second one waits without a thread");
        // The client of the first one hangs up: it goes on nevertheless.
        waits.abort();
        pass(20);
        assert_eq!(has_begun.try_recv().ok(), None);
        release.send(()).unwrap();
        assert!(runtime.block_on(next).unwrap());
        assert_eq!(has_begun.try_recv(), Ok(2));
    }
}
