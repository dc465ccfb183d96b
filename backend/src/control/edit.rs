//! One port is changed by itself while the switch runs.

use event_manager::EventOps;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{Config, Qos};
use crate::control::controller::Controller;
use crate::control::groups::{check_filtered, distinct};
use crate::control::{ApplyError, Changes};

/// What is to be changed of a port; what is left out stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortEdit {
    /// Its security groups, and no others.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>")]
    pub groups: Option<Vec<String>>,
    /// Its QoS; `Some(None)`: none.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub qos: Option<Option<String>>,
}

/// A field that is there, whatever it says: `null` is no way to leave it out (RFC 7396, 2).
fn written<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl PortEdit {
    /// Groups alone.
    #[must_use]
    pub fn groups(groups: Vec<String>) -> Self {
        Self { groups: Some(groups), qos: None }
    }

    /// A further change: what it leaves out stays as it was changed before.
    pub(crate) fn follow(&mut self, next: Self) {
        let Self { groups, qos } = next;
        self.groups = groups.or(self.groups.take());
        self.qos = qos.or(self.qos.take());
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Controller {
    /// Changes a port, or the QoS of an uplink; with `dry_run` only tells what would change.
    pub(super) fn edit(
        &mut self,
        name: &str,
        edit: PortEdit,
        dry_run: bool,
        ops: &mut EventOps,
    ) -> Result<Changes, ApplyError> {
        match edit {
            PortEdit { groups: Some(groups), qos: None } => self.set_groups(name, groups, dry_run),
            PortEdit { groups, qos } => {
                let mut wanted = self.config.clone();
                if let Some(groups) = groups {
                    set_groups(&mut wanted, name, groups)?;
                }
                if let Some(qos) = qos {
                    set_qos(&mut wanted, name, qos)?;
                }
                // The same as by a file: meters hand their tokens on, trees keep what waits, and rings stay where they are.
                self.apply(wanted, dry_run, ops)
            }
        }
    }
}

fn set_groups(wanted: &mut Config, name: &str, groups: Vec<String>) -> Result<(), ApplyError> {
    let port = wanted.ports.get_mut(name).ok_or_else(|| ApplyError::NoPort { port: name.to_owned() })?;
    check_filtered(name, port, &groups)?;
    port.groups = Some(distinct(groups));
    Ok(())
}

fn set_qos(wanted: &mut Config, name: &str, qos: Option<String>) -> Result<(), ApplyError> {
    if let Some(qos) = qos.as_ref().filter(|qos| !wanted.qos.contains_key(*qos)) {
        return Err(ApplyError::NoQos { port: name.to_owned(), qos: qos.clone() });
    }
    let port = wanted.ports.get_mut(name).map(|port| &mut port.qos);
    let place = port.or_else(|| wanted.uplinks.get_mut(name).map(|uplink| &mut uplink.qos));
    *place.ok_or_else(|| ApplyError::NoPort { port: name.to_owned() })? = qos;
    check_waits(wanted, name)
}

/// Only guests can wait; a file that says otherwise of others is refused when it is read.
fn check_waits(wanted: &Config, name: &str) -> Result<(), ApplyError> {
    let port = wanted.ports.get(name);
    let qos = port.map_or_else(|| wanted.uplinks.get(name).map(|uplink| &uplink.qos), |port| Some(&port.qos));
    let Some(qos) = qos.and_then(Option::as_ref) else { return Ok(()) };
    let is_guest = port.is_some_and(|port| port.vhost_user().is_some());
    match wanted.qos.get(qos).is_some_and(Qos::waits) && !is_guest {
        true => Err(ApplyError::CannotWait { port: name.to_owned(), qos: qos.clone() }),
        false => Ok(()),
    }
}
