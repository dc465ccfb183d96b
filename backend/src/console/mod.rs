//! The console: a page for a browser on this machine, and beside it the part of the API that the page needs.
//!
//! It is a process of its own, `viaduct console`, with the rights of whoever starts it: it asks the daemon at the Unix socket as every other command
//! does, so that the daemon has no further listener and the socket's permissions stay the authorisation. Others on the machine, and web pages in the same
//! browser, get nothing but the page itself, which is the same for all ([`guard`]). What is served beside it is one list ([`router`]).
//!
//! The page is plain HTML, CSS and modules of JavaScript (`page/`), served as it lies in the sources; nothing is loaded from elsewhere.

mod bundle;
mod guard;
mod relay;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, patch, post};
use axum::{Router, middleware};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::api::{Client, TcpError, listen, serve_on_tcp};
use crate::interrupt;
use guard::{Door, Token};
use relay::Relay;

/// Connections of browsers that are served at once; more wait.
const CONNECTIONS_MAX: usize = 32;

/// How often it is looked whether somebody wants an end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsoleError {
    /// Others than this machine could reach it.
    #[error(
        "--listen {0} is no loopback address: whoever has the console's address may do what you may. Listen on 127.0.0.1 or [::1]; from another \
         machine, `ssh -L` leads there"
    )]
    NotLoopback(SocketAddr),
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] TcpError),
    /// It cannot begin.
    #[error(
        "cannot start the console's {what}: {error}; raise the limits of open files and threads (ulimit -n, -u)"
    )]
    Start {
        /// What does not start.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

fn start_of(what: &'static str) -> impl Fn(io::Error) -> ConsoleError {
    move |error| ConsoleError::Start { what, error }
}

/// A console that listens.
#[derive(Debug)]
pub(crate) struct Console {
    listener: TcpListener,
    address: SocketAddr,
    token: Token,
    relay: Relay,
}

impl Console {
    /// Listens on a loopback address, for a daemon that `client` reaches; who `may_edit` can change groups and limits.
    ///
    /// # Errors
    /// The address is not loopback, not this machine's or taken.
    pub(crate) fn open(address: SocketAddr, client: Client, may_edit: bool) -> Result<Self, ConsoleError> {
        if !address.ip().is_loopback() {
            return Err(ConsoleError::NotLoopback(address));
        }
        let listener = listen("--listen", address)?;
        let address = listener.local_addr().map_err(start_of("listener"))?;
        let token = Token::random().map_err(start_of("token"))?;
        Ok(Self { listener, address, token, relay: Relay::new(client, may_edit) })
    }

    /// What to open in a browser. Who knows it may do all that this console can.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/#token={}", self.address, self.token)
    }

    /// Serves until a signal to end is noted.
    ///
    /// # Errors
    /// The event loop could not be made.
    pub(crate) fn serve(self) -> Result<(), ConsoleError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(start_of("event loop"))?;
        let door = Arc::new(Door::new(self.address, self.token));
        let router = router(door, self.relay);
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener).map_err(start_of("listener"))?;
            drop(tokio::spawn(serve_on_tcp(listener, router, CONNECTIONS_MAX)));
            while !interrupt::is_noted() {
                sleep(LOOK_EVERY).await;
            }
            Ok(())
        })
    }
}

/// All that is served: the page to everybody who names this machine, the rest to who knows the token.
fn router(door: Arc<Door>, relay: Relay) -> Router {
    let answers = get(relay::answer);
    let asked = Router::new()
        .route("/about.json", get(relay::about))
        .route("/v1/status", answers.clone())
        .route("/v1/groups", answers.clone())
        .route("/v1/address_groups", answers)
        .route("/v1/events", get(relay::lines))
        .route("/v1/watch", post(relay::lines))
        .route("/v1/trace", post(relay::answer))
        .route("/v1/ports/{name}", patch(relay::edit))
        .route("/v1/config", get(relay::table).put(relay::edit_table))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&door), guard::knows_token))
        .with_state(Arc::new(relay));
    bundle::routes()
        .merge(asked)
        .layer(middleware::from_fn_with_state(door, guard::names_us))
        .layer(middleware::map_response(guard::fenced))
}
