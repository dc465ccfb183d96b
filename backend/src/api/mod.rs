//! HTTP/JSON over the Unix socket `runtime_dir/api.sock`: what the command line and programs talk to.
//!
//! Whoever may open the socket may do everything; its permissions are the authorisation. On TCP it only tells (`tcp.rs`). docs/api.md lists the
//! paths. Names are those of the configuration file and of [`crate::model`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Problem;
use crate::control::Changes;

mod capture;
mod client;
mod configuration;
mod connections;
mod diagnosis;
mod events;
mod gateways;
mod lasting;
mod measures;
mod openapi;
mod operations;
mod paging;
mod ports;
mod routes;
mod server;
mod stations;
mod tables;
mod tags;
mod tally;
mod tcp;
#[cfg(test)]
mod tests;
mod watch;

pub use client::{Client, ClientError};
pub(crate) use lasting::{Lasting, hand_on, pieces};
pub(crate) use routes::Refused;
pub(crate) use server::serve_on_tcp;
pub use server::{Gate, Server, ServerError};
pub use tcp::{TcpError, listen};

/// The longest change of one port, in bytes.
const PORT_PATCH_MAX: usize = 64 << 10;

/// Why a request was refused: the body of every answer that is not a success.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What is wrong and how to go on, in a sentence.
    pub error: String,
    /// Where a configuration is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// How many more problems there are than are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The answer to `PUT /v1/config` and `PATCH /v1/ports/NAME`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// What changed, or would change, and the generation in force afterwards.
    #[serde(flatten)]
    pub changes: Changes,
    /// Sentences for people about a configuration that is right.
    pub warnings: Vec<String>,
}
