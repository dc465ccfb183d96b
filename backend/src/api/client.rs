//! The command line's end of the API.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::http::response::Parts;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group, Uid, User};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::{Applied, Refusal};
use crate::control::PortEdit;
use crate::model::{EventLine, Fed, RemoteStation, Trace, TraceRequest, WatchLine};

/// The daemon answers in milliseconds, and waits ten seconds for its own control thread.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How soon to try again while the daemon has more clients than it can take.
const BACKLOG_RETRY: Duration = Duration::from_millis(5);
/// How often somebody who waits for more looks whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long statistics of a capture may take to come that is over.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Why the daemon gave no answer, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error(
        "no daemon listens on {}; start one with `viaduct run`, or name its socket with --socket",
        .0.display()
    )]
    NotRunning(PathBuf),
    /// The socket may not be opened.
    #[error("{}: permission denied; {remedy}", .socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// Who may open it.
        remedy: String,
    },
    /// The daemon did not answer in time.
    #[error("the daemon on {} does not answer; see its log, and start it again if it is stuck", .0.display())]
    Silent(PathBuf),
    /// The conversation failed.
    #[error("talking to the daemon on {}: {what}; see its log", .socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        what: String,
    },
    /// The daemon refused.
    #[error("{}", .refusal.error)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        refusal: Refusal,
    },
}

/// Asks the daemon that listens on a socket; one connection a request.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    /// The tag of the configuration that must run for something to be changed.
    expected: Option<String>,
}

