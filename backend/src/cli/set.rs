//! `viaduct port`: change one port while the switch runs.

use clap::Args;
use toml_edit::DocumentMut;

use super::apply::{difference, refused};
use super::failure::Failure;
use super::{Style, json};
use crate::api::{Applied, Client};
use crate::config::is_name;
use crate::control::PortEdit;

pub(super) const ADD_EXAMPLES: &str = "\
Examples:
  viaduct port add vm9 --network lab
  viaduct port add vm9 --network lab --field 'mac = \"52:54:00:00:00:99\"' --field 'queues = 4'";

/// A port that is to be declared.
#[derive(Debug, Args)]
pub(super) struct Added {
    /// Its name; a port of that name becomes what is said here
    port: String,
    /// Its network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// A field as in the file, for example 'queues = 4'; as often as there are fields
    #[arg(long = "field", value_name = "FIELD = VALUE")]
    fields: Vec<String>,
    /// Change nothing, only tell what would change
    #[arg(long)]
    dry_run: bool,
}

/// Declares a port.
pub(super) fn add(client: &Client, added: &Added, style: Style) -> Result<String, Failure> {
    let Added { port, network, fields, dry_run } = added;
    if !is_name(port) {
        return Err(Failure::new(format!(
            "{port} cannot be a port's name: take 1 to 63 letters, digits, `_`, `.` and `-`"
        )));
    }
    let mut lines = DocumentMut::new();
    if let Some(network) = network {
        lines.insert("network", toml_edit::value(network));
    }
    let mut text = lines.to_string();
    for field in fields {
        if let Err(error) = field.parse::<DocumentMut>() {
            return Err(Failure::new(format!(
                "--field {field}: {error}; write it as in the file, like 'queues = 4'"
            )));
        }
        text.push_str(&format!("{}\n", field.trim()));
    }
    let declared = client.declare(port, text, *dry_run);
    let applied = declared.map_err(|error| refused(error, "the configuration with this port"))?;
    told(&applied, *dry_run, style)
}

/// Takes a port away.
pub(super) fn remove(client: &Client, port: &str, dry_run: bool, style: Style) -> Result<String, Failure> {
    check(port)?;
    let query = if dry_run { "?dry_run=true" } else { "" };
    told(&client.delete(&format!("/v1/ports/{port}{query}"))?, dry_run, style)
}

/// Changes the port, and nothing that is left out.
pub(super) fn set(
    client: &Client,
    port: &str,
    edit: &PortEdit,
    dry_run: bool,
    style: Style,
) -> Result<String, Failure> {
    check(port)?;
    told(&client.edit(port, edit, dry_run)?, dry_run, style)
}

/// Nothing else can stand in a path.
fn check(port: &str) -> Result<(), Failure> {
    let missing = || Failure::new(format!("there is no port {port}; `viaduct show ports` lists all"));
    is_name(port).then_some(()).ok_or_else(missing)
}

fn told(applied: &Applied, dry_run: bool, style: Style) -> Result<String, Failure> {
    if style.json { json(applied) } else { Ok(difference(applied, dry_run)) }
}
