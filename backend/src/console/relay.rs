//! What the page asks the daemon, handed on at the Unix socket.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;

use super::bundle::remedies;
use crate::api::{Client, ClientError, Lasting, Refused, hand_on, pieces};

/// The longest body that is handed on, in bytes: a frame in hex, or a table of the file.
const BODY_MAX: usize = 256 << 10;

/// A browser that reads nothing for so long is cut off.
const STALL_MAX: Duration = Duration::from_secs(10);

/// The tables of the file that the page changes.
const TABLES: [&str; 3] = ["group.", "address_group.", "qos."];

/// Hands requests on.
#[derive(Debug)]
pub(super) struct Relay {
    client: Client,
    may_edit: bool,
}

type Shared = State<Arc<Relay>>;

impl Relay {
    pub(super) fn new(client: Client, may_edit: bool) -> Self {
        Self { client, may_edit }
    }

    fn must_edit(&self) -> Result<(), Refused> {
        let error = "this console only shows; start one that changes, too, with `viaduct console --edit`";
        self.may_edit.then_some(()).ok_or_else(|| Refused::new(StatusCode::FORBIDDEN, error))
    }

    /// Asks the same of the daemon; of the head it gets no more than what its answer depends on.
    async fn ask(&self, request: Request) -> Result<Response<Incoming>, Refused> {
        let (parts, body) = request.into_parts();
        let cut = |_| {
            let error =
                format!("the body was cut off, or is longer than {BODY_MAX} bytes; nothing was changed");
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error)
        };
        let body = to_bytes(body, BODY_MAX).await.map_err(cut)?;
        let place = parts.uri.path_and_query().map_or("/", |place| place.as_str());
        let mut question =
            hyper::Request::builder().method(parts.method).uri(place).header(header::HOST, "viaduct");
        for tag in parts.headers.get_all(header::IF_MATCH) {
            question = question.header(header::IF_MATCH, tag);
        }
        let question = question
            .body(Full::new(body))
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        Ok(self.client.forward(question).await?)
    }
}

impl From<ClientError> for Refused {
    fn from(error: ClientError) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, error.to_string())
    }
}

/// The daemon's answer, as it comes.
fn handed_on(answer: Response<Incoming>) -> Response {
    let (parts, body) = answer.into_parts();
    let mut response = (parts.status, Body::new(body)).into_response();
    for name in [header::CONTENT_TYPE, header::ETAG] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// What the page must know of this console.
pub(super) async fn about(State(relay): Shared) -> Response {
    let about = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "may_edit": relay.may_edit,
        "remedies": remedies(),
    });
    Json(about).into_response()
}

pub(super) async fn answer(State(relay): Shared, request: Request) -> Result<Response, Refused> {
    Ok(handed_on(relay.ask(request).await?))
}

/// A change.
pub(super) async fn edit(State(relay): Shared, request: Request) -> Result<Response, Refused> {
    relay.must_edit()?;
    Ok(handed_on(relay.ask(request).await?))
}

/// A table of what runs.
pub(super) async fn table(State(relay): Shared, request: Request) -> Result<Response, Refused> {
    names_table(request.uri())?;
    Ok(handed_on(relay.ask(request).await?))
}

/// Another table in place of one.
pub(super) async fn edit_table(State(relay): Shared, request: Request) -> Result<Response, Refused> {
    relay.must_edit()?;
    names_table(request.uri())?;
    Ok(handed_on(relay.ask(request).await?))
}

/// The whole configuration is none of the page's business: without a table, or with another one, nothing is asked.
fn names_table(uri: &Uri) -> Result<(), Refused> {
    let mut words = uri.query().unwrap_or_default().split('&').filter_map(|word| word.strip_prefix("table="));
    let is_one = words.next().is_some_and(|table| TABLES.iter().any(|kind| table.starts_with(kind)));
    let error = "the console has the tables of groups, address groups and QoS: table=group.NAME";
    (is_one && words.next().is_none())
        .then_some(())
        .ok_or_else(|| Refused::new(StatusCode::BAD_REQUEST, error))
}

/// An answer that lasts until either side goes.
pub(super) async fn lines(
    State(relay): Shared,
    Extension(lasting): Extension<Arc<Lasting>>,
    request: Request,
) -> Result<Response, Refused> {
    let answer = relay.ask(request).await?;
    if !answer.status().is_success() {
        return Ok(handed_on(answer));
    }
    let (sender, response) = pieces("application/x-ndjson");
    lasting.set(true);
    drop(tokio::spawn(async move {
        let mut body = answer.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(piece) = frame.into_data() else { continue };
            if !hand_on(&sender, piece, STALL_MAX).await {
                break;
            }
        }
        lasting.set(false);
    }));
    Ok(response)
}