impl Client {
    /// A client of the daemon whose API listens on `socket`; nothing is opened yet.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, expected: None }
    }

    /// One that changes the configuration only where the one with this tag runs ([`Client::config`]).
    #[must_use]
    pub fn expecting(&self, tag: String) -> Self {
        Self { expected: Some(tag), ..self.clone() }
    }

    /// What runs, as the text of a file, and its tag.
    ///
    /// # Errors
    /// The daemon is not there, or may not be asked.
    pub fn config(&self) -> Result<(String, String), ClientError> {
        let (bytes, tag) = self.ask_tagged("GET", "/v1/config", Vec::new())?;
        let text = String::from_utf8(bytes.into()).map_err(|error| self.broken(&error))?;
        Ok((text, tag))
    }

    /// Reads a state, for example `/v1/status`.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or answers something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask("GET", path, Vec::new())
    }

    /// Ends what a path names, for example `/v1/connections?all=true`.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask("DELETE", path, Vec::new())
    }

    /// Makes the daemon match the configuration `text`; with `dry_run` only asks what that would change.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses; then nothing was changed.
    pub fn put_config(&self, text: Vec<u8>, dry_run: bool) -> Result<Applied, ClientError> {
        self.ask("PUT", if dry_run { "/v1/config?dry_run=true" } else { "/v1/config" }, text)
    }

    /// What would become of a packet; nothing is changed.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses: there is no such port, or the description is wrong.
    pub fn trace(&self, request: &TraceRequest) -> Result<Trace, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.broken(&error))?;
        self.ask("POST", "/v1/trace", body)
    }

    /// Hears what becomes of frames, for as long as `each` says so and the daemon runs; `question` is the body of
    /// `POST /v1/watch`.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses.
    pub fn watch(&self, question: Vec<u8>, each: impl FnMut(WatchLine) -> bool) -> Result<(), ClientError> {
        self.listen(("POST", "/v1/watch", question), each)
    }

    /// Hears what happens, from the event called `from` on or from now on, for as long as `each` says so and the daemon runs.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses.
    pub fn events(&self, from: Option<u64>, each: impl FnMut(EventLine) -> bool) -> Result<(), ClientError> {
        let query = from.map_or_else(String::new, |from| format!("?from={from}"));
        self.listen(("GET", &format!("/v1/events{query}"), Vec::new()), each)
    }

    fn listen<T: DeserializeOwned>(
        &self,
        question: (&str, &str, Vec<u8>),
        each: impl FnMut(T) -> bool,
    ) -> Result<(), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| self.broken(&error))?.block_on(self.follow(question, each))
    }

    async fn follow<T: DeserializeOwned>(
        &self,
        (method, path, body): (&str, &str, Vec<u8>),
        mut each: impl FnMut(T) -> bool,
    ) -> Result<(), ClientError> {
        let mut response = self.begin(method, path, body).await?;
        let mut text = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.map_err(|error| self.broken(&error))?;
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let line = serde_json::from_slice(&line).map_err(|error| self.broken(&error))?;
                if !each(line) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// An answer that lasts, once it has begun well.
    async fn begin(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let response = self.send(method, path, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| self.broken(&*error))?.to_bytes();
        let refusal = serde_json::from_slice(&bytes).map_err(|error| self.broken(&error))?;
        Err(ClientError::Refused { status, refusal })
    }

    /// Gets a capture piece by piece, until `each` says no, or `is_over`; `question` is the body of `POST /v1/capture`. Says whether one of
    /// them ended it, and not the daemon. A quarter of a second longer `each` hears what still comes, and that it is not wanted: how much
    /// was lost is told ten times a second.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses.
    pub fn capture(
        &self,
        question: Vec<u8>,
        is_over: impl Fn() -> bool,
        each: impl FnMut(&[u8], bool) -> bool,
    ) -> Result<bool, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| self.broken(&error))?.block_on(self.pieces(question, is_over, each))
    }

    async fn pieces(
        &self,
        question: Vec<u8>,
        is_over: impl Fn() -> bool,
        mut each: impl FnMut(&[u8], bool) -> bool,
    ) -> Result<bool, ClientError> {
        let mut response = self.begin("POST", "/v1/capture", question).await?;
        while !is_over() {
            let Ok(frame) = timeout(LOOK_EVERY, response.body_mut().frame()).await else { continue };
            let Some(frame) = frame else { return Ok(false) };
            let frame = frame.map_err(|error| self.broken(&error))?;
            if !frame.data_ref().is_none_or(|data| each(data, true)) {
                break;
            }
        }
        let rest = async {
            while let Some(Ok(frame)) = response.body_mut().frame().await {
                let _ = frame.data_ref().is_none_or(|data| each(data, false));
            }
        };
        // That it goes on is no mistake.
        let _ = timeout(LAST_WORDS, rest).await;
        Ok(true)
    }

    /// Changes a port; with `dry_run` only asks what that would change.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses; then nothing was changed.
    pub fn edit(&self, port: &str, edit: &PortEdit, dry_run: bool) -> Result<Applied, ClientError> {
        let body = serde_json::to_vec(edit);
        let query = if dry_run { "?dry_run=true" } else { "" };
        self.ask("PATCH", &format!("/v1/ports/{port}{query}"), body.map_err(|error| self.broken(&error))?)
    }

    /// Declares a port by the lines that would stand under its name in the file; with `dry_run` only asks what that would change.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses; then nothing was changed.
    pub fn declare(&self, port: &str, lines: String, dry_run: bool) -> Result<Applied, ClientError> {
        let query = if dry_run { "?dry_run=true" } else { "" };
        self.ask("PUT", &format!("/v1/ports/{port}{query}"), lines.into_bytes())
    }

    /// Feeds a station of a network, beside those that are fed; `station` as in docs/api.md.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or refuses; then nothing was changed.
    pub fn feed(&self, network: &str, station: &RemoteStation) -> Result<Fed, ClientError> {
        let RemoteStation { mac, address, vtep, .. } = station;
        let body = serde_json::json!({ "stations": [{ "mac": mac, "address": address, "vtep": vtep }] });
        self.ask("POST", &format!("/v1/networks/{network}/stations"), body.to_string().into_bytes())
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let bytes = self.ask_bytes(method, path, body)?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(&error))
    }

    fn ask_bytes(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Bytes, ClientError> {
        self.ask_tagged(method, path, body).map(|(bytes, _)| bytes)
    }

    /// The same with the answer's entity tag, which is empty if it has none.
    fn ask_tagged(&self, method: &str, path: &str, body: Vec<u8>) -> Result<(Bytes, String), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.broken(&error))?;
        let exchange = async { timeout(ANSWER_MAX, self.exchange(method, path, body)).await };
        let (head, bytes) =
            runtime.block_on(exchange).map_err(|_| ClientError::Silent(self.socket.clone()))??;
        let status = head.status;
        if status.is_success() {
            let tag = head.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
            return Ok((bytes, tag.unwrap_or_default().to_owned()));
        }
        let refusal = serde_json::from_slice(&bytes).map_err(|error| self.broken(&error))?;
        Err(ClientError::Refused { status: status.as_u16(), refusal })
    }

    async fn exchange(&self, method: &str, path: &str, body: Vec<u8>) -> Result<(Parts, Bytes), ClientError> {
        let (head, body) = self.send(method, path, body).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.broken(&*error))?;
        Ok((head, body.to_bytes()))
    }

    async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "viaduct");
        if let Some(tag) = &self.expected {
            request = request.header(header::IF_MATCH, tag);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| self.broken(&error))?;
        self.forward(request).await
    }

    /// Asks what somebody else asked; the answer comes as it is, within a runtime of the caller's.
    ///
    /// # Errors
    /// The daemon is not there, may not be asked, or breaks off.
    pub(crate) async fn forward(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = self.connect().await.map_err(|error| self.unreachable(&error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    /// A Unix socket whose backlog is full says so at once (connect(2), EAGAIN); waiting is up to us.
    async fn connect(&self) -> io::Result<UnixStream> {
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_RETRY).await,
                result => return result,
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(socket),
            io::ErrorKind::PermissionDenied => ClientError::Denied { remedy: who_may(&socket), socket },
            _ => self.broken(error),
        }
    }

    fn broken(&self, error: &dyn std::error::Error) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), what: error.to_string() }
    }
}

/// What to do, as far as this user is allowed to know: a socket can be opened by who may write to it (unix(7)).
pub(super) fn who_may(socket: &Path) -> String {
    let Ok(found) = std::fs::symlink_metadata(socket) else {
        return "its folder cannot be entered; run as root".to_owned();
    };
    let owner = User::from_uid(Uid::from_raw(found.uid())).ok().flatten();
    let owner = owner.map_or_else(|| format!("the user with number {}", found.uid()), |user| user.name);
    let group = Group::from_gid(Gid::from_raw(found.gid())).ok().flatten();
    match group.filter(|_| found.mode() & 0o020 != 0) {
        Some(Group { name, .. }) => {
            format!("run as {owner}, or join the group {name}: usermod --append --groups {name} USER")
        }
        None => format!(
            "run as {owner}, or let a group in: api_mode = \"0660\" and api_group under [switch] of the daemon's file"
        ),
    }
}
