//! `viaduct port set`: change one port while the switch runs.

use super::apply::difference;
use super::failure::Failure;
use super::{Style, json};
use crate::api::Client;
use crate::config::is_name;
use crate::control::PortEdit;

/// Changes the port, and nothing that is left out.
pub(super) fn set(
    client: &Client,
    port: &str,
    edit: &PortEdit,
    dry_run: bool,
    style: Style,
) -> Result<String, Failure> {
    if !is_name(port) {
        return Err(Failure::new(format!("there is no port {port}; `viaduct show ports` lists all")));
    }
    let applied = client.edit(port, edit, dry_run)?;
    if style.json { json(&applied) } else { Ok(difference(&applied, dry_run)) }
}
