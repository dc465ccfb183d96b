//! `viaduct console`: a page for a browser on this machine.

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;

use super::Style;
use super::failure::Failure;
use super::watch::say;
use crate::api::Client;
use crate::console::Console;
use crate::interrupt::{self, Second};
use crate::model::NetworkStatus;

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct console                             prints the address to open in a browser; changes nothing
  viaduct console --edit                      groups and limits can be changed, too
  viaduct console --listen 127.0.0.1:8080     at another port; 0 takes any that is free

Whoever has the printed address with its token may do there what you may, as long as this runs: end it with Ctrl-C.
From another machine: ssh -o ExitOnForwardFailure=yes -L 127.0.0.1:9180:127.0.0.1:9180 HOST, and open
the address there.";

/// Where and how it is served.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The loopback address and port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9180")]
    listen: SocketAddr,
    /// Let the page change security groups and limits
    #[arg(long)]
    edit: bool,
}

/// Serves it until somebody wants no more.
pub(super) fn console(client: Client, arguments: &Arguments, style: Style) -> Result<String, Failure> {
    // Whoever has no daemon is told so as by every other command.
    let _networks: Vec<NetworkStatus> = client.get("/v1/networks")?;
    let console = Console::open(arguments.listen, client, arguments.edit).map_err(Failure::new)?;
    interrupt::install(Second::Ends)
        .map_err(|error| Failure::new(format!("cannot take note of signals: {error}; this is a bug")))?;
    let line = if style.json { json!({ "url": console.url() }).to_string() } else { console.url() };
    // Nobody who could open it is there any more, if nobody reads this.
    if say(&line).is_ok() {
        console.serve().map_err(Failure::new)?;
    }
    Ok(String::new())
}
