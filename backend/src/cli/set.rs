//! `viaduct port set`: change one port while the switch runs.

use super::apply::difference;
use super::failure::Failure;
use super::{Style, json};
use crate::api::Client;
use crate::config::is_name;

/// Puts the port into these groups and no others.
pub(super) fn set_groups(
    client: &Client,
    port: &str,
    groups: &[String],
    dry_run: bool,
    style: Style,
) -> Result<String, Failure> {
    if !is_name(port) {
        return Err(Failure::new(format!("there is no port {port}; `viaduct show ports` lists all")));
    }
    let applied = client.set_groups(port, groups, dry_run)?;
    if style.json { json(&applied) } else { Ok(difference(&applied, dry_run)) }
}
