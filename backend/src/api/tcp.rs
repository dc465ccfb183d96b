//! The API on TCP, which knows no user: it only tells, and only whoever names this machine.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::routes::Refused;

/// Why nothing listens on TCP.
#[derive(Debug, thiserror::Error)]
#[error("{field} {address}: {error}; {remedy}")]
pub struct TcpError {
    field: &'static str,
    address: SocketAddr,
    error: io::Error,
    remedy: &'static str,
}

/// Listens on TCP at an address that this `field` says.
///
/// # Errors
/// Another process has the port, or the address is not this machine's.
pub fn listen(field: &'static str, address: SocketAddr) -> Result<TcpListener, TcpError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "`ss -ltnp` tells who has the port; choose another one",
            io::ErrorKind::AddrNotAvailable => "`ip address` lists the machine's addresses",
            _ => "choose another address and port",
        };
        TcpError { field, address, error, remedy }
    })
}

/// Lets only questions through, and only those that are meant for this machine.
///
/// Of those that are let through one is answered at a time, `turns` has it, so that whoever comes from there takes neither the
/// control thread's time nor the API's threads from those at the Unix socket.
pub(super) async fn guard(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let error = "TCP has no authorisation, so that it only answers GET; ask at the Unix socket";
        return Refused::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response();
    }
    if request.uri().path() == "/v1/events" {
        let error = "events are told at the Unix socket: an answer that lasts would keep a place that others need here";
        return Refused::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response();
    }
    if matches!(request.uri().path(), "/v1/config" | "/v1/changes") {
        let error = "the file's own words, comments among them, are told at the Unix socket alone";
        return Refused::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response();
    }
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
    let named = match hosts.as_slice() {
        [host] => host.to_str().is_ok_and(|host| is_ours(host, &machine_name())),
        _ => false,
    };
    if !named {
        let error = "the request's Host is neither an address, nor localhost, nor this machine's name: a web page could have had \
                     a browser send it (DNS rebinding)";
        return Refused::new(StatusCode::MISDIRECTED_REQUEST, error).into_response();
    }
    let Ok(turn) = turns.acquire_owned().await else {
        return Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the API ends; try again").into_response();
    };
    // The turn ends with the answer, not with the client: one that asks and hangs up has its question answered all the same.
    let answered = tokio::spawn(async move {
        let _turn = turn;
        next.run(request).await
    });
    let ended =
        |_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer's task ended; see the daemon's log");
    answered.await.map_err(ended).into_response()
}

fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether a `Host` names us in a way that no stranger's name server can give to us: by an address, as `localhost`, or by the
/// machine's own name.
fn is_ours(host: &str, machine: &str) -> bool {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| is_address(address) && is_port(port));
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    let is_named = [machine, "localhost"].iter().any(|known| known.eq_ignore_ascii_case(name));
    is_port(port) && !name.is_empty() && (is_address(name) || is_named)
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_a_stranger_could_point_at_us_is_not_ours() {
        for ours in [
            "127.0.0.1",
            "127.0.0.1:9477",
            "[::1]:9477",
            "[::1]",
            "localhost:9477",
            "LOCALHOST",
            "node1:9477",
        ] {
            assert!(is_ours(ours, "node1"), "{ours}");
        }
        for strange in [
            "",
            ":9477",
            "evil.example",
            "evil.example:9477",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1",
            "[evil]:9477",
            "::1",
            "127.0.0.1:",
            "127.0.0.1:99999",
            "node1.example",
        ] {
            assert!(!is_ours(strange, "node1"), "{strange}");
        }
        assert!(!is_ours("", ""), "a machine without a name");
    }
}
